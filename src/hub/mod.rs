//! The hub: serves the reboot lock over FleetLock to nodes that have no agent of ours, and to agents
//! that shall not reach etcd.
//!
//! ```text
//! connection (TLS) ─► http: path, method, token, header, body ─► desk: one client at a time ─► store
//! ```
//!
//! It keeps nothing itself: slots, queue and order are the store's, so that any number of instances
//! may serve one etcd, and agents wait in the same queue.

mod answer;
mod desk;
mod http;
mod secrets;
mod server;

pub use desk::{Desk, Rules};
pub use secrets::{Secrets, SecretsError};
pub use server::{Limits, Server};

use crate::{
    adapters::slots::{
        SlotStore, StoreError,
        etcd::{Access, EtcdStore},
        local::LocalStore,
    },
    config::hub::{Hub, Store},
    core::change::{AdminOp, Change},
};

/// The store that the configuration names, with the slots that it gives to groups.
///
/// # Errors
/// When the embedded one cannot be opened or written.
pub async fn store(hub: &Hub) -> Result<SlotStore, StoreError> {
    let store = match hub.store {
        Store::Etcd => SlotStore::Etcd(EtcdStore::new(&Access::from(&hub.etcd), &hub.etcd.prefix)),
        Store::Embedded => {
            SlotStore::Local(LocalStore::database(&hub.embedded_path, hub.ticket_ttl)?)
        }
    };
    for (group, slots) in &hub.groups {
        let (op, by) = (AdminOp::SetMax(*slots), "the hub's configuration".to_owned());
        store.admin(group, &Change { op, by, reason: String::new() }).await?;
    }
    Ok(store)
}
