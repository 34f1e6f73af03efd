// SPDX-License-Identifier: GPL-2.0
/*
 * Private and shared memory: which side the guest sees, and which allocations
 * KVM_MEM_MEMFD_PRIVATE_ONLY refuses.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES	16

TEST_F(kvm, guest_and_file_share_pages)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	__u32 words[PAGE_WORDS];
	size_t i;

	/* the guest's pages [0, 16) are the file's [100, 116) */
	ASSERT_EQ(0, put_slot(g, SLOT, FILL, 0, 100, PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_EQ(1, consumers_with_window(ANY_FILE, "kvm", 100, PAGES));

	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 1000 + i));
	for (i = 0; i < PAGES; i++) {
		EXPECT_TRUE(has_words(at(env, 100 + i), 1000 + i));
		ASSERT_EQ(PAGE, pread(env->fd, words, PAGE, (100 + i) * PAGE));
		EXPECT_TRUE(has_words((void *)words, 1000 + i));
	}
	for (i = 0; i < PAGES; i += 2) {
		put_words(at(env, 100 + i), 2000 + i);
		put_words((void *)words, 2001 + i);
		ASSERT_EQ(PAGE, pwrite(env->fd, words, PAGE, (101 + i) * PAGE));
	}
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 2000 + i));

	/* the file has the guest's copies, too; nothing else has changed */
	EXPECT_EQ(0, vmm_copy(vcpu_of(g), gpa_of(3), gpa_of(9), PAGE_WORDS));
	EXPECT_TRUE(has_words(at(env, 103), 2009));
	EXPECT_EQ(PAGES, allocated(env->fd));
	EXPECT_TRUE(all(g->shared, PAGES * PAGE, 0));
}

/* Change sides 100 times; the guest writes to each of them. */
TEST_F(kvm, both_sides_keep_their_data)
{
	struct guest *g = &self->g;
	__u32 round;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 5, 1000));
	for (round = 0; round < 100; round++) {
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, false));
		ASSERT_TRUE(guest_sees(g, 5, round ? 2000 + round - 1 : 0));
		ASSERT_EQ(0, guest_fill(g, 5, 2000 + round));
		ASSERT_TRUE(has_words(at(&g->env, 5), 1000 + round));

		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
		ASSERT_TRUE(guest_sees(g, 5, 1000 + round));
		ASSERT_EQ(0, guest_fill(g, 5, 1001 + round));
		ASSERT_TRUE(has_words(g->shared + 5 * PAGE, 2000 + round));
	}
	EXPECT_EQ(1, allocated(g->env.fd));
}

/* The shared memory is in the same file: both sides have the same pages. */
TEST_F(kvm, private_and_shared_in_one_file)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;

	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, KEEP, gpa_of(0), PAGES * PAGE, env->mem,
				  env->fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES / 2 * PAGE, false));
	for (i = 0; i < PAGES; i++) {
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
		ASSERT_EQ(0, guest_fill(g, i, 50 + i));
	}
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 50 + i));
	EXPECT_EQ(PAGES, allocated(env->fd));

	/* pages 2 to 7 are shared now; a hole across the border, from both sides */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(2), 6 * PAGE, false));
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(guest_sees(g, i, 50 + i));
	ASSERT_EQ(0, punch(env->fd, 6, 4));
	EXPECT_TRUE(lacks(g, 8));
	EXPECT_TRUE(lacks(g, 9));
	EXPECT_EQ(PAGES - 4, allocated(env->fd));
	EXPECT_TRUE(guest_sees(g, 6, 0));
	EXPECT_TRUE(guest_sees(g, 7, 0));
	for (i = 0; i < PAGES; i++)
		if (i < 6 || i > 9)
			EXPECT_TRUE(guest_sees(g, i, 50 + i));
	/* a mapping filled pages 6 and 7: the private side has them as well */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
	EXPECT_TRUE(guest_sees(g, 7, 0));
	EXPECT_TRUE(lacks(g, 8));
}

/* Where memory is shared the guest has other pages mapped than the file's. */
TEST_F(kvm, list_of_mapped_pages)
{
	struct guest *g = &self->g;
	size_t i;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	for (i = 2; i < 10; i++)
		ASSERT_EQ(0, guest_fill(g, i, 1));
	EXPECT_TRUE(consumers_map(g->env.fd, "[2, 10)"));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(1), 3 * PAGE, false));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(6), PAGE, false));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, guest_fill(g, i, 2));
	EXPECT_TRUE(consumers_map(g->env.fd, "[0, 1) [4, 6) [7, 10)"));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, false));
	EXPECT_TRUE(consumers_map(g->env.fd, ""));
}

/* Instead of filling the hole, make the page shared. */
TEST_F(kvm, hole_is_turned_shared)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(faulted_at(vcpu, vmm_write(vcpu, gpa_of(2), 42), -EFAULT, gpa_of(2)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(2), PAGE, false));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
	EXPECT_EQ(42, *(__u32 *)(g->shared + 2 * PAGE));
	EXPECT_EQ(0, allocated(g->env.fd));
	EXPECT_TRUE(lacks(g, 1));
	EXPECT_TRUE(lacks(g, 3));
}

/*
 * KVM_MEM_MEMFD_PRIVATE_ONLY
 */

/* Does fallocate() refuse these pages, and leave the file as it was? */
static bool vetoed(struct guest *g, size_t first, size_t pages)
{
	const int modes[] = { 0, FALLOC_FL_KEEP_SIZE };
	struct stat before, after;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		fstat(g->env.fd, &before);
		if (!fallocate(g->env.fd, modes[i], first * PAGE, pages * PAGE) ||
		    errno != EPERM)
			return false;
		fstat(g->env.fd, &after);
		if (before.st_size != after.st_size || before.st_blocks != after.st_blocks)
			return false;
	}
	return true;
}

TEST_F(kvm, veto_over_shared_pages)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	/* the window is [16, 32), and of it page 24 is shared, with the file at 40 */
	ASSERT_EQ(0, add_slot(g, VETO, 16, 16));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(24), PAGE, false));
	ASSERT_EQ(0, ftruncate(env->fd, 40 * PAGE));
	ASSERT_EQ(0, guest_fill(g, 23, 23));

	EXPECT_TRUE(vetoed(g, 24, 1));
	EXPECT_TRUE(vetoed(g, 16, 16));
	EXPECT_TRUE(vetoed(g, 0, 48));
	EXPECT_TRUE(vetoed(g, 24, 24));
	EXPECT_TRUE(vetoed(g, 20, 5));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_EQ(40, file_pages(env->fd));
	EXPECT_TRUE(has_words(at(env, 23), 23));
	EXPECT_TRUE(guest_sees(g, 23, 23));

	/* the pages next to it are allowed */
	EXPECT_EQ(0, grow(env->fd, 0, 24));
	EXPECT_EQ(0, grow(env->fd, 25, 23));
	EXPECT_EQ(47, allocated(env->fd));
	EXPECT_EQ(48, file_pages(env->fd));
	EXPECT_TRUE(has_words(at(env, 23), 23));

	/* other calls that add or remove pages are not refused */
	EXPECT_EQ(0, punch(env->fd, 0, 48));
	EXPECT_EQ(1, pwrite(env->fd, "x", 1, 24 * PAGE));
	EXPECT_EQ(0, punch(env->fd, 24, 1));
	at(env, 24)[0] = 1;
	EXPECT_EQ(1, allocated(env->fd));

	/* the refusal does not depend on whether there is a page already */
	EXPECT_TRUE(vetoed(g, 24, 1));
	EXPECT_EQ(0, punch(env->fd, 24, 1));
	EXPECT_TRUE(vetoed(g, 0, 48));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(24), PAGE, true));
	EXPECT_EQ(0, grow(env->fd, 0, 48));
	EXPECT_EQ(48, allocated(env->fd));
}

/* One shared page among many is enough, wherever it is. */
TEST_F(kvm, veto_in_a_large_window)
{
	const size_t first = 100, pages = 3 * HUGE_PAGES;
	const size_t where[] = {
		0, 1, HUGE_PAGES - 101, HUGE_PAGES - 100, HUGE_PAGES, HUGE_PAGES + 300,
		2 * HUGE_PAGES - 100, 3 * HUGE_PAGES - 100, pages - 1,
	};
	struct guest *g = &self->g;
	size_t i, page;

	ASSERT_EQ(0, add_slot(g, VETO, first, pages));
	for (i = 0; i < ARRAY_SIZE(where); i++) {
		page = first + where[i];
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(page), PAGE, false));
		EXPECT_TRUE(vetoed(g, 0, 4 * HUGE_PAGES))
			TH_LOG("page %zu", page);
		EXPECT_TRUE(vetoed(g, first, pages))
			TH_LOG("page %zu", page);
		EXPECT_TRUE(vetoed(g, page, 1))
			TH_LOG("page %zu", page);
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(page), PAGE, true));
	}
	EXPECT_EQ(0, allocated(g->env.fd));
	EXPECT_EQ(0, grow(g->env.fd, first, pages));
	EXPECT_EQ(pages, allocated(g->env.fd));
}

/* Each memslot can refuse, whatever others of the same pages allow. */
TEST_F(kvm, veto_beside_another_slot)
{
	struct guest *g = &self->g;
	__u32 veto, other;

	for (veto = 1; veto < 3; veto++) {
		other = 3 - veto;
		ASSERT_EQ(0, put_slot(g, 1, veto == 1 ? VETO : FILL, 0, 0, PAGES));
		ASSERT_EQ(0, put_slot(g, 2, veto == 2 ? VETO : FILL, 100, 0, PAGES));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(100), PAGES * PAGE, true));
		EXPECT_EQ(0, grow(g->env.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));

		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(other == 1 ? 3 : 103), PAGE,
					     false));
		EXPECT_EQ(0, grow(g->env.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(veto == 1 ? 3 : 103), PAGE,
					     false));
		EXPECT_TRUE(vetoed(g, 0, PAGES));
		EXPECT_EQ(0, allocated(g->env.fd));

		/* the veto lasts as long as its own memslot */
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, other));
		EXPECT_TRUE(vetoed(g, 0, PAGES));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, veto));
		EXPECT_EQ(0, grow(g->env.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));
	}
}

TEST_HARNESS_MAIN
