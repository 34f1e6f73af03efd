// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses: the kernel sees which pages a guest uses, without a mapping of the file in
 * user space, and reclaim spares them.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES		16

#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"
#define BITS		64

#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds"
#define CONTEXT		"0/contexts/0/"
/* The two schemes count looks at a page, and those that find it in use. */
#define ANY		0
#define IN_USE		1

/*
 * Idle page tracking
 */

/* Find the page frames of the first pages, and leave them to the guest alone. */
static int frames_of_guest(struct guest *g, size_t pages, __u64 *pfn)
{
	size_t i;

	for (i = 0; i < pages; i++)
		pfn[i] = pfn_of(at(&g->env, i));
	if (madvise(g->env.mem, pages * PAGE, MADV_DONTNEED))
		return -errno;
	/* pages that are new wait in a list of this CPU, which this empties */
	return madvise(g->env.mem, pages * PAGE, MADV_COLD) ? -errno : 0;
}

/* Mark a page idle. */
static int set_idle(__u64 pfn)
{
	__u64 word = 1ULL << pfn % BITS;
	int fd = open(IDLE_BITMAP, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (pwrite(fd, &word, sizeof(word), pfn / BITS * sizeof(word)) != sizeof(word))
		ret = -errno;
	close(fd);
	return ret;
}

/* Has nobody used the page since then? */
static int is_idle(__u64 pfn)
{
	int fd = open(IDLE_BITMAP, O_RDONLY | O_CLOEXEC), ret = 0;
	__u64 word;

	if (fd < 0)
		return -errno;
	if (pread(fd, &word, sizeof(word), pfn / BITS * sizeof(word)) != sizeof(word))
		ret = -errno;
	close(fd);
	return ret ? ret : word >> pfn % BITS & 1;
}

TEST_F(kvm, idle)
{
	struct guest *g = &self->g;
	__u64 pfn[PAGES];
	__s64 faults;
	size_t i;

	if (access(IDLE_BITMAP, W_OK))
		SKIP(return, "needs idle page tracking");
	stay_on_one_cpu(true);
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	ASSERT_EQ(0, frames_of_guest(g, PAGES, pfn));
	faults = guest_faults(g);
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, set_idle(pfn[i]));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(1, is_idle(pfn[i]));

	ASSERT_EQ(13, vmm_read(vcpu_of(g), gpa_of(3)));
	ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa_of(5), 42));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i != 3 && i != 5, is_idle(pfn[i]));

	/* again: the mark does not outlive the access, nor the access the mark */
	ASSERT_EQ(0, set_idle(pfn[3]));
	EXPECT_EQ(1, is_idle(pfn[3]));
	ASSERT_EQ(13, vmm_read(vcpu_of(g), gpa_of(3)));
	EXPECT_EQ(0, is_idle(pfn[3]));

	/* it was not a fault that left the traces */
	EXPECT_EQ(faults, guest_faults(g));
}

/* One page of a huge folio in use is enough, also through one entry for all of it. */
TEST_F(kvm, idle_huge)
{
	struct guest *g = &self->g;
	__s64 faults;
	__u64 pfn;

	if (access(IDLE_BITMAP, W_OK))
		SKIP(return, "needs idle page tracking");
	if (env_thp(&g->env, "always"))
		SKIP(return, "needs huge pages");
	stay_on_one_cpu(true);
	ASSERT_EQ(0, add_slot(g, FILL, 0, HUGE_PAGES));
	ASSERT_EQ(0, guest_fill(g, 77, 1));
	ASSERT_EQ(1, huge_entries(g));
	ASSERT_EQ(0, frames_of_guest(g, 1, &pfn));
	faults = guest_faults(g);
	ASSERT_EQ(0, set_idle(pfn));
	EXPECT_EQ(1, is_idle(pfn));
	ASSERT_EQ(1, vmm_read(vcpu_of(g), gpa_of(77)));
	EXPECT_EQ(0, is_idle(pfn));
	EXPECT_EQ(faults, guest_faults(g));
}

/*
 * DAMON
 */

/* Write a file of the one kdamond, or of its only context and scheme. */
static int set_damon(const char *file, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DAMON "/%s", file);
	return write_file(path, text);
}

static void stop_damon(void)
{
	set_damon("0/state", "off");
	set_damon("nr_kdamonds", "0");
}

/* Have DAMON watch one page frame, and count how often it is found accessed. */
static int watch(__u64 pfn)
{
	static const char * const settings[][2] = {
		{ "nr_kdamonds", "1" },
		{ "0/contexts/nr_contexts", "1" },
		{ CONTEXT "operations", "paddr" },
		{ CONTEXT "monitoring_attrs/nr_regions/min", "3" },
		{ CONTEXT "monitoring_attrs/intervals/sample_us", "10000" },
		{ CONTEXT "monitoring_attrs/intervals/aggr_us", "50000" },
		{ CONTEXT "targets/nr_targets", "1" },
		{ CONTEXT "targets/0/regions/nr_regions", "1" },
		{ CONTEXT "schemes/nr_schemes", "2" },
		{ CONTEXT "schemes/0/action", "stat" },
		{ CONTEXT "schemes/0/access_pattern/sz/max", "4096" },
		{ CONTEXT "schemes/0/access_pattern/nr_accesses/max", "1000" },
		{ CONTEXT "schemes/0/access_pattern/age/max", "1000000" },
		{ CONTEXT "schemes/1/action", "stat" },
		{ CONTEXT "schemes/1/access_pattern/sz/max", "4096" },
		{ CONTEXT "schemes/1/access_pattern/nr_accesses/min", "1" },
		{ CONTEXT "schemes/1/access_pattern/nr_accesses/max", "1000" },
		{ CONTEXT "schemes/1/access_pattern/age/max", "1000000" },
	};
	char start[24], end[24];
	size_t i;
	int ret = 0;

	snprintf(start, sizeof(start), "%llu", pfn * PAGE);
	snprintf(end, sizeof(end), "%llu", (pfn + 1) * PAGE);
	for (i = 0; i < sizeof(settings) / sizeof(*settings) && !ret; i++)
		ret = set_damon(settings[i][0], settings[i][1]);
	if (!ret)
		ret = set_damon(CONTEXT "targets/0/regions/0/start", start);
	if (!ret)
		ret = set_damon(CONTEXT "targets/0/regions/0/end", end);
	return ret ? ret : set_damon("0/state", "on");
}

/* In how many looks at the page did a scheme find what it looks for? */
static long looks(int scheme)
{
	char path[PATH_MAX], text[24];

	snprintf(path, sizeof(path), DAMON "/" CONTEXT "schemes/%d/stats/nr_tried", scheme);
	if (set_damon("0/state", "update_schemes_stats") ||
	    read_line(path, text, sizeof(text)))
		return LONG_MIN;
	return atol(text);
}

FIXTURE(watched)
{
	struct guest g;
};

FIXTURE_SETUP(watched)
{
	int ret = guest_setup(&self->g, PAGES);

	if (self->g.env.lacks)
		SKIP(return, "%s", self->g.env.lacks);
	ASSERT_EQ(0, ret);
	if (access(DAMON, F_OK))
		SKIP(return, "needs DAMON");
	/* a test that took too long has left it running */
	stop_damon();
}

FIXTURE_TEARDOWN(watched)
{
	stop_damon();
	guest_teardown(&self->g);
}

TEST_F(watched, damon)
{
	struct guest *g = &self->g;
	__s64 faults;
	long cold;
	__u64 pfn;

	stay_on_one_cpu(true);
	ASSERT_EQ(0, add_slot(g, FILL, 0, 1));
	ASSERT_EQ(0, guest_fill(g, 0, 1));
	ASSERT_EQ(0, frames_of_guest(g, 1, &pfn));
	faults = guest_faults(g);
	ASSERT_EQ(0, watch(pfn));
	while (looks(ANY) < 3)
		ASSERT_LE(0, looks(ANY));
	/* the first look may have found the access from before */
	cold = looks(IN_USE);
	EXPECT_GE(1, cold);

	while (looks(IN_USE) <= cold)
		ASSERT_EQ(1, vmm_read(vcpu_of(g), gpa_of(0)));
	EXPECT_EQ(faults, guest_faults(g));
}

/*
 * Reclaim
 */

/*
 * Half of the file is hot: every second page. Reclaim takes all cold pages but the last
 * ones, since it takes some more than it is asked for. The swap disk has room for all.
 */
#define FILE_PAGES	1000
#define HOT_PAGES	(FILE_PAGES / 2)
#define LEFT_PAGES	(FILE_PAGES * 5 / 8)
#define PIECE		"128K"
#define MAX_PIECES	100
#define TIMES		2

FIXTURE(pair)
{
	struct guest ordinary, memfd;
};

FIXTURE_SETUP(pair)
{
	struct guest *g = &self->ordinary;
	int ret = guest_setup(&self->memfd, FILE_PAGES);

	g->vmm = (struct vmm)VMM_INIT;
	if (self->memfd.env.lacks)
		SKIP(return, "%s", self->memfd.env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_setup_memory(&g->env, FILE_PAGES));
	ASSERT_EQ(0, vmm_create(&g->vmm, KVM_X86_DEFAULT_VM, 1));
}

FIXTURE_TEARDOWN(pair)
{
	guest_teardown(&self->memfd);
	guest_teardown(&self->ordinary);
	cgroup_leave();
}

static int use(struct guest *g, size_t pages, size_t stride)
{
	return vmm_touch(vcpu_of(g), gpa_of(0), pages, stride * PAGE, 1);
}

/* How many hot pages is the guest about to miss? */
static long missing(struct guest *g)
{
	long missing = 0;
	size_t i;

	for (i = 0; i < FILE_PAGES; i += 2)
		missing += !in_core(at(&g->env, i));
	return missing;
}

/*
 * Have the guest use its hot pages over and over, while the file is reclaimed piece by
 * piece. How many faults on hot pages did that cost?
 */
static long refaults(struct guest *g)
{
	long refaults = 0;
	int piece;

	if (use(g, FILE_PAGES, 1) || use(g, HOT_PAGES, 2))
		return -EIO;
	for (piece = 0; in_core_pages(g->env.mem, FILE_PAGES) > LEFT_PAGES; piece++) {
		if (piece == MAX_PIECES)
			return -ETIME;
		/* reclaim goes by sums that are added up from time to time */
		cgroup_add_up();
		write_file(CGROUP "/memory.reclaim", PIECE);
		refaults += missing(g);
		if (use(g, HOT_PAGES, 2))
			return -EIO;
	}
	return punch(g->env.fd, 0, FILE_PAGES) ? -EIO : refaults;
}

/* Reclaim knows a guest's hot pages in a memfd as well as those of an ordinary memslot. */
TEST_F(pair, reclaim_spares_hot_pages)
{
	struct guest *g = &self->ordinary;
	long ret, ordinary = 0, memfd = 0;
	int i;

	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	stay_on_one_cpu(true);
	ASSERT_EQ(0, env_swap(&g->env));
	ASSERT_EQ(0, env_no_readahead(&g->env));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, 0, GPA, FILE_PAGES * PAGE, g->env.mem,
				  -1, 0));
	ASSERT_EQ(0, add_slot(&self->memfd, FILL, 0, FILE_PAGES));
	for (i = 0; i < TIMES; i++) {
		ret = refaults(&self->ordinary);
		ASSERT_LE(0, ret);
		ordinary += ret;
		ret = refaults(&self->memfd);
		ASSERT_LE(0, ret);
		memfd += ret;
	}
	note("refaults: ordinary memslot %ld, memslot in a memfd %ld", ordinary, memfd);
	EXPECT_LE(memfd * 10, ordinary * 12);
}

TEST_HARNESS_MAIN
