// SPDX-License-Identifier: GPL-2.0
/*
 * Instances come and go, and so do the engine's driver and module.
 */
#include "lib/harness.h"
#include "lib/test_env.h"

#define PAGES	64

FIXTURE(lifecycle)
{
	struct test_env env;
	int available;		/* with the two instances of the rig */
};

FIXTURE_SETUP(lifecycle)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	self->available = mdma_available();
	ASSERT_LE(0, self->available);
}

FIXTURE_TEARDOWN(lifecycle)
{
	env_teardown(&self->env);
}

/* The engine works, for a new instance. */
static void works(struct __test_metadata *_metadata, struct test_env *env)
{
	struct mdma m = MDMA_INIT;
	int byte = rand() % 256;

	ASSERT_EQ(0, mdma_create(&m));
	ASSERT_EQ(0, mdma_open_cdev(&m));
	memset(at(env, 0), byte, PAGE);
	ASSERT_EQ(0, grow(env->fd, 1, 1));
	ASSERT_EQ(0, mdma_map(&m, env->fd, 0, m.info.iova_start, PAGES * PAGE, MDMA_RW));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_copy(&m, m.info.iova_start,
						   m.info.iova_start + PAGE, 64));
	EXPECT_TRUE(all(at(env, 1), 64, byte));
	mdma_close(&m);
	ASSERT_EQ(0, mdma_remove(&m));
}

TEST_F(lifecycle, sysfs)
{
	char type[PATH_MAX], path[PATH_MAX + 32], text[128];

	ASSERT_EQ(0, mdma_type(type, sizeof(type)));
	snprintf(path, sizeof(path), "%s/device_api", type);
	EXPECT_EQ(0, read_line(path, text, sizeof(text)));
	EXPECT_STREQ("vfio-mdma", text);
	snprintf(path, sizeof(path), "%s/name", type);
	EXPECT_EQ(0, read_line(path, text, sizeof(text)));
	snprintf(path, sizeof(path), "%s/description", type);
	EXPECT_EQ(0, read_line(path, text, sizeof(text)));
	snprintf(path, sizeof(path), "%s/create", type);
	EXPECT_EQ(-EINVAL, write_file(path, "not a UUID"));
	EXPECT_EQ(-EEXIST, write_file(path, self->env.dev[0].uuid));
	EXPECT_EQ(self->available, mdma_available());
}

TEST_F(lifecycle, as_many_as_there_are)
{
	struct mdma m[64], extra = MDMA_INIT;
	struct test_env *env = &self->env;
	int round, i, j;

	ASSERT_LT(self->available, (int)ARRAY_SIZE(m));
	for (round = 0; round < 2; round++) {
		for (i = 0; i < self->available; i++) {
			m[i] = (struct mdma)MDMA_INIT;
			ASSERT_EQ(0, mdma_create(&m[i]));
			EXPECT_EQ(self->available - i - 1, mdma_available());
		}
		EXPECT_EQ(-EUSERS, mdma_create(&extra));
		EXPECT_EQ(0, mdma_available());
		for (i = 0; i < self->available; i++) {
			ASSERT_EQ(0, mdma_open_group(&m[i]));
			/* each has IOVAs of its own */
			for (j = 0; j < i; j++)
				EXPECT_NE(m[i].info.iova_start, m[j].info.iova_start);
			EXPECT_EQ(0, mdma_map(&m[i], env->fd, 0, m[i].info.iova_start,
					      PAGES * PAGE, MDMA_RW));
		}
		ASSERT_EQ(0, grow(env->fd, 0, PAGES));
		for (i = 0; i < self->available; i++)
			EXPECT_EQ(PAGES, reachable(&m[i], m[i].info.iova_start, PAGES));
		EXPECT_EQ(self->available, consumers_of(env->fd));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		for (i = 0; i < self->available; i++) {
			EXPECT_EQ(0, reachable(&m[i], m[i].info.iova_start, PAGES));
			mdma_close(&m[i]);
			EXPECT_EQ(0, mdma_remove(&m[i]));
		}
		EXPECT_EQ(self->available, mdma_available());
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	works(_metadata, env);
}

/* Both ways of opening exclude each other, and an open instance cannot be opened again. */
TEST_F(lifecycle, opened_once)
{
	struct test_env *env = &self->env;
	struct mdma *m = &env->dev[0], again = *m;
	int fd;

	again.fd = -1;
	again.group = -1;
	again.container = -1;
	again.iommufd = -1;
	EXPECT_GT(0, mdma_open_cdev(&again));
	EXPECT_GT(0, mdma_open_group(&again));

	/* one instance, two descriptors: it is closed with the last */
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	fd = ioctl(m->group, VFIO_GROUP_GET_DEVICE_FD, m->uuid);
	ASSERT_LE(0, fd);
	close(m->fd);
	m->fd = fd;
	at(env, 0)[0] = 1;
	EXPECT_EQ(1, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(1, consumers_of(env->fd));
	close(m->fd);
	m->fd = -1;
	EXPECT_EQ(0, consumers_of(env->fd));
	mdma_close(m);
	ASSERT_EQ(0, mdma_open_cdev(&again));
	EXPECT_GT(0, mdma_open_group(m));
	mdma_close(&again);
}

/* Run @act in a child, which waits in the kernel until the device is closed. */
static pid_t begin(struct test_env *env, int (*act)(struct test_env *env))
{
	int pipefd[2], i;
	pid_t pid;
	char c;

	if (pipe(pipefd))
		return -1;
	pid = fork();
	if (!pid) {
		for (i = 0; i < 2; i++)
			mdma_close(&env->dev[i]);
		c = write(pipefd[1], "!", 1);
		_exit(act(env) ? 1 : 0);
	}
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 1)
		pid = -1;
	close(pipefd[0]);
	return pid;
}

static int remove_first(struct test_env *env)
{
	return mdma_remove(&env->dev[0]);
}

static bool is_there(struct mdma *m)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), MDMA_DEVICES "/%.36s", m->uuid);
	return !access(path, F_OK);
}

TEST_F(lifecycle, removed_while_open)
{
	struct test_env *env = &self->env;
	int status;
	pid_t pid;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	pid = begin(env, remove_first);
	ASSERT_LT(0, pid);
	/* until it is closed it works */
	fill(at(env, 0), 1);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, PAGE));
	EXPECT_TRUE(filled(at(env, 1), 1));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	mdma_close(&env->dev[0]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(is_there(&env->dev[0]));
	EXPECT_TRUE(is_there(&env->dev[1]));
	EXPECT_EQ(self->available + 1, mdma_available());
	EXPECT_EQ(0, consumers_of(env->fd));
	env->dev[0].uuid[0] = '\0';
	works(_metadata, env);
}

/* The PCI address of the engine. */
static int parent(struct test_env *env, char *name, size_t size)
{
	char path[PATH_MAX], dir[PATH_MAX];

	snprintf(path, sizeof(path), MDMA_DEVICES "/%.36s", env->dev[1].uuid);
	if (!realpath(path, dir))
		return -errno;
	*strrchr(dir, '/') = '\0';
	snprintf(name, size, "%s", strrchr(dir, '/') + 1);
	return 0;
}

static int unbind_parent(struct test_env *env)
{
	char name[64];

	if (parent(env, name, sizeof(name)))
		return -ENODEV;
	return write_file("/sys/bus/pci/drivers/mdma/unbind", name);
}

TEST_F(lifecycle, unbound_while_open)
{
	struct test_env *env = &self->env;
	char name[64], path[128], type[PATH_MAX];
	int status;
	pid_t pid;

	ASSERT_EQ(0, parent(env, name, sizeof(name)));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, env_map(env, 1, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	pid = begin(env, unbind_parent);
	ASSERT_LT(0, pid);
	fill(at(env, 0), 1);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, PAGE));
	EXPECT_TRUE(filled(at(env, 1), 1));
	/* and it is left in the middle of a copy */
	ASSERT_EQ(0, mdma_start(&env->dev[1], iova_of(&env->dev[1], 0),
				iova_of(&env->dev[1], 8), 2 * PAGE));
	mdma_close(&env->dev[0]);
	mdma_close(&env->dev[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(is_there(&env->dev[0]));
	EXPECT_FALSE(is_there(&env->dev[1]));
	EXPECT_EQ(-ENODEV, mdma_type(type, sizeof(type)));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(PAGES, allocated(env->fd));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", name);
	EXPECT_NE(0, access(path, F_OK));

	ASSERT_EQ(0, write_file("/sys/bus/pci/drivers/mdma/bind", name));
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_EQ(self->available + 2, mdma_available());
	env->dev[0].uuid[0] = '\0';
	env->dev[1].uuid[0] = '\0';
	works(_metadata, env);
}

static int rmmod(void)
{
	return syscall(__NR_delete_module, "mdma", O_NONBLOCK) ? -errno : 0;
}

TEST_F(lifecycle, rmmod)
{
	struct test_env *env = &self->env;
	int i;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(-EAGAIN, rmmod());
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	ASSERT_EQ(0, mdma_start(&env->dev[0], iova_of(&env->dev[0], 0),
				iova_of(&env->dev[0], 8), 64));
	EXPECT_EQ(-EAGAIN, rmmod());
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_wait(&env->dev[0]));
	mdma_close(&env->dev[0]);
	/* in use by the other still */
	EXPECT_EQ(-EAGAIN, rmmod());
	mdma_close(&env->dev[1]);

	/* with instances, of which none is open */
	EXPECT_EQ(0, rmmod());
	EXPECT_FALSE(is_there(&env->dev[0]));
	EXPECT_FALSE(is_there(&env->dev[1]));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(PAGES, allocated(env->fd));
	for (i = 0; i < 2; i++)
		env->dev[i].uuid[0] = '\0';

	ASSERT_EQ(0, system("modprobe mdma"));
	EXPECT_EQ(self->available + 2, mdma_available());
	works(_metadata, env);
}

TEST_HARNESS_MAIN
