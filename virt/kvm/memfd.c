// SPDX-License-Identifier: GPL-2.0
/*
 * Guest private memory in a memfd: memslots as consumers of memfd_ops
 *
 * A memslot with KVM_MEM_GUEST_MEMFD whose file is a memfd follows its range of
 * it. Unlike a guest_memfd the file belongs to no VM: any number of memslots,
 * VMs and devices may follow it, and user space may map it.
 *
 * KVM holds no reference on a page that it has mapped. It relies on the
 * invalidation of pages that leave, and on its own sequence:
 *
 * - a fault notes mmu_invalidate_seq, takes the page from the file, and maps it
 *   under mmu_lock if neither an invalidation is under way for it, nor the
 *   sequence has moved;
 * - for KVM an invalidation is under way from kvm_memfd_invalidate(), while the
 *   pages are still in the file, to kvm_memfd_invalidate_end(), when they have
 *   left.
 *
 * So KVM does not need memfd_read_begin().
 *
 * An invalidation that began before the memslot registered does not call it. Such
 * an invalidation is either of a single folio (registration waits for those of
 * ranges), which stays locked until it is gone; or of a poisoned page, which
 * alone leaves the file. get_lock_pfn() notices both.
 *
 * The fault checks the sequence for its own page alone. It may make an entry for
 * more than that only if every invalidation of any page of the folio covers this
 * page as well. get_lock_pfn() returns the order that this allows; and the fault holds a
 * reference until it has mapped the folio, which keeps it from being split.
 *
 * Locks, outermost first: slots_lock, i_rwsem, the mapping's invalidate_lock,
 * folio lock, mmu_lock. The callbacks take only the last, and do not wait for
 * kvm->srcu: a memslot can be deleted while a vCPU waits for one of its pages.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/memfd_ops.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "kvm_mm.h"
#include "memfd.h"

/**
 * struct kvm_memfd - a memslot in a memfd
 * @mn: its window of the file
 * @kvm: the VM
 * @slot: the memslot; it cannot be moved or changed, only deleted
 * @faulted: a fault has taken a page from the file. Until then nothing is
 *	mapped, and the memslot may lack the rmaps to look for mappings
 * @invalidating: callbacks that have begun and not ended; under mmu_lock
 */
struct kvm_memfd {
	struct memfd_falloc_notifier mn;
	struct kvm *kvm;
	struct kvm_memory_slot *slot;
	bool faulted;
	unsigned int invalidating;
};

static struct kvm_memfd *to_kvm_memfd(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct kvm_memfd, mn);
}

static gfn_t kvm_memfd_gfn(struct kvm_memfd *km, pgoff_t index)
{
	return km->slot->base_gfn + index - km->slot->gmem.pgoff;
}

static void kvm_memfd_invalidate(struct memfd_falloc_notifier *mn,
				 pgoff_t start, pgoff_t end)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);
	struct kvm *kvm = km->kvm;
	struct kvm_gfn_range range = {
		.start = kvm_memfd_gfn(km, start),
		.end = kvm_memfd_gfn(km, end),
		.slot = km->slot,
		.may_block = true,
		.attr_filter = KVM_FILTER_PRIVATE,
	};

	KVM_MMU_LOCK(kvm);
	kvm_mmu_invalidate_begin(kvm);
	km->invalidating++;
	kvm_mmu_invalidate_range_add(kvm, range.start, range.end);
	/* a fault that sets it later sees that the range is being invalidated */
	if (READ_ONCE(km->faulted) && kvm_unmap_gfn_range(kvm, &range))
		kvm_flush_remote_tlbs(kvm);
	KVM_MMU_UNLOCK(kvm);
}

static void kvm_memfd_invalidate_end(struct memfd_falloc_notifier *mn,
				     pgoff_t start, pgoff_t end)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);

	KVM_MMU_LOCK(km->kvm);
	km->invalidating--;
	kvm_mmu_invalidate_end(km->kvm);
	KVM_MMU_UNLOCK(km->kvm);
}

/*
 * A memslot can limit its file to pages where its memory is private. It accepts
 * ranges that are private now; one that user space makes shared before the pages
 * come gets them all the same.
 */
static int kvm_memfd_fallocate(struct memfd_falloc_notifier *mn,
			       pgoff_t start, pgoff_t end)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);
	gfn_t gfn = kvm_memfd_gfn(km, start), last = kvm_memfd_gfn(km, end);
	gfn_t next;

	if (!(km->slot->flags & KVM_MEM_MEMFD_PRIVATE_ONLY))
		return 0;
	/* in pieces, since KVM looks at each page by page under RCU */
	for (; gfn < last; gfn = next) {
		next = min(last, ALIGN(gfn + 1, PTRS_PER_PMD));
		if (!kvm_range_has_memory_attributes(km->kvm, gfn, next,
						     KVM_MEMORY_ATTRIBUTE_PRIVATE,
						     KVM_MEMORY_ATTRIBUTE_PRIVATE))
			return -EPERM;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static const struct memfd_falloc_notifier_ops kvm_memfd_ops = {
	.name			= "kvm",
	.invalidate_page_range	= kvm_memfd_invalidate,
	.invalidate_end		= kvm_memfd_invalidate_end,
	.fallocate		= kvm_memfd_fallocate,
};

/**
 * kvm_memfd_enable - let the VM have memslots in memfds
 * @kvm: the VM
 *
 * Context: may sleep, takes the locks of CPU hotplug.
 */
void kvm_memfd_enable(struct kvm *kvm)
{
	/* memslots register under slots_lock, which must not nest outside those */
	memfd_ops_get();
	if (cmpxchg(&kvm->memfd_slots, false, true))
		memfd_ops_put();
}

/**
 * kvm_memfd_bind - make a new memslot follow its range of a memfd
 * @kvm: the VM
 * @slot: the memslot, which is not visible yet
 * @file: any file that is not a guest_memfd
 * @offset: into the file, in bytes; at a page, and @offset plus the memslot's
 *	size does not overflow
 *
 * The memslot holds a reference on the file until kvm_memfd_unbind().
 *
 * Context: slots_lock is held; waits for the file's i_rwsem.
 * Return: 0, or
 * -EINVAL (the VM has not enabled KVM_CAP_MEMFD_SLOTS, the file ends before the
 * memslot does, or is not on tmpfs), -EACCES (@file is not open for both
 * reading and writing), -EPERM (it is sealed against writing), -ENOMEM, or
 * -EINTR (killed while waiting).
 */
int kvm_memfd_bind(struct kvm *kvm, struct kvm_memory_slot *slot,
		   struct file *file, u64 offset)
{
	u64 size = (u64)slot->npages << PAGE_SHIFT;
	pgoff_t start = offset >> PAGE_SHIFT;
	struct kvm_memfd *km;
	int r;

	lockdep_assert_held(&kvm->slots_lock);
	if (!READ_ONCE(kvm->memfd_slots) ||
	    offset + size > i_size_read(file_inode(file)))
		return -EINVAL;
	if (~file->f_mode & (FMODE_READ | FMODE_WRITE))
		return -EACCES;

	km = kzalloc(sizeof(*km), GFP_KERNEL_ACCOUNT);
	if (!km)
		return -ENOMEM;
	km->kvm = kvm;
	km->slot = slot;
	km->mn.writes = true;
	slot->gmem.pgoff = start;
	r = memfd_register_falloc_notifier(&km->mn, file, start,
					   start + slot->npages, &kvm_memfd_ops);
	if (r) {
		kfree(km);
		return r;
	}
	slot->gmem.memfd = km;
	return 0;
}

/**
 * kvm_memfd_unbind - make a memslot stop following its memfd
 * @slot: from kvm_memfd_bind(); nothing of it is mapped, and no fault can see it
 *
 * Context: may sleep, waits for the callbacks of this memslot.
 */
void kvm_memfd_unbind(struct kvm_memory_slot *slot)
{
	struct kvm_memfd *km = slot->gmem.memfd;
	struct kvm *kvm = km->kvm;

	memfd_unregister_falloc_notifier(&km->mn);
	/* invalidations that had begun will not end here: balance their counts */
	KVM_MMU_LOCK(kvm);
	for (; km->invalidating; km->invalidating--)
		kvm_mmu_invalidate_end(kvm);
	KVM_MMU_UNLOCK(kvm);
	slot->gmem.memfd = NULL;
	kfree(km);
}

/**
 * kvm_memfd_unbind_all - a VM is being destroyed
 * @kvm: the VM, whose page tables are empty, and which nobody else can use
 *
 * The files live on, and must not call into a VM that is half destroyed.
 */
void kvm_memfd_unbind_all(struct kvm *kvm)
{
	struct kvm_memory_slot *slot;
	int i, bkt;

	for (i = 0; i < kvm_arch_nr_memslot_as_ids(kvm); i++)
		kvm_for_each_memslot(slot, bkt, __kvm_memslots(kvm, i)) {
			if (slot->gmem.memfd)
				kvm_memfd_unbind(slot);
		}
	if (kvm->memfd_slots)
		memfd_ops_put();
}

/*
 * KVM maps a folio by one entry if it is large enough for one, and if gfn and
 * index are equally aligned. KVM expects only orders that entries have, and
 * itself takes care of the memslot's edges and of mixed attributes.
 */
static int kvm_memfd_max_order(int order, gfn_t gfn, pgoff_t index)
{
	return order >= PMD_ORDER && IS_ALIGNED(gfn - index, PTRS_PER_PMD) ?
	       PMD_ORDER : 0;
}

/* KVM's errno for one of get_lock_pfn(): in KVM EIO stands for a bug */
static int kvm_memfd_errno(int error)
{
	switch (error) {
	case -ENOENT:
		return -EFAULT;
	case -EIO:
		return -EHWPOISON;
	default:
		return error;
	}
}

/**
 * kvm_memfd_get_pfn - take a page from the file
 * @slot: the memslot
 * @gfn: in @slot
 * @pfn: set to the page's, with a reference on it that the caller drops
 * @max_order: set to the order of the entry, 0 or %PMD_ORDER; may be NULL
 *
 * The caller has noted mmu_invalidate_seq before.
 *
 * Context: may sleep; kvm->srcu is held for reading.
 * Return: 0, or
 * -EFAULT (a hole and KVM_MEM_MEMFD_KEEP_HOLES, or the file ends before),
 * -EHWPOISON (the page's memory failed, or it cannot be read back from swap),
 * -ENOMEM, -ENOSPC, -EINTR, or an error of another consumer of the file that
 * could not map the page.
 */
int kvm_memfd_get_pfn(struct kvm_memory_slot *slot, gfn_t gfn,
		      kvm_pfn_t *pfn, int *max_order)
{
	struct kvm_memfd *km = slot->gmem.memfd;
	const struct memfd_pfn_ops *ops = km->mn.pfn_ops;
	pgoff_t index = gfn - slot->base_gfn + slot->gmem.pgoff;
	unsigned int flags = MEMFD_PFN_FILL;
	int order;
	long ret;

	if (slot->flags & KVM_MEM_MEMFD_KEEP_HOLES)
		flags = 0;
	/* before mmu_lock is taken to map the page: kvm_memfd_invalidate() */
	WRITE_ONCE(km->faulted, true);
	ret = ops->get_lock_pfn(&km->mn, index, flags, &order);
	if (ret < 0)
		return kvm_memfd_errno(ret);

	/* dropped by the caller once it has mapped the page, see at the top */
	get_page(pfn_to_page(ret));
	ops->put_unlock_pfn(ret);
	*pfn = ret;
	if (max_order)
		*max_order = kvm_memfd_max_order(order, gfn, index);
	return 0;
}
