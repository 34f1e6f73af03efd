/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of memfd_ops share: two instances of the engine and a memfd,
 * and ways to see which pages the file has and which ones the device can reach.
 */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "mdma_util.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define HUGE_PAGES	(HUGE / PAGE)

/* How long a test goes on that must have done each thing: seconds, on a slow machine */
#define LONGEST		150

#define KPF_THP		22
#define KPF_HWPOISON	19

#define CGROUPS		"/tmp/cgroup"
#define CGROUP		CGROUPS "/memfd_ops"

#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define PAGE_CLUSTER	"/proc/sys/vm/page-cluster"
#define FAULTY(what)	"/sys/kernel/debug/fail" what

struct rig {
	struct mdma dev[2];
	int fd;
	size_t pages;		/* of the memfd */
	unsigned char *mem;	/* all of it, at a multiple of 2 MiB */
	char thp[16];		/* what shmem_enabled was, if changed */
	char cluster[8];	/* what page-cluster was, if changed */
	bool swap;
};

static inline void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
}

/*
 * What the file has
 */

static inline unsigned char *at(struct rig *r, size_t page)
{
	return r->mem + page * PAGE;
}

/* Is there an initialised page? Looks without touching it. */
static inline bool in_core(const void *addr)
{
	unsigned char vec = 0;

	mincore((void *)addr, PAGE, &vec);
	return vec & 1;
}

static inline size_t in_core_pages(const void *addr, size_t pages)
{
	unsigned char vec[pages];
	size_t i, sum = 0;

	if (mincore((void *)addr, pages * PAGE, vec))
		return SIZE_MAX;
	for (i = 0; i < pages; i++)
		sum += vec[i] & 1;
	return sum;
}

/* How many pages are accounted to the file, initialised or not. */
static inline size_t allocated(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? SIZE_MAX : (size_t)st.st_blocks * 512 / PAGE;
}

static inline size_t file_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (st.st_size + PAGE - 1) / PAGE;
}

static inline __u64 read_u64(const char *path, __u64 index)
{
	__u64 value = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &value, sizeof(value), index * sizeof(value)) != sizeof(value))
		value = 0;
	close(fd);
	return value;
}

/* The page frames behind addresses; 0 where none is mapped, or cannot be told. */
static inline void page_frames(const void *addr, size_t pages, __u64 *pfn)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i;

	memset(pfn, 0, pages * sizeof(*pfn));
	if (fd < 0)
		return;
	if (pread(fd, pfn, pages * sizeof(*pfn),
		  (uintptr_t)addr / PAGE * sizeof(*pfn)) < 0)
		note("pagemap: %m");
	close(fd);
	for (i = 0; i < pages; i++)
		pfn[i] = pfn[i] >> 63 ? pfn[i] & ((1ULL << 55) - 1) : 0;
}

/* The page frame behind an address that is in core. */
static inline __u64 pfn_of(const void *addr)
{
	__u64 pfn;

	(void)*(const volatile char *)addr;
	page_frames(addr, 1, &pfn);
	return pfn;
}

static inline bool is_huge(const void *addr)
{
	return read_u64("/proc/kpageflags", pfn_of(addr)) >> KPF_THP & 1;
}

/* The page frames of ZONE_MOVABLE: [0] to [1], or none. */
static inline void movable_zone(__u64 frames[2])
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	unsigned long long value;
	bool movable = false;
	char line[128];

	frames[0] = 0;
	frames[1] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Node", 4))
			movable = strstr(line, "Movable");
		/* each node has such a zone, if only one without memory */
		else if (movable && sscanf(line, " spanned %llu", &value) == 1 && value)
			frames[1] = value;
		else if (movable && sscanf(line, " start_pfn: %llu", &value) == 1)
			frames[0] = value;
	}
	if (file)
		fclose(file);
	frames[1] += frames[0];
}

/* How many of the pages from there on are in such frames. */
static inline size_t pages_in_frames(const unsigned char *addr, size_t pages,
				     const __u64 frames[2])
{
	size_t i, nr = 0;
	__u64 pfn;

	for (i = 0; i < pages; i++) {
		pfn = pfn_of(addr + i * PAGE);
		nr += frames[0] <= pfn && pfn < frames[1];
	}
	return nr;
}

/* What a page is filled with in these tests; depends on the page and on @seed. */
static inline void fill(unsigned char *addr, unsigned int seed)
{
	size_t i;

	for (i = 0; i < PAGE; i++)
		addr[i] = seed * 37 + i + (i >> 8) + 1;
}

static inline bool filled(const unsigned char *addr, unsigned int seed)
{
	unsigned char want[PAGE];

	fill(want, seed);
	return !memcmp(addr, want, PAGE);
}

static inline bool all(const unsigned char *addr, size_t size, unsigned char value)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (addr[i] != value)
			return false;
	return true;
}

static inline int punch(int fd, size_t first, size_t pages)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 first * PAGE, pages * PAGE) ? -errno : 0;
}

static inline int grow(int fd, size_t first, size_t pages)
{
	return fallocate(fd, 0, first * PAGE, pages * PAGE) ? -errno : 0;
}

/*
 * What the device can reach: by VFIO_MDMA_QUERY, and on VT-d by the IOMMU's own
 * page table, as debugfs shows it. That must not be read while another thread
 * changes it: the kernel's walk is not safe against it.
 */

struct iova_table {
	struct { __u64 iova, pa, size; } *entries;
	size_t nr;
};

/* Of the PCI device at that address. -ENOENT if this IOMMU does not show its table. */
static inline int iova_table_of(const char *address, struct iova_table *t)
{
	char path[PATH_MAX], *line = NULL, *at, *end;
	__u64 iova, value, leaf;
	size_t size = 0, room = 0;
	FILE *file;
	int level;

	memset(t, 0, sizeof(*t));
	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%.32s/domain_translation_struct", address);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		iova = strtoull(line, &end, 16);
		at = strchr(line, '|');
		if (!at || strncmp(line, "0x", 2))
			continue;
		/* PML5E, PML4E, PDPE, and as far as they are there PDE, PTE */
		leaf = 0;
		for (level = 6, at++; level > 1; level--, at = end) {
			value = strtoull(at, &end, 16);
			if (end == at)
				break;
			leaf = value;
		}
		if (t->nr == room) {
			room = room ? 2 * room : 64;
			t->entries = realloc(t->entries, room * sizeof(*t->entries));
		}
		t->entries[t->nr].iova = iova * PAGE;
		t->entries[t->nr].pa = leaf & 0x000ffffffffff000ULL;
		t->entries[t->nr].size = PAGE << 9 * (level - 1);
		t->nr++;
	}
	free(line);
	fclose(file);
	return 0;
}

/* Of the PCI device behind an instance. */
static inline int iova_table_read(struct mdma *m, struct iova_table *t)
{
	char path[PATH_MAX], dir[PATH_MAX];

	memset(t, 0, sizeof(*t));
	snprintf(path, sizeof(path), MDMA_DEVICES "/%.36s", m->uuid);
	if (!realpath(path, dir))
		return -errno;
	*strrchr(dir, '/') = '\0';
	return iova_table_of(strrchr(dir, '/') + 1, t);
}

static inline void iova_table_free(struct iova_table *t)
{
	free(t->entries);
}

/* Where @iova leads to, or 0. */
static inline __u64 iova_table_lookup(struct iova_table *t, __u64 iova)
{
	size_t lo = 0, hi = t->nr, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (t->entries[mid].iova + t->entries[mid].size <= iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nr || iova < t->entries[lo].iova)
		return 0;
	return t->entries[lo].pa + (iova - t->entries[lo].iova);
}

/* The size of the table's entry that translates @iova, or 0. */
static inline __u64 entry_size(struct mdma *m, __u64 iova)
{
	struct iova_table t;
	__u64 size = 0;
	size_t i;

	if (iova_table_read(m, &t))
		return 0;
	for (i = 0; i < t.nr; i++)
		if (iova - t.entries[i].iova < t.entries[i].size)
			size = t.entries[i].size;
	iova_table_free(&t);
	return size;
}

static inline bool has_iova_table(struct mdma *m)
{
	struct iova_table t;
	int ret = iova_table_read(m, &t);

	iova_table_free(&t);
	return !ret;
}

/*
 * How many of @pages pages from @iova on can be reached. -EPROTO if the query
 * and the table do not say the same.
 */
static inline long reachable(struct mdma *m, __u64 iova, size_t pages)
{
	unsigned char present[pages];
	struct iova_table t;
	long sum;
	size_t i;

	sum = mdma_present(m, iova, pages, present);
	if (sum < 0 || iova_table_read(m, &t))
		return sum;
	for (i = 0; i < pages; i++) {
		if (present[i] == !!iova_table_lookup(&t, iova + i * PAGE))
			continue;
		note("iova 0x%llx: %s by query, %s by table", iova + i * PAGE,
		     present[i] ? "present" : "absent",
		     present[i] ? "absent" : "present");
		sum = -EPROTO;
	}
	iova_table_free(&t);
	return sum;
}

/*
 * Compare [first, first + pages) of the file, which has its start at @mem, with
 * what @m can reach from @iova on: the same pages, at the same page frames, and
 * none that is not initialised. The number of differences; the first ones are
 * told.
 */
static inline int differences(struct mdma *m, __u64 iova, int fd,
			      const unsigned char *mem, size_t first, size_t pages)
{
	const unsigned char *start = mem + first * PAGE;
	unsigned char present[pages], have[pages];
	size_t size = file_pages(fd), i;
	int table, ret, diff = 0;
	struct iova_table t;
	__u64 pfn[pages], pa;

	ret = mdma_present(m, iova, pages, present);
	if (ret < 0 || mincore((void *)start, pages * PAGE, have)) {
		note("query: %s", strerror(-ret));
		return INT_MAX;
	}
	/* past the end of the file there is nothing to look through */
	for (i = 0; i < pages && first + i < size; i++)
		if (have[i] & 1)
			(void)*(const volatile char *)(start + i * PAGE);
	page_frames(start, pages, pfn);
	table = iova_table_read(m, &t);
	for (i = 0; i < pages; i++) {
		have[i] &= 1;
		pa = table ? 0 : iova_table_lookup(&t, iova + i * PAGE);
		if (present[i] == have[i] && (table || !pa == !have[i]) &&
		    (table || !pfn[i] || pa == pfn[i] * PAGE))
			continue;
		if (diff++ < 4)
			note("page %zu: file %s pfn 0x%llx, device %s, table 0x%llx",
			     first + i, have[i] ? "has it" : "has not", pfn[i],
			     present[i] ? "present" : "absent", pa);
	}
	iova_table_free(&t);
	return diff;
}

/*
 * The rig
 */

/*
 * Stay on one CPU, or do not. A new page waits for a while in a list of its CPU,
 * from where reclaim cannot take it; MADV_PAGEOUT empties that of its own CPU.
 */
static inline void rig_stay_on_one_cpu(bool stay)
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

/* A memfd, and no device. */
static inline int rig_memory(struct rig *r, size_t pages)
{
	size_t size = pages * PAGE;
	uintptr_t room;

	memset(r, 0, sizeof(*r));
	rig_stay_on_one_cpu(true);
	r->dev[0] = (struct mdma)MDMA_INIT;
	r->dev[1] = (struct mdma)MDMA_INIT;
	r->pages = pages;
	r->fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r->fd < 0 || ftruncate(r->fd, size))
		return -errno;
	r->mem = mmap(NULL, size + HUGE, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->mem == MAP_FAILED)
		return -errno;
	room = ((uintptr_t)r->mem + HUGE - 1) & ~(HUGE - 1);
	r->mem = mmap((void *)room, size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED, r->fd, 0);
	return r->mem == MAP_FAILED ? -errno : 0;
}

static inline int rig_setup(struct rig *r, size_t pages)
{
	char path[PATH_MAX];
	int i, ret;

	if (mdma_type(path, sizeof(path)))
		system("modprobe mdma");
	mdma_remove_stale();
	ret = rig_memory(r, pages);
	if (ret)
		return ret;
	for (i = 0; i < 2; i++) {
		ret = mdma_create(&r->dev[i]);
		if (!ret)
			ret = mdma_open_group(&r->dev[i]);
		if (ret) {
			note("instance %d: %s", i, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static inline void rig_teardown(struct rig *r)
{
	int i;

	rig_stay_on_one_cpu(false);
	for (i = 0; i < 2; i++) {
		mdma_close(&r->dev[i]);
		mdma_remove(&r->dev[i]);
	}
	if (r->mem && r->mem != MAP_FAILED)
		munmap(r->mem, r->pages * PAGE);
	if (r->fd > 0)
		close(r->fd);
	if (r->thp[0])
		mdma_write_file(SHMEM_ENABLED, r->thp);
	if (r->cluster[0])
		mdma_write_file(PAGE_CLUSTER, r->cluster);
	if (r->swap)
		swapoff("/dev/ram0");
}

/* The device's view of the file: page 0 is at the first IOVA of its window. */
static inline __u64 iova_of(struct mdma *m, size_t page)
{
	return m->info.iova_start + page * PAGE;
}

/*
 * Map [first, first + pages) at the IOVAs that iova_of() gives them, which for
 * file and device alike begin at a multiple of 2 MiB.
 */
static inline int rig_map(struct rig *r, int i, size_t first, size_t pages)
{
	struct mdma *m = &r->dev[i];

	return mdma_map(m, r->fd, first * PAGE, iova_of(m, first), pages * PAGE,
			MDMA_RW);
}

/*
 * Have some file followed all the time, out of the way of what is tested. The
 * kernel patches its code when the first file gets a consumer and when the last
 * one loses it; where several threads map and unmap all the time, QEMU's TCG
 * does not always get the patched code right.
 */
static inline int rig_keep_followed(struct rig *r)
{
	struct mdma *m = &r->dev[1];
	int fd, ret;

	fd = memfd_create("followed", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = mdma_map(m, fd, 0, m->info.iova_last + 1 - PAGE, PAGE, MDMA_RW);
	close(fd);
	return ret;
}

static inline int rig_differences(struct rig *r, int i, size_t first, size_t pages)
{
	struct mdma *m = &r->dev[i];

	return differences(m, iova_of(m, first), r->fd, r->mem, first, pages);
}

static inline long rig_reachable(struct rig *r, int i, size_t first, size_t pages)
{
	return reachable(&r->dev[i], iova_of(&r->dev[i], first), pages);
}

/* Have device @i copy @len bytes from page @from to page @to. */
static inline int rig_copy(struct rig *r, int i, size_t from, size_t to, size_t len)
{
	struct mdma *m = &r->dev[i];

	return mdma_copy(m, iova_of(m, from), iova_of(m, to), len);
}

/* Have shmem use huge pages; -ENOENT if the kernel has none. */
static inline int rig_thp(struct rig *r, const char *mode)
{
	char text[128], *from, *to;
	int ret = mdma_read_file(SHMEM_ENABLED, text, sizeof(text));

	if (ret)
		return ret;
	from = strchr(text, '[');
	to = strchr(text, ']');
	if (!from || !to)
		return -EPROTO;
	if (!r->thp[0])
		snprintf(r->thp, sizeof(r->thp), "%.*s", (int)(to - from - 1), from + 1);
	return mdma_write_file(SHMEM_ENABLED, mode);
}

/* Make a swap area of the RAM disk, as mkswap does, and use it. */
static inline int rig_swap(struct rig *r)
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
	if (swapon("/dev/ram0", 0))
		return -errno;
	r->swap = true;
	return 0;
}

/* What this process and its children allocate from now on is in a group. */
static inline int cgroup_enter(void)
{
	mkdir(CGROUPS, 0700);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL))
		return -errno;
	if (mdma_write_file(CGROUPS "/cgroup.subtree_control", "+memory") ||
	    (mkdir(CGROUP, 0700) && errno != EEXIST))
		return -EIO;
	return mdma_write_file(CGROUP "/cgroup.procs", "0");
}

static inline void cgroup_leave(void)
{
	mdma_write_file(CGROUPS "/cgroup.procs", "0");
	rmdir(CGROUP);
	umount(CGROUPS);
}

/* Have nothing brought back from swap but what is asked for. */
static inline int rig_no_readahead(struct rig *r)
{
	int ret = mdma_read_file(PAGE_CLUSTER, r->cluster, sizeof(r->cluster));

	return ret ? ret : mdma_write_file(PAGE_CLUSTER, "0");
}

/*
 * The value of @name in a file of names and numbers, such as /proc/meminfo, or -1.
 * The kernel's counters are made exact first: each CPU counts for itself.
 */
static inline long counter(const char *path, const char *name)
{
	long value, found = -1;
	char line[128];
	size_t len = strlen(name);
	FILE *file;

	mdma_write_file("/proc/sys/vm/stat_refresh", "1");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && strchr(": ", line[len]) &&
		    sscanf(line + len + 1, "%ld", &value) == 1)
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* To read another file makes the group's sums exact. */
static inline void cgroup_add_up(void)
{
	counter(CGROUP "/cpu.stat", "");
}

/*
 * Take as much as can be had from the group, which is never as much as this. What was
 * in use lately outlives a round; and the kernel goes by what it has added up.
 */
static inline void cgroup_reclaim(void)
{
	int round;

	for (round = 0; round < 3; round++) {
		cgroup_add_up();
		mdma_write_file(CGROUP "/memory.reclaim", "64M");
	}
}

/* Pages pinned for a process, as everybody can see; negative if it is not there */
static inline long pinned_by(pid_t pid)
{
	char path[64];
	long kib;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	kib = counter(path, "VmPin");
	return kib < 0 ? kib : kib / (long)(PAGE / 1024);
}

static inline long pinned(void)
{
	return pinned_by(getpid());
}

/* Leave freed memory behind that is not zero. */
static inline void dirty_free_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem == MAP_FAILED)
		return;
	memset(mem, 0xa5, size);
	munmap(mem, size);
}

/* Does /sys/kernel/debug/memfd_ops list the file? -ENOENT if there is none. */
static inline int consumers_of(int fd)
{
	FILE *file = fopen("/sys/kernel/debug/memfd_ops", "re");
	unsigned int major, minor, nr, found = 0;
	char *line = NULL;
	size_t size = 0;
	struct stat st;
	__u64 ino;

	if (!file)
		return -errno;
	fstat(fd, &st);
	while (getline(&line, &size, file) > 0)
		if (sscanf(line, "dev %u:%u ino %llu consumers %u", &major, &minor,
			   &ino, &nr) == 4 && ino == st.st_ino &&
		    major == major(st.st_dev) && minor == minor(st.st_dev))
			found = nr;
	free(line);
	fclose(file);
	return found;
}

/* What it says of the file's consumers, and how often each has been called. */
static inline int consumers_text(int fd, char *text, size_t size)
{
	FILE *file = fopen("/sys/kernel/debug/memfd_ops", "re");
	size_t room = 0, len = 0;
	char *line = NULL, own[64];
	bool ours = false;
	struct stat st;

	if (!file || fstat(fd, &st))
		return -errno;
	snprintf(own, sizeof(own), "dev %u:%u ino %llu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long long)st.st_ino);
	text[0] = '\0';
	while (getline(&line, &room, file) > 0) {
		if (line[0] != ' ')
			ours = !strncmp(line, own, strlen(own));
		if (ours && len < size)
			len += snprintf(text + len, size - len, "%s", line);
	}
	free(line);
	fclose(file);
	return len < size ? 0 : -ENOSPC;
}

/*
 * Let the @nth allocation of this thread from here on fail. Then, with 0, no
 * more: returns how many were still to come, 0 if one has failed.
 */
static inline int fail_nth(int fd, int nth)
{
	char text[16] = "";
	int left = nth;

	if (!nth) {
		if (pread(fd, text, sizeof(text) - 1, 0) < 0)
			return -errno;
		left = atoi(text);
	}
	snprintf(text, sizeof(text), "%d", nth);
	return pwrite(fd, text, strlen(text), 0) < 0 ? -errno : left;
}

/* Any allocation may be made to fail, and quietly. */
static inline void fail_anything(const char *on)
{
	mdma_write_file(FAULTY("slab/ignore-gfp-wait"), on);
	mdma_write_file(FAULTY("_page_alloc/ignore-gfp-wait"), on);
	mdma_write_file(FAULTY("_page_alloc/ignore-gfp-highmem"), on);
	mdma_write_file(FAULTY("_page_alloc/min-order"), "0");
	mdma_write_file(FAULTY("slab/verbose"), "0");
	mdma_write_file(FAULTY("_page_alloc/verbose"), "0");
}

/*
 * Of those, no pages, as slabs need one now and then: the nth allocation of a call is
 * the same each time, or nearly so. To be called after fail_anything("0").
 */
static inline void fail_objects_alone(void)
{
	mdma_write_file(FAULTY("_page_alloc/min-order"), "20");
}

/*
 * Of the threads that have 1 in their make-it-fail, and no others, that many objects of
 * a hundred fail; until none_fails(). Without the filter everybody's would.
 */
static inline void some_fail(const char *percent)
{
	mdma_write_file(FAULTY("slab/task-filter"), "1");
	mdma_write_file(FAULTY("slab/times"), "-1");
	mdma_write_file(FAULTY("slab/probability"), percent);
}

static inline void none_fails(void)
{
	mdma_write_file(FAULTY("slab/probability"), "0");
	mdma_write_file(FAULTY("slab/times"), "1");
	mdma_write_file(FAULTY("slab/task-filter"), "0");
}

/*
 * For who tries again by itself: have every object that this thread allocates fail,
 * from fail_every(fd, true) on; @fd is of its file make-it-fail.
 */
static inline void fail_every(int fd, bool on)
{
	/* opening a file takes some, too */
	if (on)
		some_fail("100");
	if (pwrite(fd, on ? "1" : "0", 1, 0) != 1)
		note("make-it-fail: %m");
	if (!on)
		none_fails();
}

/* Where a function of the kernel begins, and the next one. */
static inline int find_function(const char *function, __u64 *start, __u64 *end)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char line[256], name[128];
	unsigned long long addr;

	if (!file)
		return -errno;
	*start = 0;
	*end = 0;
	/* they are in order, but some have the same address */
	while (!*end && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %*c %127s", &addr, name) != 2)
			continue;
		if (!strcmp(name, function))
			*start = addr;
		else if (*start && addr > *start)
			*end = addr;
	}
	fclose(file);
	return *end ? 0 : -ENOENT;
}

/* "reject" or "require" that a function in [start, end) has asked for the memory. */
static inline int fail_callers(const char *how, __u64 start, __u64 end)
{
	const char *const what[] = { FAULTY("slab/"), FAULTY("_page_alloc/") };
	char path[PATH_MAX], text[24];
	size_t i;
	int ret;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s-%s", what[i / 2], how,
			 i % 2 ? "end" : "start");
		snprintf(text, sizeof(text), "0x%llx", i % 2 ? end : start);
		ret = mdma_write_file(path, text);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * None of those that a function of the kernel makes, or who it calls; NULL for no
 * such exception. Of the others it is as if these were not there.
 */
static inline int fail_nothing_in(const char *function)
{
	__u64 start = 0, end = 0;
	int ret = function ? find_function(function, &start, &end) : 0;

	return ret ? ret : fail_callers("reject", start, end);
}

/* Those alone; NULL for all again. */
static inline int fail_only_in(const char *function)
{
	__u64 start = 0, end = ULONG_MAX;
	int ret = function ? find_function(function, &start, &end) : 0;

	return ret ? ret : fail_callers("require", start, end);
}

#endif /* TEST_UTIL_H */
