// SPDX-License-Identifier: GPL-2.0
/*
 * The rights of a process that maps a memfd by VFIO type1 or iommufd (I8): its
 * RLIMIT_MEMLOCK limits the pages, however many devices have them and however they come
 * and go; and its descriptor limits the access, whichever process opened it.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/sigbus.h"
#include "lib/vfio_env.h"

#define PAGES	256		/* of the file */
#define LIMIT	16UL

static int map_fd(struct test_env *env, int fd, size_t first, size_t pages, __u32 prot)
{
	return space_map(&env->space, fd, first * PAGE, iova(first), pages * PAGE, prot);
}

/*
 * Does edu have as many pages of the file, as far as its table can be seen, and are
 * they counted, and no others?
 */
static bool edu_has(struct test_env *env, long want)
{
	long got = vdev_reaches(&env->edu, iova(0), PAGES, env->mem);

	if (got != -ENOENT && got != want)
		note("the table has %ld pages rather than %ld", got, want);
	else if (pinned() != want)
		note("%ld pages are counted rather than %ld", pinned(), want);
	else
		return true;
	return false;
}

/* Has the file no consumer, and are no pages charged? */
static bool has_nothing(struct test_env *env)
{
	return !consumers_of(env->fd) && edu_has(env, 0);
}

/* No device is open yet. */
FIXTURE(limit)
{
	struct test_env env;
};

FIXTURE_VARIANT(limit)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(limit, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(limit, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(limit, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(limit)
{
	int ret = vfio_env_setup(&self->env, variant->way, PAGES, NEED_EDU | NEED_SOFT);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, pinned());
}

FIXTURE_TEARDOWN(limit)
{
	vfio_env_teardown(&self->env);
}

/* Too many to map: nothing of it stays, and fewer can be mapped. */
TEST_F(limit, refuses_to_map)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	EXPECT_EQ(-ENOMEM, map_pages(env, 0, PAGES));
	EXPECT_TRUE(has_nothing(env));
	EXPECT_EQ(0, map_pages(env, 0, LIMIT));
	EXPECT_TRUE(edu_has(env, LIMIT));

	/* there is none left: not for another page, nor for one once more */
	EXPECT_EQ(-ENOMEM, map_pages(env, LIMIT, 1));
	EXPECT_EQ(-ENOMEM, space_map(&env->space, env->fd, 0, iova(PAGES), PAGE, DMA_R));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(edu_has(env, LIMIT));
	/* pages count, not windows */
	EXPECT_EQ(0, map_pages(env, LIMIT + 1, PAGES - LIMIT - 1));
	EXPECT_TRUE(edu_has(env, LIMIT));

	EXPECT_EQ(LIMIT * PAGE, unmap_pages(env, 0, LIMIT));
	EXPECT_TRUE(edu_has(env, 0));
	EXPECT_EQ(0, map_pages(env, 1, LIMIT));
	EXPECT_TRUE(edu_has(env, LIMIT));
}

/* A page too many later: the call that adds it fails, and the file does not have it. */
TEST_F(limit, refuses_what_comes)
{
	struct test_env *env = &self->env;
	char data[3 * PAGE] = "";

	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	EXPECT_EQ(-1, pwrite(env->fd, data, 1, 100 * PAGE));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_TRUE(write_is_refused(at(env, 100)));
	EXPECT_TRUE(read_is_refused(at(env, 100)));
	EXPECT_EQ(LIMIT, allocated(env->fd));
	EXPECT_TRUE(edu_has(env, LIMIT));
	/* without another's privilege */
	ASSERT_EQ(0, set_ipc_lock(true));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	ASSERT_EQ(0, set_ipc_lock(false));

	/* room for one of three: none stays; but a write(2) ends where it is refused */
	ASSERT_EQ(0, punch(env->fd, 3, 1));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 3));
	EXPECT_EQ(LIMIT - 1, allocated(env->fd));
	EXPECT_TRUE(edu_has(env, LIMIT - 1));
	EXPECT_EQ(PAGE, pwrite(env->fd, data, 3 * PAGE, 100 * PAGE));
	EXPECT_EQ(LIMIT, allocated(env->fd));
	EXPECT_TRUE(edu_has(env, LIMIT));

	/* where the device does not look there may be as many as one likes */
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_EQ(0, map_pages(env, 0, LIMIT));
	EXPECT_EQ(0, grow(env->fd, LIMIT, PAGES - LIMIT));
	EXPECT_TRUE(edu_has(env, LIMIT - 1));
}

/* Pages count while a device has them, no matter how that ends. */
TEST_F(limit, given_back)
{
	struct test_env *env = &self->env;
	int round;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
		ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
		ASSERT_EQ(0, map_pages(env, 0, PAGES));
		EXPECT_TRUE(edu_has(env, LIMIT));
		ASSERT_EQ(0, punch(env->fd, 0, 4));
		EXPECT_TRUE(edu_has(env, LIMIT - 4));
		ASSERT_EQ(0, ftruncate(env->fd, 8 * PAGE));
		EXPECT_TRUE(edu_has(env, 4));
		ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
		EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
		EXPECT_TRUE(has_nothing(env));

		/* a device goes, and there is no other */
		ASSERT_EQ(0, map_pages(env, 0, PAGES));
		EXPECT_TRUE(edu_has(env, 4));
		vdev_close(&env->edu);
		EXPECT_TRUE(has_nothing(env));
		env->space.typed = false;
		ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
		/* an IOAS keeps its mappings, a container of type1 does not */
		if (env->space.way == TYPE1)
			ASSERT_EQ(0, map_pages(env, 0, PAGES));
		EXPECT_TRUE(edu_has(env, 4));

		/* all is closed; it goes with the last descriptor */
		close_fd(&env->space.fd);
		EXPECT_TRUE(edu_has(env, 4));
		vdev_close(&env->edu);
		EXPECT_TRUE(has_nothing(env));
		ASSERT_EQ(0, space_open(&env->space, variant->way));
	}
}

/*
 * The pages of a mapping that is in no domain yet do not count. Attaching has too many
 * pages then, and fails: also for a process that may lock any number, but did not map.
 */
TEST_F(limit, refuses_to_attach)
{
	struct test_env *env = &self->env;
	int i;

	switch (env->space.way) {
	case TYPE1:
		/* has a container in which there is no domain */
		ASSERT_EQ(0, vdev_open(&env->space, &env->pin));
		ASSERT_EQ(0, vdev_open_group(&env->edu));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_join(&env->space, &env->edu));
		break;
	}
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(has_nothing(env));

	for (i = 0; i < 3; i++) {
		const int want = i < 2 ? -ENOMEM : 0;

		ASSERT_EQ(0, set_ipc_lock(i == 1));
		if (i == 2)
			ASSERT_EQ(0, punch(env->fd, 7, 1));
		switch (env->space.way) {
		case TYPE1:
			EXPECT_EQ(want, ioctl(env->edu.group, VFIO_GROUP_SET_CONTAINER,
					      &env->space.fd) ? -errno : 0);
			break;
		case IOMMUFD:
			EXPECT_EQ(want, vdev_attach(&env->edu, env->space.ioas));
			break;
		case IOMMUFD_GROUP:
			EXPECT_EQ(want, vdev_get(&env->edu));
			break;
		}
		if (want) {
			EXPECT_TRUE(has_nothing(env)) TH_LOG("attempt %d", i);
		}
	}
	EXPECT_TRUE(edu_has(env, LIMIT));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 7, 1));
}

/* Pages that are in two domains count once, whichever of them goes, or comes again. */
TEST_F(limit, counts_once)
{
	struct test_env *env = &self->env;
	struct vdev *const d[] = { &env->edu, &env->dma };
	int first, domains;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, vdev_open(&env->space, d[0]));
	ASSERT_EQ(0, vdev_open(&env->space, d[1]));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	for (first = 0; first < 2; first++) {
		for (domains = 2; domains; domains--) {
			EXPECT_EQ(domains, consumers_of(env->fd));
			EXPECT_EQ(LIMIT, pinned());
			EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
			EXPECT_EQ(LIMIT, allocated(env->fd));
			ASSERT_EQ(0, punch(env->fd, 3, 2));
			EXPECT_EQ(LIMIT - 2, pinned());
			ASSERT_EQ(0, grow(env->fd, 3, 2));
			if (domains == 2)
				vdev_close(d[first]);
		}
		ASSERT_EQ(0, vdev_open(&env->space, d[first]));
		EXPECT_TRUE(edu_has(env, LIMIT));
	}
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_TRUE(has_nothing(env));
}

struct bringer {
	int fd;
	bool stop;		/* set by the other thread */
	unsigned long brought;
	int error;		/* the first one */
};

/* A page comes and goes, which there is room for. */
static void *bring(void *arg)
{
	struct bringer *b = arg;

	while (!b->error && !__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		b->error = grow(b->fd, 0, 1);
		if (!b->error)
			b->error = punch(b->fd, 0, 1);
		b->brought++;
	}
	return NULL;
}

/*
 * When one of two domains goes, the pages are counted for the other: not for both
 * meanwhile, or a call would fail that adds a page for which there is room.
 */
TEST_F(limit, counts_once_meanwhile)
{
	const size_t many = 4096;
	struct test_env *env = &self->env;
	struct vdev *const d[] = { &env->edu, &env->dma };
	struct bringer b = { 0 };
	pthread_t thread;
	int fd, round;

	/* of which it takes a while to let go */
	fd = memfd_create("many", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, many * PAGE));
	ASSERT_EQ(0, grow(fd, 0, many));
	ASSERT_EQ(0, set_ipc_lock(true));
	ASSERT_EQ(0, limit_memlock(many + 1));
	ASSERT_EQ(0, set_ipc_lock(false));

	ASSERT_EQ(0, vdev_open(&env->space, d[0]));
	ASSERT_EQ(0, vdev_open(&env->space, d[1]));
	ASSERT_EQ(0, map_fd(env, fd, 0, many, DMA_RW));
	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, iova(many), PAGE, DMA_RW));
	EXPECT_EQ(many, pinned());
	b.fd = env->fd;
	stay_on_one_cpu(false);
	ASSERT_EQ(0, pthread_create(&thread, NULL, bring, &b));
	for (round = 0; round < 8; round++) {
		vdev_close(d[round % 2]);
		EXPECT_EQ(0, vdev_open(&env->space, d[round % 2]));
	}
	__atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	note("the page came %lu times", b.brought);
	EXPECT_EQ(0, b.error);
	EXPECT_LT(8, b.brought);
	EXPECT_EQ(many, pinned());
	close(fd);
}

struct killed {
	struct test_env *env;
	int ready;
};

static __attribute__((noreturn)) int maps_and_waits(void *arg)
{
	struct killed *k = arg;
	struct test_env *env = k->env;

	if (!space_open(&env->space, env->space.way) && !vdev_open(&env->space, &env->edu) &&
	    !map_pages(env, 0, PAGES))
		(void)!write(k->ready, "!", 1);
	for (;;)
		pause();
}

/*
 * Killed, with the only descriptors of the device: nothing is counted any more for
 * its memory, which lives on in another process, and no device has references to pages
 * any more: the file can be sealed against writing.
 */
TEST_F(limit, killed)
{
	static unsigned char stack[64 << 10] __attribute__((aligned(16)));
	struct test_env *env = &self->env;
	struct killed k = { .env = env };
	int ready[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, munmap(env->mem, PAGES * PAGE));
	env->mem = NULL;
	ASSERT_EQ(0, pipe(ready));
	k.ready = ready[1];
	close_fd(&env->space.fd);
	/* the same memory, but descriptors of its own */
	pid = clone(maps_and_waits, stack + sizeof(stack), CLONE_VM | SIGCHLD, &k);
	ASSERT_LT(0, pid);
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	close(ready[0]);
	EXPECT_EQ(LIMIT, pinned());
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* what it wrote to our memory: numbers of descriptors that are closed */
	env->space.fd = -1;
	env->edu.group = -1;
	env->edu.fd = -1;

	EXPECT_TRUE(has_nothing(env));
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	/* the device is free, and nothing counts */
	ASSERT_EQ(0, space_open(&env->space, variant->way));
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	EXPECT_EQ(0, map_fd(env, env->fd, 0, PAGES, DMA_R));
	EXPECT_EQ(LIMIT, pinned());
}

/*
 * Rights
 */

FIXTURE(stranger)
{
	struct test_env env;
};

FIXTURE_VARIANT(stranger)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(stranger, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(stranger, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(stranger, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(stranger)
{
	int ret = vfio_env_setup(&self->env, variant->way, PAGES, NEED_EDU | NEED_SOFT);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(stranger)
{
	vfio_env_teardown(&self->env);
}

/* For another process: a space with a device, and the file without all rights. */
struct gift {
	int space, ro, wo;
	__u32 ioas;
};

static int make_gift(struct test_env *env, struct gift *gift)
{
	*gift = (struct gift){
		.space = env->space.fd,
		.ro = reopen(env->fd, O_RDONLY),
		.wo = reopen(env->fd, O_WRONLY),
		.ioas = env->space.ioas,
	};
	return gift->ro < 0 || gift->wo < 0 ? -errno : 0;
}

/* Copy the descriptors of another process. */
static int take(int pidfd, struct gift *gift)
{
	int *const fds[] = { &gift->space, &gift->ro, &gift->wo };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		*fds[i] = syscall(SYS_pidfd_getfd, pidfd, *fds[i], 0);
		if (*fds[i] < 0)
			return -errno;
	}
	return 0;
}

/* What a stranger has and can do, with what it was given; exits if it is otherwise. */
static void try_as_stranger(struct test_env *env, const struct gift *gift)
{
	MUST(reopen(gift->ro, O_RDONLY) >= 0);
	MUST(reopen(gift->ro, O_RDWR) < 0 && errno == EACCES);
	MUST(map_fd(env, gift->ro, 0, PAGES, DMA_RW) == -EACCES);
	MUST(map_fd(env, gift->ro, 0, PAGES, DMA_W) == -EACCES);
	/* VT-d lets a device read what it may write */
	MUST(map_fd(env, gift->wo, 0, PAGES, DMA_W) == -EACCES);
	MUST(map_fd(env, gift->wo, 0, PAGES, DMA_RW) == -EACCES);
	MUST(map_fd(env, gift->wo, 0, PAGES, DMA_R) == -EACCES);
	MUST(pinned() == 0);
	/* there is one page too many */
	MUST(map_fd(env, gift->ro, 0, PAGES, DMA_R) == -ENOMEM);
	MUST(pinned() == 0);
	MUST(map_fd(env, gift->ro, 1, PAGES - 1, DMA_R) == 0);
	MUST(pinned() == LIMIT);
}

/* What of that is left when it has gone: to read, of its kind, and as much as it had. */
static bool can_but_read(struct test_env *env)
{
	unsigned char data[LEN];

	fill(at(env, 1), 1);
	if (soft_read(&env->dma, iova(1), data, LEN) || memcmp(data, at(env, 1), LEN)) {
		note("the device does not reach the file");
		return false;
	}
	memset(data, 0, LEN);
	if (soft_write(&env->dma, iova(1), data, LEN) != -EFAULT || !filled(at(env, 1), 1)) {
		note("the device can write");
		return false;
	}
	/* beyond the limit it refuses nothing, and lacks the page */
	if (grow(env->fd, 100, 1) || soft_read(&env->dma, iova(100), data, LEN) != -EFAULT)
		return false;
	/* in place of another it has one */
	return !punch(env->fd, 2, 1) && !grow(env->fd, 101, 1) &&
	       !soft_read(&env->dma, iova(101), data, LEN) &&
	       !grow(env->fd, 2, 1) &&
	       soft_read(&env->dma, iova(2), data, LEN) == -EFAULT;
}

/*
 * A process that receives a device and a descriptor has these, and no more: another
 * user, and root in a user namespace of its own, which lifts no limit and opens no file.
 */
TEST_F(stranger, has_what_it_was_given)
{
	struct test_env *env = &self->env;
	int pipefd[2], status;
	struct gift gift;
	pid_t pid;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	ASSERT_EQ(0, fchmod(env->fd, 0644));
	ASSERT_EQ(0, pipe(pipefd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const int parent = syscall(SYS_pidfd_open, getppid(), 0), file = env->fd;

		close_fd(&env->fd);
		close_fd(&env->space.fd);
		close(pipefd[1]);
		MUST(!munmap(env->mem, PAGES * PAGE));
		MUST(read(pipefd[0], &gift, sizeof(gift)) == sizeof(gift));
		MUST(!take(parent, &gift));
		env->space.fd = gift.space;
		env->space.ioas = gift.ioas;

		MUST(!limit_memlock(LIMIT));
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		MUST(!unshare(CLONE_NEWUSER));
		/* it has the capability, there */
		MUST(!set_ipc_lock(true));
		/* what it has not been given it cannot take any more */
		MUST(syscall(SYS_pidfd_getfd, parent, file, 0) < 0 && errno == EPERM);
		try_as_stranger(env, &gift);
		_exit(0);
	}
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	ASSERT_EQ(0, make_gift(env, &gift));
	ASSERT_EQ(sizeof(gift), write(pipefd[1], &gift, sizeof(gift)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, pinned());
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(can_but_read(env));
	close(gift.ro);
	close(gift.wo);
	close(pipefd[0]);
	close(pipefd[1]);
}

/* The same by birth: a child that has become another user. */
TEST_F(stranger, inherits_no_more)
{
	struct test_env *env = &self->env;
	struct gift gift;
	int status;

	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	ASSERT_EQ(0, fchmod(env->fd, 0644));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	ASSERT_EQ(0, make_gift(env, &gift));
	if (in_child(&status)) {
		close_fd(&env->fd);
		MUST(!munmap(env->mem, PAGES * PAGE));
		MUST(!limit_memlock(LIMIT));
		MUST(!setgid(NOBODY) && !setuid(NOBODY));
		try_as_stranger(env, &gift);
		_exit(0);
	}
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(can_but_read(env));
	close(gift.ro);
	close(gift.wo);
}

TEST_HARNESS_MAIN
