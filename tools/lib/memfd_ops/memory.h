/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a memfd: what the file has, and what changes it.
 */
#ifndef MEMFD_OPS_MEMORY_H
#define MEMFD_OPS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define HUGE_PAGES	(HUGE / PAGE)

#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* Is there an initialised page? Looks without touching it. */
bool in_core(const void *addr);

size_t in_core_pages(const void *addr, size_t pages);

/* How many pages are accounted to the file, initialised or not. */
size_t allocated(int fd);

size_t file_pages(int fd);

/* What a page is filled with in these tests; depends on the page and on @seed. */
void fill(unsigned char *addr, unsigned int seed);

bool filled(const unsigned char *addr, unsigned int seed);
bool all(const unsigned char *addr, size_t size, unsigned char value);
int punch(int fd, size_t first, size_t pages);
int grow(int fd, size_t first, size_t pages);

#endif /* MEMFD_OPS_MEMORY_H */
