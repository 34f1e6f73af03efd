/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An NVMe controller, driven from user space: one pair of queues for commands of the
 * administrator, one for transfers, and no interrupts. For a machine that is
 * little-endian and has pages of 4 KiB, as NVMe has.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef MEMFD_OPS_NVME_H
#define MEMFD_OPS_NVME_H

#include <stdbool.h>

#include <linux/types.h>

/* Entries of each queue; one of them stays free. */
#define NVME_ENTRIES	64
#define NVME_IN_FLIGHT	(NVME_ENTRIES - 1)

enum { NVME_ADMIN, NVME_IO };	/* the queue pairs */
enum { NVME_WRITE = 0x01, NVME_READ = 0x02 };
enum { NVME_NAMESPACE, NVME_CONTROLLER };	/* to identify */

/* The pages of memory for queues, and for the answer to an identify command */
enum {
	NVME_ADMIN_SQ, NVME_ADMIN_CQ, NVME_IO_SQ, NVME_IO_CQ, NVME_IDENTIFY, NVME_PAGES
};

struct nvme_command {
	__u8	opcode, flags;
	__u16	id;
	__u32	nsid;
	__u64	reserved, metadata;
	__u64	prp[2];		/* where the data is: two pages at most */
	__u32	dw10, dw11, dw12, dw13, dw14, dw15;
};

struct nvme_queue {
	unsigned int tail, head;
	__u16 phase;
};

struct nvme {
	volatile char *regs;	/* BAR 0 */
	unsigned char *mem;	/* the NVME_PAGES pages */
	__u64	iova;		/* where the controller has them */
	struct nvme_queue queues[2];
	unsigned int block_size;
	__u64	disk_size;
};

/* From whatever state to one that takes commands; regs, mem and iova are set. */
int nvme_start(struct nvme *c);

int nvme_stop(struct nvme *c);

/* The controller's or the namespace's page, until the next one */
const unsigned char *nvme_identify(struct nvme *c, int of);

/* Move @count pages, two at most, between the disk's page @disk and @iova. */
struct nvme_command nvme_transfer(struct nvme *c, int opcode, unsigned int disk, __u64 iova,
				  int count);

void nvme_submit(struct nvme *c, int queue, const struct nvme_command *cmd);

/*
 * The status of a command that is complete, 0 for success, and its @id unless that is
 * NULL; -EAGAIN if there is none.
 */
int nvme_poll(struct nvme *c, int queue, __u16 *id);

/* Submit a command, and wait for it: it is the only one in its queue. */
int nvme_run(struct nvme *c, int queue, const struct nvme_command *cmd);

#endif /* MEMFD_OPS_NVME_H */
