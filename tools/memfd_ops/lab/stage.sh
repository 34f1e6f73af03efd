# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by apply.sh and series.sh: a git repository in $work with all files of the
# tree that our patches and files touch, first as they are without ours, then patch by
# patch. Nothing here writes to the tree.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Our patches and files as one patch, which stays in the tree so that it can come out.
applied=$TREE/.memfd_ops.patch

# The caller's git configuration and repository have no say here.
# shellcheck disable=SC2046 # names of variables
unset $(git rev-parse --local-env-vars)
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

work=
stage_git() { git -C "${work:?}" "$@"; }

# stage_patch NAME OPTION... FILE: git allows no fuzz.
stage_patch() {
	local name=$1

	shift
	if ! stage_git apply --index --allow-empty -v "$@" >"$work/.git/output" 2>&1; then
		grep -v '^Checking patch' "$work/.git/output" >&2
		die "$name does not apply to $TREE, which is left as it was"
	fi
}

# The files that the patches on standard input change or add.
changed_by() { sed -n 's,^+++ b/,,p' | sort -u; }

# Sets $list, and $before and $base: git's names for the files as they are in the tree,
# and without ours.
stage_base() {
	local version foreign

	[ -f "$TREE/Makefile" ] || die "$TREE is not a kernel tree"
	version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$TREE/Makefile" | paste -sd .)
	[ "$version" = 6.12 ] || die "$TREE is Linux $version; the patches are for 6.12"
	list=$(series_files) || die "patches/linux-6.12/series does not fit our files"
	[ -f "$applied" ] || applied=/dev/null

	git init -q -b master "$work"
	{
		our_patches | xargs -d '\n' cat "$applied" | changed_by
		cut -f 2 <<<"$list"
		printf '%s\n' Kconfig.memfd_ops MAINTAINERS
	} | rsync -a --files-from=- --ignore-missing-args "$TREE/" "$work/"
	stage_git add -Af .
	# shellcheck disable=SC2034 # for apply.sh
	before=$(stage_git write-tree)
	stage_patch "the reverse of $applied" -R "$applied"
	# shellcheck disable=SC2034
	base=$(stage_git write-tree)

	foreign=$({ cut -f 2 <<<"$list"; echo Kconfig.memfd_ops; } |
		(cd "$work" && xargs -d '\n' ls -d 2>/dev/null)) || true
	[ -z "$foreign" ] || die "already in $TREE, and not ours: ${foreign//$'\n'/ }"
}

# stage_series COMMAND...: all of our patches; COMMAND is run with each.
stage_series() {
	local patch name

	while IFS= read -r patch; do
		name=$(basename "$patch")
		stage_patch "${patch#"$TOP"/}" "$patch"
		awk -F '\t' -v name="$name" '$1 == name { print $2 }' <<<"$list" |
			(cd "$TOP" && xargs -r -d '\n' cp --parents -t "$work")
		stage_kconfig
		[ "$name" != MAINTAINERS.patch ] || stage_maintainers
		stage_git add -Af .
		"$@" "$patch"
	done < <(our_patches)
	cmp -s "$TOP/Kconfig" "$work/Kconfig.memfd_ops" || die "Kconfig has an unused option"
}

# An option comes with the first patch that uses it.
stage_kconfig() {
	(cd "$work" && grep -rhoE --exclude-dir={.git,Documentation,tools} 'CONFIG_[A-Z0-9_]+' . |
		awk 'FNR == NR { used[$1]; next }
			FNR == 1 || /^endmenu/ { shown = 1 }
			/^config / { shown = "CONFIG_" $2 in used }
			shown' - "$TOP/Kconfig" >.git/Kconfig)
	grep -q '^config' "$work/.git/Kconfig" || return 0
	cp "$work/.git/Kconfig" "$work/Kconfig.memfd_ops"
}

# Our entry, at its place in the alphabet.
stage_maintainers() {
	awk 'FNR == NR { entry = entry $0 "\n" }
		FNR == NR { next }
		/^Maintainers List/ { in_list = 1 }
		in_list && last == "" && /^[A-Z0-9]/ && !/^[A-Z]:/ && $0 > "MEMFD OPS" {
			print entry
			in_list = 0
		}
		{ print last = $0 }' <(sed '1,/^$/d' "$TOP/MAINTAINERS") "$work/MAINTAINERS" \
		>"$work/.git/MAINTAINERS"
	cp "$work/.git/MAINTAINERS" "$work/MAINTAINERS"
}
