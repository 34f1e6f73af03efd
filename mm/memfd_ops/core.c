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
 *	memfd_read_begin(range)
 *	look up pages
 *						put the invalidation on the list
 *						mark lookups of its range
 *						invalidate_page_range():
 *						  lock the consumer
 *						  unmap, flush
 *						  unlock
 *	lock
 *	memfd_read_retry()? start over
 *	map
 *	unlock
 *	memfd_read_end()
 *						remove the pages
 *						invalidate_end()
 *						take the invalidation off the list
 *
 * The lock orders the two: either the callback finds the pages mapped, or the
 * consumer sees that its lookup is marked. memfd_read_begin() waits while an
 * invalidation that overlaps the range is on the list, so that starting over
 * comes to an end.
 *
 * A page that enters the file is mapped by populate(), under the folio's lock,
 * with the same check. If an invalidation overlaps the folio, then the operation
 * that brought it waits, and starts over.
 *
 * A consumer that pins loses just the pages that leave. If a folio of such a page
 * is huge, it has to be split, and references of consumers on its other pages
 * are in the way. They go for the time of the split; the translations stay, since
 * the pages do:
 *
 *	lock the folio
 *	memfd_split_begin(): mark it dirty; unpin(): drop references
 *	split it, which unlocks most of the pieces
 *	memfd_split_end(): repin(): take the references again
 *
 * In between, a piece has only the references of the page cache. Nobody removes
 * it: ranges leave under i_rwsem; an invalidation of another kind waits in the
 * consumer until repin(). Nobody replaces it, since the invalidation is on the
 * list. Reclaim does not drop it, since it is dirty.
 *
 * While a folio is split, it is frozen: its count is 0, and nobody can take a
 * reference, not even for a moment. But a consumer without references may touch
 * what it has mapped: KVM marks a page accessed when it zaps an entry. So such a
 * consumer loses the whole folio until the split is over, whatever the split is
 * for: memfd_freeze_begin().
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
 * Each consumer that pins has a reference for each page, and all pages of a huge
 * folio have one count. A racing registration or two are no harm.
 */
#define MEMFD_MAX_PINNING	(INT_MAX / 4 / (1U << MAX_PAGECACHE_ORDER))

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
 * @store: none of its files has a consumer, is claimed for writing, or is being
 *	worked on
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

struct memfd_consumers *memfd_consumers(struct address_space *mapping)
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
	static u64 serial;	/* under memfd_files_lock */
	struct memfd_consumers *cs, *old;

	if (!slot)
		return ERR_PTR(memfd_refuse(-EINVAL, "no store knows the file"));
	cs = memfd_consumers(inode->i_mapping);
	if (cs)
		return cs;

	cs = kzalloc(sizeof(*cs), GFP_KERNEL_ACCOUNT);
	if (!cs)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&cs->lock);
	cs->tree = RB_ROOT_CACHED;
	cs->pinning = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&cs->reads);
	INIT_LIST_HEAD(&cs->invalidations);
	INIT_LIST_HEAD(&cs->prepared);
	init_waitqueue_head(&cs->wait);
	cs->store = store;
	cs->inode = inode;

	mutex_lock(&memfd_files_lock);
	old = cmpxchg(slot, NULL, cs);
	if (!old) {
		list_add_tail(&cs->files, &memfd_files);
		cs->serial = ++serial;
	}
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

/**
 * memfd_claim_write - claim write access to a file for consumers to come
 * @file: a file of a store, open for writing
 *
 * For owners of consumers that come and go, such as a mapping that is in many
 * IOMMU domains: the file's seals permit writing once, here, and until
 * memfd_release_write() no seal revokes that. So F_SEAL_WRITE fails with EBUSY.
 * F_SEAL_FUTURE_WRITE may be added, and consumers with
 * &memfd_falloc_notifier.write_claimed register all the same.
 *
 * Context: may sleep, waits for the file's i_rwsem. The caller holds no lock
 * that a consumer's callback takes, and not i_rwsem.
 * Return: 0, -EINVAL (no store knows the file), -EACCES (the file can only be
 * appended to), -EPERM (it is sealed against writing), or -EINTR (killed while
 * waiting).
 */
int memfd_claim_write(struct file *file)
{
	struct inode *inode = file_inode(file);
	const struct memfd_store_ops *store;
	int error;

	if (!memfd_find_slot(inode->i_mapping, &store))
		return memfd_refuse(-EINVAL, "no store knows the file");
	if (!store->claim_write)
		return 0;
	error = down_read_killable(&inode->i_rwsem);
	if (error)
		return error;
	error = store->claim_write(inode);
	up_read(&inode->i_rwsem);
	return error;
}
EXPORT_SYMBOL_GPL(memfd_claim_write);

/**
 * memfd_release_write - undo a successful memfd_claim_write()
 * @file: the same file; no consumer with &memfd_falloc_notifier.write_claimed
 *	that relies on this claim is registered any more
 *
 * Cannot fail, and does not sleep.
 *
 * Context: any.
 */
void memfd_release_write(struct file *file)
{
	struct inode *inode = file_inode(file);
	const struct memfd_store_ops *store;

	if (memfd_find_slot(inode->i_mapping, &store) && store->release_write)
		store->release_write(inode);
}
EXPORT_SYMBOL_GPL(memfd_release_write);

static bool claims_write(const struct memfd_falloc_notifier *mn)
{
	return mn->writes && !mn->write_claimed && mn->consumers->store->claim_write;
}

static bool memfd_ops_valid(const struct memfd_falloc_notifier_ops *ops)
{
	return ops->name && ops->invalidate_page_range &&
	       !ops->get_owner == !ops->put_owner &&
	       !ops->populate == !ops->unpin && !ops->populate == !ops->repin &&
	       !ops->populate == !ops->nr_pinned;
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
	mn->pinning.start = start;
	mn->pinning.last = end - 1;
	mn->migrate_tries = 0;
	mn->nr_active = 0;
	mn->unregistering = false;
	INIT_LIST_HEAD(&mn->prepared);
	atomic_long_set(&mn->nr_invalidate, 0);
	atomic_long_set(&mn->nr_populate, 0);
	atomic_long_set(&mn->nr_fallocate, 0);
	atomic_long_set(&mn->nr_missed, 0);
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
	if (consumer_pins(mn)) {
		interval_tree_insert(&mn->pinning, &cs->pinning);
		WRITE_ONCE(cs->nr_pinning, cs->nr_pinning + 1);
		WRITE_ONCE(cs->nr_vetoing, cs->nr_vetoing + !mn->may_miss);
	}
	WRITE_ONCE(cs->nr_aging, cs->nr_aging + !!mn->ops->young);
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
	WRITE_ONCE(cs->nr_aging, cs->nr_aging - !!mn->ops->young);
	if (!--cs->nr)
		clear_bit(AS_MEMFD_CONSUMERS, &cs->inode->i_mapping->flags);
	if (consumer_pins(mn)) {
		interval_tree_remove(&mn->pinning, &cs->pinning);
		WRITE_ONCE(cs->nr_pinning, cs->nr_pinning - 1);
		WRITE_ONCE(cs->nr_vetoing, cs->nr_vetoing - !mn->may_miss);
	}
}

/**
 * memfd_register_falloc_notifier - register a consumer for a window of a file
 * @mn: the consumer, zeroed except for @writes, @write_claimed and @may_miss, or
 *	as memfd_unregister_falloc_notifier() left it
 * @file: a file of a store, such as a memfd
 * @start: first page of the window
 * @end: end of the window, exclusive; it may reach past the end of the file
 * @ops: the consumer's callbacks; @name and @invalidate_page_range are set,
 *	either both of @get_owner and @put_owner or none, and either all of
 *	@populate, @unpin, @repin and @nr_pinned or none
 *
 * Callbacks may run before this returns. They report changes from now on; the
 * consumer gets the pages that the file already has through
 * &memfd_pfn_ops.get_folios or &memfd_pfn_ops.get_lock_pfn.
 *
 * Context: may sleep, waits for the file's i_rwsem. The caller holds no lock
 * that one of the callbacks takes, no folio lock and not i_rwsem. The first
 * consumer of all takes the locks of CPU hotplug.
 * Return: 0, or
 * -EINVAL (no store knows the file, the window is empty or reaches past the
 * largest file, a callback that must be there is missing), -EACCES (the consumer
 * claims write access, and the file can only be appended to), -EPERM (it claims
 * that, and the file is sealed against it), -ENOMEM, -ENOSPC (the file has so
 * many consumers that the references of another one could overflow a page's
 * count), or -EINTR (killed while waiting). After an error nothing is registered.
 */
int memfd_register_falloc_notifier(struct memfd_falloc_notifier *mn,
				   struct file *file, pgoff_t start,
				   pgoff_t end,
				   const struct memfd_falloc_notifier_ops *ops)
{
	struct inode *inode = file_inode(file);
	struct memfd_consumers *cs;
	int error;

	if (!memfd_ops_valid(ops))
		return memfd_refuse(-EINVAL, "the consumer lacks a callback");
	if (start >= end || end - 1 > MAX_LFS_FILESIZE >> PAGE_SHIFT)
		return memfd_refuse(-EINVAL, "no file has pages [%lu, %lu)",
				    start, end);
	cs = memfd_get_consumers(inode);
	if (IS_ERR(cs))
		return PTR_ERR(cs);
	memfd_init_consumer(mn, cs, start, end, ops);
	if (!(file->f_mode & FMODE_WRITE))
		mn->may_miss = true;

	/* before any lock: enabling the key takes those of CPU hotplug */
	if (!static_key_fast_inc_not_disabled(&memfd_ops_key.key.key))
		static_branch_deferred_inc(&memfd_ops_key);
	error = down_read_killable(&inode->i_rwsem);
	if (error)
		goto err_put;
	if (consumer_pins(mn) && READ_ONCE(cs->nr_pinning) >= MEMFD_MAX_PINNING)
		error = memfd_refuse(-ENOSPC, "the file has %u consumers with references",
				     MEMFD_MAX_PINNING);
	else if (claims_write(mn))
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
	static_branch_slow_dec_deferred(&memfd_ops_key);
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
	/* fdinfo reads it without the lock */
	WRITE_ONCE(mn->unregistering, true);
	list_del_init(&mn->prepared);
	wait_event_cmd(cs->wait, !mn->nr_active,
		       spin_unlock(&cs->lock), spin_lock(&cs->lock));
	memfd_remove_consumer(mn);
	spin_unlock(&cs->lock);

	if (claims_write(mn))
		cs->store->release_write(cs->inode);
	static_branch_slow_dec_deferred(&memfd_ops_key);
	fput(mn->file);
	mn->file = NULL;
}
EXPORT_SYMBOL_GPL(memfd_unregister_falloc_notifier);

/*
 * Walking the consumers
 */

/* Keep a consumer registered for a callback */
bool memfd_get_consumer(struct memfd_consumers *cs,
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

void memfd_put_consumer(struct memfd_consumers *cs,
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
struct memfd_falloc_notifier *
memfd_next_consumer(struct memfd_consumers *cs,
		    struct memfd_falloc_notifier *prev,
		    pgoff_t start, pgoff_t end, u64 gen)
{
	struct memfd_falloc_notifier *mn;

	if (prev && prev->ops->put_owner)
		prev->ops->put_owner(prev);
	if (prev)
		cond_resched();

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

/*
 * May pages of the range not be mapped? An invalidation that is ending lets
 * consumers map again: its pages are gone.
 */
static bool memfd_unmappable(struct memfd_consumers *cs,
			     pgoff_t start, pgoff_t end)
{
	struct memfd_invalidation *inv;

	lockdep_assert_held(&cs->lock);
	list_for_each_entry(inv, &cs->invalidations, list)
		if (!inv->ending && inv->start < end && start < inv->end)
			return true;
	return false;
}

static void memfd_insert_read(struct memfd_consumers *cs, struct memfd_read *read,
			      pgoff_t start, pgoff_t end)
{
	lockdep_assert_held(&cs->lock);
	read->start = start;
	read->end = end;
	read->retry = false;
	list_add(&read->list, &cs->reads);
}

static void memfd_mark_reads(struct memfd_consumers *cs,
			     const struct memfd_invalidation *inv)
{
	struct memfd_read *read;

	lockdep_assert_held(&cs->lock);
	list_for_each_entry(read, &cs->reads, list)
		if (read->start < inv->end && inv->start < read->end)
			WRITE_ONCE(read->retry, true);
}

static int memfd_wait_killable(struct memfd_consumers *cs,
			       pgoff_t start, pgoff_t end)
	__must_hold(&cs->lock)
{
	if (likely(!memfd_unmappable(cs, start, end)))
		return 0;
	return ___wait_event(cs->wait, !memfd_unmappable(cs, start, end),
			     TASK_KILLABLE, 0, 0,
			     spin_unlock(&cs->lock); schedule();
			     spin_lock(&cs->lock)) ? -EINTR : 0;
}

/**
 * memfd_read_begin - before a consumer looks up pages to map
 * @mn: the consumer
 * @read: on the caller's stack, until memfd_read_end()
 * @start: first page of the range
 * @end: end of the range, exclusive
 *
 * Waits until no invalidation overlaps the range. Until memfd_read_end() the
 * caller only looks up pages and maps them. It does not sleep for long:
 * otherwise it might start over without end.
 *
 * Context: may sleep. The caller holds no folio lock, and no lock that callbacks
 * take.
 * Return: 0, or -EINTR if the caller is being killed; then memfd_read_end() is not
 * called.
 */
int memfd_read_begin(struct memfd_falloc_notifier *mn, struct memfd_read *read,
		     pgoff_t start, pgoff_t end)
{
	struct memfd_consumers *cs = mn->consumers;
	int error;

	might_sleep();
	spin_lock(&cs->lock);
	error = memfd_wait_killable(cs, start, end);
	if (!error)
		memfd_insert_read(cs, read, start, end);
	spin_unlock(&cs->lock);
	return error;
}
EXPORT_SYMBOL_GPL(memfd_read_begin);

/**
 * memfd_read_end - pages that were looked up have been mapped, or have not
 * @mn: the consumer
 * @read: from memfd_read_begin()
 *
 * Context: any but interrupts. Locks that callbacks take may be held.
 */
void memfd_read_end(struct memfd_falloc_notifier *mn, struct memfd_read *read)
{
	spin_lock(&mn->consumers->lock);
	list_del(&read->list);
	spin_unlock(&mn->consumers->lock);
}
EXPORT_SYMBOL_GPL(memfd_read_end);

int __memfd_invalidate_wait(struct address_space *mapping,
			    pgoff_t start, pgoff_t end)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	int error;

	might_sleep();
	spin_lock(&cs->lock);
	error = memfd_wait_killable(cs, start, end);
	spin_unlock(&cs->lock);
	return error;
}

/*
 * Consumers that pin cannot have mapped a folio that is being replaced, and keep
 * their translations when one is split.
 */
static bool memfd_applies_to(struct memfd_invalidation *inv,
			     struct memfd_falloc_notifier *mn)
{
	switch (inv->reason) {
	case MEMFD_INVALIDATE_MIGRATE:
	case MEMFD_INVALIDATE_SWAP_OUT:
	case MEMFD_INVALIDATE_SPLIT:
		return !consumer_pins(mn);
	default:
		return true;
	}
}

static void memfd_start_invalidation(struct memfd_invalidation *inv,
				     struct memfd_consumers *cs,
				     enum memfd_invalidate_reason reason)
{
	inv->consumers = cs;
	inv->reason = reason;
	inv->start = inv->touched_start;
	inv->end = inv->touched_end;
	inv->ending = false;
	spin_lock(&cs->lock);
	inv->start_gen = ++cs->generation;
	list_add(&inv->list, &cs->invalidations);
	cs->nr_invalidations[reason]++;
	memfd_mark_reads(cs, inv);
	spin_unlock(&cs->lock);
}

/*
 * A consumer that does not pin may map a huge folio by one entry, after it has
 * looked at one page of it: it has to lose the folio as a whole. For those that
 * pin, nobody must look the folio up while their references are not there, see
 * memfd_split_begin(). Since the invalidation is on the list, no folio that is
 * found now is mapped any more.
 */
static void memfd_widen(struct memfd_invalidation *inv)
{
	struct memfd_consumers *cs = inv->consumers;
	struct xarray *pages = &cs->inode->i_mapping->i_pages;
	pgoff_t start = inv->start, last = inv->end - 1;

	start = round_down(start, 1UL << xa_get_order(pages, start));
	last |= (1UL << xa_get_order(pages, last)) - 1;
	if (start == inv->start && last == inv->end - 1)
		return;

	spin_lock(&cs->lock);
	inv->start = start;
	inv->end = last + 1 ? : ULONG_MAX;
	memfd_mark_reads(cs, inv);
	spin_unlock(&cs->lock);
}

/* Clip the pages that the consumer loses. Returns false if there are none. */
static bool memfd_clip_lost(const struct memfd_invalidation *inv,
			    const struct memfd_falloc_notifier *mn,
			    pgoff_t *s, pgoff_t *e)
{
	if (consumer_pins(mn))
		memfd_clip(mn, inv->exact_start, inv->exact_end, s, e);
	else
		memfd_clip(mn, inv->start, inv->end, s, e);
	return *s < *e;
}

/* The caller has set the exact and the touched range. */
static void memfd_invalidate(struct memfd_invalidation *inv,
			     struct memfd_consumers *cs,
			     enum memfd_invalidate_reason reason)
{
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	might_sleep();
	memfd_start_invalidation(inv, cs, reason);
	memfd_widen(inv);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, inv->start, inv->end, inv->start_gen) {
		if (!memfd_applies_to(inv, mn) ||
		    !memfd_clip_lost(inv, mn, &s, &e))
			continue;
		trace_memfd_invalidate_begin(mn, s, e, reason);
		atomic_long_inc(&mn->nr_invalidate);
		mn->ops->invalidate_page_range(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
}

static void memfd_invalidate_pages(struct memfd_invalidation *inv,
				   struct memfd_consumers *cs,
				   pgoff_t start, pgoff_t end,
				   enum memfd_invalidate_reason reason)
{
	inv->exact_start = start;
	inv->exact_end = end;
	inv->touched_start = start;
	inv->touched_end = end;
	memfd_invalidate(inv, cs, reason);
}

void __memfd_invalidate_begin(struct memfd_invalidation *inv,
			      struct address_space *mapping,
			      loff_t lstart, loff_t lend,
			      enum memfd_invalidate_reason reason)
{
	if (lend != -1 && lend < lstart)
		return;
	inv->exact_start = (lstart + PAGE_SIZE - 1) >> PAGE_SHIFT;
	inv->touched_start = lstart >> PAGE_SHIFT;
	if (lend == -1) {
		inv->exact_end = ULONG_MAX;
		inv->touched_end = ULONG_MAX;
	} else {
		inv->exact_end = (lend + 1) >> PAGE_SHIFT;
		inv->touched_end = (lend >> PAGE_SHIFT) + 1;
	}
	memfd_invalidate(inv, memfd_consumers(mapping), reason);
}

/*
 * Have all pages of the range left the file? A page stays if its folio reaches across
 * an edge, and cannot be split; of an undone folio none stays.
 */
static bool memfd_all_gone(const struct memfd_invalidation *inv)
{
	return inv->reason == MEMFD_INVALIDATE_UNDO ||
	       (inv->start == inv->exact_start && inv->end == inv->exact_end);
}

static void memfd_end_consumer(struct memfd_invalidation *inv,
			       struct memfd_falloc_notifier *mn)
{
	pgoff_t s, e;

	if (!mn->ops->invalidate_end || !memfd_applies_to(inv, mn))
		return;
	if (consumer_pins(mn) && memfd_all_gone(inv))
		return;
	if (consumer_pins(mn))
		memfd_clip(mn, inv->touched_start, inv->touched_end, &s, &e);
	else
		memfd_clip(mn, inv->start, inv->end, &s, &e);
	if (s >= e)
		return;
	trace_memfd_invalidate_end(mn, s, e, inv->reason);
	mn->ops->invalidate_end(mn, s, e);
}

/*
 * While consumers map again the pages that have stayed, the invalidation keeps
 * folios from being replaced: a mirror that has not got that far has no reference
 * yet.
 */
void __memfd_invalidate_end(struct memfd_invalidation *inv)
{
	struct memfd_consumers *cs = inv->consumers;
	struct memfd_falloc_notifier *mn;

	might_sleep();
	spin_lock(&cs->lock);
	inv->ending = true;
	spin_unlock(&cs->lock);
	wake_up_all(&cs->wait);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, inv->start, inv->end, inv->start_gen)
		memfd_end_consumer(inv, mn);
	lock_map_release(&memfd_callback_map);

	spin_lock(&cs->lock);
	list_del(&inv->list);
	spin_unlock(&cs->lock);
}

/*
 * Splitting folios across the edges of an invalidation
 */

/*
 * Consumers that registered after the invalidation began have mapped nothing in
 * its range.
 */
static void memfd_pin_for_split(struct memfd_invalidation *inv, bool pin)
{
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(inv->consumers, mn, inv->split_start, inv->split_end,
			  inv->start_gen) {
		if (!consumer_pins(mn))
			continue;
		memfd_clip(mn, inv->split_start, inv->split_end, &s, &e);
		if (pin)
			mn->ops->repin(mn, s, e);
		else
			mn->ops->unpin(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
}

void __memfd_split_begin(struct memfd_invalidation *inv, struct folio *folio)
{
	struct memfd_consumers *cs = inv->consumers;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	inv->split_start = folio->index;
	inv->split_end = folio_next_index(folio);
	/* it has left the file, or came after the range was widened: not mapped */
	if (!folio_test_large(folio) || folio->mapping != cs->inode->i_mapping ||
	    inv->split_start < inv->start || inv->split_end > inv->end) {
		inv->split_end = inv->split_start;
		return;
	}

	folio_mark_dirty(folio);
	memfd_pin_for_split(inv, false);
}

void __memfd_split_end(struct memfd_invalidation *inv)
{
	if (inv->split_start < inv->split_end)
		memfd_pin_for_split(inv, true);
}

/*
 * Files that only devices follow are left alone. A consumer that registers later
 * waits for the folio's lock before it maps the folio.
 */
static bool memfd_all_pin(struct memfd_consumers *cs)
{
	bool ret;

	spin_lock(&cs->lock);
	ret = cs->nr == cs->nr_pinning;
	spin_unlock(&cs->lock);
	return ret;
}

void __memfd_freeze_begin(struct memfd_invalidation *inv, struct folio *folio)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!memfd_all_pin(cs))
		memfd_invalidate_pages(inv, cs, folio->index,
				       folio_next_index(folio),
				       MEMFD_INVALIDATE_SPLIT);
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
	bool pinning, invalidating;

	spin_lock(&cs->lock);
	pinning = interval_tree_iter_first(&cs->pinning, start, end - 1);
	invalidating = memfd_invalidating(cs, start, end);
	spin_unlock(&cs->lock);

	if (!pinning)
		return false;
	/* references may be gone for a split, or the folio be mapped at the end */
	if (invalidating)
		return true;
	/*
	 * A consumer that holds a folio has a reference. One with a veto holds all,
	 * or is just looking them up, and must not find one in swap then.
	 */
	return (reason == MEMFD_INVALIDATE_SWAP_OUT && READ_ONCE(cs->nr_vetoing)) ||
	       folio_ref_count(folio) != unpinned_refs;
}

bool __memfd_replace_begin(struct memfd_invalidation *inv, struct folio *folio,
			   enum memfd_invalidate_reason reason)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (memfd_may_be_pinned(cs, folio, reason))
		return false;
	memfd_invalidate_pages(inv, cs, folio->index, folio_next_index(folio),
			       reason);
	return true;
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
	pgoff_t index;

	/* the folio's lock keeps the inode until there is a reference on it */
	if (mapping && memfd_has_consumers(mapping))
		inv->inode = igrab(mapping->host);
	else
		inv->inode = NULL;
	if (inv->inode) {
		index = folio->index + folio_page_idx(folio, page);
		memfd_invalidate_pages(inv, memfd_consumers(mapping), index,
				       index + 1, MEMFD_INVALIDATE_POISON);
	}
	folio_unlock(folio);
}

void __memfd_poison_end(struct memfd_invalidation *inv)
{
	__memfd_invalidate_end(inv);
	iput(inv->inode);
}

/*
 * Aging
 */

/*
 * Reclaim asks about folio after folio, possibly for others than the owner of the file:
 * ask no more consumers than that about one. The rest is as if it had no @young.
 */
#define MEMFD_MAX_AGING		64

bool __memfd_young(struct folio *folio, bool clear)
{
	struct memfd_consumers *cs = memfd_consumers(folio->mapping);
	pgoff_t start = folio->index, end = folio_next_index(folio), s, e;
	struct memfd_falloc_notifier *mn;
	unsigned int left = MEMFD_MAX_AGING;
	bool young = false;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!READ_ONCE(cs->nr_aging))
		return false;
	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, start, end, U64_MAX) {
		if (!mn->ops->young)
			continue;
		memfd_clip(mn, start, end, &s, &e);
		young |= mn->ops->young(mn, s, e, clear);
		if ((young && !clear) || !--left) {
			memfd_put_consumer(cs, mn);
			break;
		}
	}
	lock_map_release(&memfd_callback_map);
	return young;
}

/*
 * Pages that enter the file
 */

/* Begin the lookup of a populate(), unless the folio is being invalidated */
static bool memfd_try_read_begin(struct memfd_consumers *cs,
				 struct memfd_read *read, struct folio *folio)
{
	pgoff_t start = folio->index, end = folio_next_index(folio);
	bool wait;

	spin_lock(&cs->lock);
	wait = memfd_unmappable(cs, start, end);
	if (!wait)
		memfd_insert_read(cs, read, start, end);
	spin_unlock(&cs->lock);
	return !wait;
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

/**
 * memfd_missed - a consumer lacks pages of the file
 * @mn: the consumer
 * @start: first page
 * @end: end of the pages, exclusive
 * @error: why
 *
 * Counts them, for debugfs, and calls @missed.
 *
 * Context: as @missed.
 */
void memfd_missed(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		  int error)
{
	trace_memfd_missed(mn, start, end, error);
	atomic_long_add(end - start, &mn->nr_missed);
	if (mn->ops->missed)
		mn->ops->missed(mn);
}
EXPORT_SYMBOL_GPL(memfd_missed);

static int memfd_populate_one(struct memfd_consumers *cs,
			      struct memfd_falloc_notifier *mn,
			      struct folio *folio)
{
	struct memfd_read read;
	pgoff_t s, e;
	int error;

	if (!memfd_try_read_begin(cs, &read, folio))
		return -EAGAIN;
	error = mn->ops->populate(mn, folio, &read);
	memfd_read_end(mn, &read);
	if (error == -EAGAIN && memfd_read_retry(&read))
		return -EAGAIN;

	error = memfd_populate_errno(error);
	memfd_clip(mn, folio->index, folio_next_index(folio), &s, &e);
	trace_memfd_populate(mn, s, e, error);
	atomic_long_inc(&mn->nr_populate);
	if (!error || !mn->may_miss)
		return error;
	memfd_missed(mn, s, e, error);
	return 0;
}

/* May a consumer pin a page of [start, end)? */
static bool memfd_pinnable(struct memfd_consumers *cs, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *pinning;

	if (!READ_ONCE(cs->nr_pinning))
		return false;
	spin_lock(&cs->lock);
	pinning = interval_tree_iter_first(&cs->pinning, start, end - 1);
	spin_unlock(&cs->lock);
	return pinning;
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
	/* the first consumer that pins registered after the folio was allocated */
	if (needs_longterm_migration(folio) &&
	    memfd_pinnable(cs, folio->index, folio_next_index(folio)))
		return -EAGAIN;

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

/*
 * A folio in memory that must stay movable was there before the first consumer
 * that pins, since it is not moved there any more. If it was fallocated, the first
 * lookup of that consumer is still to reach it, and migrates it. If it is new,
 * another one takes its place.
 */
int __memfd_populate_or_drop(struct folio *folio, bool newly_added)
{
	struct address_space *mapping = folio->mapping;
	struct memfd_consumers *cs = memfd_consumers(mapping);
	pgoff_t start = folio->index, end = folio_next_index(folio);
	struct memfd_invalidation inv;
	int error;

	if (!READ_ONCE(cs->nr_pinning))
		return 0;
	if (!newly_added && needs_longterm_migration(folio))
		return 0;
	error = __memfd_populate(folio);
	if (likely(!error))
		return 0;

	memfd_invalidate_pages(&inv, cs, start, end, MEMFD_INVALIDATE_UNDO);
	if (newly_added)
		cs->store->drop_folio(folio);
	else
		folio_clear_uptodate(folio);
	folio_unlock(folio);
	folio_put(folio);
	__memfd_invalidate_end(&inv);
	if (error == -EAGAIN)
		error = __memfd_invalidate_wait(mapping, start, end) ?: -EAGAIN;
	return error;
}

gfp_t __memfd_gfp(struct address_space *mapping, pgoff_t start, pgoff_t end,
		  gfp_t gfp)
{
	if (memfd_pinnable(memfd_consumers(mapping), start, end))
		gfp &= ~__GFP_MOVABLE;
	return gfp;
}

bool __memfd_needs_longterm_migration(struct address_space *mapping,
				      pgoff_t start, struct folio *folio)
{
	return needs_longterm_migration(folio) &&
	       memfd_pinnable(memfd_consumers(mapping), start,
			      start + folio_nr_pages(folio));
}

bool __memfd_next_populated(struct address_space *mapping, pgoff_t *index,
			    pgoff_t end)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct interval_tree_node *pinning;

	if (*index >= end)
		return false;

	spin_lock(&cs->lock);
	/* the first in the order of the windows' starts */
	pinning = interval_tree_iter_first(&cs->pinning, *index, end - 1);
	if (pinning)
		*index = max(*index, pinning->start);
	spin_unlock(&cs->lock);
	return pinning;
}

/*
 * Pages that are pinned by somebody else
 */

/* How often to count again if a reference of a consumer was dropped meanwhile */
#define PIN_TRIES	10

static unsigned long memfd_nr_pinned(struct memfd_consumers *cs,
				     pgoff_t start, pgoff_t end)
{
	struct memfd_falloc_notifier *mn;
	unsigned long nr = 0;
	pgoff_t s, e;

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(cs, mn, start, end, U64_MAX) {
		if (!consumer_pins(mn))
			continue;
		memfd_clip(mn, start, end, &s, &e);
		nr += mn->ops->nr_pinned(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
	return nr;
}

/*
 * A consumer counts a page no sooner than it has the reference, and stops before
 * it drops it. So the references counted first are there when the others are
 * looked at, unless one has been dropped in between.
 */
static bool memfd_only_consumers_pin(struct memfd_consumers *cs,
				     struct folio *folio)
{
	unsigned long refs = folio_nr_pages(folio) + 1;	/* one is the caller's */
	unsigned int tries, drops;
	int mapped;

	for (tries = 0; tries < PIN_TRIES; tries++) {
		drops = atomic_read_acquire(&cs->nr_drops);
		mapped = folio_mapcount(folio);
		refs += mapped + memfd_nr_pinned(cs, folio->index,
						 folio_next_index(folio));
		smp_mb();	/* first the known ones, then all */
		if (folio_ref_count(folio) != refs)
			return false;
		smp_rmb();	/* and then whether one has been dropped */
		if (folio_mapcount(folio) == mapped &&
		    atomic_read(&cs->nr_drops) == drops)
			return true;
		refs = folio_nr_pages(folio) + 1;
	}
	return false;
}

static void memfd_clear_mark(struct memfd_consumers *cs, struct folio *folio,
			     xa_mark_t mark)
{
	struct xarray *pages = &cs->inode->i_mapping->i_pages;
	pgoff_t index;

	folio_lock(folio);
	index = folio->index;
	if (memfd_folio_is_at(folio, cs->inode->i_mapping, index) &&
	    memfd_only_consumers_pin(cs, folio)) {
		xa_lock_irq(pages);
		__xa_clear_mark(pages, index, mark);
		xa_unlock_irq(pages);
	}
	folio_unlock(folio);
}

void __memfd_clear_marks(struct address_space *mapping, xa_mark_t mark)
{
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct folio_batch fbatch;
	pgoff_t index = 0;
	unsigned int i;

	lockdep_assert_held_write(&mapping->host->i_rwsem);
	if (!READ_ONCE(cs->nr_pinning))
		return;
	folio_batch_init(&fbatch);
	while (filemap_get_folios_tag(mapping, &index, ULONG_MAX, mark, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++)
			memfd_clear_mark(cs, fbatch.folios[i], mark);
		folio_batch_release(&fbatch);
		cond_resched();
	}
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
		if (error && mn->may_miss) {
			error = 0;
			continue;
		}
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
