/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For programs that end with a message, and status 1, when something fails that
 * they cannot go on without.
 */
#ifndef NEED_H
#define NEED_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void __attribute__((format(printf, 1, 2), noreturn))
give_up(const char *fmt, ...)
{
	va_list args;

	printf("%s: ", program_invocation_short_name);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* Give up if @ret is a negative errno; otherwise return it. */
static inline long need(long ret, const char *what)
{
	if (ret < 0)
		give_up("cannot %s: %s", what, strerror(-ret));
	return ret;
}

/* The same for what sets errno. */
static inline long need_call(long ret, const char *what)
{
	return need(ret < 0 ? -errno : ret, what);
}

#endif /* NEED_H */
