/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The IOMMU's own page table, as VT-d shows it in debugfs. It must not be read while
 * another thread changes it: the kernel's walk is not safe against that.
 */
#ifndef TEST_IOVA_TABLE_H
#define TEST_IOVA_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include <memfd_ops/mdma.h>

struct iova_table {
	struct { __u64 iova, pa, size; } *entries;
	size_t nr;
};

/* Of the PCI device at that address. -ENOENT if this IOMMU does not show its table. */
int iova_table_of(const char *address, struct iova_table *t);

/* Of the PCI device behind an instance. */
int iova_table_read(struct mdma *m, struct iova_table *t);

void iova_table_free(struct iova_table *t);

/* Where @iova leads to, or 0. */
__u64 iova_table_lookup(struct iova_table *t, __u64 iova);

/* The size of the table's entry that translates @iova, or 0. */
__u64 entry_size(struct mdma *m, __u64 iova);

bool has_iova_table(struct mdma *m);

#endif /* TEST_IOVA_TABLE_H */
