//! Promises about nodes in several groups, and about what is remembered. Each runs on a fresh store of
//! each kind.

use std::time::Duration;

use lockkeeper::adapters::slots::StoreError;
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::history::What;
use lockkeeper::core::slots::{Halt, Holder, SlotsView};

use crate::bench::{Bench, Lock, claim, halt, start};
use crate::wait::{eventually, within};

async fn view(lock: &Lock, group: &str) -> SlotsView {
    let mut views = lock.store.view(&[group.to_owned()]).await.unwrap();
    views.remove(group).unwrap()
}

async fn holders(lock: &Lock, group: &str) -> Vec<String> {
    view(lock, group).await.slots.holders.into_iter().map(|holder| holder.node).collect()
}

async fn waits_in(lock: &Lock, group: &str, node: &str) {
    eventually(&format!("{node} waits in {group}"), || async {
        view(lock, group).await.queue.iter().any(|t| t.node == node).then_some(())
    })
    .await;
}

async fn acquire(lock: &Lock, node: &str) -> i64 {
    within("a slot", lock.acquire(&claim(node), |_| {})).await.unwrap()
}

async fn release(lock: &Lock, node: &str) {
    lock.release(node, &format!("nonce-{node}"), Duration::ZERO).await.unwrap();
}

fn halt_for(secs: u64) -> AdminOp {
    let AdminOp::Halt { halt, .. } = halt() else { panic!("not a halt") };
    let lasts = jiff::SignedDuration::from_secs(i64::try_from(secs).unwrap());
    let expires = Some(lockkeeper::adapters::clock::wall().checked_add(lasts).unwrap());
    AdminOp::Halt { halt: Halt { expires, ..halt }, for_secs: Some(secs) }
}

pub async fn a_node_in_several_groups_gets_all_slots_at_once_or_none(bench: Bench) {
    let (rack, db) = (bench.store().in_groups(&["rack"]), bench.store().in_groups(&["db"]));
    let both = bench.store().in_groups(&["db", "rack"]);
    acquire(&db, "x").await;
    let waiter = start(both.clone(), claim("both"));
    for group in ["db", "rack"] {
        waits_in(&both, group, "both").await;
    }
    assert_eq!(holders(&both, "rack").await, [""; 0], "the free one is not held in the meantime");
    // Who came later waits behind it, also where a slot is free: nobody overtakes.
    let later = start(rack.clone(), claim("later"));
    waits_in(&both, "rack", "later").await;
    release(&db, "x").await;
    let token = waiter.token().await;
    assert_eq!(both.held("both", "nonce-both").await.unwrap(), Some(token));
    for group in ["db", "rack"] {
        assert_eq!(holders(&both, group).await, ["both"]);
    }
    assert!(later.waits());
    let mark = bench.mark().await;
    release(&both, "both").await;
    assert_ne!(bench.mark().await, mark);
    later.token().await;
    assert_eq!(holders(&both, "db").await, [""; 0]);
}

pub async fn nodes_in_crossing_groups_never_block_each_other_for_ever(bench: Bench) {
    let rings = [["a", "b"], ["b", "c"], ["c", "a"]];
    let mut tasks = tokio::task::JoinSet::new();
    for node in 0..6 {
        let lock = bench.store().in_groups(&rings[node % rings.len()]);
        tasks.spawn(async move {
            let node = format!("n{node}");
            for _ in 0..3 {
                acquire(&lock, &node).await;
                for group in &lock.groups {
                    assert_eq!(holders(&lock, group).await, [node.as_str()]);
                }
                release(&lock, &node).await;
            }
        });
    }
    within("all have had it three times", tasks.join_all()).await;
}

pub async fn who_holds_only_a_part_gives_it_back_before_it_waits(bench: Bench) {
    let (rack, db) = (bench.store().in_groups(&["rack"]), bench.store().in_groups(&["db"]));
    let both = bench.store().in_groups(&["db", "rack"]);
    acquire(&both, "a").await;
    db.admin(&AdminOp::Unlock("a".into())).await.unwrap();
    assert_eq!(both.held("a", "nonce-a").await.unwrap(), None, "a part is not the whole");
    acquire(&db, "x").await;
    let again = start(both.clone(), claim("a"));
    eventually("a gives the rack's slot back", || async {
        holders(&rack, "rack").await.is_empty().then_some(())
    })
    .await;
    assert!(again.waits());
    release(&db, "x").await;
    again.token().await;
    db.admin(&AdminOp::Unlock("a".into())).await.unwrap();
    assert!(both.leave("a", "nonce-a").await.unwrap().is_some(), "told of the part it holds");
    release(&both, "a").await;
    assert_eq!(holders(&both, "rack").await, [""; 0]);
}

pub async fn a_settle_time_keeps_each_group_that_was_left(bench: Bench) {
    let both = bench.store().in_groups(&["db", "rack"]);
    acquire(&both, "a").await;
    both.release("a", "nonce-a", Duration::from_secs(2)).await.unwrap();
    assert!(view(&both, "db").await.settling && view(&both, "rack").await.settling);
    let next = start(bench.store().in_groups(&["rack"]), claim("b"));
    waits_in(&both, "rack", "b").await;
    next.token().await;
    assert!(!view(&both, "rack").await.settling);
}

pub async fn a_halt_for_a_while_ends_by_itself(bench: Bench) {
    let lock = bench.store();
    assert!(lock.admin(&halt_for(2)).await.unwrap().slots.halt.is_some());
    let waiter = start(lock.clone(), claim("a"));
    waits_in(&lock, "default", "a").await;
    assert!(waiter.waits());
    waiter.token().await;
    assert_eq!(lock.view().await.unwrap().slots.halt, None);
    release(&lock, "a").await;
    lock.admin(&halt_for(1)).await.unwrap();
    eventually("that halt is over", || async {
        lock.view().await.unwrap().slots.halt.is_none().then_some(())
    })
    .await;
    let again = lock.admin(&halt_for(3600)).await.unwrap().slots.halt;
    assert!(again.is_some(), "a halt that is over does not stand in the way of the next");
    let halted = lock.admin(&AdminOp::Resume).await.unwrap();
    assert_eq!(halted.slots.halt, None);
    acquire(&lock, "a").await;
}

pub async fn a_halt_for_a_while_holds_back_a_head_that_waits_already(bench: Bench) {
    let lock = bench.store();
    acquire(&lock, "x").await;
    let head = start(lock.clone(), claim("a"));
    waits_in(&lock, "default", "a").await;
    lock.admin(&halt_for(3600)).await.unwrap();
    release(&lock, "x").await;
    let next = start(bench.store(), claim("b"));
    waits_in(&lock, "default", "b").await;
    let halted = lock.view().await.unwrap().slots;
    assert!(halted.halt.is_some() && halted.holders.is_empty(), "{halted:?}");
    assert!(head.waits() && next.waits());
    lock.admin(&AdminOp::Resume).await.unwrap();
    head.token().await;
    release(&lock, "a").await;
    next.token().await;
}

pub async fn what_happened_is_told_in_order(bench: Bench) {
    let lock = bench.store();
    acquire(&lock, "a").await;
    lock.admin(&AdminOp::SetMax(2)).await.unwrap();
    lock.admin(&AdminOp::Lock(Holder { nonce: String::new(), ..claim("b") })).await.unwrap();
    lock.admin(&AdminOp::Unlock("b".into())).await.unwrap();
    lock.admin(&halt()).await.unwrap();
    lock.admin(&AdminOp::Resume).await.unwrap();
    release(&lock, "a").await;
    release(&lock, "a").await;
    let history = lock.store.history("default").await.unwrap();
    let told: Vec<_> = history.iter().map(|e| (e.what, e.node.as_str(), e.by.as_str())).collect();
    let admin = "an admin on host-x";
    let expected = [
        (What::Locked, "a", "host-a"),
        (What::MaxSet, "", admin),
        (What::LockedByHand, "b", admin),
        (What::UnlockedByForce, "b", admin),
        (What::Halted, "", admin),
        (What::Resumed, "", admin),
        (What::Unlocked, "a", "host-a"),
    ];
    assert_eq!(told, expected);
    assert_eq!(history[3].name, "host-b");
    assert!(history[1..6].iter().all(|entry| entry.reason == "because"));
    assert_eq!(lock.store.history("other").await.unwrap(), []);
}

pub async fn an_overdue_mark_is_made_once_and_only_on_this_very_holder(bench: Bench) {
    let lock = bench.store();
    acquire(&lock, "a").await;
    let overdue = |nonce: &str| AdminOp::MarkOverdue { node: "a".into(), nonce: nonce.into() };
    let mark = bench.mark().await;
    lock.admin(&overdue("of another run")).await.unwrap();
    assert_eq!(bench.mark().await, mark);
    let marked = lock.admin(&overdue("nonce-a")).await.unwrap();
    assert!(marked.slots.holders[0].overdue);
    let mark = bench.mark().await;
    lock.admin(&overdue("nonce-a")).await.unwrap();
    assert_eq!(bench.mark().await, mark);
    let refused = lock.admin(&AdminOp::Lock(Holder { nonce: String::new(), ..claim("b") })).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "an overdue holder still counts");
    release(&lock, "a").await;
    acquire(&lock, "a").await;
    assert!(!lock.view().await.unwrap().slots.holders[0].overdue, "the next stay begins anew");
}

pub async fn every_group_that_was_used_is_known(bench: Bench) {
    let lock = bench.store();
    assert_eq!(lock.store.groups().await.unwrap(), [""; 0]);
    acquire(&lock.clone().in_groups(&["db", "rack"]), "a").await;
    lock.admin(&AdminOp::SetMax(3)).await.unwrap();
    assert_eq!(lock.store.groups().await.unwrap(), ["db", "default", "rack"]);
}
