// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated devices where a memfd is followed: they have VFIO read, write and pin
 * memory for them, which is refused there, as
 * Documentation/userspace-api/vfio-memfd.rst says, and works beside it. With the
 * emulated device alone, and with a real one that has the same mappings.
 */
#include <memfd_ops/vfio.h>

#include "lib/soft_device.h"
#include "lib/test_env.h"
#include "../kselftest_harness.h"

#define GIB	(1024UL << 20)
#define BASE	(4 * GIB)	/* the IOVA of the first page */
#define PAGES	4		/* of each of the mappings, one after the other: */

enum place {
	BEFORE,			/* by address */
	FOLLOWED,
	BEHIND,			/* by address */
	PLACES,
};

struct gate {
	struct test_env env;		/* the memfd, without the rig's devices */
	struct space s;
	struct vdev pin, dma;
	bool beside;		/* is there dma? */
	unsigned char *mem;	/* what is mapped by address: BEFORE and BEHIND */
	int error;		/* what is said of the followed range */
	char unsafe;
};

FIXTURE(access)
{
	struct gate g;
};

FIXTURE_VARIANT(access)
{
	enum way way;
	bool beside;		/* is there a real device? */
};

FIXTURE_VARIANT_ADD(access, type1) { TYPE1, false };
FIXTURE_VARIANT_ADD(access, type1_beside) { TYPE1, true };
FIXTURE_VARIANT_ADD(access, iommufd) { IOMMUFD, false };
FIXTURE_VARIANT_ADD(access, iommufd_beside) { IOMMUFD, true };
FIXTURE_VARIANT_ADD(access, iommufd_group) { IOMMUFD_GROUP, false };
FIXTURE_VARIANT_ADD(access, iommufd_group_beside) { IOMMUFD_GROUP, true };

/* Let go of what is pinned. */
static int unpin(struct vdev *pin)
{
	return soft_write(pin, PIN, "", 0);
}

static __u64 iova(enum place of, size_t page)
{
	return BASE + (of * PAGES + page) * PAGE;
}

/* Where the memory is that is mapped by address. */
static unsigned char *memory(struct gate *g, enum place of, size_t page)
{
	return g->mem + (of * PAGES + page) * PAGE;
}

FIXTURE_SETUP(access)
{
	struct gate *g = &self->g;

	memset(g, 0, sizeof(*g));
	g->s.fd = -1;
	g->mem = MAP_FAILED;
	g->pin = (struct vdev)VDEV_SOFT(DEVICE_PIN);
	g->dma = (struct vdev)VDEV_SOFT(DEVICE_DMA);
	ASSERT_EQ(0, env_setup_memory(&g->env, PAGES));
	ASSERT_EQ(0, allow_unsafe_interrupts(&g->unsafe));
	g->mem = mmap(NULL, PLACES * PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, g->mem);
	ASSERT_EQ(0, space_open(&g->s, variant->way));
	ASSERT_EQ(0, vdev_open(&g->s, &g->pin));
	g->beside = variant->beside;
	if (g->beside)
		ASSERT_EQ(0, vdev_open(&g->s, &g->dma));
	ASSERT_EQ(0, space_map_address(&g->s, memory(g, BEFORE, 0), iova(BEFORE, 0),
				       PAGES * PAGE));
	ASSERT_EQ(0, space_map(&g->s, g->env.fd, 0, iova(FOLLOWED, 0), PAGES * PAGE, DMA_RW));
	ASSERT_EQ(0, space_map_address(&g->s, memory(g, BEHIND, 0), iova(BEHIND, 0),
				       PAGES * PAGE));
	g->error = variant->way == TYPE1 ? -EOPNOTSUPP : -ENOENT;
}

FIXTURE_TEARDOWN(access)
{
	struct gate *g = &self->g;

	vdev_close(&g->dma);
	vdev_close(&g->pin);
	close_fd(&g->s.fd);
	if (g->mem != MAP_FAILED)
		munmap(g->mem, PLACES * PAGES * PAGE);
	unsafe_interrupts_as_before(g->unsafe);
	env_teardown(&g->env);
}

/* Does the emulated device reach what is mapped by address there, in all ways? */
static bool ordinary(struct gate *g, enum place of, size_t page, unsigned int seed)
{
	const __u64 how[] = { 0, PIN };
	unsigned char *mem = memory(g, of, page);
	unsigned char data[PAGE];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(how); i++) {
		fill(mem, seed + 2 * i);
		if (soft_read(&g->pin, how[i] + iova(of, page), data, PAGE) ||
		    !filled(data, seed + 2 * i))
			return false;
		fill(data, seed + 2 * i + 1);
		if (soft_write(&g->pin, how[i] + iova(of, page), data, PAGE) ||
		    !filled(mem, seed + 2 * i + 1))
			return false;
	}
	return true;
}

/* What follows goes on to do so: with a device, as the device sees it. */
static bool follows(struct gate *g, size_t page, unsigned int seed)
{
	const __u64 where = iova(FOLLOWED, page);
	struct test_env *env = &g->env;
	unsigned char data[PAGE];

	if (!g->beside)
		return !consumers_of(env->fd);
	if (consumers_of(env->fd) != 1 || punch(env->fd, page, 1) ||
	    soft_read(&g->dma, where, data, PAGE) != -EFAULT ||
	    soft_write(&g->dma, where, data, PAGE) != -EFAULT ||
	    grow(env->fd, page, 1) ||
	    soft_read(&g->dma, where, data, PAGE) || !all(data, PAGE, 0))
		return false;
	fill(data, seed);
	return !soft_write(&g->dma, where, data, PAGE) && filled(at(env, page), seed);
}

/* Pages that are there, and holes. */
TEST_F_TIMEOUT(access, refused, 60)
{
	struct gate *g = &self->g;
	const __u64 how[] = { 0, PIN };
	unsigned char data[2 * PAGE] = {};
	struct test_env *env = &g->env;
	size_t i, page;

	fill(at(env, 0), 1);
	fill(at(env, 2), 2);
	for (i = 0; i < ARRAY_SIZE(how); i++) {
		for (page = 0; page < PAGES; page++) {
			const __u64 where = how[i] + iova(FOLLOWED, page);

			EXPECT_EQ(g->error, soft_read(&g->pin, where, data, 1));
			EXPECT_EQ(g->error, soft_read(&g->pin, where, data, PAGE));
			EXPECT_EQ(g->error, soft_write(&g->pin, where, data, 1));
			EXPECT_EQ(g->error, soft_write(&g->pin, where, data, PAGE));
			EXPECT_EQ(g->error, soft_write(&g->pin, where + PAGE - 1, data, 1));
		}
		EXPECT_EQ(g->error, soft_write(&g->pin, how[i] + iova(FOLLOWED, 1), data,
					       2 * PAGE));
	}
	EXPECT_TRUE(all(data, sizeof(data), 0));
	EXPECT_TRUE(filled(at(env, 0), 1));
	EXPECT_TRUE(filled(at(env, 2), 2));
	EXPECT_EQ(2, allocated(env->fd));
	EXPECT_TRUE(follows(g, 0, 3));
	EXPECT_TRUE(follows(g, 1, 4));

	/* where nothing is mapped it is what it always is */
	for (i = 0; i < ARRAY_SIZE(how); i++)
		EXPECT_EQ(variant->way == TYPE1 ? -EINVAL : -ENOENT,
			  soft_read(&g->pin, how[i] + BASE - PAGE, data, PAGE));
}

TEST_F_TIMEOUT(access, ordinary_beside_it, 60)
{
	struct gate *g = &self->g;
	enum place place;
	size_t page;

	for (place = BEFORE; place <= BEHIND; place += BEHIND - BEFORE)
		for (page = 0; page < PAGES; page++)
			EXPECT_TRUE(ordinary(g, place, page, 10 * place + page));
	EXPECT_TRUE(follows(g, 0, 1));
	EXPECT_TRUE(ordinary(g, BEFORE, PAGES - 1, 50));
	EXPECT_TRUE(ordinary(g, BEHIND, 0, 60));
	/* and without it */
	EXPECT_EQ(PAGES * PAGE, space_unmap(&g->s, iova(FOLLOWED, 0), PAGES * PAGE));
	EXPECT_EQ(0, consumers_of(g->env.fd));
	EXPECT_TRUE(ordinary(g, BEFORE, PAGES - 1, 70));
	EXPECT_TRUE(ordinary(g, BEHIND, 0, 80));
}

/*
 * An access that begins where it is allowed, or ends there. Of what was pinned
 * until then nothing stays pinned: unmapping would fail, or never end.
 */
TEST_F_TIMEOUT(access, across, 60)
{
	struct gate *g = &self->g;
	const __u64 ends[] = { iova(FOLLOWED, 0) - PAGE, iova(BEHIND, 0) - PAGE };
	const __u64 how[] = { 0, PIN };
	unsigned char data[2 * PAGE];
	struct test_env *env = &g->env;
	size_t i, end;

	memset(data, 0x5a, sizeof(data));
	fill(at(env, 0), 1);
	fill(at(env, PAGES - 1), 2);
	fill(memory(g, BEHIND, 0), 3);
	for (end = 0; end < ARRAY_SIZE(ends); end++) {
		for (i = 0; i < ARRAY_SIZE(how); i++) {
			const __u64 where = how[i] + ends[end];

			EXPECT_EQ(g->error, soft_write(&g->pin, where, data, 2 * PAGE));
			EXPECT_EQ(g->error, soft_write(&g->pin, where + PAGE - 1, data, 2));
		}
		EXPECT_TRUE(filled(at(env, 0), 1));
		EXPECT_TRUE(filled(at(env, PAGES - 1), 2));
		/* it stops before it gets there */
		EXPECT_TRUE(filled(memory(g, BEHIND, 0), 3));
	}
	EXPECT_EQ(3 * PAGES * PAGE, space_unmap_all(&g->s));
	EXPECT_EQ(0, consumers_of(env->fd));
}

/* What is pinned beside it stays until it is unmapped, whatever the file does. */
TEST_F_TIMEOUT(access, pinned_beside_it, 60)
{
	struct gate *g = &self->g;
	const __u64 where = iova(BEFORE, 0);
	struct test_env *env = &g->env;
	unsigned char data[PAGES * PAGE];
	int round;

	for (round = 0; round < 2; round++) {
		memset(data, round + 1, sizeof(data));
		ASSERT_EQ(0, soft_write(&g->pin, PIN + where, data, sizeof(data)));
		EXPECT_TRUE(all(memory(g, BEFORE, 0), sizeof(data), round + 1));
		ASSERT_EQ(0, grow(env->fd, 0, PAGES));
		ASSERT_EQ(0, punch(env->fd, 1, 2));
		ASSERT_EQ(PAGES * PAGE, space_unmap(&g->s, iova(FOLLOWED, 0),
						    PAGES * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
		ASSERT_EQ(0, space_map(&g->s, env->fd, 0, iova(FOLLOWED, 0),
				       PAGES * PAGE, DMA_RW));
		EXPECT_TRUE(follows(g, 1, 3 + round));

		/*
		 * Both by one call. By iommufd the device is told, and lets go. type1
		 * tells it as well, but with a lock held that lockdep minds.
		 */
		if (variant->way == TYPE1)
			ASSERT_EQ(0, unpin(&g->pin));
		ASSERT_EQ(2 * PAGES * PAGE, space_unmap(&g->s, where, 2 * PAGES * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
		EXPECT_GT(0, soft_read(&g->pin, PIN + where, data, 1));
		EXPECT_GT(0, soft_read(&g->pin, where, data, 1));
		ASSERT_EQ(0, space_map_address(&g->s, g->mem, where, PAGES * PAGE));
		ASSERT_EQ(0, space_map(&g->s, env->fd, 0, iova(FOLLOWED, 0),
				       PAGES * PAGE, DMA_RW));
	}
	/* what it has pinned when it is closed does not stay so either */
	ASSERT_EQ(0, soft_write(&g->pin, PIN + where, data, sizeof(data)));
	close_fd(&g->pin.fd);
	if (g->beside && variant->way != IOMMUFD_GROUP)
		EXPECT_EQ(3 * PAGES * PAGE, space_unmap_all(&g->s));
}

/* The same page of the file, by address for the one and followed for the other. */
TEST_F_TIMEOUT(access, same_page_by_address, 60)
{
	struct gate *g = &self->g;
	const __u64 where = BASE + GIB;
	struct test_env *env = &g->env;
	unsigned char data[PAGE];

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, space_map_address(&g->s, env->mem, where, PAGES * PAGE));
	fill(data, 1);
	ASSERT_EQ(0, soft_write(&g->pin, PIN + where + PAGE, data, PAGE));
	EXPECT_TRUE(filled(at(env, 1), 1));
	if (g->beside) {
		memset(data, 0, PAGE);
		EXPECT_EQ(0, soft_read(&g->dma, iova(FOLLOWED, 1), data, PAGE));
		EXPECT_TRUE(filled(data, 1));
	}
	/* who pins it keeps the page, who follows it does not */
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	EXPECT_TRUE(follows(g, 1, 2));
	EXPECT_EQ(g->error, soft_read(&g->pin, iova(FOLLOWED, 1), data, PAGE));
	ASSERT_EQ(0, unpin(&g->pin));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&g->s, where, PAGES * PAGE));
	EXPECT_TRUE(follows(g, 1, 3));
}

/*
 * The mapping is the space's, not the device's: where there is an emulated device
 * alone no table has it, one that joins has all of it, and it stays when that goes.
 */
TEST_F_TIMEOUT(access, real_one_comes_and_goes, 60)
{
	struct gate *g = &self->g;
	struct test_env *env = &g->env;
	unsigned char data[PAGE];
	int round;

	for (round = 0; round < 2; round++) {
		vdev_close(&g->dma);
		EXPECT_EQ(0, consumers_of(env->fd));
		EXPECT_TRUE(ordinary(g, BEHIND, 1, 10 * round));
		EXPECT_EQ(g->error, soft_read(&g->pin, iova(FOLLOWED, 0), data, 1));
		fill(at(env, 0), round);
		ASSERT_EQ(0, punch(env->fd, 1, 1));

		ASSERT_EQ(0, vdev_open(&g->s, &g->dma));
		g->beside = true;
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_EQ(0, soft_read(&g->dma, iova(FOLLOWED, 0), data, PAGE));
		EXPECT_TRUE(filled(data, round));
		EXPECT_EQ(-EFAULT, soft_read(&g->dma, iova(FOLLOWED, 1), data, PAGE));
		EXPECT_EQ(0, soft_read(&g->dma, iova(BEFORE, 1), data, PAGE));
		EXPECT_TRUE(follows(g, 1, 20 + round));
		EXPECT_EQ(g->error, soft_read(&g->pin, iova(FOLLOWED, 0), data, 1));
		EXPECT_TRUE(ordinary(g, BEHIND, 2, 30 + 10 * round));
	}
}

TEST_HARNESS_MAIN
