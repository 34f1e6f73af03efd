// SPDX-License-Identifier: GPL-2.0
/*
 * The engine: its registers, its copies and how they end, by both ways in
 * which VFIO lets one have the device.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "lib/harness.h"
#include "lib/test_env.h"

#define PAGES	64

FIXTURE(engine)
{
	struct test_env env;
};

FIXTURE_VARIANT(engine)
{
	int (*open)(struct mdma *m);
};

FIXTURE_VARIANT_ADD(engine, group)
{
	.open = mdma_open_group,
};

FIXTURE_VARIANT_ADD(engine, cdev)
{
	.open = mdma_open_cdev,
};

FIXTURE_SETUP(engine)
{
	struct test_env *env = &self->env;
	int i, ret = env_setup(env, PAGES);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	for (i = 0; i < 2; i++) {
		mdma_close(&env->dev[i]);
		ASSERT_EQ(0, variant->open(&env->dev[i]));
		ASSERT_EQ(0, env_map(env, i, 0, PAGES));
	}
}

FIXTURE_TEARDOWN(engine)
{
	env_teardown(&self->env);
}

static __u64 get(struct mdma *m, int reg)
{
	__u64 value = 0;
	int ret;

	ret = mdma_reg_read(m, reg, &value, reg == VFIO_MDMA_REG_STATUS ? 4 : 8);
	return ret ? -1ULL : value;
}

static int set(struct mdma *m, int reg, __u64 value)
{
	return mdma_reg_write(m, reg, &value, reg == VFIO_MDMA_REG_CTRL ? 4 : 8);
}

TEST_F(engine, vfio_info)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info region = { .argsz = sizeof(region) };
	struct vfio_irq_info irq = { .argsz = sizeof(irq) };
	int fd = self->env.dev[0].fd;

	EXPECT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(1, info.num_regions);
	EXPECT_EQ(1, info.num_irqs);
	EXPECT_TRUE(info.flags & VFIO_DEVICE_FLAGS_RESET);
	EXPECT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region));
	EXPECT_EQ(VFIO_MDMA_REGION_SIZE, region.size);
	EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		  region.flags);
	EXPECT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &irq));
	EXPECT_EQ(1, irq.count);
	EXPECT_TRUE(irq.flags & VFIO_IRQ_INFO_EVENTFD);

	region.index = 1;
	EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region)));
	irq.index = 1;
	EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &irq)));
	info.argsz = 8;
	EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_DEVICE_GET_INFO, &info)));
	region.index = 0;
	region.argsz = 8;
	EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region)));
	irq.index = 0;
	irq.argsz = 8;
	EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &irq)));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
}

TEST_F(engine, registers)
{
	const int regs[] = { VFIO_MDMA_REG_SRC, VFIO_MDMA_REG_DST, VFIO_MDMA_REG_LEN };
	struct mdma *m = &self->env.dev[0];
	unsigned char buf[64] = {};
	size_t i, reg, size;
	bool good;

	EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, get(m, VFIO_MDMA_REG_STATUS));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DONE));
	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		EXPECT_EQ(0, get(m, regs[i]));
		/* any value can be written; START judges it */
		EXPECT_EQ(0, set(m, regs[i], -1ULL));
		EXPECT_EQ(-1ULL, get(m, regs[i]));
		EXPECT_EQ(0, set(m, regs[i], 0x123456789abcdefULL));
		EXPECT_EQ(0x123456789abcdefULL, get(m, regs[i]));
	}

	/* every other offset and size */
	for (reg = 0; reg < VFIO_MDMA_REGION_SIZE + 16; reg++) {
		for (size = 1; size <= sizeof(buf); size++) {
			bool reg32 = reg == VFIO_MDMA_REG_CTRL ||
				     reg == VFIO_MDMA_REG_STATUS;
			bool reg64 = reg < VFIO_MDMA_REGION_SIZE && reg % 8 == 0 &&
				     !reg32;

			good = (reg64 && size == 8) || (reg32 && size == 4);
			if (!good || reg == VFIO_MDMA_REG_CTRL)
				EXPECT_EQ(-EINVAL, mdma_reg_read(m, reg, buf, size))
					TH_LOG("read %zu at %zu", size, reg);
			if (!good || reg == VFIO_MDMA_REG_STATUS ||
			    reg == VFIO_MDMA_REG_DONE)
				EXPECT_EQ(-EINVAL, mdma_reg_write(m, reg, buf, size))
					TH_LOG("write %zu at %zu", size, reg);
		}
	}
	EXPECT_EQ(-EINVAL, mdma_reg_read(m, 1 << 30, buf, 8));
	for (i = 0; i < ARRAY_SIZE(regs); i++)
		EXPECT_EQ(0x123456789abcdefULL, get(m, regs[i]));
	EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, get(m, VFIO_MDMA_REG_STATUS));
}

TEST_F(engine, start_refused)
{
	struct mdma *m = &self->env.dev[0];
	const __u64 start = m->info.iova_start, last = m->info.iova_last;
	const __u64 max = m->info.max_copy;
	const __u64 other = self->env.dev[1].info.iova_start;
	const struct {
		int error;
		__u64 src, dst, len;
	} tries[] = {
		{ -EINVAL, start, start + PAGE, 0 },
		{ -EINVAL, start, start + 2 * max, max + 1 },
		{ -EINVAL, start, start + 2 * max, 1ULL << 32 },
		{ -EINVAL, start, start + 2 * max, (1ULL << 32) + 1 },
		{ -EINVAL, start, start + 2 * max, -1ULL },
		/* overlaps */
		{ -EINVAL, start, start, 1 },
		{ -EINVAL, start, start + 99, 100 },
		{ -EINVAL, start + 99, start, 100 },
		/* wraps */
		{ -EINVAL, -8ULL, start, 16 },
		{ -EINVAL, start, -8ULL, 16 },
		/* outside the window */
		{ -ERANGE, start - 1, start + PAGE, 1 },
		{ -ERANGE, start + PAGE, start - 1, 1 },
		{ -ERANGE, last + 1, start, 1 },
		{ -ERANGE, last - 6, start, 8 },
		{ -ERANGE, start, last - 6, 8 },
		{ -ERANGE, other, start, 64 },
		{ -ERANGE, start, other, 64 },
		{ -ERANGE, 0xfee00000, start, 4 },
		{ -ERANGE, start, 0xfee00000, 4 },
		{ -ERANGE, -8ULL, start, 8 },
	};
	size_t i;

	if (!start)
		SKIP(return, "the window begins at IOVA 0");
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(tries[i].error, mdma_start(m, tries[i].src, tries[i].dst,
						     tries[i].len))
			TH_LOG("try %zu", i);
		EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, mdma_status(m));
	}
	ASSERT_EQ(0, set(m, VFIO_MDMA_REG_SRC, start));
	ASSERT_EQ(0, set(m, VFIO_MDMA_REG_DST, start + PAGE));
	ASSERT_EQ(0, set(m, VFIO_MDMA_REG_LEN, 16));
	EXPECT_EQ(-EINVAL, set(m, VFIO_MDMA_REG_CTRL, VFIO_MDMA_CTRL_START | 2));
	EXPECT_EQ(-EINVAL, set(m, VFIO_MDMA_REG_CTRL, 0x80000000));
	EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, mdma_status(m));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DONE));
}

/* All lengths that are special, to the engine or the bus, and ranges across pages. */
TEST_F(engine, lengths)
{
	struct mdma *m = &self->env.dev[0];
	const struct {
		__u64 src, dst, len;
	} copies[] = {
		{ 0, 20 * PAGE, 1 },
		{ PAGE - 1, 20 * PAGE + 7, 2 },
		{ 0, 20 * PAGE, 4095 },
		{ 0, 20 * PAGE, 4096 },
		{ 1, 20 * PAGE, 4097 },
		{ PAGE - 5, 21 * PAGE - 3, 10 },
		/* adjacent pages */
		{ 64, 0, 64 },
		{ 0, 20 * PAGE, m->info.max_copy },
	};
	const bool virtio = iommu_is_virtio();
	unsigned char *want;
	struct test_env *env = &self->env;
	size_t size = PAGES * PAGE, done = 0, i, j;

	want = malloc(size);
	ASSERT_LE(20 * PAGE + m->info.max_copy, size);
	ASSERT_LE(m->info.max_copy, 20 * PAGE);
	for (i = 0; i < ARRAY_SIZE(copies); i++) {
		/*
		 * QEMU's virtio-iommu looks for what translates [iova, iova + 1],
		 * for the last byte of a page also the next page's mapping.
		 */
		if (virtio && copies[i].src % PAGE == PAGE - 1)
			continue;
		for (j = 0; j < PAGES; j++)
			fill(at(env, j), i * 64 + j);
		memcpy(want, env->mem, size);
		memcpy(want + copies[i].dst, env->mem + copies[i].src, copies[i].len);
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE,
			  mdma_copy(m, m->info.iova_start + copies[i].src,
				    m->info.iova_start + copies[i].dst,
				    copies[i].len));
		/* these bytes, and no other */
		for (j = 0; j < size && want[j] == env->mem[j]; j++)
			;
		EXPECT_EQ(size, j)
			TH_LOG("copy %zu: at %zu of page %zu", i, j % PAGE, j / PAGE);
		EXPECT_EQ(++done, get(m, VFIO_MDMA_REG_DONE));
	}
	free(want);
}

TEST_F(engine, busy)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	__u64 base = iova_of(m, 0);

	fill(at(env, 0), 0);
	ASSERT_EQ(0, grow(env->fd, 1, 1));
	ASSERT_EQ(0, mdma_start(m, base, base + PAGE, PAGE));
	/* the engine takes 100 ms for each of four transfers */
	EXPECT_EQ(VFIO_MDMA_STATUS_BUSY, mdma_status(m));
	EXPECT_EQ(-EBUSY, set(m, VFIO_MDMA_REG_SRC, base));
	EXPECT_EQ(-EBUSY, set(m, VFIO_MDMA_REG_DST, base));
	EXPECT_EQ(-EBUSY, set(m, VFIO_MDMA_REG_LEN, 1));
	EXPECT_EQ(-EBUSY, set(m, VFIO_MDMA_REG_CTRL, VFIO_MDMA_CTRL_START));
	EXPECT_EQ(base, get(m, VFIO_MDMA_REG_SRC));
	EXPECT_EQ(PAGE, get(m, VFIO_MDMA_REG_LEN));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DONE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_wait(m));
	EXPECT_EQ(1, get(m, VFIO_MDMA_REG_DONE));
	EXPECT_TRUE(filled(at(env, 1), 0));
}

static int set_eventfd(struct mdma *m, int fd)
{
	char buf[sizeof(struct vfio_irq_set) + sizeof(__s32)] = {};
	struct vfio_irq_set *irq = (void *)buf;
	__s32 fd32 = fd;

	irq->argsz = sizeof(buf);
	irq->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	irq->index = VFIO_MDMA_IRQ_INDEX;
	irq->count = 1;
	memcpy(irq->data, &fd32, sizeof(fd32));
	return ioctl(m->fd, VFIO_DEVICE_SET_IRQS, irq) ? -errno : 0;
}

static int set_irqs(struct mdma *m, __u32 flags, __u32 index, __u32 start, __u32 count)
{
	struct vfio_irq_set irq = {
		.argsz = sizeof(irq),
		.flags = flags,
		.index = index,
		.start = start,
		.count = count,
	};

	return ioctl(m->fd, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : 0;
}

static int set_bools(struct mdma *m, __u32 count, __u8 value)
{
	char buf[sizeof(struct vfio_irq_set) + sizeof(value)] = {};
	struct vfio_irq_set *irq = (void *)buf;

	irq->argsz = sizeof(buf);
	irq->flags = VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER;
	irq->index = VFIO_MDMA_IRQ_INDEX;
	irq->count = count;
	irq->data[0] = value;
	return ioctl(m->fd, VFIO_DEVICE_SET_IRQS, irq) ? -errno : 0;
}

TEST_F(engine, eventfd)
{
	const __u32 none = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	struct pollfd poll_fd;
	eventfd_t count;
	int fd;

	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_LE(0, fd);
	poll_fd = (struct pollfd){ .fd = fd, .events = POLLIN };
	ASSERT_EQ(0, grow(env->fd, 0, 2));

	EXPECT_EQ(-EINVAL, set_eventfd(m, env->fd));
	EXPECT_EQ(-EBADF, set_eventfd(m, 1000));
	EXPECT_EQ(-EINVAL, set_irqs(m, none, 1, 0, 1));
	EXPECT_EQ(-EINVAL, set_irqs(m, none, 0, 1, 1));
	EXPECT_EQ(-EINVAL, set_irqs(m, none, 0, 0, 2));
	EXPECT_EQ(-EINVAL, set_irqs(m, 0, 0, 0, 1));
	/* nothing to signal yet */
	EXPECT_EQ(-EINVAL, set_irqs(m, none, 0, 0, 1));
	EXPECT_EQ(-EINVAL, set_bools(m, 1, 1));

	ASSERT_EQ(0, set_eventfd(m, fd));
	EXPECT_EQ(0, set_irqs(m, none, 0, 0, 1));
	EXPECT_EQ(0, eventfd_read(fd, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(0, set_bools(m, 1, 1));
	EXPECT_EQ(0, eventfd_read(fd, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(0, set_bools(m, 1, 0));
	EXPECT_EQ(-EINVAL, set_bools(m, 0, 1));
	EXPECT_EQ(EAGAIN, errno_of(eventfd_read(fd, &count)));

	/* one for each end, a fault's as well; and by then the status is there */
	ASSERT_EQ(0, mdma_start(m, iova_of(m, 0), iova_of(m, 1), 64));
	EXPECT_EQ(1, poll(&poll_fd, 1, MDMA_TIMEOUT * 1000));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_status(m));
	EXPECT_EQ(0, eventfd_read(fd, &count));
	EXPECT_EQ(1, count);
	ASSERT_EQ(0, mdma_start(m, iova_of(m, 9), iova_of(m, 1), 64));
	EXPECT_EQ(1, poll(&poll_fd, 1, MDMA_TIMEOUT * 1000));
	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, mdma_status(m));
	EXPECT_EQ(0, eventfd_read(fd, &count));
	EXPECT_EQ(1, count);

	/* and none when it is taken away, by either way of saying so */
	EXPECT_EQ(0, set_irqs(m, none, 0, 0, 0));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, 64));
	ASSERT_EQ(0, set_eventfd(m, fd));
	EXPECT_EQ(0, set_eventfd(m, -1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, 64));
	EXPECT_EQ(EAGAIN, errno_of(eventfd_read(fd, &count)));
	close(fd);
}

/* The device reports a fault, and so does the IOMMU. */
static void copy_faults(struct __test_metadata *_metadata, struct mdma *m, __u64 from,
			__u64 to, size_t len)
{
	long faults = mdma_iommu_faults();

	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, mdma_copy(m, from, to, len));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
}

TEST_F(engine, fault)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	int i;

	for (i = 0; i < 4; i++)
		fill(at(env, i), i);
	/* from a hole, to a hole, and with a hole in the second page */
	copy_faults(_metadata, m, iova_of(m, 10), iova_of(m, 0), 64);
	copy_faults(_metadata, m, iova_of(m, 0), iova_of(m, 10), 64);
	copy_faults(_metadata, m, iova_of(m, 4) - 8, iova_of(m, 2), 16);
	copy_faults(_metadata, m, iova_of(m, 0), iova_of(m, 4) - 8, 16);
	/* or where no file is mapped */
	copy_faults(_metadata, m, iova_of(m, PAGES), iova_of(m, 0), 64);
	EXPECT_EQ(5, get(m, VFIO_MDMA_REG_DONE));
	/* a fault brings no page, and does no harm but in what it should write */
	EXPECT_EQ(4, allocated(env->fd));
	EXPECT_TRUE(filled(at(env, 1), 1));

	/* the next copy is as if nothing had been */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 1, 3, PAGE));
	EXPECT_TRUE(filled(at(env, 3), 1));
}

/* Two instances at once: each gets its turn, faults or not. */
TEST_F(engine, two_at_once)
{
	struct mdma *a = &self->env.dev[0], *b = &self->env.dev[1];
	struct test_env *env = &self->env;
	int i;

	for (i = 0; i < 4; i++)
		fill(at(env, i), i);
	ASSERT_EQ(0, grow(env->fd, 4, 40));
	/* a long one does not keep the other waiting until its end */
	ASSERT_EQ(0, mdma_start(a, iova_of(a, 4), iova_of(a, 24), a->info.max_copy));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 1, 0, 2, PAGE));
	EXPECT_EQ(VFIO_MDMA_STATUS_BUSY, mdma_status(a));
	EXPECT_TRUE(filled(at(env, 2), 0));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_wait(a));

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, mdma_start(a, iova_of(a, 50), iova_of(a, 4), 128));
		fill(at(env, 3), 3 + i);
		ASSERT_EQ(0, mdma_start(b, iova_of(b, 3), iova_of(b, 1), 128));
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, mdma_wait(b));
		EXPECT_EQ(0, memcmp(at(env, 1), at(env, 3), 128));
		mdma_expect_iommu_faults();
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, mdma_wait(a));
	}
}

/* The page is taken away while the engine is at it. */
TEST_F(engine, punched_meanwhile)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	int round;

	for (round = 0; round < 3; round++) {
		fill(at(env, 0), 0);
		ASSERT_EQ(0, grow(env->fd, 0, 40));
		/* the first transfer is one of many: not all are over by then */
		ASSERT_EQ(0, mdma_start(m, iova_of(m, 0), iova_of(m, 20), 8 * PAGE));
		switch (round) {
		case 0:
			ASSERT_EQ(0, punch(env->fd, 0, 20));
			break;
		case 1:
			ASSERT_EQ(0, punch(env->fd, 20, 20));
			break;
		case 2:
			ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(m));
			break;
		}
		mdma_expect_iommu_faults();
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, mdma_wait(m));
		if (round == 2)
			ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	}
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, 64));
}

/*
 * The page is taken away, and another put in its place, at some time in the one
 * transfer that reads it. If the copy is said to be done, it is one of the two.
 */
TEST_F(engine, replaced_meanwhile)
{
	struct timespec delay = { };
	struct test_env *env = &self->env;
	unsigned char got[64];
	int status, round;

	ASSERT_EQ(0, grow(env->fd, 1, 1));
	for (round = 0; round < 8; round++) {
		memset(at(env, 0), 0x11, PAGE);
		memset(at(env, 1), 0x33, PAGE);
		ASSERT_EQ(0, mdma_start(&env->dev[0], iova_of(&env->dev[0], 0),
					iova_of(&env->dev[0], 1), sizeof(got)));
		/* a transfer takes 100 ms; whatever it meets, it must be honest */
		delay.tv_nsec = round * 20 * 1000 * 1000;
		nanosleep(&delay, NULL);
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		if (round % 2)
			memset(at(env, 0), 0x22, PAGE);
		status = mdma_wait(&env->dev[0]);
		memcpy(got, at(env, 1), sizeof(got));
		if (status == VFIO_MDMA_STATUS_DONE) {
			EXPECT_TRUE(all(got, sizeof(got), 0x11) ||
				    (round % 2 && all(got, sizeof(got), 0x22)))
				TH_LOG("round %d: got 0x%02x", round, got[0]);
		} else {
			mdma_expect_iommu_faults();
			EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, status);
		}
	}
}

/*
 * The pages that a copy goes to are taken away while it runs, and given to others
 * at once, at other IOVAs. Nothing of it lands there. (Nor in free memory: that is
 * poisoned, and the kernel would complain.)
 */
TEST_F(engine, reused_meanwhile)
{
	const size_t pages = 8, to = 20, next = 40, room = 20;
	struct mdma *m = &self->env.dev[0];
	struct timespec delay = { };
	size_t i, j, reused = 0, round;
	struct test_env *env = &self->env;
	__u64 old[pages], new;

	ASSERT_EQ(0, grow(env->fd, 0, pages));
	for (i = 0; i < pages; i++)
		fill(at(env, i), i);
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, grow(env->fd, to, pages));
		for (i = 0; i < pages; i++)
			old[i] = pfn_of(at(env, to + i));
		ASSERT_EQ(0, mdma_start(m, iova_of(m, 0), iova_of(m, to), pages * PAGE));
		/* within the first transfer, or not: one takes 100 ms */
		delay.tv_nsec = round * 45 * 1000 * 1000;
		nanosleep(&delay, NULL);
		ASSERT_EQ(0, punch(env->fd, to, pages));
		ASSERT_EQ(0, grow(env->fd, next, room));
		for (i = 0; i < room; i++) {
			fill(at(env, next + i), 100 + i);
			new = pfn_of(at(env, next + i));
			for (j = 0; j < pages; j++)
				reused += new == old[j];
		}
		mdma_expect_iommu_faults();
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, mdma_wait(m));
		for (i = 0; i < room; i++)
			EXPECT_TRUE(filled(at(env, next + i), 100 + i));
		ASSERT_EQ(0, punch(env->fd, next, room));
	}
	note("%zu of %zu pages were in use again", reused, 4 * pages);
	EXPECT_LT(0, reused);
}

TEST_F(engine, reset)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, mdma_start(m, iova_of(m, 0), iova_of(m, 20), m->info.max_copy));
	EXPECT_EQ(0, ioctl(m->fd, VFIO_DEVICE_RESET));
	EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, mdma_status(m));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_SRC));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DST));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_LEN));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DONE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, 64));
	EXPECT_EQ(1, get(m, VFIO_MDMA_REG_DONE));
}

/* Closed in the middle of a copy; the next open finds it as new. */
TEST_F(engine, close_meanwhile)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	struct vfio_mdma_query q;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	fill(at(env, 0), 0);
	ASSERT_EQ(0, mdma_start(m, iova_of(m, 0), iova_of(m, 20), m->info.max_copy));
	mdma_close(m);
	EXPECT_EQ(1, consumers_of(env->fd));
	memset(at(env, 20), 0x77, 20 * PAGE);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 1, 0, 1, 64));
	EXPECT_EQ(0, memcmp(at(env, 0), at(env, 1), 64));
	EXPECT_TRUE(all(at(env, 20), 20 * PAGE, 0x77));

	ASSERT_EQ(0, variant->open(m));
	EXPECT_EQ(VFIO_MDMA_STATUS_IDLE, mdma_status(m));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_DONE));
	EXPECT_EQ(0, get(m, VFIO_MDMA_REG_SRC));
	EXPECT_EQ(-ENOENT, mdma_query(m, 0, 0, &q));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 2, 64));
}

TEST_HARNESS_MAIN
