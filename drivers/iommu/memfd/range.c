// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: ranges, one window of a memfd in many domains
 *
 * A range has a mirror in each of its domains. The pages are pinned once, so
 * only the first mirror is charged for them. When it leaves, the charge moves
 * to the next.
 *
 * But if mirrors may lack pages, one can have pages that the first one lacks, for
 * instance beyond the limit. So each of them is charged.
 */
#define pr_fmt(fmt) "iommu_memfd: " fmt

#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/memfd_ops.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "internal.h"

/* One mirror of a range, alone in its IOVA space */
struct range_mirror {
	struct list_head list;
	struct iommu_memfd_range *range;
	struct iommu_memfd_domain imd;
	struct iommu_memfd *im;
};

static void range_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length)
{
	struct range_mirror *rm = container_of(imd, struct range_mirror, imd);

	rm->range->revoke(rm->range, iova, length);
}

/* May the mirrors lack pages? Those of a file that is not open for writing have no veto. */
static bool may_miss(const struct iommu_memfd_range *range)
{
	return range->may_miss || !(range->file->f_mode & FMODE_WRITE);
}

/**
 * iommu_memfd_range_init - set up a range that is in no domain yet
 * @range: to set up
 * @iova: where, in bytes
 * @length: of the window, in bytes
 * @file: a memfd, or another file that can have consumers
 * @offset: of the window in the file, in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 *
 * Pages are charged as by iommu_memfd_map(), or iommu_memfd_range_charge_user():
 * once, however many domains map them; but if domains may lack pages, once for
 * each domain.
 *
 * With IOMMU_WRITE the range has write access to the file for its life, in however
 * many domains it is: F_SEAL_WRITE fails with EBUSY, and F_SEAL_FUTURE_WRITE keeps
 * the range from no domain.
 *
 * Context: may sleep, and waits for @file's i_rwsem. The caller holds no lock that is
 * taken in page faults, or with i_rwsem held.
 * Return: 0, or -EINVAL, -EOVERFLOW, -EACCES, -EPERM or -EINTR as iommu_memfd_map().
 */
int iommu_memfd_range_init(struct iommu_memfd_range *range, u64 iova,
			   u64 length, struct file *file, u64 offset, int prot)
{
	int error;

	*range = (struct iommu_memfd_range){
		.file = file,
		.iova = iova,
		.length = length,
		.offset = offset,
		.prot = prot,
	};
	error = iommu_memfd_check_range(range);
	if (error)
		return error;
	/* registration refuses these as well, but only in the first domain */
	if (!memfd_can_register(file))
		return memfd_refuse(-EINVAL, "no store knows the file");
	if (offset + length - 1 > MAX_LFS_FILESIZE)
		return memfd_refuse(-EINVAL, "no file has %#llx bytes at %#llx",
				    length, offset);
	if (prot & IOMMU_WRITE) {
		error = memfd_claim_write(file);
		if (error)
			return error;
		range->write_claimed = true;
	}

	get_file(file);
	iommu_memfd_account_init(&range->account);
	spin_lock_init(&range->event.lock);
	INIT_LIST_HEAD(&range->mirrors);
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_init);

/**
 * iommu_memfd_range_charge_user - charge a range's pages to the caller's user
 * @range: in no domain yet, set up by the caller
 *
 * The pages count together with all others that are charged to the user (iommufd's by
 * address, io_uring's), against the RLIMIT_MEMLOCK of the caller's process. If the
 * caller had CAP_IPC_LOCK when it set up @range, they are not charged.
 *
 * Context: any.
 */
void iommu_memfd_range_charge_user(struct iommu_memfd_range *range)
{
	iommu_memfd_account_user(&range->account);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_charge_user);

/**
 * iommu_memfd_range_map - put a range into one more domain
 * @range: the range
 * @domain: attached to a device already; the range is not in it yet
 *
 * Context: as iommu_memfd_map().
 * Return: 0, or an error as iommu_memfd_map(). After an error the range is not
 * in @domain.
 */
int iommu_memfd_range_map(struct iommu_memfd_range *range,
			  struct iommu_domain *domain)
{
	bool charge = list_empty(&range->mirrors) || may_miss(range);
	struct range_mirror *rm;
	int error;

	rm = kzalloc(sizeof(*rm), GFP_KERNEL_ACCOUNT);
	if (!rm)
		return -ENOMEM;
	error = iommu_memfd_domain_init(&rm->imd, domain, NULL);
	if (error)
		goto err_free;
	rm->range = range;
	if (range->revoke)
		rm->imd.revoke = range_revoke;
	rm->im = iommu_memfd_map_range(&rm->imd, range, &range->event, charge);
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
	if (first && next && !may_miss(range))
		iommu_memfd_move_charge(rm->im, next->im);
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

	/* the last first, so that no charge moves */
	list_for_each_entry_safe_reverse(rm, next, &range->mirrors, list)
		free_range_mirror(range, rm);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_unmap_all);

/**
 * iommu_memfd_range_set_event - set the eventfd for missed pages
 * @range: the range
 * @ctx: signalled from now on whenever a domain of @range lacks pages that have
 *	entered the file, or have stayed in it; the range takes over the reference. NULL
 *	for none
 *
 * The range puts its reference when it gets another one, or is destroyed. Pages that
 * are missed at the moment are no event: call iommu_memfd_range_fill() afterwards.
 *
 * Context: may sleep.
 */
void iommu_memfd_range_set_event(struct iommu_memfd_range *range,
				 struct eventfd_ctx *ctx)
{
	spin_lock(&range->event.lock);
	swap(range->event.ctx, ctx);
	spin_unlock(&range->event.lock);
	if (ctx)
		eventfd_ctx_put(ctx);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_set_event);

static void set_filler(struct iommu_memfd_range *range, struct task_struct *task)
{
	struct range_mirror *rm;

	list_for_each_entry(rm, &range->mirrors, list)
		iommu_memfd_set_filler(rm->im, task);
}

static int fill_mirrors(struct iommu_memfd_range *range, pgoff_t *max_lacking)
{
	struct range_mirror *rm;
	pgoff_t nr;
	int error;

	list_for_each_entry(rm, &range->mirrors, list) {
		error = iommu_memfd_fill(rm->im, &nr);
		if (error)
			return error;
		*max_lacking = max(*max_lacking, nr);
	}
	return 0;
}

/**
 * iommu_memfd_range_fill - try again to map what the domains of a range lack
 * @range: the range; any, since also without @may_miss a domain can lack pages, of a
 *	file that is not open for writing, or after an invalidation
 * @missing: set to the number of bytes that the file has in the window and that a
 *	domain still lacks: of the domain that lacks most of them. Unchanged after an
 *	error
 *
 * Pages that still cannot be mapped are counted in @missing alone, and are no event.
 *
 * Context: as iommu_memfd_map().
 * Return: 0, also if pages lack; or -EINTR (killed), -ENOMEM or -EIO (pages cannot be
 * read back from swap, or the IOMMU driver has made a mistake), or an error of another
 * consumer that refuses a page which is read back. Pages that have been mapped by then
 * stay mapped.
 */
int iommu_memfd_range_fill(struct iommu_memfd_range *range, u64 *missing)
{
	pgoff_t nr = 0;
	int error;

	set_filler(range, current);
	error = fill_mirrors(range, &nr);
	set_filler(range, NULL);
	if (!error)
		*missing = (u64)nr << PAGE_SHIFT;
	return error;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_fill);

/* Count the pages of the domain that has fewest, and of the one that lacks most */
static void count_pages(struct iommu_memfd_range *range, unsigned long *nr_mapped,
			unsigned long *nr_missing)
{
	unsigned long mapped, missing;
	struct range_mirror *rm;

	*nr_mapped = list_empty(&range->mirrors) ? 0 : ULONG_MAX;
	*nr_missing = 0;
	list_for_each_entry(rm, &range->mirrors, list) {
		mapped = iommu_memfd_nr_mapped(rm->im, &missing);
		*nr_mapped = min(*nr_mapped, mapped);
		*nr_missing = max(*nr_missing, missing);
	}
}

/**
 * iommu_memfd_range_show - print a line about a range, for /proc/PID/fdinfo
 * @m: where to print
 * @range: the range
 * @ioas: the IOAS with the range, or 0 for none
 *
 * Documentation/userspace-api/vfio-memfd.rst describes the line. It has neither
 * kernel addresses nor names of processes.
 *
 * Context: may sleep. The caller keeps the range and its mirrors, and holds no lock
 * that is taken in page faults, or with i_rwsem held.
 */
void iommu_memfd_range_show(struct seq_file *m, struct iommu_memfd_range *range,
			    u32 ioas)
{
	struct inode *inode = file_inode(range->file);
	pgoff_t start = range->offset >> PAGE_SHIFT;
	unsigned long nr_mapped, nr_missing;
	struct range_mirror *rm;

	count_pages(range, &nr_mapped, &nr_missing);
	seq_puts(m, "memfd_range:\t");
	if (ioas)
		seq_printf(m, "ioas %u ", ioas);
	seq_printf(m, "iova_bytes [0x%llx, 0x%llx) dev %u:%u ino %lu file_pages [%lu, %lu)",
		   range->iova, range->iova + range->length,
		   MAJOR(inode->i_sb->s_dev), MINOR(inode->i_sb->s_dev),
		   inode->i_ino, start,
		   start + (pgoff_t)(range->length >> PAGE_SHIFT));
	seq_printf(m, " access %s%s mapped_pages %lu missing_pages %lu consumers ",
		   range->prot & IOMMU_READ ? "r" : "-",
		   range->prot & IOMMU_WRITE ? "w" : "-", nr_mapped, nr_missing);
	list_for_each_entry(rm, &range->mirrors, list)
		seq_printf(m, "%s%llu", list_is_first(&rm->list, &range->mirrors) ?
			   "" : ",", iommu_memfd_id(rm->im));
	seq_puts(m, list_empty(&range->mirrors) ? "-\n" : "\n");
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_show);

/**
 * iommu_memfd_range_next_run - find the next pages that are mapped in any domain
 * @range: the range
 * @iova: where to start; moved to the first mapped IOVA from there on
 * @length: set to how many bytes are mapped from there on without a gap, at least
 *
 * Pages may come and go meanwhile. Those that leave are passed to @revoke.
 *
 * Context: may sleep.
 * Return: true if something is mapped at @iova or behind it.
 */
bool iommu_memfd_range_next_run(struct iommu_memfd_range *range, u64 *iova,
				u64 *length)
{
	struct range_mirror *rm;
	u64 start = *iova, i, l;
	bool found = false;

	list_for_each_entry(rm, &range->mirrors, list) {
		i = start;
		if (!iommu_memfd_next_run(rm->im, &i, &l) || (found && i >= *iova))
			continue;
		*iova = i;
		*length = l;
		found = true;
	}
	return found;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_next_run);

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
	iommu_memfd_range_set_event(range, NULL);
	iommu_memfd_account_destroy(&range->account);
	if (range->write_claimed)
		memfd_release_write(range->file);
	fput(range->file);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_destroy);
