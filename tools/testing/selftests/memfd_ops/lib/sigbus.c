// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

#include <memfd_ops/files.h>
#include <memfd_ops/memory.h>

#include "sigbus.h"

enum access { READ, WRITE, POISON };

sigjmp_buf bus_error;

void on_sigbus(int sig)
{
	siglongjmp(bus_error, sig);
}

/* -EFAULT if the access ends in SIGBUS. */
static int try_access(unsigned char *addr, enum access access)
{
	struct sigaction action = { .sa_handler = on_sigbus }, old;
	volatile int ret = -EFAULT;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(bus_error, 1)) {
		switch (access) {
		case READ:
			(void)*(volatile unsigned char *)addr;
			ret = 0;
			break;
		case WRITE:
			*(volatile unsigned char *)addr = 1;
			ret = 0;
			break;
		case POISON:
			ret = madvise(addr, PAGE, MADV_HWPOISON) ? -errno : 0;
			break;
		}
	}
	sigaction(SIGBUS, &old, NULL);
	return ret;
}

bool read_is_refused(unsigned char *addr)
{
	return try_access(addr, READ);
}

bool write_is_refused(unsigned char *addr)
{
	return try_access(addr, WRITE);
}

int poison(unsigned char *addr)
{
	int ret = try_access(addr, POISON);

	/* the signal may come before madvise() returns */
	return ret == -EFAULT ? 0 : ret;
}

static int write_pfn(const char *path, __u64 pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", pfn);
	return write_file(path, text);
}

int poison_pfn(__u64 pfn)
{
	return write_pfn(HWPOISON "corrupt-pfn", pfn);
}

int unpoison_pfn(__u64 pfn)
{
	return write_pfn(HWPOISON "unpoison-pfn", pfn);
}
