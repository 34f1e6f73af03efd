// SPDX-License-Identifier: GPL-2.0
/*
 * Two VMs, two devices and a file, and threads that do everything at once, at
 * random: guests access memory, the file gets and loses pages, devices copy,
 * memslots come and go, memory is made shared and private.
 *
 * MEMFD_OPS_SEED=n repeats a run's choices, though not the threads' timing.
 * MEMFD_OPS_SECONDS=n sets how long each of the two tests runs.
 *
 * How it is known what must be seen:
 *
 * - The file has regions, each with a lock, under which its pages come and go and
 *   are stamped: their first and last word say which page this is, and how often
 *   it was stamped before. A region's epoch is odd meanwhile.
 * - Most accesses are made without any lock. Where the epoch did not move, they
 *   must have met exactly what was known; where it did, at least nothing that was
 *   in the file before a hole that was complete when the access began.
 * - So it is with what a guest has: a lock, under which its memslot and its
 *   attributes change, and sequences that tell who did not take it.
 * - In calm regions, every other one, holes are filled under the lock only, so that
 *   what is known to be a hole is one.
 * - Now and then all stands still, and file, devices and guests are compared.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "kvm_rig.h"
#include "../kselftest_harness.h"

#define REGIONS		16
#define MAX_PAGES	(REGIONS * HUGE_PAGES)
#define GUESTS		2
#define VCPUS		2	/* of each guest */
#define FILE_THREADS	2
#define SLOT		1
#define PATIENCE	60	/* seconds, for all threads to stand still */

/*
 * A region that guests have shared memory for, always, and so MMIO exits where
 * there is no memslot. Elsewhere there are none: KVM keeps in its page tables
 * where it found no memory. Should there be private memory later, it takes an
 * access for one to shared memory, and each KVM_RUN fails (guest_memfd, too).
 */
#define OPEN_REGION	0

/*
 * The words of a page
 */

#define FIRST_WORD	0
#define LAST_WORD	(PAGE_WORDS - 1)
#define OWN_WORD(id)	(16 + (id))	/* each vCPU writes there without any lock */
#define TOUCH_WORD(id)	(32 + (id))	/* and there to many pages at once */
#define LANDING(dev)	(512 + 16 * (dev))	/* what a device copies comes here */
#define COPY_WORDS	16

enum kind { EMPTY, STAMP, SHARED, OWN, TOUCH };

static __u32 word_of(enum kind kind, size_t page, unsigned int serial)
{
	return (__u32)kind << 29 | page << 16 | (serial & 0xffff);
}

static enum kind kind_of(__u32 word)
{
	return word >> 29;
}

static size_t page_of(__u32 word)
{
	return word >> 16 & (MAX_PAGES - 1);
}

/* Serials go round. */
static bool before(unsigned int a, unsigned int b)
{
	return (__s16)(a - b) < 0;
}

/*
 * State
 */

enum count {
	FILLS, HOLES, TRUNCATIONS, PREADS, POPULATES,
	READS, WRITES, TOUCHES, STAMPS, HOLE_EXITS, RESUMED, MMIO_EXITS,
	SLOTS_ADDED, SLOTS_DELETED, ATTRIBUTES, VMS,
	COPIES, FAULTS, WILD_COPIES, EXACT, ROUGH, QUIET, LOADS,
	KEPT, CHANGED_EXITS, NR_COUNTS
};

static const char * const count_names[] = {
	"fills", "holes", "truncations", "preads", "populates",
	"guest reads", "guest writes", "touches", "stamps", "exits for holes",
	"of them resumed", "exits for MMIO",
	"memslots added", "deleted", "attribute changes", "other VMs",
	"copies", "copies that had to fault", "copies without lock",
	"exact checks", "rough ones", "stand-stills", "pages loaded there",
	"holes zeroed, not freed", "exits since attributes changed",
};

/* What is known of a page; changed under the region's lock */
struct page {
	atomic_uint serial;	/* of the last stamp */
	atomic_uint oldest;	/* stamps before this one are gone */
	atomic_uint stamp;	/* 0 if there is none */
	atomic_bool present;	/* it is in the file; if not, in a calm region it is not */
};

struct region {
	pthread_mutex_t lock;
	atomic_uint epoch;	/* odd while pages change */
};

struct guest {
	const char *name;
	struct vmm vm;
	__u32 flags;		/* of its memslot */
	__u32 gpa;		/* of page 0; a page is always at the same place */
	__u32 *shared;		/* its shared memory, each page with a stamp */
	pthread_rwlock_t lock;	/* for writing: what follows changes */
	atomic_uint slot_seq;	/* odd meanwhile */
	atomic_uint attr_seq[REGIONS];
	atomic_size_t first, pages;	/* the memslot, no pages if there is none */
	atomic_bool is_shared[MAX_PAGES];
};

struct torture {
	struct rig *r;
	bool huge;
	unsigned int seed;
	size_t region_pages;
	pthread_rwlock_t world;	/* for writing: everything stands still */
	atomic_uint cut;	/* odd while the file is shorter */
	struct region regions[REGIONS];
	struct page pages[MAX_PAGES];
	struct guest guests[GUESTS];
	atomic_bool stop;
	atomic_int wrong;
	atomic_long counts[NR_COUNTS];
};

struct actor {
	struct torture *t;
	pthread_t thread;
	__u64 random;
	void (*act)(struct actor *a);
	struct guest *g;	/* of a vCPU's thread */
	int vcpu, id;		/* of this guest's, and of all */
	unsigned int serial;
	int turn;		/* of a device's */
};

static __u64 pick(struct actor *a, __u64 below)
{
	a->random ^= a->random << 13;
	a->random ^= a->random >> 7;
	a->random ^= a->random << 17;
	return a->random % below;
}

/* What comes after the first ones is told by them. */
#define WRONG(t, fmt, ...) do {					\
	if ((t)->wrong++ < 20)					\
		note("WRONG: " fmt, ##__VA_ARGS__);		\
} while (0)

static size_t region_of(struct torture *t, size_t page)
{
	return page / t->region_pages;
}

static bool is_calm(size_t region)
{
	return region % 2;
}

/* Some region, locked. One that is not in use, since a copy takes its time. */
static size_t lock_some_region(struct actor *a)
{
	size_t region;

	do {
		region = pick(a, REGIONS);
	} while (pthread_mutex_trylock(&a->t->regions[region].lock));
	return region;
}

static void unlock_region(struct torture *t, size_t region)
{
	pthread_mutex_unlock(&t->regions[region].lock);
}

static void begin_change(struct torture *t, size_t region)
{
	t->regions[region].epoch++;
}

static void end_change(struct torture *t, size_t region)
{
	size_t first = region * t->region_pages, i;
	unsigned char have[HUGE_PAGES];

	if (mincore(at(t->r, first), t->region_pages * PAGE, have))
		WRONG(t, "mincore: %m");
	for (i = 0; i < t->region_pages; i++)
		t->pages[first + i].present = have[i] & 1;
	t->regions[region].epoch++;
}

/* A word of the file; 0 in a hole, which is not filled. */
static __u32 file_word(struct torture *t, size_t page, size_t word)
{
	__u32 value = 0;

	if (pread(t->r->fd, &value, sizeof(value), page * PAGE + word * 4) < 0)
		WRONG(t, "pread: %m");
	return value;
}

/*
 * What the devices reach: all of the file, and its second half
 */

static size_t window_start(struct torture *t, int dev)
{
	return dev ? t->r->pages / 2 : 0;
}

static void devices_lack(struct torture *t, size_t first, size_t end)
{
	struct vfio_mdma_query q;
	struct mdma *m;
	size_t from;
	int i, ret;

	for (i = 0; i < 2; i++) {
		m = &t->r->dev[i];
		from = window_start(t, i) > first ? window_start(t, i) : first;
		if (from >= end)
			continue;
		ret = mdma_query(m, iova_of(m, from), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
		if (ret ? ret != -ENOENT : q.iova < iova_of(m, end))
			WRONG(t, "%zu-%zu are gone, device %d reaches page %llu (%d)",
			      first, end - 1, i, q.offset / PAGE, ret);
	}
}

static void devices_have(struct torture *t, size_t first, size_t end)
{
	struct vfio_mdma_query q;
	struct mdma *m;
	size_t from;
	int i, ret;

	for (i = 0; i < 2; i++) {
		m = &t->r->dev[i];
		from = window_start(t, i) > first ? window_start(t, i) : first;
		if (from >= end)
			continue;
		ret = mdma_query(m, iova_of(m, from), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
		if (ret || q.iova != iova_of(m, from) || q.size < (end - from) * PAGE)
			WRONG(t, "%zu-%zu are there, device %d does not reach all", first,
			      end - 1, i);
	}
}

/*
 * Pages that come and go. The region is locked in all of this.
 */

static __u32 new_stamp(struct torture *t, size_t page)
{
	return word_of(STAMP, page, ++t->pages[page].serial);
}

/* Pages have left the file: nothing of what they were may be there. */
static void lost(struct torture *t, size_t first, size_t end)
{
	size_t page;

	for (page = first; page < end; page++) {
		t->pages[page].stamp = 0;
		t->pages[page].oldest = t->pages[page].serial + 1;
		if (file_word(t, page, FIRST_WORD) || file_word(t, page, LAST_WORD))
			WRONG(t, "page %zu was punched and has still %08x, %08x", page,
			      file_word(t, page, FIRST_WORD),
			      file_word(t, page, LAST_WORD));
	}
}

/* In a huge folio that somebody else had in hand at that moment, holes are zeroed. */
static void check_hole(struct torture *t, size_t first, size_t end)
{
	size_t left = in_core_pages(at(t->r, first), end - first);

	if (!is_calm(region_of(t, first)))
		return;
	if (!left)
		devices_lack(t, first, end);
	else if (t->huge)
		t->counts[KEPT]++;
	else
		WRONG(t, "%zu-%zu were punched, %zu are still there", first, end - 1, left);
}

static void make_hole(struct actor *a, size_t first, size_t end)
{
	struct torture *t = a->t;
	size_t region = region_of(t, first);
	int ret;

	begin_change(t, region);
	if (pick(a, 2))
		ret = punch(t->r->fd, first, end - first);
	else
		ret = madvise(at(t->r, first), (end - first) * PAGE, MADV_REMOVE) ?
		      -errno : 0;
	if (ret)
		WRONG(t, "hole: %s", strerror(-ret));
	check_hole(t, first, end);
	lost(t, first, end);
	end_change(t, region);
	t->counts[HOLES]++;
}

static void stamp_by_pwrite(struct torture *t, size_t page)
{
	__u32 word = new_stamp(t, page);

	if (pwrite(t->r->fd, &word, 4, page * PAGE + FIRST_WORD * 4) != 4 ||
	    pwrite(t->r->fd, &word, 4, page * PAGE + LAST_WORD * 4) != 4)
		WRONG(t, "pwrite: %m");
	t->pages[page].stamp = word;
}

static void stamp_by_store(struct torture *t, size_t page)
{
	volatile __u32 *words = (__u32 *)at(t->r, page);

	words[FIRST_WORD] = new_stamp(t, page);
	words[LAST_WORD] = words[FIRST_WORD];
	t->pages[page].stamp = words[FIRST_WORD];
}

static void make_pages(struct actor *a, size_t first, size_t end)
{
	struct torture *t = a->t;
	size_t region = region_of(t, first), page;
	int how = pick(a, 4);

	begin_change(t, region);
	switch (how) {
	case 0:
		if (grow(t->r->fd, first, end - first))
			WRONG(t, "fallocate: %m");
		break;
	case 1:
		if (madvise(at(t->r, first), (end - first) * PAGE, MADV_POPULATE_WRITE))
			WRONG(t, "populate: %m");
		break;
	default:
		end = end - first < 16 ? end : first + 16;
		for (page = first; page < end; page++) {
			if (how == 2)
				stamp_by_pwrite(t, page);
			else
				stamp_by_store(t, page);
		}
		break;
	}
	devices_have(t, first, end);
	end_change(t, region);
	t->counts[FILLS]++;
}

/*
 * What a guest may see
 */

/* What is known before an access without lock */
struct view {
	struct guest *g;
	size_t page;
	unsigned int epoch, slot_seq, attr_seq, cut, oldest;
	__u32 stamp;
	bool present, in_slot, is_shared;
};

static struct view look(struct torture *t, struct guest *g, size_t page)
{
	size_t region = region_of(t, page);
	struct view v = { .g = g, .page = page };

	v.epoch = t->regions[region].epoch;
	v.cut = t->cut;
	v.oldest = t->pages[page].oldest;
	v.stamp = t->pages[page].stamp;
	v.present = t->pages[page].present;
	if (!g)
		return v;
	v.slot_seq = g->slot_seq;
	v.attr_seq = g->attr_seq[region];
	v.in_slot = page - g->first < g->pages;
	v.is_shared = g->is_shared[page];
	return v;
}

static bool same(unsigned int then, atomic_uint *now)
{
	return !(then % 2) && *now == then;
}

static bool page_same(struct torture *t, const struct view *v)
{
	return same(v->epoch, &t->regions[region_of(t, v->page)].epoch);
}

static bool guest_same(struct torture *t, const struct view *v)
{
	return same(v->slot_seq, &v->g->slot_seq) &&
	       same(v->attr_seq, &v->g->attr_seq[region_of(t, v->page)]);
}

/* A word that is not from before the last hole that was complete then, or is zero */
static bool not_stale(struct torture *t, const struct view *v, __u32 word)
{
	unsigned int newest = t->pages[v->page].serial;

	return !word || (kind_of(word) == STAMP && page_of(word) == v->page &&
			 !before(word, v->oldest) && !before(newest, word));
}

/* What the file's first or last word was read as */
static void check_stamp(struct torture *t, const struct view *v, __u32 word,
			const char *who)
{
	if (page_same(t, v)) {
		t->counts[EXACT]++;
		if (word != v->stamp)
			WRONG(t, "%s: %08x in page %zu, expected %08x", who, word, v->page,
			      v->stamp);
	} else {
		t->counts[ROUGH]++;
		if (!not_stale(t, v, word))
			WRONG(t, "%s: %08x in page %zu, whose oldest stamp is %04x", who,
			      word, v->page, v->oldest & 0xffff);
	}
}

static void check_guest_word(struct torture *t, const struct view *v, __u32 word)
{
	const __u32 shared = word_of(SHARED, v->page, 0);

	if (!guest_same(t, v)) {
		t->counts[ROUGH]++;
		if (word != shared && !not_stale(t, v, word))
			WRONG(t, "guest: %08x in page %zu, which is changed", word, v->page);
	} else if (v->is_shared) {
		t->counts[EXACT]++;
		if (word != shared)
			WRONG(t, "guest: %08x in shared page %zu", word, v->page);
	} else {
		check_stamp(t, v, word, "guest");
	}
}

enum op_end { OK, HOLE, MMIO, OTHER };

/* How an op ended that accesses @addr, and if it did not, where. */
static enum op_end outcome_of(struct vmm_vcpu *vcpu, __s64 ret, __u32 *addr)
{
	struct kvm_run *run = vcpu->run;

	if (ret >= 0)
		return OK;
	if (ret == -EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	    run->memory_fault.size == PAGE) {
		*addr = run->memory_fault.gpa;
		return HOLE;
	}
	if (ret == -EPROTO && run->exit_reason == KVM_EXIT_MMIO) {
		*addr = run->mmio.phys_addr;
		return MMIO;
	}
	return OTHER;
}

/* Private memory, and the memslot has it: is it there? */
static bool may_private(struct torture *t, const struct view *v, enum op_end outcome)
{
	bool keeps = v->g->flags & KVM_MEM_MEMFD_KEEP_HOLES;

	if (outcome == HOLE && !keeps)	/* such a hole is filled, but behind the end */
		return !same(v->cut, &t->cut);
	if (outcome == MMIO)
		return false;
	if (!page_same(t, v) || !keeps)
		return true;
	if (v->present)
		return outcome == OK;
	return outcome == HOLE || !is_calm(region_of(t, v->page));
}

static bool may(struct torture *t, const struct view *v, enum op_end outcome)
{
	if (outcome == OTHER)
		return false;
	if (!guest_same(t, v))
		return true;
	/* what is private, and not in any memslot, is for user space as well */
	if (!v->in_slot)
		return outcome == (v->is_shared ? MMIO : HOLE);
	return v->is_shared ? outcome == OK : may_private(t, v, outcome);
}

static void count_exit(struct torture *t, const struct view *v, enum op_end outcome,
		       struct vmm_vcpu *vcpu)
{
	if (outcome == MMIO)
		t->counts[MMIO_EXITS]++;
	if (outcome != HOLE)
		return;
	t->counts[HOLE_EXITS]++;
	if (vcpu->run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE)
		return;
	/* it was shared when the fault began, and private then */
	t->counts[CHANGED_EXITS]++;
	if (guest_same(t, v))
		WRONG(t, "exit for page %zu with flags %llx", v->page,
		      vcpu->run->memory_fault.flags);
}

/* An access to @v's page has ended. */
static enum op_end check_outcome(struct torture *t, const struct view *v,
				 struct vmm_vcpu *vcpu, __s64 ret)
{
	__u32 gpa = v->g->gpa + v->page * PAGE, addr = gpa;
	enum op_end outcome = outcome_of(vcpu, ret, &addr);

	if (!may(t, v, outcome) || addr / PAGE != gpa / PAGE)
		WRONG(t, "%s, page %zu (%s, %s, %s): %lld, exit %u, at %08x",
		      v->g->name, v->page, v->present ? "present" : "hole",
		      v->in_slot ? "in memslot" : "in none",
		      v->is_shared ? "shared" : "private", ret, vcpu->run->exit_reason,
		      addr);
	count_exit(t, v, outcome, vcpu);
	return outcome;
}

/*
 * vCPUs: without locks
 */

/* The guest that fills holes is kept from those that must stay. */
static size_t pick_page(struct actor *a, size_t room)
{
	struct torture *t = a->t;
	size_t region;

	do {
		region = pick(a, REGIONS);
	} while (is_calm(region) && a->g && !(a->g->flags & KVM_MEM_MEMFD_KEEP_HOLES));
	return region * t->region_pages + pick(a, t->region_pages - room);
}

static __u32 gpa_of(struct guest *g, size_t page, size_t word)
{
	return g->gpa + page * PAGE + word * 4;
}

static void guest_read(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vm.vcpu[a->vcpu];
	struct view v = look(t, a->g, pick_page(a, 0));
	__s64 ret;

	ret = vmm_read(vcpu, gpa_of(a->g, v.page, pick(a, 2) ? FIRST_WORD : LAST_WORD));
	if (check_outcome(t, &v, vcpu, ret) == OK)
		check_guest_word(t, &v, ret);
	t->counts[READS]++;
}

/* What a guest wrote is where it belongs, unless something took it away since. */
static void check_written(struct torture *t, const struct view *v, size_t word,
			  __u32 value)
{
	__u32 found;

	if (v->is_shared)
		found = *(volatile __u32 *)&v->g->shared[v->page * PAGE_WORDS + word];
	else
		found = file_word(t, v->page, word);
	if (!guest_same(t, v) || (!v->is_shared && !page_same(t, v))) {
		t->counts[ROUGH]++;
		return;
	}
	t->counts[EXACT]++;
	if (found != value)
		WRONG(t, "guest wrote %08x to %s page %zu, found %08x", value,
		      v->is_shared ? "shared" : "private", v->page, found);
}

static void guest_write(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vm.vcpu[a->vcpu];
	struct view v = look(t, a->g, pick_page(a, 0));
	__u32 value = word_of(OWN, v.page, ++a->serial);
	__s64 ret;

	ret = vmm_write(vcpu, gpa_of(a->g, v.page, OWN_WORD(a->id)), value);
	if (check_outcome(t, &v, vcpu, ret) == OK)
		check_written(t, &v, OWN_WORD(a->id), value);
	t->counts[WRITES]++;
}

/* Several pages by one op: it ends at the first one that it does not get. */
static void guest_touch(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vm.vcpu[a->vcpu];
	size_t count = 1 + pick(a, 8), first = pick_page(a, 8), i;
	__u32 addr = gpa_of(a->g, first, TOUCH_WORD(a->id)), end = addr;
	struct view v[8];
	__s64 ret;

	for (i = 0; i < count; i++)
		v[i] = look(t, a->g, first + i);
	ret = vmm_touch(vcpu, addr, count, PAGE, word_of(TOUCH, 0, a->id));
	outcome_of(vcpu, ret, &end);
	if (ret < 0)
		count = (end - gpa_of(a->g, first, 0)) / PAGE;
	if (count > 8 || (ret < 0 && count == 8)) {
		WRONG(t, "touch: %lld, exit %u at %08x", ret, vcpu->run->exit_reason, end);
		return;
	}
	for (i = 0; i < count; i++)
		if (!may(t, &v[i], OK))
			WRONG(t, "%s touched page %zu, which it has not", a->g->name,
			      v[i].page);
	if (ret < 0)
		check_outcome(t, &v[count], vcpu, ret);
	t->counts[TOUCHES]++;
}

/*
 * vCPUs: with the region's lock, and what the guest has does not change
 */

/* The guest stopped at a hole: user space fills it, and the guest goes on. */
static __s64 fill_and_resume(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	__s64 ret;

	make_pages(a, page, page + 1);
	ret = vmm_vcpu_resume(&a->g->vm.vcpu[a->vcpu]);
	if (ret < 0)
		WRONG(t, "page %zu was filled, and the guest does not go on: %lld", page,
		      ret);
	t->counts[RESUMED]++;
	return ret;
}

/* Will a page come by the guest's access? */
static bool fills(const struct view *v)
{
	return v->in_slot && !v->is_shared && !v->present &&
	       !(v->g->flags & KVM_MEM_MEMFD_KEEP_HOLES);
}

static void locked_read(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	struct guest *g = a->g;
	struct vmm_vcpu *vcpu = &g->vm.vcpu[a->vcpu];
	enum op_end outcome;
	struct view v;
	__s64 ret;

	pthread_rwlock_rdlock(&g->lock);
	v = look(t, g, page);
	if (fills(&v))
		begin_change(t, region_of(t, page));
	ret = vmm_read(vcpu, gpa_of(g, page, FIRST_WORD));
	if (fills(&v)) {
		devices_have(t, page, page + 1);
		end_change(t, region_of(t, page));
		v = look(t, g, page);
	}
	outcome = check_outcome(t, &v, vcpu, ret);
	if (outcome == HOLE && v.in_slot && pick(a, 4)) {
		ret = fill_and_resume(a, page);
		v = look(t, g, page);
		outcome = OK;
	}
	if (outcome == OK)
		check_guest_word(t, &v, ret);
	pthread_rwlock_unlock(&g->lock);
}

static void write_stamp(struct actor *a, const struct view *v)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vm.vcpu[a->vcpu];
	__u32 stamp = new_stamp(t, v->page);

	if (vmm_write(vcpu, gpa_of(a->g, v->page, FIRST_WORD), stamp) ||
	    vmm_write(vcpu, gpa_of(a->g, v->page, LAST_WORD), stamp))
		WRONG(t, "%s cannot write to page %zu: exit %u", a->g->name, v->page,
		      vcpu->run->exit_reason);
	t->pages[v->page].stamp = stamp;
	if (file_word(t, v->page, FIRST_WORD) != stamp ||
	    file_word(t, v->page, LAST_WORD) != stamp)
		WRONG(t, "guest wrote %08x to page %zu, not so in the file", stamp,
		      v->page);
	devices_have(t, v->page, v->page + 1);
}

/* Where the guest has private memory, and a page if it does not fill holes */
static void locked_stamp(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	struct guest *g = a->g;
	struct view v;

	pthread_rwlock_rdlock(&g->lock);
	v = look(t, g, page);
	if (v.in_slot && !v.is_shared &&
	    (v.present || !(g->flags & KVM_MEM_MEMFD_KEEP_HOLES))) {
		begin_change(t, region_of(t, page));
		write_stamp(a, &v);
		end_change(t, region_of(t, page));
		t->counts[STAMPS]++;
	}
	pthread_rwlock_unlock(&g->lock);
}

/* Pages of a region, or all of it */
static void pick_range(struct actor *a, size_t region, size_t *first, size_t *end)
{
	size_t pages = a->t->region_pages, room;

	*first = pick(a, pages);
	room = pages - *first < 64 ? pages - *first : 64;
	*end = *first + 1 + pick(a, room);
	if (!pick(a, 4)) {
		*first = 0;
		*end = pages;
	}
	*first += region * pages;
	*end += region * pages;
}

static void vcpu_act(struct actor *a)
{
	unsigned int what = pick(a, 100);
	size_t region, first, end;

	if (what < 30) {
		guest_read(a);
	} else if (what < 50) {
		guest_write(a);
	} else if (what < 60) {
		guest_touch(a);
	} else {
		region = lock_some_region(a);
		pick_range(a, region, &first, &end);
		if (what < 75)
			locked_stamp(a, first);
		else if (what < 85)
			make_hole(a, first, end);
		else if (what < 95)
			make_pages(a, first, end);
		locked_read(a, first);
		unlock_region(a->t, region);
	}
}

/*
 * The file
 */

static void file_read(struct actor *a)
{
	struct torture *t = a->t;
	struct view v = look(t, NULL, pick_page(a, 0));

	check_stamp(t, &v, file_word(t, v.page, FIRST_WORD), "pread");
	t->counts[PREADS]++;
}

/* Page faults, without a lock, so that it may be behind the end. */
static void file_fault(struct actor *a)
{
	struct torture *t = a->t;
	unsigned int cut = t->cut;
	size_t first;

	do {
		first = pick_page(a, 8);
	} while (is_calm(region_of(t, first)));
	if (madvise(at(t->r, first), 8 * PAGE, MADV_POPULATE_READ) &&
	    (errno != EFAULT || same(cut, &t->cut)))
		WRONG(t, "populate page %zu: %m", first);
	t->counts[POPULATES]++;
}

static void cut_file(struct actor *a, size_t first)
{
	struct torture *t = a->t;
	size_t i, end = t->r->pages, surely = first;

	/* a busy huge folio at the new end is not split */
	if (t->huge)
		surely = (first + HUGE_PAGES - 1) & ~(HUGE_PAGES - 1);
	t->cut++;
	for (i = region_of(t, first); i < REGIONS; i++)
		begin_change(t, i);
	if (ftruncate(t->r->fd, first * PAGE))
		WRONG(t, "ftruncate: %m");
	if (surely < end)
		devices_lack(t, surely, end);
	if (ftruncate(t->r->fd, end * PAGE))
		WRONG(t, "ftruncate: %m");
	lost(t, first, end);
	for (i = region_of(t, first); i < REGIONS; i++)
		end_change(t, i);
	t->cut++;
	t->counts[TRUNCATIONS]++;
}

/* Needs the lock of all that is behind: those are the last ones, from some on. */
static void file_truncate(struct actor *a)
{
	struct torture *t = a->t;
	size_t from = REGIONS / 2 + pick(a, REGIONS / 2), i;

	for (i = from; i < REGIONS; i++)
		pthread_mutex_lock(&t->regions[i].lock);
	cut_file(a, from * t->region_pages + pick(a, t->region_pages));
	for (i = from; i < REGIONS; i++)
		unlock_region(t, i);
}

static void file_act(struct actor *a)
{
	unsigned int what = pick(a, 100);
	size_t region, first, end;

	if (what < 20) {
		file_read(a);
	} else if (what < 35) {
		file_fault(a);
	} else if (what < 40) {
		file_truncate(a);
	} else {
		region = lock_some_region(a);
		pick_range(a, region, &first, &end);
		if (what < 70)
			make_pages(a, first, end);
		else
			make_hole(a, first, end);
		unlock_region(a->t, region);
	}
}

/*
 * The devices
 */

static int copy(struct torture *t, int dev, size_t from, size_t to)
{
	struct mdma *m = &t->r->dev[dev];

	return mdma_copy(m, iova_of(m, from), iova_of(m, to) + LANDING(dev) * 4,
			 COPY_WORDS * 4);
}

static void landed(struct torture *t, int dev, size_t page, __u32 *words)
{
	/* less of it if the file is cut at that moment */
	memset(words, 0, COPY_WORDS * 4);
	if (pread(t->r->fd, words, COPY_WORDS * 4, page * PAGE + LANDING(dev) * 4) < 0)
		WRONG(t, "pread: %m");
}

/* Both pages are there, and stay. */
static void copy_locked(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	__u32 words[COPY_WORDS];
	int ret;

	make_pages(a, from, from + 1);
	make_pages(a, to, to + 1);
	ret = copy(t, dev, from, to);
	landed(t, dev, to, words);
	if (ret != VFIO_MDMA_STATUS_DONE || words[0] != t->pages[from].stamp)
		WRONG(t, "copy of page %zu: %d, %08x, expected %08x", from, ret, words[0],
		      t->pages[from].stamp);
	t->counts[COPIES]++;
}

/* One is not there, and stays so. */
static void copy_of_hole(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	int ret;

	make_pages(a, to, to + 1);
	make_hole(a, from, from + 1);
	if (t->pages[from].present)	/* zeroed */
		return;
	ret = copy(t, dev, from, to);
	if (ret != VFIO_MDMA_STATUS_FAULT)
		WRONG(t, "copy of page %zu, which is gone: %d", from, ret);
	t->counts[FAULTS]++;
}

/* While others do what they want. What was gone when it began is not copied. */
static void copy_wild(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	struct view v = look(t, NULL, from), w = look(t, NULL, to);
	__u32 words[COPY_WORDS];
	int ret = copy(t, dev, from, to);
	bool there = v.present && w.present && page_same(t, &v) && page_same(t, &w);

	if (ret != VFIO_MDMA_STATUS_DONE && (ret != VFIO_MDMA_STATUS_FAULT || there))
		WRONG(t, "copy from page %zu to %zu: %d", from, to, ret);
	landed(t, dev, to, words);
	if (ret == VFIO_MDMA_STATUS_DONE && !not_stale(t, &v, words[0]))
		WRONG(t, "copy of page %zu gave %08x, its oldest stamp was %04x", from,
		      words[0], v.oldest & 0xffff);
	t->counts[WILD_COPIES]++;
}

/* Two different regions, in the right order, whichever is copied from */
static void lock_two_regions(struct actor *a, int dev, size_t *one, size_t *two)
{
	size_t start = dev ? REGIONS / 2 : 0;

	*one = start + pick(a, REGIONS - start - 1);
	*two = *one + 1 + pick(a, REGIONS - *one - 1);
	pthread_mutex_lock(&a->t->regions[*one].lock);
	pthread_mutex_lock(&a->t->regions[*two].lock);
}

static void device_act(struct actor *a)
{
	struct torture *t = a->t;
	int dev = pick(a, 2), turn = a->turn++ % 3;
	size_t start = window_start(t, dev), room = t->r->pages - start, one, two;
	size_t in_one = pick(a, t->region_pages), in_two = pick(a, t->region_pages);

	if (!turn) {
		one = start + pick(a, room);
		two = start + pick(a, room);
		if (one != two)
			copy_wild(a, dev, one, two);
		return;
	}
	lock_two_regions(a, dev, &one, &two);
	in_one += one * t->region_pages;
	in_two += two * t->region_pages;
	if (turn == 1)
		copy_locked(a, dev, in_one, in_two);
	else if (is_calm(one))
		copy_of_hole(a, dev, in_one, in_two);
	else if (is_calm(two))
		copy_of_hole(a, dev, in_two, in_one);
	unlock_region(t, two);
	unlock_region(t, one);
}

/*
 * Memslots and attributes
 */

static void breathe(struct actor *a)
{
	const struct timespec pause = { .tv_nsec = pick(a, 10000000) };

	nanosleep(&pause, NULL);
}

/* At least half of the file, at a huge page's place or not */
static void add_slot(struct actor *a, struct guest *g)
{
	struct torture *t = a->t;
	size_t first = pick(a, t->r->pages / 2), pages;
	unsigned int cut = t->cut;
	int ret;

	if (t->huge && pick(a, 2))
		first &= ~(HUGE_PAGES - 1);
	pages = t->r->pages / 2 + pick(a, t->r->pages / 2 - first) + 1;
	ret = vmm_set_slot(&g->vm, SLOT, KVM_MEM_GUEST_MEMFD | g->flags,
			   gpa_of(g, first, 0), pages * PAGE,
			   g->shared + first * PAGE_WORDS, t->r->fd, first * PAGE);
	if (!ret) {
		g->first = first;
		g->pages = pages;
		t->counts[SLOTS_ADDED]++;
	} else if (ret != -EINVAL || same(cut, &t->cut)) {
		/* EINVAL: the file was shorter at that moment */
		WRONG(t, "memslot: %s", strerror(-ret));
	}
}

/* Memory for the guest of the other kind; its lock is held for writing. */
static void set_shared(struct torture *t, struct guest *g, size_t first, size_t end,
		       bool shared)
{
	size_t region, i;
	int ret;

	for (region = region_of(t, first); region <= region_of(t, end - 1); region++)
		g->attr_seq[region]++;
	ret = vmm_set_private(&g->vm, gpa_of(g, first, 0), (end - first) * PAGE, !shared);
	if (ret)
		WRONG(t, "attributes: %s", strerror(-ret));
	for (i = first; i < end; i++)
		g->is_shared[i] = shared;
	for (region = region_of(t, first); region <= region_of(t, end - 1); region++)
		g->attr_seq[region]++;
}

static void change_slot(struct actor *a, struct guest *g)
{
	struct torture *t = a->t;
	int ret;

	pthread_rwlock_wrlock(&g->lock);
	g->slot_seq++;
	if (g->pages) {
		/* see OPEN_REGION */
		set_shared(t, g, (OPEN_REGION + 1) * t->region_pages, t->r->pages, false);
		ret = vmm_delete_slot(&g->vm, SLOT);
		if (ret)
			WRONG(t, "delete memslot: %s", strerror(-ret));
		g->pages = 0;
		t->counts[SLOTS_DELETED]++;
	} else {
		add_slot(a, g);
	}
	g->slot_seq++;
	pthread_rwlock_unlock(&g->lock);
}

/* A VM that is there for a moment, and dies with all it has */
static void passing_vm(struct actor *a)
{
	struct torture *t = a->t;
	struct guest g = { .name = "a passing guest", .gpa = GPA,
			   .flags = KVM_MEM_MEMFD_KEEP_HOLES };
	size_t half = t->r->pages / 2;
	struct view v;
	int ret, i;
	__s64 word;

	ret = memfd_vm_create(&g.vm, 1);
	if (ret) {
		WRONG(t, "VM: %s", strerror(-ret));
		return;
	}
	g.pages = half;		/* no truncation gets there */
	ret = vmm_set_slot(&g.vm, SLOT, KVM_MEM_GUEST_MEMFD | g.flags, GPA, half * PAGE,
			   t->guests[0].shared, t->r->fd, 0);
	if (!ret)
		ret = vmm_set_private(&g.vm, GPA, half * PAGE, true);
	if (ret)
		WRONG(t, "memslot of a VM: %s", strerror(-ret));
	for (i = 0; i < 16 && !ret; i++) {
		v = look(t, &g, pick(a, half));
		word = vmm_read(&g.vm.vcpu[0], gpa_of(&g, v.page, FIRST_WORD));
		if (check_outcome(t, &v, &g.vm.vcpu[0], word) == OK)
			check_guest_word(t, &v, word);
	}
	vmm_destroy(&g.vm);
	t->counts[VMS]++;
}

static void slot_act(struct actor *a)
{
	struct guest *g = &a->t->guests[pick(a, GUESTS)];

	/* mostly there is one */
	if (!pick(a, 10))
		passing_vm(a);
	else if (!g->pages || !pick(a, 4))
		change_slot(a, g);
	breathe(a);
}

static void attribute_act(struct actor *a)
{
	struct torture *t = a->t;
	struct guest *g = &t->guests[pick(a, GUESTS)];
	size_t region = OPEN_REGION + 1 + pick(a, REGIONS - OPEN_REGION - 1), first, end;

	pick_range(a, region, &first, &end);
	pthread_rwlock_wrlock(&g->lock);
	if (first >= g->first && end <= g->first + g->pages) {
		set_shared(t, g, first, end, !pick(a, 4));
		t->counts[ATTRIBUTES]++;
	}
	pthread_rwlock_unlock(&g->lock);
	breathe(a);
}

static void *act(void *arg)
{
	struct actor *a = arg;
	struct torture *t = a->t;

	while (!t->stop && !t->wrong) {
		pthread_rwlock_rdlock(&t->world);
		a->act(a);
		pthread_rwlock_unlock(&t->world);
	}
	return NULL;
}

/*
 * With all standing still
 */

/* Is there anything in the page that nobody can have written to it? */
static void check_words(struct torture *t, size_t page)
{
	const __u32 *words = (const __u32 *)at(t->r, page);
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

	for (page = 0; page < t->r->pages; page++) {
		p = &t->pages[page];
		have = in_core(at(t->r, page));
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
	if (allocated(t->r->fd) != there)
		WRONG(t, "the file has %zu pages, and is charged for %zu", there,
		      allocated(t->r->fd));
}

static void compare_devices(struct torture *t)
{
	size_t start;
	int i;

	for (i = 0; i < 2; i++) {
		start = window_start(t, i);
		if (rig_differences(t->r, i, start, t->r->pages - start))
			WRONG(t, "device %d differs from the file", i);
	}
}

/* All of a page, as the guest has it */
static void compare_page(struct torture *t, struct guest *g, int n, size_t page)
{
	struct view v = look(t, g, page);
	__u32 words[PAGE_WORDS], expected[PAGE_WORDS];
	__s64 ret;

	if (v.is_shared && !v.in_slot)
		return;		/* that would be MMIO, a thousand times */
	ret = guest_load(&g->vm, n, gpa_of(g, page, 0), words);
	if (check_outcome(t, &v, &g->vm.vcpu[n], ret) != OK)
		return;
	if (v.is_shared)
		memcpy(expected, &g->shared[page * PAGE_WORDS], PAGE);
	else if (pread(t->r->fd, expected, PAGE, page * PAGE) != PAGE)
		WRONG(t, "pread: %m");
	if (memcmp(words, expected, PAGE))
		WRONG(t, "%s has something else in page %zu", g->name, page);
	t->counts[LOADS]++;
}

/* Of each guest some pages, with a memslot. It fills no holes that must stay. */
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

static long number(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

static void init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	/* who waits for all others must get it */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
}

static int init_guest(struct torture *t, struct guest *g)
{
	size_t page;
	int ret;

	init_lock(&g->lock);
	g->name = g == t->guests ? "the guest that keeps holes" : "the one that fills them";
	g->flags = g == t->guests ? KVM_MEM_MEMFD_KEEP_HOLES : 0;
	/* one of them has its pages at other places modulo 2 MiB, if those are small */
	g->gpa = GPA + (g == t->guests || t->huge ? 0 : 3 * PAGE);
	g->shared = alloc_shared(t->r->pages);
	if (!g->shared)
		return -ENOMEM;
	for (page = 0; page < t->r->pages; page++) {
		g->shared[page * PAGE_WORDS + FIRST_WORD] = word_of(SHARED, page, 0);
		g->shared[page * PAGE_WORDS + LAST_WORD] = word_of(SHARED, page, 0);
	}
	ret = memfd_vm_create(&g->vm, VCPUS);
	if (!ret)
		set_shared(t, g, 0, t->r->pages, false);
	if (!ret)
		set_shared(t, g, OPEN_REGION * t->region_pages,
			   (OPEN_REGION + 1) * t->region_pages, true);
	return ret;
}

static int init_devices(struct torture *t)
{
	size_t half = t->r->pages / 2;
	int ret = rig_map(t->r, 0, 0, t->r->pages);

	return ret ? ret : rig_map(t->r, 1, half, t->r->pages - half);
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
		/* it was not the test itself that stood still */
		if (i < KEPT)
			EXPECT_LT(0, t->counts[i])
				TH_LOG("no %s", count_names[i]);
	}
	note("%s", text);
	EXPECT_EQ(0, t->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", t->seed);
}

/*
 * Wait for all others. A vCPU that runs in circles cannot be joined, but ends with
 * this process.
 */
static void stand_still(struct torture *t)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE;
	if (!pthread_rwlock_timedwrlock(&t->world, &until))
		return;
	note("WRONG: a thread did not come back for %d s, MEMFD_OPS_SEED=%u", PATIENCE,
	     t->seed);
	if (t->r->thp[0])
		mdma_write_file(SHMEM_ENABLED, t->r->thp);
	exit(KSFT_FAIL);
}

static bool each_done(struct torture *t)
{
	int i = 0;

	while (i < KEPT && t->counts[i])
		i++;
	return i == KEPT;
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
		pthread_rwlock_unlock(&t->world);
		now = elapsed() - begin;
	} while ((now < seconds || (now < LONGEST && !each_done(t))) && !t->wrong);
	t->stop = true;
	for (i = 0; i < nr; i++)
		pthread_join(actors[i].thread, NULL);
	compare(t, &me, 512);
}

static void torture(struct __test_metadata *_metadata, struct rig *r, bool huge)
{
	long seconds = number("MEMFD_OPS_SECONDS", 15);
	struct torture *t = calloc(1, sizeof(*t));
	struct timespec now;
	int i;

	ASSERT_NE(NULL, t);
	t->r = r;
	t->huge = huge;
	t->region_pages = r->pages / REGIONS;
	clock_gettime(CLOCK_REALTIME, &now);
	t->seed = number("MEMFD_OPS_SEED", now.tv_nsec / 1000 ^ now.tv_sec);
	note("seed %u: MEMFD_OPS_SEED=%u repeats it", t->seed, t->seed);
	init_lock(&t->world);
	for (i = 0; i < REGIONS; i++)
		pthread_mutex_init(&t->regions[i].lock, NULL);
	ASSERT_EQ(0, init_devices(t));
	for (i = 0; i < GUESTS; i++)
		ASSERT_EQ(0, init_guest(t, &t->guests[i]));

	run(t, seconds);

	report(_metadata, t);
	for (i = 0; i < GUESTS; i++)
		vmm_destroy(&t->guests[i].vm);
	EXPECT_EQ(2, consumers_of(r->fd));
	for (i = 0; i < 2; i++)
		EXPECT_LE(0, mdma_unmap_all(&r->dev[i]));
	EXPECT_EQ(0, consumers_of(r->fd));
	free(t);
}

FIXTURE(kvm_torture)
{
	struct rig r;
};

FIXTURE_SETUP(kvm_torture)
{
	self->r.dev[0] = (struct mdma)MDMA_INIT;
	self->r.dev[1] = (struct mdma)MDMA_INIT;
	if (!has_kvm())
		SKIP(return, "no KVM here");
}

FIXTURE_TEARDOWN(kvm_torture)
{
	rig_teardown(&self->r);
}

TEST_F_TIMEOUT(kvm_torture, small_pages, 300)
{
	ASSERT_EQ(0, rig_setup(&self->r, HUGE_PAGES));
	rig_stay_on_one_cpu(false);
	ASSERT_EQ(0, rig_keep_followed(&self->r));
	torture(_metadata, &self->r, false);
}

TEST_F_TIMEOUT(kvm_torture, huge_pages, 300)
{
	ASSERT_EQ(0, rig_setup(&self->r, REGIONS * HUGE_PAGES));
	if (rig_thp(&self->r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	rig_stay_on_one_cpu(false);
	ASSERT_EQ(0, rig_keep_followed(&self->r));
	torture(_metadata, &self->r, true);
}

TEST_HARNESS_MAIN
