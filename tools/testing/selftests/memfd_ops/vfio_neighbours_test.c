// SPDX-License-Identifier: GPL-2.0
/*
 * A DMA of a real device to a page next to a hole, while another consumer of the file
 * takes its time to revoke the hole (I6, I10).
 */
#include <pthread.h>

#include "lib/harness.h"
#include "lib/sigbus.h"
#include "lib/vfio_env.h"

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
#define SLOW_FIRST	1

static int map_both(struct test_env *env, struct space *slow)
{
	int ret = map_pages(env, 0, HUGE_PAGES);

	if (ret)
		return ret;
	return space_map(slow, env->fd, SLOW_FIRST * PAGE, iova(SLOW_FIRST),
			 HUGE - SLOW_FIRST * PAGE, DMA_RW);
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
	EXPECT_EQ(HUGE_PAGES - 1, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, HUGE_PAGES - 1));
	EXPECT_EQ(faults, mdma_iommu_faults());
}

/*
 * An invalidation that has begun for all of a huge folio, and waits for the slow consumer,
 * would have the DMA fault.
 */
TEST_F(vfio, dma_next_to_a_slow_hole)
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
		ASSERT_EQ(HUGE - PAGE, space_unmap_all(&self->slow));
		ASSERT_EQ(0, punch(env->fd, 0, HUGE_PAGES));
	}
}

static void *punch_slowly(void *arg)
{
	struct test_env *env = arg;

	return (void *)(intptr_t)punch(env->fd, HOLE, 1);
}

/* Wait until the slow consumer is at it: the other one is done then. */
static void wait_for_slow_one(struct test_env *env)
{
	struct consumer list[2];
	int i, nr;

	do {
		nr = consumers_list(env->fd, list, 2);
		for (i = 0; i < nr && list[i].first != SLOW_FIRST; i++)
			;
	} while (i < nr && !list[i].invalidated);
}

/*
 * A second page that leaves while the consumers are busy with the first one: what they
 * keep in reserve for the first must not be missing for the second.
 */
TEST_F(vfio, dma_next_to_two_pages_that_leave)
{
	const size_t bad = 200, page = 300;
	struct test_env *env = &self->env;
	pthread_t thread;
	long faults;
	__u64 pfn;
	void *ret;

	env_thp(env, "never");
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, map_both(env, &self->slow));
	pfn = pfn_of(at(env, bad));
	fill(env->side, SEED);
	ASSERT_EQ(0, edu_dma(&env->edu, SIDE, LEN, false));
	faults = mdma_iommu_faults();

	stay_on_one_cpu(false);
	ASSERT_EQ(0, write_file(UNMAP_DELAY, DELAY_MS));
	ASSERT_EQ(0, pthread_create(&thread, NULL, punch_slowly, env));
	wait_for_slow_one(env);
	edu_go(&env->edu, iova(page), LEN, true);
	ASSERT_EQ(0, poison(at(env, bad)));
	ASSERT_FALSE(edu_read(&env->edu, EDU_DMA_CMD) & EDU_DMA_RUN);
	pthread_join(thread, &ret);
	EXPECT_EQ(NULL, ret);
	ASSERT_EQ(0, write_file(UNMAP_DELAY, "0"));

	EXPECT_TRUE(written(at(env, page), SEED));
	ASSERT_EQ(0, madvise(at(env, bad), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, bad, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, HUGE_PAGES - 2));
	EXPECT_EQ(faults, mdma_iommu_faults());
	unpoison_pfn(pfn);
}

TEST_HARNESS_MAIN
