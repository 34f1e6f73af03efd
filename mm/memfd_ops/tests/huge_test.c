// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: huge folios, at the edges of ranges and of the file
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "consumer.h"

static struct file *half_windows(struct kunit *test,
				 const struct memfd_falloc_notifier_ops *ops)
{
	struct test_ctx *ctx = test->priv;
	struct file *file = memfd_test_huge_file(test, 1024);
	int order;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = file;
	memfd_test_add_with(ctx, 0, 0, 256, ops);
	memfd_test_add_with(ctx, 1, 256, 2048, ops);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(file, 0, 1024));
	pfn = ctx->c[0].mn.pfn_ops->get_lock_pfn(&ctx->c[0].mn, 5, 0, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	ctx->c[0].mn.pfn_ops->put_unlock_pfn(pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, order);
	KUNIT_EXPECT_EQ(test, 5, pfn & (HPAGE_PMD_NR - 1));
	memfd_test_forget(ctx);
	return file;
}

/*
 * A consumer of one half of a huge folio that does not pin loses it for a hole in
 * the other half, and for the split
 */
static void ranges_cover_whole_folios(struct kunit *test)
{
	struct file *file = half_windows(test, &memfd_test_bare_ops);
	struct test_ctx *ctx = test->priv;

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(file, 300, 301));
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 0, 256);
	memfd_test_expect(ctx, 1, 1, CB_INVALIDATE, 256, 512);
	memfd_test_expect(ctx, 2, 0, CB_INVALIDATE, 0, 256);
	memfd_test_expect(ctx, 3, 1, CB_INVALIDATE, 256, 512);
	memfd_test_expect(ctx, 4, 0, CB_INVALIDATE_END, 0, 256);
	memfd_test_expect(ctx, 5, 1, CB_INVALIDATE_END, 256, 512);
	memfd_test_expect(ctx, 6, 0, CB_INVALIDATE_END, 0, 256);
	memfd_test_expect(ctx, 7, 1, CB_INVALIDATE_END, 256, 512);
	KUNIT_EXPECT_EQ(test, 8, ctx->nr);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(file, 300));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(file, 301));
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(file));
}

/* One that pins loses the hole alone, and drops its references for the split */
static void i10_pinned_pages_stay(struct kunit *test)
{
	struct file *file = half_windows(test, &memfd_test_ops);
	struct test_ctx *ctx = test->priv;

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(file, 300, 301));
	memfd_test_expect(ctx, 0, 1, CB_INVALIDATE, 300, 301);
	memfd_test_expect(ctx, 1, 0, CB_UNPIN, 0, 256);
	memfd_test_expect(ctx, 2, 1, CB_UNPIN, 256, 512);
	memfd_test_expect(ctx, 3, 0, CB_REPIN, 0, 256);
	memfd_test_expect(ctx, 4, 1, CB_REPIN, 256, 512);
	memfd_test_expect(ctx, 5, 1, CB_INVALIDATE_END, 300, 301);
	KUNIT_EXPECT_EQ(test, 6, ctx->nr);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(file, 300));
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(file));

	/* whole folios are not split */
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(file, 512, 1024));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	memfd_test_expect(ctx, 0, 1, CB_INVALIDATE, 512, 1024);
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

	memfd_test_invalidate(&inv, ctx->file, 300, 301);
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
	KUNIT_EXPECT_EQ(test, 0, split_folio(folio));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 511));
	KUNIT_EXPECT_EQ(test, 512UL, memfd_test_blocks(ctx->file));
	folio_unlock(folio);
	folio_put(folio);

	/* a truncation drops them */
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 100 << PAGE_SHIFT));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 511));
	KUNIT_EXPECT_EQ(test, 100UL, memfd_test_blocks(ctx->file));
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

/* A consumer that has no room for a fallocated folio may have room for a page of it */
static void i4_refused_folio_is_split(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, HPAGE_PMD_NR);
	/* a consumer leaves movable folios to its first lookup */
	mapping_set_gfp_mask(ctx->file->f_mapping, GFP_HIGHUSER);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, HPAGE_PMD_NR));
	memfd_test_add(ctx, 0, 0, HPAGE_PMD_NR);
	ctx->c[0].populate_max = 1;
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 3));
	KUNIT_EXPECT_TRUE(test, test_bit(3, ctx->c[0].mapped));
	KUNIT_EXPECT_EQ(test, 1, bitmap_weight(ctx->c[0].mapped, WINDOW));
	/* the rest waits */
	KUNIT_EXPECT_EQ(test, (unsigned long)HPAGE_PMD_NR, memfd_test_blocks(ctx->file));
	ctx->c[0].populate_error = -EDQUOT;
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_write_page(ctx->file, 4));
	KUNIT_EXPECT_EQ(test, 1, bitmap_weight(ctx->c[0].mapped, WINDOW));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(ranges_cover_whole_folios),
	KUNIT_CASE(i10_pinned_pages_stay),
	KUNIT_CASE(i1_order_is_of_mappable_part),
	KUNIT_CASE(i2_splitting_drops_nothing),
	KUNIT_CASE(i4_refused_folio_is_split),
	KUNIT_CASE(truncation_terminates),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_huge",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
