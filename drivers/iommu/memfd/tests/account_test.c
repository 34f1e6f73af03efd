// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: whom an account charges, and within which limit (I8)
 */
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/user.h>

#include "../internal.h"
#include "watch.h"

/* Each test has the account of a process that may lock LIMIT pages. */
struct account_env {
	struct iommu_memfd_account account;
	struct mm_struct *mm;
};

#define LIMIT	8

/* Each test is a process of its own. */
static void set_limit(unsigned long pages)
{
	task_lock(current);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = pages << PAGE_SHIFT;
	task_unlock(current);
}

/* Kernel threads have no mm, and are privileged. */
static struct account_env *make_account(struct kunit *test)
{
	struct account_env *env = kunit_kzalloc(test, sizeof(*env), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, env);
	env->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, env->mm);
	mmgrab(env->mm);
	env->account = (struct iommu_memfd_account){
		.mode = IOMMU_MEMFD_CHARGE_MM,
		.mm = env->mm,
		.task = get_task_struct(current),
	};
	set_limit(LIMIT);
	return env;
}

static void free_account(struct kunit *test, struct account_env *env)
{
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&env->mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&env->mm->followed_vm));
	KUNIT_EXPECT_EQ(test, 0, env->account.nr_mapped);
	iommu_memfd_account_destroy(&env->account);
	mmput(env->mm);
}

static int lock_pages(struct mm_struct *mm, unsigned long nr, bool privileged)
{
	int error;

	mmap_write_lock(mm);
	error = __account_locked_vm(mm, nr, true, current, privileged);
	mmap_write_unlock(mm);
	return error;
}

static void unlock_pages(struct mm_struct *mm, unsigned long nr)
{
	mmap_write_lock(mm);
	__account_locked_vm(mm, nr, false, current, false);
	mmap_write_unlock(mm);
}

/* Followed pages and those that the process has locked otherwise share its limit */
static void i8_one_limit_of_a_process(struct kunit *test)
{
	struct account_env *env = make_account(test);
	struct mm_struct *mm = env->mm;

	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 5));
	KUNIT_EXPECT_EQ(test, 5, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -ENOMEM, lock_pages(mm, 4, false));
	KUNIT_EXPECT_EQ(test, 0UL, mm->locked_vm);
	KUNIT_EXPECT_EQ(test, 0, lock_pages(mm, 3, false));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	KUNIT_EXPECT_EQ(test, 5, atomic64_read(&mm->pinned_vm));
	unlock_pages(mm, 1);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 1));

	/* privileged pages count, and are not limited */
	KUNIT_EXPECT_EQ(test, 0, lock_pages(mm, 100, true));
	unlock_pages(mm, 102);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 2));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	iommu_memfd_uncharge(&env->account, 8);
	free_account(test, env);
}

/* The limit is that of now: a lower one takes nothing away, and adds nothing */
static void i8_limit_of_now(struct kunit *test)
{
	struct account_env *env = make_account(test);

	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 8));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	set_limit(9);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 1));
	set_limit(4);
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	KUNIT_EXPECT_EQ(test, 9, atomic64_read(&env->mm->pinned_vm));
	iommu_memfd_uncharge(&env->account, 6);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 1));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	iommu_memfd_uncharge(&env->account, 4);
	free_account(test, env);
}

/* iommufd's way: all processes of a user share one counter */
static void i8_charges_the_user(struct kunit *test)
{
	struct account_env *env = make_account(test), *other = make_account(test);
	atomic_long_t *locked_vm = &current_user()->locked_vm;
	long before = atomic_long_read(locked_vm);

	set_limit(before + LIMIT);
	iommu_memfd_account_user(&env->account);
	iommu_memfd_account_user(&other->account);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 5));
	KUNIT_EXPECT_EQ(test, before + 5, atomic_long_read(locked_vm));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&other->account, 4));
	KUNIT_EXPECT_EQ(test, before + 5, atomic_long_read(locked_vm));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&other->account, 3));
	KUNIT_EXPECT_EQ(test, 5, atomic64_read(&env->mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 3, atomic64_read(&other->mm->pinned_vm));
	/* not of the process */
	KUNIT_EXPECT_EQ(test, 0, lock_pages(env->mm, LIMIT, false));
	unlock_pages(env->mm, LIMIT);
	iommu_memfd_uncharge(&env->account, 5);
	iommu_memfd_uncharge(&other->account, 3);
	KUNIT_EXPECT_EQ(test, before, atomic_long_read(locked_vm));
	free_account(test, env);
	free_account(test, other);
}

/* With CAP_IPC_LOCK there is no limit; the process is charged, the user is not */
static void i8_privileged(struct kunit *test)
{
	struct account_env *env = make_account(test), *other = make_account(test);
	atomic_long_t *locked_vm = &current_user()->locked_vm;
	long before = atomic_long_read(locked_vm);

	put_task_struct(env->account.task);
	env->account.task = NULL;
	put_task_struct(other->account.task);
	other->account.task = NULL;
	iommu_memfd_account_user(&other->account);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 100));
	KUNIT_EXPECT_EQ(test, 100, atomic64_read(&env->mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -ENOMEM, lock_pages(env->mm, 1, false));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&other->account, 100));
	KUNIT_EXPECT_EQ(test, 100, atomic64_read(&other->mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, before, atomic_long_read(locked_vm));
	iommu_memfd_uncharge(&env->account, 100);
	iommu_memfd_uncharge(&other->account, 100);
	free_account(test, env);
	free_account(test, other);
}

/* Nobody is charged for the pages of a kernel thread */
static void i8_kernel_thread(struct kunit *test)
{
	struct iommu_memfd_account account;

	iommu_memfd_account_init(&account);
	iommu_memfd_account_user(&account);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&account, 1UL << 40));
	iommu_memfd_uncharge(&account, 1UL << 40);
	iommu_memfd_account_destroy(&account);
}

/* A charge that moves is never there twice, and follows the pages of its new owner */
static void i8_moves(struct kunit *test)
{
	struct account_env *env = make_account(test);
	struct iommu_memfd_account other = {};

	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&env->account, 8));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&other, 7));
	iommu_memfd_account_move(&env->account, &other);
	KUNIT_EXPECT_EQ(test, 7, atomic64_read(&env->mm->followed_vm));
	KUNIT_EXPECT_EQ(test, 7, atomic64_read(&env->mm->pinned_vm));
	iommu_memfd_uncharge(&env->account, 8);
	KUNIT_EXPECT_EQ(test, 7, atomic64_read(&env->mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_charge(&other, 1));
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&other, 1));
	iommu_memfd_uncharge(&other, 8);
	iommu_memfd_account_destroy(&other);
	free_account(test, env);
}

/*
 * A charge adds first, and looks then: of two that race for the last page, each sees the
 * other's. A breakpoint at the counter makes the race certain: behind the first write to it,
 * the other charge takes all room.
 */
static void lock_between(struct perf_event *event, struct perf_sample_data *data,
			 struct pt_regs *regs)
{
	struct mm_struct *mm = event->overflow_handler_context;

	mm->locked_vm = LIMIT;
}

static void i8_room_is_lost_by_address(struct kunit *test)
{
	struct account_env *env = make_account(test);
	struct perf_event * __percpu *event;

	event = watch_writes(test, &env->mm->followed_vm, lock_between, env->mm);
	KUNIT_EXPECT_EQ(test, -EDQUOT, iommu_memfd_charge(&env->account, 1));
	unregister_wide_hw_breakpoint(event);

	KUNIT_EXPECT_EQ_MSG(test, (unsigned long)LIMIT, env->mm->locked_vm,
			    "QEMU does not see an xadd with mttcg");
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&env->mm->followed_vm));
	env->mm->locked_vm = 0;
	free_account(test, env);
}

static void follow_between(struct perf_event *event, struct perf_sample_data *data,
			   struct pt_regs *regs)
{
	struct mm_struct *mm = event->overflow_handler_context;

	atomic64_set(&mm->followed_vm, LIMIT);
}

static void i8_room_is_lost_followed(struct kunit *test)
{
	struct account_env *env = make_account(test);
	struct perf_event * __percpu *event;

	event = watch_writes(test, &env->mm->locked_vm, follow_between, env->mm);
	mmap_write_lock(env->mm);
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			__account_locked_vm(env->mm, 1, true, current, false));
	mmap_write_unlock(env->mm);
	unregister_wide_hw_breakpoint(event);

	KUNIT_EXPECT_EQ(test, LIMIT, atomic64_read(&env->mm->followed_vm));
	KUNIT_EXPECT_EQ(test, 0UL, env->mm->locked_vm);
	atomic64_set(&env->mm->followed_vm, 0);
	free_account(test, env);
}

static struct kunit_case iommu_memfd_account_cases[] = {
	KUNIT_CASE(i8_one_limit_of_a_process),
	KUNIT_CASE(i8_limit_of_now),
	KUNIT_CASE(i8_charges_the_user),
	KUNIT_CASE(i8_privileged),
	KUNIT_CASE(i8_kernel_thread),
	KUNIT_CASE(i8_moves),
	KUNIT_CASE(i8_room_is_lost_by_address),
	KUNIT_CASE(i8_room_is_lost_followed),
	{}
};

static struct kunit_suite iommu_memfd_account_suite = {
	.name = "iommu_memfd_account",
	.test_cases = iommu_memfd_account_cases,
};

kunit_test_suite(iommu_memfd_account_suite);
