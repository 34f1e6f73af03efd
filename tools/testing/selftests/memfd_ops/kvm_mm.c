// SPDX-License-Identifier: GPL-2.0
/*
 * What memory management does to pages by itself, or since an administrator tells
 * it to: row by row, the table in Documentation/mm/memfd_ops-mm.rst. Each event is
 * provoked in a file that nobody follows, which shows that it does come; in one
 * that a device follows, which holds its pages; in one that a guest follows, which
 * is told, and faults them in again; and in one that both follow.
 */
#include <glob.h>
#include <linux/mempolicy.h>
#include <sys/time.h>

#include "kvm_rig.h"
#include "rights_util.h"
#include "../kselftest_harness.h"

#ifndef EHWPOISON
#define EHWPOISON	133
#endif

#define ROOM		(512UL << 20)	/* the size of the file, nearly all a hole */
#define PAGES		16
#define SLOT		1

/* A node with some memory, but no CPU: nothing is there by chance */
#define NODE		1

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"

#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"

/* Who follows the file, and which part of it */
struct world {
	struct rig r;
	struct vmm vm;
	__u32 *shared;		/* the guest's shared memory */
	bool device, guest;
	size_t first, pages;
	size_t stride;		/* 2: every second page is a hole */
	char block[64];		/* a block of memory that went offline */
	char balancing[8];	/* what numa_balancing was, if changed */
};

FIXTURE(mm)
{
	struct world w;
};

FIXTURE_VARIANT(mm)
{
	bool device, guest;
};

FIXTURE_VARIANT_ADD(mm, nobody) {
};

FIXTURE_VARIANT_ADD(mm, device) {
	.device = true,
};

FIXTURE_VARIANT_ADD(mm, guest) {
	.guest = true,
};

FIXTURE_VARIANT_ADD(mm, both) {
	.device = true,
	.guest = true,
};

FIXTURE_SETUP(mm)
{
	struct world *w = &self->w;

	w->vm = (struct vmm)VMM_INIT;
	w->r.dev[0] = (struct mdma)MDMA_INIT;
	w->r.dev[1] = (struct mdma)MDMA_INIT;
	w->device = variant->device;
	w->guest = variant->guest;
	if (w->guest && !has_kvm())
		SKIP(return, "no KVM here");
	ASSERT_EQ(0, w->device ? rig_setup(&w->r, ROOM / PAGE) :
				 rig_memory(&w->r, ROOM / PAGE));
	if (w->guest) {
		ASSERT_EQ(0, memfd_vm_create(&w->vm, 1));
		w->shared = alloc_shared(ROOM / PAGE);
		ASSERT_NE(NULL, w->shared);
	}
}

FIXTURE_TEARDOWN(mm)
{
	struct world *w = &self->w;

	vmm_destroy(&w->vm);
	rig_teardown(&w->r);
	if (w->balancing[0])
		mdma_write_file(NUMA_BALANCING, w->balancing);
	cgroup_leave();
	/* it may be online as a movable one */
	if (w->block[0]) {
		mdma_write_file(w->block, "offline");
		mdma_write_file(w->block, "online_kernel");
	}
}

/*
 * The file and those who follow it
 */

static __u32 gpa_of(size_t page)
{
	return GPA + page * PAGE;
}

static struct vmm_vcpu *vcpu_of(struct world *w)
{
	return &w->vm.vcpu[0];
}

/* Fill @pages pages, or every @stride-th of them. */
static void fill_pages(struct world *w, size_t first, size_t pages, size_t stride)
{
	size_t i;

	w->first = first;
	w->pages = pages;
	w->stride = stride;
	for (i = first; i < first + pages; i += stride)
		fill_words(at(&w->r, i), i);
}

static int add_slot(struct world *w, size_t first, size_t pages)
{
	int ret = vmm_set_slot(&w->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa_of(first),
			       pages * PAGE, w->shared + first * PAGE_WORDS, w->r.fd,
			       first * PAGE);

	return ret ? ret : vmm_set_private(&w->vm, gpa_of(first), pages * PAGE, true);
}

/* Have those pages followed, and mapped by all who follow them: by the guest first. */
static int follow(struct world *w)
{
	int ret = 0;
	size_t i;

	if (w->guest)
		ret = add_slot(w, w->first, w->pages);
	for (i = w->first; w->guest && !ret && i < w->first + w->pages; i += w->stride)
		ret = vmm_read(vcpu_of(w), gpa_of(i)) < 0;
	if (!ret && w->device)
		ret = rig_map(&w->r, 0, w->first, w->pages);
	return ret;
}

static int unfollow(struct world *w)
{
	__s64 ret = w->device ? mdma_unmap_all(&w->r.dev[0]) : 0;

	return ret < 0 ? ret : w->guest ? vmm_delete_slot(&w->vm, SLOT) : 0;
}

/* Is that page what it was filled with, for us and for the guest? */
static bool good_page(struct world *w, size_t page, unsigned int seed)
{
	return !wrong_words(at(&w->r, page), seed, PAGE_WORDS) &&
	       (!w->guest || !guest_wrong_words(&w->vm, 0, gpa_of(page), seed));
}

/* What one writes to page @a and the device copies to page @b, all see. */
static void write_and_read(struct __test_metadata *_metadata, struct world *w,
			   size_t a, size_t b)
{
	const unsigned int seed = 0x3ff000 + a;

	fill_words(at(&w->r, a), seed);
	if (w->guest) {
		fill_words(at(&w->r, a), 0);
		EXPECT_EQ(0, guest_fill(&w->vm, 0, gpa_of(a), seed));
	}
	EXPECT_TRUE(good_page(w, a, seed));
	if (w->device) {
		EXPECT_EQ(VFIO_MDMA_STATUS_DONE, rig_copy(&w->r, 0, a, b, PAGE));
		EXPECT_TRUE(good_page(w, b, seed));
	}
	fill_words(at(&w->r, a), a);
	fill_words(at(&w->r, b), b);
}

/* Nothing was lost, and all have the same pages. */
static void all_agree(struct __test_metadata *_metadata, struct world *w)
{
	size_t i, wrong = 0;

	for (i = w->first; i < w->first + w->pages; i += w->stride)
		wrong += !good_page(w, i, i);
	EXPECT_EQ(0, wrong);
	if (w->device)
		EXPECT_EQ(0, rig_differences(&w->r, 0, w->first, w->pages));
	write_and_read(_metadata, w, w->first, w->first + w->stride);
}

static void frames_of(struct world *w, __u64 *pfn)
{
	size_t i;

	for (i = 0; i < w->pages; i += w->stride)
		pfn[i] = pfn_of(at(&w->r, w->first + i));
}

/* How many of the pages are not where they were? */
static size_t moved(struct world *w, const __u64 *pfn)
{
	size_t i, sum = 0;

	for (i = 0; i < w->pages; i += w->stride)
		sum += pfn_of(at(&w->r, w->first + i)) != pfn[i];
	return sum;
}

/* How often was KVM told that pages of its memslots leave? There is one file. */
static long guest_told(void)
{
	FILE *file = fopen("/sys/kernel/debug/memfd_ops", "re");
	long times, sum = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " kvm pages %*u-%*u invalidated %ld", &times) == 1)
			sum += times;
	if (file)
		fclose(file);
	return sum;
}

/*
 * Migration, on behalf of those who ask for it
 */

/* Have the pages moved to a node: how many did not move, or -errno. */
static long move_to(struct world *w, int node)
{
	int nodes[w->pages], status[w->pages];
	void *addr[w->pages];
	size_t i;
	long ret;

	for (i = 0; i < w->pages; i++) {
		addr[i] = at(&w->r, w->first + i);
		nodes[i] = node;
	}
	ret = syscall(SYS_move_pages, 0, w->pages, addr, nodes, status, MPOL_MF_MOVE);
	return ret < 0 ? -errno : ret;
}

static size_t pages_on(struct world *w, int node)
{
	void *addr[w->pages];
	int status[w->pages];
	size_t i, sum = 0;

	for (i = 0; i < w->pages; i++)
		addr[i] = at(&w->r, w->first + i);
	if (syscall(SYS_move_pages, 0, w->pages, addr, NULL, status, 0))
		return SIZE_MAX;
	for (i = 0; i < w->pages; i++)
		sum += status[i] == node;
	return sum;
}

/* Where the file's pages come from, and with MPOL_MF_MOVE where they go. */
static int bind_file(struct world *w, int mode, int node, unsigned int flags)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, w->r.mem, ROOM, mode, &mask, 8 * sizeof(mask),
		       flags) ? -errno : 0;
}

TEST_F_TIMEOUT(mm, move_pages, 120)
{
	struct world *w = &self->w;
	__u64 pfn[PAGES];
	long told;

	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(PAGES, pages_on(w, 0));
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);
	told = guest_told();
	EXPECT_EQ(w->device ? PAGES : 0, move_to(w, NODE));
	EXPECT_EQ(w->device ? 0 : PAGES, pages_on(w, NODE));
	EXPECT_EQ(w->device ? 0 : PAGES, moved(w, pfn));
	/* what is refused because of the device is nothing to the guest */
	EXPECT_EQ(w->guest && !w->device ? PAGES : 0, guest_told() - told);
	all_agree(_metadata, w);

	/* once nobody has them, they move like any others */
	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(0, move_to(w, w->device ? NODE : 0));
	EXPECT_EQ(PAGES, pages_on(w, w->device ? NODE : 0));
}

TEST_F_TIMEOUT(mm, mbind, 120)
{
	struct world *w = &self->w;
	__u64 pfn[PAGES];

	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);
	EXPECT_EQ(w->device ? -EIO : 0,
		  bind_file(w, MPOL_BIND, NODE, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(w->device ? 0 : PAGES, moved(w, pfn));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(0, bind_file(w, MPOL_BIND, NODE, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, pages_on(w, NODE));
}

/* All that the process has, and what it has of the VM's, is to go elsewhere. */
TEST_F_TIMEOUT(mm, migrate_pages, 120)
{
	unsigned long from = 1, to = 1UL << NODE;
	struct world *w = &self->w;
	__u64 pfn[PAGES];

	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);
	/* it counts what has not moved, of all that the process has */
	EXPECT_LE(w->device ? PAGES : 0, syscall(SYS_migrate_pages, 0, 64, &from, &to));
	EXPECT_EQ(w->device ? 0 : PAGES, pages_on(w, NODE));
	EXPECT_EQ(w->device ? 0 : PAGES, moved(w, pfn));
	all_agree(_metadata, w);
	EXPECT_LE(0, syscall(SYS_migrate_pages, 0, 64, &to, &from));
	EXPECT_EQ(0, pages_on(w, NODE));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	EXPECT_LE(0, syscall(SYS_migrate_pages, 0, 64, &from, &to));
	EXPECT_EQ(PAGES, pages_on(w, NODE));
}

/*
 * Use the pages, from a CPU of node 0, until all are there, or the kernel has tried as
 * often as there are pages to bring one there and could not. How many are there then?
 * UINT8_MAX if it does neither.
 */
static int use_pages(struct world *w)
{
	const long enough = counter("/proc/vmstat", "pgmigrate_fail") + PAGES;
	const time_t end = time(NULL) + 60;
	size_t there, i;

	do {
		/* the kernel looks only at who is busy */
		for (i = 0; i < 10000 * w->pages; i++)
			(void)*(volatile unsigned char *)at(&w->r, w->first + i % w->pages);
		there = pages_on(w, 0);
		if (there == w->pages || counter("/proc/vmstat", "pgmigrate_fail") >= enough)
			return there;
	} while (time(NULL) < end);
	return UINT8_MAX;
}

/* By a process of its own: after a failure, the kernel looks less and less often. */
static int pages_after_balancing(struct world *w)
{
	int status;
	pid_t pid;

	/* this empties the CPU's list of pages to activate, which holds what it has */
	mdma_write_file("/proc/sys/vm/drop_caches", "1");
	pid = fork();
	if (!pid)
		_exit(use_pages(w));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST_F_TIMEOUT(mm, numa_balancing, 180)
{
	struct world *w = &self->w;

	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, move_to(w, NODE));
	ASSERT_EQ(0, follow(w));
	ASSERT_EQ(PAGES, pages_on(w, NODE));
	ASSERT_EQ(0, mdma_read_file(NUMA_BALANCING, w->balancing, sizeof(w->balancing)));
	ASSERT_EQ(0, mdma_write_file(NUMA_BALANCING, "1"));
	EXPECT_EQ(w->device ? 0 : PAGES, pages_after_balancing(w));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(PAGES, pages_after_balancing(w));
}

/* Pages that lie scattered over a node are moved together, to one end of it. */
TEST_F_TIMEOUT(mm, compaction, 240)
{
	const size_t scattered = HUGE_PAGES, every = 32;
	unsigned long mask = 1UL << NODE;
	struct world *w = &self->w;
	__u64 pfn[HUGE_PAGES];
	unsigned char *mem;
	size_t i;

	mem = mmap(NULL, scattered * every * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	madvise(mem, scattered * every * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, syscall(SYS_mbind, mem, scattered * every * PAGE, MPOL_PREFERRED,
			     &mask, 64, 0));
	ASSERT_EQ(0, bind_file(w, MPOL_PREFERRED, NODE, 0));
	for (i = 0; i < scattered * every; i++) {
		mem[i * PAGE] = 1;
		if (i % every == 0)
			fill_pages(w, i / every, 1, 1);
	}
	w->first = 0;
	w->pages = scattered;
	munmap(mem, scattered * every * PAGE);
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);

	ASSERT_EQ(0, mdma_write_file("/sys/devices/system/node/node1/compact", "1"));
	note("%zu of %zu pages moved", moved(w, pfn), scattered);
	EXPECT_EQ(!w->device, moved(w, pfn) > 0);
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	ASSERT_EQ(0, mdma_write_file("/sys/devices/system/node/node1/compact", "1"));
	EXPECT_LT(0, moved(w, pfn));
}

TEST_F_TIMEOUT(mm, soft_offline, 60)
{
	struct world *w = &self->w;
	__u64 pfn[PAGES];
	size_t i;

	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(w->device ? -1 : 0,
			  madvise(at(&w->r, i), PAGE, MADV_SOFT_OFFLINE));
		if (w->device)
			EXPECT_EQ(EBUSY, errno);
	}
	EXPECT_EQ(w->device ? 0 : 2, moved(w, pfn));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	/* this empties the CPU's list of pages to activate, which holds what it has */
	ASSERT_EQ(0, mdma_write_file("/proc/sys/vm/drop_caches", "1"));
	EXPECT_EQ(0, madvise(at(&w->r, 3), PAGE, MADV_SOFT_OFFLINE));
	EXPECT_NE(pfn[3], pfn_of(at(&w->r, 3)));
}

/*
 * Memory that must not keep anything for long: blocks that go offline, CMA
 */

/* Bring in huge folios until one is where it is wanted, and keep some pages of it. */
static bool find_place(struct world *w, __u64 start, __u64 end, size_t pages)
{
	struct rig *r = &w->r;
	bool found = false;
	size_t first;
	__u64 pfn;

	if (rig_thp(r, "force"))
		return false;
	for (first = 0; !found && first < ROOM / PAGE; first += HUGE_PAGES) {
		if (grow(r->fd, first, HUGE_PAGES))
			return false;
		pfn = pfn_of(at(r, first));
		found = start <= pfn && pfn < end && is_huge(at(r, first));
	}
	first -= HUGE_PAGES;
	punch(r->fd, 0, first);
	punch(r->fd, first + pages, HUGE_PAGES - pages);
	fill_pages(w, first, pages, 1);
	mdma_write_file(SHMEM_ENABLED, r->thp);
	return found;
}

static size_t frames_within(struct world *w, __u64 start, __u64 end)
{
	__u64 pfn[w->pages];
	size_t i, sum = 0;

	frames_of(w, pfn);
	for (i = 0; i < w->pages; i++)
		sum += start <= pfn[i] && pfn[i] < end;
	return sum;
}

static void on_alarm(int sig)
{
}

/*
 * Take a block offline, or try to for that many seconds. The kernel goes on trying by
 * itself while somebody holds a page there, until a signal comes.
 */
static int take_offline(const char *block, int seconds)
{
	const struct itimerval none = { }, patience = { .it_value.tv_sec = seconds };
	struct sigaction action = { .sa_handler = on_alarm };
	int ret;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &patience, NULL);
	ret = mdma_write_file(block, "offline");
	setitimer(ITIMER_REAL, &none, NULL);
	return ret;
}

/* Find a block of the node that can be offline, and leave it so. */
static int find_block(struct world *w, __u64 *start, __u64 *end)
{
	char text[32];
	glob_t found;
	int ret = -ENODEV;
	size_t i, size;

	if (mdma_read_file("/sys/devices/system/memory/block_size_bytes", text,
			   sizeof(text)))
		return -ENOENT;
	size = strtoull(text, NULL, 16) / PAGE;
	if (glob("/sys/devices/system/node/node1/memory[0-9]*", 0, NULL, &found))
		return -ENOENT;
	for (i = 0; i < found.gl_pathc && ret; i++) {
		snprintf(w->block, sizeof(w->block), "%.50s/state", found.gl_pathv[i]);
		ret = take_offline(w->block, 10);
	}
	if (!ret) {
		*start = strtoull(strrchr(found.gl_pathv[i - 1], '/') + 7, NULL, 10) * size;
		*end = *start + size;
	} else {
		w->block[0] = '\0';
	}
	globfree(&found);
	return ret;
}

/* What a device follows leaves memory that must stay movable, and can go offline. */
TEST_F_TIMEOUT(mm, offline_movable, 240)
{
	struct world *w = &self->w;
	__u64 start, end;

	ASSERT_EQ(0, find_block(w, &start, &end));
	ASSERT_EQ(0, mdma_write_file(w->block, "online_movable"));
	ASSERT_EQ(0, bind_file(w, MPOL_PREFERRED, NODE, 0));
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(PAGES, frames_within(w, start, end));
	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(w->device ? 0 : PAGES, frames_within(w, start, end));
	all_agree(_metadata, w);
	EXPECT_EQ(0, take_offline(w->block, 60));
	EXPECT_EQ(0, frames_within(w, start, end));
	all_agree(_metadata, w);
}

/* A page that somebody else holds as well stays, for as long as the device has it. */
TEST_F_TIMEOUT(mm, movable_but_held, 240)
{
	struct world *w = &self->w;
	struct iovec page = { .iov_len = PAGE };
	__u64 start, end;
	int pipes[2];

	ASSERT_EQ(0, find_block(w, &start, &end));
	ASSERT_EQ(0, mdma_write_file(w->block, "online_movable"));
	ASSERT_EQ(0, bind_file(w, MPOL_PREFERRED, NODE, 0));
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(PAGES, frames_within(w, start, end));
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	/* the last: with it, the kernel gives up on what it looks at next */
	page.iov_base = at(&w->r, PAGES - 1);
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &page, 1, 0));

	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(w->device ? 1 : PAGES, frames_within(w, start, end));
	all_agree(_metadata, w);
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, unfollow(w));
	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(w->device ? 0 : PAGES, frames_within(w, start, end));
	all_agree(_metadata, w);
}

/* From ordinary memory pages move if nobody holds them; else the block stays. */
TEST_F_TIMEOUT(mm, offline, 240)
{
	struct world *w = &self->w;
	__u64 start, end;
	int ret;

	ASSERT_EQ(0, find_block(w, &start, &end));
	ASSERT_EQ(0, mdma_write_file(w->block, "online_kernel"));
	ASSERT_EQ(0, bind_file(w, MPOL_PREFERRED, NODE, 0));
	ASSERT_TRUE(find_place(w, start, end, PAGES));
	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(PAGES, frames_within(w, start, end));

	ret = take_offline(w->block, w->device ? 4 : 60);
	EXPECT_EQ(w->device ? -EINTR : 0, ret);
	EXPECT_EQ(w->device ? PAGES : 0, frames_within(w, start, end));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	if (ret)
		EXPECT_EQ(0, take_offline(w->block, 60));
	EXPECT_EQ(0, frames_within(w, start, end));
}

static int cma_number(const char *name, __u64 *value)
{
	char path[64], text[32];
	int ret;

	snprintf(path, sizeof(path), "/sys/kernel/debug/cma/numa1/%s", name);
	ret = mdma_read_file(path, text, sizeof(text));
	*value = ret ? 0 : strtoull(text, NULL, 10);
	return ret;
}

/* All of the area is allocated for somebody: what lies in it has to move. */
TEST_F_TIMEOUT(mm, cma, 240)
{
	struct world *w = &self->w;
	__u64 start, count;
	char text[32];

	ASSERT_EQ(0, cma_number("base_pfn", &start));
	ASSERT_EQ(0, cma_number("count", &count));
	ASSERT_EQ(0, bind_file(w, MPOL_PREFERRED, NODE, 0));
	ASSERT_TRUE(find_place(w, start, start + count, PAGES));
	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(w->device ? 0 : PAGES, frames_within(w, start, start + count));
	all_agree(_metadata, w);

	snprintf(text, sizeof(text), "%llu", count);
	EXPECT_EQ(0, mdma_write_file("/sys/kernel/debug/cma/numa1/alloc", text));
	EXPECT_EQ(0, frames_within(w, start, start + count));
	all_agree(_metadata, w);
	EXPECT_EQ(0, mdma_write_file("/sys/kernel/debug/cma/numa1/free", text));
}

/*
 * Huge folios: made, and taken apart
 */

static int collapse(struct world *w)
{
	return madvise(w->r.mem, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

/* The first 2 MiB are, if nobody follows what has been filled last. */
static void collapses_unless_followed(struct __test_metadata *_metadata, struct world *w)
{
	bool nobody = !w->device && !w->guest;

	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(nobody, collapse(w) == 0);
	EXPECT_EQ(nobody, is_huge(w->r.mem));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(0, collapse(w));
	EXPECT_TRUE(is_huge(w->r.mem));
}

TEST_F_TIMEOUT(mm, collapse, 180)
{
	struct world *w = &self->w;

	fill_pages(w, 0, HUGE_PAGES, 2);
	collapses_unless_followed(_metadata, w);
}

/* That goes for the parts of the file that nobody has a window on, too. */
TEST_F_TIMEOUT(mm, collapse_elsewhere, 180)
{
	struct world *w = &self->w;

	fill_pages(w, 0, HUGE_PAGES, 2);
	fill_pages(w, HUGE_PAGES, PAGES, 1);
	collapses_unless_followed(_metadata, w);
}

/* Wait until khugepaged has gone through everything twice. */
static bool khugepaged_went_round(void)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	char text[32] = "0";
	long before, i;

	mdma_read_file(KHUGEPAGED "full_scans", text, sizeof(text));
	before = atol(text);
	for (i = 0; i < 3000 && atol(text) < before + 2; i++) {
		nanosleep(&tick, NULL);
		mdma_read_file(KHUGEPAGED "full_scans", text, sizeof(text));
	}
	return atol(text) >= before + 2;
}

TEST_F_TIMEOUT(mm, khugepaged, 180)
{
	struct world *w = &self->w;
	char sleeps[32];

	if (rig_thp(&w->r, "advise"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, mdma_read_file(KHUGEPAGED "scan_sleep_millisecs", sleeps,
				    sizeof(sleeps)));
	fill_pages(w, 0, HUGE_PAGES, 2);
	ASSERT_EQ(0, follow(w));
	ASSERT_EQ(0, madvise(w->r.mem, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, mdma_write_file(KHUGEPAGED "scan_sleep_millisecs", "10"));
	EXPECT_TRUE(khugepaged_went_round());
	EXPECT_EQ(!w->device && !w->guest, is_huge(w->r.mem));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	EXPECT_TRUE(khugepaged_went_round());
	EXPECT_TRUE(is_huge(w->r.mem));
	mdma_write_file(KHUGEPAGED "scan_sleep_millisecs", sleeps);
}

static int split_by_debugfs(unsigned char *addr)
{
	char text[80];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)addr,
		 (unsigned long)addr + HUGE);
	return mdma_write_file("/sys/kernel/debug/split_huge_pages", text);
}

/* The guest may go on with one entry for all, until a page of them leaves. */
TEST_F_TIMEOUT(mm, split_by_debugfs, 120)
{
	const size_t gone = 77;
	struct world *w = &self->w;
	struct rig *r = &w->r;

	if (rig_thp(r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	fill_pages(w, 0, HUGE_PAGES, 1);
	ASSERT_TRUE(is_huge(r->mem));
	ASSERT_EQ(0, follow(w));
	if (w->guest) {
		/* the device may have had it moved, to where it need not stay movable */
		EXPECT_TRUE(good_page(w, 0, 0));
		EXPECT_EQ(1, vmm_stat(&w->vm, "pages_2m"));
	}

	ASSERT_EQ(0, split_by_debugfs(r->mem));
	EXPECT_EQ(w->device, is_huge(r->mem));
	all_agree(_metadata, w);

	ASSERT_EQ(0, punch(r->fd, gone, 1));
	EXPECT_EQ(HUGE_PAGES - 1, allocated(r->fd));
	if (w->device)
		EXPECT_EQ(HUGE_PAGES - 1, rig_reachable(r, 0, 0, HUGE_PAGES));
	if (w->guest)
		EXPECT_EQ(0, vmm_compare(vcpu_of(w), gpa_of(gone), PAGE_WORDS, 0));
	fill_words(at(r, gone), gone);
	all_agree(_metadata, w);

	/* the next 2 MiB, after somebody has followed them */
	ASSERT_EQ(0, unfollow(w));
	ASSERT_EQ(0, grow(r->fd, HUGE_PAGES, HUGE_PAGES));
	fill_pages(w, HUGE_PAGES, HUGE_PAGES, 1);
	ASSERT_EQ(0, follow(w));
	ASSERT_EQ(0, unfollow(w));
	ASSERT_TRUE(is_huge(at(r, HUGE_PAGES)));
	ASSERT_EQ(0, split_by_debugfs(at(r, HUGE_PAGES)));
	EXPECT_FALSE(is_huge(at(r, HUGE_PAGES)));
}

/*
 * Swap
 */

/* What the group is charged for */
static long charged(const char *name)
{
	cgroup_add_up();
	return counter(CGROUP "/memory.stat", name);
}

TEST_F_TIMEOUT(mm, pageout, 120)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;

	ASSERT_EQ(0, rig_swap(r));
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, follow(w));
	madvise(r->mem, PAGES * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(w->device ? PAGES : 0, in_core_pages(r->mem, PAGES));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	ASSERT_EQ(0, madvise(r->mem, PAGES * PAGE, MADV_PAGEOUT));
	EXPECT_EQ(0, in_core_pages(r->mem, PAGES));
}

TEST_F_TIMEOUT(mm, reclaim, 120)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;

	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, cgroup_enter());
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, follow(w));
	cgroup_reclaim();
	EXPECT_EQ(w->device ? PAGES : 0, in_core_pages(r->mem, PAGES));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	cgroup_reclaim();
	EXPECT_EQ(0, in_core_pages(r->mem, PAGES));
}

/*
 * Have all of a file in swap, and then followed. A device has brought in what is not
 * behind the end of the file.
 */
static void swapped_out(struct __test_metadata *_metadata, struct world *w)
{
	struct rig *r = &w->r;

	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, ftruncate(r->fd, PAGES * PAGE));
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, fallocate(r->fd, FALLOC_FL_KEEP_SIZE, PAGES * PAGE, PAGES * PAGE));
	cgroup_reclaim();
	ASSERT_EQ(0, in_core_pages(r->mem, 2 * PAGES));
	ASSERT_EQ(2 * PAGES, allocated(r->fd));
	if (w->device) {
		ASSERT_EQ(0, rig_map(r, 0, 0, 2 * PAGES));
		ASSERT_EQ(PAGES, rig_reachable(r, 0, 0, 2 * PAGES));
	}
	if (w->guest)
		ASSERT_EQ(0, add_slot(w, 0, PAGES));
}

/* What is in swap comes back at once, and a device is given it only then. */
TEST_F_TIMEOUT(mm, swapoff, 120)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;

	swapped_out(_metadata, w);
	ASSERT_EQ(0, swapoff("/dev/ram0"));
	r->swap = false;
	EXPECT_EQ(2 * PAGES, in_core_pages(r->mem, 2 * PAGES));
	if (w->device) {
		EXPECT_EQ(2 * PAGES, rig_reachable(r, 0, 0, 2 * PAGES));
		EXPECT_EQ(0, rig_differences(r, 0, 0, 2 * PAGES));
	}
	all_agree(_metadata, w);
}

/* What a device cannot be given stays in swap, which cannot be switched off then. */
TEST_F_TIMEOUT(mm, swapoff_refused, 120)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;

	ASSERT_EQ(0, limit_as_user(PAGES));
	swapped_out(_metadata, w);
	EXPECT_EQ(w->device ? -1 : 0, swapoff("/dev/ram0"));
	if (w->device) {
		EXPECT_EQ(EDQUOT, errno);
		EXPECT_EQ(PAGES, pinned());
		EXPECT_EQ(PAGES, rig_reachable(r, 0, 0, 2 * PAGES));
		EXPECT_EQ(0, rig_differences(r, 0, 0, PAGES));
	}
	EXPECT_EQ(2 * PAGES, allocated(r->fd));
	all_agree(_metadata, w);
	ASSERT_EQ(0, unfollow(w));
	if (w->device)
		EXPECT_EQ(0, swapoff("/dev/ram0"));
	r->swap = false;
	EXPECT_EQ(2 * PAGES, in_core_pages(r->mem, 2 * PAGES));
}

/* mlock() counts for itself, and keeps pages from swap, but in no one place. */
TEST_F_TIMEOUT(mm, mlock, 120)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;
	__u64 pfn[PAGES];

	ASSERT_EQ(0, rig_swap(r));
	ASSERT_EQ(0, cgroup_enter());
	fill_pages(w, 0, PAGES, 1);
	ASSERT_EQ(0, mlock(r->mem, PAGES * PAGE));
	ASSERT_EQ(0, follow(w));
	frames_of(w, pfn);
	EXPECT_EQ(PAGES * PAGE / 1024, counter("/proc/self/status", "VmLck"));
	EXPECT_EQ(w->device ? PAGES * PAGE / 1024 : 0,
		  counter("/proc/self/status", "VmPin"));
	cgroup_reclaim();
	EXPECT_EQ(PAGES, in_core_pages(r->mem, PAGES));
	EXPECT_EQ(0, moved(w, pfn));
	EXPECT_EQ(w->device ? PAGES : 0, move_to(w, NODE));
	EXPECT_EQ(w->device ? 0 : PAGES, moved(w, pfn));
	all_agree(_metadata, w);

	/* it does not keep them from leaving the file */
	ASSERT_EQ(0, punch(r->fd, 3, 1));
	EXPECT_EQ(PAGES - 1, allocated(r->fd));
	if (w->device)
		EXPECT_EQ(0, rig_reachable(r, 0, 3, 1));
	if (w->guest)
		EXPECT_EQ(0, vmm_compare(vcpu_of(w), gpa_of(3), PAGE_WORDS, 0));
	fill_words(at(r, 3), 3);
	all_agree(_metadata, w);
	ASSERT_EQ(0, munlock(r->mem, PAGES * PAGE));

	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(0, move_to(w, NODE));
	EXPECT_EQ(PAGES, pages_on(w, NODE));
	cgroup_reclaim();
	EXPECT_EQ(0, in_core_pages(r->mem, PAGES));
}

/*
 * Memory that fails
 */

/* Let the page's memory fail. Who has it mapped is told by SIGBUS. */
static int poison(unsigned char *addr)
{
	return sigsetjmp(bus_error, 1) ||
	       !madvise(addr, PAGE, MADV_HWPOISON) ? 0 : -errno;
}

/* Nobody has that page, nor gets it. */
static void is_poisoned(struct __test_metadata *_metadata, struct world *w,
			size_t page)
{
	struct vmm_vcpu *vcpu = vcpu_of(w);
	struct rig *r = &w->r;
	char byte;

	EXPECT_EQ(-1, pread(r->fd, &byte, 1, page * PAGE));
	EXPECT_EQ(EIO, errno);
	if (w->device) {
		EXPECT_EQ(0, rig_reachable(r, 0, page, 1));
		EXPECT_EQ(VFIO_MDMA_STATUS_FAULT, rig_copy(r, 0, page, 0, 64));
	}
	if (w->guest) {
		EXPECT_EQ(-EHWPOISON, vmm_read(vcpu, gpa_of(page)));
		EXPECT_EQ(KVM_EXIT_MEMORY_FAULT, vcpu->run->exit_reason);
		EXPECT_EQ(gpa_of(page), vcpu->run->memory_fault.gpa);
	}
}

/* The same, with no process that has it mapped: with the device or the guest alone */
static int poison_unmapped(unsigned char *addr)
{
	unsigned char *huge = (unsigned char *)((uintptr_t)addr & ~(HUGE - 1));
	char text[32];

	snprintf(text, sizeof(text), "%llu", pfn_of(addr));
	if (madvise(huge, HUGE, MADV_DONTNEED))
		return -errno;
	return mdma_write_file("/sys/kernel/debug/hwpoison/corrupt-pfn", text);
}

static void memory_failure(struct __test_metadata *_metadata, struct world *w,
			   bool huge, int (*poison)(unsigned char *addr))
{
	const size_t bad = 77;
	struct rig *r = &w->r;
	char text[32];
	__u64 pfn;
	size_t i;

	signal(SIGBUS, on_sigbus);
	ASSERT_EQ(0, grow(r->fd, 0, HUGE_PAGES));
	fill_pages(w, 0, HUGE_PAGES, 1);
	ASSERT_EQ(huge, is_huge(r->mem));
	ASSERT_EQ(0, follow(w));
	pfn = pfn_of(at(r, bad));

	ASSERT_EQ(0, poison(at(r, bad)));
	is_poisoned(_metadata, w, bad);
	for (i = 0; i < HUGE_PAGES; i++)
		if (i != bad)
			ASSERT_TRUE(good_page(w, i, i));
	if (w->device)
		EXPECT_EQ(HUGE_PAGES - 1, rig_reachable(r, 0, 0, HUGE_PAGES));
	/* nor by following it anew */
	ASSERT_EQ(0, unfollow(w));
	if (w->device)
		ASSERT_EQ(0, rig_map(r, 0, 0, HUGE_PAGES));
	if (w->guest)
		ASSERT_EQ(0, add_slot(w, 0, HUGE_PAGES));
	is_poisoned(_metadata, w, bad);

	/* a new page comes into its place; our own mapping is to forget */
	ASSERT_EQ(0, madvise(at(r, bad), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, punch(r->fd, bad, 1));
	fill_words(at(r, bad), bad);
	EXPECT_NE(pfn, pfn_of(at(r, bad)));
	all_agree(_metadata, w);

	snprintf(text, sizeof(text), "%llu", pfn);
	mdma_write_file("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

TEST_F_TIMEOUT(mm, memory_failure, 120)
{
	memory_failure(_metadata, &self->w, false, poison);
}

TEST_F_TIMEOUT(mm, memory_failure_unmapped, 120)
{
	memory_failure(_metadata, &self->w, false, poison_unmapped);
}

TEST_F_TIMEOUT(mm, memory_failure_in_huge_folio, 120)
{
	if (rig_thp(&self->w.r, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	memory_failure(_metadata, &self->w, true, poison);
}

/*
 * Memory that runs out, and who it is charged to
 */

/* Follow the file, and fill it until there is no memory. Does not return. */
static void run_out_of_memory(struct world *w)
{
	char text[32];
	long current;
	size_t i;

	w->vm = (struct vmm)VMM_INIT;
	w->first = 0;
	w->pages = ROOM / PAGE;
	w->stride = ROOM / PAGE;
	if (mdma_write_file(CGROUP "/cgroup.procs", "0") ||
	    (w->device && mdma_open_group(&w->r.dev[0])) ||
	    (w->guest && memfd_vm_create(&w->vm, 1)) || follow(w) ||
	    mdma_read_file(CGROUP "/memory.current", text, sizeof(text)))
		_exit(1);
	current = atol(text) + (16L << 20);
	snprintf(text, sizeof(text), "%ld", current);
	if (mdma_write_file(CGROUP "/memory.max", text))
		_exit(2);
	if (w->guest)
		vmm_touch(vcpu_of(w), GPA, w->pages, PAGE, 1);
	for (i = 0; i < w->pages; i++)
		*at(&w->r, i) = 1;
	_exit(3);
}

/* Who has device and guest is killed: both go, and the file is the others' again. */
TEST_F_TIMEOUT(mm, oom, 240)
{
	struct world *w = &self->w;
	struct rig *r = &w->r;
	__u64 pfn[PAGES];
	long before, after;
	int status;
	pid_t pid;

	mdma_close(&r->dev[0]);
	vmm_destroy(&w->vm);
	ASSERT_EQ(0, cgroup_enter());
	ASSERT_EQ(0, mdma_write_file(CGROUPS "/cgroup.procs", "0"));
	before = mdma_mem_free();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		run_out_of_memory(w);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status))
		TH_LOG("exit status %d", WEXITSTATUS(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_LE(1, counter(CGROUP "/memory.events", "oom_kill"));
	EXPECT_EQ(0, consumers_of(r->fd));

	/* what it brought is the file's, held by nobody, and charged as it was */
	note("%zu pages", allocated(r->fd));
	EXPECT_LT(1024, allocated(r->fd));
	EXPECT_EQ(allocated(r->fd) * PAGE, charged("shmem"));
	w->first = 0;
	w->pages = PAGES;
	w->stride = 1;
	frames_of(w, pfn);
	EXPECT_EQ(0, move_to(w, NODE));
	EXPECT_EQ(PAGES, pages_on(w, NODE));
	ASSERT_EQ(0, punch(r->fd, 0, ROOM / PAGE));
	EXPECT_EQ(0, charged("shmem"));
	after = mdma_mem_free();
	EXPECT_GT(4096, before - after)
		TH_LOG("%ld KiB were free, and now %ld", before, after);
	if (w->device) {
		ASSERT_EQ(0, mdma_open_group(&r->dev[0]));
		ASSERT_EQ(0, rig_map(r, 0, 0, PAGES));
		EXPECT_EQ(0, rig_reachable(r, 0, 0, PAGES));
	}
}

/* Pages are charged to who brought them, page tables to who follows. */
TEST_F_TIMEOUT(mm, charges, 120)
{
	struct world *w = &self->w;
	long tables;

	ASSERT_EQ(0, cgroup_enter());
	/* where no other test has been: an IOMMU may keep its tables */
	fill_pages(w, ROOM / PAGE - PAGES, PAGES, 1);
	tables = charged("sec_pagetables");
	ASSERT_EQ(PAGES * PAGE, charged("shmem"));
	ASSERT_EQ(0, follow(w));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
	tables = charged("sec_pagetables") - tables;
	note("%ld KiB of page tables", tables / 1024);
	EXPECT_EQ(w->device || w->guest, tables > 0);
	EXPECT_EQ(w->device ? PAGES * PAGE / 1024 : 0,
		  counter("/proc/self/status", "VmPin"));
	/* whether or not they move */
	EXPECT_EQ(w->device ? PAGES : 0, move_to(w, NODE));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
	ASSERT_EQ(0, unfollow(w));
	EXPECT_EQ(0, counter("/proc/self/status", "VmPin"));
	EXPECT_EQ(PAGES * PAGE, charged("shmem"));
}

TEST_HARNESS_MAIN
