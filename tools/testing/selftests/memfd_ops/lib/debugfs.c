// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "debugfs.h"
#include "note.h"

#define CONSUMERS	"/sys/kernel/debug/memfd_ops"
#define MAPPED		"/sys/kernel/debug/memfd_ops_mapped"
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
static int visit_lines_of(const char *path, int fd,
			  void (*visit)(const char *line, void *data), void *data)
{
	bool ours = fd == ANY_FILE;
	char *line = NULL;
	size_t size = 0;
	struct stat st;
	FILE *file;

	if (!ours && fstat(fd, &st))
		return -errno;
	file = fopen(path, "re");
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

static int visit_lines(int fd, void (*visit)(const char *line, void *data), void *data)
{
	return visit_lines_of(CONSUMERS, fd, visit, data);
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

/* The lines of a file in the list of mapped pages */
struct mapped {
	struct text runs;
	size_t start, end;	/* the last run, not in the text yet */
	char owner[32];
};

static void append_run(struct mapped *m)
{
	char run[64];

	if (m->start == m->end)
		return;
	snprintf(run, sizeof(run), "%s[%zu, %zu)", m->runs.len ? " " : "", m->start, m->end);
	append(run, &m->runs);
	m->start = m->end;
}

static void look_at_mapped(const char *line, void *data)
{
	struct mapped *m = data;
	size_t start, end;

	if (sscanf(line, " consumer %*u kind %*s window_pages [%*u, %*u) %31[^\n]",
		   m->owner) == 1)
		return;
	if (sscanf(line, "  mapped_pages [%zu, %zu)", &start, &end) != 2)
		return;
	if (start != m->end) {
		append_run(m);
		m->start = start;
	}
	m->end = end;
}

bool consumers_map(int fd, const char *runs)
{
	char text[1024] = "";
	struct mapped m = { .runs = { .start = text, .size = sizeof(text) } };
	int ret = visit_lines_of(MAPPED, fd, look_at_mapped, &m);

	append_run(&m);
	if (!ret && !strcmp(runs, text))
		return true;
	note("%s: error %d, %s instead of %s", MAPPED, ret, text, runs);
	return false;
}

int consumers_owner(int fd, char *owner, size_t size)
{
	struct mapped m = {};
	int ret = visit_lines_of(MAPPED, fd, look_at_mapped, &m);

	snprintf(owner, size, "%s", m.owner);
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
