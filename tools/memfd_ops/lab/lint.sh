#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# checkpatch, kernel-doc, gcc W=1, sparse, shellcheck and words.sh over our files, and
# mutants.py over the mutants: every warning is a failure.

. "$(dirname "$0")/lib.sh"

"$LAB/setup.sh"
"$LAB/build.sh" lint
lock

failed=()

# check NAME COMMAND...: silence is success.
check() {
	local name=$1 output

	shift
	output=$("$@" 2>&1) || output+=$'\n'"$1: status $?"
	if [ -z "$output" ]; then
		say "$name: ok"
	else
		printf '%s\n' "$output"
		failed+=("$name")
	fi
}

# In the tree, so that includes and paths are right.
cd "$TREE"
mapfile -t files < <(our_files | grep -E '(\.[chS]|\.rst|\.sh|/Makefile|/Kconfig)$')
mapfile -t kernel < <(printf '%s\n' "${files[@]}" | grep -v -e '^tools/' -e '^include/trace/')
mapfile -t trace < <(printf '%s\n' "${files[@]}" | grep '^include/trace/')
mapfile -t tools < <(printf '%s\n' "${files[@]}" | grep '^tools/')
mapfile -t patches < <(our_patches)
mapfile -t code < <(printf '%s\n' "${kernel[@]}" "${trace[@]}" | grep '\.[ch]$')
objects=()
for file in "${code[@]}"; do
	[[ $file != *.c ]] || objects+=("${file%.c}.o")
done

checkpatch=(perl scripts/checkpatch.pl --strict --no-tree --terse --no-summary --show-types)

# A loop's head names its variables more than once.
check checkpatch-kernel "${checkpatch[@]}" --ignore MACRO_ARG_REUSE \
	-f "${kernel[@]}" "$TOP/Kconfig"
# Tracepoints have a style of their own.
check checkpatch-trace "${checkpatch[@]}" \
	--ignore OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT -f "${trace[@]}"
# The first four ask for macros that only the kernel has. The harness's ASSERT_ and
# EXPECT_ are more than one statement, and so need braces.
check checkpatch-tools "${checkpatch[@]}" \
	--ignore ARRAY_SIZE,PREFER_DEFINED_ATTRIBUTE_MACRO,STRCPY,VOLATILE,BRACES \
	-f "${tools[@]}" "$TOP/Makefile" "$TOP/.ci/run" \
	"$LAB"/*.sh "$LAB"/guest/*.sh "$LAB"/*.c "$LAB"/*.pl
# A patch may consist of new files only, which "make series" adds. One Kconfig file may
# name another. There is no history to find a commit in.
check checkpatch-patches "${checkpatch[@]}" \
	--ignore NOT_UNIFIED_DIFF,EMBEDDED_FILENAME,UNKNOWN_COMMIT_ID "${patches[@]}"
check kernel-doc perl scripts/kernel-doc -none -Wall "${code[@]}"

compile() {
	(cd "$OUT/lint" && rm -f "${objects[@]}")
	kmake lint -s C=2 CF=-D__CHECK_ENDIAN__ W=1 "${objects[@]}"
}
check compile-and-sparse compile

cd "$TOP"
check scripts shellcheck -x -P "$LAB" .ci/run "$LAB"/*.sh "$LAB"/guest/*
check words "$LAB/words.sh"
check check-report "$LAB/check-report-test.py" "$TREE/tools/testing/kunit"
check mutants "$LAB/mutants.py" "$TREE"

[ ${#failed[@]} -eq 0 ] || die "warnings from ${failed[*]}"
echo 'lint: no warning'
