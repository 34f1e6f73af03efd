// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memfd_ops: a backing store other than shmem
 *
 * Files of one page per folio, without seals, swap, or memory that must stay
 * movable: the least that a store can be. Nothing here is shmem's.
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>

#define PAGES	16

/* One file at a time */
struct tiny {
	struct file *file;
	struct memfd_consumers *consumers;
	struct memfd_falloc_notifier mn;
	unsigned int dropped;
	/* what the consumer has mapped */
	DECLARE_BITMAP(mapped, PAGES);
	bool refuse;
};

static const struct address_space_operations tiny_aops = {
	.dirty_folio = noop_dirty_folio,
};

static const struct file_operations tiny_fops;

static struct tiny *tiny_of(struct address_space *mapping)
{
	return mapping->host->i_private;
}

static struct memfd_consumers **tiny_consumers(struct address_space *mapping)
{
	return mapping->a_ops == &tiny_aops ? &tiny_of(mapping)->consumers : NULL;
}

static int tiny_fill(struct inode *inode, pgoff_t index, struct folio **foliop)
{
	struct folio *folio;
	int error;

	for (;;) {
		folio = filemap_alloc_folio(GFP_KERNEL, 0);
		if (!folio)
			return -ENOMEM;
		error = filemap_add_folio(inode->i_mapping, folio, index, GFP_KERNEL);
		if (error) {
			folio_put(folio);
			return error;
		}
		folio_zero_range(folio, 0, PAGE_SIZE);
		folio_mark_uptodate(folio);
		error = memfd_populate_or_drop(folio, true);
		if (!error) {
			*foliop = folio;
			return 0;
		}
		if (error != -EAGAIN)
			return error;
	}
}

static int tiny_get_folio(struct inode *inode, pgoff_t index, unsigned int flags,
			  struct folio **foliop)
{
	if (index >= PAGES)
		return -ENOENT;
	*foliop = filemap_lock_folio(inode->i_mapping, index);
	if (!IS_ERR(*foliop))
		return 0;
	return flags & MEMFD_PFN_FILL ? tiny_fill(inode, index, foliop) : -ENOENT;
}

static void tiny_drop_folio(struct folio *folio)
{
	tiny_of(folio->mapping)->dropped++;
	filemap_remove_folio(folio);
}

static const struct memfd_store_ops tiny_store_ops = {
	.name		= "tiny",
	.consumers	= tiny_consumers,
	.get_folio	= tiny_get_folio,
	.drop_folio	= tiny_drop_folio,
};

static void tiny_punch(struct tiny *tiny, pgoff_t start, pgoff_t end)
{
	struct inode *inode = file_inode(tiny->file);
	struct memfd_invalidation inv;

	inode_lock(inode);
	memfd_test_invalidate(&inv, tiny->file, start, end);
	truncate_inode_pages_range(inode->i_mapping, (loff_t)start << PAGE_SHIFT,
				   ((loff_t)end << PAGE_SHIFT) - 1);
	memfd_invalidate_end(&inv);
	inode_unlock(inode);
}

static struct tiny *tiny_mapper(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct tiny, mn);
}

static void mapper_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			      pgoff_t end)
{
	struct tiny *tiny = tiny_mapper(mn);
	pgoff_t i;

	for (i = start; i < end; i++)
		if (__test_and_clear_bit(i, tiny->mapped))
			mn->pfn_ops->put_folios(mn, i, i + 1, true);
}

static int mapper_populate(struct memfd_falloc_notifier *mn, struct folio *folio,
			   const struct memfd_read *read)
{
	struct tiny *tiny = tiny_mapper(mn);

	if (memfd_read_retry(read))
		return -EAGAIN;
	if (tiny->refuse)
		return -ENOSPC;
	folio_get(folio);
	__set_bit(folio->index, tiny->mapped);
	return 0;
}

/* Its folios have one page: nobody splits them */
static void mapper_unpin(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end)
{
}

static unsigned long mapper_nr_pinned(struct memfd_falloc_notifier *mn,
				      pgoff_t start, pgoff_t end)
{
	return bitmap_weight(tiny_mapper(mn)->mapped, PAGES);
}

static const struct memfd_falloc_notifier_ops mapper_ops = {
	.name			= "mapper",
	.invalidate_page_range	= mapper_invalidate,
	.populate		= mapper_populate,
	.unpin			= mapper_unpin,
	.repin			= mapper_unpin,
	.nr_pinned		= mapper_nr_pinned,
};

static void tiny_close(void *data)
{
	struct tiny *tiny = data;

	/* a failed assertion may have left it */
	if (tiny->mn.file) {
		mapper_invalidate(&tiny->mn, 0, PAGES);
		memfd_unregister_falloc_notifier(&tiny->mn);
	}
	/* no eviction of the inode calls the store: empty the file by hand */
	tiny_punch(tiny, 0, PAGES);
	memfd_consumers_free(tiny->consumers);
	fput(tiny->file);
}

static void tiny_unregister(void *unused)
{
	memfd_unregister_store(&tiny_store_ops);
}

static struct tiny *tiny_open(struct kunit *test)
{
	struct tiny *tiny = kunit_kzalloc(test, sizeof(*tiny), GFP_KERNEL);
	struct inode *inode;

	KUNIT_ASSERT_NOT_NULL(test, tiny);
	KUNIT_ASSERT_EQ(test, 0, memfd_register_store(&tiny_store_ops));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, tiny_unregister, NULL));
	tiny->file = anon_inode_create_getfile("tiny", &tiny_fops, tiny, O_RDWR, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(tiny->file));
	inode = file_inode(tiny->file);
	inode->i_private = tiny;
	inode->i_mapping->a_ops = &tiny_aops;
	i_size_write(inode, PAGES * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, tiny_close, tiny));
	return tiny;
}

static bool tiny_has(struct tiny *tiny, pgoff_t index)
{
	return xa_load(&tiny->file->f_mapping->i_pages, index);
}

static void fill_page(struct kunit *test, struct tiny *tiny, pgoff_t index)
{
	long pfn = tiny->mn.pfn_ops->get_lock_pfn(&tiny->mn, index, MEMFD_PFN_FILL,
						  NULL);

	KUNIT_ASSERT_GE(test, pfn, 0);
	tiny->mn.pfn_ops->put_unlock_pfn(pfn);
}

static void tiny_release_write(struct inode *inode)
{
}

static void store_is_checked(struct kunit *test)
{
	struct memfd_store_ops ops = tiny_store_ops;
	struct tiny *tiny = tiny_open(test);

	KUNIT_EXPECT_TRUE(test, memfd_can_register(tiny->file));
	ops.get_folio = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_store(&ops));
	ops = tiny_store_ops;
	ops.drop_folio = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_store(&ops));
	ops = tiny_store_ops;
	ops.release_write = tiny_release_write;
	KUNIT_EXPECT_EQ(test, -EINVAL, memfd_register_store(&ops));
}

static void pages_come_and_go(struct kunit *test)
{
	struct tiny *tiny = tiny_open(test);
	struct memfd_falloc_notifier *mn = &tiny->mn;

	/* nothing to claim: it has no seals */
	KUNIT_EXPECT_EQ(test, 0, memfd_claim_write(tiny->file));
	memfd_release_write(tiny->file);
	mn->writes = true;
	KUNIT_ASSERT_EQ(test, 0, memfd_register_falloc_notifier(mn, tiny->file, 2, 10,
								&mapper_ops));
	KUNIT_EXPECT_EQ(test, -ENOENT, mn->pfn_ops->get_lock_pfn(mn, 4, 0, NULL));
	fill_page(test, tiny, 4);
	fill_page(test, tiny, 5);
	KUNIT_EXPECT_TRUE(test, test_bit(4, tiny->mapped));
	KUNIT_EXPECT_EQ(test, 6UL, mn->pfn_ops->find_hole(mn, 4, 10));

	tiny_punch(tiny, 5, 8);
	KUNIT_EXPECT_FALSE(test, test_bit(5, tiny->mapped));
	KUNIT_EXPECT_FALSE(test, tiny_has(tiny, 5));
	KUNIT_EXPECT_TRUE(test, test_bit(4, tiny->mapped));
	KUNIT_EXPECT_TRUE(test, tiny_has(tiny, 4));

	mapper_invalidate(mn, 2, 10);
	memfd_unregister_falloc_notifier(mn);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(tiny->file->f_mapping));
}

static void refused_page_is_dropped(struct kunit *test)
{
	struct tiny *tiny = tiny_open(test);
	struct memfd_falloc_notifier *mn = &tiny->mn;

	KUNIT_ASSERT_EQ(test, 0, memfd_register_falloc_notifier(mn, tiny->file, 0,
								PAGES, &mapper_ops));
	tiny->refuse = true;
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			mn->pfn_ops->get_lock_pfn(mn, 1, MEMFD_PFN_FILL, NULL));
	KUNIT_EXPECT_EQ(test, 1, tiny->dropped);
	KUNIT_EXPECT_FALSE(test, tiny_has(tiny, 1));
	memfd_unregister_falloc_notifier(mn);
}

static void lookup_finds_pages(struct kunit *test)
{
	struct tiny *tiny = tiny_open(test);
	struct memfd_falloc_notifier *mn = &tiny->mn;
	struct folio_batch fbatch;
	struct folio *folio;
	pgoff_t index = 0;

	KUNIT_ASSERT_EQ(test, 0, tiny_get_folio(file_inode(tiny->file), 7,
						MEMFD_PFN_FILL, &folio));
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_ASSERT_EQ(test, 0, memfd_register_falloc_notifier(mn, tiny->file, 0,
								PAGES, &mapper_ops));
	folio_batch_init(&fbatch);
	KUNIT_EXPECT_EQ(test, 0, mn->pfn_ops->prepare_folios(mn, 0, PAGES,
							     MEMFD_PFN_FILL));
	mn->pfn_ops->get_folios(mn, &index, PAGES, 0, &fbatch);
	KUNIT_ASSERT_EQ(test, 1, folio_batch_count(&fbatch));
	KUNIT_EXPECT_EQ(test, 7UL, fbatch.folios[0]->index);
	folio_batch_release(&fbatch);
	memfd_unregister_falloc_notifier(mn);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(store_is_checked),
	KUNIT_CASE(pages_come_and_go),
	KUNIT_CASE(refused_page_is_dropped),
	KUNIT_CASE(lookup_finds_pages),
	{}
};

static struct kunit_suite suite = {
	.name = "memfd_ops_store",
	.test_cases = cases,
};

kunit_test_suite(suite);
