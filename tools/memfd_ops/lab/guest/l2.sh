# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# shellcheck disable=SC3045 # busybox has read -t
# shellcheck disable=SC2034 # vmm.sh uses what the functions set
# shellcheck disable=SC2016 # L2 expands it
#
# For vmm.sh: a guest of the guest, L2, in a QEMU from /root/l2. Its memory is the memfd
# "ram", its disk the lab's NVMe controller, by vfio-pci.

work=/tmp/l2

now() { cut -d ' ' -f 1 /proc/uptime; }

# since UPTIME: seconds
since() { echo "$(now) $1" | awk '{ printf "%.1f", $1 - $2 }'; }

# bind CLASS: give the device of that class to vfio-pci, and print its address
bind() {
	for device in /sys/bus/pci/devices/*; do
		if [ "$(cat "$device/class")" = "$1" ]; then
			echo vfio-pci >"$device/driver_override"
			echo "${device##*/}" >/sys/bus/pci/drivers_probe
			echo "${device##*/}"
			return
		fi
	done
	return 1
}

# start QEMU OPTION...: with $machine, $memory, $share, $cmdline, $iommufd, and as arguments
# of $wrapper, if they are set. The file has all of the memory that L2 boots with.
start() {
	binary=$1
	shift
	rm -rf "$work"
	mkdir "$work"
	for pipe in qmp shell; do
		mkfifo "$work/$pipe.in" "$work/$pipe.out"
	done
	exec 3<>"$work/qmp.in" 4<>"$work/qmp.out" 5<>"$work/shell.in" 6<>"$work/shell.out"
	started=$(now)
	greeted=
	ram=${memory:-512M}
	ram=${ram%%,*}
	# shellcheck disable=SC2086 # words
	${wrapper:-} "/root/l2/$binary" -nodefaults -no-user-config -display none -L /root/l2 \
		-machine "q35,accel=kvm,memory-backend=ram${machine:+,$machine}" \
		-cpu host -smp 1 -m "${memory:-512M}" \
		-object "memory-backend-memfd,id=ram,size=$ram,share=${share:-on}" \
		${iommufd:+-object iommufd,id=iommufd0} \
		-kernel /root/l2/bzImage -initrd /root/l2/initrd \
		-append "console=ttyS0 panic=-1 no_timer_check ${cmdline:-}" \
		-serial "file:$work/console" \
		-chardev "pipe,id=shell,path=$work/shell" -serial chardev:shell \
		-chardev "pipe,id=qmp,path=$work/qmp" -mon chardev=qmp,mode=control \
		"$@" </dev/null >"$work/qemu" 2>&1 3>&- 4>&- 5>&- 6>&- &
	pid=$!
}

# What went wrong, for the reader of the log. Returns 1.
give_up() {
	echo "$*; the end of QEMU's output and of L2's log:"
	head -n 40 "$work/qemu"; tail -n 5 "$work/qemu"
	tail -n 15 "$work/console"
	return 1
}

# wait_until COMMAND...: until it succeeds, or fails for good, with the status 2. The limit is
# for what hangs.
wait_until() {
	for _ in $(seq 1200); do
		"$@" && return 0
		[ $? -lt 2 ] || return 1
		sleep 0.5
	done
	return 1
}

# ask COMMAND [ARGUMENTS]: sets $answer. Fails if it is an error. Events are skipped.
ask() {
	echo "{'execute':'$1','arguments':{${2:-}}}" | tr "'" '"' >&3
	while read -r -t 60 answer <&4; do
		case $answer in
		'{"return"'*)	return 0 ;;
		'{"error"'*)	return 1 ;;
		esac
	done
	answer=none
	return 1
}

# The same, which must not fail
qmp() { ask "$@" || give_up "$1: $answer"; }

# Wait until L2 takes commands. Sets $boot_seconds.
wait_for_l2() {
	for _ in $(seq 60); do
		kill -0 "$pid" || break
		read -r -t 2 line <&6 || continue
		if [ "$line" = 'l2: up' ]; then
			boot_seconds=$(since "$started")
			# not again after a reset
			[ -n "$greeted" ] || qmp qmp_capabilities
			greeted=yes
			return
		fi
	done
	give_up "L2 does not come up"
}

# l2 COMMAND: run it in L2; its output goes to $work/output
l2() {
	: >"$work/output"
	printf '%s\n.\n' "$1" >&5
	while read -r -t 300 line <&6; do
		case $line in
		'l2: status '*)	return "${line#l2: status }" ;;
		*)		echo "$line" >>"$work/output" ;;
		esac
	done
	give_up "L2 does not answer to $1"
}

# The descriptors of QEMU's memfds for L2: the first one is of "ram".
memfds() {
	for fd in "/proc/$pid/fd"/*; do
		case $(readlink "$fd") in
		/memfd:memory-backend-memfd*) echo "$fd" ;;
		esac
	done
}
memfd() { memfds | head -n 1; }

# MiB in the file, and pinned: VmLck has the pages mapped by address, VmPin the followed ones
file_mib() { echo $(($(stat -L -c %b "$(memfd)") / 2048)); }
pinned_mib() {
	awk '/VmLck|VmPin/ && $2 > kib { kib = $2 } END { printf "%d", kib / 1024 }' \
		"/proc/$pid/status"
}

# The accesses that the IOMMU has blocked, also those without a line in the log. VT-d and
# virtio's IOMMU interrupt at each; QEMU's of AMD blocks in silence.
faults() { awk '/dmar0|virtio.*-event/ { n += $2 + $3 } END { print n + 0 }' /proc/interrupts; }
reports_faults() { ! [ -e /sys/class/iommu/ivhd0 ]; }

has_memory() {
	qmp query-balloon || return 2
	case $answer in
	*"\"actual\": $(($1 << 20))"*) ;;
	*) return 1 ;;
	esac
}

# balloon MIB: leave that much to L2. Sets $balloon_seconds.
balloon() {
	since=$(now)
	qmp balloon "'value':$(($1 << 20))" || return
	wait_until has_memory "$1" || give_up "the balloon stays at $answer" || return
	balloon_seconds=$(since "$since")
}

# L2 fills its disk with random data, and keeps the checksum.
write_disk() {
	l2 'head -c 16m /dev/urandom >data && md5sum <data >want &&
		for i in 0 1 2 3; do
			dd if=data of=/dev/nvme0n1 bs=1M seek=$((i * 16)) conv=fsync || break
		done && rm data' || give_up "L2 cannot write its disk: $(cat "$work/output")"
}

# Does L2 read what it wrote, into pages that it takes from the free ones?
read_disk() {
	l2 'echo 3 >/proc/sys/vm/drop_caches; same=0
		for i in 0 1 2 3; do
			dd if=/dev/nvme0n1 bs=1M skip=$((i * 16)) count=16 2>/dev/null |
				md5sum | cmp -s - want && same=$((same + 1))
		done; [ $same -eq 4 ]'
}

# The errors that L2 saw
io_errors() {
	l2 'dmesg | grep -ciE "I/O error|nvme.*(timeout|abort|reset)"'
	cat "$work/output"
}

stop() {
	qmp quit
	wait "$pid"
}
