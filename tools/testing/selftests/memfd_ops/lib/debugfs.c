// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memfd_ops/users.h>

#include "debugfs.h"
#include "note.h"

#define CONSUMERS	"/sys/kernel/debug/memfd_ops"
#define COUNTS		" invalidated %ld populated %ld fallocated %ld missed %ld"

static bool parse_consumer(const char *line, struct consumer *c)
{
	return sscanf(line, " %15s pages [%zu, %zu)" COUNTS, c->name, &c->first,
		      &c->end, &c->invalidated, &c->populated, &c->fallocated,
		      &c->missed) == 7;
}

static bool is_file(const char *line, const struct stat *st)
{
	unsigned int major, minor;
	unsigned long long ino;

	return sscanf(line, "dev %u:%u ino %llu ", &major, &minor, &ino) == 3 &&
	       ino == st->st_ino && major == major(st->st_dev) &&
	       minor == minor(st->st_dev);
}

/* The lines of consumers are indented, and follow that of their file. */
static int visit_lines(int fd, void (*visit)(const char *line, void *data), void *data)
{
	bool ours = fd == ANY_FILE;
	char *line = NULL;
	size_t size = 0;
	struct stat st;
	FILE *file;

	if (!ours && fstat(fd, &st))
		return -errno;
	file = fopen(CONSUMERS, "re");
	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (line[0] != ' ' && fd != ANY_FILE)
			ours = is_file(line, &st);
		if (ours)
			visit(line, data);
	}
	free(line);
	fclose(file);
	return 0;
}

struct list {
	struct consumer *entries;
	int nr, max;
};

static void add_to_list(const char *line, void *data)
{
	struct list *list = data;
	struct consumer c;

	if (!parse_consumer(line, &c))
		return;
	if (list->nr < list->max)
		list->entries[list->nr] = c;
	list->nr++;
}

int consumers_list(int fd, struct consumer *entries, int max)
{
	struct list list = { .entries = entries, .max = max };
	int ret = visit_lines(fd, add_to_list, &list);

	return ret ? ret : list.nr;
}

int consumers_of(int fd)
{
	return consumers_list(fd, NULL, 0);
}

struct query {
	const char *name;
	size_t first, end;
	int nr, nr_window;
	long invalidated, missed;
};

static void add_up(const char *line, void *data)
{
	struct query *q = data;
	struct consumer c;

	if (!parse_consumer(line, &c) || strcmp(c.name, q->name))
		return;
	q->nr++;
	q->nr_window += c.first == q->first && c.end == q->end;
	q->invalidated += c.invalidated;
	q->missed += c.missed;
}

int consumers_with_window(int fd, const char *name, size_t first, size_t pages)
{
	struct query q = { .name = name, .first = first, .end = first + pages };
	int ret = visit_lines(fd, add_up, &q);

	return ret ? ret : q.nr_window;
}

long consumers_invalidated(int fd, const char *name)
{
	struct query q = { .name = name };
	int ret = visit_lines(fd, add_up, &q);

	return ret ? ret : q.nr ? q.invalidated : -ENOENT;
}

long consumers_missed(int fd, const char *name)
{
	struct query q = { .name = name };
	int ret = visit_lines(fd, add_up, &q);

	return ret ? ret : q.nr ? q.missed : -ENOENT;
}

struct text {
	char *start;
	size_t len, size;
};

static void append(const char *line, void *data)
{
	struct text *text = data;

	if (text->len < text->size)
		text->len += snprintf(text->start + text->len, text->size - text->len,
				      "%s", line);
}

int consumers_text(int fd, char *start, size_t size)
{
	struct text text = { .start = start, .size = size };
	int ret;

	start[0] = '\0';
	ret = visit_lines(fd, append, &text);
	return ret ? ret : text.len < size ? 0 : -ENOSPC;
}

/* The file's first consumer. Processes with a mapping are users as well, but have no id. */
static struct file_user *find_consumer(const struct followed_list *list, int fd)
{
	const struct followed_file *file;
	struct stat st;
	size_t i;

	if (fstat(fd, &st))
		return NULL;
	file = users_file(list, major(st.st_dev), minor(st.st_dev), st.st_ino);
	for (i = 0; file && i < file->nr_users; i++)
		if (file->users[i].id)
			return &file->users[i];
	return NULL;
}

bool consumers_map(int fd, const char *runs)
{
	struct followed_list list = { .columns = 1 };
	int ret = users_read(&list);
	struct file_user *user = find_consumer(&list, fd);
	char text[1024] = "";
	size_t len = 0, i;
	bool same;

	for (i = 0; user && i < user->mapped.nr_runs && len < sizeof(text); i++)
		len += snprintf(text + len, sizeof(text) - len, "%s[%lu, %lu)", len ? " " : "",
				user->mapped.runs[i].start, user->mapped.runs[i].end);
	same = !ret && !strcmp(runs, text);
	if (!same)
		note("%s: error %d, %s instead of %s", DEBUGFS_MAPPED, ret, text, runs);
	users_free(&list);
	return same;
}

int consumers_device(int fd, char *name, size_t size)
{
	struct followed_list list = { .columns = 1 };
	int ret = users_read(&list);
	struct file_user *user = find_consumer(&list, fd);

	snprintf(name, size, "%s", user ? user->names : "");
	users_free(&list);
	return ret;
}

int consumers_read(char *text, size_t size)
{
	int fd = open(CONSUMERS, O_RDONLY | O_CLOEXEC);
	ssize_t len;
	int ret;

	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	ret = len < 0 ? -errno : 0;
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	return ret;
}

bool consumers_text_has(const char *text, const char *name, size_t first, size_t pages)
{
	struct query q = { .name = name, .first = first, .end = first + pages };

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		add_up(text, &q);
	}
	return q.nr_window;
}
