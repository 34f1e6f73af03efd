// SPDX-License-Identifier: GPL-2.0
/* The supervisor starts and kills workers, and disturbs the system. */
#include "torture_procs.h"

void command(struct supervisor *s, int slot, char what)
{
	struct life *l = &s->lives[slot];

	if (write(l->commands, &what, 1) != 1)
		WRONG("worker %d is not there: %m", slot);
	l->busy = true;
}

int start_worker(struct supervisor *s, int slot)
{
	struct life *l = &s->lives[slot];
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -errno;
	fflush(stdout);
	l->number++;
	l->pid = fork();
	if (l->pid < 0)
		return -errno;
	if (!l->pid) {
		close(down[1]);
		close(up[0]);
		work(slot, l->number, down[0], up[1]);
	}
	close(down[0]);
	/* nobody else has it then: when the worker dies, that can be read */
	close(up[1]);
	l->commands = down[1];
	l->answers = up[0];
	l->busy = false;
	return 0;
}

/* Wait for a process that has nothing more to do; its status, or -1. */
int reap(pid_t pid, const char *what)
{
	__u64 end = now() + PATIENCE * 1000000ULL;
	int status;
	pid_t ret;

	while (!(ret = waitpid(pid, &status, WNOHANG)) && now() < end)
		usleep(1000);
	if (ret == pid)
		return status;
	WRONG("%s does not come to its end", what);
	note_threads(pid);
	return -1;
}

/* Each cell of a page is what it was, what it was to become, or zero. */
static void check_torn_page(int file, size_t page)
{
	__u64 old = model->pages[file][page], data[CELLS];
	size_t i;
	int ret;

	ret = peek(file, page, data);
	if (ret)
		WRONG("pread: %s", strerror(-ret));
	for (i = 0; i < CELLS && !ret; i++) {
		if (is_landing(i) ? may_have_landed(data[i]) :
		    !data[i] || data[i] == cell(file, page, content_of(old), i) ||
		    data[i] == cell(file, page, next_change(old), i))
			continue;
		WRONG("%016llx in page %zu of file %d, at whose change %llu its writer died",
		      data[i], page, file, next_change(old));
		ret = 1;
	}
}

/* Of a file, what a worker was changing when it died: nobody knows how far it came. */
static void clean_up_file(int slot, int file)
{
	size_t first = slot * region_pages, end = first + region_pages, page;

	/* it is one range */
	while (first < end && !(model->pages[file][first] & CHANGING))
		first++;
	while (first < end && !(model->pages[file][end - 1] & CHANGING))
		end--;
	if (first == end)
		return;
	model->counts[IN_THE_ACT]++;
	if (slot == WORKERS - 1 && ftruncate(files[file].fd, file_size * PAGE))
		WRONG("ftruncate: %m");
	for (page = first; page < end; page++)
		check_torn_page(file, page);
	give_up(file, first, end - first);
}

static void clean_up_after(int slot)
{
	struct entry *e;
	int i;

	for (e = model->entries[slot]; e < model->entries[slot] + DEVICES; e++) {
		for (i = 0; i < WINDOWS; i++)
			e->windows[i].mapped = false;
		e->kind = NOTHING;
		if (e->uuid[0])
			mdma_remove_uuid(e->uuid);
		e->uuid[0] = '\0';
	}
	for (i = 0; i < FILES; i++)
		clean_up_file(slot, i);
}

static void kill_worker(struct supervisor *s)
{
	int slot = pick(&s->random, WORKERS);
	struct life *l;

	if (suffers(slot))
		slot++;
	l = &s->lives[slot];
	kill(l->pid, SIGKILL);
	if (reap(l->pid, "a worker that was killed") < 0)
		return;
	close(l->commands);
	close(l->answers);
	clean_up_after(slot);
	model->counts[KILLS]++;
	if (start_worker(s, slot))
		WRONG("fork: %m");
	else
		command(s, slot, RUN);
}

/* Until all have answered their last command. */
static void collect(struct supervisor *s)
{
	struct pollfd ready = { .events = POLLIN };
	char what;
	int i;

	for (i = 0; i < WORKERS; i++) {
		if (!s->lives[i].busy)
			continue;
		ready.fd = s->lives[i].answers;
		if (poll(&ready, 1, PATIENCE * 1000) != 1) {
			WRONG("worker %d does not answer", i);
			note_threads(s->lives[i].pid);
		} else if (read(ready.fd, &what, 1) != 1) {
			WRONG("worker %d has died", i);
		}
		s->lives[i].busy = false;
	}
}

static void command_all(struct supervisor *s, char what)
{
	int i;

	for (i = 0; i < WORKERS; i++)
		command(s, i, what);
}

static int rebind(const char *driver, const char *address, bool reload)
{
	char path[64];
	int ret;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/unbind", driver);
	ret = write_file(path, address);
	if (ret)
		return ret;
	if (reload) {
		if (syscall(__NR_delete_module, driver, O_NONBLOCK))
			return -errno;
		model->counts[RMMODS]++;
		return system("modprobe mdma") ? -ENODEV : 0;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return write_file(path, address);
}

/* Unbinding waits in the kernel until the device is closed. */
static void take_driver_away(struct supervisor *s)
{
	bool reload = pick(&s->random, 2) || !model->counts[RMMODS];
	int ret;

	s->helper_kind = !model->counts[RMMODS] || pick(&s->random, 2) ? MDMA : NVME;
	fflush(stdout);
	s->helper = fork();
	if (s->helper)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pick(&s->random, 2))
		model->wanted[s->helper_kind] = true;
	ret = s->helper_kind == MDMA ? rebind("mdma", s->edu, reload) :
				       rebind("vfio-pci", s->nvme, false);
	if (ret)
		note("%s: %s", kind_names[s->helper_kind], strerror(-ret));
	exit(!!ret);
}

static void reap_helper(struct supervisor *s)
{
	if (!s->helper)
		return;
	if (reap(s->helper, "the process that unbinds a driver"))
		WRONG("%s could not be given another driver", kind_names[s->helper_kind]);
	model->wanted[s->helper_kind] = false;
	s->helper = 0;
	model->counts[REBINDS]++;
}

/* Of eight things any, but none again before all have been: a slow machine sees few. */
static int draw(struct supervisor *s)
{
	int nr;

	if (!s->deck)
		s->deck = 0xff;
	do {
		nr = pick(&s->random, 8);
	} while (!(s->deck & 1 << nr));
	s->deck &= ~(1 << nr);
	return nr;
}

static void disturb(struct supervisor *s)
{
	switch (draw(s)) {
	case 0:
	case 1:
		kill_worker(s);
		break;
	case 3:
		write_file("/proc/sys/vm/compact_memory", "1");
		break;
	case 4:
		write_file("/proc/sys/vm/drop_caches", "3");
		break;
	case 5:
		if (!s->helper)
			take_driver_away(s);
		break;
	case 7:
		/* as much as this is never there */
		write_file(CGROUP "/memory.reclaim", "64M");
		model->counts[RECLAIMS]++;
		break;
	case 6:
		if (!s->env.swap)
			break;
		if (swapoff("/dev/ram0") || swapon("/dev/ram0", 0))
			WRONG("swapoff, swapon: %m");
		model->counts[SWAPOFFS]++;
		break;
	default:
		break;
	}
}

static void stand_still(struct supervisor *s)
{
	collect(s);
	/* nobody has the device any more, or will have it */
	if (s->helper) {
		model->wanted[s->helper_kind] = true;
		model->round_end = 0;
		command_all(s, RUN);
		collect(s);
		reap_helper(s);
	}
	if (model->wrong)
		return;
	command_all(s, CHECK);
	collect(s);
	check_files();
	check_counts(s);
	check_tables(s);
	model->counts[QUIET]++;
}

void run_round(struct supervisor *s)
{
	model->round_end = now() + ROUND;
	command_all(s, RUN);
	usleep(pick(&s->random, ROUND / 2));
	kill_worker(s);
	do {
		usleep(pick(&s->random, 100000));
		disturb(s);
		if (s->helper && !model->wanted[s->helper_kind] && !pick(&s->random, 8))
			model->wanted[s->helper_kind] = true;
	} while (now() < model->round_end && !model->wrong);
	stand_still(s);
}
