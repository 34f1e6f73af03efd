/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QEMU's edu through vfio-pci: a device whose DMA a test can aim. See
 * docs/specs/edu.rst of QEMU.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_EDU_H
#define TEST_EDU_H

#include <memfd_ops/vfio.h>

#define EDU_ID		0x00
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_RUN	1
#define EDU_DMA_TO_RAM	2
#define EDU_BUFFER	0x40000

/* The bytes of a page that one DMA moves: QEMU aborts if it is the whole page. */
#define LEN		4088UL

__u64 edu_read(struct vdev *d, int reg);
void edu_write(struct vdev *d, int reg, __u64 value);
int edu_wait(struct vdev *d);

/* Let it do DMA; see vdev_start(). */
int edu_start(struct vdev *d);

/* Start one DMA between an IOVA and the device's buffer. */
void edu_go(struct vdev *d, __u64 iova, size_t len, bool to_ram);

/* The same, and wait for its end. */
int edu_dma(struct vdev *d, __u64 iova, size_t len, bool to_ram);

#endif /* TEST_EDU_H */
