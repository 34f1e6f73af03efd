#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# words.sh [FILE...]: the phrases of the list "words" in these files, or in all that are
# ours.

. "$(dirname "$0")/lib.sh"

if [ $# -eq 0 ]; then
	cd "$TOP"
	mapfile -t files < <(our_files | grep -v '\.svg$'
		find .ci Kconfig MAINTAINERS Makefile README.md patches "${LAB#"$TOP"/}" \
			-type f ! -name words)
	set -- "${files[@]}"
fi
exec perl "$LAB/words.pl" "$LAB/words" "$@"
