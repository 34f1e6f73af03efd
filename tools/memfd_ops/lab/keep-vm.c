// SPDX-License-Identifier: GPL-2.0
/*
 * Keep VMs and a consumer until the guest of the lab ends, so that the kernel does not
 * patch its code whenever a test creates the first one, or closes the last: QEMU's TCG
 * with a thread for each CPU does not always get the patched code right. Returns once
 * they are there.
 *
 * Static keys count vCPUs without a local APIC, local APICs that software has not enabled
 * (as after reset), VMs that may have memslots in memfds, and files with consumers.
 */
#include <err.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

static int create_vm(int kvm, unsigned long type)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, type);

	if (vm < 0)
		err(1, "KVM_CREATE_VM");
	return vm;
}

static void create_vcpu(int vm)
{
	if (ioctl(vm, KVM_CREATE_VCPU, 0L) < 0)
		err(1, "KVM_CREATE_VCPU");
}

/* A memslot whose private memory is a memfd is a consumer of the file. */
static void create_consumer(int vm)
{
	const size_t size = sysconf(_SC_PAGESIZE);
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = size,
		.guest_memfd = memfd_create("kept", 0),
	};
	void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED || ftruncate(region.guest_memfd, size))
		err(1, "memory");
	region.userspace_addr = (unsigned long)shared;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region))
		err(1, "KVM_SET_USER_MEMORY_REGION2");
}

int main(void)
{
	struct kvm_enable_cap memfd_slots = { .cap = KVM_CAP_MEMFD_SLOTS };
	int kvm = open("/dev/kvm", O_RDWR);
	int vm;

	if (kvm < 0)
		err(1, "/dev/kvm");
	vm = create_vm(kvm, KVM_X86_SW_PROTECTED_VM);
	if (ioctl(vm, KVM_ENABLE_CAP, &memfd_slots))
		err(1, "KVM_CAP_MEMFD_SLOTS");
	create_vcpu(vm);
	create_consumer(vm);

	vm = create_vm(kvm, KVM_X86_DEFAULT_VM);
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0L))
		err(1, "KVM_CREATE_IRQCHIP");
	create_vcpu(vm);

	if (daemon(0, 0))
		err(1, "daemon");
	for (;;)
		pause();
}
