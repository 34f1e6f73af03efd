// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

#include "vfio.h"

#define PCI_COMMAND	4
#define PCI_COMMAND_BITS 0x0406	/* memory, bus master, no INTx */

int ioas_alloc(struct space *s, __u32 *id)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	if (ioctl(s->fd, IOMMU_IOAS_ALLOC, &alloc))
		return -errno;
	*id = alloc.out_ioas_id;
	return 0;
}

int space_open(struct space *s, enum way way)
{
	*s = (struct space){ .way = way };
	s->fd = open(way == TYPE1 ? "/dev/vfio/vfio" : "/dev/iommu", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	return way == IOMMUFD ? ioas_alloc(s, &s->ioas) : 0;
}

int vdev_attach(struct vdev *d, __u32 id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = id,
	};

	return ioctl(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) ? -errno : 0;
}

int vdev_detach(struct vdev *d)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return ioctl(d->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) ? -errno : 0;
}

int vdev_bind(struct space *s, struct vdev *d)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = s->fd,
	};
	char path[PATH_MAX];
	int ret = device_cdev(d->bus, d->address, path, sizeof(path));

	if (ret)
		return ret;
	d->fd = open(path, O_RDWR | O_CLOEXEC);
	if (d->fd < 0 || ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;
	d->id = bind.out_devid;
	return 0;
}

int space_alloc_table(struct space *s, struct vdev *d, __u32 flags, __u32 *id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = d->id,
		.pt_id = s->ioas,
	};

	if (ioctl(s->fd, IOMMU_HWPT_ALLOC, &alloc))
		return -errno;
	*id = alloc.out_hwpt_id;
	return 0;
}

int space_destroy(struct space *s, __u32 id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return ioctl(s->fd, IOMMU_DESTROY, &destroy) ? -errno : 0;
}

int vdev_open_group(struct vdev *d)
{
	char path[PATH_MAX];
	int ret = device_group(d->bus, d->address, path, sizeof(path));

	if (ret)
		return ret;
	d->group = open(path, O_RDWR | O_CLOEXEC);
	return d->group < 0 ? -errno : 0;
}

int vdev_join(struct space *s, struct vdev *d)
{
	struct iommu_vfio_ioas get = {
		.size = sizeof(get),
		.op = IOMMU_VFIO_IOAS_GET,
	};
	int ret;

	ret = vdev_open_group(d);
	if (ret)
		return ret;
	if (ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &s->fd))
		return -errno;
	if (s->way == TYPE1 && !s->typed &&
	    ioctl(s->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -errno;
	s->typed = true;
	if (s->way == IOMMUFD_GROUP) {
		if (ioctl(s->fd, IOMMU_VFIO_IOAS, &get))
			return -errno;
		s->ioas = get.ioas_id;
	}
	return 0;
}

int vdev_get(struct vdev *d)
{
	d->fd = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, d->address);
	return d->fd < 0 ? -errno : 0;
}

int vdev_open(struct space *s, struct vdev *d)
{
	int ret;

	if (s->way == IOMMUFD) {
		ret = vdev_bind(s, d);
		return ret ? ret : vdev_attach(d, s->ioas);
	}
	ret = vdev_join(s, d);
	return ret ? ret : vdev_get(d);
}

void vdev_close(struct vdev *d)
{
	if (d->regs)
		munmap((void *)d->regs, d->size);
	d->regs = NULL;
	close_fd(&d->fd);
	close_fd(&d->group);
}

static int get_region(struct vdev *d, __u32 index, struct vfio_region_info *info)
{
	*info = (struct vfio_region_info){ .argsz = sizeof(*info), .index = index };
	return ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, info) ? -errno : 0;
}

int vdev_start(struct vdev *d)
{
	struct vfio_region_info config, bar;
	__u16 command;
	void *regs;
	int ret;

	ret = get_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config);
	if (!ret)
		ret = get_region(d, VFIO_PCI_BAR0_REGION_INDEX, &bar);
	if (ret)
		return ret;
	if (pread(d->fd, &command, 2, config.offset + PCI_COMMAND) != 2)
		return -errno;
	command |= PCI_COMMAND_BITS;
	if (pwrite(d->fd, &command, 2, config.offset + PCI_COMMAND) != 2)
		return -errno;
	regs = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, bar.offset);
	if (regs == MAP_FAILED)
		return -errno;
	d->regs = regs;
	d->size = bar.size;
	return 0;
}

struct type1_map type1_request(int fd, __u64 offset, __u64 iova,
			       __u64 size, __u32 prot)
{
	return (struct type1_map){
		.map = {
			.argsz = sizeof(struct type1_map),
			.flags = prot | VFIO_DMA_MAP_FLAG_MEMFD,
			.iova = iova,
			.size = size,
		},
		.file = {
			.memfd = fd,
			.offset = offset,
		},
	};
}

__u32 ioas_flags(__u32 prot)
{
	return IOMMU_IOAS_MAP_FIXED_IOVA |
	       (prot & DMA_R ? IOMMU_IOAS_MAP_READABLE : 0) |
	       (prot & DMA_W ? IOMMU_IOAS_MAP_WRITEABLE : 0);
}

struct iommu_ioas_map_file ioas_request(struct space *s, int fd, __u64 offset,
					__u64 iova, __u64 size, __u32 prot)
{
	return (struct iommu_ioas_map_file){
		.size = sizeof(struct iommu_ioas_map_file),
		.flags = ioas_flags(prot) | IOMMU_IOAS_MAP_FOLLOW,
		.ioas_id = s->ioas,
		.fd = fd,
		.start = offset,
		.length = size,
		.iova = iova,
	};
}

static int map_memfd(struct space *s, int fd, __u64 offset, __u64 iova,
		     __u64 size, __u32 prot, bool may_miss)
{
	struct iommu_ioas_map_file map = ioas_request(s, fd, offset, iova, size, prot);
	struct type1_map type1 = type1_request(fd, offset, iova, size, prot);
	int ret;

	if (may_miss) {
		map.flags |= IOMMU_IOAS_MAP_MAY_MISS;
		type1.file.flags |= VFIO_DMA_MAP_MEMFD_MAY_MISS;
	}
	ret = s->way == TYPE1 ? ioctl(s->fd, VFIO_IOMMU_MAP_DMA, &type1) :
				ioctl(s->fd, IOMMU_IOAS_MAP_FILE, &map);
	return ret ? -errno : 0;
}

int space_map(struct space *s, int fd, __u64 offset, __u64 iova,
	      __u64 size, __u32 prot)
{
	return map_memfd(s, fd, offset, iova, size, prot, false);
}

int space_map_may_miss(struct space *s, int fd, __u64 offset, __u64 iova,
		       __u64 size, __u32 prot)
{
	return map_memfd(s, fd, offset, iova, size, prot, true);
}

static __s64 fill_memfd(struct space *s, __u64 iova, __u64 size, bool set_event,
			int eventfd)
{
	struct vfio_iommu_type1_fill_memfd type1 = {
		.argsz = sizeof(type1),
		.flags = set_event ? VFIO_IOMMU_FILL_MEMFD_SET_EVENTFD : 0,
		.iova = iova,
		.size = size,
		.eventfd = eventfd,
	};
	struct iommu_ioas_fill ioas = {
		.size = sizeof(ioas),
		.flags = set_event ? IOMMU_IOAS_FILL_SET_EVENTFD : 0,
		.ioas_id = s->ioas,
		.eventfd = eventfd,
		.iova = iova,
		.length = size,
	};

	if (s->way == TYPE1)
		return ioctl(s->fd, VFIO_IOMMU_FILL_MEMFD, &type1) ? -errno :
								     (__s64)type1.missing;
	return ioctl(s->fd, IOMMU_IOAS_FILL, &ioas) ? -errno : (__s64)ioas.out_missing;
}

__s64 space_fill(struct space *s, __u64 iova, __u64 size)
{
	return fill_memfd(s, iova, size, false, 0);
}

__s64 space_set_event(struct space *s, __u64 iova, __u64 size, int eventfd)
{
	return fill_memfd(s, iova, size, true, eventfd);
}

int space_map_address(struct space *s, void *addr, __u64 iova, __u64 size)
{
	struct vfio_iommu_type1_dma_map type1 = {
		.argsz = sizeof(type1),
		.flags = DMA_RW,
		.vaddr = (uintptr_t)addr,
		.iova = iova,
		.size = size,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = ioas_flags(DMA_RW),
		.ioas_id = s->ioas,
		.user_va = (uintptr_t)addr,
		.length = size,
		.iova = iova,
	};
	int ret;

	ret = s->way == TYPE1 ? ioctl(s->fd, VFIO_IOMMU_MAP_DMA, &type1) :
				ioctl(s->fd, IOMMU_IOAS_MAP, &map);
	return ret ? -errno : 0;
}

__s64 type1_unmap(int fd, __u32 flags, __u64 iova, __u64 size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.iova = iova,
		.size = size,
	};

	return ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : (__s64)unmap.size;
}

__s64 space_unmap(struct space *s, __u64 iova, __u64 size)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = s->ioas,
		.iova = iova,
		.length = size,
	};

	if (s->way == TYPE1)
		return type1_unmap(s->fd, 0, iova, size);
	return ioctl(s->fd, IOMMU_IOAS_UNMAP, &unmap) ? -errno : (__s64)unmap.length;
}

__s64 space_unmap_all(struct space *s)
{
	if (s->way == TYPE1)
		return type1_unmap(s->fd, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
	return space_unmap(s, 0, UINT64_MAX);
}

int space_track_dirty(struct space *s, __u32 flags)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = flags,
	};

	return ioctl(s->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty) ? -errno : 0;
}

int space_dirty_bitmap(struct space *s, __u64 iova, size_t pages, void *bitmap)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap dirty;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} arg = {
		.dirty = {
			.argsz = sizeof(arg),
			.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		},
		.get = {
			.iova = iova,
			.size = pages * PAGE,
			.bitmap = {
				.pgsize = PAGE,
				.size = (pages + 63) / 64 * 8,
				.data = bitmap,
			},
		},
	};

	return ioctl(s->fd, VFIO_IOMMU_DIRTY_PAGES, &arg) ? -errno : 0;
}

int space_dirty_pages(struct space *s, __u64 iova, size_t pages, __u64 *bits)
{
	*bits = 0;
	return space_dirty_bitmap(s, iova, pages, bits);
}
