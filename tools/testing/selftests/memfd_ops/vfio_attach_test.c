// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that join and leave a space in which a memfd is followed: when there is
 * no memory for it, when they have a page table of their own beside another
 * device's, and in the middle of a call that maps. QEMU's edu is behind whatever
 * IOMMU there is, the device in software behind another one.
 */
#include <pthread.h>
#include <sched.h>

#include <linux/userfaultfd.h>

#include <memfd_ops/vfio.h>

#include "lib/edu.h"
#include "lib/fail.h"
#include "lib/soft_device.h"
#include "lib/test_env.h"
#include "../kselftest_harness.h"

#define GIB	(1024UL << 20)
#define BASE	(4 * GIB)	/* the IOVA of the file's first page */
#define SIDE	(2 * GIB)	/* that of memory which is mapped by address */
#define PAGES	8		/* of the file, mapped as two halves */
#define NEVER	1000		/* no call has that many allocations */

struct yard {
	struct test_env env;		/* the memfd, without the rig's devices */
	struct space s;
	struct vdev edu, nvme, dma, pin;
	unsigned char *side;	/* one page */
	int fail;		/* fail_nth()'s */
	char unsafe;
	struct vdev *asked;	/* whose table is looked at by sweep() */
	__u32 table;		/* of dirty tracking */
};

static __u64 iova(size_t page)
{
	return BASE + page * PAGE;
}

/* After the last test: who drove the devices before us does so again. */
static void __attribute__((destructor)) give_back(void)
{
	char address[32];

	if (!pci_find(EDU_ALIAS, address, sizeof(address)))
		pci_give_back(address);
	if (!pci_find(NVME_ALIAS, address, sizeof(address)))
		pci_give_back(address);
}

static int yard_setup(struct yard *y, enum way way)
{
	int ret;

	memset(y, 0, sizeof(*y));
	y->edu = (struct vdev)VDEV_INIT;
	y->nvme = (struct vdev)VDEV_INIT;
	y->dma = (struct vdev)VDEV_SOFT(DEVICE_DMA);
	y->pin = (struct vdev)VDEV_SOFT(DEVICE_PIN);
	y->s.fd = -1;
	y->fail = -1;
	ret = env_setup_memory(&y->env, PAGES);
	if (ret)
		return ret;
	y->side = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (y->side == MAP_FAILED)
		return -errno;
	y->fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (y->fail < 0)
		return -errno;
	ret = allow_unsafe_interrupts(&y->unsafe);
	if (!ret)
		ret = pci_find(EDU_ALIAS, y->edu.address, sizeof(y->edu.address));
	if (!ret)
		ret = pci_find(NVME_ALIAS, y->nvme.address, sizeof(y->nvme.address));
	if (ret)
		return ret;
	/* an instance that is open would have the unbinding wait */
	mdma_remove_stale();
	ret = pci_take(y->edu.address);
	if (!ret)
		ret = pci_take(y->nvme.address);
	return ret ? ret : space_open(&y->s, way);
}

static void yard_teardown(struct yard *y)
{
	fail_anything("1");
	vdev_close(&y->edu);
	vdev_close(&y->nvme);
	vdev_close(&y->dma);
	vdev_close(&y->pin);
	close_fd(&y->s.fd);
	close_fd(&y->fail);
	if (y->side && y->side != MAP_FAILED)
		munmap(y->side, PAGE);
	unsafe_interrupts_as_before(y->unsafe);
	env_teardown(&y->env);
}

/* The file, half by half. */
static int map_halves(struct yard *y)
{
	const size_t half = PAGES / 2;
	int ret;

	ret = space_map(&y->s, y->env.fd, 0, iova(0), half * PAGE, DMA_RW);
	return ret ? ret : space_map(&y->s, y->env.fd, half * PAGE, iova(half), half * PAGE,
				     DMA_RW);
}

static int map_side(struct yard *y)
{
	return space_map_address(&y->s, y->side, SIDE, PAGE);
}

static bool is_soft(struct vdev *d)
{
	return !strcmp(d->bus, PLATFORM_DEVICES);
}

/* Ready to do DMA, after it has been opened. */
static int start(struct vdev *d)
{
	return is_soft(d) ? 0 : edu_start(d);
}

/* Have the device copy LEN bytes of the file's page @from to its page @to. */
static int copies(struct vdev *d, size_t from, size_t to)
{
	unsigned char data[LEN];
	int ret;

	if (is_soft(d)) {
		ret = soft_read(d, iova(from), data, LEN);
		return ret ? ret : soft_write(d, iova(to), data, LEN);
	}
	ret = edu_dma(d, iova(from), LEN, false);
	return ret ? ret : edu_dma(d, iova(to), LEN, true);
}

/*
 * Does the device follow the file? It copies pages that are there, in each half,
 * and nothing to where there was one, and does again when there is another.
 */
static bool follows(struct yard *y, struct vdev *d, unsigned int seed)
{
	const size_t to = PAGES - 1;
	struct test_env *env = &y->env;

	fill(at(env, 0), seed);
	if (grow(env->fd, to, 1) || copies(d, 0, to) || memcmp(at(env, 0), at(env, to), LEN)) {
		note("%s does not reach what is there", d->address);
		return false;
	}
	if (punch(env->fd, to, 1) || copies(d, 0, to) != (is_soft(d) ? -EFAULT : 0) ||
	    in_core(at(env, to))) {
		note("%s reaches what is not there any more", d->address);
		return false;
	}
	if (grow(env->fd, to, 1) || !all(at(env, to), PAGE, 0) || copies(d, 0, to) ||
	    memcmp(at(env, 0), at(env, to), LEN)) {
		note("%s does not reach what has come", d->address);
		return false;
	}
	return true;
}

/* As far as the table can be seen: it has these pages of the file, or none. */
static bool table_has(struct yard *y, struct vdev *d, long want)
{
	long got = is_soft(d) ? -ENOENT : vdev_reaches(d, iova(0), PAGES, y->env.mem);

	if (got != -ENOENT && got != want)
		note("%s: the table has %ld pages rather than %ld", d->address, got, want);
	return got == -ENOENT || got == want;
}

/*
 * What is asked of a space that follows the file, with each allocation failing once:
 * @act, after @before, then says ENOMEM; otherwise it says @says. What it leaves, by
 * what it has said, @fine knows. Returns how many failures were heard.
 */
static int sweep(struct __test_metadata *_metadata, struct yard *y, const char *what,
		 int (*before)(struct yard *y), int (*act)(struct yard *y), int says,
		 bool (*fine)(struct yard *y, int ret))
{
	int nth, left, ret, heard = 0;

	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, NEVER);
		ASSERT_EQ(0, before(y)) TH_LOG("%s: to begin with", what);
		ASSERT_EQ(nth, fail_nth(y->fail, nth));
		ret = act(y);
		left = fail_nth(y->fail, 0);
		ASSERT_LE(0, left);
		if (ret != says) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_TRUE(fine(y, ret)) TH_LOG("%s: failure %d", what, nth);
			heard++;
			ret = act(y);
			EXPECT_EQ(says, ret) TH_LOG("%s: after failure %d", what, nth);
		}
		EXPECT_TRUE(fine(y, ret)) TH_LOG("%s: failure %d", what, nth);
	}
	note("%s: %d of %d allocations that failed were heard", what, heard, nth - 2);
	fail_anything("1");
	return heard;
}

#define SWEEP(before, act, says, fine) \
	sweep(_metadata, &self->y, #act, before, act, says, fine)

/* As many pages are pinned as the file has there, in however many tables they are. */
static bool all_is_there(struct yard *y, int consumers)
{
	long pages = consumers ? PAGES - 2 : 0;

	return consumers_of(y->env.fd) == consumers && table_has(y, y->asked, pages) &&
	       pinned() == pages;
}

static int set_container(struct yard *y, struct vdev *d)
{
	return ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &y->s.fd) ? -errno : 0;
}

static int unset_container(struct vdev *d)
{
	return ioctl(d->group, VFIO_GROUP_UNSET_CONTAINER) ? -errno : 0;
}

FIXTURE(join)
{
	struct yard y;
	struct vdev *dev;
};

FIXTURE_VARIANT(join)
{
	bool soft;
};

FIXTURE_VARIANT_ADD(join, edu) { false };
/* its IOMMU wants the last step of all: a place for MSIs */
FIXTURE_VARIANT_ADD(join, soft) { true };

FIXTURE_SETUP(join)
{
	ASSERT_EQ(0, yard_setup(&self->y, TYPE1));
	self->dev = variant->soft ? &self->y.dma : &self->y.edu;
	/* the container has its mappings as long as there is a device, any device */
	ASSERT_EQ(0, vdev_open(&self->y.s, &self->y.pin));
	ASSERT_EQ(0, map_halves(&self->y));
	ASSERT_EQ(0, grow(self->y.env.fd, 0, PAGES));
	ASSERT_EQ(0, punch(self->y.env.fd, 3, 2));
}

FIXTURE_TEARDOWN(join)
{
	yard_teardown(&self->y);
}

/*
 * Whichever allocation fails, a group that cannot be attached leaves nothing
 * behind, and can be attached then. Without anything by address: that type1 takes
 * for mapped from then on, although the step for MSIs has failed.
 */
TEST_F_TIMEOUT(join, no_memory, 240)
{
	struct yard *y = &self->y;
	struct vdev *d = self->dev;
	int round, nth, left, ret, failed;
	struct test_env *env = &y->env;

	ASSERT_EQ(0, vdev_open_group(d));
	fail_anything("0");
	/* first pages as well; then the last object of all is not missed */
	for (round = 0; round < 3; round++) {
		for (nth = 1, left = 0, failed = 0; !left; nth++) {
			ASSERT_LT(nth, NEVER);
			ASSERT_EQ(nth, fail_nth(y->fail, nth));
			ret = set_container(y, d);
			left = fail_nth(y->fail, 0);
			ASSERT_LE(0, left);
			if (ret) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				/* or else a hole would reach for a domain that is gone */
				ASSERT_EQ(0, consumers_of(env->fd)) TH_LOG("the %dth", nth);
				EXPECT_TRUE(table_has(y, d, 0));
				failed++;
				ASSERT_EQ(0, set_container(y, d));
			}
			EXPECT_EQ(2, consumers_of(env->fd));
			EXPECT_TRUE(table_has(y, d, PAGES - 2));
			ASSERT_EQ(0, unset_container(d));
			EXPECT_EQ(0, consumers_of(env->fd));
		}
		note("%d of %d allocations that failed were heard", failed, nth - 2);
		EXPECT_LT(0, failed);
		fail_objects_alone();
	}

	ASSERT_EQ(0, set_container(y, d));
	ASSERT_EQ(0, vdev_get(d));
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(y, d, 1));
}

static int start_tracking(struct yard *y)
{
	return space_track_dirty(&y->s, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static int stop_tracking(struct yard *y)
{
	return space_track_dirty(&y->s, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

/* All of the range is dirty, holes too, or else this fails. */
static int get_dirty(struct yard *y)
{
	__u64 bits;
	int ret = space_dirty_pages(&y->s, iova(0), PAGES, &bits);

	return ret ? ret : bits == (1 << PAGES) - 1 ? 0 : -EPROTO;
}

/* It is tracked, or it is not; and the table is the file's in any case. */
static bool is_tracked(struct yard *y, int ret)
{
	return all_is_there(y, 2) && get_dirty(y) == (ret ? -EINVAL : 0);
}

static bool is_untracked(struct yard *y, int ret)
{
	return is_tracked(y, -EINVAL);
}

static int map_second_half(struct yard *y)
{
	return space_map(&y->s, y->env.fd, PAGES / 2 * PAGE, iova(PAGES / 2),
			 PAGES / 2 * PAGE, DMA_RW);
}

static int tracked_by_half(struct yard *y)
{
	__s64 ret;

	ret = space_unmap(&y->s, iova(PAGES / 2), PAGES / 2 * PAGE);
	return ret < 0 ? ret : stop_tracking(y) ?: start_tracking(y);
}

/* What has no bitmap is not mapped, either. */
static bool half_is_tracked(struct yard *y, int ret)
{
	return ret ? consumers_of(y->env.fd) == 1 && table_has(y, y->asked, 3) &&
		     pinned() == 3 :
		     is_tracked(y, 0);
}

TEST_F_TIMEOUT(join, no_memory_to_track_dirty_pages, 240)
{
	struct yard *y = &self->y;

	y->asked = self->dev;
	ASSERT_EQ(0, vdev_open_group(y->asked));
	ASSERT_EQ(0, set_container(y, y->asked));
	EXPECT_LT(0, SWEEP(stop_tracking, start_tracking, 0, is_tracked));
	EXPECT_EQ(0, SWEEP(stop_tracking, get_dirty, -EINVAL, is_untracked));
	EXPECT_LT(0, SWEEP(tracked_by_half, map_second_half, 0, half_is_tracked));
	EXPECT_EQ(0, SWEEP(start_tracking, stop_tracking, 0, is_untracked));
}

/* By its name: dmar for VT-d, ivhd for AMD's; virtio-iommu has that of its device. */
static bool iommu_is(struct vdev *d, const char *name)
{
	char iommu[64];

	return !device_link(d->bus, d->address, "iommu", iommu, sizeof(iommu)) &&
	       !strncmp(iommu, name, strlen(name));
}

/*
 * type1 gives a group the domain of another group if it can, and one of its own if
 * it cannot: here because the memory for that fails, anywhere on the way. Then
 * there are two domains, both follow, and each does so without the other.
 *
 * AMD's needs no memory to attach, so that it is shared whatever fails. virtio-iommu
 * needs some even to detach, which the core warns of: there nothing fails.
 */
TEST_F_TIMEOUT(join, domain_of_its_own, 600)
{
	struct yard *y = &self->y;
	struct vdev *d = self->dev;
	const bool own_one = is_soft(d) || iommu_is(d, "dmar");
	const bool fails = own_one || iommu_is(d, "ivhd");
	int nth, left, ret, shared = 0, own = 0, failed = 0, round = 0;
	struct test_env *env = &y->env;

	ASSERT_EQ(0, map_side(y));
	ASSERT_EQ(0, vdev_join(&y->s, &y->nvme));
	ASSERT_EQ(2, consumers_of(env->fd));
	ASSERT_EQ(0, vdev_open_group(d));
	fail_anything("0");
	for (nth = fails ? 1 : NEVER, left = 0;
	     !left || (!(own_one ? own : shared) && ++round < 3); nth++) {
		ASSERT_LE(nth, NEVER);
		/* a slab that needs a page may have hidden what matters: once more */
		if (left) {
			fail_objects_alone();
			nth = 1;
		}
		ASSERT_EQ(nth, fail_nth(y->fail, nth));
		ret = set_container(y, d);
		left = fail_nth(y->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(2, consumers_of(env->fd));
			EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
			EXPECT_TRUE(table_has(y, d, 0));
			failed++;
			continue;
		}
		ret = consumers_of(env->fd);
		ASSERT_TRUE(ret == 2 || ret == 4);
		if (ret == 2)
			shared++;
		else
			own++;
		/* the DMA of edu takes its time */
		if (ret == 4 ? own <= 2 : !left) {
			EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
			EXPECT_TRUE(table_has(y, d, PAGES - 2));
			ASSERT_EQ(0, vdev_get(d));
			ASSERT_EQ(0, start(d));
			EXPECT_TRUE(follows(y, d, nth));
			EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
			if (own == 1) {
				/* the other one goes first, and comes again */
				ASSERT_EQ(0, unset_container(&y->nvme));
				EXPECT_EQ(2, consumers_of(env->fd));
				EXPECT_TRUE(follows(y, d, nth + 1));
				ASSERT_EQ(0, punch(env->fd, 0, 1));
				ASSERT_EQ(0, set_container(y, &y->nvme));
				EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 3));
				ASSERT_EQ(0, grow(env->fd, 0, 1));
			}
			EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
			vdev_close(d);
			ASSERT_EQ(0, vdev_open_group(d));
		} else {
			ASSERT_EQ(0, unset_container(d));
		}
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 3));
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		EXPECT_TRUE(table_has(y, &y->nvme, PAGES - 2));
	}
	note("shared in %d cases, of its own in %d, %d failed", shared, own, failed);
	EXPECT_LT(0, own_one ? own : shared);
}

FIXTURE(attach)
{
	struct yard y;
	struct vdev *dev;
};

FIXTURE_VARIANT(attach)
{
	enum way way;
	bool soft;
};

FIXTURE_VARIANT_ADD(attach, cdev_edu) { IOMMUFD, false };
FIXTURE_VARIANT_ADD(attach, cdev_soft) { IOMMUFD, true };
/* by group edu's memory would have to do for ACPI as well, which cannot stand it */
FIXTURE_VARIANT_ADD(attach, group_soft) { IOMMUFD_GROUP, true };

FIXTURE_SETUP(attach)
{
	struct yard *y = &self->y;

	ASSERT_EQ(0, yard_setup(y, variant->way));
	self->dev = variant->soft ? &y->dma : &y->edu;
	ASSERT_EQ(0, variant->way == IOMMUFD ? vdev_bind(&y->s, self->dev) :
						vdev_join(&y->s, self->dev));
	ASSERT_EQ(0, grow(y->env.fd, 0, PAGES));
	ASSERT_EQ(0, punch(y->env.fd, 3, 2));
}

FIXTURE_TEARDOWN(attach)
{
	yard_teardown(&self->y);
}

/* What attaches: to the IOAS, by the call that the way has for it. */
static int attach(struct yard *y, struct vdev *d)
{
	return y->s.way == IOMMUFD ? vdev_attach(d, y->s.ioas) : vdev_get(d);
}

static int detach(struct yard *y, struct vdev *d)
{
	if (y->s.way == IOMMUFD)
		return vdev_detach(d);
	close_fd(&d->fd);
	return 0;
}

TEST_F_TIMEOUT(attach, no_memory, 240)
{
	struct yard *y = &self->y;
	struct vdev *d = self->dev;
	int nth, left, ret, failed = 0;
	struct test_env *env = &y->env;

	ASSERT_EQ(0, map_side(y));
	ASSERT_EQ(0, map_halves(y));
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, NEVER);
		ASSERT_EQ(nth, fail_nth(y->fail, nth));
		ret = attach(y, d);
		left = fail_nth(y->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(env->fd)) TH_LOG("allocation %d", nth);
			EXPECT_TRUE(table_has(y, d, 0));
			ASSERT_EQ(0, punch(env->fd, 0, 1));
			ASSERT_EQ(0, grow(env->fd, 0, 1));
			failed++;
			ASSERT_EQ(0, attach(y, d));
		}
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(table_has(y, d, PAGES - 2));
		ASSERT_EQ(0, detach(y, d));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	note("%d of %d allocations that failed were heard", failed, nth - 2);
	EXPECT_LT(0, failed);

	ASSERT_EQ(0, attach(y, d));
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(y, d, 1));
}

static int hwpt_alloc(struct yard *y, struct vdev *d, __u32 flags, __u32 *id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = d->id,
		.pt_id = y->s.ioas,
	};

	if (ioctl(y->s.fd, IOMMU_HWPT_ALLOC, &alloc))
		return -errno;
	*id = alloc.out_hwpt_id;
	return 0;
}

static int destroy(struct yard *y, __u32 id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return ioctl(y->s.fd, IOMMU_DESTROY, &destroy) ? -errno : 0;
}

FIXTURE(table)
{
	struct yard y;
	struct vdev *dev;
};

FIXTURE_VARIANT(table)
{
	bool soft;
};

FIXTURE_VARIANT_ADD(table, edu) { false };
FIXTURE_VARIANT_ADD(table, soft) { true };

FIXTURE_SETUP(table)
{
	struct yard *y = &self->y;

	ASSERT_EQ(0, yard_setup(y, IOMMUFD));
	self->dev = variant->soft ? &y->dma : &y->edu;
	ASSERT_EQ(0, vdev_bind(&y->s, self->dev));
	ASSERT_EQ(0, grow(y->env.fd, 0, PAGES));
	ASSERT_EQ(0, punch(y->env.fd, 3, 2));
	ASSERT_EQ(0, map_side(y));
	ASSERT_EQ(0, map_halves(y));
}

FIXTURE_TEARDOWN(table)
{
	yard_teardown(&self->y);
}

/* See vfio.c; what needs a table that is filled before it is attached. */
#define CANNOT_REPLACE	"this IOMMU cannot replace a table that is not empty"

static bool can_fill_before_attach(struct yard *y, struct vdev *d)
{
	__u32 id;
	int ret;

	ret = hwpt_alloc(y, d, 0, &id);
	if (!ret)
		destroy(y, id);
	return ret != -EADDRINUSE;
}

/* A table of one's own: made, and put in the place of the other one. */
TEST_F_TIMEOUT(table, no_memory, 240)
{
	struct yard *y = &self->y;
	struct vdev *d = self->dev;
	int nth, left, ret, step, failed;
	struct test_env *env = &y->env;
	__u32 id = 0;

	if (!can_fill_before_attach(y, d))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, vdev_attach(d, y->s.ioas));
	fail_anything("0");
	for (step = 0; step < 2; step++) {
		for (nth = 1, left = 0, failed = 0; !left; nth++) {
			ASSERT_LT(nth, NEVER);
			if (step)
				ASSERT_EQ(0, hwpt_alloc(y, d, 0, &id));
			ASSERT_EQ(nth, fail_nth(y->fail, nth));
			ret = step ? vdev_attach(d, id) : hwpt_alloc(y, d, 0, &id);
			left = fail_nth(y->fail, 0);
			ASSERT_LE(0, left);
			EXPECT_TRUE(table_has(y, d, PAGES - 2));
			if (ret) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				EXPECT_EQ(step ? 4 : 2, consumers_of(env->fd));
				failed++;
				ASSERT_EQ(0, step ? vdev_attach(d, id) :
						    hwpt_alloc(y, d, 0, &id));
			}
			/* in its place, the one that was made to attach is gone */
			EXPECT_EQ(step ? 2 : 4, consumers_of(env->fd));
			EXPECT_TRUE(table_has(y, d, PAGES - 2));
			if (step)
				ASSERT_EQ(0, vdev_attach(d, y->s.ioas));
			EXPECT_EQ(0, destroy(y, id));
			EXPECT_EQ(2, consumers_of(env->fd));
		}
		note("%s: %d of %d allocations that failed were heard",
		     step ? "put in its place" : "made", failed, nth - 2);
		EXPECT_LT(0, failed);
	}
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(y, d, 1));
}

/* Two pages: the one before the file's, which is mapped by address, and its first */
static int copy_area(struct yard *y)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = ioas_flags(DMA_RW),
		.dst_ioas_id = y->s.ioas,
		.src_ioas_id = y->s.ioas,
		.length = 2 * PAGE,
		.dst_iova = SIDE + GIB,
		.src_iova = iova(0) - PAGE,
	};

	return ioctl(y->s.fd, IOMMU_IOAS_COPY, &copy) ? -errno : 0;
}

static int nothing(struct yard *y)
{
	return 0;
}

/* The file is followed as before; and where the copy would have been is free. */
static bool is_not_copied(struct yard *y, int ret)
{
	if (consumers_of(y->env.fd) != 2 || !table_has(y, y->asked, PAGES - 2))
		return false;
	return !space_map_address(&y->s, y->side, SIDE + GIB, PAGE) &&
	       !space_map_address(&y->s, y->side, SIDE + GIB + PAGE, PAGE) &&
	       space_unmap(&y->s, SIDE + GIB, 2 * PAGE) == 2 * PAGE;
}

/* That pages which follow cannot be copied is also said without memory, or ENOMEM. */
TEST_F_TIMEOUT(table, no_memory_to_refuse_a_copy, 240)
{
	struct yard *y = &self->y;

	y->asked = self->dev;
	ASSERT_EQ(0, vdev_attach(y->asked, y->s.ioas));
	ASSERT_EQ(0, space_map_address(&y->s, y->side, iova(0) - PAGE, PAGE));
	EXPECT_LT(0, SWEEP(nothing, copy_area, -EOPNOTSUPP, is_not_copied));
}

/*
 * Two devices that cannot have the same table
 */

FIXTURE(two)
{
	struct yard y;
};

FIXTURE_VARIANT(two)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(two, type1) { TYPE1 };
FIXTURE_VARIANT_ADD(two, iommufd) { IOMMUFD };
FIXTURE_VARIANT_ADD(two, iommufd_group) { IOMMUFD_GROUP };

FIXTURE_SETUP(two)
{
	ASSERT_EQ(0, yard_setup(&self->y, variant->way));
}

FIXTURE_TEARDOWN(two)
{
	yard_teardown(&self->y);
}

/* Both follow, and whichever goes, the other one does not notice. */
TEST_F_TIMEOUT(two, iommus, 240)
{
	struct yard *y = &self->y;
	struct vdev *const d[] = { &y->edu, &y->dma };
	struct test_env *env = &y->env;
	int first, i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, vdev_open(&y->s, d[i]));
	ASSERT_EQ(0, start(&y->edu));
	ASSERT_EQ(0, map_side(y));
	ASSERT_EQ(0, map_halves(y));
	EXPECT_EQ(4, consumers_of(env->fd));
	for (first = 0; first < 2; first++) {
		for (i = 0; i < 2; i++)
			EXPECT_TRUE(follows(y, d[i], 10 * first + i));
		vdev_close(d[first]);
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(follows(y, d[!first], 30 + first));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		fill(at(env, 1), 40);

		/* one that joins late has what came meanwhile */
		ASSERT_EQ(0, vdev_open(&y->s, d[first]));
		EXPECT_EQ(4, consumers_of(env->fd));
		EXPECT_TRUE(table_has(y, &y->edu, 1));
		ASSERT_EQ(0, start(d[first]));
		ASSERT_EQ(0, grow(env->fd, 2, 1));
		EXPECT_EQ(0, copies(d[first], 1, 2));
		EXPECT_FALSE(memcmp(at(env, 1), at(env, 2), LEN));
	}
	EXPECT_EQ((PAGES + 1) * PAGE, space_unmap_all(&y->s));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(-EFAULT, copies(&y->dma, 1, 2));
	EXPECT_TRUE(table_has(y, &y->edu, 0));
}

static int both_mapped(struct yard *y)
{
	return consumers_of(y->env.fd) ? 0 : map_halves(y);
}

static int unmap_both(struct yard *y)
{
	__s64 ret = space_unmap(&y->s, iova(0), PAGES * PAGE);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static int unmap_whole_space(struct yard *y)
{
	__s64 ret = space_unmap_all(&y->s);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static bool is_unmapped(struct yard *y, int ret)
{
	return all_is_there(y, ret ? 4 : 0);
}

/* What takes pages away from devices needs no memory. */
TEST_F_TIMEOUT(two, no_memory_to_unmap, 120)
{
	struct yard *y = &self->y;

	y->asked = &y->edu;
	ASSERT_EQ(0, grow(y->env.fd, 0, PAGES));
	ASSERT_EQ(0, punch(y->env.fd, 3, 2));
	ASSERT_EQ(0, vdev_open(&y->s, &y->edu));
	ASSERT_EQ(0, vdev_open(&y->s, &y->dma));
	EXPECT_EQ(0, SWEEP(both_mapped, unmap_both, 0, is_unmapped));
	EXPECT_EQ(0, SWEEP(both_mapped, unmap_whole_space, 0, is_unmapped));
}

/*
 * Dirty tracking by the IOMMU, which the one in software has, and of QEMU's none
 */

FIXTURE(soft)
{
	struct yard y;
};

FIXTURE_SETUP(soft)
{
	ASSERT_EQ(0, yard_setup(&self->y, IOMMUFD));
	ASSERT_EQ(0, vdev_bind(&self->y.s, &self->y.dma));
}

FIXTURE_TEARDOWN(soft)
{
	yard_teardown(&self->y);
}

static int track(struct yard *y, __u32 id, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = id,
	};

	return ioctl(y->s.fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set) ? -errno : 0;
}

/* Which of up to 64 pages are dirty. */
static int dirty(struct yard *y, __u32 id, __u64 where, size_t pages, __u64 *bits)
{
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = id,
		.iova = where,
		.length = pages * PAGE,
		.page_size = PAGE,
		.data = (uintptr_t)bits,
	};

	*bits = 0;
	return ioctl(y->s.fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get) ? -errno : 0;
}

TEST_F_TIMEOUT(soft, dirty_tracking, 60)
{
	const __u64 before = iova(0) - PAGE;
	struct yard *y = &self->y;
	struct vdev *d = &y->dma;
	struct test_env *env = &y->env;
	__u64 bits;
	__u32 id = 0;

	ASSERT_EQ(0, vdev_bind(&y->s, &y->edu));
	note("a table with dirty tracking for edu: %s",
	     strerror(-hwpt_alloc(y, &y->edu, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &id)));
	/* what is mapped by address ends where the file begins */
	ASSERT_EQ(0, space_map_address(&y->s, y->side, before, PAGE));
	ASSERT_EQ(0, space_map(&y->s, env->fd, 0, iova(0), PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, hwpt_alloc(y, d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &id));
	ASSERT_EQ(0, vdev_attach(d, id));
	EXPECT_EQ(0, track(y, id, true));

	EXPECT_EQ(0, dirty(y, id, before, 1, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, soft_write(d, before, "x", 1));
	EXPECT_EQ(0, soft_write(d, iova(1), "x", 1));
	EXPECT_EQ(-EOPNOTSUPP, dirty(y, id, iova(0), PAGES, &bits));
	EXPECT_EQ(-EOPNOTSUPP, dirty(y, id, iova(1), 1, &bits));
	/* what is refused clears nothing, beside it neither */
	EXPECT_EQ(-EOPNOTSUPP, dirty(y, id, before, 2, &bits));
	EXPECT_EQ(0, bits);
	EXPECT_EQ(0, dirty(y, id, before, 1, &bits));
	EXPECT_EQ(1, bits);
	EXPECT_EQ(0, dirty(y, id, before, 1, &bits));
	EXPECT_EQ(0, bits);

	/* a range that comes while it is tracked, and one that goes */
	EXPECT_EQ(PAGES * PAGE, space_unmap(&y->s, iova(0), PAGES * PAGE));
	ASSERT_EQ(0, space_map(&y->s, env->fd, 0, iova(0), PAGES * PAGE, DMA_RW));
	EXPECT_TRUE(follows(y, d, 1));
	EXPECT_EQ(-EOPNOTSUPP, dirty(y, id, iova(0), PAGES, &bits));
	EXPECT_EQ(0, track(y, id, false));
	EXPECT_TRUE(follows(y, d, 2));
	EXPECT_EQ(0, track(y, id, true));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&y->s, iova(0), PAGES * PAGE));
	EXPECT_EQ(0, soft_write(d, before, "y", 1));
	EXPECT_EQ(0, dirty(y, id, before, 1, &bits));
	EXPECT_EQ(1, bits);
}

static int dirty_of_two(struct yard *y)
{
	__u64 bits;

	return dirty(y, y->table, iova(0) - PAGE, 2, &bits);
}

static int write_before(struct yard *y)
{
	return soft_write(&y->dma, iova(0) - PAGE, "x", 1);
}

/* The bit beside the range, which nobody has been told of, is still to be had. */
static bool is_still_dirty(struct yard *y, int ret)
{
	__u64 bits;

	return consumers_of(y->env.fd) == 1 &&
	       !dirty(y, y->table, iova(0) - PAGE, 1, &bits) && bits == 1 &&
	       !write_before(y);
}

TEST_F_TIMEOUT(soft, no_memory_to_refuse_dirty_bits, 120)
{
	struct yard *y = &self->y;

	ASSERT_EQ(0, space_map_address(&y->s, y->side, iova(0) - PAGE, PAGE));
	ASSERT_EQ(0, space_map(&y->s, y->env.fd, 0, iova(0), PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, hwpt_alloc(y, &y->dma, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &y->table));
	ASSERT_EQ(0, vdev_attach(&y->dma, y->table));
	ASSERT_EQ(0, track(y, y->table, true));
	EXPECT_EQ(0, SWEEP(write_before, dirty_of_two, -EOPNOTSUPP, is_still_dirty));
}

/*
 * One thread maps the file in two tables, and there is no memory for the second;
 * another one detaches the device from the first table, which goes with that, as
 * soon as it may. What is in that table has to leave it before.
 *
 * Both are made to wait for a third one, which writes to the file what a page fault
 * keeps it waiting for. So each is in the middle of its call when they go on.
 */

#define RUNS	2048		/* each of one page, so that unmapping takes a while */
#define ROUNDS	12

struct race {
	struct yard *y;
	int fd, uffd;
	char *never;		/* a page that uffd knows of: not there */
	int nth;		/* which allocation is to fail while mapping, or 0 */
	int left, mapped, detached;
	pid_t mapper, detacher;	/* threads; -1 at their end */
};

static void *write_there(void *arg)
{
	struct race *race = arg;

	return (void *)(pwrite(race->fd, race->never, 1, 0) == 1 ? NULL : race);
}

static void *map_there(void *arg)
{
	struct race *race = arg;
	int fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	__atomic_store_n(&race->mapper, gettid(), __ATOMIC_RELEASE);
	fail_nth(fail, race->nth);
	race->mapped = space_map(&race->y->s, race->fd, 0, BASE, 2 * RUNS * PAGE, DMA_RW);
	race->left = fail_nth(fail, 0);
	__atomic_store_n(&race->mapper, -1, __ATOMIC_RELEASE);
	close(fail);
	return NULL;
}

static void *detach_there(void *arg)
{
	struct race *race = arg;

	__atomic_store_n(&race->detacher, gettid(), __ATOMIC_RELEASE);
	race->detached = vdev_detach(&race->y->dma);
	__atomic_store_n(&race->detacher, -1, __ATOMIC_RELEASE);
	return NULL;
}

/* Wait until the thread waits itself, or is at its end. */
static void until_it_waits(pid_t *thread)
{
	char path[64], text[256];
	pid_t tid;

	for (;;) {
		tid = __atomic_load_n(thread, __ATOMIC_ACQUIRE);
		if (tid < 0)
			return;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		if (tid && !read_line(path, text, sizeof(text)) &&
		    strstr(text, ") D "))
			return;
		sched_yield();
	}
}

static int race_run(struct race *race, int nth)
{
	struct uffdio_copy copy = { .len = PAGE };
	pthread_t writer, mapper, detacher;
	static char page[PAGE];
	struct uffd_msg msg;
	void *wrong;

	madvise(race->never, PAGE, MADV_DONTNEED);
	race->nth = nth;
	race->mapper = 0;
	race->detacher = 0;
	if (pthread_create(&writer, NULL, write_there, race))
		return -EAGAIN;
	/* once it faults, it has the file */
	if (read(race->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -EIO;
	if (pthread_create(&mapper, NULL, map_there, race))
		return -EAGAIN;
	until_it_waits(&race->mapper);
	if (pthread_create(&detacher, NULL, detach_there, race))
		return -EAGAIN;
	until_it_waits(&race->detacher);
	copy.src = (uintptr_t)page;
	copy.dst = (uintptr_t)race->never;
	if (ioctl(race->uffd, UFFDIO_COPY, &copy))
		return -errno;
	pthread_join(writer, &wrong);
	pthread_join(mapper, NULL);
	pthread_join(detacher, NULL);
	return wrong ? -EIO : race->detached;
}

TEST_F_TIMEOUT(soft, map_fails_while_detached, 600)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct yard *y = &self->y;
	struct race race = { .y = y };
	int nth, i, total = 0, failed = 0;
	__u32 id = 0;

	race.fd = memfd_create("runs", MFD_CLOEXEC);
	ASSERT_LE(0, race.fd);
	ASSERT_EQ(0, ftruncate(race.fd, 2 * RUNS * PAGE));
	for (i = 0; i < RUNS; i++)
		ASSERT_EQ(0, grow(race.fd, 2 * i, 1));
	race.never = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, race.never);
	race.uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, race.uffd);
	ASSERT_EQ(0, ioctl(race.uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)race.never;
	reg.range.len = PAGE;
	ASSERT_EQ(0, ioctl(race.uffd, UFFDIO_REGISTER, &reg));

	/* the second table stays, the first one comes and goes with the attachment */
	stay_on_one_cpu(false);
	fail_anything("0");
	fail_objects_alone();
	for (i = 0; i <= ROUNDS; i++) {
		/* first none, to count them; then one of the second table's half */
		nth = i ? total - i * total / (3 * ROUNDS) : 1000000;
		ASSERT_EQ(0, vdev_attach(&y->dma, y->s.ioas));
		ASSERT_EQ(0, hwpt_alloc(y, &y->dma, 0, &id));
		ASSERT_EQ(0, race_run(&race, nth));
		if (!i)
			total = nth - race.left;
		if (race.mapped) {
			EXPECT_EQ(-ENOMEM, race.mapped);
			failed++;
		} else {
			EXPECT_EQ(1, consumers_of(race.fd));
			EXPECT_EQ(2 * RUNS * PAGE,
				  space_unmap(&y->s, BASE, 2 * RUNS * PAGE));
		}
		EXPECT_EQ(0, consumers_of(race.fd));
		EXPECT_EQ(0, destroy(y, id));
	}
	/* there are some that can be done without */
	note("%d of %d allocations that failed were heard", failed, ROUNDS);
	EXPECT_LT(0, failed);
	stay_on_one_cpu(true);
	close(race.uffd);
	close(race.fd);
	munmap(race.never, PAGE);
}

TEST_HARNESS_MAIN
