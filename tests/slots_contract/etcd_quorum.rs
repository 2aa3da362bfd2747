//! A machine that carries a member of etcd: when it may go down, who leads then, when it is back.

use std::net::IpAddr;

use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::core::health::Evidence;
use lockkeeper::core::quorum::{Aside, Cluster as Seen};

use crate::bench::etcd_store;
use crate::etcd::Cluster;
use crate::wait::eventually;

fn nowhere() -> [IpAddr; 1] {
    ["192.0.2.1".parse().unwrap()]
}

fn store(cluster: &Cluster) -> SlotStore {
    etcd_store(&cluster.endpoints()).store
}

async fn seen(store: &SlotStore, own: &[IpAddr]) -> Seen {
    store.cluster(own).await.unwrap().unwrap()
}

async fn reasons(store: &SlotStore, own: &[IpAddr]) -> Vec<String> {
    match store.quorum_risk(own).await {
        Evidence::Yes { reasons } => reasons,
        other => panic!("no risk seen: {other:?}"),
    }
}

/// Until every member is heard of again, as seen from the machine of the first.
async fn all_well(cluster: &Cluster, store: &SlotStore) {
    eventually("all are well", || async { store.all_well(&[cluster.address(0)]).await.ok() }).await;
}

#[tokio::test]
async fn a_dead_member_forbids_the_others_to_reboot_until_it_is_back() {
    let mut cluster = Cluster::start(3).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    all_well(&cluster, &store).await;
    assert_eq!(store.quorum_risk(&own).await, Evidence::No);
    cluster.kill(2);
    cluster.ready().await;
    let said = reasons(&store, &own).await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("etcd member m2 is not well (http://127."), "{said:?}");
    assert!(said[0].ends_with("connection refused)"), "{said:?}");
    assert_eq!(store.all_well(&own).await, Err(said[0].clone()), "the slot is kept meanwhile");
    let there = [cluster.address(2)];
    assert_eq!(reasons(&store, &there).await, said, "nor may the machine of the dead one");
    cluster.restart(2);
    all_well(&cluster, &store).await;
    assert_eq!(store.quorum_risk(&own).await, Evidence::No);
}

#[tokio::test]
async fn a_machine_without_a_member_is_not_concerned() {
    let mut cluster = Cluster::start(3).await;
    let store = store(&cluster);
    assert_eq!(store.member_here(&[cluster.address(1)]).await, Ok(true));
    cluster.kill(2);
    cluster.ready().await;
    assert_eq!(store.member_here(&nowhere()).await, Ok(false));
    assert_eq!(store.quorum_risk(&nowhere()).await, Evidence::No);
    assert_eq!(store.all_well(&nowhere()).await, Ok(()));
    assert_eq!(store.step_aside(&nowhere()).await, Ok(Aside::default()));
}

#[tokio::test]
async fn members_that_advertise_localhost_are_known_by_where_they_answer() {
    let cluster =
        Cluster::start_with(2, &["--advertise-client-urls", "http://localhost:2379"]).await;
    let store = store(&cluster);
    all_well(&cluster, &store).await;
    assert_eq!(store.member_here(&nowhere()).await, Ok(false));
    let leader = cluster.leader().await;
    let aside = store.step_aside(&[cluster.address(leader)]).await.unwrap();
    assert_eq!(aside.handed_to, Some(format!("m{}", 1 - leader)));
    assert_eq!(cluster.leader().await, 1 - leader);
}

#[tokio::test]
async fn a_frozen_member_is_not_well() {
    let cluster = Cluster::start(3).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    all_well(&cluster, &store).await;
    let frozen = if cluster.leader().await == 1 { 2 } else { 1 };
    cluster.freeze(frozen);
    let said = reasons(&store, &own).await;
    assert!(said[0].starts_with(&format!("etcd member m{frozen} is not well")), "{said:?}");
}

#[tokio::test]
async fn without_a_quorum_the_survivor_still_tells_of_the_others() {
    let mut cluster = Cluster::start(3).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    cluster.kill(1);
    cluster.kill(2);
    let found = eventually("the survivor sees no leader", || async {
        store.cluster(&own).await.ok().flatten().filter(|seen| !seen.has_quorum())
    })
    .await;
    assert_eq!(found.members.len(), 3);
    assert_eq!(found.voters().filter(|member| member.here()).count(), 1);
    let said = found.all_well().unwrap_err();
    assert!(said.contains("m1 is not well") && said.contains("m2 is not well"), "{said}");
    assert!(matches!(found.risk(), Evidence::Yes { .. }));
    cluster.restart(1);
    cluster.restart(2);
    all_well(&cluster, &store).await;
}

#[tokio::test]
async fn a_cluster_that_cannot_be_seen_at_all_forbids_everything() {
    let mut cluster = Cluster::start(1).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    cluster.kill(0);
    assert!(matches!(store.quorum_risk(&own).await, Evidence::Unknown { .. }));
    assert!(store.member_here(&own).await.unwrap_err().contains("connection refused"));
    assert!(store.all_well(&own).await.is_err());
    assert!(store.step_aside(&own).await.is_err());
}

#[tokio::test]
async fn one_and_two_members_may_reboot_with_their_machine_and_are_warned_of() {
    for size in [1, 2] {
        let cluster = Cluster::start(size).await;
        let (store, own) = (store(&cluster), [cluster.address(0)]);
        all_well(&cluster, &store).await;
        assert_eq!(store.quorum_risk(&own).await, Evidence::No);
        let warning = store.step_aside(&own).await.unwrap().warning.unwrap();
        assert!(
            warning.starts_with(&format!("etcd has {size} voting member(s), 1 of")),
            "{warning}"
        );
    }
}

#[tokio::test]
async fn the_lost_member_of_two_keeps_the_slot_until_it_is_back() {
    let mut cluster = Cluster::start(2).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    all_well(&cluster, &store).await;
    cluster.kill(1);
    let said = store.all_well(&own).await.unwrap_err();
    assert!(said.contains("m1 is not well"), "{said}");
    assert!(matches!(store.quorum_risk(&own).await, Evidence::Yes { .. }));
    cluster.restart(1);
    all_well(&cluster, &store).await;
}

#[tokio::test]
async fn the_leader_steps_aside_for_another_member() {
    for size in [2, 3] {
        let cluster = Cluster::start(size).await;
        let store = store(&cluster);
        all_well(&cluster, &store).await;
        let leader = cluster.leader().await;
        let own = [cluster.address(leader)];
        let heir = store.step_aside(&own).await.unwrap().handed_to.unwrap();
        let now = cluster.leader().await;
        assert_ne!(now, leader);
        assert_eq!(heir, format!("m{now}"));
        // A follower has nothing to hand over.
        assert_eq!(store.step_aside(&own).await.unwrap().handed_to, None);
        assert_eq!(cluster.leader().await, now);
    }
}

#[tokio::test]
async fn the_leader_does_not_hand_over_to_a_dead_member() {
    let mut cluster = Cluster::start(3).await;
    let store = store(&cluster);
    all_well(&cluster, &store).await;
    let leader = cluster.leader().await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(dead);
    let aside = store.step_aside(&[cluster.address(leader)]).await.unwrap();
    assert_eq!(aside.handed_to, Some(format!("m{alive}")));
    assert_eq!(cluster.leader().await, alive);
}

#[tokio::test]
async fn a_learner_neither_counts_nor_leads() {
    let mut cluster = Cluster::start(1).await;
    let store = store(&cluster);
    let learner = cluster.add_learner(true).await;
    let own = [cluster.address(0)];
    let seen = eventually("the learner answers", || async {
        let seen = seen(&store, &own).await;
        seen.members.iter().any(|m| m.learner && m.answer.is_ok()).then_some(seen)
    })
    .await;
    assert_eq!((seen.members.len(), seen.voters().count(), seen.needed()), (2, 1, 1));
    assert_eq!(store.step_aside(&own).await.unwrap().handed_to, None);
    let there = [cluster.address(learner)];
    assert_eq!(store.member_here(&there).await, Ok(true));
    assert_eq!(store.quorum_risk(&there).await, Evidence::No);
    cluster.kill(learner);
    assert_eq!(store.all_well(&own).await, Ok(()));
}

#[tokio::test]
async fn a_member_that_never_started_is_told_from_one_that_died() {
    let mut cluster = Cluster::start(3).await;
    let store = store(&cluster);
    all_well(&cluster, &store).await;
    cluster.add_learner(false).await;
    let seen = seen(&store, &[cluster.address(0)]).await;
    let new = seen.members.iter().find(|member| member.learner).unwrap();
    let why = new.ailment(seen.newest()).unwrap();
    assert!(new.name.is_empty() && why.starts_with("it has not started yet"), "{why}");
}

#[tokio::test]
async fn an_alarm_is_seen_without_asking_for_it_and_forbids_a_reboot() {
    let cluster = Cluster::start_with(3, &["--quota-backend-bytes", "200000"]).await;
    let (store, own) = (store(&cluster), [cluster.address(0)]);
    fill(&cluster).await;
    let said = eventually("every member knows of the alarm", || async {
        let seen = seen(&store, &own).await;
        (!seen.alarms.is_empty()).then(|| seen.all_well().unwrap_err())
    })
    .await;
    assert!(said.starts_with("etcd member m") && said.ends_with("alarm NOSPACE"), "{said}");
    assert_eq!(reasons(&store, &own).await.join("; "), said);
}

/// Writes until etcd's quota is used up.
async fn fill(cluster: &Cluster) {
    let client = cluster.client().await;
    eventually("the quota is used up", || {
        let mut client = client.clone();
        async move { client.put("big", vec![b'x'; 60_000], None).await.err() }
    })
    .await;
}
