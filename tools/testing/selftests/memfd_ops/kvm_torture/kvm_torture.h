/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two VMs, two devices and a file, and threads that do everything at once, at
 * random: kvm_torture_test.c runs them.
 *
 * How a thread knows what it must see:
 *
 * - The file has regions, each with a lock, under which its pages come and go and
 *   are stamped: their first and last word identify the page, and count its stamps.
 *   A region's epoch is odd meanwhile.
 * - Most accesses are made without any lock. If the epoch did not move, they must
 *   have met exactly the known state; if it did, at least nothing that was in the
 *   file before a hole that was complete when the access began.
 * - In the same way, a lock protects a guest's memslot and attributes, and sequences
 *   show a change to threads that did not take it.
 * - In calm regions, every other one, holes are filled under the lock only, so that
 *   a known hole is one.
 * - Now and then all threads stand still, and file, devices and guests are compared.
 */
#ifndef TEST_KVM_TORTURE_H
#define TEST_KVM_TORTURE_H

#include <pthread.h>
#include <stdatomic.h>

#include "../lib/kvm.h"
#include "../lib/random.h"

#define REGIONS		16
#define MAX_PAGES	(REGIONS * HUGE_PAGES)
#define GUESTS		2
#define VCPUS		2	/* of each guest */

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
#define LANDING(dev)	(512 + 16 * (dev))	/* a device's copies go here */
#define COPY_WORDS	16

enum kind { EMPTY, STAMP, SHARED, OWN, TOUCH };

static inline __u32 word_of(enum kind kind, size_t page, unsigned int serial)
{
	return (__u32)kind << 29 | page << 16 | (serial & 0xffff);
}

static inline enum kind kind_of(__u32 word)
{
	return word >> 29;
}

static inline size_t page_of(__u32 word)
{
	return word >> 16 & (MAX_PAGES - 1);
}

/* Serials go round. */
static inline bool before(unsigned int a, unsigned int b)
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
	KEPT, SPLIT, CHANGED_EXITS, NR_COUNTS
};

/* The expected state of a page; changed under the region's lock */
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

struct torture_guest {
	const char *name;
	struct vmm vmm;
	__u32 flags;		/* of its memslot */
	__u32 gpa;		/* of page 0; a page is always at the same place */
	__u32 *shared;		/* its shared memory, each page with a stamp */
	pthread_rwlock_t lock;	/* for writing: the members below change */
	atomic_uint slot_seq;	/* odd meanwhile */
	atomic_uint attr_seq[REGIONS];
	atomic_size_t first, pages;	/* the memslot, no pages if there is none */
	atomic_bool is_shared[MAX_PAGES];
};

struct torture {
	struct test_env *env;
	bool huge;
	unsigned int seed;
	size_t region_pages;
	pthread_rwlock_t freeze;	/* for writing: everything stands still */
	atomic_uint cut;	/* odd while the file is shorter */
	struct region regions[REGIONS];
	struct page pages[MAX_PAGES];
	struct torture_guest guests[GUESTS];
	atomic_bool stop;
	atomic_int wrong;
	atomic_long counts[NR_COUNTS];
};

struct actor {
	struct torture *t;
	pthread_t thread;
	__u64 random;
	void (*act)(struct actor *a);
	struct torture_guest *g;	/* of a vCPU's thread */
	int vcpu, id;		/* of this guest's, and of all */
	unsigned int serial;
	int turn;		/* of a device's */
};

/* Later errors follow from the first ones. */
#define WRONG(t, fmt, ...) do {					\
	if ((t)->wrong++ < 20)					\
		note("WRONG: " fmt, ##__VA_ARGS__);		\
} while (0)

/* The expected state, as read before an access without lock */
struct view {
	struct torture_guest *g;
	size_t page;
	unsigned int epoch, slot_seq, attr_seq, cut, oldest;
	__u32 stamp;
	bool present, in_slot, is_shared;
};

enum op_end { OK, HOLE, MMIO, OTHER };

static inline size_t region_of(struct torture *t, size_t page)
{
	return page / t->region_pages;
}

static inline bool is_calm(size_t region)
{
	return region % 2;
}

static inline void unlock_region(struct torture *t, size_t region)
{
	pthread_mutex_unlock(&t->regions[region].lock);
}

static inline void begin_change(struct torture *t, size_t region)
{
	t->regions[region].epoch++;
}

static inline __u32 word_gpa(struct torture_guest *g, size_t page, size_t word)
{
	return g->gpa + page * PAGE + word * 4;
}

/*
 * The file: its pages come and go under the lock of their region, which the caller holds.
 */

/* Some region, locked. One that is not in use, since a copy takes its time. */
size_t lock_some_region(struct actor *a);

void end_change(struct torture *t, size_t region);

/* A word of the file; 0 in a hole, which is not filled. */
__u32 file_word(struct torture *t, size_t page, size_t word);

size_t window_start(struct torture *t, int dev);

void devices_have(struct torture *t, size_t first, size_t end);

__u32 new_stamp(struct torture *t, size_t page);

void make_hole(struct actor *a, size_t first, size_t end);

void make_pages(struct actor *a, size_t first, size_t end);

/* A page for this guest: the one that fills holes never gets one of a calm region. */
size_t pick_page(struct actor *a, size_t room);

/* Pages of a region, or all of it */
void pick_range(struct actor *a, size_t region, size_t *first, size_t *end);

void file_act(struct actor *a);

/*
 * Views: the state that an access may meet
 */

struct view view_of(struct torture *t, struct torture_guest *g, size_t page);

bool unchanged(unsigned int then, atomic_uint *now);

bool page_unchanged(struct torture *t, const struct view *v);

bool guest_unchanged(struct torture *t, const struct view *v);

/* Is the word zero, or at least not older than the last hole that was complete? */
bool not_stale(struct torture *t, const struct view *v, __u32 word);

/* Check a read of the file's first or last word. */
void check_stamp(struct torture *t, const struct view *v, __u32 word,
		 const char *reader);

void check_guest_word(struct torture *t, const struct view *v, __u32 word);

/* How did the op end, and if it stopped, at which @addr? */
enum op_end outcome_of(struct vmm_vcpu *vcpu, __s64 ret, __u32 *addr);

bool may_end(struct torture *t, const struct view *v, enum op_end outcome);

/* An access to @v's page has ended. */
enum op_end check_outcome(struct torture *t, const struct view *v,
			  struct vmm_vcpu *vcpu, __s64 ret);

/*
 * Guests
 */

void vcpu_act(struct actor *a);

/*
 * Change the guest's pages to shared or private. The caller holds its lock for writing.
 */
void set_shared(struct torture *t, struct torture_guest *g, size_t first, size_t end,
		bool shared);

void change_slot(struct actor *a, struct torture_guest *g);

void slot_act(struct actor *a);

void attribute_act(struct actor *a);

/*
 * Devices
 */

void device_act(struct actor *a);

#endif /* TEST_KVM_TORTURE_H */
