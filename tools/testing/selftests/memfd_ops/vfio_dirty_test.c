// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking by an IOMMU, which the device in software has, and none of QEMU's: what
 * follows a memfd cannot be tracked. vfio_log_test.c has type1's log.
 */
#include "lib/attach.h"
#include "lib/fail.h"
#include "lib/harness.h"

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

/*
 * The dirty bits of what follows would come and go with the pages. So it is not tracked, and
 * that is said when tracking is switched on, rather than in the middle of a migration.
 */
TEST_F(soft, not_tracked)
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
	EXPECT_EQ(-EOPNOTSUPP, track(env, id, true));
	EXPECT_EQ(0, track(env, id, false));
	EXPECT_EQ(-EOPNOTSUPP, dirty(env, id, iova(0), PAGES, &bits));
	EXPECT_TRUE(follows(env, d, 1));

	/* without it, it is as always */
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	ASSERT_EQ(0, track(env, id, true));
	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, soft_write(d, before, "x", 1));
	EXPECT_EQ(0, dirty(env, id, before, 1, &bits));
	EXPECT_EQ(1, bits);
}

/* The other order: nothing that cannot be tracked comes while something is. */
TEST_F(soft, not_mapped_while_tracked)
{
	struct test_env *env = &self->env;
	struct vdev *d = &env->dma;
	__u32 id[3] = {};
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, space_alloc_table(&env->space, d, TRACKING, &id[i]));
	ASSERT_EQ(0, vdev_attach(d, id[2]));
	ASSERT_EQ(0, track(env, id[2], true));
	EXPECT_EQ(-EBUSY, map_pages(env, 0, PAGES));
	EXPECT_EQ(0, consumers_of(env->fd));
	/* one by address can be tracked; and the refused one is not in its way */
	ASSERT_EQ(0, space_map_address(&env->space, env->side, iova(0), PAGE));
	EXPECT_EQ(PAGE, space_unmap(&env->space, iova(0), PAGE));

	/* whichever table goes, it is the one that is tracked that counts */
	ASSERT_EQ(0, space_destroy(&env->space, id[0]));
	EXPECT_EQ(-EBUSY, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, track(env, id[2], true));
	ASSERT_EQ(0, track(env, id[2], false));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(follows(env, d, 1));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));

	/* it ends with its table, too */
	ASSERT_EQ(0, track(env, id[1], true));
	EXPECT_EQ(-EBUSY, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_destroy(&env->space, id[1]));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(follows(env, d, 2));
	EXPECT_EQ(-EOPNOTSUPP, track(env, id[2], true));
}

static int track_it(struct test_env *env)
{
	return track(env, table, true);
}

static int untracked(struct test_env *env)
{
	return track(env, table, false);
}

/* The file is followed, and nothing is tracked: a second mapping of it is possible. */
static bool is_followed(struct test_env *env, int ret)
{
	return consumers_of(env->fd) == 1 &&
	       !space_map(&env->space, env->fd, 0, iova(PAGES), PAGE, DMA_RW) &&
	       space_unmap(&env->space, iova(PAGES), PAGE) == PAGE;
}

TEST_F(soft, no_memory_to_refuse_tracking)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_alloc_table(&env->space, &env->dma, TRACKING, &table));
	ASSERT_EQ(0, vdev_attach(&env->dma, table));
	EXPECT_EQ(0, SWEEP(untracked, track_it, -EOPNOTSUPP, is_followed));
}

TEST_HARNESS_MAIN
