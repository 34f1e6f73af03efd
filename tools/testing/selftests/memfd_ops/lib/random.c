// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <time.h>

#include "note.h"
#include "random.h"

static long number(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

long test_seconds(long otherwise)
{
	return number("MEMFD_OPS_SECONDS", otherwise);
}

unsigned int test_seed(void)
{
	struct timespec now;
	unsigned int seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = number("MEMFD_OPS_SEED", now.tv_nsec / 1000 ^ now.tv_sec);
	note("seed %u: MEMFD_OPS_SEED=%u repeats it", seed, seed);
	return seed;
}

__u64 pick(__u64 *random, __u64 below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % below;
}
