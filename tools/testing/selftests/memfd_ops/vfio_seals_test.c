// SPDX-License-Identifier: GPL-2.0
/*
 * A sealed file that a real device follows: the device writes no more than a process
 * could.
 */
#include <sched.h>
#include <signal.h>

#include "lib/call.h"
#include "lib/harness.h"
#include "lib/late_page.h"
#include "lib/rights.h"
#include "lib/vfio_fixture.h"

#define PAGES	64		/* that most tests map, of a file of 2 MiB */

/* No device is open yet. */
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

static int map_one(struct test_env *env, int fd, __u32 prot)
{
	return space_map(&env->space, fd, 0, BASE, PAGE, prot);
}

/* A process that may not write to the file may not have the device write to it. */
TEST_F(vfio, seals)
{
	const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };
	struct test_env *env = &self->env;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ASSERT_LE(0, fd);
		ASSERT_EQ(1, write(fd, "x", 1));
		ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, seals[i]));
		EXPECT_EQ(-EPERM, map_one(env, fd, DMA_RW));
		EXPECT_EQ(-EPERM, map_one(env, fd, DMA_W));
		EXPECT_EQ(0, consumers_of(fd));
		space_unmap(&env->space, BASE, PAGE);
		EXPECT_EQ(0, map_one(env, fd, DMA_R));
		EXPECT_EQ(PAGE, space_unmap(&env->space, BASE, PAGE));
		close(fd);
	}
}

static int add_seals(struct test_env *env, int seals)
{
	return fcntl(env->fd, F_ADD_SEALS, seals) ? -errno : 0;
}

/* Go on seeing the file by a mapping that cannot write, and so keeps no seal off. */
static int look_only(struct test_env *env)
{
	int fd = reopen(env->fd, O_RDONLY);

	if (fd < 0)
		return -errno;
	env->mem = mmap(env->mem, env->pages * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
			fd, 0);
	close(fd);
	return env->mem == MAP_FAILED ? -errno : 0;
}

/* A sealed file does not change: not while a device can write to it, or to its holes. */
TEST_F(vfio, seals_and_writers)
{
	const __u64 reader = iova(PAGES);
	struct test_env *env = &self->env;

	fill(at(env, 0), 1);
	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, map_pages(env, 8, 8));
	EXPECT_TRUE(table_has(env, &env->edu, 8, 8, 0));
	EXPECT_EQ(-EBUSY, add_seals(env, F_SEAL_WRITE));
	EXPECT_EQ(8 * PAGE, space_unmap(&env->space, iova(8), 8 * PAGE));

	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	/* a mapping that only reads is not in the way */
	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, reader, PAGES * PAGE, DMA_R));
	EXPECT_EQ(-EBUSY, add_seals(env, F_SEAL_WRITE));
	EXPECT_EQ(0, fcntl(env->fd, F_GET_SEALS));
	/* the refused call has changed nothing */
	EXPECT_EQ(0, device_writes(env, iova(0), 2));
	EXPECT_TRUE(written(at(env, 0), 2));
	EXPECT_TRUE(device_reads(env, reader, at(env, 0)));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));

	EXPECT_EQ(0, add_seals(env, F_SEAL_WRITE));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(device_reads(env, reader, at(env, 0)));
	EXPECT_EQ(-EPERM, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EPERM, map_one(env, env->fd, DMA_W));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_EQ(0, map_one(env, env->fd, DMA_R));
	EXPECT_TRUE(device_reads(env, BASE, at(env, 0)));
	EXPECT_EQ(0, device_writes(env, BASE, 3));
	EXPECT_EQ(0, device_writes(env, reader, 3));
	EXPECT_TRUE(written(at(env, 0), 2));
}

/* F_SEAL_FUTURE_WRITE refuses later mappings; a device that writes goes on. */
TEST_F(vfio, seals_and_later_writers)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(0, add_seals(env, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, space_map(&env->space, env->fd, 0, iova(PAGES), PAGE, DMA_RW));
	EXPECT_EQ(-EPERM, punch(env->fd, 0, 1));
	ASSERT_EQ(0, grow(env->fd, 1, 1));
	EXPECT_EQ(0, device_writes(env, iova(1), 1));
	EXPECT_TRUE(written(at(env, 1), 1));
	EXPECT_EQ(-EBUSY, add_seals(env, F_SEAL_WRITE));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_EQ(-EPERM, map_pages(env, 0, PAGES));
	EXPECT_EQ(0, add_seals(env, F_SEAL_WRITE));
	EXPECT_TRUE(nothing_mapped(env));
}

/* What a file that may not grow or shrink refuses does not reach the device either. */
TEST_F(vfio, seals_of_the_size)
{
	const int more[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, 0 };
	const size_t size = 16;
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, ftruncate(env->fd, size * PAGE));
	ASSERT_EQ(0, grow(env->fd, 0, 8));
	/* the window is larger than the file */
	ASSERT_EQ(0, map_pages(env, 0, PAGES));

	ASSERT_EQ(0, add_seals(env, F_SEAL_GROW));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, PAGES * PAGE)));
	EXPECT_EQ(-EPERM, grow(env->fd, size, 1));
	EXPECT_EQ(-EPERM, grow(env->fd, 12, 8));
	EXPECT_EQ(EPERM, errno_of(fallocate(env->fd, FALLOC_FL_KEEP_SIZE, size * PAGE, PAGE)));
	EXPECT_EQ(EPERM, errno_of(pwrite(env->fd, "x", 1, size * PAGE)));
	EXPECT_EQ(size, file_pages(env->fd));
	EXPECT_EQ(8, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 8));
	/* within its size it grows, and the device with it */
	EXPECT_EQ(0, grow(env->fd, 12, 4));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 12));
	EXPECT_TRUE(reached(env, 15, 1));

	ASSERT_EQ(0, add_seals(env, F_SEAL_SHRINK));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, 4 * PAGE)));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, size * PAGE - 1)));
	EXPECT_EQ(size, file_pages(env->fd));
	EXPECT_EQ(12, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 12));
	EXPECT_TRUE(device_reads(env, iova(15), at(env, 15)));
	/* a hole is not shorter */
	EXPECT_EQ(0, punch(env->fd, 14, 2));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 10));
	EXPECT_TRUE(blocked(env, 15));

	/* no more seals: a process with the file mapped can rely on writing to it */
	ASSERT_EQ(0, add_seals(env, F_SEAL_SEAL));
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		EXPECT_EQ(-EPERM, add_seals(env, more[i])) TH_LOG("seal 0x%x", more[i]);
	}
	EXPECT_EQ(F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, fcntl(env->fd, F_GET_SEALS));
	EXPECT_TRUE(reached(env, 0, 2));
	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_TRUE(reached(env, 0, 4));
}

/* The right to write is the mapping's, from the call that maps it on: no device is needed. */
TEST_F(late_cdev, seals_and_no_device)
{
	struct test_env *env = &self->env;

	fill(at(env, 0), 1);
	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EBUSY, add_seals(env, F_SEAL_WRITE));
	ASSERT_EQ(0, vdev_attach(&env->edu, env->space.ioas));
	ASSERT_EQ(0, edu_start(&env->edu));
	EXPECT_EQ(0, device_writes(env, iova(0), 2));
	EXPECT_TRUE(written(at(env, 0), 2));
	ASSERT_EQ(0, vdev_detach(&env->edu));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(-EBUSY, add_seals(env, F_SEAL_WRITE));

	EXPECT_EQ(PAGES * PAGE, unmap_pages(env, 0, PAGES));
	EXPECT_EQ(0, add_seals(env, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, map_pages(env, 0, PAGES));
	EXPECT_EQ(-EPERM, map_one(env, env->fd, DMA_W));
	ASSERT_EQ(0, map_one(env, env->fd, DMA_R));
	ASSERT_EQ(0, vdev_attach(&env->edu, env->space.ioas));
	EXPECT_TRUE(device_reads(env, BASE, at(env, 0)));
	EXPECT_EQ(0, device_writes(env, BASE, 3));
	EXPECT_TRUE(written(at(env, 0), 2));
}

/* A mapping that is refused, for whatever reason, does not keep the seal off. */
TEST_F(vfio, seals_after_a_refusal)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, map_one(env, env->fd, DMA_R));
	EXPECT_EQ(-EEXIST, map_one(env, env->fd, DMA_RW));
	EXPECT_EQ(-EINVAL, space_map(&env->space, env->fd, 0, BASE + 1, PAGE, DMA_RW));
	EXPECT_EQ(0, add_seals(env, F_SEAL_WRITE));
}

/* Wait until the child sleeps in the ioctl that maps. */
static void wait_for_map(struct test_env *env, pid_t pid)
{
	unsigned long call = 0, fd = 0;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	do {
		sched_yield();
	} while (read_line(path, line, sizeof(line)) ||
		 sscanf(line, "%lu %lx", &call, &fd) != 2 || call != SYS_ioctl ||
		 (int)fd != env->space.fd);
}

/* A process that waits for the file with its mapping can be killed (I11). */
TEST_F(vfio, killed_in_a_busy_file)
{
	struct test_env *env = &self->env;
	struct late_page late = LATE_PAGE_INIT;
	struct late_write slow = { &late, env->fd };
	struct call writer = { late_page_write, &slow };
	int status;
	pid_t pid;

	ASSERT_EQ(0, late_page_create(&late));
	ASSERT_EQ(0, call_begin(&writer));
	ASSERT_EQ(0, late_page_wait(&late));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(map_pages(env, 0, PAGES) ? 1 : 0);
	wait_for_map(env, pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));

	ASSERT_EQ(0, late_page_give(&late));
	EXPECT_EQ(PAGE, call_end(&writer));
	EXPECT_EQ(0, consumers_of(env->fd));
	late_page_destroy(&late);
	/* the process that has the devices maps as ever */
	EXPECT_EQ(0, map_pages(env, 0, PAGES));
}

TEST_HARNESS_MAIN
