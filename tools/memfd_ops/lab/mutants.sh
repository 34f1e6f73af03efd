#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh: each patch in mutants/ takes out a line that an invariant rests on, and names
# the tests that notice. One after the other, or those whose names match T=, put it in, build
# the kernel and run these tests, up to the first that fails: one must, or the kernel
# complain. If none does, try once more on the kernel of make check, whose checkers are
# slower. Without the mutant the tests must pass. SAMPLE=n takes n, each from another room as
# long as there is one. Which ones depends on SEED. The results stay in build/mutants/;
# RECORD=1 puts them into the documentation as well.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/select.sh"

dir=$OUT/mutants
# all tests, whatever the caller leaves out of make check
WITHOUT=''
documented=$TOP/Documentation/mm/memfd_ops/mutants.txt
[[ ${SAMPLE:=0} =~ ^[0-9]+$ ]] || die "SAMPLE=$SAMPLE: a number"

# field MUTANT NAME: a line of the patch's head
field() { sed -n "/^---$/q; s/^$2: //p" "$LAB/mutants/$1.patch"; }

iommu_of() {
	local iommu

	iommu=$(field "$1" IOMMU)
	echo "${iommu:-${IOMMU:-intel}}"
}

# list PATTERN: the mutants whose names match
list() {
	local patch name

	for patch in "$LAB"/mutants/*.patch; do
		name=$(basename "$patch" .patch)
		# shellcheck disable=SC2053 # a pattern
		[[ $name != $1 ]] || echo "$name"
	done
}

# Of the names on standard input, at most SAMPLE. A room is what a name begins with. Those
# that end by the time limit are left out: a sample takes minutes.
sample() {
	local name

	grep -vxFf <(sed -n 's/ .*missing expected subtest.*//p' "$documented") |
		while read -r name; do
			echo "$(cksum <<<"$SEED $name" | cut -d ' ' -f 1) $name"
		done | sort -n | awk '{ split($2, part, "-"); print taken[part[1]]++, $0 }' |
		sort -n -k 1,1 -s | awk -v most="$SAMPLE" 'NR <= most { print $3 }'
}

# What the first failed test in the standard input expected, on one line
message() {
	sed -nE '/Expected/{
		s/.*(Expected .*)/: \1/
		s/, but$//
		s/  +/ /g
		s/^(.{100}).*/\1.../
		p
		q
	}'
}

# failures REPORT CONSOLE: the failed tests, and the kernel's first complaint. If that was
# the end, the results of KUnit are in its log alone.
failures() {
	local complaint

	# "LINE:" of grep -n, and the time
	complaint=$(complaints "$2" | sed -nE '1 {
		s/^[0-9]+:(\[[^]]*\] *)?/the kernel: /
		s/\+0x[0-9a-f].*//
		p
	}' || true)
	if grep -q '^FAILED: make check: the guest ended' "$1"; then
		sed -nE 's/^\[[^]]*\] +not ok [0-9]+ ([a-z0-9_]+)$/KUnit: \1/p' "$2"
		[ -z "$complaint" ] || echo "$complaint"
	fi
	sed -nE '/^FAILED: make check: no .* ran/d
		s/ \(exit status [a-z0-9]*\)$//
		s/^FAILED: //p' "$1"
	[ -z "$complaint" ] || echo "$complaint"
}

is_suite() { [[ $1 = memfd_ops_* || $1 = iommu_* ]]; }

# suites TEST...: a pattern of glob_match() for the KUnit suites among them, and few others
suites() {
	local test prefix next=''
	local names=()

	for test; do
		! is_suite "$test" || names+=("$test")
	done
	if [ ${#names[@]} -le 1 ]; then
		echo "${names[*]}"
		return
	fi
	prefix=${names[0]}
	for test in "${names[@]}"; do
		while [[ $test != "$prefix"* ]]; do
			prefix=${prefix%?}
		done
	done
	for test in "${names[@]}"; do
		next+=${test:${#prefix}:1}
	done
	echo "${prefix}[$next]*"
}

# run_guest KIND LOG IOMMU PART KUNIT: the tests of $dir/list/PART.list, up to the first that
# fails; print the failures.
run_guest() {
	local kind=$1 log=$2-$4 iommu=$3 part=$4 kunit=$5 accel=tcg status=0
	local list=$dir/list/$4.list

	[ "$part" != threads ] || accel=mttcg
	ACCEL=$accel IOMMU=$iommu MEM=4G FILES=$(printf %q "$list") \
		PROGRAMS=$(cut -d ' ' -f 2 "$list" | sort -u) KUNIT=${kunit:-none} \
		"$LAB/boot.sh" "$kind" "$log.console" "${TIMEOUT:-600}" \
		tests "$part" 1 FIRST=1 >"$log" 2>"$log.stderr" </dev/null || status=$?
	if grep -q '^QEMU was killed' "$log.stderr"; then
		echo 'ERROR: interrupted'
		return
	fi
	{
		cat "$log"
		[ $status -eq 0 ] || echo "lab: problem: the guest ended with status $status"
	} | "$LAB/check-report.py" "$TREE/tools/testing/kunit" "$LAB/skips" "$iommu" \
		>"$log.report" || true
	failures "$log.report" "$log.console"
}

# run_tests KIND LOG IOMMU TEST...: on the kernel that is built; print the failures. Those
# for which the CPUs must run at the same time have a guest of their own, on two threads.
run_tests() {
	local kind=$1 log=$2 iommu=$3 kunit

	shift 3
	kunit=$(suites "$@")
	mkdir -p "$dir/list"
	selection "@($(IFS='|'; echo "$*"))" >"$dir/list/all"
	grep -E "$two_threads" "$dir/list/all" >"$dir/list/threads.list" || true
	grep -vE "$two_threads" "$dir/list/all" >"$dir/list/plain.list" || true
	if [ -z "$kunit" ] && [ ! -s "$dir/list/all" ]; then
		echo "ERROR: no test is called $*"
		return
	fi
	if [ -n "$kunit" ] || [ -s "$dir/list/plain.list" ]; then
		run_guest "$kind" "$log" "$iommu" plain "$kunit"
	fi
	if [ -s "$dir/list/threads.list" ]; then
		run_guest "$kind" "$log" "$iommu" threads ''
	fi
}

# Our changes of the kernel, without those of tools/
kernel_diff() {
	awk '/^diff --git / { kernel = $3 !~ "^a/(tools|Documentation)/" } kernel' \
		"$TREE/.memfd_ops.patch"
}

# made_of TEST: if that has not changed, its result is the same.
made_of() {
	local program=$root/selftests/${1%%.*}

	cksum <"$dir/kernel"
	[ ! -f "$program" ] || cksum <"$program"
}

# check_tests KIND MUTANT...: the tests of all these mutants pass without any. Those that
# have passed before are not run again.
check_tests() {
	local kind=$1 name iommu test sum failure
	local -A missing=()
	local tests

	shift
	kernel_diff >"$dir/kernel"
	for name; do
		iommu=$(iommu_of "$name")
		read -ra tests < <(field "$name" Tests)
		for test in "${tests[@]}"; do
			sum="$kind $iommu $test $(made_of "$test" | tr '\n' ' ')"
			grep -qxF "$sum" "$dir/passed" || missing[$iommu]+="$sum"$'\n'
		done
	done
	for iommu in "${!missing[@]}"; do
		mapfile -t tests < <(cut -d ' ' -f 3 <<<"${missing[$iommu]}" | grep . | sort -u)
		say "without a mutant, on the kernel $kind, IOMMU=$iommu: ${#tests[@]} tests"
		failure=$(TIMEOUT=7200 run_tests "$kind" "$dir/without-$kind-$iommu.log" \
			"$iommu" "${tests[@]}")
		[ -z "$failure" ] || die "without a mutant, on the kernel $kind: $failure"
		echo -n "${missing[$iommu]}" >>"$dir/passed"
	done
}

# Sets $verdict
try_on() {
	local kind=$1 name=$2 failure tests

	if ! "$LAB/build.sh" bare "$kind" >"$dir/$name.build.log" 2>&1; then
		verdict='ERROR: does not build'
		return
	fi
	read -ra tests < <(field "$name" Tests)
	rm -f "$dir/$name.log"-*
	failure=$(run_tests "$kind" "$dir/$name.log" "$(iommu_of "$name")" "${tests[@]}")
	verdict=${failure%%$'\n'*}
	if [ -z "$verdict" ]; then
		verdict=SURVIVED
	elif [[ $verdict != 'the kernel:'* && $verdict != ERROR* ]]; then
		verdict+=$(cat "$dir/$name.log"-{plain,threads} 2>/dev/null | message || true)
	fi
}

try() {
	take_mutant_out
	if ! put_mutant_in "$LAB/mutants/$1.patch" >"$dir/$1.build.log" 2>&1; then
		verdict='ERROR: does not apply'
		return
	fi
	try_on mutant "$1"
	[ "$verdict" = SURVIVED ] || return 0
	try_on check "$1"
	[[ $verdict != ERROR* && $verdict != SURVIVED ]] || return 0
	# only now do the tests matter that pass there without it
	take_mutant_out
	"$LAB/build.sh" bare check >"$dir/$1.build.log" 2>&1
	check_tests check "$1"
}

sum_of() { cksum <"$LAB/mutants/$1.patch" | cut -d ' ' -f 1; }

# table NAME...: the last result of each as it is now; else that of the documentation, if
# there is one, as another machine's
table() {
	local name verdict

	printf '%-26s  %-9s  %s\n' mutant invariant 'killed by'
	for name; do
		verdict=$(sed -n "s/^$name\t$(sum_of "$name")\t//p" "$dir/results" | tail -n 1)
		[ -n "$verdict" ] ||
			verdict=$(sed -nE "s/^$name +(I[0-9]+|none) +//p" "$documented")
		printf '%-26s  %-9s  %s\n' "$name" "$(field "$name" Invariant)" \
			"${verdict:-not run yet}"
	done
}

if [ "$SAMPLE" -gt 0 ]; then
	say "SEED=${SEED:=$RANDOM}"
	mapfile -t names < <(list "${T:-*}" | sample)
else
	mapfile -t names < <(list "${T:-*}")
fi
[ ${#names[@]} -gt 0 ] || die "T=${T:-}: no mutant has such a name"

lock
mkdir -p "$dir"
touch "$dir"/{results,passed}
trap take_mutant_out EXIT
trap 'exit 130' INT TERM
"$LAB/setup.sh"
"$LAB/setup.sh" lz4
take_mutant_out
"$LAB/build.sh" check
"$LAB/build.sh" mutant
check_tests mutant "${names[@]}"

failed=0
for name in "${names[@]}"; do
	start=$SECONDS
	try "$name"
	[[ $verdict != SURVIVED && $verdict != ERROR* ]] || failed=$((failed + 1))
	printf '%s\t%s\t%s\n' "$name" "$(sum_of "$name")" "$verdict" >>"$dir/results"
	printf '%-26s %5s s  %s\n' "$name" $((SECONDS - start)) "$verdict"
done
take_mutant_out
echo
table "${names[@]}"
mapfile -t all < <(list '*')
table "${all[@]}" >"$dir/mutants.txt"
say "the last results of all mutants: $dir/mutants.txt"
if [ -n "${RECORD:-}" ]; then
	cp "$dir/mutants.txt" "$documented"
fi
echo "$((${#names[@]} - failed)) killed, $failed not"
[ $failed -eq 0 ]
