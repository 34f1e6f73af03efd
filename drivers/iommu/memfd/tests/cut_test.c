// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of iommu_cut(), and of what unmaps_any_page promises, on a driver
 *
 * QEMU's "edu" is alone in its IOMMU group, and no driver has bound it when KUnit
 * runs. It does no DMA: the tests read the page table by iommu_iova_to_phys(), and
 * nothing accesses the physical addresses that they map.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/mmzone.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sizes.h>

#include "watch.h"

#ifdef CONFIG_INTEL_IOMMU
#include "../../intel/iommu.h"
#endif

#define PCI_VENDOR_ID_QEMU_EDU	0x1234
#define PCI_DEVICE_ID_QEMU_EDU	0x11e8

#define IOVA		SZ_4G
#define PHYS		SZ_64G
#define IOVA_PAGE(i)	(IOVA + (unsigned long)(i) * PAGE_SIZE)
#define BLOCK		SZ_2M
#define PAGES		((int)(BLOCK / PAGE_SIZE))

struct cut_env {
	struct pci_dev *pdev;
	struct iommu_domain *domain;
	bool attached;
};

static struct iommu_domain *domain_of(struct kunit *test)
{
	struct cut_env *env = test->priv;

	return env->domain;
}

/* All tests map IOVAs to these addresses. */
static phys_addr_t right_phys(unsigned long iova)
{
	return PHYS + (iova - IOVA);
}

/* For a large page, @size must be that of its entry: AMD maps several by one. */
static void map(struct kunit *test, unsigned long iova, size_t size)
{
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain_of(test), iova, right_phys(iova), size,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
}

static void unmap(struct kunit *test, unsigned long iova, size_t size)
{
	KUNIT_EXPECT_EQ(test, size, iommu_unmap(domain_of(test), iova, size));
}

/* Whether a domain can cut depends on its devices alone. */
static bool can_cut(struct kunit *test)
{
	return iommu_cut(domain_of(test), IOVA_PAGE(1), GFP_KERNEL) != -EOPNOTSUPP;
}

static void need_cut(struct kunit *test)
{
	if (!can_cut(test))
		kunit_skip(test, "the domain cannot cut");
}

static void cut(struct kunit *test, unsigned long iova)
{
	KUNIT_EXPECT_EQ(test, 0, iommu_cut(domain_of(test), iova, GFP_KERNEL));
}

/* How many pages of [start, end) have the right translation, or none? */
static void expect_pages(struct kunit *test, unsigned long start, unsigned long end,
			 bool mapped)
{
	unsigned long iova, nr = 0;

	for (iova = start; iova < end; iova += PAGE_SIZE) {
		if (iommu_iova_to_phys(domain_of(test), iova) ==
		    (mapped ? right_phys(iova) : 0))
			nr++;
	}
	KUNIT_EXPECT_EQ_MSG(test, (end - start) >> PAGE_SHIFT, nr, "%smapped: 0x%lx-0x%lx",
			    mapped ? "" : "un", start, end);
}

#define expect_mapped(test, start, end)		expect_pages(test, start, end, true)
#define expect_unmapped(test, start, end)	expect_pages(test, start, end, false)

/* All IOMMU page tables, with those that CPUs have yet to add to the counters */
static long page_tables(void)
{
	struct pglist_data *pgdat;
	long nr = 0;
	int cpu;

	for_each_online_pgdat(pgdat) {
		nr += atomic_long_read(&pgdat->vm_stat[NR_IOMMU_PAGES]);
		for_each_online_cpu(cpu)
			nr += per_cpu_ptr(pgdat->per_cpu_nodestats,
					  cpu)->vm_node_stat_diff[NR_IOMMU_PAGES];
	}
	return nr;
}

/* Page tables of the levels above stay. */
static void make_upper_tables(struct kunit *test)
{
	map(test, IOVA, PAGE_SIZE);
	unmap(test, IOVA, BLOCK);
}

struct reader {
	struct iommu_domain *domain;
	unsigned long block;	/* reads the pages of this one */
	unsigned long rounds, wrong;
};

static phys_addr_t look(struct iommu_domain *domain, unsigned long iova)
{
	/* drivers do not expect that entries change meanwhile */
	return data_race(iommu_iova_to_phys(domain, iova));
}

static int read_translations(void *data)
{
	struct reader *r = data;
	unsigned long block, iova;
	phys_addr_t phys;

	while (!kthread_should_stop()) {
		block = READ_ONCE(r->block);
		for (iova = block; iova < block + BLOCK; iova += PAGE_SIZE) {
			phys = look(r->domain, iova);
			/*
			 * Drivers read an entry once for its size, and again for the
			 * address. If a cut comes between, the next look is right.
			 */
			if (phys && phys != right_phys(iova))
				phys = look(r->domain, iova);
			if (phys != right_phys(iova))
				r->wrong++;
		}
		WRITE_ONCE(r->rounds, r->rounds + 1);
		cond_resched();
	}
	return 0;
}

/* At least one of them begins after this does. */
static void wait_for_rounds(struct reader *r)
{
	unsigned long rounds = READ_ONCE(r->rounds);

	while (READ_ONCE(r->rounds) - rounds < 2)
		usleep_range(100, 200);
}

/* No translation of a large page changes while it is cut at random edges */
static void cut_under_readers(struct kunit *test)
{
	const unsigned long end = IOVA + 8 * BLOCK;
	struct reader reader = { .domain = domain_of(test) };
	u32 seed = get_random_u32();
	struct task_struct *task;
	struct rnd_state rnd;
	unsigned long block;
	int round, i;

	need_cut(test);
	kunit_info(test, "seed 0x%x\n", seed);
	prandom_seed_state(&rnd, seed);
	for (round = 0; round < 20; round++) {
		for (block = IOVA; block < end; block += BLOCK)
			map(test, block, BLOCK);
		reader.block = IOVA;
		task = kthread_run(read_translations, &reader, "cut_test");
		KUNIT_ASSERT_FALSE(test, IS_ERR(task));
		for (block = IOVA; block < end; block += BLOCK) {
			WRITE_ONCE(reader.block, block);
			wait_for_rounds(&reader);
			for (i = 0; i < 4; i++)
				cut(test, block + prandom_u32_state(&rnd) % PAGES * PAGE_SIZE);
			wait_for_rounds(&reader);
		}
		KUNIT_EXPECT_EQ(test, 0, kthread_stop(task));

		for (block = IOVA; block < end; block += BLOCK)
			unmap(test, block, BLOCK);
		expect_unmapped(test, IOVA, end);
	}
	KUNIT_EXPECT_EQ(test, 0, reader.wrong);
}

/*
 * A breakpoint at the entry stops the CPU behind each write to it, and looks at the
 * pages, as the IOMMU can at that moment.
 */
struct watch {
	struct iommu_domain *domain;
	unsigned long writes, wrong;
};

static void look_between(struct perf_event *event, struct perf_sample_data *data,
			 struct pt_regs *regs)
{
	struct watch *watch = event->overflow_handler_context;
	unsigned long iova;

	watch->writes++;
	for (iova = IOVA; iova < IOVA + BLOCK; iova += PAGE_SIZE)
		if (look(watch->domain, iova) != right_phys(iova))
			watch->wrong++;
}

/* The large entry of VT-d's page table that translates IOVA; NULL without one */
static void *large_entry(struct kunit *test)
{
#ifdef CONFIG_INTEL_IOMMU
	struct cut_env *env = test->priv;
	struct dmar_domain *domain = to_dmar_domain(env->domain);
	struct dma_pte *table, *entry;
	int level;

	if (env->pdev->dev.iommu->iommu_dev->ops != &intel_iommu_ops)
		return NULL;
	table = domain->pgd;
	for (level = agaw_to_level(domain->agaw); level > 1; level--) {
		entry = &table[pfn_level_offset(IOVA >> VTD_PAGE_SHIFT, level)];
		if (!dma_pte_present(entry))
			return NULL;
		if (dma_pte_superpage(entry))
			return entry;
		table = phys_to_virt(dma_pte_addr(entry));
	}
#endif
	return NULL;
}

/* Whenever the entry has a new value, it translates all pages (I10) */
static void i10_cut_watched(struct kunit *test)
{
	struct watch watch = { .domain = domain_of(test) };
	struct perf_event * __percpu *event;
	void *entry;

	need_cut(test);
	map(test, IOVA, BLOCK);
	entry = large_entry(test);
	if (!entry)
		kunit_skip(test, "no entry to watch");
	event = watch_writes(test, entry, look_between, &watch);
	cut(test, IOVA_PAGE(7));
	unregister_wide_hw_breakpoint(event);

	KUNIT_EXPECT_LT_MSG(test, 0, watch.writes, "QEMU does not see a cmpxchg with mttcg");
	KUNIT_EXPECT_EQ(test, 0, watch.wrong);
	expect_mapped(test, IOVA, IOVA + BLOCK);
}

/* After a cut at both its edges, a page is unmapped alone */
static void unmap_what_was_cut_out(struct kunit *test)
{
	static const int pages[] = { 0, 1, 7, 255, 256, 510, 511 };
	long tables;
	int i, p;

	need_cut(test);
	make_upper_tables(test);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		p = PAGES + pages[i];
		tables = page_tables();
		map(test, IOVA_PAGE(0), BLOCK);
		map(test, IOVA_PAGE(PAGES), BLOCK);
		map(test, IOVA_PAGE(2 * PAGES), BLOCK);
		KUNIT_EXPECT_EQ(test, tables, page_tables());
		cut(test, IOVA_PAGE(p));
		cut(test, IOVA_PAGE(p + 1));
		KUNIT_EXPECT_EQ(test, tables + 1, page_tables());
		expect_mapped(test, IOVA_PAGE(0), IOVA_PAGE(3 * PAGES));

		unmap(test, IOVA_PAGE(p), PAGE_SIZE);
		expect_mapped(test, IOVA_PAGE(0), IOVA_PAGE(p));
		expect_unmapped(test, IOVA_PAGE(p), IOVA_PAGE(p + 1));
		expect_mapped(test, IOVA_PAGE(p + 1), IOVA_PAGE(3 * PAGES));

		/* and mapped again */
		map(test, IOVA_PAGE(p), PAGE_SIZE);
		expect_mapped(test, IOVA_PAGE(0), IOVA_PAGE(3 * PAGES));
		unmap(test, IOVA_PAGE(0), 3 * BLOCK);
		expect_unmapped(test, IOVA_PAGE(0), IOVA_PAGE(3 * PAGES));
		KUNIT_EXPECT_EQ(test, tables, page_tables());
	}
}

/* Where no entry reaches across, nothing happens */
static void nothing_to_cut(struct kunit *test)
{
	struct iommu_domain *domain = domain_of(test);
	long tables;

	need_cut(test);
	map(test, IOVA_PAGE(1), PAGE_SIZE);
	map(test, IOVA_PAGE(2), PAGE_SIZE);
	map(test, IOVA_PAGE(PAGES), BLOCK);
	map(test, IOVA_PAGE(2 * PAGES), BLOCK);
	tables = page_tables();

	cut(test, IOVA_PAGE(1));		/* a hole before it */
	cut(test, IOVA_PAGE(2));		/* a page before and behind it */
	cut(test, IOVA_PAGE(3));		/* a hole behind it */
	cut(test, IOVA_PAGE(100));		/* a hole in a table */
	cut(test, IOVA_PAGE(PAGES));		/* edges of large pages */
	cut(test, IOVA_PAGE(2 * PAGES));
	cut(test, IOVA_PAGE(3 * PAGES));
	cut(test, IOVA_PAGE(10 * PAGES + 1));	/* no table there */
	cut(test, 3 * IOVA + PAGE_SIZE);
	cut(test, 0);
	cut(test, domain->geometry.aperture_end + 1);
	KUNIT_EXPECT_EQ(test, tables, page_tables());
	expect_mapped(test, IOVA_PAGE(1), IOVA_PAGE(3));
	expect_mapped(test, IOVA_PAGE(PAGES), IOVA_PAGE(3 * PAGES));

	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_cut(domain, IOVA_PAGE(PAGES) + 8, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, tables, page_tables());
}

/* A page of 1 GiB is cut into pages of 2 MiB, and one of those again */
static void cut_twice(struct kunit *test)
{
	long tables;
	int p = 77 * PAGES + 5;

	need_cut(test);
	if (!(domain_of(test)->pgsize_bitmap & SZ_1G))
		kunit_skip(test, "no pages of 1 GiB");

	map(test, IOVA, SZ_1G);
	tables = page_tables();
	cut(test, IOVA_PAGE(p));
	KUNIT_EXPECT_EQ(test, tables + 2, page_tables());
	cut(test, IOVA_PAGE(p + 1));
	KUNIT_EXPECT_EQ(test, tables + 2, page_tables());
	expect_mapped(test, IOVA, IOVA + SZ_1G);

	unmap(test, IOVA_PAGE(p), PAGE_SIZE);
	expect_mapped(test, IOVA, IOVA_PAGE(p));
	expect_unmapped(test, IOVA_PAGE(p), IOVA_PAGE(p + 1));
	expect_mapped(test, IOVA_PAGE(p + 1), IOVA + SZ_1G);

	/* an edge of the pages of 2 MiB */
	cut(test, IOVA_PAGE(300 * PAGES));
	KUNIT_EXPECT_EQ(test, tables + 2, page_tables());
	unmap(test, IOVA_PAGE(300 * PAGES), BLOCK);
	expect_mapped(test, IOVA_PAGE(p + 1), IOVA_PAGE(300 * PAGES));
	expect_unmapped(test, IOVA_PAGE(300 * PAGES), IOVA_PAGE(301 * PAGES));
	expect_mapped(test, IOVA_PAGE(301 * PAGES), IOVA + SZ_1G);
}

/* An entry of a size between those of two levels is refused, and stays */
static void cut_between_levels(struct kunit *test)
{
	struct iommu_domain *domain = domain_of(test);

	need_cut(test);
	if (!(domain->pgsize_bitmap & SZ_64K))
		kunit_skip(test, "no pages of 64 KiB");

	map(test, IOVA, SZ_64K);
	KUNIT_EXPECT_EQ(test, -EINVAL, iommu_cut(domain, IOVA_PAGE(3), GFP_KERNEL));
	expect_mapped(test, IOVA, IOVA + SZ_64K);
	cut(test, IOVA);
	cut(test, IOVA + SZ_64K);
}

/* One unmap may cover pages that are not mapped, in tables that exist */
static void unmap_over_holes(struct kunit *test)
{
	map(test, IOVA_PAGE(3), PAGE_SIZE);
	map(test, IOVA_PAGE(9), PAGE_SIZE);
	map(test, IOVA_PAGE(16), PAGE_SIZE);
	map(test, IOVA_PAGE(511), PAGE_SIZE);
	map(test, IOVA_PAGE(512), BLOCK);
	map(test, IOVA_PAGE(2 * 512 + 100), PAGE_SIZE);
	map(test, IOVA_PAGE(3 * 512 + 1), PAGE_SIZE);
	map(test, IOVA_PAGE(3 * 512 + 2), PAGE_SIZE);

	unmap(test, IOVA_PAGE(0), 16 * PAGE_SIZE);
	expect_unmapped(test, IOVA_PAGE(0), IOVA_PAGE(16));
	expect_mapped(test, IOVA_PAGE(16), IOVA_PAGE(17));

	/* from a hole on, over an entry of 2 MiB and a whole table, to a hole */
	unmap(test, IOVA_PAGE(20), (3 * 512 + 2 - 20) * PAGE_SIZE);
	expect_mapped(test, IOVA_PAGE(16), IOVA_PAGE(17));
	expect_unmapped(test, IOVA_PAGE(20), IOVA_PAGE(3 * 512 + 2));
	expect_mapped(test, IOVA_PAGE(3 * 512 + 2), IOVA_PAGE(3 * 512 + 3));
}

/* A table goes when all that it could translate is unmapped at once */
static void unmap_frees_tables(struct kunit *test)
{
	const int blocks = 64;
	long before;
	int i;

	make_upper_tables(test);
	before = page_tables();
	for (i = 0; i < blocks; i++)
		map(test, IOVA_PAGE(i * PAGES + i), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, before + blocks, page_tables());

	/* empty tables stay, as their pages may return, ... */
	for (i = 0; i < blocks; i++)
		unmap(test, IOVA_PAGE(i * PAGES + i), PAGE_SIZE);
	expect_unmapped(test, IOVA, IOVA + blocks * BLOCK);
	KUNIT_EXPECT_EQ(test, before + blocks, page_tables());

	/* ... one goes alone, and the others together */
	unmap(test, IOVA, BLOCK);
	KUNIT_EXPECT_EQ(test, before + blocks - 1, page_tables());
	unmap(test, IOVA + BLOCK, (blocks - 1) * BLOCK);
	KUNIT_EXPECT_EQ(test, before, page_tables());

	/* those of which pages are mapped as well */
	map(test, IOVA_PAGE(7), 2 * PAGE_SIZE);
	map(test, IOVA_PAGE(PAGES), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, before + 2, page_tables());
	unmap(test, IOVA, 2 * BLOCK);
	expect_unmapped(test, IOVA, IOVA + 2 * BLOCK);
	KUNIT_EXPECT_EQ(test, before, page_tables());

	/* and those that a cut makes */
	if (!can_cut(test))
		return;
	map(test, IOVA, BLOCK);
	cut(test, IOVA_PAGE(1));
	KUNIT_EXPECT_EQ(test, before + 1, page_tables());
	unmap(test, IOVA, BLOCK);
	expect_unmapped(test, IOVA, IOVA + BLOCK);
	KUNIT_EXPECT_EQ(test, before, page_tables());
}

/* A large page takes the place of an empty table */
static void map_over_empty_table(struct kunit *test)
{
	long before;
	int i;

	make_upper_tables(test);
	before = page_tables();
	for (i = 0; i < PAGES; i++)
		map(test, IOVA_PAGE(i), PAGE_SIZE);
	map(test, IOVA_PAGE(PAGES), PAGE_SIZE);
	for (i = 0; i < PAGES; i++)
		unmap(test, IOVA_PAGE(i), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, before + 2, page_tables());

	map(test, IOVA, BLOCK);
	expect_mapped(test, IOVA, IOVA_PAGE(PAGES + 1));
	KUNIT_EXPECT_EQ(test, before + 1, page_tables());

	/* and can be cut in turn */
	if (!can_cut(test))
		return;
	cut(test, IOVA_PAGE(1));
	unmap(test, IOVA, PAGE_SIZE);
	expect_unmapped(test, IOVA, IOVA_PAGE(1));
	expect_mapped(test, IOVA_PAGE(1), IOVA_PAGE(PAGES + 1));
}

static int cut_test_init(struct kunit *test)
{
	struct cut_env *env;
	struct device *dev;

	env = kunit_kzalloc(test, sizeof(*env), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, env);
	test->priv = env;

	env->pdev = pci_get_device(PCI_VENDOR_ID_QEMU_EDU, PCI_DEVICE_ID_QEMU_EDU, NULL);
	if (!env->pdev || !device_iommu_mapped(&env->pdev->dev))
		kunit_skip(test, "no edu device with an IOMMU");
	dev = &env->pdev->dev;

	env->domain = iommu_paging_domain_alloc(dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(env->domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_attach_device(env->domain, dev));
	env->attached = true;

	if (!env->domain->ops->unmaps_any_page)
		kunit_skip(test, "its domain unmaps no part of a mapping");
	return 0;
}

static void cut_test_exit(struct kunit *test)
{
	struct cut_env *env = test->priv;

	if (!env)
		return;
	if (env->attached)
		iommu_detach_device(env->domain, &env->pdev->dev);
	if (!IS_ERR_OR_NULL(env->domain))
		iommu_domain_free(env->domain);
	pci_dev_put(env->pdev);
}

static struct kunit_case cut_test_cases[] = {
	KUNIT_CASE_SLOW(cut_under_readers),
	KUNIT_CASE(i10_cut_watched),
	KUNIT_CASE(unmap_what_was_cut_out),
	KUNIT_CASE(nothing_to_cut),
	KUNIT_CASE_SLOW(cut_twice),
	KUNIT_CASE(cut_between_levels),
	KUNIT_CASE(unmap_over_holes),
	KUNIT_CASE(unmap_frees_tables),
	KUNIT_CASE(map_over_empty_table),
	{}
};

static struct kunit_suite cut_test_suite = {
	.name = "iommu_cut",
	.init = cut_test_init,
	.exit = cut_test_exit,
	.test_cases = cut_test_cases,
};

kunit_test_suite(cut_test_suite);
