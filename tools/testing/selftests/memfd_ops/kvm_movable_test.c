// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that must keep nothing for long: blocks that go offline, and CMA.
 */
#include <glob.h>
#include <signal.h>
#include <sys/time.h>

#include "lib/harness.h"
#include "lib/kvm_mm_fixture.h"

#define PAGES		16

#define NEEDS_BLOCK	"needs memory of a second node that can go offline"

/* Add huge folios until one lies in [start, end), and keep some of its pages. */
static bool find_place(struct mm_test *mm, __u64 start, __u64 end, size_t pages)
{
	struct test_env *env = &mm->g.env;
	bool found = false;
	size_t first;
	__u64 pfn;

	if (env_thp(env, "force"))
		return false;
	for (first = 0; !found && first < MM_ROOM / PAGE; first += HUGE_PAGES) {
		if (grow(env->fd, first, HUGE_PAGES))
			return false;
		pfn = pfn_of(at(env, first));
		found = start <= pfn && pfn < end && is_huge(at(env, first));
	}
	first -= HUGE_PAGES;
	punch(env->fd, 0, first);
	punch(env->fd, first + pages, HUGE_PAGES - pages);
	fill_pages(mm, first, pages, 1);
	write_file(SHMEM_ENABLED, env->thp);
	return found;
}

static size_t frames_within(struct mm_test *mm, __u64 start, __u64 end)
{
	__u64 pfn[mm->pages];
	size_t i, sum = 0;

	frames_of(mm, pfn);
	for (i = 0; i < mm->pages; i++)
		sum += start <= pfn[i] && pfn[i] < end;
	return sum;
}

static void on_alarm(int sig)
{
}

/*
 * Take a block offline, or try to for that many seconds. While a page there has a
 * reference, the kernel tries again until a signal arrives.
 */
static int take_offline(const char *block, int seconds)
{
	const struct itimerval none = { }, patience = { .it_value.tv_sec = seconds };
	struct sigaction action = { .sa_handler = on_alarm };
	int ret;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &patience, NULL);
	ret = write_file(block, "offline");
	setitimer(ITIMER_REAL, &none, NULL);
	return ret;
}

/* Find a block of the node that can go offline, and leave it so. */
static int find_block(struct mm_test *mm, __u64 *start, __u64 *end)
{
	char text[32];
	glob_t found;
	int ret = -ENODEV;
	size_t i, size;

	if (read_line("/sys/devices/system/memory/block_size_bytes", text,
		      sizeof(text)))
		return -ENOENT;
	size = strtoull(text, NULL, 16) / PAGE;
	if (glob("/sys/devices/system/node/node1/memory[0-9]*", 0, NULL, &found))
		return -ENOENT;
	for (i = 0; i < found.gl_pathc && ret; i++) {
		snprintf(mm->block, sizeof(mm->block), "%.50s/state", found.gl_pathv[i]);
		ret = take_offline(mm->block, 10);
	}
	if (!ret) {
		*start = strtoull(strrchr(found.gl_pathv[i - 1], '/') + 7, NULL, 10) * size;
		*end = *start + size;
	} else {
		mm->block[0] = '\0';
	}
	globfree(&found);
	return ret;
}

/*
 * Mapping pages for a device migrates them out of movable memory, so that it can go
 * offline.
 */
TEST_F(mm, offline_movable)
{
	struct mm_test *mm = &self->mm;
	__u64 start, end;

	if (find_block(mm, &start, &end))
		SKIP(return, NEEDS_BLOCK);
	ASSERT_EQ(0, write_file(mm->block, "online_movable"));
	ASSERT_EQ(0, bind_file(mm, MPOL_PREFERRED, NODE, 0));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(PAGES, frames_within(mm, start, end));
	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(mm->device ? 0 : PAGES, frames_within(mm, start, end));
	EXPECT_TRUE(all_agree(mm));
	EXPECT_EQ(0, take_offline(mm->block, 60));
	EXPECT_EQ(0, frames_within(mm, start, end));
	EXPECT_TRUE(all_agree(mm));
}

/* A page with another reference stays there, for as long as the device maps it. */
TEST_F(mm, movable_but_held)
{
	struct mm_test *mm = &self->mm;
	struct iovec page = { .iov_len = PAGE };
	__u64 start, end;
	int pipes[2];

	if (find_block(mm, &start, &end))
		SKIP(return, NEEDS_BLOCK);
	ASSERT_EQ(0, write_file(mm->block, "online_movable"));
	ASSERT_EQ(0, bind_file(mm, MPOL_PREFERRED, NODE, 0));
	fill_pages(mm, 0, PAGES, 1);
	ASSERT_EQ(PAGES, frames_within(mm, start, end));
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	/* the last one: after its failure, the kernel gives up on the pages behind it */
	page.iov_base = at(&mm->g.env, PAGES - 1);
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &page, 1, 0));

	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(mm->device ? 1 : PAGES, frames_within(mm, start, end));
	EXPECT_TRUE(all_agree(mm));
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, remove_consumers(mm));
	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(mm->device ? 0 : PAGES, frames_within(mm, start, end));
	EXPECT_TRUE(all_agree(mm));
}

/* Pages leave ordinary memory unless they are pinned, which keeps the block online. */
TEST_F(mm, offline)
{
	struct mm_test *mm = &self->mm;
	__u64 start, end;
	int ret;

	if (find_block(mm, &start, &end))
		SKIP(return, NEEDS_BLOCK);
	ASSERT_EQ(0, write_file(mm->block, "online_kernel"));
	ASSERT_EQ(0, bind_file(mm, MPOL_PREFERRED, NODE, 0));
	ASSERT_TRUE(find_place(mm, start, end, PAGES));
	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(PAGES, frames_within(mm, start, end));

	ret = take_offline(mm->block, mm->device ? 4 : 60);
	EXPECT_EQ(mm->device ? -EINTR : 0, ret);
	EXPECT_EQ(mm->device ? PAGES : 0, frames_within(mm, start, end));
	EXPECT_TRUE(all_agree(mm));
	ASSERT_EQ(0, remove_consumers(mm));
	if (ret)
		EXPECT_EQ(0, take_offline(mm->block, 60));
	EXPECT_EQ(0, frames_within(mm, start, end));
}

static int cma_number(const char *name, __u64 *value)
{
	char path[64], text[32];
	int ret;

	snprintf(path, sizeof(path), "/sys/kernel/debug/cma/numa1/%s", name);
	ret = read_line(path, text, sizeof(text));
	*value = ret ? 0 : strtoull(text, NULL, 10);
	return ret;
}

/* Allocate all of the area: the pages in it have to move. */
TEST_F(mm, cma)
{
	struct mm_test *mm = &self->mm;
	__u64 start, count;
	char text[32];

	if (cma_number("base_pfn", &start) || cma_number("count", &count))
		SKIP(return, "needs memory for CMA on a second node");
	ASSERT_EQ(0, bind_file(mm, MPOL_PREFERRED, NODE, 0));
	ASSERT_TRUE(find_place(mm, start, start + count, PAGES));
	ASSERT_EQ(0, add_consumers(mm));
	EXPECT_EQ(mm->device ? 0 : PAGES, frames_within(mm, start, start + count));
	EXPECT_TRUE(all_agree(mm));

	snprintf(text, sizeof(text), "%llu", count);
	EXPECT_EQ(0, write_file("/sys/kernel/debug/cma/numa1/alloc", text));
	EXPECT_EQ(0, frames_within(mm, start, start + count));
	EXPECT_TRUE(all_agree(mm));
	EXPECT_EQ(0, write_file("/sys/kernel/debug/cma/numa1/free", text));
}

TEST_HARNESS_MAIN
