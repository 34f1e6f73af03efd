// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdma: the edu device, its IOVA space, and the module
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/string_helpers.h>

#include "mdma.h"

#define EDU_VENDOR_ID		0x1234
#define EDU_DEVICE_ID		0x11e8
#define EDU_BAR			0
#define EDU_REGS_SIZE		0xa0

#define MDMA_WINDOW_MIN_SHIFT	21

/* How many address bits the engine may drive; edu's default is 28 */
#define MDMA_BITS_MIN		24
#define MDMA_BITS_MAX		48

/*
 * The IOVA space
 */

static bool mdma_iova_usable(struct mdma_parent *pa, struct list_head *resv,
			     u64 start, u64 last)
{
	const struct iommu_domain_geometry *geo = &pa->domain->geometry;
	struct iommu_resv_region *region;

	if (start < geo->aperture_start || last > geo->aperture_end)
		return false;
	list_for_each_entry(region, resv, list)
		if (start <= region->start + region->length - 1 &&
		    region->start <= last)
			return false;
	return true;
}

/* The last page that @bits address bits can reach */
static u64 mdma_last_page(unsigned int bits)
{
	return BIT_ULL(bits) - PAGE_SIZE;
}

/* Let the engine copy a mark from mdma_last_page(MDMA_BITS_MIN) to @iova */
static int mdma_mark_page(struct mdma_parent *pa, u8 *from, u64 iova)
{
	const u8 mark = 0xa5;
	int ret;

	WRITE_ONCE(*from, mark);
	ret = mdma_engine_run(pa, mdma_last_page(MDMA_BITS_MIN), 1, false);
	/* wherever the mark is found later, the second DMA wrote it */
	WRITE_ONCE(*from, 0);
	if (ret)
		return ret;
	return mdma_engine_run(pa, iova, 1, true);
}

/*
 * The engine silently truncates IOVAs to the bits that it drives. A truncated
 * IOVA would reach another window, so find out how many bits these are: let it
 * write to an IOVA of only ones, with a page where each number of bits leads.
 */
static int mdma_find_bits(struct mdma_parent *pa, struct list_head *resv)
{
	unsigned int bits, top = 0, npages = MDMA_BITS_MAX - MDMA_BITS_MIN + 1;
	u8 *pages, *page;
	int ret = 0;

	pages = alloc_pages_exact(npages * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	if (!pages)
		return -ENOMEM;

	for (bits = MDMA_BITS_MIN; bits <= MDMA_BITS_MAX && !ret; bits++) {
		u64 iova = mdma_last_page(bits);

		if (!mdma_iova_usable(pa, resv, iova, iova + PAGE_SIZE - 1))
			continue;
		page = pages + (bits - MDMA_BITS_MIN) * PAGE_SIZE;
		ret = iommu_map(pa->domain, iova, virt_to_phys(page), PAGE_SIZE,
				IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
				GFP_KERNEL);
		top = bits;
	}
	if (!ret && top)
		ret = mdma_mark_page(pa, pages, mdma_last_page(top));

	for (bits = MDMA_BITS_MIN; bits <= MDMA_BITS_MAX; bits++)
		if (iommu_iova_to_phys(pa->domain, mdma_last_page(bits)))
			iommu_unmap(pa->domain, mdma_last_page(bits),
				    PAGE_SIZE);
	if (ret)
		goto out;

	ret = -EIO;
	for (bits = MDMA_BITS_MIN; bits <= top; bits++)
		if (READ_ONCE(pages[(bits - MDMA_BITS_MIN) * PAGE_SIZE]))
			ret = bits;
out:
	free_pages_exact(pages, npages * PAGE_SIZE);
	return ret;
}

/*
 * Divide the IOVAs that the engine can address into windows, as large as possible.
 * None contains a reserved IOVA: a write there could be an interrupt.
 */
static int mdma_find_windows(struct mdma_parent *pa, struct list_head *resv,
			     unsigned int bits)
{
	unsigned int shift, nr;
	u64 start;

	for (shift = bits - ilog2(MDMA_INSTANCES);
	     shift >= MDMA_WINDOW_MIN_SHIFT; shift--) {
		nr = 0;
		for (start = 0; start < BIT_ULL(bits); start += BIT_ULL(shift)) {
			if (!mdma_iova_usable(pa, resv, start,
					      start + BIT_ULL(shift) - 1))
				continue;
			pa->windows[nr++] = start;
			if (nr < MDMA_INSTANCES)
				continue;
			pa->window_shift = shift;
			string_get_size(BIT_ULL(shift), 1, STRING_UNITS_2,
					pa->window_size,
					sizeof(pa->window_size));
			return 0;
		}
	}
	return -ENOSPC;
}

static int mdma_divide_iovas(struct mdma_parent *pa)
{
	LIST_HEAD(resv);
	int bits, ret;

	iommu_get_resv_regions(&pa->pdev->dev, &resv);
	bits = mdma_find_bits(pa, &resv);
	ret = bits < 0 ? bits : mdma_find_windows(pa, &resv, bits);
	iommu_put_resv_regions(&pa->pdev->dev, &resv);

	if (bits < 0)
		pci_err(pa->pdev, "DMA does not work (%d)\n", bits);
	else if (ret)
		pci_err(pa->pdev, "%d address bits leave no windows\n", bits);
	else
		pci_info(pa->pdev, "%d address bits, %d windows of %s\n",
			 bits, MDMA_INSTANCES, pa->window_size);
	return ret;
}

/*
 * The parent
 */

/* All DMA goes through a domain that only this driver maps in, or nowhere */
static int mdma_take_dma(struct mdma_parent *pa)
{
	struct device *dev = &pa->pdev->dev;
	int ret;

	ret = iommu_device_claim_dma_owner(dev, pa);
	if (ret)
		return ret;

	pa->domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(pa->domain)) {
		ret = PTR_ERR(pa->domain);
		goto err_owner;
	}
	ret = iommu_attach_device(pa->domain, dev);
	if (ret)
		goto err_domain;
	return 0;

err_domain:
	iommu_domain_free(pa->domain);
err_owner:
	iommu_device_release_dma_owner(dev);
	return ret;
}

static void mdma_give_dma(struct mdma_parent *pa)
{
	struct device *dev = &pa->pdev->dev;

	/* A DMA that did not end in time must not end in another domain */
	if (mdma_engine_wait(pa))
		pci_warn(pa->pdev, "the engine does not answer\n");
	pci_clear_master(pa->pdev);
	iommu_detach_device(pa->domain, dev);
	iommu_domain_free(pa->domain);
	iommu_device_release_dma_owner(dev);
}

/* Undone by devres */
static int mdma_enable(struct mdma_parent *pa)
{
	struct pci_dev *pdev = pa->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	if (pci_resource_len(pdev, EDU_BAR) < EDU_REGS_SIZE)
		return -ENODEV;
	pa->regs = pcim_iomap_region(pdev, EDU_BAR, KBUILD_MODNAME);
	if (IS_ERR(pa->regs))
		return PTR_ERR(pa->regs);

	ret = mdma_engine_check(pa);
	if (ret)
		pci_err(pdev, "not an edu device\n");
	return ret;
}

static struct mdma_parent *mdma_alloc_parent(struct pci_dev *pdev)
{
	struct mdma_parent *pa;

	pa = devm_kzalloc(&pdev->dev, sizeof(*pa), GFP_KERNEL);
	if (!pa)
		return NULL;

	pa->pdev = pdev;
	ida_init(&pa->window_ids);
	mdma_engine_init(pa);
	pa->type.sysfs_name = "copy";
	pa->type.pretty_name = "Mediated DMA engine";
	pa->types = &pa->type;
	return pa;
}

/* Make the device available to mdevs; its DMA has been taken */
static int mdma_setup(struct mdma_parent *pa)
{
	struct pci_dev *pdev = pa->pdev;
	int ret;

	/* From here on the engine reaches only pages that this driver maps */
	pci_set_master(pdev);
	if (pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI) == 1)
		mdma_engine_use_irq(pa, pci_irq_vector(pdev, 0));
	ret = mdma_divide_iovas(pa);
	if (ret)
		return ret;

	ret = iommu_memfd_domain_init(&pa->imd, pa->domain, &pdev->dev);
	if (ret)
		return ret;
	pa->imd.revoke = mdma_revoke;

	pa->wq = alloc_ordered_workqueue("mdma/%s", WQ_FREEZABLE,
					 pci_name(pdev));
	if (!pa->wq) {
		ret = -ENOMEM;
		goto err_imd;
	}

	ret = mdev_register_parent(&pa->parent, &pdev->dev, &mdma_mdev_driver,
				   &pa->types, 1);
	if (ret)
		goto err_wq;
	return 0;

err_wq:
	destroy_workqueue(pa->wq);
err_imd:
	iommu_memfd_domain_destroy(&pa->imd);
	return ret;
}

/* Has probe been called since the module was loaded? */
static bool mdma_probed;

static int mdma_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct mdma_parent *pa;
	int ret;

	WRITE_ONCE(mdma_probed, true);
	if (!device_iommu_mapped(&pdev->dev)) {
		pci_err(pdev, "not used: there is no IOMMU behind it\n");
		return -ENODEV;
	}

	pa = mdma_alloc_parent(pdev);
	if (!pa)
		return -ENOMEM;
	pci_set_drvdata(pdev, pa);

	ret = mdma_enable(pa);
	if (ret)
		return ret;
	ret = mdma_take_dma(pa);
	if (ret)
		return ret;
	ret = mdma_setup(pa);
	if (ret)
		mdma_give_dma(pa);
	return ret;
}

static void mdma_remove(struct pci_dev *pdev)
{
	struct mdma_parent *pa = pci_get_drvdata(pdev);

	/* Waits until all instances are closed, and so have no mappings */
	mdev_unregister_parent(&pa->parent);
	destroy_workqueue(pa->wq);
	iommu_memfd_domain_destroy(&pa->imd);
	mdma_give_dma(pa);
}

static const struct pci_device_id mdma_pci_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR_ID, EDU_DEVICE_ID) },
	{}
};

/*
 * No MODULE_DEVICE_TABLE(): people write drivers for edu, so this one takes it only
 * if the administrator loads the module.
 */

static struct pci_driver mdma_pci_driver = {
	.name = "mdma",
	.id_table = mdma_pci_ids,
	.probe = mdma_probe,
	.remove = mdma_remove,
	.driver_managed_dma = true,
	.driver.probe_type = PROBE_FORCE_SYNCHRONOUS,
};

static int mdma_is_bound(struct device *dev, void *data)
{
	return 1;
}

static int __init mdma_init(void)
{
	int ret;

	ret = mdev_register_driver(&mdma_mdev_driver);
	if (ret)
		return ret;
	ret = pci_register_driver(&mdma_pci_driver);
	if (ret)
		goto err_mdev;

	/* Do not load a module without a device; the reason has been logged */
	if (driver_for_each_device(&mdma_pci_driver.driver, NULL, NULL,
				   mdma_is_bound))
		return 0;
	if (!READ_ONCE(mdma_probed))
		pr_err("there is no edu device without a driver\n");
	ret = -ENODEV;

	pci_unregister_driver(&mdma_pci_driver);
err_mdev:
	mdev_unregister_driver(&mdma_mdev_driver);
	return ret;
}

static void __exit mdma_exit(void)
{
	pci_unregister_driver(&mdma_pci_driver);
	mdev_unregister_driver(&mdma_mdev_driver);
}

module_init(mdma_init)
module_exit(mdma_exit)

MODULE_DESCRIPTION("Mediated DMA engine on QEMU's edu device");
MODULE_LICENSE("GPL");
