// SPDX-License-Identifier: GPL-2.0
#include "kvm_torture.h"

size_t lock_some_region(struct actor *a)
{
	size_t region;

	do {
		region = pick(&a->random, REGIONS);
	} while (pthread_mutex_trylock(&a->t->regions[region].lock));
	return region;
}

void end_change(struct torture *t, size_t region)
{
	size_t first = region * t->region_pages, i;
	unsigned char have[HUGE_PAGES];

	if (mincore(at(t->env, first), t->region_pages * PAGE, have))
		WRONG(t, "mincore: %m");
	for (i = 0; i < t->region_pages; i++)
		t->pages[first + i].present = have[i] & 1;
	t->regions[region].epoch++;
}

__u32 file_word(struct torture *t, size_t page, size_t word)
{
	__u32 value = 0;

	if (pread(t->env->fd, &value, sizeof(value), page * PAGE + word * 4) < 0)
		WRONG(t, "pread: %m");
	return value;
}

/*
 * The devices' windows: all of the file, and its second half
 */

size_t window_start(struct torture *t, int dev)
{
	return dev ? t->env->pages / 2 : 0;
}

static void devices_lack(struct torture *t, size_t first, size_t end)
{
	struct vfio_mdma_query q;
	struct mdma *m;
	size_t from;
	int i, ret;

	for (i = 0; i < 2; i++) {
		m = &t->env->dev[i];
		from = window_start(t, i) > first ? window_start(t, i) : first;
		if (from >= end)
			continue;
		ret = mdma_query(m, iova_of(m, from), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
		if (ret ? ret != -ENOENT : q.iova < iova_of(m, end))
			WRONG(t, "[%zu, %zu) are gone, device %d reaches page %llu (%d)",
			      first, end, i, q.offset / PAGE, ret);
	}
}

void devices_have(struct torture *t, size_t first, size_t end)
{
	struct vfio_mdma_query q;
	struct mdma *m;
	size_t from;
	int i, ret;

	for (i = 0; i < 2; i++) {
		m = &t->env->dev[i];
		from = window_start(t, i) > first ? window_start(t, i) : first;
		if (from >= end)
			continue;
		ret = mdma_query(m, iova_of(m, from), VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
		if (ret || q.iova != iova_of(m, from) || q.size < (end - from) * PAGE)
			WRONG(t, "[%zu, %zu) are there, device %d does not reach all", first,
			      end, i);
	}
}

/*
 * Pages come and go. The caller holds the region's lock.
 */

__u32 new_stamp(struct torture *t, size_t page)
{
	return word_of(STAMP, page, ++t->pages[page].serial);
}

/* Pages have left the file: none of their content may be left. */
static void lost(struct torture *t, size_t first, size_t end)
{
	size_t page;

	for (page = first; page < end; page++) {
		t->pages[page].stamp = 0;
		t->pages[page].oldest = t->pages[page].serial + 1;
		if (file_word(t, page, FIRST_WORD) || file_word(t, page, LAST_WORD))
			WRONG(t, "page %zu was punched and has still %08x, %08x", page,
			      file_word(t, page, FIRST_WORD),
			      file_word(t, page, LAST_WORD));
	}
}

/* Does a hole need a huge folio to be split? */
static bool needs_split(struct torture *t, size_t first, size_t end)
{
	const unsigned char *mem = at(t->env, first);

	return t->huge && end - first != t->region_pages && in_core(mem) && is_huge(mem);
}

/* In a huge folio with another reference at that moment, holes are only zeroed. */
static void check_hole(struct torture *t, size_t first, size_t end, bool splits)
{
	size_t left = in_core_pages(at(t->env, first), end - first);

	if (!is_calm(region_of(t, first)))
		return;
	if (!left)
		devices_lack(t, first, end);
	if (!left && splits)
		t->counts[SPLIT]++;
	else if (left && t->huge)
		t->counts[KEPT]++;
	else if (left)
		WRONG(t, "[%zu, %zu) were punched, %zu are still there", first, end, left);
}

void make_hole(struct actor *a, size_t first, size_t end)
{
	struct torture *t = a->t;
	size_t region = region_of(t, first);
	bool splits;
	int ret;

	begin_change(t, region);
	splits = needs_split(t, first, end);
	if (pick(&a->random, 2))
		ret = punch(t->env->fd, first, end - first);
	else
		ret = madvise(at(t->env, first), (end - first) * PAGE, MADV_REMOVE) ?
		      -errno : 0;
	if (ret)
		WRONG(t, "hole: %s", strerror(-ret));
	check_hole(t, first, end, splits);
	lost(t, first, end);
	end_change(t, region);
	t->counts[HOLES]++;
}

static void stamp_by_pwrite(struct torture *t, size_t page)
{
	__u32 word = new_stamp(t, page);

	if (pwrite(t->env->fd, &word, 4, page * PAGE + FIRST_WORD * 4) != 4 ||
	    pwrite(t->env->fd, &word, 4, page * PAGE + LAST_WORD * 4) != 4)
		WRONG(t, "pwrite: %m");
	t->pages[page].stamp = word;
}

static void stamp_by_store(struct torture *t, size_t page)
{
	volatile __u32 *words = (__u32 *)at(t->env, page);

	words[FIRST_WORD] = new_stamp(t, page);
	words[LAST_WORD] = words[FIRST_WORD];
	t->pages[page].stamp = words[FIRST_WORD];
}

void make_pages(struct actor *a, size_t first, size_t end)
{
	struct torture *t = a->t;
	size_t region = region_of(t, first), page;
	int how = pick(&a->random, 4);

	begin_change(t, region);
	switch (how) {
	case 0:
		if (grow(t->env->fd, first, end - first))
			WRONG(t, "fallocate: %m");
		break;
	case 1:
		if (madvise(at(t->env, first), (end - first) * PAGE, MADV_POPULATE_WRITE))
			WRONG(t, "populate: %m");
		break;
	default:
		end = end - first < 16 ? end : first + 16;
		for (page = first; page < end; page++) {
			if (how == 2)
				stamp_by_pwrite(t, page);
			else
				stamp_by_store(t, page);
		}
		break;
	}
	devices_have(t, first, end);
	end_change(t, region);
	t->counts[FILLS]++;
}

size_t pick_page(struct actor *a, size_t room)
{
	struct torture *t = a->t;
	size_t region;

	do {
		region = pick(&a->random, REGIONS);
	} while (is_calm(region) && a->g && !(a->g->flags & KVM_MEM_MEMFD_KEEP_HOLES));
	return region * t->region_pages + pick(&a->random, t->region_pages - room);
}

void pick_range(struct actor *a, size_t region, size_t *first, size_t *end)
{
	size_t pages = a->t->region_pages, room;

	*first = pick(&a->random, pages);
	room = pages - *first < 64 ? pages - *first : 64;
	*end = *first + 1 + pick(&a->random, room);
	if (!pick(&a->random, 4)) {
		*first = 0;
		*end = pages;
	}
	*first += region * pages;
	*end += region * pages;
}

/*
 * The threads of the file
 */

static void file_read(struct actor *a)
{
	struct torture *t = a->t;
	struct view v = view_of(t, NULL, pick_page(a, 0));

	check_stamp(t, &v, file_word(t, v.page, FIRST_WORD), "pread");
	t->counts[PREADS]++;
}

/* Page faults, without a lock, so that it may be behind the end. */
static void file_fault(struct actor *a)
{
	struct torture *t = a->t;
	unsigned int cut = t->cut;
	size_t first;

	do {
		first = pick_page(a, 8);
	} while (is_calm(region_of(t, first)));
	if (madvise(at(t->env, first), 8 * PAGE, MADV_POPULATE_READ) &&
	    (errno != EFAULT || unchanged(cut, &t->cut)))
		WRONG(t, "populate page %zu: %m", first);
	t->counts[POPULATES]++;
}

static void cut_file(struct actor *a, size_t first)
{
	struct torture *t = a->t;
	size_t i, end = t->env->pages, surely = first;

	/* a busy huge folio at the new end is not split */
	if (t->huge)
		surely = (first + HUGE_PAGES - 1) & ~(HUGE_PAGES - 1);
	t->cut++;
	for (i = region_of(t, first); i < REGIONS; i++)
		begin_change(t, i);
	if (ftruncate(t->env->fd, first * PAGE))
		WRONG(t, "ftruncate: %m");
	if (surely < end)
		devices_lack(t, surely, end);
	if (ftruncate(t->env->fd, end * PAGE))
		WRONG(t, "ftruncate: %m");
	lost(t, first, end);
	for (i = region_of(t, first); i < REGIONS; i++)
		end_change(t, i);
	t->cut++;
	t->counts[TRUNCATIONS]++;
}

/* Takes the locks of all regions behind the cut. */
static void file_truncate(struct actor *a)
{
	struct torture *t = a->t;
	size_t from = REGIONS / 2 + pick(&a->random, REGIONS / 2), i;

	for (i = from; i < REGIONS; i++)
		pthread_mutex_lock(&t->regions[i].lock);
	cut_file(a, from * t->region_pages + pick(&a->random, t->region_pages));
	for (i = from; i < REGIONS; i++)
		unlock_region(t, i);
}

void file_act(struct actor *a)
{
	unsigned int what = pick(&a->random, 100);
	size_t region, first, end;

	if (what < 20) {
		file_read(a);
	} else if (what < 35) {
		file_fault(a);
	} else if (what < 40) {
		file_truncate(a);
	} else {
		region = lock_some_region(a);
		pick_range(a, region, &first, &end);
		if (what < 70)
			make_pages(a, first, end);
		else
			make_hole(a, first, end);
		unlock_region(a->t, region);
	}
}
