/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The environment of a test: two instances of the engine, and a memfd.
 */
#ifndef TEST_TEST_ENV_H
#define TEST_TEST_ENV_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <memfd_ops/files.h>
#include <memfd_ops/mdma.h>
#include <memfd_ops/memory.h>
#include <memfd_ops/vfio.h>

#include "account.h"
#include "compare.h"
#include "debugfs.h"
#include "note.h"
#include "pages.h"

struct test_env {
	struct mdma dev[2];
	int fd;
	size_t pages;		/* of the memfd */
	unsigned char *mem;	/* all of it, at a multiple of 2 MiB */
	char thp[16];		/* what shmem_enabled was, if changed */
	char scan_sleep[16];	/* khugepaged's, if changed */
	char cluster[8];	/* what page-cluster was, if changed */
	bool swap;
	int fail;		/* fail_nth()'s file, if it is open */
	const char *lacks;	/* the reason of a skip, after a setup that failed */

	/* the tests of VFIO alone: see vfio_env.h */
	struct space space;
	struct vdev edu, nvme;	/* QEMU's */
	struct vdev dma, pin;	/* in software */
	struct vdev *vdev;	/* the one of them that the test is about */
	int side_fd;		/* more memory: of another memfd, or -1 */
	size_t side_pages;
	unsigned char *side;
	char unsafe_interrupts;	/* what it was, if changed */
};

/* The errno of a call that returned @ret, or 0. */
int errno_of(int ret);

/* Does that thread of a process sleep in that ioctl? */
bool sleeps_in_ioctl(pid_t pid, pid_t tid, unsigned long request);

/* Is the machine's IOMMU virtio's, with page tables that are not in this kernel's memory? */
bool iommu_is_virtio(void);

/* The address of a page. */
unsigned char *at(struct test_env *env, size_t page);

/*
 * Stay on one CPU, or do not. A new page waits for a while in a list of its CPU, where
 * reclaim does not find it; MADV_PAGEOUT empties the list of its own CPU alone.
 */
void stay_on_one_cpu(bool stay);

/*
 * A memfd of @pages pages, without and with the two instances. If a setup fails since the
 * machine lacks something, env->lacks is the reason to skip the test.
 */
int env_setup_memory(struct test_env *env, size_t pages);
int env_setup(struct test_env *env, size_t pages);
void env_teardown(struct test_env *env);

/* The device's view of the file: page 0 is at the first IOVA of its window. */
__u64 iova_of(struct mdma *m, size_t page);

/*
 * Map [first, first + pages) at the IOVAs that iova_of() gives them, which for
 * file and device alike begin at a multiple of 2 MiB.
 */
int env_map(struct test_env *env, int i, size_t first, size_t pages);

/*
 * Have another file followed during the whole test. The kernel patches its code when the
 * first file gets a consumer, and after the last one has lost it; where several threads
 * map and unmap all the time, QEMU's TCG does not always get the patched code right.
 */
int env_keep_followed(struct test_env *env);

int env_differences(struct test_env *env, int i, size_t first, size_t pages);
long env_reachable(struct test_env *env, int i, size_t first, size_t pages);

/* Have device @i copy @len bytes from page @from to page @to. */
int env_copy(struct test_env *env, int i, size_t from, size_t to, size_t len);

/*
 * Have shmem use huge pages; -ENOENT if the kernel has none. khugepaged does not run any
 * more. It fills holes, even with max_ptes_none=0: those that are made between its scan
 * and its collapse.
 */
int env_thp(struct test_env *env, const char *mode);

/* Undo that. */
void env_thp_as_before(struct test_env *env);

/* Make a swap area of the RAM disk, as mkswap does, and use it. */
int env_swap(struct test_env *env);

/* Open the file of fail_nth(). */
int env_open_fail_nth(struct test_env *env);

/* Read only those pages back from swap that are accessed. */
int env_no_readahead(struct test_env *env);

#endif /* TEST_TEST_ENV_H */
