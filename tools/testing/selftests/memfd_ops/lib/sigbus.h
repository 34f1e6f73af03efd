/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Accesses that end in SIGBUS, and memory that fails.
 */
#ifndef TEST_SIGBUS_H
#define TEST_SIGBUS_H

#include <setjmp.h>
#include <stdbool.h>

#include <linux/types.h>

/* A handler of SIGBUS, and where it jumps to: sigsetjmp() returns a second time. */
extern sigjmp_buf bus_error;
void on_sigbus(int sig);

bool read_is_refused(unsigned char *addr);
bool write_is_refused(unsigned char *addr);

/* Let the page's memory fail: SIGBUS goes to the processes that have it mapped. */
int poison(unsigned char *addr);

/* The kernel's own injector: a page frame fails, and is given back. */
#define HWPOISON	"/sys/kernel/debug/hwpoison/"
int poison_pfn(__u64 pfn);
int unpoison_pfn(__u64 pfn);

#endif /* TEST_SIGBUS_H */
