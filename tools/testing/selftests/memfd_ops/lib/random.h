/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that repeat random steps. MEMFD_OPS_SEED=n repeats a run's choices, though not
 * its timing; MEMFD_OPS_SECONDS=n sets how long it takes.
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <linux/types.h>

/*
 * Such a test goes on until it has done each step often enough, however slow the machine
 * is: after so many seconds it hangs. The harness waits for a bit longer.
 */
#define LONGEST		700

long test_seconds(long otherwise);

/* Notes the seed, so that the log of a failure has it. */
unsigned int test_seed(void);

/* A number below @below; @random is not 0, and changes. */
__u64 pick(__u64 *random, __u64 below);

#endif /* TEST_RANDOM_H */
