#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fuzz.sh: make calls of all kinds at random on a debug kernel, for T= seconds. SEED= repeats
# the choices of the rounds that begin with that seed.

. "$(dirname "$0")/lib.sh"

case ${SAN:=kasan} in
kasan)	kind=check ;;
kcsan)	kind=kcsan ;;
*) die "SAN=$SAN: kasan or kcsan" ;;
esac
duration=${T:-120}
[[ $duration =~ ^[1-9][0-9]*$ ]] || die "T=$T: a number of seconds"
[[ ${SEED:=} =~ ^[0-9]*$ ]] || die "SEED=$SEED: a number"

"$LAB/setup.sh"
"$LAB/build.sh" "$kind"

log=$LOGS/fuzz-$SAN-console.log
failed=
# a thread for each CPU, as for the random tests
ACCEL=${ACCEL:-mttcg} \
	"$LAB/boot.sh" "$kind" "$log" $((2 * duration + 1200)) fuzz "$duration" ${SEED:+"$SEED"} |
	tee "$LOGS/fuzz-$SAN-output.log" || failed="it failed"
! complaints "$log" >&2 || failed="the kernel complained, in the lines above"
[ -z "$failed" ] || die "$failed; the kernel's log: $log"
echo 'fuzz: PASS'
