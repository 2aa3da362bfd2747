//! A hub on a loopback port, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::adapters::slots::fleetlock::{FleetLockStore, Server as Reach};
use lockkeeper::config::hub::Hub;
use lockkeeper::hub::{Desk, Limits, Rules, Secrets, Server};
use tokio::sync::watch;

/// Rules under which nothing has to be waited for.
pub const RULES: Rules = Rules {
    ticket_ttl: Duration::from_secs(60),
    settle: Duration::ZERO,
    ask_again: Duration::ZERO,
};

/// Serves `store` until the test ends; answers the URL.
pub async fn serve(store: SlotStore, rules: Rules) -> String {
    serve_as(store, rules, &Hub::default(), Limits::default()).await
}

/// The same with the secrets that `hub` names.
pub async fn serve_as(store: SlotStore, rules: Rules, hub: &Hub, limits: Limits) -> String {
    let (_publish, secrets) = watch::channel(Arc::new(Secrets::load(hub).unwrap()));
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, Desk::new(store, rules), secrets, limits).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(std::future::pending()));
    let scheme = if hub.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// How a client reaches `url`, asking often.
pub fn reach(url: &str) -> Reach {
    Reach {
        url: url.to_owned(),
        token_file: None,
        ca_file: None,
        identity: None,
        timeout: Duration::from_secs(20),
        interval: Duration::from_millis(5),
    }
}

/// Our own client.
pub fn client(url: &str) -> SlotStore {
    SlotStore::FleetLock(FleetLockStore::new(&reach(url)))
}

/// The same rules, with a settle time.
pub fn with_settle(rules: Rules, settle: Duration) -> Rules {
    Rules { settle, ..rules }
}
