/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What memory management does to the pages of a file by itself, or since an
 * administrator asks for it, as the table in Documentation/mm/memfd_ops/mm.rst has it:
 * with a device as the file's consumer, which pins its pages; with a guest, which
 * faults them in again; with both, and with neither, which shows that the event comes.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_KVM_MM_H
#define TEST_KVM_MM_H

#include <linux/mempolicy.h>

#include "kvm.h"
#include "sigbus.h"

/* A node with memory but without a CPU: no page is there by chance */
#define NODE		1

#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"

struct mm_test {
	struct guest g;
	bool device, guest;	/* the consumers */
	size_t first, pages;	/* their windows */
	size_t stride;		/* 2: every second page is a hole */
	char block[64];		/* a block of memory that went offline */
	char balancing[8];	/* numa_balancing's old value, if changed */
};

/* Fill @pages pages, or every @stride-th of them. */
void fill_pages(struct mm_test *mm, size_t first, size_t pages, size_t stride);

/* Have the consumers map those pages, the guest first. */
int add_consumers(struct mm_test *mm);
int remove_consumers(struct mm_test *mm);

/* Does that page have what it was filled with, for us and for the guest? */
bool good_page(struct mm_test *mm, size_t page, unsigned int seed);

/*
 * Do file and consumers have the same pages, with their content? Writes through each of
 * them, and explains a difference.
 */
bool all_agree(struct mm_test *mm);

/* Is there a node to which a test can move pages? */
bool has_second_node(void);

void frames_of(struct mm_test *mm, __u64 *pfn);

/* How many of the pages have left the frames that they were in? */
size_t moved(struct mm_test *mm, const __u64 *pfn);

/* Have the pages moved to a node. Returns how many did not move. */
long move_to(struct mm_test *mm, int node);

size_t pages_on(struct mm_test *mm, int node);

/* Where the file's pages come from, and with MPOL_MF_MOVE where they go */
int bind_file(struct mm_test *mm, int mode, int node, unsigned int flags);

/* Let the page's memory fail while no process has it mapped. */
int poison_unmapped(unsigned char *addr);

#endif /* TEST_KVM_MM_H */
