/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: have allocations of the kernel fail.
 */
#ifndef TEST_FAIL_H
#define TEST_FAIL_H

#include <stdbool.h>

#define FAULTY(what)	"/sys/kernel/debug/fail" what

/*
 * Fail the @nth allocation of this thread from now on; @fd is its file fail-nth. With 0,
 * stop that, and return how many allocations were left until the failure, or 0 if it
 * has happened.
 */
int fail_nth(int fd, int nth);

/* With "0", any allocation can be failed, and without a message; "1" undoes that. */
void fail_anything(const char *on);

/*
 * Fail no pages, which slabs need now and then, so that the nth allocation of a call is
 * nearly always the same. Call it after fail_anything("0").
 */
void fail_objects_alone(void);

/*
 * Fail that many percent of the objects that threads with 1 in their make-it-fail
 * allocate; until none_fails().
 */
void some_fail(const char *percent);
void none_fails(void);

/*
 * For code that retries by itself: have every object that this thread allocates fail,
 * from fail_every(fd, true) on; @fd is its file make-it-fail.
 */
void fail_every(int fd, bool on);

/*
 * No allocation fails in a function of the kernel and in those that it calls, and none of
 * them counts. With NULL, as after fail_anything(), this is the function that unmaps pages
 * from virtio's IOMMU, if the machine has that: it needs memory, and without it pages are
 * lost, and the kernel's log has a line about it.
 */
int fail_nothing_in(const char *function);

/* Allocations fail in those functions alone; NULL for all again. */
int fail_only_in(const char *function);

#endif /* TEST_FAIL_H */
