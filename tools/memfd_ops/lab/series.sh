#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series.sh: write our patches and files as a series for git am, with a cover letter, to
# build/series/linux-6.12/. The sender is the one in the caller's git config.
#
# CHECK=1: prove that git am applies the series to a pristine tree; that checkpatch
# accepts each patch; that after each commit all touched objects build without a warning,
# with our options on and off; and that the tree equals that of "make apply".

GIT_AUTHOR_NAME=$(git config user.name)
GIT_AUTHOR_EMAIL=$(git config user.email)
. "$(dirname "$0")/stage.sh"
if [ -z "$GIT_AUTHOR_NAME" ] || [ -z "$GIT_AUTHOR_EMAIL" ]; then
	die "git config user.name and user.email name the sender: please set them"
fi
export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL

series=$TOP/build/series/linux-6.12

tree_git() { git -C "$TREE" "$@"; }

commit() {
	{
		sed -n 's/^Subject: //p' "$1"
		echo
		sed -e '1,/^$/d' -e '/^---$/,$d' -e '/^Signed-off-by: /d' "$1"
	} | stage_git commit -q -s -F -
}

generate() {
	rm -rf "$series"
	mkdir -p "$series"
	work=$(mktemp -d "$TOP/build/series/git.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	stage_base
	stage_git commit -q -m "$(basename "$TREE")"
	stage_git tag base
	stage_series commit
	stage_git config branch.master.description "$(cat "$TOP/patches/linux-6.12/cover-letter")"
	stage_git format-patch -q --no-renames --no-signature --cover-letter \
		--cover-from-description=subject -o "$series" base
}

# Warnings of checkpatch --strict that we accept, as TYPE FILE, with the reason:
allowed() {
	sed 's/[[:space:]]*#.*//' <<-'END'
	FILE_PATH_CHANGES .*			# check_maintainers proves that the entry has all
	EMBEDDED_FILENAME Kconfig		# it sources Kconfig.memfd_ops
	UNKNOWN_COMMIT_ID .*			# the tree has no history
	MACRO_ARG_REUSE .*[ch]			# the head of a loop names its variables twice
	TRAILING_WHITESPACE .*svg		# gnuplot writes it
	OPEN_ENDED_LINE include/trace/.*	# tracepoints have a style of their own
	PARENTHESIS_ALIGNMENT include/trace/.*
	ARRAY_SIZE tools/.*			# the macros of these four are for the kernel alone
	PREFER_DEFINED_ATTRIBUTE_MACRO tools/.*
	STRCPY tools/.*
	VOLATILE tools/.*
	BRACES tools/.*				# ASSERT_ and EXPECT_ are several statements
	END
}

# silent COMMAND...: success is silence.
silent() {
	local output

	output=$("$@" 2>&1 | { grep -vE '^  (CC|AR) ' || true; }) || output+="status $?"
	[ -z "$output" ] || { echo "$*: $output"; return 1; }
}

checkpatch() {
	perl "$TREE/scripts/checkpatch.pl" --no-tree --strict --no-summary --terse --showfile \
		--show-types "$1" |
		grep -vE -f <(allowed | sed -E 's/(.*) (.*)/^\2:[0-9]+: [A-Z]+:\1:/') || true
}

# get_maintainer.pl takes the entry, and each of our files has one line of it.
check_maintainers() {
	awk -f "$LAB/series.awk" <(echo MAINTAINERS; sed -n 's/^F:\t/\t/p' "$TOP/MAINTAINERS") \
		<(our_files; echo Kconfig.memfd_ops) >/dev/null
	(cd "$TREE" && scripts/get_maintainer.pl --no-git-fallback -f Kconfig.memfd_ops) |
		grep -F "$(sed -n 's/^M:.*<\(.*\)>/\1/p' "$TOP/MAINTAINERS")"
}

# The pristine tree is made once; same_tree fails if the base has changed since.
pristine_tree() {
	local new=$TREE.new

	if [ ! -d "$TREE" ]; then
		rm -rf "$new"
		mkdir -p "$OUT"
		cp -al "$applied_tree" "$new"
		rm -rf "$new/.git"
		KDIR=$new "$LAB/apply.sh" -R
		git init -q "$new"
		git -C "$new" commit -q --allow-empty -m new
		git -C "$new" tag pristine
		mv "$new" "$TREE"
	fi
	rm -rf "$TREE/.git/rebase-apply" "$OUT"/*/.config
	tree_git reset -q --hard pristine
	cat "$series"/*.patch | changed_by |
		(cd "$TREE" && { xargs -d '\n' ls -d 2>/dev/null || true; }) |
		tree_git add -f --pathspec-from-file=-
	tree_git commit -q --allow-empty -m pristine
	tree_git tag -f pristine
}

# compile on|off: all objects that the series has touched so far, and all that our own
# Makefiles build, with the options of make lint; or those of existing files, without our
# options.
compile() {
	local config=$OUT/$1/.config commit=HEAD dirs objects ours

	if [ ! -e "$config" ] || [ "$TREE/Kconfig.memfd_ops" -nt "$config" ]; then
		mkdir -p "$OUT/$1"
		cat "$LAB/demo.config" "$LAB/lint.config" >"$OUT/$1/lab.config"
		ours=$(sed -n 's/^config /CONFIG_/p' "$TOP/Kconfig")
		[ "$1" = on ] || sed -i "/${ours//$'\n'/\\|}/d" "$OUT/$1/lab.config"
		kmake "$1" -s KCONFIG_ALLCONFIG=lab.config allnoconfig
	fi
	[ "$1" = on ] || commit=pristine
	mapfile -t dirs < <(tree_git diff --name-only --diff-filter=A pristine $commit |
		sed -n '/^tools/d; s,/Makefile$,/,p')
	# Not the objects in these: two makes would write the same file.
	mapfile -t objects < <(tree_git ls-tree -r --name-only $commit |
		sed -n '/^tools/d; s/\.c$/.o/p' |
		grep -vF -f <(printf '%s\n' /dev/null "${dirs[@]}"))
	silent kmake "$1" -s "${dirs[@]}" "${objects[@]}"
}

programs() {
	local headers="-isystem $OUT/on/usr/include"

	mkdir -p "$OUT/user"
	kmake on -s headers
	silent make -s -j"$JOBS" -C "$TREE/$1" OUTPUT="$OUT/user" \
		KHDR_INCLUDES="$headers" USERLDFLAGS=-static LDFLAGS=-static
}

check_commit() {
	local files

	files=$(changed_by <"$1")
	silent checkpatch "$1"
	tree_git am -q "$1"
	if grep -v '^tools/' <<<"$files" | grep -qE '(\.[ch]|Makefile.*)$'; then
		compile on
		compile off
	fi
	for dir in tools/testing/selftests/memfd_ops tools/memfd_ops; do
		! grep -q "^$dir/" <<<"$files" || programs "$dir"
	done
}

same_tree() { silent diff -rq -x .git -x '.memfd_ops.*' "$applied_tree" "$TREE"; }

"$LAB/setup.sh"
[ -f "$TREE/Makefile" ] || "$LAB/build.sh" lint
lock
mkdir -p "$TOP/build/series"
generate
say "$(find "$series" -name '*.patch' | wc -l) files in $series"
[ -n "${CHECK:-}" ] || exit 0

"$LAB/apply.sh"
applied_tree=$TREE
OUT=$TOP/build/series/check
TREE=$OUT/linux-6.12
phase series-tree pristine_tree
for patch in "$series"/0*.patch; do
	[[ $patch = */0000-* ]] || phase "series-$(basename "$patch" .patch)" check_commit "$patch"
done
phase series-maintainers check_maintainers
phase series-same same_tree
echo 'series: PASS'
