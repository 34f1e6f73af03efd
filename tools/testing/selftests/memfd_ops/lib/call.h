/* SPDX-License-Identifier: GPL-2.0 */
/* A call in a thread of its own, which a test can look at while it waits in the kernel. */
#ifndef TEST_CALL_H
#define TEST_CALL_H

#include <linux/types.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct call {
	__s64 (*function)(void *arg);
	void *arg;
	pthread_t thread;
	pid_t tid;
	__s64 result;
	bool ended;
};

/* Begin it. Returns 0, or a negative errno. */
int call_begin(struct call *call);

bool call_has_ended(struct call *call);

/* Wait until it sleeps in an ioctl, which is @request, or has ended. */
void call_wait_in_ioctl(struct call *call, unsigned long request);

/* Wait until it has ended. Returns the function's result. */
__s64 call_end(struct call *call);

#endif /* TEST_CALL_H */
