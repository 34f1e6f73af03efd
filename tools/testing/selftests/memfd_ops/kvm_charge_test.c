// SPDX-License-Identifier: GPL-2.0
/*
 * Which cgroup is charged for the pages and page tables of a file, and the OOM
 * killer, when there are no more.
 */
#include "lib/harness.h"
#include "lib/kvm_mm_fixture.h"

#define PAGES	16

/* The group's charge of that kind */
static long charged(const char *name)
{
	cgroup_add_up();
	return counter(CGROUP "/memory.stat", name);
}

/* Add the consumers, and fill the file until there is no memory. Does not return. */
static void run_out_of_memory(struct mm_test *mm)
{
	char text[32];
	long current;
	size_t i;

	mm->g.vmm = (struct vmm)VMM_INIT;
	mm->first = 0;
	mm->pages = MM_ROOM / PAGE;
	mm->stride = MM_ROOM / PAGE;
	if (write_file(CGROUP "/cgroup.procs", "0") ||
	    (mm->device && mdma_open_group(&mm->g.env.dev[0])) ||
	    (mm->guest && vmm_create_for_memfds(&mm->g.vmm, 1)) || add_consumers(mm) ||
	    read_line(CGROUP "/memory.current", text, sizeof(text)))
		_exit(1);
	current = atol(text) + (16L << 20);
	snprintf(text, sizeof(text), "%ld", current);
	if (write_file(CGROUP "/memory.max", text))
		_exit(2);
	if (mm->guest)
		vmm_touch(vcpu_of(&mm->g), GPA, mm->pages, PAGE, 1);
	for (i = 0; i < mm->pages; i++)
		*at(&mm->g.env, i) = 1;
	_exit(3);
}

/* The OOM killer ends the owner of device and guest: both go, and the file remains. */
TEST_F(mm, oom)
{
	struct mm_test *mm = &self->mm;
	struct test_env *env = &mm->g.env;
	__u64 pfn[PAGES];
	long before, after, pages;
	int status;
	pid_t pid;

	if (!has_second_node())
		SKIP(return, "needs a second node");
	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	mdma_close(&env->dev[0]);
	vmm_destroy(&mm->g.vmm);
	ASSERT_EQ(0, write_file(CGROUPS "/cgroup.procs", "0"));
	before = mem_free_kib();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		run_out_of_memory(mm);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status))
		TH_LOG("exit status %d", WEXITSTATUS(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_LE(1, counter(CGROUP "/memory.events", "oom_kill"));
	EXPECT_EQ(0, consumers_of(env->fd));

	/* the pages stay in the file, without a reference, and charged as before */
	pages = allocated(env->fd);
	note("%ld pages", pages);
	EXPECT_LT(1024, pages);
	EXPECT_EQ(pages * PAGE, charged("shmem"));
	mm->first = 0;
	mm->pages = PAGES;
	mm->stride = 1;
	frames_of(mm, pfn);
	EXPECT_EQ(0, move_to(mm, NODE));
	EXPECT_EQ(PAGES, pages_on(mm, NODE));
	ASSERT_EQ(0, punch(env->fd, 0, MM_ROOM / PAGE));
	EXPECT_EQ(0, charged("shmem"));
	after = mem_free_kib();
	/*
	 * Of 4 KiB each. KASAN keeps objects for a while that have been freed: some for each
	 * page, with virtio's IOMMU.
	 */
	EXPECT_GT(pages * 3, before - after)
		TH_LOG("%ld KiB were free, and now %ld", before, after);
	if (mm->device) {
		ASSERT_EQ(0, mdma_open_group(&env->dev[0]));
		ASSERT_EQ(0, env_map(env, 0, 0, PAGES));
		EXPECT_EQ(0, env_reachable(env, 0, 0, PAGES));
	}
}

/* Pages are charged to the process that adds them, page tables to the consumer's. */
TEST_F(mm, charges)
{
	struct mm_test *mm = &self->mm;
	long tables;

	if (!has_second_node())
		SKIP(return, "needs a second node");
	if (cgroup_enter())
		SKIP(return, "needs memory cgroups");
	/* where no other test has been: an IOMMU may keep its tables */
	fill_pages(mm, MM_ROOM / PAGE - PAGES, PAGES, 1);
	tables = charged("sec_pagetables");
	ASSERT_EQ(PAGES * PAGE, charged("shmem"));
	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
	tables = charged("sec_pagetables") - tables;
	note("%ld KiB of page tables", tables / 1024);
	EXPECT_EQ((mm->device && !iommu_is_virtio()) || mm->guest, tables > 0);
	EXPECT_EQ(mm->device ? PAGES * PAGE / 1024 : 0,
		  counter("/proc/self/status", "VmPin"));
	/* whether or not they move */
	EXPECT_EQ(mm->device ? PAGES : 0, move_to(mm, NODE));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
	ASSERT_EQ(0, remove_consumers(mm));
	EXPECT_EQ(0, counter("/proc/self/status", "VmPin"));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
}

TEST_HARNESS_MAIN
