#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measure the cost of following a memfd, and of not following it, in guests whose clock
# counts instructions: on the demo kernel; on one without CONFIG_MEMFD_OPS, as far as the
# rows do not need it; and rows 1 to 3 with virtio-iommu. BASE_CONFIG=off: only without
# CONFIG_MEMFD_OPS. ROWS=: only these rows.

. "$(dirname "$0")/lib.sh"

case ${BASE_CONFIG:-on} in
on)	boots=(on off) ;;
off)	boots=(off) ;;
*) die "BASE_CONFIG=$BASE_CONFIG: on or off" ;;
esac
[ "${IOMMU:=intel}" != none ] || die "IOMMU=none: bench needs an IOMMU"
if [ "$IOMMU" = intel ] && [ "${boots[0]}" = on ]; then
	boots+=(virtio)
fi

# Windows of 8 GiB need 11 GiB.
if [ -z "${MEM:-}" ]; then
	available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	MEM=$([ "$available" -gt $((14 << 20)) ] && echo 11G || echo 6G)
fi
export IOMMU MEM ROWS=${ROWS:-}

"$LAB/setup.sh"
"$LAB/setup.sh" gnuplot-nox

bench=$OUT/bench
rm -rf "$bench"
mkdir -p "$bench"

# measure NAME KIND MODULES ROWS
measure() {
	local log=$LOGS/bench-$1-console.log config=on start list

	read -ra list <<<"$4"
	[ "$2" != off ] || config=off
	"$LAB/build.sh" "$2"
	say "measuring, CONFIG_MEMFD_OPS $config, $IOMMU"
	start=$SECONDS
	if ! ACCEL=icount "$LAB/boot.sh" "$2" "$log" 1800 bench "$3" "${list[@]}" \
			>"$bench/$1.tsv"; then
		tail -n 3 "$bench/$1.tsv" >&2
		die "it failed; the kernel's log: $log"
	fi
	! complaints "$log" >&2 || die "the kernel complained; its log: $log"
	seconds=$((seconds + SECONDS - start))
	results+=("$IOMMU:$config=$bench/$1.tsv")
}

results=()
seconds=0
for boot in "${boots[@]}"; do
	case $boot in
	on)	measure on demo "iommu_memfd_bench mdma" "$ROWS" ;;
	off)	measure off "off" iommu_memfd_bench "$ROWS" ;;
	virtio)	rows=$(tr ' ' '\n' <<<"${ROWS:-1 2 3}" | grep -x '[123]' | xargs || true)
		[ -n "$rows" ] || continue
		IOMMU=virtio measure virtio demo "iommu_memfd_bench mdma" "$rows" ;;
	esac
done
say "measured in $seconds s"

status=0
"$LAB/bench-report.py" "$bench" "${results[@]}" | tee "$bench/table.txt" || status=$?
if [ -f "$bench/map-4k-iommufd.dat" ] && [ -f "$bench/punch-same.dat" ]; then
	gnuplot -e "dir = '$bench'" "$LAB/bench.gnuplot"
fi
say "in $bench: $(cd "$bench" && ls -m table.txt results.json ./*.svg 2>/dev/null)"
exit "$status"
