#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: either (PART=plain) prints the results of our KUnit suites, which
# ran at boot, and runs our kselftests but for those with KVM in them; or (PART=kvm)
# runs these, and Linux's own: those that are called like PATTERN, as many times as
# ROUNDS says. The lines "lab: " are there for count.awk.

if [ "$PART" = plain ]; then
	for results in /sys/kernel/debug/kunit/memfd_ops*/results \
		       /sys/kernel/debug/kunit/iommu_memfd*/results; do
		suite=$(basename "$(dirname "$results")")
		echo "lab: begin kunit $suite"
		cat "$results"
		echo "lab: end $?"
	done
fi

timeout=600
# shellcheck source=/dev/null # kselftest's own file: "timeout=SECONDS"
[ ! -f /selftests/settings ] || . /selftests/settings

run_directory() {
	cd "$1" || exit
	while read -r name args; do
		case $name in
		kvm*) in=kvm ;;
		*) in=plain ;;
		esac
		[ "$in" = "$PART" ] || continue
		# shellcheck disable=SC2254 # a pattern it is
		case $name in
		$PATTERN)
			echo "lab: begin kselftest $name${args:+ $args}"
			# shellcheck disable=SC2086 # any number of arguments
			timeout -s KILL "$timeout" "./$name" $args </dev/null
			# A program that died may have left a line unfinished.
			printf '\nlab: end %s\n' $?
			;;
		esac
	done <list
}

while [ "$ROUNDS" -gt 0 ]; do
	run_directory /selftests
	run_directory /linux-selftests
	ROUNDS=$((ROUNDS - 1))
done

# What nobody can reach any more has been forgotten: that is told to the kernel's log.
# Only what has been there for five seconds is looked at.
leaks=/sys/kernel/debug/kmemleak
if [ -e "$leaks" ]; then
	sleep 6
	echo scan >"$leaks"
	echo scan >"$leaks"
	while read -r line; do
		echo "kmemleak: $line" >/dev/kmsg
	done <"$leaks"
fi
exit 0
