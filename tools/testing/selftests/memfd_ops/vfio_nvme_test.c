// SPDX-License-Identifier: GPL-2.0
/*
 * Holes next to pages that an NVMe controller reads and writes all the time, with as many
 * commands in flight as its queue takes. The commands are good, and so is the data (I10).
 */
#include <memfd_ops/nvme.h>
#include <pthread.h>
#include <sched.h>

#include "lib/harness.h"
#include "lib/vfio_env.h"

/* Each command in flight has a huge folio of its own, and a page in it. */
#define FOLIOS	(NVME_IN_FLIGHT + 1UL)
#define PAGES	(FOLIOS * HUGE_PAGES)

/* Folios that another thread makes a hole in: each fourth */
#define HOLES	(FOLIOS / 4)

/* Completions that it waits for between two holes */
#define BETWEEN	16

FIXTURE(nvme)
{
	struct test_env env;
	struct nvme nvme;
};

FIXTURE_VARIANT(nvme)
{
	size_t page;		/* of each folio, that a command reads or writes */
	size_t first, pages;	/* of a folio, and the next one, that leave */
};

FIXTURE_VARIANT_ADD(nvme, first_page) { .page = 1, .first = 0, .pages = 1 };
FIXTURE_VARIANT_ADD(nvme, page_in_the_middle) { .page = 99, .first = 100, .pages = 1 };
FIXTURE_VARIANT_ADD(nvme, last_page) { .page = 510, .first = 511, .pages = 1 };
FIXTURE_VARIANT_ADD(nvme, last_and_first_page) { .page = 1, .first = 511, .pages = 2 };
FIXTURE_VARIANT_ADD(nvme, all_pages_but_one) { .page = 99, .first = 100, .pages = 511 };

FIXTURE_SETUP(nvme)
{
	struct test_env *env = &self->env;
	int ret;

	ret = vfio_env_setup(env, IOMMUFD, PAGES, NEED_EDU | NEED_NVME);
	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	/* the queues are in a file that stays as it is */
	ASSERT_EQ(0, env_add_side(env, NVME_PAGES, true));
	ASSERT_EQ(0, vdev_open(&env->space, &env->nvme));
	ASSERT_EQ(0, vdev_start(&env->nvme));
	memset(env->side, 0, NVME_PAGES * PAGE);
	ASSERT_EQ(0, map_side(env));
	self->nvme = (struct nvme){
		.regs = env->nvme.regs, .mem = env->side, .iova = SIDE,
	};
	ASSERT_EQ(0, nvme_start(&self->nvme));
	ASSERT_LE(NVME_IN_FLIGHT * PAGE, self->nvme.disk_size);
}

FIXTURE_TEARDOWN(nvme)
{
	if (self->nvme.regs)
		nvme_stop(&self->nvme);
	vfio_env_teardown(&self->env);
}

/* The commands in flight: command n writes its page to the disk, or reads it back. */
struct traffic {
	struct test_env *env;
	struct nvme *nvme;
	size_t page;			/* in each folio */
	bool reads[NVME_IN_FLIGHT];
	unsigned int seed[NVME_IN_FLIGHT];
	unsigned long done, bad_status, bad_data;
};

static unsigned char *page_of(struct traffic *t, int n)
{
	return at(t->env, n * HUGE_PAGES + t->page);
}

static void submit(struct traffic *t, int n)
{
	struct nvme_command cmd;

	cmd = nvme_transfer(t->nvme, t->reads[n] ? NVME_READ : NVME_WRITE, n,
			    iova(n * HUGE_PAGES + t->page), 1);
	cmd.id = n;
	nvme_submit(t->nvme, NVME_IO, &cmd);
}

/* Fill a page for the disk, or wipe it, for the disk to fill it again. */
static void next_command(struct traffic *t, int n)
{
	t->reads[n] = !t->reads[n];
	if (t->reads[n])
		memset(page_of(t, n), 0, PAGE);
	else
		fill(page_of(t, n), ++t->seed[n]);
}

static void completed(struct traffic *t, int n, int status)
{
	if (status && !t->bad_status++)
		note("command %d: status 0x%x", n, status);
	if (t->reads[n] && !filled(page_of(t, n), t->seed[n]) && !t->bad_data++)
		note("command %d: other data", n);
}

/*
 * Keep the queue full until *@stop, then let it run empty. Returns 0, or an error of the
 * controller.
 */
static int run_traffic(struct traffic *t, const bool *stop)
{
	int n, ret, in_flight;
	__u16 id;

	for (n = 0; n < NVME_IN_FLIGHT; n++) {
		t->reads[n] = true;
		next_command(t, n);
		submit(t, n);
	}
	for (in_flight = NVME_IN_FLIGHT; in_flight;) {
		ret = nvme_poll(t->nvme, NVME_IO, &id);
		if (ret == -EAGAIN) {
			sched_yield();
			continue;
		}
		if (ret < 0)
			return ret;
		completed(t, id, ret);
		__atomic_add_fetch(&t->done, 1, __ATOMIC_RELEASE);
		in_flight--;
		if (__atomic_load_n(stop, __ATOMIC_ACQUIRE))
			continue;
		next_command(t, id);
		submit(t, id);
		in_flight++;
	}
	return 0;
}

/* The thread that makes the holes */
struct puncher {
	struct traffic *traffic;
	size_t first, pages;
	bool stop;		/* it is done, or has failed */
	int error;
	pthread_t thread;
};

/* The commands that are in flight during each call have all begun since the last one. */
static void let_them_complete(struct traffic *t)
{
	unsigned long done = __atomic_load_n(&t->done, __ATOMIC_ACQUIRE);

	while (__atomic_load_n(&t->done, __ATOMIC_ACQUIRE) - done < BETWEEN)
		sched_yield();
}

static void *punch_all(void *arg)
{
	struct puncher *p = arg;
	size_t n;

	for (n = 0; n < FOLIOS && !p->error; n += FOLIOS / HOLES) {
		let_them_complete(p->traffic);
		p->error = punch(p->traffic->env->fd, n * HUGE_PAGES + p->first, p->pages);
	}
	let_them_complete(p->traffic);
	__atomic_store_n(&p->stop, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(nvme, next_to_holes)
{
	struct test_env *env = &self->env;
	struct traffic traffic = {
		.env = env, .nvme = &self->nvme, .page = variant->page,
	};
	struct puncher puncher = {
		.traffic = &traffic, .first = variant->first, .pages = variant->pages,
	};
	long faults = mdma_iommu_faults(), mapped;
	size_t n;

	if (env_thp(env, "force"))
		SKIP(return, "no huge pages in this kernel's shmem");
	ASSERT_EQ(0, map_pages(env, 0, PAGES));
	ASSERT_EQ(0, grow(env->fd, 0, PAGES));
	for (n = 0; n < FOLIOS; n++)
		ASSERT_TRUE(is_huge(at(env, n * HUGE_PAGES)));
	stay_on_one_cpu(false);
	ASSERT_EQ(0, pthread_create(&puncher.thread, NULL, punch_all, &puncher));
	ASSERT_EQ(0, run_traffic(&traffic, &puncher.stop));
	pthread_join(puncher.thread, NULL);
	note("%lu commands, and %lu holes", traffic.done, HOLES);

	EXPECT_EQ(0, puncher.error);
	EXPECT_EQ(0, traffic.bad_status);
	EXPECT_EQ(0, traffic.bad_data);
	/*
	 * Pages were freed, rather than zeroed: all of them where this program did not
	 * touch the folio at that moment, and so kept it from being split.
	 */
	EXPECT_GT(PAGES, allocated(env->fd));
	EXPECT_LE(PAGES - HOLES * variant->pages, allocated(env->fd));
	mapped = vdev_reaches(&env->nvme, iova(0), PAGES, NULL);
	if (mapped != -ENOENT) {
		EXPECT_EQ(allocated(env->fd), mapped);
	}
	EXPECT_EQ(faults, mdma_iommu_faults());
}

TEST_HARNESS_MAIN
