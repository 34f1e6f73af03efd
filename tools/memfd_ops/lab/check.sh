#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the debug kernel, boot it, run the tests, count. T= names the kselftests to
# run, as a shell pattern.

. "$(dirname "$0")/lib.sh"

"$LAB/setup.sh"
"$LAB/build.sh" check

output=$LOGS/check-output.log
log=$LOGS/check-console.log
guest_status=0
MEM=${MEM:-3G} "$LAB/boot.sh" check "$log" 2400 "PATTERN='${T:-*}'
$(cat "$LAB/guest-tests.sh")" | tee "$output" || guest_status=$?

counts=$(awk -v skips="$LAB/skips" -f "$LAB/count.awk" "$output")
sed '$d' <<<"$counts"
read -r passed failed skipped <<<"$(tail -n 1 <<<"$counts")"

if [ "$guest_status" -ne 0 ]; then
	echo "FAILED: the guest ended with status $guest_status"
	failed=$((failed + 1))
fi
if complaints "$log"; then
	echo "FAILED: the kernel complained, in the lines above"
	failed=$((failed + 1))
fi
[ "$failed" -eq 0 ] || echo "the tests' output: $output; the kernel's log: $log"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
