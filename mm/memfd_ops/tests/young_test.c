// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: which consumers are asked for their accesses
 */
#include <linux/mm.h>

#include "consumer.h"

static struct folio *get_locked(struct kunit *test, struct file *file, pgoff_t index)
{
	struct folio *folio = filemap_lock_folio(file->f_mapping, index);

	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	return folio;
}

static void put_locked(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

/* Each consumer that can answer is asked for the part of the folio in its window */
static void windows_are_clipped(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct folio *folio;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 1024);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1024));
	memfd_test_add_with(ctx, 0, 0, 256, &memfd_test_young_ops);
	memfd_test_add_with(ctx, 1, 256, 2048, &memfd_test_young_ops);
	memfd_test_add_with(ctx, 2, 0, 1024, &memfd_test_bare_ops);
	folio = get_locked(test, ctx->file, 5);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, folio_order(folio));

	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_CLEAR_YOUNG, 0, 256);
	memfd_test_expect(ctx, 1, 1, CB_CLEAR_YOUNG, 256, 512);

	memfd_test_forget(ctx);
	KUNIT_EXPECT_FALSE(test, memfd_test_young(folio));
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_TEST_YOUNG, 0, 256);
	memfd_test_expect(ctx, 1, 1, CB_TEST_YOUNG, 256, 512);
	put_locked(folio);
}

/* A test leaves the accesses; clearing makes all consumers forget them */
static void test_and_clear(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 1));
	memfd_test_add_with(ctx, 0, 0, 4, &memfd_test_young_ops);
	memfd_test_add_with(ctx, 1, 1, 4, &memfd_test_young_ops);
	folio = get_locked(test, ctx->file, 1);

	ctx->c[1].young = true;
	KUNIT_EXPECT_TRUE(test, memfd_test_young(folio));
	KUNIT_EXPECT_TRUE(test, memfd_test_young(folio));
	/* one access is enough to answer a test */
	ctx->c[0].young = true;
	memfd_test_forget(ctx);
	KUNIT_EXPECT_TRUE(test, memfd_test_young(folio));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);

	KUNIT_EXPECT_TRUE(test, memfd_clear_young(folio));
	KUNIT_EXPECT_FALSE(test, ctx->c[0].young);
	KUNIT_EXPECT_FALSE(test, ctx->c[1].young);
	KUNIT_EXPECT_FALSE(test, memfd_test_young(folio));
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	put_locked(folio);
}

static void not_all_are_asked(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 1));
	memfd_test_add_with(ctx, 0, 0, 4, &memfd_test_young_ops);
	memfd_test_add_with(ctx, 1, 2, 4, &memfd_test_young_ops);
	folio = get_locked(test, ctx->file, 1);

	/* one with its window elsewhere */
	ctx->c[1].young = true;
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	KUNIT_EXPECT_TRUE(test, ctx->c[1].young);

	/* one whose owner is being destroyed */
	memfd_test_forget(ctx);
	ctx->c[0].young = true;
	ctx->c[0].owner_gone = true;
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	ctx->c[0].owner_gone = false;

	/* one that is unregistering, and waits for another callback */
	ctx->c[0].mn.unregistering = true;
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	ctx->c[0].mn.unregistering = false;
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
	KUNIT_EXPECT_TRUE(test, memfd_clear_young(folio));

	/* one that has unregistered, and then nobody is left */
	memfd_test_forget(ctx);
	memfd_test_remove(ctx, 0);
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	KUNIT_EXPECT_TRUE(test, memfd_folio_has_consumers(folio));
	memfd_test_remove(ctx, 1);
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	KUNIT_EXPECT_FALSE(test, memfd_folio_has_consumers(folio));
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
	put_locked(folio);
}

/* While a file has a consumer, folios of all kinds are looked at */
static void i9_folios_of_others(struct kunit *test)
{
	struct file *other = memfd_test_file(test, 4);
	struct test_ctx *ctx = test->priv;
	struct folio *folio;

	memfd_test_add_with(ctx, 0, 0, 4, &memfd_test_young_ops);
	ctx->c[0].young = true;
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(other, 1));
	folio = get_locked(test, other, 1);
	KUNIT_EXPECT_FALSE(test, memfd_folio_has_consumers(folio));
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	put_locked(folio);

	folio = folio_alloc(GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_EXPECT_FALSE(test, memfd_folio_has_consumers(folio));
	/* where an anonymous folio has its anon_vma, there is no file to look at */
	folio->mapping = (void *)((unsigned long)ctx->file->f_mapping |
				  PAGE_MAPPING_ANON);
	KUNIT_EXPECT_FALSE(test, memfd_folio_has_consumers(folio));
	KUNIT_EXPECT_FALSE(test, memfd_clear_young(folio));
	folio->mapping = NULL;
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(windows_are_clipped),
	KUNIT_CASE(test_and_clear),
	KUNIT_CASE(not_all_are_asked),
	KUNIT_CASE(i9_folios_of_others),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_young",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
