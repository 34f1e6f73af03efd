/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The devices in software of drivers/vfio/vfio_memfd_test.c. One does DMA through an
 * IOMMU of its own; the other is emulated, and has VFIO read, write and pin memory.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_SOFT_DEVICE_H
#define TEST_SOFT_DEVICE_H

#include <memfd_ops/vfio.h>

#define DEVICE_DMA	"memfd-test-dma"
#define DEVICE_PIN	"memfd-test-pin"
#define PLATFORM_DEVICES "/sys/bus/platform/devices"
#define VDEV_SOFT(name)	{						\
	.bus = PLATFORM_DEVICES, .address = name, .group = -1, .fd = -1,	\
}

/* To an IOVA, for the emulated one to pin the memory; stays until the next time. */
#define PIN		0x100000000000000ULL	/* 2^56 */

int soft_read(struct vdev *d, __u64 iova, void *data, size_t len);
int soft_write(struct vdev *d, __u64 iova, const void *data, size_t len);

/*
 * Have VFIO and iommufd attach devices whose interrupts no IOMMU checks, such as the one
 * in software, which has none. @was is the former setting, 'Y' or 'N', for
 * unsafe_interrupts_as_before(), which does nothing if it is 0.
 */
int allow_unsafe_interrupts(char *was);

void unsafe_interrupts_as_before(char was);

#endif /* TEST_SOFT_DEVICE_H */
