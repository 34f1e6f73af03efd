// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

#include "pci.h"

int pci_find(const char *alias, char *address, size_t size)
{
	char text[128];
	int ret = -ENODEV;
	glob_t found;
	size_t i;

	if (glob(PCI_DEVICES "/*/modalias", 0, NULL, &found))
		return ret;
	for (i = 0; i < found.gl_pathc && ret; i++) {
		if (read_line(found.gl_pathv[i], text, sizeof(text)) ||
		    !strstr(text, alias))
			continue;
		snprintf(address, size, "%.*s",
			 (int)strcspn(found.gl_pathv[i] + sizeof(PCI_DEVICES), "/"),
			 found.gl_pathv[i] + sizeof(PCI_DEVICES));
		ret = 0;
	}
	globfree(&found);
	return ret;
}

int device_link(const char *bus, const char *address, const char *name,
		char *text, size_t size)
{
	char path[PATH_MAX], link[PATH_MAX] = "";

	snprintf(path, sizeof(path), "%s/%.36s/%s", bus, address, name);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return -errno;
	snprintf(text, size, "%s", strrchr(link, '/') + 1);
	return 0;
}

int device_cdev(const char *bus, const char *address, char *path, size_t size)
{
	char pattern[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/%.36s/vfio-dev/vfio*", bus, address);
	if (glob(pattern, 0, NULL, &found))
		return -ENODEV;
	snprintf(path, size, "/dev/vfio/devices/%.32s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	return 0;
}

int device_group(const char *bus, const char *address, char *path, size_t size)
{
	char number[64];
	int ret = device_link(bus, address, "iommu_group", number, sizeof(number));

	if (!ret)
		snprintf(path, size, "/dev/vfio/%s", number);
	return ret;
}

int pci_link(const char *address, const char *name, char *text, size_t size)
{
	return device_link(PCI_DEVICES, address, name, text, size);
}

bool pci_driver_is(const char *address, const char *driver)
{
	char text[64];

	return !pci_link(address, "driver", text, sizeof(text)) && !strcmp(text, driver);
}

int pci_write(const char *address, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%.32s/%s", address, name);
	return write_file(path, text);
}

int pci_take(const char *address)
{
	char text[64];
	int ret;

	if (pci_driver_is(address, "vfio-pci"))
		return 0;
	ret = pci_write(address, "driver_override", "vfio-pci");
	if (!ret && !pci_link(address, "driver", text, sizeof(text)))
		ret = pci_write(address, "driver/unbind", address);
	if (!ret)
		ret = write_file("/sys/bus/pci/drivers_probe", address);
	if (!ret && !pci_driver_is(address, "vfio-pci"))
		ret = -ENODEV;
	return ret;
}

void pci_give_back(const char *address)
{
	char path[PATH_MAX], text[64];

	snprintf(path, sizeof(path), PCI_DEVICES "/%.32s/driver_override", address);
	if (read_line(path, text, sizeof(text)) || strcmp(text, "vfio-pci"))
		return;
	if (pci_driver_is(address, "vfio-pci"))
		pci_write(address, "driver/unbind", address);
	pci_write(address, "driver_override", "\n");
	write_file("/sys/bus/pci/drivers_probe", address);
}
