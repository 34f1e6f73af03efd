// SPDX-License-Identifier: GPL-2.0
/* Guests as devices */
#include "torture_procs.h"
#include "../lib/kvm.h"

/* A guest's shared memory, which nothing ever accesses */
static void *addr_of_shared(size_t page)
{
	static __u32 *shared;

	if (!shared)
		shared = vmm_alloc_shared(MAX_PAGES * PAGE);
	return shared + page * PAGE_WORDS;
}

int guest_open(struct device *d)
{
	int ret;

	d->base = GPA;
	d->vm = malloc(sizeof(*d->vm));
	if (!d->vm)
		return -ENOMEM;
	*d->vm = (struct vmm)VMM_INIT;
	ret = vmm_create_for_memfds(d->vm, 1);
	return ret ? ret : vmm_set_private(d->vm, GPA, WINDOWS * 2 * file_size * PAGE,
					   true);
}

void guest_close(struct device *d)
{
	if (!d->vm)
		return;
	vmm_destroy(d->vm);
	free(d->vm);
	d->vm = NULL;
}

int guest_map(struct device *d, int i, struct window *win)
{
	return vmm_set_slot(d->vm, 1 + i, KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_KEEP_HOLES,
			    win->iova, win->pages * PAGE, addr_of_shared(win->first),
			    files[win->file].fd, win->first * PAGE);
}

int guest_unmap(struct device *d, int i)
{
	return vmm_delete_slot(d->vm, 1 + i);
}

int guest_access(struct device *d, __u64 gpa, __u64 *value, bool write)
{
	struct vmm_vcpu *vcpu = &d->vm->vcpu[0];
	__u64 *low = (__u64 *)(d->vm->low + LOW_PAGE(0));
	__s64 ret;

	if (write) {
		*low = *value;
		ret = vmm_copy(vcpu, gpa, LOW_PAGE(0), 2);
	} else {
		ret = vmm_copy(vcpu, LOW_PAGE(0), gpa, 2);
		*value = *low;
	}
	if (is_hole_exit(vcpu, ret, gpa & ~(PAGE - 1)))
		return -EFAULT;
	return ret == -EFAULT ? -EPROTO : ret;
}
