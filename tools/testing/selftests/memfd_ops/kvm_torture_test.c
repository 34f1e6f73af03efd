// SPDX-License-Identifier: GPL-2.0
/*
 * Two VMs, two devices and a file, and threads that do everything at once, at
 * random: guests access memory, the file gets and loses pages, devices copy,
 * memslots come and go, memory is made shared and private. kvm_torture/kvm_torture.h
 * explains how they know what they must see.
 *
 * MEMFD_OPS_SEED=n repeats a run's choices, though not the threads' timing.
 * MEMFD_OPS_SECONDS=n sets how long each of the two tests runs.
 */
#include "kvm_torture/kvm_torture.h"
#include "lib/harness.h"

#define FILE_THREADS	2
#define PATIENCE	300	/* seconds, for all threads to stand still */

static const char * const count_names[] = {
	"fills", "holes", "truncations", "preads", "populates",
	"guest reads", "guest writes", "touches", "stamps", "exits for holes",
	"of them resumed", "exits for MMIO",
	"memslots added", "deleted", "attribute changes", "other VMs",
	"copies", "copies that had to fault", "copies without lock",
	"exact checks", "rough ones", "stand-stills", "pages loaded there",
	"holes zeroed, not freed", "huge folios split", "exits since attributes changed",
};

/*
 * With all standing still
 */

/* Does the page have a word that no thread can have written? */
static void check_words(struct torture *t, size_t page)
{
	const __u32 *words = (const __u32 *)at(t->env, page);
	enum kind want;
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++) {
		if (!words[i])
			continue;
		want = EMPTY;
		if (i == FIRST_WORD || i == LAST_WORD ||
		    i == LANDING(0) || i == LANDING(1))
			want = STAMP;
		else if (i - OWN_WORD(0) < GUESTS * VCPUS)
			want = OWN;
		else if (i - TOUCH_WORD(0) < GUESTS * VCPUS)
			want = TOUCH;
		if (kind_of(words[i]) != want ||
		    (want == OWN && page_of(words[i]) != page))
			WRONG(t, "page %zu has %08x at word %zu", page, words[i], i);
	}
}

static void compare_file(struct torture *t)
{
	size_t page, there = 0;
	struct page *p;
	bool have;

	for (page = 0; page < t->env->pages; page++) {
		p = &t->pages[page];
		have = in_core(at(t->env, page));
		there += have;
		if (have != p->present && (!have || is_calm(region_of(t, page))))
			WRONG(t, "page %zu is %s the file", page, have ? "in" : "not in");
		if (have)
			check_words(t, page);
		if (file_word(t, page, FIRST_WORD) != p->stamp ||
		    file_word(t, page, LAST_WORD) != p->stamp)
			WRONG(t, "page %zu has %08x, expected %08x", page,
			      file_word(t, page, FIRST_WORD), p->stamp);
	}
	if (allocated(t->env->fd) != there)
		WRONG(t, "the file has %zu pages, and is charged for %zu", there,
		      allocated(t->env->fd));
}

static void compare_devices(struct torture *t)
{
	size_t start;
	int i;

	for (i = 0; i < 2; i++) {
		start = window_start(t, i);
		if (env_differences(t->env, i, start, t->env->pages - start))
			WRONG(t, "device %d differs from the file", i);
	}
}

/* All of a page, as the guest has it */
static void compare_page(struct torture *t, struct torture_guest *g, int n, size_t page)
{
	struct view v = view_of(t, g, page);
	__u32 words[PAGE_WORDS], expected[PAGE_WORDS];
	__s64 ret;

	if (v.is_shared && !v.in_slot)
		return;		/* each word would be an exit for MMIO */
	ret = guest_load(&g->vmm, n, word_gpa(g, page, 0), words);
	if (check_outcome(t, &v, &g->vmm.vcpu[n], ret) != OK)
		return;
	if (v.is_shared)
		memcpy(expected, &g->shared[page * PAGE_WORDS], PAGE);
	else if (pread(t->env->fd, expected, PAGE, page * PAGE) != PAGE)
		WRONG(t, "pread: %m");
	if (memcmp(words, expected, PAGE))
		WRONG(t, "%s has something else in page %zu", g->name, page);
	t->counts[LOADS]++;
}

/*
 * Compare some pages of each guest, with a memslot, without filling holes that must stay.
 */
static void compare_guests(struct torture *t, struct actor *a, int count)
{
	int i, n;

	for (i = 0; i < GUESTS; i++) {
		a->g = &t->guests[i];
		if (!a->g->pages)
			change_slot(a, a->g);
		for (n = 0; n < count; n++)
			compare_page(t, a->g, n % VCPUS, pick_page(a, 0));
	}
}

static void compare(struct torture *t, struct actor *a, int count)
{
	compare_file(t);
	compare_devices(t);
	compare_guests(t, a, count);
	compare_devices(t);
	t->counts[QUIET]++;
}

/*
 * The test
 */

static void *act(void *arg)
{
	struct actor *a = arg;
	struct torture *t = a->t;

	while (!t->stop && !t->wrong) {
		pthread_rwlock_rdlock(&t->freeze);
		a->act(a);
		pthread_rwlock_unlock(&t->freeze);
	}
	return NULL;
}

static void init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	/* a writer, which waits for all others, must get the lock */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
}

static int init_guest(struct torture *t, struct torture_guest *g)
{
	size_t page;
	int ret;

	init_lock(&g->lock);
	g->name = g == t->guests ? "the guest that keeps holes" : "the one that fills them";
	g->flags = g == t->guests ? KVM_MEM_MEMFD_KEEP_HOLES : 0;
	/* one of them has its pages at other places modulo 2 MiB, if those are small */
	g->gpa = GPA + (g == t->guests || t->huge ? 0 : 3 * PAGE);
	g->shared = vmm_alloc_shared(t->env->pages * PAGE);
	if (!g->shared)
		return -ENOMEM;
	for (page = 0; page < t->env->pages; page++) {
		g->shared[page * PAGE_WORDS + FIRST_WORD] = word_of(SHARED, page, 0);
		g->shared[page * PAGE_WORDS + LAST_WORD] = word_of(SHARED, page, 0);
	}
	ret = vmm_create_for_memfds(&g->vmm, VCPUS);
	if (!ret)
		set_shared(t, g, 0, t->env->pages, false);
	if (!ret)
		set_shared(t, g, OPEN_REGION * t->region_pages,
			   (OPEN_REGION + 1) * t->region_pages, true);
	return ret;
}

static int init_devices(struct torture *t)
{
	size_t half = t->env->pages / 2;
	int ret = env_map(t->env, 0, 0, t->env->pages);

	return ret ? ret : env_map(t->env, 1, half, t->env->pages - half);
}

static int start(struct torture *t, struct actor *actors)
{
	struct actor *a = actors;
	int i;

	for (i = 0; i < GUESTS * VCPUS; i++, a++) {
		a->act = vcpu_act;
		a->g = &t->guests[i / VCPUS];
		a->vcpu = i % VCPUS;
		a->id = i;
	}
	for (i = 0; i < FILE_THREADS; i++)
		a++->act = file_act;
	a++->act = device_act;
	a++->act = slot_act;
	a++->act = attribute_act;
	for (i = 0; i < a - actors; i++) {
		actors[i].t = t;
		actors[i].random = t->seed * 0x9e3779b97f4a7c15ULL + i + 1;
		if (pthread_create(&actors[i].thread, NULL, act, &actors[i]))
			t->wrong++;
	}
	return a - actors;
}

/* Seconds since the first call of this program */
static double elapsed(void)
{
	static double first;
	struct timespec now;
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = now.tv_sec + now.tv_nsec / 1e9;
	if (!first)
		first = seconds;
	return seconds - first;
}

static void report(struct __test_metadata *_metadata, struct torture *t)
{
	char text[1024];
	int i, len = 0;

	for (i = 0; i < NR_COUNTS; i++) {
		if (t->counts[i] || i < KEPT)
			len += snprintf(text + len, sizeof(text) - len, "%s%ld %s",
					len ? ", " : "", (long)t->counts[i],
					count_names[i]);
		/* each thread did its work */
		if (i < KEPT || (i == SPLIT && t->huge))
			EXPECT_LT(0, t->counts[i])
				TH_LOG("no %s", count_names[i]);
	}
	note("%s", text);
	/* a busy huge folio is the exception */
	EXPECT_LE(t->counts[KEPT], t->counts[SPLIT]);
	EXPECT_EQ(0, t->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", t->seed);
}

/*
 * Wait for all other threads. One whose vCPU never returns cannot be joined, but ends
 * with this process.
 */
static void stand_still(struct torture *t)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE;
	if (!pthread_rwlock_timedwrlock(&t->freeze, &until))
		return;
	note("WRONG: a thread did not come back for %d s, MEMFD_OPS_SEED=%u", PATIENCE,
	     t->seed);
	note_threads(getpid());
	if (t->env->thp[0])
		write_file(SHMEM_ENABLED, t->env->thp);
	exit(KSFT_FAIL);
}

static bool each_done(struct torture *t)
{
	int i = 0;

	while (i < KEPT && t->counts[i])
		i++;
	return i == KEPT && (!t->huge || t->counts[SPLIT]);
}

static void run(struct torture *t, long seconds)
{
	const struct timespec pause = { .tv_sec = 3 };
	struct actor actors[GUESTS * VCPUS + FILE_THREADS + 3] = { }, me = { .t = t };
	double begin = elapsed(), now;
	int i, nr;

	me.random = t->seed + 1000;
	nr = start(t, actors);
	do {
		nanosleep(&pause, NULL);
		stand_still(t);
		compare(t, &me, 64);
		pthread_rwlock_unlock(&t->freeze);
		now = elapsed() - begin;
	} while ((now < seconds || (now < LONGEST && !each_done(t))) && !t->wrong);
	t->stop = true;
	for (i = 0; i < nr; i++)
		pthread_join(actors[i].thread, NULL);
	compare(t, &me, 512);
}

static void torture(struct __test_metadata *_metadata, struct test_env *env, bool huge)
{
	long seconds = test_seconds(15);
	struct torture *t = calloc(1, sizeof(*t));
	int i;

	ASSERT_NE(NULL, t);
	t->env = env;
	t->huge = huge;
	t->region_pages = env->pages / REGIONS;
	t->seed = test_seed();
	init_lock(&t->freeze);
	for (i = 0; i < REGIONS; i++)
		pthread_mutex_init(&t->regions[i].lock, NULL);
	mdma_expect_iommu_faults();
	ASSERT_EQ(0, init_devices(t));
	for (i = 0; i < GUESTS; i++)
		ASSERT_EQ(0, init_guest(t, &t->guests[i]));

	run(t, seconds);

	report(_metadata, t);
	for (i = 0; i < GUESTS; i++)
		vmm_destroy(&t->guests[i].vmm);
	EXPECT_EQ(2, consumers_of(env->fd));
	for (i = 0; i < 2; i++)
		EXPECT_LE(0, mdma_unmap_all(&env->dev[i]));
	EXPECT_EQ(0, consumers_of(env->fd));
	free(t);
}

FIXTURE(kvm_torture)
{
	struct test_env env;
};

FIXTURE_SETUP(kvm_torture)
{
	self->env.dev[0] = (struct mdma)MDMA_INIT;
	self->env.dev[1] = (struct mdma)MDMA_INIT;
	if (!has_kvm())
		SKIP(return, "needs KVM");
}

FIXTURE_TEARDOWN(kvm_torture)
{
	env_teardown(&self->env);
}

TEST_F(kvm_torture, small_pages)
{
	int ret = env_setup(&self->env, HUGE_PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	stay_on_one_cpu(false);
	ASSERT_EQ(0, env_keep_followed(&self->env));
	torture(_metadata, &self->env, false);
}

TEST_F(kvm_torture, huge_pages)
{
	int ret = env_setup(&self->env, REGIONS * HUGE_PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	if (env_thp(&self->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	stay_on_one_cpu(false);
	ASSERT_EQ(0, env_keep_followed(&self->env));
	torture(_metadata, &self->env, true);
}

TEST_HARNESS_MAIN
