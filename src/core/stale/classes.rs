//! Units that are not restarted whatever systemd says of them, by name.

use super::Fate;
use crate::core::record::matches;

/// What a restart would take down with it, or cut off: only a reboot brings it to new files.
const BY_REBOOT: [(&str, &[&str]); 7] = [
    ("the bus would lose everybody who is on it", &["dbus.service", "dbus-broker.service"]),
    ("logins would be lost", &["systemd-logind.service", "elogind.service"]),
    (
        "it runs containers",
        &[
            "docker*.service",
            "docker*.scope",
            "containerd*.service",
            "podman*.service",
            "libpod-*.scope",
            "crio*",
            "cri-*",
            "kubelet.service",
            "k3s*.service",
            "lxc*",
            "incus*",
            "snap.lxd.*",
            "systemd-nspawn@*.service",
            "machine-*.scope",
        ],
    ),
    ("it runs virtual machines", &["libvirt*", "virt*.service", "virt*.socket", "xen*", "qemu-*"]),
    (
        "desktops would be lost",
        &[
            "gdm*.service",
            "sddm*.service",
            "lightdm*.service",
            "display-manager.service",
            "greetd*.service",
            "xdm*.service",
            "wdm*.service",
            "lxdm*.service",
            "nodm*.service",
            "slim*.service",
        ],
    ),
    (
        "the network would be cut",
        &[
            "networking.service",
            "NetworkManager.service",
            "ModemManager.service",
            "wpa_supplicant*.service",
            "ifup@*.service",
            "openvpn*.service",
            "bird*.service",
            "frr*.service",
            "quagga*.service",
            "tinc*.service",
            "*swan*.service",
            "bluetooth.service",
        ],
    ),
    (
        "disks would be lost",
        &["multipathd.service", "iscsid.service", "open-iscsi.service", "zfs-*", "drbd*", "dm-*"],
    ),
];

/// What ends by itself, or is somebody's.
const LEFT: [(&str, &[&str]); 4] = [
    ("a user's, who must log in anew", &["session-*.scope", "user@*", "user-*"]),
    ("somebody may be logged in there", &["*getty@*", "*getty.service"]),
    (
        "it ends by itself",
        &[
            "apt-daily*.service",
            "unattended-upgrades.service",
            "packagekit.service",
            "cron-*.service",
            "cloud-*.service",
            "rc-local.service",
            "rescue.service",
            "emergency.service",
            "lockkeeper-executor.service",
            "lockkeeper-apply-*.service",
            "lockkeeper-undo-*.service",
        ],
    ),
    ("systemd cannot restart it", &["*.scope", "*.slice", "*.mount", "*.swap", "*.socket"]),
];

/// Nothing, where a unit is like any other; else its fate, and why.
pub(super) fn of(name: &str) -> Result<(), (Fate, &'static str)> {
    let find = |(_, globs): &&(&str, &[&str])| globs.iter().any(|glob| matches(glob, name));
    if let Some((why, _)) = BY_REBOOT.iter().find(find) {
        return Err((Fate::Reboot, why));
    }
    if let Some((why, _)) = LEFT.iter().find(find) {
        return Err((Fate::Leave, why));
    }
    Ok(())
}
