// SPDX-License-Identifier: GPL-2.0
/*
 * type1's dirty log (VFIO_IOMMU_DIRTY_PAGES) of what follows a memfd: the pages that are
 * mapped, which the device may write to at any time, and those that were mapped since the
 * last report. Not the holes: to read one fills it.
 */
#include <pthread.h>

#include "lib/harness.h"
#include "lib/vfio_env.h"

#define PAGES	64		/* of the file */
#define BEFORE	3		/* pages by address in front of it: no multiple of 8 */
#define BEHIND	5

#define START	VFIO_IOMMU_DIRTY_PAGES_FLAG_START
#define STOP	VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP

FIXTURE(log)
{
	struct test_env env;
};

FIXTURE_SETUP(log)
{
	struct test_env *env = &self->env;
	int ret = vfio_env_setup(env, TYPE1, PAGES, NEED_SOFT);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vdev_open(&env->space, &env->pin));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
}

FIXTURE_TEARDOWN(log)
{
	vfio_env_teardown(&self->env);
}

static __u64 bits(size_t first, size_t pages)
{
	return (pages < 64 ? (1ULL << pages) - 1 : UINT64_MAX) << first;
}

/* The report on the file's pages; 0xdead if there is none */
static __u64 report(struct test_env *env)
{
	__u64 got;

	return space_dirty_pages(&env->space, BASE, PAGES, &got) ? 0xdead : got;
}

TEST_F(log, mapped)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, 8));
	ASSERT_EQ(0, map_pages(env, 0, 32));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	/* mapped before the log is switched on, and after */
	ASSERT_EQ(0, map_pages(env, 32, 32));
	EXPECT_EQ(bits(0, 8), report(env));
	ASSERT_EQ(0, grow(env->fd, 40, 2));
	EXPECT_EQ(bits(0, 8) | bits(40, 2), report(env));
	EXPECT_EQ(bits(0, 8) | bits(40, 2), report(env));
	EXPECT_EQ(10, allocated(env->fd));

	EXPECT_EQ(32 * PAGE, space_unmap(&env->space, iova(32), 32 * PAGE));
	EXPECT_EQ(bits(0, 8), report(env));
	ASSERT_EQ(0, space_track_dirty(&env->space, STOP));
	EXPECT_EQ(0xdead, report(env));
}

TEST_F(log, left)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, 8));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	/* this one has left before it is switched on */
	ASSERT_EQ(0, punch(env->fd, 7, 1));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	EXPECT_EQ(bits(0, 7), report(env));
	/* one that has left may have been written to before: reported once more */
	ASSERT_EQ(0, punch(env->fd, 0, 4));
	EXPECT_EQ(bits(0, 7), report(env));
	EXPECT_EQ(bits(4, 3), report(env));
	/* as one is that came only then */
	ASSERT_EQ(0, grow(env->fd, 20, 2));
	ASSERT_EQ(0, punch(env->fd, 20, 2));
	EXPECT_EQ(bits(4, 3) | bits(20, 2), report(env));
	EXPECT_EQ(bits(4, 3), report(env));
	/* and nothing of that later */
	ASSERT_EQ(0, punch(env->fd, 4, 1));
	ASSERT_EQ(0, space_track_dirty(&env->space, STOP));
	ASSERT_EQ(0, punch(env->fd, 5, 1));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	EXPECT_EQ(bits(6, 1), report(env));
	EXPECT_EQ(1, allocated(env->fd));
}

/* The emulated device stays, the other one goes: with it the pages that it has written to. */
TEST_F(log, device_left)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 2, 8));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	EXPECT_EQ(bits(2, 8), report(env));
	vdev_close(&env->dma);
	EXPECT_EQ(bits(2, 8), report(env));
	EXPECT_EQ(0, report(env));
	ASSERT_EQ(0, grow(env->fd, 30, 1));
	EXPECT_EQ(0, report(env));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	EXPECT_EQ(bits(2, 8) | bits(30, 1), report(env));
}

/* Unmapping that reports, as it does for a range by address */
static int unmap_and_get(struct test_env *env, __u64 iova, size_t pages, void *data)
{
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} arg = {
		.unmap = {
			.argsz = sizeof(arg),
			.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
			.iova = iova,
			.size = pages * PAGE,
		},
		.bitmap = {
			.pgsize = PAGE,
			.size = (pages + 63) / 64 * 8,
			.data = data,
		},
	};

	return ioctl(env->space.fd, VFIO_IOMMU_UNMAP_DMA, &arg) ? -errno : 0;
}

/* Memory by address on both sides, in the same words of the report: all of it is dirty. */
TEST_F(log, with_neighbours)
{
	const __u64 behind = iova(PAGES), before = iova(0) - BEFORE * PAGE;
	struct test_env *env = &self->env;
	const size_t total = BEFORE + PAGES + BEHIND;
	__u64 got[2], want[2];
	int round;

	ASSERT_EQ(0, env_add_side(env, BEFORE + BEHIND, false));
	ASSERT_EQ(0, space_map_address(&env->space, env->side, before, BEFORE * PAGE));
	ASSERT_EQ(0, space_map_address(&env->space, env->side + BEFORE * PAGE, behind,
				       BEHIND * PAGE));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	ASSERT_EQ(0, grow(env->fd, 60, 3));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	for (round = 0; round < 2; round++) {
		memset(got, 0xff, sizeof(got));
		want[0] = bits(0, BEFORE) | bits(BEFORE, 2) | bits(BEFORE + 60, 1);
		want[1] = bits(BEFORE + 61 - 64, 2) | bits(BEFORE + PAGES - 64, BEHIND);
		ASSERT_EQ(0, space_dirty_bitmap(&env->space, before, total, got));
		EXPECT_EQ(want[0], got[0]);
		/* it ends with whole words */
		EXPECT_EQ(want[1], got[1] & bits(0, total - 64));
	}

	/* pages that have left are in the last report, too */
	ASSERT_EQ(0, punch(env->fd, 61, 2));
	ASSERT_EQ(0, grow(env->fd, 9, 1));
	memset(got, 0xff, sizeof(got));
	ASSERT_EQ(0, unmap_and_get(env, before, total, got));
	EXPECT_EQ(want[0] | bits(BEFORE + 9, 1), got[0]);
	EXPECT_EQ(want[1], got[1] & bits(0, total - 64));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(0, space_unmap_all(&env->space));
}

/* A report that cannot be delivered is not lost, unless it is the last one. */
TEST_F(log, cannot_be_written)
{
	struct test_env *env = &self->env;
	unsigned char *mem;

	mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, mprotect(mem + PAGE, PAGE, PROT_NONE));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	ASSERT_EQ(0, grow(env->fd, 5, 4));
	ASSERT_EQ(0, punch(env->fd, 5, 2));
	EXPECT_EQ(-EFAULT, space_dirty_bitmap(&env->space, BASE, PAGES, mem + PAGE));
	EXPECT_EQ(bits(5, 4), report(env));
	EXPECT_EQ(bits(7, 2), report(env));

	/* with the last report the mapping has gone, and there is room for another one */
	EXPECT_EQ(-EFAULT, unmap_and_get(env, BASE, PAGES, mem + PAGE));
	EXPECT_EQ(0, consumers_of(env->fd));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(bits(7, 2), report(env));
	munmap(mem, 2 * PAGE);
}

#define MANY	(3UL << 16)	/* pages: more than the kernel copies at a time */

static bool has_bit(const unsigned char *log, size_t page)
{
	return log[page / 8] >> page % 8 & 1;
}

static size_t count_bits(const unsigned char *log, size_t size)
{
	size_t i, n = 0;

	for (i = 0; i < size; i++)
		n += __builtin_popcount(log[i]);
	return n;
}

/* A large, sparse range, with memory by address before it so that the report is shifted */
TEST_F(log, large)
{
	const size_t there[] = { 0, 1, 32, 4095, 4096, 32700, 32764, 32765, 32767, 32768,
				 65535, 65536, 98303, 131071, 131072, MANY - 2, MANY - 1 };
	const __u64 before = iova(0) - BEFORE * PAGE;
	const size_t size = (BEFORE + MANY + 63) / 64 * 8;
	struct test_env *env = &self->env;
	unsigned char *log;
	size_t i;
	int fd;

	log = malloc(size);
	ASSERT_NE(NULL, log);
	fd = memfd_create("large", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, MANY * PAGE));
	ASSERT_EQ(0, env_add_side(env, BEFORE, false));
	ASSERT_EQ(0, space_map_address(&env->space, env->side, before, BEFORE * PAGE));
	ASSERT_EQ(0, space_map(&env->space, fd, 0, BASE, MANY * PAGE, DMA_RW));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	for (i = 0; i < ARRAY_SIZE(there); i++)
		ASSERT_EQ(0, grow(fd, there[i], 1));
	/* half of them leave */
	for (i = 0; i < ARRAY_SIZE(there); i += 2)
		ASSERT_EQ(0, punch(fd, there[i], 1));
	memset(log, 0xff, size);
	ASSERT_EQ(0, space_dirty_bitmap(&env->space, before, BEFORE + MANY, log));
	for (i = 0; i < ARRAY_SIZE(there); i++)
		EXPECT_TRUE(has_bit(log, BEFORE + there[i]));
	EXPECT_EQ(BEFORE + ARRAY_SIZE(there), count_bits(log, size));
	ASSERT_EQ(0, space_dirty_bitmap(&env->space, before, BEFORE + MANY, log));
	EXPECT_EQ(BEFORE + ARRAY_SIZE(there) / 2, count_bits(log, size));
	close(fd);
	free(log);
}

/*
 * While one thread reads the log, another one has each page of the file come and go once.
 */

#define BUSY	256UL

struct busy {
	int fd, ret, done;
};

static void *come_and_go(void *arg)
{
	struct busy *busy = arg;
	size_t i;

	for (i = 0; i < BUSY && !busy->ret; i++) {
		busy->ret = grow(busy->fd, i, 1);
		if (!busy->ret)
			busy->ret = punch(busy->fd, i, 1);
	}
	__atomic_store_n(&busy->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(log, none_is_lost)
{
	static unsigned char log[BUSY / 8], all[BUSY / 8];
	struct test_env *env = &self->env;
	struct busy busy = { .fd = memfd_create("busy", MFD_CLOEXEC) };
	size_t i, reports = 0;
	pthread_t thread;
	int done;

	ASSERT_LE(0, busy.fd);
	ASSERT_EQ(0, ftruncate(busy.fd, BUSY * PAGE));
	ASSERT_EQ(0, space_map(&env->space, busy.fd, 0, BASE, BUSY * PAGE, DMA_RW));
	ASSERT_EQ(0, space_track_dirty(&env->space, START));
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &busy));
	do {
		done = __atomic_load_n(&busy.done, __ATOMIC_ACQUIRE);
		ASSERT_EQ(0, space_dirty_bitmap(&env->space, BASE, BUSY, log));
		for (i = 0; i < sizeof(log); i++)
			all[i] |= log[i];
		reports++;
	} while (!done);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, busy.ret);
	EXPECT_EQ(BUSY, count_bits(all, sizeof(all)));
	ASSERT_EQ(0, space_dirty_bitmap(&env->space, BASE, BUSY, log));
	EXPECT_EQ(0, count_bits(log, sizeof(log)));
	note("%zu reports", reports);
	close(busy.fd);
}

TEST_HARNESS_MAIN
