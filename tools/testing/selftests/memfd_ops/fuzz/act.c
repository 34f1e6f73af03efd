// SPDX-License-Identifier: GPL-2.0
/* Build calls from their descriptions, and make them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memfd_ops/files.h>

#include "fuzz.h"

static int some_fd(struct thread *t, unsigned int kinds)
{
	int first = pick(&t->random, NR_KINDS), slot = pick(&t->random, SLOTS), i, kind, fd;

	if (!t->proper && !pick(&t->random, 100))
		kinds = ~0U;
	for (i = 0; i < NR_KINDS * SLOTS; i++) {
		kind = (first + i / SLOTS) % NR_KINDS;
		fd = this_round.fds[kind][(slot + i) % SLOTS];
		if (kinds & KIND(kind) && fd >= 0)
			return fd;
	}
	return -1;
}

static __u64 one_of(struct thread *t, const struct value *v)
{
	__u64 value = v->list[pick(&t->random, 2) ? 0 : pick(&t->random, v->nr)];

	if (v->draw == FLAGS_OF && !t->proper && !pick(&t->random, 64))
		value ^= 1ULL << pick(&t->random, 32);
	return value;
}

/* The right one, or not */
static __u64 some_argsz(struct thread *t)
{
	const int wrong[] = { -8, -4, 4, 8, 16 };

	return t->call->size +
	       (t->proper || pick(&t->random, 32) ? 0 : wrong[pick(&t->random, 5)]);
}

/* At a huge page's place, or not */
static __u64 some_offset(struct thread *t)
{
	__u64 page = pick(&t->random, FILE_PAGES);

	return (pick(&t->random, 2) ? page & ~(HUGE_PAGES - 1) : page) * PAGE;
}

static __u64 some_length(struct thread *t)
{
	switch (pick(&t->random, 8)) {
	case 0:
		return FILE_SIZE;
	case 1:
	case 2:
		return HUGE;
	default:
		return PAGE * (1 + pick(&t->random, 64));
	}
}

/* A range of IOVAs that nothing is known of */
static struct range new_range(struct thread *t)
{
	struct range range = { };

	range.iova = IOVA_BASE + pick(&t->random, 32) * SPACING;
	/* 2 MiB of file and of IOVAs do not always coincide */
	if (!pick(&t->random, 4))
		range.iova += PAGE * pick(&t->random, HUGE_PAGES);
	range.length = some_length(t);
	return range;
}

/* One that a call has succeeded with, if there is one for that kind of descriptor */
static struct range some_range(struct thread *t, unsigned int kinds)
{
	struct range range;
	int i, slot;

	for (i = 0; i < RECENT; i++) {
		range = this_round.recent[pick(&t->random, RECENT)];
		for (slot = 0; range.length && slot < NR_KINDS * SLOTS; slot++)
			if (kinds & KIND(slot / SLOTS) &&
			    this_round.fds[slot / SLOTS][slot % SLOTS] == range.fd)
				return range;
	}
	range = new_range(t);
	range.fd = -1;
	return range;
}

static __u64 some_area(struct thread *t)
{
	return AREA_BASE + pick(&t->random, AREAS) * SPACING;
}

/* In one of @nr memslots; in the fixed one if there is one more */
static __u64 some_gpa(struct thread *t, unsigned int nr)
{
	unsigned int slot = 1 + pick(&t->random, nr);

	return (slot > MEMSLOTS ? GPA_FIXED : GPA_BASE + slot * SPACING) +
	       (pick(&t->random, 2) ? some_offset(t) : pick(&t->random, 64) * PAGE);
}

static __u64 some_value(struct thread *t, const struct value *v)
{
	struct range range;

	switch (v->draw) {
	case FD:
		return some_fd(t, v->kinds);
	case ARGSZ:
		return some_argsz(t);
	case OFFSET:
		return some_offset(t);
	case LENGTH:
		return t->call->ranged ? t->range.length : some_length(t);
	case SIZE:
		return pick(&t->random, 4) ? FILE_SIZE : some_offset(t);
	case ZERO:
		return 0;
	case IOVA:
		return t->range.iova;
	case OTHER_IOVA:
		return new_range(t).iova;
	case MDMA_IOVA:
		return t->range.iova - IOVA_BASE + this_round.mdma.info.iova_start;
	case DMA:
		/* now and then the device is to pin the memory */
		range = some_range(t, KIND(CONTAINER) | KIND(USER_IOMMU));
		return range.iova + pick(&t->random, range.length / 8 + 1) * 8 +
		       (pick(&t->random, 8) ? 0 : PIN);
	case AREA:
		return some_area(t);
	case ADDRESS:
		return some_area(t) + some_offset(t);
	case SCRATCH:
		return (uintptr_t)t->scratch;
	case ID:
		/* an iommufd has few objects, with the lowest numbers that are free */
		if (!t->known)
			t->range.id = t->proper ? 1 :
				      1 + pick(&t->random, 1 + pick(&t->random, 6));
		return t->range.id;
	case MEMSLOT:
		t->memslot = 1 + pick(&t->random, MEMSLOTS);
		return t->memslot;
	case MEMSLOT_SIZE:
		return pick(&t->random, 4) ? some_length(t) : 0;
	case GPA:
		return GPA_BASE + t->memslot * SPACING;
	case ANY_GPA:
		return some_gpa(t, v->nr);
	default:
		return one_of(t, v);
	}
}

/* No length gets so large that the kernel takes long for it, or much memory. */
static __u64 tweaked(struct thread *t, const struct value *v, __u64 value)
{
	switch (pick(&t->random, v->far ? 4 : 3)) {
	case 0:
		return value + 1;
	case 1:
		return value ^ PAGE;
	case 2:
		return value ^ 1ULL << pick(&t->random, 24);
	default:
		return value ^ 1ULL << pick(&t->random, 64);
	}
}

static __u64 draw(struct thread *t, const struct field *f)
{
	__u64 value;

	if (f->inside)
		return (uintptr_t)t->block + f->constant;
	if (!f->value)
		return f->constant;
	value = some_value(t, f->value);
	if (f->value->draw == IOVA)
		t->iova = (__u64 *)((char *)t->block + f->at);
	if (f->value->tweak && !t->proper && !pick(&t->random, 48))
		value = tweaked(t, f->value, value);
	return value;
}

/*
 * Calls
 */

void drop(enum fd_kind kind, int slot)
{
	int fd = atomic_exchange(&this_round.fds[kind][slot], -1);

	if (fd >= 0)
		close(fd);
}

/* In the place of another one, which is closed */
static void keep(struct thread *t, enum fd_kind kind, int fd)
{
	int slot = pick(&t->random, SLOTS), old;

	/* the first file has the fixed memslots, and stays */
	if (kind == MEMFD)
		slot = 1;
	if (kind == MEMFD && !t->child && t->call->nr == SYS_memfd_create)
		adopt(fd);
	old = atomic_exchange(&this_round.fds[kind][slot], fd);
	if (old >= 0)
		close(old);
}

static long issue(struct thread *t, const struct call *c, int fd)
{
	__u64 *b = t->block;

	switch (c->how) {
	case SYSCALL:
		return syscall(c->nr, b[0], b[1], b[2], b[3], b[4], b[5]);
	case IOCTL_VALUE:
		return ioctl(fd, c->nr, b[0]);
	case SPECIAL:
		return c->act(t);
	default:
		return ioctl(fd, c->nr, b);
	}
}

/* A range that is known is mapped already: calls that map take another one, most of the time. */
static int choose_range(struct thread *t, const struct call *c)
{
	unsigned int kinds = c->descriptor ? c->descriptor->kinds : KIND(MDMA);
	int fd = some_fd(t, kinds);

	t->known = c->ranged && !pick(&t->random, 8) == c->maps;
	if (t->known) {
		t->range = some_range(t, kinds);
		t->known = t->range.fd >= 0;
	}
	if (t->known)
		return t->range.fd;
	t->range = new_range(t);
	t->range.fd = fd;
	return fd;
}

void make_call(struct thread *t, struct call *c)
{
	int nr = c - calls, fd, i;
	struct field *f;
	__u64 value;
	long ret;

	if ((this_round.skip_groups && c->makes == GROUP) ||
	    (this_round.skip_cdevs && (c->makes == CDEV || c->makes == SOFT_CDEV)))
		return;
	t->call = c;
	t->iova = NULL;
	fd = choose_range(t, c);
	memset(t->block, 0, sizeof(t->block));
	for (i = 0; i < c->nr_fields; i++) {
		f = &c->fields[i];
		value = draw(t, f);
		memcpy((char *)t->block + f->at, &value,
		       f->size < sizeof(value) ? f->size : sizeof(value));
	}
	shared->calls[nr].tried++;
	ret = issue(t, c, fd);
	if (ret < 0)
		return;
	shared->calls[nr].done++;
	if (c->makes != NO_KIND)
		keep(t, c->makes, ret);
	if (!c->maps || !c->ranged)
		return;
	/* the kernel may have chosen it */
	if (t->iova)
		t->range.iova = *t->iova;
	this_round.recent[pick(&t->random, RECENT)] = t->range;
}

void act(struct thread *t)
{
	int at = pick(&t->random, weights);
	struct call *c = calls;

	while (at >= c->weight)
		at -= c++->weight;
	make_call(t, c);
}

long act_close(struct thread *t)
{
	int kind = pick(&t->random, KNOB);

	drop(kind, kind == MEMFD ? 1 : pick(&t->random, SLOTS));
	return 0;
}

/* A process that has all descriptors, makes some calls, and is killed or runs another program */
long act_fork(struct thread *t)
{
	pid_t pid, parent = getpid();
	int left;

	if (t->child)
		return -1;
	left = pick(&t->random, 16);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		t->child = true;
		t->random ^= 0x5bd1e995;
		while (left-- && getppid() == parent)
			act(t);
		if (pick(&t->random, 2))
			execl("/bin/true", "true", NULL);
		_exit(0);
	}
	if (pid < 0)
		return -1;
	if (!pick(&t->random, 4)) {
		usleep(pick(&t->random, 5000));
		kill(pid, SIGKILL);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

long act_split(struct thread *t)
{
	__u64 start = some_area(t) + some_offset(t);
	char text[64];

	snprintf(text, sizeof(text), "%d,0x%llx,0x%llx", getpid(), start,
		 start + some_length(t));
	return write_file("/sys/kernel/debug/split_huge_pages", text);
}

long act_guest(struct thread *t)
{
	const enum vmm_opcode ops[] = { VMM_READ, VMM_WRITE, VMM_COMPARE, VMM_TOUCH };
	int vm = pick(&t->random, SLOTS), vcpu = pick(&t->random, VCPUS);
	struct vmm_op op = {
		.opcode = ops[pick(&t->random, 4)],
		.addr = some_gpa(t, MEMSLOTS + 1),
		.count = 1 + pick(&t->random, 64),
		.stride = PAGE,
		.value = pick(&t->random, 4),
	};
	long ret;

	/* a child shares struct kvm_run, and not the lock */
	if (t->child || pthread_mutex_trylock(&this_round.vcpus[vm][vcpu]))
		return -1;
	ret = vmm_vcpu_run_op(&this_round.vms[vm].vcpu[vcpu], op);
	pthread_mutex_unlock(&this_round.vcpus[vm][vcpu]);
	return ret;
}
