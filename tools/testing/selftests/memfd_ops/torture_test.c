// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that do everything at once, at random, to one file and two devices.
 * After each hole no translation may be left in it; now and then, and at the
 * end, all stands still, and the devices must reach what the file has.
 *
 * In the first two tests, each region of the file has a lock. A thread holds it from
 * before it adds or removes pages until it has checked the devices. The devices have a
 * few slots to map a window at, each with a lock likewise. The last test has no locks: in
 * each round, threads change the same pages at the same time, and at the end of the
 * round devices and file must agree.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/harness.h"
#include "lib/random.h"
#include "lib/test_env.h"

#define THREADS		6
#define REGIONS		16
#define SLOTS		3	/* of each device */

struct slot {
	pthread_rwlock_t lock;
	struct mdma *dev;
	__u64 iova;
	size_t first, pages;	/* pages is 0 if nothing is mapped */
};

struct torture {
	struct test_env *env;
	size_t region;		/* pages of each */
	pthread_mutex_t regions[REGIONS];
	struct slot slots[2 * SLOTS];
	pthread_mutex_t engines[2];
	pthread_rwlock_t still;	/* for writing: everything stands still */
	atomic_bool stop;
	atomic_int wrong;
	atomic_long done[6], faults;
	atomic_long split, kept;	/* holes in huge folios: freed; zeroed, if busy */
	unsigned int seed;
	bool huge;
};

struct worker {
	struct torture *t;
	pthread_t thread;
	__u64 random;
};

#define WRONG(t, fmt, ...) do {					\
	note("WRONG: " fmt, ##__VA_ARGS__);			\
	(t)->wrong++;						\
} while (0)

/* Nothing of these pages may be reached through any slot. */
static void must_be_gone(struct torture *t, size_t first, size_t pages)
{
	struct vfio_mdma_query q;
	struct slot *s;
	size_t from, to;
	int ret;

	for (s = t->slots; s < t->slots + 2 * SLOTS; s++) {
		pthread_rwlock_rdlock(&s->lock);
		from = s->first > first ? s->first : first;
		to = s->first + s->pages < first + pages ? s->first + s->pages :
							    first + pages;
		if (s->pages && from < to) {
			ret = mdma_query(s->dev, s->iova + (from - s->first) * PAGE,
					 VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
			if (!ret && q.iova < s->iova + (to - s->first) * PAGE)
				WRONG(t, "punched %zu-%zu, iova 0x%llx leads to page %llu",
				      first, first + pages - 1, q.iova, q.offset / PAGE);
			else if (ret && ret != -ENOENT)
				WRONG(t, "query: %s", strerror(-ret));
		}
		pthread_rwlock_unlock(&s->lock);
	}
}

/* All of these pages must be reached, through every slot that covers them. */
static void must_be_there(struct torture *t, size_t first, size_t pages)
{
	struct vfio_mdma_query q;
	struct slot *s;
	__u64 iova;
	size_t from, to;
	int ret;

	for (s = t->slots; s < t->slots + 2 * SLOTS; s++) {
		pthread_rwlock_rdlock(&s->lock);
		from = s->first > first ? s->first : first;
		to = s->first + s->pages < first + pages ? s->first + s->pages :
							    first + pages;
		if (s->pages && from < to) {
			iova = s->iova + (from - s->first) * PAGE;
			ret = mdma_query(s->dev, iova, VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
			if (ret || q.iova != iova || q.size < (to - from) * PAGE)
				WRONG(t, "added %zu-%zu, but not all is mapped at 0x%llx",
				      from, to - 1, iova);
		}
		pthread_rwlock_unlock(&s->lock);
	}
}

static void make_hole(struct worker *w, size_t first, size_t pages)
{
	struct torture *t = w->t;
	unsigned char *mem = at(t->env, first);
	bool splits = t->huge && pages != t->region && in_core(mem) && is_huge(mem);
	int ret;

	ret = pick(&w->random, 2) ? punch(t->env->fd, first, pages) :
	      madvise(mem, pages * PAGE, MADV_REMOVE) ? -errno : 0;
	if (ret) {
		WRONG(t, "punch: %s", strerror(-ret));
	} else if (!in_core_pages(mem, pages)) {
		t->split += splits;
		must_be_gone(t, first, pages);
	} else if (t->huge && all(mem, pages * PAGE, 0)) {
		t->kept++;
	} else {
		WRONG(t, "punched %zu-%zu, and not all is gone", first, first + pages - 1);
	}
}

static void punch_or_fill(struct worker *w, bool fill_it)
{
	struct torture *t = w->t;
	size_t region = pick(&w->random, REGIONS);
	size_t first = pick(&w->random, t->region), pages, i;
	int fd = t->env->fd, ret;
	unsigned char buf[PAGE];

	pages = 1 + pick(&w->random, t->region - first < 64 ? t->region - first : 64);
	if (!pick(&w->random, 4)) {
		first = 0;
		pages = t->region;
	}
	first += region * t->region;
	pthread_mutex_lock(&t->regions[region]);
	if (!fill_it) {
		make_hole(w, first, pages);
	} else {
		switch (pick(&w->random, 4)) {
		case 0:
			ret = grow(fd, first, pages);
			break;
		case 1:
			memset(buf, region, sizeof(buf));
			for (i = 0; i < pages && i < 16; i++)
				if (pwrite(fd, buf, PAGE, (first + i) * PAGE) != PAGE)
					WRONG(t, "pwrite: %m");
			pages = i;
			ret = 0;
			break;
		case 2:
			pages = pages < 16 ? pages : 16;
			for (i = 0; i < pages; i++)
				at(t->env, first + i)[i] = region;
			ret = 0;
			break;
		default:
			pages = pages < 16 ? pages : 16;
			for (i = 0; i < pages; i++)
				(void)*(volatile unsigned char *)at(t->env, first + i);
			ret = 0;
			break;
		}
		if (ret)
			WRONG(t, "fallocate: %s", strerror(-ret));
		else
			must_be_there(t, first, pages);
	}
	pthread_mutex_unlock(&t->regions[region]);
}

static void remap(struct worker *w)
{
	struct torture *t = w->t;
	struct slot *s = &t->slots[pick(&w->random, 2 * SLOTS)];
	size_t pages;
	long long ret;

	pthread_rwlock_wrlock(&s->lock);
	if (s->pages) {
		ret = mdma_unmap(s->dev, s->iova, s->pages * PAGE);
		if (ret != (long long)(s->pages * PAGE))
			WRONG(t, "unmap: %lld", ret);
		s->pages = 0;
	} else {
		s->first = pick(&w->random, t->env->pages - 1);
		/* at a huge page's place, or not */
		if (t->huge && pick(&w->random, 2))
			s->first &= ~(HUGE_PAGES - 1);
		pages = 1 + pick(&w->random, t->env->pages - s->first);
		ret = mdma_map(s->dev, t->env->fd, s->first * PAGE, s->iova, pages * PAGE,
			       MDMA_RW);
		if (ret)
			WRONG(t, "map: %s", strerror(-ret));
		else
			s->pages = pages;
	}
	pthread_rwlock_unlock(&s->lock);
}

/* Within a region that is locked, so that it must work and the bytes be right. */
static void copy_in_region(struct worker *w)
{
	struct torture *t = w->t;
	size_t n = pick(&w->random, 2 * SLOTS), region = pick(&w->random, REGIONS);
	size_t from = region * t->region, to = from + t->region - 1, len = 64, j;
	struct slot *s = &t->slots[n];
	bool covered, there = pick(&w->random, 4);
	int ret;

	pthread_mutex_lock(&t->regions[region]);
	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&t->engines[n / SLOTS]);
	covered = s->pages && s->first <= from && s->first + s->pages > to;
	if (covered) {
		for (j = 0; j < len; j++) {
			at(t->env, from)[j] = pick(&w->random, 256);
			at(t->env, to)[j] = ~at(t->env, from)[j];
		}
		if (!there && punch(t->env->fd, from, 1))
			WRONG(t, "punch: %m");
		ret = mdma_copy(s->dev, s->iova + (from - s->first) * PAGE,
				s->iova + (to - s->first) * PAGE, len);
		if (ret != (there ? VFIO_MDMA_STATUS_DONE : VFIO_MDMA_STATUS_FAULT))
			WRONG(t, "copy of a page that is %s: %d", there ? "there" : "gone",
			      ret);
		else if (there && memcmp(at(t->env, from), at(t->env, to), len))
			WRONG(t, "copy: other bytes");
		t->faults += !there;
	}
	pthread_mutex_unlock(&t->engines[n / SLOTS]);
	pthread_rwlock_unlock(&s->lock);
	pthread_mutex_unlock(&t->regions[region]);
}

/* While others take the pages away: how it ends is open, but not that it ends. */
static void copy_anything(struct worker *w)
{
	struct torture *t = w->t;
	size_t n = pick(&w->random, 2 * SLOTS);
	struct slot *s = &t->slots[n];
	__u64 from, to;
	int ret;

	pthread_rwlock_rdlock(&s->lock);
	pthread_mutex_lock(&t->engines[n / SLOTS]);
	if (s->pages > 1) {
		from = pick(&w->random, s->pages / 2);
		to = s->pages / 2 + pick(&w->random, s->pages - s->pages / 2);
		ret = mdma_copy(s->dev, s->iova + from * PAGE, s->iova + to * PAGE, 64);
		if (ret != VFIO_MDMA_STATUS_DONE && ret != VFIO_MDMA_STATUS_FAULT)
			WRONG(t, "copy: %d", ret);
	}
	pthread_mutex_unlock(&t->engines[n / SLOTS]);
	pthread_rwlock_unlock(&s->lock);
}

static void disturb(struct worker *w)
{
	struct torture *t = w->t;
	size_t region = pick(&w->random, REGIONS);
	void *addr = at(t->env, region * t->region);

	switch (pick(&w->random, 4)) {
	case 0:
		write_file("/proc/sys/vm/compact_memory", "1");
		break;
	case 1:
		write_file("/proc/sys/vm/drop_caches", "3");
		break;
	case 2:
		madvise(addr, t->region * PAGE, MADV_PAGEOUT);
		break;
	default:
		/* fills holes, so the region must be ours; and it must be a huge page */
		pthread_mutex_lock(&t->regions[region]);
		if (t->huge)
			madvise(addr, HUGE, MADV_COLLAPSE);
		pthread_mutex_unlock(&t->regions[region]);
		break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct torture *t = w->t;
	unsigned int what;

	while (!t->stop && !t->wrong) {
		pthread_rwlock_rdlock(&t->still);
		what = pick(&w->random, 100);
		if (what < 40) {
			punch_or_fill(w, true);
			t->done[0]++;
		} else if (what < 75) {
			punch_or_fill(w, false);
			t->done[1]++;
		} else if (what < 90) {
			remap(w);
			t->done[2]++;
		} else if (what < 93) {
			copy_in_region(w);
			t->done[3]++;
		} else if (what < 96) {
			copy_anything(w);
			t->done[4]++;
		} else {
			disturb(w);
			t->done[5]++;
		}
		pthread_rwlock_unlock(&t->still);
	}
	return NULL;
}

/* With all standing still. */
static void compare(struct torture *t)
{
	struct slot *s;

	for (s = t->slots; s < t->slots + 2 * SLOTS; s++) {
		if (s->pages && differences(s->dev, s->iova, t->env->fd, t->env->mem,
					    s->first, s->pages))
			WRONG(t, "slot %td differs", s - t->slots);
		if (!s->pages && reachable(s->dev, s->iova, 64))
			WRONG(t, "slot %td is not empty", s - t->slots);
	}
}

static bool each_done(struct torture *t)
{
	int i;

	for (i = 0; i < 6; i++)
		if (!t->done[i])
			return false;
	return !t->huge || t->split;
}

static void torture(struct __test_metadata *_metadata, struct test_env *env, bool huge)
{
	pthread_rwlockattr_t attr;
	struct worker workers[THREADS];
	struct timespec start, now;
	struct torture *t;
	long seconds = test_seconds(huge ? 10 : 20);
	int i;

	t = calloc(1, sizeof(*t));
	t->env = env;
	t->huge = huge;
	t->region = env->pages / REGIONS;
	t->seed = test_seed();

	/* the thread that waits for all others to stand still must get the lock */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&t->still, &attr);
	for (i = 0; i < REGIONS; i++)
		pthread_mutex_init(&t->regions[i], NULL);
	for (i = 0; i < 2; i++)
		pthread_mutex_init(&t->engines[i], NULL);
	for (i = 0; i < 2 * SLOTS; i++) {
		pthread_rwlock_init(&t->slots[i].lock, &attr);
		t->slots[i].dev = &env->dev[i / SLOTS];
		/* slots lie side by side; one of them is not aligned */
		t->slots[i].iova = iova_of(t->slots[i].dev, 0) +
				   (i % SLOTS) * 2 * env->pages * PAGE +
				   (i % SLOTS == 1 ? PAGE : 0);
	}

	mdma_expect_iommu_faults();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < THREADS; i++) {
		workers[i].t = t;
		workers[i].random = t->seed * 0x9e3779b97f4a7c15ULL + i + 1;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	do {
		struct timespec pause = { .tv_sec = 3 };

		nanosleep(&pause, NULL);
		pthread_rwlock_wrlock(&t->still);
		compare(t);
		pthread_rwlock_unlock(&t->still);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec < seconds ||
		  (now.tv_sec - start.tv_sec < LONGEST && !each_done(t))) && !t->wrong);
	t->stop = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	compare(t);
	note("%ld fills, %ld holes, %ld (un)maps, %ld+%ld copies (%ld to fail), %ld others",
	     (long)t->done[0], (long)t->done[1], (long)t->done[2], (long)t->done[3],
	     (long)t->done[4], (long)t->faults, (long)t->done[5]);
	if (huge) {
		note("%ld holes split a huge folio; %ld were zeroed, not freed",
		     (long)t->split, (long)t->kept);
		/* a busy huge folio is the exception */
		EXPECT_LT(0, t->split);
		EXPECT_LE(t->kept, t->split);
	}
	EXPECT_EQ(0, t->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", t->seed);
	/* it was not the test itself that stood still */
	EXPECT_TRUE(each_done(t));
	for (i = 0; i < 2; i++)
		EXPECT_LE(0, mdma_unmap_all(&env->dev[i]));
	EXPECT_EQ(0, consumers_of(env->fd));
	free(t);
}

FIXTURE(torture)
{
	struct test_env env;
};

FIXTURE_SETUP(torture)
{
}

FIXTURE_TEARDOWN(torture)
{
	env_teardown(&self->env);
}

static int set_up(struct test_env *env, size_t pages)
{
	int ret = env_setup(env, pages);

	stay_on_one_cpu(false);
	return ret ? ret : env_keep_followed(env);
}

TEST_F(torture, small_pages)
{
	int ret = set_up(&self->env, HUGE_PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_swap(&self->env));
	torture(_metadata, &self->env, false);
}

TEST_F(torture, huge_pages)
{
	int ret = set_up(&self->env, REGIONS * HUGE_PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	if (env_thp(&self->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	torture(_metadata, &self->env, true);
}

#define RACERS		3
#define TRACK		24	/* pages that they race for */

enum act { PUNCH, REMOVE, FALLOCATE, PWRITE, STORE, LOAD, MAP, NR_ACTS };

static const char * const act_names[] = {
	"punch", "MADV_REMOVE", "fallocate", "pwrite", "store", "load", "map",
};

struct race {
	struct test_env *env;
	pthread_barrier_t start, end;
	bool stop;
	struct racer {
		struct race *race;
		struct worker w;
		enum act act;
		size_t first, pages;
		unsigned int delay;
		int ret;
	} racers[RACERS];
	bool mapped[RACERS];	/* each racer has its own IOVAs to map the track at */
};

static __u64 track_iova(struct test_env *env, int i)
{
	return iova_of(&env->dev[i % 2], i * HUGE_PAGES);
}

static int act(struct race *race, struct racer *me, int i)
{
	unsigned char *addr = at(race->env, me->first);
	struct mdma *m = &race->env->dev[i % 2];
	size_t size = me->pages * PAGE, j;
	int fd = race->env->fd;
	__s64 ret;

	switch (me->act) {
	case PUNCH:
		return punch(fd, me->first, me->pages);
	case REMOVE:
		return madvise(addr, size, MADV_REMOVE) ? -errno : 0;
	case FALLOCATE:
		return grow(fd, me->first, me->pages);
	case PWRITE:
		for (j = 0; j < me->pages; j++)
			if (pwrite(fd, "x", 1, (me->first + j) * PAGE) != 1)
				return -errno;
		return 0;
	case STORE:
		for (j = 0; j < size; j += PAGE)
			*(volatile unsigned char *)(addr + j) = 1;
		return 0;
	case LOAD:
		for (j = 0; j < size; j += PAGE)
			(void)*(volatile unsigned char *)(addr + j);
		return 0;
	case MAP:
		if (race->mapped[i])
			ret = mdma_unmap(m, track_iova(race->env, i), TRACK * PAGE);
		else
			ret = mdma_map(m, fd, 0, track_iova(race->env, i), TRACK * PAGE,
				       MDMA_RW);
		race->mapped[i] = !race->mapped[i];
		return ret < 0 ? ret : 0;
	default:
		return -EINVAL;
	}
}

static void *racer(void *arg)
{
	struct racer *me = arg;
	struct race *race = me->race;
	volatile unsigned int i;

	for (;;) {
		pthread_barrier_wait(&race->start);
		if (race->stop)
			return NULL;
		for (i = 0; i < me->delay; i++)
			;
		me->ret = act(race, me, me - race->racers);
		pthread_barrier_wait(&race->end);
	}
}

/* How many pages a device has and the file has not, or the other way round. */
static int disagreements(struct race *race, int i)
{
	unsigned char have[TRACK], present[TRACK];
	struct test_env *env = race->env;
	int sum = 0, j;

	if (mincore(env->mem, TRACK * PAGE, have) ||
	    mdma_present(&env->dev[i % 2], track_iova(env, i), TRACK, present) < 0)
		return -1;
	for (j = 0; j < TRACK; j++)
		sum += present[j] != (race->mapped[i] && (have[j] & 1));
	return sum;
}

TEST_F(torture, races)
{
	unsigned int seed, round = 0, full = 0;
	struct worker w = { };
	pthread_t threads[RACERS];
	struct timespec start, now;
	struct race race = { };
	int i, bad = 0, ret = set_up(&self->env, TRACK);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	race.env = &self->env;
	clock_gettime(CLOCK_MONOTONIC, &start);
	seed = test_seed();
	w.random = seed * 0x9e3779b97f4a7c15ULL + 1;
	pthread_barrier_init(&race.start, NULL, RACERS + 1);
	pthread_barrier_init(&race.end, NULL, RACERS + 1);
	for (i = 0; i < RACERS; i++) {
		race.racers[i].race = &race;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, racer, &race.racers[i]));
	}
	do {
		for (i = 0; i < RACERS; i++) {
			struct racer *me = &race.racers[i];

			me->act = pick(&w.random, NR_ACTS);
			/* two in the same place are what this is about */
			me->first = pick(&w.random, 2) ? 0 : pick(&w.random, TRACK);
			me->pages = 1 + pick(&w.random, TRACK - me->first);
			me->delay = pick(&w.random, 2) ? 0 : pick(&w.random, 3000);
		}
		pthread_barrier_wait(&race.start);
		pthread_barrier_wait(&race.end);
		for (i = 0; i < RACERS; i++) {
			if (race.racers[i].ret || disagreements(&race, i))
				bad++;
			/* the IOMMU's own word, now and then: it is long */
			if (round % 64 == 0 && race.mapped[i]) {
				full++;
				if (differences(&self->env.dev[i % 2],
						track_iova(&self->env, i), self->env.fd,
						self->env.mem, 0, TRACK))
					bad++;
			}
		}
		for (i = 0; bad && i < RACERS; i++)
			note("round %u: %s %zu-%zu: %d, mapped %d, %d disagreements", round,
			     act_names[race.racers[i].act], race.racers[i].first,
			     race.racers[i].first + race.racers[i].pages - 1,
			     race.racers[i].ret, race.mapped[i], disagreements(&race, i));
		round++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!bad && now.tv_sec - start.tv_sec < test_seconds(15));
	race.stop = true;
	pthread_barrier_wait(&race.start);
	for (i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	note("%u rounds, %u full comparisons", round, full);
	EXPECT_EQ(0, bad)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
}

TEST_HARNESS_MAIN
