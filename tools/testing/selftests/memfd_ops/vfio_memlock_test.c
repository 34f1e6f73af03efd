// SPDX-License-Identifier: GPL-2.0
/*
 * Whom VFIO type1 and iommufd charge for the pages of a memfd that a device follows, and
 * against which limit (I8): the table in Documentation/userspace-api/vfio-memfd.rst. Each
 * of its rows is a test, here or in vfio_rights_test.c.
 */
#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/vfio_env.h"

#define PAGES	256UL		/* of the file */
#define LIMIT	16UL
#define PART	10UL		/* less than that, and more than half of it */
#define REST	(LIMIT - PART)

#define A_USER		1000
#define ANOTHER_USER	1001

#define AFTER_EXEC	"--after-exec"

FIXTURE(memlock)
{
	struct test_env env;
};

FIXTURE_VARIANT(memlock)
{
	enum way way;
	bool process;		/* is charged, not the user */
};

FIXTURE_VARIANT_ADD(memlock, type1) { .way = TYPE1, .process = true };
FIXTURE_VARIANT_ADD(memlock, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(memlock, iommufd_process) { .way = IOMMUFD, .process = true };

/* Have an iommufd charge processes. It can be changed only while there is no object. */
static int charge_processes(struct space *s)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = 1,
	};
	int ret = space_destroy(s, s->ioas);

	if (!ret && ioctl(s->fd, IOMMU_OPTION, &option))
		ret = -errno;
	return ret ? ret : ioas_alloc(s, &s->ioas);
}

/* edu is attached, nothing is mapped, and there is anonymous memory to map by address. */
FIXTURE_SETUP(memlock)
{
	struct test_env *env = &self->env;
	int ret = vfio_env_setup(env, variant->way, PAGES, NEED_EDU);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	if (variant->way == IOMMUFD && variant->process)
		ASSERT_EQ(0, charge_processes(&env->space));
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, env_add_side(env, LIMIT, false));
}

FIXTURE_TEARDOWN(memlock)
{
	vfio_env_teardown(&self->env);
}

static int map_by_address(struct test_env *env, size_t pages)
{
	return space_map_address(&env->space, env->side, SIDE, pages * PAGE);
}

static bool unmap_by_address(struct test_env *env, size_t pages)
{
	return space_unmap(&env->space, SIDE, pages * PAGE) == pages * PAGE;
}

/* Have another process change the limit of this one, as a manager of VMs does. */
static bool limit_from_outside(rlim_t pages)
{
	const struct rlimit limit = { .rlim_cur = pages * PAGE, .rlim_max = pages * PAGE };
	int status;

	if (in_child(&status)) {
		MUST(!prlimit(getppid(), RLIMIT_MEMLOCK, &limit, NULL));
		_exit(0);
	}
	return !status;
}

TEST_F(memlock, one_limit_followed_first)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, PART));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(-ENOMEM, map_by_address(env, REST + 1));
	ASSERT_EQ(0, map_by_address(env, REST));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	EXPECT_TRUE(unmap_by_address(env, REST));
	EXPECT_EQ(0, grow(env->fd, 100, REST));
	EXPECT_EQ(-ENOMEM, map_by_address(env, 1));
	EXPECT_EQ(0, punch(env->fd, 100, 1));
	EXPECT_EQ(0, map_by_address(env, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, LIMIT - 1));
}

TEST_F(memlock, one_limit_by_address_first)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, REST + 1));
	ASSERT_EQ(0, map_by_address(env, PART));
	EXPECT_EQ(-ENOMEM, map_pages(env, 0, PAGES));
	EXPECT_EQ(0, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, 1));
	EXPECT_TRUE(unmap_by_address(env, PART));
	EXPECT_EQ(0, grow(env->fd, 100, PART));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, 1));
}

/* mlock() and MAP_LOCKED are charged to the process as well. */
TEST_F(memlock, one_limit_with_mlock)
{
	struct test_env *env = &self->env;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, PART));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	if (!variant->process) {
		/* the two limits of a user have nothing to do with each other */
		EXPECT_EQ(0, mlock(env->side, LIMIT * PAGE));
		EXPECT_EQ(0, grow(env->fd, 100, REST));
		return;
	}
	EXPECT_EQ(-1, mlock(env->side, (REST + 1) * PAGE));
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, mlock(env->side, REST * PAGE));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, flags, -1, 0));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, munlock(env->side, REST * PAGE));
	EXPECT_EQ(0, grow(env->fd, 100, REST));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, flags, -1, 0));
	EXPECT_EQ(EAGAIN, errno);
}

/* The limit counts as it is when a page comes: raised or lowered while the device runs. */
TEST_F(memlock, follows_prlimit)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));

	ASSERT_TRUE(limit_from_outside(2 * LIMIT));
	EXPECT_EQ(0, grow(env->fd, 100, LIMIT));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 200, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2 * LIMIT));

	/* lower: mapped pages stay, and none is added */
	ASSERT_TRUE(limit_from_outside(LIMIT));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2 * LIMIT));
	EXPECT_EQ(2 * LIMIT, pinned());
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2 * LIMIT - 1));
	ASSERT_EQ(0, punch(env->fd, 100, LIMIT));
	EXPECT_EQ(0, grow(env->fd, 0, 1));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 100, 1));
}

/* What a mapping lacks it gets once the limit is higher. */
TEST_F(memlock, fills_after_prlimit)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, space_map_may_miss(&env->space, env->fd, 0, BASE, PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 100, 3));
	EXPECT_EQ(3 * PAGE, space_fill(&env->space, BASE, PAGES * PAGE));
	ASSERT_TRUE(limit_from_outside(LIMIT + 2));
	EXPECT_EQ(PAGE, space_fill(&env->space, BASE, PAGES * PAGE));
	ASSERT_TRUE(limit_from_outside(LIMIT + 3));
	EXPECT_EQ(0, space_fill(&env->space, BASE, PAGES * PAGE));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, LIMIT + 3));
}

/* Map @pages pages of a new memfd, the @nth such mapping. */
static int map_new_file(struct space *s, int nth, size_t pages)
{
	int fd = memfd_create("new", MFD_CLOEXEC), ret = -errno;

	if (fd < 0)
		return ret;
	ret = grow(fd, 0, pages);
	if (!ret)
		ret = space_map(s, fd, 0, iova((nth + 1) * PAGES), pages * PAGE, DMA_RW);
	close(fd);
	return ret;
}

/* The same in a process of that user, which has exited on return. */
static int map_as(struct test_env *env, uid_t user, int nth, size_t pages)
{
	int status;

	if (in_child(&status)) {
		MUST(!limit_memlock(LIMIT));
		MUST(!setresuid(user, user, user));
		_exit(-map_new_file(&env->space, nth, pages));
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EPROTO;
}

/*
 * Processes of a user that share an iommufd have one limit together, also after they have
 * exited: their pages remain. Charged processes have one each.
 */
TEST_F(memlock, processes_of_a_user)
{
	const int want = variant->process ? 0 : -ENOMEM;
	struct test_env *env = &self->env;
	int i;

	EXPECT_EQ(0, map_as(env, A_USER, 0, LIMIT));
	for (i = 1; i < 8; i++)
		EXPECT_EQ(want, map_as(env, A_USER, i, LIMIT));
	/* another user has a limit of its own */
	EXPECT_EQ(0, map_as(env, ANOTHER_USER, 8, LIMIT));
	EXPECT_EQ(want, map_as(env, ANOTHER_USER, 9, 1));
	EXPECT_LT(0, space_unmap_all(&env->space));
	EXPECT_EQ(0, map_as(env, A_USER, 0, LIMIT));
}

/* A child brings pages of the same file: the process that mapped is charged. */
TEST_F(memlock, fork)
{
	const int want = variant->process ? 0 : -ENOMEM;
	struct test_env *env = &self->env;
	int status;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, PART));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	if (in_child(&status)) {
		MUST(!grow(env->fd, 100, 2));
		MUST(pinned() == 0 && pinned_by(getppid()) == PART + 2);
		MUST(grow(env->fd, 100, REST + 1) == -EDQUOT);
		/* what it maps itself counts for itself, or for the user of both */
		MUST(map_new_file(&env->space, 0, LIMIT) == want);
		MUST(map_by_address(env, want ? REST - 1 : 1) == -ENOMEM);
		_exit(0);
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(PART + 2, pinned());
	EXPECT_EQ(0, grow(env->fd, 200, REST - 2));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 250, 1));
}

/*
 * The new program, with the space of the old one. It exits with an errno, and without the
 * destructors, one of which would wait for the device to be closed.
 */
static __attribute__((noreturn)) void after_exec(char **argv)
{
	struct space s = { .way = atoi(argv[0]), .fd = atoi(argv[1]), .ioas = atoi(argv[2]) };

	MUST(!set_ipc_lock(false));
	MUST(pinned() == 0);
	_exit(-map_new_file(&s, 0, LIMIT));
}

static void exec_self(struct space *s)
{
	char way[16], fd[16], ioas[16];

	snprintf(way, sizeof(way), "%d", s->way);
	snprintf(fd, sizeof(fd), "%d", s->fd);
	snprintf(ioas, sizeof(ioas), "%u", s->ioas);
	MUST(!fcntl(s->fd, F_SETFD, 0));
	execl("/proc/self/exe", "vfio_memlock_test", AFTER_EXEC, way, fd, ioas, NULL);
	MUST(!"executed");
}

/*
 * A user remains the same. The memory that was charged goes with the old program; type1
 * charges the mapping to it nevertheless, and the new program begins with nothing, as it
 * does by address.
 */
TEST_F(memlock, exec)
{
	const int want = variant->process ? 0 : ENOMEM;
	struct test_env *env = &self->env;
	int status;

	ASSERT_EQ(0, grow(env->fd, 0, PART));
	if (in_child(&status)) {
		MUST(!limit_as_user(LIMIT));
		MUST(!map_pages(env, 0, PAGES));
		exec_self(&env->space);
	}
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(want, WEXITSTATUS(status));
	/* either way, the old mapping has the old limit */
	EXPECT_EQ(0, grow(env->fd, 100, REST));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 200, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, LIMIT));
}

/*
 * With CAP_IPC_LOCK a mapping has no limit, and keeps none. A process is charged for it
 * all the same, a user is not.
 */
TEST_F(memlock, privileged)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_memlock(LIMIT));
	ASSERT_EQ(0, grow(env->fd, 0, 2 * LIMIT));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, set_ipc_lock(false));
	EXPECT_EQ(0, grow(env->fd, 100, 1));
	EXPECT_EQ(2 * LIMIT + 1, pinned());
	if (variant->process) {
		EXPECT_EQ(-ENOMEM, map_by_address(env, 1));
		ASSERT_EQ(0, punch(env->fd, 0, 2 * LIMIT));
		EXPECT_EQ(0, map_by_address(env, LIMIT - 1));
	} else {
		EXPECT_EQ(0, map_by_address(env, LIMIT));
	}
	EXPECT_EQ(-ENOMEM, map_new_file(&env->space, 0, 1));
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], AFTER_EXEC))
		after_exec(argv + 2);
	return test_harness_run(argc, argv);
}
