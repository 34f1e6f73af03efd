// SPDX-License-Identifier: GPL-2.0
/* What a worker does with devices. */
#include "torture_procs.h"

static __u64 iova_of_window(struct device *d, int i)
{
	/* one of them has its pages at other places modulo 2 MiB */
	return d->base + i * 2 * file_size * PAGE + (i == 1 ? PAGE : 0);
}

__u64 iova_of_page(struct window *win, size_t page)
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
		/* the process that unbinds its driver has it locked */
		return d->kind == NVME;
	case EINVAL:
		/* the error of a character device while another one is open */
		return d->vdev.fd >= 0 && d->space.way == IOMMUFD;
	}
	return false;
}

void close_device(struct device *d)
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
	guest_close(d);
	d->kind = NOTHING;
	d->entry->kind = NOTHING;
}

static void open_device(struct worker *w, struct device *d)
{
	int ret;

	/* whatever the choices, each kind is the first one of some worker */
	d->kind = MDMA + (w->opens++ ? (int)pick(&w->random, LAST_KIND) :
				       w->slot % LAST_KIND);
	if (model->wanted[d->kind])
		ret = -EBUSY;
	else if (d->kind == MDMA)
		ret = open_mdma(w, d);
	else if (d->kind == VM)
		ret = guest_open(d);
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
	if (d->kind == VM)
		return guest_map(d, i, win);
	return space_map(&d->space, fd, offset, win->iova, size, DMA_RW);
}

static int unmap(struct device *d, int i, struct window *win)
{
	__s64 size = win->pages * PAGE, ret;

	if (d->kind == VM)
		return guest_unmap(d, i);
	ret = d->kind == MDMA ? mdma_unmap(&d->mdma, win->iova, size) :
				space_unmap(&d->space, win->iova, size);
	return ret == size ? 0 : ret < 0 ? ret : -EPROTO;
}

/* Can the device look at a page? NVMe controllers only do what they are asked to. */
static bool can_look(struct device *d)
{
	return d->kind != NOTHING && d->kind != NVME;
}

/*
 * Have the device read a cell. -EFAULT if the IOMMU blocks it. An mdma instance just
 * queries its mappings, since copies take long; *@read is false then.
 */
static int device_read(struct device *d, __u64 iova, __u64 *value, bool *read)
{
	struct vfio_mdma_query q;
	int ret;

	*read = d->kind != MDMA;
	if (d->kind == SOFT)
		return soft_read(&d->vdev, iova, value, sizeof(*value));
	if (d->kind == VM)
		return guest_access(d, iova, value, false);
	ret = mdma_query(&d->mdma, iova & ~(PAGE - 1), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
	if (ret == -ENOENT || (!ret && q.iova > iova))
		ret = -EFAULT;
	return ret;
}

/* Each byte is that of the cell, of any change, or zero: it may be half written. */
static bool may_be_in(__u64 value, int file, size_t page, size_t i)
{
	__u64 want = cell(file, page, NUMBER_MASK, i);
	int shift;

	for (shift = 32; shift < 64; shift += 8)
		if ((value >> shift & 0xff) && (value >> shift & 0xff) != (want >> shift & 0xff))
			return false;
	return true;
}

/* Look at a page through a device: does it agree with the model? */
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
void look_around(struct worker *w, int file, size_t first, size_t pages)
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

/* The bytes that have landed are still there, if no worker changed the page. */
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

/* Write to any worker's page, to our own cell of it. */
static void device_write(struct worker *w, struct device *d, struct window *win)
{
	size_t page = some_page(w, win);
	__u64 before = model->pages[win->file][page];
	__u64 iova = iova_of_page(win, page) + LANDING(w->slot) * sizeof(__u64);
	__u64 value = cell(win->file, page, 1 + pick(&w->random, 1000000), SOURCE);
	int ret;

	ret = d->kind == VM ? guest_access(d, iova, &value, true) :
			      soft_write(&d->vdev, iova, &value, sizeof(value));
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

void device_act(struct worker *w)
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

/* All pages of all windows, with everything standing still */
void look_at_all(struct worker *w)
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
