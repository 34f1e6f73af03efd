// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/capability.h>

#include <memfd_ops/memory.h>

#include "rights.h"

int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

int limit_memlock(rlim_t pages)
{
	struct rlimit limit = { .rlim_cur = pages * PAGE, .rlim_max = pages * PAGE };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

int set_ipc_lock(bool effective)
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

int limit_as_user(rlim_t pages)
{
	int ret = limit_memlock(pages);

	return ret ? ret : set_ipc_lock(false);
}

bool in_child(int *status)
{
	pid_t pid = fork();

	*status = -1;
	if (pid > 0)
		waitpid(pid, status, 0);
	return !pid;
}
