#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# setup.sh [PACKAGE...]: install those of these packages that are missing. By default:
# the packages that building and booting kernels takes.

. "$(dirname "$0")/lib.sh"

packages=(
	linux-source-6.12			# the base
	build-essential bc bison flex libelf-dev libssl-dev perl python3
	kmod git rsync patch xz-utils cpio	# the tree and the initramfs
	busybox-static				# the guest's user space
	qemu-system-x86				# the machine
	ccache					# makes a second build fast
	sparse shellcheck			# make lint
)

if [ $# -gt 0 ]; then
	packages=("$@")
elif [ "$(uname -m)" != x86_64 ]; then
	die "the lab builds and boots x86_64 kernels, on x86_64 alone"
fi
command -v dpkg-query >/dev/null ||
	die "not a Debian system; please install, by Debian's names: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
	# shellcheck disable=SC2016 # dpkg-query's own variable
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || die "neither root nor sudo; please install: ${missing[*]}"
	sudo=(sudo)
	# Ask for the password now: apt-get runs without a terminal.
	sudo -v
fi

lock
say "installing ${missing[*]}"
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q)
phase apt-update "${apt[@]}" update
phase apt-install "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
