# Shared by the programs that make disks: a Debian in a folder, with GRUB in front of it. Sourced.

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
GRUB=/usr/lib/grub/i386-pc

inside() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_OFFLINE=1 DEBIAN_FRONTEND=noninteractive "$@"; }

# unpack BASE.tar FILES NAME LOCKKEEPER.deb: what every system has before anything is installed
unpack() {
    tar -C "$root" -xf "$1"
    mkdir -p "$root/var/lib/lockkeeper" "$root/var/lib/lockkeeper-executor"
    cp -a "$2/." "$root"
    echo "$3" > "$root/etc/hostname"
    rm -f "$root/etc/apt/sources.list"
    tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
    cp "$4" "$root/lockkeeper.deb"
}

# What dpkg and GRUB need around them.
enter() {
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs tmpfs "$root/run"
}

install_packages() {
    inside apt-get -qq update
    inside apt-get -qq -y -o Dpkg::Options::=--force-confold install /lockkeeper.deb lab-app=1.0 lab-tool=1.0 >&2
    rm "$root/lockkeeper.deb"
    inside systemctl -q enable lab-report.service lab-obey.service lab-app.service lockkeeperd.service
    mkdir -p "$root/boot/grub"
    cp -r "$root$GRUB" "$root/boot/grub/"
    kernel=$(basename "$root"/boot/vmlinuz-*)
    initrd=initrd.img-${kernel#vmlinuz-}
}

# grub_menu FOLDER UUID ROOT-OPTIONS: as grub-mkconfig has it, which does nothing for a root on a loop
# device. FOLDER is where the file system with that UUID has the kernel.
grub_menu() {
    cat > "$root/boot/grub/grub.cfg" << END
serial
terminal_output serial
set timeout=0
set default=0
menuentry 'Debian GNU/Linux' --class debian {
    search --no-floppy --fs-uuid --set=root $2
    echo 'Loading Linux ...'
    linux $1/$kernel $3 console=ttyS0 mitigations=off
    initrd $1/$initrd
}
END
}

# grub_sector DISK FOLDER MODULE…: the boot sector looks for the rest right behind itself
grub_sector() {
    local disk=$1 folder=$2
    shift 2
    inside grub-mkimage -O i386-pc -o /boot/grub/core.img -p "(hd0,msdos1)$folder/grub" \
        biosdisk part_msdos "$@" normal linux configfile serial search search_fs_uuid echo test
    dd if="$root$GRUB/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$root/boot/grub/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
}
