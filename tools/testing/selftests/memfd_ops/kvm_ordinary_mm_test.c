// SPDX-License-Identifier: GPL-2.0
/*
 * Memory management and an ordinary VM: its pages are moved, swapped and collapsed like
 * those of any mapping, unless a device has them.
 */
#include "lib/account.h"
#include "lib/harness.h"
#include "lib/ordinary_fixture.h"
#include "lib/sigbus.h"
#include "lib/trace.h"

FIXTURE_VARIANT_ADD(ordinary, guest_small_pages)
{
};

FIXTURE_VARIANT_ADD(ordinary, guest_huge_pages)
{
	.huge = true,
};

FIXTURE_VARIANT_ADD(ordinary, both_small_pages)
{
	.device = true,
};

FIXTURE_VARIANT_ADD(ordinary, both_huge_pages)
{
	.huge = true,
	.device = true,
};

/* The page that fails */
#define BAD		(9 * STRIDE)

/* How many pages the file has */
static size_t pages_of(struct mm_test *mm)
{
	return mm->g.huge ? HUGE_PAGES : HUGE_PAGES / STRIDE;
}

/* The first 2 MiB have pages; guest and device have just used them. */
static void fill_and_use(struct __test_metadata *_metadata, struct mm_test *mm)
{
	struct test_env *env = &mm->g.env;
	size_t i;

	fill_pages(mm, 0, HUGE_PAGES, STRIDE);
	for (i = 0; i < HUGE_PAGES; i += STRIDE)
		ASSERT_LE(0, vmm_read(vcpu_of(&mm->g), gpa_of(i)));
	ASSERT_EQ(mm->g.huge, is_huge(env->mem));
	ASSERT_EQ(mm->g.huge, huge_entries(&mm->g));
	if (mm->device) {
		ASSERT_TRUE(device_has_entry(env, 0, mm->g.huge ? HUGE : PAGE));
		ASSERT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, BAD, 4));
		fill_pattern(at(env, BAD), BAD);
	}
	if (mm->device && has_trace())
		ASSERT_EQ(0, trace_start(env->fd));
}

/* No page was taken from the device, not even for a moment. */
static bool device_undisturbed(struct mm_test *mm)
{
	return !mm->device || !has_trace() || !traced("iommu", 0, PAGES);
}

static int let_go(struct mm_test *mm)
{
	__s64 ret = mm->device ? mdma_unmap_all(&mm->g.env.dev[0]) : 0;

	return ret < 0 ? ret : 0;
}

/*
 * Migration
 */

TEST_F(ordinary, move_pages)
{
	struct mm_test *mm = &self->mm;
	__u64 pfn[HUGE_PAGES] = {};

	if (!has_second_node())
		SKIP(return, "needs a second node");
	fill_and_use(_metadata, mm);
	ASSERT_EQ(pages_of(mm), pages_on(mm, 0));
	frames_of(mm, pfn);
	if (mm->device) {
		EXPECT_LT(0, move_to(mm, NODE));
	} else {
		EXPECT_EQ(0, move_to(mm, NODE));
	}
	EXPECT_EQ(mm->device ? 0 : HUGE_PAGES / STRIDE, moved(mm, pfn));
	EXPECT_EQ(mm->device ? 0 : pages_of(mm), pages_on(mm, NODE));
	EXPECT_TRUE(device_undisturbed(mm));
	EXPECT_TRUE(all_agree(mm));

	/* without the device, it moves like any other memory */
	ASSERT_EQ(0, let_go(mm));
	EXPECT_EQ(0, move_to(mm, mm->device ? NODE : 0));
	EXPECT_EQ(mm->device ? pages_of(mm) : 0, pages_on(mm, NODE));
	mm->device = false;
	EXPECT_TRUE(all_agree(mm));
}

TEST_F(ordinary, soft_offline)
{
	struct mm_test *mm = &self->mm;
	__u64 pfn[HUGE_PAGES] = {};

	fill_and_use(_metadata, mm);
	frames_of(mm, pfn);
	/* this empties the CPU's list of pages to activate, which holds references */
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "1"));
	EXPECT_EQ(mm->device ? -1 : 0, madvise(at(&mm->g.env, BAD), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_EQ(!mm->device, moved(mm, pfn));
	EXPECT_TRUE(device_undisturbed(mm));
	EXPECT_TRUE(all_agree(mm));
}

/*
 * Swap
 */

TEST_F(ordinary, pageout)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;
	int round;

	ASSERT_EQ(0, env_swap(env));
	fill_and_use(_metadata, mm);
	for (round = 0; round < 2; round++) {
		/* content that the guest has written, and nobody else has seen */
		ASSERT_EQ(0, guest_fill_pattern(&mm->g, 0, 0, 1000 + round));
		EXPECT_EQ(mm->device ? pages_of(mm) : 0, left_after_pageout(env));
		EXPECT_EQ(pages_of(mm), allocated(env->fd));
		EXPECT_TRUE(device_undisturbed(mm));
		EXPECT_EQ(0, guest_wrong_words(&mm->g, 1, 0, 1000 + round));
		EXPECT_EQ(0, wrong_words(at(env, 0), 1000 + round, PAGE_WORDS));
		fill_pattern(at(env, 0), 0);
		EXPECT_TRUE(all_agree(mm));
	}
	ASSERT_EQ(0, let_go(mm));
	EXPECT_EQ(0, left_after_pageout(env));
}

TEST_F(ordinary, reclaim)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	ASSERT_EQ(0, env_swap(env));
	fill_and_use(_metadata, mm);
	cgroup_reclaim();
	EXPECT_EQ(mm->device ? pages_of(mm) : 0, in_core_pages(env->mem, HUGE_PAGES));
	EXPECT_TRUE(device_undisturbed(mm));
	EXPECT_TRUE(all_agree(mm));
}

/*
 * Collapse: the guest then has one large entry. The device keeps the pages that it has.
 */
TEST_F(ordinary, collapse)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	fill_and_use(_metadata, mm);
	if (mm->g.huge) {
		/* a hole has split it */
		ASSERT_EQ(0, punch(env->fd, BAD, 1));
		ASSERT_EQ(0, guest_fill_pattern(&mm->g, 0, BAD, BAD));
		EXPECT_FALSE(is_huge(env->mem));
		if (mm->device && has_trace())
			ASSERT_EQ(0, trace_start(env->fd));
	}
	EXPECT_EQ(mm->device ? -1 : 0, madvise(env->mem, HUGE, MADV_COLLAPSE));
	EXPECT_EQ(!mm->device, is_huge(env->mem));
	EXPECT_TRUE(device_undisturbed(mm));
	EXPECT_TRUE(all_agree(mm));
	EXPECT_EQ(!mm->device, huge_entries(&mm->g));
}

/*
 * Memory failure: KVM sends a SIGBUS to the vCPU's thread, which names the address.
 */

static siginfo_t signal_of_guest;

static void on_guest_sigbus(int sig, siginfo_t *info, void *context)
{
	signal_of_guest = *info;
	siglongjmp(bus_error, sig);
}

/* Does the guest's access to the page end in such a signal? */
static bool guest_gets_sigbus(struct mm_test *mm, size_t page)
{
	struct sigaction action = {
		.sa_sigaction = on_guest_sigbus,
		.sa_flags = SA_SIGINFO,
	}, old;
	volatile __s64 ret = -1;
	bool caught;

	sigaction(SIGBUS, &action, &old);
	caught = sigsetjmp(bus_error, 1);
	if (!caught)
		ret = vmm_read(vcpu_of(&mm->g), gpa_of(page));
	sigaction(SIGBUS, &old, NULL);
	if (caught && signal_of_guest.si_code == BUS_MCEERR_AR &&
	    signal_of_guest.si_addr == at(&mm->g.env, page))
		return true;
	note("page %zu: %s, %lld, si_code %d", page, caught ? "SIGBUS" : "no signal", ret,
	     signal_of_guest.si_code);
	return false;
}

static void memory_failure(struct __test_metadata *_metadata, struct mm_test *mm,
			   int (*fail)(unsigned char *addr))
{
	struct test_env *env = &mm->g.env;
	char byte;
	__u64 pfn;
	size_t i;

	fill_and_use(_metadata, mm);
	pfn = pfn_of(at(env, BAD));
	ASSERT_EQ(0, fail(at(env, BAD)));
	EXPECT_TRUE(guest_gets_sigbus(mm, BAD));
	EXPECT_TRUE(guest_gets_sigbus(mm, BAD));
	EXPECT_EQ(-1, pread(env->fd, &byte, 1, BAD * PAGE));
	EXPECT_EQ(EIO, errno);
	if (mm->device) {
		EXPECT_EQ(0, env_reachable(env, 0, BAD, 1));
		EXPECT_EQ(pages_of(mm) - 1, env_reachable(env, 0, 0, PAGES));
		EXPECT_TRUE(device_faults(env, BAD, 0));
		EXPECT_TRUE(device_faults(env, 0, BAD));
	}
	if (mm->device && has_trace())
		EXPECT_EQ(traced("iommu", BAD, 1), traced("iommu", 0, PAGES));
	for (i = 0; i < HUGE_PAGES; i += STRIDE)
		if (i != BAD)
			ASSERT_TRUE(good_page(mm, i, i));
	EXPECT_EQ(0, huge_entries(&mm->g));

	/* a new page takes its place, once the mapping has lost the old one */
	ASSERT_EQ(0, madvise(at(env, BAD), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, BAD, 1));
	ASSERT_EQ(0, guest_fill_pattern(&mm->g, 0, BAD, BAD));
	EXPECT_NE(pfn, pfn_of(at(env, BAD)));
	EXPECT_TRUE(all_agree(mm));

	unpoison_pfn(pfn);
}

TEST_F(ordinary, memory_failure)
{
	memory_failure(_metadata, &self->mm, poison);
}

TEST_F(ordinary, memory_failure_unmapped)
{
	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "needs a kernel with hwpoison-inject");
	memory_failure(_metadata, &self->mm, poison_unmapped);
}

TEST_HARNESS_MAIN
