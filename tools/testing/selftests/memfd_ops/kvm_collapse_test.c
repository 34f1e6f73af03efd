// SPDX-License-Identifier: GPL-2.0
/*
 * Huge folios that consumers have: made of small ones, and split.
 */
#include "lib/harness.h"
#include "lib/kvm_mm_fixture.h"

#define PAGES		16

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"

static int collapse(struct mm_test *mm)
{
	return madvise(mm->g.env.mem, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

/* The first 2 MiB collapse unless a consumer has the pages that were filled last. */
static void collapses_without_consumers(struct __test_metadata *_metadata,
					struct mm_test *mm)
{
	bool nobody = !mm->device && !mm->guest;

	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(nobody, collapse(mm) == 0);
	EXPECT_EQ(nobody, is_huge(mm->g.env.mem));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(0, collapse(mm));
	EXPECT_TRUE(is_huge(mm->g.env.mem));
}

TEST_F(mm, collapse)
{
	struct mm_test *mm = &self->mm;

	fill_pages(mm, 0, HUGE_PAGES, 2);
	collapses_without_consumers(_metadata, mm);
}

/* The same for parts of the file that are in no consumer's window. */
TEST_F(mm, collapse_elsewhere)
{
	struct mm_test *mm = &self->mm;

	fill_pages(mm, 0, HUGE_PAGES, 2);
	fill_pages(mm, HUGE_PAGES, PAGES, 1);
	collapses_without_consumers(_metadata, mm);
}

/* Wait until khugepaged has scanned everything twice. */
static bool khugepaged_went_round(void)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	char text[32] = "0";
	long before, i;

	read_line(KHUGEPAGED "full_scans", text, sizeof(text));
	before = atol(text);
	for (i = 0; i < 3000 && atol(text) < before + 2; i++) {
		nanosleep(&tick, NULL);
		read_line(KHUGEPAGED "full_scans", text, sizeof(text));
	}
	return atol(text) >= before + 2;
}

TEST_F(mm, khugepaged)
{
	struct mm_test *mm = &self->mm;
	char sleeps[32];

	if (env_thp(&mm->g.env, "advise"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, read_line(KHUGEPAGED "scan_sleep_millisecs", sleeps,
			       sizeof(sleeps)));
	fill_pages(mm, 0, HUGE_PAGES, 2);
	ASSERT_EQ(0, add_consumers(mm));
	ASSERT_EQ(0, madvise(mm->g.env.mem, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, write_file(KHUGEPAGED "scan_sleep_millisecs", "10"));
	EXPECT_TRUE(khugepaged_went_round());
	EXPECT_EQ(!mm->device && !mm->guest, is_huge(mm->g.env.mem));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_TRUE(khugepaged_went_round());
	EXPECT_TRUE(is_huge(mm->g.env.mem));
	write_file(KHUGEPAGED "scan_sleep_millisecs", sleeps);
}

static int split_by_debugfs(unsigned char *addr)
{
	char text[80];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)addr,
		 (unsigned long)addr + HUGE);
	return write_file("/sys/kernel/debug/split_huge_pages", text);
}

/* The guest may keep its huge entry until one of the pages leaves. */
TEST_F(mm, split_by_debugfs)
{
	const size_t gone = 77;
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	fill_pages(mm, 0, HUGE_PAGES, 1);
	ASSERT_TRUE(is_huge(env->mem));
	ASSERT_EQ(0, add_consumers(mm));
	if (mm->guest) {
		/* the pin may have migrated it out of memory that must stay movable */
		EXPECT_TRUE(good_page(mm, 0, 0));
		EXPECT_EQ(1, vmm_stat(&mm->g.vmm, "pages_2m"));
	}

	ASSERT_EQ(0, split_by_debugfs(env->mem));
	EXPECT_EQ(mm->device, is_huge(env->mem));
	EXPECT_TRUE(all_agree(mm));

	ASSERT_EQ(0, punch(env->fd, gone, 1));
	EXPECT_EQ(HUGE_PAGES - 1, allocated(env->fd));
	if (mm->device)
		EXPECT_EQ(HUGE_PAGES - 1, env_reachable(env, 0, 0, HUGE_PAGES));
	if (mm->guest)
		EXPECT_EQ(0, vmm_compare(vcpu_of(&mm->g), gpa_of(gone), PAGE_WORDS, 0));
	fill_pattern(at(env, gone), gone);
	EXPECT_TRUE(all_agree(mm));

	/* the next 2 MiB, which consumers had before */
	ASSERT_EQ(0, remove_consumers(mm));
	ASSERT_EQ(0, grow(env->fd, HUGE_PAGES, HUGE_PAGES));
	fill_pages(mm, HUGE_PAGES, HUGE_PAGES, 1);
	ASSERT_EQ(0, add_consumers(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	ASSERT_TRUE(is_huge(at(env, HUGE_PAGES)));
	ASSERT_EQ(0, split_by_debugfs(at(env, HUGE_PAGES)));
	EXPECT_FALSE(is_huge(at(env, HUGE_PAGES)));
}

TEST_HARNESS_MAIN
