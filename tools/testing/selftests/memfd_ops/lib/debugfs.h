/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /sys/kernel/debug/memfd_ops: the consumers of files, and how often the kernel called
 * them; and what they have mapped, see <memfd_ops/users.h>.
 *
 * Functions return 0 or a value, or a negative errno: -ENOENT on a kernel without it.
 */
#ifndef TEST_DEBUGFS_H
#define TEST_DEBUGFS_H

#include <stdbool.h>
#include <stddef.h>

/* In place of a file descriptor: the consumers of all files */
#define ANY_FILE	(-1)

struct consumer {
	char name[16];		/* of its kind: iommu, kvm */
	size_t first, end;	/* its window, in pages: [first, end) */
	long invalidated, populated, fallocated;	/* calls so far */
	long missed;		/* pages so far */
};

/* The number of the file's consumers. */
int consumers_of(int fd);

/* The same, and the first @max of them in @list. */
int consumers_list(int fd, struct consumer *list, int max);

/* How many of them are of that kind, and have that window. */
int consumers_with_window(int fd, const char *name, size_t first, size_t pages);

/* The sum of their invalidations; -ENOENT if none is of that kind. */
long consumers_invalidated(int fd, const char *name);

/* The sum of the pages that they have missed; -ENOENT if none is of that kind. */
long consumers_missed(int fd, const char *name);

/* The file's lines, to compare with those of another time. */
int consumers_text(int fd, char *text, size_t size);

/*
 * Are these the runs of pages that the file's only consumer has mapped? "[1, 3) [4, 6)":
 * those that adjoin are one. Notes a difference.
 */
bool consumers_map(int fd, const char *runs);

/* The names of the only consumer's devices, with commas between; "" if it has none. */
int consumers_device(int fd, char *name, size_t size);

/* All lines, by one read() and without an allocation; then their parser. */
int consumers_read(char *text, size_t size);
bool consumers_text_has(const char *text, const char *name, size_t first, size_t pages);

#endif /* TEST_DEBUGFS_H */
