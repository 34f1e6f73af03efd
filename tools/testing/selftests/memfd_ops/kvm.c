// SPDX-License-Identifier: GPL-2.0
/*
 * Memslots in memfds, as a VMM and its guest see them: what is promised in
 * Documentation/virt/kvm/memfd-slots.rst.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include <memfd_ops/vmm.h>
#include "test_util.h"
#include "../kselftest_harness.h"

#define GPA	0x40000000UL	/* where tests put page 0: a multiple of 2 MiB */
#define WORDS	(PAGE / sizeof(__u32))
#define ROOM	(256UL << 20)	/* the size of the file, which begins as a hole */
#define SLOT	1		/* the first one behind the low memory */

/* The flags of a memslot, by what it does to holes */
#define FILL	((__u32)KVM_MEM_GUEST_MEMFD)
#define KEEP	((__u32)(KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_KEEP_HOLES))
#define VETO	((__u32)(KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_PRIVATE_ONLY))

#ifndef EHWPOISON
#define EHWPOISON	133
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4U
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif

/*
 * A VM that may have memslots in memfds, but has none yet; a memfd; and memory
 * for the guest's shared side. Page n of either is for the guest's page n.
 */
struct guest {
	struct vmm vmm;
	struct rig r;		/* the memfd, without devices */
	unsigned char *shared;
};

/* @size bytes at a multiple of 2 MiB: of the file, or of nothing with -1. */
static void *map_aligned(int fd, size_t size)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *room = mmap(NULL, size + HUGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return room;
	room = (void *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
	return mmap(room, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
}

static int guest_setup(struct guest *g)
{
	int ret;

	g->vmm = (struct vmm)VMM_INIT;
	g->r = (struct rig){
		.dev = { MDMA_INIT, MDMA_INIT },
		.pages = ROOM / PAGE,
		.fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	};
	if (g->r.fd < 0 || ftruncate(g->r.fd, ROOM))
		return -errno;
	g->r.mem = map_aligned(g->r.fd, ROOM);
	g->shared = map_aligned(-1, ROOM);
	if (g->r.mem == MAP_FAILED || g->shared == MAP_FAILED)
		return -errno;
	ret = vmm_create(&g->vmm, KVM_X86_SW_PROTECTED_VM, 1);
	return ret ? ret : vmm_enable_memfd_slots(&g->vmm);
}

static void guest_teardown(struct guest *g)
{
	vmm_destroy(&g->vmm);
	rig_teardown(&g->r);
	munmap(g->shared, ROOM);
}

static struct vmm_vcpu *vcpu_of(struct guest *g)
{
	return &g->vmm.vcpu[0];
}

static __u32 gpa(size_t page)
{
	return GPA + page * PAGE;
}

/* Put @pages pages of the file, from @first on, at the guest's page @at. */
static int put_slot(struct guest *g, __u32 slot, __u32 flags, size_t at,
		    size_t first, size_t pages)
{
	return vmm_set_slot(&g->vmm, slot, flags, gpa(at), pages * PAGE,
			    g->shared + at * PAGE, g->r.fd, first * PAGE);
}

/* The usual memslot: page n is page n, and private. */
static int private_slot(struct guest *g, __u32 flags, size_t first, size_t pages)
{
	int ret = put_slot(g, SLOT, flags, first, first, pages);

	return ret ? ret : vmm_set_private(&g->vmm, gpa(first), pages * PAGE, true);
}

/* The guest's side of fill(): each word of a page is @value, which may be 0. */
static int guest_fill(struct guest *g, size_t page, __u32 value)
{
	return vmm_fill(vcpu_of(g), gpa(page), WORDS, value);
}

static bool guest_sees(struct guest *g, size_t page, __u32 value)
{
	return !vmm_compare(vcpu_of(g), gpa(page), WORDS, value);
}

/* The same through a mapping. */
static void put_words(unsigned char *addr, __u32 value)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		((__u32 *)addr)[i] = value;
}

static bool has_words(const unsigned char *addr, __u32 value)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		if (((const __u32 *)addr)[i] != value)
			return false;
	return true;
}

/* How many faults of the guest KVM has mapped something for. */
static __s64 faults(struct guest *g)
{
	return vmm_vcpu_stat(vcpu_of(g), "pf_fixed");
}

static __s64 huge_entries(struct guest *g)
{
	return vmm_stat(&g->vmm, "pages_2m");
}

/*
 * Did the op that ended with @ret stop with @error, and a KVM_EXIT_MEMORY_FAULT
 * for the 4 KiB at that address, which are private?
 */
static bool stopped(struct vmm_vcpu *vcpu, __s64 ret, int error, __u64 addr)
{
	struct kvm_run *run = vcpu->run;

	if (ret == error && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	    run->memory_fault.gpa == addr && run->memory_fault.size == PAGE &&
	    run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE)
		return true;
	note("the op ended with %lld, exit reason %u", ret, run->exit_reason);
	if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		note("gpa 0x%llx size 0x%llx flags 0x%llx", run->memory_fault.gpa,
		     run->memory_fault.size, run->memory_fault.flags);
	return false;
}

/* Does the guest stop at that page for want of it? */
static bool lacks(struct guest *g, size_t page)
{
	return stopped(vcpu_of(g), vmm_read(vcpu_of(g), gpa(page)), -EFAULT, gpa(page));
}

/* How many memslots follow these pages of some file. */
static int followers_of(size_t first, size_t pages)
{
	FILE *file = fopen("/sys/kernel/debug/memfd_ops", "re");
	char *line = NULL, want[64];
	size_t size = 0;
	int found = 0;

	if (!file)
		return -errno;
	snprintf(want, sizeof(want), "  kvm pages %zu-%zu ", first, first + pages - 1);
	while (getline(&line, &size, file) > 0)
		found += !strncmp(line, want, strlen(want));
	free(line);
	fclose(file);
	return found;
}

static int create_guest_memfd(struct vmm *vmm, __u64 size)
{
	struct kvm_create_guest_memfd create = { .size = size };
	int fd = ioctl(vmm->fd, KVM_CREATE_GUEST_MEMFD, &create);

	return fd < 0 ? -errno : fd;
}

static int set_region(struct vmm *vmm, struct kvm_userspace_memory_region2 region)
{
	return ioctl(vmm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

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

	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_SW_PROTECTED_VM, 0));
	EXPECT_EQ(SLOT_FLAGS, ioctl(vmm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_MEMFD_SLOTS));
	EXPECT_EQ(SLOT_FLAGS, vmm_check(&vmm, KVM_CAP_MEMFD_SLOTS));
	vmm_destroy(&vmm);

	ASSERT_EQ(0, vmm_create(&vmm, KVM_X86_DEFAULT_VM, 0));
	EXPECT_EQ(0, vmm_check(&vmm, KVM_CAP_MEMFD_SLOTS));
	vmm_destroy(&vmm);
}

/* A VM that does not ask for it refuses memfds, as it did before there was this. */
TEST(enabled_or_refused)
{
	struct kvm_enable_cap cap;
	struct vmm vmm;
	size_t i;
	int fd;

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

	/* so it is not enabled */
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
 * What is refused: a memfd is, where a guest_memfd would be, with the same errno
 */

#define PAGES	16

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

	ASSERT_EQ(0, guest_setup(g));
	ASSERT_EQ(0, ftruncate(g->r.fd, PAGES * PAGE));
	self->fd = variant->guest_memfd ? create_guest_memfd(&g->vmm, PAGES * PAGE) :
					  dup(g->r.fd);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(refused)
{
	close(self->fd);
	guest_teardown(&self->g);
}

/* A memslot of the whole file, with nothing wrong. */
static struct kvm_userspace_memory_region2 right(struct guest *g, int fd)
{
	return (struct kvm_userspace_memory_region2) {
		.slot = SLOT,
		.flags = FILL,
		.guest_phys_addr = GPA,
		.memory_size = PAGES * PAGE,
		.userspace_addr = (uintptr_t)g->shared,
		.guest_memfd = fd,
	};
}

/* No memslot is there, nobody follows the memfd, and it is not too late. */
static void nothing_changed(struct __test_metadata *_metadata, struct guest *g, int fd)
{
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(g->r.fd));
	EXPECT_EQ(0, allocated(g->r.fd));
	ASSERT_EQ(0, set_region(&g->vmm, right(g, fd)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	EXPECT_EQ(0, guest_fill(g, PAGES - 1, 1));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 1));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, false));
	EXPECT_EQ(0, consumers_of(g->r.fd));
	ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));
}

TEST_F_TIMEOUT(refused, no_file, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = right(g, dup(self->fd));

	close(bad.guest_memfd);
	EXPECT_EQ(-EBADF, set_region(&g->vmm, bad));
	bad.guest_memfd = -1;
	EXPECT_EQ(-EBADF, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F_TIMEOUT(refused, misaligned_offset, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = right(g, self->fd);

	bad.memory_size = PAGE;
	bad.guest_memfd_offset = 1;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = PAGE + 512;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F_TIMEOUT(refused, offset_overflows, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = right(g, self->fd);

	/* the end is at 0, behind it, and where a file's offset is negative */
	bad.guest_memfd_offset = -bad.memory_size;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = -PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = 1ULL << 63;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F_TIMEOUT(refused, file_too_short, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = right(g, self->fd);

	bad.memory_size += PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad = right(g, self->fd);
	bad.guest_memfd_offset = PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.memory_size = PAGE;
	bad.guest_memfd_offset = PAGES * PAGE;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.guest_memfd_offset = ROOM;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F_TIMEOUT(refused, flags_of_ordinary_memslots, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 bad = right(g, self->fd);

	bad.flags = FILL | KVM_MEM_LOG_DIRTY_PAGES;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	bad.flags = FILL | KVM_MEM_READONLY;
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
	nothing_changed(_metadata, g, self->fd);
}

TEST_F_TIMEOUT(refused, guest_address_in_use, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 a = right(g, self->fd), b = a;

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

/* A memslot that is there can be deleted, and nothing else. */
TEST_F_TIMEOUT(refused, changes, 60)
{
	struct guest *g = &self->g;
	struct kvm_userspace_memory_region2 slot = right(g, self->fd), bad;
	int consumers;

	slot.memory_size = PAGES / 2 * PAGE;
	ASSERT_EQ(0, set_region(&g->vmm, slot));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, slot.memory_size, true));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	consumers = consumers_of(g->r.fd);

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

	EXPECT_EQ(consumers, consumers_of(g->r.fd));
	EXPECT_TRUE(guest_sees(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, 4, 0));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));
	nothing_changed(_metadata, g, self->fd);
}

FIXTURE(kvm)
{
	struct guest g;
};

FIXTURE_SETUP(kvm)
{
	ASSERT_EQ(0, guest_setup(&self->g));
}

FIXTURE_TEARDOWN(kvm)
{
	guest_teardown(&self->g);
}

/* The flags are about memfds: for nothing else, and not by the ioctl of old. */
TEST_F_TIMEOUT(kvm, flags_where_they_do_not_belong, 60)
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
		bad = right(g, gmem);
		bad.flags = FILL | flags[i];
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		bad.flags = flags[i];
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, bad));
		bad = right(g, g->r.fd);
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
	nothing_changed(_metadata, g, g->r.fd);
	close(gmem);
}

TEST_F_TIMEOUT(kvm, other_files_refused, 60)
{
	struct guest *g = &self->g;
	int files[7], i, n;
	struct vmm other;

	ASSERT_EQ(0, pipe(files));
	n = 2;
	files[n++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	files[n++] = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	files[n++] = dup(g->vmm.fd);
	/* on tmpfs, but nothing with pages */
	files[n++] = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* a guest_memfd, but another VM's */
	ASSERT_EQ(0, vmm_create(&other, KVM_X86_SW_PROTECTED_VM, 0));
	files[n++] = create_guest_memfd(&other, PAGES * PAGE);

	for (i = 0; i < n; i++) {
		ASSERT_LE(0, files[i])
			TH_LOG("file %d", i);
		EXPECT_EQ(-EINVAL, set_region(&g->vmm, right(g, files[i])))
			TH_LOG("file %d", i);
		close(files[i]);
	}
	vmm_destroy(&other);
	nothing_changed(_metadata, g, g->r.fd);
}

/* A memfd, open for both, large enough: and refused, for it is not on tmpfs. */
TEST_F_TIMEOUT(kvm, hugetlb_memfd_refused, 60)
{
	struct guest *g = &self->g;
	int fd;

	fd = memfd_create("hugetlb", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd < 0 && access("/proc/sys/vm/nr_hugepages", F_OK))
		SKIP(return, "needs a kernel with hugetlbfs");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, HUGE));
	EXPECT_EQ(-EINVAL, set_region(&g->vmm, right(g, fd)));
	nothing_changed(_metadata, g, g->r.fd);
	close(fd);
}

/* Not from memfd_create(2), but of the same kind. */
TEST_F_TIMEOUT(kvm, tmpfs_file_accepted, 60)
{
	struct guest *g = &self->g;
	__u32 word = 0;
	int fd;

	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGES * PAGE));
	ASSERT_EQ(0, set_region(&g->vmm, right(g, fd)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	EXPECT_EQ(1, consumers_of(fd));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa(3), 33));
	EXPECT_EQ(sizeof(word), pread(fd, &word, sizeof(word), 3 * PAGE));
	EXPECT_EQ(33, word);
	close(fd);
}

TEST_F_TIMEOUT(kvm, needs_reading_and_writing, 60)
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

	snprintf(path, sizeof(path), "/proc/self/fd/%d", g->r.fd);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		fd = open(path, ways[i].flags | O_CLOEXEC);
		ASSERT_LE(0, fd);
		EXPECT_EQ(ways[i].error, set_region(&g->vmm, right(g, fd)));
		if (!ways[i].error)
			EXPECT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
		nothing_changed(_metadata, g, g->r.fd);
		close(fd);
	}
}

static int add_seal(int fd, int seal)
{
	return fcntl(fd, F_ADD_SEALS, seal) ? -errno : 0;
}

/* A guest writes as a writable mapping does: by the same rules. */
TEST_F_TIMEOUT(kvm, seals_against_writing, 60)
{
	struct guest *g = &self->g;
	__u32 word = 0;

	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	munmap(g->r.mem, ROOM);
	g->r.mem = NULL;
	EXPECT_EQ(-EBUSY, add_seal(g->r.fd, F_SEAL_WRITE));
	EXPECT_EQ(0, fcntl(g->r.fd, F_GET_SEALS));

	/* this one is for those who come later */
	EXPECT_EQ(0, add_seal(g->r.fd, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, put_slot(g, SLOT + 1, FILL, 100, 0, PAGES));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT + 1));
	EXPECT_EQ(1, consumers_of(g->r.fd));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa(3), 33));
	EXPECT_EQ(sizeof(word), pread(g->r.fd, &word, sizeof(word), 3 * PAGE));
	EXPECT_EQ(33, word);

	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, add_seal(g->r.fd, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, put_slot(g, SLOT, FILL, 0, 0, PAGES));
	EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(g->r.fd));
}

static int resize(struct guest *g, size_t pages)
{
	return ftruncate(g->r.fd, pages * PAGE) ? -errno : 0;
}

/*
 * What a seal refuses, no memslot is asked about, nor told of; also not one that
 * would have a say, and would say the same.
 */
TEST_F_TIMEOUT(kvm, size_seals, 60)
{
	static const char asked[] = "populated 0 fallocated 2\n";
	char before[512], after[512];
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	char page[PAGE] = "";

	ASSERT_EQ(0, resize(g, PAGES));
	ASSERT_EQ(0, private_slot(g, KEEP | VETO, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	ASSERT_EQ(0, guest_fill(g, PAGES - 1, 15));
	ASSERT_EQ(0, add_seal(r->fd, F_SEAL_GROW | F_SEAL_SHRINK));
	ASSERT_EQ(0, consumers_text(r->fd, before, sizeof(before)));
	EXPECT_NE(NULL, strstr(before, "fallocated 1\n"));

	EXPECT_EQ(-EPERM, grow(r->fd, PAGES - 4, 8));
	EXPECT_EQ(-1, fallocate(r->fd, FALLOC_FL_KEEP_SIZE, 0, (PAGES + 1) * PAGE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pwrite(r->fd, page, PAGE, PAGES * PAGE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-EPERM, resize(g, PAGES + 1));
	EXPECT_EQ(-EPERM, resize(g, PAGES - 1));
	EXPECT_EQ(PAGES, file_pages(r->fd));
	EXPECT_EQ(PAGES, allocated(r->fd));
	ASSERT_EQ(0, consumers_text(r->fd, after, sizeof(after)));
	EXPECT_STREQ(before, after);
	EXPECT_TRUE(guest_sees(g, 3, 33));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 15));

	/* what is allowed is asked for, and a hole revokes */
	ASSERT_EQ(0, punch(r->fd, 3, 2));
	EXPECT_TRUE(lacks(g, 3));
	EXPECT_TRUE(guest_sees(g, PAGES - 1, 15));
	EXPECT_EQ(0, grow(r->fd, 3, 1));
	EXPECT_TRUE(guest_sees(g, 3, 0));
	EXPECT_TRUE(lacks(g, 4));
	ASSERT_EQ(0, consumers_text(r->fd, after, sizeof(after)));
	EXPECT_NE(NULL, strstr(after, asked)) TH_LOG("%s", after);
	ASSERT_EQ(0, add_seal(r->fd, F_SEAL_SEAL));
	EXPECT_EQ(-EPERM, add_seal(r->fd, F_SEAL_FUTURE_WRITE));
}

/*
 * Guest and file
 */

TEST_F_TIMEOUT(kvm, guest_and_file_share_pages, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	__u32 words[WORDS];
	size_t i;

	/* the guest's pages [0, 16) are the file's [100, 116) */
	ASSERT_EQ(0, put_slot(g, SLOT, FILL, 0, 100, PAGES));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
	EXPECT_EQ(1, consumers_of(r->fd));
	EXPECT_EQ(1, followers_of(100, PAGES));

	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 1000 + i));
	for (i = 0; i < PAGES; i++) {
		EXPECT_TRUE(has_words(at(r, 100 + i), 1000 + i));
		ASSERT_EQ(PAGE, pread(r->fd, words, PAGE, (100 + i) * PAGE));
		EXPECT_TRUE(has_words((void *)words, 1000 + i));
	}
	for (i = 0; i < PAGES; i += 2) {
		put_words(at(r, 100 + i), 2000 + i);
		put_words((void *)words, 2001 + i);
		ASSERT_EQ(PAGE, pwrite(r->fd, words, PAGE, (101 + i) * PAGE));
	}
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 2000 + i));

	/* and so do its own copies, and nothing else has changed */
	EXPECT_EQ(0, vmm_copy(vcpu_of(g), gpa(3), gpa(9), WORDS));
	EXPECT_TRUE(has_words(at(r, 103), 2009));
	EXPECT_EQ(PAGES, allocated(r->fd));
	EXPECT_TRUE(all(g->shared, PAGES * PAGE, 0));
}

/* 100 times, from one side to the other, each of which the guest writes to. */
TEST_F_TIMEOUT(kvm, both_sides_keep_their_data, 60)
{
	struct guest *g = &self->g;
	__u32 round;

	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 5, 1000));
	for (round = 0; round < 100; round++) {
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, false));
		ASSERT_TRUE(guest_sees(g, 5, round ? 2000 + round - 1 : 0));
		ASSERT_EQ(0, guest_fill(g, 5, 2000 + round));
		ASSERT_TRUE(has_words(at(&g->r, 5), 1000 + round));

		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
		ASSERT_TRUE(guest_sees(g, 5, 1000 + round));
		ASSERT_EQ(0, guest_fill(g, 5, 1001 + round));
		ASSERT_TRUE(has_words(g->shared + 5 * PAGE, 2000 + round));
	}
	EXPECT_EQ(1, allocated(g->r.fd));
}

/* The shared memory is the same file's: there is but one set of pages. */
TEST_F_TIMEOUT(kvm, private_and_shared_in_one_file, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i;

	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, KEEP, gpa(0), PAGES * PAGE, r->mem,
				  r->fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES / 2 * PAGE, false));
	for (i = 0; i < PAGES; i++) {
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
		ASSERT_EQ(0, guest_fill(g, i, 50 + i));
	}
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 50 + i));
	EXPECT_EQ(PAGES, allocated(r->fd));

	/* pages 2 to 7 are shared now; a hole across the border, from both sides */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(2), 6 * PAGE, false));
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(guest_sees(g, i, 50 + i));
	ASSERT_EQ(0, punch(r->fd, 6, 4));
	EXPECT_TRUE(lacks(g, 8));
	EXPECT_TRUE(lacks(g, 9));
	EXPECT_EQ(PAGES - 4, allocated(r->fd));
	EXPECT_TRUE(guest_sees(g, 6, 0));
	EXPECT_TRUE(guest_sees(g, 7, 0));
	for (i = 0; i < PAGES; i++)
		if (i < 6 || i > 9)
			EXPECT_TRUE(guest_sees(g, i, 50 + i));
	/* those two, a mapping has filled: the private side has them as well */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
	EXPECT_TRUE(guest_sees(g, 7, 0));
	EXPECT_TRUE(lacks(g, 8));
}

/* The guest's pages are as they were, wherever they are now. */
static bool sees_all(struct guest *g, unsigned int seed)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (!guest_sees(g, i, seed + i))
			return false;
	return true;
}

/* KVM holds no references: its pages go to swap like others, and come back. */
TEST_F_TIMEOUT(kvm, swap, 120)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i;
	int round;

	rig_stay_on_one_cpu(true);
	ASSERT_EQ(0, rig_swap(r));
	for (i = 0; i < PAGES; i++)
		put_words(at(r, i), 10 + i);
	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	ASSERT_TRUE(sees_all(g, 10));
	for (round = 0; round < 3; round++) {
		/* what only the guest has written must not be lost */
		for (i = 0; i < PAGES; i++) {
			EXPECT_TRUE(has_words(at(r, i), (round ? 19 + round : 10) + i));
			ASSERT_EQ(0, guest_fill(g, i, 20 + round + i));
		}
		ASSERT_EQ(0, madvise(at(r, 0), PAGES * PAGE, MADV_PAGEOUT));
		EXPECT_EQ(0, in_core_pages(at(r, 0), PAGES));
		EXPECT_EQ(PAGES, allocated(r->fd));
		EXPECT_TRUE(sees_all(g, 20 + round));
		EXPECT_EQ(PAGES, in_core_pages(at(r, 0), PAGES));
	}
	/* swapped out, and punched: nothing comes back */
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(has_words(at(r, i), 22 + i));
	ASSERT_EQ(0, madvise(at(r, 0), PAGES * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(r, 0), PAGES));
	ASSERT_EQ(0, punch(r->fd, 0, 2));
	EXPECT_TRUE(guest_sees(g, 0, 0));
	ASSERT_EQ(0, swapoff("/dev/ram0"));
	EXPECT_TRUE(guest_sees(g, 2, 20 + 2 + 2));
}

/* The disk that is used as swap fails each request, or none. */
static void break_swap(bool on)
{
	mdma_write_file("/sys/block/ram0/make-it-fail", on ? "1" : "0");
	mdma_write_file(FAULTY("_make_request/verbose"), "0");
	mdma_write_file(FAULTY("_make_request/times"), on ? "-1" : "1");
	mdma_write_file(FAULTY("_make_request/probability"), on ? "100" : "0");
}

static int pre_fault(struct guest *g, struct kvm_pre_fault_memory *range,
		     size_t first, size_t pages)
{
	*range = (struct kvm_pre_fault_memory){
		.gpa = gpa(first),
		.size = pages * PAGE,
	};
	return ioctl(vcpu_of(g)->fd, KVM_PRE_FAULT_MEMORY, range) ? -errno : 0;
}

/* What swap does not give back is lost, as with memory that fails, and is said so. */
TEST_F_TIMEOUT(kvm, swap_that_fails, 60)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i;

	rig_stay_on_one_cpu(true);
	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, rig_no_readahead(r));
	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		put_words(at(r, i), 10 + i);
	ASSERT_TRUE(sees_all(g, 10));
	ASSERT_EQ(0, madvise(at(r, 0), 8 * PAGE, MADV_PAGEOUT));
	ASSERT_EQ(0, in_core_pages(at(r, 0), 8));

	break_swap(true);
	EXPECT_EQ(-EHWPOISON, pre_fault(g, &range, 3, 1));
	EXPECT_TRUE(stopped(vcpu_of(g), vmm_read(vcpu_of(g), gpa(4)), -EHWPOISON, gpa(4)));
	break_swap(false);

	/* for good; the other pages are not concerned, nor one that is put in its place */
	EXPECT_EQ(-EHWPOISON, pre_fault(g, &range, 3, 1));
	EXPECT_EQ(-EHWPOISON, vmm_read(vcpu_of(g), gpa(4)));
	for (i = 5; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
	ASSERT_EQ(0, punch(r->fd, 3, 2));
	EXPECT_TRUE(guest_sees(g, 3, 0));
	EXPECT_TRUE(guest_sees(g, 4, 0));
}

/* Nor do they keep memory from being compacted, or taken out of use. */
TEST_F_TIMEOUT(kvm, migration, 120)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	__u64 pfn;
	size_t i;

	rig_stay_on_one_cpu(true);
	for (i = 0; i < PAGES; i++)
		put_words(at(r, i), 10 + i);
	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 30 + i));
	for (i = 0; i < 3; i++) {
		pfn = pfn_of(at(r, i));
		ASSERT_NE(0, pfn);
		ASSERT_EQ(0, madvise(at(r, i), PAGE, MADV_SOFT_OFFLINE));
		EXPECT_NE(pfn, pfn_of(at(r, i)));
		/* both sides have the new page, and no other */
		EXPECT_TRUE(guest_sees(g, i, 30 + i));
		ASSERT_EQ(0, guest_fill(g, i, 60 + i));
		EXPECT_TRUE(has_words(at(r, i), 60 + i));
		ASSERT_EQ(0, guest_fill(g, i, 30 + i));
	}
	ASSERT_EQ(0, mdma_write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_TRUE(sees_all(g, 30));
	/* this would replace many pages by one, and is refused */
	EXPECT_EQ(-1, madvise(r->mem, HUGE, MADV_COLLAPSE));
	EXPECT_TRUE(sees_all(g, 30));
	/* KVM is the last that has them */
	madvise(at(r, 0), PAGES * PAGE, MADV_DONTNEED);
	ASSERT_EQ(0, mdma_write_file("/proc/sys/vm/drop_caches", "3"));
	EXPECT_TRUE(sees_all(g, 30));
}

/*
 * Holes: what holds for both kinds of memslots
 */

FIXTURE(holes)
{
	struct guest g;
};

FIXTURE_VARIANT(holes)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(holes, fill)
{
	.flags = FILL,
};

FIXTURE_VARIANT_ADD(holes, keep)
{
	.flags = KEEP,
};

FIXTURE_SETUP(holes)
{
	ASSERT_EQ(0, guest_setup(&self->g));
}

FIXTURE_TEARDOWN(holes)
{
	guest_teardown(&self->g);
}

/* Is that page a hole to the guest, in the way of such a memslot? */
static bool is_hole(struct guest *g, __u32 flags, size_t page)
{
	size_t before = allocated(g->r.fd);

	if (flags == KEEP)
		return lacks(g, page) && allocated(g->r.fd) == before;
	return guest_sees(g, page, 0) && allocated(g->r.fd) == before + 1;
}

TEST_F_TIMEOUT(holes, pages_are_cleared, 60)
{
	struct guest *g = &self->g;
	size_t i;

	dirty_free_memory(32 << 20);
	ASSERT_EQ(0, grow(g->r.fd, 0, PAGES));
	ASSERT_EQ(0, private_slot(g, variant->flags, 0, 3 * PAGES));
	ASSERT_EQ(0, grow(g->r.fd, PAGES, PAGES));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(0), 2 * PAGES * WORDS, 0));
	EXPECT_EQ(2 * PAGES, allocated(g->r.fd));

	/* of a page that the guest or the file writes one word to, the rest */
	dirty_free_memory(32 << 20);
	if (variant->flags == FILL) {
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa(2 * PAGES) + 400, 1));
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa(2 * PAGES) + 400, 0));
		EXPECT_TRUE(all(at(&g->r, 2 * PAGES), PAGE, 0));
	}
	for (i = 2 * PAGES + 1; i < 3 * PAGES; i++)
		ASSERT_EQ(1, pwrite(g->r.fd, "", 1, i * PAGE + 2000));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(2 * PAGES + 1), (PAGES - 1) * WORDS, 0));
}

/* Behind the end of the file there is nothing, to either kind of memslot. */
TEST_F_TIMEOUT(holes, behind_the_end, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	__s64 before;

	ASSERT_EQ(0, private_slot(g, variant->flags, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 3));
	ASSERT_EQ(0, guest_fill(g, 4, 4));
	ASSERT_EQ(0, ftruncate(r->fd, 4 * PAGE));
	before = faults(g);
	EXPECT_TRUE(guest_sees(g, 3, 3));
	EXPECT_EQ(before, faults(g));
	EXPECT_TRUE(lacks(g, 4));
	EXPECT_TRUE(lacks(g, PAGES - 1));
	EXPECT_TRUE(stopped(vcpu_of(g), vmm_write(vcpu_of(g), gpa(4), 5), -EFAULT, gpa(4)));
	EXPECT_EQ(4, allocated(r->fd));
	EXPECT_EQ(4, file_pages(r->fd));

	/* not even where it has pages already */
	ASSERT_EQ(0, fallocate(r->fd, FALLOC_FL_KEEP_SIZE, 6 * PAGE, PAGE));
	EXPECT_TRUE(lacks(g, 6));

	/* with the file it grows; what was there before is gone */
	ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	EXPECT_TRUE(guest_sees(g, 6, 0));
	EXPECT_TRUE(is_hole(g, variant->flags, 4));
	EXPECT_TRUE(is_hole(g, variant->flags, 5));
	ASSERT_EQ(0, grow(r->fd, 4, 1));
	EXPECT_EQ(0, guest_fill(g, 4, 44));
	EXPECT_TRUE(has_words(at(r, 4), 44));
	EXPECT_TRUE(guest_sees(g, 3, 3));

	/* an op that was stopped there goes on */
	ASSERT_EQ(0, ftruncate(r->fd, 4 * PAGE));
	EXPECT_TRUE(stopped(vcpu_of(g), vmm_write(vcpu_of(g), gpa(7), 77), -EFAULT, gpa(7)));
	ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	if (variant->flags == KEEP)
		ASSERT_EQ(0, grow(r->fd, 7, 1));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu_of(g)));
	EXPECT_EQ(77, *(__u32 *)at(r, 7));
}

static int by_punch_hole(struct rig *r, size_t first, size_t pages)
{
	return punch(r->fd, first, pages);
}

static int by_madv_remove(struct rig *r, size_t first, size_t pages)
{
	return madvise(at(r, first), pages * PAGE, MADV_REMOVE) ? -errno : 0;
}

/* The file ends there; then it is as long as it was, for the guest to look. */
static int by_ftruncate(struct rig *r, size_t first, size_t pages)
{
	return ftruncate(r->fd, first * PAGE) || ftruncate(r->fd, ROOM) ? -errno : 0;
}

/*
 * Some pages leave the file, which the guest has just used: it must not see again
 * what they had, and all others it must go on to see without a fault.
 */
static void revoked_by(struct __test_metadata *_metadata, struct guest *g,
		       __u32 flags, int (*away)(struct rig *r, size_t first, size_t pages))
{
	const size_t first = 8, last = away == by_ftruncate ? PAGES - 1 : 11;
	const size_t gone = last - first + 1;
	__s64 before;
	size_t i;

	ASSERT_EQ(0, private_slot(g, flags, 0, PAGES));
	ASSERT_EQ(0, grow(g->r.fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 100 + i));

	/* so it has them all mapped, which the faults that follow are compared with */
	before = faults(g);
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(guest_sees(g, i, 100 + i));
	ASSERT_EQ(before, faults(g));

	ASSERT_EQ(0, away(&g->r, first, gone));
	EXPECT_EQ(PAGES - gone, allocated(g->r.fd));
	for (i = 0; i < PAGES; i++)
		if (i >= first && i <= last) {
			EXPECT_TRUE(is_hole(g, flags, i));
		} else {
			EXPECT_TRUE(guest_sees(g, i, 100 + i));
		}
	EXPECT_EQ(before + (flags == FILL ? gone : 0), faults(g));

	/* and what comes in their place is shared with the file as before */
	ASSERT_EQ(0, grow(g->r.fd, first, gone));
	for (i = first; i <= last; i++) {
		EXPECT_TRUE(guest_sees(g, i, 0));
		put_words(at(&g->r, i), 200 + i);
		EXPECT_TRUE(guest_sees(g, i, 200 + i));
	}
}

TEST_F_TIMEOUT(holes, revoked_by_punch_hole, 60)
{
	revoked_by(_metadata, &self->g, variant->flags, by_punch_hole);
}

TEST_F_TIMEOUT(holes, revoked_by_madv_remove, 60)
{
	revoked_by(_metadata, &self->g, variant->flags, by_madv_remove);
}

TEST_F_TIMEOUT(holes, revoked_by_ftruncate, 60)
{
	revoked_by(_metadata, &self->g, variant->flags, by_ftruncate);
}

/* Part of a page is no page: it is cleared, and stays. */
TEST_F_TIMEOUT(holes, partial_pages_stay, 60)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, grow(g->r.fd, 0, 2));
	ASSERT_EQ(0, private_slot(g, variant->flags, 0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 0, 1));
	ASSERT_EQ(0, guest_fill(g, 1, 2));
	ASSERT_EQ(0, fallocate(g->r.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE - 400, 800));
	EXPECT_EQ(2, allocated(g->r.fd));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(0), WORDS - 100, 1));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(1) - 400, 200, 0));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(1) + 400, WORDS - 100, 2));
}

/* One page of 2 MiB that the guest has mapped at once: all others must survive. */
TEST_F_TIMEOUT(holes, in_a_huge_page, 120)
{
	const size_t hole = 77;
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	for (i = 0; i < HUGE_PAGES; i++)
		put_words(at(r, i), 100 + i);
	ASSERT_TRUE(is_huge(r->mem));
	ASSERT_EQ(0, private_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(100 + hole, vmm_read(vcpu_of(g), gpa(hole)));
	ASSERT_EQ(1, huge_entries(g));

	ASSERT_EQ(0, punch(r->fd, hole, 1));
	EXPECT_EQ(HUGE_PAGES - 1, allocated(r->fd));
	EXPECT_EQ(0, huge_entries(g));
	for (i = 0; i < HUGE_PAGES; i++)
		if (i == hole) {
			EXPECT_TRUE(is_hole(g, variant->flags, i));
		} else {
			EXPECT_TRUE(guest_sees(g, i, 100 + i));
		}
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_EQ(0, guest_fill(g, hole + 1, 7));
	EXPECT_TRUE(has_words(at(r, hole + 1), 7));
}

/* The file may end in the middle of one: the guest must not get at the rest. */
TEST_F_TIMEOUT(holes, end_in_a_huge_page, 120)
{
	const size_t end = HUGE_PAGES - 12;
	struct guest *g = &self->g;
	struct rig *r = &g->r;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, private_slot(g, variant->flags, 0, HUGE_PAGES));
	ASSERT_EQ(0, ftruncate(r->fd, end * PAGE));
	ASSERT_EQ(0, grow(r->fd, 0, end));
	ASSERT_TRUE(is_huge(r->mem));
	EXPECT_EQ(0, vmm_touch(vcpu_of(g), gpa(0), end, PAGE, 7));
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_TRUE(lacks(g, end));
	EXPECT_TRUE(lacks(g, HUGE_PAGES - 1));
	EXPECT_EQ(7, vmm_read(vcpu_of(g), gpa(end - 1)));
}

static sigjmp_buf on_bus_error;

static void bus_error(int sig)
{
	siglongjmp(on_bus_error, 1);
}

/* Let the page's memory fail. Who has it mapped is told by SIGBUS. */
static int poison(unsigned char *addr)
{
	return sigsetjmp(on_bus_error, 1) ||
	       !madvise(addr, PAGE, MADV_HWPOISON) ? 0 : -errno;
}

static void memory_failure(struct __test_metadata *_metadata, struct guest *g,
			   __u32 flags, bool huge)
{
	const size_t bad = 77;
	struct rig *r = &g->r;
	char byte, text[32];
	__u64 pfn;
	size_t i;

	signal(SIGBUS, bus_error);
	ASSERT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	ASSERT_EQ(0, private_slot(g, flags, 0, HUGE_PAGES));
	for (i = 0; i < HUGE_PAGES; i++)
		ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa(i), 100 + i));
	ASSERT_EQ(huge, is_huge(r->mem));
	ASSERT_EQ(huge, huge_entries(g));
	pfn = pfn_of(at(r, bad));

	ASSERT_EQ(0, poison(at(r, bad)));
	EXPECT_TRUE(stopped(vcpu_of(g), vmm_read(vcpu_of(g), gpa(bad)), -EHWPOISON,
			    gpa(bad)));
	EXPECT_TRUE(stopped(vcpu_of(g), vmm_write(vcpu_of(g), gpa(bad), 1), -EHWPOISON,
			    gpa(bad)));
	for (i = 0; i < HUGE_PAGES; i++)
		if (i != bad)
			EXPECT_EQ(100 + i, vmm_read(vcpu_of(g), gpa(i)));
	EXPECT_EQ(0, huge_entries(g));

	/* the file says so too */
	EXPECT_EQ(-1, pread(r->fd, &byte, 1, bad * PAGE));
	EXPECT_EQ(EIO, errno);

	/* a new page comes into its place; our own mapping is to forget */
	ASSERT_EQ(0, madvise(at(r, bad), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(r->fd, bad, 1));
	EXPECT_TRUE(is_hole(g, flags, bad));
	ASSERT_EQ(0, grow(r->fd, bad, 1));
	EXPECT_TRUE(guest_sees(g, bad, 0));
	EXPECT_EQ(0, guest_fill(g, bad, 7));
	EXPECT_TRUE(has_words(at(r, bad), 7));
	EXPECT_NE(pfn, pfn_of(at(r, bad)));

	snprintf(text, sizeof(text), "%llu", pfn);
	mdma_write_file("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

TEST_F_TIMEOUT(holes, memory_failure, 120)
{
	memory_failure(_metadata, &self->g, variant->flags, false);
}

TEST_F_TIMEOUT(holes, memory_failure_in_huge_page, 120)
{
	if (rig_thp(&self->g.r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	memory_failure(_metadata, &self->g, variant->flags, true);
}

/*
 * Holes: what the memslot says
 */

TEST_F_TIMEOUT(kvm, hole_is_filled, 60)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	dirty_free_memory(32 << 20);
	EXPECT_EQ(0, allocated(g->r.fd));
	EXPECT_EQ(0, vmm_read(vcpu_of(g), gpa(5)));
	EXPECT_EQ(1, allocated(g->r.fd));
	EXPECT_TRUE(guest_sees(g, 5, 0));
	EXPECT_TRUE(in_core(at(&g->r, 5)));

	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa(7) + 8, 42));
	EXPECT_EQ(2, allocated(g->r.fd));
	EXPECT_EQ(42, ((__u32 *)at(&g->r, 7))[2]);
	((__u32 *)at(&g->r, 7))[2] = 0;
	EXPECT_TRUE(guest_sees(g, 7, 0));
	EXPECT_EQ(2, in_core_pages(at(&g->r, 0), PAGES));
}

static int fill_by_fallocate(struct guest *g, size_t page)
{
	return grow(g->r.fd, page, 1);
}

static int fill_by_write(struct guest *g, size_t page)
{
	return pwrite(g->r.fd, "", 1, (page + 1) * PAGE - 1) == 1 ? 0 : -errno;
}

static int fill_by_mapping(struct guest *g, size_t page)
{
	return *(volatile char *)at(&g->r, page);
}

/* The guest stops, user space fills the hole in any way, the guest goes on. */
TEST_F_TIMEOUT(kvm, hole_is_kept, 60)
{
	int (* const ways[])(struct guest *g, size_t page) = {
		fill_by_fallocate, fill_by_write, fill_by_mapping,
	};
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);
	size_t i, page;

	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		page = 4 * i;
		EXPECT_TRUE(lacks(g, page));
		EXPECT_TRUE(lacks(g, page + 1));
		EXPECT_TRUE(stopped(vcpu, vmm_write(vcpu, gpa(page), 42), -EFAULT, gpa(page)));
		/* going on without a page leads nowhere */
		EXPECT_TRUE(stopped(vcpu, vmm_vcpu_resume(vcpu), -EFAULT, gpa(page)));
		EXPECT_EQ(2 * i, allocated(g->r.fd));

		ASSERT_EQ(0, ways[i](g, page));
		EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
		EXPECT_EQ(42, *(__u32 *)at(&g->r, page));
		EXPECT_TRUE(all(at(&g->r, page) + 4, PAGE - 4, 0));

		EXPECT_TRUE(stopped(vcpu, vmm_read(vcpu, gpa(page + 1)), -EFAULT,
				    gpa(page + 1)));
		ASSERT_EQ(0, ways[i](g, page + 1));
		EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
		EXPECT_EQ(2 * i + 2, allocated(g->r.fd));
	}
}

/* An op over many pages stops at each that is missing, and loses nothing. */
TEST_F_TIMEOUT(kvm, op_goes_on_after_holes, 60)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);
	__s64 ret;
	size_t i;

	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	for (i = 0; i < 8; i += 2)
		ASSERT_EQ(0, grow(g->r.fd, i, 1));
	ret = vmm_fill(vcpu, gpa(0), 8 * WORDS, 9);
	for (i = 1; i < 8; i += 2) {
		EXPECT_TRUE(stopped(vcpu, ret, -EFAULT, gpa(i)));
		EXPECT_TRUE(has_words(at(&g->r, i - 1), 9));
		ASSERT_EQ(0, grow(g->r.fd, i, 1));
		ret = vmm_vcpu_resume(vcpu);
	}
	EXPECT_EQ(0, ret);
	for (i = 0; i < 8; i++)
		EXPECT_TRUE(has_words(at(&g->r, i), 9));
	EXPECT_EQ(8, allocated(g->r.fd));
}

/* The other way out: what the guest wants is not private memory. */
TEST_F_TIMEOUT(kvm, hole_is_turned_shared, 60)
{
	struct guest *g = &self->g;
	struct vmm_vcpu *vcpu = vcpu_of(g);

	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(stopped(vcpu, vmm_write(vcpu, gpa(2), 42), -EFAULT, gpa(2)));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(2), PAGE, false));
	EXPECT_EQ(0, vmm_vcpu_resume(vcpu));
	EXPECT_EQ(42, *(__u32 *)(g->shared + 2 * PAGE));
	EXPECT_EQ(0, allocated(g->r.fd));
	EXPECT_TRUE(lacks(g, 1));
	EXPECT_TRUE(lacks(g, 3));
}

TEST_F_TIMEOUT(kvm, pre_fault_fills, 60)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	__s64 before;

	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	ASSERT_EQ(0, vmm_read(vcpu_of(g), VMM_LOW_FREE));
	ASSERT_EQ(0, pre_fault(g, &range, 4, 8));
	EXPECT_EQ(0, range.size);
	EXPECT_EQ(8, allocated(g->r.fd));
	EXPECT_EQ(8, in_core_pages(at(&g->r, 4), 8));

	/* the guest has them; and what was not asked for, it has not */
	before = faults(g);
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(4), 8 * WORDS, 0));
	EXPECT_EQ(before, faults(g));
	EXPECT_EQ(0, vmm_read(vcpu_of(g), gpa(12)));
	EXPECT_EQ(before + 1, faults(g));

	/* nothing can be behind the end */
	ASSERT_EQ(0, ftruncate(g->r.fd, 14 * PAGE));
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 14, 2));
	EXPECT_EQ(9, allocated(g->r.fd));
}

TEST_F_TIMEOUT(kvm, pre_fault_keeps_holes, 60)
{
	struct kvm_pre_fault_memory range;
	struct guest *g = &self->g;
	__s64 before;

	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, vmm_read(vcpu_of(g), VMM_LOW_FREE));
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 0, PAGES));
	EXPECT_EQ(gpa(0), range.gpa);
	EXPECT_EQ(PAGES * PAGE, range.size);
	EXPECT_EQ(0, allocated(g->r.fd));

	/* as far as the hole */
	ASSERT_EQ(0, grow(g->r.fd, 0, 4));
	EXPECT_EQ(0, pre_fault(g, &range, 0, PAGES));
	EXPECT_EQ(gpa(4), range.gpa);
	EXPECT_EQ((PAGES - 4) * PAGE, range.size);
	EXPECT_EQ(-EFAULT, pre_fault(g, &range, 4, PAGES - 4));
	EXPECT_EQ(4, allocated(g->r.fd));
	before = faults(g);
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa(0), 4 * WORDS, 0));
	EXPECT_EQ(before, faults(g));
	EXPECT_TRUE(lacks(g, 4));
}

/*
 * Several memslots, several VMs
 */

#define VIEWS	4

/* A window of the file, and where a guest has it */
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
			   g->r.fd, v->first * PAGE);
	return ret ? ret : vmm_set_private(v->vmm, start, v->pages * PAGE, true);
}

static bool view_has(struct view *v, size_t page)
{
	return page >= v->first && page < v->first + v->pages;
}

/* By the guest, where it can. */
static int view_put(struct view *v, struct rig *r, size_t page, __u32 value)
{
	if (view_has(v, page))
		return vmm_fill(&v->vmm->vcpu[0], v->addr + page * PAGE, WORDS, value);
	put_words(at(r, page), value);
	return 0;
}

static bool view_sees(struct view *v, size_t page, __u32 value)
{
	return !vmm_compare(&v->vmm->vcpu[0], v->addr + page * PAGE, WORDS, value);
}

static bool view_lacks(struct view *v, size_t page)
{
	struct vmm_vcpu *vcpu = &v->vmm->vcpu[0];
	__u32 addr = v->addr + page * PAGE;

	return stopped(vcpu, vmm_read(vcpu, addr), -EFAULT, addr);
}

TEST_F_TIMEOUT(kvm, many_slots_and_vms, 120)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
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
	EXPECT_EQ(VIEWS, consumers_of(r->fd));
	ASSERT_EQ(0, grow(r->fd, 0, 48));

	/* what one writes, all see */
	for (i = 0; i < VIEWS; i++) {
		for (j = 0; j < 48; j++)
			ASSERT_EQ(0, view_put(&views[i], r, j, 100 * i + j));
		for (k = 0; k < VIEWS; k++)
			for (j = 0; j < 48; j++)
				if (view_has(&views[k], j))
					EXPECT_TRUE(view_sees(&views[k], j, 100 * i + j));
	}

	/* and one hole is a hole to all, and touches nothing else */
	before = faults(g) + vmm_vcpu_stat(&other.vcpu[0], "pf_fixed");
	ASSERT_EQ(0, punch(r->fd, 20, 4));
	for (k = 0; k < VIEWS; k++)
		for (j = 0; j < 48; j++)
			if (view_has(&views[k], j) && j >= 20 && j < 24) {
				EXPECT_TRUE(view_lacks(&views[k], j));
			} else if (view_has(&views[k], j)) {
				EXPECT_TRUE(view_sees(&views[k], j, 100 * (VIEWS - 1) + j));
			}
	EXPECT_EQ(before, faults(g) + vmm_vcpu_stat(&other.vcpu[0], "pf_fixed"));

	/* one that only some have: the windows end at 32, 48, 40 and 48 */
	ASSERT_EQ(0, punch(r->fd, 36, 1));
	EXPECT_TRUE(view_lacks(&views[1], 36));
	EXPECT_TRUE(view_lacks(&views[2], 36));
	EXPECT_TRUE(view_lacks(&views[3], 36));

	/* without the one VM the other goes on */
	vmm_destroy(&other);
	EXPECT_EQ(2, consumers_of(r->fd));
	EXPECT_TRUE(view_sees(&views[0], 19, 319));
	ASSERT_EQ(0, punch(r->fd, 19, 1));
	EXPECT_TRUE(view_lacks(&views[0], 19));
	EXPECT_TRUE(view_lacks(&views[1], 19));
}

/*
 * KVM_MEM_MEMFD_PRIVATE_ONLY
 */

/* Is it refused to allocate that, and does it leave the file as it was? */
static bool vetoed(struct guest *g, size_t first, size_t pages)
{
	const int modes[] = { 0, FALLOC_FL_KEEP_SIZE };
	struct stat before, after;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		fstat(g->r.fd, &before);
		if (!fallocate(g->r.fd, modes[i], first * PAGE, pages * PAGE) ||
		    errno != EPERM)
			return false;
		fstat(g->r.fd, &after);
		if (before.st_size != after.st_size || before.st_blocks != after.st_blocks)
			return false;
	}
	return true;
}

TEST_F_TIMEOUT(kvm, veto_over_shared_pages, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;

	/* the window is [16, 32), and of it page 24 is shared, with the file at 40 */
	ASSERT_EQ(0, private_slot(g, VETO, 16, 16));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(24), PAGE, false));
	ASSERT_EQ(0, ftruncate(r->fd, 40 * PAGE));
	ASSERT_EQ(0, guest_fill(g, 23, 23));

	EXPECT_TRUE(vetoed(g, 24, 1));
	EXPECT_TRUE(vetoed(g, 16, 16));
	EXPECT_TRUE(vetoed(g, 0, 48));
	EXPECT_TRUE(vetoed(g, 24, 24));
	EXPECT_TRUE(vetoed(g, 20, 5));
	EXPECT_EQ(1, allocated(r->fd));
	EXPECT_EQ(40, file_pages(r->fd));
	EXPECT_TRUE(has_words(at(r, 23), 23));
	EXPECT_TRUE(guest_sees(g, 23, 23));

	/* what lies beside that page is allowed */
	EXPECT_EQ(0, grow(r->fd, 0, 24));
	EXPECT_EQ(0, grow(r->fd, 25, 23));
	EXPECT_EQ(47, allocated(r->fd));
	EXPECT_EQ(48, file_pages(r->fd));
	EXPECT_TRUE(has_words(at(r, 23), 23));

	/* nor is what else brings pages, or takes them, refused */
	EXPECT_EQ(0, punch(r->fd, 0, 48));
	EXPECT_EQ(1, pwrite(r->fd, "x", 1, 24 * PAGE));
	EXPECT_EQ(0, punch(r->fd, 24, 1));
	at(r, 24)[0] = 1;
	EXPECT_EQ(1, allocated(r->fd));

	/* it is refused whether or not there is a page already */
	EXPECT_TRUE(vetoed(g, 24, 1));
	EXPECT_EQ(0, punch(r->fd, 24, 1));
	EXPECT_TRUE(vetoed(g, 0, 48));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(24), PAGE, true));
	EXPECT_EQ(0, grow(r->fd, 0, 48));
	EXPECT_EQ(48, allocated(r->fd));
}

/* One page of many, wherever it is. */
TEST_F_TIMEOUT(kvm, veto_in_a_large_window, 120)
{
	const size_t first = 100, pages = 3 * HUGE_PAGES;
	const size_t where[] = {
		0, 1, HUGE_PAGES - 101, HUGE_PAGES - 100, HUGE_PAGES, HUGE_PAGES + 300,
		2 * HUGE_PAGES - 100, 3 * HUGE_PAGES - 100, pages - 1,
	};
	struct guest *g = &self->g;
	size_t i, page;

	ASSERT_EQ(0, private_slot(g, VETO, first, pages));
	for (i = 0; i < ARRAY_SIZE(where); i++) {
		page = first + where[i];
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(page), PAGE, false));
		EXPECT_TRUE(vetoed(g, 0, 4 * HUGE_PAGES))
			TH_LOG("page %zu", page);
		EXPECT_TRUE(vetoed(g, first, pages))
			TH_LOG("page %zu", page);
		EXPECT_TRUE(vetoed(g, page, 1))
			TH_LOG("page %zu", page);
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(page), PAGE, true));
	}
	EXPECT_EQ(0, allocated(g->r.fd));
	EXPECT_EQ(0, grow(g->r.fd, first, pages));
	EXPECT_EQ(pages, allocated(g->r.fd));
}

/* Each memslot has its own say, whatever others of the same pages allow. */
TEST_F_TIMEOUT(kvm, veto_beside_another_slot, 60)
{
	struct guest *g = &self->g;
	__u32 veto, other;

	for (veto = 1; veto < 3; veto++) {
		other = 3 - veto;
		ASSERT_EQ(0, put_slot(g, 1, veto == 1 ? VETO : FILL, 0, 0, PAGES));
		ASSERT_EQ(0, put_slot(g, 2, veto == 2 ? VETO : FILL, 100, 0, PAGES));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(100), PAGES * PAGE, true));
		EXPECT_EQ(0, grow(g->r.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));

		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(other == 1 ? 3 : 103), PAGE, false));
		EXPECT_EQ(0, grow(g->r.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(veto == 1 ? 3 : 103), PAGE, false));
		EXPECT_TRUE(vetoed(g, 0, PAGES));
		EXPECT_EQ(0, allocated(g->r.fd));

		/* with the memslot goes its veto, and not with the other one */
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, other));
		EXPECT_TRUE(vetoed(g, 0, PAGES));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, veto));
		EXPECT_EQ(0, grow(g->r.fd, 0, PAGES));
		ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));
	}
}

/*
 * What begins and what ends
 */

TEST_F_TIMEOUT(kvm, slot_is_deleted, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;

	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	EXPECT_EQ(1, followers_of(0, PAGES));
	ASSERT_EQ(0, guest_fill(g, 3, 33));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, consumers_of(r->fd));
	EXPECT_EQ(0, followers_of(0, PAGES));

	/* the guest has lost it: the attribute, which is no memslot's, is still there */
	EXPECT_TRUE(lacks(g, 3));
	/*
	 * What is not private is MMIO now. Of this page, nothing else is asked below:
	 * KVM remembers MMIO, and does not look again when that has turned private.
	 */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(15), PAGE, false));
	EXPECT_EQ(-EPROTO, vmm_read(vcpu_of(g), gpa(15)));
	EXPECT_EQ(KVM_EXIT_MMIO, vcpu_of(g)->run->exit_reason);

	/* the file has it still, and can have it punched, and be used again */
	EXPECT_TRUE(has_words(at(r, 3), 33));
	EXPECT_EQ(1, allocated(r->fd));
	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(guest_sees(g, 3, 33));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, punch(r->fd, 0, PAGES));
	ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	EXPECT_TRUE(guest_sees(g, 3, 0));
}

TEST_F_TIMEOUT(kvm, vm_is_destroyed, 60)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	int round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
		ASSERT_EQ(0, put_slot(g, SLOT + 1, KEEP, 100, 4, PAGES));
		ASSERT_EQ(0, guest_fill(g, 5, 55));
		EXPECT_EQ(2, consumers_of(r->fd));
		vmm_destroy(&g->vmm);
		EXPECT_EQ(0, consumers_of(r->fd));
		EXPECT_TRUE(has_words(at(r, 5), 55));
		EXPECT_EQ(1, allocated(r->fd));
		EXPECT_EQ(0, punch(r->fd, 0, PAGES));
		EXPECT_EQ(0, grow(r->fd, 0, PAGES));
		EXPECT_EQ(0, ftruncate(r->fd, 0));
		EXPECT_EQ(0, ftruncate(r->fd, ROOM));

		ASSERT_EQ(0, vmm_create(&g->vmm, KVM_X86_SW_PROTECTED_VM, 1));
		ASSERT_EQ(0, vmm_enable_memfd_slots(&g->vmm));
	}
}

/* The memslot holds on to the file, which nobody else has any more. */
TEST_F_TIMEOUT(kvm, file_is_closed, 60)
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
	EXPECT_EQ(1, followers_of(0, PAGES));
	dirty_free_memory(32 << 20);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, i < PAGES / 2 ? 10 + i : 0));
	/* what is not mapped is found in the file again */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, false));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, PAGES * PAGE, true));
	for (i = 0; i < PAGES / 2; i++)
		EXPECT_TRUE(guest_sees(g, i, 10 + i));
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, followers_of(0, PAGES));
}

/* KVM has the pages from the file, whatever a fork makes of mappings. */
TEST_F_TIMEOUT(kvm, process_forks, 60)
{
	struct guest *g = &self->g;
	int status;
	pid_t pid;
	__s64 had;
	size_t i;

	ASSERT_EQ(0, private_slot(g, KEEP, 0, PAGES));
	ASSERT_EQ(0, grow(g->r.fd, 0, PAGES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, guest_fill(g, i, 10 + i));
	had = faults(g);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* it writes to what it has inherited, and goes */
		put_words(at(&g->r, 3), 33);
		put_words(g->shared, 1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(guest_sees(g, i, i == 3 ? 33 : 10 + i));
	/* the guest's program is in ordinary memory: that is copied on write */
	EXPECT_GE(had + 1, faults(g));
	EXPECT_EQ(1, consumers_of(g->r.fd));
	ASSERT_EQ(0, punch(g->r.fd, 3, 1));
	EXPECT_TRUE(lacks(g, 3));
}

static void *run_forever(void *vcpu)
{
	while (!vmm_touch(vcpu, gpa(0), PAGES, PAGE, 1))
		;
	return NULL;
}

/* A process with a VM whose two vCPUs use the file for as long as they can. */
static void busy_process(struct guest *g, int fd)
{
	pthread_t thread;
	struct vmm vmm;

	if (!vmm_create(&vmm, KVM_X86_SW_PROTECTED_VM, 2) &&
	    !vmm_enable_memfd_slots(&vmm) &&
	    !vmm_set_slot(&vmm, SLOT, FILL, GPA, PAGES * PAGE, g->shared, g->r.fd, 0) &&
	    !vmm_set_private(&vmm, GPA, PAGES * PAGE, true) &&
	    !vmm_touch(&vmm.vcpu[0], gpa(0), PAGES, PAGE, 1) &&
	    !pthread_create(&thread, NULL, run_forever, &vmm.vcpu[1]) &&
	    write(fd, "!", 1) == 1)
		run_forever(&vmm.vcpu[0]);
	_exit(1);
}

TEST_F_TIMEOUT(kvm, process_is_killed, 120)
{
	struct guest *g = &self->g;
	struct rig *r = &g->r;
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
	EXPECT_EQ(1, consumers_of(r->fd));

	/* before, while and after it is killed */
	for (i = 0; i < 150; i++) {
		if (i == 50)
			ASSERT_EQ(0, kill(pid, SIGKILL));
		if (i == 100)
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, punch(r->fd, 0, PAGES));
		if (i & 1)
			ASSERT_EQ(0, grow(r->fd, 0, PAGES));
	}
	EXPECT_TRUE(WIFSIGNALED(status));

	/* its VM went with it, and with that all that followed the file */
	EXPECT_EQ(0, consumers_of(r->fd));
	ASSERT_EQ(0, punch(r->fd, 0, PAGES));
	EXPECT_EQ(0, allocated(r->fd));
	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	EXPECT_EQ(0, guest_fill(g, 3, 33));
	EXPECT_TRUE(has_words(at(r, 3), 33));
	close(pipefd[0]);
}

/*
 * Huge pages, and what faults cost
 */

/* Are all of these made of 2 MiB each? Looks through our own mapping. */
static bool made_of_huge_pages(struct rig *r, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i += HUGE_PAGES)
		if (!is_huge(at(r, i)))
			return false;
	return true;
}

/* The guest writes to each page of them once; how many faults that took. */
static __s64 touch_all(struct guest *g, size_t first, size_t pages, __u32 value)
{
	__s64 before, ret;

	/* its program may not be mapped yet */
	ret = vmm_read(vcpu_of(g), VMM_LOW_FREE);
	if (ret)
		return ret < 0 ? ret : -EIO;
	before = faults(g);
	ret = vmm_touch(vcpu_of(g), gpa(first), pages, PAGE, value);
	return ret ? ret : faults(g) - before;
}

static size_t pages_with(struct rig *r, size_t first, size_t pages, __u32 value)
{
	size_t i, sum = 0;

	for (i = first; i < first + pages; i++)
		sum += *(__u32 *)at(r, i) == value;
	return sum;
}

TEST_F_TIMEOUT(holes, faults_by_2m, 180)
{
	const size_t pages = ROOM / PAGE;
	struct guest *g = &self->g;
	struct rig *r = &g->r;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	/* the guest itself has the file filled, or finds it so */
	if (variant->flags == KEEP) {
		ASSERT_EQ(0, grow(r->fd, 0, pages));
		ASSERT_TRUE(made_of_huge_pages(r, 0, pages))
			TH_LOG("there is no such memory free");
	}
	ASSERT_EQ(0, private_slot(g, variant->flags, 0, pages));
	EXPECT_EQ(pages / HUGE_PAGES, touch_all(g, 0, pages, 7));
	EXPECT_EQ(pages / HUGE_PAGES, huge_entries(g));
	EXPECT_EQ(pages, pages_with(r, 0, pages, 7));
	EXPECT_EQ(pages, allocated(r->fd));
	EXPECT_EQ(0, touch_all(g, 0, pages, 8));

	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	EXPECT_EQ(0, huge_entries(g));
	EXPECT_EQ(pages, pages_with(r, 0, pages, 8));
}

/* What it is compared to: a guest_memfd has pages of 4 KiB. */
TEST_F_TIMEOUT(kvm, faults_of_guest_memfd, 180)
{
	const size_t pages = ROOM / PAGE;
	struct guest *g = &self->g;
	int fd;

	fd = create_guest_memfd(&g->vmm, ROOM);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, FILL, GPA, ROOM, g->shared, fd, 0));
	ASSERT_EQ(0, vmm_set_private(&g->vmm, GPA, ROOM, true));
	EXPECT_EQ(pages, touch_all(g, 0, pages, 7));
	EXPECT_EQ(0, huge_entries(g));
	close(fd);
}

/*
 * A huge page in the file is not one to the guest if it lies in the guest's memory,
 * or in that of its shared side, at another place in 2 MiB than in the file.
 */
TEST_F_TIMEOUT(kvm, faults_by_4k_where_misaligned, 120)
{
	const struct {
		size_t addr, mem;	/* off by how many pages */
	} ways[] = {
		{ 1, 1 }, { 1, 0 }, { 0, 1 }, { 511, 511 },
	};
	const size_t pages = 2 * HUGE_PAGES;
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i, j;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(r->fd, 0, pages));
	ASSERT_TRUE(made_of_huge_pages(r, 0, pages));
	for (j = 0; j < pages; j++)
		*(__u32 *)at(r, j) = 100 + j;
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ASSERT_EQ(0, vmm_set_slot(&g->vmm, SLOT, KEEP, gpa(ways[i].addr),
					  pages * PAGE, g->shared + ways[i].mem * PAGE,
					  r->fd, 0));
		ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(0), 2 * pages * PAGE, true));
		for (j = 0; j < pages; j += 7)
			EXPECT_EQ(100 + j, vmm_read(vcpu_of(g), gpa(ways[i].addr + j)));
		EXPECT_EQ(0, huge_entries(g));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	}
	/* with neither, it is */
	ASSERT_EQ(0, private_slot(g, KEEP, 0, pages));
	EXPECT_EQ(2, touch_all(g, 0, pages, 1));
	EXPECT_EQ(2, huge_entries(g));
}

/* A memslot's edges, and a page of other attributes, in the middle of 2 MiB. */
TEST_F_TIMEOUT(kvm, faults_by_4k_at_edges, 120)
{
	const size_t first = 256, pages = 256 + 2 * HUGE_PAGES + 100;
	struct guest *g = &self->g;
	struct rig *r = &g->r;
	size_t i;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(r->fd, 0, 4 * HUGE_PAGES));
	ASSERT_TRUE(made_of_huge_pages(r, 0, 4 * HUGE_PAGES));
	ASSERT_EQ(0, private_slot(g, KEEP, first, pages));
	EXPECT_EQ(256 + 2 + 100, touch_all(g, first, pages, 7));
	EXPECT_EQ(2, huge_entries(g));
	EXPECT_EQ(pages, pages_with(r, 0, 4 * HUGE_PAGES, 7));

	/* of the second huge page, one page is shared now */
	ASSERT_EQ(0, vmm_set_private(&g->vmm, gpa(HUGE_PAGES + 9), PAGE, false));
	EXPECT_EQ(HUGE_PAGES, touch_all(g, HUGE_PAGES, HUGE_PAGES, 8));
	EXPECT_EQ(1, huge_entries(g));
	EXPECT_EQ(HUGE_PAGES - 1, pages_with(r, HUGE_PAGES, HUGE_PAGES, 8));
	EXPECT_EQ(7, *(__u32 *)at(r, HUGE_PAGES + 9));
	EXPECT_EQ(8, *(__u32 *)(g->shared + (HUGE_PAGES + 9) * PAGE));

	/* a hole beside the window, in a huge page that reaches into it */
	ASSERT_EQ(0, punch(r->fd, 10, 1));
	EXPECT_EQ(4 * HUGE_PAGES - 1, allocated(r->fd));
	for (i = first; i < HUGE_PAGES; i++)
		EXPECT_EQ(7, vmm_read(vcpu_of(g), gpa(i)));
}

/*
 * Allocations that fail
 */

/* A memslot is there, or there is none. */
TEST_F_TIMEOUT(kvm, no_memory_for_a_slot, 120)
{
	struct kvm_userspace_memory_region2 region;
	int fail, fd, nth, left, ret, failed = 0;
	struct guest *g = &self->g;

	fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail < 0)
		SKIP(return, "needs a kernel with fault injection");
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		/* one that has never been followed */
		fd = memfd_create("new", MFD_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, PAGES * PAGE));
		region = right(g, fd);

		ASSERT_EQ(nth, fail_nth(fail, nth));
		ret = set_region(&g->vmm, region);
		left = fail_nth(fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, consumers_of(fd));
			EXPECT_EQ(-EINVAL, vmm_delete_slot(&g->vmm, SLOT));
			failed++;
			ASSERT_EQ(0, set_region(&g->vmm, region));
		}
		EXPECT_EQ(1, consumers_of(fd));
		ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
		EXPECT_EQ(0, consumers_of(fd));
		close(fd);
	}
	note("%d of %d allocations that failed were heard", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
	close(fail);
}

/* A hole that cannot be filled now can be later. */
TEST_F_TIMEOUT(kvm, no_memory_for_a_page, 120)
{
	int fail, nth, left, failed = 0;
	struct guest *g = &self->g;
	__s64 ret;

	fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail < 0)
		SKIP(return, "needs a kernel with fault injection");
	ASSERT_EQ(0, private_slot(g, FILL, 0, PAGES));
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, punch(g->r.fd, 0, PAGES));
		ASSERT_EQ(nth, fail_nth(fail, nth));
		ret = vmm_write(vcpu_of(g), gpa(5), 55);
		left = fail_nth(fail, 0);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(0, left);
			EXPECT_EQ(-ENOMEM, ret);
			failed++;
			ASSERT_EQ(0, vmm_write(vcpu_of(g), gpa(5), 55));
		}
		EXPECT_EQ(1, allocated(g->r.fd));
		EXPECT_EQ(55, *(__u32 *)at(&g->r, 5));
		EXPECT_TRUE(all(at(&g->r, 5) + 4, PAGE - 4, 0));
	}
	note("%d of %d allocations that failed were heard", failed, nth - 2);
	EXPECT_LT(0, failed);
	fail_anything("1");
	close(fail);
}

/*
 * What is asked of a VM and of its file, with each allocation failing once: @act,
 * after @before, says ENOMEM or works. It leaves things as @same says, or as @done.
 * One that is @quiet says nothing when it has done nothing, or not all.
 */
struct ask {
	int (*before)(struct guest *g);
	int (*act)(struct guest *g);
	bool (*same)(struct guest *g);
	bool (*done)(struct guest *g);
	bool quiet;
};

/* Returns how many failures were heard. */
static int sweep(struct __test_metadata *_metadata, struct guest *g, const char *what,
		 struct ask ask)
{
	int fail, nth, left, ret, heard = 0;
	bool done;

	fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fail);
	fail_anything("0");
	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_LT(nth, 1000);
		ASSERT_EQ(0, ask.before(g)) TH_LOG("%s: to begin with", what);
		ASSERT_EQ(nth, fail_nth(fail, nth));
		ret = ask.act(g);
		left = fail_nth(fail, 0);
		ASSERT_LE(0, left);
		done = !ret && ask.done(g);
		if (ret || (ask.quiet && !done)) {
			EXPECT_EQ(0, left);
			if (ret)
				EXPECT_EQ(-ENOMEM, ret);
			EXPECT_TRUE(ask.same(g)) TH_LOG("%s: failure %d", what, nth);
			heard++;
			ASSERT_EQ(0, ask.act(g)) TH_LOG("%s: after failure %d", what, nth);
			done = ask.done(g);
		}
		EXPECT_TRUE(done) TH_LOG("%s: failure %d", what, nth);
	}
	note("%s: %d of %d allocations that failed were heard", what, heard, nth - 2);
	fail_anything("1");
	close(fail);
	return heard;
}

#define SWEEP(...) sweep(_metadata, &self->g, #__VA_ARGS__, (struct ask){ __VA_ARGS__ })

/* Pages 0 to PAGES - 1 are private, filled by the guest and mapped for it. */
static int begin(struct guest *g)
{
	int ret;
	size_t i;

	if (!consumers_of(g->r.fd))
		ret = private_slot(g, KEEP, 0, PAGES);
	else
		ret = vmm_set_private(&g->vmm, gpa(0), PAGES * PAGE, true);
	if (!ret)
		ret = punch(g->r.fd, 0, PAGES) ?: grow(g->r.fd, 0, PAGES);
	for (i = 0; i < PAGES && !ret; i++)
		ret = guest_fill(g, i, 10 + i);
	return ret;
}

static bool has_all(struct guest *g)
{
	return consumers_of(g->r.fd) == 1 && allocated(g->r.fd) == PAGES &&
	       sees_all(g, 10);
}

static int delete_slot(struct guest *g)
{
	return vmm_delete_slot(&g->vmm, SLOT);
}

static bool is_deleted(struct guest *g)
{
	return !consumers_of(g->r.fd) && allocated(g->r.fd) == PAGES &&
	       has_words(at(&g->r, 3), 13) && lacks(g, 3);
}

static int punch_two(struct guest *g)
{
	return punch(g->r.fd, 3, 2);
}

static bool lacks_two(struct guest *g)
{
	return lacks(g, 3) && lacks(g, 4) && guest_sees(g, 5, 15) &&
	       allocated(g->r.fd) == PAGES - 2;
}

/* Attributes are kept by 64 pages: these are in two such groups */
#define FAR	62UL
#define SPAN	4UL

static int make_shared(struct guest *g)
{
	return vmm_set_private(&g->vmm, gpa(FAR), SPAN * PAGE, false);
}

static int make_private(struct guest *g)
{
	return vmm_set_private(&g->vmm, gpa(FAR), SPAN * PAGE, true);
}

static bool far_is(struct guest *g, __u32 first)
{
	size_t i;

	for (i = 0; i < SPAN; i++)
		if (!guest_sees(g, FAR + i, first + i))
			return false;
	return consumers_of(g->r.fd) == 1;
}

static bool far_is_private(struct guest *g)
{
	return far_is(g, 20);
}

static bool far_is_shared(struct guest *g)
{
	return far_is(g, 70);
}

/* Both sides have something there, and the guest sees the private one. */
static int far_private(struct guest *g)
{
	int ret = 0;
	size_t i;

	if (!consumers_of(g->r.fd))
		ret = put_slot(g, SLOT, KEEP, 0, 0, 2 * FAR);
	for (i = 0; i < SPAN; i++) {
		put_words(at(&g->r, FAR + i), 20 + i);
		put_words(g->shared + (FAR + i) * PAGE, 70 + i);
	}
	ret = ret ?: make_private(g);
	return ret ?: far_is_private(g) ? 0 : -EPROTO;
}

/* And the shared one, while KVM remembers nothing of what it was before. */
static int far_shared(struct guest *g)
{
	return far_private(g) ?: make_shared(g) ?: far_is_shared(g) ? 0 : -EPROTO;
}

static int begin_filling(struct guest *g)
{
	int ret = 0;

	if (!consumers_of(g->r.fd))
		ret = private_slot(g, FILL, 0, PAGES);
	/* its program is mapped: what it faults for is this page alone */
	if (!ret && vmm_read(vcpu_of(g), VMM_LOW_FREE))
		ret = -EPROTO;
	return ret ?: punch(g->r.fd, 0, PAGES);
}

static int pre_fault_one(struct guest *g)
{
	struct kvm_pre_fault_memory range;

	return pre_fault(g, &range, 5, 1);
}

/* The page may have come to the file, but nothing else. */
static bool has_one_at_most(struct guest *g)
{
	return allocated(g->r.fd) <= 1 && consumers_of(g->r.fd) == 1;
}

static bool is_pre_faulted(struct guest *g)
{
	__s64 before = faults(g);

	return guest_sees(g, 5, 0) && faults(g) == before && allocated(g->r.fd) == 1;
}

TEST_F_TIMEOUT(kvm, no_memory_for_a_slot_to_go, 240)
{
	EXPECT_LT(0, SWEEP(begin, delete_slot, has_all, is_deleted));
}

/* One failure is not enough for an xarray to give up. */
TEST_F_TIMEOUT(kvm, no_memory_for_attributes, 240)
{
	struct guest *g = &self->g;
	int fail, ret;

	EXPECT_EQ(0, SWEEP(far_shared, make_private, far_is_shared, far_is_private));
	EXPECT_EQ(0, SWEEP(far_private, make_shared, far_is_private, far_is_shared));

	fail = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fail);
	fail_anything("0");
	ASSERT_EQ(0, far_shared(g));
	fail_every(fail, true);
	ret = make_private(g);
	fail_every(fail, false);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_TRUE(far_is_shared(g));
	EXPECT_EQ(0, make_private(g));
	EXPECT_TRUE(far_is_private(g));

	/* to be shared again takes none */
	fail_every(fail, true);
	ret = make_shared(g);
	fail_every(fail, false);
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(far_is_shared(g));
	fail_anything("1");
	close(fail);
}

TEST_F_TIMEOUT(kvm, no_memory_to_pre_fault, 240)
{
	EXPECT_LT(0, SWEEP(begin_filling, pre_fault_one, has_one_at_most, is_pre_faulted));
}

/* Who takes a page away needs none: there is nobody but KVM to tell. */
TEST_F_TIMEOUT(kvm, no_memory_to_punch, 120)
{
	EXPECT_EQ(0, SWEEP(begin, punch_two, has_all, lacks_two));
}

/*
 * Swap and migration
 */

static int page_out(struct guest *g)
{
	return madvise(at(&g->r, 0), PAGES * PAGE, MADV_PAGEOUT) ? -errno : 0;
}

/* With the mapping that MADV_PAGEOUT goes by */
static int begin_mapped(struct guest *g)
{
	int ret = begin(g);
	size_t i;

	for (i = 0; i < PAGES && !ret; i++)
		ret = has_words(at(&g->r, i), 10 + i) ? 0 : -EPROTO;
	return ret;
}

static bool is_swapped(struct guest *g)
{
	return !in_core_pages(at(&g->r, 0), PAGES) && allocated(g->r.fd) == PAGES;
}

/* Nothing has got lost on the way; and MADV_PAGEOUT finds all of them again. */
static bool is_back(struct guest *g)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (!has_words(at(&g->r, i), 10 + i))
			return false;
	return has_all(g);
}

/* All out, and all back. */
static bool comes_back(struct guest *g)
{
	return is_swapped(g) && is_back(g);
}

/* One page is. */
static int begin_swapped(struct guest *g)
{
	int ret = begin(g);

	if (!ret && !has_words(at(&g->r, 3), 13))
		ret = -EPROTO;
	if (!ret && madvise(at(&g->r, 3), PAGE, MADV_PAGEOUT))
		ret = -errno;
	return ret ?: in_core(at(&g->r, 3)) ? -EBUSY : 0;
}

static int swap_in_by_guest(struct guest *g)
{
	__s64 ret = vmm_read(vcpu_of(g), gpa(3));

	return ret < 0 ? ret : ret == 13 ? 0 : -EPROTO;
}

static int swap_in_by_fault(struct guest *g)
{
	return madvise(at(&g->r, 3), PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

static int swap_in_by_read(struct guest *g)
{
	unsigned char data[PAGE];
	ssize_t ret = pread(g->r.fd, data, PAGE, 3 * PAGE);

	return ret < 0 ? -errno : ret == PAGE && has_words(data, 13) ? 0 : -EPROTO;
}

/* It is wherever it was; what the guest sees is looked at when it is back. */
static bool is_accounted(struct guest *g)
{
	return allocated(g->r.fd) == PAGES && consumers_of(g->r.fd) == 1;
}

TEST_F_TIMEOUT(kvm, no_memory_to_swap, 480)
{
	struct rig *r = &self->g.r;

	rig_stay_on_one_cpu(true);
	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, rig_no_readahead(r));
	EXPECT_LT(0, SWEEP(begin_mapped, page_out, is_back, comes_back, true));
	EXPECT_LT(0, SWEEP(begin_swapped, swap_in_by_guest, is_accounted, has_all));
	EXPECT_LT(0, SWEEP(begin_swapped, swap_in_by_fault, is_accounted, has_all));
	EXPECT_LT(0, SWEEP(begin_swapped, swap_in_by_read, is_accounted, has_all));
}

#define MOVED	4	/* pages */

/* move_pages(2): to the nodes, or where the pages are. A bit for each that is on 1. */
static int on_node(struct guest *g, const int *nodes)
{
	int status[MOVED] = { -1, -1, -1, -1 }, mask = 0;
	void *addr[MOVED];
	size_t i;
	long ret;

	for (i = 0; i < MOVED; i++)
		addr[i] = at(&g->r, i);
	ret = syscall(__NR_move_pages, 0, MOVED, addr, nodes, status,
		      nodes ? 2 /* MPOL_MF_MOVE */ : 0);
	if (ret)
		return ret < 0 ? -errno : 0;
	for (i = 0; i < MOVED; i++)
		mask |= (status[i] == 1) << i;
	return mask;
}

static int begin_on_node_0(struct guest *g)
{
	int ret = begin_mapped(g);

	return ret ?: on_node(g, NULL) ? -EXDEV : 0;
}

static int move_to_node_1(struct guest *g)
{
	const int nodes[MOVED] = { 1, 1, 1, 1 };
	int ret = on_node(g, nodes);

	return ret < 0 ? ret : 0;
}

static bool is_on_node_1(struct guest *g)
{
	return on_node(g, NULL) == 15 && has_all(g);
}

TEST_F_TIMEOUT(kvm, no_memory_to_move, 240)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "a second node is needed");
	rig_stay_on_one_cpu(true);
	EXPECT_LT(0, SWEEP(begin_on_node_0, move_to_node_1, has_all, is_on_node_1, true));
}

/*
 * An ordinary VM and a device
 */

FIXTURE(device)
{
	struct vmm vmm;
	struct rig r;
};

FIXTURE_SETUP(device)
{
	ASSERT_EQ(0, rig_setup(&self->r, HUGE_PAGES));
	ASSERT_EQ(0, vmm_create(&self->vmm, KVM_X86_DEFAULT_VM, 1));
}

FIXTURE_TEARDOWN(device)
{
	vmm_destroy(&self->vmm);
	rig_teardown(&self->r);
}

/* The guest has the file by a mapping of it, the device by the file itself. */
TEST_F_TIMEOUT(device, shares_with_a_default_vm, 120)
{
	struct vmm *vmm = &self->vmm;
	struct rig *r = &self->r;
	struct vmm_vcpu *vcpu = &vmm->vcpu[0];

	ASSERT_EQ(0, vmm_set_slot(vmm, SLOT, 0, GPA, PAGES * PAGE, r->mem, -1, 0));
	ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));

	/* a page that the guest brings, the device has; one copies, the other sees */
	ASSERT_EQ(0, vmm_fill(vcpu, gpa(1), WORDS, 11));
	ASSERT_EQ(0, vmm_fill(vcpu, gpa(2), WORDS, 22));
	EXPECT_EQ(2, rig_reachable(r, 0, 0, PAGES));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 1, 2, 128));
	EXPECT_EQ(0, vmm_compare(vcpu, gpa(2), 32, 11));
	EXPECT_EQ(0, vmm_compare(vcpu, gpa(2) + 128, WORDS - 32, 22));

	/* one hole takes the page from both */
	ASSERT_EQ(0, punch(r->fd, 1, 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, rig_copy(r, 0, 1, 2, 128));
	EXPECT_EQ(0, vmm_compare(vcpu, gpa(2), 32, 11));
	EXPECT_EQ(1, allocated(r->fd));
	EXPECT_EQ(0, vmm_compare(vcpu, gpa(1), WORDS, 0));

	/* by that access it is there again, for both, and not what it was */
	EXPECT_EQ(2, allocated(r->fd));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(r, 0, 1, 2, 128));
	EXPECT_EQ(0, vmm_compare(vcpu, gpa(2), 32, 0));
}

TEST_HARNESS_MAIN
