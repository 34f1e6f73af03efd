// SPDX-License-Identifier: GPL-2.0
/*
 * Holes and failed memory in a huge folio, as a model for spin. memfd_ops.pml
 * models the rest of the protocol, which does not depend on the size of folios.
 *
 * A file has two pages, in one folio until that is split. A mirror
 * (drivers/iommu/memfd/) maps page 0, page 1, or both with one large entry, and
 * holds a reference for each page. A memslot (virt/kvm/memfd.c) has both pages,
 * and holds a reference from a fault's lookup until it has mapped the page. Five
 * processes run until memory stops:
 *
 *	caller	punches holes of one page, of both, or of some bytes, with i_rwsem
 *	poison	is memory_failure() of one page, once, without i_rwsem
 *	device	maps the mirror and unmaps it
 *	guest	touches the pages, as a vCPU
 *	memory	migrates, reclaims and splits folios; faults a huge folio in
 *
 * A split succeeds only if nobody but the page cache and the splitting process has
 * a reference on the folio. The mirror drops its references for the time of the
 * split (they are counted in nr_unpinned), and keeps its translations.
 *
 * HOLDS() checks I1, I2, I4, I7 and I10 of Documentation/mm/memfd_ops/
 * invariants.rst. I1 covers failed memory as if it had been removed. I2 covers
 * reference counts: a reference is dropped only if it is there. I7 covers leaks: in
 * the end no reference is left. Besides, no process waits indefinitely (I11).
 *
 * The model simplifies the following, besides the points in memfd_ops.pml:
 *
 * - The device and the IOMMU are as bad as the specification allows: each
 *   translation is in the TLB as soon as it is in the page table, and a large TLB
 *   entry stays until one flush covers all of it. The page table alone must
 *   translate the pages that stay (I10), since the TLB may be empty.
 * - Code under im->lock or mmu_lock is one step, until it waits for nr_unpinned. So
 *   are code under the folio lock that other processes can only observe through
 *   that lock, memfd_invalidate_begin() up to that wait, and memfd_read_begin() with
 *   the lookup that follows: memfd_ops.pml has the steps in between.
 * - A split is one step. kvm.pml has those in which the folio is frozen; that others wait
 *   for the end of this invalidation as for that of any other is in neither.
 * - The page that replaces a migrated one has its number. The old one is free as
 *   soon as the new one is in the file, so no translation to it may be left then.
 * - There is one mirror. For a split that began before it registered, it stands for
 *   a second one.
 */

/*
 * Each mistake (spin -DMISTAKE=...), and the first invariant that it breaks, but only
 * if calls interleave
 */
mtype = {
	none,
	/* the core */
	list_exact,		/* I7: waits for invalidations of the hole only */
	readers_wait,		/* I11: maps only after others have mapped again, too */
	replace_unlisted,	/* I2: migrates a folio during an invalidation */
	split_unlisted,		/* I2: drops references without an invalidation */
	split_seq_unchanged,	/* I7: splits without a new sequence number */
	split_any_mirror,	/* I7: takes references for a mirror that came later */
	no_dirty,		/* I2: splits a clean folio, which reclaim drops */
	retake_late,		/* I2: takes references again after the invalidation */
	failed_split_revokes,	/* I10: revokes a folio that could not be split */
	/* the mirror */
	revoke_no_wait,		/* I2: revokes pages while their references are gone */
	unmap_no_wait,		/* I2: unmaps while the references are gone */
	no_remap		/* I4: does not remap pages that could not be removed */
};
#ifndef MISTAKE
#define MISTAKE		none
#endif
#define mistake(m)	(MISTAKE == m)

/* With -DCALL=atomic, one call after the other: no mistake is found then */
#ifndef CALL
#define CALL
#endif

mtype = { I1, I2, I4, I7, I10 };
/* The second operand makes spin print the name of the broken invariant */
#define HOLDS(invariant, condition)	assert((condition) || invariant == 0)

/* Sets of pages are bytes with a bit for each */
#define bit(p)		(1 << (p))
#define BOTH		(bit(0) | bit(1))
#define nr(pages)	(((pages) & 1) + ((pages) >> 1))
#define first(pages)	((pages) & bit(0) -> 0 : 1)

/* The file. Folio 0 is that of both pages until it is split. */
typedef Folio {
	byte refs;		/* apart from those of the page cache */
	bool locked;
	bool dirty		/* reclaim drops a clean folio */
};
Folio folio[2];
bool large = true;
byte cached = BOTH;
byte poisoned;
bool i_rwsem;
#define folio_of(p)	(large -> 0 : (p))
#define pages_of(f)	(large -> BOTH : bit(f))
#define present(p)	(cached & bit(p))
#define lockable(p)	(!folio[folio_of(p)].locked)
/* No mirror maps a folio whose memory failed in part */
#define healthy(p)	(!(poisoned & pages_of(folio_of(p))))

/* struct memfd_invalidation; the first two processes have one */
typedef Invalidation {
	byte exact;		/* the pages that leave, for the mirror */
	byte pages;		/* all of the folio, for KVM and for lookups of the list */
	bool remapping;		/* the pages have left: readers do not wait any more */
	bool mirror;		/* its window overlaps @exact; @start_gen */
	bool unpinned		/* memfd_split_begin() dropped the mirror's references */
};
Invalidation inv[2];
#define list_pages(i)	(mistake(list_exact) -> inv[i].exact : inv[i].pages)
#define is_over(i)	(inv[i].remapping && (i == _pid || !mistake(readers_wait)))
#define active(i, set)	(!is_over(i) && list_pages(i) & (set))
#define invalidating(set) (active(0, set) || active(1, set))
#define listed(set)	((inv[0].pages | inv[1].pages) & (set))

/* struct iommu_memfd, its page table and TLB */
bool registered;
byte nr_active;
bool closing;
byte window;
byte nr_unpinned;
byte mapped;			/* the runs: a reference for each */
byte undisturbed;		/* mapped, and no call removes them: I10 */
byte pt, tlb;
bool pt_large, tlb_large;
bool im_mapped;			/* iommu_memfd_map() has returned */
/* the sequence: processes that saw no change since memfd_read_begin() */
byte im_seq_same;
#define begin_read()	im_seq_same = im_seq_same | bit(_pid)
#define end_read()	im_seq_same = im_seq_same & ~bit(_pid)
#define memfd_read_retry (!(im_seq_same & bit(_pid)))

/* struct kvm */
byte mmu_invalidate_in_progress;
byte mmu_invalidate_range;
bool mmu_seq_changed = true;	/* unless a fault is under way and saw no change */
byte spte;
bool spte_large;

#define reachable \
	(pt | tlb | spte | (tlb_large || pt_large || spte_large -> BOTH : 0))

/*
 * Variables of each process. p: a page; set: the hole, or the pages of it that are
 * still in the file; todo, q, found: for fill() the pages to map, one of them, and
 * whether its folio has been looked up; f and g: for a moment, a folio and a set.
 */
#define LOCALS \
	byte p, f, q, g, set, todo; \
	bool found, did_split

/*
 * I4: the mirror has the pages, unless a call is about to bring or remove them. It
 * may lack a page next to failed memory, which was skipped while a reference kept
 * their folio from being split.
 */
#define mirrored(p) \
	(!(window & cached & ~mapped & bit(p)) || poisoned || listed(bit(p)))

inline call_returns()
{
	HOLDS(I1, !(reachable & ~cached));
	HOLDS(I4, !im_mapped || mirrored(0) && mirrored(1))
}

inline folio_put(f, n)
{
	HOLDS(I2, folio[f].refs >= n);
	folio[f].refs = folio[f].refs - (n);
	if
	:: !folio[f].refs && !(cached & pages_of(f)) ->
		HOLDS(I2, !(reachable & pages_of(f)));
		folio[f].dirty = false;
		large = false
	:: else
	fi
}

inline filemap_remove_folio(f)
{
	g = pages_of(f);
	cached = cached & ~g;
	folio_put(f, 0);
	g = 0
}

/*
 * drivers/iommu/memfd/mirror.c
 */

/* In one write, then flush all of the old entry */
inline iommu_cut()
{
	pt_large = false;
	pt = BOTH;
	tlb = BOTH;
	tlb_large = false
}

/* Under im->lock. The references go last. */
inline revoke(set)
{
	g = (set) & mapped;
	if
	:: pt_large && g && g != BOTH -> iommu_cut()
	:: else
	fi;
	pt = pt & ~g;
	HOLDS(I10, !(undisturbed & ~pt));
	tlb = tlb & ~g;
	if
	:: g == BOTH -> pt_large = false; tlb_large = false
	:: else
	fi;
	mapped = mapped & ~g;
	if
	:: g & bit(0) -> folio[0].dirty = true; folio_put(0, 1)
	:: else
	fi;
	if
	:: g & bit(1) -> folio[folio_of(1)].dirty = true; folio_put(folio_of(1), 1)
	:: else
	fi;
	g = 0
}

inline map(f, set)
{
	folio[f].refs = folio[f].refs + nr(set);
	pt_large = pt_large || (set) == BOTH;
	tlb_large = tlb_large || (set) == BOTH;
	pt = pt | (set);
	tlb = tlb | (set);
	undisturbed = undisturbed | (set);
	mapped = mapped | (set)
}

/* The first half of fill(): page q of todo. Pages that are done leave todo. */
inline get_folios(set)
{
	begin_read();
	q = first(todo);
	!present(q) || lockable(q) ->
	found = present(q) && healthy(q);
	if
	:: found -> folio[folio_of(q)].refs++
	:: else -> todo = todo & ~bit(q); end_read(); q = 0
	fi
}

/* The second half, under im->lock: what the folio has of set. On retry, again. */
inline map_folios(set)
{
	if
	:: closing -> todo = 0
	:: !closing && memfd_read_retry
	:: else ->
		g = (set) & pages_of(folio_of(q));
		todo = todo & ~g;
		map(folio_of(q), g & ~mapped)
	fi;
	folio_put(folio_of(q), 1);
	end_read();
	found = false;
	q = 0;
	g = 0
}

/*
 * mm/memfd_ops/core.c
 */

inline kvm_memfd_invalidate()
{
	mmu_invalidate_range = mmu_invalidate_range | inv[_pid].pages;
	mmu_invalidate_in_progress++;
	spte = spte & ~inv[_pid].pages;
	/* a large entry goes as a whole */
	spte_large = spte_large && !inv[_pid].pages
}

inline kvm_memfd_invalidate_end()
{
	mmu_seq_changed = true;
	mmu_invalidate_in_progress--;
	mmu_invalidate_range = (mmu_invalidate_in_progress -> mmu_invalidate_range : 0)
}

/* A hole of some bytes removes nothing, and so invalidates nothing */
inline memfd_invalidate_begin(set)
{
	atomic {
		inv[_pid].pages = (large && (set) -> BOTH : (set));
		inv[_pid].exact = set;
		undisturbed = undisturbed & ~(set);
		inv[_pid].mirror = registered && inv[_pid].exact & window;
		if
		:: inv[_pid].mirror ->	/* mirror_invalidate_page_range() */
			nr_active++;
			im_seq_same = 0;
			!nr_unpinned || mistake(revoke_no_wait);
			revoke(inv[_pid].exact);
			nr_active--
		:: else
		fi;
		if
		:: inv[_pid].pages -> kvm_memfd_invalidate()
		:: else
		fi
	}
}

/*
 * The invalidation stays on the list until the mirror has remapped the pages that
 * are still in the file. Readers do not wait for it any more: of two such
 * invalidations each would wait for the other.
 */
inline memfd_invalidate_end()
{
	d_step {
		if
		:: inv[_pid].pages -> kvm_memfd_invalidate_end()
		:: else
		fi;
		inv[_pid].remapping = true;
		if
		:: inv[_pid].mirror && !mistake(no_remap) ->
			todo = inv[_pid].exact & window;
			nr_active++
		:: else -> inv[_pid].mirror = false
		fi
	}
	do
	:: atomic {
		todo && !found && !invalidating(inv[_pid].exact & window) ->
		get_folios(inv[_pid].exact & window)
	   }
	:: d_step { found -> map_folios(inv[_pid].exact & window) }
	:: atomic {
		!todo && !found ->
		if
		:: inv[_pid].mirror -> nr_active--
		:: else
		fi;
		inv[_pid].exact = 0;
		inv[_pid].pages = 0;
		inv[_pid].remapping = false;
		inv[_pid].mirror = false;
		break
	   }
	od
}

/*
 * Folio 0 is locked. Unless the invalidation covers it, the mirror keeps its
 * references, and the split fails if there are any.
 */
inline memfd_split_begin()
{
	d_step {
		folio[0].dirty = folio[0].dirty || !mistake(no_dirty);
		if
		:: registered && (inv[_pid].pages == BOTH || mistake(split_unlisted)) ->
			if
			:: mapped -> folio_put(0, nr(mapped))
			:: else
			fi;
			nr_unpinned++;
			inv[_pid].unpinned = true;
			im_seq_same = (mistake(split_seq_unchanged) -> im_seq_same : 0)
		:: else
		fi
	}
}

inline memfd_split_end()
{
	d_step {
		if
		:: inv[_pid].unpinned || mistake(split_any_mirror) && registered &&
					 inv[_pid].pages == BOTH ->
			HOLDS(I7, nr_unpinned);
			if
			:: mapped & bit(0) -> folio[0].refs++
			:: else
			fi;
			if
			:: mapped & bit(1) -> folio[folio_of(1)].refs++
			:: else
			fi;
			nr_unpinned--;
			inv[_pid].unpinned = false;
			if
			:: mistake(failed_split_revokes) && !did_split -> revoke(BOTH)
			:: else
			fi
		:: else
		fi
	}
}

/*
 * Leaves only the folio of page p locked, with the caller's reference on it. For the time
 * that the folio is frozen, KVM loses it.
 */
inline split_folio(p)
{
	d_step {
		did_split = folio[0].refs == 1;
		if
		:: did_split ->
			spte = 0;
			spte_large = false;
			mmu_seq_changed = true;
			large = false;
			folio[1].dirty = folio[0].dirty;
			folio[p].refs = 1;
			folio[1 - (p)].refs = 0;
			folio[1 - (p)].locked = false;
			folio[p].locked = true
		:: else
		fi
	}
}

/*
 * The processes
 */

/* When memory stops, the others do so after a call. The last one checks for leaks. */
bool stopping;
byte nr_stopped;
byte poison_refs;
#define leaked(f)	(folio[f].refs != (poisoned & pages_of(f) -> poison_refs : 0))

inline stop()
{
	stopping = true;
	nr_stopped++;
	HOLDS(I7, nr_stopped < 5 || !leaked(0) && (large || !leaked(1)))
}

/* shmem_fallocate(FALLOC_FL_PUNCH_HOLE) */
#define part_of_folio	(large && cached && (bytes || set == bit(0) || set == bit(1)))

active proctype caller()
{
	LOCALS;
	bool bytes;

	do
	:: CALL {
		atomic {
			!stopping && !i_rwsem ->
			i_rwsem = true;
			if
			:: set = 0; bytes = true
			:: set = bit(0)
			:: set = bit(1)
			:: set = BOTH
			fi;
			memfd_invalidate_begin(set)
		}
		/* shmem_undo_range() */
		do
		:: atomic {	/* truncate_inode_partial_folio() */
			part_of_folio && lockable(0) ->
			folio[0].locked = true;
			folio[0].refs++;
			memfd_split_begin()
		   }
			split_folio(0);
			atomic {
				if
				:: mistake(retake_late)
				:: else -> memfd_split_end()
				fi;
				/* the part has been zeroed instead */
				set = (did_split -> set : 0);
				did_split = false;
				bytes = false;
				folio[0].locked = false;
				folio_put(0, 1)
			}
		:: atomic {
			set && !part_of_folio && lockable(first(set)) ->
			p = first(set);
			if
			:: present(p) -> filemap_remove_folio(folio_of(p))
			:: else
			fi;
			set = (large -> 0 : set & ~bit(p));
			p = 0;
			if
			:: !set -> break
			:: else
			fi
		   }
		:: atomic { !set && !part_of_folio -> break }
		od;
		memfd_invalidate_end();
		atomic {
			if
			:: mistake(retake_late) -> memfd_split_end()
			:: else
			fi;
			i_rwsem = false;
			bytes = false;
			call_returns()
		}
	   }
	:: atomic { stopping -> stop(); break }
	od
}

/* memory_failure(). It keeps its reference on the page, unless it cannot split. */
active proctype poison()
{
	LOCALS;

	if
	:: CALL {
		atomic {
			!stopping && cached ->
			if
			:: present(0) -> p = 0
			:: present(1) -> p = 1
			fi;
			poisoned = bit(p);
			folio[folio_of(p)].refs++;
			poison_refs = 1;
			/* memfd_poison_begin() */
			lockable(p) ->
			f = folio_of(p);
			folio[f].locked = true;
			set = cached & bit(p);
			memfd_invalidate_begin(set);
			folio[f].locked = false;
			set = 0;
			f = 0
		}
		/* try_to_split_thp_page() */
		if
		:: atomic {
			large && cached && lockable(0) ->
			folio[0].locked = true;
			memfd_split_begin()
		   }
			split_folio(p);
			atomic {
				if
				:: mistake(retake_late)
				:: else -> memfd_split_end()
				fi;
				folio[folio_of(p)].locked = false;
				if
				:: !did_split -> poison_refs = 0; folio_put(0, 1)
				:: else
				fi;
				did_split = false
			}
		:: !large || !cached
		fi;
		memfd_invalidate_end();
		atomic {
			if
			:: mistake(retake_late) -> memfd_split_end()
			:: else
			fi;
			/* as if the page had been removed */
			HOLDS(I1, !(reachable & poisoned));
			call_returns()
		}
	   }
	:: stopping
	fi;
	atomic { stop() }
}

active proctype device()
{
	LOCALS;

	do
	:: CALL {
		atomic {	/* iommu_memfd_map(): register with i_rwsem held */
			!stopping && !i_rwsem ->
			registered = true;
			if
			:: window = bit(0)
			:: window = bit(1)
			:: window = BOTH
			fi;
			todo = window
		}
		do
		:: atomic {
			todo && !found && !invalidating(window) ->
			get_folios(window)
		   }
		:: d_step { found -> map_folios(window) }
		:: atomic { !todo && !found -> im_mapped = true; call_returns(); break }
		od
	   }
	   CALL {
		atomic {	/* iommu_memfd_unmap() */
			im_mapped = false;
			closing = true;
			!nr_unpinned || mistake(unmap_no_wait) ->
			undisturbed = 0;
			revoke(window)
		}
		atomic {	/* memfd_unregister_falloc_notifier() */
			!nr_active ->
			HOLDS(I7, !mapped && !pt && !pt_large);
			registered = false;
			closing = false;
			window = 0;
			nr_unpinned = 0;
			inv[0].mirror = false;
			inv[0].unpinned = false;
			inv[1].mirror = false;
			inv[1].unpinned = false
		}
	   }
	:: atomic { stopping -> stop(); break }
	od
}

/* KVM notes its sequence, and then looks the page up: that is one step here */
active proctype guest()
{
	byte p, f;
	bool all, found;

	do
	:: CALL {
		atomic {	/* kvm_memfd_get_pfn() */
			!stopping ->
			if
			:: p = 0
			:: p = 1
			fi;
			mmu_seq_changed = false;
			!present(p) || lockable(p) ->
			found = present(p) && !(poisoned & bit(p));
			if
			:: found ->
				f = folio_of(p);
				folio[f].dirty = true;
				all = large && healthy(p) && !listed(BOTH);
				folio[f].refs++
			:: else -> p = 0; mmu_seq_changed = true
			fi
		}
		if
		:: d_step {	/* kvm_tdp_map_page() */
			found ->
			if
			:: mmu_seq_changed
			:: mmu_invalidate_in_progress && mmu_invalidate_range & bit(p)
			:: else ->
				spte_large = spte_large || all;
				spte = (spte_large -> 0 : spte | bit(p))
			fi;
			folio_put(f, 1);
			p = 0;
			f = 0;
			all = false;
			found = false;
			mmu_seq_changed = true
		   }
		:: !found
		fi
	   }
	:: atomic { stopping -> stop(); break }
	od
}

/* Only the page cache has references. Each holds the folio's lock: one step */
#define idle(p)	(present(p) && lockable(p) && !folio[folio_of(p)].refs)

active proctype memory()
{
	byte f, g;
	bool did_split;

	do
	:: atomic {
		idle(0) || idle(1) ->
		f = (idle(0) -> 0 : folio_of(1));
		if
		:: idle(0) && idle(1) -> f = folio_of(1)
		:: true
		fi;
		if
		/* reclaim */
		:: !folio[f].dirty -> filemap_remove_folio(f)
		/* shmem_migrate_folio(), memfd_replace_begin() */
		:: !(registered && window & pages_of(f) && listed(pages_of(f))) ||
		   mistake(replace_unlisted) ->
			spte = spte & ~pages_of(f);
			spte_large = spte_large && !pages_of(f);
			mmu_seq_changed = true;
			HOLDS(I2, !(reachable & pages_of(f)))
		/* the shrinker splits, and removes nothing */
		:: large ->
			folio[0].refs++;
			split_folio(0);
			folio[0].locked = false;
			folio_put(0, 1);
			did_split = false
		:: else
		fi;
		f = 0
	   }
	:: d_step {	/* a fault of user space: a new huge folio, memfd_populate() */
		!cached && !folio[0].refs && !folio[1].refs && !poisoned &&
		!(registered && listed(BOTH)) ->
		large = true;
		cached = BOTH;
		map(0, (closing -> 0 : window))
	   }
	:: atomic { stop(); break }
	od
}
