// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two VFIO devices in software, for tools/testing/selftests/memfd_ops
 *
 * memfd-test-dma is behind an IOMMU of its own, in software as well. The emulated
 * IOMMUs lack some of its features: domains that cannot be shared with other
 * devices, a region for MSIs that software manages, dirty tracking. The device
 * reads and writes memory through its domain.
 *
 * memfd-test-pin is emulated: it reaches memory by vfio_dma_rw() and by
 * vfio_pin_pages().
 *
 * Reading or writing a device's file makes the device read or write memory. The
 * position is the IOVA, plus 2^56 to pin that memory. Memory stays pinned until
 * the next such call, which may be one of no bytes, or until it is unmapped. DMA
 * that the IOMMU blocks fails with EFAULT; other errors are VFIO's own.
 *
 * For tests alone. Users who may open the devices reach no memory except the
 * memory that they have mapped themselves.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vfio.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

#define TEST_PAGES	16			/* that one call may touch */
#define TEST_PIN	BIT_ULL(56)		/* in the position */
#define TEST_MSI_IOVA	0x8000000
#define TEST_IOVA_BITS	48

static uint unmap_delay_ms;
module_param(unmap_delay_ms, uint, 0600);
MODULE_PARM_DESC(unmap_delay_ms, "How long each unmapping takes in addition");

/*
 * The IOMMU: a table of one entry for each page. There is no TLB: once the
 * table's lock has been released, an unmapped page is out of reach.
 */

struct test_domain {
	struct iommu_domain domain;
	struct xarray table;	/* of entry(), marked where it is dirty */
	bool track;
};

#define TEST_DIRTY	XA_MARK_0

static void *entry(phys_addr_t pa, int prot)
{
	return xa_mk_value((pa >> PAGE_SHIFT) << 2 |
			   (prot & (IOMMU_READ | IOMMU_WRITE)));
}

static phys_addr_t entry_phys(void *entry)
{
	return (phys_addr_t)(xa_to_value(entry) >> 2) << PAGE_SHIFT;
}

static struct test_domain *to_test_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct test_domain, domain);
}

static int test_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t pa, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	struct test_domain *td = to_test_domain(domain);
	void *old;

	for (; pgcount; pgcount--) {
		old = xa_store(&td->table, iova >> PAGE_SHIFT, entry(pa, prot),
			       gfp);
		if (xa_is_err(old))
			return xa_err(old);
		WARN_ON(old);
		iova += PAGE_SIZE;
		pa += PAGE_SIZE;
		*mapped += PAGE_SIZE;
	}
	return 0;
}

static size_t test_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct test_domain *td = to_test_domain(domain);
	size_t i;

	/* As an IOMMU whose flushes take long: the other consumers wait for it */
	msleep(READ_ONCE(unmap_delay_ms));
	/* pages that are not mapped count, as with VT-d */
	for (i = 0; i < pgcount; i++)
		xa_erase(&td->table, (iova >> PAGE_SHIFT) + i);
	return i << PAGE_SHIFT;
}

static phys_addr_t test_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	void *found = xa_load(&to_test_domain(domain)->table,
			      iova >> PAGE_SHIFT);

	return found ? entry_phys(found) + offset_in_page(iova) : 0;
}

static void test_domain_free(struct iommu_domain *domain)
{
	struct test_domain *td = to_test_domain(domain);

	xa_destroy(&td->table);
	kfree(td);
}

static int test_set_dirty_tracking(struct iommu_domain *domain, bool enable)
{
	WRITE_ONCE(to_test_domain(domain)->track, enable);
	return 0;
}

static int test_read_and_clear_dirty(struct iommu_domain *domain,
				     unsigned long iova, size_t size,
				     unsigned long flags,
				     struct iommu_dirty_bitmap *dirty)
{
	unsigned long last = (iova + size - 1) >> PAGE_SHIFT, index;
	struct test_domain *td = to_test_domain(domain);
	void *found;

	xa_for_each_range(&td->table, index, found, iova >> PAGE_SHIFT, last) {
		if (!xa_get_mark(&td->table, index, TEST_DIRTY))
			continue;
		iommu_dirty_bitmap_record(dirty, index << PAGE_SHIFT,
					  PAGE_SIZE);
		if (!(flags & IOMMU_DIRTY_NO_CLEAR))
			xa_clear_mark(&td->table, index, TEST_DIRTY);
	}
	return 0;
}

static const struct iommu_dirty_ops test_dirty_ops = {
	.set_dirty_tracking = test_set_dirty_tracking,
	.read_and_clear_dirty = test_read_and_clear_dirty,
};

/**
 * struct test_dma - the device behind the IOMMU
 *
 * @vdev: the VFIO device
 * @lock: protects @domain, which is not detached while it is held
 * @domain: that it is attached to, or NULL
 */
struct test_dma {
	struct vfio_device vdev;
	struct mutex lock;	/* protects domain */
	struct test_domain *domain;
};

static struct test_dma *test_dma;

static int test_attach(struct iommu_domain *domain, struct device *dev)
{
	mutex_lock(&test_dma->lock);
	test_dma->domain = to_test_domain(domain);
	mutex_unlock(&test_dma->lock);
	return 0;
}

/* The first call comes before the device exists */
static int test_block(struct iommu_domain *domain, struct device *dev)
{
	if (!test_dma)
		return 0;
	mutex_lock(&test_dma->lock);
	test_dma->domain = NULL;
	mutex_unlock(&test_dma->lock);
	return 0;
}

static struct iommu_domain test_blocking_domain = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &(const struct iommu_domain_ops) {
		.attach_dev = test_block,
	},
};

static const struct iommu_domain_ops test_domain_ops = {
	.attach_dev = test_attach,
	.map_pages = test_map_pages,
	.unmap_pages = test_unmap_pages,
	.iova_to_phys = test_iova_to_phys,
	.free = test_domain_free,
	.unmaps_any_page = 1,
};

static struct iommu_domain *test_domain_alloc(struct device *dev)
{
	struct test_domain *td;

	td = kzalloc(sizeof(*td), GFP_KERNEL_ACCOUNT);
	if (!td)
		return ERR_PTR(-ENOMEM);
	xa_init(&td->table);
	td->domain.type = IOMMU_DOMAIN_UNMANAGED;
	td->domain.ops = &test_domain_ops;
	td->domain.pgsize_bitmap = PAGE_SIZE;
	td->domain.geometry.aperture_end = BIT_ULL(TEST_IOVA_BITS) - 1;
	td->domain.geometry.force_aperture = true;
	return &td->domain;
}

static struct iommu_domain *
test_domain_alloc_user(struct device *dev, u32 flags,
		       struct iommu_domain *parent,
		       const struct iommu_user_data *user_data)
{
	struct iommu_domain *domain;

	if (flags & ~IOMMU_HWPT_ALLOC_DIRTY_TRACKING || parent || user_data)
		return ERR_PTR(-EOPNOTSUPP);
	domain = test_domain_alloc(dev);
	if (!IS_ERR(domain) && flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
		domain->dirty_ops = &test_dirty_ops;
	return domain;
}

static bool test_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY ||
	       cap == IOMMU_CAP_DIRTY_TRACKING;
}

/* As on most of Arm: software chooses the IOVA of MSIs */
static void test_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct iommu_resv_region *msi;

	msi = iommu_alloc_resv_region(TEST_MSI_IOVA, SZ_1M, IOMMU_WRITE,
				      IOMMU_RESV_SW_MSI, GFP_KERNEL);
	if (msi)
		list_add_tail(&msi->list, head);
}

static struct iommu_device test_iommu;

static struct iommu_device *test_probe_device(struct device *dev)
{
	return &test_iommu;
}

static const struct iommu_ops test_iommu_ops = {
	.owner = THIS_MODULE,
	.pgsize_bitmap = PAGE_SIZE,
	.default_domain = &test_blocking_domain,
	.blocked_domain = &test_blocking_domain,
	.domain_alloc_paging = test_domain_alloc,
	.domain_alloc_user = test_domain_alloc_user,
	.capable = test_capable,
	.device_group = generic_device_group,
	.probe_device = test_probe_device,
	.get_resv_regions = test_get_resv_regions,
	.default_domain_ops = &test_domain_ops,
};

/*
 * Both devices copy through a buffer between user space and memory, so that no
 * page fault happens with a lock held.
 */

typedef int (*test_access_t)(struct vfio_device *vdev, u64 pos, void *data,
			     size_t len, bool write);

static ssize_t test_read(struct vfio_device *vdev, char __user *to,
			 size_t count, u64 pos, test_access_t access)
{
	void *data;
	int ret;

	if (count > TEST_PAGES * PAGE_SIZE)
		return -EINVAL;
	data = kvzalloc(count + 1, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	ret = access(vdev, pos, data, count, false);
	if (!ret && copy_to_user(to, data, count))
		ret = -EFAULT;
	kvfree(data);
	return ret ? ret : count;
}

static ssize_t test_write(struct vfio_device *vdev, const char __user *from,
			  size_t count, u64 pos, test_access_t access)
{
	void *data;
	int ret = -EFAULT;

	if (count > TEST_PAGES * PAGE_SIZE)
		return -EINVAL;
	data = kvzalloc(count + 1, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	if (!copy_from_user(data, from, count))
		ret = access(vdev, pos, data, count, true);
	kvfree(data);
	return ret ? ret : count;
}

/* The part of @len bytes that is in the page at @iova */
static size_t in_page(u64 iova, size_t len)
{
	return min_t(size_t, len, PAGE_SIZE - offset_in_page(iova));
}

static void copy_page_part(struct page *page, u64 iova, void *data, size_t len,
			   bool write)
{
	void *addr = kmap_local_page(page) + offset_in_page(iova);

	if (write)
		memcpy(addr, data, len);
	else
		memcpy(data, addr, len);
	kunmap_local(addr);
}

/*
 * The device behind the IOMMU
 */

static struct test_dma *to_test_dma(struct vfio_device *vdev)
{
	return container_of(vdev, struct test_dma, vdev);
}

static int test_dma_page(struct test_domain *td, u64 iova, void *data,
			 size_t len, bool write)
{
	unsigned long index = iova >> PAGE_SHIFT;
	int ret = -EFAULT;
	void *found;

	xa_lock(&td->table);
	found = xa_load(&td->table, index);
	if (found && xa_to_value(found) & (write ? IOMMU_WRITE : IOMMU_READ)) {
		copy_page_part(pfn_to_page(PHYS_PFN(entry_phys(found))), iova,
			       data, len, write);
		if (write && READ_ONCE(td->track))
			__xa_set_mark(&td->table, index, TEST_DIRTY);
		ret = 0;
	}
	xa_unlock(&td->table);
	return ret;
}

static int test_dma_access(struct vfio_device *vdev, u64 iova, void *data,
			   size_t len, bool write)
{
	struct test_dma *dma = to_test_dma(vdev);
	size_t part;
	int ret = 0;

	mutex_lock(&dma->lock);
	if (!dma->domain)
		ret = -EFAULT;
	for (; len && !ret; len -= part, data += part, iova += part) {
		part = in_page(iova, len);
		ret = test_dma_page(dma->domain, iova, data, part, write);
	}
	mutex_unlock(&dma->lock);
	return ret;
}

static ssize_t test_dma_read(struct vfio_device *vdev, char __user *to,
			     size_t count, loff_t *ppos)
{
	return test_read(vdev, to, count, *ppos, test_dma_access);
}

static ssize_t test_dma_write(struct vfio_device *vdev,
			      const char __user *from, size_t count,
			      loff_t *ppos)
{
	return test_write(vdev, from, count, *ppos, test_dma_access);
}

static int test_dma_init(struct vfio_device *vdev)
{
	mutex_init(&to_test_dma(vdev)->lock);
	return 0;
}

static const struct vfio_device_ops test_dma_ops = {
	.name = "memfd-test-dma",
	.init = test_dma_init,
	.read = test_dma_read,
	.write = test_dma_write,
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};

/*
 * The emulated device
 */

/**
 * struct test_pin - the emulated device
 *
 * @vdev: the VFIO device
 * @busy: bit 0 is a lock that protects the rest, see test_pin_lock()
 * @iova: of the first page that is pinned
 * @npages: how many are pinned
 * @pages: these
 */
struct test_pin {
	struct vfio_device vdev;
	unsigned long busy;
	u64 iova;
	unsigned int npages;
	struct page *pages[TEST_PAGES + 1];
};

static struct test_pin *to_test_pin(struct vfio_device *vdev)
{
	return container_of(vdev, struct test_pin, vdev);
}

/*
 * Not a mutex, since lockdep reports an inversion in type1 with any driver: type1
 * calls dma_unmap() with the lock of its device list held; elsewhere it nests that
 * lock inside the one of its mappings; and pinning and unpinning take the latter.
 */
static void test_pin_lock(struct test_pin *pin)
{
	wait_on_bit_lock(&pin->busy, 0, TASK_UNINTERRUPTIBLE);
}

static void test_pin_unlock(struct test_pin *pin)
{
	clear_and_wake_up_bit(0, &pin->busy);
}

static void test_unpin(struct test_pin *pin)
{
	if (pin->npages)
		vfio_unpin_pages(&pin->vdev, pin->iova, pin->npages);
	pin->npages = 0;
}

static int test_pin_pages(struct test_pin *pin, u64 iova, size_t len,
			  bool write)
{
	u64 first = ALIGN_DOWN(iova, PAGE_SIZE);
	int npages = (ALIGN(iova + len, PAGE_SIZE) - first) >> PAGE_SHIFT;
	int ret;

	ret = vfio_pin_pages(&pin->vdev, first, npages,
			     IOMMU_READ | (write ? IOMMU_WRITE : 0),
			     pin->pages);
	if (ret < 0)
		return ret;
	pin->iova = first;
	pin->npages = ret;
	return WARN_ON(ret != npages) ? -EIO : 0;
}

static int test_pin_access(struct vfio_device *vdev, u64 pos, void *data,
			   size_t len, bool write)
{
	struct test_pin *pin = to_test_pin(vdev);
	u64 iova = pos & ~TEST_PIN;
	struct page **page = pin->pages;
	size_t part;
	int ret = 0;

	if (!(pos & TEST_PIN))
		return vfio_dma_rw(vdev, iova, data, len, write);

	test_pin_lock(pin);
	test_unpin(pin);
	if (len)
		ret = test_pin_pages(pin, iova, len, write);
	for (; len && !ret; len -= part, data += part, iova += part) {
		part = in_page(iova, len);
		copy_page_part(*page++, iova, data, part, write);
	}
	test_pin_unlock(pin);
	return ret;
}

static ssize_t test_pin_read(struct vfio_device *vdev, char __user *to,
			     size_t count, loff_t *ppos)
{
	return test_read(vdev, to, count, *ppos, test_pin_access);
}

static ssize_t test_pin_write(struct vfio_device *vdev,
			      const char __user *from, size_t count,
			      loff_t *ppos)
{
	return test_write(vdev, from, count, *ppos, test_pin_access);
}

static void test_pin_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct test_pin *pin = to_test_pin(vdev);

	test_pin_lock(pin);
	if (pin->npages && pin->iova <= iova + (length - 1) &&
	    iova < pin->iova + pin->npages * PAGE_SIZE)
		test_unpin(pin);
	test_pin_unlock(pin);
}

static void test_pin_close(struct vfio_device *vdev)
{
	struct test_pin *pin = to_test_pin(vdev);

	test_pin_lock(pin);
	test_unpin(pin);
	test_pin_unlock(pin);
}

static const struct vfio_device_ops test_pin_ops = {
	.name = "memfd-test-pin",
	.close_device = test_pin_close,
	.read = test_pin_read,
	.write = test_pin_write,
	.dma_unmap = test_pin_dma_unmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

/*
 * Both exist from boot on: they are never unloaded or unbound, and a failure at
 * boot is not unwound.
 */

static int test_dma_probe(struct platform_device *pdev)
{
	struct test_dma *dma;

	dma = vfio_alloc_device(test_dma, vdev, &pdev->dev, &test_dma_ops);
	if (IS_ERR(dma))
		return PTR_ERR(dma);
	test_dma = dma;
	return vfio_register_group_dev(&dma->vdev);
}

static int test_pin_probe(struct platform_device *pdev)
{
	struct test_pin *pin;

	pin = vfio_alloc_device(test_pin, vdev, &pdev->dev, &test_pin_ops);
	if (IS_ERR(pin))
		return PTR_ERR(pin);
	return vfio_register_emulated_iommu_dev(&pin->vdev);
}

static struct platform_driver test_dma_driver = {
	.probe = test_dma_probe,
	.driver = {
		.name = "memfd-test-dma",
		.suppress_bind_attrs = true,
	},
	.driver_managed_dma = true,
};

static struct platform_driver test_pin_driver = {
	.probe = test_pin_probe,
	.driver = {
		.name = "memfd-test-pin",
		.suppress_bind_attrs = true,
	},
	.driver_managed_dma = true,
};

/* The device, and its IOMMU, which the IOMMU core finds by this firmware node */
static int __init test_add_dma(void)
{
	struct platform_device *pdev;
	struct fwnode_handle *fwnode;
	int ret;

	fwnode = fwnode_create_software_node(NULL, NULL);
	if (IS_ERR(fwnode))
		return PTR_ERR(fwnode);
	test_iommu.fwnode = fwnode;
	ret = iommu_device_sysfs_add(&test_iommu, NULL, NULL,
				     "memfd-test-iommu");
	if (ret)
		return ret;
	ret = iommu_device_register(&test_iommu, &test_iommu_ops, NULL);
	if (ret)
		return ret;

	pdev = platform_device_alloc("memfd-test-dma", PLATFORM_DEVID_NONE);
	if (!pdev)
		return -ENOMEM;
	mutex_lock(&iommu_probe_device_lock);
	ret = iommu_fwspec_init(&pdev->dev, fwnode);
	mutex_unlock(&iommu_probe_device_lock);
	if (!ret)
		ret = platform_device_add(pdev);
	return ret ? ret : platform_driver_register(&test_dma_driver);
}

static int __init test_add_pin(void)
{
	struct platform_device *pdev;

	pdev = platform_device_register_simple("memfd-test-pin",
					       PLATFORM_DEVID_NONE, NULL, 0);
	return PTR_ERR_OR_ZERO(pdev) ?:
	       platform_driver_register(&test_pin_driver);
}

static int __init test_init(void)
{
	int ret = test_add_dma() ?: test_add_pin();

	if (ret)
		pr_err("vfio_memfd_test: %d\n", ret);
	return ret;
}

/* After VFIO itself */
late_initcall(test_init);
