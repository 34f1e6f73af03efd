#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Check the models, Documentation/mm/memfd_ops/*.pml: spin must visit all of their states
# and find no error, reach every line, and find for each mistake in a model's list that it breaks
# the invariant next to it.

. "$(dirname "$0")/lib.sh"

"$LAB/setup.sh" spin gcc libc6-dev
lock

work=$OUT/model
failed=0

# verify MISTAKE PAN-OPTION GCC-OPTION...: leave the verifier's output in $work/out. The
# limits of -m and MEMLIM are larger than necessary: a search that reaches one is
# incomplete.
verify() (
	rm -rf "$work"
	mkdir -p "$work"
	cd "$work"
	cp "$model" .
	spin -DMISTAKE="$1" -a "$pml"
	gcc "${@:3}" -w -DSAFETY -DCOLLAPSE -DMEMLIM=8192 pan.c -o pan
	./pan -m4000000 "$2" | tee out
)

# Print the broken invariant, or else the verifier's error; nothing if all is well. A
# process that waits indefinitely breaks I11.
broken() {
	local invariant

	invariant=$(cd "$work" && spin -DMISTAKE="$1" -t "$pml" 2>&1 |
		sed -n 's/.*text of failed assertion.*(\(I[0-9]*\)==0).*/\1/p')
	if grep -q '^pan:1: invalid end state' "$work/out"; then
		invariant=I11
	fi
	[ -n "$invariant" ] && echo "$invariant" ||
		grep -m 1 -E '^pan:[0-9]|^error|not completed' "$work/out" || true
}

# The lines that no process reaches, except those that only a mistake runs.
unreached() {
	local line

	(cd "$work" && ./pan -d) | awk '
		/^unreached in proctype/ { process = $4 }
		/^\t.*\.pml:[0-9]+, state / { missed[process, $3 + 0] = 1 }
		/^proctype/ { process = $2 }
		/^\tstate/ && match($0, /\.pml:[0-9]+/) {
			line = substr($0, RSTART + 5, RLENGTH - 5)
			lines[line] = lines[line] || !((process, $2) in missed)
		}
		END { for (line in lines) if (!lines[line]) print line }
		' "$work/out" - | sort -n |
	while read -r line; do
		sed -n "$line{/mistake(/!s/^/$pml:$line: /p}" "$model"
	done
}

# report MISTAKE START VERDICT
report() {
	local states

	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored$/\1/p' "$work/out")
	printf '%-20s %10s %5s s  %s\n' "$1" "$states" $((SECONDS - $2)) "$3"
}

# check_model NAME: all states of it, and its mistakes. Of the mistakes, breadth first finds the
# shortest way.
check_model() {
	local mistake invariant start=$SECONDS verdict wrong

	model=$TOP/Documentation/mm/memfd_ops/$1
	pml=$1
	phase "$pml" verify none -w26 -O2
	wrong=$(broken none)
	verdict='holds in all of them'
	if [ -n "$wrong" ]; then
		verdict="FAILED: $wrong; how: cd $work && spin -t -p $pml"
	else
		wrong=$(unreached)
		[ -z "$wrong" ] || verdict='FAILED: no process reaches the lines below'
	fi
	report "$pml" "$start" "$verdict"
	if [ -n "$wrong" ]; then
		printf '%s\n' "$wrong"
		exit 1
	fi

	while read -r mistake invariant; do
		start=$SECONDS
		verify "$mistake" -w22 -O0 -DBFS >"$LOGS/model-mistake.log" 2>&1 ||
			die "$mistake: see $LOGS/model-mistake.log"
		wrong=$(broken "$mistake")
		verdict="breaks $invariant"
		if [ "$wrong" != "$invariant" ]; then
			verdict="FAILED: should break $invariant; did: ${wrong:-nothing}"
			failed=1
		fi
		report "$mistake" $start "$verdict"
	done < <(sed -n 's,^\t\([a-z_]*\)\,*\t*/\* \(I[0-9]*\):.*,\1 \2,p' "$model")
}

printf '%-20s %10s %7s  %s\n' mistake states time verdict
for pml in ${T:-memfd_ops.pml split.pml kvm.pml}; do
	check_model "$pml"
done

[ $failed -eq 0 ] || exit 1
echo 'model: PASS'
