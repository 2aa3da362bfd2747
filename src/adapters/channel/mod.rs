//! Release channels as they come over the network: TUF repositories of static files
//! (<https://theupdateframework.github.io/specification/latest/>), read by `tough`.
//!
//! Whatever they are fetched with ([`remote::Remote`], [`folder::Folder`]) is not trusted: a file
//! counts only when the signed metadata names it, byte for byte. [`client::Client`] keeps what was seen
//! last, durably, so that nothing older is believed.

pub mod client;
mod error;
pub mod folder;
pub mod graph;
pub mod keys;
pub mod look;
pub mod mirror;
pub mod publisher;
mod recorder;
pub mod remote;
pub mod spool;
mod store;

pub use error::{ChannelError, Reason};
