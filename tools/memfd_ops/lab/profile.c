// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that counts the guest's instructions by address, from one read of the
 * time stamp counter in user space to the next: memfd-ops-bench measures in this way. For
 * each such part that is long enough, it writes to the file of out= a line with the sum,
 * and a line for each block of translated code: its address, and the number of
 * instructions.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

#define PUBLIC		__attribute__((visibility("default")))

/* Shorter parts measure nothing. */
#define LEAST		8000

PUBLIC int qemu_plugin_version = 1;

/* QEMU may translate a block more than once: the list has it as often. */
static struct block {
	struct block *next;
	uint64_t address, count, before;
} *blocks;
static FILE *out;

static void part_ends(unsigned int vcpu, void *data)
{
	uint64_t sum = 0;
	struct block *b;

	for (b = blocks; b; b = b->next)
		sum += b->count - b->before;
	if (sum >= LEAST) {
		fprintf(out, "part %lu\n", sum);
		for (b = blocks; b; b = b->next)
			if (b->count != b->before)
				fprintf(out, "%lx %lu\n", b->address,
					b->count - b->before);
		fflush(out);
	}
	for (b = blocks; b; b = b->next)
		b->before = b->count;
}

static bool is_rdtsc(struct qemu_plugin_insn *insn)
{
	return !memcmp(qemu_plugin_insn_data(insn), "\x0f\x31", 2);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);
	struct block *b = calloc(1, sizeof(*b));
	struct qemu_plugin_insn *insn;

	if (!b)
		abort();
	b->address = qemu_plugin_tb_vaddr(tb);
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &b->count, nr);
	/* the kernel reads it as well */
	for (i = 0; i < nr && !(b->address >> 63); i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		if (is_rdtsc(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, part_ends, CB_NO_REGS,
							       NULL);
	}
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
			       char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = fopen(argv[0] + 4, "w");
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
