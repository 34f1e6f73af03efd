// SPDX-License-Identifier: GPL-2.0
#include <glob.h>
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

static void note_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		note("%s: %.*s", path, (int)strcspn(line, "\n"), line);
	if (file)
		fclose(file);
}

void note_threads(int pid)
{
	char path[64];
	glob_t found;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%d/task/*/{stat,syscall,stack}", pid);
	if (glob(path, GLOB_BRACE, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++)
		note_file(found.gl_pathv[i]);
	globfree(&found);
}
