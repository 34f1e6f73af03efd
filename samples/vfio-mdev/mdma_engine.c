// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdma: the DMA engine, and the queue of copies
 */
#include <linux/eventfd.h>
#include <linux/interrupt.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/overflow.h>
#include <linux/pci.h>

#include "mdma.h"

/* edu's registers, see docs/specs/edu.rst of QEMU */
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
#define EDU_BUFFER		0x40000	/* where edu sees its buffer */

/* A DMA takes 100 ms; polled now and then even if there is an interrupt */
#define MDMA_DMA_TIMEOUT	(5 * HZ)
#define MDMA_DMA_POLL		msecs_to_jiffies(10)

/*
 * The engine
 */

int mdma_engine_check(struct mdma_parent *pa)
{
	return (readl(pa->regs + EDU_ID) & 0xffff) == 0x00ed ? 0 : -ENODEV;
}

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

/* Without an interrupt there is still polling. Undone by devres. */
void mdma_engine_use_irq(struct mdma_parent *pa, int irq)
{
	if (!devm_request_irq(&pa->pdev->dev, irq, mdma_irq, 0, KBUILD_MODNAME, pa))
		pa->irq_cmd = EDU_DMA_CMD_IRQ;
}

/* The register shows when a DMA is over; the interrupt just makes this sooner */
int mdma_engine_wait(struct mdma_parent *pa)
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
 * Run one DMA between RAM and the start of the engine's buffer. A DMA that does
 * not end in time could reach whatever is mapped there later: use the engine no
 * more.
 */
int mdma_engine_run(struct mdma_parent *pa, u64 iova, u32 len, bool to_ram)
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
void mdma_revoke(struct iommu_memfd_domain *imd, u64 iova, u64 length)
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

/* A chunk that was not read as a whole is not written: the buffer has other data */
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

/* The end of a chunk, with its result */
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

int mdma_start(struct mdma_dev *md)
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
 * End the instance's copy, if there is one, without a result. A DMA that runs
 * cannot be stopped: wait for it. The lock is dropped meanwhile, and another copy
 * may be started; on return nothing is queued and nothing runs.
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

/* Stop the copy, and reset the registers to their state after open */
void mdma_reset(struct mdma_dev *md)
{
	spin_lock_irq(&md->pa->lock);
	mdma_stop(md);
	memset(&md->regs, 0, sizeof(md->regs));
	spin_unlock_irq(&md->pa->lock);
}

/* @pa is zeroed, and not in use yet */
void mdma_engine_init(struct mdma_parent *pa)
{
	init_completion(&pa->dma_done);
	spin_lock_init(&pa->watch_lock);
	INIT_WORK(&pa->work, mdma_work);
	spin_lock_init(&pa->lock);
	INIT_LIST_HEAD(&pa->queue);
	init_waitqueue_head(&pa->idle);
}
