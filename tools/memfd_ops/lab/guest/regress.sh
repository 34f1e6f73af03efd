#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest of make regress: run the commands in the file "list", one after the other. The
# lines "lab: " are for regress-report.py.

mount -o remount,huge=advise /dev/shm
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /mnt/fuse /mnt/ext4
mkswap /dev/ram0 >/dev/null
swapon /dev/ram0
mke2fs -q -b 4096 /dev/ram1 >/dev/null
mount -t ext4 /dev/ram1 /mnt/ext4

# stress-ng is the only dynamic program.
mkdir -p /lib64
ln -s /root/stress-ng/ld-linux-x86-64.so.2 /lib64
export LD_LIBRARY_PATH=/root/stress-ng

while read -r suite command; do
	cd "/root/${suite##*/}" || exit
	echo 128 >/proc/sys/vm/nr_hugepages
	echo "lab: begin $suite $command"
	timeout -s KILL 900 sh -c "$command" </dev/null 2>&1
	# A killed program may leave a line unfinished.
	printf '\nlab: end %s\n' $?
done </root/list
exit 0
