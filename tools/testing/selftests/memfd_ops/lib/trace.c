// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memfd_ops/files.h>

#include "trace.h"

/* A buffer of our own: other users of tracing do not see these events. */
#define INSTANCE	"/sys/kernel/tracing/instances/memfd_ops_test"
#define EVENT		INSTANCE "/events/memfd_ops/memfd_invalidate_begin"
#define MIGRATION	INSTANCE "/events/migrate/mm_migrate_pages"
#define FORMAT		" ino %*x %15s %*s pages [%lu, %lu)"

bool has_trace(void)
{
	return !access("/sys/kernel/tracing/events/memfd_ops", F_OK);
}

int trace_start(int fd)
{
	struct stat st;
	char text[64];
	int ret;

	trace_stop();
	if (fstat(fd, &st) || mkdir(INSTANCE, 0700))
		return -errno;
	snprintf(text, sizeof(text), "ino == %llu", (unsigned long long)st.st_ino);
	ret = write_file(EVENT "/filter", text);
	return ret ? ret : write_file(EVENT "/enable", "1");
}

long traced(const char *name, size_t first, size_t pages)
{
	unsigned long start, end;
	char line[256], *event, kind[16];
	FILE *file = fopen(INSTANCE "/trace", "re");
	long sum = 0;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		event = strstr(line, " ino ");
		if (!event || sscanf(event, FORMAT, kind, &start, &end) != 3 ||
		    strcmp(kind, name))
			continue;
		start = start > first ? start : first;
		end = end < first + pages ? end : first + pages;
		if (start < end)
			sum += end - start;
	}
	fclose(file);
	return sum;
}

int trace_balancing(void)
{
	char text[64];
	int ret;

	trace_stop();
	if (mkdir(INSTANCE, 0700))
		return -errno;
	snprintf(text, sizeof(text), "common_pid == %d", gettid());
	ret = write_file(MIGRATION "/filter", text);
	return ret ? ret : write_file(MIGRATION "/enable", "1");
}

long traced_failures(void)
{
	FILE *file = fopen(INSTANCE "/trace", "re");
	long sum = 0, failed;
	char line[256], *at;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		at = strstr(line, "nr_failed=");
		if (at && sscanf(at, "nr_failed=%ld", &failed) == 1 &&
		    strstr(at, "reason=numa_misplaced"))
			sum += failed;
	}
	fclose(file);
	return sum;
}

void trace_stop(void)
{
	rmdir(INSTANCE);
}
