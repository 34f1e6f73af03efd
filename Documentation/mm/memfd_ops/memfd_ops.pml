// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops as a model for spin, a model checker. "make model" goes through all
 * that can happen here, in whatever order, and then shows that it would have
 * found each of the mistakes listed below.
 *
 * A file of two pages has two consumers. One, as drivers/iommu/iommu_memfd.c,
 * is a mirror of both pages: it holds references, is given pages by populate,
 * and maps what is left at the end of an invalidation. The other, as
 * virt/kvm/memfd.c, is a memslot of page 0: it holds no references, and takes
 * the page from the file when it is touched. There are four processes, which
 * go on for ever, or stop after any call:
 *
 *	caller	punches holes, fallocates and writes, with i_rwsem held
 *	device	sets the mirror up, and takes it away again
 *	guest	binds and unbinds the memslot, and touches page 0: as a vCPU, or
 *		while there is no memslot as user space, which only reads it
 *	memory	migrates the folio of page 0, or drops it if nobody has dirtied
 *		it, as long as the caller has not stopped
 *
 * Callbacks run in the process that causes them. Each part is named after the
 * C function that it stands for.
 *
 * HOLDS() says what is checked: I1 to I5 and I7, the first five and the seventh
 * of what Documentation/mm/memfd_ops/index.rst says holds. Besides, nobody is stuck:
 * who waits for what never comes is left over when the others have stopped,
 * which spin reports as an invalid end state.
 *
 * What is simplified, and why no mistake is lost by it:
 *
 * - What is done under a spinlock, or under a mutex without waiting, is one
 *   step: others see nothing of it before its end. So it is to lock a folio,
 *   change what only who has it locked may look at, and unlock it; and to look
 *   a folio up and lock it, which in C is done again until the folio that was
 *   locked is the one in the file.
 * - Sequence numbers are only compared with what they were: a bit for each
 *   reader says whether it was written since. @born likewise is a bit for each
 *   consumer in each invalidation, whether it was there before and is still.
 * - What was mapped counts as reachable until the flush, as if in a TLB.
 * - To put an invalidation on the list, or take it off, is one step with the look
 *   for the first consumer. And so are all of memfd_replace_begin(), and all that
 *   comes after it, since the folio is locked.
 * - Consumers are called in one order, the mirror first. In C those of windows
 *   that begin at the same page come in the order in which they registered.
 * - A batch is of one folio: all of a batch pass the same check.
 * - A page has two folios to choose from. While one is in the file and somebody
 *   still holds the other, there is no memory for a third.
 * - mirror_populate() fails in the caller alone. Elsewhere only -EAGAIN makes
 *   the folio be dropped, in the same way.
 * - Memory is ordered, but where filemap_lock_or_add() says that it is not, and
 *   who waits is woken up.
 *
 * Not here: folios of more than one page; the file's size; swap, and so the
 * -EALREADY of memfd_may_populate(), which is for who reads a page back that it
 * invalidates itself; poison; collapse; UFFDIO_COPY, which fills a hole as touching
 * it does, and takes the folio out again as memfd_populate_or_drop() does; owners;
 * seals, but for how adding F_SEAL_WRITE invalidates all and takes out nothing;
 * memslots that keep holes, or had no fault yet; and consumers whose callbacks wait
 * for each other.
 */

/* What is done wrong (spin -DMISTAKE=...), and the first invariant to break */
mtype = {
	none,
	/* the core */
	no_rwsem,		/* I1: register while a hole is punched */
	no_barrier,		/* I4: register without the i_pages lock */
	no_wait_to_leave,	/* I7: unregister while a callback runs */
	no_wait_to_read,	/* I1: look for pages while some leave */
	no_look_at_list,	/* I1: populate what is about to leave */
	seq_stays,		/* I1: invalidate, and do not say so */
	cancel_oldest_first,	/* I5 */
	cancel_nobody,		/* I5 */
	/* shmem */
	end_before_removal,	/* I2: end an invalidation too early */
	populate_too_early,	/* I3: before the folio is uptodate */
	no_second_pass,		/* I4: fallocate, and give it to nobody */
	uptodate_untold,	/* I4: initialise, fail, and give it to nobody */
	deaf_to_veto,		/* I5: fallocate against a consumer's will */
	undo_nothing,		/* I5: of a fallocate that failed */
	undo_all,		/* I5: what others have brought as well */
	replace_untold,		/* I2: migrate a folio, and tell nobody */
	replace_unlocked,	/* I2: without its lock */
	/* the mirror */
	no_retry,		/* I1: map without a look at the sequence */
	no_refill,		/* I4: lose what an invalidation left */
	leave_then_unmap,	/* I1: unregister too early */
	/* KVM */
	kvm_no_retry,		/* I2: map without a look at its sequence */
	kvm_seq_alone,		/* I2: map while pages leave */
	kvm_keeps_clean		/* I2: map what reclaim may drop */
};
#ifndef MISTAKE
#define MISTAKE		none
#endif
#define mistake(m)	(MISTAKE == m)

mtype = { I1, I2, I3, I4, I5, I7 };
/* So that spin prints the name of what does not hold */
#define HOLDS(invariant, condition)	assert((condition) || invariant == 0)

/* err */
#define OK		0
#define AGAIN		1
#define FAILED		2

mtype = { SGP_CACHE, SGP_WRITE, SGP_FALLOC };

/* Sets are bytes with a bit for each member */
#define bit(i)		(1 << (i))
#define BOTH_PAGES	(bit(0) | bit(1))
#define first(pages)	((pages) & bit(0) -> 0 : 1)

/* Folio 0 is none, 1 and 2 are for page 0 of the file, 3 and 4 for page 1 */
typedef Folio {
	byte refs;
	bool locked;
	bool uptodate;
	bool dirty;		/* or else reclaim may drop it, as if it were a hole */
	bool added		/* by the fallocate() under way */
};
Folio folio[5];
byte cache[2];
#define folio_of(p)	(1 + 2 * (p))
#define page_of(f)	(((f) - 1) / 2)

bool i_rwsem_writer;
byte i_rwsem_readers;
bool i_pages_lock;
bool caller_left;		/* then there is no more memory pressure */

/* struct memfd_falloc_notifier; mn[0] is nobody */
#define MIRROR		1
#define KVM		2
#define BOTH_CONSUMERS	(bit(MIRROR) | bit(KVM))
typedef Consumer {
	bool here;		/* in the tree */
	bool leaving;
	byte users;
	bool agreed;		/* on the list of those who did */
	bool promised;		/* what it remembers of that itself */
	byte reach[2]		/* for each page the folio that it reaches */
};
Consumer mn[3];
#define followed	(mn[MIRROR].here || mn[KVM].here)
#define reachable(f)	(mn[MIRROR].reach[page_of(f)] == f || \
			 mn[KVM].reach[page_of(f)] == f)

/* struct memfd_invalidation; each process has one */
typedef Invalidation {
	bool listed;
	byte pages;		/* none when memfd_invalidate_end() is over */
	byte told		/* consumers in whose window it is, and @born */
};
Invalidation inv[4];
#define listed(i, set)	(inv[i].listed && inv[i].pages & (set))
#define invalidating(set) \
	(listed(0, set) || listed(1, set) || listed(2, set) || listed(3, set))
#define pending(p) \
	((inv[0].pages | inv[1].pages | inv[2].pages | inv[3].pages) & bit(p))

/* struct iommu_memfd */
#define EVERYBODY	(bit(0) | bit(1) | bit(2) | bit(3))
byte im_seq_moved = EVERYBODY;	/* but those who read now, and saw no change */
bool im_closing;
bool im_mapped;			/* iommu_memfd_map() has returned it */
#define begin_read()	im_seq_moved = im_seq_moved & ~bit(_pid)
#define end_read()	im_seq_moved = im_seq_moved | bit(_pid)
#define memfd_read_retry (im_seq_moved & bit(_pid) && !mistake(no_retry))
#define memfd_read_begin_waits \
	(invalidating(BOTH_PAGES) && !mistake(no_wait_to_read))

/* struct kvm */
byte mmu_invalidate_in_progress;
bool mmu_seq_moved = true;	/* but if the guest reads now, and saw no change */
#define mmu_invalidate_retry \
	(mmu_seq_moved && !mistake(kvm_no_retry) || \
	 mmu_invalidate_in_progress && !mistake(kvm_seq_alone))

/*
 * What each process has: a page, and its folio; the consumer that a walk has
 * come to; for mirror_invalidate_end() the pages to do, and again a page and
 * its folio. A folio came if it has just become uptodate, is fresh if it is new
 * in the file as well, and unseen if there was nobody to see that.
 */
#define LOCALS \
	byte p, f, c, todo, q, g, err; \
	bool came, fresh, unseen

/* I1: what a consumer reaches is in the file */
#define revoked(i, p)	(!mn[i].reach[p] || mn[i].reach[p] == cache[p])
/* I4: the mirror reaches what is in the file, unless somebody is still at it */
#define mirrored(p)	(mn[MIRROR].reach[p] == cache[p] || \
			 folio[cache[p]].locked || pending(p))
/* To a consumer, a folio that is not uptodate is a hole */
#define complete(p)	(mirrored(p) || !folio[cache[p]].uptodate)
/* I5: a fallocate() that failed leaves nothing; who leaves forgets it anyway */
#define undone(p)	(!folio[cache[p]].added || folio[cache[p]].uptodate)
#define no_trace(i)	(!mn[i].promised || mn[i].leaving)

inline call_returns()
{
	HOLDS(I1, revoked(MIRROR, 0) && revoked(MIRROR, 1) && revoked(KVM, 0));
	HOLDS(I4, !im_mapped || complete(0) && complete(1));
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
 * mm/memfd_ops.c
 */

#define may_get(i, set)	((set) & bit(i) && mn[i].here && !mn[i].leaving)

/* Put c, if it is somebody, and get who comes after it, or nobody */
inline memfd_next_consumer(set)
{
	if
	:: c -> mn[c].users--
	:: else
	fi;
	if
	:: c < MIRROR && may_get(MIRROR, set) -> c = MIRROR
	:: c < KVM && may_get(KVM, set) &&
	   !(c < MIRROR && may_get(MIRROR, set)) -> c = KVM
	:: else -> c = 0
	fi;
	if
	:: c -> mn[c].users++
	:: else
	fi
}

inline memfd_put_consumer()
{
	mn[c].users--;
	c = 0
}

/* Of the consumers, only those in @hear are concerned: memfd_hears() */
inline memfd_invalidate_consumers(set, hear)
{
	d_step {
		if
		:: followed ->
			inv[_pid].listed = true;
			inv[_pid].pages = set;
			inv[_pid].told = (hear) &
				((mn[MIRROR].here -> bit(MIRROR) : 0) |
				 (mn[KVM].here && (set) & bit(0) -> bit(KVM) : 0));
			memfd_next_consumer(inv[_pid].told)
		:: else
		fi
	}
	do
	:: d_step {
		c == MIRROR ->
		im_seq_moved = (mistake(seq_stays) -> im_seq_moved : EVERYBODY);
		mirror_invalidate_page_range(inv[_pid].pages);
		memfd_next_consumer(inv[_pid].told)
	   }
	:: d_step {
		c == KVM ->
		kvm_memfd_invalidate();
		memfd_next_consumer(inv[_pid].told)
	   }
	:: !c -> break
	od
}

inline memfd_invalidate_begin(set)
{
	memfd_invalidate_consumers(set, BOTH_CONSUMERS)
}

/* Who holds what it maps is in the way, rather than told */
inline memfd_replace_begin(p, f)
{
	if
	:: mistake(replace_untold)
	:: !mistake(replace_untold) && mn[MIRROR].here && folio[f].refs != 2 ->
		err = AGAIN
	:: else -> memfd_invalidate_consumers(bit(p), bit(KVM))
	fi
}

inline memfd_invalidate_end()
{
	d_step {
		if
		:: inv[_pid].listed ->
			inv[_pid].listed = false;
			todo = inv[_pid].pages;
			memfd_next_consumer(inv[_pid].told)
		:: else
		fi
	}
	do
	:: c == MIRROR -> mirror_invalidate_end()
	:: d_step {
		c == KVM ->
		kvm_memfd_invalidate_end();
		memfd_next_consumer(inv[_pid].told)
	   }
	:: atomic {
		!c ->
		todo = 0;
		inv[_pid].pages = 0;
		inv[_pid].told = 0;
		break
	   }
	od
}

inline memfd_may_populate(p)
{
	if
	:: invalidating(bit(p)) && !mistake(no_look_at_list) ->
		err = AGAIN;
		memfd_put_consumer()
	:: else -> begin_read()
	fi
}

/* The mirror alone has populate */
inline __memfd_populate(p, f)
{
	d_step { memfd_next_consumer(bit(MIRROR)) }
	do
	:: d_step { c -> memfd_may_populate(p) }
		if
		:: atomic { c -> mirror_populate(p, f) }
		:: else
		fi
	:: !c -> break
	od
}

inline memfd_populate_or_drop(p, f, fresh)
{
	__memfd_populate(p, f);
	if
	:: err ->
		memfd_invalidate_begin(bit(p));
		atomic {
			if
			:: fresh -> cache[p] = 0; folio_put(f)
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
	mn[i].here = true;
	atomic {
		!i_pages_lock || mistake(no_barrier) ->
		i_rwsem_readers--
	}
}

inline memfd_unregister_falloc_notifier(i)
{
	d_step { mn[i].leaving = true; mn[i].agreed = false }
	atomic {
		!mn[i].users || mistake(no_wait_to_leave) ->
		mn[i].here = false;
		mn[i].leaving = false;
		mn[i].promised = false;
		inv[0].told = inv[0].told & ~bit(i);
		inv[1].told = inv[1].told & ~bit(i);
		inv[2].told = inv[2].told & ~bit(i);
		inv[3].told = inv[3].told & ~bit(i)
	}
}

/* Either consumer may agree or not */
inline memfd_fallocate_begin()
{
	d_step { memfd_next_consumer(BOTH_CONSUMERS) }
	do
	:: atomic {
		c ->
		HOLDS(I7, mn[c].here);
		if
		:: true -> mn[c].promised = true
		:: true -> vetoed = true
		fi;
		if
		:: vetoed && !mistake(deaf_to_veto) ->
			err = FAILED;
			memfd_put_consumer()
		:: else ->
			mn[c].agreed = mn[c].promised && !mn[c].leaving;
			memfd_next_consumer(BOTH_CONSUMERS)
		fi
	   }
	:: !c -> break
	od
}

/* Asked first is the mirror, so KVM is the first to be told */
#define cancel_next \
	(mn[KVM].agreed && !(mistake(cancel_oldest_first) && \
			     mn[MIRROR].agreed) -> KVM : MIRROR)

inline memfd_fallocate_cancel()
{
	do
	:: d_step {
		(mn[MIRROR].agreed || mn[KVM].agreed) &&
		!mistake(cancel_nobody) ->
		c = cancel_next;
		mn[c].agreed = false;
		mn[c].users++
	   }
	   d_step {
		HOLDS(I7, mn[c].here);
		HOLDS(I5, c == KVM || no_trace(KVM));
		mn[c].promised = false;
		memfd_put_consumer()
	   }
	:: else -> break
	od
}

/*
 * mm/shmem.c
 */

/*
 * Look page p up, and lock its folio. If there is none take the i_pages lock,
 * to add one. Whether the file is followed is asked when the folio has come;
 * but all that this is ordered by is that the lock was taken before, and so a
 * CPU may look as early as here.
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
			:: !folio[f].uptodate && sgp != SGP_WRITE ->
				folio[f].uptodate = true;
				came = true
			:: else
			fi
		:: !f && folio[folio_of(p)].refs && folio[folio_of(p) + 1].refs ->
			err = FAILED
		:: else ->
			i_pages_lock = true;
			unseen = !followed;
			fresh = true
		fi
	}
	if
	:: d_step {
		fresh ->
		f = folio_of(p) + (folio[folio_of(p)].refs -> 1 : 0);
		folio[f].refs = 2;
		folio[f].locked = true;
		folio[f].added = sgp == SGP_FALLOC;
		cache[p] = f;
		i_pages_lock = false;
		if
		:: sgp == SGP_CACHE ->
			came = true;
			folio[f].uptodate = !mistake(populate_too_early) ||
					    !mn[MIRROR].here
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
		:: came -> memfd_populate_or_drop(p, f, fresh)
		/* or meanwhile the file has ended before it: that is as if nobody had come */
		:: d_step {
			came && !fresh && sgp == SGP_CACHE ->
			folio[f].uptodate = mistake(uptodate_untold);
			folio_unlock_put(f);
			err = FAILED
		   }
		:: unseen
		:: else
		fi;
		if
		:: atomic {
			err == AGAIN ->
			err = OK;
			came = false;
			fresh = false;
			unseen = false
		   }
		:: atomic {
			else ->
			came = false;
			fresh = false;
			unseen = unseen && sgp == SGP_WRITE;
			break
		   }
		fi
	od
}

/* Of the pages in set, which it touches, it takes out those in gone */
inline shmem_punch_hole(set, gone)
{
	memfd_invalidate_begin(set);
	if
	:: mistake(end_before_removal) -> memfd_invalidate_end()
	:: else
	fi;
	do
	:: atomic {
		gone && !folio[cache[first(gone)]].locked ->
		p = first(gone);
		gone = gone & ~bit(p);
		if
		:: cache[p] -> filemap_remove_folio(p)
		:: else
		fi;
		p = 0
	   }
	:: !gone -> break
	od;
	memfd_invalidate_end()
}

/* shmem_undo_range(), of a fallocate() that came as far as page p */
inline shmem_undo_fallocate(p)
{
	do
	:: atomic {
		p && !folio[cache[p - 1]].locked ->
		p--;
		if
		:: cache[p] && !mistake(undo_nothing) &&
		   (!folio[cache[p]].uptodate || mistake(undo_all)) ->
			HOLDS(I5, folio[cache[p]].added);
			filemap_remove_folio(p)
		:: else
		fi
	   }
	:: !p -> break
	od
}

/* Of both pages */
inline shmem_fallocate()
{
	memfd_fallocate_begin();
	do
	:: p < 2 && !err && (!second || mn[MIRROR].here) ->
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
	:: p < 2 && !err && (!second || mn[MIRROR].here) ->
		err = FAILED	/* killed, or no memory */
	:: d_step {	/* shmem_falloc_populate() */
		p == 2 && !err && !second && !mistake(no_second_pass) ->
		second = true;
		p = 0
	   }
	:: else -> break
	od;
	if
	:: d_step { err -> p = (second -> 2 : p) }
		shmem_undo_fallocate(p);
		memfd_fallocate_cancel();
		HOLDS(I5, undone(0) && undone(1) &&
			  no_trace(MIRROR) && no_trace(KVM))
	:: atomic {
		else ->
		HOLDS(I5, !vetoed);
		HOLDS(I4, !im_mapped || mirrored(0) && mirrored(1));
		mn[MIRROR].agreed = false;
		mn[MIRROR].promised = false;
		mn[KVM].agreed = false;
		mn[KVM].promised = false
	   }
	fi;
	atomic {
		folio[cache[0]].added = false;
		folio[cache[1]].added = false;
		second = false;
		vetoed = false
	}
}

/* shmem_write_begin() and shmem_write_end() */
inline shmem_write(p)
{
	do
	:: shmem_get_folio(p, f, SGP_WRITE);
		if
		:: !err && !folio[f].uptodate ->
			folio[f].uptodate = true;
			fresh = !folio[f].dirty;
			if
			:: memfd_populate_or_drop(p, f, fresh)
			:: unseen
			fi
		:: else
		fi;
		if
		:: atomic {
			err == AGAIN ->
			err = OK;
			fresh = false;
			unseen = false
		   }
		:: atomic {
			else ->
			if
			:: f -> folio[f].dirty = true; folio_unlock_put(f)
			:: else
			fi;
			fresh = false;
			unseen = false;
			break
		   }
		fi
	od
}

/*
 * Of page 0. Who looks a folio up has a reference on it, which keeps it where it
 * is: only the page cache's may be there, and this one's own. So the new folio can
 * have the number of the old one, which nobody has seen but who still maps it.
 */
inline shmem_migrate_folio()
{
	atomic {
		cache[0] && !folio[cache[0]].locked && !caller_left ->
		f = cache[0];
		folio[f].locked = !mistake(replace_unlocked);
		folio[f].refs++;
		memfd_replace_begin(0, f)
	}
	atomic {
		if	/* migrate_folio() */
		:: !err && folio[f].refs == 2 -> HOLDS(I2, !reachable(f))
		:: else
		fi;
		memfd_invalidate_end();	/* memfd_replace_end() */
		folio_unlock_put(f);
		err = OK
	}
}

/*
 * shmem as a backing store: mm/memfd_ops.c
 */

/* Either it is ready, and nobody has its lock, or it goes the long way */
inline shmem_get_lock_pfn(p, f)
{
	if
	:: atomic {	/* shmem_lock_ready() */
		folio[cache[p]].uptodate && !folio[cache[p]].locked ->
		f = cache[p];
		folio[f].locked = true;
		folio[f].refs++
	   }
	:: shmem_get_folio(p, f, SGP_CACHE)
	fi
}

inline shmem_put_unlock_pfn(f)
{
	folio[f].dirty = folio[f].dirty ||
			 mn[KVM].here && !mistake(kvm_keeps_clean);
	folio_unlock_put(f)
}

/*
 * drivers/iommu/iommu_memfd.c
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
	HOLDS(I7, mn[MIRROR].here);
	revoke(set, 0);
	revoke(set, 1)
}

inline mirror_populate(p, f)
{
	HOLDS(I7, mn[MIRROR].here);
	if
	:: memfd_read_retry	/* memfd_populate_one() begins anew */
	:: !memfd_read_retry && im_closing ->
		memfd_next_consumer(bit(MIRROR))
	:: !memfd_read_retry && !im_closing ->
		/* or it would give_up() */
		assert(!mn[MIRROR].reach[p]);
		map_folio(p, f);
		memfd_next_consumer(bit(MIRROR))
	:: !memfd_read_retry && !im_closing && _pid == 0 ->
		err = FAILED;
		memfd_put_consumer()
	fi;
	end_read()
}

/* The second half of fill(); page p stays to be done if it has to try again */
inline fill_page(p, f, todo)
{
	HOLDS(I7, mn[MIRROR].here);
	if
	:: im_closing -> todo = todo & ~bit(p)
	:: !im_closing && memfd_read_retry
	:: !im_closing && !memfd_read_retry ->
		if
		:: mn[MIRROR].reach[p]	/* it came by populate */
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
	atomic {	/* shmem_get_folios() */
		!folio[cache[q]].locked || !folio[cache[q]].uptodate ->
		g = cache[q];
		if
		:: folio[g].uptodate && !mistake(no_refill) -> folio[g].refs++
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
		:: !todo -> memfd_next_consumer(inv[_pid].told)
		:: else
		fi
	}
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
	   atomic {	/* shmem_get_folios(), with MEMFD_PFN_FILL */
		!folio[cache[p]].locked ->
		f = cache[p];
		if
		:: !f -> fill = fill & ~bit(p); end_read()
		:: f && folio[f].uptodate -> folio[f].refs++
		:: else ->
			folio[f].locked = true;
			folio[f].refs++;
			folio[f].uptodate = true;
			came = true
		fi
	   }
	   if
	   :: came ->	/* shmem_init_folio() */
		came = false;
		memfd_populate_or_drop(p, f, false);
		if
		:: f -> folio[f].locked = false
		:: else
		fi
	   :: else
	   fi;
	   atomic {
		if
		:: f -> fill_page(p, f, fill)
		:: else -> err = (err == AGAIN -> OK : err)
		fi;
		p = 0
	   }
	:: !fill || err -> break
	od
}

inline iommu_memfd_unmap()
{
	d_step {
		im_mapped = false;
		im_closing = true;
		if
		:: !mistake(leave_then_unmap) ->
			revoke(BOTH_PAGES, 0);
			revoke(BOTH_PAGES, 1)
		:: else
		fi
	}
	memfd_unregister_falloc_notifier(MIRROR);
	d_step {
		if
		:: mistake(leave_then_unmap) ->
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
	HOLDS(I7, mn[KVM].here);
	mmu_invalidate_in_progress++;
	mn[KVM].reach[0] = 0
}

inline kvm_memfd_invalidate_end()
{
	HOLDS(I7, mn[KVM].here);
	mmu_seq_moved = true;
	mmu_invalidate_in_progress--
}

inline kvm_memfd_unbind()
{
	mn[KVM].reach[0] = 0;	/* so do those who call it */
	memfd_unregister_falloc_notifier(KVM);
	mmu_invalidate_in_progress = 0
}

/* The reference on @pfn is kept until that is mapped */
inline kvm_memfd_get_pfn(p, f, pfn)
{
	shmem_get_lock_pfn(p, f);
	atomic {
		if
		:: f ->
			pfn = f;
			folio[pfn].refs++;
			shmem_put_unlock_pfn(f)
		:: else
		fi
	}
}

inline kvm_tdp_map_page(p, f)
{
	if
	:: mn[KVM].here && !mmu_invalidate_retry ->
		HOLDS(I3, folio[f].uptodate);
		mn[KVM].reach[p] = f
	:: else
	fi;
	folio_put(f);
	f = 0
}

/*
 * Who does it all
 */

active proctype caller()
{
	LOCALS;
	byte set, gone;
	bool vetoed, second;

	do
	:: atomic {
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
			:: set = BOTH_PAGES; gone = 0	/* memfd_add_seals() */
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
	:: caller_left = true; break
	od
}

active proctype device()
{
	LOCALS;
	byte fill;

	do
	:: iommu_memfd_map();
		atomic {
			fill = 0;
			if
			:: !err -> im_mapped = true; call_returns()
			:: else
			fi
		}
		iommu_memfd_unmap();
		atomic { call_returns() }
	:: break
	od
}

active proctype guest()
{
	LOCALS;
	byte pfn;

	do
	:: !mn[KVM].here -> memfd_register_falloc_notifier(KVM)
	:: mn[KVM].here -> kvm_memfd_unbind()
	:: mmu_seq_moved = false;
		kvm_memfd_get_pfn(p, f, pfn);
		atomic {
			if
			:: pfn -> kvm_tdp_map_page(p, pfn)
			:: else
			fi;
			mmu_seq_moved = true;
			call_returns()
		}
	:: break
	od
}

active proctype memory()
{
	LOCALS;

	do
	:: shmem_migrate_folio()
	:: atomic {	/* reclaim */
		!caller_left && cache[0] && folio[cache[0]].refs == 1 &&
		!folio[cache[0]].dirty ->
		filemap_remove_folio(0)
	   }
	:: caller_left -> break
	od
}
