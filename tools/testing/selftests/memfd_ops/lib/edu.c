// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "edu.h"

/* The longest DMA, in seconds, even if the emulator is slow. */
#define EDU_TIMEOUT	300

__u64 edu_read(struct vdev *d, int reg)
{
	return *(volatile __u64 *)(d->regs + reg);
}

void edu_write(struct vdev *d, int reg, __u64 value)
{
	*(volatile __u64 *)(d->regs + reg) = value;
}

int edu_wait(struct vdev *d)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (edu_read(d, EDU_DMA_CMD) & EDU_DMA_RUN) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > EDU_TIMEOUT)
			return -ETIMEDOUT;
		nanosleep(&tick, NULL);
	}
	return 0;
}

int edu_start(struct vdev *d)
{
	int ret = vdev_start(d);

	if (ret)
		return ret;
	if ((*(volatile __u32 *)(d->regs + EDU_ID) & 0xff) != 0xed)
		return -EPROTO;
	/* of a process that was killed */
	return edu_wait(d);
}

void edu_go(struct vdev *d, __u64 iova, size_t len, bool to_ram)
{
	if (!len || len > LEN)
		abort();
	edu_write(d, EDU_DMA_SRC, to_ram ? EDU_BUFFER : iova);
	edu_write(d, EDU_DMA_DST, to_ram ? iova : EDU_BUFFER);
	edu_write(d, EDU_DMA_COUNT, len);
	edu_write(d, EDU_DMA_CMD, EDU_DMA_RUN | (to_ram ? EDU_DMA_TO_RAM : 0));
}

int edu_dma(struct vdev *d, __u64 iova, size_t len, bool to_ram)
{
	edu_go(d, iova, len, to_ram);
	return edu_wait(d);
}
