// SPDX-License-Identifier: GPL-2.0
/*
 * Real devices that follow a memfd, by VFIO type1 and by iommufd: what
 * Documentation/userspace-api/vfio-memfd.rst promises. QEMU's edu does the DMA. It
 * cannot tell that it was blocked, so that memory shows it, and on VT-d the number
 * of faults as well.
 */
#include <signal.h>

#include <memfd_ops/vfio.h>

#include "lib/edu.h"
#include "lib/fail.h"
#include "lib/rights.h"
#include "lib/test_env.h"
#include "../kselftest_harness.h"

#define GIB	(1024UL << 20)
#define PAGES	64		/* that most tests map, of a file of 2 MiB */
#define LIMIT	16UL		/* of a process that has one */

#define BASE	(4 * GIB)	/* the IOVA of the file's first page */
#define SIDE	(2 * GIB)	/* that of what the device copies from, then to */

struct bench {
	struct test_env env;			/* the memfd, without the rig's devices */
	struct space s;
	struct vdev edu, nvme;
	int side;			/* another memfd: source, sink */
	unsigned char *source, *sink;
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

/* Memory, and devices that are ready to be opened. -ENODEV without IOMMU or edu. */
static int bench_setup(struct bench *b, enum way way)
{
	char text[64];
	int ret;

	memset(b, 0, sizeof(*b));
	b->edu = (struct vdev)VDEV_INIT;
	b->nvme = (struct vdev)VDEV_INIT;
	b->s.fd = -1;
	b->side = -1;
	ret = env_setup_memory(&b->env, HUGE_PAGES);
	if (ret)
		return ret;
	b->side = memfd_create("side", MFD_CLOEXEC);
	if (b->side < 0 || ftruncate(b->side, 2 * PAGE))
		return -errno;
	b->source = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, b->side, 0);
	if (b->source == MAP_FAILED)
		return -errno;
	b->sink = b->source + PAGE;

	if (pci_find(EDU_ALIAS, b->edu.address, sizeof(b->edu.address)))
		return -ENODEV;
	/* an instance that is open would have the unbinding wait */
	mdma_remove_stale();
	ret = pci_take(b->edu.address);
	/* with some IOMMUs there is a group only once a driver has asked for it */
	if (pci_link(b->edu.address, "iommu_group", text, sizeof(text)))
		return -ENODEV;
	if (!ret && !pci_find(NVME_ALIAS, b->nvme.address, sizeof(b->nvme.address)))
		ret = pci_take(b->nvme.address);
	return ret ? ret : space_open(&b->s, way);
}

static bool has_nvme(struct bench *b)
{
	return b->nvme.address[0];
}

static int map_side(struct bench *b)
{
	return space_map(&b->s, b->side, 0, SIDE, 2 * PAGE, DMA_RW);
}

static int bench_open(struct bench *b)
{
	int ret = vdev_open(&b->s, &b->edu);

	if (!ret)
		ret = edu_start(&b->edu);
	return ret;
}

static void bench_close(struct bench *b)
{
	vdev_close(&b->edu);
	vdev_close(&b->nvme);
	close_fd(&b->s.fd);
}

static void bench_teardown(struct bench *b)
{
	bench_close(b);
	if (b->source && b->source != MAP_FAILED)
		munmap(b->source, 2 * PAGE);
	close_fd(&b->side);
	env_teardown(&b->env);
}

static int map_pages(struct bench *b, size_t first, size_t pages)
{
	return space_map(&b->s, b->env.fd, first * PAGE, iova(first), pages * PAGE, DMA_RW);
}

/* Is it @want that the device reads there? */
static bool device_reads(struct bench *b, __u64 from, const unsigned char *want)
{
	memset(b->sink, 0x5a, PAGE);
	if (edu_dma(&b->edu, from, LEN, false) ||
	    edu_dma(&b->edu, SIDE + PAGE, LEN, true))
		return false;
	return !memcmp(b->sink, want, LEN);
}

/* Have the device write what fill() makes of @seed. */
static int device_writes(struct bench *b, __u64 to, unsigned int seed)
{
	fill(b->source, seed);
	return edu_dma(&b->edu, SIDE, LEN, false) || edu_dma(&b->edu, to, LEN, true);
}

static bool written(const unsigned char *addr, unsigned int seed)
{
	unsigned char want[PAGE];

	fill(want, seed);
	return !memcmp(addr, want, LEN);
}

/* Does the device reach the file's page, which is there, in both directions? */
static bool reached(struct bench *b, size_t page, unsigned int seed)
{
	fill(at(&b->env, page), seed);
	return device_reads(b, iova(page), at(&b->env, page)) &&
	       !device_writes(b, iova(page), seed + 1) &&
	       written(at(&b->env, page), seed + 1) &&
	       filled(b->source, seed + 1);
}

/*
 * Is it blocked if it writes where the file has a hole? The page that the file
 * gets there then, and loses again, has nothing of it.
 */
static bool blocked(struct bench *b, size_t page)
{
	long faults = mdma_iommu_faults();
	size_t had = allocated(b->env.fd);

	if (device_writes(b, iova(page), 250))
		return false;
	if (!mdma_iommu_faulted(faults)) {
		note("no fault was reported");
		return false;
	}
	if (allocated(b->env.fd) != had || in_core(at(&b->env, page))) {
		note("the file has got a page");
		return false;
	}
	if (grow(b->env.fd, page, 1) || !all(at(&b->env, page), PAGE, 0)) {
		note("the new page is not zero");
		return false;
	}
	return !punch(b->env.fd, page, 1);
}

/* What the table shows, where it can be seen: then as many pages, the file's. */
static bool table_has(struct bench *b, struct vdev *d, size_t first, size_t pages,
		      long want)
{
	long got = vdev_reaches(d, iova(first), pages, at(&b->env, first));

	if (got != -ENOENT && got != want)
		note("the table has %ld pages rather than %ld", got, want);
	return got == -ENOENT || got == want;
}

/* Nobody follows the file, and the device has nothing of it. */
static bool nothing_mapped(struct bench *b)
{
	return consumers_of(b->env.fd) <= 0 && table_has(b, &b->edu, 0, PAGES, 0);
}

static int errno_of(int ret)
{
	return ret < 0 ? errno : 0;
}

#define NOTHING_TO_TEST	"no edu behind an IOMMU"

/* edu is attached, and has source and sink. */
FIXTURE(vfio)
{
	struct bench b;
};

FIXTURE_VARIANT(vfio)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(vfio, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(vfio, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(vfio, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(vfio)
{
	int ret = bench_setup(&self->b, variant->way);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, bench_open(&self->b));
	ASSERT_EQ(0, map_side(&self->b));
}

FIXTURE_TEARDOWN(vfio)
{
	bench_teardown(&self->b);
}

FIXTURE(type1)
{
	struct bench b;
};

FIXTURE_SETUP(type1)
{
	int ret = bench_setup(&self->b, TYPE1);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, bench_open(&self->b));
	ASSERT_EQ(0, map_side(&self->b));
}

FIXTURE_TEARDOWN(type1)
{
	bench_teardown(&self->b);
}

FIXTURE(iommufd)
{
	struct bench b;
};

FIXTURE_VARIANT(iommufd)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(iommufd, cdev) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(iommufd, group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(iommufd)
{
	int ret = bench_setup(&self->b, variant->way);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, bench_open(&self->b));
	ASSERT_EQ(0, map_side(&self->b));
}

FIXTURE_TEARDOWN(iommufd)
{
	bench_teardown(&self->b);
}

/* Nothing is opened yet. */
FIXTURE(late)
{
	struct bench b;
};

FIXTURE_VARIANT(late)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(late, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(late, iommufd) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(late, iommufd_group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(late)
{
	int ret = bench_setup(&self->b, variant->way);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late)
{
	bench_teardown(&self->b);
}

FIXTURE(late_type1)
{
	struct bench b;
};

FIXTURE_SETUP(late_type1)
{
	int ret = bench_setup(&self->b, TYPE1);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late_type1)
{
	bench_teardown(&self->b);
}

FIXTURE(late_cdev)
{
	struct bench b;
};

FIXTURE_SETUP(late_cdev)
{
	int ret = bench_setup(&self->b, IOMMUFD);

	if (ret == -ENODEV)
		SKIP(return, NOTHING_TO_TEST);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late_cdev)
{
	bench_teardown(&self->b);
}

TEST_F_TIMEOUT(vfio, announced, 60)
{
	struct bench *b = &self->b;
	struct type1_map map = type1_request(b->env.fd, 0, BASE, PAGE, DMA_RW);

	if (b->s.way == TYPE1) {
		EXPECT_EQ(1, ioctl(b->s.fd, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD));
	} else {
		/* an iommufd in a container's place has its own call for it */
		EXPECT_EQ(0, ioctl(b->s.fd, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD));
	}
	if (b->s.way == IOMMUFD_GROUP) {
		EXPECT_EQ(EINVAL, errno_of(ioctl(b->s.fd, VFIO_IOMMU_MAP_DMA, &map)));
		EXPECT_TRUE(nothing_mapped(b));
	}
}

/* Every way in which a file gets a page, after it was mapped. */
TEST_F_TIMEOUT(vfio, follow, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	unsigned char data[PAGE];

	fill(at(env, 1), 1);
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 1));
	/* what was there before */
	EXPECT_TRUE(device_reads(b, iova(1), at(env, 1)));
	EXPECT_TRUE(blocked(b, 2));

	ASSERT_EQ(0, grow(env->fd, 3, 1));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 2));
	EXPECT_TRUE(reached(b, 3, 3));

	fill(data, 5);
	ASSERT_EQ(PAGE, pwrite(env->fd, data, PAGE, 5 * PAGE));
	EXPECT_TRUE(device_reads(b, iova(5), data));
	EXPECT_TRUE(reached(b, 5, 6));

	/* by a fault that writes, and by one that reads */
	fill(at(env, 7), 7);
	EXPECT_TRUE(device_reads(b, iova(7), at(env, 7)));
	EXPECT_EQ(0, *(volatile unsigned char *)at(env, 9));
	EXPECT_EQ(0, device_writes(b, iova(9), 9));
	EXPECT_TRUE(written(at(env, 9), 9));

	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 5));
	EXPECT_EQ(5, allocated(env->fd));
	EXPECT_EQ(1, consumers_of(env->fd));
}

/* A window need not begin where the file does. */
TEST_F_TIMEOUT(vfio, offset, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	ASSERT_EQ(0, space_map(&b->s, env->fd, 8 * PAGE, BASE, 4 * PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	fill(at(env, 8), 8);
	fill(at(env, 11), 11);
	EXPECT_TRUE(device_reads(b, BASE, at(env, 8)));
	EXPECT_TRUE(device_reads(b, BASE + 3 * PAGE, at(env, 11)));
	EXPECT_EQ(0, device_writes(b, BASE + 4 * PAGE, 1));
	EXPECT_TRUE(all(at(env, 12), PAGE, 0));
	EXPECT_TRUE(all(at(env, 4), PAGE, 0));
}

TEST_F_TIMEOUT(vfio, sparse, 60)
{
	const size_t size = 64 * GIB, far = 40 * GIB;
	struct bench *b = &self->b;
	unsigned char data[PAGE];
	struct timespec t[2];
	int fd;

	fd = memfd_create("sparse", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, size));
	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	ASSERT_EQ(0, space_map(&b->s, fd, 0, size, size, DMA_RW));
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	note("64 GiB are mapped in %ld us", (t[1].tv_sec - t[0].tv_sec) * 1000000 +
	     (t[1].tv_nsec - t[0].tv_nsec) / 1000);
	EXPECT_EQ(0, allocated(fd));
	EXPECT_EQ(0, fallocate(fd, 0, far, PAGE));
	EXPECT_EQ(1, allocated(fd));
	EXPECT_EQ(0, device_writes(b, size + far, 40));
	EXPECT_EQ(PAGE, pread(fd, data, PAGE, far));
	EXPECT_TRUE(written(data, 40));
	EXPECT_EQ(1, allocated(fd));
	EXPECT_EQ(size, space_unmap(&b->s, size, size));
	close(fd);
}

/* The device may do what the mapping says. (What may be written VT-d lets be read.) */
TEST_F_TIMEOUT(vfio, read_only, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	long faults = mdma_iommu_faults();

	ASSERT_EQ(0, space_map(&b->s, env->fd, 0, BASE, PAGES * PAGE, DMA_R));
	fill(at(env, 0), 1);
	EXPECT_EQ(0, device_writes(b, iova(0), 2));
	EXPECT_TRUE(filled(at(env, 0), 1));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
	EXPECT_TRUE(device_reads(b, iova(0), at(env, 0)));
	/* now from the IOMMU's TLB, where QEMU blocks, but reports no fault */
	EXPECT_EQ(0, device_writes(b, iova(0), 2));
	EXPECT_TRUE(filled(at(env, 0), 1));
}

static int by_punch(struct test_env *env, size_t page)
{
	return punch(env->fd, page, 1);
}

static int by_truncate(struct test_env *env, size_t page)
{
	return ftruncate(env->fd, page * PAGE) || ftruncate(env->fd, env->pages * PAGE);
}

static int by_madvise(struct test_env *env, size_t page)
{
	return madvise(at(env, page), PAGE, MADV_REMOVE);
}

/* Every way in which a file loses a page on purpose. */
TEST_F_TIMEOUT(vfio, lose, 240)
{
	int (*const take[])(struct test_env *env, size_t page) = {
		by_punch, by_truncate, by_madvise,
	};
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	size_t i;

	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	fill(at(env, 2), 2);
	for (i = 0; i < ARRAY_SIZE(take); i++) {
		ASSERT_EQ(0, grow(env->fd, 3, 1));
		/* the IOMMU's TLB has it now */
		ASSERT_TRUE(reached(b, 3, 10 + i));
		ASSERT_EQ(0, take[i](env, 3));
		EXPECT_TRUE(blocked(b, 3)) TH_LOG("way %zu", i);
		EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 1));
		EXPECT_TRUE(device_reads(b, iova(2), at(env, 2)));
		ASSERT_EQ(0, grow(env->fd, 3, 1));
		EXPECT_TRUE(reached(b, 3, 20 + i)) TH_LOG("way %zu", i);
		EXPECT_TRUE(filled(at(env, 2), 2));
	}
}

#define NEXT	16	/* pages of who has next what was freed */

/*
 * A DMA that is on its way writes the old page before punch returns, or nothing: not
 * to whoever has that page then.
 */
TEST_F_TIMEOUT(vfio, lose_under_dma, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	int round, other, again = 0;
	__u64 pfn, pfns[NEXT];
	unsigned char *mem;
	size_t i;

	/* mapped too: what a device may have is allocated where that came from */
	other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(other, NEXT * PAGE));
	mem = mmap(NULL, NEXT * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, space_map(&b->s, other, 0, BASE + GIB, NEXT * PAGE, DMA_R));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, grow(env->fd, 0, 1));
		/* the IOMMU's TLB has it now */
		ASSERT_EQ(0, device_writes(b, iova(0), 99));
		EXPECT_TRUE(written(at(env, 0), 99));
		pfn = pfn_of(at(env, 0));
		edu_go(&b->edu, iova(0), LEN, true);
		ASSERT_EQ(0, punch(env->fd, 0, 1));
		ASSERT_EQ(0, grow(other, 0, NEXT));
		ASSERT_EQ(0, madvise(mem, NEXT * PAGE, MADV_POPULATE_READ));
		page_frames(mem, NEXT, pfns);
		if (edu_read(&b->edu, EDU_DMA_CMD) & EDU_DMA_RUN)
			for (i = 0; i < NEXT; i++)
				again += pfns[i] == pfn;
		ASSERT_EQ(0, edu_wait(&b->edu));
		EXPECT_TRUE(all(mem, NEXT * PAGE, 0));
		EXPECT_EQ(0, allocated(env->fd));
		ASSERT_EQ(0, punch(other, 0, NEXT));
	}
	/* or else nothing has been seen here */
	note("in %d rounds the page had another owner when the DMA ended", again);
	EXPECT_LT(0, again);

	/* and one that meets the page that has come instead, writes that */
	ASSERT_EQ(0, grow(env->fd, 0, 1));
	ASSERT_EQ(0, edu_dma(&b->edu, SIDE, LEN, false));
	edu_go(&b->edu, iova(0), LEN, true);
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	ASSERT_EQ(0, grow(env->fd, 0, 1));
	ASSERT_EQ(0, edu_wait(&b->edu));
	EXPECT_TRUE(written(at(env, 0), 99));
	munmap(mem, NEXT * PAGE);
	close(other);
}

TEST_F_TIMEOUT(vfio, hole_in_huge_page, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	const size_t beside[] = { 0, 99, 101, HUGE_PAGES - 1 };
	size_t i;

	if (env_thp(env, "always") == -ENOENT)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, map_pages(b, 0, HUGE_PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	ASSERT_TRUE(is_huge(env->mem));
	EXPECT_TRUE(table_has(b, &b->edu, 0, HUGE_PAGES, HUGE_PAGES));
	EXPECT_TRUE(reached(b, 100, 1));

	ASSERT_EQ(0, punch(env->fd, 100, 1));
	EXPECT_TRUE(table_has(b, &b->edu, 0, HUGE_PAGES, HUGE_PAGES - 1));
	for (i = 0; i < ARRAY_SIZE(beside); i++)
		EXPECT_TRUE(reached(b, beside[i], 10 + i));
	EXPECT_TRUE(blocked(b, 100));
	ASSERT_EQ(0, grow(env->fd, 100, 1));
	EXPECT_TRUE(reached(b, 100, 2));
	for (i = 0; i < ARRAY_SIZE(beside); i++)
		EXPECT_TRUE(written(at(env, beside[i]), 11 + i));

	/* the whole of it by one call */
	ASSERT_EQ(0, punch(env->fd, 0, HUGE_PAGES));
	EXPECT_TRUE(table_has(b, &b->edu, 0, HUGE_PAGES, 0));
	EXPECT_TRUE(blocked(b, 0));
	EXPECT_EQ(HUGE, space_unmap(&b->s, iova(0), HUGE));
}

TEST_F_TIMEOUT(vfio, unmap, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(b, 0, 16));
	ASSERT_EQ(0, map_pages(b, 16, 16));
	ASSERT_EQ(0, map_pages(b, 40, 8));
	EXPECT_EQ(3, consumers_of(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 40));

	EXPECT_EQ(16 * PAGE, space_unmap(&b->s, iova(0), 16 * PAGE));
	EXPECT_EQ(2, consumers_of(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 24));
	EXPECT_EQ(0, device_writes(b, iova(15), 1));
	EXPECT_TRUE(all(at(env, 15), PAGE, 0));
	EXPECT_TRUE(reached(b, 16, 2));

	/* two in one call, with IOVAs around them of which nothing is mapped */
	EXPECT_EQ(24 * PAGE, space_unmap(&b->s, iova(8), 48 * PAGE));
	EXPECT_TRUE(nothing_mapped(b));
	EXPECT_EQ(0, device_writes(b, iova(20), 1));
	EXPECT_TRUE(all(at(env, 20), PAGE, 0));

	/* all, which source and sink are part of */
	ASSERT_EQ(0, map_pages(b, 0, 16));
	ASSERT_EQ(0, map_pages(b, 40, 8));
	EXPECT_EQ(26 * PAGE, space_unmap_all(&b->s));
	EXPECT_TRUE(nothing_mapped(b));
	EXPECT_EQ(0, consumers_of(b->side));

	/* the IOVAs are free */
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 4, 32));
	EXPECT_TRUE(reached(b, 15, 3));
}

TEST_F_TIMEOUT(vfio, unmap_part, 120)
{
	const int error = variant->way == TYPE1 ? -EINVAL : -ENOENT;
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	const struct {
		size_t first, pages;
	} tries[] = {
		{ 16, 1 }, { 16, 15 }, { 31, 1 }, { 17, 15 }, { 20, 4 }, { 12, 8 },
		{ 28, 16 }, { 0, 31 },
	};
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, map_pages(b, 16, 16));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(error, space_unmap(&b->s, iova(tries[i].first),
					     tries[i].pages * PAGE))
			TH_LOG("%zu pages from %zu on", tries[i].pages, tries[i].first);
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 16));
	}
	EXPECT_TRUE(reached(b, 16, 1));
	EXPECT_TRUE(reached(b, 31, 2));
	ASSERT_EQ(0, punch(env->fd, 20, 1));
	EXPECT_TRUE(blocked(b, 20));
}

TEST_F_TIMEOUT(vfio, overlaps, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
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
	ASSERT_EQ(0, map_pages(b, 16, 8));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		size = tries[i].pages * PAGE;
		EXPECT_EQ(-EEXIST, map_pages(b, tries[i].first, tries[i].pages));
		EXPECT_EQ(-EEXIST, space_map_address(&b->s, mem, iova(tries[i].first), size));
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 8));
	}
	EXPECT_TRUE(reached(b, 16, 1));
	EXPECT_EQ(8 * PAGE, space_unmap(&b->s, iova(16), 8 * PAGE));

	/* what is mapped by address stays mapped by address */
	ASSERT_EQ(0, space_map_address(&b->s, mem, iova(16), 8 * PAGE));
	fill(mem + 2 * PAGE, 7);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(-EEXIST, map_pages(b, tries[i].first, tries[i].pages));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	EXPECT_TRUE(device_reads(b, iova(18), mem + 2 * PAGE));

	/* and both are neighbours */
	EXPECT_EQ(0, map_pages(b, 15, 1));
	EXPECT_EQ(0, map_pages(b, 24, 1));
	EXPECT_TRUE(reached(b, 15, 2));
	EXPECT_TRUE(reached(b, 24, 3));
	EXPECT_TRUE(device_reads(b, iova(18), mem + 2 * PAGE));
	EXPECT_EQ(10 * PAGE, space_unmap(&b->s, iova(15), 10 * PAGE));
	EXPECT_EQ(0, consumers_of(env->fd));
	munmap(mem, PAGES * PAGE);
}

static int map_at(struct bench *b, __u64 where, size_t size)
{
	return space_map(&b->s, b->env.fd, 0, where, size, DMA_RW);
}

#define RESERVED	0xfee00000UL	/* where interrupts are */
#define TOP		((__u64)-PAGE)

TEST_F_TIMEOUT(vfio, refused, 120)
{
	struct bench *b = &self->b;
	const struct {
		const char *what;
		int error;
		int fd;
		__u64 offset, iova, size;
		__u32 prot;
	} tries[] = {
#define WITH(error, ...) \
	{ #__VA_ARGS__, error, b->env.fd, PAGE, BASE, 4 * PAGE, DMA_RW, __VA_ARGS__ }
		WITH(EINVAL, .prot = 0),
		WITH(EINVAL, .size = 0),
		WITH(EINVAL, .size = 1),
		WITH(EINVAL, .size = PAGE + 1),
		WITH(EINVAL, .size = PAGE / 2),
		WITH(EINVAL, .iova = BASE + 1),
		WITH(EINVAL, .iova = BASE + PAGE / 2),
		WITH(EINVAL, .offset = 1),
		WITH(EINVAL, .offset = PAGE + 512),
		WITH(EINVAL, .iova = RESERVED),
		WITH(EINVAL, .iova = RESERVED - PAGE, .size = 2 * PAGE),
		WITH(EINVAL, .iova = RESERVED - PAGE, .size = 1024 * PAGE),
		WITH(EINVAL, .offset = 1ULL << 63),
		WITH(EOVERFLOW, .iova = TOP, .size = 2 * PAGE),
		WITH(EOVERFLOW, .size = TOP),
		WITH(EOVERFLOW, .offset = TOP, .size = 2 * PAGE),
		WITH(EBADF, .fd = -1),
		WITH(EBADF, .fd = 1000),
#undef WITH
	};
	size_t i;

	fill(at(&b->env, 1), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(-tries[i].error,
			  space_map(&b->s, tries[i].fd, tries[i].offset, tries[i].iova,
				    tries[i].size, tries[i].prot))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(b)) TH_LOG("after %s", tries[i].what);
	}
	/* past what the IOMMU has: 48 bits on QEMU's VT-d, on virtio there are 64 */
	if (mdma_iommu_faults() >= 0) {
		EXPECT_EQ(-EINVAL, map_at(b, 1UL << 48, PAGE));
		EXPECT_EQ(-EINVAL, map_at(b, (1UL << 48) - PAGE, 2 * PAGE));
		EXPECT_EQ(-EINVAL, map_at(b, 1UL << 62, PAGE));
		EXPECT_TRUE(nothing_mapped(b));
	}
	/* without any of that it is fine */
	EXPECT_EQ(0, map_pages(b, 1, 4));
	EXPECT_TRUE(reached(b, 1, 1));
}

static int try_type1(struct bench *b, struct type1_map map)
{
	return errno_of(ioctl(b->s.fd, VFIO_IOMMU_MAP_DMA, &map));
}

TEST_F_TIMEOUT(type1, refused, 60)
{
	struct bench *b = &self->b;
	const struct type1_map good = type1_request(b->env.fd, 0, BASE, PAGE, DMA_RW);
	struct type1_map map;
	size_t i;
	const struct {
		const char *what;
		int error;
		struct type1_map map;
	} tries[] = {
#define WITH(field, value)							\
	{ #field " = " #value, EINVAL, ({ map = good; map.field = value; map; }) }
		WITH(map.argsz, sizeof(map) - 1),
		WITH(map.argsz, sizeof(map.map)),
		WITH(map.argsz, sizeof(map.map) - 1),
		WITH(map.argsz, 0),
		WITH(map.vaddr, PAGE),
		WITH(map.vaddr, 1),
		WITH(map.vaddr, (uintptr_t)b->env.mem),
		WITH(file.reserved, 1),
		WITH(file.reserved, 1U << 31),
		WITH(map.flags, good.map.flags | 1 << 3),
		WITH(map.flags, good.map.flags | 1 << 30),
		WITH(map.flags, good.map.flags | VFIO_DMA_MAP_FLAG_VADDR),
		WITH(map.flags, VFIO_DMA_MAP_FLAG_MEMFD | VFIO_DMA_MAP_FLAG_VADDR),
#undef WITH
	};
	char *mem;

	fill(at(&b->env, 0), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(tries[i].error, try_type1(b, tries[i].map))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(b)) TH_LOG("after %s", tries[i].what);
	}
	EXPECT_EQ(EFAULT, errno_of(ioctl(b->s.fd, VFIO_IOMMU_MAP_DMA, NULL)));
	/* the second structure is where there is no memory */
	mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	munmap(mem + PAGE, PAGE);
	memcpy(mem + PAGE - sizeof(map.map), &good, sizeof(map.map));
	EXPECT_EQ(EFAULT, errno_of(ioctl(b->s.fd, VFIO_IOMMU_MAP_DMA,
					 mem + PAGE - sizeof(map.map))));
	EXPECT_TRUE(nothing_mapped(b));
	munmap(mem, PAGE);

	/* argsz may be that of a later kernel's, larger structure */
	map = good;
	map.map.argsz += 8;
	EXPECT_EQ(0, try_type1(b, map));
	EXPECT_TRUE(reached(b, 0, 1));
}

static int try_ioas(struct bench *b, struct iommu_ioas_map_file map)
{
	return errno_of(ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, &map));
}

TEST_F_TIMEOUT(iommufd, refused, 60)
{
	struct bench *b = &self->b;
	const struct iommu_ioas_map_file good = ioas_request(&b->s, b->env.fd, 0, BASE, PAGE,
							     DMA_RW);
	struct iommu_ioas_map_file map;
	struct {
		struct iommu_ioas_map_file map;
		__u64 more;
	} longer = { .map = good };
	size_t i;
	const struct {
		const char *what;
		int error;
		struct iommu_ioas_map_file map;
	} tries[] = {
#define WITH(error, field, value)						\
	{ #field " = " #value, error, ({ map = good; map.field = value; map; }) }
		/* as if there were no such ioctl */
		WITH(ENOTTY, flags, good.flags & ~IOMMU_IOAS_MAP_FOLLOW),
		WITH(EOPNOTSUPP, flags, good.flags | 1 << 3),
		WITH(EOPNOTSUPP, flags, good.flags | 1 << 30),
		WITH(ENOTTY, flags, 0),
		WITH(EINVAL, size, sizeof(map) - 1),
		WITH(EINVAL, size, 0),
		WITH(ENOENT, ioas_id, 0x7fffffff),
		WITH(EOVERFLOW, iova, UINT64_MAX),
		WITH(EOVERFLOW, length, UINT64_MAX),
#undef WITH
	};

	fill(at(&b->env, 0), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(tries[i].error, try_ioas(b, tries[i].map))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(b)) TH_LOG("after %s", tries[i].what);
	}
	if (b->s.way == IOMMUFD) {
		/* an object, but not an IOAS */
		map = good;
		map.ioas_id = b->edu.id;
		EXPECT_EQ(ENOENT, try_ioas(b, map));
	}
	longer.map.size = sizeof(longer);
	longer.more = 1;
	EXPECT_EQ(E2BIG, errno_of(ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, &longer)));
	EXPECT_EQ(EFAULT, errno_of(ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, NULL)));
	EXPECT_TRUE(nothing_mapped(b));
	longer.more = 0;
	EXPECT_EQ(0, ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, &longer));
	EXPECT_TRUE(reached(b, 0, 1));
}

TEST_F_TIMEOUT(iommufd, kernel_chooses_iova, 60)
{
	struct bench *b = &self->b;
	struct iommu_ioas_map_file map = ioas_request(&b->s, b->env.fd, 0, BASE, PAGE, DMA_RW);
	__u64 first;

	map.flags &= ~IOMMU_IOAS_MAP_FIXED_IOVA;
	/* what it must not choose */
	ASSERT_EQ(0, space_map(&b->s, b->env.fd, 0, PAGE, PAGE, DMA_RW));
	ASSERT_EQ(0, try_ioas(b, map));
	ASSERT_EQ(0, ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, &map));
	first = map.iova;
	ASSERT_EQ(0, ioctl(b->s.fd, IOMMU_IOAS_MAP_FILE, &map));
	EXPECT_NE(first, map.iova);
	EXPECT_NE(PAGE, map.iova);
	EXPECT_EQ(4, consumers_of(b->env.fd));
	fill(at(&b->env, 0), 1);
	EXPECT_TRUE(device_reads(b, first, at(&b->env, 0)));
	EXPECT_TRUE(device_reads(b, map.iova, at(&b->env, 0)));
	EXPECT_EQ(PAGE, space_unmap(&b->s, first, PAGE));
	EXPECT_FALSE(device_reads(b, first, at(&b->env, 0)));
	EXPECT_TRUE(device_reads(b, map.iova, at(&b->env, 0)));

	map.start = 1;
	EXPECT_EQ(EINVAL, try_ioas(b, map));
	map.start = 0;
	map.length = 1UL << 61;
	if (mdma_iommu_faults() >= 0)
		EXPECT_EQ(ENOSPC, try_ioas(b, map));
	EXPECT_EQ(3, consumers_of(b->env.fd));
}

static int map_one(struct bench *b, int fd, __u32 prot)
{
	return space_map(&b->s, fd, 0, BASE, PAGE, prot);
}

TEST_F_TIMEOUT(vfio, files, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	int fd, pipefd[2];
	char path[64];

	fill(at(env, 0), 0);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-EINVAL, map_one(b, fd, DMA_RW));
	close(fd);
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, map_one(b, pipefd[0], DMA_R));
	close(pipefd[0]);
	close(pipefd[1]);
	/* a regular file, but not on tmpfs */
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, map_one(b, fd, DMA_R));
	close(fd);
	EXPECT_EQ(-EINVAL, map_one(b, b->edu.fd, DMA_RW));
	EXPECT_EQ(-EINVAL, map_one(b, b->s.fd, DMA_RW));
	fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_one(b, fd, DMA_R));
		close(fd);
	}
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_one(b, fd, DMA_RW));
		close(fd);
	} else {
		note("hugetlbfs not tried: this kernel has none");
	}

	/* the file's mode is the device's */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", env->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, map_one(b, fd, DMA_RW));
	EXPECT_EQ(-EACCES, map_one(b, fd, DMA_W));
	EXPECT_TRUE(nothing_mapped(b));
	EXPECT_EQ(0, map_one(b, fd, DMA_R));
	EXPECT_EQ(PAGE, space_unmap(&b->s, BASE, PAGE));
	close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(-EACCES, map_one(b, fd, DMA_RW));
	EXPECT_EQ(-EACCES, map_one(b, fd, DMA_R));
	/* what VT-d lets a device write, it lets it read as well */
	EXPECT_EQ(-EACCES, map_one(b, fd, DMA_W));
	EXPECT_TRUE(nothing_mapped(b));
	close(fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	EXPECT_EQ(-EBADF, map_one(b, fd, DMA_R));
	close(fd);
	EXPECT_TRUE(nothing_mapped(b));

	/* any file on tmpfs will do */
	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		EXPECT_EQ(0, map_one(b, fd, DMA_RW));
		fill(b->source, 3);
		EXPECT_EQ(PAGE, pwrite(fd, b->source, PAGE, 0));
		EXPECT_TRUE(device_reads(b, BASE, b->source));
		close(fd);
		/* which nobody else has any more */
		EXPECT_TRUE(device_reads(b, BASE, b->source));
		EXPECT_EQ(PAGE, space_unmap(&b->s, BASE, PAGE));
	}
}

/*
 * Seals
 */

/* Who may not write to the file may not have the device do it. */
TEST_F_TIMEOUT(vfio, seals, 60)
{
	const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };
	struct bench *b = &self->b;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(seals); i++) {
		fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ASSERT_LE(0, fd);
		ASSERT_EQ(1, write(fd, "x", 1));
		ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, seals[i]));
		EXPECT_EQ(-EPERM, map_one(b, fd, DMA_RW));
		EXPECT_EQ(-EPERM, map_one(b, fd, DMA_W));
		EXPECT_EQ(0, consumers_of(fd));
		space_unmap(&b->s, BASE, PAGE);
		EXPECT_EQ(0, map_one(b, fd, DMA_R));
		EXPECT_EQ(PAGE, space_unmap(&b->s, BASE, PAGE));
		close(fd);
	}
}

static int add_seals(struct bench *b, int seals)
{
	return fcntl(b->env.fd, F_ADD_SEALS, seals) ? -errno : 0;
}

/* Go on seeing the file by a mapping that cannot write, and so keeps no seal off. */
static int look_only(struct test_env *env)
{
	int fd = reopen(env->fd, O_RDONLY);

	if (fd < 0)
		return -errno;
	env->mem = mmap(env->mem, env->pages * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	return env->mem == MAP_FAILED ? -errno : 0;
}

/* A sealed file does not change: not while a device can write to it, or to its holes. */
TEST_F_TIMEOUT(vfio, seals_and_writers, 120)
{
	const __u64 reader = iova(PAGES);
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	fill(at(env, 0), 1);
	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, map_pages(b, 8, 8));
	EXPECT_TRUE(table_has(b, &b->edu, 8, 8, 0));
	EXPECT_EQ(-EBUSY, add_seals(b, F_SEAL_WRITE));
	EXPECT_EQ(8 * PAGE, space_unmap(&b->s, iova(8), 8 * PAGE));

	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	/* one that only reads keeps nobody off; it is not what is in the way */
	ASSERT_EQ(0, space_map(&b->s, env->fd, 0, reader, PAGES * PAGE, DMA_R));
	EXPECT_EQ(-EBUSY, add_seals(b, F_SEAL_WRITE));
	EXPECT_EQ(0, fcntl(env->fd, F_GET_SEALS));
	/* what was refused has changed nothing */
	EXPECT_EQ(0, device_writes(b, iova(0), 2));
	EXPECT_TRUE(written(at(env, 0), 2));
	EXPECT_TRUE(device_reads(b, reader, at(env, 0)));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));

	EXPECT_EQ(0, add_seals(b, F_SEAL_WRITE));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(device_reads(b, reader, at(env, 0)));
	EXPECT_EQ(-EPERM, map_pages(b, 0, PAGES));
	EXPECT_EQ(-EPERM, map_one(b, env->fd, DMA_W));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_EQ(0, map_one(b, env->fd, DMA_R));
	EXPECT_TRUE(device_reads(b, BASE, at(env, 0)));
	EXPECT_EQ(0, device_writes(b, BASE, 3));
	EXPECT_EQ(0, device_writes(b, reader, 3));
	EXPECT_TRUE(written(at(env, 0), 2));
}

/* F_SEAL_FUTURE_WRITE is for those who come; a device that writes goes on. */
TEST_F_TIMEOUT(vfio, seals_and_later_writers, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_EQ(0, add_seals(b, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, space_map(&b->s, env->fd, 0, iova(PAGES), PAGE, DMA_RW));
	EXPECT_EQ(-EPERM, punch(env->fd, 0, 1));
	ASSERT_EQ(0, grow(env->fd, 1, 1));
	EXPECT_EQ(0, device_writes(b, iova(1), 1));
	EXPECT_TRUE(written(at(env, 1), 1));
	EXPECT_EQ(-EBUSY, add_seals(b, F_SEAL_WRITE));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	EXPECT_EQ(-EPERM, map_pages(b, 0, PAGES));
	EXPECT_EQ(0, add_seals(b, F_SEAL_WRITE));
	EXPECT_TRUE(nothing_mapped(b));
}

/* What a file that may not grow or shrink refuses does not reach the device either. */
TEST_F_TIMEOUT(vfio, seals_of_the_size, 120)
{
	const int more[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, 0 };
	const size_t size = 16;
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	size_t i;

	ASSERT_EQ(0, ftruncate(env->fd, size * PAGE));
	ASSERT_EQ(0, grow(env->fd, 0, 8));
	/* the window is larger than the file */
	ASSERT_EQ(0, map_pages(b, 0, PAGES));

	ASSERT_EQ(0, add_seals(b, F_SEAL_GROW));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, PAGES * PAGE)));
	EXPECT_EQ(-EPERM, grow(env->fd, size, 1));
	EXPECT_EQ(-EPERM, grow(env->fd, 12, 8));
	EXPECT_EQ(EPERM, errno_of(fallocate(env->fd, FALLOC_FL_KEEP_SIZE, size * PAGE, PAGE)));
	EXPECT_EQ(EPERM, errno_of(pwrite(env->fd, "x", 1, size * PAGE)));
	EXPECT_EQ(size, file_pages(env->fd));
	EXPECT_EQ(8, allocated(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 8));
	/* within its size it grows, and the device with it */
	EXPECT_EQ(0, grow(env->fd, 12, 4));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 12));
	EXPECT_TRUE(reached(b, 15, 1));

	ASSERT_EQ(0, add_seals(b, F_SEAL_SHRINK));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, 4 * PAGE)));
	EXPECT_EQ(EPERM, errno_of(ftruncate(env->fd, size * PAGE - 1)));
	EXPECT_EQ(size, file_pages(env->fd));
	EXPECT_EQ(12, allocated(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 12));
	EXPECT_TRUE(device_reads(b, iova(15), at(env, 15)));
	/* a hole is not shorter */
	EXPECT_EQ(0, punch(env->fd, 14, 2));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 10));
	EXPECT_TRUE(blocked(b, 15));

	/* no more seals: who has the file mapped can rely on writing to it */
	ASSERT_EQ(0, add_seals(b, F_SEAL_SEAL));
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		EXPECT_EQ(-EPERM, add_seals(b, more[i])) TH_LOG("seal 0x%x", more[i]);
	}
	EXPECT_EQ(F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, fcntl(env->fd, F_GET_SEALS));
	EXPECT_TRUE(reached(b, 0, 2));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	EXPECT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_TRUE(reached(b, 0, 4));
}

/* A mapping that no device has yet keeps no seal off; then no device can have it. */
TEST_F_TIMEOUT(late_cdev, sealed_before_attach, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	fill(at(env, 0), 1);
	ASSERT_EQ(0, look_only(env));
	ASSERT_EQ(0, vdev_bind(&b->s, &b->edu));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_EQ(0, add_seals(b, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, vdev_attach(&b->edu, b->s.ioas));
	EXPECT_TRUE(nothing_mapped(b));
	EXPECT_EQ(0, consumers_of(b->side));

	EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	ASSERT_EQ(0, map_one(b, env->fd, DMA_R));
	ASSERT_EQ(0, vdev_attach(&b->edu, b->s.ioas));
	ASSERT_EQ(0, edu_start(&b->edu));
	EXPECT_TRUE(device_reads(b, BASE, at(env, 0)));
	EXPECT_EQ(0, device_writes(b, BASE, 2));
	EXPECT_TRUE(filled(at(env, 0), 1));
}

#define DMA_LIMIT	"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

TEST_F_TIMEOUT(late_type1, too_many, 60)
{
	struct bench *b = &self->b;
	char limit[32];
	int i;

	ASSERT_EQ(0, read_line(DMA_LIMIT, limit, sizeof(limit)));
	ASSERT_EQ(0, write_file(DMA_LIMIT, "4"));
	EXPECT_EQ(0, bench_open(b));
	ASSERT_EQ(0, write_file(DMA_LIMIT, limit));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, grow(b->env.fd, 0, 4));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, map_pages(b, i, 1));
	EXPECT_EQ(-ENOSPC, map_pages(b, 3, 1));
	EXPECT_EQ(3, consumers_of(b->env.fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, 4, 3));
	/* what failed does not count */
	EXPECT_EQ(-EEXIST, map_pages(b, 0, 1));
	EXPECT_EQ(PAGE, space_unmap(&b->s, iova(0), PAGE));
	EXPECT_EQ(-EINVAL, space_map(&b->s, b->env.fd, 0, RESERVED, PAGE, DMA_RW));
	EXPECT_EQ(0, map_pages(b, 3, 1));
	EXPECT_EQ(-ENOSPC, map_pages(b, 0, 1));
	EXPECT_TRUE(reached(b, 3, 1));
}

/*
 * What cannot be done with such a range
 */

TEST_F_TIMEOUT(iommufd, not_copied, 60)
{
	struct bench *b = &self->b;
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = ioas_flags(DMA_RW),
		.dst_ioas_id = b->s.ioas,
		.src_ioas_id = b->s.ioas,
		.length = 4 * PAGE,
		.dst_iova = BASE + GIB,
		.src_iova = BASE,
	};

	ASSERT_EQ(0, map_pages(b, 0, 4));
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(b->s.fd, IOMMU_IOAS_COPY, &copy)));
	copy.length = PAGE;
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(b->s.fd, IOMMU_IOAS_COPY, &copy)));
	EXPECT_EQ(0, ioas_alloc(&b->s, &copy.dst_ioas_id));
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(b->s.fd, IOMMU_IOAS_COPY, &copy)));
	/* there is nothing at all */
	copy.src_iova = BASE + 8 * PAGE;
	EXPECT_EQ(ENOENT, errno_of(ioctl(b->s.fd, IOMMU_IOAS_COPY, &copy)));
	EXPECT_EQ(1, consumers_of(b->env.fd));
	/* what failed holds nothing back */
	EXPECT_EQ(4 * PAGE, space_unmap(&b->s, BASE, 4 * PAGE));
	EXPECT_EQ(0, consumers_of(b->env.fd));
}

TEST_F_TIMEOUT(type1, no_address_to_update, 60)
{
	const __u32 all = VFIO_DMA_UNMAP_FLAG_VADDR | VFIO_DMA_UNMAP_FLAG_ALL;
	struct bench *b = &self->b;
	unsigned char *mem;

	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, map_pages(b, 1, 4));
	EXPECT_EQ(-EINVAL, type1_unmap(b->s.fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(1), 4 * PAGE));
	EXPECT_EQ(-EINVAL, type1_unmap(b->s.fd, all, 0, 0));

	/* a mapping by address in the same call is left as it was */
	ASSERT_EQ(0, space_map_address(&b->s, mem, iova(0), PAGE));
	EXPECT_EQ(-EINVAL, type1_unmap(b->s.fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(0), 5 * PAGE));
	EXPECT_EQ(PAGE, type1_unmap(b->s.fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(0), PAGE));
	EXPECT_EQ(PAGE, space_unmap(&b->s, iova(0), PAGE));

	ASSERT_EQ(0, grow(b->env.fd, 1, 1));
	EXPECT_TRUE(reached(b, 1, 1));
	EXPECT_EQ(1, consumers_of(b->env.fd));
	EXPECT_EQ(4 * PAGE, space_unmap(&b->s, iova(1), 4 * PAGE));
	munmap(mem, PAGE);
}

/* It is not known what the device writes: all of it, holes too, at any time. */
TEST_F_TIMEOUT(type1, dirty, 60)
{
	struct bench *b = &self->b;
	__u64 bits;
	int round;

	ASSERT_EQ(0, grow(b->env.fd, 0, 8));
	ASSERT_EQ(0, map_pages(b, 0, 32));
	ASSERT_EQ(0, space_track_dirty(&b->s, VFIO_IOMMU_DIRTY_PAGES_FLAG_START));
	/* mapped before it was switched on, and after */
	ASSERT_EQ(0, map_pages(b, 32, 32));
	for (round = 0; round < 2; round++) {
		EXPECT_EQ(0, space_dirty_pages(&b->s, BASE, PAGES, &bits));
		EXPECT_EQ(UINT64_MAX, bits);
	}
	EXPECT_TRUE(reached(b, 0, 1));
	EXPECT_EQ(32 * PAGE, space_unmap(&b->s, iova(32), 32 * PAGE));
	EXPECT_EQ(0, space_track_dirty(&b->s, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
	EXPECT_EQ(-EINVAL, space_dirty_pages(&b->s, BASE, PAGES, &bits));
	EXPECT_TRUE(reached(b, 0, 1));
}

/*
 * Devices that come and go
 */

/* The device comes after the mapping, and after pages; it finds them all. */
TEST_F_TIMEOUT(late, mapped_first, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	switch (b->s.way) {
	case TYPE1:
		if (!has_nvme(b))
			SKIP(return, "needs a second device");
		ASSERT_EQ(0, vdev_join(&b->s, &b->nvme));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_bind(&b->s, &b->edu));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_join(&b->s, &b->edu));
		break;
	}
	fill(at(env, 0), 100);
	fill(at(env, 2), 102);
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	/* meanwhile */
	fill(at(env, 1), 101);
	ASSERT_EQ(0, punch(env->fd, 2, 1));

	switch (b->s.way) {
	case TYPE1:
		ASSERT_EQ(0, vdev_open(&b->s, &b->edu));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_attach(&b->edu, b->s.ioas));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_get(&b->edu));
		break;
	}
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 2));
	ASSERT_EQ(0, edu_start(&b->edu));
	EXPECT_TRUE(device_reads(b, iova(0), at(env, 0)));
	EXPECT_TRUE(device_reads(b, iova(1), at(env, 1)));
	EXPECT_TRUE(blocked(b, 2));
	ASSERT_EQ(0, grow(env->fd, 2, 1));
	EXPECT_TRUE(reached(b, 2, 1));
}

/* The device goes, the mapping stays. */
TEST_F_TIMEOUT(late, again, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	if (b->s.way == TYPE1) {
		if (!has_nvme(b))
			SKIP(return, "needs a second device");
		/* with the last device the mappings would go */
		ASSERT_EQ(0, vdev_open(&b->s, &b->nvme));
	}
	ASSERT_EQ(0, bench_open(b));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	EXPECT_TRUE(reached(b, 0, 1));
	EXPECT_TRUE(reached(b, 1, 2));

	switch (b->s.way) {
	case TYPE1:
		vdev_close(&b->edu);
		EXPECT_EQ(1, consumers_of(env->fd));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_detach(&b->edu));
		EXPECT_EQ(0, consumers_of(env->fd));
		/* what it does now does not reach the file */
		edu_dma(&b->edu, iova(0), LEN, true);
		EXPECT_TRUE(written(at(env, 0), 2));
		break;
	case IOMMUFD_GROUP:
		munmap((void *)b->edu.regs, b->edu.size);
		b->edu.regs = NULL;
		close_fd(&b->edu.fd);
		EXPECT_EQ(0, consumers_of(env->fd));
		break;
	}
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 3, 1));

	switch (b->s.way) {
	case TYPE1:
		ASSERT_EQ(0, bench_open(b));
		break;
	case IOMMUFD:
		ASSERT_EQ(0, vdev_attach(&b->edu, b->s.ioas));
		break;
	case IOMMUFD_GROUP:
		ASSERT_EQ(0, vdev_get(&b->edu));
		ASSERT_EQ(0, edu_start(&b->edu));
		break;
	}
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 2));
	EXPECT_TRUE(reached(b, 0, 3));
	EXPECT_TRUE(reached(b, 3, 4));
	EXPECT_TRUE(blocked(b, 1));
	EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	EXPECT_TRUE(nothing_mapped(b));
}

/* A type1 container without devices has no mappings. */
TEST_F_TIMEOUT(late_type1, last_device, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	ASSERT_EQ(0, bench_open(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(1, consumers_of(env->fd));
	vdev_close(&b->edu);
	EXPECT_EQ(0, consumers_of(env->fd));
	b->s.typed = false;
	ASSERT_EQ(0, bench_open(b));
	EXPECT_TRUE(nothing_mapped(b));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_TRUE(reached(b, 5, 1));
}

TEST_F_TIMEOUT(late, two_devices, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	if (!has_nvme(b))
		SKIP(return, "needs a second device");
	ASSERT_EQ(0, bench_open(b));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, 32));
	ASSERT_EQ(0, grow(env->fd, 0, 4));
	ASSERT_EQ(0, vdev_open(&b->s, &b->nvme));
	ASSERT_EQ(0, map_pages(b, 32, 32));
	ASSERT_EQ(0, grow(env->fd, 32, 4));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 8));
	EXPECT_TRUE(table_has(b, &b->nvme, 0, PAGES, 8));
	EXPECT_TRUE(reached(b, 0, 1));
	EXPECT_TRUE(reached(b, 32, 2));
	ASSERT_EQ(0, punch(env->fd, 0, 33));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 3));
	EXPECT_TRUE(table_has(b, &b->nvme, 0, PAGES, 3));
	EXPECT_TRUE(blocked(b, 32));
	EXPECT_EQ(32 * PAGE, space_unmap(&b->s, iova(0), 32 * PAGE));
	vdev_close(&b->nvme);
	ASSERT_EQ(0, grow(env->fd, 32, 1));
	EXPECT_TRUE(reached(b, 32, 3));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 4));
	EXPECT_EQ(1, consumers_of(env->fd));
}

static int hwpt_alloc(struct bench *b, __u32 ioas, __u32 *id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = b->edu.id,
		.pt_id = ioas,
	};

	if (ioctl(b->s.fd, IOMMU_HWPT_ALLOC, &alloc))
		return -errno;
	*id = alloc.out_hwpt_id;
	return 0;
}

static int destroy(struct bench *b, __u32 id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return ioctl(b->s.fd, IOMMU_DESTROY, &destroy) ? -errno : 0;
}

/*
 * virtio-iommu does not know a table's IOVAs before it is attached: what is mapped
 * already, by address as well, does not fit into it. Replacing needs such a table.
 */
static bool can_fill_before_attach(struct bench *b)
{
	struct space other = b->s;
	__u32 hwpt;
	int ret;

	if (ioas_alloc(&other, &other.ioas) ||
	    space_map_address(&other, b->source, BASE, PAGE))
		return true;
	ret = hwpt_alloc(b, other.ioas, &hwpt);
	if (!ret)
		destroy(b, hwpt);
	destroy(b, other.ioas);
	return ret != -EADDRINUSE;
}

#define CANNOT_REPLACE	"this IOMMU cannot replace a table that is not empty"

/* From one IOAS to another, without a moment in between. */
TEST_F_TIMEOUT(late_cdev, replace_ioas, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	__u32 first, second = 0;
	int other;

	ASSERT_EQ(0, bench_open(b));
	if (!can_fill_before_attach(b))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));

	first = b->s.ioas;
	ASSERT_EQ(0, ioas_alloc(&b->s, &second));
	b->s.ioas = second;
	other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, other);
	fill(b->source, 50);
	ASSERT_EQ(PAGE, pwrite(other, b->source, PAGE, 0));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, space_map(&b->s, other, 0, BASE, PAGE, DMA_RW));
	EXPECT_EQ(0, consumers_of(other));
	EXPECT_EQ(1, consumers_of(env->fd));

	ASSERT_EQ(0, vdev_attach(&b->edu, second));
	EXPECT_EQ(1, consumers_of(other));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_TRUE(device_reads(b, BASE, b->source));
	EXPECT_EQ(0, device_writes(b, iova(1), 51));
	EXPECT_TRUE(all(at(env, 1), PAGE, 0));

	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 3, 1));
	ASSERT_EQ(0, vdev_attach(&b->edu, first));
	EXPECT_EQ(0, consumers_of(other));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(reached(b, 0, 1));
	EXPECT_TRUE(reached(b, 3, 2));
	EXPECT_TRUE(blocked(b, 1));

	/* an IOAS that nothing is attached to goes with its mappings */
	EXPECT_EQ(0, destroy(b, second));
	close(other);
}

/* Two page tables of one IOAS: each has the range. */
TEST_F_TIMEOUT(late_cdev, page_tables, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	__u32 hwpt = 0;

	ASSERT_EQ(0, bench_open(b));
	if (!can_fill_before_attach(b))
		SKIP(return, CANNOT_REPLACE);
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	ASSERT_EQ(0, hwpt_alloc(b, b->s.ioas, &hwpt));
	EXPECT_EQ(2, consumers_of(env->fd));
	/* the table that was made with the first attach goes with the last */
	ASSERT_EQ(0, vdev_attach(&b->edu, hwpt));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_TRUE(reached(b, 0, 1));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	EXPECT_TRUE(blocked(b, 0));

	/* whichever is not in use follows as well */
	ASSERT_EQ(0, vdev_detach(&b->edu));
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 2, 1));
	ASSERT_EQ(0, vdev_attach(&b->edu, hwpt));
	EXPECT_TRUE(reached(b, 2, 2));
	EXPECT_TRUE(blocked(b, 1));
	EXPECT_EQ(-EBUSY, destroy(b, hwpt));
	ASSERT_EQ(0, vdev_detach(&b->edu));
	EXPECT_EQ(0, destroy(b, hwpt));
	EXPECT_EQ(0, consumers_of(env->fd));
}

/* A device that cannot have what is mapped is not attached. */
TEST_F_TIMEOUT(late_cdev, does_not_fit, 60)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;

	ASSERT_EQ(0, vdev_bind(&b->s, &b->edu));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	ASSERT_EQ(0, space_map(&b->s, env->fd, 0, RESERVED, PAGE, DMA_RW));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	EXPECT_EQ(-EADDRINUSE, vdev_attach(&b->edu, b->s.ioas));
	EXPECT_TRUE(nothing_mapped(b));
	EXPECT_EQ(PAGE, space_unmap(&b->s, RESERVED, PAGE));
	ASSERT_EQ(0, vdev_attach(&b->edu, b->s.ioas));
	ASSERT_EQ(0, edu_start(&b->edu));
	EXPECT_TRUE(reached(b, 1, 1));
}

/*
 * Processes that end, and devices that go
 */

/* Open everything in a child, map, start a DMA, say so, and wait for the end. */
static pid_t user(struct bench *b)
{
	int pipefd[2], ret;
	pid_t pid;
	char c;

	if (pipe(pipefd))
		return -1;
	pid = fork();
	if (!pid) {
		ret = bench_open(b) || map_side(b) || map_pages(b, 0, PAGES) ||
		      edu_dma(&b->edu, SIDE, LEN, false);
		if (!ret)
			edu_go(&b->edu, iova(0), LEN, true);
		c = ret ? 'x' : '!';
		ret = write(pipefd[1], &c, 1);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 1 || c != '!') {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(pipefd[0]);
	/* the space is the child's */
	close_fd(&b->s.fd);
	return pid;
}

TEST_F_TIMEOUT(late, killed_under_dma, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	int status;
	pid_t pid;

	fill(b->source, 66);
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	pid = user(b);
	ASSERT_LT(0, pid);
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* once it is gone, so is all that it had */
	EXPECT_EQ(0, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	ASSERT_EQ(0, grow(env->fd, 0, 1));

	ASSERT_EQ(0, space_open(&b->s, b->s.way));
	/* this waits for the DMA, which ends somewhere */
	ASSERT_EQ(0, bench_open(b));
	EXPECT_TRUE(all(at(env, 0), PAGE, 0));
	EXPECT_TRUE(nothing_mapped(b));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_TRUE(reached(b, 0, 1));
}

/* sysfs makes vfio-pci let go of the device: in a child, as it waits for the user. */
static pid_t begin_unbinding(struct bench *b)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	_exit(pci_write(b->edu.address, "driver/unbind", b->edu.address) ? 1 : 0);
}

/* Is the process waiting for something? */
static bool sleeps(pid_t pid)
{
	char path[64], text[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (read_line(path, text, sizeof(text)))
		return false;
	return strstr(text, ") D ") || strstr(text, ") S ");
}

TEST_F_TIMEOUT(late, unbound_while_mapped, 120)
{
	struct bench *b = &self->b;
	struct test_env *env = &b->env;
	pid_t pid, unbinder;
	int status, i;

	fill(b->source, 66);
	ASSERT_EQ(0, grow(env->fd, 0, 2));
	pid = user(b);
	ASSERT_LT(0, pid);
	unbinder = begin_unbinding(b);
	ASSERT_LT(0, unbinder);
	for (i = 0; i < 10000 && !sleeps(unbinder); i++)
		usleep(1000);
	EXPECT_EQ(0, waitpid(unbinder, &status, WNOHANG));
	/* until the user lets go, the device follows */
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 1, 1));
	ASSERT_EQ(0, grow(env->fd, 5, 1));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 2));

	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(unbinder, waitpid(unbinder, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_FALSE(pci_driver_is(b->edu.address, "vfio-pci"));

	ASSERT_EQ(0, pci_take(b->edu.address));
	ASSERT_EQ(0, space_open(&b->s, b->s.way));
	ASSERT_EQ(0, bench_open(b));
	EXPECT_TRUE(nothing_mapped(b));
	ASSERT_EQ(0, map_side(b));
	ASSERT_EQ(0, map_pages(b, 0, PAGES));
	EXPECT_TRUE(reached(b, 0, 1));
	EXPECT_TRUE(blocked(b, 1));
}

/*
 * Whoever opened and mapped is gone; the mapping belongs to those who have the fds, but
 * what it holds is counted for that one, whose limit remains.
 */
TEST_F_TIMEOUT(late, passed_on, 120)
{
	struct bench *b = &self->b;
	int pipefd[2], fds[4], pidfd, status, i;
	struct test_env *env = &b->env;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipefd));
	pid = fork();
	if (!pid) {
		close_fd(&env->fd);
		env->fd = memfd_create("its own", MFD_CLOEXEC);
		if (limit_as_user(LIMIT) || ftruncate(env->fd, HUGE) || bench_open(b) ||
		    map_side(b) || map_pages(b, 0, PAGES) || grow(env->fd, 32, 5))
			_exit(1);
		fds[0] = env->fd;
		fds[1] = b->s.fd;
		fds[2] = b->edu.fd;
		/* there need not be one, but to have as many */
		fds[3] = b->edu.group < 0 ? b->edu.fd : b->edu.group;
		if (write(pipefd[1], fds, sizeof(fds)) != sizeof(fds))
			_exit(2);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	ASSERT_EQ(sizeof(fds), read(pipefd[0], fds, sizeof(fds)));
	close(pipefd[0]);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	for (i = 0; i < 4; i++) {
		fds[i] = syscall(SYS_pidfd_getfd, pidfd, fds[i], 0);
		ASSERT_LE(0, fds[i]);
	}
	close(pidfd);
	EXPECT_EQ(5, pinned_by(pid));
	ASSERT_EQ(0, grow(fds[0], 37, 2));
	EXPECT_EQ(7, pinned_by(pid));
	EXPECT_EQ(0, pinned());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));

	close(env->fd);
	env->fd = fds[0];
	env->mem = mmap(env->mem, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, env->fd, 0);
	ASSERT_NE(MAP_FAILED, env->mem);
	close_fd(&b->s.fd);
	b->s.fd = fds[1];
	b->edu.fd = fds[2];
	b->edu.group = fds[3];
	ASSERT_EQ(0, edu_start(&b->edu));
	EXPECT_EQ(1, consumers_of(env->fd));
	ASSERT_EQ(0, grow(env->fd, 4, 1));
	EXPECT_TRUE(reached(b, 4, 4));
	ASSERT_EQ(0, punch(env->fd, 4, 1));
	EXPECT_TRUE(blocked(b, 4));
	/* it mapped source and sink as well, two pages: seven are left */
	EXPECT_EQ(0, grow(env->fd, 8, LIMIT - 9));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 40, 1));
	EXPECT_EQ(LIMIT - 2, allocated(env->fd));
	EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, LIMIT - 2));
	EXPECT_EQ(0, pinned());
	/* who has the container may go on with it */
	if (b->s.way == TYPE1)
		EXPECT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	bench_close(b);
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(0, grow(env->fd, 40, 1));
}

/*
 * No memory
 */

TEST_F_TIMEOUT(vfio, no_memory_to_map, 240)
{
	const __u64 spread = 1UL << 36;
	struct bench *b = &self->b;
	int fail, nth, left, ret, failed = 0;
	struct test_env *env = &b->env;
	__u64 where;

	fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail < 0)
		SKIP(return, "needs a kernel with fault injection");
	ASSERT_EQ(0, grow(env->fd, 0, 8));
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		/* where the IOMMU has no tables yet */
		where = spread + nth * 2 * GIB;
		ASSERT_EQ(nth, fail_nth(fail, nth));
		ret = space_map(&b->s, env->fd, 0, where, 8 * PAGE, DMA_RW);
		left = fail_nth(fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(env->fd));
			EXPECT_GE(0, vdev_reaches(&b->edu, where, 8, NULL));
			failed++;
			ASSERT_EQ(0, space_map(&b->s, env->fd, 0, where, 8 * PAGE, DMA_RW));
		}
		EXPECT_EQ(1, consumers_of(env->fd));
		EXPECT_NE(5, vdev_reaches(&b->edu, where, 8, NULL));
		ASSERT_EQ(8 * PAGE, space_unmap(&b->s, where, 8 * PAGE));
		EXPECT_EQ(0, consumers_of(env->fd));
	}
	note("%d of %d allocations that failed were heard", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
	close(fail);
}

/* A page that the IOMMU has no memory for does not come; it can come later. */
TEST_F_TIMEOUT(vfio, no_memory_to_follow, 240)
{
	struct bench *b = &self->b;
	int fail, nth, left, ret, failed = 0;
	struct test_env *env = &b->env;

	fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail < 0)
		SKIP(return, "needs a kernel with fault injection");
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, map_pages(b, 0, PAGES));
		ASSERT_EQ(nth, fail_nth(fail, nth));
		ret = grow(env->fd, 1, 1);
		left = fail_nth(fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 0));
			EXPECT_FALSE(in_core(at(env, 1)));
			failed++;
			ASSERT_EQ(0, grow(env->fd, 1, 1));
		}
		EXPECT_TRUE(table_has(b, &b->edu, 0, PAGES, 1));
		ASSERT_EQ(0, punch(env->fd, 1, 1));
		ASSERT_EQ(PAGES * PAGE, space_unmap(&b->s, BASE, PAGES * PAGE));
	}
	note("%d of %d allocations that failed were heard", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
	close(fail);
}

TEST_HARNESS_MAIN
