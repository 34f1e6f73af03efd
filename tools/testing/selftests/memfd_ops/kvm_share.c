// SPDX-License-Identifier: GPL-2.0
/*
 * A guest and a device in the same memfd: what one brings the other has, what one
 * writes the other reads, and what the file loses both lose.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "kvm_rig.h"
#include "../kselftest_harness.h"

/* Three huge folios, or their places */
#define PAGES		(3 * HUGE_PAGES)

/* A page in the middle of one, and one in another */
#define HERE		(HUGE_PAGES / 2)
#define THERE		(2 * HUGE_PAGES + 7)

#define SLOT		1

struct share {
	struct rig r;
	struct vmm vm;
	__u32 *shared;		/* the guest's shared memory */
	bool huge;
};

static __u32 gpa_of(size_t page)
{
	return GPA + page * PAGE;
}

/* Memory for the guest: [first, first + pages) of the file, all of it private. */
static int add_slot(struct share *s, __u32 flags, size_t first, size_t pages)
{
	int ret = vmm_set_slot(&s->vm, SLOT, KVM_MEM_GUEST_MEMFD | flags, gpa_of(first),
			       pages * PAGE, s->shared + first * PAGE_WORDS, s->r.fd,
			       first * PAGE);

	return ret ? ret : vmm_set_private(&s->vm, gpa_of(first), pages * PAGE, true);
}

FIXTURE(share)
{
	struct share s;
};

FIXTURE_VARIANT(share)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(share, small_pages)
{
	.huge = false,
};

FIXTURE_VARIANT_ADD(share, huge_pages)
{
	.huge = true,
};

FIXTURE_SETUP(share)
{
	struct share *s = &self->s;

	s->vm = (struct vmm)VMM_INIT;
	s->r.dev[0] = (struct mdma)MDMA_INIT;
	s->r.dev[1] = (struct mdma)MDMA_INIT;
	s->huge = variant->huge;
	if (!has_kvm())
		SKIP(return, "no KVM here");
	ASSERT_EQ(0, rig_setup(&s->r, PAGES));
	/* "never" may be what it is not, elsewhere */
	if (rig_thp(&s->r, s->huge ? "force" : "never") && s->huge)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, memfd_vm_create(&s->vm, 2));
	s->shared = alloc_shared(PAGES);
	ASSERT_NE(NULL, s->shared);
}

FIXTURE_TEARDOWN(share)
{
	fail_only_in(NULL);
	fail_anything("1");
	vmm_destroy(&self->s.vm);
	rig_teardown(&self->s.r);
}

/* A copy that the device must not be able to do, and that the IOMMU saw it try. */
static void copy_faults(struct __test_metadata *_metadata, struct share *s,
			size_t from, size_t to)
{
	long faults = mdma_iommu_faults();

	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, rig_copy(&s->r, 0, from, to, 64));
	EXPECT_TRUE(mdma_iommu_faulted(faults));
}

/* What comes with a page that is allocated */
static size_t folio_pages(struct share *s)
{
	return s->huge ? HUGE_PAGES : 1;
}

/* KVM fills a hole: the device has the page when the guest's access is over. */
TEST_F_TIMEOUT(share, guest_comes_first, 120)
{
	struct share *s = &self->s;
	struct rig *r = &s->r;
	const __u32 *there = (__u32 *)at(r, THERE);
	size_t pages;

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(s, 0, 0, PAGES));
	EXPECT_EQ(2, consumers_of(r->fd));

	/* by a write */
	pages = folio_pages(s);
	ASSERT_EQ(0, vmm_write(&s->vm.vcpu[0], gpa_of(HERE), 0x600dda7a));
	EXPECT_EQ(pages, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(1, rig_reachable(r, 0, HERE, 1));
	EXPECT_EQ(pages, allocated(r->fd));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	EXPECT_EQ(s->huge, is_huge(at(r, HERE)));
	EXPECT_EQ(s->huge, vmm_stat(&s->vm, "pages_2m"));

	/* by a read: a page of zeros */
	pages += folio_pages(s);
	EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[1], gpa_of(THERE), PAGE_WORDS, 0));
	EXPECT_EQ(pages, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(1, rig_reachable(r, 0, THERE, 1));
	EXPECT_EQ(pages, allocated(r->fd));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));

	/* the device really gets there, both ways */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE, THERE, 64));
	EXPECT_EQ(0x600dda7a, vmm_read(&s->vm.vcpu[0], gpa_of(THERE)));
	EXPECT_EQ(0x600dda7a, there[0]);
	EXPECT_TRUE(all(at(r, THERE) + 4, PAGE - 4, 0));

	/* several at once */
	ASSERT_EQ(0, vmm_touch(&s->vm.vcpu[0], gpa_of(HUGE_PAGES + 8), 8, PAGE, 1));
	pages += s->huge ? HUGE_PAGES : 8;
	EXPECT_EQ(8, rig_reachable(r, 0, HUGE_PAGES + 8, 8));
	EXPECT_EQ(pages, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
}

/* What one of the three writes, the other two read: each word of a page. */
TEST_F_TIMEOUT(share, same_data, 120)
{
	struct share *s = &self->s;
	struct rig *r = &s->r;

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(s, KVM_MEM_MEMFD_KEEP_HOLES, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, HERE, 4));
	ASSERT_EQ(0, grow(r->fd, THERE, 4));

	/* the guest writes, the device copies, the guest reads that */
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(HERE), 1));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(HERE + 1), 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE, THERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 1, gpa_of(THERE + 1), 1));
	EXPECT_EQ(0, wrong_words(at(r, THERE + 1), 1, PAGE_WORDS));
	EXPECT_EQ(0, wrong_words(at(r, HERE), 1, PAGE_WORDS));
	EXPECT_EQ(0, wrong_words(at(r, HERE + 1), 2, PAGE_WORDS));
	/* nothing beside it */
	EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[1], gpa_of(THERE), PAGE_WORDS, 0));
	EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[1], gpa_of(THERE + 2), PAGE_WORDS, 0));

	/* over something that the guest has read before */
	fill_words(at(r, THERE + 2), 3);
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(THERE + 2), 3));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, THERE + 2, HERE, PAGE));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(HERE), 3));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 1, gpa_of(HERE), 3));

	/* and again after the guest has overwritten what the device wrote */
	ASSERT_EQ(0, guest_fill(&s->vm, 1, gpa_of(HERE), 4));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE, HERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(HERE + 1), 4));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
}

/* How a file loses a page */
enum loss_way { PUNCHED, TRUNCATED };

static int lose(struct share *s, enum loss_way loss, size_t page)
{
	if (loss == PUNCHED)
		return punch(s->r.fd, page, 1);
	return ftruncate(s->r.fd, page * PAGE) ? -errno : 0;
}

/* The page at HERE is gone from the file, by a punch or a truncation. */
static void both_lost_it(struct __test_metadata *_metadata, struct share *s,
			 enum loss_way loss)
{
	struct rig *r = &s->r;

	EXPECT_EQ(0, rig_reachable(r, 0, HERE, 1));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	copy_faults(_metadata, s, HERE, HERE - 2);
	EXPECT_EQ(0, wrong_words(at(r, HERE - 2), HERE - 2, PAGE_WORDS))
		TH_LOG("the device could read what was gone");
	copy_faults(_metadata, s, HERE - 2, HERE);

	/* the pages beside it are for both what they were */
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(HERE - 1), HERE - 1));
	EXPECT_EQ(HERE, rig_reachable(r, 0, 0, HERE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE - 1, HERE - 2, 64));
	EXPECT_EQ(0, wrong_words(at(r, HERE - 2), HERE - 1, 16));
	if (loss == TRUNCATED) {
		EXPECT_EQ(HERE, allocated(r->fd));
		return;
	}
	EXPECT_EQ(PAGES - 1, allocated(r->fd));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(HERE + 1), HERE + 1));
	EXPECT_EQ(PAGES - HERE - 1, rig_reachable(r, 0, HERE + 1, PAGES - HERE - 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE + 1, HERE - 2, 64));
	EXPECT_EQ(0, wrong_words(at(r, HERE - 2), HERE + 1, 16));
}

/* What the guest gets where the file has nothing: an exit, and the file stays. */
static void guest_exits(struct __test_metadata *_metadata, struct share *s,
			size_t page)
{
	size_t before = allocated(s->r.fd);
	struct vmm_vcpu *vcpu = &s->vm.vcpu[0];

	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(page)), gpa_of(page)));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_write(vcpu, gpa_of(page), 1), gpa_of(page)));
	/* the other vCPU may have what this one has not any more in its TLB */
	vcpu++;
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(page)), gpa_of(page)));
	EXPECT_EQ(before, allocated(s->r.fd));
	EXPECT_EQ(0, rig_reachable(&s->r, 0, page, 1));
}

/* Or a new page, which the device then has as well. */
static void guest_fills(struct __test_metadata *_metadata, struct share *s,
			size_t page)
{
	EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[1], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[0], gpa_of(page), PAGE_WORDS, 0));
	EXPECT_EQ(1, rig_reachable(&s->r, 0, page, 1));
	EXPECT_EQ(0, rig_differences(&s->r, 0, 0, PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(&s->r, 0, page, HERE - 2, 64));
	EXPECT_TRUE(all(at(&s->r, HERE - 2), 64, 0));
}

static void hole(struct __test_metadata *_metadata, struct share *s, __u32 flags,
		 enum loss_way loss)
{
	struct rig *r = &s->r;
	size_t page;

	ASSERT_EQ(0, add_slot(s, flags, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	for (page = HERE - 2; page < HERE + 2; page++)
		for (int n = 0; n < 2; n++)
			ASSERT_EQ(0, guest_fill(&s->vm, n, gpa_of(page), page));
	EXPECT_EQ(s->huge, is_huge(at(r, HERE)));
	EXPECT_EQ(s->huge, vmm_stat(&s->vm, "pages_2m"));

	ASSERT_EQ(0, lose(s, loss, HERE));
	both_lost_it(_metadata, s, loss);
	if (loss == TRUNCATED) {
		/* behind the end nobody fills anything */
		guest_exits(_metadata, s, HERE);
		guest_exits(_metadata, s, PAGES - 1);
		ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	}
	if (flags & KVM_MEM_MEMFD_KEEP_HOLES)
		guest_exits(_metadata, s, HERE);
	else
		guest_fills(_metadata, s, HERE);

	ASSERT_EQ(0, vmm_delete_slot(&s->vm, SLOT));
	ASSERT_EQ(0, punch(r->fd, 0, PAGES));
}

/* One punch or truncation has taken a page from both when it returns. */
TEST_F_TIMEOUT(share, one_hole_for_both, 180)
{
	struct share *s = &self->s;

	ASSERT_EQ(0, rig_map(&s->r, 0, 0, PAGES));
	hole(_metadata, s, KVM_MEM_MEMFD_KEEP_HOLES, PUNCHED);
	hole(_metadata, s, KVM_MEM_MEMFD_KEEP_HOLES, TRUNCATED);
	hole(_metadata, s, 0, PUNCHED);
	hole(_metadata, s, 0, TRUNCATED);
}

/* How a file gets it back */
static void bring(struct __test_metadata *_metadata, struct share *s, int way)
{
	const __u32 word = 0x0b0e0000 + way;
	struct rig *r = &s->r;

	switch (way) {
	case 0:
		ASSERT_EQ(0, grow(r->fd, HERE, 1));
		EXPECT_EQ(1, rig_reachable(r, 0, HERE, 1));
		*(__u32 *)at(r, HERE) = word;
		break;
	case 1:
		ASSERT_EQ(4, pwrite(r->fd, &word, 4, HERE * PAGE));
		break;
	default:
		*(__u32 *)at(r, HERE) = word;
		break;
	}
	EXPECT_EQ(1, rig_reachable(r, 0, HERE, 1));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
}

/* The device reaches it at once, and the guest goes on where it stopped. */
TEST_F_TIMEOUT(share, both_get_it_back, 120)
{
	struct share *s = &self->s;
	struct vmm_vcpu *reader = &s->vm.vcpu[0], *writer = &s->vm.vcpu[1];
	struct rig *r = &s->r;
	__u32 word;
	int way;

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(s, KVM_MEM_MEMFD_KEEP_HOLES, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	for (way = 0; way < 3; way++) {
		word = 0x0b0e0000 + way;
		ASSERT_EQ(0, vmm_write(writer, gpa_of(HERE), 1));
		ASSERT_EQ(0, punch(r->fd, HERE, 1));
		EXPECT_TRUE(is_hole_exit(reader, vmm_read(reader, gpa_of(HERE)),
					 gpa_of(HERE)));
		EXPECT_TRUE(is_hole_exit(writer, vmm_write(writer, gpa_of(HERE) + 4, ~word),
					 gpa_of(HERE)));
		/* there is no page until user space brings one */
		EXPECT_TRUE(is_hole_exit(reader, vmm_vcpu_resume(reader), gpa_of(HERE)));
		bring(_metadata, s, way);
		EXPECT_EQ(word, vmm_vcpu_resume(reader));
		EXPECT_EQ(0, vmm_vcpu_resume(writer));
		EXPECT_EQ(~word, ((__u32 *)at(r, HERE))[1]);
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, HERE, THERE, 64));
		EXPECT_EQ(word, vmm_read(reader, gpa_of(THERE)));
		EXPECT_EQ(~word, vmm_read(reader, gpa_of(THERE) + 4));
	}
}

/*
 * Private memory becomes shared memory and comes back, again and again, while
 * the device and another vCPU are at work beside it.
 *
 * A window of AREA pages is converted, some of it at a time. The pages on its
 * two sides are the traffic's; next to those lie guards, which nobody writes to.
 */
#define ROUNDS		200	/* at least, and */
#define COPIES		20
#define AREA		8
#define AREA_FIRST	(HERE - AREA / 2)
#define GUARD_SEED	0x3333
#define TRAFFIC_WORDS	512	/* two transfers of 100 ms */

struct conversion {
	struct share *s;
	__u64 random;
	__u32 flags;		/* of the memslot */
	unsigned int seed;	/* of patterns: a new one for each use */
	unsigned int shared[AREA];	/* the pattern there, 0 if none yet */
	unsigned int kept;	/* pages that were zeroed, not freed */
	unsigned int by_guest, by_fallocate;
	pthread_t thread;
	atomic_bool stop;
	/* the traffic's */
	atomic_uint copies, wrong;
};

static __u64 pick(struct conversion *c, __u64 below)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random % below;
}

/* Copy from one side of the area to the other, and back, and look at the result. */
static void *traffic(void *arg)
{
	const size_t sides[] = { AREA_FIRST - 1, AREA_FIRST + AREA };
	struct conversion *c = arg;
	struct vmm *vm = &c->s->vm;
	struct rig *r = &c->s->r;
	__u32 page[PAGE_WORDS];
	unsigned int seed;
	size_t from, to;

	while (!c->stop) {
		from = sides[c->copies % 2];
		to = sides[!(c->copies % 2)];
		seed = 0x200000 + c->copies;
		if (guest_fill(vm, 1, gpa_of(from), seed) ||
		    rig_copy(r, 0, from, to, TRAFFIC_WORDS * 4) != VFIO_MDMA_STATUS_DONE ||
		    guest_load(vm, 1, gpa_of(to), page) ||
		    wrong_words(page, seed, TRAFFIC_WORDS) ||
		    memcmp(page, at(r, to), sizeof(page)))
			c->wrong++;
		c->copies++;
	}
	return NULL;
}

/* As the device says itself: to look into the IOMMU's table each time is slow. */
static int device_has(struct share *s, size_t first, size_t pages)
{
	unsigned char present[pages];
	struct mdma *m = &s->r.dev[0];

	return mdma_present(m, iova_of(m, first), pages, present);
}

/* Is a page that was punched gone? In a busy huge folio it may only be cleared. */
static bool gone(struct conversion *c, size_t page)
{
	struct rig *r = &c->s->r;

	if (!in_core(at(r, page)))
		return !device_has(c->s, page, 1);
	c->kept++;
	return c->s->huge && all(at(r, page), PAGE, 0);
}

static void to_shared(struct __test_metadata *_metadata, struct conversion *c,
		      size_t first, size_t pages)
{
	struct share *s = c->s;
	size_t i, n;

	ASSERT_EQ(0, vmm_set_private(&s->vm, gpa_of(first), pages * PAGE, false));
	ASSERT_EQ(0, punch(s->r.fd, first, pages));
	if (c->flags & KVM_MEM_MEMFD_PRIVATE_ONLY)
		EXPECT_EQ(-EPERM, grow(s->r.fd, first, pages));
	for (i = first; i < first + pages; i++) {
		EXPECT_TRUE(gone(c, i));
		n = i - AREA_FIRST;
		/* what it was when it was shared last, and not what was private */
		if (c->shared[n])
			EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(i),
						       c->shared[n]));
		c->shared[n] = ++c->seed;
		ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(i), c->seed));
		EXPECT_EQ(0, wrong_words(s->shared + i * PAGE_WORDS, c->seed,
					 PAGE_WORDS));
		EXPECT_TRUE(gone(c, i));
	}
}

static void to_private(struct __test_metadata *_metadata, struct conversion *c,
		       size_t first, size_t pages)
{
	struct share *s = c->s;
	unsigned int seed;
	size_t i;

	ASSERT_EQ(0, vmm_set_private(&s->vm, gpa_of(first), pages * PAGE, true));
	if (c->flags & KVM_MEM_MEMFD_KEEP_HOLES || pick(c, 2)) {
		ASSERT_EQ(0, grow(s->r.fd, first, pages));
		EXPECT_EQ(pages, device_has(s, first, pages));
		c->by_fallocate++;
	} else {
		c->by_guest++;
	}
	for (i = first; i < first + pages; i++) {
		/* half of the holes are filled by a read, half by a write */
		if (pick(c, 2))
			EXPECT_EQ(0, vmm_compare(&s->vm.vcpu[0], gpa_of(i),
						 PAGE_WORDS, 0));
		seed = ++c->seed;
		ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(i), seed));
		EXPECT_EQ(1, device_has(s, i, 1));
		EXPECT_EQ(0, wrong_words(at(&s->r, i), seed, PAGE_WORDS));
		EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(i), seed));
		/* the shared side does not see it */
		EXPECT_EQ(0, wrong_words(s->shared + i * PAGE_WORDS,
					 c->shared[i - AREA_FIRST], PAGE_WORDS));
	}
}

static void guards_stand(struct __test_metadata *_metadata, struct share *s)
{
	const size_t guards[] = { AREA_FIRST - 2, AREA_FIRST + AREA + 1 };

	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, wrong_words(at(&s->r, guards[i]), GUARD_SEED + i, PAGE_WORDS));
		EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(guards[i]),
					       GUARD_SEED + i));
	}
}

static void conversions(struct __test_metadata *_metadata, struct share *s, __u32 flags)
{
	struct conversion c = { .s = s, .flags = flags };
	struct timespec now;
	const char *given = getenv("MEMFD_OPS_SEED");
	unsigned int seed, round;
	size_t first, pages;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? atol(given) : now.tv_nsec / 1000 ^ now.tv_sec;
	note("seed %u: MEMFD_OPS_SEED=%u repeats it", seed, seed);
	c.random = seed * 0x9e3779b97f4a7c15ULL + 1;
	rig_stay_on_one_cpu(false);
	ASSERT_EQ(0, rig_map(&s->r, 0, 0, HUGE_PAGES));
	ASSERT_EQ(0, add_slot(s, flags, 0, PAGES));
	ASSERT_EQ(0, grow(s->r.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(AREA_FIRST - 2), GUARD_SEED));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(AREA_FIRST + AREA + 1), GUARD_SEED + 1));
	/* the first hole splits the huge folio: the device is without it for a moment */
	if (s->huge) {
		to_shared(_metadata, &c, AREA_FIRST, 1);
		to_private(_metadata, &c, AREA_FIRST, 1);
	}
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, traffic, &c));

	for (round = 0; (round < ROUNDS || c.copies < COPIES) && !c.wrong &&
	     _metadata->exit_code == KSFT_PASS; round++) {
		first = AREA_FIRST + pick(&c, AREA);
		pages = 1 + pick(&c, AREA_FIRST + AREA - first);
		to_shared(_metadata, &c, first, pages);
		to_private(_metadata, &c, first, pages);
		guards_stand(_metadata, s);
		if (round % 32 == 0)
			EXPECT_EQ(0, rig_differences(&s->r, 0, 0, HUGE_PAGES));
	}
	c.stop = true;
	pthread_join(c.thread, NULL);
	note("%u rounds, filled by fallocate: %u, by the guest: %u; beside them %u copies",
	     round, c.by_fallocate, c.by_guest, c.copies);
	if (s->huge)
		note("%u pages were zeroed, not freed: their huge folio was busy", c.kept);
	EXPECT_LE(ROUNDS, round);
	EXPECT_EQ(0, c.wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
	EXPECT_LE(COPIES, c.copies);
	EXPECT_LT(0, c.by_fallocate);
	if (!(flags & KVM_MEM_MEMFD_KEEP_HOLES))
		EXPECT_LT(0, c.by_guest);
	EXPECT_EQ(0, rig_differences(&s->r, 0, 0, HUGE_PAGES));
}

TEST_F_TIMEOUT(share, conversions, 180)
{
	conversions(_metadata, &self->s, 0);
}

TEST_F_TIMEOUT(share, conversions_by_user_space, 180)
{
	conversions(_metadata, &self->s,
		    KVM_MEM_MEMFD_KEEP_HOLES | KVM_MEM_MEMFD_PRIVATE_ONLY);
}

/* How often has the file's consumer of that name lost pages? -1 if there is none. */
static long invalidations(int fd, const char *name)
{
	FILE *file = fopen("/sys/kernel/debug/memfd_ops", "re");
	unsigned long long ino;
	char line[256], who[32];
	bool ours = false;
	struct stat st;
	long count, found = -1;

	fstat(fd, &st);
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "dev %*u:%*u ino %llu", &ino) == 1)
			ours = ino == st.st_ino;
		else if (ours && sscanf(line, " %31s pages %*u-%*u invalidated %ld",
					who, &count) == 2 && !strcmp(who, name))
			found = count;
	}
	if (file)
		fclose(file);
	return found;
}

/*
 * The guest has the first two huge folios' places of the file, the device the
 * last two.
 */
TEST_F_TIMEOUT(share, windows_of_their_own, 120)
{
	const size_t guests = HERE, common = HUGE_PAGES + HERE, devices = THERE;
	struct share *s = &self->s;
	struct vmm_vcpu *vcpu = &s->vm.vcpu[0];
	struct rig *r = &s->r;
	long kvm, mirror;

	ASSERT_EQ(0, rig_map(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	ASSERT_EQ(0, add_slot(s, KVM_MEM_MEMFD_KEEP_HOLES, 0, 2 * HUGE_PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(guests), 1));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(common), 2));
	fill_words(at(r, devices), 3);
	EXPECT_EQ(0, rig_reachable(r, 0, 0, HUGE_PAGES));
	EXPECT_EQ(2 * HUGE_PAGES, rig_reachable(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, devices, common, PAGE));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(common), 3));
	kvm = invalidations(r->fd, "kvm");
	mirror = invalidations(r->fd, "iommu");
	EXPECT_LE(0, kvm);
	EXPECT_LE(0, mirror);

	/* where the device is not */
	ASSERT_EQ(0, punch(r->fd, guests, 1));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(guests)), gpa_of(guests)));
	EXPECT_EQ(mirror, invalidations(r->fd, "iommu"));
	EXPECT_LT(kvm, invalidations(r->fd, "kvm"));
	EXPECT_EQ(0, rig_differences(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	kvm = invalidations(r->fd, "kvm");

	/* where the guest is not */
	ASSERT_EQ(0, punch(r->fd, devices, 1));
	EXPECT_EQ(2 * HUGE_PAGES - 1, rig_reachable(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(kvm, invalidations(r->fd, "kvm"));
	EXPECT_LT(mirror, invalidations(r->fd, "iommu"));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(common), 3));

	/* where both are */
	ASSERT_EQ(0, punch(r->fd, common, 1));
	EXPECT_TRUE(is_hole_exit(vcpu, vmm_read(vcpu, gpa_of(common)), gpa_of(common)));
	EXPECT_EQ(2 * HUGE_PAGES - 2, rig_reachable(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, HUGE_PAGES, 2 * HUGE_PAGES));
}

/* KVM refuses: nothing has come for anybody. */
TEST_F_TIMEOUT(share, veto, 120)
{
	struct share *s = &self->s;
	struct rig *r = &s->r;
	size_t before;

	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
	ASSERT_EQ(0, add_slot(s, KVM_MEM_MEMFD_PRIVATE_ONLY, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill(&s->vm, 0, gpa_of(3), 3));
	ASSERT_EQ(0, vmm_set_private(&s->vm, gpa_of(20), PAGE, false));
	before = allocated(r->fd);
	/* of the huge folio, some pages were there before */
	EXPECT_EQ(folio_pages(s), before);
	ASSERT_EQ(0, punch(r->fd, 4, HUGE_PAGES - 4));

	EXPECT_EQ(-EPERM, grow(r->fd, 0, HUGE_PAGES));
	EXPECT_EQ(-EPERM, grow(r->fd, 20, 1));
	EXPECT_EQ(-EPERM, grow(r->fd, 16, PAGES));
	before = s->huge ? 4 : 1;
	EXPECT_EQ(before, allocated(r->fd));
	EXPECT_EQ(PAGES, file_pages(r->fd));
	EXPECT_EQ(before, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(3), 3));
	copy_faults(_metadata, s, 20, 3);

	/* what KVM does not mind */
	EXPECT_EQ(0, grow(r->fd, HUGE_PAGES, 1));
	EXPECT_EQ(1, rig_reachable(r, 0, HUGE_PAGES, 1));
	EXPECT_EQ(0, grow(r->fd, 4, 16));
	EXPECT_EQ(20 - !s->huge * 3, rig_reachable(r, 0, 0, HUGE_PAGES));
	ASSERT_EQ(0, vmm_set_private(&s->vm, gpa_of(20), PAGE, true));
	EXPECT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	EXPECT_EQ(HUGE_PAGES, rig_reachable(r, 0, 0, HUGE_PAGES));
	EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	EXPECT_EQ(0, guest_wrong_words(&s->vm, 0, gpa_of(3), 3));
}

/*
 * The guest is at a hole behind the end of the file, which then is moved away.
 * So all that is left to be done is one KVM_RUN.
 */
static void stop_at_hole(struct __test_metadata *_metadata, struct share *s,
			 __u64 iova)
{
	struct vmm_vcpu *vcpu = &s->vm.vcpu[0];

	ASSERT_EQ(0, ftruncate(s->r.fd, 0));
	ASSERT_TRUE(is_hole_exit(vcpu, vmm_write(vcpu, gpa_of(THERE), 7), gpa_of(THERE)));
	ASSERT_EQ(0, ftruncate(s->r.fd, PAGES * PAGE));
	if (iova)
		ASSERT_EQ(0, mdma_map(&s->r.dev[0], s->r.fd, 0, iova, PAGES * PAGE,
				      MDMA_RW));
}

/* Fail each allocation of the guest's fault in turn. How many could have failed? */
static int fail_fault(struct __test_metadata *_metadata, struct share *s, int fd,
		      bool mirrored)
{
	/*
	 * THERE's huge folio begins at a GiB, so that it takes tables of its own. Where
	 * others were before in the device's domain, there are some.
	 */
	const __u64 gib = 1ULL << 30, iova = iova_of(&s->r.dev[0], 0) / gib * gib - 2 * HUGE;
	struct vmm_vcpu *vcpu = &s->vm.vcpu[0];
	int nth, left, ret, error, failed = 0;
	struct rig *r = &s->r;
	__s64 mapped;
	__u64 at_iova = 0;

	for (nth = 1; ; nth++) {
		if (mirrored)
			at_iova = iova + nth * 2 * gib;
		stop_at_hole(_metadata, s, at_iova);
		mapped = vmm_stat(&s->vm, "pages_4k");
		if (fail_nth(fd, nth) != nth)
			return -1;
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
		error = errno;
		left = fail_nth(fd, 0);
		if (ret) {
			EXPECT_EQ(ENOMEM, error);
			EXPECT_EQ(0, left);
			EXPECT_EQ(0, allocated(r->fd));
			EXPECT_EQ(0, in_core(at(r, THERE)));
			EXPECT_EQ(mapped, vmm_stat(&s->vm, "pages_4k"));
			EXPECT_EQ(0, vmm_stat(&s->vm, "pages_2m"));
			/* and again, with memory */
			EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
			failed++;
		}
		EXPECT_EQ(7, *(__u32 *)at(r, THERE));
		if (mirrored) {
			EXPECT_EQ(0, differences(&r->dev[0], at_iova, r->fd, r->mem, 0,
						 PAGES));
			ASSERT_EQ(PAGES * PAGE, mdma_unmap_all(&r->dev[0]));
		}
		if (left || nth > 1000)
			break;
	}
	note("%s mirror: %d of %d allocations that failed were heard",
	     mirrored ? "with a" : "without", failed, nth - 1);
	return failed;
}

/*
 * A page that the device cannot have is not the guest's either. The first that the
 * mirror asks for is what it notes the page in: nobody else hears if that fails.
 */
TEST_F_TIMEOUT(share, device_cannot_have_it, 180)
{
	struct share *s = &self->s;
	int fd;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "needs a kernel with fault injection");
	ASSERT_EQ(0, add_slot(s, 0, 0, PAGES));
	fail_anything("0");
	EXPECT_LE(0, fail_fault(_metadata, s, fd, false));
	EXPECT_LE(0, fail_fault(_metadata, s, fd, true));
	ASSERT_EQ(0, fail_only_in("mirror_populate"));
	EXPECT_EQ(0, fail_fault(_metadata, s, fd, false));
	EXPECT_LT(0, fail_fault(_metadata, s, fd, true));
	close(fd);
}

TEST_HARNESS_MAIN
