//! etcd members that die, freeze, forget and lose their quorum; waiters that die; replies that are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::CompactionOptions;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::{NodeRecord, SlotStore, StoreError};
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::slots::{Slots, SlotsView};
use tokio::task::JoinSet;

use crate::bench::{Bench, Lock, PREFIX, claim, etcd_store, queue, start};
use crate::etcd::Cluster;
use crate::history::replay;
use crate::proxy::{Fault, Proxy};
use crate::wait::{eventually, within};

async fn one_member() -> (Bench, Lock) {
    let bench = Bench::etcd().await;
    let store = bench.store();
    (bench, store)
}

fn cluster(bench: &mut Bench) -> &mut Cluster {
    match bench {
        Bench::Etcd(cluster) => cluster,
        Bench::Fenced(..) | Bench::Local(..) | Bench::Database(..) | Bench::Hub(..) => {
            panic!("not etcd")
        }
    }
}

/// Releases as a node does that has work to wait for: again until it is done.
async fn release(store: &Lock, node: &str) {
    eventually(&format!("{node} releases"), || async {
        store.release(node, &format!("nonce-{node}"), Duration::ZERO).await.ok()
    })
    .await;
}

fn unreachable(news: &Result<SlotsView, StoreError>) -> Option<String> {
    match news {
        Err(StoreError::Unreachable { what }) => Some(what.clone()),
        _ => None,
    }
}

/// Nodes that each want a slot a few times.
struct Fleet {
    tasks: JoinSet<()>,
    done: Arc<AtomicUsize>,
}

impl Fleet {
    fn start(endpoints: &[String], nodes: usize, rounds: usize, max: usize) -> Self {
        let mut tasks = JoinSet::new();
        let (done, holding) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for node in 0..nodes {
            let (store, done, holding) = (etcd_store(endpoints), done.clone(), holding.clone());
            tasks.spawn(async move {
                let node = format!("n{node}");
                for _ in 0..rounds {
                    let claim = claim(&node);
                    within("a slot", store.acquire(&claim, |_| {})).await.unwrap();
                    assert!(holding.fetch_add(1, Ordering::SeqCst) < max);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    holding.fetch_sub(1, Ordering::SeqCst);
                    release(&store, &node).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { tasks, done }
    }

    async fn passed(&self, rounds: usize) {
        eventually(&format!("{rounds} rounds"), || async {
            (self.done.load(Ordering::SeqCst) >= rounds).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_slots_go_round_in_order_while_members_are_killed() {
    let mut cluster = Cluster::start(3).await;
    etcd_store(&cluster.endpoints()).admin(&AdminOp::SetMax(2)).await.unwrap();
    let (nodes, rounds) = (10, 12);
    let fleet = Fleet::start(&cluster.endpoints(), nodes, rounds, 2);
    for kill in 0..4 {
        fleet.passed(kill * 20 + 10).await;
        let leader = cluster.leader().await;
        // The leader and a follower in turn.
        let victim = if kill % 2 == 0 { leader } else { (leader + 1) % 3 };
        cluster.kill(victim);
        fleet.passed(kill * 20 + 20).await;
        cluster.restart(victim);
        cluster.ready().await;
    }
    within("all have had it", fleet.tasks.join_all()).await;
    let admissions = replay(&mut cluster.client().await).await;
    assert_eq!(admissions.len(), nodes * rounds, "each admission counts once");
}

#[tokio::test]
async fn without_a_quorum_acquire_says_so_and_goes_on_when_it_is_back() {
    let mut cluster = Cluster::start(3).await;
    let store = etcd_store(&cluster.endpoints());
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let mut waiter = start(etcd_store(&cluster.endpoints()), claim("a"));
    waiter.told("a waits", |news| news.as_ref().ok().map(|_| ())).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.kill((leader + 1) % 3);
    let what = waiter.told("the quorum is lost", unreachable).await;
    assert!(what.contains("http://127."), "{what}");
    waiter.told("it is still lost", unreachable).await;
    assert!(matches!(store.view().await, Err(StoreError::Unreachable { .. })));
    let failed = store.release("x", "nonce-x", Duration::ZERO).await;
    assert!(matches!(failed, Err(StoreError::Unreachable { .. })));
    cluster.restart(leader);
    release(&store, "x").await;
    waiter.token().await;
    replay(&mut cluster.client().await).await;
}

#[tokio::test]
async fn a_frozen_member_is_passed_over() {
    let cluster = Cluster::start(3).await;
    let frozen = (cluster.leader().await + 1) % 3;
    let mut endpoints = cluster.endpoints();
    endpoints.swap(0, frozen);
    let (store, waiting) = (etcd_store(&endpoints), etcd_store(&endpoints));
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let mut waiter = start(waiting, claim("a"));
    waiter.told("a waits at the member that will freeze", |n| n.as_ref().ok().map(|_| ())).await;
    cluster.freeze(frozen);
    release(&store, "x").await;
    waiter.token().await;
}

#[tokio::test]
async fn a_waiter_survives_the_restart_of_the_only_member() {
    let (mut bench, store) = one_member().await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let mut waiter = queue(&bench, "a").await;
    cluster(&mut bench).kill(0);
    waiter.told("etcd is gone", unreachable).await;
    cluster(&mut bench).restart(0);
    release(&store, "x").await;
    waiter.token().await;
}

#[tokio::test]
async fn a_dead_waiters_ticket_expires_and_the_next_one_goes() {
    let (bench, store) = one_member().await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let dead = queue(&bench, "a").await;
    let next = queue(&bench, "b").await;
    dead.task.abort();
    release(&store, "x").await;
    next.token().await;
}

#[tokio::test]
async fn a_live_waiter_keeps_its_place_beyond_the_lease_and_over_a_restart() {
    let (bench, store) = one_member().await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let first = queue(&bench, "b").await;
    let mut second = queue(&bench, "a").await;
    // A ticket that was not renewed is gone after this: the dead one's is.
    let dead = queue(&bench, "dead").await;
    dead.task.abort();
    eventually("the dead one's ticket expires", || async {
        let view = store.view().await.unwrap();
        let waiters: Vec<_> = view.queue.iter().map(|t| t.node.as_str()).collect();
        assert!(waiters.starts_with(&["b", "a"]), "{waiters:?}");
        (waiters.len() == 2).then_some(())
    })
    .await;
    first.task.abort();
    let again = start(bench.store(), claim("b"));
    eventually("b hangs its ticket on a new lease", || async {
        let key = format!("{PREFIX}/groups/default/queue/b");
        let Bench::Etcd(cluster) = &bench else { panic!() };
        let found = cluster.client().await.get(key, None).await.unwrap();
        found.kvs().first().filter(|kv| kv.version() == 2).map(|_| ())
    })
    .await;
    release(&store, "x").await;
    again.token().await;
    assert!(second.waits());
    release(&store, "b").await;
    second.told("a is the head", |n| n.as_ref().ok().map(|_| ())).await;
    second.token().await;
}

#[tokio::test]
async fn a_waiter_whose_lease_is_lost_queues_again_at_the_end() {
    let (bench, store) = one_member().await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let first = queue(&bench, "a").await;
    let second = queue(&bench, "b").await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let mut client = cluster.client().await;
    let ticket = client.get(format!("{PREFIX}/groups/default/queue/a"), None).await.unwrap();
    client.lease_revoke(ticket.kvs()[0].lease()).await.unwrap();
    eventually("a is the last", || async {
        let view = store.view().await.unwrap();
        let waiters: Vec<_> = view.queue.iter().map(|t| t.node.as_str()).collect();
        (waiters == ["b", "a"]).then_some(())
    })
    .await;
    release(&store, "x").await;
    second.token().await;
    assert!(first.waits());
    release(&store, "b").await;
    first.token().await;
    assert_eq!(replay(&mut client).await.len(), 3);
}

#[tokio::test]
async fn compaction_does_not_disturb_those_who_wait() {
    let (mut bench, store) = one_member().await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let (first, second) = (queue(&bench, "a").await, queue(&bench, "b").await);
    let mut client = cluster(&mut bench).client().await;
    let now = client.put("any", "", None).await.unwrap().header().unwrap().revision();
    client.compact(now, Some(CompactionOptions::new().with_physical())).await.unwrap();
    release(&store, "x").await;
    first.token().await;
    release(&store, "a").await;
    second.token().await;
}

/// Only the transaction that admits `a` has this in it.
const ADMISSION_OF_A: &str = r#""holders":[{"node":"a""#;

#[tokio::test]
async fn an_admission_whose_reply_is_lost_is_found_again() {
    let (bench, store) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), ADMISSION_OF_A, Fault::LoseReplies).await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let waiter = start(etcd_store(&[proxy.url()]), claim("a"));
    release(&store, "x").await;
    let client = cluster.client().await;
    let admitted = eventually("etcd admits a", || {
        let mut client = client.clone();
        async move {
            let found = client.get(format!("{PREFIX}/groups/default/holder/a"), None).await;
            found.unwrap().kvs().first().map(etcd_client::KeyValue::mod_revision)
        }
    })
    .await;
    assert!(proxy.happened() && waiter.waits(), "the reply did not get through");
    assert_eq!(waiter.token().await, admitted);
    let admissions = replay(&mut cluster.client().await).await;
    assert_eq!(admissions.iter().filter(|a| a.node == "a").count(), 1);
}

#[tokio::test]
async fn an_admission_that_arrives_after_its_claimant_left_is_void() {
    let (bench, store) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), ADMISSION_OF_A, Fault::HoldRequest).await;
    let waiter = start(etcd_store(&[proxy.url()]), claim("a"));
    eventually("a tries to take the slot", || async { proxy.happened().then_some(()) }).await;
    waiter.task.abort();
    assert_eq!(store.leave("a", "nonce-a").await.unwrap(), None);
    let handled = async || {
        let name = r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Txn""#;
        cluster.metric(0, name).await
    };
    let before = handled().await;
    proxy.let_go();
    eventually("etcd has decided", || async { (handled().await > before).then_some(()) }).await;
    assert_eq!(store.view().await.unwrap().slots, Slots::default());
    assert_eq!(store.held("a", "nonce-a").await.unwrap(), None);
}

/// Only the transaction that puts `a`'s ticket into the queue has this in it, and it comes first.
const TICKET_OF_A: &str = r#""nonce":"nonce-a""#;

#[tokio::test]
async fn a_ticket_that_arrives_after_its_waiter_has_had_its_turn_is_void() {
    let (bench, store) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), TICKET_OF_A, Fault::HoldRequest).await;
    let mut endpoints = vec![proxy.url()];
    endpoints.extend(cluster.endpoints());
    // Its lease is still there when it arrives.
    let patient = EtcdStore::new(&Access::open(&endpoints, Duration::from_secs(1)), PREFIX);
    let patient = patient.with_ticket_lease(Duration::from_secs(600));
    start(Lock::of(SlotStore::Etcd(patient)), claim("a")).token().await;
    assert!(proxy.happened(), "the first ticket is on its way");
    release(&store, "a").await;
    let before = decided(cluster).await;
    proxy.let_go();
    eventually("etcd has decided", || async { (decided(cluster).await > before).then_some(()) })
        .await;
    assert_eq!(store.view().await.unwrap().queue, [], "nobody is there to keep it alive or use it");
}

/// How often etcd has decided on a transaction.
async fn decided(cluster: &Cluster) -> f64 {
    let of = |code| format!(r#"grpc_server_handled_total{{grpc_code="{code}",grpc_method="Txn""#);
    cluster.metric(0, &of("OK")).await + cluster.metric(0, &of("NotFound")).await
}

#[tokio::test]
async fn a_record_that_arrives_late_does_not_replace_a_newer_one() {
    let (bench, _) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), "draining", Fault::HoldRequest).await;
    let lock = etcd_store(&[vec![proxy.url()], cluster.endpoints()].concat());
    let record = |phase: &str, service: &str| NodeRecord {
        name: "web-1".into(),
        phase: phase.into(),
        text: String::new(),
        service: service.into(),
        address: None,
    };
    let in_doubt = lock.publish("a", &record("draining", "draining")).await;
    assert!(matches!(in_doubt, Err(StoreError::Unreachable { .. })));
    let newest = record("steady", "in-service");
    lock.publish("a", &newest).await.unwrap();
    let before = decided(cluster).await;
    proxy.let_go();
    eventually("etcd has decided", || async { (decided(cluster).await > before).then_some(()) })
        .await;
    assert_eq!(lock.nodes().await.unwrap()["a"], newest);
    let service = cluster.client().await.get(format!("{PREFIX}/service/a"), None).await.unwrap();
    assert_eq!(service.kvs()[0].value_str().unwrap(), "in-service");
}

#[tokio::test]
async fn load_balancers_are_told_where_a_node_is_reached() {
    let (bench, _) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let lock = etcd_store(&cluster.endpoints());
    let told = async |kind: &str| {
        let found = cluster.client().await.get(format!("{PREFIX}/{kind}/a"), None).await.unwrap();
        found.kvs().first().map(|kv| kv.value_str().unwrap().to_owned())
    };
    let mut record = NodeRecord {
        name: "web-1".into(),
        phase: "steady".into(),
        text: String::new(),
        service: "in-service".into(),
        address: None,
    };
    lock.publish("a", &record).await.unwrap();
    let found = told("address").await;
    assert!(found.is_none_or(|address| !address.starts_with("127.")), "of no use to others");
    assert_eq!(told("name").await.as_deref(), Some("web-1"));
    record.address = Some("2001:db8::7".into());
    lock.publish("a", &record).await.unwrap();
    assert_eq!(told("address").await.as_deref(), Some("[2001:db8::7]"));
}

#[tokio::test]
async fn a_waiter_whose_connection_is_cut_watches_anew() {
    let (bench, store) = one_member().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let proxy = Proxy::to(cluster.address(0), "(no fault)", Fault::LoseReplies).await;
    store.acquire(&claim("x"), |_| {}).await.unwrap();
    let waiter = start(etcd_store(&[proxy.url()]), claim("a"));
    for streams in 1..=3 {
        eventually("the head watches over a new stream", || async {
            let name = r#"grpc_server_started_total{grpc_method="Watch""#;
            let started = cluster.metric(0, name).await;
            let watched = cluster.metric(0, "etcd_debugging_mvcc_watcher_total").await;
            assert!(started <= f64::from(streams), "{started} streams after {streams} cuts");
            (started >= f64::from(streams) && watched >= 1.0).then_some(())
        })
        .await;
        if streams < 3 {
            proxy.cut();
        }
    }
    release(&store, "x").await;
    waiter.token().await;
}

#[tokio::test]
async fn a_hand_off_costs_the_same_however_long_the_queue_is() {
    for nodes in [10, 50] {
        let (requests, events) = cost_per_hand_off(nodes).await;
        assert!(requests <= 4.5, "{requests} requests per hand-off with {nodes} nodes");
        // Who begins to watch just when the one before it goes hears of that twice: that may happen to
        // a few, and not to more of them in a longer queue.
        let few = 5.0 / f64::from(nodes);
        assert!(events <= 3.0 + few, "{events} events per hand-off with {nodes} nodes");
    }
}

/// Requests and watch events per node that etcd counted while `nodes` in a queue passed one slot.
async fn cost_per_hand_off(nodes: u16) -> (f64, f64) {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    // Renewals of leases depend on time, so there shall be none.
    let store = || {
        let access = Access::open(&cluster.endpoints(), Duration::from_secs(5));
        let store = EtcdStore::new(&access, PREFIX);
        Lock::of(SlotStore::Etcd(store.with_ticket_lease(Duration::from_secs(600))))
    };
    let first = store();
    first.acquire(&claim("x"), |_| {}).await.unwrap();
    let mut tasks = JoinSet::new();
    for node in 0..nodes {
        let store = store();
        tasks.spawn(async move {
            let node = format!("n{node}");
            store.acquire(&claim(&node), |_| {}).await.unwrap();
            release(&store, &node).await;
        });
    }
    eventually("everybody watches one thing", || async {
        let watched = cluster.metric(0, "etcd_debugging_mvcc_watcher_total").await;
        (watched >= f64::from(nodes)).then_some(())
    })
    .await;
    let counts = async || {
        let requests = cluster.metric(0, "grpc_server_started_total").await;
        (requests, cluster.metric(0, "etcd_debugging_mvcc_events_total").await)
    };
    let before = counts().await;
    release(&first, "x").await;
    within("all pass", tasks.join_all()).await;
    let after = counts().await;
    let per_node = |before: f64, after: f64| (after - before) / f64::from(nodes);
    (per_node(before.0, after.0), per_node(before.1, after.1))
}

#[tokio::test]
async fn a_holder_removed_by_hand_edit_of_the_value_can_queue_again() {
    let (mut bench, store) = one_member().await;
    store.acquire(&claim("a"), |_| {}).await.unwrap();
    let mut client = cluster(&mut bench).client().await;
    let empty = serde_json::to_vec(&Slots::default()).unwrap();
    client.put(format!("{PREFIX}/groups/default/slots"), empty, None).await.unwrap();
    let token = within("a slot", store.acquire(&claim("a"), |_| {})).await.unwrap();
    assert_eq!(store.held("a", "nonce-a").await.unwrap(), Some(token));
}
