/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What /proc/PID/fdinfo shows of followed memfds, see
 * Documentation/userspace-api/vfio-memfd.rst: parsed line by line.
 */
#ifndef MEMFD_OPS_FDINFO_H
#define MEMFD_OPS_FDINFO_H

#include <stdbool.h>

/* A mapping that follows a memfd, of a container or an iommufd */
struct fdinfo_range {
	unsigned int ioas;		/* 0 in a container */
	unsigned long long iova, iova_end;	/* bytes */
	unsigned int dev_major, dev_minor;
	unsigned long ino;
	unsigned long start, end;	/* pages of the file */
	char	access[3];		/* "rw", "r-" or "-w" */
	unsigned long mapped, missing;	/* pages */
	char	consumers[64];		/* numbers with commas between, or "-" */
};

/* A device of a container, or one that is bound to an iommufd */
struct fdinfo_device {
	char	name[64];
	char	group[32];		/* in a container, or empty */
	unsigned int ioas;		/* 0 if it is not attached */
};

/* An emulated device that is bound to an iommufd */
struct fdinfo_access {
	unsigned int id;		/* of the object of the iommufd */
	unsigned int ioas;		/* 0 if it is not attached */
};

/* A consumer of a memfd */
struct fdinfo_consumer {
	unsigned long long id;
	char	kind[16];
	unsigned long start, end;	/* pages of the file */
	unsigned long mapped, missing;	/* pages; missing is 0 if it is not shown */
};

/* False if the line is not one of that kind. */
bool fdinfo_range(const char *line, struct fdinfo_range *r);
bool fdinfo_device(const char *line, struct fdinfo_device *d);
bool fdinfo_access(const char *line, struct fdinfo_access *a);
bool fdinfo_consumer(const char *line, struct fdinfo_consumer *c);

/* Is the number in the range's list of consumers? */
bool fdinfo_range_has(const struct fdinfo_range *r, unsigned long long id);

#endif /* MEMFD_OPS_FDINFO_H */
