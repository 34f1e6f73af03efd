/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommu_memfd: mirrors, windows of memfds kept in an iommu_domain
 *
 * See Documentation/driver-api/iommu-memfd.rst.
 */
#ifndef _LINUX_IOMMU_MEMFD_H
#define _LINUX_IOMMU_MEMFD_H

#include <linux/errno.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct device;
struct file;
struct iommu_domain;
struct iommu_memfd;
struct mm_struct;

/**
 * struct iommu_memfd_domain - the IOVA space in which mirrors live
 *
 * Embedded in the object that owns the iommu_domain. Nobody else may map or
 * unmap in the IOVA range of a mirror.
 *
 * @domain: the iommu_domain
 *
 * The rest is the mirrors'.
 */
struct iommu_memfd_domain {
	struct iommu_domain *domain;
	/* private: */
	struct device *dev;
	struct list_head reserved;
	struct mutex lock;		/* protects mirrors */
	struct rb_root_cached mirrors;
	spinlock_t dma_lock;		/* protects dmas, and their cut */
	struct list_head dmas;
};

/**
 * struct iommu_memfd_dma - a DMA that wants to know whether it was cut off
 *
 * From iommu_memfd_dma_begin() to iommu_memfd_dma_end(), in the caller's hands.
 */
struct iommu_memfd_dma {
	/* private: */
	struct iommu_memfd_domain *imd;
	struct list_head list;
	unsigned long iova, last;
	bool cut;
};

int iommu_memfd_domain_init(struct iommu_memfd_domain *imd,
			    struct iommu_domain *domain, struct device *dev);
void iommu_memfd_domain_destroy(struct iommu_memfd_domain *imd);

struct iommu_memfd *iommu_memfd_map(struct iommu_memfd_domain *imd, u64 iova,
				    u64 length, struct file *file, u64 offset,
				    int prot);
void iommu_memfd_unmap(struct iommu_memfd *im);
bool iommu_memfd_next_run(struct iommu_memfd *im, u64 *iova, u64 *length);

void iommu_memfd_dma_begin(struct iommu_memfd_domain *imd,
			   struct iommu_memfd_dma *dma, u64 iova, u64 length,
			   int prot);
bool iommu_memfd_dma_end(struct iommu_memfd_dma *dma);

/**
 * struct iommu_memfd_account - who is charged for pages that are mapped
 */
struct iommu_memfd_account {
	/* private: */
	struct mm_struct *mm;	/* NULL for kernel threads, or for nobody */
	s64 limit;		/* in pages */
};

/**
 * struct iommu_memfd_range - a window of a memfd at one IOVA of many domains
 *
 * For who presents one IOVA space to devices in several domains, as a VFIO
 * container and an iommufd IOAS do: one mirror in each. It need not be in any.
 * Embedded in the object of the mapping. The caller has checked that nothing
 * else is mapped at these IOVAs, in any of the domains, and does not call two
 * of its functions at the same time.
 *
 * @file: the memfd; the range holds a reference
 * @iova: in bytes, as are @length and @offset
 * @length: of the window
 * @offset: of the window in the file
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 */
struct iommu_memfd_range {
	struct file *file;
	u64 iova, length, offset;
	int prot;
	/* private: */
	struct iommu_memfd_account account;
	struct list_head mirrors;
};

#ifdef CONFIG_IOMMU_MEMFD

int iommu_memfd_range_init(struct iommu_memfd_range *range, u64 iova,
			   u64 length, struct file *file, u64 offset, int prot);
int iommu_memfd_range_map(struct iommu_memfd_range *range,
			  struct iommu_domain *domain);
void iommu_memfd_range_unmap(struct iommu_memfd_range *range,
			     struct iommu_domain *domain);
void iommu_memfd_range_unmap_all(struct iommu_memfd_range *range);
void iommu_memfd_range_destroy(struct iommu_memfd_range *range);

#else

static inline int iommu_memfd_range_init(struct iommu_memfd_range *range,
					 u64 iova, u64 length,
					 struct file *file, u64 offset, int prot)
{
	return -EOPNOTSUPP;
}

static inline int iommu_memfd_range_map(struct iommu_memfd_range *range,
					struct iommu_domain *domain)
{
	return -EOPNOTSUPP;
}

static inline void iommu_memfd_range_unmap(struct iommu_memfd_range *range,
					   struct iommu_domain *domain)
{
}

static inline void iommu_memfd_range_unmap_all(struct iommu_memfd_range *range)
{
}

static inline void iommu_memfd_range_destroy(struct iommu_memfd_range *range)
{
}

#endif /* CONFIG_IOMMU_MEMFD */

#endif /* _LINUX_IOMMU_MEMFD_H */
