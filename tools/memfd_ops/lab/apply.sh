#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# apply.sh: put our patches and files into a 6.12 tree (KDIR=, or the lab's own).
# apply.sh -R: take them out again.
#
# Patches are applied to a copy: if one fails, the tree stays as it is. Then git writes
# the files that differ, and no others, so that make rebuilds little.

. "$(dirname "$0")/stage.sh"

diff_of() { stage_git diff --binary --no-renames "$@"; }

lock
take_mutant_out
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage_base
after=$base
if [ "${1:-}" != -R ]; then
	stage_series :
	after=$(stage_git write-tree)
fi
diff_of "$base" "$after" >"$work/.git/applied"
diff_of "$before" "$after" >"$work/.git/step"

# Ctrl-C must not leave half of it.
trap '' INT TERM HUP
git --git-dir="$work/.git" --work-tree="$TREE" -C "$TREE" \
	apply --allow-empty --whitespace=nowarn "$work/.git/step"
rm -f "$TREE/.memfd_ops.patch"	# not in place: another tree may share it by a hard link
[ "$after" = "$base" ] || cp "$work/.git/applied" "$TREE/.memfd_ops.patch"
say "$(changed_by <"$work/.git/applied" | wc -l) files in $TREE are ours or changed by us"
