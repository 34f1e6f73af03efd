// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: how consumers take pages of any store from the page cache
 *
 * get_folios() is what mapping a file costs, so it takes batches of folios that
 * need no waiting from one walk. prepare_folios() waits for the others, page by
 * page, before that: a consumer that slept during its lookup would have to start
 * over for each invalidation that overtakes it.
 *
 * get_folios() looks at a folio's state under the folio's lock, although it
 * returns the folio unlocked: migration and swap-out hold the lock while they
 * replace a folio, and may have begun before the consumer registered.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "internal.h"

/* How often to wait for a jiffy for pages that could not be migrated: at a time, in all */
#define MIGRATE_TRIES		10
#define MIGRATE_TRIES_IN_ALL	100

/*
 * May the consumer map the whole folio? An invalidation that is under way may
 * have been widened before this folio came: then it does not cover a page of
 * the folio outside its range. One that begins later finds the folio.
 */
static bool whole_folio_mappable(struct memfd_consumers *cs, struct folio *folio)
{
	pgoff_t size = DIV_ROUND_UP(i_size_read(cs->inode), PAGE_SIZE);
	bool invalidating;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!folio_test_large(folio))
		return true;
	if (folio_contain_hwpoisoned_page(folio) || folio_next_index(folio) > size)
		return false;
	spin_lock(&cs->lock);
	invalidating = memfd_invalidating(cs, folio->index,
					  folio_next_index(folio));
	spin_unlock(&cs->lock);
	return !invalidating;
}

static long filemap_get_lock_pfn(struct memfd_falloc_notifier *mn,
				 pgoff_t index, unsigned int flags, int *order)
{
	struct memfd_consumers *cs = mn->consumers;
	struct folio *folio;
	struct page *page;
	int error;

	if (flags & ~MEMFD_PFN_FILL ||
	    index < memfd_window_start(mn) || index >= memfd_window_end(mn))
		return -EINVAL;

	error = cs->store->get_folio(cs->inode, index, flags, &folio);
	if (error)
		return error;

	page = folio_file_page(folio, index);
	if (PageHWPoison(page)) {
		folio_unlock(folio);
		folio_put(folio);
		return -EHWPOISON;
	}
	if (order)
		*order = whole_folio_mappable(cs, folio) ? folio_order(folio) : 0;
	return page_to_pfn(page);
}

static void filemap_put_unlock_pfn(unsigned long pfn)
{
	struct folio *folio = pfn_folio(pfn);

	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * Reschedule now and then in a walk under rcu_read_lock() that goes on at page
 * @next. Not by xas_pause(): after xas_advance() into a large folio it skips as
 * many pages as a slot there has, less one.
 */
static void walk_resched(struct xa_state *xas, unsigned int *steps, pgoff_t next)
{
	if (++*steps % XA_CHECK_SCHED)
		return;
	xas_set(xas, next);
	cond_resched_rcu();
}

enum folio_state {
	FOLIO_READY,
	FOLIO_GONE,		/* not at that index any more */
	FOLIO_POISONED,
	FOLIO_MUST_MIGRATE,
	FOLIO_UNINITIALISED,
};

/* Does the consumer want folios migrated out of movable memory? */
static bool migrates_longterm(struct memfd_falloc_notifier *mn)
{
	return consumer_pins(mn) && mn->consumers->store->migrate_longterm;
}

/* Inline, as get_folios() calls it for every page */
static __always_inline enum folio_state
folio_state(struct address_space *mapping, struct folio *folio, pgoff_t index,
	    bool migrate)
{
	if (!memfd_folio_is_at(folio, mapping, index))
		return FOLIO_GONE;
	if (folio_contain_hwpoisoned_page(folio))
		return FOLIO_POISONED;
	if (migrate && needs_longterm_migration(folio))
		return FOLIO_MUST_MIGRATE;
	return folio_test_uptodate(folio) ? FOLIO_READY : FOLIO_UNINITIALISED;
}

/*
 * Once prepare_folios() has been there, nobody swaps pages out, and pages that
 * become uptodate are populated: without %MEMFD_PFN_FILL, pages that are not
 * uptodate are skipped. A huge folio is alone in its batch: the reference on it keeps it from being
 * split, so that a hole in it is zeroed rather than freed. Hold it no longer than
 * mapping it takes.
 */
static void filemap_get_folios_mappable(struct memfd_falloc_notifier *mn,
					pgoff_t *index, pgoff_t end,
					unsigned int flags,
					struct folio_batch *fbatch)
{
	pgoff_t next, start = max(*index, memfd_window_start(mn));
	struct address_space *mapping = mn->consumers->inode->i_mapping;
	bool fill = flags & MEMFD_PFN_FILL;
	bool migrate = fill && migrates_longterm(mn);
	XA_STATE(xas, &mapping->i_pages, start);
	enum folio_state state;
	struct folio *folio;

	end = min(end, memfd_window_end(mn));
	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		next = xas.xa_index;
		if (xa_is_value(folio) || !folio_test_uptodate(folio)) {
			if (fill)
				goto out;
			continue;
		}
		if (folio_test_large(folio) && folio_batch_count(fbatch))
			goto out;
		if (unlikely(!folio_try_get(folio))) {
			xas_reset(&xas);
			continue;
		}
		if (unlikely(!folio_trylock(folio))) {
			folio_put(folio);
			goto out;
		}
		state = folio_state(mapping, folio, next, migrate);
		folio_unlock(folio);
		if (unlikely(state != FOLIO_READY)) {
			folio_put(folio);
			if (state == FOLIO_POISONED)
				continue;
			goto out;
		}
		next = folio_next_index(folio);
		if (!folio_batch_add(fbatch, folio) || folio_test_large(folio))
			goto out;
	}
	next = end;
out:
	rcu_read_unlock();
	*index = next;
}

/*
 * Migrate folios in movable memory out of [start, end), of a consumer that has
 * just registered: pages that come later are allocated elsewhere. Returns true
 * if some have stayed.
 */
static bool migrate_folios(struct memfd_consumers *cs, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = cs->inode->i_mapping;
	struct folio_batch all, move;
	bool stayed = false;
	unsigned int i;

	folio_batch_init(&all);
	folio_batch_init(&move);
	while (start < end && filemap_get_folios(mapping, &start, end - 1, &all)) {
		for (i = 0; i < folio_batch_count(&all); i++) {
			if (needs_longterm_migration(all.folios[i]))
				folio_batch_add(&move, all.folios[i]);
			else
				folio_put(all.folios[i]);
		}
		folio_batch_reinit(&all);
		if (folio_batch_count(&move) &&
		    cs->store->migrate_longterm(cs->inode, &move) == -EBUSY)
			stayed = true;
		if (fatal_signal_pending(current))
			return false;
		cond_resched();
	}
	return stayed;
}

/*
 * A concurrent fault or lookup soon drops its reference. One that is kept keeps
 * the folio where it is, with this consumer or without. Many of them do not add up
 * to a long wait.
 */
static void migrate_out_of_movable(struct memfd_falloc_notifier *mn,
				   pgoff_t start, pgoff_t end)
{
	unsigned int tries = min(MIGRATE_TRIES,
				 MIGRATE_TRIES_IN_ALL - mn->migrate_tries);

	for (; migrate_folios(mn->consumers, start, end) && tries; tries--) {
		mn->migrate_tries++;
		schedule_timeout_killable(1);
	}
}

/**
 * memfd_initialise - initialise a folio that was only fallocated
 * @folio: locked and referenced, in the page cache, not uptodate
 *
 * As a fault in the file would; but this one may lie past the end of the file.
 *
 * Context: may sleep.
 * Return: 0, or an error as memfd_populate_or_drop(): then the folio is not
 * uptodate, has been unlocked, and a reference has been dropped.
 */
int memfd_initialise(struct folio *folio)
{
	long i, nr = folio_nr_pages(folio);

	/* as shmem does: a page at once, for which the CPU may have a faster way */
	for (i = 0; i < nr; i++)
		clear_highpage(folio_page(folio, i));
	flush_dcache_folio(folio);
	folio_mark_uptodate(folio);
	return memfd_populate_or_drop(folio, false);
}

/* The folio or swap entry at @index, as filemap_get_entry(); read back, locked */
static int lock_folio_at(struct memfd_consumers *cs, pgoff_t index, bool fill,
			 struct folio **foliop)
{
	struct folio *folio = filemap_get_entry(cs->inode->i_mapping, index);
	int error;

	*foliop = NULL;
	if (xa_is_value(folio)) {
		if (!fill)
			return 0;
		error = cs->store->get_folio(cs->inode, index, 0, foliop);
		/* punched meanwhile, or past the end of the file */
		return error == -ENOENT ? 0 : error;
	}
	if (folio)
		folio_lock(folio);
	*foliop = folio;
	return 0;
}

/* Prepare the folio at *@index, and move *@index behind it. */
static int prepare_folio(struct memfd_consumers *cs, pgoff_t *index, bool fill)
{
	struct folio *folio;
	int error;

	error = lock_folio_at(cs, *index, fill, &folio);
	if (error)
		return error;
	if (!folio) {
		++*index;
		return 0;
	}
	switch (folio_state(cs->inode->i_mapping, folio, *index, false)) {
	case FOLIO_GONE:	/* look again */
		break;
	case FOLIO_UNINITIALISED:
		error = fill ? memfd_initialise(folio) : 0;
		if (error)
			return error == -EAGAIN ? 0 : error;
		fallthrough;
	default:
		*index = folio_next_index(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
	return 0;
}

/* The first page of [start, end) that get_folios() may not return as it is */
static pgoff_t next_unprepared(struct memfd_consumers *cs, pgoff_t start,
			       pgoff_t end, bool fill)
{
	XA_STATE(xas, &cs->inode->i_mapping->i_pages, start);
	unsigned int steps = 0;
	struct folio *folio;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (xa_is_value(folio) ? fill : folio_test_locked(folio) ||
		    (fill && !folio_test_uptodate(folio)))
			break;
		walk_resched(&xas, &steps, xas.xa_index + 1);
	}
	if (folio)
		end = xas.xa_index;
	rcu_read_unlock();
	return end;
}

static int filemap_prepare_folios(struct memfd_falloc_notifier *mn,
				  pgoff_t start, pgoff_t end, unsigned int flags)
{
	struct memfd_consumers *cs = mn->consumers;
	bool fill = flags & MEMFD_PFN_FILL;
	int error = 0;

	start = max(start, memfd_window_start(mn));
	end = min(end, memfd_window_end(mn));
	if (fill && migrates_longterm(mn))
		migrate_out_of_movable(mn, start, end);
	while (!error) {
		start = next_unprepared(cs, start, end, fill);
		if (start >= end)
			break;
		if (fill && fatal_signal_pending(current))
			return -EINTR;
		error = prepare_folio(cs, &start, fill);
	}
	return error;
}

/* Does the node have all its pages? The walk is at its first slot. */
static bool node_full(struct xa_state *xas)
{
	struct xa_node *node = xas->xa_node;

	return node && !node->shift && !xas->xa_offset &&
	       READ_ONCE(node->count) == XA_CHUNK_SIZE &&
	       !READ_ONCE(node->nr_values);
}

/*
 * The caller's references keep the folios that it asks for from being freed and
 * reused under this walk, so it takes none.
 */
static pgoff_t filemap_find_hole(struct memfd_falloc_notifier *mn,
				 pgoff_t start, pgoff_t end)
{
	XA_STATE(xas, &mn->file->f_mapping->i_pages, start);
	unsigned int steps = 0;
	struct folio *folio;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (xa_is_value(folio) || folio->index > start)
			break;
		if (node_full(&xas))
			start = round_up(xas.xa_index + 1, XA_CHUNK_SIZE);
		else
			start = folio_next_index(folio);
		if (start - 1 > xas.xa_index)
			xas_advance(&xas, start - 1);
		walk_resched(&xas, &steps, start);
	}
	rcu_read_unlock();
	return min(start, end);
}

/* How many pages of a large folio are in [start, end)? */
static int nr_pages_in(struct folio *folio, pgoff_t start, pgoff_t end)
{
	return min(folio_next_index(folio), end) - max(folio->index, start);
}

/* As above: the caller keeps the folios. */
static void filemap_hold_folios(struct memfd_falloc_notifier *mn, pgoff_t start,
				pgoff_t end)
{
	XA_STATE(xas, &mn->file->f_mapping->i_pages, start);
	unsigned int steps = 0;
	struct folio *folio;
	pgoff_t next;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio) || WARN_ON_ONCE(xa_is_value(folio)))
			continue;
		next = folio_next_index(folio);
		if (folio_test_large(folio)) {
			xas_advance(&xas, next - 1);
			folio_ref_add(folio, nr_pages_in(folio, start, end));
		} else {
			folio_get(folio);
		}
		walk_resched(&xas, &steps, next);
	}
	rcu_read_unlock();
}

static void filemap_put_folios(struct memfd_falloc_notifier *mn, pgoff_t start,
			       pgoff_t end, bool dirty)
{
	XA_STATE(xas, &mn->file->f_mapping->i_pages, start);
	unsigned int steps = 0;
	struct folio *folio;
	pgoff_t next;

	atomic_inc(&mn->consumers->nr_drops);
	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		/* nobody cleans a folio that has a reference on it */
		if (dirty && !folio_test_dirty(folio))
			folio_mark_dirty(folio);
		next = folio_next_index(folio);
		if (folio_test_large(folio)) {
			xas_advance(&xas, next - 1);
			folio_put_refs(folio, nr_pages_in(folio, start, end));
		} else {
			folio_put(folio);
		}
		walk_resched(&xas, &steps, next);
	}
	rcu_read_unlock();
}

const struct memfd_pfn_ops memfd_filemap_pfn_ops = {
	.get_lock_pfn	= filemap_get_lock_pfn,
	.put_unlock_pfn	= filemap_put_unlock_pfn,
	.prepare_folios	= filemap_prepare_folios,
	.get_folios	= filemap_get_folios_mappable,
	.find_hole	= filemap_find_hole,
	.hold_folios	= filemap_hold_folios,
	.put_folios	= filemap_put_folios,
};
