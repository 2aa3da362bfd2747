//! The promises. Each runs on a fresh store of each kind.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use lockkeeper::adapters::slots::{NodeRecord, StoreError};
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::slots::{Holder, Refusal, SlotsView};
use tokio::sync::Barrier;

use crate::bench::{Bench, Lock, claim, halt, queue};
use crate::wait::within;

const AT_ONCE: Duration = Duration::ZERO;

async fn acquire(store: &Lock, claim: &Holder) -> Result<i64, StoreError> {
    within("acquire returns", store.acquire(claim, |_| {})).await
}

async fn release(store: &Lock, node: &str) {
    store.release(node, &format!("nonce-{node}"), AT_ONCE).await.unwrap();
}

fn holders(view: &SlotsView) -> Vec<&str> {
    view.slots.holders.iter().map(|h| h.node.as_str()).collect()
}

fn waiters(view: &SlotsView) -> Vec<&str> {
    view.queue.iter().map(|t| t.node.as_str()).collect()
}

pub async fn never_more_than_max_hold_at_once(bench: Bench) {
    bench.store().admin(&AdminOp::SetMax(2)).await.unwrap();
    let holding = Arc::new(AtomicUsize::new(0));
    let pair = Arc::new(Barrier::new(2));
    let mut tasks = tokio::task::JoinSet::new();
    for node in 0..8 {
        let (store, holding, pair) = (bench.store(), holding.clone(), pair.clone());
        tasks.spawn(async move {
            let node = format!("n{node}");
            for round in 0..3 {
                acquire(&store, &claim(&node)).await.unwrap();
                assert!(holding.fetch_add(1, Ordering::SeqCst) < 2);
                if round == 0 {
                    // Two do hold at once.
                    pair.wait().await;
                }
                assert!(store.view().await.unwrap().slots.holders.len() <= 2);
                holding.fetch_sub(1, Ordering::SeqCst);
                release(&store, &node).await;
            }
        });
    }
    within("all have had it three times", tasks.join_all()).await;
    let view = bench.store().view().await.unwrap();
    assert_eq!((view.slots.holders.len(), view.queue.len()), (0, 0));
}

pub async fn first_come_first_served(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("x")).await.unwrap();
    // Not in the order of their names.
    let mut line = Vec::new();
    for node in ["c", "a", "d", "b"] {
        line.push(queue(&bench, node).await);
    }
    assert_eq!(waiters(&store.view().await.unwrap()), ["c", "a", "d", "b"]);
    release(&store, "x").await;
    let mut last_token = 0;
    for waiter in line {
        let node = waiter.node.clone();
        let token = waiter.token().await;
        assert!(token > last_token, "tokens grow");
        last_token = token;
        assert_eq!(holders(&store.view().await.unwrap()), [node.as_str()]);
        release(&store, &node).await;
    }
}

pub async fn acquiring_again_answers_the_same_slot(bench: Bench) {
    let store = bench.store();
    assert_eq!(store.held("a", "nonce-a").await.unwrap(), None);
    store.admin(&AdminOp::SetMax(2)).await.unwrap();
    let token = acquire(&store, &claim("a")).await.unwrap();
    acquire(&store, &claim("b")).await.unwrap();
    store.admin(&halt()).await.unwrap();
    assert_eq!(acquire(&bench.store(), &claim("a")).await.unwrap(), token);
    assert_eq!(store.held("a", "nonce-a").await.unwrap(), Some(token));
    assert_eq!(store.held("a", "other").await.unwrap(), None);
    let view = store.view().await.unwrap();
    assert_eq!((holders(&view), waiters(&view)), (vec!["a", "b"], vec![]));
}

pub async fn a_second_machine_with_the_same_node_id_is_refused(bench: Bench) {
    let store = bench.store();
    let clone = Holder { nonce: "other".into(), name: "host-clone".into(), ..claim("a") };
    acquire(&store, &claim("a")).await.unwrap();
    let refused = acquire(&bench.store(), &clone).await;
    let Err(StoreError::Refused(Refusal::DuplicateNode { name, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(name, "host-a");
    let b = queue(&bench, "b").await;
    let clone = Holder { nonce: "other".into(), ..claim("b") };
    let refused = acquire(&bench.store(), &clone).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::DuplicateNode { .. }))));
    let view = store.view().await.unwrap();
    assert_eq!((holders(&view), waiters(&view)), (vec!["a"], vec!["b"]));
    release(&store, "a").await;
    b.token().await;
}

pub async fn releasing_what_is_not_ours_writes_nothing(bench: Bench) {
    let store = bench.store();
    release(&store, "nobody").await;
    acquire(&store, &claim("a")).await.unwrap();
    let mark = bench.mark().await;
    let settle = Duration::from_secs(60);
    store.release("b", "nonce-b", settle).await.unwrap();
    store.release("a", "other", settle).await.unwrap();
    assert_eq!(bench.mark().await, mark);
    let view = store.view().await.unwrap();
    assert_eq!((holders(&view), view.settling), (vec!["a"], false));
    release(&store, "a").await;
    assert_ne!(bench.mark().await, mark);
    let mark = bench.mark().await;
    release(&store, "a").await;
    assert_eq!(bench.mark().await, mark, "the second release finds nothing to do");
}

pub async fn a_halted_group_admits_nobody_until_it_is_resumed(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("x")).await.unwrap();
    let mut first = queue(&bench, "b").await;
    let second = queue(&bench, "a").await;
    store.admin(&halt()).await.unwrap();
    release(&store, "x").await;
    let free_but_halted = |news: &Result<SlotsView, _>| match news {
        Ok(view) if view.slots.holders.is_empty() => view.slots.halt.clone(),
        _ => None,
    };
    let halt = first.told("b sees the halt", free_but_halted).await;
    assert_eq!(halt.reason, "web.service does not start");
    assert!(first.waits() && second.waits());
    assert_eq!(holders(&store.view().await.unwrap()), [""; 0]);
    assert_eq!(store.admin(&AdminOp::Resume).await.unwrap().slots.halt, None);
    first.token().await;
    assert!(second.waits());
    release(&store, "b").await;
    second.token().await;
}

pub async fn a_raised_max_admits_the_next_at_once(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("x")).await.unwrap();
    let next = queue(&bench, "a").await;
    let refused = store.admin(&AdminOp::SetMax(0)).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::BadMax))));
    assert_eq!(store.admin(&AdminOp::SetMax(2)).await.unwrap().slots.max, 2);
    next.token().await;
    assert_eq!(holders(&store.view().await.unwrap()), ["a", "x"]);
}

pub async fn a_lowered_max_keeps_its_holders_and_admits_nobody(bench: Bench) {
    let store = bench.store();
    store.admin(&AdminOp::SetMax(2)).await.unwrap();
    acquire(&store, &claim("x")).await.unwrap();
    acquire(&store, &claim("y")).await.unwrap();
    let lowered = store.admin(&AdminOp::SetMax(1)).await.unwrap();
    assert_eq!(holders(&lowered), ["x", "y"]);
    let mut next = queue(&bench, "a").await;
    release(&store, "x").await;
    next.told("a sees that x has gone", |news| {
        news.as_ref().ok().filter(|view| holders(view) == ["y"]).map(|_| ())
    })
    .await;
    assert_eq!(holders(&store.view().await.unwrap()), ["y"]);
    release(&store, "y").await;
    next.token().await;
}

pub async fn a_slot_taken_away_by_an_admin_is_no_error_for_its_holder(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("a")).await.unwrap();
    let next = queue(&bench, "b").await;
    bench.store().admin(&AdminOp::Unlock("a".into())).await.unwrap();
    next.token().await;
    assert_eq!(store.held("a", "nonce-a").await.unwrap(), None);
    let mark = bench.mark().await;
    release(&store, "a").await;
    assert_eq!(bench.mark().await, mark);
    assert_eq!(holders(&store.view().await.unwrap()), ["b"]);
}

pub async fn a_slot_taken_by_hand_is_waited_for(bench: Bench) {
    let store = bench.store();
    store.admin(&AdminOp::SetMax(2)).await.unwrap();
    let by_hand = Holder { nonce: String::new(), reason: "new disk".into(), ..claim("a") };
    store.admin(&AdminOp::Lock(by_hand.clone())).await.unwrap();
    let waiter = queue(&bench, "a").await;
    release(&store, "a").await;
    assert!(waiter.waits(), "the agent cannot release what an admin locked");
    store.admin(&AdminOp::Unlock("a".into())).await.unwrap();
    waiter.token().await;
    let refused = store.admin(&AdminOp::Lock(by_hand)).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::AlreadyHeld { .. }))));
    acquire(&store, &claim("b")).await.unwrap();
    let third = Holder { nonce: String::new(), ..claim("c") };
    let refused = store.admin(&AdminOp::Lock(third)).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::Full { max: 2 }))));
}

pub async fn an_admins_change_that_is_already_made_writes_nothing(bench: Bench) {
    let store = bench.store();
    store.admin(&AdminOp::SetMax(3)).await.unwrap();
    store.admin(&halt()).await.unwrap();
    let mark = bench.mark().await;
    for op in [AdminOp::SetMax(3), halt(), AdminOp::Unlock("nobody".into())] {
        store.admin(&op).await.unwrap();
    }
    assert_eq!(bench.mark().await, mark);
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
    assert_eq!(store.leave("b", "other").await.unwrap(), None);
    assert_eq!(waiters(&store.view().await.unwrap()), ["b"], "not with another's nonce");
    release(&store, "x").await;
    second.token().await;
    assert!(store.leave("b", "nonce-b").await.unwrap().is_some(), "told that it holds a slot");
}

pub async fn an_acquire_dropped_anywhere_never_keeps_a_slot_after_leave(bench: Bench) {
    let (store, other) = (bench.store(), bench.store());
    for polls in 1.. {
        let admitted = drop_after(&store, &claim("a"), polls).await;
        let held = store.leave("a", "nonce-a").await.unwrap();
        assert_eq!(store.held("a", "nonce-a").await.unwrap(), held);
        assert!(held.is_some() || !admitted);
        release(&store, "a").await;
        // A slot or a ticket left behind would keep the next one waiting.
        acquire(&other, &claim("b")).await.unwrap();
        assert_eq!(holders(&other.view().await.unwrap()), ["b"]);
        release(&other, "b").await;
        if admitted {
            return;
        }
    }
}

/// Polls an acquire so many times, then drops it; whether it was admitted by then.
async fn drop_after(store: &Lock, claim: &Holder, polls: usize) -> bool {
    let mut acquire = pin!(store.acquire(claim, |_| {}));
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
}

pub async fn nobody_is_admitted_while_the_group_settles(bench: Bench) {
    let store = bench.store();
    acquire(&store, &claim("a")).await.unwrap();
    let mut next = queue(&bench, "b").await;
    store.release("a", "nonce-a", Duration::from_secs(1)).await.unwrap();
    assert!(store.view().await.unwrap().settling);
    next.told("b sees that the group settles", |news| {
        news.as_ref().ok().filter(|view| view.settling && holders(view).is_empty()).map(|_| ())
    })
    .await;
    assert!(next.waits());
    next.token().await;
    assert!(!store.view().await.unwrap().settling);
}

pub async fn what_nodes_publish_is_what_others_read(bench: Bench) {
    let record = |text: &str| NodeRecord {
        name: "web-1".into(),
        phase: "steady".into(),
        text: text.into(),
        service: "in-service".into(),
        address: None,
    };
    let store = bench.store();
    assert!(store.nodes().await.unwrap().is_empty());
    store.publish("a", &record("one")).await.unwrap();
    store.publish("a", &record("two")).await.unwrap();
    store.publish("b", &record("three")).await.unwrap();
    let nodes = bench.store().nodes().await.unwrap();
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(nodes["a"], record("two"));
}
