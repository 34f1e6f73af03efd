// SPDX-License-Identifier: GPL-2.0
/*
 * Guests that do not exit: vCPUs count in a page while it leaves the file. Once the call
 * has returned, no vCPU writes to the page, not by a TLB entry either (I1).
 *
 * A vCPU that exits may lose its TLB entries by that. So nothing interrupts the vCPUs but
 * the call itself: another process makes it, which has the page mapped if the call needs
 * that. The process of the vCPUs has not, except where its mapping is the guest's memory.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/kvm.h"
#include "lib/kvm_mm.h"

#define NR_VCPUS	2

/* Some of the second 2 MiB of the file leaves; the start of the file is struct watch. */
#define FIRST		HUGE_PAGES
#define FILE_PAGES	(2 * HUGE_PAGES)

/* The vCPUs count in this page, each in a word of its own. */
#define COUNTED		(FIRST + 77)

/* How often a page leaves: the vCPUs may just be out of the guest for another reason. */
#define ROUNDS		20

struct tlb_test;

/* The VMM's thread of a vCPU */
struct counter {
	struct tlb_test *test;
	struct vmm_vcpu *vcpu;
	pthread_t thread;
	int exits;		/* for the lack of the page */
	__s64 ret;		/* the op's */
};

/* For the vCPUs and both processes */
struct watch {
	struct vmm_count count[NR_VCPUS];
	__u32 earlier[NR_VCPUS];	/* the words of the pages that have left, in all */
	__u32 late;			/* words with writes after the call had returned */
	__u64 pfn;			/* of memory that fails */
};

struct tlb_test {
	struct guest g;
	struct counter counter[NR_VCPUS];
	volatile struct watch *watch;
	bool ordinary;		/* the guest's memory is a mapping of the file */
	size_t first, pages;	/* that leave, COUNTED among them */
};

FIXTURE(tlb)
{
	struct tlb_test t;
};

FIXTURE_VARIANT(tlb)
{
	__u32 flags;		/* of the memslot: 0 for an ordinary VM */
	bool huge;
};

FIXTURE_VARIANT_ADD(tlb, fill)
{
	.flags = FILL,
};

FIXTURE_VARIANT_ADD(tlb, fill_huge)
{
	.flags = FILL,
	.huge = true,
};

FIXTURE_VARIANT_ADD(tlb, keep)
{
	.flags = KEEP,
};

FIXTURE_VARIANT_ADD(tlb, keep_huge)
{
	.flags = KEEP,
	.huge = true,
};

FIXTURE_VARIANT_ADD(tlb, ordinary)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(tlb, ordinary_huge)
{
	.flags = 0,
	.huge = true,
};

/* A VM whose memory is the file, as private memory or as a mapping */
static int create_guest(struct guest *g, __u32 flags)
{
	int ret;

	if (flags) {
		ret = guest_create(g, NR_VCPUS);
		return ret ? ret : add_slot(g, flags, 0, FILE_PAGES);
	}
	ret = vmm_create(&g->vmm, KVM_X86_DEFAULT_VM, NR_VCPUS);
	return ret ? ret : vmm_set_slot(&g->vmm, SLOT, 0, GPA, FILE_PAGES * PAGE,
					g->env.mem, -1, 0);
}

FIXTURE_SETUP(tlb)
{
	struct tlb_test *t = &self->t;
	struct guest *g = &t->g;
	int i, ret;

	g->vmm = (struct vmm)VMM_INIT;
	g->huge = variant->huge;
	t->ordinary = !variant->flags;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ret = env_setup_memory(&g->env, FILE_PAGES);
	if (g->env.lacks)
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, ret);
	stay_on_one_cpu(false);
	/* elsewhere, "never" may be unknown */
	if (env_thp(&g->env, g->huge ? "force" : "never") && g->huge)
		SKIP(return, "no huge pages in this kernel's shmem");
	t->watch = (struct watch *)g->env.mem;
	t->first = g->huge ? FIRST : COUNTED;
	t->pages = g->huge ? HUGE_PAGES : 1;
	ASSERT_EQ(0, create_guest(g, variant->flags));
	/* fork() copies no memory of the guest: that would interrupt the vCPUs */
	ASSERT_EQ(0, madvise(g->vmm.low, VMM_LOW_SIZE, MADV_DONTFORK));
	for (i = 0; i < NR_VCPUS; i++) {
		t->counter[i].test = t;
		t->counter[i].vcpu = &g->vmm.vcpu[i];
	}
}

FIXTURE_TEARDOWN(tlb)
{
	guest_teardown(&self->t.g);
}

/*
 * The vCPUs
 */

static __thread sigjmp_buf memory_failed;

static void vcpu_bus_error(int sig)
{
	siglongjmp(memory_failed, 1);
}

/* As a VMM does: with KEEP the vCPU stops at the hole, with any slot behind the end. */
static bool fill_hole(struct tlb_test *t, struct counter *c)
{
	if (c->ret != -EFAULT ||
	    (!t->ordinary && !faulted_at(c->vcpu, c->ret, -EFAULT, gpa_of(COUNTED))))
		return false;
	c->exits++;
	return !grow(t->g.env.fd, t->first, t->pages);
}

static void *run_vcpu(void *arg)
{
	struct counter *c = arg;
	struct tlb_test *t = c->test;
	int i = c - t->counter;

	if (sigsetjmp(memory_failed, 1)) {
		c->ret = -EHWPOISON;
		return NULL;
	}
	c->ret = vmm_count(c->vcpu, gpa_of(COUNTED) + i * sizeof(__u32),
			   GPA + offsetof(struct watch, count[i]));
	while (fill_hole(t, c))
		c->ret = vmm_vcpu_resume(c->vcpu);
	return NULL;
}

/* Wait until the vCPUs have added another 1000 each. */
static void watch_them_count(struct tlb_test *t)
{
	__u32 from;
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		from = t->watch->count[i].done;
		while (t->watch->count[i].done - from < 1000)
			sched_yield();
	}
}

static void start(struct __test_metadata *_metadata, struct tlb_test *t)
{
	struct counter *c;

	ASSERT_EQ(0, grow(t->g.env.fd, t->first, t->pages));
	memset((void *)t->watch, 0, sizeof(*t->watch));
	for (c = t->counter; c < t->counter + NR_VCPUS; c++)
		ASSERT_EQ(0, pthread_create(&c->thread, NULL, run_vcpu, c));
	watch_them_count(t);
	ASSERT_EQ(t->g.huge ? 2 : 0, huge_entries(&t->g));
}

static void join(struct __test_metadata *_metadata, struct tlb_test *t)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		ASSERT_EQ(0, pthread_join(t->counter[i].thread, NULL));
}

/* How the page leaves, and what the process that makes the call does about it */
typedef int op_fn(struct tlb_test *t);
typedef int round_fn(struct tlb_test *t, op_fn *op);

static unsigned char *counted(struct tlb_test *t)
{
	return at(&t->g.env, COUNTED);
}

static int punch_hole(struct tlb_test *t)
{
	return punch(t->g.env.fd, t->first, t->pages);
}

static int truncate_file(struct tlb_test *t)
{
	return errno_of(ftruncate(t->g.env.fd, t->first * PAGE));
}

static int remove_pages(struct tlb_test *t)
{
	return errno_of(madvise(at(&t->g.env, t->first), t->pages * PAGE, MADV_REMOVE));
}

/* To the other node */
static int move_page(struct tlb_test *t)
{
	void *addr = counted(t);
	int from, to, now;

	(void)*(volatile unsigned char *)addr;
	if (syscall(SYS_move_pages, 0, 1UL, &addr, NULL, &from, 0))
		return -errno;
	to = from == NODE ? 0 : NODE;
	do {
		(void)*(volatile unsigned char *)addr;
		if (syscall(SYS_move_pages, 0, 1UL, &addr, &to, &now, MPOL_MF_MOVE) < 0)
			return -errno;
	} while (now != to);
	return 0;
}

/*
 * The first call takes what else is left of a huge page, so that the second can write
 * nothing but the counted page.
 */
static int swap_out(struct tlb_test *t)
{
	long before;

	for (;;) {
		if (madvise(at(&t->g.env, t->first), t->pages * PAGE, MADV_PAGEOUT))
			return -errno;
		(void)*(volatile unsigned char *)counted(t);
		before = counter("/proc/vmstat", "pswpout");
		if (madvise(counted(t), PAGE, MADV_PAGEOUT))
			return -errno;
		if (counter("/proc/vmstat", "pswpout") != before)
			return 0;
		/* this empties the lists of the CPUs, where reclaim does not find pages */
		write_file("/proc/sys/vm/drop_caches", "1");
	}
}

/*
 * EBUSY is no failure: a vCPU has faulted by then, and holds a reference until it finds out
 * that it cannot have the page.
 */
static int let_memory_fail(struct tlb_test *t)
{
	int ret;

	(void)*(volatile unsigned char *)counted(t);
	t->watch->pfn = pfn_of(counted(t));
	ret = poison_pfn(t->watch->pfn);
	return ret == -EBUSY ? 0 : ret;
}

/*
 * Rounds, in another process
 */

/* How often each vCPU has added 1 */
static void read_done(struct tlb_test *t, __u32 *done)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		done[i] = t->watch->count[i].done;
}

/*
 * Compare the words of the old page, which no vCPU writes to any more, with what each had
 * done when the call returned. One may have added its 1 while the call still waited for
 * it, and noted that later; or it may have counted in the new page by then.
 */
static void check_words(struct tlb_test *t, const __u32 *words, const __u32 *done)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		t->watch->earlier[i] += words[i];
		if ((__s32)(t->watch->earlier[i] - done[i]) > 1)
			t->watch->late++;
	}
}

/* Wait until each vCPU has counted in the page that is in the old one's place. */
static void wait_for_new_page(struct tlb_test *t)
{
	__u32 words[NR_VCPUS] = {};

	do {
		sched_yield();
		pread(t->g.env.fd, words, sizeof(words), COUNTED * PAGE);
	} while (!words[0] || !words[1]);
}

/* A pipe keeps the page, to be read once the vCPUs have left it. */
static int leave(struct tlb_test *t, op_fn *op)
{
	__u32 words[NR_VCPUS], done[NR_VCPUS];
	loff_t offset = COUNTED * PAGE;
	int ends[2], ret;

	watch_them_count(t);
	if (pipe(ends) ||
	    splice(t->g.env.fd, &offset, ends[1], NULL, sizeof(words), 0) != sizeof(words))
		return -EIO;
	ret = op(t);
	read_done(t, done);
	if (ret)
		return ret;
	wait_for_new_page(t);
	if (read(ends[0], words, sizeof(words)) != sizeof(words))
		return -EIO;
	check_words(t, words, done);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static int replace(struct tlb_test *t, op_fn *op)
{
	watch_them_count(t);
	return op(t);
}

/* No page comes in place of the one that fails: the vCPUs stop. */
static int fail(struct tlb_test *t, op_fn *op)
{
	int ret;

	watch_them_count(t);
	ret = op(t);
	read_done(t, (__u32 *)t->watch->earlier);
	return ret;
}

static int run_rounds(struct tlb_test *t, int rounds, round_fn *round, op_fn *op)
{
	int ret = 0;

	while (rounds-- && !ret)
		ret = round(t, op);
	return ret;
}

static int run_elsewhere(struct tlb_test *t, int rounds, round_fn *round, op_fn *op)
{
	int status;
	pid_t pid;

	if (t->ordinary)
		return run_rounds(t, rounds, round, op);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(-run_rounds(t, rounds, round, op));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -EPROTO;
	return -WEXITSTATUS(status);
}

/* How often KVM has asked for the flush of TLBs */
static __s64 flushes(struct tlb_test *t)
{
	return vmm_stat(&t->g.vmm, "remote_tlb_flush_requests");
}

/* Where no vCPU uses its old TLB entry in time, only the count of flushes shows a lack. */
static void count_during(struct __test_metadata *_metadata, struct tlb_test *t,
			 int rounds, round_fn *round, op_fn *op)
{
	__s64 before;

	start(_metadata, t);
	before = flushes(t);
	ASSERT_EQ(0, run_elsewhere(t, rounds, round, op));
	EXPECT_LE(rounds, flushes(t) - before);
}

/* Have the vCPUs stop: all that they have written is in the pages of the file. */
static void stop(struct __test_metadata *_metadata, struct tlb_test *t)
{
	__u32 words[NR_VCPUS];
	int i;

	watch_them_count(t);
	for (i = 0; i < NR_VCPUS; i++)
		t->watch->count[i].stop = 1;
	join(_metadata, t);
	ASSERT_EQ(sizeof(words), pread(t->g.env.fd, words, sizeof(words), COUNTED * PAGE));
	for (i = 0; i < NR_VCPUS; i++)
		EXPECT_EQ(t->counter[i].ret, t->watch->earlier[i] + words[i]);
}

static int exits(struct tlb_test *t)
{
	return t->counter[0].exits + t->counter[1].exits;
}

/* The page leaves by that call: a hole is in its place, or the file ends before it. */
static void leaves(struct __test_metadata *_metadata, struct tlb_test *t, op_fn *op,
		   bool vcpus_exit)
{
	count_during(_metadata, t, ROUNDS, leave, op);
	stop(_metadata, t);
	EXPECT_EQ(0, t->watch->late);
	/* one of the vCPUs may find that the other's thread has filled the hole */
	if (vcpus_exit) {
		EXPECT_LE(ROUNDS, exits(t));
	} else {
		EXPECT_EQ(0, exits(t));
	}
}

/* Another page takes its place, and has all that was written to the one before. */
static void is_replaced(struct __test_metadata *_metadata, struct tlb_test *t, op_fn *op)
{
	count_during(_metadata, t, 5, replace, op);
	stop(_metadata, t);
	EXPECT_EQ(0, exits(t));
}

TEST_F(tlb, punch)
{
	leaves(_metadata, &self->t, punch_hole, variant->flags == KEEP);
}

TEST_F(tlb, remove)
{
	leaves(_metadata, &self->t, remove_pages, variant->flags == KEEP);
}

TEST_F(tlb, truncate)
{
	leaves(_metadata, &self->t, truncate_file, true);
}

TEST_F(tlb, migration)
{
	if (!has_second_node())
		SKIP(return, "needs a second node");
	is_replaced(_metadata, &self->t, move_page);
}

TEST_F(tlb, swap)
{
	ASSERT_EQ(0, env_swap(&self->t.g.env));
	is_replaced(_metadata, &self->t, swap_out);
}

TEST_F(tlb, memory_failure)
{
	struct tlb_test *t = &self->t;
	struct counter *c;
	int i;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "needs a kernel with hwpoison-inject");
	signal(SIGBUS, vcpu_bus_error);
	count_during(_metadata, t, 1, fail, let_memory_fail);
	join(_metadata, t);
	for (i = 0; i < NR_VCPUS; i++) {
		c = &t->counter[i];
		EXPECT_GE(1, t->watch->count[i].done - t->watch->earlier[i]);
		if (t->ordinary) {
			EXPECT_EQ(-EHWPOISON, c->ret);
		} else {
			EXPECT_TRUE(faulted_at(c->vcpu, c->ret, -EHWPOISON,
					       gpa_of(COUNTED)));
		}
	}

	/* give the page frame back */
	ASSERT_EQ(0, madvise(counted(t), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(t->g.env.fd, COUNTED, 1));
	unpoison_pfn(t->watch->pfn);
}

TEST_HARNESS_MAIN
