// SPDX-License-Identifier: GPL-2.0
/* A worker: a process that uses devices and changes files, at random. */
#include "torture_procs.h"

/*
 * Allocations of some workers fail now and then. Those are not killed: what they leave
 * to be undone at their exit would suffer as well, and a group that is given back while
 * there is no memory for its own domain is a WARNING of drivers/iommu/iommu.c.
 */
bool suffers(int slot)
{
	return slot % 3 == 1;
}

void suffer(struct worker *w, bool suffer)
{
	if (w->fail >= 0 && pwrite(w->fail, suffer ? "1" : "0", 1, 0) != 1)
		WRONG("make-it-fail: %m");
}

/* Count calls that fail without memory; a worker that does not suffer must not see any. */
bool failed(struct worker *w, int ret, const char *what)
{
	if (!ret)
		return false;
	if (w->fail >= 0 && ret == -ENOMEM)
		model->counts[FAILED_CALLS]++;
	else
		WRONG("%s: %s", what, strerror(-ret));
	return true;
}

static void give_back_wanted(struct worker *w)
{
	int i;

	for (i = 0; i < DEVICES; i++)
		if (w->devices[i].kind && model->wanted[w->devices[i].kind])
			close_device(&w->devices[i]);
}

void __attribute__((noreturn)) work(int slot, unsigned int life, int commands,
				    int answers)
{
	struct worker w = {
		.slot = slot,
		.random = (seed + 1) * 0x9e3779b97f4a7c15ULL + slot + 100 * life + 1,
		.fail = -1,
	};
	char what;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (suffers(slot))
		w.fail = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
	for (i = 0; i < DEVICES; i++) {
		w.devices[i].mdma = (struct mdma)MDMA_INIT;
		w.devices[i].vdev = (struct vdev)VDEV_INIT;
		w.devices[i].space.fd = -1;
		w.devices[i].entry = &model->entries[slot][i];
	}
	while (read(commands, &what, 1) == 1 && what != QUIT) {
		while (what == RUN && now() < model->round_end && !model->wrong) {
			give_back_wanted(&w);
			if (pick(&w.random, 2))
				file_act(&w);
			else
				device_act(&w);
		}
		give_back_wanted(&w);
		if (what == CHECK)
			look_at_all(&w);
		if (write(answers, &what, 1) != 1)
			break;
	}
	for (i = 0; i < DEVICES; i++)
		close_device(&w.devices[i]);
	if (pinned_by(getpid()))
		WRONG("%ld pages are pinned for a worker at its end", pinned_by(getpid()));
	exit(0);
}
