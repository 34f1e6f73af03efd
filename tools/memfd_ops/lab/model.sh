#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Check the models, Documentation/mm/memfd_ops/*.pml: spin must visit all of their states
# and find no error. For each mistake in a model's list it must find that the mistake breaks
# the invariant next to it, and that only when calls interleave: a unit test is enough for
# other mistakes. Every line of a model must be reached, with one of the mistakes or without.

. "$(dirname "$0")/lib.sh"

"$LAB/setup.sh" spin gcc libc6-dev
lock

work=$OUT/model
failed=0

# verify MISTAKE CALL PAN-OPTION GCC-OPTION...: leave the verifier's output in $work/out.
# With the CALL "atomic" calls do not interleave. The limits of -m and MEMLIM are larger than
# necessary: a search that reaches one is incomplete. -v: list unreached lines after an error, too.
verify() (
	rm -rf "$work"
	mkdir -p "$work"
	cd "$work"
	cp "$model" .
	spin -DMISTAKE="$1" -DCALL="$2" -a "$pml"
	gcc "${@:4}" -w -DSAFETY -DCOLLAPSE -DMEMLIM=8192 pan.c -o pan
	./pan -v -m10000000 "$3" | tee out
)

# broken MISTAKE CALL: print the broken invariant, or else the verifier's error; nothing if
# all is well. A process that waits indefinitely breaks I11.
broken() {
	local invariant

	invariant=$(cd "$work" && spin -DMISTAKE="$1" -DCALL="$2" -t "$pml" 2>&1 |
		sed -n 's/.*text of failed assertion.*(\(I[0-9]*\)==0).*/\1/p')
	if grep -q '^pan:1: invalid end state' "$work/out"; then
		invariant=I11
	fi
	[ -n "$invariant" ] && echo "$invariant" ||
		grep -m 1 -E '^pan:[0-9]|^error|not completed' "$work/out" || true
}

# unreached MISTAKE: the lines that no process has reached, in the order of comm. An "else" is
# on the line of the first option: so a condition that names a mistake counts by itself, and is
# reached if the state after it is.
unreached() {
	(cd "$work" && ./pan -d) | awk -v mistake="($1==" '
		/^unreached in proctype/ { process = $4 }
		/^\t.*\.pml:[0-9]+, state / { missed[process, $3 + 0] = 1 }
		/^proctype/ { process = $2 }
		/^\tstate/ && match($0, /\.pml:[0-9]+/) {
			line = substr($0, RSTART + 5, RLENGTH - 5)
			state = $2
			if (at = index($0, mistake)) {
				line = line " " substr($0, at + length(mistake))
				match($0, /-> state +[0-9]+/)
				state = substr($0, RSTART + 9, RLENGTH - 9) + 0
			}
			lines[line] = lines[line] || !((process, state) in missed)
		}
		END { for (line in lines) if (!lines[line]) print line }
		' "$work/out" - | sort
}

# report MISTAKE START VERDICT
report() {
	local states

	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored$/\1/p' "$work/out")
	printf '%-20s %10s %5s s  %s\n' "$1" "$states" $((SECONDS - $2)) "$3"
}

# check_mistake MISTAKE INVARIANT: breadth first finds the shortest way. Leaves the lines that
# this run has not reached either in $missed.
check_mistake() {
	local start=$SECONDS verdict="breaks $2" wrong

	verify "$1" atomic -w18 -O0 >"$LOGS/model-mistake.log" 2>&1 ||
		die "$1: see $LOGS/model-mistake.log"
	wrong=$(broken "$1" atomic)
	if [ -n "$wrong" ]; then
		report "$1" "$start" "FAILED: needs no interleaving: $wrong"
		failed=1
		return
	fi

	verify "$1" '' -w22 -O0 -DBFS >"$LOGS/model-mistake.log" 2>&1 ||
		die "$1: see $LOGS/model-mistake.log"
	wrong=$(broken "$1" '')
	if [ "$wrong" != "$2" ]; then
		verdict="FAILED: should break $2; did: ${wrong:-nothing}"
		failed=1
	fi
	report "$1" "$start" "$verdict"
	missed=$(comm -12 <(echo "$missed") <(unreached "$1"))
}

# check_model NAME: all states of it, and its mistakes
check_model() {
	local mistake invariant start=$SECONDS line missed wrong

	model=$TOP/Documentation/mm/memfd_ops/$1
	pml=$1
	phase "$pml" verify none '' -w26 -O2
	wrong=$(broken none '')
	if [ -n "$wrong" ]; then
		report "$pml" "$start" "FAILED: $wrong; how: cd $work && spin -t -p $pml"
		exit 1
	fi
	report "$pml" "$start" 'holds in all of them'
	missed=$(unreached none)

	while read -r mistake invariant; do
		check_mistake "$mistake" "$invariant"
	done < <(sed -n 's,^\t\([a-z_]*\)\,*\t*/\* \(I[0-9]*\):.*,\1 \2,p' "$model")

	[ -n "$missed" ] || return 0
	echo 'FAILED: no process reaches these lines:'
	sort -n <<<"$missed" | while read -r line _; do
		sed -n "${line}s/^/$pml:$line: /p" "$model"
	done
	failed=1
}

printf '%-20s %10s %7s  %s\n' mistake states time verdict
for pml in ${T:-memfd_ops.pml split.pml kvm.pml}; do
	check_model "$pml"
done

[ $failed -eq 0 ] || exit 1
echo 'model: PASS'
