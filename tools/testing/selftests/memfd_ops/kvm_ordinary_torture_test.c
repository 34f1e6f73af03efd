// SPDX-License-Identifier: GPL-2.0
/*
 * An ordinary VM and a device use a file while it gains and loses pages, all at once and
 * at random.
 *
 * One thread changes the file. It stamps each page that it fills, with the page's number
 * and a serial, and knows which stamp a page has: 0 after a hole. So a reader knows the
 * stamp that it must find, if the page has not changed meanwhile; if it has, an older
 * stamp than the one at the start shows that it was read from a page that was gone.
 *
 * MEMFD_OPS_SEED=n repeats a run's choices, though not the threads' timing.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/harness.h"
#include "lib/ordinary_fixture.h"
#include "lib/random.h"

FIXTURE_VARIANT_ADD(ordinary, small_pages)
{
	.device = true,
};

FIXTURE_VARIANT_ADD(ordinary, huge_pages)
{
	.huge = true,
	.device = true,
};

/* The pages that come and go: all except those of the last huge folio */
#define ROOM		(PAGES - HUGE_PAGES)

/* A page that stays, for the device's copies */
#define LANDING		(PAGES - 1)

/* The words of a page */
#define STAMP		0
#define OWN		1	/* what the guest writes */

/* Go on until each count has reached its goal. */
enum count {
	FILLS, HOLES, READS, WRITES, COPIES, FAULTS, EXACT, HUGE_ENTRIES, NR_COUNTS
};

static const char * const count_names[] = {
	"fills", "holes", "guest reads", "guest writes", "copies", "copies that faulted",
	"exact checks", "huge entries",
};

static const unsigned int goals[] = {
	[FILLS] = 50, [HOLES] = 50, [READS] = 500, [WRITES] = 500, [COPIES] = 25,
	[FAULTS] = 5, [EXACT] = 500,
};

struct torture {
	struct guest *g;
	unsigned int seed;
	atomic_uint epoch[ROOM];	/* odd while the page changes */
	atomic_uint stamp[ROOM];
	atomic_uint serial[ROOM];	/* of the next stamp */
	atomic_uint counts[NR_COUNTS];
	atomic_uint wrong;
	atomic_bool stop;
};

#define WRONG(t, ...) do {						\
	if (atomic_fetch_add(&(t)->wrong, 1) < 10)			\
		note(__VA_ARGS__);					\
} while (0)

static __u32 stamp_of(size_t page, __u32 serial)
{
	return (page + 1) << 16 | (serial & 0xffff);
}

/*
 * Readers
 */

struct view {
	size_t page;
	unsigned int epoch, stamp, serial;
};

static struct view view_of(struct torture *t, size_t page)
{
	struct view v = { .page = page };

	v.epoch = atomic_load(&t->epoch[page]);
	v.stamp = atomic_load(&t->stamp[page]);
	v.serial = atomic_load(&t->serial[page]);
	return v;
}

static bool unchanged(struct torture *t, const struct view *v)
{
	return !(v->epoch & 1) && atomic_load(&t->epoch[v->page]) == v->epoch;
}

static void check_stamp(struct torture *t, const struct view *v, __u32 found,
			const char *reader)
{
	/* the stamp at the start, if the page had one, or a later one */
	__u32 oldest = stamp_of(v->page, v->serial - !!v->stamp);

	if (unchanged(t, v)) {
		atomic_fetch_add(&t->counts[EXACT], 1);
		if (found != v->stamp)
			WRONG(t, "%s: page %zu has %08x, not %08x", reader, v->page, found,
			      v->stamp);
	} else if (found && (found < oldest || found >= stamp_of(v->page + 1, 0))) {
		WRONG(t, "%s: page %zu has %08x, older than %08x", reader, v->page, found,
		      oldest);
	}
}

static __u32 word_gpa(size_t page, size_t word)
{
	return gpa_of(page) + word * sizeof(__u32);
}

static void *guest_reads(void *data)
{
	struct torture *t = data;
	struct vmm_vcpu *vcpu = &t->g->vmm.vcpu[0];
	__u64 random = t->seed + 1;
	struct view v;
	__s64 word;

	while (!atomic_load(&t->stop)) {
		v = view_of(t, pick(&random, ROOM));
		word = vmm_read(vcpu, word_gpa(v.page, STAMP));
		if (word < 0)
			WRONG(t, "the guest cannot read page %zu: %lld", v.page, word);
		else
			check_stamp(t, &v, word, "guest");
		atomic_fetch_add(&t->counts[READS], 1);
	}
	return NULL;
}

static void *guest_writes(void *data)
{
	struct torture *t = data;
	struct vmm_vcpu *vcpu = &t->g->vmm.vcpu[1];
	__u32 value = 0, found;
	__u64 random = t->seed + 2;
	struct view v;
	__s64 ret;

	while (!atomic_load(&t->stop)) {
		v = view_of(t, pick(&random, ROOM));
		ret = vmm_write(vcpu, word_gpa(v.page, OWN), ++value);
		found = ((volatile __u32 *)at(&t->g->env, v.page))[OWN];
		if (ret)
			WRONG(t, "the guest cannot write to page %zu: %lld", v.page, ret);
		else if (found != value && unchanged(t, &v))
			WRONG(t, "guest wrote %08x to page %zu, which has %08x", value,
			      v.page, found);
		atomic_fetch_add(&t->counts[WRITES], 1);
	}
	return NULL;
}

static void *device_copies(void *data)
{
	struct torture *t = data;
	struct test_env *env = &t->g->env;
	__u64 random = t->seed + 3;
	struct view v;
	int status;

	while (!atomic_load(&t->stop)) {
		v = view_of(t, pick(&random, ROOM));
		status = env_copy(env, 0, v.page, LANDING, sizeof(__u32));
		if (status == VFIO_MDMA_STATUS_DONE)
			check_stamp(t, &v, *(volatile __u32 *)at(env, LANDING), "device");
		else if (status != VFIO_MDMA_STATUS_FAULT || (v.stamp && unchanged(t, &v)))
			WRONG(t, "the device's copy of page %zu: %d", v.page, status);
		atomic_fetch_add(&t->counts[COPIES], 1);
		if (status == VFIO_MDMA_STATUS_FAULT)
			atomic_fetch_add(&t->counts[FAULTS], 1);
	}
	return NULL;
}

/*
 * The file
 */

static void begin_change(struct torture *t, size_t first, size_t end)
{
	size_t page;

	for (page = first; page < end; page++)
		atomic_fetch_add(&t->epoch[page], 1);
}

static void end_change(struct torture *t, size_t first, size_t end, bool stamped)
{
	size_t page;

	for (page = first; page < end; page++) {
		atomic_store(&t->stamp[page], !stamped ? 0 :
			     stamp_of(page, atomic_fetch_add(&t->serial[page], 1)));
		atomic_fetch_add(&t->epoch[page], 1);
	}
}

/* Of these pages, how many does the device reach that it should not, or the reverse? */
static size_t device_differs(struct torture *t, size_t first, size_t end, bool there)
{
	struct test_env *env = &t->g->env;
	unsigned char present[ROOM];
	size_t i, wrong = 0;

	if (mdma_present(&env->dev[0], iova_of(&env->dev[0], first), end - first,
			 present) < 0)
		return end - first;
	for (i = 0; i < end - first; i++)
		if (there)
			wrong += !present[i];
		else	/* the guest may have filled the hole meanwhile */
			wrong += present[i] && !in_core(at(env, first + i));
	return wrong;
}

static void fill_some(struct torture *t, __u64 *random, size_t first, size_t end)
{
	struct test_env *env = &t->g->env;
	bool by_pwrite = pick(random, 2);
	size_t page, wrong;
	__u32 stamp;

	begin_change(t, first, end);
	if (pick(random, 2) && grow(env->fd, first, end - first))
		WRONG(t, "fallocate: %m");
	for (page = first; page < end; page++) {
		stamp = stamp_of(page, atomic_load(&t->serial[page]));
		if (!by_pwrite)
			*(volatile __u32 *)at(env, page) = stamp;
		else if (pwrite(env->fd, &stamp, 4, page * PAGE) != 4)
			WRONG(t, "pwrite: %m");
	}
	wrong = device_differs(t, first, end, true);
	if (wrong)
		WRONG(t, "the device lacks %zu of [%zu, %zu)", wrong, first, end);
	end_change(t, first, end, true);
	atomic_fetch_add(&t->counts[FILLS], 1);
	if (huge_entries(t->g) > 0)
		atomic_fetch_add(&t->counts[HUGE_ENTRIES], 1);
}

static void make_hole(struct torture *t, __u64 *random, size_t first, size_t end)
{
	struct test_env *env = &t->g->env;
	size_t page, wrong;
	__u32 found;
	int ret;

	begin_change(t, first, end);
	if (pick(random, 2))
		ret = punch(env->fd, first, end - first);
	else
		ret = madvise(at(env, first), (end - first) * PAGE, MADV_REMOVE);
	wrong = device_differs(t, first, end, false);
	if (ret || wrong)
		WRONG(t, "hole [%zu, %zu): %d, the device reaches %zu", first, end, ret,
		      wrong);
	for (page = first; page < end; page++)
		if (pread(env->fd, &found, 4, page * PAGE) != 4 || found)
			WRONG(t, "page %zu was punched, and has %08x", page, found);
	end_change(t, first, end, false);
	atomic_fetch_add(&t->counts[HOLES], 1);
}

static void change_file(struct torture *t, __u64 *random)
{
	size_t first = pick(random, ROOM), end = first + 1 + pick(random, 64);

	if (!pick(random, 4)) {
		first = first / HUGE_PAGES * HUGE_PAGES;
		end = first + HUGE_PAGES;
	}
	end = end < ROOM ? end : ROOM;
	if (pick(random, 2))
		fill_some(t, random, first, end);
	else
		make_hole(t, random, first, end);
}

static bool goals_reached(struct torture *t)
{
	int i;

	for (i = 0; i < NR_COUNTS; i++)
		if (t->counts[i] < (i < (int)ARRAY_SIZE(goals) ? goals[i] : 0))
			return false;
	return !t->g->huge || t->counts[HUGE_ENTRIES];
}

TEST_F(ordinary, all_at_once)
{
	void *(* const actors[])(void *) = { guest_reads, guest_writes, device_copies };
	pthread_t threads[ARRAY_SIZE(actors)];
	struct torture *t = calloc(1, sizeof(*t));
	struct guest *g = &self->mm.g;
	__u64 random;
	size_t i;

	ASSERT_NE(NULL, t);
	t->g = g;
	t->seed = test_seed();
	random = t->seed + 4;
	*(__u32 *)at(&g->env, LANDING) = 0;
	mdma_expect_iommu_faults();
	for (i = 0; i < ARRAY_SIZE(actors); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, actors[i], t));
	while (!goals_reached(t) && !t->wrong)
		change_file(t, &random);
	t->stop = true;
	for (i = 0; i < ARRAY_SIZE(actors); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < NR_COUNTS; i++)
		note("%u %s", t->counts[i], count_names[i]);
	EXPECT_EQ(0, t->wrong);
	EXPECT_EQ(0, env_differences(&g->env, 0, 0, PAGES));
	free(t);
}

TEST_HARNESS_MAIN
