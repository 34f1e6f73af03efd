/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /sys/kernel/debug/memfd_ops_hold: faults, splits and invalidations that stop halfway. Each
 * hold is a file descriptor; closing it lets go.
 *
 * Functions return 0 or a value, or a negative errno: -ENOENT on a kernel without it.
 */
#ifndef TEST_HOLD_H
#define TEST_HOLD_H

#include <stdbool.h>
#include <stddef.h>

#define NEEDS_HOLD	"needs a kernel with MEMFD_OPS_HOLD_TEST"
bool has_hold(void);

/*
 * Hold the next fault of a vCPU that the calling thread runs, which has run before:
 * between the lookup of the page and the lock of KVM's page tables.
 */
int hold_fault(void);

/*
 * Hold the next split of a huge folio that the calling thread asks for: while the folio
 * is frozen. Its CPU is lost until then, for interrupts too: nothing may wait for it.
 */
int hold_split(void);

/*
 * Hold the next invalidation of these pages, after the callbacks of consumers that
 * begin before them, while the pages are still in the file.
 */
int hold_invalidation(int fd, size_t first, size_t pages);

/* Wait until it is held. */
int hold_wait(int hold);

#endif /* TEST_HOLD_H */
