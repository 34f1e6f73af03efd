// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_MEM_MEMFD_PRIVATE_ONLY and huge folios: fallocate() asks for all pages that it would
 * fill, the rest of a huge folio included (I5).
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES	(2 * HUGE_PAGES)

/* Refuse to fill the only page that is asked for, and leave no trace. */
static void refuse_one_page(struct __test_metadata *_metadata, struct test_env *env,
			    size_t page)
{
	EXPECT_EQ(-EPERM, grow(env->fd, page, 1));
	EXPECT_EQ(0, allocated(env->fd));
	EXPECT_EQ(ROOM / PAGE, file_pages(env->fd));
	EXPECT_FALSE(in_core(at(env, page)));
}

TEST_F(kvm, veto_over_the_rest_of_a_huge_folio)
{
	const size_t shared = 300, private[] = { 0, shared - 1, shared + 1, HUGE_PAGES - 1 };
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, add_slot(g, VETO, 0, PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(shared), PAGE, false));
	/* each would come with 511 others, one of them shared */
	for (i = 0; i < ARRAY_SIZE(private); i++)
		refuse_one_page(_metadata, env, private[i]);

	/* no such page next to it: the folio is huge */
	EXPECT_EQ(0, grow(env->fd, HUGE_PAGES + 7, 1));
	EXPECT_TRUE(is_huge(at(env, HUGE_PAGES + 7)));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));

	/* and pages that come alone are allowed */
	ASSERT_EQ(0, env_thp(env, "never"));
	for (i = 0; i < ARRAY_SIZE(private); i++)
		EXPECT_EQ(0, grow(env->fd, private[i], 1));
	EXPECT_EQ(ARRAY_SIZE(private), allocated(env->fd));
	EXPECT_EQ(-EPERM, grow(env->fd, shared, 1));
}

/* The slot has a part of the folio; the page that the caller asks for is not in it. */
TEST_F(kvm, veto_from_next_to_the_page)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, add_slot(g, VETO, 100, 100));
	EXPECT_EQ(0, grow(env->fd, 7, 1));
	ASSERT_EQ(0, punch(env->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(150), PAGE, false));
	refuse_one_page(_metadata, env, 7);
	refuse_one_page(_metadata, env, 400);
}

TEST_HARNESS_MAIN
