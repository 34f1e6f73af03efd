/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page frames: which ones memory has, of which kind, and where they are.
 */
#ifndef TEST_PAGES_H
#define TEST_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include <memfd_ops/memory.h>

#define KPF_ANON	12
#define KPF_SWAPBACKED	14
#define KPF_HWPOISON	19
#define KPF_THP		22

/* The page frames behind addresses; 0 where none is mapped, or the kernel hides it. */
void page_frames(const void *addr, size_t pages, __u64 *pfn);

/* The page frame behind an address that is in core. */
__u64 pfn_of(const void *addr);

bool is_huge(const void *addr);

/* The page frames of ZONE_MOVABLE: [0] to [1], or none. */
void movable_zone(__u64 frames[2]);

/* How many of the pages from there on are in such frames. */
size_t pages_in_frames(const unsigned char *addr, size_t pages, const __u64 frames[2]);

/*
 * How many of the machine's pages are of files in memory, or were and are held by
 * a reference after that? -1 if the kernel does not show it.
 */
long pages_of_files(void);

/* Leave freed memory behind that is not zero. */
void dirty_free_memory(size_t size);

#endif /* TEST_PAGES_H */
