// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: ranges, one window of a memfd in many domains
 *
 * A range has a mirror in each of its domains. The pages are pinned once, so
 * only the first mirror is charged for them. When it leaves, the charge moves
 * to the next.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memfd_ops.h>
#include <linux/slab.h>

#include "internal.h"

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
 * @file: a memfd, or another file that can have consumers
 * @offset: of the window in the file, in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 *
 * Pages are charged to the caller as by iommu_memfd_map(): once, however many
 * domains map them.
 *
 * Context: any.
 * Return: 0, or -EINVAL, -EOVERFLOW or -EACCES as iommu_memfd_map().
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
	if (!memfd_can_register(file) || offset + length - 1 > MAX_LFS_FILESIZE)
		return -EINVAL;

	get_file(file);
	iommu_memfd_account_init(&range->account);
	INIT_LIST_HEAD(&range->mirrors);
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_init);

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
	bool first = list_empty(&range->mirrors);
	struct range_mirror *rm;
	int error;

	rm = kzalloc(sizeof(*rm), GFP_KERNEL_ACCOUNT);
	if (!rm)
		return -ENOMEM;
	error = iommu_memfd_domain_init(&rm->imd, domain, NULL);
	if (error)
		goto err_free;
	rm->im = iommu_memfd_map_range(&rm->imd, range, first);
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
	iommu_memfd_account_destroy(&range->account);
	fput(range->file);
}
EXPORT_SYMBOL_GPL(iommu_memfd_range_destroy);
