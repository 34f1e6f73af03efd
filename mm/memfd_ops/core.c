// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: in-kernel consumers of a memfd's pages
 *
 * The core keeps the consumers of each file, calls them when pages enter and
 * leave it, and keeps them from mapping a page that is leaving. It knows neither
 * the stores behind the files nor the page tables behind the consumers.
 *
 * A callback may sleep, so no lock is held across it. Instead, the core counts
 * the callbacks of a consumer that are running in ->nr_active, and leaves it in
 * the tree while there are any: a walk goes on from there. Unregistering marks
 * the consumer, so that walks skip it, waits for its own callbacks alone, and
 * removes it.
 *
 * A consumer maps pages that it has looked up without a lock that would keep
 * them in the file. It maps them only if no invalidation has begun since:
 *
 *	consumer				removal
 *
 *	seq = memfd_read_begin()
 *	look up pages
 *						put the invalidation on the list
 *						advance the consumer's seq
 *						invalidate_page_range():
 *						  lock the consumer
 *						  unmap, flush
 *						  unlock
 *	lock
 *	memfd_read_retry(seq)? start over
 *	map
 *	unlock
 *						remove the pages
 *						take the invalidation off the list
 *						invalidate_end()
 *
 * The lock orders the two: either the callback finds the pages mapped, or the
 * consumer sees that the sequence has moved. memfd_read_begin() waits while an
 * invalidation that overlaps the window is on the list, so that starting over
 * comes to an end.
 *
 * A page that enters the file is mapped by populate(), under the folio's lock,
 * with the same check. If an invalidation overlaps the folio, then the operation
 * that brought it waits, and starts over.
 */
#define pr_fmt(fmt) "memfd_ops: " fmt

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/memfd_ops.h>

/*
 * Toggling the key interrupts every CPU. Delay disabling it, so that opening and
 * closing a device in a loop does not trigger that each time.
 */
DEFINE_STATIC_KEY_DEFERRED_FALSE(memfd_ops_key, 10 * HZ);

LIST_HEAD(memfd_files);
/* Protects memfd_files, and the setting of memfd_stores */
DEFINE_MUTEX(memfd_files_lock);

/*
 * Held for reading while a callback runs, and for writing while unregistering
 * waits for callbacks, so that lockdep sees a wait under a lock that a callback
 * takes.
 */
#ifdef CONFIG_LOCKDEP
static struct lockdep_map memfd_callback_map =
	STATIC_LOCKDEP_MAP_INIT("memfd_callback", &memfd_callback_map);
#endif

/*
 * Stores
 */

#define MEMFD_MAX_STORES	4

/* Written under memfd_files_lock, read under RCU */
static const struct memfd_store_ops *memfd_stores[MEMFD_MAX_STORES];

/**
 * memfd_register_store - let the files of a store have consumers
 * @store: what the core needs from it; stays until memfd_unregister_store()
 *
 * Context: may sleep.
 * Return: 0, -EINVAL if an operation that must be there is missing, or -ENOSPC
 * if there are too many stores.
 */
int memfd_register_store(const struct memfd_store_ops *store)
{
	int i, error = -ENOSPC;

	if (!store->name || !store->consumers || !store->get_folio ||
	    !store->drop_folio || !store->claim_write != !store->release_write)
		return -EINVAL;
	mutex_lock(&memfd_files_lock);
	for (i = 0; i < MEMFD_MAX_STORES && error; i++) {
		if (memfd_stores[i])
			continue;
		WRITE_ONCE(memfd_stores[i], store);
		error = 0;
	}
	mutex_unlock(&memfd_files_lock);
	return error;
}

/**
 * memfd_unregister_store - undo memfd_register_store()
 * @store: none of its files has a consumer, or is being worked on
 *
 * Context: may sleep.
 */
void memfd_unregister_store(const struct memfd_store_ops *store)
{
	int i;

	mutex_lock(&memfd_files_lock);
	for (i = 0; i < MEMFD_MAX_STORES; i++)
		if (memfd_stores[i] == store)
			WRITE_ONCE(memfd_stores[i], NULL);
	mutex_unlock(&memfd_files_lock);
	synchronize_rcu();
}

/* The slot for the file's consumers; NULL if it is of no store */
static struct memfd_consumers **
memfd_find_slot(struct address_space *mapping,
		const struct memfd_store_ops **storep)
{
	const struct memfd_store_ops *store;
	struct memfd_consumers **slot = NULL;
	int i;

	rcu_read_lock();
	for (i = 0; i < MEMFD_MAX_STORES && !slot; i++) {
		store = READ_ONCE(memfd_stores[i]);
		if (!store)
			continue;
		slot = store->consumers(mapping);
		*storep = store;
	}
	rcu_read_unlock();
	return slot;
}

static struct memfd_consumers *memfd_consumers(struct address_space *mapping)
{
	const struct memfd_store_ops *store;
	struct memfd_consumers **slot = memfd_find_slot(mapping, &store);

	/* pairs with cmpxchg() in memfd_get_consumers() */
	return slot ? smp_load_acquire(slot) : NULL;
}

/* The same; allocate it if the file has had no consumer yet */
static struct memfd_consumers *memfd_get_consumers(struct inode *inode)
{
	const struct memfd_store_ops *store;
	struct memfd_consumers **slot = memfd_find_slot(inode->i_mapping, &store);
	struct memfd_consumers *cs, *old;

	if (!slot)
		return ERR_PTR(-EINVAL);
	cs = memfd_consumers(inode->i_mapping);
	if (cs)
		return cs;

	cs = kzalloc(sizeof(*cs), GFP_KERNEL_ACCOUNT);
	if (!cs)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&cs->lock);
	cs->tree = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&cs->invalidations);
	INIT_LIST_HEAD(&cs->prepared);
	init_waitqueue_head(&cs->wait);
	cs->store = store;
	cs->inode = inode;

	mutex_lock(&memfd_files_lock);
	old = cmpxchg(slot, NULL, cs);
	if (!old)
		list_add_tail(&cs->files, &memfd_files);
	mutex_unlock(&memfd_files_lock);
	if (!old)
		return cs;
	kfree(cs);
	return old;
}

/**
 * memfd_consumers_free - the file is being evicted
 * @cs: from the slot that the store's @consumers returns; may be NULL
 *
 * Each consumer holds a reference on its file, so there is none left. The file
 * has no page left either, through which memory management could find @cs.
 *
 * Context: may sleep.
 */
void memfd_consumers_free(struct memfd_consumers *cs)
{
	if (!cs)
		return;
	WARN_ON_ONCE(cs->nr || !list_empty(&cs->invalidations));
	mutex_lock(&memfd_files_lock);
	list_del(&cs->files);
	mutex_unlock(&memfd_files_lock);
	kfree(cs);
}

/*
 * Registration
 */

/**
 * memfd_ops_get - prepare for a registration with locks held
 *
 * The first consumer of all makes memfd_register_falloc_notifier() take the
 * locks of CPU hotplug. If registration happens under a lock that nests inside
 * cpu_hotplug_lock, call this first, without that lock.
 *
 * Context: may sleep.
 */
void memfd_ops_get(void)
{
	static_branch_deferred_inc(&memfd_ops_key);
}
EXPORT_SYMBOL_GPL(memfd_ops_get);

/**
 * memfd_ops_put - undo memfd_ops_get()
 *
 * Context: any.
 */
void memfd_ops_put(void)
{
	static_branch_slow_dec_deferred(&memfd_ops_key);
}
EXPORT_SYMBOL_GPL(memfd_ops_put);

/**
 * memfd_can_register - can the file have consumers?
 * @file: any file
 *
 * Context: any.
 * Return: true if memfd_register_falloc_notifier() knows this kind of file.
 */
bool memfd_can_register(struct file *file)
{
	const struct memfd_store_ops *store;

	return memfd_find_slot(file->f_mapping, &store);
}
EXPORT_SYMBOL_GPL(memfd_can_register);

static bool memfd_ops_valid(const struct memfd_falloc_notifier_ops *ops)
{
	return ops->name && ops->invalidate_page_range &&
	       !ops->get_owner == !ops->put_owner;
}

static void memfd_init_consumer(struct memfd_falloc_notifier *mn,
				struct memfd_consumers *cs, pgoff_t start,
				pgoff_t end,
				const struct memfd_falloc_notifier_ops *ops)
{
	mn->ops = ops;
	mn->pfn_ops = &memfd_filemap_pfn_ops;
	mn->consumers = cs;
	mn->window.start = start;
	mn->window.last = end - 1;
	mn->seq = 0;
	mn->nr_active = 0;
	mn->unregistering = false;
	INIT_LIST_HEAD(&mn->prepared);
	atomic_long_set(&mn->nr_invalidate, 0);
	atomic_long_set(&mn->nr_populate, 0);
	atomic_long_set(&mn->nr_fallocate, 0);
}

/*
 * Pages that a consumer may pin for long must not be in memory that has to stay
 * movable.
 */
static void memfd_add_pinning(struct memfd_consumers *cs)
{
	struct address_space *mapping = cs->inode->i_mapping;

	lockdep_assert_held(&cs->lock);
	if (!cs->nr_pinning) {
		cs->gfp = mapping_gfp_mask(mapping);
		mapping_set_gfp_mask(mapping, cs->gfp & ~__GFP_MOVABLE);
	}
	WRITE_ONCE(cs->nr_pinning, cs->nr_pinning + 1);
}

static void memfd_remove_pinning(struct memfd_consumers *cs)
{
	lockdep_assert_held(&cs->lock);
	WRITE_ONCE(cs->nr_pinning, cs->nr_pinning - 1);
	if (!cs->nr_pinning)
		mapping_set_gfp_mask(cs->inode->i_mapping, cs->gfp);
}

/*
 * Make a consumer visible. Whatever changes the file either sees it, or is over
 * before the consumer looks for pages:
 *
 * - Removal of a range, and collapse, hold i_rwsem or invalidate_lock. Both are
 *   held here.
 * - A page is added under the i_pages lock, and only then its bringer looks for
 *   consumers. Taking that lock after the insertion means that the bringer sees
 *   the consumer, or the consumer's first lookup sees the page.
 * - Migration and swap-out hold the folio's lock from memfd_replace_begin() on.
 *   The first lookup locks each folio.
 */
static void memfd_insert_consumer(struct memfd_falloc_notifier *mn)
{
	struct memfd_consumers *cs = mn->consumers;
	struct address_space *mapping = cs->inode->i_mapping;

	lockdep_assert_held(&cs->inode->i_rwsem);
	filemap_invalidate_lock(mapping);
	spin_lock(&cs->lock);
	mn->start_gen = ++cs->generation;
	interval_tree_insert(&mn->window, &cs->tree);
	if (consumer_pins(mn))
		memfd_add_pinning(cs);
	if (!cs->nr++)
		set_bit(AS_MEMFD_CONSUMERS, &mapping->flags);
	spin_unlock(&cs->lock);
	xa_lock_irq(&mapping->i_pages);
	xa_unlock_irq(&mapping->i_pages);
	filemap_invalidate_unlock(mapping);
}

static void memfd_remove_consumer(struct memfd_falloc_notifier *mn)
{
	struct memfd_consumers *cs = mn->consumers;

	lockdep_assert_held(&cs->lock);
	interval_tree_remove(&mn->window, &cs->tree);
	if (!--cs->nr)
		clear_bit(AS_MEMFD_CONSUMERS, &cs->inode->i_mapping->flags);
	if (consumer_pins(mn))
		memfd_remove_pinning(cs);
}

/**
 * memfd_register_falloc_notifier - register a consumer for a window of a file
 * @mn: the consumer, zeroed except for @writes, or as
 *	memfd_unregister_falloc_notifier() left it
 * @file: a file of a store, such as a memfd
 * @start: first page of the window
 * @end: end of the window, exclusive; it may reach past the end of the file
 * @ops: the consumer's callbacks; @name and @invalidate_page_range are set,
 *	and either both of @get_owner and @put_owner or none
 *
 * Callbacks may run before this returns. They report changes from now on; the
 * consumer gets the pages that the file already has through
 * &memfd_pfn_ops.get_folios or &memfd_pfn_ops.get_lock_pfn.
 *
 * Context: may sleep, waits for the file's i_rwsem. The caller holds no lock
 * that one of the callbacks takes, no folio lock and not i_rwsem. See
 * memfd_ops_get() for CPU hotplug.
 * Return: 0, or
 * -EINVAL (no store knows the file, the window is empty or reaches past the
 * largest file, a callback that must be there is missing), -EACCES (the consumer
 * writes, and the file can only be appended to), -EPERM (it writes, and the file
 * is sealed against that), -ENOMEM, or -EINTR (killed while waiting).
 * After an error nothing is registered.
 */
int memfd_register_falloc_notifier(struct memfd_falloc_notifier *mn,
				   struct file *file, pgoff_t start,
				   pgoff_t end,
				   const struct memfd_falloc_notifier_ops *ops)
{
	struct inode *inode = file_inode(file);
	struct memfd_consumers *cs;
	int error;

	if (!memfd_ops_valid(ops) || start >= end ||
	    end - 1 > MAX_LFS_FILESIZE >> PAGE_SHIFT)
		return -EINVAL;
	cs = memfd_get_consumers(inode);
	if (IS_ERR(cs))
		return PTR_ERR(cs);
	memfd_init_consumer(mn, cs, start, end, ops);

	/* before any lock: enabling the key takes those of CPU hotplug */
	if (!static_key_fast_inc_not_disabled(&memfd_ops_key.key.key))
		memfd_ops_get();
	error = down_read_killable(&inode->i_rwsem);
	if (error)
		goto err_put;
	if (mn->writes && cs->store->claim_write)
		error = cs->store->claim_write(inode);
	if (!error) {
		mn->file = get_file(file);
		memfd_insert_consumer(mn);
	}
	up_read(&inode->i_rwsem);
	if (error)
		goto err_put;
	trace_memfd_register(mn, start, end, 0);
	return 0;

err_put:
	memfd_ops_put();
	return error;
}
EXPORT_SYMBOL_GPL(memfd_register_falloc_notifier);

/**
 * memfd_unregister_falloc_notifier - unregister a consumer
 * @mn: a registered consumer
 *
 * The consumer has no translation left, and makes none: pages may leave the
 * file without a callback while this runs. On return no callback runs or will
 * run, and the caller may free @mn.
 *
 * Cannot fail, and does not allocate.
 *
 * Context: may sleep, waits for the running callbacks of @mn. The caller holds
 * no lock that one of them takes, and no folio lock; not from a callback.
 */
void memfd_unregister_falloc_notifier(struct memfd_falloc_notifier *mn)
{
	struct memfd_consumers *cs = mn->consumers;

	might_sleep();
	lock_map_acquire(&memfd_callback_map);
	lock_map_release(&memfd_callback_map);

	trace_memfd_unregister(mn, memfd_window_start(mn), memfd_window_end(mn), 0);
	spin_lock(&cs->lock);
	mn->unregistering = true;
	list_del_init(&mn->prepared);
	wait_event_cmd(cs->wait, !mn->nr_active,
		       spin_unlock(&cs->lock), spin_lock(&cs->lock));
	memfd_remove_consumer(mn);
	spin_unlock(&cs->lock);

	if (mn->writes && cs->store->release_write)
		cs->store->release_write(cs->inode);
	memfd_ops_put();
	fput(mn->file);
	mn->file = NULL;
}
EXPORT_SYMBOL_GPL(memfd_unregister_falloc_notifier);

/*
 * Walking the consumers
 */

/* Keep a consumer registered for a callback */
static bool memfd_get_consumer(struct memfd_consumers *cs,
			       struct memfd_falloc_notifier *mn)
{
	lockdep_assert_held(&cs->lock);
	if (mn->unregistering)
		return false;
	if (mn->ops->get_owner && !mn->ops->get_owner(mn))
		return false;
	mn->nr_active++;
	return true;
}

static void __memfd_put_consumer(struct memfd_consumers *cs,
				 struct memfd_falloc_notifier *mn)
{
	lockdep_assert_held(&cs->lock);
	if (!--mn->nr_active && mn->unregistering)
		wake_up_all(&cs->wait);
}

static void memfd_put_consumer(struct memfd_consumers *cs,
			       struct memfd_falloc_notifier *mn)
{
	if (mn->ops->put_owner)
		mn->ops->put_owner(mn);
	spin_lock(&cs->lock);
	__memfd_put_consumer(cs, mn);
	spin_unlock(&cs->lock);
}

/*
 * Walk the consumers that overlap [start, end) and registered at generation
 * @gen or before: put @prev and get the next one, or the first without @prev.
 */
static struct memfd_falloc_notifier *
memfd_next_consumer(struct memfd_consumers *cs,
		    struct memfd_falloc_notifier *prev,
		    pgoff_t start, pgoff_t end, u64 gen)
{
	struct memfd_falloc_notifier *mn;

	if (prev && prev->ops->put_owner)
		prev->ops->put_owner(prev);

	spin_lock(&cs->lock);
	if (prev)
		mn = next_consumer(prev, start, end);
	else
		mn = first_consumer(cs, start, end);
	for (; mn; mn = next_consumer(mn, start, end))
		if (mn->start_gen <= gen && memfd_get_consumer(cs, mn))
			break;
	if (prev)
		__memfd_put_consumer(cs, prev);
	spin_unlock(&cs->lock);
	return mn;
}

/* Leave the loop early with memfd_put_consumer() */
#define for_each_consumer(cs, mn, start, end, gen)			\
	for (mn = memfd_next_consumer(cs, NULL, start, end, gen); mn;	\
	     mn = memfd_next_consumer(cs, mn, start, end, gen))

/* Clip [start, end) to the window of @mn, as [*s, *e) */
static void memfd_clip(const struct memfd_falloc_notifier *mn,
		       pgoff_t start, pgoff_t end, pgoff_t *s, pgoff_t *e)
{
	*s = max(start, memfd_window_start(mn));
	*e = min(end, memfd_window_end(mn));
}

/*
 * Invalidation
 */

/**
 * memfd_invalidating - is an invalidation of a range under way?
 * @cs: the file's consumers, locked
 * @start: first page of the range
 * @end: end of the range, exclusive
 *
 * Return: true if one overlaps the range.
 */
bool memfd_invalidating(struct memfd_consumers *cs, pgoff_t start, pgoff_t end)
{
	struct memfd_invalidation *inv;

	lockdep_assert_held(&cs->lock);
	list_for_each_entry(inv, &cs->invalidations, list)
		if (inv->start < end && start < inv->end)
			return true;
	return false;
}

static void memfd_wait_range(struct memfd_consumers *cs,
			     pgoff_t start, pgoff_t end)
	__must_hold(&cs->lock)
{
	wait_event_cmd(cs->wait, !memfd_invalidating(cs, start, end),
		       spin_unlock(&cs->lock), spin_lock(&cs->lock));
}

/**
 * memfd_read_begin - before a consumer looks up pages to map
 * @mn: the consumer
 *
 * Waits until no invalidation overlaps the window.
 *
 * Context: may sleep. The caller holds no folio lock, and no lock that callbacks
 * take.
 * Return: a sequence number, for memfd_read_retry().
 */
unsigned long memfd_read_begin(struct memfd_falloc_notifier *mn)
{
	struct memfd_consumers *cs = mn->consumers;
	unsigned long seq;

	might_sleep();
	spin_lock(&cs->lock);
	memfd_wait_range(cs, memfd_window_start(mn), memfd_window_end(mn));
	seq = mn->seq;
	spin_unlock(&cs->lock);
	return seq;
}
EXPORT_SYMBOL_GPL(memfd_read_begin);

void __memfd_invalidate_wait(struct address_space *mapping,
			     pgoff_t start, pgoff_t end)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);

	might_sleep();
	spin_lock(&cs->lock);
	memfd_wait_range(cs, start, end);
	spin_unlock(&cs->lock);
}

/* The invalidations that replace a folio, rather than remove pages */
static bool reason_replaces(enum memfd_invalidate_reason reason)
{
	return reason == MEMFD_INVALIDATE_MIGRATE ||
	       reason == MEMFD_INVALIDATE_SWAP_OUT;
}

/*
 * Consumers that pin cannot have mapped a folio that is being replaced: skip
 * them.
 */
static bool memfd_applies_to(struct memfd_invalidation *inv,
			     struct memfd_falloc_notifier *mn)
{
	return !(reason_replaces(inv->reason) && consumer_pins(mn));
}

static void memfd_start_invalidation(struct memfd_invalidation *inv,
				     struct memfd_consumers *cs,
				     pgoff_t start, pgoff_t end,
				     enum memfd_invalidate_reason reason)
{
	inv->consumers = cs;
	inv->reason = reason;
	inv->start = start;
	inv->end = end;
	inv->revoked = false;
	spin_lock(&cs->lock);
	inv->start_gen = ++cs->generation;
	list_add(&inv->list, &cs->invalidations);
	cs->nr_invalidations[reason]++;
	spin_unlock(&cs->lock);
}

/*
 * Folios that reach across an edge of the range have to be split, and a
 * reference of a consumer whose window is outside the range would prevent that.
 * Since the invalidation is on the list, nobody maps such a folio any more.
 */
static void memfd_widen(struct memfd_invalidation *inv)
{
	struct xarray *pages = &inv->consumers->inode->i_mapping->i_pages;
	pgoff_t start = inv->start, last = inv->end - 1;

	start = round_down(start, 1UL << xa_get_order(pages, start));
	last |= (1UL << xa_get_order(pages, last)) - 1;

	spin_lock(&inv->consumers->lock);
	inv->start = start;
	inv->end = last + 1 ? : ULONG_MAX;
	spin_unlock(&inv->consumers->lock);
}

static void memfd_invalidate(struct memfd_invalidation *inv,
			     struct memfd_consumers *cs,
			     pgoff_t start, pgoff_t end,
			     enum memfd_invalidate_reason reason)
{
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	might_sleep();
	memfd_start_invalidation(inv, cs, start, end, reason);
	memfd_widen(inv);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, inv->start, inv->end, inv->start_gen) {
		if (!memfd_applies_to(inv, mn))
			continue;
		/* the generation never stands still, so this is a new value */
		WRITE_ONCE(mn->seq, inv->start_gen);
		memfd_clip(mn, inv->start, inv->end, &s, &e);
		trace_memfd_invalidate_begin(mn, s, e, reason);
		atomic_long_inc(&mn->nr_invalidate);
		mn->ops->invalidate_page_range(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);

	spin_lock(&cs->lock);
	inv->revoked = true;
	spin_unlock(&cs->lock);
}

void __memfd_invalidate_begin(struct memfd_invalidation *inv,
			      struct address_space *mapping,
			      pgoff_t start, pgoff_t end,
			      enum memfd_invalidate_reason reason)
{
	if (start < end)
		memfd_invalidate(inv, memfd_consumers(mapping), start, end,
				 reason);
}

void __memfd_invalidate_end(struct memfd_invalidation *inv)
{
	struct memfd_consumers *cs = inv->consumers;
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	might_sleep();
	spin_lock(&cs->lock);
	list_del(&inv->list);
	spin_unlock(&cs->lock);
	wake_up_all(&cs->wait);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, inv->start, inv->end, inv->start_gen) {
		if (!memfd_applies_to(inv, mn))
			continue;
		memfd_clip(mn, inv->start, inv->end, &s, &e);
		trace_memfd_invalidate_end(mn, s, e, inv->reason);
		if (mn->ops->invalidate_end)
			mn->ops->invalidate_end(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
}

/*
 * Could a consumer hold a reference on the folio, or get one before it has been
 * replaced? It could pin the folio at its destination, which may be in
 * ZONE_MOVABLE or CMA.
 */
static bool memfd_may_be_pinned(struct memfd_consumers *cs, struct folio *folio,
				enum memfd_invalidate_reason reason)
{
	pgoff_t start = folio->index, end = folio_next_index(folio);
	/* those of the page cache and of the caller */
	int unpinned_refs = folio_nr_pages(folio) + 1;
	struct memfd_falloc_notifier *mn;
	bool remap_pending;

	spin_lock(&cs->lock);
	for (mn = first_consumer(cs, start, end); mn && !consumer_pins(mn);)
		mn = next_consumer(mn, start, end);
	remap_pending = memfd_invalidating(cs, start, end);
	spin_unlock(&cs->lock);

	if (!mn)
		return false;
	/* it maps the folio again when that invalidation ends */
	if (remap_pending)
		return true;
	/* migration notices references that are taken from now on */
	return reason != MEMFD_INVALIDATE_MIGRATE ||
	       folio_ref_count(folio) != unpinned_refs;
}

bool __memfd_replace_begin(struct memfd_invalidation *inv, struct folio *folio,
			   enum memfd_invalidate_reason reason)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (memfd_may_be_pinned(cs, folio, reason))
		return false;
	memfd_invalidate(inv, cs, folio->index, folio_next_index(folio), reason);
	return true;
}

/* Has @inv revoked [start, end) from every consumer that overlaps it? */
static bool memfd_all_notified(struct memfd_consumers *cs,
			       const struct memfd_invalidation *inv,
			       pgoff_t start, pgoff_t end)
{
	struct memfd_falloc_notifier *mn;

	lockdep_assert_held(&cs->lock);
	if (!inv->revoked || start < inv->start || inv->end < end)
		return false;
	for (mn = first_consumer(cs, start, end); mn;
	     mn = next_consumer(mn, start, end))
		if (mn->start_gen > inv->start_gen)
			return false;
	return true;
}

/*
 * Any invalidation that has revoked the pages will do, not just one of the
 * caller's: if it ends before the pages are dropped, consumers cannot map them
 * again, since the caller holds the folio's lock.
 */
bool __memfd_split_may_discard(struct folio *folio, pgoff_t start)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);
	pgoff_t end = folio_next_index(folio);
	struct memfd_invalidation *inv;
	bool notified = false;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!folio_test_uptodate(folio))
		return true;
	/*
	 * Only these pages have to be in the range. The rest of the folio stays,
	 * and is not if the folio came after the range was widened.
	 */
	start = max(start, folio->index);
	spin_lock(&cs->lock);
	list_for_each_entry(inv, &cs->invalidations, list)
		notified |= memfd_all_notified(cs, inv, start, end);
	spin_unlock(&cs->lock);
	return notified;
}

/* Lock the page's folio, which may be split until then */
static struct folio *memfd_lock_folio_of(struct page *page)
{
	struct folio *folio;

	for (;;) {
		folio = page_folio(page);
		folio_lock(folio);
		if (likely(folio == page_folio(page)))
			return folio;
		folio_unlock(folio);
	}
}

void __memfd_poison_begin(struct memfd_invalidation *inv, struct page *page)
{
	struct folio *folio = memfd_lock_folio_of(page);
	struct address_space *mapping = folio_mapping(folio);

	/* the folio's lock keeps the inode until there is a reference on it */
	if (mapping && memfd_has_consumers(mapping))
		inv->inode = igrab(mapping->host);
	else
		inv->inode = NULL;
	if (inv->inode)
		memfd_invalidate(inv, memfd_consumers(mapping), folio->index,
				 folio_next_index(folio),
				 MEMFD_INVALIDATE_POISON);
	folio_unlock(folio);
}

void __memfd_poison_end(struct memfd_invalidation *inv)
{
	__memfd_invalidate_end(inv);
	iput(inv->inode);
}

/*
 * Pages that enter the file
 */

/* Is the folio being invalidated? If not, set *@seq for its populate() */
static bool memfd_populate_must_wait(struct memfd_consumers *cs,
				     struct memfd_falloc_notifier *mn,
				     struct folio *folio, unsigned long *seq)
{
	bool wait;

	spin_lock(&cs->lock);
	wait = memfd_invalidating(cs, folio->index, folio_next_index(folio));
	*seq = mn->seq;
	spin_unlock(&cs->lock);
	return wait;
}

/* These have a meaning of their own where pages enter a file */
static int memfd_populate_errno(int error)
{
	switch (error) {
	case -EAGAIN:
	case -EEXIST:
	case -EFAULT:
	case -EINVAL:
	case -EIO:
	case -ENOENT:
		return -ENXIO;
	default:
		return error;
	}
}

static int memfd_populate_one(struct memfd_consumers *cs,
			      struct memfd_falloc_notifier *mn,
			      struct folio *folio)
{
	unsigned long seq;
	pgoff_t s, e;
	int error;

	do {
		if (memfd_populate_must_wait(cs, mn, folio, &seq))
			return -EAGAIN;
		error = mn->ops->populate(mn, folio, seq);
		/* an invalidation elsewhere in the window is no reason to wait */
	} while (error == -EAGAIN && memfd_read_retry(mn, seq));

	error = memfd_populate_errno(error);
	memfd_clip(mn, folio->index, folio_next_index(folio), &s, &e);
	trace_memfd_populate(mn, s, e, error);
	atomic_long_inc(&mn->nr_populate);
	return error;
}

int __memfd_populate(struct folio *folio)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);
	struct memfd_falloc_notifier *mn;
	int error = 0;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_FOLIO(!folio_test_uptodate(folio), folio);
	might_sleep();
	if (!READ_ONCE(cs->nr_pinning) || folio_contain_hwpoisoned_page(folio))
		return 0;

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, folio->index, folio_next_index(folio), U64_MAX) {
		if (!mn->ops->populate)
			continue;
		error = memfd_populate_one(cs, mn, folio);
		if (error) {
			memfd_put_consumer(cs, mn);
			break;
		}
	}
	lock_map_release(&memfd_callback_map);
	return error;
}

int __memfd_populate_or_drop(struct folio *folio, bool newly_added)
{
	struct address_space *mapping = folio->mapping;
	pgoff_t start = folio->index, end = folio_next_index(folio);
	struct memfd_invalidation inv;
	int error;

	error = __memfd_populate(folio);
	if (likely(!error))
		return 0;

	memfd_invalidate_begin(&inv, mapping, start, end, MEMFD_INVALIDATE_UNDO);
	if (newly_added)
		memfd_consumers(mapping)->store->drop_folio(folio);
	else
		folio_clear_uptodate(folio);
	folio_unlock(folio);
	folio_put(folio);
	memfd_invalidate_end(&inv);
	if (error == -EAGAIN)
		memfd_invalidate_wait(mapping, start, end);
	return error;
}

bool __memfd_needs_longterm_migration(struct address_space *mapping,
				      struct folio *folio)
{
	return READ_ONCE(memfd_consumers(mapping)->nr_pinning) &&
	       needs_longterm_migration(folio);
}

bool __memfd_next_populated(struct address_space *mapping, pgoff_t *index,
			    pgoff_t end)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct memfd_falloc_notifier *mn;

	if (*index >= end)
		return false;

	spin_lock(&cs->lock);
	/* the walk is in order of the windows' starts */
	for (mn = first_consumer(cs, *index, end); mn && !mn->ops->populate;)
		mn = next_consumer(mn, *index, end);
	if (mn)
		*index = max(*index, memfd_window_start(mn));
	spin_unlock(&cs->lock);
	return mn;
}

/*
 * fallocate(2)
 */

/* Undo the acceptances, the last one first */
static void memfd_fallocate_abort(struct memfd_consumers *cs,
				  pgoff_t start, pgoff_t end)
{
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	spin_lock(&cs->lock);
	while ((mn = list_first_entry_or_null(&cs->prepared,
					      struct memfd_falloc_notifier,
					      prepared))) {
		list_del_init(&mn->prepared);
		if (!mn->ops->fallocate_abort || !memfd_get_consumer(cs, mn))
			continue;
		spin_unlock(&cs->lock);

		memfd_clip(mn, start, end, &s, &e);
		trace_memfd_fallocate_abort(mn, s, e, 0);
		mn->ops->fallocate_abort(mn, s, e);
		memfd_put_consumer(cs, mn);

		spin_lock(&cs->lock);
	}
	spin_unlock(&cs->lock);
}

static void memfd_fallocate_prepared(struct memfd_consumers *cs,
				     struct memfd_falloc_notifier *mn)
{
	spin_lock(&cs->lock);
	if (!mn->unregistering)
		list_add(&mn->prepared, &cs->prepared);
	spin_unlock(&cs->lock);
}

int __memfd_fallocate_begin(struct address_space *mapping,
			    pgoff_t start, pgoff_t end)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct memfd_falloc_notifier *mn;
	int error = 0;
	pgoff_t s, e;

	lockdep_assert_held_write(&mapping->host->i_rwsem);
	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, start, end, U64_MAX) {
		if (!mn->ops->fallocate)
			continue;
		memfd_clip(mn, start, end, &s, &e);
		error = mn->ops->fallocate(mn, s, e);
		trace_memfd_fallocate(mn, s, e, error);
		atomic_long_inc(&mn->nr_fallocate);
		if (error) {
			memfd_put_consumer(cs, mn);
			memfd_fallocate_abort(cs, start, end);
			break;
		}
		memfd_fallocate_prepared(cs, mn);
	}
	lock_map_release(&memfd_callback_map);
	return error;
}

void __memfd_fallocate_end(struct address_space *mapping,
			   pgoff_t start, pgoff_t end, int error)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct memfd_falloc_notifier *mn, *next;

	lockdep_assert_held_write(&mapping->host->i_rwsem);
	if (error) {
		lock_map_acquire_read(&memfd_callback_map);
		memfd_fallocate_abort(cs, start, end);
		lock_map_release(&memfd_callback_map);
		return;
	}
	spin_lock(&cs->lock);
	list_for_each_entry_safe(mn, next, &cs->prepared, prepared)
		list_del_init(&mn->prepared);
	spin_unlock(&cs->lock);
}
