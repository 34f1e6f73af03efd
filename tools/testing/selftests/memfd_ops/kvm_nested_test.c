// SPDX-License-Identifier: GPL-2.0
/*
 * A guest in the guest: KVM maps the file's pages for it in shadow page tables, which it
 * finds by the memslot.
 */
#include "lib/call.h"
#include "lib/harness.h"
#include "lib/kvm.h"
#include "lib/late_page.h"
#include "lib/nested.h"

#define PAGES	1024UL

/* Not in the first 2 MiB: there KVM's walk ends by itself if the memslot has no rmaps */
#define GOES	(HUGE_PAGES + 5)

/* A memslot behind the file's, for a guest to wait at */
#define LATE_SLOT	(SLOT + 1)
#define LATE_GPA	0x60000000U

FIXTURE(nested)
{
	struct guest g;
	struct late_page late;
};

FIXTURE_VARIANT(nested)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(nested, small_pages) { .huge = false };
FIXTURE_VARIANT_ADD(nested, huge_pages) { .huge = true };

FIXTURE_SETUP(nested)
{
	struct guest *g = &self->g;
	int ret;

	g->vmm = (struct vmm)VMM_INIT;
	self->late = (struct late_page)LATE_PAGE_INIT;
	if (!has_kvm())
		SKIP(return, "needs KVM");
	ASSERT_EQ(0, env_setup_memory(&g->env, PAGES));
	stay_on_one_cpu(false);
	if (env_thp(&g->env, variant->huge ? "force" : "never") && variant->huge)
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, guest_create(g, 2));
	ret = nested_prepare(&g->vmm, 0);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "needs nested SVM");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(nested)
{
	guest_teardown(&self->g);
	late_page_destroy(&self->late);
}

/* The nested guest loses a page as the guest does, and its neighbours stay. */
TEST_F(nested, punch)
{
	struct guest *g = &self->g;
	__s64 huge;
	size_t i;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(g->env.fd, 0, PAGES));
	ASSERT_EQ(0, nested_enter(&g->vmm, 0));
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	huge = huge_entries(g);
	EXPECT_EQ(variant->huge, huge > 0);

	ASSERT_EQ(0, punch(g->env.fd, 5, 1));
	for (i = 0; i < 16; i++) {
		if (i == 5) {
			EXPECT_TRUE(lacks(g, i));
		} else {
			EXPECT_TRUE(guest_sees(g, i, 10 + i));
		}
	}
	ASSERT_EQ(0, grow(g->env.fd, 5, 1));
	EXPECT_TRUE(guest_sees(g, 5, 0));

	/* by its address, the file has gone and come back */
	ASSERT_EQ(0, ftruncate(g->env.fd, 0));
	EXPECT_TRUE(lacks(g, 0));
	ASSERT_EQ(0, ftruncate(g->env.fd, PAGES * PAGE));
	ASSERT_EQ(0, grow(g->env.fd, 0, 1));
	EXPECT_TRUE(guest_sees(g, 0, 0));
}

/* The list of mapped pages has those of the guest, and those of its guest. */
TEST_F(nested, list_of_mapped_pages)
{
	struct guest *g = &self->g;
	int fd = g->env.fd;

	ASSERT_EQ(0, add_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(fd, 0, PAGES));
	EXPECT_TRUE(consumers_map(fd, ""));
	ASSERT_EQ(0, guest_fill(g, 1, 10));
	ASSERT_EQ(0, guest_fill(g, 8, 10));
	EXPECT_TRUE(consumers_map(fd, variant->huge ? "[0, 512)" : "[1, 2) [8, 9)"));

	ASSERT_EQ(0, nested_enter(&g->vmm, 0));
	ASSERT_EQ(0, guest_fill(g, 4, 10));
	ASSERT_EQ(0, guest_fill(g, 5, 10));
	ASSERT_EQ(0, guest_fill(g, 9, 10));
	ASSERT_EQ(0, guest_fill(g, GOES, 10));
	if (variant->huge) {
		EXPECT_TRUE(consumers_map(fd, "[0, 1024)"));
		ASSERT_EQ(0, ftruncate(fd, HUGE));
		EXPECT_TRUE(consumers_map(fd, "[0, 512)"));
	} else {
		EXPECT_TRUE(consumers_map(fd, "[1, 2) [4, 6) [8, 10) [517, 518)"));
		ASSERT_EQ(0, punch(fd, 5, 3));
		EXPECT_TRUE(consumers_map(fd, "[1, 2) [4, 5) [8, 10) [517, 518)"));
	}
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_TRUE(consumers_map(fd, ""));
}

static __s64 delete_slot(void *arg)
{
	return vmm_delete_slot(arg, SLOT);
}

static __s64 read_late_page(void *arg)
{
	struct vmm *vmm = arg;

	return vmm_read(&vmm->vcpu[1], LATE_GPA);
}

/*
 * The other vCPU waits in KVM for a page of its own, so that the memslot cannot go: KVM
 * has put a copy in its place, and waits. Meanwhile the VM gets its first nested guest,
 * for which KVM gives all memslots of that moment what it needs to find shadow pages; and
 * then the file loses a page.
 */
static void punch_while_the_slot_goes(struct __test_metadata *_metadata,
				      struct guest *g, struct late_page *late, int fd)
{
	struct call reader = { read_late_page, &g->vmm }, deleter = { delete_slot, &g->vmm };
	struct kvm_pre_fault_memory range;
	int ret;

	ASSERT_EQ(0, set_region(&g->vmm, slot_region(g, fd, PAGES)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	ASSERT_EQ(0, guest_fill(g, GOES, 15));
	ASSERT_EQ(0, late_page_create(late));
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, LATE_SLOT, 0, LATE_GPA, PAGE, late->mem, -1, 0));
	ASSERT_EQ(0, call_begin(&reader));
	ASSERT_EQ(0, late_page_wait(late));
	ASSERT_EQ(0, call_begin(&deleter));
	do {
		ret = pre_fault(g, &range, GOES, 1);
	} while (!ret);
	EXPECT_EQ(-EAGAIN, ret);	/* the copy is there */

	EXPECT_EQ(0, nested_enter(&g->vmm, 0));
	EXPECT_EQ(0, punch(fd, GOES, 1));
	EXPECT_FALSE(call_has_ended(&deleter));

	ASSERT_EQ(0, late_page_give(late));
	EXPECT_EQ(0, call_end(&reader));
	EXPECT_EQ(0, call_end(&deleter));
	EXPECT_TRUE(lacks(g, GOES));
}

TEST_F(nested, punch_while_the_slot_goes)
{
	struct guest *g = &self->g;

	punch_while_the_slot_goes(_metadata, g, &self->late, g->env.fd);
	EXPECT_EQ(0, consumers_of(g->env.fd));
}

/* The file of one VM alone: KVM looks at the memslot that it was created with. */
TEST_F(nested, guest_memfd_while_the_slot_goes)
{
	int fd = create_guest_memfd(&self->g.vmm, PAGES * PAGE);

	ASSERT_LE(0, fd);
	punch_while_the_slot_goes(_metadata, &self->g, &self->late, fd);
	close(fd);
}

TEST_HARNESS_MAIN
