/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory as the kernel accounts it: what is pinned for a process, and what a memory
 * cgroup has.
 */
#ifndef TEST_ACCOUNT_H
#define TEST_ACCOUNT_H

#include <sys/types.h>

/* A cgroup file system of our own, and the group that cgroup_enter() makes. */
#define CGROUPS	"/tmp/cgroup"
#define CGROUP	CGROUPS "/memfd_ops"

/* Pages pinned for a process, as everybody can see; negative if it is not there */
long pinned_by(pid_t pid);

long pinned(void);

/* What this process and its children allocate from now on is in a group. */
int cgroup_enter(void);

void cgroup_leave(void);

/* To read another file makes the group's sums exact. */
void cgroup_add_up(void);

/*
 * Take as much as can be had from the group, which is never as much as this. What was
 * in use lately outlives a round; and the kernel goes by what it has added up.
 */
void cgroup_reclaim(void);

#endif /* TEST_ACCOUNT_H */
