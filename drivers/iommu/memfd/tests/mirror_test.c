// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_memfd, on an IOMMU domain in software
 *
 * The domain is stricter than any driver: it notes as a mistake what one of
 * them gets wrong. That is to map what is mapped, to unmap what is not, to
 * unmap a part of an entry, and to let go of a page that a TLB may still
 * translate to. With @whole_calls, it cannot unmap a part of what one call
 * mapped, like virtio-iommu.
 */
#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/iommu_memfd.h>
#include <linux/kthread.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#define IOVA	0x40000000UL

/* A page that is mapped, or that a TLB may still translate to */
struct entry {
	phys_addr_t phys;
	unsigned long leaf;	/* IOVA at which its leaf begins */
	size_t size;		/* of the leaf */
	unsigned long call;	/* IOVA and size of what one call mapped */
	size_t call_size;
	int prot;
};

struct soft_domain {
	struct iommu_domain domain;
	struct kunit *test;
	struct xarray table;	/* by IOVA page */
	struct xarray tlb;	/* unmapped, and not flushed */
	int maps, unmaps, syncs, mistakes;
	int fail_map;		/* fails the nth map_pages() from now */
	int half_map;		/* does half of the nth, and says that it failed */
	bool whole_calls;	/* unmaps no part of what one call mapped */
	bool no_unmap;		/* unmaps nothing */
};

struct ctx {
	struct soft_domain sd, other;
	struct iommu_memfd_domain imd;
	struct file *file;
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
	return half ? -ENOMEM : 0;
}

/* What may still be reached is held by the mirror, and more so by the file */
static void expect_held(struct soft_domain *sd, unsigned long iova,
			struct entry *e)
{
	struct folio *folio = pfn_folio(PHYS_PFN(e->phys));

	if (folio_ref_count(folio) <
	    1 + (folio->mapping ? folio_nr_pages(folio) : 0))
		mistake(sd, "page let go of", iova);
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
			mistake(sd, "unmapped a hole", at);
			continue;
		}
		if (e->leaf < iova || e->leaf + e->size > end)
			mistake(sd, "unmapped part of a leaf", at);
		expect_held(sd, at, e);
		kfree(xa_store(&sd->tlb, at >> PAGE_SHIFT, e, GFP_KERNEL));
	}
	return pgsize * pgcount;
}

static void empty(struct xarray *xa)
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
	xa_for_each(&sd->tlb, i, e)
		expect_held(sd, i << PAGE_SHIFT, e);
	empty(&sd->tlb);
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
	.iova_to_phys	= soft_iova_to_phys,
	.unmaps_any_page = 1,
};

static const struct iommu_domain_ops soft_whole_calls_ops = {
	.map_pages	= soft_map_pages,
	.unmap_pages	= soft_unmap_pages,
	.iotlb_sync	= soft_iotlb_sync,
	.iova_to_phys	= soft_iova_to_phys,
};

/* Like virtio-iommu: a part of what one call mapped cannot be unmapped */
static void set_whole_calls(struct soft_domain *sd)
{
	sd->whole_calls = true;
	sd->domain.ops = &soft_whole_calls_ops;
}

/* Where does a device get to that uses @iova? A TLB may remember it. */
static phys_addr_t reach(struct ctx *ctx, unsigned long iova)
{
	struct entry *e = xa_load(&ctx->sd.table, iova >> PAGE_SHIFT);

	if (!e)
		e = xa_load(&ctx->sd.tlb, iova >> PAGE_SHIFT);
	return e ? e->phys : 0;
}

static struct folio *file_folio(struct file *file, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(file->f_mapping, index);

	if (IS_ERR(folio))
		return NULL;
	folio_put(folio);
	return folio;
}

/* Does [start, end) of the file stand at @iova, just so? */
static void expect_mirrored(struct kunit *test, struct file *file,
			    unsigned long iova, pgoff_t start, pgoff_t end)
{
	struct folio *folio;
	phys_addr_t phys;
	pgoff_t i;

	for (i = start; i < end; i++) {
		folio = file_folio(file, i);
		phys = folio ? page_to_phys(folio_file_page(folio, i)) : 0;
		KUNIT_EXPECT_EQ_MSG(test, phys,
				    reach(test->priv, iova + ((i - start) << PAGE_SHIFT)),
				    "page %lu", i);
	}
}

static struct iommu_memfd *map(struct kunit *test, unsigned long iova,
			       pgoff_t start, pgoff_t end)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	im = iommu_memfd_map(&ctx->imd, iova, (u64)(end - start) << PAGE_SHIFT,
			     ctx->file, (u64)start << PAGE_SHIFT,
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
}

static int test_init(struct kunit *test)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	soft_init(&ctx->sd, test);
	soft_init(&ctx->other, test);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_domain_init(&ctx->imd, &ctx->sd.domain, NULL));
	ctx->file = memfd_test_file(test, 64);
	test->priv = ctx;
	return 0;
}

static void test_exit(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	if (!ctx)
		return;
	KUNIT_EXPECT_EQ(test, 0, ctx->sd.mistakes);
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.tlb));
	KUNIT_EXPECT_EQ(test, 0, ctx->other.mistakes);
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->other.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->other.tlb));
	empty(&ctx->other.table);
	empty(&ctx->other.tlb);
	empty(&ctx->sd.table);
	empty(&ctx->sd.tlb);
	iommu_memfd_domain_destroy(&ctx->imd);
}

static void i1_revoked_and_flushed_before_gone(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 64));
	im = map(test, IOVA, 0, 64);
	expect_mirrored(test, ctx->file, IOVA, 0, 64);

	ctx->sd.syncs = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 3, 40));
	KUNIT_EXPECT_EQ(test, 1, ctx->sd.syncs);
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 3 * PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);

	/* a range with a hole in it */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 50));
	KUNIT_EXPECT_EQ(test, 2, ctx->sd.syncs);
	/* pages that are partly in the hole are there again */
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(ctx->file,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      50 * PAGE_SIZE + 1, 2 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 50 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 51 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 52 * PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA));
	iommu_memfd_unmap(im);
}

/* expect_held() sees to it at each unmap and flush */
static void i2_pages_are_held(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 2));
	im = map(test, IOVA, 0, 2);
	lru_add_drain_all();
	folio = file_folio(ctx->file, 0);
	KUNIT_EXPECT_EQ(test, 2, folio_ref_count(folio));
	folio_lock(folio);
	folio_clear_dirty_for_io(folio);
	folio_unlock(folio);
	ctx->sd.syncs = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_EQ(test, 1, ctx->sd.syncs);
}

/* A page leaves the file behind the mirror's back: it is not freed */
static void i2_holds_on_unknown_paths(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	im = map(test, IOVA, 0, 1);
	lru_add_drain_all();
	folio = filemap_lock_folio(ctx->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	filemap_remove_folio(folio);
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, PFN_PHYS(folio_pfn(folio)), reach(ctx, IOVA));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));

	/* until another page takes its place, and the mirror gives up */
	folio_get(folio);
	KUNIT_EXPECT_EQ(test, -ENXIO, memfd_test_fallocate(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA));
	iommu_memfd_unmap(im);

	/* or until the mirror goes */
	im = map(test, IOVA, 0, 1);
	lru_add_drain_all();
	folio = filemap_lock_folio(ctx->file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	filemap_remove_folio(folio);
	folio_unlock(folio);
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	folio_put(folio);
}

/* The IOMMU driver fails to unmap: what the device can reach is not freed */
static void i2_holds_what_is_stuck(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	im = map(test, IOVA, 0, 2);
	folio = file_folio(ctx->file, 0);
	ctx->sd.no_unmap = true;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 1));
	lru_add_drain_all();
	KUNIT_EXPECT_EQ(test, PFN_PHYS(folio_pfn(folio)), reach(ctx, IOVA));
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	/* nothing is mapped over it */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + PAGE_SIZE));
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folio));
	folio_put(folio);
	empty(&ctx->sd.table);
}

static void i3_fallocated_pages_are_cleared(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	char *kaddr;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1));
	kaddr = kmap_local_folio(file_folio(ctx->file, 0), 0);
	KUNIT_ASSERT_FALSE(test, folio_test_uptodate(file_folio(ctx->file, 0)));
	memset(kaddr, 0x5a, PAGE_SIZE);
	kunmap_local(kaddr);
	im = map(test, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA));
	/* it may have been moved out of ZONE_MOVABLE */
	kaddr = kmap_local_folio(file_folio(ctx->file, 0), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(kaddr, 0, PAGE_SIZE));
	kunmap_local(kaddr);
	iommu_memfd_unmap(im);
}

static void i4_mirror_is_complete(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im, *other;
	loff_t pos = 7 * PAGE_SIZE - 1;
	char two[2] = {};
	u64 iova, length;

	im = map(test, IOVA, 0, 64);
	KUNIT_EXPECT_FALSE(test, iommu_memfd_next_run(im, &(u64){ 0 }, &length));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 3));
	KUNIT_EXPECT_EQ(test, 2, kernel_write(ctx->file, two, 2, &pos));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 7 * PAGE_SIZE));

	/* a second one, on other IOVAs, of what is there and of what comes */
	other = map(test, IOVA + SZ_1G, 2, 32);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 4, 6));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	expect_mirrored(test, ctx->file, IOVA + SZ_1G, 2, 32);

	/* runs: pages 0-2, 4-7; each as long as can be */
	iova = 0;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, (u64)IOVA, iova);
	KUNIT_EXPECT_EQ(test, 3 * PAGE_SIZE, length);
	iova += length;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, IOVA + 4 * PAGE_SIZE, iova);
	KUNIT_EXPECT_EQ(test, 4 * PAGE_SIZE, length);
	iova += PAGE_SIZE;
	KUNIT_EXPECT_TRUE(test, iommu_memfd_next_run(im, &iova, &length));
	KUNIT_EXPECT_EQ(test, 3 * PAGE_SIZE, length);
	iova += length;
	KUNIT_EXPECT_FALSE(test, iommu_memfd_next_run(im, &iova, &length));
	iommu_memfd_unmap(im);
	expect_mirrored(test, ctx->file, IOVA + SZ_1G, 2, 32);
	iommu_memfd_unmap(other);
}

/* The domain cannot take a page: the operation that brings it fails */
static void i4_failure_is_heard(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im, *other;

	im = map(test, IOVA, 0, 64);
	other = map(test, IOVA + SZ_1G, 0, 64);
	/* each page is mapped twice: the third one fails with the second mirror */
	ctx->sd.fail_map = 6;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 0, 5));
	KUNIT_EXPECT_EQ(test, 2UL, memfd_test_blocks(ctx->file));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	expect_mirrored(test, ctx->file, IOVA + SZ_1G, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 5));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	iommu_memfd_unmap(im);
	iommu_memfd_unmap(other);
}

static void i7_leaves_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 64));
	/* at each place where mapping can fail */
	set_whole_calls(&ctx->sd);
	for (int nth = 1; nth <= 64; nth += 9) {
		ctx->sd.fail_map = nth;
		im = iommu_memfd_map(&ctx->imd, IOVA, 64 * PAGE_SIZE, ctx->file, 0,
				     IOMMU_READ);
		KUNIT_EXPECT_EQ(test, -ENOMEM, PTR_ERR_OR_ZERO(im));
		KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.table));
		lru_add_drain_all();
		KUNIT_EXPECT_EQ(test, 1, folio_ref_count(file_folio(ctx->file, 0)));
		KUNIT_EXPECT_FALSE(test, memfd_has_consumers(ctx->file->f_mapping));
	}
	im = map(test, IOVA, 0, 64);
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(ctx->file->f_mapping));
	expect_mirrored(test, ctx->file, IOVA, 100, 101);
}

static void expect_refused(struct kunit *test, int error, u64 iova, u64 length,
			   struct file *file, u64 offset, int prot)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	im = iommu_memfd_map(&ctx->imd, iova, length, file, offset, prot);
	KUNIT_EXPECT_EQ_MSG(test, error, PTR_ERR_OR_ZERO(im),
			    "iova %llx length %llx offset %llx prot %x", iova,
			    length, offset, prot);
	if (!IS_ERR(im))
		iommu_memfd_unmap(im);
}

static void map_refuses(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct file *f = ctx->file;
	struct iommu_memfd *im = map(test, IOVA, 8, 16);
	u64 top = 1UL << 48;
	int rw = IOMMU_READ | IOMMU_WRITE;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(f, 8, 9));
	expect_refused(test, -EINVAL, SZ_1G, 0, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M + 1, SZ_4K, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K + 1, f, 0, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 512, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 0, 0);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 0, rw | IOMMU_MMIO);
	expect_refused(test, -EOVERFLOW, 0 - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, -EOVERFLOW, SZ_1M, SZ_8K, f, 0ULL - SZ_4K, rw);
	expect_refused(test, -EINVAL, SZ_1M, SZ_4K, f, 1ULL << 63, rw);
	/* outside the aperture */
	expect_refused(test, -EINVAL, SZ_1M - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, -EINVAL, top - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, 0, top - SZ_4K, SZ_4K, f, 0, rw);
	/* over another */
	expect_refused(test, -EEXIST, IOVA + 7 * SZ_4K, SZ_4K, f, 0, rw);
	expect_refused(test, -EEXIST, IOVA - SZ_4K, SZ_8K, f, 0, rw);
	expect_refused(test, 0, IOVA + 8 * SZ_4K, SZ_4K, f, 0, rw);

	f->f_mode &= ~FMODE_WRITE;
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, rw);
	expect_refused(test, 0, SZ_1M, SZ_4K, f, 0, IOMMU_READ);
	f->f_mode |= FMODE_WRITE;
	f->f_mode &= ~FMODE_READ;
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, rw);
	expect_refused(test, -EACCES, SZ_1M, SZ_4K, f, 0, IOMMU_WRITE);
	f->f_mode |= FMODE_READ;

	expect_mirrored(test, f, IOVA, 8, 16);
	iommu_memfd_unmap(im);
}

static void sparse_costs_what_is_there(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	pgoff_t pages = (1UL << 40) >> PAGE_SHIFT, step = pages / 64, i;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 1UL << 40));
	for (i = 0; i < pages; i += step)
		KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, i, i + 2));
	im = map(test, IOVA, 0, pages);
	KUNIT_EXPECT_LE(test, ctx->sd.maps, 128);
	for (i = 0; i < pages; i += step)
		expect_mirrored(test, ctx->file, IOVA + (i << PAGE_SHIFT), i, i + 4);
	ctx->sd.unmaps = 0;
	ctx->sd.syncs = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 64, ctx->sd.unmaps);
	KUNIT_EXPECT_EQ(test, 1, ctx->sd.syncs);
}

static void hole_in_huge_folio(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 1024);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 1024));
	im = map(test, IOVA, 0, 1024);
	KUNIT_EXPECT_EQ(test, 2, ctx->sd.maps);
	expect_mirrored(test, ctx->file, IOVA, 0, 1024);

	ctx->sd.unmaps = 0;
	ctx->sd.syncs = 0;
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 5, 6));
	KUNIT_EXPECT_EQ(test, 1, ctx->sd.syncs);
	KUNIT_EXPECT_EQ(test, 1, ctx->sd.unmaps);
	KUNIT_EXPECT_EQ(test, 1023UL, memfd_test_blocks(ctx->file));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 5 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 4 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 6 * PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA, 0, 1024);

	/* punched in the middle of the second, across into the first */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 500, 600));
	expect_mirrored(test, ctx->file, IOVA, 0, 1024);
	KUNIT_EXPECT_EQ(test, 923UL, memfd_test_blocks(ctx->file));
	iommu_memfd_unmap(im);
}

/* A file of small folios, from page 1 on, that follow each other in memory */
static void split_file(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 512);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 512));
	/* initialised, it will be found in batches; and not be moved */
	iommu_memfd_unmap(map(test, IOVA, 0, 512));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 1));
	KUNIT_ASSERT_EQ(test, 0, folio_order(file_folio(ctx->file, 1)));
	KUNIT_ASSERT_EQ(test, folio_pfn(file_folio(ctx->file, 1)) + 510,
			folio_pfn(file_folio(ctx->file, 511)));
	ctx->sd.maps = 0;
}

/* Many folios in a call, but never two in an entry: each can go alone */
static void maps_many_at_once(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	pgoff_t i;

	split_file(test);
	im = map(test, IOVA, 0, 512);
	KUNIT_EXPECT_LE(test, ctx->sd.maps, 511 / 10);
	expect_mirrored(test, ctx->file, IOVA, 0, 512);
	ctx->sd.unmaps = 0;
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_LE(test, ctx->sd.unmaps, 2);

	ctx->sd.domain.pgsize_bitmap = SZ_4K | SZ_16K;
	ctx->sd.maps = 0;
	im = map(test, IOVA, 0, 512);
	KUNIT_EXPECT_LE(test, ctx->sd.maps, 511 / 2);
	for (i = 1; i < 512; i += 3)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, i, i + 1));
	expect_mirrored(test, ctx->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);
}

/* A driver that cannot unmap part of a call is never asked to */
static void maps_one_at_a_time(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;
	pgoff_t i;

	split_file(test);
	set_whole_calls(&ctx->sd);
	im = map(test, IOVA, 0, 512);
	KUNIT_EXPECT_EQ(test, 511, ctx->sd.maps);
	for (i = 1; i < 512; i += 3)
		KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, i, i + 1));
	expect_mirrored(test, ctx->file, IOVA, 0, 512);
	iommu_memfd_unmap(im);
}

/* What a driver has mapped of a call that failed is taken away again */
static void i2_failing_map_leaves_nothing(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	u64 size = 512 * PAGE_SIZE;
	struct iommu_memfd *im;
	struct folio *folio;
	int nth;

	split_file(test);
	for (nth = 1; nth <= 2; nth++) {
		ctx->sd.half_map = nth;
		im = iommu_memfd_map(&ctx->imd, IOVA, size, ctx->file, 0, IOMMU_READ);
		KUNIT_ASSERT_EQ(test, -ENOMEM, PTR_ERR_OR_ZERO(im));
		KUNIT_EXPECT_EQ(test, 0, ctx->sd.half_map);
		KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.table));
		KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.tlb));
	}

	/* a page that comes later, and is not in the file afterwards */
	ctx->file = memfd_test_huge_file(test, 512);
	im = map(test, IOVA + PAGE_SIZE, 0, 512);
	ctx->sd.half_map = 1;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 0, 512));
	KUNIT_EXPECT_EQ(test, 0, ctx->sd.half_map);
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.table));
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.tlb));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 512));
	expect_mirrored(test, ctx->file, IOVA + PAGE_SIZE, 0, 512);

	/* and if that cannot be taken away, it is not let go of */
	KUNIT_ASSERT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 512));
	ctx->sd.half_map = 1;
	ctx->sd.no_unmap = true;
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfd_test_fallocate(ctx->file, 0, 512));
	KUNIT_EXPECT_EQ(test, 0UL, memfd_test_blocks(ctx->file));
	folio = pfn_folio(PHYS_PFN(reach(ctx, IOVA + PAGE_SIZE)));
	lru_add_drain_all();
	KUNIT_EXPECT_EQ(test, 256, folio_ref_count(folio));
	iommu_memfd_unmap(im);
	empty(&ctx->sd.table);
	folio_put_refs(folio, 256);
}

/* The window begins and ends within huge folios, and lies askew to them */
static void window_cuts_huge_folio(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im, *other;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge folios");
	ctx->file = memfd_test_huge_file(test, 1536);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 512));
	im = map(test, IOVA + 3 * PAGE_SIZE, 100, 1100);
	other = map(test, IOVA + SZ_1G, 0, 256);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 512, 1536));
	expect_mirrored(test, ctx->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	/* other does not see the page, but must let go of its folio */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 300, 301));
	KUNIT_EXPECT_EQ(test, 1535UL, memfd_test_blocks(ctx->file));
	expect_mirrored(test, ctx->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	expect_mirrored(test, ctx->file, IOVA + SZ_1G, 0, 256);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 1050, 1200));
	expect_mirrored(test, ctx->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&ctx->file->f_path, 700 * PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA + 3 * PAGE_SIZE, 100, 1100);
	iommu_memfd_unmap(other);
	iommu_memfd_unmap(im);
}

static int end_thread(void *data)
{
	memfd_invalidate_end(data);
	return 0;
}

/* Two invalidations at once, each in the middle of a run: one spare is not enough */
static void splits_without_memory(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct address_space *mapping = ctx->file->f_mapping;
	struct memfd_invalidation a, b;
	struct task_struct *task;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 64));
	im = map(test, IOVA, 0, 64);
	memfd_invalidate_begin(&a, mapping, 10, 20, MEMFD_INVALIDATE_PUNCH);
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 10 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 9 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 20 * PAGE_SIZE));
	memfd_invalidate_begin(&b, mapping, 30, 32, MEMFD_INVALIDATE_PUNCH);
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 30 * PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 29 * PAGE_SIZE));
	/* whichever end looks first waits for the other */
	task = kthread_run(end_thread, &a, "memfd_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	memfd_invalidate_end(&b);
	kthread_stop(task);
	put_task_struct(task);
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 63 * PAGE_SIZE));
	iommu_memfd_unmap(im);
}

struct mapper {
	struct kunit *test;
	struct iommu_memfd *im;
	struct completion done;
};

static int map_thread(void *data)
{
	struct mapper *mapper = data;
	struct ctx *ctx = mapper->test->priv;

	mapper->im = iommu_memfd_map(&ctx->imd, IOVA, 64 * PAGE_SIZE, ctx->file,
				     0, IOMMU_READ);
	complete(&mapper->done);
	return 0;
}

/* A consumer that keeps whoever brings it a page waiting */
struct slow {
	struct memfd_falloc_notifier mn;
	struct completion entered, go;
};

static void slow_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end)
{
}

static int slow_populate(struct memfd_falloc_notifier *mn, struct folio *folio,
			 unsigned long seq)
{
	struct slow *slow = container_of(mn, struct slow, mn);

	complete(&slow->entered);
	wait_for_completion(&slow->go);
	return 0;
}

static const struct memfd_falloc_notifier_ops slow_ops = {
	.name			= "slow",
	.invalidate_page_range	= slow_invalidate,
	.populate		= slow_populate,
};

static int punch_thread(void *data)
{
	struct kunit *test = data;
	struct ctx *ctx = test->priv;

	return memfd_test_punch(ctx->file, 5, 6);
}

/* A page that is punched between being found and being mapped is not mapped */
static void sequence_guards_fill(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct mapper mapper = { .test = test };
	struct task_struct *punch;
	struct slow slow = {};

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 64));
	init_completion(&mapper.done);
	init_completion(&slow.entered);
	init_completion(&slow.go);
	KUNIT_ASSERT_EQ(test, 0,
			memfd_register_falloc_notifier(&slow.mn, ctx->file, 5, 6, &slow_ops));
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(map_thread, &mapper, "memfd_test")));
	/* it has found page 5, and initialised it */
	wait_for_completion(&slow.entered);
	KUNIT_EXPECT_NE(test, 0, reach(ctx, IOVA + 5 * PAGE_SIZE));
	ctx->sd.syncs = 0;
	punch = kthread_run(punch_thread, test, "memfd_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(punch));
	get_task_struct(punch);
	/* revoked, but the file has it, since it is locked */
	while (!READ_ONCE(ctx->sd.syncs))
		schedule_timeout_uninterruptible(1);
	complete(&slow.go);
	KUNIT_EXPECT_EQ(test, 0, kthread_stop(punch));
	put_task_struct(punch);
	wait_for_completion(&mapper.done);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mapper.im));
	KUNIT_EXPECT_EQ(test, 0, reach(ctx, IOVA + 5 * PAGE_SIZE));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	iommu_memfd_unmap(mapper.im);
	memfd_unregister_falloc_notifier(&slow.mn);
}

struct announced {
	struct kunit *test;
	u64 iova, length;
	int nr;
};

static struct announced announced;

static void record_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length)
{
	u64 at;

	announced.nr++;
	announced.iova = iova;
	announced.length = length;
	for (at = iova; at < iova + length; at += PAGE_SIZE)
		KUNIT_EXPECT_NE(announced.test, 0, reach(announced.test->priv, at));
}

/* The owner of the domain is notified of what goes, and before it goes */
static void announces_before_it_unmaps(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd *im;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 8));
	announced = (struct announced){ .test = test };
	ctx->imd.revoke = record_revoke;
	im = map(test, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, announced.nr);

	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 4));
	KUNIT_EXPECT_EQ(test, 1, announced.nr);
	KUNIT_EXPECT_EQ(test, IOVA + 2 * PAGE_SIZE, announced.iova);
	KUNIT_EXPECT_EQ(test, 2 * PAGE_SIZE, announced.length);
	/* not of holes, nor of pages that come */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 4));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 20, 40));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 3, 4));
	KUNIT_EXPECT_EQ(test, 1, announced.nr);
	/* of each run by itself */
	iommu_memfd_unmap(im);
	KUNIT_EXPECT_EQ(test, 3, announced.nr);
	KUNIT_EXPECT_EQ(test, IOVA + 3 * PAGE_SIZE, announced.iova);
	KUNIT_EXPECT_EQ(test, 5 * PAGE_SIZE, announced.length);
}

/* Do both domains of a range translate the same, @pages pages of it? */
static void expect_same(struct kunit *test, unsigned long pages)
{
	struct ctx *ctx = test->priv;
	unsigned long i, nr = 0;
	struct entry *a, *b;

	for (i = 0; i < 64; i++) {
		a = xa_load(&ctx->sd.table, (IOVA >> PAGE_SHIFT) + i);
		b = xa_load(&ctx->other.table, (IOVA >> PAGE_SHIFT) + i);
		KUNIT_EXPECT_EQ(test, !a, !b);
		if (a && b)
			KUNIT_EXPECT_EQ(test, a->phys, b->phys);
		nr += !!a;
	}
	KUNIT_EXPECT_EQ(test, pages, nr);
}

/* Domains join a range and leave it, before and after the file has pages */
static void range_in_many_domains(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd_range range;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 4));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, ctx->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(ctx->file->f_mapping));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->sd.domain));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 8, 10));

	/* one that cannot join leaves no trace */
	set_whole_calls(&ctx->other);
	ctx->other.fail_map = 3;
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &ctx->other.domain));
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->other.table));
	expect_mirrored(test, ctx->file, IOVA, 0, 64);

	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->other.domain));
	expect_same(test, 6);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 2, 9));
	expect_same(test, 3);
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 20, 30));
	expect_same(test, 13);

	iommu_memfd_range_unmap(&range, &ctx->other.domain);
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->other.table));
	iommu_memfd_range_unmap(&range, &ctx->other.domain);
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->other.domain));
	iommu_memfd_range_unmap_all(&range);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(ctx->file->f_mapping));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->other.domain));
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_FALSE(test, memfd_has_consumers(ctx->file->f_mapping));
}

/* Pages are pinned once, in however many domains they are, and within a limit */
static void range_is_charged_once(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd_range range;
	struct mm_struct *mm;

	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 4));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, ctx->file, 0,
					       IOMMU_READ | IOMMU_WRITE));
	/* a kernel thread has none */
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	range.account.mm = mm;
	range.account.limit = 3;
	mmgrab(mm);
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&range, &ctx->sd.domain));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));

	range.account.limit = 8;
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->sd.domain));
	KUNIT_EXPECT_EQ(test, 4, atomic64_read(&mm->pinned_vm));
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->other.domain));
	KUNIT_EXPECT_EQ(test, 4, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_fallocate(ctx->file, 8, 10));
	KUNIT_EXPECT_EQ(test, 6, atomic64_read(&mm->pinned_vm));
	/* two more fit, and stay */
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(ctx->file, 10, 13));
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	expect_same(test, 8);

	/* whoever stays is charged */
	iommu_memfd_range_unmap(&range, &ctx->sd.domain);
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 0, 2));
	KUNIT_EXPECT_EQ(test, 6, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -EDQUOT, memfd_test_fallocate(ctx->file, 20, 25));
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));
	mmput(mm);
}

/* What an invalidation may give back stays charged until it has ended */
static void i8_charged_until_it_has_ended(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct address_space *mapping = ctx->file->f_mapping;
	struct iommu_memfd_range range, other;
	struct memfd_invalidation a, b;
	struct mm_struct *mm = mm_alloc();
	struct task_struct *task;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(ctx->file, 0, 8));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&range, IOVA, 64 * PAGE_SIZE, ctx->file, 0,
					       IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_memfd_range_init(&other, IOVA, 64 * PAGE_SIZE,
					       memfd_test_file(test, 64), 0, IOMMU_READ));
	KUNIT_ASSERT_EQ(test, 0, memfd_test_fallocate(other.file, 0, 1));
	range.account.mm = mm;
	range.account.limit = 8;
	other.account = range.account;
	mmgrab(mm);
	mmgrab(mm);
	KUNIT_ASSERT_EQ(test, 0, iommu_memfd_range_map(&range, &ctx->sd.domain));
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));

	memfd_invalidate_begin(&a, mapping, 0, ULONG_MAX, MEMFD_INVALIDATE_PUNCH);
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->sd.table));
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, -ENOMEM, iommu_memfd_range_map(&other, &ctx->other.domain));
	/* the first to end is the one that has revoked them; it waits for the other */
	memfd_invalidate_begin(&b, mapping, 4, 6, MEMFD_INVALIDATE_PUNCH);
	task = kthread_run(end_thread, &a, "memfd_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	memfd_invalidate_end(&b);
	kthread_stop(task);
	put_task_struct(task);
	expect_mirrored(test, ctx->file, IOVA, 0, 64);
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));

	/* not for longer than that */
	KUNIT_EXPECT_EQ(test, 0, memfd_test_punch(ctx->file, 3, 4));
	KUNIT_EXPECT_EQ(test, 7, atomic64_read(&mm->pinned_vm));
	KUNIT_EXPECT_EQ(test, 0, iommu_memfd_range_map(&other, &ctx->other.domain));
	KUNIT_EXPECT_EQ(test, 8, atomic64_read(&mm->pinned_vm));
	memfd_invalidate_begin(&a, mapping, 0, ULONG_MAX, MEMFD_INVALIDATE_PUNCH);
	iommu_memfd_range_destroy(&range);
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&mm->pinned_vm));
	memfd_invalidate_end(&a);
	iommu_memfd_range_destroy(&other);
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&mm->pinned_vm));
	mmput(mm);
}

/* What can be told without a domain is told at once */
static void range_refuses(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct iommu_memfd_range range;
	struct file *f = ctx->file;

	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_init(&range, IOVA, 0, f, 0, IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_memfd_range_init(&range, IOVA, SZ_4K, f, 1, IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_memfd_range_init(&range, IOVA, SZ_4K, f, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_memfd_range_init(&range, IOVA, SZ_4K, f,
					       PAGE_ALIGN_DOWN(MAX_LFS_FILESIZE) + SZ_4K,
					       IOMMU_READ));
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			iommu_memfd_range_init(&range, U64_MAX - SZ_4K + 1, SZ_8K, f, 0,
					       IOMMU_READ));
	KUNIT_EXPECT_EQ(test, 1L, file_count(f));
}

static struct kunit_case iommu_memfd_cases[] = {
	KUNIT_CASE(i1_revoked_and_flushed_before_gone),
	KUNIT_CASE(i2_pages_are_held),
	KUNIT_CASE(i2_holds_on_unknown_paths),
	KUNIT_CASE(i2_holds_what_is_stuck),
	KUNIT_CASE(i3_fallocated_pages_are_cleared),
	KUNIT_CASE(i4_mirror_is_complete),
	KUNIT_CASE(i4_failure_is_heard),
	KUNIT_CASE(i7_leaves_nothing),
	KUNIT_CASE(map_refuses),
	KUNIT_CASE(sparse_costs_what_is_there),
	KUNIT_CASE(hole_in_huge_folio),
	KUNIT_CASE(maps_many_at_once),
	KUNIT_CASE(maps_one_at_a_time),
	KUNIT_CASE(i2_failing_map_leaves_nothing),
	KUNIT_CASE(window_cuts_huge_folio),
	KUNIT_CASE(splits_without_memory),
	KUNIT_CASE(sequence_guards_fill),
	KUNIT_CASE(announces_before_it_unmaps),
	KUNIT_CASE(range_in_many_domains),
	KUNIT_CASE(range_is_charged_once),
	KUNIT_CASE(i8_charged_until_it_has_ended),
	KUNIT_CASE(range_refuses),
	{}
};

static struct kunit_suite iommu_memfd_suite = {
	.name = "iommu_memfd",
	.init = test_init,
	.exit = test_exit,
	.test_cases = iommu_memfd_cases,
};

kunit_test_suite(iommu_memfd_suite);

MODULE_DESCRIPTION("KUnit tests of iommu_memfd");
MODULE_LICENSE("GPL");
