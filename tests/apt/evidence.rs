//! Evidence for a reboot, and what it is derived from.

use std::{cmp::Ordering, path::Path, process::Command};

use lockkeeper::{
    adapters::apt::{Layout, version},
    core::{health::Evidence, plan::PlanId},
    executor::evidence::reboot_evidence,
};

use crate::{
    archive::{Archive, Package},
    system::System,
};

#[tokio::test]
async fn the_reboot_flag_and_a_newer_kernel_are_evidence_and_a_plain_update_is_not() {
    let release = rustix::system::uname().release().to_str().unwrap().to_owned();
    let flavour = release.split_once('-').map_or("amd64", |(_, flavour)| flavour).to_owned();
    let name = format!("99.0.0-{flavour}");
    let kernel = Package::new(&format!("linux-image-{name}"), "99.0.0-1")
        .file(&format!("boot/vmlinuz-{name}"), b"kernel");
    let older = format!("1.0.0-{flavour}");
    let other = Package::new(&format!("linux-image-{older}"), "1.0.0-1")
        .file(&format!("boot/vmlinuz-{older}"), b"kernel");
    let archive = Archive::with(&[kernel, other, Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["alpha"]);
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::No);

    system.apt(&["install", &format!("linux-image-{name}")]);
    let evidence = reboot_evidence(&system.layout).await;
    if release.contains('-') {
        let expected = vec![format!("kernel {name} is installed, {release} runs")];
        assert_eq!(evidence, Evidence::Yes { reasons: expected });
    } else {
        assert!(matches!(evidence, Evidence::Unknown { .. }), "{evidence:?}");
    }

    // One that the boot loader will not start does not count.
    system.apt(&["install", &format!("linux-image-{older}")]);
    let menu = |release: &str| {
        format!(
            "set default=\"0\"\nmenuentry 'Debian' {{\n\tlinux\t/boot/vmlinuz-{release} ro\n}}\n"
        )
    };
    system.write("boot/grub/grub.cfg", &menu(&older));
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::No);
    system.write("boot/grub/grub.cfg", &menu(&name));
    let evidence = reboot_evidence(&system.layout).await;
    let expected = vec![format!("kernel {name} is installed, {release} runs")];
    assert_eq!(evidence, Evidence::Yes { reasons: expected });

    // A container runs its host's kernel.
    system.write("run/systemd/container", "systemd-nspawn");
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::No);
    system.write("run/reboot-required", "");
    system.write("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n");
    let reasons = ["dbus asks for a reboot", "libc6 asks for a reboot"].map(str::to_owned).to_vec();
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::Yes { reasons });
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let versions = [
        "1.0",
        "1.0-1",
        "1.0-1~deb12u1",
        "1.0-1+deb12u1",
        "1:0.9",
        "1.0~rc1-1",
        "1.0+dfsg-1",
        "1.0a",
        "6.1.192-2",
        "6.1.0-9",
        "6.1.0-10",
        "2.36-9+deb12u13",
        "1.0.0.0.1",
        "0:1.0",
        "1.0-0",
        "1.0-01",
    ];
    for a in versions {
        for b in versions {
            let is = |relation: &str| {
                let compare = ["--compare-versions", a, relation, b];
                Command::new("dpkg").args(compare).status().unwrap().success()
            };
            let order = version::compare(a, b);
            assert_eq!(order == Ordering::Less, is("lt"), "{a} {b}");
            assert_eq!(order == Ordering::Equal, is("eq"), "{a} {b}");
        }
    }
}

#[test]
fn the_layout_of_the_running_system_is_the_contracts() {
    let layout = Layout::system(Path::new("/var/lib/lockkeeper-executor"));
    let id = PlanId::parse(&"a".repeat(64)).unwrap();
    assert_eq!(layout.lists(), Path::new("/var/lib/lockkeeper-executor/lists"));
    assert_eq!(layout.plan(&id), layout.plans().join("a".repeat(64)));
    assert_eq!(layout.at("/run/reboot-required"), Path::new("/run/reboot-required"));
    assert!(layout.is_running_system());
}
