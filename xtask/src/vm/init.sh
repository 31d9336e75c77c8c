#!/bin/busybox sh
# The first process of an emulated guest: mounts the machine's files read-only
# under a layer in memory, runs /mnt/share/command there and ends the guest.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module"
done < /modules/order

mkdir -p /host /layer /all
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || poweroff -f
mount -t tmpfs tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /all || poweroff -f
for folder in proc sys dev; do
    mkdir -p "/all/$folder"
    mount --move "/$folder" "/all/$folder"
done
mkdir -p /all/mnt/share
mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000,cache=none share /all/mnt/share
for folder in tmp run; do
    mount -t tmpfs tmpfs "/all/$folder"
done
mount -t cgroup2 cgroup2 /all/sys/fs/cgroup
mount -t tracefs tracefs /all/sys/kernel/tracing
mount -t bpf bpf /all/sys/fs/bpf
ip link set lo up
chroot /all /bin/sh -c 'cd /mnt/share && HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LD_LIBRARY_PATH=/mnt/share sh command; sync'
poweroff -f
