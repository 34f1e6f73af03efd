// SPDX-License-Identifier: GPL-2.0
/*
 * memlock BYTES COMMAND...: run a program that may lock that much memory, and no more.
 * memlock BYTES PID: change the limit of a running one. For make vmm.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rlimit limit;
	int pid;

	if (argc < 3)
		errx(1, "usage: %s BYTES COMMAND...|PID", argv[0]);
	pid = atoi(argv[2]);
	limit.rlim_cur = strtoul(argv[1], NULL, 0);
	limit.rlim_max = limit.rlim_cur;
	if (prlimit(pid, RLIMIT_MEMLOCK, &limit, NULL))
		err(1, "prlimit");
	if (pid)
		return 0;

	/* root does not get it back by execve(): no limit would hold */
	if (prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0))
		err(1, "prctl");
	execv(argv[2], argv + 2);
	err(1, "%s", argv[2]);
}
