// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/memfd_ops: a line for each file that has consumers, and one
 * for each of them
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/seq_file.h>

#include "internal.h"

static const char * const reason_names[] = {
	[MEMFD_INVALIDATE_PUNCH]	= "punch",
	[MEMFD_INVALIDATE_TRUNCATE]	= "truncate",
	[MEMFD_INVALIDATE_UNDO]		= "undo",
	[MEMFD_INVALIDATE_POISON]	= "poison",
	[MEMFD_INVALIDATE_MIGRATE]	= "migrate",
	[MEMFD_INVALIDATE_SWAP_OUT]	= "swap-out",
};

static_assert(ARRAY_SIZE(reason_names) == MEMFD_NR_INVALIDATE_REASONS);

static void show_consumer(struct seq_file *m, struct memfd_falloc_notifier *mn)
{
	seq_printf(m, "  %s pages [%lu, %lu) invalidated %ld populated %ld fallocated %ld missed %ld%s\n",
		   mn->ops->name, memfd_window_start(mn), memfd_window_end(mn),
		   atomic_long_read(&mn->nr_invalidate),
		   atomic_long_read(&mn->nr_populate),
		   atomic_long_read(&mn->nr_fallocate),
		   atomic_long_read(&mn->nr_missed),
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

static int __init memfd_ops_debugfs_init(void)
{
	debugfs_create_file("memfd_ops", 0400, NULL, NULL, &memfd_ops_fops);
	return 0;
}
late_initcall(memfd_ops_debugfs_init);
