#!/bin/sh
# Becomes the first process of a machine for one test: own processes, mounts, control groups and
# places to write to; the network is the caller's. Says "up" when all is there, and ends with its
# standard input.
#
#   enter.sh WORK GROUP-DIRECTORY...
set -eu
work=$1
shift
for group in "$@"; do echo $$ >"$group/cgroup.procs"; done

# shellcheck disable=SC2016 # these words are for the inner shell
exec unshare --mount --propagation private --pid --fork --kill-child --cgroup --uts --mount-proc sh -euc '
work=$1
basename "${work%/*}" | tr A-Z a-z >/proc/sys/kernel/hostname
# Mounts of other tests would be held by their copies here.
awk "\$3 == \"nsfs\" || \$2 ~ /\/(runtime|volumes)\// { print \$2 }" /proc/mounts | tac | while read -r at; do umount -l "$at" || true; done
# Control groups as this machine sees them: what it joined is their root.
awk "\$3 ~ /^cgroup2?\$/ { print \$2, \$3, \$4 }" /proc/mounts | while read -r at type options; do
    umount "$at"
    options=$(echo "$options" | tr , "\n" | grep -vxE "rw|ro|nosuid|nodev|noexec|relatime|nsdelegate|memory_recursiveprot|favordynmods" | paste -sd, -)
    mount -t "$type" ${options:+-o "$options"} "$type" "$at"
done
# With v2 a group that hands down controllers has no processes of its own.
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
    mkdir -p /sys/fs/cgroup/init && echo $$ >/sys/fs/cgroup/init/cgroup.procs
fi
mount -t tmpfs tmpfs "$work"
for place in etc usr/local/bin; do
    mkdir -p "$work/$place" "$work/$place.work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$work/$place,workdir=$work/$place.work" overlay "/$place"
done
mkdir "$work/lib"
mount --bind /var/lib "$work/lib"
for place in /var/lib /var/log /run; do mount -t tmpfs tmpfs "$place"; done
for kept in apt dpkg; do
    mkdir "/var/lib/$kept"
    [ ! -d "$work/lib/$kept" ] || mount --bind "$work/lib/$kept" "/var/lib/$kept"
done
# Ended processes without a parent are nobody else s to collect.
echo up
exec env --ignore-signal=CHLD cat >/dev/null
' sh "$work"
