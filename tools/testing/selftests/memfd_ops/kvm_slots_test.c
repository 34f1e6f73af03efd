// SPDX-License-Identifier: GPL-2.0
/*
 * Which memslots in memfds KVM accepts, and for which VMs, as documented in
 * Documentation/virt/kvm/memfd-slots.rst.
 */
#include "lib/harness.h"
#include "lib/kvm_fixtures.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4U
#endif

#define PAGES		16

static int enable(struct vmm *vmm, struct kvm_enable_cap cap)
{
	return ioctl(vmm->fd, KVM_ENABLE_CAP, &cap) ? -errno : 0;
}

/*
 * The capability
 */

#define SLOT_FLAGS	(KVM_MEM_MEMFD_KEEP_HOLES | KVM_MEM_MEMFD_PRIVATE_ONLY)

TEST(capability)
{
	struct vmm vmm;

	if (!has_kvm())
		SKIP(return, "needs KVM");
	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_SW_PROTECTED_VM, 0));
	EXPECT_EQ(SLOT_FLAGS, ioctl(vmm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_MEMFD_SLOTS));
	EXPECT_EQ(SLOT_FLAGS, vmm_check(&vmm, KVM_CAP_MEMFD_SLOTS));
	vmm_destroy(&vmm);

	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_DEFAULT_VM, 0));
	EXPECT_EQ(0, vmm_check(&vmm, KVM_CAP_MEMFD_SLOTS));
	vmm_destroy(&vmm);
}

/* A VM without the capability refuses memfds, as all VMs did before. */
TEST(enabled_or_refused)
{
	struct kvm_enable_cap cap;
	struct vmm vmm;
	size_t i;
	int fd;

	if (!has_kvm())
		SKIP(return, "needs KVM");
	fd = memfd_create("guest", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_SW_PROTECTED_VM, 0));
	for (i = 0; i < ARRAY_SIZE(cap.args); i++) {
		cap = (struct kvm_enable_cap){ .cap = KVM_CAP_MEMFD_SLOTS };
		cap.args[i] = 1;
		EXPECT_EQ(-EINVAL, enable(&vmm, cap));
	}
	cap = (struct kvm_enable_cap){ .cap = KVM_CAP_MEMFD_SLOTS, .flags = 1 };
	EXPECT_EQ(-EINVAL, enable(&vmm, cap));

	/* the failed calls have not enabled it */
	EXPECT_EQ(-EINVAL, vmm_set_slot(&vmm, SLOT, FILL, GPA, PAGE, NULL, fd, 0));
	EXPECT_EQ(-EINVAL, vmm_set_slot(&vmm, SLOT, KEEP, GPA, PAGE, NULL, fd, 0));
	EXPECT_EQ(-EINVAL, vmm_set_slot(&vmm, SLOT, VETO, GPA, PAGE, NULL, fd, 0));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&vmm, SLOT));
	EXPECT_EQ(0, consumers_of(fd));

	EXPECT_EQ(0, vmm_enable_memfd_slots(&vmm));
	EXPECT_EQ(0, vmm_set_slot(&vmm, SLOT, KEEP | VETO, GPA, PAGE, NULL, fd, 0));
	EXPECT_EQ(1, consumers_of(fd));
	vmm_destroy(&vmm);
	close(fd);
}

TEST(not_for_default_vm)
{
	struct vmm vmm;
	int fd;

	if (!has_kvm())
		SKIP(return, "needs KVM");
	fd = memfd_create("guest", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_DEFAULT_VM, 0));
	EXPECT_EQ(-EINVAL, vmm_enable_memfd_slots(&vmm));
	EXPECT_EQ(-EINVAL, vmm_set_slot(&vmm, SLOT, FILL, GPA, PAGE, NULL, fd, 0));
	EXPECT_EQ(0, consumers_of(fd));
	vmm_destroy(&vmm);
	close(fd);
}

/*
 * Refusals: of a memfd as of a guest_memfd, with the same errno
 */

FIXTURE(refused)
{
	struct guest g;
	int fd;		/* a file of PAGES pages, of the variant's kind */
};

FIXTURE_VARIANT(refused)
{
	bool guest_memfd;
};

FIXTURE_VARIANT_ADD(refused, memfd)
{
	.guest_memfd = false,
};

FIXTURE_VARIANT_ADD(refused, guest_memfd)
{
	.guest_memfd = true,
};

FIXTURE_SETUP(refused)
{
	struct guest *g = &self->g;
	int ret;

	ret = guest_setup(g, ROOM / PAGE);
	if (g->env.lacks)
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, ftruncate(g->env.fd, PAGES * PAGE));
	self->fd = variant->guest_memfd ? create_guest_memfd(&g->vmm, PAGES * PAGE) :
					  dup(g->env.fd);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(refused)
{
	close(self->fd);
	guest_teardown(&self->g);
}

/* There is no memslot, the memfd has no consumer, and a correct call still works. */
static void nothing_changed(struct __test_metadata *_metadata, struct guest *g, int fd)
{
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(g->env.fd));
	EXPECT_EQ(0, allocated(g->env.fd));
	ASSERT_EQ(0, set_region(&g->vmm, slot_region(g, fd, PAGES)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	EXPECT_EQ(0, guest_fill(g, PAGES - 1, 1));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 1));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, false));
	EXPECT_EQ(0, consumers_of(g->env.fd));
	ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));
}

TEST_F(refused, no_file)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = slot_region(g, dup(self->fd), PAGES);

	close(bad.guest_memfd);
	EXPECT_EQ(-EBADF, set_region(&g->vmm, bad));
	bad.guest_memfd = -1;
	EXPECT_EQ(-EBADF, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F(refused, misaligned_offset)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = slot_region(g, self->fd, PAGES);

	bad.memory_size = PAGE;
	bad.guest_memfd_offset = 1;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = PAGE + 512;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F(refused, offset_overflows)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = slot_region(g, self->fd, PAGES);

	/* the end is at 0, behind it, and where a file's offset is negative */
	bad.guest_memfd_offset = -bad.memory_size;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = -PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = 1ULL << 63;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F(refused, file_too_short)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = slot_region(g, self->fd, PAGES);

	bad.memory_size += PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad = slot_region(g, self->fd, PAGES);
	bad.guest_memfd_offset = PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.memory_size = PAGE;
	bad.guest_memfd_offset = PAGES * PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = ROOM;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F(refused, flags_of_ordinary_memslots)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = slot_region(g, self->fd, PAGES);

	bad.flags = FILL | KVM_MEM_LOG_DIRTY_PAGES;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.flags = FILL | KVM_MEM_READONLY;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F(refused, guest_address_in_use)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 a = slot_region(g, self->fd, PAGES), b = a;

	a.memory_size = PAGES / 2 * PAGE;
	ASSERT_EQ(0, set_region(&g->vmm, a));
	b.slot = SLOT + 1;
	b.memory_size = PAGE;
	b.guest_memfd_offset = a.memory_size;
	EXPECT_EQ(-EEXIST, set_region(&g->vmm, b));
	b.guest_phys_addr += a.memory_size - PAGE;
	EXPECT_EQ(-EEXIST, set_region(&g->vmm, b));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, b.slot));
	/* behind it is free */
	b.guest_phys_addr += PAGE;
	EXPECT_EQ(0, set_region(&g->vmm, b));
	EXPECT_EQ(0, vmm_delete_slot(&g->vmm, b.slot));
	EXPECT_EQ(0, vmm_delete_slot(&g->vmm, a.slot));
	nothing_changed(_metadata, g, self->fd);
}

/* An existing memslot can be deleted, but not changed. */
TEST_F(refused, changes)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 slot = slot_region(g, self->fd, PAGES), bad;
	int consumers;

	slot.memory_size = PAGES / 2 * PAGE;
	ASSERT_EQ(0, set_region(&g->vmm, slot));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, slot.memory_size, true));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	consumers = consumers_of(g->env.fd);

	/* the same once more, moved, of another size, at another offset */
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, slot));
	bad = slot;
	bad.guest_phys_addr += ROOM;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad = slot;
	bad.memory_size -= PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad = slot;
	bad.guest_memfd_offset += PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	/* other flags, and without the file */
	bad = slot;
	bad.flags = KEEP;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.flags = VETO;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.flags = FILL | KVM_MEM_LOG_DIRTY_PAGES;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.flags = 0;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));

	EXPECT_EQ(consumers, consumers_of(g->env.fd));
	EXPECT_TRUE(guest_sees(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, 4, 0));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, punch(g->env.fd, 0, PAGES));
	nothing_changed(_metadata, g, self->fd);
}

/* The flags are for memfds alone, and not for the old ioctl. */
TEST_F(kvm, flags_where_they_do_not_belong)
{
	const __u32 flags[] = { KVM_MEM_MEMFD_KEEP_HOLES, KVM_MEM_MEMFD_PRIVATE_ONLY };
	struct kvm_userspace_memory_region v1 = {
		.slot = SLOT,
		.guest_phys_addr = GPA,
		.memory_size = PAGES * PAGE,
		.userspace_addr = (uintptr_t)self->g.shared,
	};
	struct kvm_userspace_memory_region2 bad;
	struct guest *g = &self->g;
	int gmem, i;

	gmem = create_guest_memfd(&g->vmm, PAGES * PAGE);
	ASSERT_LE(0, gmem);
	for (i = 0; i < 2; i++) {
		bad = slot_region(g, gmem, PAGES);
		bad.flags = FILL | flags[i];
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		bad.flags = flags[i];
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		bad = slot_region(g, g->env.fd, PAGES);
		bad.flags = flags[i];
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		bad.flags = FILL | flags[i] | KVM_MEM_LOG_DIRTY_PAGES;
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		v1.flags = flags[i];
		EXPECT_EQ(-1, ioctl(g->vmm.fd, KVM_SET_USER_MEMORY_REGION, &v1));
		EXPECT_EQ(EINVAL, errno);
	}
	v1.flags = FILL;
	EXPECT_EQ(-1, ioctl(g->vmm.fd, KVM_SET_USER_MEMORY_REGION, &v1));
	EXPECT_EQ(EINVAL, errno);
	nothing_changed(_metadata, g, gmem);
	nothing_changed(_metadata, g, g->env.fd);
	close(gmem);
}

/*
 * Files
 */

TEST_F(kvm, other_files_refused)
{
	struct guest *g = &self->g;
	int files[7], i, n;
	struct vmm other;

	ASSERT_EQ(0, pipe(files));
	n = 2;
	files[n++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	files[n++] = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	files[n++] = dup(g->vmm.fd);
	/* on tmpfs, but without pages */
	files[n++] = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* a guest_memfd, but another VM's */
	ASSERT_EQ(0, vmm_create(&other, KVM_X86_SW_PROTECTED_VM, 0));
	files[n++] = create_guest_memfd(&other, PAGES * PAGE);

	for (i = 0; i < n; i++) {
		ASSERT_LE(0, files[i])
			TH_LOG("file %d", i);
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, slot_region(g, files[i], PAGES)))
			TH_LOG("file %d", i);
		close(files[i]);
	}
	vmm_destroy(&other);
	nothing_changed(_metadata, g, g->env.fd);
}

/* Open for reading and writing, and large enough, but not on tmpfs: refused. */
TEST_F(kvm, hugetlb_memfd_refused)
{
	struct guest *g = &self->g;
	int fd;

	fd = memfd_create("hugetlb", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd < 0 && access("/proc/sys/vm/nr_hugepages", F_OK))
		SKIP(return, "needs a kernel with hugetlbfs");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, HUGE));
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, slot_region(g, fd, PAGES)));
	nothing_changed(_metadata, g, g->env.fd);
	close(fd);
}

/* Not from memfd_create(2), but of the same kind. */
TEST_F(kvm, tmpfs_file_accepted)
{
	struct guest *g = &self->g;
	__u32 word = 0;
	int fd;

	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGES * PAGE));
	ASSERT_EQ(0, set_region(&g->vmm, slot_region(g, fd, PAGES)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	EXPECT_EQ(1, consumers_of(fd));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa_of(3), 33));
	EXPECT_EQ(sizeof(word), pread(fd, &word, sizeof(word), 3 * PAGE));
	EXPECT_EQ(33, word);
	close(fd);
}

TEST_F(kvm, needs_reading_and_writing)
{
	const struct {
		int flags, error;
	} ways[] = {
		{ O_RDONLY, -EACCES }, { O_WRONLY, -EACCES }, { O_PATH, -EBADF },
		{ O_RDWR, 0 },
	};
	struct guest *g = &self->g;
	char path[64];
	size_t i;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", g->env.fd);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		fd = open(path, ways[i].flags | O_CLOEXEC);
		ASSERT_LE(0, fd);
		EXPECT_EQ(ways[i].error, set_region(&g->vmm, slot_region(g, fd, PAGES)));
		if (!ways[i].error)
			EXPECT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
		nothing_changed(_metadata, g, g->env.fd);
		close(fd);
	}
}

TEST_HARNESS_MAIN
