/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The files of this system that have consumers, the users of each, and the pages that
 * each has mapped: from debugfs and /proc. Needs root.
 *
 * What vanishes while it is read is left out.
 */
#ifndef MEMFD_OPS_USERS_H
#define MEMFD_OPS_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MAX_COLUMNS	512
#define MAX_RUNS	1024	/* that are kept; more are only counted */

/* Pages of a file, half-open */
struct run {
	unsigned long start, end;
};

/* A set of pages of a file: how many, the first runs, and how many in each column */
struct page_set {
	bool	known;
	bool	truncated;
	unsigned long pages;
	size_t	nr_runs;
	struct run *runs;
	unsigned long *columns;
};

enum user_kind {
	USER_UNKNOWN,
	USER_DEVICE,
	USER_VM,
	USER_PROCESS,
};

struct file_user {
	enum user_kind kind;
	char	names[256];		/* of devices, with commas between */
	const char *via;		/* see memfd-ops-show.1 */
	pid_t	pid;			/* 0 if it is not known, as comm */
	char	comm[16];
	unsigned long long id;		/* of the consumer; 0 for a mapping */
	bool	mirror;			/* it maps all pages of its window */
	unsigned int ioas;		/* 0 for none */
	unsigned long long iova, iova_end;	/* bytes; iova_end is 0 for none */
	struct run window;
	unsigned long missing;
	struct page_set mapped;
};

struct followed_file {
	unsigned int dev_major, dev_minor;
	unsigned long ino;
	char	name[256];		/* empty if nobody has it open or mapped */
	unsigned long long size;	/* bytes */
	unsigned long per_column;	/* pages */
	struct page_set present;
	struct file_user *users;
	size_t	nr_users, max_users;
};

struct followed_list {
	unsigned int columns;		/* 1 to MAX_COLUMNS, set by the caller */
	struct followed_file *files;
	size_t	nr, max;
};

#define DEBUGFS_MAPPED	"/sys/kernel/debug/memfd_ops_mapped"

/*
 * Fill a list that is empty except for its columns. Returns 0, or a negative errno if
 * DEBUGFS_MAPPED cannot be read.
 */
int users_read(struct followed_list *list);
void users_free(struct followed_list *list);

/* NULL if the file has no consumer */
struct followed_file *users_file(const struct followed_list *list, unsigned int dev_major,
				 unsigned int dev_minor, unsigned long ino);

/* How many columns the file takes */
unsigned int file_columns(const struct followed_file *file);

/* The column's pages that lie in a window */
struct run column_pages(const struct followed_file *file, unsigned int column,
			struct run window);

#endif /* MEMFD_OPS_USERS_H */
