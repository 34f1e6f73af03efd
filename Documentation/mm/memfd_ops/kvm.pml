// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's side of the protocol (virt/kvm/memfd.c), as a model for spin. memfd_ops.pml
 * models the core and a consumer that pins; split.pml models holes in huge folios.
 *
 * A file has two pages, in one folio until that is split. A VM has two memslots in it:
 * memslot A has both pages in its window, memslot B page 1 alone. Four processes run
 * until memory stops:
 *
 *	caller	punches holes of one page or both, with i_rwsem
 *	memory	migrates a folio, or splits it (debugfs, reclaim), without i_rwsem
 *	vmm	creates and deletes the memslots
 *	guest	touches a page through a memslot, as a vCPU
 *
 * HOLDS() checks I1, I2 and I7 of Documentation/mm/memfd_ops/invariants.rst. I7 covers
 * what outlives a memslot: its count of invalidations in the VM, and the memslot itself,
 * for a callback or a fault. Besides, no process waits indefinitely (I11).
 *
 * The model simplifies the following, besides the points in memfd_ops.pml and split.pml:
 *
 * - What KVM maps is in the TLB at once, and stays there until a flush.
 * - A reference on a folio is a fault's: others come and go within one step.
 * - The page that replaces a migrated one has its number. The old one is free as soon as
 *   the new one is in the file.
 * - KVM loses a page that is swapped out as one that is migrated. memfd_ops.pml has the
 *   rest of swap.
 * - KVM looks at the sequence before it takes mmu_lock as well, only to save time.
 * - Private and shared attributes change under mmu_lock, with an invalidation of KVM's
 *   own, which does not concern the file.
 *
 * Some things look like a mistake and are none:
 *
 * - To end the invalidation of a migration before the folio has been replaced. Faults that
 *   looked the folio up before hold a reference, with which it cannot be replaced; and
 *   others wait for its lock. It takes an unlocked folio as well to break an invariant:
 *   replace_unlocked.
 * - To drop the fault's reference before it has mapped the page. Whatever removes, replaces
 *   or splits the folio until then is an invalidation of this page.
 * - To map the whole of a folio that came during an invalidation. Its pages leave one by
 *   one only after a split.
 */

/*
 * Each mistake (spin -DMISTAKE=...), and the first invariant that it breaks, but only
 * if calls interleave
 */
mtype = {
	none,
	/* faults */
	seq_only,		/* I2: maps during an invalidation */
	in_progress_only,	/* I2: maps a page that was invalidated meanwhile */
	/* invalidations */
	end_before_removal,	/* I2: ends an invalidation too early */
	replace_unlocked,	/* I2: the same, of a folio that is not locked any more */
	split_mapped,		/* I2: freezes a folio that is mapped */
	last_range,		/* I2: notes only the range of the last memslot */
	old_slot,		/* I7: looks at the memslot that its invalid copy replaced */
	end_newcomer,		/* I7: ends in a memslot that came after it began */
	/* memslots */
	no_srcu,		/* I7: unbinds while a fault uses the memslot */
	zap_early,		/* I2: zaps the memslot before faults are over */
	flush_unlocked,		/* I2: zaps it, and flushes after mmu_lock */
	unbind_zeroes,		/* I7: forgets invalidations of the other memslot, too */
	unbind_keeps		/* I7: keeps counting invalidations that do not end */
};
#ifndef MISTAKE
#define MISTAKE		none
#endif
#define mistake(m)	(MISTAKE == m)

/* With -DCALL=atomic, one call after the other: no mistake is found then */
#ifndef CALL
#define CALL
#endif

mtype = { I1, I2, I7 };
/* The second operand makes spin print the name of the broken invariant */
#define HOLDS(invariant, condition)	assert((condition) || invariant == 0)

/* Sets of pages are bytes with a bit for each */
#define bit(i)		(1 << (i))
#define BOTH		(bit(0) | bit(1))
#define first(pages)	((pages) & bit(0) -> 0 : 1)

/* The file. Folio 0 is that of both pages until it is split. */
bool large = true;
byte cached = BOTH;
byte refs[2];
bool locked[2];
bool frozen;			/* folio 0: without a count of references */
bool i_rwsem;
#define folio_of(p)	(large -> 0 : (p))
#define pages_of(f)	(large -> BOTH : bit(f))
#define present(p)	(cached & bit(p))
#define lockable(p)	(!locked[folio_of(p)])

/* struct kvm_memory_slot, and the notifier in its struct kvm_memfd; slot[0] is unused */
#define A		1
#define B		2
#define window(s)	(bit(1) | ((s) == A))	/* bit(0) */
#define ABSENT		0
#define VISIBLE		1
#define INVALID		2	/* a copy with that flag is active instead */
typedef Slot {
	byte is;
	bool registered;
	bool unregistering;
	byte nr_active;
	byte invalidating;	/* begun, not ended, and not subtracted */
	bool rmaps, copy_rmaps;	/* of the memslot, and of the invalid copy */
	byte spte, tlb		/* pages with a translation */
};
Slot slot[3];
bool huge_spte;			/* memslot A maps both pages by one entry */

/* struct kvm */
short mmu_invalidate_in_progress;
byte mmu_invalidate_range;	/* gfns: a bit for each page of each memslot */
bool mmu_seq_changed = true;	/* unless a fault is under way and saw no change */
bool shadow_mmu;		/* a nested guest has run: memslots need rmaps */
bool srcu_reader;		/* a fault is under way */
bool srcu_waits;		/* and synchronize_srcu() waits for it */
#define gfns(s, pages)	((pages) << 2 * ((s) - 1))

#define reachable	(slot[A].spte | slot[A].tlb | slot[B].spte | slot[B].tlb)

/* struct memfd_invalidation; the first two processes have one */
typedef Invalidation {
	byte pages;
	byte notified		/* memslots that @start_gen and window select */
};
Invalidation inv[2];
#define listed(set)	((inv[0].pages | inv[1].pages) & (set))

inline folio_put(f)
{
	refs[f]--;
	HOLDS(I2, refs[f] || cached & pages_of(f) || !(reachable & pages_of(f)))
}

/*
 * virt/kvm/memfd.c
 */

/*
 * Marks pages accessed, which takes a reference for a moment. Flushes only what it zaps, and
 * so relies on others that zap to flush before they release mmu_lock.
 */
#define VMM		2	/* the _pid of vmm() */
#define unflushed	(mistake(flush_unlocked) && _pid == VMM)

inline zap(s, lost)
{
	HOLDS(I2, !frozen || !(slot[s].spte & (lost)));
	if
	:: s == A && huge_spte && (lost) ->
		/* a huge entry goes as a whole */
		huge_spte = false;
		slot[A].spte = 0;
		slot[A].tlb = (unflushed -> slot[A].tlb : 0)
	:: else ->
		slot[s].tlb = slot[s].tlb & ~(unflushed -> 0 : (lost) & slot[s].spte);
		slot[s].spte = slot[s].spte & ~(lost)
	fi
}

/* kvm_unmap_gfn_range(), with rmaps if there is a shadow MMU */
#define may_unmap(s) \
	(!shadow_mmu || (slot[s].is == INVALID && !mistake(old_slot) -> \
			 slot[s].copy_rmaps : slot[s].rmaps))

inline kvm_memfd_invalidate(s)
{
	HOLDS(I7, slot[s].registered);
	if
	:: !mmu_invalidate_in_progress || mistake(last_range) -> mmu_invalidate_range = 0
	:: else
	fi;
	mmu_invalidate_range = mmu_invalidate_range | gfns(s, inv[_pid].pages & window(s));
	mmu_invalidate_in_progress++;
	slot[s].invalidating++;
	if
	:: slot[s].is != ABSENT ->
		HOLDS(I7, may_unmap(s));
		zap(s, inv[_pid].pages & window(s))
	:: else
	fi
}

inline kvm_mmu_invalidate_end()
{
	mmu_seq_changed = true;
	mmu_invalidate_in_progress--;
	HOLDS(I7, mmu_invalidate_in_progress >= 0)
}

inline kvm_memfd_invalidate_end(s)
{
	HOLDS(I7, slot[s].registered);
	slot[s].invalidating--;
	kvm_mmu_invalidate_end()
}

/*
 * mm/memfd_ops/core.c
 */

#define may_get(s, set)	((set) & bit(s) && slot[s].registered && !slot[s].unregistering)

/* Put c, if it is a memslot, and get the next one; 0 if there is none */
inline memfd_next_consumer(set)
{
	slot[c].nr_active = slot[c].nr_active - (c -> 1 : 0);
	c = (c < A && may_get(A, set) -> A : (c < B && may_get(B, set) -> B : 0));
	slot[c].nr_active = slot[c].nr_active + (c -> 1 : 0)
}

#define overlapping(set) \
	((slot[A].registered -> bit(A) : 0) | \
	 (slot[B].registered && (set) & bit(1) -> bit(B) : 0))

/* A memslot loses the folio as a whole */
inline memfd_invalidate_begin(set)
{
	d_step {
		inv[_pid].pages = (large && cached -> BOTH : (set));
		inv[_pid].notified = overlapping(inv[_pid].pages);
		memfd_next_consumer(inv[_pid].notified)
	}
	do
	:: d_step {
		c ->
		kvm_memfd_invalidate(c);
		memfd_next_consumer(inv[_pid].notified)
	   }
	:: !c -> break
	od
}

inline memfd_invalidate_end()
{
	d_step {
		if
		:: mistake(end_newcomer) -> inv[_pid].notified = overlapping(inv[_pid].pages)
		:: else
		fi;
		memfd_next_consumer(inv[_pid].notified)
	}
	do
	:: d_step {
		c ->
		kvm_memfd_invalidate_end(c);
		memfd_next_consumer(inv[_pid].notified)
	   }
	:: d_step { !c -> inv[_pid].pages = 0; inv[_pid].notified = 0 }; break
	od
}

inline memfd_register_falloc_notifier(s)
{
	atomic { !i_rwsem -> slot[s].registered = true }
}

inline memfd_unregister_falloc_notifier(s)
{
	slot[s].unregistering = true;
	d_step {
		!slot[s].nr_active ->
		slot[s].registered = false;
		slot[s].unregistering = false;
		inv[0].notified = inv[0].notified & ~bit(s);
		inv[1].notified = inv[1].notified & ~bit(s)
	}
}

/*
 * The processes
 */

/* When memory stops, the others do so after a call. The last one checks for leaks. */
bool stopping;
byte nr_stopped;

inline stop()
{
	stopping = true;
	nr_stopped++;
	HOLDS(I7, nr_stopped < 4 || !mmu_invalidate_in_progress && !refs[0] && !refs[1])
}

/* In one step; memory has them all. Fails while a fault has a reference on the folio. */
inline split_folio()
{
	if
	:: !refs[0] ->
		zap(A, BOTH);
		zap(B, BOTH);
		mmu_seq_changed = true;
		large = false
	:: else
	fi
}

/* shmem_fallocate(FALLOC_FL_PUNCH_HOLE) */
#define part_of_folio	(large && cached && set && set != BOTH)

active proctype caller()
{
	byte p, c, set;

	do
	:: CALL {
		atomic {
			!stopping && !i_rwsem ->
			i_rwsem = true;
			if
			:: set = bit(0)
			:: set = bit(1)
			:: set = BOTH
			fi
		}
		memfd_invalidate_begin(set);
		if
		:: mistake(end_before_removal) -> memfd_invalidate_end()
		:: else
		fi;
		/* shmem_undo_range() */
		do
		:: d_step {	/* truncate_inode_partial_folio() */
			part_of_folio && lockable(0) ->
			split_folio();
			/* the part has been zeroed instead */
			set = (large -> 0 : set)
		   }
		:: d_step {
			set && !part_of_folio && lockable(first(set)) ->
			p = first(set);
			set = set & ~(present(p) -> pages_of(folio_of(p)) : bit(p));
			if
			:: present(p) ->
				cached = cached & ~pages_of(folio_of(p));
				refs[folio_of(p)]++;
				folio_put(folio_of(p))
			:: else
			fi;
			p = 0
		   }
		:: !set -> break
		od;
		if
		:: mistake(end_before_removal)
		:: else -> memfd_invalidate_end()
		fi;
		atomic {
			HOLDS(I1, !(reachable & ~cached));
			i_rwsem = false
		}
	   }
	:: atomic { stopping -> stop(); break }
	od
}

active proctype memory()
{
	byte f, c, set;

	do
	:: CALL {
		atomic {	/* shmem_migrate_folio() */
			if
			:: present(0) && lockable(0) -> f = 0
			:: present(1) && lockable(1) -> f = folio_of(1)
			fi;
			locked[f] = true;
			set = pages_of(f)
		}
		memfd_invalidate_begin(set);	/* memfd_replace_begin() */
		if
		:: mistake(replace_unlocked) -> memfd_invalidate_end(); locked[f] = false
		:: else
		fi;
		/* migrate_folio(): only if the page cache has the only references */
		HOLDS(I2, refs[f] || !(reachable & cached & set));
		if
		:: mistake(replace_unlocked)
		:: else -> memfd_invalidate_end(); locked[f] = false
		fi;
		atomic { f = 0; set = 0 }
	   }
	:: CALL {
		atomic {	/* split_huge_page_to_list_to_order() */
			large && cached && lockable(0) && !refs[0] ->
			locked[0] = true;
			set = BOTH
		}
		if
		:: mistake(split_mapped)
		:: else -> memfd_invalidate_begin(set)	/* memfd_freeze_begin() */
		fi;
		frozen = !refs[0];
		d_step { large = !frozen; frozen = false }
		if
		:: mistake(split_mapped)
		:: else -> memfd_invalidate_end()
		fi;
		atomic { locked[0] = false; set = 0 }
	   }
	:: atomic { stop(); break }
	od
}

/* KVM_SET_USER_MEMORY_REGION2 */
active proctype vmm()
{
	byte s;

	do
	:: CALL {
		atomic {
			!stopping ->
			if
			:: s = A
			:: s = B
			fi
		}
		if
		:: slot[s].is == ABSENT ->
			memfd_register_falloc_notifier(s);	/* kvm_memfd_bind() */
			d_step { slot[s].is = VISIBLE; slot[s].rmaps = shadow_mmu }
		:: else ->
			/* kvm_invalidate_memslot() */
			d_step {
				slot[s].copy_rmaps = slot[s].rmaps;
				slot[s].is = INVALID;
				srcu_waits = srcu_reader;
				zap(s, BOTH * mistake(zap_early))
			}
			d_step {
				!srcu_waits || mistake(no_srcu) ->
				srcu_waits = false;
				slot[s].rmaps = slot[s].copy_rmaps;
				zap(s, BOTH * !mistake(zap_early))
			}
			d_step {
				/* flush_unlocked flushes here */
				slot[s].tlb = slot[s].tlb & slot[s].spte;
				/* kvm_delete_memslot(); no fault has the memslot any more */
				slot[s].is = ABSENT
			}
			/* kvm_memfd_unbind() */
			memfd_unregister_falloc_notifier(s);
			d_step {
				do
				:: slot[s].invalidating && !mistake(unbind_keeps) ->
					slot[s].invalidating--;
					kvm_mmu_invalidate_end()
				:: else -> break
				od;
				slot[s].invalidating = 0;
				slot[s].rmaps = false;
				slot[s].copy_rmaps = false;
				if
				:: mistake(unbind_zeroes) -> mmu_invalidate_in_progress = 0
				:: else
				fi
			}
		fi;
		s = 0
	   }
	:: atomic { stopping -> stop(); break }
	od
}

#define is_page_fault_stale \
	(mmu_seq_changed && !mistake(in_progress_only) || \
	 mmu_invalidate_in_progress && mmu_invalidate_range & gfns(s, bit(p)) && \
	 !mistake(seq_only))

/* get_lock_pfn()'s @order */
#define may_be_whole	(!listed(BOTH))

active proctype guest()
{
	byte s, p, f;
	bool whole, found;

	do
	:: CALL {
		atomic {	/* a fault begins, and notes the sequence */
			!stopping && (slot[A].is == VISIBLE || slot[B].is == VISIBLE) ->
			if
			:: slot[A].is == VISIBLE -> s = A; p = 0
			:: slot[A].is == VISIBLE -> s = A; p = 1
			:: slot[B].is == VISIBLE -> s = B; p = 1
			fi;
			srcu_reader = true;
			mmu_seq_changed = false
		}
		atomic {	/* kvm_memfd_get_pfn() */
			!present(p) || lockable(p) ->
			HOLDS(I7, slot[s].registered);
			if	/* fill a hole, perhaps by a huge folio */
			:: !present(p) -> cached = cached | bit(p); large = false
			:: !cached -> cached = BOTH; large = true
			:: else
			fi;
			found = present(p);
			f = folio_of(p);
			whole = found && s == A && large && may_be_whole;
			refs[f] = refs[f] + (found -> 1 : 0)
		}
		d_step {	/* kvm_tdp_mmu_page_fault(), under mmu_lock */
			if
			:: !found || is_page_fault_stale
			:: else ->
				huge_spte = huge_spte && s == A || whole;
				slot[s].spte = slot[s].spte | (whole -> BOTH : bit(p));
				slot[s].tlb = slot[s].tlb | slot[s].spte
			fi;
			if
			:: found -> folio_put(f)
			:: else
			fi;
			srcu_reader = false;
			srcu_waits = false;
			mmu_seq_changed = true;
			s = 0;
			p = 0;
			f = 0;
			whole = false;
			found = false
		}
	   }
	:: d_step {	/* mmu_first_shadow_root_alloc(): rmaps for active memslots */
		!shadow_mmu && !stopping ->
		shadow_mmu = true;
		slot[A].rmaps = slot[A].is == VISIBLE;
		slot[A].copy_rmaps = slot[A].is == INVALID;
		slot[B].rmaps = slot[B].is == VISIBLE;
		slot[B].copy_rmaps = slot[B].is == INVALID
	   }
	:: atomic { stopping -> stop(); break }
	od
}
