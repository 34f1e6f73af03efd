#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# vmm.sh [CASE...]: the guest of make vmm, L1. It runs L2 in Debian's QEMU as it is, in the
# patched one, and in one that does not fill the pages that leave the balloon, and prints a
# table. The other cases are for the patched one alone. The device is type1's; the cases that
# come after "iommufd" have it by iommufd.

# shellcheck disable=SC2317 # the cases are called by their names
# shellcheck disable=SC2016 # L2 expands it
# shellcheck disable=SC2086 # $native and $options are words

# shellcheck source=guest/l2.sh
. /lab/l2.sh

# KVM checks the TSC's frequency, which TCG does not keep.
echo 100000 >/sys/module/kvm/parameters/tsc_tolerance_ppm
results=/tmp/results
failed=0

yes_or_no() { if "$@"; then echo yes; else echo no; fi; }

# check TEXT VALUE TEST...: print them, and whether the value is as it should be
check() {
	text=$1 value=$2
	shift 2
	if test "$value" "$@"; then
		echo "  $text: $value"
	else
		echo "  $text: $value, WRONG: not $*"
		failed=1
	fi
}

# row NAME LABEL VALUE: in the table, in $column
row() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$results/$column"; }

# print_table COLUMN...
print_table() {
	for column; do
		cut -f 3 "$results/$column" | sed "1i $column" >"$results/values.$column"
		set -- "$@" "$results/values.$column"
		shift
	done
	cut -f 2 "$results/$column" | sed '1i\ ' | paste - "$@" | awk -F '\t' '{
		printf "%-36s", $1; for (i = 2; i <= NF; i++) printf "%16s", $i; print "" }'
}

# Measure the QEMU in $column.
measure() {
	before=$(faults)
	start "qemu-$column" -device virtio-balloon-pci -device "$vfio" || return
	wait_for_l2 && write_disk || return
	row boot 's until L2 is up' "$boot_seconds"
	row up 'file, MiB: L2 is up' "$(file_mib)"
	row up-pinned '  pinned' "$(pinned_mib)"
	balloon 128 || return
	row taken 'file, MiB: the balloon has 384' "$(file_mib)"
	row taken-pinned '  pinned' "$(pinned_mib)"
	row taken-in '  s until then' "$balloon_seconds"
	row taken-reads '  the disk reads as written' "$(yes_or_no read_disk)"
	balloon 512 || return
	row back 'file, MiB: it has given them back' "$(file_mib)"
	row back-pinned '  pinned' "$(pinned_mib)"
	row back-in '  s until then' "$balloon_seconds"
	row back-reads '  the disk reads as written' "$(yes_or_no read_disk)"
	row errors 'errors that L2 saw' "$(io_errors)"
	stop
	row blocked 'accesses that the IOMMU blocked' $(($(faults) - before))
}

# expect COLUMN NAME TEST...: the value of that row must pass it
expect() {
	value=$(awk -F '\t' -v name="$2" '$1 == name { print $3 }' "$results/$1")
	row=$1.$2
	shift 2
	if ! test "$value" "$@"; then
		echo "$row: $value, WRONG: not $*"
		failed=1
	fi
}

balloon_in_three() {
	rm -rf "$results"
	mkdir "$results"
	for column in as-is patched; do
		measure || return
	done
	# for the host, which reads the log
	echo 'memfd_ops test: IOMMU faults are expected' >/dev/kmsg
	column=unfilled
	measure || return
	echo 'memfd_ops test: IOMMU faults from here on are counted' >/dev/kmsg

	print_table as-is patched unfilled

	# As it is, QEMU switches the balloon off, and pins all memory.
	for name in up up-pinned taken taken-pinned back back-pinned; do
		expect as-is $name -ge 512
	done
	# All that the balloon took is gone, and comes back. 5 % may miss.
	for name in up up-pinned back back-pinned; do
		expect patched $name -ge 512
	done
	for name in taken taken-pinned; do
		expect patched $name -le $((128 + 384 / 20))
	done
	for column in as-is patched; do
		expect "$column" taken-reads = yes
		expect "$column" back-reads = yes
		expect "$column" errors -eq 0
		expect "$column" blocked -eq 0
	done
	# The danger: lost data, and no error in L2
	expect unfilled back -lt 512
	expect unfilled back-reads = no
	expect unfilled errors -eq 0
	! reports_faults || expect unfilled blocked -gt 0
}

# The disk, the errors and the faults, at the end of a case
check_disk() {
	check 'the disk reads as written' "$(yes_or_no read_disk)" = yes
	check 'errors that L2 saw' "$(io_errors)" -eq 0
	check 'accesses that the IOMMU blocked' $(($(faults) - before)) -eq 0
}

is_full() { [ "$(file_mib)" -ge 512 ]; }

# A reset while the balloon is inflated: the next kernel does not know of the balloon.
reset() {
	before=$(faults)
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wait_for_l2 && write_disk && balloon 128 || return
	check 'file, MiB, balloon inflated' "$(file_mib)" -le 147
	started=$(now)
	qmp system_reset || return
	# The next kernel inflates it again.
	wait_until is_full
	check 'file, MiB, after a reset' "$(file_mib)" -ge 512
	wait_for_l2 && write_disk && balloon 128 || return
	check 'file, MiB, inflated again' "$(file_mib)" -le 147
	check_disk
	stop
}

# Memory that the device cannot follow is pinned, and the balloon is off.
by_address() {
	before=$(faults)
	start qemu-patched -device virtio-balloon-pci \
		-device "$vfio,x-follow-memfd=off"
	wait_for_l2 && write_disk && balloon 128 || return
	check 'x-follow-memfd=off: file, MiB' "$(file_mib)" -ge 512
	check 'pinned, MiB' "$(pinned_mib)" -ge 512
	balloon 512 || return
	check_disk
	stop

	before=$(faults)
	share=off
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	share=
	wait_for_l2 && write_disk && balloon 128 || return
	check 'share=off: pinned, MiB' "$(pinned_mib)" -ge 512
	balloon 512 || return
	check_disk
	stop
}

# refused OPTION...: QEMU must not start; prints why
refused() {
	start qemu-patched "$@"
	if wait "$pid"; then
		failed=1
		echo '  it starts, WRONG'
	fi
	check 'the reason' "$(grep -c 'free page reporting loses data' "$work/qemu")" -eq 1
}

# Free page reporting: refused, in either order; and with a guest that touches pages first.
reporting() {
	refused -device virtio-balloon-pci,free-page-reporting=on \
		-device "$vfio"
	refused -device "$vfio" \
		-device virtio-balloon-pci,free-page-reporting=on
	sed 's/^/  /' "$work/qemu"
	before=$(faults)
	cmdline=init_on_alloc=1
	start qemu-patched -device "$vfio" -device \
		virtio-balloon-pci,free-page-reporting=on,guest-touches-pages-first=on
	cmdline=
	wait_for_l2 && write_disk || return
	check_disk
	l2 'echo 3 >/proc/sys/vm/drop_caches; sleep 6'
	check 'guest-touches-pages-first: file, MiB, idle' "$(file_mib)" -le 256
	check_disk
	stop
}

# What L2 needs for a virtual IOMMU; $options come before its devices.
with_viommu() {
	machine=kernel-irqchip=split
	cmdline='intel_iommu=on iommu.strict=1'
	options='-device intel-iommu,caching-mode=on,intremap=on,aw-bits=39'
}

without_viommu() {
	machine=
	cmdline=
	options=
}

# With a virtual IOMMU in L2, each page is filled when L2 maps it for the device.
viommu() {
	before=$(faults)
	with_viommu
	start qemu-patched $options -device virtio-balloon-pci,free-page-reporting=on \
		-device "$vfio,id=disk"
	without_viommu
	wait_for_l2 && write_disk || return
	l2 'echo 3 >/proc/sys/vm/drop_caches; sleep 6'
	check 'file, MiB, idle' "$(file_mib)" -le 256
	check 'pinned, MiB' "$(pinned_mib)" -le 64
	check_disk
	qmp qom-get "'path':'/machine/peripheral/disk','property':'x-followed-ranges'"
	echo "  $answer"
	balloon 128 && balloon 512 || return
	check_disk
	stop
}

has_plugged() {
	qmp query-memory-devices || return 2
	case $answer in
	*"\"size\": $(($1 << 20)),"*) ;;
	*) return 1 ;;
	esac
}

# requested MIB: of virtio-mem
requested() {
	qmp qom-set "'path':'/machine/peripheral/vm','property':'requested-size',
		'value':$(($1 << 20))"
	wait_until has_plugged "$1" || give_up "virtio-mem: $answer"
}

# MiB in the memfds of QEMU
all_mib() { memfds | xargs stat -L -c %b | awk '{ n += $1 } END { print n / 2048 }'; }

# virtio-mem: one sparse mapping, blocks that are filled before L2 gets them
virtio_mem() {
	before=$(faults)
	memory=512M,maxmem=1G
	cmdline=memhp_default_state=online_movable
	start qemu-patched -device "$vfio,id=disk" \
		-object memory-backend-memfd,id=more,size=512M,share=on,reserve=off \
		-device virtio-mem-pci,id=vm,memdev=more,requested-size=0
	memory=
	cmdline=
	wait_for_l2 && write_disk || return
	check 'files, MiB' "$(all_mib)" -le 516
	requested 256 || return
	check 'files, MiB, 256 plugged' "$(all_mib)" -ge 768
	check_disk
	qmp qom-get "'path':'/machine/peripheral/disk','property':'x-followed-ranges'"
	echo "  $answer"
	requested 0 || return
	check 'files, MiB, unplugged' "$(all_mib)" -le 516
	check_disk
	stop
}

# Memory that cannot be followed, next to memory that is: its blocks are pinned when they are
# plugged.
other_memory() {
	before=$(faults)
	memory=512M,maxmem=1G
	cmdline=memhp_default_state=online_movable
	start qemu-patched -device "$vfio" \
		-object memory-backend-ram,id=more,size=512M,reserve=off \
		-device virtio-mem-pci,id=vm,memdev=more,requested-size=0
	memory=
	cmdline=
	wait_for_l2 && write_disk || return
	requested 256 || return
	l2 "awk '/^MemTotal/ { print int(\$2 / 1024) }' /proc/meminfo"
	check 'memory that L2 has, MiB' "$(cat "$work/output")" -ge 640
	check_disk
	requested 0 || return
	check_disk
	stop
}

# A device for which there is no room cannot be plugged, and the VM goes on.
no_room() {
	before=$(faults)
	memory=512M,maxmem=1G
	cmdline='memhp_default_state=online_movable pcie_ports=native'
	wrapper="/root/l2/memlock $((640 << 20))"
	start qemu-patched $native \
		-object memory-backend-memfd,id=more,size=512M,share=on,reserve=off \
		-device virtio-mem-pci,id=vm,memdev=more,requested-size=0
	memory=
	cmdline=
	wrapper=
	wait_for_l2 && requested 256 || return
	add_disk && answer=
	echo "  $answer"
	check 'refused for lack of memory' \
		"$(echo "$answer" | grep -c 'Cannot allocate memory')" -eq 1
	check 'consumers in the kernel' "$(consumers)" -eq 0
	/root/l2/memlock $((1 << 30)) "$pid" || return
	plug_disk && write_disk || return
	check_disk
	stop
}

# A DIMM that is plugged has all its pages before L2 learns of it. L2 takes pages of it first.
dimm() {
	before=$(faults)
	memory=512M,slots=1,maxmem=1G
	start qemu-patched -device "$vfio"
	memory=
	wait_for_l2 && write_disk || return
	qmp object-add "'qom-type':'memory-backend-memfd','id':'more',
		'size':$((128 << 20)),'share':true" &&
		qmp device_add "'driver':'pc-dimm','id':'dimm','memdev':'more'" || return
	check 'files, MiB, a DIMM plugged' "$(all_mib)" -ge 640
	l2 'while ! grep -qx online /sys/devices/system/memory/memory32/state; do
		sleep 0.2
	done' || return
	check_disk
	stop
}

consumers() { grep -c ' pages \[' /sys/kernel/debug/memfd_ops; }

has_no_consumers() { [ "$(consumers)" -eq 0 ]; }

add_disk() {
	ask device_add "'driver':'vfio-pci','host':'$nvme','bus':'root','id':'disk'
		${iommufd:+,'iommufd':'iommufd0'}"
}

plug_disk() {
	add_disk || give_up "the device is not plugged: $answer" || return
	l2 'while ! [ -b /dev/nvme0n1 ]; do sleep 0.2; done'
}

unplug_disk() {
	qmp device_del "'id':'disk'" || return
	l2 'while [ -b /dev/nvme0n1 ]; do sleep 0.2; done'
	# QEMU lets the device go when L2 has switched off its slot, some time after its driver.
	wait_until has_no_consumers
	check 'device unplugged: consumers in the kernel' "$(consumers)" -eq 0
}

# QEMU's options for native hot-plug, with pcie_ports=native in L2
native='-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
	-device pcie-root-port,id=root,slot=1'

# The device comes while the balloon is inflated, goes, comes again, and QEMU is killed.
hotplug() {
	before=$(faults)
	cmdline=pcie_ports=native
	start qemu-patched $native -device virtio-balloon-pci
	cmdline=
	wait_for_l2 && balloon 128 || return
	check 'file, MiB, no device, balloon inflated' "$(file_mib)" -le 147
	plug_disk || return
	check 'file, MiB, device plugged' "$(file_mib)" -ge 512
	write_disk && balloon 512 && balloon 128 || return
	check 'file, MiB, balloon inflated' "$(file_mib)" -le 147
	check_disk
	unplug_disk && plug_disk || return
	check 'plugged again: consumers in the kernel' "$(consumers)" -gt 0
	kill -KILL "$pid"
	wait "$pid"
	wait_until has_no_consumers
	check 'killed: consumers in the kernel' "$(consumers)" -eq 0
}

# L2 uses its disk without end, until there is a file "enough": two readers, and a writer of
# the space that they leave.
workers() {
	l2 'for reader in 1 2; do
		while ! [ -e enough ]; do
			echo 1 >/proc/sys/vm/drop_caches
			dd if=/dev/nvme0n1 bs=1M count=16 2>/dev/null |
				md5sum | cmp -s - want && echo right || echo wrong
		done >worker.$reader &
	done
	while ! [ -e enough ]; do
		head -c 4m /dev/urandom >new
		dd if=new of=/dev/nvme0n1 bs=1M seek=64 conv=fsync 2>/dev/null
		echo 1 >/proc/sys/vm/drop_caches
		dd if=/dev/nvme0n1 bs=1M skip=64 count=4 2>/dev/null |
			cmp -s - new && echo right || echo wrong
	done >worker.writer &'
}

# Holes of 4 KiB next to running DMA: the balloon goes up and down while L2 uses its disk, by
# one queue for reads and one for writes.
stress() {
	before=$(faults)
	cmdline=nvme.write_queues=1
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	cmdline=
	wait_for_l2 && write_disk || return
	l2 'ls /sys/block/nvme0n1/mq | wc -l'
	check 'queues of the disk' "$(cat "$work/output")" -eq 2
	workers
	for size in 160 512 128 512 128; do
		balloon "$size" || return
	done
	check 'file, MiB' "$(file_mib)" -le 147
	l2 'touch enough; wait; cat worker.* | grep -c wrong'
	check 'reads that were wrong' "$(cat "$work/output")" -eq 0
	for worker in 1 2 writer; do
		l2 "grep -c right worker.$worker"
		check "  and right, $worker" "$(cat "$work/output")" -gt 1
	done
	check_disk
	stop
}

# The same, with huge pages in the file
stress_huge() {
	huge=/sys/kernel/mm/transparent_hugepage/shmem_enabled
	echo force >"$huge"
	stress
	status=$?
	echo never >"$huge"
	return "$status"
}

# state: of the VM
state() { qmp query-status && echo "$answer" | sed 's/.*"status": "\([^"]*\).*/\1/'; }
is_in_state() {
	found=$(state) || return 2
	[ "$found" = "$1" ]
}
wait_for_state() { wait_until is_in_state "$1" || give_up "the VM is $(state), not $1"; }

# Pages that cannot be had at deflate: the VM stops, and continues when there is room.
limit() {
	before=$(faults)
	wrapper="/root/l2/memlock $((256 << 20))"
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wrapper=
	wait "$pid"
	check 'locked memory limited to 256 MiB' \
		"$(grep -c 'dma_map(.*(Cannot allocate memory)' "$work/qemu")" -eq 1

	wrapper="/root/l2/memlock $((640 << 20))"
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wrapper=
	wait_for_l2 && write_disk && balloon 128 || return
	/root/l2/memlock $((256 << 20)) "$pid" || return
	qmp balloon "'value':$((512 << 20))" || return
	wait_for_state io-error || return
	check 'limited to 256 MiB at deflate: state' "$(state)" = io-error
	check 'file, MiB' "$(file_mib)" -le 256
	/root/l2/memlock $((640 << 20)) "$pid" || return
	qmp cont && balloon 512 || return
	check 'limit raised: state' "$(state)" = running
	check 'file, MiB' "$(file_mib)" -ge 512
	check_disk
	stop
	sort "$work/qemu" | uniq -c | sed 's/^/  /' | head -n 3
}

# has_left ID: has QEMU let that device go?
has_left() {
	qmp qom-list "'path':'/machine/peripheral'" || return 2
	case $answer in
	*"\"name\": \"$1\""*) return 1 ;;
	esac
}

# Two devices in one container: memory follows until the last one has left.
two_devices() {
	before=$(faults)
	cmdline=pcie_ports=native
	start qemu-patched $native -device virtio-balloon-pci -device "$vfio" \
		-device "vfio-pci,host=$edu$iommufd,bus=root,id=edu"
	cmdline=
	wait_for_l2 && write_disk && balloon 128 || return
	check 'two devices: file, MiB, balloon inflated' "$(file_mib)" -le 147
	qmp device_del "'id':'edu'" || return
	wait_until has_left edu || give_up "edu does not leave: $answer" || return
	check 'one device: consumers in the kernel' "$(consumers)" -gt 0
	check 'file, MiB' "$(file_mib)" -le 147
	balloon 512 && balloon 128 || return
	check 'file, MiB, inflated again' "$(file_mib)" -le 147
	check_disk
	stop
	check 'consumers in the kernel, at the end' "$(consumers)" -eq 0
}

shmem_mib() { awk '/^Shmem:/ { printf "%d", $2 / 1024 }' /proc/meminfo; }

# QEMU is killed while the device reads into L2's memory, with the balloon half inflated.
killed() {
	shmem=$(shmem_mib)
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wait_for_l2 && write_disk && balloon 256 || return
	workers
	sleep 1
	kill -KILL "$pid"
	wait "$pid"
	wait_until has_no_consumers
	check 'killed: consumers in the kernel' "$(consumers)" -eq 0
	check 'memory in files, MiB more than before' $(($(shmem_mib) - shmem)) -lt 4

	before=$(faults)
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wait_for_l2 && write_disk && balloon 128 && balloon 512 || return
	check_disk
	stop
}

# A second process maps the same file, as a backend of vhost-user does. It reads all of the
# memory, which fills the holes that the balloon has left; then it ends, and they come back.
second() {
	before=$(faults)
	start qemu-patched -device virtio-balloon-pci -device "$vfio"
	wait_for_l2 && write_disk && balloon 128 || return
	check 'file, MiB, balloon inflated' "$(file_mib)" -le 147
	printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"pmemsave","arguments":
		{"val":0,"size":536870912,"filename":"/dev/null"}}' '{"execute":"quit"}' |
		/root/l2/qemu-as-is -nodefaults -no-user-config -display none -L /root/l2 -S \
			-machine q35,accel=kvm,memory-backend=ram -m 512M -qmp stdio -object \
			"memory-backend-file,id=ram,size=512M,share=on,mem-path=$(memfd)" \
			>"$work/second" 2>&1
	check 'answers of a second QEMU' "$(grep -c '"return"' "$work/second")" -eq 3
	check 'it has read all memory: file, MiB' "$(file_mib)" -ge 512
	check '  pinned' "$(pinned_mib)" -ge 512
	check_disk
	balloon 512 && balloon 128 || return
	check 'file, MiB, inflated again' "$(file_mib)" -le 147
	check '  pinned' "$(pinned_mib)" -le 147
	check_disk
	stop
}

# Migration to a file and back, with the balloon inflated. The device cannot migrate: it leaves
# before, and comes afterwards. (QEMU reads each page, and so fills the holes, on both sides.)
migrate() {
	before=$(faults)
	cmdline=pcie_ports=native
	start qemu-patched $native -device virtio-balloon-pci
	wait_for_l2 && plug_disk && write_disk && balloon 128 || return
	unplug_disk || return
	qmp migrate "'uri':'exec:cat >/tmp/migrated'" || return
	wait_for_state postmigrate || return
	stop
	start qemu-patched $native -device virtio-balloon-pci -incoming 'exec:cat /tmp/migrated'
	cmdline=
	qmp qmp_capabilities && wait_for_state running || return
	rm /tmp/migrated
	plug_disk || return
	check 'migrated, device plugged: file, MiB' "$(file_mib)" -ge 512
	check_disk
	balloon 512 && balloon 128 || return
	check 'file, MiB, balloon inflated' "$(file_mib)" -le 147
	check_disk
	stop
}

# The rest is for the table in the documentation, and no test.

# Start the QEMU in $column, with a virtual IOMMU if that is in its name.
start_column() {
	without_viommu
	case $column in
	*+viommu) with_viommu ;;
	esac
	start "qemu-${column%+*}" $options -device virtio-balloon-pci -device "$vfio"
	without_viommu
	wait_for_l2
}

# per N SUM: for each of N
per() { awk -v n="$1" -v sum="$2" 'BEGIN { printf "%.2f", sum / n }'; }

# QEMU's CPU time, in ns, also in the kernel and in L2
cpu_time() { /root/l2/cputime "$pid"; }

# spent COMMAND...: how much of it that takes
spent() {
	cpu_before=$(cpu_time)
	"$@" >/dev/null || return
	echo $(($(cpu_time) - cpu_before))
}

# What it costs, in CPU time, as the machine's one CPU waits for other things as well. With
# 8 GiB for L2, so it takes MEM=10G; and ACCEL=icount, where 1 ns is an instruction. A read of
# one page takes a map and an unmap more with a virtual IOMMU.
costs() {
	rm -rf "$results"
	mkdir "$results"
	echo 0 >/sys/module/kvm/parameters/halt_poll_ns
	set -- as-is patched as-is+viommu patched+viommu
	for column; do
		start_column || return
		row small 's until L2 is up, 512 MiB' "$(per 1000000000 "$(cpu_time)")"
		row small-up '  file, MiB' "$(file_mib)"
		stop

		memory=8G
		start_column || return
		memory=
		row boot 's until L2 is up, 8 GiB' "$(per 1000000000 "$(cpu_time)")"
		row up '  file, MiB' "$(file_mib)"
		write_disk || return
		row read 'us per MiB read' "$(per 256000 "$(spent l2 'for i in 1 2 3 4; do
			dd if=/dev/nvme0n1 of=/dev/null iflag=direct bs=1M count=64
		done')")"
		row page 'us per read of 4 KiB' "$(per 4096000 "$(spent l2 \
			'dd if=/dev/nvme0n1 of=/dev/null iflag=direct bs=4k count=4096')")"
		row taken-in 's until the balloon has 1 GiB' \
			"$(per 1000000000 "$(spent balloon 7168)")"
		row taken '  file, MiB' "$(file_mib)"
		row back-in 's until it has given it back' \
			"$(per 1000000000 "$(spent balloon 8192)")"
		row back '  file, MiB' "$(file_mib)"
		stop
	done
	print_table "$@"
}

# Not a case: the next ones use iommufd.
iommufd() {
	iommufd=,iommufd=iommufd0
	vfio=$vfio$iommufd
}

nvme=$(bind 0x010802) && edu=$(bind 0x00ff00) || exit
vfio=vfio-pci,host=$nvme
if [ $# -eq 0 ]; then
	set -- balloon_in_three reset reporting viommu by_address virtio_mem \
		other_memory dimm hotplug no_room migrate two_devices second killed limit \
		stress stress_huge
	# QEMU 7.2 has no iommufd.
	! /root/l2/qemu-patched -object help | grep -q iommufd || set -- "$@" iommufd "$@"
fi
for case; do
	echo "$case"
	if ! "$case"; then
		failed=1
		kill -KILL "$pid"
		wait "$pid"
	fi
done
exit $failed
