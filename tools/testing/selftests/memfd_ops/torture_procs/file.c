// SPDX-License-Identifier: GPL-2.0
/* What a worker does to files. */
#include "torture_procs.h"

enum outcome {
	GONE,		/* there is nothing, or zeros */
	BROUGHT,	/* missing pages are there, with zeros */
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
 * With huge pages, more pages may have come, and those that should be gone may still be
 * there, but zero. Touch the new ones, so that observe() finds them.
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
void give_up(int file, size_t first, size_t pages)
{
	if (punch(files[file].fd, first, pages))
		WRONG("punch: %m");
	end_changes(file, first, pages, GONE);
}

/* A read fault adds pages as well, but reclaim may drop pages that are still clean. */
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

/* All of a region; a consumer of the file prevents that. */
static void collapse(struct worker *w, int file, size_t first)
{
	begin_changes(file, first, region_pages);
	suffer(w, true);
	if (!madvise(addr_of(file, first), region_pages * PAGE, MADV_COLLAPSE))
		model->counts[COLLAPSES]++;
	suffer(w, false);
	/* no call added pages: observe() finds those that have come */
	end_changes(file, first, 0, BROUGHT);
}

void file_act(struct worker *w)
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
