/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An IOMMU domain in software, for the KUnit tests of iommu_memfd
 *
 * It is stricter than any driver, and counts as a mistake whatever some driver
 * gets wrong: mapping over a mapped page, unmapping a part of an entry, or a hole
 * where there is no page table, and releasing a page that a TLB may still translate
 * to. Its TLB drops an entry only if a flush covers all of it.
 */
#ifndef _IOMMU_MEMFD_SOFT_DOMAIN_H
#define _IOMMU_MEMFD_SOFT_DOMAIN_H

#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/iommu_memfd.h>
#include <linux/xarray.h>

#define IOVA	0x40000000UL

struct soft_domain {
	struct iommu_domain domain;
	struct kunit *test;
	struct xarray table;	/* by IOVA page */
	struct xarray tlb;	/* unmapped, and not flushed */
	struct xarray tables;	/* blocks of 2 MiB that have a page table */
	int maps, unmaps, syncs, cuts, mistakes;
	int fail_map;		/* fails the nth map_pages() from now */
	int half_map;		/* does half of the nth, and returns an error */
	bool whole_calls;	/* unmaps no part of what one call mapped */
	bool no_unmap;		/* unmaps nothing */
	bool no_cut;		/* its entries cannot be cut */
	void (*watch)(struct soft_domain *sd);	/* called behind each change */
	void *watch_data;
};

/* Each test has a file, and two domains; @imd is of the first */
struct test_env {
	struct soft_domain sd, other;
	struct iommu_memfd_domain imd;
	struct file *file;
};

int soft_test_init(struct kunit *test);
void soft_test_exit(struct kunit *test);
void soft_set_whole_calls(struct soft_domain *sd);
void soft_clear(struct xarray *xa);

phys_addr_t soft_reach(struct kunit *test, unsigned long iova);
bool soft_has_table(struct kunit *test, unsigned long iova);
struct folio *soft_folio(struct file *file, pgoff_t index);
struct iommu_memfd *soft_mirror(struct kunit *test, unsigned long iova,
				pgoff_t start, pgoff_t end);
void soft_expect_mirrored(struct kunit *test, struct file *file,
			  unsigned long iova, pgoff_t start, pgoff_t end);

#endif /* _IOMMU_MEMFD_SOFT_DOMAIN_H */
