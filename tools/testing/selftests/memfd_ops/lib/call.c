// SPDX-License-Identifier: GPL-2.0
#include <sched.h>
#include <unistd.h>

#include "call.h"
#include "test_env.h"

static void *run(void *arg)
{
	struct call *call = arg;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_RELEASE);
	call->result = call->function(call->arg);
	__atomic_store_n(&call->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

int call_begin(struct call *call)
{
	return -pthread_create(&call->thread, NULL, run, call);
}

bool call_has_ended(struct call *call)
{
	return __atomic_load_n(&call->ended, __ATOMIC_ACQUIRE);
}

void call_wait_in_ioctl(struct call *call, unsigned long request)
{
	do {
		sched_yield();
	} while (!call_has_ended(call) &&
		 !sleeps_in_ioctl(getpid(), __atomic_load_n(&call->tid, __ATOMIC_ACQUIRE),
				  request));
}

__s64 call_end(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->result;
}
