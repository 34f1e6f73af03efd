// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: in-kernel consumers of a memfd's pages
 *
 * A file has a struct memfd_followers from its first consumer on, until it is
 * evicted. That holds
 *
 * - the consumers, in an interval tree by window;
 * - the invalidations under way. One is on the list from before the first
 *   consumer hears of it until the pages are gone; while it is there, no
 *   consumer maps anything in its range;
 * - the consumers that agreed to the fallocate(2) under way, the last first.
 *
 * A spinlock protects all three and is never held across a callback that may
 * sleep. Instead, the consumer whose callback runs is counted in ->users, and
 * stays in the tree while it is: a walk goes on from there. Unregistering
 * marks a consumer so that walks pass it by, waits for its own users alone,
 * and takes it out.
 *
 * Why nothing is missed:
 *
 * - A consumer that maps a page it looked up checks memfd_read_retry() under
 *   the lock that its invalidate_page_range() takes. Either it is first, and
 *   the callback finds the page mapped, or it sees that the sequence moved.
 * - Registration waits for i_rwsem, so that every punch and truncation that
 *   the consumer was not told of is over before it looks for pages.
 * - A page enters the page cache under the i_pages lock, and only then its
 *   bringer looks for consumers. Registration takes that lock once after it
 *   has put a consumer in the tree: the bringer sees the consumer, or the
 *   consumer's first look sees the page.
 * - That first look locks each folio. Who replaces a folio (migration, swap-out)
 *   holds that lock from memfd_replace_begin() on, so it has either finished by
 *   then or will see the consumer.
 * - Collapsing locks folios one after the other, and may bring some in as it
 *   goes. It holds the mapping's invalidate_lock for reading, and registration
 *   takes that for writing, so that neither sees the other half done.
 */
#define pr_fmt(fmt) "memfd_ops: " fmt

#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/lockdep.h>
#include <linux/memfd_ops.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/wait.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/memfd_ops.h>

/**
 * struct memfd_followers - the consumers of one file
 * @lock: protects all below but @list
 * @consumers: by window
 * @nr: how many; 0 is read without @lock where i_rwsem or a folio lock orders
 *	it, see memfd_register_falloc_notifier()
 * @holders: how many of them hold what they have mapped; 0 is read likewise
 * @clock: counts registrations and invalidations, to tell which came first
 * @invalidations: those under way
 * @agreed: consumers that agreed to the fallocate(2) under way, last first
 * @wait: for the end of an invalidation, or of a consumer's callbacks
 * @gfp: the mapping's gfp mask before the first holder
 * @inode: the file
 * @list: in memfd_all, under memfd_all_lock
 */
struct memfd_followers {
	spinlock_t lock;	/* see above */
	struct rb_root_cached consumers;
	unsigned int nr, holders;
	u64 clock;
	struct list_head invalidations;
	struct list_head agreed;
	wait_queue_head_t wait;
	gfp_t gfp;
	struct inode *inode;
	struct list_head list;
};

/*
 * Flipping it interrupts all CPUs, which whoever may open a device must not
 * do at will: it stays on for a while after the last consumer has left.
 */
DEFINE_STATIC_KEY_DEFERRED_FALSE(memfd_ops_key, 10 * HZ);

static LIST_HEAD(memfd_all);
static DEFINE_MUTEX(memfd_all_lock);

/*
 * Held for reading while a callback runs, and for writing by who waits for
 * callbacks, so that lockdep sees who waits with a lock that a callback takes.
 */
#ifdef CONFIG_LOCKDEP
static struct lockdep_map memfd_callback_map =
	STATIC_LOCKDEP_MAP_INIT("memfd_callback", &memfd_callback_map);
#endif

static const struct memfd_pfn_ops shmem_pfn_ops;

/* Where a file of this kind keeps its followers; NULL if it cannot be followed */
static struct memfd_followers **memfd_followers_slot(struct address_space *mapping)
{
	if (shmem_mapping(mapping))
		return &SHMEM_I(mapping->host)->followers;
	return NULL;
}

static struct memfd_followers *memfd_followers(struct address_space *mapping)
{
	struct memfd_followers **slot = memfd_followers_slot(mapping);

	/* pairs with cmpxchg() in memfd_followers_get() */
	return slot ? smp_load_acquire(slot) : NULL;
}

/* The same, if the file has any consumer */
static struct memfd_followers *memfd_active(struct address_space *mapping)
{
	struct memfd_followers *fl = memfd_followers(mapping);

	return fl && READ_ONCE(fl->nr) ? fl : NULL;
}

static struct memfd_followers *memfd_followers_get(struct inode *inode)
{
	struct memfd_followers **slot = memfd_followers_slot(inode->i_mapping);
	struct memfd_followers *fl, *old;

	if (!slot)
		return ERR_PTR(-EINVAL);
	fl = memfd_followers(inode->i_mapping);
	if (fl)
		return fl;

	fl = kzalloc(sizeof(*fl), GFP_KERNEL_ACCOUNT);
	if (!fl)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&fl->lock);
	fl->consumers = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&fl->invalidations);
	INIT_LIST_HEAD(&fl->agreed);
	init_waitqueue_head(&fl->wait);
	fl->inode = inode;

	mutex_lock(&memfd_all_lock);
	old = cmpxchg(slot, NULL, fl);
	if (!old)
		list_add_tail(&fl->list, &memfd_all);
	mutex_unlock(&memfd_all_lock);
	if (!old)
		return fl;
	kfree(fl);
	return old;
}

/**
 * memfd_followers_free - the file is being evicted
 * @followers: may be NULL
 *
 * Each consumer holds a reference on its file, so there is none left; and no
 * page is, through which anybody else could come here.
 */
void memfd_followers_free(struct memfd_followers *followers)
{
	if (!followers)
		return;
	WARN_ON_ONCE(followers->nr || !list_empty(&followers->invalidations));
	mutex_lock(&memfd_all_lock);
	list_del(&followers->list);
	mutex_unlock(&memfd_all_lock);
	kfree(followers);
}

/*
 * Does the consumer hold references on what it has mapped? Who wants pages as
 * they come does, see &memfd_falloc_notifier_ops.populate; others fault them in.
 */
static bool memfd_is_holder(const struct memfd_falloc_notifier *mn)
{
	return mn->ops->populate;
}

/* Pages that a consumer may hold for long are no good where they must be movable */
static void memfd_first_holder(struct memfd_followers *fl)
{
	struct address_space *mapping = fl->inode->i_mapping;

	lockdep_assert_held(&fl->lock);
	fl->gfp = mapping_gfp_mask(mapping);
	mapping_set_gfp_mask(mapping, fl->gfp & ~__GFP_MOVABLE);
}

/**
 * memfd_ops_get - be ready for a registration with locks held
 *
 * The first consumer of all makes memfd_register_falloc_notifier() take the
 * locks of CPU hotplug. Who registers with a lock held that is taken inside of
 * those calls this before, without it.
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

/* A file that is sealed against writing has no consumer that writes */
static int memfd_claim_write(struct memfd_falloc_notifier *mn,
			     struct inode *inode)
{
	/* or a seal could be added meanwhile */
	lockdep_assert_held(&inode->i_rwsem);
	if (!mn->writes)
		return 0;
	/* as with mmap(): who may only append may not write elsewhere */
	if (IS_APPEND(inode))
		return -EACCES;
	if (SHMEM_I(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	/* from here on F_SEAL_WRITE is refused, as with a writable mmap() */
	return mapping_map_writable(inode->i_mapping);
}

/**
 * memfd_register_falloc_notifier - start to follow a window of a file
 * @mn: the consumer, zeroed but for @writes, or as
 *	memfd_unregister_falloc_notifier() left it
 * @file: a file on tmpfs, such as a memfd
 * @start: first page of the window
 * @end: first page behind it; the window may reach past the end of the file
 * @ops: the consumer's callbacks; @name and @invalidate_page_range are set,
 *	and @get_owner if @put_owner is, and the other way round
 *
 * On return, and even before, callbacks may run. The consumer is told of what
 * changes from now on; what is in the file already it takes by
 * &memfd_pfn_ops.get_folios or &memfd_pfn_ops.get_lock_pfn.
 *
 * Context: may sleep, waits for the file's i_rwsem. Must hold no lock that one
 * of the callbacks takes, nor a folio lock or i_rwsem. See memfd_ops_get() too.
 * Return: 0, or
 * -EINVAL (the file is of another kind, the window is empty or reaches past
 * the largest file, a callback that must be there is missing), -EACCES (the
 * consumer writes, and the file can only be appended to), -EPERM (it writes, and
 * the file is sealed against that), -ENOMEM, or -EINTR (killed while waiting).
 * After an error nothing is registered.
 */
int memfd_register_falloc_notifier(struct memfd_falloc_notifier *mn,
				   struct file *file, pgoff_t start,
				   pgoff_t end,
				   const struct memfd_falloc_notifier_ops *ops)
{
	struct inode *inode = file_inode(file);
	struct memfd_followers *fl;
	int error;

	if (!ops->name || !ops->invalidate_page_range ||
	    !ops->get_owner != !ops->put_owner)
		return -EINVAL;
	if (start >= end || end - 1 > MAX_LFS_FILESIZE >> PAGE_SHIFT)
		return -EINVAL;
	fl = memfd_followers_get(inode);
	if (IS_ERR(fl))
		return PTR_ERR(fl);

	mn->ops = ops;
	mn->pfn_ops = &shmem_pfn_ops;
	mn->window.start = start;
	mn->window.last = end - 1;
	mn->seq = 0;
	mn->users = 0;
	mn->leaving = false;
	INIT_LIST_HEAD(&mn->agreed);
	atomic_long_set(&mn->nr_invalidate, 0);
	atomic_long_set(&mn->nr_populate, 0);
	atomic_long_set(&mn->nr_fallocate, 0);

	/*
	 * The key is flipped with no lock held: that takes the locks of CPU
	 * hotplug. Who came by before it was on, or before this consumer was
	 * in the tree, is waited for: see at the top.
	 */
	if (!static_key_fast_inc_not_disabled(&memfd_ops_key.key.key))
		static_branch_deferred_inc(&memfd_ops_key);
	error = down_read_killable(&inode->i_rwsem);
	if (error)
		goto err_key;
	error = memfd_claim_write(mn, inode);
	if (error)
		goto err_unlock;
	filemap_invalidate_lock(inode->i_mapping);
	mn->file = get_file(file);
	spin_lock(&fl->lock);
	mn->born = ++fl->clock;
	interval_tree_insert(&mn->window, &fl->consumers);
	if (memfd_is_holder(mn)) {
		if (!fl->holders)
			memfd_first_holder(fl);
		WRITE_ONCE(fl->holders, fl->holders + 1);
	}
	WRITE_ONCE(fl->nr, fl->nr + 1);
	spin_unlock(&fl->lock);
	xa_lock_irq(&inode->i_mapping->i_pages);
	xa_unlock_irq(&inode->i_mapping->i_pages);
	filemap_invalidate_unlock(inode->i_mapping);
	up_read(&inode->i_rwsem);

	trace_memfd_register(mn, start, end, 0);
	return 0;

err_unlock:
	up_read(&inode->i_rwsem);
err_key:
	static_branch_slow_dec_deferred(&memfd_ops_key);
	return error;
}
EXPORT_SYMBOL_GPL(memfd_register_falloc_notifier);

/**
 * memfd_unregister_falloc_notifier - stop to follow a file
 * @mn: a registered consumer
 *
 * The consumer must have no translation left, and make none: while this runs
 * pages may leave the file without its being told. On return no callback runs
 * or will run, and @mn may be freed.
 *
 * Cannot fail, and does not allocate.
 *
 * Context: may sleep, waits for the callbacks of @mn that run. Must hold no
 * lock that one of them takes, nor a folio lock; not in a callback.
 */
void memfd_unregister_falloc_notifier(struct memfd_falloc_notifier *mn)
{
	struct address_space *mapping = mn->file->f_mapping;
	struct memfd_followers *fl = memfd_followers(mapping);

	might_sleep();
	lock_map_acquire(&memfd_callback_map);
	lock_map_release(&memfd_callback_map);

	trace_memfd_unregister(mn, mn->window.start, mn->window.last + 1, 0);
	spin_lock(&fl->lock);
	mn->leaving = true;
	list_del_init(&mn->agreed);
	wait_event_cmd(fl->wait, !mn->users,
		       spin_unlock(&fl->lock), spin_lock(&fl->lock));
	interval_tree_remove(&mn->window, &fl->consumers);
	WRITE_ONCE(fl->nr, fl->nr - 1);
	if (memfd_is_holder(mn)) {
		WRITE_ONCE(fl->holders, fl->holders - 1);
		if (!fl->holders)
			mapping_set_gfp_mask(mapping, fl->gfp);
	}
	spin_unlock(&fl->lock);

	if (mn->writes)
		mapping_unmap_writable(mapping);
	static_branch_slow_dec_deferred(&memfd_ops_key);
	fput(mn->file);
	mn->file = NULL;
}
EXPORT_SYMBOL_GPL(memfd_unregister_falloc_notifier);

static struct memfd_falloc_notifier *to_notifier(struct interval_tree_node *node)
{
	return container_of(node, struct memfd_falloc_notifier, window);
}

static bool memfd_get_consumer(struct memfd_followers *fl,
			       struct memfd_falloc_notifier *mn)
{
	lockdep_assert_held(&fl->lock);
	if (mn->leaving)
		return false;
	if (mn->ops->get_owner && !mn->ops->get_owner(mn))
		return false;
	mn->users++;
	return true;
}

static void __memfd_put_consumer(struct memfd_followers *fl,
				 struct memfd_falloc_notifier *mn)
{
	lockdep_assert_held(&fl->lock);
	if (!--mn->users && mn->leaving)
		wake_up_all(&fl->wait);
}

static void memfd_put_consumer(struct memfd_followers *fl,
			       struct memfd_falloc_notifier *mn)
{
	if (mn->ops->put_owner)
		mn->ops->put_owner(mn);
	spin_lock(&fl->lock);
	__memfd_put_consumer(fl, mn);
	spin_unlock(&fl->lock);
}

/*
 * Walk the consumers that overlap pages [start, last] and were there at
 * @born: put @prev and get the one behind it, or get the first if there is no
 * @prev. Those that come meanwhile are of no interest to the caller.
 */
static struct memfd_falloc_notifier *
memfd_next_consumer(struct memfd_followers *fl,
		    struct memfd_falloc_notifier *prev,
		    pgoff_t start, pgoff_t last, u64 born)
{
	struct memfd_falloc_notifier *mn = NULL;
	struct interval_tree_node *node;

	if (prev && prev->ops->put_owner)
		prev->ops->put_owner(prev);

	spin_lock(&fl->lock);
	if (prev)
		node = interval_tree_iter_next(&prev->window, start, last);
	else
		node = interval_tree_iter_first(&fl->consumers, start, last);
	for (; node; node = interval_tree_iter_next(node, start, last)) {
		mn = to_notifier(node);
		if (mn->born <= born && memfd_get_consumer(fl, mn))
			break;
	}
	if (prev)
		__memfd_put_consumer(fl, prev);
	spin_unlock(&fl->lock);
	return node ? mn : NULL;
}

/* To leave the loop early, memfd_put_consumer() */
#define for_each_consumer(fl, mn, start, last, born)			\
	for (mn = memfd_next_consumer(fl, NULL, start, last, born); mn;	\
	     mn = memfd_next_consumer(fl, mn, start, last, born))

/* Clip [start, last] to the window of @mn, as [*s, *e) */
static void memfd_clip(const struct memfd_falloc_notifier *mn,
		       pgoff_t start, pgoff_t last, pgoff_t *s, pgoff_t *e)
{
	*s = max(start, mn->window.start);
	*e = min(last, mn->window.last) + 1;
}

bool __memfd_followed(struct address_space *mapping)
{
	return memfd_active(mapping);
}

/* Was each consumer in [start, last] there to be told? Not if it came after that. */
static bool memfd_all_told(struct memfd_followers *fl,
			   const struct memfd_invalidation *inv,
			   pgoff_t start, pgoff_t last)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&fl->lock);
	node = interval_tree_iter_first(&fl->consumers, start, last);
	for (; node; node = interval_tree_iter_next(node, start, last))
		if (to_notifier(node)->born > inv->born)
			return false;
	return true;
}

bool __memfd_may_drop(struct folio *folio, pgoff_t start)
{
	struct memfd_followers *fl = memfd_active(folio->mapping);
	pgoff_t end = folio_next_index(folio);
	struct memfd_invalidation *inv;
	bool told = false;

	if (!fl || !folio_test_uptodate(folio))
		return true;
	/*
	 * The rest of it stays. It need not be in the range, which was widened to
	 * whole folios before this one had come, maybe.
	 */
	start = max(start, folio->index);
	spin_lock(&fl->lock);
	list_for_each_entry(inv, &fl->invalidations, list)
		if (inv->task == current && inv->start <= start &&
		    end <= inv->end)
			told |= memfd_all_told(fl, inv, start, end - 1);
	spin_unlock(&fl->lock);
	return told;
}

/* Is there an invalidation under way that touches [start, last]? */
static bool memfd_invalidating(struct memfd_followers *fl, pgoff_t start,
			       pgoff_t last)
{
	struct memfd_invalidation *inv;

	lockdep_assert_held(&fl->lock);
	list_for_each_entry(inv, &fl->invalidations, list)
		if (inv->start <= last && start < inv->end)
			return true;
	return false;
}

static void memfd_wait_range(struct memfd_followers *fl,
			     pgoff_t start, pgoff_t last)
	__must_hold(&fl->lock)
{
	wait_event_cmd(fl->wait, !memfd_invalidating(fl, start, last),
		       spin_unlock(&fl->lock), spin_lock(&fl->lock));
}

/**
 * memfd_read_begin - before a consumer looks for pages to map
 * @mn: the consumer
 *
 * Waits until nothing in the window is being invalidated.
 *
 * Context: may sleep. Holds no folio lock, and no lock that callbacks take.
 * Return: a sequence number, for memfd_read_retry().
 */
unsigned long memfd_read_begin(struct memfd_falloc_notifier *mn)
{
	struct memfd_followers *fl = memfd_followers(mn->file->f_mapping);
	unsigned long seq;

	might_sleep();
	spin_lock(&fl->lock);
	memfd_wait_range(fl, mn->window.start, mn->window.last);
	seq = mn->seq;
	spin_unlock(&fl->lock);
	return seq;
}
EXPORT_SYMBOL_GPL(memfd_read_begin);

void __memfd_invalidate_wait(struct address_space *mapping,
			     pgoff_t start, pgoff_t end)
{
	struct memfd_followers *fl = memfd_followers(mapping);

	might_sleep();
	if (!fl)
		return;
	spin_lock(&fl->lock);
	memfd_wait_range(fl, start, end - 1);
	spin_unlock(&fl->lock);
}

/*
 * Folios that reach across an edge of the range have to be split, which a
 * reference of somebody whose window is outside the range would prevent.
 */
static void memfd_widen(struct memfd_invalidation *inv,
			struct address_space *mapping)
{
	pgoff_t start = inv->start, last = inv->end - 1;

	start = round_down(start, 1UL << xa_get_order(&mapping->i_pages, start));
	last |= (1UL << xa_get_order(&mapping->i_pages, last)) - 1;

	spin_lock(&inv->followers->lock);
	inv->start = start;
	inv->end = last + 1 ? : ULONG_MAX;
	spin_unlock(&inv->followers->lock);
}

/* Is @mn concerned? A folio that is replaced is nothing to who would hold it. */
static bool memfd_hears(struct memfd_invalidation *inv,
			struct memfd_falloc_notifier *mn)
{
	return !(inv->replacing && memfd_is_holder(mn));
}

static void memfd_invalidate_consumers(struct memfd_invalidation *inv,
				       struct address_space *mapping,
				       pgoff_t start, pgoff_t end)
{
	struct memfd_followers *fl = inv->followers;
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	might_sleep();
	inv->task = current;
	inv->start = start;
	inv->end = end;
	spin_lock(&fl->lock);
	inv->born = ++fl->clock;
	list_add(&inv->list, &fl->invalidations);
	spin_unlock(&fl->lock);
	/* from here on, no folio that reaches across an edge gets mapped */
	memfd_widen(inv, mapping);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(fl, mn, inv->start, inv->end - 1, inv->born) {
		if (!memfd_hears(inv, mn))
			continue;
		/* the clock never stands still, so this is a new value */
		WRITE_ONCE(mn->seq, inv->born);
		memfd_clip(mn, inv->start, inv->end - 1, &s, &e);
		trace_memfd_invalidate_begin(mn, s, e, 0);
		atomic_long_inc(&mn->nr_invalidate);
		mn->ops->invalidate_page_range(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
}

void __memfd_invalidate_begin(struct memfd_invalidation *inv,
			      struct address_space *mapping,
			      pgoff_t start, pgoff_t end)
{
	struct memfd_followers *fl = memfd_active(mapping);

	if (!fl || start >= end)
		return;
	inv->followers = fl;
	inv->replacing = false;
	memfd_invalidate_consumers(inv, mapping, start, end);
}

/*
 * May a holder have mapped a part of the folio? *@again: it has not, just now, but
 * will if the folio is left by an invalidation that is under way.
 */
static bool memfd_may_hold(struct memfd_followers *fl, struct folio *folio,
			   bool *again)
{
	pgoff_t start = folio->index, last = folio_next_index(folio) - 1;
	struct interval_tree_node *node;
	bool may = false;

	spin_lock(&fl->lock);
	node = interval_tree_iter_first(&fl->consumers, start, last);
	for (; node && !may; node = interval_tree_iter_next(node, start, last))
		may = memfd_is_holder(to_notifier(node));
	*again = memfd_invalidating(fl, start, last);
	spin_unlock(&fl->lock);
	return may;
}

bool __memfd_replace_begin(struct memfd_invalidation *inv, struct folio *folio,
			   bool moving)
{
	/* the page cache's, and the caller's own */
	int refs = folio_nr_pages(folio) + 1;
	struct memfd_followers *fl = memfd_active(folio->mapping);
	bool again;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!fl)
		return true;
	/* where it went it could have to stay, and that may be no place for it */
	if (memfd_may_hold(fl, folio, &again) &&
	    (again || !moving || folio_ref_count(folio) != refs))
		return false;
	inv->followers = fl;
	inv->replacing = true;
	memfd_invalidate_consumers(inv, folio->mapping, folio->index,
				   folio_next_index(folio));
	return true;
}

void __memfd_invalidate_end(struct memfd_invalidation *inv)
{
	struct memfd_followers *fl = inv->followers;
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	might_sleep();
	spin_lock(&fl->lock);
	list_del(&inv->list);
	spin_unlock(&fl->lock);
	wake_up_all(&fl->wait);

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(fl, mn, inv->start, inv->end - 1, inv->born) {
		if (!memfd_hears(inv, mn))
			continue;
		memfd_clip(mn, inv->start, inv->end - 1, &s, &e);
		trace_memfd_invalidate_end(mn, s, e, 0);
		if (mn->ops->invalidate_end)
			mn->ops->invalidate_end(mn, s, e);
	}
	lock_map_release(&memfd_callback_map);
}

/*
 * May @mn map the folio of pages [start, last], as of the sequence number *@seq?
 * Returns 0, -EAGAIN to wait for an invalidation, or -EALREADY if that is the
 * caller's own: at its end the consumer will find the folio.
 */
static int memfd_may_populate(struct memfd_followers *fl,
			      struct memfd_falloc_notifier *mn,
			      pgoff_t start, pgoff_t last, unsigned long *seq)
{
	struct memfd_invalidation *inv;
	int ret = 0;

	spin_lock(&fl->lock);
	list_for_each_entry(inv, &fl->invalidations, list) {
		if (inv->start > last || start >= inv->end)
			continue;
		if (inv->task != current) {
			ret = -EAGAIN;
		} else if (inv->start <= mn->window.last &&
			   mn->window.start < inv->end) {
			ret = -EALREADY;
			break;
		}
	}
	*seq = mn->seq;
	spin_unlock(&fl->lock);
	return ret;
}

static int memfd_populate_one(struct memfd_followers *fl,
			      struct memfd_falloc_notifier *mn,
			      struct folio *folio)
{
	pgoff_t start = folio->index, last = folio_next_index(folio) - 1;
	unsigned long seq;
	pgoff_t s, e;
	int error;

	do {
		error = memfd_may_populate(fl, mn, start, last, &seq);
		if (error == -EALREADY)
			return 0;
		if (error)
			return error;
		/* -EAGAIN is for an invalidation elsewhere in the window */
		error = mn->ops->populate(mn, folio, seq);
	} while (error == -EAGAIN && memfd_read_retry(mn, seq));

	switch (error) {
	case -EAGAIN:
	case -EEXIST:
	case -EFAULT:
	case -EINVAL:
	case -EIO:
	case -ENOENT:
		/* these have a meaning of their own where pages come in */
		error = -ENXIO;
	}
	memfd_clip(mn, start, last, &s, &e);
	trace_memfd_populate(mn, s, e, error);
	atomic_long_inc(&mn->nr_populate);
	return error;
}

int __memfd_populate(struct folio *folio)
{
	struct memfd_followers *fl = memfd_active(folio->mapping);
	struct memfd_falloc_notifier *mn;
	int error = 0;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_FOLIO(!folio_test_uptodate(folio), folio);
	might_sleep();
	if (!fl || !READ_ONCE(fl->holders) ||
	    folio_contain_hwpoisoned_page(folio))
		return 0;

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(fl, mn, folio->index, folio_next_index(folio) - 1,
			  U64_MAX) {
		if (!mn->ops->populate)
			continue;
		error = memfd_populate_one(fl, mn, folio);
		if (error) {
			memfd_put_consumer(fl, mn);
			break;
		}
	}
	lock_map_release(&memfd_callback_map);
	return error;
}

int __memfd_populate_or_drop(struct folio *folio, bool fresh)
{
	struct address_space *mapping = folio->mapping;
	pgoff_t start = folio->index, end = folio_next_index(folio);
	struct memfd_invalidation inv;
	int error;

	error = __memfd_populate(folio);
	if (likely(!error))
		return 0;

	memfd_invalidate_begin(&inv, mapping, start, end);
	if (fresh)
		filemap_remove_folio(folio);
	else
		folio_clear_uptodate(folio);
	folio_unlock(folio);
	folio_put(folio);
	memfd_invalidate_end(&inv);
	if (error == -EAGAIN)
		memfd_invalidate_wait(mapping, start, end);
	return error;
}

bool __memfd_next_populated(struct address_space *mapping, pgoff_t *index,
			    pgoff_t end)
{
	struct memfd_followers *fl = memfd_active(mapping);
	struct interval_tree_node *node;

	if (!fl || *index >= end)
		return false;

	spin_lock(&fl->lock);
	/* the tree is in order of the windows' starts */
	for (node = interval_tree_iter_first(&fl->consumers, *index, end - 1);
	     node; node = interval_tree_iter_next(node, *index, end - 1))
		if (to_notifier(node)->ops->populate)
			break;
	if (node)
		*index = max(*index, node->start);
	spin_unlock(&fl->lock);
	return node;
}

/* Tell those that agreed, the last first, and forget them */
static void memfd_fallocate_cancel(struct memfd_followers *fl,
				   pgoff_t start, pgoff_t last)
{
	struct memfd_falloc_notifier *mn;
	pgoff_t s, e;

	spin_lock(&fl->lock);
	while ((mn = list_first_entry_or_null(&fl->agreed,
					      struct memfd_falloc_notifier,
					      agreed))) {
		list_del_init(&mn->agreed);
		if (!mn->ops->fallocate_cancel || !memfd_get_consumer(fl, mn))
			continue;
		spin_unlock(&fl->lock);

		memfd_clip(mn, start, last, &s, &e);
		trace_memfd_fallocate_cancel(mn, s, e, 0);
		mn->ops->fallocate_cancel(mn, s, e);
		memfd_put_consumer(fl, mn);

		spin_lock(&fl->lock);
	}
	spin_unlock(&fl->lock);
}

static void memfd_fallocate_agreed(struct memfd_followers *fl,
				   struct memfd_falloc_notifier *mn)
{
	spin_lock(&fl->lock);
	if (!mn->leaving)
		list_add(&mn->agreed, &fl->agreed);
	spin_unlock(&fl->lock);
}

int __memfd_fallocate_begin(struct address_space *mapping,
			    pgoff_t start, pgoff_t end)
{
	struct memfd_followers *fl = memfd_active(mapping);
	struct memfd_falloc_notifier *mn;
	int error = 0;
	pgoff_t s, e;

	lockdep_assert_held_write(&mapping->host->i_rwsem);
	if (!fl)
		return 0;

	lock_map_acquire_read(&memfd_callback_map);
	for_each_consumer(fl, mn, start, end - 1, U64_MAX) {
		if (!mn->ops->fallocate)
			continue;
		memfd_clip(mn, start, end - 1, &s, &e);
		error = mn->ops->fallocate(mn, s, e);
		trace_memfd_fallocate(mn, s, e, error);
		atomic_long_inc(&mn->nr_fallocate);
		if (error) {
			memfd_put_consumer(fl, mn);
			memfd_fallocate_cancel(fl, start, end - 1);
			break;
		}
		memfd_fallocate_agreed(fl, mn);
	}
	lock_map_release(&memfd_callback_map);
	return error;
}

void __memfd_fallocate_end(struct address_space *mapping,
			   pgoff_t start, pgoff_t end, int error)
{
	struct memfd_followers *fl = memfd_followers(mapping);
	struct memfd_falloc_notifier *mn, *next;

	lockdep_assert_held_write(&mapping->host->i_rwsem);
	if (!fl)
		return;
	if (error) {
		lock_map_acquire_read(&memfd_callback_map);
		memfd_fallocate_cancel(fl, start, end - 1);
		lock_map_release(&memfd_callback_map);
		return;
	}
	spin_lock(&fl->lock);
	list_for_each_entry_safe(mn, next, &fl->agreed, agreed)
		list_del_init(&mn->agreed);
	spin_unlock(&fl->lock);
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

	/* the folio's lock keeps the inode until then */
	if (mapping && memfd_followers_slot(mapping))
		inv->inode = igrab(mapping->host);
	else
		inv->inode = NULL;
	if (inv->inode)
		__memfd_invalidate_begin(inv, mapping, folio->index,
					 folio_next_index(folio));
	folio_unlock(folio);
	if (!inv->followers)
		iput(inv->inode);
}

void __memfd_poison_end(struct memfd_invalidation *inv)
{
	__memfd_invalidate_end(inv);
	iput(inv->inode);
}

/*
 * shmem as a backing store
 */

/*
 * May all of a folio be mapped by who maps a page of it? An invalidation that
 * is on the list was widened to whole folios before this one was there, maybe:
 * then it does not tell who maps a page outside of its range. One that comes
 * later will find the folio.
 */
static bool shmem_whole_folio(struct memfd_followers *fl, struct folio *folio)
{
	pgoff_t size = DIV_ROUND_UP(i_size_read(fl->inode), PAGE_SIZE);
	bool invalidating;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!folio_test_large(folio))
		return true;
	if (folio_contain_hwpoisoned_page(folio) || folio_next_index(folio) > size)
		return false;
	spin_lock(&fl->lock);
	invalidating = memfd_invalidating(fl, folio->index,
					  folio_next_index(folio) - 1);
	spin_unlock(&fl->lock);
	return !invalidating;
}

/* The folio that was found at @index, unless it has been freed, and reused */
static bool shmem_is_still(struct folio *folio, struct address_space *mapping,
			   pgoff_t index)
{
	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	return folio->mapping == mapping &&
	       index - folio->index < folio_nr_pages(folio);
}

/*
 * The folio of page @index, locked and referenced, if that takes no waiting: what
 * shmem_get_folio() would do, in less than half the time.
 */
static struct folio *shmem_lock_ready(struct inode *inode, pgoff_t index)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;

	if (index >= DIV_ROUND_UP(i_size_read(inode), PAGE_SIZE))
		return NULL;
	rcu_read_lock();
	folio = xa_load(&mapping->i_pages, index);
	if (xa_is_value(folio) || (folio && !folio_try_get(folio)))
		folio = NULL;
	rcu_read_unlock();
	if (!folio)
		return NULL;
	if (folio_trylock(folio)) {
		if (shmem_is_still(folio, mapping, index) &&
		    folio_test_uptodate(folio))
			return folio;
		folio_unlock(folio);
	}
	folio_put(folio);
	return NULL;
}

static long shmem_get_lock_pfn(struct memfd_falloc_notifier *mn, pgoff_t index,
			       unsigned int flags, int *order)
{
	struct inode *inode = file_inode(mn->file);
	struct folio *folio;
	struct page *page;
	int error;

	if (flags & ~MEMFD_PFN_FILL ||
	    index < mn->window.start || index > mn->window.last)
		return -EINVAL;

	folio = shmem_lock_ready(inode, index);
	error = folio ? 0 :
		shmem_get_folio(inode, index, 0, &folio,
				flags & MEMFD_PFN_FILL ? SGP_CACHE : SGP_NOALLOC);
	/* how shmem says that the file ends before */
	if (error == -EINVAL)
		return -ENOENT;
	if (error)
		return error;

	page = folio_file_page(folio, index);
	if (PageHWPoison(page)) {
		folio_unlock(folio);
		folio_put(folio);
		return -EHWPOISON;
	}
	if (order)
		*order = shmem_whole_folio(memfd_followers(inode->i_mapping), folio) ?
			 folio_order(folio) : 0;
	return page_to_pfn(page);
}

static void shmem_put_unlock_pfn(unsigned long pfn)
{
	struct folio *folio = pfn_folio(pfn);

	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * Initialise a folio that was only fallocated, as a fault in the file would;
 * but here it may lie past the end of the file. Takes and returns it locked
 * and referenced; on error it is neither.
 */
static int shmem_init_folio(struct folio *folio)
{
	folio_zero_range(folio, 0, folio_size(folio));
	flush_dcache_folio(folio);
	folio_mark_uptodate(folio);
	return memfd_populate_or_drop(folio, false);
}

/*
 * Read the page at @index back from swap. Returns its folio locked and
 * referenced, NULL if there is none, or an error.
 */
static struct folio *shmem_swap_in(struct inode *inode, pgoff_t index)
{
	struct folio *folio = NULL;
	int error = shmem_get_folio(inode, index, 0, &folio, SGP_NOALLOC);

	/* punched meanwhile, or past the end of the file */
	if (error == -ENOENT || error == -EINVAL)
		return NULL;
	return error ? ERR_PTR(error) : folio;
}

/* How often a page in movable memory is tried to be moved, a jiffy apart */
#define SHMEM_MOVE_TRIES	10

/* Is the folio in memory that must stay movable? That is no place to hold it. */
static inline bool shmem_must_move(struct folio *folio)
{
	if (!IS_ENABLED(CONFIG_CMA) && likely(!folio_is_zone_movable(folio)))
		return false;
	return !folio_is_longterm_pinnable(folio);
}

bool __memfd_misplaced(struct address_space *mapping, struct folio *folio)
{
	struct memfd_followers *fl = memfd_active(mapping);

	return fl && READ_ONCE(fl->holders) && shmem_must_move(folio);
}

/*
 * Move it, as pinning would; drops a reference. Returns -EAGAIN to look again, or
 * -EBUSY if somebody else has a reference, be it for a moment.
 */
static int shmem_move_folio(struct folio *folio)
{
	struct migration_target_control mtc = {
		.nid = NUMA_NO_NODE,
		.gfp_mask = GFP_USER | __GFP_NOWARN,
		.reason = MR_LONGTERM_PIN,
	};
	unsigned int saved;
	LIST_HEAD(folios);
	int left;

	if (!folio_isolate_lru(folio)) {
		folio_put(folio);
		lru_add_drain_all();
		return -EAGAIN;
	}
	folio_put(folio);
	list_add(&folio->lru, &folios);
	node_stat_mod_folio(folio, NR_ISOLATED_ANON + folio_is_file_lru(folio),
			    folio_nr_pages(folio));
	/* or a huge folio could end up in ZONE_MOVABLE again */
	saved = memalloc_pin_save();
	left = migrate_pages(&folios, alloc_migration_target, NULL,
			     (unsigned long)&mtc, MIGRATE_SYNC, MR_LONGTERM_PIN,
			     NULL);
	memalloc_pin_restore(saved);
	if (!left)
		return -EAGAIN;
	putback_movable_pages(&folios);
	return -EBUSY;
}

/*
 * The folio of page *@index, referenced, after waiting for its lock, and for
 * its content if @flags say so. NULL if there is none for the caller; or an
 * error, -EAGAIN if the page is on its way somewhere else. But for errors,
 * *@index is moved behind it. @hold: somebody is about to hold it for long.
 */
static struct folio *shmem_wait_folio(struct inode *inode, pgoff_t *index,
				      unsigned int flags, bool hold)
{
	struct folio *folio = filemap_get_entry(inode->i_mapping, *index);
	int error = 0;

	if (xa_is_value(folio))
		folio = flags & MEMFD_PFN_FILL ?
			shmem_swap_in(inode, *index) : NULL;
	else if (folio)
		folio_lock(folio);
	if (IS_ERR_OR_NULL(folio)) {
		*index += !folio;
		return folio;
	}

	if (unlikely(folio->mapping != inode->i_mapping)) {
		error = -EAGAIN;
	} else if (folio_contain_hwpoisoned_page(folio)) {
		error = -EHWPOISON;
	} else if (hold && shmem_must_move(folio)) {
		folio_unlock(folio);
		return ERR_PTR(shmem_move_folio(folio));
	} else if (!folio_test_uptodate(folio)) {
		if (!(flags & MEMFD_PFN_FILL)) {
			error = -ENOENT;
		} else {
			error = shmem_init_folio(folio);
			if (error)
				return ERR_PTR(error);
		}
	}
	if (error != -EAGAIN)
		*index = folio_next_index(folio);
	folio_unlock(folio);
	if (!error)
		return folio;
	folio_put(folio);
	return error == -EAGAIN ? ERR_PTR(error) : NULL;
}

/*
 * Take a reference on the folio that has been found at @index, and see that it
 * is not being replaced: see at the top why that takes its lock. -EAGAIN to
 * look at the entry again; -EBUSY to wait for it.
 */
static int shmem_get_ready(struct address_space *mapping, pgoff_t index,
			   struct folio *folio, bool hold)
{
	bool ready = false;

	if (unlikely(!folio_try_get(folio)))
		return -EAGAIN;
	if (likely(folio_trylock(folio))) {
		ready = shmem_is_still(folio, mapping, index) &&
			folio_test_uptodate(folio) &&
			!(hold && shmem_must_move(folio)) &&
			!folio_contain_hwpoisoned_page(folio);
		folio_unlock(folio);
	}
	if (likely(ready))
		return 0;
	folio_put(folio);
	return -EBUSY;
}

/*
 * Collect folios from *@index on that need no waiting for. *@index is moved
 * behind them, to a page to wait for, or to @end. A huge folio is alone in its
 * batch: its reference keeps it from being split, so that a hole in it is
 * cleared but gives back no memory. Have none for longer than it takes.
 */
static void shmem_ready_folios(struct address_space *mapping, pgoff_t *index,
			       pgoff_t end, unsigned int flags, bool hold,
			       struct folio_batch *fbatch)
{
	XA_STATE(xas, &mapping->i_pages, *index);
	struct folio *folio;
	pgoff_t next;
	int error;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		next = xas.xa_index;
		if (xa_is_value(folio) || !folio_test_uptodate(folio)) {
			if (flags & MEMFD_PFN_FILL)
				goto out;
			continue;
		}
		if (folio_test_large(folio) && folio_batch_count(fbatch))
			goto out;
		error = shmem_get_ready(mapping, next, folio, hold);
		if (error == -EAGAIN) {
			xas_reset(&xas);
			continue;
		}
		if (error)
			goto out;
		next = folio_next_index(folio);
		if (!folio_batch_add(fbatch, folio) || folio_test_large(folio))
			goto out;
	}
	next = end;
out:
	rcu_read_unlock();
	*index = next;
}

static int shmem_get_folios(struct memfd_falloc_notifier *mn, pgoff_t *index,
			    pgoff_t end, unsigned int flags,
			    struct folio_batch *fbatch)
{
	/* at its first look: what comes later is allocated in the right place */
	bool hold = flags & MEMFD_PFN_FILL && memfd_is_holder(mn);
	struct inode *inode = file_inode(mn->file);
	struct folio *folio;
	int tries = 0;

	*index = max(*index, mn->window.start);
	end = min(end, mn->window.last + 1);
	while (*index < end) {
		shmem_ready_folios(inode->i_mapping, index, end, flags, hold,
				   fbatch);
		if (folio_batch_count(fbatch) || *index >= end)
			break;
		if (flags & MEMFD_PFN_FILL && fatal_signal_pending(current))
			return -EINTR;
		folio = shmem_wait_folio(inode, index, flags, hold);
		/*
		 * Who faults the page in, or looks it up, has soon let go of it.
		 * Who has not, keeps it where it is, with this consumer or without.
		 */
		if (folio == ERR_PTR(-EBUSY)) {
			hold = ++tries < SHMEM_MOVE_TRIES;
			schedule_timeout_killable(1);
			continue;
		}
		/* -EAGAIN: look again from *index */
		if (IS_ERR(folio) && PTR_ERR(folio) != -EAGAIN)
			return PTR_ERR(folio);
		if (!IS_ERR_OR_NULL(folio)) {
			folio_batch_add(fbatch, folio);
			break;
		}
		cond_resched();
	}
	return 0;
}

/*
 * From time to time, in a walk under rcu_read_lock() that goes on at page @next.
 * Not by xas_pause(): after xas_advance() into a large folio it skips as many pages
 * as a slot there has, less one.
 */
static void shmem_walk_resched(struct xa_state *xas, unsigned int *steps,
			       pgoff_t next)
{
	if (++*steps % XA_CHECK_SCHED)
		return;
	xas_set(xas, next);
	cond_resched_rcu();
}

/* Are all pages there of the node to whose first slot the walk has just come? */
static bool shmem_node_full(struct xa_state *xas)
{
	struct xa_node *node = xas->xa_node;

	return node && !node->shift && !xas->xa_offset &&
	       READ_ONCE(node->count) == XA_CHUNK_SIZE &&
	       !READ_ONCE(node->nr_values);
}

/*
 * The caller has a reference on what it asks for, which therefore is not freed
 * and reused under this walk: there is no need to take one.
 */
static pgoff_t shmem_find_missing(struct memfd_falloc_notifier *mn,
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
		if (shmem_node_full(&xas))
			start = round_up(xas.xa_index + 1, XA_CHUNK_SIZE);
		else
			start = folio_next_index(folio);
		if (start - 1 > xas.xa_index)
			xas_advance(&xas, start - 1);
		shmem_walk_resched(&xas, &steps, start);
	}
	rcu_read_unlock();
	return min(start, end);
}

static void shmem_put_folios(struct memfd_falloc_notifier *mn, pgoff_t start,
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
		/* while the file is followed, nobody cleans it behind us */
		if (dirty && !folio_test_dirty(folio))
			folio_mark_dirty(folio);
		next = folio_next_index(folio);
		if (folio_test_large(folio))
			xas_advance(&xas, next - 1);
		folio_put(folio);
		shmem_walk_resched(&xas, &steps, next);
	}
	rcu_read_unlock();
}

static const struct memfd_pfn_ops shmem_pfn_ops = {
	.get_lock_pfn	= shmem_get_lock_pfn,
	.put_unlock_pfn	= shmem_put_unlock_pfn,
	.get_folios	= shmem_get_folios,
	.find_missing	= shmem_find_missing,
	.put_folios	= shmem_put_folios,
};

/*
 * /sys/kernel/debug/memfd_ops: a line for each file that has consumers, and
 * one for each of them.
 */

static void memfd_show_consumer(struct seq_file *m,
				struct memfd_falloc_notifier *mn)
{
	seq_printf(m, "  %s pages %lu-%lu invalidated %ld populated %ld fallocated %ld%s\n",
		   mn->ops->name, mn->window.start, mn->window.last,
		   atomic_long_read(&mn->nr_invalidate),
		   atomic_long_read(&mn->nr_populate),
		   atomic_long_read(&mn->nr_fallocate),
		   mn->leaving ? " leaving" : "");
}

static int memfd_ops_show(struct seq_file *m, void *unused)
{
	struct interval_tree_node *node;
	struct memfd_followers *fl;

	mutex_lock(&memfd_all_lock);
	list_for_each_entry(fl, &memfd_all, list) {
		spin_lock(&fl->lock);
		if (fl->nr)
			seq_printf(m, "dev %u:%u ino %lu consumers %u\n",
				   MAJOR(fl->inode->i_sb->s_dev),
				   MINOR(fl->inode->i_sb->s_dev),
				   fl->inode->i_ino, fl->nr);
		for (node = interval_tree_iter_first(&fl->consumers, 0, ULONG_MAX);
		     node; node = interval_tree_iter_next(node, 0, ULONG_MAX))
			memfd_show_consumer(m, to_notifier(node));
		spin_unlock(&fl->lock);
	}
	mutex_unlock(&memfd_all_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memfd_ops);

static int __init memfd_ops_init(void)
{
	debugfs_create_file("memfd_ops", 0400, NULL, NULL, &memfd_ops_fops);
	return 0;
}
late_initcall(memfd_ops_init);
