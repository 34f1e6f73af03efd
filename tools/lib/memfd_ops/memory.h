/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pages of a memfd: calls that show them, and calls that change them. Those that
 * change them return 0 or a negative errno.
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

/* Is there an initialised page? Does not access it. */
bool in_core(const void *addr);

size_t in_core_pages(const void *addr, size_t pages);

/* How many pages are accounted to the file, initialised or not. */
size_t allocated(int fd);

size_t file_pages(int fd);

/* Fill a page with bytes that depend on @seed. */
void fill(unsigned char *addr, unsigned int seed);
bool filled(const unsigned char *addr, unsigned int seed);

/* Do all bytes have that value? */
bool all(const unsigned char *addr, size_t size, unsigned char value);

/* Make a hole of [first, first + pages), or allocate those pages. */
int punch(int fd, size_t first, size_t pages);
int grow(int fd, size_t first, size_t pages);

#endif /* MEMFD_OPS_MEMORY_H */
