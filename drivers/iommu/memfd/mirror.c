// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: mirrors, windows of memfds kept in an iommu_domain
 *
 * A mirror is a consumer of memfd_ops. It maps the folios of its window into
 * the domain as they are and as they come, and takes them away before they
 * leave the file. What it has mapped it records as runs of file pages, in an
 * interval tree: no two runs touch, and an index is in a run if and only if
 * its page is mapped.
 *
 * - A folio, or the part of it that lies in the window, is revoked as a whole,
 *   so no entry of the page table may cover parts of two. One iommu_map() is
 *   for several folios only where they are fewer pages than the next larger
 *   entry has, and where the driver can unmap part of what it mapped at once,
 *   see max_batch(). One iommu_unmap_fast() is for any number of folios
 *   without a gap: all drivers get that right.
 * - For each folio it has mapped a mirror holds one reference, dropped after
 *   the IOTLB flush. So no page is freed that the device can reach, and
 *   nobody migrates, collapses, splits or swaps out a folio in a run. Hence
 *   the page cache holds that very folio at that index until the mirror is
 *   told, which is how the folios of a run are found again. Should one leave
 *   the file without a word all the same, it is a stray: the mirror keeps it
 *   until it notices, and finds it by the domain's page table. If another
 *   folio comes in its place the mirror gives up, and takes everything away
 *   from the device.
 * - What is mapped counts as pinned memory of the process that asked for the
 *   mirror, within its RLIMIT_MEMLOCK: it can be neither moved nor swapped out.
 * - Revoking never allocates. It may split a run in two, for which one node
 *   is kept. If that is gone, it revokes to the end of the run; what it took
 *   too much comes back when the invalidation ends.
 */
#define pr_fmt(fmt) "iommu_memfd: " fmt

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/iommu_memfd.h>
#include <linux/memfd_ops.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

/**
 * struct iommu_memfd - a mirror
 * @mn: the consumer; its window is in pages of the file
 * @imd: the IOVA space
 * @iovas: the IOVA range, in @imd's tree
 * @prot: IOMMU_READ, IOMMU_WRITE and IOMMU_CACHE
 * @max_batch: how many pages of several folios one iommu_map() may cover
 * @lock: protects all below; taken in the consumer's callbacks
 * @account: whose memory is pinned; no ->mm if somebody else accounts for it
 * @held: how many pages are mapped
 * @kept: how many are not, but charged, as they may be mapped again when an
 *	invalidation ends
 * @invalidating: how many invalidations are under way
 * @runs: what is mapped, in pages of the file
 * @spare: a node for a run that is split; may be NULL for a while
 * @refill_start: first page of what was revoked for want of @spare
 * @refill_end: the one behind its last; not above @refill_start if there is none
 * @closing: nothing gets mapped any more
 * @stuck: the IOMMU driver did not unmap what it was asked to. The device may
 *	reach that for ever, so no reference is dropped any more
 */
struct iommu_memfd {
	struct memfd_falloc_notifier mn;
	struct iommu_memfd_domain *imd;
	struct interval_tree_node iovas;
	int prot;
	pgoff_t max_batch;
	struct mutex lock;	/* see above */
	struct iommu_memfd_account account;
	unsigned long held, kept;
	unsigned int invalidating;
	struct rb_root_cached runs;
	struct interval_tree_node *spare;
	pgoff_t refill_start, refill_end;
	bool closing, stuck;
};

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

static struct interval_tree_node *alloc_run(gfp_t gfp)
{
	return kmalloc(sizeof(struct interval_tree_node), gfp);
}

/* Keep the node as the spare one, or free it */
static void put_run(struct iommu_memfd *im, struct interval_tree_node *run)
{
	lockdep_assert_held(&im->lock);
	if (!im->spare)
		im->spare = run;
	else
		kfree(run);
}

static void set_run(struct iommu_memfd *im, struct interval_tree_node *run,
		    pgoff_t start, pgoff_t last)
{
	run->start = start;
	run->last = last;
	interval_tree_insert(run, &im->runs);
}

/* The part of a folio that lies in the window: its first page, and its end */
static pgoff_t folio_start(struct iommu_memfd *im, struct folio *folio)
{
	return max(folio->index, memfd_window_start(&im->mn));
}

static pgoff_t folio_end(struct iommu_memfd *im, struct folio *folio)
{
	return min(folio_next_index(folio), memfd_window_end(&im->mn));
}

/* For what had been mapped before there is no limit, and as a rule it is charged */
static noinline void charge_again(struct iommu_memfd *im, unsigned long nr)
{
	unsigned long kept = min(nr, im->kept);

	im->kept -= kept;
	im->held += nr;
	if (im->account.mm)
		atomic64_add(nr - kept, &im->account.mm->pinned_vm);
}

/*
 * What comes back has %__GFP_NOFAIL. The errno is not -ENOMEM: a page fault would
 * be tried again, for ever.
 */
static int charge(struct iommu_memfd *im, unsigned long nr, gfp_t gfp)
{
	struct iommu_memfd_account *account = &im->account;

	lockdep_assert_held(&im->lock);
	if (unlikely(gfp & __GFP_NOFAIL)) {
		charge_again(im, nr);
		return 0;
	}
	if (account->mm &&
	    atomic64_add_return(nr, &account->mm->pinned_vm) > account->limit) {
		atomic64_sub(nr, &account->mm->pinned_vm);
		return -EDQUOT;
	}
	im->held += nr;
	return 0;
}

/*
 * What may come back stays charged: who can have pages revoked, by F_ADD_SEALS say,
 * could map others meanwhile, and have both.
 */
static void uncharge(struct iommu_memfd *im, unsigned long nr)
{
	lockdep_assert_held(&im->lock);
	im->held -= nr;
	if (im->invalidating)
		im->kept += nr;
	else if (im->account.mm)
		atomic64_sub(nr, &im->account.mm->pinned_vm);
}

static void uncharge_kept(struct iommu_memfd *im)
{
	lockdep_assert_held(&im->lock);
	if (im->account.mm)
		atomic64_sub(im->kept, &im->account.mm->pinned_vm);
	im->kept = 0;
}

/* Make a run of [start, end), which is mapped now, or put it to its neighbours */
static void add_run(struct iommu_memfd *im, struct interval_tree_node *run,
		    pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *next;

	next = interval_tree_iter_first(&im->runs, end, end);
	if (run->start < start) {
		start = run->start;
		interval_tree_remove(run, &im->runs);
	}
	if (next) {
		end = next->last + 1;
		interval_tree_remove(next, &im->runs);
		put_run(im, next);
	}
	set_run(im, run, start, end - 1);
}

/* Look at what the driver says it unmapped, in bytes, where @nr pages were mapped */
static void check_unmapped(struct iommu_memfd *im, pgoff_t nr, size_t unmapped)
{
	if (likely(unmapped >> PAGE_SHIFT == nr))
		return;
	pr_err_ratelimited("%lu pages mapped, %zu bytes unmapped: memory is lost\n",
			   nr, unmapped);
	im->stuck = true;
	im->closing = true;
}

/*
 * An iommu_map() has failed. A driver may leave what it had mapped by then, as VT-d
 * does where it cannot allocate a page table. Nobody knows of that: take it away,
 * or keep the folios if that cannot be done.
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

static int map_pages(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
		     unsigned long pfn, gfp_t gfp)
{
	int error;

	error = charge(im, end - start, gfp);
	if (error)
		return error;
	error = iommu_map(im->imd->domain, index_to_iova(im, start),
			  PFN_PHYS(pfn), (end - start) << PAGE_SHIFT, im->prot,
			  gfp);
	if (unlikely(error)) {
		undo_map(im, index_to_iova(im, start), (end - start) << PAGE_SHIFT);
		uncharge(im, end - start);
	}
	return error;
}

/*
 * Map the first of @folios, which begins at page @start of the window or before,
 * and those that follow it without a gap in the file, up to page @limit: with
 * one iommu_map() for those that follow each other in memory, too. *@mapped is
 * set to how many were mapped, and *@end to where they end, even after an error.
 */
static int map_gapless(struct iommu_memfd *im, struct folio **folios,
		       unsigned int nr, pgoff_t start, pgoff_t limit, gfp_t gfp,
		       unsigned int *mapped, pgoff_t *end)
{
	unsigned long pfn, next = folio_pfn(folios[0]) + start - folios[0]->index;
	unsigned int i = 0;
	pgoff_t e, last;
	int error;

	do {
		*mapped = i;
		*end = start;
		pfn = next;
		last = min(limit, start + im->max_batch);
		do {
			e = folio_next_index(folios[i]);
			next = ++i < nr ? folio_pfn(folios[i]) : 0;
		} while (next == pfn + e - start && folios[i]->index == e &&
			 folio_next_index(folios[i]) <= last);
		e = min(e, memfd_window_end(&im->mn));
		error = map_pages(im, start, e, pfn, gfp);
		if (error)
			return error;
		start = e;
	} while (i < nr && folios[i]->index == e && e < limit);
	*mapped = i;
	*end = e;
	return 0;
}

/*
 * Map the first of @folios, or as much of it as lies in the window, and those
 * that follow it without a gap in the file. *@mapped is set to how many were
 * mapped, with an error too; the mirror takes over the caller's references on
 * them. -EEXIST if a page of the first is mapped already; the caller knows
 * whether that is of the same folio.
 */
static int map_folios(struct iommu_memfd *im, struct folio **folios,
		      unsigned int nr, gfp_t gfp, unsigned int *mapped)
{
	pgoff_t start = folio_start(im, folios[0]), end, limit;
	struct interval_tree_node *run = NULL, *next;
	int error;

	lockdep_assert_held(&im->lock);
	*mapped = 0;
	next = interval_tree_iter_first(&im->runs, start, ULONG_MAX);
	limit = next ? next->start : ULONG_MAX;
	if (limit < folio_end(im, folios[0]))
		return -EEXIST;
	if (start)
		run = interval_tree_iter_first(&im->runs, start - 1, start - 1);
	if (!run) {
		run = alloc_run(gfp);
		if (!run)
			return -ENOMEM;
		run->start = start;
	}

	error = map_gapless(im, folios, nr, start, limit, gfp, mapped, &end);
	if (*mapped)
		add_run(im, run, start, end);
	else if (run->start == start)
		put_run(im, run);
	return error;
}

/*
 * How many pages of several folios may one iommu_map() cover? Fewer than one
 * entry of the next larger size, so that each folio has entries of its own. None
 * but one folio's, if the driver cannot unmap a part of what one call mapped.
 */
static pgoff_t max_batch(const struct iommu_domain *domain)
{
	unsigned long larger = domain->pgsize_bitmap & ~PAGE_SIZE;
	unsigned int shift = larger ? __ffs(larger) : BITS_PER_LONG - 1;

	if (!domain->ops->unmaps_any_page)
		return 1;
	return (1UL << (shift - PAGE_SHIFT)) - 1;
}

/* Tell the owner of the domain that [start, end) is about to be unmapped */
static void announce(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct iommu_memfd_domain *imd = im->imd;

	if (imd->revoke)
		imd->revoke(imd, index_to_iova(im, start),
			    (u64)(end - start) << PAGE_SHIFT);
}

/*
 * Unmap and release the folio of page @start, which is in a run but not in the
 * file. Returns how many pages that were, at most up to @end.
 */
static pgoff_t revoke_stray(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
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
	check_unmapped(im, nr, iommu_unmap(domain, index_to_iova(im, start),
					   nr << PAGE_SHIFT));
	if (im->prot & IOMMU_WRITE)
		folio_mark_dirty(folio);
	if (!im->stuck)
		folio_put(folio);
	return nr;
}

/*
 * Unmap pages [start, end), which are all in a run. Returns whether a flush is
 * yet to come.
 */
static bool unmap_pages(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
			struct iommu_iotlb_gather *gather)
{
	bool flush = false;
	pgoff_t missing;
	size_t unmapped;

	while (start < end) {
		missing = im->mn.pfn_ops->find_hole(&im->mn, start, end);
		if (missing == start) {
			start += revoke_stray(im, start, end);
			continue;
		}
		unmapped = iommu_unmap_fast(im->imd->domain,
					    index_to_iova(im, start),
					    (missing - start) << PAGE_SHIFT,
					    gather);
		check_unmapped(im, missing - start, unmapped);
		start = missing;
		flush = true;
	}
	return flush;
}

/*
 * Make the runs not reach into [start, end) any more, but by starting or
 * ending there. Returns the end of what must be revoked: later than @end if
 * a run had to be cut short for want of a node.
 */
static pgoff_t isolate_runs(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *run;
	pgoff_t last;

	run = interval_tree_iter_first(&im->runs, start, start);
	if (!run || run->start == start || run->last < end)
		return end;
	/* start lies inside the run, and so does end */
	if (!im->spare) {
		im->refill_start = min(im->refill_start, end);
		im->refill_end = max(im->refill_end, run->last + 1);
		return run->last + 1;
	}
	last = run->last;
	interval_tree_remove(run, &im->runs);
	set_run(im, run, run->start, end - 1);
	set_run(im, im->spare, end, last);
	im->spare = NULL;
	return end;
}

/* Take what is mapped of pages [start, end) away from the device */
static void revoke(struct iommu_memfd *im, pgoff_t start, pgoff_t end)
{
	struct iommu_iotlb_gather gather;
	struct interval_tree_node *run;
	bool flush = false;
	pgoff_t s, e;

	lockdep_assert_held(&im->lock);
	end = isolate_runs(im, start, end);
	run = interval_tree_iter_first(&im->runs, start, end - 1);
	if (!run)
		return;

	iommu_iotlb_gather_init(&gather);
	for (; run; run = interval_tree_iter_next(run, start, end - 1)) {
		s = max(start, run->start);
		e = min(end, run->last + 1);
		announce(im, s, e);
		flush |= unmap_pages(im, s, e, &gather);
	}
	if (flush)
		iommu_iotlb_sync(im->imd->domain, &gather);

	while ((run = interval_tree_iter_first(&im->runs, start, end - 1))) {
		s = max(start, run->start);
		e = min(end, run->last + 1);
		/* no fault has told that the device wrote */
		if (!im->stuck)
			im->mn.pfn_ops->put_folios(&im->mn, s, e,
						   im->prot & IOMMU_WRITE);
		uncharge(im, e - s);
		interval_tree_remove(run, &im->runs);
		if (run->start < s)
			set_run(im, run, run->start, s - 1);
		else if (run->last >= e)
			set_run(im, run, e, run->last);
		else
			put_run(im, run);
	}
}

/* Map the folios of a batch that are not mapped yet, and empty it */
static int map_batch(struct iommu_memfd *im, struct folio_batch *fbatch,
		     gfp_t gfp)
{
	unsigned int i = 0, nr = folio_batch_count(fbatch), mapped;
	int error, ret = 0;

	while (i < nr) {
		error = map_folios(im, fbatch->folios + i, nr - i, gfp, &mapped);
		i += mapped;
		if (!error)
			continue;
		/* if it exists, it came by populate meanwhile */
		if (error != -EEXIST)
			ret = error;
		folio_put(fbatch->folios[i++]);
	}
	folio_batch_reinit(fbatch);
	return ret;
}

/*
 * Map what the file has in [start, end), and is not mapped yet. @flags are
 * those of get_folios(): %MEMFD_PFN_FILL to bring in what is not ready. With
 * %__GFP_NOFAIL, a folio that cannot be mapped does not keep others out.
 */
static int fill(struct iommu_memfd *im, pgoff_t start, pgoff_t end,
		unsigned int flags, gfp_t gfp)
{
	struct memfd_falloc_notifier *mn = &im->mn;
	struct folio_batch fbatch;
	pgoff_t index = start, next;
	int error, ret = 0;
	unsigned long seq;

	folio_batch_init(&fbatch);
	for (;;) {
		if (flags & MEMFD_PFN_FILL && fatal_signal_pending(current))
			return -EINTR;
		seq = memfd_read_begin(mn);
		next = index;
		error = mn->pfn_ops->get_folios(mn, &next, end, flags, &fbatch);
		if (error || !folio_batch_count(&fbatch))
			return error ?: ret;

		mutex_lock(&im->lock);
		if (im->closing) {
			index = end;
		} else if (!memfd_read_retry(mn, seq)) {
			ret = map_batch(im, &fbatch, gfp) ?: ret;
			index = next;
		}
		mutex_unlock(&im->lock);
		folio_batch_release(&fbatch);
		if (index >= end || (ret && !(gfp & __GFP_NOFAIL)))
			return ret;
		cond_resched();
	}
}

static void mirror_invalidate_page_range(struct memfd_falloc_notifier *mn,
					 pgoff_t start, pgoff_t end)
{
	struct iommu_memfd *im = to_mirror(mn);

	mutex_lock(&im->lock);
	im->invalidating++;
	revoke(im, start, end);
	mutex_unlock(&im->lock);
}

/*
 * What is left was mapped before, and nobody is there to hear that it cannot
 * be any more. So this does not take no for an answer; what an IOMMU driver
 * then still refuses is lost to the device.
 */
static void mirror_invalidate_end(struct memfd_falloc_notifier *mn,
				  pgoff_t start, pgoff_t end)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOFAIL;
	struct interval_tree_node *spare = NULL;
	struct iommu_memfd *im = to_mirror(mn);
	int error;

	if (!READ_ONCE(im->spare))
		spare = alloc_run(gfp);
	mutex_lock(&im->lock);
	if (spare)
		put_run(im, spare);
	if (im->refill_start < im->refill_end) {
		start = min(start, im->refill_start);
		end = max(end, im->refill_end);
	}
	im->refill_start = ULONG_MAX;
	im->refill_end = 0;
	mutex_unlock(&im->lock);

	error = fill(im, start, end, 0, gfp);
	if (error)
		pr_err_ratelimited("pages %lu-%lu could not be mapped again: %pe\n",
				   start, end - 1, ERR_PTR(error));

	mutex_lock(&im->lock);
	if (!--im->invalidating)
		uncharge_kept(im);
	mutex_unlock(&im->lock);
}

/*
 * Something else is mapped where a folio has come into the file. What the file
 * holds says nothing about what is mapped any more; the page table does.
 */
static void give_up(struct iommu_memfd *im)
{
	struct interval_tree_node *run;
	pgoff_t index;

	lockdep_assert_held(&im->lock);
	pr_err("a page left its file without a word, unmapping all of it\n");
	im->closing = true;
	announce(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn));
	while ((run = interval_tree_iter_first(&im->runs, 0, ULONG_MAX))) {
		for (index = run->start; index <= run->last;)
			index += revoke_stray(im, index, run->last + 1);
		uncharge(im, run->last + 1 - run->start);
		interval_tree_remove(run, &im->runs);
		put_run(im, run);
	}
}

static int mirror_populate(struct memfd_falloc_notifier *mn,
			   struct folio *folio, unsigned long seq)
{
	struct iommu_memfd *im = to_mirror(mn);
	unsigned int mapped = 0;
	int error = 0;

	mutex_lock(&im->lock);
	if (memfd_read_retry(mn, seq))
		error = -EAGAIN;
	else if (!im->closing)
		error = map_folios(im, &folio, 1, GFP_KERNEL_ACCOUNT, &mapped);
	if (mapped)
		folio_get(folio);
	if (unlikely(error == -EEXIST))
		give_up(im);
	mutex_unlock(&im->lock);
	return error;
}

static const struct memfd_falloc_notifier_ops mirror_ops = {
	.name			= "iommu",
	.invalidate_page_range	= mirror_invalidate_page_range,
	.invalidate_end		= mirror_invalidate_end,
	.populate		= mirror_populate,
};

/**
 * iommu_memfd_domain_init - begin to keep mirrors in a domain
 * @imd: to set up
 * @domain: a paging domain that is attached to @dev already, since only then
 *	its aperture and page sizes are known
 * @dev: a device whose reserved regions no mirror may cover, or NULL
 *
 * Context: may sleep.
 * Return: 0, or -EINVAL if the domain's smallest page is not the CPU's.
 */
int iommu_memfd_domain_init(struct iommu_memfd_domain *imd,
			    struct iommu_domain *domain, struct device *dev)
{
	if (!domain->pgsize_bitmap ||
	    __ffs(domain->pgsize_bitmap) != PAGE_SHIFT)
		return -EINVAL;

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

/* May [iova, last] be used at all? The errno is what iommufd gives. */
static int check_iova(struct iommu_memfd_domain *imd, unsigned long iova,
		      unsigned long last)
{
	struct iommu_domain_geometry *geometry = &imd->domain->geometry;
	struct iommu_resv_region *resv;

	if (iova < geometry->aperture_start || last > geometry->aperture_end)
		return -EINVAL;
	list_for_each_entry(resv, &imd->reserved, list)
		if (resv->type != IOMMU_RESV_DIRECT_RELAXABLE &&
		    iova <= resv->start + resv->length - 1 && resv->start <= last)
			return -EINVAL;
	return 0;
}

static int check_args(u64 iova, u64 length, struct file *file, u64 offset,
		      int prot)
{
	u64 last;

	if (!prot || prot & ~(IOMMU_READ | IOMMU_WRITE))
		return -EINVAL;
	if (!length || !PAGE_ALIGNED(iova | length | offset))
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last) ||
	    check_add_overflow(offset, length - 1, &last))
		return -EOVERFLOW;
	/* as with mmap(): where VT-d lets a device write it lets it read, too */
	if (!(file->f_mode & FMODE_READ) ||
	    (prot & IOMMU_WRITE && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;
	return 0;
}

/* Charge what is pinned from now on to the caller */
static void account_current(struct iommu_memfd_account *account)
{
	account->mm = current->mm;
	if (account->mm)
		mmgrab(account->mm);
	account->limit = capable(CAP_IPC_LOCK) ? S64_MAX :
			 rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

static void account_get(struct iommu_memfd_account *account,
			const struct iommu_memfd_account *from)
{
	*account = *from;
	if (account->mm)
		mmgrab(account->mm);
}

static void account_put(struct iommu_memfd_account *account)
{
	if (account->mm)
		mmdrop(account->mm);
}

/*
 * Charge what @from pinned for both to @im, where it is mapped as well. Not to
 * both at any time: another page of the same process could be one too many then.
 */
static void account_move(struct iommu_memfd *from, struct iommu_memfd *im)
{
	mutex_lock(&from->lock);
	mutex_lock_nested(&im->lock, SINGLE_DEPTH_NESTING);
	im->account = from->account;
	from->account.mm = NULL;
	/* a page that is just coming may be in one of them alone */
	if (im->account.mm)
		atomic64_add((s64)(im->held + im->kept) -
			     (s64)(from->held + from->kept),
			     &im->account.mm->pinned_vm);
	mutex_unlock(&im->lock);
	mutex_unlock(&from->lock);
}

/* Reserve the mirror's IOVA range */
static int insert_mirror(struct iommu_memfd *im)
{
	struct iommu_memfd_domain *imd = im->imd;
	int error = 0;

	mutex_lock(&imd->lock);
	if (interval_tree_iter_first(&imd->mirrors, im->iovas.start,
				     im->iovas.last))
		error = -EEXIST;
	else
		interval_tree_insert(&im->iovas, &imd->mirrors);
	mutex_unlock(&imd->lock);
	return error;
}

static void free_mirror(struct iommu_memfd *im)
{
	mutex_lock(&im->imd->lock);
	interval_tree_remove(&im->iovas, &im->imd->mirrors);
	mutex_unlock(&im->imd->lock);
	mutex_destroy(&im->lock);
	account_put(&im->account);
	kfree(im->spare);
	kfree(im);
}

/* @account may be NULL, if somebody else accounts for the pages */
static struct iommu_memfd *map_window(struct iommu_memfd_domain *imd, u64 iova,
				      u64 length, struct file *file, u64 offset,
				      int prot,
				      const struct iommu_memfd_account *account)
{
	struct iommu_memfd *im;
	int error;

	error = check_iova(imd, iova, iova + length - 1);
	if (error)
		return ERR_PTR(error);

	im = kzalloc(sizeof(*im), GFP_KERNEL_ACCOUNT);
	if (!im)
		return ERR_PTR(-ENOMEM);
	im->mn.writes = prot & IOMMU_WRITE;
	im->imd = imd;
	im->iovas.start = iova;
	im->iovas.last = iova + length - 1;
	im->prot = prot | IOMMU_CACHE;
	im->refill_start = ULONG_MAX;
	mutex_init(&im->lock);
	im->runs = RB_ROOT_CACHED;
	if (account)
		account_get(&im->account, account);
	error = insert_mirror(im);
	if (error)
		goto err_free;

	error = -ENOMEM;
	im->spare = alloc_run(GFP_KERNEL_ACCOUNT);
	if (!im->spare)
		goto err_remove;
	im->max_batch = max_batch(imd->domain);
	error = memfd_register_falloc_notifier(&im->mn, file,
					       offset >> PAGE_SHIFT,
					       (offset >> PAGE_SHIFT) +
					       (length >> PAGE_SHIFT),
					       &mirror_ops);
	if (error)
		goto err_remove;
	error = fill(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn),
		     MEMFD_PFN_FILL, GFP_KERNEL_ACCOUNT);
	if (error) {
		iommu_memfd_unmap(im);
		/* as mlock() has it; charge() has another for page faults */
		return ERR_PTR(error == -EDQUOT ? -ENOMEM : error);
	}
	return im;

err_remove:
	free_mirror(im);
	return ERR_PTR(error);
err_free:
	mutex_destroy(&im->lock);
	account_put(&im->account);
	kfree(im);
	return ERR_PTR(error);
}

/**
 * iommu_memfd_map - map a window of a memfd, and keep it mapped
 * @imd: the IOVA space
 * @iova: where, in bytes
 * @length: of the window, in bytes
 * @file: a memfd, or another file on tmpfs; the mirror holds a reference
 * @offset: of the window in the file, in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 *
 * Until iommu_memfd_unmap(), the domain translates each IOVA of the range
 * whose page the file has to that page, and no other. On return that holds
 * for what the file has by now; pages that are in swap are read back, and
 * those that were only fallocated are initialised. Pages of the file past its
 * end, as FALLOC_FL_KEEP_SIZE makes them, are mapped too; those of them that
 * are in swap are not.
 *
 * The pages mapped count as the caller's pinned memory, against the
 * RLIMIT_MEMLOCK that it has now, unless it has CAP_IPC_LOCK. A page that comes
 * later and is too many is refused with -EDQUOT to whoever brings it; one that
 * comes back after an invalidation is not.
 *
 * Context: may sleep and waits for @file's i_rwsem. No lock is held that is
 * taken in page faults or with i_rwsem held.
 * Return: the mirror, or
 * -EINVAL (a value is zero or not a multiple of the page size; unknown @prot;
 * the range is outside the domain's aperture, or reserved; @file is of another
 * kind or cannot be that large), -EOVERFLOW (a range wraps around),
 * -EEXIST (it overlaps another mirror's), -EACCES (@file is not open for
 * reading, or not for writing if @prot says that, or can only be appended to),
 * -EPERM (it is sealed against that), -EIO (from swap), -ENOMEM (RLIMIT_MEMLOCK,
 * too), -EINTR (killed),
 * or what iommu_map() returned. After an error nothing is mapped.
 */
struct iommu_memfd *iommu_memfd_map(struct iommu_memfd_domain *imd, u64 iova,
				    u64 length, struct file *file, u64 offset,
				    int prot)
{
	struct iommu_memfd_account account;
	struct iommu_memfd *im;
	int error;

	error = check_args(iova, length, file, offset, prot);
	if (error)
		return ERR_PTR(error);
	account_current(&account);
	im = map_window(imd, iova, length, file, offset, prot, &account);
	account_put(&account);
	return im;
}
EXPORT_SYMBOL_GPL(iommu_memfd_map);

/**
 * iommu_memfd_unmap - undo iommu_memfd_map()
 * @im: the mirror
 *
 * On return nothing of it is left: no translation in the IOMMU or its TLBs, no
 * reference on a page or on the file, and no callback that runs. Cannot fail,
 * and does not allocate.
 *
 * Context: may sleep. No lock is held that is taken in page faults or with
 * i_rwsem held.
 */
void iommu_memfd_unmap(struct iommu_memfd *im)
{
	mutex_lock(&im->lock);
	im->closing = true;
	revoke(im, memfd_window_start(&im->mn), memfd_window_end(&im->mn));
	mutex_unlock(&im->lock);

	memfd_unregister_falloc_notifier(&im->mn);
	/* it may have left in the middle of an invalidation */
	mutex_lock(&im->lock);
	uncharge_kept(im);
	mutex_unlock(&im->lock);
	free_mirror(im);
}
EXPORT_SYMBOL_GPL(iommu_memfd_unmap);

/**
 * iommu_memfd_next_run - what of a mirror is mapped now?
 * @im: the mirror
 * @iova: where to look from; moved to the first mapped IOVA from there on
 * @length: set to how many bytes are mapped from there on without a gap
 *
 * Context: may sleep.
 * Return: whether there is any.
 */
bool iommu_memfd_next_run(struct iommu_memfd *im, u64 *iova, u64 *length)
{
	struct interval_tree_node *run = NULL;
	pgoff_t index;

	if (*iova > im->iovas.last)
		return false;
	index = iova_to_index(im, max_t(u64, *iova, im->iovas.start));

	mutex_lock(&im->lock);
	run = interval_tree_iter_first(&im->runs, index,
				       memfd_window_end(&im->mn) - 1);
	if (run) {
		*iova = max_t(u64, *iova, index_to_iova(im, run->start));
		*length = index_to_iova(im, run->last + 1) - *iova;
	}
	mutex_unlock(&im->lock);
	return run;
}
EXPORT_SYMBOL_GPL(iommu_memfd_next_run);

/* One mirror of a range, alone in its IOVA space */
struct range_mirror {
	struct list_head list;
	struct iommu_memfd_domain imd;
	struct iommu_memfd *im;
};

/**
 * iommu_memfd_range_init - set up a range that is in no domain yet
 * @range: to set up
 * @iova: where, in bytes
 * @length: of the window, in bytes
 * @file: a memfd, or another file on tmpfs
 * @offset: of the window in the file, in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 *
 * The caller is who is charged for the pages, as by iommu_memfd_map(): once, in
 * however many domains they are.
 *
 * Context: any.
 * Return: 0, or -EINVAL, -EOVERFLOW or -EACCES as iommu_memfd_map().
 */
int iommu_memfd_range_init(struct iommu_memfd_range *range, u64 iova,
			   u64 length, struct file *file, u64 offset, int prot)
{
	int error = check_args(iova, length, file, offset, prot);

	if (error)
		return error;
	/* what memfd_register_falloc_notifier() would say, but not before then */
	if (!memfd_can_register(file) || offset + length - 1 > MAX_LFS_FILESIZE)
		return -EINVAL;

	range->file = get_file(file);
	range->iova = iova;
	range->length = length;
	range->offset = offset;
	range->prot = prot;
	account_current(&range->account);
	INIT_LIST_HEAD(&range->mirrors);
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_init);

/**
 * iommu_memfd_range_map - put a range into one more domain
 * @range: the range
 * @domain: it is not in that domain yet; attached to a device already
 *
 * Context: as iommu_memfd_map().
 * Return: 0, or an error as iommu_memfd_map(). After an error the range is not
 * in @domain.
 */
int iommu_memfd_range_map(struct iommu_memfd_range *range,
			  struct iommu_domain *domain)
{
	struct range_mirror *rm;
	int error;

	rm = kzalloc(sizeof(*rm), GFP_KERNEL_ACCOUNT);
	if (!rm)
		return -ENOMEM;
	error = iommu_memfd_domain_init(&rm->imd, domain, NULL);
	if (error)
		goto err_free;
	/* pages that are in many domains are pinned once */
	rm->im = map_window(&rm->imd, range->iova, range->length, range->file,
			    range->offset, range->prot,
			    list_empty(&range->mirrors) ? &range->account : NULL);
	if (IS_ERR(rm->im)) {
		error = PTR_ERR(rm->im);
		goto err_destroy;
	}
	list_add_tail(&rm->list, &range->mirrors);
	return 0;

err_destroy:
	iommu_memfd_domain_destroy(&rm->imd);
err_free:
	kfree(rm);
	return error;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_map);

static void free_range_mirror(struct iommu_memfd_range *range,
			      struct range_mirror *rm)
{
	bool first = list_is_first(&rm->list, &range->mirrors);
	struct range_mirror *next;

	list_del(&rm->list);
	next = list_first_entry_or_null(&range->mirrors, struct range_mirror, list);
	if (first && next)
		account_move(rm->im, next->im);
	iommu_memfd_unmap(rm->im);
	iommu_memfd_domain_destroy(&rm->imd);
	kfree(rm);
}

/**
 * iommu_memfd_range_unmap - take a range out of a domain
 * @range: the range
 * @domain: nothing is done if the range is not in it
 *
 * Cannot fail, and does not allocate.
 *
 * Context: as iommu_memfd_unmap().
 */
void iommu_memfd_range_unmap(struct iommu_memfd_range *range,
			     struct iommu_domain *domain)
{
	struct range_mirror *rm;

	list_for_each_entry(rm, &range->mirrors, list) {
		if (rm->imd.domain == domain) {
			free_range_mirror(range, rm);
			return;
		}
	}
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_unmap);

/**
 * iommu_memfd_range_unmap_all - take a range out of all its domains
 * @range: the range
 *
 * Cannot fail, and does not allocate.
 *
 * Context: as iommu_memfd_unmap().
 */
void iommu_memfd_range_unmap_all(struct iommu_memfd_range *range)
{
	struct range_mirror *rm, *next;

	/* the last first, so that no charge is moved */
	list_for_each_entry_safe_reverse(rm, next, &range->mirrors, list)
		free_range_mirror(range, rm);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_unmap_all);

/**
 * iommu_memfd_range_destroy - undo iommu_memfd_range_init()
 * @range: the range, which is taken out of all its domains
 *
 * Cannot fail, and does not allocate.
 *
 * Context: as iommu_memfd_unmap().
 */
void iommu_memfd_range_destroy(struct iommu_memfd_range *range)
{
	iommu_memfd_range_unmap_all(range);
	account_put(&range->account);
	fput(range->file);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_destroy);
