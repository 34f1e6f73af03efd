/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest private memory in a memfd: memslots as consumers of memfd_ops
 *
 * guest_memfd.c calls these where a memslot's file is not a guest_memfd. See
 * Documentation/virt/kvm/memfd-slots.rst.
 */
#ifndef __KVM_MEMFD_H__
#define __KVM_MEMFD_H__

#include <linux/kvm_host.h>

/* Flags that only a memslot in a memfd can have */
#define KVM_MEM_MEMFD_FLAGS	(KVM_MEM_MEMFD_PRIVATE_ONLY | \
				 KVM_MEM_MEMFD_KEEP_HOLES)

/*
 * Encrypted guests cannot use host-accessible memory: the architecture decides
 * which VMs can have memslots in memfds.
 */
#ifndef kvm_arch_has_memfd_slots
static inline bool kvm_arch_has_memfd_slots(struct kvm *kvm)
{
	return false;
}
#endif

/* Architectures that cannot tell which gfns are mapped show none. */
#ifndef kvm_arch_next_mapped
static inline bool kvm_arch_next_mapped(struct kvm *kvm,
					const struct kvm_memory_slot *slot,
					gfn_t *start, gfn_t *end)
{
	return false;
}
#endif

#ifdef CONFIG_KVM_MEMFD

struct kvm_memfd *kvm_memfd_create(struct kvm *kvm,
				   const struct kvm_userspace_memory_region2 *mem);
void kvm_memfd_destroy(struct kvm_memfd *km);
void kvm_memfd_bind(struct kvm_memory_slot *slot, struct kvm_memfd *km);
void kvm_memfd_unbind(struct kvm_memory_slot *slot);
void kvm_memfd_unbind_all(struct kvm *kvm);
int kvm_memfd_get_pfn(struct kvm_memory_slot *slot, gfn_t gfn,
		      kvm_pfn_t *pfn, int *max_order);

/* For KVM_CHECK_EXTENSION; @kvm is NULL if the ioctl is on /dev/kvm */
static inline u32 kvm_memfd_slots_cap(struct kvm *kvm)
{
	return !kvm || kvm_arch_has_memfd_slots(kvm) ? KVM_MEM_MEMFD_FLAGS : 0;
}

static inline void kvm_memfd_enable(struct kvm *kvm)
{
	WRITE_ONCE(kvm->memfd_slots, true);
}

/* The flags that a memslot of @kvm may have in addition to KVM_MEM_GUEST_MEMFD */
static inline u32 kvm_memfd_slot_flags(struct kvm *kvm)
{
	return READ_ONCE(kvm->memfd_slots) ? KVM_MEM_MEMFD_FLAGS : 0;
}

static inline bool kvm_slot_has_memfd(const struct kvm_memory_slot *slot)
{
	return slot->gmem.memfd;
}

#else

static inline void kvm_memfd_enable(struct kvm *kvm)
{
}

static inline struct kvm_memfd *
kvm_memfd_create(struct kvm *kvm, const struct kvm_userspace_memory_region2 *mem)
{
	return NULL;
}

static inline void kvm_memfd_destroy(struct kvm_memfd *km)
{
}

static inline void kvm_memfd_bind(struct kvm_memory_slot *slot,
				  struct kvm_memfd *km)
{
}

static inline void kvm_memfd_unbind(struct kvm_memory_slot *slot)
{
}

static inline void kvm_memfd_unbind_all(struct kvm *kvm)
{
}

static inline int kvm_memfd_get_pfn(struct kvm_memory_slot *slot, gfn_t gfn,
				    kvm_pfn_t *pfn, int *max_order)
{
	return -EIO;
}

static inline u32 kvm_memfd_slots_cap(struct kvm *kvm)
{
	return 0;
}

static inline u32 kvm_memfd_slot_flags(struct kvm *kvm)
{
	return 0;
}

static inline bool kvm_slot_has_memfd(const struct kvm_memory_slot *slot)
{
	return false;
}

#endif /* CONFIG_KVM_MEMFD */
#endif /* __KVM_MEMFD_H__ */
