// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: how consumers take pages of any store from the page cache
 *
 * get_folios() is what mapping a file costs, so it takes batches of folios that
 * need no waiting from one walk, and only for the others looks page by page.
 *
 * It looks at a folio's state under the folio's lock, although it returns the
 * folio unlocked: migration and swap-out hold the lock while they replace a
 * folio, and may have begun before the consumer registered.
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

/* How often to try to migrate a page out of movable memory, a jiffy apart */
#define MIGRATE_TRIES	10

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

/**
 * struct memfd_lookup - one call of get_folios()
 * @mapping: of the file
 * @store: the file's store
 * @index: the page to look at next
 * @end: where to stop
 * @fill: initialise folios and read back those in swap, rather than skip them
 * @migrate: migrate folios out of movable memory, since the consumer pins. On
 *	its first lookup only: pages that come later are allocated elsewhere
 * @migrate_tries: how often that failed
 */
struct memfd_lookup {
	struct address_space *mapping;
	const struct memfd_store_ops *store;
	pgoff_t index, end;
	bool fill, migrate;
	unsigned int migrate_tries;
};

enum folio_state {
	FOLIO_READY,
	FOLIO_GONE,		/* not at that index any more */
	FOLIO_POISONED,
	FOLIO_UNINITIALISED,
	FOLIO_MUST_MIGRATE,
};

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
 * Collect folios that need no waiting. Moves @l->index behind them, to the first
 * page that does need it, or to @l->end. A huge folio is alone in its batch:
 * the reference on it keeps it from being split, so that a hole in it is zeroed
 * rather than freed. Hold it no longer than mapping it takes.
 */
static void collect_ready(struct memfd_lookup *l, struct folio_batch *fbatch)
{
	struct address_space *mapping = l->mapping;
	XA_STATE(xas, &mapping->i_pages, l->index);
	bool fill = l->fill, migrate = l->migrate;
	enum folio_state state;
	struct folio *folio;
	pgoff_t next;

	rcu_read_lock();
	xas_for_each(&xas, folio, l->end - 1) {
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
			goto out;
		}
		next = folio_next_index(folio);
		if (!folio_batch_add(fbatch, folio) || folio_test_large(folio))
			goto out;
	}
	next = l->end;
out:
	rcu_read_unlock();
	l->index = next;
}

/*
 * Initialise a folio that was only fallocated, as a fault in the file would; but
 * this one may lie past the end of the file. On error the folio is unlocked, and
 * the reference dropped.
 */
static int initialise_folio(struct folio *folio)
{
	folio_zero_range(folio, 0, folio_size(folio));
	flush_dcache_folio(folio);
	folio_mark_uptodate(folio);
	return memfd_populate_or_drop(folio, false);
}

/*
 * A concurrent fault or lookup soon drops its reference. One that is kept keeps
 * the folio where it is, with this consumer or without.
 */
static void migrate_folio_longterm(struct memfd_lookup *l, struct folio *folio)
{
	if (l->store->migrate_longterm(folio) != -EBUSY)
		return;
	l->migrate = ++l->migrate_tries < MIGRATE_TRIES;
	schedule_timeout_killable(1);
}

static void skip_folio(struct memfd_lookup *l, struct folio *folio)
{
	l->index = folio_next_index(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * Bring a locked folio into the state that the consumer needs. Sets *@foliop to
 * it, and moves @l->index behind it; or, without a folio, moves @l->index if the
 * page is to be skipped, and not if it is to be looked at again.
 */
static int finish_folio(struct memfd_lookup *l, struct folio *folio,
			struct folio **foliop)
{
	int error;

	switch (folio_state(l->mapping, folio, l->index, l->migrate)) {
	case FOLIO_READY:
		break;
	case FOLIO_UNINITIALISED:
		if (!l->fill) {
			skip_folio(l, folio);
			return 0;
		}
		error = initialise_folio(folio);
		if (error)
			return error == -EAGAIN ? 0 : error;
		break;
	case FOLIO_MUST_MIGRATE:
		folio_unlock(folio);
		migrate_folio_longterm(l, folio);
		return 0;
	case FOLIO_POISONED:
		skip_folio(l, folio);
		return 0;
	default:
		folio_unlock(folio);
		folio_put(folio);
		return 0;
	}
	l->index = folio_next_index(folio);
	folio_unlock(folio);
	*foliop = folio;
	return 0;
}

/* Wait for the page at @l->index: for its lock, and for its content. As above. */
static int wait_for_folio(struct memfd_lookup *l, struct folio **foliop)
{
	struct folio *folio = filemap_get_entry(l->mapping, l->index);
	int error;

	if (xa_is_value(folio) && l->fill) {
		error = l->store->get_folio(l->mapping->host, l->index, 0,
					    &folio);
		if (error && error != -ENOENT)
			return error;
		/* punched meanwhile, or past the end of the file */
		if (error)
			folio = NULL;
	} else if (folio && !xa_is_value(folio)) {
		folio_lock(folio);
	} else {
		folio = NULL;
	}
	if (!folio) {
		l->index++;
		return 0;
	}
	return finish_folio(l, folio, foliop);
}

static int filemap_get_folios_mappable(struct memfd_falloc_notifier *mn,
				       pgoff_t *index, pgoff_t end,
				       unsigned int flags,
				       struct folio_batch *fbatch)
{
	struct memfd_lookup l = {
		.mapping = mn->consumers->inode->i_mapping,
		.store = mn->consumers->store,
		.index = max(*index, memfd_window_start(mn)),
		.end = min(end, memfd_window_end(mn)),
		.fill = flags & MEMFD_PFN_FILL,
	};
	struct folio *folio = NULL;
	int error = 0;

	l.migrate = l.fill && consumer_pins(mn) && l.store->migrate_longterm;
	while (l.index < l.end) {
		collect_ready(&l, fbatch);
		if (folio_batch_count(fbatch) || l.index >= l.end)
			break;
		if (l.fill && fatal_signal_pending(current)) {
			error = -EINTR;
			break;
		}
		error = wait_for_folio(&l, &folio);
		if (error)
			break;
		if (folio) {
			folio_batch_add(fbatch, folio);
			break;
		}
		cond_resched();
	}
	*index = l.index;
	return error;
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

static void filemap_put_folios(struct memfd_falloc_notifier *mn, pgoff_t start,
			       pgoff_t end, bool dirty)
{
	XA_STATE(xas, &mn->file->f_mapping->i_pages, start);
	unsigned int steps = 0;
	struct folio *folio;
	pgoff_t next;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		/* nobody cleans a folio that has a reference on it */
		if (dirty && !folio_test_dirty(folio))
			folio_mark_dirty(folio);
		next = folio_next_index(folio);
		if (folio_test_large(folio))
			xas_advance(&xas, next - 1);
		folio_put(folio);
		walk_resched(&xas, &steps, next);
	}
	rcu_read_unlock();
}

const struct memfd_pfn_ops memfd_filemap_pfn_ops = {
	.get_lock_pfn	= filemap_get_lock_pfn,
	.put_unlock_pfn	= filemap_put_unlock_pfn,
	.get_folios	= filemap_get_folios_mappable,
	.find_hole	= filemap_find_hole,
	.put_folios	= filemap_put_folios,
};
