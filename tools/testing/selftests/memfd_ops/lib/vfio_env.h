/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The environment of a test of VFIO: a memfd, the devices that the test needs, and a
 * space that has nothing mapped yet. The functions below that check something note the
 * error, and return false.
 */
#ifndef TEST_VFIO_ENV_H
#define TEST_VFIO_ENV_H

#include "edu.h"
#include "soft_device.h"
#include "test_env.h"

#define GIB	(1024UL << 20)
#define BASE	(4 * GIB)	/* the IOVA of the file's first page */
#define SIDE	(2 * GIB)	/* the IOVA of the side memory */

/* The devices that vfio_env_setup() needs */
#define NEED_EDU	1	/* edu behind an IOMMU; takes an NVMe controller, too */
#define NEED_NVME	2
#define NEED_SOFT	4	/* the devices in software */

/*
 * Opens no device. If it fails since the machine lacks something, env->lacks is the reason
 * to skip the test; otherwise something is broken.
 */
int vfio_env_setup(struct test_env *env, enum way way, size_t pages, int needs);

/* For edu, with two pages of side memory; then with edu attached, and those mapped. */
int vfio_env_setup_late(struct test_env *env, enum way way);
int vfio_env_setup_mapped(struct test_env *env, enum way way);

void vfio_env_teardown(struct test_env *env);

/* The first part of it: the devices and the space. */
void vfio_env_close(struct test_env *env);

bool has_nvme(struct test_env *env);
bool is_soft(struct vdev *d);

/* Open edu in the space, and let it do DMA. */
int open_edu(struct test_env *env);

/* Side memory, next to the file: of another memfd, or anonymous. */
int env_add_side(struct test_env *env, size_t pages, bool memfd);
int map_side(struct test_env *env);

__u64 iova(size_t page);

/* Pages of the file, at their IOVAs */
int map_pages(struct test_env *env, size_t first, size_t pages);
__s64 unmap_pages(struct test_env *env, size_t first, size_t pages);

/* Does edu read @want at that IOVA? Uses the second page of the side memory. */
bool device_reads(struct test_env *env, __u64 from, const unsigned char *want);

/* Have edu write fill()'s bytes for @seed. Uses the first page of the side memory. */
int device_writes(struct test_env *env, __u64 to, unsigned int seed);
bool written(const unsigned char *addr, unsigned int seed);

/* Does edu reach the file's page, which is there, in both directions? */
bool reached(struct test_env *env, size_t page, unsigned int seed);

/*
 * Does the IOMMU block a write of edu where the file has a hole? The page that the
 * file gets there, and loses again, has nothing of it.
 */
bool blocked(struct test_env *env, size_t page);

/* Has the device's table @want pages, the file's? True where no table can be seen. */
bool table_has(struct test_env *env, struct vdev *d, size_t first, size_t pages, long want);

/* The file has no consumer, and edu's table no page of it. */
bool nothing_mapped(struct test_env *env);

/*
 * virtio-iommu does not know a table's IOVAs before it is attached: existing mappings, by
 * address as well, do not fit into it. Replacing a table needs that.
 */
#define CANNOT_REPLACE	"this IOMMU cannot replace a table that is not empty"
bool can_fill_before_attach(struct test_env *env, struct vdev *d);

#endif /* TEST_VFIO_ENV_H */
