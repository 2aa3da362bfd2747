//! Everybody at once, over real etcd and over a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::core::change::{AdminOp, Change};
use tokio::task::JoinSet;

use crate::etcd::Cluster;
use crate::hub::{RULES, serve};
use crate::wait::within;
use crate::wire::{HEADER, ask, body, connect, request};

const CLIENTS: usize = 100;
const MAX: u32 = 3;

pub fn etcd_store(endpoints: &[String]) -> SlotStore {
    SlotStore::Etcd(EtcdStore::new(
        &Access::open(endpoints, Duration::from_secs(5)),
        "/lockkeeper/v1",
    ))
}

/// Each of 100 clients polls until it has had a slot, through one of `urls`.
async fn storm(store: &SlotStore, urls: &[String]) {
    let op = AdminOp::SetMax(MAX);
    let change = Change { op, by: "an admin".to_owned(), reason: String::new() };
    store.admin("g", &change).await.unwrap();
    let (holding, polls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (holding, polls) = (holding.clone(), polls.clone());
        let url = urls[client % urls.len()].clone();
        clients.spawn(async move {
            let mut stream = connect(&url).await;
            let id = format!("c{client}");
            let lock = request("POST", "/v1/pre-reboot", HEADER, &body(&id, "g"));
            let unlock = request("POST", "/v1/steady-state", HEADER, &body(&id, "g"));
            loop {
                polls.fetch_add(1, Ordering::SeqCst);
                let answer = ask(&mut stream, &lock).await;
                match answer.status {
                    200 => break,
                    423 => {
                        let kind = answer.kind();
                        let expected = ["failed_lock_semaphore_full", "failed_lock_queued"];
                        assert!(expected.contains(&kind.as_str()), "{kind}");
                    }
                    _ => panic!("{answer:?}"),
                }
            }
            assert!(holding.fetch_add(1, Ordering::SeqCst) < MAX as usize, "too many hold");
            tokio::task::yield_now().await;
            holding.fetch_sub(1, Ordering::SeqCst);
            assert_eq!(ask(&mut stream, &unlock).await.status, 200);
        });
    }
    within("all have had a slot", clients.join_all()).await;
    assert!(polls.load(Ordering::SeqCst) > CLIENTS, "somebody had to wait");
    let view = store.view(&["g".to_owned()]).await.unwrap().remove("g").unwrap();
    assert_eq!((view.slots.holders.len(), view.queue.len()), (0, 0));
    let locked = store.history("g").await.unwrap();
    let locked = locked.iter().filter(|entry| entry.what.word() == "locked").count();
    assert_eq!(locked, CLIENTS, "each was admitted once");
}

#[tokio::test]
async fn a_hundred_clients_of_two_hubs_over_etcd_get_proper_answers_and_never_too_many_slots() {
    let cluster = Cluster::start(1).await;
    let store = etcd_store(&cluster.endpoints());
    let urls =
        [serve(store.clone(), RULES).await, serve(etcd_store(&cluster.endpoints()), RULES).await];
    storm(&store, &urls).await;
}

#[tokio::test]
async fn a_hundred_clients_of_a_hub_over_a_database_get_proper_answers() {
    let dir = tempfile::tempdir().unwrap();
    let database = LocalStore::database(&dir.path().join("s.redb"), RULES.ticket_ttl).unwrap();
    let store = SlotStore::Local(database);
    let url = serve(store.clone(), RULES).await;
    storm(&store, &[url]).await;
}

#[tokio::test]
async fn a_free_slot_costs_etcd_one_write_and_so_does_giving_it_back() {
    let cluster = Cluster::start(1).await;
    let url = serve(etcd_store(&cluster.endpoints()), RULES).await;
    let revision = async || {
        let answer = cluster.client().await.get("any", None).await.unwrap();
        answer.header().unwrap().revision()
    };
    let before = revision().await;
    assert_eq!(crate::wire::lock(&url, "a", "g").await.status, 200);
    assert_eq!(revision().await, before + 1);
    assert_eq!(crate::wire::lock(&url, "b", "g").await.status, 423);
    assert_eq!(revision().await, before + 2, "its ticket");
    for id in ["a", "b", "a", "b"] {
        crate::wire::lock(&url, id, "g").await;
    }
    assert_eq!(revision().await, before + 2, "asking again writes nothing");
    assert_eq!(crate::wire::unlock(&url, "a", "g").await.status, 200);
    assert_eq!(revision().await, before + 3);
}

#[tokio::test]
async fn a_hundred_no_op_unlocks_at_once_are_all_fine_and_write_nothing() {
    let cluster = Cluster::start(1).await;
    let url = serve(etcd_store(&cluster.endpoints()), RULES).await;
    let revision = async || {
        let answer = cluster.client().await.get("any", None).await.unwrap();
        answer.header().unwrap().revision()
    };
    let before = revision().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let url = url.clone();
        clients.spawn(async move { crate::wire::unlock(&url, &format!("c{client}"), "g").await });
    }
    for answer in within("all are answered", clients.join_all()).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(revision().await, before);
}

#[tokio::test]
async fn a_restarted_hub_knows_slots_and_queue_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = SlotStore::Local(LocalStore::database(&path, RULES.ticket_ttl).unwrap());
    for (id, status) in [("a", 200), ("b", 423), ("c", 423)] {
        assert_eq!(poll(&store, id).await, status);
    }
    drop(store);
    let store = SlotStore::Local(LocalStore::database(&path, RULES.ticket_ttl).unwrap());
    let view = store.view(&["g".to_owned()]).await.unwrap().remove("g").unwrap();
    let waiting: Vec<_> = view.queue.iter().map(|ticket| ticket.node.as_str()).collect();
    assert_eq!(waiting, ["b", "c"]);
    assert!(store.depart("g", "a", "fleet-lock", Duration::ZERO).await.unwrap());
    let url = serve(store, RULES).await;
    assert_eq!(crate::wire::lock(&url, "c", "g").await.status, 423, "b was first");
    assert_eq!(crate::wire::lock(&url, "b", "g").await.status, 200);
}

/// One poll without a server, whose connections would keep the database open.
async fn poll(store: &SlotStore, id: &str) -> u16 {
    use lockkeeper::adapters::slots::poll::Polled;
    use lockkeeper::core::slots::Holder;
    let claim = Holder {
        node: id.to_owned(),
        name: id.to_owned(),
        nonce: "fleet-lock".to_owned(),
        since: jiff::Timestamp::UNIX_EPOCH,
        reason: "fleet-lock".to_owned(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    };
    match store.poll("g", &claim, RULES.ticket_ttl).await.unwrap() {
        Polled::Granted(_) => 200,
        Polled::Waiting { .. } => 423,
    }
}
