// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that leave a file which a real device follows: its DMA does not reach them once
 * the call has returned. edu cannot tell that the IOMMU blocked it, so that memory shows
 * it, and on VT-d the number of faults as well.
 */
#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/vfio_fixture.h"

#define PAGES	64		/* that most tests map, of a file of 2 MiB */

static int by_punch(struct test_env *env, size_t page)
{
	return punch(env->fd, page, 1);
}

static int by_truncate(struct test_env *env, size_t page)
{
	return ftruncate(env->fd, page * PAGE) || ftruncate(env->fd, env->pages * PAGE);
}

static int by_madvise(struct test_env *env, size_t page)
{
	return madvise(at(env, page), PAGE, MADV_REMOVE);
}

/* Every way in which a file loses a page on purpose. */
TEST_F(vfio, lose)
{
	int (*const take[])(struct test_env *env, size_t page) = {
		by_punch, by_truncate, by_madvise,
	};
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	fill(at(env, 2), 2);
	for (i = 0; i < ARRAY_SIZE(take); i++) {
		ASSERT_EQ(0, grow(env->fd, 3, 1));
		/* the IOMMU's TLB has it now */
		ASSERT_TRUE(reached(env, 3, 10 + i));
		ASSERT_EQ(0, take[i](env, 3));
		EXPECT_TRUE(blocked(env, 3)) TH_LOG("way %zu", i);
		EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 1));
		EXPECT_TRUE(device_reads(env, iova(2), at(env, 2)));
		ASSERT_EQ(0, grow(env->fd, 3, 1));
		EXPECT_TRUE(reached(env, 3, 20 + i)) TH_LOG("way %zu", i);
		EXPECT_TRUE(filled(at(env, 2), 2));
	}
}

#define NEXT	16	/* pages of the next owner of the freed page */

/*
 * A DMA in flight writes the old page before punch returns, or nothing: it does not
 * write to the next owner of that page. edu's DMA takes 100 ms: on a busy machine it takes
 * some rounds until one is still in flight then.
 */
TEST_F(vfio, lose_under_dma)
{
	struct test_env *env = &self->env;
	int round, other, again = 0;
	bool in_flight;
	__u64 pfn, pfns[NEXT];
	unsigned char *mem;
	size_t i;

	/* mapped too: what a device may have is allocated where that came from */
	other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(other, NEXT * PAGE));
	mem = mmap(NULL, NEXT * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, space_map(&env->space, other, 0, BASE + GIB, NEXT * PAGE, DMA_R));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	mdma_expect_iommu_faults();
	for (round = 0; round < 4 || !again; round++) {
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		/* the IOMMU's TLB has it now */
		ASSERT_EQ(0, device_writes(env, iova(0), 99));
		EXPECT_TRUE(written(at(env, 0), 99));
		pfn = pfn_of(at(env, 0));
		edu_go(&env->edu, iova(0), LEN, true);
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		ASSERT_EQ(0, grow(other, 0, NEXT));
		ASSERT_EQ(0, madvise(mem, NEXT * PAGE, MADV_POPULATE_READ));
		page_frames(mem, NEXT, pfns);
		if (edu_read(&env->edu, EDU_DMA_CMD) & EDU_DMA_RUN)
			for (i = 0; i < NEXT; i++)
				again += pfns[i] == pfn;
		ASSERT_EQ(0, edu_wait(&env->edu));
		EXPECT_TRUE(all(mem, NEXT * PAGE, 0));
		EXPECT_EQ(0, allocated(env->fd));
		ASSERT_EQ(0, punch(other, 0, NEXT));
	}
	note("in %d of %d rounds the page had another owner when the DMA ended", again, round);

	/* and one that meets the page that has come instead, writes that */
	do {
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		ASSERT_EQ(0, edu_dma(&env->edu, SIDE, LEN, false));
		edu_go(&env->edu, iova(0), LEN, true);
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		in_flight = edu_read(&env->edu, EDU_DMA_CMD) & EDU_DMA_RUN;
		ASSERT_EQ(0, edu_wait(&env->edu));
	} while (!in_flight);
	EXPECT_TRUE(written(at(env, 0), 99));
	munmap(mem, NEXT * PAGE);
	close(other);
}

TEST_F(vfio, hole_in_huge_page)
{
	struct test_env *env = &self->env;
	const size_t others[] = { 0, 99, 101, HUGE_PAGES - 1 };
	size_t i;

	if (env_thp(env, "always") == -ENOENT)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, map_pages(env, 0, HUGE_PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_TRUE(is_huge(env->mem));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, HUGE_PAGES));
	EXPECT_TRUE(reached(env, 100, 1));

	ASSERT_EQ(0, punch(env->fd, 100, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, HUGE_PAGES - 1));
	for (i = 0; i < ARRAY_SIZE(others); i++)
		EXPECT_TRUE(reached(env, others[i], 10 + i));
	EXPECT_TRUE(blocked(env, 100));
	ASSERT_EQ(0, grow(env->fd, 100, 1));
	EXPECT_TRUE(reached(env, 100, 2));
	for (i = 0; i < ARRAY_SIZE(others); i++)
		EXPECT_TRUE(written(at(env, others[i]), 11 + i));

	/* the whole of it by one call */
	ASSERT_EQ(0, punch(env->fd, 0, HUGE_PAGES));
	EXPECT_TRUE(table_has(env, &env->edu, 0, HUGE_PAGES, 0));
	EXPECT_TRUE(blocked(env, 0));
	EXPECT_EQ(HUGE, space_unmap(&env->space, iova(0), HUGE));
}

/* A page that the IOMMU has no memory for does not come; it can come later. */
TEST_F(vfio, no_memory_to_follow)
{
	struct test_env *env = &self->env;
	int nth, left, ret, failed = 0;

	if (env_open_fail_nth(env))
		SKIP(return, "%s", env->lacks);
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, map_pages(env, 0, PAGES));
		ASSERT_EQ(nth, fail_nth(env->fail, nth));
		ret = grow(env->fd, 1, 1);
		left = fail_nth(env->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 0));
			EXPECT_FALSE(in_core(at(env, 1)));
			failed++;
			ASSERT_EQ(0, grow(env->fd, 1, 1));
		}
		EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 1));
		ASSERT_EQ(0, punch(env->fd, 1, 1));
		ASSERT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	}
	note("%d of %d failed allocations made the call fail", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
}

TEST_HARNESS_MAIN
