// SPDX-License-Identifier: GPL-2.0
/*
 * Huge folios: the guest's translations of them, the faults that those save, and
 * holes that split them.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

/*
 * Faults
 */

/* Is each 2 MiB of these pages one folio? Looks through our own mapping. */
static bool made_of_huge_pages(struct test_env *env, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i += HUGE_PAGES)
		if (!is_huge(at(env, i)))
			return false;
	return true;
}

/* Have the guest write to each of these pages once. Returns how many faults that took. */
static __s64 touch_all(struct guest *g, size_t first, size_t pages, __u32 value)
{
	__s64 before, ret;

	/* its program may not be mapped yet */
	ret = vmm_read(vcpu_of(g), VMM_LOW_FREE);
	if (ret)
		return ret < 0 ? ret : -EIO;
	before = guest_faults(g);
	ret = vmm_touch(vcpu_of(g), gpa_of(first), pages, PAGE, value);
	return ret ? ret : guest_faults(g) - before;
}

static size_t pages_with(struct test_env *env, size_t first, size_t pages, __u32 value)
{
	size_t i, sum = 0;

	for (i = first; i < first + pages; i++)
		sum += *(__u32 *)at(env, i) == value;
	return sum;
}

TEST_F(holes, faults_by_2m)
{
	const size_t pages = ROOM / PAGE;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	/* the guest's faults fill the file, or find it filled */
	if (variant->flags == KEEP) {
		ASSERT_EQ(0, grow(env->fd, 0, pages));
		ASSERT_TRUE(made_of_huge_pages(env, 0, pages))
			TH_LOG("there is no such memory free");
	}
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, pages));
	EXPECT_EQ(pages / HUGE_PAGES, touch_all(g, 0, pages, 7));
	EXPECT_EQ(pages / HUGE_PAGES, huge_entries(g));
	EXPECT_EQ(pages, pages_with(env, 0, pages, 7));
	EXPECT_EQ(pages, allocated(env->fd));
	EXPECT_EQ(0, touch_all(g, 0, pages, 8));

	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_EQ(pages, pages_with(env, 0, pages, 8));
}

/* For comparison: a guest_memfd has pages of 4 KiB. */
TEST_F(kvm, faults_of_guest_memfd)
{
	const size_t pages = ROOM / PAGE;
	struct guest *g = &self->g;
	int fd;

	fd = create_guest_memfd(&g->vmm, ROOM);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, FILL, GPA, ROOM, g->shared, fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, ROOM, true));
	EXPECT_EQ(pages, touch_all(g, 0, pages, 7));
	EXPECT_EQ(0, huge_entries(g));
	close(fd);
}

/*
 * A huge folio needs small entries where its offset within 2 MiB differs between the file
 * and the guest's memory, or the memory of its shared side.
 */
TEST_F(kvm, faults_by_4k_where_misaligned)
{
	const struct {
		size_t addr, mem;	/* off by how many pages */
	} ways[] = {
		{ 1, 1 }, { 1, 0 }, { 0, 1 }, { 511, 511 },
	};
	const size_t pages = 2 * HUGE_PAGES;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i, j;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(env->fd, 0, pages));
	ASSERT_TRUE(made_of_huge_pages(env, 0, pages));
	for (j = 0; j < pages; j++)
		*(__u32 *)at(env, j) = 100 + j;
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, KEEP, gpa_of(ways[i].addr),
					  pages * PAGE, g->shared + ways[i].mem * PAGE,
					  env->fd, 0));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(0), 2 * pages * PAGE, true));
		for (j = 0; j < pages; j += 7)
			EXPECT_EQ(100 + j, vmm_read(vcpu_of(g), gpa_of(ways[i].addr + j)));
		EXPECT_EQ(0, huge_entries(g));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	}
	/* aligned, it has huge entries */
	ASSERT_EQ(0, add_slot(g, KEEP, 0, pages));
	EXPECT_EQ(2, touch_all(g, 0, pages, 1));
	EXPECT_EQ(2, huge_entries(g));
}

/* A memslot's edge, or a page with other attributes, in the middle of 2 MiB. */
TEST_F(kvm, faults_by_4k_at_edges)
{
	const size_t first = 256, pages = 256 + 2 * HUGE_PAGES + 100;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(env->fd, 0, 4 * HUGE_PAGES));
	ASSERT_TRUE(made_of_huge_pages(env, 0, 4 * HUGE_PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP, first, pages));
	EXPECT_EQ(256 + 2 + 100, touch_all(g, first, pages, 7));
	EXPECT_EQ(2, huge_entries(g));
	EXPECT_EQ(pages, pages_with(env, 0, 4 * HUGE_PAGES, 7));

	/* of the second huge page, one page is shared now */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(HUGE_PAGES + 9), PAGE, false));
	EXPECT_EQ(HUGE_PAGES, touch_all(g, HUGE_PAGES, HUGE_PAGES, 8));
	EXPECT_EQ(1, huge_entries(g));
	EXPECT_EQ(HUGE_PAGES - 1, pages_with(env, HUGE_PAGES, HUGE_PAGES, 8));
	EXPECT_EQ(7, *(__u32 *)at(env, HUGE_PAGES + 9));
	EXPECT_EQ(8, *(__u32 *)(g->shared + (HUGE_PAGES + 9) * PAGE));

	/* a hole next to the window, in a huge folio that reaches into it */
	ASSERT_EQ(0, punch(env->fd, 10, 1));
	EXPECT_EQ(4 * HUGE_PAGES - 1, allocated(env->fd));
	for (i = first; i < HUGE_PAGES; i++)
		EXPECT_EQ(7, vmm_read(vcpu_of(g), gpa_of(i)));
}

/*
 * Holes, and the end of the file
 */

/* Punch one page of 2 MiB that one entry maps: all others must survive. */
TEST_F(holes, in_a_huge_page)
{
	const size_t hole = 77;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t i;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	for (i = 0; i < HUGE_PAGES; i++)
		put_words(at(env, i), 100 + i);
	ASSERT_TRUE(is_huge(env->mem));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(100 + hole, vmm_read(vcpu_of(g), gpa_of(hole)));
	ASSERT_EQ(1, huge_entries(g));

	ASSERT_EQ(0, punch(env->fd, hole, 1));
	EXPECT_EQ(HUGE_PAGES - 1, allocated(env->fd));
	EXPECT_EQ(0, huge_entries(g));
	for (i = 0; i < HUGE_PAGES; i++)
		if (i == hole) {
			EXPECT_TRUE(is_hole(g, variant->flags, i));
		} else {
			EXPECT_TRUE(guest_sees(g, i, 100 + i));
		}
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_EQ(0, guest_fill(g, hole + 1, 7));
	EXPECT_TRUE(has_words(at(env, hole + 1), 7));
}

/* The file may end within a huge folio: the guest must not reach the rest. */
TEST_F(holes, end_in_a_huge_page)
{
	const size_t end = HUGE_PAGES - 12;
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(0, ftruncate(env->fd, end * PAGE));
	ASSERT_EQ(0, grow(env->fd, 0, end));
	ASSERT_TRUE(is_huge(env->mem));
	EXPECT_EQ(0, vmm_touch(vcpu_of(g), gpa_of(0), end, PAGE, 7));
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_TRUE(lacks(g, end));
	EXPECT_TRUE(lacks(g, HUGE_PAGES - 1));
	EXPECT_EQ(7, vmm_read(vcpu_of(g), gpa_of(end - 1)));
}

TEST_HARNESS_MAIN
