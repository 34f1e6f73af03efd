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
struct eventfd_ctx;
struct file;
struct iommu_domain;
struct iommu_memfd;
struct mm_struct;
struct seq_file;
struct task_struct;
struct user_struct;

/**
 * struct iommu_memfd_domain - the IOVA space in which mirrors live
 *
 * Embedded in the object that owns the iommu_domain. In the IOVA range of a
 * mirror, only the mirror maps and unmaps.
 *
 * @domain: the iommu_domain
 * @revoke:
 *	The translations of [@iova, @iova + @length) are about to be taken away
 *	from the device: because pages leave the file, or because a mirror is
 *	unmapped. Called before they go. So a DMA is known to have been
 *	translated throughout if, from before it began until after it ended, its
 *	range was mapped at first and this was not called for a part of it. For
 *	devices that do not report a blocked DMA. Called with the mirror's lock
 *	held, possibly from several threads at once; may sleep, must not
 *	allocate, nor call functions of this header. Optional, NULL after
 *	iommu_memfd_domain_init(); set before the first mirror exists.
 *
 * The rest is private to the mirrors.
 */
struct iommu_memfd_domain {
	struct iommu_domain *domain;
	void (*revoke)(struct iommu_memfd_domain *imd, u64 iova, u64 length);
	/* private: */
	struct device *dev;
	struct list_head reserved;
	struct mutex lock;		/* protects mirrors */
	struct rb_root_cached mirrors;
};

int iommu_memfd_domain_init(struct iommu_memfd_domain *imd,
			    struct iommu_domain *domain, struct device *dev);
void iommu_memfd_domain_destroy(struct iommu_memfd_domain *imd);

struct iommu_memfd *iommu_memfd_map(struct iommu_memfd_domain *imd, u64 iova,
				    u64 length, struct file *file, u64 offset,
				    int prot);
void iommu_memfd_unmap(struct iommu_memfd *im);
bool iommu_memfd_next_run(struct iommu_memfd *im, u64 *iova, u64 *length);

/* The counters that an account raises, private to iommu_memfd */
enum iommu_memfd_charge_mode {
	IOMMU_MEMFD_CHARGE_NOBODY,
	IOMMU_MEMFD_CHARGE_MM,		/* in followed_vm */
	IOMMU_MEMFD_CHARGE_USER,	/* in locked_vm */
};

/**
 * struct iommu_memfd_account - pinned pages, and to whom they are charged
 *
 * In all modes the pages count in the process's pinned_vm, which is VmPin in
 * /proc/PID/status and has no limit.
 */
struct iommu_memfd_account {
	/* private: */
	enum iommu_memfd_charge_mode mode;
	struct mm_struct *mm;		/* NULL for a kernel thread */
	struct user_struct *user;	/* if the mode needs one */
	struct task_struct *task;	/* has the limit; NULL for none */
	unsigned long nr_mapped;
};

/**
 * struct iommu_memfd_event - the eventfd that is signalled when pages are missed
 */
struct iommu_memfd_event {
	/* private: */
	spinlock_t lock;		/* protects ctx */
	struct eventfd_ctx *ctx;	/* NULL for none */
};

/**
 * struct iommu_memfd_range - a window of a memfd at one IOVA of many domains
 *
 * For callers that present one IOVA space through several domains, as a VFIO
 * container and an iommufd IOAS do: one mirror in each domain, or none at all.
 * Embedded in the object of the mapping. The caller makes sure that nothing
 * else is mapped at these IOVAs in any of the domains, and does not call two
 * functions for one range at the same time.
 *
 * @file: the memfd; the range holds a reference, and with IOMMU_WRITE claims write
 *	access, see memfd_claim_write()
 * @iova: in bytes, as are @length and @offset
 * @length: of the window
 * @offset: of the window in the file
 * @prot: IOMMU_READ, IOMMU_WRITE or both
 * @small_entries: map each page by an entry of its own; set by the caller after
 *	iommu_memfd_range_init()
 * @may_miss: a page that cannot be mapped fails for nobody, and the domain lacks it,
 *	see iommu_memfd_range_fill(); set by the caller after
 *	iommu_memfd_range_init(), and not changed any more once there is a domain
 * @revoke: as that of &struct iommu_memfd_domain, for all domains of the range. Set by
 *	the caller after iommu_memfd_range_init(), before there is a domain; NULL for none
 * @private: the caller's, for @revoke
 */
struct iommu_memfd_range {
	struct file *file;
	u64 iova, length, offset;
	int prot;
	bool small_entries;
	bool may_miss;
	void (*revoke)(struct iommu_memfd_range *range, u64 iova, u64 length);
	void *private;
	/* private: */
	bool write_claimed;
	struct iommu_memfd_account account;
	struct iommu_memfd_event event;
	struct list_head mirrors;
};

#ifdef CONFIG_IOMMU_MEMFD

int iommu_memfd_range_init(struct iommu_memfd_range *range, u64 iova,
			   u64 length, struct file *file, u64 offset, int prot);
void iommu_memfd_range_charge_user(struct iommu_memfd_range *range);
int iommu_memfd_range_map(struct iommu_memfd_range *range,
			  struct iommu_domain *domain);
void iommu_memfd_range_unmap(struct iommu_memfd_range *range,
			     struct iommu_domain *domain);
void iommu_memfd_range_unmap_all(struct iommu_memfd_range *range);
void iommu_memfd_range_set_event(struct iommu_memfd_range *range,
				 struct eventfd_ctx *ctx);
int iommu_memfd_range_fill(struct iommu_memfd_range *range, u64 *missing);
bool iommu_memfd_range_next_run(struct iommu_memfd_range *range, u64 *iova,
				u64 *length);
void iommu_memfd_range_destroy(struct iommu_memfd_range *range);
void iommu_memfd_range_show(struct seq_file *m, struct iommu_memfd_range *range,
			    u32 ioas);

#else

static inline int iommu_memfd_range_init(struct iommu_memfd_range *range,
					 u64 iova, u64 length,
					 struct file *file, u64 offset, int prot)
{
	return -EOPNOTSUPP;
}

static inline void iommu_memfd_range_charge_user(struct iommu_memfd_range *range)
{
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

static inline void iommu_memfd_range_set_event(struct iommu_memfd_range *range,
					       struct eventfd_ctx *ctx)
{
}

static inline int iommu_memfd_range_fill(struct iommu_memfd_range *range,
					 u64 *missing)
{
	return -EOPNOTSUPP;
}

static inline bool iommu_memfd_range_next_run(struct iommu_memfd_range *range,
					      u64 *iova, u64 *length)
{
	return false;
}

static inline void iommu_memfd_range_destroy(struct iommu_memfd_range *range)
{
}

static inline void iommu_memfd_range_show(struct seq_file *m,
					  struct iommu_memfd_range *range,
					  u32 ioas)
{
}

#endif /* CONFIG_IOMMU_MEMFD */

#endif /* _LINUX_IOMMU_MEMFD_H */
