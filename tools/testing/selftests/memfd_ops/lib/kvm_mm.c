// SPDX-License-Identifier: GPL-2.0
#include "kvm_mm.h"

void fill_pages(struct mm_test *mm, size_t first, size_t pages, size_t stride)
{
	size_t i;

	mm->first = first;
	mm->pages = pages;
	mm->stride = stride;
	for (i = first; i < first + pages; i += stride)
		fill_pattern(at(&mm->g.env, i), i);
}

int add_consumers(struct mm_test *mm)
{
	struct guest *g = &mm->g;
	int ret = 0;
	size_t i;

	if (mm->guest)
		ret = add_slot(g, FILL, mm->first, mm->pages);
	for (i = mm->first; mm->guest && !ret && i < mm->first + mm->pages; i += mm->stride)
		ret = vmm_read(vcpu_of(g), gpa_of(i)) < 0;
	if (!ret && mm->device)
		ret = env_map(&g->env, 0, mm->first, mm->pages);
	return ret;
}

int remove_consumers(struct mm_test *mm)
{
	__s64 ret = mm->device ? mdma_unmap_all(&mm->g.env.dev[0]) : 0;

	return ret < 0 ? ret : mm->guest ? vmm_delete_slot(&mm->g.vmm, SLOT) : 0;
}

bool good_page(struct mm_test *mm, size_t page, unsigned int seed)
{
	return !wrong_words(at(&mm->g.env, page), seed, PAGE_WORDS) &&
	       (!mm->guest || !guest_wrong_words(&mm->g, 0, page, seed));
}

/* Does each see what we or the guest write to page @a, and the device copies to @b? */
static bool writes_agree(struct mm_test *mm, size_t a, size_t b)
{
	const unsigned int seed = 0x3ff000 + a;
	struct test_env *env = &mm->g.env;
	bool agree = true;
	int status;
	__s64 ret;

	fill_pattern(at(env, a), seed);
	if (mm->guest) {
		fill_pattern(at(env, a), 0);
		ret = guest_fill_pattern(&mm->g, 0, a, seed);
		if (ret)
			note("the guest's write to page %zu: %lld", a, ret);
		agree = !ret;
	}
	agree &= good_page(mm, a, seed);
	if (mm->device) {
		status = env_copy(env, 0, a, b, PAGE);
		if (status != VFIO_MDMA_STATUS_DONE)
			note("the device's copy from page %zu to %zu: %d", a, b, status);
		agree &= status == VFIO_MDMA_STATUS_DONE && good_page(mm, b, seed);
	}
	if (!agree)
		note("pages %zu and %zu differ from the last writes", a, b);
	fill_pattern(at(env, a), a);
	fill_pattern(at(env, b), b);
	return agree;
}

bool all_agree(struct mm_test *mm)
{
	size_t i, wrong = 0;
	bool agree;

	for (i = mm->first; i < mm->first + mm->pages; i += mm->stride)
		wrong += !good_page(mm, i, i);
	if (wrong)
		note("%zu pages have lost their content", wrong);
	agree = !wrong;
	if (mm->device)
		agree &= !env_differences(&mm->g.env, 0, mm->first, mm->pages);
	return writes_agree(mm, mm->first, mm->first + mm->stride) && agree;
}

bool has_second_node(void)
{
	return !access("/sys/devices/system/node/node1", F_OK);
}

void frames_of(struct mm_test *mm, __u64 *pfn)
{
	size_t i;

	for (i = 0; i < mm->pages; i += mm->stride)
		pfn[i] = pfn_of(at(&mm->g.env, mm->first + i));
}

size_t moved(struct mm_test *mm, const __u64 *pfn)
{
	size_t i, sum = 0;

	for (i = 0; i < mm->pages; i += mm->stride)
		sum += pfn_of(at(&mm->g.env, mm->first + i)) != pfn[i];
	return sum;
}

long move_to(struct mm_test *mm, int node)
{
	int nodes[mm->pages], status[mm->pages];
	void *addr[mm->pages];
	size_t i;
	long ret;

	for (i = 0; i < mm->pages; i++) {
		addr[i] = at(&mm->g.env, mm->first + i);
		nodes[i] = node;
	}
	ret = syscall(SYS_move_pages, 0, mm->pages, addr, nodes, status, MPOL_MF_MOVE);
	return ret < 0 ? -errno : ret;
}

size_t pages_on(struct mm_test *mm, int node)
{
	int status[mm->pages];
	void *addr[mm->pages];
	size_t i, sum = 0;

	for (i = 0; i < mm->pages; i++)
		addr[i] = at(&mm->g.env, mm->first + i);
	if (syscall(SYS_move_pages, 0, mm->pages, addr, NULL, status, 0))
		return SIZE_MAX;
	for (i = 0; i < mm->pages; i++)
		sum += status[i] == node;
	return sum;
}

int bind_file(struct mm_test *mm, int mode, int node, unsigned int flags)
{
	struct test_env *env = &mm->g.env;
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, env->mem, env->pages * PAGE, mode, &mask,
		       8 * sizeof(mask), flags) ? -errno : 0;
}

int poison_unmapped(unsigned char *addr)
{
	unsigned char *huge = (unsigned char *)((uintptr_t)addr & ~(HUGE - 1));
	__u64 pfn = pfn_of(addr);

	if (madvise(huge, HUGE, MADV_DONTNEED))
		return -errno;
	return poison_pfn(pfn);
}
