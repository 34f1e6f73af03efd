// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "fdinfo.h"
#include "files.h"
#include "users.h"

#define DEBUGFS_KVM	"/sys/kernel/debug/kvm"

static unsigned long page_size;

static unsigned long max_ul(unsigned long a, unsigned long b)
{
	return a > b ? a : b;
}

static unsigned long min_ul(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

/* Without memory this program has nothing to show. */
static void *grown(void *array, size_t nr, size_t size)
{
	array = realloc(array, nr * size);
	if (!array)
		abort();
	return array;
}

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

/*
 * Page sets
 */

static unsigned long file_pages(const struct followed_file *file)
{
	return (file->size + page_size - 1) / page_size;
}

unsigned int file_columns(const struct followed_file *file)
{
	return (file_pages(file) + file->per_column - 1) / file->per_column;
}

struct run column_pages(const struct followed_file *file, unsigned int column,
			struct run window)
{
	unsigned long start = column * file->per_column;

	return (struct run){
		.start = max_ul(start, window.start),
		.end = min_ul(min_ul(start + file->per_column, file_pages(file)),
			      window.end),
	};
}

/* Count the pages of a run in the columns; those past the end of the file have none. */
static void add_to_columns(struct followed_list *list, struct followed_file *file,
			   struct page_set *set, struct run run)
{
	unsigned long start = run.start, end = min_ul(run.end, file_pages(file)), stop;

	if (!set->columns) {
		set->columns = grown(NULL, list->columns, sizeof(*set->columns));
		memset(set->columns, 0, list->columns * sizeof(*set->columns));
	}
	for (; start < end; start = stop) {
		stop = min_ul(end, (start / file->per_column + 1) * file->per_column);
		set->columns[start / file->per_column] += stop - start;
	}
}

static void add_run(struct followed_list *list, struct followed_file *file,
		    struct page_set *set, struct run run)
{
	struct run *last = set->nr_runs ? &set->runs[set->nr_runs - 1] : NULL;

	if (run.start >= run.end)
		return;
	set->pages += run.end - run.start;
	add_to_columns(list, file, set, run);
	if (last && last->end == run.start && !set->truncated) {
		last->end = run.end;
	} else if (set->nr_runs == MAX_RUNS) {
		set->truncated = true;
	} else {
		/* 16, 32, 64, ... */
		if (!set->runs || (set->nr_runs >= 16 &&
				   !(set->nr_runs & (set->nr_runs - 1))))
			set->runs = grown(set->runs, set->nr_runs ? 2 * set->nr_runs : 16,
					  sizeof(run));
		set->runs[set->nr_runs++] = run;
	}
}

static void free_set(struct page_set *set)
{
	free(set->runs);
	free(set->columns);
}

/*
 * The list
 */

static struct followed_file *add_file(struct followed_list *list)
{
	if (list->nr == list->max) {
		list->max = list->max ? 2 * list->max : 16;
		list->files = grown(list->files, list->max, sizeof(*list->files));
	}
	memset(&list->files[list->nr], 0, sizeof(*list->files));
	return &list->files[list->nr++];
}

static struct file_user *add_user(struct followed_file *file)
{
	if (file->nr_users == file->max_users) {
		file->max_users = file->max_users ? 2 * file->max_users : 8;
		file->users = grown(file->users, file->max_users,
				    sizeof(*file->users));
	}
	memset(&file->users[file->nr_users], 0, sizeof(*file->users));
	return &file->users[file->nr_users++];
}

struct followed_file *users_file(const struct followed_list *list, unsigned int dev_major,
				 unsigned int dev_minor, unsigned long ino)
{
	size_t i;

	for (i = 0; i < list->nr; i++)
		if (list->files[i].ino == ino && list->files[i].dev_major == dev_major &&
		    list->files[i].dev_minor == dev_minor)
			return &list->files[i];
	return NULL;
}

void users_free(struct followed_list *list)
{
	struct followed_file *file;
	size_t i;

	for (file = list->files; file < list->files + list->nr; file++) {
		for (i = 0; i < file->nr_users; i++)
			free_set(&file->users[i].mapped);
		free(file->users);
		free_set(&file->present);
	}
	free(list->files);
	list->files = NULL;
	list->nr = 0;
	list->max = 0;
}

/*
 * debugfs: files and consumers
 */

static void set_owner(struct file_user *f, const char *kind, const char *name)
{
	if (!strcmp(kind, "device")) {
		f->kind = USER_DEVICE;
		f->via = "driver";
		copy_text(f->names, sizeof(f->names), name);
	} else if (!strcmp(kind, "vm")) {
		f->kind = USER_VM;
		f->via = "memslot";
		f->pid = atoi(name);
	}
}

static bool parse_file(struct followed_list *list, const char *line)
{
	unsigned int dev_major, dev_minor;
	unsigned long long size;
	struct followed_file *file;
	unsigned long ino;

	if (sscanf(line, "dev %u:%u ino %lu size_bytes %llu", &dev_major, &dev_minor,
		   &ino, &size) != 4)
		return false;
	file = add_file(list);
	file->dev_major = dev_major;
	file->dev_minor = dev_minor;
	file->ino = ino;
	file->size = size;
	file->per_column = file_pages(file) / list->columns +
			   !!(file_pages(file) % list->columns);
	file->per_column = max_ul(file->per_column, 1);
	file->present.known = true;
	return true;
}

static bool parse_consumer(struct followed_file *file, const char *line)
{
	char kind[16], owner[16] = "", name[64] = "";
	unsigned long long id;
	struct file_user *f;
	struct run window;

	if (sscanf(line, " consumer %llu kind %15s window_pages [%lu, %lu) %15s %63s",
		   &id, kind, &window.start, &window.end, owner, name) < 4)
		return false;
	f = add_user(file);
	f->mirror = !strcmp(kind, "iommu");
	f->via = "unknown";
	f->id = id;
	f->window = window;
	f->mapped.known = true;
	set_owner(f, owner, name);
	return true;
}

static void parse_runs(struct followed_list *list, struct followed_file *file,
		       const char *line)
{
	struct run run;

	if (sscanf(line, " present_pages [%lu, %lu)", &run.start, &run.end) == 2)
		add_run(list, file, &file->present, run);
	else if (file->nr_users &&
		 sscanf(line, " mapped_pages [%lu, %lu)", &run.start, &run.end) == 2)
		add_run(list, file, &file->users[file->nr_users - 1].mapped, run);
}

static int read_consumers(struct followed_list *list)
{
	FILE *in = fopen(DEBUGFS_MAPPED, "re");
	struct followed_file *file;
	char *line = NULL;
	size_t size = 0;
	int ret = 0;

	if (!in)
		return -errno;
	while (getline(&line, &size, in) > 0) {
		if (parse_file(list, line) || !list->nr)
			continue;
		file = &list->files[list->nr - 1];
		if (!parse_consumer(file, line))
			parse_runs(list, file, line);
	}
	if (ferror(in))
		ret = -EIO;
	free(line);
	fclose(in);
	return ret;
}

/*
 * fdinfo: devices, and the processes that have them
 */

struct owner {
	pid_t	pid;
	char	comm[16];
	struct fdinfo_device *devices;
	size_t	nr;
};

static void name_devices(struct file_user *f, const struct owner *owner)
{
	const struct fdinfo_device *d;
	size_t len = 0;

	for (d = owner->devices; d < owner->devices + owner->nr; d++) {
		if (d->ioas != f->ioas)
			continue;
		len += snprintf(f->names + len, sizeof(f->names) - len, "%s%s",
				len ? "," : "", d->name);
		if (len >= sizeof(f->names))
			break;
	}
	if (len)
		f->kind = USER_DEVICE;
}

static void own(struct file_user *f, const struct owner *owner,
		const struct fdinfo_range *r)
{
	f->via = r->ioas ? "iommufd" : "container";
	f->pid = owner->pid;
	memcpy(f->comm, owner->comm, sizeof(f->comm));
	f->ioas = r->ioas;
	f->iova = r->iova;
	f->iova_end = r->iova_end;
	f->missing = r->missing;
	name_devices(f, owner);
}

/* A mapping in no domain has no consumer: nobody has anything mapped. */
static void own_range(struct followed_list *list, const struct owner *owner,
		      const struct fdinfo_range *r)
{
	struct followed_file *file = users_file(list, r->dev_major, r->dev_minor, r->ino);
	size_t i;

	for (i = 0; file && i < file->nr_users; i++)
		if (!file->users[i].pid && fdinfo_range_has(r, file->users[i].id))
			own(&file->users[i], owner, r);
}

/* The devices come before or behind the ranges: read twice. */
static void read_owner(struct followed_list *list, const char *path, struct owner *owner,
		       bool ranges)
{
	FILE *in = fopen(path, "re");
	struct fdinfo_device device;
	struct fdinfo_range range;
	char *line = NULL;
	size_t size = 0;

	while (in && getline(&line, &size, in) > 0) {
		if (ranges && fdinfo_range(line, &range)) {
			own_range(list, owner, &range);
		} else if (!ranges && fdinfo_device(line, &device)) {
			owner->devices = grown(owner->devices, owner->nr + 1,
					       sizeof(device));
			owner->devices[owner->nr++] = device;
		}
	}
	free(line);
	if (in)
		fclose(in);
}

static void look_at_owner(struct followed_list *list, pid_t pid, const char *comm,
			  const char *fd)
{
	struct owner owner = { .pid = pid };
	char path[PATH_MAX];

	copy_text(owner.comm, sizeof(owner.comm), comm);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, fd);
	read_owner(list, path, &owner, false);
	read_owner(list, path, &owner, true);
	free(owner.devices);
}

/*
 * Processes: their descriptors and mappings
 */

static void name_file(struct followed_file *file, const char *link)
{
	size_t len;

	if (file->name[0])
		return;
	if (!strncmp(link, "/memfd:", 7))
		link++;
	copy_text(file->name, sizeof(file->name), link);
	len = strlen(file->name);
	if (len > 10 && !strcmp(file->name + len - 10, " (deleted)"))
		file->name[len - 10] = '\0';
}

/* Containers and iommufds are miscellaneous devices, whatever their names are. */
#define MISC_MAJOR	10

static void look_at_fd(struct followed_list *list, pid_t pid, const char *comm,
		       int dir, const char *fd)
{
	struct followed_file *file;
	struct statx st;
	char link[256];
	ssize_t len;

	/* without waiting for a server that does not answer */
	if (statx(dir, fd, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &st))
		return;
	if (S_ISCHR(st.stx_mode) && st.stx_rdev_major == MISC_MAJOR)
		look_at_owner(list, pid, comm, fd);
	file = users_file(list, st.stx_dev_major, st.stx_dev_minor, st.stx_ino);
	if (!file || file->name[0])
		return;
	len = readlinkat(dir, fd, link, sizeof(link) - 1);
	if (len <= 0)
		return;
	link[len] = '\0';
	name_file(file, link);
}

static void look_at_fds(struct followed_list *list, pid_t pid, const char *comm)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (isdigit(entry->d_name[0]))
			look_at_fd(list, pid, comm, dirfd(dir), entry->d_name);
	closedir(dir);
}

/* Where a process has mapped a followed file */
struct vma {
	struct followed_file *file;
	unsigned long start, end;	/* addresses */
	struct run pages;		/* of the file */
};

struct vmas {
	struct vma *vma;
	size_t nr;
};

static struct vmas read_vmas(struct followed_list *list, pid_t pid)
{
	struct vmas vmas = { NULL, 0 };
	unsigned int dev_major, dev_minor;
	unsigned long start, end, offset, ino;
	struct followed_file *file;
	char path[64], *line = NULL;
	size_t size = 0;
	int name = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	in = fopen(path, "re");
	while (in && getline(&line, &size, in) > 0) {
		if (sscanf(line, "%lx-%lx %*s %lx %x:%x %lu %n", &start, &end, &offset,
			   &dev_major, &dev_minor, &ino, &name) != 6)
			continue;
		file = users_file(list, dev_major, dev_minor, ino);
		if (!file)
			continue;
		line[strcspn(line, "\n")] = '\0';
		name_file(file, line + name);
		vmas.vma = grown(vmas.vma, vmas.nr + 1, sizeof(*vmas.vma));
		vmas.vma[vmas.nr++] = (struct vma){
			.file = file, .start = start, .end = end,
			.pages = { offset / page_size,
				   (offset + end - start) / page_size },
		};
	}
	free(line);
	if (in)
		fclose(in);
	return vmas;
}

/* What the process's page table has of a mapping */
static void scan_vma(struct followed_list *list, int pagemap, const struct vma *vma,
		     struct file_user *f)
{
	struct page_region regions[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = vma->start, .end = vma->end,
		.vec = (unsigned long)regions, .vec_len = 64,
		.category_mask = PAGE_IS_PRESENT, .return_mask = PAGE_IS_PRESENT,
	};
	long nr, i;

	while (arg.start < vma->end) {
		nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (nr < 0)
			return;
		f->mapped.known = true;
		for (i = 0; i < nr; i++)
			add_run(list, vma->file, &f->mapped, (struct run){
				vma->pages.start + (regions[i].start - vma->start) / page_size,
				vma->pages.start + (regions[i].end - vma->start) / page_size });
		if (arg.walk_end <= arg.start)
			return;
		arg.start = arg.walk_end;
	}
}

static void look_at_maps(struct followed_list *list, pid_t pid, const char *comm)
{
	struct vmas vmas = read_vmas(list, pid);
	struct file_user *f;
	char path[64];
	size_t i;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = vmas.nr ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	for (i = 0; i < vmas.nr; i++) {
		f = add_user(vmas.vma[i].file);
		f->kind = USER_PROCESS;
		f->via = "mapping";
		f->pid = pid;
		copy_text(f->comm, sizeof(f->comm), comm);
		f->window = vmas.vma[i].pages;
		if (fd >= 0)
			scan_vma(list, fd, &vmas.vma[i], f);
	}
	if (fd >= 0)
		close(fd);
	free(vmas.vma);
}

static void read_comm(pid_t pid, char *comm, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (read_line(path, comm, size))
		comm[0] = '\0';
}

typedef void (*look_fn)(struct followed_list *list, pid_t pid, const char *name);

/* Call @look for each entry of a directory whose name begins with a number. */
static void look_at_each(struct followed_list *list, const char *path, look_fn look)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (isdigit(entry->d_name[0]))
			look(list, atoi(entry->d_name), entry->d_name);
	closedir(dir);
}

static void look_at_owners(struct followed_list *list, pid_t pid, const char *name)
{
	char comm[16];

	(void)name;
	read_comm(pid, comm, sizeof(comm));
	look_at_fds(list, pid, comm);
}

static void look_at_mappings(struct followed_list *list, pid_t pid, const char *name)
{
	char comm[16];

	(void)name;
	read_comm(pid, comm, sizeof(comm));
	look_at_maps(list, pid, comm);
}

/*
 * Ordinary VMs: memslots whose memory is a mapping of a followed file
 */

struct slot {
	struct run gfns;
	unsigned long addr;
};

/* The part of a memslot that lies in a mapping, as pages of the file */
static struct run slot_window(const struct slot *slot, const struct vma *vma)
{
	unsigned long start = slot->addr;
	unsigned long end = start + (slot->gfns.end - slot->gfns.start) * page_size;
	struct run window = { 0, 0 };

	start = max_ul(start, vma->start);
	end = min_ul(end, vma->end);
	if (start < end) {
		window.start = vma->pages.start + (start - vma->start) / page_size;
		window.end = window.start + (end - start) / page_size;
	}
	return window;
}

static void add_vm(const struct slot *slot, const struct vma *vma, pid_t pid)
{
	struct run window = slot_window(slot, vma);
	struct file_user *f;

	if (window.start >= window.end)
		return;
	f = add_user(vma->file);
	f->kind = USER_VM;
	f->via = "mapping";
	f->pid = pid;
	read_comm(pid, f->comm, sizeof(f->comm));
	f->window = window;
	f->mapped.known = true;
}

/* The run of gfns, as pages of the file in the window of the user that add_vm() made */
static void add_gfns(struct followed_list *list, const struct slot *slot,
		     const struct vma *vma, struct run gfns)
{
	struct followed_file *file = vma->file;
	struct run window = slot_window(slot, vma);
	struct file_user *f = NULL;
	/* the file's page at the slot's first gfn; wraps around if it is before the file */
	unsigned long base = vma->pages.start + (slot->addr - vma->start) / page_size;
	size_t i;

	if (slot->addr < vma->start)
		base = vma->pages.start - (vma->start - slot->addr) / page_size;
	for (i = file->nr_users; i-- > 0 && !f;)
		if (file->users[i].kind == USER_VM &&
		    file->users[i].window.start == window.start &&
		    file->users[i].window.end == window.end)
			f = &file->users[i];
	if (!f || window.start >= window.end)
		return;
	gfns.start = base + (gfns.start - slot->gfns.start);
	gfns.end = base + (gfns.end - slot->gfns.start);
	/* as signed, since a slot can begin before the mapping */
	if ((long)gfns.start < (long)window.start)
		gfns.start = window.start;
	if ((long)gfns.end > (long)window.end)
		gfns.end = window.end;
	if ((long)gfns.start < (long)gfns.end)
		add_run(list, file, &f->mapped, gfns);
}

static bool parse_slot(const char *line, struct slot *slot, bool *ordinary)
{
	char rest[16] = "";

	if (sscanf(line, "slot %*d as %*u gpa_pages [%lu, %lu) userspace_addr 0x%lx %15s",
		   &slot->gfns.start, &slot->gfns.end, &slot->addr, rest) < 3)
		return false;
	*ordinary = strcmp(rest, "guest_memfd");
	return true;
}

static void look_at_vm(struct followed_list *list, pid_t pid, const char *name)
{
	struct vmas vmas = read_vmas(list, pid);
	char path[PATH_MAX], *line = NULL;
	bool ordinary = false;
	struct slot slot;
	struct run gfns;
	size_t size = 0, i;
	FILE *in;

	snprintf(path, sizeof(path), DEBUGFS_KVM "/%s/memslots", name);
	in = vmas.nr ? fopen(path, "re") : NULL;
	while (in && getline(&line, &size, in) > 0) {
		if (parse_slot(line, &slot, &ordinary)) {
			for (i = 0; ordinary && i < vmas.nr; i++)
				add_vm(&slot, &vmas.vma[i], pid);
		} else if (ordinary && sscanf(line, " mapped_gpa_pages [%lu, %lu)",
					      &gfns.start, &gfns.end) == 2) {
			for (i = 0; i < vmas.nr; i++)
				add_gfns(list, &slot, &vmas.vma[i], gfns);
		}
	}
	free(line);
	if (in)
		fclose(in);
	free(vmas.vma);
}

static void name_vms(struct followed_list *list)
{
	struct followed_file *file;
	struct file_user *f;

	for (file = list->files; file < list->files + list->nr; file++)
		for (f = file->users; f < file->users + file->nr_users; f++)
			if (f->kind == USER_VM && !f->comm[0])
				read_comm(f->pid, f->comm, sizeof(f->comm));
}

int users_read(struct followed_list *list)
{
	int ret;

	page_size = sysconf(_SC_PAGESIZE);
	ret = read_consumers(list);
	if (ret || !list->nr)
		return ret;
	look_at_each(list, "/proc", look_at_owners);
	name_vms(list);
	look_at_each(list, DEBUGFS_KVM, look_at_vm);
	look_at_each(list, "/proc", look_at_mappings);
	return 0;
}
