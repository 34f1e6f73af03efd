// SPDX-License-Identifier: GPL-2.0
/*
 * Seals of a memfd, and the memslots in it.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#define PAGES	16

static int add_seal(int fd, int seal)
{
	return fcntl(fd, F_ADD_SEALS, seal) ? -errno : 0;
}

/* Seals treat a guest like a writable mapping. */
TEST_F(kvm, seals_against_writing)
{
	struct guest *g = &self->g;
	__u32 word = 0;

	ASSERT_EQ(0, add_slot(g, FILL, 0, PAGES));
	munmap(g->env.mem, ROOM);
	g->env.mem = NULL;
	EXPECT_EQ(-EBUSY, add_seal(g->env.fd, F_SEAL_WRITE));
	EXPECT_EQ(0, fcntl(g->env.fd, F_GET_SEALS));

	/* this seal applies to later memslots */
	EXPECT_EQ(0, add_seal(g->env.fd, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, put_slot(g, SLOT + 1, FILL, 100, 0, PAGES));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT + 1));
	EXPECT_EQ(1, consumers_of(g->env.fd));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa_of(3), 33));
	EXPECT_EQ(sizeof(word), pread(g->env.fd, &word, sizeof(word), 3 * PAGE));
	EXPECT_EQ(33, word);

	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, add_seal(g->env.fd, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, put_slot(g, SLOT, FILL, 0, 0, PAGES));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(g->env.fd));
}

static int resize(struct guest *g, size_t pages)
{
	return ftruncate(g->env.fd, pages * PAGE) ? -errno : 0;
}

/*
 * Seals come first: a call that a seal refuses does not reach any memslot, not even one
 * that would refuse it as well.
 */
TEST_F(kvm, size_seals)
{
	static const char asked[] = "populated 0 fallocated 2 missed 0 ";
	char before[512], after[512];
	struct guest *g = &self->g;
	struct test_env *env = &g->env;
	char page[PAGE] = "";

	ASSERT_EQ(0, resize(g, PAGES));
	ASSERT_EQ(0, add_slot(g, KEEP | VETO, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	ASSERT_EQ(0, guest_fill(g, PAGES - 1, 15));
	ASSERT_EQ(0, add_seal(env->fd, F_SEAL_GROW | F_SEAL_SHRINK));
	ASSERT_EQ(0, consumers_text(env->fd, before, sizeof(before)));
	EXPECT_NE(NULL, strstr(before, "fallocated 1 "));

	EXPECT_EQ(-EPERM, grow(env->fd, PAGES - 4, 8));
	EXPECT_EQ(-1, fallocate(env->fd, FALLOC_FL_KEEP_SIZE, 0, (PAGES + 1) * PAGE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pwrite(env->fd, page, PAGE, PAGES * PAGE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-EPERM, resize(g, PAGES + 1));
	EXPECT_EQ(-EPERM, resize(g, PAGES - 1));
	EXPECT_EQ(PAGES, file_pages(env->fd));
	EXPECT_EQ(PAGES, allocated(env->fd));
	ASSERT_EQ(0, consumers_text(env->fd, after, sizeof(after)));
	EXPECT_STREQ(before, after);
	EXPECT_TRUE(guest_sees(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 15));

	/* an allowed call reaches the memslot, and a hole revokes */
	ASSERT_EQ(0, punch(env->fd, 3, 2));
	EXPECT_TRUE(lacks(g, 3));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 15));
	EXPECT_EQ(0, grow(env->fd, 3, 1));
	EXPECT_TRUE(guest_sees(g, 3, 0));
	EXPECT_TRUE(lacks(g, 4));
	ASSERT_EQ(0, consumers_text(env->fd, after, sizeof(after)));
	EXPECT_NE(NULL, strstr(after, asked)) TH_LOG("%s", after);
	ASSERT_EQ(0, add_seal(env->fd, F_SEAL_SEAL));
	EXPECT_EQ(-EPERM, add_seal(env->fd, F_SEAL_FUTURE_WRITE));
}

TEST_HARNESS_MAIN
