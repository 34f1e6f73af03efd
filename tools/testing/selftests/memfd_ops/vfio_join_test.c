// SPDX-License-Identifier: GPL-2.0
/*
 * Groups that join and leave a type1 container in which a memfd is followed: when there
 * is no memory for that, and when a group has a page table of its own. QEMU's edu is
 * behind the machine's IOMMU, the device in software behind another one.
 */
#include "lib/attach.h"
#include "lib/call.h"
#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/late_page.h"

FIXTURE(join)
{
	struct test_env env;
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
	struct test_env *env = &self->env;
	int ret = attach_env_setup(env, TYPE1);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	env->vdev = variant->soft ? &env->dma : &env->edu;
	/* the container has its mappings as long as there is a device, any device */
	ASSERT_EQ(0, vdev_open(&env->space, &env->pin));
	ASSERT_EQ(0, map_halves(env));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
}

FIXTURE_TEARDOWN(join)
{
	attach_env_teardown(&self->env);
}

/*
 * Whichever allocation fails, a group that cannot be attached leaves nothing
 * behind, and can be attached then. Without anything by address: that type1 takes
 * for mapped from then on, although the step for MSIs has failed.
 */
TEST_F(join, no_memory)
{
	struct test_env *env = &self->env;
	struct vdev *d = self->env.vdev;
	int round, nth, left, ret, failed;

	ASSERT_EQ(0, vdev_open_group(d));
	fail_anything("0");
	/* first pages as well; then the last object of all is not missed */
	for (round = 0; round < 3; round++) {
		for (nth = 1, left = 0, failed = 0; !left; nth++) {
			ASSERT_LT(nth, NEVER);
			ASSERT_EQ(nth, fail_nth(env->fail, nth));
			ret = set_container(env, d);
			left = fail_nth(env->fail, 0);
			ASSERT_LE(0, left);
			if (ret) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				/* or else a hole would reach for a domain that is gone */
				ASSERT_EQ(0, consumers_of(env->fd)) TH_LOG("the %dth", nth);
				EXPECT_TRUE(table_has(env, d, 0, PAGES, 0));
				failed++;
				ASSERT_EQ(0, set_container(env, d));
			}
			EXPECT_EQ(2, consumers_of(env->fd));
			EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 2));
			ASSERT_EQ(0, unset_container(d));
			EXPECT_EQ(0, consumers_of(env->fd));
		}
		note("%d of %d failed allocations made the call fail", failed, nth - 2);
		EXPECT_LT(0, failed);
		fail_objects_alone();
	}

	ASSERT_EQ(0, set_container(env, d));
	ASSERT_EQ(0, vdev_get(d));
	ASSERT_EQ(0, start(d));
	EXPECT_TRUE(follows(env, d, 1));
}

static int start_tracking(struct test_env *env)
{
	return space_track_dirty(&env->space, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static int stop_tracking(struct test_env *env)
{
	return space_track_dirty(&env->space, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

/* The pages that are mapped are dirty, and nothing else, or else this fails. */
static int get_dirty(struct test_env *env)
{
	const __u64 holes = 3 << 3;
	__u64 bits;
	int ret = space_dirty_pages(&env->space, iova(0), PAGES, &bits);

	return ret ? ret : bits == (((1 << PAGES) - 1) & ~holes) ? 0 : -EPROTO;
}

/* It is tracked, or it is not; and the table is the file's in any case. */
static bool is_tracked(struct test_env *env, int ret)
{
	return all_is_there(env, 2) && get_dirty(env) == (ret ? -EINVAL : 0);
}

static bool is_untracked(struct test_env *env, int ret)
{
	return is_tracked(env, -EINVAL);
}

static int map_second_half(struct test_env *env)
{
	return space_map(&env->space, env->fd, PAGES / 2 * PAGE, iova(PAGES / 2),
			 PAGES / 2 * PAGE, DMA_RW);
}

static int tracked_by_half(struct test_env *env)
{
	__s64 ret;

	ret = space_unmap(&env->space, iova(PAGES / 2), PAGES / 2 * PAGE);
	return ret < 0 ? ret : stop_tracking(env) ?: start_tracking(env);
}

/* Without its bitmap, the second half is not mapped, either. */
static bool half_is_tracked(struct test_env *env, int ret)
{
	return ret ? consumers_of(env->fd) == 1 && table_has(env, env->vdev, 0, PAGES, 3) &&
		     pinned() == 3 :
		     is_tracked(env, 0);
}

TEST_F(join, no_memory_to_track_dirty_pages)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, vdev_open_group(env->vdev));
	ASSERT_EQ(0, set_container(env, env->vdev));
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
TEST_F(join, domain_of_its_own)
{
	struct test_env *env = &self->env;
	struct vdev *d = self->env.vdev;
	const bool own_one = is_soft(d) || iommu_is(d, "dmar");
	const bool fails = own_one || iommu_is(d, "ivhd");
	int nth, left, ret, shared = 0, own = 0, failed = 0, round = 0;

	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, vdev_join(&env->space, &env->nvme));
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
		ASSERT_EQ(nth, fail_nth(env->fail, nth));
		ret = set_container(env, d);
		left = fail_nth(env->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(2, consumers_of(env->fd));
			EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
			EXPECT_TRUE(table_has(env, d, 0, PAGES, 0));
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
			EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
			EXPECT_TRUE(table_has(env, d, 0, PAGES, PAGES - 2));
			ASSERT_EQ(0, vdev_get(d));
			ASSERT_EQ(0, start(d));
			EXPECT_TRUE(follows(env, d, nth));
			EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
			if (own == 1) {
				/* the other one goes first, and comes again */
				ASSERT_EQ(0, unset_container(&env->nvme));
				EXPECT_EQ(2, consumers_of(env->fd));
				EXPECT_TRUE(follows(env, d, nth + 1));
				ASSERT_EQ(0, punch(env->fd, 0, 1));
				ASSERT_EQ(0, set_container(env, &env->nvme));
				EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 3));
				ASSERT_EQ(0, grow(env->fd, 0, 1));
			}
			EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
			vdev_close(d);
			ASSERT_EQ(0, vdev_open_group(d));
		} else {
			ASSERT_EQ(0, unset_container(d));
		}
		EXPECT_EQ(2, consumers_of(env->fd));
		EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 3));
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		EXPECT_TRUE(table_has(env, &env->nvme, 0, PAGES, PAGES - 2));
	}
	note("shared in %d cases, of its own in %d, %d failed", shared, own, failed);
	EXPECT_LT(0, own_one ? own : shared);
}

FIXTURE(leave)
{
	struct test_env env;
	struct late_page late;
};

FIXTURE_SETUP(leave)
{
	int ret = vfio_env_setup(&self->env, TYPE1, PAGES, NEED_SOFT);

	self->late = (struct late_page)LATE_PAGE_INIT;
	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, late_page_create(&self->late));
	ASSERT_EQ(0, vdev_join(&self->env.space, &self->env.pin));
}

FIXTURE_TEARDOWN(leave)
{
	late_page_destroy(&self->late);
	vfio_env_teardown(&self->env);
}

struct unmap {
	int container;
	void *arg;
};

static __s64 unmap(void *arg)
{
	struct unmap *u = arg;

	return ioctl(u->container, VFIO_IOMMU_UNMAP_DMA, u->arg) ? -errno : 0;
}

static __s64 leave(void *device)
{
	return unset_container(device);
}

/* The container's IOMMU goes with the last group, and not under an ioctl that has begun. */
TEST_F(leave, while_an_ioctl_begins)
{
	struct test_env *env = &self->env;
	struct unmap late_unmap = { env->space.fd, self->late.mem };
	struct call unmapper = { unmap, &late_unmap }, leaver = { leave, &env->pin };
	union {
		struct vfio_iommu_type1_dma_unmap unmap;
		unsigned char page[PAGE];
	} arg = { .unmap = { .argsz = sizeof(arg.unmap), .iova = BASE, .size = PAGE } };

	ASSERT_EQ(0, call_begin(&unmapper));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, call_begin(&leaver));
	call_wait_in_ioctl(&leaver, VFIO_GROUP_UNSET_CONTAINER);
	EXPECT_FALSE(call_has_ended(&leaver));

	ASSERT_EQ(0, late_page_give_copy(&self->late, &arg));
	EXPECT_EQ(0, call_end(&unmapper));
	EXPECT_EQ(0, call_end(&leaver));
	/* it has no IOMMU any more */
	EXPECT_EQ(EINVAL, errno_of(ioctl(env->space.fd, VFIO_IOMMU_UNMAP_DMA, &arg)));
}

TEST_HARNESS_MAIN
