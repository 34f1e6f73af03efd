// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that take long, and others that must not wait for them: a write(2) to the file
 * that does not end, and the deletion of a memslot that has to wait. And a call that must
 * end although the VM's page tables are replaced meanwhile.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

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

/* A call in a thread of its own: it has returned when @done is set. */
struct call {
	struct guest *g;
	struct late_page *late;
	bool done;
	pid_t tid;
	__s64 result;
	pthread_t thread;
};

static void begin_call(struct call *c)
{
	__atomic_store_n(&c->tid, gettid(), __ATOMIC_RELEASE);
}

static void wait_for_slot_call(pid_t pid, const pid_t *tid)
{
	do {
		sched_yield();
	} while (!sleeps_in_ioctl(pid, __atomic_load_n(tid, __ATOMIC_ACQUIRE),
				  KVM_SET_USER_MEMORY_REGION2));
}

static void end_call(struct call *c, __s64 result)
{
	c->result = result;
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
}

static bool has_ended(struct call *c)
{
	return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

static void *write_late_page(void *arg)
{
	struct call *c = arg;

	end_call(c, pwrite(c->g->env.fd, c->late->mem, PAGE, 0));
	return NULL;
}

static void *add_the_slot(void *arg)
{
	struct call *c = arg;

	begin_call(c);
	end_call(c, add_slot(c->g, FILL, 0, PAGES));
	return NULL;
}

static void *delete_the_slot(void *arg)
{
	struct call *c = arg;

	end_call(c, vmm_delete_slot(&c->g->vmm, SLOT));
	return NULL;
}

static void *read_late_page(void *arg)
{
	struct call *c = arg;

	end_call(c, vmm_read(&c->g->vmm.vcpu[1], LATE_GPA));
	return NULL;
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
	struct call writer = { g, &self->late }, adder = { g };
	int i;

	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, write_late_page, &writer));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, pthread_create(&adder.thread, NULL, add_the_slot, &adder));
	wait_for_slot_call(getpid(), &adder.tid);
	for (i = 0; i < 20; i++)
		EXPECT_EQ(0, plug_and_unplug(g));
	EXPECT_FALSE(has_ended(&adder));
	EXPECT_EQ(0, consumers_of(g->env.fd));

	ASSERT_EQ(0, late_page_give(&self->late));
	ASSERT_EQ(0, pthread_join(writer.thread, NULL));
	EXPECT_EQ(PAGE, writer.result);
	ASSERT_EQ(0, pthread_join(adder.thread, NULL));
	EXPECT_EQ(0, adder.result);
	EXPECT_EQ(1, consumers_of(g->env.fd));
	EXPECT_TRUE(guest_sees(g, 0, 0));
}

/* A process that waits for the file with its memslot can be killed. */
TEST_F(waits, killed_in_a_busy_file)
{
	struct call writer = { &self->g, &self->late };
	struct guest *g = &self->g;
	int ready[2], status;
	struct vmm vmm;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, write_late_page, &writer));
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
	wait_for_slot_call(pid, &pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(has_ended(&writer));

	ASSERT_EQ(0, late_page_give(&self->late));
	ASSERT_EQ(0, pthread_join(writer.thread, NULL));
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
	struct call reader = { g }, deleter = { g };
	struct kvm_pre_fault_memory range;
	int ret;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, LATE_SLOT, 0, LATE_GPA, PAGE, self->late.mem,
				  -1, 0));
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, read_late_page, &reader));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, pthread_create(&deleter.thread, NULL, delete_the_slot, &deleter));
	do {
		ret = pre_fault(g, &range, 0, PAGES);
	} while (!ret);
	EXPECT_EQ(-EAGAIN, ret);
	EXPECT_EQ(PAGES * PAGE, range.size);
	EXPECT_FALSE(has_ended(&deleter));

	/* a page can leave the file, too */
	EXPECT_EQ(0, punch(g->env.fd, 3, 1));

	ASSERT_EQ(0, late_page_give(&self->late));
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(0, reader.result);
	ASSERT_EQ(0, pthread_join(deleter.thread, NULL));
	EXPECT_EQ(0, deleter.result);
	EXPECT_EQ(0, consumers_of(g->env.fd));
}

static void *pre_fault_late_page(void *arg)
{
	struct kvm_pre_fault_memory range = { .gpa = LATE_GPA, .size = PAGE };
	struct call *c = arg;

	end_call(c, ioctl(vcpu_of(c->g)->fd, KVM_PRE_FAULT_MEMORY, &range) ? -errno : 0);
	return NULL;
}

/* A change of this parameter replaces the page tables of all VMs, and waits for no vCPU. */
TEST_F(waits, pre_fault_while_page_tables_go)
{
	struct guest *g = &self->g;
	struct call caller = { g };

	ASSERT_EQ(0, vmm_set_slot(&g->vmm, LATE_SLOT, 0, LATE_GPA, PAGE, self->late.mem,
				  -1, 0));
	ASSERT_EQ(0, pthread_create(&caller.thread, NULL, pre_fault_late_page, &caller));
	ASSERT_EQ(0, late_page_wait(&self->late));
	ASSERT_EQ(0, write_file(NX_HUGE_PAGES, "force"));
	ASSERT_EQ(0, write_file(NX_HUGE_PAGES, "off"));
	ASSERT_EQ(0, late_page_give(&self->late));
	ASSERT_EQ(0, pthread_join(caller.thread, NULL));
	EXPECT_EQ(0, caller.result);
}

TEST_HARNESS_MAIN
