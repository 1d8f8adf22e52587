#!/bin/sh
# The first process of a machine inside this one (machine.py): its own /dev, /run, /var/lib and /var/log, then an init.
set -eu
disk=$1
mkdir -p "$disk/lib" "$disk/log"
mount --make-rshared / # as systemd does, so that a container can see later mounts of the machine
mount -t tmpfs -o mode=755 tmpfs /run
cp --archive --one-file-system /dev /run/dev # device nodes can be added to it that the real machine does not have
for own in pts shm; do
  mount --bind "/dev/$own" "/run/dev/$own"
done
mount --rbind /run/dev /dev
mount --bind "$disk/lib" /var/lib
mount --bind "$disk/log" /var/log
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
touch /run/booted
exec tini-static -- sleep infinity
