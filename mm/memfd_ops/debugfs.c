// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/memfd_ops: a line for each file that has consumers, and one
 * for each of them
 *
 * memfd_ops_mapped, next to it: in addition, a line for each run of pages that the file
 * has, or that the consumer has mapped. As there can be millions of them, it prints
 * them as they are read.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "internal.h"

static const char * const reason_names[] = {
	[MEMFD_INVALIDATE_PUNCH]	= "punch",
	[MEMFD_INVALIDATE_TRUNCATE]	= "truncate",
	[MEMFD_INVALIDATE_UNDO]		= "undo",
	[MEMFD_INVALIDATE_POISON]	= "poison",
	[MEMFD_INVALIDATE_MIGRATE]	= "migrate",
	[MEMFD_INVALIDATE_SWAP_OUT]	= "swap-out",
	[MEMFD_INVALIDATE_SPLIT]	= "split",
};

static_assert(ARRAY_SIZE(reason_names) == MEMFD_NR_INVALIDATE_REASONS);

static void show_consumer(struct seq_file *m, struct memfd_falloc_notifier *mn)
{
	seq_printf(m, "  %s pages [%lu, %lu) invalidated %ld populated %ld fallocated %ld missed %ld id %llu%s\n",
		   mn->ops->name, memfd_window_start(mn), memfd_window_end(mn),
		   atomic_long_read(&mn->nr_invalidate),
		   atomic_long_read(&mn->nr_populate),
		   atomic_long_read(&mn->nr_fallocate),
		   atomic_long_read(&mn->nr_missed), memfd_consumer_id(mn),
		   mn->unregistering ? " unregistering" : "");
}

static void show_file(struct seq_file *m, struct memfd_consumers *cs)
{
	struct memfd_falloc_notifier *mn;
	int i;

	spin_lock(&cs->lock);
	if (!cs->nr)
		goto unlock;
	seq_printf(m, "dev %u:%u ino %lu consumers %u",
		   MAJOR(cs->inode->i_sb->s_dev), MINOR(cs->inode->i_sb->s_dev),
		   cs->inode->i_ino, cs->nr);
	for (i = 0; i < MEMFD_NR_INVALIDATE_REASONS; i++)
		seq_printf(m, " %s %lu", reason_names[i],
			   cs->nr_invalidations[i]);
	seq_printf(m, " store %s\n", cs->store->name);
	for (mn = first_consumer(cs, 0, ULONG_MAX); mn;
	     mn = next_consumer(mn, 0, ULONG_MAX))
		show_consumer(m, mn);
unlock:
	spin_unlock(&cs->lock);
}

static int memfd_ops_show(struct seq_file *m, void *unused)
{
	struct memfd_consumers *cs;

	mutex_lock(&memfd_files_lock);
	list_for_each_entry(cs, &memfd_files, files)
		show_file(m, cs);
	mutex_unlock(&memfd_files_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memfd_ops);

/**
 * struct mapped_cursor - the next line of memfd_ops_mapped
 * @kind: of the line
 * @mn: the consumer that the reader is at, held from ->start() to ->stop(); it keeps
 *	the file, and the filesystem
 * @serial: of its file, see &memfd_consumers.serial
 * @window: where its window starts, and
 * @id: its number: by these two its file's consumers are ordered
 * @start: the run of pages
 * @end: its end, exclusive
 */
struct mapped_cursor {
	enum mapped_line {
		LINE_FILE,
		LINE_PRESENT,
		LINE_CONSUMER,
		LINE_MAPPED,
	} kind;
	struct memfd_falloc_notifier *mn;
	u64 serial;
	pgoff_t window;
	u64 id;
	pgoff_t start, end;
};

static void cursor_put(struct mapped_cursor *c)
{
	if (c->mn)
		memfd_put_consumer(c->mn->consumers, c->mn);
	c->mn = NULL;
}

/* Does the consumer come before the cursor's? */
static bool is_before(const struct memfd_falloc_notifier *mn,
		      const struct mapped_cursor *c)
{
	if (memfd_window_start(mn) != c->window)
		return memfd_window_start(mn) < c->window;
	return memfd_consumer_id(mn) < c->id;
}

/* Hold the first consumer of a file that is not before the cursor's. */
static struct memfd_falloc_notifier *
get_consumer_from(struct memfd_consumers *cs, const struct mapped_cursor *c)
{
	struct memfd_falloc_notifier *mn;

	spin_lock(&cs->lock);
	for (mn = first_consumer(cs, 0, ULONG_MAX); mn;
	     mn = next_consumer(mn, 0, ULONG_MAX))
		if (!is_before(mn, c) && memfd_get_consumer(cs, mn))
			break;
	spin_unlock(&cs->lock);
	return mn;
}

/*
 * Find the cursor's consumer again; if it has left, the next one, of the same file or
 * the next, and begin with its first line. memfd_files_lock is not held longer than
 * this: consumers' locks are taken in reclaim, and so is this one when a file goes.
 */
static bool cursor_find(struct mapped_cursor *c)
{
	struct memfd_consumers *cs;

	mutex_lock(&memfd_files_lock);
	list_for_each_entry(cs, &memfd_files, files) {
		if (cs->serial < c->serial)
			continue;
		if (cs->serial > c->serial) {
			c->serial = cs->serial;
			c->kind = LINE_FILE;
			c->window = 0;
			c->id = 0;
		}
		c->mn = get_consumer_from(cs, c);
		if (c->mn)
			break;
	}
	mutex_unlock(&memfd_files_lock);
	if (!c->mn)
		return false;
	if (c->id != memfd_consumer_id(c->mn) && c->kind > LINE_CONSUMER)
		c->kind = LINE_CONSUMER;
	c->window = memfd_window_start(c->mn);
	c->id = memfd_consumer_id(c->mn);
	return true;
}

/* Go on to the next run of the present or mapped pages, if there is one. */
static bool next_run(struct mapped_cursor *c)
{
	struct memfd_falloc_notifier *mn = c->mn;

	c->start = c->end;
	if (c->kind == LINE_PRESENT) {
		c->end = ULONG_MAX;
		return c->start < c->end &&
		       memfd_next_present(mn->file->f_mapping, &c->start, &c->end);
	}
	c->end = memfd_window_end(mn);
	return mn->ops->next_mapped && c->start < c->end &&
	       mn->ops->next_mapped(mn, &c->start, &c->end);
}

/* Go on to the next consumer. */
static bool next_held(struct mapped_cursor *c)
{
	c->id++;
	c->kind = LINE_CONSUMER;
	cursor_put(c);
	return cursor_find(c);
}

static bool cursor_advance(struct mapped_cursor *c)
{
	if (c->kind == LINE_FILE) {
		c->kind = LINE_PRESENT;
		c->end = 0;
	} else if (c->kind == LINE_CONSUMER) {
		c->kind = LINE_MAPPED;
		c->end = memfd_window_start(c->mn);
	}
	if (next_run(c))
		return true;
	if (c->kind == LINE_MAPPED)
		return next_held(c);
	c->kind = LINE_CONSUMER;
	return true;
}

static void *mapped_start(struct seq_file *m, loff_t *pos)
{
	struct mapped_cursor *c = m->private;

	if (!*pos)
		*c = (struct mapped_cursor){ .kind = LINE_FILE };
	return cursor_find(c) ? c : NULL;
}

static void *mapped_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return cursor_advance(v) ? v : NULL;
}

static void mapped_stop(struct seq_file *m, void *v)
{
	cursor_put(m->private);
}

static int mapped_show(struct seq_file *m, void *v)
{
	struct mapped_cursor *c = v;
	struct memfd_falloc_notifier *mn = c->mn;
	struct inode *inode = mn->consumers->inode;

	switch (c->kind) {
	case LINE_FILE:
		seq_printf(m, "dev %u:%u ino %lu size_bytes %lld\n",
			   MAJOR(inode->i_sb->s_dev), MINOR(inode->i_sb->s_dev),
			   inode->i_ino, i_size_read(inode));
		break;
	case LINE_CONSUMER:
		seq_printf(m, " consumer %llu kind %s window_pages [%lu, %lu)",
			   memfd_consumer_id(mn), mn->ops->name,
			   memfd_window_start(mn), memfd_window_end(mn));
		if (mn->ops->show_owner)
			mn->ops->show_owner(mn, m);
		seq_putc(m, '\n');
		break;
	default:
		seq_printf(m, "%s [%lu, %lu)\n",
			   c->kind == LINE_PRESENT ? " present_pages" : "  mapped_pages",
			   c->start, c->end);
	}
	return 0;
}

static const struct seq_operations mapped_sops = {
	.start	= mapped_start,
	.next	= mapped_next,
	.stop	= mapped_stop,
	.show	= mapped_show,
};

static int mapped_open(struct inode *inode, struct file *file)
{
	return seq_open_private(file, &mapped_sops, sizeof(struct mapped_cursor));
}

static const struct file_operations mapped_fops = {
	.open		= mapped_open,
	.read		= seq_read,
	.release	= seq_release_private,
};

static int __init memfd_ops_debugfs_init(void)
{
	debugfs_create_file("memfd_ops", 0400, NULL, NULL, &memfd_ops_fops);
	debugfs_create_file("memfd_ops_mapped", 0400, NULL, NULL, &mapped_fops);
	return 0;
}
late_initcall(memfd_ops_debugfs_init);
