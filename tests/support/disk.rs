//! A file system on a loop device, with the root of a small system in it: btrfs, in a subvolume, or ext4.
//!
//! The name of its directory carries the id of the process that made it. It goes when the value goes,
//! and what a killed process left goes when the next one begins.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::archive::run;

const PREFIX: &str = "lockkeeper-disk-";

pub struct Disk {
    root: PathBuf,
    image: TempDir,
}

impl Disk {
    /// A directory with `root`, mounted from `@`, and `state`, from a subvolume of its own, as the
    /// agent's is in the system.
    pub fn new(megabytes: u64) -> (Self, TempDir) {
        let (disk, dir) = Self::made(megabytes, "mkfs.btrfs", &["-q", "-m", "single"]);
        let top = disk.top();
        disk.mount_image(&top);
        for name in ["@", "@state", "@agent"] {
            run(Command::new("btrfs").args(["subvolume", "create"]).arg(top.join(name)));
        }
        folders(&top.join("@"));
        disk.mount("@state", &dir.path().join("state"));
        disk.boots();
        (disk, dir)
    }

    /// The same with `root` on ext4, and nothing else mounted.
    pub fn plain(megabytes: u64) -> (Self, TempDir) {
        let (disk, dir) = Self::made(megabytes, "mkfs.ext4", &["-q", "-F"]);
        disk.mount_image(&disk.root);
        folders(&disk.root);
        (disk, dir)
    }

    /// Mounted nowhere.
    fn made(megabytes: u64, program: &str, arguments: &[&str]) -> (Self, TempDir) {
        clear_away();
        let image = tempfile::tempdir().unwrap();
        let file = fs::File::create(image.path().join("disk")).unwrap();
        file.set_len(megabytes << 20).unwrap();
        run(Command::new(program).args(arguments).arg(image.path().join("disk")));
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let disk = Self { root: dir.path().join("root"), image };
        for folder in ["root", "state", "top"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        (disk, dir)
    }

    fn mount_image(&self, place: &Path) {
        let image = self.image.path().join("disk");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(place));
    }

    /// The top level, as nobody but the test sees it.
    pub fn top(&self) -> PathBuf {
        self.root.with_file_name("top")
    }

    /// Mounts a subvolume somewhere.
    pub fn mount(&self, name: &str, place: &Path) {
        let device = run(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.top()));
        let device = device.trim().split('[').next().unwrap().to_owned();
        let option = format!("subvol={name}");
        run(Command::new("mount").args(["-o", &option, &device]).arg(place));
    }

    /// The root is what has its name now.
    pub fn boots(&self) {
        if is_mounted(&self.root) {
            run(Command::new("umount").arg("-R").arg(&self.root));
        }
        self.mount("@", &self.root);
        self.mount("@agent", &self.root.join("var/lib/lockkeeper"));
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(self.root.join("run")));
        let cmdline = "BOOT_IMAGE=/@/boot/vmlinuz root=UUID=1 ro rootflags=subvol=@ quiet\n";
        fs::write(self.root.join("proc/cmdline"), cmdline).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(self.root.parent().unwrap());
    }
}

/// What a root has from the first.
fn folders(root: &Path) {
    for folder in ["opt", "proc", "run", "var/lib/lockkeeper", "var/lib/apt"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
}

fn mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().map(|line| line.split(' ').nth(4).unwrap().into()).collect()
}

pub fn is_mounted(place: &Path) -> bool {
    mounts().iter().any(|mount| mount == place)
}

fn unmount_below(dir: &Path) {
    for mount in mounts().into_iter().rev().filter(|mount| mount.starts_with(dir)) {
        let _ = Command::new("umount").arg("-l").arg(mount).status();
    }
}

/// Of processes that are no more.
fn clear_away() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            unmount_below(&entry.path());
            if !mounts().iter().any(|mount| mount.starts_with(entry.path())) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
