// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of a VMM (VFIO_UPDATE_VADDR): the addresses of a type1 container's mappings are
 * taken away, and others given. A mapping that follows a memfd has no address, and is not in
 * the way.
 */
#include "lib/harness.h"
#include "lib/vfio_env.h"

#define ALL	(VFIO_DMA_UNMAP_FLAG_VADDR | VFIO_DMA_UNMAP_FLAG_ALL)
#define OTHER	(BASE + GIB)	/* the IOVAs of memory by address: above the file's, */
#define LOWER	SIDE		/* and below */

FIXTURE(vaddr)
{
	struct test_env env;
	unsigned char *mem[2];		/* a page each, at LOWER and OTHER */
};

FIXTURE_SETUP(vaddr)
{
	struct test_env *env = &self->env;
	int ret = vfio_env_setup(env, TYPE1, 8, NEED_EDU | NEED_SOFT), i;

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
	for (i = 0; i < 2; i++) {
		self->mem[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		ASSERT_NE(MAP_FAILED, self->mem[i]);
		ASSERT_EQ(0, space_map_address(&env->space, self->mem[i],
					       i ? OTHER : LOWER, PAGE));
	}
	ASSERT_EQ(0, map_pages(env, 0, 4));
	ASSERT_EQ(0, map_pages(env, 4, 4));
}

FIXTURE_TEARDOWN(vaddr)
{
	int i;

	vfio_env_teardown(&self->env);
	for (i = 0; i < 2; i++)
		munmap(self->mem[i], PAGE);
}

static int give_address(struct test_env *env, void *mem, __u64 iova)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_VADDR,
		.vaddr = (uintptr_t)mem,
		.iova = iova,
		.size = PAGE,
	};

	return ioctl(env->space.fd, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

/* Does the device reach what the file gains, and not what it has lost? */
static bool goes_on(struct test_env *env, size_t page)
{
	char data[16];

	if (grow(env->fd, page, 1) ||
	    soft_write(&env->dma, iova(page), "followed", 9) ||
	    memcmp(at(env, page), "followed", 9))
		return false;
	return !punch(env->fd, page, 1) &&
	       soft_read(&env->dma, iova(page), data, 9) == -EFAULT;
}

/* Can a group attach? No, as long as an address is missing. */
static int attach(struct test_env *env)
{
	int ret = vdev_join(&env->space, &env->edu);

	vdev_close(&env->edu);
	return ret;
}

TEST_F(vaddr, live_update)
{
	struct test_env *env = &self->env;
	const int fd = env->space.fd;

	ASSERT_EQ(0, attach(env));
	EXPECT_EQ(2 * PAGE, type1_unmap(fd, ALL, 0, 0));
	EXPECT_TRUE(goes_on(env, 1));
	EXPECT_EQ(-EBUSY, attach(env));
	/* neither has one that follows an address to be given */
	EXPECT_EQ(-EINVAL, give_address(env, self->mem[0], iova(0)));
	EXPECT_EQ(0, give_address(env, self->mem[0], LOWER));
	EXPECT_EQ(-EBUSY, attach(env));
	EXPECT_EQ(0, give_address(env, self->mem[1], OTHER));
	EXPECT_EQ(0, attach(env));
	EXPECT_TRUE(goes_on(env, 5));
}

/* A call that fails in the middle has changed nothing, wherever the ranges that follow are. */
TEST_F(vaddr, second_time)
{
	struct test_env *env = &self->env;
	const int fd = env->space.fd;

	/* the upper one has lost its address: the call fails once it gets there */
	EXPECT_EQ(PAGE, type1_unmap(fd, VFIO_DMA_UNMAP_FLAG_VADDR, OTHER, PAGE));
	EXPECT_EQ(-EINVAL, type1_unmap(fd, ALL, 0, 0));
	EXPECT_EQ(-EINVAL, give_address(env, self->mem[0], LOWER));
	EXPECT_EQ(-EBUSY, attach(env));
	EXPECT_EQ(0, give_address(env, self->mem[1], OTHER));
	EXPECT_EQ(0, attach(env));
	EXPECT_EQ(2 * PAGE, type1_unmap(fd, ALL, 0, 0));
	EXPECT_EQ(0, give_address(env, self->mem[0], LOWER));
	EXPECT_EQ(0, give_address(env, self->mem[1], OTHER));
	EXPECT_EQ(0, attach(env));
	EXPECT_TRUE(goes_on(env, 3));
	/* one that follows alone */
	EXPECT_EQ(PAGE, space_unmap(&env->space, LOWER, PAGE));
	EXPECT_EQ(PAGE, space_unmap(&env->space, OTHER, PAGE));
	EXPECT_EQ(0, type1_unmap(fd, ALL, 0, 0));
	EXPECT_EQ(0, attach(env));
	EXPECT_EQ(-EINVAL, type1_unmap(fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(0), 4 * PAGE));
	EXPECT_TRUE(goes_on(env, 7));
}

TEST_HARNESS_MAIN
