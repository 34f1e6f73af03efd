// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "iova_table.h"
#include "note.h"
#include "pages.h"

#include "compare.h"

long reachable(struct mdma *m, __u64 iova, size_t pages)
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

int differences(struct mdma *m, __u64 iova, int fd,
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
	/* past the end of the file, a mapping has no pages */
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

long vdev_reaches(struct vdev *d, __u64 iova, size_t pages, const unsigned char *mem)
{
	struct iova_table t;
	long sum = 0;
	__u64 pa;
	size_t i;
	int ret;

	ret = iova_table_of(d->address, &t);
	if (ret)
		return ret;
	for (i = 0; i < pages && sum >= 0; i++) {
		pa = iova_table_lookup(&t, iova + i * PAGE);
		if (!pa)
			continue;
		sum++;
		if (mem && pfn_of(mem + i * PAGE) * PAGE != pa)
			sum = -EPROTO;
	}
	iova_table_free(&t);
	return sum;
}
