/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Accesses that end in SIGBUS.
 */
#ifndef TEST_SIGBUS_H
#define TEST_SIGBUS_H

#include <setjmp.h>
#include <stdbool.h>

/* A handler of SIGBUS, and where it jumps to: sigsetjmp() returns a second time. */
extern sigjmp_buf bus_error;
void on_sigbus(int sig);

bool read_is_refused(unsigned char *addr);
bool write_is_refused(unsigned char *addr);

/* Let the page's memory fail: SIGBUS goes to the processes that have it mapped. */
int poison(unsigned char *addr);

#endif /* TEST_SIGBUS_H */
