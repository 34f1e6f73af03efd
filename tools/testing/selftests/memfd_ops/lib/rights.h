/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Limits and rights: be an ordinary user, or another process, and be refused.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_RIGHTS_H
#define TEST_RIGHTS_H

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "note.h"

#define NOBODY	65534

/* For a child process: exit with status 1 unless @what holds. */
#define MUST(what) do {							\
	if (!(what)) {							\
		note("line %d: not so: %s (errno %d)", __LINE__, #what, errno);	\
		_exit(1);						\
	}								\
} while (0)

/* Open the same file again, with fewer rights. */
int reopen(int fd, int flags);

int limit_memlock(rlim_t pages);

/* Have CAP_IPC_LOCK in effect, or not. */
int set_ipc_lock(bool effective);

/* Limit this process by RLIMIT_MEMLOCK from now on, like one of an ordinary user. */
int limit_as_user(rlim_t pages);

/* Fork: true in the child; false in the parent, after the child's end, with its status. */
bool in_child(int *status);

#endif /* TEST_RIGHTS_H */
