// SPDX-License-Identifier: GPL-2.0
/*
 * Holes of the file: how pages leave it, and what a guest finds in their place, by
 * what its memslot does to holes.
 */
#include <sys/mount.h>

#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES	16

/*
 * In all memslots
 */

TEST_F(holes, pages_are_cleared)
{
	struct guest *g = &self->g;
	size_t i;

	dirty_free_memory(32 << 20);
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, 3 * PAGES));
	ASSERT_EQ(0, grow(g->env.fd, PAGES, PAGES));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(0), 2 * PAGES * PAGE_WORDS, 0));
	EXPECT_EQ(2 * PAGES, allocated(g->env.fd));

	/* a page to which the guest or the file writes one word is zero elsewhere */
	dirty_free_memory(32 << 20);
	if (variant->flags == FILL) {
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa_of(2 * PAGES) + 400, 1));
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa_of(2 * PAGES) + 400, 0));
		EXPECT_TRUE(all(at(&g->env, 2 * PAGES), PAGE, 0));
	}
	for (i = 2 * PAGES + 1; i < 3 * PAGES; i++)
		ASSERT_EQ(1, pwrite(g->env.fd, "", 1, i * PAGE + 2000));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(2 * PAGES + 1),
				 (PAGES - 1) * PAGE_WORDS, 0));
}

/* Memslots of either kind have no pages behind the end of the file. */
TEST_F(holes, behind_the_end)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	__s64 before;

	ASSERT_EQ(0, add_slot(g, variant->flags, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 3));
	ASSERT_EQ(0, guest_fill(g, 4, 4));
	ASSERT_EQ(0, ftruncate(env->fd, 4 * PAGE));
	before = guest_faults(g);
	EXPECT_TRUE(guest_sees(g, 3, 3));
	EXPECT_EQ(before, guest_faults(g));
	EXPECT_TRUE(lacks(g, 4));
	EXPECT_TRUE(lacks(g, PAGES - 1));
	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_write(vcpu_of(g), gpa_of(4), 5), -EFAULT,
			       gpa_of(4)));
	EXPECT_EQ(4, allocated(env->fd));
	EXPECT_EQ(4, file_pages(env->fd));

	/* even where fallocate() has put pages */
	ASSERT_EQ(0, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 6 * PAGE, PAGE));
	EXPECT_TRUE(lacks(g, 6));

	/* when the file grows, its old content there is gone */
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	EXPECT_TRUE(guest_sees(g, 6, 0));
	EXPECT_TRUE(is_hole(g, variant->flags, 4));
	EXPECT_TRUE(is_hole(g, variant->flags, 5));
	ASSERT_EQ(0, grow(env->fd, 4, 1));
	EXPECT_EQ(0, guest_fill(g, 4, 44));
	EXPECT_TRUE(has_words(at(env, 4), 44));
	EXPECT_TRUE(guest_sees(g, 3, 3));

	/* an op that stopped there can resume */
	ASSERT_EQ(0, ftruncate(env->fd, 4 * PAGE));
	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_write(vcpu_of(g), gpa_of(7), 77), -EFAULT,
			       gpa_of(7)));
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	if (variant->flags == KEEP)
		ASSERT_EQ(0, grow(env->fd, 7, 1));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu_of(g)));
	EXPECT_EQ(77, *(__u32 *)at(env, 7));
}

static int by_punch_hole(struct test_env *env, size_t first, size_t pages)
{
	return punch(env->fd, first, pages);
}

static int by_madv_remove(struct test_env *env, size_t first, size_t pages)
{
	return madvise(at(env, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

/* Cut the file there, then restore its size, so that the guest can look. */
static int by_ftruncate(struct test_env *env, size_t first, size_t pages)
{
	return ftruncate(env->fd, first * PAGE) || ftruncate(env->fd, ROOM) ? -errno : 0;
}

/*
 * Remove pages that the guest has just used: it must not see their content again, and
 * must see all others without another fault.
 */
static void revoked_by(struct __test_metadata *_metadata, struct guest *g, __u32 flags,
		       int (*away)(struct test_env *env, size_t first, size_t pages))
{
	const size_t first = 8, last = away == by_ftruncate ? PAGES - 1 : 11;
	const size_t gone = last - first + 1;
	__s64 before;
	size_t i;

	ASSERT_EQ(0, add_slot(g, flags, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 100 + i));

	/* all are mapped now: a fault from here on is due to the hole */
	before = guest_faults(g);
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(guest_sees(g, i, 100 + i));
	ASSERT_EQ(before, guest_faults(g));

	ASSERT_EQ(0, away(&g->env, first, gone));
	EXPECT_EQ(PAGES - gone, allocated(g->env.fd));
	for (i = 0; i < PAGES; i++)
		if (i >= first && i <= last) {
			EXPECT_TRUE(is_hole(g, flags, i));
		} else {
			EXPECT_TRUE(guest_sees(g, i, 100 + i));
		}
	EXPECT_EQ(before + (flags == FILL ? gone : 0), guest_faults(g));

	/* guest and file share the new pages, too */
	ASSERT_EQ(0, grow(g->env.fd, first, gone));
	for (i = first; i <= last; i++) {
		EXPECT_TRUE(guest_sees(g, i, 0));
		put_words(at(&g->env, i), 200 + i);
		EXPECT_TRUE(guest_sees(g, i, 200 + i));
	}
}

TEST_F(holes, revoked_by_punch_hole)
{
	revoked_by(_metadata, &self->g, variant->flags, by_punch_hole);
}

TEST_F(holes, revoked_by_madv_remove)
{
	revoked_by(_metadata, &self->g, variant->flags, by_madv_remove);
}

TEST_F(holes, revoked_by_ftruncate)
{
	revoked_by(_metadata, &self->g, variant->flags, by_ftruncate);
}

/* A hole that covers part of a page clears that part, and the page stays. */
TEST_F(holes, partial_pages_stay)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, grow(g->env.fd, 0, 2));
	ASSERT_EQ(0, add_slot(g, variant->flags, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 0, 1));
	ASSERT_EQ(0, guest_fill(g, 1, 2));
	ASSERT_EQ(0, fallocate(g->env.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE - 400, 800));
	EXPECT_EQ(2, allocated(g->env.fd));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(0), PAGE_WORDS - 100, 1));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(1) - 400, 200, 0));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(1) + 400, PAGE_WORDS - 100, 2));
}

/*
 * In memslots that fill holes, or keep them
 */

TEST_F(kvm, hole_is_filled)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	dirty_free_memory(32 << 20);
	EXPECT_EQ(0, allocated(g->env.fd));
	EXPECT_EQ(0, vmm_read(vcpu_of(g), gpa_of(5)));
	EXPECT_EQ(1, allocated(g->env.fd));
	EXPECT_TRUE(guest_sees(g, 5, 0));
	EXPECT_TRUE(in_core(at(&g->env, 5)));

	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa_of(7) + 8, 42));
	EXPECT_EQ(2, allocated(g->env.fd));
	EXPECT_EQ(42, ((__u32 *)at(&g->env, 7))[2]);
	((__u32 *)at(&g->env, 7))[2] = 0;
	EXPECT_TRUE(guest_sees(g, 7, 0));
	EXPECT_EQ(2, in_core_pages(at(&g->env, 0), PAGES));
}

static int fill_by_fallocate(struct guest *g, size_t page)
{
	return grow(g->env.fd, page, 1);
}

static int fill_by_write(struct guest *g, size_t page)
{
	return pwrite(g->env.fd, "", 1, (page + 1) * PAGE - 1) == 1 ? 0 : -errno;
}

static int fill_by_mapping(struct guest *g, size_t page)
{
	return *(volatile char *)at(&g->env, page);
}

/* The guest stops, user space fills the hole in any way, and the guest resumes. */
TEST_F(kvm, hole_is_kept)
{
	int (* const ways[])(struct guest *g, size_t page) = {
		fill_by_fallocate, fill_by_write, fill_by_mapping,
	};
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);
	size_t i, page;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		page = 4 * i;
		EXPECT_TRUE(lacks(g, page));
		EXPECT_TRUE(lacks(g, page + 1));
		EXPECT_TRUE(faulted_at(vcpu, vmm_write(vcpu, gpa_of(page), 42), -EFAULT,
				       gpa_of(page)));
		/* resuming without a page stops again */
		EXPECT_TRUE(faulted_at(vcpu, vmm_vcpu_resume(vcpu), -EFAULT, gpa_of(page)));
		EXPECT_EQ(2 * i, allocated(g->env.fd));

		ASSERT_EQ(0, ways[i](g, page));
		EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
		EXPECT_EQ(42, *(__u32 *)at(&g->env, page));
		EXPECT_TRUE(all(at(&g->env, page) + 4, PAGE - 4, 0));

		EXPECT_TRUE(faulted_at(vcpu, vmm_read(vcpu, gpa_of(page + 1)), -EFAULT,
				       gpa_of(page + 1)));
		ASSERT_EQ(0, ways[i](g, page + 1));
		EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
		EXPECT_EQ(2 * i + 2, allocated(g->env.fd));
	}
}

/* An op over many pages stops at each missing page, and loses nothing. */
TEST_F(kvm, op_goes_on_after_holes)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);
	__s64 ret;
	size_t i;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	for (i = 0; i < 8; i += 2)
		ASSERT_EQ(0, grow(g->env.fd, i, 1));
	ret = vmm_fill(vcpu, gpa_of(0), 8 * PAGE_WORDS, 9);
	for (i = 1; i < 8; i += 2) {
		EXPECT_TRUE(faulted_at(vcpu, ret, -EFAULT, gpa_of(i)));
		EXPECT_TRUE(has_words(at(&g->env, i - 1), 9));
		ASSERT_EQ(0, grow(g->env.fd, i, 1));
		ret = vmm_vcpu_resume(vcpu);
	}
	EXPECT_EQ(0, ret);
	for (i = 0; i < 8; i++)
		EXPECT_TRUE(has_words(at(&g->env, i), 9));
	EXPECT_EQ(8, allocated(g->env.fd));
}

TEST_F(kvm, pre_fault_fills)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	__s64 before;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	ASSERT_EQ(0, vmm_read(vcpu_of(g), VMM_LOW_FREE));
	ASSERT_EQ(0, pre_fault(g, &range, 4, 8));
	EXPECT_EQ(0, range.size);
	EXPECT_EQ(8, allocated(g->env.fd));
	EXPECT_EQ(8, in_core_pages(at(&g->env, 4), 8));

	/* the guest has these pages mapped, and no others */
	before = guest_faults(g);
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(4), 8 * PAGE_WORDS, 0));
	EXPECT_EQ(before, guest_faults(g));
	EXPECT_EQ(0, vmm_read(vcpu_of(g), gpa_of(12)));
	EXPECT_EQ(before + 1, guest_faults(g));

	/* nothing can be behind the end */
	ASSERT_EQ(0, ftruncate(g->env.fd, 14 * PAGE));
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 14, 2));
	EXPECT_EQ(9, allocated(g->env.fd));
}

TEST_F(kvm, pre_fault_keeps_holes)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	__s64 before;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, vmm_read(vcpu_of(g), VMM_LOW_FREE));
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 0, PAGES));
	EXPECT_EQ(gpa_of(0), range.gpa);
	EXPECT_EQ(PAGES * PAGE, range.size);
	EXPECT_EQ(0, allocated(g->env.fd));

	/* as far as the hole */
	ASSERT_EQ(0, grow(g->env.fd, 0, 4));
	EXPECT_EQ(0, pre_fault(g, &range, 0, PAGES));
	EXPECT_EQ(gpa_of(4), range.gpa);
	EXPECT_EQ((PAGES - 4) * PAGE, range.size);
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 4, PAGES - 4));
	EXPECT_EQ(4, allocated(g->env.fd));
	before = guest_faults(g);
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(0), 4 * PAGE_WORDS, 0));
	EXPECT_EQ(before, guest_faults(g));
	EXPECT_TRUE(lacks(g, 4));
}

#define SMALL_TMPFS	"/tmp/memfd_ops_small"

/*
 * A file without space for another page: the guest stops, and fallocate(2) fails with the
 * reason.
 */
TEST_F(kvm, no_space)
{
	struct guest *g = &self->g;
	size_t i;
	int fd;

	mkdir(SMALL_TMPFS, 0700);
	ASSERT_EQ(0, mount("none", SMALL_TMPFS, "tmpfs", 0, "size=64k,huge=never"));
	fd = open(SMALL_TMPFS "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(SMALL_TMPFS, MNT_DETACH);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGES * PAGE));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, FILL, GPA, 2 * PAGES * PAGE, g->shared,
				  fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, 2 * PAGES * PAGE, true));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));

	EXPECT_TRUE(faulted_at(vcpu_of(g), vmm_write(vcpu_of(g), gpa_of(PAGES), 26),
			       -EFAULT, gpa_of(PAGES)));
	EXPECT_EQ(-1, fallocate(fd, FALLOC_FL_KEEP_SIZE, PAGES * PAGE, PAGE));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(PAGES, allocated(fd));

	ASSERT_EQ(0, punch(fd, 3, 1));
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_KEEP_SIZE, PAGES * PAGE, PAGE));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu_of(g)));
	EXPECT_EQ(26, vmm_read(vcpu_of(g), gpa_of(PAGES)));
	close(fd);
}

TEST_HARNESS_MAIN
