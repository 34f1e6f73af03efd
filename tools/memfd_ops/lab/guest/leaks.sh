# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by tests.sh and fuzz.sh: report leaked memory in the kernel's log. kmemleak only
# reports objects that are older than five seconds.

leaks=/sys/kernel/debug/kmemleak
if [ -e "$leaks" ]; then
	sleep 6
	echo scan >"$leaks"
	echo scan >"$leaks"
	while read -r line; do
		echo "kmemleak: $line" >/dev/kmsg
	done <"$leaks"
fi
