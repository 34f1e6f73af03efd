/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An mdma instance, from user space: create it through sysfs, open it through
 * VFIO, map memfds, have it copy.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef MEMFD_OPS_MDMA_H
#define MEMFD_OPS_MDMA_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/vfio.h>
#include <vfio_mdma.h>

#define MDMA_TYPES	"/sys/class/mdev_bus/*/mdev_supported_types/mdma-*"
#define MDMA_DEVICES	"/sys/bus/mdev/devices"

/* The UUIDs of our instances begin with "mdma", so that mdma_remove_stale() finds them. */
#define MDMA_UUID	"6d646d61-"

#define MDMA_RW		(VFIO_MDMA_MAP_FLAG_READ | VFIO_MDMA_MAP_FLAG_WRITE)

/*
 * The longest copy, in seconds. A page takes four transfers of 100 ms; this leaves
 * room for the copies of other instances and for a slow emulator.
 */
#define MDMA_TIMEOUT	120

struct mdma {
	char	uuid[37];
	int	container, group;	/* opened by group, or */
	int	iommufd;		/* opened by character device */
	int	fd;			/* the VFIO device */
	__u64	regs;			/* where its registers are in fd */
	struct vfio_mdma_info info;
};

#define MDMA_INIT	{ .container = -1, .group = -1, .iommufd = -1, .fd = -1 }

/* The sysfs directory of the type of mdev that the engine offers. */
int mdma_type(char *path, size_t size);

/* How many more instances can be created. */
int mdma_available(void);

/* @uuid begins with MDMA_UUID. */
int mdma_create_uuid(struct mdma *m, const char *uuid);

int mdma_create(struct mdma *m);
int mdma_remove_uuid(const char *uuid);

/* Nobody may have it open: the kernel would wait for that. */
int mdma_remove(struct mdma *m);

/* Remove the instances that earlier programs, killed in between, left behind. */
void mdma_remove_stale(void);

void mdma_close(struct mdma *m);

/*
 * By group: put the instance's group into a container, and get the device from the
 * group. A VFIO container insists on an IOMMU type, although this device has no mapping
 * through the container.
 */
int mdma_open_group(struct mdma *m);

/* By character device, which must be bound to an iommufd before it is used. */
int mdma_open_cdev_at(struct mdma *m, const char *path);

/* Where that device is. */
int mdma_cdev(struct mdma *m, char *dev, size_t size);

int mdma_open_cdev(struct mdma *m);
int mdma_map(struct mdma *m, int fd, __u64 offset, __u64 iova, __u64 size, __u32 flags);

/* How many bytes were unmapped. */
__s64 mdma_unmap(struct mdma *m, __u64 iova, __u64 size);

__s64 mdma_unmap_all(struct mdma *m);

/* Fill @q with the first mapping from @iova on; or, with the flag, with the pages present. */
int mdma_query(struct mdma *m, __u64 iova, __u32 flags, struct vfio_mdma_query *q);

/* Of @count pages from @iova on, which ones the device can reach: their number. */
int mdma_present(struct mdma *m, __u64 iova, size_t count, unsigned char *present);

int mdma_reg_write(struct mdma *m, int reg, const void *value, size_t size);
int mdma_reg_read(struct mdma *m, int reg, void *value, size_t size);
int mdma_status(struct mdma *m);

/* Queue a copy. */
int mdma_start(struct mdma *m, __u64 src, __u64 dst, __u64 len);

/* Wait until the copy has ended: VFIO_MDMA_STATUS_DONE, _FAULT or _ERROR. */
int mdma_wait(struct mdma *m);

int mdma_copy(struct mdma *m, __u64 src, __u64 dst, __u64 len);

/*
 * How many faults the IOMMU has reported: interrupts on the dmar* lines of
 * /proc/interrupts, one per faulting transfer on VT-d. -ENODEV where there is
 * no such line: other IOMMUs, as emulated, do not count their faults.
 *
 * The lab takes a fault in the kernel's log for a failure, unless the caller expects it: by
 * the next mdma_iommu_faulted(), or mdma_expect_iommu_faults().
 */
long mdma_iommu_faults(void);

/*
 * Has the IOMMU reported faults since there were @before? The interrupt may come on
 * another CPU, after this one has seen the end of the DMA. True where the IOMMU's faults
 * are not counted.
 */
bool mdma_iommu_faulted(long before);

/* Faults since the last mdma_iommu_faults() are expected, and those until the next. */
void mdma_expect_iommu_faults(void);

#endif /* MEMFD_OPS_MDMA_H */
