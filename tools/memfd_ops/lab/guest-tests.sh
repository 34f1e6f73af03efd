#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: prints the results of our KUnit suites, which ran at boot, and
# then runs every kselftest. The lines "lab: " are there for count.awk.

for results in /sys/kernel/debug/kunit/memfd_ops*/results \
	       /sys/kernel/debug/kunit/iommu_memfd*/results; do
	suite=$(basename "$(dirname "$results")")
	echo "lab: begin kunit $suite"
	cat "$results"
	echo "lab: end $?"
done

cd /selftests || exit
timeout=600
# shellcheck source=/dev/null # kselftest's own file: "timeout=SECONDS"
[ ! -f settings ] || . ./settings
while read -r name; do
	# shellcheck disable=SC2254 # a pattern it is
	case $name in
	$PATTERN)
		echo "lab: begin kselftest $name"
		timeout -s KILL "$timeout" "./$name" </dev/null
		# A program that died may have left a line unfinished.
		printf '\nlab: end %s\n' $?
		;;
	esac
done <list
exit 0
