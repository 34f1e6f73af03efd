#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh check: build the debug kernel, boot it, run the tests and count the results.
# T= selects kselftests, as a shell pattern: programs, or test cases if it has a dot.
# WITHOUT= leaves out programs. They run in guests by what they use: devices of VFIO, with and
# without ordinary VMs; KVM, also Linux's own tests; neither. Those for which the CPUs must run
# at the same time have another one, on two threads, with keep-vm; and Linux's tests of iommufd
# the last one.
# check.sh torture: run the random tests over and over, for T= seconds.
# check.sh coverage: as check, on the kernel of make coverage.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/select.sh"

what=$1
case ${SAN:=kasan} in
kasan)	kind=check ;;
kcsan)	kind=kcsan ;;
*) die "SAN=$SAN: kasan or kcsan" ;;
esac
[ "$what" != coverage ] || kind=coverage
pattern=${T:-*}
if [ "$what" = torture ]; then
	duration=${T:-120}
	[[ $duration =~ ^[1-9][0-9]*$ ]] || die "T=$T: a number of seconds"
	pattern='*torture*'
fi

"$LAB/setup.sh"
"$LAB/build.sh" "$kind"
root=$OUT/$kind-root

selection "$pattern" >"$LOGS/all.list"
[ -s "$LOGS/all.list" ] || die "T=$T: no program and no test case has such a name"
uses_vfio='^/selftests (vfio|kvm_ordinary)'
uses_kvm='^/(linux-)?selftests kvm'
mock_iommu='^/linux-selftests iommu'
part() { grep -E "$1" "$LOGS/all.list" | grep -vE "$2" >"$LOGS/$3.list" || true; }
part . "$two_threads|$uses_vfio|$uses_kvm|$mock_iommu" plain
part "$uses_vfio" "$two_threads" vfio
part "$uses_kvm" "$two_threads|$uses_vfio" kvm
part "$two_threads" '^$' threads
part "$mock_iommu" '^$' iommufd

# Each case of torture has its share of the time, ten seconds at least, in rounds of a
# minute at most: a seed reproduces no more than one round.
rounds=1
environment=()
if [ "$what" = torture ]; then
	count=$(while read -r _ name _; do cases "$name"; done <"$LOGS/all.list" | wc -l)
	share=$((duration / count > 10 ? duration / count : 10))
	rounds=$(((share + 59) / 60))
	environment=("MEMFD_OPS_SECONDS=$((share / rounds))" ${SEED:+"MEMFD_OPS_SEED=$SEED"})
fi

parts=(plain)
for part in vfio kvm threads iommufd; do
	[ ! -s "$LOGS/$part.list" ] || parts+=("$part")
done

# run_guest PART ACCEL: that part of the tests, if it has any, with that accelerator. A
# thread for each CPU shows a TLB entry that is not flushed, and real races.
run_guest() {
	local log=$LOGS/$what-$1-console.log output=$LOGS/$what-$1-output.log status=0

	[[ " ${parts[*]} " = *" $1 "* ]] || return 0
	[ "$what" != coverage ] || export COVERAGE=$OUT/gcov/${IOMMU:-intel}-$1.tar
	ACCEL=${ACCEL:-$2} MEM=${MEM:-4G} FILES=$(printf %q "$LOGS/$1.list") \
		"$LAB/boot.sh" "$kind" "$log" $((5400 + 600 * rounds)) \
		tests "$1" "$rounds" "${environment[@]}" | tee "$output" || status=$?
	if [ "$status" -ne 0 ]; then
		echo "lab: problem: the guest ended with status $status" | tee -a "$output"
	fi
	{ complaints "$log" | head -n 20 | sed 's/^/lab: problem: the kernel: /' || true; } |
		tee -a "$output"
}

# Three guests at a time: each keeps one CPU busy, or waits. That on two threads is alone: while
# another guest has one of its CPUs, it mostly waits for that.
trap 'trap - INT TERM; kill 0' INT TERM
{
	run_guest plain tcg
	# its mock IOMMU has to be the first
	IOMMU=none run_guest iommufd tcg
} | sed -u 's/^/1: /' &
run_guest vfio tcg | sed -u 's/^/2: /' &
run_guest kvm tcg | sed -u 's/^/3: /' &
wait
run_guest threads mttcg | sed -u 's/^/4: /'

outputs=("${parts[@]/#/$LOGS/$what-}")
outputs=("${outputs[@]/%/-output.log}")
say "the tests' output: ${outputs[*]}; the kernels' logs are next to it"
for output in "${outputs[@]}"; do
	! grep -q '^lab: problem: the guest ended' "$output" ||
		tail -n 60 "${output%-output.log}-console.log"
done
cat "${outputs[@]}" |
	"$LAB/check-report.py" "$TREE/tools/testing/kunit" "$LAB/skips" "${IOMMU:-intel}"
