#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measure what it costs to follow a memfd, and not to, in guests whose clock counts
# instructions: on the demo kernel, and on one without CONFIG_MEMFD_OPS what does not
# need it. BASE_CONFIG=off: on the latter alone. ROWS=: these rows alone.

. "$(dirname "$0")/lib.sh"

case ${BASE_CONFIG:-on} in
on)	boots=(on off) ;;
off)	boots=(off) ;;
*) die "BASE_CONFIG=$BASE_CONFIG: on or off" ;;
esac
[ "${IOMMU:=intel}" != none ] || die "there is nothing to measure with IOMMU=none"
export IOMMU

"$LAB/setup.sh"
"$LAB/setup.sh" gnuplot-nox

bench=$OUT/bench
rm -rf "$bench"
mkdir -p "$bench"

# measure on|off KIND MODULES
measure() {
	local log=$LOGS/bench-$1-console.log

	"$LAB/build.sh" "$2"
	say "measuring, CONFIG_MEMFD_OPS $1"
	# The program at the same addresses each time: so are its page tables.
	if ! ACCEL=icount MEM=${MEM:-6G} "$LAB/boot.sh" "$2" "$log" 1800 \
			"modprobe -a $3 && echo 0 >/proc/sys/kernel/randomize_va_space &&
			 exec memfd-ops-bench ${ROWS:-}" >"$bench/$1.tsv"; then
		tail -n 3 "$bench/$1.tsv" >&2
		die "it failed; the kernel's log: $log"
	fi
	! complaints "$log" >&2 || die "the kernel complained; its log: $log"
}

results=()
for boot in "${boots[@]}"; do
	case $boot in
	on)	measure on demo "iommu_memfd_bench mdma" ;;
	off)	measure off "off" iommu_memfd_bench ;;
	esac
	results+=("$boot=$bench/$boot.tsv")
done

status=0
"$LAB/bench-report.py" "$bench" "${results[@]}" | tee "$bench/table.txt" || status=$?
if [ -f "$bench/map-4k-iommufd.dat" ] && [ -f "$bench/punch-same.dat" ]; then
	gnuplot -e "dir = '$bench'" "$LAB/bench.gnuplot"
fi
say "in $bench: $(cd "$bench" && ls -m table.txt results.json ./*.svg 2>/dev/null)"
exit "$status"
