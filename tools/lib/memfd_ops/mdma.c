// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#include "mdma.h"
#include "pci.h"

int mdma_type(char *path, size_t size)
{
	glob_t found;
	int ret = 0;

	if (glob(MDMA_TYPES, 0, NULL, &found))
		return -ENODEV;
	if ((size_t)snprintf(path, size, "%s", found.gl_pathv[0]) >= size)
		ret = -ENAMETOOLONG;
	globfree(&found);
	return ret;
}

int mdma_available(void)
{
	char path[PATH_MAX], text[32];
	int ret;

	ret = mdma_type(path, sizeof(path) - 32);
	if (ret)
		return ret;
	strcat(path, "/available_instances");
	ret = read_line(path, text, sizeof(text));
	return ret ? ret : atoi(text);
}

int mdma_create_uuid(struct mdma *m, const char *uuid)
{
	char path[PATH_MAX];
	int ret;

	ret = mdma_type(path, sizeof(path) - 32);
	if (ret)
		return ret;
	strcat(path, "/create");
	ret = write_file(path, uuid);
	if (!ret)
		snprintf(m->uuid, sizeof(m->uuid), "%s", uuid);
	return ret;
}

int mdma_create(struct mdma *m)
{
	char uuid[37];
	int ret;

	ret = read_line("/proc/sys/kernel/random/uuid", uuid, sizeof(uuid));
	if (ret)
		return ret;
	memcpy(uuid, MDMA_UUID, strlen(MDMA_UUID));
	return mdma_create_uuid(m, uuid);
}

int mdma_remove_uuid(const char *uuid)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), MDMA_DEVICES "/%.36s/remove", uuid);
	return write_file(path, "1");
}

int mdma_remove(struct mdma *m)
{
	int ret = 0;

	if (m->uuid[0])
		ret = mdma_remove_uuid(m->uuid);
	m->uuid[0] = '\0';
	return ret;
}

void mdma_remove_stale(void)
{
	DIR *dir = opendir(MDMA_DEVICES);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, MDMA_UUID, strlen(MDMA_UUID)))
			mdma_remove_uuid(entry->d_name);
	closedir(dir);
}

void mdma_close(struct mdma *m)
{
	close_fd(&m->fd);
	close_fd(&m->group);
	close_fd(&m->container);
	close_fd(&m->iommufd);
}

/* The two steps that follow once the device is open in whichever way. */
static int mdma_opened(struct mdma *m)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_MDMA_REGION_INDEX,
	};

	m->info = (struct vfio_mdma_info){ .argsz = sizeof(m->info) };
	if (ioctl(m->fd, VFIO_DEVICE_GET_REGION_INFO, &region) ||
	    ioctl(m->fd, VFIO_MDMA_GET_INFO, &m->info))
		return -errno;
	m->regs = region.offset;
	return 0;
}

/* Leaves descriptors open if it fails. */
static int open_by_group(struct mdma *m)
{
	char path[PATH_MAX];
	int ret = device_group(MDMA_DEVICES, m->uuid, path, sizeof(path));

	if (ret)
		return ret;
	m->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (m->container < 0)
		return -errno;
	m->group = open(path, O_RDWR | O_CLOEXEC);
	if (m->group < 0)
		return -errno;
	if (ioctl(m->group, VFIO_GROUP_SET_CONTAINER, &m->container) ||
	    ioctl(m->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -errno;
	m->fd = ioctl(m->group, VFIO_GROUP_GET_DEVICE_FD, m->uuid);
	return m->fd < 0 ? -errno : mdma_opened(m);
}

int mdma_open_group(struct mdma *m)
{
	int ret = open_by_group(m);

	if (ret)
		mdma_close(m);
	return ret;
}

static int open_by_cdev(struct mdma *m, const char *path)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };

	m->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (m->iommufd < 0)
		return -errno;
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->fd < 0)
		return -errno;
	bind.iommufd = m->iommufd;
	return ioctl(m->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) ? -errno : mdma_opened(m);
}

int mdma_open_cdev_at(struct mdma *m, const char *path)
{
	int ret = open_by_cdev(m, path);

	if (ret)
		mdma_close(m);
	return ret;
}

int mdma_cdev(struct mdma *m, char *dev, size_t size)
{
	return device_cdev(MDMA_DEVICES, m->uuid, dev, size);
}

int mdma_open_cdev(struct mdma *m)
{
	char path[64];
	int ret = mdma_cdev(m, path, sizeof(path));

	return ret ? ret : mdma_open_cdev_at(m, path);
}

int mdma_map(struct mdma *m, int fd, __u64 offset, __u64 iova, __u64 size, __u32 flags)
{
	struct vfio_mdma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.fd = fd,
		.offset = offset,
		.iova = iova,
		.size = size,
	};

	return ioctl(m->fd, VFIO_MDMA_MAP, &map) ? -errno : 0;
}

__s64 mdma_unmap(struct mdma *m, __u64 iova, __u64 size)
{
	struct vfio_mdma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};

	return ioctl(m->fd, VFIO_MDMA_UNMAP, &unmap) ? -errno : (__s64)unmap.size;
}

__s64 mdma_unmap_all(struct mdma *m)
{
	struct vfio_mdma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = VFIO_MDMA_UNMAP_FLAG_ALL,
	};

	return ioctl(m->fd, VFIO_MDMA_UNMAP, &unmap) ? -errno : (__s64)unmap.size;
}

int mdma_query(struct mdma *m, __u64 iova, __u32 flags, struct vfio_mdma_query *q)
{
	*q = (struct vfio_mdma_query){
		.argsz = sizeof(*q),
		.flags = flags,
		.iova = iova,
	};
	return ioctl(m->fd, VFIO_MDMA_QUERY, q) ? -errno : 0;
}

int mdma_present(struct mdma *m, __u64 iova, size_t count, unsigned char *present)
{
	long page = sysconf(_SC_PAGESIZE);
	__u64 end = iova + count * page, at = iova;
	struct vfio_mdma_query q;
	int ret, sum = 0;

	memset(present, 0, count);
	while (at < end) {
		ret = mdma_query(m, at, VFIO_MDMA_QUERY_FLAG_PRESENT, &q);
		if (ret == -ENOENT || (!ret && q.iova >= end))
			break;
		if (ret)
			return ret;
		for (at = q.iova; at < q.iova + q.size && at < end; at += page) {
			present[(at - iova) / page] = 1;
			sum++;
		}
	}
	return sum;
}

int mdma_reg_write(struct mdma *m, int reg, const void *value, size_t size)
{
	ssize_t ret = pwrite(m->fd, value, size, m->regs + reg);

	return ret < 0 ? -errno : ret == (ssize_t)size ? 0 : -EIO;
}

int mdma_reg_read(struct mdma *m, int reg, void *value, size_t size)
{
	ssize_t ret = pread(m->fd, value, size, m->regs + reg);

	return ret < 0 ? -errno : ret == (ssize_t)size ? 0 : -EIO;
}

int mdma_status(struct mdma *m)
{
	__u32 status;
	int ret;

	ret = mdma_reg_read(m, VFIO_MDMA_REG_STATUS, &status, sizeof(status));
	return ret ? ret : (int)status;
}

int mdma_start(struct mdma *m, __u64 src, __u64 dst, __u64 len)
{
	__u32 ctrl = VFIO_MDMA_CTRL_START;
	int ret;

	ret = mdma_reg_write(m, VFIO_MDMA_REG_SRC, &src, sizeof(src));
	if (!ret)
		ret = mdma_reg_write(m, VFIO_MDMA_REG_DST, &dst, sizeof(dst));
	if (!ret)
		ret = mdma_reg_write(m, VFIO_MDMA_REG_LEN, &len, sizeof(len));
	if (!ret)
		ret = mdma_reg_write(m, VFIO_MDMA_REG_CTRL, &ctrl, sizeof(ctrl));
	return ret;
}

int mdma_wait(struct mdma *m)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	struct timespec start, now;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while ((ret = mdma_status(m)) == VFIO_MDMA_STATUS_BUSY) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > MDMA_TIMEOUT)
			return -ETIMEDOUT;
		nanosleep(&tick, NULL);
	}
	return ret;
}

int mdma_copy(struct mdma *m, __u64 src, __u64 dst, __u64 len)
{
	int ret = mdma_start(m, src, dst, len);

	return ret ? ret : mdma_wait(m);
}

/* For readers of the kernel log; without the right to write there, nothing */
static void log_line(const char *line)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, line, strlen(line)) < 0)
		return;
}

static long count_faults(void)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char *line = NULL, *at, *end;
	long sum = -ENODEV, count;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (!strstr(line, " dmar"))
			continue;
		if (sum < 0)
			sum = 0;
		at = strchr(line, ':');
		for (at = at ? at + 1 : line; ; at = end) {
			count = strtol(at, &end, 10);
			/* a column that is not a number, or begins with one */
			if (end == at || (*end != ' ' && *end != '\t'))
				break;
			sum += count;
		}
	}
	free(line);
	fclose(file);
	return sum;
}

long mdma_iommu_faults(void)
{
	log_line("memfd_ops test: IOMMU faults from here on are counted\n");
	return count_faults();
}

void mdma_expect_iommu_faults(void)
{
	log_line("memfd_ops test: IOMMU faults are expected\n");
}

bool mdma_iommu_faulted(long before)
{
	int i;

	mdma_expect_iommu_faults();
	if (before < 0)
		return true;
	for (i = 0; i < 5000 && count_faults() <= before; i++)
		usleep(1000);
	return count_faults() > before;
}
