/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files for the KUnit tests of memfd_ops and its consumers
 */
#ifndef _KUNIT_MEMFD_H
#define _KUNIT_MEMFD_H

#include <kunit/test.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memfd_store.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

KUNIT_DEFINE_ACTION_WRAPPER(memfd_test_fput, fput, struct file *);
KUNIT_DEFINE_ACTION_WRAPPER(memfd_test_kern_unmount, kern_unmount,
			    struct vfsmount *);

/* Have a file that was just set up put when the test ends */
static inline struct file *memfd_test_keep(struct kunit *test, struct file *file)
{
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, memfd_test_fput,
							   file));
	file->f_flags |= O_LARGEFILE;
	return file;
}

/* A shmem file of @pages pages, put when the test ends */
static inline struct file *memfd_test_file(struct kunit *test, pgoff_t pages)
{
	return memfd_test_keep(test, shmem_file_setup("memfd_test",
						      pages << PAGE_SHIFT,
						      VM_NORESERVE));
}

/* The same, on a tmpfs that allocates huge folios where they fit */
static inline struct file *memfd_test_huge_file(struct kunit *test,
						pgoff_t pages)
{
	struct file_system_type *type = get_fs_type("tmpfs");
	char opts[] = "huge=always";
	struct vfsmount *mnt;

	KUNIT_ASSERT_NOT_NULL(test, type);
	mnt = vfs_kern_mount(type, SB_KERNMOUNT, type->name, opts);
	put_filesystem(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mnt));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, memfd_test_kern_unmount,
						  mnt));

	return memfd_test_keep(test, shmem_file_setup_with_mnt(mnt, "memfd_test",
							       pages << PAGE_SHIFT,
							       VM_NORESERVE));
}

static inline int memfd_test_fallocate(struct file *file, pgoff_t start,
				       pgoff_t end)
{
	return vfs_fallocate(file, 0, (loff_t)start << PAGE_SHIFT,
			     (loff_t)(end - start) << PAGE_SHIFT);
}

static inline int memfd_test_punch(struct file *file, pgoff_t start, pgoff_t end)
{
	return vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     (loff_t)start << PAGE_SHIFT,
			     (loff_t)(end - start) << PAGE_SHIFT);
}

/* Begin an invalidation of [start, end), as a hole in these pages does */
static inline void memfd_test_invalidate(struct memfd_invalidation *inv,
					 struct file *file,
					 pgoff_t start, pgoff_t end)
{
	memfd_invalidate_begin(inv, file->f_mapping, (loff_t)start << PAGE_SHIFT,
			       ((loff_t)end << PAGE_SHIFT) - 1,
			       MEMFD_INVALIDATE_PUNCH);
}

/* The same, but it also touches the page at @end: some of the pages may stay */
static inline void memfd_test_invalidate_partly(struct memfd_invalidation *inv,
						struct file *file,
						pgoff_t start, pgoff_t end)
{
	memfd_invalidate_begin(inv, file->f_mapping, (loff_t)start << PAGE_SHIFT,
			       (loff_t)end << PAGE_SHIFT,
			       MEMFD_INVALIDATE_PUNCH);
}

static inline bool memfd_test_present(struct file *file, pgoff_t index)
{
	return xa_load(&file->f_mapping->i_pages, index);
}

static inline unsigned long memfd_test_blocks(struct file *file)
{
	return file_inode(file)->i_blocks >> (PAGE_SHIFT - 9);
}

#endif /* _KUNIT_MEMFD_H */
