// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-demo: a device follows a memfd
 *
 * Two instances of a small DMA engine (samples/vfio-mdev/mdma.c) each get a
 * window of one memfd. The file gains and loses pages; after each step the
 * pages that the file has and those that each device can reach are drawn, and
 * compared. Exits with 0 only if everything was as it should be.
 *
 * Read main() first: it is the demo, from top to bottom. What it uses stands
 * above it, and in mdma_util.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "../testing/selftests/memfd_ops/mdma_util.h"

#define PAGES	64	/* of the file: a column each */

static long page_size;
static int memfd;
static char *file;	/* the memfd, as this program has it mapped */

/* A device: one instance of the engine, and what it sees of the file. */
static struct device {
	const char *name;
	struct mdma mdma;
	int first, pages;	/* its window of the file, in pages */
	__u64 iova;		/* where that begins for the device */
} devices[] = {
	{ .name = "device A", .mdma = MDMA_INIT, .first = 0, .pages = 40 },
	{ .name = "device B", .mdma = MDMA_INIT, .first = 24, .pages = 32 },
};

#define NR_DEVICES	(sizeof(devices) / sizeof(devices[0]))

/* Close and remove the instances, whatever happens. Safe in a signal handler. */
static void cleanup(void)
{
	size_t i;

	for (i = 0; i < NR_DEVICES; i++) {
		mdma_close(&devices[i].mdma);
		mdma_remove(&devices[i].mdma);
	}
}

static void interrupted(int sig)
{
	cleanup();
	_exit(128 + sig);
}

/* Something that the demo cannot go on without. */
static void need(int error, const char *what)
{
	if (error >= 0)
		return;
	printf("demo: cannot %s: %s\n", what, strerror(-error));
	exit(1);
}

static int failures;

static void __attribute__((format(printf, 2, 3)))
check(bool held, const char *fmt, ...)
{
	va_list args;

	printf(held ? "  ok    " : "  FAIL  ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	failures += !held;
}

/* What the file has at each page: '#' a page, '.' nothing. */
static void file_strip(char *strip)
{
	unsigned char in_core[PAGES];
	int i;

	need(mincore(file, PAGES * page_size, in_core) ? -errno : 0, "ask mincore");
	for (i = 0; i < PAGES; i++)
		strip[i] = in_core[i] & 1 ? '#' : '.';
	strip[PAGES] = '\0';
}

/*
 * What the device can reach, in the file's columns: '#' that page, '.' nothing
 * now, but the column is in its window, ' ' outside the window.
 */
static void device_strip(struct device *dev, char *strip)
{
	unsigned char present[PAGES];
	int i;

	need(mdma_present(&dev->mdma, dev->iova, dev->pages, present),
	     "ask what is present");
	memset(strip, ' ', PAGES);
	for (i = 0; i < dev->pages; i++)
		strip[dev->first + i] = present[i] ? '#' : '.';
	strip[PAGES] = '\0';
}

/* Is this a terminal that somebody looks at, rather than a line to a log? */
static bool colour(void)
{
	struct winsize size;

	return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") &&
	       !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col;
}

static void draw(const char *name, const char *strip)
{
	const char *run;

	printf("  %-9s|", name);
	for (; *strip; strip = run) {
		for (run = strip; *run == *strip; run++)
			;
		if (colour() && *strip != ' ')
			printf("\033[%sm%.*s\033[0m", *strip == '#' ? "1;32" : "2",
			       (int)(run - strip), strip);
		else
			printf("%.*s", (int)(run - strip), strip);
	}
	printf("|\n");
}

/* Draw file and devices; each device must reach what the file has, no more. */
static void show(const char *when)
{
	char have[PAGES + 1], reach[PAGES + 1];
	struct device *dev;
	bool same = true;
	int pages = 0, i;
	struct stat st;

	printf("\n  %s\n", when);
	file_strip(have);
	draw("file", have);
	for (i = 0; i < PAGES; i++)
		pages += have[i] == '#';
	need(fstat(memfd, &st) ? -errno : 0, "stat the memfd");
	if (st.st_blocks * 512 != pages * page_size)
		check(false, "the file has %ld blocks, and %d pages are drawn",
		      (long)st.st_blocks, pages);
	for (dev = devices; dev < devices + NR_DEVICES; dev++) {
		device_strip(dev, reach);
		draw(dev->name, reach);
		for (i = 0; i < PAGES; i++)
			if (reach[i] != ' ' && reach[i] != have[i])
				same = false;
	}
	printf("\n");
	check(same, "each device reaches the pages of its window that the file has");
}

static void step(const char *title)
{
	static int number;

	printf("\n%d. %s\n", ++number, title);
	if (file)
		show("before");
}

static char *page(int n)
{
	return file + n * page_size;
}

/* The IOVA of the file's page @n, as @dev sees it. */
static __u64 iova(struct device *dev, int n)
{
	return dev->iova + (n - dev->first) * page_size;
}

static const char *status_name(int status)
{
	static const char * const names[] = {
		[VFIO_MDMA_STATUS_IDLE] = "IDLE",
		[VFIO_MDMA_STATUS_BUSY] = "BUSY",
		[VFIO_MDMA_STATUS_DONE] = "DONE",
		[VFIO_MDMA_STATUS_FAULT] = "FAULT",
		[VFIO_MDMA_STATUS_ERROR] = "ERROR",
	};

	return status < 0 ? strerror(-status) : names[status];
}

/* Have @dev copy page @from of the file to page @to by DMA. */
static int copy(struct device *dev, int from, int to)
{
	return mdma_copy(&dev->mdma, iova(dev, from), iova(dev, to), page_size);
}

/* Bring up an instance, and map its window of the file at its first IOVA. */
static void start(struct device *dev)
{
	struct mdma *m = &dev->mdma;

	need(mdma_create(m), "create an mdev (is mdma loaded?)");
	need(mdma_open_group(m), "open the mdev through VFIO");
	dev->iova = m->info.iova_start;
	need(mdma_map(m, memfd, dev->first * page_size, dev->iova,
		      dev->pages * page_size, MDMA_RW), "map the memfd");
	printf("  %s  pages %2d to %2d of the file, at IOVA 0x%llx\n", dev->name,
	       dev->first, dev->first + dev->pages - 1, (unsigned long long)dev->iova);
}

int main(void)
{
	struct device *a = &devices[0], *b = &devices[1];
	long faults, faults_before;
	int status, i;
	bool clean;

	setvbuf(stdout, NULL, _IOLBF, 0);
	page_size = sysconf(_SC_PAGESIZE);
	atexit(cleanup);
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	signal(SIGHUP, interrupted);
	mdma_remove_stale();

	printf("A memfd of %d pages, and two devices that follow it. Legend:\n"
	       "  file    # a page                  . a hole\n"
	       "  device  # it can reach the page   . it cannot   (blank) not its window\n",
	       PAGES);

	step("A sparse memfd, and two devices with a window of it each");
	memfd = memfd_create("demo", MFD_CLOEXEC);
	need(memfd < 0 ? -errno : 0, "create a memfd");
	need(ftruncate(memfd, PAGES * page_size) ? -errno : 0, "size the memfd");
	file = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    memfd, 0);
	need(file == MAP_FAILED ? -errno : 0, "mmap the memfd");
	start(a);
	start(b);
	show("after");

	step("The CPU writes page 2 through mmap, and page 5 by pwrite()");
	memset(page(2), 'x', page_size);
	strcpy(page(2), "written by the CPU");
	need(pwrite(memfd, "", 1, 5 * page_size) < 0 ? -errno : 0, "pwrite");
	show("after");

	step("Device A copies page 2 to page 5 by DMA");
	status = copy(a, 2, 5);
	check(status == VFIO_MDMA_STATUS_DONE, "the copy ended with %s",
	      status_name(status));
	check(!memcmp(page(2), page(5), page_size),
	      "page 5 reads: \"%.24s\", all %ld bytes are equal", page(5), page_size);
	show("after");

	step("fallocate() adds pages 16 to 55: each device gets those of its window");
	need(fallocate(memfd, 0, 16 * page_size, 40 * page_size) ? -errno : 0,
	     "fallocate");
	show("after");
	status = copy(a, 30, 5);
	for (clean = true, i = 0; i < page_size; i++)
		clean &= !page(5)[i];
	check(status == VFIO_MDMA_STATUS_DONE && clean,
	      "what the device reads there is zeros, nobody's old memory");

	step("Device B sees its own window only");
	strcpy(page(30), "shared by A and B");
	status = copy(b, 30, 50);
	check(status == VFIO_MDMA_STATUS_DONE && !strcmp(page(50), page(30)),
	      "B copies page 30 to page 50: %s, it reads \"%.24s\"",
	      status_name(status), page(50));
	status = mdma_start(&b->mdma, iova(a, 2), iova(b, 50), page_size);
	check(status == -ERANGE, "B is refused A's IOVA of page 2: %s",
	      status_name(status));
	show("after");

	step("A hole is punched: pages 24 to 35 go, and the IOMMU blocks the device");
	faults_before = mdma_iommu_faults();
	need(fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       24 * page_size, 12 * page_size) ? -errno : 0, "punch");
	show("after");
	status = copy(a, 30, 5);
	check(status == VFIO_MDMA_STATUS_FAULT,
	      "A's next copy from page 30 ended with %s", status_name(status));
	faults = mdma_iommu_faults();
	if (faults < 0)
		printf("  --    this IOMMU, as emulated, does not count its faults\n");
	else
		check(faults > faults_before,
		      "the IOMMU recorded it: %ld fault(s) before, %ld after",
		      faults_before, faults);

	step("The hole is filled again at page 30, with something else");
	strcpy(page(30), "a new page, written later");
	show("after");
	status = copy(a, 30, 5);
	check(status == VFIO_MDMA_STATUS_DONE && !memcmp(page(30), page(5), page_size),
	      "A copies page 30 to page 5: %s, it reads \"%.28s\"",
	      status_name(status), page(5));

	step("The file is truncated to 32 pages");
	need(ftruncate(memfd, 32 * page_size) ? -errno : 0, "truncate");
	show("after");

	printf("\n%s\n", failures ? "Not everything was as it should be." :
	       "The devices followed the file at every step.");
	return failures ? 1 : 0;
}
