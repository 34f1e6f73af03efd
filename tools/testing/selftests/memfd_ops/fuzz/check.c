// SPDX-License-Identifier: GPL-2.0
/* With all threads standing still: consumers reach what the files have, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memfd_ops/fdinfo.h>
#include <memfd_ops/files.h>
#include <memfd_ops/users.h>

#include "../lib/iova_table.h"
#include "../lib/pages.h"
#include "../lib/rights.h"
#include "fuzz.h"

#define LOOKS	8	/* at pages of a mapping */

/* Keep a descriptor of the file, and a mapping, for the oracle. Other files go unseen. */
void adopt(int fd)
{
	int nr = atomic_fetch_add(&this_round.nr_files, 1);
	struct stat st;
	struct file *f;

	if (nr >= MAX_FILES)
		return;
	f = &this_round.files[nr];
	f->fd = reopen(fd, O_RDONLY);
	if (f->fd < 0 || fstat(f->fd, &st))
		return;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->mem = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, f->fd, 0);
	f->ready = f->mem != MAP_FAILED;
}

static struct file *find_file(__u64 dev, __u64 ino)
{
	struct file *f;

	for (f = this_round.files; f < this_round.files + MAX_FILES; f++)
		if (f->ready && f->dev == dev && f->ino == ino)
			return f;
	return NULL;
}

/*
 * The lists of pages in debugfs
 */

static void mark(unsigned char *pages, const struct page_set *set)
{
	unsigned long page;
	size_t i;

	for (i = 0; i < set->nr_runs; i++)
		for (page = set->runs[i].start; page < set->runs[i].end; page++)
			if (page < FILE_PAGES)
				pages[page] = 1;
}

/*
 * How many pages of the file it lacks, as the file's fdinfo has it: the container's is out
 * of reach if only its groups keep it.
 */
static unsigned long missing_of(const struct file *f, unsigned long long id)
{
	struct fdinfo_consumer c;
	unsigned long missing = 0;
	char path[64], line[256];
	FILE *in;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", f->fd);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		if (fdinfo_consumer(line, &c) && c.id == id)
			missing = c.missing;
	if (in)
		fclose(in);
	return missing;
}

/*
 * It may map no page that is not there. If it is a mirror, it must map all that are,
 * except those that are reported as missing. Past the end of the file, pages in swap may be
 * read without it.
 */
static void compare(struct file *f, const struct file_user *user)
{
	unsigned long size = file_pages(f->fd), missing = missing_of(f, user->id), extra = 0,
		      lacking = 0, i, first_extra = 0, first_lack = 0;
	unsigned char mapped[FILE_PAGES] = { }, have[FILE_PAGES];

	mark(mapped, &user->mapped);
	if (mincore(f->mem, FILE_SIZE, have))
		return;
	for (i = 0; i < FILE_PAGES; i++) {
		have[i] &= 1;
		if (mapped[i] && !have[i] && !extra++)
			first_extra = i;
		if (have[i] && !mapped[i] && i >= user->window.start && i < user->window.end &&
		    i < size && user->mirror && !lacking++)
			first_lack = i;
	}
	shared->compared++;
	if (extra || lacking > missing)
		WRONG("%llu [%lu, %lu): %lu too many of %lu, %lu; lacks %lu, %lu, reports %lu",
		      user->id, user->window.start, user->window.end, extra, size, first_extra,
		      lacking, first_lack, missing);
}

void check_consumers(void)
{
	struct followed_list list = { .columns = 1 };
	int ret = users_read(&list);
	struct followed_file *file;
	struct file *f;
	size_t i;

	if (ret)
		WRONG("memfd_ops_mapped: error %d", ret);
	for (f = this_round.files; f < this_round.files + MAX_FILES; f++) {
		file = f->ready ? users_file(&list, major(f->dev), minor(f->dev), f->ino) : NULL;
		for (i = 0; file && i < file->nr_users; i++)
			if (file->users[i].id)
				compare(f, &file->users[i]);
	}
	users_free(&list);
}

/*
 * Accesses
 */

/*
 * Put a number into a page that is there, unless it is sealed; and read the number there,
 * unless that is past the end of the file. May bring a page back from swap.
 */
static bool stamp(struct thread *t, struct file *f, __u64 at, __u64 *value, bool *there)
{
	unsigned char *addr = f->mem + at / PAGE * PAGE;
	int fd = at < FILE_SIZE && in_core(addr) ? reopen(f->fd, O_RDWR) : -1;
	bool done;

	*value = pick(&t->random, 1ULL << 60);
	done = pwrite(fd, value, sizeof(*value), at) == sizeof(*value);
	close_fd(&fd);
	if (!done)
		done = pread(f->fd, value, sizeof(*value), at) == sizeof(*value);
	*there = done && at < FILE_SIZE && in_core(addr);
	return done;
}

/* By a device that the test has open, if it has */
static int soft_device_read(__u64 iova, __u64 *value)
{
	int kind, slot, ret;

	for (kind = SOFT_CDEV; kind <= SOFT_DEVICE; kind += SOFT_DEVICE - SOFT_CDEV) {
		for (slot = 0; slot < SLOTS; slot++) {
			struct vdev d = { .fd = this_round.fds[kind][slot] };

			ret = d.fd < 0 ? -EBADF : soft_read(&d, iova, value, sizeof(*value));
			if (!ret || ret == -EFAULT)
				return ret;
		}
	}
	return -ENODEV;
}

static void look(struct thread *t, struct fdinfo_range *r, struct file *f, bool soft,
		 struct iova_table *table)
{
	unsigned long page = r->start + pick(&t->random, r->end - r->start);
	__u64 iova = r->iova + (page - r->start) * PAGE, want, got = 0, pa;
	__u64 cell = 8 * pick(&t->random, PAGE / 8);
	bool there;
	int ret;

	if (page >= FILE_PAGES)
		return;
	if (!stamp(t, f, page * PAGE + cell, &want, &there))
		return;
	ret = soft && r->access[0] == 'r' ? soft_device_read(iova + cell, &got) : -ENODEV;
	if (!ret || ret == -EFAULT)
		shared->compared++;
	if (!ret ? !there || got != want : ret == -EFAULT && there && !r->missing)
		WRONG("page %lu of %llu, %s, has %llx; a device reads %llx at IOVA %llx: %d",
		      page, f->ino, there ? "there" : "a hole", want, got, iova, ret);
	pa = table ? iova_table_lookup(table, iova) : 0;
	if (table && pa != (there ? pfn_of(f->mem + page * PAGE) * PAGE : 0) &&
	    (pa || !r->missing))
		WRONG("page %lu of %llu, %s: IOVA %llx leads to %llx", page, f->ino,
		      there ? "there" : "a hole", iova, pa);
}

/* The mappings of a container or an iommufd: by DMA, and by VT-d's table */
static void check_space(struct thread *t, int fd)
{
	unsigned int soft = ~0U, nvme = ~0U;
	struct iova_table table;
	struct fdinfo_device d;
	struct fdinfo_range r;
	char path[64], line[256];
	struct file *f;
	bool shown;
	FILE *in;
	int i;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	in = fopen(path, "re");
	if (!in)
		return;
	while (fgets(line, sizeof(line), in)) {
		if (!fdinfo_device(line, &d))
			continue;
		if (!strcmp(d.name, devices[0].name))
			soft = d.ioas;
		if (!strcmp(d.name, devices[1].name))
			nvme = d.ioas;
	}
	shown = nvme != ~0U && !iova_table_of(devices[1].name, &table);
	rewind(in);
	while (fgets(line, sizeof(line), in)) {
		if (!fdinfo_range(line, &r) || r.consumers[0] == '-')
			continue;
		f = find_file(makedev(r.dev_major, r.dev_minor), r.ino);
		for (i = 0; f && i < LOOKS; i++)
			look(t, &r, f, soft == r.ioas, shown && nvme == r.ioas ? &table : NULL);
	}
	fclose(in);
	if (shown)
		iova_table_free(&table);
}

void check_devices(struct thread *t)
{
	int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		check_space(t, this_round.fds[CONTAINER][slot]);
		check_space(t, this_round.fds[USER_IOMMU][slot]);
	}
}

/* Private memory in a memfd, and a mapping: the fixed memslots have all of the first file. */
void check_guests(struct thread *t)
{
	struct file *f = &this_round.files[0];
	struct vmm_vcpu *vcpu;
	__u64 page, want;
	bool there;
	__s64 got;
	int i;

	for (i = 0; i < LOOKS * SLOTS; i++) {
		page = pick(&t->random, FILE_PAGES);
		vcpu = &this_round.vms[i % SLOTS].vcpu[pick(&t->random, VCPUS)];
		if (!stamp(t, f, page * PAGE, &want, &there))
			continue;
		shared->compared++;
		got = vmm_read(vcpu, GPA_FIXED + page * PAGE);
		/* a hole may not be filled: other consumers may have no room for the page */
		if (got < 0 ? there : got != (__u32)want)
			WRONG("page %llu, %s, has %llx; guest %d reads %llx, exit reason %u", page,
			      there ? "there" : "a hole", want, i % SLOTS, got,
			      vcpu->run->exit_reason);
	}
}
