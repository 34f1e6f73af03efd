// SPDX-License-Identifier: GPL-2.0
/*
 * The pages that a device pins count against RLIMIT_MEMLOCK of the process that mapped
 * them: by their number, not by the size of the window, and only while it pins them.
 */
#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/sigbus.h"
#include "lib/test_env.h"

#define PAGES	1024
#define LIMIT	16UL

FIXTURE(memlock)
{
	struct test_env env;
};

FIXTURE_SETUP(memlock)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(memlock)
{
	env_teardown(&self->env);
}

TEST_F(memlock, counts_what_is_there)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, pinned());
	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 100, 4));
	/* a sparse window, 64 times the limit */
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(4, pinned());
	ASSERT_EQ(0, grow(env->fd, 500, 10));
	EXPECT_EQ(14, pinned());
	ASSERT_EQ(0, punch(env->fd, 101, 1));
	EXPECT_EQ(13, pinned());
	/* by another mapping of the same pages, too */
	EXPECT_EQ(0, env_map(env, 1, 500, 3));
	EXPECT_EQ(16, pinned());
	EXPECT_EQ(3 * PAGE, mdma_unmap_all(&env->dev[1]));
	EXPECT_EQ(13, pinned());
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
	EXPECT_EQ(0, pinned());
}

TEST_F(memlock, refuses_to_map)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	EXPECT_EQ(-ENOMEM, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(0, pinned());
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_map(env, 0, 0, LIMIT));
	EXPECT_EQ(LIMIT, pinned());
	EXPECT_EQ(-ENOMEM, env_map(env, 0, LIMIT, 1));
	EXPECT_EQ(LIMIT, pinned());
}

/* A page too many: the call that adds it fails, and the file does not have it. */
TEST_F(memlock, refuses_what_comes)
{
	struct test_env *env = &self->env;
	pid_t child;
	int status;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/* this process's limit counts, whichever process adds the page */
		if (limit_as_user(LIMIT) || env_map(env, 0, 0, PAGES))
			_exit(1);
		if (pinned() != LIMIT)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	/* it has exited, and what it mapped is still there, and limited */
	ASSERT_EQ(0, status);
	EXPECT_EQ(LIMIT, env_reachable(env, 0, 0, PAGES));

	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	EXPECT_EQ(-1, pwrite(env->fd, "x", 1, 100 * PAGE));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_TRUE(write_is_refused(at(env, 100)));
	EXPECT_EQ(LIMIT, allocated(env->fd));
	EXPECT_EQ(LIMIT, env_reachable(env, 0, 0, PAGES));

	/* in place of another it is welcome */
	ASSERT_EQ(0, punch(env->fd, 3, 1));
	EXPECT_EQ(0, grow(env->fd, 100, 1));
	EXPECT_EQ(LIMIT, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 3, 1));
}

/* A hole in a huge page: its other pages come back, limit or not. */
TEST_F(memlock, neighbours_come_back)
{
	struct test_env *env = &self->env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, limit_as_user(HUGE_PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, env_map(env, 0, 0, HUGE_PAGES));
	EXPECT_EQ(HUGE_PAGES, pinned());
	ASSERT_EQ(0, punch(env->fd, 7, 1));
	EXPECT_EQ(HUGE_PAGES - 1, pinned());
	EXPECT_EQ(HUGE_PAGES - 1, env_reachable(env, 0, 0, HUGE_PAGES));
}

/* The limit counts as it is when a page comes, and pages by mlock() count, too. */
TEST_F(memlock, limit_of_now)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	ASSERT_EQ(0, limit_memlock(LIMIT + 4));
	EXPECT_EQ(0, grow(env->fd, 100, 2));
	EXPECT_EQ(-1, mlock(at(env, 0), 3 * PAGE));
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, mlock(at(env, 0), 2 * PAGE));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 200, 1));
	ASSERT_EQ(0, munlock(at(env, 0), 2 * PAGE));
	EXPECT_EQ(0, grow(env->fd, 200, 1));

	/* a lower one takes nothing away */
	ASSERT_EQ(0, limit_memlock(LIMIT));
	EXPECT_EQ(LIMIT + 3, pinned());
	EXPECT_EQ(LIMIT + 3, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 250, 1));
}

/* CAP_IPC_LOCK knows no limit, and is counted all the same. */
TEST_F(memlock, privileged)
{
	const struct rlimit limit = { 0 };
	struct test_env *env = &self->env;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	EXPECT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(LIMIT, pinned());
	mdma_close(&env->dev[0]);
	EXPECT_EQ(0, pinned());
}

TEST_HARNESS_MAIN
