/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that repeat random steps. MEMFD_OPS_SEED=n repeats a run's choices, though not
 * its timing; MEMFD_OPS_SECONDS=n sets how long it takes.
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <linux/types.h>

/* Seconds until a test that repeats random steps must have done each of them. */
#define LONGEST		150

long test_seconds(long otherwise);

/* Notes the seed, so that the log of a failure has it. */
unsigned int test_seed(void);

/* A number below @below; @random is not 0, and changes. */
__u64 pick(__u64 *random, __u64 below);

#endif /* TEST_RANDOM_H */
