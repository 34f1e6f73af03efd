#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tests.sh PART ROUNDS [VARIABLE=VALUE...]: run the kselftests of /root/PART.list ROUNDS
# times, with these variables set. A line is a directory, a program in it, and its
# arguments. PART=plain prints the results of the KUnit suites first, which ran at boot;
# PART=threads keeps VMs all the time. FIRST=1 stops at the first failure. The lines "lab: "
# are for check-report.py.

part=$1 rounds=$2
shift 2
# shellcheck disable=SC2163 # names and values
[ $# -eq 0 ] || export "$@"

if [ "$part" = plain ]; then
	for results in /sys/kernel/debug/kunit/memfd_ops*/results \
		       /sys/kernel/debug/kunit/iommu_memfd*/results \
		       /sys/kernel/debug/kunit/iommu_cut/results; do
		[ -e "$results" ] || continue
		suite=$(basename "$(dirname "$results")")
		echo "lab: begin kunit $suite"
		cat "$results"
		echo "lab: end $?"
		[ -z "${FIRST:-}" ] || ! grep -q '^ *not ok' "$results" || exit 0
	done
fi

[ "$part" != threads ] || [ ! -e /dev/kvm ] || /lab/keep-vm || exit

# Not kselftest's runner.sh: it needs GNU timeout, and reports programs, not test cases.
timeout=600
# shellcheck source=/dev/null # kselftest's own file: "timeout=SECONDS"
[ ! -f /selftests/settings ] || . /selftests/settings

while [ "$rounds" -gt 0 ]; do
	while read -r directory name arguments; do
		cd "$directory" || exit
		echo "lab: begin kselftest $name${arguments:+ $arguments}" | tee /dev/kmsg
		start=$(date +%s)
		# shellcheck disable=SC2086 # any number of arguments
		timeout -s KILL "$timeout" "./$name" $arguments </dev/null
		# A killed program may leave a line unfinished.
		status=$?
		printf '\nlab: end %s, %s s\n' $status $(($(date +%s) - start))
		# 4: skipped
		[ -z "${FIRST:-}" ] || [ $status = 0 ] || [ $status = 4 ] || exit 0
	done <"/root/$part.list"
	rounds=$((rounds - 1))
done

# The counts of gcov, for make coverage; make check looks for leaks. debugfs gives its files
# no size.
if [ -b /dev/vda ]; then
	cp -dR /sys/kernel/debug/gcov /tmp
	tar -cf /dev/vda -C /tmp/gcov .
	exit
fi

# shellcheck source=tools/memfd_ops/lab/guest/leaks.sh
. /lab/leaks.sh
exit 0
