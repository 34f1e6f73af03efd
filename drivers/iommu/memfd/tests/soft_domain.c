// SPDX-License-Identifier: GPL-2.0
/*
 * An IOMMU domain in software, for the KUnit tests of iommu_memfd
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/sizes.h>

#include "soft_domain.h"

/* A page that is mapped, or that a TLB may still translate to */
struct entry {
	phys_addr_t phys;
	unsigned long leaf;	/* IOVA at which its leaf begins */
	size_t size;		/* of the leaf */
	unsigned long call;	/* IOVA and size that one call mapped */
	size_t call_size;
	int prot;
};

static struct soft_domain *to_soft(struct iommu_domain *domain)
{
	return container_of(domain, struct soft_domain, domain);
}

static void mistake(struct soft_domain *sd, const char *what, unsigned long iova)
{
	kunit_err(sd->test, "%s at %lx\n", what, iova);
	sd->mistakes++;
}

static void changed(struct soft_domain *sd)
{
	if (sd->watch)
		sd->watch(sd);
}

static int soft_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t phys, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	struct soft_domain *sd = to_soft(domain);
	unsigned long i, nr = pgsize * pgcount >> PAGE_SHIFT;
	struct entry *e;
	bool half;

	if (sd->fail_map && !--sd->fail_map)
		return -ENOMEM;
	half = sd->half_map && !--sd->half_map;
	if (half)
		nr /= 2;
	sd->maps++;
	for (i = 0; i < nr; i++) {
		unsigned long at = iova + (i << PAGE_SHIFT);

		if (pgsize == PAGE_SIZE)
			xa_store(&sd->tables, at / SZ_2M, xa_mk_value(1), gfp);

		if (xa_load(&sd->table, at >> PAGE_SHIFT))
			mistake(sd, "mapped twice", at);
		e = kmalloc(sizeof(*e), gfp);
		if (!e)
			return -ENOMEM;
		e->phys = phys + (i << PAGE_SHIFT);
		e->leaf = round_down(at, pgsize);
		e->size = pgsize;
		e->call = iova;
		e->call_size = pgsize * pgcount;
		e->prot = prot;
		kfree(xa_store(&sd->table, at >> PAGE_SHIFT, e, gfp));
		if (!half)
			*mapped += PAGE_SIZE;
	}
	changed(sd);
	return half ? -ENOMEM : 0;
}

/* A page that can be reached has the mirror's reference, and those of the file */
static void expect_held(struct soft_domain *sd, unsigned long iova,
			struct entry *e)
{
	struct folio *folio = pfn_folio(PHYS_PFN(e->phys));

	if (folio_ref_count(folio) <
	    1 + (folio->mapping ? folio_nr_pages(folio) : 0))
		mistake(sd, "page released", iova);
}

/*
 * Tables: a block of 2 MiB has one from the first page that is mapped by an entry of
 * its own until all of the block is unmapped by one call.
 */
static bool soft_block_has_table(struct soft_domain *sd, unsigned long iova)
{
	return xa_load(&sd->tables, iova / SZ_2M);
}

static void soft_free_tables(struct soft_domain *sd, unsigned long iova,
			     unsigned long end)
{
	unsigned long block;

	for (block = round_up(iova, SZ_2M); block + SZ_2M <= end; block += SZ_2M)
		xa_erase(&sd->tables, block / SZ_2M);
}

static size_t soft_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct soft_domain *sd = to_soft(domain);
	unsigned long at, end = iova + pgsize * pgcount;
	struct entry *e;

	if (sd->no_unmap)
		return 0;
	e = xa_load(&sd->table, iova >> PAGE_SHIFT);
	if (sd->whole_calls && e && e->call < iova)
		return 0;
	e = xa_load(&sd->table, (end >> PAGE_SHIFT) - 1);
	if (sd->whole_calls && e && e->call + e->call_size > end)
		return 0;

	sd->unmaps++;
	for (at = iova; at < end; at += PAGE_SIZE) {
		e = xa_erase(&sd->table, at >> PAGE_SHIFT);
		if (!e) {
			/* as VT-d: an empty block has no table, and stops it */
			if (sd->whole_calls || !soft_block_has_table(sd, at))
				mistake(sd, "unmapped a hole", at);
			continue;
		}
		if (e->leaf < iova || e->leaf + e->size > end)
			mistake(sd, "unmapped part of a leaf", at);
		expect_held(sd, at, e);
		kfree(xa_store(&sd->tlb, at >> PAGE_SHIFT, e, GFP_KERNEL));
	}
	soft_free_tables(sd, iova, end);
	changed(sd);
	if (!iommu_iotlb_gather_queued(gather))
		iommu_iotlb_gather_add_page(domain, gather, iova, pgsize * pgcount);
	return pgsize * pgcount;
}

void soft_clear(struct xarray *xa)
{
	struct entry *e;
	unsigned long i;

	xa_for_each(xa, i, e)
		kfree(e);
	xa_destroy(xa);
}

static void soft_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	struct soft_domain *sd = to_soft(domain);
	struct entry *e;
	unsigned long i;

	sd->syncs++;
	xa_for_each(&sd->tlb, i, e) {
		expect_held(sd, i << PAGE_SHIFT, e);
		/* an entry goes if the flush covers all of it */
		if (e->leaf < gather->start || e->leaf + e->size - 1 > gather->end)
			continue;
		xa_erase(&sd->tlb, i);
		kfree(e);
	}
}

static void soft_flush_iotlb_all(struct iommu_domain *domain)
{
	struct iommu_iotlb_gather gather = { .end = ULONG_MAX };

	soft_iotlb_sync(domain, &gather);
}

/* Replace a large entry at both sides of @iova. The TLB no longer has it then. */
static int soft_cut(struct iommu_domain *domain, unsigned long iova, gfp_t gfp)
{
	struct soft_domain *sd = to_soft(domain);
	struct entry *e = xa_load(&sd->table, iova >> PAGE_SHIFT);
	unsigned long at, leaf;

	if (sd->no_cut)
		return -EOPNOTSUPP;
	if (!e || e->leaf == iova)
		return 0;
	sd->cuts++;
	leaf = e->leaf;
	xa_store(&sd->tables, leaf / SZ_2M, xa_mk_value(1), gfp);
	for (at = leaf; at < leaf + SZ_2M; at += PAGE_SIZE) {
		e = xa_load(&sd->table, at >> PAGE_SHIFT);
		e->leaf = at;
		e->size = PAGE_SIZE;
	}
	changed(sd);
	return 0;
}

static phys_addr_t soft_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	struct entry *e = xa_load(&to_soft(domain)->table, iova >> PAGE_SHIFT);

	return e ? e->phys : 0;
}

static const struct iommu_domain_ops soft_ops = {
	.map_pages	= soft_map_pages,
	.unmap_pages	= soft_unmap_pages,
	.iotlb_sync	= soft_iotlb_sync,
	.flush_iotlb_all = soft_flush_iotlb_all,
	.iova_to_phys	= soft_iova_to_phys,
	.cut		= soft_cut,
	.unmaps_any_page = 1,
};

static const struct iommu_domain_ops soft_whole_calls_ops = {
	.map_pages	= soft_map_pages,
	.unmap_pages	= soft_unmap_pages,
	.iotlb_sync	= soft_iotlb_sync,
	.flush_iotlb_all = soft_flush_iotlb_all,
	.iova_to_phys	= soft_iova_to_phys,
};

/* Like virtio-iommu: a part of what one call mapped cannot be unmapped */
void soft_set_whole_calls(struct soft_domain *sd)
{
	sd->whole_calls = true;
	sd->domain.ops = &soft_whole_calls_ops;
}

/* Where does @iova lead a device? A TLB may still translate it. */
phys_addr_t soft_reach(struct kunit *test, unsigned long iova)
{
	struct test_env *env = test->priv;
	struct entry *e = xa_load(&env->sd.table, iova >> PAGE_SHIFT);

	if (!e)
		e = xa_load(&env->sd.tlb, iova >> PAGE_SHIFT);
	return e ? e->phys : 0;
}

/* Does the block of @iova have a page table? */
bool soft_has_table(struct kunit *test, unsigned long iova)
{
	struct test_env *env = test->priv;

	return soft_block_has_table(&env->sd, iova);
}

/* The folio that the file has at @index, or NULL */
struct folio *soft_folio(struct file *file, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(file->f_mapping, index);

	if (IS_ERR(folio))
		return NULL;
	folio_put(folio);
	return folio;
}

/* Does @iova translate to [start, end) of the file, and its holes to nothing? */
void soft_expect_mirrored(struct kunit *test, struct file *file,
			  unsigned long iova, pgoff_t start, pgoff_t end)
{
	struct folio *folio;
	phys_addr_t phys;
	pgoff_t i;

	for (i = start; i < end; i++) {
		folio = soft_folio(file, i);
		phys = folio ? page_to_phys(folio_file_page(folio, i)) : 0;
		KUNIT_EXPECT_EQ_MSG(test, phys,
				    soft_reach(test, iova + ((i - start) << PAGE_SHIFT)),
				    "page %lu", i);
	}
}

/* Map [start, end) of the file at @iova */
struct iommu_memfd *soft_mirror(struct kunit *test, unsigned long iova,
				pgoff_t start, pgoff_t end)
{
	struct test_env *env = test->priv;
	struct iommu_memfd *im;

	im = iommu_memfd_map(&env->imd, iova, (u64)(end - start) << PAGE_SHIFT,
			     env->file, (u64)start << PAGE_SHIFT,
			     IOMMU_READ | IOMMU_WRITE);
	KUNIT_ASSERT_FALSE(test, IS_ERR(im));
	return im;
}

static void soft_init(struct soft_domain *sd, struct kunit *test)
{
	sd->domain.type = __IOMMU_DOMAIN_PAGING;
	sd->domain.ops = &soft_ops;
	sd->domain.pgsize_bitmap = SZ_4K | SZ_2M;
	sd->domain.geometry.aperture_start = SZ_1M;
	sd->domain.geometry.aperture_end = (1UL << 48) - 1;
	sd->test = test;
	xa_init(&sd->table);
	xa_init(&sd->tlb);
	xa_init(&sd->tables);
}

int soft_test_init(struct kunit *test)
{
	struct test_env *env = kunit_kzalloc(test, sizeof(*env), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, env);
	soft_init(&env->sd, test);
	soft_init(&env->other, test);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_domain_init(&env->imd, &env->sd.domain, NULL));
	env->file = memfd_test_file(test, 64);
	test->priv = env;
	return 0;
}

void soft_test_exit(struct kunit *test)
{
	struct test_env *env = test->priv;

	if (!env)
		return;
	KUNIT_EXPECT_EQ(test, 0, env->sd.mistakes);
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->sd.tlb));
	KUNIT_EXPECT_EQ(test, 0, env->other.mistakes);
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->other.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&env->other.tlb));
	xa_destroy(&env->other.tables);
	xa_destroy(&env->sd.tables);
	soft_clear(&env->other.table);
	soft_clear(&env->other.tlb);
	soft_clear(&env->sd.table);
	soft_clear(&env->sd.tlb);
	iommu_memfd_domain_destroy(&env->imd);
}
