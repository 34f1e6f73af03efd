/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memfd_ops for backing stores: filesystems whose files can have consumers
 *
 * A store keeps the pages of its files in the page cache. It registers
 * &struct memfd_store_ops once, and calls the functions below where a file
 * gains, loses or replaces pages. While no file has a consumer each of them is
 * a static branch; while another file has some, a file without consumers pays one
 * load and a test of its mapping's flags.
 *
 * Memory management calls the same functions where it touches a folio of any
 * mapping (collapse, splits, memory failure, aging).
 *
 * See Documentation/mm/memfd_ops/index.rst. Consumers use <linux/memfd_ops.h>.
 */
#ifndef _LINUX_MEMFD_STORE_H
#define _LINUX_MEMFD_STORE_H

#include <linux/jump_label_ratelimit.h>
#include <linux/list.h>
#include <linux/pagemap.h>
#include <linux/types.h>

struct folio;
struct folio_batch;
struct inode;
struct memfd_consumers;
struct page;

/**
 * struct memfd_store_ops - what the core needs from a backing store
 *
 * A store promises:
 *
 * - Its folios are in the page cache, by page index, and a folio whose content
 *   is not initialised is not uptodate.
 * - Ranges of pages leave a file with i_rwsem or the mapping's invalidate_lock
 *   held for writing, from before memfd_invalidate_begin() until after
 *   memfd_invalidate_end(). Registration takes both, so that a removal that
 *   began without the new consumer is over before it looks for pages. Eviction
 *   of the inode is exempt: every consumer holds a reference on the file.
 * - A folio is locked while it is added, made uptodate, removed, split or
 *   replaced. A split keeps all its pages in the file.
 * - It calls memfd_populate() or memfd_populate_or_drop() for each folio that
 *   becomes uptodate, with the folio still locked; except for one that it needs
 *   in the course of its own invalidation of that page, where it would wait for
 *   itself. The end of the invalidation gives that folio to the consumers.
 *
 * @name:
 *	Names the store in debugfs.
 * @consumers:
 *	The place in an inode where the core keeps the file's consumers; NULL
 *	if the mapping is not of a file of this store. The place holds NULL at
 *	first; the store passes it to memfd_consumers_free() when it evicts the
 *	inode. Called in any context.
 * @claim_write:
 *	A consumer that writes is about to register, or an owner of such
 *	consumers claims write access for all of them, see memfd_claim_write().
 *	The store refuses it with -EPERM if the file is sealed against writing,
 *	and from then on until @release_write refuses F_SEAL_WRITE. Called with
 *	i_rwsem held for reading. Optional, together with @release_write, for
 *	stores without seals.
 * @release_write:
 *	Undoes a successful @claim_write. No lock is held.
 * @get_folio:
 *	Looks up the folio of page @index, locked, referenced and uptodate;
 *	reads it back if it is in swap and initialises it if it was only
 *	fallocated. @flags is 0 or %MEMFD_PFN_FILL, which fills a hole. Returns
 *	0, or -ENOENT (a hole without %MEMFD_PFN_FILL, or past the end of the
 *	file), -EHWPOISON, -EIO, -ENOMEM, -ENOSPC, -EINTR, or an error of
 *	memfd_populate(). May sleep; called without locks.
 * @migrate_longterm:
 *	Migrates folios out of memory that must stay movable (ZONE_MOVABLE,
 *	CMA), and drops the references of @fbatch, which is empty then. The
 *	file's memory policy applies. Returns 0, or -EBUSY if some have stayed
 *	because somebody else has a reference, possibly for a short time. May
 *	sleep; the folios are not locked. Optional, for stores whose folios are
 *	never in such memory.
 * @drop_folio:
 *	Removes a folio that a consumer refused from the page cache. The folio
 *	is locked and referenced, and entered the file just now; accounting of
 *	the file's size in blocks is left to the caller of
 *	memfd_populate_or_drop(). May sleep.
 */
struct memfd_store_ops {
	const char *name;
	struct memfd_consumers **(*consumers)(struct address_space *mapping);
	int (*claim_write)(struct inode *inode);
	void (*release_write)(struct inode *inode);
	int (*get_folio)(struct inode *inode, pgoff_t index, unsigned int flags,
			 struct folio **foliop);
	int (*migrate_longterm)(struct inode *inode, struct folio_batch *fbatch);
	void (*drop_folio)(struct folio *folio);
};

/**
 * enum memfd_invalidate_reason - why consumers lose their translations
 *
 * @MEMFD_INVALIDATE_PUNCH: a hole is punched
 * @MEMFD_INVALIDATE_TRUNCATE: the file is truncated
 * @MEMFD_INVALIDATE_UNDO: an operation that brought pages has failed
 * @MEMFD_INVALIDATE_POISON: a page's memory has failed
 * @MEMFD_INVALIDATE_MIGRATE: a folio is being migrated
 * @MEMFD_INVALIDATE_SWAP_OUT: a folio is being swapped out
 * @MEMFD_INVALIDATE_SPLIT: a huge folio is being split
 * @MEMFD_NR_INVALIDATE_REASONS: how many there are
 *
 * A consumer that pins keeps its folios from being migrated and swapped out, and
 * its translations when they are split. So the last three do not apply to it.
 */
enum memfd_invalidate_reason {
	MEMFD_INVALIDATE_PUNCH,
	MEMFD_INVALIDATE_TRUNCATE,
	MEMFD_INVALIDATE_UNDO,
	MEMFD_INVALIDATE_POISON,
	MEMFD_INVALIDATE_MIGRATE,
	MEMFD_INVALIDATE_SWAP_OUT,
	MEMFD_INVALIDATE_SPLIT,
	MEMFD_NR_INVALIDATE_REASONS
};

/**
 * struct memfd_invalidation - one invalidation that is under way
 *
 * On the stack of the function that takes pages out of a file, from
 * memfd_invalidate_begin() to memfd_invalidate_end().
 */
struct memfd_invalidation {
	/* private: */
	struct memfd_consumers *consumers;
	struct list_head list;
	struct inode *inode;
	pgoff_t start, end;			/* to the edges of folios */
	pgoff_t exact_start, exact_end;		/* the pages that leave */
	pgoff_t touched_start, touched_end;	/* those that leave in part, too */
	pgoff_t split_start, split_end;		/* of the folio being split */
	u64 start_gen;
	enum memfd_invalidate_reason reason;
	bool ending;
};

#ifdef CONFIG_MEMFD_OPS

extern struct static_key_false_deferred memfd_ops_key;

int memfd_register_store(const struct memfd_store_ops *store);
void memfd_unregister_store(const struct memfd_store_ops *store);
void memfd_consumers_free(struct memfd_consumers *cs);

gfp_t __memfd_gfp(struct address_space *mapping, pgoff_t start, pgoff_t end,
		  gfp_t gfp);
bool __memfd_needs_longterm_migration(struct address_space *mapping,
				      pgoff_t start, struct folio *folio);
void __memfd_invalidate_begin(struct memfd_invalidation *inv,
			      struct address_space *mapping,
			      loff_t lstart, loff_t lend,
			      enum memfd_invalidate_reason reason);
void __memfd_invalidate_end(struct memfd_invalidation *inv);
void __memfd_split_begin(struct memfd_invalidation *inv, struct folio *folio);
void __memfd_split_end(struct memfd_invalidation *inv);
void __memfd_freeze_begin(struct memfd_invalidation *inv, struct folio *folio);
bool __memfd_replace_begin(struct memfd_invalidation *inv, struct folio *folio,
			   enum memfd_invalidate_reason reason);
int __memfd_invalidate_wait(struct address_space *mapping,
			    pgoff_t start, pgoff_t end);
int __memfd_populate(struct folio *folio);
int __memfd_populate_or_drop(struct folio *folio, bool newly_added);
int memfd_initialise(struct folio *folio);
bool __memfd_next_populated(struct address_space *mapping, pgoff_t *index,
			    pgoff_t end);
int __memfd_fallocate_begin(struct address_space *mapping,
			    pgoff_t start, pgoff_t end);
void __memfd_fallocate_end(struct address_space *mapping,
			   pgoff_t start, pgoff_t end, int error);
bool __memfd_young(struct folio *folio, bool clear);
void __memfd_clear_marks(struct address_space *mapping, xa_mark_t mark);
void __memfd_poison_begin(struct memfd_invalidation *inv, struct page *page);
void __memfd_poison_end(struct memfd_invalidation *inv);
void __memfd_show_fdinfo(struct seq_file *m, struct file *file);

/**
 * memfd_has_consumers - has the file any consumer?
 * @mapping: of any file
 *
 * An operation that must not run on pages which a consumer may have mapped
 * (collapse) calls this with the folio locked, or with the mapping's
 * invalidate_lock held: a consumer that registers later waits for that lock
 * before it takes a page.
 *
 * Context: any.
 * Return: true if the file has a consumer.
 */
static inline bool memfd_has_consumers(struct address_space *mapping)
{
	/* acquire: the consumers are there, see memfd_insert_consumer() */
	return static_branch_unlikely(&memfd_ops_key.key) &&
	       test_bit_acquire(AS_MEMFD_CONSUMERS, &mapping->flags);
}

/**
 * memfd_folio_has_consumers - has the file of a folio any consumer?
 * @folio: on an LRU list or isolated from one, referenced; need not be locked
 *
 * Context: any.
 * Return: true if @folio is in the page cache of a file that has a consumer.
 * Without the folio lock this may change at any time.
 */
static inline bool memfd_folio_has_consumers(struct folio *folio)
{
	struct address_space *mapping;
	bool ret;

	if (!static_branch_unlikely(&memfd_ops_key.key))
		return false;
	/* inodes are freed under RCU, after their folios have left */
	rcu_read_lock();
	mapping = READ_ONCE(folio->mapping);
	ret = mapping && !((unsigned long)mapping & PAGE_MAPPING_FLAGS) &&
	      memfd_has_consumers(mapping);
	rcu_read_unlock();
	return ret;
}

/**
 * memfd_gfp - how to allocate a folio for a file
 * @mapping: of the file
 * @start: first page that the folio is for
 * @nr: how many pages
 * @gfp: as without consumers
 *
 * Context: any but hard interrupts.
 * Return: @gfp, without __GFP_MOVABLE if a consumer may pin one of the pages.
 */
static inline gfp_t memfd_gfp(struct address_space *mapping, pgoff_t start,
			      unsigned long nr, gfp_t gfp)
{
	if (memfd_has_consumers(mapping))
		return __memfd_gfp(mapping, start, start + nr, gfp);
	return gfp;
}

/**
 * memfd_needs_longterm_migration - must a folio not enter a file where it is?
 * @mapping: of the file
 * @start: first page that the folio is for
 * @folio: not in the page cache yet
 *
 * Context: any but hard interrupts.
 * Return: true if @folio is in memory that must stay movable, and a consumer may
 * pin one of the pages.
 */
static inline bool memfd_needs_longterm_migration(struct address_space *mapping,
						  pgoff_t start,
						  struct folio *folio)
{
	return memfd_has_consumers(mapping) &&
	       __memfd_needs_longterm_migration(mapping, start, folio);
}

/**
 * memfd_invalidate_begin - pages are about to leave a file
 * @inv: on the caller's stack, until memfd_invalidate_end()
 * @mapping: of the file
 * @lstart: offset of the first byte of the range
 * @lend: offset of the last byte; -1 for the rest of the file
 * @reason: why
 *
 * On return no consumer can reach a page that lies in the range as a whole, or
 * holds a reference on one that it could reach. Consumers that pin keep the
 * other pages of folios across the edges of the range; the caller splits such a
 * folio between memfd_split_begin() and memfd_split_end(). Until
 * memfd_invalidate_end() no folio that overlaps the range is mapped or replaced.
 *
 * Context: may sleep. Folio locks may be held.
 */
static inline void memfd_invalidate_begin(struct memfd_invalidation *inv,
					  struct address_space *mapping,
					  loff_t lstart, loff_t lend,
					  enum memfd_invalidate_reason reason)
{
	inv->consumers = NULL;
	if (memfd_has_consumers(mapping))
		__memfd_invalidate_begin(inv, mapping, lstart, lend, reason);
}

/**
 * memfd_invalidate_end - the pages are gone
 * @inv: from memfd_invalidate_begin()
 *
 * On return the consumers that pin have mapped the pages that have stayed in the
 * range after all.
 *
 * Context: may sleep. No folio lock is held.
 */
static inline void memfd_invalidate_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->consumers))
		__memfd_invalidate_end(inv);
}

/**
 * memfd_split_begin - a folio across an edge of the range is about to be split
 * @inv: from memfd_invalidate_begin() or memfd_poison_begin(); NULL for a split
 *	that is not worth disturbing consumers, and fails if they pin
 * @folio: locked and referenced, until it has been split
 *
 * On return the consumers have no reference on @folio, except for one that a
 * concurrent lookup holds briefly. Those that pin keep their translations to the
 * pages that stay. Until memfd_split_end() nobody may free, move or replace a page of
 * the folio. Its lock prevents that while it lasts; after the split, when the
 * pieces are not locked any more, @inv keeps them from being replaced, and they
 * are dirty, so that reclaim does not drop them.
 *
 * Context: may sleep.
 */
static inline void memfd_split_begin(struct memfd_invalidation *inv,
				     struct folio *folio)
{
	if (inv && unlikely(inv->consumers))
		__memfd_split_begin(inv, folio);
}

/**
 * memfd_split_end - the folio has been split, or has not
 * @inv: as given to memfd_split_begin()
 *
 * The pages that stay are in the file still.
 *
 * Context: may sleep.
 */
static inline void memfd_split_end(struct memfd_invalidation *inv)
{
	if (inv && unlikely(inv->consumers))
		__memfd_split_end(inv);
}

/**
 * memfd_freeze_begin - a folio's count of references is about to be frozen
 * @inv: on the caller's stack, until memfd_freeze_end(), with NULL as @consumers
 * @folio: locked, in the page cache
 *
 * Whatever a folio is split for, the split itself calls this. A store that splits
 * has called memfd_split_begin() before. On return no consumer without references
 * can reach a page of @folio. Those that pin keep their translations; if one has a
 * reference, the count cannot be frozen.
 *
 * Context: may sleep; in reclaim, too.
 * Return: true if the file has consumers, which may have mapped pages past its end:
 * the split must not drop them.
 */
static inline bool memfd_freeze_begin(struct memfd_invalidation *inv,
				      struct folio *folio)
{
	if (!memfd_has_consumers(folio->mapping))
		return false;
	__memfd_freeze_begin(inv, folio);
	return true;
}

/**
 * memfd_freeze_end - the count is not frozen any more
 * @inv: from memfd_freeze_begin(), or with NULL as @consumers. A page of its folio
 *	is still locked and in the file, which keeps the inode
 *
 * Context: as memfd_freeze_begin().
 */
static inline void memfd_freeze_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->consumers))
		__memfd_invalidate_end(inv);
}

/**
 * memfd_replace_begin - a folio is about to be migrated or swapped out
 * @inv: on the caller's stack, until memfd_replace_end()
 * @folio: locked, in the page cache, until memfd_replace_end()
 * @reason: %MEMFD_INVALIDATE_MIGRATE or %MEMFD_INVALIDATE_SWAP_OUT. Migration
 *	fails on its own if somebody takes a reference on @folio later
 *
 * On success no consumer can reach a page of the folio.
 *
 * Context: may sleep; in reclaim, too.
 * Return: false if a consumer may pin the folio: it has to stay, and
 * the caller does not call memfd_replace_end().
 */
static inline bool memfd_replace_begin(struct memfd_invalidation *inv,
				       struct folio *folio,
				       enum memfd_invalidate_reason reason)
{
	inv->consumers = NULL;
	return !memfd_has_consumers(folio->mapping) ||
	       __memfd_replace_begin(inv, folio, reason);
}

/**
 * memfd_replace_end - the folio has been replaced, or has stayed after all
 * @inv: from memfd_replace_begin()
 *
 * Context: as memfd_replace_begin().
 */
static inline void memfd_replace_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->consumers))
		__memfd_invalidate_end(inv);
}

/**
 * memfd_populate - a folio has entered the file
 * @folio: locked, in the page cache, and just marked uptodate
 *
 * A store calls it whenever a folio of a file becomes uptodate, with the one
 * exception that &struct memfd_store_ops names.
 *
 * Context: may sleep.
 * Return: 0, or -EAGAIN if the range is being invalidated, or another error.
 * After any error the caller removes the folio between
 * memfd_invalidate_begin() and memfd_invalidate_end(). After -EAGAIN it drops
 * the folio lock, calls memfd_invalidate_wait() and starts over.
 */
static inline int memfd_populate(struct folio *folio)
{
	if (memfd_has_consumers(folio->mapping))
		return __memfd_populate(folio);
	return 0;
}

/**
 * memfd_populate_or_drop - memfd_populate(), undone if it fails
 * @folio: locked and referenced, in the page cache, and just marked uptodate
 * @newly_added: the folio is new in the file; it was not fallocated before
 *
 * On error the core has taken @folio out of the file if @newly_added, or made
 * it no longer uptodate if not, and has unlocked it and dropped a reference.
 *
 * Context: may sleep.
 * Return: 0, or -EAGAIN to start over, or another error.
 */
static inline int memfd_populate_or_drop(struct folio *folio, bool newly_added)
{
	if (memfd_has_consumers(folio->mapping))
		return __memfd_populate_or_drop(folio, newly_added);
	return 0;
}

/**
 * memfd_invalidate_wait - wait until a range is not being invalidated
 * @mapping: of the file
 * @start: first page of the range
 * @end: end of the range, exclusive
 *
 * Context: may sleep; no folio lock is held.
 * Return: 0, or -EINTR if the caller is being killed.
 */
static inline int memfd_invalidate_wait(struct address_space *mapping,
					pgoff_t start, pgoff_t end)
{
	if (memfd_has_consumers(mapping))
		return __memfd_invalidate_wait(mapping, start, end);
	return 0;
}

/**
 * memfd_next_populated - find pages that a consumer maps as they come
 * @mapping: of the file
 * @index: where to start; moved to the first such page
 * @end: where to stop
 *
 * Context: any.
 * Return: true if there is such a page before @end.
 */
static inline bool memfd_next_populated(struct address_space *mapping,
					pgoff_t *index, pgoff_t end)
{
	return memfd_has_consumers(mapping) &&
	       __memfd_next_populated(mapping, index, end);
}

/**
 * memfd_fallocate_begin - ask the consumers about a fallocate(2)
 * @mapping: of the file
 * @start: first page that fallocate(2) is to fill
 * @end: end of the range, exclusive
 *
 * Context: i_rwsem is held for writing, until memfd_fallocate_end().
 * Return: 0, or the error of the consumer that refused. The core has then
 * called @fallocate_abort of those that had accepted, and the caller does not
 * call memfd_fallocate_end().
 */
static inline int memfd_fallocate_begin(struct address_space *mapping,
					pgoff_t start, pgoff_t end)
{
	if (memfd_has_consumers(mapping))
		return __memfd_fallocate_begin(mapping, start, end);
	return 0;
}

/**
 * memfd_fallocate_end - a fallocate(2) has succeeded or failed
 * @mapping: of the file
 * @start: as given to memfd_fallocate_begin()
 * @end: as given to memfd_fallocate_begin()
 * @error: the result of fallocate(2)
 *
 * Context: i_rwsem is held for writing.
 */
static inline void memfd_fallocate_end(struct address_space *mapping,
				       pgoff_t start, pgoff_t end, int error)
{
	if (memfd_has_consumers(mapping))
		__memfd_fallocate_end(mapping, start, end, error);
}

/**
 * memfd_test_young - has a consumer accessed a folio?
 * @folio: on an LRU list or isolated from one, locked and referenced
 *
 * Context: may sleep; in reclaim, too.
 * Return: true if a consumer has accessed a page of @folio since the last
 * memfd_clear_young(). Accesses through user mappings do not count.
 */
static inline bool memfd_test_young(struct folio *folio)
{
	return memfd_folio_has_consumers(folio) && __memfd_young(folio, false);
}

/**
 * memfd_clear_young - has a consumer accessed a folio? Forget it
 * @folio: on an LRU list or isolated from one, locked and referenced
 *
 * Does not flush TLBs: if one has the translation, the next access may leave no
 * trace.
 *
 * Context: may sleep; in reclaim, too.
 * Return: as memfd_test_young().
 */
static inline bool memfd_clear_young(struct folio *folio)
{
	return memfd_folio_has_consumers(folio) && __memfd_young(folio, true);
}

/**
 * memfd_clear_marks - clear the marks of pages that only consumers hold
 * @mapping: of the file
 * @mark: set on pages that have more references than those of the page cache
 *	and of page tables
 *
 * Clears the mark of pages whose other references are all of consumers, for
 * somebody who looks for pages that are pinned otherwise. While it runs, a page
 * may keep its mark for no reason.
 *
 * Context: may sleep; i_rwsem is held for writing.
 */
static inline void memfd_clear_marks(struct address_space *mapping,
				     xa_mark_t mark)
{
	if (memfd_has_consumers(mapping))
		__memfd_clear_marks(mapping, mark);
}

/**
 * memfd_poison_begin - a page's memory has failed
 * @inv: on the caller's stack, until memfd_poison_end()
 * @page: marked PageHWPoison, with a reference held
 *
 * Invalidates the page. A consumer does not map poisoned pages again.
 *
 * Context: may sleep. Locks the folio.
 */
static inline void memfd_poison_begin(struct memfd_invalidation *inv,
				      struct page *page)
{
	inv->consumers = NULL;
	if (static_branch_unlikely(&memfd_ops_key.key))
		__memfd_poison_begin(inv, page);
}

/**
 * memfd_poison_end - memory failure has dealt with the page
 * @inv: from memfd_poison_begin()
 *
 * Context: may sleep. No folio lock is held.
 */
static inline void memfd_poison_end(struct memfd_invalidation *inv)
{
	if (unlikely(inv->consumers))
		__memfd_poison_end(inv);
}

/**
 * memfd_show_fdinfo - show the consumers of a file in /proc/PID/fdinfo
 * @m: where to print
 * @file: the file
 *
 * Prints nothing for a file without consumers. The caller of read(2) may see what
 * the process with the descriptor may see.
 *
 * Context: may sleep; no lock is held that consumers take.
 */
static inline void memfd_show_fdinfo(struct seq_file *m, struct file *file)
{
	if (memfd_has_consumers(file->f_mapping))
		__memfd_show_fdinfo(m, file);
}

#else /* !CONFIG_MEMFD_OPS */

static inline bool memfd_has_consumers(struct address_space *mapping)
{
	return false;
}

static inline bool memfd_folio_has_consumers(struct folio *folio)
{
	return false;
}

static inline gfp_t memfd_gfp(struct address_space *mapping, pgoff_t start,
			      unsigned long nr, gfp_t gfp)
{
	return gfp;
}

static inline bool memfd_needs_longterm_migration(struct address_space *mapping,
						  pgoff_t start,
						  struct folio *folio)
{
	return false;
}

static inline void memfd_invalidate_begin(struct memfd_invalidation *inv,
					  struct address_space *mapping,
					  loff_t lstart, loff_t lend,
					  enum memfd_invalidate_reason reason)
{
}

static inline void memfd_invalidate_end(struct memfd_invalidation *inv)
{
}

static inline void memfd_split_begin(struct memfd_invalidation *inv,
				     struct folio *folio)
{
}

static inline void memfd_split_end(struct memfd_invalidation *inv)
{
}

static inline bool memfd_freeze_begin(struct memfd_invalidation *inv,
				      struct folio *folio)
{
	return false;
}

static inline void memfd_freeze_end(struct memfd_invalidation *inv)
{
}

static inline bool memfd_replace_begin(struct memfd_invalidation *inv,
				       struct folio *folio,
				       enum memfd_invalidate_reason reason)
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

static inline int memfd_populate_or_drop(struct folio *folio, bool newly_added)
{
	return 0;
}

static inline int memfd_invalidate_wait(struct address_space *mapping,
					pgoff_t start, pgoff_t end)
{
	return 0;
}

static inline bool memfd_next_populated(struct address_space *mapping,
					pgoff_t *index, pgoff_t end)
{
	return false;
}

static inline int memfd_initialise(struct folio *folio)
{
	return 0;
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

static inline bool memfd_test_young(struct folio *folio)
{
	return false;
}

static inline bool memfd_clear_young(struct folio *folio)
{
	return false;
}

static inline void memfd_clear_marks(struct address_space *mapping,
				     xa_mark_t mark)
{
}

static inline void memfd_poison_begin(struct memfd_invalidation *inv,
				      struct page *page)
{
}

static inline void memfd_poison_end(struct memfd_invalidation *inv)
{
}

static inline void memfd_show_fdinfo(struct seq_file *m, struct file *file)
{
}

#endif /* CONFIG_MEMFD_OPS */
#endif /* _LINUX_MEMFD_STORE_H */
