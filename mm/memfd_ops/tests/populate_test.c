// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: pages that enter a file
 */
#include <linux/highmem.h>
#include <linux/pagevec.h>

#include "consumer.h"

static int take_thread(void *data)
{
	struct memfd_test_thread *t = data;
	struct memfd_falloc_notifier *mn = &t->c->mn;

	t->ret = mn->pfn_ops->get_lock_pfn(mn, 1, MEMFD_PFN_FILL, NULL);
	if (t->ret >= 0)
		mn->pfn_ops->put_unlock_pfn(t->ret);
	complete(&t->done);
	return 0;
}

static void i3_populated_when_initialised(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	const struct memfd_pfn_ops *pfn_ops;
	struct folio_batch fbatch;
	pgoff_t index = 0;
	char *kaddr;

	/* fallocated before the first consumer: not uptodate, so skipped */
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	memfd_test_add(ctx, 0, 0, WINDOW);
	pfn_ops = mn->pfn_ops;
	folio_batch_init(&fbatch);
	pfn_ops->get_folios(mn, &index, WINDOW, 0, &fbatch);
	KUNIT_EXPECT_EQ(test, 0, folio_batch_count(&fbatch));
	KUNIT_EXPECT_EQ(test, (pgoff_t)WINDOW, index);
	index = 0;
	pfn_ops->get_folios(mn, &index, WINDOW, MEMFD_PFN_FILL, &fbatch);
	KUNIT_EXPECT_EQ(test, 0, folio_batch_count(&fbatch));
	KUNIT_EXPECT_EQ(test, 0UL, index);

	index = 0;
	KUNIT_EXPECT_EQ(test, 0, pfn_ops->prepare_folios(mn, 0, WINDOW, MEMFD_PFN_FILL));
	pfn_ops->get_folios(mn, &index, WINDOW, 0, &fbatch);
	KUNIT_ASSERT_EQ(test, 1, folio_batch_count(&fbatch));
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(fbatch.folios[0]));
	kaddr = kmap_local_folio(fbatch.folios[0], 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(kaddr, 0, PAGE_SIZE));
	kunmap_local(kaddr);
	folio_batch_release(&fbatch);
	/* that called populate(), too */
	memfd_test_expect(ctx, 0, 0, CB_POPULATE, 0, 1);

	/* write(2) clears the page, and calls populate() before it copies */
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 3));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_POPULATE, 3, 4);
}

static void i4_populate_follows_each_way_in(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	int order = -1;
	long pfn;

	memfd_test_add(ctx, 0, 4, 12);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 6));
	memfd_test_expect(ctx, 0, 0, CB_FALLOCATE, 4, 6);
	memfd_test_expect(ctx, 1, 0, CB_POPULATE, 4, 5);
	memfd_test_expect(ctx, 2, 0, CB_POPULATE, 5, 6);
	KUNIT_EXPECT_EQ(test, 3, ctx->nr);

	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, -ENOENT, mn->pfn_ops->get_lock_pfn(mn, 7, 0, &order));
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 7, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	KUNIT_EXPECT_EQ(test, 0, order);
	KUNIT_EXPECT_TRUE(test, folio_test_locked(pfn_folio(pfn)));
	memfd_test_expect(ctx, 0, 0, CB_POPULATE, 7, 8);
	mn->pfn_ops->put_unlock_pfn(pfn);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(pfn_folio(pfn)));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(pfn_folio(pfn)));

	/* KEEP_SIZE, past the end of the file */
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 0));
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, vfs_fallocate(ctx->file, FALLOC_FL_KEEP_SIZE,
					       8 * PAGE_SIZE, PAGE_SIZE));
	memfd_test_expect(ctx, 1, 0, CB_POPULATE, 8, 9);
	KUNIT_EXPECT_TRUE(test, test_bit(8, ctx->c[0].mapped));
}

static void i4_populate_error_undoes(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;

	memfd_test_add(ctx, 0, 0, WINDOW);
	memfd_test_add(ctx, 1, 0, WINDOW);
	ctx->c[1].populate_error = -ENOMEM;

	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_write_page(ctx->file, 0));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 0));
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			mn->pfn_ops->get_lock_pfn(mn, 1, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1));
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	/* no consumer keeps a page that another could not map */
	KUNIT_EXPECT_EQ(test, 0, bitmap_weight(ctx->c[0].mapped, WINDOW));

	/* once it can, both map the pages */
	ctx->c[1].populate_error = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_EXPECT_EQ(test, 4, bitmap_weight(ctx->c[0].mapped, WINDOW));
	KUNIT_EXPECT_EQ(test, 4, bitmap_weight(ctx->c[1].mapped, WINDOW));
}

/* A page that enters a range under invalidation waits for its end (I1, I4) */
static void i4_populate_waits_for_invalidation(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_invalidation inv;
	struct memfd_test_thread taker;

	memfd_test_add(ctx, 0, 0, WINDOW);
	memfd_test_init_thread(&taker, &ctx->c[0]);
	memfd_test_invalidate(&inv, ctx->file, 0, 4);
	memfd_test_run(test, take_thread, &taker);
	KUNIT_EXPECT_TRUE(test, memfd_test_waits(ctx, &taker));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1));
	/* outside the range nothing waits, inside it nothing is mapped */
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 5));
	KUNIT_EXPECT_EQ(test, 1, bitmap_weight(ctx->c[0].mapped, WINDOW));
	memfd_invalidate_end(&inv);
	wait_for_completion(&taker.done);
	KUNIT_EXPECT_GT(test, taker.ret, 0L);
	KUNIT_EXPECT_TRUE(test, test_bit(1, ctx->c[0].mapped));
}

/* Errors that have another meaning where the page enters */
static void populate_errnos_are_translated(struct kunit *test)
{
	static const int errors[] = {
		-EAGAIN, -EEXIST, -EFAULT, -EINVAL, -EIO, -ENOENT
	};
	struct test_ctx *ctx = test->priv;
	int i;

	memfd_test_add(ctx, 0, 0, WINDOW);
	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		ctx->c[0].populate_error = errors[i];
		KUNIT_EXPECT_EQ(test, -ENXIO, memfd_test_write_page(ctx->file, 0));
		KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	}
	ctx->c[0].populate_error = -EDQUOT;
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_write_page(ctx->file, 0));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(i3_populated_when_initialised),
	KUNIT_CASE(i4_populate_follows_each_way_in),
	KUNIT_CASE(i4_populate_error_undoes),
	KUNIT_CASE(i4_populate_waits_for_invalidation),
	KUNIT_CASE(populate_errnos_are_translated),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_populate",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
