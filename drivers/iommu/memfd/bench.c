// SPDX-License-Identifier: GPL-2.0
/*
 * iommu_memfd_bench: the least that mapping the pages of a memfd costs
 *
 * Looks up a memfd's folios, maps them into an IOMMU domain, unmaps and
 * releases them, by bare calls of the page cache and of the IOMMU API, and
 * counts the cycles. It keeps no records and the file has no consumer, so this
 * is the floor for code that does more. Does not need MEMFD_OPS.
 *
 * One request for each open of /sys/kernel/debug/iommu_memfd_bench: write
 *
 *	PCI-DEVICE DESCRIPTOR LENGTH METHOD
 *
 * and read the counts. DESCRIPTOR is the writer's, of a memfd that has all of
 * its first LENGTH bytes, in memory; no driver is using the device. METHOD:
 *
 * page	one iommu_map() and one iommu_unmap_fast() for each page
 * run	one iommu_map() for each run of contiguous pages that one lookup gave
 * sg	iommu_map_sg() of 512 pages at a time
 *
 * The last two unmap by one call. The IOTLB is flushed once for all.
 */
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/shmem_fs.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/timex.h>

/* Where the file's first page is mapped: no device has reserved regions there */
#define BENCH_IOVA	SZ_4G
#define BENCH_PROT	(IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE)
#define BENCH_SG	512

/**
 * struct bench_request - one request
 * @method: how to map and unmap
 * @domain: the device's, as long as the request lasts
 * @mapping: of the file, which keeps its pages meanwhile
 * @pages: to map
 * @next: index of the first page whose folio has not been looked up: those
 *	before it are referenced
 * @mapped: how many bytes are mapped
 * @sg: folios collected for iommu_map_sg()
 * @sg_used: entries of @sg
 * @sg_pages: pages in them
 * @folios: how many there are
 * @calls: how many calls mapped them
 * @lookup: cycles, as all that follow
 * @map: without the lookup
 * @unmap: without the flush
 * @sync: the flush
 * @release: to look up all folios again, and to drop the references
 */
struct bench_request {
	const struct bench_method *method;
	struct iommu_domain *domain;
	struct address_space *mapping;
	pgoff_t pages, next;
	size_t mapped;
	struct scatterlist *sg;
	unsigned int sg_used, sg_pages;
	unsigned long folios, calls;
	cycles_t lookup, map, unmap, sync, release;
};

struct bench_method {
	const char *name;
	int (*map)(struct bench_request *b, struct folio_batch *fbatch);
	int (*finish)(struct bench_request *b);
	size_t unmap_size;	/* of one call; 0 for all */
};

static int map_contiguous(struct bench_request *b, unsigned long pfn, size_t size)
{
	int error;

	error = iommu_map(b->domain, BENCH_IOVA + b->mapped, PFN_PHYS(pfn), size,
			  BENCH_PROT, GFP_KERNEL);
	if (error)
		return error;
	b->mapped += size;
	b->calls++;
	return 0;
}

static int map_by_page(struct bench_request *b, struct folio_batch *fbatch)
{
	unsigned long pfn, end;
	unsigned int i;
	int error;

	for (i = 0; i < folio_batch_count(fbatch); i++) {
		pfn = folio_pfn(fbatch->folios[i]);
		end = pfn + folio_nr_pages(fbatch->folios[i]);
		for (; pfn < end; pfn++) {
			error = map_contiguous(b, pfn, PAGE_SIZE);
			if (error)
				return error;
		}
	}
	return 0;
}

static int map_by_run(struct bench_request *b, struct folio_batch *fbatch)
{
	unsigned int i = 0;
	unsigned long pfn;
	size_t nr;
	int error;

	while (i < folio_batch_count(fbatch)) {
		pfn = folio_pfn(fbatch->folios[i]);
		nr = 0;
		do {
			nr += folio_nr_pages(fbatch->folios[i++]);
		} while (i < folio_batch_count(fbatch) &&
			 folio_pfn(fbatch->folios[i]) == pfn + nr);
		error = map_contiguous(b, pfn, nr << PAGE_SHIFT);
		if (error)
			return error;
	}
	return 0;
}

/* Map the collected folios */
static int map_sg(struct bench_request *b)
{
	ssize_t mapped;

	if (!b->sg_used)
		return 0;
	mapped = iommu_map_sg(b->domain, BENCH_IOVA + b->mapped, b->sg,
			      b->sg_used, BENCH_PROT, GFP_KERNEL);
	if (mapped < 0)
		return mapped;
	b->mapped += mapped;
	b->calls++;
	b->sg_used = 0;
	b->sg_pages = 0;
	return 0;
}

static int map_by_sg(struct bench_request *b, struct folio_batch *fbatch)
{
	struct folio *folio;
	unsigned int i;
	int error;

	for (i = 0; i < folio_batch_count(fbatch); i++) {
		folio = fbatch->folios[i];
		sg_set_folio(&b->sg[b->sg_used++], folio, folio_size(folio), 0);
		b->sg_pages += folio_nr_pages(folio);
		if (b->sg_pages < BENCH_SG)
			continue;
		error = map_sg(b);
		if (error)
			return error;
	}
	return 0;
}

static const struct bench_method bench_methods[] = {
	{ .name = "page", .map = map_by_page, .unmap_size = PAGE_SIZE },
	{ .name = "run", .map = map_by_run },
	{ .name = "sg", .map = map_by_sg, .finish = map_sg },
};

/* Do the folios start where those before them ended? */
static bool is_gapless(struct bench_request *b, pgoff_t index, struct folio_batch *fbatch)
{
	unsigned int i;

	for (i = 0; i < folio_batch_count(fbatch); i++) {
		if (fbatch->folios[i]->index != index)
			return false;
		index = folio_next_index(fbatch->folios[i]);
	}
	b->folios += i;
	return i && index <= b->pages;
}

/* The references of the lookup stay, for as long as the folios are mapped */
static int bench_map(struct bench_request *b)
{
	cycles_t start, found, done;
	struct folio_batch fbatch;
	pgoff_t index;
	int error;

	while (b->next < b->pages) {
		index = b->next;
		folio_batch_init(&fbatch);
		start = get_cycles();
		filemap_get_folios(b->mapping, &b->next, b->pages - 1, &fbatch);
		found = get_cycles();
		b->lookup += found - start;
		if (!is_gapless(b, index, &fbatch))
			return -ENODATA;

		found = get_cycles();
		error = b->method->map(b, &fbatch);
		if (!error && b->next >= b->pages && b->method->finish)
			error = b->method->finish(b);
		done = get_cycles();
		b->map += done - found;
		if (error)
			return error;
		cond_resched();
	}
	return 0;
}

/* All that is mapped, even if bench_map() failed on the way */
static int bench_unmap(struct bench_request *b)
{
	size_t size = b->method->unmap_size ?: b->mapped;
	struct iommu_iotlb_gather gather;
	cycles_t start, unmapped;
	size_t done, all = 0;

	if (!b->mapped)
		return 0;
	iommu_iotlb_gather_init(&gather);
	start = get_cycles();
	while (all < b->mapped) {
		done = iommu_unmap_fast(b->domain, BENCH_IOVA + all, size, &gather);
		if (!done)
			break;
		all += done;
	}
	unmapped = get_cycles();
	iommu_iotlb_sync(b->domain, &gather);
	b->sync = get_cycles() - unmapped;
	b->unmap = unmapped - start;
	return all == b->mapped ? 0 : -EIO;
}

/* Two references on each: that of bench_map(), and that of this lookup */
static void bench_release(struct bench_request *b)
{
	unsigned int refs[PAGEVEC_SIZE], i;
	struct folio_batch fbatch;
	cycles_t start;
	pgoff_t index = 0;

	for (i = 0; i < ARRAY_SIZE(refs); i++)
		refs[i] = 2;
	start = get_cycles();
	while (index < b->next) {
		folio_batch_init(&fbatch);
		filemap_get_folios(b->mapping, &index, b->next - 1, &fbatch);
		if (!folio_batch_count(&fbatch))
			break;
		folios_put_refs(&fbatch, refs);
		cond_resched();
	}
	b->release = get_cycles() - start;
}

/* With the device attached to the domain */
static int bench_measure(struct bench_request *b)
{
	struct inode *inode = b->mapping->host;
	int error, ret;

	b->sg = kcalloc(BENCH_SG, sizeof(*b->sg), GFP_KERNEL);
	if (!b->sg)
		return -ENOMEM;
	sg_init_table(b->sg, BENCH_SG);

	/* no page leaves the file from here on, so the next lookup finds the same */
	inode_lock(inode);
	error = bench_map(b);
	ret = bench_unmap(b);
	bench_release(b);
	inode_unlock(inode);
	kfree(b->sg);
	return error ?: ret;
}

/* Owns the device's DMA for the time of the request */
static int bench_device(struct bench_request *b, struct device *dev)
{
	int error;

	error = iommu_device_claim_dma_owner(dev, b);
	if (error)
		return error;
	b->domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(b->domain)) {
		error = PTR_ERR(b->domain);
		goto out_release;
	}
	error = iommu_attach_device(b->domain, dev);
	if (error)
		goto out_free;
	error = bench_measure(b);
	iommu_detach_device(b->domain, dev);
out_free:
	iommu_domain_free(b->domain);
out_release:
	iommu_device_release_dma_owner(dev);
	return error;
}

static int bench_file(struct bench_request *b, const char *name, int fd)
{
	struct device *dev;
	struct fd f;
	int error;

	dev = bus_find_device_by_name(&pci_bus_type, NULL, name);
	if (!dev)
		return -ENODEV;
	error = -EBADF;
	f = fdget(fd);
	if (!fd_file(f))
		goto out_device;
	error = -EINVAL;
	b->mapping = fd_file(f)->f_mapping;
	if (shmem_mapping(b->mapping))
		error = bench_device(b, dev);
	fdput(f);
out_device:
	put_device(dev);
	return error;
}

static int bench_request(struct bench_request *b, const char *line)
{
	char name[32], method[8];
	unsigned int i;
	u64 length;
	int fd;

	if (sscanf(line, "%31s %d %llu %7s", name, &fd, &length, method) != 4)
		return -EINVAL;
	if (!length || !PAGE_ALIGNED(length) || length > MAX_LFS_FILESIZE)
		return -EINVAL;
	b->pages = length >> PAGE_SHIFT;
	for (i = 0; i < ARRAY_SIZE(bench_methods); i++)
		if (!strcmp(method, bench_methods[i].name))
			b->method = &bench_methods[i];
	return b->method ? bench_file(b, name, fd) : -EINVAL;
}

static ssize_t bench_write(struct file *file, const char __user *buf, size_t size,
			   loff_t *pos)
{
	char *line = simple_transaction_get(file, buf, size);
	struct bench_request b = { };
	int error, len;

	if (IS_ERR(line))
		return PTR_ERR(line);
	error = bench_request(&b, line);
	if (error)
		return error;
	len = sprintf(line, "folios %lu calls %lu ", b.folios, b.calls);
	len += sprintf(line + len,
		       "lookup %llu map %llu unmap %llu sync %llu release %llu\n",
		       (u64)b.lookup, (u64)b.map, (u64)b.unmap, (u64)b.sync,
		       (u64)b.release);
	simple_transaction_set(file, len);
	return size;
}

static const struct file_operations bench_fops = {
	.owner		= THIS_MODULE,
	.write		= bench_write,
	.read		= simple_transaction_read,
	.release	= simple_transaction_release,
	.llseek		= default_llseek,
};

static struct dentry *bench_dentry;

static int __init bench_init(void)
{
	bench_dentry = debugfs_create_file("iommu_memfd_bench", 0600, NULL, NULL,
					   &bench_fops);
	return PTR_ERR_OR_ZERO(bench_dentry);
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	debugfs_remove(bench_dentry);
}
module_exit(bench_exit);

MODULE_DESCRIPTION("The least that mapping the pages of a memfd costs");
MODULE_LICENSE("GPL");
