// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: ranges in many domains, and their account
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/sched/mm.h>
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
	/* a kernel thread has none */
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	range.account.mm = mm;
	range.account.limit = 3;
	mmgrab(mm);
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));

	range.account.limit = 8;
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, 4, atomic64_read(&mm->pinned_vm));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->other.domain));
	KUNIT_EXPECT_EQ(test, 4, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 8, 10));
	KUNIT_EXPECT_EQ(test, 6, atomic64_read(&mm->pinned_vm));
	/* two more would fit, but not three: none stays */
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(env->file, 10, 13));
	KUNIT_EXPECT_EQ(test, 6UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_EQ(test, 6, atomic64_read(&mm->pinned_vm));
	expect_same(test, 6);

	/* the mirror that stays is charged */
	iommu_memfd_range_unmap(&range, &env->sd.domain);
	KUNIT_EXPECT_EQ(test, 6, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 4, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(env->file, 20, 25));
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));
	mmput(mm);
}

/* An invalidation frees what it has revoked; what stays is within the limit */
static void i8_returns_within_the_limit(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range, other;
	struct memfd_invalidation inv;
	struct mm_struct *mm = mm_alloc();
	int i, nr = 0;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 8));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, env->file, 0,
					       IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&other, IOVA, 64 * PAGE_SIZE,
					       memfd_test_file(test, 64), 0, IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(other.file, 0, 1));
	range.account.mm = mm;
	range.account.limit = 8;
	other.account = range.account;
	mmgrab(mm);
	mmgrab(mm);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&other, &env->other.domain));

	/* the pages stay after all, but there is room for all but one */
	memfd_test_invalidate(&inv, env->file, 0, 64);
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&other, &env->other.domain));
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	for (i = 0; i < 8; i++)
		nr += !!soft_reach(test, IOVA + i * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 7, nr);

	iommu_memfd_range_destroy(&other);
	memfd_test_invalidate(&inv, env->file, 0, 64);
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));
	memfd_invalidate_end(&inv);
	mmput(mm);
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
}

static struct kunit_case iommu_memfd_range_cases[] = {
	KUNIT_CASE(range_in_many_domains),
	KUNIT_CASE(range_is_charged_once),
	KUNIT_CASE(i8_returns_within_the_limit),
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
