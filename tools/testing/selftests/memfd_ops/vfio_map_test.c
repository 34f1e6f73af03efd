// SPDX-License-Identifier: GPL-2.0
/*
 * Windows of a memfd, mapped for a real device by VFIO type1 and by iommufd: what they
 * contain, and how they are unmapped. See Documentation/userspace-api/vfio-memfd.rst.
 */
#include <time.h>

#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/vfio_fixture.h"

#define PAGES	64		/* that most tests map, of a file of 2 MiB */

TEST_F(vfio, announced)
{
	struct test_env *env = &self->env;
	struct type1_map map = type1_request(env->fd, 0, BASE, PAGE, DMA_RW);

	if (env->space.way == TYPE1) {
		EXPECT_EQ(1, ioctl(env->space.fd, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD));
	} else {
		/* an iommufd in a container's place has its own call for it */
		EXPECT_EQ(0, ioctl(env->space.fd, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD));
	}
	if (env->space.way == IOMMUFD_GROUP) {
		EXPECT_EQ(EINVAL, errno_of(ioctl(env->space.fd, VFIO_IOMMU_MAP_DMA, &map)));
		EXPECT_TRUE(nothing_mapped(env));
	}
}

/* Every way in which a file gets a page, after it was mapped. */
TEST_F(vfio, follow)
{
	struct test_env *env = &self->env;
	unsigned char data[PAGE];

	fill(at(env, 1), 1);
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 1));
	/* a page that was there before */
	EXPECT_TRUE(device_reads(env, iova(1), at(env, 1)));
	EXPECT_TRUE(blocked(env, 2));

	ASSERT_EQ(0, grow(env->fd, 3, 1));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 2));
	EXPECT_TRUE(reached(env, 3, 3));

	fill(data, 5);
	ASSERT_EQ(PAGE, pwrite(env->fd, data, PAGE, 5 * PAGE));
	EXPECT_TRUE(device_reads(env, iova(5), data));
	EXPECT_TRUE(reached(env, 5, 6));

	/* by a fault that writes, and by one that reads */
	fill(at(env, 7), 7);
	EXPECT_TRUE(device_reads(env, iova(7), at(env, 7)));
	EXPECT_EQ(0, *(volatile unsigned char *)at(env, 9));
	EXPECT_EQ(0, device_writes(env, iova(9), 9));
	EXPECT_TRUE(written(at(env, 9), 9));

	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 5));
	EXPECT_EQ(5, allocated(env->fd));
	EXPECT_EQ(1, consumers_of(env->fd));
}

/* A window need not begin where the file does. */
TEST_F(vfio, offset)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, space_map(&env->space, env->fd, 8 * PAGE, BASE, 4 * PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	fill(at(env, 8), 8);
	fill(at(env, 11), 11);
	EXPECT_TRUE(device_reads(env, BASE, at(env, 8)));
	EXPECT_TRUE(device_reads(env, BASE + 3 * PAGE, at(env, 11)));
	EXPECT_EQ(0, device_writes(env, BASE + 4 * PAGE, 1));
	EXPECT_TRUE(all(at(env, 12), PAGE, 0));
	EXPECT_TRUE(all(at(env, 4), PAGE, 0));
}

TEST_F(vfio, sparse)
{
	const size_t size = 64 * GIB, far = 40 * GIB;
	struct test_env *env = &self->env;
	unsigned char data[PAGE];
	struct timespec t[2];
	int fd;

	fd = memfd_create("sparse", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, size));
	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	ASSERT_EQ(0, space_map(&env->space, fd, 0, size, size, DMA_RW));
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	note("64 GiB are mapped in %ld us", (t[1].tv_sec - t[0].tv_sec) * 1000000 +
	     (t[1].tv_nsec - t[0].tv_nsec) / 1000);
	EXPECT_EQ(0, allocated(fd));
	EXPECT_EQ(0, fallocate(fd, 0, far, PAGE));
	EXPECT_EQ(1, allocated(fd));
	EXPECT_EQ(0, device_writes(env, size + far, 40));
	EXPECT_EQ(PAGE, pread(fd, data, PAGE, far));
	EXPECT_TRUE(written(data, 40));
	EXPECT_EQ(1, allocated(fd));
	EXPECT_EQ(size, space_unmap(&env->space, size, size));
	close(fd);
}

/* The device has the access that the mapping grants. (VT-d has no write-only access.) */
TEST_F(vfio, read_only)
{
	struct test_env *env = &self->env;
	long faults = mdma_iommu_faults();

	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, BASE, PAGES * PAGE, DMA_R));
	fill(at(env, 0), 1);
	EXPECT_EQ(0, device_writes(env, iova(0), 2));
	EXPECT_TRUE(filled(at(env, 0), 1));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
	EXPECT_TRUE(device_reads(env, iova(0), at(env, 0)));
	/* now from the IOMMU's TLB, where QEMU blocks, but reports no fault */
	EXPECT_EQ(0, device_writes(env, iova(0), 2));
	EXPECT_TRUE(filled(at(env, 0), 1));
}

TEST_F(vfio, unmap)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(env, 0, 16));
	ASSERT_EQ(0, map_pages(env, 16, 16));
	ASSERT_EQ(0, map_pages(env, 40, 8));
	EXPECT_EQ(3, consumers_of(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 40));

	EXPECT_EQ(16 * PAGE, space_unmap(&env->space, iova(0), 16 * PAGE));
	EXPECT_EQ(2, consumers_of(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 24));
	EXPECT_EQ(0, device_writes(env, iova(15), 1));
	EXPECT_TRUE(all(at(env, 15), PAGE, 0));
	EXPECT_TRUE(reached(env, 16, 2));

	/* two in one call, with IOVAs around them of which nothing is mapped */
	EXPECT_EQ(24 * PAGE, space_unmap(&env->space, iova(8), 48 * PAGE));
	EXPECT_TRUE(nothing_mapped(env));
	EXPECT_EQ(0, device_writes(env, iova(20), 1));
	EXPECT_TRUE(all(at(env, 20), PAGE, 0));

	/* all, which source and sink are part of */
	ASSERT_EQ(0, map_pages(env, 0, 16));
	ASSERT_EQ(0, map_pages(env, 40, 8));
	EXPECT_EQ(26 * PAGE, space_unmap_all(&env->space));
	EXPECT_TRUE(nothing_mapped(env));
	EXPECT_EQ(0, consumers_of(env->side_fd));

	/* the IOVAs are free */
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, map_pages(env, 4, 32));
	EXPECT_TRUE(reached(env, 15, 3));
}

TEST_F(vfio, unmap_part)
{
	const int error = variant->way == TYPE1 ? -EINVAL : -ENOENT;
	struct test_env *env = &self->env;
	const struct {
		size_t first, pages;
	} tries[] = {
		{ 16, 1 }, { 16, 15 }, { 31, 1 }, { 17, 15 }, { 20, 4 }, { 12, 8 },
		{ 28, 16 }, { 0, 31 },
	};
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(env, 16, 16));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(error, space_unmap(&env->space, iova(tries[i].first),
					     tries[i].pages * PAGE))
			TH_LOG("%zu pages from %zu on", tries[i].pages, tries[i].first);
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 16));
	}
	EXPECT_TRUE(reached(env, 16, 1));
	EXPECT_TRUE(reached(env, 31, 2));
	ASSERT_EQ(0, punch(env->fd, 20, 1));
	EXPECT_TRUE(blocked(env, 20));
}

TEST_F(vfio, overlaps)
{
	struct test_env *env = &self->env;
	const struct {
		size_t first, pages;
	} tries[] = {
		{ 16, 8 }, { 12, 5 }, { 23, 4 }, { 18, 2 }, { 8, 24 }, { 16, 1 },
	};
	unsigned char *mem;
	size_t i, size;

	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(env, 16, 8));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		size = tries[i].pages * PAGE;
		EXPECT_EQ(-EEXIST, map_pages(env, tries[i].first, tries[i].pages));
		EXPECT_EQ(-EEXIST,
			  space_map_address(&env->space, mem, iova(tries[i].first), size));
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_TRUE(table_has(env, &env->edu, 0, PAGES, 8));
	}
	EXPECT_TRUE(reached(env, 16, 1));
	EXPECT_EQ(8 * PAGE, space_unmap(&env->space, iova(16), 8 * PAGE));

	/* memory mapped by address stays mapped by address */
	ASSERT_EQ(0, space_map_address(&env->space, mem, iova(16), 8 * PAGE));
	fill(mem + 2 * PAGE, 7);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(-EEXIST, map_pages(env, tries[i].first, tries[i].pages));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	EXPECT_TRUE(device_reads(env, iova(18), mem + 2 * PAGE));

	/* and both are neighbours */
	EXPECT_EQ(0, map_pages(env, 15, 1));
	EXPECT_EQ(0, map_pages(env, 24, 1));
	EXPECT_TRUE(reached(env, 15, 2));
	EXPECT_TRUE(reached(env, 24, 3));
	EXPECT_TRUE(device_reads(env, iova(18), mem + 2 * PAGE));
	EXPECT_EQ(10 * PAGE, space_unmap(&env->space, iova(15), 10 * PAGE));
	EXPECT_EQ(0, consumers_of(env->fd));
	munmap(mem, PAGES * PAGE);
}

TEST_F(vfio, no_memory_to_map)
{
	const __u64 spread = 1UL << 36;
	struct test_env *env = &self->env;
	int nth, left, ret, failed = 0;
	__u64 where;

	if (env_open_fail_nth(env))
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, grow(env->fd, 0, 8));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		/* where the IOMMU has no tables yet */
		where = spread + nth * 2 * GIB;
		ASSERT_EQ(nth, fail_nth(env->fail, nth));
		ret = space_map(&env->space, env->fd, 0, where, 8 * PAGE, DMA_RW);
		left = fail_nth(env->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(env->fd));
			EXPECT_GE(0, vdev_reaches(&env->edu, where, 8, NULL));
			failed++;
			ASSERT_EQ(0, space_map(&env->space, env->fd, 0, where, 8 * PAGE,
					       DMA_RW));
		}
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_NE(5, vdev_reaches(&env->edu, where, 8, NULL));
		ASSERT_EQ(8 * PAGE, space_unmap(&env->space, where, 8 * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	note("%d of %d failed allocations made the call fail", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
}

TEST_HARNESS_MAIN
