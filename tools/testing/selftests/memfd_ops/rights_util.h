/* SPDX-License-Identifier: GPL-2.0 */
#include <setjmp.h>
#include "test_util.h"
#include "lib/rights.h"

/* Use poison() of lib/sigbus.h, in place of another one. */
extern sigjmp_buf bus_error;
void on_sigbus(int sig);
