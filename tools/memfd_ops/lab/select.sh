# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The scripts that run tests source this: it selects programs, and cases of them, by a
# shell pattern, from those in $root.

root=$OUT/check-root

# cases PROGRAM: its test cases, by the names that its results have and its option -r
# takes. The harness has no patterns, but lists each fixture's variants and tests (-l).
cases() {
	# With -l, the status is that of a skip.
	{ "$root/selftests/$1" -l </dev/null || true; } 2>&1 | awk '
		function flush(v, t) {
			for (v = 0; v < variants || v == 0; v++)
				for (t = 0; t < tests; t++)
					print fixture (variants ? "." variant[v] : "") "." test[t]
			variants = tests = 0
		}
		/^(# FIXTURE|---)/ { next }
		/^[^ ]/ {
			flush()
			fixture = $1
			if (NF == 3)
				variant[variants++] = $2
			if (NF > 1)
				test[tests++] = $NF
			next
		}
		substr($0, 22, 1) != " " {
			variant[variants++] = $1
			if (NF == 1)
				next
		}
		{ test[tests++] = $NF }
		END { flush() }'
}

# matching PROGRAM PATTERN: the options that select those of its test cases that match.
matching() {
	local case pattern=$2

	while read -r case; do
		# shellcheck disable=SC2053 # a pattern, also below
		if [[ $1.$case == $pattern || $1.${case##*.} == $pattern ]]; then
			printf -- '-r %s ' "$case"
		fi
	done < <(cases "$1")
}

# selection PATTERN: the programs to run, as guest/tests.sh takes them: those that match, or
# with cases that do.
selection() {
	local directory name arguments pattern=$1

	for directory in selftests linux-selftests; do
		while read -r name arguments; do
			# shellcheck disable=SC2053 # a pattern
			[[ $name != ${WITHOUT:-} ]] || continue
			# shellcheck disable=SC2053 # a pattern
			if [[ $name != $pattern ]]; then
				[[ $pattern == *.* && $directory = selftests ]] || continue
				arguments=$(matching "$name" "$pattern")
				[ -n "$arguments" ] || continue
			fi
			echo "/$directory $name $arguments"
		done <"$root/$directory/list"
	done
}

# The programs for which the CPUs must run at the same time. On two threads QEMU gets text
# patches wrong now and then. They are rare in these: tracing and NUMA balancing, which
# others switch on, patch code.
# shellcheck disable=SC2034 # for the scripts that source this
two_threads='^/selftests (kvm_(tlb|share|torture)|torture|torture_procs)_test'
