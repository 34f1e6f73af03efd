#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh demo|picture|run|shell: boot the demo kernel, and run the demo, the demo for the
# picture in README.md, $LAB_CMD, or a shell.

. "$(dirname "$0")/lib.sh"

[ "$1" != run ] || [ -n "${LAB_CMD:-}" ] || die "CMD='...': the command to run is missing"
"$LAB/setup.sh"
"$LAB/build.sh" demo

log=$LOGS/$1-console.log
case $1 in
run)
	exec "$LAB/boot.sh" demo "$log" 1800 command "$LAB_CMD"
	;;
shell)
	read -ra size < <(stty size 2>/dev/null) || true
	exec "$LAB/boot.sh" demo "$log" 0 shell "${TERM:-linux}" "${size[@]}"
	;;
picture)
	picture=$TOP/Documentation/mm/memfd_ops/show.svg
	"$LAB/boot.sh" demo "$log" 600 command 'modprobe mdma && memfd-ops-demo' \
		>"$LOGS/picture-output.log" || die "the demo failed: $LOGS/picture-output.log"
	"$LAB/picture.py" <"$LOGS/picture-output.log" >"$picture.tmp"
	mv "$picture.tmp" "$picture"
	say "$picture"
	;;
demo)
	"$LAB/boot.sh" demo "$log" 600 demo ||
		die "the demo failed ($?); the kernel's log: $log"
	! complaints "$log" >&2 || die "the kernel complained; its log: $log"
	echo 'demo: PASS'
	;;
esac
