// SPDX-License-Identifier: GPL-2.0
/*
 * A hole: the file's page reads as zeros, and the device does not reach it (I1).
 */
#include "lib/harness.h"
#include "lib/test_env.h"

FIXTURE(hole)
{
	struct test_env env;
};

FIXTURE_SETUP(hole)
{
	int ret = env_setup(&self->env, 4);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(hole)
{
	env_teardown(&self->env);
}

TEST_F(hole, is_zero_and_unreachable)
{
	struct test_env *env = &self->env;

	fill(at(env, 2), 7);
	ASSERT_EQ(0, env_map(env, 0, 0, 4));
	EXPECT_EQ(1, env_reachable(env, 0, 2, 1));

	ASSERT_EQ(0, punch(env->fd, 2, 1));
	EXPECT_EQ(0, env_reachable(env, 0, 2, 1));
	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 2, 3, 64));
	EXPECT_TRUE(all(at(env, 2), PAGE, 0));
}

TEST_HARNESS_MAIN
