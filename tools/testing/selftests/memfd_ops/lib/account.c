// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memfd_ops/files.h>
#include <memfd_ops/memory.h>

#include "account.h"

long pinned_by(pid_t pid)
{
	char path[64];
	long kib;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	kib = counter(path, "VmPin");
	return kib < 0 ? kib : kib / (long)(PAGE / 1024);
}

long pinned(void)
{
	return pinned_by(getpid());
}

int cgroup_enter(void)
{
	mkdir(CGROUPS, 0700);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL))
		return -errno;
	if (write_file(CGROUPS "/cgroup.subtree_control", "+memory") ||
	    (mkdir(CGROUP, 0700) && errno != EEXIST))
		return -EIO;
	return write_file(CGROUP "/cgroup.procs", "0");
}

void cgroup_leave(void)
{
	write_file(CGROUPS "/cgroup.procs", "0");
	rmdir(CGROUP);
	umount(CGROUPS);
}

void cgroup_add_up(void)
{
	counter(CGROUP "/cpu.stat", "");
}

void cgroup_reclaim(void)
{
	int round;

	for (round = 0; round < 3; round++) {
		cgroup_add_up();
		write_file(CGROUP "/memory.reclaim", "64M");
	}
}
