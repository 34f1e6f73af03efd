// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/memfd_ops_hold: stop a fault, a split or an invalidation halfway,
 * for tools/testing/selftests/memfd_ops
 *
 * Each open file holds one of them, after one of these lines has been written to it:
 *
 *	fault TID		the next fault of a vCPU, which this thread runs, between
 *				the lookup of the page and the lock of KVM's page tables:
 *				the vCPU has run before, which takes that lock as well
 *	split TID		the next split of a folio by this thread, while the folio
 *				is frozen: there alone, the thread takes the lock of an
 *				LRU list while it has that of a file's pages
 *	invalidation FD A B	the next invalidation of pages [A, B) of that file, while
 *				the pages are still in the file, after the callbacks of
 *				consumers whose window begins before A, or at A and which
 *				registered before
 *
 * Then read() waits until it is held, and returns 0. Closing the file lets it go. A
 * second thread must not wait for one that waits for the first: both go on after
 * HOLD_SECONDS.
 *
 * A held fault or split spins, since tracepoints must not sleep; a split with interrupts
 * off, so that its CPU can do nothing else. The probe stays registered, so that no code
 * is patched during a test.
 */
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/init.h>
#include <linux/memfd_ops.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include <trace/events/lock.h>

#define HOLD_SECONDS	15

/*
 * Where threads are held: at a lock, by its name in lockdep, while they have another one,
 * unless NULL
 */
struct hold_place {
	const char *lock, *within;
	bool read;
};

static const struct hold_place hold_in_fault = { "&(kvm)->mmu_lock", NULL, true };
static const struct hold_place hold_in_split = {
	"&lruvec->lru_lock", "&xa->xa_lock", false
};

enum hold_state { HOLD_NEXT, HELD, LET_GO };

struct hold {
	struct memfd_falloc_notifier mn;
	enum hold_state state;
	wait_queue_head_t wait;
	bool registered;
	bool thread;
};

/* Held while a line is carried out */
static DEFINE_MUTEX(hold_mutex);

/* There is one held thread at a time. The probe uses nothing that is ever freed. */
static pid_t hold_tid;
static const struct hold_place *hold_place;
static enum hold_state hold_thread_state;
static DECLARE_WAIT_QUEUE_HEAD(hold_thread_wait);

static bool hold_is_at(const struct hold_place *place, const struct lockdep_map *lock,
		       bool read)
{
	const struct held_lock *held = current->held_locks;
	int i;

	/* some locks have no name */
	if (read != place->read || !lock->name || strcmp(lock->name, place->lock))
		return false;
	for (i = 0; place->within && i < current->lockdep_depth; i++)
		if (held[i].instance->name &&
		    !strcmp(held[i].instance->name, place->within))
			return true;
	return !place->within;
}

static void hold_probe(void *data, struct lockdep_map *lock, unsigned int subclass,
		       int trylock, int read, int check, struct lockdep_map *nest,
		       unsigned long ip)
{
	pid_t tid = READ_ONCE(hold_tid);
	u64 end;

	/* the idle tasks have number 0 */
	if (likely(!tid || tid != task_pid_nr(current)) ||
	    !hold_is_at(hold_place, lock, read) ||
	    cmpxchg(&hold_thread_state, HOLD_NEXT, HELD) != HOLD_NEXT)
		return;
	wake_up_all(&hold_thread_wait);
	/* this CPU may be the one that counts jiffies */
	end = ktime_get_mono_fast_ns() + HOLD_SECONDS * NSEC_PER_SEC;
	while (READ_ONCE(hold_thread_state) == HELD && ktime_get_mono_fast_ns() < end)
		cpu_relax();
}

static void hold_invalidate(struct memfd_falloc_notifier *mn, pgoff_t start,
			    pgoff_t end)
{
	struct hold *hold = container_of(mn, struct hold, mn);

	if (cmpxchg(&hold->state, HOLD_NEXT, HELD) != HOLD_NEXT)
		return;
	wake_up_all(&hold->wait);
	wait_event_timeout(hold->wait, READ_ONCE(hold->state) != HELD,
			   HOLD_SECONDS * HZ);
}

static const struct memfd_falloc_notifier_ops hold_ops = {
	.name			= "hold",
	.invalidate_page_range	= hold_invalidate,
};

static int hold_next_invalidation(struct hold *hold, int fd, unsigned long start,
				  unsigned long end)
{
	struct file *file = fget(fd);
	int error;

	if (!file)
		return -EBADF;
	error = memfd_register_falloc_notifier(&hold->mn, file, start, end, &hold_ops);
	fput(file);
	hold->registered = !error;
	return error;
}

static int hold_thread(struct hold *hold, pid_t tid, const struct hold_place *place)
{
	if (cmpxchg(&hold_tid, 0, -1))
		return -EBUSY;
	hold_place = place;
	WRITE_ONCE(hold_thread_state, HOLD_NEXT);
	/* after the place and the state, which hold_probe() looks at next */
	smp_store_release(&hold_tid, tid);
	hold->thread = true;
	return 0;
}

static int hold_open(struct inode *inode, struct file *file)
{
	struct hold *hold = kzalloc(sizeof(*hold), GFP_KERNEL);

	if (!hold)
		return -ENOMEM;
	init_waitqueue_head(&hold->wait);
	file->private_data = hold;
	return nonseekable_open(inode, file);
}

static ssize_t hold_write(struct file *file, const char __user *from, size_t size,
			  loff_t *pos)
{
	struct hold *hold = file->private_data;
	unsigned long start, end;
	char line[64] = "";
	int number, error;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	guard(mutex)(&hold_mutex);
	if (hold->registered || hold->thread)
		return -EINVAL;
	if (sscanf(line, "invalidation %d %lu %lu", &number, &start, &end) == 3)
		error = hold_next_invalidation(hold, number, start, end);
	else if (sscanf(line, "fault %d", &number) == 1 && number > 0)
		error = hold_thread(hold, number, &hold_in_fault);
	else if (sscanf(line, "split %d", &number) == 1 && number > 0)
		error = hold_thread(hold, number, &hold_in_split);
	else
		error = -EINVAL;
	return error ? : size;
}

static ssize_t hold_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	struct hold *hold = file->private_data;
	wait_queue_head_t *wait = hold->registered ? &hold->wait : &hold_thread_wait;
	enum hold_state *state = hold->registered ? &hold->state : &hold_thread_state;

	return wait_event_killable(*wait, READ_ONCE(*state) != HOLD_NEXT);
}

static int hold_release(struct inode *inode, struct file *file)
{
	struct hold *hold = file->private_data;

	if (hold->registered) {
		WRITE_ONCE(hold->state, LET_GO);
		wake_up_all(&hold->wait);
		memfd_unregister_falloc_notifier(&hold->mn);
	} else if (hold->thread) {
		WRITE_ONCE(hold_thread_state, LET_GO);
		WRITE_ONCE(hold_tid, 0);
	}
	kfree(hold);
	return 0;
}

static const struct file_operations hold_fops = {
	.owner		= THIS_MODULE,
	.open		= hold_open,
	.read		= hold_read,
	.write		= hold_write,
	.release	= hold_release,
};

static int __init hold_init(void)
{
	int error = register_trace_lock_acquire(hold_probe, NULL);

	if (error)
		return error;
	debugfs_create_file("memfd_ops_hold", 0600, NULL, NULL, &hold_fops);
	return 0;
}
late_initcall(hold_init);
