// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that do everything at once, at random, to several files, each with
 * devices of its own; and a supervisor that kills them in the middle of it, takes
 * the devices from under them, and has the memory compacted and swapped.
 *
 * MEMFD_OPS_SEED=n repeats a run's choices, though not the processes' timing.
 * MEMFD_OPS_SECONDS=n sets how long each of the two tests runs.
 *
 * How it is known what must be seen:
 *
 * - All processes share a model of the files: for each page whether the file has
 *   it, and what is in it. A part of each file is one worker's: nobody else brings
 *   pages there or takes them. But everybody's devices have windows anywhere.
 * - Who changes a page says so in the model, before and after. Who looks at one
 *   through a device reads the model before and after; if nothing has changed, what
 *   the device met must be exactly that: the page's bytes, or that it is blocked.
 * - What a worker was at when it was killed can be told by the model. Each byte must
 *   be what it was before or what it was to become.
 * - Windows are entered in the model when they are mapped. Now and then all stands
 *   still. Then page by page the IOMMU's own tables, as debugfs shows them, must
 *   lead to the page frames of the file, as pagemap shows them, and nowhere else;
 *   what devices read must be what is in the files; and consumers and pinned memory
 *   must be as many as there are windows and pages in them.
 *
 * With WITH_KVM, guests are among the devices: that is kvm_torture_procs.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/swap.h>

#include <memfd_ops/vfio.h>

#include "lib/fail.h"
#include "lib/iova_table.h"
#include "lib/soft_device.h"
#include "lib/test_env.h"
#ifdef WITH_KVM
#include "kvm_rig.h"
#endif
#include "../kselftest_harness.h"

#define FILES		3
#define WORKERS		6
#define DEVICES		2	/* that a worker may have open */
#define WINDOWS		3	/* of each */
#define MAX_REGION	HUGE_PAGES
#define MAX_PAGES	(WORKERS * MAX_REGION)
#define ROUND		1500000	/* microseconds between two stand-stills */
#define PATIENCE	120	/* seconds, for anything to come to its end */

/*
 * How long khugepaged sleeps. It fills holes, even with max_ptes_none=0: those that are
 * made between its look and its collapse. That is nobody's change in the model, so
 * here the workers collapse.
 */
#define KHUGEPAGED_SLEEP "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"

#define KPF_ANON	12
#define KPF_SWAPBACKED	14

#define BASE		(4UL << 30)	/* the IOVA of a VFIO device's first window */

/*
 * The model
 */

/* Of a page. Each change has a number, which is part of what is written. */
#define CHANGING	1ULL
#define PRESENT		2ULL
#define CONTENT_SHIFT	2	/* number of the change that wrote it, or 0: zeros */
#define NUMBER_SHIFT	32
#define NUMBER_MASK	0x3fffffffULL

enum kind { NOTHING, MDMA, NVME, SOFT, VM, NR_KINDS };

#ifdef WITH_KVM
#define LAST_KIND	VM
#else
#define LAST_KIND	SOFT
#endif

static const char * const kind_names[NR_KINDS] = {
	"", "mdma", "nvme", DEVICE_DMA, "a guest",
};

struct window {
	atomic_bool mapped;
	int	file;
	size_t	first, pages;
	__u64	iova;
};

/* Of a device that a worker has open, what others have to know. */
struct entry {
	atomic_int kind;
	char	uuid[37];	/* an mdma instance that may be there */
	struct window windows[WINDOWS];
};

enum count {
	FILLS, STAMPS, HOLES, TRUNCATIONS, COLLAPSES, FAILED_CALLS,
	OPENS, REFUSED, MAPS, UNMAPS, LOOKS, EXACT, BLOCKED, WRITES, PAGEOUTS,
	KILLS, IN_THE_ACT, REBINDS, RMMODS, RECLAIMS, SWAPOFFS, QUIET, TRANSLATIONS,
	NR_COUNTS
};

static const char * const count_names[] = {
	"fills", "stamps", "holes", "truncations", "collapses", "calls without memory",
	"opens", "refused", "maps", "unmaps", "looks", "exact", "blocked", "writes",
	"pageouts", "kills", "in the act", "rebinds", "rmmods", "reclaims", "swapoffs",
	"stand-stills", "translations compared",
};

struct model {
	atomic_ullong pages[FILES][MAX_PAGES];
	struct entry entries[WORKERS][DEVICES];
	atomic_int recent[FILES];	/* a page that was changed just now */
	atomic_bool wanted[NR_KINDS];	/* whose driver is about to leave it */
	atomic_ullong round_end;
	atomic_int wrong;
	atomic_long counts[NR_COUNTS], opened[NR_KINDS];
};

/* All that the processes share, and what they all have since the first fork() */
static struct model *model;
static unsigned int seed;
static bool huge;
static size_t region_pages, file_size;	/* in pages */
static struct file {
	int	fd;
	unsigned char *mem;
} files[FILES];

/* What comes after the first ones is told by them. */
#define WRONG(fmt, ...) do {					\
	if (model->wrong++ < 20)				\
		note("WRONG: " fmt, ##__VA_ARGS__);		\
} while (0)

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static __u64 pick(__u64 *random, __u64 below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % below;
}

static bool is_present(__u64 page)
{
	return page & PRESENT;
}

static __u64 content_of(__u64 page)
{
	return page >> CONTENT_SHIFT & NUMBER_MASK;
}

/* The number of the change that is next, or under way */
static __u64 next_change(__u64 page)
{
	return ((page >> NUMBER_SHIFT) + 1) & NUMBER_MASK;
}

static void begin_change(int file, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i++)
		model->pages[file][i] |= CHANGING;
}

static void end_change(int file, size_t page, bool present, __u64 content)
{
	__u64 old = model->pages[file][page];

	model->pages[file][page] = next_change(old) << NUMBER_SHIFT |
				   content << CONTENT_SHIFT | (present ? PRESENT : 0);
}

/*
 * What is in a page: cells, which say what page this is, which cell of it, and by
 * which change it was written. Some are for the devices, one for each worker.
 */

#define CELLS		(PAGE / sizeof(__u64))
#define SOURCE		7		/* the one that devices copy */
#define LANDING(slot)	(CELLS / 2 + (slot))

static __u64 cell(int file, size_t page, __u64 content, size_t i)
{
	if (!content)
		return 0;
	return (1ULL + file * MAX_PAGES + page) << 48 | (__u64)i << 32 | content;
}

static bool is_landing(size_t i)
{
	return i >= LANDING(0) && i < LANDING(WORKERS);
}

/* Can a device have written that? */
static bool may_have_landed(__u64 value)
{
	return !value || ((value >> 32 & 0xffff) == SOURCE &&
			  (value >> 48) - 1 < FILES * MAX_PAGES);
}

static void make_page(__u64 *data, int file, size_t page, __u64 content)
{
	size_t i;

	for (i = 0; i < CELLS; i++)
		data[i] = is_landing(i) ? 0 : cell(file, page, content, i);
}

/* The bytes of a page, without bringing it. */
static int peek(int file, size_t page, __u64 *data)
{
	ssize_t ret = pread(files[file].fd, data, PAGE, page * PAGE);

	if (ret < 0)
		return -errno;
	/* past the end of the file */
	memset((char *)data + ret, 0, PAGE - ret);
	return 0;
}

static unsigned char *addr_of(int file, size_t page)
{
	return files[file].mem + page * PAGE;
}

/*
 * Workers
 */

struct device {
	struct entry *entry;
	enum kind kind;
	__u64	base;		/* IOVA of the first window */
	struct mdma mdma;
	struct space space;
	struct vdev vdev;
#ifdef WITH_KVM
	struct vmm vm;
#endif
};

struct worker {
	int	slot;
	__u64	random;
	int	fail;		/* /proc/self/make-it-fail, if this one is to suffer */
	unsigned int opens;
	struct device devices[DEVICES];
};

/*
 * Allocations of some workers fail now and then. Those are not killed: what they leave
 * to be undone at their exit would suffer as well, and a group that is given back while
 * there is no memory for its own domain is a WARNING of drivers/iommu/iommu.c.
 */
static bool suffers(int slot)
{
	return slot % 3 == 1;
}

static void suffer(struct worker *w, bool suffer)
{
	if (w->fail >= 0 && pwrite(w->fail, suffer ? "1" : "0", 1, 0) != 1)
		WRONG("make-it-fail: %m");
}

/* A call's result. Calls that fail are counted; others of who may not fail are wrong. */
static bool failed(struct worker *w, int ret, const char *what)
{
	if (!ret)
		return false;
	if (w->fail >= 0 && ret == -ENOMEM)
		model->counts[FAILED_CALLS]++;
	else
		WRONG("%s: %s", what, strerror(-ret));
	return true;
}

/*
 * Devices
 */

static __u64 iova_of_window(struct device *d, int i)
{
	/* one of them has its pages at other places modulo 2 MiB */
	return d->base + i * 2 * file_size * PAGE + (i == 1 ? PAGE : 0);
}

static __u64 iova_of_page(struct window *win, size_t page)
{
	return win->iova + (page - win->first) * PAGE;
}

static int open_mdma(struct worker *w, struct device *d)
{
	char uuid[37];
	int ret;

	/* in the model first, so that it is found if we are killed */
	snprintf(uuid, sizeof(uuid), MDMA_UUID "%04x-4000-8000-%012x", w->slot,
		 w->opens ^ (unsigned int)(w->random & 0xffffff00));
	memcpy(d->entry->uuid, uuid, sizeof(uuid));
	ret = mdma_create_uuid(&d->mdma, uuid);
	if (!ret)
		ret = pick(&w->random, 2) ? mdma_open_group(&d->mdma) :
					    mdma_open_cdev(&d->mdma);
	d->base = d->mdma.info.iova_start;
	return ret;
}

static int open_vfio(struct worker *w, struct device *d)
{
	int ret;

	d->base = BASE;
	if (d->kind == SOFT) {
		d->vdev = (struct vdev)VDEV_SOFT(DEVICE_DMA);
	} else {
		d->vdev = (struct vdev)VDEV_INIT;
		ret = pci_find(NVME_ALIAS, d->vdev.address, sizeof(d->vdev.address));
		if (ret)
			return ret;
	}
	ret = space_open(&d->space, pick(&w->random, 3));
	return ret ? ret : vdev_open(&d->space, &d->vdev);
}

#ifdef WITH_KVM
/* Of a guest's shared memory, which nobody ever looks at */
static void *addr_of_shared(size_t page)
{
	static __u32 *shared;

	if (!shared)
		shared = alloc_shared(MAX_PAGES);
	return shared + page * PAGE_WORDS;
}

static int open_vm(struct device *d)
{
	int ret;

	d->base = GPA;
	ret = memfd_vm_create(&d->vm, 1);
	return ret ? ret : vmm_set_private(&d->vm, GPA, WINDOWS * 2 * file_size * PAGE,
					   true);
}
#endif

/* May an open fail with that? Others have it, or its driver is leaving. */
static bool is_refusal(struct device *d, int ret)
{
	switch (-ret) {
	case EBUSY:
	case ENODEV:
	case ENOENT:
		return true;
	case EUSERS:
		return d->kind == MDMA;
	case EAGAIN:
		/* who takes its driver away has it locked */
		return d->kind == NVME;
	case EINVAL:
		/* how a character device says that another one is open */
		return d->vdev.fd >= 0 && d->space.way == IOMMUFD;
	}
	return false;
}

static void close_device(struct device *d)
{
	int i;

	for (i = 0; i < WINDOWS; i++)
		d->entry->windows[i].mapped = false;
	mdma_close(&d->mdma);
	if (d->entry->uuid[0])
		mdma_remove_uuid(d->entry->uuid);
	d->entry->uuid[0] = '\0';
	vdev_close(&d->vdev);
	close_fd(&d->space.fd);
#ifdef WITH_KVM
	vmm_destroy(&d->vm);
#endif
	d->kind = NOTHING;
	d->entry->kind = NOTHING;
}

static void open_device(struct worker *w, struct device *d)
{
	int ret;

	/* whatever the choices, each kind is somebody's first */
	d->kind = MDMA + (w->opens++ ? pick(&w->random, LAST_KIND) : w->slot % LAST_KIND);
	if (model->wanted[d->kind])
		ret = -EBUSY;
	else if (d->kind == MDMA)
		ret = open_mdma(w, d);
#ifdef WITH_KVM
	else if (d->kind == VM)
		ret = open_vm(d);
#endif
	else
		ret = open_vfio(w, d);
	if (ret) {
		if (!is_refusal(d, ret))
			WRONG("open %s: %s", kind_names[d->kind], strerror(-ret));
		close_device(d);
		model->counts[REFUSED]++;
		return;
	}
	d->entry->kind = d->kind;
	model->opened[d->kind]++;
	model->counts[OPENS]++;
}

static int map(struct device *d, int i, struct window *win)
{
	__u64 offset = win->first * PAGE, size = win->pages * PAGE;
	int fd = files[win->file].fd;

	win->iova = iova_of_window(d, i);
	if (d->kind == MDMA)
		return mdma_map(&d->mdma, fd, offset, win->iova, size, MDMA_RW);
#ifdef WITH_KVM
	if (d->kind == VM)
		return vmm_set_slot(&d->vm, 1 + i,
				    KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_KEEP_HOLES,
				    win->iova, size, addr_of_shared(win->first), fd, offset);
#endif
	return space_map(&d->space, fd, offset, win->iova, size, DMA_RW);
}

static int unmap(struct device *d, int i, struct window *win)
{
	__s64 size = win->pages * PAGE, ret;

#ifdef WITH_KVM
	if (d->kind == VM)
		return vmm_delete_slot(&d->vm, 1 + i);
#endif
	ret = d->kind == MDMA ? mdma_unmap(&d->mdma, win->iova, size) :
				space_unmap(&d->space, win->iova, size);
	return ret == size ? 0 : ret < 0 ? ret : -EPROTO;
}

#ifdef WITH_KVM
/* Have the guest move two words from or to its low memory. */
static int guest_access(struct device *d, __u64 gpa, __u64 *value, bool write)
{
	struct vmm_vcpu *vcpu = &d->vm.vcpu[0];
	__u64 *low = (__u64 *)(d->vm.low + LOW_PAGE(0));
	__s64 ret;

	if (write) {
		*low = *value;
		ret = vmm_copy(vcpu, gpa, LOW_PAGE(0), 2);
	} else {
		ret = vmm_copy(vcpu, LOW_PAGE(0), gpa, 2);
		*value = *low;
	}
	if (is_hole_exit(vcpu, ret, gpa & ~(PAGE - 1)))
		return -EFAULT;
	return ret == -EFAULT ? -EPROTO : ret;
}
#endif

/* Can the device look at a page? NVMe controllers only do what they are asked to. */
static bool can_look(struct device *d)
{
	return d->kind != NOTHING && d->kind != NVME;
}

/*
 * Have the device read a cell. -EFAULT if it is blocked. An mdma instance just
 * says whether it would be: copies take long. *@read says whether there is a value.
 */
static int device_read(struct device *d, __u64 iova, __u64 *value, bool *read)
{
	struct vfio_mdma_query q;
	int ret;

	*read = d->kind != MDMA;
	if (d->kind == SOFT)
		return soft_read(&d->vdev, iova, value, sizeof(*value));
#ifdef WITH_KVM
	if (d->kind == VM)
		return guest_access(d, iova, value, false);
#endif
	ret = mdma_query(&d->mdma, iova & ~(PAGE - 1), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
	if (ret == -ENOENT || (!ret && q.iova > iova))
		ret = -EFAULT;
	return ret;
}

/* Each byte is that of the cell, whoever wrote it, or zero: it may be half written. */
static bool may_be_in(__u64 value, int file, size_t page, size_t i)
{
	__u64 want = cell(file, page, NUMBER_MASK, i);
	int shift;

	for (shift = 32; shift < 64; shift += 8)
		if ((value >> shift & 0xff) && (value >> shift & 0xff) != (want >> shift & 0xff))
			return false;
	return true;
}

/* Look at a page through a device: is it what the model says? */
static void look(struct device *d, struct window *win, size_t page, size_t i)
{
	__u64 before = model->pages[win->file][page], after, value = 0;
	__u64 iova = iova_of_page(win, page) + i * sizeof(value);
	bool read, present = is_present(before);
	int ret;

	ret = device_read(d, iova, &value, &read);
	after = model->pages[win->file][page];
	model->counts[LOOKS]++;
	if (ret && ret != -EFAULT) {
		WRONG("%s: page %zu of file %d: %s", kind_names[d->kind], page, win->file,
		      strerror(-ret));
	} else if (before != after || before & CHANGING) {
		if (!ret && read && !may_be_in(value, win->file, page, i))
			WRONG("%s reads %016llx in page %zu of file %d",
			      kind_names[d->kind], value, page, win->file);
	} else {
		model->counts[EXACT]++;
		model->counts[BLOCKED] += !present;
		if (!ret != present)
			WRONG("%s %s page %zu of file %d, which is %s",
			      kind_names[d->kind], ret ? "is blocked from" : "reaches",
			      page, win->file, present ? "there" : "a hole");
		else if (!ret && read &&
			 value != cell(win->file, page, content_of(before), i))
			WRONG("%s reads %016llx in page %zu of file %d, change %llu",
			      kind_names[d->kind], value, page, win->file,
			      content_of(before));
	}
}

/*
 * After a change of these pages, through all that we have ourselves: at some of them,
 * though guests take their time
 */
static void look_around(struct worker *w, int file, size_t first, size_t pages)
{
	struct device *d;
	struct window *win;
	size_t page, step;
	int i;

	for (d = w->devices; d < w->devices + DEVICES; d++) {
		if (!can_look(d))
			continue;
		step = 1 + pages / (d->kind == VM ? 2 : 32);
		for (i = 0; i < WINDOWS; i++) {
			win = &d->entry->windows[i];
			if (!win->mapped || win->file != file)
				continue;
			page = first + pick(&w->random, step);
			for (; page < first + pages; page += step)
				if (page - win->first < win->pages)
					look(d, win, page, SOURCE);
		}
	}
}

static struct window *some_window(struct worker *w, struct device *d)
{
	struct window *win = &d->entry->windows[pick(&w->random, WINDOWS)];

	return win->mapped ? win : NULL;
}

static size_t some_page(struct worker *w, struct window *win)
{
	size_t page = model->recent[win->file];

	if (pick(&w->random, 2) && page >= win->first && page < win->first + win->pages)
		return page;
	return win->first + pick(&w->random, win->pages);
}

/* What has landed is still there, if nobody changed the page. */
static void has_landed(struct worker *w, struct window *win, size_t page, __u64 before,
		       __u64 value)
{
	__u64 data[CELLS];

	if (peek(win->file, page, data)) {
		WRONG("pread: %m");
		return;
	}
	if (before == model->pages[win->file][page] && data[LANDING(w->slot)] != value)
		WRONG("a device has written %016llx to page %zu of file %d, there is %016llx",
		      value, page, win->file, data[LANDING(w->slot)]);
}

/* Write to anybody's page, to our own cell of it. */
static void device_write(struct worker *w, struct device *d, struct window *win)
{
	size_t page = some_page(w, win);
	__u64 before = model->pages[win->file][page];
	__u64 iova = iova_of_page(win, page) + LANDING(w->slot) * sizeof(__u64);
	__u64 value = cell(win->file, page, 1 + pick(&w->random, 1000000), SOURCE);
	int ret;

#ifdef WITH_KVM
	if (d->kind == VM)
		ret = guest_access(d, iova, &value, true);
	else
#endif
		ret = soft_write(&d->vdev, iova, &value, sizeof(value));
	if (ret && ret != -EFAULT)
		WRONG("%s writes: %s", kind_names[d->kind], strerror(-ret));
	if (before & CHANGING || before != model->pages[win->file][page])
		return;
	if (!ret != is_present(before))
		WRONG("%s %s page %zu of file %d, which is %s", kind_names[d->kind],
		      ret ? "cannot write to" : "writes to", page, win->file,
		      is_present(before) ? "there" : "a hole");
	else if (!ret)
		has_landed(w, win, page, before, value);
	model->counts[WRITES]++;
}

/* By the engine, which takes its time. */
static void device_copy(struct worker *w, struct device *d, struct window *win)
{
	size_t from = some_page(w, win), to = win->first + pick(&w->random, win->pages);
	__u64 before_from = model->pages[win->file][from];
	__u64 before_to = model->pages[win->file][to];
	bool possible = is_present(before_from) && is_present(before_to), done;
	int ret;

	ret = mdma_copy(&d->mdma, iova_of_page(win, from) + SOURCE * sizeof(__u64),
			iova_of_page(win, to) + LANDING(w->slot) * sizeof(__u64),
			sizeof(__u64));
	if (ret != VFIO_MDMA_STATUS_DONE && ret != VFIO_MDMA_STATUS_FAULT)
		WRONG("copy: %d", ret);
	if ((before_from | before_to) & CHANGING ||
	    before_from != model->pages[win->file][from] ||
	    before_to != model->pages[win->file][to])
		return;
	done = ret == VFIO_MDMA_STATUS_DONE;
	if (done != possible)
		WRONG("copy from page %zu of file %d, %s, to %zu, %s: %d", from, win->file,
		      is_present(before_from) ? "there" : "a hole", to,
		      is_present(before_to) ? "there" : "a hole", ret);
	else if (done)
		has_landed(w, win, to, before_to,
			   cell(win->file, from, content_of(before_from), SOURCE));
	model->counts[WRITES]++;
}

static void use_device(struct worker *w, struct device *d)
{
	struct window *win = some_window(w, d);
	int i;

	if (!win || !can_look(d))
		return;
	for (i = 0; i < 16; i++)
		look(d, win, some_page(w, win), SOURCE);
	if (d->kind != MDMA)
		device_write(w, d, win);
	else if (!pick(&w->random, 32))
		device_copy(w, d, win);
}

static void change_window(struct worker *w, struct device *d)
{
	int i = pick(&w->random, WINDOWS), ret;
	struct window *win = &d->entry->windows[i];

	if (win->mapped) {
		win->mapped = false;
		ret = unmap(d, i, win);
		if (ret)
			WRONG("unmap from %s: %s", kind_names[d->kind], strerror(-ret));
		model->counts[UNMAPS]++;
		return;
	}
	win->file = pick(&w->random, FILES);
	win->first = pick(&w->random, file_size);
	/* at a huge page's place, or not */
	if (huge && pick(&w->random, 2))
		win->first &= ~(HUGE_PAGES - 1);
	win->pages = 1 + pick(&w->random, file_size - win->first);
	suffer(w, true);
	ret = map(d, i, win);
	suffer(w, false);
	/* no memslot may reach past the end of the file, which moves */
	if (d->kind == VM && ret == -EINVAL &&
	    win->first + win->pages > (WORKERS - 1) * region_pages)
		return;
	if (failed(w, ret, "map"))
		return;
	win->mapped = true;
	model->counts[MAPS]++;
}

static void device_act(struct worker *w)
{
	struct device *d = &w->devices[pick(&w->random, DEVICES)];

	if (d->kind == NOTHING)
		open_device(w, d);
	else if (!pick(&w->random, 24))
		close_device(d);
	else if (!pick(&w->random, 4))
		change_window(w, d);
	else
		use_device(w, d);
}

/*
 * Files
 */

enum outcome {
	GONE,		/* there is nothing, or zeros */
	BROUGHT,	/* what was missing is there, with zeros */
	WRITTEN,
};

/* Which pages does the file have that have been touched, in core or in swap? */
static void observe(int file, size_t first, size_t pages, bool *present)
{
	off_t at = first * PAGE, end = (first + pages) * PAGE, hole;

	memset(present, 0, pages * sizeof(*present));
	while (at < end) {
		at = lseek(files[file].fd, at, SEEK_DATA);
		if (at < 0 || at >= end)
			break;
		hole = lseek(files[file].fd, at, SEEK_HOLE);
		for (; at < hole && at < end; at += PAGE)
			present[at / PAGE - first] = true;
	}
}

/* What happens to a huge page happens to all of a region. */
static void widen(size_t *first, size_t *pages)
{
	if (!huge)
		return;
	*first -= *first % region_pages;
	*pages = region_pages;
}

static void begin_changes(int file, size_t first, size_t pages)
{
	widen(&first, &pages);
	begin_change(file, first, pages);
}

/*
 * With huge pages, more may have come, and what should be gone may still be there,
 * but zero. What has come is touched, so that it can be observed.
 */
static void end_changes(int file, size_t first, size_t pages, enum outcome outcome)
{
	bool present[MAX_REGION], inside;
	size_t from = first, count = pages, i;
	__u64 old, content;

	widen(&from, &count);
	for (i = first; huge && outcome != GONE && i < first + pages; i++)
		(void)*(volatile unsigned char *)addr_of(file, i);
	if (huge)
		observe(file, from, count, present);
	else
		memset(present, outcome != GONE, sizeof(present));
	for (i = from; i < from + count; i++) {
		inside = i >= first && i < first + pages;
		old = model->pages[file][i];
		content = is_present(old) ? content_of(old) : 0;
		if (inside && outcome != BROUGHT)
			content = outcome == WRITTEN ? next_change(old) : 0;
		end_change(file, i, present[i - from], present[i - from] ? content : 0);
	}
	model->recent[file] = first + pages / 2;
}

/* By whichever way, all of it; 0 or -errno. */
static int take_away(__u64 *random, int file, size_t first, size_t pages)
{
	if (pick(random, 2))
		return punch(files[file].fd, first, pages);
	return madvise(addr_of(file, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

/* Whatever has become of these pages: have none of them. */
static void give_up(int file, size_t first, size_t pages)
{
	if (punch(files[file].fd, first, pages))
		WRONG("punch: %m");
	end_changes(file, first, pages, GONE);
}

/* To read them is one way, but reclaim may take those back that nobody wrote to. */
static int fault_in(int file, size_t first, size_t pages)
{
	return madvise(addr_of(file, first), pages * PAGE, MADV_POPULATE_READ) ||
	       madvise(addr_of(file, first), pages * PAGE, MADV_POPULATE_WRITE) ?
	       -errno : 0;
}

static void bring_pages(struct worker *w, int file, size_t first, size_t pages)
{
	int ret;

	begin_changes(file, first, pages);
	suffer(w, true);
	ret = pick(&w->random, 2) ? grow(files[file].fd, first, pages) :
				    fault_in(file, first, pages);
	suffer(w, false);
	if (failed(w, ret, "bring pages"))
		give_up(file, first, pages);
	else
		end_changes(file, first, pages, BROUGHT);
	model->counts[FILLS]++;
}

static int write_page(struct worker *w, int file, size_t page, const __u64 *data)
{
	__u64 *to = (__u64 *)addr_of(file, page);
	ssize_t ret;
	size_t i;

	if (pick(&w->random, 2)) {
		ret = pwrite(files[file].fd, data, PAGE, page * PAGE);
		return ret == (ssize_t)PAGE ? 0 : ret < 0 ? -errno : -EIO;
	}
	for (i = 0; i < CELLS; i++)
		((volatile __u64 *)to)[i] = data[i];
	return 0;
}

static void write_pages(struct worker *w, int file, size_t first, size_t pages)
{
	__u64 data[CELLS];
	int ret = 0;
	size_t i;

	if (pages > 16)
		pages = 16;
	begin_changes(file, first, pages);
	suffer(w, true);
	for (i = first; i < first + pages && !ret; i++) {
		make_page(data, file, i, next_change(model->pages[file][i]));
		ret = write_page(w, file, i, data);
	}
	suffer(w, false);
	if (failed(w, ret, "write"))
		give_up(file, first, pages);
	else
		end_changes(file, first, pages, WRITTEN);
	model->counts[STAMPS]++;
}

static void make_hole(struct worker *w, int file, size_t first, size_t pages)
{
	int ret;

	begin_changes(file, first, pages);
	suffer(w, true);
	ret = take_away(&w->random, file, first, pages);
	suffer(w, false);
	if (ret)
		WRONG("punch: %s", strerror(-ret));
	end_changes(file, first, pages, GONE);
	model->counts[HOLES]++;
}

/* The last region is at the end of the file. */
static void cut_file(struct worker *w, int file, size_t first)
{
	begin_changes(file, first, file_size - first);
	if (ftruncate(files[file].fd, first * PAGE) ||
	    ftruncate(files[file].fd, file_size * PAGE))
		WRONG("ftruncate: %m");
	end_changes(file, first, file_size - first, GONE);
	model->counts[TRUNCATIONS]++;
}

/* All of a region; whoever follows the file keeps it from that. */
static void collapse(struct worker *w, int file, size_t first)
{
	begin_changes(file, first, region_pages);
	suffer(w, true);
	if (!madvise(addr_of(file, first), region_pages * PAGE, MADV_COLLAPSE))
		model->counts[COLLAPSES]++;
	suffer(w, false);
	/* none of these pages was asked for: what has come can be observed */
	end_changes(file, first, 0, BROUGHT);
}

static void file_act(struct worker *w)
{
	size_t first = pick(&w->random, region_pages), pages, region;
	int file = pick(&w->random, FILES), what = pick(&w->random, 100);

	pages = 1 + pick(&w->random, region_pages - first);
	if (!pick(&w->random, 4)) {
		first = 0;
		pages = region_pages;
	}
	/* else too rare on a slow machine */
	if (w->slot == WORKERS - 1 && !model->counts[TRUNCATIONS] && !pick(&w->random, 8))
		what = 99;
	region = w->slot * region_pages;
	first += region;
	if (what < 25) {
		bring_pages(w, file, first, pages);
	} else if (what < 50) {
		write_pages(w, file, first, pages);
	} else if (what < 85) {
		make_hole(w, file, first, pages);
	} else if (what < 95) {
		madvise(addr_of(file, region), region_pages * PAGE, MADV_PAGEOUT);
		model->counts[PAGEOUTS]++;
	} else if (huge && what < 98) {
		collapse(w, file, region);
	} else if (w->slot == WORKERS - 1) {
		pages = file_size - first;
		cut_file(w, file, first);
	}
	look_around(w, file, first, pages);
}

/* All pages of all windows, with everything standing still */
static void look_at_all(struct worker *w)
{
	struct window *win;
	struct device *d;
	size_t page, step;
	int i;

	for (d = w->devices; d < w->devices + DEVICES; d++) {
		if (!can_look(d))
			continue;
		for (i = 0; i < WINDOWS; i++) {
			win = &d->entry->windows[i];
			if (!win->mapped)
				continue;
			/* guests take their time */
			step = d->kind == VM ? 1 + win->pages / 64 : 1;
			for (page = win->first; page < win->first + win->pages; page += step)
				look(d, win, page, pick(&w->random, CELLS / 2));
		}
	}
}

static void give_back_wanted(struct worker *w)
{
	int i;

	for (i = 0; i < DEVICES; i++)
		if (w->devices[i].kind && model->wanted[w->devices[i].kind])
			close_device(&w->devices[i]);
}

enum command { RUN = 'r', CHECK = 'c', QUIT = 'q' };

static void __attribute__((noreturn)) work(int slot, unsigned int life, int commands,
					   int answers)
{
	struct worker w = {
		.slot = slot,
		.random = (seed + 1) * 0x9e3779b97f4a7c15ULL + slot + 100 * life + 1,
		.fail = -1,
	};
	char what;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (suffers(slot))
		w.fail = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
	for (i = 0; i < DEVICES; i++) {
		w.devices[i].mdma = (struct mdma)MDMA_INIT;
		w.devices[i].vdev = (struct vdev)VDEV_INIT;
		w.devices[i].space.fd = -1;
#ifdef WITH_KVM
		w.devices[i].vm = (struct vmm)VMM_INIT;
#endif
		w.devices[i].entry = &model->entries[slot][i];
	}
	while (read(commands, &what, 1) == 1 && what != QUIT) {
		while (what == RUN && now() < model->round_end && !model->wrong) {
			give_back_wanted(&w);
			if (pick(&w.random, 2))
				file_act(&w);
			else
				device_act(&w);
		}
		give_back_wanted(&w);
		if (what == CHECK)
			look_at_all(&w);
		if (write(answers, &what, 1) != 1)
			break;
	}
	for (i = 0; i < DEVICES; i++)
		close_device(&w.devices[i]);
	if (pinned_by(getpid()))
		WRONG("%ld pages are pinned for a worker at its end", pinned_by(getpid()));
	exit(0);
}

/*
 * The supervisor
 */

struct supervisor {
	struct test_env env;		/* just for what it has changed in the system */
	__u64	random;
	unsigned int deck;	/* bits for what draw() has not drawn yet */
	char	unsafe;
	bool	shows_tables;	/* the IOMMU does, as VT-d */
	char	nvme[32], edu[32], khugepaged_sleep[16];
	pid_t	helper;		/* takes a driver away, and brings it back */
	int	helper_kind;
	struct life {
		pid_t	pid;
		unsigned int number;
		int	commands, answers;
		bool	busy;	/* owes an answer */
	} lives[WORKERS];
};

static void command(struct supervisor *s, int slot, char what)
{
	struct life *l = &s->lives[slot];

	if (write(l->commands, &what, 1) != 1)
		WRONG("worker %d is not there: %m", slot);
	l->busy = true;
}

static int start_worker(struct supervisor *s, int slot)
{
	struct life *l = &s->lives[slot];
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -errno;
	fflush(stdout);
	l->number++;
	l->pid = fork();
	if (l->pid < 0)
		return -errno;
	if (!l->pid) {
		close(down[1]);
		close(up[0]);
		work(slot, l->number, down[0], up[1]);
	}
	close(down[0]);
	/* nobody else has it then: when the worker dies, that can be read */
	close(up[1]);
	l->commands = down[1];
	l->answers = up[0];
	l->busy = false;
	return 0;
}

static void show_stack(pid_t pid)
{
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		note("%.*s", (int)strcspn(line, "\n"), line);
	if (file)
		fclose(file);
}

/* Wait for a process that has nothing more to do; its status, or -1. */
static int reap(pid_t pid, const char *what)
{
	__u64 end = now() + PATIENCE * 1000000ULL;
	int status;
	pid_t ret;

	while (!(ret = waitpid(pid, &status, WNOHANG)) && now() < end)
		usleep(1000);
	if (ret == pid)
		return status;
	WRONG("%s does not come to its end", what);
	show_stack(pid);
	return -1;
}

/* Each cell of a page is what it was, what it was to become, or zero. */
static void check_torn_page(int file, size_t page)
{
	__u64 old = model->pages[file][page], data[CELLS];
	size_t i;
	int ret;

	ret = peek(file, page, data);
	if (ret)
		WRONG("pread: %s", strerror(-ret));
	for (i = 0; i < CELLS && !ret; i++) {
		if (is_landing(i) ? may_have_landed(data[i]) :
		    !data[i] || data[i] == cell(file, page, content_of(old), i) ||
		    data[i] == cell(file, page, next_change(old), i))
			continue;
		WRONG("%016llx in page %zu of file %d, at whose change %llu its writer died",
		      data[i], page, file, next_change(old));
		ret = 1;
	}
}

/* Of a file, what a worker was changing when it died: nobody knows how far it came. */
static void clean_up_file(int slot, int file)
{
	size_t first = slot * region_pages, end = first + region_pages, page;

	/* it is one range */
	while (first < end && !(model->pages[file][first] & CHANGING))
		first++;
	while (first < end && !(model->pages[file][end - 1] & CHANGING))
		end--;
	if (first == end)
		return;
	model->counts[IN_THE_ACT]++;
	if (slot == WORKERS - 1 && ftruncate(files[file].fd, file_size * PAGE))
		WRONG("ftruncate: %m");
	for (page = first; page < end; page++)
		check_torn_page(file, page);
	give_up(file, first, end - first);
}

static void clean_up_after(int slot)
{
	struct entry *e;
	int i;

	for (e = model->entries[slot]; e < model->entries[slot] + DEVICES; e++) {
		for (i = 0; i < WINDOWS; i++)
			e->windows[i].mapped = false;
		e->kind = NOTHING;
		if (e->uuid[0])
			mdma_remove_uuid(e->uuid);
		e->uuid[0] = '\0';
	}
	for (i = 0; i < FILES; i++)
		clean_up_file(slot, i);
}

static void kill_worker(struct supervisor *s)
{
	int slot = pick(&s->random, WORKERS);
	struct life *l;

	if (suffers(slot))
		slot++;
	l = &s->lives[slot];
	kill(l->pid, SIGKILL);
	if (reap(l->pid, "a worker that was killed") < 0)
		return;
	close(l->commands);
	close(l->answers);
	clean_up_after(slot);
	model->counts[KILLS]++;
	if (start_worker(s, slot))
		WRONG("fork: %m");
	else
		command(s, slot, RUN);
}

/* Until all have answered what they were told last. */
static void collect(struct supervisor *s)
{
	struct pollfd ready = { .events = POLLIN };
	char what;
	int i;

	for (i = 0; i < WORKERS; i++) {
		if (!s->lives[i].busy)
			continue;
		ready.fd = s->lives[i].answers;
		if (poll(&ready, 1, PATIENCE * 1000) != 1) {
			WRONG("worker %d does not answer", i);
			show_stack(s->lives[i].pid);
		} else if (read(ready.fd, &what, 1) != 1) {
			WRONG("worker %d has died", i);
		}
		s->lives[i].busy = false;
	}
}

static void command_all(struct supervisor *s, char what)
{
	int i;

	for (i = 0; i < WORKERS; i++)
		command(s, i, what);
}

/*
 * What happens to the system
 */

static int rebind(const char *driver, const char *address, bool reload)
{
	char path[64];
	int ret;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/unbind", driver);
	ret = write_file(path, address);
	if (ret)
		return ret;
	if (reload) {
		if (syscall(__NR_delete_module, driver, O_NONBLOCK))
			return -errno;
		model->counts[RMMODS]++;
		return system("modprobe mdma") ? -ENODEV : 0;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return write_file(path, address);
}

/* It waits in the kernel until nobody has the device open. */
static void take_driver_away(struct supervisor *s)
{
	bool reload = pick(&s->random, 2) || !model->counts[RMMODS];
	int ret;

	s->helper_kind = !model->counts[RMMODS] || pick(&s->random, 2) ? MDMA : NVME;
	fflush(stdout);
	s->helper = fork();
	if (s->helper)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pick(&s->random, 2))
		model->wanted[s->helper_kind] = true;
	ret = s->helper_kind == MDMA ? rebind("mdma", s->edu, reload) :
				       rebind("vfio-pci", s->nvme, false);
	if (ret)
		note("%s: %s", kind_names[s->helper_kind], strerror(-ret));
	exit(!!ret);
}

static void reap_helper(struct supervisor *s)
{
	if (!s->helper)
		return;
	if (reap(s->helper, "who takes a driver away"))
		WRONG("%s could not be given another driver", kind_names[s->helper_kind]);
	model->wanted[s->helper_kind] = false;
	s->helper = 0;
	model->counts[REBINDS]++;
}

/* Of eight things any, but none again before all have been: a slow machine sees few. */
static int draw(struct supervisor *s)
{
	int nr;

	if (!s->deck)
		s->deck = 0xff;
	do {
		nr = pick(&s->random, 8);
	} while (!(s->deck & 1 << nr));
	s->deck &= ~(1 << nr);
	return nr;
}

static void disturb(struct supervisor *s)
{
	switch (draw(s)) {
	case 0:
	case 1:
		kill_worker(s);
		break;
	case 3:
		write_file("/proc/sys/vm/compact_memory", "1");
		break;
	case 4:
		write_file("/proc/sys/vm/drop_caches", "3");
		break;
	case 5:
		if (!s->helper)
			take_driver_away(s);
		break;
	case 7:
		/* as much as this is never there */
		write_file(CGROUP "/memory.reclaim", "64M");
		model->counts[RECLAIMS]++;
		break;
	case 6:
		if (!s->env.swap)
			break;
		if (swapoff("/dev/ram0") || swapon("/dev/ram0", 0))
			WRONG("swapoff, swapon: %m");
		model->counts[SWAPOFFS]++;
		break;
	default:
		break;
	}
}

/*
 * With all standing still
 */

static void check_bytes(int file, size_t page)
{
	__u64 state = model->pages[file][page], data[CELLS];
	size_t i;
	int ret;

	ret = peek(file, page, data);
	if (ret)
		WRONG("pread: %s", strerror(-ret));
	for (i = 0; i < CELLS && !ret; i++) {
		if (is_landing(i) ? may_have_landed(data[i]) :
				    data[i] == cell(file, page, content_of(state), i))
			continue;
		WRONG("page %zu of file %d has %016llx at %zu, change %llu", page, file,
		      data[i], i, content_of(state));
		ret = 1;
	}
}

static void check_files(void)
{
	size_t page, there;
	int file;

	for (file = 0; file < FILES; file++) {
		for (page = 0, there = 0; page < file_size; page++) {
			if (model->pages[file][page] & CHANGING)
				WRONG("page %zu of file %d is changing", page, file);
			there += is_present(model->pages[file][page]);
			check_bytes(file, page);
		}
		if (allocated(files[file].fd) != there)
			WRONG("file %d has %zu pages rather than %zu", file,
			      allocated(files[file].fd), there);
	}
}

static size_t present_pages(struct window *win)
{
	size_t i, sum = 0;

	for (i = win->first; i < win->first + win->pages; i++)
		sum += is_present(model->pages[win->file][i]);
	return sum;
}

/* As many consumers as windows, and as much pinned memory as pages in them. */
static void check_counts(struct supervisor *s)
{
	int consumers[FILES] = { }, slot, i, j;
	struct window *win;
	struct entry *e;
	long pages;

	for (slot = 0; slot < WORKERS; slot++) {
		for (pages = 0, i = 0; i < DEVICES; i++) {
			e = &model->entries[slot][i];
			for (j = 0; j < WINDOWS; j++) {
				win = &e->windows[j];
				if (!win->mapped)
					continue;
				consumers[win->file]++;
				if (e->kind != VM)
					pages += present_pages(win);
			}
		}
		if (pinned_by(s->lives[slot].pid) != pages)
			WRONG("%ld pages are pinned for worker %d rather than %ld",
			      pinned_by(s->lives[slot].pid), slot, pages);
	}
	for (i = 0; i < FILES; i++)
		if (consumers_of(files[i].fd) != consumers[i])
			WRONG("file %d has %d consumers rather than %d", i,
			      consumers_of(files[i].fd), consumers[i]);
}

/* Of the window, how many pages does the table have? And are they the file's? */
static size_t check_window(struct iova_table *t, struct window *win,
			   __u64 (*frames)[MAX_PAGES])
{
	size_t page, sum = 0;
	__u64 want, pa;

	for (page = win->first; page < win->first + win->pages; page++) {
		pa = iova_table_lookup(t, iova_of_page(win, page));
		want = is_present(model->pages[win->file][page]) ?
		       frames[win->file][page] * PAGE : 0;
		if (pa != want)
			WRONG("iova %llx leads to %llx, page %zu of file %d is at %llx",
			      iova_of_page(win, page), pa, page, win->file, want);
		sum += !!pa;
	}
	return sum;
}

/* The IOMMU's table for a PCI device, by all that have windows in it */
static void check_table(struct supervisor *s, const char *address, enum kind kind,
			__u64 (*frames)[MAX_PAGES])
{
	size_t sum = 0, all = 0, i;
	struct iova_table t;
	struct entry *e;
	int slot, j;

	if (iova_table_of(address, &t)) {
		if (s->shows_tables)
			WRONG("%s: there is no table", kind_names[kind]);
		return;
	}
	for (slot = 0; slot < WORKERS; slot++) {
		for (e = model->entries[slot]; e < model->entries[slot] + DEVICES; e++)
			for (j = 0; e->kind == kind && j < WINDOWS; j++)
				if (e->windows[j].mapped)
					sum += check_window(&t, &e->windows[j], frames);
	}
	for (i = 0; i < t.nr; i++)
		all += t.entries[i].size / PAGE;
	if (all != sum)
		WRONG("%s: the table has %zu pages, %zu of them in windows", kind_names[kind],
		      all, sum);
	model->counts[TRANSLATIONS] += sum;
	iova_table_free(&t);
}

static void check_tables(struct supervisor *s)
{
	static __u64 frames[FILES][MAX_PAGES];
	size_t page;
	int file;

	for (file = 0; file < FILES; file++) {
		for (page = 0; page < file_size; page++)
			if (is_present(model->pages[file][page]))
				(void)*(volatile unsigned char *)addr_of(file, page);
		page_frames(files[file].mem, file_size, frames[file]);
	}
	check_table(s, s->edu, MDMA, frames);
	check_table(s, s->nvme, NVME, frames);
}

static void stand_still(struct supervisor *s)
{
	collect(s);
	/* nobody has the device any more, or will have it */
	if (s->helper) {
		model->wanted[s->helper_kind] = true;
		model->round_end = 0;
		command_all(s, RUN);
		collect(s);
		reap_helper(s);
	}
	if (model->wrong)
		return;
	command_all(s, CHECK);
	collect(s);
	check_files();
	check_counts(s);
	check_tables(s);
	model->counts[QUIET]++;
}

static void run_round(struct supervisor *s)
{
	model->round_end = now() + ROUND;
	command_all(s, RUN);
	usleep(pick(&s->random, ROUND / 2));
	kill_worker(s);
	do {
		usleep(pick(&s->random, 100000));
		disturb(s);
		if (s->helper && !model->wanted[s->helper_kind] && !pick(&s->random, 8))
			model->wanted[s->helper_kind] = true;
	} while (now() < model->round_end && !model->wrong);
	stand_still(s);
}

/*
 * The tests
 */

static long number(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

static int make_files(void)
{
	size_t size = file_size * PAGE;
	unsigned char *room;
	int i;

	for (i = 0; i < FILES; i++) {
		files[i].fd = memfd_create("torture", MFD_CLOEXEC);
		if (files[i].fd < 0 || ftruncate(files[i].fd, size))
			return -errno;
		room = mmap(NULL, size + HUGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (room == MAP_FAILED)
			return -errno;
		room = (unsigned char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
		files[i].mem = mmap(room, size, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, files[i].fd, 0);
		if (files[i].mem == MAP_FAILED)
			return -errno;
	}
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return model == MAP_FAILED ? -errno : 0;
}

static int find_devices(struct supervisor *s)
{
	char path[PATH_MAX];
	int ret;

	if (mdma_type(path, sizeof(path)))
		system("modprobe mdma");
	mdma_remove_stale();
	ret = pci_find(EDU_ALIAS, s->edu, sizeof(s->edu));
	if (!ret)
		ret = pci_find(NVME_ALIAS, s->nvme, sizeof(s->nvme));
	if (!ret)
		ret = pci_take(s->nvme);
	s->shows_tables = !access("/sys/kernel/debug/iommu/intel", F_OK);
	return ret ? ret : allow_unsafe_interrupts(&s->unsafe);
}

/*
 * How many of the machine's pages are of files in memory, or were and are held by
 * somebody after that? -1 if that cannot be told.
 */
static long pages_of_files(void)
{
	static __u64 flags[1 << 16];
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	long sum = 0;
	ssize_t len, i;

	if (fd < 0)
		return -1;
	/* what was freed last may wait in a list of its CPU */
	write_file("/proc/sys/vm/drop_caches", "1");
	/* the model is in memory that others share, too, and may be in swap */
	madvise(model, sizeof(*model), MADV_POPULATE_READ);
	while ((len = read(fd, flags, sizeof(flags))) > 0)
		for (i = 0; i < len / (ssize_t)sizeof(flags[0]); i++)
			sum += (flags[i] >> KPF_SWAPBACKED & 1) &&
			       !(flags[i] >> KPF_ANON & 1);
	close(fd);
	return sum;
}

/*
 * Have a file followed, and no more. The kernel then goes on looking for followers
 * for 10 s: it does not patch its code while the workers begin, see
 * env_keep_followed(). That one keeps a device, which here must not be.
 */
static int follow_once(void)
{
	struct mdma m = MDMA_INIT;
	int ret;

	ret = mdma_create(&m);
	if (!ret)
		ret = mdma_open_group(&m);
	if (!ret)
		ret = mdma_map(&m, files[0].fd, 0, m.info.iova_start, PAGE, MDMA_RW);
	mdma_close(&m);
	mdma_remove(&m);
	return ret;
}

/* Of those that are to suffer, one allocation of 50 fails. */
static void set_up_failures(void)
{
	fail_anything("0");
	some_fail("2");
}

static void no_more_failures(void)
{
	none_fails();
	fail_anything("1");
}

/* Is a test without that not much of a test? Allocations need not fail, or files collapse */
static bool must_happen(struct supervisor *s, enum count what)
{
	switch (what) {
	case COLLAPSES:
	case FAILED_CALLS:
		return false;
	case SWAPOFFS:
		return !huge;
	case TRANSLATIONS:
		return s->shows_tables;
	default:
		return true;
	}
}

static bool each_done(struct supervisor *s)
{
	int i;

	for (i = 0; i < NR_COUNTS; i++)
		if (!model->counts[i] && must_happen(s, i))
			return false;
	for (i = MDMA; i <= LAST_KIND; i++)
		if (!model->opened[i])
			return false;
	return true;
}

static void report(struct __test_metadata *_metadata, struct supervisor *s)
{
	char text[1024];
	int i, len = 0;

	for (i = 0; i < NR_COUNTS; i++) {
		if (i == SWAPOFFS && huge)
			continue;
		len += snprintf(text + len, sizeof(text) - len, "%s%ld %s", len ? ", " : "",
				(long)model->counts[i], count_names[i]);
	}
	for (i = MDMA; i <= LAST_KIND; i++)
		len += snprintf(text + len, sizeof(text) - len, ", %ld times %s",
				(long)model->opened[i], kind_names[i]);
	note("%s", text);
	EXPECT_EQ(0, model->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
	/* it was not the test itself that stood still */
	EXPECT_TRUE(each_done(s));
}

FIXTURE(torture_procs)
{
	struct supervisor s;
};

FIXTURE_VARIANT(torture_procs)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(torture_procs, small_pages) { .huge = false };
FIXTURE_VARIANT_ADD(torture_procs, huge_pages) { .huge = true };

FIXTURE_SETUP(torture_procs)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = number("MEMFD_OPS_SEED", ts.tv_nsec / 1000 ^ ts.tv_sec);
	note("seed %u: MEMFD_OPS_SEED=%u repeats it", seed, seed);
	self->s.random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	huge = variant->huge;
	region_pages = huge ? HUGE_PAGES : 64;
	file_size = WORKERS * region_pages;
	ASSERT_EQ(0, find_devices(&self->s));
	ASSERT_EQ(0, read_line(KHUGEPAGED_SLEEP, self->s.khugepaged_sleep,
			       sizeof(self->s.khugepaged_sleep)));
	/* it looks once more now, while there is nothing to be seen */
	ASSERT_EQ(0, write_file(KHUGEPAGED_SLEEP, "3600000"));
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, huge ? env_thp(&self->s.env, "force") : env_swap(&self->s.env));
	set_up_failures();
}

FIXTURE_TEARDOWN(torture_procs)
{
	struct supervisor *s = &self->s;

	no_more_failures();
	write_file(KHUGEPAGED_SLEEP, s->khugepaged_sleep);
	unsafe_interrupts_as_before(s->unsafe);
	if (s->env.thp[0])
		write_file(SHMEM_ENABLED, s->env.thp);
	if (s->env.swap)
		swapoff("/dev/ram0");
	pci_give_back(s->nvme);
	cgroup_leave();
}

TEST_F_TIMEOUT(torture_procs, all, 300)
{
	struct supervisor *s = &self->s;
	long before;
	__u64 begin, seconds;
	int i;

	ASSERT_EQ(0, make_files());
	before = pages_of_files();
	ASSERT_LE(0, before);
	ASSERT_EQ(0, follow_once());
	for (i = 0; i < WORKERS; i++)
		ASSERT_EQ(0, start_worker(s, i));
	begin = now();
	do {
		run_round(s);
		seconds = (now() - begin) / 1000000;
	} while ((seconds < number("MEMFD_OPS_SECONDS", 12) ||
		  (seconds < LONGEST && !each_done(s))) && !model->wrong);

	for (i = 0; i < WORKERS; i++)
		command(s, i, QUIT);
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, reap(s->lives[i].pid, "a worker that was told to quit"));
	for (i = 0; i < FILES; i++)
		EXPECT_EQ(0, consumers_of(files[i].fd));
	report(_metadata, s);
	for (i = 0; i < FILES; i++) {
		munmap(files[i].mem, file_size * PAGE);
		close(files[i].fd);
	}
	/* swap keeps pages that the files forgot while others read or wrote them */
	if (s->env.swap)
		ASSERT_EQ(0, swapoff("/dev/ram0"));
	/* all of it has been given back */
	EXPECT_EQ(before, pages_of_files());
}

TEST_HARNESS_MAIN
