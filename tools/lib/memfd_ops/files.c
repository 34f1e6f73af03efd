// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int read_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	int ret = 0;

	if (!file)
		return -errno;
	if (!fgets(text, size, file))
		ret = -EIO;
	else
		text[strcspn(text, "\n")] = '\0';
	fclose(file);
	return ret;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

long counter(const char *path, const char *name)
{
	long value, found = -1;
	char line[128];
	size_t len = strlen(name);
	FILE *file;

	write_file("/proc/sys/vm/stat_refresh", "1");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && strchr(": ", line[len]) &&
		    sscanf(line + len + 1, "%ld", &value) == 1)
			found = value;
	if (file)
		fclose(file);
	return found;
}

long mem_free_kib(void)
{
	char line[256];
	long sum = 0, pages;
	FILE *file;

	/* RCU frees memory later. Then have the kernel add up its counters. */
	usleep(100000);
	write_file("/proc/sys/vm/stat_refresh", "1");
	file = fopen("/proc/zoneinfo", "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " nr_free_pages %ld", &pages) == 1 ||
		    sscanf(line, " count: %ld", &pages) == 1)
			sum += pages;
	fclose(file);
	return sum * (sysconf(_SC_PAGESIZE) / 1024);
}
