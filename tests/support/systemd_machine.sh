#!/bin/bash
# Boots systemd as process 1 of namespaces of its own, on an overlay of this machine's root: what is
# written there nobody else sees, and it goes with the machine. /proc/sys and /sys are read-only and
# /dev has only harmless nodes, so that nothing of the real machine can be changed.
#
#   systemd_machine.sh FOLDER CHECKOUT SITE_PACKAGES      (in `unshare -m -p -n -i -u -C --fork`)
set -eu
folder=$1 checkout=$2 site=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{up,work,root}
root=$folder/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/up,workdir=$folder/work" "$root"

mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"

mount -t sysfs -o ro sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  for hierarchy in /sys/fs/cgroup/*; do
    if [ -L "$hierarchy" ]; then
      cp -d "$hierarchy" "$root/sys/fs/cgroup/"
    elif mountpoint -q "$hierarchy"; then
      mkdir "$root/sys/fs/cgroup/${hierarchy##*/}"
      mount --bind "$hierarchy" "$root/sys/fs/cgroup/${hierarchy##*/}"
    fi
  done
fi

mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=700 tmpfs "$root/root"
# What a test installs, and nothing that this machine has.
rm -rf "$root"/etc/{edgeqa*,systemd/system,fstab} "$root"/opt/edgeqa* "$root"/var/lib/edgeqa*
units=$root/etc/systemd/system
mkdir -p "$units" "$root/srv/checkout" "$root/srv/site" "$root/old"
touch "$root/etc/fstab"
for unit in systemd-{sysctl,binfmt,modules-load,tmpfiles-setup,tmpfiles-setup-dev,tmpfiles-clean}.service \
  systemd-{udevd,udev-trigger,remount-fs,random-seed,update-utmp,sysusers,logind}.service \
  systemd-{journal-flush,machine-id-commit,user-sessions}.service kmod-static-nodes.service \
  dev-{hugepages,mqueue}.mount sys-kernel-{debug,tracing,config}.mount sys-fs-fuse-connections.mount \
  proc-sys-fs-binfmt_misc.automount tmp.mount {timers,paths,cryptsetup,getty}.target \
  {dbus,podman,systemd-journald-audit}.socket dbus.service systemd-ask-password-{console,wall}.path; do
  ln -s /dev/null "$units/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$units/multi-user.target"
# A log that keeps all that a test may ask for.
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf"
mount --bind "$checkout" "$root/srv/checkout"
mount --bind "$site" "$root/srv/site"
ip link set lo up

cd "$root"
pivot_root . old
umount -l /old
exec env -i container=edgeqa-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=0
