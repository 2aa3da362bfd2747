//! What every store promises to those who ask again and again instead of waiting.

use std::time::Duration;

use lockkeeper::adapters::slots::StoreError;
use lockkeeper::adapters::slots::poll::Polled;
use lockkeeper::core::slots::{Holder, Refusal, SlotsView};

use crate::bench::{Bench, Lock, claim, etcd_store, queue, start};
use crate::proxy::{Fault, Proxy};
use crate::wait::{eventually, within};

const MINUTE: Duration = Duration::from_secs(60);

async fn poll(lock: &Lock, node: &str, ttl: Duration) -> Polled {
    lock.store.poll("default", &claim(node), ttl).await.unwrap()
}

/// How many are before a poller that has to wait.
async fn ahead(lock: &Lock, node: &str) -> u64 {
    match poll(lock, node, MINUTE).await {
        Polled::Waiting { ahead, .. } => ahead,
        Polled::Granted(_) => panic!("{node} was admitted"),
    }
}

async fn depart(lock: &Lock, node: &str) -> bool {
    let nonce = format!("nonce-{node}");
    lock.store.depart("default", node, &nonce, Duration::ZERO).await.unwrap()
}

fn holders(view: &SlotsView) -> Vec<&str> {
    view.slots.holders.iter().map(|h| h.node.as_str()).collect()
}

pub async fn a_refused_poll_of_a_ticket_holder_writes_nothing(bench: Bench) {
    let lock = bench.store();
    let Polled::Granted(token) = poll(&lock, "a", MINUTE).await else { panic!("a slot is free") };
    assert_eq!((ahead(&lock, "b").await, ahead(&lock, "c").await), (0, 1));
    let mark = bench.mark().await;
    for _ in 0..3 {
        assert_eq!(poll(&lock, "a", MINUTE).await, Polled::Granted(token), "its holder asks again");
        assert_eq!(ahead(&lock, "c").await, 1);
        let Polled::Waiting { ahead, view } = poll(&lock, "b", MINUTE).await else { panic!() };
        let own: Vec<_> = view.queue.iter().map(|ticket| ticket.node.as_str()).collect();
        assert_eq!((ahead, holders(&view), own), (0, vec!["a"], vec!["b"]));
    }
    assert!(!depart(&lock, "nobody").await);
    assert_eq!(bench.mark().await, mark);
    assert!(depart(&lock, "a").await && !depart(&lock, "a").await);
    assert_eq!(ahead(&lock, "c").await, 1, "b was first");
    assert!(!depart(&lock, "b").await, "it had a ticket only");
    assert!(matches!(poll(&lock, "c", MINUTE).await, Polled::Granted(_)));
}

pub async fn who_no_longer_polls_leaves_the_queue(bench: Bench) {
    let lock = bench.store();
    poll(&lock, "a", MINUTE).await;
    poll(&lock, "gone", Duration::from_secs(1)).await;
    poll(&lock, "b", MINUTE).await;
    let last = start(bench.store(), claim("c"));
    assert!(depart(&lock, "a").await);
    eventually("the one that is gone has lost its place", || async {
        matches!(poll(&lock, "b", MINUTE).await, Polled::Granted(_)).then_some(())
    })
    .await;
    assert!(last.waits());
    depart(&lock, "b").await;
    last.token().await;
}

pub async fn pollers_and_waiters_stand_in_one_queue(bench: Bench) {
    let lock = bench.store();
    poll(&lock, "x", MINUTE).await;
    assert_eq!(ahead(&lock, "p1").await, 0);
    let waiter = queue(&bench, "w").await;
    assert_eq!(ahead(&lock, "p2").await, 2);
    depart(&lock, "x").await;
    assert!(waiter.waits(), "p1 is before it");
    assert_eq!(ahead(&lock, "p2").await, 2);
    assert!(matches!(poll(&lock, "p1", MINUTE).await, Polled::Granted(_)));
    depart(&lock, "p1").await;
    waiter.token().await;
    let foreign = Holder { nonce: "other".into(), ..claim("w") };
    let refused = lock.store.poll("default", &foreign, MINUTE).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::DuplicateNode { .. }))));
    lock.release("w", "nonce-w", Duration::ZERO).await.unwrap();
    assert!(matches!(poll(&lock, "p2", MINUTE).await, Polled::Granted(_)));
}

pub async fn any_text_can_be_the_id_of_a_poller(bench: Bench) {
    let lock = bench.store();
    for id in ["a/b", "../x", "%2e", "\u{fc} \u{1f512}\n\"\\", "\0"] {
        assert!(matches!(poll(&lock, id, MINUTE).await, Polled::Granted(_)), "{id:?}");
        assert_eq!(ahead(&lock, &format!("{id}2")).await, 0);
        let view = lock.view().await.unwrap();
        assert_eq!((holders(&view), view.queue[0].node.clone()), (vec![id], format!("{id}2")));
        assert!(lock.held(id, &format!("nonce-{id}")).await.unwrap().is_some());
        assert!(!depart(&lock, &format!("{id}2")).await && depart(&lock, id).await);
    }
    within("nothing is left in the way", lock.acquire(&claim("z"), |_| {})).await.unwrap();
}

/// Only the transaction that admits `a` has this in it.
const ADMISSION_OF_A: &str = r#""holders":[{"node":"a""#;

#[tokio::test]
async fn an_admission_that_arrives_after_its_poller_departed_is_void() {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), ADMISSION_OF_A, Fault::HoldRequest).await;
    let lock = etcd_store(&[proxy.url()]);
    let polling = tokio::spawn({
        let lock = lock.clone();
        async move { poll(&lock, "a", MINUTE).await }
    });
    eventually("the admission is under way", || async { proxy.happened().then_some(()) }).await;
    polling.abort();
    assert!(polling.await.unwrap_err().is_cancelled());
    let departed = eventually("a departs, over another connection", || async {
        lock.store.depart("default", "a", "nonce-a", Duration::ZERO).await.ok()
    });
    assert!(!departed.await);
    let handled = async || {
        cluster.metric(0, r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Txn""#).await
    };
    let before = handled().await;
    proxy.let_go();
    eventually("etcd has decided", || async { (handled().await > before).then_some(()) }).await;
    assert_eq!(holders(&bench.store().view().await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn an_admission_whose_reply_is_lost_is_found_again_by_the_same_poll() {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), ADMISSION_OF_A, Fault::LoseReplies).await;
    let lock = etcd_store(&[proxy.url()]);
    let Polled::Granted(token) = within("a", poll(&lock, "a", MINUTE)).await else { panic!() };
    assert!(proxy.happened());
    assert_eq!(bench.store().held("a", "nonce-a").await.unwrap(), Some(token));
    assert_eq!(bench.store().store.history("default").await.unwrap().len(), 1, "admitted once");
    assert!(depart(&lock, "a").await);
}
