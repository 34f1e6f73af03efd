// SPDX-License-Identifier: GPL-2.0
/*
 * Every way in which the kernel may take a page of a file away, or replace it,
 * without being asked to by the file's owner. Where it can be had for certain,
 * the event is first shown to happen to a file that no device follows.
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/iova_table.h"
#include "lib/sigbus.h"
#include "lib/test_env.h"

#define PAGES	HUGE_PAGES

FIXTURE(hazards)
{
	struct test_env env;
};

FIXTURE_SETUP(hazards)
{
	int ret = env_setup(&self->env, 2 * PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(hazards)
{
	env_teardown(&self->env);
}

TEST_F(hazards, swap_out)
{
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, env_swap(env));
	for (i = 0; i < 32; i++)
		fill(at(env, i), i);
	ASSERT_EQ(0, madvise(env->mem, 32 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(env->mem, 32));

	ASSERT_EQ(0, env_map(env, 0, 0, 16));
	EXPECT_EQ(16, env_reachable(env, 0, 0, 16));
	madvise(env->mem, 32 * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(16, env_reachable(env, 0, 0, 16));
	EXPECT_EQ(0, env_differences(env, 0, 0, 16));
	for (i = 0; i < 32; i++)
		EXPECT_TRUE(filled(at(env, i), i));
}

/*
 * A hole in part of a page that is in swap reads the page back within the invalidation of
 * that page. The call must not wait for itself, and the device has the page on return (I4).
 * Mapping skips pages in swap past the end of the file; here the file then grows.
 */
TEST_F(hazards, hole_in_a_swapped_page)
{
	struct test_env *env = &self->env;
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, env_no_readahead(env));
	ASSERT_EQ(0, ftruncate(env->fd, 0));
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 10 * PAGE, PAGE));
	cgroup_reclaim();
	ASSERT_FALSE(in_core(at(env, 10)));
	ASSERT_EQ(0, env_map(env, 0, 0, 16));
	ASSERT_EQ(0, ftruncate(env->fd, env->pages * PAGE));
	EXPECT_EQ(0, env_reachable(env, 0, 0, 16));

	EXPECT_EQ(0, fallocate(env->fd, punch, 10 * PAGE + 100, 200));
	EXPECT_EQ(1, env_reachable(env, 0, 0, 16));
	EXPECT_EQ(0, env_differences(env, 0, 0, 16));
	EXPECT_TRUE(all(at(env, 10), PAGE, 0));
	cgroup_leave();
}

/*
 * No CPU fault marks a page dirty that only a device writes. Reclaim drops clean pages,
 * such as one that was only read so far: it must not drop this one.
 */
TEST_F(hazards, dirtied_by_the_device)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, env_swap(env));
	fill(at(env, 0), 42);
	/* pages that are only read go, without a trace in swap */
	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_POPULATE_READ));
	EXPECT_EQ(5, allocated(env->fd));
	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(env, 4), 4));

	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_POPULATE_READ));
	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, env_map(env, 0, 0, 8));
	EXPECT_EQ(5, env_reachable(env, 0, 0, 8));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 5, PAGE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 6, PAGE));
	EXPECT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
	EXPECT_EQ(5, env_reachable(env, 0, 0, 8));
	ASSERT_EQ(8 * PAGE, mdma_unmap_all(&env->dev[0]));

	/* reclaim drops the page if it is clean and not mapped, or swaps it out */
	EXPECT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
	EXPECT_TRUE(filled(at(env, 5), 42));
	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_POPULATE_READ));
	ASSERT_EQ(0, madvise(at(env, 4), 4 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(env, 4), 4));
	EXPECT_TRUE(filled(at(env, 6), 42));
}

static int collapse(struct test_env *env)
{
	return madvise(env->mem, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

TEST_F(hazards, collapse)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	size_t i;

	if (access(SHMEM_ENABLED, F_OK))
		SKIP(return, "no huge pages in this kernel's shmem");
	for (i = 0; i < PAGES; i += 2)
		fill(at(env, i), i);
	ASSERT_EQ(0, collapse(env));
	ASSERT_TRUE(is_huge(env->mem));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));

	/* all of it mapped: pages, and the holes between them */
	for (i = 0; i < PAGES; i += 2)
		fill(at(env, i), i);
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_NE(0, collapse(env));
	EXPECT_FALSE(is_huge(env->mem));
	EXPECT_EQ(PAGES / 2, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(m));

	/* a window of which the file has nothing: no reference is held there */
	ASSERT_EQ(0, env_map(env, 0, 1, 1));
	EXPECT_EQ(0, env_reachable(env, 0, 1, 1));
	collapse(env);
	EXPECT_EQ(0, env_differences(env, 0, 1, 1));
	EXPECT_EQ(PAGE, mdma_unmap_all(m));

	EXPECT_EQ(0, collapse(env));
	EXPECT_TRUE(is_huge(env->mem));
	for (i = 0; i < PAGES; i += 2)
		EXPECT_TRUE(filled(at(env, i), i));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* How many of the pages are not where they were. */
static size_t moved(struct test_env *env, const __u64 *pfn, size_t pages)
{
	size_t i, sum = 0;

	for (i = 0; i < pages; i++)
		sum += pfn_of(at(env, i)) != pfn[i];
	return sum;
}

/* Compaction moves pages, but not those that a device has mapped. */
TEST_F(hazards, compaction)
{
	struct test_env *env = &self->env;
	const size_t size = 64 << 20;
	__u64 pfn[PAGES];
	unsigned char *mem;
	size_t i, round;

	for (round = 0; round < 2; round++) {
		/* every second page of much memory is free, so that it can */
		mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, mem);
		madvise(mem, size, MADV_NOHUGEPAGE);
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		if (round)
			ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		for (i = 0; i < size / PAGE; i++) {
			mem[i * PAGE] = 1;
			if (i % (size / PAGE / PAGES) == 0)
				fill(at(env, i / (size / PAGE / PAGES)),
				     i / (size / PAGE / PAGES));
		}
		for (i = 0; i < PAGES; i++)
			pfn[i] = pfn_of(at(env, i));
		for (i = 0; i < size / PAGE; i += 2)
			madvise(mem + i * PAGE, PAGE, MADV_DONTNEED);
		EXPECT_EQ(0, write_file("/proc/sys/vm/compact_memory", "1"));
		if (!round) {
			note("%zu of %zu pages moved without a device",
			     moved(env, pfn, PAGES), PAGES);
		} else {
			EXPECT_EQ(0, moved(env, pfn, PAGES));
			EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
		}
		for (i = 0; i < PAGES; i++)
			EXPECT_TRUE(filled(at(env, i), i));
		munmap(mem, size);
	}
}

/* Soft-offline a page: its content moves, if no device pins it. */
TEST_F(hazards, soft_offline)
{
	struct test_env *env = &self->env;
	__u64 pfn[4];
	size_t i;

	for (i = 0; i < 4; i++) {
		fill(at(env, i), i);
		pfn[i] = pfn_of(at(env, i));
	}
	ASSERT_EQ(0, madvise(at(env, 0), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_EQ(1, moved(env, pfn, 4));

	ASSERT_EQ(0, env_map(env, 0, 0, 16));
	for (i = 0; i < 4; i++)
		pfn[i] = pfn_of(at(env, i));
	EXPECT_NE(0, madvise(at(env, 1), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_EQ(0, moved(env, pfn, 4));
	EXPECT_EQ(0, env_differences(env, 0, 0, 16));

	/* a file that is followed, but not there */
	ASSERT_EQ(16 * PAGE, mdma_unmap_all(&env->dev[0]));
	ASSERT_EQ(0, env_map(env, 0, 100, 16));
	madvise(at(env, 2), PAGE, MADV_SOFT_OFFLINE);
	EXPECT_EQ(0, env_differences(env, 0, 100, 16));
	ASSERT_EQ(16 * PAGE, mdma_unmap_all(&env->dev[0]));
	ASSERT_EQ(0, madvise(at(env, 3), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_NE(pfn[3], pfn_of(at(env, 3)));
	for (i = 0; i < 4; i++)
		EXPECT_TRUE(filled(at(env, i), i));
}

/* A hole inside a huge folio: its other pages stay, and stay mapped. */
TEST_F(hazards, partial_punch_of_huge_folio)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	const struct {
		size_t first, pages;
	} holes[] = {
		{ 0, 1 }, { 511, 1 }, { 100, 50 }, { 1, 510 },
	};
	size_t i, j;
	long faults;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		/* mapped first and filled then, or the other way round */
		if (i % 2)
			ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(m));
		ASSERT_EQ(0, grow(env->fd, 0, PAGES));
		for (j = 0; j < PAGES; j++)
			fill(at(env, j), j);
		if (i % 2)
			ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		ASSERT_TRUE(is_huge(env->mem));
		if (has_iova_table(m))
			EXPECT_EQ(HUGE, entry_size(m, iova_of(m, 0)));

		ASSERT_EQ(0, punch(env->fd, holes[i].first, holes[i].pages));
		EXPECT_EQ(PAGES - holes[i].pages, allocated(env->fd));
		EXPECT_EQ(0, env_reachable(env, 0, holes[i].first, holes[i].pages));
		EXPECT_EQ(PAGES - holes[i].pages, env_reachable(env, 0, 0, PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
		EXPECT_EQ(holes[i].first * PAGE, lseek(env->fd, holes[i].first * PAGE,
						       SEEK_HOLE));
		for (j = 0; j < PAGES; j++)
			if (j - holes[i].first >= holes[i].pages)
				EXPECT_TRUE(filled(at(env, j), j));
		mdma_unmap_all(m);
	}

	/* and for the device itself */
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	for (j = 0; j < 4; j++)
		fill(at(env, j), j);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 1, 3, 64));
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	faults = mdma_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 1, 3, 64));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 2, PAGE));
	EXPECT_TRUE(filled(at(env, 2), 0));
}

/* A window that ends inside a huge folio must not keep it from being split. */
TEST_F(hazards, punch_beside_a_window)
{
	struct test_env *env = &self->env;
	size_t j;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (j = 0; j < PAGES; j++)
		fill(at(env, j), j);
	ASSERT_TRUE(is_huge(env->mem));
	ASSERT_EQ(0, env_map(env, 0, 0, 8));
	ASSERT_EQ(0, punch(env->fd, 300, 100));
	EXPECT_EQ(PAGES - 100, allocated(env->fd));
	EXPECT_EQ(8, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, 8));
	EXPECT_TRUE(filled(at(env, 7), 7));
	EXPECT_TRUE(filled(at(env, 299), 299));
	EXPECT_TRUE(filled(at(env, 400), 400));
}

/*
 * The tail of a huge folio that lies past the end of the file: the shrinker
 * splits such folios and frees it.
 */
TEST_F(hazards, shrinker_of_huge_tails)
{
	struct test_env *env = &self->env;
	size_t had;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, ftruncate(env->fd, 10 * PAGE));
	fill(at(env, 0), 0);
	EXPECT_EQ(PAGES, allocated(env->fd));
	EXPECT_EQ(0, write_file("/proc/sys/vm/drop_caches", "2"));
	EXPECT_EQ(10, allocated(env->fd));

	ASSERT_EQ(0, ftruncate(env->fd, 0));
	ASSERT_EQ(0, ftruncate(env->fd, 10 * PAGE));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	fill(at(env, 0), 0);
	fill(at(env, 9), 9);
	had = env_reachable(env, 0, 0, PAGES);
	note("10 pages of file, %zu allocated, %zu reachable", allocated(env->fd), had);
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(0, write_file("/proc/sys/vm/drop_caches", "2"));
	EXPECT_EQ(had, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	/* all that is reachable is the file's still: it can be had by growing */
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_TRUE(filled(at(env, 9), 9));

	/* truncation takes the tail away from the device, whole pages of it */
	ASSERT_EQ(0, ftruncate(env->fd, 5 * PAGE));
	EXPECT_EQ(0, env_reachable(env, 0, 5, PAGES - 5));
	EXPECT_EQ(1, in_core(at(env, 0)));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* The device must lose that page, and only that. */
static void memory_failure(struct __test_metadata *_metadata, struct test_env *env,
			   bool huge)
{
	const size_t bad = 77;
	unsigned char byte;
	__u64 pfn;
	size_t j;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (j = 0; j < PAGES; j++)
		fill(at(env, j), j);
	ASSERT_EQ(huge, is_huge(env->mem));
	pfn = pfn_of(at(env, bad));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, bad, bad + 1, 64));

	ASSERT_EQ(0, poison(at(env, bad)));
	EXPECT_EQ(0, env_reachable(env, 0, bad, 1));
	EXPECT_EQ(PAGES - 1, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, bad));
	EXPECT_EQ(0, env_differences(env, 0, bad + 1, PAGES - bad - 1));
	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, bad, 0, 64));
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 0, bad, 64));

	/* the old content does not come back, for any reader */
	EXPECT_TRUE(read_is_refused(at(env, bad)));
	EXPECT_EQ(-1, pread(env->fd, &byte, 1, bad * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, env_reachable(env, 0, bad, 1));
	EXPECT_FALSE(read_is_refused(at(env, bad - 1)));
	EXPECT_TRUE(filled(at(env, bad - 1), bad - 1));
	EXPECT_TRUE(filled(at(env, bad + 2), bad + 2));

	/* nor for a device that maps it now */
	ASSERT_EQ(0, env_map(env, 1, 0, PAGES));
	EXPECT_EQ(0, env_reachable(env, 1, bad, 1));
	EXPECT_EQ(PAGES - 1, env_reachable(env, 1, 0, PAGES));

	/* but a hole and a new page in its place do; our own mapping is to forget */
	ASSERT_EQ(0, madvise(at(env, bad), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, bad, 1));
	ASSERT_EQ(0, grow(env->fd, bad, 1));
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(PAGES, env_reachable(env, 1, 0, PAGES));
	EXPECT_NE(pfn, pfn_of(at(env, bad)));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, bad, 64));

	mdma_unmap_all(&env->dev[0]);
	mdma_unmap_all(&env->dev[1]);
	unpoison_pfn(pfn);
}

/*
 * UFFDIO_COPY, where the process has a mark of failed memory in place of its page: the file
 * does not keep the page that it cannot map, and the device had it no longer than that.
 */
TEST_F(hazards, copy_over_failed_memory)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_copy copy = { .len = PAGE };
	struct test_env *env = &self->env;
	unsigned char page[PAGE] = { 1 };
	__u64 pfn;
	int uffd;

	fill(at(env, 3), 3);
	pfn = pfn_of(at(env, 3));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, poison(at(env, 3)));
	ASSERT_EQ(0, punch(env->fd, 3, 1));
	unpoison_pfn(pfn);

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(env, 0);
	reg.range.len = PAGES * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	copy.dst = (uintptr_t)at(env, 3);
	copy.src = (uintptr_t)page;
	EXPECT_EQ(EEXIST, errno_of(ioctl(uffd, UFFDIO_COPY, &copy)));
	EXPECT_EQ(0, allocated(env->fd));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	/* next to it, and there by another way */
	copy.dst = (uintptr_t)at(env, 4);
	EXPECT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	EXPECT_EQ(1, pwrite(env->fd, page, 1, 3 * PAGE));
	EXPECT_EQ(2, allocated(env->fd));
	EXPECT_EQ(2, env_reachable(env, 0, 0, PAGES));
	close(uffd);
}

/* It stops CPUs. A snapshot that relies on it misses what the device writes meanwhile. */
TEST_F(hazards, write_protected_by_userfaultfd)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_SIGBUS,
	};
	struct test_env *env = &self->env;
	int uffd;

	fill(at(env, 0), 1);
	fill(at(env, 1), 2);
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(env, 1);
	reg.range.len = PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	protect.range = reg.range;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &protect));

	EXPECT_EQ(EFAULT, errno_of(pread(env->fd, at(env, 1), PAGE, 0)));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, PAGE));
	EXPECT_EQ(0, memcmp(at(env, 0), at(env, 1), PAGE));
	close(uffd);
}

TEST_F(hazards, memory_failure)
{
	memory_failure(_metadata, &self->env, false);
}

TEST_F(hazards, memory_failure_in_huge_folio)
{
	if (env_thp(&self->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	memory_failure(_metadata, &self->env, true);
}

/* Memory that must stay movable is no place for what a device holds. */
TEST_F(hazards, movable_memory)
{
	struct test_env *env = &self->env;
	__u64 frames[2];
	size_t i;

	movable_zone(frames);
	if (frames[0] == frames[1])
		SKIP(return, "no ZONE_MOVABLE: boot with movablecore=");
	stay_on_one_cpu(true);
	for (i = 0; i < 32; i++)
		fill(at(env, i), i);
	/* some that are only fallocated */
	ASSERT_EQ(0, grow(env->fd, 32, 8));
	ASSERT_EQ(32, pages_in_frames(at(env, 0), 32, frames));

	ASSERT_EQ(0, env_map(env, 0, 0, 64));
	EXPECT_EQ(40, env_reachable(env, 0, 0, 64));
	EXPECT_EQ(0, env_differences(env, 0, 0, 64));
	EXPECT_EQ(0, pages_in_frames(at(env, 0), 40, frames));
	for (i = 0; i < 32; i++)
		EXPECT_TRUE(filled(at(env, i), i));
	/* what comes later never goes there */
	ASSERT_EQ(0, grow(env->fd, 40, 24));
	EXPECT_EQ(0, pages_in_frames(at(env, 0), 64, frames));

	/* an unpinned page may */
	ASSERT_EQ(64 * PAGE, mdma_unmap_all(&env->dev[0]));
	for (i = 64; i < 96; i++)
		fill(at(env, i), i);
	EXPECT_EQ(32, pages_in_frames(at(env, 0), 96, frames));
}

/* A sealed file does not change: not while a device can write to it. */
TEST_F(hazards, seals)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;

	fill(at(env, 0), 0);
	ASSERT_EQ(0, env_map(env, 0, 0, 16));
	munmap(env->mem, env->pages * PAGE);
	env->mem = NULL;
	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, fcntl(env->fd, F_GET_SEALS));
	EXPECT_EQ(1, env_reachable(env, 0, 0, 16));
	EXPECT_EQ(16 * PAGE, mdma_unmap_all(m));
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	/* nothing can be punched or written now, and reading is still fine */
	EXPECT_EQ(-EPERM, punch(env->fd, 0, 1));
	EXPECT_EQ(-EPERM, mdma_map(m, env->fd, 0, iova_of(m, 0), 16 * PAGE, MDMA_RW));
	EXPECT_EQ(0, mdma_map(m, env->fd, 0, iova_of(m, 0), 16 * PAGE,
			      VFIO_MDMA_MAP_FLAG_READ));
	EXPECT_EQ(1, env_reachable(env, 0, 0, 16));
}

/* A window of holes is writable as well: what comes there could be written. */
TEST_F(hazards, seals_and_holes)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;

	munmap(env->mem, env->pages * PAGE);
	env->mem = NULL;
	ASSERT_EQ(0, env_map(env, 0, 0, 16));
	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	/* this seal lets existing writers go on */
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, mdma_map(m, env->fd, 0, iova_of(m, 32), PAGE, MDMA_RW));
	EXPECT_EQ(16 * PAGE, mdma_unmap_all(m));
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

/* A device that only reads goes on in a file that is sealed against writing. */
TEST_F(hazards, seals_while_reading)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	int pipes[2];
	struct iovec iov;

	fill(at(env, 0), 0);
	ASSERT_EQ(0, grow(env->fd, 1, 15));
	ASSERT_EQ(0, mdma_map(m, env->fd, 0, iova_of(m, 0), 32 * PAGE,
			      VFIO_MDMA_MAP_FLAG_READ));
	EXPECT_EQ(16, env_reachable(env, 0, 0, 32));

	/* a pipe has a page, and its reader may write to that */
	iov = (struct iovec){ .iov_base = at(env, 3), .iov_len = PAGE };
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &iov, 1, 0));
	munmap(env->mem, env->pages * PAGE);
	env->mem = NULL;
	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(16, env_reachable(env, 0, 0, 32));
	close(pipes[0]);
	close(pipes[1]);

	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(16, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(0, mdma_map(m, env->fd, 0, iova_of(m, 32), PAGE,
			      VFIO_MDMA_MAP_FLAG_READ));
}

static int add_seal(struct test_env *env, int seal)
{
	return fcntl(env->fd, F_ADD_SEALS, seal) ? -errno : 0;
}

static int resize(struct test_env *env, size_t pages)
{
	return ftruncate(env->fd, pages * PAGE) ? -errno : 0;
}

/*
 * shmem checks the seals against growing and shrinking before it calls any consumer:
 * a refused call leaves no trace in the counts of its calls.
 */
TEST_F(hazards, size_seals)
{
	char before[512], after[512];
	unsigned char data[2 * PAGE];
	struct test_env *env = &self->env;
	ssize_t written;

	fill(data, 1);
	fill(data + PAGE, 2);
	ASSERT_EQ(0, resize(env, 16));
	ASSERT_EQ(0, grow(env->fd, 0, 8));
	ASSERT_EQ(0, grow(env->fd, 15, 1));
	ASSERT_EQ(0, env_map(env, 0, 0, 32));
	ASSERT_EQ(0, add_seal(env, F_SEAL_GROW));
	ASSERT_EQ(0, consumers_text(env->fd, before, sizeof(before)));
	ASSERT_TRUE(consumers_text_has(before, "iommu", 0, 32));

	EXPECT_EQ(-EPERM, resize(env, 17));
	EXPECT_EQ(-EPERM, grow(env->fd, 12, 8));
	EXPECT_EQ(-1, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 12 * PAGE, 8 * PAGE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pwrite(env->fd, data, PAGE, 16 * PAGE));
	EXPECT_EQ(EPERM, errno);
	/* across the end: none of it; or as far as that, by kernels that go by pages */
	written = pwrite(env->fd, data, 2 * PAGE, 15 * PAGE);
	EXPECT_TRUE(written < 0 ? errno == EPERM : written == PAGE);
	EXPECT_EQ(written > 0, filled(at(env, 15), 1));
	EXPECT_EQ(16, file_pages(env->fd));
	EXPECT_EQ(9, allocated(env->fd));
	EXPECT_EQ(9, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(0, env_differences(env, 0, 0, 32));
	ASSERT_EQ(0, consumers_text(env->fd, after, sizeof(after)));
	EXPECT_STREQ(before, after);

	/* against growing only: what gets smaller is revoked, and cannot come back */
	EXPECT_EQ(0, resize(env, 12));
	EXPECT_EQ(8, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(-EPERM, resize(env, 16));

	ASSERT_EQ(0, add_seal(env, F_SEAL_SHRINK));
	ASSERT_EQ(0, consumers_text(env->fd, before, sizeof(before)));
	EXPECT_EQ(-EPERM, resize(env, 4));
	EXPECT_EQ(-EPERM, resize(env, 0));
	EXPECT_EQ(12, file_pages(env->fd));
	EXPECT_EQ(8, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(8, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, 32));
	ASSERT_EQ(0, consumers_text(env->fd, after, sizeof(after)));
	EXPECT_STREQ(before, after);

	/* a hole is not a smaller file, nor is what fills it a larger one */
	EXPECT_EQ(0, punch(env->fd, 0, 4));
	EXPECT_EQ(4, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(0, grow(env->fd, 2, 10));
	EXPECT_EQ(10, env_reachable(env, 0, 0, 32));
	EXPECT_EQ(0, env_differences(env, 0, 0, 32));

	ASSERT_EQ(0, add_seal(env, F_SEAL_SEAL));
	EXPECT_EQ(-EPERM, add_seal(env, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, add_seal(env, F_SEAL_SEAL));
	EXPECT_EQ(F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, fcntl(env->fd, F_GET_SEALS));
	EXPECT_EQ(10, env_reachable(env, 0, 0, 32));
}

/* A child has the device, and is killed at the worst moment. */
TEST_F(hazards, killed_during_dma)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	int pipefd[2], status, round;
	pid_t pid;
	char c;

	ASSERT_EQ(0, grow(env->fd, 0, 64));
	for (round = 0; round < 2; round++) {
		mdma_close(m);
		fill(at(env, 0), 0);
		ASSERT_EQ(0, pipe(pipefd));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			if (!mdma_open_group(m) && !env_map(env, 0, 0, 64) &&
			    (round || !mdma_start(m, iova_of(m, 0), iova_of(m, 32),
						  m->info.max_copy)))
				c = write(pipefd[1], "!", 1);
			/* in a fault, or in the kernel with the file's lock */
			for (; round;) {
				punch(env->fd, 1, 32);
				grow(env->fd, 1, 32);
			}
			pause();
			_exit(1);
		}
		close(pipefd[1]);
		ASSERT_EQ(1, read(pipefd[0], &c, 1));
		close(pipefd[0]);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));

		EXPECT_EQ(0, consumers_of(env->fd));
		ASSERT_EQ(0, grow(env->fd, 0, 64));
		ASSERT_EQ(0, env_map(env, 1, 0, 64));
		EXPECT_EQ(64, env_reachable(env, 1, 0, 64));
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 1, 0, 2, 64));
		ASSERT_EQ(0, mdma_open_group(m));
		EXPECT_EQ(0, env_reachable(env, 0, 0, 64));
		ASSERT_EQ(0, env_map(env, 0, 0, 64));
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 3, 64));
		EXPECT_EQ(64 * PAGE, mdma_unmap_all(&env->dev[1]));
	}
}

TEST_HARNESS_MAIN
