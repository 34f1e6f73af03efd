// SPDX-License-Identifier: GPL-2.0
/*
 * A consumer whose descriptor cannot write never makes an operation of others fail (I12):
 * its mirror becomes incomplete, which debugfs reports, and its owner can have it complete
 * again.
 */
#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/sigbus.h"
#include "lib/test_env.h"

#define PAGES	256

FIXTURE(strangers)
{
	struct test_env env;
	int ro;			/* the file, for other users: they may read it */
};

FIXTURE_VARIANT(strangers)
{
	size_t limit;		/* of the pages that another user may pin */
};

FIXTURE_VARIANT_ADD(strangers, without_a_page) { .limit = 0 };
FIXTURE_VARIANT_ADD(strangers, with_some_pages) { .limit = 16 };

FIXTURE_SETUP(strangers)
{
	struct test_env *env = &self->env;
	int ret = env_setup(env, PAGES);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, fchmod(env->fd, 0644));
	self->ro = reopen(env->fd, O_RDONLY);
	ASSERT_LE(0, self->ro);
}

FIXTURE_TEARDOWN(strangers)
{
	env_teardown(&self->env);
	close(self->ro);
}

static int map_to_read(struct test_env *env, int ro)
{
	struct mdma *m = &env->dev[0];

	return mdma_map(m, ro, 0, iova_of(m, 0), PAGES * PAGE, VFIO_MDMA_MAP_FLAG_READ);
}

/* Map the file as an ordinary user does that cannot open it for writing. */
static void map_as_stranger(struct test_env *env, int ro, size_t limit)
{
	close(env->fd);
	MUST(!munmap(env->mem, PAGES * PAGE));
	MUST(!limit_memlock(limit));
	MUST(!setgid(NOBODY) && !setuid(NOBODY));
	MUST(reopen(ro, O_RDWR) < 0 && errno == EACCES);
	MUST(!map_to_read(env, ro));
	MUST(pinned() == (long)limit);
	_exit(0);
}

/* The owner adds pages in every way; the stranger's device reaches none of these. */
TEST_F(strangers, refuse_nothing)
{
	const size_t had = variant->limit, first = 100;
	struct test_env *env = &self->env;
	struct mdma *m = &env->dev[0];
	unsigned char page[PAGE];
	int status;

	ASSERT_EQ(0, env_map(env, 1, 0, PAGES));
	if (had)
		ASSERT_EQ(0, grow(env->fd, 0, had));
	if (in_child(&status))
		map_as_stranger(env, self->ro, had);
	ASSERT_EQ(0, status);
	EXPECT_EQ(had, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, consumers_missed(env->fd, "iommu"));

	fill(page, first);
	EXPECT_EQ(PAGE, pwrite(env->fd, page, PAGE, first * PAGE));
	EXPECT_FALSE(write_is_refused(at(env, first + 1)));
	EXPECT_EQ(0, grow(env->fd, first + 2, 1));
	EXPECT_FALSE(read_is_refused(at(env, first + 3)));
	EXPECT_EQ(had + 4, allocated(env->fd));
	/* one page by each of the four calls */
	EXPECT_EQ(4, consumers_missed(env->fd, "iommu"));
	EXPECT_EQ(0, env_reachable(env, 0, first, 4));
	EXPECT_EQ(had, env_reachable(env, 0, 0, PAGES));
	/* the owner's own device has all of them */
	EXPECT_EQ(had + 4, env_reachable(env, 1, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 1, 0, PAGES));

	/* with more room, and from the beginning, it is complete */
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(m));
	if (in_child(&status))
		map_as_stranger(env, self->ro, had + 4);
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, consumers_missed(env->fd, "iommu"));
	EXPECT_EQ(had + 4, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* The device's copy from a page that its mirror lacks ends with a fault. */
TEST_F(strangers, read_no_page_that_they_lack)
{
	const size_t had = variant->limit;
	struct test_env *env = &self->env;
	struct mdma *m = &env->dev[0];
	int scratch, status;
	long faults;

	if (had)
		ASSERT_EQ(0, grow(env->fd, 0, had));
	if (in_child(&status))
		map_as_stranger(env, self->ro, had);
	ASSERT_EQ(0, status);
	/* a page to copy to, next to the file */
	scratch = memfd_create("scratch", MFD_CLOEXEC);
	ASSERT_LE(0, scratch);
	ASSERT_EQ(0, grow(scratch, 0, 1));
	ASSERT_EQ(0, mdma_map(m, scratch, 0, iova_of(m, PAGES), PAGE, MDMA_RW));
	if (had)
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, PAGES, 64));

	ASSERT_FALSE(write_is_refused(at(env, 100)));
	faults = mdma_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 100, PAGES, 64));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
	close(scratch);
}

/* A consumer that can write may refuse a page: the file does not get it. */
TEST_F(strangers, unlike_consumers_that_write)
{
	const size_t had = variant->limit;
	struct test_env *env = &self->env;
	int status;

	if (had)
		ASSERT_EQ(0, grow(env->fd, 0, had));
	if (in_child(&status)) {
		MUST(!limit_as_user(had));
		MUST(!env_map(env, 0, 0, PAGES));
		_exit(0);
	}
	ASSERT_EQ(0, status);
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	EXPECT_EQ(-1, pwrite(env->fd, "x", 1, 100 * PAGE));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_TRUE(write_is_refused(at(env, 100)));
	EXPECT_EQ(had, allocated(env->fd));
	EXPECT_EQ(0, consumers_missed(env->fd, "iommu"));
}

TEST_HARNESS_MAIN
