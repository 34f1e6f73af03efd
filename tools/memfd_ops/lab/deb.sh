#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# deb.sh: build Debian packages in build/deb/: the kernel with the configuration in the file
# CONFIG=, or with that of the demo; and memfd-ops, with the programs of tools/memfd_ops/
# and the user-space headers that our patches change. Then install and boot them.

. "$(dirname "$0")/lib.sh"

# As deep as the other kernels, so that ccache finds their objects.
kind="deb-kernel"
debs=$OUT/deb
root=$OUT/deb-root
boot=$OUT/deb-boot

configure() {
	mkdir -p "$OUT/$kind"
	if [ -n "${CONFIG:-}" ]; then
		cp "$CONFIG" "$OUT/$kind/.config"
		kmake "$kind" olddefconfig
	else
		cp "$LAB/demo.config" "$OUT/$kind/lab.config"
		kmake "$kind" KCONFIG_ALLCONFIG=lab.config allnoconfig
	fi
	grep -qx CONFIG_MEMFD_OPS=y "$OUT/$kind/.config" || die "it lacks CONFIG_MEMFD_OPS=y"
}

# bindeb-pkg leaves its packages in the parent directory.
kernel_packages() {
	kmake "$kind" LOCALVERSION=-memfd-ops KDEB_PKGVERSION="$version" \
		KDEB_COMPRESS=gzip bindeb-pkg
	rm -rf "$debs"
	mkdir -p "$debs"
	mv "$OUT"/linux-*_"$version"_* "$debs"
}

tools_package() {
	local dir=$OUT/deb-tools headers="-isystem $OUT/$kind/usr/include" file

	rm -rf "$dir"
	mkdir -p "$dir"/{DEBIAN,usr/bin,usr/include/memfd-ops/linux,usr/share/doc/memfd-ops}
	kmake "$kind" headers
	make -C "$TREE/tools/memfd_ops" OUTPUT="$dir/usr/bin" KHDR_INCLUDES="$headers" \
		LDFLAGS='-static -s'
	for file in $(our_patches | xargs sed -n 's,^+++ b/include/uapi/,,p'); do
		cp "$OUT/$kind/usr/include/$file" "$dir/usr/include/memfd-ops/$file"
	done
	cp "$TOP/COPYING" "$dir/usr/share/doc/memfd-ops/copyright"
	cat >"$dir/DEBIAN/control" <<-END
		Package: memfd-ops
		Version: $version
		Architecture: $(dpkg --print-architecture)
		Section: kernel
		Priority: optional
		Maintainer: $(sed -n 's/^M:\t//p' "$TOP/MAINTAINERS" | head -n 1)
		Description: programs for kernels whose devices and guests follow memfds
		 memfd-ops-show, which draws the files and the pages that each device and
		 guest has mapped; a demonstration, a user-space NVMe driver and a
		 benchmark; and in /usr/include/memfd-ops the headers for VFIO, iommufd and
		 KVM.
	END
	dpkg-deb --root-owner-group --build "$dir" "$debs"
}

# An initramfs of the packages, and of busybox. Installation with dpkg would need root.
install_packages() {
	local deb applet

	rm -rf "$root" "$boot"
	mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,lab,root,tmp,proc,sys,dev} \
		"$boot/arch/x86/boot"
	for deb in "$debs"/linux-image-*.deb "$debs"/memfd-ops_*.deb; do
		dpkg -x "$deb" "$root"
	done
	for applet in $(busybox --list-full); do
		[ -e "$root/$applet" ] || ln -s /bin/busybox "$root/$applet"
	done
	cp --remove-destination /bin/busybox "$root/bin"
	depmod -b "$root" "$(basename "$root"/lib/modules/*)"
	mv "$root"/boot/vmlinuz-* "$boot/arch/x86/boot/bzImage"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$boot/initrd"
}

"$LAB/setup.sh"
"$LAB/setup.sh" debhelper fakeroot
"$LAB/build.sh" lint
lock
phase deb-config configure
version=$(kmake "$kind" -s kernelversion)-1
phase deb-kernel kernel_packages
phase deb-tools tools_package
phase deb-install install_packages

# The demonstration needs the sample driver.
script=(command 'uname -r && cat /sys/kernel/debug/memfd_ops')
! grep -q '^CONFIG_SAMPLE_VFIO_MDEV_MDMA=' "$OUT/$kind/.config" || script=(demo)
log=$LOGS/deb-console.log
"$LAB/boot.sh" deb-boot "$log" 600 "${script[@]}" ||
	die "the guest failed ($?); the kernel's log: $log"
! complaints "$log" >&2 || die "the kernel complained; its log: $log"
ls "$debs"/*.deb
echo 'deb: PASS'
