#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh MODULES [ROW...]: load the modules and measure these rows. The program has the
# same addresses in each boot, and so the same page tables.

# shellcheck disable=SC2086 # any number of modules
modprobe -a $1 && echo 0 >/proc/sys/kernel/randomize_va_space || exit
shift
exec memfd-ops-bench "$@"
