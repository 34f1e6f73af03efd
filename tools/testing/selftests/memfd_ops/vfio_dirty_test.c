// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking by an IOMMU, which the device in software has, and none of QEMU's: it has
 * no bits for what follows a memfd.
 */
#include "lib/attach.h"
#include "lib/fail.h"
#include "../kselftest_harness.h"

#define TRACKING	IOMMU_HWPT_ALLOC_DIRTY_TRACKING

static __u32 table;	/* of the device: with dirty tracking */

FIXTURE(soft)
{
	struct test_env env;
};

FIXTURE_SETUP(soft)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, IOMMUFD);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vdev_bind(&env->space, &env->dma));
}

FIXTURE_TEARDOWN(soft)
{
	attach_env_teardown(&self->env);
}

static int track(struct test_env *env, __u32 id, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = id,
	};

	return ioctl(env->space.fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set) ? -errno : 0;
}

/* Which of up to 64 pages are dirty. */
static int dirty(struct test_env *env, __u32 id, __u64 where, size_t pages, __u64 *bits)
{
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = id,
		.iova = where,
		.length = pages * PAGE,
		.page_size = PAGE,
		.data = (uintptr_t)bits,
	};

	*bits = 0;
	return ioctl(env->space.fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get) ? -errno : 0;
}

TEST_F_TIMEOUT(soft, dirty_tracking, 60)
{
	const __u64 before = iova(0) - PAGE;
	struct test_env *env = &self->env;
	struct vdev *d = &env->dma;
	__u64 bits;
	__u32 id = 0;

	ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
	note("a table with dirty tracking for edu: %s",
	     strerror(-space_alloc_table(&env->space, &env->edu, TRACKING, &id)));
	/* the memory mapped by address ends where the file begins */
	ASSERT_EQ(0, space_map_address(&env->space, env->side, before, PAGE));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, space_alloc_table(&env->space, d, TRACKING, &id));
	ASSERT_EQ(0, vdev_attach(d, id));
	EXPECT_EQ(0, track(env, id, true));

	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, soft_write(d, before, "x", 1));
	EXPECT_EQ(0, soft_write(d, iova(1), "x", 1));
	EXPECT_EQ(-EOPNOTSUPP, dirty(env, id, iova(0), PAGES, &bits));
	EXPECT_EQ(-EOPNOTSUPP, dirty(env, id, iova(1), 1, &bits));
	/* a refused call clears no bit, not even next to the range */
	EXPECT_EQ(-EOPNOTSUPP, dirty(env, id, before, 2, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(1, bits);
	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(0, bits);

	/* a range that comes while it is tracked, and one that goes */
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(follows(env, d, 1));
	EXPECT_EQ(-EOPNOTSUPP, dirty(env, id, iova(0), PAGES, &bits));
	EXPECT_EQ(0, track(env, id, false));
	EXPECT_TRUE(follows(env, d, 2));
	EXPECT_EQ(0, track(env, id, true));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_EQ(0, soft_write(d, before, "y", 1));
	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(1, bits);
}

static int dirty_of_two(struct test_env *env)
{
	__u64 bits;

	return dirty(env, table, iova(0) - PAGE, 2, &bits);
}

static int write_before(struct test_env *env)
{
	return soft_write(&env->dma, iova(0) - PAGE, "x", 1);
}

/* The bit next to the range, which no call returned yet, is still set. */
static bool is_still_dirty(struct test_env *env, int ret)
{
	__u64 bits;

	return consumers_of(env->fd) == 1 &&
	       !dirty(env, table, iova(0) - PAGE, 1, &bits) && bits == 1 &&
	       !write_before(env);
}

TEST_F_TIMEOUT(soft, no_memory_to_refuse_dirty_bits, 120)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, space_map_address(&env->space, env->side, iova(0) - PAGE, PAGE));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_alloc_table(&env->space, &env->dma, TRACKING, &table));
	ASSERT_EQ(0, vdev_attach(&env->dma, table));
	ASSERT_EQ(0, track(env, table, true));
	EXPECT_EQ(0, SWEEP(write_before, dirty_of_two, -EOPNOTSUPP, is_still_dirty));
}

TEST_HARNESS_MAIN
