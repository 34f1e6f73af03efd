// SPDX-License-Identifier: GPL-2.0
/*
 * What a device holds counts against RLIMIT_MEMLOCK of who mapped it: by the pages
 * that it has, not by the size of the window, and no longer than it has them.
 */
#include "test_util.h"
#include "../kselftest_harness.h"

#include <linux/capability.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define PAGES	1024
#define LIMIT	16UL

FIXTURE(memlock)
{
	struct rig r;
};

FIXTURE_SETUP(memlock)
{
	ASSERT_EQ(0, rig_setup(&self->r, PAGES));
}

FIXTURE_TEARDOWN(memlock)
{
	rig_teardown(&self->r);
}

/* From now on RLIMIT_MEMLOCK holds for this process, as for an ordinary user's. */
static int limit_memlock(rlim_t pages)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	struct rlimit limit = { .rlim_cur = pages * PAGE, .rlim_max = pages * PAGE };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || syscall(SYS_capget, &header, data))
		return -errno;
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].permitted &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

TEST_F_TIMEOUT(memlock, counts_what_is_there, 60)
{
	struct rig *r = &self->r;

	ASSERT_EQ(0, pinned());
	ASSERT_EQ(0, limit_memlock(LIMIT));
	ASSERT_EQ(0, grow(r->fd, 100, 4));
	/* a sparse window, 64 times the limit */
	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	EXPECT_EQ(4, pinned());
	ASSERT_EQ(0, grow(r->fd, 500, 10));
	EXPECT_EQ(14, pinned());
	ASSERT_EQ(0, punch(r->fd, 101, 1));
	EXPECT_EQ(13, pinned());
	/* by another mapping of the same pages, too */
	EXPECT_EQ(0, rig_map(r, 1, 500, 3));
	EXPECT_EQ(16, pinned());
	EXPECT_EQ(3 * PAGE, mdma_unmap_all(&r->dev[1]));
	EXPECT_EQ(13, pinned());
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&r->dev[0]));
	EXPECT_EQ(0, pinned());
}

TEST_F_TIMEOUT(memlock, refuses_to_map, 60)
{
	struct rig *r = &self->r;

	ASSERT_EQ(0, limit_memlock(LIMIT));
	ASSERT_EQ(0, grow(r->fd, 0, LIMIT + 1));
	EXPECT_EQ(-ENOMEM, rig_map(r, 0, 0, PAGES));
	EXPECT_EQ(0, pinned());
	EXPECT_EQ(0, consumers_of(r->fd));
	EXPECT_EQ(0, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_map(r, 0, 0, LIMIT));
	EXPECT_EQ(LIMIT, pinned());
	EXPECT_EQ(-ENOMEM, rig_map(r, 0, LIMIT, 1));
	EXPECT_EQ(LIMIT, pinned());
}

static sigjmp_buf bus_error;

static void on_sigbus(int sig)
{
	siglongjmp(bus_error, sig);
}

/* Does a write there end in SIGBUS? */
static bool write_is_refused(unsigned char *addr)
{
	struct sigaction action = { .sa_handler = on_sigbus }, old;
	volatile bool refused = true;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(bus_error, 1)) {
		*(volatile unsigned char *)addr = 1;
		refused = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return refused;
}

/* A page too many: who brings it is refused, and the file does not have it. */
TEST_F_TIMEOUT(memlock, refuses_what_comes, 60)
{
	struct rig *r = &self->r;
	pid_t child;
	int status;

	ASSERT_EQ(0, grow(r->fd, 0, LIMIT));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/* the limit is this one's, whoever brings the page */
		if (limit_memlock(LIMIT) || rig_map(r, 0, 0, PAGES))
			_exit(1);
		if (pinned() != LIMIT)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	/* it has exited, and what it mapped is still there, and limited */
	ASSERT_EQ(0, status);
	EXPECT_EQ(LIMIT, rig_reachable(r, 0, 0, PAGES));

	EXPECT_EQ(-EDQUOT, grow(r->fd, 100, 1));
	EXPECT_EQ(-1, pwrite(r->fd, "x", 1, 100 * PAGE));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_TRUE(write_is_refused(at(r, 100)));
	EXPECT_EQ(LIMIT, allocated(r->fd));
	EXPECT_EQ(LIMIT, rig_reachable(r, 0, 0, PAGES));

	/* in place of another it is welcome */
	ASSERT_EQ(0, punch(r->fd, 3, 1));
	EXPECT_EQ(0, grow(r->fd, 100, 1));
	EXPECT_EQ(LIMIT, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(r->fd, 3, 1));
}

/* A hole in a huge page: what is left comes back, limit or not. */
TEST_F_TIMEOUT(memlock, neighbours_come_back, 60)
{
	struct rig *r = &self->r;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, limit_memlock(HUGE_PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, rig_map(r, 0, 0, HUGE_PAGES));
	EXPECT_EQ(HUGE_PAGES, pinned());
	ASSERT_EQ(0, punch(r->fd, 7, 1));
	EXPECT_EQ(HUGE_PAGES - 1, pinned());
	EXPECT_EQ(HUGE_PAGES - 1, rig_reachable(r, 0, 0, HUGE_PAGES));
}

/* CAP_IPC_LOCK knows no limit, and is counted all the same. */
TEST_F_TIMEOUT(memlock, privileged, 60)
{
	const struct rlimit limit = { 0 };
	struct rig *r = &self->r;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, grow(r->fd, 0, LIMIT));
	EXPECT_EQ(0, rig_map(r, 0, 0, PAGES));
	EXPECT_EQ(LIMIT, pinned());
	mdma_close(&r->dev[0]);
	EXPECT_EQ(0, pinned());
}

TEST_HARNESS_MAIN
