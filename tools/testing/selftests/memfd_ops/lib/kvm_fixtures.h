/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixtures of tests with a guest and no device. ROOM is the size of the file,
 * which begins as a hole.
 */
#ifndef TEST_KVM_FIXTURES_H
#define TEST_KVM_FIXTURES_H

#include "harness.h"
#include "kvm.h"

#define ROOM	(256UL << 20)

FIXTURE(kvm)
{
	struct guest g;
};

FIXTURE_SETUP(kvm)
{
	int ret = guest_setup(&self->g, ROOM / PAGE);

	if (self->g.env.lacks)
		SKIP(return, "%s", self->g.env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(kvm)
{
	guest_teardown(&self->g);
}

/* For the properties that memslots have in common, whether they fill or keep holes */
FIXTURE(holes)
{
	struct guest g;
};

FIXTURE_VARIANT(holes)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(holes, fill)
{
	.flags = FILL,
};

FIXTURE_VARIANT_ADD(holes, keep)
{
	.flags = KEEP,
};

FIXTURE_SETUP(holes)
{
	int ret = guest_setup(&self->g, ROOM / PAGE);

	if (self->g.env.lacks)
		SKIP(return, "%s", self->g.env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(holes)
{
	guest_teardown(&self->g);
}

#endif /* TEST_KVM_FIXTURES_H */
