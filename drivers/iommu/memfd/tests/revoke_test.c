// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: pages that leave, and the references on pages
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/swap.h>

#include "soft_domain.h"

static void i1_revoked_and_flushed_before_gone(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 64));
	im = soft_mirror(test, IOVA, 0, 64);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);

	env->sd.syncs = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 3, 40));
	KUNIT_EXPECT_EQ(test, 1, env->sd.syncs);
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 3 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);

	/* a range with a hole in it */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 2, 50));
	KUNIT_EXPECT_EQ(test, 2, env->sd.syncs);
	/* pages that are only partly in the hole stay */
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(env->file,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      50 * PAGE_SIZE + 1, 2 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 50 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 51 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 52 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&env->file->f_path, PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA));
	iommu_memfd_unmap(im);
}

/* soft_domain.c checks the references at each unmap and flush, too */
static void i2_pages_are_held(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 2));
	im = soft_mirror(test, IOVA, 0, 2);
	lru_add_drain_all();
	folio = soft_folio(env->file, 0);
	KUNIT_EXPECT_EQ(test, 2, folio_ref_count(folio));
	folio_lock(folio);
	folio_clear_dirty_for_io(folio);
	folio_unlock(folio);
	env->sd.syncs = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_EQ(test, 1, env->sd.syncs);
}

/* A page that leaves the file without an invalidation is not freed */
static void i2_holds_unnotified(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 1));
	im = soft_mirror(test, IOVA, 0, 1);
	lru_add_drain_all();
	folio = filemap_lock_folio(env->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	filemap_remove_folio(folio);
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, PFN_PHYS(folio_pfn(folio)), soft_reach(test, IOVA));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));

	/* until another page takes its place, and the mirror revokes everything */
	folio_get(folio);
	KUNIT_EXPECT_EQ(test, -ENXIO, memfd_test_fallocate(env->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA));
	iommu_memfd_unmap(im);

	/* or until the mirror is unmapped */
	im = soft_mirror(test, IOVA, 0, 1);
	lru_add_drain_all();
	folio = filemap_lock_folio(env->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	filemap_remove_folio(folio);
	folio_unlock(folio);
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	folio_put(folio);
}

/* The IOMMU driver fails to unmap: pages that the device can reach are not freed */
static void i2_holds_if_unmap_fails(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 1));
	im = soft_mirror(test, IOVA, 0, 2);
	folio = soft_folio(env->file, 0);
	env->sd.no_unmap = true;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 0, 1));
	lru_add_drain_all();
	KUNIT_EXPECT_EQ(test, PFN_PHYS(folio_pfn(folio)), soft_reach(test, IOVA));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	/* nothing is mapped over it */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + PAGE_SIZE));
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	folio_put(folio);
	soft_clear(&env->sd.table);
}

struct announced {
	struct kunit *test;
	u64 iova, length;
	int nr;
};

static struct announced announced;

static void record_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length)
{
	u64 at;

	announced.nr++;
	announced.iova = iova;
	announced.length = length;
	for (at = iova; at < iova + length; at += PAGE_SIZE)
		KUNIT_EXPECT_NE(announced.test, 0, soft_reach(announced.test, at));
}

/* The owner of the domain is notified of what goes, and before it goes */
static void announces_before_it_unmaps(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 8));
	announced = (struct announced){ .test = test };
	env->imd.revoke = record_revoke;
	im = soft_mirror(test, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, announced.nr);

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 2, 4));
	KUNIT_EXPECT_EQ(test, 1, announced.nr);
	KUNIT_EXPECT_EQ(test, IOVA + 2 * PAGE_SIZE, announced.iova);
	KUNIT_EXPECT_EQ(test, 2 * PAGE_SIZE, announced.length);
	/* not of holes, nor of pages that come */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 2, 4));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 20, 40));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 3, 4));
	KUNIT_EXPECT_EQ(test, 1, announced.nr);
	/* of each run by itself */
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 3, announced.nr);
	KUNIT_EXPECT_EQ(test, IOVA + 3 * PAGE_SIZE, announced.iova);
	KUNIT_EXPECT_EQ(test, 5 * PAGE_SIZE, announced.length);
}

/* Two invalidations at once, each in the middle of a run: just that is revoked */
static void i10_revokes_no_more(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct memfd_invalidation a, b;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 64));
	im = soft_mirror(test, IOVA, 0, 64);
	memfd_test_invalidate_partly(&a, env->file, 10, 20);
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 10 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 9 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 20 * PAGE_SIZE));
	memfd_test_invalidate_partly(&b, env->file, 30, 32);
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 30 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 29 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 32 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 63 * PAGE_SIZE));
	/* neither has removed a page; the first to end does not wait for the other */
	memfd_invalidate_end(&a);
	memfd_invalidate_end(&b);
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 63 * PAGE_SIZE));
	iommu_memfd_unmap(im);
}

struct mapper {
	struct kunit *test;
	struct iommu_memfd *im;
	struct completion done;
};

static int map_thread(void *data)
{
	struct mapper *mapper = data;
	struct test_env *env = mapper->test->priv;

	mapper->im = iommu_memfd_map(&env->imd, IOVA, 64 * PAGE_SIZE, env->file,
				     0, IOMMU_READ);
	complete(&mapper->done);
	return 0;
}

/* A consumer that delays an operation that brings it a page */
struct slow {
	struct memfd_falloc_notifier mn;
	struct completion entered, go;
};

static void slow_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end)
{
}

static int slow_populate(struct memfd_falloc_notifier *mn, struct folio *folio,
			 const struct memfd_read *read)
{
	struct slow *slow = container_of(mn, struct slow, mn);

	complete(&slow->entered);
	wait_for_completion(&slow->go);
	return 0;
}

static unsigned long slow_nr_pinned(struct memfd_falloc_notifier *mn,
				    pgoff_t start, pgoff_t end)
{
	return 0;
}

static const struct memfd_falloc_notifier_ops slow_ops = {
	.name			= "slow",
	.invalidate_page_range	= slow_invalidate,
	.populate		= slow_populate,
	.unpin			= slow_invalidate,
	.repin			= slow_invalidate,
	.nr_pinned		= slow_nr_pinned,
};

static int punch_thread(void *data)
{
	struct kunit *test = data;
	struct test_env *env = test->priv;

	return memfd_test_punch(env->file, 5, 6);
}

/* A page that is punched between being found and being mapped is not mapped */
static void sequence_guards_fill(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct mapper mapper = { .test = test };
	struct task_struct *punch;
	struct slow slow = {};

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 64));
	init_completion(&mapper.done);
	init_completion(&slow.entered);
	init_completion(&slow.go);
	KUNIT_ASSERT_EQ(test, 0,
			memfd_register_falloc_notifier(&slow.mn, env->file, 5, 6, &slow_ops));
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(map_thread, &mapper, "memfd_test")));
	/* it has found page 5, and initialised it */
	wait_for_completion(&slow.entered);
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 5 * PAGE_SIZE));
	env->sd.syncs = 0;
	punch = kthread_run(punch_thread, test, "memfd_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(punch));
	get_task_struct(punch);
	/* revoked, but the file has it, since it is locked */
	while (!READ_ONCE(env->sd.syncs))
		schedule_timeout_uninterruptible(1);
	complete(&slow.go);
	KUNIT_EXPECT_EQ(test, 0, kthread_stop(punch));
	put_task_struct(punch);
	wait_for_completion(&mapper.done);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mapper.im));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 5 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	iommu_memfd_unmap(mapper.im);
	memfd_unregister_falloc_notifier(&slow.mn);
}

/* Punches a hole right after the mirror's next lookup, which has found the page */
struct intruder {
	struct kunit *test;
	const struct memfd_pfn_ops *real;
	struct memfd_pfn_ops ops;
};

static void look_up_then_punch(struct memfd_falloc_notifier *mn, pgoff_t *index,
			       pgoff_t end, unsigned int flags,
			       struct folio_batch *fbatch)
{
	struct intruder *in = container_of(mn->pfn_ops, struct intruder, ops);

	mn->pfn_ops = in->real;
	mn->pfn_ops->get_folios(mn, index, end, flags, fbatch);
	KUNIT_EXPECT_LE(in->test, 3, folio_batch_count(fbatch));
	KUNIT_EXPECT_EQ(in->test, 0, memfd_test_punch(mn->file, 1, 2));
}

/* A page is not mapped that has left between its lookup and the mirror's lock */
static void i1_looks_up_again(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct intruder in = { .test = test };
	struct memfd_falloc_notifier *mn;
	struct memfd_invalidation inv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 4));
	im = soft_mirror(test, IOVA, 0, 64);
	/* a mirror begins with its consumer */
	mn = (struct memfd_falloc_notifier *)im;
	KUNIT_ASSERT_STREQ(test, "iommu", mn->ops->name);
	memfd_test_invalidate_partly(&inv, env->file, 0, 3);
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA));

	in.real = mn->pfn_ops;
	in.ops = *in.real;
	in.ops.get_folios = look_up_then_punch;
	mn->pfn_ops = &in.ops;
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_PTR_EQ(test, in.real, mn->pfn_ops);
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 64);
	iommu_memfd_unmap(im);
}

static struct kunit_case iommu_memfd_revoke_cases[] = {
	KUNIT_CASE(i1_revoked_and_flushed_before_gone),
	KUNIT_CASE(i2_pages_are_held),
	KUNIT_CASE(i2_holds_unnotified),
	KUNIT_CASE(i2_holds_if_unmap_fails),
	KUNIT_CASE(announces_before_it_unmaps),
	KUNIT_CASE(i10_revokes_no_more),
	KUNIT_CASE(sequence_guards_fill),
	KUNIT_CASE(i1_looks_up_again),
	{}
};

static struct kunit_suite iommu_memfd_revoke_suite = {
	.name = "iommu_memfd_revoke",
	.init = soft_test_init,
	.exit = soft_test_exit,
	.test_cases = iommu_memfd_revoke_cases,
};

kunit_test_suite(iommu_memfd_revoke_suite);

MODULE_DESCRIPTION("KUnit tests of iommu_memfd: pages that leave");
MODULE_LICENSE("GPL");
