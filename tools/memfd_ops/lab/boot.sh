#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# boot.sh KIND LOG SECONDS SCRIPT [ARGUMENT...]: boot that kernel and run guest/SCRIPT.sh
# in the guest's /root, which has the files that FILES= names. Prints the script's output
# and ends with its exit status, or with 125 if the guest does not end within that time.
# The kernel's log goes to LOG. The script "shell" is interactive. PROGRAMS=: the guest has
# only these of the kselftests. KUNIT=: run only these suites, a pattern as glob_match()
# has it. COVERAGE=: tests.sh writes an archive of gcov's files to this file.

. "$(dirname "$0")/lib.sh"

kind=$1
log=$2
seconds=${TIMEOUT:-$3}
shift 3

work=$(mktemp -d "$OUT/boot.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/add/lab" "$work/add/root"

# FILES is a list of shell words, so that any path can be written.
files=()
eval "files+=(${FILES:-})"
for file in "${files[@]}"; do
	name=$(basename "$file")
	[ ! -e "$work/add/root/$name" ] || die "FILES: two are called $name"
	cp -a "$file" "$work/add/root/"
done

[ -f "$LAB/guest/$1.sh" ] || die "$LAB/guest/ has no $1.sh"
cp "$LAB"/guest/*.sh "$work/add/lab"
cp "$LAB/guest/init" "$work/add/init"
echo "set -- ${*@Q}" >"$work/add/lab/arguments"
[ "$1" != shell ] || say "leave with exit; the kernel's log: dmesg, or $work/console"

# The kernel unpacks archives that follow each other.
if [ -n "${PROGRAMS+set}" ]; then
	mkdir -p "$work/add/selftests"
	for program in settings $PROGRAMS; do
		cp "$OUT/check-root/selftests/$program" "$work/add/selftests"
	done
	cp "$OUT/$kind/initrd.bare" "$work/initrd"
else
	cp "$OUT/$kind/initrd" "$work/initrd"
fi
(cd "$work/add" && find . | cpio -o -H newc -R 0:0 --quiet) >>"$work/initrd"

# mttcg has a thread for each CPU, and real concurrency. But QEMU 7.2 then sometimes runs
# a half-written text patch, or walks a host address through a guest's nested page tables.
# Consumers and VMs patch code, the first and the last: keep-vm.c avoids that.
cpus=(-smp 2 -cpu max)
last_cpu=1
case ${ACCEL:=tcg} in
tcg)	accel=tcg,thread=single ;;
mttcg)	accel=tcg,thread=multi ;;
icount)	accel=tcg,thread=single
	# The clock counts instructions, in ns, and skips idle time. Date and random
	# numbers are the same in each boot. Each element that a string instruction moves
	# counts: without erms and fsrm the kernel moves words rather than bytes.
	cpus=(-smp 1 -cpu "max,erms=off,fsrm=off" -icount "shift=0,sleep=off"
		-rtc "base=2024-01-01,clock=vm" -seed 1)
	last_cpu=0 ;;
kvm)	accel=kvm ;;
*) die "ACCEL=$ACCEL: tcg, mttcg, icount or kvm" ;;
esac
# With two CPUs under TCG, a guest of the guest hangs now and then as it probes its devices.
[ "$1" != vmm ] || cpus[1]=1

# The disk of an NVMe controller, for memfd-ops-nvme: the kernel has no driver for it.
truncate -s 96M "$work/disk" ${COVERAGE:+"$COVERAGE"}

# Do not let the kernel test its timer interrupts: on a busy machine they come late. Have
# the initramfs unpacked before KUnit runs: the first consumer patches code which that uses.
append="no_timer_check initramfs_async=0 "
# The KUnit suites run at boot, and tests.sh prints their results for the part "plain".
[ "$1 ${2:-}" = "tests plain" ] || append+="kunit.enable=0 "
[ -z "${KUNIT:-}" ] || append+="kunit.filter_glob=$KUNIT "
memory=(-m "${MEM:=2G}")
case $kind in
check|kcsan|mutant|coverage)
	# For the tests of migration, and of pages that must not be pinned: memory in
	# ZONE_MOVABLE, and a second node without CPUs, part of which is CMA. The page
	# allocator poisons free pages, and checks the poison before it hands them out.
	append+="movablecore=768M numa_cma=1:128M "
	# To poison all memory takes most of the time in which the kernel of mutants boots.
	[[ $kind = @(mutant|coverage) ]] || append+="page_poison=1 "
	# A mutant that has been noticed may go on in a loop: end with a bad page, or a WARN.
	[ "$kind" != mutant ] || append+="panic_on_taint=0x220 "
	# make check runs the same tests with these checkers.
	[ "$kind" != coverage ] || append+="lockdep.prove_locking=0 no_debug_objects "
	second=$((512 << 20))
	first=$(($(numfmt --from=iec "$MEM") - second))
	memory+=(-object "memory-backend-ram,id=node0,size=$first"
		-object "memory-backend-ram,id=node1,size=$second"
		-numa "node,memdev=node0,cpus=0-$last_cpu" -numa "node,memdev=node1") ;;
regress) # Nodes to migrate between; disks for swap and for filesystems.
	append+="numa=fake=2 ramdisk_size=262144 " ;;
esac

# The IOMMU precedes the devices whose DMA it translates.
case ${IOMMU:=intel} in
intel)	machine=q35,kernel-irqchip=split
	iommu=(-device 'intel-iommu,intremap=on,aw-bits=48') ;;
virtio)	machine=q35
	iommu=(-device virtio-iommu-pci)
	# VFIO and iommufd require interrupt remapping, which it lacks.
	append+="vfio_iommu_type1.allow_unsafe_interrupts=1"
	append+=" iommufd.allow_unsafe_interrupts=1" ;;
amd)	machine=q35,kernel-irqchip=split
	iommu=(-device 'amd-iommu,intremap=on') ;;
none)	machine=q35
	iommu=() ;;
*) die "IOMMU=$IOMMU: intel, virtio, amd or none" ;;
esac

qemu=(timeout --foreground -k 5 "$seconds"
	qemu-system-x86_64 -accel "$accel" -machine "$machine"
	"${cpus[@]}" "${memory[@]}" -nodefaults -display none -no-reboot
	${QEMU_PLUGIN:+-plugin "$QEMU_PLUGIN"}
	"${iommu[@]}" -device "edu,dma_mask=0xffffffffffffffff"
	-drive "file=$work/disk,if=none,id=disk,format=raw"
	-device "nvme,drive=disk,serial=memfd-ops"
	${COVERAGE:+-drive "file=$COVERAGE,if=virtio,format=raw"}
	-kernel "$OUT/$kind/arch/x86/boot/bzImage" -initrd "$work/initrd"
	-append "console=ttyS0 ignore_loglevel printk.devkmsg=on panic=-1 oops=panic $append"
	-chardev "stdio,id=terminal,signal=off"
	-serial "file:$work/console" -serial chardev:terminal)

status=0
if [ "$1" != shell ]; then
	# QEMU makes its standard output non-blocking: give it a pipe of its own.
	"${qemu[@]}" </dev/null 2>"$work/qemu" | cat || status=${PIPESTATUS[0]}
else
	"${qemu[@]}" 2>"$work/qemu" || status=$?
fi
touch "$work/console"
sed 's/\r$//' "$work/console" >"$log"
# The emulated IOMMU reports faults of its own here.
sed 's/^/qemu: /' "$work/qemu" >>"$log"

exit_status=$(sed -n 's/.*lab: exit status \([0-9]*\)$/\1/p' "$log" | tail -n 1)
if [ -z "$exit_status" ]; then
	tail -n 20 "$log" >&2
	[ "$status" -le 128 ] || say "QEMU was killed, status $status"
	[ "$status" -ne 124 ] || say "the guest was stopped after $seconds s"
	say "the guest did not reach its end; the kernel's log: $log"
	exit 125
fi
exit "$exit_status"
