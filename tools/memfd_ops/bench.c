// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-bench: what it costs to follow a memfd, and not to
 *
 * Prints a line for each measurement, its fields separated by tabs:
 *
 *	row  what  consumer  folio  layout  instructions-per-page  [key=value]...
 *
 * If the value is no number of instructions, it has a key, and "-" stands in its place.
 *
 * Documentation/mm/memfd_ops/bench.rst describes the rows. It runs where the
 * time stamp counter counts instructions, and nowhere else: a QEMU with
 * -icount shift=0,sleep=off (ACCEL=icount of the lab), on one CPU.
 *
 *	memfd-ops-bench [ROW]...
 *
 * What the kernel does not have (CONFIG_MEMFD_OPS, KVM) is left out.
 */
#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <memfd_ops/files.h>
#include <memfd_ops/mdma.h>
#include <memfd_ops/memory.h>
#include <memfd_ops/vfio.h>
#include <memfd_ops/vmm.h>

#include "need.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Rounds of a measurement that can be repeated: the best one counts. */
#define ROUNDS		3

/* ---- The clock ---- */

static __u64 now(void)
{
	return __builtin_ia32_rdtsc();
}

static __u64 count_loop(__u64 rounds)
{
	__u64 start = now();

	/* Two instructions for each round. */
	asm volatile("1: dec %0; jnz 1b" : "+r" (rounds));
	return now() - start;
}

/* The timer's interrupts count as well, so that the best of some is tried. */
static void check_clock(void)
{
	const __u64 rounds = 1000000;
	__u64 least = UINT64_MAX, count;
	int i;

	for (i = 0; i < 20; i++) {
		count = count_loop(rounds);
		if (count < least)
			least = count;
	}
	if (least < 2 * rounds || least > 2 * rounds + 100)
		give_up("%llu on the clock for %llu instructions: no ACCEL=icount?",
			least, 2 * rounds);
	if (sysconf(_SC_NPROCESSORS_ONLN) != 1)
		give_up("with more than one CPU the clock does not belong to us alone");
}

/* ---- Memfds, filled in different ways ---- */

enum layout {
	FRESH,		/* 4 KiB folios as they come: mostly contiguous */
	INTERLEAVED,	/* 4 KiB folios, no two neighbours contiguous */
	HUGE_FOLIOS,	/* 2 MiB folios */
	NR_LAYOUTS
};

static const struct {
	const char *folio, *layout;
} layouts[] = {
	[FRESH] = { "4k", "fresh" },
	[INTERLEAVED] = { "4k", "interleaved" },
	[HUGE_FOLIOS] = { "2m", "fresh" },
};

struct memory {
	enum layout layout;
	int fd, twin_fd;	/* the twin has the pages in between */
	size_t size;
	unsigned char *mem;	/* at a multiple of 2 MiB, as in the file */
};

static int new_memfd(size_t size)
{
	int fd = need_call(memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING),
			   "create a memfd");

	need_call(ftruncate(fd, size), "size the memfd");
	return fd;
}

static unsigned char *map_memfd(int fd, size_t size)
{
	unsigned char *room;

	room = mmap(NULL, size + HUGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	need_call(room == MAP_FAILED ? -1 : 0, "reserve addresses");
	munmap(room, size + HUGE);
	room = (unsigned char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
	room = mmap(room, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	need_call(room == MAP_FAILED ? -1 : 0, "mmap the memfd");
	return room;
}

/*
 * How contiguous new pages are, and what they cost, depends on those that were freed
 * before. Let those go back to the page allocator's common lists at once, where they
 * are put together again, rather than wait in lists of this CPU ...
 */
static void keep_memory_together(void)
{
	need(write_file("/proc/sys/vm/percpu_pagelist_high_fraction", "1000000"),
	     "shorten the CPU's lists of pages");
	/* khugepaged would look at us every ten seconds, in the middle of something */
	need(write_file("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan",
			"1"), "keep khugepaged from scanning");
}

/* ... nor in batches, on the way to the lists that reclaim looks through. */
static void settle_memory(void)
{
	need(write_file("/proc/sys/vm/drop_caches", "1"), "empty the CPU's batches");
}

/* A file without pages, that gets folios of this kind. */
static struct memory memory_open(enum layout layout, size_t size)
{
	struct memory m = { .layout = layout, .twin_fd = -1, .size = size };

	settle_memory();
	need(write_file(SHMEM_ENABLED, layout == HUGE_FOLIOS ? "always" : "never"),
	     "choose the size of folios");
	m.fd = new_memfd(size);
	m.mem = map_memfd(m.fd, size);
	return m;
}

static void memory_close(struct memory *m)
{
	munmap(m->mem, m->size);
	close(m->fd);
	if (m->twin_fd >= 0)
		close(m->twin_fd);
}

static void touch(struct memory *m, size_t start, size_t end)
{
	for (; start < end; start += PAGE)
		*(volatile unsigned char *)(m->mem + start) = 1;
}

static void fill_interleaved(struct memory *m)
{
	unsigned char *twin;
	size_t at;

	m->twin_fd = new_memfd(m->size);
	twin = map_memfd(m->twin_fd, m->size);
	for (at = 0; at < m->size; at += PAGE) {
		*(volatile unsigned char *)(m->mem + at) = 1;
		*(volatile unsigned char *)(twin + at) = 1;
	}
	munmap(twin, m->size);
}

/* In KiB. */
static long shmem_huge(void)
{
	return need(counter("/proc/meminfo", "ShmemHugePages"), "read ShmemHugePages");
}

/* A file with all of its pages, in memory and initialised. */
static struct memory memory_full(enum layout layout, size_t size)
{
	long huge = shmem_huge(), want = layout == HUGE_FOLIOS ? size / KIB : 0;
	struct memory m = memory_open(layout, size);

	if (layout == INTERLEAVED)
		fill_interleaved(&m);
	else
		touch(&m, 0, size);
	settle_memory();
	huge = shmem_huge() - huge;
	if (huge != want)
		give_up("a file of %zu KiB has %ld KiB of huge folios, not %ld",
			size / KIB, huge, want);
	return m;
}

/* Let go of the pages in this program's page table; the file keeps them. */
static void forget_pages(struct memory *m)
{
	need_call(madvise(m->mem, m->size, MADV_DONTNEED), "drop page table entries");
}

static void grow_bytes(struct memory *m, size_t at, size_t size)
{
	need_call(fallocate(m->fd, 0, at, size), "fallocate");
}

static void punch_bytes(struct memory *m, size_t at, size_t size)
{
	need_call(fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size),
		  "punch a hole");
}

/* ---- Results ---- */

#define NONE	"%s", ""	/* no further keys */

static void __attribute__((format(printf, 6, 7))) result(int row, const char *what,
							 const char *consumer, enum layout layout,
							 double value, const char *fmt, ...)
{
	va_list args;

	printf("%d\t%s\t%s\t%s\t%s\t%.4f", row, what, consumer, layouts[layout].folio,
	       layouts[layout].layout, value);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

/* The timer interrupts some of the rounds: the best one is what it costs. */
static void keep_least(__u64 *least, __u64 value)
{
	if (!*least || value < *least)
		*least = value;
}

static double per_page(__u64 count, size_t size)
{
	return (double)count / (size / PAGE);
}

/* ---- The consumers: ours, and the peers ---- */

static char nvme_address[32];
static struct space space;
static struct vdev nvme;
static struct mdma engine = MDMA_INIT;

/* Where a file's start is for the device: no reserved region is there. */
#define IOVA		(4 * GIB)

struct peer {
	const char *consumer;
	bool follows;		/* ours: maps files rather than addresses */
	enum way way;
	int (*open)(const struct peer *p);
	int (*map)(struct memory *m, size_t offset, __u64 at, size_t size);
	__s64 (*unmap)(__u64 at, size_t size);
	void (*close)(void);
};

static int open_nvme(const struct peer *p)
{
	int ret = space_open(&space, p->way);

	nvme = (struct vdev)VDEV_INIT;
	strcpy(nvme.address, nvme_address);
	return ret ? ret : vdev_open(&space, &nvme);
}

static void close_nvme(void)
{
	vdev_close(&nvme);
	close_fd(&space.fd);
}

/* Map files for reading alone: then they can be sealed against writing. */
static bool read_only;

static int map_file(struct memory *m, size_t offset, __u64 at, size_t size)
{
	return space_map(&space, m->fd, offset, IOVA + at, size,
			 read_only ? DMA_R : DMA_RW);
}

static int map_address(struct memory *m, size_t offset, __u64 at, size_t size)
{
	return space_map_address(&space, m->mem + offset, IOVA + at, size);
}

static __s64 unmap_space(__u64 at, size_t size)
{
	return space_unmap(&space, IOVA + at, size);
}

static int open_engine(const struct peer *p)
{
	int ret = mdma_create(&engine);

	(void)p;
	return ret ? ret : mdma_open_group(&engine);
}

static void close_engine(void)
{
	mdma_close(&engine);
	need(mdma_remove(&engine), "remove the engine's instance");
}

static int map_engine(struct memory *m, size_t offset, __u64 at, size_t size)
{
	return mdma_map(&engine, m->fd, offset, engine.info.iova_start + at, size,
			read_only ? VFIO_MDMA_MAP_FLAG_READ : MDMA_RW);
}

static __s64 unmap_engine(__u64 at, size_t size)
{
	return mdma_unmap(&engine, engine.info.iova_start + at, size);
}

static const struct peer peers[] = {
	{ "mdev", true, 0, open_engine, map_engine, unmap_engine, close_engine },
	{ "vfio", true, TYPE1, open_nvme, map_file, unmap_space, close_nvme },
	{ "iommufd", true, IOMMUFD, open_nvme, map_file, unmap_space, close_nvme },
	{ "type1-pin", false, TYPE1, open_nvme, map_address, unmap_space, close_nvme },
	{ "iommufd-pin", false, IOMMUFD, open_nvme, map_address, unmap_space, close_nvme },
};

static bool have_ours;

/* Where @p maps at 0 */
static __u64 peer_iova(const struct peer *p)
{
	return p->open == open_engine ? engine.info.iova_start : IOVA;
}

/* Of those that this kernel has; the first one for NULL. */
static const struct peer *next_peer(const struct peer *p)
{
	for (p = p ? p + 1 : peers; p < peers + ARRAY_SIZE(peers); p++)
		if (have_ours || !p->follows)
			return p;
	return NULL;
}

static const struct peer *find_peer(const char *consumer)
{
	const struct peer *p = peers;

	while (strcmp(p->consumer, consumer))
		p++;
	return p;
}

static void peer_open(const struct peer *p)
{
	need(p->open(p), p->consumer);
}

static void peer_map(const struct peer *p, struct memory *m, size_t offset, __u64 at,
		     size_t size)
{
	int ret = p->map(m, offset, at, size);

	if (ret)
		give_up("%s cannot map %zu KiB: %s", p->consumer, size / KIB, strerror(-ret));
}

static void peer_unmap(const struct peer *p, __u64 at, size_t size)
{
	__s64 ret = p->unmap(at, size);

	if (ret != (__s64)size)
		give_up("%s has unmapped %lld of %zu bytes", p->consumer, ret, size);
}

/* ---- The floor ---- */

#define FLOOR	"/sys/kernel/debug/iommu_memfd_bench"

struct floor_counts {
	unsigned long folios, calls;
	__u64 lookup, map, unmap, sync, release;
};

/* One request to the kernel's side, drivers/iommu/iommu_memfd_bench.c. */
static struct floor_counts floor_request(struct memory *m, const char *method)
{
	int fd = need_call(open(FLOOR, O_RDWR | O_CLOEXEC), "open " FLOOR);
	char text[512] = "";
	struct floor_counts c;

	snprintf(text, sizeof(text), "%s %d %zu %s", nvme_address, m->fd, m->size, method);
	need_call(write(fd, text, strlen(text)), "measure the floor");
	need_call(pread(fd, text, sizeof(text) - 1, 0), "read the floor's counts");
	close(fd);
	if (sscanf(text,
		   "folios %lu calls %lu lookup %llu map %llu unmap %llu sync %llu release %llu",
		   &c.folios, &c.calls, &c.lookup, &c.map, &c.unmap, &c.sync,
		   &c.release) != 7)
		give_up("the floor's counts are \"%s\"", text);
	if (c.folios != m->size / (m->layout == HUGE_FOLIOS ? HUGE : PAGE))
		give_up("a file of %zu KiB has %lu folios", m->size / KIB, c.folios);
	return c;
}

static struct floor_counts floor_best(struct memory *m, const char *method)
{
	struct floor_counts best = { 0 }, c;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		c = floor_request(m, method);
		best.calls = c.calls;
		keep_least(&best.lookup, c.lookup);
		keep_least(&best.map, c.map);
		keep_least(&best.unmap, c.unmap);
		keep_least(&best.sync, c.sync);
		keep_least(&best.release, c.release);
	}
	return best;
}

static void floor_rows(struct memory *m)
{
	static const char * const methods[] = { "page", "run", "sg" };
	struct floor_counts c;
	__u64 lookup = 0;
	char consumer[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods); i++) {
		c = floor_best(m, methods[i]);
		keep_least(&lookup, c.lookup);
		snprintf(consumer, sizeof(consumer), "floor-%s", methods[i]);
		result(1, "map", consumer, m->layout, per_page(c.lookup + c.map, m->size),
		       "\tlookup=%.4f\tmap=%.4f\tcalls=%lu", per_page(c.lookup, m->size),
		       per_page(c.map, m->size), c.calls);
		result(2, "unmap", consumer, m->layout,
		       per_page(c.unmap + c.sync + c.release, m->size),
		       "\tunmap=%.4f\tsync=%llu\trelease=%.4f", per_page(c.unmap, m->size),
		       c.sync, per_page(c.release, m->size));
	}
	result(1, "look up", "floor", m->layout, per_page(lookup, m->size), NONE);
}

/* ---- Rows 1 and 2: map a window that has all its pages, and unmap it ---- */

#define WINDOW		(128 * MIB)

struct map_cost {
	__u64 map, unmap;
};

static struct map_cost map_and_unmap(const struct peer *p, struct memory *m,
				     size_t size, int rounds)
{
	struct map_cost least = { 0 };
	__u64 start, mapped, done;
	int i;

	peer_open(p);
	for (i = 0; i < rounds; i++) {
		start = now();
		peer_map(p, m, 0, 0, size);
		mapped = now();
		peer_unmap(p, 0, size);
		done = now();
		keep_least(&least.map, mapped - start);
		keep_least(&least.unmap, done - mapped);
	}
	p->close();
	return least;
}

static void rows_map(void)
{
	const struct peer *p;
	struct map_cost cost;
	enum layout layout;
	struct memory m;

	for (layout = 0; layout < NR_LAYOUTS; layout++) {
		m = memory_full(layout, WINDOW);
		floor_rows(&m);
		for (p = next_peer(NULL); p; p = next_peer(p)) {
			cost = map_and_unmap(p, &m, m.size, ROUNDS);
			result(1, "map", p->consumer, layout, per_page(cost.map, m.size), NONE);
			result(2, "unmap", p->consumer, layout, per_page(cost.unmap, m.size),
			       NONE);
		}
		memory_close(&m);
	}
}

/*
 * ---- Rows 3 and 4: punch through a mapped file until it is empty, fill it again ----
 */

#define PUNCH_FILE	(64 * MIB)

/* Where memory is mapped by address, unmap it before the punch. */
static __u64 punch_through(const struct peer *p, struct memory *m, size_t step)
{
	__u64 start, sum = 0;
	size_t at;

	for (at = 0; at < m->size; at += step) {
		start = now();
		if (p && !p->follows)
			peer_unmap(p, at, step);
		punch_bytes(m, at, step);
		sum += now() - start;
	}
	return sum;
}

/* A mapping by address can only be unmapped as it was mapped. */
static void map_for_punch(const struct peer *p, struct memory *m, size_t step)
{
	size_t at;

	if (p->follows)
		step = m->size;
	for (at = 0; at < m->size; at += step)
		peer_map(p, m, at, at, step);
}

static void fill_again(const char *consumer, struct memory *m, bool by_touch)
{
	__u64 start, least = 0;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (i)
			punch_bytes(m, 0, m->size);
		settle_memory();
		start = now();
		if (by_touch)
			touch(m, 0, m->size);
		else
			grow_bytes(m, 0, m->size);
		keep_least(&least, now() - start);
	}
	result(4, by_touch ? "touch" : "fallocate", consumer, m->layout,
	       per_page(least, m->size), NONE);
}

/*
 * @p is NULL for a file that nobody has mapped. @ptes: this program has the pages in
 * its page table, as a VMM may, and as it must if they are mapped by address.
 */
static void punch_and_fill(const struct peer *p,
			   enum layout layout, size_t step, bool ptes)
{
	struct memory m = memory_full(layout, PUNCH_FILE);
	const char *consumer = p ? p->consumer : "none";
	__u64 sum;

	if (!ptes)
		forget_pages(&m);
	if (p) {
		peer_open(p);
		map_for_punch(p, &m, step);
	}
	sum = punch_through(p, &m, step);
	result(3, step == MIB ? "punch" : "punch whole folios", consumer, layout,
	       per_page(sum, m.size), "\tptes=%d\tleft=%zu", ptes, allocated(m.fd));
	if (step == MIB && (!p || p->follows))
		fill_again(consumer, &m, ptes);
	if (p)
		p->close();
	memory_close(&m);
}

static void punch_layout(enum layout layout, size_t step)
{
	const struct peer *p;

	punch_and_fill(NULL, layout, step, false);
	punch_and_fill(NULL, layout, step, true);
	for (p = next_peer(NULL); p; p = next_peer(p)) {
		if (p->follows)
			punch_and_fill(p, layout, step, false);
		punch_and_fill(p, layout, step, true);
	}
}

static void rows_punch(void)
{
	enum layout layout;

	for (layout = 0; layout < NR_LAYOUTS; layout++)
		punch_layout(layout, MIB);
	punch_layout(HUGE_FOLIOS, HUGE);
}

/* ---- Row 5: 16 MiB in 1 TiB, against 16 MiB ---- */

#define SPARSE		(1024 * GIB)
#define BLOCKS		8

static void row_sparse(void)
{
	static const enum layout these[] = { FRESH, HUGE_FOLIOS };
	struct memory sparse, dense;
	const struct peer *p;
	size_t i, at;
	__u64 cost;

	for (i = 0; i < ARRAY_SIZE(these); i++) {
		dense = memory_full(these[i], BLOCKS * HUGE);
		sparse = memory_open(these[i], SPARSE);
		for (at = 0; at < SPARSE; at += SPARSE / BLOCKS)
			touch(&sparse, at, at + HUGE);
		for (p = next_peer(NULL); p; p = next_peer(p)) {
			if (!p->follows)
				continue;
			cost = map_and_unmap(p, &dense, dense.size, ROUNDS).map;
			result(5, "map dense", p->consumer, these[i],
			       per_page(cost, dense.size), NONE);
			cost = map_and_unmap(p, &sparse, sparse.size, ROUNDS).map;
			result(5, "map sparse", p->consumer, these[i],
			       per_page(cost, dense.size), NONE);
		}
		memory_close(&sparse);
		memory_close(&dense);
	}
}

/* ---- Row 6: many consumers of one file ---- */

#define CONSUMERS	256
#define CONSUMER_WINDOW	MIB
#define CONSUMER_HOLE	(64 * KIB)
#define CONSUMER_ROUNDS	12	/* short ones: a tick of the timer shows in them */

/* Punch the first window by parts, and fill it again. */
static void measure_consumers(const struct peer *p, struct memory *m, int consumers,
			      bool same)
{
	__u64 start, punched, punch = 0, grow = 0;
	size_t at;
	int i;

	for (i = 0; i < CONSUMER_ROUNDS; i++) {
		settle_memory();
		start = now();
		for (at = 0; at < CONSUMER_WINDOW; at += CONSUMER_HOLE)
			punch_bytes(m, at, CONSUMER_HOLE);
		punched = now();
		for (at = 0; at < CONSUMER_WINDOW; at += CONSUMER_HOLE)
			grow_bytes(m, at, CONSUMER_HOLE);
		keep_least(&punch, punched - start);
		keep_least(&grow, now() - punched);
	}
	result(6, "punch", p->consumer, m->layout, per_page(punch, CONSUMER_WINDOW),
	       "\tconsumers=%d\twindows=%s", consumers, same ? "same" : "disjoint");
	result(6, "fallocate", p->consumer, m->layout, per_page(grow, CONSUMER_WINDOW),
	       "\tconsumers=%d\twindows=%s", consumers, same ? "same" : "disjoint");
}

static void many_consumers(const struct peer *p, struct memory *m, bool same)
{
	int mapped = 0, consumers;

	peer_open(p);
	for (consumers = 1; consumers <= CONSUMERS; consumers *= 4) {
		for (; mapped < consumers; mapped++)
			peer_map(p, m, same ? 0 : mapped * CONSUMER_WINDOW,
				 mapped * CONSUMER_WINDOW, CONSUMER_WINDOW);
		measure_consumers(p, m, consumers, same);
	}
	p->close();
}

static void row_consumers(void)
{
	const struct peer *p = find_peer("iommufd");
	struct memory m;

	if (!have_ours)
		return;
	m = memory_full(FRESH, CONSUMERS * CONSUMER_WINDOW);
	forget_pages(&m);
	many_consumers(p, &m, false);
	many_consumers(p, &m, true);
	memory_close(&m);
}

/* ---- Row 7: windows of any size ---- */

#define SMALLEST	(64 * MIB)
#define LARGEST		(8 * GIB)

/* As much as there is memory for, and some to spare. */
static size_t largest_window(void)
{
	size_t kib = need(counter("/proc/meminfo", "MemAvailable"), "read MemAvailable");
	size_t size = LARGEST;

	while (size > SMALLEST && size / KIB * 9 / 8 > kib)
		size /= 2;
	return size;
}

/* Windows at the start of a file that is as large as the largest. */
static void peer_sizes(const struct peer *p, struct memory *m)
{
	struct map_cost cost;
	size_t size;

	for (size = SMALLEST; ; size = size * 4 < m->size ? size * 4 : m->size) {
		cost = map_and_unmap(p, m, size, 2);
		result(7, "map", p->consumer, m->layout, per_page(cost.map, size),
		       "\tmib=%zu", size / MIB);
		result(7, "unmap", p->consumer, m->layout, per_page(cost.unmap, size),
		       "\tmib=%zu", size / MIB);
		if (size == m->size)
			break;
	}
}

static void row_sizes(void)
{
	static const enum layout these[] = { FRESH, HUGE_FOLIOS };
	const struct peer *p;
	struct memory m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(these); i++) {
		m = memory_full(these[i], largest_window());
		for (p = next_peer(NULL); p; p = next_peer(p))
			peer_sizes(p, &m);
		memory_close(&m);
	}
}

/* ---- Row 8: nobody follows ---- */

#define ALONE_FILE	(64 * MIB)

static unsigned char page_buffer[PAGE];

static void alone_fallocate(struct memory *m)
{
	grow_bytes(m, 0, m->size);
}

static void alone_punch(struct memory *m)
{
	punch_bytes(m, 0, m->size);
}

static void alone_touch(struct memory *m)
{
	touch(m, 0, m->size);
}

static void alone_empty(struct memory *m)
{
	punch_bytes(m, 0, m->size);
	settle_memory();
}

static void alone_write(struct memory *m)
{
	size_t at;

	for (at = 0; at < m->size; at += PAGE)
		if (pwrite(m->fd, page_buffer, PAGE, at) != PAGE)
			give_up("cannot write to the memfd: %m");
}

static void alone_read(struct memory *m)
{
	size_t at;

	for (at = 0; at < m->size; at += PAGE)
		if (pread(m->fd, page_buffer, PAGE, at) != PAGE)
			give_up("cannot read from the memfd: %m");
}

/* In this order: each finds the file as the one before has left it. */
static const struct alone {
	const char *what;	/* NULL: not measured */
	void (*run)(struct memory *m);
} alone_steps[] = {
	{ NULL, alone_empty },
	{ "fallocate", alone_fallocate },
	{ "punch", alone_punch },
	{ NULL, alone_empty },
	{ "fault, new page", alone_touch },
	{ NULL, forget_pages },
	{ "fault, old page", alone_touch },
	{ "read", alone_read },
	{ NULL, alone_empty },
	{ "write, new page", alone_write },
	{ "write, old page", alone_write },
};

static void alone_layout(enum layout layout)
{
	struct memory m = memory_open(layout, ALONE_FILE);
	__u64 least[ARRAY_SIZE(alone_steps)] = { 0 }, start;
	size_t i;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < ARRAY_SIZE(alone_steps); i++) {
			start = now();
			alone_steps[i].run(&m);
			keep_least(&least[i], now() - start);
		}
	}
	for (i = 0; i < ARRAY_SIZE(alone_steps); i++)
		if (alone_steps[i].what)
			result(8, alone_steps[i].what, "none", layout,
			       per_page(least[i], m.size), NONE);
	memory_close(&m);
}

/*
 * Before all others: once a file has been followed, it takes ten seconds until the
 * kernel knows that none is.
 */
static void row_alone(void)
{
	alone_layout(FRESH);
	alone_layout(HUGE_FOLIOS);
}

/* ---- Row 9: a guest's memory ---- */

#define GUEST_SIZE	(256 * MIB)
#define GUEST_HOLES	16	/* of 2 MiB, to have a mean */
#define GPA		0x40000000U	/* at a multiple of 2 MiB */

/* A VM and the memory that it has at GPA */
struct bench_guest {
	const char *consumer;
	bool private;		/* of @fd; or shared, and a mapping of it */
	int fd;
	unsigned char *mem;
	struct vmm vm;
};

/* Private memory is in a guest_memfd if @fd is -1. */
static void guest_create(struct bench_guest *g)
{
	struct kvm_create_guest_memfd create = { .size = GUEST_SIZE };
	struct vmm *vm = &g->vm;

	need(vmm_create(vm, g->private ? KVM_X86_SW_PROTECTED_VM : KVM_X86_DEFAULT_VM, 1),
	     "create a VM");
	if (g->private && g->fd >= 0)
		need(vmm_enable_memfd_slots(vm), "enable memslots in memfds");
	if (g->fd < 0)
		g->fd = need_call(ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &create),
				  "create a guest_memfd");
	need(vmm_set_slot(vm, 1, g->private ? KVM_MEM_GUEST_MEMFD : 0, GPA, GUEST_SIZE,
			  g->mem, g->private ? g->fd : -1, 0), "set the memslot");
	if (g->private)
		need(vmm_set_private(vm, GPA, GUEST_SIZE, true), "make memory private");
}

static __u64 guest_touch(struct vmm *vm)
{
	__u64 start = now();

	need(vmm_touch(&vm->vcpu[0], GPA, GUEST_SIZE / PAGE, PAGE, 1),
	     "have the guest touch its memory");
	return now() - start;
}

/* KVM's entries for the guest go, and the file keeps its pages. */
static void guest_forget(struct bench_guest *g)
{
	if (!g->private) {
		need_call(madvise(g->mem, GUEST_SIZE, MADV_DONTNEED), "unmap memory");
		return;
	}
	need(vmm_set_private(&g->vm, GPA, GUEST_SIZE, false), "make memory shared");
	need(vmm_set_private(&g->vm, GPA, GUEST_SIZE, true), "make memory private again");
}

static __u64 guest_punch(int fd)
{
	__u64 start = now();
	size_t i;

	for (i = 0; i < GUEST_HOLES; i++)
		need_call(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    2 * i * HUGE, HUGE), "punch the guest's memory");
	return now() - start;
}

/* What a touch costs that does not fault is not the fault's. */
static void guest_rows(struct bench_guest *g, enum layout layout)
{
	__u64 first, there, again;

	guest_create(g);
	first = guest_touch(&g->vm);
	guest_forget(g);
	again = guest_touch(&g->vm);
	there = guest_touch(&g->vm);
	result(9, "fault, new page", g->consumer, layout,
	       per_page(first - there, GUEST_SIZE), NONE);
	result(9, "fault, old page", g->consumer, layout,
	       per_page(again - there, GUEST_SIZE), NONE);
	result(9, "punch", g->consumer, layout,
	       per_page(guest_punch(g->fd), GUEST_HOLES * HUGE), NONE);
	vmm_destroy(&g->vm);
}

/* In a memfd of that layout: private memory there, or a mapping of it. */
static void guest_rows_in_memfd(const char *consumer, bool private, enum layout layout)
{
	struct memory m = memory_open(layout, GUEST_SIZE);
	struct bench_guest g = {
		.consumer = consumer,
		.private = private,
		.fd = m.fd,
		.mem = private ? vmm_alloc_shared(GUEST_SIZE) : m.mem,
	};

	guest_rows(&g, layout);
	memory_close(&m);
}

static void row_guest(void)
{
	static const enum layout these[] = { FRESH, HUGE_FOLIOS };
	struct bench_guest g = {
		.consumer = "guest_memfd",
		.private = true,
		.fd = -1,
		.mem = vmm_alloc_shared(GUEST_SIZE),
	};
	size_t i;

	guest_rows(&g, FRESH);
	close(g.fd);
	for (i = 0; have_ours && i < ARRAY_SIZE(these); i++)
		guest_rows_in_memfd("kvm", true, these[i]);
	for (i = 0; have_ours && i < ARRAY_SIZE(these); i++)
		guest_rows_in_memfd("kvm-mapping", false, these[i]);
}

/* ---- Row 10: what a mapping holds, in bytes of kernel memory ---- */

#define HELD_FILE	GIB
#define HELD_MAPPINGS	2048

/* Free memory and the IOMMU's page tables, whose sum a mapping should not change. */
static long free_bytes(void)
{
	long kib = need(mem_free_kib(), "read how much memory is free");
	long tables = need(counter("/proc/vmstat", "nr_iommu_pages"),
			   "read how much memory the IOMMU's page tables have");

	return kib * KIB + tables * PAGE;
}

static void held_row(const struct peer *p, struct memory *m, size_t step,
		     const char *what)
{
	size_t at, count = m->size / step;
	long before, held;

	peer_open(p);
	before = free_bytes();
	for (at = 0; at < m->size; at += step)
		peer_map(p, m, at, at, step);
	held = before - free_bytes();
	p->close();
	printf("10\t%s\t%s\t%s\t%s\t-\tbytes=%.2f\n", what, p->consumer,
	       layouts[m->layout].folio, layouts[m->layout].layout,
	       (double)held / (count > 1 ? count : m->size / PAGE));
}

static void row_held(void)
{
	static const enum layout these[] = { FRESH, HUGE_FOLIOS };
	const struct peer *p;
	struct memory m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(these); i++) {
		m = memory_full(these[i], HELD_FILE);
		for (p = next_peer(NULL); p; p = next_peer(p))
			held_row(p, &m, m.size, "held per page");
		memory_close(&m);
	}
	m = memory_full(FRESH, HELD_MAPPINGS * PAGE);
	for (p = next_peer(NULL); p; p = next_peer(p))
		held_row(p, &m, PAGE, "held per mapping");
	memory_close(&m);
}

/* ---- Rows 11 to 13: how much a change of the file disturbs others ---- */

/* How long a thread that is ready has to wait for this CPU: the kernel does not preempt. */
#define WATCH_PERIOD	20000	/* ns */

static struct {
	pthread_t thread;
	volatile bool stop;
	__u64 longest;		/* ns */
} watch;

static __u64 clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void *watch_schedule(void *unused)
{
	struct timespec t;
	__u64 at, late;

	while (!watch.stop) {
		at = clock_ns() + WATCH_PERIOD;
		t.tv_sec = at / 1000000000;
		t.tv_nsec = at % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		late = clock_ns() - at;
		if (late > watch.longest)
			watch.longest = late;
	}
	return unused;
}

/* The thread precedes all others whenever it is ready. */
static void watch_begin(void)
{
	struct sched_param param = { .sched_priority = 50 };
	pthread_attr_t attr;

	watch.stop = false;
	watch.longest = 0;
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &param);
	need(-pthread_create(&watch.thread, &attr, watch_schedule, NULL),
	     "start a thread that precedes all others");
	pthread_attr_destroy(&attr);
}

/* The longest time without a schedule, in microseconds */
static double watch_end(void)
{
	watch.stop = true;
	pthread_join(watch.thread, NULL);
	return watch.longest / 1e3;
}

/*
 * Does the thread see that the kernel does not schedule? It unmaps page by page for the
 * floor in one go, and counts for how long. And how late is the thread if nothing keeps
 * it waiting?
 */
static void check_watch(void)
{
	struct memory m = memory_full(FRESH, WINDOW);
	struct floor_counts c;
	double known, longest;

	watch_begin();
	count_loop(5000000);
	printf("11\tidle\tnone\t4k\tfresh\t-\tus=%.1f\n", watch_end());
	watch_begin();
	c = floor_request(&m, "page");
	longest = watch_end();
	known = (c.unmap + c.sync) / 1e3;
	printf("11\tcontrol\tfloor-page\t4k\tfresh\t-\tus=%.1f\tknown=%.1f\n", longest,
	       known);
	if (longest < known * .95 || longest > known * 1.05)
		give_up("the kernel does not schedule for %.0f us, but %.0f us were measured",
			known, longest);
	memory_close(&m);
}

/*
 * The kernel traces each iommu_map() and iommu_unmap(), with the same clock as ours.
 * From that follows how long pages are not mapped.
 */
#define TRACING		"/sys/kernel/tracing/"
#define EVENTS		TRACING "events/iommu/"

static void trace_iommu(const char *enable)
{
	need(write_file(EVENTS "map/enable", enable), "trace iommu_map()");
	need(write_file(EVENTS "unmap/enable", enable), "trace iommu_unmap()");
}

static void trace_begin(void)
{
	need(write_file(TRACING "trace_clock", "x86-tsc"), "choose the trace's clock");
	need(write_file(TRACING "buffer_size_kb", "16384"), "size the trace's buffer");
	close(need_call(open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC),
			"clear the trace"));
	trace_iommu("1");
}

/* A line of the trace */
struct trace_line {
	__u64 time, iova;
	size_t size;
	bool unmap;
};

static bool parse_line(const char *line, struct trace_line *t)
{
	const char *map = strstr(line, ": map: IOMMU: iova=");
	const char *unmap = strstr(line, ": unmap: IOMMU: iova=");
	const char *name = map ? map : unmap, *time = name, *iova, *size;

	if (!name)
		return false;
	while (time > line && isdigit(time[-1]))
		time--;
	iova = strstr(name, "iova=");
	/* the driver may have unmapped more than it was asked to */
	size = strstr(name, map ? " size=" : "unmapped_size=");
	if (time == name || !size)
		give_up("cannot understand the trace: %s", line);
	t->unmap = unmap;
	t->time = strtoull(time, NULL, 10);
	t->iova = strtoull(iova + strlen("iova="), NULL, 16);
	t->size = strtoull(strchr(size, '=') + 1, NULL, 10);
	return true;
}

static void check_no_overrun(void)
{
	if (counter(TRACING "per_cpu/cpu0/stats", "overrun"))
		give_up("the trace's buffer is too small");
}

/* ---- The changes ---- */

struct change {
	const char *what;
	size_t size;		/* of the file */
	size_t stride;		/* between its pages; with 2 * PAGE each is a run */
	size_t start, end;	/* of the pages that leave the file, or are unmapped */
	void (*run)(struct memory *m, const struct change *c);	/* NULL: unmap */
	bool by_address;	/* can be done with mappings by address */
	bool seals;		/* nothing may be mapped for writing */
};

static void run_punch(struct memory *m, const struct change *c)
{
	punch_bytes(m, c->start, c->end - c->start);
}

static void run_truncate(struct memory *m, const struct change *c)
{
	need_call(ftruncate(m->fd, c->start), "truncate");
}

static void run_seal(struct memory *m, const struct change *c)
{
	(void)c;
	need_call(fcntl(m->fd, F_ADD_SEALS, F_SEAL_WRITE), "seal");
}

static void ignore_signal(int sig)
{
	(void)sig;
}

/* The kernel lets the program know, as if it had accessed the page. */
static void run_poison(struct memory *m, const struct change *c)
{
	signal(SIGBUS, ignore_signal);
	need_call(madvise(m->mem + c->start, PAGE, MADV_HWPOISON), "poison a page");
	signal(SIGBUS, SIG_DFL);
}

#define DENSE		(64 * MIB)
#define LARGE		(512 * MIB)
#define SMALL_HOLE	(32 * MIB + 3 * PAGE)	/* inside a huge folio */
#define FRAGMENTED_RUNS	65536
#define FRAGMENTED_SIZE	(HUGE + FRAGMENTED_RUNS * 2 * PAGE)

/* Of files with all their pages, and of those that lack every second one */
static const struct change dense_changes[] = {
	{ "punch 4 KiB", DENSE, PAGE, SMALL_HOLE, SMALL_HOLE + PAGE, run_punch, true, false },
	{ "punch 32 MiB", DENSE, PAGE, 16 * MIB + 3 * PAGE, 48 * MIB + 3 * PAGE, run_punch,
	  true, false },
	{ "poison 4 KiB", DENSE, PAGE, SMALL_HOLE, SMALL_HOLE + PAGE, run_poison, false,
	  false },
	{ "seal", DENSE, PAGE, 0, 0, run_seal, false, true },
	{ "unmap 512 MiB", LARGE, PAGE, 0, LARGE, NULL, true, false },
};

static const struct change fragmented_changes[] = {
	{ "unmap", FRAGMENTED_SIZE, 2 * PAGE, HUGE, FRAGMENTED_SIZE, NULL, true, false },
	{ "punch", FRAGMENTED_SIZE, 2 * PAGE, HUGE, FRAGMENTED_SIZE, run_punch, true, false },
	{ "truncate", FRAGMENTED_SIZE, 2 * PAGE, HUGE, FRAGMENTED_SIZE, run_truncate, true, false },
};

static size_t pages_between(const struct change *c, size_t start, size_t end)
{
	return (end - start) / c->stride;
}

static bool has_neighbours(const struct change *c)
{
	return c->end - c->start < c->size;
}

static bool is_fragmented(const struct change *c)
{
	return c->stride != PAGE;
}

static struct memory memory_for(const struct change *c, enum layout layout)
{
	struct memory m;
	size_t at;

	if (!is_fragmented(c))
		return memory_full(layout, c->size);
	m = memory_open(layout, c->size);
	for (at = 0; at < c->size; at += c->stride)
		touch(&m, at, at + PAGE);
	settle_memory();
	return m;
}

/* Nothing maps the file for writing any more. */
static void unmap_memory(struct memory *m)
{
	void *room = mmap(m->mem, m->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_NORESERVE | MAP_FIXED, -1, 0);

	need_call(room == MAP_FAILED ? -1 : 0, "unmap the memfd");
}

/*
 * Ours map a dense file as one window, and a fragmented one as two, since a window is
 * unmapped as a whole. By address, memory can only be unmapped as it was mapped: pieces
 * of 2 MiB, as virtio-mem has them; and no page that the file does not have.
 */
static void map_for_change(const struct peer *p, struct memory *m, const struct change *c)
{
	size_t at, step = is_fragmented(c) ? c->stride : HUGE;

	if (!p->follows) {
		for (at = 0; at < c->size; at += step)
			peer_map(p, m, at, at, is_fragmented(c) ? PAGE : HUGE);
	} else if (is_fragmented(c)) {
		peer_map(p, m, 0, 0, c->start);
		peer_map(p, m, c->start, c->start, c->size - c->start);
	} else {
		peer_map(p, m, 0, 0, c->size);
	}
}

/* Whole pieces, see map_for_change() */
static size_t pieces_start(const struct change *c)
{
	return c->start & ~(HUGE - 1);
}

static size_t pieces_end(const struct change *c)
{
	return (c->end + HUGE - 1) & ~(HUGE - 1);
}

static void unmap_pieces(const struct peer *p, const struct change *c)
{
	size_t start = pieces_start(c), size = pieces_end(c) - start;
	size_t want = pages_between(c, start, start + size) * PAGE;
	__s64 ret = p->unmap(start, size);

	if (ret != (__s64)want)
		give_up("%s has unmapped %lld of %zu bytes", p->consumer, ret, want);
}

static void map_the_rest(const struct peer *p, struct memory *m, const struct change *c)
{
	size_t start = pieces_start(c), end = pieces_end(c);

	if (start < c->start)
		peer_map(p, m, start, start, c->start - start);
	if (c->end < end)
		peer_map(p, m, c->end, c->end, end - c->end);
}

static void run_change(const struct peer *p, struct memory *m, const struct change *c)
{
	if (p && !p->follows)
		unmap_pieces(p, c);
	else if (!c->run)
		peer_unmap(p, c->start, c->end - c->start);
	if (c->run)
		c->run(m, c);
	if (p && !p->follows)
		map_the_rest(p, m, c);
}

static bool is_leaving(const struct change *c, size_t at)
{
	return at >= c->start && at < c->end;
}

/*
 * Read the trace: *@since is when each page was unmapped, or 0 if it is mapped. Returns
 * the longest time that a page which stays in the file was not mapped.
 */
static __u64 read_trace(const struct change *c, __u64 iova, __u64 *since)
{
	FILE *trace = fopen(TRACING "trace", "re");
	struct trace_line t;
	__u64 longest = 0;
	char line[512];
	size_t at, end;

	need_call(trace ? 0 : -1, "read the trace");
	while (fgets(line, sizeof(line), trace)) {
		if (!parse_line(line, &t) || t.iova < iova || t.iova >= iova + c->size)
			continue;
		at = t.iova - iova;
		end = at + t.size;
		for (; at < end && at < c->size; at += PAGE) {
			if (t.unmap) {
				since[at / PAGE] = since[at / PAGE] ?: t.time;
				continue;
			}
			if (since[at / PAGE] && !is_leaving(c, at) &&
			    t.time - since[at / PAGE] > longest)
				longest = t.time - since[at / PAGE];
			since[at / PAGE] = 0;
		}
	}
	fclose(trace);
	return longest;
}

/*
 * The longest time, in microseconds, that a page which stays in the file was not mapped.
 * *@lost: how many are not mapped at the @end. All pages that leave have to be unmapped,
 * or the trace does not show everything.
 */
static double longest_unmapped(const struct change *c, __u64 iova, __u64 end, size_t *lost)
{
	__u64 *since = calloc(c->size / PAGE, sizeof(*since)), longest;
	size_t at;

	need_call(since ? 0 : -1, "allocate");
	longest = read_trace(c, iova, since);
	*lost = 0;
	for (at = 0; at < c->size; at += c->stride) {
		if (is_leaving(c, at)) {
			if (!since[at / PAGE])
				give_up("the trace lacks that page %zu was unmapped", at / PAGE);
		} else if (since[at / PAGE]) {
			++*lost;
			if (end - since[at / PAGE] > longest)
				longest = end - since[at / PAGE];
		}
	}
	free(since);
	return longest / 1e3;
}

static void result_us(int row, const struct change *c, const char *consumer,
		      enum layout layout, double us, size_t lost)
{
	printf("%d\t%s\t%s\t%s\t%s\t-\tus=%.1f", row, c->what, consumer,
	       layouts[layout].folio, layouts[layout].layout, us);
	if (is_fragmented(c))
		printf("\truns=%zu", pages_between(c, c->start, c->end));
	if (row == 12)
		printf("\tlost=%zu", lost);
	printf("\n");
}

static void measure_change(int row, const struct peer *p, struct memory *m,
			   const struct change *c)
{
	const char *consumer = p ? p->consumer : "none";
	size_t lost = 0;
	double us = 0;
	__u64 start;

	if (row == 11)
		watch_begin();
	if (row == 12)
		trace_begin();
	start = now();
	run_change(p, m, c);
	if (row == 13)
		result(13, c->what, consumer, m->layout,
		       (double)(now() - start) / pages_between(c, c->start, c->end),
		       "\truns=%zu", pages_between(c, c->start, c->end));
	if (row == 11)
		us = watch_end();
	if (row == 12) {
		trace_iommu("0");
		check_no_overrun();
		us = longest_unmapped(c, peer_iova(p), now(), &lost);
	}
	if (row != 13)
		result_us(row, c, consumer, m->layout, us, lost);
}

/* @p is NULL for a file that nobody has mapped. */
static void change_file(int row, const struct peer *p, const struct change *c,
			enum layout layout)
{
	struct memory m;

	if (p && !p->follows && !c->by_address)
		return;
	/* a file that is not mapped */
	if (!p && (!c->run || row == 12))
		return;
	if (row == 12 && !has_neighbours(c))
		return;
	m = memory_for(c, layout);
	if (c->seals)
		unmap_memory(&m);
	read_only = c->seals;
	if (p) {
		peer_open(p);
		map_for_change(p, &m, c);
	}
	measure_change(row, p, &m, c);
	if (p)
		p->close();
	read_only = false;
	memory_close(&m);
}

static void change_files(int row, const struct change *c, enum layout layout)
{
	const struct peer *p;

	change_file(row, NULL, c, layout);
	for (p = next_peer(NULL); p; p = next_peer(p))
		change_file(row, p, c, layout);
}

static void change_fragmented(int row)
{
	size_t i;

	need(write_file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
			"1000000"), "allow for more mappings by address");
	for (i = 0; i < ARRAY_SIZE(fragmented_changes); i++)
		change_files(row, &fragmented_changes[i], FRESH);
}

static void change_all(int row)
{
	static const enum layout these[] = { FRESH, HUGE_FOLIOS };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(these); i++)
		for (j = 0; j < ARRAY_SIZE(dense_changes); j++)
			change_files(row, &dense_changes[j], these[i]);
	change_fragmented(row);
}

static void row_schedule(void)
{
	check_watch();
	change_all(11);
}

static void row_neighbours(void)
{
	change_all(12);
}

/* A hole of one page in each huge folio, with any number of mirrors */
static void punch_pages(const struct peer *p, int mirrors, bool ptes)
{
	struct memory m = memory_full(HUGE_FOLIOS, PUNCH_FILE);
	__u64 start, sum = 0;
	size_t at, hole;
	int i;

	if (!ptes)
		forget_pages(&m);
	if (p)
		peer_open(p);
	for (i = 0; i < mirrors; i++)
		for (at = 0; at < m.size; at += p->follows ? m.size : HUGE)
			peer_map(p, &m, at, i * m.size + at, p->follows ? m.size : HUGE);

	for (at = 0; at < m.size; at += HUGE) {
		hole = at + 3 * PAGE;
		start = now();
		for (i = 0; p && !p->follows && i < mirrors; i++)
			peer_unmap(p, i * m.size + at, HUGE);
		punch_bytes(&m, hole, PAGE);
		for (i = 0; p && !p->follows && i < mirrors; i++) {
			peer_map(p, &m, at, i * m.size + at, hole - at);
			peer_map(p, &m, hole + PAGE, i * m.size + hole + PAGE,
				 at + HUGE - hole - PAGE);
		}
		sum += now() - start;
	}
	result(13, "punch 4 KiB", p ? p->consumer : "none", HUGE_FOLIOS,
	       per_page(sum, m.size / HUGE * PAGE), "\tptes=%d\tmirrors=%d", ptes, mirrors);
	if (p)
		p->close();
	memory_close(&m);
}

static void row_holes(void)
{
	static const int mirrors[] = { 1, 16 };
	const struct peer *p;
	size_t i;

	punch_pages(NULL, 0, false);
	punch_pages(NULL, 0, true);
	for (i = 0; i < ARRAY_SIZE(mirrors); i++) {
		for (p = next_peer(NULL); p; p = next_peer(p)) {
			if (p->follows)
				punch_pages(p, mirrors[i], false);
			punch_pages(p, mirrors[i], true);
		}
	}
	change_fragmented(13);
}

/* ---- ---- */

/* In the order in which they run; see row_alone(). */
static const struct row {
	int number, last;
	void (*run)(void);
} rows[] = {
	{ 8, 8, row_alone },
	{ 1, 2, rows_map },
	{ 3, 4, rows_punch },
	{ 5, 5, row_sparse },
	{ 6, 6, row_consumers },
	{ 7, 7, row_sizes },
	{ 9, 9, row_guest },
	{ 10, 10, row_held },
	{ 11, 11, row_schedule },
	{ 12, 12, row_neighbours },
	{ 13, 13, row_holes },
};

static bool wanted(const struct row *row, int argc, char **argv)
{
	int i, number;

	for (i = 1; i < argc; i++) {
		number = atoi(argv[i]);
		if (row->number <= number && number <= row->last)
			return true;
	}
	return argc < 2;
}

static void find_devices(void)
{
	struct space s;

	need(pci_find(NVME_ALIAS, nvme_address, sizeof(nvme_address)),
	     "find an NVMe controller");
	need(pci_take(nvme_address), "have vfio-pci drive the NVMe controller");
	need(space_open(&s, TYPE1), "open a VFIO container");
	have_ours = ioctl(s.fd, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD) == 1;
	close_fd(&s.fd);
}

int main(int argc, char **argv)
{
	const struct row *row;

	setvbuf(stdout, NULL, _IOLBF, 0);
	check_clock();
	keep_memory_together();
	find_devices();
	for (row = rows; row < rows + ARRAY_SIZE(rows); row++)
		if (wanted(row, argc, argv))
			row->run();
	return 0;
}
