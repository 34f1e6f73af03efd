// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: fallocate(2), which a consumer can refuse
 */
#include "consumer.h"

static void i5_veto_in_every_position(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	unsigned long blocks;
	int order[MAX_CONSUMERS];
	int bad, i, asked;
	loff_t size;

	for (i = 0; i < MAX_CONSUMERS; i++)
		memfd_test_add(ctx, i, i * 4, WINDOW);
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 20));
	size = i_size_read(file_inode(ctx->file));
	blocks = memfd_test_blocks(ctx->file);

	for (bad = 0; bad < MAX_CONSUMERS; bad++) {
		memfd_test_forget(ctx);
		ctx->c[bad].fallocate_error = -EDQUOT - bad;
		KUNIT_EXPECT_EQ(test, -EDQUOT - bad,
				memfd_test_fallocate(ctx->file, 16, WINDOW + 16));
		ctx->c[bad].fallocate_error = 0;

		asked = 0;
		while (asked < ctx->nr &&
		       ctx->events[asked].callback == CB_FALLOCATE) {
			order[asked] = ctx->events[asked].consumer;
			asked++;
		}
		KUNIT_ASSERT_GT(test, asked, 0);
		KUNIT_EXPECT_EQ(test, bad, order[asked - 1]);
		/* the others abort, in reverse order of acceptance */
		KUNIT_EXPECT_EQ(test, asked + asked - 1, ctx->nr);
		for (i = 0; i < asked - 1; i++)
			memfd_test_expect(ctx, asked + i, order[asked - 2 - i],
					  CB_FALLOCATE_ABORT, 16, WINDOW);
		KUNIT_EXPECT_EQ(test, size, i_size_read(file_inode(ctx->file)));
		KUNIT_EXPECT_EQ(test, blocks, memfd_test_blocks(ctx->file));
	}

	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 16, 18));
	for (i = 0; i < ctx->nr; i++)
		KUNIT_EXPECT_NE(test, CB_FALLOCATE_ABORT, ctx->events[i].callback);
}

/* A consumer that may miss pages has no veto, and the others still have theirs */
static void i5_no_veto_if_it_may_miss(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	int i;

	ctx->c[0].mn.may_miss = true;
	for (i = 0; i < 2; i++)
		memfd_test_add(ctx, i, i, WINDOW);
	ctx->c[0].fallocate_error = -EDQUOT;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 4));
	KUNIT_EXPECT_EQ(test, 4UL, memfd_test_blocks(ctx->file));
	for (i = 0; i < ctx->nr; i++)
		KUNIT_EXPECT_NE(test, CB_FALLOCATE_ABORT, ctx->events[i].callback);

	memfd_test_forget(ctx);
	ctx->c[1].fallocate_error = -EPERM;
	KUNIT_EXPECT_EQ(test, -EPERM, memfd_test_fallocate(ctx->file, 4, 8));
	KUNIT_EXPECT_EQ(test, 4UL, memfd_test_blocks(ctx->file));
	/* none of the two has accepted: none aborts */
	for (i = 0; i < ctx->nr; i++)
		KUNIT_EXPECT_NE(test, CB_FALLOCATE_ABORT, ctx->events[i].callback);
}

static void i5_aborted_if_it_fails_later(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	memfd_test_add(ctx, 0, 0, 4);
	memfd_test_add(ctx, 1, 0, WINDOW);
	ctx->c[1].populate_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_ASSERT_GE(test, ctx->nr, 4);
	memfd_test_expect(ctx, ctx->nr - 2, ctx->events[1].consumer, CB_FALLOCATE_ABORT,
			  ctx->events[1].start, ctx->events[1].end);
	memfd_test_expect(ctx, ctx->nr - 1, ctx->events[0].consumer, CB_FALLOCATE_ABORT,
			  ctx->events[0].start, ctx->events[0].end);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
}

/* No consumer keeps pages that a failing fallocate() removes again */
static void undone_fallocate_leaves_nothing(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 0);
	memfd_test_add(ctx, 0, 0, 2048);
	ctx->c[0].populate_error = -EDQUOT;
	/* the last folio reaches past the undone range, and past the end of the file */
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(ctx->file, 0, 1025));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1024));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(i5_veto_in_every_position),
	KUNIT_CASE(i5_no_veto_if_it_may_miss),
	KUNIT_CASE(i5_aborted_if_it_fails_later),
	KUNIT_CASE(undone_fallocate_leaves_nothing),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_fallocate",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
