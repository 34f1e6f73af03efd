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
 * The fault checks the sequence for its own page alone, and may make an entry for
 * the whole folio: get_lock_pfn() returns the order that is allowed. Pages leave
 * such a folio all at once, or after it has been split. For a split KVM loses all
 * of it, which counts as an invalidation of this page, too. It must not have the
 * folio mapped then: whenever it zaps an entry, it marks the page accessed, for
 * which it takes a reference. That is lost if the folio is frozen.
 *
 * Locks, outermost first: i_rwsem, the mapping's invalidate_lock, folio lock,
 * mmu_lock. The callbacks take only the last. They read memslots under kvm->srcu,
 * and do not wait for it: a memslot can be deleted while a vCPU waits for one of
 * its pages. A memslot registers before slots_lock is taken, since another process
 * can hold i_rwsem for as long as it likes; it unregisters under slots_lock, which
 * waits for callbacks alone.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/memfd_ops.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "kvm_mm.h"
#include "memfd.h"

/**
 * struct kvm_memfd - a memslot in a memfd
 * @mn: its window of the file
 * @kvm: the VM
 * @base_gfn: of the memslot, which cannot be moved or changed, only deleted
 * @private_only: its flag KVM_MEM_MEMFD_PRIVATE_ONLY
 * @invalidating: callbacks that have begun and not ended; under mmu_lock
 */
struct kvm_memfd {
	struct memfd_falloc_notifier mn;
	struct kvm *kvm;
	gfn_t base_gfn;
	bool private_only;
	unsigned int invalidating;
};

static struct kvm_memfd *to_kvm_memfd(struct memfd_falloc_notifier *mn)
{
	return container_of(mn, struct kvm_memfd, mn);
}

static gfn_t kvm_memfd_gfn(struct kvm_memfd *km, pgoff_t index)
{
	return km->base_gfn + index - memfd_window_start(&km->mn);
}

/*
 * Call @handler for [start, end) of the memslots that KVM has there now: none before
 * the memslot is visible; and while it is being deleted, a copy of it, which is not
 * what the memslot was created with: mmu_first_shadow_root_alloc() gives rmaps to
 * the copy alone. kvm->srcu is held for reading.
 */
static bool kvm_memfd_handle(struct kvm *kvm, gfn_t start, gfn_t end,
			     bool (*handler)(struct kvm *kvm,
					     struct kvm_gfn_range *range))
{
	struct kvm_gfn_range range = {
		.may_block = true,
		.attr_filter = KVM_FILTER_PRIVATE,
	};
	struct kvm_memslot_iter iter;
	struct kvm_memslots *slots;
	bool ret = false;
	int i;

	for (i = 0; i < kvm_arch_nr_memslot_as_ids(kvm); i++) {
		slots = __kvm_memslots(kvm, i);
		kvm_for_each_memslot_in_gfn_range(&iter, slots, start, end) {
			range.slot = iter.slot;
			range.start = max(start, iter.slot->base_gfn);
			range.end = min(end, iter.slot->base_gfn +
					     iter.slot->npages);
			ret |= handler(kvm, &range);
		}
	}
	return ret;
}

static void kvm_memfd_invalidate(struct memfd_falloc_notifier *mn,
				 pgoff_t start, pgoff_t end)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);
	gfn_t first = kvm_memfd_gfn(km, start), last = kvm_memfd_gfn(km, end);
	struct kvm *kvm = km->kvm;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	KVM_MMU_LOCK(kvm);
	kvm_mmu_invalidate_begin(kvm);
	km->invalidating++;
	kvm_mmu_invalidate_range_add(kvm, first, last);
	/*
	 * The faults of a memslot that becomes visible later see the invalidation by
	 * mmu_invalidate_in_progress or mmu_invalidate_seq.
	 */
	if (kvm_memfd_handle(kvm, first, last, kvm_unmap_gfn_range))
		kvm_flush_remote_tlbs(kvm);
	KVM_MMU_UNLOCK(kvm);
	srcu_read_unlock(&kvm->srcu, idx);
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

	if (!km->private_only)
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

/*
 * KVM's answer to clear_young() of an mmu notifier: it does not flush TLBs. KVM ages
 * by gfn: where all memory is shared now, none of the file's pages is mapped, and the
 * accesses are those to other pages.
 */
static bool kvm_memfd_young(struct memfd_falloc_notifier *mn,
			    pgoff_t start, pgoff_t end, bool clear)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);
	gfn_t first = kvm_memfd_gfn(km, start), last = kvm_memfd_gfn(km, end);
	struct kvm *kvm = km->kvm;
	bool young;
	int idx;

	if (kvm_range_has_memory_attributes(kvm, first, last,
					    KVM_MEMORY_ATTRIBUTE_PRIVATE, 0))
		return false;
	idx = srcu_read_lock(&kvm->srcu);
	KVM_MMU_LOCK(kvm);
	young = kvm_memfd_handle(kvm, first, last,
				 clear ? kvm_age_gfn : kvm_test_age_gfn);
	KVM_MMU_UNLOCK(kvm);
	srcu_read_unlock(&kvm->srcu, idx);
	return young;
}

/*
 * Find the first private gfns of [*start, *end). Where memory is shared, KVM has mapped
 * other pages than the file's.
 */
static bool kvm_memfd_next_private(struct kvm *kvm, gfn_t *start, gfn_t *end)
{
	gfn_t first = *start, last;

	while (first < *end && !kvm_mem_is_private(kvm, first))
		first++;
	for (last = first; last < *end && kvm_mem_is_private(kvm, last);)
		last++;
	*start = first;
	*end = last;
	return first < last;
}

static bool kvm_memfd_next_mapped(struct memfd_falloc_notifier *mn,
				  pgoff_t *start, pgoff_t *end)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);
	gfn_t base = kvm_memfd_gfn(km, memfd_window_start(mn));
	gfn_t first = kvm_memfd_gfn(km, *start), limit = kvm_memfd_gfn(km, *end);
	struct kvm_memory_slot *slot;
	struct kvm *kvm = km->kvm;
	bool found = false;
	gfn_t last, next;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	slot = gfn_to_memslot(kvm, base);
	if (!slot || slot->gmem.memfd != km)
		limit = first;	/* not visible yet: nothing of it is mapped */
	/* in pieces, as each gfn is looked up, and runs can be as short as one */
	for (; first < limit && !found; first = next) {
		next = min(limit, ALIGN(first + 1, PTRS_PER_PTE));
		last = next;
		if (kvm_memfd_next_private(kvm, &first, &last)) {
			next = last;
			found = kvm_arch_next_mapped(kvm, slot, &first, &last);
		}
		if (found) {
			*start = memfd_window_start(mn) + (first - base);
			*end = memfd_window_start(mn) + (last - base);
		} else if (READ_ONCE(mn->unregistering) ||
			   fatal_signal_pending(current)) {
			break;
		}
		cond_resched();
	}
	srcu_read_unlock(&kvm->srcu, idx);
	return found;
}

/* The process that has created the VM, as KVM's directories in debugfs name it */
static void kvm_memfd_show_owner(struct memfd_falloc_notifier *mn,
				 struct seq_file *m)
{
	struct kvm_memfd *km = to_kvm_memfd(mn);

	seq_printf(m, " vm %d", km->kvm->userspace_pid);
}

static const struct memfd_falloc_notifier_ops kvm_memfd_ops = {
	.name			= "kvm",
	.invalidate_page_range	= kvm_memfd_invalidate,
	.invalidate_end		= kvm_memfd_invalidate_end,
	.fallocate		= kvm_memfd_fallocate,
	.young			= kvm_memfd_young,
	.next_mapped		= kvm_memfd_next_mapped,
	.show_owner		= kvm_memfd_show_owner,
};

/*
 * Does the memslot follow a memfd? If not, or if the rest of @mem makes no sense,
 * it is for __kvm_set_memory_region() to take or to refuse.
 */
static struct file *kvm_memfd_get_file(struct kvm *kvm,
				       const struct kvm_userspace_memory_region2 *mem)
{
	struct file *file;

	if (!READ_ONCE(kvm->memfd_slots) || !(mem->flags & KVM_MEM_GUEST_MEMFD) ||
	    !mem->memory_size || !PAGE_ALIGNED(mem->memory_size) ||
	    !PAGE_ALIGNED(mem->guest_memfd_offset) ||
	    mem->guest_memfd_offset + mem->memory_size < mem->guest_memfd_offset)
		return NULL;
	file = fget(mem->guest_memfd);
	if (file && !memfd_can_register(file)) {
		fput(file);
		file = NULL;
	}
	return file;
}

static struct kvm_memfd *
__kvm_memfd_create(struct kvm *kvm, struct file *file,
		   const struct kvm_userspace_memory_region2 *mem)
{
	u64 end = mem->guest_memfd_offset + mem->memory_size;
	struct kvm_memfd *km;
	int r;

	if (end > i_size_read(file_inode(file)))
		return ERR_PTR(memfd_refuse(-EINVAL, "the memslot is longer than the file"));
	if (~file->f_mode & (FMODE_READ | FMODE_WRITE))
		return ERR_PTR(memfd_refuse(-EACCES, "not open to read and write"));

	km = kzalloc(sizeof(*km), GFP_KERNEL_ACCOUNT);
	if (!km)
		return ERR_PTR(-ENOMEM);
	km->kvm = kvm;
	km->base_gfn = gpa_to_gfn(mem->guest_phys_addr);
	km->private_only = mem->flags & KVM_MEM_MEMFD_PRIVATE_ONLY;
	km->mn.writes = true;
	r = memfd_register_falloc_notifier(&km->mn, file,
					   mem->guest_memfd_offset >> PAGE_SHIFT,
					   end >> PAGE_SHIFT, &kvm_memfd_ops);
	if (r) {
		kfree(km);
		return ERR_PTR(r);
	}
	return km;
}

/**
 * kvm_memfd_create - let a memslot that is to be created follow its memfd
 * @kvm: the VM
 * @mem: from user space, not checked yet: the memslot may be refused later
 *
 * Context: may sleep, waits for the file's i_rwsem, which other processes can hold
 * for long. So no lock of the VM is held.
 * Return: what kvm_memfd_bind() takes, and holds a reference on the file; NULL if
 * the memslot does not follow a memfd; or
 * -EINVAL (the file ends before the memslot does), -EACCES (the file is not open
 * for both reading and writing), -EPERM (it is sealed against writing), -ENOMEM,
 * or -EINTR (killed while waiting).
 */
struct kvm_memfd *kvm_memfd_create(struct kvm *kvm,
				   const struct kvm_userspace_memory_region2 *mem)
{
	struct file *file = kvm_memfd_get_file(kvm, mem);
	struct kvm_memfd *km;

	if (!file)
		return NULL;
	km = __kvm_memfd_create(kvm, file, mem);
	fput(file);
	return km;
}

/**
 * kvm_memfd_destroy - undo kvm_memfd_create()
 * @km: of a memslot that does not exist any more, or was never visible; may be NULL
 *
 * Context: may sleep, waits for the callbacks of this memslot.
 */
void kvm_memfd_destroy(struct kvm_memfd *km)
{
	struct kvm *kvm;

	if (!km)
		return;
	kvm = km->kvm;
	memfd_unregister_falloc_notifier(&km->mn);
	/* invalidations that had begun will not end here: balance their counts */
	KVM_MMU_LOCK(kvm);
	for (; km->invalidating; km->invalidating--)
		kvm_mmu_invalidate_end(kvm);
	KVM_MMU_UNLOCK(kvm);
	kfree(km);
}

/**
 * kvm_memfd_bind - give a new memslot its memfd
 * @slot: the memslot, which is not visible yet
 * @km: from kvm_memfd_create()
 *
 * Context: slots_lock is held.
 */
void kvm_memfd_bind(struct kvm_memory_slot *slot, struct kvm_memfd *km)
{
	lockdep_assert_held(&km->kvm->slots_lock);
	slot->gmem.memfd = km;
	slot->gmem.pgoff = memfd_window_start(&km->mn);
}

/**
 * kvm_memfd_unbind - make a memslot stop following its memfd
 * @slot: from kvm_memfd_bind(); nothing of it is mapped, and no fault can see it
 *
 * Context: may sleep, waits for the callbacks of this memslot.
 */
void kvm_memfd_unbind(struct kvm_memory_slot *slot)
{
	kvm_memfd_destroy(slot->gmem.memfd);
	slot->gmem.memfd = NULL;
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

/*
 * KVM_EXIT_MEMORY_FAULT is valid with EFAULT and EHWPOISON alone. User space learns
 * why a hole cannot be filled by filling it itself.
 */
static int kvm_memfd_errno(int error)
{
	switch (error) {
	case -EHWPOISON:
	case -EIO:
		return -EHWPOISON;
	case -EINTR:
		return -EINTR;
	default:
		return -EFAULT;
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
 * -EFAULT (a hole and KVM_MEM_MEMFD_KEEP_HOLES, the file ends before, or the page
 * cannot be had: no memory or space, or another consumer cannot map it),
 * -EHWPOISON (the page's memory failed, or it cannot be read back from swap), or
 * -EINTR (the vCPU's thread is being killed).
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
	ret = ops->get_lock_pfn(&km->mn, index, flags, &order);
	if (ret < 0)
		return kvm_memfd_errno(ret);

	/* dropped by the caller once it has mapped the page */
	get_page(pfn_to_page(ret));
	ops->put_unlock_pfn(ret);
	*pfn = ret;
	if (max_order)
		*max_order = kvm_memfd_max_order(order, gfn, index);
	return 0;
}
