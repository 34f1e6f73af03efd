// SPDX-License-Identifier: GPL-2.0
/*
 * Changes and mistakes of a VMM in the mapping that is an ordinary VM's memory. A device
 * in the same file does not depend on the mapping.
 */
#include "lib/harness.h"
#include "lib/ordinary_fixture.h"
#include "lib/rights.h"
#include "lib/trace.h"

FIXTURE_VARIANT_ADD(ordinary, small_pages)
{
	.device = true,
};

FIXTURE_VARIANT_ADD(ordinary, huge_pages)
{
	.huge = true,
	.device = true,
};

/* The file is full, and both have used all of it. */
static void both_use_all(struct __test_metadata *_metadata, struct guest *g)
{
	struct test_env *env = &g->env;

	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	ASSERT_EQ(0, number_pages(g, 0, PAGES));
	EXPECT_EQ(g->huge ? PAGES / HUGE_PAGES : 0, huge_entries(g));
	ASSERT_TRUE(device_uses(env, HERE));
	if (has_trace())
		ASSERT_EQ(0, trace_start(env->fd));
}

/* The device has all pages of the file, and no operation took one from it. */
static bool device_has_all(struct test_env *env)
{
	return env_reachable(env, 0, 0, PAGES) == (long)PAGES &&
	       (!has_trace() || !traced("iommu", 0, PAGES)) &&
	       !env_differences(env, 0, 0, PAGES) &&
	       device_uses(env, HERE);
}

/* Both have lost the page at HERE, and the guest finds another one there. */
static void both_lost_it(struct __test_metadata *_metadata, struct guest *g)
{
	struct test_env *env = &g->env;

	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	EXPECT_EQ(PAGES - 1, env_reachable(env, 0, 0, PAGES));
	EXPECT_TRUE(device_faults(env, HERE, 1));
	EXPECT_EQ(0, wrong_numbers(g, 0, HERE));
	EXPECT_EQ(0, wrong_numbers(g, HERE + 1, PAGES - HERE - 1));
	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	EXPECT_EQ(0, vmm_compare(vcpu_of(g), gpa_of(HERE), PAGE_WORDS, 0));
	EXPECT_EQ(PAGES, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/*
 * fork() of the VMM
 */

/* The child has the file, the mapping and the VM's descriptors, but not the VM. */
static void be_a_child(struct guest *g)
{
	struct test_env *env = &g->env;
	int ret;

	MUST(*(__u32 *)at(env, HERE) == HERE);
	ret = vmm_read(vcpu_of(g), gpa_of(HERE));
	MUST(ret == -EIO);
	MUST(vmm_delete_slot(&g->vmm, SLOT) == -EIO);
	_exit(0);
}

TEST_F(ordinary, fork_changes_nothing)
{
	struct guest *g = &self->mm.g;
	__s64 faults;
	int status;

	both_use_all(_metadata, g);
	ASSERT_EQ(0, wrong_numbers(g, 0, PAGES));
	faults = guest_faults(g);
	if (in_child(&status))
		be_a_child(g);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, wrong_numbers(g, 0, PAGES));
	/* the guest's entries stay; that of its program is in memory that was copied */
	EXPECT_GE(faults + 2, guest_faults(g));
	EXPECT_EQ(g->huge ? PAGES / HUGE_PAGES : 0, huge_entries(g));
	EXPECT_TRUE(device_has_all(&g->env));
}

/* A process that has the mapping by fork() writes to the file, not to a copy. */
TEST_F(ordinary, child_writes)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	int status;

	both_use_all(_metadata, g);
	if (in_child(&status)) {
		fill_pattern(at(env, HERE), 1);
		memset(g->vmm.low, 0, VMM_LOW_SIZE);	/* its copy of the program */
		_exit(0);
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE, 1));
	EXPECT_EQ(0, guest_wrong_words(g, 1, HERE, 1));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE, 1));
	EXPECT_TRUE(device_has_all(env));
}

/* A hole that the child punches takes the page from the guest and the device. */
TEST_F(ordinary, child_punches)
{
	struct guest *g = &self->mm.g;
	int status;

	both_use_all(_metadata, g);
	if (in_child(&status)) {
		MUST(!punch(g->env.fd, HERE, 1));
		_exit(0);
	}
	EXPECT_EQ(0, status);
	both_lost_it(_metadata, g);
}

/* The VMM punches, and a child that is still there had used the page as well. */
TEST_F(ordinary, punch_with_a_child)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	int ready[2], status;
	pid_t pid;
	char c;

	both_use_all(_metadata, g);
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		MUST(*(volatile __u32 *)at(env, HERE) == HERE);
		MUST(write(ready[1], "", 1) == 1);
		pause();
	}
	EXPECT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0, punch(env->fd, HERE, 1));
	both_lost_it(_metadata, g);
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	/* the end of the child takes nothing from them */
	EXPECT_EQ(0, number_pages(g, HERE, 1));
	EXPECT_EQ(0, wrong_numbers(g, 0, PAGES));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/*
 * A mapping with MAP_PRIVATE, by mistake
 */

/* The memory is such a mapping; the guest has written to the page at HERE. */
static void private_copy(struct __test_metadata *_metadata, struct guest *g,
			 unsigned char **mem)
{
	struct test_env *env = &g->env;

	both_use_all(_metadata, g);
	*mem = map_again(env, MAP_PRIVATE);
	ASSERT_NE(NULL, *mem);
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, ordinary_memory(g, *mem, PAGES));
	/* until its first write, the guest reads the file */
	EXPECT_EQ(HERE, vmm_read(vcpu_of(g), gpa_of(HERE)));
	EXPECT_EQ(HERE + 1, vmm_read(vcpu_of(g), gpa_of(HERE + 1)));
	*(__u32 *)at(env, THERE) = 1;
	EXPECT_EQ(1, vmm_read(vcpu_of(g), gpa_of(THERE)));
	*(__u32 *)at(env, THERE) = THERE;
	ASSERT_EQ(0, guest_fill(g, HERE, 5));
	EXPECT_TRUE(has_words(*mem + HERE * PAGE, 5));
}

/* The guest's writes stay with the guest: neither the file nor the device has them. */
TEST_F(ordinary, private_mapping)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	unsigned char *mem;

	private_copy(_metadata, g, &mem);
	EXPECT_EQ(HERE, *(__u32 *)at(env, HERE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, HERE, THERE, 4));
	EXPECT_EQ(HERE, *(__u32 *)at(env, THERE));
	/* nor has the guest what the device writes there */
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 1, HERE, 4));
	EXPECT_EQ(1, *(__u32 *)at(env, HERE));
	EXPECT_TRUE(guest_sees(g, HERE, 5));
	EXPECT_TRUE(device_has_all(env));
}

/* A hole takes the file's page from the device, and leaves the guest its copy. */
TEST_F(ordinary, private_mapping_and_hole)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	unsigned char *mem;

	private_copy(_metadata, g, &mem);
	ASSERT_EQ(0, punch(env->fd, HERE, 2));
	EXPECT_EQ(0, env_reachable(env, 0, HERE, 2));
	EXPECT_TRUE(device_faults(env, HERE, 1));
	EXPECT_TRUE(guest_sees(g, HERE, 5));
	EXPECT_EQ(PAGES - 2, allocated(env->fd));
	/* the page that the guest has only read is gone */
	EXPECT_TRUE(guest_sees(g, HERE + 1, 0));
	EXPECT_EQ(PAGES - 1, allocated(env->fd));
	EXPECT_EQ(1, env_reachable(env, 0, HERE, 2));

	/* MADV_REMOVE needs a shared mapping; MADV_DONTNEED drops the copy */
	EXPECT_EQ(-1, madvise(mem + HERE * PAGE, PAGE, MADV_REMOVE));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, madvise(mem + HERE * PAGE, PAGE, MADV_DONTNEED));
	EXPECT_TRUE(guest_sees(g, HERE, 0));
	EXPECT_EQ(PAGES, allocated(env->fd));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/* A truncation drops copies as well. */
TEST_F(ordinary, private_mapping_and_truncation)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	unsigned char *mem;

	private_copy(_metadata, g, &mem);
	ASSERT_EQ(0, ftruncate(env->fd, HERE * PAGE));
	EXPECT_TRUE(no_memory_at(g, 0, HERE));
	EXPECT_TRUE(no_memory_at(g, 1, HERE));
	EXPECT_EQ(HERE, env_reachable(env, 0, 0, PAGES));
	ASSERT_EQ(0, ftruncate(env->fd, PAGES * PAGE));
	EXPECT_EQ(0, vmm_read(vcpu_of(g), gpa_of(HERE)));
	EXPECT_EQ(0, env_differences(env, 0, 0, PAGES));
}

/*
 * Changes of the mapping
 */

/* The guest faults the same pages in again. */
TEST_F(ordinary, madv_dontneed)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	__s64 mapped;

	both_use_all(_metadata, g);
	mapped = pages_mapped(g);
	ASSERT_EQ(0, madvise(env->mem, PAGES * PAGE, MADV_DONTNEED));
	EXPECT_EQ(PAGES, mapped - pages_mapped(g));
	EXPECT_TRUE(device_has_all(env));
	EXPECT_EQ(0, wrong_numbers(g, 0, PAGES));
	EXPECT_EQ(PAGES, allocated(env->fd));
	EXPECT_EQ(g->huge ? PAGES / HUGE_PAGES : 0, huge_entries(g));
	EXPECT_TRUE(device_has_all(env));
}

TEST_F(ordinary, munmap)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;
	unsigned char *mem = map_again(env, MAP_SHARED);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, vmm_delete_slot(&g->vmm, SLOT));
	ASSERT_EQ(0, ordinary_memory(g, mem, PAGES));
	both_use_all(_metadata, g);
	ASSERT_EQ(0, munmap(mem, PAGES * PAGE));
	EXPECT_TRUE(no_memory_at(g, 0, HERE));
	EXPECT_TRUE(no_memory_at(g, 1, THERE));
	EXPECT_EQ(PAGES, allocated(env->fd));
	EXPECT_EQ(HERE, *(__u32 *)at(env, HERE));
	EXPECT_TRUE(device_has_all(env));

	/* the guest's access goes on once the mapping is back */
	EXPECT_EQ(mem, mmap(mem, PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED_NOREPLACE, env->fd, 0));
	EXPECT_EQ(THERE, vmm_vcpu_resume(&g->vmm.vcpu[1]));
	EXPECT_EQ(0, wrong_numbers(g, 0, PAGES));
}

/* A mapping that the VMM may only read: the guest's writes fail, the device's do not. */
TEST_F(ordinary, read_only_mapping)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;

	both_use_all(_metadata, g);
	ASSERT_EQ(0, mprotect(env->mem, PAGES * PAGE, PROT_READ));
	EXPECT_EQ(HERE, vmm_read(vcpu_of(g), gpa_of(HERE)));
	EXPECT_EQ(-EFAULT, vmm_write(vcpu_of(g), gpa_of(HERE), 5));
	EXPECT_EQ(HERE, *(__u32 *)at(env, HERE));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, 1, HERE, 4));
	EXPECT_EQ(1, vmm_read(vcpu_of(g), gpa_of(HERE)));
	ASSERT_EQ(0, mprotect(env->mem, PAGES * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, vmm_write(vcpu_of(g), gpa_of(HERE), HERE));
	EXPECT_TRUE(device_has_all(env));
}

/* A seal is refused that the mapping would not obey; a future one leaves both alone. */
TEST_F(ordinary, seals)
{
	struct guest *g = &self->mm.g;
	struct test_env *env = &g->env;

	both_use_all(_metadata, g);
	EXPECT_EQ(-1, fcntl(env->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_TRUE(device_has_all(env));
	EXPECT_EQ(0, fcntl(env->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(0, wrong_numbers(g, 0, PAGES));
	EXPECT_TRUE(device_has_all(env));
}

/*
 * Two VMs of one file
 */

/* What one writes, the other one and the device read; one hole takes the page from all. */
static void two_guests(struct __test_metadata *_metadata, struct guest *g,
		       struct guest *other)
{
	struct test_env *env = &g->env;

	ASSERT_EQ(0, wrong_numbers(other, 0, PAGES));
	EXPECT_EQ(g->huge ? PAGES / HUGE_PAGES : 0, huge_entries(other));
	ASSERT_EQ(0, guest_fill_pattern(g, 0, THERE, 1));
	EXPECT_EQ(0, guest_wrong_words(other, 0, THERE, 1));
	ASSERT_EQ(0, guest_fill_pattern(other, 0, THERE, 2));
	EXPECT_EQ(VFIO_MDMA_STATUS_DONE, env_copy(env, 0, THERE, THERE + 1, PAGE));
	EXPECT_EQ(0, guest_wrong_words(g, 0, THERE + 1, 2));
	EXPECT_EQ(0, guest_wrong_words(other, 0, THERE + 1, 2));
	ASSERT_EQ(0, number_pages(other, THERE, 2));

	ASSERT_EQ(0, punch(env->fd, HERE, 1));
	EXPECT_EQ(PAGES - 1, env_reachable(env, 0, 0, PAGES));
	EXPECT_EQ(0, wrong_numbers(other, 0, HERE));
	EXPECT_EQ(0, wrong_numbers(other, HERE + 1, PAGES - HERE - 1));
	both_lost_it(_metadata, g);
	/* the page that one of them brings is there for the other one */
	EXPECT_TRUE(guest_sees(other, HERE, 0));
	ASSERT_EQ(0, guest_fill_pattern(other, 0, HERE, 3));
	EXPECT_EQ(0, guest_wrong_words(g, 0, HERE, 3));
	EXPECT_EQ(PAGES, allocated(env->fd));
}

TEST_F(ordinary, two_ordinary_vms)
{
	struct guest *g = &self->mm.g, other = *g;
	unsigned char *mem = map_again(&g->env, MAP_SHARED);

	ASSERT_NE(NULL, mem);
	both_use_all(_metadata, g);
	other.vmm = (struct vmm)VMM_INIT;
	ASSERT_EQ(0, ordinary_create(&other, 1));
	ASSERT_EQ(0, vmm_delete_slot(&other.vmm, SLOT));
	ASSERT_EQ(0, ordinary_memory(&other, mem, PAGES));
	two_guests(_metadata, g, &other);
	vmm_destroy(&other.vmm);
	EXPECT_EQ(0, env_differences(&g->env, 0, 0, PAGES));
}

/* The other one has the file as its private memory, and no mapping of it. */
TEST_F(ordinary, with_a_vm_of_memfd_slots)
{
	struct guest *g = &self->mm.g, other = *g;

	both_use_all(_metadata, g);
	other.vmm = (struct vmm)VMM_INIT;
	ASSERT_EQ(0, guest_create(&other, 1));
	ASSERT_EQ(0, add_slot(&other, FILL, 0, PAGES));
	two_guests(_metadata, g, &other);
	vmm_destroy(&other.vmm);
	EXPECT_EQ(0, env_differences(&g->env, 0, 0, PAGES));
}

TEST_HARNESS_MAIN
