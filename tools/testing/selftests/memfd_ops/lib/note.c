// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "note.h"

void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
}

static void note_file(const char *thread, const char *name)
{
	char path[64 + NAME_MAX], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", thread, name);
	file = fopen(path, "r");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		note("thread %s: %s: %s", thread, name, line);
	}
	fclose(file);
}

void note_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		note_file(entry->d_name, "stat");
		note_file(entry->d_name, "syscall");
		note_file(entry->d_name, "stack");
	}
	if (dir)
		closedir(dir);
}
