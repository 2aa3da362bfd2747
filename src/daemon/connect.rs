//! Settings into what the driver works with: a policy and a lock store.

use std::path::Path;

use crate::{
    adapters::slots::{
        SlotStore,
        etcd::{Access, EtcdStore},
        fleetlock::{FleetLockStore, Server},
        local::LocalStore,
    },
    config::settings::{ApplyMode, OnFailure, Settings, Strategy},
    core::policy::Policy,
};

/// The part of the settings that decisions rest on.
pub fn policy(settings: &Settings, node: &str, name: &str) -> Policy {
    Policy {
        act: settings.strategy != Strategy::Off,
        schedule: settings.schedule.clone(),
        check_first: settings.check.first,
        check_interval: settings.check.interval,
        check_spread: settings.check.spread,
        reboot_timeout: settings.reboot.timeout,
        verify_settle: settings.verify.settle,
        verify_timeout: settings.verify.timeout,
        choice: settings.choice(),
        at_boot: settings.packages.apply == ApplyMode::Offline,
        roll_back: settings.packages.on_failure == OnFailure::RollBack,
        node: node.to_owned(),
        name: name.to_owned(),
    }
}

/// The store the strategy names; `dir` holds the local one.
pub fn store(settings: &Settings, dir: &Path) -> SlotStore {
    match settings.strategy {
        Strategy::EtcdLock => {
            let store = EtcdStore::new(&Access::from(&settings.etcd), &settings.etcd.prefix);
            SlotStore::Etcd(store.with_quarantine(settings.lock.quarantine()))
        }
        Strategy::FleetLock => {
            let server = settings.fleet_lock.clone();
            SlotStore::FleetLock(FleetLockStore::new(&Server {
                url: server.url,
                token_file: server.token_file,
                ca_file: server.ca_file,
                identity: server.cert_file.zip(server.key_file),
                timeout: server.timeout,
                interval: server.interval,
            }))
        }
        Strategy::Off | Strategy::Reboot => {
            SlotStore::Local(LocalStore::new(dir.join("local-slots.json")))
        }
    }
}
