// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_fuzz SECONDS [SEED]: calls of all kinds at files that consumers follow, at random,
 * from several threads and processes. It is no kselftest: "make fuzz" runs it.
 *
 * A round is a process, with a seed of its own. Its threads share a table of descriptors.
 * Now and then they stand still, and all consumers are compared with the files. Then the
 * round closes everything, or is killed, and nothing may be left of it: no consumer, no
 * page, no charge. The lab looks at the kernel's log.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <memfd_ops/files.h>

#include "fuzz/fuzz.h"
#include "lib/debugfs.h"
#include "lib/pages.h"
#include "lib/rights.h"
#include "lib/test_env.h"

#define THREADS		3
#define ROUND		60	/* seconds */
#define STEP		2000000	/* microseconds between two stand-stills */
#define PATIENCE	300	/* seconds, for anything to come to its end */
#define LONG		600	/* seconds in which each call succeeds */

struct shared *shared;
struct round this_round;
static int baseline;	/* consumers that others have */
struct device devices[DEVICES] = { { .name = DEVICE_DMA }, { }, { .name = DEVICE_PIN } };

static long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/*
 * A round
 */

static void *work(void *arg)
{
	struct thread *t = arg;

	while (!this_round.stop) {
		pthread_rwlock_rdlock(&this_round.still);
		act(t);
		pthread_rwlock_unlock(&this_round.still);
	}
	return NULL;
}

static void check(struct thread *t)
{
	check_consumers();
	check_devices(t);
	check_guests(t);
	shared->beats++;
}

/* The VMs have all of the first file: one as private memory, the other by a mapping. */
static int begin_vms(void)
{
	int fd = memfd_create("first", MFD_CLOEXEC), i, ret;
	struct vmm *private = &this_round.vms[0], *ordinary = &this_round.vms[1];
	void *mem, *unused = vmm_alloc_shared(FILE_SIZE);

	if (fd < 0 || ftruncate(fd, FILE_SIZE))
		return -errno;
	mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	this_round.fds[MEMFD][0] = fd;
	adopt(fd);
	ret = vmm_create_for_memfds(private, VCPUS);
	if (!ret)
		ret = vmm_create(ordinary, KVM_X86_DEFAULT_VM, VCPUS);
	if (!ret)
		ret = vmm_set_slot(private, 1 + MEMSLOTS, KVM_MEM_GUEST_MEMFD, GPA_FIXED, FILE_SIZE,
				   unused, fd, 0);
	if (!ret)
		ret = vmm_set_private(private, GPA_FIXED, FILE_SIZE, true);
	if (!ret)
		ret = vmm_set_slot(ordinary, 1 + MEMSLOTS, 0, GPA_FIXED, FILE_SIZE, mem, -1, 0);
	for (i = 0; i < SLOTS && !ret; i++) {
		this_round.fds[VM][i] = this_round.vms[i].fd;
		this_round.fds[VCPU][i] = this_round.vms[i].vcpu[i].fd;
	}
	this_round.fds[KVM][0] = private->kvm;
	return ret;
}

static int begin_round(struct thread *t)
{
	const struct rlimit limit = { 2 * FILE_SIZE, 2 * FILE_SIZE };
	pthread_rwlockattr_t attr;
	int i, ret;

	/* the thread that waits for all others to stand still must get the lock */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&this_round.still, &attr);
	for (i = 0; i < SLOTS * VCPUS; i++)
		pthread_mutex_init(&this_round.vcpus[i / VCPUS][i % VCPUS], NULL);
	for (i = 0; i < NR_KINDS * SLOTS; i++)
		this_round.fds[i / SLOTS][i % SLOTS] = -1;
	this_round.skip_groups = !pick(&t->random, 3);
	this_round.skip_cdevs = !this_round.skip_groups && pick(&t->random, 2);
	this_round.fds[KNOB][0] = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);
	this_round.fds[KNOB][1] = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	this_round.mdma = (struct mdma)MDMA_INIT;
	ret = mdma_create(&this_round.mdma);
	if (!ret)
		ret = pick(&t->random, 2) ? mdma_open_group(&this_round.mdma) :
					    mdma_open_cdev(&this_round.mdma);
	if (!ret)
		ret = begin_vms();
	this_round.fds[MDMA][0] = this_round.mdma.fd;
	/* files stay small */
	signal(SIGXFSZ, SIG_IGN);
	if (ret || setrlimit(RLIMIT_FSIZE, &limit))
		return ret ? ret : -errno;
	return pick(&t->random, 2) ? 0 : set_ipc_lock(false);
}

static void end_round(struct thread *t)
{
	int first = pick(&t->random, KNOB * SLOTS), i;
	long pinned, locked;

	for (i = first; i < first + KNOB * SLOTS; i++)
		drop(i / SLOTS % KNOB, i % SLOTS);
	for (i = 0; i < SLOTS; i++)
		vmm_destroy(&this_round.vms[i]);
	mdma_close(&this_round.mdma);
	munmap((void *)AREA_BASE, AREAS * SPACING);
	pinned = counter("/proc/self/status", "VmPin");
	locked = counter("/proc/self/status", "VmLck");
	if (pinned || locked)
		WRONG("%ld kB are pinned and %ld kB locked when all is closed", pinned, locked);
	if (consumers_of(ANY_FILE) != baseline)
		WRONG("%d consumers are left when all is closed",
		      consumers_of(ANY_FILE) - baseline);
}

static void __attribute__((noreturn)) round_main(unsigned int seed, long seconds)
{
	static struct thread threads[1 + THREADS];
	long end = now() + seconds;
	struct thread *t = threads;
	int i, ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i <= THREADS; i++)
		threads[i].random = (seed + 1) * 0x9e3779b97f4a7c15ULL + i + 1;
	ret = begin_round(t);
	if (ret)
		errx(1, "begin: %s", strerror(-ret));
	t->proper = true;
	for (i = 0; i < nr_calls; i++)
		make_call(t, &calls[i]);
	for (i = 1; i <= THREADS; i++)
		if (pthread_create(&threads[i].thread, NULL, work, &threads[i]))
			errx(1, "pthread_create");
	do {
		usleep(STEP);
		pthread_rwlock_wrlock(&this_round.still);
		check(t);
		pthread_rwlock_unlock(&this_round.still);
	} while (now() < end && !shared->wrong);
	this_round.stop = true;
	for (i = 1; i <= THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	check(t);
	end_round(t);
	exit(0);
}

/*
 * The supervisor
 */

static int find_devices(void)
{
	char path[PATH_MAX], unused;
	struct vdev d[DEVICES] = {
		VDEV_SOFT(DEVICE_DMA), VDEV_INIT, VDEV_SOFT(DEVICE_PIN),
	};
	int i, ret;

	if (mdma_type(path, sizeof(path)) && system("modprobe mdma"))
		return -ENODEV;
	mdma_remove_stale();
	ret = pci_find(NVME_ALIAS, devices[1].name, sizeof(devices[1].name));
	if (!ret)
		ret = pci_take(devices[1].name);
	memcpy(d[1].address, devices[1].name, sizeof(d[1].address));
	for (i = 0; i < DEVICES && !ret; i++) {
		ret = device_group(d[i].bus, d[i].address, devices[i].group,
				   sizeof(devices[i].group));
		if (!ret)
			ret = device_cdev(d[i].bus, d[i].address, devices[i].cdev,
					  sizeof(devices[i].cdev));
	}
	return ret ? ret : allow_unsafe_interrupts(&unused);
}

/* Wait for a round, which shows signs of life; its status, or -1. */
static int wait_for(pid_t pid, long kill_at)
{
	unsigned long beats = shared->beats;
	long seen = now();
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		usleep(10000);
		if (beats != shared->beats) {
			beats = shared->beats;
			seen = now();
		}
		if (now() >= kill_at)
			kill(pid, SIGKILL);
		if (now() < seen + PATIENCE)
			continue;
		WRONG("the round does not come to its end");
		note_threads(pid);
		return -1;
	}
	return status;
}

/* What processes of the round are left: they have been killed with it. */
static void reap_rest(void)
{
	long end = now() + PATIENCE;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && now() < end)
		usleep(10000);
	if (pid >= 0)
		WRONG("a process of the round does not come to its end");
}

static void run_round(struct test_env *env, unsigned int seed, long seconds, long *pages)
{
	const char * const thp[] = { "force", "never", "advise", "force" };
	__u64 random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	bool killed = !pick(&random, 4);
	long kill_at, before = *pages;
	char text[64];
	int status;
	pid_t pid;

	snprintf(text, sizeof(text), "memfd_fuzz: seed %u\n", seed);
	write_file("/dev/kmsg", text);
	if (env_thp(env, thp[pick(&random, 4)]) || env_swap(env))
		errx(1, "huge pages, and swap: %m");
	fflush(stdout);
	pid = fork();
	if (!pid)
		round_main(seed, seconds);
	kill_at = now() + (killed ? 2 + pick(&random, seconds) : 1000000);
	status = wait_for(pid, kill_at);
	if (status && !(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		WRONG("the round ended with status %#x", status);
	if (status < 0)
		return;
	reap_rest();
	mdma_remove_stale();
	if (consumers_of(ANY_FILE) != baseline)
		WRONG("the round has left %d consumers", consumers_of(ANY_FILE) - baseline);
	if (swapoff("/dev/ram0"))
		WRONG("swapoff: %m");
	*pages = pages_of_files();
	if (*pages != before)
		WRONG("the round has left %ld pages", *pages - before);
}

static void report(long seconds)
{
	unsigned long tried = 0;
	int i;

	for (i = 0; i < nr_calls; i++) {
		tried += shared->calls[i].tried;
		note("%8lu of %8lu %s", shared->calls[i].done, shared->calls[i].tried,
		     calls[i].name);
		if (!shared->calls[i].done && seconds >= LONG)
			WRONG("%s never succeeds: the fuzzer does not reach it", calls[i].name);
	}
	note("%lu calls, %lu stand-stills, %lu comparisons", tried, shared->beats,
	     shared->compared);
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? atol(argv[1]) : 120, end, pages;
	unsigned int seed = argc > 2 ? atoi(argv[2]) : time(NULL), last = seed;
	struct test_env env = { };
	int ret;

	parse_calls();
	ret = find_devices();
	if (ret)
		errx(1, "devices: %s", strerror(-ret));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (shared == MAP_FAILED || mlock(shared, sizeof(*shared)))
		err(1, "mmap");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	mdma_expect_iommu_faults();
	baseline = consumers_of(ANY_FILE);
	pages = pages_of_files();
	end = now() + seconds;
	do {
		note("seed %u", last);
		run_round(&env, last++, end - now() < ROUND ? end - now() : ROUND,
			  &pages);
	} while (now() < end && !shared->wrong);
	env_thp_as_before(&env);
	report(seconds);
	note("%u rounds, seed %u to %u: %s", last - seed, seed, last - 1,
	     shared->wrong ? "FAIL" : "PASS");
	return !!shared->wrong;
}
