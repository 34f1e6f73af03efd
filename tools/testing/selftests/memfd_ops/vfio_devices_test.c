// SPDX-License-Identifier: GPL-2.0
/*
 * Real devices that join and leave a space in which a memfd is followed, processes that
 * end while a device follows, and descriptors that go to another process.
 */
#include <signal.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/vfio_env.h"

#define PAGES	64		/* that most tests map, of a file of 2 MiB */
#define LIMIT	16UL		/* of a process that has one */
#define RESERVED	0xfee00000UL	/* the IOVAs of interrupts */

/* No device is open yet. */
FIXTURE(late)
{
	struct test_env env;
};

FIXTURE_VARIANT(late)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(late, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(late, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(late, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(late)
{
	int ret = vfio_env_setup_late(&self->env, variant->way);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late)
{
	vfio_env_teardown(&self->env);
}

FIXTURE(late_type1)
{
	struct test_env env;
};

FIXTURE_SETUP(late_type1)
{
	int ret = vfio_env_setup_late(&self->env, TYPE1);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late_type1)
{
	vfio_env_teardown(&self->env);
}

FIXTURE(late_cdev)
{
	struct test_env env;
};

FIXTURE_SETUP(late_cdev)
{
	int ret = vfio_env_setup_late(&self->env, IOMMUFD);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late_cdev)
{
	vfio_env_teardown(&self->env);
}

/* The device comes after the mapping, and after pages; it finds them all. */
TEST_F(late, mapped_first)
{
	struct test_env *env = &self->env;

	switch (env->space.way) {
	case TYPE1:
		if (!has_nvme(env))
			SKIP(return, "needs a second device");
		ASSERT_EQ(0, vdev_join(&env->space, &env->nvme));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_join(&env->space, &env->edu));
		break;
	}
	fill(at(env, 0), 100);
	fill(at(env, 2), 102);
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	/* meanwhile */
	fill(at(env, 1), 101);
	ASSERT_EQ(0, punch(env->fd, 2, 1));

	switch (env->space.way) {
	case TYPE1:
		ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_attach(&env->edu, env->space.ioas));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_get(&env->edu));
		break;
	}
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2));
	ASSERT_EQ(0, edu_start(&env->edu));
	EXPECT_TRUE(device_reads(env, iova(0), at(env, 0)));
	EXPECT_TRUE(device_reads(env, iova(1), at(env, 1)));
	EXPECT_TRUE(blocked(env, 2));
	ASSERT_EQ(0, grow(env->fd, 2, 1));
	EXPECT_TRUE(reached(env, 2, 1));
}

/* The device goes, the mapping stays. */
TEST_F(late, again)
{
	struct test_env *env = &self->env;

	if (env->space.way == TYPE1) {
		if (!has_nvme(env))
			SKIP(return, "needs a second device");
		/* with the last device the mappings would go */
		ASSERT_EQ(0, vdev_open(&env->space, &env->nvme));
	}
	ASSERT_EQ(0, open_edu(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	EXPECT_TRUE(reached(env, 0, 1));
	EXPECT_TRUE(reached(env, 1, 2));

	switch (env->space.way) {
	case TYPE1:
		vdev_close(&env->edu);
		EXPECT_EQ(1, consumers_of(env->fd));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_detach(&env->edu));
		EXPECT_EQ(0, consumers_of(env->fd));
		/* what it does now does not reach the file */
		mdma_expect_iommu_faults();
		edu_dma(&env->edu, iova(0), LEN, true);
		EXPECT_TRUE(written(at(env, 0), 2));
		break;
	case IOMMUFD_GROUP:
		munmap((void *)env->edu.regs, env->edu.size);
		env->edu.regs = NULL;
		close_fd(&env->edu.fd);
		EXPECT_EQ(0, consumers_of(env->fd));
		break;
	}
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 3, 1));

	switch (env->space.way) {
	case TYPE1:
		ASSERT_EQ(0, open_edu(env));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_attach(&env->edu, env->space.ioas));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_get(&env->edu));
		ASSERT_EQ(0, edu_start(&env->edu));
		break;
	}
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2));
	EXPECT_TRUE(reached(env, 0, 3));
	EXPECT_TRUE(reached(env, 3, 4));
	EXPECT_TRUE(blocked(env, 1));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_TRUE(nothing_mapped(env));
}

/* A type1 container without devices has no mappings. */
TEST_F(late_type1, last_device)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, open_edu(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(1, consumers_of(env->fd));
	vdev_close(&env->edu);
	EXPECT_EQ(0, consumers_of(env->fd));
	env->space.typed = false;
	ASSERT_EQ(0, open_edu(env));
	EXPECT_TRUE(nothing_mapped(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(reached(env, 5, 1));
}

TEST_F(late, two_devices)
{
	struct test_env *env = &self->env;

	if (!has_nvme(env))
		SKIP(return, "needs a second device");
	ASSERT_EQ(0, open_edu(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, 32));
	ASSERT_EQ(0, grow(env->fd, 0, 4));
	ASSERT_EQ(0, vdev_open(&env->space, &env->nvme));
	ASSERT_EQ(0, map_pages(env, 32, 32));
	ASSERT_EQ(0, grow(env->fd, 32, 4));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 8));
	EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, 8));
	EXPECT_TRUE(reached(env, 0, 1));
	EXPECT_TRUE(reached(env, 32, 2));
	ASSERT_EQ(0, punch(env->fd, 0, 33));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 3));
	EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, 3));
	EXPECT_TRUE(blocked(env, 32));
	EXPECT_EQ(32 * PAGE, space_unmap(&env->space, iova(0), 32 * PAGE));
	vdev_close(&env->nvme);
	ASSERT_EQ(0, grow(env->fd, 32, 1));
	EXPECT_TRUE(reached(env, 32, 3));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 4));
	EXPECT_EQ(1, consumers_of(env->fd));
}

/* From one IOAS to another, without a moment in between. */
TEST_F(late_cdev, replace_ioas)
{
	struct test_env *env = &self->env;
	__u32 first, second = 0;
	int other;

	ASSERT_EQ(0, open_edu(env));
	if (!can_fill_before_attach(env, &env->edu))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));

	first = env->space.ioas;
	ASSERT_EQ(0, ioas_alloc(&env->space, &second));
	env->space.ioas = second;
	other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, other);
	fill(env->side, 50);
	ASSERT_EQ(PAGE, pwrite(other, env->side, PAGE, 0));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, space_map(&env->space, other, 0, BASE, PAGE, DMA_RW));
	EXPECT_EQ(0, consumers_of(other));
	EXPECT_EQ(1, consumers_of(env->fd));

	ASSERT_EQ(0, vdev_attach(&env->edu, second));
	EXPECT_EQ(1, consumers_of(other));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_TRUE(device_reads(env, BASE, env->side));
	EXPECT_EQ(0, device_writes(env, iova(1), 51));
	EXPECT_TRUE(all(at(env, 1), PAGE, 0));

	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 3, 1));
	ASSERT_EQ(0, vdev_attach(&env->edu, first));
	EXPECT_EQ(0, consumers_of(other));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(reached(env, 0, 1));
	EXPECT_TRUE(reached(env, 3, 2));
	EXPECT_TRUE(blocked(env, 1));

	/* an IOAS that nothing is attached to goes with its mappings */
	EXPECT_EQ(0, space_destroy(&env->space, second));
	close(other);
}

/* Two page tables of one IOAS: each has the range. */
TEST_F(late_cdev, page_tables)
{
	struct test_env *env = &self->env;
	__u32 hwpt = 0;

	ASSERT_EQ(0, open_edu(env));
	if (!can_fill_before_attach(env, &env->edu))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	ASSERT_EQ(0, space_alloc_table(&env->space, &env->edu, 0, &hwpt));
	EXPECT_EQ(2, consumers_of(env->fd));
	/* the table that was made with the first attach goes with the last */
	ASSERT_EQ(0, vdev_attach(&env->edu, hwpt));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(reached(env, 0, 1));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	EXPECT_TRUE(blocked(env, 0));

	/* whichever is not in use follows as well */
	ASSERT_EQ(0, vdev_detach(&env->edu));
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 2, 1));
	ASSERT_EQ(0, vdev_attach(&env->edu, hwpt));
	EXPECT_TRUE(reached(env, 2, 2));
	EXPECT_TRUE(blocked(env, 1));
	EXPECT_EQ(-EBUSY, space_destroy(&env->space, hwpt));
	ASSERT_EQ(0, vdev_detach(&env->edu));
	EXPECT_EQ(0, space_destroy(&env->space, hwpt));
	EXPECT_EQ(0, consumers_of(env->fd));
}

/* A device that cannot have the mappings is not attached. */
TEST_F(late_cdev, does_not_fit)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, RESERVED, PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(-EADDRINUSE, vdev_attach(&env->edu, env->space.ioas));
	EXPECT_TRUE(nothing_mapped(env));
	EXPECT_EQ(PAGE, space_unmap(&env->space, RESERVED, PAGE));
	ASSERT_EQ(0, vdev_attach(&env->edu, env->space.ioas));
	ASSERT_EQ(0, edu_start(&env->edu));
	EXPECT_TRUE(reached(env, 1, 1));
}

/* In a child: open everything, map, start a DMA, report that, and wait for the end. */
static pid_t user(struct test_env *env)
{
	int pipefd[2], ret;
	pid_t pid;
	char c;

	if (pipe(pipefd))
		return -1;
	pid = fork();
	if (!pid) {
		ret = open_edu(env) || map_side(env) || map_pages(env, 0, PAGES) ||
		      edu_dma(&env->edu, SIDE, LEN, false);
		if (!ret)
			edu_go(&env->edu, iova(0), LEN, true);
		c = ret ? 'x' : '!';
		ret = write(pipefd[1], &c, 1);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 1 || c != '!') {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(pipefd[0]);
	/* the space is the child's */
	close_fd(&env->space.fd);
	return pid;
}

TEST_F(late, killed_under_dma)
{
	struct test_env *env = &self->env;
	int status;
	pid_t pid;

	fill(env->side, 66);
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	pid = user(env);
	ASSERT_LT(0, pid);
	EXPECT_EQ(1, consumers_of(env->fd));
	mdma_expect_iommu_faults();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* once it is gone, so is all that it had */
	EXPECT_EQ(0, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	ASSERT_EQ(0, grow(env->fd, 0, 1));

	ASSERT_EQ(0, space_open(&env->space, env->space.way));
	/* this waits for the DMA, which ends somewhere */
	ASSERT_EQ(0, open_edu(env));
	EXPECT_TRUE(all(at(env, 0), PAGE, 0));
	EXPECT_TRUE(nothing_mapped(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(reached(env, 0, 1));
}

/* sysfs makes vfio-pci let go of the device: in a child, as it waits for the user. */
static pid_t begin_unbinding(struct test_env *env)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	_exit(pci_write(env->edu.address, "driver/unbind", env->edu.address) ? 1 : 0);
}

/* Is the process waiting for something? */
static bool sleeps(pid_t pid)
{
	char path[64], text[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (read_line(path, text, sizeof(text)))
		return false;
	return strstr(text, ") D ") || strstr(text, ") S ");
}

TEST_F(late, unbound_while_mapped)
{
	struct test_env *env = &self->env;
	pid_t pid, unbinder;
	int status, i;

	fill(env->side, 66);
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	pid = user(env);
	ASSERT_LT(0, pid);
	unbinder = begin_unbinding(env);
	ASSERT_LT(0, unbinder);
	for (i = 0; i < 10000 && !sleeps(unbinder); i++)
		usleep(1000);
	EXPECT_EQ(0, waitpid(unbinder, &status, WNOHANG));
	/* until the user lets go, the device follows */
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 5, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2));

	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(unbinder, waitpid(unbinder, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_FALSE(pci_driver_is(env->edu.address, "vfio-pci"));

	ASSERT_EQ(0, pci_take(env->edu.address));
	ASSERT_EQ(0, space_open(&env->space, env->space.way));
	ASSERT_EQ(0, open_edu(env));
	EXPECT_TRUE(nothing_mapped(env));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(reached(env, 0, 1));
	EXPECT_TRUE(blocked(env, 1));
}

/*
 * The process that opened and mapped is gone. The mapping belongs to the processes with
 * the descriptors, but its pages are charged to the first one, whose limit remains.
 */
TEST_F(late, passed_on)
{
	struct test_env *env = &self->env;
	int pipefd[2], fds[4], pidfd, status, i;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipefd));
	pid = fork();
	if (!pid) {
		close_fd(&env->fd);
		env->fd = memfd_create("its own", MFD_CLOEXEC);
		if (limit_as_user(LIMIT) || ftruncate(env->fd, HUGE) || open_edu(env) ||
		    map_side(env) || map_pages(env, 0, PAGES) || grow(env->fd, 32, 5))
			_exit(1);
		fds[0] = env->fd;
		fds[1] = env->space.fd;
		fds[2] = env->edu.fd;
		/* there need not be one, but to have as many */
		fds[3] = env->edu.group < 0 ? env->edu.fd : env->edu.group;
		if (write(pipefd[1], fds, sizeof(fds)) != sizeof(fds))
			_exit(2);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	ASSERT_EQ(sizeof(fds), read(pipefd[0], fds, sizeof(fds)));
	close(pipefd[0]);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	for (i = 0; i < 4; i++) {
		fds[i] = syscall(SYS_pidfd_getfd, pidfd, fds[i], 0);
		ASSERT_LE(0, fds[i]);
	}
	close(pidfd);
	EXPECT_EQ(5, pinned_by(pid));
	ASSERT_EQ(0, grow(fds[0], 37, 2));
	EXPECT_EQ(7, pinned_by(pid));
	EXPECT_EQ(0, pinned());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));

	close(env->fd);
	env->fd = fds[0];
	env->mem = mmap(env->mem, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			env->fd, 0);
	ASSERT_NE(MAP_FAILED, env->mem);
	close_fd(&env->space.fd);
	env->space.fd = fds[1];
	env->edu.fd = fds[2];
	env->edu.group = fds[3];
	ASSERT_EQ(0, edu_start(&env->edu));
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, grow(env->fd, 4, 1));
	EXPECT_TRUE(reached(env, 4, 4));
	ASSERT_EQ(0, punch(env->fd, 4, 1));
	EXPECT_TRUE(blocked(env, 4));
	/* it mapped source and sink as well, two pages: seven are left */
	EXPECT_EQ(0, grow(env->fd, 8, LIMIT - 9));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 40, 1));
	EXPECT_EQ(LIMIT - 2, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, LIMIT - 2));
	EXPECT_EQ(0, pinned());
	/* a process with the container may go on with it */
	if (env->space.way == TYPE1)
		EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	vfio_env_close(env);
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(0, grow(env->fd, 40, 1));
}

TEST_HARNESS_MAIN
