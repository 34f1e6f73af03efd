// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdma: a mediated DMA engine, the sample of memfd_ops and iommu_memfd
 *
 * The parent is QEMU's "edu" PCI device, in an IOMMU domain of its own. That
 * domain is divided into windows, one for each mdev. What an mdev has mapped
 * in its window are mirrors of memfds, and with them the engine copies.
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
 * Lifetime: an instance is used between open and close only, and VFIO lets
 * none go, nor the module, before it is closed. The parent goes after its
 * instances.
 *
 * See samples/vfio-mdev/README-mdma.rst.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/interval_tree.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu.h>
#include <linux/iommu_memfd.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>

#include "vfio_mdma.h"

/* edu, see docs/specs/edu.rst of QEMU */
#define EDU_VENDOR_ID		0x1234
#define EDU_DEVICE_ID		0x11e8
#define EDU_BAR			0
#define EDU_ID			0x00	/* u32: 0xRRrr00ed */
#define EDU_IRQ_STATUS		0x24	/* u32 */
#define EDU_IRQ_ACK		0x64	/* u32 */
#define EDU_DMA_SRC		0x80	/* u64 */
#define EDU_DMA_DST		0x88	/* u64 */
#define EDU_DMA_COUNT		0x90	/* u64 */
#define EDU_DMA_CMD		0x98	/* u64 */
#define EDU_DMA_CMD_RUN		BIT(0)
#define EDU_DMA_CMD_TO_RAM	BIT(1)
#define EDU_DMA_CMD_IRQ		BIT(2)
#define EDU_REGS_SIZE		0xa0
#define EDU_BUFFER		0x40000	/* where edu sees its buffer */

/*
 * Neither 0 nor the whole 4096 bytes of the buffer: QEMU would abort. And not
 * the 4095 that would do, so that aligned copies consist of aligned DMAs.
 */
#define MDMA_DMA_MAX		4088
#define MDMA_COPY_MAX		SZ_64K

/* A DMA takes 100 ms; polled now and then even if there is an interrupt */
#define MDMA_DMA_TIMEOUT	(5 * HZ)
#define MDMA_DMA_POLL		msecs_to_jiffies(10)

#define MDMA_INSTANCES		8
#define MDMA_WINDOW_MIN_SHIFT	21

/* How many address bits the engine may drive; edu's default is 28 */
#define MDMA_BITS_MIN		24
#define MDMA_BITS_MAX		48

#define MDMA_NUM_REGIONS	1
#define MDMA_NUM_IRQS		1

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
 * @lock: guards what follows, and what &struct mdma_dev says
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

/**
 * struct mdma_map - what one VFIO_MDMA_MAP has mapped
 *
 * @node: in &mdma_dev.maps, [start, last] in IOVAs
 * @im: the mirror
 * @offset: where in the file the mapping starts
 * @flags: VFIO_MDMA_MAP_FLAG_*
 */
struct mdma_map {
	struct interval_tree_node node;
	struct iommu_memfd *im;
	u64 offset;
	u32 flags;
};

static struct mdma_dev *to_mdma_dev(struct vfio_device *vdev)
{
	return container_of(vdev, struct mdma_dev, vdev);
}

static struct mdma_map *to_mdma_map(struct interval_tree_node *node)
{
	return container_of(node, struct mdma_map, node);
}

/*
 * The engine
 */

static irqreturn_t mdma_irq(int irq, void *data)
{
	struct mdma_parent *pa = data;
	u32 status = readl(pa->regs + EDU_IRQ_STATUS);

	if (!status || status == U32_MAX)
		return IRQ_NONE;
	writel(status, pa->regs + EDU_IRQ_ACK);
	complete(&pa->dma_done);
	return IRQ_HANDLED;
}

/* The register tells when a DMA is over, the interrupt just says it sooner */
static int mdma_engine_wait(struct mdma_parent *pa)
{
	unsigned long deadline = jiffies + MDMA_DMA_TIMEOUT;

	while (readl(pa->regs + EDU_DMA_CMD) & EDU_DMA_CMD_RUN) {
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		wait_for_completion_timeout(&pa->dma_done, MDMA_DMA_POLL);
	}
	return 0;
}

/*
 * One DMA between RAM and the start of the engine's buffer. If it does not end
 * in time it must not end in what somebody maps there later: that was the last.
 */
static int mdma_engine_run(struct mdma_parent *pa, u64 iova, u32 len,
			   bool to_ram)
{
	int ret;

	if (WARN_ON_ONCE(!len || len > MDMA_DMA_MAX))
		return -EINVAL;
	if (pa->dead)
		return -EIO;

	reinit_completion(&pa->dma_done);
	writeq(to_ram ? EDU_BUFFER : iova, pa->regs + EDU_DMA_SRC);
	writeq(to_ram ? iova : EDU_BUFFER, pa->regs + EDU_DMA_DST);
	writeq(len, pa->regs + EDU_DMA_COUNT);
	writeq(EDU_DMA_CMD_RUN | (to_ram ? EDU_DMA_CMD_TO_RAM : 0) |
	       pa->irq_cmd, pa->regs + EDU_DMA_CMD);
	ret = mdma_engine_wait(pa);
	if (ret) {
		pci_err(pa->pdev, "the engine does not answer, and is not used any more\n");
		pci_clear_master(pa->pdev);
		pa->dead = true;
	}
	return ret;
}

/* For the worker: is all of [start, end) mapped, and its pages there, for @access? */
static bool mdma_is_mapped(struct mdma_dev *md, u64 start, u64 end, u32 access)
{
	struct interval_tree_node *node;
	u64 iova, size;

	mutex_lock(&md->maps_lock);
	while (start < end) {
		node = interval_tree_iter_first(&md->maps, start, start);
		if (!node || !(to_mdma_map(node)->flags & access))
			break;
		iova = start;
		if (!iommu_memfd_next_run(to_mdma_map(node)->im, &iova, &size) ||
		    iova != start)
			break;
		start += size;
	}
	mutex_unlock(&md->maps_lock);
	return start >= end;
}

/*
 * Watching a DMA. Its pages are translated throughout if they were mapped when it
 * began, and no mirror has revoked one since. The watch begins before the look at
 * the mappings, so that a page that is revoked in between counts.
 */

static void mdma_watch_begin(struct mdma_parent *pa, u64 start, u64 end)
{
	spin_lock(&pa->watch_lock);
	pa->watch_start = start;
	pa->watch_end = end;
	pa->watch_revoked = false;
	spin_unlock(&pa->watch_lock);
}

/* Returns true if a page of the DMA was revoked */
static bool mdma_watch_end(struct mdma_parent *pa)
{
	bool revoked;

	spin_lock(&pa->watch_lock);
	revoked = pa->watch_revoked;
	pa->watch_end = pa->watch_start;
	spin_unlock(&pa->watch_lock);
	return revoked;
}

/* The mirrors' callback: called before the translations go */
static void mdma_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length)
{
	struct mdma_parent *pa = container_of(imd, struct mdma_parent, imd);

	spin_lock(&pa->watch_lock);
	if (pa->watch_start < iova + length && iova < pa->watch_end)
		pa->watch_revoked = true;
	spin_unlock(&pa->watch_lock);
}

/*
 * The DMA runs even where nothing is mapped, for the IOMMU to block and to record.
 * It stays in the instance's window, where no IOVA is reserved.
 */
static u32 mdma_dma(struct mdma_dev *md, u64 iova, u32 len, bool to_ram)
{
	u32 access = to_ram ? VFIO_MDMA_MAP_FLAG_WRITE : VFIO_MDMA_MAP_FLAG_READ;
	struct mdma_parent *pa = md->pa;
	bool mapped, revoked;
	int ret;

	mdma_watch_begin(pa, iova, iova + len);
	mapped = mdma_is_mapped(md, iova, iova + len, access);
	ret = mdma_engine_run(pa, iova, len, to_ram);
	revoked = mdma_watch_end(pa);

	if (ret)
		return VFIO_MDMA_STATUS_ERROR;
	return mapped && !revoked ? VFIO_MDMA_STATUS_DONE : VFIO_MDMA_STATUS_FAULT;
}

/* What was not read as a whole, maybe from another page, is not written on */
static u32 mdma_copy_chunk(struct mdma_dev *md, u64 src, u64 dst, u32 len)
{
	u32 status = mdma_dma(md, src, len, false);

	if (status != VFIO_MDMA_STATUS_DONE || READ_ONCE(md->cancel))
		return status;
	return mdma_dma(md, dst, len, true);
}

/*
 * The queue. Copies take turns, chunk by chunk: a long one, or one that ends
 * with an error, does not keep the others waiting for longer than its turn.
 */

/* The end of a chunk, with what came of it */
static void mdma_chunk_done(struct mdma_dev *md, u32 len, u32 status)
{
	struct mdma_parent *pa = md->pa;

	lockdep_assert_held(&pa->lock);

	md->pos += len;
	if (md->cancel) {
		md->regs.status = VFIO_MDMA_STATUS_IDLE;
		return;
	}
	if (status == VFIO_MDMA_STATUS_DONE && md->pos < md->regs.len) {
		list_add_tail(&md->node, &pa->queue);
		return;
	}
	md->regs.status = status;
	md->regs.done++;
	if (md->trigger)
		eventfd_signal(md->trigger);
}

static void mdma_work(struct work_struct *work)
{
	struct mdma_parent *pa = container_of(work, struct mdma_parent, work);
	struct mdma_dev *md;
	u64 src, dst;
	u32 len, status;

	spin_lock_irq(&pa->lock);
	md = list_first_entry_or_null(&pa->queue, struct mdma_dev, node);
	if (!md) {
		spin_unlock_irq(&pa->lock);
		return;
	}
	list_del_init(&md->node);
	pa->running = md;
	src = md->regs.src + md->pos;
	dst = md->regs.dst + md->pos;
	len = min_t(u64, md->regs.len - md->pos, MDMA_DMA_MAX);
	spin_unlock_irq(&pa->lock);

	status = mdma_copy_chunk(md, src, dst, len);

	spin_lock_irq(&pa->lock);
	pa->running = NULL;
	mdma_chunk_done(md, len, status);
	if (!list_empty(&pa->queue))
		queue_work(pa->wq, &pa->work);
	/* With @lock released md may be gone */
	wake_up_all(&pa->idle);
	spin_unlock_irq(&pa->lock);
}

/* Is the copy that the registers ask for one that the engine may start? */
static int mdma_check_copy(struct mdma_dev *md)
{
	u64 src_last, dst_last;

	lockdep_assert_held(&md->pa->lock);

	if (!md->regs.len || md->regs.len > MDMA_COPY_MAX)
		return -EINVAL;
	if (check_add_overflow(md->regs.src, md->regs.len - 1, &src_last) ||
	    check_add_overflow(md->regs.dst, md->regs.len - 1, &dst_last))
		return -EINVAL;
	if (md->regs.src <= dst_last && md->regs.dst <= src_last)
		return -EINVAL;
	if (md->regs.src < md->start || src_last > md->last ||
	    md->regs.dst < md->start || dst_last > md->last)
		return -ERANGE;
	return 0;
}

static int mdma_start(struct mdma_dev *md)
{
	struct mdma_parent *pa = md->pa;
	int ret;

	lockdep_assert_held(&pa->lock);

	ret = mdma_check_copy(md);
	if (ret)
		return ret;

	md->regs.status = VFIO_MDMA_STATUS_BUSY;
	md->pos = 0;
	md->cancel = false;
	list_add_tail(&md->node, &pa->queue);
	queue_work(pa->wq, &pa->work);
	return 0;
}

/*
 * Ends the instance's copy, if there is one, without a result. A DMA that runs
 * cannot be stopped and is waited for. The lock is dropped meanwhile, and
 * another copy may be started; on return nothing is queued and nothing runs.
 */
static void mdma_stop(struct mdma_dev *md)
{
	struct mdma_parent *pa = md->pa;

	lockdep_assert_held(&pa->lock);

	while (md->regs.status == VFIO_MDMA_STATUS_BUSY) {
		if (pa->running == md) {
			WRITE_ONCE(md->cancel, true);
			wait_event_lock_irq(pa->idle,
					    pa->running != md || !md->cancel,
					    pa->lock);
		} else {
			list_del_init(&md->node);
			md->regs.status = VFIO_MDMA_STATUS_IDLE;
		}
	}
}

/* Stops the copy and makes the registers what they are after open */
static void mdma_reset(struct mdma_dev *md)
{
	spin_lock_irq(&md->pa->lock);
	mdma_stop(md);
	memset(&md->regs, 0, sizeof(md->regs));
	spin_unlock_irq(&md->pa->lock);
}

/*
 * The registers
 */

/* How large the register at this offset is, and 0 if there is none */
static size_t mdma_reg_size(loff_t reg)
{
	switch (reg) {
	case VFIO_MDMA_REG_SRC:
	case VFIO_MDMA_REG_DST:
	case VFIO_MDMA_REG_LEN:
	case VFIO_MDMA_REG_DONE:
		return sizeof(u64);
	case VFIO_MDMA_REG_CTRL:
	case VFIO_MDMA_REG_STATUS:
		return sizeof(u32);
	default:
		return 0;
	}
}

static int mdma_reg_write(struct mdma_dev *md, loff_t reg, u64 val)
{
	bool busy = md->regs.status == VFIO_MDMA_STATUS_BUSY;

	lockdep_assert_held(&md->pa->lock);

	switch (reg) {
	case VFIO_MDMA_REG_SRC:
	case VFIO_MDMA_REG_DST:
	case VFIO_MDMA_REG_LEN:
		if (busy)
			return -EBUSY;
		memcpy((void *)&md->regs + reg, &val, sizeof(val));
		return 0;
	case VFIO_MDMA_REG_CTRL:
		if (val & ~(u64)VFIO_MDMA_CTRL_START)
			return -EINVAL;
		if (!val)
			return 0;
		return busy ? -EBUSY : mdma_start(md);
	default:
		return -EINVAL;
	}
}

static ssize_t mdma_read(struct vfio_device *vdev, char __user *buf,
			 size_t count, loff_t *ppos)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	struct mdma_regs regs;

	if (!count || count != mdma_reg_size(*ppos) ||
	    *ppos == VFIO_MDMA_REG_CTRL)
		return -EINVAL;

	spin_lock_irq(&md->pa->lock);
	regs = md->regs;
	spin_unlock_irq(&md->pa->lock);

	if (copy_to_user(buf, (void *)&regs + *ppos, count))
		return -EFAULT;
	*ppos += count;
	return count;
}

static ssize_t mdma_write(struct vfio_device *vdev, const char __user *buf,
			  size_t count, loff_t *ppos)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	union {
		u64 val;
		u32 val32;
	} arg;
	int ret;

	if (!count || count != mdma_reg_size(*ppos))
		return -EINVAL;
	if (copy_from_user(&arg, buf, count))
		return -EFAULT;
	if (count == sizeof(arg.val32))
		arg.val = arg.val32;

	spin_lock_irq(&md->pa->lock);
	ret = mdma_reg_write(md, *ppos, arg.val);
	spin_unlock_irq(&md->pa->lock);
	if (ret)
		return ret;
	*ppos += count;
	return count;
}

/*
 * The mappings
 */

/* The IOMMU's page sizes that a file's pages can be mapped at */
static u64 mdma_pgsizes(struct mdma_dev *md)
{
	return md->pa->domain->pgsize_bitmap & PAGE_MASK;
}

static int mdma_check_range(struct mdma_dev *md, u64 iova, u64 size, u64 *last)
{
	u64 granule = BIT_ULL(__ffs64(mdma_pgsizes(md)));

	if (!size || !IS_ALIGNED(iova | size, granule))
		return -EINVAL;
	if (check_add_overflow(iova, size - 1, last))
		return -EOVERFLOW;
	if (iova < md->start || *last > md->last)
		return -EINVAL;
	return 0;
}

static int mdma_map_file(struct mdma_dev *md, struct file *file,
			 const struct vfio_mdma_map *arg, u64 last)
{
	struct mdma_map *map;
	int prot = 0;

	lockdep_assert_held(&md->map_lock);

	if (arg->flags & VFIO_MDMA_MAP_FLAG_READ)
		prot |= IOMMU_READ;
	if (arg->flags & VFIO_MDMA_MAP_FLAG_WRITE)
		prot |= IOMMU_WRITE;

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	map->im = iommu_memfd_map(&md->pa->imd, arg->iova, arg->size, file,
				  arg->offset, prot);
	if (IS_ERR(map->im)) {
		int ret = PTR_ERR(map->im);

		kfree(map);
		return ret;
	}

	map->offset = arg->offset;
	map->flags = arg->flags;
	map->node.start = arg->iova;
	map->node.last = last;
	mutex_lock(&md->maps_lock);
	interval_tree_insert(&map->node, &md->maps);
	mutex_unlock(&md->maps_lock);
	return 0;
}

/* Undoes what lies in [start, last], and returns how many bytes that were */
static u64 mdma_unmap_range(struct mdma_dev *md, u64 start, u64 last)
{
	struct interval_tree_node *node;
	u64 size = 0;

	lockdep_assert_held(&md->map_lock);

	while ((node = interval_tree_iter_first(&md->maps, start, last))) {
		mutex_lock(&md->maps_lock);
		interval_tree_remove(node, &md->maps);
		mutex_unlock(&md->maps_lock);
		size += node->last - node->start + 1;
		iommu_memfd_unmap(to_mdma_map(node)->im);
		kfree(to_mdma_map(node));
	}
	return size;
}

/* Does a mapping lie in [start, last] in part? */
static bool mdma_range_cuts(struct mdma_dev *md, u64 start, u64 last)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&md->map_lock);

	for (node = interval_tree_iter_first(&md->maps, start, last); node;
	     node = interval_tree_iter_next(node, start, last))
		if (node->start < start || node->last > last)
			return true;
	return false;
}

static int mdma_find(struct mdma_dev *md, struct vfio_mdma_query *arg)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&md->map_lock);

	if (arg->iova > md->last)
		return -ENOENT;
	arg->iova = max(arg->iova, md->start);

	for (node = interval_tree_iter_first(&md->maps, arg->iova, md->last);
	     node; node = interval_tree_iter_next(node, arg->iova, md->last)) {
		struct mdma_map *map = to_mdma_map(node);
		u64 iova = node->start, size = node->last - node->start + 1;

		if (arg->flags & VFIO_MDMA_QUERY_FLAG_PRESENT) {
			iova = max_t(u64, iova, arg->iova);
			if (!iommu_memfd_next_run(map->im, &iova, &size))
				continue;
		}
		arg->prot = map->flags;
		arg->iova = iova;
		arg->size = size;
		arg->offset = map->offset + (iova - node->start);
		return 0;
	}
	return -ENOENT;
}

static int mdma_ioctl_map(struct mdma_dev *md, void __user *uarg)
{
	const u32 flags = VFIO_MDMA_MAP_FLAG_READ | VFIO_MDMA_MAP_FLAG_WRITE;
	struct vfio_mdma_map arg;
	struct file *file;
	u64 last;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || !arg.flags || arg.flags & ~flags ||
	    arg.reserved)
		return -EINVAL;
	ret = mdma_check_range(md, arg.iova, arg.size, &last);
	if (ret)
		return ret;

	file = fget(arg.fd);
	if (!file)
		return -EBADF;
	ret = mutex_lock_killable(&md->map_lock);
	if (!ret) {
		ret = mdma_map_file(md, file, &arg, last);
		mutex_unlock(&md->map_lock);
	}
	fput(file);
	return ret;
}

static int mdma_ioctl_unmap(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_unmap arg;
	u64 last;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || arg.flags & ~VFIO_MDMA_UNMAP_FLAG_ALL)
		return -EINVAL;

	if (arg.flags & VFIO_MDMA_UNMAP_FLAG_ALL) {
		if (arg.iova || arg.size)
			return -EINVAL;
		arg.iova = md->start;
		last = md->last;
	} else {
		ret = mdma_check_range(md, arg.iova, arg.size, &last);
		if (ret)
			return ret;
	}

	/* If the answer cannot be written, say so while all is as it was */
	if (copy_to_user(uarg + offsetof(typeof(arg), size), &arg.size,
			 sizeof(arg.size)))
		return -EFAULT;

	ret = mutex_lock_killable(&md->map_lock);
	if (ret)
		return ret;
	if (mdma_range_cuts(md, arg.iova, last))
		ret = -EINVAL;
	else
		arg.size = mdma_unmap_range(md, arg.iova, last);
	mutex_unlock(&md->map_lock);
	if (ret)
		return ret;

	if (copy_to_user(uarg + offsetof(typeof(arg), size), &arg.size,
			 sizeof(arg.size)))
		return -EFAULT;
	return 0;
}

static int mdma_ioctl_query(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_query arg;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) ||
	    arg.flags & ~VFIO_MDMA_QUERY_FLAG_PRESENT || arg.reserved)
		return -EINVAL;

	ret = mutex_lock_killable(&md->map_lock);
	if (ret)
		return ret;
	ret = mdma_find(md, &arg);
	mutex_unlock(&md->map_lock);
	if (ret)
		return ret;

	return copy_to_user(uarg, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static int mdma_ioctl_mdma_info(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_info arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || arg.flags)
		return -EINVAL;

	arg.iova_start = md->start;
	arg.iova_last = md->last;
	arg.pgsizes = mdma_pgsizes(md);
	arg.max_copy = MDMA_COPY_MAX;
	return copy_to_user(uarg, &arg, sizeof(arg)) ? -EFAULT : 0;
}

/*
 * What every VFIO device has
 */

static int mdma_ioctl_device_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info = {};

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	info.flags = VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = MDMA_NUM_REGIONS;
	info.num_irqs = MDMA_NUM_IRQS;
	return copy_to_user(uarg, &info, min_t(size_t, info.argsz,
					       sizeof(info))) ? -EFAULT : 0;
}

static int mdma_ioctl_region_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index != VFIO_MDMA_REGION_INDEX)
		return -EINVAL;

	info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info.cap_offset = 0;
	info.size = VFIO_MDMA_REGION_SIZE;
	info.offset = 0;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

static int mdma_ioctl_irq_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index != VFIO_MDMA_IRQ_INDEX)
		return -EINVAL;

	info.flags = VFIO_IRQ_INFO_EVENTFD;
	info.count = 1;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

/* The eventfd is ours from here on; NULL for none */
static void mdma_set_trigger(struct mdma_dev *md, struct eventfd_ctx *trigger)
{
	spin_lock_irq(&md->pa->lock);
	swap(md->trigger, trigger);
	spin_unlock_irq(&md->pa->lock);
	if (trigger)
		eventfd_ctx_put(trigger);
}

static int mdma_set_trigger_fd(struct mdma_dev *md, s32 fd)
{
	struct eventfd_ctx *trigger = NULL;

	if (fd < -1)
		return -EINVAL;
	if (fd >= 0)
		trigger = eventfd_ctx_fdget(fd);
	if (IS_ERR(trigger))
		return PTR_ERR(trigger);
	mdma_set_trigger(md, trigger);
	return 0;
}

/* User space tries its eventfd out */
static int mdma_trigger(struct mdma_dev *md, bool fire)
{
	int ret = 0;

	spin_lock_irq(&md->pa->lock);
	if (!md->trigger)
		ret = -EINVAL;
	else if (fire)
		eventfd_signal(md->trigger);
	spin_unlock_irq(&md->pa->lock);
	return ret;
}

static int mdma_ioctl_set_irqs(struct mdma_dev *md, void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set hdr;
	size_t data_size;
	s32 fd;
	u8 fire;
	int ret;

	if (copy_from_user(&hdr, uarg, minsz))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(&hdr, MDMA_NUM_IRQS,
						 MDMA_NUM_IRQS, &data_size);
	if (ret)
		return ret;
	if ((hdr.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) !=
	    VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;

	/* There is one vector: count is 0 or 1 */
	switch (hdr.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (hdr.count)
			return mdma_trigger(md, true);
		mdma_set_trigger(md, NULL);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (!hdr.count)
			return -EINVAL;
		if (copy_from_user(&fire, uarg + minsz, sizeof(fire)))
			return -EFAULT;
		return mdma_trigger(md, fire);
	case VFIO_IRQ_SET_DATA_EVENTFD:
		if (!hdr.count)
			return -EINVAL;
		if (copy_from_user(&fd, uarg + minsz, sizeof(fd)))
			return -EFAULT;
		return mdma_set_trigger_fd(md, fd);
	default:
		return -EINVAL;
	}
}

static long mdma_ioctl(struct vfio_device *vdev, unsigned int cmd,
		       unsigned long arg)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return mdma_ioctl_device_info(uarg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return mdma_ioctl_region_info(uarg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return mdma_ioctl_irq_info(uarg);
	case VFIO_DEVICE_SET_IRQS:
		return mdma_ioctl_set_irqs(md, uarg);
	case VFIO_DEVICE_RESET:
		mdma_reset(md);
		return 0;
	case VFIO_MDMA_GET_INFO:
		return mdma_ioctl_mdma_info(md, uarg);
	case VFIO_MDMA_MAP:
		return mdma_ioctl_map(md, uarg);
	case VFIO_MDMA_UNMAP:
		return mdma_ioctl_unmap(md, uarg);
	case VFIO_MDMA_QUERY:
		return mdma_ioctl_query(md, uarg);
	default:
		return -ENOTTY;
	}
}

/* Everything that user space has set up goes; the next open finds it as new */
static void mdma_close_device(struct vfio_device *vdev)
{
	struct mdma_dev *md = to_mdma_dev(vdev);

	mdma_reset(md);
	mutex_lock(&md->map_lock);
	mdma_unmap_range(md, md->start, md->last);
	mutex_unlock(&md->map_lock);
	mdma_set_trigger(md, NULL);
}

/* The instance is to go away, but VFIO waits for the one who has it open */
static void mdma_request(struct vfio_device *vdev, unsigned int count)
{
	if (!count)
		dev_notice(vdev->dev, "in use, waiting for it to be closed\n");
}

static int mdma_init_dev(struct vfio_device *vdev)
{
	struct mdma_dev *md = to_mdma_dev(vdev);

	mutex_init(&md->map_lock);
	mutex_init(&md->maps_lock);
	md->maps = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&md->node);
	return 0;
}

static const struct vfio_device_ops mdma_dev_ops = {
	.name		= "vfio-mdma",
	.init		= mdma_init_dev,
	.bind_iommufd	= vfio_iommufd_emulated_bind,
	.unbind_iommufd	= vfio_iommufd_emulated_unbind,
	.attach_ioas	= vfio_iommufd_emulated_attach_ioas,
	.detach_ioas	= vfio_iommufd_emulated_detach_ioas,
	.close_device	= mdma_close_device,
	.read		= mdma_read,
	.write		= mdma_write,
	.ioctl		= mdma_ioctl,
	.request	= mdma_request,
};

/*
 * The instances
 */

static int mdma_mdev_probe(struct mdev_device *mdev)
{
	struct mdma_parent *pa = container_of(mdev->type->parent,
					      struct mdma_parent, parent);
	struct mdma_dev *md;
	int ret;

	md = vfio_alloc_device(mdma_dev, vdev, &mdev->dev, &mdma_dev_ops);
	if (IS_ERR(md))
		return PTR_ERR(md);

	ret = ida_alloc_max(&pa->window_ids, MDMA_INSTANCES - 1, GFP_KERNEL);
	if (ret < 0)
		goto err_put;
	md->pa = pa;
	md->window = ret;
	md->start = pa->windows[ret];
	md->last = md->start + BIT_ULL(pa->window_shift) - 1;

	ret = vfio_register_emulated_iommu_dev(&md->vdev);
	if (ret)
		goto err_window;
	dev_set_drvdata(&mdev->dev, md);
	return 0;

err_window:
	ida_free(&pa->window_ids, md->window);
err_put:
	vfio_put_device(&md->vdev);
	return ret;
}

static void mdma_mdev_remove(struct mdev_device *mdev)
{
	struct mdma_dev *md = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&md->vdev);
	/* Nobody has it open: the window is empty, and can be given away */
	ida_free(&md->pa->window_ids, md->window);
	vfio_put_device(&md->vdev);
}

static ssize_t mdma_show_description(struct mdev_type *mtype, char *buf)
{
	struct mdma_parent *pa = container_of(mtype->parent,
					      struct mdma_parent, parent);

	return sysfs_emit(buf, "copies between IOVAs in a window of %s\n",
			  pa->window_size);
}

static struct mdev_driver mdma_mdev_driver = {
	.device_api = "vfio-mdma",
	.max_instances = MDMA_INSTANCES,
	.driver = {
		.name = "mdma_mdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
	.probe = mdma_mdev_probe,
	.remove = mdma_mdev_remove,
	.show_description = mdma_show_description,
};

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

/* The last page that can be reached with so many address bits */
static u64 mdma_last_page(unsigned int bits)
{
	return BIT_ULL(bits) - PAGE_SIZE;
}

/* Has the engine copy a mark from mdma_last_page(MDMA_BITS_MIN) to iova */
static int mdma_mark_page(struct mdma_parent *pa, u8 *from, u64 iova)
{
	const u8 mark = 0xa5;
	int ret;

	WRITE_ONCE(*from, mark);
	ret = mdma_engine_run(pa, mdma_last_page(MDMA_BITS_MIN), 1, false);
	/* Whatever page it comes to, the next DMA must have brought it there */
	WRITE_ONCE(*from, 0);
	if (ret)
		return ret;
	return mdma_engine_run(pa, iova, 1, true);
}

/*
 * The engine cuts IOVAs to the bits that it drives, without a word. So that
 * none of its DMAs ever goes astray, find out how many these are: let it write
 * to an IOVA of only ones, with a page where each number of bits would lead.
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
 * Divides what the engine can address into windows, the largest that there can
 * be. None has a reserved IOVA in it: a write there might be an interrupt.
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

/* All DMA goes through a domain that nobody else has a say in, or nowhere */
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

	if ((readl(pa->regs + EDU_ID) & 0xffff) != 0x00ed) {
		pci_err(pdev, "not an edu device\n");
		return -ENODEV;
	}
	return 0;
}

/* Without an interrupt there is still polling */
static void mdma_enable_irq(struct mdma_parent *pa)
{
	struct pci_dev *pdev = pa->pdev;

	if (pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI) < 0)
		return;
	if (devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), mdma_irq, 0,
			     KBUILD_MODNAME, pa))
		return;
	pa->irq_cmd = EDU_DMA_CMD_IRQ;
}

static struct mdma_parent *mdma_alloc_parent(struct pci_dev *pdev)
{
	struct mdma_parent *pa;

	pa = devm_kzalloc(&pdev->dev, sizeof(*pa), GFP_KERNEL);
	if (!pa)
		return NULL;

	pa->pdev = pdev;
	init_completion(&pa->dma_done);
	ida_init(&pa->window_ids);
	spin_lock_init(&pa->watch_lock);
	INIT_WORK(&pa->work, mdma_work);
	spin_lock_init(&pa->lock);
	INIT_LIST_HEAD(&pa->queue);
	init_waitqueue_head(&pa->idle);
	pa->type.sysfs_name = "copy";
	pa->type.pretty_name = "Mediated DMA engine";
	pa->types = &pa->type;
	return pa;
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

	/* From here on what the engine can reach is in our hands */
	pci_set_master(pdev);
	mdma_enable_irq(pa);
	ret = mdma_divide_iovas(pa);
	if (ret)
		goto err_dma;

	ret = iommu_memfd_domain_init(&pa->imd, pa->domain, &pdev->dev);
	if (ret)
		goto err_dma;
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
err_dma:
	mdma_give_dma(pa);
	return ret;
}

static void mdma_remove(struct pci_dev *pdev)
{
	struct mdma_parent *pa = pci_get_drvdata(pdev);

	/* Waits until all instances are closed, and with that all is unmapped */
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
 * No MODULE_DEVICE_TABLE(): edu is there for people to write a driver, so this
 * one takes it only where somebody loads the module.
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

	/* A module that serves nothing is not loaded; it has said why */
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
