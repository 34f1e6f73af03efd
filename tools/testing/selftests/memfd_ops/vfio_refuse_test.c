// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings that VFIO type1 and iommufd refuse, and requests for which a followed range
 * cannot serve. See Documentation/userspace-api/vfio-memfd.rst.
 */
#include "lib/harness.h"
#include "lib/vfio_fixture.h"

#define PAGES	64		/* that most tests map, of a file of 2 MiB */

#define RESERVED	0xfee00000UL	/* the IOVAs of interrupts */
#define TOP		((__u64)-PAGE)

FIXTURE(type1)
{
	struct test_env env;
};

FIXTURE_SETUP(type1)
{
	int ret = vfio_env_setup_mapped(&self->env, TYPE1);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(type1)
{
	vfio_env_teardown(&self->env);
}

FIXTURE(iommufd)
{
	struct test_env env;
};

FIXTURE_VARIANT(iommufd)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(iommufd, cdev) { .way = IOMMUFD };
FIXTURE_VARIANT_ADD(iommufd, group) { .way = IOMMUFD_GROUP };

FIXTURE_SETUP(iommufd)
{
	int ret = vfio_env_setup_mapped(&self->env, variant->way);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(iommufd)
{
	vfio_env_teardown(&self->env);
}

/* No device is open yet. */
FIXTURE(late_type1)
{
	struct test_env env;
};

FIXTURE_SETUP(late_type1)
{
	int ret = vfio_env_setup_late(&self->env, TYPE1);

	if (self->env.lacks)
		SKIP(return, "%s", self->env.lacks);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(late_type1)
{
	vfio_env_teardown(&self->env);
}

#define DYNAMIC_DEBUG	"/proc/dynamic_debug/control"

/* The kernel's log from now on, with a line for each refusal; -1 if it has none. */
static int open_refusals(void)
{
	int fd;

	if (write_file(DYNAMIC_DEBUG, "format \"refused: \" +p"))
		return -1;
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* How many lines there are since the last call. */
static int refusals(int log)
{
	char line[1024];
	ssize_t len;
	int nr = 0;

	while ((len = read(log, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		nr += !!strstr(line, "refused: ");
	}
	return nr;
}

static void close_refusals(int log)
{
	write_file(DYNAMIC_DEBUG, "format \"refused: \" -p");
	close(log);
}

static int map_at(struct test_env *env, __u64 where, size_t size)
{
	return space_map(&env->space, env->fd, 0, where, size, DMA_RW);
}

TEST_F(vfio, refused)
{
	struct test_env *env = &self->env;
	const struct {
		const char *what;
		int error;
		int fd;
		__u64 offset, iova, size;
		__u32 prot;
	} tries[] = {
#define WITH(error, ...) \
	{ #__VA_ARGS__, error, env->fd, PAGE, BASE, 4 * PAGE, DMA_RW, __VA_ARGS__ }
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
	int log = open_refusals();
	size_t i;

	fill(at(env, 1), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(-tries[i].error,
			  space_map(&env->space, tries[i].fd, tries[i].offset, tries[i].iova,
				    tries[i].size, tries[i].prot))
			TH_LOG("with %s", tries[i].what);
		/* the line names the rule */
		if (log >= 0) {
			EXPECT_EQ(1, refusals(log)) TH_LOG("with %s", tries[i].what);
		}
		EXPECT_TRUE(nothing_mapped(env)) TH_LOG("after %s", tries[i].what);
	}
	/* past what the IOMMU has: 48 bits on QEMU's VT-d, on virtio there are 64 */
	if (mdma_iommu_faults() >= 0) {
		EXPECT_EQ(-EINVAL, map_at(env, 1UL << 48, PAGE));
		EXPECT_EQ(-EINVAL, map_at(env, (1UL << 48) - PAGE, 2 * PAGE));
		EXPECT_EQ(-EINVAL, map_at(env, 1UL << 62, PAGE));
		EXPECT_TRUE(nothing_mapped(env));
	}
	/* without any of that it is fine */
	refusals(log);
	EXPECT_EQ(0, map_pages(env, 1, 4));
	EXPECT_EQ(0, refusals(log));
	close_refusals(log);
	EXPECT_TRUE(reached(env, 1, 1));
}

static int try_type1(struct test_env *env, struct type1_map map)
{
	return errno_of(ioctl(env->space.fd, VFIO_IOMMU_MAP_DMA, &map));
}

TEST_F(type1, refused)
{
	struct test_env *env = &self->env;
	const struct type1_map good = type1_request(env->fd, 0, BASE, PAGE, DMA_RW);
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
		WITH(map.vaddr, (uintptr_t)env->mem),
		WITH(file.flags, VFIO_DMA_MAP_MEMFD_MAY_MISS | 1 << 1),
		WITH(file.flags, 1U << 31),
		WITH(map.flags, good.map.flags | 1 << 3),
		WITH(map.flags, good.map.flags | 1 << 30),
		WITH(map.flags, good.map.flags | VFIO_DMA_MAP_FLAG_VADDR),
		WITH(map.flags, VFIO_DMA_MAP_FLAG_MEMFD | VFIO_DMA_MAP_FLAG_VADDR),
#undef WITH
	};
	char *mem;

	fill(at(env, 0), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(tries[i].error, try_type1(env, tries[i].map))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(env)) TH_LOG("after %s", tries[i].what);
	}
	EXPECT_EQ(EFAULT, errno_of(ioctl(env->space.fd, VFIO_IOMMU_MAP_DMA, NULL)));
	/* the second structure is where there is no memory */
	mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	munmap(mem + PAGE, PAGE);
	memcpy(mem + PAGE - sizeof(map.map), &good, sizeof(map.map));
	EXPECT_EQ(EFAULT, errno_of(ioctl(env->space.fd, VFIO_IOMMU_MAP_DMA,
					 mem + PAGE - sizeof(map.map))));
	EXPECT_TRUE(nothing_mapped(env));
	munmap(mem, PAGE);

	/* argsz may be that of a later kernel's, larger structure */
	map = good;
	map.map.argsz += 8;
	EXPECT_EQ(0, try_type1(env, map));
	EXPECT_TRUE(reached(env, 0, 1));
}

static int try_ioas(struct test_env *env, struct iommu_ioas_map_file map)
{
	return errno_of(ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &map));
}

TEST_F(iommufd, refused)
{
	struct test_env *env = &self->env;
	const struct iommu_ioas_map_file good = ioas_request(&env->space, env->fd, 0,
							     BASE, PAGE, DMA_RW);
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
		WITH(EOPNOTSUPP, flags, good.flags | 1 << 29),
		WITH(ENOTTY, flags, 0),
		WITH(ENOTTY, flags, (good.flags & ~IOMMU_IOAS_MAP_FOLLOW) |
				    IOMMU_IOAS_MAP_MAY_MISS),
		WITH(EINVAL, size, sizeof(map) - 1),
		WITH(EINVAL, size, 0),
		WITH(ENOENT, ioas_id, 0x7fffffff),
		WITH(EOVERFLOW, iova, UINT64_MAX),
		WITH(EOVERFLOW, length, UINT64_MAX),
#undef WITH
	};

	fill(at(env, 0), 1);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		EXPECT_EQ(tries[i].error, try_ioas(env, tries[i].map))
			TH_LOG("with %s", tries[i].what);
		EXPECT_TRUE(nothing_mapped(env)) TH_LOG("after %s", tries[i].what);
	}
	if (env->space.way == IOMMUFD) {
		/* an object, but not an IOAS */
		map = good;
		map.ioas_id = env->edu.id;
		EXPECT_EQ(ENOENT, try_ioas(env, map));
	}
	longer.map.size = sizeof(longer);
	longer.more = 1;
	EXPECT_EQ(E2BIG, errno_of(ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &longer)));
	EXPECT_EQ(EFAULT, errno_of(ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, NULL)));
	EXPECT_TRUE(nothing_mapped(env));
	longer.more = 0;
	EXPECT_EQ(0, ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &longer));
	EXPECT_TRUE(reached(env, 0, 1));
}

TEST_F(iommufd, kernel_chooses_iova)
{
	struct test_env *env = &self->env;
	struct iommu_ioas_map_file map = ioas_request(&env->space, env->fd, 0, BASE, PAGE,
						      DMA_RW);
	__u64 first;

	map.flags &= ~IOMMU_IOAS_MAP_FIXED_IOVA;
	/* what it must not choose */
	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, PAGE, PAGE, DMA_RW));
	ASSERT_EQ(0, try_ioas(env, map));
	ASSERT_EQ(0, ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &map));
	first = map.iova;
	ASSERT_EQ(0, ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &map));
	EXPECT_NE(first, map.iova);
	EXPECT_NE(PAGE, map.iova);
	EXPECT_EQ(4, consumers_of(env->fd));
	fill(at(env, 0), 1);
	EXPECT_TRUE(device_reads(env, first, at(env, 0)));
	EXPECT_TRUE(device_reads(env, map.iova, at(env, 0)));
	EXPECT_EQ(PAGE, space_unmap(&env->space, first, PAGE));
	mdma_expect_iommu_faults();
	EXPECT_FALSE(device_reads(env, first, at(env, 0)));
	EXPECT_TRUE(device_reads(env, map.iova, at(env, 0)));

	map.start = 1;
	EXPECT_EQ(EINVAL, try_ioas(env, map));
	map.start = 0;
	map.length = 1UL << 61;
	if (mdma_iommu_faults() >= 0)
		EXPECT_EQ(ENOSPC, try_ioas(env, map));
	EXPECT_EQ(3, consumers_of(env->fd));
}

static int map_one(struct test_env *env, int fd, __u32 prot)
{
	return space_map(&env->space, fd, 0, BASE, PAGE, prot);
}

TEST_F(vfio, files)
{
	struct test_env *env = &self->env;
	int fd, pipefd[2];
	char path[64];

	fill(at(env, 0), 0);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-EINVAL, map_one(env, fd, DMA_RW));
	close(fd);
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, map_one(env, pipefd[0], DMA_R));
	close(pipefd[0]);
	close(pipefd[1]);
	/* a regular file, but not on tmpfs */
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, map_one(env, fd, DMA_R));
	close(fd);
	EXPECT_EQ(-EINVAL, map_one(env, env->edu.fd, DMA_RW));
	EXPECT_EQ(-EINVAL, map_one(env, env->space.fd, DMA_RW));
	fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_one(env, fd, DMA_R));
		close(fd);
	}
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd >= 0) {
		EXPECT_EQ(-EINVAL, map_one(env, fd, DMA_RW));
		close(fd);
	} else {
		note("hugetlbfs not tried: this kernel has none");
	}

	/* the file's mode is the device's */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", env->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, map_one(env, fd, DMA_RW));
	EXPECT_EQ(-EACCES, map_one(env, fd, DMA_W));
	EXPECT_TRUE(nothing_mapped(env));
	EXPECT_EQ(0, map_one(env, fd, DMA_R));
	EXPECT_EQ(PAGE, space_unmap(&env->space, BASE, PAGE));
	close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(-EACCES, map_one(env, fd, DMA_RW));
	EXPECT_EQ(-EACCES, map_one(env, fd, DMA_R));
	/* what VT-d lets a device write, it lets it read as well */
	EXPECT_EQ(-EACCES, map_one(env, fd, DMA_W));
	EXPECT_TRUE(nothing_mapped(env));
	close(fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	EXPECT_EQ(-EBADF, map_one(env, fd, DMA_R));
	close(fd);
	EXPECT_TRUE(nothing_mapped(env));

	/* any file on tmpfs will do */
	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		EXPECT_EQ(0, map_one(env, fd, DMA_RW));
		fill(env->side, 3);
		EXPECT_EQ(PAGE, pwrite(fd, env->side, PAGE, 0));
		EXPECT_TRUE(device_reads(env, BASE, env->side));
		close(fd);
		/* no process has the file open any more */
		EXPECT_TRUE(device_reads(env, BASE, env->side));
		EXPECT_EQ(PAGE, space_unmap(&env->space, BASE, PAGE));
	}
}

#define DMA_LIMIT	"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

TEST_F(late_type1, too_many)
{
	struct test_env *env = &self->env;
	char limit[32];
	int i;

	ASSERT_EQ(0, read_line(DMA_LIMIT, limit, sizeof(limit)));
	ASSERT_EQ(0, write_file(DMA_LIMIT, "4"));
	EXPECT_EQ(0, open_edu(env));
	ASSERT_EQ(0, write_file(DMA_LIMIT, limit));
	ASSERT_EQ(0, map_side(env));
	ASSERT_EQ(0, grow(env->fd, 0, 4));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, map_pages(env, i, 1));
	EXPECT_EQ(-ENOSPC, map_pages(env, 3, 1));
	EXPECT_EQ(3, consumers_of(env->fd));
	EXPECT_TRUE(table_has(env, &env->edu, 0, 4, 3));
	/* what failed does not count */
	EXPECT_EQ(-EEXIST, map_pages(env, 0, 1));
	EXPECT_EQ(PAGE, space_unmap(&env->space, iova(0), PAGE));
	EXPECT_EQ(-EINVAL, space_map(&env->space, env->fd, 0, RESERVED, PAGE, DMA_RW));
	EXPECT_EQ(0, map_pages(env, 3, 1));
	EXPECT_EQ(-ENOSPC, map_pages(env, 0, 1));
	EXPECT_TRUE(reached(env, 3, 1));
}

TEST_F(iommufd, not_copied)
{
	struct test_env *env = &self->env;
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = ioas_flags(DMA_RW),
		.dst_ioas_id = env->space.ioas,
		.src_ioas_id = env->space.ioas,
		.length = 4 * PAGE,
		.dst_iova = BASE + GIB,
		.src_iova = BASE,
	};

	ASSERT_EQ(0, map_pages(env, 0, 4));
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(env->space.fd, IOMMU_IOAS_COPY, &copy)));
	copy.length = PAGE;
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(env->space.fd, IOMMU_IOAS_COPY, &copy)));
	EXPECT_EQ(0, ioas_alloc(&env->space, &copy.dst_ioas_id));
	EXPECT_EQ(EOPNOTSUPP, errno_of(ioctl(env->space.fd, IOMMU_IOAS_COPY, &copy)));
	/* there is nothing at all */
	copy.src_iova = BASE + 8 * PAGE;
	EXPECT_EQ(ENOENT, errno_of(ioctl(env->space.fd, IOMMU_IOAS_COPY, &copy)));
	EXPECT_EQ(1, consumers_of(env->fd));
	/* what failed holds nothing back */
	EXPECT_EQ(4 * PAGE, space_unmap(&env->space, BASE, 4 * PAGE));
	EXPECT_EQ(0, consumers_of(env->fd));
}

TEST_F(type1, no_address_to_update)
{
	struct test_env *env = &self->env;
	const int fd = env->space.fd;
	unsigned char *mem;

	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, map_pages(env, 1, 4));
	EXPECT_EQ(-EINVAL, type1_unmap(fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(1), 4 * PAGE));

	/* a mapping by address in the same call is left as it was */
	ASSERT_EQ(0, space_map_address(&env->space, mem, iova(0), PAGE));
	EXPECT_EQ(-EINVAL, type1_unmap(fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(0), 5 * PAGE));
	EXPECT_EQ(PAGE, type1_unmap(fd, VFIO_DMA_UNMAP_FLAG_VADDR, iova(0), PAGE));
	EXPECT_EQ(PAGE, space_unmap(&env->space, iova(0), PAGE));

	ASSERT_EQ(0, grow(env->fd, 1, 1));
	EXPECT_TRUE(reached(env, 1, 1));
	EXPECT_EQ(1, consumers_of(env->fd));
	EXPECT_EQ(4 * PAGE, space_unmap(&env->space, iova(1), 4 * PAGE));
	munmap(mem, PAGE);
}

TEST_HARNESS_MAIN
