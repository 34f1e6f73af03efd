/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI devices, as sysfs shows them, and their drivers.
 *
 * Functions return 0 or a value, or a negative errno.
 */
#ifndef MEMFD_OPS_PCI_H
#define MEMFD_OPS_PCI_H

#include <stdbool.h>
#include <stddef.h>

/* Part of a device's modalias: QEMU's edu, and its NVMe controller. */
#define EDU_ALIAS	"v00001234d000011E8"
#define NVME_ALIAS	"bc01sc08i02"

#define PCI_DEVICES	"/sys/bus/pci/devices"

/* The address of a device; -ENODEV if there is none. */
int pci_find(const char *alias, char *address, size_t size);

/* The last part of the target of a link in a device's directory. */
int device_link(const char *bus, const char *address, const char *name,
		char *text, size_t size);

/* VFIO's character devices of a device, and of its group */
int device_cdev(const char *bus, const char *address, char *path, size_t size);
int device_group(const char *bus, const char *address, char *path, size_t size);

int pci_link(const char *address, const char *name, char *text, size_t size);
bool pci_driver_is(const char *address, const char *driver);
int pci_write(const char *address, const char *name, const char *text);

/* Bind the device to vfio-pci. */
int pci_take(const char *address);

/* Undo that: the driver that matches the device gets it, if it is loaded. */
void pci_give_back(const char *address);

#endif /* MEMFD_OPS_PCI_H */
