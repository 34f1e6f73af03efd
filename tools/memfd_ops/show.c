// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-show: which devices and virtual machines follow which files, and the pages
 * that each of them has mapped. The man page, memfd-ops-show.1, is the contract.
 *
 * Read main() first. Where the data come from: tools/lib/memfd_ops/users.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <memfd_ops/files.h>
#include <memfd_ops/users.h>
#include <memfd_ops/strip.h>

#define MAX_DRAWN	64	/* users of a file */
#define LABEL_WIDTH	22

/* Exit statuses */
#define LACKING		1
#define USAGE		2

static struct {
	bool	json, watch;
	pid_t	pid;		/* 0: of all processes */
	unsigned int columns;
} options = { .columns = 64 };

static const char usage[] =
	"Usage: memfd-ops-show [--json] [--watch] [--pid PID] [--width COLUMNS]\n"
	"\n"
	"Show which devices, virtual machines and processes follow which memfds, and which\n"
	"pages each of them has mapped:\n"
	"  # all pages of a column   + some   . none   (blank) not in its window\n"
	"\n"
	"  --json           one JSON object for each file, on a line of its own\n"
	"  --watch          go on, and show every change, until interrupted\n"
	"  --pid PID        only files with a user of that process\n"
	"  --width COLUMNS  draw at most that many columns, 8 to 512 (64)\n"
	"  --help           this text\n"
	"\n"
	"Needs root. See also: man -l memfd-ops-show.1\n";

static void __attribute__((format(printf, 2, 3), noreturn))
fail(int status, const char *fmt, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "memfd-ops-show: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(status);
}

/*
 * The drawing
 */

static const char *label_of(const struct file_user *f, char *text, size_t size)
{
	switch (f->kind) {
	case USER_DEVICE:
		snprintf(text, size, "%s", f->names);
		break;
	case USER_VM:
		snprintf(text, size, "VM %d", f->pid);
		break;
	case USER_PROCESS:
		snprintf(text, size, "process %d", f->pid);
		break;
	default:
		snprintf(text, size, "consumer %llu", f->id);
	}
	return text;
}

static void draw(const struct followed_file *file, const char *label,
		 const struct page_set *set, struct run window)
{
	char strip[MAX_COLUMNS + 1];
	unsigned int i, nr = file_columns(file);
	unsigned long pages, has;
	struct run run;

	for (i = 0; i < nr; i++) {
		run = column_pages(file, i, window);
		pages = run.start < run.end ? run.end - run.start : 0;
		has = set->columns ? set->columns[i] : 0;
		if (!pages)
			strip[i] = ' ';
		else if (!set->known)
			strip[i] = '?';
		else
			strip[i] = has >= pages ? '#' : has ? '+' : '.';
	}
	strip[nr] = '\0';
	strip_draw(stdout, label, LABEL_WIDTH, strip);
}

/* A text of another process's: nothing in it may control the terminal. */
static void print_text(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void draw_user(const struct followed_file *file, const struct file_user *f)
{
	char label[sizeof(f->names)];

	draw(file, label_of(f, label, sizeof(label)), &f->mapped, f->window);
	if (f->pid && f->kind == USER_DEVICE)
		printf(" process %d", f->pid);
	if (f->pid) {
		printf(" (");
		print_text(f->comm);
		printf(")");
	}
	printf(" %s", f->via);
	if (f->ioas)
		printf(", ioas %u", f->ioas);
	if (f->mapped.known)
		printf(", %lu page%s", f->mapped.pages, f->mapped.pages == 1 ? "" : "s");
	if (f->missing)
		printf(", lacks %lu", f->missing);
	printf("\n");
}

static void draw_file(const struct followed_file *file)
{
	const struct run whole = { 0, ULONG_MAX };
	size_t i, nr = file->nr_users < MAX_DRAWN ? file->nr_users : MAX_DRAWN;

	printf("dev %u:%u ino %lu ", file->dev_major, file->dev_minor, file->ino);
	print_text(file->name);
	printf("%s%llu bytes, %lu pages in memory or swap", file->name[0] ? ", " : "",
	       file->size, file->present.pages);
	if (file->per_column > 1)
		printf(", %lu pages a column", file->per_column);
	printf("\n");
	draw(file, "file", &file->present, whole);
	printf("\n");
	for (i = 0; i < nr; i++)
		draw_user(file, &file->users[i]);
	if (nr < file->nr_users)
		printf("  and %zu more users\n", file->nr_users - nr);
}

/*
 * JSON
 */

static void json_text(const char *text)
{
	const unsigned char *c;

	putchar('"');
	for (c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < ' ' || *c >= 0x7f)
			/* a path need not be UTF-8: each byte is a character of Latin-1 */
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void json_set(const char *name, const struct page_set *set)
{
	size_t i;

	printf("\"%s\":", name);
	if (!set->known) {
		printf("null");
		return;
	}
	printf("{\"pages\":%lu,\"runs\":[", set->pages);
	for (i = 0; i < set->nr_runs; i++)
		printf("%s[%lu,%lu]", i ? "," : "", set->runs[i].start, set->runs[i].end);
	printf("],\"truncated\":%s}", set->truncated ? "true" : "false");
}

static void json_names(const struct file_user *f)
{
	char names[sizeof(f->names)], *name, *rest = names;
	bool first = true;

	memcpy(names, f->names, sizeof(names));
	printf("\"names\":[");
	while ((name = strsep(&rest, ",")) && *name) {
		if (!first)
			putchar(',');
		json_text(name);
		first = false;
	}
	putchar(']');
}

static const char *kind_of(const struct file_user *f)
{
	static const char * const kinds[] = {
		[USER_UNKNOWN] = "unknown",
		[USER_DEVICE] = "device",
		[USER_VM] = "vm",
		[USER_PROCESS] = "process",
	};

	return kinds[f->kind];
}

/* A number, or null if it is 0 */
static void json_number(const char *name, unsigned long long value)
{
	if (value)
		printf("\"%s\":%llu,", name, value);
	else
		printf("\"%s\":null,", name);
}

static void json_user(const struct file_user *f)
{
	printf("{\"kind\":\"%s\",", kind_of(f));
	json_names(f);
	printf(",\"via\":\"%s\",", f->via);
	json_number("pid", f->pid);
	printf("\"comm\":");
	if (f->pid)
		json_text(f->comm);
	else
		printf("null");
	putchar(',');
	json_number("consumer", f->id);
	json_number("ioas", f->ioas);
	if (f->iova_end)
		printf("\"iova\":[\"0x%llx\",\"0x%llx\"],", f->iova, f->iova_end);
	else
		printf("\"iova\":null,");
	printf("\"window_pages\":[%lu,%lu],", f->window.start, f->window.end);
	json_set("mapped", &f->mapped);
	if (f->iova_end)
		printf(",\"missing_pages\":%lu}", f->missing);
	else
		printf(",\"missing_pages\":null}");
}

static void json_file(const struct followed_file *file)
{
	size_t i;

	printf("{\"dev\":\"%u:%u\",\"ino\":%lu,\"name\":", file->dev_major,
	       file->dev_minor, file->ino);
	if (file->name[0])
		json_text(file->name);
	else
		printf("null");
	printf(",\"size_bytes\":%llu,\"page_bytes\":%ld,", file->size,
	       sysconf(_SC_PAGESIZE));
	json_set("present", &file->present);
	printf(",\"users\":[");
	for (i = 0; i < file->nr_users; i++) {
		if (i)
			putchar(',');
		json_user(&file->users[i]);
	}
	printf("]}\n");
}

/*
 * One round
 */

static void __attribute__((noreturn)) fail_to_read(int error)
{
	struct statfs fs;

	if (error == -EACCES || error == -EPERM)
		fail(LACKING, "cannot read %s: run it as root", DEBUGFS_MAPPED);
	if (error != -ENOENT)
		fail(LACKING, "cannot read %s: %s", DEBUGFS_MAPPED, strerror(-error));
	if (statfs("/sys/kernel/debug", &fs) || fs.f_type != DEBUGFS_MAGIC)
		fail(LACKING, "no debugfs: mount -t debugfs none /sys/kernel/debug");
	fail(LACKING, "%s is not there: the kernel lacks CONFIG_MEMFD_OPS",
	     DEBUGFS_MAPPED);
}

/* Does the file have a user of the process that was asked for? */
static bool is_wanted(const struct followed_file *file)
{
	size_t i;

	for (i = 0; i < file->nr_users; i++)
		if (file->users[i].pid == options.pid)
			return true;
	return !options.pid;
}

static void show(void)
{
	struct followed_list list = { .columns = options.columns };
	const struct followed_file *file;
	int ret = users_read(&list);
	size_t shown = 0;

	if (ret)
		fail_to_read(ret);
	for (file = list.files; file < list.files + list.nr; file++) {
		if (!is_wanted(file))
			continue;
		if (options.json) {
			json_file(file);
		} else {
			if (shown)
				printf("\n");
			draw_file(file);
		}
		shown++;
	}
	if (!shown && !options.json)
		printf("No file is followed%s.\n", options.pid ? " by that process" : "");
	users_free(&list);
	if (fflush(stdout) || ferror(stdout))
		fail(LACKING, "cannot write the output: %s", strerror(errno));
}

/*
 * --watch
 */

#define TRACEFS		"/sys/kernel/tracing"
#define INSTANCES	TRACEFS "/instances"
#define INSTANCE_NAME	"memfd-ops-show-"

static char instance[64];
static volatile sig_atomic_t signalled;

static void on_signal(int sig)
{
	signalled = sig;
}

static void remove_instance(void)
{
	if (instance[0])
		rmdir(instance);
	instance[0] = '\0';
}

/* Remove the buffers of those that were killed by a signal that nobody can catch. */
static void remove_stale(void)
{
	DIR *dir = opendir(INSTANCES);
	struct dirent *entry;
	char path[PATH_MAX];
	int pid;

	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, INSTANCE_NAME "%d", &pid) != 1 ||
		    !kill(pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), INSTANCES "/%s", entry->d_name);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

/* Have the events written to a buffer of our own. Returns the end to read from. */
static int open_events(void)
{
	char path[128];
	int fd, ret;

	if (access(TRACEFS "/events", F_OK))
		fail(LACKING, errno == EACCES ? "cannot use tracefs: run it as root" :
		     "--watch needs tracefs: mount -t tracefs none " TRACEFS);
	if (access(TRACEFS "/events/memfd_ops", F_OK))
		fail(LACKING, "--watch needs a kernel with CONFIG_MEMFD_OPS and tracepoints");
	remove_stale();
	snprintf(instance, sizeof(instance), INSTANCES "/" INSTANCE_NAME "%d", getpid());
	if (mkdir(instance, 0700)) {
		ret = errno;
		instance[0] = '\0';
		fail(LACKING, "cannot make a buffer in " INSTANCES ": %s", strerror(ret));
	}
	atexit(remove_instance);
	snprintf(path, sizeof(path), "%s/events/memfd_ops/enable", instance);
	ret = write_file(path, "1");
	if (ret)
		fail(LACKING, "cannot enable %s: %s", path, strerror(-ret));
	snprintf(path, sizeof(path), "%s/trace_pipe", instance);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fail(LACKING, "cannot read %s: %s", path, strerror(errno));
	return fd;
}

/*
 * Wait for an event, or a second. Then leave a tenth of a second for those that follow:
 * a large fallocate(2) has one for each folio. Returns false after a signal.
 */
static bool wait_for_events(int fd, const sigset_t *unblocked)
{
	const struct timespec second = { .tv_sec = 1 }, tenth = { .tv_nsec = 100000000 };
	struct pollfd poll = { .fd = fd, .events = POLLIN };
	char text[65536];
	int reads;

	ppoll(&poll, 1, &second, unblocked);
	if (!signalled && poll.revents)
		ppoll(NULL, 0, &tenth, unblocked);
	/* not without end, if events come faster than they are read */
	for (reads = 0; reads < 64 && read(fd, text, sizeof(text)) > 0; reads++)
		;
	return !signalled;
}

static void catch_signals(sigset_t *unblocked)
{
	const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t blocked;
	size_t i;

	sigemptyset(&blocked);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaddset(&blocked, signals[i]);
		sigaction(signals[i], &action, NULL);
	}
	sigprocmask(SIG_BLOCK, &blocked, unblocked);
}

static void watch(void)
{
	const bool terminal = isatty(STDOUT_FILENO) && !options.json;
	sigset_t unblocked;
	int fd;

	catch_signals(&unblocked);
	fd = open_events();
	do {
		if (terminal)
			printf("\033[H\033[2J");
		show();
		if (!terminal && !options.json)
			printf("\n");
		fflush(stdout);
	} while (wait_for_events(fd, &unblocked));

	close(fd);
	remove_instance();
	/* end by that signal, as programs do that do not catch it */
	signal(signalled, SIG_DFL);
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
	raise(signalled);
	exit(128 + signalled);
}

/*
 * Arguments
 */

static long parse_number(const char *option, const char *text, long min, long max)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < min || value > max)
		fail(USAGE, "%s: \"%s\" is not a number from %ld to %ld", option, text,
		     min, max);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "json",	no_argument,		NULL, 'j' },
		{ "watch",	no_argument,		NULL, 'w' },
		{ "pid",	required_argument,	NULL, 'p' },
		{ "width",	required_argument,	NULL, 'c' },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'j':
			options.json = true;
			break;
		case 'w':
			options.watch = true;
			break;
		case 'p':
			options.pid = parse_number("--pid", optarg, 1, INT_MAX);
			break;
		case 'c':
			options.columns = parse_number("--width", optarg, 8, MAX_COLUMNS);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(fflush(stdout) ? LACKING : 0);
		default:
			fail(USAGE, "see memfd-ops-show --help");
		}
	}
	if (optind < argc)
		fail(USAGE, "\"%s\" is no option: see memfd-ops-show --help", argv[optind]);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (options.watch)
		watch();
	show();
	return 0;
}
