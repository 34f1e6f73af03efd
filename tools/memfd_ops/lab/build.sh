#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh demo|check|kcsan|coverage|off|regress|l2: build the tree, that kernel and its
# initramfs. check and kcsan are the debug kernels, each with its sanitizer; coverage is check,
# and counts how often our lines run; off is demo without CONFIG_MEMFD_OPS, for make bench.
# regress has none of our programs, and with LAB_BASE=1 none of our files and patches either.
# l2 is for the guest's guest of make vmm.
# build.sh mutant: after check, a faster debug kernel, and initramfs without kselftests for
# both. build.sh bare KIND: that kernel and initramfs alone, of the tree as it is.
# build.sh lint: prepare the tree to compile our files alone.

. "$(dirname "$0")/lib.sh"

kind=${2:-$1}
kout=$OUT/$kind
root=$OUT/$kind-root

unpack() {
	local tmp=$TREE.tmp

	rm -rf "$tmp"
	mkdir -p "$tmp"
	tar -xf /usr/src/linux-source-6.12.tar.xz -C "$tmp" --strip-components=1
	mv "$tmp" "$TREE"
}

# Again if a fragment or any Kconfig file of the tree is newer than the result. Not by
# merge_config.sh: it runs make without kmake's environment, and only prints the options
# that have no effect, so that it would replace the "cat" below and nothing else.
configure() {
	local fragments=("$LAB/demo.config") config=$kout/.config refused

	case $kind in
	check|coverage)
		fragments+=("$LAB/check.config" "$LAB/locks.config" "$LAB/kasan.config") ;;
	kcsan)	fragments+=("$LAB/check.config" "$LAB/locks.config" "$LAB/kcsan.config") ;;
	mutant)	fragments+=("$LAB/check.config" "$LAB/mutant.config") ;;
	lint|regress) fragments+=("$LAB/$kind.config") ;;
	l2)	fragments=("$LAB/l2.config") ;;
	esac
	[ "$kind" != coverage ] || fragments+=("$LAB/coverage.config")
	if [ -f "$config" ] && [ -z "$(find "${fragments[@]}" "$TREE" -newer "$config" \
			\( -name 'Kconfig*' -o -name '*.config' \) -print -quit)" ]; then
		return
	fi
	mkdir -p "$kout"
	cat "${fragments[@]}" >"$kout/lab.config"
	if [ "$kind" = off ] || [ -n "${LAB_BASE:-}" ]; then
		sed -i '/^# Ours$/,/^$/d' "$kout/lab.config"
	fi
	[ -z "${LAB_BASE:-}" ] || sed -i '/^CONFIG_IOMMU_MEMFD_BENCH=/d' "$kout/lab.config"
	phase "$kind-config" kmake "$kind" KCONFIG_ALLCONFIG=lab.config allnoconfig
	refused=$(grep '^CONFIG_' "$kout/lab.config" | grep -vxFf "$config" || true)
	if [ -n "$refused" ]; then
		rm "$config"
		say "$refused"
		die "these lines of ${fragments[*]} have no effect in $TREE"
	fi
}

# Static programs for the guest, with the headers of our tree.
user_programs() {
	local headers="-isystem $kout/usr/include"

	kmake "$kind" headers
	mkdir -p "$OUT/user/selftests"
	make -C "$TREE/tools/memfd_ops" -j"$JOBS" OUTPUT="$OUT/user" \
		KHDR_INCLUDES="$headers" LDFLAGS="-static -s"
	make -C "$TREE/tools/testing/selftests/memfd_ops" -j"$JOBS" \
		OUTPUT="$OUT/user/selftests" KHDR_INCLUDES="$headers" USERLDFLAGS="-static -s" \
		INSTALL_PATH="$root/selftests" install
	make -s -C "$TREE/tools/testing/selftests/memfd_ops" OUTPUT="$OUT/user/selftests" \
		COLLECTION=memfd_ops emit_tests |
		sed -n 's/^memfd_ops://p' >"$root/selftests/list"
}

# Linux's own KVM selftests of guest_memfd: unchanged, and once more with a memfd in place
# of each guest_memfd. That of memslots adds 32764 of them, which takes this kernel more than
# seven minutes: make regress runs it.
kvm_selftests() {
	local headers="-isystem $kout/usr/include" out=$OUT/user/kvm test
	local tests=(guest_memfd_test pre_fault_memory_test
		x86_64/private_mem_conversions_test x86_64/private_mem_kvm_exits_test)
	local memfd_tests=(pre_fault_memory_test
		x86_64/private_mem_conversions_test x86_64/private_mem_kvm_exits_test)

	mkdir -p "$out/memfd" "$root/linux-selftests/kvm"
	make -C "$TREE/tools/testing/selftests/kvm" -j"$JOBS" OUTPUT="$out" TMPOUT="$out/tmp" \
		KHDR_INCLUDES="$headers" USERLDFLAGS="-static -s" "${tests[@]/#/$out/}"
	for test in "${memfd_tests[@]}"; do
		gcc -D_GNU_SOURCE -O2 -g -Wall -isystem "$kout/usr/include" \
			-static -pthread -no-pie -Wl,--wrap=ioctl \
			-o "$out/memfd/$(basename "$test")" "$LAB/memfd-for-guest-memfd.c" \
			"$out/$test.o" "$out"/lib/*.o "$out"/lib/x86_64/*.o
	done
	cp -r "${tests[@]/#/$out/}" "$out/memfd" "$root/linux-selftests/kvm"
	mkdir -p "$root/lab"
	gcc -O2 -g -Wall -Wextra -isystem "$kout/usr/include" -static \
		-o "$root/lab/keep-vm" "$LAB/keep-vm.c"
	cat >"$root/linux-selftests/list" <<-'END'
		kvm/guest_memfd_test
		kvm/pre_fault_memory_test
		kvm/private_mem_conversions_test
		kvm/private_mem_conversions_test -n 2 -m 2
		kvm/private_mem_kvm_exits_test
		kvm/memfd/pre_fault_memory_test
		kvm/memfd/private_mem_conversions_test
		kvm/memfd/private_mem_conversions_test -n 2 -m 2
		kvm/memfd/private_mem_kvm_exits_test
	END
}

# mend_selftests DIR PART...: copy those parts of the tree, which its own selftests need,
# and mend them.
mend_selftests() {
	local mends=$LAB/regress-selftests.patch dir=$1

	shift
	rm -rf "$dir"
	mkdir -p "$dir"
	(cd "$TREE" && cp -a --parents -t "$dir" tools/testing/selftests \
		scripts/subarch.include drivers/iommu/iommufd/iommufd_test.h "$@")
	patch -d "$dir" -p1 -F0 <"$mends"
	touch "$dir/mended"
}

# build_selftests DIR SUITE...: those of the mended tree, static, in $OUT/selftests
build_selftests() {
	local headers="-isystem $kout/usr/include" mended=$1 suite

	shift
	kmake "$kind" headers
	for suite; do
		mkdir -p "$OUT/selftests.build/$suite"
		PATH=/usr/lib/ccache:$PATH CCACHE_BASEDIR=$TOP \
			make -C "$mended/tools/testing/selftests/$suite" -j"$JOBS" \
			OUTPUT="$OUT/selftests.build/$suite" KHDR_INCLUDES="$headers" \
			USERLDFLAGS=-static INSTALL_PATH="$OUT/selftests/$suite" install
	done
}

# The selftests that make regress runs, and Debian's stress-ng with its libraries
base_selftests() {
	local mended=$OUT/mended suites

	[ "$mended/mended" -nt "$LAB/regress-selftests.patch" ] ||
		mend_selftests "$mended" tools include/vdso mm/gup_test.h lib/test_hmm_uapi.h
	mapfile -t suites < <(sed -n 's/^\([a-z][^ ]*\) .*/\1/p' "$LAB/regress.tests" |
		sort -u | grep -vx stress-ng)
	build_selftests "$mended" "${suites[@]}"
	mkdir -p "$OUT/selftests/stress-ng"
	cp "$(command -v stress-ng)" "$OUT/selftests/stress-ng"
	ldd "$OUT/selftests/stress-ng/stress-ng" | grep -o '/[^ ]*' |
		xargs cp -Lt "$OUT/selftests/stress-ng"
}

# iommufd's own selftests, with our cases; in the initramfs these alone
iommufd_selftests() {
	mend_selftests "$OUT/mended"
	build_selftests "$OUT/mended" iommu
	is_debug_kernel "$kind" || return 0
	mkdir -p "$root/linux-selftests"
	cp -r "$OUT/selftests/iommu" "$root/linux-selftests"
	cat >>"$root/linux-selftests/list" <<-'END'
		iommu/iommufd -v one_domain_follow -v two_domains_follow
		iommu/iommufd_fail_nth -t follow_domain -t follow_two_domains
	END
}

initramfs() {
	local applet

	mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,lab,root,tmp,proc,sys,dev}
	for applet in $(busybox --list-full); do
		ln -s /bin/busybox "$root/$applet"
	done
	# The list of applets has busybox itself too.
	cp --remove-destination /bin/busybox "$root/bin"
	echo 'root::0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root::0:' >"$root/etc/group"
	case $kind in
	l2)	cp "$LAB/guest/l2-init" "$root/init" ;;
	regress) ;;
	*)	cp "$OUT"/user/memfd-ops-* "$root/usr/bin" ;;
	esac
	pack initrd
}

# pack NAME FIND-OPTION...: an initramfs from the root directory, with the modules as they
# are now
pack() {
	local name=$1

	shift
	[ "$kind" = l2 ] || kmake "$kind" modules_install INSTALL_MOD_PATH="$root"
	(cd "$root" && find . "$@" -print | cpio -o -H newc -R 0:0 --quiet) >"$kout/$name.tmp"
	mv "$kout/$name.tmp" "$kout/$name"
}

# The kernel; and if a module is new, the initramfs, to which boot.sh adds kselftests
bare() {
	[ -d "$root" ] || cp -a "$OUT/check-root" "$root"
	kmake "$kind" bzImage modules
	if [ ! -e "$kout/initrd.bare" ] ||
	   [ -n "$(find "$kout" -name '*.ko' -newer "$kout/initrd.bare" -print -quit)" ]; then
		pack initrd.bare -path './*selftests/*' -prune -o
	fi
}

lock
if [ "$1" = bare ]; then
	bare
	exit
fi
[ -n "${KDIR:-}" ] || [ -d "$TREE" ] || phase extract unpack
[ -n "${LAB_BASE:-}" ] || "$LAB/apply.sh"
configure
if [ "$kind" = lint ]; then
	phase lint-prepare kmake "$kind" prepare
	exit
fi
if [ "$kind" = mutant ]; then
	rm -rf "$root" "$OUT"/{check,mutant}/initrd.bare
	phase mutant-kernel bare
	exit
fi
targets=(bzImage modules)
[ "$kind" != l2 ] || targets=(bzImage)
phase "$kind-kernel" kmake "$kind" "${targets[@]}"
rm -rf "$root"
[[ $kind = regress || $kind = l2 ]] || phase "$kind-programs" user_programs
[ -z "${LAB_BASE:-}" ] || phase "$kind-selftests" base_selftests
! is_debug_kernel "$kind" || phase "$kind-kvm-selftests" kvm_selftests
case ${LAB_BASE:+base-}$kind in
regress|check|kcsan|coverage) phase "$kind-iommufd-selftests" iommufd_selftests ;;
esac
phase "$kind-initramfs" initramfs
