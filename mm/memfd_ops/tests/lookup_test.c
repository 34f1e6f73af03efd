// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: looking up pages
 */
#include <linux/pagevec.h>

#include "consumer.h"

static void get_lock_pfn_refuses(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;

	memfd_test_add(ctx, 0, 4, WINDOW + 8);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mn->pfn_ops->get_lock_pfn(mn, 3, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mn->pfn_ops->get_lock_pfn(mn, WINDOW + 8, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL, mn->pfn_ops->get_lock_pfn(mn, 4, 2, NULL));
	/* past the end of the file */
	KUNIT_EXPECT_EQ(test, -ENOENT,
			mn->pfn_ops->get_lock_pfn(mn, WINDOW, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
}

static void holes_cost_nothing(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct test_consumer *c = &ctx->c[0];
	struct folio_batch fbatch;
	pgoff_t last = (1UL << 40) >> PAGE_SHIFT, index = 0;

	KUNIT_ASSERT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 1UL << 40));
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 5));
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, last - 1));
	memfd_test_add(ctx, 0, 0, last);

	folio_batch_init(&fbatch);
	c->mn.pfn_ops->get_folios(&c->mn, &index, last, 0, &fbatch);
	KUNIT_ASSERT_EQ(test, 2, folio_batch_count(&fbatch));
	KUNIT_EXPECT_EQ(test, 5UL, fbatch.folios[0]->index);
	KUNIT_EXPECT_EQ(test, last - 1, fbatch.folios[1]->index);
	folio_batch_release(&fbatch);
	c->mn.pfn_ops->get_folios(&c->mn, &index, last, 0, &fbatch);
	KUNIT_EXPECT_EQ(test, 0, folio_batch_count(&fbatch));
}

/* From the middle of a folio, in nodes of the page cache without gaps */
static void find_hole_finds_holes(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct folio *folio;
	pgoff_t start;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	memfd_test_add(ctx, 0, 0, 512);
	/* by hand: shmem has such folios only if the administrator enables them */
	for (start = 0; start < 512; start += 16) {
		if (start == 128)
			continue;
		folio = folio_alloc(GFP_HIGHUSER, 4);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		folio_mark_uptodate(folio);
		KUNIT_ASSERT_EQ(test, 0, filemap_add_folio(ctx->file->f_mapping, folio,
							   start, GFP_KERNEL));
		folio_unlock(folio);
		folio_put(folio);
	}

	for (start = 0; start < 128; start += 5)
		KUNIT_EXPECT_EQ(test, 128UL, mn->pfn_ops->find_hole(mn, start, 500));
	KUNIT_EXPECT_EQ(test, 100UL, mn->pfn_ops->find_hole(mn, 7, 100));
	KUNIT_EXPECT_EQ(test, 500UL, mn->pfn_ops->find_hole(mn, 149, 500));
	KUNIT_EXPECT_EQ(test, 512UL, mn->pfn_ops->find_hole(mn, 257, 600));
	memfd_test_remove(ctx, 0);
	truncate_inode_pages(ctx->file->f_mapping, 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(get_lock_pfn_refuses),
	KUNIT_CASE(holes_cost_nothing),
	KUNIT_CASE(find_hole_finds_holes),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_lookup",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
