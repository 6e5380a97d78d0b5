#!/bin/bash
# The inside of the machine of `cargo xtask service`: builds a root of its own and becomes systemd.
# Run in new mount, pid, net, uts, ipc and cgroup namespaces. Arguments: a folder for the root, and
# one on a real disk that becomes /var/lib, and which groups systemd is to use (unified, first).
set -euo pipefail
work=$1
lib=$2
groups=$3
root=$work/root

mount --make-rprivate /
mkdir -p "$root"
mount -t tmpfs -o mode=755 weir-root "$root"
cd "$root"
mkdir -p usr etc dev proc sys run tmp var/lib var/log var/tmp old root home srv upper/up upper/work
ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib lib
if [ -e /usr/lib64 ]; then ln -s usr/lib64 lib64; fi
# The machine's own /usr below, so that nothing is downloaded; what is installed here lies above.
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/upper/up,workdir=$root/upper/work" usr

for part in passwd group shadow gshadow nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d pam.d \
  security dbus-1 localtime login.defs; do
  if [ -e "/etc/$part" ]; then cp -a "/etc/$part" etc/; fi
done
: > etc/machine-id
echo weir-rig > etc/hostname
printf '127.0.0.1 localhost weir-rig\n' > etc/hosts
mkdir -p etc/systemd/system
ln -s /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
for unit in getty@.service getty.target console-getty.service systemd-udevd.service \
  systemd-udev-trigger.service systemd-timesyncd.service systemd-sysctl.service \
  systemd-modules-load.service systemd-networkd.service systemd-resolved.service; do
  ln -s /dev/null "etc/systemd/system/$unit"
done

mount --bind "$lib" var/lib
mount -t tmpfs -o mode=755 weir-dev dev
for node in null zero full random urandom tty; do
  : > "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 weir-pts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 weir-shm dev/shm
mount -t tmpfs -o mode=755 weir-run run
mount -t tmpfs -o mode=1777 weir-tmp tmp
mount -t proc proc proc
# Read-only, or this systemd would change settings of the whole machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
if [ "$groups" = first ]; then
  mount -t tmpfs -o mode=755 weir-groups sys/fs/cgroup
  mkdir sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
else
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
# Where memory is counted by the first version, its tree is where weir looks for it.
if grep -q '^[^ ]* [^ ]* cgroup [^ ]*\bmemory\b' /proc/self/mounts; then
  mkdir sys/fs/cgroup/memory
  mount -t cgroup -o memory cgroup sys/fs/cgroup/memory
fi
ip link set lo up

pivot_root . old
cd /
umount -l /old
exec env -i container=weir /usr/lib/systemd/systemd --system --show-status=false
