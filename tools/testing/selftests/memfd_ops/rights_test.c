// SPDX-License-Identifier: GPL-2.0
/*
 * A process may map as much as its descriptors allow, no matter which process opened
 * them, and which rights it had before; and it may pin as much as its own limit allows.
 */
#include <sched.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/test_env.h"

#define PAGES	256
#define LIMIT	16UL

FIXTURE(rights)
{
	struct test_env env;
};

FIXTURE_SETUP(rights)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(rights)
{
	env_teardown(&self->env);
}

static int map_flags(struct test_env *env, int fd, __u32 flags)
{
	struct mdma *m = &env->dev[0];
	int ret = mdma_map(m, fd, 0, iova_of(m, 0), PAGES * PAGE, flags);

	if (!ret)
		mdma_unmap_all(m);
	return ret;
}

/* An ordinary user that receives a device and a descriptor has these, and no more. */
TEST_F(rights, passed_to_a_stranger)
{
	struct test_env *env = &self->env;
	int ro, wo, path, status;

	ASSERT_EQ(0, grow(env->fd, 0, 4));
	ro = reopen(env->fd, O_RDONLY);
	wo = reopen(env->fd, O_WRONLY);
	path = reopen(env->fd, O_PATH);
	ASSERT_LE(0, ro);
	ASSERT_LE(0, wo);
	ASSERT_LE(0, path);
	/* this one cannot be opened again either */
	ASSERT_EQ(0, fchmod(env->fd, 0600));

	if (in_child(&status)) {
		close(env->fd);
		MUST(!munmap(env->mem, PAGES * PAGE));
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		MUST(set_ipc_lock(true) == -EPERM);
		MUST(reopen(ro, O_RDWR) < 0 && errno == EACCES);

		MUST(map_flags(env, ro, MDMA_RW) == -EACCES);
		MUST(map_flags(env, ro, VFIO_MDMA_MAP_FLAG_WRITE) == -EACCES);
		MUST(map_flags(env, ro, VFIO_MDMA_MAP_FLAG_READ) == 0);
		/* VT-d lets a device read what it may write */
		MUST(map_flags(env, wo, VFIO_MDMA_MAP_FLAG_WRITE) == -EACCES);
		MUST(map_flags(env, wo, VFIO_MDMA_MAP_FLAG_READ) == -EACCES);
		MUST(map_flags(env, path, VFIO_MDMA_MAP_FLAG_READ) == -EBADF);
		/* nor does it hold more than it may lock */
		MUST(!limit_memlock(LIMIT));
		MUST(mdma_map(&env->dev[0], ro, 0, iova_of(&env->dev[0], 0), PAGES * PAGE,
			      VFIO_MDMA_MAP_FLAG_READ) == 0);
		MUST(pinned() == 4);
		_exit(0);
	}
	EXPECT_EQ(0, status);
	/* what it left mapped can be read, and not written */
	EXPECT_EQ(4, env_reachable(env, 0, 0, PAGES));
	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 0, 1, 64));
	EXPECT_EQ(0, grow(env->fd, 4, LIMIT - 4));
	/* beyond the limit it refuses nothing, and lacks the page */
	EXPECT_EQ(0, grow(env->fd, LIMIT, 1));
	EXPECT_EQ(LIMIT + 1, allocated(env->fd));
	EXPECT_EQ(LIMIT, env_reachable(env, 0, 0, PAGES));
	close(ro);
	close(wo);
	close(path);
}

/* Root in a user namespace of its own has the same limit. */
TEST_F(rights, user_namespace)
{
	struct test_env *env = &self->env;
	int status;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	if (in_child(&status)) {
		MUST(!limit_memlock(LIMIT));
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		MUST(!unshare(CLONE_NEWUSER));
		/* it has the capability, there */
		MUST(!set_ipc_lock(true));
		MUST(env_map(env, 0, 0, PAGES) == -ENOMEM);
		MUST(pinned() == 0);
		MUST(!punch(env->fd, 0, 1));
		MUST(!env_map(env, 0, 0, PAGES));
		MUST(pinned() == LIMIT);
		_exit(0);
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, 1));
}

/*
 * The privileges of the process that maps decide, as they are at that time. Another
 * process's privilege, or one that comes or goes later, makes no difference.
 */
TEST_F(rights, privilege_comes_and_goes)
{
	struct test_env *env = &self->env;
	int status;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	if (in_child(&status)) {
		MUST(!set_ipc_lock(false));
		MUST(!limit_memlock(LIMIT));
		MUST(!env_map(env, 0, 0, PAGES));
		MUST(!set_ipc_lock(true));
		MUST(grow(env->fd, LIMIT, 1) == -EDQUOT);
		/* in place of it, and with the privilege */
		MUST(mdma_unmap_all(&env->dev[0]) == PAGES * PAGE);
		MUST(!limit_memlock(0));
		MUST(!env_map(env, 0, 0, PAGES));
		MUST(!set_ipc_lock(false));
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		MUST(!grow(env->fd, LIMIT, 1));
		MUST(pinned() == LIMIT + 1);
		/* but not for another mapping */
		MUST(env_map(env, 1, 0, 1) == -ENOMEM);
		_exit(0);
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(LIMIT + 1, env_reachable(env, 0, 0, PAGES));
}

/* The process that maps the file is charged, whichever process created it. */
TEST_F(rights, creator_is_gone)
{
	struct test_env *env = &self->env;
	struct mdma *m = &env->dev[0];
	unsigned char *mem;
	int fd, made[2], status;
	pid_t pid;

	ASSERT_EQ(0, pipe(made));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		fd = memfd_create("orphan", MFD_CLOEXEC);
		MUST(fd >= 0 && !ftruncate(fd, PAGES * PAGE) && !grow(fd, 3, 5));
		MUST(write(made[1], &fd, sizeof(fd)) == sizeof(fd));
		for (;;)
			pause();
	}
	close(made[1]);
	ASSERT_EQ(sizeof(fd), read(made[0], &fd, sizeof(fd)));
	close(made[0]);
	fd = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, pid, 0), fd, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, 0), PAGES * PAGE, MDMA_RW));
	EXPECT_EQ(5, pinned());
	mem[100 * PAGE] = 1;
	EXPECT_EQ(6, pinned());
	EXPECT_EQ(0, differences(m, iova_of(m, 0), fd, mem, 0, PAGES));
	EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(m));
	EXPECT_EQ(0, pinned());
	munmap(mem, PAGES * PAGE);
	close(fd);
}

struct killed {
	struct test_env *env;
	int ready;
};

static __attribute__((noreturn)) int maps_and_waits(void *arg)
{
	struct killed *k = arg;

	if (!mdma_open_group(&k->env->dev[0]) && !env_map(k->env, 0, 0, PAGES))
		(void)!write(k->ready, "!", 1);
	for (;;)
		pause();
}

/*
 * A process is killed, with the only descriptors of the device: its memory, which lives
 * on in another process, is no longer charged.
 */
TEST_F(rights, killed)
{
	static unsigned char stack[64 << 10] __attribute__((aligned(16)));
	struct test_env *env = &self->env;
	struct killed k = { .env = env };
	int ready[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, pipe(ready));
	k.ready = ready[1];
	mdma_close(&env->dev[0]);
	ASSERT_EQ(0, pinned());
	/* the same memory, but descriptors of its own */
	pid = clone(maps_and_waits, stack + sizeof(stack), CLONE_VM | SIGCHLD, &k);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(LIMIT, pinned());
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* what it wrote to our memory: numbers of descriptors that are closed */
	env->dev[0].container = -1;
	env->dev[0].group = -1;
	env->dev[0].fd = -1;

	EXPECT_EQ(0, pinned());
	EXPECT_EQ(0, consumers_of(env->fd));
	close(ready[0]);
	close(ready[1]);
}

TEST_HARNESS_MAIN
