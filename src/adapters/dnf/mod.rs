//! rpm packages: what to install, an exact stage of it, and the transaction that installs it.
//!
//! dnf (version 4) and rpm are run as programs. What their behaviour asks for:
//!
//! - The metadata of a check is our own; nobody's cache is touched.
//! - dnf has no output for programs of what it would do: its table is read ([`table`]), and a word in
//!   it that is not known is an error.
//! - dnf does not hash a file it is given, nor look at its signature. We do, before each use.
//! - `dnf upgrade FILES` keeps the reason each package was installed for, and takes what is new as a
//!   dependency. rpm alone would leave what is new without a reason, `dnf install` as the user's wish.
//! - dnf calls a transaction complete whose `%post` has failed. Its log says so, and we read that.
//! - rpm writes a package down before its old version is gone: cut off in between, both are there.

mod course;
pub mod installed;
mod manager;
mod news;
mod offers;
mod program;
mod reboot;
mod repair;
mod resolve;
mod stage;
pub mod table;
mod transaction;
pub mod version;
mod way_back;

pub use manager::Dnf;
