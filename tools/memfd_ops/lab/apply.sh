#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# apply.sh: put our patches and files into a 6.12 tree (KDIR=, or the lab's own).
# apply.sh -R: take them out again.
#
# Patches are applied to a copy: if one fails, the tree stays as it is. Then git writes
# the files that differ, and no others, so that make rebuilds little. Changes that somebody
# has made in the tree stay, and are named: the tests are of these as well.

. "$(dirname "$0")/stage.sh"

diff_of() { stage_git diff --binary --no-renames "$@"; }

# How this script left the files: git's names of their contents
left=$TREE/.memfd_ops.files
files_of() { stage_git ls-tree -r "$1" | sort; }

lock
take_mutant_out
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage_base
changed=$work/.git/changed
: >"$changed"
[ ! -f "$left" ] || files_of "$before" | comm -13 - "$left" >"$changed"
[ ! -s "$changed" ] || say "in $TREE somebody has changed: $(cut -f 2 "$changed" | xargs)"
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
# not in place: another tree may share them by hard links
rm -f "$TREE/.memfd_ops.patch" "$left"
if [ "$after" != "$base" ]; then
	cp "$work/.git/applied" "$TREE/.memfd_ops.patch"
	# what somebody has changed is named until it is as it was
	files_of "$after" | awk -F '\t' '{ file[$2] = $0 } END { for (f in file) print file[f] }' \
		- "$changed" | sort >"$left"
fi
say "$(changed_by <"$work/.git/applied" | wc -l) files in $TREE are ours or changed by us"
