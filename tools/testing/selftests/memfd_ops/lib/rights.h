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

/* Another descriptor of the same file, with less rights */
int reopen(int fd, int flags);

int limit_memlock(rlim_t pages);

/* With CAP_IPC_LOCK among those in effect, or not */
int set_ipc_lock(bool effective);

/* From now on RLIMIT_MEMLOCK holds for this process, as for an ordinary user's. */
int limit_as_user(rlim_t pages);

/* True in a new process. False in ours, when that has ended, with its status. */
bool in_child(int *status);

#endif /* TEST_RIGHTS_H */
