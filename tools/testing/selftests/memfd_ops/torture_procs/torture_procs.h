/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of torture_procs_test.c. With WITH_KVM, guests are among the devices.
 */
#ifndef TORTURE_PROCS_H
#define TORTURE_PROCS_H

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/swap.h>

#include <memfd_ops/vfio.h>

#include "../lib/fail.h"
#include "../lib/iova_table.h"
#include "../lib/random.h"
#include "../lib/soft_device.h"
#include "../lib/test_env.h"

#define FILES		3
#define WORKERS		6
#define DEVICES		2	/* that a worker may have open */
#define WINDOWS		3	/* of each */
#define MAX_REGION	HUGE_PAGES
#define MAX_PAGES	(WORKERS * MAX_REGION)
#define ROUND		1500000	/* microseconds between two stand-stills */
#define PATIENCE	300	/* seconds, for anything to come to its end */

#define BASE		(4UL << 30)	/* the IOVA of a VFIO device's first window */

/*
 * The model
 */

/* Of a page. Each change has a number, which is part of the written bytes. */
#define CHANGING	1ULL
#define PRESENT		2ULL
#define CONTENT_SHIFT	2	/* number of the change that wrote it, or 0: zeros */
#define NUMBER_SHIFT	32
#define NUMBER_MASK	0x3fffffffULL

enum kind { NOTHING, MDMA, NVME, SOFT, VM, NR_KINDS };

#ifdef WITH_KVM
#define LAST_KIND	VM
#else
#define LAST_KIND	SOFT
#endif

struct window {
	atomic_bool mapped;
	int	file;
	size_t	first, pages;
	__u64	iova;
};

/* Of a device that a worker has open, what others have to know. */
struct entry {
	atomic_int kind;
	char	uuid[37];	/* an mdma instance that may be there */
	struct window windows[WINDOWS];
};

enum count {
	FILLS, STAMPS, HOLES, TRUNCATIONS, COLLAPSES, FAILED_CALLS,
	OPENS, REFUSED, MAPS, UNMAPS, LOOKS, EXACT, BLOCKED, WRITES, PAGEOUTS,
	KILLS, IN_THE_ACT, REBINDS, RMMODS, RECLAIMS, SWAPOFFS, QUIET, TRANSLATIONS,
	NR_COUNTS
};

struct model {
	atomic_ullong pages[FILES][MAX_PAGES];
	struct entry entries[WORKERS][DEVICES];
	atomic_int recent[FILES];	/* a page that was changed just now */
	atomic_bool wanted[NR_KINDS];	/* whose driver is about to leave it */
	atomic_ullong round_end;
	atomic_int wrong;
	atomic_long counts[NR_COUNTS], opened[NR_KINDS];
};

/* All that the processes share, and what they all have since the first fork() */
extern struct model *model;
extern unsigned int seed;
extern bool huge;
extern size_t region_pages, file_size;	/* in pages */
struct file {
	int	fd;
	unsigned char *mem;
};

extern struct file files[FILES];

extern const char * const kind_names[NR_KINDS], * const count_names[NR_COUNTS];

/* The first ones explain the others. */
#define WRONG(fmt, ...) do {					\
	if (model->wrong++ < 20)				\
		note("WRONG: " fmt, ##__VA_ARGS__);		\
} while (0)

/*
 * The content of a page: cells, with the number of the page, of the cell, and of the
 * change that wrote it. Some are for the devices, one for each worker.
 */

#define CELLS		(PAGE / sizeof(__u64))
#define SOURCE		7		/* the one that devices copy */
#define LANDING(slot)	(CELLS / 2 + (slot))

__u64 now(void);
bool is_present(__u64 page);
__u64 content_of(__u64 page);
__u64 next_change(__u64 page);
void begin_change(int file, size_t first, size_t pages);
void end_change(int file, size_t page, bool present, __u64 content);
__u64 cell(int file, size_t page, __u64 content, size_t i);
bool is_landing(size_t i);
bool may_have_landed(__u64 value);
void make_page(__u64 *data, int file, size_t page, __u64 content);
int peek(int file, size_t page, __u64 *data);
unsigned char *addr_of(int file, size_t page);
int make_files(void);

/*
 * Workers
 */

struct device {
	struct entry *entry;
	enum kind kind;
	__u64	base;		/* IOVA of the first window */
	struct mdma mdma;
	struct space space;
	struct vdev vdev;
	struct vmm *vm;
};

struct worker {
	int	slot;
	__u64	random;
	int	fail;		/* /proc/self/make-it-fail, if this one is to suffer */
	unsigned int opens;
	struct device devices[DEVICES];
};

enum command { RUN = 'r', CHECK = 'c', QUIT = 'q' };

bool suffers(int slot);
void suffer(struct worker *w, bool suffer);
bool failed(struct worker *w, int ret, const char *what);
void __attribute__((noreturn)) work(int slot, unsigned int life, int commands,
				    int answers);

/* device.c */
__u64 iova_of_page(struct window *win, size_t page);
void close_device(struct device *d);
void look_around(struct worker *w, int file, size_t first, size_t pages);
void device_act(struct worker *w);
void look_at_all(struct worker *w);

/* file.c */
void give_up(int file, size_t first, size_t pages);
void file_act(struct worker *w);

/* guest.c */
#ifdef WITH_KVM
int guest_open(struct device *d);
void guest_close(struct device *d);
int guest_map(struct device *d, int i, struct window *win);
int guest_unmap(struct device *d, int i);

/* Have the guest move two words from or to its low memory. */
int guest_access(struct device *d, __u64 gpa, __u64 *value, bool write);
#else
static inline int guest_open(struct device *d)
{
	return -EOPNOTSUPP;
}

static inline void guest_close(struct device *d)
{
}

static inline int guest_map(struct device *d, int i, struct window *win)
{
	return -EOPNOTSUPP;
}

static inline int guest_unmap(struct device *d, int i)
{
	return -EOPNOTSUPP;
}

static inline int guest_access(struct device *d, __u64 gpa, __u64 *value, bool write)
{
	return -EOPNOTSUPP;
}
#endif

/*
 * The supervisor
 */

struct supervisor {
	struct test_env env;		/* just for what it has changed in the system */
	__u64	random;
	unsigned int deck;	/* bits for what draw() has not drawn yet */
	bool	shows_tables;	/* the IOMMU does, as VT-d */
	char	nvme[32], edu[32];
	pid_t	helper;		/* takes a driver away, and brings it back */
	int	helper_kind;
	struct life {
		pid_t	pid;
		unsigned int number;
		int	commands, answers;
		bool	busy;	/* owes an answer */
	} lives[WORKERS];
};

void command(struct supervisor *s, int slot, char what);
int start_worker(struct supervisor *s, int slot);
int reap(pid_t pid, const char *what);
void run_round(struct supervisor *s);

/* check.c: with all standing still */
void check_files(void);
void check_counts(struct supervisor *s);
void check_tables(struct supervisor *s);

#endif /* TORTURE_PROCS_H */
