/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory as the kernel accounts it: the pages pinned for a process, and a memory cgroup.
 */
#ifndef TEST_ACCOUNT_H
#define TEST_ACCOUNT_H

#include <sys/types.h>

/* A cgroup file system of our own, and the group that cgroup_enter() makes. */
#define CGROUPS	"/tmp/cgroup"
#define CGROUP	CGROUPS "/memfd_ops"

/* Pages pinned for a process, by its status in /proc; negative if it is not there */
long pinned_by(pid_t pid);

long pinned(void);

/* Charge the memory of this process and its children to a group, from now on. */
int cgroup_enter(void);
void cgroup_leave(void);

/* Have the kernel add up the group's counters. */
void cgroup_add_up(void);

/*
 * Reclaim all that the group can lose, which is never as much as this. Pages in recent
 * use outlive a round; and the kernel goes by the sums that it has added up.
 */
void cgroup_reclaim(void);

#endif /* TEST_ACCOUNT_H */
