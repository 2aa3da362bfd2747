//! Everything that touches the world, one file or folder per outside thing.

pub mod alerts;
pub mod apt;
pub mod as_user;
pub mod boot_files;
pub mod boot_loader;
pub mod channel;
pub mod clock;
pub mod command;
pub mod confd;
pub mod containers;
pub mod dnf;
mod http;
pub mod kernel;
pub mod kexec;
pub mod microcode;
pub mod migrate;
pub mod mounts;
pub mod neighbours;
pub mod node;
pub mod packages;
pub mod probe;
pub mod scripts;
pub mod slots;
pub mod stale;
pub mod state_file;
pub mod systemd;
pub mod wishes;
