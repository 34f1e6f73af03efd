/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memfd_ops: what core.c shares with the page-cache walks, fdinfo and debugfs
 */
#ifndef _MM_MEMFD_OPS_INTERNAL_H
#define _MM_MEMFD_OPS_INTERNAL_H

#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

/**
 * struct memfd_consumers - the consumers of one file
 *
 * A file has one from its first consumer on, until it is evicted.
 *
 * @lock: protects all below, except @wait, @store, @inode and @files; never held
 *	across a callback that may sleep
 * @tree: the consumers, by window
 * @pinning: those that pin, by window, so that reclaim finds one without a walk
 *	over all others
 * @nr: how many. AS_MEMFD_CONSUMERS of the mapping is set while it is not 0
 * @nr_pinning: how many of them pin; read without @lock where a folio lock or
 *	i_rwsem orders it, see memfd_insert_consumer()
 * @nr_vetoing: how many of those have a veto; read as @nr_pinning
 * @nr_aging: how many consumers have @young; a hint without @lock
 * @generation: counts registrations and invalidations, and so orders them
 * @invalidations: those under way. One is on the list from before the first
 *	callback runs until after the last one; while pages leave, no consumer
 *	maps anything in its range
 * @reads: the lookups under way, of all consumers
 * @prepared: consumers that accepted the fallocate(2) under way, last first
 * @wait: for the end of an invalidation, or of a consumer's callbacks
 * @nr_drops: counts up before consumers drop references; not under @lock
 * @nr_invalidations: how many there have been, by reason, for debugfs
 * @store: where the pages come from
 * @inode: the file
 * @files: in memfd_files, under memfd_files_lock
 * @serial: the place in that list, in ascending order; for debugfs
 */
struct memfd_consumers {
	spinlock_t lock;	/* see above */
	struct rb_root_cached tree;
	struct rb_root_cached pinning;
	unsigned int nr, nr_pinning, nr_vetoing, nr_aging;
	u64 generation;
	struct list_head invalidations;
	struct list_head reads;
	struct list_head prepared;
	wait_queue_head_t wait;
	atomic_t nr_drops;
	unsigned long nr_invalidations[MEMFD_NR_INVALIDATE_REASONS];
	const struct memfd_store_ops *store;
	struct inode *inode;
	struct list_head files;
	u64 serial;
};

extern struct list_head memfd_files;
extern struct mutex memfd_files_lock;

extern const struct memfd_pfn_ops memfd_filemap_pfn_ops;

/*
 * Does the consumer hold references on the folios that it has mapped? Consumers
 * with @populate do, see &struct memfd_falloc_notifier_ops.
 */
static inline bool consumer_pins(const struct memfd_falloc_notifier *mn)
{
	return mn->ops->populate;
}

static inline struct memfd_falloc_notifier *
to_consumer(struct interval_tree_node *node)
{
	return node ? container_of(node, struct memfd_falloc_notifier, window) :
		      NULL;
}

/* Consumers whose window overlaps [start, end), by the start of their window */
static inline struct memfd_falloc_notifier *
first_consumer(struct memfd_consumers *cs, pgoff_t start, pgoff_t end)
{
	return to_consumer(interval_tree_iter_first(&cs->tree, start, end - 1));
}

static inline struct memfd_falloc_notifier *
next_consumer(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end)
{
	return to_consumer(interval_tree_iter_next(&mn->window, start, end - 1));
}

/*
 * Is the folio that was found at @index of @mapping still there? It may have
 * been freed, and reused, before the reference was taken.
 */
static inline bool memfd_folio_is_at(struct folio *folio,
				     struct address_space *mapping,
				     pgoff_t index)
{
	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	return folio->mapping == mapping &&
	       index - folio->index < folio_nr_pages(folio);
}

/* Is the folio in memory that must stay movable, and so must not be pinned? */
static inline bool needs_longterm_migration(struct folio *folio)
{
	if (!IS_ENABLED(CONFIG_CMA) && likely(!folio_is_zone_movable(folio)))
		return false;
	return !folio_is_longterm_pinnable(folio);
}

bool memfd_invalidating(struct memfd_consumers *cs, pgoff_t start, pgoff_t end);

struct memfd_consumers *memfd_consumers(struct address_space *mapping);
bool memfd_get_consumer(struct memfd_consumers *cs,
			struct memfd_falloc_notifier *mn);
void memfd_put_consumer(struct memfd_consumers *cs,
			struct memfd_falloc_notifier *mn);
struct memfd_falloc_notifier *
memfd_next_consumer(struct memfd_consumers *cs,
		    struct memfd_falloc_notifier *prev,
		    pgoff_t start, pgoff_t end, u64 gen);

/* Leave the loop early with memfd_put_consumer() */
#define for_each_consumer(cs, mn, start, end, gen)			\
	for (mn = memfd_next_consumer(cs, NULL, start, end, gen); mn;	\
	     mn = memfd_next_consumer(cs, mn, start, end, gen))

bool memfd_next_present(struct address_space *mapping,
			pgoff_t *start, pgoff_t *end);

#endif /* _MM_MEMFD_OPS_INTERNAL_H */
