/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests with both a guest and a device share: VMs with memslots in a
 * memfd, and guests that move pages at a time.
 */
#ifndef KVM_RIG_H
#define KVM_RIG_H

#include "test_util.h"
#include <memfd_ops/vmm.h>

#define PAGE_WORDS	(PAGE / sizeof(__u32))

/* Where the guests have memory of the file: at a multiple of 2 MiB */
#define GPA		0x40000000U

/* A vCPU's own page of the low memory */
#define LOW_PAGE(n)	(VMM_LOW_FREE + (n) * PAGE)

/* Is there a KVM that can be asked at all? That it has our memslots is a test. */
static inline bool has_kvm(void)
{
	return !access("/dev/kvm", F_OK);
}

static inline int memfd_vm_create(struct vmm *vm, int nr_vcpus)
{
	int ret = vmm_create(vm, KVM_X86_SW_PROTECTED_VM, nr_vcpus);

	return ret ? ret : vmm_enable_memfd_slots(vm);
}

/* Anonymous memory that has a file's place modulo 2 MiB, for a guest's shared side. */
static inline __u32 *alloc_shared(size_t pages)
{
	unsigned char *mem = mmap(NULL, pages * PAGE + HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	return (__u32 *)(((uintptr_t)mem + HUGE - 1) & ~(HUGE - 1));
}

/* Patterns: no two words of a page are the same, nor those of two seeds. */
static inline __u32 pattern(unsigned int seed, size_t word)
{
	return seed << 10 | word;
}

static inline void fill_words(void *page, unsigned int seed)
{
	__u32 *words = page;
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		words[i] = pattern(seed, i);
}

/* How many of the first @count words are not what the pattern says? */
static inline size_t wrong_words(const void *page, unsigned int seed, size_t count)
{
	const __u32 *words = page;
	size_t i, wrong = 0;

	for (i = 0; i < count; i++)
		wrong += words[i] != pattern(seed, i);
	return wrong;
}

/* Have the guest's vCPU @n read a page for us: an op's result. */
static inline __s64 guest_load(struct vmm *vm, int n, __u32 gpa, void *page)
{
	__s64 ret = vmm_copy(&vm->vcpu[n], LOW_PAGE(n), gpa, PAGE_WORDS);

	memcpy(page, vm->low + LOW_PAGE(n), PAGE);
	return ret;
}

static inline __s64 guest_store(struct vmm *vm, int n, __u32 gpa, const void *page)
{
	memcpy(vm->low + LOW_PAGE(n), page, PAGE);
	return vmm_copy(&vm->vcpu[n], gpa, LOW_PAGE(n), PAGE_WORDS);
}

/* Have it write the pattern. */
static inline __s64 guest_fill(struct vmm *vm, int n, __u32 gpa, unsigned int seed)
{
	__u32 page[PAGE_WORDS];

	fill_words(page, seed);
	return guest_store(vm, n, gpa, page);
}

/* How many words does it see that are not the pattern's? -errno if it sees none. */
static inline __s64 guest_wrong_words(struct vmm *vm, int n, __u32 gpa,
				      unsigned int seed)
{
	__u32 page[PAGE_WORDS];
	__s64 ret = guest_load(vm, n, gpa, page);

	return ret ? ret : (__s64)wrong_words(page, seed, PAGE_WORDS);
}

/* Did an op end since private memory was missing in the page at @gpa? */
static inline bool is_hole_exit(struct vmm_vcpu *vcpu, __s64 ret, __u32 gpa)
{
	struct kvm_run *run = vcpu->run;

	return ret == -EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	       run->memory_fault.gpa == gpa && run->memory_fault.size == PAGE &&
	       run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE;
}

#endif /* KVM_RIG_H */
