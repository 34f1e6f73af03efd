// SPDX-License-Identifier: GPL-2.0
/* With all workers standing still: files, devices and counters against the model. */
#include "torture_procs.h"

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

void check_files(void)
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
void check_counts(struct supervisor *s)
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
			for (j = 0; e->kind == (int)kind && j < WINDOWS; j++)
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

void check_tables(struct supervisor *s)
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
