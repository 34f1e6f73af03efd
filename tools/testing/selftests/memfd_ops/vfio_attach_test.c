// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that attach to an IOAS in which a memfd is followed, and detach: when there is no
 * memory for it, when they have page tables of their own, and in the middle of a call that
 * maps.
 */
#include <pthread.h>
#include <sched.h>

#include <linux/userfaultfd.h>

#include "lib/attach.h"
#include "lib/fail.h"
#include "lib/harness.h"

FIXTURE(attach)
{
	struct test_env env;
};

FIXTURE_VARIANT(attach)
{
	enum way way;
	bool soft;
};

FIXTURE_VARIANT_ADD(attach, cdev_edu) { IOMMUFD, false };
FIXTURE_VARIANT_ADD(attach, cdev_soft) { IOMMUFD, true };
/* by group edu's memory would have to do for ACPI as well, which cannot stand it */
FIXTURE_VARIANT_ADD(attach, group_soft) { IOMMUFD_GROUP, true };

FIXTURE_SETUP(attach)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, variant->way);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	env->vdev = variant->soft ? &env->dma : &env->edu;
	ASSERT_EQ(0, variant->way == IOMMUFD ? vdev_bind(&env->space, env->vdev) :
						vdev_join(&env->space, env->vdev));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
}

FIXTURE_TEARDOWN(attach)
{
	attach_env_teardown(&self->env);
}

/* What attaches: to the IOAS, by the call that the way has for it. */
static int attach(struct test_env *env, struct vdev *d)
{
	return env->space.way == IOMMUFD ? vdev_attach(d, env->space.ioas) : vdev_get(d);
}

static int detach(struct test_env *env, struct vdev *d)
{
	if (env->space.way == IOMMUFD)
		return vdev_detach(d);
	close_fd(&d->fd);
	return 0;
}

TEST_F(attach, no_memory)
{
	struct test_env *env = &self->env;
	struct vdev *d = self->env.vdev;
	int nth, left, ret, failed = 0;

	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_halves(env));
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, NEVER);
		ASSERT_EQ(nth, fail_nth(env->fail, nth));
		ret = attach(env, d);
		left = fail_nth(env->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(env->fd)) TH_LOG("allocation %d", nth);
			EXPECT_TRUE(table_has(env, d, 0, PAGES, 0));
			ASSERT_EQ(0, punch(env->fd, 0, 1));
			ASSERT_EQ(0, grow(env->fd, 0, 1));
			failed++;
			ASSERT_EQ(0, attach(env, d));
		}
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 2));
		ASSERT_EQ(0, detach(env, d));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	note("%d of %d failed allocations made the call fail", failed, nth - 2);
	EXPECT_LT(0, failed);

	ASSERT_EQ(0, attach(env, d));
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(env, d, 1));
}

FIXTURE(table)
{
	struct test_env env;
};

FIXTURE_VARIANT(table)
{
	bool soft;
};

FIXTURE_VARIANT_ADD(table, edu) { false };
FIXTURE_VARIANT_ADD(table, soft) { true };

FIXTURE_SETUP(table)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, IOMMUFD);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	env->vdev = variant->soft ? &env->dma : &env->edu;
	ASSERT_EQ(0, vdev_bind(&env->space, env->vdev));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_halves(env));
}

FIXTURE_TEARDOWN(table)
{
	attach_env_teardown(&self->env);
}

/* A page table of its own: made, and put in the place of the other one. */
TEST_F(table, no_memory)
{
	struct test_env *env = &self->env;
	struct vdev *d = self->env.vdev;
	int nth, left, ret, step, failed;
	__u32 id = 0;

	if (!can_fill_before_attach(env, d))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, vdev_attach(d, env->space.ioas));
	fail_anything("0");
	for (step = 0; step < 2; step++) {
		for (nth = 1, left = 0, failed = 0; !left; nth++) {
			ASSERT_LT(nth, NEVER);
			if (step)
				ASSERT_EQ(0, space_alloc_table(&env->space, d, 0, &id));
			ASSERT_EQ(nth, fail_nth(env->fail, nth));
			ret = step ? vdev_attach(d, id) :
				     space_alloc_table(&env->space, d, 0, &id);
			left = fail_nth(env->fail, 0);
			ASSERT_LE(0, left);
			EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 2));
			if (ret) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				EXPECT_EQ(step ? 4 : 2, consumers_of(env->fd));
				failed++;
				ASSERT_EQ(0, step ? vdev_attach(d, id) :
						    space_alloc_table(&env->space, d, 0, &id));
			}
			/* in its place, the one that was made to attach is gone */
			EXPECT_EQ(step ? 2 : 4, consumers_of(env->fd));
			EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 2));
			if (step)
				ASSERT_EQ(0, vdev_attach(d, env->space.ioas));
			EXPECT_EQ(0, space_destroy(&env->space, id));
			EXPECT_EQ(2, consumers_of(env->fd));
		}
		note("%s: %d of %d failed allocations made the call fail",
		     step ? "put in its place" : "made", failed, nth - 2);
		EXPECT_LT(0, failed);
	}
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(env, d, 1));
}

/* Two pages: the one before the file's, which is mapped by address, and its first */
static int copy_area(struct test_env *env)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = ioas_flags(DMA_RW),
		.dst_ioas_id = env->space.ioas,
		.src_ioas_id = env->space.ioas,
		.length = 2 * PAGE,
		.dst_iova = SIDE + GIB,
		.src_iova = iova(0) - PAGE,
	};

	return ioctl(env->space.fd, IOMMU_IOAS_COPY, &copy) ? -errno : 0;
}

static int nothing(struct test_env *env)
{
	return 0;
}

/* The file is followed as before; and where the copy would have been is free. */
static bool is_not_copied(struct test_env *env, int ret)
{
	if (consumers_of(env->fd) != 2 || !table_has(env, env->vdev, 0, PAGES, PAGES - 2))
		return false;
	return !space_map_address(&env->space, env->side, SIDE + GIB, PAGE) &&
	       !space_map_address(&env->space, env->side, SIDE + GIB + PAGE, PAGE) &&
	       space_unmap(&env->space, SIDE + GIB, 2 * PAGE) == 2 * PAGE;
}

/* That pages which follow cannot be copied is also said without memory, or ENOMEM. */
TEST_F(table, no_memory_to_refuse_a_copy)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, vdev_attach(env->vdev, env->space.ioas));
	ASSERT_EQ(0, space_map_address(&env->space, env->side, iova(0) - PAGE, PAGE));
	EXPECT_LT(0, SWEEP(nothing, copy_area, -EOPNOTSUPP, is_not_copied));
}

/* The device copies what the file's first page has to its last page. */
static bool works(struct test_env *env, struct vdev *d, unsigned int seed)
{
	fill(at(env, 0), seed);
	memset(at(env, PAGES - 1), 0, PAGE);
	return !copies(d, 0, PAGES - 1) && !memcmp(at(env, 0), at(env, PAGES - 1), LEN);
}

static int seal_future_write(struct test_env *env)
{
	return fcntl(env->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) ? -errno : 0;
}

/*
 * The seal refuses later mappings alone. To a mapping that was there before, page tables
 * that it enters later are as good as the first one.
 */
TEST_F(table, future_write_seal)
{
	struct test_env *env = &self->env;
	struct vdev *d = self->env.vdev;
	__u32 id = 0;

	ASSERT_EQ(0, vdev_attach(d, env->space.ioas));
	ASSERT_EQ(0, start(d));
	ASSERT_EQ(0, seal_future_write(env));
	EXPECT_EQ(-EPERM, space_map(&env->space, env->fd, 0, iova(PAGES), PAGE, DMA_RW));
	EXPECT_TRUE(works(env, d, 1));
	if (can_fill_before_attach(env, d)) {
		EXPECT_EQ(0, space_alloc_table(&env->space, d, 0, &id));
		EXPECT_EQ(0, vdev_attach(d, id));
		EXPECT_TRUE(works(env, d, 2));
	}
	ASSERT_EQ(0, vdev_detach(d));
	EXPECT_EQ(0, vdev_attach(d, env->space.ioas));
	EXPECT_TRUE(works(env, d, 3));
	ASSERT_EQ(0, grow(env->fd, 3, 1));
	EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 1));
}

/*
 * Two devices that cannot have the same table
 */

FIXTURE(two)
{
	struct test_env env;
};

FIXTURE_VARIANT(two)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(two, type1) { TYPE1 };
FIXTURE_VARIANT_ADD(two, iommufd) { IOMMUFD };
FIXTURE_VARIANT_ADD(two, iommufd_group) { IOMMUFD_GROUP };

FIXTURE_SETUP(two)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, variant->way);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(two)
{
	attach_env_teardown(&self->env);
}

/* Both follow, and whichever goes, the other one does not notice. */
TEST_F(two, iommus)
{
	struct test_env *env = &self->env;
	struct vdev *const d[] = { &env->edu, &env->dma };
	int first, i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, vdev_open(&env->space, d[i]));
	ASSERT_EQ(0, start(&env->edu));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_halves(env));
	EXPECT_EQ(4, consumers_of(env->fd));
	for (first = 0; first < 2; first++) {
		for (i = 0; i < 2; i++)
			EXPECT_TRUE(follows(env, d[i], 10 * first + i));
		vdev_close(d[first]);
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(follows(env, d[!first], 30 + first));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		fill(at(env, 1), 40);

		/* one that joins late has what came meanwhile */
		ASSERT_EQ(0, vdev_open(&env->space, d[first]));
		EXPECT_EQ(4, consumers_of(env->fd));
		EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 1));
		ASSERT_EQ(0, start(d[first]));
		ASSERT_EQ(0, grow(env->fd, 2, 1));
		EXPECT_EQ(0, copies(d[first], 1, 2));
		EXPECT_FALSE(memcmp(at(env, 1), at(env, 2), LEN));
	}
	EXPECT_EQ((PAGES + 1) * PAGE, space_unmap_all(&env->space));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(-EFAULT, copies(&env->dma, 1, 2));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 0));
}

/* The second device joins, and the first one leaves and joins, after the seal. */
TEST_F(two, future_write_seal)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, start(&env->edu));
	ASSERT_EQ(0, map_halves(env));
	ASSERT_EQ(0, seal_future_write(env));
	EXPECT_EQ(-EPERM, space_map(&env->space, env->fd, 0, iova(PAGES), PAGE, DMA_RW));
	EXPECT_TRUE(works(env, &env->edu, 1));

	EXPECT_EQ(0, vdev_open(&env->space, &env->dma));
	EXPECT_TRUE(works(env, &env->dma, 2));
	vdev_close(&env->edu);
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, start(&env->edu));
	EXPECT_TRUE(works(env, &env->edu, 3));
	EXPECT_TRUE(works(env, &env->dma, 4));
}

static int both_mapped(struct test_env *env)
{
	return consumers_of(env->fd) ? 0 : map_halves(env);
}

static int unmap_both(struct test_env *env)
{
	__s64 ret = unmap_pages(env, 0, PAGES);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static int unmap_whole_space(struct test_env *env)
{
	__s64 ret = space_unmap_all(&env->space);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static bool is_unmapped(struct test_env *env, int ret)
{
	return all_is_there(env, ret ? 4 : 0);
}

/* What takes pages away from devices needs no memory. */
TEST_F(two, no_memory_to_unmap)
{
	struct test_env *env = &self->env;

	env->vdev = &env->edu;
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	EXPECT_EQ(0, SWEEP(both_mapped, unmap_both, 0, is_unmapped));
	EXPECT_EQ(0, SWEEP(both_mapped, unmap_whole_space, 0, is_unmapped));
}

/*
 * A device joins the page table of another one, and leaves it, again and again, while pages
 * come and go in it: that takes neither type1's lock nor iommufd's. The other device reaches
 * the file's pages throughout, and no other memory.
 */

FIXTURE(shared)
{
	struct test_env env;
};

FIXTURE_VARIANT(shared)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(shared, type1) { TYPE1 };
FIXTURE_VARIANT_ADD(shared, iommufd) { IOMMUFD };

FIXTURE_SETUP(shared)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, variant->way);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(shared)
{
	attach_env_teardown(&self->env);
}

#define BUSY_PAGES	1024UL
#define CHECKS		12	/* of the device that stays */

struct busy {
	struct test_env *env;
	int fd, stop;
	unsigned long joined, changed;
	int join_error, change_error;
};

static bool stopped(struct busy *busy)
{
	return __atomic_load_n(&busy->stop, __ATOMIC_ACQUIRE);
}

static int join_shared(struct test_env *env, struct vdev *d)
{
	return env->space.way == IOMMUFD ? vdev_attach(d, env->space.ioas) :
					   set_container(env, d);
}

static int leave_shared(struct test_env *env, struct vdev *d)
{
	return env->space.way == IOMMUFD ? vdev_detach(d) : unset_container(d);
}

static void *join_and_leave(void *arg)
{
	struct busy *busy = arg;
	struct test_env *env = busy->env;

	while (!stopped(busy) && !busy->join_error) {
		busy->join_error = join_shared(env, &env->nvme) ?:
				   leave_shared(env, &env->nvme);
		busy->joined++;
	}
	return NULL;
}

/* Single pages, and ranges of different lengths */
static void *come_and_go(void *arg)
{
	struct busy *busy = arg;
	size_t page, n = 1;

	while (!stopped(busy) && !busy->change_error) {
		page = busy->changed % (BUSY_PAGES - n);
		busy->change_error = grow(busy->fd, page, n) ?: punch(busy->fd, page, n);
		busy->changed++;
		n = n * 3 % 127;
	}
	return NULL;
}

TEST_F(shared, joins_and_leaves)
{
	struct test_env *env = &self->env;
	struct busy busy = { .env = env, .fd = memfd_create("busy", MFD_CLOEXEC) };
	pthread_t joiner, changer;
	long faults;
	int i;

	ASSERT_LE(0, busy.fd);
	ASSERT_EQ(0, ftruncate(busy.fd, BUSY_PAGES * PAGE));
	ASSERT_EQ(0, vdev_open(&env->space, &env->edu));
	ASSERT_EQ(0, start(&env->edu));
	ASSERT_EQ(0, map_halves(env));
	ASSERT_EQ(0, space_map(&env->space, busy.fd, 0, BASE + GIB, BUSY_PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, variant->way == IOMMUFD ? vdev_bind(&env->space, &env->nvme) :
					      vdev_open_group(&env->nvme));
	ASSERT_EQ(0, join_shared(env, &env->nvme));
	/* two halves, and not four: the table is the same */
	ASSERT_EQ(2, consumers_of(env->fd));
	ASSERT_EQ(0, leave_shared(env, &env->nvme));

	ASSERT_EQ(0, pthread_create(&joiner, NULL, join_and_leave, &busy));
	ASSERT_EQ(0, pthread_create(&changer, NULL, come_and_go, &busy));
	for (i = 0; i < CHECKS; i++)
		EXPECT_TRUE(follows(env, &env->edu, i + 1));
	__atomic_store_n(&busy.stop, 1, __ATOMIC_RELEASE);
	pthread_join(joiner, NULL);
	pthread_join(changer, NULL);
	EXPECT_EQ(0, busy.join_error);
	EXPECT_EQ(0, busy.change_error);
	EXPECT_LT(10, busy.joined);
	note("joined %lu times, while %lu ranges came and went", busy.joined, busy.changed);
	/* the device that left has taken nothing with it: an unmapped page is out of reach */
	EXPECT_TRUE(follows(env, &env->edu, CHECKS + 1));
	faults = mdma_iommu_faults();
	ASSERT_EQ(0, punch(env->fd, PAGES - 1, 1));
	EXPECT_EQ(0, copies(&env->edu, 0, PAGES - 1));
	EXPECT_TRUE(mdma_iommu_faulted(faults));

	ASSERT_EQ(0, join_shared(env, &env->nvme));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES));
	ASSERT_EQ(0, punch(env->fd, 1, 3));
	EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 3));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, PAGES - 3));
	close(busy.fd);
}

/*
 * One thread maps the file in two tables, and there is no memory for the second;
 * another one detaches the device from the first table, which then is freed, as soon as
 * possible. The mapping has to leave that table before.
 *
 * A third thread writes to the file what a page fault keeps it waiting for, and both
 * wait for that: so each is in the middle of its call when they go on.
 */

FIXTURE(soft)
{
	struct test_env env;
};

FIXTURE_SETUP(soft)
{
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, IOMMUFD);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vdev_bind(&env->space, &env->dma));
}

FIXTURE_TEARDOWN(soft)
{
	attach_env_teardown(&self->env);
}

#define RUNS	2048		/* each of one page, so that unmapping takes a while */
#define ROUNDS	12

struct race {
	struct test_env *env;
	int fd, uffd;
	char *never;		/* a page that uffd knows of: not there */
	int nth;		/* which allocation is to fail while mapping, or 0 */
	int left, mapped, detached;
	pid_t mapper, detacher;	/* threads; -1 at their end */
};

static void *write_there(void *arg)
{
	struct race *race = arg;

	return (void *)(pwrite(race->fd, race->never, 1, 0) == 1 ? NULL : race);
}

static void *map_there(void *arg)
{
	struct race *race = arg;
	int fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	__atomic_store_n(&race->mapper, gettid(), __ATOMIC_RELEASE);
	fail_nth(fail, race->nth);
	race->mapped = space_map(&race->env->space, race->fd, 0, BASE, 2 * RUNS * PAGE,
				 DMA_RW);
	race->left = fail_nth(fail, 0);
	__atomic_store_n(&race->mapper, -1, __ATOMIC_RELEASE);
	close(fail);
	return NULL;
}

static void *detach_there(void *arg)
{
	struct race *race = arg;

	__atomic_store_n(&race->detacher, gettid(), __ATOMIC_RELEASE);
	race->detached = vdev_detach(&race->env->dma);
	__atomic_store_n(&race->detacher, -1, __ATOMIC_RELEASE);
	return NULL;
}

/* Wait until the thread waits itself, or is at its end. */
static void until_it_waits(pid_t *thread)
{
	char path[64], text[256];
	pid_t tid;

	for (;;) {
		tid = __atomic_load_n(thread, __ATOMIC_ACQUIRE);
		if (tid < 0)
			return;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		if (tid && !read_line(path, text, sizeof(text)) &&
		    strstr(text, ") D "))
			return;
		sched_yield();
	}
}

static int race_run(struct race *race, int nth)
{
	struct uffdio_copy copy = { .len = PAGE };
	pthread_t writer, mapper, detacher;
	static char page[PAGE];
	struct uffd_msg msg;
	void *wrong;

	madvise(race->never, PAGE, MADV_DONTNEED);
	race->nth = nth;
	race->mapper = 0;
	race->detacher = 0;
	if (pthread_create(&writer, NULL, write_there, race))
		return -EAGAIN;
	/* once it faults, it has the file */
	if (read(race->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -EIO;
	if (pthread_create(&mapper, NULL, map_there, race))
		return -EAGAIN;
	until_it_waits(&race->mapper);
	if (pthread_create(&detacher, NULL, detach_there, race))
		return -EAGAIN;
	until_it_waits(&race->detacher);
	copy.src = (uintptr_t)page;
	copy.dst = (uintptr_t)race->never;
	if (ioctl(race->uffd, UFFDIO_COPY, &copy))
		return -errno;
	pthread_join(writer, &wrong);
	pthread_join(mapper, NULL);
	pthread_join(detacher, NULL);
	return wrong ? -EIO : race->detached;
}

TEST_F(soft, map_fails_while_detached)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct test_env *env = &self->env;
	struct race race = { .env = env };
	int nth, i, total = 0, failed = 0;
	__u32 id = 0;

	race.fd = memfd_create("runs", MFD_CLOEXEC);
	ASSERT_LE(0, race.fd);
	ASSERT_EQ(0, ftruncate(race.fd, 2 * RUNS * PAGE));
	for (i = 0; i < RUNS; i++)
		ASSERT_EQ(0, grow(race.fd, 2 * i, 1));
	race.never = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, race.never);
	race.uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, race.uffd);
	ASSERT_EQ(0, ioctl(race.uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)race.never;
	reg.range.len = PAGE;
	ASSERT_EQ(0, ioctl(race.uffd, UFFDIO_REGISTER, &reg));

	/* the second table stays, the first one comes and goes with the attachment */
	stay_on_one_cpu(false);
	fail_anything("0");
	fail_objects_alone();
	for (i = 0; i <= ROUNDS; i++) {
		/* first none, to count them; then one of the second table's half */
		nth = i ? total - i * total / (3 * ROUNDS) : 1000000;
		ASSERT_EQ(0, vdev_attach(&env->dma, env->space.ioas));
		ASSERT_EQ(0, space_alloc_table(&env->space, &env->dma, 0, &id));
		ASSERT_EQ(0, race_run(&race, nth));
		if (!i)
			total = nth - race.left;
		if (race.mapped) {
			EXPECT_EQ(-ENOMEM, race.mapped);
			failed++;
		} else {
			EXPECT_EQ(1, consumers_of(race.fd));
			EXPECT_EQ(2 * RUNS * PAGE,
				  space_unmap(&env->space, BASE, 2 * RUNS * PAGE));
		}
		EXPECT_EQ(0, consumers_of(race.fd));
		EXPECT_EQ(0, space_destroy(&env->space, id));
	}
	/* there are some that can be done without */
	note("%d of %d failed allocations made the call fail", failed, ROUNDS);
	EXPECT_LT(0, failed);
	stay_on_one_cpu(true);
	close(race.uffd);
	close(race.fd);
	munmap(race.never, PAGE);
}

TEST_HARNESS_MAIN
