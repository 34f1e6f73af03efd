// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated devices, for which VFIO reads, writes and pins memory. VFIO refuses that in a
 * range that follows a memfd, see Documentation/userspace-api/vfio-memfd.rst, and allows
 * it next to that range. With the emulated device alone, and with a real device that has
 * the same mappings.
 */
#include "lib/harness.h"
#include "lib/vfio_env.h"

#define PAGES	4		/* of each of the mappings, one after the other: */

enum range {
	BEFORE,			/* by address */
	FOLLOWED,
	BEHIND,			/* by address */
	RANGES,
};

/* Unpin the memory that the device has pinned. */
static int unpin(struct vdev *pin)
{
	return soft_write(pin, PIN, "", 0);
}

static __u64 iova_in(enum range of, size_t page)
{
	return BASE + (of * PAGES + page) * PAGE;
}

/* Where the memory is that is mapped by address. */
static unsigned char *memory(struct test_env *env, enum range of, size_t page)
{
	return env->side + (of * PAGES + page) * PAGE;
}

/* Is there a real device with the same mappings? */
static bool has_real(struct test_env *env)
{
	return env->dma.fd >= 0;
}

/* The error of an access to the followed range */
static int refusal(struct test_env *env)
{
	return env->space.way == TYPE1 ? -EOPNOTSUPP : -ENOENT;
}

FIXTURE(access)
{
	struct test_env env;
};

FIXTURE_VARIANT(access)
{
	enum way way;
	bool real;		/* is there a real device? */
};

FIXTURE_VARIANT_ADD(access, type1) { TYPE1, false };
FIXTURE_VARIANT_ADD(access, type1_beside) { TYPE1, true };
FIXTURE_VARIANT_ADD(access, iommufd) { IOMMUFD, false };
FIXTURE_VARIANT_ADD(access, iommufd_beside) { IOMMUFD, true };
FIXTURE_VARIANT_ADD(access, iommufd_group) { IOMMUFD_GROUP, false };
FIXTURE_VARIANT_ADD(access, iommufd_group_beside) { IOMMUFD_GROUP, true };

FIXTURE_SETUP(access)
{
	const size_t size = PAGES * PAGE;
	struct test_env *env = &self->env;
	struct space *s = &env->space;
	int ret = vfio_env_setup(env, variant->way, PAGES, NEED_SOFT);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_add_side(env, RANGES * PAGES, false));
	ASSERT_EQ(0, vdev_open(s, &env->pin));
	if (variant->real)
		ASSERT_EQ(0, vdev_open(s, &env->dma));
	ASSERT_EQ(0, space_map_address(s, memory(env, BEFORE, 0), iova_in(BEFORE, 0), size));
	ASSERT_EQ(0, space_map(s, env->fd, 0, iova_in(FOLLOWED, 0), size, DMA_RW));
	ASSERT_EQ(0, space_map_address(s, memory(env, BEHIND, 0), iova_in(BEHIND, 0), size));
}

FIXTURE_TEARDOWN(access)
{
	vfio_env_teardown(&self->env);
}

/* Does the emulated device reach the memory mapped by address there, in all ways? */
static bool ordinary(struct test_env *env, enum range of, size_t page, unsigned int seed)
{
	const __u64 how[] = { 0, PIN };
	unsigned char *mem = memory(env, of, page);
	unsigned char data[PAGE];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(how); i++) {
		fill(mem, seed + 2 * i);
		if (soft_read(&env->pin, how[i] + iova_in(of, page), data, PAGE) ||
		    !filled(data, seed + 2 * i))
			return false;
		fill(data, seed + 2 * i + 1);
		if (soft_write(&env->pin, how[i] + iova_in(of, page), data, PAGE) ||
		    !filled(mem, seed + 2 * i + 1))
			return false;
	}
	return true;
}

/* What follows goes on to do so: with a device, as the device sees it. */
static bool follows(struct test_env *env, size_t page, unsigned int seed)
{
	const __u64 where = iova_in(FOLLOWED, page);
	unsigned char data[PAGE];

	if (!has_real(env))
		return !consumers_of(env->fd);
	if (consumers_of(env->fd) != 1 || punch(env->fd, page, 1) ||
	    soft_read(&env->dma, where, data, PAGE) != -EFAULT ||
	    soft_write(&env->dma, where, data, PAGE) != -EFAULT ||
	    grow(env->fd, page, 1) ||
	    soft_read(&env->dma, where, data, PAGE) || !all(data, PAGE, 0))
		return false;
	fill(data, seed);
	return !soft_write(&env->dma, where, data, PAGE) && filled(at(env, page), seed);
}

/* Pages that are there, and holes. */
TEST_F(access, refused)
{
	struct test_env *env = &self->env;
	const __u64 how[] = { 0, PIN };
	unsigned char data[2 * PAGE] = {};
	size_t i, page;

	fill(at(env, 0), 1);
	fill(at(env, 2), 2);
	for (i = 0; i < ARRAY_SIZE(how); i++) {
		for (page = 0; page < PAGES; page++) {
			const __u64 where = how[i] + iova_in(FOLLOWED, page);

			EXPECT_EQ(refusal(env), soft_read(&env->pin, where, data, 1));
			EXPECT_EQ(refusal(env), soft_read(&env->pin, where, data, PAGE));
			EXPECT_EQ(refusal(env), soft_write(&env->pin, where, data, 1));
			EXPECT_EQ(refusal(env), soft_write(&env->pin, where, data, PAGE));
			EXPECT_EQ(refusal(env),
				  soft_write(&env->pin, where + PAGE - 1, data, 1));
		}
		EXPECT_EQ(refusal(env), soft_write(&env->pin, how[i] + iova_in(FOLLOWED, 1),
						   data, 2 * PAGE));
	}
	EXPECT_TRUE(all(data, sizeof(data), 0));
	EXPECT_TRUE(filled(at(env, 0), 1));
	EXPECT_TRUE(filled(at(env, 2), 2));
	EXPECT_EQ(2, allocated(env->fd));
	EXPECT_TRUE(follows(env, 0, 3));
	EXPECT_TRUE(follows(env, 1, 4));

	/* where nothing is mapped it is what it always is */
	for (i = 0; i < ARRAY_SIZE(how); i++)
		EXPECT_EQ(variant->way == TYPE1 ? -EINVAL : -ENOENT,
			  soft_read(&env->pin, how[i] + BASE - PAGE, data, PAGE));
}

TEST_F(access, ordinary_beside_it)
{
	struct test_env *env = &self->env;
	enum range range;
	size_t page;

	for (range = BEFORE; range <= BEHIND; range += BEHIND - BEFORE)
		for (page = 0; page < PAGES; page++)
			EXPECT_TRUE(ordinary(env, range, page, 10 * range + page));
	EXPECT_TRUE(follows(env, 0, 1));
	EXPECT_TRUE(ordinary(env, BEFORE, PAGES - 1, 50));
	EXPECT_TRUE(ordinary(env, BEHIND, 0, 60));
	/* and without it */
	EXPECT_EQ(PAGES * PAGE, space_unmap(&env->space, iova_in(FOLLOWED, 0), PAGES * PAGE));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_TRUE(ordinary(env, BEFORE, PAGES - 1, 70));
	EXPECT_TRUE(ordinary(env, BEHIND, 0, 80));
}

/*
 * An access that begins in the allowed range, or ends there. VFIO unpins the pages that
 * it has pinned until it fails: otherwise unmapping would fail, or never end.
 */
TEST_F(access, across)
{
	struct test_env *env = &self->env;
	const __u64 ends[] = { iova_in(FOLLOWED, 0) - PAGE, iova_in(BEHIND, 0) - PAGE };
	const __u64 how[] = { 0, PIN };
	unsigned char data[2 * PAGE];
	size_t i, end;

	memset(data, 0x5a, sizeof(data));
	fill(at(env, 0), 1);
	fill(at(env, PAGES - 1), 2);
	fill(memory(env, BEHIND, 0), 3);
	for (end = 0; end < ARRAY_SIZE(ends); end++) {
		for (i = 0; i < ARRAY_SIZE(how); i++) {
			const __u64 where = how[i] + ends[end];

			EXPECT_EQ(refusal(env), soft_write(&env->pin, where, data, 2 * PAGE));
			EXPECT_EQ(refusal(env),
				  soft_write(&env->pin, where + PAGE - 1, data, 2));
		}
		EXPECT_TRUE(filled(at(env, 0), 1));
		EXPECT_TRUE(filled(at(env, PAGES - 1), 2));
		/* it stops before it gets there */
		EXPECT_TRUE(filled(memory(env, BEHIND, 0), 3));
	}
	EXPECT_EQ(3 * PAGES * PAGE, space_unmap_all(&env->space));
	EXPECT_EQ(0, consumers_of(env->fd));
}

/* Memory pinned next to it stays pinned until unmapped, however the file changes. */
TEST_F(access, pinned_beside_it)
{
	struct test_env *env = &self->env;
	const __u64 where = iova_in(BEFORE, 0);
	unsigned char data[PAGES * PAGE];
	int round;

	for (round = 0; round < 2; round++) {
		memset(data, round + 1, sizeof(data));
		ASSERT_EQ(0, soft_write(&env->pin, PIN + where, data, sizeof(data)));
		EXPECT_TRUE(all(memory(env, BEFORE, 0), sizeof(data), round + 1));
		ASSERT_EQ(0, grow(env->fd, 0, PAGES));
		ASSERT_EQ(0, punch(env->fd, 1, 2));
		ASSERT_EQ(PAGES * PAGE, space_unmap(&env->space, iova_in(FOLLOWED, 0),
						    PAGES * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
		ASSERT_EQ(0, space_map(&env->space, env->fd, 0, iova_in(FOLLOWED, 0),
				       PAGES * PAGE, DMA_RW));
		EXPECT_TRUE(follows(env, 1, 3 + round));

		/*
		 * Both by one call. iommufd has the device unpin the memory. So does
		 * type1, but under a lock that lockdep objects to.
		 */
		if (variant->way == TYPE1)
			ASSERT_EQ(0, unpin(&env->pin));
		ASSERT_EQ(2 * PAGES * PAGE, space_unmap(&env->space, where, 2 * PAGES * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
		EXPECT_GT(0, soft_read(&env->pin, PIN + where, data, 1));
		EXPECT_GT(0, soft_read(&env->pin, where, data, 1));
		ASSERT_EQ(0, space_map_address(&env->space, env->side, where, PAGES * PAGE));
		ASSERT_EQ(0, space_map(&env->space, env->fd, 0, iova_in(FOLLOWED, 0),
				       PAGES * PAGE, DMA_RW));
	}
	/* what it has pinned when it is closed does not stay so either */
	ASSERT_EQ(0, soft_write(&env->pin, PIN + where, data, sizeof(data)));
	close_fd(&env->pin.fd);
	if (has_real(env) && variant->way != IOMMUFD_GROUP)
		EXPECT_EQ(3 * PAGES * PAGE, space_unmap_all(&env->space));
}

/* The same page of the file, by address for the one and followed for the other. */
TEST_F(access, same_page_by_address)
{
	struct test_env *env = &self->env;
	const __u64 where = BASE + GIB;
	unsigned char data[PAGE];

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, space_map_address(&env->space, env->mem, where, PAGES * PAGE));
	fill(data, 1);
	ASSERT_EQ(0, soft_write(&env->pin, PIN + where + PAGE, data, PAGE));
	EXPECT_TRUE(filled(at(env, 1), 1));
	if (has_real(env)) {
		memset(data, 0, PAGE);
		EXPECT_EQ(0, soft_read(&env->dma, iova_in(FOLLOWED, 1), data, PAGE));
		EXPECT_TRUE(filled(data, 1));
	}
	/* the pinning device keeps the page, the following one does not */
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	EXPECT_TRUE(follows(env, 1, 2));
	EXPECT_EQ(refusal(env), soft_read(&env->pin, iova_in(FOLLOWED, 1), data, PAGE));
	ASSERT_EQ(0, unpin(&env->pin));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&env->space, where, PAGES * PAGE));
	EXPECT_TRUE(follows(env, 1, 3));
}

/*
 * The mapping is the space's, not the device's: where there is an emulated device
 * alone no table has it, one that joins has all of it, and it stays when that goes.
 */
TEST_F(access, real_one_comes_and_goes)
{
	struct test_env *env = &self->env;
	unsigned char data[PAGE];
	int round;

	for (round = 0; round < 2; round++) {
		vdev_close(&env->dma);
		EXPECT_EQ(0, consumers_of(env->fd));
		EXPECT_TRUE(ordinary(env, BEHIND, 1, 10 * round));
		EXPECT_EQ(refusal(env),
			  soft_read(&env->pin, iova_in(FOLLOWED, 0), data, 1));
		fill(at(env, 0), round);
		ASSERT_EQ(0, punch(env->fd, 1, 1));

		ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_EQ(0, soft_read(&env->dma, iova_in(FOLLOWED, 0), data, PAGE));
		EXPECT_TRUE(filled(data, round));
		EXPECT_EQ(-EFAULT, soft_read(&env->dma, iova_in(FOLLOWED, 1), data, PAGE));
		EXPECT_EQ(0, soft_read(&env->dma, iova_in(BEFORE, 1), data, PAGE));
		EXPECT_TRUE(follows(env, 1, 20 + round));
		EXPECT_EQ(refusal(env),
			  soft_read(&env->pin, iova_in(FOLLOWED, 0), data, 1));
		EXPECT_TRUE(ordinary(env, BEHIND, 2, 30 + 10 * round));
	}
}

/*
 * Where every range follows a memfd, an emulated device would fail at its first access: it is
 * refused when it joins. Another range is enough for it to join.
 */
FIXTURE(join)
{
	struct test_env env;
};

FIXTURE_VARIANT(join)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(join, type1) { TYPE1 };
FIXTURE_VARIANT_ADD(join, iommufd) { IOMMUFD };
FIXTURE_VARIANT_ADD(join, iommufd_group) { IOMMUFD_GROUP };

FIXTURE_SETUP(join)
{
	struct test_env *env = &self->env;
	int ret = vfio_env_setup(env, variant->way, PAGES, NEED_SOFT);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_add_side(env, RANGES * PAGES, false));
	ASSERT_EQ(0, vdev_open(&env->space, &env->dma));
}

FIXTURE_TEARDOWN(join)
{
	vfio_env_teardown(&self->env);
}

TEST_F(join, refused_in_time)
{
	const size_t size = PAGES * PAGE;
	struct test_env *env = &self->env;
	struct space *s = &env->space;

	ASSERT_EQ(0, space_map(s, env->fd, 0, iova_in(FOLLOWED, 0), size, DMA_RW));
	EXPECT_EQ(-EOPNOTSUPP, vdev_open(s, &env->pin));
	vdev_close(&env->pin);
	EXPECT_TRUE(follows(env, 0, 1));

	ASSERT_EQ(0, space_map_address(s, memory(env, BEHIND, 0), iova_in(BEHIND, 0), size));
	ASSERT_EQ(0, vdev_open(s, &env->pin));
	EXPECT_TRUE(ordinary(env, BEHIND, 1, 2));
	EXPECT_TRUE(follows(env, 1, 3));
	vdev_close(&env->pin);

	/* without a range at all it may wait for one */
	EXPECT_EQ(2 * size, space_unmap_all(s));
	ASSERT_EQ(0, vdev_open(s, &env->pin));
	ASSERT_EQ(0, space_map_address(s, memory(env, BEHIND, 0), iova_in(BEHIND, 0), size));
	EXPECT_TRUE(ordinary(env, BEHIND, 1, 4));
}

TEST_HARNESS_MAIN
