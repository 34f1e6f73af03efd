// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that fails: no consumer reaches it any more, and a new page takes its place.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"
#include "lib/kvm_mm_fixture.h"

/* The page that fails, of 2 MiB */
#define BAD		77

/*
 * A guest, with a memslot that fills or keeps holes
 */

static void guest_memory_failure(struct __test_metadata *_metadata, struct guest *g,
				 __u32 flags, bool huge)
{
	struct test_env *env = &g->env;
	char byte;
	__u64 pfn;
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, add_slot(g, flags, 0, HUGE_PAGES));
	for (i = 0; i < HUGE_PAGES; i++)
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa_of(i), 100 + i));
	ASSERT_EQ(huge, is_huge(env->mem));
	ASSERT_EQ(huge, huge_entries(g));
	pfn = pfn_of(at(env, BAD));

	ASSERT_EQ(0, poison(at(env, BAD)));
	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_read(vcpu_of(g), gpa_of(BAD)), -EHWPOISON,
			       gpa_of(BAD)));
	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_write(vcpu_of(g), gpa_of(BAD), 1), -EHWPOISON,
			       gpa_of(BAD)));
	for (i = 0; i < HUGE_PAGES; i++)
		if (i != BAD)
			EXPECT_EQ(100 + i, vmm_read(vcpu_of(g), gpa_of(i)));
	EXPECT_EQ(0, huge_entries(g));

	/* reading the file fails, too */
	EXPECT_EQ(-1, pread(env->fd, &byte, 1, BAD * PAGE));
	EXPECT_EQ(EIO, errno);

	/* a new page takes its place, once our own mapping is gone */
	ASSERT_EQ(0, madvise(at(env, BAD), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, BAD, 1));
	EXPECT_TRUE(is_hole(g, flags, BAD));
	ASSERT_EQ(0, grow(env->fd, BAD, 1));
	EXPECT_TRUE(guest_sees(g, BAD, 0));
	EXPECT_EQ(0, guest_fill(g, BAD, 7));
	EXPECT_TRUE(has_words(at(env, BAD), 7));
	EXPECT_NE(pfn, pfn_of(at(env, BAD)));

	unpoison_pfn(pfn);
}

TEST_F(holes, memory_failure)
{
	guest_memory_failure(_metadata, &self->g, variant->flags, false);
}

TEST_F(holes, memory_failure_in_huge_page)
{
	if (env_thp(&self->g.env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	guest_memory_failure(_metadata, &self->g, variant->flags, true);
}

/*
 * All sets of consumers
 */

/* No consumer reaches that page, and none gets it. */
static void is_poisoned(struct __test_metadata *_metadata, struct mm_test *mm,
			size_t page)
{
	struct vmm_vcpu *vcpu = vcpu_of(&mm->g);
	struct test_env *env = &mm->g.env;
	char byte;

	EXPECT_EQ(-1, pread(env->fd, &byte, 1, page * PAGE));
	EXPECT_EQ(EIO, errno);
	if (mm->device) {
		EXPECT_EQ(0, env_reachable(env, 0, page, 1));
		mdma_expect_iommu_faults();
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, page, 0, 64));
	}
	if (mm->guest) {
		EXPECT_EQ(-EHWPOISON, vmm_read(vcpu, gpa_of(page)));
		EXPECT_EQ(KVM_EXIT_MEMORY_FAULT, vcpu->run->exit_reason);
		EXPECT_EQ(gpa_of(page), vcpu->run->memory_fault.gpa);
	}
}

static void memory_failure(struct __test_metadata *_metadata, struct mm_test *mm,
			   bool huge, int (*poison)(unsigned char *addr))
{
	struct test_env *env = &mm->g.env;
	__u64 pfn;
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	fill_pages(mm, 0, HUGE_PAGES, 1);
	ASSERT_EQ(huge, is_huge(env->mem));
	ASSERT_EQ(0, add_consumers(mm));
	pfn = pfn_of(at(env, BAD));

	ASSERT_EQ(0, poison(at(env, BAD)));
	is_poisoned(_metadata, mm, BAD);
	for (i = 0; i < HUGE_PAGES; i++)
		if (i != BAD)
			ASSERT_TRUE(good_page(mm, i, i));
	if (mm->device)
		EXPECT_EQ(HUGE_PAGES - 1, env_reachable(env, 0, 0, HUGE_PAGES));
	/* consumers that come later do not get it either */
	ASSERT_EQ(0, remove_consumers(mm));
	if (mm->device)
		ASSERT_EQ(0, env_map(env, 0, 0, HUGE_PAGES));
	if (mm->guest)
		ASSERT_EQ(0, add_slot(&mm->g, FILL, 0, HUGE_PAGES));
	is_poisoned(_metadata, mm, BAD);

	/* a new page takes its place, once our own mapping is gone */
	ASSERT_EQ(0, madvise(at(env, BAD), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(env->fd, BAD, 1));
	fill_pattern(at(env, BAD), BAD);
	EXPECT_NE(pfn, pfn_of(at(env, BAD)));
	EXPECT_TRUE(all_agree(mm));

	unpoison_pfn(pfn);
}

TEST_F(mm, memory_failure)
{
	memory_failure(_metadata, &self->mm, false, poison);
}

TEST_F(mm, memory_failure_unmapped)
{
	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "needs a kernel with hwpoison-inject");
	memory_failure(_metadata, &self->mm, false, poison_unmapped);
}

TEST_F(mm, memory_failure_in_huge_folio)
{
	if (env_thp(&self->mm.g.env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	memory_failure(_metadata, &self->mm, true, poison);
}

TEST_HARNESS_MAIN
