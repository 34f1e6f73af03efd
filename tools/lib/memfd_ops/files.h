/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Read and write the kernel's small files, in /proc, /sys and elsewhere.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef MEMFD_OPS_FILES_H
#define MEMFD_OPS_FILES_H

#include <stddef.h>

int write_file(const char *path, const char *text);

/* The first line of a file, without its end. */
int read_line(const char *path, char *text, size_t size);

void close_fd(int *fd);

/*
 * The value of @name in a file of names and numbers, such as /proc/meminfo, or -1. Each
 * CPU counts for itself: has the kernel add up its counters first.
 */
long counter(const char *path, const char *name);

/*
 * The machine's free memory, in KiB. MemFree leaves out the pages in the lists of each
 * CPU, which may be all that were freed last: /proc/zoneinfo has both.
 */
long mem_free_kib(void);

#endif /* MEMFD_OPS_FILES_H */
