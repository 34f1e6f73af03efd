/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memfd_ops: in-kernel consumers of a memfd's pages
 *
 * A consumer (a KVM memslot, a device's IOMMU mapping) registers with a file
 * for a window of it. It takes pages through &struct memfd_pfn_ops, and its
 * callbacks run before a page leaves the window and after one has entered it.
 *
 * Locks, outermost first:
 *
 *	mmap_lock, i_rwsem
 *	  the mapping's invalidate_lock
 *	    folio lock
 *	      the consumer's lock
 *	        locks of its page tables
 *
 * Filesystems that keep the pages of such files use <linux/memfd_store.h>. See
 * Documentation/mm/memfd_ops/index.rst.
 */
#ifndef _LINUX_MEMFD_OPS_H
#define _LINUX_MEMFD_OPS_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/printk.h>
#include <linux/types.h>

struct file;
struct folio;
struct folio_batch;
struct memfd_consumers;
struct memfd_falloc_notifier;
struct seq_file;

/**
 * struct memfd_read - a lookup of pages that are to be mapped
 *
 * On the stack of a consumer, from memfd_read_begin() to memfd_read_end().
 */
struct memfd_read {
	/* private: */
	struct list_head list;
	pgoff_t start, end;
	bool retry;
};

/**
 * struct memfd_falloc_notifier_ops - a consumer's callbacks
 *
 * All ranges are in pages of the file, half-open [start, end), and clipped to
 * the consumer's window. Callbacks may sleep, with the exceptions below. None
 * may wait for the file's i_rwsem, for mmap_lock or for a page fault, nor
 * unregister a consumer.
 *
 * The callbacks of one consumer may run concurrently.
 *
 * @name:
 *	Names this kind of consumer in tracepoints and in debugfs.
 * @get_owner:
 *	Called before every other callback. False means that the owner is
 *	being destroyed: the core skips the callback. From the first false on,
 *	the consumer must have no translation, and make none. Called under a
 *	spinlock. Optional, together with @put_owner.
 * @put_owner:
 *	Undoes a successful @get_owner, after the callback. Must not drop the
 *	owner's last reference, since destroying it unregisters the consumer.
 * @invalidate_page_range:
 *	Pages in the range are about to leave the file or to be replaced, or
 *	their folio is about to be split. On return the consumer has no
 *	translation to any of them, in page tables or TLBs, and no reference on
 *	them, except for one that a concurrent lookup holds briefly and will not
 *	map. (Such a reference can make the filesystem zero the part of a huge
 *	folio that lies in a hole, rather than free it.) Cannot fail. Must take
 *	the lock under which the consumer calls memfd_read_retry(). Called with
 *	i_rwsem held, or with a folio lock, or both. It would wait for itself if
 *	it called memfd_read_begin(), or filled pages by %MEMFD_PFN_FILL.
 *
 *	A consumer that pins gets the pages that leave, and no other: the rest
 *	of their folios stays mapped. For one that does not, the range never
 *	ends within a folio, unless the window does, and the callback must not
 *	allocate, since it may run in reclaim.
 * @invalidate_end:
 *	An invalidation is over; the consumer may map what the file still has in
 *	the range. Called without a folio lock, except where a folio was
 *	replaced or split (see @populate); i_rwsem may be held. For a consumer that does
 *	not pin, exactly one call follows every @invalidate_page_range, with the
 *	same range, unless the consumer unregisters in between. One that pins
 *	has to look for pages that have stayed after all, and for folios that
 *	the operation has read back from swap; its range includes pages that
 *	were cleared in part, and have stayed mapped. There is no call where
 *	nothing can have stayed. Optional.
 * @fallocate:
 *	fallocate(2) is about to fill the range; no page has been added yet. An
 *	error refuses it, and fallocate(2) returns that error without changing
 *	the file. i_rwsem is held. Optional.
 * @fallocate_abort:
 *	The fallocate(2) that @fallocate accepted has failed. Called in reverse
 *	order of acceptance. i_rwsem is held. Optional.
 * @populate:
 *	A folio that overlaps the window has entered the file. It is locked,
 *	uptodate and in the page cache until the callback returns. The consumer
 *	maps the part in its window, after checking memfd_read_retry() with
 *	@read under its own lock; on retry it returns -EAGAIN. After any other
 *	error the core removes the folio again, and the operation that brought
 *	it fails; errnos with a meaning of their own on these paths (-EEXIST,
 *	-EFAULT, -EINVAL, -EIO, -ENOENT) become -ENXIO. But if the consumer
 *	has no veto, see &memfd_falloc_notifier.may_miss, the folio stays, and
 *	the consumer lacks it.
 *
 *	Optional. A consumer that has @populate pins: it holds one reference for
 *	each page that it has mapped, which keeps the folio from being migrated
 *	and swapped out. A consumer without @populate looks pages up when it
 *	needs them and holds no reference. For such a consumer the core calls
 *	@invalidate_page_range and @invalidate_end when a folio is migrated,
 *	swapped out or split, both with the folio locked, possibly in reclaim.
 *	After a split one of the pieces is still locked.
 * @unpin:
 *	A folio, of which pages in the range stay in the file, is about to be
 *	split; it is locked. The consumer drops its references on the pages that
 *	it has mapped, and keeps the translations. Until @repin it neither drops
 *	them again, in @invalidate_page_range for instance, nor unregisters.
 *	Must not allocate. Set together with @populate.
 * @repin:
 *	The folio has been split, or has not. The consumer takes a reference for
 *	each page that it has mapped in the range. Always follows @unpin.
 * @nr_pinned:
 *	How many references does the consumer hold on pages in the range? May
 *	be less than that for pages that are just being mapped or unmapped. Set
 *	together with @populate.
 * @young:
 *	Has the consumer, or the guest or device that it maps pages for,
 *	accessed one of the pages in the range since the last call with @clear?
 *	@clear forgets these accesses. The answer is a hint: the consumer need
 *	not flush TLBs to notice the next access, and may report an access to a
 *	page that it maps at the same place. All of the range lies in one folio,
 *	which is locked, possibly in reclaim: must not allocate. Optional.
 *	Without it reclaim takes the pages in use of a consumer that does not
 *	pin as readily as others.
 * @missed:
 *	memfd_missed() has counted pages that the consumer lacks. It may notify
 *	its owner. Folio locks may be held. Optional.
 * @next_mapped:
 *	Finds the next pages that the consumer has mapped: moves *@start to the
 *	first such page at or behind it, and *@end to the end of a run of them,
 *	not beyond what *@end was. Returns false if there is none. A snapshot:
 *	the pages can come and go meanwhile. Called without locks; may sleep.
 *	Optional, for fdinfo and debugfs.
 * @show_owner:
 *	Prints " kind name" for the owner of the mapping, if the consumer alone
 *	knows it: for debugfs, which only root reads. Called as @next_mapped.
 *	Optional.
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
	void (*fallocate_abort)(struct memfd_falloc_notifier *mn,
				pgoff_t start, pgoff_t end);
	int (*populate)(struct memfd_falloc_notifier *mn, struct folio *folio,
			const struct memfd_read *read);
	void (*unpin)(struct memfd_falloc_notifier *mn,
		      pgoff_t start, pgoff_t end);
	void (*repin)(struct memfd_falloc_notifier *mn,
		      pgoff_t start, pgoff_t end);
	unsigned long (*nr_pinned)(struct memfd_falloc_notifier *mn,
				   pgoff_t start, pgoff_t end);
	bool (*young)(struct memfd_falloc_notifier *mn,
		      pgoff_t start, pgoff_t end, bool clear);
	void (*missed)(struct memfd_falloc_notifier *mn);
	bool (*next_mapped)(struct memfd_falloc_notifier *mn,
			    pgoff_t *start, pgoff_t *end);
	void (*show_owner)(struct memfd_falloc_notifier *mn,
			   struct seq_file *m);
};

/*
 * get_lock_pfn(): fill a hole, rather than return -ENOENT.
 * prepare_folios(): initialise folios that were only fallocated, and read back
 * those in swap.
 */
#define MEMFD_PFN_FILL		BIT(0)

/**
 * struct memfd_pfn_ops - how a consumer takes pages from the file
 *
 * memfd_register_falloc_notifier() provides it in
 * &memfd_falloc_notifier.pfn_ops. Callers hold no folio lock, and none of the
 * locks that their callbacks take, with the exceptions below.
 *
 * @get_lock_pfn:
 *	Looks up the page at @index, reads it back from swap and initialises
 *	it if need be, and returns its pfn with the folio locked and
 *	referenced: until put_unlock_pfn() the page stays in place. @order, if
 *	not NULL, is set to the order of the folio; or to 0 if the consumer may
 *	not map all of it, because a page of it has failed or is past the end
 *	of the file, or because an invalidation overlaps it. (Invalidations
 *	that begin later cover the whole folio.) @flags is 0 or
 *	%MEMFD_PFN_FILL. May sleep.
 *
 *	Returns the pfn, or
 *	-EINVAL (@index outside the window, unknown flag), -ENOENT (a hole, and
 *	no %MEMFD_PFN_FILL; or @index is past the end of the file),
 *	-EHWPOISON (the page's memory failed), -EIO (swap cannot be read),
 *	-ENOMEM, -ENOSPC, -EINTR, or an error of another consumer's @populate.
 * @put_unlock_pfn:
 *	Ends what get_lock_pfn() began. Marks the folio dirty, since a device
 *	or a guest writes without a fault that would mark it.
 * @prepare_folios:
 *	Does the slow part before get_folios() can return the folios in
 *	[@start, @end). Waits for their locks. With %MEMFD_PFN_FILL, initialises
 *	folios that were only fallocated, and reads back those in swap; before
 *	that, for a consumer that pins, migrates them out of memory that must
 *	stay movable, unless somebody else holds them there. May sleep, so call
 *	it outside memfd_read_begin() and memfd_read_end(). @flags is 0, which
 *	cannot fail, or %MEMFD_PFN_FILL, which a consumer needs for a range once
 *	after it has registered.
 *
 *	Returns 0, or -EIO, -ENOMEM, -EINTR, or an error of a consumer's
 *	@populate.
 * @get_folios:
 *	Fills @fbatch, which must be empty, with the folios present in the
 *	window in [*@index, @end), in ascending order. Each is referenced,
 *	uptodate, not poisoned and not locked: it may leave the file at any
 *	time, so the caller maps it only after memfd_read_retry(), and either
 *	keeps the reference for its mapping or drops it without delay.
 *	*@index is advanced past the last page looked at. Holes cost nothing.
 *	With an empty @fbatch and *@index below @end, the folio at *@index is
 *	locked, or with %MEMFD_PFN_FILL, needs something else of
 *	prepare_folios(): call that, and then get_folios() without that flag,
 *	since pages past the end of the file may stay in swap. Does not sleep.
 * @find_hole:
 *	Finds the first page of [start, end) that the file does not have, or
 *	returns end if it has all of them. The caller holds references on all of
 *	them. Folio locks may be held. May sleep.
 * @hold_folios:
 *	Takes one reference for each page of [start, end), all of which the file
 *	has, and keeps until this returns. Folio locks may be held. May sleep.
 * @put_folios:
 *	Drops one reference for each page that the file has in [start, end),
 *	obtained by @get_folios, @hold_folios or in
 *	&memfd_falloc_notifier_ops.populate, and first marks the folios dirty if
 *	@dirty is set, for a device that may have written to them. Folio locks
 *	may be held. May sleep.
 */
struct memfd_pfn_ops {
	long (*get_lock_pfn)(struct memfd_falloc_notifier *mn, pgoff_t index,
			     unsigned int flags, int *order);
	void (*put_unlock_pfn)(unsigned long pfn);
	int (*prepare_folios)(struct memfd_falloc_notifier *mn, pgoff_t start,
			      pgoff_t end, unsigned int flags);
	void (*get_folios)(struct memfd_falloc_notifier *mn, pgoff_t *index,
			   pgoff_t end, unsigned int flags,
			   struct folio_batch *fbatch);
	pgoff_t (*find_hole)(struct memfd_falloc_notifier *mn, pgoff_t start,
			     pgoff_t end);
	void (*hold_folios)(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end);
	void (*put_folios)(struct memfd_falloc_notifier *mn, pgoff_t start,
			   pgoff_t end, bool dirty);
};

/**
 * struct memfd_falloc_notifier - one consumer: a window of one file
 *
 * Embedded in the consumer's object, which may be freed once
 * memfd_unregister_falloc_notifier() has returned.
 *
 * @writes: the consumer writes to the pages, or lets a guest or a device write;
 *	set before memfd_register_falloc_notifier(), which then claims write access
 * @write_claimed: with @writes: the consumer's owner has claimed write access by
 *	memfd_claim_write(), and releases it after the consumer has unregistered.
 *	Registration does not claim it again, so seals that the file has got since
 *	then do not matter
 * @may_miss: the consumer has no veto. A page that it cannot take, or a
 *	fallocate(2) that it refuses, fails for nobody; the consumer lacks the
 *	page, see memfd_missed(). Set before registration if the owner prefers
 *	that. Registration sets it for a file that is not open for writing:
 *	somebody who may not write must not keep others from it
 * @ops: the consumer's callbacks
 * @pfn_ops: how to take pages from the file
 * @file: the file; the registration holds a reference
 *
 * The rest is private to the core.
 */
struct memfd_falloc_notifier {
	bool writes;
	bool write_claimed;
	bool may_miss;
	const struct memfd_falloc_notifier_ops *ops;
	const struct memfd_pfn_ops *pfn_ops;
	struct file *file;
	/* private: */
	struct memfd_consumers *consumers;
	struct interval_tree_node window;
	struct interval_tree_node pinning;
	struct list_head prepared;
	u64 start_gen;
	unsigned int migrate_tries;
	unsigned int nr_active;
	bool unregistering;
	atomic_long_t nr_invalidate;
	atomic_long_t nr_populate;
	atomic_long_t nr_fallocate;
	atomic_long_t nr_missed;
};

/**
 * memfd_refuse - refuse a mapping, or a consumer
 * @error: the errno
 * @fmt: the rule that refuses it, a format of printk()
 *
 * An errno has many reasons: leave a line with this one for dynamic debug. One for
 * each refusal, where the rule is checked.
 *
 * Return: @error.
 */
#define memfd_refuse(error, fmt, ...)					\
({									\
	pr_debug("refused: " fmt "\n", ##__VA_ARGS__);			\
	(error);							\
})

#ifdef CONFIG_MEMFD_OPS

bool memfd_can_register(struct file *file);
int memfd_claim_write(struct file *file);
void memfd_release_write(struct file *file);
int memfd_register_falloc_notifier(struct memfd_falloc_notifier *mn,
				   struct file *file, pgoff_t start,
				   pgoff_t end,
				   const struct memfd_falloc_notifier_ops *ops);
void memfd_unregister_falloc_notifier(struct memfd_falloc_notifier *mn);
int __must_check memfd_read_begin(struct memfd_falloc_notifier *mn,
				  struct memfd_read *read,
				  pgoff_t start, pgoff_t end);
void memfd_read_end(struct memfd_falloc_notifier *mn, struct memfd_read *read);
void memfd_missed(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		  int error);
unsigned long memfd_nr_missing(struct memfd_falloc_notifier *mn,
			       unsigned long nr_mapped);

/**
 * memfd_read_retry - has an invalidation of the range begun?
 * @read: from memfd_read_begin(), or passed to @populate
 *
 * Context: under the lock that the consumer's invalidate_page_range() takes.
 * Return: true if the caller must not map pages found since then.
 */
static inline bool memfd_read_retry(const struct memfd_read *read)
{
	/* the core writes it before the callback takes the consumer's lock */
	return READ_ONCE(read->retry);
}

/* The window is [memfd_window_start(), memfd_window_end()) */
static inline pgoff_t memfd_window_start(const struct memfd_falloc_notifier *mn)
{
	return mn->window.start;
}

static inline pgoff_t memfd_window_end(const struct memfd_falloc_notifier *mn)
{
	return mn->window.last + 1;
}

/* Names a consumer among all that the file has or had, in fdinfo and debugfs */
static inline u64 memfd_consumer_id(const struct memfd_falloc_notifier *mn)
{
	return mn->start_gen;
}

#endif /* CONFIG_MEMFD_OPS */
#endif /* _LINUX_MEMFD_OPS_H */
