// SPDX-License-Identifier: GPL-2.0
/*
 * Bounds: how long others can have a call wait (I11), and how much a mapping pins (I8),
 * whatever goes on in the file meanwhile.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/sigbus.h"
#include "lib/test_env.h"

#define PAGES	4096
#define LIMIT	16UL

FIXTURE(bounds)
{
	struct test_env env;
};

FIXTURE_SETUP(bounds)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	/* without huge folios, unless the test asks for them */
	ret = env_thp(&self->env, "never");
	if (ret != -ENOENT)
		ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(bounds)
{
	env_teardown(&self->env);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A thread that repeats something, until it is stopped. */
struct repeat {
	struct test_env *env;
	void (*once)(struct test_env *env);
	volatile bool stop;
	volatile unsigned long times;	/* done so far */
	pthread_t thread;
};

static void *repeat_until_stopped(void *arg)
{
	struct repeat *r = arg;

	for (; !r->stop; r->times++)
		r->once(r->env);
	return NULL;
}

static int repeat_start(struct repeat *r)
{
	return pthread_create(&r->thread, NULL, repeat_until_stopped, r);
}

static void repeat_stop(struct repeat *r)
{
	r->stop = true;
	pthread_join(r->thread, NULL);
}

/*
 * Does the child end before @r has been done @times more? Nothing is said of how fast this
 * machine is. The child's status is that of waitpid().
 */
static bool ends_within(pid_t pid, const struct repeat *r, unsigned long times, int *status)
{
	const unsigned long end = r->times + times;
	struct pollfd pfd = { .events = POLLIN };
	bool ended;

	pfd.fd = syscall(SYS_pidfd_open, pid, 0);
	do
		ended = poll(&pfd, 1, 100) == 1;
	while (!ended && r->times < end);
	close(pfd.fd);
	return ended && waitpid(pid, status, 0) == pid;
}

/* Have a pipe hold pages of the file, so that they cannot be migrated. */
static int hold(struct test_env *env, size_t first, size_t pages, int pipes[2])
{
	struct iovec held = { .iov_base = at(env, first), .iov_len = pages * PAGE };

	if (pipe2(pipes, O_CLOEXEC) || vmsplice(pipes[1], &held, 1, 0) != pages * PAGE)
		return -errno;
	return 0;
}

/*
 * Waiting
 */

/* A reference that does not go away has this take about 150 ms, and fail. */
static void seal(struct test_env *env)
{
	fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE);
}

/*
 * The same file, with one page, which a pipe holds, and without mappings that can write;
 * a device has a window of it.
 */
static int setup_for_seals(struct test_env *env, int pipes[2])
{
	struct mdma *m = &env->dev[0];
	int ret;

	fill(at(env, 0), 0);
	ret = hold(env, 0, 1, pipes);
	munmap(env->mem, PAGES * PAGE);
	env->mem = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, env->fd, 0);
	if (ret || env->mem == MAP_FAILED)
		return ret ? ret : -errno;
	return mdma_map(m, env->fd, 0, iova_of(m, 0), PAGES * PAGE, VFIO_MDMA_MAP_FLAG_READ);
}

/*
 * Calls wait for one or two attempts to seal, at most. A kernel that lets them wait for all
 * has them wait for these as well.
 */
#define SEALS	100

/* Somebody tries to seal the file all the time: a fault ends, or its process does. */
TEST_F(bounds, fault_while_others_seal)
{
	struct test_env *env = &self->env;
	struct repeat sealer = { .env = env, .once = seal };
	int pipes[2], status;
	pid_t pid;

	stay_on_one_cpu(false);
	ASSERT_EQ(0, setup_for_seals(env, pipes));
	ASSERT_EQ(0, repeat_start(&sealer));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(madvise(at(env, 5), PAGE, MADV_POPULATE_READ));
	EXPECT_TRUE(ends_within(pid, &sealer, SEALS, &status)) {
		kill(pid, SIGKILL);
		EXPECT_TRUE(ends_within(pid, &sealer, SEALS, &status))
			TH_LOG("not even by SIGKILL");
	}
	repeat_stop(&sealer);
	/* wherever it is now, it ends now */
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, fcntl(env->fd, F_GET_SEALS));
	close(pipes[0]);
	close(pipes[1]);
}

static int map_to_read(struct test_env *env)
{
	struct mdma *m = &env->dev[0];

	return mdma_map(m, env->fd, 0, iova_of(m, 0), PAGES * PAGE, VFIO_MDMA_MAP_FLAG_READ);
}

static int unmap_all(struct test_env *env)
{
	return mdma_unmap_all(&env->dev[0]) != PAGES * PAGE;
}

/* Does a process end with status 0, and in time, that calls @call? */
static bool in_time(const struct repeat *sealer, int (*call)(struct test_env *env))
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(!!call(sealer->env));
	return ends_within(pid, sealer, SEALS, &status) && !status;
}

/* The same for a device that leaves, with a fault under way, and comes back. */
TEST_F(bounds, unmap_while_others_seal)
{
	const struct timespec meanwhile = { .tv_nsec = 300 * 1000 * 1000 };
	struct test_env *env = &self->env;
	struct repeat sealer = { .env = env, .once = seal };
	int pipes[2], round;
	bool good = true;

	stay_on_one_cpu(false);
	ASSERT_EQ(0, setup_for_seals(env, pipes));
	ASSERT_EQ(0, repeat_start(&sealer));
	for (round = 0; good && round < 5; round++) {
		if (!fork())
			_exit(madvise(at(env, 5 + round), PAGE, MADV_POPULATE_READ));
		/* a kernel that lets it wait for seals does so by then */
		nanosleep(&meanwhile, NULL);
		good = in_time(&sealer, unmap_all);
		EXPECT_TRUE(good) TH_LOG("unmapping, round %d", round);
		good = good && in_time(&sealer, map_to_read);
		EXPECT_TRUE(good) TH_LOG("mapping, round %d", round);
	}
	repeat_stop(&sealer);
	while (wait(NULL) > 0)
		;
	close(pipes[0]);
	close(pipes[1]);
}

/* One page, 50 times a second, far from those that count */
static void punch_last(struct test_env *env)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

	punch(env->fd, PAGES - 1, 1);
	nanosleep(&pause, NULL);
}

/* A page that cannot be migrated, and holes elsewhere: mapping gives up on that page. */
TEST_F(bounds, map_while_others_punch)
{
	struct test_env *env = &self->env;
	struct repeat puncher = { .env = env, .once = punch_last };
	const size_t pages = 256;
	int pipes[2], status;
	__u64 frames[2];
	pid_t pid;

	movable_zone(frames);
	if (frames[0] == frames[1])
		SKIP(return, "no ZONE_MOVABLE: boot with movablecore=");
	memset(env->mem, 1, pages * PAGE);
	ASSERT_EQ(pages, pages_in_frames(env->mem, pages, frames));
	/* the last one: the kernel gives up on those behind it, too, see BATCH */
	ASSERT_EQ(0, hold(env, pages - 1, 1, pipes));
	stay_on_one_cpu(false);
	ASSERT_EQ(0, repeat_start(&puncher));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(env_map(env, 0, 0, PAGES));
	/* the kernel tries for 10 jiffies, two or three holes, to migrate a page */
	EXPECT_TRUE(ends_within(pid, &puncher, 1000, &status)) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	repeat_stop(&puncher);
	EXPECT_EQ(0, status);
	/* all of them, one of which could not go elsewhere */
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(1, pages_in_frames(env->mem, pages, frames));
	close(pipes[0]);
	close(pipes[1]);
}

/*
 * Pages that a mapping finds in the file. While the kernel waits for those that a pipe
 * holds, another thread reaches the later ones first, from the last one on.
 */

/*
 * Held pages, and the pages of a batch, which the kernel leaves where they are together
 * with one that is held: it tries for 10 jiffies, 40 ms.
 */
#define HELD	8
#define BATCH	31

struct ahead {
	struct test_env *env;
	void (*meet)(struct test_env *env, size_t page);
	pthread_t thread;
	volatile bool mapped;	/* or refused: the call is over */
	size_t met;		/* pages while it was under way */
	long most;		/* that were pinned */
};

static void punch_byte(struct test_env *env, size_t page)
{
	fallocate(env->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE + 1, 1);
}

static void touch(struct test_env *env, size_t page)
{
	at(env, page)[1] = 2;
}

static void *meet_pages(void *arg)
{
	struct ahead *a = arg;
	size_t page;
	long now;

	while (consumers_of(a->env->fd) < 1 && !a->mapped)
		;
	for (page = PAGES - 1; page >= HELD && !a->mapped; page--) {
		a->meet(a->env, page);
		a->met++;
		if (page % 64)
			continue;
		now = pinned();
		if (now > a->most)
			a->most = now;
	}
	return NULL;
}

/* What env_map() returns, with the other thread ahead of it */
static int map_behind(struct ahead *a, size_t pages)
{
	int ret;

	stay_on_one_cpu(false);
	if (pthread_create(&a->thread, NULL, meet_pages, a))
		return -EAGAIN;
	ret = env_map(a->env, 0, 0, pages);
	a->mapped = true;
	pthread_join(a->thread, NULL);
	note("%zu pages were met by others first", a->met);
	return ret;
}

/* No page stays in ZONE_MOVABLE that need not, whichever thread comes first. */
static void leaves_movable_zone(struct __test_metadata *_metadata, struct test_env *env,
				void (*meet)(struct test_env *env, size_t page))
{
	struct ahead ahead = { .env = env, .meet = meet };
	__u64 frames[2];
	int pipes[2];

	movable_zone(frames);
	ASSERT_EQ(0, hold(env, 0, HELD, pipes));
	ASSERT_EQ(0, map_behind(&ahead, PAGES));
	EXPECT_LT(0, ahead.met);
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(HELD, pages_in_frames(env->mem, HELD, frames));
	EXPECT_EQ(0, pages_in_frames(at(env, HELD + BATCH), PAGES - HELD - BATCH, frames));
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(bounds, movable_pages_punched_in_part)
{
	struct test_env *env = &self->env;
	__u64 frames[2];

	movable_zone(frames);
	if (frames[0] == frames[1])
		SKIP(return, "no ZONE_MOVABLE: boot with movablecore=");
	memset(env->mem, 1, PAGES * PAGE);
	ASSERT_EQ(PAGES, pages_in_frames(env->mem, PAGES, frames));
	leaves_movable_zone(_metadata, env, punch_byte);
}

/* Pages that were only allocated: it is the touch that initialises them. */
TEST_F(bounds, movable_pages_touched)
{
	struct test_env *env = &self->env;
	__u64 frames[2];

	movable_zone(frames);
	if (frames[0] == frames[1])
		SKIP(return, "no ZONE_MOVABLE: boot with movablecore=");
	memset(env->mem, 1, HELD * PAGE);
	ASSERT_EQ(0, grow(env->fd, HELD, PAGES - HELD));
	leaves_movable_zone(_metadata, env, touch);
}

/* Nor is a page pinned that the limit has no room for. */
TEST_F(bounds, limit_while_others_punch)
{
	struct test_env *env = &self->env;
	struct ahead ahead = { .env = env, .meet = punch_byte };
	int pipes[2];

	memset(env->mem, 1, PAGES * PAGE);
	ASSERT_EQ(0, hold(env, 0, HELD, pipes));
	ASSERT_EQ(0, limit_as_user(LIMIT));
	EXPECT_EQ(-ENOMEM, map_behind(&ahead, PAGES));
	EXPECT_GE(LIMIT, ahead.most);
	EXPECT_EQ(0, pinned());
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, consumers_of(env->fd));
	close(pipes[0]);
	close(pipes[1]);
}

/*
 * Huge folios that a limit has no room for
 */

/* The file is as it was, however often fallocate() tries. */
TEST_F(bounds, refused_fallocate_leaves_nothing)
{
	struct test_env *env = &self->env;
	int i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, limit_as_user(0));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(-EDQUOT, grow(env->fd, i * HUGE_PAGES, 1));
		EXPECT_EQ(0, allocated(env->fd));
		EXPECT_EQ(-EDQUOT, grow(env->fd, i * HUGE_PAGES + 100, 1));
		EXPECT_EQ(0, allocated(env->fd));
	}
}

/* The same for more pages than there is room for: none is there, rather than some. */
TEST_F(bounds, refused_in_part_leaves_nothing)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 0, LIMIT + 1));
	EXPECT_EQ(0, allocated(env->fd));
	EXPECT_EQ(0, pinned());
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
}

/* One page is enough to store one byte, and to pin. */
TEST_F(bounds, one_page_where_a_huge_one_is_too_much)
{
	struct test_env *env = &self->env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, limit_as_user(LIMIT));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(1, pwrite(env->fd, "x", 1, 0));
	EXPECT_EQ(1, pinned());
	EXPECT_FALSE(write_is_refused(at(env, HUGE_PAGES)));
	EXPECT_EQ(2, pinned());
	EXPECT_EQ(0, grow(env->fd, 2 * HUGE_PAGES, 1));
	EXPECT_EQ(3, pinned());
	EXPECT_FALSE(read_is_refused(at(env, 3 * HUGE_PAGES)));
	EXPECT_EQ(4, pinned());
	/* fallocate(2) leaves the rest of its huge page in the file, uninitialised */
	EXPECT_EQ(3 + HUGE_PAGES, allocated(env->fd));
	EXPECT_EQ(4, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/*
 * A window in pieces
 */

#define FRAGMENTED	(32UL << 10)	/* pages of the file: half of them holes */

/* The preemption model; not there if the kernel has only one */
#define PREEMPTION	"/sys/kernel/debug/sched/preempt"

FIXTURE(bounds_in_pieces)
{
	struct test_env env;
};

/* A kernel that preempts its tasks would give others their chances here in any case. */
FIXTURE_SETUP(bounds_in_pieces)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	ret = write_file(PREEMPTION, "none");
	if (ret != -ENOENT)
		ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(bounds_in_pieces)
{
	write_file(PREEMPTION, "full");
	env_teardown(&self->env);
}

/* A thread of the same CPU that wants to run each millisecond */
struct watcher {
	volatile bool stop;
	double longest;		/* time in which it could not */
	pthread_t thread;
};

static void *watch(void *arg)
{
	const struct sched_param priority = { .sched_priority = 1 };
	const struct timespec pause = { .tv_nsec = 1000 * 1000 };
	struct watcher *w = arg;
	double last, next;

	sched_setscheduler(0, SCHED_FIFO, &priority);
	for (last = now(); !w->stop; last = next) {
		nanosleep(&pause, NULL);
		next = now();
		if (next - last > w->longest)
			w->longest = next - last;
	}
	return NULL;
}

static int unmap_fragments(struct test_env *env)
{
	__s64 ret = mdma_unmap_all(&env->dev[0]);

	return ret == FRAGMENTED * PAGE ? 0 : ret < 0 ? ret : -EIO;
}

static int truncate_fragments(struct test_env *env)
{
	return ftruncate(env->fd, 0) ? -errno : 0;
}

/*
 * Take all of the pieces away, while another thread of the CPU wants to run. It need not
 * wait for more than 10 ms, of a CPU at full speed: the bench checks that. Here it must get
 * its chances all along, however long the whole takes with sanitizers, in an emulator that
 * competes for CPUs. A kernel that gives no chance in between takes most of that time alone.
 */
static void lets_others_run(struct __test_metadata *_metadata, struct test_env *env,
			    int (*take_away)(struct test_env *env))
{
	struct watcher watcher = { };
	double start, took;
	size_t i;

	ASSERT_EQ(0, ftruncate(env->fd, FRAGMENTED * PAGE));
	ASSERT_EQ(0, env_map(env, 0, 0, FRAGMENTED));
	for (i = 0; i < FRAGMENTED; i += 2)
		ASSERT_EQ(1, pwrite(env->fd, "x", 1, i * PAGE));
	/* inherits this thread's CPU */
	ASSERT_EQ(0, pthread_create(&watcher.thread, NULL, watch, &watcher));
	start = now();
	ASSERT_EQ(0, take_away(env));
	took = now() - start;
	watcher.stop = true;
	pthread_join(watcher.thread, NULL);
	note("%.2f s, of which %.3f s without a schedule", took, watcher.longest);
	EXPECT_GT(took / 4, watcher.longest);
}

TEST_F(bounds_in_pieces, unmap)
{
	lets_others_run(_metadata, &self->env, unmap_fragments);
}

TEST_F(bounds_in_pieces, truncate)
{
	lets_others_run(_metadata, &self->env, truncate_fragments);
}

TEST_HARNESS_MAIN
