/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tracepoints report: which pages the core has the consumers of a file revoke, and
 * which the kernel fails to migrate. No other file of the tests knows their format.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_TRACE_H
#define TEST_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#define NEEDS_TRACE	"needs a kernel with tracepoints"
bool has_trace(void);

/* Record the invalidations of the file's consumers, in place of an earlier record. */
int trace_start(int fd);

/* How often the core has had consumers of that kind revoke a page of [first, first + pages) */
long traced(const char *name, size_t first, size_t pages);

/* Record the migrations that this thread does for NUMA balancing, instead. */
int trace_balancing(void);

/* How many pages it has failed to migrate */
long traced_failures(void);

void trace_stop(void);

#endif /* TEST_TRACE_H */
