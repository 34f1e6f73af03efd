// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: consumers that record their callbacks
 */
#include <linux/kthread.h>

#include "../internal.h"
#include "consumer.h"

static struct test_consumer *to_test_consumer(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct test_consumer, mn);
}

static void record(struct test_consumer *c, enum callback callback,
		   pgoff_t start, pgoff_t end)
{
	struct test_ctx *ctx = c->ctx;

	mutex_lock(&ctx->lock);
	if (ctx->nr < MAX_EVENTS)
		ctx->events[ctx->nr] = (struct test_event){ c->nr, callback, start, end };
	ctx->nr++;
	mutex_unlock(&ctx->lock);
}

static void maybe_take(struct test_consumer *c)
{
	pgoff_t index = c->wants;
	long pfn;

	if (!index)
		return;
	c->wants = 0;
	pfn = c->mn.pfn_ops->get_lock_pfn(&c->mn, index, MEMFD_PFN_FILL, NULL);
	KUNIT_ASSERT_GT(c->ctx->test, pfn, 0);
	KUNIT_EXPECT_NE(c->ctx->test, 0, folio_order(pfn_folio(pfn)));
	c->mn.pfn_ops->put_unlock_pfn(pfn);
}

static void maybe_block(struct test_consumer *c)
{
	if (!c->block)
		return;
	complete(&c->blocked);
	wait_for_completion(&c->go_on);
}

static bool test_get_owner(struct memfd_falloc_notifier *mn)
{
	struct test_consumer *c = to_test_consumer(mn);

	if (c->owner_gone)
		return false;
	c->owners++;
	return true;
}

static void test_put_owner(struct memfd_falloc_notifier *mn)
{
	to_test_consumer(mn)->owners--;
}

static void test_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end)
{
	struct test_consumer *c = to_test_consumer(mn);
	pgoff_t i;

	record(c, CB_INVALIDATE, start, end);
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
	record(to_test_consumer(mn), CB_INVALIDATE_END, start, end);
}

static int test_fallocate(struct memfd_falloc_notifier *mn, pgoff_t start,
			  pgoff_t end)
{
	record(to_test_consumer(mn), CB_FALLOCATE, start, end);
	return to_test_consumer(mn)->fallocate_error;
}

static void test_fallocate_abort(struct memfd_falloc_notifier *mn,
				 pgoff_t start, pgoff_t end)
{
	record(to_test_consumer(mn), CB_FALLOCATE_ABORT, start, end);
}

static int test_populate(struct memfd_falloc_notifier *mn, struct folio *folio,
			 const struct memfd_read *read)
{
	pgoff_t start = max(folio->index, memfd_window_start(mn));
	pgoff_t end = min(folio_next_index(folio), memfd_window_end(mn)), i;
	struct test_consumer *c = to_test_consumer(mn);
	int error = c->populate_error;

	if (c->populate_max && end - start > c->populate_max)
		error = -EDQUOT;
	record(c, CB_POPULATE, start, end);
	if (!folio_test_locked(folio) || !folio_test_uptodate(folio))
		c->saw_stale = true;
	mutex_lock(&c->ctx->lock);
	if (!error && memfd_read_retry(read))
		error = -EAGAIN;
	for (i = start; !error && i < end && i < WINDOW; i++)
		__set_bit(i, c->mapped);
	mutex_unlock(&c->ctx->lock);
	return error;
}

static void test_unpin(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end)
{
	record(to_test_consumer(mn), CB_UNPIN, start, end);
}

static void test_repin(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end)
{
	record(to_test_consumer(mn), CB_REPIN, start, end);
}

/* It holds no references */
static unsigned long test_nr_pinned(struct memfd_falloc_notifier *mn,
				    pgoff_t start, pgoff_t end)
{
	return 0;
}

static bool test_young(struct memfd_falloc_notifier *mn, pgoff_t start,
		       pgoff_t end, bool clear)
{
	struct test_consumer *c = to_test_consumer(mn);
	bool young = c->young;

	record(c, clear ? CB_CLEAR_YOUNG : CB_TEST_YOUNG, start, end);
	if (clear)
		c->young = false;
	return young;
}

const struct memfd_falloc_notifier_ops memfd_test_ops = {
	.name			= "test",
	.get_owner		= test_get_owner,
	.put_owner		= test_put_owner,
	.invalidate_page_range	= test_invalidate,
	.invalidate_end		= test_end,
	.fallocate		= test_fallocate,
	.fallocate_abort	= test_fallocate_abort,
	.populate		= test_populate,
	.unpin			= test_unpin,
	.repin			= test_repin,
	.nr_pinned		= test_nr_pinned,
};

const struct memfd_falloc_notifier_ops memfd_test_bare_ops = {
	.name			= "bare",
	.invalidate_page_range	= test_invalidate,
	.invalidate_end		= test_end,
};

const struct memfd_falloc_notifier_ops memfd_test_young_ops = {
	.name			= "young",
	.get_owner		= test_get_owner,
	.put_owner		= test_put_owner,
	.invalidate_page_range	= test_invalidate,
	.invalidate_end		= test_end,
	.young			= test_young,
};

void memfd_test_add_with(struct test_ctx *ctx, int i, pgoff_t start, pgoff_t end,
			 const struct memfd_falloc_notifier_ops *ops)
{
	struct test_consumer *c = &ctx->c[i];

	KUNIT_ASSERT_EQ(ctx->test, 0,
			memfd_register_falloc_notifier(&c->mn, ctx->file, start,
						       end, ops));
	c->registered = true;
}

void memfd_test_add(struct test_ctx *ctx, int i, pgoff_t start, pgoff_t end)
{
	memfd_test_add_with(ctx, i, start, end, &memfd_test_ops);
}

void memfd_test_remove(struct test_ctx *ctx, int i)
{
	memfd_unregister_falloc_notifier(&ctx->c[i].mn);
	ctx->c[i].registered = false;
}

void memfd_test_expect(struct test_ctx *ctx, int event, int consumer,
		       enum callback callback, pgoff_t start, pgoff_t end)
{
	struct test_event *e = &ctx->events[event];

	KUNIT_ASSERT_LT(ctx->test, event, ctx->nr);
	KUNIT_EXPECT_EQ_MSG(ctx->test, consumer, e->consumer, "event %d", event);
	KUNIT_EXPECT_EQ_MSG(ctx->test, callback, e->callback, "event %d", event);
	KUNIT_EXPECT_EQ_MSG(ctx->test, start, e->start, "event %d", event);
	KUNIT_EXPECT_EQ_MSG(ctx->test, end, e->end, "event %d", event);
}

void memfd_test_forget(struct test_ctx *ctx)
{
	ctx->nr = 0;
}

int memfd_test_write_page(struct file *file, pgoff_t index)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	char byte = 1;

	return kernel_write(file, &byte, 1, &pos);
}

int memfd_test_init(struct kunit *test)
{
	struct test_ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->test = test;
	mutex_init(&ctx->lock);
	for (i = 0; i < MAX_CONSUMERS; i++) {
		ctx->c[i].ctx = ctx;
		ctx->c[i].nr = i;
		init_completion(&ctx->c[i].blocked);
		init_completion(&ctx->c[i].go_on);
	}
	ctx->file = memfd_test_file(test, WINDOW);
	test->priv = ctx;
	return 0;
}

void memfd_test_exit(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	int i;

	for (i = 0; ctx && i < MAX_CONSUMERS; i++) {
		if (ctx->c[i].registered)
			memfd_test_remove(ctx, i);
		KUNIT_EXPECT_EQ(test, 0, ctx->c[i].owners);
		KUNIT_EXPECT_FALSE(test, ctx->c[i].saw_absent);
		KUNIT_EXPECT_FALSE(test, ctx->c[i].saw_stale);
	}
}

void memfd_test_init_thread(struct memfd_test_thread *t,
			    struct test_consumer *c)
{
	t->c = c;
	init_completion(&t->done);
}

void memfd_test_run(struct kunit *test, int (*fn)(void *),
		    struct memfd_test_thread *t)
{
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(fn, t, "memfd_test")));
}

/*
 * Wait until the thread waits for an invalidation, or a consumer's callbacks, to end, as
 * nothing else does meanwhile. Returns false if it ends without waiting.
 */
bool memfd_test_waits(struct test_ctx *ctx, struct memfd_test_thread *t)
{
	struct memfd_consumers *cs = memfd_consumers(ctx->file->f_mapping);

	while (!completion_done(&t->done)) {
		if (wq_has_sleeper(&cs->wait))
			return true;
		schedule_timeout_uninterruptible(1);
	}
	return false;
}
