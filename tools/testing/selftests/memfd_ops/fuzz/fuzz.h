/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of memfd_fuzz.c.
 *
 * calls.c has the descriptions: a table of calls, and a table of the values that their
 * arguments take. act.c builds calls from it, and makes them. check.c compares, while all
 * threads stand still, the pages that consumers reach with those of the files.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <memfd_ops/mdma.h>
#include <memfd_ops/memory.h>
#include <memfd_ops/vfio.h>
#include <memfd_ops/vmm.h>

#include "../lib/note.h"
#include "../lib/random.h"
#include "../lib/soft_device.h"

#define FILE_PAGES	(2 * HUGE_PAGES)
#define FILE_SIZE	(FILE_PAGES * PAGE)
#define MAX_CALLS	128
#define MAX_FILES	12	/* that the oracle looks at */
#define SLOTS		2	/* descriptors of a kind that are open at a time */
#define VCPUS		2	/* of a VM */
#define MEMSLOTS	3	/* that calls set */
#define RECENT		12	/* ranges of IOVAs that are used again */
#define AREAS		3	/* places for mappings of files */

/* These are far apart: a length that is wrong by some bits reaches nothing else. */
#define SPACING		(2 * FILE_SIZE)
#define IOVA_BASE	(4UL << 30)
#define AREA_BASE	0x200000000000UL
#define GPA_BASE	0x40000000UL
#define GPA_FIXED	0x80000000UL	/* of a memslot that no call changes */

enum fd_kind {
	MEMFD, CONTAINER, USER_IOMMU, GROUP, CDEV, SOFT_CDEV, DEVICE, SOFT_DEVICE, EVENTFD,
	UFFD, RAW_VM, RAW_VCPU, SHOWN,
	/* from the beginning to the end of a round */
	KNOB, MDMA, KVM, VM, VCPU,
	NR_KINDS,
	NO_KIND = NR_KINDS
};

#define KIND(kind)	(1U << (kind))

/* What an argument can be */
enum draw {
	FD, ONE_OF, FLAGS_OF, ZERO, ARGSZ, OFFSET, LENGTH, SIZE, IOVA, OTHER_IOVA, MDMA_IOVA, DMA,
	AREA, ADDRESS, SCRATCH, ID, MEMSLOT, MEMSLOT_SIZE, GPA, ANY_GPA,
};

struct value {
	const char *name;
	enum draw draw;
	unsigned int kinds;		/* of a descriptor */
	bool	tweak, far;		/* change it now and then: a bit, or by much */
	const __u64 *list;		/* the first one is the most frequent */
	unsigned int nr;
};

struct field {
	const struct value *value;	/* NULL for a constant */
	__u64	constant;
	bool	inside;			/* a pointer: the constant is where in the block */
	unsigned char at, size;
};

struct thread;

enum how {
	SYSCALL,
	IOCTL,		/* the argument points to the block */
	IOCTL_VALUE,	/* the argument is the first value of the block */
	SPECIAL,	/* act() does it */
};

/*
 * @args are the fields of the structure, in order, or the six arguments of a system call
 * and after them what these point to. Each is a value's name, a number, or @n, which is
 * the address of the byte n of all that. ":size" follows unless it is 8. @on is the
 * value's name of an ioctl's descriptor.
 */
struct call {
	const char *name;
	enum how how;
	unsigned long nr;
	size_t	size;			/* of the structure, or 0 */
	const char *on, *args;
	enum fd_kind makes;
	int	weight;
	long	(*act)(struct thread *t);

	/* parse_calls() fills these */
	const struct value *descriptor;
	struct field fields[20];
	int	nr_fields;
	bool	ranged;			/* it has an IOVA, and */
	bool	maps;			/* memory to map there */
};

/* IOVAs, and where: in an iommufd, @id is an IOAS. @length is 0 for none. */
struct range {
	__u64	iova, length;
	int	fd;
	__u32	id;
};

struct thread {
	pthread_t thread;
	__u64	random;
	bool	child;			/* of fork() */
	bool	proper;			/* make no mistakes */
	const struct call *call;
	struct range range;
	bool	known;			/* the range, from an earlier call */
	__u64	*iova;			/* in the block */
	__u32	memslot;
	__u64	block[32];
	unsigned char scratch[16 * PAGE] __attribute__((aligned(PAGE)));
};

/* A file, as the oracle has it; @fd cannot write, so that it does not prevent a seal. */
struct file {
	atomic_bool ready;
	int	fd;
	__u64	dev, ino;
	unsigned char *mem;
};

/* What a round's process has */
struct round {
	atomic_int fds[NR_KINDS][SLOTS];
	bool	skip_groups, skip_cdevs; /* one keeps the other from being used */
	struct range recent[RECENT];	/* that calls succeeded with */
	struct file files[MAX_FILES];
	atomic_int nr_files;
	struct vmm vms[SLOTS];		/* for private memory, and an ordinary one */
	pthread_mutex_t vcpus[SLOTS][VCPUS]; /* held by the thread that runs it */
	struct mdma mdma;
	pthread_rwlock_t still;		/* for writing: all stand still */
	atomic_bool stop;
};

/* Shared by all processes */
struct shared {
	struct { atomic_ulong tried, done; } calls[MAX_CALLS];
	atomic_ulong beats, compared;
	atomic_int wrong;
};

/* The first one is the device in software; what it can reach is compared with files. */
#define DEVICES		3
extern struct device {
	char name[32], group[64], cdev[64];
} devices[DEVICES];

extern struct shared *shared;
extern struct round this_round;
extern struct call calls[];
extern const int nr_calls;
extern int weights;			/* the sum of those of all calls */

#define WRONG(fmt, ...) do {					\
	if (shared->wrong++ < 20)				\
		note("WRONG: " fmt, ##__VA_ARGS__);		\
} while (0)

/* calls.c */
void parse_calls(void);

/* act.c */
void make_call(struct thread *t, struct call *c);
void act(struct thread *t);
void drop(enum fd_kind kind, int slot);
long act_close(struct thread *t);
long act_fork(struct thread *t);
long act_split(struct thread *t);
long act_guest(struct thread *t);

/* check.c: with all threads standing still */
void adopt(int fd);
void check_consumers(void);
void check_devices(struct thread *t);
void check_guests(struct thread *t);

#endif /* FUZZ_H */
