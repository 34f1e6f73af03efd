// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

#include "nvme.h"

/* No command takes that long, even if the emulator is slow: seconds. */
#define PATIENCE	300

#define REG_CAP		0x00
#define REG_INTMS	0x0c
#define REG_CC		0x14
#define REG_CSTS	0x1c
#define REG_AQA		0x24
#define REG_ASQ		0x28
#define REG_ACQ		0x30
#define REG_DOORBELL	0x1000

#define CC_ENABLE	0x00460001	/* entries of 64 and 16 bytes, 4 KiB pages */
#define CSTS_READY	0x1
#define CSTS_FATAL	0x2

enum { ADMIN_CREATE_SQ = 0x01, ADMIN_CREATE_CQ = 0x05, ADMIN_IDENTIFY = 0x06 };

struct completion {
	__u32	dw0, dw1;
	__u16	sq_head, sq_id;
	__u16	id, status;	/* bit 0 of status: the phase */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static __u32 reg_read(struct nvme *c, int reg)
{
	return *(volatile __u32 *)(c->regs + reg);
}

static void reg_write(struct nvme *c, int reg, __u32 value)
{
	*(volatile __u32 *)(c->regs + reg) = value;
}

static void reg_write_64(struct nvme *c, int reg, __u64 value)
{
	reg_write(c, reg, value);
	reg_write(c, reg + 4, value >> 32);
}

/* @which is 0 for submissions, 1 for completions. */
static void ring(struct nvme *c, int queue, int which, __u32 value)
{
	int stride = 4 << (reg_read(c, REG_CAP + 4) & 0xf);

	/* The entries in memory must be visible to the controller first. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	reg_write(c, REG_DOORBELL + (2 * queue + which) * stride, value);
}

/* The pages of a queue pair: those of submissions, then of completions. */
static void *queue_page(struct nvme *c, int queue, int which)
{
	return c->mem + (NVME_ADMIN_SQ + 2 * queue + which) * PAGE;
}

static __u64 queue_iova(struct nvme *c, int queue, int which)
{
	return c->iova + (NVME_ADMIN_SQ + 2 * queue + which) * PAGE;
}

void nvme_submit(struct nvme *c, int queue, const struct nvme_command *cmd)
{
	struct nvme_queue *q = &c->queues[queue];

	((struct nvme_command *)queue_page(c, queue, 0))[q->tail] = *cmd;
	q->tail = (q->tail + 1) % NVME_ENTRIES;
	ring(c, queue, 0, q->tail);
}

int nvme_poll(struct nvme *c, int queue, __u16 *id)
{
	struct nvme_queue *q = &c->queues[queue];
	volatile struct completion *cqe;
	__u16 status;

	cqe = (struct completion *)queue_page(c, queue, 1) + q->head;
	status = cqe->status;
	if ((status & 1) != q->phase)
		return reg_read(c, REG_CSTS) & CSTS_FATAL ? -EIO : -EAGAIN;
	if (id)
		*id = cqe->id;
	q->head = (q->head + 1) % NVME_ENTRIES;
	if (!q->head)
		q->phase ^= 1;
	ring(c, queue, 1, q->head);
	return status >> 1;
}

int nvme_run(struct nvme *c, int queue, const struct nvme_command *cmd)
{
	double deadline = now() + PATIENCE;
	int ret;

	nvme_submit(c, queue, cmd);
	while ((ret = nvme_poll(c, queue, NULL)) == -EAGAIN) {
		if (now() > deadline)
			return -ETIMEDOUT;
		usleep(100);
	}
	return ret;
}

struct nvme_command nvme_transfer(struct nvme *c, int opcode, unsigned int disk, __u64 iova,
				  int count)
{
	unsigned int blocks = PAGE / c->block_size;

	return (struct nvme_command){
		.opcode = opcode,
		.nsid = 1,
		.prp = { iova, count > 1 ? iova + PAGE : 0 },
		.dw10 = disk * blocks,
		.dw12 = count * blocks - 1,
	};
}

static int wait_ready(struct nvme *c, __u32 ready)
{
	/* CAP.TO is the longest time, in units of 500 ms. */
	double deadline = now() + 10 + 0.5 * (reg_read(c, REG_CAP) >> 24);

	while ((reg_read(c, REG_CSTS) & CSTS_READY) != ready) {
		if (now() > deadline)
			return -ETIMEDOUT;
		usleep(1000);
	}
	return 0;
}

int nvme_stop(struct nvme *c)
{
	reg_write(c, REG_CC, 0);
	return wait_ready(c, 0);
}

static int admin(struct nvme *c, const struct nvme_command *cmd)
{
	int status = nvme_run(c, NVME_ADMIN, cmd);

	return status > 0 ? -EIO : status;
}

/* The pair for transfers, without interrupts */
static int create_queues(struct nvme *c)
{
	const struct nvme_command cq = {
		.opcode = ADMIN_CREATE_CQ,
		.prp = { queue_iova(c, NVME_IO, 1) },
		.dw10 = (NVME_ENTRIES - 1) << 16 | NVME_IO,
		.dw11 = 1,		/* contiguous */
	};
	const struct nvme_command sq = {
		.opcode = ADMIN_CREATE_SQ,
		.prp = { queue_iova(c, NVME_IO, 0) },
		.dw10 = (NVME_ENTRIES - 1) << 16 | NVME_IO,
		.dw11 = NVME_IO << 16 | 1,	/* its completions; contiguous */
	};
	int ret = admin(c, &cq);

	return ret ? ret : admin(c, &sq);
}

const unsigned char *nvme_identify(struct nvme *c, int of)
{
	const struct nvme_command cmd = {
		.opcode = ADMIN_IDENTIFY,
		.nsid = of == NVME_NAMESPACE,
		.prp = { c->iova + NVME_IDENTIFY * PAGE },
		.dw10 = of,
	};

	return admin(c, &cmd) ? NULL : c->mem + NVME_IDENTIFY * PAGE;
}

static int identify_disk(struct nvme *c)
{
	const unsigned char *id = nvme_identify(c, NVME_NAMESPACE);
	__u64 blocks;

	if (!id)
		return -EIO;
	memcpy(&blocks, id, sizeof(blocks));
	/* the data size of the format in use */
	c->block_size = 1U << id[128 + 4 * (id[26] & 0xf) + 2];
	c->disk_size = blocks * c->block_size;
	return c->block_size > PAGE ? -EOPNOTSUPP : 0;
}

int nvme_start(struct nvme *c)
{
	int i, ret = nvme_stop(c);

	if (ret)
		return ret;
	memset(c->mem, 0, NVME_PAGES * PAGE);
	for (i = 0; i < 2; i++)
		c->queues[i] = (struct nvme_queue){ .phase = 1 };
	reg_write(c, REG_INTMS, ~0U);
	reg_write(c, REG_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	reg_write_64(c, REG_ASQ, queue_iova(c, NVME_ADMIN, 0));
	reg_write_64(c, REG_ACQ, queue_iova(c, NVME_ADMIN, 1));
	reg_write(c, REG_CC, CC_ENABLE);
	ret = wait_ready(c, 1);
	if (!ret)
		ret = create_queues(c);
	return ret ? ret : identify_disk(c);
}
