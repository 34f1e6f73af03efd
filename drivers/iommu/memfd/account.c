// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd: accounting of pinned pages
 *
 * A page that a mirror has mapped can be neither migrated nor swapped out. So it is
 * charged to the caller that asked for the mapping, where that caller's pages by address
 * are charged as well: the sum of both stays within RLIMIT_MEMLOCK.
 *
 * - VFIO type1 charges the process, in locked_vm, which needs mmap_lock for writing. A
 *   page can enter a file in a page fault, with mmap_lock held for reading. Mirrors
 *   count in followed_vm instead: see mm_memlock_vm().
 * - iommufd charges the user, in the locked_vm of user_struct.
 *
 * The owner of an account serialises all calls for it.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/user.h>

#include "internal.h"

static void get_account(struct iommu_memfd_account *account)
{
	if (account->mm)
		mmgrab(account->mm);
	if (account->user)
		get_uid(account->user);
	if (account->task)
		get_task_struct(account->task);
}

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
		account->mode = IOMMU_MEMFD_CHARGE_MM;
	if (!capable(CAP_IPC_LOCK))
		account->task = current->group_leader;
	get_account(account);
}

/**
 * iommu_memfd_account_user - have an account charge the caller's user instead
 * @account: of the caller's process; it has no pages
 *
 * As iommufd does by address, charge nobody if there is no limit.
 */
void iommu_memfd_account_user(struct iommu_memfd_account *account)
{
	if (account->mode != IOMMU_MEMFD_CHARGE_MM)
		return;
	account->mode = IOMMU_MEMFD_CHARGE_NOBODY;
	if (!account->task)
		return;
	account->mode = IOMMU_MEMFD_CHARGE_USER;
	account->user = get_uid(current_user());
}

/**
 * iommu_memfd_account_share - set up one more account that charges the same
 * @account: to set up; it has no pages
 * @from: charges whom @account is to charge
 */
void iommu_memfd_account_share(struct iommu_memfd_account *account,
			       const struct iommu_memfd_account *from)
{
	*account = *from;
	account->nr_mapped = 0;
	get_account(account);
}

/**
 * iommu_memfd_account_destroy - undo iommu_memfd_account_init() or _share()
 * @account: without charged pages
 */
void iommu_memfd_account_destroy(struct iommu_memfd_account *account)
{
	if (account->task)
		put_task_struct(account->task);
	free_uid(account->user);
	if (account->mm)
		mmdrop(account->mm);
}

/* The limit as it is now: prlimit() may have changed it since the mapping was made. */
static unsigned long limit(const struct iommu_memfd_account *account)
{
	if (!account->task)
		return ULONG_MAX;
	return task_rlimit(account->task, RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

static bool charge_user(struct iommu_memfd_account *account, unsigned long nr)
{
	atomic_long_t *locked_vm = &account->user->locked_vm;
	unsigned long max = limit(account), new;
	long old = atomic_long_read(locked_vm);

	do {
		new = old + nr;
		if (new > max)
			return false;
	} while (!atomic_long_try_cmpxchg(locked_vm, &old, new));
	return true;
}

static bool charge_mm(struct iommu_memfd_account *account, unsigned long nr)
{
	struct mm_struct *mm = account->mm;
	unsigned long max = limit(account);

	/* an attempt that is bound to fail must not make another one fail */
	if (mm_memlock_vm(mm) + nr > max)
		return false;
	/* a full barrier: see mm_memlock_vm() */
	atomic64_add_return(nr, &mm->followed_vm);
	if (mm_memlock_vm(mm) <= max)
		return true;
	atomic64_sub(nr, &mm->followed_vm);
	return false;
}

/**
 * iommu_memfd_charge - charge for pages that are about to be mapped
 * @account: the account
 * @nr: number of pages
 *
 * Return: 0, or -EDQUOT if the pages exceed the limit. (After -ENOMEM a page
 * fault that brought the page would be retried without end.)
 */
int iommu_memfd_charge(struct iommu_memfd_account *account, unsigned long nr)
{
	if (account->mode == IOMMU_MEMFD_CHARGE_MM && !charge_mm(account, nr))
		return -EDQUOT;
	if (account->mode == IOMMU_MEMFD_CHARGE_USER && !charge_user(account, nr))
		return -EDQUOT;
	if (account->mm)
		atomic64_add(nr, &account->mm->pinned_vm);
	account->nr_mapped += nr;
	return 0;
}

/* Change the counters, whatever the limit is. */
static void add(struct iommu_memfd_account *account, s64 nr)
{
	if (account->mode == IOMMU_MEMFD_CHARGE_MM)
		atomic64_add(nr, &account->mm->followed_vm);
	if (account->mode == IOMMU_MEMFD_CHARGE_USER)
		atomic_long_add(nr, &account->user->locked_vm);
	if (account->mm)
		atomic64_add(nr, &account->mm->pinned_vm);
}

/**
 * iommu_memfd_uncharge - pages have been unmapped
 * @account: the account
 * @nr: number of pages
 */
void iommu_memfd_uncharge(struct iommu_memfd_account *account, unsigned long nr)
{
	account->nr_mapped -= nr;
	add(account, -(s64)nr);
}

/**
 * iommu_memfd_account_move - have another account charge for the same pages
 * @from: an account that charges; afterwards, it charges nobody
 * @to: an account that charges nobody; afterwards, it charges in place of @from
 *
 * At no moment are the pages charged twice, so that a concurrent charge is not refused.
 */
void iommu_memfd_account_move(struct iommu_memfd_account *from,
			      struct iommu_memfd_account *to)
{
	swap(*from, *to);
	swap(from->nr_mapped, to->nr_mapped);
	/* a page that is just entering the file may be in only one of them */
	add(to, (s64)to->nr_mapped - (s64)from->nr_mapped);
}
