// SPDX-License-Identifier: GPL-2.0
#include "kvm_torture.h"

static int copy(struct torture *t, int dev, size_t from, size_t to)
{
	struct mdma *m = &t->env->dev[dev];

	return mdma_copy(m, iova_of(m, from), iova_of(m, to) + LANDING(dev) * 4,
			 COPY_WORDS * 4);
}

static void landed(struct torture *t, int dev, size_t page, __u32 *words)
{
	/* less of it if the file is cut at that moment */
	memset(words, 0, COPY_WORDS * 4);
	if (pread(t->env->fd, words, COPY_WORDS * 4, page * PAGE + LANDING(dev) * 4) < 0)
		WRONG(t, "pread: %m");
}

/* Both pages are there, and stay. */
static void copy_locked(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	__u32 words[COPY_WORDS];
	int ret;

	make_pages(a, from, from + 1);
	make_pages(a, to, to + 1);
	ret = copy(t, dev, from, to);
	landed(t, dev, to, words);
	if (ret != VFIO_MDMA_STATUS_DONE || words[0] != t->pages[from].stamp)
		WRONG(t, "copy of page %zu: %d, %08x, expected %08x", from, ret, words[0],
		      t->pages[from].stamp);
	t->counts[COPIES]++;
}

/* One is not there, and stays so. */
static void copy_of_hole(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	int ret;

	make_pages(a, to, to + 1);
	make_hole(a, from, from + 1);
	if (t->pages[from].present)	/* zeroed */
		return;
	ret = copy(t, dev, from, to);
	if (ret != VFIO_MDMA_STATUS_FAULT)
		WRONG(t, "copy of page %zu, which is gone: %d", from, ret);
	t->counts[FAULTS]++;
}

/* Copy while others change both pages. Content that was gone before must not appear. */
static void copy_wild(struct actor *a, int dev, size_t from, size_t to)
{
	struct torture *t = a->t;
	struct view v = view_of(t, NULL, from), w = view_of(t, NULL, to);
	__u32 words[COPY_WORDS];
	int ret = copy(t, dev, from, to);
	bool there = v.present && w.present && page_unchanged(t, &v) &&
		     page_unchanged(t, &w);

	if (ret != VFIO_MDMA_STATUS_DONE && (ret != VFIO_MDMA_STATUS_FAULT || there))
		WRONG(t, "copy from page %zu to %zu: %d", from, to, ret);
	landed(t, dev, to, words);
	if (ret == VFIO_MDMA_STATUS_DONE && !not_stale(t, &v, words[0]))
		WRONG(t, "copy of page %zu gave %08x, its oldest stamp was %04x", from,
		      words[0], v.oldest & 0xffff);
	t->counts[WILD_COPIES]++;
}

/* Two different regions, in the right order, whichever is copied from */
static void lock_two_regions(struct actor *a, int dev, size_t *one, size_t *two)
{
	size_t start = dev ? REGIONS / 2 : 0;

	*one = start + pick(&a->random, REGIONS - start - 1);
	*two = *one + 1 + pick(&a->random, REGIONS - *one - 1);
	pthread_mutex_lock(&a->t->regions[*one].lock);
	pthread_mutex_lock(&a->t->regions[*two].lock);
}

void device_act(struct actor *a)
{
	struct torture *t = a->t;
	int dev = pick(&a->random, 2), turn = a->turn++ % 3;
	size_t start = window_start(t, dev), room = t->env->pages - start, one, two;
	size_t in_one = pick(&a->random, t->region_pages);
	size_t in_two = pick(&a->random, t->region_pages);

	if (!turn) {
		one = start + pick(&a->random, room);
		two = start + pick(&a->random, room);
		if (one != two)
			copy_wild(a, dev, one, two);
		return;
	}
	lock_two_regions(a, dev, &one, &two);
	in_one += one * t->region_pages;
	in_two += two * t->region_pages;
	if (turn == 1)
		copy_locked(a, dev, in_one, in_two);
	else if (is_calm(one))
		copy_of_hole(a, dev, in_one, in_two);
	else if (is_calm(two))
		copy_of_hole(a, dev, in_two, in_one);
	unlock_region(t, two);
	unlock_region(t, one);
}
