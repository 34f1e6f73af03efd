// SPDX-License-Identifier: GPL-2.0
/*
 * The invariants of memfd_ops, I1 to I7 and I9, as far as user space can see
 * them: with a real device, through a real IOMMU.
 */
#include <linux/userfaultfd.h>

#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/test_env.h"

#define PAGES	64	/* that the device has a window of */

FIXTURE(invariants)
{
	struct test_env env;
};

FIXTURE_SETUP(invariants)
{
	int ret = env_setup(&self->env, HUGE_PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(invariants)
{
	env_teardown(&self->env);
}

static int by_punch_hole(struct test_env *env, size_t first, size_t pages)
{
	return punch(env->fd, first, pages);
}

static int by_madv_remove(struct test_env *env, size_t first, size_t pages)
{
	return madvise(at(env, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

static int by_ftruncate(struct test_env *env, size_t first, size_t pages)
{
	return ftruncate(env->fd, first * PAGE) ? -errno : 0;
}

/* The pages [8, 16) leave the file. The device has used them just before. */
static void revoked_by(struct __test_metadata *_metadata, struct test_env *env,
		       int (*away)(struct test_env *env, size_t first, size_t pages))
{
	unsigned char secret[128];
	size_t i, pages = 8;
	long faults;

	ASSERT_EQ(0, ftruncate(env->fd, 16 * PAGE));
	for (i = 0; i < 16; i++)
		fill(at(env, i), i);
	memcpy(secret, at(env, 8), sizeof(secret));
	ASSERT_EQ(16, env_reachable(env, 0, 0, PAGES));

	/* now the translations to page 8 and 9 are in the IOTLB */
	ASSERT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 8, 0, sizeof(secret)));
	ASSERT_EQ(0, memcmp(at(env, 0), secret, sizeof(secret)));
	ASSERT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 9, sizeof(secret)));

	ASSERT_EQ(0, away(env, 8, pages));
	EXPECT_EQ(0, env_reachable(env, 0, 8, pages));
	EXPECT_EQ(8, env_reachable(env, 0, 0, PAGES));

	faults = mdma_iommu_faults();
	memset(at(env, 0), 0xee, PAGE);
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 8, 0, sizeof(secret)));
	EXPECT_NE(0, memcmp(at(env, 0), secret, sizeof(secret)))
		TH_LOG("the device could read the page that was gone");
	EXPECT_TRUE(mdma_iommu_faulted(faults));

	faults = mdma_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 1, 9, sizeof(secret)));
	EXPECT_TRUE(mdma_iommu_faulted(faults));

	/* none of that has brought a page back */
	EXPECT_EQ(8, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

TEST_F(invariants, i1_revoked_before_gone)
{
	ASSERT_EQ(0, env_map(&self->env, 0, 0, PAGES));
	revoked_by(_metadata, &self->env, by_punch_hole);
	revoked_by(_metadata, &self->env, by_madv_remove);
	revoked_by(_metadata, &self->env, by_ftruncate);
}

/* Part of a page is no page: a hole that covers none removes none. */
TEST_F(invariants, i1_partial_pages_stay)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	fill(at(env, 0), 0);
	fill(at(env, 1), 1);
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE - 100, 200));
	EXPECT_EQ(2, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_TRUE(all(at(env, 1) - 100, 200, 0));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, PAGE));
	EXPECT_TRUE(all(at(env, 1) + PAGE - 100, 100, 0));
}

/* All that the kernel may do to a page: none of it moves one that is mapped. */
TEST_F(invariants, i2_never_freed_while_reachable)
{
	struct test_env *env = &self->env;
	size_t i, step;
	__u64 pfn[16];

	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	for (i = 0; i < 16; i++) {
		fill(at(env, i), i);
		pfn[i] = pfn_of(at(env, i));
		ASSERT_NE(0, pfn[i]);
	}

	for (step = 0; step < 5; step++) {
		switch (step) {
		case 0:
			EXPECT_EQ(0, write_file("/proc/sys/vm/compact_memory", "1"));
			break;
		case 1:
			madvise(env->mem, 16 * PAGE, MADV_PAGEOUT);
			break;
		case 2:
			EXPECT_NE(0, madvise(env->mem, HUGE, MADV_COLLAPSE));
			break;
		case 3:
			EXPECT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
			break;
		case 4:
			/* the last but the device lets go of the pages' addresses */
			EXPECT_EQ(0, madvise(env->mem, 16 * PAGE, MADV_DONTNEED));
			break;
		}
		EXPECT_EQ(16, in_core_pages(env->mem, PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
		for (i = 0; i < 16; i++) {
			EXPECT_EQ(pfn[i], pfn_of(at(env, i)))
				TH_LOG("page %zu moved in step %zu", i, step);
			EXPECT_TRUE(filled(at(env, i), i));
		}
	}
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 3, 20 - 5, PAGE));
	EXPECT_TRUE(filled(at(env, 15), 3));
}

/* The last file descriptor and mapping go; the device holds on to the file. */
TEST_F(invariants, i2_file_outlives_its_descriptor)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	unsigned char *mem;
	int fd;

	fd = memfd_create("short-lived", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	fill(mem, 7);
	ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, PAGES), PAGE, MDMA_RW));
	munmap(mem, PAGE);
	close(fd);
	dirty_free_memory(32 << 20);

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 1));
	EXPECT_EQ(1, reachable(m, iova_of(m, PAGES), 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, PAGES, 0, PAGE));
	EXPECT_TRUE(filled(at(env, 0), 7));
}

static void cleared(struct __test_metadata *_metadata, struct test_env *env,
		    size_t first, size_t pages)
{
	size_t from[] = { first, first + pages - 1 }, i;

	EXPECT_EQ(pages, env_reachable(env, 0, first, pages));
	EXPECT_EQ(pages, in_core_pages(at(env, first), pages));
	for (i = 0; i < 2; i++) {
		memset(at(env, 0), 0xff, PAGE);
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, from[i], 0, PAGE));
		EXPECT_TRUE(all(at(env, 0), PAGE, 0))
			TH_LOG("page %zu shows the old bytes of its memory", from[i]);
	}
	EXPECT_TRUE(all(at(env, first), pages * PAGE, 0));
}

TEST_F(invariants, i3_never_uncleared)
{
	struct test_env *env = &self->env;

	/* before the device is there, and after */
	dirty_free_memory(64 << 20);
	ASSERT_EQ(0, grow(env->fd, 8, 8));
	EXPECT_EQ(0, in_core_pages(at(env, 8), 8));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	at(env, 0)[0] = 1;
	cleared(_metadata, env, 8, 8);

	ASSERT_EQ(0, grow(env->fd, 16, 32));
	cleared(_metadata, env, 16, 32);

	/* the rest of a page of which one byte is written */
	dirty_free_memory(16 << 20);
	ASSERT_EQ(1, pwrite(env->fd, "x", 1, 60 * PAGE + 2000));
	at(env, 60)[2000] = 0;
	cleared(_metadata, env, 60, 1);
}

TEST_F(invariants, i3_never_uncleared_huge)
{
	struct test_env *env = &self->env;
	int i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	env_teardown(env);
	ASSERT_EQ(0, env_setup(env, 2 * HUGE_PAGES));
	ASSERT_EQ(0, env_thp(env, "force"));
	dirty_free_memory(64 << 20);
	for (i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(0, env_map(env, 0, 0, 2 * HUGE_PAGES));
		ASSERT_EQ(0, grow(env->fd, i * HUGE_PAGES, HUGE_PAGES));
		EXPECT_EQ(i, in_core(at(env, i * HUGE_PAGES + 7)));
	}
	EXPECT_EQ(2 * HUGE_PAGES, env_reachable(env, 0, 0, 2 * HUGE_PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 511, 2, PAGE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 1000, 3, PAGE));
	EXPECT_TRUE(is_huge(at(env, 0)));
	EXPECT_TRUE(is_huge(at(env, HUGE_PAGES)));
	EXPECT_TRUE(all(at(env, 0), 2 * HUGE, 0));
}

/* Every way that brings pages; each must have mapped them when it returns. */
TEST_F(invariants, i4_mirror_complete)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct test_env *env = &self->env;
	struct uffdio_zeropage zero = { };
	unsigned char buf[3 * PAGE];
	struct uffdio_copy copy = { };
	int uffd, pipefd[2];

	fill(buf, 1);
	fill(buf + PAGE, 2);
	fill(buf + 2 * PAGE, 3);
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));

#define FOLLOWED(pages) do {						\
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));			\
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));		\
} while (0)

	/* write(2): whole pages, and a part of two */
	ASSERT_EQ(2 * PAGE, write(env->fd, buf, 2 * PAGE));
	FOLLOWED(2);
	ASSERT_EQ(PAGE, pwrite(env->fd, buf, PAGE, 4 * PAGE + 100));
	FOLLOWED(4);

	/* past the end of the file */
	ASSERT_EQ(0, ftruncate(env->fd, 10 * PAGE));
	ASSERT_EQ(PAGE, pwrite(env->fd, buf, PAGE, 12 * PAGE));
	FOLLOWED(5);
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	FOLLOWED(5);

	/* faults */
	EXPECT_EQ(0, *(volatile unsigned char *)at(env, 14));
	FOLLOWED(6);
	*(volatile unsigned char *)at(env, 15) = 1;
	FOLLOWED(7);
	ASSERT_EQ(0, madvise(at(env, 16), 2 * PAGE, MADV_POPULATE_READ));
	FOLLOWED(9);
	ASSERT_EQ(0, madvise(at(env, 18), 2 * PAGE, MADV_POPULATE_WRITE));
	FOLLOWED(11);

	/* fallocate, and what it leaves behind the end */
	ASSERT_EQ(0, grow(env->fd, 20, 4));
	FOLLOWED(15);
	ASSERT_EQ(0, ftruncate(env->fd, 24 * PAGE));
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 24 * PAGE, 2 * PAGE));
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	FOLLOWED(17);

	/* userfaultfd */
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(env, 30);
	reg.range.len = 4 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	copy.dst = (uintptr_t)at(env, 30);
	copy.src = (uintptr_t)buf;
	copy.len = 2 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	FOLLOWED(19);
	EXPECT_TRUE(filled(at(env, 31), 2));
	zero.range.start = (uintptr_t)at(env, 32);
	zero.range.len = 2 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	FOLLOWED(21);
	close(uffd);

	/* splice: pages of a pipe */
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PAGE, write(pipefd[1], buf, PAGE));
	ASSERT_EQ(PAGE, splice(pipefd[0], NULL, env->fd, &(loff_t){ 40 * PAGE }, PAGE, 0));
	FOLLOWED(22);
	EXPECT_TRUE(filled(at(env, 40), 1));

	/* another device has it mapped as well, before and after */
	ASSERT_EQ(0, env_map(env, 1, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 1, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 44, 4));
	FOLLOWED(26);
	EXPECT_EQ(0, env_differences(env, 1, 0, PAGES));

	/* and it is the file's pages that the device gets */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 31, 14, PAGE));
	EXPECT_TRUE(filled(at(env, 14), 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 1, 40, 44, PAGE));
	EXPECT_TRUE(filled(at(env, 44), 1));
#undef FOLLOWED
}

/* Pages that are in swap when the window is mapped come back for it. */
TEST_F(invariants, i4_swapped_out_before)
{
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, env_swap(env));
	for (i = 0; i < 16; i++)
		fill(at(env, i), i);
	ASSERT_EQ(0, madvise(env->mem, 16 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(env->mem, 16));

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(16, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	for (i = 0; i < 16; i++)
		EXPECT_TRUE(filled(at(env, i), i));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 5, 6, PAGE));
	EXPECT_TRUE(filled(at(env, 6), 5));
}

/* A consumer vetoes, since the pages exceed its limit: neither of the two keeps any. */
TEST_F(invariants, i5_veto)
{
	struct test_env *env = &self->env;
	/* next to page 3, each is charged for by both */
	const size_t most = 7;
	int i;

	ASSERT_EQ(0, ftruncate(env->fd, 0));
	ASSERT_EQ(0, ftruncate(env->fd, 16 * PAGE));
	fill(at(env, 3), 3);
	/* without a limit, and first to map what comes */
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, limit_as_user(2 * (1 + most)));
	ASSERT_EQ(0, env_map(env, 1, 0, PAGES));

	/* one page too many, some of them behind the end of the file */
	EXPECT_EQ(-EDQUOT, grow(env->fd, 12, most + 1));
	EXPECT_EQ(16, file_pages(env->fd));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_TRUE(filled(at(env, 3), 3));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, env_reachable(env, i, 0, PAGES));
		EXPECT_EQ(0, env_differences(env, i, 0, PAGES));
	}

	/* and no more than that */
	EXPECT_EQ(0, grow(env->fd, 12, most));
	EXPECT_EQ(12 + most, file_pages(env->fd));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(1 + most, env_reachable(env, i, 0, PAGES));
}

/*
 * A consumer's error is what the caller gets, and then nothing has changed: fail every
 * allocation on the way, one after the other, those for the mirror's page table among
 * them.
 */
TEST_F(invariants, i5_no_memory)
{
	struct mdma *m = &self->env.dev[0];
	/* page 16 is the first of a table of its own, and of a run of its own */
	const __u64 iova = iova_of(m, HUGE_PAGES - 16);
	unsigned char buf[2 * PAGE];
	struct test_env *env = &self->env;
	int way, nth, left, ret, failed;

	if (env_open_fail_nth(env))
		SKIP(return, "%s", env->lacks);
	fail_anything("0");
	memset(buf, 3, sizeof(buf));

	for (way = 0; way < 3; way++) {
		failed = 0;
		for (nth = 1; ; nth++) {
			__u64 at_iova = iova + (way * 1000ULL + nth) * 2 * HUGE;

			ASSERT_LT(nth, 1000);
			ASSERT_EQ(0, ftruncate(env->fd, 0));
			ASSERT_EQ(0, ftruncate(env->fd, 16 * PAGE));
			fill(at(env, 3), 3);
			/* at an IOVA for which there are no tables yet */
			if (way < 2)
				ASSERT_EQ(0, mdma_map(m, env->fd, 0, at_iova,
						      PAGES * PAGE, MDMA_RW));

			ASSERT_EQ(nth, fail_nth(env->fail, nth));
			switch (way) {
			case 0:
				ret = grow(env->fd, 8, 16);
				break;
			case 1:
				ret = pwrite(env->fd, buf, sizeof(buf), 20 * PAGE);
				ret = ret < 0 ? -errno : ret;
				break;
			case 2:
				ret = mdma_map(m, env->fd, 0, at_iova, PAGES * PAGE, MDMA_RW);
				break;
			}
			left = fail_nth(env->fail, 0);
			ASSERT_LE(0, left);

			EXPECT_TRUE(filled(at(env, 3), 3));
			if (ret < 0) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				EXPECT_EQ(16, file_pages(env->fd));
				/* nothing came, but what the device had already */
				EXPECT_EQ(in_core_pages(env->mem, PAGES), allocated(env->fd))
					TH_LOG("way %d: failure %d", way, nth);
				if (way)
					EXPECT_EQ(1, allocated(env->fd));
				failed++;
			} else if (way == 0) {
				EXPECT_EQ(17, allocated(env->fd));
				EXPECT_EQ(24, file_pages(env->fd));
			}
			if (way < 2 || !ret) {
				EXPECT_EQ(0, differences(m, at_iova, env->fd, env->mem, 0,
							 PAGES))
					TH_LOG("way %d: failure %d", way, nth);
				ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(m));
			}
			EXPECT_EQ(0, consumers_of(env->fd));
			EXPECT_EQ(0, reachable(m, at_iova, PAGES));
			if (left)
				break;
		}
		note("way %d: %d of %d failed allocations made the call fail", way,
		     failed, nth - 1);
		EXPECT_LT(0, failed);
	}
	fail_anything("1");
}

TEST_F(invariants, i6_independent_consumers)
{
	struct mdma *a = &self->env.dev[0], *b = &self->env.dev[1];
	struct test_env *env = &self->env;
	unsigned char *mem;
	int fd;

	/* windows that overlap in [16, 32) */
	ASSERT_EQ(0, env_map(env, 0, 0, 32));
	ASSERT_EQ(0, env_map(env, 1, 16, 32));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(32, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(32, env_reachable(env, 1, 0, PAGES));
	EXPECT_EQ(2, consumers_of(env->fd));

	ASSERT_EQ(0, punch(env->fd, 12, 8));
	EXPECT_EQ(24, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(28, env_reachable(env, 1, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, 32));
	EXPECT_EQ(0, env_differences(env, 1, 16, 32));

	/* the second file is the first device's alone */
	fd = memfd_create("other", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd, 4 * PAGE));
	mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, mdma_map(a, fd, 0, iova_of(a, PAGES), 4 * PAGE, MDMA_RW));
	mem[PAGE] = 1;
	EXPECT_EQ(0, differences(a, iova_of(a, PAGES), fd, mem, 0, 4));
	EXPECT_EQ(0, punch(fd, 0, 4));
	EXPECT_EQ(24, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(28, env_reachable(env, 1, 0, PAGES));

	/* one goes, the other neither loses anything nor stops to follow */
	EXPECT_EQ(32 * PAGE, mdma_unmap(a, iova_of(a, 0), 32 * PAGE));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(28, env_reachable(env, 1, 0, PAGES));
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, grow(env->fd, 12, 8));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 1, 16, 32));
	ASSERT_EQ(0, env_map(env, 0, 0, 32));
	EXPECT_EQ(0, env_differences(env, 0, 0, 32));

	/* or its device is closed */
	mdma_close(b);
	EXPECT_EQ(1, consumers_of(env->fd));
	fill(at(env, 20), 20);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 20, 21, PAGE));
	EXPECT_TRUE(filled(at(env, 21), 20));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
	EXPECT_EQ(0, env_reachable(env, 0, 0, 32));
}

/* After the last device has gone, the file is as any other. */
TEST_F(invariants, i7_clean_leaving)
{
	struct test_env *env = &self->env;
	int i, way;

	ASSERT_EQ(0, env_swap(env));
	for (way = 0; way < 3; way++) {
		for (i = 0; i < 16; i++)
			fill(at(env, i), i);
		ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		EXPECT_EQ(1, consumers_of(env->fd));
		madvise(env->mem, 16 * PAGE, MADV_PAGEOUT);
		EXPECT_EQ(16, in_core_pages(env->mem, 16));

		switch (way) {
		case 0:
			EXPECT_EQ(PAGES * PAGE, mdma_unmap(&env->dev[0],
							   iova_of(&env->dev[0], 0),
							   PAGES * PAGE));
			break;
		case 1:
			EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
			break;
		case 2:
			mdma_close(&env->dev[0]);
			break;
		}
		EXPECT_EQ(0, consumers_of(env->fd));
		/* nothing holds the pages; they are mapped again, to be found */
		for (i = 0; i < 16; i++)
			EXPECT_TRUE(filled(at(env, i), i));
		EXPECT_EQ(0, madvise(env->mem, 16 * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(env->mem, 16));
		for (i = 0; i < 16; i++)
			EXPECT_TRUE(filled(at(env, i), i));
	}

	/* nor does what looks for references from outside see any */
	munmap(env->mem, env->pages * PAGE);
	env->mem = NULL;
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

/* The memory itself comes back, however the device goes. */
TEST_F(invariants, i7_memory_is_freed)
{
	const long size = 16 << 20;
	struct mdma *m = &self->env.dev[0];
	long before, full, after;
	int fd, way;

	for (way = 0; way < 3; way++) {
		if (m->fd < 0)
			ASSERT_EQ(0, mdma_open_group(m));
		before = counter("/proc/meminfo", "Shmem");
		fd = memfd_create("big", MFD_CLOEXEC);
		ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, 0), size, MDMA_RW));
		ASSERT_EQ(0, grow(fd, 0, size / PAGE));
		full = counter("/proc/meminfo", "Shmem");
		/* leave some room for what others do */
		EXPECT_LT(before + size / 1024 - 400, full);
		switch (way) {
		case 0:
			EXPECT_EQ(0, ftruncate(fd, 0));
			break;
		case 1:
			close(fd);
			EXPECT_EQ(size, mdma_unmap_all(m));
			break;
		case 2:
			close(fd);
			mdma_close(m);
			break;
		}
		after = counter("/proc/meminfo", "Shmem");
		EXPECT_GT(before + 400, after)
			TH_LOG("%ld kB before, %ld with the file, %ld after",
			       before, full, after);
		if (!way) {
			close(fd);
			mdma_unmap_all(m);
		}
	}
}

/* A long walk makes a pause, behind a huge folio here, and goes on with the next page. */
TEST_F(invariants, i7_pause_in_unmap)
{
	/* with a hole in front: the huge folio is the 4096th */
	const size_t small = 8 * HUGE_PAGES, pages = small + HUGE_PAGES + 63;
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	unsigned char *mem;
	int fd;

	fd = memfd_create("mixed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, pages * PAGE));
	if (env_thp(env, "never"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(fd, 1, small - 1));
	ASSERT_EQ(0, env_thp(env, "force"));
	ASSERT_EQ(0, grow(fd, small, HUGE_PAGES));
	ASSERT_EQ(0, env_thp(env, "never"));
	ASSERT_EQ(0, grow(fd, small + HUGE_PAGES, 63));
	mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_TRUE(is_huge(mem + small * PAGE));
	ASSERT_FALSE(is_huge(mem + (small - 1) * PAGE));
	ASSERT_FALSE(is_huge(mem + (small + HUGE_PAGES) * PAGE));
	munmap(mem, pages * PAGE);

	ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, 0), pages * PAGE, MDMA_RW));
	EXPECT_EQ(pages - 1, reachable(m, iova_of(m, 0), pages));
	EXPECT_EQ(pages * PAGE, mdma_unmap_all(m));
	/* which looks for references from outside */
	EXPECT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	close(fd);
}

/* Without a consumer, before and after, the file does what it always did. */
TEST_F(invariants, i9_free_when_unused)
{
	struct test_env *env = &self->env;
	int round;

	ASSERT_EQ(0, env_swap(env));
	for (round = 0; round < 2; round++) {
		EXPECT_EQ(0, consumers_of(env->fd));
		/* pages that no device reaches are not cleared */
		ASSERT_EQ(0, grow(env->fd, 0, 16));
		EXPECT_EQ(16, allocated(env->fd));
		EXPECT_EQ(0, in_core_pages(env->mem, 16));
		memset(env->mem, 1, 16 * PAGE);
		EXPECT_EQ(16, in_core_pages(env->mem, 16));
		EXPECT_EQ(0, madvise(env->mem, 16 * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(env->mem, 16));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		EXPECT_EQ(0, allocated(env->fd));
		if (round)
			break;

		ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		ASSERT_EQ(0, grow(env->fd, 0, 16));
		EXPECT_EQ(16, in_core_pages(env->mem, 16));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
	}
}

TEST_HARNESS_MAIN
