#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# coverage.sh: run the tests of make check on a kernel that counts how often each of our lines
# runs, those for devices once more with an AMD IOMMU, and write a table. With T= or IOMMU=
# there is one run.

. "$(dirname "$0")/lib.sh"

goal=95
parts=$OUT/gcov
table=$OUT/coverage.txt

rm -rf "$parts"
mkdir -p "$parts"
status=0
"$LAB/check.sh" coverage || status=1
if [ -z "${T:-}${IOMMU:-}" ]; then
	IOMMU=amd T='vfio*' "$LAB/check.sh" coverage || status=1
fi

for archive in "$parts"/*.tar; do
	mkdir "${archive%.tar}"
	tar -xf "$archive" -C "${archive%.tar}" || say "no counts in $archive"
done
"$LAB/coverage.py" "$TREE" "$OUT/coverage" "$parts" "$not_counted" "$LAB/unreached" "$goal" \
	>"$table" || status=1
sed -n '1,/^$/p;$p' "$table"
say "the lines that are not run: $table"
[ $status -eq 0 ] || die 'a test failed, or too few lines run'
echo 'coverage: PASS'
