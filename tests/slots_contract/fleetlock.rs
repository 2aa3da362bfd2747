//! What a hub promises to its clients beyond, or in other words than, what every store promises.

use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use lockkeeper::adapters::slots::fleetlock::wire::NONCE;
use lockkeeper::adapters::slots::{NodeRecord, SlotStore, StoreError};
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::slots::{Holder, Refusal, SlotsView};

use crate::bench::{Bench, Lock, claim, queue};
use crate::hub::{self, RULES};
use crate::wait::within;

/// The store behind the hub.
fn behind(bench: &Bench) -> &Bench {
    match bench {
        Bench::Hub(behind, _) => behind,
        _ => panic!("no hub"),
    }
}

async fn acquire(store: &Lock, claim: &Holder) -> Result<i64, StoreError> {
    within("acquire returns", store.acquire(claim, |_| {})).await
}

async fn release(store: &Lock, node: &str) {
    store.release(node, &format!("nonce-{node}"), Duration::ZERO).await.unwrap();
}

fn nodes<'a>(of: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    of.into_iter().map(String::as_str).collect()
}

fn holders(view: &SlotsView) -> Vec<&str> {
    nodes(view.slots.holders.iter().map(|h| &h.node))
}

fn waiters(view: &SlotsView) -> Vec<&str> {
    nodes(view.queue.iter().map(|t| &t.node))
}

pub async fn an_id_that_an_agent_uses_is_refused(bench: Bench) {
    let agents = behind(&bench).store();
    acquire(&agents, &claim("a")).await.unwrap();
    let refused = acquire(&bench.store(), &claim("a")).await;
    let Err(StoreError::Refused(Refusal::DuplicateNode { name, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert!(name.contains("host-a"), "{name}");
    release(&bench.store(), "a").await;
    assert_eq!(
        holders(&agents.view().await.unwrap()),
        ["a"],
        "it is not the client's to give back"
    );
    let waiting = queue(behind(&bench), "b").await;
    let refused = acquire(&bench.store(), &claim("b")).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::DuplicateNode { .. }))));
    release(&bench.store(), "b").await;
    release(&agents, "a").await;
    waiting.token().await;
}

pub async fn releasing_what_is_not_held_writes_nothing(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("a")).await.unwrap();
    let mark = bench.mark().await;
    release(&store, "b").await;
    assert_eq!(bench.mark().await, mark);
    release(&store, "a").await;
    assert_ne!(bench.mark().await, mark);
    let mark = bench.mark().await;
    release(&store, "a").await;
    assert_eq!(bench.mark().await, mark, "the second release finds nothing to do");
}

pub async fn who_leaves_while_waiting_does_not_block_the_queue(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("x")).await.unwrap();
    let first = queue(&bench, "a").await;
    let second = queue(&bench, "b").await;
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    assert_eq!(store.leave("a", "nonce-a").await.unwrap(), None);
    assert_eq!(waiters(&store.view().await.unwrap()), ["b"]);
    release(&store, "x").await;
    second.token().await;
    assert_eq!(store.leave("b", "nonce-b").await.unwrap(), None);
    assert_eq!(holders(&store.view().await.unwrap()), [""; 0], "a slot is given back on leaving");
}

pub async fn an_acquire_dropped_anywhere_keeps_no_slot_after_leave(bench: Bench) {
    let (store, other) = (bench.store(), bench.store());
    for polls in 1.. {
        let admitted = {
            let acquired = claim("a");
            let mut acquire = pin!(store.acquire(&acquired, |_| {}));
            let mut left = polls;
            let limited = std::future::poll_fn(|cx| {
                left -= 1;
                match acquire.as_mut().poll(cx) {
                    Poll::Ready(token) => Poll::Ready(token.is_ok()),
                    Poll::Pending if left == 0 => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                }
            });
            within("the acquire is polled", limited).await
        };
        assert_eq!(store.leave("a", "nonce-a").await.unwrap(), None);
        assert_eq!(store.held("a", "nonce-a").await.unwrap(), None);
        acquire(&other, &claim("b")).await.unwrap();
        assert_eq!(holders(&other.view().await.unwrap()), ["b"]);
        release(&other, "b").await;
        if admitted {
            return;
        }
    }
}

pub async fn nobody_is_admitted_while_the_group_settles(bench: Bench) {
    let settle = Duration::from_secs(1);
    let store = behind(&bench).store().store;
    let url = hub::serve(store, hub::with_settle(RULES, settle)).await;
    let clients = Lock { store: hub::client(&url), ..bench.store() };
    acquire(&clients, &claim("a")).await.unwrap();
    let mut next = queue(&bench, "b").await;
    release(&clients, "a").await;
    assert!(clients.view().await.unwrap().settling);
    next.told("b sees that the group settles", |news| {
        news.as_ref().ok().filter(|view| view.settling && holders(view).is_empty()).map(|_| ())
    })
    .await;
    assert!(next.waits());
    next.token().await;
    assert!(!clients.view().await.unwrap().settling);
}

pub async fn agents_and_fleetlock_clients_wait_in_one_queue(bench: Bench) {
    let (clients, agents) = (bench.store(), behind(&bench).store());
    acquire(&agents, &claim("x")).await.unwrap();
    let mut line = Vec::new();
    for (index, node) in ["f1", "a1", "f2", "a2", "a3", "f3"].into_iter().enumerate() {
        let kind = if node.starts_with('f') { &bench } else { behind(&bench) };
        line.push(queue(kind, node).await);
        assert_eq!(agents.view().await.unwrap().queue.len(), index + 1);
    }
    release(&agents, "x").await;
    let mut last = 0;
    for waiter in line {
        let node = waiter.node.clone();
        let token = waiter.token().await;
        assert!(token > last, "tokens grow");
        last = token;
        let view = agents.view().await.unwrap();
        assert_eq!(holders(&view), [node.as_str()]);
        let foreign = node.starts_with('f');
        assert_eq!(view.slots.holders[0].nonce == NONCE, foreign);
        release(if foreign { &clients } else { &agents }, &node).await;
    }
}

pub async fn what_the_protocol_has_no_words_for_is_an_error_and_not_a_guess(bench: Bench) {
    let Bench::Hub(_, url) = &bench else { panic!("no hub") };
    let client = hub::client(url);
    let groups = ["default".to_owned(), "more".to_owned()];
    let unusable = |error: StoreError| match error {
        StoreError::Unusable { what } => what,
        error => panic!("{error:?}"),
    };
    let held = client.held(&groups[..1], "a", "nonce-a").await.unwrap_err();
    assert_eq!(unusable(held), format!("{url}: FleetLock cannot tell who holds a slot"));
    let both = client.acquire(&groups, &claim("a"), |_| {}).await.unwrap_err();
    assert!(unusable(both).contains("several groups at once"));
    assert!(client.release(&groups, "a", "nonce-a", Duration::ZERO).await.is_err());
    let lock = Lock::of(client.clone());
    unusable(lock.admin(&AdminOp::SetMax(2)).await.unwrap_err());
    unusable(lock.admin(&AdminOp::Resume).await.unwrap_err());
    lock.admin(&crate::bench::halt()).await.expect("a kept slot is the halt there is");
    assert!(client.view(&groups[..1]).await.unwrap().is_empty(), "nothing is known");
    let record = NodeRecord {
        name: "web-1".into(),
        phase: "steady".into(),
        text: String::new(),
        service: "in-service".into(),
        address: None,
    };
    client.publish("a", &record).await.unwrap();
    assert!(matches!(&client, SlotStore::FleetLock(_)));
    assert!(client.nodes().await.unwrap().is_empty());
}
