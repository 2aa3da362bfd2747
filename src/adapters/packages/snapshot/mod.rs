//! A snapshot of the root file system as the way back from a plan.
//!
//! On **btrfs** the root is a subvolume that the boot loader and the kernel find by its name. Before
//! the plan is applied, a snapshot of it is taken beside it; to go back, a copy of the snapshot takes
//! over the name, in one rename(2) that exchanges the two, and the next boot starts it.
//!
//! On **LVM** the root is a thin volume, and the snapshot another one. To go back, LVM is told to merge
//! the two, which it does when the root is activated the next time: by the next boot. No boot loader
//! reads a thin volume, so `/boot` is a file system of its own: what is there is remembered with the
//! snapshot, and where it has changed since, the packages are the way back.
//!
//! On **ZFS** the root is a file system that the initial ramdisk finds by the pool's property `bootfs`.
//! To go back, that is set to a copy of the snapshot, in one step. `/boot` is apart there, too.
//!
//! The machine runs on what it had until then: so a way back by snapshot needs a reboot. Everything
//! written to the root since the snapshot is left behind with it, or lost. What must survive lies
//! outside: our own state, above all.

mod boot;
mod btrfs;
mod clone;
mod dataset;
mod error;
mod fit;
mod lvm;
mod nested;
mod outside;
mod root;
mod subvolume;
mod thin;
mod top;
mod volume;
mod ways;
mod zfs;

pub use dataset::Dataset;
pub use error::{SnapshotError, Unfit};
pub use fit::check;
pub use root::{Arranged, Root, left_behind};
pub use subvolume::Subvolume;
pub use volume::Volume;
pub use ways::{arrange, free, go_back, take};
