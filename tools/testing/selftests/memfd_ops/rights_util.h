/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of limits and rights share: to be an ordinary user, or another
 * process, and to be refused.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef RIGHTS_UTIL_H
#define RIGHTS_UTIL_H

#include "test_util.h"

#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>

#define NOBODY	65534

/* Another descriptor of the same file, with less rights */
static inline int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static inline int limit_memlock(rlim_t pages)
{
	struct rlimit limit = { .rlim_cur = pages * PAGE, .rlim_max = pages * PAGE };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

/* With CAP_IPC_LOCK among those in effect, or not */
static inline int set_ipc_lock(bool effective)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	if (effective)
		data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective |= CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* From now on RLIMIT_MEMLOCK holds for this process, as for an ordinary user's. */
static inline int limit_as_user(rlim_t pages)
{
	int ret = limit_memlock(pages);

	return ret ? ret : set_ipc_lock(false);
}

static sigjmp_buf bus_error;

static inline void on_sigbus(int sig)
{
	siglongjmp(bus_error, sig);
}

/* Does a write there end in SIGBUS? Or a read? */
static inline bool access_is_refused(unsigned char *addr, bool write)
{
	struct sigaction action = { .sa_handler = on_sigbus }, old;
	volatile bool refused = true;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(bus_error, 1)) {
		if (write)
			*(volatile unsigned char *)addr = 1;
		else
			(void)*(volatile unsigned char *)addr;
		refused = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return refused;
}

static inline bool write_is_refused(unsigned char *addr)
{
	return access_is_refused(addr, true);
}

static inline bool read_is_refused(unsigned char *addr)
{
	return access_is_refused(addr, false);
}

/* True in a new process. False in ours, when that has ended, with its status. */
static inline bool in_child(int *status)
{
	pid_t pid = fork();

	*status = -1;
	if (pid > 0)
		waitpid(pid, status, 0);
	return !pid;
}

#define MUST(what) do {							\
	if (!(what)) {							\
		note("line %d: not so: %s (errno %d)", __LINE__, #what, errno);	\
		_exit(1);						\
	}								\
} while (0)

#endif /* RIGHTS_UTIL_H */
