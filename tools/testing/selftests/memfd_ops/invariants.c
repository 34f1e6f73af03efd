// SPDX-License-Identifier: GPL-2.0
/*
 * The invariants of memfd_ops, I1 to I7 and I9, as far as user space can see
 * them: with a real device, through a real IOMMU.
 */
#include <linux/userfaultfd.h>

#include "test_util.h"
#include "../kselftest_harness.h"

#define PAGES	64	/* that the device has a window of */

FIXTURE(invariants)
{
	struct rig r;
};

FIXTURE_SETUP(invariants)
{
	ASSERT_EQ(0, rig_setup(&self->r, HUGE_PAGES));
}

FIXTURE_TEARDOWN(invariants)
{
	rig_teardown(&self->r);
}

static int by_punch_hole(struct rig *r, size_t first, size_t pages)
{
	return punch(r->fd, first, pages);
}

static int by_madv_remove(struct rig *r, size_t first, size_t pages)
{
	return madvise(at(r, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

static int by_ftruncate(struct rig *r, size_t first, size_t pages)
{
	return ftruncate(r->fd, first * PAGE) ? -errno : 0;
}

/* The pages [8, 16) leave the file. The device has used them just before. */
static void revoked_by(struct __test_metadata *_metadata, struct rig *r,
		       int (*away)(struct rig *r, size_t first, size_t pages))
{
	unsigned char secret[128];
	size_t i, pages = 8;
	long faults;

	ASSERT_EQ(0, ftruncate(r->fd, 16 * PAGE));
	for (i = 0; i < 16; i++)
		fill(at(r, i), i);
	memcpy(secret, at(r, 8), sizeof(secret));
	ASSERT_EQ(16, rig_reachable(r, 0, 0, PAGES));

	/* now the translations to page 8 and 9 are in the IOTLB */
	ASSERT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 8, 0, sizeof(secret)));
	ASSERT_EQ(0, memcmp(at(r, 0), secret, sizeof(secret)));
	ASSERT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 0, 9, sizeof(secret)));

	ASSERT_EQ(0, away(r, 8, pages));
	EXPECT_EQ(0, rig_reachable(r, 0, 8, pages));
	EXPECT_EQ(8, rig_reachable(r, 0, 0, PAGES));

	faults = mdma_iommu_faults();
	memset(at(r, 0), 0xee, PAGE);
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, rig_copy(r, 0, 8, 0, sizeof(secret)));
	EXPECT_NE(0, memcmp(at(r, 0), secret, sizeof(secret)))
		TH_LOG("the device could read the page that was gone");
	EXPECT_TRUE(mdma_iommu_faulted(faults));

	faults = mdma_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, rig_copy(r, 0, 1, 9, sizeof(secret)));
	EXPECT_TRUE(mdma_iommu_faulted(faults));

	/* none of that has brought a page back */
	EXPECT_EQ(8, allocated(r->fd));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
}

TEST_F_TIMEOUT(invariants, i1_revoked_before_gone, 120)
{
	ASSERT_EQ(0, rig_map(&self->r, 0, 0, PAGES));
	revoked_by(_metadata, &self->r, by_punch_hole);
	revoked_by(_metadata, &self->r, by_madv_remove);
	revoked_by(_metadata, &self->r, by_ftruncate);
}

/* Part of a page is no page: a hole that covers none removes none. */
TEST_F_TIMEOUT(invariants, i1_partial_pages_stay, 60)
{
	struct rig *r = &self->r;

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	fill(at(r, 0), 0);
	fill(at(r, 1), 1);
	ASSERT_EQ(0, fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE - 100, 200));
	EXPECT_EQ(2, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	EXPECT_TRUE(all(at(r, 1) - 100, 200, 0));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 0, 1, PAGE));
	EXPECT_TRUE(all(at(r, 1) + PAGE - 100, 100, 0));
}

/* All that the kernel may do to a page: none of it moves one that is mapped. */
TEST_F_TIMEOUT(invariants, i2_never_freed_while_reachable, 180)
{
	struct rig *r = &self->r;
	size_t i, step;
	__u64 pfn[16];

	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	for (i = 0; i < 16; i++) {
		fill(at(r, i), i);
		pfn[i] = pfn_of(at(r, i));
		ASSERT_NE(0, pfn[i]);
	}

	for (step = 0; step < 5; step++) {
		switch (step) {
		case 0:
			EXPECT_EQ(0, mdma_write_file("/proc/sys/vm/compact_memory", "1"));
			break;
		case 1:
			madvise(r->mem, 16 * PAGE, MADV_PAGEOUT);
			break;
		case 2:
			EXPECT_NE(0, madvise(r->mem, HUGE, MADV_COLLAPSE));
			break;
		case 3:
			EXPECT_EQ(0, mdma_write_file("/proc/sys/vm/drop_caches", "3"));
			break;
		case 4:
			/* the last but the device lets go of the pages' addresses */
			EXPECT_EQ(0, madvise(r->mem, 16 * PAGE, MADV_DONTNEED));
			break;
		}
		EXPECT_EQ(16, in_core_pages(r->mem, PAGES));
		EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
		for (i = 0; i < 16; i++) {
			EXPECT_EQ(pfn[i], pfn_of(at(r, i)))
				TH_LOG("page %zu moved in step %zu", i, step);
			EXPECT_TRUE(filled(at(r, i), i));
		}
	}
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 3, 20 - 5, PAGE));
	EXPECT_TRUE(filled(at(r, 15), 3));
}

/* The last file descriptor and mapping go; the device holds on to the file. */
TEST_F_TIMEOUT(invariants, i2_file_outlives_its_descriptor, 120)
{
	struct mdma *m = &self->r.dev[0];
	struct rig *r = &self->r;
	unsigned char *mem;
	int fd;

	fd = memfd_create("short-lived", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	fill(mem, 7);
	ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, PAGES), PAGE, MDMA_RW));
	munmap(mem, PAGE);
	close(fd);
	dirty_free_memory(32 << 20);

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, 1));
	EXPECT_EQ(1, reachable(m, iova_of(m, PAGES), 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, PAGES, 0, PAGE));
	EXPECT_TRUE(filled(at(r, 0), 7));
}

static void cleared(struct __test_metadata *_metadata, struct rig *r,
		    size_t first, size_t pages)
{
	size_t from[] = { first, first + pages - 1 }, i;

	EXPECT_EQ(pages, rig_reachable(r, 0, first, pages));
	EXPECT_EQ(pages, in_core_pages(at(r, first), pages));
	for (i = 0; i < 2; i++) {
		memset(at(r, 0), 0xff, PAGE);
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, from[i], 0, PAGE));
		EXPECT_TRUE(all(at(r, 0), PAGE, 0))
			TH_LOG("page %zu shows what was in memory", from[i]);
	}
	EXPECT_TRUE(all(at(r, first), pages * PAGE, 0));
}

TEST_F_TIMEOUT(invariants, i3_never_uncleared, 180)
{
	struct rig *r = &self->r;

	/* before the device is there, and after */
	dirty_free_memory(64 << 20);
	ASSERT_EQ(0, grow(r->fd, 8, 8));
	EXPECT_EQ(0, in_core_pages(at(r, 8), 8));
	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	at(r, 0)[0] = 1;
	cleared(_metadata, r, 8, 8);

	ASSERT_EQ(0, grow(r->fd, 16, 32));
	cleared(_metadata, r, 16, 32);

	/* the rest of a page of which one byte is written */
	dirty_free_memory(16 << 20);
	ASSERT_EQ(1, pwrite(r->fd, "x", 1, 60 * PAGE + 2000));
	at(r, 60)[2000] = 0;
	cleared(_metadata, r, 60, 1);
}

TEST_F_TIMEOUT(invariants, i3_never_uncleared_huge, 180)
{
	struct rig *r = &self->r;
	int i;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	rig_teardown(r);
	ASSERT_EQ(0, rig_setup(r, 2 * HUGE_PAGES));
	ASSERT_EQ(0, rig_thp(r, "force"));
	dirty_free_memory(64 << 20);
	for (i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(0, rig_map(r, 0, 0, 2 * HUGE_PAGES));
		ASSERT_EQ(0, grow(r->fd, i * HUGE_PAGES, HUGE_PAGES));
		EXPECT_EQ(i, in_core(at(r, i * HUGE_PAGES + 7)));
	}
	EXPECT_EQ(2 * HUGE_PAGES, rig_reachable(r, 0, 0, 2 * HUGE_PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 511, 2, PAGE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 1000, 3, PAGE));
	EXPECT_TRUE(is_huge(at(r, 0)));
	EXPECT_TRUE(is_huge(at(r, HUGE_PAGES)));
	EXPECT_TRUE(all(at(r, 0), 2 * HUGE, 0));
}

/* Every way that brings pages; each must have mapped them when it returns. */
TEST_F_TIMEOUT(invariants, i4_mirror_complete, 180)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct rig *r = &self->r;
	struct uffdio_zeropage zero = { };
	unsigned char buf[3 * PAGE];
	struct uffdio_copy copy = { };
	int uffd, pipefd[2];

	fill(buf, 1);
	fill(buf + PAGE, 2);
	fill(buf + 2 * PAGE, 3);
	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));

#define FOLLOWED(pages) do {						\
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));			\
	EXPECT_EQ(pages, rig_reachable(r, 0, 0, PAGES));		\
} while (0)

	/* write(2): whole pages, and a part of two */
	ASSERT_EQ(2 * PAGE, write(r->fd, buf, 2 * PAGE));
	FOLLOWED(2);
	ASSERT_EQ(PAGE, pwrite(r->fd, buf, PAGE, 4 * PAGE + 100));
	FOLLOWED(4);

	/* past the end of the file */
	ASSERT_EQ(0, ftruncate(r->fd, 10 * PAGE));
	ASSERT_EQ(PAGE, pwrite(r->fd, buf, PAGE, 12 * PAGE));
	FOLLOWED(5);
	ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	FOLLOWED(5);

	/* faults */
	EXPECT_EQ(0, *(volatile unsigned char *)at(r, 14));
	FOLLOWED(6);
	*(volatile unsigned char *)at(r, 15) = 1;
	FOLLOWED(7);
	ASSERT_EQ(0, madvise(at(r, 16), 2 * PAGE, MADV_POPULATE_READ));
	FOLLOWED(9);
	ASSERT_EQ(0, madvise(at(r, 18), 2 * PAGE, MADV_POPULATE_WRITE));
	FOLLOWED(11);

	/* fallocate, and what it leaves behind the end */
	ASSERT_EQ(0, grow(r->fd, 20, 4));
	FOLLOWED(15);
	ASSERT_EQ(0, ftruncate(r->fd, 24 * PAGE));
	ASSERT_EQ(0, fallocate(r->fd, FALLOC_FL_KEEP_SIZE, 24 * PAGE, 2 * PAGE));
	ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	FOLLOWED(17);

	/* userfaultfd */
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(r, 30);
	reg.range.len = 4 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	copy.dst = (uintptr_t)at(r, 30);
	copy.src = (uintptr_t)buf;
	copy.len = 2 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	FOLLOWED(19);
	EXPECT_TRUE(filled(at(r, 31), 2));
	zero.range.start = (uintptr_t)at(r, 32);
	zero.range.len = 2 * PAGE;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	FOLLOWED(21);
	close(uffd);

	/* splice: pages of a pipe */
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PAGE, write(pipefd[1], buf, PAGE));
	ASSERT_EQ(PAGE, splice(pipefd[0], NULL, r->fd, &(loff_t){ 40 * PAGE }, PAGE, 0));
	FOLLOWED(22);
	EXPECT_TRUE(filled(at(r, 40), 1));

	/* another device has it mapped as well, before and after */
	ASSERT_EQ(0, rig_map(r, 1, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 1, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 44, 4));
	FOLLOWED(26);
	EXPECT_EQ(0, rig_differences(r, 1, 0, PAGES));

	/* and it is the file's pages that the device gets */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 31, 14, PAGE));
	EXPECT_TRUE(filled(at(r, 14), 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 1, 40, 44, PAGE));
	EXPECT_TRUE(filled(at(r, 44), 1));
#undef FOLLOWED
}

/* Pages that are in swap when the window is mapped come back for it. */
TEST_F_TIMEOUT(invariants, i4_swapped_out_before, 120)
{
	struct rig *r = &self->r;
	size_t i;

	ASSERT_EQ(0, rig_swap(r));
	for (i = 0; i < 16; i++)
		fill(at(r, i), i);
	ASSERT_EQ(0, madvise(r->mem, 16 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(r->mem, 16));

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	EXPECT_EQ(16, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	for (i = 0; i < 16; i++)
		EXPECT_TRUE(filled(at(r, i), i));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 5, 6, PAGE));
	EXPECT_TRUE(filled(at(r, 6), 5));
}

/*
 * A consumer's error is what the caller gets, and then nothing has changed.
 * The mirror has but one to give, -ENOMEM for its page table: fail every
 * allocation on the way, one after the other, the mirror's among them. (KUnit
 * has consumers that veto.)
 */
TEST_F_TIMEOUT(invariants, i5_veto_heard, 240)
{
	struct mdma *m = &self->r.dev[0];
	/* page 16 is the first of a table of its own, and of a run of its own */
	const __u64 iova = iova_of(m, HUGE_PAGES - 16);
	unsigned char buf[2 * PAGE];
	struct rig *r = &self->r;
	int way, nth, left, ret, failed, fd;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "needs a kernel with fault injection");
	fail_anything("0");
	memset(buf, 3, sizeof(buf));

	for (way = 0; way < 3; way++) {
		failed = 0;
		for (nth = 1; ; nth++) {
			__u64 at_iova = iova + (way * 1000ULL + nth) * 2 * HUGE;

			ASSERT_LT(nth, 1000);
			ASSERT_EQ(0, ftruncate(r->fd, 0));
			ASSERT_EQ(0, ftruncate(r->fd, 16 * PAGE));
			fill(at(r, 3), 3);
			/* at an IOVA for which there are no tables yet */
			if (way < 2)
				ASSERT_EQ(0, mdma_map(m, r->fd, 0, at_iova,
						      PAGES * PAGE, MDMA_RW));

			ASSERT_EQ(nth, fail_nth(fd, nth));
			switch (way) {
			case 0:
				ret = grow(r->fd, 8, 16);
				break;
			case 1:
				ret = pwrite(r->fd, buf, sizeof(buf), 20 * PAGE);
				ret = ret < 0 ? -errno : ret;
				break;
			case 2:
				ret = mdma_map(m, r->fd, 0, at_iova, PAGES * PAGE, MDMA_RW);
				break;
			}
			left = fail_nth(fd, 0);
			ASSERT_LE(0, left);

			EXPECT_TRUE(filled(at(r, 3), 3));
			if (ret < 0) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret);
				EXPECT_EQ(16, file_pages(r->fd));
				/* nothing came, but what the device had already */
				EXPECT_EQ(in_core_pages(r->mem, PAGES), allocated(r->fd))
					TH_LOG("way %d: failure %d", way, nth);
				if (way)
					EXPECT_EQ(1, allocated(r->fd));
				failed++;
			} else if (way == 0) {
				EXPECT_EQ(17, allocated(r->fd));
				EXPECT_EQ(24, file_pages(r->fd));
			}
			if (way < 2 || !ret) {
				EXPECT_EQ(0, differences(m, at_iova, r->fd, r->mem, 0,
							 PAGES))
					TH_LOG("way %d: failure %d", way, nth);
				ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(m));
			}
			EXPECT_EQ(0, consumers_of(r->fd));
			EXPECT_EQ(0, reachable(m, at_iova, PAGES));
			if (left)
				break;
		}
		note("way %d: %d of %d allocations that failed were heard", way,
		     failed, nth - 1);
		EXPECT_LT(0, failed);
	}
	fail_anything("1");
	close(fd);
}

TEST_F_TIMEOUT(invariants, i6_independent_consumers, 180)
{
	struct mdma *a = &self->r.dev[0], *b = &self->r.dev[1];
	struct rig *r = &self->r;
	unsigned char *mem;
	int fd;

	/* windows that overlap in [16, 32) */
	ASSERT_EQ(0, rig_map(r, 0, 0, 32));
	ASSERT_EQ(0, rig_map(r, 1, 16, 32));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	EXPECT_EQ(32, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(32, rig_reachable(r, 1, 0, PAGES));
	EXPECT_EQ(2, consumers_of(r->fd));

	ASSERT_EQ(0, punch(r->fd, 12, 8));
	EXPECT_EQ(24, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(28, rig_reachable(r, 1, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, 32));
	EXPECT_EQ(0, rig_differences(r, 1, 16, 32));

	/* the second file is the first device's alone */
	fd = memfd_create("other", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd, 4 * PAGE));
	mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, mdma_map(a, fd, 0, iova_of(a, PAGES), 4 * PAGE, MDMA_RW));
	mem[PAGE] = 1;
	EXPECT_EQ(0, differences(a, iova_of(a, PAGES), fd, mem, 0, 4));
	EXPECT_EQ(0, punch(fd, 0, 4));
	EXPECT_EQ(24, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(28, rig_reachable(r, 1, 0, PAGES));

	/* one goes, the other neither loses anything nor stops to follow */
	EXPECT_EQ(32 * PAGE, mdma_unmap(a, iova_of(a, 0), 32 * PAGE));
	EXPECT_EQ(0, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(28, rig_reachable(r, 1, 0, PAGES));
	EXPECT_EQ(1, consumers_of(r->fd));
	ASSERT_EQ(0, grow(r->fd, 12, 8));
	EXPECT_EQ(0, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 1, 16, 32));
	ASSERT_EQ(0, rig_map(r, 0, 0, 32));
	EXPECT_EQ(0, rig_differences(r, 0, 0, 32));

	/* or its device is closed */
	mdma_close(b);
	EXPECT_EQ(1, consumers_of(r->fd));
	fill(at(r, 20), 20);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 20, 21, PAGE));
	EXPECT_TRUE(filled(at(r, 21), 20));
	ASSERT_EQ(0, punch(r->fd, 0, PAGES));
	EXPECT_EQ(0, rig_reachable(r, 0, 0, 32));
}

/* After the last device has gone, the file is as any other. */
TEST_F_TIMEOUT(invariants, i7_clean_leaving, 180)
{
	struct rig *r = &self->r;
	int i, way;

	ASSERT_EQ(0, rig_swap(r));
	for (way = 0; way < 3; way++) {
		for (i = 0; i < 16; i++)
			fill(at(r, i), i);
		ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
		EXPECT_EQ(1, consumers_of(r->fd));
		madvise(r->mem, 16 * PAGE, MADV_PAGEOUT);
		EXPECT_EQ(16, in_core_pages(r->mem, 16));

		switch (way) {
		case 0:
			EXPECT_EQ(PAGES * PAGE, mdma_unmap(&r->dev[0],
							   iova_of(&r->dev[0], 0),
							   PAGES * PAGE));
			break;
		case 1:
			EXPECT_EQ(PAGES * PAGE, mdma_unmap_all(&r->dev[0]));
			break;
		case 2:
			mdma_close(&r->dev[0]);
			break;
		}
		EXPECT_EQ(0, consumers_of(r->fd));
		/* nothing holds the pages; they are mapped again, to be found */
		for (i = 0; i < 16; i++)
			EXPECT_TRUE(filled(at(r, i), i));
		EXPECT_EQ(0, madvise(r->mem, 16 * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(r->mem, 16));
		for (i = 0; i < 16; i++)
			EXPECT_TRUE(filled(at(r, i), i));
	}

	/* nor does what looks for references from outside see any */
	munmap(r->mem, r->pages * PAGE);
	r->mem = NULL;
	EXPECT_EQ(0, fcntl(r->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

/* The memory itself comes back, however the device goes. */
TEST_F_TIMEOUT(invariants, i7_memory_is_freed, 180)
{
	const long size = 16 << 20;
	struct mdma *m = &self->r.dev[0];
	long before, full, after;
	int fd, way;

	for (way = 0; way < 3; way++) {
		if (m->fd < 0)
			ASSERT_EQ(0, mdma_open_group(m));
		before = counter("/proc/meminfo", "Shmem");
		fd = memfd_create("big", MFD_CLOEXEC);
		ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, 0), size, MDMA_RW));
		ASSERT_EQ(0, grow(fd, 0, size / PAGE));
		full = counter("/proc/meminfo", "Shmem");
		/* leave some room for what others do */
		EXPECT_LT(before + size / 1024 - 400, full);
		switch (way) {
		case 0:
			EXPECT_EQ(0, ftruncate(fd, 0));
			break;
		case 1:
			close(fd);
			EXPECT_EQ(size, mdma_unmap_all(m));
			break;
		case 2:
			close(fd);
			mdma_close(m);
			break;
		}
		after = counter("/proc/meminfo", "Shmem");
		EXPECT_GT(before + 400, after)
			TH_LOG("%ld kB before, %ld with the file, %ld after",
			       before, full, after);
		if (!way) {
			close(fd);
			mdma_unmap_all(m);
		}
	}
}

/* A long walk makes a pause, behind a huge folio here, and goes on with the next page. */
TEST_F_TIMEOUT(invariants, i7_pause_in_unmap, 180)
{
	/* with a hole in front: the huge folio is the 4096th */
	const size_t small = 8 * HUGE_PAGES, pages = small + HUGE_PAGES + 63;
	struct mdma *m = &self->r.dev[0];
	struct rig *r = &self->r;
	unsigned char *mem;
	int fd;

	fd = memfd_create("mixed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, pages * PAGE));
	if (rig_thp(r, "never"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(fd, 1, small - 1));
	ASSERT_EQ(0, rig_thp(r, "force"));
	ASSERT_EQ(0, grow(fd, small, HUGE_PAGES));
	ASSERT_EQ(0, rig_thp(r, "never"));
	ASSERT_EQ(0, grow(fd, small + HUGE_PAGES, 63));
	mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_TRUE(is_huge(mem + small * PAGE));
	ASSERT_FALSE(is_huge(mem + (small - 1) * PAGE));
	ASSERT_FALSE(is_huge(mem + (small + HUGE_PAGES) * PAGE));
	munmap(mem, pages * PAGE);

	ASSERT_EQ(0, mdma_map(m, fd, 0, iova_of(m, 0), pages * PAGE, MDMA_RW));
	EXPECT_EQ(pages - 1, reachable(m, iova_of(m, 0), pages));
	EXPECT_EQ(pages * PAGE, mdma_unmap_all(m));
	/* which looks for references from outside */
	EXPECT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	close(fd);
}

/* Without a consumer, before and after, the file does what it always did. */
TEST_F_TIMEOUT(invariants, i9_free_when_unused, 120)
{
	struct rig *r = &self->r;
	int round;

	ASSERT_EQ(0, rig_swap(r));
	for (round = 0; round < 2; round++) {
		EXPECT_EQ(0, consumers_of(r->fd));
		/* what nobody looks at is not cleared */
		ASSERT_EQ(0, grow(r->fd, 0, 16));
		EXPECT_EQ(16, allocated(r->fd));
		EXPECT_EQ(0, in_core_pages(r->mem, 16));
		memset(r->mem, 1, 16 * PAGE);
		EXPECT_EQ(16, in_core_pages(r->mem, 16));
		EXPECT_EQ(0, madvise(r->mem, 16 * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(r->mem, 16));
		ASSERT_EQ(0, punch(r->fd, 0, PAGES));
		EXPECT_EQ(0, allocated(r->fd));
		if (round)
			break;

		ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
		ASSERT_EQ(0, grow(r->fd, 0, 16));
		EXPECT_EQ(16, in_core_pages(r->mem, 16));
		ASSERT_EQ(0, punch(r->fd, 0, PAGES));
		ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(&r->dev[0]));
	}
}

TEST_HARNESS_MAIN
