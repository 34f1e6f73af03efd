#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qemu.sh: fetch the source of Debian's QEMU, and build it in build/vmm three times, for
# make vmm: as it is, with our patches, and with these but without filling at deflate.

. "$(dirname "$0")/lib.sh"

vmm=$TOP/build/vmm
source=$vmm/qemu
build=$vmm/qemu-build

# All that the machine's apt has sources of, as deb-src, with lists and a cache of its own.
private_apt() {
	local file

	rm -rf "$vmm/apt"
	mkdir -p "$vmm/apt"/{parts,lists/partial,cache/archives/partial}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		[ -f "$file" ] || continue
		case $file in
		*.list)	sed -n -E 's/^deb[[:space:]]/deb-src /p' "$file" ;;
		*.sources) sed -E 's/^Types:.*/Types: deb-src/I' "$file" ;;
		*) continue ;;
		esac >"$vmm/apt/parts/$(basename "$file")"
	done
	cat >"$vmm/apt/apt.conf" <<-END
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$vmm/apt/parts";
		Dir::State::Lists "$vmm/apt/lists";
		Dir::Cache "$vmm/apt/cache";
		APT::Sandbox::User "$(id -un)";
	END
}

# The newest version in these sources that we have patches for
known_version() {
	local version

	for version in $(apt-cache showsrc qemu | sed -n 's/^Version: //p' | sort -rV); do
		if [[ $version =~ ^[0-9]*:([0-9]+\.[0-9]+) ]] &&
		   [ -d "$TOP/patches/qemu-${BASH_REMATCH[1]}" ]; then
			echo "$version"
			return
		fi
	done
	echo "no $(cd "$TOP/patches" && ls -d qemu-*) in apt's sources" >&2
	return 1
}

fetch() {
	local version

	export APT_CONFIG=$vmm/apt/apt.conf

	private_apt
	# Sources of others may have no deb-src.
	apt-get -q update || true
	rm -rf "$source" "$source.tmp" "$build" "$vmm"/qemu_*
	cd "$vmm"
	version=$(known_version)
	apt-get -q source --download-only "qemu=$version"
	dpkg-source -x qemu_*.dsc "$source.tmp"
	cd "$source.tmp"
	git init -q
	git add -A -f
	git -c user.name=lab -c user.email=lab@localhost commit -q -m "Debian's"
	mv "$source.tmp" "$source"
}

# One machine, the devices that the tests have, and what these need.
configure() {
	mkdir -p "$build"
	printf 'CONFIG_%s=y\n' Q35 VFIO VFIO_PCI VIRTIO_PCI VIRTIO_BALLOON VIRTIO_MEM VTD \
		PCIE_PORT >"$source/configs/devices/x86_64-softmmu/lab.mak"
	cd "$build"
	"$source/configure" --static --target-list=x86_64-softmmu --with-devices-x86_64=lab \
		--without-default-features --without-default-devices --enable-system \
		--enable-kvm --disable-tcg --disable-pie --disable-debug-info
}

# compile NAME PATCH...: bring the source to that state, and build it as qemu-NAME. Files
# that stay the same keep their times, and so their objects.
compile() {
	local name=$1

	shift
	cd "$source"
	git read-tree HEAD
	[ $# -eq 0 ] || git apply --cached "$@"
	git diff-files -p -R | git apply --allow-empty
	ninja -C "$build" -j"${J:-$(nproc)}" qemu-system-x86_64
	cp "$build/qemu-system-x86_64" "$vmm/l2/qemu-$name"
}

lock
mkdir -p "$vmm/l2"
export PATH=/usr/lib/ccache:$PATH CCACHE_BASEDIR=$TOP
export NINJA_STATUS='  CC [%f/%t] '	# so that phase counts its lines
[ -d "$source" ] || phase qemu-source fetch
patches=$TOP/patches/qemu-$(cut -d . -f 1-2 "$source/VERSION")
[ -f "$build/build.ninja" ] || phase qemu-configure configure
mapfile -t series < <(sed -n "s,^[^#[:space:]].*,$patches/&,p" "$patches/series")
stamp=$(cat "$LAB/qemu.sh" "${series[@]}" "$LAB/qemu-unfilled.patch" | cksum)
[ "$stamp" != "$(cat "$vmm/built" 2>/dev/null)" ] || exit 0
phase qemu-as-is compile as-is
phase qemu-patched compile patched "${series[@]}"
phase qemu-unfilled compile unfilled "${series[@]}" "$LAB/qemu-unfilled.patch"
echo "$stamp" >"$vmm/built"
