/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page of memory that comes late: an access to it, by a system call or a guest, waits
 * until the test gives the page. So a test stops a thread in the kernel at a known place,
 * for as long as it needs.
 *
 * Functions return 0, or a negative errno.
 */
#ifndef TEST_LATE_PAGE_H
#define TEST_LATE_PAGE_H

#include <linux/types.h>

struct late_page {
	void *mem;
	int uffd;
};

#define LATE_PAGE_INIT	{ .uffd = -1 }

int late_page_create(struct late_page *page);
void late_page_destroy(struct late_page *page);

/* Wait until there is an access that waits for the page. */
int late_page_wait(struct late_page *page);

/* Give the page, with zeros, or as a copy of another page. */
int late_page_give(struct late_page *page);
int late_page_give_copy(struct late_page *page, const void *from);

/* A write of the page to a file, which has the file locked until the page is given. */
struct late_write {
	struct late_page *page;
	int fd;
};

/* The function of a struct call that does it. Returns the number of bytes. */
__s64 late_page_write(void *late_write);

#endif /* TEST_LATE_PAGE_H */
