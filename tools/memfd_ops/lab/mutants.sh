#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh: each patch in mutants/ takes out a line that an invariant rests on, and names
# the tests that notice. One after the other, or those whose names match T=, put it in, build
# the debug kernel and run these tests: one must fail, or the kernel complain. Without it
# they must pass. SAMPLE=n takes n, each from another room as long as there is one. Which
# ones depends on SEED. The results stay in build/mutants/.

. "$(dirname "$0")/lib.sh"

dir=$OUT/mutants
[[ ${SAMPLE:=0} =~ ^[0-9]+$ ]] || die "SAMPLE=$SAMPLE: a number"

# field MUTANT NAME: a line of the patch's head
field() { sed -n "/^---$/q; s/^$2: //p" "$LAB/mutants/$1.patch"; }

# list PATTERN: the mutants whose names match
list() {
	local patch name

	for patch in "$LAB"/mutants/*.patch; do
		name=$(basename "$patch" .patch)
		# shellcheck disable=SC2053 # a pattern
		[[ $name != $1 ]] || echo "$name"
	done
}

# Of the names on standard input, at most SAMPLE. A room is what a name begins with.
sample() {
	local name

	while read -r name; do
		echo "$(cksum <<<"$SEED $name" | cut -d ' ' -f 1) $name"
	done | sort -n | awk '{ split($2, part, "-"); print taken[part[1]]++, $0 }' |
		sort -n -k 1,1 -s | awk -v most="$SAMPLE" 'NR <= most { print $3 }'
}

# complaint LOG: the kernel's first one in the output of check.sh
complaint() {
	grep -q '^FAILED: make check: the kernel complained' "$1" || return 0
	# "1: ", "LINE:" of grep -n, and the line of the kernel's log
	sed -nE '/^[12]: [0-9]+:/{
		s/^[12]: [0-9]+:(\[[^]]*\] *)?/the kernel: /
		s/\+0x[0-9a-f].*//
		p
		q
	}' "$1"
}

# failures LOG: the failed tests and the complaint; this comes first if it was the end
failures() {
	if ! grep -qE '^[0-9]+ passed, [0-9]+ failed' "$1"; then
		echo "ERROR: no results, see $1"
		return
	fi
	if grep -qE 'QEMU was killed|the guest ended with status 1[3-9][0-9]$' "$1"; then
		echo "ERROR: interrupted, see $1"
		return
	fi
	! grep -q '^FAILED: make check: the guest ended' "$1" || complaint "$1"
	sed -nE '/^FAILED: make check: (no .* ran|the kernel complained)/d
		s/ \(exit status [a-z0-9]*\)$//
		s/^FAILED: //p' "$1"
	complaint "$1"
}

# run_tests LOG IOMMU PATTERN...: on the kernel that is built; print the failures. Tests that
# hang end sooner than TIMEOUT, or the kernel panics because of a hung task.
run_tests() {
	local log=$1 iommu=$2 pattern

	shift 2
	pattern=$(IFS='|'; echo "$*")
	IOMMU=$iommu T="@($pattern)" TIMEOUT=${TIMEOUT:-900} SAN=kasan WITHOUT='' \
		"$LAB/check.sh" mutant >"$log" 2>&1 </dev/null || true
	failures "$log"
}

# Only the kernel and its modules
build() {
	LAB_MUTANT=1 "$LAB/build.sh" check >"$dir/$1.build.log" 2>&1
}

# The tests of all these mutants pass without any. Those that have passed on the same tree
# are not run again.
check_tests() {
	local name iommu test tree failure tests
	local -A missing=()

	tree=$(cksum <"$TREE/.memfd_ops.patch")
	[ "$(head -n 1 "$dir/passed" 2>/dev/null)" = "$tree" ] || echo "$tree" >"$dir/passed"
	for name; do
		iommu=$(field "$name" IOMMU)
		iommu=${iommu:-${IOMMU:-intel}}
		read -ra tests < <(field "$name" Tests)
		for test in "${tests[@]}"; do
			grep -qxF "$iommu $test" "$dir/passed" || missing[$iommu]+=" $test"
		done
	done
	for iommu in "${!missing[@]}"; do
		say "without a mutant, IOMMU=$iommu"
		mapfile -t tests < <(tr ' ' '\n' <<<"${missing[$iommu]}" | sort -u | grep .)
		failure=$(run_tests "$dir/without-$iommu.log" "$iommu" "${tests[@]}")
		[ -z "$failure" ] || die "without a mutant: $failure"
		printf "$iommu %s\n" "${tests[@]}" >>"$dir/passed"
	done
}

# Sets $verdict
try() {
	local patch=$LAB/mutants/$1.patch iommu failure tests

	iommu=$(field "$1" IOMMU)
	read -ra tests < <(field "$1" Tests)
	take_mutant_out
	if ! put_mutant_in "$patch" >"$dir/$1.build.log" 2>&1; then
		verdict='ERROR: does not apply'
	elif ! build "$1"; then
		verdict='ERROR: does not build'
	else
		failure=$(run_tests "$dir/$1.log" "${iommu:-${IOMMU:-intel}}" "${tests[@]}")
		verdict=${failure%%$'\n'*}
		verdict=${verdict:-SURVIVED}
	fi
}

# table NAME...: the last result of each
table() {
	local name verdict

	printf '%-24s  %-9s  %s\n' mutant invariant 'killed by'
	for name; do
		verdict=$(sed -n "s/^$name\t//p" "$dir/results" | tail -n 1)
		printf '%-24s  %-9s  %s\n' "$name" "$(field "$name" Invariant)" \
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
touch "$dir/results"
trap take_mutant_out EXIT
trap 'exit 130' INT TERM
"$LAB/setup.sh"
take_mutant_out
"$LAB/build.sh" check
check_tests "${names[@]}"

failed=0
for name in "${names[@]}"; do
	start=$SECONDS
	try "$name"
	[[ $verdict != SURVIVED && $verdict != ERROR* ]] || failed=$((failed + 1))
	printf '%s\t%s\n' "$name" "$verdict" >>"$dir/results"
	printf '%-24s %5s s  %s\n' "$name" $((SECONDS - start)) "$verdict"
done
take_mutant_out
echo
table "${names[@]}"
mapfile -t all < <(list '*')
table "${all[@]}" >"$dir/mutants.txt"
say "the last results of all mutants: $dir/mutants.txt"
echo "$((${#names[@]} - failed)) killed, $failed not"
[ $failed -eq 0 ]
