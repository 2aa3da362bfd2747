//! Other programs' reboot locks, read once and never written, and what becomes of them in ours.

use std::collections::BTreeMap;

use super::slots::{
    StoreError,
    etcd::{Access, foreign},
};
use crate::core::migrate::Source;

mod carry;
mod keys_api;
pub mod unattended;

pub use carry::{apply, look};

/// The values below the keys of `source`, by key. None is no error.
///
/// # Errors
/// When etcd cannot be reached, or does not serve what is asked for.
pub async fn read(source: Source, access: &Access) -> Result<BTreeMap<String, String>, StoreError> {
    match source {
        Source::Locksmith => keys_api::read(access, source.prefix()).await,
        Source::Airlock => foreign::read(access, source.prefix()).await,
    }
}
