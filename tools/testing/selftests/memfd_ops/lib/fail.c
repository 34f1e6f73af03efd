// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/types.h>

#include <memfd_ops/files.h>

#include "note.h"
#include "test_env.h"

#include "fail.h"

int fail_nth(int fd, int nth)
{
	char text[16] = "";
	int left = nth;

	if (!nth) {
		if (pread(fd, text, sizeof(text) - 1, 0) < 0)
			return -errno;
		left = atoi(text);
	}
	snprintf(text, sizeof(text), "%d", nth);
	return pwrite(fd, text, strlen(text), 0) < 0 ? -errno : left;
}

void fail_anything(const char *on)
{
	fail_nothing_in(NULL);
	write_file(FAULTY("slab/ignore-gfp-wait"), on);
	write_file(FAULTY("_page_alloc/ignore-gfp-wait"), on);
	write_file(FAULTY("_page_alloc/ignore-gfp-highmem"), on);
	write_file(FAULTY("_page_alloc/min-order"), "0");
	write_file(FAULTY("slab/verbose"), "0");
	write_file(FAULTY("_page_alloc/verbose"), "0");
	/* iommufd fails in places of its own, too, for its own tests: no caller is there */
	write_file(FAULTY("_iommufd/require-end"), *on == '0' ? "0" : "0xffffffffffffffff");
}

void fail_objects_alone(void)
{
	write_file(FAULTY("_page_alloc/min-order"), "20");
}

void some_fail(const char *percent)
{
	write_file(FAULTY("slab/task-filter"), "1");
	write_file(FAULTY("slab/times"), "-1");
	write_file(FAULTY("slab/probability"), percent);
}

void none_fails(void)
{
	write_file(FAULTY("slab/probability"), "0");
	write_file(FAULTY("slab/times"), "1");
	write_file(FAULTY("slab/task-filter"), "0");
}

void fail_every(int fd, bool on)
{
	/* opening a file takes some, too */
	if (on)
		some_fail("100");
	if (pwrite(fd, on ? "1" : "0", 1, 0) != 1)
		note("make-it-fail: %m");
	if (!on)
		none_fails();
}

/* Where a function of the kernel begins, and the next one. */
static int find_function(const char *function, __u64 *start, __u64 *end)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char line[256], name[128];
	unsigned long long addr;

	if (!file)
		return -errno;
	*start = 0;
	*end = 0;
	/* they are in order, but some have the same address */
	while (!*end && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %*c %127s", &addr, name) != 2)
			continue;
		if (!strcmp(name, function))
			*start = addr;
		else if (*start && addr > *start)
			*end = addr;
	}
	fclose(file);
	return *end ? 0 : -ENOENT;
}

/* "reject" or "require" that a function in [start, end) has asked for the memory. */
static int fail_callers(const char *how, __u64 start, __u64 end)
{
	const char *const what[] = { FAULTY("slab/"), FAULTY("_page_alloc/") };
	char path[PATH_MAX], text[24];
	size_t i;
	int ret;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s-%s", what[i / 2], how,
			 i % 2 ? "end" : "start");
		snprintf(text, sizeof(text), "0x%llx", i % 2 ? end : start);
		ret = write_file(path, text);
		if (ret)
			return ret;
	}
	return 0;
}

int fail_nothing_in(const char *function)
{
	__u64 start = 0, end = 0;
	int ret = 0;

	if (!function && iommu_is_virtio())
		function = "viommu_unmap_pages";
	if (function)
		ret = find_function(function, &start, &end);
	return ret ? ret : fail_callers("reject", start, end);
}

int fail_only_in(const char *function)
{
	__u64 start = 0, end = ULONG_MAX;
	int ret = function ? find_function(function, &start, &end) : 0;

	return ret ? ret : fail_callers("require", start, end);
}
