//! What the nodes of a canary group tell their followers.

use std::collections::BTreeMap;
use std::time::Duration;

use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::adapters::slots::{SlotStore, StoreError};
use lockkeeper::core::canary::{SCHEMA, Verified};

use crate::bench::PREFIX;
use crate::etcd::Cluster;

fn verified(name: &str, version: &str) -> Verified {
    let packages = BTreeMap::from([("bash:amd64".to_owned(), version.to_owned())]);
    Verified { schema: SCHEMA, name: name.to_owned(), packages }
}

fn store(etcd: &Cluster) -> SlotStore {
    let access = Access::open(&etcd.endpoints(), Duration::from_secs(5));
    SlotStore::Etcd(EtcdStore::new(&access, PREFIX))
}

#[tokio::test]
async fn what_canaries_verified_is_read_by_group_and_the_newest_word_counts() {
    let etcd = Cluster::start(1).await;
    let store = store(&etcd);
    assert_eq!(store.verified("canary").await.unwrap(), []);
    for (group, node, version) in
        [("canary", "a", "1"), ("canary", "b", "1"), ("canary-2", "c", "9"), ("canary", "a", "2")]
    {
        store.publish_verified(group, node, &verified(node, version)).await.unwrap();
    }
    let found = store.verified("canary").await.unwrap();
    assert_eq!(found, [verified("a", "2"), verified("b", "1")]);
}

#[tokio::test]
async fn a_word_that_cannot_be_read_is_not_passed_over() {
    let etcd = Cluster::start(1).await;
    let store = store(&etcd);
    store.publish_verified("canary", "a", &verified("a", "1")).await.unwrap();
    for (value, words) in [("{}", "not a value of lockkeeper's"), (r#"{"schema":2}"#, "a newer")] {
        let key = format!("{PREFIX}/groups/canary/verified/b");
        etcd.client().await.put(key, value, None).await.unwrap();
        let error = store.verified("canary").await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_lock_without_a_fleet_knows_no_canaries() {
    let dir = tempfile::tempdir().unwrap();
    let store = SlotStore::Local(LocalStore::new(dir.path().join("slots.json")));
    let error = store.verified("canary").await.unwrap_err();
    assert!(error.to_string().contains("etcd-lock"), "{error}");
}
