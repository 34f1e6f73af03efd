#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh check: build the debug kernel, boot it, run the tests, count. T= names the
# kselftests to run, as a shell pattern. Those with KVM in them have a guest of their
# own: see boot.sh for why.
# check.sh torture: the random ones alone, over and over for T= seconds.

. "$(dirname "$0")/lib.sh"

what=$1
case ${SAN:=kasan} in
kasan)	kind=check ;;
kcsan)	kind=kcsan ;;
*) die "SAN=$SAN: kasan or kcsan" ;;
esac

# Torture has nine test cases: each its share of the time, in rounds of a minute at
# most, so that a seed stands for no more than that; and ten seconds at least, in
# which each gets somewhere.
rounds=1
environment=
if [ "$what" = torture ]; then
	[[ ${T:=120} =~ ^[1-9][0-9]*$ ]] || die "T=$T: a number of seconds"
	[ "$T" -ge 90 ] || T=90
	rounds=$(((T / 9 + 59) / 60))
	seconds=$((T / 9 / rounds))
	environment="export MEMFD_OPS_SECONDS=$seconds ${SEED:+MEMFD_OPS_SEED=$SEED}"
	T='*torture*'
fi

"$LAB/setup.sh"
"$LAB/build.sh" "$kind"

output=$LOGS/$what-output.log
problems=0

# run_guest PART ACCEL: that part of the tests, by that accelerator.
run_guest() {
	local log=$LOGS/$what-$1-console.log status=0

	ACCEL=${ACCEL:-$2} MEM=${MEM:-4G} "$LAB/boot.sh" "$kind" "$log" \
		$((5400 + 600 * rounds)) "PART=$1 PATTERN='${T:-*}' ROUNDS=$rounds
$environment
$(cat "$LAB/guest-tests.sh")" | tee -a "$output" || status=$?
	if [ "$status" -ne 0 ]; then
		echo "FAILED: the guest ended with status $status"
		problems=$((problems + 1))
	fi
	if complaints "$log"; then
		echo "FAILED: the kernel complained, in the lines above, of $log"
		problems=$((problems + 1))
	fi
}

kvm_tests_wanted() {
	local name

	while read -r name _; do
		# shellcheck disable=SC2053 # a pattern it is
		[[ $name != kvm* || $name != ${T:-*} ]] || return 0
	done < <(cat "$OUT/$kind-root"/*selftests/list)
	return 1
}

: >"$output"
run_guest plain mttcg
! kvm_tests_wanted || run_guest kvm tcg

counts=$(awk -v skips="$LAB/skips" -v iommu="${IOMMU:-intel}" -f "$LAB/count.awk" "$output")
sed '$d' <<<"$counts"
read -r passed failed skipped <<<"$(tail -n 1 <<<"$counts")"
failed=$((failed + problems))
[ "$failed" -eq 0 ] || echo "the tests' output: $output; the kernels' logs are beside it"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
