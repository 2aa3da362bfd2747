//! Debian packages: what to install, an exact stage of it, and the transaction that installs it.
//!
//! apt-get and dpkg are run as programs (libapt changes its name with each release, and would keep
//! its memory in ours). Three rules come from how they behave:
//!
//! - The lists of a check are our own; nobody's lock is taken.
//! - apt does not hash a .deb that already lies in its cache. So a stage is a private repository
//!   whose index we write ourselves: then apt hashes every file when it applies, needs no network,
//!   keeps holds and auto marks, and never removes a package.
//! - Exit codes lie (`dpkg --audit`, `apt-get check`); what counts is dpkg's own record afterwards.

mod alone;
pub mod apt_get;
pub mod changelog;
pub mod control;
pub mod flag;
pub mod hidden;
pub mod installed;
mod kept;
pub mod locks;
mod manager;
mod pinned;
pub mod releases;
pub mod removals;
pub mod repair;
pub mod repository;
pub mod resolve;
pub mod scripts;
pub mod set;
pub mod simulation;
pub mod sources;
pub mod space;
pub mod stage;
pub mod status;
pub mod transaction;
pub mod undo;
pub mod uris;
pub mod version;
pub mod way_back;

pub use super::packages::{Layout, PackageError as AptError, durable, plans, progress};
pub use manager::Apt;
