# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The lab's scripts source this: paths, the progress of long steps, and the complaints in
# a kernel log.

set -euo pipefail

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$LAB/../../.." && pwd)

if [ -n "${LAB_BASE:-}" ]; then
	# For make regress: the unpatched tree. Its kernel has the same place relative to
	# it as ours, so that ccache finds the objects that both have in common.
	TREE=$TOP/build/base/linux-6.12
	OUT=$TOP/build/base
elif [ -n "${KDIR:-}" ]; then
	TREE=$(realpath "$KDIR")
	OUT=$TOP/build/$(basename "$TREE")-$(cksum <<<"$TREE" | cut -d ' ' -f 1)
else
	TREE=$TOP/build/linux-6.12
	OUT=$TOP/build
fi
LOGS=$OUT/logs
JOBS=${J:-$(nproc)}

# Neither the options and the jobserver of the make that called us, nor a kernel
# developer's environment, may leak into the lab's builds.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES KBUILD_OUTPUT ARCH CROSS_COMPILE
export LC_ALL=C

# Messages go to stderr: the standard output is that of the guest.
say() { echo "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

is_debug_kernel() { [[ $1 = check || $1 = kcsan || $1 = coverage ]]; }

# One user of build/ at a time. The lock lasts as long as the processes that have it.
lock() {
	[ -z "${LAB_LOCKED:-}" ] || return 0
	mkdir -p "$LOGS"
	exec 9>"$TOP/build/.lock"
	if ! flock -n 9; then
		say "waiting for another make in $TOP/build"
		flock 9
	fi
	export LAB_LOCKED=1
}

# phase NAME COMMAND...: run it quietly, with a sign of life every 15 s. The log is
# $LOGS/NAME.log; show its end if the command fails.
phase() {
	local name=$1 log=$LOGS/$1.log start=$SECONDS compiled=0 next line status

	shift
	next=$((start + 15))
	# Not "|| status=$?", which would switch off -e inside the command as well.
	set +e
	(set -e; "$@") 2>&1 </dev/null | while :; do
		IFS= read -r -t 5 line
		status=$?
		printf '%s' "$line"
		if [ "$status" -eq 0 ]; then
			echo
			[[ $line != *"  CC "* ]] || compiled=$((compiled + 1))
		elif [ "$status" -le 128 ]; then
			break	# the end; above 128 it is a silence of 5 s
		fi
		if [ "$SECONDS" -ge "$next" ]; then
			say "  $name: $((SECONDS - start)) s, $compiled files compiled"
			next=$((SECONDS + 15))
		fi
	done >"$log"
	status=${PIPESTATUS[0]}
	set -e
	if [ "$status" -ne 0 ]; then
		tail -n 30 "$log" >&2
		die "$name failed; the whole log: $log"
	fi
	say "$name: $((SECONDS - start)) s"
}

# The functions that our files and patches add: their definitions begin a line.
our_functions() {
	{
		(cd "$TOP" && our_files | grep '\.[ch]$' | grep -v '^tools/' | xargs cat)
		our_patches | xargs sed -n 's/^+//p'
	} | sed -nE 's/^[a-z][a-zA-Z0-9_ *]*[ *]([a-z0-9_]+)\(.*/\1/p' | sort -u
}

# The first lines, as grep -n prints them, of those of KCSAN's reports in a kernel log
# where one of the three innermost functions of either side is ours. The innermost may be
# an inline function or a helper, which does not know the other users of the data.
our_races() {
	awk -f "$LAB/races.awk" <(our_functions) "$1"
}

# The lines of a kernel log, as grep -n prints them, with faults of an IOMMU that no test
# has said that it expects, see tools/lib/memfd_ops/mdma.h.
unexpected_faults() {
	awk '
		function flush(i) {
			for (i = 0; i < n; i++)
				print fault[i]
			n = 0
		}
		/memfd_ops test: IOMMU faults are expected/ { n = 0; expected = 1 }
		/memfd_ops test: IOMMU faults from here on|lab: begin / { flush(); expected = 0 }
		/DMAR: \[.*fault addr|AMD-Vi: Event logged|fault from EP [0-9]/ && !expected {
			fault[n++] = NR ":" $0
		}
		END { flush() }' "$1"
}

# The lines of a kernel log, as grep -n prints them, that no test may cause. SLUB reports
# a corrupt object as "BUG kmalloc-64 (Not tainted): ...".
complaints() {
	{ grep -nE \
		-e 'WARNING:|BUG:|kernel BUG at|Oops|Kernel panic|general protection fault' \
		-e 'BUG .* \((Not tainted|Tainted)' \
		-e 'KASAN:|KFENCE:|UBSAN:|ODEBUG:' \
		-e 'possible (circular|recursive) locking|INFO: possible|inconsistent lock' \
		-e 'suspicious RCU|sleeping function|scheduling while atomic|held lock' \
		-e 'rcu: INFO|INFO: task .* blocked|soft lockup|hard LOCKUP|unregister_netdevice' \
		-e '(list_add|list_del) corruption|refcount_t:|bad: scheduling' \
		-e 'Bad page|pagealloc: ' \
		-e 'kmemleak: .*(new suspected|disabled)' \
		"$1" | grep -v 'BUG: KCSAN: data-race'
	unexpected_faults "$1"
	our_races "$1"; } | grep .
}

# "PATCH<tab>FILE" for each of our files that go into the tree, where they stay at the
# same path. The lab itself stays out: it needs the patches, which live here alone.
series_files() (
	cd "$TOP"
	find include mm drivers samples virt Documentation tools \
		-path tools/memfd_ops/lab -prune -o \
		-type f ! -name '*.o' ! -name '*~' ! -name '*.orig' ! -name '*.rej' -print |
		sort | awk -f "$LAB/series.awk" patches/linux-6.12/series -
)

our_files() { series_files | cut -f 2; }

# Our patches, in order.
our_patches() {
	sed -n "s,^[^#[:space:]].*,$TOP/patches/linux-6.12/&,p" \
		"$TOP/patches/linux-6.12/series"
}

# patch_tree PATCH OPTION...: without fuzz, and without files of its own
patch_tree() { patch -d "$TREE" -p1 -F0 -s -f -r - --no-backup-if-mismatch "${@:2}" <"$1"; }

# A mutant is in the tree as long as this is: another script can take it out, if mutants.sh
# has been killed.
MUTANT=$TREE/.mutant.patch

put_mutant_in() {
	cp "$1" "$MUTANT"
	patch_tree "$1" || { rm "$MUTANT"; return 1; }
}

take_mutant_out() {
	[ -e "$MUTANT" ] || return 0
	patch_tree "$MUTANT" -R
	rm "$MUTANT"
}

# The objects in which make coverage counts: those of our files, and of those that our patches
# change, without the tests and the floor of make bench.
counted_objects() {
	sed -n 's,^+++ b/\(.*\)\.c$,\1.o,p' "$TREE/.memfd_ops.patch" |
		grep -E '^(arch|drivers|kernel|mm|samples|virt)/' |
		grep -vE "$not_counted"
}
not_counted='/tests/|vfio_memfd_test\.|iommufd/selftest\.|iommu/memfd/bench\.'

# kmake KIND TARGET...: the kernel's make, for that kernel. Times and names that change
# from build to build stay out of the objects, so that ccache finds them again.
kmake() {
	local kind=$1

	shift
	# An expression, which kbuild evaluates for each object
	[ "$kind" != coverage ] || set -- "$@" "GCOV_PROFILE=\$(if \$(filter \
		\$(abspath \$@),\$(abspath $(counted_objects | tr '\n' ' '))),y)"
	PATH=/usr/lib/ccache:$PATH CCACHE_BASEDIR=$TOP \
	KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab \
		make -C "$TREE" O="$OUT/$kind" ARCH=x86_64 -j"$JOBS" "$@"
}
