// SPDX-License-Identifier: GPL-2.0
#include <linux/userfaultfd.h>

#include "late_page.h"
#include "test_env.h"

int late_page_create(struct late_page *page)
{
	struct uffdio_register range = {
		.range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };

	page->mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page->mem == MAP_FAILED) {
		page->mem = NULL;
		return -errno;
	}
	range.range.start = (uintptr_t)page->mem;
	page->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (page->uffd < 0 || ioctl(page->uffd, UFFDIO_API, &api) ||
	    ioctl(page->uffd, UFFDIO_REGISTER, &range))
		return -errno;
	return 0;
}

void late_page_destroy(struct late_page *page)
{
	if (page->uffd >= 0)
		close(page->uffd);
	if (page->mem)
		munmap(page->mem, PAGE);
	*page = (struct late_page)LATE_PAGE_INIT;
}

int late_page_wait(struct late_page *page)
{
	struct uffd_msg msg;

	if (read(page->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -errno;
	return msg.event == UFFD_EVENT_PAGEFAULT ? 0 : -EPROTO;
}

int late_page_give(struct late_page *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page->mem, .len = PAGE },
	};

	return ioctl(page->uffd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

int late_page_give_copy(struct late_page *page, const void *from)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page->mem,
		.src = (uintptr_t)from,
		.len = PAGE,
	};

	return ioctl(page->uffd, UFFDIO_COPY, &copy) ? -errno : 0;
}

__s64 late_page_write(void *late_write)
{
	struct late_write *write = late_write;

	return pwrite(write->fd, write->page->mem, PAGE, 0);
}
