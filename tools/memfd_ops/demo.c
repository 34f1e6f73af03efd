// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-demo: devices and virtual machines follow a memfd
 *
 * Two instances of a small DMA engine (samples/vfio-mdev/mdma.c) and two KVM guests
 * each get a window of one memfd. The file gains and loses pages; after each
 * step the pages that the file has and those that each of them can reach are
 * drawn, and compared, with what memfd-ops-show finds in the kernel as well. Exits with 0
 * only if everything was as it should be.
 *
 * Read main() first: it lists the steps, which stand above it in that order. What
 * they use stands above them, in mdma.h, and in vmm.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memfd_ops/mdma.h>
#include <memfd_ops/strip.h>
#include <memfd_ops/vmm.h>

#define PAGES	64	/* of the file: a column each */
#define SHOW	"memfd-ops-show"

static long page_size;
static int memfd;
static char *file;	/* the memfd, as this program has it mapped */

/* A device: one instance of the engine, and what it sees of the file. */
static struct device {
	const char *name;
	struct mdma mdma;
	int first, pages;	/* its window of the file, in pages */
	__u64 iova;		/* where that begins for the device */
} devices[] = {
	{ .name = "device A", .mdma = MDMA_INIT, .first = 0, .pages = 40 },
	{ .name = "device B", .mdma = MDMA_INIT, .first = 24, .pages = 32 },
};

#define NR_DEVICES	(sizeof(devices) / sizeof(devices[0]))

static struct device *const a = &devices[0], *const b = &devices[1];

/* A guest: a virtual machine, and the part of the file that is its memory. */
struct guest {
	const char *name;
	struct vmm vm;
	int first, pages;	/* its window of the file, in pages */
};

/*
 * Guest A has the file itself as its private memory, twice: a hole stops the guest at
 * the first address, and is filled by the guest's access at the second.
 */
static struct guest guest_a = {
	.name = "guest A", .vm = VMM_INIT, .first = 8, .pages = 40,
};

/*
 * Guest B is an ordinary virtual machine: its memory is ours, where we have mapped the
 * file. A hole does not stop it, its access fills the hole as ours does.
 */
static struct guest guest_b = {
	.name = "guest B", .vm = VMM_INIT, .first = 20, .pages = 44,
};

#define GUEST_AT	0x1000000	/* where the file's page 0 would be */
#define GUEST_FILLS_AT	0x2000000

/* KVM's entries of guest B for pages that are not in the file */
static long other_entries;

/*
 * A guest has two processors. One runs the steps of the story, and waits where a hole
 * has stopped it; the other one finds out which pages the guest can reach.
 */
static struct vmm_vcpu *story(struct guest *g)
{
	return &g->vm.vcpu[0];
}

static struct vmm_vcpu *scout(struct guest *g)
{
	return &g->vm.vcpu[1];
}

/*
 * Close and remove the instances, whatever happens. Safe in a signal handler. What
 * else we have, the virtual machines too, goes with our file descriptors.
 */
static void cleanup(void)
{
	size_t i;

	for (i = 0; i < NR_DEVICES; i++) {
		mdma_close(&devices[i].mdma);
		mdma_remove(&devices[i].mdma);
	}
}

static void interrupted(int sig)
{
	cleanup();
	_exit(128 + sig);
}

/* Something that the demo cannot go on without. */
static void need(int error, const char *what)
{
	if (error >= 0)
		return;
	printf("demo: cannot %s: %s\n", what, strerror(-error));
	exit(1);
}

static int failures;

static void __attribute__((format(printf, 2, 3)))
check(bool held, const char *fmt, ...)
{
	va_list args;

	printf(held ? "  ok    " : "  FAIL  ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	failures += !held;
}

/* What the file has at each page: '#' a page, '.' nothing. */
static void file_strip(char *strip)
{
	unsigned char in_core[PAGES];
	int i;

	need(mincore(file, PAGES * page_size, in_core) ? -errno : 0, "ask mincore");
	for (i = 0; i < PAGES; i++)
		strip[i] = in_core[i] & 1 ? '#' : '.';
	strip[PAGES] = '\0';
}

/*
 * What the device can reach, in the file's columns: '#' that page, '.' nothing
 * now, but the column is in its window, ' ' outside the window.
 */
static void device_strip(struct device *dev, char *strip)
{
	unsigned char present[PAGES];
	int i;

	need(mdma_present(&dev->mdma, dev->iova, dev->pages, present),
	     "query the present pages");
	memset(strip, ' ', PAGES);
	for (i = 0; i < dev->pages; i++)
		strip[dev->first + i] = present[i] ? '#' : '.';
	strip[PAGES] = '\0';
}

/* The guest physical address of the file's page @n. */
static __u32 gpa(int n)
{
	return GUEST_AT + n * page_size;
}

/* Did the processor stop since there is no private page at @addr? */
static bool stopped_at(struct vmm_vcpu *vcpu, __u32 addr)
{
	struct kvm_run *run = vcpu->run;

	return run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	       run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE &&
	       run->memory_fault.gpa == addr &&
	       run->memory_fault.size == (__u64)page_size;
}

/*
 * The pages that guest A can reach, drawn as device_strip() draws those of a device.
 * KVM maps a page when the guest touches it, so we have the guest read them all; holes
 * stop it, and stay holes.
 */
static void guest_a_strip(char *strip)
{
	struct vmm_vcpu *vcpu = scout(&guest_a);
	__s64 word;
	int n;

	memset(strip, ' ', PAGES);
	for (n = guest_a.first; n < guest_a.first + guest_a.pages; n++) {
		word = vmm_read(vcpu, gpa(n));
		if (!stopped_at(vcpu, gpa(n)))
			need(word < 0 ? word : 0, "have the guest read a page");
		strip[n] = word < 0 ? '.' : '#';
	}
	strip[PAGES] = '\0';
}

/* How many pages of the file does KVM have mapped for guest B at this moment? */
static long guest_b_entries(void)
{
	__s64 entries = vmm_stat(&guest_b.vm, "pages_4k");

	need(entries < 0 ? entries : 0, "count KVM's entries");
	return entries - other_entries;
}

/*
 * The same of guest B, whose reads would fill holes: it reads the pages that the file
 * has. Then KVM must have as many entries as we draw pages, so that none leads to a page
 * that the file does not have.
 */
static bool guest_b_strip(char *strip, const char *have)
{
	__s64 word;
	int n, pages = 0;

	memset(strip, ' ', PAGES);
	for (n = guest_b.first; n < guest_b.first + guest_b.pages; n++) {
		strip[n] = have[n];
		if (have[n] == '.')
			continue;
		word = vmm_read(scout(&guest_b), gpa(n));
		need(word < 0 ? word : 0, "have the guest read a page");
		pages++;
	}
	strip[PAGES] = '\0';
	return guest_b_entries() == pages;
}

static void draw(const char *name, const char *strip)
{
	strip_draw(stdout, name, 9, strip);
	printf("\n");
}

/* What memfd-ops-show draws of the files that this program's guests follow */
static char shown[16384];

static void ask_show(void)
{
	char command[128];
	FILE *pipe;
	size_t len;

	snprintf(command, sizeof(command), SHOW " --pid %d", getpid());
	pipe = popen(command, "re");
	need(pipe ? 0 : -errno, "run " SHOW);
	len = fread(shown, 1, sizeof(shown) - 1, pipe);
	shown[len] = '\0';
	if (pclose(pipe))
		check(false, SHOW " fails: is it in PATH?");
}

/* It has a column for each page up to the end of the file. */
static bool is_shown(const char *strip)
{
	char text[PAGES + 3];
	struct stat st;

	need(fstat(memfd, &st) ? -errno : 0, "stat the memfd");
	snprintf(text, sizeof(text), "|%.*s|", (int)(st.st_size / page_size), strip);
	return strstr(shown, text);
}

/* Draw what somebody reaches: it should be what the file has, and no more. */
static bool draw_reach(const char *name, const char *reach, const char *have)
{
	bool same = true;
	int i;

	draw(name, reach);
	for (i = 0; i < PAGES; i++)
		if (reach[i] != ' ' && reach[i] != have[i])
			same = false;
	return same;
}

/* Does the file's size on tmpfs agree with the drawing? */
static void check_blocks(const char *have)
{
	int pages = 0, i;
	struct stat st;

	for (i = 0; i < PAGES; i++)
		pages += have[i] == '#';
	need(fstat(memfd, &st) ? -errno : 0, "stat the memfd");
	if (st.st_blocks * 512 != pages * page_size)
		check(false, "the file has %ld blocks, and %d pages are drawn",
		      (long)st.st_blocks, pages);
}

/* Draw the file, and what devices and guests reach of it. */
static void show(const char *when)
{
	char have[PAGES + 1], reach[NR_DEVICES + 2][PAGES + 1];
	bool same = true, as_shown;
	size_t i;

	printf("\n  %s\n", when);
	file_strip(have);
	draw("file", have);
	for (i = 0; i < NR_DEVICES; i++) {
		device_strip(&devices[i], reach[i]);
		same &= draw_reach(devices[i].name, reach[i], have);
	}
	guest_a_strip(reach[i]);
	same &= draw_reach(guest_a.name, reach[i++], have);
	same &= guest_b_strip(reach[i], have);
	same &= draw_reach(guest_b.name, reach[i], have);
	printf("\n");
	check_blocks(have);	/* now, since asking must not have filled any hole */
	check(same, "all reach the pages of their windows that the file has, and no others");

	ask_show();
	as_shown = is_shown(have);
	for (i = 0; i < NR_DEVICES + 2; i++)
		as_shown &= is_shown(reach[i]);
	check(as_shown, SHOW " finds the same pages mapped in the kernel");
	if (!as_shown)
		fputs(shown, stdout);
}

static void step(const char *title)
{
	static int number;

	printf("\n%d. %s\n", ++number, title);
	if (file)
		show("before");
}

static char *page(int n)
{
	return file + n * page_size;
}

/* The IOVA of the file's page @n, as @dev sees it. */
static __u64 iova(struct device *dev, int n)
{
	return dev->iova + (n - dev->first) * page_size;
}

static const char *status_name(int status)
{
	static const char * const names[] = {
		[VFIO_MDMA_STATUS_IDLE] = "IDLE",
		[VFIO_MDMA_STATUS_BUSY] = "BUSY",
		[VFIO_MDMA_STATUS_DONE] = "DONE",
		[VFIO_MDMA_STATUS_FAULT] = "FAULT",
		[VFIO_MDMA_STATUS_ERROR] = "ERROR",
	};

	return status < 0 ? strerror(-status) : names[status];
}

/* Have @dev copy page @from of the file to page @to by DMA. */
static int copy(struct device *dev, int from, int to)
{
	return mdma_copy(&dev->mdma, iova(dev, from), iova(dev, to), page_size);
}

/* Have @dev copy page @from, where all is zero, over page @to. */
static void copy_zeros(struct device *dev, int from, int to)
{
	bool zeros = true;
	int status, i;

	memset(page(to), 'x', page_size);
	status = copy(dev, from, to);
	for (i = 0; i < page_size; i++)
		zeros &= !page(to)[i];
	check(status == VFIO_MDMA_STATUS_DONE && zeros,
	      "%s copies page %d to page %d: %s, it reads %s", dev->name, from, to,
	      status_name(status), zeros ? "zeros" : "other bytes");
}

/*
 * A guest fills page @from with @value, device A copies it to page @to, and the other
 * guest reads it there.
 */
static __u32 pass(struct guest *writer, int from, struct guest *reader, int to,
		  __u32 value)
{
	__u32 words = page_size / sizeof(value);
	__s64 word, differ;
	int status;

	need(vmm_fill(story(writer), gpa(from), words, value), "have a guest fill a page");
	status = copy(a, from, to);
	word = vmm_read(story(reader), gpa(to));
	need(word < 0 ? word : 0, "have a guest read a page");
	check(status == VFIO_MDMA_STATUS_DONE && word == value,
	      "%s fills page %d with %u, device A copies it to %d: %s, %s reads %lld",
	      writer->name, from, value, to, status_name(status), reader->name,
	      (long long)word);
	differ = vmm_compare(story(reader), gpa(to), words, value);
	if (differ)
		check(false, "%lld words of page %d are not %u", (long long)differ, to,
		      value);
	return word;
}

/* Guest A's access to @addr gave @result: it should have been stopped there. */
static void check_stopped(const char *access, __s64 result, __u32 addr)
{
	struct vmm_vcpu *vcpu = story(&guest_a);
	const char *how = vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT ?
			  "KVM_EXIT_MEMORY_FAULT" :
			  result < 0 ? strerror(-result) : "it was not stopped";

	check(result < 0 && stopped_at(vcpu, addr),
	      "guest A %s, at 0x%x: %s", access, addr, how);
}

/* Bring up an instance, and map its window of the file at its first IOVA. */
static void start(struct device *dev)
{
	struct mdma *m = &dev->mdma;

	need(mdma_create(m), "create an mdev (is mdma loaded?)");
	need(mdma_open_group(m), "open the mdev through VFIO");
	dev->iova = m->info.iova_start;
	need(mdma_map(m, memfd, dev->first * page_size, dev->iova,
		      dev->pages * page_size, MDMA_RW), "map the memfd");
	printf("  %s  pages %2d to %2d of the file, at IOVA 0x%llx\n", dev->name,
	       dev->first, dev->first + dev->pages - 1, (unsigned long long)dev->iova);
}

static void print_window(struct guest *g, __u32 at)
{
	printf("  %s   pages %2d to %2d of the file, at guest address 0x%llx\n", g->name,
	       g->first, g->first + g->pages - 1,
	       (unsigned long long)(at + g->first * page_size));
}

/* Put guest A's window at @at, in a memslot which has no other memory. */
static void add_private_slot(__u32 slot, __u32 flags, __u32 at)
{
	__u64 offset = guest_a.first * page_size, size = guest_a.pages * page_size;

	need(vmm_set_slot(&guest_a.vm, slot, KVM_MEM_GUEST_MEMFD | flags, at + offset, size,
			  NULL, memfd, offset), "put the memfd into a memslot");
	need(vmm_set_private(&guest_a.vm, at + offset, size, true),
	     "make it private memory");
	print_window(&guest_a, at);
}

/* Let guest B's memory be its window of the file, by the address where we have it. */
static void add_ordinary_slot(void)
{
	__s64 word = vmm_read(scout(&guest_b), VMM_LOW_FREE);

	need(word < 0 ? word : 0, "have the guest read its low memory");
	other_entries = guest_b_entries();
	need(vmm_set_slot(&guest_b.vm, 1, 0, gpa(guest_b.first), guest_b.pages * page_size,
			  page(guest_b.first), -1, 0), "put the mapping into a memslot");
	print_window(&guest_b, GUEST_AT);
}

/* The first thing to do, since it may be that this machine cannot. */
static void create_vms(void)
{
	int ret = vmm_create(&guest_b.vm, KVM_X86_DEFAULT_VM, 2);

	need(ret, "create a VM with /dev/kvm, which the guests need (VMX or SVM is enabled?)");
	ret = vmm_create(&guest_a.vm, KVM_X86_SW_PROTECTED_VM, 2);
	need(ret, "create a KVM_X86_SW_PROTECTED_VM (with CONFIG_KVM_SW_PROTECTED_VM?)");
	if (vmm_check(&guest_a.vm, KVM_CAP_MEMFD_SLOTS) <= 0)
		need(-EOPNOTSUPP, "have a memslot in a memfd (with CONFIG_KVM_MEMFD?)");
	need(vmm_enable_memfd_slots(&guest_a.vm), "enable KVM_CAP_MEMFD_SLOTS");
}

static void punch(int first, int pages)
{
	need(fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       first * page_size, pages * page_size) ? -errno : 0, "punch");
}

static void add_pages(int first, int pages)
{
	need(fallocate(memfd, 0, first * page_size, pages * page_size) ? -errno : 0,
	     "fallocate");
}

/*
 * The steps
 */

static void everybody_gets_a_window(void)
{
	step("A sparse memfd: two devices and two guests get a window of it each");
	memfd = memfd_create("demo", MFD_CLOEXEC);
	need(memfd < 0 ? -errno : 0, "create a memfd");
	need(ftruncate(memfd, PAGES * page_size) ? -errno : 0, "size the memfd");
	file = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    memfd, 0);
	need(file == MAP_FAILED ? -errno : 0, "mmap the memfd");
	start(a);
	start(b);
	add_private_slot(1, KVM_MEM_MEMFD_KEEP_HOLES, GUEST_AT);
	add_ordinary_slot();
	show("after");
}

static void cpu_writes(void)
{
	step("The CPU writes page 2 through mmap, and page 5 by pwrite()");
	memset(page(2), 'x', page_size);
	strcpy(page(2), "written by the CPU");
	need(pwrite(memfd, "", 1, 5 * page_size) < 0 ? -errno : 0, "pwrite");
	show("after");
}

static void device_copies(void)
{
	int status;

	step("Device A copies page 2 to page 5 by DMA");
	status = copy(a, 2, 5);
	check(status == VFIO_MDMA_STATUS_DONE, "the copy ended with %s",
	      status_name(status));
	check(!memcmp(page(2), page(5), page_size),
	      "page 5 reads: \"%.24s\", all %ld bytes are equal", page(5), page_size);
	show("after");
}

static void pages_come(void)
{
	step("fallocate() adds pages 16 to 55: each gets those of its window");
	add_pages(16, 40);
	show("after");
	copy_zeros(a, 30, 5);
}

static void windows_differ(void)
{
	int status;

	step("Device B sees its own window only");
	strcpy(page(30), "shared by A and B");
	status = copy(b, 30, 50);
	check(status == VFIO_MDMA_STATUS_DONE && !strcmp(page(50), page(30)),
	      "device B copies page 30 to page 50: %s, it reads \"%.24s\"",
	      status_name(status), page(50));
	status = mdma_start(&b->mdma, iova(a, 2), iova(b, 50), page_size);
	check(status == -ERANGE, "device B is refused device A's IOVA of page 2: %s",
	      status_name(status));
	show("after");
}

static void guests_and_device_share(void)
{
	__u32 value = 0;

	step("The guests and device A pass a page round; each time it grows by 1");
	value = pass(&guest_a, 18, &guest_b, 30, value + 1);
	value = pass(&guest_b, 30, &guest_a, 18, value + 1);
	value = pass(&guest_a, 18, &guest_b, 30, value + 1);
	value = pass(&guest_b, 30, &guest_a, 18, value + 1);
	show("after");
}

static void all_lose_a_page(void)
{
	long faults, faults_before = mdma_iommu_faults();
	long entries, entries_before;
	int status;

	step("A hole is punched: the IOMMU blocks the device, KVM unmaps the guests' pages");
	entries_before = guest_b_entries();
	punch(24, 12);
	entries = guest_b_entries();
	check(entries_before - entries == 12,
	      "KVM had mapped %ld pages for guest B before, %ld after", entries_before,
	      entries);
	show("after");
	status = copy(a, 30, 5);
	check(status == VFIO_MDMA_STATUS_FAULT,
	      "device A's next copy from page 30 ended with %s", status_name(status));
	mdma_iommu_faulted(faults_before);	/* waits for it */
	faults = mdma_iommu_faults();
	if (faults < 0)
		printf("  --    this IOMMU, as emulated, does not count its faults\n");
	else
		check(faults > faults_before,
		      "the IOMMU recorded it: %ld fault(s) before, %ld after",
		      faults_before, faults);
	check_stopped("reads page 30", vmm_read(story(&guest_a), gpa(30)), gpa(30));
}

static void all_get_it_back(void)
{
	__s64 word;

	step("fallocate() adds pages 28 to 31: guests and device go on");
	add_pages(28, 4);
	word = vmm_vcpu_resume(story(&guest_a));
	need(word < 0 ? word : 0, "have the guest go on");
	check(!word, "guest A's read of page 30 went on, and got %lld: nobody's old memory",
	      (long long)word);
	copy_zeros(a, 30, 5);
	show("after");
	pass(&guest_b, 30, &guest_a, 18, 5);
}

/* A guest's write to page @n, at @addr, has filled the hole there: can B copy it? */
static void check_filled(struct guest *g, int n, __u32 addr, __u32 value)
{
	int error = vmm_write(story(g), addr, value), status;
	__u32 word;

	check(!error, "%s writes %u to page %d, at 0x%x: %s", g->name, value, n, addr,
	      error ? strerror(-error) : "it was not stopped");
	status = copy(b, n, 50);
	memcpy(&word, page(50), sizeof(word));
	check(status == VFIO_MDMA_STATUS_DONE && word == value,
	      "device B copies page %d to page 50: %s, it reads %u", n,
	      status_name(status), word);
}

static void guests_fill_holes(void)
{
	step("The guests fill holes: A by a memslot that lets it, B by any access");
	add_private_slot(2, 0, GUEST_FILLS_AT);
	check_filled(&guest_a, 33, GUEST_FILLS_AT + 33 * page_size, 6);
	check_filled(&guest_b, 34, gpa(34), 7);
	show("after");
}

static void show_tool(void)
{
	step("The same, by memfd-ops-show, which knows nothing of this program");
	printf("\n%s", shown);
}

static void file_ends_earlier(void)
{
	__u32 addr = GUEST_FILLS_AT + 40 * page_size;
	int error;

	step("The file is truncated to 32 pages");
	need(ftruncate(memfd, 32 * page_size) ? -errno : 0, "truncate");
	show("after");
	check_stopped("writes to page 40", vmm_write(story(&guest_a), addr, 8), addr);
	error = vmm_write(story(&guest_b), gpa(40), 8);
	check(error == -EFAULT, "guest B writes to page 40, at 0x%x: KVM_RUN fails, %s",
	      gpa(40), error ? strerror(-error) : "no: it was not stopped");
}

static void legend(void)
{
	printf("A memfd of %d pages; two devices and two guests follow it. Legend:\n"
	       "  file     # a page                  . a hole\n"
	       "  device   # it can reach the page   . it cannot   (blank) not its window\n"
	       "  guest A  # it could read the page  . KVM stopped it there, and left the hole\n"
	       "  guest B  # it could read the page  . a hole, which it was not to read\n"
	       "Guest A's private memory is the file. Guest B is an ordinary virtual machine,\n"
	       "whose memory is a mapping of the file: if it reads in a hole, it fills the hole.\n"
	       "So it reads the pages that the file has; the number of pages that KVM has mapped\n"
	       "for it then shows that it reaches no others.\n",
	       PAGES);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	page_size = sysconf(_SC_PAGESIZE);
	atexit(cleanup);
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	signal(SIGHUP, interrupted);
	mdma_remove_stale();
	create_vms();

	legend();
	everybody_gets_a_window();
	cpu_writes();
	device_copies();
	pages_come();
	windows_differ();
	guests_and_device_share();
	all_lose_a_page();
	all_get_it_back();
	guests_fill_holes();
	show_tool();
	file_ends_earlier();

	printf("\n%s\n", failures ? "Not everything was as it should be." :
	       "The devices and the guests followed the file at every step.");
	return failures ? 1 : 0;
}
