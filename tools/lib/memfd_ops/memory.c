// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

bool in_core(const void *addr)
{
	unsigned char vec = 0;

	mincore((void *)addr, PAGE, &vec);
	return vec & 1;
}

size_t in_core_pages(const void *addr, size_t pages)
{
	unsigned char vec[pages];
	size_t i, sum = 0;

	if (mincore((void *)addr, pages * PAGE, vec))
		return SIZE_MAX;
	for (i = 0; i < pages; i++)
		sum += vec[i] & 1;
	return sum;
}

size_t allocated(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? SIZE_MAX : (size_t)st.st_blocks * 512 / PAGE;
}

size_t file_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (st.st_size + PAGE - 1) / PAGE;
}

void fill(unsigned char *addr, unsigned int seed)
{
	size_t i;

	for (i = 0; i < PAGE; i++)
		addr[i] = seed * 37 + i + (i >> 8) + 1;
}

bool filled(const unsigned char *addr, unsigned int seed)
{
	unsigned char want[PAGE];

	fill(want, seed);
	return !memcmp(addr, want, PAGE);
}

bool all(const unsigned char *addr, size_t size, unsigned char value)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (addr[i] != value)
			return false;
	return true;
}

int punch(int fd, size_t first, size_t pages)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 first * PAGE, pages * PAGE) ? -errno : 0;
}

int grow(int fd, size_t first, size_t pages)
{
	return fallocate(fd, 0, first * PAGE, pages * PAGE) ? -errno : 0;
}
