/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Real devices through vfio-pci: QEMU's edu, whose DMA the tests can aim, and its
 * NVMe controller, which is just attached. And the two in software of
 * drivers/vfio/vfio_memfd_test.c. By each of the ways that lead to a mapping;
 * "space" is what has the mappings then, a container or an IOAS.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef VFIO_UTIL_H
#define VFIO_UTIL_H

#include <linux/iommufd.h>
#include <stddef.h>

#include "test_util.h"

/* By what a device is told from others: part of its modalias. */
#define EDU_ALIAS	"v00001234d000011E8"
#define NVME_ALIAS	"bc01sc08i02"

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define PLATFORM_DEVICES "/sys/bus/platform/devices"
#define PCI_COMMAND	4
#define PCI_COMMAND_BITS 0x0406	/* memory, bus master, no INTx */

/* edu, see docs/specs/edu.rst of QEMU */
#define EDU_ID		0x00
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_RUN	1
#define EDU_DMA_TO_RAM	2
#define EDU_BUFFER	0x40000

/* Of a page, what one DMA moves: QEMU aborts at the whole of it. */
#define LEN		4088UL

/* No DMA takes that long, even if the emulator is slow: seconds. */
#define EDU_PATIENCE	60

enum way {
	TYPE1,		/* a group in a container */
	IOMMUFD,	/* the device's character device */
	IOMMUFD_GROUP,	/* a group in an iommufd in place of a container */
};

struct vdev {
	const char *bus;	/* its devices */
	char	address[32];	/* 0000:00:02.0; or a name */
	int	group, fd;
	__u32	id;		/* in the iommufd */
	volatile char *regs;	/* BAR 0 */
	size_t	size;		/* its size */
};

struct space {
	enum way way;
	int	fd;		/* a container, or an iommufd */
	__u32	ioas;
	bool	typed;		/* VFIO_SET_IOMMU has been done */
};

#define VDEV_INIT	{ .bus = PCI_DEVICES, .group = -1, .fd = -1 }

/*
 * PCI
 */

/* The address of a device; -ENODEV if there is none. */
static inline int pci_find(const char *alias, char *address, size_t size)
{
	char text[128];
	int ret = -ENODEV;
	glob_t found;
	size_t i;

	if (glob(PCI_DEVICES "/*/modalias", 0, NULL, &found))
		return ret;
	for (i = 0; i < found.gl_pathc && ret; i++) {
		if (mdma_read_file(found.gl_pathv[i], text, sizeof(text)) ||
		    !strstr(text, alias))
			continue;
		snprintf(address, size, "%.*s",
			 (int)strcspn(found.gl_pathv[i] + sizeof(PCI_DEVICES), "/"),
			 found.gl_pathv[i] + sizeof(PCI_DEVICES));
		ret = 0;
	}
	globfree(&found);
	return ret;
}

/* The last part of what a link in a device's directory points to. */
static inline int device_link(const char *bus, const char *address, const char *name,
			      char *text, size_t size)
{
	char path[PATH_MAX], link[PATH_MAX] = "";

	snprintf(path, sizeof(path), "%s/%.32s/%s", bus, address, name);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return -errno;
	snprintf(text, size, "%s", strrchr(link, '/') + 1);
	return 0;
}

static inline int pci_link(const char *address, const char *name, char *text,
			   size_t size)
{
	return device_link(PCI_DEVICES, address, name, text, size);
}

static inline bool pci_driver_is(const char *address, const char *driver)
{
	char text[64];

	return !pci_link(address, "driver", text, sizeof(text)) && !strcmp(text, driver);
}

static inline int pci_write(const char *address, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%.32s/%s", address, name);
	return mdma_write_file(path, text);
}

/* Have vfio-pci drive it. */
static inline int pci_take(const char *address)
{
	char text[64];
	int ret;

	if (pci_driver_is(address, "vfio-pci"))
		return 0;
	ret = pci_write(address, "driver_override", "vfio-pci");
	if (!ret && !pci_link(address, "driver", text, sizeof(text)))
		ret = pci_write(address, "driver/unbind", address);
	if (!ret)
		ret = mdma_write_file("/sys/bus/pci/drivers_probe", address);
	if (!ret && !pci_driver_is(address, "vfio-pci"))
		ret = -ENODEV;
	return ret;
}

/* Let the driver have it, if it is there, that would without us. */
static inline void pci_give_back(const char *address)
{
	char path[PATH_MAX], text[64];

	snprintf(path, sizeof(path), PCI_DEVICES "/%.32s/driver_override", address);
	if (mdma_read_file(path, text, sizeof(text)) || strcmp(text, "vfio-pci"))
		return;
	if (pci_driver_is(address, "vfio-pci"))
		pci_write(address, "driver/unbind", address);
	pci_write(address, "driver_override", "\n");
	mdma_write_file("/sys/bus/pci/drivers_probe", address);
}

/*
 * VFIO
 */

static inline int ioas_alloc(struct space *s, __u32 *id)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	if (ioctl(s->fd, IOMMU_IOAS_ALLOC, &alloc))
		return -errno;
	*id = alloc.out_ioas_id;
	return 0;
}

static inline int space_open(struct space *s, enum way way)
{
	*s = (struct space){ .way = way };
	s->fd = open(way == TYPE1 ? "/dev/vfio/vfio" : "/dev/iommu", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	return way == IOMMUFD ? ioas_alloc(s, &s->ioas) : 0;
}

/* To an IOAS or a page table; where it is attached to another one, in place of it. */
static inline int vdev_attach(struct vdev *d, __u32 id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = id,
	};

	return ioctl(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) ? -errno : 0;
}

static inline int vdev_detach(struct vdev *d)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return ioctl(d->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) ? -errno : 0;
}

/* Ready to be attached. */
static inline int vdev_bind(struct space *s, struct vdev *d)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = s->fd,
	};
	char path[PATH_MAX];
	glob_t found;

	snprintf(path, sizeof(path), "%s/%.32s/vfio-dev/vfio*", d->bus, d->address);
	if (glob(path, 0, NULL, &found))
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%.32s",
		 strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	d->fd = open(path, O_RDWR | O_CLOEXEC);
	if (d->fd < 0 || ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;
	d->id = bind.out_devid;
	return 0;
}

static inline int vdev_open_group(struct vdev *d)
{
	char path[PATH_MAX], number[64];
	int ret;

	ret = device_link(d->bus, d->address, "iommu_group", number, sizeof(number));
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/vfio/%s", number);
	d->group = open(path, O_RDWR | O_CLOEXEC);
	return d->group < 0 ? -errno : 0;
}

/* Its group into the container: what is mapped there is the device's then. */
static inline int vdev_join(struct space *s, struct vdev *d)
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

/* The device itself; by iommufd this is what attaches it. */
static inline int vdev_get(struct vdev *d)
{
	d->fd = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, d->address);
	return d->fd < 0 ? -errno : 0;
}

static inline int vdev_open(struct space *s, struct vdev *d)
{
	int ret;

	if (s->way == IOMMUFD) {
		ret = vdev_bind(s, d);
		return ret ? ret : vdev_attach(d, s->ioas);
	}
	ret = vdev_join(s, d);
	return ret ? ret : vdev_get(d);
}

static inline void vdev_close(struct vdev *d)
{
	if (d->regs)
		munmap((void *)d->regs, d->size);
	d->regs = NULL;
	mdma_close_fd(&d->fd);
	mdma_close_fd(&d->group);
}

/*
 * Mappings
 */

#define DMA_R	VFIO_DMA_MAP_FLAG_READ
#define DMA_W	VFIO_DMA_MAP_FLAG_WRITE
#define DMA_RW	(DMA_R | DMA_W)

struct type1_map {
	struct vfio_iommu_type1_dma_map map;
	struct vfio_iommu_type1_dma_map_memfd file;
};

static inline struct type1_map type1_request(int fd, __u64 offset, __u64 iova,
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

static inline __u32 ioas_flags(__u32 prot)
{
	return IOMMU_IOAS_MAP_FIXED_IOVA |
	       (prot & DMA_R ? IOMMU_IOAS_MAP_READABLE : 0) |
	       (prot & DMA_W ? IOMMU_IOAS_MAP_WRITEABLE : 0);
}

static inline struct iommu_ioas_map_file ioas_request(struct space *s, int fd,
						      __u64 offset, __u64 iova,
						      __u64 size, __u32 prot)
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

static inline int space_map(struct space *s, int fd, __u64 offset, __u64 iova,
			    __u64 size, __u32 prot)
{
	struct iommu_ioas_map_file map = ioas_request(s, fd, offset, iova, size, prot);
	struct type1_map type1 = type1_request(fd, offset, iova, size, prot);
	int ret;

	ret = s->way == TYPE1 ? ioctl(s->fd, VFIO_IOMMU_MAP_DMA, &type1) :
				ioctl(s->fd, IOMMU_IOAS_MAP_FILE, &map);
	return ret ? -errno : 0;
}

/* By address, as everybody else does. */
static inline int space_map_address(struct space *s, void *addr, __u64 iova, __u64 size)
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

static inline __s64 type1_unmap(int fd, __u32 flags, __u64 iova, __u64 size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.iova = iova,
		.size = size,
	};

	return ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : (__s64)unmap.size;
}

/* How many bytes were unmapped. */
static inline __s64 space_unmap(struct space *s, __u64 iova, __u64 size)
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

static inline __s64 space_unmap_all(struct space *s)
{
	if (s->way == TYPE1)
		return type1_unmap(s->fd, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
	return space_unmap(s, 0, UINT64_MAX);
}

/* Of a type1 container */
static inline int space_track_dirty(struct space *s, __u32 flags)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty),
		.flags = flags,
	};

	return ioctl(s->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty) ? -errno : 0;
}

/* Which of @pages pages, 64 at most, it says to be dirty */
static inline int space_dirty_pages(struct space *s, __u64 iova, size_t pages,
				    __u64 *bits)
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
				.size = sizeof(*bits),
				.data = bits,
			},
		},
	};

	*bits = 0;
	return ioctl(s->fd, VFIO_IOMMU_DIRTY_PAGES, &arg) ? -errno : 0;
}

/*
 * How many of @pages pages the IOMMU's table leads to memory for the device, and
 * whether to that of @mem, if given: -EPROTO if not. -ENOENT if there is no such
 * table to be seen.
 */
static inline long vdev_reaches(struct vdev *d, __u64 iova, size_t pages,
				const unsigned char *mem)
{
	struct iova_table t;
	long sum = 0;
	__u64 pa;
	size_t i;
	int ret;

	ret = iova_table_of(d->address, &t);
	if (ret)
		return ret;
	for (i = 0; i < pages && sum >= 0; i++) {
		pa = iova_table_lookup(&t, iova + i * PAGE);
		if (!pa)
			continue;
		sum++;
		if (mem && pfn_of(mem + i * PAGE) * PAGE != pa)
			sum = -EPROTO;
	}
	iova_table_free(&t);
	return sum;
}

/*
 * edu
 */

static inline __u64 edu_read(struct vdev *d, int reg)
{
	return *(volatile __u64 *)(d->regs + reg);
}

static inline void edu_write(struct vdev *d, int reg, __u64 value)
{
	*(volatile __u64 *)(d->regs + reg) = value;
}

static inline int edu_wait(struct vdev *d)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (edu_read(d, EDU_DMA_CMD) & EDU_DMA_RUN) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > EDU_PATIENCE)
			return -ETIMEDOUT;
		nanosleep(&tick, NULL);
	}
	return 0;
}

/* Map its registers, and let it do DMA: VFIO hands it over with that off. */
static inline int edu_start(struct vdev *d)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command;
	void *bar;

	if (ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info) ||
	    pread(d->fd, &command, 2, info.offset + PCI_COMMAND) != 2)
		return -errno;
	command |= PCI_COMMAND_BITS;
	if (pwrite(d->fd, &command, 2, info.offset + PCI_COMMAND) != 2)
		return -errno;

	info = (struct vfio_region_info){
		.argsz = sizeof(info),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	if (ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, info.offset);
	if (bar == MAP_FAILED)
		return -errno;
	d->regs = bar;
	d->size = info.size;
	if ((*(volatile __u32 *)(d->regs + EDU_ID) & 0xff) != 0xed)
		return -EPROTO;
	/* of a process that was killed */
	return edu_wait(d);
}

/* Start one DMA between an IOVA and the device's buffer. */
static inline void edu_go(struct vdev *d, __u64 iova, size_t len, bool to_ram)
{
	if (!len || len > LEN)
		abort();
	edu_write(d, EDU_DMA_SRC, to_ram ? EDU_BUFFER : iova);
	edu_write(d, EDU_DMA_DST, to_ram ? iova : EDU_BUFFER);
	edu_write(d, EDU_DMA_COUNT, len);
	edu_write(d, EDU_DMA_CMD, EDU_DMA_RUN | (to_ram ? EDU_DMA_TO_RAM : 0));
}

static inline int edu_dma(struct vdev *d, __u64 iova, size_t len, bool to_ram)
{
	edu_go(d, iova, len, to_ram);
	return edu_wait(d);
}

/*
 * The devices in software. One does DMA through an IOMMU of its own; the other is
 * emulated, and has VFIO read, write and pin memory.
 */

#define DEVICE_DMA	"memfd-test-dma"
#define DEVICE_PIN	"memfd-test-pin"
#define VDEV_SOFT(name)	{						\
	.bus = PLATFORM_DEVICES, .address = name, .group = -1, .fd = -1,	\
}

/* To an IOVA, for the emulated one to pin the memory; stays until the next time. */
#define PIN		0x100000000000000ULL	/* 2^56 */

#define TYPE1_UNSAFE	"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
#define IOMMUFD_UNSAFE	"/sys/module/iommufd/parameters/allow_unsafe_interrupts"

static inline int soft_read(struct vdev *d, __u64 iova, void *data, size_t len)
{
	ssize_t ret = pread(d->fd, data, len, iova);

	return ret < 0 ? -errno : ret == (ssize_t)len ? 0 : -EIO;
}

static inline int soft_write(struct vdev *d, __u64 iova, const void *data, size_t len)
{
	ssize_t ret = pwrite(d->fd, data, len, iova);

	return ret < 0 ? -errno : ret == (ssize_t)len ? 0 : -EIO;
}

/*
 * Have the kernel attach a device although nothing checks its interrupts, as it has
 * to be told for the one that has none. What it did before is in @was, 'Y' or 'N',
 * or 0 if that is to be left as it is; then back to that.
 */
static inline int allow_unsafe_interrupts(char *was)
{
	char text[8];
	int ret;

	ret = mdma_read_file(TYPE1_UNSAFE, text, sizeof(text));
	if (!ret)
		ret = mdma_write_file(TYPE1_UNSAFE, "Y");
	if (!ret)
		ret = mdma_write_file(IOMMUFD_UNSAFE, "Y");
	if (!ret)
		*was = text[0];
	return ret;
}

static inline void unsafe_interrupts_as_before(char was)
{
	const char text[] = { was, '\0' };

	if (!was)
		return;
	mdma_write_file(TYPE1_UNSAFE, text);
	mdma_write_file(IOMMUFD_UNSAFE, text);
}

#endif /* VFIO_UTIL_H */
