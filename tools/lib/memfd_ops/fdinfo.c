// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fdinfo.h"

#define RANGE		"memfd_range:\t"
#define CONSUMER	"memfd_consumer:\t"
#define RANGE_FORMAT							\
	"iova_bytes [%llx, %llx) dev %u:%u ino %lu file_pages [%lu, %lu) "	\
	"access %2s mapped_pages %lu missing_pages %lu consumers %63s"
#define CONSUMER_FORMAT							\
	"id %llu kind %15s file_pages [%lu, %lu) "			\
	"mapped_pages %lu missing_pages %lu"
#define CONTAINER_DEVICE "vfio_device:\t"
#define IOMMUFD_DEVICE	"iommufd_device:\t"
#define IOMMUFD_ACCESS	"iommufd_access:\t"

/* What follows @start in the line; NULL if the line does not begin with that. */
static const char *after(const char *line, const char *start)
{
	size_t len = strlen(start);

	return strncmp(line, start, len) ? NULL : line + len;
}

bool fdinfo_range(const char *line, struct fdinfo_range *r)
{
	const char *rest = after(line, RANGE);
	int len = 0;

	if (!rest)
		return false;
	memset(r, 0, sizeof(*r));
	if (sscanf(rest, "ioas %u %n", &r->ioas, &len) == 1)
		rest += len;
	return sscanf(rest, RANGE_FORMAT, &r->iova, &r->iova_end, &r->dev_major,
		      &r->dev_minor, &r->ino, &r->start, &r->end, r->access,
		      &r->mapped, &r->missing, r->consumers) == 11;
}

bool fdinfo_device(const char *line, struct fdinfo_device *d)
{
	const char *rest = after(line, CONTAINER_DEVICE);

	memset(d, 0, sizeof(*d));
	if (rest)
		return sscanf(rest, "%63s group %31s", d->name, d->group) == 2;
	rest = after(line, IOMMUFD_DEVICE);
	return rest && sscanf(rest, "%63s id %*u ioas %u", d->name, &d->ioas) >= 1;
}

bool fdinfo_access(const char *line, struct fdinfo_access *a)
{
	const char *rest = after(line, IOMMUFD_ACCESS);

	memset(a, 0, sizeof(*a));
	return rest && sscanf(rest, "id %u ioas %u", &a->id, &a->ioas) >= 1;
}

bool fdinfo_consumer(const char *line, struct fdinfo_consumer *c)
{
	const char *rest = after(line, CONSUMER);

	memset(c, 0, sizeof(*c));
	return rest && sscanf(rest, CONSUMER_FORMAT, &c->id, c->kind, &c->start,
			      &c->end, &c->mapped, &c->missing) >= 4;
}

bool fdinfo_range_has(const struct fdinfo_range *r, unsigned long long id)
{
	const char *s = r->consumers;
	char *end;

	while (*s && *s != '-') {
		if (strtoull(s, &end, 10) == id)
			return true;
		s = *end == ',' ? end + 1 : end;
		if (end == s && *s)
			return false;
	}
	return false;
}
