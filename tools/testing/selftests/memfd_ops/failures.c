// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever is asked of a file that two devices follow, and of the devices: each
 * allocation on the way fails once. A call then succeeds all the same or says
 * ENOMEM, the devices have what the file has, and the call works the next time.
 * What takes pages away never fails for want of memory.
 */
#include <linux/userfaultfd.h>

#include "test_util.h"
#include "../kselftest_harness.h"

#define PAGES	64	/* of the first device's window; the other has 8 to 39 */

struct followed {
	struct rig r;
	__u64 iova[2];	/* of the file's first page */
	int fail;	/* fail_nth()'s */
	int uffd;
	unsigned char buf[4 * PAGE];
};

FIXTURE(failures)
{
	struct followed f;
};

FIXTURE_SETUP(failures)
{
	struct followed *f = &self->f;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	ASSERT_EQ(0, rig_setup(&f->r, HUGE_PAGES));
	f->iova[0] = iova_of(&f->r.dev[0], 0);
	f->iova[1] = iova_of(&f->r.dev[1], 0);
	memset(f->buf, 5, sizeof(f->buf));
	f->fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, f->fail);
	f->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, f->uffd);
	ASSERT_EQ(0, ioctl(f->uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(&f->r, 48);
	reg.range.len = 8 * PAGE;
	ASSERT_EQ(0, ioctl(f->uffd, UFFDIO_REGISTER, &reg));
	fail_anything("0");
}

FIXTURE_TEARDOWN(failures)
{
	struct followed *f = &self->f;

	fail_anything("1");
	close(f->uffd);
	close(f->fail);
	rig_teardown(&f->r);
}

static int unmap_all(struct followed *f)
{
	__s64 first = mdma_unmap_all(&f->r.dev[0]);
	__s64 second = mdma_unmap_all(&f->r.dev[1]);

	return first < 0 ? first : second < 0 ? second : 0;
}

/* Both devices, each at IOVAs for which the IOMMU has no tables yet */
static int follow(struct followed *f)
{
	struct mdma *m = f->r.dev;
	int ret;

	ret = mdma_map(m, f->r.fd, 0, f->iova[0], PAGES * PAGE, MDMA_RW);
	if (!ret)
		ret = mdma_map(m + 1, f->r.fd, 8 * PAGE, f->iova[1] + 8 * PAGE,
			       32 * PAGE, VFIO_MDMA_MAP_FLAG_READ);
	if (ret)
		unmap_all(f);
	return ret;
}

static int differ(struct followed *f)
{
	struct rig *r = &f->r;

	return differences(&r->dev[0], f->iova[0], r->fd, r->mem, 0, PAGES) +
	       differences(&r->dev[1], f->iova[1] + 8 * PAGE, r->fd, r->mem, 8, 32);
}

/* A file of four pages, and nobody who follows it */
static int begin(struct followed *f)
{
	struct rig *r = &f->r;
	int i, ret = unmap_all(f);

	if (ret || ftruncate(r->fd, 0) || ftruncate(r->fd, HUGE_PAGES * PAGE))
		return ret ?: -errno;
	for (i = 0; i < 4; i++)
		fill(at(r, 10 + i), i);
	for (i = 0; i < 2; i++)
		f->iova[i] += 2 * HUGE;
	return 0;
}

static int mapped(struct followed *f)
{
	return begin(f) ?: follow(f);
}

/* The four pages are in swap. */
static int swapped(struct followed *f)
{
	int ret = begin(f);

	if (!ret && madvise(f->r.mem, PAGES * PAGE, MADV_PAGEOUT))
		ret = -errno;
	return ret ?: in_core_pages(f->r.mem, PAGES) ? -EBUSY : 0;
}

static int huge_mapped(struct followed *f)
{
	int ret = begin(f);

	if (!ret && (ftruncate(f->r.fd, 0) || ftruncate(f->r.fd, HUGE)))
		ret = -errno;
	return ret ?: grow(f->r.fd, 0, HUGE_PAGES) ?: follow(f);
}

/*
 * What is asked; each returns 0 or an errno
 */

static int by_fallocate(struct followed *f)
{
	return grow(f->r.fd, 4, 30);
}

static int by_fallocate_behind(struct followed *f)
{
	return fallocate(f->r.fd, 0, (HUGE_PAGES - 2) * PAGE, 4 * PAGE) ? -errno : 0;
}

static int by_write(struct followed *f)
{
	ssize_t ret = pwrite(f->r.fd, f->buf, sizeof(f->buf), 20 * PAGE + 100);

	return ret < 0 ? -errno : ret == sizeof(f->buf) ? 0 : -ENOMEM;
}

static int by_write_fault(struct followed *f)
{
	return madvise(at(&f->r, 20), 4 * PAGE, MADV_POPULATE_WRITE) ? -errno : 0;
}

static int by_read_fault(struct followed *f)
{
	return madvise(at(&f->r, 20), 4 * PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

static int by_uffd(struct followed *f)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at(&f->r, 50),
		.src = (uintptr_t)f->buf,
		.len = PAGE,
	};

	/* it may be there, if only its page table entry could not be made */
	return ioctl(f->uffd, UFFDIO_COPY, &copy) && errno != EEXIST ? -errno : 0;
}

static int by_punch(struct followed *f)
{
	return punch(f->r.fd, 11, 2);
}

static int by_madv_remove(struct followed *f)
{
	return madvise(at(&f->r, 11), 2 * PAGE, MADV_REMOVE) ? -errno : 0;
}

static int by_truncate(struct followed *f)
{
	return ftruncate(f->r.fd, 11 * PAGE + 100) ? -errno : 0;
}

static int by_unmap(struct followed *f)
{
	__s64 ret = mdma_unmap(&f->r.dev[0], f->iova[0], PAGES * PAGE);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static int by_unmap_all(struct followed *f)
{
	return unmap_all(f);
}

static int by_query(struct followed *f)
{
	struct vfio_mdma_query q;

	return mdma_query(&f->r.dev[0], f->iova[0], VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
}

static int by_copy(struct followed *f)
{
	int ret = mdma_copy(&f->r.dev[0], f->iova[0] + 10 * PAGE,
			    f->iova[0] + 13 * PAGE, 64);

	return ret < 0 ? ret : ret == VFIO_MDMA_STATUS_DONE ? 0 : -EPROTO;
}

static int by_reset(struct followed *f)
{
	return ioctl(f->r.dev[0].fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

static int by_irq(struct followed *f)
{
	struct vfio_irq_set irq = {
		.argsz = sizeof(irq),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_MDMA_IRQ_INDEX,
	};

	return ioctl(f->r.dev[0].fd, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : 0;
}

/*
 * @before and @act, with each allocation that @act makes failing once. Returns
 * how many of them it failed for.
 */
static int sweep(struct __test_metadata *_metadata, struct followed *f,
		 const char *what, int (*before)(struct followed *f),
		 int (*act)(struct followed *f), int followers, long pages)
{
	struct rig *r = &f->r;
	int nth, left = 0, ret, failed = 0;

	for (nth = 1; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ret = before(f);
		ASSERT_EQ(0, ret)
			TH_LOG("%s: to begin with: %s", what, strerror(-ret));
		ASSERT_EQ(nth, fail_nth(f->fail, nth));
		ret = act(f);
		left = fail_nth(f->fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret)
				TH_LOG("%s: failure %d: %s", what, nth, strerror(-ret));
			if (consumers_of(r->fd))
				EXPECT_EQ(0, differ(f))
					TH_LOG("%s: failure %d", what, nth);
			failed++;
			ret = act(f);
			EXPECT_EQ(0, ret)
				TH_LOG("%s: again after failure %d: %s", what, nth,
				       strerror(-ret));
		}
		EXPECT_EQ(followers, consumers_of(r->fd));
		EXPECT_EQ(pages, reachable(&r->dev[0], f->iova[0], PAGES))
			TH_LOG("%s: failure %d", what, nth);
		if (followers == 2)
			EXPECT_EQ(0, differ(f))
				TH_LOG("%s: failure %d", what, nth);
	}
	note("%s: %d of %d allocations that failed were heard", what, failed, nth - 2);
	return failed;
}

#define SWEEP(before, act, followers, pages) \
	sweep(_metadata, &self->f, #act, before, act, followers, pages)

TEST_F_TIMEOUT(failures, what_adds_pages, 240)
{
	EXPECT_LT(0, SWEEP(mapped, by_fallocate, 2, 30));
	EXPECT_LT(0, SWEEP(mapped, by_fallocate_behind, 2, 4));
	EXPECT_LT(0, SWEEP(mapped, by_write, 2, 9));
	EXPECT_LT(0, SWEEP(mapped, by_write_fault, 2, 8));
	EXPECT_LT(0, SWEEP(mapped, by_read_fault, 2, 8));
	EXPECT_LT(0, SWEEP(mapped, by_uffd, 2, 5));
}

TEST_F_TIMEOUT(failures, what_takes_pages_away, 240)
{
	EXPECT_EQ(0, SWEEP(mapped, by_punch, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_madv_remove, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_truncate, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_unmap, 1, 0));
	EXPECT_EQ(0, SWEEP(mapped, by_unmap_all, 0, 0));
}

TEST_F_TIMEOUT(failures, what_maps, 240)
{
	EXPECT_LT(0, SWEEP(begin, follow, 2, 4));
	ASSERT_EQ(0, rig_swap(&self->f.r));
	EXPECT_LT(0, SWEEP(swapped, follow, 2, 4));
}

TEST_F_TIMEOUT(failures, what_a_device_is_asked, 240)
{
	EXPECT_EQ(0, SWEEP(mapped, by_copy, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_irq, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_query, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_reset, 2, 4));
}

/* The folio cannot be split then: it stays, zeroed, until the next who tries. */
TEST_F_TIMEOUT(failures, hole_in_a_huge_page, 240)
{
	struct followed *f = &self->f;
	struct rig *r = &f->r;
	int nth, left = 0, kept = 0;

	ASSERT_EQ(0, rig_thp(r, "force"));
	for (nth = 1; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, huge_mapped(f));
		ASSERT_TRUE(is_huge(at(r, 0)));
		memset(at(r, 11), 0xff, 2 * PAGE);
		ASSERT_EQ(nth, fail_nth(f->fail, nth));
		EXPECT_EQ(0, by_punch(f));
		left = fail_nth(f->fail, 0);
		ASSERT_LE(0, left);

		EXPECT_EQ(0, differ(f))
			TH_LOG("failure %d", nth);
		if (in_core(at(r, 11))) {
			EXPECT_TRUE(all(at(r, 11), 2 * PAGE, 0));
			EXPECT_EQ(PAGES, reachable(&r->dev[0], f->iova[0], PAGES));
			EXPECT_EQ(0, by_punch(f));
			kept++;
		}
		EXPECT_EQ(HUGE_PAGES - 2, allocated(r->fd));
		EXPECT_EQ(PAGES - 2, reachable(&r->dev[0], f->iova[0], PAGES));
		EXPECT_EQ(0, differ(f))
			TH_LOG("failure %d", nth);
	}
	note("%d allocations failed, and kept the page %d times", nth - 2, kept);
}

TEST_HARNESS_MAIN
