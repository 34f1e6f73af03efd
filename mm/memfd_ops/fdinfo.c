// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: what /proc/PID/fdinfo shows of a followed file
 *
 * All of it are snapshots: pages and consumers come and go meanwhile.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>

#include "internal.h"

/* The pages of the entry at which a walk is: [*start, *end) */
static void entry_pages(struct xa_state *xas, pgoff_t *start, pgoff_t *end)
{
	unsigned int order = xas_get_order(xas);

	*start = round_down(xas->xa_index, 1UL << order);
	*end = *start + (1UL << order);
}

/**
 * memfd_next_present - find the next pages that a file has
 * @mapping: of the file
 * @start: where to look; moved to the first page from there on, in memory or swap
 * @end: where to stop; moved to the end of the run of pages, or of the first part of
 *	a long one
 *
 * Context: any.
 * Return: true if there is such a page.
 */
bool memfd_next_present(struct address_space *mapping, pgoff_t *start, pgoff_t *end)
{
	XA_STATE(xas, &mapping->i_pages, *start);
	pgoff_t s, e, run_start = *end, run_end = *start, limit = *end;
	unsigned int steps = 0;
	void *entry;

	rcu_read_lock();
	xas_for_each(&xas, entry, limit - 1) {
		if (xas_retry(&xas, entry))
			continue;
		entry_pages(&xas, &s, &e);
		if (run_start == limit)
			run_start = max(s, *start);
		else if (s > run_end)
			break;
		run_end = min(e, limit);
		if (run_end == limit || ++steps == XA_CHECK_SCHED)
			break;
	}
	rcu_read_unlock();
	*start = run_start;
	*end = run_end;
	return run_start < limit;
}

/*
 * A reader holds the consumer, and any process with the file open can be one: it must
 * not keep the consumer from leaving, however large the window is.
 */
static bool give_up(const struct memfd_falloc_notifier *mn)
{
	return READ_ONCE(mn->unregistering) || fatal_signal_pending(current);
}

static unsigned long nr_present(struct memfd_falloc_notifier *mn)
{
	pgoff_t start = memfd_window_start(mn), end;
	unsigned long nr = 0;

	for (; !give_up(mn); start = end) {
		end = memfd_window_end(mn);
		if (start >= end ||
		    !memfd_next_present(mn->file->f_mapping, &start, &end))
			break;
		nr += end - start;
		cond_resched();
	}
	return nr;
}

/**
 * memfd_nr_missing - count the pages that a consumer lacks
 * @mn: the consumer, which does not unregister meanwhile
 * @nr_mapped: how many pages it has mapped
 *
 * A walk of all pages in the window, unless the consumer has never missed a page.
 *
 * Context: may sleep.
 * Return: how many pages the file has in the window, in memory or swap, and the
 * consumer lacks.
 */
unsigned long memfd_nr_missing(struct memfd_falloc_notifier *mn,
			       unsigned long nr_mapped)
{
	unsigned long nr;

	if (!atomic_long_read(&mn->nr_missed))
		return 0;
	nr = nr_present(mn);
	return nr > nr_mapped ? nr - nr_mapped : 0;
}
EXPORT_SYMBOL_GPL(memfd_nr_missing);

static unsigned long nr_mapped(struct memfd_falloc_notifier *mn)
{
	pgoff_t start = memfd_window_start(mn), end;
	unsigned long nr = 0;

	for (; !give_up(mn); start = end) {
		end = memfd_window_end(mn);
		if (start >= end || !mn->ops->next_mapped(mn, &start, &end))
			break;
		nr += end - start;
		cond_resched();
	}
	return nr;
}

static void show_consumer(struct seq_file *m, struct memfd_falloc_notifier *mn)
{
	unsigned long nr;

	seq_printf(m, "memfd_consumer:\tid %llu kind %s file_pages [%lu, %lu)",
		   memfd_consumer_id(mn), mn->ops->name, memfd_window_start(mn),
		   memfd_window_end(mn));
	if (mn->ops->next_mapped) {
		nr = nr_mapped(mn);
		seq_printf(m, " mapped_pages %lu", nr);
		/* a consumer that does not pin maps pages when it needs them */
		if (consumer_pins(mn))
			seq_printf(m, " missing_pages %lu",
				   memfd_nr_missing(mn, nr));
	}
	seq_putc(m, '\n');
}

void __memfd_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct address_space *mapping = file->f_mapping;
	struct memfd_consumers *cs = memfd_consumers(mapping);
	struct memfd_falloc_notifier *mn;

	seq_printf(m, "memfd:\tconsumers %u memory_pages %lu\n",
		   READ_ONCE(cs->nr), READ_ONCE(mapping->nrpages));
	for_each_consumer(cs, mn, 0, ULONG_MAX, U64_MAX) {
		show_consumer(m, mn);
		/* seq_read() starts over with a larger buffer */
		if (seq_has_overflowed(m) || fatal_signal_pending(current)) {
			memfd_put_consumer(cs, mn);
			return;
		}
	}
}
