#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qemu.sh: fetch the source of Debian's QEMU, in the version QEMU=, and build it in
# build/vmm three times, for make vmm: as it is, with our patches, and with these but
# without filling at deflate.
# qemu.sh checkpatch: run QEMU's own checkpatch over these patches.

. "$(dirname "$0")/lib.sh"

# The release of Debian that has it
case ${QEMU:=7.2} in
7.2)	suite=bookworm ;;
10.0)	suite=trixie ;;
*) die "QEMU=$QEMU: 7.2 or 10.0" ;;
esac

patches=$TOP/patches/qemu-$QEMU
vmm=$TOP/build/vmm/$QEMU
source=$vmm/qemu
build=$vmm/qemu-build

# All that the machine's apt has sources of, for that release, with lists and a cache of its
# own.
private_apt() {
	local file release="s/\\b(bookworm|trixie)\\b/$suite/"

	rm -rf "$vmm/apt"
	mkdir -p "$vmm/apt"/{parts,lists/partial,cache/archives/partial}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		[ -f "$file" ] || continue
		case $file in
		*.list)	sed -n -E "$release; s/^deb([[:space:]].*)/&\ndeb-src\1/p" "$file" ;;
		*.sources) sed -E "$release; s/^Types:.*/Types: deb deb-src/I" "$file" ;;
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

# The newest of these sources' versions
newest_version() {
	apt-cache showsrc qemu | sed -n "s/^Version: \([0-9]*:${QEMU}[.+]\)/\1/p" | sort -V |
		tail -n 1 | grep . || die "no QEMU $QEMU in apt's sources"
}

fetch() {
	local version

	export APT_CONFIG=$vmm/apt/apt.conf

	mkdir -p "$vmm"
	private_apt
	# Sources of others may have no deb-src, or not that release.
	apt-get -q update || true
	rm -rf "$source" "$source.tmp" "$build" "$vmm/meson" "$vmm"/{qemu,meson}_*
	cd "$vmm"
	version=$(newest_version)
	apt-get -q source --download-only "qemu=$version"
	# QEMU 10.0 needs a later one than Debian 12 has.
	apt-get -q download meson
	dpkg-deb -x meson_*.deb meson
	dpkg-source -x qemu_*.dsc "$source.tmp"
	cd "$source.tmp"
	git init -q
	git add -A -f
	git -c gc.auto=0 -c user.name=lab -c user.email=lab@localhost commit -q -m "Debian's"
	mv "$source.tmp" "$source"
}

# One machine, the devices that the tests have, and what these need.
configure() {
	local devices=(Q35 VFIO VFIO_PCI VIRTIO_PCI VIRTIO_BALLOON VIRTIO_MEM VTD PCIE_PORT)

	[ "$QEMU" = 7.2 ] || devices+=(IOMMUFD)
	mkdir -p "$build"
	printf 'CONFIG_%s=y\n' "${devices[@]}" \
		>"$source/configs/devices/x86_64-softmmu/lab.mak"
	cd "$build"
	"$source/configure" --static --target-list=x86_64-softmmu --with-devices-x86_64=lab \
		--without-default-features --without-default-devices --enable-system \
		--enable-kvm --disable-tcg --disable-pie --disable-debug-info \
		--disable-install-blobs
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
	ninja -C "$build" -j"$JOBS" qemu-system-x86_64
	cp "$build/qemu-system-x86_64" "$vmm/l2/qemu-$name"
}

lock
mkdir -p "$vmm/l2"
export PATH=/usr/lib/ccache:$vmm/meson/usr/bin:$PATH CCACHE_BASEDIR=$TOP
export PYTHONPATH=$vmm/meson/usr/lib/python3/dist-packages
export NINJA_STATUS='  CC [%f/%t] '	# so that phase counts its lines
[ -d "$source" ] || phase qemu-source fetch
mapfile -t series < <(sed -n "s,^[^#[:space:]].*,$patches/&,p" "$patches/series")
if [ "${1:-}" = checkpatch ]; then
	# Not over the headers: they come from our kernel, not by update-linux-headers.sh.
	for patch in "${series[@]}"; do
		[[ $patch = */linux-headers.patch ]] ||
			perl "$source/scripts/checkpatch.pl" --no-tree -q "$patch"
	done
	exit
fi
[ -f "$build/build.ninja" ] || phase qemu-configure configure
stamp=$(cat "$LAB/qemu.sh" "${series[@]}" "$LAB/qemu-unfilled.patch" | cksum)
[ "$stamp" != "$(cat "$vmm/built" 2>/dev/null)" ] || exit 0
phase qemu-as-is compile as-is
phase qemu-patched compile patched "${series[@]}"
phase qemu-unfilled compile unfilled "${series[@]}" "$LAB/qemu-unfilled.patch"
echo "$stamp" >"$vmm/built"
