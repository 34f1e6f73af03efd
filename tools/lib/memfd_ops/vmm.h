/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine monitor that is as small as one can be: a VM whose guest
 * does nothing but read and write memory, word by word, one operation at a
 * time. Used by the programs of tools/memfd_ops and by the selftests.
 *
 *	struct vmm vmm = VMM_INIT;
 *
 *	vmm_create(&vmm, KVM_X86_DEFAULT_VM, 1);
 *	vmm_set_slot(&vmm, 1, 0, 16 << 20, size, mem, -1, 0);
 *	vmm_write(&vmm.vcpu[0], 16 << 20, 42);
 *	vmm_destroy(&vmm);
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef VMM_H
#define VMM_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/kvm.h>

#define VMM_MAX_VCPUS	8

/*
 * Slot 0 is the low memory: ordinary memory of this program, at guest physical
 * address 0. The first page is the guest's program, the rest is free to use.
 */
#define VMM_LOW_SIZE	0x10000
#define VMM_LOW_FREE	0x1000

struct vmm_vcpu {
	int	fd;
	struct kvm_run *run;	/* how the last KVM_RUN ended */
	size_t	run_size;
};

struct vmm {
	int	kvm;		/* /dev/kvm */
	int	fd;		/* the VM */
	unsigned long type;	/* KVM_X86_... */
	unsigned char *low;	/* the low memory */
	int	nr_vcpus;
	struct vmm_vcpu vcpu[VMM_MAX_VCPUS];
};

#define VMM_INIT	{ .kvm = -1, .fd = -1 }

/*
 * A VM of that type: KVM_X86_DEFAULT_VM, or KVM_X86_SW_PROTECTED_VM, which can
 * have private memory. vmm_destroy() may be called at any time, and again.
 */
int vmm_create(struct vmm *vmm, unsigned long type, int nr_vcpus);
void vmm_destroy(struct vmm *vmm);

/* The same of KVM_X86_SW_PROTECTED_VM, whose memslots may be in memfds. */
int vmm_create_for_memfds(struct vmm *vmm, int nr_vcpus);

/* What KVM_CHECK_EXTENSION returns for this VM: 0 when it does not know @cap. */
int vmm_check(struct vmm *vmm, int cap);

/*
 * Memory
 */

/*
 * Put @size bytes at guest physical address @gpa: shared memory from @mem, and
 * with KVM_MEM_GUEST_MEMFD in @flags, private memory from @memfd.
 */
int vmm_set_slot(struct vmm *vmm, __u32 slot, __u32 flags, __u64 gpa, __u64 size,
		 void *mem, int memfd, __u64 memfd_offset);
int vmm_delete_slot(struct vmm *vmm, __u32 slot);

/*
 * Anonymous memory at a multiple of 2 MiB, for a guest's shared memory: with a file's
 * place modulo 2 MiB, its memslot can have huge pages. NULL if there is none.
 */
void *vmm_alloc_shared(size_t size);

/* Let the guest have private memory there, or shared memory. */
int vmm_set_private(struct vmm *vmm, __u64 gpa, __u64 size, bool private);

/* Let vmm_set_slot() take plain memfds for private memory. */
int vmm_enable_memfd_slots(struct vmm *vmm);

/*
 * The guest's ops
 */

enum vmm_opcode {
	VMM_READ,	/* the word at addr: that is the result */
	VMM_WRITE,	/* value to addr */
	VMM_FILL,	/* value to count words from addr on */
	VMM_COPY,	/* count words to addr, from src */
	VMM_TOUCH,	/* value to count words, stride bytes apart, from addr on */
	VMM_COMPARE,	/* count words from addr on: how many are not value? */
	VMM_COUNT,	/* add 1 to the word at addr, until struct vmm_count at src stops it */
	VMM_NR_OPCODES
};

/* How VMM_COUNT, which does not leave the guest, can be watched, and be stopped */
struct vmm_count {
	__u32	stop;
	__u32	done;	/* how often the guest has added 1 */
};

/* A word has 32 bits. Addresses are guest physical ones; the guest has no others. */
struct vmm_op {
	enum vmm_opcode opcode;
	__u32	addr, src;
	__u32	count, stride;
	__u32	value;
};

/*
 * Have the guest do that. The result is not negative: that of VMM_READ and
 * VMM_COMPARE, how often VMM_COUNT has added 1, otherwise 0. A negative errno when the
 * op is not over:
 *
 * -EPROTO	the guest stopped for something else: vcpu->run->exit_reason, which
 *		is KVM_EXIT_MMIO where there is no memory;
 * another	KVM_RUN failed. If exit_reason is KVM_EXIT_MEMORY_FAULT, then
 *		vcpu->run->memory_fault is where the guest lacks a page. When it
 *		has one, vmm_vcpu_resume() goes on with the op from there.
 *
 * A new op gives up the one that is not over.
 */
__s64 vmm_vcpu_run_op(struct vmm_vcpu *vcpu, struct vmm_op op);
__s64 vmm_vcpu_resume(struct vmm_vcpu *vcpu);

static inline __s64 vmm_read(struct vmm_vcpu *vcpu, __u32 addr)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_READ, .addr = addr });
}

static inline int vmm_write(struct vmm_vcpu *vcpu, __u32 addr, __u32 value)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_WRITE, .addr = addr, .value = value });
}

static inline int vmm_fill(struct vmm_vcpu *vcpu, __u32 addr, __u32 count,
			   __u32 value)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_FILL, .addr = addr, .count = count, .value = value });
}

static inline int vmm_copy(struct vmm_vcpu *vcpu, __u32 addr, __u32 src,
			   __u32 count)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_COPY, .addr = addr, .src = src, .count = count });
}

static inline int vmm_touch(struct vmm_vcpu *vcpu, __u32 addr, __u32 count,
			    __u32 stride, __u32 value)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_TOUCH, .addr = addr, .count = count, .stride = stride,
		.value = value });
}

static inline __s64 vmm_compare(struct vmm_vcpu *vcpu, __u32 addr, __u32 count,
				__u32 value)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_COMPARE, .addr = addr, .count = count, .value = value });
}

static inline __s64 vmm_count(struct vmm_vcpu *vcpu, __u32 addr, __u32 control)
{
	return vmm_vcpu_run_op(vcpu, (struct vmm_op) {
		.opcode = VMM_COUNT, .addr = addr, .src = control });
}

/*
 * What KVM counts: "pages_2m" and others of the VM, "pf_fixed" and others of a
 * vCPU. -ENOENT when there is none of that name.
 */
__s64 vmm_stat(struct vmm *vmm, const char *name);
__s64 vmm_vcpu_stat(struct vmm_vcpu *vcpu, const char *name);

#endif /* VMM_H */
