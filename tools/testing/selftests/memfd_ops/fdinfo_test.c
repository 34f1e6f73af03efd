// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/fdinfo of a VFIO container, an iommufd and a followed memfd, and the list of
 * mapped pages in debugfs: what they show while pages come and go, to whom, and next to
 * changes of all that they show. See Documentation/userspace-api/vfio-memfd.rst and
 * Documentation/mm/memfd_ops/index.rst.
 */
#include <signal.h>
#include <sys/sysmacros.h>

#include <memfd_ops/fdinfo.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/vfio_fixture.h"

#define PAGES	64UL
#define MAPPED	"/sys/kernel/debug/memfd_ops_mapped"

/* Call @visit for each line of a file. */
static int visit_file(const char *path, void (*visit)(const char *line, void *data),
		      void *data)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		visit(line, data);
	free(line);
	fclose(file);
	return 0;
}

/* The same for the fdinfo of @fd in process @pid. */
static int visit_lines(pid_t pid, int fd, void (*visit)(const char *line, void *data),
		       void *data)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	return visit_file(path, visit, data);
}

/* The lines of one descriptor: of each kind the last one, and how many there are */
struct seen {
	struct fdinfo_range range;
	struct fdinfo_consumer consumer;
	struct fdinfo_device device;
	struct fdinfo_access access;
	int nr_ranges, nr_consumers, nr_devices, nr_accesses, nr_wrong;
	bool memfd;
	unsigned long ino;	/* if not 0: ranges of other files do not count */
};

static void look(const char *line, void *data)
{
	struct seen *seen = data;
	struct fdinfo_range r;
	struct fdinfo_consumer c;
	struct fdinfo_access a;
	struct fdinfo_device d;

	if (fdinfo_range(line, &r)) {
		if (seen->ino && r.ino != seen->ino)
			return;
		seen->range = r;
		seen->nr_ranges++;
		seen->nr_wrong += r.start >= r.end || r.mapped > r.end - r.start ||
				  r.missing > r.end - r.start;
	} else if (fdinfo_consumer(line, &c)) {
		seen->consumer = c;
		seen->nr_consumers++;
		seen->nr_wrong += c.start >= c.end || c.mapped > c.end - c.start;
	} else if (fdinfo_device(line, &d)) {
		seen->device = d;
		seen->nr_devices++;
	} else if (fdinfo_access(line, &a)) {
		seen->access = a;
		seen->nr_accesses++;
	} else {
		seen->memfd |= !strncmp(line, "memfd:\t", 7);
		/* a line of ours that does not have the format */
		seen->nr_wrong += !strncmp(line, "memfd_", 6);
	}
}

static unsigned long ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* What the container or the iommufd shows of the memfd */
static struct seen look_at_space(struct test_env *env)
{
	struct seen seen = { .ino = ino_of(env->fd) };

	if (visit_lines(getpid(), env->space.fd, look, &seen))
		seen.nr_wrong = -1;
	return seen;
}

static struct seen look_at_file(int fd)
{
	struct seen seen = {};

	if (visit_lines(getpid(), fd, look, &seen))
		seen.nr_wrong = -1;
	return seen;
}

/* Do both show that many pages? */
static bool shows(struct test_env *env, unsigned long mapped, unsigned long missing)
{
	struct seen space = look_at_space(env), file = look_at_file(env->fd);

	if (space.nr_ranges == 1 && file.nr_consumers == 1 && !space.nr_wrong &&
	    !file.nr_wrong && space.range.mapped == mapped &&
	    space.range.missing == missing && file.consumer.mapped == mapped &&
	    file.consumer.missing == missing)
		return true;
	note("%d ranges: %lu mapped, %lu missing; %d consumers: %lu and %lu",
	     space.nr_ranges, space.range.mapped, space.range.missing,
	     file.nr_consumers, file.consumer.mapped, file.consumer.missing);
	return false;
}

/* The range, the file and the device are those of the mapping. */
TEST_F(vfio, names)
{
	struct test_env *env = &self->env;
	struct fdinfo_range range;
	struct seen seen;
	struct stat st;

	EXPECT_FALSE(look_at_file(env->fd).memfd);
	EXPECT_EQ(0, look_at_space(env).nr_ranges);
	ASSERT_EQ(0, fstat(env->fd, &st));
	ASSERT_EQ(0, map_pages(env, 8, PAGES));

	seen = look_at_space(env);
	ASSERT_EQ(1, seen.nr_ranges);
	EXPECT_EQ(0, seen.nr_wrong);
	EXPECT_EQ(iova(8), seen.range.iova);
	EXPECT_EQ(iova(8 + PAGES), seen.range.iova_end);
	EXPECT_EQ(st.st_ino, seen.range.ino);
	EXPECT_EQ(st.st_dev, makedev(seen.range.dev_major, seen.range.dev_minor));
	EXPECT_EQ(8, seen.range.start);
	EXPECT_EQ(8 + PAGES, seen.range.end);
	EXPECT_STREQ("rw", seen.range.access);
	ASSERT_LE(1, seen.nr_devices);
	if (!has_nvme(env)) {
		EXPECT_STREQ(env->edu.address, seen.device.name);
	}
	EXPECT_EQ(env->space.way == TYPE1 ? 0 : env->space.ioas, seen.range.ioas);
	EXPECT_EQ(seen.range.ioas, seen.device.ioas);

	range = seen.range;
	seen = look_at_file(env->fd);
	EXPECT_TRUE(seen.memfd);
	ASSERT_EQ(1, seen.nr_consumers);
	EXPECT_STREQ("iommu", seen.consumer.kind);
	EXPECT_EQ(8, seen.consumer.start);
	EXPECT_EQ(8 + PAGES, seen.consumer.end);
	EXPECT_TRUE(fdinfo_range_has(&range, seen.consumer.id));

	ASSERT_EQ(PAGES * PAGE, unmap_pages(env, 8, PAGES));
	EXPECT_EQ(0, look_at_space(env).nr_ranges);
	EXPECT_FALSE(look_at_file(env->fd).memfd);
}

/* An emulated device: bound to an iommufd, attached to an IOAS, to another one, to none. */
FIXTURE(emulated)
{
	struct test_env env;
};

FIXTURE_SETUP(emulated)
{
	int ret = vfio_env_setup(&self->env, IOMMUFD, PAGES, NEED_SOFT);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(emulated)
{
	vfio_env_teardown(&self->env);
}

TEST_F(emulated, names)
{
	struct test_env *env = &self->env;
	struct space other = env->space;
	struct seen seen;

	EXPECT_EQ(0, look_at_space(env).nr_accesses);
	ASSERT_EQ(0, vdev_bind(&env->space, &env->pin));
	seen = look_at_space(env);
	EXPECT_EQ(1, seen.nr_accesses);
	EXPECT_NE(0, seen.access.id);
	EXPECT_EQ(0, seen.access.ioas);

	ASSERT_EQ(0, vdev_attach(&env->pin, env->space.ioas));
	EXPECT_EQ(env->space.ioas, look_at_space(env).access.ioas);
	ASSERT_EQ(0, ioas_alloc(&other, &other.ioas));
	ASSERT_EQ(0, vdev_attach(&env->pin, other.ioas));
	seen = look_at_space(env);
	EXPECT_EQ(1, seen.nr_accesses);
	EXPECT_EQ(other.ioas, seen.access.ioas);
	ASSERT_EQ(0, vdev_detach(&env->pin));
	EXPECT_EQ(0, look_at_space(env).access.ioas);
	vdev_close(&env->pin);
	EXPECT_EQ(0, look_at_space(env).nr_accesses);
}

/* The numbers follow the file. */
TEST_F(vfio, pages)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, 3));
	ASSERT_EQ(0, map_pages(env, 1, PAGES));
	EXPECT_TRUE(shows(env, 2, 0));
	*at(env, 10) = 1;
	EXPECT_TRUE(shows(env, 3, 0));
	ASSERT_EQ(0, grow(env->fd, 20, 8));
	EXPECT_TRUE(shows(env, 11, 0));
	/* at the end of a run, in the middle and at the start of another one */
	ASSERT_EQ(0, punch(env->fd, 2, 1));
	ASSERT_EQ(0, punch(env->fd, 22, 2));
	EXPECT_TRUE(shows(env, 8, 0));
	ASSERT_EQ(0, punch(env->fd, 20, 1));
	EXPECT_TRUE(shows(env, 7, 0));
	/* outside the window */
	ASSERT_EQ(0, grow(env->fd, 100, 4));
	EXPECT_TRUE(shows(env, 7, 0));
	ASSERT_EQ(0, ftruncate(env->fd, 10 * PAGE));
	EXPECT_TRUE(shows(env, 1, 0));
}

/* Pages that the mapping lacks are counted as long as it lacks them. */
TEST_F(vfio, missing)
{
	struct test_env *env = &self->env;

	/* it counts as well; not with iommufd, since it was mapped with CAP_IPC_LOCK */
	memset(env->side, 0, env->side_pages * PAGE);
	ASSERT_EQ(0, limit_as_user(4 + (env->space.way == TYPE1 ? env->side_pages : 0)));
	ASSERT_EQ(0, space_map_may_miss(&env->space, env->fd, 0, BASE, PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, 4));
	EXPECT_TRUE(shows(env, 4, 0));
	ASSERT_EQ(0, grow(env->fd, 10, 2));
	EXPECT_TRUE(shows(env, 4, 2));
	ASSERT_EQ(0, punch(env->fd, 11, 1));
	EXPECT_TRUE(shows(env, 4, 1));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	EXPECT_TRUE(shows(env, 3, 1));
	EXPECT_EQ(0, space_fill(&env->space, BASE, PAGES * PAGE));
	EXPECT_TRUE(shows(env, 4, 0));
}

static void ignore(const char *line, void *data)
{
}

/* Another user's process cannot see it. */
TEST_F(vfio, others)
{
	struct test_env *env = &self->env;
	pid_t parent = getpid();
	int status;

	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	if (in_child(&status)) {
		MUST(!visit_lines(parent, env->space.fd, ignore, NULL));
		MUST(!setuid(NOBODY));
		MUST(visit_lines(parent, env->space.fd, ignore, NULL) == -EACCES);
		MUST(visit_lines(parent, env->fd, ignore, NULL) == -EACCES);
		_exit(0);
	}
	EXPECT_EQ(0, status);
}

/* The list in debugfs, as far as it has been read */
struct mapped {
	unsigned long start, end;	/* the last window or run */
	unsigned long nr_mapped, nr_present;	/* pages */
	int nr_files, nr_consumers, nr_runs, nr_wrong;
};

static void look_at_mapped(const char *line, void *data)
{
	struct mapped *m = data;
	unsigned long start, end;

	if (sscanf(line, " consumer %*u kind %*s window_pages [%lu, %lu)", &start, &end) == 2) {
		m->nr_consumers++;
		m->nr_wrong += start >= end;
		m->start = start;
		m->end = end;
	} else if (sscanf(line, "  mapped_pages [%lu, %lu)", &start, &end) == 2) {
		m->nr_runs++;
		m->nr_mapped += end - start;
		m->nr_wrong += start >= end || start < m->start || end > m->end;
		m->start = end;
	} else if (sscanf(line, " present_pages [%lu, %lu)", &start, &end) == 2) {
		m->nr_present += end - start;
		m->nr_wrong += start >= end;
	} else {
		m->nr_files += !strncmp(line, "dev ", 4);
		m->nr_wrong += strncmp(line, "dev ", 4) != 0;
	}
}

/* A long list is whole: each run is there once, in order, over many reads. */
TEST_F(vfio, debugfs)
{
	struct test_env *env = &self->env;
	struct mapped m = {};
	size_t i;

	for (i = 0; i < env->pages; i += 2)
		ASSERT_EQ(0, grow(env->fd, i, 1));
	ASSERT_EQ(0, map_pages(env, 0, env->pages));
	ASSERT_EQ(0, visit_file(MAPPED, look_at_mapped, &m));
	/* and the side memory */
	EXPECT_EQ(2, m.nr_files);
	EXPECT_EQ(2, m.nr_consumers);
	EXPECT_LE(env->pages / 2, m.nr_runs);
	EXPECT_GE(env->pages / 2 + 1, m.nr_runs);
	EXPECT_EQ(0, m.nr_wrong);
}

/* With many consumers, more than a page of text: each is there once. */
TEST_F(vfio, many_consumers)
{
	struct test_env *env = &self->env;
	struct seen space, file;
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, map_pages(env, i, 1));
	space = look_at_space(env);
	file = look_at_file(env->fd);
	EXPECT_EQ(PAGES, space.nr_ranges);
	EXPECT_EQ(PAGES, file.nr_consumers);
	EXPECT_EQ(0, space.nr_wrong);
	EXPECT_EQ(0, file.nr_wrong);
}

/*
 * Read one buffer of the list after the other; @lose the consumer when it is the one whose
 * pages are being listed.
 */
static int read_in_parts(struct mapped *m, int (*lose)(struct test_env *env),
			 struct test_env *env)
{
	int fd = open(MAPPED, O_RDONLY | O_CLOEXEC), ret = 1;
	char text[65536] = "", *line, *rest = text;
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	while ((got = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		len += got;
		text[len] = '\0';
		if (ret == 1 && strstr(text, " mapped_pages [20, 21)"))
			ret = lose(env);
	}
	close(fd);
	while ((line = strsep(&rest, "\n")) && *line)
		look_at_mapped(line, m);
	return got < 0 ? -errno : ret;
}

static int unmap_first_half(struct test_env *env)
{
	return unmap_pages(env, 0, HUGE_PAGES / 2) == HUGE_PAGES / 2 * PAGE ? 0 : -EIO;
}

/* A consumer that leaves while it is being listed: the next one is there as a whole. */
TEST_F(vfio, debugfs_while_one_leaves)
{
	struct test_env *env = &self->env;
	struct mapped m = {};
	size_t i;

	ASSERT_EQ(HUGE_PAGES, env->pages);
	ASSERT_EQ(0, map_pages(env, 0, HUGE_PAGES / 2));
	ASSERT_EQ(0, map_pages(env, HUGE_PAGES / 2, HUGE_PAGES / 2));
	for (i = 0; i < env->pages; i += 2)
		ASSERT_EQ(0, grow(env->fd, i, 1));
	ASSERT_EQ(0, read_in_parts(&m, unmap_first_half, env));
	EXPECT_EQ(0, m.nr_wrong);
	/* and the side memory */
	EXPECT_EQ(3, m.nr_consumers);
	EXPECT_EQ(HUGE_PAGES, m.end);
	EXPECT_LE(HUGE_PAGES / 4, m.nr_mapped);
	EXPECT_GT(HUGE_PAGES / 2, m.nr_mapped);
}

/* Huge folios, and one that has been split, have the pages that their parts have. */
TEST_F(vfio, huge)
{
	struct test_env *env = &self->env;
	struct mapped m = {}, punched = {};

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	memset(env->side, 0, env->side_pages * PAGE);
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, map_pages(env, 8, PAGES));
	ASSERT_EQ(0, visit_file(MAPPED, look_at_mapped, &m));
	EXPECT_EQ(HUGE_PAGES + env->side_pages, m.nr_present);
	EXPECT_EQ(PAGES + env->side_pages, m.nr_mapped);
	EXPECT_TRUE(shows(env, PAGES, 0));
	ASSERT_EQ(0, punch(env->fd, 10, 4));
	ASSERT_EQ(0, visit_file(MAPPED, look_at_mapped, &punched));
	EXPECT_EQ(m.nr_present - 4, punched.nr_present);
	EXPECT_EQ(m.nr_mapped - 4, punched.nr_mapped);
	EXPECT_TRUE(shows(env, PAGES - 4, 0));
}

/* Read all of it until killed; exit with status 1 if a line is wrong. */
static void read_forever(struct test_env *env, pid_t pid, int ready)
{
	struct mapped mapped = {};
	struct seen seen = {};

	for (;;) {
		MUST(!visit_file(MAPPED, look_at_mapped, &mapped));
		MUST(!visit_lines(pid, env->space.fd, look, &seen));
		MUST(!visit_lines(pid, env->fd, look, &seen));
		MUST(!seen.nr_wrong && !mapped.nr_wrong);
		MUST(write(ready, "", 1) == 1);
	}
}

/* An IOAS that takes a reader a while: its end must not fail because of a reader. */
static int make_and_destroy(struct test_env *env)
{
	struct space other = env->space;
	int ret = ioas_alloc(&other, &other.ioas), i;

	for (i = 0; i < 32 && !ret; i++)
		ret = space_map(&other, env->fd, 0, iova(i), PAGE, DMA_RW);
	return ret ? ret : space_destroy(&other, other.ioas);
}

/* Map, change and unmap; with iommufd also what a reader has references on. */
static int change(struct test_env *env, unsigned int round)
{
	int ret;

	ret = map_pages(env, round % 8, PAGES);
	if (!ret)
		ret = grow(env->fd, round % PAGES, 4);
	if (!ret)
		ret = punch(env->fd, (round + 2) % PAGES, 4);
	if (!ret && unmap_pages(env, round % 8, PAGES) != PAGES * PAGE)
		ret = -EIO;
	if (ret || env->space.way == TYPE1)
		return ret;
	return make_and_destroy(env);
}

/*
 * A reader next to changes: each line is whole, and no change fails because of it. The
 * changes go on until the reader has read 200 times.
 */
TEST_F(vfio, reader)
{
	struct test_env *env = &self->env;
	pid_t parent = getpid(), child;
	unsigned int round = 0, reads = 0;
	int pipes[2], status;
	char bytes[64];
	ssize_t len;

	stay_on_one_cpu(false);
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	ASSERT_EQ(0, fcntl(pipes[0], F_SETFL, O_NONBLOCK));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		read_forever(env, parent, pipes[1]);
	while (reads < 200 && waitpid(child, &status, WNOHANG) == 0) {
		ASSERT_EQ(0, change(env, round)) {
			kill(child, SIGKILL);
		}
		round++;
		len = read(pipes[0], bytes, sizeof(bytes));
		reads += len > 0 ? len : 0;
	}
	EXPECT_LE(200, reads);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_HARNESS_MAIN
