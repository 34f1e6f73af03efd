// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: huge folios, at the edges of ranges and of the file
 */
#include <linux/mm.h>

#include "consumer.h"

/* A consumer of one half of a huge folio loses it for a hole in the other half */
static void ranges_cover_whole_folios(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct file *file = memfd_test_huge_file(test, 1024);
	int order;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = file;
	memfd_test_add(ctx, 0, 0, 256);
	memfd_test_add(ctx, 1, 256, 2048);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(file, 0, 1024));
	pfn = ctx->c[0].mn.pfn_ops->get_lock_pfn(&ctx->c[0].mn, 5, 0, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	ctx->c[0].mn.pfn_ops->put_unlock_pfn(pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, order);
	KUNIT_EXPECT_EQ(test, 5, pfn & (HPAGE_PMD_NR - 1));

	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(file, 300, 301));
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 0, 256);
	memfd_test_expect(ctx, 1, 1, CB_INVALIDATE, 256, 512);
	memfd_test_expect(ctx, 2, 0, CB_INVALIDATE_END, 0, 256);
	memfd_test_expect(ctx, 3, 1, CB_INVALIDATE_END, 256, 512);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(file, 300));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(file, 301));
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(file));
}

/*
 * A huge folio enters while a part of it is being invalidated, or reaches past the
 * end of the file: a consumer must not map it whole
 */
static void i1_order_is_of_mappable_part(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_invalidation inv;
	int order = -1;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	memfd_test_add_with(ctx, 0, 0, 1024, &memfd_test_bare_ops);

	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 300, 301, MEMFD_INVALIDATE_PUNCH);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 0, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	KUNIT_EXPECT_EQ(test, HPAGE_PMD_ORDER, folio_order(pfn_folio(pfn)));
	KUNIT_EXPECT_EQ(test, 0, order);
	mn->pfn_ops->put_unlock_pfn(pfn);
	memfd_invalidate_end(&inv);

	pfn = mn->pfn_ops->get_lock_pfn(mn, 0, 0, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	KUNIT_EXPECT_EQ(test, HPAGE_PMD_ORDER, order);
	mn->pfn_ops->put_unlock_pfn(pfn);

	pfn = mn->pfn_ops->get_lock_pfn(mn, 512, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	KUNIT_EXPECT_EQ(test, HPAGE_PMD_ORDER, folio_order(pfn_folio(pfn)));
	KUNIT_EXPECT_EQ(test, 0, order);
	mn->pfn_ops->put_unlock_pfn(pfn);
}

/* Splitting drops the pages past the end of the file without an invalidation */
static void i2_splitting_drops_nothing(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct folio *folio;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 100);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 100));
	KUNIT_ASSERT_EQ(test, 512UL, memfd_test_blocks(ctx->file));
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 7));
	memfd_test_add(ctx, 0, 0, 512);

	folio = filemap_lock_folio(ctx->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_EQ(test, -EBUSY, split_folio(folio));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 511));
	folio_unlock(folio);
	memfd_test_remove(ctx, 0);
	folio_lock(folio);
	KUNIT_EXPECT_EQ(test, 0, split_folio(folio));
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 511));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 99));
}

/* A huge folio enters just below the new end of the file during truncation */
static void truncation_terminates(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	memfd_test_add_with(ctx, 0, 0, 1024, &memfd_test_bare_ops);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 590, 591));
	ctx->c[0].wants = 299;
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 300 << PAGE_SHIFT));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 299));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 300));
	KUNIT_EXPECT_EQ(test, 300UL, memfd_test_blocks(ctx->file));
}

/* A consumer that registers before memory_failure() splits a folio may have mapped it */
static void split_keeps_pages_of_late_consumers(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_invalidation inv;
	struct folio *folio;
	int order;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	memfd_test_add_with(ctx, 0, 0, 1024, &memfd_test_bare_ops);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 5, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_LE(test, 0, pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, order);
	mn->pfn_ops->put_unlock_pfn(pfn);

	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, 512, MEMFD_INVALIDATE_PUNCH);
	folio = filemap_lock_folio(ctx->file->f_mapping, 5);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, folio);
	KUNIT_EXPECT_TRUE(test, memfd_split_may_discard(folio, 300));
	folio_unlock(folio);

	memfd_test_add_with(ctx, 1, 0, 400, &memfd_test_bare_ops);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, memfd_split_may_discard(folio, 300));
	KUNIT_EXPECT_TRUE(test, memfd_split_may_discard(folio, 400));
	folio_unlock(folio);
	memfd_test_remove(ctx, 1);
	folio_lock(folio);
	KUNIT_EXPECT_TRUE(test, memfd_split_may_discard(folio, 300));
	folio_unlock(folio);
	memfd_invalidate_end(&inv);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, memfd_split_may_discard(folio, 300));
	folio_unlock(folio);
	folio_put(folio);
}

static int truncate_thread(void *data)
{
	struct memfd_test_thread *t = data;

	t->ret = vfs_truncate(&t->c->mn.file->f_path, 300 << PAGE_SHIFT);
	complete(&t->done);
	return 0;
}

/* An invalidation allows a split to drop pages only once it has revoked them */
static void i2_split_waits_for_revocation(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_test_thread truncate;
	struct folio *folio;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 512);
	memfd_test_add_with(ctx, 0, 0, 512, &memfd_test_bare_ops);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 5, MEMFD_PFN_FILL, NULL);
	KUNIT_ASSERT_LE(test, 0, pfn);
	folio = pfn_folio(pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, folio_order(folio));
	folio_get(folio);
	mn->pfn_ops->put_unlock_pfn(pfn);

	ctx->c[0].block = true;
	memfd_test_init_thread(&truncate, &ctx->c[0]);
	memfd_test_run(test, truncate_thread, &truncate);
	wait_for_completion(&ctx->c[0].blocked);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, memfd_split_may_discard(folio, 300));
	folio_unlock(folio);
	folio_put(folio);
	ctx->c[0].block = false;
	complete(&ctx->c[0].go_on);
	wait_for_completion(&truncate.done);
	KUNIT_EXPECT_EQ(test, 0L, truncate.ret);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(ranges_cover_whole_folios),
	KUNIT_CASE(i1_order_is_of_mappable_part),
	KUNIT_CASE(i2_splitting_drops_nothing),
	KUNIT_CASE(truncation_terminates),
	KUNIT_CASE(split_keeps_pages_of_late_consumers),
	KUNIT_CASE(i2_split_waits_for_revocation),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_huge",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
