#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Attribute the instructions that make bench counts to the kernel's functions, for the
# rows that ROWS= names.

. "$(dirname "$0")/lib.sh"

[ -n "${ROWS:-}" ] || die "which rows of make bench? ROWS='9'"
"$LAB/setup.sh"
"$LAB/build.sh" demo

read -ra rows <<<"$ROWS"
log=$LOGS/profile-console.log
profile=$OUT/profile
rm -rf "$profile"
mkdir -p "$profile"
gcc -shared -fPIC -O2 -Wall -o "$profile/plugin.so" "$LAB/profile.c"

ACCEL=icount MEM=${MEM:-6G} QEMU_PLUGIN=$profile/plugin.so,out=$profile/parts \
	"$LAB/boot.sh" demo "$log" 1800 bench "iommu_memfd_bench mdma" "${rows[@]}" ||
	die "it failed; the kernel's log: $log"
! complaints "$log" >&2 || die "the kernel complained; its log: $log"
"$LAB/profile.py" "$OUT/demo/System.map" "$profile/parts" >"$profile/profile.txt"
say "by function, in the order of the measurements: $profile/profile.txt"
