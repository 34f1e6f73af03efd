/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of tests that provoke an event of memory management, with each set of
 * consumers.
 */
#ifndef TEST_KVM_MM_FIXTURE_H
#define TEST_KVM_MM_FIXTURE_H

#include "harness.h"
#include "kvm_mm.h"

/* The size of the file, nearly all of it a hole */
#define MM_ROOM		(512UL << 20)

FIXTURE(mm)
{
	struct mm_test mm;
};

FIXTURE_VARIANT(mm)
{
	bool device, guest;
};

FIXTURE_VARIANT_ADD(mm, nobody) {
};

FIXTURE_VARIANT_ADD(mm, device) {
	.device = true,
};

FIXTURE_VARIANT_ADD(mm, guest) {
	.guest = true,
};

FIXTURE_VARIANT_ADD(mm, both) {
	.device = true,
	.guest = true,
};

FIXTURE_SETUP(mm)
{
	struct mm_test *mm = &self->mm;
	int ret;

	mm->g.vmm = (struct vmm)VMM_INIT;
	mm->device = variant->device;
	mm->guest = variant->guest;
	if (mm->guest && !has_kvm())
		SKIP(return, "needs KVM");
	ret = mm->device ? env_setup(&mm->g.env, MM_ROOM / PAGE) :
			   env_setup_memory(&mm->g.env, MM_ROOM / PAGE);
	if (mm->g.env.lacks)
		SKIP(return, "%s", mm->g.env.lacks);
	ASSERT_EQ(0, ret);
	if (mm->guest)
		ASSERT_EQ(0, guest_create(&mm->g, 1));
}

FIXTURE_TEARDOWN(mm)
{
	struct mm_test *mm = &self->mm;

	guest_teardown(&mm->g);
	if (mm->balancing[0])
		write_file(NUMA_BALANCING, mm->balancing);
	cgroup_leave();
	/* it may be online as a movable one */
	if (mm->block[0]) {
		write_file(mm->block, "offline");
		write_file(mm->block, "online_kernel");
	}
}

#endif /* TEST_KVM_MM_FIXTURE_H */
