// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of pages that consumers have, by each of the ways to ask for it.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"
#include "lib/kvm_mm_fixture.h"
#include "lib/trace.h"

#define PAGES	16

TEST_F(mm, move_pages)
{
	struct mm_test *mm = &self->mm;
	__u64 pfn[PAGES];
	long invalidated;

	if (!has_second_node())
		SKIP(return, "needs a second node");
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(PAGES, pages_on(mm, 0));
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);
	invalidated = consumers_invalidated(mm->g.env.fd, "kvm");
	EXPECT_EQ(mm->device ? PAGES : 0, move_to(mm, NODE));
	EXPECT_EQ(mm->device ? 0 : PAGES, pages_on(mm, NODE));
	EXPECT_EQ(mm->device ? 0 : PAGES, moved(mm, pfn));
	/* no invalidation reaches the guest if the device's pins prevent the move */
	EXPECT_EQ(mm->guest && !mm->device ? PAGES : 0,
		  consumers_invalidated(mm->g.env.fd, "kvm") - invalidated);
	EXPECT_TRUE(all_agree(mm));

	/* without consumers, they move like any other pages */
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(0, move_to(mm, mm->device ? NODE : 0));
	EXPECT_EQ(PAGES, pages_on(mm, mm->device ? NODE : 0));
}

TEST_F(mm, mbind)
{
	struct mm_test *mm = &self->mm;
	__u64 pfn[PAGES];

	if (!has_second_node())
		SKIP(return, "needs a second node");
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);
	EXPECT_EQ(mm->device ? -EIO : 0,
		  bind_file(mm, MPOL_BIND, NODE, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(mm->device ? 0 : PAGES, moved(mm, pfn));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(0, bind_file(mm, MPOL_BIND, NODE, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, pages_on(mm, NODE));
}

/* Move all pages of the process, those that it shares with the VM included. */
TEST_F(mm, migrate_pages)
{
	unsigned long from = 1, to = 1UL << NODE;
	struct mm_test *mm = &self->mm;
	__u64 pfn[PAGES];

	if (!has_second_node())
		SKIP(return, "needs a second node");
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);
	/* the result counts all pages of the process that have not moved */
	EXPECT_LE(mm->device ? PAGES : 0, syscall(SYS_migrate_pages, 0, 64, &from, &to));
	EXPECT_EQ(mm->device ? 0 : PAGES, pages_on(mm, NODE));
	EXPECT_EQ(mm->device ? 0 : PAGES, moved(mm, pfn));
	EXPECT_TRUE(all_agree(mm));
	EXPECT_LE(0, syscall(SYS_migrate_pages, 0, 64, &to, &from));
	EXPECT_EQ(0, pages_on(mm, NODE));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_LE(0, syscall(SYS_migrate_pages, 0, 64, &from, &to));
	EXPECT_EQ(PAGES, pages_on(mm, NODE));
}

/*
 * Use the pages, from a CPU of node 0, until all are there, or, if they are @pinned, this
 * process, which has no others elsewhere, has failed to move one as often as there are
 * pages. Returns how many are there, or UINT8_MAX if neither happens.
 */
static int use_pages(struct mm_test *mm, bool pinned)
{
	const time_t end = time(NULL) + 150;
	size_t there, i;

	if (pinned && trace_balancing())
		return UINT8_MAX;
	do {
		/* the kernel scans busy processes only */
		for (i = 0; i < 10000 * mm->pages; i++)
			(void)*(volatile unsigned char *)at(&mm->g.env,
							    mm->first + i % mm->pages);
		there = pages_on(mm, 0);
		if (there == mm->pages || (pinned && traced_failures() >= PAGES))
			return there;
	} while (time(NULL) < end);
	return UINT8_MAX;
}

/* In a process of its own: after each failure, the kernel scans less often. */
static int pages_after_balancing(struct mm_test *mm, bool pinned)
{
	int status;
	pid_t pid;

	/* this empties the CPU's list of pages to activate, which holds references */
	write_file("/proc/sys/vm/drop_caches", "1");
	pid = fork();
	if (!pid)
		_exit(use_pages(mm, pinned));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	if (pinned)
		trace_stop();
	return WEXITSTATUS(status);
}

TEST_F(mm, numa_balancing)
{
	struct mm_test *mm = &self->mm;

	if (read_line(NUMA_BALANCING, mm->balancing, sizeof(mm->balancing)))
		SKIP(return, "needs NUMA balancing");
	if (mm->device && !has_trace())
		SKIP(return, NEEDS_TRACE);
	if (!has_second_node())
		SKIP(return, "needs a second node");
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, move_to(mm, NODE));
	ASSERT_EQ(0, add_consumers(mm));
	ASSERT_EQ(PAGES, pages_on(mm, NODE));
	ASSERT_EQ(0, write_file(NUMA_BALANCING, "1"));
	EXPECT_EQ(mm->device ? 0 : PAGES, pages_after_balancing(mm, mm->device));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(PAGES, pages_after_balancing(mm, false));
}

/* Compaction moves pages that are scattered over a node to one end of it. */
TEST_F(mm, compaction)
{
	const size_t scattered = HUGE_PAGES, every = 32;
	unsigned long mask = 1UL << NODE;
	struct mm_test *mm = &self->mm;
	__u64 pfn[HUGE_PAGES];
	unsigned char *mem;
	size_t i;

	if (!has_second_node())
		SKIP(return, "needs a second node");
	mem = mmap(NULL, scattered * every * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	madvise(mem, scattered * every * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, syscall(SYS_mbind, mem, scattered * every * PAGE, MPOL_PREFERRED,
			     &mask, 64, 0));
	ASSERT_EQ(0, bind_file(mm, MPOL_PREFERRED, NODE, 0));
	for (i = 0; i < scattered * every; i++) {
		mem[i * PAGE] = 1;
		if (i % every == 0)
			fill_pages(mm, i / every, 1, 1);
	}
	mm->first = 0;
	mm->pages = scattered;
	munmap(mem, scattered * every * PAGE);
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);

	ASSERT_EQ(0, write_file("/sys/devices/system/node/node1/compact", "1"));
	note("%zu of %zu pages moved", moved(mm, pfn), scattered);
	EXPECT_EQ(!mm->device, moved(mm, pfn) > 0);
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	ASSERT_EQ(0, write_file("/sys/devices/system/node/node1/compact", "1"));
	EXPECT_LT(0, moved(mm, pfn));
}

TEST_F(mm, soft_offline)
{
	struct mm_test *mm = &self->mm;
	__u64 pfn[PAGES];
	size_t i;

	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(mm->device ? -1 : 0,
			  madvise(at(&mm->g.env, i), PAGE, MADV_SOFT_OFFLINE));
		if (mm->device)
			EXPECT_EQ(EBUSY, errno);
	}
	EXPECT_EQ(mm->device ? 0 : 2, moved(mm, pfn));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	/* this empties the CPU's list of pages to activate, which holds references */
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "1"));
	EXPECT_EQ(0, madvise(at(&mm->g.env, 3), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_NE(pfn[3], pfn_of(at(&mm->g.env, 3)));
}

/* KVM holds no references: its pages can be compacted, and taken out of use. */
TEST_F(kvm, migration)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	__u64 pfn;
	size_t i;

	stay_on_one_cpu(true);
	for (i = 0; i < PAGES; i++)
		put_words(at(env, i), 10 + i);
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 30 + i));
	for (i = 0; i < 3; i++) {
		pfn = pfn_of(at(env, i));
		ASSERT_NE(0, pfn);
		ASSERT_EQ(0, madvise(at(env, i), PAGE, MADV_SOFT_OFFLINE));
		EXPECT_NE(pfn, pfn_of(at(env, i)));
		/* guest and file have the new page */
		EXPECT_TRUE(guest_sees(g, i, 30 + i));
		ASSERT_EQ(0, guest_fill(g, i, 60 + i));
		EXPECT_TRUE(has_words(at(env, i), 60 + i));
		ASSERT_EQ(0, guest_fill(g, i, 30 + i));
	}
	ASSERT_EQ(0, write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_TRUE(guest_sees_all(g, PAGES, 30));
	/* a collapse would replace many pages by one: refused */
	EXPECT_EQ(-1, madvise(env->mem, HUGE, MADV_COLLAPSE));
	EXPECT_TRUE(guest_sees_all(g, PAGES, 30));
	/* only KVM maps them now */
	madvise(at(env, 0), PAGES * PAGE, MADV_DONTNEED);
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "3"));
	EXPECT_TRUE(guest_sees_all(g, PAGES, 30));
}

TEST_HARNESS_MAIN
