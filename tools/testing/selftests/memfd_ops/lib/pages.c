// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <memfd_ops/files.h>

#include "note.h"

#include "pages.h"

static __u64 read_u64(const char *path, __u64 index)
{
	__u64 value = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &value, sizeof(value), index * sizeof(value)) != sizeof(value))
		value = 0;
	close(fd);
	return value;
}

void page_frames(const void *addr, size_t pages, __u64 *pfn)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i;

	memset(pfn, 0, pages * sizeof(*pfn));
	if (fd < 0)
		return;
	if (pread(fd, pfn, pages * sizeof(*pfn),
		  (uintptr_t)addr / PAGE * sizeof(*pfn)) < 0)
		note("pagemap: %m");
	close(fd);
	for (i = 0; i < pages; i++)
		pfn[i] = pfn[i] >> 63 ? pfn[i] & ((1ULL << 55) - 1) : 0;
}

__u64 pfn_of(const void *addr)
{
	__u64 pfn;

	(void)*(const volatile char *)addr;
	page_frames(addr, 1, &pfn);
	return pfn;
}

bool is_huge(const void *addr)
{
	return read_u64("/proc/kpageflags", pfn_of(addr)) >> KPF_THP & 1;
}

void movable_zone(__u64 frames[2])
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	unsigned long long value;
	bool movable = false;
	char line[128];

	frames[0] = 0;
	frames[1] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Node", 4))
			movable = strstr(line, "Movable");
		/* each node has such a zone, if only one without memory */
		else if (movable && sscanf(line, " spanned %llu", &value) == 1 && value)
			frames[1] = value;
		else if (movable && sscanf(line, " start_pfn: %llu", &value) == 1)
			frames[0] = value;
	}
	if (file)
		fclose(file);
	frames[1] += frames[0];
}

size_t pages_in_frames(const unsigned char *addr, size_t pages, const __u64 frames[2])
{
	size_t i, nr = 0;
	__u64 pfn;

	for (i = 0; i < pages; i++) {
		pfn = pfn_of(addr + i * PAGE);
		nr += frames[0] <= pfn && pfn < frames[1];
	}
	return nr;
}

long pages_of_files(void)
{
	static __u64 flags[1 << 16];
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	long sum = 0;
	ssize_t len, i;

	if (fd < 0)
		return -1;
	/* the pages freed last may wait in a list of their CPU */
	write_file("/proc/sys/vm/drop_caches", "1");
	while ((len = read(fd, flags, sizeof(flags))) > 0)
		for (i = 0; i < len / (ssize_t)sizeof(flags[0]); i++)
			sum += (flags[i] >> KPF_SWAPBACKED & 1) &&
			       !(flags[i] >> KPF_ANON & 1);
	close(fd);
	return sum;
}

void dirty_free_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem == MAP_FAILED)
		return;
	memset(mem, 0xa5, size);
	munmap(mem, size);
}
