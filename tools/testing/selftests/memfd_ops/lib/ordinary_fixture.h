/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of tests with an ordinary VM, with or without a device in the same file.
 * The test adds the variants.
 */
#ifndef TEST_ORDINARY_FIXTURE_H
#define TEST_ORDINARY_FIXTURE_H

#include "harness.h"
#include "kvm_mm.h"
#include "ordinary.h"

/* The file: three huge folios, or their places */
#define PAGES	(3 * HUGE_PAGES)

/* A page in the middle of one, and one in another */
#define HERE	(HUGE_PAGES / 2)
#define THERE	(2 * HUGE_PAGES + 7)

/* Tests of memory management fill one page of so many. */
#define STRIDE	8

FIXTURE(ordinary)
{
	struct mm_test mm;
};

FIXTURE_VARIANT(ordinary)
{
	bool huge, device;
};

FIXTURE_SETUP(ordinary)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;
	int ret;

	mm->g.vmm = (struct vmm)VMM_INIT;
	mm->g.huge = variant->huge;
	mm->guest = true;
	mm->device = variant->device;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ret = mm->device ? env_setup(env, PAGES) : env_setup_memory(env, PAGES);
	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	/* elsewhere, "never" may be unknown */
	if (env_thp(env, variant->huge ? "force" : "never") && variant->huge)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, ordinary_create(&mm->g, 2));
	if (mm->device)
		ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
}

FIXTURE_TEARDOWN(ordinary)
{
	guest_teardown(&self->mm.g);
	cgroup_leave();
}

#endif /* TEST_ORDINARY_FIXTURE_H */
