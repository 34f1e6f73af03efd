// SPDX-License-Identifier: GPL-2.0
/*
 * An ordinary VM and a device in the same memfd. KVM follows a mapping of the file by its
 * mmu notifier, the device follows the file itself: both have the pages that the file has.
 */
#include "lib/harness.h"
#include "lib/ordinary_fixture.h"
#include "lib/rights.h"
#include "lib/trace.h"

FIXTURE_VARIANT_ADD(ordinary, small_pages)
{
	.device = true,
};

FIXTURE_VARIANT_ADD(ordinary, huge_pages)
{
	.huge = true,
	.device = true,
};

/*
 * Pages leave
 */

/* Both have used all pages of the file, by entries as large as they can be. */
static void both_use_all(struct __test_metadata *_metadata, struct guest *g)
{
	struct test_env *env = &g->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, number_pages(g, 0, PAGES));
	ASSERT_EQ(0, wrong_numbers(g, 0, PAGES));
	EXPECT_EQ(g->huge, is_huge(at(env, HERE)));
	EXPECT_EQ(g->huge ? PAGES / HUGE_PAGES : 0, huge_entries(g));
	EXPECT_TRUE(device_has_entry(env, HERE, g->huge ? HUGE : PAGE));
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	ASSERT_TRUE(device_uses(env, HERE));
}

/* The device has lost [first, end), and no operation disturbed it elsewhere. */
static void device_lost(struct __test_metadata *_metadata, struct guest *g,
			size_t first, size_t end)
{
	struct test_env *env = &g->env;

	if (has_trace()) {
		EXPECT_EQ(end - first, traced("iommu", first, end - first));
		EXPECT_EQ(end - first, traced("iommu", 0, PAGES));
	}
	EXPECT_EQ(0, env_reachable(env, 0, first, end - first));
	EXPECT_EQ(PAGES - (end - first), env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_TRUE(device_faults(env, first, 1));
	EXPECT_TRUE(device_faults(env, 1, first));
	EXPECT_TRUE(device_faults(env, end - 1, 1));
	EXPECT_EQ(1, *(__u32 *)at(env, 1));
}

/* Its neighbours are there for both, and bring no pages into the file. */
static void neighbours_are_there(struct __test_metadata *_metadata, struct guest *g,
				 size_t first, size_t end)
{
	struct test_env *env = &g->env;

	EXPECT_EQ(0, wrong_numbers(g, 0, first));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, first - 1, 1, 4));
	EXPECT_EQ(first - 1, vmm_read(&g->vmm.vcpu[1], gpa_of(1)));
	if (end < PAGES) {
		EXPECT_EQ(0, wrong_numbers(g, end, PAGES - end));
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, end, 1, 4));
		EXPECT_EQ(end, vmm_read(&g->vmm.vcpu[1], gpa_of(1)));
	}
	EXPECT_EQ(0, number_pages(g, 1, 1));
	EXPECT_EQ(PAGES - (end - first), allocated(env->fd));
}

/* The guest fills the hole with zeros, by an access of each of its CPUs. */
static void guest_fills(struct __test_metadata *_metadata, struct guest *g, size_t page)
{
	struct test_env *env = &g->env;
	size_t before = allocated(env->fd);

	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[0], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(before + 1, allocated(env->fd));
	EXPECT_EQ(1, env_reachable(env, 0, page, 1));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(0, guest_fill(g, page, 5));
	EXPECT_TRUE(has_words(at(env, page), 5));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, page, 1, 4));
	EXPECT_EQ(5, vmm_read(vcpu_of(g), gpa_of(1)));
}

static int by_punch_hole(struct test_env *env, size_t first, size_t pages)
{
	return punch(env->fd, first, pages);
}

static int by_madv_remove(struct test_env *env, size_t first, size_t pages)
{
	return madvise(at(env, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

static int by_ftruncate(struct test_env *env, size_t first, size_t pages)
{
	return ftruncate(env->fd, first * PAGE) ? -errno : 0;
}

/* How many pages does KVM unmap for a hole? All of each huge page that is split */
static size_t unmapped_for(struct guest *g, size_t first, size_t end)
{
	if (!g->huge)
		return end - first;
	return (end + HUGE_PAGES - 1) / HUGE_PAGES * HUGE_PAGES -
	       first / HUGE_PAGES * HUGE_PAGES;
}

static void revoked_by(struct __test_metadata *_metadata, struct guest *g,
		       int (*away)(struct test_env *env, size_t first, size_t pages),
		       size_t first, size_t pages)
{
	const size_t end = first + pages;
	struct test_env *env = &g->env;
	__s64 mapped;

	both_use_all(_metadata, g);
	mapped = pages_mapped(g);
	ASSERT_LT(PAGES, mapped);
	if (has_trace())
		ASSERT_EQ(0, trace_start(env->fd));

	ASSERT_EQ(0, away(env, first, pages));
	/* nobody has accessed a page since */
	EXPECT_EQ(unmapped_for(g, first, end), mapped - pages_mapped(g));
	device_lost(_metadata, g, first, end);
	neighbours_are_there(_metadata, g, first, end);
	if (away == by_ftruncate) {
		EXPECT_TRUE(no_memory_at(g, 0, first));
		EXPECT_TRUE(no_memory_at(g, 1, first));
		EXPECT_TRUE(no_memory_at(g, 1, end - 1));
		EXPECT_EQ(first, allocated(env->fd));
		ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	}
	/* where a whole huge page is missing, the guest would fill all of it */
	if (!g->huge || away != by_ftruncate)
		guest_fills(_metadata, g, first);
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
}

TEST_F(ordinary, revoked_by_punch_hole)
{
	revoked_by(_metadata, &self->mm.g, by_punch_hole, HERE, 1);
}

TEST_F(ordinary, revoked_by_madv_remove)
{
	revoked_by(_metadata, &self->mm.g, by_madv_remove, HERE, 1);
}

TEST_F(ordinary, revoked_by_ftruncate)
{
	revoked_by(_metadata, &self->mm.g, by_ftruncate, HERE, PAGES - HERE);
}

/* The end of one huge folio and the start of the next one */
TEST_F(ordinary, hole_across_an_edge)
{
	revoked_by(_metadata, &self->mm.g, by_punch_hole, HUGE_PAGES - 3, 7);
}

/* A whole huge folio, and the last page before it */
TEST_F(ordinary, hole_around_a_huge_page)
{
	revoked_by(_metadata, &self->mm.g, by_madv_remove, HUGE_PAGES - 1,
		   HUGE_PAGES + 1);
}

/*
 * Pages come
 */

enum arrival { FALLOCATE, WRITE, STORE, GUEST_WRITES, GUEST_READS, NR_ARRIVALS };

static int bring(struct guest *g, enum arrival by, __u32 *word)
{
	struct test_env *env = &g->env;

	switch (by) {
	case FALLOCATE:
		*word = 0;
		return grow(env->fd, HERE, 1);
	case WRITE:
		return pwrite(env->fd, word, 4, HERE * PAGE) == 4 ? 0 : -errno;
	case STORE:
		*(__u32 *)at(env, HERE) = *word;
		return 0;
	case GUEST_WRITES:
		return vmm_write(vcpu_of(g), gpa_of(HERE), *word);
	default:
		*word = 0;
		return vmm_read(vcpu_of(g), gpa_of(HERE));
	}
}

/* The device reaches it at once, and the guest sees its content. */
static void both_get_it(struct __test_metadata *_metadata, struct guest *g, enum arrival by)
{
	const size_t pages = g->huge ? HUGE_PAGES : 1;
	struct test_env *env = &g->env;
	__u32 word = 0x0b0e0000 + by;

	ASSERT_EQ(0, bring(g, by, &word));
	EXPECT_EQ(1, env_reachable(env, 0, HERE, 1));
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(pages, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_TRUE(device_has_entry(env, HERE, g->huge ? HUGE : PAGE));

	EXPECT_EQ(word, vmm_read(&g->vmm.vcpu[1], gpa_of(HERE)));
	EXPECT_EQ(g->huge, huge_entries(g));
	*(__u32 *)at(env, THERE) = 0;
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, 4));
	EXPECT_EQ(word, vmm_read(&g->vmm.vcpu[1], gpa_of(THERE)));
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(HERE) + 4, PAGE_WORDS - 1, 0));
}

TEST_F(ordinary, both_get_a_page)
{
	struct guest *g = &self->mm.g;
	enum arrival by;

	dirty_free_memory(32 << 20);
	for (by = 0; by < NR_ARRIVALS; by++) {
		both_get_it(_metadata, g, by);
		ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));
		ASSERT_EQ(0, huge_entries(g));
		ASSERT_EQ(0, env_reachable(&g->env, 0, 0, PAGES));
	}
}

/* If the device cannot have the page, neither can the guest. */
TEST_F(ordinary, device_cannot_have_it)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;

	ASSERT_LE(0, mdma_unmap_all(&env->dev[0]));
	ASSERT_EQ(0, limit_as_user(1));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa_of(HERE), 1));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_TRUE(no_memory_at(g, 0, THERE));
	EXPECT_EQ(1, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));

	/* it goes on where it stopped, once there is room */
	ASSERT_EQ(0, punch(env->fd, HERE, 1));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu_of(g)));
	EXPECT_EQ(1, env_reachable(env, 0, THERE, 1));
	EXPECT_EQ(1, allocated(env->fd));
}

/* A device that comes when the guest's memory is in swap: the pages return for it. */
TEST_F(ordinary, device_comes_after_swap)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;

	ASSERT_EQ(0, env_swap(env));
	ASSERT_LE(0, mdma_unmap_all(&env->dev[0]));
	fill_pages(mm, 0, HUGE_PAGES, STRIDE);
	ASSERT_EQ(0, guest_fill_pattern(&mm->g, 0, STRIDE, 1000));
	ASSERT_EQ(0, left_after_pageout(env));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	EXPECT_EQ(mm->g.huge ? HUGE_PAGES : HUGE_PAGES / STRIDE,
		  env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, STRIDE, 0, PAGE));
	EXPECT_EQ(0, guest_wrong_words(&mm->g, 0, 0, 1000));
	fill_pattern(at(env, 0), 0);
	fill_pattern(at(env, STRIDE), STRIDE);
	EXPECT_TRUE(all_agree(mm));
}

/*
 * Data
 */

/* Each of the three reads what the other two write: each word of a page. */
TEST_F(ordinary, same_data)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;

	/* the guest writes, the device copies, the guest reads that */
	ASSERT_EQ(0, guest_fill_pattern(g, 0, HERE, 1));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, THERE, 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 1, THERE, 1));
	EXPECT_EQ(0, wrong_words(at(env, THERE), 1, PAGE_WORDS));
	EXPECT_EQ(0, wrong_words(at(env, HERE), 1, PAGE_WORDS));

	/* over a page that the guest has read before */
	fill_pattern(at(env, THERE), 3);
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE, 3));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, THERE, HERE, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE, 3));
	EXPECT_EQ(0, guest_wrong_words(g, 1, HERE, 3));

	/* and again after the guest has overwritten what the device wrote */
	ASSERT_EQ(0, guest_fill_pattern(g, 1, HERE, 4));
	ASSERT_EQ(0, guest_fill(g, THERE + 1, 5));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE + 1, 4));
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE, 3));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(g->huge ? 2 : 0, huge_entries(g));
}

TEST_HARNESS_MAIN
