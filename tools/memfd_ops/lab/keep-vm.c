// SPDX-License-Identifier: GPL-2.0
/*
 * Keep VMs until the guest of the lab ends, so that the kernel does not patch its code
 * whenever a test creates the first VM, or closes the last: QEMU's TCG with a thread for
 * each CPU does not always get the patched code right. Returns once they are there.
 *
 * Static keys count vCPUs without a local APIC, local APICs that software has not enabled
 * (as after reset), and VMs that may have memslots in memfds.
 */
#include <err.h>
#include <fcntl.h>
#include <sys/ioctl.h>
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

	vm = create_vm(kvm, KVM_X86_DEFAULT_VM);
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0L))
		err(1, "KVM_CREATE_IRQCHIP");
	create_vcpu(vm);

	if (daemon(0, 0))
		err(1, "daemon");
	for (;;)
		pause();
}
