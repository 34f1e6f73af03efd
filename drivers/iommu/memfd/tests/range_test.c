// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: ranges in many domains, and their account
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/cred.h>
#include <linux/fcntl.h>
#include <linux/kthread.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/sizes.h>

#include "soft_domain.h"

/* Do both domains of a range have the same translations, of @pages pages? */
static void expect_same(struct kunit *test, unsigned long pages)
{
	struct test_env *env = test->priv;
	unsigned long i, nr = 0;
	phys_addr_t a, b;

	for (i = 0; i < 64; i++) {
		a = iommu_iova_to_phys(&env->sd.domain, IOVA + (i << PAGE_SHIFT));
		b = iommu_iova_to_phys(&env->other.domain, IOVA + (i << PAGE_SHIFT));
		KUNIT_EXPECT_EQ(test, a, b);
		nr += !!a;
	}
	KUNIT_EXPECT_EQ(test, pages, nr);
}

/* Domains join a range and leave it, before and after the file has pages */
static void range_in_many_domains(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, env->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(env->file->f_mapping));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 8, 10));

	/* one that cannot join leaves no trace */
	soft_set_whole_calls(&env->other);
	env->other.fail_map = 3;
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &env->other.domain));
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->other.table));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);

	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	expect_same(test, 6);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 2, 9));
	expect_same(test, 3);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 20, 30));
	expect_same(test, 13);

	iommu_memfd_range_unmap(&range, &env->other.domain);
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->other.table));
	iommu_memfd_range_unmap(&range, &env->other.domain);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	iommu_memfd_range_unmap_all(&range);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(env->file->f_mapping));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(env->file->f_mapping));
}

static void set_limit(unsigned long pages)
{
	task_lock(current);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = pages << PAGE_SHIFT;
	task_unlock(current);
}

/*
 * Kernel threads are not charged: charge @mm for @range, within this thread's limit. As
 * this is a process of its own, the limit is back to the default in the next test.
 */
static void charge_mm(struct kunit *test, struct iommu_memfd_range *range,
		      struct mm_struct *mm)
{
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_NULL(test, range->account.task);
	mmgrab(mm);
	range->account.mm = mm;
	range->account.mode = IOMMU_MEMFD_CHARGE_MM;
	range->account.task = get_task_struct(current);
}

static void expect_charged(struct kunit *test, struct mm_struct *mm, s64 pages)
{
	KUNIT_EXPECT_EQ(test, pages, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, pages, atomic64_read(&mm->followed_vm));
}

/* Pages are charged once, however many domains map them, and within a limit */
static void range_is_charged_once(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range;
	struct mm_struct *mm;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, env->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	mm = mm_alloc();
	charge_mm(test, &range, mm);
	set_limit(3);
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &env->sd.domain));
	expect_charged(test, mm, 0);

	set_limit(8);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	expect_charged(test, mm, 4);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	expect_charged(test, mm, 4);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 8, 10));
	expect_charged(test, mm, 6);
	/* two more would fit, but not three: none stays */
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(env->file, 10, 13));
	KUNIT_EXPECT_EQ(test, 6UL, memfd_test_blocks(env->file));
	expect_charged(test, mm, 6);
	expect_same(test, 6);

	/* the mirror that stays is charged */
	iommu_memfd_range_unmap(&range, &env->sd.domain);
	expect_charged(test, mm, 6);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 0, 2));
	expect_charged(test, mm, 4);
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(env->file, 20, 25));
	iommu_memfd_range_destroy(&range);
	expect_charged(test, mm, 0);
	mmput(mm);
}

/* An invalidation frees what it has revoked; what stays is within the limit */
static void i8_returns_within_the_limit(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range, other;
	struct memfd_invalidation inv;
	struct mm_struct *mm = mm_alloc();
	u64 missing = 0;
	int i, nr = 0;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 8));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, env->file, 0,
					       IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&other, IOVA, 64 * PAGE_SIZE,
					       memfd_test_file(test, 64), 0, IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(other.file, 0, 1));
	charge_mm(test, &range, mm);
	charge_mm(test, &other, mm);
	set_limit(8);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	expect_charged(test, mm, 8);
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&other, &env->other.domain));

	/* the pages stay after all, but there is room for all but one */
	memfd_test_invalidate_partly(&inv, env->file, 0, 64);
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
	expect_charged(test, mm, 0);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&other, &env->other.domain));
	memfd_invalidate_end(&inv);
	expect_charged(test, mm, 8);
	for (i = 0; i < 8; i++)
		nr += !!soft_reach(test, IOVA + i * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 7, nr);

	/* the one that lacks returns once there is room for it, too */
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_fill(&range, &missing));
	KUNIT_EXPECT_EQ(test, PAGE_SIZE, missing);
	iommu_memfd_range_destroy(&other);
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_fill(&range, &missing));
	KUNIT_EXPECT_EQ(test, 0, missing);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);

	memfd_test_invalidate_partly(&inv, env->file, 0, 64);
	iommu_memfd_range_destroy(&range);
	expect_charged(test, mm, 0);
	memfd_invalidate_end(&inv);
	mmput(mm);
}

/* A range of all of the file, for reading, charged to @mm, which may lock @limit pages */
static void init_range(struct kunit *test, struct iommu_memfd_range *range,
		       struct file *file, struct mm_struct *mm, unsigned long limit)
{
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(range, IOVA, 64 * PAGE_SIZE, file, 0,
					       IOMMU_READ));
	charge_mm(test, range, mm);
	set_limit(limit);
}

static void expect_missing(struct kunit *test, struct iommu_memfd_range *range,
			   unsigned long pages)
{
	u64 missing = U64_MAX;

	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_fill(range, &missing));
	KUNIT_EXPECT_EQ(test, pages << PAGE_SHIFT, missing);
}

/* A range that may miss pages refuses none, and gets them when there is room */
static void i12_may_miss(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct mm_struct *mm = mm_alloc();
	struct iommu_memfd_range range;
	int i, nr = 0;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	init_range(test, &range, env->file, mm, 3);
	range.may_miss = true;
	expect_missing(test, &range, 0);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	expect_charged(test, mm, 3);
	expect_missing(test, &range, 1);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 8, 10));
	KUNIT_EXPECT_EQ(test, 6UL, memfd_test_blocks(env->file));
	expect_missing(test, &range, 3);
	expect_charged(test, mm, 3);
	for (i = 0; i < 64; i++)
		nr += !!soft_reach(test, IOVA + i * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 3, nr);

	/* pages that lack leave like others */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 9, 10));
	expect_missing(test, &range, 2);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 0, 2));
	expect_missing(test, &range, 0);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	expect_charged(test, mm, 3);
	iommu_memfd_range_destroy(&range);
	expect_charged(test, mm, 0);
	mmput(mm);
}

/* Of two domains, the one that lacks most counts */
static void i12_missing_in_one_domain(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct mm_struct *mm = mm_alloc();
	struct iommu_memfd_range range;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 2));
	init_range(test, &range, env->file, mm, 64);
	range.may_miss = true;
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	expect_same(test, 2);
	env->sd.fail_map = 1;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 10, 11));
	env->other.fail_map = 1;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 20, 21));
	env->other.fail_map = 1;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 30, 31));
	/* the first one succeeds, of the other the first of two fails again */
	env->other.fail_map = 1;
	expect_missing(test, &range, 1);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 10 * PAGE_SIZE));
	expect_missing(test, &range, 0);
	expect_same(test, 5);
	iommu_memfd_range_destroy(&range);
	mmput(mm);
}

/* Without a veto, no domain has pages beyond the limit that the others lack */
static void i8_limit_of_many_domains(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct mm_struct *mm = mm_alloc();
	struct iommu_memfd_range range;
	struct file *file;

	file = dentry_open(&env->file->f_path, O_RDONLY | O_LARGEFILE, current_cred());
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	init_range(test, &range, file, mm, 7);
	/* at first nobody else is concerned, and the mapping fails */
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &env->other.domain));
	expect_charged(test, mm, 4);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(env->file, 3, 4));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	expect_charged(test, mm, 6);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 8, 12));
	expect_charged(test, mm, 7);
	expect_missing(test, &range, 4);

	/* the domain that stays has room for all */
	iommu_memfd_range_unmap(&range, &env->other.domain);
	expect_missing(test, &range, 0);
	expect_charged(test, mm, 7);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	iommu_memfd_range_destroy(&range);
	expect_charged(test, mm, 0);
	fput(file);
	mmput(mm);
}

/* A range has write access for its life, in whatever domains it is */
static void i8_range_claims_write(struct kunit *test)
{
	struct test_env *env = test->priv;
	unsigned int *seals = &SHMEM_I(file_inode(env->file))->seals;
	struct address_space *mapping = env->file->f_mapping;
	struct iommu_memfd_range range;
	int i;

	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM,
			iommu_memfd_range_init(&range, IOVA, SZ_64K, env->file, 0, IOMMU_WRITE));
	KUNIT_EXPECT_EQ(test, 1L, file_count(env->file));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, SZ_64K, env->file, 0, IOMMU_READ));
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);
	iommu_memfd_range_destroy(&range);

	*seals = 0;
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, SZ_64K, env->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	*seals = F_SEAL_FUTURE_WRITE;
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));
		KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
		KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
		KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));
		iommu_memfd_range_unmap_all(&range);
	}
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);
	*seals = 0;
}

/* What @revoke was called for, a bit for each page */
static void note_revoked(struct iommu_memfd_range *range, u64 iova, u64 length)
{
	u64 *pages = range->private;

	*pages |= GENMASK_ULL((iova + length - IOVA) / PAGE_SIZE - 1, (iova - IOVA) / PAGE_SIZE);
}

static u64 mapped(struct kunit *test, struct iommu_memfd_range *range)
{
	u64 iova = 0, length, end = 0, pages = 0;

	while (iommu_memfd_range_next_run(range, &iova, &length)) {
		KUNIT_EXPECT_GE(test, iova, end);
		pages |= GENMASK_ULL((iova + length - IOVA) / PAGE_SIZE - 1,
				     (iova - IOVA) / PAGE_SIZE);
		end = iova + length;
		iova = end;
	}
	return pages;
}

/* The owner finds the pages that any domain has, and is called for those that it loses */
static void range_tells_its_pages(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range;
	u64 revoked = 0;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, env->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	range.revoke = note_revoked;
	range.private = &revoked;
	range.may_miss = true;
	KUNIT_EXPECT_EQ(test, 0ULL, mapped(test, &range));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 62, 64));
	KUNIT_EXPECT_EQ(test, 3ULL << 62 | 0xf, mapped(test, &range));
	KUNIT_EXPECT_EQ(test, 0ULL, revoked);

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 1, 3));
	KUNIT_EXPECT_EQ(test, 0x6ULL, revoked);
	KUNIT_EXPECT_EQ(test, 3ULL << 62 | 0x9, mapped(test, &range));
	revoked = 0;
	iommu_memfd_range_unmap(&range, &env->sd.domain);
	KUNIT_EXPECT_EQ(test, 3ULL << 62 | 0x9, revoked);
	KUNIT_EXPECT_EQ(test, 3ULL << 62 | 0x9, mapped(test, &range));

	/* one domain lacks a page that the other one has */
	env->sd.fail_map = 2;
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, 3ULL << 62 | 0x9, mapped(test, &range));
	iommu_memfd_range_destroy(&range);
}

/* Errors that need no domain are returned at once */
static void range_refuses(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range;
	struct file *f = env->file;

	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_init(&range, IOVA, 0, f, 0, IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_memfd_range_init(&range, IOVA, SZ_4K, f, 1, IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_init(&range, IOVA, SZ_4K, f, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_memfd_range_init(&range, IOVA, SZ_4K, f,
					       PAGE_ALIGN_DOWN(MAX_LFS_FILESIZE) + SZ_4K,
					       IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			iommu_memfd_range_init(&range, U64_MAX - SZ_4K + 1, SZ_8K, f, 0,
					       IOMMU_READ));
	KUNIT_EXPECT_EQ(test, 1L, file_count(f));

	/* a domain that cannot map single pages */
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_init(&range, IOVA, SZ_2M, f, 0, IOMMU_READ));
	env->other.domain.pgsize_bitmap = SZ_64K | SZ_2M;
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_map(&range, &env->other.domain));
	env->other.domain.pgsize_bitmap = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_map(&range, &env->other.domain));
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(f->f_mapping));
	env->other.domain.pgsize_bitmap = SZ_4K;
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	iommu_memfd_range_destroy(&range);
}

static struct kunit_case iommu_memfd_range_cases[] = {
	KUNIT_CASE(range_in_many_domains),
	KUNIT_CASE(range_is_charged_once),
	KUNIT_CASE(i8_returns_within_the_limit),
	KUNIT_CASE(i8_limit_of_many_domains),
	KUNIT_CASE(i12_may_miss),
	KUNIT_CASE(i12_missing_in_one_domain),
	KUNIT_CASE(i8_range_claims_write),
	KUNIT_CASE(range_tells_its_pages),
	KUNIT_CASE(range_refuses),
	{}
};

static struct kunit_suite iommu_memfd_range_suite = {
	.name = "iommu_memfd_range",
	.init = soft_test_init,
	.exit = soft_test_exit,
	.test_cases = iommu_memfd_range_cases,
};

kunit_test_suite(iommu_memfd_range_suite);

MODULE_DESCRIPTION("KUnit tests of iommu_memfd: ranges");
MODULE_LICENSE("GPL");
