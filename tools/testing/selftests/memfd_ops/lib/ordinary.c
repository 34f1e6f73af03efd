// SPDX-License-Identifier: GPL-2.0
#include "ordinary.h"

int ordinary_memory(struct guest *g, void *mem, size_t pages)
{
	return vmm_set_slot(&g->vmm, SLOT, 0, GPA, pages * PAGE, mem, -1, 0);
}

int ordinary_create(struct guest *g, int nr_vcpus)
{
	int ret = vmm_create(&g->vmm, KVM_X86_DEFAULT_VM, nr_vcpus);

	return ret ? ret : ordinary_memory(g, g->env.mem, g->env.pages);
}

unsigned char *map_again(struct test_env *env, int flags)
{
	size_t size = env->pages * PAGE;
	void *room = vmm_alloc_shared(size), *mem;

	if (!room)
		return NULL;
	mem = mmap(room, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, env->fd, 0);
	return mem == MAP_FAILED ? NULL : mem;
}

/* The guest writes to the second word of each page: one op for many pages. */
static int touch_pages(struct guest *g, size_t first, size_t pages, __u32 value)
{
	return vmm_touch(vcpu_of(g), gpa_of(first) + sizeof(value), pages, PAGE, value);
}

int number_pages(struct guest *g, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i++)
		*(__u32 *)at(&g->env, i) = i;
	return touch_pages(g, first, pages, 0);
}

size_t wrong_numbers(struct guest *g, size_t first, size_t pages)
{
	const __u32 *words;
	static __u32 value;
	size_t i, wrong = 0;
	int ret;

	ret = touch_pages(g, first, pages, ++value);
	if (ret)
		note("the guest cannot write to [%zu, %zu): %d", first, first + pages, ret);
	for (i = first; i < first + pages; i++) {
		words = (const __u32 *)at(&g->env, i);
		if ((words[0] != i || words[1] != value) && wrong++ < 4)
			note("page %zu has %u, %u; expected %zu, %u", i, words[0], words[1],
			     i, value);
	}
	wrong += vmm_read(vcpu_of(g), gpa_of(first)) != (__s64)first;
	wrong += vmm_read(vcpu_of(g), gpa_of(i - 1)) != (__s64)i - 1;
	return wrong;
}

__s64 pages_mapped(struct guest *g)
{
	__s64 small = vmm_stat(&g->vmm, "pages_4k"), huge = huge_entries(g);

	return small < 0 ? small : huge < 0 ? huge : small + huge * (__s64)HUGE_PAGES;
}

bool device_has_entry(struct test_env *env, size_t page, __u64 size)
{
	struct mdma *m = &env->dev[0];

	return !has_iova_table(m) || entry_size(m, iova_of(m, page)) == size;
}

bool device_uses(struct test_env *env, size_t page)
{
	struct mdma *m = &env->dev[0];
	const __u64 from = iova_of(m, page), to = from + 2 * sizeof(__u32);
	const volatile __u32 *words = (const __u32 *)at(env, page);
	int status = mdma_copy(m, from, to, sizeof(__u32));

	return status == VFIO_MDMA_STATUS_DONE && words[2] == words[0];
}

bool device_faults(struct test_env *env, size_t from, size_t to)
{
	long faults = mdma_iommu_faults();
	int status = env_copy(env, 0, from, to, sizeof(__u32));

	if (status == VFIO_MDMA_STATUS_FAULT && mdma_iommu_faulted(faults))
		return true;
	note("the copy from page %zu to %zu: status %d", from, to, status);
	return false;
}

bool no_memory_at(struct guest *g, int n, size_t page)
{
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[n];
	__s64 ret = vmm_read(vcpu, gpa_of(page));

	if (ret == -EFAULT && vcpu->run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return true;
	note("page %zu: %lld, exit reason %u", page, ret, vcpu->run->exit_reason);
	return false;
}

size_t left_after_pageout(struct test_env *env)
{
	int tries;
	size_t i;

	for (tries = 0; tries < 2; tries++) {
		for (i = 0; i < HUGE_PAGES; i++)
			if (in_core(at(env, i)))
				*(volatile unsigned char *)at(env, i);
		/* this empties the lists of all CPUs */
		if (write_file("/proc/sys/vm/drop_caches", "1"))
			return SIZE_MAX;
		madvise(env->mem, HUGE, MADV_PAGEOUT);
	}
	return in_core_pages(env->mem, HUGE_PAGES);
}
