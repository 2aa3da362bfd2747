//! A snapshot of the root file system as the way back from a plan (btrfs).
//!
//! The root is a subvolume that the boot loader and the kernel find by its name. Before the plan is
//! applied, a snapshot of it is taken beside it; to go back, a copy of the snapshot takes over the
//! name, in one rename(2) that exchanges the two, and the next boot starts it. The machine runs on
//! what it had until then, under another name: so a way back by snapshot needs a reboot.
//!
//! Everything written to the root since the snapshot is left behind with it. What must survive lies
//! outside: our own state, above all.

mod error;
mod fit;
mod nested;
mod root;
mod top;
mod ways;

pub use error::{SnapshotError, Unfit};
pub use fit::check;
pub use root::{Arranged, Root, left_behind};
pub use ways::{arrange, go_back, take};
