// SPDX-License-Identifier: GPL-2.0
/*
 * Private memory becomes shared memory and comes back, again and again, while
 * the device and another vCPU are at work next to it.
 *
 * A window of AREA pages is converted, some of it at a time. The pages on its two
 * sides are for the traffic; next to those lie guards, to which no one writes.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/harness.h"
#include "lib/kvm_share_fixture.h"
#include "lib/random.h"

#define ROUNDS		200	/* at least, and */
#define COPIES		20
#define AREA		8
#define AREA_FIRST	(HERE - AREA / 2)
#define GUARD_SEED	0x3333
#define TRAFFIC_WORDS	512	/* two transfers of 100 ms */

struct conversion {
	struct guest *g;
	__u64 random;
	__u32 flags;		/* of the memslot */
	unsigned int seed;	/* of patterns: a new one for each use */
	unsigned int shared[AREA];	/* the pattern there, 0 if none yet */
	unsigned int freed, kept;	/* punched pages; the latter were zeroed */
	unsigned int by_guest, by_fallocate;
	pthread_t thread;
	atomic_bool stop;
	/* the traffic's */
	atomic_uint copies, wrong;
};

/* Copy from one side of the area to the other, and back, and check the result. */
static void *traffic(void *arg)
{
	const size_t sides[] = { AREA_FIRST - 1, AREA_FIRST + AREA };
	struct conversion *c = arg;
	struct guest *g = c->g;
	struct test_env *env = &g->env;
	__u32 page[PAGE_WORDS];
	unsigned int seed;
	size_t from, to;

	while (!c->stop) {
		from = sides[c->copies % 2];
		to = sides[!(c->copies % 2)];
		seed = 0x200000 + c->copies;
		if (guest_fill_pattern(g, 1, from, seed) ||
		    env_copy(env, 0, from, to, TRAFFIC_WORDS * 4) != VFIO_MDMA_STATUS_DONE ||
		    guest_load(&g->vmm, 1, gpa_of(to), page) ||
		    wrong_words(page, seed, TRAFFIC_WORDS) ||
		    memcmp(page, at(env, to), sizeof(page)))
			c->wrong++;
		c->copies++;
	}
	return NULL;
}

/* By the device's own query: reading the IOMMU's table each time is slow. */
static int device_has(struct guest *g, size_t first, size_t pages)
{
	unsigned char present[pages];
	struct mdma *m = &g->env.dev[0];

	return mdma_present(m, iova_of(m, first), pages, present);
}

/* Is a punched page gone? In a busy huge folio it may only be cleared. */
static bool gone(struct conversion *c, size_t page)
{
	struct test_env *env = &c->g->env;

	if (!in_core(at(env, page))) {
		c->freed++;
		return !device_has(c->g, page, 1);
	}
	c->kept++;
	return c->g->huge && all(at(env, page), PAGE, 0);
}

static void to_shared(struct __test_metadata *_metadata, struct conversion *c,
		      size_t first, size_t pages)
{
	struct guest *g = c->g;
	size_t i, n;

	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(first), pages * PAGE, false));
	ASSERT_EQ(0, punch(g->env.fd, first, pages));
	if (c->flags & KVM_MEM_MEMFD_PRIVATE_ONLY)
		EXPECT_EQ(-EPERM, grow(g->env.fd, first, pages));
	for (i = first; i < first + pages; i++) {
		EXPECT_TRUE(gone(c, i));
		n = i - AREA_FIRST;
		/* its content as a shared page, not that as a private one */
		if (c->shared[n])
			EXPECT_EQ(0, guest_wrong_words(g, 0, i, c->shared[n]));
		c->shared[n] = ++c->seed;
		ASSERT_EQ(0, guest_fill_pattern(g, 0, i, c->seed));
		EXPECT_EQ(0, wrong_words(g->shared + i * PAGE, c->seed, PAGE_WORDS));
		EXPECT_TRUE(gone(c, i));
	}
}

static void to_private(struct __test_metadata *_metadata, struct conversion *c,
		       size_t first, size_t pages)
{
	struct guest *g = c->g;
	unsigned int seed;
	size_t i;

	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(first), pages * PAGE, true));
	if (c->flags & KVM_MEM_MEMFD_KEEP_HOLES || pick(&c->random, 2)) {
		ASSERT_EQ(0, grow(g->env.fd, first, pages));
		EXPECT_EQ(pages, device_has(g, first, pages));
		c->by_fallocate++;
	} else {
		c->by_guest++;
	}
	for (i = first; i < first + pages; i++) {
		/* half of the holes are filled by a read, half by a write */
		if (pick(&c->random, 2))
			EXPECT_EQ(0, vmm_compare(&g->vmm.vcpu[0], gpa_of(i),
						 PAGE_WORDS, 0));
		seed = ++c->seed;
		ASSERT_EQ(0, guest_fill_pattern(g, 0, i, seed));
		EXPECT_EQ(1, device_has(g, i, 1));
		EXPECT_EQ(0, wrong_words(at(&g->env, i), seed, PAGE_WORDS));
		EXPECT_EQ(0, guest_wrong_words(g, 0, i, seed));
		/* the shared side does not see it */
		EXPECT_EQ(0, wrong_words(g->shared + i * PAGE,
					 c->shared[i - AREA_FIRST], PAGE_WORDS));
	}
}

static void guards_stand(struct __test_metadata *_metadata, struct guest *g)
{
	const size_t guards[] = { AREA_FIRST - 2, AREA_FIRST + AREA + 1 };

	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, wrong_words(at(&g->env, guards[i]), GUARD_SEED + i,
					 PAGE_WORDS));
		EXPECT_EQ(0, guest_wrong_words(g, 0, guards[i], GUARD_SEED + i));
	}
}

static void conversions(struct __test_metadata *_metadata, struct guest *g, __u32 flags)
{
	struct conversion c = { .g = g, .flags = flags };
	unsigned int seed, round;
	size_t first, pages;

	seed = test_seed();
	c.random = seed * 0x9e3779b97f4a7c15ULL + 1;
	stay_on_one_cpu(false);
	ASSERT_EQ(0, env_map(&g->env, 0, 0, HUGE_PAGES));
	ASSERT_EQ(0, add_slot(g, flags, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, AREA_FIRST - 2, GUARD_SEED));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, AREA_FIRST + AREA + 1, GUARD_SEED + 1));
	/* the first hole splits the huge folio: the device lacks it for a moment */
	if (g->huge) {
		to_shared(_metadata, &c, AREA_FIRST, 1);
		to_private(_metadata, &c, AREA_FIRST, 1);
	}
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, traffic, &c));

	for (round = 0; (round < ROUNDS || c.copies < COPIES) && !c.wrong &&
	     _metadata->exit_code == KSFT_PASS; round++) {
		first = AREA_FIRST + pick(&c.random, AREA);
		pages = 1 + pick(&c.random, AREA_FIRST + AREA - first);
		to_shared(_metadata, &c, first, pages);
		to_private(_metadata, &c, first, pages);
		guards_stand(_metadata, g);
		if (round % 32 == 0)
			EXPECT_EQ(0, env_differences(&g->env, 0, 0, HUGE_PAGES));
	}
	c.stop = true;
	pthread_join(c.thread, NULL);
	note("%u rounds, filled by fallocate: %u, by the guest: %u; copies meanwhile: %u",
	     round, c.by_fallocate, c.by_guest, c.copies);
	note("%u times a page was freed, %u times zeroed: its huge folio was busy", c.freed,
	     c.kept);
	/* the first hole splits the folio: later ones have no reason to zero */
	EXPECT_LE(c.kept, c.freed / 10);
	EXPECT_LE(ROUNDS, round);
	EXPECT_EQ(0, c.wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
	EXPECT_LE(COPIES, c.copies);
	EXPECT_LT(0, c.by_fallocate);
	if (!(flags & KVM_MEM_MEMFD_KEEP_HOLES))
		EXPECT_LT(0, c.by_guest);
	EXPECT_EQ(0, env_differences(&g->env, 0, 0, HUGE_PAGES));
}

TEST_F(share, conversions)
{
	conversions(_metadata, &self->g, FILL);
}

TEST_F(share, conversions_by_user_space)
{
	conversions(_metadata, &self->g, KEEP | VETO);
}

TEST_HARNESS_MAIN
