#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The demo: a mediated device and a guest, and then a VFIO device.

modprobe mdma && memfd-ops-demo && echo && exec memfd-ops-nvme
