// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail, one after the other, in each operation on a memslot and on
 * its file.
 */
#include <sys/swap.h>

#include "lib/fail.h"
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"
#include "lib/kvm_mm.h"

#define PAGES	16

/* Either the memslot exists, or it leaves no trace. */
TEST_F(kvm, no_memory_for_a_slot)
{
	struct kvm_userspace_memory_region2 region;
	int fd, nth, left, ret, failed = 0;
	struct guest *g = &self->g;

	if (env_open_fail_nth(&g->env))
		SKIP(return, "%s", g->env.lacks);
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		/* a file that never had a consumer */
		fd = memfd_create("new", MFD_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, PAGES * PAGE));
		region = slot_region(g, fd, PAGES);

		ASSERT_EQ(nth, fail_nth(g->env.fail, nth));
		ret = set_region(&g->vmm, region);
		left = fail_nth(g->env.fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(fd));
			EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
			failed++;
			ASSERT_EQ(0, set_region(&g->vmm, region));
		}
		EXPECT_EQ(1, consumers_of(fd));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
		EXPECT_EQ(0, consumers_of(fd));
		close(fd);
	}
	note("%d of %d failed allocations had an effect", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
}

/* KVM's list of memslots cannot be opened, and the VM does not stay because of that. */
TEST_F(kvm, no_memory_for_a_list)
{
	int fd, nth, left, error, failed = 0;
	struct guest *g = &self->g;
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/memslots", getpid(),
		 g->vmm.fd);
	if (env_open_fail_nth(&g->env))
		SKIP(return, "%s", g->env.lacks);
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 100);
		ASSERT_EQ(nth, fail_nth(g->env.fail, nth));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		error = errno_of(fd);
		left = fail_nth(g->env.fail, 0);
		ASSERT_LE(0, left);
		if (fd < 0) {
			EXPECT_EQ(ENOMEM, error);
			failed++;
		} else {
			close(fd);
		}
	}
	fail_anything("1");
	EXPECT_LT(1, failed);
	vmm_destroy(&g->vmm);
	EXPECT_EQ(-1, access(path, F_OK));
}

/*
 * An operation on a VM or its file, of which each allocation fails once. @before prepares
 * it. @act returns -ENOMEM, and @same describes the state, or 0, and @done does. If the
 * guest or KVM_PRE_FAULT_MEMORY took a page from the file, then -EFAULT stands for -ENOMEM.
 * An operation that is @quiet returns 0 although it did nothing, or not all.
 */
struct operation {
	int (*before)(struct guest *g);
	int (*act)(struct guest *g);
	bool (*same)(struct guest *g);
	bool (*done)(struct guest *g);
	bool quiet, faults;
};

/*
 * Returns how many failures had an effect. One without is tried again: KASAN and lockdep
 * allocate now and then, and the allocation that counts comes one later then.
 */
static int sweep(struct __test_metadata *_metadata, struct guest *g, const char *what,
		 struct operation op)
{
	int nth, left, ret, effective = 0;
	bool done, effect, again = false;

	fail_anything("0");
	for (nth = 1, left = 0; !left; nth += !again) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, op.before(g)) TH_LOG("%s: to begin with", what);
		ASSERT_EQ(nth, fail_nth(g->env.fail, nth));
		ret = op.act(g);
		left = fail_nth(g->env.fail, 0);
		ASSERT_LE(0, left);
		done = !ret && op.done(g);
		effect = ret || (op.quiet && !done);
		again = !effect && !left && !again;
		if (effect) {
			EXPECT_EQ(0, left);
			if (ret && !(op.faults && ret == -EFAULT)) {
				EXPECT_EQ(-ENOMEM, ret);
			}
			EXPECT_TRUE(op.same(g)) TH_LOG("%s: failure %d", what, nth);
			effective++;
			ASSERT_EQ(0, op.act(g)) TH_LOG("%s: after failure %d", what, nth);
			done = op.done(g);
		}
		EXPECT_TRUE(done) TH_LOG("%s: failure %d", what, nth);
	}
	note("%s: %d of %d failed allocations had an effect", what, effective, nth - 2);
	fail_anything("1");
	return effective;
}

#define SWEEP(before, act, same, done)					\
	sweep(_metadata, &self->g, #act,				\
	      (struct operation){ before, act, same, done })

#define SWEEP_QUIET(before, act, same, done)				\
	sweep(_metadata, &self->g, #act,				\
	      (struct operation){ before, act, same, done, .quiet = true })

#define SWEEP_FAULTS(before, act, same, done)				\
	sweep(_metadata, &self->g, #act,				\
	      (struct operation){ before, act, same, done, .faults = true })

/* Pages 0 to PAGES - 1 are private, filled by the guest and mapped for it. */
static int begin(struct guest *g)
{
	int ret;
	size_t i;

	if (!consumers_of(g->env.fd))
		ret = add_slot(g, KEEP, 0, PAGES);
	else
		ret = vmm_set_private(&g->vmm, gpa_of(0), PAGES * PAGE, true);
	if (!ret)
		ret = punch(g->env.fd, 0, PAGES) ?: grow(g->env.fd, 0, PAGES);
	for (i = 0; i < PAGES && !ret; i++)
		ret = guest_fill(g, i, 10 + i);
	return ret;
}

static bool has_all(struct guest *g)
{
	return consumers_of(g->env.fd) == 1 && allocated(g->env.fd) == PAGES &&
	       guest_sees_all(g, PAGES, 10);
}

static int delete_slot(struct guest *g)
{
	return vmm_delete_slot(&g->vmm, SLOT);
}

static bool is_deleted(struct guest *g)
{
	return !consumers_of(g->env.fd) && allocated(g->env.fd) == PAGES &&
	       has_words(at(&g->env, 3), 13) && lacks(g, 3);
}

static int punch_two(struct guest *g)
{
	return punch(g->env.fd, 3, 2);
}

static bool lacks_two(struct guest *g)
{
	return lacks(g, 3) && lacks(g, 4) && guest_sees(g, 5, 15) &&
	       allocated(g->env.fd) == PAGES - 2;
}

/* KVM keeps attributes in groups of 64 pages: these are in two groups */
#define FAR	62UL
#define SPAN	4UL

static int make_shared(struct guest *g)
{
	return vmm_set_private(&g->vmm, gpa_of(FAR), SPAN * PAGE, false);
}

static int make_private(struct guest *g)
{
	return vmm_set_private(&g->vmm, gpa_of(FAR), SPAN * PAGE, true);
}

static bool far_is(struct guest *g, __u32 first)
{
	size_t i;

	for (i = 0; i < SPAN; i++)
		if (!guest_sees(g, FAR + i, first + i))
			return false;
	return consumers_of(g->env.fd) == 1;
}

static bool far_is_private(struct guest *g)
{
	return far_is(g, 20);
}

static bool far_is_shared(struct guest *g)
{
	return far_is(g, 70);
}

/* Both sides have content there, and the guest sees the private one. */
static int far_private(struct guest *g)
{
	int ret = 0;
	size_t i;

	if (!consumers_of(g->env.fd))
		ret = put_slot(g, SLOT, KEEP, 0, 0, 2 * FAR);
	for (i = 0; i < SPAN; i++) {
		put_words(at(&g->env, FAR + i), 20 + i);
		put_words(g->shared + (FAR + i) * PAGE, 70 + i);
	}
	ret = ret ?: make_private(g);
	return ret ?: far_is_private(g) ? 0 : -EPROTO;
}

/* The guest sees the shared one, and KVM has cached nothing of the private one. */
static int far_shared(struct guest *g)
{
	return far_private(g) ?: make_shared(g) ?: far_is_shared(g) ? 0 : -EPROTO;
}

static int begin_filling(struct guest *g)
{
	int ret = 0;

	if (!consumers_of(g->env.fd))
		ret = add_slot(g, FILL, 0, PAGES);
	/* with its program mapped, the guest faults for this page alone */
	if (!ret && vmm_read(vcpu_of(g), VMM_LOW_FREE))
		ret = -EPROTO;
	return ret ?: punch(g->env.fd, 0, PAGES);
}

static int pre_fault_one(struct guest *g)
{
	struct kvm_pre_fault_memory range;

	return pre_fault(g, &range, 5, 1);
}

/* The page may have come to the file, but nothing else. */
static bool has_one_at_most(struct guest *g)
{
	return allocated(g->env.fd) <= 1 && consumers_of(g->env.fd) == 1;
}

static bool is_pre_faulted(struct guest *g)
{
	__s64 before = guest_faults(g);

	return guest_sees(g, 5, 0) && guest_faults(g) == before && allocated(g->env.fd) == 1;
}

static int write_one(struct guest *g)
{
	return vmm_write(vcpu_of(g), gpa_of(5), 55);
}

static bool is_written(struct guest *g)
{
	return *(__u32 *)at(&g->env, 5) == 55 && all(at(&g->env, 5) + 4, PAGE - 4, 0) &&
	       allocated(g->env.fd) == 1;
}

/* A hole whose filling fails can be filled later. */
TEST_F(kvm, no_memory_for_a_page)
{
	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	EXPECT_LT(0, SWEEP_FAULTS(begin_filling, write_one, has_one_at_most, is_written));
}

TEST_F(kvm, no_memory_for_a_slot_to_go)
{
	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	EXPECT_LT(0, SWEEP(begin, delete_slot, has_all, is_deleted));
}

/* One failure is not enough for an xarray to give up. */
TEST_F(kvm, no_memory_for_attributes)
{
	struct guest *g = &self->g;
	int fail, ret;

	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	EXPECT_EQ(0, SWEEP(far_shared, make_private, far_is_shared, far_is_private));
	EXPECT_EQ(0, SWEEP(far_private, make_shared, far_is_private, far_is_shared));

	fail = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fail);
	fail_anything("0");
	ASSERT_EQ(0, far_shared(g));
	fail_every(fail, true);
	ret = make_private(g);
	fail_every(fail, false);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_TRUE(far_is_shared(g));
	EXPECT_EQ(0, make_private(g));
	EXPECT_TRUE(far_is_private(g));

	/* becoming shared again takes no memory */
	fail_every(fail, true);
	ret = make_shared(g);
	fail_every(fail, false);
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(far_is_shared(g));
	fail_anything("1");
	close(fail);
}

TEST_F(kvm, no_memory_to_pre_fault)
{
	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	EXPECT_LT(0, SWEEP_FAULTS(begin_filling, pre_fault_one, has_one_at_most, is_pre_faulted));
}

/* Removing a page takes none if KVM is the only consumer. */
TEST_F(kvm, no_memory_to_punch)
{
	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	EXPECT_EQ(0, SWEEP(begin, punch_two, has_all, lacks_two));
}

/*
 * Swap and migration
 */

static int page_out(struct guest *g)
{
	return madvise(at(&g->env, 0), PAGES * PAGE, MADV_PAGEOUT) ? -errno : 0;
}

/* With the mapping that MADV_PAGEOUT goes by */
static int begin_mapped(struct guest *g)
{
	int ret = begin(g);
	size_t i;

	for (i = 0; i < PAGES && !ret; i++)
		ret = has_words(at(&g->env, i), 10 + i) ? 0 : -EPROTO;
	return ret;
}

static bool is_swapped(struct guest *g)
{
	return !in_core_pages(at(&g->env, 0), PAGES) && allocated(g->env.fd) == PAGES;
}

/* Nothing is lost, and all pages are mapped again, for the next MADV_PAGEOUT. */
static bool is_back(struct guest *g)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (!has_words(at(&g->env, i), 10 + i))
			return false;
	return has_all(g);
}

/* All pages go out, and all come back. */
static bool comes_back(struct guest *g)
{
	return is_swapped(g) && is_back(g);
}

/* One page is in swap. */
static int begin_swapped(struct guest *g)
{
	int ret = begin(g);

	if (!ret && !has_words(at(&g->env, 3), 13))
		ret = -EPROTO;
	if (!ret && madvise(at(&g->env, 3), PAGE, MADV_PAGEOUT))
		ret = -errno;
	return ret ?: in_core(at(&g->env, 3)) ? -EBUSY : 0;
}

static int swap_in_by_guest(struct guest *g)
{
	__s64 ret = vmm_read(vcpu_of(g), gpa_of(3));

	return ret < 0 ? ret : ret == 13 ? 0 : -EPROTO;
}

static int swap_in_by_fault(struct guest *g)
{
	return madvise(at(&g->env, 3), PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

static int swap_in_by_read(struct guest *g)
{
	unsigned char data[PAGE];
	ssize_t ret = pread(g->env.fd, data, PAGE, 3 * PAGE);

	return ret < 0 ? -errno : ret == PAGE && has_words(data, 13) ? 0 : -EPROTO;
}

/* The page is in memory or in swap. A later check reads it, when it is back. */
static bool is_accounted(struct guest *g)
{
	return allocated(g->env.fd) == PAGES && consumers_of(g->env.fd) == 1;
}

TEST_F(kvm, no_memory_to_swap)
{
	struct test_env *env = &self->g.env;

	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	stay_on_one_cpu(true);
	ASSERT_EQ(0, env_swap(env));
	ASSERT_EQ(0, env_no_readahead(env));
	EXPECT_LT(0, SWEEP_QUIET(begin_mapped, page_out, is_back, comes_back));
	EXPECT_LT(0, SWEEP_FAULTS(begin_swapped, swap_in_by_guest, is_accounted, has_all));
	EXPECT_LT(0, SWEEP(begin_swapped, swap_in_by_fault, is_accounted, has_all));
	EXPECT_LT(0, SWEEP(begin_swapped, swap_in_by_read, is_accounted, has_all));
}

#define MOVED	4	/* pages */

/* Move pages to @nodes, unless NULL. Returns a bit for each page on node 1. */
static int on_node(struct guest *g, const int *nodes)
{
	int status[MOVED] = { -1, -1, -1, -1 }, mask = 0;
	void *addr[MOVED];
	size_t i;
	long ret;

	for (i = 0; i < MOVED; i++)
		addr[i] = at(&g->env, i);
	ret = syscall(__NR_move_pages, 0, MOVED, addr, nodes, status,
		      nodes ? 2 /* MPOL_MF_MOVE */ : 0);
	if (ret)
		return ret < 0 ? -errno : 0;
	for (i = 0; i < MOVED; i++)
		mask |= (status[i] == 1) << i;
	return mask;
}

static int begin_on_node_0(struct guest *g)
{
	int ret = begin_mapped(g);

	return ret ?: on_node(g, NULL) ? -EXDEV : 0;
}

static int move_to_node_1(struct guest *g)
{
	const int nodes[MOVED] = { 1, 1, 1, 1 };
	int ret = on_node(g, nodes);

	return ret < 0 ? ret : 0;
}

static bool is_on_node_1(struct guest *g)
{
	return on_node(g, NULL) == 15 && has_all(g);
}

TEST_F(kvm, no_memory_to_move)
{
	if (env_open_fail_nth(&self->g.env))
		SKIP(return, "%s", self->g.env.lacks);
	if (!has_second_node())
		SKIP(return, "needs a second node");
	stay_on_one_cpu(true);
	EXPECT_LT(0, SWEEP_QUIET(begin_on_node_0, move_to_node_1, has_all, is_on_node_1));
}

TEST_HARNESS_MAIN
