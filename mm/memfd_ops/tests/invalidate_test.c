// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: invalidations, and the lookups that they mark
 */
#include "../internal.h"
#include "consumer.h"

static void i1_revoked_before_pages_leave(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	memfd_test_add(ctx, 0, 0, WINDOW);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 8));
	KUNIT_EXPECT_EQ(test, 8, bitmap_weight(ctx->c[0].mapped, WINDOW));

	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 4));
	/* memfd_test_exit() checks that no page was gone before the callback */
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 2, 4);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 2));
	KUNIT_EXPECT_TRUE(test, test_bit(1, ctx->c[0].mapped));
	KUNIT_EXPECT_FALSE(test, test_bit(3, ctx->c[0].mapped));

	/* a page that is cut short stays; the consumer looks whether it is new */
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 5 * PAGE_SIZE + 1));
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 6, WINDOW);
	memfd_test_expect(ctx, 1, 0, CB_INVALIDATE_END, 5, WINDOW);
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 5));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 6));
	KUNIT_EXPECT_EQ(test, 4, bitmap_weight(ctx->c[0].mapped, WINDOW));

	/* and so do pages that are partly in a hole */
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(ctx->file,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      1, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE_END, 0, 2);
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 0));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 1));
}

/* Does page 2 come from memory that has to stay movable? */
static bool may_be_movable(struct file *file)
{
	return memfd_gfp(file->f_mapping, 2, 1, GFP_HIGHUSER_MOVABLE) & __GFP_MOVABLE;
}

/* A folio is replaced: consumers without references lose it, others keep it in place */
static void i1_replaced_folios(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_invalidation inv, other;
	struct folio *folio;
	struct memfd_read read;

	memfd_test_add_with(ctx, 0, 0, 4, &memfd_test_bare_ops);
	/* no consumer pins */
	KUNIT_EXPECT_TRUE(test, may_be_movable(ctx->file));
	memfd_test_add(ctx, 1, 2, 4);
	KUNIT_EXPECT_FALSE(test, may_be_movable(ctx->file));
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 1));
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 2));
	memfd_test_forget(ctx);

	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(&ctx->c[0].mn, &read, 0, 4));
	folio = filemap_lock_folio(ctx->file->f_mapping, 1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_TRUE(test, memfd_replace_begin(&inv, folio, MEMFD_INVALIDATE_SWAP_OUT));
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 1, 2);
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&read));
	memfd_read_end(&ctx->c[0].mn, &read);
	memfd_replace_end(&inv);
	memfd_test_expect(ctx, 1, 0, CB_INVALIDATE_END, 1, 2);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	folio_unlock(folio);
	folio_put(folio);

	lru_add_drain_all();
	folio = filemap_lock_folio(ctx->file->f_mapping, 2);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, MEMFD_INVALIDATE_SWAP_OUT));
	/* migration fails while there is a reference */
	folio_get(folio);
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, MEMFD_INVALIDATE_MIGRATE));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	KUNIT_EXPECT_TRUE(test, memfd_replace_begin(&inv, folio, MEMFD_INVALIDATE_MIGRATE));
	memfd_replace_end(&inv);
	memfd_test_expect(ctx, 2, 0, CB_INVALIDATE, 2, 3);
	memfd_test_expect(ctx, 3, 0, CB_INVALIDATE_END, 2, 3);
	KUNIT_EXPECT_EQ(test, 4, ctx->nr);
	/* and if a consumer will map it again when another invalidation ends */
	memfd_test_invalidate(&other, ctx->file, 2, 3);
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, MEMFD_INVALIDATE_MIGRATE));
	folio_unlock(folio);
	memfd_invalidate_end(&other);
	folio_put(folio);

	memfd_test_remove(ctx, 1);
	KUNIT_EXPECT_TRUE(test, may_be_movable(ctx->file));
}

/* A folio is split: consumers without references lose it until that is over */
static void i2_frozen_folio(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_invalidation inv = {};
	struct memfd_read read;
	struct folio *folio;

	memfd_test_add(ctx, 0, 0, 4);
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 1));
	folio = filemap_lock_folio(ctx->file->f_mapping, 1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	memfd_test_forget(ctx);

	/* those that pin are not disturbed, in lookups either */
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(&ctx->c[0].mn, &read, 0, 4));
	KUNIT_EXPECT_TRUE(test, memfd_freeze_begin(&inv, folio));
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&read));
	memfd_freeze_end(&inv);
	memfd_read_end(&ctx->c[0].mn, &read);
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);

	memfd_test_add_with(ctx, 1, 0, 4, &memfd_test_bare_ops);
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(&ctx->c[1].mn, &read, 0, 4));
	KUNIT_EXPECT_TRUE(test, memfd_freeze_begin(&inv, folio));
	memfd_test_expect(ctx, 0, 1, CB_INVALIDATE, 1, 2);
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&read));
	memfd_read_end(&ctx->c[1].mn, &read);
	memfd_freeze_end(&inv);
	memfd_test_expect(ctx, 1, 1, CB_INVALIDATE_END, 1, 2);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	folio_unlock(folio);
	folio_put(folio);
}

static void i6_windows_are_independent(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_read read;

	memfd_test_add(ctx, 0, 0, 8);
	memfd_test_add(ctx, 1, 8, 16);
	memfd_test_add(ctx, 2, 4, 12);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, WINDOW));
	KUNIT_EXPECT_EQ(test, 8, bitmap_weight(ctx->c[0].mapped, WINDOW));
	KUNIT_EXPECT_TRUE(test, test_bit(8, ctx->c[1].mapped));
	KUNIT_EXPECT_FALSE(test, test_bit(7, ctx->c[1].mapped));

	memfd_test_forget(ctx);
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(&ctx->c[1].mn, &read, 8, 16));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 6, 8));
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 6, 8);
	memfd_test_expect(ctx, 1, 2, CB_INVALIDATE, 6, 8);
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&read));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 7, 9));
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&read));
	memfd_read_end(&ctx->c[1].mn, &read);

	/* unregistering one takes nothing from the others */
	memfd_test_remove(ctx, 2);
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 7));
	memfd_test_expect(ctx, 0, 0, CB_POPULATE, 7, 8);
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
}

/* Only invalidations of its own range make a lookup start over */
static void lookups_are_by_range(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_read low, high, both;
	struct memfd_invalidation a, b;

	memfd_test_add(ctx, 0, 0, WINDOW);
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(mn, &low, 0, 4));
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(mn, &high, 6, WINDOW));
	KUNIT_ASSERT_EQ(test, 0, memfd_read_begin(mn, &both, 0, WINDOW));
	memfd_test_invalidate(&a, ctx->file, 0, 4);
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&low));
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&both));
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&high));
	memfd_read_end(mn, &low);
	memfd_test_invalidate(&b, ctx->file, 2, 6);
	memfd_invalidate_end(&a);
	memfd_invalidate_end(&b);
	/* both are over, but pages looked up before may be gone */
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&both));
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&high));
	memfd_read_end(mn, &both);
	memfd_read_end(mn, &high);

	/* one elsewhere is not waited for */
	memfd_test_invalidate(&a, ctx->file, 0, 4);
	KUNIT_EXPECT_EQ(test, 0, memfd_read_begin(mn, &high, 4, WINDOW));
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&high));
	memfd_read_end(mn, &high);
	memfd_invalidate_end(&a);
}

/* debugfs shows the counts */
static void reasons_are_counted(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	unsigned long *nr;

	memfd_test_add(ctx, 0, 0, WINDOW);
	nr = ctx->c[0].mn.consumers->nr_invalidations;
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 8));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 4));
	KUNIT_EXPECT_EQ(test, 1UL, nr[MEMFD_INVALIDATE_PUNCH]);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 5 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0UL, nr[MEMFD_INVALIDATE_TRUNCATE]);
	ctx->c[0].populate_error = -EDQUOT;
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_write_page(ctx->file, 3));
	KUNIT_EXPECT_EQ(test, 1UL, nr[MEMFD_INVALIDATE_UNDO]);
	KUNIT_EXPECT_EQ(test, 1UL, nr[MEMFD_INVALIDATE_PUNCH]);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(i1_revoked_before_pages_leave),
	KUNIT_CASE(i1_replaced_folios),
	KUNIT_CASE(i2_frozen_folio),
	KUNIT_CASE(i6_windows_are_independent),
	KUNIT_CASE(lookups_are_by_range),
	KUNIT_CASE(reasons_are_counted),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_invalidate",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
