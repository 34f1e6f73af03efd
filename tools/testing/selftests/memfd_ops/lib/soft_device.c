// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <unistd.h>

#include <memfd_ops/files.h>

#include "soft_device.h"

#define TYPE1_UNSAFE	"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
#define IOMMUFD_UNSAFE	"/sys/module/iommufd/parameters/allow_unsafe_interrupts"

int soft_read(struct vdev *d, __u64 iova, void *data, size_t len)
{
	ssize_t ret = pread(d->fd, data, len, iova);

	return ret < 0 ? -errno : ret == (ssize_t)len ? 0 : -EIO;
}

int soft_write(struct vdev *d, __u64 iova, const void *data, size_t len)
{
	ssize_t ret = pwrite(d->fd, data, len, iova);

	return ret < 0 ? -errno : ret == (ssize_t)len ? 0 : -EIO;
}

int allow_unsafe_interrupts(char *was)
{
	char text[8];
	int ret;

	ret = read_line(TYPE1_UNSAFE, text, sizeof(text));
	if (!ret)
		ret = write_file(TYPE1_UNSAFE, "Y");
	if (!ret)
		ret = write_file(IOMMUFD_UNSAFE, "Y");
	if (!ret)
		*was = text[0];
	return ret;
}

void unsafe_interrupts_as_before(char was)
{
	const char text[] = { was, '\0' };

	if (!was)
		return;
	write_file(TYPE1_UNSAFE, text);
	write_file(IOMMUFD_UNSAFE, text);
}
