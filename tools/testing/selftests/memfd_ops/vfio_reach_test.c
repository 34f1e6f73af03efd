// SPDX-License-Identifier: GPL-2.0
/*
 * A device that does not reach all IOVAs of a range, or for which some have another meaning,
 * cannot have the range, whether or not the file has a page there.
 */
#include "lib/harness.h"
#include "lib/vfio_env.h"

#define PAGES		8
#define INTERRUPTS	0xfee00000UL	/* the IOVAs of interrupts on x86 */
#define SOFT_BITS	48		/* the aperture of the device in software */

FIXTURE(reach)
{
	struct test_env env;
};

FIXTURE_VARIANT(reach)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(reach, type1) { TYPE1 };
FIXTURE_VARIANT_ADD(reach, iommufd) { IOMMUFD };
FIXTURE_VARIANT_ADD(reach, iommufd_group) { IOMMUFD_GROUP };

static int set_up(struct test_env *env, enum way way)
{
	int ret = vfio_env_setup(env, way, PAGES, NEED_EDU | NEED_SOFT);

	/* type1 has a container once there is a device, which here reaches anything */
	if (!ret)
		ret = vdev_open(&env->space, &env->pin);
	/* so that no emulated device is refused */
	if (!ret)
		ret = env_add_side(env, 2, false);
	return ret ? ret : map_side(env);
}

FIXTURE_SETUP(reach)
{
	int ret = set_up(&self->env, variant->way);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(reach)
{
	vfio_env_teardown(&self->env);
}

static int map_at(struct test_env *env, __u64 iova, size_t pages)
{
	return space_map(&env->space, env->fd, 0, iova, pages * PAGE, DMA_RW);
}

/* The error of an attach that the ranges do not allow */
static int refusal(struct test_env *env)
{
	return env->space.way == TYPE1 ? -EINVAL : -EADDRINUSE;
}

/* Is the device refused, with no page in the file, and fine once the range is gone? */
static bool refused(struct test_env *env, struct vdev *d, __u64 where)
{
	int ret;

	if (allocated(env->fd) || map_at(env, where, PAGES))
		return false;
	ret = vdev_open(&env->space, d);
	vdev_close(d);
	if (ret != refusal(env) || consumers_of(env->fd)) {
		note("%s at 0x%llx: %d", d->address, where, ret);
		return false;
	}
	if (space_unmap(&env->space, where, PAGES * PAGE) != PAGES * PAGE ||
	    vdev_open(&env->space, d))
		return false;
	/* now it has come first */
	ret = map_at(env, where, PAGES);
	vdev_close(d);
	if (ret != -EINVAL)
		note("%s at 0x%llx, later: %d", d->address, where, ret);
	return ret == -EINVAL;
}

TEST_F(reach, reserved)
{
	struct test_env *env = &self->env;

	EXPECT_TRUE(refused(env, &env->edu, INTERRUPTS));
	/* the last page of the range is the first one of theirs */
	EXPECT_TRUE(refused(env, &env->edu, INTERRUPTS - (PAGES - 1) * PAGE));
	ASSERT_EQ(0, map_at(env, INTERRUPTS - PAGES * PAGE, PAGES));
	EXPECT_EQ(0, vdev_open(&env->space, &env->edu));
}

TEST_F(reach, aperture)
{
	const __u64 end = 1UL << SOFT_BITS;
	struct test_env *env = &self->env;

	EXPECT_TRUE(refused(env, &env->dma, end));
	EXPECT_TRUE(refused(env, &env->dma, end - (PAGES - 1) * PAGE));
	ASSERT_EQ(0, map_at(env, end - PAGES * PAGE, PAGES));
	EXPECT_EQ(0, vdev_open(&env->space, &env->dma));
}

/* The IOMMU of QEMU's devices has 48 bits as VT-d, and 64 as AMD's and on virtio. */
TEST_F(reach, aperture_of_edu)
{
	struct test_env *env = &self->env;
	char iommu[64];

	if (device_link(env->edu.bus, env->edu.address, "iommu", iommu, sizeof(iommu)) ||
	    strncmp(iommu, "dmar", 4))
		SKIP(return, "this IOMMU has 64 bits");
	EXPECT_TRUE(refused(env, &env->edu, 1UL << 48));
	EXPECT_TRUE(refused(env, &env->edu, (1UL << 48) - PAGE));
	EXPECT_TRUE(refused(env, &env->edu, 1UL << 56));
}

FIXTURE(page_table)
{
	struct test_env env;
};

FIXTURE_SETUP(page_table)
{
	int ret = set_up(&self->env, IOMMUFD);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(page_table)
{
	vfio_env_teardown(&self->env);
}

/* Made before, for the device that does not reach the range. */
TEST_F(page_table, does_not_reach)
{
	struct test_env *env = &self->env;
	__u32 id;

	ASSERT_EQ(0, vdev_bind(&env->space, &env->dma));
	ASSERT_EQ(0, map_at(env, 1UL << SOFT_BITS, PAGES));
	EXPECT_EQ(-EADDRINUSE, space_alloc_table(&env->space, &env->dma, 0, &id));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&env->space, 1UL << SOFT_BITS, PAGES * PAGE));
	ASSERT_EQ(0, space_alloc_table(&env->space, &env->dma, 0, &id));
	EXPECT_EQ(-EINVAL, map_at(env, 1UL << SOFT_BITS, PAGES));
}

/* An IOAS has a page table for each kind of IOMMU. A device takes none of another kind. */
TEST_F(page_table, of_another_iommu)
{
	struct test_env *env = &self->env;
	__u32 first = env->space.ioas, second = 0, table = 0;
	int consumers;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	ASSERT_EQ(0, space_alloc_table(&env->space, &env->dma, 0, &table));
	ASSERT_EQ(0, vdev_bind(&env->space, &env->edu));
	if (!can_fill_before_attach(env, &env->edu))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, ioas_alloc(&env->space, &second));
	ASSERT_EQ(0, vdev_attach(&env->edu, second));

	consumers = consumers_of(env->fd);
	ASSERT_EQ(0, vdev_attach(&env->edu, first));
	EXPECT_EQ(consumers + 1, consumers_of(env->fd));
	ASSERT_EQ(0, edu_start(&env->edu));
	EXPECT_TRUE(reached(env, 1, 1));
	EXPECT_EQ(-EINVAL, vdev_attach(&env->edu, table));
	EXPECT_TRUE(reached(env, 2, 2));
	EXPECT_EQ(-EINVAL, map_at(env, INTERRUPTS, 1));
	ASSERT_EQ(0, punch(env->fd, 2, 1));
	EXPECT_TRUE(blocked(env, 2));
}

TEST_HARNESS_MAIN
