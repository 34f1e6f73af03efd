// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings by VFIO type1 and iommufd that may lack pages of their memfd (I12): of a
 * descriptor that cannot write, or by the flag. Nobody's operation fails, an eventfd is
 * signalled, and VFIO_IOMMU_FILL_MEMFD or IOMMU_IOAS_FILL maps the pages later. See
 * Documentation/userspace-api/vfio-memfd.rst.
 */
#include <sys/eventfd.h>

#include "lib/harness.h"
#include "lib/rights.h"
#include "lib/vfio_fixture.h"

#define SIDE_PAGES	2UL		/* which edu needs */
#define OTHER		8UL		/* in another mapping, until there has to be room */
#define LIMIT		4UL		/* for the file, as long as that is there */
#define ALL		(LIMIT + OTHER)
#define OTHER_IOVA	(BASE + GIB)

static int map_other(struct test_env *env)
{
	int fd = memfd_create("other", MFD_CLOEXEC), ret;

	if (fd < 0 || ftruncate(fd, OTHER * PAGE))
		return -errno;
	ret = grow(fd, 0, OTHER);
	if (!ret)
		ret = space_map(&env->space, fd, 0, OTHER_IOVA, OTHER * PAGE, DMA_RW);
	close(fd);
	return ret;
}

static int make_room(struct test_env *env)
{
	return space_unmap(&env->space, OTHER_IOVA, OTHER * PAGE) == OTHER * PAGE ? 0 : -EIO;
}

/*
 * From now on, @LIMIT pages of the file can be mapped. The side memory was mapped with
 * CAP_IPC_LOCK: iommufd does not charge the user for it.
 */
static int begin(struct test_env *env)
{
	int ret;

	memset(env->side, 0, SIDE_PAGES * PAGE);
	ret = limit_as_user(ALL + (env->space.way == TYPE1 ? SIDE_PAGES : 0));
	if (!ret)
		ret = map_other(env);
	return !ret && pinned() != SIDE_PAGES + OTHER ? -EPROTO : ret;
}

static int map_all(struct test_env *env)
{
	return space_map_may_miss(&env->space, env->fd, 0, BASE, env->pages * PAGE, DMA_RW);
}

/* How many pages the mapping lacks, after an attempt to map them */
static long missing(struct test_env *env)
{
	__s64 ret = space_fill(&env->space, BASE, env->pages * PAGE);

	return ret < 0 ? ret : ret / (long)PAGE;
}

static long set_event(struct test_env *env, int event)
{
	__s64 ret = space_set_event(&env->space, BASE, env->pages * PAGE, event);

	return ret < 0 ? ret : ret / (long)PAGE;
}

/* Has the eventfd been signalled since the last time? */
static bool signalled(int event)
{
	eventfd_t value;

	return !eventfd_read(event, &value) && value;
}

static int new_event(void)
{
	return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* Are as many pages of the file mapped, and counted? */
static bool has(struct test_env *env, long want)
{
	long counted = pinned() - (long)SIDE_PAGES;

	/* if it is mapped, it lacks nothing */
	if (space_fill(&env->space, OTHER_IOVA, OTHER * PAGE) >= 0)
		counted -= OTHER;
	if (counted != want)
		note("%ld pages are counted rather than %ld", counted, want);
	return counted == want && table_has(env, &env->edu, 0, env->pages, want);
}

/* Does the IOMMU block a write of edu to a page that the file has? */
static bool out_of_reach(struct test_env *env, size_t page)
{
	long faults = mdma_iommu_faults();

	fill(at(env, page), 77);
	return !device_writes(env, iova(page), 78) && mdma_iommu_faulted(faults) &&
	       filled(at(env, page), 77);
}

/* Nobody is refused a page, and the mapping gets it when there is room. */
TEST_F(vfio, may_miss)
{
	struct test_env *env = &self->env;
	int event = new_event();
	char byte = 1;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, begin(env));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 2));
	EXPECT_EQ(-ENOMEM, map_pages(env, 0, env->pages));
	EXPECT_TRUE(has(env, 0));
	ASSERT_EQ(0, map_all(env));
	EXPECT_TRUE(has(env, LIMIT));
	EXPECT_EQ(2, consumers_missed(env->fd, "iommu"));
	EXPECT_EQ(2, missing(env));
	EXPECT_EQ(2, set_event(env, event));
	/* pages that were missed before are no event */
	EXPECT_FALSE(signalled(event));
	EXPECT_EQ(2, consumers_missed(env->fd, "iommu"));

	*at(env, 20) = 1;
	EXPECT_TRUE(signalled(event));
	EXPECT_EQ(0, grow(env->fd, 30, 1));
	EXPECT_TRUE(signalled(event));
	EXPECT_EQ(1, pwrite(env->fd, &byte, 1, 40 * PAGE));
	EXPECT_TRUE(signalled(event));
	EXPECT_EQ(LIMIT + 5, allocated(env->fd));
	EXPECT_TRUE(has(env, LIMIT));
	EXPECT_TRUE(out_of_reach(env, 20));
	EXPECT_EQ(5, consumers_missed(env->fd, "iommu"));
	EXPECT_EQ(5, missing(env));
	EXPECT_FALSE(signalled(event));
	EXPECT_EQ(5, consumers_missed(env->fd, "iommu"));

	/* missing pages leave as others do */
	ASSERT_EQ(0, punch(env->fd, 40, 1));
	EXPECT_EQ(4, missing(env));

	ASSERT_EQ(0, make_room(env));
	EXPECT_TRUE(has(env, LIMIT));
	EXPECT_EQ(0, missing(env));
	EXPECT_TRUE(has(env, LIMIT + 4));
	EXPECT_TRUE(reached(env, 20, 1));
	/* pages for which there is room are no event */
	EXPECT_EQ(0, grow(env->fd, 50, ALL - LIMIT - 4));
	EXPECT_FALSE(signalled(event));
	EXPECT_TRUE(has(env, ALL));
	*at(env, 70) = 1;
	EXPECT_TRUE(signalled(event));
	EXPECT_TRUE(has(env, ALL));
	EXPECT_EQ(1, missing(env));
	close(event);
}

/* The eventfd can be another one, or none; closed or not, the kernel keeps it. */
TEST_F(vfio, events)
{
	struct test_env *env = &self->env;
	int first = new_event(), second = new_event();

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	ASSERT_EQ(0, begin(env));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, map_all(env));
	EXPECT_EQ(0, set_event(env, first));
	EXPECT_EQ(0, set_event(env, first));
	*at(env, 20) = 1;
	EXPECT_TRUE(signalled(first));
	EXPECT_EQ(1, set_event(env, second));
	*at(env, 21) = 1;
	EXPECT_FALSE(signalled(first));
	EXPECT_TRUE(signalled(second));
	EXPECT_EQ(2, set_event(env, -1));
	*at(env, 22) = 1;
	EXPECT_FALSE(signalled(first));
	EXPECT_FALSE(signalled(second));
	EXPECT_EQ(3, set_event(env, -1));

	EXPECT_EQ(3, set_event(env, first));
	close(first);
	*at(env, 23) = 1;
	EXPECT_EQ(4, missing(env));
	EXPECT_EQ(env->pages * PAGE, unmap_pages(env, 0, env->pages));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(-ENOENT, missing(env));
	EXPECT_EQ(-ENOENT, set_event(env, second));
	close(second);
}

/* Mapping reads pages back from swap, those that it then lacks as well. */
TEST_F(vfio, in_swap)
{
	struct test_env *env = &self->env;
	size_t i;

	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, begin(env));
	for (i = 0; i < LIMIT + 2; i++)
		fill(at(env, i), i);
	ASSERT_EQ(0, madvise(at(env, 0), (LIMIT + 2) * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(env, 0), LIMIT + 2));
	ASSERT_EQ(0, map_all(env));
	EXPECT_EQ(LIMIT + 2, in_core_pages(at(env, 0), LIMIT + 2));
	EXPECT_TRUE(has(env, LIMIT));
	EXPECT_EQ(2, consumers_missed(env->fd, "iommu"));
	EXPECT_EQ(2, missing(env));
	ASSERT_EQ(0, make_room(env));
	EXPECT_EQ(0, missing(env));
	EXPECT_TRUE(has(env, LIMIT + 2));
	for (i = 0; i < LIMIT + 2; i++) {
		EXPECT_TRUE(filled(at(env, i), i));
		EXPECT_TRUE(device_reads(env, iova(i), at(env, i)));
	}
}

/* A descriptor that cannot write refuses nobody a page; but its mapping can fail. */
TEST_F(vfio, reads_only)
{
	struct test_env *env = &self->env;
	int event = new_event(), fd = reopen(env->fd, O_RDONLY);
	const size_t size = env->pages * PAGE;

	ASSERT_LE(0, event);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, begin(env));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	EXPECT_EQ(-ENOMEM, space_map(&env->space, fd, 0, BASE, size, DMA_R));
	ASSERT_EQ(0, punch(env->fd, 0, 1));
	ASSERT_EQ(0, space_map(&env->space, fd, 0, BASE, size, DMA_R));
	EXPECT_EQ(0, set_event(env, event));
	EXPECT_TRUE(device_reads(env, iova(1), at(env, 1)));

	fill(at(env, 20), 20);
	EXPECT_TRUE(signalled(event));
	EXPECT_EQ(0, grow(env->fd, 30, 3));
	EXPECT_TRUE(signalled(event));
	mdma_expect_iommu_faults();
	EXPECT_FALSE(device_reads(env, iova(20), at(env, 20)));
	EXPECT_TRUE(has(env, LIMIT));
	EXPECT_EQ(4, missing(env));
	ASSERT_EQ(0, punch(env->fd, 1, LIMIT));
	EXPECT_EQ(0, missing(env));
	EXPECT_TRUE(device_reads(env, iova(20), at(env, 20)));
	EXPECT_TRUE(has(env, 4));
	EXPECT_EQ(size, space_unmap(&env->space, BASE, size));

	/* with the flag it succeeds at once, and lacks pages */
	ASSERT_EQ(0, grow(env->fd, 0, 1));
	EXPECT_EQ(-ENOMEM, space_map(&env->space, fd, 0, BASE, size, DMA_R));
	EXPECT_EQ(0, space_map_may_miss(&env->space, fd, 0, BASE, size, DMA_R));
	EXPECT_EQ(1, missing(env));
	close(event);
	close(fd);
}

/* A mapping with a veto lacks nothing. */
TEST_F(vfio, veto)
{
	struct test_env *env = &self->env;
	int event = new_event();

	ASSERT_LE(0, event);
	ASSERT_EQ(0, begin(env));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT));
	ASSERT_EQ(0, map_pages(env, 0, env->pages));
	EXPECT_EQ(0, set_event(env, event));
	EXPECT_EQ(-EDQUOT, grow(env->fd, 20, 1));
	EXPECT_FALSE(signalled(event));
	EXPECT_EQ(0, missing(env));
	EXPECT_EQ(0, consumers_missed(env->fd, "iommu"));
	EXPECT_TRUE(has(env, LIMIT));
	close(event);
}

/*
 * Calls that fail: none of them maps the page that lacks, for which there is room, and
 * the eventfd stays.
 */
FIXTURE(bad)
{
	struct test_env env;
	int event;
};

FIXTURE_VARIANT(bad)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(bad, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(bad, iommufd) { .way = IOMMUFD };

FIXTURE_SETUP(bad)
{
	struct test_env *env = &self->env;
	int ret = vfio_env_setup_mapped(env, variant->way);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	self->event = new_event();
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, begin(env));
	ASSERT_EQ(0, map_all(env));
	ASSERT_EQ(0, set_event(env, self->event));
	ASSERT_EQ(0, grow(env->fd, 0, LIMIT + 1));
	ASSERT_TRUE(signalled(self->event));
	ASSERT_EQ(0, make_room(env));
}

FIXTURE_TEARDOWN(bad)
{
	close(self->event);
	vfio_env_teardown(&self->env);
}

/* What a mistaken call leaves; then a good one can do what it could not. */
static bool nothing_changed(struct test_env *env)
{
	return has(env, LIMIT);
}

static bool still_works(struct test_env *env, int event)
{
	return missing(env) == 0 && has(env, LIMIT + 1) && !signalled(event) &&
	       !grow(env->fd, 20, ALL - LIMIT - 1) && !signalled(event) &&
	       !grow(env->fd, 40, 1) && signalled(event);
}

struct request {
	__u32 flags, reserved;
	__s32 eventfd;
	__u64 iova, size;
};

static int try(struct test_env *env, struct request r)
{
	struct vfio_iommu_type1_fill_memfd type1 = {
		.argsz = sizeof(type1),
		.flags = r.flags,
		.iova = r.iova,
		.size = r.size,
		.eventfd = r.eventfd,
		.reserved = r.reserved,
	};
	struct iommu_ioas_fill ioas = {
		.size = sizeof(ioas),
		.flags = r.flags,
		.ioas_id = env->space.ioas,
		.eventfd = r.eventfd,
		.iova = r.iova,
		.length = r.size,
	};

	return errno_of(env->space.way == TYPE1 ?
			ioctl(env->space.fd, VFIO_IOMMU_FILL_MEMFD, &type1) :
			ioctl(env->space.fd, IOMMU_IOAS_FILL, &ioas));
}

TEST_F(bad, calls)
{
	const int set = VFIO_IOMMU_FILL_MEMFD_SET_EVENTFD;
	const int unknown = variant->way == TYPE1 ? EINVAL : EOPNOTSUPP;
	struct test_env *env = &self->env;
	const size_t size = env->pages * PAGE;
	const struct {
		const char *what;
		int error;
		struct request request;
	} tries[] = {
#define WITH(error, ...) \
	{ #__VA_ARGS__, error, { .iova = BASE, .size = size, __VA_ARGS__ } }
		WITH(unknown, .flags = 1 << 1),
		WITH(unknown, .flags = set | 1U << 31, .eventfd = -1),
		WITH(EINVAL, .eventfd = -1),
		WITH(EINVAL, .eventfd = self->event),
		WITH(EBADF, .flags = set, .eventfd = -2),
		WITH(EBADF, .flags = set, .eventfd = 1000),
		WITH(EINVAL, .flags = set, .eventfd = env->fd),
		WITH(ENOENT, .iova = BASE - PAGE),
		WITH(ENOENT, .iova = BASE + PAGE),
		WITH(ENOENT, .iova = BASE + 1),
		WITH(ENOENT, .iova = OTHER_IOVA, .size = OTHER * PAGE),
		WITH(ENOENT, .size = 0),
		WITH(ENOENT, .size = size / 2),
		WITH(ENOENT, .size = size + PAGE),
		WITH(ENOENT, .size = UINT64_MAX),
		WITH(ENOENT, .iova = UINT64_MAX),
		WITH(ENOENT, .size = size / 2, .flags = set, .eventfd = -1),
		WITH(ENOENT, .size = size / 2, .flags = set, .eventfd = self->event),
		/* the last one, which only type1 has */
		WITH(EINVAL, .reserved = 1),
#undef WITH
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tries) - (variant->way == IOMMUFD); i++) {
		EXPECT_EQ(tries[i].error, try(env, tries[i].request))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_changed(env)) TH_LOG("after %s", tries[i].what);
	}
	EXPECT_TRUE(still_works(env, self->event));
}

TEST_F(bad, structures)
{
	struct test_env *env = &self->env;
	struct {
		struct vfio_iommu_type1_fill_memfd fill;
		__u64 more;
	} type1 = {
		.fill = { .iova = BASE, .size = env->pages * PAGE },
		.more = 1,
	};
	struct {
		struct iommu_ioas_fill fill;
		__u64 more;
	} ioas = {
		.fill = { .ioas_id = 0x7fffffff, .iova = BASE, .length = env->pages * PAGE },
		.more = 1,
	};
	const int fd = env->space.fd;
	__u32 size;

	if (variant->way == TYPE1) {
		for (size = 0; size < sizeof(type1.fill); size += 4) {
			type1.fill.argsz = size;
			EXPECT_EQ(EINVAL, errno_of(ioctl(fd, VFIO_IOMMU_FILL_MEMFD, &type1)));
		}
		EXPECT_EQ(EFAULT, errno_of(ioctl(fd, VFIO_IOMMU_FILL_MEMFD, NULL)));
		EXPECT_TRUE(nothing_changed(env));
		/* argsz may be that of a later kernel's, larger structure */
		type1.fill.argsz = sizeof(type1);
		type1.fill.missing = 1;
		EXPECT_EQ(0, ioctl(fd, VFIO_IOMMU_FILL_MEMFD, &type1));
		EXPECT_EQ(0, type1.fill.missing);
	} else {
		for (size = 0; size < sizeof(ioas.fill); size += 4) {
			ioas.fill.size = size;
			EXPECT_EQ(EINVAL, errno_of(ioctl(fd, IOMMU_IOAS_FILL, &ioas)));
		}
		EXPECT_EQ(EFAULT, errno_of(ioctl(fd, IOMMU_IOAS_FILL, NULL)));
		ioas.fill.size = sizeof(ioas.fill);
		EXPECT_EQ(ENOENT, errno_of(ioctl(fd, IOMMU_IOAS_FILL, &ioas)));
		ioas.fill.ioas_id = env->edu.id;
		EXPECT_EQ(ENOENT, errno_of(ioctl(fd, IOMMU_IOAS_FILL, &ioas)));
		ioas.fill.ioas_id = env->space.ioas;
		ioas.fill.size = sizeof(ioas);
		EXPECT_EQ(E2BIG, errno_of(ioctl(fd, IOMMU_IOAS_FILL, &ioas)));
		EXPECT_TRUE(nothing_changed(env));
		ioas.more = 0;
		ioas.fill.out_missing = 1;
		EXPECT_EQ(0, ioctl(fd, IOMMU_IOAS_FILL, &ioas));
		EXPECT_EQ(0, ioas.fill.out_missing);
	}
	EXPECT_TRUE(has(env, LIMIT + 1));
}

/* A mapping by address has no memfd to lack. */
TEST_F(bad, by_address)
{
	struct test_env *env = &self->env;
	unsigned char *mem;

	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, space_map_address(&env->space, mem, OTHER_IOVA, PAGE));
	EXPECT_EQ(-ENOENT, space_fill(&env->space, OTHER_IOVA, PAGE));
	EXPECT_EQ(-ENOENT, space_set_event(&env->space, OTHER_IOVA, PAGE, self->event));
	EXPECT_EQ(PAGE, space_unmap(&env->space, OTHER_IOVA, PAGE));
	EXPECT_TRUE(nothing_changed(env));
	munmap(mem, PAGE);
}

TEST_HARNESS_MAIN
