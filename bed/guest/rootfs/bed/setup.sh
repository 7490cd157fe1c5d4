# Sourced by what runs as process 1 in script mode: what a scenario needs of
# a booted machine, in the order in which it is needed, and nothing else.
export PATH=/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/udev /run/lock
dmesg -n 5
hostname bed
ip link set lo up
modprobe -a virtio_console configfs
mount -t configfs none /sys/kernel/config
/lib/systemd/systemd-udevd --daemon
# udev's database knows the root file system's UUID, as on any host
udevadm trigger --action=add --sysname-match=vda
# the directories that the agent shares with nova; absent without it
[ ! -e /etc/tmpfiles.d/os-brick-healer.conf ] ||
    systemd-tmpfiles --create os-brick-healer.conf
