#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# vmm.sh: boot the demo kernel, and in it a guest of QEMU with a device and a balloon: with
# QEMU as Debian has it, with our patches, and with a fault. QEMU= is the version, T= selects
# cases of guest/vmm.sh.

. "$(dirname "$0")/lib.sh"

"$LAB/setup.sh"
"$LAB/setup.sh" ninja-build pkg-config libglib2.0-dev libpixman-1-dev zlib1g-dev libfdt-dev \
	dpkg-dev python3-venv seabios
"$LAB/build.sh" demo
"$LAB/build.sh" l2
"$LAB/qemu.sh"

l2=$TOP/build/vmm/${QEMU:-7.2}/l2
cp "$OUT/l2/arch/x86/boot/bzImage" "$OUT/l2/initrd" "$l2"
for firmware in bios-256k.bin linuxboot_dma.bin kvmvapic.bin; do
	cp "$(qemu-system-x86_64 -L help | sed "s,\$,/$firmware," | xargs ls 2>/dev/null |
		head -n 1)" "$l2"
done

for program in memlock cputime; do
	gcc -O2 -Wall -Wextra -static -o "$l2/$program" "$LAB/$program.c"
done

read -ra cases <<<"${T:-}"
log=$LOGS/vmm-console.log
MEM=${MEM:-3G} FILES=$(printf '%q' "$l2") \
	"$LAB/boot.sh" demo "$log" 1800 vmm "${cases[@]}" ||
	die "it failed ($?); the kernel's log: $log"
! complaints "$log" >&2 || die "the kernel complained; its log: $log"
echo 'vmm: PASS'
