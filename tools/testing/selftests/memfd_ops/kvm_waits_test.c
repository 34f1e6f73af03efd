// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that take long, and others that must not wait for them: a write(2) to the file
 * that does not end, and the deletion of a memslot that has to wait. And a call that must
 * end although the VM's page tables are replaced meanwhile.
 */
#include <sched.h>
#include <signal.h>

#include "lib/call.h"
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"
#include "lib/late_page.h"

#define PAGES		16

#define LATE_SLOT	(SLOT + 1)
#define OTHER_SLOT	(SLOT + 2)
#define LATE_GPA	0x60000000U

#define NX_HUGE_PAGES	"/sys/module/kvm/parameters/nx_huge_pages"

FIXTURE(waits)
{
	struct guest g;
	struct late_page late;
};

FIXTURE_SETUP(waits)
{
	struct guest *g = &self->g;

	g->vmm = (struct vmm)VMM_INIT;
	self->late = (struct late_page)LATE_PAGE_INIT;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ASSERT_EQ(0, env_setup_memory(&g->env, ROOM / PAGE));
	stay_on_one_cpu(false);
	ASSERT_EQ(0, guest_create(g, 2));
	ASSERT_EQ(0, late_page_create(&self->late));
}

FIXTURE_TEARDOWN(waits)
{
	guest_teardown(&self->g);
	late_page_destroy(&self->late);
}

static __s64 add_the_slot(void *arg)
{
	return add_slot(arg, FILL, 0, PAGES);
}

static __s64 delete_the_slot(void *arg)
{
	struct guest *g = arg;

	return vmm_delete_slot(&g->vmm, SLOT);
}

static __s64 read_late_page(void *arg)
{
	struct guest *g = arg;

	return vmm_read(&g->vmm.vcpu[1], LATE_GPA);
}

/* Another memslot comes and goes, as when a VMM plugs memory. */
static int plug_and_unplug(struct guest *g)
{
	int ret = vmm_set_slot(&g->vmm, OTHER_SLOT, 0, LATE_GPA, PAGES * PAGE, g->shared,
			       -1, 0);

	return ret ? ret : vmm_delete_slot(&g->vmm, OTHER_SLOT);
}

/* The memslot waits for the writer, and for as long nothing else of the VM does. */
TEST_F(waits, slot_in_a_busy_file)
{
	struct guest *g = &self->g;
	struct late_write slow = { &self->late, g->env.fd };
	struct call writer = { late_page_write, &slow }, adder = { add_the_slot, g };
	int i;

	ASSERT_EQ(0, call_begin(&writer));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, call_begin(&adder));
	call_wait_in_ioctl(&adder, KVM_SET_USER_MEMORY_REGION2);
	for (i = 0; i < 20; i++)
		EXPECT_EQ(0, plug_and_unplug(g));
	EXPECT_FALSE(call_has_ended(&adder));
	EXPECT_EQ(0, consumers_of(g->env.fd));

	ASSERT_EQ(0, late_page_give(&self->late));
	EXPECT_EQ(PAGE, call_end(&writer));
	EXPECT_EQ(0, call_end(&adder));
	EXPECT_EQ(1, consumers_of(g->env.fd));
	EXPECT_TRUE(guest_sees(g, 0, 0));
}

/* A process that waits for the file with its memslot can be killed. */
TEST_F(waits, killed_in_a_busy_file)
{
	struct guest *g = &self->g;
	struct late_write slow = { &self->late, g->env.fd };
	struct call writer = { late_page_write, &slow };
	int ready[2], status;
	struct vmm vmm;
	pid_t pid;
	char c;

	ASSERT_EQ(0, call_begin(&writer));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!vmm_create_for_memfds(&vmm, 1) && write(ready[1], "!", 1) == 1)
			vmm_set_slot(&vmm, SLOT, FILL, GPA, PAGES * PAGE, g->shared,
				     g->env.fd, 0);
		_exit(1);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	do {
		sched_yield();
	} while (!sleeps_in_ioctl(pid, pid, KVM_SET_USER_MEMORY_REGION2));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(call_has_ended(&writer));

	ASSERT_EQ(0, late_page_give(&self->late));
	EXPECT_EQ(PAGE, call_end(&writer));
	EXPECT_EQ(0, consumers_of(g->env.fd));
	close(ready[0]);
}

/*
 * A vCPU waits in KVM for another page, and the deletion waits for it. KVM_PRE_FAULT_MEMORY
 * returns, rather than wait for the deletion, which would have to wait for it.
 */
TEST_F(waits, pre_fault_while_the_slot_goes)
{
	struct guest *g = &self->g;
	struct call reader = { read_late_page, g }, deleter = { delete_the_slot, g };
	struct kvm_pre_fault_memory range;
	int ret;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, LATE_SLOT, 0, LATE_GPA, PAGE, self->late.mem,
				  -1, 0));
	ASSERT_EQ(0, call_begin(&reader));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, call_begin(&deleter));
	do {
		ret = pre_fault(g, &range, 0, PAGES);
	} while (!ret);
	EXPECT_EQ(-EAGAIN, ret);
	EXPECT_EQ(PAGES * PAGE, range.size);
	EXPECT_FALSE(call_has_ended(&deleter));

	/* a page can leave the file, too */
	EXPECT_EQ(0, punch(g->env.fd, 3, 1));

	ASSERT_EQ(0, late_page_give(&self->late));
	EXPECT_EQ(0, call_end(&reader));
	EXPECT_EQ(0, call_end(&deleter));
	EXPECT_EQ(0, consumers_of(g->env.fd));
}

static __s64 pre_fault_late_page(void *arg)
{
	struct kvm_pre_fault_memory range = { .gpa = LATE_GPA, .size = PAGE };

	return ioctl(vcpu_of(arg)->fd, KVM_PRE_FAULT_MEMORY, &range) ? -errno : 0;
}

/* A change of this parameter replaces the page tables of all VMs, and waits for no vCPU. */
TEST_F(waits, pre_fault_while_page_tables_go)
{
	struct guest *g = &self->g;
	struct call caller = { pre_fault_late_page, g };

	ASSERT_EQ(0, vmm_set_slot(&g->vmm, LATE_SLOT, 0, LATE_GPA, PAGE, self->late.mem,
				  -1, 0));
	ASSERT_EQ(0, call_begin(&caller));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, write_file(NX_HUGE_PAGES, "force"));
	ASSERT_EQ(0, write_file(NX_HUGE_PAGES, "off"));
	ASSERT_EQ(0, late_page_give(&self->late));
	EXPECT_EQ(0, call_end(&caller));
}

TEST_HARNESS_MAIN
