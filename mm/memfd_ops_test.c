// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops, with consumers that record what they are told
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/kthread.h>
#include <linux/memfd_ops.h>
#include <linux/mutex.h>
#include <linux/pagevec.h>

#define MAX_EVENTS	32
#define MAX_CONSUMERS	3
#define WINDOW		64

enum told { BEGIN, END, ASK, CANCEL, POPULATE };

struct event {
	int who;
	enum told what;
	pgoff_t start, end;
};

struct ctx;

struct consumer {
	struct memfd_falloc_notifier mn;
	struct ctx *ctx;
	int who;
	bool registered;
	/* what the callbacks are to do */
	int fallocate_error;
	int populate_error;
	bool owner_gone;
	bool block;
	pgoff_t wants;		/* a page to take in BEGIN, if not 0 */
	struct completion blocked, go_on;
	/* what they saw */
	int owners;
	bool saw_absent;	/* in BEGIN, a page of the range was gone */
	bool saw_stale;		/* in POPULATE, the folio was not zeroed */
	DECLARE_BITMAP(mapped, WINDOW);
};

struct ctx {
	struct kunit *test;
	struct file *file;
	struct consumer c[MAX_CONSUMERS];
	struct mutex lock;	/* protects the events, and each c[].mapped */
	struct event events[MAX_EVENTS];
	int nr;
};

static struct consumer *to_consumer(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct consumer, mn);
}

static void record(struct consumer *c, enum told what, pgoff_t start, pgoff_t end)
{
	struct ctx *ctx = c->ctx;

	mutex_lock(&ctx->lock);
	if (ctx->nr < MAX_EVENTS)
		ctx->events[ctx->nr] = (struct event){ c->who, what, start, end };
	ctx->nr++;
	mutex_unlock(&ctx->lock);
}

static void maybe_take(struct consumer *c)
{
	long pfn;

	if (!c->wants)
		return;
	pfn = c->mn.pfn_ops->get_lock_pfn(&c->mn, c->wants, MEMFD_PFN_FILL, NULL);
	KUNIT_ASSERT_GT(c->ctx->test, pfn, 0);
	KUNIT_EXPECT_NE(c->ctx->test, 0, folio_order(pfn_folio(pfn)));
	c->mn.pfn_ops->put_unlock_pfn(pfn);
}

static void maybe_block(struct consumer *c)
{
	if (!c->block)
		return;
	complete(&c->blocked);
	wait_for_completion(&c->go_on);
}

static bool test_get_owner(struct memfd_falloc_notifier *mn)
{
	struct consumer *c = to_consumer(mn);

	if (c->owner_gone)
		return false;
	c->owners++;
	return true;
}

static void test_put_owner(struct memfd_falloc_notifier *mn)
{
	to_consumer(mn)->owners--;
}

static void test_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end)
{
	struct consumer *c = to_consumer(mn);
	pgoff_t i;

	record(c, BEGIN, start, end);
	mutex_lock(&c->ctx->lock);
	for (i = start; i < end && i < WINDOW; i++)
		if (__test_and_clear_bit(i, c->mapped) &&
		    !memfd_test_present(mn->file, i))
			c->saw_absent = true;
	mutex_unlock(&c->ctx->lock);
	maybe_take(c);
	maybe_block(c);
}

static void test_end(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end)
{
	record(to_consumer(mn), END, start, end);
}

static int test_fallocate(struct memfd_falloc_notifier *mn, pgoff_t start,
			  pgoff_t end)
{
	record(to_consumer(mn), ASK, start, end);
	return to_consumer(mn)->fallocate_error;
}

static void test_cancel(struct memfd_falloc_notifier *mn, pgoff_t start,
			pgoff_t end)
{
	record(to_consumer(mn), CANCEL, start, end);
}

static int test_populate(struct memfd_falloc_notifier *mn, struct folio *folio,
			 unsigned long seq)
{
	pgoff_t start = max(folio->index, memfd_window_start(mn));
	pgoff_t end = min(folio_next_index(folio), memfd_window_end(mn)), i;
	struct consumer *c = to_consumer(mn);
	int error = c->populate_error;

	record(c, POPULATE, start, end);
	if (!folio_test_locked(folio) || !folio_test_uptodate(folio))
		c->saw_stale = true;
	mutex_lock(&c->ctx->lock);
	if (!error && memfd_read_retry(mn, seq))
		error = -EAGAIN;
	for (i = start; !error && i < end && i < WINDOW; i++)
		__set_bit(i, c->mapped);
	mutex_unlock(&c->ctx->lock);
	return error;
}

static const struct memfd_falloc_notifier_ops test_ops = {
	.name			= "test",
	.get_owner		= test_get_owner,
	.put_owner		= test_put_owner,
	.invalidate_page_range	= test_invalidate,
	.invalidate_end		= test_end,
	.fallocate		= test_fallocate,
	.fallocate_cancel	= test_cancel,
	.populate		= test_populate,
};

static const struct memfd_falloc_notifier_ops bare_ops = {
	.name			= "bare",
	.invalidate_page_range	= test_invalidate,
	.invalidate_end		= test_end,
};

static void add_with(struct ctx *ctx, int who, pgoff_t start, pgoff_t end,
		     const struct memfd_falloc_notifier_ops *ops)
{
	struct consumer *c = &ctx->c[who];

	KUNIT_ASSERT_EQ(ctx->test, 0,
			memfd_register_falloc_notifier(&c->mn, ctx->file, start,
						       end, ops));
	c->registered = true;
}

static void add(struct ctx *ctx, int who, pgoff_t start, pgoff_t end)
{
	add_with(ctx, who, start, end, &test_ops);
}

static void leave(struct ctx *ctx, int who)
{
	memfd_unregister_falloc_notifier(&ctx->c[who].mn);
	ctx->c[who].registered = false;
}

static void expect_event(struct ctx *ctx, int nr, int who, enum told what,
			 pgoff_t start, pgoff_t end)
{
	struct event *e = &ctx->events[nr];

	KUNIT_ASSERT_LT(ctx->test, nr, ctx->nr);
	KUNIT_EXPECT_EQ_MSG(ctx->test, who, e->who, "event %d", nr);
	KUNIT_EXPECT_EQ_MSG(ctx->test, what, e->what, "event %d", nr);
	KUNIT_EXPECT_EQ_MSG(ctx->test, start, e->start, "event %d", nr);
	KUNIT_EXPECT_EQ_MSG(ctx->test, end, e->end, "event %d", nr);
}

static void forget(struct ctx *ctx)
{
	ctx->nr = 0;
}

static int write_page(struct file *file, pgoff_t index)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	char byte = 1;

	return kernel_write(file, &byte, 1, &pos);
}

static int test_init(struct kunit *test)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->test = test;
	mutex_init(&ctx->lock);
	for (i = 0; i < MAX_CONSUMERS; i++) {
		ctx->c[i].ctx = ctx;
		ctx->c[i].who = i;
		init_completion(&ctx->c[i].blocked);
		init_completion(&ctx->c[i].go_on);
	}
	ctx->file = memfd_test_file(test, WINDOW);
	test->priv = ctx;
	return 0;
}

static void test_exit(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	int i;

	for (i = 0; ctx && i < MAX_CONSUMERS; i++) {
		if (ctx->c[i].registered)
			leave(ctx, i);
		KUNIT_EXPECT_EQ(test, 0, ctx->c[i].owners);
		KUNIT_EXPECT_FALSE(test, ctx->c[i].saw_absent);
		KUNIT_EXPECT_FALSE(test, ctx->c[i].saw_stale);
	}
}

static const struct file_operations no_fops;

static void register_refuses(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_falloc_notifier_ops ops = test_ops;
	pgoff_t limit = (MAX_LFS_FILESIZE >> PAGE_SHIFT) + 1;
	struct file *other;

	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, ctx->file, 0, 0, &ops));
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, ctx->file, 2, 1, &ops));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			memfd_register_falloc_notifier(mn, ctx->file, 0, limit + 1, &ops));
	ops.invalidate_page_range = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &ops));
	ops = test_ops;
	ops.name = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &ops));
	ops = test_ops;
	ops.put_owner = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &ops));

	other = anon_inode_getfile("memfd_test", &no_fops, NULL, O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(other));
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, other, 0, 1, &test_ops));
	fput(other);

	KUNIT_EXPECT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, limit, &bare_ops));
	memfd_unregister_falloc_notifier(mn);
	KUNIT_EXPECT_FALSE(test, memfd_followed(ctx->file->f_mapping));
}

static void i1_told_before_pages_leave(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	add(ctx, 0, 0, WINDOW);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 8));
	KUNIT_EXPECT_EQ(test, 8, bitmap_weight(ctx->c[0].mapped, WINDOW));

	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 4));
	/* test_exit() looks whether a page was gone before BEGIN */
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	expect_event(ctx, 0, 0, BEGIN, 2, 4);
	expect_event(ctx, 1, 0, END, 2, 4);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 2));
	KUNIT_EXPECT_TRUE(test, test_bit(1, ctx->c[0].mapped));
	KUNIT_EXPECT_FALSE(test, test_bit(3, ctx->c[0].mapped));

	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 5 * PAGE_SIZE + 1));
	expect_event(ctx, 0, 0, BEGIN, 5, WINDOW);
	expect_event(ctx, 1, 0, END, 5, WINDOW);
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 5));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 6));
	KUNIT_EXPECT_EQ(test, 3, bitmap_weight(ctx->c[0].mapped, WINDOW));

	/* pages that are partly in a hole stay, but huge folios would be split */
	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(ctx->file,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      1, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	expect_event(ctx, 0, 0, BEGIN, 0, 2);
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 0));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 1));
}

static void i3_populated_when_initialised(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct folio_batch fbatch;
	pgoff_t index = 0;
	char *kaddr;

	/* fallocated before anybody follows: not uptodate, and so not seen */
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	add(ctx, 0, 0, WINDOW);
	folio_batch_init(&fbatch);
	KUNIT_EXPECT_EQ(test, 0,
			ctx->c[0].mn.pfn_ops->get_folios(&ctx->c[0].mn, &index,
							 WINDOW, 0, &fbatch));
	KUNIT_EXPECT_EQ(test, 0, folio_batch_count(&fbatch));

	index = 0;
	KUNIT_EXPECT_EQ(test, 0,
			ctx->c[0].mn.pfn_ops->get_folios(&ctx->c[0].mn, &index, WINDOW,
							 MEMFD_PFN_FILL, &fbatch));
	KUNIT_ASSERT_EQ(test, 1, folio_batch_count(&fbatch));
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(fbatch.folios[0]));
	kaddr = kmap_local_folio(fbatch.folios[0], 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(kaddr, 0, PAGE_SIZE));
	kunmap_local(kaddr);
	folio_batch_release(&fbatch);
	/* which told the consumer as well */
	expect_event(ctx, 0, 0, POPULATE, 0, 1);

	/* write(2) is over when the folio is given away, not half done */
	forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 3));
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
	expect_event(ctx, 0, 0, POPULATE, 3, 4);
}

static void i4_populate_follows_each_way_in(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	int order = -1;
	long pfn;

	add(ctx, 0, 4, 12);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 6));
	expect_event(ctx, 0, 0, ASK, 4, 6);
	expect_event(ctx, 1, 0, POPULATE, 4, 5);
	expect_event(ctx, 2, 0, POPULATE, 5, 6);
	KUNIT_EXPECT_EQ(test, 3, ctx->nr);

	forget(ctx);
	KUNIT_EXPECT_EQ(test, -ENOENT, mn->pfn_ops->get_lock_pfn(mn, 7, 0, &order));
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 7, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	KUNIT_EXPECT_EQ(test, 0, order);
	KUNIT_EXPECT_TRUE(test, folio_test_locked(pfn_folio(pfn)));
	expect_event(ctx, 0, 0, POPULATE, 7, 8);
	mn->pfn_ops->put_unlock_pfn(pfn);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(pfn_folio(pfn)));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(pfn_folio(pfn)));

	/* KEEP_SIZE, past the end of the file */
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 0));
	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, vfs_fallocate(ctx->file, FALLOC_FL_KEEP_SIZE,
					       8 * PAGE_SIZE, PAGE_SIZE));
	expect_event(ctx, 1, 0, POPULATE, 8, 9);
	KUNIT_EXPECT_TRUE(test, test_bit(8, ctx->c[0].mapped));
}

static void get_lock_pfn_refuses(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;

	add(ctx, 0, 4, WINDOW + 8);
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

static void i4_populate_error_undoes(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;

	add(ctx, 0, 0, WINDOW);
	add(ctx, 1, 0, WINDOW);
	ctx->c[1].populate_error = -ENOMEM;

	KUNIT_EXPECT_EQ(test, -ENOMEM, write_page(ctx->file, 0));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 0));
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			mn->pfn_ops->get_lock_pfn(mn, 1, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1));
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	/* nobody keeps what another could not have */
	KUNIT_EXPECT_EQ(test, 0, bitmap_weight(ctx->c[0].mapped, WINDOW));

	/* once it can, all is well */
	ctx->c[1].populate_error = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_EXPECT_EQ(test, 4, bitmap_weight(ctx->c[0].mapped, WINDOW));
	KUNIT_EXPECT_EQ(test, 4, bitmap_weight(ctx->c[1].mapped, WINDOW));
}

static void i5_veto_in_every_position(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	unsigned long blocks;
	int order[MAX_CONSUMERS];
	int bad, i, asked;
	loff_t size;

	for (i = 0; i < MAX_CONSUMERS; i++)
		add(ctx, i, i * 4, WINDOW);
	KUNIT_ASSERT_EQ(test, 1, write_page(ctx->file, 20));
	size = i_size_read(file_inode(ctx->file));
	blocks = memfd_test_blocks(ctx->file);

	for (bad = 0; bad < MAX_CONSUMERS; bad++) {
		forget(ctx);
		ctx->c[bad].fallocate_error = -EDQUOT - bad;
		KUNIT_EXPECT_EQ(test, -EDQUOT - bad,
				memfd_test_fallocate(ctx->file, 16, WINDOW + 16));
		ctx->c[bad].fallocate_error = 0;

		for (asked = 0; asked < ctx->nr && ctx->events[asked].what == ASK; asked++)
			order[asked] = ctx->events[asked].who;
		KUNIT_ASSERT_GT(test, asked, 0);
		KUNIT_EXPECT_EQ(test, bad, order[asked - 1]);
		/* the others hear it, the last to agree first */
		KUNIT_EXPECT_EQ(test, asked + asked - 1, ctx->nr);
		for (i = 0; i < asked - 1; i++)
			expect_event(ctx, asked + i, order[asked - 2 - i], CANCEL,
				     16, WINDOW);
		KUNIT_EXPECT_EQ(test, size, i_size_read(file_inode(ctx->file)));
		KUNIT_EXPECT_EQ(test, blocks, memfd_test_blocks(ctx->file));
	}

	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 16, 18));
	for (i = 0; i < ctx->nr; i++)
		KUNIT_EXPECT_NE(test, CANCEL, ctx->events[i].what);
}

static void i5_cancelled_if_it_fails_later(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	add(ctx, 0, 0, 4);
	add(ctx, 1, 0, WINDOW);
	ctx->c[1].populate_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 2, 6));
	KUNIT_ASSERT_GE(test, ctx->nr, 4);
	expect_event(ctx, ctx->nr - 2, ctx->events[1].who, CANCEL,
		     ctx->events[1].start, ctx->events[1].end);
	expect_event(ctx, ctx->nr - 1, ctx->events[0].who, CANCEL,
		     ctx->events[0].start, ctx->events[0].end);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
}

static void i6_windows_are_apart(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	unsigned long seq;

	add(ctx, 0, 0, 8);
	add(ctx, 1, 8, 16);
	add(ctx, 2, 4, 12);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, WINDOW));
	KUNIT_EXPECT_EQ(test, 8, bitmap_weight(ctx->c[0].mapped, WINDOW));
	KUNIT_EXPECT_TRUE(test, test_bit(8, ctx->c[1].mapped));
	KUNIT_EXPECT_FALSE(test, test_bit(7, ctx->c[1].mapped));

	forget(ctx);
	seq = memfd_read_begin(&ctx->c[1].mn);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 6, 8));
	KUNIT_EXPECT_EQ(test, 4, ctx->nr);
	expect_event(ctx, 0, 0, BEGIN, 6, 8);
	expect_event(ctx, 1, 2, BEGIN, 6, 8);
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&ctx->c[1].mn, seq));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 7, 9));
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&ctx->c[1].mn, seq));

	/* one that leaves takes nothing from the others */
	leave(ctx, 2);
	forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 7));
	expect_event(ctx, 0, 0, POPULATE, 7, 8);
	KUNIT_EXPECT_EQ(test, 1, ctx->nr);
}

/* A page is moved: told to who holds none, and refused where one may be held */
static void i1_replaced_pages(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_invalidation inv, other;
	struct folio *folio;
	unsigned long seq;

	add_with(ctx, 0, 0, 4, &bare_ops);
	/* nobody holds anything */
	KUNIT_EXPECT_TRUE(test, !!(mapping_gfp_mask(ctx->file->f_mapping) & __GFP_MOVABLE));
	add(ctx, 1, 2, 4);
	KUNIT_EXPECT_FALSE(test, !!(mapping_gfp_mask(ctx->file->f_mapping) & __GFP_MOVABLE));
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 1));
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 2));
	forget(ctx);

	seq = memfd_read_begin(&ctx->c[0].mn);
	folio = filemap_lock_folio(ctx->file->f_mapping, 1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_TRUE(test, memfd_replace_begin(&inv, folio, false));
	expect_event(ctx, 0, 0, BEGIN, 1, 2);
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&ctx->c[0].mn, seq));
	memfd_replace_end(&inv);
	expect_event(ctx, 1, 0, END, 1, 2);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	folio_unlock(folio);
	folio_put(folio);

	lru_add_drain_all();
	folio = filemap_lock_folio(ctx->file->f_mapping, 2);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, false));
	/* moving it fails if it is held */
	folio_get(folio);
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, true));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	KUNIT_EXPECT_TRUE(test, memfd_replace_begin(&inv, folio, true));
	memfd_replace_end(&inv);
	expect_event(ctx, 2, 0, BEGIN, 2, 3);
	expect_event(ctx, 3, 0, END, 2, 3);
	KUNIT_EXPECT_EQ(test, 4, ctx->nr);
	/* and if it will be held again when something else has ended */
	memfd_invalidate_begin(&other, ctx->file->f_mapping, 2, 3);
	KUNIT_EXPECT_FALSE(test, memfd_replace_begin(&inv, folio, true));
	folio_unlock(folio);
	memfd_invalidate_end(&other);
	folio_put(folio);

	leave(ctx, 1);
	KUNIT_EXPECT_TRUE(test, !!(mapping_gfp_mask(ctx->file->f_mapping) & __GFP_MOVABLE));
}

static void i7_flags_are_given_back(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct address_space *mapping = ctx->file->f_mapping;
	unsigned long flags = mapping->flags;
	gfp_t gfp = mapping_gfp_mask(mapping);

	KUNIT_ASSERT_TRUE(test, !!(gfp & __GFP_MOVABLE));
	add(ctx, 0, 0, 1);
	add(ctx, 1, 1, 2);
	KUNIT_EXPECT_FALSE(test, !!(mapping_gfp_mask(mapping) & __GFP_MOVABLE));
	leave(ctx, 0);
	KUNIT_EXPECT_FALSE(test, !!(mapping_gfp_mask(mapping) & __GFP_MOVABLE));
	leave(ctx, 1);
	KUNIT_EXPECT_EQ(test, flags, mapping->flags);
	KUNIT_EXPECT_TRUE(test, gfp == mapping_gfp_mask(mapping));

	/* nothing is heard after leaving */
	forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 0));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
}

struct work {
	struct consumer *c;
	long ret;
	struct completion started, done;
};

static void init_work(struct work *w, struct consumer *c)
{
	w->c = c;
	init_completion(&w->started);
	init_completion(&w->done);
}

static int punch_thread(void *data)
{
	struct work *w = data;

	w->ret = memfd_test_punch(w->c->mn.file, 0, 4);
	complete(&w->done);
	return 0;
}

static int leave_thread(void *data)
{
	struct work *w = data;

	complete(&w->started);
	memfd_unregister_falloc_notifier(&w->c->mn);
	complete(&w->done);
	return 0;
}

static int take_thread(void *data)
{
	struct work *w = data;
	struct memfd_falloc_notifier *mn = &w->c->mn;

	complete(&w->started);
	w->ret = mn->pfn_ops->get_lock_pfn(mn, 1, MEMFD_PFN_FILL, NULL);
	if (w->ret >= 0)
		mn->pfn_ops->put_unlock_pfn(w->ret);
	complete(&w->done);
	return 0;
}

static void run(struct kunit *test, int (*fn)(void *), struct work *w)
{
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(fn, w, "memfd_test")));
}

/* A callback runs: its consumer cannot leave, another can (I6, I7) */
static void i7_leaving_waits_for_callbacks(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct work punch, leaver;

	add(ctx, 0, 0, 4);
	add(ctx, 1, 0, 4);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 4));
	ctx->c[0].block = true;
	init_work(&punch, &ctx->c[0]);
	init_work(&leaver, &ctx->c[0]);
	run(test, punch_thread, &punch);
	wait_for_completion(&ctx->c[0].blocked);

	leave(ctx, 1);
	run(test, leave_thread, &leaver);
	wait_for_completion(&leaver.started);
	/* no proof that it waits, but it has time enough to be caught if not */
	KUNIT_EXPECT_EQ(test, 0UL, wait_for_completion_timeout(&leaver.done, HZ / 10));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 0));

	ctx->c[0].block = false;
	complete(&ctx->c[0].go_on);
	wait_for_completion(&leaver.done);
	ctx->c[0].registered = false;
	wait_for_completion(&punch.done);
	KUNIT_EXPECT_EQ(test, 0L, punch.ret);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
}

/* A page that comes while its range is invalidated waits for the end (I1, I4) */
static void i4_populate_waits_for_invalidation(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_invalidation inv;
	struct work taker;

	add(ctx, 0, 0, WINDOW);
	init_work(&taker, &ctx->c[0]);
	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, 4);
	run(test, take_thread, &taker);
	wait_for_completion(&taker.started);
	KUNIT_EXPECT_EQ(test, 0UL, wait_for_completion_timeout(&taker.done, HZ / 10));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1));
	/* outside of the range nobody waits, inside it nothing is mapped */
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 5));
	KUNIT_EXPECT_EQ(test, 1, bitmap_weight(ctx->c[0].mapped, WINDOW));
	memfd_invalidate_end(&inv);
	wait_for_completion(&taker.done);
	KUNIT_EXPECT_GT(test, taker.ret, 0L);
	KUNIT_EXPECT_TRUE(test, test_bit(1, ctx->c[0].mapped));
}

/* What the invalidator itself brings back, END tells */
static void own_invalidation_defers_populate(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_invalidation inv;

	add(ctx, 0, 0, WINDOW);
	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, 4);
	KUNIT_EXPECT_EQ(test, 1, write_page(ctx->file, 2));
	KUNIT_EXPECT_EQ(test, 0, bitmap_weight(ctx->c[0].mapped, WINDOW));
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	expect_event(ctx, 1, 0, END, 0, 4);
}

static void sequence(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_invalidation a, b;
	unsigned long seq;

	add(ctx, 0, 0, WINDOW);
	seq = memfd_read_begin(&ctx->c[0].mn);
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&ctx->c[0].mn, seq));
	memfd_invalidate_begin(&a, ctx->file->f_mapping, 0, 4);
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&ctx->c[0].mn, seq));
	memfd_invalidate_begin(&b, ctx->file->f_mapping, 2, 6);
	memfd_invalidate_end(&a);
	memfd_invalidate_end(&b);
	/* over, but what was found before it began is not to be trusted */
	KUNIT_EXPECT_TRUE(test, memfd_read_retry(&ctx->c[0].mn, seq));
	seq = memfd_read_begin(&ctx->c[0].mn);
	KUNIT_EXPECT_FALSE(test, memfd_read_retry(&ctx->c[0].mn, seq));
}

/* Who comes in between hears no END without a BEGIN */
static void begin_and_end_pair(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_invalidation inv;

	add(ctx, 0, 0, WINDOW);
	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, ULONG_MAX);
	add(ctx, 1, 0, WINDOW);
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	expect_event(ctx, 0, 0, BEGIN, 0, WINDOW);
	expect_event(ctx, 1, 0, END, 0, WINDOW);

	/* nor does who is not there any more hear END */
	forget(ctx);
	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, 1);
	leave(ctx, 0);
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 3, ctx->nr);
	expect_event(ctx, 2, 1, END, 0, 1);
}

static void dying_owner_hears_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	add(ctx, 0, 0, WINDOW);
	add(ctx, 1, 0, WINDOW);
	ctx->c[0].owner_gone = true;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 4, ctx->nr);
	expect_event(ctx, 0, 1, ASK, 0, 1);
	expect_event(ctx, 3, 1, END, 0, 1);
}

static void holes_cost_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct consumer *c = &ctx->c[0];
	struct folio_batch fbatch;
	pgoff_t last = (1UL << 40) >> PAGE_SHIFT, index = 0;

	KUNIT_ASSERT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 1UL << 40));
	KUNIT_ASSERT_EQ(test, 1, write_page(ctx->file, 5));
	KUNIT_ASSERT_EQ(test, 1, write_page(ctx->file, last - 1));
	add(ctx, 0, 0, last);

	folio_batch_init(&fbatch);
	KUNIT_EXPECT_EQ(test, 0, c->mn.pfn_ops->get_folios(&c->mn, &index, last, 0, &fbatch));
	KUNIT_ASSERT_EQ(test, 2, folio_batch_count(&fbatch));
	KUNIT_EXPECT_EQ(test, 5UL, fbatch.folios[0]->index);
	KUNIT_EXPECT_EQ(test, last - 1, fbatch.folios[1]->index);
	folio_batch_release(&fbatch);
	KUNIT_EXPECT_EQ(test, 0, c->mn.pfn_ops->get_folios(&c->mn, &index, last, 0, &fbatch));
	KUNIT_EXPECT_EQ(test, 0, folio_batch_count(&fbatch));
}

/* Who looks at one half of a huge folio must let go for the other to be punched */
static void ranges_are_whole_folios(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct file *file = memfd_test_huge_file(test, 1024);
	int order;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = file;
	add(ctx, 0, 0, 256);
	add(ctx, 1, 256, 2048);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(file, 0, 1024));
	pfn = ctx->c[0].mn.pfn_ops->get_lock_pfn(&ctx->c[0].mn, 5, 0, &order);
	KUNIT_ASSERT_GT(test, pfn, 0);
	ctx->c[0].mn.pfn_ops->put_unlock_pfn(pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, order);
	KUNIT_EXPECT_EQ(test, 5, pfn & (HPAGE_PMD_NR - 1));

	forget(ctx);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(file, 300, 301));
	expect_event(ctx, 0, 0, BEGIN, 0, 256);
	expect_event(ctx, 1, 1, BEGIN, 256, 512);
	expect_event(ctx, 2, 0, END, 0, 256);
	expect_event(ctx, 3, 1, END, 256, 512);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(file, 300));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(file, 301));
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(file));
}

/*
 * A huge folio comes while a part of it is being invalidated, or the file ends
 * in it: who maps the rest of it must not map it whole
 */
static void i1_order_is_of_what_may_be_mapped(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_invalidation inv;
	int order = -1;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	add_with(ctx, 0, 0, 1024, &bare_ops);

	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 300, 301);
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

/* A consumer that writes is refused by a sealed file, and keeps it from being sealed */
static void i8_seals(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct address_space *mapping = ctx->file->f_mapping;
	unsigned int *seals = &SHMEM_I(file_inode(ctx->file))->seals;

	mn->writes = true;
	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &bare_ops));
	*seals = F_SEAL_FUTURE_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &bare_ops));
	KUNIT_EXPECT_FALSE(test, memfd_followed(mapping));
	*seals = F_SEAL_GROW | F_SEAL_SHRINK;
	KUNIT_ASSERT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &bare_ops));
	KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));
	memfd_unregister_falloc_notifier(mn);
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);

	*seals = 0;
	file_inode(ctx->file)->i_flags |= S_APPEND;
	KUNIT_EXPECT_EQ(test, -EACCES,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &bare_ops));
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);

	mn->writes = false;
	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &bare_ops));
	memfd_unregister_falloc_notifier(mn);
}

/* Splitting drops what is past the end of the file, and tells nobody */
static void i2_splitting_drops_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct folio *folio;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 100);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 100));
	KUNIT_ASSERT_EQ(test, 512UL, memfd_test_blocks(ctx->file));
	KUNIT_ASSERT_EQ(test, 1, write_page(ctx->file, 7));
	add(ctx, 0, 0, 512);

	folio = filemap_lock_folio(ctx->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_EQ(test, -EBUSY, split_folio(folio));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 511));
	folio_unlock(folio);
	leave(ctx, 0);
	folio_lock(folio);
	KUNIT_EXPECT_EQ(test, 0, split_folio(folio));
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 511));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 99));
}

/* A huge folio comes just below the new end of the file, as the pages behind it go */
static void truncation_ends(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	add_with(ctx, 0, 0, 1024, &bare_ops);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 590, 591));
	ctx->c[0].wants = 299;
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 300 << PAGE_SHIFT));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 299));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 300));
	KUNIT_EXPECT_EQ(test, 300UL, memfd_test_blocks(ctx->file));
}

/* A split as memory_failure() does it, meanwhile: who has come since may have all of it */
static void drop_tells_late_comers(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_invalidation inv;
	struct folio *folio;
	int order;
	long pfn;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 600);
	add_with(ctx, 0, 0, 1024, &bare_ops);
	pfn = mn->pfn_ops->get_lock_pfn(mn, 5, MEMFD_PFN_FILL, &order);
	KUNIT_ASSERT_LE(test, 0, pfn);
	KUNIT_ASSERT_EQ(test, HPAGE_PMD_ORDER, order);
	mn->pfn_ops->put_unlock_pfn(pfn);

	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, 512);
	folio = filemap_lock_folio(ctx->file->f_mapping, 5);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, folio);
	KUNIT_EXPECT_TRUE(test, memfd_may_drop(folio, 300));
	folio_unlock(folio);

	add_with(ctx, 1, 0, 400, &bare_ops);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, memfd_may_drop(folio, 300));
	KUNIT_EXPECT_TRUE(test, memfd_may_drop(folio, 400));
	folio_unlock(folio);
	leave(ctx, 1);
	KUNIT_EXPECT_TRUE(test, memfd_may_drop(folio, 300));
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_FALSE(test, memfd_may_drop(folio, 300));
	folio_put(folio);
}

/* From the middle of a folio on, in a part of the page cache that has no gaps */
static void missing_pages_are_found(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct folio *folio;
	pgoff_t start;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	add(ctx, 0, 0, 512);
	/* by hand: shmem has such folios only if the administrator says so */
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
		KUNIT_EXPECT_EQ(test, 128UL, mn->pfn_ops->find_missing(mn, start, 500));
	KUNIT_EXPECT_EQ(test, 100UL, mn->pfn_ops->find_missing(mn, 7, 100));
	KUNIT_EXPECT_EQ(test, 500UL, mn->pfn_ops->find_missing(mn, 149, 500));
	KUNIT_EXPECT_EQ(test, 512UL, mn->pfn_ops->find_missing(mn, 257, 600));
	leave(ctx, 0);
	truncate_inode_pages(ctx->file->f_mapping, 0);
}

/* No consumer has what fallocate() brought, and takes away again as it fails */
static void undone_fallocate_leaves_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 0);
	add(ctx, 0, 0, 2048);
	ctx->c[0].populate_error = -EDQUOT;
	/* its last folio reaches past what is undone, and past the end of the file */
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(ctx->file, 0, 1025));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	KUNIT_EXPECT_FALSE(test, memfd_test_present(ctx->file, 1024));
}

/* Errors that would be taken for something else where the page comes in */
static void populate_errors_are_plain(struct kunit *test)
{
	static const int errors[] = { -EAGAIN, -EEXIST, -EINVAL, -EIO, -ENOENT };
	struct ctx *ctx = test->priv;
	int i;

	add(ctx, 0, 0, WINDOW);
	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		ctx->c[0].populate_error = errors[i];
		KUNIT_EXPECT_EQ(test, -ENXIO, write_page(ctx->file, 0));
		KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	}
	ctx->c[0].populate_error = -EDQUOT;
	KUNIT_EXPECT_EQ(test, -EDQUOT, write_page(ctx->file, 0));
}

static void i9_free_when_unused(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	static_key_deferred_flush(&memfd_ops_key);
	KUNIT_EXPECT_FALSE(test, static_key_enabled(&memfd_ops_key.key));
	add(ctx, 0, 0, 1);
	KUNIT_EXPECT_TRUE(test, static_key_enabled(&memfd_ops_key.key));
	leave(ctx, 0);
	/* after a while; this hurries it */
	static_key_deferred_flush(&memfd_ops_key);
	KUNIT_EXPECT_FALSE(test, static_key_enabled(&memfd_ops_key.key));
}

static struct kunit_case memfd_ops_cases[] = {
	KUNIT_CASE(register_refuses),
	KUNIT_CASE(i1_told_before_pages_leave),
	KUNIT_CASE(i1_order_is_of_what_may_be_mapped),
	KUNIT_CASE(i2_splitting_drops_nothing),
	KUNIT_CASE(truncation_ends),
	KUNIT_CASE(drop_tells_late_comers),
	KUNIT_CASE(missing_pages_are_found),
	KUNIT_CASE(undone_fallocate_leaves_nothing),
	KUNIT_CASE(i3_populated_when_initialised),
	KUNIT_CASE(i4_populate_follows_each_way_in),
	KUNIT_CASE(i4_populate_error_undoes),
	KUNIT_CASE(i4_populate_waits_for_invalidation),
	KUNIT_CASE(i5_veto_in_every_position),
	KUNIT_CASE(i5_cancelled_if_it_fails_later),
	KUNIT_CASE(i6_windows_are_apart),
	KUNIT_CASE(i1_replaced_pages),
	KUNIT_CASE(i7_flags_are_given_back),
	KUNIT_CASE(i7_leaving_waits_for_callbacks),
	KUNIT_CASE(i8_seals),
	KUNIT_CASE(i9_free_when_unused),
	KUNIT_CASE(get_lock_pfn_refuses),
	KUNIT_CASE(populate_errors_are_plain),
	KUNIT_CASE(own_invalidation_defers_populate),
	KUNIT_CASE(sequence),
	KUNIT_CASE(begin_and_end_pair),
	KUNIT_CASE(dying_owner_hears_nothing),
	KUNIT_CASE(holes_cost_nothing),
	KUNIT_CASE(ranges_are_whole_folios),
	{}
};

static struct kunit_suite memfd_ops_suite = {
	.name = "memfd_ops",
	.init = test_init,
	.exit = test_exit,
	.test_cases = memfd_ops_cases,
};

kunit_test_suite(memfd_ops_suite);

MODULE_DESCRIPTION("KUnit tests of memfd_ops");
MODULE_LICENSE("GPL");
