/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An ordinary VM, of type KVM_X86_DEFAULT_VM: its memory is a mapping of the memfd, and
 * KVM follows the mapping by its mmu notifier. The file does not know this guest; the
 * functions of kvm.h for pages and patterns serve it as well.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_ORDINARY_H
#define TEST_ORDINARY_H

#include "iova_table.h"
#include "kvm.h"

/* A VM whose memory is the environment's mapping, all of it: page n is page n. */
int ordinary_create(struct guest *g, int nr_vcpus);

/* Let the memory be @pages pages of another mapping. */
int ordinary_memory(struct guest *g, void *mem, size_t pages);

/*
 * All of the file, mapped once more at a multiple of 2 MiB, with MAP_SHARED or
 * MAP_PRIVATE. NULL if that fails.
 */
unsigned char *map_again(struct test_env *env, int flags);

/*
 * Write the page's number to its first word, by ourselves, and have the guest use each
 * page.
 */
int number_pages(struct guest *g, size_t first, size_t pages);

/*
 * How many of these pages have another number, or lack the word that the guest writes to
 * each of them? The guest reads the first one and the last one.
 */
size_t wrong_numbers(struct guest *g, size_t first, size_t pages);

/* The guest's translations, of 4 KiB and of 2 MiB: that many pages. */
__s64 pages_mapped(struct guest *g);

/* Has the device an entry of that size? Yes if this IOMMU does not show its table. */
bool device_has_entry(struct test_env *env, size_t page, __u64 size);

/* Does the device read and write that page? It copies the first word to the third. */
bool device_uses(struct test_env *env, size_t page);

/* Does the IOMMU stop the device's copy of a word, and report that? */
bool device_faults(struct test_env *env, size_t from, size_t to);

/* Does the guest's access fail with EFAULT, and without another explanation? */
bool no_memory_at(struct guest *g, int n, size_t page);

/*
 * Page the first 2 MiB out. How many pages are left? MADV_PAGEOUT finds pages that are
 * mapped, and not in a list of a CPU. Where it has split a huge folio, some pages may be
 * left in such a list, and have lost their mapping: it takes a second time.
 */
size_t left_after_pageout(struct test_env *env);

#endif /* TEST_ORDINARY_H */
