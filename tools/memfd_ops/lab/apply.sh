#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# apply.sh: put our patches and files into a 6.12 tree (KDIR=, or the lab's own).
# apply.sh -R: take them out again.
#
# The tree remembers what it was given, in .memfd_ops/state/: applied.patch, which
# is what our patches changed, and files, the list of what we added. From these
# and from our series, every file as it should be is first worked out in a
# directory of its own; whatever goes wrong there, the tree is as it was. That
# directory is then renamed to .memfd_ops/next/, a journal: from then on the work
# can be stopped at any point, and the next run completes it. Only files that
# differ are written, so that make rebuilds what depends on them and no more.

. "$(dirname "$0")/lib.sh"

mem=$TREE/.memfd_ops

# Write the journal's files into the tree, and make the journal its new state.
commit() {
	local file

	while IFS= read -r file; do
		cmp -s "$mem/next/tree/$file" "$TREE/$file" && continue
		mkdir -p "$(dirname "$TREE/$file")"
		# A tree may share its files with another by hard links.
		cp --remove-destination "$mem/next/tree/$file" "$TREE/$file"
	done < <(find "$mem/next/tree" -type f -printf '%P\n' 2>/dev/null)
	while IFS= read -r file; do
		rm -f "$TREE/$file"
		# The directories that were made for it go with it.
		(cd "$TREE" && rmdir -p "$(dirname "$file")" 2>/dev/null) || true
	done <"$mem/next/remove"
	rm -rf "$mem/state" "$mem/next/tree"
	if [ -s "$mem/next/files" ]; then
		mv "$mem/next" "$mem/state"
	else
		rm -rf "$mem"
	fi
}

# The files that these patches change.
changed_by() { sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$@" | sort -u; }

# try_patch WHAT FILE OPTION...: no fuzz, for what went in must come out again.
try_patch() {
	local what=$1 file=$2

	shift 2
	if ! patch -d "$work/tree" -p1 -f -F0 -r - --no-backup-if-mismatch "$@" \
			<"$file" >"$work/output" 2>&1; then
		cat "$work/output" >&2
		die "$what does not apply to $TREE, which is left as it was"
	fi
}

lock
[ -f "$TREE/Makefile" ] || die "$TREE is not a kernel tree"
version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$TREE/Makefile" | paste -sd .)
[ "$version" = 6.12 ] || die "$TREE is Linux $version; the patches are for 6.12"

[ ! -d "$mem/next" ] || commit
if [ "${1:-}" = -R ] && [ ! -d "$mem" ]; then
	say "nothing of ours in $TREE"
	exit 0
fi

mkdir -p "$mem"
rm -rf "$mem"/work.*
work=$(mktemp -d "$mem/work.XXXXXX")
trap 'rm -rf "$work"; rmdir --ignore-fail-on-non-empty "$mem" 2>/dev/null || true' EXIT
mkdir "$work/tree"
old_patch=/dev/null
old_files=/dev/null
if [ -d "$mem/state" ]; then
	old_patch=$mem/state/applied.patch
	old_files=$mem/state/files
fi

patches=()
if [ "${1:-}" != -R ]; then
	mapfile -t patches < <(our_patches)
	[ ${#patches[@]} -gt 0 ] || die "no patches in $TOP"
	series_files >/dev/null || die "patches/linux-6.12/series does not fit our files"
fi

# What the patches change, without the old ones and then with the new ones.
while IFS= read -r file; do
	[ -f "$TREE/$file" ] || continue
	(cd "$TREE" && cp --parents "$file" "$work/tree")
done < <(changed_by "$old_patch" "${patches[@]}")
try_patch "the reverse of what was applied ($old_patch)" "$old_patch" -R
cp -r "$work/tree" "$work/base"
for file in "${patches[@]}"; do
	! grep -qE '^(---|\+\+\+) /dev/null' "$file" ||
		die "${file#"$TOP"/} adds or deletes a file; new files have their own place"
	grep -q '^diff ' "$file" || continue	# new files alone
	try_patch "${file#"$TOP"/}" "$file"
done
mv "$work/tree" "$work/b"
mv "$work/base" "$work/a"
(cd "$work" && diff -ruN a b >applied.patch) || [ $? -eq 1 ]
mv "$work/b" "$work/tree"

# What we add.
: >"$work/files"
if [ "${1:-}" != -R ]; then
	(cd "$TOP" && our_files | xargs -r -d '\n' cp --parents -t "$work/tree")
	cp "$TOP/Kconfig" "$work/tree/Kconfig.memfd_ops"
	{ our_files; echo Kconfig.memfd_ops; } | sort >"$work/files"
fi
while IFS= read -r file; do
	[ ! -e "$TREE/$file" ] || die "$file is already in $TREE, and not ours: nothing done"
done < <(comm -23 "$work/files" "$old_files")
comm -13 "$work/files" "$old_files" >"$work/remove"

rm -rf "$work/a" "$work/output"
count=$(wc -l <"$work/files")
mv "$work" "$mem/next"
commit
say "${#patches[@]} patches and $count files of ours are in $TREE"
