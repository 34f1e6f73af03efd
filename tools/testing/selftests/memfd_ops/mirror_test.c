// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping memfds for the device: which requests fail, and how; which windows are
 * possible; how much memory they take.
 */
#include "lib/harness.h"
#include "lib/iova_table.h"
#include "lib/test_env.h"

#define PAGES	64

FIXTURE(mirror)
{
	struct test_env env;
};

FIXTURE_SETUP(mirror)
{
	int ret = env_setup(&self->env, PAGES);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(mirror)
{
	env_teardown(&self->env);
}

/* Is nothing at all mapped, by any account? */
static bool nothing_mapped(struct test_env *env, int i)
{
	struct mdma *m = &env->dev[i];
	struct vfio_mdma_query q;
	struct iova_table t;
	bool nothing = true;
	size_t n;

	if (mdma_query(m, 0, 0, &q) != -ENOENT ||
	    mdma_query(m, 0, VFIO_MDMA_QUERY_FLAG_PRESENT, &q) != -ENOENT ||
	    consumers_of(env->fd) > 0)
		return false;
	if (iova_table_read(m, &t))
		return true;
	for (n = 0; n < t.nr; n++)
		if (t.entries[n].iova >= m->info.iova_start &&
		    t.entries[n].iova <= m->info.iova_last)
			nothing = false;
	iova_table_free(&t);
	return nothing;
}

TEST_F(mirror, info)
{
	struct mdma *m = &self->env.dev[0], *other = &self->env.dev[1];
	struct vfio_mdma_info info = m->info;

	EXPECT_EQ(0, info.flags);
	EXPECT_EQ(PAGE, info.pgsizes & -info.pgsizes);
	EXPECT_EQ(0, info.iova_start % HUGE);
	EXPECT_EQ(0, (info.iova_last + 1) % HUGE);
	EXPECT_LT(info.iova_start, info.iova_last);
	EXPECT_LE(PAGE, info.max_copy);
	/* windows do not overlap */
	EXPECT_TRUE(info.iova_last < other->info.iova_start ||
		    other->info.iova_last < info.iova_start);

	info.argsz--;
	EXPECT_EQ(EINVAL, errno_of(ioctl(m->fd, VFIO_MDMA_GET_INFO, &info)));
	info.argsz = sizeof(info);
	info.flags = 1;
	EXPECT_EQ(EINVAL, errno_of(ioctl(m->fd, VFIO_MDMA_GET_INFO, &info)));
	EXPECT_EQ(EFAULT, errno_of(ioctl(m->fd, VFIO_MDMA_GET_INFO, NULL)));
	EXPECT_EQ(ENOTTY, errno_of(ioctl(m->fd, _IO(VFIO_TYPE, VFIO_BASE + 99), &info)));
	/* argsz may be that of a later kernel's, larger structure */
	info.flags = 0;
	info.argsz = sizeof(info) + 64;
	EXPECT_EQ(0, ioctl(m->fd, VFIO_MDMA_GET_INFO, &info));
}

/* The list of mapped pages names the device that has the IOMMU. */
TEST_F(mirror, owner)
{
	char path[PATH_MAX], link[PATH_MAX] = "", device[256];
	struct test_env *env = &self->env;

	snprintf(path, sizeof(path), MDMA_DEVICES "/%s", env->dev[0].uuid);
	ASSERT_LT(0, readlink(path, link, sizeof(link) - 1));
	*strrchr(link, '/') = '\0';
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, consumers_device(env->fd, device, sizeof(device)));
	EXPECT_STREQ(strrchr(link, '/') + 1, device);
	ASSERT_EQ(0, grow(env->fd, 2, 3));
	EXPECT_TRUE(consumers_map(env->fd, "[2, 5)"));
}

TEST_F(mirror, map_refused)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	const struct vfio_mdma_map good = {
		.argsz = sizeof(good),
		.flags = MDMA_RW,
		.fd = env->fd,
		.iova = m->info.iova_start + 16 * PAGE,
		.offset = PAGE,
		.size = 4 * PAGE,
	};
	const __u64 start = m->info.iova_start, last = m->info.iova_last;
	const __u64 other = self->env.dev[1].info.iova_start;
	const __u64 top = -PAGE;
	struct vfio_mdma_map map;
	size_t i;
	const struct {
		const char *what;
		int error;
		struct vfio_mdma_map map;
	} tries[] = {
#define WITH(error, field, value) \
	{ #field " = " #value, error, ({ map = good; map.field = value; map; }) }
#define WITH2(error, field, value, field2, value2)			\
	{ #field " = " #value ", " #field2 " = " #value2, error,	\
	  ({ map = good; map.field = value; map.field2 = value2; map; }) }
		WITH(EINVAL, argsz, sizeof(map) - 1),
		WITH(EINVAL, argsz, 0),
		WITH(EINVAL, flags, 0),
		WITH(EINVAL, flags, MDMA_RW | 4),
		WITH(EINVAL, flags, 0x80000000 | MDMA_RW),
		WITH(EINVAL, reserved, 1),
		WITH(EINVAL, size, 0),
		WITH(EINVAL, size, 1),
		WITH(EINVAL, size, PAGE + 1),
		WITH(EINVAL, size, PAGE / 2),
		WITH(EINVAL, iova, start + 1),
		WITH(EINVAL, iova, start + PAGE / 2),
		WITH(EINVAL, offset, 1),
		WITH(EINVAL, offset, PAGE + 512),
		/* outside the window */
		WITH(EINVAL, iova, start - PAGE),
		WITH(EINVAL, iova, last + 1),
		WITH(EINVAL, iova, last + 1 - PAGE),
		WITH(EINVAL, iova, other),
		WITH2(EINVAL, iova, start, size, last - start + 1 + PAGE),
		/* where interrupts are */
		WITH(EINVAL, iova, 0xfee00000),
		WITH2(EINVAL, iova, 0xfedff000, size, 2 * PAGE),
		/* around the end of all addresses */
		WITH2(EOVERFLOW, iova, top, size, 2 * PAGE),
		WITH2(EOVERFLOW, iova, start, size, top),
		WITH2(EOVERFLOW, offset, top, size, 2 * PAGE),
		/* past what a file can be */
		WITH(EINVAL, offset, 1ULL << 63),
		WITH(EBADF, fd, -1),
		WITH(EBADF, fd, 1000),
	};

	if (!start)
		SKIP(return, "the window begins at IOVA 0");
	fill(at(env, 1), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		map = tries[i].map;
		EXPECT_EQ(tries[i].error, errno_of(ioctl(m->fd, VFIO_MDMA_MAP, &map)))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(env, 0))
			TH_LOG("after %s", tries[i].what);
	}
	EXPECT_EQ(EFAULT, errno_of(ioctl(m->fd, VFIO_MDMA_MAP, NULL)));
	EXPECT_TRUE(nothing_mapped(env, 0));

	/* and without any of that it is fine */
	map = good;
	map.argsz += 8;
	EXPECT_EQ(0, ioctl(m->fd, VFIO_MDMA_MAP, &map));
	EXPECT_EQ(1, reachable(m, good.iova, 4));
}

TEST_F(mirror, overlaps_refused)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	const struct {
		size_t first, pages;
	} tries[] = {
		{ 16, 8 }, { 12, 5 }, { 23, 4 }, { 18, 2 }, { 8, 24 }, { 16, 1 },
	};
	size_t i;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, env_map(env, 0, 16, 8));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(-EEXIST, env_map(env, 0, tries[i].first, tries[i].pages));
		EXPECT_EQ(8, env_reachable(env, 0, 0, PAGES));
		EXPECT_EQ(1, consumers_of(env->fd));
	}
	/* the IOVAs next to it are free */
	EXPECT_EQ(0, env_map(env, 0, 15, 1));
	EXPECT_EQ(0, env_map(env, 0, 24, 1));
	EXPECT_EQ(10, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(10 * PAGE, mdma_unmap_all(m));
}

static int map_at(struct mdma *m, int fd, __u32 flags)
{
	return mdma_map(m, fd, 0, m->info.iova_start, PAGE, flags);
}

TEST_F(mirror, files)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	int fd, pipefd[2];
	char path[64];

	fill(at(env, 0), 0);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-EINVAL, map_at(m, fd, MDMA_RW));
	close(fd);
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, map_at(m, pipefd[0], VFIO_MDMA_MAP_FLAG_READ));
	close(pipefd[0]);
	close(pipefd[1]);
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-EINVAL, map_at(m, fd, VFIO_MDMA_MAP_FLAG_READ));
	close(fd);
	EXPECT_EQ(-EINVAL, map_at(m, m->fd, MDMA_RW));
	fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_at(m, fd, VFIO_MDMA_MAP_FLAG_READ));
		close(fd);
	}
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_at(m, fd, MDMA_RW));
		close(fd);
	} else {
		note("hugetlbfs not tried: this kernel has none");
	}

	/* the file's mode is the device's */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", env->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, map_at(m, fd, MDMA_RW));
	EXPECT_EQ(-EACCES, map_at(m, fd, VFIO_MDMA_MAP_FLAG_WRITE));
	EXPECT_TRUE(nothing_mapped(env, 0));
	EXPECT_EQ(0, map_at(m, fd, VFIO_MDMA_MAP_FLAG_READ));
	EXPECT_EQ(PAGE, mdma_unmap_all(m));
	close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(-EACCES, map_at(m, fd, MDMA_RW));
	EXPECT_EQ(-EACCES, map_at(m, fd, VFIO_MDMA_MAP_FLAG_READ));
	/* what VT-d lets a device write, it lets it read as well */
	EXPECT_EQ(-EACCES, map_at(m, fd, VFIO_MDMA_MAP_FLAG_WRITE));
	EXPECT_TRUE(nothing_mapped(env, 0));
	close(fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	EXPECT_EQ(-EBADF, map_at(m, fd, VFIO_MDMA_MAP_FLAG_READ));
	close(fd);

	/* any file on tmpfs will do */
	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		EXPECT_EQ(0, map_at(m, fd, MDMA_RW));
		EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
		EXPECT_EQ(1, reachable(m, m->info.iova_start, 1));
		close(fd);
		EXPECT_EQ(PAGE, mdma_unmap_all(m));
	}
	EXPECT_TRUE(nothing_mapped(env, 0));
}

/* The device has the access that the mapping grants, and no other. */
TEST_F(mirror, protection)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	struct vfio_mdma_query q;
	int i;

	for (i = 0; i < 4; i++)
		fill(at(env, i), i);
	ASSERT_EQ(0, mdma_map(m, env->fd, 0, iova_of(m, 0), PAGE,
			      VFIO_MDMA_MAP_FLAG_READ));
	ASSERT_EQ(0, mdma_map(m, env->fd, PAGE, iova_of(m, 1), PAGE,
			      VFIO_MDMA_MAP_FLAG_WRITE));
	ASSERT_EQ(0, env_map(env, 0, 2, 2));
	EXPECT_EQ(0, mdma_query(m, iova_of(m, 0), 0, &q));
	EXPECT_EQ(VFIO_MDMA_MAP_FLAG_READ, q.prot);
	EXPECT_EQ(0, mdma_query(m, iova_of(m, 1), VFIO_MDMA_QUERY_FLAG_PRESENT, &q));
	EXPECT_EQ(VFIO_MDMA_MAP_FLAG_WRITE, q.prot);

	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 2, 0, 64));
	EXPECT_TRUE(filled(at(env, 0), 0));
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(env, 0, 1, 3, 64));
	EXPECT_TRUE(filled(at(env, 3), 3));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 0, 1, 64));
	EXPECT_EQ(0, memcmp(at(env, 0), at(env, 1), 64));
}

TEST_F(mirror, unmap)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	const __u64 start = m->info.iova_start;
	struct vfio_mdma_unmap unmap;
	const __u64 top = -PAGE;
	size_t i;
	const struct {
		int error;
		struct vfio_mdma_unmap unmap;
	} tries[] = {
		{ EINVAL, { sizeof(unmap) - 1, 0, start, PAGE } },
		{ EINVAL, { sizeof(unmap), 2, start, PAGE } },
		{ EINVAL, { sizeof(unmap), 1, start, PAGE } },
		{ EINVAL, { sizeof(unmap), 1, 0, PAGE } },
		{ EINVAL, { sizeof(unmap), 1, start, 0 } },
		{ EINVAL, { sizeof(unmap), 0, start, 0 } },
		{ EINVAL, { sizeof(unmap), 0, start + 1, PAGE } },
		{ EINVAL, { sizeof(unmap), 0, start, PAGE - 1 } },
		{ EINVAL, { sizeof(unmap), 0, start - PAGE, 2 * PAGE } },
		{ EINVAL, { sizeof(unmap), 0, m->info.iova_last + 1, PAGE } },
		{ EOVERFLOW, { sizeof(unmap), 0, top, 2 * PAGE } },
		{ EOVERFLOW, { sizeof(unmap), 0, start, top } },
		/* mappings are undone as a whole */
		{ EINVAL, { sizeof(unmap), 0, start, PAGE } },
		{ EINVAL, { sizeof(unmap), 0, start + 7 * PAGE, PAGE } },
		{ EINVAL, { sizeof(unmap), 0, start + 4 * PAGE, 13 * PAGE } },
		{ EINVAL, { sizeof(unmap), 0, start, 17 * PAGE } },
	};

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	/* three, with a gap behind the second */
	ASSERT_EQ(0, env_map(env, 0, 0, 8));
	ASSERT_EQ(0, env_map(env, 0, 8, 4));
	ASSERT_EQ(0, env_map(env, 0, 16, 8));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		unmap = tries[i].unmap;
		EXPECT_EQ(tries[i].error,
			  errno_of(ioctl(m->fd, VFIO_MDMA_UNMAP, &unmap)))
			TH_LOG("try %zu", i);
		EXPECT_EQ(20, env_reachable(env, 0, 0, PAGES));
		EXPECT_EQ(3, consumers_of(env->fd));
	}
	EXPECT_EQ(EFAULT, errno_of(ioctl(m->fd, VFIO_MDMA_UNMAP, NULL)));

	EXPECT_EQ(0, mdma_unmap(m, iova_of(m, 12), 4 * PAGE));
	EXPECT_EQ(0, mdma_unmap(m, iova_of(m, 40), PAGE));
	EXPECT_EQ(20, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(12 * PAGE, mdma_unmap(m, iova_of(m, 8), 16 * PAGE));
	EXPECT_EQ(8, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(8 * PAGE, mdma_unmap(m, m->info.iova_start,
				       m->info.iova_last - m->info.iova_start + 1));
	EXPECT_EQ(0, mdma_unmap_all(m));
	EXPECT_TRUE(nothing_mapped(env, 0));
	EXPECT_EQ(PAGES, allocated(env->fd));
}

TEST_F(mirror, query)
{
	struct mdma *m = &self->env.dev[0];
	const __u32 present = VFIO_MDMA_QUERY_FLAG_PRESENT;
	struct test_env *env = &self->env;
	struct vfio_mdma_query q;
	__u64 base = iova_of(m, 0);

	ASSERT_EQ(0, mdma_map(m, env->fd, 8 * PAGE, base + 16 * PAGE, 16 * PAGE, MDMA_RW));
	EXPECT_EQ(-ENOENT, mdma_query(m, 0, present, &q));
	ASSERT_EQ(0, grow(env->fd, 10, 2));
	ASSERT_EQ(0, grow(env->fd, 20, 40));

	EXPECT_EQ(0, mdma_query(m, 0, 0, &q));
	EXPECT_EQ(base + 16 * PAGE, q.iova);
	EXPECT_EQ(16 * PAGE, q.size);
	EXPECT_EQ(8 * PAGE, q.offset);
	EXPECT_EQ(MDMA_RW, q.prot);
	/* what ends after that, as a whole */
	EXPECT_EQ(0, mdma_query(m, base + 31 * PAGE, 0, &q));
	EXPECT_EQ(base + 16 * PAGE, q.iova);
	EXPECT_EQ(-ENOENT, mdma_query(m, base + 32 * PAGE, 0, &q));

	EXPECT_EQ(0, mdma_query(m, 0, present, &q));
	EXPECT_EQ(base + 18 * PAGE, q.iova);
	EXPECT_EQ(2 * PAGE, q.size);
	EXPECT_EQ(10 * PAGE, q.offset);
	EXPECT_EQ(0, mdma_query(m, base + 19 * PAGE, present, &q));
	EXPECT_EQ(base + 19 * PAGE, q.iova);
	EXPECT_EQ(PAGE, q.size);
	EXPECT_EQ(11 * PAGE, q.offset);
	EXPECT_EQ(0, mdma_query(m, base + 20 * PAGE, present, &q));
	EXPECT_EQ(base + 28 * PAGE, q.iova);
	EXPECT_EQ(4 * PAGE, q.size);
	EXPECT_EQ(20 * PAGE, q.offset);
	EXPECT_EQ(-ENOENT, mdma_query(m, base + 32 * PAGE, present, &q));
	EXPECT_EQ(-ENOENT, mdma_query(m, -1ULL, present, &q));
	EXPECT_EQ(-ENOENT, mdma_query(m, -1ULL, 0, &q));

	q = (struct vfio_mdma_query){ .argsz = sizeof(q) - 1 };
	EXPECT_EQ(EINVAL, errno_of(ioctl(m->fd, VFIO_MDMA_QUERY, &q)));
	q = (struct vfio_mdma_query){ .argsz = sizeof(q), .flags = 2 };
	EXPECT_EQ(EINVAL, errno_of(ioctl(m->fd, VFIO_MDMA_QUERY, &q)));
	q = (struct vfio_mdma_query){ .argsz = sizeof(q), .reserved = 1 };
	EXPECT_EQ(EINVAL, errno_of(ioctl(m->fd, VFIO_MDMA_QUERY, &q)));
	EXPECT_EQ(EFAULT, errno_of(ioctl(m->fd, VFIO_MDMA_QUERY, NULL)));
}

/* The window reaches past the end of the file, which grows and shrinks. */
TEST_F(mirror, past_the_end)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, ftruncate(env->fd, 0));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	ASSERT_EQ(4, pwrite(env->fd, "four", 4, 3 * PAGE));
	EXPECT_EQ(1, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 4, PAGES - 4));
	EXPECT_EQ(PAGES - 3, env_reachable(env, 0, 0, PAGES));
	/* the end is within a page: that page stays, and its rest is zero */
	memset(at(env, 5), 0xcc, PAGE);
	ASSERT_EQ(0, ftruncate(env->fd, 5 * PAGE + 1));
	EXPECT_EQ(3, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	ASSERT_EQ(0, ftruncate(env->fd, 6 * PAGE));
	EXPECT_EQ(0xcc, at(env, 5)[0]);
	EXPECT_TRUE(all(at(env, 5) + 1, PAGE - 1, 0));
	ASSERT_EQ(0, ftruncate(env->fd, 0));
	EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
}

/* One page at several IOVAs: it must go from all of them. */
TEST_F(mirror, aliases)
{
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	__u64 alias = iova_of(m, 3 * PAGES + 1);

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, mdma_map(m, env->fd, 0, alias, PAGES * PAGE, MDMA_RW));
	EXPECT_EQ(0, differences(m, alias, env->fd, env->mem, 0, PAGES));
	fill(at(env, 5), 5);
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE,
		  mdma_copy(m, alias + 5 * PAGE, iova_of(m, 6), 64));
	EXPECT_EQ(0, memcmp(at(env, 5), at(env, 6), 64));
	ASSERT_EQ(0, punch(env->fd, 5, 3));
	EXPECT_EQ(PAGES - 3, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(PAGES - 3, reachable(m, alias, PAGES));
	mdma_expect_iommu_faults();
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT,
		  mdma_copy(m, alias + 5 * PAGE, iova_of(m, 8), 64));
	EXPECT_EQ(PAGES * PAGE, mdma_unmap(m, alias, PAGES * PAGE));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

struct window {
	size_t first, pages, shift;
};

static void followed(struct __test_metadata *_metadata, struct test_env *env, __u64 iova,
		     const struct window *w)
{
	EXPECT_EQ(0, differences(&env->dev[0], iova, env->fd, env->mem, w->first, w->pages))
		TH_LOG("window of %zu pages at %zu, shifted by %zu", w->pages,
		       w->first, w->shift);
}

/* Huge folios, and windows that are not aligned to them. */
TEST_F(mirror, huge_folios)
{
	const size_t pages = 3 * HUGE_PAGES;
	struct mdma *m = &self->env.dev[0];
	struct test_env *env = &self->env;
	const struct window windows[] = {
		{ 0, pages, 0 },
		{ 1, pages - 2, 0 },
		{ 0, pages, 1 },
		{ HUGE_PAGES / 2, 2 * HUGE_PAGES, HUGE_PAGES / 2 },
		{ 100, 100, 7 },
		{ HUGE_PAGES - 1, 2, 0 },
		{ HUGE_PAGES, HUGE_PAGES, 0 },
	};
	const struct window *w;
	bool table;
	__u64 iova;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	env_teardown(env);
	ASSERT_EQ(0, env_setup(env, pages));
	ASSERT_EQ(0, env_thp(env, "force"));
	table = has_iova_table(m);
	for (w = windows; w < windows + ARRAY_SIZE(windows); w++) {
		ASSERT_EQ(0, punch(env->fd, 0, pages));
		ASSERT_EQ(0, grow(env->fd, 0, pages));
		at(env, 0)[0] = 1;
		ASSERT_TRUE(is_huge(at(env, 0)));
		iova = iova_of(m, w->first + w->shift);
		ASSERT_EQ(0, mdma_map(m, env->fd, w->first * PAGE, iova,
				      w->pages * PAGE, MDMA_RW));
		followed(_metadata, env, iova, w);
		EXPECT_EQ(w->pages, reachable(m, iova, w->pages));
		if (table && w == windows)
			EXPECT_EQ(HUGE, entry_size(m, iova));
		/* nothing of the folios but the window */
		EXPECT_EQ(0, reachable(m, iova - PAGE, 1));
		EXPECT_EQ(0, reachable(m, iova + w->pages * PAGE, 1));

		/* holes at the edges of a folio, inside, and across two */
		ASSERT_EQ(0, punch(env->fd, 150, 1));
		followed(_metadata, env, iova, w);
		ASSERT_EQ(0, punch(env->fd, HUGE_PAGES - 3, 6));
		followed(_metadata, env, iova, w);
		ASSERT_EQ(0, punch(env->fd, 3 * HUGE_PAGES - 1, 1));
		followed(_metadata, env, iova, w);
		EXPECT_EQ(pages - 8, allocated(env->fd));
		ASSERT_EQ(0, grow(env->fd, 0, pages));
		followed(_metadata, env, iova, w);
		EXPECT_EQ(w->pages, reachable(m, iova, w->pages));
		ASSERT_EQ(0, ftruncate(env->fd, 50 * PAGE));
		followed(_metadata, env, iova, w);
		ASSERT_EQ(0, ftruncate(env->fd, pages * PAGE));
		EXPECT_EQ(w->pages * PAGE, mdma_unmap_all(m));
	}
}

/* Pages that IOMMU page tables take. */
static long table_pages(void)
{
	return counter("/proc/vmstat", "nr_iommu_pages");
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* A window is paid for by the pages that the file has, not by its size. */
TEST_F(mirror, sparse_is_cheap)
{
	const __u64 tera = 1ULL << 40, chunk = 1 << 20, dense = 16 * chunk;
	struct mdma *m = &self->env.dev[0];
	const __u64 start = m->info.iova_start;
	double sparse_time, dense_time;
	long sparse_table, dense_table;
	__u64 i, present = 0, at = 0;
	struct vfio_mdma_query q;
	int fd[2];

	if (m->info.iova_last - start < 3 * tera - 1)
		SKIP(return, "the IOMMU leaves no window of 3 TiB to an instance");
	fd[0] = memfd_create("dense", MFD_CLOEXEC);
	fd[1] = memfd_create("sparse", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd[0], dense));
	ASSERT_EQ(0, ftruncate(fd[1], tera));
	ASSERT_EQ(0, fallocate(fd[0], 0, 0, dense));
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, fallocate(fd[1], 0, i * (tera / 16) + chunk * i, chunk));

	/* page tables, at IOVAs that have none yet, and everything that the first use sets up */
	dense_table = table_pages();
	ASSERT_LE(0, dense_table);
	ASSERT_EQ(0, mdma_map(m, fd[0], 0, start + tera, dense, MDMA_RW));
	dense_table = table_pages() - dense_table;
	/* 8 of the last level at least: the count is not of something else */
	if (has_iova_table(m))
		EXPECT_LE(8, dense_table);
	ASSERT_EQ(dense, mdma_unmap_all(m));
	sparse_table = table_pages();
	ASSERT_EQ(0, mdma_map(m, fd[1], 0, start + 2 * tera, tera, MDMA_RW));
	sparse_table = table_pages() - sparse_table;
	ASSERT_EQ(tera, mdma_unmap_all(m));

	dense_time = seconds();
	ASSERT_EQ(0, mdma_map(m, fd[0], 0, start + tera, dense, MDMA_RW));
	ASSERT_EQ(dense, mdma_unmap_all(m));
	dense_time = seconds() - dense_time;
	sparse_time = seconds();
	ASSERT_EQ(0, mdma_map(m, fd[1], 0, start + 2 * tera, tera, MDMA_RW));
	ASSERT_EQ(tera, mdma_unmap_all(m));
	sparse_time = seconds() - sparse_time;

	ASSERT_EQ(0, mdma_map(m, fd[1], 0, start + 2 * tera, tera, MDMA_RW));
	while (!mdma_query(m, at, VFIO_MDMA_QUERY_FLAG_PRESENT, &q)) {
		present += q.size;
		at = q.iova + q.size;
	}
	EXPECT_EQ(dense, present);
	note("16 MiB, dense: %.1f ms, %ld pages of tables; in 1 TiB: %.1f ms, %ld",
	     dense_time * 1e3, dense_table, sparse_time * 1e3, sparse_table);
	/* a looser bound would not tell 16 MiB from 1 TiB, of which it is 1/65536 */
	EXPECT_LT(sparse_time, 20 * dense_time);
	/* each of the 16 chunks may need a table or two of every level but the root */
	EXPECT_LE(sparse_table, dense_table + 16 * 2 * 4);
	/* holes all over do not stop a punch of everything from being one */
	ASSERT_EQ(0, fallocate(fd[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, tera));
	EXPECT_EQ(-ENOENT, mdma_query(m, 0, VFIO_MDMA_QUERY_FLAG_PRESENT, &q));
}

TEST_HARNESS_MAIN
