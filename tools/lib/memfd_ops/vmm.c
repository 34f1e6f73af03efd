// SPDX-License-Identifier: GPL-2.0
/*
 * A small virtual machine monitor for x86: see vmm.h for what it is and does.
 *
 * The guest runs in 32-bit protected mode with flat segments, without paging,
 * interrupts or devices: an address in its registers is a guest physical one,
 * and nothing happens that its program did not do.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

#define AGENT_ROUTINE	32
#define AGENT_SIZE	(VMM_NR_OPCODES * AGENT_ROUTINE)
#define AGENT_PORT	0x10

/*
 * The guest's program: a routine for each opcode, the one of opcode n at n * 32.
 * (.org is an error where the one before is longer.)
 *
 *	edi	addr	esi	src
 *	ecx	count	edx	stride
 *	eax	value, and then the result
 *
 * "rep" repeats the instruction ecx times, which moves edi (and esi) by a word
 * each time. When a page is missing in the middle of it, the registers say how
 * far it came, and running the instruction again goes on there.
 *
 * A routine ends by writing to an I/O port. No device is there, so that KVM_RUN
 * returns, and we find the result in eax.
 */
asm("	.pushsection .rodata\n"
	"	.balign	32\n"
	"	.code32\n"
	"vmm_agent:\n"

	"	.org	vmm_agent + 0 * 32\n"	/* VMM_READ */
	"	mov	(%edi), %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 1 * 32\n"	/* VMM_WRITE */
	"	mov	%eax, (%edi)\n"
	"	xor	%eax, %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 2 * 32\n"	/* VMM_FILL */
	"	rep stosl\n"			/* eax to (edi) */
	"	xor	%eax, %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 3 * 32\n"	/* VMM_COPY */
	"	rep movsl\n"			/* (esi) to (edi) */
	"	xor	%eax, %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 4 * 32\n"	/* VMM_TOUCH */
	"1:	jecxz	2f\n"
	"	mov	%eax, (%edi)\n"
	"	add	%edx, %edi\n"
	"	dec	%ecx\n"
	"	jmp	1b\n"
	"2:	xor	%eax, %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 5 * 32\n"	/* VMM_COMPARE */
	"	xor	%edx, %edx\n"		/* how many differ */
	"1:	jecxz	2f\n"
	"	repe scasl\n"			/* until (edi) is not eax */
	"	je	2f\n"			/* there was no such word */
	"	inc	%edx\n"
	"	jmp	1b\n"
	"2:	mov	%edx, %eax\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 6 * 32\n"	/* VMM_COUNT */
	"1:	incl	(%edi)\n"
	"	inc	%eax\n"
	"	mov	%eax, 4(%esi)\n"
	"	cmpl	$0, (%esi)\n"
	"	je	1b\n"
	"	out	%al, $0x10\n"

	"	.org	vmm_agent + 7 * 32\n"
	"	.code64\n"
	"	.popsection\n");

static const void *agent(void)
{
	const void *at;

	asm("lea vmm_agent(%%rip), %0" : "=r" (at));
	return at;
}

int vmm_check(struct vmm *vmm, int cap)
{
	int ret = ioctl(vmm->fd, KVM_CHECK_EXTENSION, (long)cap);

	return ret < 0 ? -errno : ret;
}

/*
 * Memory
 */

int vmm_set_slot(struct vmm *vmm, __u32 slot, __u32 flags, __u64 gpa, __u64 size,
		 void *mem, int memfd, __u64 memfd_offset)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (unsigned long)mem,
		.guest_memfd = memfd,
		.guest_memfd_offset = memfd_offset,
	};

	return ioctl(vmm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

int vmm_delete_slot(struct vmm *vmm, __u32 slot)
{
	return vmm_set_slot(vmm, slot, 0, 0, 0, NULL, -1, 0);
}

int vmm_set_private(struct vmm *vmm, __u64 gpa, __u64 size, bool private)
{
	struct kvm_memory_attributes attributes = {
		.address = gpa,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	return ioctl(vmm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attributes) ? -errno : 0;
}

int vmm_enable_memfd_slots(struct vmm *vmm)
{
	struct kvm_enable_cap enable = { .cap = KVM_CAP_MEMFD_SLOTS };

	return ioctl(vmm->fd, KVM_ENABLE_CAP, &enable) ? -errno : 0;
}

void *vmm_alloc_shared(size_t size)
{
	const size_t huge = 2 << 20;
	unsigned char *mem = mmap(NULL, size + huge, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	return (void *)(((unsigned long)mem + huge - 1) & ~(huge - 1));
}

static int create_low_memory(struct vmm *vmm)
{
	void *low = mmap(NULL, VMM_LOW_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (low == MAP_FAILED)
		return -errno;
	vmm->low = low;
	memcpy(vmm->low, agent(), AGENT_SIZE);
	return vmm_set_slot(vmm, 0, 0, 0, VMM_LOW_SIZE, vmm->low, -1, 0);
}

/*
 * vCPUs
 */

/* From real mode, in which a processor starts, to flat protected mode. */
static int set_protected_mode(struct vmm_vcpu *vcpu)
{
	const struct kvm_segment data = {
		.base = 0,
		.limit = 0xffffffff,
		.g = 1,			/* the limit is in pages */
		.db = 1,		/* 32 bits */
		.s = 1,			/* code or data */
		.type = 3,		/* data, writable, accessed */
		.present = 1,
		.selector = 0x10,	/* not looked up: there is no GDT */
	};
	struct kvm_segment code = data;
	struct kvm_sregs sregs;

	code.type = 11;			/* code, readable, accessed */
	code.selector = 0x08;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cr0 = 0x11;		/* PE, and ET, which is always set */
	return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

static int create_vcpu(struct vmm *vmm)
{
	struct vmm_vcpu *vcpu = &vmm->vcpu[vmm->nr_vcpus];
	int size = ioctl(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *run;

	if (size < 0)
		return -errno;
	vcpu->fd = ioctl(vmm->fd, KVM_CREATE_VCPU, (long)vmm->nr_vcpus);
	if (vcpu->fd < 0)
		return -errno;
	vcpu->run = NULL;
	vmm->nr_vcpus++;		/* from here on, vmm_destroy() closes it */

	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	vcpu->run_size = size;
	return set_protected_mode(vcpu);
}

/* Run the guest until it stops; true, or false and errno. */
static bool kvm_run(struct vmm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	return !ioctl(vcpu->fd, KVM_RUN, 0);
}

/*
 * In the next KVM_RUN, KVM finishes the instruction at which the guest stopped, and may
 * stop again in the middle of it. Do that before setting the registers, which it would
 * change again.
 */
static void finish_instruction(struct vmm_vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	while (kvm_run(vcpu))
		;
	vcpu->run->immediate_exit = 0;
}

/* Go on with the op that a missing page stopped. */
__s64 vmm_vcpu_resume(struct vmm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;

	while (!kvm_run(vcpu))
		if (errno != EINTR)	/* a signal: no reason to stop */
			return -errno;
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != AGENT_PORT)
		return -EPROTO;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return -errno;
	return (__u32)regs.rax;
}

__s64 vmm_vcpu_run_op(struct vmm_vcpu *vcpu, struct vmm_op op)
{
	struct kvm_regs regs = {
		.rip = op.opcode * AGENT_ROUTINE,
		.rdi = op.addr,
		.rsi = op.src,
		.rcx = op.count,
		.rdx = op.stride,
		.rax = op.value,
		.rflags = 2,		/* always set; no interrupts */
	};

	finish_instruction(vcpu);
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return -errno;
	return vmm_vcpu_resume(vcpu);
}

/*
 * The VM
 */

static int create_vm(struct vmm *vmm)
{
	vmm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vmm->kvm < 0)
		return -errno;
	vmm->fd = ioctl(vmm->kvm, KVM_CREATE_VM, vmm->type);
	return vmm->fd < 0 ? -errno : 0;
}

int vmm_create(struct vmm *vmm, unsigned long type, int nr_vcpus)
{
	int ret;

	if (nr_vcpus > VMM_MAX_VCPUS)
		return -EINVAL;
	*vmm = (struct vmm)VMM_INIT;
	vmm->type = type;
	ret = create_vm(vmm);
	if (!ret)
		ret = create_low_memory(vmm);
	while (!ret && vmm->nr_vcpus < nr_vcpus)
		ret = create_vcpu(vmm);
	if (ret)
		vmm_destroy(vmm);
	return ret;
}

int vmm_create_for_memfds(struct vmm *vmm, int nr_vcpus)
{
	int ret = vmm_create(vmm, KVM_X86_SW_PROTECTED_VM, nr_vcpus);

	return ret ? ret : vmm_enable_memfd_slots(vmm);
}

/* The VM goes with the last of its file descriptors and of their mappings. */
void vmm_destroy(struct vmm *vmm)
{
	struct vmm_vcpu *vcpu;

	while (vmm->nr_vcpus) {
		vcpu = &vmm->vcpu[--vmm->nr_vcpus];
		if (vcpu->run)
			munmap(vcpu->run, vcpu->run_size);
		close(vcpu->fd);
	}
	if (vmm->fd >= 0)
		close(vmm->fd);
	if (vmm->kvm >= 0)
		close(vmm->kvm);
	if (vmm->low)
		munmap(vmm->low, VMM_LOW_SIZE);
	*vmm = (struct vmm)VMM_INIT;
}

/*
 * Statistics: the file's header has the offsets of the descriptors, which are all of one
 * size (the name is last in each), and of the values.
 */

static bool read_at(int fd, void *to, size_t size, __u64 offset)
{
	return pread(fd, to, size, offset) == (ssize_t)size;
}

static __s64 find_stat(int fd, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	__s64 ret = -EIO;
	__u64 value;
	size_t size;
	__u32 i;

	if (!read_at(fd, &header, sizeof(header), 0))
		return -EIO;
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	if (!desc)
		return -ENOMEM;
	for (i = 0; i < header.num_desc; i++) {
		if (!read_at(fd, desc, size, header.desc_offset + i * size))
			goto out;
		if (strcmp(desc->name, name))
			continue;
		if (read_at(fd, &value, sizeof(value),
			    header.data_offset + desc->offset))
			ret = value;
		goto out;
	}
	ret = -ENOENT;
out:
	free(desc);
	return ret;
}

/* @fd is a VM or a vCPU. */
static __s64 read_stat(int fd, const char *name)
{
	int stats = ioctl(fd, KVM_GET_STATS_FD, NULL);
	__s64 ret;

	if (stats < 0)
		return -errno;
	ret = find_stat(stats, name);
	close(stats);
	return ret;
}

__s64 vmm_stat(struct vmm *vmm, const char *name)
{
	return read_stat(vmm->fd, name);
}

__s64 vmm_vcpu_stat(struct vmm_vcpu *vcpu, const char *name)
{
	return read_stat(vcpu->fd, name);
}
