// SPDX-License-Identifier: GPL-2.0
/* The model of the files, which all processes share. */
#include "torture_procs.h"

struct model *model;
unsigned int seed;
bool huge;
size_t region_pages, file_size;	struct file files[FILES];

const char * const kind_names[NR_KINDS] = {
	"", "mdma", "nvme", DEVICE_DMA, "a guest",
};

const char * const count_names[NR_COUNTS] = {
	"fills", "stamps", "holes", "truncations", "collapses", "calls without memory",
	"opens", "refused", "maps", "unmaps", "looks", "exact", "blocked", "writes",
	"pageouts", "kills", "in the act", "rebinds", "rmmods", "reclaims", "swapoffs",
	"stand-stills", "translations compared",
};

__u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

bool is_present(__u64 page)
{
	return page & PRESENT;
}

__u64 content_of(__u64 page)
{
	return page >> CONTENT_SHIFT & NUMBER_MASK;
}

/* The number of the change that is next, or under way */
__u64 next_change(__u64 page)
{
	return ((page >> NUMBER_SHIFT) + 1) & NUMBER_MASK;
}

void begin_change(int file, size_t first, size_t pages)
{
	size_t i;

	for (i = first; i < first + pages; i++)
		model->pages[file][i] |= CHANGING;
}

void end_change(int file, size_t page, bool present, __u64 content)
{
	__u64 old = model->pages[file][page];

	model->pages[file][page] = next_change(old) << NUMBER_SHIFT |
				   content << CONTENT_SHIFT | (present ? PRESENT : 0);
}

__u64 cell(int file, size_t page, __u64 content, size_t i)
{
	if (!content)
		return 0;
	return (1ULL + file * MAX_PAGES + page) << 48 | (__u64)i << 32 | content;
}

bool is_landing(size_t i)
{
	return i >= LANDING(0) && i < LANDING(WORKERS);
}

/* Can a device have written that? */
bool may_have_landed(__u64 value)
{
	return !value || ((value >> 32 & 0xffff) == SOURCE &&
			  (value >> 48) - 1 < FILES * MAX_PAGES);
}

void make_page(__u64 *data, int file, size_t page, __u64 content)
{
	size_t i;

	for (i = 0; i < CELLS; i++)
		data[i] = is_landing(i) ? 0 : cell(file, page, content, i);
}

/* The bytes of a page, without bringing it. */
int peek(int file, size_t page, __u64 *data)
{
	ssize_t ret = pread(files[file].fd, data, PAGE, page * PAGE);

	if (ret < 0)
		return -errno;
	/* past the end of the file */
	memset((char *)data + ret, 0, PAGE - ret);
	return 0;
}

unsigned char *addr_of(int file, size_t page)
{
	return files[file].mem + page * PAGE;
}

int make_files(void)
{
	size_t size = file_size * PAGE;
	unsigned char *room;
	int i;

	for (i = 0; i < FILES; i++) {
		files[i].fd = memfd_create("torture", MFD_CLOEXEC);
		if (files[i].fd < 0 || ftruncate(files[i].fd, size))
			return -errno;
		room = mmap(NULL, size + HUGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (room == MAP_FAILED)
			return -errno;
		room = (unsigned char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
		files[i].mem = mmap(room, size, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, files[i].fd, 0);
		if (files[i].mem == MAP_FAILED)
			return -errno;
	}
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return model == MAP_FAILED ? -errno : 0;
}
