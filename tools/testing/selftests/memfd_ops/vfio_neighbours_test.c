// SPDX-License-Identifier: GPL-2.0
/*
 * A DMA of a real device to a page next to a hole, while another consumer of the file
 * takes its time to revoke the hole (I6, I10).
 */
#include "lib/vfio_env.h"
#include "../kselftest_harness.h"

#define UNMAP_DELAY	"/sys/module/vfio_memfd_test/parameters/unmap_delay_ms"

/* The slow consumer is still busy when edu's DMA, of 100 ms, ends. */
#define DELAY_MS	"300"

#define SEED	42
#define HOLE	100

FIXTURE(vfio)
{
	struct test_env env;
	struct space slow;	/* of the device in software */
};

FIXTURE_VARIANT(vfio)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(vfio, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(vfio, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(vfio, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(vfio)
{
	struct test_env *env = &self->env;
	int ret;

	self->slow.fd = -1;
	ret = vfio_env_setup(env, variant->way, HUGE_PAGES, NEED_EDU | NEED_SOFT);
	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_add_side(env, 2, true));
	ASSERT_EQ(0, open_edu(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, space_open(&self->slow, variant->way));
	ASSERT_EQ(0, vdev_open(&self->slow, &env->dma));
}

FIXTURE_TEARDOWN(vfio)
{
	write_file(UNMAP_DELAY, "0");
	vdev_close(&self->env.dma);
	close_fd(&self->slow.fd);
	vfio_env_teardown(&self->env);
}

/* The core calls consumers in the order of their windows: the slow one comes last. */
static int map_both(struct test_env *env, struct space *slow)
{
	int ret = map_pages(env, 0, HUGE_PAGES);

	if (ret)
		return ret;
	return space_map(slow, env->fd, PAGE, iova(1), HUGE - PAGE, DMA_RW);
}

/* Have edu write to a page whose neighbour leaves before the DMA has ended. */
static void write_next_to_a_hole(struct __test_metadata *_metadata, struct test_env *env,
				 size_t page)
{
	long faults = mdma_iommu_faults();

	fill(env->side, SEED);
	ASSERT_EQ(0, edu_dma(&env->edu, SIDE, LEN, false));
	edu_go(&env->edu, iova(page), LEN, true);
	ASSERT_EQ(0, punch(env->fd, HOLE, 1));
	/* it was in flight during the call, and is not any more */
	ASSERT_FALSE(edu_read(&env->edu, EDU_DMA_CMD) & EDU_DMA_RUN);
	EXPECT_TRUE(written(at(env, page), SEED));
	if (faults >= 0)
		EXPECT_FALSE(mdma_iommu_faulted(faults));
	EXPECT_EQ(HUGE_PAGES - 1, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, HUGE_PAGES - 1));
}

/*
 * An invalidation that has begun for all of a huge folio, and waits for the slow consumer,
 * would have the DMA fault.
 */
TEST_F_TIMEOUT(vfio, dma_next_to_a_slow_hole, 120)
{
	const size_t pages[] = { 0, HOLE - 1, HOLE + 1, HUGE_PAGES - 1 };
	struct test_env *env = &self->env;
	size_t i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
		ASSERT_EQ(0, map_both(env, &self->slow));
		ASSERT_TRUE(is_huge(env->mem));
		ASSERT_EQ(0, write_file(UNMAP_DELAY, DELAY_MS));
		write_next_to_a_hole(_metadata, env, pages[i]);
		ASSERT_EQ(0, write_file(UNMAP_DELAY, "0"));
		ASSERT_EQ(HUGE, unmap_pages(env, 0, HUGE_PAGES));
		ASSERT_EQ(HUGE - PAGE, space_unmap(&self->slow, iova(1), HUGE - PAGE));
		ASSERT_EQ(0, punch(env->fd, 0, HUGE_PAGES));
	}
}

TEST_HARNESS_MAIN
