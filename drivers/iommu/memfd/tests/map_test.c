// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: the pages of a window are mapped, or mapping fails
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/swap.h>

#include "soft_domain.h"

static void i3_fallocated_pages_are_cleared(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	char *kaddr;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 1));
	kaddr = kmap_local_folio(soft_folio(env->file, 0), 0);
	KUNIT_ASSERT_FALSE(test, folio_test_uptodate(soft_folio(env->file, 0)));
	memset(kaddr, 0x5a, PAGE_SIZE);
	kunmap_local(kaddr);
	im = soft_mirror(test, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA));
	/* it may have been moved out of ZONE_MOVABLE */
	kaddr = kmap_local_folio(soft_folio(env->file, 0), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(kaddr, 0, PAGE_SIZE));
	kunmap_local(kaddr);
	iommu_memfd_unmap(im);
}

static void i4_mirror_is_complete(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im, *other;
	loff_t pos = 7 * PAGE_SIZE - 1;
	char two[2] = {};
	u64 iova, length;

	im = soft_mirror(test, IOVA, 0, 64);
	KUNIT_EXPECT_FALSE(test, iommu_memfd_next_run(im, &(u64){ 0 }, &length));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 3));
	KUNIT_EXPECT_EQ(test, 2, kernel_write(env->file, two, 2, &pos));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 7 * PAGE_SIZE));

	/* a second one, at other IOVAs: present pages, and those that enter */
	other = soft_mirror(test, IOVA + SZ_1G, 2, 32);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 4, 6));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	soft_expect_mirrored(test, env->file, IOVA + SZ_1G, 2, 32);

	/* runs: pages 0-2, 4-7; each as long as can be */
	iova = 0;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, (u64)IOVA, iova);
	KUNIT_EXPECT_EQ(test, 3 * PAGE_SIZE, length);
	iova += length;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, IOVA + 4 * PAGE_SIZE, iova);
	KUNIT_EXPECT_EQ(test, 4 * PAGE_SIZE, length);
	iova += PAGE_SIZE;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, 3 * PAGE_SIZE, length);
	iova += length;
	KUNIT_EXPECT_FALSE(test, iommu_memfd_next_run(im, &iova, &length));
	iommu_memfd_unmap(im);
	soft_expect_mirrored(test, env->file, IOVA + SZ_1G, 2, 32);
	iommu_memfd_unmap(other);
}

/* The domain cannot take a page: the operation that brings it fails */
static void i4_failure_is_returned(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im, *other;

	im = soft_mirror(test, IOVA, 0, 64);
	other = soft_mirror(test, IOVA + SZ_1G, 0, 64);
	/* each page is mapped twice: the third one fails with the second mirror */
	env->sd.fail_map = 6;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(env->file, 0, 5));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(env->file));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	soft_expect_mirrored(test, env->file, IOVA + SZ_1G, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 5));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	iommu_memfd_unmap(im);
	iommu_memfd_unmap(other);
}

static void i7_leaves_nothing(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 64));
	/* at each place where mapping can fail */
	soft_set_whole_calls(&env->sd);
	for (int nth = 1; nth <= 64; nth += 9) {
		env->sd.fail_map = nth;
		im = iommu_memfd_map(&env->imd, IOVA, 64 * PAGE_SIZE, env->file, 0,
				     IOMMU_READ);
		KUNIT_EXPECT_EQ(test, -ENOMEM, PTR_ERR_OR_ZERO(im));
		KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
		lru_add_drain_all();
		KUNIT_EXPECT_EQ(test, 1, folio_ref_count(soft_folio(env->file, 0)));
		KUNIT_EXPECT_FALSE(test, memfd_has_consumers(env->file->f_mapping));
	}
	im = soft_mirror(test, IOVA, 0, 64);
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(env->file->f_mapping));
	soft_expect_mirrored(test, env->file, IOVA, 100, 101);
}

static void expect_refused(struct kunit *test, int error, u64 iova, u64 length,
			   struct file *file, u64 offset, int prot)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	im = iommu_memfd_map(&env->imd, iova, length, file, offset, prot);
	KUNIT_EXPECT_EQ_MSG(test, error, PTR_ERR_OR_ZERO(im),
			    "iova %llx length %llx offset %llx prot %x", iova,
			    length, offset, prot);
	if (!IS_ERR(im))
		iommu_memfd_unmap(im);
}

static void map_refuses(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct file *f = env->file;
	struct iommu_memfd *im = soft_mirror(test, IOVA, 8, 16);
	struct iommu_resv_region resv = {
		.type = IOMMU_RESV_MSI, .start = 3UL * SZ_1G, .length = SZ_1M,
	};
	u64 top = 1UL << 48;
	int rw = IOMMU_READ | IOMMU_WRITE;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(f, 8, 9));
	expect_refused(test, -EINVAL, SZ_1G, 0, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M + 1, SZ_4K, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K + 1, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 512, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 0, 0);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 0, rw | IOMMU_MMIO);
	expect_refused(test, -EOVERFLOW, 0 - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, -EOVERFLOW, SZ_1M, SZ_8K, f, 0ULL - SZ_4K, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 1ULL << 63, rw);
	/* outside the aperture */
	expect_refused(test, -EINVAL, SZ_1M - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, -EINVAL, top - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, 0, top - SZ_4K, SZ_4K, f, 0, rw);
	/* over another */
	expect_refused(test, -EEXIST, IOVA + 7 * SZ_4K, SZ_4K, f, 0, rw);
	expect_refused(test, -EEXIST, IOVA - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, 0, IOVA + 8 * SZ_4K, SZ_4K, f, 0, rw);

	/* reserved for interrupts, or for a device until a driver has it */
	list_add(&resv.list, &env->imd.reserved);
	expect_refused(test, -EINVAL, resv.start - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, -EINVAL, resv.start + SZ_1M - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, 0, resv.start - SZ_4K, SZ_4K, f, 0, rw);
	expect_refused(test, 0, resv.start + SZ_1M, SZ_4K, f, 0, rw);
	resv.type = IOMMU_RESV_DIRECT_RELAXABLE;
	expect_refused(test, 0, resv.start, SZ_4K, f, 0, rw);
	list_del(&resv.list);

	f->f_mode &= ~FMODE_WRITE;
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, rw);
	expect_refused(test, 0, SZ_1M, SZ_4K, f, 0, IOMMU_READ);
	f->f_mode |= FMODE_WRITE;
	f->f_mode &= ~FMODE_READ;
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, rw);
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, IOMMU_WRITE);
	f->f_mode |= FMODE_READ;

	soft_expect_mirrored(test, f, IOVA, 8, 16);
	iommu_memfd_unmap(im);
}

static void sparse_costs_its_pages(struct kunit *test)
{
	struct test_env *env = test->priv;
	pgoff_t pages = (1UL << 40) >> PAGE_SHIFT, step = pages / 64, i;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, vfs_truncate(&env->file->f_path, 1UL << 40));
	for (i = 0; i < pages; i += step)
		KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, i, i + 2));
	im = soft_mirror(test, IOVA, 0, pages);
	KUNIT_EXPECT_LE(test, env->sd.maps, 128);
	for (i = 0; i < pages; i += step)
		soft_expect_mirrored(test, env->file, IOVA + (i << PAGE_SHIFT), i, i + 4);
	env->sd.unmaps = 0;
	env->sd.syncs = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 64, env->sd.unmaps);
	/* one for each of the first calls, and one for all others */
	KUNIT_EXPECT_EQ(test, 33, env->sd.syncs);
}

static struct kunit_case iommu_memfd_map_cases[] = {
	KUNIT_CASE(i3_fallocated_pages_are_cleared),
	KUNIT_CASE(i4_mirror_is_complete),
	KUNIT_CASE(i4_failure_is_returned),
	KUNIT_CASE(i7_leaves_nothing),
	KUNIT_CASE(map_refuses),
	KUNIT_CASE(sparse_costs_its_pages),
	{}
};

static struct kunit_suite iommu_memfd_map_suite = {
	.name = "iommu_memfd_map",
	.init = soft_test_init,
	.exit = soft_test_exit,
	.test_cases = iommu_memfd_map_cases,
};

kunit_test_suite(iommu_memfd_map_suite);

MODULE_DESCRIPTION("KUnit tests of iommu_memfd: mapping");
MODULE_LICENSE("GPL");
