/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Devices of VFIO, and mappings of memfds for them, by each of the three ways. A space has
 * the mappings: a container, or an IOAS.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef MEMFD_OPS_VFIO_H
#define MEMFD_OPS_VFIO_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "pci.h"

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

#define VDEV_INIT	{ .bus = PCI_DEVICES, .group = -1, .fd = -1 }

struct space {
	enum way way;
	int	fd;		/* a container, or an iommufd */
	__u32	ioas;
	bool	typed;		/* VFIO_SET_IOMMU has been done */
};

#define DMA_R	VFIO_DMA_MAP_FLAG_READ
#define DMA_W	VFIO_DMA_MAP_FLAG_WRITE
#define DMA_RW	(DMA_R | DMA_W)

struct type1_map {
	struct vfio_iommu_type1_dma_map map;
	struct vfio_iommu_type1_dma_map_memfd file;
};

int ioas_alloc(struct space *s, __u32 *id);
int space_open(struct space *s, enum way way);

/* Attach to an IOAS or a page table; replaces the former one. */
int vdev_attach(struct vdev *d, __u32 id);

int vdev_detach(struct vdev *d);

/* Open the device, so that it can be attached. */
int vdev_bind(struct space *s, struct vdev *d);

/* A page table of the space's, made for the device; and the end of any object. */
int space_alloc_table(struct space *s, struct vdev *d, __u32 flags, __u32 *id);
int space_destroy(struct space *s, __u32 id);

int vdev_open_group(struct vdev *d);

/* Put its group into the container: the device has the container's mappings then. */
int vdev_join(struct space *s, struct vdev *d);

/* Get the device itself; with iommufd, this attaches it. */
int vdev_get(struct vdev *d);

/* All of that: the device has the mappings of the space then. */
int vdev_open(struct space *s, struct vdev *d);
void vdev_close(struct vdev *d);

/* Map its registers, and let it do DMA, which VFIO has disabled. */
int vdev_start(struct vdev *d);

/* The requests of space_map(), to be changed */
struct type1_map type1_request(int fd, __u64 offset, __u64 iova,
			       __u64 size, __u32 prot);
__u32 ioas_flags(__u32 prot);
struct iommu_ioas_map_file ioas_request(struct space *s, int fd, __u64 offset,
					__u64 iova, __u64 size, __u32 prot);
int space_map(struct space *s, int fd, __u64 offset, __u64 iova,
	      __u64 size, __u32 prot);

/* The same, but the mapping may lack pages that cannot be mapped. */
int space_map_may_miss(struct space *s, int fd, __u64 offset, __u64 iova,
		       __u64 size, __u32 prot);

/* Map what a mapping lacks of its memfd, as far as possible; how many bytes it lacks then. */
__s64 space_fill(struct space *s, __u64 iova, __u64 size);

/* The same, after setting the eventfd for pages that it misses from then on; -1 for none. */
__s64 space_set_event(struct space *s, __u64 iova, __u64 size, int eventfd);

/* By address, which pins the memory. */
int space_map_address(struct space *s, void *addr, __u64 iova, __u64 size);

__s64 type1_unmap(int fd, __u32 flags, __u64 iova, __u64 size);

/* How many bytes were unmapped. */
__s64 space_unmap(struct space *s, __u64 iova, __u64 size);

__s64 space_unmap_all(struct space *s);

/* Of a type1 container */
int space_track_dirty(struct space *s, __u32 flags);

/* The pages that the container reports as dirty: a bit for each, in whole __u64 */
int space_dirty_bitmap(struct space *s, __u64 iova, size_t pages, void *bitmap);

/* Which of @pages pages, from 1 to 64, the container reports as dirty */
int space_dirty_pages(struct space *s, __u64 iova, size_t pages, __u64 *bits);

#endif /* MEMFD_OPS_VFIO_H */
