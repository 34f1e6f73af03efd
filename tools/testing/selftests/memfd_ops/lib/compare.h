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
 * How many of @pages pages from @iova on can be reached. -EPROTO if the query
 * and the table do not say the same.
 */
long reachable(struct mdma *m, __u64 iova, size_t pages);

/*
 * Compare [first, first + pages) of the file, which has its start at @mem, with
 * what @m can reach from @iova on: the same pages, at the same page frames, and
 * none that is not initialised. The number of differences; the first ones are
 * told.
 */
int differences(struct mdma *m, __u64 iova, int fd,
		const unsigned char *mem, size_t first, size_t pages);

/*
 * How many of @pages pages the IOMMU's table leads to memory for the device, and
 * whether to that of @mem, if given: -EPROTO if not. -ENOENT if there is no such
 * table to be seen.
 */
long vdev_reaches(struct vdev *d, __u64 iova, size_t pages, const unsigned char *mem);

#endif /* TEST_COMPARE_H */
