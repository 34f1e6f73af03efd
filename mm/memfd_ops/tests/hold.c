// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/memfd_ops_hold: stop a fault or an invalidation halfway, for
 * tools/testing/selftests/memfd_ops
 *
 * Each open file holds one of them, after one of these lines has been written to it:
 *
 *	fault TID		the next fault of a vCPU, which this thread runs, between
 *				the lookup of the page and the lock of KVM's page tables:
 *				the vCPU has run before, which takes that lock as well
 *	invalidation FD A B	the next invalidation of pages [A, B) of that file, while
 *				the pages are still in the file, after the callbacks of
 *				consumers whose window begins before A, or at A and which
 *				registered before
 *
 * Then read() waits until it is held, and returns 0. Closing the file lets it go. A
 * second thread must not wait for one that waits for the first: both go on after
 * HOLD_SECONDS.
 *
 * A held fault spins, since tracepoints must not sleep. The probe stays registered, so
 * that no code is patched during a test.
 */
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/init.h>
#include <linux/memfd_ops.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include <trace/events/lock.h>

#define HOLD_SECONDS	15

/* The name of struct kvm's lock in lockdep */
#define KVM_MMU_LOCK_NAME	"&(kvm)->mmu_lock"

enum hold_state { HOLD_NEXT, HELD, LET_GO };

struct hold {
	struct memfd_falloc_notifier mn;
	enum hold_state state;
	wait_queue_head_t wait;
	bool registered;
	bool fault;
};

/* Held while a line is carried out */
static DEFINE_MUTEX(hold_mutex);

/* There is one held fault at a time. The probe uses nothing that is ever freed. */
static pid_t hold_tid;
static enum hold_state hold_fault_state;
static DECLARE_WAIT_QUEUE_HEAD(hold_fault_wait);

static void hold_probe(void *data, struct lockdep_map *lock, unsigned int subclass,
		       int trylock, int read, int check, struct lockdep_map *nest,
		       unsigned long ip)
{
	unsigned long end;

	if (likely(READ_ONCE(hold_tid) != task_pid_nr(current)) || !read ||
	    strcmp(lock->name, KVM_MMU_LOCK_NAME) ||
	    cmpxchg(&hold_fault_state, HOLD_NEXT, HELD) != HOLD_NEXT)
		return;
	wake_up_all(&hold_fault_wait);
	end = jiffies + HOLD_SECONDS * HZ;
	while (READ_ONCE(hold_fault_state) == HELD && time_before(jiffies, end))
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

static int hold_next_fault(struct hold *hold, pid_t tid)
{
	if (cmpxchg(&hold_tid, 0, -1))
		return -EBUSY;
	WRITE_ONCE(hold_fault_state, HOLD_NEXT);
	/* after the state, which hold_probe() looks at next */
	smp_store_release(&hold_tid, tid);
	hold->fault = true;
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
	if (hold->registered || hold->fault)
		return -EINVAL;
	if (sscanf(line, "invalidation %d %lu %lu", &number, &start, &end) == 3)
		error = hold_next_invalidation(hold, number, start, end);
	else if (sscanf(line, "fault %d", &number) == 1 && number > 0)
		error = hold_next_fault(hold, number);
	else
		error = -EINVAL;
	return error ? : size;
}

static ssize_t hold_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	struct hold *hold = file->private_data;
	wait_queue_head_t *wait = hold->registered ? &hold->wait : &hold_fault_wait;
	enum hold_state *state = hold->registered ? &hold->state : &hold_fault_state;

	return wait_event_killable(*wait, READ_ONCE(*state) != HOLD_NEXT);
}

static int hold_release(struct inode *inode, struct file *file)
{
	struct hold *hold = file->private_data;

	if (hold->registered) {
		WRITE_ONCE(hold->state, LET_GO);
		wake_up_all(&hold->wait);
		memfd_unregister_falloc_notifier(&hold->mn);
	} else if (hold->fault) {
		WRITE_ONCE(hold_fault_state, LET_GO);
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
