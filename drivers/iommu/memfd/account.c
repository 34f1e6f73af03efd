// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: accounting of pinned pages
 *
 * A page that a mirror has mapped can be neither migrated nor swapped out. It
 * counts as pinned memory of the process that asked for the mapping, within
 * the RLIMIT_MEMLOCK that the process had then.
 *
 * The owner of an account serialises all calls for it.
 */
#include <linux/capability.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "internal.h"

/**
 * iommu_memfd_account_init - set up an account of the caller's process
 * @account: to set up; it has no pages
 *
 * A kernel thread has no account: nobody is charged for its pages.
 */
void iommu_memfd_account_init(struct iommu_memfd_account *account)
{
	*account = (struct iommu_memfd_account){ .mm = current->mm };
	if (account->mm)
		mmgrab(account->mm);
	account->limit = capable(CAP_IPC_LOCK) ? S64_MAX :
			 rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

/**
 * iommu_memfd_account_share - set up one more account of the same process
 * @account: to set up; it has no pages
 * @from: the process is that of this one, and so is the limit
 */
void iommu_memfd_account_share(struct iommu_memfd_account *account,
			       const struct iommu_memfd_account *from)
{
	*account = (struct iommu_memfd_account){
		.mm = from->mm,
		.limit = from->limit,
	};
	if (account->mm)
		mmgrab(account->mm);
}

/**
 * iommu_memfd_account_destroy - undo iommu_memfd_account_init() or _share()
 * @account: without charged pages
 */
void iommu_memfd_account_destroy(struct iommu_memfd_account *account)
{
	if (account->mm)
		mmdrop(account->mm);
}

/**
 * iommu_memfd_uncharge - pages have been unmapped
 * @account: the account
 * @nr: number of pages
 */
void iommu_memfd_uncharge(struct iommu_memfd_account *account, unsigned long nr)
{
	account->nr_mapped -= nr;
	if (account->mm)
		atomic64_sub(nr, &account->mm->pinned_vm);
}

/**
 * iommu_memfd_account_move - charge a process for another account's pages
 * @from: an account of a process; afterwards, of nobody
 * @to: an account of nobody, for the same pages; afterwards, of that process
 *
 * At no moment are the pages charged twice, so that a concurrent charge of the
 * same process is not refused.
 */
void iommu_memfd_account_move(struct iommu_memfd_account *from,
			      struct iommu_memfd_account *to)
{
	to->mm = from->mm;
	to->limit = from->limit;
	from->mm = NULL;
	if (!to->mm)
		return;
	/* a page that is just entering the file may be in only one of them */
	atomic64_add((s64)to->nr_mapped - (s64)from->nr_mapped,
		     &to->mm->pinned_vm);
}
