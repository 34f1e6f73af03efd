// SPDX-License-Identifier: GPL-2.0
/*
 * Linked with -Wl,--wrap=ioctl into KVM's own selftests: when they create a
 * guest_memfd, they get a memfd instead, in a VM that accepts it.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

typedef int ioctl_fn(int fd, unsigned long request, ...);
ioctl_fn __real_ioctl, __wrap_ioctl;

static bool replaced;

static int memfd_for_guest_memfd(int vm, struct kvm_create_guest_memfd *args)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MEMFD_SLOTS };
	int fd;

	if (__real_ioctl(vm, KVM_ENABLE_CAP, &cap)) {
		perror("KVM_CAP_MEMFD_SLOTS");
		return -1;
	}
	fd = memfd_create("memfd-for-guest-memfd", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, args->size)) {
		perror("a memfd for a guest_memfd");
		return -1;
	}
	replaced = true;
	return fd;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	/* Every ioctl of these programs has a third argument. */
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);

	if (request == KVM_CREATE_GUEST_MEMFD)
		return memfd_for_guest_memfd(fd, arg);
	return __real_ioctl(fd, request, arg);
}

/* A test that passes without a memfd tests nothing of ours. */
static void at_exit(int status, void *unused)
{
	if (status || replaced)
		return;
	fputs("no guest_memfd was replaced by a memfd\n", stderr);
	fflush(NULL);
	_exit(1);
}

static void __attribute__((constructor)) at_start(void)
{
	on_exit(at_exit, NULL);
}
