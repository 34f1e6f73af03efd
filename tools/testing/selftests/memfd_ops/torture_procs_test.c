// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that do everything at once, at random, to several files, each with
 * devices of its own; and a supervisor that kills them in the middle of it, takes
 * the devices from under them, and has the memory compacted and swapped.
 *
 * How a process knows which bytes a device must meet:
 *
 * - All processes share a model of the files: for each page whether the file has
 *   it, and its content. One worker owns each part of a file: no other adds or removes
 *   pages there. But the devices of all workers have windows anywhere.
 * - A worker marks a page in the model before and after it changes the page. To look
 *   at a page through a device, it reads the model before and after. If the model has
 *   not changed, the device must meet exactly that: the page's bytes, or a fault.
 * - The model shows what a killed worker was changing. Each byte there must have its
 *   old value or its new one.
 * - The model has the windows that are mapped. Now and then all workers stand still.
 *   Then page by page the IOMMU's own tables, as debugfs shows them, must lead to the
 *   page frames of the file, as pagemap shows them, and nowhere else; devices must read
 *   the bytes of the files; and there must be as many consumers and pinned pages as
 *   there are windows, and pages in them.
 *
 * With WITH_KVM, guests are among the devices: that is kvm_torture_procs_test.
 */
#include "lib/harness.h"
#include "torture_procs/torture_procs.h"

static int find_devices(struct supervisor *s)
{
	char path[PATH_MAX];
	int ret;

	s->env.lacks = "needs root, the sample mdma, QEMU's edu and NVMe behind an IOMMU";
	if (geteuid())
		return -EPERM;
	if (mdma_type(path, sizeof(path)))
		system("modprobe mdma");
	ret = mdma_type(path, sizeof(path));
	if (!ret)
		ret = pci_find(EDU_ALIAS, s->edu, sizeof(s->edu));
	if (!ret)
		ret = pci_find(NVME_ALIAS, s->nvme, sizeof(s->nvme));
	if (ret)
		return ret;
	s->env.lacks = "needs a kernel with CONFIG_VFIO_MEMFD_TEST";
	if (access(PLATFORM_DEVICES "/" DEVICE_DMA, F_OK))
		return -ENODEV;
	s->env.lacks = NULL;
	mdma_remove_stale();
	ret = pci_take(s->nvme);
	s->shows_tables = !access("/sys/kernel/debug/iommu/intel", F_OK);
	return ret ? ret : allow_unsafe_interrupts(&s->env.unsafe_interrupts);
}

/* The model is in memory that others share, too, and may be in swap */
static long pages_with_model(void)
{
	madvise(model, sizeof(*model), MADV_POPULATE_READ);
	return pages_of_files();
}

/*
 * Add a consumer to a file, and remove it. The kernel disables its static key 10 s
 * later: it does not patch its code while the workers begin, see env_keep_followed(),
 * which keeps a device, and here must not.
 */
static int follow_once(void)
{
	struct mdma m = MDMA_INIT;
	int ret;

	ret = mdma_create(&m);
	if (!ret)
		ret = mdma_open_group(&m);
	if (!ret)
		ret = mdma_map(&m, files[0].fd, 0, m.info.iova_start, PAGE, MDMA_RW);
	mdma_close(&m);
	mdma_remove(&m);
	return ret;
}

/* Of those that are to suffer, one allocation of 50 fails. */
static void set_up_failures(void)
{
	fail_anything("0");
	some_fail("2");
}

static void no_more_failures(void)
{
	none_fails();
	fail_anything("1");
}

/* Is a test without that not much of a test? Allocations need not fail, or files collapse */
static bool must_happen(struct supervisor *s, enum count what)
{
	switch (what) {
	case COLLAPSES:
	case FAILED_CALLS:
		return false;
	case SWAPOFFS:
		return !huge;
	case TRANSLATIONS:
		return s->shows_tables;
	default:
		return true;
	}
}

static bool each_done(struct supervisor *s)
{
	int i;

	for (i = 0; i < NR_COUNTS; i++)
		if (!model->counts[i] && must_happen(s, i))
			return false;
	for (i = MDMA; i <= LAST_KIND; i++)
		if (!model->opened[i])
			return false;
	return true;
}

static void report(struct __test_metadata *_metadata, struct supervisor *s)
{
	char text[1024];
	int i, len = 0;

	for (i = 0; i < NR_COUNTS; i++) {
		if (i == SWAPOFFS && huge)
			continue;
		len += snprintf(text + len, sizeof(text) - len, "%s%ld %s", len ? ", " : "",
				(long)model->counts[i], count_names[i]);
	}
	for (i = MDMA; i <= LAST_KIND; i++)
		len += snprintf(text + len, sizeof(text) - len, ", %ld times %s",
				(long)model->opened[i], kind_names[i]);
	note("%s", text);
	EXPECT_EQ(0, model->wrong)
		TH_LOG("with MEMFD_OPS_SEED=%u", seed);
	/* it was not the test itself that stood still */
	EXPECT_TRUE(each_done(s));
}

FIXTURE(torture_procs)
{
	struct supervisor s;
};

FIXTURE_VARIANT(torture_procs)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(torture_procs, small_pages) { .huge = false };
FIXTURE_VARIANT_ADD(torture_procs, huge_pages) { .huge = true };

FIXTURE_SETUP(torture_procs)
{
	int ret = find_devices(&self->s);

	if (self->s.env.lacks)
		SKIP(return, "%s", self->s.env.lacks);
	ASSERT_EQ(0, ret);
	seed = test_seed();
	self->s.random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	huge = variant->huge;
	region_pages = huge ? HUGE_PAGES : 64;
	file_size = WORKERS * region_pages;
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, huge ? env_thp(&self->s.env, "force") : env_swap(&self->s.env));
	set_up_failures();
}

FIXTURE_TEARDOWN(torture_procs)
{
	struct supervisor *s = &self->s;

	no_more_failures();
	unsafe_interrupts_as_before(s->env.unsafe_interrupts);
	env_thp_as_before(&s->env);
	if (s->env.swap)
		swapoff("/dev/ram0");
	pci_give_back(s->nvme);
	cgroup_leave();
}

TEST_F(torture_procs, all)
{
	struct supervisor *s = &self->s;
	long before, seconds;
	__u64 begin;
	int i;

	mdma_expect_iommu_faults();
	ASSERT_EQ(0, make_files());
	before = pages_with_model();
	ASSERT_LE(0, before);
	ASSERT_EQ(0, follow_once());
	for (i = 0; i < WORKERS; i++)
		ASSERT_EQ(0, start_worker(s, i));
	begin = now();
	do {
		run_round(s);
		seconds = (now() - begin) / 1000000;
	} while ((seconds < test_seconds(12) ||
		  (seconds < LONGEST && !each_done(s))) && !model->wrong);

	for (i = 0; i < WORKERS; i++)
		command(s, i, QUIT);
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, reap(s->lives[i].pid, "a worker that got QUIT"));
	for (i = 0; i < FILES; i++)
		EXPECT_EQ(0, consumers_of(files[i].fd));
	report(_metadata, s);
	for (i = 0; i < FILES; i++) {
		munmap(files[i].mem, file_size * PAGE);
		close(files[i].fd);
	}
	/* swap keeps pages that the files forgot while others read or wrote them */
	if (s->env.swap)
		ASSERT_EQ(0, swapoff("/dev/ram0"));
	/* all of it has been given back */
	EXPECT_EQ(before, pages_with_model());
}

TEST_HARNESS_MAIN
