// SPDX-License-Identifier: GPL-2.0
/*
 * No operation revokes a page that stays where it is in the file (I10): not next to a
 * hole, nor in part of one, not for a seal, not when a consumer refuses another page, not
 * when the page next to it fails.
 *
 * The core's tracepoint has the range of each revocation; the IOMMU's table and the
 * device's copies show that the pages are still there.
 */
#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/sigbus.h"
#include "lib/test_env.h"
#include "lib/trace.h"

#define PAGES	HUGE_PAGES

FIXTURE(neighbours)
{
	struct test_env env;
};

FIXTURE_SETUP(neighbours)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	if (!has_trace())
		SKIP(return, NEEDS_TRACE);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(neighbours)
{
	trace_stop();
	env_teardown(&self->env);
}

/* Fill pages of small folios, and map them, with @flags; then record revocations. */
static int map_small(struct test_env *env, size_t pages, __u32 flags)
{
	struct mdma *m = &env->dev[0];
	size_t i;
	int ret;

	ret = env_thp(env, "never");
	if (ret && ret != -ENOENT)
		return ret;
	for (i = 0; i < pages; i++)
		fill(at(env, i), i);
	ret = mdma_map(m, env->fd, 0, iova_of(m, 0), PAGES * PAGE, flags);
	return ret ? ret : trace_start(env->fd);
}

/* Fill the file with one huge folio, and map it; then record revocations. */
static int map_huge(struct test_env *env)
{
	size_t i;
	int ret;

	ret = env_thp(env, "force");
	if (!ret)
		ret = grow(env->fd, 0, PAGES);
	if (ret)
		return ret;
	for (i = 0; i < PAGES; i++)
		fill(at(env, i), i);
	if (!is_huge(env->mem))
		return -ENOMEM;
	ret = env_map(env, 0, 0, PAGES);
	return ret ? ret : trace_start(env->fd);
}

/* The device has kept [first, first + pages) all the time: data and translations. */
static bool undisturbed(struct test_env *env, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i++)
		if (!filled(at(env, i), i)) {
			note("page %zu has lost its content", i);
			return false;
		}
	if (traced("iommu", first, pages)) {
		note("the device has lost pages of [%zu, %zu)", first, first + pages);
		return false;
	}
	return !env_differences(env, 0, first, pages);
}

TEST_F(neighbours, of_a_hole_in_a_huge_folio)
{
	const size_t holes[] = { 0, 99, PAGES - 1 };
	struct test_env *env = &self->env;
	size_t i, hole, blocks;
	struct stat st;

	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		hole = holes[i];
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		ASSERT_EQ(0, map_huge(env));
		ASSERT_EQ(0, fstat(env->fd, &st));
		blocks = st.st_blocks;

		ASSERT_EQ(0, punch(env->fd, hole, 1));
		/* the folio was split, and one page of eight blocks freed */
		ASSERT_EQ(0, fstat(env->fd, &st));
		EXPECT_EQ(PAGE / 512, blocks - st.st_blocks);
		EXPECT_TRUE(undisturbed(env, 0, hole));
		EXPECT_TRUE(undisturbed(env, hole + 1, PAGES - hole - 1));
		/* that page was revoked, once */
		EXPECT_EQ(1, traced("iommu", hole, 1));
		EXPECT_EQ(0, env_reachable(env, 0, hole, 1));
		mdma_expect_iommu_faults();
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, hole, 5, 64));

		fill(at(env, hole), hole);
		EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, hole, 5, PAGE));
		EXPECT_TRUE(filled(at(env, 5), hole));
		EXPECT_EQ(HUGE, mdma_unmap_all(&env->dev[0]));
	}
}

/* A huge folio that leaves page by page: each takes its own translation with it. */
TEST_F(neighbours, of_each_hole_in_turn)
{
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, map_huge(env));
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, punch(env->fd, i, 1));
		ASSERT_EQ(PAGES - i - 1, allocated(env->fd));
		if (i % 64 == 0)
			ASSERT_EQ(PAGES - i - 1, env_reachable(env, 0, 0, PAGES));
	}
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	/* each of the 512 calls has revoked the page that left, and no other */
	EXPECT_EQ(PAGES, traced("iommu", 0, PAGES));

	/* one folio and one translation can have the place again */
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_TRUE(is_huge(env->mem));
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* Part of a page: it is zeroed where it is. */
TEST_F(neighbours, byte_of_a_page)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, map_small(env, 4, MDMA_RW));
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE + 7, 1));
	EXPECT_EQ(0, at(env, 1)[7]);
	EXPECT_EQ(4, allocated(env->fd));
	fill(at(env, 1), 1);
	EXPECT_TRUE(undisturbed(env, 0, 4));
}

/* The same at both edges of a hole in a huge folio: one page leaves, two are zeroed. */
TEST_F(neighbours, parts_of_pages_in_a_huge_folio)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, map_huge(env));
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       101 * PAGE - 1, PAGE + 2));
	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	EXPECT_EQ(0, env_reachable(env, 0, 101, 1));
	EXPECT_EQ(0, at(env, 100)[PAGE - 1]);
	EXPECT_EQ(0, at(env, 102)[0]);
	fill(at(env, 100), 100);
	fill(at(env, 102), 102);
	EXPECT_TRUE(undisturbed(env, 0, 101));
	EXPECT_TRUE(undisturbed(env, 102, PAGES - 102));
}

/* The rest of the last page, behind the end of the file, is zeroed where it is. */
TEST_F(neighbours, truncate_to_the_same_size)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, ftruncate(env->fd, 3 * PAGE + 100));
	ASSERT_EQ(0, map_small(env, 4, MDMA_RW));
	ASSERT_EQ(0, ftruncate(env->fd, 3 * PAGE + 100));
	EXPECT_TRUE(all(at(env, 3) + 100, PAGE - 100, 0));
	EXPECT_EQ(4, allocated(env->fd));
	fill(at(env, 3), 3);
	EXPECT_TRUE(undisturbed(env, 0, 4));
}

/* A seal asks which references there are, and takes none. */
TEST_F(neighbours, of_a_seal)
{
	struct test_env *env = &self->env;
	struct iovec page = { .iov_len = PAGE };
	const unsigned char *mem;
	int pipes[2];

	ASSERT_EQ(0, map_small(env, 16, VFIO_MDMA_MAP_FLAG_READ));
	/* a pipe has a page, which its reader may write to */
	page.iov_base = at(env, 3);
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &page, 1, 0));
	/* the seal refuses a mapping that can write */
	mem = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, env->fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, munmap(env->mem, PAGES * PAGE));
	env->mem = (unsigned char *)mem;

	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, fcntl(env->fd, F_GET_SEALS));
	EXPECT_TRUE(undisturbed(env, 0, 16));
	close(pipes[0]);
	close(pipes[1]);

	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_SEAL));
	EXPECT_EQ(F_SEAL_WRITE | F_SEAL_SEAL, fcntl(env->fd, F_GET_SEALS));
	EXPECT_TRUE(undisturbed(env, 0, 16));
}

/* Another consumer has no room for a page: the file does not get it. */
TEST_F(neighbours, of_a_refused_page)
{
	struct test_env *env = &self->env;
	const size_t had = 8;
	int status;

	ASSERT_EQ(0, map_small(env, had, MDMA_RW));
	if (in_child(&status)) {
		MUST(!limit_as_user(had));
		_exit(env_map(env, 1, 0, PAGES));
	}
	ASSERT_EQ(0, status);

	/* [0, 8) are there, and that is all it may have */
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, 32));
	EXPECT_EQ(had, allocated(env->fd));
	EXPECT_EQ(had, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(had, env_reachable(env, 1, 0, PAGES));
	EXPECT_TRUE(undisturbed(env, 0, had));
}

/* The memory of one page fails. */
TEST_F(neighbours, of_a_failing_page)
{
	struct test_env *env = &self->env;
	const size_t bad = 77;
	__u64 pfn;

	ASSERT_EQ(0, map_huge(env));
	pfn = pfn_of(at(env, bad));
	ASSERT_EQ(0, poison(at(env, bad)));
	EXPECT_EQ(0, env_reachable(env, 0, bad, 1));
	EXPECT_TRUE(undisturbed(env, 0, bad));
	EXPECT_TRUE(undisturbed(env, bad + 1, PAGES - bad - 1));

	ASSERT_EQ(0, madvise(at(env, bad), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, bad, 1));
	mdma_unmap_all(&env->dev[0]);
	unpoison_pfn(pfn);
}

TEST_HARNESS_MAIN
