// SPDX-License-Identifier: GPL-2.0
#include <glob.h>
#include <sched.h>
#include <sys/swap.h>

#include "test_env.h"

#ifndef SWAP_FLAG_DISCARD_ONCE
#define SWAP_FLAG_DISCARD_ONCE	0x20000
#endif

#define PAGE_CLUSTER	"/proc/sys/vm/page-cluster"

/* How long khugepaged sleeps, in milliseconds */
#define SCAN_SLEEP	"/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"

int errno_of(int ret)
{
	return ret < 0 ? errno : 0;
}

bool sleeps_in_ioctl(pid_t pid, pid_t tid, unsigned long request)
{
	char path[64], line[256];
	unsigned long found;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	return !read_line(path, line, sizeof(line)) &&
	       sscanf(line, "%*d %*x %lx", &found) == 1 && found == request;
}

bool iommu_is_virtio(void)
{
	glob_t found;
	bool is = !glob("/sys/bus/virtio/drivers/virtio_iommu/virtio*", 0, NULL, &found);

	globfree(&found);
	return is;
}

unsigned char *at(struct test_env *env, size_t page)
{
	return env->mem + page * PAGE;
}

void stay_on_one_cpu(bool stay)
{
	static cpu_set_t all;
	cpu_set_t one;

	if (stay) {
		sched_getaffinity(0, sizeof(all), &all);
		CPU_ZERO(&one);
		CPU_SET(sched_getcpu(), &one);
		sched_setaffinity(0, sizeof(one), &one);
	} else {
		sched_setaffinity(0, sizeof(all), &all);
	}
}

int env_setup_memory(struct test_env *env, size_t pages)
{
	size_t size = pages * PAGE;
	uintptr_t room;

	memset(env, 0, sizeof(*env));
	if (geteuid()) {
		env->lacks = "needs root";
		return -EPERM;
	}
	stay_on_one_cpu(true);
	env->dev[0] = (struct mdma)MDMA_INIT;
	env->dev[1] = (struct mdma)MDMA_INIT;
	env->pages = pages;
	env->fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (env->fd < 0 || ftruncate(env->fd, size))
		return -errno;
	env->mem = mmap(NULL, size + HUGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (env->mem == MAP_FAILED)
		return -errno;
	room = ((uintptr_t)env->mem + HUGE - 1) & ~(HUGE - 1);
	env->mem = mmap((void *)room, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, env->fd, 0);
	return env->mem == MAP_FAILED ? -errno : 0;
}

int env_setup(struct test_env *env, size_t pages)
{
	char path[PATH_MAX];
	int i, ret;

	ret = env_setup_memory(env, pages);
	if (ret)
		return ret;
	if (mdma_type(path, sizeof(path)))
		system("modprobe mdma");
	if (mdma_type(path, sizeof(path))) {
		env->lacks = "needs the sample mdma, and QEMU's edu behind an IOMMU";
		return -ENODEV;
	}
	mdma_remove_stale();
	for (i = 0; i < 2; i++) {
		ret = mdma_create(&env->dev[i]);
		if (!ret)
			ret = mdma_open_group(&env->dev[i]);
		if (ret) {
			note("instance %d: %s", i, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

void env_teardown(struct test_env *env)
{
	int i;

	stay_on_one_cpu(false);
	for (i = 0; i < 2; i++) {
		mdma_close(&env->dev[i]);
		mdma_remove(&env->dev[i]);
	}
	if (env->mem && env->mem != MAP_FAILED)
		munmap(env->mem, env->pages * PAGE);
	if (env->fd > 0)
		close(env->fd);
	env_thp_as_before(env);
	if (env->cluster[0])
		write_file(PAGE_CLUSTER, env->cluster);
	if (env->fail)
		close(env->fail);
	if (env->swap)
		swapoff("/dev/ram0");
}

__u64 iova_of(struct mdma *m, size_t page)
{
	return m->info.iova_start + page * PAGE;
}

int env_map(struct test_env *env, int i, size_t first, size_t pages)
{
	struct mdma *m = &env->dev[i];

	return mdma_map(m, env->fd, first * PAGE, iova_of(m, first), pages * PAGE,
			MDMA_RW);
}

int env_keep_followed(struct test_env *env)
{
	struct mdma *m = &env->dev[1];
	int fd, ret;

	fd = memfd_create("followed", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = mdma_map(m, fd, 0, m->info.iova_last + 1 - PAGE, PAGE, MDMA_RW);
	close(fd);
	return ret;
}

int env_differences(struct test_env *env, int i, size_t first, size_t pages)
{
	struct mdma *m = &env->dev[i];

	return differences(m, iova_of(m, first), env->fd, env->mem, first, pages);
}

long env_reachable(struct test_env *env, int i, size_t first, size_t pages)
{
	return reachable(&env->dev[i], iova_of(&env->dev[i], first), pages);
}

int env_copy(struct test_env *env, int i, size_t from, size_t to, size_t len)
{
	struct mdma *m = &env->dev[i];

	return mdma_copy(m, iova_of(m, from), iova_of(m, to), len);
}

int env_thp(struct test_env *env, const char *mode)
{
	char text[128], *from, *to;
	int ret = read_line(SHMEM_ENABLED, text, sizeof(text));

	if (ret)
		return ret;
	from = strchr(text, '[');
	to = strchr(text, ']');
	if (!from || !to)
		return -EPROTO;
	if (!env->thp[0]) {
		snprintf(env->thp, sizeof(env->thp), "%.*s", (int)(to - from - 1), from + 1);
		ret = read_line(SCAN_SLEEP, env->scan_sleep, sizeof(env->scan_sleep));
		/* this has it scan once more now, while the file has no huge pages */
		if (!ret)
			ret = write_file(SCAN_SLEEP, "3600000");
		if (ret)
			return ret;
	}
	return write_file(SHMEM_ENABLED, mode);
}

void env_thp_as_before(struct test_env *env)
{
	if (!env->thp[0])
		return;
	write_file(SHMEM_ENABLED, env->thp);
	write_file(SCAN_SLEEP, env->scan_sleep);
}

int env_swap(struct test_env *env)
{
	struct {
		char boot[1024];
		__u32 version, last_page, nr_badpages;
		char pad[PAGE - 1024 - 12 - 10];
		char magic[10];
	} __attribute__((packed)) header = { .version = 1, .magic = "SWAPSPACE2" };
	off_t size;
	int fd;

	swapoff("/dev/ram0");
	fd = open("/dev/ram0", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size = lseek(fd, 0, SEEK_END);
	header.last_page = size / PAGE - 1;
	if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header) || fsync(fd)) {
		close(fd);
		return -EIO;
	}
	close(fd);
	/* empty, as the first time: a page that was there once takes no allocation */
	if (swapon("/dev/ram0", SWAP_FLAG_DISCARD | SWAP_FLAG_DISCARD_ONCE))
		return -errno;
	env->swap = true;
	return 0;
}

int env_no_readahead(struct test_env *env)
{
	int ret = read_line(PAGE_CLUSTER, env->cluster, sizeof(env->cluster));

	return ret ? ret : write_file(PAGE_CLUSTER, "0");
}

int env_open_fail_nth(struct test_env *env)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		env->lacks = "needs a kernel with fault injection";
		return -errno;
	}
	env->fail = fd;
	return 0;
}
