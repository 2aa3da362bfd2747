//! Who else updates a machine, by what is on it.

use std::{fs, os::unix::fs::symlink};

use lockkeeper::{
    adapters::neighbours,
    core::doctor::{CronApt, Neighbours, PackageKit, Unattended},
};

use super::unattended::Machine;

async fn found(machine: &Machine) -> Neighbours {
    neighbours::look(&machine.path(""), Some(&machine.apt_config())).await.unwrap()
}

#[tokio::test]
async fn unattended_upgrades_is_found_until_it_is_switched_over_or_masked() {
    let reboots = "Unattended-Upgrade::Automatic-Reboot \"true\";\n";
    assert_eq!(found(&Machine::empty()).await, Neighbours::default());
    assert_eq!(found(&Machine::new("")).await.unattended_upgrades, Unattended::Installs);

    let machine = Machine::new(reboots);
    let timer = "usr/lib/systemd/system/apt-daily-upgrade.timer";
    machine.write(timer, "[Timer]\nOnCalendar=*-*-* 6:00\n[Install]\nWantedBy=timers.target\n");
    assert_eq!(found(&machine).await.unattended_upgrades, Unattended::Nothing);
    let wants = machine.path("etc/systemd/system/timers.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink(format!("/{timer}"), wants.join("apt-daily-upgrade.timer")).unwrap();
    assert_eq!(found(&machine).await.unattended_upgrades, Unattended::Reboots);

    let (code, text) = machine.migrate(&["--switch-over"]);
    assert_eq!(code, 0, "{text}");
    let after = Neighbours { switched_over: true, ..Neighbours::default() };
    assert_eq!(found(&machine).await, after);
    fs::remove_file(machine.path("etc/apt/apt.conf.d/99lockkeeper")).unwrap();
    let mask = machine.path("etc/systemd/system/apt-daily-upgrade.timer");
    symlink("/dev/null", mask).unwrap();
    assert_eq!(found(&machine).await, Neighbours::default());
    machine
        .write("etc/apt/apt.conf.d/53local", "Unattended-Upgrade::InstallOnShutdown \"true\";\n");
    assert_eq!(found(&machine).await.unattended_upgrades, Unattended::Reboots);
}

#[tokio::test]
async fn cron_apt_and_package_kit_and_snaps_are_found_by_what_they_would_do() {
    let machine = Machine::empty();
    machine.write("usr/sbin/cron-apt", "");
    machine.write("etc/cron-apt/action.d/3-download", "autoclean -y\ndist-upgrade -d -y\n");
    machine.write("usr/libexec/pk-offline-update", "");
    machine.write("usr/lib/snapd/snapd", "");
    machine.write("var/lib/snapd/snaps/core22_1.snap", "");
    let quiet = Neighbours { package_kit: PackageKit::Idle, ..Neighbours::default() };
    assert_eq!(found(&machine).await, quiet);

    machine.write("etc/cron-apt/action.d/5-upgrade", "dist-upgrade -y\n");
    machine.write("var/lib/snapd/snaps/lxd_1.snap", "");
    machine.write("var/lib/PackageKit/offline-update-action", "reboot");
    let more = Neighbours { cron_apt: CronApt::Installs, snaps: true, ..quiet };
    assert_eq!(found(&machine).await, more, "nothing leads into its update");
    symlink("/var/cache", machine.path("system-update")).unwrap();
    assert_eq!(found(&machine).await, Neighbours { package_kit: PackageKit::Waits, ..more });
    fs::create_dir_all(machine.path("etc/systemd/system")).unwrap();
    let unit = "etc/systemd/system/packagekit-offline-update.service";
    symlink("/dev/null", machine.path(unit)).unwrap();
    assert_eq!(found(&machine).await, Neighbours { package_kit: PackageKit::Nothing, ..more });
}
