//! Starting the next kernel from the running one (`kexec(8)`), without firmware and boot loader.

use std::{fs, path::Path, time::Duration};

use zbus::Connection;

use super::{
    boot_files,
    boot_loader::{self, Start},
    kernel,
    packages::Layout,
    scripts::{self, Order},
    systemd::{boot, oneshot::OneshotError},
};

const PROGRAM: &str = "/usr/sbin/kexec";
const UNIT: &str = "lockkeeper-kexec.service";
/// Reading a kernel and an initrd takes seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Whether one may be loaded, and is.
const SWITCH: &str = "proc/sys/kernel/kexec_load_disabled";
const LOADED: &str = "sys/kernel/kexec_loaded";
/// Which kind of boot loader has started the kernel (x86 only), with its version in the low four bits;
/// and that of kexec (`Documentation/arch/x86/boot.rst` of the kernel).
const STARTED_BY: &str = "proc/sys/kernel/bootloader_type";
const BY_KEXEC: u32 = 0xd;
/// Debian's own way to have every reboot made by kexec.
const DEFAULTS: &str = "etc/default/kexec";

/// A kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KexecError {
    /// The program could not be run.
    #[error(transparent)]
    Run(#[from] OneshotError),
    /// The program is not there, or not root's alone.
    #[error("{0}")]
    Program(String),
    /// It said no.
    #[error("kexec {0}")]
    Failed(String),
    /// It said yes, and the kernel has nothing.
    #[error("kexec has loaded nothing")]
    Nothing,
}

/// What of the machine is against kexec.
#[must_use]
pub fn obstacle(layout: &Layout) -> Option<String> {
    let read = |path: &str| fs::read_to_string(layout.at(path)).ok();
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<u32>().ok());
    if kernel::is_container(layout) {
        return Some("a container has no kernel of its own".to_owned());
    }
    if !layout.at(PROGRAM).exists() {
        return Some("kexec-tools is not installed".to_owned());
    }
    if let Err(why) = scripts::trusted(layout.root(), Path::new(PROGRAM)) {
        return Some(why);
    }
    match (number(SWITCH), number(LOADED), number(STARTED_BY)) {
        (Some(0), Some(0), Some(_)) => {}
        (Some(0), Some(_), Some(_)) => return Some("a kernel is loaded already".to_owned()),
        (Some(0), Some(_), None) => {
            return Some("the kernel does not tell what has started it".to_owned());
        }
        (Some(_), Some(_), _) => {
            return Some("kexec is switched off (kernel.kexec_load_disabled)".to_owned());
        }
        _ => return Some("the running kernel has no kexec".to_owned()),
    }
    if read("sys/hypervisor/type").is_some_and(|kind| kind.trim() == "xen") {
        return Some("Xen lies below the kernel".to_owned());
    }
    boot_loader::asked_of_firmware(layout).or_else(|| changed(layout))
}

/// Only firmware and boot loader make use of what is new there.
fn changed(layout: &Layout) -> Option<String> {
    let look = |place| boot_files::loader_changed_since(&layout.at(place), boot::kernel_started()?);
    ["boot", "efi"].into_iter().find_map(|place| match look(place) {
        Ok(None) => None,
        Ok(Some(file)) => Some(format!("{file} was changed since the kernel was started")),
        Err(error) => Some(format!("/{place} cannot be looked at: {error}")),
    })
}

/// Whether the running kernel was started by kexec.
#[must_use]
pub fn has_started_this(layout: &Layout) -> bool {
    let text = fs::read_to_string(layout.at(STARTED_BY)).unwrap_or_default();
    text.trim().parse::<u32>().is_ok_and(|kind| kind >> 4 == BY_KEXEC)
}

/// Whether kexec-tools itself makes every other reboot one by kexec.
#[must_use]
pub fn takes_all_reboots(layout: &Layout) -> bool {
    let text = fs::read_to_string(layout.at(DEFAULTS)).unwrap_or_default();
    text.lines().rfind(|line| line.trim().starts_with("LOAD_KEXEC=")).is_some_and(|line| {
        line.split_once('=').is_some_and(|(_, value)| value.trim().trim_matches('"') == "true")
    })
}

/// Loads what is to be started next. The kernel itself reads and checks the files: where it asks for
/// signatures (Secure Boot, lockdown), one without a good one is refused.
pub async fn load(bus: &Connection, layout: &Layout, next: &Start) -> Result<(), KexecError> {
    let initrd = format!("--initrd={}", next.initrd.display());
    let options = format!("--command-line={}", next.options);
    if [&initrd, &options].iter().any(|text| text.contains('$')) {
        // systemd would take it for a variable.
        return Err(KexecError::Program("a dollar sign cannot be handed to kexec".to_owned()));
    }
    let kernel = next.kernel.to_string_lossy();
    run(bus, layout, &["--kexec-file-syscall", "--load", &kernel, &initrd, &options]).await?;
    let loaded = fs::read_to_string(layout.at(LOADED)).unwrap_or_default();
    if loaded.trim() == "1" { Ok(()) } else { Err(KexecError::Nothing) }
}

/// Forgets what was loaded: whoever asks for a reboot might get it.
pub async fn unload(bus: &Connection, layout: &Layout) -> Result<(), KexecError> {
    run(bus, layout, &["--kexec-file-syscall", "--unload"]).await
}

/// In a unit of its own: we may start no kernel.
async fn run(bus: &Connection, layout: &Layout, arguments: &[&str]) -> Result<(), KexecError> {
    let program = scripts::trusted(layout.root(), Path::new(PROGRAM));
    let order = Order {
        unit: UNIT,
        description: "lockkeeper: the next kernel",
        program: &program.map_err(KexecError::Program)?,
        arguments,
        environment: &[],
        input: &[],
        limit: LIMIT,
    };
    match scripts::run(bus, &order).await?.complaint() {
        None => Ok(()),
        Some(complaint) => Err(KexecError::Failed(complaint)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn system() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::rooted(dir.path(), dir.path(), &dir.path().join("apt.conf"));
        (dir, layout)
    }

    fn write(layout: &Layout, path: &str, text: &str) {
        let path = layout.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn each_obstacle_has_words() {
        let (_dir, layout) = system();
        let words = |part: &str| {
            let said = obstacle(&layout);
            assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{part}: {said:?}");
        };
        words("not installed");
        write(&layout, PROGRAM, "");
        words("no kexec");
        for (path, text) in [(SWITCH, "1\n"), (LOADED, "1\n"), (STARTED_BY, "114\n")] {
            write(&layout, path, text);
        }
        words("kexec_load_disabled");
        write(&layout, SWITCH, "0\n");
        words("loaded already");
        write(&layout, LOADED, "0\n");
        assert_eq!(obstacle(&layout), None);
        write(&layout, "boot/grub/i386-pc/core.img", "");
        words("core.img was changed");
        fs::remove_file(layout.at("boot/grub/i386-pc/core.img")).unwrap();
        write(&layout, "sys/hypervisor/type", "xen\n");
        words("Xen");
        fs::remove_file(layout.at(STARTED_BY)).unwrap();
        words("what has started it");
        fs::set_permissions(layout.at(PROGRAM), fs::Permissions::from_mode(0o777)).unwrap();
        words("can be written by others");
        write(&layout, "run/systemd/container", "systemd-nspawn\n");
        words("container");
    }

    #[test]
    fn a_kernel_tells_whether_kexec_has_started_it() {
        let (_dir, layout) = system();
        assert!(!has_started_this(&layout));
        for (kind, expected) in [("114\n", false), ("208\n", true), ("33\n", false), ("", false)] {
            write(&layout, STARTED_BY, kind);
            assert_eq!(has_started_this(&layout), expected, "{kind}");
        }
    }

    #[test]
    fn kexec_tools_own_setting_is_seen() {
        let (_dir, layout) = system();
        assert!(!takes_all_reboots(&layout));
        for (text, expected) in [
            ("# LOAD_KEXEC=true\nLOAD_KEXEC=true\nUSE_GRUB_CONFIG=false\n", true),
            ("LOAD_KEXEC=\"true\"\n", true),
            ("LOAD_KEXEC=true\nLOAD_KEXEC=false\n", false),
            ("#LOAD_KEXEC=true\n", false),
        ] {
            write(&layout, DEFAULTS, text);
            assert_eq!(takes_all_reboots(&layout), expected, "{text}");
        }
    }
}
