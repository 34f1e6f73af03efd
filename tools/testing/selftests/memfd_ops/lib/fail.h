/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: have allocations of the kernel fail.
 */
#ifndef TEST_FAIL_H
#define TEST_FAIL_H

#include <stdbool.h>

#define FAULTY(what)	"/sys/kernel/debug/fail" what

/*
 * Let the @nth allocation of this thread from here on fail. Then, with 0, no
 * more: returns how many were still to come, 0 if one has failed.
 */
int fail_nth(int fd, int nth);

/* Any allocation may be made to fail, and quietly. */
void fail_anything(const char *on);

/*
 * Of those, no pages, as slabs need one now and then: the nth allocation of a call is
 * the same each time, or nearly so. To be called after fail_anything("0").
 */
void fail_objects_alone(void);

/*
 * Of the threads that have 1 in their make-it-fail, and no others, that many objects of
 * a hundred fail; until none_fails(). Without the filter everybody's would.
 */
void some_fail(const char *percent);

void none_fails(void);

/*
 * For code that retries by itself: have every object that this thread allocates fail,
 * from fail_every(fd, true) on; @fd is its file make-it-fail.
 */
void fail_every(int fd, bool on);

/*
 * No allocation fails in a function of the kernel and in those that it calls, and none
 * of them counts; NULL for no such exception.
 */
int fail_nothing_in(const char *function);

/* Those alone; NULL for all again. */
int fail_only_in(const char *function);

#endif /* TEST_FAIL_H */
