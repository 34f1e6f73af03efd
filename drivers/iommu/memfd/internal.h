/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommu_memfd: what its files share
 *
 *	range.c		one window in many domains: a mirror in each
 *	mirror.c	one window in one domain; only this file maps and unmaps
 *	account.c	the pages that a mirror pins, and their limit
 *
 * Each uses those below it.
 */
#ifndef _IOMMU_MEMFD_INTERNAL_H
#define _IOMMU_MEMFD_INTERNAL_H

#include <linux/iommu_memfd.h>

void iommu_memfd_account_init(struct iommu_memfd_account *account);
void iommu_memfd_account_user(struct iommu_memfd_account *account);
void iommu_memfd_account_share(struct iommu_memfd_account *account,
			       const struct iommu_memfd_account *from);
void iommu_memfd_account_destroy(struct iommu_memfd_account *account);
int iommu_memfd_charge(struct iommu_memfd_account *account, unsigned long nr);
void iommu_memfd_uncharge(struct iommu_memfd_account *account, unsigned long nr);
void iommu_memfd_account_move(struct iommu_memfd_account *from,
			      struct iommu_memfd_account *to);

int iommu_memfd_check_range(const struct iommu_memfd_range *range);
struct iommu_memfd *iommu_memfd_map_range(struct iommu_memfd_domain *imd,
					  const struct iommu_memfd_range *range,
					  struct iommu_memfd_event *event,
					  bool charge);
void iommu_memfd_set_filler(struct iommu_memfd *im, struct task_struct *task);
int iommu_memfd_fill(struct iommu_memfd *im, pgoff_t *nr_lacking);
unsigned long iommu_memfd_nr_mapped(struct iommu_memfd *im,
				    unsigned long *nr_missing);
u64 iommu_memfd_id(struct iommu_memfd *im);
void iommu_memfd_move_charge(struct iommu_memfd *from, struct iommu_memfd *to);

#endif /* _IOMMU_MEMFD_INTERNAL_H */
