// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: mirrors, windows of memfds kept in an iommu_domain
 *
 * A mirror is a consumer of memfd_ops. It maps the folios that its window has
 * and those that enter it, and unmaps them before they leave. An interval tree
 * records the mapped pages, as runs of file pages:
 *
 * - A page is mapped if and only if it is in a run. Runs do not touch.
 * - The mirror holds one reference for each page of a run, and drops it after
 *   the IOTLB flush. So no page is freed that the device can reach, and no
 *   folio of a run is migrated, collapsed, split or swapped out. While the core
 *   has such a folio split, the references are gone for that time alone, and
 *   nothing is revoked: see @nr_unpinned.
 * - Therefore the page cache has that very page at that index, until the core
 *   calls mirror_invalidate_page_range(): that is how the folios of a run are
 *   found again. If a page ever leaves without an invalidation (a bug), the
 *   domain's page table still leads to it, see revoke_unnotified().
 *
 * The mirror revokes just the pages that leave. If a large entry of the page
 * table reaches across an edge of them, iommu_cut() first replaces the entry by a
 * table, while the device goes on. A domain that cannot do that gets entries of
 * one page. An entry larger than a page is always one of PMD_SIZE, of a folio of
 * that size; it can outlive the folio, since a split moves no page.
 *
 * One iommu_map() covers several pages that are no such entry only if they are
 * fewer than the next larger entry has, and if the driver can unmap a part of
 * what one call mapped, see max_batch(). If it can, one iommu_unmap_fast() covers
 * many runs, and also frees a table of which no page is left, see unmap_runs().
 */
#define pr_fmt(fmt) "iommu_memfd: " fmt

#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/memfd_ops.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "../iommu-pages.h"
#include "internal.h"

/**
 * struct iommu_memfd - a mirror
 * @mn: the consumer; its window is in pages of the file
 * @imd: the IOVA space
 * @iovas: the IOVA range, in @imd's tree
 * @prot: IOMMU_READ, IOMMU_WRITE and IOMMU_CACHE
 * @must_complete: iommu_memfd_map() fails if a page cannot be mapped
 * @event: signalled when pages are missed; NULL for no event
 * @large_entries: the page table may have entries of PMD_SIZE
 * @max_batch: how many pages one iommu_map() may cover otherwise
 * @lock: protects all below; taken in the consumer's callbacks
 * @account: the pages of @runs; of nobody, if another mirror accounts for them
 * @runs: the mapped pages of the file
 * @total_mapped: how many; read without @lock for fdinfo
 * @prealloc_node: for a run that is split; there whenever something is revoked
 * @nr_unpinned: folios that are being split, on whose pages the mirror has no
 *	references; meanwhile nothing is revoked
 * @nr_revoking: how many wait for that; meanwhile no folio begins to be split
 * @wait: for one of these two to become 0
 * @filler: the thread in which the owner maps all pages of the file. Those that
 *	enter the file in that thread, and cannot be mapped, are left to fill():
 *	they are neither refused nor missed
 * @filled: all pages that the file had at registration have been looked up; not
 *	under @lock
 * @closing: nothing may be mapped any more
 * @unmap_failed: the IOMMU driver did not unmap all that it was asked to. Since
 *	the device may still reach those pages, no reference is dropped any more
 */
struct iommu_memfd {
	struct memfd_falloc_notifier mn;
	struct iommu_memfd_domain *imd;
	struct interval_tree_node iovas;
	int prot;
	bool must_complete, large_entries;
	pgoff_t max_batch;
	struct iommu_memfd_event *event;
	struct mutex lock;	/* see above */
	struct iommu_memfd_account account;
	struct rb_root_cached runs;
	unsigned long total_mapped;
	struct interval_tree_node *prealloc_node;
	unsigned int nr_unpinned, nr_revoking;
	wait_queue_head_t wait;
	struct task_struct *filler;
	bool filled, closing, unmap_failed;
};

/* Pages in an entry of PMD_SIZE, and entries in the table that can replace it */
#define PAGES_PER_BLOCK	(PMD_SIZE / PAGE_SIZE)

/* How many pages to unmap, at least, between two chances to schedule */
#define UNMAP_PAGES	65536

/* How often to flush a part of the IOTLB before flushing all of it costs less */
#define MAX_FLUSHES	32

/* How many pages to look up at a time where there are any */
#define FILL_PAGES	512

static struct iommu_memfd *to_mirror(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct iommu_memfd, mn);
}

static unsigned long index_to_iova(struct iommu_memfd *im, pgoff_t index)
{
	return im->iovas.start +
	       ((index - memfd_window_start(&im->mn)) << PAGE_SHIFT);
}

static pgoff_t iova_to_index(struct iommu_memfd *im, unsigned long iova)
{
	return memfd_window_start(&im->mn) +
	       ((iova - im->iovas.start) >> PAGE_SHIFT);
}

/*
 * The block of the page at @index in the page table, as far as it lies in the
 * window: [block_start(), block_end())
 */
static pgoff_t block_start(struct iommu_memfd *im, pgoff_t index)
{
	unsigned long iova = round_down(index_to_iova(im, index), PMD_SIZE);

	return iova_to_index(im, max(iova, im->iovas.start));
}

static pgoff_t block_end(struct iommu_memfd *im, pgoff_t index)
{
	unsigned long last = index_to_iova(im, index) | (PMD_SIZE - 1);

	return iova_to_index(im, min(last, im->iovas.last)) + 1;
}

/* The part of a folio that lies in the window: [folio_start(), folio_end()) */
static pgoff_t folio_start(struct iommu_memfd *im, struct folio *folio)
{
	return max(folio->index, memfd_window_start(&im->mn));
}

static pgoff_t folio_end(struct iommu_memfd *im, struct folio *folio)
{
	return min(folio_next_index(folio), memfd_window_end(&im->mn));
}

/*
 * Runs
 */

static struct interval_tree_node *alloc_run(gfp_t gfp)
{
	return kmalloc(sizeof(struct interval_tree_node), gfp);
}

/* Preallocate the node for the next split, or free it */
static void put_run(struct iommu_memfd *im, struct interval_tree_node *run)
{
	lockdep_assert_held(&im->lock);
	if (!im->prealloc_node)
		im->prealloc_node = run;
	else
		kfree(run);
}

static void insert_run(struct iommu_memfd *im, struct interval_tree_node *run,
		       pgoff_t start, pgoff_t end)
{
	run->start = start;
	run->last = end - 1;
	interval_tree_insert(run, &im->runs);
}

static struct interval_tree_node *first_run(struct iommu_memfd *im,
					    pgoff_t start, pgoff_t end)
{
	return interval_tree_iter_first(&im->runs, start, end - 1);
}

static pgoff_t nr_mapped(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *run;
	pgoff_t nr = 0;

	lockdep_assert_held(&im->lock);
	for (run = first_run(im, start, end); run;
	     run = interval_tree_iter_next(run, start, end - 1))
		nr += min(end, run->last + 1) - max(start, run->start);
	return nr;
}

/* The run that ends at @start, or a new node that starts there; NULL without memory */
static struct interval_tree_node *run_to_extend(struct iommu_memfd *im,
						pgoff_t start, gfp_t gfp)
{
	struct interval_tree_node *run = NULL;

	lockdep_assert_held(&im->lock);
	if (start)
		run = first_run(im, start - 1, start);
	if (run)
		return run;
	run = alloc_run(gfp);
	if (run)
		run->start = start;
	return run;
}

/*
 * Record that [start, end) is mapped. @run is the run that ends at @start, or a
 * new node.
 */
static void add_to_run(struct iommu_memfd *im, struct interval_tree_node *run,
		       pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *next = first_run(im, end, end + 1);

	WRITE_ONCE(im->total_mapped, im->total_mapped + end - start);
	if (run->start < start) {
		start = run->start;
		interval_tree_remove(run, &im->runs);
	}
	if (next) {
		end = next->last + 1;
		interval_tree_remove(next, &im->runs);
		put_run(im, next);
	}
	insert_run(im, run, start, end);
}

/* Make a run that contains more on both sides of [start, end) end at @end. */
static void split_run(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *run = first_run(im, start, start + 1);
	pgoff_t run_end;

	if (!run || run->start == start || run->last < end)
		return;
	run_end = run->last + 1;
	interval_tree_remove(run, &im->runs);
	insert_run(im, run, run->start, end);
	insert_run(im, im->prealloc_node, end, run_end);
	im->prealloc_node = NULL;
}

/* Take [start, end) out of the first run there. Returns the end of what it had. */
static pgoff_t take_from_run(struct iommu_memfd *im,
			     struct interval_tree_node *run,
			     pgoff_t start, pgoff_t end)
{
	pgoff_t run_end = run->last + 1;

	WRITE_ONCE(im->total_mapped,
		   im->total_mapped - (min(end, run_end) - start));
	interval_tree_remove(run, &im->runs);
	if (run->start < start)
		insert_run(im, run, run->start, start);
	else if (run_end > end)
		insert_run(im, run, end, run_end);
	else
		put_run(im, run);
	return min(end, run_end);
}

/* Give up the mirror's lock until @condition holds */
#define wait_unlocked(im, condition)					\
	wait_event_cmd((im)->wait, condition, mutex_unlock(&(im)->lock),	\
		       mutex_lock(&(im)->lock))

/*
 * Lock the mirror to revoke something: while it has all its references, and with
 * the node that a split of a run may need. Folios are split one after the other
 * without end while somebody punches holes; so splits that are to come wait for the
 * caller.
 */
static void lock_to_revoke(struct iommu_memfd *im)
{
	struct interval_tree_node *run = NULL;

	if (!READ_ONCE(im->prealloc_node))
		run = alloc_run(GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	mutex_lock(&im->lock);
	im->nr_revoking++;
	wait_unlocked(im, !im->nr_unpinned);
	while (!im->prealloc_node && !run) {
		mutex_unlock(&im->lock);
		run = alloc_run(GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
		mutex_lock(&im->lock);
	}
	if (run)
		put_run(im, run);
	if (!--im->nr_revoking)
		wake_up_all(&im->wait);
}

/*
 * Mapping
 */

/*
 * How many pages may one iommu_map() cover? Fewer than one entry of the next larger
 * size, so that no two pages share an entry. One, if the driver cannot unmap a part
 * of what one call mapped.
 */
static pgoff_t max_batch(const struct iommu_domain *domain)
{
	unsigned long larger = domain->pgsize_bitmap & PAGE_MASK & ~PAGE_SIZE;
	unsigned int shift = larger ? __ffs(larger) : BITS_PER_LONG - 1;

	if (!domain->ops->unmaps_any_page)
		return 1;
	return (1UL << (shift - PAGE_SHIFT)) - 1;
}

/* Compare the bytes that the driver reports as unmapped with those of @nr pages */
static void check_unmapped(struct iommu_memfd *im, pgoff_t nr, size_t unmapped)
{
	if (likely(unmapped >> PAGE_SHIFT == nr))
		return;
	pr_err_ratelimited("IOMMU driver unmapped %zu bytes of %lu pages: leaking the memory\n",
			   unmapped, nr);
	im->unmap_failed = true;
	im->closing = true;
}

/*
 * iommu_map() has failed. A driver may leave in place the part that it had mapped,
 * as VT-d does if it cannot allocate a page table. No run covers that part: unmap
 * it. If that fails, leak the folios.
 */
static noinline void undo_map(struct iommu_memfd *im, unsigned long iova, size_t size)
{
	struct iommu_domain *domain = im->imd->domain;
	unsigned long end = iova + size;
	phys_addr_t phys;
	size_t unmapped;

	for (; iova < end; iova += max(unmapped, PAGE_SIZE)) {
		unmapped = 0;
		phys = iommu_iova_to_phys(domain, iova);
		if (!phys)
			continue;
		unmapped = iommu_unmap(domain, iova, PAGE_SIZE);
		if (unmapped)
			continue;
		check_unmapped(im, 1, 0);
		folio_get(pfn_folio(PHYS_PFN(phys)));
	}
}

/* Are these the pages of a large entry? */
static bool is_large_entry(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
			   unsigned long pfn)
{
	return im->large_entries && end - start == PAGES_PER_BLOCK &&
	       IS_ALIGNED(pfn, PAGES_PER_BLOCK) &&
	       IS_ALIGNED(index_to_iova(im, start), PMD_SIZE);
}

/* Inline, as it is called for every iommu_map() */
static __always_inline int map_pages(struct iommu_memfd *im, pgoff_t start,
				     pgoff_t end, unsigned long pfn, gfp_t gfp)
{
	size_t size = (end - start) << PAGE_SHIFT;
	int error;

	error = iommu_memfd_charge(&im->account, end - start);
	if (error)
		return error;
	error = iommu_map(im->imd->domain, index_to_iova(im, start),
			  PFN_PHYS(pfn), size, im->prot, gfp);
	if (unlikely(error)) {
		undo_map(im, index_to_iova(im, start), size);
		iommu_memfd_uncharge(&im->account, end - start);
	}
	return error;
}

/* Map pages of one folio, by a large entry or in batches */
static int map_folio_pages(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
			   unsigned long pfn, gfp_t gfp)
{
	pgoff_t s, e;
	int error;

	if (is_large_entry(im, start, end, pfn))
		return map_pages(im, start, end, pfn, gfp);
	for (s = start; s < end; s = e) {
		e = s + min(end - s, im->max_batch);
		error = map_pages(im, s, e, pfn + s - start, gfp);
		if (!error)
			continue;
		undo_map(im, index_to_iova(im, start), (s - start) << PAGE_SHIFT);
		iommu_memfd_uncharge(&im->account, s - start);
		return error;
	}
	return 0;
}

/* Map a part of a folio that is not mapped yet, of which the caller has a reference */
static int map_part(struct iommu_memfd *im, struct folio *folio, pgoff_t start,
		    pgoff_t end, gfp_t gfp)
{
	struct interval_tree_node *run;
	int error;

	run = run_to_extend(im, start, gfp);
	if (!run)
		return -ENOMEM;
	error = map_folio_pages(im, start, end,
				folio_pfn(folio) + start - folio->index, gfp);
	if (error) {
		if (run->start == start)
			put_run(im, run);
		return error;
	}
	/* first the references: mirror_nr_pinned() counts pages of runs */
	folio_ref_add(folio, end - start);
	add_to_run(im, run, start, end);
	return 0;
}

/* Map the rest of a folio that is mapped in part */
static int map_gaps(struct iommu_memfd *im, struct folio *folio, gfp_t gfp)
{
	pgoff_t start = folio_start(im, folio), end = folio_end(im, folio);
	struct interval_tree_node *run;
	pgoff_t gap_end, next;
	int error = 0;

	for (; start < end && !error; start = next) {
		run = first_run(im, start, end);
		gap_end = run ? max(run->start, start) : end;
		next = run ? run->last + 1 : end;
		if (start < gap_end)
			error = map_part(im, folio, start, gap_end, gfp);
	}
	return error;
}

/**
 * struct map_batch - folios to map, in ascending order
 * @folios: the next one; a folio that has been mapped is taken off the front, and
 *	the mirror takes over the caller's reference on it, for one of its pages
 * @folios_end: end of the folios; none is left if @folios equals it
 * @start: the next page to map, of the first folio
 * @pfn: of that page
 * @limit: where the next run starts
 * @gfp: for runs and page tables
 */
struct map_batch {
	struct folio **folios, **folios_end;
	pgoff_t start, limit;
	unsigned long pfn;
	gfp_t gfp;
};

/*
 * Set @start, @pfn and @limit of a batch for its first folio. Returns false if a
 * page of the folio is mapped already.
 */
static bool find_room(struct iommu_memfd *im, struct map_batch *b)
{
	struct folio *folio = b->folios[0];
	struct interval_tree_node *next;

	b->start = folio_start(im, folio);
	b->pfn = folio_pfn(folio) + b->start - folio->index;
	next = first_run(im, b->start, ULONG_MAX);
	b->limit = next ? next->start : ULONG_MAX;
	return folio_end(im, folio) <= b->limit;
}

/*
 * Map with one call the first, small folio of a batch, and those that follow without
 * a gap both in the file and in memory, as far as @max_batch allows.
 */
static int map_contiguous(struct iommu_memfd *im, struct map_batch *b)
{
	pgoff_t limit = min(b->limit, b->start + im->max_batch);
	pgoff_t end = folio_next_index(b->folios[0]);
	struct folio **next = b->folios + 1;
	unsigned long pfn = b->pfn;
	int error;

	for (; next < b->folios_end && (*next)->index == end; next++) {
		/* if the loop ends here, the next call starts with this folio */
		b->pfn = folio_pfn(*next);
		if (b->pfn != pfn + end - b->start ||
		    folio_next_index(*next) > limit)
			break;
		end = folio_next_index(*next);
	}
	error = map_pages(im, b->start, end, pfn, b->gfp);
	if (error)
		return error;
	b->folios = next;
	b->start = end;
	return 0;
}

/* Map a large folio, which is alone in its batch */
static int map_large(struct iommu_memfd *im, struct map_batch *b)
{
	struct folio *folio = b->folios[0];
	pgoff_t end = folio_end(im, folio);
	int error;

	error = map_folio_pages(im, b->start, end, b->pfn, b->gfp);
	if (error)
		return error;
	folio_ref_add(folio, end - b->start - 1);
	b->folios++;
	b->start = end;
	return 0;
}

/*
 * Map the first folio of a batch, for which find_room() has found room, and those
 * that follow it without a gap in the file: all become one run, or part of one.
 */
static int map_run(struct iommu_memfd *im, struct map_batch *batch)
{
	struct map_batch b = *batch;	/* a local copy can stay in registers */
	struct interval_tree_node *run;
	pgoff_t start = b.start;
	int error;

	run = run_to_extend(im, start, b.gfp);
	if (!run)
		return -ENOMEM;

	do {
		error = folio_test_large(b.folios[0]) ? map_large(im, &b) :
							map_contiguous(im, &b);
	} while (!error && b.folios < b.folios_end &&
		 b.folios[0]->index == b.start && b.start < b.limit);

	if (b.start > start)
		add_to_run(im, run, start, b.start);
	else if (run->start == start)
		put_run(im, run);
	*batch = b;
	return error;
}

/*
 * The mirror lacks pages of a folio because of @error: count them in @nr_lacking, or
 * as missed if it is NULL
 */
static void lack(struct iommu_memfd *im, struct folio *folio, int error,
		 pgoff_t *nr_lacking)
{
	pgoff_t start = folio_start(im, folio), end = folio_end(im, folio);

	if (nr_lacking)
		*nr_lacking += end - start - nr_mapped(im, start, end);
	else
		memfd_missed(&im->mn, start, end, error);
}

/*
 * Map the folios that are not mapped yet, and empty the batch. Returns the first
 * error if it @may_fail; otherwise goes on, and lack() counts the pages.
 */
static int map_folios(struct iommu_memfd *im, struct folio_batch *fbatch,
		      bool may_fail, pgoff_t *nr_lacking)
{
	struct map_batch b = {
		.folios = fbatch->folios,
		.folios_end = fbatch->folios + folio_batch_count(fbatch),
		.gfp = GFP_KERNEL_ACCOUNT,
	};
	int error = 0;

	while (b.folios < b.folios_end) {
		if (!error || !may_fail) {
			if (find_room(im, &b)) {
				error = map_run(im, &b);
				if (!error)
					continue;
			} else {
				error = map_gaps(im, b.folios[0], b.gfp);
			}
		}
		if (error && !may_fail)
			lack(im, b.folios[0], error, nr_lacking);
		folio_put(*b.folios++);
	}
	folio_batch_reinit(fbatch);
	return may_fail ? error : 0;
}

/*
 * An invalidation that ends before the first fill() is over finds folios that are
 * still to be migrated: they are left to that.
 */
static void leave_unmigrated(struct folio_batch *fbatch)
{
	unsigned int i, nr = 0;

	for (i = 0; i < folio_batch_count(fbatch); i++) {
		if (folio_is_longterm_pinnable(fbatch->folios[i]))
			fbatch->folios[nr++] = fbatch->folios[i];
		else
			folio_put(fbatch->folios[i]);
	}
	fbatch->nr = nr;
}

/* Map what a lookup has found, unless that has to start over: -EAGAIN */
static int map_found(struct iommu_memfd *im, const struct memfd_read *read,
		     struct folio_batch *fbatch, bool may_fail,
		     pgoff_t *nr_lacking)
{
	int error = 0;

	mutex_lock(&im->lock);
	if (memfd_read_retry(read))
		error = -EAGAIN;
	else if (!im->closing)
		error = map_folios(im, fbatch, may_fail, nr_lacking);
	mutex_unlock(&im->lock);
	folio_batch_release(fbatch);
	return error;
}

/*
 * Map the pages of [start, end) that the file has and that are not mapped yet. For a
 * @user, it also prepares the pages, and fails after a signal, or at the first error
 * if the mirror has to be complete. Otherwise, what cannot be mapped is missed.
 * @nr_lacking as for lack().
 */
static int fill(struct iommu_memfd *im, pgoff_t start, pgoff_t end, bool user,
		pgoff_t *nr_lacking)
{
	pgoff_t next, stop, prepared = user ? start : end, span = FILL_PAGES;
	struct memfd_falloc_notifier *mn = &im->mn;
	struct folio_batch fbatch;
	struct memfd_read read;
	bool may_fail = user && im->must_complete && !nr_lacking;
	unsigned int flags;
	int error = 0;

	folio_batch_init(&fbatch);
	while (start < end && !error && !READ_ONCE(im->closing)) {
		flags = start < prepared ? 0 : MEMFD_PFN_FILL;
		next = start;
		stop = start + min(span, (flags ? end : prepared) - start);
		error = memfd_read_begin(mn, &read, start, stop);
		if (error) {
			if (!user)
				memfd_missed(mn, start, stop, error);
			break;
		}
		mn->pfn_ops->get_folios(mn, &next, stop, flags, &fbatch);
		if (!user && !READ_ONCE(im->filled))
			leave_unmigrated(&fbatch);
		/* where there is nothing, look further the next time */
		span = min(16 * span, ULONG_MAX / 32);
		if (folio_batch_count(&fbatch)) {
			error = map_found(im, &read, &fbatch, may_fail, nr_lacking);
			span = FILL_PAGES;
		}
		memfd_read_end(mn, &read);

		if (error == -EAGAIN) {
			error = 0;
		} else if (next > start) {
			start = next;
		} else {
			/* not longer than a lookup would be */
			next = flags ? start + min(FILL_PAGES, end - start) : start + 1;
			error = mn->pfn_ops->prepare_folios(mn, start, next, flags);
			prepared = max(prepared, next);
			span = FILL_PAGES;
		}
		if (user && fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	/* a page of the window has left the file unnoticed: nothing is mapped any more */
	return user && READ_ONCE(im->closing) ? -EIO : error;
}

/*
 * Revoking
 */

/* Tell the owner of the domain that [start, end) is about to be unmapped */
static void announce(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct iommu_memfd_domain *imd = im->imd;

	if (imd->revoke)
		imd->revoke(imd, index_to_iova(im, start),
			    (u64)(end - start) << PAGE_SHIFT);
}

/*
 * If a large entry of the page table reaches across @index, make smaller ones of it.
 * Returns false if the driver could not, though it had said that it can.
 */
static bool cut(struct iommu_memfd *im, pgoff_t index)
{
	struct interval_tree_node *run;

	if (!im->large_entries || index == memfd_window_start(&im->mn))
		return true;
	run = first_run(im, index - 1, index);
	if (!run || run->last < index)
		return true;
	return !WARN_ON_ONCE(iommu_cut(im->imd->domain, index_to_iova(im, index),
				       GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
}

/*
 * Page @start is in a run, but has left the file without an invalidation: find
 * its folio by the page table, unmap and release it. Returns the number of pages
 * unmapped, none of them at or behind @end.
 */
static pgoff_t revoke_unnotified(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct iommu_domain *domain = im->imd->domain;
	phys_addr_t phys = iommu_iova_to_phys(domain, index_to_iova(im, start));
	struct folio *folio;
	pgoff_t nr;

	if (WARN_ON_ONCE(!phys))
		return 1;
	folio = pfn_folio(PHYS_PFN(phys));
	nr = folio_nr_pages(folio) - (PHYS_PFN(phys) - folio_pfn(folio));
	nr = min(nr, end - start);
	if (!cut(im, start + nr)) {
		nr = min(block_end(im, start), end) - start;
		im->unmap_failed = true;
	}
	check_unmapped(im, nr, iommu_unmap(domain, index_to_iova(im, start),
					   nr << PAGE_SHIFT));
	if (im->prot & IOMMU_WRITE)
		folio_mark_dirty(folio);
	if (!im->unmap_failed && !im->nr_unpinned)
		folio_put_refs(folio, nr);
	return nr;
}

/*
 * A page has left the file and is mapped still. So the page cache no longer leads
 * to the mapped folios; the page table does. Revoke everything by the page table,
 * and map nothing any more.
 */
static void revoke_all_unnotified(struct iommu_memfd *im)
{
	struct interval_tree_node *run;
	pgoff_t index, end;

	lockdep_assert_held(&im->lock);
	pr_err("a page left its file without an invalidation: unmapping the whole window\n");
	im->closing = true;
	announce(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn));
	while ((run = first_run(im, 0, ULONG_MAX))) {
		end = run->last + 1;
		for (index = run->start; index < end;)
			index += revoke_unnotified(im, index, end);
		iommu_memfd_uncharge(&im->account, end - run->start);
		take_from_run(im, run, run->start, end);
	}
}

/* Announce the runs of [start, end). Returns false if the file lacks a page of them. */
static bool announce_runs(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct memfd_falloc_notifier *mn = &im->mn;
	struct interval_tree_node *run;
	pgoff_t s, e;

	for (run = first_run(im, start, end); run;
	     run = interval_tree_iter_next(run, start, end - 1)) {
		s = max(start, run->start);
		e = min(end, run->last + 1);
		announce(im, s, e);
		if (mn->pfn_ops->find_hole(mn, s, e) != e)
			return false;
		cond_resched();
	}
	return true;
}

/* Unmap [start, end), see unmap_runs(), in pieces that are not too long. */
static void unmap_stretch(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
			  struct iommu_iotlb_gather *gather)
{
	pgoff_t nr;

	for (; start < end; start += nr) {
		/* large entries end at the ends of blocks */
		nr = min(end, block_end(im, start + UNMAP_PAGES - 1)) - start;
		check_unmapped(im, nr, iommu_unmap_fast(im->imd->domain,
							index_to_iova(im, start),
							nr << PAGE_SHIFT, gather));
		cond_resched();
	}
}

/*
 * The end of the pages to unmap together with a run that ends at @end: behind it,
 * if no page of its block is left, at the end of the block; and the same at the
 * other side. The driver frees the table of a block that is unmapped as a whole.
 */
static pgoff_t widen_end(struct iommu_memfd *im, pgoff_t end)
{
	pgoff_t block = block_end(im, end - 1);

	return block == end || first_run(im, end, block) ? end : block;
}

static pgoff_t widen_start(struct iommu_memfd *im, pgoff_t start)
{
	pgoff_t block = block_start(im, start);

	return block == start || first_run(im, block, start) ? start : block;
}

/*
 * Unmap @run and the runs after it in [start, end) that one call may cover. It may
 * if the driver can unmap any page, and if each block from the first run to the
 * last has a page that is mapped: VT-d unmaps more than it is asked to if it finds
 * no table at the start. Returns the next run.
 */
static struct interval_tree_node *
unmap_joined(struct iommu_memfd *im, struct interval_tree_node *run,
	     pgoff_t start, pgoff_t end, struct iommu_iotlb_gather *gather)
{
	bool join = im->imd->domain->ops->unmaps_any_page;
	pgoff_t s = max(start, run->start), e;
	struct interval_tree_node *next = run;

	do {
		e = min(end, next->last + 1);
		next = interval_tree_iter_next(next, start, end - 1);
		cond_resched();
	} while (join && next &&
		 block_start(im, next->start) <= block_end(im, e - 1));
	if (join) {
		s = widen_start(im, s);
		e = widen_end(im, e);
	}
	unmap_stretch(im, s, e, gather);
	return next;
}

/*
 * Unmap the runs of [start, end), and flush the IOTLB: for each call, as far as the
 * ranges do not follow each other; all of it after many calls.
 */
static void unmap_runs(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *run = first_run(im, start, end);
	struct iommu_domain *domain = im->imd->domain;
	struct iommu_iotlb_gather gather;
	unsigned int calls = 0;

	iommu_iotlb_gather_init(&gather);
	while (run) {
		run = unmap_joined(im, run, start, end, &gather);
		if (++calls == MAX_FLUSHES && domain->ops->flush_iotlb_all) {
			iommu_iotlb_sync(domain, &gather);
			gather.queued = true;
		}
	}
	if (gather.queued) {
		iommu_flush_iotlb_all(domain);
		iommu_put_pages_list(&gather.freelist);
	} else {
		iommu_iotlb_sync(domain, &gather);
	}
}

/* [start, end) has been unmapped and flushed: release the pages of its runs */
static void release_runs(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct memfd_falloc_notifier *mn = &im->mn;
	struct interval_tree_node *run;
	pgoff_t s, e;

	while ((run = first_run(im, start, end))) {
		s = max(start, run->start);
		/* before the references: see mirror_nr_pinned() */
		e = take_from_run(im, run, s, end);
		iommu_memfd_uncharge(&im->account, e - s);
		/* the device writes without a fault that would mark the folio dirty */
		if (!im->unmap_failed)
			mn->pfn_ops->put_folios(mn, s, e, im->prot & IOMMU_WRITE);
		cond_resched();
	}
}

/* Take the translations of [start, end) away from the device, see lock_to_revoke() */
static void revoke(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	pgoff_t s = start, e = end;

	lockdep_assert_held(&im->lock);
	if (!cut(im, start))
		start = block_start(im, start);
	if (end < memfd_window_end(&im->mn) && !cut(im, end))
		end = block_end(im, end);
	if (start < s || e < end)
		memfd_missed(&im->mn, start, end, -EOPNOTSUPP);
	split_run(im, start, end);
	if (!first_run(im, start, end))
		return;
	if (!announce_runs(im, start, end)) {
		revoke_all_unnotified(im);
		return;
	}
	unmap_runs(im, start, end);
	release_runs(im, start, end);
}

/*
 * The consumer's callbacks
 */

static void mirror_invalidate_page_range(struct memfd_falloc_notifier *mn,
					 pgoff_t start, pgoff_t end)
{
	struct iommu_memfd *im = to_mirror(mn);

	lock_to_revoke(im);
	revoke(im, start, end);
	mutex_unlock(&im->lock);
}

static void mirror_invalidate_end(struct memfd_falloc_notifier *mn,
				  pgoff_t start, pgoff_t end)
{
	fill(to_mirror(mn), start, end, false, NULL);
}

static int map_entering(struct iommu_memfd *im, struct folio *folio)
{
	pgoff_t start = folio_start(im, folio), end = folio_end(im, folio);

	if (first_run(im, start, end)) {
		revoke_all_unnotified(im);
		return -EEXIST;
	}
	return map_part(im, folio, start, end, GFP_KERNEL_ACCOUNT);
}

static int mirror_populate(struct memfd_falloc_notifier *mn,
			   struct folio *folio, const struct memfd_read *read)
{
	struct iommu_memfd *im = to_mirror(mn);
	int error = 0;

	/* somebody may be unmapping a large window */
	if (mutex_lock_killable(&im->lock))
		return -EINTR;
	if (memfd_read_retry(read))
		error = -EAGAIN;
	else if (!im->closing)
		error = map_entering(im, folio);
	if (error != -EAGAIN && im->filler == current)
		error = 0;
	mutex_unlock(&im->lock);
	return error;
}

static void mirror_missed(struct memfd_falloc_notifier *mn)
{
	struct iommu_memfd_event *event = to_mirror(mn)->event;

	if (!event)
		return;
	spin_lock(&event->lock);
	if (event->ctx)
		eventfd_signal(event->ctx);
	spin_unlock(&event->lock);
}

static void mirror_unpin(struct memfd_falloc_notifier *mn,
			 pgoff_t start, pgoff_t end)
{
	struct iommu_memfd *im = to_mirror(mn);
	struct interval_tree_node *run;

	mutex_lock(&im->lock);
	wait_unlocked(im, !im->nr_revoking);
	im->nr_unpinned++;
	for (run = first_run(im, start, end); run;
	     run = interval_tree_iter_next(run, start, end - 1))
		mn->pfn_ops->put_folios(mn, max(start, run->start),
					min(end, run->last + 1), false);
	mutex_unlock(&im->lock);
}

static void mirror_repin(struct memfd_falloc_notifier *mn,
			 pgoff_t start, pgoff_t end)
{
	struct iommu_memfd *im = to_mirror(mn);
	struct interval_tree_node *run;

	mutex_lock(&im->lock);
	for (run = first_run(im, start, end); run;
	     run = interval_tree_iter_next(run, start, end - 1))
		mn->pfn_ops->hold_folios(mn, max(start, run->start),
					 min(end, run->last + 1));
	if (!--im->nr_unpinned)
		wake_up_all(&im->wait);
	mutex_unlock(&im->lock);
}

static unsigned long mirror_nr_pinned(struct memfd_falloc_notifier *mn,
				      pgoff_t start, pgoff_t end)
{
	struct iommu_memfd *im = to_mirror(mn);
	unsigned long nr;

	mutex_lock(&im->lock);
	nr = im->nr_unpinned ? 0 : nr_mapped(im, start, end);
	mutex_unlock(&im->lock);
	return nr;
}

static bool mirror_next_mapped(struct memfd_falloc_notifier *mn,
			       pgoff_t *start, pgoff_t *end)
{
	struct iommu_memfd *im = to_mirror(mn);
	struct interval_tree_node *run;

	mutex_lock(&im->lock);
	run = first_run(im, *start, *end);
	if (run) {
		*start = max(*start, run->start);
		*end = min(*end, run->last + 1);
	}
	mutex_unlock(&im->lock);
	return run;
}

static void mirror_show_owner(struct memfd_falloc_notifier *mn, struct seq_file *m)
{
	struct device *dev = to_mirror(mn)->imd->dev;

	if (dev)
		seq_printf(m, " device %s", dev_name(dev));
}

static const struct memfd_falloc_notifier_ops mirror_ops = {
	.name			= "iommu",
	.invalidate_page_range	= mirror_invalidate_page_range,
	.invalidate_end		= mirror_invalidate_end,
	.populate		= mirror_populate,
	.unpin			= mirror_unpin,
	.repin			= mirror_repin,
	.nr_pinned		= mirror_nr_pinned,
	.missed			= mirror_missed,
	.next_mapped		= mirror_next_mapped,
	.show_owner		= mirror_show_owner,
};

/*
 * IOVA spaces
 */

/**
 * iommu_memfd_domain_init - set up a domain for mirrors
 * @imd: to set up
 * @domain: a paging domain that is attached to @dev already, since only then
 *	its aperture and page sizes are known
 * @dev: a device whose reserved regions no mirror may cover, or NULL
 *
 * Context: may sleep.
 * Return: 0, or -EINVAL if the domain's smallest page is larger than the CPU's.
 */
int iommu_memfd_domain_init(struct iommu_memfd_domain *imd,
			    struct iommu_domain *domain, struct device *dev)
{
	if (!domain->pgsize_bitmap ||
	    __ffs(domain->pgsize_bitmap) > PAGE_SHIFT)
		return memfd_refuse(-EINVAL, "the domain has no pages of %lu bytes",
				    PAGE_SIZE);

	imd->domain = domain;
	imd->revoke = NULL;
	imd->dev = dev;
	mutex_init(&imd->lock);
	imd->mirrors = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&imd->reserved);
	if (dev)
		iommu_get_resv_regions(dev, &imd->reserved);
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_memfd_domain_init);

/**
 * iommu_memfd_domain_destroy - undo iommu_memfd_domain_init()
 * @imd: without mirrors
 *
 * Context: may sleep.
 */
void iommu_memfd_domain_destroy(struct iommu_memfd_domain *imd)
{
	WARN_ON(!RB_EMPTY_ROOT(&imd->mirrors.rb_root));
	if (imd->dev)
		iommu_put_resv_regions(imd->dev, &imd->reserved);
	mutex_destroy(&imd->lock);
}
EXPORT_SYMBOL_GPL(iommu_memfd_domain_destroy);

/* Is [iova, last] inside the aperture, and outside of reserved regions? */
static bool is_usable(struct iommu_memfd_domain *imd, unsigned long iova,
		      unsigned long last)
{
	struct iommu_domain_geometry *geometry = &imd->domain->geometry;
	struct iommu_resv_region *resv;

	if (iova < geometry->aperture_start || last > geometry->aperture_end)
		return memfd_refuse(false, "IOVA [%#lx, %#lx] is not in the aperture [%pad, %pad]",
				    iova, last, &geometry->aperture_start,
				    &geometry->aperture_end);
	list_for_each_entry(resv, &imd->reserved, list)
		if (resv->type != IOMMU_RESV_DIRECT_RELAXABLE &&
		    iova <= resv->start + resv->length - 1 && resv->start <= last)
			return memfd_refuse(false, "IOVA [%#lx, %#lx]: reserved from %pa on",
					    iova, last, &resv->start);
	return true;
}

/*
 * Mirrors
 */

/**
 * iommu_memfd_check_range - check the arguments of a mapping
 * @range: the arguments
 *
 * Return: 0, or -EINVAL, -EOVERFLOW or -EACCES as iommu_memfd_map().
 */
int iommu_memfd_check_range(const struct iommu_memfd_range *range)
{
	u64 last;

	if (!range->prot || range->prot & ~(IOMMU_READ | IOMMU_WRITE))
		return memfd_refuse(-EINVAL, "neither reading nor writing: %#x",
				    range->prot);
	if (!range->length ||
	    !PAGE_ALIGNED(range->iova | range->length | range->offset))
		return memfd_refuse(-EINVAL, "IOVA %#llx, %#llx bytes at %#llx: not pages",
				    range->iova, range->length, range->offset);
	if (check_add_overflow(range->iova, range->length - 1, &last) ||
	    check_add_overflow(range->offset, range->length - 1, &last))
		return memfd_refuse(-EOVERFLOW, "IOVA %#llx, %#llx bytes at %#llx: too long",
				    range->iova, range->length, range->offset);
	/* as mmap(): VT-d lets a device read wherever it may write */
	if (!(range->file->f_mode & FMODE_READ))
		return memfd_refuse(-EACCES, "the file is not open for reading");
	if (range->prot & IOMMU_WRITE && !(range->file->f_mode & FMODE_WRITE))
		return memfd_refuse(-EACCES, "the file is not open for writing");
	return 0;
}

static struct iommu_memfd *alloc_mirror(struct iommu_memfd_domain *imd,
					const struct iommu_memfd_range *range)
{
	struct iommu_memfd *im;

	im = kzalloc(sizeof(*im), GFP_KERNEL_ACCOUNT);
	if (!im)
		return NULL;
	im->prealloc_node = alloc_run(GFP_KERNEL_ACCOUNT);
	if (!im->prealloc_node) {
		kfree(im);
		return NULL;
	}
	im->mn.writes = range->prot & IOMMU_WRITE;
	im->mn.write_claimed = range->write_claimed;
	im->mn.may_miss = range->may_miss;
	im->imd = imd;
	im->iovas.start = range->iova;
	im->iovas.last = range->iova + range->length - 1;
	im->prot = range->prot | IOMMU_CACHE;
	im->must_complete = !range->may_miss;
	im->max_batch = max_batch(imd->domain);
	mutex_init(&im->lock);
	init_waitqueue_head(&im->wait);
	im->runs = RB_ROOT_CACHED;
	return im;
}

static void free_mirror(struct iommu_memfd *im)
{
	mutex_destroy(&im->lock);
	iommu_memfd_account_destroy(&im->account);
	kfree(im->prealloc_node);
	kfree(im);
}

/* Reserve the mirror's IOVA range */
static int insert_mirror(struct iommu_memfd *im)
{
	struct iommu_memfd_domain *imd = im->imd;
	int error = 0;

	mutex_lock(&imd->lock);
	if (interval_tree_iter_first(&imd->mirrors, im->iovas.start,
				     im->iovas.last))
		error = memfd_refuse(-EEXIST, "IOVA [%#lx, %#lx] has another mirror",
				     im->iovas.start, im->iovas.last);
	else
		interval_tree_insert(&im->iovas, &imd->mirrors);
	mutex_unlock(&imd->lock);
	return error;
}

static void remove_mirror(struct iommu_memfd *im)
{
	mutex_lock(&im->imd->lock);
	interval_tree_remove(&im->iovas, &im->imd->mirrors);
	mutex_unlock(&im->imd->lock);
}

/**
 * iommu_memfd_set_filler - the owner is about to map all pages, or has done so
 * @im: the mirror
 * @task: the current thread, or NULL
 *
 * Until then, pages that enter the file in this thread and cannot be mapped are left
 * to iommu_memfd_fill(): they are neither refused nor missed.
 */
void iommu_memfd_set_filler(struct iommu_memfd *im, struct task_struct *task)
{
	mutex_lock(&im->lock);
	im->filler = task;
	mutex_unlock(&im->lock);
}

/**
 * iommu_memfd_fill - try again to map what a mirror lacks
 * @im: the mirror, for which the current thread called iommu_memfd_set_filler()
 * @nr_lacking: set to the number of pages that the file has and the mirror still lacks
 *
 * Context: as iommu_memfd_map().
 * Return: 0, or -EINTR (killed), or -EIO (the mirror maps nothing any more, after a
 * mistake of the IOMMU driver).
 */
int iommu_memfd_fill(struct iommu_memfd *im, pgoff_t *nr_lacking)
{
	*nr_lacking = 0;
	return fill(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn),
		    true, nr_lacking);
}

/**
 * iommu_memfd_map_range - map the window of a range in one domain
 * @imd: the IOVA space
 * @range: the window; checked by iommu_memfd_check_range()
 * @event: signalled when pages are missed, or NULL
 * @charge: charge the process of the range's account
 *
 * Context: as iommu_memfd_map().
 * Return: the mirror, or an error as iommu_memfd_map().
 */
struct iommu_memfd *iommu_memfd_map_range(struct iommu_memfd_domain *imd,
					  const struct iommu_memfd_range *range,
					  struct iommu_memfd_event *event,
					  bool charge)
{
	pgoff_t start = range->offset >> PAGE_SHIFT;
	pgoff_t end = start + (range->length >> PAGE_SHIFT);
	struct iommu_memfd *im;
	int error;

	/* the errno that iommufd returns */
	if (!is_usable(imd, range->iova, range->iova + range->length - 1))
		return ERR_PTR(-EINVAL);
	im = alloc_mirror(imd, range);
	if (!im)
		return ERR_PTR(-ENOMEM);
	im->event = event;
	if (charge)
		iommu_memfd_account_share(&im->account, &range->account);
	error = insert_mirror(im);
	if (error)
		goto err_free;
	/* nothing is mapped there: this only asks whether the domain can */
	im->large_entries = !range->small_entries &&
			    imd->domain->pgsize_bitmap & PMD_SIZE &&
			    !iommu_cut(imd->domain, range->iova, GFP_KERNEL);
	error = memfd_register_falloc_notifier(&im->mn, range->file, start, end,
					       &mirror_ops);
	if (error)
		goto err_remove;
	if (!im->must_complete)
		iommu_memfd_set_filler(im, current);
	error = fill(im, start, end, true, NULL);
	WRITE_ONCE(im->filled, true);
	iommu_memfd_set_filler(im, NULL);
	if (error) {
		iommu_memfd_unmap(im);
		pr_debug("refused: a page of the file cannot be mapped%s: %pe\n",
			 error == -EDQUOT ? " within RLIMIT_MEMLOCK" : "",
			 ERR_PTR(error));
		/* the errno of mlock(); that of iommu_memfd_charge() is for faults */
		return ERR_PTR(error == -EDQUOT ? -ENOMEM : error);
	}
	return im;

err_remove:
	remove_mirror(im);
err_free:
	free_mirror(im);
	return ERR_PTR(error);
}

/**
 * iommu_memfd_map - map a window of a memfd, and keep it mapped
 * @imd: the IOVA space
 * @iova: where, in bytes
 * @length: of the window, in bytes
 * @file: a memfd, or another file that can have consumers; the mirror holds a
 *	reference
 * @offset: of the window in the file, in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 *
 * Until iommu_memfd_unmap(), the domain translates each IOVA of the range
 * whose page the file has to that page, and no other. On return that holds
 * for all pages that the file has; pages in swap have been read back, and
 * pages that were only fallocated have been initialised. Pages past the end of
 * the file, as FALLOC_FL_KEEP_SIZE makes them, are mapped too, except those in
 * swap.
 *
 * Mapped pages count as locked memory of the caller's process, against the
 * RLIMIT_MEMLOCK that the process has when they are mapped; without a limit if it has
 * CAP_IPC_LOCK now. An operation that brings a page beyond the limit fails with
 * -EDQUOT. But if @file is not open for writing, the operation succeeds, and the
 * mirror lacks the page.
 *
 * Context: may sleep, and waits for @file's i_rwsem. The caller holds no lock
 * that is taken in page faults, or with i_rwsem held.
 * Return: the mirror, or
 * -EINVAL (a value is zero or not a multiple of the page size; unknown @prot;
 * the range is outside the domain's aperture, or reserved; @file is of another
 * kind or cannot be that large), -EOVERFLOW (a range wraps around),
 * -EEXIST (it overlaps another mirror's), -EACCES (@file is not open for
 * reading, or not for writing if @prot asks for that, or is append-only),
 * -EPERM (it is sealed against that), -EIO (from swap), -ENOMEM (also beyond
 * RLIMIT_MEMLOCK), -EINTR (killed),
 * or an error of iommu_map(). After an error nothing is mapped.
 */
struct iommu_memfd *iommu_memfd_map(struct iommu_memfd_domain *imd, u64 iova,
				    u64 length, struct file *file, u64 offset,
				    int prot)
{
	struct iommu_memfd_range range = {
		.file = file,
		.iova = iova,
		.length = length,
		.offset = offset,
		.prot = prot,
	};
	struct iommu_memfd *im;
	int error;

	error = iommu_memfd_check_range(&range);
	if (error)
		return ERR_PTR(error);
	iommu_memfd_account_init(&range.account);
	im = iommu_memfd_map_range(imd, &range, NULL, true);
	iommu_memfd_account_destroy(&range.account);
	return im;
}
EXPORT_SYMBOL_GPL(iommu_memfd_map);

/**
 * iommu_memfd_unmap - undo iommu_memfd_map()
 * @im: the mirror
 *
 * On return nothing of the mirror is left: no translation in the IOMMU or its
 * TLBs, no reference on a page or on the file, and no callback that runs. Cannot
 * fail, and does not allocate.
 *
 * Context: may sleep. The caller holds no lock that is taken in page faults, or
 * with i_rwsem held.
 */
void iommu_memfd_unmap(struct iommu_memfd *im)
{
	lock_to_revoke(im);
	im->closing = true;
	revoke(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn));
	mutex_unlock(&im->lock);

	memfd_unregister_falloc_notifier(&im->mn);
	remove_mirror(im);
	free_mirror(im);
}
EXPORT_SYMBOL_GPL(iommu_memfd_unmap);

/**
 * iommu_memfd_nr_mapped - count the pages that a mirror has mapped, and those it lacks
 * @im: the mirror
 * @nr_missing: set to the number of pages that the file has and the mirror lacks
 *
 * Context: may sleep, and walks all pages of the window if the mirror has missed one.
 * Return: the number of pages mapped.
 */
unsigned long iommu_memfd_nr_mapped(struct iommu_memfd *im,
				    unsigned long *nr_missing)
{
	unsigned long nr = READ_ONCE(im->total_mapped);

	*nr_missing = memfd_nr_missing(&im->mn, nr);
	return nr;
}

/**
 * iommu_memfd_id - name a mirror in fdinfo, as debugfs does
 * @im: the mirror
 *
 * Return: the number of the consumer.
 */
u64 iommu_memfd_id(struct iommu_memfd *im)
{
	return memfd_consumer_id(&im->mn);
}

/**
 * iommu_memfd_move_charge - charge another mirror for the pages of one
 * @from: the mirror that is charged, and about to be unmapped
 * @to: the mirror to charge, of the same window
 */
void iommu_memfd_move_charge(struct iommu_memfd *from, struct iommu_memfd *to)
{
	mutex_lock(&from->lock);
	mutex_lock_nested(&to->lock, SINGLE_DEPTH_NESTING);
	iommu_memfd_account_move(&from->account, &to->account);
	mutex_unlock(&to->lock);
	mutex_unlock(&from->lock);
}

/**
 * iommu_memfd_next_run - find the next mapped pages of a mirror
 * @im: the mirror
 * @iova: where to start; moved to the first mapped IOVA from there on
 * @length: set to how many bytes are mapped from there on without a gap
 *
 * Context: may sleep.
 * Return: true if something is mapped at @iova or behind it.
 */
bool iommu_memfd_next_run(struct iommu_memfd *im, u64 *iova, u64 *length)
{
	struct interval_tree_node *run;
	pgoff_t index;

	if (*iova > im->iovas.last)
		return false;
	index = iova_to_index(im, max_t(u64, *iova, im->iovas.start));

	mutex_lock(&im->lock);
	run = first_run(im, index, memfd_window_end(&im->mn));
	if (run) {
		*iova = max_t(u64, *iova, index_to_iova(im, run->start));
		*length = index_to_iova(im, run->last + 1) - *iova;
	}
	mutex_unlock(&im->lock);
	return run;
}
EXPORT_SYMBOL_GPL(iommu_memfd_next_run);
