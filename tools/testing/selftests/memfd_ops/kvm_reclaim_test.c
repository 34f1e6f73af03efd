// SPDX-License-Identifier: GPL-2.0
/*
 * Swap: which pages reclaim takes from consumers, and how they come back.
 */
#include <sys/swap.h>

#include "lib/harness.h"
#include "lib/kvm_fixtures.h"
#include "lib/kvm_mm_fixture.h"
#include "lib/rights.h"

#define PAGES		16

#define FAIL_REQUESTS	"/sys/kernel/debug/fail_make_request/"

TEST_F(mm, pageout)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	ASSERT_EQ(0, env_swap(env));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	madvise(env->mem, PAGES * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(mm->device ? PAGES : 0, in_core_pages(env->mem, PAGES));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	ASSERT_EQ(0, madvise(env->mem, PAGES * PAGE, MADV_PAGEOUT));
	EXPECT_EQ(0, in_core_pages(env->mem, PAGES));
}

TEST_F(mm, reclaim)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	ASSERT_EQ(0, env_swap(env));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	cgroup_reclaim();
	EXPECT_EQ(mm->device ? PAGES : 0, in_core_pages(env->mem, PAGES));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	cgroup_reclaim();
	EXPECT_EQ(0, in_core_pages(env->mem, PAGES));
}

/*
 * Have all of a file in swap, then add the consumers. For a device, the pages before the
 * end of the file come back.
 */
static void swapped_out(struct __test_metadata *_metadata, struct mm_test *mm)
{
	struct test_env *env = &mm->g.env;

	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, PAGES * PAGE, PAGES * PAGE));
	cgroup_reclaim();
	ASSERT_EQ(0, in_core_pages(env->mem, 2 * PAGES));
	ASSERT_EQ(2 * PAGES, allocated(env->fd));
	if (mm->device) {
		ASSERT_EQ(0, env_map(env, 0, 0, 2 * PAGES));
		ASSERT_EQ(PAGES, env_reachable(env, 0, 0, 2 * PAGES));
	}
	if (mm->guest)
		ASSERT_EQ(0, add_slot(&mm->g, FILL, 0, PAGES));
}

/* swapoff brings all pages back, and maps for the device those that it lacks. */
TEST_F(mm, swapoff)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	swapped_out(_metadata, mm);
	ASSERT_EQ(0, swapoff("/dev/ram0"));
	env->swap = false;
	EXPECT_EQ(2 * PAGES, in_core_pages(env->mem, 2 * PAGES));
	if (mm->device) {
		EXPECT_EQ(2 * PAGES, env_reachable(env, 0, 0, 2 * PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, 2 * PAGES));
	}
	EXPECT_TRUE(all_agree(mm));
}

/* A page that may not be mapped for the device stays in swap, and swapoff fails. */
TEST_F(mm, swapoff_refused)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	ASSERT_EQ(0, limit_as_user(PAGES));
	swapped_out(_metadata, mm);
	EXPECT_EQ(mm->device ? -1 : 0, swapoff("/dev/ram0"));
	if (mm->device) {
		EXPECT_EQ(EDQUOT, errno);
		EXPECT_EQ(PAGES, pinned());
		EXPECT_EQ(PAGES, env_reachable(env, 0, 0, 2 * PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	}
	EXPECT_EQ(2 * PAGES, allocated(env->fd));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	if (mm->device)
		EXPECT_EQ(0, swapoff("/dev/ram0"));
	env->swap = false;
	EXPECT_EQ(2 * PAGES, in_core_pages(env->mem, 2 * PAGES));
}

/* mlock() is accounted separately. It keeps pages from swap, but lets them migrate. */
TEST_F(mm, mlock)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;
	__u64 pfn[PAGES];

	if (!has_second_node())
		SKIP(return, "needs a second node");
	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	ASSERT_EQ(0, env_swap(env));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(0, mlock(env->mem, PAGES * PAGE));
	ASSERT_EQ(0, add_consumers(mm));
	frames_of(mm, pfn);
	EXPECT_EQ(PAGES * PAGE / 1024, counter("/proc/self/status", "VmLck"));
	EXPECT_EQ(mm->device ? PAGES * PAGE / 1024 : 0,
		  counter("/proc/self/status", "VmPin"));
	cgroup_reclaim();
	EXPECT_EQ(PAGES, in_core_pages(env->mem, PAGES));
	EXPECT_EQ(0, moved(mm, pfn));
	EXPECT_EQ(mm->device ? PAGES : 0, move_to(mm, NODE));
	EXPECT_EQ(mm->device ? 0 : PAGES, moved(mm, pfn));
	EXPECT_TRUE(all_agree(mm));

	/* it does not keep pages in the file */
	ASSERT_EQ(0, punch(env->fd, 3, 1));
	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	if (mm->device)
		EXPECT_EQ(0, env_reachable(env, 0, 3, 1));
	if (mm->guest)
		EXPECT_EQ(0, vmm_compare(vcpu_of(&mm->g), gpa_of(3), PAGE_WORDS, 0));
	fill_pattern(at(env, 3), 3);
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, munlock(env->mem, PAGES * PAGE));

	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(0, move_to(mm, NODE));
	EXPECT_EQ(PAGES, pages_on(mm, NODE));
	cgroup_reclaim();
	EXPECT_EQ(0, in_core_pages(env->mem, PAGES));
}

/* KVM holds no references: its pages go to swap like others, and come back. */
TEST_F(kvm, swap)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;
	int round;

	stay_on_one_cpu(true);
	ASSERT_EQ(0, env_swap(env));
	for (i = 0; i < PAGES; i++)
		put_words(at(env, i), 10 + i);
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	ASSERT_TRUE(guest_sees_all(g, PAGES, 10));
	for (round = 0; round < 3; round++) {
		/* content that only the guest has written must not be lost */
		for (i = 0; i < PAGES; i++) {
			EXPECT_TRUE(has_words(at(env, i), (round ? 19 + round : 10) + i));
			ASSERT_EQ(0, guest_fill(g, i, 20 + round + i));
		}
		ASSERT_EQ(0, madvise(at(env, 0), PAGES * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(at(env, 0), PAGES));
		EXPECT_EQ(PAGES, allocated(env->fd));
		EXPECT_TRUE(guest_sees_all(g, PAGES, 20 + round));
		EXPECT_EQ(PAGES, in_core_pages(at(env, 0), PAGES));
	}
	/* pages that are punched while in swap do not come back */
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(has_words(at(env, i), 22 + i));
	ASSERT_EQ(0, madvise(at(env, 0), PAGES * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(env, 0), PAGES));
	ASSERT_EQ(0, punch(env->fd, 0, 2));
	EXPECT_TRUE(guest_sees(g, 0, 0));
	ASSERT_EQ(0, swapoff("/dev/ram0"));
	EXPECT_TRUE(guest_sees(g, 2, 20 + 2 + 2));
}

/* Let the swap disk fail each request, or none. */
static void break_swap(bool on)
{
	write_file("/sys/block/ram0/make-it-fail", on ? "1" : "0");
	write_file(FAIL_REQUESTS "verbose", "0");
	write_file(FAIL_REQUESTS "times", on ? "-1" : "1");
	write_file(FAIL_REQUESTS "probability", on ? "100" : "0");
}

/* A page that swap fails to read is lost, and reported like failing memory. */
TEST_F(kvm, swap_that_fails)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;

	if (access(FAIL_REQUESTS "times", W_OK))
		SKIP(return, "needs a kernel with failing disks");
	stay_on_one_cpu(true);
	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, env_no_readahead(env));
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		put_words(at(env, i), 10 + i);
	ASSERT_TRUE(guest_sees_all(g, PAGES, 10));
	ASSERT_EQ(0, madvise(at(env, 0), 8 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(env, 0), 8));

	break_swap(true);
	EXPECT_EQ(-EHWPOISON, pre_fault(g, &range, 3, 1));
	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_read(vcpu_of(g), gpa_of(4)), -EHWPOISON,
			       gpa_of(4)));
	break_swap(false);

	/*
	 * the pages stay lost; others are unaffected, and so are new ones in their place
	 */
	EXPECT_EQ(-EHWPOISON, pre_fault(g, &range, 3, 1));
	EXPECT_EQ(-EHWPOISON, vmm_read(vcpu_of(g), gpa_of(4)));
	for (i = 5; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	EXPECT_TRUE(guest_sees(g, 3, 0));
	EXPECT_TRUE(guest_sees(g, 4, 0));
}

TEST_HARNESS_MAIN
