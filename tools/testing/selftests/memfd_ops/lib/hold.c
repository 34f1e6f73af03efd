// SPDX-License-Identifier: GPL-2.0
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "hold.h"

#define HOLD	"/sys/kernel/debug/memfd_ops_hold"

bool has_hold(void)
{
	return !access(HOLD, F_OK);
}

static int open_hold(const char *line, int len)
{
	int hold = open(HOLD, O_RDWR | O_CLOEXEC), error;

	if (hold < 0)
		return -errno;
	if (write(hold, line, len) == len)
		return hold;
	error = -errno;
	close(hold);
	return error;
}

static int hold_this_thread(const char *where)
{
	char line[64];

	return open_hold(line, snprintf(line, sizeof(line), "%s %d", where, gettid()));
}

int hold_fault(void)
{
	return hold_this_thread("fault");
}

int hold_split(void)
{
	return hold_this_thread("split");
}

int hold_invalidation(int fd, size_t first, size_t pages)
{
	char line[64];

	return open_hold(line, snprintf(line, sizeof(line), "invalidation %d %zu %zu",
					fd, first, first + pages));
}

int hold_wait(int hold)
{
	char c;

	return read(hold, &c, 1) ? -errno : 0;
}
