// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: registering and unregistering consumers
 */
#include <linux/anon_inodes.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "../internal.h"
#include "consumer.h"

static const struct file_operations no_fops;

static int punch_thread(void *data)
{
	struct memfd_test_thread *t = data;

	t->ret = memfd_test_punch(t->c->mn.file, 0, 4);
	complete(&t->done);
	return 0;
}

static int unregister_thread(void *data)
{
	struct memfd_test_thread *t = data;

	memfd_unregister_falloc_notifier(&t->c->mn);
	complete(&t->done);
	return 0;
}

static void register_refuses(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct memfd_falloc_notifier_ops ops = memfd_test_ops;
	pgoff_t limit = (MAX_LFS_FILESIZE >> PAGE_SHIFT) + 1;
	struct file *file = ctx->file, *other;

	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, file, 0, 0, &ops));
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, file, 2, 1, &ops));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			memfd_register_falloc_notifier(mn, file, 0, limit + 1, &ops));
	ops.invalidate_page_range = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, file, 0, 1, &ops));
	ops = memfd_test_ops;
	ops.name = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, file, 0, 1, &ops));
	ops = memfd_test_ops;
	ops.put_owner = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, file, 0, 1, &ops));

	other = anon_inode_getfile("memfd_test", &no_fops, NULL, O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(other));
	ops = memfd_test_ops;
	KUNIT_EXPECT_FALSE(test, memfd_can_register(other));
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_falloc_notifier(mn, other, 0, 1, &ops));
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_claim_write(other));
	fput(other);

	KUNIT_EXPECT_TRUE(test, memfd_can_register(file));
	KUNIT_EXPECT_EQ(test, 0, memfd_register_falloc_notifier(mn, file, 0, limit,
								&memfd_test_bare_ops));
	memfd_unregister_falloc_notifier(mn);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(file->f_mapping));
}

/* So many references that a page's count could overflow; those without have no limit */
static void i2_references_are_limited(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[1].mn;
	struct memfd_consumers *cs;
	int error;

	memfd_test_add(ctx, 0, 0, 1);
	cs = memfd_consumers(ctx->file->f_mapping);
	KUNIT_ASSERT_EQ(test, 1, cs->nr_pinning);
	cs->nr_pinning = INT_MAX >> MAX_PAGECACHE_ORDER;
	error = memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_ops);
	ctx->c[1].registered = !error;
	KUNIT_ASSERT_EQ(test, -ENOSPC, error);
	KUNIT_EXPECT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	memfd_unregister_falloc_notifier(mn);
	cs->nr_pinning = 1;
	KUNIT_EXPECT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_ops));
	memfd_unregister_falloc_notifier(mn);
}

static void clear_marks(struct address_space *mapping)
{
	inode_lock(mapping->host);
	memfd_clear_marks(mapping, PAGECACHE_TAG_TOWRITE);
	inode_unlock(mapping->host);
}

/* F_SEAL_WRITE marks pages with references, and asks which of them are consumers' alone */
static void i8_marks_of_pinned_pages(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct address_space *mapping = ctx->file->f_mapping;
	struct xarray *pages = &mapping->i_pages;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 0));
	KUNIT_ASSERT_EQ(test, 1, memfd_test_write_page(ctx->file, 1));
	lru_add_drain_all();
	folio = filemap_get_folio(mapping, 1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	xa_lock_irq(pages);
	__xa_set_mark(pages, 0, PAGECACHE_TAG_TOWRITE);
	__xa_set_mark(pages, 1, PAGECACHE_TAG_TOWRITE);
	xa_unlock_irq(pages);

	/* without references of its own */
	memfd_test_add_with(ctx, 0, 0, WINDOW, &memfd_test_bare_ops);
	clear_marks(mapping);
	KUNIT_EXPECT_TRUE(test, xa_get_mark(pages, 0, PAGECACHE_TAG_TOWRITE));
	/* next to one with them */
	memfd_test_add(ctx, 1, 0, WINDOW);
	clear_marks(mapping);
	KUNIT_EXPECT_FALSE(test, xa_get_mark(pages, 0, PAGECACHE_TAG_TOWRITE));
	KUNIT_EXPECT_TRUE(test, xa_get_mark(pages, 1, PAGECACHE_TAG_TOWRITE));
	folio_put(folio);
	clear_marks(mapping);
	KUNIT_EXPECT_FALSE(test, xa_get_mark(pages, 1, PAGECACHE_TAG_TOWRITE));
}

/* No CB_INVALIDATE_END without a CB_INVALIDATE */
static void invalidate_and_end_pair(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_invalidation inv;

	memfd_test_add_with(ctx, 0, 0, WINDOW, &memfd_test_bare_ops);
	memfd_invalidate_begin(&inv, ctx->file->f_mapping, 0, -1, MEMFD_INVALIDATE_TRUNCATE);
	memfd_test_add_with(ctx, 1, 0, WINDOW, &memfd_test_bare_ops);
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 2, ctx->nr);
	memfd_test_expect(ctx, 0, 0, CB_INVALIDATE, 0, WINDOW);
	memfd_test_expect(ctx, 1, 0, CB_INVALIDATE_END, 0, WINDOW);

	/* and none after unregistering */
	memfd_test_forget(ctx);
	memfd_test_invalidate(&inv, ctx->file, 0, 1);
	memfd_test_remove(ctx, 0);
	memfd_invalidate_end(&inv);
	KUNIT_EXPECT_EQ(test, 3, ctx->nr);
	memfd_test_expect(ctx, 2, 1, CB_INVALIDATE_END, 0, 1);
}

static void dying_owner_gets_no_callback(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	memfd_test_add(ctx, 0, 0, WINDOW);
	memfd_test_add(ctx, 1, 0, WINDOW);
	ctx->c[0].owner_gone = true;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 3, ctx->nr);
	memfd_test_expect(ctx, 0, 1, CB_FALLOCATE, 0, 1);
	memfd_test_expect(ctx, 2, 1, CB_INVALIDATE, 0, 1);
}

static void i7_flags_are_restored(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct address_space *mapping = ctx->file->f_mapping;
	unsigned long flags = mapping->flags;
	gfp_t gfp = mapping_gfp_mask(mapping);

	KUNIT_ASSERT_TRUE(test, !!(gfp & __GFP_MOVABLE));
	memfd_test_add(ctx, 0, 0, 1);
	memfd_test_add(ctx, 1, 1, 2);
	KUNIT_EXPECT_FALSE(test, !!(memfd_gfp(mapping, 0, 2, gfp) & __GFP_MOVABLE));
	memfd_test_remove(ctx, 0);
	KUNIT_EXPECT_FALSE(test, !!(memfd_gfp(mapping, 0, 2, gfp) & __GFP_MOVABLE));
	/* a loop device may change it at any time: it is not ours */
	KUNIT_EXPECT_TRUE(test, gfp == mapping_gfp_mask(mapping));
	memfd_test_remove(ctx, 1);
	KUNIT_EXPECT_TRUE(test, gfp == memfd_gfp(mapping, 0, 2, gfp));
	KUNIT_EXPECT_EQ(test, flags, mapping->flags);
	KUNIT_EXPECT_TRUE(test, gfp == mapping_gfp_mask(mapping));

	/* no callback after unregistering */
	memfd_test_forget(ctx);
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(ctx->file, 0));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
}

/* While a callback runs its consumer cannot unregister, another can (I6, I7) */
static void i7_unregistering_waits_for_callbacks(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_test_thread punch, unregister;

	memfd_test_add(ctx, 0, 0, 4);
	memfd_test_add(ctx, 1, 0, 4);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 4));
	ctx->c[0].block = true;
	memfd_test_init_thread(&punch, &ctx->c[0]);
	memfd_test_init_thread(&unregister, &ctx->c[0]);
	memfd_test_run(test, punch_thread, &punch);
	wait_for_completion(&ctx->c[0].blocked);

	memfd_test_remove(ctx, 1);
	memfd_test_run(test, unregister_thread, &unregister);
	KUNIT_EXPECT_TRUE(test, memfd_test_waits(ctx, &unregister));
	KUNIT_EXPECT_TRUE(test, memfd_test_present(ctx->file, 0));

	ctx->c[0].block = false;
	complete(&ctx->c[0].go_on);
	wait_for_completion(&unregister.done);
	ctx->c[0].registered = false;
	wait_for_completion(&punch.done);
	KUNIT_EXPECT_EQ(test, 0L, punch.ret);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
}

/* A sealed file refuses a consumer that writes, and such a consumer refuses the seal */
static void i8_seals(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct address_space *mapping = ctx->file->f_mapping;
	unsigned int *seals = &SHMEM_I(file_inode(ctx->file))->seals;

	mn->writes = true;
	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	*seals = F_SEAL_FUTURE_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(mapping));
	*seals = F_SEAL_GROW | F_SEAL_SHRINK;
	KUNIT_ASSERT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));
	memfd_unregister_falloc_notifier(mn);
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);

	*seals = 0;
	file_inode(ctx->file)->i_flags |= S_APPEND;
	KUNIT_EXPECT_EQ(test, -EACCES,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);

	mn->writes = false;
	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, 0,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	memfd_unregister_falloc_notifier(mn);
}

/* Next to a file with consumers, a file without has nothing that is theirs */
static void i9_next_to_a_followed_file(struct kunit *test)
{
	struct file *other = memfd_test_file(test, 4);
	struct address_space *mapping = other->f_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping);
	unsigned long flags = mapping->flags;
	struct test_ctx *ctx = test->priv;
	struct memfd_invalidation inv;

	memfd_test_add(ctx, 0, 0, 4);
	KUNIT_EXPECT_TRUE(test, memfd_has_consumers(ctx->file->f_mapping));
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(mapping));
	KUNIT_EXPECT_TRUE(test, gfp == memfd_gfp(mapping, 0, 4, gfp));
	memfd_test_invalidate(&inv, other, 0, 4);
	KUNIT_EXPECT_NULL(test, inv.consumers);
	memfd_invalidate_end(&inv);

	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(other, 0, 4));
	KUNIT_EXPECT_EQ(test, 1, memfd_test_write_page(other, 1));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(other, 0, 4));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(other));
	KUNIT_EXPECT_NULL(test, memfd_consumers(mapping));
	KUNIT_EXPECT_EQ(test, flags, mapping->flags);
	KUNIT_EXPECT_EQ(test, 0, ctx->nr);
}

/* An owner claims write access once, for consumers that come and go, whatever is sealed then */
static void i8_owner_claims(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;
	struct memfd_falloc_notifier *mn = &ctx->c[0].mn;
	struct address_space *mapping = ctx->file->f_mapping;
	unsigned int *seals = &SHMEM_I(file_inode(ctx->file))->seals;
	int i;

	*seals = F_SEAL_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM, memfd_claim_write(ctx->file));
	*seals = 0;
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);
	KUNIT_ASSERT_EQ(test, 0, memfd_claim_write(ctx->file));
	KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));

	*seals = F_SEAL_FUTURE_WRITE;
	KUNIT_EXPECT_EQ(test, -EPERM, memfd_claim_write(ctx->file));
	mn->writes = true;
	KUNIT_EXPECT_EQ(test, -EPERM,
			memfd_register_falloc_notifier(mn, ctx->file, 0, 1, &memfd_test_bare_ops));
	mn->write_claimed = true;
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				memfd_register_falloc_notifier(mn, ctx->file, 0, 1,
							       &memfd_test_bare_ops));
		memfd_unregister_falloc_notifier(mn);
		/* the owner's claim, and no other, is still there */
		KUNIT_EXPECT_EQ(test, -EBUSY, mapping_deny_writable(mapping));
	}
	memfd_release_write(ctx->file);
	KUNIT_EXPECT_EQ(test, 0, mapping_deny_writable(mapping));
	mapping_allow_writable(mapping);
}

static void i9_free_when_unused(struct kunit *test)
{
	struct test_ctx *ctx = test->priv;

	static_key_deferred_flush(&memfd_ops_key);
	KUNIT_EXPECT_FALSE(test, static_key_enabled(&memfd_ops_key.key));
	memfd_test_add(ctx, 0, 0, 1);
	KUNIT_EXPECT_TRUE(test, static_key_enabled(&memfd_ops_key.key));
	memfd_test_remove(ctx, 0);
	/* only after a delay; this ends it */
	static_key_deferred_flush(&memfd_ops_key);
	KUNIT_EXPECT_FALSE(test, static_key_enabled(&memfd_ops_key.key));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(register_refuses),
	KUNIT_CASE(i2_references_are_limited),
	KUNIT_CASE(i8_marks_of_pinned_pages),
	KUNIT_CASE(invalidate_and_end_pair),
	KUNIT_CASE(dying_owner_gets_no_callback),
	KUNIT_CASE(i7_flags_are_restored),
	KUNIT_CASE(i7_unregistering_waits_for_callbacks),
	KUNIT_CASE(i8_seals),
	KUNIT_CASE(i8_owner_claims),
	KUNIT_CASE(i9_next_to_a_followed_file),
	KUNIT_CASE(i9_free_when_unused),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_register",
	.init = memfd_test_init,
	.exit = memfd_test_exit,
	.test_cases = cases,
};

kunit_test_suite(suite);
