//! What keeps a snapshot from being taken, or gone back to.

use std::{io, path::PathBuf};

use crate::adapters::command::CommandError;

/// A snapshot that cannot be taken, or not be gone back to.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// This root is not one that can be gone back to by snapshot.
    #[error("packages.snapshot does not suit this machine: {0}")]
    Unfit(#[from] Unfit),
    /// `btrfs`, LVM or ZFS could not be run, or said no.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The file system said no.
    #[error("cannot {what} {path}")]
    Io {
        /// `mount`, `read`, …
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `lvs` printed something that is no report.
    #[error("lvs printed something that is no report")]
    Report(#[source] serde_json::Error),
    /// `zpool get` or `zfs list` printed something that is no dataset.
    #[error("ZFS printed \"{0}\" for a dataset")]
    Dataset(String),
    /// The documents of a plan cannot be read.
    #[error("{0}")]
    Plan(String),
    /// `btrfs` printed something that is no number of a subvolume.
    #[error("btrfs printed \"{0}\" for the number of a subvolume")]
    Output(String),
}

/// Why going back to a snapshot of this root would not do what it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The setting says so.
    #[error("it is \"off\"")]
    NotAskedFor,
    /// Another file system.
    #[error("the root file system is {0}, not btrfs")]
    NotBtrfs(String),
    /// The mount table has no root.
    #[error("the mount table does not say where the root file system comes from")]
    NotMounted,
    /// A file system of which several may be in one volume, or that is in none.
    #[error("the root file system is {0}; it has to be ext4 or xfs")]
    NotPlain(String),
    /// Not a thin volume.
    #[error("the root is not a thin logical volume")]
    NotThin,
    /// A pool that is full stops the root.
    #[error(
        "the thin pool {pool} is too full for a snapshot: {percent} % of its {what}; extend it"
    )]
    Full {
        /// Its name.
        pool: String,
        /// `data` or `metadata`.
        what: &'static str,
        /// How much of it is used, as LVM says it.
        percent: String,
    },
    /// The boot loader's and the kernel's folder would be a part of the snapshot.
    #[error("/boot lies on the root; it has to be a file system of its own")]
    BootInside,
    /// A kernel or an initial ramdisk that does not fit what was gone back to.
    #[error("/boot has changed since the snapshot, and would not go back with the root")]
    BootChanged,
    /// Another file system.
    #[error("the root file system is {0}, not zfs")]
    NotZfs(String),
    /// The kernel's command line says which file system is the root, or which pool it is in.
    #[error(
        "the root is not found by the pool's bootfs; the kernel's command line needs root=zfs:AUTO, \
         and no rpool= of another pool"
    )]
    NotByBootfs,
    /// The initial ramdisk may ask that one.
    #[error(
        "the pool {0} has a bootfs, too; the kernel's command line needs rpool= with the name of the \
         root's"
    )]
    AnotherPool(String),
    /// The next boot starts another one.
    #[error("the pool's bootfs is not the root that runs, {0}")]
    NotBootfs(String),
    /// It would be mounted over the root that is gone back to.
    #[error("{0} has to have mountpoint=/ and canmount=noauto")]
    MountedByItself(String),
    /// It would not go back, and keep the root that is left from being removed.
    #[error("{0} lies below the root's file system; rename it to lie beside that")]
    Below(String),
    /// Something else has the name that the copy of the snapshot would have.
    #[error("{0} is no copy of the snapshot, and in the way of one")]
    InTheWay(String),
    /// What was to be removed was started, is looked into, or is somebody else's by now.
    #[error("{0} is in use, or has got another purpose")]
    InUse(String),
    /// There is none.
    #[error("the snapshot is not there")]
    Gone,
    /// Not a subvolume of its own.
    #[error("the root is the top level of its file system; it has to be a subvolume, such as @")]
    TopLevel,
    /// The kernel would start the same subvolume again, whatever has its name.
    #[error(
        "the kernel does not find the root by the name of its subvolume; \
         its command line needs rootflags=subvol={0}, and no subvolid="
    )]
    NotByName(String),
    /// The boot loader would start a kernel that the snapshot does not have.
    #[error(
        "the kernel was not loaded by GRUB from /boot in the root's subvolume (/{0}/boot), \
         so that it would not go back together with the root"
    )]
    KernelOutside(String),
    /// A part of what packages consist of would stay.
    #[error("{0} does not lie on the root, so that it would not go back with it")]
    Outside(PathBuf),
    /// A part of what must survive would go back.
    #[error(
        "{0} lies on the root and would be taken back with it; \
         mount a subvolume or volume of its own there (docs/packages.md says how)"
    )]
    StateInside(PathBuf),
    /// A member of etcd must not forget.
    #[error(
        "{0} lies on the root: a member of etcd that is taken back forgets what it has promised to the \
         others; mount a subvolume or volume of its own there"
    )]
    EtcdInside(PathBuf),
    /// btrfs makes no snapshot around an active swap file.
    #[error("the swap file {0} lies in the root's subvolume; move it to a subvolume of its own")]
    SwapInside(PathBuf),
    /// A snapshot leaves these out, so that they would be empty after the way back.
    #[error(
        "these subvolumes inside the root's are not empty, and a snapshot leaves them out: {}; \
         move them beside it, and mount them", list(.0)
    )]
    Nested(Vec<PathBuf>),
    /// Another root than the one it was prepared for.
    #[error("the root is not the one that the plan was staged on; stage it again")]
    Changed,
    /// The way back has been gone already.
    #[error("the machine has to reboot first: it still runs on a root that was gone back from")]
    LeftBehind,
}

/// At most this many are named.
const NAMED: usize = 5;

fn list(paths: &[PathBuf]) -> String {
    let mut names: Vec<String> =
        paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    if paths.len() > NAMED {
        names.push(format!("and {} more", paths.len() - NAMED));
    }
    names.join(", ")
}

impl SnapshotError {
    /// An I/O error with its context; for `map_err`.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
