/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mdma: a mediated DMA engine, the sample of memfd_ops and iommu_memfd
 *
 * The parent is QEMU's "edu" PCI device, in an IOMMU domain of its own. That
 * domain is divided into windows, one for each mdev. An mdev's mappings are
 * mirrors of memfds in its window, and the engine copies between them.
 *
 *	mdma_pci.c	the edu device, its IOVA space, the module
 *	mdma_device.c	instances: VFIO devices, their registers and interrupt
 *	mdma_map.c	an instance's mappings
 *	mdma_engine.c	the engine, and the queue of copies
 *
 * edu is a simple engine: it moves up to 4095 bytes between RAM and a buffer of
 * its own, takes 100 ms for that, and cannot be stopped. It reports no
 * errors, so the driver watches whether the mirrors revoke pages of a DMA while
 * it runs. That a DMA reaches only mapped pages rests on the IOMMU alone: pages
 * that are unmapped while it runs are out of its reach, and may be freed.
 *
 * Locks, outermost first; those of mappings are never held together with that
 * of the queue:
 *
 *	mdma_dev.map_lock	a mutex: changes of an instance's mappings, which
 *				can take long. The worker does not take it, and
 *				no user memory is accessed under it.
 *	mdma_dev.maps_lock	a mutex: the tree of these mappings, for the
 *				worker. Held briefly.
 *	mdma_parent.watch_lock	a spinlock: the DMA that is watched. Taken under
 *				the locks of mirrors.
 *
 *	mdma_parent.lock	a spinlock: the queue of copies, and every
 *				instance's registers and eventfd.
 *
 * The engine has no lock: its registers belong to the parent's one work item,
 * and to probe and remove while that does not run.
 *
 * Lifetime: an instance is used between open and close only. VFIO releases
 * neither the instance nor the module before it is closed. The parent outlives
 * its instances.
 *
 * See samples/vfio-mdev/README-mdma.rst.
 */
#ifndef _SAMPLES_VFIO_MDEV_MDMA_H
#define _SAMPLES_VFIO_MDEV_MDMA_H

#include <linux/bits.h>
#include <linux/completion.h>
#include <linux/idr.h>
#include <linux/interval_tree.h>
#include <linux/iommu_memfd.h>
#include <linux/irqreturn.h>
#include <linux/mdev.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "vfio_mdma.h"

struct eventfd_ctx;
struct pci_dev;

/*
 * Neither 0 nor the whole 4096 bytes of the buffer: QEMU would abort. And fewer
 * than the 4095 that edu can do, so that aligned copies consist of aligned DMAs.
 */
#define MDMA_DMA_MAX		4088
#define MDMA_COPY_MAX		SZ_64K

#define MDMA_INSTANCES		8

/**
 * struct mdma_parent - an edu device
 *
 * @pdev: the PCI device
 * @regs: its registers
 * @irq_cmd: EDU_DMA_CMD_IRQ if there is an interrupt, or 0
 * @dead: a DMA did not end
 * @dma_done: completed by the interrupt
 * @domain: the IOMMU domain, attached to @pdev
 * @imd: the mirrors that live in it
 * @window_shift: log2 of the size of a window
 * @window_size: the same for people to read
 * @windows: first IOVA of each window
 * @window_ids: which of @windows are taken
 * @watch_lock: protects the next three
 * @watch_start: first IOVA of the DMA that is watched
 * @watch_end: end of its IOVAs; the same as @watch_start if there is none
 * @watch_revoked: a mirror has revoked a page of it
 * @wq: runs @work
 * @work: does a chunk of the copy at the head of @queue
 * @lock: protects the next three, and the fields named in &struct mdma_dev
 * @queue: instances with a copy that waits for the engine
 * @running: the instance that the engine works for, not in @queue
 * @idle: woken up when @running has changed
 * @parent: for mdev
 * @type: the only type of instance
 * @types: points to it, as mdev wants an array of pointers
 */
struct mdma_parent {
	struct pci_dev *pdev;
	void __iomem *regs;
	u32 irq_cmd;
	bool dead;
	struct completion dma_done;
	struct iommu_domain *domain;
	struct iommu_memfd_domain imd;
	unsigned int window_shift;
	char window_size[16];
	u64 windows[MDMA_INSTANCES];
	struct ida window_ids;
	spinlock_t watch_lock;	/* inside the mirrors' locks */
	u64 watch_start, watch_end;
	bool watch_revoked;
	struct workqueue_struct *wq;
	struct work_struct work;
	spinlock_t lock;	/* innermost */
	struct list_head queue;
	struct mdma_dev *running;
	wait_queue_head_t idle;
	struct mdev_parent parent;
	struct mdev_type type;
	struct mdev_type *types;
};

/* The registers, as user space sees them */
struct mdma_regs {
	u64 src;
	u64 dst;
	u64 len;
	u32 ctrl;	/* always 0 */
	u32 status;
	u64 done;
};

static_assert(offsetof(struct mdma_regs, status) == VFIO_MDMA_REG_STATUS);
static_assert(sizeof(struct mdma_regs) == VFIO_MDMA_REGION_SIZE);

/**
 * struct mdma_dev - an instance
 *
 * @vdev: the VFIO device
 * @pa: the parent
 * @window: index of the window in &mdma_parent.windows
 * @start: first IOVA of the window
 * @last: last IOVA of the window
 * @map_lock: serialises changes of @maps
 * @maps_lock: held while @maps is changed, as well as @map_lock; readers hold
 *	either
 * @maps: the mappings, &struct mdma_map, by IOVA
 *
 * Under &mdma_parent.lock:
 *
 * @node: in &mdma_parent.queue
 * @trigger: eventfd of VFIO_MDMA_IRQ_INDEX, or NULL
 * @regs: the registers. status BUSY means in the queue or running, and that
 *	src, dst and len do not change.
 * @pos: how much of the copy is done
 * @cancel: the copy is to end without a result
 */
struct mdma_dev {
	struct vfio_device vdev;
	struct mdma_parent *pa;
	int window;
	u64 start, last;
	struct mutex map_lock;	/* not taken by the worker */
	struct mutex maps_lock;	/* held briefly */
	struct rb_root_cached maps;

	struct list_head node;
	struct eventfd_ctx *trigger;
	struct mdma_regs regs;
	u64 pos;
	bool cancel;
};

/* mdma_engine.c */
void mdma_engine_init(struct mdma_parent *pa);
int mdma_engine_check(struct mdma_parent *pa);
void mdma_engine_use_irq(struct mdma_parent *pa, int irq);
int mdma_engine_wait(struct mdma_parent *pa);
int mdma_engine_run(struct mdma_parent *pa, u64 iova, u32 len, bool to_ram);
void mdma_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length);
int mdma_start(struct mdma_dev *md);
void mdma_reset(struct mdma_dev *md);

/* mdma_map.c */
u64 mdma_pgsizes(struct mdma_dev *md);
bool mdma_is_mapped(struct mdma_dev *md, u64 start, u64 end, u32 access);
void mdma_unmap_all(struct mdma_dev *md);
int mdma_ioctl_map(struct mdma_dev *md, void __user *uarg);
int mdma_ioctl_unmap(struct mdma_dev *md, void __user *uarg);
int mdma_ioctl_query(struct mdma_dev *md, void __user *uarg);

/* mdma_device.c */
extern struct mdev_driver mdma_mdev_driver;

#endif /* _SAMPLES_VFIO_MDEV_MDMA_H */
