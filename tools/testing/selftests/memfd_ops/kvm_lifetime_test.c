// SPDX-License-Identifier: GPL-2.0
/*
 * Memslots, VMs, files and processes that come and go.
 */
#include <pthread.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES	16

/*
 * Several memslots, several VMs
 */

#define VIEWS	4

/* A window of the file, and its place in a guest */
struct view {
	struct vmm *vmm;
	__u32 slot;
	__u32 addr;		/* of the file's page 0, if that were in it */
	size_t first, pages;
};

static int view_setup(struct view *v, struct guest *g, __u32 flags)
{
	__u32 start = v->addr + v->first * PAGE;
	int ret;

	ret = vmm_set_slot(v->vmm, v->slot, flags, start, v->pages * PAGE, g->shared,
			   g->env.fd, v->first * PAGE);
	return ret ? ret : vmm_set_private(v->vmm, start, v->pages * PAGE, true);
}

static bool view_has(struct view *v, size_t page)
{
	return page >= v->first && page < v->first + v->pages;
}

/* Through the guest, if its window has the page. */
static int view_put(struct view *v, struct test_env *env, size_t page, __u32 value)
{
	if (view_has(v, page))
		return vmm_fill(&v->vmm->vcpu[0], v->addr + page * PAGE, PAGE_WORDS, value);
	put_words(at(env, page), value);
	return 0;
}

static bool view_sees(struct view *v, size_t page, __u32 value)
{
	return !vmm_compare(&v->vmm->vcpu[0], v->addr + page * PAGE, PAGE_WORDS, value);
}

static bool view_lacks(struct view *v, size_t page)
{
	struct vmm_vcpu *vcpu = &v->vmm->vcpu[0];
	__u32 addr = v->addr + page * PAGE;

	return faulted_at(vcpu, vmm_read(vcpu, addr), -EFAULT, addr);
}

TEST_F(kvm, many_slots_and_vms)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	struct vmm other;
	struct view views[VIEWS] = {
		{ &g->vmm, 1, GPA, 0, 32 },
		{ &g->vmm, 2, GPA + ROOM + 3 * PAGE, 16, 32 },
		{ &other, 1, GPA - 8 * PAGE, 8, 32 },
		{ &other, 2, GPA + ROOM, 0, 48 },
	};
	__s64 before;
	size_t i, j, k;

	ASSERT_EQ(0, vmm_create(&other, KVM_X86_SW_PROTECTED_VM, 1));
	ASSERT_EQ(0, vmm_enable_memfd_slots(&other));
	for (i = 0; i < VIEWS; i++)
		ASSERT_EQ(0, view_setup(&views[i], g, KEEP));
	EXPECT_EQ(VIEWS, consumers_of(env->fd));
	ASSERT_EQ(0, grow(env->fd, 0, 48));

	/* all see each other's writes */
	for (i = 0; i < VIEWS; i++) {
		for (j = 0; j < 48; j++)
			ASSERT_EQ(0, view_put(&views[i], env, j, 100 * i + j));
		for (k = 0; k < VIEWS; k++)
			for (j = 0; j < 48; j++)
				if (view_has(&views[k], j))
					EXPECT_TRUE(view_sees(&views[k], j, 100 * i + j));
	}

	/* one hole is a hole for all, and takes nothing else */
	before = guest_faults(g) + vmm_vcpu_stat(&other.vcpu[0], "pf_fixed");
	ASSERT_EQ(0, punch(env->fd, 20, 4));
	for (k = 0; k < VIEWS; k++)
		for (j = 0; j < 48; j++)
			if (view_has(&views[k], j) && j >= 20 && j < 24) {
				EXPECT_TRUE(view_lacks(&views[k], j));
			} else if (view_has(&views[k], j)) {
				EXPECT_TRUE(view_sees(&views[k], j, 100 * (VIEWS - 1) + j));
			}
	EXPECT_EQ(before, guest_faults(g) + vmm_vcpu_stat(&other.vcpu[0], "pf_fixed"));

	/* a hole that is in some windows: they end at 32, 48, 40 and 48 */
	ASSERT_EQ(0, punch(env->fd, 36, 1));
	EXPECT_TRUE(view_lacks(&views[1], 36));
	EXPECT_TRUE(view_lacks(&views[2], 36));
	EXPECT_TRUE(view_lacks(&views[3], 36));

	/* without the one VM, the other works as before */
	vmm_destroy(&other);
	EXPECT_EQ(2, consumers_of(env->fd));
	EXPECT_TRUE(view_sees(&views[0], 19, 319));
	ASSERT_EQ(0, punch(env->fd, 19, 1));
	EXPECT_TRUE(view_lacks(&views[0], 19));
	EXPECT_TRUE(view_lacks(&views[1], 19));
}

/*
 * The end of a memslot, a VM, a file, a process
 */

TEST_F(kvm, slot_is_deleted)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	EXPECT_EQ(1, consumers_with_window(ANY_FILE, "kvm", 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(env->fd));
	EXPECT_EQ(0, consumers_with_window(ANY_FILE, "kvm", 0, PAGES));

	/*
	 * the guest lost it; the page is still private, which is not a property of the
	 * memslot
	 */
	EXPECT_TRUE(lacks(g, 3));
	/*
	 * A page that is not private is MMIO now. The rest of the test leaves this one
	 * alone: KVM caches MMIO, and does not look again when the page becomes private.
	 */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa_of(15), PAGE, false));
	EXPECT_EQ(-EPROTO, vmm_read(vcpu_of(g), gpa_of(15)));
	EXPECT_EQ(KVM_EXIT_MMIO, vcpu_of(g)->run->exit_reason);

	/* the file still has it, can be punched, and can be used again */
	EXPECT_TRUE(has_words(at(env, 3), 33));
	EXPECT_EQ(1, allocated(env->fd));
	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(guest_sees(g, 3, 33));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(guest_sees(g, 3, 0));
}

TEST_F(kvm, vm_is_destroyed)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	int round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
		ASSERT_EQ(0, put_slot(g, SLOT + 1, KEEP, 100, 4, PAGES));
		ASSERT_EQ(0, guest_fill(g, 5, 55));
		EXPECT_EQ(2, consumers_of(env->fd));
		vmm_destroy(&g->vmm);
		EXPECT_EQ(0, consumers_of(env->fd));
		EXPECT_TRUE(has_words(at(env, 5), 55));
		EXPECT_EQ(1, allocated(env->fd));
		EXPECT_EQ(0, punch(env->fd, 0, PAGES));
		EXPECT_EQ(0, grow(env->fd, 0, PAGES));
		EXPECT_EQ(0, ftruncate(env->fd, 0));
		EXPECT_EQ(0, ftruncate(env->fd, ROOM));

		ASSERT_EQ(0, vmm_create(&g->vmm, KVM_X86_SW_PROTECTED_VM, 1));
		ASSERT_EQ(0, vmm_enable_memfd_slots(&g->vmm));
	}
}

/* The memslot keeps the file after its last descriptor is closed. */
TEST_F(kvm, file_is_closed)
{
	struct guest *g = &self->g;
	size_t i;
	int fd;

	fd = memfd_create("short-lived", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGES * PAGE));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, FILL, GPA, PAGES * PAGE, g->shared, fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	for (i = 0; i < PAGES / 2; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	close(fd);
	EXPECT_EQ(1, consumers_with_window(ANY_FILE, "kvm", 0, PAGES));
	dirty_free_memory(32 << 20);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, i < PAGES / 2 ? 10 + i : 0));
	/* pages that are not mapped are in the file */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, false));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	for (i = 0; i < PAGES / 2; i++)
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_with_window(ANY_FILE, "kvm", 0, PAGES));
}

/* KVM gets the pages from the file, whatever a fork does to mappings. */
TEST_F(kvm, process_forks)
{
	struct guest *g = &self->g;
	int status;
	pid_t pid;
	__s64 had;
	size_t i;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	had = guest_faults(g);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* write to the inherited mappings, and exit */
		put_words(at(&g->env, 3), 33);
		put_words(g->shared, 1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, i == 3 ? 33 : 10 + i));
	/* the guest's program is in ordinary memory, which is copied on write */
	EXPECT_GE(had + 1, guest_faults(g));
	EXPECT_EQ(1, consumers_of(g->env.fd));
	ASSERT_EQ(0, punch(g->env.fd, 3, 1));
	EXPECT_TRUE(lacks(g, 3));
}

static void *run_forever(void *vcpu)
{
	while (!vmm_touch(vcpu, gpa_of(0), PAGES, PAGE, 1))
		;
	return NULL;
}

/* A process with a VM whose two vCPUs use the file without end */
static void busy_process(struct guest *g, int fd)
{
	pthread_t thread;
	struct vmm vmm;

	if (!vmm_create(&vmm, KVM_X86_SW_PROTECTED_VM, 2) &&
	    !vmm_enable_memfd_slots(&vmm) &&
	    !vmm_set_slot(&vmm, SLOT, FILL, GPA, PAGES * PAGE, g->shared, g->env.fd, 0) &&
	    !vmm_set_private(&vmm, GPA, PAGES * PAGE, true) &&
	    !vmm_touch(&vmm.vcpu[0], gpa_of(0), PAGES, PAGE, 1) &&
	    !pthread_create(&thread, NULL, run_forever, &vmm.vcpu[1]) &&
	    write(fd, "!", 1) == 1)
		run_forever(&vmm.vcpu[0]);
	_exit(1);
}

TEST_F(kvm, process_is_killed)
{
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	int pipefd[2], status, i;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipefd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		busy_process(g, pipefd[1]);
	close(pipefd[1]);
	ASSERT_EQ(1, read(pipefd[0], &c, 1));
	EXPECT_EQ(1, consumers_of(env->fd));

	/* before, while and after it is killed */
	for (i = 0; i < 150; i++) {
		if (i == 50)
			ASSERT_EQ(0, kill(pid, SIGKILL));
		if (i == 100)
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, punch(env->fd, 0, PAGES));
		if (i & 1)
			ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	}
	EXPECT_TRUE(WIFSIGNALED(status));

	/* its VM went with it, and so did the file's consumer */
	EXPECT_EQ(0, consumers_of(env->fd));
	ASSERT_EQ(0, punch(env->fd, 0, PAGES));
	EXPECT_EQ(0, allocated(env->fd));
	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	EXPECT_EQ(0, guest_fill(g, 3, 33));
	EXPECT_TRUE(has_words(at(env, 3), 33));
	close(pipefd[0]);
}

TEST_HARNESS_MAIN
