/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness. A test takes the time that it takes: the machine may be slow,
 * and busy. Only one that hangs is stopped.
 */
#ifndef TEST_HARNESS_H
#define TEST_HARNESS_H

#include "../../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	900	/* seconds */

#endif /* TEST_HARNESS_H */
