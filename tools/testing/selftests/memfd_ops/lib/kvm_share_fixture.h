/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of tests with a guest and a device in one file, with small pages and
 * with huge folios.
 */
#ifndef TEST_KVM_SHARE_FIXTURE_H
#define TEST_KVM_SHARE_FIXTURE_H

#include "fail.h"
#include "harness.h"
#include "kvm.h"

/* The file: three huge folios, or their places */
#define PAGES	(3 * HUGE_PAGES)

/* A page in the middle of one, and one in another */
#define HERE	(HUGE_PAGES / 2)
#define THERE	(2 * HUGE_PAGES + 7)

FIXTURE(share)
{
	struct guest g;
};

FIXTURE_VARIANT(share)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(share, small_pages)
{
	.huge = false,
};

FIXTURE_VARIANT_ADD(share, huge_pages)
{
	.huge = true,
};

FIXTURE_SETUP(share)
{
	struct guest *g = &self->g;
	int ret;

	g->vmm = (struct vmm)VMM_INIT;
	g->huge = variant->huge;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ret = env_setup(&g->env, PAGES);
	if (g->env.lacks)
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, ret);
	/* elsewhere, "never" may be unknown */
	if (env_thp(&g->env, g->huge ? "force" : "never") && g->huge)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, guest_create(g, 2));
}

FIXTURE_TEARDOWN(share)
{
	fail_only_in(NULL);
	fail_anything("1");
	guest_teardown(&self->g);
}

#endif /* TEST_KVM_SHARE_FIXTURE_H */
