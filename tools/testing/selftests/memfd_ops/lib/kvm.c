// SPDX-License-Identifier: GPL-2.0
#include "kvm.h"

bool has_kvm(void)
{
	return !access("/dev/kvm", F_OK);
}

int guest_create(struct guest *g, int nr_vcpus)
{
	g->shared = vmm_alloc_shared(g->env.pages * PAGE);
	return g->shared ? vmm_create_for_memfds(&g->vmm, nr_vcpus) : -ENOMEM;
}

int guest_setup(struct guest *g, size_t pages)
{
	int ret;

	g->vmm = (struct vmm)VMM_INIT;
	ret = env_setup_memory(&g->env, pages);
	if (ret)
		return ret;
	stay_on_one_cpu(false);
	if (!has_kvm()) {
		g->env.lacks = "needs KVM";
		return -ENODEV;
	}
	return guest_create(g, 1);
}

void guest_teardown(struct guest *g)
{
	vmm_destroy(&g->vmm);
	if (g->shared)
		munmap(g->shared, g->env.pages * PAGE);
	env_teardown(&g->env);
}

struct vmm_vcpu *vcpu_of(struct guest *g)
{
	return &g->vmm.vcpu[0];
}

__u32 gpa_of(size_t page)
{
	return GPA + page * PAGE;
}

/*
 * Memslots
 */

int put_slot(struct guest *g, __u32 slot, __u32 flags, size_t at, size_t first,
	     size_t pages)
{
	return vmm_set_slot(&g->vmm, slot, flags, gpa_of(at), pages * PAGE,
			    g->shared + at * PAGE, g->env.fd, first * PAGE);
}

int add_slot(struct guest *g, __u32 flags, size_t first, size_t pages)
{
	int ret = put_slot(g, SLOT, flags, first, first, pages);

	return ret ? ret : vmm_set_private(&g->vmm, gpa_of(first), pages * PAGE, true);
}

struct kvm_userspace_memory_region2 slot_region(struct guest *g, int fd, size_t pages)
{
	return (struct kvm_userspace_memory_region2) {
		.slot = SLOT,
		.flags = FILL,
		.guest_phys_addr = GPA,
		.memory_size = pages * PAGE,
		.userspace_addr = (uintptr_t)g->shared,
		.guest_memfd = fd,
	};
}

int set_region(struct vmm *vmm, struct kvm_userspace_memory_region2 region)
{
	return ioctl(vmm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

int create_guest_memfd(struct vmm *vmm, __u64 size)
{
	struct kvm_create_guest_memfd create = { .size = size };
	int fd = ioctl(vmm->fd, KVM_CREATE_GUEST_MEMFD, &create);

	return fd < 0 ? -errno : fd;
}

int pre_fault(struct guest *g, struct kvm_pre_fault_memory *range, size_t first,
	      size_t pages)
{
	*range = (struct kvm_pre_fault_memory){
		.gpa = gpa_of(first),
		.size = pages * PAGE,
	};
	return ioctl(vcpu_of(g)->fd, KVM_PRE_FAULT_MEMORY, range) ? -errno : 0;
}

__s64 guest_faults(struct guest *g)
{
	return vmm_vcpu_stat(vcpu_of(g), "pf_fixed");
}

__s64 huge_entries(struct guest *g)
{
	return vmm_stat(&g->vmm, "pages_2m");
}

/*
 * Pages of one value
 */

int guest_fill(struct guest *g, size_t page, __u32 value)
{
	return vmm_fill(vcpu_of(g), gpa_of(page), PAGE_WORDS, value);
}

bool guest_sees(struct guest *g, size_t page, __u32 value)
{
	return !vmm_compare(vcpu_of(g), gpa_of(page), PAGE_WORDS, value);
}

bool guest_sees_all(struct guest *g, size_t pages, __u32 value)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (!guest_sees(g, i, value + i))
			return false;
	return true;
}

void put_words(unsigned char *addr, __u32 value)
{
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		((__u32 *)addr)[i] = value;
}

bool has_words(const unsigned char *addr, __u32 value)
{
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		if (((const __u32 *)addr)[i] != value)
			return false;
	return true;
}

/*
 * Pages with a pattern
 */

static __u32 pattern(unsigned int seed, size_t word)
{
	return seed << 10 | word;
}

void fill_pattern(void *page, unsigned int seed)
{
	__u32 *words = page;
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		words[i] = pattern(seed, i);
}

size_t wrong_words(const void *page, unsigned int seed, size_t count)
{
	const __u32 *words = page;
	size_t i, wrong = 0;

	for (i = 0; i < count; i++)
		wrong += words[i] != pattern(seed, i);
	return wrong;
}

__s64 guest_load(struct vmm *vmm, int n, __u32 gpa, void *page)
{
	__s64 ret = vmm_copy(&vmm->vcpu[n], LOW_PAGE(n), gpa, PAGE_WORDS);

	memcpy(page, vmm->low + LOW_PAGE(n), PAGE);
	return ret;
}

__s64 guest_fill_pattern(struct guest *g, int n, size_t page, unsigned int seed)
{
	fill_pattern(g->vmm.low + LOW_PAGE(n), seed);
	return vmm_copy(&g->vmm.vcpu[n], gpa_of(page), LOW_PAGE(n), PAGE_WORDS);
}

__s64 guest_wrong_words(struct guest *g, int n, size_t page, unsigned int seed)
{
	__u32 words[PAGE_WORDS];
	__s64 ret = guest_load(&g->vmm, n, gpa_of(page), words);

	return ret ? ret : (__s64)wrong_words(words, seed, PAGE_WORDS);
}

/*
 * Holes
 */

static bool is_private_fault(struct vmm_vcpu *vcpu, __u64 gpa)
{
	struct kvm_run *run = vcpu->run;

	return run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	       run->memory_fault.gpa == gpa && run->memory_fault.size == PAGE &&
	       run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE;
}

bool is_hole_exit(struct vmm_vcpu *vcpu, __s64 ret, __u32 gpa)
{
	return ret == -EFAULT && is_private_fault(vcpu, gpa);
}

bool faulted_at(struct vmm_vcpu *vcpu, __s64 ret, int error, __u64 gpa)
{
	struct kvm_run *run = vcpu->run;

	if (ret == error && is_private_fault(vcpu, gpa))
		return true;
	note("the op ended with %lld, exit reason %u", ret, run->exit_reason);
	if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		note("gpa 0x%llx size 0x%llx flags 0x%llx", run->memory_fault.gpa,
		     run->memory_fault.size, run->memory_fault.flags);
	return false;
}

bool lacks(struct guest *g, size_t page)
{
	return faulted_at(vcpu_of(g), vmm_read(vcpu_of(g), gpa_of(page)), -EFAULT,
			  gpa_of(page));
}

bool is_hole(struct guest *g, __u32 flags, size_t page)
{
	size_t before = allocated(g->env.fd);

	if (flags == KEEP)
		return lacks(g, page) && allocated(g->env.fd) == before;
	return guest_sees(g, page, 0) && allocated(g->env.fd) == before + 1;
}
