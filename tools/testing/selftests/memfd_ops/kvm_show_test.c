// SPDX-License-Identifier: GPL-2.0
/*
 * memfd-ops-show, with a device, a guest with private memory and an ordinary guest that have
 * windows of one memfd: what it prints for programs and for people, and what it does without
 * its sources, or with nonsense. See tools/memfd_ops/memfd-ops-show.1.
 */
#include <ctype.h>
#include <poll.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/kvm.h"
#include "lib/rights.h"
#include "lib/vfio_env.h"

#define PROGRAM		"memfd-ops-show"
#define INSTANCES	"/sys/kernel/tracing/instances"
#define ENOUGH		65536

FIXTURE(show)
{
	struct guest g;		/* private memory: pages 8 to 47 */
	struct vmm ordinary;	/* pages 20 to 63 */
	char *text;		/* what the program has printed */
};

FIXTURE_VARIANT(show)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(show, type1) { .way = TYPE1 };
FIXTURE_VARIANT_ADD(show, iommufd) { .way = IOMMUFD };

FIXTURE_SETUP(show)
{
	struct guest *g = &self->g;
	int ret;

	g->vmm = (struct vmm)VMM_INIT;
	self->ordinary = (struct vmm)VMM_INIT;
	self->text = malloc(ENOUGH);
	ASSERT_NE(NULL, self->text);
	if (!has_kvm())
		SKIP(return, "needs KVM");
	if (system(PROGRAM " --help >/dev/null 2>&1"))
		SKIP(return, "needs " PROGRAM);
	ret = vfio_env_setup_mapped(&g->env, variant->way);
	if (g->env.lacks)
		SKIP(return, "%s", g->env.lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, guest_create(g, 1));
	ASSERT_EQ(0, vmm_create(&self->ordinary, KVM_X86_DEFAULT_VM, 1));
	ASSERT_EQ(0, map_pages(&g->env, 0, 64));
	ASSERT_EQ(0, add_slot(g, FILL, 8, 40));
	ASSERT_EQ(0, vmm_set_slot(&self->ordinary, 1, 0, gpa_of(20), 44 * PAGE,
				  at(&g->env, 20), -1, 0));
}

FIXTURE_TEARDOWN(show)
{
	vfio_env_close(&self->g.env);
	vmm_destroy(&self->ordinary);
	guest_teardown(&self->g);
	free(self->text);
}

/* Run a shell command; its output in @text, and its exit status, or -1. */
static int run(const char *command, char *text)
{
	FILE *pipe = popen(command, "re");
	int status;
	size_t len;

	if (!pipe)
		return -1;
	len = fread(text, 1, ENOUGH - 1, pipe);
	text[len] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The end of the JSON value at @s, or NULL if it is none. */
static const char *json_end(const char *s)
{
	bool object = *s == '{';

	if (*s == '"') {
		for (s++; *s && *s != '"'; s++)
			s += *s == '\\' && s[1];
		return *s ? s + 1 : NULL;
	}
	if (*s != '{' && *s != '[') {
		size_t len = strspn(s, "0123456789") ?: strspn(s, "truefalsn");

		return len ? s + len : NULL;
	}
	s++;
	if (*s == '}' || *s == ']')
		return s + 1;
	for (;; s++) {
		if (object) {
			s = *s == '"' ? json_end(s) : NULL;
			if (!s || *s++ != ':')
				return NULL;
		}
		s = json_end(s);
		if (!s)
			return NULL;
		if (*s != ',')
			return *s == (object ? '}' : ']') ? s + 1 : NULL;
	}
}

/* Cut the line of this file out of the program's output. */
static char *line_of_file(char *text, int fd)
{
	char ino[32], *line;
	struct stat st;

	if (fstat(fd, &st))
		return NULL;
	snprintf(ino, sizeof(ino), "\"ino\":%llu,", (unsigned long long)st.st_ino);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		const char *end = json_end(line);

		if (!end || *end) {
			note("no JSON: %s", line);
			return NULL;
		}
		if (strstr(line, ino))
			return line;
	}
	return NULL;
}

/* Has the line a user that begins with @start, in which each of @texts is? */
static bool has_user(const char *line, const char *start, const char *texts[])
{
	const char *from, *end, *found;
	int i;

	for (from = strstr(line, start); from; from = strstr(end, start)) {
		end = json_end(from);
		if (!end)
			return false;
		for (i = 0; texts[i]; i++) {
			found = strstr(from, texts[i]);
			if (!found || found >= end)
				break;
		}
		if (!texts[i])
			return true;
	}
	note("no %s with %s in %s", start, texts[0], line);
	return false;
}

#define HAS(line, start, ...)	has_user(line, start, (const char *[]){ __VA_ARGS__, NULL })

/* Give the file pages 2, 3, 10, 25 and 30; the guests touch 10, and 25 and 30. */
static int bring_pages(struct guest *g, struct vmm *ordinary)
{
	int ret = grow(g->env.fd, 2, 2);

	if (!ret)
		ret = vmm_write(vcpu_of(g), gpa_of(10), 1);
	if (!ret)
		ret = vmm_write(&ordinary->vcpu[0], gpa_of(25), 2);
	if (!ret)
		ret = vmm_write(&ordinary->vcpu[0], gpa_of(30), 3);
	return ret;
}

#define DEVICE_HAS	"\"mapped\":{\"pages\":5,\"runs\":[[2,4],[10,11],[25,26],[30,31]],\"truncated\":false}"
#define ORDINARY_HAS	"\"mapped\":{\"pages\":2,\"runs\":[[25,26],[30,31]],\"truncated\":false}"

TEST_F(show, json)
{
	struct test_env *env = &self->g.env;
	char pid[32], names[64], *line;

	ASSERT_EQ(0, bring_pages(&self->g, &self->ordinary));
	ASSERT_EQ(0, run(PROGRAM " --json", self->text));
	line = line_of_file(self->text, env->fd);
	ASSERT_NE(NULL, line);
	snprintf(pid, sizeof(pid), "\"pid\":%d,", getpid());
	snprintf(names, sizeof(names), "\"%s\"", env->edu.address);

	EXPECT_NE(NULL, strstr(line, "\"name\":\"memfd:test\","));
	EXPECT_NE(NULL, strstr(line, "\"size_bytes\":2097152,\"page_bytes\":4096,"));
	EXPECT_NE(NULL, strstr(line, "\"present\":{\"pages\":5,"));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"device\"", names, pid, DEVICE_HAS,
			variant->way == TYPE1 ? "\"via\":\"container\"" : "\"via\":\"iommufd\"",
			"\"window_pages\":[0,64]", "\"iova\":[\"0x100000000\",\"0x100040000\"]",
			"\"missing_pages\":0"));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"vm\"", "\"via\":\"memslot\"", pid,
			"\"window_pages\":[8,48]", "\"runs\":[[10,11]]"));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"vm\"", "\"via\":\"mapping\"", pid,
			"\"window_pages\":[20,64]", ORDINARY_HAS));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"process\"", pid, "\"window_pages\":[0,512]",
			ORDINARY_HAS));

	/* what leaves is gone at once */
	ASSERT_EQ(0, punch(env->fd, 10, 16));
	ASSERT_EQ(0, run(PROGRAM " --json", self->text));
	line = line_of_file(self->text, env->fd);
	ASSERT_NE(NULL, line);
	EXPECT_TRUE(HAS(line, "{\"kind\":\"device\"", "\"runs\":[[2,4],[30,31]]"));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"vm\"", "\"via\":\"memslot\"", "\"runs\":[]"));
	EXPECT_TRUE(HAS(line, "{\"kind\":\"vm\"", "\"via\":\"mapping\"",
			"\"runs\":[[30,31]]"));
}

/* A drawing has a strip for each of them, and no colour in a pipe. */
TEST_F(show, drawing)
{
	ASSERT_EQ(0, bring_pages(&self->g, &self->ordinary));
	ASSERT_EQ(0, run(PROGRAM " --width 512", self->text));
	EXPECT_NE(NULL, strstr(self->text, "|..##......#..............#....#..."));
	EXPECT_NE(NULL, strstr(self->text, "|        ..#..............................."));
	EXPECT_NE(NULL, strstr(self->text, "|                    .....#....#............"));
	EXPECT_EQ(NULL, strchr(self->text, '\033'));
	/* eight pages a column */
	ASSERT_EQ(0, run(PROGRAM, self->text));
	EXPECT_NE(NULL, strstr(self->text, ", 8 pages a column"));
	EXPECT_NE(NULL, strstr(self->text, "|++.+....   "));
	/* of a process that follows nothing */
	EXPECT_EQ(0, run(PROGRAM " --pid 1", self->text));
	EXPECT_STREQ("No file is followed by that process.\n", self->text);
	EXPECT_EQ(0, run(PROGRAM " --json --pid 1", self->text));
	EXPECT_STREQ("", self->text);
}

/* Of many runs, some are printed and all are counted and drawn. */
TEST_F(show, many_runs)
{
	const size_t pages = 4096;
	struct test_env *env = &self->g.env;
	char *line;
	size_t i;

	ASSERT_EQ(0, ftruncate(env->fd, pages * PAGE));
	for (i = 0; i < pages; i += 2)
		ASSERT_EQ(0, grow(env->fd, i, 1));
	ASSERT_EQ(0, space_map(&env->space, env->fd, 0, BASE + GIB, pages * PAGE, DMA_RW));
	ASSERT_EQ(0, vmm_set_slot(&self->ordinary, 2, 0, gpa_of(64), 448 * PAGE, at(env, 64),
				  -1, 0));
	for (i = 64; i < 512; i += 2)
		ASSERT_EQ(0, vmm_write(&self->ordinary.vcpu[0], gpa_of(i), 1));
	ASSERT_EQ(0, run(PROGRAM " --json", self->text));
	line = line_of_file(self->text, env->fd);
	ASSERT_NE(NULL, line);
	EXPECT_TRUE(HAS(line, "{\"kind\":\"device\"", "\"window_pages\":[0,4096]",
			"\"pages\":2048,", "\"truncated\":true"));
	/* of a guest as well; KVM's list of them takes more than one page */
	EXPECT_TRUE(HAS(line, "{\"kind\":\"vm\"", "\"window_pages\":[64,512]",
			"\"mapped\":{\"pages\":224,"));
	ASSERT_EQ(0, run(PROGRAM " --width 8", self->text));
	EXPECT_NE(NULL, strstr(self->text, "|++++++++|"));
}

TEST_F(show, refuses)
{
	char *text = self->text;
	int status;

	EXPECT_EQ(2, run(PROGRAM " --nonsense 2>&1", text));
	EXPECT_EQ(2, run(PROGRAM " nonsense 2>&1", text));
	EXPECT_EQ(2, run(PROGRAM " --pid 2>&1", text));
	EXPECT_EQ(2, run(PROGRAM " --pid 12x 2>&1", text));
	EXPECT_EQ(2, run(PROGRAM " --width 513 2>&1", text));
	EXPECT_EQ(2, run(PROGRAM " --width 99999999999999999999 2>&1", text));
	EXPECT_EQ(1, run(PROGRAM " 2>&1 >/dev/full", text));
	EXPECT_NE(NULL, strstr(text, "cannot write"));
	if (in_child(&status)) {
		MUST(!setuid(NOBODY));
		MUST(run(PROGRAM " 2>&1", text) == 1);
		MUST(strstr(text, "run it as root"));
		MUST(run(PROGRAM " --watch 2>&1", text) == 1);
		MUST(strstr(text, "run it as root"));
		_exit(0);
	}
	EXPECT_EQ(0, status);
}

/* Read from @fd until @want has come. False at the end of the output, or after 60 s. */
static bool comes(int fd, char *text, const char *want)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t got;

	text[0] = '\0';
	while (!strstr(text, want) && len < ENOUGH - 1) {
		if (poll(&poll_fd, 1, 60000) <= 0)
			return false;
		got = read(fd, text + len, ENOUGH - 1 - len);
		if (got <= 0)
			return false;
		len += got;
		text[len] = '\0';
	}
	return len < ENOUGH - 1;
}

/* Pages that come are printed; a signal ends it, and its buffer. */
TEST_F(show, watch)
{
	struct test_env *env = &self->g.env;
	char instance[64], mine[16];
	int pipes[2], status;
	pid_t child;

	if (access(INSTANCES, F_OK))
		SKIP(return, "needs tracefs");
	snprintf(mine, sizeof(mine), "%d", getpid());
	ASSERT_EQ(0, grow(env->fd, 2, 2));
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		dup2(pipes[1], STDOUT_FILENO);
		execlp(PROGRAM, PROGRAM, "--watch", "--json", "--pid", mine, NULL);
		_exit(127);
	}
	close(pipes[1]);
	snprintf(instance, sizeof(instance), INSTANCES "/" PROGRAM "-%d", child);
	EXPECT_TRUE(comes(pipes[0], self->text, "\"runs\":[[2,4]]"));
	EXPECT_EQ(0, access(instance, F_OK));
	ASSERT_EQ(0, grow(env->fd, 40, 1));
	EXPECT_TRUE(comes(pipes[0], self->text, "\"runs\":[[2,4],[40,41]]"));
	kill(child, SIGTERM);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	EXPECT_EQ(-1, access(instance, F_OK));
	close(pipes[0]);
}

TEST_HARNESS_MAIN
