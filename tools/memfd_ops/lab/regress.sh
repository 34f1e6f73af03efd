#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run the base's own selftests, the same binaries, on an unpatched kernel and on one with
# our patches and files, and compare test by test. Programs with a difference run twice
# more on both kernels, and the report shows every result. A test that passes on the base
# each time must pass on ours each time. T= selects lines of regress.tests, as a shell
# pattern.

. "$(dirname "$0")/lib.sh"

[ -z "${KDIR:-}" ] || die "KDIR: the comparison is with Debian's unpatched tree"

"$LAB/setup.sh"
"$LAB/setup.sh" libcap-dev libnuma-dev liburing-dev libfuse-dev stress-ng
LAB_BASE=1 "$LAB/build.sh" regress
"$LAB/build.sh" regress

results=$OUT/regress-results
selftests=$TOP/build/base/selftests
# iommufd's are those with our cases. On the base these fail.
cp -r "$OUT/selftests/iommu" "$selftests"

# run_guest base|ours ROUND PART ACCEL: the commands in $results/PART/list. The guest has
# no IOMMU: iommufd's tests need their mock IOMMU to be the first.
run_guest() {
	local run=$1.$2 part=$3 suite base='' status=0
	local log=$LOGS/regress-$run-$part-console.log files=("$results/$part/list")

	while read -r suite; do
		files+=("$selftests/$suite")
	done < <(cut -d ' ' -f 1 "$results/$part/list" | sort -u)
	[ "$1" != base ] || base=1
	say "$run, $part: $(wc -l <"$results/$part/list") commands"
	LAB_BASE=$base ACCEL=${ACCEL:-$4} IOMMU=none MEM=${MEM:-4G} FILES="${files[*]@Q}" \
		"$LAB/boot.sh" regress "$log" 3600 regress >>"$results/$run" || status=$?
	[ "$status" -eq 0 ] || say "$run, $part: the guest ended with status $status"
	# Without the parts that differ in each boot.
	complaints "$log" | sed -E 's/^[0-9]+:\[ *[0-9.]+\] //; s/\b(CPU|PID): [0-9]+ ?//g' \
		>>"$results/complaints.$1" || true
}

# run_round N: the commands of $results/again on both kernels. Those of kvm run in a
# guest of their own: boot.sh gives the reason.
run_round() {
	local kernel

	grep -v '^kvm ' "$results/again" >"$results/plain/list" || true
	grep '^kvm ' "$results/again" >"$results/kvm/list" || true
	: | tee "$results"/{base,ours}."$1"
	for kernel in base ours; do
		[ ! -s "$results/plain/list" ] || run_guest $kernel "$1" plain mttcg
	done
	for kernel in base ours; do
		[ ! -s "$results/kvm/list" ] || run_guest $kernel "$1" kvm tcg
	done
}

rm -rf "$results"
mkdir -p "$results"/{plain,kvm}
: | tee "$results"/complaints.{base,ours}
while read -r line; do
	# shellcheck disable=SC2053 # a pattern
	[[ $line != ${T:-*} ]] || echo "$line"
done < <(sed -e '/^#/d' -e '/^$/d' "$LAB/regress.tests") >"$results/list"
[ -s "$results/list" ] || die "T=$T: no such line in regress.tests"

cp "$results/list" "$results/again"
run_round 1
"$LAB/regress-report.py" --again "$results" >"$results/again"
if [ -s "$results/again" ]; then
	run_round 2
	run_round 3
fi

failed=0
"$LAB/regress-report.py" "$results" >"$results/report.txt" || failed=1
# Our cases of iommufd's selftests, which fail on the base
ours=$(grep -E '^(not )?ok .*follow' "$results/ours.1" || true)
if grep -q '^iommu ' "$results/list" && [[ $ours != ok* || $ours = *'not ok'* ]]; then
	say "regress: iommufd's selftests do not pass with a memfd that is followed"
	failed=1
fi
{
	printf '\nThe configurations differ in:\n'
	diff "$TOP/build/base/regress/.config" "$OUT/regress/.config" | grep '^[<>] CONFIG' || true
	for kernel in base ours; do
		printf '\nComplaints of the kernel, %s:\n' $kernel
		sort "$results/complaints.$kernel" | uniq -c
	done
} >>"$results/report.txt"
cat "$results/report.txt"

new=$(comm -13 <(sort -u "$results/complaints.base") <(sort -u "$results/complaints.ours"))
if [ -n "$new" ]; then
	printf '\nComplaints of ours only:\n%s\n' "$new"
	failed=1
fi
say "this report and the output of the tests: $results"
[ $failed -eq 0 ] || { echo 'regress: FAIL'; exit 1; }
echo 'regress: PASS'
