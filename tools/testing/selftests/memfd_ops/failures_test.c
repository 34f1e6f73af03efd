// SPDX-License-Identifier: GPL-2.0
/*
 * Fail each allocation once, of every call on a file that two devices follow and on
 * the devices. The call then succeeds, or fails with ENOMEM; the devices have the pages
 * that the file has, and the call works the next time. A call that removes pages never
 * fails without memory.
 */
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>

#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/test_env.h"

#define PAGES	64	/* of the first device's window; the other has 8 to 39 */

/* A third instance, which is made and opened while the other two follow */
#define OTHER	MDMA_UUID "0000-4000-8000-000000000003"

struct fail_env {
	struct test_env env;
	__u64 iova[2];	/* of the file's first page */
	int uffd, event;
	struct mdma other;
	int create, remove;	/* their files in sysfs: to be written to */
	char cdev[64];	/* its character device */
	/* what else holds after a call that gave @ret */
	bool (*fine)(struct fail_env *f, int ret);
	unsigned char buf[4 * PAGE];
};

FIXTURE(failures)
{
	struct fail_env f;
};

FIXTURE_SETUP(failures)
{
	struct fail_env *f = &self->f;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	char path[PATH_MAX];
	int ret = env_setup(&f->env, HUGE_PAGES);

	if (!ret)
		ret = env_open_fail_nth(&f->env);
	if (f->env.lacks)
		SKIP(return, "%s", f->env.lacks);
	ASSERT_EQ(0, ret);
	f->other = (struct mdma)MDMA_INIT;
	f->remove = -1;
	ASSERT_EQ(0, mdma_type(path, sizeof(path) - 32));
	strcat(path, "/create");
	f->create = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, f->create);
	f->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ASSERT_LE(0, f->event);
	/* a page table of the IOMMU's ends amid the pages that are there at first */
	f->iova[0] = iova_of(&f->env.dev[0], HUGE_PAGES - 12);
	f->iova[1] = iova_of(&f->env.dev[1], HUGE_PAGES - 12);
	memset(f->buf, 5, sizeof(f->buf));
	f->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, f->uffd);
	ASSERT_EQ(0, ioctl(f->uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)at(&f->env, 48);
	reg.range.len = 8 * PAGE;
	ASSERT_EQ(0, ioctl(f->uffd, UFFDIO_REGISTER, &reg));
	fail_anything("0");
}

FIXTURE_TEARDOWN(failures)
{
	struct fail_env *f = &self->f;

	fail_anything("1");
	close(f->uffd);
	close(f->event);
	close(f->create);
	close_fd(&f->remove);
	mdma_close(&f->other);
	mdma_remove(&f->other);
	env_teardown(&f->env);
	cgroup_leave();
}

static int unmap_all(struct fail_env *f)
{
	__s64 first = mdma_unmap_all(&f->env.dev[0]);
	__s64 second = mdma_unmap_all(&f->env.dev[1]);

	return first < 0 ? first : second < 0 ? second : 0;
}

/* Both devices, each at IOVAs for which the IOMMU has no tables yet */
static int follow(struct fail_env *f)
{
	struct mdma *m = f->env.dev;
	int ret;

	ret = mdma_map(m, f->env.fd, 0, f->iova[0], PAGES * PAGE, MDMA_RW);
	if (!ret)
		ret = mdma_map(m + 1, f->env.fd, 8 * PAGE, f->iova[1] + 8 * PAGE,
			       32 * PAGE, VFIO_MDMA_MAP_FLAG_READ);
	if (ret)
		unmap_all(f);
	return ret;
}

static int differ(struct fail_env *f)
{
	struct test_env *env = &f->env;

	return differences(&env->dev[0], f->iova[0], env->fd, env->mem, 0, PAGES) +
	       differences(&env->dev[1], f->iova[1] + 8 * PAGE, env->fd, env->mem, 8, 32);
}

/* How many pages are pinned for them: what both have is for both */
static long held(struct fail_env *f)
{
	struct mdma *m = f->env.dev;

	return reachable(m, f->iova[0], PAGES) +
	       reachable(m + 1, f->iova[1] + 8 * PAGE, 32);
}

/* A file of four pages, without consumers */
static int begin(struct fail_env *f)
{
	struct test_env *env = &f->env;
	int i, ret = unmap_all(f);

	if (ret || ftruncate(env->fd, 0) || ftruncate(env->fd, HUGE_PAGES * PAGE))
		return ret ?: -errno;
	for (i = 0; i < 4; i++)
		fill(at(env, 10 + i), i);
	for (i = 0; i < 2; i++)
		f->iova[i] += 2 * HUGE;
	return 0;
}

static int mapped(struct fail_env *f)
{
	return begin(f) ?: follow(f);
}

/* The four pages are in swap. */
static int swapped(struct fail_env *f)
{
	int ret = begin(f);

	if (!ret && madvise(f->env.mem, PAGES * PAGE, MADV_PAGEOUT))
		ret = -errno;
	return ret ?: in_core_pages(f->env.mem, PAGES) ? -EBUSY : 0;
}

/* The four pages are in ZONE_MOVABLE, where no device may pin them. */
static int movable(struct fail_env *f)
{
	__u64 frames[2];
	int ret = begin(f);

	movable_zone(frames);
	return ret ?: pages_in_frames(at(&f->env, 10), 4, frames) == 4 ? 0 : -EXDEV;
}

static bool has_moved(struct fail_env *f, int ret)
{
	__u64 frames[2];

	movable_zone(frames);
	return ret || !pages_in_frames(at(&f->env, 10), 4, frames);
}

/* There is no third instance. */
static int without_other(struct fail_env *f)
{
	close_fd(&f->remove);
	mdma_close(&f->other);
	return mdma_remove(&f->other) ?: mapped(f);
}

/* There is one, but it is not open. */
static int with_other(struct fail_env *f)
{
	char path[PATH_MAX];
	int ret = without_other(f);

	if (!ret)
		ret = mdma_create_uuid(&f->other, OTHER);
	if (!ret)
		ret = mdma_cdev(&f->other, f->cdev, sizeof(f->cdev));
	if (ret)
		return ret;
	snprintf(path, sizeof(path), MDMA_DEVICES "/%s/remove", OTHER);
	f->remove = open(path, O_WRONLY | O_CLOEXEC);
	return f->remove < 0 ? -errno : 0;
}

/*
 * Is there an instance? The number of those that are still available is no evidence:
 * when mdev has no memory for an instance, it counts it all the same.
 */
static bool other_is(bool there)
{
	return !access(MDMA_DEVICES "/" OTHER, F_OK) == there;
}

static bool is_created(struct fail_env *f, int ret)
{
	return other_is(!ret);
}

static bool is_removed(struct fail_env *f, int ret)
{
	return other_is(ret);
}

/* Open, it can do what an instance can; or it is there, and closed. */
static bool is_open(struct fail_env *f, int ret)
{
	struct mdma *m = &f->other;
	__u64 iova = m->info.iova_start;

	if (ret)
		return m->fd < 0 && other_is(true);
	return mdma_status(m) == VFIO_MDMA_STATUS_IDLE &&
	       !mdma_map(m, f->env.fd, 0, iova, PAGE, MDMA_RW) &&
	       mdma_unmap_all(m) == PAGE;
}

/* The eventfd is the instance's, which can be tried out. */
static bool is_heard(struct fail_env *f, int ret)
{
	struct vfio_irq_set irq = {
		.argsz = sizeof(irq),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_MDMA_IRQ_INDEX,
		.count = 1,
	};
	__u64 times = 0;

	return !ret && !ioctl(f->env.dev[0].fd, VFIO_DEVICE_SET_IRQS, &irq) &&
	       read(f->event, &times, sizeof(times)) == sizeof(times) && times == 1;
}

static int huge_mapped(struct fail_env *f)
{
	int ret = begin(f);

	if (!ret && (ftruncate(f->env.fd, 0) || ftruncate(f->env.fd, HUGE)))
		ret = -errno;
	return ret ?: grow(f->env.fd, 0, HUGE_PAGES) ?: follow(f);
}

/*
 * The calls; each returns 0 or a negative errno
 */

static int by_fallocate(struct fail_env *f)
{
	return grow(f->env.fd, 4, 30);
}

static int by_fallocate_behind(struct fail_env *f)
{
	return fallocate(f->env.fd, 0, (HUGE_PAGES - 2) * PAGE, 4 * PAGE) ? -errno : 0;
}

static int by_write(struct fail_env *f)
{
	ssize_t ret = pwrite(f->env.fd, f->buf, sizeof(f->buf), 20 * PAGE + 100);

	return ret < 0 ? -errno : ret == sizeof(f->buf) ? 0 : -ENOMEM;
}

static int by_write_fault(struct fail_env *f)
{
	return madvise(at(&f->env, 20), 4 * PAGE, MADV_POPULATE_WRITE) ? -errno : 0;
}

static int by_read_fault(struct fail_env *f)
{
	return madvise(at(&f->env, 20), 4 * PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

static int by_uffd(struct fail_env *f)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at(&f->env, 50),
		.src = (uintptr_t)f->buf,
		.len = PAGE,
	};

	/* it may be there, if only its page table entry could not be made */
	return ioctl(f->uffd, UFFDIO_COPY, &copy) && errno != EEXIST ? -errno : 0;
}

static int by_punch(struct fail_env *f)
{
	return punch(f->env.fd, 11, 2);
}

static int by_madv_remove(struct fail_env *f)
{
	return madvise(at(&f->env, 11), 2 * PAGE, MADV_REMOVE) ? -errno : 0;
}

static int by_truncate(struct fail_env *f)
{
	return ftruncate(f->env.fd, 11 * PAGE + 100) ? -errno : 0;
}

static int by_unmap(struct fail_env *f)
{
	__s64 ret = mdma_unmap(&f->env.dev[0], f->iova[0], PAGES * PAGE);

	return ret < 0 ? ret : ret == PAGES * PAGE ? 0 : -EPROTO;
}

static int by_unmap_all(struct fail_env *f)
{
	return unmap_all(f);
}

static int by_query(struct fail_env *f)
{
	struct vfio_mdma_query q;

	return mdma_query(&f->env.dev[0], f->iova[0], VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
}

static int by_copy(struct fail_env *f)
{
	int ret = mdma_copy(&f->env.dev[0], f->iova[0] + 10 * PAGE,
			    f->iova[0] + 13 * PAGE, 64);

	return ret < 0 ? ret : ret == VFIO_MDMA_STATUS_DONE ? 0 : -EPROTO;
}

static int by_reset(struct fail_env *f)
{
	return ioctl(f->env.dev[0].fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

static int by_irq(struct fail_env *f)
{
	struct vfio_irq_set irq = {
		.argsz = sizeof(irq),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_MDMA_IRQ_INDEX,
	};

	return ioctl(f->env.dev[0].fd, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : 0;
}

static int by_eventfd(struct fail_env *f)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_MDMA_IRQ_INDEX,
			.count = 1,
		},
		.fd = f->event,
	};

	return ioctl(f->env.dev[0].fd, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : 0;
}

static int by_infos(struct fail_env *f)
{
	struct vfio_device_info device = { .argsz = sizeof(device) };
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_MDMA_REGION_INDEX,
	};
	struct vfio_irq_info irq = {
		.argsz = sizeof(irq),
		.index = VFIO_MDMA_IRQ_INDEX,
	};
	struct vfio_mdma_info info = { .argsz = sizeof(info) };
	int fd = f->env.dev[0].fd;

	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &device) ||
	    ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region) ||
	    ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &irq) ||
	    ioctl(fd, VFIO_MDMA_GET_INFO, &info))
		return -errno;
	return device.num_regions == 1 && region.size == VFIO_MDMA_REGION_SIZE &&
	       irq.count == 1 && info.iova_start == f->env.dev[0].info.iova_start ?
	       0 : -EPROTO;
}

/* The list of consumers */
static int by_list(struct fail_env *f)
{
	char *text = (char *)f->buf;
	int ret;

	ret = consumers_read(text, sizeof(f->buf));
	if (ret)
		return ret;
	return consumers_text_has(text, "iommu", 8, 32) ? 0 : -EPROTO;
}

static int by_create(struct fail_env *f)
{
	if (pwrite(f->create, OTHER, strlen(OTHER), 0) < 0)
		return -errno;
	/* to be removed from now on */
	strcpy(f->other.uuid, OTHER);
	return 0;
}

static int by_remove(struct fail_env *f)
{
	if (pwrite(f->remove, "1", 1, 0) < 0)
		return -errno;
	f->other.uuid[0] = '\0';
	return 0;
}

static int by_open_group(struct fail_env *f)
{
	return mdma_open_group(&f->other);
}

static int by_open_cdev(struct fail_env *f)
{
	return mdma_open_cdev_at(&f->other, f->cdev);
}

/*
 * @before and @act, with each allocation that @act makes failing once. Returns
 * how many of them it failed for.
 */
static int sweep(struct __test_metadata *_metadata, struct fail_env *f,
		 const char *what, int (*before)(struct fail_env *f),
		 int (*act)(struct fail_env *f), int consumers, long pages)
{
	struct test_env *env = &f->env;
	int nth, left = 0, ret, failed = 0;

	for (nth = 1; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ret = before(f);
		ASSERT_EQ(0, ret)
			TH_LOG("%s: to begin with: %s", what, strerror(-ret));
		ASSERT_EQ(nth, fail_nth(f->env.fail, nth));
		ret = act(f);
		left = fail_nth(f->env.fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret)
				TH_LOG("%s: failure %d: %s", what, nth, strerror(-ret));
			if (consumers_of(env->fd))
				EXPECT_EQ(0, differ(f))
					TH_LOG("%s: failure %d", what, nth);
			EXPECT_EQ(held(f), pinned())
				TH_LOG("%s: failure %d", what, nth);
			if (f->fine)
				EXPECT_TRUE(f->fine(f, ret))
					TH_LOG("%s: failure %d", what, nth);
			failed++;
			ret = act(f);
			EXPECT_EQ(0, ret)
				TH_LOG("%s: again after failure %d: %s", what, nth,
				       strerror(-ret));
		}
		EXPECT_EQ(consumers, consumers_of(env->fd));
		EXPECT_EQ(held(f), pinned());
		if (f->fine)
			EXPECT_TRUE(f->fine(f, ret))
				TH_LOG("%s: after failure %d", what, nth);
		EXPECT_EQ(pages, reachable(&env->dev[0], f->iova[0], PAGES))
			TH_LOG("%s: failure %d", what, nth);
		if (consumers == 2)
			EXPECT_EQ(0, differ(f))
				TH_LOG("%s: failure %d", what, nth);
	}
	note("%s: %d of %d failed allocations made the call fail", what, failed, nth - 2);
	return failed;
}

#define SWEEP(before, act, consumers, pages) \
	sweep(_metadata, &self->f, #act, before, act, consumers, pages)

/* The same; @then holds after a failure as well as after a success. */
#define SWEEP_AND(before, act, consumers, pages, then)			\
	({								\
		int __failed;						\
									\
		self->f.fine = then;					\
		__failed = SWEEP(before, act, consumers, pages);	\
		self->f.fine = NULL;					\
		__failed;						\
	})

TEST_F(failures, what_adds_pages)
{
	EXPECT_LT(0, SWEEP(mapped, by_fallocate, 2, 30));
	EXPECT_LT(0, SWEEP(mapped, by_fallocate_behind, 2, 4));
	EXPECT_LT(0, SWEEP(mapped, by_write, 2, 9));
	EXPECT_LT(0, SWEEP(mapped, by_write_fault, 2, 8));
	EXPECT_LT(0, SWEEP(mapped, by_read_fault, 2, 8));
	EXPECT_LT(0, SWEEP(mapped, by_uffd, 2, 5));
}

TEST_F(failures, what_takes_pages_away)
{
	EXPECT_EQ(0, SWEEP(mapped, by_punch, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_madv_remove, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_truncate, 2, 2));
	EXPECT_EQ(0, SWEEP(mapped, by_unmap, 1, 0));
	EXPECT_EQ(0, SWEEP(mapped, by_unmap_all, 0, 0));
}

TEST_F(failures, what_maps)
{
	EXPECT_LT(0, SWEEP(begin, follow, 2, 4));
	ASSERT_EQ(0, env_swap(&self->f.env));
	EXPECT_LT(0, SWEEP(swapped, follow, 2, 4));
}

/*
 * When a device first maps them, pages leave memory that must stay movable. If there
 * is no page to move to, the kernel tries that again.
 */
TEST_F(failures, what_moves)
{
	__u64 frames[2];

	movable_zone(frames);
	if (frames[0] == frames[1])
		SKIP(return, "no ZONE_MOVABLE: boot with movablecore=");
	EXPECT_LT(0, SWEEP_AND(movable, follow, 2, 4, has_moved));
}

/*
 * Instances that come and go, while others follow. Nothing fails where VFIO makes
 * a group: it WARNs about its own, half made one.
 */
TEST_F(failures, what_makes_an_instance)
{
	ASSERT_EQ(0, fail_nothing_in("vfio_device_set_group"));
	EXPECT_LT(0, SWEEP_AND(without_other, by_create, 2, 4, is_created));
	ASSERT_EQ(0, fail_nothing_in(NULL));
	EXPECT_LT(0, SWEEP_AND(with_other, by_remove, 2, 4, is_removed));
}

TEST_F(failures, what_opens_an_instance)
{
	EXPECT_LT(0, SWEEP_AND(with_other, by_open_group, 2, 4, is_open));
	EXPECT_LT(0, SWEEP_AND(with_other, by_open_cdev, 2, 4, is_open));
}

TEST_F(failures, what_a_device_is_asked)
{
	EXPECT_EQ(0, SWEEP(mapped, by_copy, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_irq, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_query, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_reset, 2, 4));
	EXPECT_EQ(0, SWEEP(mapped, by_infos, 2, 4));
	EXPECT_EQ(0, SWEEP_AND(mapped, by_eventfd, 2, 4, is_heard));
	EXPECT_LT(0, SWEEP(mapped, by_list, 2, 4));
}

/* What only reads lets go of its pages for the seal, and must have them again. */
TEST_F(failures, seal)
{
	struct fail_env *f = &self->f;
	struct mdma *m = &f->env.dev[0];
	size_t size = PAGES * PAGE;
	unsigned char *mem;
	int fd, nth, left = 0;

	for (nth = 1; !left; nth++) {
		ASSERT_LT(nth, 1000);
		/* a seal cannot be removed */
		fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, size));
		ASSERT_EQ(sizeof(f->buf), pwrite(fd, f->buf, sizeof(f->buf), 9 * PAGE));
		ASSERT_EQ(0, mdma_map(m, fd, 0, f->iova[0], size, VFIO_MDMA_MAP_FLAG_READ));
		ASSERT_EQ(nth, fail_nth(f->env.fail, nth));
		EXPECT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
		left = fail_nth(f->env.fail, 0);
		ASSERT_LE(0, left);

		EXPECT_EQ(F_SEAL_WRITE, fcntl(fd, F_GET_SEALS));
		mem = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
		ASSERT_NE(MAP_FAILED, mem);
		EXPECT_EQ(4, reachable(m, f->iova[0], PAGES));
		EXPECT_EQ(0, differences(m, f->iova[0], fd, mem, 0, PAGES))
			TH_LOG("failure %d", nth);
		EXPECT_EQ(4, pinned());
		ASSERT_EQ(size, mdma_unmap_all(m));
		munmap(mem, size);
		close(fd);
		f->iova[0] += 2 * HUGE;
	}
	note("%d allocations failed", nth - 2);
}

static int by_swap_in(struct fail_env *f)
{
	ssize_t ret = pread(f->env.fd, f->buf, PAGE, 10 * PAGE);

	return ret < 0 ? -errno : ret == PAGE ? 0 : -EPROTO;
}

static int by_swap_in_fault(struct fail_env *f)
{
	return madvise(at(&f->env, 10), PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

/*
 * A page in swap is missing in the device only past the end of the file. Once the file
 * has grown, a read brings the page back for the device, too.
 */
static int behind_in_swap(struct fail_env *f)
{
	struct test_env *env = &f->env;
	int ret = begin(f);

	if (!ret && (ftruncate(env->fd, 0) ||
		     fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 10 * PAGE, PAGE)))
		ret = -errno;
	if (ret)
		return ret;
	cgroup_reclaim();
	if (in_core(at(env, 10)) || allocated(env->fd) != 1)
		return -EBUSY;
	ret = follow(f);
	if (!ret && ftruncate(env->fd, HUGE_PAGES * PAGE))
		ret = -errno;
	return ret;
}

TEST_F(failures, what_swaps_in)
{
	int (*const acts[])(struct fail_env *f) = { by_swap_in, by_swap_in_fault };
	struct fail_env *f = &self->f;
	struct test_env *env = &f->env;
	int nth, left, ret, failed;
	size_t i;

	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, env_no_readahead(env));
	for (i = 0; i < ARRAY_SIZE(acts); i++) {
		for (nth = 1, left = 0, failed = 0; !left; nth++) {
			ASSERT_LT(nth, 1000);
			ASSERT_EQ(0, behind_in_swap(f));
			ASSERT_EQ(0, held(f));
			ASSERT_EQ(nth, fail_nth(f->env.fail, nth));
			ret = acts[i](f);
			left = fail_nth(f->env.fail, 0);
			ASSERT_LE(0, left);
			if (ret) {
				EXPECT_EQ(0, left);
				EXPECT_EQ(-ENOMEM, ret)
					TH_LOG("failure %d: %s", nth, strerror(-ret));
				EXPECT_EQ(0, held(f));
				EXPECT_EQ(0, pinned());
				EXPECT_EQ(1, allocated(env->fd));
				failed++;
				EXPECT_EQ(0, acts[i](f));
			}
			EXPECT_EQ(2, held(f)) TH_LOG("failure %d", nth);
			EXPECT_EQ(2, pinned());
			EXPECT_EQ(0, differ(f)) TH_LOG("failure %d", nth);
			EXPECT_EQ(1, allocated(env->fd));
			EXPECT_TRUE(all(at(env, 10), PAGE, 0));
		}
		note("%d of %d failed allocations made the call fail", failed, nth - 2);
		EXPECT_LT(0, failed);
	}
}

/* Without memory the folio cannot be split: it stays, zeroed, until the next attempt. */
TEST_F(failures, hole_in_a_huge_page)
{
	struct fail_env *f = &self->f;
	struct test_env *env = &f->env;
	int nth, left = 0, kept = 0;

	ASSERT_EQ(0, env_thp(env, "force"));
	for (nth = 1; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, huge_mapped(f));
		ASSERT_TRUE(is_huge(at(env, 0)));
		memset(at(env, 11), 0xff, 2 * PAGE);
		ASSERT_EQ(nth, fail_nth(f->env.fail, nth));
		EXPECT_EQ(0, by_punch(f));
		left = fail_nth(f->env.fail, 0);
		ASSERT_LE(0, left);

		EXPECT_EQ(0, differ(f))
			TH_LOG("failure %d", nth);
		if (in_core(at(env, 11))) {
			EXPECT_TRUE(all(at(env, 11), 2 * PAGE, 0));
			EXPECT_EQ(PAGES, reachable(&env->dev[0], f->iova[0], PAGES));
			EXPECT_EQ(0, by_punch(f));
			kept++;
		}
		EXPECT_EQ(HUGE_PAGES - 2, allocated(env->fd));
		EXPECT_EQ(PAGES - 2, reachable(&env->dev[0], f->iova[0], PAGES));
		EXPECT_EQ(0, differ(f))
			TH_LOG("failure %d", nth);
	}
	note("%d allocations failed, and kept the page %d times", nth - 2, kept);
}

TEST_HARNESS_MAIN
