// SPDX-License-Identifier: GPL-2.0
/*
 * cputime PID: the CPU time of a process so far, of all its threads and with that of the
 * guests that they run, in ns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct timespec ts;
	clockid_t clock;

	if (argc != 2 || clock_getcpuclockid(atoi(argv[1]), &clock) || clock_gettime(clock, &ts)) {
		fprintf(stderr, "usage: %s PID\n", argv[0]);
		return 1;
	}
	printf("%lld\n", ts.tv_sec * 1000000000LL + ts.tv_nsec);
	return 0;
}
