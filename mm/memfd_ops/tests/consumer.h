/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of memfd_ops: consumers that record their callbacks
 */
#ifndef _MM_MEMFD_OPS_TESTS_CONSUMER_H
#define _MM_MEMFD_OPS_TESTS_CONSUMER_H

#include <kunit/memfd.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/mutex.h>

#define MAX_EVENTS	32
#define MAX_CONSUMERS	3
#define WINDOW		64

enum callback {
	CB_INVALIDATE,
	CB_INVALIDATE_END,
	CB_FALLOCATE,
	CB_FALLOCATE_ABORT,
	CB_POPULATE,
	CB_UNPIN,
	CB_REPIN,
	CB_TEST_YOUNG,
	CB_CLEAR_YOUNG,
};

struct test_event {
	int consumer;
	enum callback callback;
	pgoff_t start, end;
};

struct test_ctx;

struct test_consumer {
	struct memfd_falloc_notifier mn;
	struct test_ctx *ctx;
	int nr;
	bool registered;
	/* for the callbacks */
	int fallocate_error;
	int populate_error;
	pgoff_t populate_max;	/* if not 0: pages of a folio that there is room for */
	bool owner_gone;
	bool young;		/* has accessed a page; CB_CLEAR_YOUNG forgets it */
	bool block;
	pgoff_t wants;		/* a page to look up in the next CB_INVALIDATE, if not 0 */
	struct completion blocked, go_on;
	/* by the callbacks */
	int owners;
	bool saw_absent;	/* in CB_INVALIDATE, a page of the range was gone */
	bool saw_stale;		/* in CB_POPULATE, the folio was not uptodate */
	DECLARE_BITMAP(mapped, WINDOW);
};

/* test->priv: a file of WINDOW pages, and consumers of it */
struct test_ctx {
	struct kunit *test;
	struct file *file;
	struct test_consumer c[MAX_CONSUMERS];
	struct mutex lock;	/* protects the events, and each c[].mapped */
	struct test_event events[MAX_EVENTS];
	int nr;
};

struct memfd_test_thread {
	struct test_consumer *c;
	long ret;
	struct completion done;
};

extern const struct memfd_falloc_notifier_ops memfd_test_ops;
extern const struct memfd_falloc_notifier_ops memfd_test_bare_ops;
extern const struct memfd_falloc_notifier_ops memfd_test_young_ops;

int memfd_test_init(struct kunit *test);
void memfd_test_exit(struct kunit *test);

void memfd_test_add_with(struct test_ctx *ctx, int i, pgoff_t start, pgoff_t end,
			 const struct memfd_falloc_notifier_ops *ops);
void memfd_test_add(struct test_ctx *ctx, int i, pgoff_t start, pgoff_t end);
void memfd_test_remove(struct test_ctx *ctx, int i);
void memfd_test_expect(struct test_ctx *ctx, int event, int consumer,
		       enum callback callback, pgoff_t start, pgoff_t end);
void memfd_test_forget(struct test_ctx *ctx);
int memfd_test_write_page(struct file *file, pgoff_t index);

void memfd_test_init_thread(struct memfd_test_thread *t, struct test_consumer *c);
void memfd_test_run(struct kunit *test, int (*fn)(void *),
		    struct memfd_test_thread *t);
bool memfd_test_waits(struct test_ctx *ctx, struct memfd_test_thread *t);

#endif /* _MM_MEMFD_OPS_TESTS_CONSUMER_H */
