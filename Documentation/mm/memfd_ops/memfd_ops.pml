// SPDX-License-Identifier: GPL-2.0
/*
 * The protocol of memfd_ops, as a model for spin, a model checker
 *
 * "make model" visits every state of it, and then shows that spin finds each of
 * the mistakes listed below, and does not find it without an interleaving: one
 * that breaks a call on its own is for a unit test.
 *
 * A file of two pages has two consumers. The mirror (drivers/iommu/memfd/) has
 * both pages in its window and pins: it holds a reference on each folio that it
 * has mapped, and maps pages in populate and at the end of an invalidation. The
 * memslot (virt/kvm/memfd.c) has page 0 in its window and holds no references:
 * it takes the page from the file when the guest touches it. Four processes run
 * until they stop, after any call:
 *
 *	caller	punches holes, fallocates and writes, with i_rwsem held
 *	device	maps the mirror and unmaps it
 *	guest	binds and unbinds the memslot, and touches page 0: as a vCPU, or
 *		while there is no memslot as user space, which only reads it
 *	memory	migrates the folio of page 0, swaps it out, or reclaims it if it
 *		is clean, as long as the caller has not stopped
 *
 * Callbacks run in the process that causes them. Each part has the name of the
 * C function that it stands for.
 *
 * HOLDS() checks I1 to I5 and I7 of Documentation/mm/memfd_ops/invariants.rst.
 * Besides, no process waits indefinitely: one that waits for an event that never
 * comes is left over when the others have stopped, which spin reports as an
 * invalid end state.
 *
 * The model simplifies the following. No mistake is lost by that:
 *
 * - Code under a spinlock, or under a mutex without waiting, is one step: no
 *   other process sees its intermediate states. Two more sequences are one step:
 *   lock a folio, change fields that its lock protects, and unlock it; and look
 *   up a folio and lock it, which C repeats until the locked folio is the one in
 *   the file.
 * - Sequence numbers are only compared with their earlier values: a bit for each
 *   reader records whether the number has changed since. Generations likewise
 *   become a bit for each consumer in each invalidation: registered before the
 *   invalidation began, and not unregistered since.
 * - A translation counts as reachable until the flush, as if it were in a TLB.
 * - To put an invalidation on the list, or to take it off, is one step with the
 *   search for the first consumer. So is all of memfd_replace_begin(), and all of
 *   the code after it, since the folio is locked.
 * - Consumers are called in one order, the mirror first. In C, consumers whose
 *   windows start at the same page are called in order of registration.
 * - A batch has one folio: all folios of a batch pass the same check.
 * - A page has two folios to choose from. While one is in the file and references
 *   on the other remain, there is no memory for a third.
 * - mirror_populate() fails in the caller alone. In other processes only -EAGAIN
 *   makes the core drop the folio, which takes the same path.
 * - write(2) initialises a page before it copies, also without a consumer: none
 *   registers in between, as i_rwsem is held.
 * - prepare_folios() reads a page back from swap in one step. Other processes do
 *   so as they add a page.
 * - Memory is ordered, except where filemap_lock_or_add() notes otherwise, and
 *   every waiter is woken up.
 *
 * The model leaves out folios of more than one page, and poison, which split.pml
 * has; the page tables, memslots and faults of KVM, which kvm.pml has; the file's
 * size; the folio that truncation reads back from swap within its own invalidation,
 * and does not give to consumers; mirrors that may miss pages; collapse;
 * UFFDIO_COPY, which fills a hole as a fault does, and removes the folio as
 * memfd_populate_or_drop() does; owners; seals; memslots that keep holes, or that
 * had no fault yet; and consumers whose callbacks wait for each other.
 */

/*
 * Each mistake (spin -DMISTAKE=...), and the first invariant that it breaks, but only
 * if calls interleave
 */
mtype = {
	none,
	/* the core */
	no_rwsem,		/* I2: registers while a hole is being punched */
	no_barrier,		/* I4: registers without the i_pages lock */
	no_unregister_wait,	/* I7: unregisters while a callback runs */
	no_read_begin_wait,	/* I1: looks pages up during an invalidation */
	no_list_check,		/* I1: populates during an invalidation */
	stays_prepared,		/* I7: aborts at a consumer that has unregistered */
	swap_no_veto,		/* I4: swaps out a page that a mirror looks up */
	lookup_locked,		/* I4: looks a folio up before it has been populated */
	/* shmem */
	uptodate_unnotified,	/* I4: fails without populate, yet leaves it uptodate */
	undo_unlocked,		/* I5: removes a page that others have initialised */
	replace_unlocked,	/* I2: migrates or swaps out a folio without its lock */
	/* the mirror */
	no_retry,		/* I1: maps without memfd_read_retry() */
	unregister_first	/* I1: unregisters before it unmaps */
};
#ifndef MISTAKE
#define MISTAKE		none
#endif
#define mistake(m)	(MISTAKE == m)

/* With -DCALL=atomic, one call after the other: no mistake is found then */
#ifndef CALL
#define CALL
#endif

mtype = { I1, I2, I3, I4, I5, I7 };
/* The second operand makes spin print the name of the broken invariant */
#define HOLDS(invariant, condition)	assert((condition) || invariant == 0)

/* err */
#define OK		0
#define AGAIN		1
#define FAILED		2

mtype = { SGP_CACHE, SGP_FILL, SGP_FALLOC };

/* Sets are bytes with a bit for each member */
#define bit(i)		(1 << (i))
#define BOTH_PAGES	(bit(0) | bit(1))
#define first(pages)	((pages) & bit(0) -> 0 : 1)

/* Folio 0 is none, 1 and 2 are for page 0 of the file, 3 and 4 for page 1 */
typedef Folio {
	byte refs;
	bool locked;
	bool uptodate;
	bool dirty;		/* reclaim drops a clean folio, as if it were a hole */
	bool added		/* by the fallocate() under way */
};
Folio folio[5];
byte cache[2];
bool swapped;			/* page 0 is in swap; then cache[0] is 0 */
#define in_swap(p)	(swapped && (p) == 0)
#define folio_of(p)	(1 + 2 * (p))
#define no_memory(p)	(folio[folio_of(p)].refs && folio[folio_of(p) + 1].refs)
#define unused_folio(p)	(folio_of(p) + (folio[folio_of(p)].refs -> 1 : 0))
#define page_of(f)	(((f) - 1) / 2)

bool i_rwsem_writer;
byte i_rwsem_readers;
bool i_pages_lock;
bool caller_done;		/* then memory pressure ends */

/* struct memfd_falloc_notifier; mn[0] is unused */
#define MIRROR		1
#define KVM		2
#define BOTH_CONSUMERS	(bit(MIRROR) | bit(KVM))
typedef Consumer {
	bool registered;	/* in the tree */
	bool unregistering;
	byte nr_active;
	bool prepared;		/* on the list of consumers that accepted */
	bool reserved;		/* the same, in the memory of the consumer */
	byte reach[2]		/* for each page, the folio that it can reach */
};
Consumer mn[3];
#define has_consumers	(mn[MIRROR].registered || mn[KVM].registered)
#define reachable(f)	(mn[MIRROR].reach[page_of(f)] == f || \
			 mn[KVM].reach[page_of(f)] == f)

/* struct memfd_invalidation; each process has one */
typedef Invalidation {
	bool listed;
	byte pages;		/* none when memfd_invalidate_end() is over */
	byte notified		/* consumers that @start_gen and window select */
};
Invalidation inv[4];
#define listed(i, set)	(inv[i].listed && inv[i].pages & (set))
#define invalidating(set) \
	(listed(0, set) || listed(1, set) || listed(2, set) || listed(3, set))
#define pending(p) \
	((inv[0].pages | inv[1].pages | inv[2].pages | inv[3].pages) & bit(p))

/* struct iommu_memfd */
#define ALL_READERS	(bit(0) | bit(1) | bit(2) | bit(3))
/* all, except for those between begin and retry that saw no change */
byte im_seq_changed = ALL_READERS;
bool im_closing;
bool im_mapped;			/* iommu_memfd_map() has returned */
#define begin_read()	im_seq_changed = im_seq_changed & ~bit(_pid)
#define end_read()	im_seq_changed = im_seq_changed | bit(_pid)
#define memfd_read_retry (im_seq_changed & bit(_pid) && !mistake(no_retry))
#define memfd_read_begin_waits \
	(invalidating(BOTH_PAGES) && !mistake(no_read_begin_wait))

/* struct kvm */
byte mmu_invalidate_in_progress;
byte invalidating;		/* those of the memslot */
bool mmu_seq_changed = true;	/* unless a fault is under way and saw no change */
#define mmu_invalidate_retry	(mmu_seq_changed || mmu_invalidate_in_progress)

/*
 * Variables of each process. p and f: a page and its folio; c: the consumer that
 * a walk has come to; todo, q and g: for mirror_invalidate_end() the pages to
 * map, one of them, and its folio. now_uptodate: f has just been initialised;
 * newly_added: and is new in the file; no_consumers: the file had none when f
 * was added.
 */
#define LOCALS \
	byte p, f, c, todo, q, g, err; \
	bool now_uptodate, newly_added, no_consumers

/* I1: a consumer reaches only pages that are in the file */
#define revoked(i, p)	(!mn[i].reach[p] || mn[i].reach[p] == cache[p])
/* I4: the mirror reaches all pages of the file, except those still in flight */
#define mirrored(p)	(mn[MIRROR].reach[p] == cache[p] || \
			 folio[cache[p]].locked || pending(p))
/* For consumers, a folio that is not uptodate is a hole */
#define complete(p)	(mirrored(p) || !folio[cache[p]].uptodate)
/* I5: a failed fallocate() leaves no page, and no consumer reserves anything */
#define undone(p)	(!folio[cache[p]].added || folio[cache[p]].uptodate)
#define no_trace(i)	(!mn[i].reserved || mn[i].unregistering)

inline call_returns()
{
	HOLDS(I1, revoked(MIRROR, 0) && revoked(MIRROR, 1) && revoked(KVM, 0));
	HOLDS(I4, !im_mapped || complete(0) && complete(1) && !swapped);
	err = OK
}

inline folio_put(f)
{
	folio[f].refs--;
	if
	:: !folio[f].refs ->
		HOLDS(I2, !reachable(f));
		folio[f].uptodate = false;
		folio[f].dirty = false;
		folio[f].added = false
	:: else
	fi
}

inline folio_unlock_put(f)
{
	folio[f].locked = false;
	folio_put(f);
	f = 0
}

inline filemap_remove_folio(p)
{
	f = cache[p];
	cache[p] = 0;
	folio_put(f);
	f = 0
}

/*
 * mm/memfd_ops/core.c
 */

#define may_get(i, set)	((set) & bit(i) && mn[i].registered && !mn[i].unregistering)

/* Put c, if it is a consumer, and get the next one; 0 if there is none */
inline memfd_next_consumer(set)
{
	if
	:: c -> mn[c].nr_active--
	:: else
	fi;
	if
	:: c < MIRROR && may_get(MIRROR, set) -> c = MIRROR
	:: c < KVM && may_get(KVM, set) &&
	   !(c < MIRROR && may_get(MIRROR, set)) -> c = KVM
	:: else -> c = 0
	fi;
	if
	:: c -> mn[c].nr_active++
	:: else
	fi
}

inline memfd_put_consumer()
{
	mn[c].nr_active--;
	c = 0
}

/* The invalidation applies only to consumers in @applies_to */
inline memfd_invalidate(set, applies_to)
{
	d_step {
		if
		:: has_consumers ->
			inv[_pid].listed = true;
			inv[_pid].pages = set;
			inv[_pid].notified = (applies_to) &
				((mn[MIRROR].registered -> bit(MIRROR) : 0) |
				 (mn[KVM].registered && (set) & bit(0) -> bit(KVM) : 0));
			memfd_next_consumer(inv[_pid].notified)
		:: else
		fi
	}
	do
	:: d_step {
		c == MIRROR ->
		im_seq_changed = ALL_READERS;
		mirror_invalidate_page_range(inv[_pid].pages);
		memfd_next_consumer(inv[_pid].notified)
	   }
	:: d_step {
		c == KVM ->
		kvm_memfd_invalidate();
		memfd_next_consumer(inv[_pid].notified)
	   }
	:: !c -> break
	od
}

inline memfd_invalidate_begin(set)
{
	memfd_invalidate(set, BOTH_CONSUMERS)
}

/*
 * A consumer that pins keeps the folio where it is, and out of swap even before it has a
 * reference. Others are invalidated.
 */
#define memfd_may_be_pinned(p, f, swap_out) \
	(mn[MIRROR].registered && \
	 (pending(p) || (swap_out) && !mistake(swap_no_veto) || folio[f].refs != 2))

inline memfd_replace_begin(p, f, swap_out)
{
	if
	:: memfd_may_be_pinned(p, f, swap_out) -> err = AGAIN
	:: else -> memfd_invalidate(bit(p), bit(KVM))
	fi
}

inline memfd_invalidate_end()
{
	d_step {
		if
		:: inv[_pid].listed ->
			inv[_pid].listed = false;
			todo = inv[_pid].pages;
			memfd_next_consumer(inv[_pid].notified)
		:: else
		fi
	}
	do
	:: c == MIRROR -> mirror_invalidate_end()
	:: d_step {
		c == KVM ->
		kvm_memfd_invalidate_end();
		memfd_next_consumer(inv[_pid].notified)
	   }
	:: atomic {
		!c ->
		todo = 0;
		inv[_pid].pages = 0;
		inv[_pid].notified = 0;
		break
	   }
	od
}

inline memfd_populate_must_wait(p)
{
	if
	:: invalidating(bit(p)) && !mistake(no_list_check) ->
		err = AGAIN;
		memfd_put_consumer()
	:: else -> begin_read()
	fi
}

/* Only the mirror has @populate */
inline __memfd_populate(p, f)
{
	d_step { memfd_next_consumer(bit(MIRROR)) }
	do
	:: d_step { c -> memfd_populate_must_wait(p) }
		if
		:: atomic { c -> mirror_populate(p, f) }
		:: else
		fi
	:: !c -> break
	od
}

inline memfd_populate_or_drop(p, f, newly_added)
{
	__memfd_populate(p, f);
	if
	:: err ->
		memfd_invalidate_begin(bit(p));
		atomic {
			if
			:: newly_added ->
				/* back to swap: nothing else that is new is dirty */
				swapped = swapped || folio[f].dirty;
				cache[p] = 0;
				folio_put(f)
			:: else -> folio[f].uptodate = false
			fi;
			folio_unlock_put(f)
		}
		memfd_invalidate_end();
		if
		:: err == AGAIN -> !invalidating(bit(p))
		:: else
		fi
	:: else
	fi
}

inline memfd_register_falloc_notifier(i)
{
	atomic {
		!i_rwsem_writer || mistake(no_rwsem) ->
		i_rwsem_readers++
	}
	mn[i].registered = true;
	atomic {
		!i_pages_lock || mistake(no_barrier) ->
		i_rwsem_readers--
	}
}

inline memfd_unregister_falloc_notifier(i)
{
	d_step {
		mn[i].unregistering = true;
		mn[i].prepared = mn[i].prepared && mistake(stays_prepared)
	}
	atomic {
		!mn[i].nr_active || mistake(no_unregister_wait) ->
		mn[i].registered = false;
		mn[i].unregistering = false;
		mn[i].reserved = false;
		inv[0].notified = inv[0].notified & ~bit(i);
		inv[1].notified = inv[1].notified & ~bit(i);
		inv[2].notified = inv[2].notified & ~bit(i);
		inv[3].notified = inv[3].notified & ~bit(i)
	}
}

/* Each consumer may accept or refuse */
inline memfd_fallocate_begin()
{
	d_step { memfd_next_consumer(BOTH_CONSUMERS) }
	do
	:: atomic {
		c ->
		HOLDS(I7, mn[c].registered);
		if
		:: true -> mn[c].reserved = true
		:: true -> refused = true
		fi;
		if
		:: refused ->
			err = FAILED;
			memfd_put_consumer()
		:: else ->
			mn[c].prepared = mn[c].reserved && !mn[c].unregistering;
			memfd_next_consumer(BOTH_CONSUMERS)
		fi
	   }
	:: !c -> break
	od
}

/* The mirror accepted first, so KVM aborts first */
#define abort_next	(mn[KVM].prepared -> KVM : MIRROR)

inline memfd_fallocate_abort()
{
	do
	:: d_step {
		mn[MIRROR].prepared || mn[KVM].prepared ->
		c = abort_next;
		mn[c].prepared = false;
		mn[c].nr_active++
	   }
	   d_step {
		HOLDS(I7, mn[c].registered);
		HOLDS(I5, c == KVM || no_trace(KVM));
		mn[c].reserved = false;
		memfd_put_consumer()
	   }
	:: else -> break
	od
}

/*
 * mm/shmem.c
 */

/*
 * Look up page p and lock its folio. If there is none, take the i_pages lock to
 * add one; for page 0 it may be read back from swap. C tests for consumers after it
 * has added the folio, but only the i_pages lock orders that test, so a CPU may
 * execute it as early as here.
 */
inline filemap_lock_or_add(p, f, sgp)
{
	atomic {
		!folio[cache[p]].locked && (cache[p] || !i_pages_lock) ->
		f = cache[p];
		if
		:: f ->
			folio[f].locked = true;
			folio[f].refs++;
			if
			:: !folio[f].uptodate ->
				folio[f].uptodate = true;
				now_uptodate = true
			:: else
			fi
		:: !f && no_memory(p) -> err = FAILED
		:: else ->
			i_pages_lock = true;
			no_consumers = !has_consumers;
			newly_added = true
		fi
	}
	if
	:: d_step {
		newly_added ->
		f = unused_folio(p);
		folio[f].refs = 2;
		folio[f].locked = true;
		cache[p] = f;
		i_pages_lock = false;
		now_uptodate = sgp != SGP_FALLOC || in_swap(p);
		folio[f].added = !now_uptodate;
		folio[f].uptodate = now_uptodate;
		if
		:: in_swap(p) -> folio[f].dirty = true; swapped = false
		:: else
		fi
	   }
	:: else
	fi
}

/* On return f is locked, or 0 */
inline shmem_get_folio(p, f, sgp)
{
	do
	:: filemap_lock_or_add(p, f, sgp);
		if
		:: now_uptodate -> memfd_populate_or_drop(p, f, newly_added)
		/* or a truncation came first: undo the initialisation */
		:: d_step {
			now_uptodate && !newly_added && sgp == SGP_CACHE ->
			folio[f].uptodate = mistake(uptodate_unnotified);
			folio_unlock_put(f);
			err = FAILED
		   }
		:: no_consumers
		:: else
		fi;
		if
		:: atomic {
			err == AGAIN ->
			err = OK;
			now_uptodate = false;
			newly_added = false;
			no_consumers = false
		   }
		:: atomic {
			else ->
			now_uptodate = false;
			newly_added = false;
			no_consumers = false;
			break
		   }
		fi
	od
}

/* Invalidates the pages in set, and removes those in gone */
inline shmem_punch_hole(set, gone)
{
	memfd_invalidate_begin(set);
	do
	:: atomic {
		gone && !folio[cache[first(gone)]].locked ->
		p = first(gone);
		gone = gone & ~bit(p);
		if
		:: cache[p] -> filemap_remove_folio(p)
		:: else -> swapped = swapped && !in_swap(p)
		fi;
		p = 0
	   }
	:: !gone -> break
	od;
	memfd_invalidate_end()
}

/* shmem_undo_range(), after a fallocate() that added the pages before p */
inline shmem_undo_fallocate(p)
{
	do
	:: mistake(undo_unlocked) && p && !folio[cache[p - 1]].uptodate && !unlocked ->
		unlocked = true
	:: atomic {
		p && !folio[cache[p - 1]].locked ->
		p--;
		if
		:: cache[p] && (!folio[cache[p]].uptodate || unlocked) ->
			HOLDS(I5, folio[cache[p]].added && !folio[cache[p]].uptodate);
			filemap_remove_folio(p)
		:: else
		fi;
		unlocked = false
	   }
	:: !p -> break
	od
}

/* Of both pages */
inline shmem_fallocate()
{
	memfd_fallocate_begin();
	do
	:: p < 2 && !err && (!second_pass || mn[MIRROR].registered) ->
		shmem_get_folio(p, f, SGP_FALLOC);
		atomic {
			if
			:: !err ->
				folio[f].dirty = true;
				folio_unlock_put(f);
				p++
			:: else
			fi
		}
	:: p < 2 && !err && (!second_pass || mn[MIRROR].registered) ->
		err = FAILED	/* killed, or no memory */
	:: d_step {	/* shmem_falloc_populate() */
		p == 2 && !err && !second_pass ->
		second_pass = true;
		p = 0
	   }
	:: else -> break
	od;
	if
	:: d_step { err -> p = (second_pass -> 2 : p) }
		shmem_undo_fallocate(p);
		memfd_fallocate_abort();
		HOLDS(I5, undone(0) && undone(1) &&
			  no_trace(MIRROR) && no_trace(KVM))
	:: atomic {
		else ->
		HOLDS(I5, !refused);
		HOLDS(I4, !im_mapped || mirrored(0) && mirrored(1));
		mn[MIRROR].prepared = false;
		mn[MIRROR].reserved = false;
		mn[KVM].prepared = false;
		mn[KVM].reserved = false
	   }
	fi;
	atomic {
		folio[cache[0]].added = false;
		folio[cache[1]].added = false;
		second_pass = false;
		refused = false
	}
}

/* shmem_write_begin() and shmem_write_end() */
inline shmem_write(p)
{
	shmem_get_folio(p, f, SGP_FILL);
	atomic {
		if
		:: f -> folio[f].dirty = true; folio_unlock_put(f)
		:: else
		fi
	}
}

/*
 * shmem_migrate_folio() or shmem_writepage(), of page 0. A reference taken by a
 * concurrent lookup keeps the folio where it is: migration succeeds only if the page
 * cache and this process hold the only ones. So the new folio can have the number of
 * the old one, which no process has seen, except for a consumer that still maps it.
 */
inline shmem_replace_folio()
{
	atomic {
		cache[0] && !folio[cache[0]].locked && !caller_done ->
		f = cache[0];
		folio[f].locked = !mistake(replace_unlocked);
		folio[f].refs++;
		if
		:: folio[f].refs == 2 -> swap_out = true
		:: true
		fi;
		memfd_replace_begin(0, f, swap_out)
	}
	atomic {
		if
		:: !err && swap_out && cache[0] == f ->
			/* what a consumer writes from here on is lost */
			HOLDS(I2, !reachable(f));
			swapped = true;
			cache[0] = 0;
			folio_put(f)
		:: !err && !swap_out && folio[f].refs == 2 ->	/* migrate_folio() */
			HOLDS(I2, !reachable(f))
		:: else
		fi;
		memfd_invalidate_end();	/* memfd_replace_end() */
		folio_unlock_put(f);
		swap_out = false;
		err = OK
	}
}

/*
 * mm/memfd_ops/filemap.c
 */

/* The fast path takes an uptodate folio whose lock is free */
inline filemap_get_lock_pfn(p, f)
{
	if
	:: atomic {
		folio[cache[p]].uptodate && !folio[cache[p]].locked ->
		f = cache[p];
		folio[f].locked = true;
		folio[f].refs++
	   }
	:: shmem_get_folio(p, f, SGP_CACHE)
	fi
}

inline filemap_put_unlock_pfn(f)
{
	folio[f].dirty = folio[f].dirty || mn[KVM].registered;
	folio_unlock_put(f)
}

/*
 * drivers/iommu/memfd/mirror.c
 */

inline map_folio(p, f)
{
	HOLDS(I3, folio[f].uptodate);
	folio[f].refs++;
	mn[MIRROR].reach[p] = f
}

inline revoke(set, p)
{
	if
	:: (set) & bit(p) && mn[MIRROR].reach[p] ->
		g = mn[MIRROR].reach[p];
		mn[MIRROR].reach[p] = 0;
		folio[g].dirty = true;
		folio_put(g);
		g = 0
	:: else
	fi
}

inline mirror_invalidate_page_range(set)
{
	HOLDS(I7, mn[MIRROR].registered);
	revoke(set, 0);
	revoke(set, 1)
}

#define lookable(p)	(!folio[cache[p]].locked || mistake(lookup_locked))

inline mirror_populate(p, f)
{
	HOLDS(I7, mn[MIRROR].registered);
	if
	:: memfd_read_retry	/* the core tries again */
	:: !memfd_read_retry && im_closing ->
		memfd_next_consumer(bit(MIRROR))
	:: !memfd_read_retry && !im_closing ->
		/* otherwise revoke_all_unnotified(), and no mapping any more */
		HOLDS(I4, !mn[MIRROR].reach[p]);
		map_folio(p, f);
		memfd_next_consumer(bit(MIRROR))
	:: !memfd_read_retry && !im_closing && _pid == 0 ->
		err = FAILED;
		memfd_put_consumer()
	fi;
	end_read()
}

/* The second half of fill(). On retry, page p stays in todo */
inline fill_page(p, f, todo)
{
	HOLDS(I7, mn[MIRROR].registered);
	if
	:: im_closing -> todo = todo & ~bit(p)
	:: !im_closing && memfd_read_retry
	:: !im_closing && !memfd_read_retry ->
		if
		:: mn[MIRROR].reach[p]	/* populate was first */
		:: else -> map_folio(p, f)
		fi;
		todo = todo & ~bit(p)
	fi;
	end_read();
	folio_put(f);
	f = 0
}

inline mirror_invalidate_end()
{
	atomic {
		!memfd_read_begin_waits ->
		begin_read();
		q = first(todo)
	}
	atomic {	/* get_folios() */
		lookable(q) || !folio[cache[q]].uptodate ->
		g = cache[q];
		if
		:: folio[g].uptodate -> folio[g].refs++
		:: else -> g = 0; todo = todo & ~bit(q); end_read()
		fi
	}
	d_step {
		if
		:: g -> fill_page(q, g, todo)
		:: else
		fi;
		q = 0;
		if
		:: !todo -> memfd_next_consumer(inv[_pid].notified)
		:: else
		fi
	}
}

/* Initialise or read back; keeps the folio locked until the mirror has it */
inline prepare_folio(p, f)
{
	if
	:: !f && no_memory(p) -> err = FAILED
	:: else ->
		if
		:: !f ->
			f = unused_folio(p);
			folio[f].refs++;
			folio[f].dirty = true;
			cache[p] = f;
			swapped = false;
			newly_added = true
		:: else
		fi;
		folio[f].locked = true;
		folio[f].refs++;
		folio[f].uptodate = true;
		now_uptodate = true
	fi;
	end_read()
}

inline iommu_memfd_map()
{
	memfd_register_falloc_notifier(MIRROR);
	fill = BOTH_PAGES;
	do
	:: atomic {
		fill && !err && !memfd_read_begin_waits ->
		begin_read();
		p = first(fill)
	   }
	   atomic {	/* get_folios() with MEMFD_PFN_FILL, or else prepare_folios() */
		lookable(p) && !(in_swap(p) && i_pages_lock) ->
		f = cache[p];
		if
		:: folio[f].uptodate -> folio[f].refs++
		:: !folio[f].uptodate && (prepared || !f && !in_swap(p)) ->
			f = 0;
			fill = fill & ~bit(p);
			end_read()
		:: else -> prepare_folio(p, f)
		fi
	   }
	   if
	   :: now_uptodate ->
		memfd_populate_or_drop(p, f, newly_added);
		atomic {
			now_uptodate = false;
			newly_added = false;
			prepared = !err;
			if
			:: f -> folio_unlock_put(f)
			:: else -> err = (err == AGAIN -> OK : err)
			fi;
			p = 0
		}
	   :: d_step {
		!now_uptodate ->
		if
		:: f -> fill_page(p, f, fill)
		:: else
		fi;
		prepared = prepared && fill & bit(p);
		p = 0
	   }
	   fi
	:: !fill || err -> break
	od
}

inline iommu_memfd_unmap()
{
	d_step {
		im_mapped = false;
		im_closing = true;
		if
		:: !mistake(unregister_first) ->
			revoke(BOTH_PAGES, 0);
			revoke(BOTH_PAGES, 1)
		:: else
		fi
	}
	memfd_unregister_falloc_notifier(MIRROR);
	d_step {
		if
		:: mistake(unregister_first) ->
			revoke(BOTH_PAGES, 0);
			revoke(BOTH_PAGES, 1)
		:: else
		fi;
		im_closing = false
	}
}

/*
 * virt/kvm/memfd.c
 */

inline kvm_memfd_invalidate()
{
	HOLDS(I7, mn[KVM].registered);
	mmu_invalidate_in_progress++;
	invalidating++;
	mn[KVM].reach[0] = 0
}

inline kvm_memfd_invalidate_end()
{
	HOLDS(I7, mn[KVM].registered);
	mmu_seq_changed = true;
	mmu_invalidate_in_progress--;
	invalidating--
}

inline kvm_memfd_unbind()
{
	mn[KVM].reach[0] = 0;	/* KVM zaps the memslot before this */
	memfd_unregister_falloc_notifier(KVM);
	d_step {
		mmu_invalidate_in_progress = mmu_invalidate_in_progress - invalidating;
		invalidating = 0
	}
}

/* KVM keeps the reference on @pfn until it has mapped it */
inline kvm_memfd_get_pfn(p, f, pfn)
{
	filemap_get_lock_pfn(p, f);
	atomic {
		if
		:: f ->
			pfn = f;
			folio[pfn].refs++;
			filemap_put_unlock_pfn(f)
		:: else
		fi
	}
}

inline kvm_tdp_map_page(p, f)
{
	if
	:: mn[KVM].registered && !mmu_invalidate_retry ->
		HOLDS(I3, folio[f].uptodate);
		mn[KVM].reach[p] = f
	:: else
	fi;
	folio_put(f);
	f = 0
}

/*
 * The processes
 */

active proctype caller()
{
	LOCALS;
	byte set, gone;
	bool refused, second_pass, unlocked;

	do
	:: CALL {
		atomic {
			!i_rwsem_writer && !i_rwsem_readers ->
			i_rwsem_writer = true
		}
		if
		:: atomic {
			if
			:: set = bit(0); gone = bit(0)
			:: set = bit(1); gone = bit(1)
			:: set = BOTH_PAGES; gone = bit(0)
			:: set = BOTH_PAGES; gone = bit(1)
			:: set = BOTH_PAGES; gone = BOTH_PAGES
			:: set = BOTH_PAGES; gone = 0	/* a hole that somebody's pin keeps */
			fi
		   }
			shmem_punch_hole(set, gone)
		:: shmem_fallocate()
		:: atomic {
			if
			:: p = 0
			:: p = 1
			fi
		   }
			shmem_write(p)
		fi;
		atomic {
			p = 0;
			set = 0;
			i_rwsem_writer = false;
			call_returns()
		}
	   }
	:: caller_done = true; break
	od
}

active proctype device()
{
	LOCALS;
	byte fill;
	bool prepared;

	do
	:: CALL {
		iommu_memfd_map();
		atomic {
			fill = 0;
			if
			:: !err -> im_mapped = true; call_returns()
			:: else
			fi
		}
	   }
	   CALL {
		iommu_memfd_unmap();
		atomic { call_returns() }
	   }
	:: break
	od
}

active proctype guest()
{
	LOCALS;
	byte pfn;

	do
	:: CALL { !mn[KVM].registered -> memfd_register_falloc_notifier(KVM) }
	:: CALL { mn[KVM].registered -> kvm_memfd_unbind() }
	:: CALL {
		mmu_seq_changed = false;
		kvm_memfd_get_pfn(p, f, pfn);
		atomic {
			if
			:: pfn -> kvm_tdp_map_page(p, pfn)
			:: else
			fi;
			mmu_seq_changed = true;
			call_returns()
		}
	   }
	:: break
	od
}

active proctype memory()
{
	LOCALS;
	bool swap_out;

	do
	:: CALL { shmem_replace_folio() }
	:: atomic {	/* reclaim */
		!caller_done && cache[0] && folio[cache[0]].refs == 1 &&
		!folio[cache[0]].dirty ->
		filemap_remove_folio(0)
	   }
	:: caller_done -> break
	od
}
