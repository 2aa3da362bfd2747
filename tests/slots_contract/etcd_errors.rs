//! What is said when etcd is not there, is something else, or holds what we cannot read.

use std::time::Duration;

use lockkeeper::adapters::slots::{NodeRecord, StoreError};
use lockkeeper::core::change::AdminOp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::bench::{Bench, Lock, PREFIX, claim, etcd_store, halt, start};
use crate::etcd::Cluster;
use crate::wait::{eventually, within};

/// A server that hears something and answers `text`.
async fn server(text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    url
}

/// The URL of a port nobody listens on.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn store_at(url: &str) -> Lock {
    etcd_store(&[url.to_owned()])
}

async fn acquire_error(store: Lock) -> StoreError {
    start(store, claim("a")).error().await
}

#[tokio::test]
async fn what_answers_but_is_not_etcd_is_unusable() {
    for text in [
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "<!DOCTYPE html><html><body>Error</body></html>",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    ] {
        let url = server(text).await;
        for error in [store_at(&url).view().await.unwrap_err(), acquire_error(store_at(&url)).await]
        {
            assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.starts_with(&format!("{url}: what answers is not etcd")), "{said}");
        }
    }
}

#[tokio::test]
async fn endpoints_that_cannot_be_one_are_unusable() {
    for url in ["ftp://192.0.2.1", "http://not a host", "https://192.0.2.1:2379"] {
        let error = etcd_store(&[url.to_owned()]).view().await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().starts_with(url), "{error}");
    }
    let none = etcd_store(&[]).view().await.unwrap_err();
    assert_eq!(none.to_string(), "etcd: no endpoints are configured");
}

#[tokio::test]
async fn who_is_not_there_is_unreachable_and_said_shortly() {
    let url = dead().await;
    let error = store_at(&url).view().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }));
    assert_eq!(error.to_string(), format!("{url}: connection refused"));
    let mut waiter = start(store_at(&url), claim("a"));
    for _ in 0..2 {
        let said =
            waiter.told("acquire says so", |news| Some(news.as_ref().unwrap_err().to_string()));
        assert_eq!(said.await, format!("{url}: connection refused"));
    }
    assert!(waiter.waits());
}

#[tokio::test]
async fn who_never_answers_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let error = within("the deadline", store_at(&url).view()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}: no answer within 2s"));
    let both = etcd_store(&[url, server("no").await]).view().await.unwrap_err();
    assert!(matches!(both, StoreError::Unreachable { .. }), "one of them may yet come back");
}

#[tokio::test]
async fn a_dead_endpoint_and_one_that_is_not_etcd_do_not_matter_beside_a_good_one() {
    let cluster = Cluster::start(1).await;
    let mut endpoints = vec![dead().await, server("HTTP/1.1 400 Bad Request\r\n\r\n").await];
    endpoints.extend(cluster.endpoints());
    let store = etcd_store(&endpoints);
    let token = within("a slot", store.acquire(&claim("a"), |_| {})).await.unwrap();
    assert!(token > 0);
    store.admin(&AdminOp::SetMax(3)).await.unwrap();
    store.release("a", "nonce-a", Duration::ZERO).await.unwrap();
    assert_eq!(store.view().await.unwrap().slots.holders, []);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_never_overwritten() {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let (mut client, store) = (cluster.client().await, bench.store());
    let key = format!("{PREFIX}/groups/default/slots");
    for text in [r#"{"schema":2,"max":1,"holders":[]}"#, r#"{"schema":1}"#, "", "locksmith"] {
        client.put(key.clone(), text, None).await.unwrap();
        let release = store.release("a", "nonce-a", Duration::ZERO).await.unwrap_err();
        let errors = [
            store.view().await.unwrap_err(),
            store.held("a", "nonce-a").await.unwrap_err(),
            store.admin(&AdminOp::SetMax(2)).await.unwrap_err(),
            store.admin(&halt()).await.unwrap_err(),
            release,
            acquire_error(store.clone()).await,
        ];
        for error in errors {
            assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
            assert!(error.to_string().starts_with(&format!("{key}: ")), "{error}");
        }
        let kept = client.get(key.clone(), None).await.unwrap();
        assert_eq!(kept.kvs()[0].value_str().unwrap(), text);
    }
}

#[tokio::test]
async fn a_value_that_becomes_unreadable_ends_the_wait() {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    bench.store().acquire(&claim("x"), |_| {}).await.unwrap();
    let waiter = crate::bench::queue(&bench, "a").await;
    let key = format!("{PREFIX}/groups/default/slots");
    cluster.client().await.put(key, r#"{"schema":2}"#, None).await.unwrap();
    let error = waiter.error().await;
    assert!(error.to_string().contains("written by a newer lockkeeper (schema 2"), "{error}");
}

#[tokio::test]
async fn who_publishes_counts_as_alive_under_a_lease() {
    let bench = Bench::etcd().await;
    let Bench::Etcd(cluster) = &bench else { panic!() };
    let (mut client, store) = (cluster.client().await, bench.store());
    let record = NodeRecord {
        name: "web-1".into(),
        phase: "draining".into(),
        text: "nginx 1.25".into(),
        service: "draining".into(),
        address: None,
    };
    store.publish("a", &record).await.unwrap();
    let lease = eventually("a is alive", || {
        let mut client = client.clone();
        async move {
            let found = client.get(format!("{PREFIX}/alive/a"), None).await.unwrap();
            found.kvs().first().map(etcd_client::KeyValue::lease)
        }
    })
    .await;
    assert_eq!(client.lease_time_to_live(lease, None).await.unwrap().granted_ttl(), 60);
    let service = client.get(format!("{PREFIX}/service/a"), None).await.unwrap();
    assert_eq!(service.kvs()[0].value_str().unwrap(), "draining");
}
