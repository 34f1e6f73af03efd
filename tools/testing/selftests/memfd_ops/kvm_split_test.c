// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of a vCPU while the folio is split, a page leaves, or a memslot is deleted: with
 * the fault, the split or the invalidation stopped at the worst moment, and at random.
 *
 * Only the guest maps the file, except for move_pages().
 */
#include "lib/harness.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "lib/hold.h"
#include "lib/kvm_fixtures.h"
#include "lib/kvm_mm.h"
#include "lib/random.h"

#define PAGES	16

/* Where the second memslot has page 0 of the file, in pages of the guest */
#define SECOND	(8 * HUGE_PAGES)

/*
 * Calls of other threads
 */

struct call {
	__s64 (*function)(struct guest *g, size_t what, size_t pages);
	struct guest *g;
	size_t what, pages;	/* a page, or a memslot */
	int (*held_by)(void);	/* hold_fault() or hold_split(), if it is to be held */
	int hold;
	pid_t tid;
	sem_t begun;
	pthread_t thread;
	__s64 ret;
	volatile bool done;
};

static int split_by_debugfs(struct guest *g, size_t first, size_t pages)
{
	char text[80];

	snprintf(text, sizeof(text), "/proc/self/fd/%d,0x%zx,0x%zx", g->env.fd, first,
		 first + pages);
	return write_file("/sys/kernel/debug/split_huge_pages", text);
}

static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static __s64 call_read(struct guest *g, size_t page, size_t pages)
{
	return vmm_read(vcpu_of(g), gpa_of(page));
}

static __s64 call_punch(struct guest *g, size_t page, size_t pages)
{
	return punch(g->env.fd, page, pages);
}

static __s64 call_split(struct guest *g, size_t page, size_t pages)
{
	stay_on(1);
	return split_by_debugfs(g, page, pages);
}

static __s64 call_delete(struct guest *g, size_t slot, size_t pages)
{
	return vmm_delete_slot(&g->vmm, slot);
}

static void *run_call(void *arg)
{
	struct call *call = arg;

	call->tid = gettid();
	call->hold = call->held_by ? call->held_by() : 0;
	sem_post(&call->begun);
	if (call->hold >= 0)
		call->ret = call->function(call->g, call->what, call->pages);
	else
		call->ret = call->hold;
	call->done = true;
	return NULL;
}

static int start(struct call *call)
{
	int ret;

	sem_init(&call->begun, 0, 0);
	ret = pthread_create(&call->thread, NULL, run_call, call);
	if (ret)
		return -ret;
	while (sem_wait(&call->begun))
		;
	return call->hold < 0 ? call->hold : 0;
}

/* Wait until that call sleeps, and no signal would end that; or until it has ended. */
static void wait_until_asleep(struct call *call)
{
	char path[48], line[256] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", call->tid);
	while (!call->done && !strstr(line, ") D ")) {
		sched_yield();
		if (read_line(path, line, sizeof(line)))
			return;
	}
}

static __s64 end(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->ret;
}

/* The faults of the VM, whether KVM has mapped a page for them or has to retry */
static long faults_begun(struct guest *g)
{
	char path[80], line[32] = "";

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/pf_taken", getpid(),
		 g->vmm.fd);
	return read_line(path, line, sizeof(line)) ? -1 : atol(line);
}

/* Wait until that call, of a vCPU, has ended, or has faulted several times in vain. */
static void wait_for_retries(struct call *call)
{
	const long enough = faults_begun(call->g) + 3;

	while (!call->done && faults_begun(call->g) < enough)
		sched_yield();
}

/*
 * The file
 */

static int write_words(struct guest *g, size_t page, __u32 value)
{
	unsigned char words[PAGE];

	put_words(words, value);
	return pwrite(g->env.fd, words, PAGE, page * PAGE) == PAGE ? 0 : -errno;
}

/* Fill page n with @value + n, not through a mapping. */
static int write_pages(struct guest *g, size_t pages, __u32 value)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < pages && !ret; i++)
		ret = write_words(g, i, value + i);
	return ret;
}

static bool guest_sees_others(struct guest *g, size_t pages, size_t but, __u32 value)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (i != but && !guest_sees(g, i, value + i)) {
			note("page %zu", i);
			return false;
		}
	return true;
}

/*
 * The huge folios of the machine that have been split. Not by counter(): that waits for
 * each CPU, one of which may be busy with a fault that is held.
 */
static long folios_split(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	long value = -1;
	char line[128];

	while (file && value < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "thp_split_page %ld", &value);
	if (file)
		fclose(file);
	return value;
}

/* A vCPU that has run does nothing under mmu_lock before its next fault. */
static int warm_up(struct guest *g)
{
	__s64 ret = vmm_read(vcpu_of(g), VMM_LOW_FREE);

	return ret < 0 ? ret : 0;
}

/*
 * The fault that is held has looked up a huge folio. With its reference on it, neither debugfs
 * nor the hole can split the folio; and the fault starts over until the hole is done.
 */
TEST_F(holes, split_during_a_fault)
{
	const size_t hole = 77;
	struct guest *g = &self->g;
	struct call fault = { .function = call_read, .g = g, .held_by = hold_fault };
	struct call puncher = { .function = call_punch, .g = g, .what = hole, .pages = 1 };
	long splits;
	int hold;

	if (!has_hold())
		SKIP(return, NEEDS_HOLD);
	if (env_thp(&g->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(g->env.fd, 0, HUGE_PAGES));
	ASSERT_TRUE(is_huge(g->env.mem));
	ASSERT_EQ(0, madvise(g->env.mem, HUGE, MADV_DONTNEED));
	ASSERT_EQ(0, write_pages(g, HUGE_PAGES, 100));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(0, warm_up(g));

	ASSERT_EQ(0, start(&fault));
	ASSERT_EQ(0, hold_wait(fault.hold));
	splits = folios_split();
	ASSERT_EQ(0, split_by_debugfs(g, 0, HUGE_PAGES));
	EXPECT_EQ(splits, folios_split());
	hold = hold_invalidation(g->env.fd, hole, 1);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, start(&puncher));
	ASSERT_EQ(0, hold_wait(hold));
	close(fault.hold);
	wait_for_retries(&fault);
	EXPECT_FALSE(fault.done);
	close(hold);
	EXPECT_EQ(0, end(&puncher));
	EXPECT_EQ(100, end(&fault));

	EXPECT_EQ(HUGE_PAGES - 1, allocated(g->env.fd));
	EXPECT_TRUE(is_hole(g, variant->flags, hole));
	EXPECT_TRUE(guest_sees_others(g, HUGE_PAGES, hole, 100));
}

/* KVM zaps the page's entry, and marks the folio accessed. */
static int flip(struct guest *g, size_t page)
{
	int ret = vmm_set_private(&g->vmm, gpa_of(page), PAGE, false);

	return ret ? ret : vmm_set_private(&g->vmm, gpa_of(page), PAGE, true);
}

/* KVM zaps an entry for the folio, which it has zapped that often, while it is frozen. */
static void zap_while_frozen(struct __test_metadata *_metadata, struct guest *g, int zaps)
{
	struct call split = {
		.function = call_split, .g = g, .pages = HUGE_PAGES, .held_by = hold_split,
	};
	long splits;

	ASSERT_EQ(0, punch(g->env.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	while (zaps--) {
		ASSERT_EQ(0, flip(g, 3));
		ASSERT_TRUE(guest_sees(g, 3, 33));
	}
	ASSERT_EQ(1, huge_entries(g));

	splits = folios_split();
	ASSERT_EQ(0, start(&split));
	ASSERT_EQ(0, hold_wait(split.hold));
	EXPECT_EQ(0, flip(g, 3));
	EXPECT_FALSE(split.done);
	close(split.hold);
	EXPECT_EQ(0, end(&split));
	EXPECT_EQ(splits + 1, folios_split());

	EXPECT_TRUE(guest_sees(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, 4, 0));
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_EQ(HUGE_PAGES, allocated(g->env.fd));
}

/*
 * A folio that is split is frozen: nobody can take a reference, KVM neither. It does so
 * when it zaps an entry, to mark the folio active; which happens once, depending on what
 * marked it accessed before. So KVM must have no entry for a folio that is frozen.
 */
TEST_F(holes, zap_while_the_folio_is_frozen)
{
	struct guest *g = &self->g;
	int zaps;

	if (!has_hold())
		SKIP(return, NEEDS_HOLD);
	if (env_thp(&g->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	stay_on(0);
	for (zaps = 0; zaps < 3; zaps++)
		zap_while_frozen(_metadata, g, zaps);
}

/*
 * A memslot is deleted while a fault uses it: the deletion waits for the fault, and a hole
 * for neither. Of the hole's page, the fault has the last reference.
 */
TEST_F(holes, unbind_during_a_fault)
{
	struct guest *g = &self->g;
	struct call fault = { .function = call_read, .g = g, .what = 3, .held_by = hold_fault };
	struct call deletion = { .function = call_delete, .g = g, .what = SLOT };
	long free;

	if (!has_hold())
		SKIP(return, NEEDS_HOLD);
	if (env_thp(&g->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(g->env.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, write_pages(g, HUGE_PAGES, 100));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(0, warm_up(g));

	free = mem_free_kib();

	ASSERT_EQ(0, start(&fault));
	ASSERT_EQ(0, hold_wait(fault.hold));
	ASSERT_EQ(0, start(&deletion));
	wait_until_asleep(&deletion);
	EXPECT_EQ(0, punch(g->env.fd, 0, HUGE_PAGES));
	EXPECT_EQ(0, allocated(g->env.fd));
	EXPECT_FALSE(fault.done);
	EXPECT_FALSE(deletion.done);

	close(fault.hold);
	EXPECT_EQ(0, end(&deletion));
	EXPECT_TRUE(faulted_at(vcpu_of(g), end(&fault), -EFAULT, gpa_of(3)));
	EXPECT_EQ(0, consumers_with_window(g->env.fd, "kvm", 0, HUGE_PAGES));
	EXPECT_EQ(0, allocated(g->env.fd));
	EXPECT_LT(HUGE / 2048, mem_free_kib() - free);

	/* no invalidation is left in the VM's count */
	ASSERT_EQ(0, grow(g->env.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	EXPECT_TRUE(guest_sees(g, 3, 0));
	EXPECT_EQ(0, guest_fill(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, 3, 33));
}

FIXTURE(two_slots)
{
	struct guest g;
};

FIXTURE_VARIANT(two_slots)
{
	__u32 flags, deleted;
};

FIXTURE_VARIANT_ADD(two_slots, fill_first)
{
	.flags = FILL,
	.deleted = SLOT,
};

FIXTURE_VARIANT_ADD(two_slots, fill_second)
{
	.flags = FILL,
	.deleted = SLOT + 1,
};

FIXTURE_VARIANT_ADD(two_slots, keep_first)
{
	.flags = KEEP,
	.deleted = SLOT,
};

FIXTURE_VARIANT_ADD(two_slots, keep_second)
{
	.flags = KEEP,
	.deleted = SLOT + 1,
};

FIXTURE_SETUP(two_slots)
{
	struct guest *g = &self->g;
	int ret = guest_setup(g, ROOM / PAGE);

	if (g->env.lacks)
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, ret);
	if (!has_hold())
		SKIP(return, NEEDS_HOLD);
	ASSERT_EQ(0, write_pages(g, PAGES, 100));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, PAGES));
	ASSERT_EQ(0, put_slot(g, SLOT + 1, variant->flags, SECOND, 0, PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(SECOND), PAGES * PAGE, true));
}

FIXTURE_TEARDOWN(two_slots)
{
	guest_teardown(&self->g);
}

/*
 * One memslot is deleted during an invalidation. The other one must not map the page
 * until it has left; and when it has, nothing of the invalidation is left.
 */
TEST_F(two_slots, one_is_deleted_during_an_invalidation)
{
	const size_t hole = 3, other = variant->deleted == SLOT ? SECOND : 0;
	const size_t deleted = SECOND - other;
	struct guest *g = &self->g;
	struct call fault = { .function = call_read, .g = g, .what = other + hole };
	struct call puncher = { .function = call_punch, .g = g, .what = hole, .pages = 1 };
	int hold;

	ASSERT_EQ(100 + hole, vmm_read(vcpu_of(g), gpa_of(hole)));
	ASSERT_EQ(100 + hole, vmm_read(vcpu_of(g), gpa_of(SECOND + hole)));
	hold = hold_invalidation(g->env.fd, hole, 1);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, start(&puncher));
	ASSERT_EQ(0, hold_wait(hold));

	EXPECT_EQ(0, vmm_delete_slot(&g->vmm, variant->deleted));
	EXPECT_FALSE(puncher.done);
	ASSERT_EQ(0, start(&fault));
	wait_for_retries(&fault);
	EXPECT_FALSE(fault.done);

	close(hold);
	EXPECT_EQ(0, end(&puncher));
	if (variant->flags == KEEP) {
		EXPECT_TRUE(faulted_at(vcpu_of(g), end(&fault), -EFAULT,
				       gpa_of(other + hole)));
	} else {
		EXPECT_EQ(0, end(&fault));
	}

	/* both can map the page again */
	ASSERT_EQ(0, grow(g->env.fd, hole, 1));
	ASSERT_EQ(0, put_slot(g, variant->deleted, variant->flags, deleted, 0, PAGES));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa_of(deleted + hole), 33));
	EXPECT_EQ(33, vmm_read(vcpu_of(g), gpa_of(other + hole)));
	EXPECT_EQ(100 + PAGES - 1, vmm_read(vcpu_of(g), gpa_of(deleted + PAGES - 1)));
}

/*
 * At random
 */

#define REGIONS		2	/* of 2 MiB */
#define ALL_PAGES	(REGIONS * HUGE_PAGES)
#define HOLES		60

enum {
	READS, WRITES, HOLE_READS, SINGLE_HOLES, FRESH_REGIONS, SPLITS, MOVES, FLIPS,
	HUGE_ENTRIES, NR_COUNTS
};

static const char * const count_names[] = {
	"reads", "writes", "reads of holes", "holes of a page", "regions made again",
	"splits by debugfs", "folios moved", "pages shared for a while",
	"looks at entries of 2 MiB",
};

struct page {
	pthread_mutex_t lock;	/* of what follows, and of the page's attributes */
	__u32 stamp;		/* its first word */
	bool hole;
};

struct race {
	struct guest *g;
	__u32 flags;
	struct page pages[ALL_PAGES];
	pthread_mutex_t splitting;	/* so that each split has one cause */
	long counts[NR_COUNTS];
	volatile long wrong;
	volatile bool stop;
};

struct actor {
	struct race *race;
	void (*act)(struct actor *a);
	int vcpu;
	__u64 random;
	pthread_t thread;
};

static void count(struct race *race, int what)
{
	__atomic_add_fetch(&race->counts[what], 1, __ATOMIC_RELAXED);
}

static size_t lock_a_page(struct actor *a)
{
	size_t page = pick(&a->random, ALL_PAGES);

	pthread_mutex_lock(&a->race->pages[page].lock);
	return page;
}

static void unlock_page(struct actor *a, size_t page)
{
	pthread_mutex_unlock(&a->race->pages[page].lock);
}

static bool has_data(struct race *race, size_t page)
{
	return lseek(race->g->env.fd, page * PAGE, SEEK_DATA) == (off_t)(page * PAGE);
}

/*
 * The page is locked. A hole in a huge folio that could not be split is zeros. If nobody
 * has used the folio since fallocate(2), SEEK_DATA finds none, until the guest reads it.
 */
static void check_page(struct actor *a, size_t page)
{
	struct race *race = a->race;
	struct page *p = &race->pages[page];
	struct vmm_vcpu *vcpu = &race->g->vmm.vcpu[a->vcpu];
	__s64 ret = vmm_read(vcpu, gpa_of(page));

	count(race, p->hole ? HOLE_READS : READS);
	if (p->hole && race->flags == KEEP) {
		if (is_hole_exit(vcpu, ret, gpa_of(page)))
			return;
		if (!ret && has_data(race, page)) {
			p->hole = false;
			return;
		}
	} else if (ret == p->stamp) {
		p->hole = false;
		return;
	}
	note("WRONG: page %zu: %lld (%llx), expected %x%s", page, ret, ret, p->stamp,
	     p->hole ? ", a hole" : "");
	race->wrong++;
}

static void use_a_page(struct actor *a)
{
	struct race *race = a->race;
	size_t page = lock_a_page(a);
	struct page *p = &race->pages[page];
	__u32 stamp = 1 + pick(&a->random, INT_MAX);

	check_page(a, page);
	if (pick(&a->random, 2)) {
		if (p->hole)
			race->wrong += grow(race->g->env.fd, page, 1) != 0;
		p->hole = false;
		race->wrong += vmm_write(&race->g->vmm.vcpu[a->vcpu], gpa_of(page),
					 stamp) != 0;
		p->stamp = stamp;
		count(race, WRITES);
	}
	unlock_page(a, page);
}

/* Punch the region and fill it by a huge folio. */
static void renew_a_region(struct actor *a)
{
	size_t i, first = pick(&a->random, REGIONS) * HUGE_PAGES;
	struct race *race = a->race;
	struct page *p = &race->pages[first];

	for (i = 0; i < HUGE_PAGES; i++)
		pthread_mutex_lock(&p[i].lock);
	race->wrong += punch(race->g->env.fd, first, HUGE_PAGES) != 0;
	race->wrong += grow(race->g->env.fd, first, HUGE_PAGES) != 0;
	for (i = 0; i < HUGE_PAGES; i++) {
		p[i].stamp = 0;
		p[i].hole = false;
		pthread_mutex_unlock(&p[i].lock);
	}
	count(race, FRESH_REGIONS);
}

static void punch_a_page(struct actor *a)
{
	struct race *race = a->race;
	size_t page;

	pthread_mutex_lock(&race->splitting);
	page = lock_a_page(a);
	race->wrong += punch(race->g->env.fd, page, 1) != 0;
	pthread_mutex_unlock(&race->splitting);
	race->pages[page].stamp = 0;
	/* a reference on the huge folio has it zeroed instead */
	race->pages[page].hole = !has_data(race, page);
	check_page(a, page);
	unlock_page(a, page);
	count(race, SINGLE_HOLES);
	if (!pick(&a->random, 4))
		renew_a_region(a);
}

static void split_a_region(struct actor *a)
{
	size_t first = pick(&a->random, REGIONS) * HUGE_PAGES;
	struct race *race = a->race;
	long before;

	pthread_mutex_lock(&race->splitting);
	before = folios_split();
	race->wrong += split_by_debugfs(race->g, first, HUGE_PAGES) != 0;
	if (folios_split() > before)
		count(race, SPLITS);
	pthread_mutex_unlock(&race->splitting);
	if (huge_entries(race->g) > 0)
		count(race, HUGE_ENTRIES);
}

/* move_pages() takes pages that are mapped. */
static void move_a_page(struct actor *a)
{
	size_t page = lock_a_page(a), first = page & ~(HUGE_PAGES - 1);
	struct test_env *env = &a->race->g->env;
	int node = pick(&a->random, 2), status = -1;
	void *addr = at(env, page);

	if (!a->race->pages[page].hole) {
		(void)*(volatile char *)addr;
		if (!syscall(SYS_move_pages, 0, 1, &addr, NULL, &status, 0) &&
		    status == !node &&
		    !syscall(SYS_move_pages, 0, 1, &addr, &node, &status, MPOL_MF_MOVE) &&
		    status == node)
			count(a->race, MOVES);
		madvise(at(env, first), HUGE, MADV_DONTNEED);
	}
	unlock_page(a, page);
}

static void flip_a_page(struct actor *a)
{
	size_t page = lock_a_page(a);
	struct vmm *vmm = &a->race->g->vmm;

	a->race->wrong += vmm_set_private(vmm, gpa_of(page), PAGE, false) != 0;
	sched_yield();
	a->race->wrong += vmm_set_private(vmm, gpa_of(page), PAGE, true) != 0;
	unlock_page(a, page);
	count(a->race, FLIPS);
}

static void *act(void *arg)
{
	struct actor *a = arg;

	while (!a->race->stop && !a->race->wrong)
		a->act(a);
	return NULL;
}

/* Were there enough holes, and each of the others at least once? */
static bool enough(struct race *race)
{
	int i = 0;

	while (i < NR_COUNTS && race->counts[i])
		i++;
	return race->counts[SINGLE_HOLES] >= HOLES && i == NR_COUNTS;
}

static void run(struct race *race, unsigned int seed)
{
	void (* const acts[])(struct actor *a) = {
		use_a_page, use_a_page, punch_a_page, split_a_region, move_a_page,
		flip_a_page,
	};
	struct actor actors[ARRAY_SIZE(acts)];
	const time_t last = time(NULL) + LONGEST;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(acts); i++) {
		actors[i] = (struct actor){
			.race = race,
			.act = acts[i],
			.vcpu = i < 3 ? i : 0,
			.random = seed * 0x9e3779b97f4a7c15ULL + i + 1,
		};
		if (pthread_create(&actors[i].thread, NULL, act, &actors[i]))
			abort();
	}
	while (!enough(race) && !race->wrong && time(NULL) < last)
		usleep(100000);
	race->stop = true;
	for (i = 0; i < ARRAY_SIZE(acts); i++)
		pthread_join(actors[i].thread, NULL);
}

FIXTURE(race)
{
	struct guest g;
};

FIXTURE_VARIANT(race)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(race, fill)
{
	.flags = FILL,
};

FIXTURE_VARIANT_ADD(race, keep)
{
	.flags = KEEP,
};

FIXTURE_SETUP(race)
{
	struct guest *g = &self->g;

	g->vmm = (struct vmm)VMM_INIT;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ASSERT_EQ(0, env_setup_memory(&g->env, ALL_PAGES));
	stay_on_one_cpu(false);
	ASSERT_EQ(0, guest_create(g, 3));
}

FIXTURE_TEARDOWN(race)
{
	guest_teardown(&self->g);
}

TEST_F(race, at_random)
{
	struct guest *g = &self->g;
	struct race *race = calloc(1, sizeof(*race));
	struct actor me = { .race = race };
	unsigned int seed = test_seed();
	size_t i;

	ASSERT_NE(NULL, race);
	if (!has_second_node())
		SKIP(return, "needs a second node");
	if (env_thp(&g->env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	race->g = g;
	race->flags = variant->flags;
	pthread_mutex_init(&race->splitting, NULL);
	for (i = 0; i < ALL_PAGES; i++)
		pthread_mutex_init(&race->pages[i].lock, NULL);
	ASSERT_EQ(0, grow(g->env.fd, 0, ALL_PAGES));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, ALL_PAGES));

	run(race, seed);
	for (i = 0; i < ALL_PAGES && !race->wrong; i++)
		check_page(&me, i);
	EXPECT_EQ(0, race->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
	for (i = 0; i < NR_COUNTS; i++) {
		note("%ld %s", race->counts[i], count_names[i]);
		EXPECT_LT(0, race->counts[i])
			TH_LOG("no %s", count_names[i]);
	}
	free(race);
}

TEST_HARNESS_MAIN
