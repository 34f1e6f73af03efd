// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memfd_ops/memory.h>

#include "iova_table.h"

int iova_table_of(const char *address, struct iova_table *t)
{
	char path[PATH_MAX], *line = NULL, *at, *end;
	__u64 iova, value, leaf;
	size_t size = 0, room = 0;
	FILE *file;
	int level;

	memset(t, 0, sizeof(*t));
	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%.32s/domain_translation_struct", address);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		iova = strtoull(line, &end, 16);
		at = strchr(line, '|');
		if (!at || strncmp(line, "0x", 2))
			continue;
		/* PML5E, PML4E, PDPE, and as far as they are there PDE, PTE */
		leaf = 0;
		for (level = 6, at++; level > 1; level--, at = end) {
			value = strtoull(at, &end, 16);
			if (end == at)
				break;
			leaf = value;
		}
		if (t->nr == room) {
			room = room ? 2 * room : 64;
			t->entries = realloc(t->entries, room * sizeof(*t->entries));
		}
		t->entries[t->nr].iova = iova * PAGE;
		t->entries[t->nr].pa = leaf & 0x000ffffffffff000ULL;
		t->entries[t->nr].size = PAGE << 9 * (level - 1);
		t->nr++;
	}
	free(line);
	fclose(file);
	return 0;
}

int iova_table_read(struct mdma *m, struct iova_table *t)
{
	char path[PATH_MAX], dir[PATH_MAX];

	memset(t, 0, sizeof(*t));
	snprintf(path, sizeof(path), MDMA_DEVICES "/%.36s", m->uuid);
	if (!realpath(path, dir))
		return -errno;
	*strrchr(dir, '/') = '\0';
	return iova_table_of(strrchr(dir, '/') + 1, t);
}

void iova_table_free(struct iova_table *t)
{
	free(t->entries);
}

__u64 iova_table_lookup(struct iova_table *t, __u64 iova)
{
	size_t lo = 0, hi = t->nr, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (t->entries[mid].iova + t->entries[mid].size <= iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nr || iova < t->entries[lo].iova)
		return 0;
	return t->entries[lo].pa + (iova - t->entries[lo].iova);
}

__u64 entry_size(struct mdma *m, __u64 iova)
{
	struct iova_table t;
	__u64 size = 0;
	size_t i;

	if (iova_table_read(m, &t))
		return 0;
	for (i = 0; i < t.nr; i++)
		if (iova - t.entries[i].iova < t.entries[i].size)
			size = t.entries[i].size;
	iova_table_free(&t);
	return size;
}

bool has_iova_table(struct mdma *m)
{
	struct iova_table t;
	int ret = iova_table_read(m, &t);

	iova_table_free(&t);
	return !ret;
}
