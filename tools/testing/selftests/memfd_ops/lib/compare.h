/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device can reach, compared with what the file has: by VFIO_MDMA_QUERY, and
 * where it can be seen by the IOMMU's own page table.
 */
#ifndef TEST_COMPARE_H
#define TEST_COMPARE_H

#include <stddef.h>

#include <memfd_ops/mdma.h>
#include <memfd_ops/vfio.h>

/*
 * How many of @pages pages from @iova on @m can reach. -EPROTO if query and table
 * disagree.
 */
long reachable(struct mdma *m, __u64 iova, size_t pages);

/*
 * Compare [first, first + pages) of the file, which has its start at @mem, with
 * the pages that @m can reach from @iova on: the same pages, at the same page frames,
 * and none that is not initialised. Returns the number of differences, and notes the
 * first ones.
 */
int differences(struct mdma *m, __u64 iova, int fd,
		const unsigned char *mem, size_t first, size_t pages);

/*
 * How many of @pages pages from @iova on the IOMMU's table translates for the device.
 * -EPROTO if one does not lead to the page of @mem, if given. -ENOENT if this IOMMU does
 * not show its table.
 */
long vdev_reaches(struct vdev *d, __u64 iova, size_t pages, const unsigned char *mem);

#endif /* TEST_COMPARE_H */
