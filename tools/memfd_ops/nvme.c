// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-nvme: a real device follows a memfd
 *
 * A user-space driver of an NVMe controller, over vfio-pci. Its queues and buffers
 * are in one sparse memfd, mapped for the controller once, as a whole. What the
 * file gains and loses then is compared, by one and the same experiment, with what
 * becomes of a file that is mapped by address, as VFIO and iommufd do otherwise.
 * Exits with 0 only if everything was as it should be.
 *
 * Read main() first, then experiment(). What they use stands above them.
 *
 * For a machine that is little-endian and has pages of 4 KiB, as NVMe has.
 */
#include <ctype.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include <memfd_ops/files.h>
#include <memfd_ops/mdma.h>
#include <memfd_ops/nvme.h>

#include "need.h"

#define PAGE	4096UL
#define KIB	1024UL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

#define HOLE	(64 * MIB)	/* what experiment() punches */
#define FAR	(40 * GIB)	/* where the followed file gets that much later */

static int failures;

static bool __attribute__((format(printf, 2, 3)))
check(bool held, const char *fmt, ...)
{
	va_list args;

	printf(held ? "  ok    " : "  FAIL  ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	failures += !held;
	return held;
}

static void step(const char *title)
{
	static int number;

	printf("\n%d. %s\n\n", ++number, title);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* In KiB. */
static long mem_free(void)
{
	return need(mem_free_kib(), "read how much memory is free");
}

/* ---- The controller as a PCI device, and VFIO ---- */

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define CLASS_NVME	"0x010802"
#define PCI_COMMAND	4
#define PCI_COMMAND_BITS	0x0406	/* memory, bus master, no INTx */

static char address[32];	/* 0000:00:02.0 */
static bool by_cdev;		/* iommufd, rather than a group in a container */
static int container = -1, group = -1, iommufd = -1, device = -1;
static __u32 ioas;
static volatile char *regs;	/* BAR 0 */

/* What a link in the device's directory points to; false if there is none. */
static bool device_link(const char *name, char *target, size_t size)
{
	char path[PATH_MAX], link[PATH_MAX] = "";

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", address, name);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return false;
	snprintf(target, size, "%s", strrchr(link, '/') + 1);
	return true;
}

/* The first NVMe controller, if the user has not named one. */
static void find_controller(void)
{
	char class[32];
	glob_t found;
	size_t i;

	if (address[0])
		return;
	if (!glob(PCI_DEVICES "/*/class", 0, NULL, &found)) {
		for (i = 0; i < found.gl_pathc && !address[0]; i++) {
			if (read_line(found.gl_pathv[i], class, sizeof(class)) ||
			    strcmp(class, CLASS_NVME))
				continue;
			snprintf(address, sizeof(address), "%.*s",
				 (int)strcspn(found.gl_pathv[i] + sizeof(PCI_DEVICES), "/"),
				 found.gl_pathv[i] + sizeof(PCI_DEVICES));
		}
		globfree(&found);
	}
	if (!address[0])
		give_up("no NVMe controller here");
}

/* Have vfio-pci take the controller. Somebody else's is left alone. */
static void bind_controller(void)
{
	char path[PATH_MAX], driver[64];

	if (!device_link("driver", driver, sizeof(driver))) {
		snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver_override", address);
		need(write_file(path, "vfio-pci"), "write driver_override");
		need(write_file("/sys/bus/pci/drivers_probe", address), "probe");
		if (!device_link("driver", driver, sizeof(driver)))
			give_up("vfio-pci does not take %s: no IOMMU?", address);
	}
	if (strcmp(driver, "vfio-pci"))
		give_up("%s is used by the driver %s", address, driver);
}

/* A container for the group, then the device; the mappings are the container's. */
static void open_group(void)
{
	char path[PATH_MAX], number[64];

	container = need_call(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC),
			      "open a VFIO container");
	need(device_link("iommu_group", number, sizeof(number)) ? 0 : -ENODEV,
	     "find the device's group");
	snprintf(path, sizeof(path), "/dev/vfio/%s", number);
	group = need_call(open(path, O_RDWR | O_CLOEXEC), "open the group");
	need_call(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container),
		  "put the group into the container");
	need_call(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
		  "set the type of IOMMU (does it isolate interrupts?)");
	if (ioctl(container, VFIO_CHECK_EXTENSION, VFIO_MAP_MEMFD) != 1)
		give_up("this kernel's VFIO cannot map a memfd");
	device = need_call(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address),
			   "get the device");
}

/* The device, bound to an iommufd, then an IOAS, which has the mappings. */
static void open_cdev(void)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	char path[PATH_MAX];
	glob_t found;

	iommufd = need_call(open("/dev/iommu", O_RDWR | O_CLOEXEC), "open an iommufd");
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/vfio-dev/vfio*", address);
	if (glob(path, 0, NULL, &found))
		give_up("%s has no character device", address);
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
		 strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	device = need_call(open(path, O_RDWR | O_CLOEXEC), "open the device");
	bind.iommufd = iommufd;
	need_call(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind),
		  "bind the device (are its interrupts isolated?)");
	need_call(ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc), "allocate an IOAS");
	ioas = alloc.out_ioas_id;
	attach.pt_id = ioas;
	need_call(ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach),
		  "attach the device to the IOAS");
}

static struct vfio_region_info region_info(int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	need_call(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "find a region");
	return info;
}

/* Map its registers, and let it do DMA: VFIO hands it over with that off. */
static void open_device(void)
{
	struct vfio_region_info info;
	__u16 command;
	void *bar;

	if (by_cdev)
		open_cdev();
	else
		open_group();

	info = region_info(VFIO_PCI_BAR0_REGION_INDEX);
	bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   info.offset);
	need(bar == MAP_FAILED ? -errno : 0, "mmap BAR 0");
	regs = bar;

	info = region_info(VFIO_PCI_CONFIG_REGION_INDEX);
	need_call(pread(device, &command, 2, info.offset + PCI_COMMAND), "read config");
	command |= PCI_COMMAND_BITS;
	need_call(pwrite(device, &command, 2, info.offset + PCI_COMMAND), "write config");
}

/* ---- The two ways to map a file, each by VFIO type1 and by iommufd ---- */

/* A file, and how the controller has it mapped. */
static struct window {
	const char *name;
	bool follows;		/* mapped as a file, rather than by address */
	__u64 iova;
	size_t size;
	int fd;
	char *mem;		/* the file, as this program has it mapped */

	/* Results, for the table. Memory in KiB. */
	double map_ms;
	long map_cost, given_back;
	bool sparse;
	bool blocked;		/* DMA into the hole: a fault, and no data */
	bool refilled;		/* the controller has the new page */
} followed = {
	.name = "followed", .follows = true, .iova = 64 * GIB, .size = 64 * GIB,
}, pinned = {
	.name = "by address", .iova = 256 * GIB, .size = HOLE,
};

static int map_followed(struct window *w)
{
	struct {
		struct vfio_iommu_type1_dma_map map;
		struct vfio_iommu_type1_dma_map_memfd memfd;
	} type1 = {
		.map = {
			.argsz = sizeof(type1),
			.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE |
				 VFIO_DMA_MAP_FLAG_MEMFD,
			.iova = w->iova,
			.size = w->size,
		},
		.memfd.memfd = w->fd,
	};
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_FOLLOW,
		.ioas_id = ioas,
		.fd = w->fd,
		.length = w->size,
		.iova = w->iova,
	};

	return by_cdev ? ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map) :
			 ioctl(container, VFIO_IOMMU_MAP_DMA, &type1);
}

static int map_by_address(struct window *w)
{
	struct vfio_iommu_type1_dma_map type1 = {
		.argsz = sizeof(type1),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (unsigned long)w->mem,
		.iova = w->iova,
		.size = w->size,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (unsigned long)w->mem,
		.length = w->size,
		.iova = w->iova,
	};

	return by_cdev ? ioctl(iommufd, IOMMU_IOAS_MAP, &map) :
			 ioctl(container, VFIO_IOMMU_MAP_DMA, &type1);
}

static int unmap(struct window *w)
{
	struct vfio_iommu_type1_dma_unmap type1 = {
		.argsz = sizeof(type1),
		.iova = w->iova,
		.size = w->size,
	};
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas,
		.iova = w->iova,
		.length = w->size,
	};

	return by_cdev ? ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap) :
			 ioctl(container, VFIO_IOMMU_UNMAP_DMA, &type1);
}

/* How much memory the file has, in KiB. */
static long file_kib(struct window *w)
{
	struct stat st;

	need_call(fstat(w->fd, &st), "stat the memfd");
	return st.st_blocks / 2;
}

/* Without touching it, which would give it the page. */
static bool has_page(struct window *w, size_t at)
{
	return lseek(w->fd, at, SEEK_DATA) == (off_t)at;
}

static void allocate(struct window *w, size_t at, size_t size)
{
	need_call(fallocate(w->fd, 0, at, size), "fallocate");
}

/* A sparse file, mapped. */
static void open_window(struct window *w)
{
	long free_before;
	double start;

	w->fd = need_call(memfd_create(w->name, MFD_CLOEXEC), "create a memfd");
	need_call(ftruncate(w->fd, w->size), "size the memfd");
	w->mem = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	need(w->mem == MAP_FAILED ? -errno : 0, "mmap the memfd");

	free_before = mem_free();
	start = now_ms();
	need_call(w->follows ? map_followed(w) : map_by_address(w), "map the memfd");
	w->map_ms = now_ms() - start;
	w->map_cost = free_before - mem_free();
	w->sparse = !file_kib(w);
}

/* ---- NVMe ---- */

/* The first pages of the followed file, behind those of the queues. */
enum {
	PAGE_SOURCE = NVME_PAGES, PAGE_SOURCE_2, PAGE_TARGET, PAGE_TARGET_2, NR_PAGES
};

/* The pages of the disk that are used. */
enum { DISK_OLD, DISK_OLD_2, DISK_NEW, DISK_VIEW };

static struct nvme nvme;

static char *page(int n)
{
	return followed.mem + n * PAGE;
}

static __u64 page_iova(int n)
{
	return followed.iova + n * PAGE;
}

/* Move @count pages: the NVMe status, 0 for success, or a negative errno. */
static int transfer(int opcode, int disk, __u64 iova, int count)
{
	struct nvme_command cmd = nvme_transfer(&nvme, opcode, disk, iova, count);

	return nvme_run(&nvme, NVME_IO, &cmd);
}

static const char *status_text(int status)
{
	static char text[64];

	if (!status)
		return "success";
	if (status < 0)
		snprintf(text, sizeof(text), "no completion (%s)", strerror(-status));
	else if ((status & 0x7ff) == 0x004)
		snprintf(text, sizeof(text), "data transfer error");
	else
		snprintf(text, sizeof(text), "status 0x%x", status & 0x7ff);
	return text;
}

static void controller_up(void)
{
	nvme.regs = regs;
	nvme.mem = (unsigned char *)page(0);
	nvme.iova = page_iova(0);
	need(nvme_start(&nvme), "start the controller");
}

/* A field of text is padded with spaces. */
static void identify_text(char *text, const unsigned char *field, size_t size)
{
	memcpy(text, field, size);
	while (size && isspace(text[size - 1]))
		size--;
	text[size] = '\0';
}

/* ---- The steps ---- */

#define LAB_SERIAL	"memfd-ops"

/* A page that nothing else looks like. */
static void fill(char *at, const char *text)
{
	__u32 i, hash = 0;

	for (i = 0; i < PAGE; i++) {
		hash = hash * 31 + text[i % strlen(text)] + i;
		at[i] = hash >> 8;
	}
	strcpy(at, text);
}

static bool zeros(const char *at)
{
	return !at[0] && !memcmp(at, at + 1, PAGE - 1);
}

static void map_everything(void)
{
	open_window(&followed);
	check(true, "%zu GiB of a memfd mapped at IOVA 0x%llx, in %.2f ms",
	      followed.size / GIB, (unsigned long long)followed.iova, followed.map_ms);
	check(followed.sparse, "the file has %ld KiB, as before", file_kib(&followed));
	check(followed.map_cost < 1024, "free memory has changed by %ld KiB",
	      -followed.map_cost);
}

/* Its disk is about to be written to: it is the lab's, or the user named it. */
static void start_controller(bool named)
{
	char model[41], serial[21];
	const unsigned char *id;

	allocate(&followed, 0, NR_PAGES * PAGE);
	controller_up();
	id = nvme_identify(&nvme, NVME_CONTROLLER);
	if (!id)
		give_up("the controller does not identify itself");
	identify_text(serial, id + 4, 20);
	identify_text(model, id + 24, 40);
	if (!named && strcmp(serial, LAB_SERIAL))
		give_up("%s is not the lab's: name it to have its disk overwritten",
			address);
	if (nvme.disk_size < MIB)
		give_up("its disk is not one that this program can use");
	check(true, "\"%s\" with a disk of %llu MiB, by queues in the memfd", model,
	      nvme.disk_size / MIB);
}

static void write_and_read(void)
{
	int status[3];

	fill(page(PAGE_SOURCE), "on the disk first");
	fill(page(PAGE_SOURCE_2), "on the disk second");
	status[0] = transfer(NVME_WRITE, DISK_OLD, page_iova(PAGE_SOURCE), 2);
	status[1] = transfer(NVME_READ, DISK_OLD, page_iova(PAGE_TARGET), 2);
	check(!status[0] && !status[1] &&
	      !memcmp(page(PAGE_SOURCE), page(PAGE_TARGET), 2 * PAGE),
	      "two pages written and read back: \"%.20s\", \"%.20s\"",
	      page(PAGE_TARGET), page(PAGE_TARGET_2));

	fill(page(PAGE_SOURCE), "on the disk later");
	status[2] = transfer(NVME_WRITE, DISK_NEW, page_iova(PAGE_SOURCE), 1);
	check(!status[2], "one more written, for later");
	check(file_kib(&followed) == (long)(NR_PAGES * PAGE / KIB),
	      "the file has %ld KiB: the pages of queues and buffers",
	      file_kib(&followed));
}

static void allocate_later(void)
{
	size_t last = FAR + HOLE - PAGE;
	double start = now_ms(), ms;
	int status;

	allocate(&followed, FAR, HOLE);
	ms = now_ms() - start;
	check(file_kib(&followed) == (long)((HOLE + NR_PAGES * PAGE) / KIB),
	      "fallocate() of %zu MiB at %zu GiB, in %.0f ms: the file has %ld KiB",
	      HOLE / MIB, FAR / GIB, ms, file_kib(&followed));
	status = transfer(NVME_READ, DISK_OLD, followed.iova + last, 1);
	check(!status && !strcmp(followed.mem + last, "on the disk first"),
	      "the controller reads a block into the last of them, with no ioctl in between");
}

/* VFIO would not map a hole: it makes the page, and keeps it. */
static void map_pinned(void)
{
	open_window(&pinned);
	check(file_kib(&pinned) == (long)(pinned.size / KIB),
	      "%zu MiB of a sparse memfd mapped at IOVA 0x%llx, in %.2f ms",
	      pinned.size / MIB, (unsigned long long)pinned.iova, pinned.map_ms);
	check(!pinned.sparse && pinned.map_cost > (long)(pinned.size / KIB * 9 / 10),
	      "that gave the file %ld KiB; free memory is %ld KiB less",
	      file_kib(&pinned), pinned.map_cost);
}

static void make_hole(struct window *w, size_t at)
{
	long free_before = mem_free();
	bool all;

	need_call(fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, HOLE),
		  "punch a hole");
	w->given_back = mem_free() - free_before;
	all = w->given_back > (long)(HOLE / KIB * 9 / 10);
	check(w->follows ? all : w->given_back < (long)(HOLE / KIB / 10),
	      "a hole of %zu MiB is punched: free memory is %ld KiB more%s", HOLE / MIB,
	      w->given_back, all ? "" : ", for the pages are pinned");
}

/* -1 where the IOMMU does not count its faults */
static long faults_since(const struct window *w, long before)
{
	long faults;

	/* the interrupt may come a bit after the command's completion */
	if (w->follows)
		mdma_iommu_faulted(before);
	faults = mdma_iommu_faults();
	return faults < 0 ? -1 : faults - before;
}

/* The controller reads from the disk into the hole. */
static void dma_into_hole(struct window *w, size_t at)
{
	long faults = mdma_iommu_faults();
	int status;

	status = transfer(NVME_READ, DISK_NEW, w->iova + at, 1);
	faults = faults_since(w, faults);
	w->blocked = faults;

	/* The status is up to the device; so is whether it survives. */
	if (w->follows)
		printf("  --    the controller reads a block into the hole: status %s\n",
		       status_text(status));
	else
		check(!status, "the controller reads a block into the hole: status %s",
		      status_text(status));
	if (w->follows && !status)
		printf("        (QEMU's drops what the IOMMU blocks, without a word)\n");
	if (status < 0)
		controller_up();

	if (faults < 0)
		printf("  --    this IOMMU, as emulated, does not count its faults\n");
	else
		check(w->follows == !!faults, "the IOMMU recorded %ld fault(s)", faults);
	check(!has_page(w, at), "the file has no page there");
}

/* The controller's view of the window at @at, by way of the disk. */
static const char *controllers_view(struct window *w, size_t at)
{
	int status;

	memset(page(PAGE_TARGET), 0, PAGE);
	status = transfer(NVME_WRITE, DISK_VIEW, w->iova + at, 1);
	if (!status)
		status = transfer(NVME_READ, DISK_VIEW, page_iova(PAGE_TARGET), 1);
	check(!status, "the controller writes what it has there to the disk: %s",
	      status_text(status));
	return page(PAGE_TARGET);
}

/* The page comes back to the file. Where are the bytes that the controller wrote? */
static void refill(struct window *w, size_t at)
{
	const char *view;

	allocate(w, at, PAGE);
	check(zeros(w->mem + at), "the page is allocated again: the file has zeros");
	fill(w->mem + at, "written to the file since");
	view = controllers_view(w, at);
	w->refilled = !memcmp(view, w->mem + at, PAGE);
	fill(page(PAGE_SOURCE), "on the disk later");
	w->blocked = w->blocked && memcmp(view, page(PAGE_SOURCE), PAGE);
	check(w->refilled == w->follows && w->blocked == w->follows,
	      "the file has \"%s\", the controller \"%.40s\"", w->mem + at, view);
}

/* What the file loses and gets again: @at, HOLE bytes that the file has. */
static void experiment(struct window *w, size_t at)
{
	int status;

	status = transfer(NVME_READ, DISK_OLD, w->iova + at, 1);
	check(!status && !strcmp(w->mem + at, "on the disk first"),
	      "the controller reads a block: the file has \"%.20s\"", w->mem + at);
	make_hole(w, at);
	dma_into_hole(w, at);
	refill(w, at);
	status = transfer(NVME_READ, DISK_OLD, page_iova(PAGE_TARGET), 1);
	check(!status && !strcmp(page(PAGE_TARGET), "on the disk first"),
	      "the controller goes on working");
}

/* Without the mapping, the pages that the file has lost are free at last. */
static void close_pinned(void)
{
	long free_before = mem_free(), more;

	need_call(unmap(&pinned), "unmap by address");
	more = mem_free() - free_before;
	check(more > (long)(HOLE / KIB * 9 / 10),
	      "unmapped, and free memory is %ld KiB more", more);
}

/* The file is none the worse. */
static void close_followed(void)
{
	long kib = file_kib(&followed);

	need(nvme_stop(&nvme), "stop the controller");
	need_call(unmap(&followed), "unmap the memfd");
	check(file_kib(&followed) == kib && !strcmp(page(PAGE_TARGET), "on the disk first"),
	      "the controller stopped, the window unmapped: the file has %ld KiB, as before",
	      kib);
}

static void row_text(const char *what, const char *a, const char *b)
{
	printf("  %-42s%-16s%s\n", what, a, b);
}

static void row(const char *what, const char *unit, double a, double b)
{
	int digits = strcmp(unit, "ms") ? 0 : 1;
	char cell[2][32];

	snprintf(cell[0], sizeof(cell[0]), "%.*f %s", digits, a, unit);
	snprintf(cell[1], sizeof(cell[1]), "%.*f %s", digits, b, unit);
	row_text(what, cell[0], cell[1]);
}

/* Other processes free or use much less than 1 MiB meanwhile. */
static double mib(long kib)
{
	return (kib + 512) / 1024;
}

static void row_yes(const char *what, bool a, bool b)
{
	row_text(what, a ? "yes" : "no", b ? "yes" : "no");
}

static void table(void)
{
	struct window *a = &pinned, *b = &followed;

	row_text("", a->name, b->name);
	row("size of a sparse file mapped at once", "MiB", a->size / MIB, b->size / MIB);
	row("memory that this takes", "MiB", mib(a->map_cost), mib(b->map_cost));
	row("time that this takes", "ms", a->map_ms, b->map_ms);
	row_yes("the file stays sparse", a->sparse, b->sparse);
	row("memory that a hole of 64 MiB gives back", "MiB", mib(a->given_back),
	    mib(b->given_back));
	row_yes("DMA into the hole is blocked", a->blocked, b->blocked);
	row_yes("the device has a page allocated later", a->refilled, b->refilled);
	row_yes("file and device agree", a->blocked && a->refilled,
		b->blocked && b->refilled);
	printf("\n  By address every page is made and pinned: hence the smaller window.\n");
}

static void options(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--iommufd")) {
			by_cdev = true;
		} else if (isxdigit(argv[i][0]) && strlen(argv[i]) < sizeof(address)) {
			strcpy(address, argv[i]);
		} else {
			printf("usage: memfd-ops-nvme [--iommufd] [0000:00:00.0]\n"
			       "An NVMe controller that is named has its disk overwritten.\n");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	bool named;

	setvbuf(stdout, NULL, _IOLBF, 0);
	options(argc, argv);
	named = address[0];
	find_controller();
	bind_controller();
	open_device();
	printf("The NVMe controller %s, through %s.\n", address,
	       by_cdev ? "iommufd" : "a VFIO type1 container");

	step("A sparse memfd of 64 GiB is mapped for the controller at once");
	map_everything();

	step("The controller is driven from it, and only from it");
	start_controller(named);
	write_and_read();

	step("The file gets pages later");
	allocate_later();

	step("The file loses pages, mapped so that the mapping follows");
	experiment(&followed, FAR);

	step("The same, mapped by address: the pages are pinned");
	map_pinned();
	experiment(&pinned, 0);
	close_pinned();

	step("The end");
	close_followed();

	step("Side by side");
	table();

	printf("\n%s\n", failures ? "Not everything was as it should be." :
	       "The controller followed the file at every step.");
	return failures ? 1 : 0;
}
