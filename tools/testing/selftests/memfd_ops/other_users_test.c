// SPDX-License-Identifier: GPL-2.0
/*
 * Files that consumers share with other parts of the kernel: the loop driver, which
 * changes the mapping's flags as well, MADV_COLLAPSE, and NUMA policies.
 */
#include <linux/loop.h>
#include <linux/mempolicy.h>

#include "lib/harness.h"
#include "lib/test_env.h"

#define PAGES	(512UL << 20 >> 12)	/* of a sparse file: as much as the node has */
#define NODE	1		/* with memory, part of which is CMA, but without a CPU */

FIXTURE(other_users)
{
	struct test_env env;
	int loop;
	__u64 movable[2];	/* the page frames of ZONE_MOVABLE */
};

FIXTURE_SETUP(other_users)
{
	int ret = env_setup(&self->env, PAGES);

	self->loop = -1;
	movable_zone(self->movable);
	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	ret = env_thp(&self->env, "never");
	if (ret != -ENOENT)
		ASSERT_EQ(0, ret);
}

static void loop_leave(int *loop)
{
	if (*loop >= 0)
		ioctl(*loop, LOOP_CLR_FD);
	/* the last one to close it has it let go of the file */
	close_fd(loop);
}

FIXTURE_TEARDOWN(other_users)
{
	loop_leave(&self->loop);
	env_teardown(&self->env);
}

/*
 * The loop driver. A consumer that pins keeps the file's new pages out of ZONE_MOVABLE;
 * the driver keeps their allocation from starting I/O. Each undoes its own part alone.
 */

static int loop_join(struct test_env *env, int *loop)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), ret;
	char path[32];

	if (control < 0)
		return -errno;
	ret = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (ret < 0)
		return -errno;
	snprintf(path, sizeof(path), "/dev/loop%d", ret);
	*loop = open(path, O_RDWR | O_CLOEXEC);
	return *loop < 0 || ioctl(*loop, LOOP_SET_FD, env->fd) ? -errno : 0;
}

/* How many of eight new pages of the file come from ZONE_MOVABLE? */
static size_t new_movable_pages(struct test_env *env, const __u64 movable[2])
{
	size_t sum;

	memset(env->mem, 1, 8 * PAGE);
	sum = pages_in_frames(env->mem, 8, movable);
	punch(env->fd, 0, 8);
	return sum;
}

static bool has_loop_and_movable(const __u64 movable[2])
{
	return movable[0] < movable[1] && !access("/dev/loop-control", F_OK);
}

#define NEEDS_LOOP	"needs ZONE_MOVABLE (movablecore=) and CONFIG_BLK_DEV_LOOP"

TEST_F(other_users, loop_leaves_first)
{
	struct test_env *env = &self->env;

	if (!has_loop_and_movable(self->movable))
		SKIP(return, NEEDS_LOOP);
	ASSERT_EQ(8, new_movable_pages(env, self->movable));
	ASSERT_EQ(0, loop_join(env, &self->loop));
	EXPECT_EQ(8, new_movable_pages(env, self->movable));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(0, new_movable_pages(env, self->movable));
	loop_leave(&self->loop);
	EXPECT_EQ(0, new_movable_pages(env, self->movable));
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
	EXPECT_EQ(8, new_movable_pages(env, self->movable));
}

TEST_F(other_users, consumer_leaves_first)
{
	struct test_env *env = &self->env;

	if (!has_loop_and_movable(self->movable))
		SKIP(return, NEEDS_LOOP);
	ASSERT_EQ(8, new_movable_pages(env, self->movable));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, loop_join(env, &self->loop));
	EXPECT_EQ(0, new_movable_pages(env, self->movable));
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
	EXPECT_EQ(8, new_movable_pages(env, self->movable));
	loop_leave(&self->loop);
	EXPECT_EQ(8, new_movable_pages(env, self->movable));
}

/* MADV_COLLAPSE: EINVAL is for what another attempt cannot do either. */
TEST_F(other_users, collapse_is_not_to_be_tried_again)
{
	struct test_env *env = &self->env;
	int i;

	if (access(SHMEM_ENABLED, F_OK))
		SKIP(return, "no huge pages in this kernel's shmem");
	memset(env->mem, 1, HUGE);
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	for (i = 0; i < 4; i++) {
		errno = 0;
		EXPECT_EQ(-1, madvise(env->mem, HUGE, MADV_COLLAPSE));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_FALSE(is_huge(env->mem));
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
	EXPECT_EQ(0, madvise(env->mem, HUGE, MADV_COLLAPSE));
	EXPECT_TRUE(is_huge(env->mem));
}

/*
 * NUMA
 */

static int cma_number(const char *name, __u64 *value)
{
	char path[64], text[32];
	int ret;

	snprintf(path, sizeof(path), "/sys/kernel/debug/cma/numa%d/%s", NODE, name);
	ret = read_line(path, text, sizeof(text));
	*value = ret ? 0 : strtoull(text, NULL, 10);
	return ret;
}

/* The page frames of the node's memory for CMA */
static int cma_area(__u64 frames[2])
{
	int ret = cma_number("base_pfn", &frames[0]);

	if (!ret)
		ret = cma_number("count", &frames[1]);
	frames[1] += frames[0];
	return ret;
}

/* Add huge folios until one lies in these frames, and keep some of its pages. */
static long find_place(struct test_env *env, const __u64 frames[2], size_t pages)
{
	size_t first;
	__u64 pfn;

	if (env_thp(env, "force"))
		return -ENOENT;
	for (first = 0; first < PAGES; first += HUGE_PAGES) {
		if (grow(env->fd, first, HUGE_PAGES))
			return -ENOMEM;
		pfn = pfn_of(at(env, first));
		if (frames[0] <= pfn && pfn < frames[1])
			break;
	}
	if (first == PAGES)
		return -ENOENT;
	/* the node has room for them elsewhere now */
	punch(env->fd, 0, first);
	punch(env->fd, first + pages, HUGE_PAGES - pages);
	return first;
}

static size_t pages_on_node(struct test_env *env, size_t first, size_t pages, int node)
{
	int status[pages];
	void *addr[pages];
	size_t i, sum = 0;

	for (i = 0; i < pages; i++)
		addr[i] = at(env, first + i);
	if (syscall(SYS_move_pages, 0, pages, addr, NULL, status, 0))
		return SIZE_MAX;
	for (i = 0; i < pages; i++)
		sum += status[i] == node;
	return sum;
}

/* The file's policy, for pages that it allocates from now on */
static int bind_file(struct test_env *env, int node)
{
	const unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, env->mem, PAGES * PAGE, MPOL_BIND, &mask,
		       8 * sizeof(mask), 0) ? -errno : 0;
}

/*
 * Pages that a device maps must leave CMA. They go where the file's policy has its pages
 * allocated, which may have changed since these were.
 */
static void leave_cma(struct __test_metadata *_metadata, struct test_env *env, int node)
{
	const size_t pages = 16;
	__u64 frames[2];
	long first;
	size_t i;

	ASSERT_EQ(0, cma_area(frames));
	ASSERT_EQ(0, bind_file(env, NODE));
	first = find_place(env, frames, pages);
	ASSERT_LE(0, first);
	for (i = first; i < first + pages; i++)
		fill(at(env, i), i);
	ASSERT_EQ(pages, pages_in_frames(at(env, first), pages, frames));
	ASSERT_EQ(pages, pages_on_node(env, first, pages, NODE));

	ASSERT_EQ(0, bind_file(env, node));
	ASSERT_EQ(0, env_map(env, 0, first, pages));
	EXPECT_EQ(0, pages_in_frames(at(env, first), pages, frames));
	EXPECT_EQ(pages, pages_on_node(env, first, pages, node));
	EXPECT_EQ(0, env_differences(env, 0, first, pages));
	for (i = first; i < first + pages; i++)
		EXPECT_TRUE(filled(at(env, i), i));
}

#define NEEDS_CMA	"needs memory for CMA on a second node"

TEST_F(other_users, leave_cma_within_the_node)
{
	__u64 frames[2];

	if (cma_area(frames))
		SKIP(return, NEEDS_CMA);
	leave_cma(_metadata, &self->env, NODE);
}

TEST_F(other_users, leave_cma_for_the_policys_node)
{
	__u64 frames[2];

	if (cma_area(frames))
		SKIP(return, NEEDS_CMA);
	leave_cma(_metadata, &self->env, 0);
}

TEST_HARNESS_MAIN
