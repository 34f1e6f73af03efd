/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memfd_ops: in-kernel consumers of a memfd's pages
 *
 * A consumer (a KVM memslot, a device's IOMMU mapping) registers with a shmem
 * file for a window of it. It takes pages through &struct memfd_pfn_ops, and
 * is told before a page leaves its window, and when one has entered it.
 *
 * Locks, outermost first:
 *
 *	mmap_lock, i_rwsem
 *	  folio lock
 *	    the consumer's lock
 *	      locks of its page tables
 *
 * See Documentation/mm/memfd_ops.rst.
 */
#ifndef _LINUX_MEMFD_OPS_H
#define _LINUX_MEMFD_OPS_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/interval_tree.h>
#include <linux/jump_label_ratelimit.h>
#include <linux/list.h>
#include <linux/types.h>

struct address_space;
struct file;
struct folio;
struct folio_batch;
struct inode;
struct memfd_falloc_notifier;
struct page;

/**
 * struct memfd_falloc_notifier_ops - what a consumer lets the core tell it
 *
 * All ranges are in pages of the file, end excluded, and are clipped to the
 * consumer's window. All callbacks may sleep. None may wait for the file's
 * i_rwsem, for mmap_lock or for a page fault, nor unregister a consumer.
 *
 * The callbacks of one consumer may run at the same time as each other.
 *
 * @name:
 *	Names this kind of consumer in tracepoints and in debugfs.
 * @get_owner:
 *	Called before every other callback. False means that the owner is on
 *	its way out: the callback is skipped. From the first false on, the
 *	consumer must have no translation left, and make none. Called under a
 *	spinlock. Optional, together with @put_owner.
 * @put_owner:
 *	Undoes a successful @get_owner, after the callback. May sleep. Must not
 *	be what makes the owner go, since that unregisters the consumer.
 * @invalidate_page_range:
 *	Pages in the range are about to leave the file, or to be replaced. On
 *	return no translation to any of them may be left, in page tables or
 *	TLBs, and no reference be held on them, but for a moment by who looked
 *	one up and will not map it. (Then a huge folio that reaches across the
 *	edge of a hole may be cleared there rather than split.) Cannot fail,
 *	and must not allocate. Must take the lock under which the consumer calls
 *	memfd_read_retry(). A range never ends within a folio, unless the
 *	window does. Called with i_rwsem held, or with a folio lock, or both.
 * @invalidate_end:
 *	The invalidation that began with @invalidate_page_range is over; what
 *	is left in the range may be mapped again. Called with i_rwsem held or
 *	not, without a folio lock (but see @populate). Exactly one call follows
 *	every
 *	@invalidate_page_range, unless the consumer unregisters in between.
 *	Optional.
 * @fallocate:
 *	fallocate(2) is about to fill the range; no page was added yet. An
 *	error refuses it, and is what fallocate(2) returns: the file stays as
 *	it is. i_rwsem is held. Optional.
 * @fallocate_cancel:
 *	The fallocate(2) to which @fallocate agreed did not come about. The
 *	last to agree is the first to be told. i_rwsem is held. Optional.
 * @populate:
 *	A folio that overlaps the window has come into the file. It is locked,
 *	initialised and in the page cache, and stays so until the callback
 *	returns. The consumer maps the part of it that lies in its window,
 *	after a check of memfd_read_retry() with @seq under its own lock; on
 *	retry it returns -EAGAIN. Any error makes the operation that brought
 *	the folio fail: the folio is taken out again. Errors that mean
 *	something else there (-EEXIST, -EINVAL, -EIO, -ENOENT) become -ENXIO.
 *	Optional. A consumer that has it holds a reference on each folio that it
 *	has mapped, so those are neither moved nor swapped out. One that has not
 *	faults its pages in when it needs them; it need hold none, and is told
 *	by @invalidate_page_range and @invalidate_end when a folio is moved or
 *	swapped out: both with the folio lock held, maybe in reclaim.
 */
struct memfd_falloc_notifier_ops {
	const char *name;
	bool (*get_owner)(struct memfd_falloc_notifier *mn);
	void (*put_owner)(struct memfd_falloc_notifier *mn);
	void (*invalidate_page_range)(struct memfd_falloc_notifier *mn,
				      pgoff_t start, pgoff_t end);
	void (*invalidate_end)(struct memfd_falloc_notifier *mn,
			       pgoff_t start, pgoff_t end);
	int (*fallocate)(struct memfd_falloc_notifier *mn,
			 pgoff_t start, pgoff_t end);
	void (*fallocate_cancel)(struct memfd_falloc_notifier *mn,
				 pgoff_t start, pgoff_t end);
	int (*populate)(struct memfd_falloc_notifier *mn, struct folio *folio,
			unsigned long seq);
};

/*
 * get_lock_pfn(): fill a hole, rather than refuse it with -ENOENT.
 * get_folios(): initialise what was only fallocated, and read back what is in
 * swap, rather than leave it out.
 */
#define MEMFD_PFN_FILL		BIT(0)

/**
 * struct memfd_pfn_ops - how a consumer takes pages from the file
 *
 * Provided by the backing store, handed out by memfd_register_falloc_notifier()
 * in &memfd_falloc_notifier.pfn_ops. Callers hold none of the locks that their
 * callbacks take, and no folio lock.
 *
 * @get_lock_pfn:
 *	Looks up the page at @index, reads it back from swap and initialises
 *	it if need be, and returns its pfn with the folio locked and
 *	referenced: until put_unlock_pfn() the page stays where it is. @order,
 *	if not NULL, is set to the order of its folio, or to 0 if not all of
 *	that may be mapped: a page of it has failed, is behind the end of the
 *	file, or is being invalidated by now. (What begins later, the consumer
 *	will see for all of the folio.) @flags is 0 or %MEMFD_PFN_FILL. May
 *	sleep.
 *
 *	Returns the pfn, or
 *	-EINVAL (@index outside the window, unknown flag), -ENOENT (a hole, and
 *	no %MEMFD_PFN_FILL; or @index is past the end of the file),
 *	-EHWPOISON (the page's memory failed), -EIO (swap cannot be read),
 *	-ENOMEM, -ENOSPC, -EINTR, or what another consumer's @populate said.
 * @put_unlock_pfn:
 *	Ends what get_lock_pfn() began. Marks the folio dirty, since a consumer
 *	writes without a fault that would tell.
 * @get_folios:
 *	Fills @fbatch, which must be empty, with the folios present in the
 *	window from *@index on and before @end, in ascending order. Each is
 *	referenced, initialised, not poisoned and not locked: it may leave the
 *	file at any time, so they are good only under memfd_read_retry(), and
 *	are let go of without delay; or kept, if they get mapped.
 *	*@index is moved behind the last page looked at. Holes cost nothing.
 *	@flags is 0, which cannot fail, or %MEMFD_PFN_FILL. May sleep.
 *
 *	Returns 0, with an empty @fbatch when nothing is left before @end, or
 *	-EIO, -ENOMEM or what a consumer's @populate said, with an empty
 *	@fbatch.
 * @find_missing:
 *	Finds the first page of [start, end) that the file does not have, or
 *	returns end if it has all of them. For a consumer that holds references
 *	on all of them. May be called with folio locks held, and may sleep.
 * @put_folios:
 *	Drops one reference on each folio that the file has in [start, end),
 *	which the caller has from @get_folios or took in
 *	&memfd_falloc_notifier_ops.populate, and marks it dirty first if @dirty
 *	says that it may have been written to. May be called with folio locks
 *	held, and may sleep.
 */
struct memfd_pfn_ops {
	long (*get_lock_pfn)(struct memfd_falloc_notifier *mn, pgoff_t index,
			     unsigned int flags, int *order);
	void (*put_unlock_pfn)(unsigned long pfn);
	int (*get_folios)(struct memfd_falloc_notifier *mn, pgoff_t *index,
			  pgoff_t end, unsigned int flags,
			  struct folio_batch *fbatch);
	pgoff_t (*find_missing)(struct memfd_falloc_notifier *mn, pgoff_t start,
				pgoff_t end);
	void (*put_folios)(struct memfd_falloc_notifier *mn, pgoff_t start,
			   pgoff_t end, bool dirty);
};

/**
 * struct memfd_falloc_notifier - one consumer: a window on one file
 *
 * Embedded in the consumer's object, which may be freed once
 * memfd_unregister_falloc_notifier() has returned.
 *
 * @writes: the consumer writes to the pages, or lets others do so; set before
 *	memfd_register_falloc_notifier()
 * @ops: the consumer's callbacks
 * @pfn_ops: how to take pages from the file
 * @file: the file; the registration holds a reference
 *
 * The rest is the core's.
 */
struct memfd_falloc_notifier {
	bool writes;
	const struct memfd_falloc_notifier_ops *ops;
	const struct memfd_pfn_ops *pfn_ops;
	struct file *file;
	/* private: */
	struct interval_tree_node window;
	struct list_head agreed;
	unsigned long seq;
	u64 born;
	unsigned int users;
	bool leaving;
	atomic_long_t nr_invalidate;
	atomic_long_t nr_populate;
	atomic_long_t nr_fallocate;
};

#ifdef CONFIG_MEMFD_OPS

int memfd_register_falloc_notifier(struct memfd_falloc_notifier *mn,
				   struct file *file, pgoff_t start,
				   pgoff_t end,
				   const struct memfd_falloc_notifier_ops *ops);
void memfd_unregister_falloc_notifier(struct memfd_falloc_notifier *mn);
void memfd_ops_get(void);
void memfd_ops_put(void);
unsigned long memfd_read_begin(struct memfd_falloc_notifier *mn);

/**
 * memfd_read_retry - has an invalidation begun since memfd_read_begin()?
 * @mn: the consumer
 * @seq: what memfd_read_begin() returned, or @populate was given
 *
 * Context: under the lock that the consumer's invalidate_page_range() takes.
 * Return: true if pages found since then must not be mapped.
 */
static inline bool memfd_read_retry(struct memfd_falloc_notifier *mn,
				    unsigned long seq)
{
	/* __memfd_invalidate_begin() writes it before the callback takes the lock */
	return READ_ONCE(mn->seq) != seq;
}

/* First page of the window, and the one behind its last */
static inline pgoff_t memfd_window_start(const struct memfd_falloc_notifier *mn)
{
	return mn->window.start;
}

static inline pgoff_t memfd_window_end(const struct memfd_falloc_notifier *mn)
{
	return mn->window.last + 1;
}

#endif /* CONFIG_MEMFD_OPS */

/*
 * What follows is for backing stores: where their files gain and lose pages
 * they call these. A file without consumers costs a static branch.
 */

/**
 * struct memfd_invalidation - one invalidation that is under way
 *
 * On the stack of who takes pages out of a file, from
 * memfd_invalidate_begin() to memfd_invalidate_end().
 */
struct memfd_invalidation {
	/* private: */
	struct memfd_followers *followers;
	struct list_head list;
	struct inode *inode;
	struct task_struct *task;
	pgoff_t start, end;
	u64 born;
	bool replacing;
};

#ifdef CONFIG_MEMFD_OPS

extern struct static_key_false_deferred memfd_ops_key;

bool __memfd_followed(struct address_space *mapping);
bool __memfd_may_drop(struct folio *folio, pgoff_t start);
bool __memfd_misplaced(struct address_space *mapping, struct folio *folio);
void __memfd_invalidate_begin(struct memfd_invalidation *inv,
			      struct address_space *mapping,
			      pgoff_t start, pgoff_t end);
void __memfd_invalidate_end(struct memfd_invalidation *inv);
bool __memfd_replace_begin(struct memfd_invalidation *inv, struct folio *folio,
			   bool moving);
void __memfd_invalidate_wait(struct address_space *mapping,
			     pgoff_t start, pgoff_t end);
int __memfd_populate(struct folio *folio);
int __memfd_populate_or_drop(struct folio *folio, bool fresh);
bool __memfd_next_populated(struct address_space *mapping, pgoff_t *index,
			    pgoff_t end);
int __memfd_fallocate_begin(struct address_space *mapping,
			    pgoff_t start, pgoff_t end);
void __memfd_fallocate_end(struct address_space *mapping,
			   pgoff_t start, pgoff_t end, int error);
void __memfd_poison_begin(struct memfd_invalidation *inv, struct page *page);
void __memfd_poison_end(struct memfd_invalidation *inv);
void memfd_followers_free(struct memfd_followers *followers);

/**
 * memfd_followed - has the file any consumer?
 * @mapping: of any file
 *
 * What must not happen to pages that somebody may have mapped (collapse) asks
 * this with the folio locked, or with the mapping's invalidate_lock held: a
 * consumer that registers later will wait for that lock before it takes a page.
 *
 * Context: any.
 * Return: whether it has.
 */
static inline bool memfd_followed(struct address_space *mapping)
{
	return static_branch_unlikely(&memfd_ops_key.key) &&
	       __memfd_followed(mapping);
}

/**
 * memfd_may_drop - may pages of a folio be dropped as it is split?
 * @folio: locked, in the page cache
 * @start: the first page that is dropped, with all behind it
 *
 * Context: any but hard interrupts.
 * Return: false if the file has consumers that may have mapped them, and the
 * caller has not told them by memfd_invalidate_begin(): those that came after it
 * have not been told, either. memory_failure() lets them come.
 */
static inline bool memfd_may_drop(struct folio *folio, pgoff_t start)
{
	return !static_branch_unlikely(&memfd_ops_key.key) ||
	       __memfd_may_drop(folio, start);
}

/**
 * memfd_misplaced - is a folio where nobody may hold it for long?
 * @mapping: of the file that it is about to come into
 * @folio: not in the page cache yet
 *
 * Context: any but hard interrupts.
 * Return: true if the file has a consumer that holds what it maps, and @folio is
 * in memory that must stay movable.
 */
static inline bool memfd_misplaced(struct address_space *mapping,
				   struct folio *folio)
{
	return static_branch_unlikely(&memfd_ops_key.key) &&
	       __memfd_misplaced(mapping, folio);
}

/**
 * memfd_invalidate_begin - pages are about to leave a file
 * @inv: on the caller's stack, until memfd_invalidate_end()
 * @mapping: of the file
 * @start: first page of the range
 * @end: first page behind it; ULONG_MAX for the rest of the file
 *
 * On return no consumer can reach a page of the range, or holds a reference
 * on one that it could reach. The core widens the range to whole folios, so
 * that those at its edges can be split. Until memfd_invalidate_end() nothing is
 * mapped in it. A folio that is split must lie in the range, even if no page
 * of it leaves.
 *
 * Context: may sleep. Folio locks may be held.
 */
static inline void memfd_invalidate_begin(struct memfd_invalidation *inv,
					  struct address_space *mapping,
					  pgoff_t start, pgoff_t end)
{
	inv->followers = NULL;
	if (static_branch_unlikely(&memfd_ops_key.key))
		__memfd_invalidate_begin(inv, mapping, start, end);
}

/**
 * memfd_invalidate_end - the pages are gone
 * @inv: from memfd_invalidate_begin()
 *
 * On return what is left in the range is mapped again.
 *
 * Context: may sleep. No folio lock is held.
 */
static inline void memfd_invalidate_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->followers))
		__memfd_invalidate_end(inv);
}

/**
 * memfd_replace_begin - a folio is about to be moved, or swapped out
 * @inv: on the caller's stack, until memfd_replace_end()
 * @folio: locked, in the page cache, until memfd_replace_end()
 * @moving: whoever takes a reference on @folio keeps it from being replaced, so
 *	that a consumer is in the way only if it has one by now
 *
 * On success no consumer can reach a page of the folio.
 *
 * Context: may sleep; in reclaim, too.
 * Return: false if a consumer may hold the folio: it has to stay, and
 * memfd_replace_end() must not be called.
 */
static inline bool memfd_replace_begin(struct memfd_invalidation *inv,
				       struct folio *folio, bool moving)
{
	inv->followers = NULL;
	return !static_branch_unlikely(&memfd_ops_key.key) ||
	       __memfd_replace_begin(inv, folio, moving);
}

/**
 * memfd_replace_end - it has been replaced, or has stayed after all
 * @inv: from memfd_replace_begin()
 *
 * Context: as memfd_replace_begin().
 */
static inline void memfd_replace_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->followers))
		__memfd_invalidate_end(inv);
}

/**
 * memfd_populate - a folio has come into the file
 * @folio: locked, in the page cache, and just marked uptodate
 *
 * Must be called whenever a folio of a file becomes uptodate.
 *
 * Context: may sleep.
 * Return: 0, or -EAGAIN if the range is being invalidated, or another error.
 * After any error the caller takes the folio away between
 * memfd_invalidate_begin() and memfd_invalidate_end(). After -EAGAIN it drops
 * the folio lock, calls memfd_invalidate_wait() and starts anew.
 */
static inline int memfd_populate(struct folio *folio)
{
	if (static_branch_unlikely(&memfd_ops_key.key))
		return __memfd_populate(folio);
	return 0;
}

/**
 * memfd_populate_or_drop - memfd_populate(), undone if it fails
 * @folio: locked and referenced, in the page cache, and just marked uptodate
 * @fresh: the folio is new in the file; it was not fallocated before
 *
 * On error @folio is out of the file if @fresh, or no longer uptodate if not,
 * and it is unlocked and its reference dropped.
 *
 * Context: may sleep.
 * Return: 0, or -EAGAIN to start anew, or another error.
 */
static inline int memfd_populate_or_drop(struct folio *folio, bool fresh)
{
	if (static_branch_unlikely(&memfd_ops_key.key))
		return __memfd_populate_or_drop(folio, fresh);
	return 0;
}

/**
 * memfd_invalidate_wait - wait until a range is not being invalidated
 * @mapping: of the file
 * @start: first page of the range
 * @end: first page behind it
 *
 * Context: may sleep; no folio lock is held.
 */
static inline void memfd_invalidate_wait(struct address_space *mapping,
					 pgoff_t start, pgoff_t end)
{
	if (static_branch_unlikely(&memfd_ops_key.key))
		__memfd_invalidate_wait(mapping, start, end);
}

/**
 * memfd_next_populated - find pages that a consumer wants as they come
 * @mapping: of the file
 * @index: where to look from; moved to the first such page
 * @end: where to stop
 *
 * Context: any.
 * Return: whether there is such a page before @end.
 */
static inline bool memfd_next_populated(struct address_space *mapping,
					pgoff_t *index, pgoff_t end)
{
	return static_branch_unlikely(&memfd_ops_key.key) &&
	       __memfd_next_populated(mapping, index, end);
}

/**
 * memfd_fallocate_begin - ask the consumers about a fallocate(2)
 * @mapping: of the file
 * @start: first page that fallocate(2) is to fill
 * @end: first page behind
 *
 * Context: i_rwsem is held for writing, until memfd_fallocate_end().
 * Return: 0, or the error of the consumer that refused. Those that had agreed
 * before were told, and memfd_fallocate_end() must not be called.
 */
static inline int memfd_fallocate_begin(struct address_space *mapping,
					pgoff_t start, pgoff_t end)
{
	if (static_branch_unlikely(&memfd_ops_key.key))
		return __memfd_fallocate_begin(mapping, start, end);
	return 0;
}

/**
 * memfd_fallocate_end - tell the consumers what became of a fallocate(2)
 * @mapping: of the file
 * @start: as given to memfd_fallocate_begin()
 * @end: as given to memfd_fallocate_begin()
 * @error: what fallocate(2) returns
 *
 * Context: i_rwsem is held for writing.
 */
static inline void memfd_fallocate_end(struct address_space *mapping,
				       pgoff_t start, pgoff_t end, int error)
{
	if (static_branch_unlikely(&memfd_ops_key.key))
		__memfd_fallocate_end(mapping, start, end, error);
}

/**
 * memfd_poison_begin - a page's memory has failed
 * @inv: on the caller's stack, until memfd_poison_end()
 * @page: marked PageHWPoison, with a reference held
 *
 * Takes the page away from its file's consumers, so that its folio can be
 * split. A consumer that maps what is left leaves poisoned folios out.
 *
 * Context: may sleep. Locks the folio.
 */
static inline void memfd_poison_begin(struct memfd_invalidation *inv,
				      struct page *page)
{
	inv->followers = NULL;
	if (static_branch_unlikely(&memfd_ops_key.key))
		__memfd_poison_begin(inv, page);
}

/**
 * memfd_poison_end - a failed page has been dealt with
 * @inv: from memfd_poison_begin()
 *
 * Context: may sleep. No folio lock is held.
 */
static inline void memfd_poison_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->followers))
		__memfd_poison_end(inv);
}

#else /* !CONFIG_MEMFD_OPS */

static inline bool memfd_followed(struct address_space *mapping)
{
	return false;
}

static inline bool memfd_may_drop(struct folio *folio, pgoff_t start)
{
	return true;
}

static inline bool memfd_misplaced(struct address_space *mapping,
				   struct folio *folio)
{
	return false;
}

static inline void memfd_invalidate_begin(struct memfd_invalidation *inv,
					  struct address_space *mapping,
					  pgoff_t start, pgoff_t end)
{
}

static inline void memfd_invalidate_end(struct memfd_invalidation *inv)
{
}

static inline bool memfd_replace_begin(struct memfd_invalidation *inv,
				       struct folio *folio, bool moving)
{
	return true;
}

static inline void memfd_replace_end(struct memfd_invalidation *inv)
{
}

static inline int memfd_populate(struct folio *folio)
{
	return 0;
}

static inline int memfd_populate_or_drop(struct folio *folio, bool fresh)
{
	return 0;
}

static inline void memfd_invalidate_wait(struct address_space *mapping,
					 pgoff_t start, pgoff_t end)
{
}

static inline bool memfd_next_populated(struct address_space *mapping,
					pgoff_t *index, pgoff_t end)
{
	return false;
}

static inline int memfd_fallocate_begin(struct address_space *mapping,
					pgoff_t start, pgoff_t end)
{
	return 0;
}

static inline void memfd_fallocate_end(struct address_space *mapping,
				       pgoff_t start, pgoff_t end, int error)
{
}

static inline void memfd_poison_begin(struct memfd_invalidation *inv,
				      struct page *page)
{
}

static inline void memfd_poison_end(struct memfd_invalidation *inv)
{
}

#endif /* CONFIG_MEMFD_OPS */
#endif /* _LINUX_MEMFD_OPS_H */
