// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd: folios, large ones and several in one call
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/swap.h>

#include "soft_domain.h"

static void hole_in_huge_folio(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 1024);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 1024));
	im = soft_mirror(test, IOVA, 0, 1024);
	KUNIT_EXPECT_EQ(test, 2, env->sd.maps);
	soft_expect_mirrored(test, env->file, IOVA, 0, 1024);

	env->sd.unmaps = 0;
	env->sd.syncs = 0;
	env->sd.maps = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 5, 6));
	KUNIT_EXPECT_EQ(test, 1, env->sd.syncs);
	KUNIT_EXPECT_EQ(test, 1, env->sd.unmaps);
	KUNIT_EXPECT_EQ(test, 1, env->sd.cuts);
	/* nothing has to be mapped again */
	KUNIT_EXPECT_EQ(test, 0, env->sd.maps);
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 5 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 4 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 6 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 1024);

	/* punched in the middle of the second, across into the first */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 500, 600));
	soft_expect_mirrored(test, env->file, IOVA, 0, 1024);
	KUNIT_EXPECT_EQ(test, 923UL, memfd_test_blocks(env->file));
	iommu_memfd_unmap(im);
}

/* A file of small folios, from page 1 on, that follow each other in memory */
static void split_file(struct kunit *test)
{
	struct test_env *env = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 512);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	/* once initialised, folios are found in batches; and are not moved */
	iommu_memfd_unmap(soft_mirror(test, IOVA, 0, 512));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(env->file, 0, 1));
	KUNIT_ASSERT_EQ(test, 0, folio_order(soft_folio(env->file, 1)));
	KUNIT_ASSERT_EQ(test, folio_pfn(soft_folio(env->file, 1)) + 510,
			folio_pfn(soft_folio(env->file, 511)));
	env->sd.maps = 0;
}

/* The references on a page of a file of @env, without those of LRU caches */
static int refs(struct test_env *env, pgoff_t index)
{
	lru_add_drain_all();
	return folio_ref_count(soft_folio(env->file, index));
}

/*
 * References are by page: those of the file, and of each mirror. A hole leaves the
 * pieces of a huge folio with their share.
 */
static void i2_pieces_are_held(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im, *part;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 512);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	im = soft_mirror(test, IOVA, 0, 512);
	part = soft_mirror(test, IOVA + SZ_1G, 100, 300);
	KUNIT_EXPECT_EQ(test, 512 + 512 + 200, refs(env, 0));

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 150, 151));
	KUNIT_EXPECT_EQ(test, 511UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_EQ(test, 2, refs(env, 0));
	KUNIT_EXPECT_EQ(test, 3, refs(env, 149));
	KUNIT_EXPECT_EQ(test, 3, refs(env, 151));
	KUNIT_EXPECT_EQ(test, 2, refs(env, 300));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	soft_expect_mirrored(test, env->file, IOVA + SZ_1G, 100, 300);

	iommu_memfd_unmap(part);
	KUNIT_EXPECT_EQ(test, 2, refs(env, 149));
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, refs(env, 149));
}

/* Somebody else's reference makes the split fail: then the hole is cleared in place */
static void i10_failing_split_takes_nothing(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 512);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	im = soft_mirror(test, IOVA, 0, 512);
	folio = filemap_get_folio(env->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 5, 6));
	KUNIT_EXPECT_EQ(test, 512UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_EQ(test, 512 + 512 + 1, refs(env, 0));
	/* the page is in the file, so the mirror has it again */
	KUNIT_EXPECT_NE(test, 0, soft_reach(test, IOVA + 5 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	folio_put(folio);

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 5, 6));
	KUNIT_EXPECT_EQ(test, 511UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_EQ(test, 0, soft_reach(test, IOVA + 5 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);
}

/* Entries of one page: for a domain that cannot cut, and on request */
static void maps_small_entries(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd_range range;
	struct iommu_memfd *im;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 512);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	env->sd.no_cut = true;
	im = soft_mirror(test, IOVA, 0, 512);
	/* the fewest calls that make no larger entry */
	KUNIT_EXPECT_EQ(test, 2, env->sd.maps);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 5, 6));
	KUNIT_EXPECT_EQ(test, 511UL, memfd_test_blocks(env->file));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);

	env->sd.no_cut = false;
	env->sd.maps = 0;
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(env->file, 0, 512));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_init(&range, IOVA, SZ_2M, env->file,
							0, IOMMU_READ));
	range.small_entries = true;
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&range, &env->sd.domain));
	KUNIT_EXPECT_EQ(test, 2, env->sd.maps);
	iommu_memfd_range_destroy(&range);
}

/* With the last page of a block goes its page table */
static void empty_tables_go(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	pgoff_t i;

	env->file = memfd_test_file(test, 2048);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 3, 7));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 600, 602));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 1500, 1602));
	im = soft_mirror(test, IOVA, 0, 1536);
	KUNIT_EXPECT_TRUE(test, soft_has_table(test, IOVA));
	for (i = 3; i < 7; i++)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, i, i + 1));
	KUNIT_EXPECT_FALSE(test, soft_has_table(test, IOVA));
	KUNIT_EXPECT_TRUE(test, soft_has_table(test, IOVA + SZ_2M));

	/* pages in neighbouring blocks, with holes: one call, one flush */
	for (i = 1500; i < 1536; i += 2)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, i, i + 1));
	env->sd.unmaps = 0;
	env->sd.syncs = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 512, 1536));
	KUNIT_EXPECT_EQ(test, 1, env->sd.unmaps);
	KUNIT_EXPECT_EQ(test, 1, env->sd.syncs);
	KUNIT_EXPECT_FALSE(test, soft_has_table(test, IOVA + SZ_2M));
	KUNIT_EXPECT_FALSE(test, soft_has_table(test, IOVA + 2 * SZ_2M));
	iommu_memfd_unmap(im);

	/* not the table of a block that others use, too */
	im = soft_mirror(test, IOVA, 1536, 1600);
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_TRUE(test, soft_has_table(test, IOVA));
}

struct neighbours {
	phys_addr_t phys;
	pgoff_t hole;
	unsigned long looks, missed;
};

static void look_at_neighbours(struct soft_domain *sd)
{
	struct neighbours *n = sd->watch_data;
	pgoff_t i;

	n->looks++;
	for (i = 0; i < 512; i++)
		if (i != n->hole &&
		    iommu_iova_to_phys(&sd->domain, IOVA + i * PAGE_SIZE) !=
		    n->phys + i * PAGE_SIZE)
			n->missed++;
}

/* While a page of a huge folio leaves, its neighbours translate behind each change */
static void i10_neighbours_translate(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	pgoff_t hole;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 512);
	for (hole = 0; hole < 512; hole += 73) {
		struct neighbours n = { .hole = hole };

		KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
		im = soft_mirror(test, IOVA, 0, 512);
		n.phys = PFN_PHYS(folio_pfn(soft_folio(env->file, 0)));
		env->sd.watch_data = &n;
		env->sd.watch = look_at_neighbours;
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, hole, hole + 1));
		env->sd.watch = NULL;
		KUNIT_EXPECT_LT(test, 0, n.looks);
		KUNIT_EXPECT_EQ_MSG(test, 0UL, n.missed, "hole %lu", hole);
		KUNIT_EXPECT_EQ(test, 511UL, memfd_test_blocks(env->file));
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 0, 512));
		iommu_memfd_unmap(im);
	}
}

/* Many folios in a call, but never two in an entry: each can go alone */
static void maps_many_at_once(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	pgoff_t i;

	split_file(test);
	im = soft_mirror(test, IOVA, 0, 512);
	KUNIT_EXPECT_LE(test, env->sd.maps, 511 / 10);
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	env->sd.unmaps = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_LE(test, env->sd.unmaps, 2);

	env->sd.domain.pgsize_bitmap = SZ_4K | SZ_16K;
	env->sd.maps = 0;
	im = soft_mirror(test, IOVA, 0, 512);
	KUNIT_EXPECT_LE(test, env->sd.maps, 511 / 2);
	for (i = 1; i < 512; i += 3)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, i, i + 1));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);
}

/* A driver that cannot unmap a part of a call gets one call for each page */
static void maps_one_at_a_time(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;
	pgoff_t i;

	split_file(test);
	soft_set_whole_calls(&env->sd);
	im = soft_mirror(test, IOVA, 0, 512);
	KUNIT_EXPECT_EQ(test, 511, env->sd.maps);
	for (i = 1; i < 512; i += 3)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, i, i + 1));
	soft_expect_mirrored(test, env->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);
}

/* Pages that a failed call of a driver has mapped are unmapped again */
static void i2_failing_map_leaves_nothing(struct kunit *test)
{
	struct test_env *env = test->priv;
	u64 size = 512 * PAGE_SIZE;
	struct iommu_memfd *im;
	struct folio *folio;
	int nth;

	split_file(test);
	for (nth = 1; nth <= 2; nth++) {
		env->sd.half_map = nth;
		im = iommu_memfd_map(&env->imd, IOVA, size, env->file, 0, IOMMU_READ);
		KUNIT_ASSERT_EQ(test, -ENOMEM, PTR_ERR_OR_ZERO(im));
		KUNIT_EXPECT_EQ(test, 0, env->sd.half_map);
		KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
		KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.tlb));
	}

	/* a page that comes later, and is not in the file afterwards */
	env->file = memfd_test_huge_file(test, 512);
	im = soft_mirror(test, IOVA + PAGE_SIZE, 0, 512);
	env->sd.half_map = 1;
	env->sd.fail_map = 2;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(env->file, 0, 512));
	KUNIT_EXPECT_EQ(test, 0, env->sd.half_map);
	KUNIT_EXPECT_EQ(test, 0, env->sd.fail_map);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(env->file));
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.tlb));
	/* or is, page by page, if only the first call fails */
	env->sd.half_map = 1;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	KUNIT_EXPECT_EQ(test, 0, folio_order(soft_folio(env->file, 0)));
	soft_expect_mirrored(test, env->file, IOVA + PAGE_SIZE, 0, 512);

	/* and if that cannot be unmapped, it is not released */
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(env->file, 0, 512));
	env->sd.half_map = 1;
	env->sd.no_unmap = true;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(env->file, 0, 512));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(env->file));
	folio = pfn_folio(PHYS_PFN(soft_reach(test, IOVA + PAGE_SIZE)));
	lru_add_drain_all();
	KUNIT_EXPECT_EQ(test, 255, folio_ref_count(folio));
	iommu_memfd_unmap(im);
	soft_clear(&env->sd.table);
	folio_put_refs(folio, 255);
}

/* The window begins and ends within huge folios, and its IOVA is not aligned */
static void window_cuts_huge_folio(struct kunit *test)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im, *other;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	env->file = memfd_test_huge_file(test, 1536);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 0, 512));
	im = soft_mirror(test, IOVA + 3 * PAGE_SIZE, 100, 1100);
	other = soft_mirror(test, IOVA + SZ_1G, 0, 256);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(env->file, 512, 1536));
	soft_expect_mirrored(test, env->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	/* the page is outside of other's window, but its folio is not */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 300, 301));
	KUNIT_EXPECT_EQ(test, 1535UL, memfd_test_blocks(env->file));
	soft_expect_mirrored(test, env->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	soft_expect_mirrored(test, env->file, IOVA + SZ_1G, 0, 256);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(env->file, 1050, 1200));
	soft_expect_mirrored(test, env->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&env->file->f_path, 700 * PAGE_SIZE));
	soft_expect_mirrored(test, env->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	iommu_memfd_unmap(other);
	iommu_memfd_unmap(im);
}

static struct kunit_case iommu_memfd_folio_cases[] = {
	KUNIT_CASE(hole_in_huge_folio),
	KUNIT_CASE(i2_pieces_are_held),
	KUNIT_CASE(i10_failing_split_takes_nothing),
	KUNIT_CASE(i10_neighbours_translate),
	KUNIT_CASE(maps_small_entries),
	KUNIT_CASE(empty_tables_go),
	KUNIT_CASE(maps_many_at_once),
	KUNIT_CASE(maps_one_at_a_time),
	KUNIT_CASE(i2_failing_map_leaves_nothing),
	KUNIT_CASE(window_cuts_huge_folio),
	{}
};

static struct kunit_suite iommu_memfd_folio_suite = {
	.name = "iommu_memfd_folio",
	.init = soft_test_init,
	.exit = soft_test_exit,
	.test_cases = iommu_memfd_folio_cases,
};

kunit_test_suite(iommu_memfd_folio_suite);

MODULE_DESCRIPTION("KUnit tests of iommu_memfd: folios");
MODULE_LICENSE("GPL");
