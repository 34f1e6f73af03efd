/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest whose private memory is the memfd of the test environment: page n of the
 * file, of the guest and of the guest's shared memory are one another's.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef TEST_KVM_H
#define TEST_KVM_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/kvm.h>

#include <memfd_ops/vmm.h>

#include "test_env.h"

#ifndef EHWPOISON
#define EHWPOISON	133
#endif

#define PAGE_WORDS	(PAGE / sizeof(__u32))

/* Where the guests have page 0 of the file: at a multiple of 2 MiB */
#define GPA		0x40000000U

/* A vCPU's own page of the low memory */
#define LOW_PAGE(n)	(VMM_LOW_FREE + (n) * PAGE)

/* The first memslot behind the low memory */
#define SLOT		1

/* The flags of a memslot, named after what it does to holes */
#define FILL	((__u32)KVM_MEM_GUEST_MEMFD)
#define KEEP	((__u32)(KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_KEEP_HOLES))
#define VETO	((__u32)(KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_PRIVATE_ONLY))

struct guest {
	struct test_env env;
	struct vmm vmm;
	unsigned char *shared;	/* memory for the guest's shared side */
	bool huge;		/* does the file have huge folios, for tests of both? */
};

/* Without it, a test skips; with it, a lack of our memslots is a failure. */
bool has_kvm(void);

/*
 * A VM with that many vCPUs, which may have memslots in memfds but has none yet, and
 * shared memory of the file's size: for an environment that is set up.
 */
int guest_create(struct guest *g, int nr_vcpus);

/*
 * The same with one vCPU, for a new file of that many pages and without devices. A
 * test skips if it leaves a reason in env.lacks.
 */
int guest_setup(struct guest *g, size_t pages);
void guest_teardown(struct guest *g);

struct vmm_vcpu *vcpu_of(struct guest *g);
__u32 gpa_of(size_t page);

/*
 * Memslots
 */

/* Put @pages pages of the file, from @first on, at the guest's page @at. */
int put_slot(struct guest *g, __u32 slot, __u32 flags, size_t at, size_t first,
	     size_t pages);

/* The usual memslot: page n is page n, and private. */
int add_slot(struct guest *g, __u32 flags, size_t first, size_t pages);

/* One of the first @pages pages of a file, as KVM_SET_USER_MEMORY_REGION2 has it */
struct kvm_userspace_memory_region2 slot_region(struct guest *g, int fd, size_t pages);
int set_region(struct vmm *vmm, struct kvm_userspace_memory_region2 region);
int create_guest_memfd(struct vmm *vmm, __u64 size);

int pre_fault(struct guest *g, struct kvm_pre_fault_memory *range, size_t first,
	      size_t pages);

/* The faults of the first vCPU that KVM has mapped a page for */
__s64 guest_faults(struct guest *g);

/* The guest's translations of 2 MiB */
__s64 huge_entries(struct guest *g);

/*
 * Pages of which each word has the same value, which may be 0: by the guest's first
 * vCPU, and through a mapping.
 */

int guest_fill(struct guest *g, size_t page, __u32 value);
bool guest_sees(struct guest *g, size_t page, __u32 value);

/* Does page i of the first @pages pages have value + i? */
bool guest_sees_all(struct guest *g, size_t pages, __u32 value);

void put_words(unsigned char *addr, __u32 value);
bool has_words(const unsigned char *addr, __u32 value);

/*
 * Pages with a pattern: no two words are the same, nor those of two seeds.
 */

void fill_pattern(void *page, unsigned int seed);

/* How many of the first @count words differ from the pattern? */
size_t wrong_words(const void *page, unsigned int seed, size_t count);

/* Have vCPU @n read a page for us: the result of its op. */
__s64 guest_load(struct vmm *vmm, int n, __u32 gpa, void *page);

/* Have vCPU @n write the pattern. */
__s64 guest_fill_pattern(struct guest *g, int n, size_t page, unsigned int seed);

/* How many words does vCPU @n see that differ from it? -errno if it sees none. */
__s64 guest_wrong_words(struct guest *g, int n, size_t page, unsigned int seed);

/*
 * Holes
 */

/* Did an op end because the private page at @gpa was missing? */
bool is_hole_exit(struct vmm_vcpu *vcpu, __s64 ret, __u32 gpa);

/*
 * Did the op that ended with @ret fail with @error, and KVM_EXIT_MEMORY_FAULT for the
 * 4 KiB at that address, which are private? Explains a difference.
 */
bool faulted_at(struct vmm_vcpu *vcpu, __s64 ret, int error, __u64 gpa);

/* Does the guest stop at that page because the file lacks it? */
bool lacks(struct guest *g, size_t page);

/* Does it treat that page as a hole, in the way of a memslot with these flags? */
bool is_hole(struct guest *g, __u32 flags, size_t page);

#endif /* TEST_KVM_H */
