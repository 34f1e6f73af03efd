// SPDX-License-Identifier: GPL-2.0
/*
 * A guest and a device in the same memfd: both have the pages that one of them brings,
 * each reads what the other writes, and both lose the pages that the file loses.
 */
#include "lib/harness.h"
#include "lib/kvm_share_fixture.h"
#include "lib/rights.h"

/* A copy that must fail with a fault of the IOMMU */
static void copy_faults(struct __test_metadata *_metadata, struct guest *g,
			size_t from, size_t to)
{
	long faults = mdma_iommu_faults();

	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, env_copy(&g->env, 0, from, to, 64));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
}

/* How many pages one allocation adds */
static size_t folio_pages(struct guest *g)
{
	return g->huge ? HUGE_PAGES : 1;
}

/*
 * A page that the device cannot have: the guest stops, and fallocate(2) fails with the
 * reason.
 */
TEST_F(share, device_refuses)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[0];
	struct test_env *env = &g->env;
	size_t i;

	ASSERT_EQ(0, limit_as_user(4));
	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, vmm_write(vcpu, gpa_of(i), 10 + i));
	EXPECT_TRUE(faulted_at(vcpu, vmm_write(vcpu, gpa_of(HERE), 7), -EFAULT,
			       gpa_of(HERE)));
	EXPECT_EQ(-1, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, HERE * PAGE, PAGE));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(4, allocated(env->fd));
	EXPECT_EQ(4, env_reachable(env, 0, 0, PAGES));

	ASSERT_EQ(0, punch(env->fd, 3, 1));
	EXPECT_EQ(0, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, HERE * PAGE, PAGE));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
	EXPECT_EQ(7, vmm_read(vcpu, gpa_of(HERE)));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* KVM fills a hole: the device has the page when the guest's access is over. */
TEST_F(share, guest_comes_first)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	const __u32 *there = (__u32 *)at(env, THERE);
	size_t pages;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	EXPECT_EQ(2, consumers_of(env->fd));

	/* by a write */
	pages = folio_pages(g);
	ASSERT_EQ(0, vmm_write(&g->vmm.vcpu[0], gpa_of(HERE), 0x600dda7a));
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(1, env_reachable(env, 0, HERE, 1));
	EXPECT_EQ(pages, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(g->huge, is_huge(at(env, HERE)));
	EXPECT_EQ(g->huge, vmm_stat(&g->vmm, "pages_2m"));

	/* by a read: a page of zeros */
	pages += folio_pages(g);
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(THERE), PAGE_WORDS, 0));
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(1, env_reachable(env, 0, THERE, 1));
	EXPECT_EQ(pages, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));

	/* the device can read and write there */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, 64));
	EXPECT_EQ(0x600dda7a, vmm_read(&g->vmm.vcpu[0], gpa_of(THERE)));
	EXPECT_EQ(0x600dda7a, there[0]);
	EXPECT_TRUE(all(at(env, THERE) + 4, PAGE - 4, 0));

	/* several at once */
	ASSERT_EQ(0, vmm_touch(&g->vmm.vcpu[0], gpa_of(HUGE_PAGES + 8), 8, PAGE, 1));
	pages += g->huge ? HUGE_PAGES : 8;
	EXPECT_EQ(8, env_reachable(env, 0, HUGE_PAGES + 8, 8));
	EXPECT_EQ(pages, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* Each of the three reads what the other two write: each word of a page. */
TEST_F(share, same_data)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, HERE, 4));
	ASSERT_EQ(0, grow(env->fd, THERE, 4));

	/* the guest writes, the device copies, the guest reads that */
	ASSERT_EQ(0, guest_fill_pattern(g, 0, HERE, 1));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, HERE + 1, 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 1, THERE + 1, 1));
	EXPECT_EQ(0, wrong_words(at(env, THERE + 1), 1, PAGE_WORDS));
	EXPECT_EQ(0, wrong_words(at(env, HERE), 1, PAGE_WORDS));
	EXPECT_EQ(0, wrong_words(at(env, HERE + 1), 2, PAGE_WORDS));
	/* the pages next to it have not changed */
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(THERE), PAGE_WORDS, 0));
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(THERE + 2), PAGE_WORDS, 0));

	/* over a page that the guest has read before */
	fill_pattern(at(env, THERE + 2), 3);
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE + 2, 3));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, THERE + 2, HERE, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE, 3));
	EXPECT_EQ(0, guest_wrong_words(g, 1, HERE, 3));

	/* and again after the guest has overwritten what the device wrote */
	ASSERT_EQ(0, guest_fill_pattern(g, 1, HERE, 4));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, HERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE + 1, 4));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* How a file loses a page */
enum loss_way { PUNCHED, TRUNCATED };

static int lose(struct guest *g, enum loss_way loss, size_t page)
{
	if (loss == PUNCHED)
		return punch(g->env.fd, page, 1);
	return ftruncate(g->env.fd, page * PAGE) ? -errno : 0;
}

/* The page at HERE is gone from the file, by a punch or a truncation. */
static void both_lost_it(struct __test_metadata *_metadata, struct guest *g,
			 enum loss_way loss)
{
	struct test_env *env = &g->env;

	EXPECT_EQ(0, env_reachable(env, 0, HERE, 1));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	copy_faults(_metadata, g, HERE, HERE - 2);
	EXPECT_EQ(0, wrong_words(at(env, HERE - 2), HERE - 2, PAGE_WORDS))
		TH_LOG("the device could read a page that is gone");
	copy_faults(_metadata, g, HERE - 2, HERE);

	/* for both, the pages next to it are as they were */
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE - 1, HERE - 1));
	EXPECT_EQ(HERE, env_reachable(env, 0, 0, HERE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE - 1, HERE - 2, 64));
	EXPECT_EQ(0, wrong_words(at(env, HERE - 2), HERE - 1, 16));
	if (loss == TRUNCATED) {
		EXPECT_EQ(HERE, allocated(env->fd));
		return;
	}
	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE + 1, HERE + 1));
	EXPECT_EQ(PAGES - HERE - 1, env_reachable(env, 0, HERE + 1, PAGES - HERE - 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE + 1, HERE - 2, 64));
	EXPECT_EQ(0, wrong_words(at(env, HERE - 2), HERE + 1, 16));
}

/* The guest's access to a hole ends in an exit, and does not fill it. */
static void guest_exits(struct __test_metadata *_metadata, struct guest *g,
			size_t page)
{
	size_t before = allocated(g->env.fd);
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[0];

	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(page)), gpa_of(page)));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_write(vcpu, gpa_of(page), 1), gpa_of(page)));
	/* the other vCPU's TLB may have an entry that this one's has not */
	vcpu++;
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(page)), gpa_of(page)));
	EXPECT_EQ(before, allocated(g->env.fd));
	EXPECT_EQ(0, env_reachable(&g->env, 0, page, 1));
}

/* Or it fills the hole, and the device has the new page as well. */
static void guest_fills(struct __test_metadata *_metadata, struct guest *g,
			size_t page)
{
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[1], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[0], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(1, env_reachable(&g->env, 0, page, 1));
	EXPECT_EQ(0, env_differences(&g->env, 0, 0, PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(&g->env, 0, page, HERE - 2, 64));
	EXPECT_TRUE(all(at(&g->env, HERE - 2), 64, 0));
}

static void hole(struct __test_metadata *_metadata, struct guest *g, __u32 flags,
		 enum loss_way loss)
{
	struct test_env *env = &g->env;
	size_t page;

	ASSERT_EQ(0, add_slot(g, flags, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (page = HERE - 2; page < HERE + 2; page++)
		for (int n = 0; n < 2; n++)
			ASSERT_EQ(0, guest_fill_pattern(g, n, page, page));
	EXPECT_EQ(g->huge, is_huge(at(env, HERE)));
	EXPECT_EQ(g->huge, vmm_stat(&g->vmm, "pages_2m"));

	ASSERT_EQ(0, lose(g, loss, HERE));
	both_lost_it(_metadata, g, loss);
	if (loss == TRUNCATED) {
		/* behind the end, no access fills a page */
		guest_exits(_metadata, g, HERE);
		guest_exits(_metadata, g, PAGES - 1);
		ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	}
	if (flags & KVM_MEM_MEMFD_KEEP_HOLES)
		guest_exits(_metadata, g, HERE);
	else
		guest_fills(_metadata, g, HERE);

	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
}

/* When a punch or a truncation returns, both have lost the page. */
TEST_F(share, one_hole_for_both)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, env_map(&g->env, 0, 0, PAGES));
	hole(_metadata, g, KEEP, PUNCHED);
	hole(_metadata, g, KEEP, TRUNCATED);
	hole(_metadata, g, FILL, PUNCHED);
	hole(_metadata, g, FILL, TRUNCATED);
}

/* The ways in which a file gets it back */
static void bring(struct __test_metadata *_metadata, struct guest *g, int way)
{
	const __u32 word = 0x0b0e0000 + way;
	struct test_env *env = &g->env;

	switch (way) {
	case 0:
		ASSERT_EQ(0, grow(env->fd, HERE, 1));
		EXPECT_EQ(1, env_reachable(env, 0, HERE, 1));
		*(__u32 *)at(env, HERE) = word;
		break;
	case 1:
		ASSERT_EQ(4, pwrite(env->fd, &word, 4, HERE * PAGE));
		break;
	default:
		*(__u32 *)at(env, HERE) = word;
		break;
	}
	EXPECT_EQ(1, env_reachable(env, 0, HERE, 1));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* The device reaches it at once, and the guest goes on where it stopped. */
TEST_F(share, both_get_it_back)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *reader = &g->vmm.vcpu[0], *writer = &g->vmm.vcpu[1];
	struct test_env *env = &g->env;
	__u32 word;
	int way;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (way = 0; way < 3; way++) {
		word = 0x0b0e0000 + way;
		ASSERT_EQ(0, vmm_write(writer, gpa_of(HERE), 1));
		ASSERT_EQ(0, punch(env->fd, HERE, 1));
		EXPECT_TRUE(is_hole_exit(reader, vmm_read(reader, gpa_of(HERE)),
					 gpa_of(HERE)));
		EXPECT_TRUE(is_hole_exit(writer, vmm_write(writer, gpa_of(HERE) + 4, ~word),
					 gpa_of(HERE)));
		/* there is no page until user space brings one */
		EXPECT_TRUE(is_hole_exit(reader, vmm_vcpu_resume(reader), gpa_of(HERE)));
		bring(_metadata, g, way);
		EXPECT_EQ(word, vmm_vcpu_resume(reader));
		EXPECT_EQ(0, vmm_vcpu_resume(writer));
		EXPECT_EQ(~word, ((__u32 *)at(env, HERE))[1]);
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, 64));
		EXPECT_EQ(word, vmm_read(reader, gpa_of(THERE)));
		EXPECT_EQ(~word, vmm_read(reader, gpa_of(THERE) + 4));
	}
}

/* The guest's window is the first two huge folios' places, the device's the last two. */
TEST_F(share, windows_of_their_own)
{
	const size_t guests = HERE, common = HUGE_PAGES + HERE, devices = THERE;
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[0];
	struct test_env *env = &g->env;
	long kvm, mirror;

	ASSERT_EQ(0, env_map(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP, 0, 2 * HUGE_PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, guests, 1));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, common, 2));
	fill_pattern(at(env, devices), 3);
	EXPECT_EQ(0, env_reachable(env, 0, 0, HUGE_PAGES));
	EXPECT_EQ(2 * HUGE_PAGES, env_reachable(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, devices, common, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, common, 3));
	kvm = consumers_invalidated(env->fd, "kvm");
	mirror = consumers_invalidated(env->fd, "iommu");
	EXPECT_LE(0, kvm);
	EXPECT_LE(0, mirror);

	/* outside of the device's window */
	ASSERT_EQ(0, punch(env->fd, guests, 1));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(guests)), gpa_of(guests)));
	EXPECT_EQ(mirror, consumers_invalidated(env->fd, "iommu"));
	EXPECT_LT(kvm, consumers_invalidated(env->fd, "kvm"));
	EXPECT_EQ(0, env_differences(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	kvm = consumers_invalidated(env->fd, "kvm");

	/* outside of the guest's window */
	ASSERT_EQ(0, punch(env->fd, devices, 1));
	EXPECT_EQ(2 * HUGE_PAGES - 1, env_reachable(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(kvm, consumers_invalidated(env->fd, "kvm"));
	EXPECT_LT(mirror, consumers_invalidated(env->fd, "iommu"));
	EXPECT_EQ(0, guest_wrong_words(g, 0, common, 3));

	/* in both windows */
	ASSERT_EQ(0, punch(env->fd, common, 1));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(common)), gpa_of(common)));
	EXPECT_EQ(2 * HUGE_PAGES - 2, env_reachable(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(0, env_differences(env, 0, HUGE_PAGES, 2 * HUGE_PAGES));
}

/* If KVM refuses, no consumer gets a page. */
TEST_F(share, veto)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	size_t before;

	ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, VETO, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, 3, 3));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(20), PAGE, false));
	before = allocated(env->fd);
	/* of the huge folio, some pages were there before */
	EXPECT_EQ(folio_pages(g), before);
	ASSERT_EQ(0, punch(env->fd, 4, HUGE_PAGES - 4));

	EXPECT_EQ(-EPERM, grow(env->fd, 0, HUGE_PAGES));
	EXPECT_EQ(-EPERM, grow(env->fd, 20, 1));
	EXPECT_EQ(-EPERM, grow(env->fd, 16, PAGES));
	before = g->huge ? 4 : 1;
	EXPECT_EQ(before, allocated(env->fd));
	EXPECT_EQ(PAGES, file_pages(env->fd));
	EXPECT_EQ(before, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(0, guest_wrong_words(g, 0, 3, 3));
	copy_faults(_metadata, g, 20, 3);

	/* pages that KVM allows */
	EXPECT_EQ(0, grow(env->fd, HUGE_PAGES, 1));
	EXPECT_EQ(1, env_reachable(env, 0, HUGE_PAGES, 1));
	EXPECT_EQ(0, grow(env->fd, 4, 16));
	EXPECT_EQ(20 - !g->huge * 3, env_reachable(env, 0, 0, HUGE_PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(20), PAGE, true));
	EXPECT_EQ(0, grow(env->fd, 0, HUGE_PAGES));
	EXPECT_EQ(HUGE_PAGES, env_reachable(env, 0, 0, HUGE_PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
	EXPECT_EQ(0, guest_wrong_words(g, 0, 3, 3));
}

/*
 * Stop the guest at a hole behind the end of the file, then move the end away, so that
 * one KVM_RUN fills the hole.
 */
static void stop_at_hole(struct __test_metadata *_metadata, struct guest *g,
			 __u64 iova)
{
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[0];

	ASSERT_EQ(0, ftruncate(g->env.fd, 0));
	ASSERT_TRUE(is_hole_exit(vcpu, vmm_write(vcpu, gpa_of(THERE), 7), gpa_of(THERE)));
	ASSERT_EQ(0, ftruncate(g->env.fd, PAGES * PAGE));
	if (iova)
		ASSERT_EQ(0, mdma_map(&g->env.dev[0], g->env.fd, 0, iova, PAGES * PAGE,
				      MDMA_RW));
}

/* Fail each allocation of the guest's fault in turn. Returns how many made it fail. */
static int fail_fault(struct __test_metadata *_metadata, struct guest *g, bool mirrored)
{
	/*
	 * THERE's huge folio begins at a GiB, so that it needs page tables of its own: at
	 * IOVAs that were mapped before, the domain may have kept some.
	 */
	const __u64 gib = 1ULL << 30,
		    iova = iova_of(&g->env.dev[0], 0) / gib * gib - 2 * HUGE;
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[0];
	int nth, left, ret, error, failed = 0;
	struct test_env *env = &g->env;
	__s64 mapped;
	__u64 at_iova = 0;

	for (nth = 1; ; nth++) {
		if (mirrored)
			at_iova = iova + nth * 2 * gib;
		stop_at_hole(_metadata, g, at_iova);
		mapped = vmm_stat(&g->vmm, "pages_4k");
		if (fail_nth(g->env.fail, nth) != nth)
			return -1;
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
		error = errno;
		left = fail_nth(g->env.fail, 0);
		if (ret) {
			/* the page, or its entry in KVM's page table */
			if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
				EXPECT_EQ(EFAULT, error);
			} else {
				EXPECT_EQ(ENOMEM, error);
			}
			EXPECT_EQ(0, left);
			EXPECT_EQ(0, allocated(env->fd));
			EXPECT_EQ(0, in_core(at(env, THERE)));
			EXPECT_EQ(mapped, vmm_stat(&g->vmm, "pages_4k"));
			EXPECT_EQ(0, vmm_stat(&g->vmm, "pages_2m"));
			/* again, with memory */
			EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
			failed++;
		}
		EXPECT_EQ(7, *(__u32 *)at(env, THERE));
		if (mirrored) {
			EXPECT_EQ(0, differences(&env->dev[0], at_iova, env->fd, env->mem, 0,
						 PAGES));
			ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(&env->dev[0]));
		}
		if (left || nth > 1000)
			break;
	}
	note("%s mirror: %d of %d failed allocations had an effect",
	     mirrored ? "with a" : "without", failed, nth - 1);
	return failed;
}

/*
 * If a page cannot be mapped for the device, the guest does not get it either. Only a
 * mirror allocates in mirror_populate(), and its failures there must reach the guest; of
 * a huge page, only if one page of it fails as well.
 */
TEST_F(share, device_cannot_have_it)
{
	struct guest *g = &self->g;

	if (env_open_fail_nth(&g->env))
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	fail_anything("0");
	EXPECT_LE(0, fail_fault(_metadata, g, false));
	EXPECT_LE(0, fail_fault(_metadata, g, true));
	ASSERT_EQ(0, fail_only_in("mirror_populate"));
	EXPECT_EQ(0, fail_fault(_metadata, g, false));
	/* what there is no memory for as a huge page is there as a small one */
	if (variant->huge) {
		EXPECT_EQ(0, fail_fault(_metadata, g, true));
	} else {
		EXPECT_LT(0, fail_fault(_metadata, g, true));
	}
}

TEST_HARNESS_MAIN
