/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of most tests of VFIO: edu is attached, and has the side memory mapped; the
 * test maps the file.
 */
#ifndef TEST_VFIO_FIXTURE_H
#define TEST_VFIO_FIXTURE_H

#include "harness.h"
#include "vfio_env.h"

FIXTURE(vfio)
{
	struct test_env env;
};

FIXTURE_VARIANT(vfio)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(vfio, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(vfio, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(vfio, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(vfio)
{
	int ret = vfio_env_setup_mapped(&self->env, variant->way);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(vfio)
{
	vfio_env_teardown(&self->env);
}

#endif /* TEST_VFIO_FIXTURE_H */
