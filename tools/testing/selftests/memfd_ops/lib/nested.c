// SPDX-License-Identifier: GPL-2.0
#include "nested.h"

/* In the low memory, behind the pages that ops use */
#define GUEST_CODE	0x8000
#define VMCB		0x9000
#define PAGE_DIRECTORY	0xa000
#define PAGE_TABLE	0xb000
#define HOST_SAVE	0xc000

/* Of the processor, AMD64 Architecture Programmer's Manual, volume 2 */
#define CR0_PE		0x1
#define CR0_ET		0x10
#define CR0_PG		0x80000000
#define CR4_PSE		0x10
#define EFER_SVME	0x1000
#define MSR_VM_HSAVE_PA	0xc0010117

#define PTE_PRESENT	0x1
#define PTE_WRITE	0x2
#define PTE_USER	0x4	/* nested page tables always need it */
#define PTE_HUGE	0x80
#define PTE_ALL		(PTE_PRESENT | PTE_WRITE | PTE_USER)
#define HUGE_SHIFT	22		/* of a 32-bit page directory */

/* Offsets in the VMCB */
enum {
	INTERCEPT_MISC2	= 0x010,
	GUEST_ASID	= 0x058,
	NP_ENABLE	= 0x090,
	N_CR3		= 0x0b0,
	SEG_ES		= 0x400,
	SEG_CS		= 0x410,
	SEG_SS		= 0x420,
	SEG_DS		= 0x430,
	SAVE_EFER	= 0x4d0,
	SAVE_CR0	= 0x558,
	SAVE_DR7	= 0x560,
	SAVE_DR6	= 0x568,
	SAVE_RFLAGS	= 0x570,
	SAVE_RIP	= 0x578,
	SAVE_PAT	= 0x668,
};

#define INTERCEPT_VMRUN	0x1	/* must be set */

static void put(struct vmm *vmm, unsigned int offset, __u64 value, size_t size)
{
	memcpy(vmm->low + VMCB + offset, &value, size);
}

/* A flat segment of 4 GiB, of that type and selector */
static void put_segment(struct vmm *vmm, unsigned int offset, __u16 selector, __u16 type)
{
	put(vmm, offset, selector, 2);
	put(vmm, offset + 2, 0xc90 | type, 2);	/* 32 bits, in pages; present, not a gate */
	put(vmm, offset + 4, 0xffffffff, 4);
}

/* The nested guest runs the program of the guest: its op at address 0 is VMM_READ. */
static void make_vmcb(struct vmm *vmm)
{
	memset(vmm->low + VMCB, 0, PAGE);
	put(vmm, INTERCEPT_MISC2, INTERCEPT_VMRUN, 4);
	put(vmm, GUEST_ASID, 1, 4);
	put(vmm, NP_ENABLE, 1, 8);
	put(vmm, N_CR3, PAGE_DIRECTORY, 8);
	put_segment(vmm, SEG_CS, 0x08, 0xb);
	put_segment(vmm, SEG_DS, 0x10, 0x3);
	put_segment(vmm, SEG_ES, 0x10, 0x3);
	put_segment(vmm, SEG_SS, 0x10, 0x3);
	put(vmm, SAVE_EFER, EFER_SVME, 8);
	put(vmm, SAVE_CR0, CR0_PE | CR0_ET, 8);
	put(vmm, SAVE_DR7, 0x400, 8);
	put(vmm, SAVE_DR6, 0xffff0ff0, 8);
	put(vmm, SAVE_RFLAGS, 2, 8);
	put(vmm, SAVE_PAT, 0x0007040600070406, 8);
}

/* Addresses stay as they are: the low memory by pages, 64 MiB from GPA on by 4 MiB. */
static void make_page_tables(struct vmm *vmm)
{
	__u32 *directory = (void *)(vmm->low + PAGE_DIRECTORY);
	__u32 *table = (void *)(vmm->low + PAGE_TABLE);
	__u32 i;

	memset(directory, 0, PAGE);
	memset(table, 0, PAGE);
	directory[0] = PAGE_TABLE | PTE_ALL;
	for (i = 0; i < VMM_LOW_SIZE / PAGE; i++)
		table[i] = i * PAGE | PTE_ALL;
	for (i = GPA >> HUGE_SHIFT; i < (GPA >> HUGE_SHIFT) + 16; i++)
		directory[i] = i << HUGE_SHIFT | PTE_HUGE | PTE_ALL;
}

int nested_prepare(struct vmm *vmm, int n)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {
		.header.nmsrs = 1,
		.entry = { .index = MSR_VM_HSAVE_PA, .data = HOST_SAVE },
	};
	struct vmm_vcpu *vcpu = &vmm->vcpu[n];
	struct kvm_cpuid2 *cpuid;
	struct kvm_sregs sregs;
	const int nent = 256;
	int ret = 0;

	cpuid = calloc(1, sizeof(*cpuid) + nent * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = nent;
	if (ioctl(vmm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) ||
	    ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
		ret = -errno;
	free(cpuid);
	if (ret)
		return ret;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.efer |= EFER_SVME;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) != 1)
		return -EOPNOTSUPP;
	return 0;
}

/* VMRUN is for a guest that has paging enabled. */
static int set_paging(struct vmm_vcpu *vcpu)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cr0 |= CR0_PG;
	sregs.cr3 = PAGE_DIRECTORY;
	sregs.cr4 |= CR4_PSE;
	return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

int nested_enter(struct vmm *vmm, int n)
{
	static const unsigned char code[] = {
		0xb8, VMCB & 0xff, VMCB >> 8, 0, 0,	/* mov $VMCB, %eax */
		0x0f, 0x01, 0xd8,			/* vmrun */
		0xf4,					/* hlt: it should not get here */
	};
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2, .rdi = VMM_LOW_FREE };
	struct vmm_vcpu *vcpu = &vmm->vcpu[n];
	__s64 ret;

	memcpy(vmm->low + GUEST_CODE, code, sizeof(code));
	make_vmcb(vmm);
	make_page_tables(vmm);

	/* let KVM finish the instruction that ended the last op */
	vcpu->run->immediate_exit = 1;
	ioctl(vcpu->fd, KVM_RUN, 0);
	vcpu->run->immediate_exit = 0;
	ret = set_paging(vcpu);
	if (ret)
		return ret;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return -errno;
	/* until the nested guest has read that word */
	ret = vmm_vcpu_resume(vcpu);
	if (ret < 0)
		return ret;
	return vmm_vcpu_stat(vcpu, "guest_mode") == 1 ? 0 : -EPROTO;
}
