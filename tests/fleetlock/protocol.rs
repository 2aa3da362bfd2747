//! What the hub takes, and what it refuses with which words.

use std::time::Duration;

use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::config::hub::Hub;
use lockkeeper::core::change::{AdminOp, Change};
use lockkeeper::core::slots::{Halt, Holder};
use lockkeeper::hub::Limits;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::hub::{RULES, serve, serve_as};
use crate::wait::within;
use crate::wire::{self, Answer, HEADER, ask, body, connect, lock, once, request, unlock};

/// A hub over a database; what is behind it; its URL.
async fn hub() -> (TempDir, SlotStore, String) {
    let dir = tempfile::tempdir().unwrap();
    let database = LocalStore::database(&dir.path().join("s.redb"), RULES.ticket_ttl).unwrap();
    let store = SlotStore::Local(database);
    let url = serve(store.clone(), RULES).await;
    (dir, store, url)
}

async fn change(store: &SlotStore, op: AdminOp) {
    let change = Change { op, by: "an admin".to_owned(), reason: String::new() };
    store.admin("g", &change).await.unwrap();
}

async fn holders(store: &SlotStore) -> Vec<String> {
    let view = store.view(&["g".to_owned()]).await.unwrap().remove("g").unwrap();
    view.slots.holders.into_iter().map(|holder| holder.node).collect()
}

#[tokio::test]
async fn a_slot_is_taken_kept_and_given_back_and_each_may_be_asked_twice() {
    let (_dir, store, url) = hub().await;
    for _ in 0..2 {
        let granted = lock(&url, "a", "g").await;
        assert_eq!((granted.status, granted.body.as_str()), (200, ""));
        assert!(granted.header("fleet-lock-token").unwrap().parse::<i64>().unwrap() > 0);
    }
    let full = lock(&url, "b", "g").await;
    assert_eq!(full.status, 423);
    let (kind, value) = full.problem();
    assert_eq!(kind, "failed_lock_semaphore_full");
    assert_eq!(value, "all 1 slot(s) are taken, by a; you are next");
    let second = lock(&url, "c", "g").await.problem().1;
    assert_eq!(second, "all 1 slot(s) are taken, by a; 1 node is before you");
    for _ in 0..2 {
        assert_eq!(unlock(&url, "a", "g").await.status, 200);
    }
    assert_eq!(lock(&url, "c", "g").await.kind(), "failed_lock_queued");
    assert_eq!(lock(&url, "b", "g").await.status, 200);
    assert_eq!(holders(&store).await, ["b"]);
    assert_eq!(lock(&url, "b", "another-group").await.status, 200);
}

#[tokio::test]
async fn giving_back_what_another_holds_is_fine_and_changes_nothing() {
    let (_dir, store, url) = hub().await;
    lock(&url, "a", "g").await;
    assert_eq!(unlock(&url, "b", "g").await.status, 200);
    assert_eq!(holders(&store).await, ["a"]);
}

#[tokio::test]
async fn a_halted_group_says_by_whom_and_why() {
    let (_dir, store, url) = hub().await;
    let halt = Halt {
        reason: "web.service does not start".to_owned(),
        by: "web-1".to_owned(),
        since: jiff::Timestamp::UNIX_EPOCH,
        release: None,
        expires: None,
    };
    change(&store, AdminOp::Halt { halt, for_secs: None }).await;
    let halted = lock(&url, "a", "g").await;
    assert_eq!(halted.status, 423);
    let said = "the group is halted by web-1: web.service does not start";
    assert_eq!(halted.problem(), ("failed_lock_halted".to_owned(), said.to_owned()));
    change(&store, AdminOp::Resume).await;
    assert_eq!(lock(&url, "a", "g").await.status, 200);
}

#[tokio::test]
async fn a_slot_that_an_admin_took_for_an_id_is_not_its_own() {
    let (_dir, store, url) = hub().await;
    let by_hand = Holder {
        node: "a".to_owned(),
        name: "a".to_owned(),
        nonce: String::new(),
        since: jiff::Timestamp::UNIX_EPOCH,
        reason: "new disk".to_owned(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    };
    change(&store, AdminOp::SetMax(2)).await;
    change(&store, AdminOp::Lock(by_hand)).await;
    let (kind, value) = lock(&url, "a", "g").await.problem();
    assert_eq!(kind, "failed_lock_queued");
    assert_eq!(value, "an admin has taken a slot for this id: new disk");
    assert_eq!(unlock(&url, "a", "g").await.status, 200);
    assert_eq!(holders(&store).await, ["a"], "nor its own to give back");
    change(&store, AdminOp::Unlock("a".to_owned())).await;
    assert_eq!(lock(&url, "a", "g").await.status, 200);
}

#[tokio::test]
async fn any_content_type_and_any_more_fields_are_taken() {
    let (_dir, _store, url) = hub().await;
    for kind in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: text/plain; charset=utf-8\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n",
    ] {
        let text = r#"{"client_params":{"id":"a","group":"g","platform":"qemu"},"version":2}"#;
        let head = format!("{kind}{HEADER}");
        assert_eq!(once(&url, &request("POST", "/v1/pre-reboot", &head, text)).await.status, 200);
    }
    // Chunked, as some libraries send what they stream.
    let text = format!(
        "POST /v1/steady-state HTTP/1.1\r\nHost: lock\r\nFleet-Lock-Protocol: true\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        body("a", "g").len(),
        body("a", "g")
    );
    assert_eq!(once(&url, &text).await.status, 200);
}

/// What Zincati 0.0.32 sends: pretty-printed JSON, neither content type nor user agent.
#[tokio::test]
async fn zincatis_own_request_is_taken() {
    let (_dir, store, url) = hub().await;
    let id = "f7d5c3b1a9e84c6d8b2a4f6e0c1d3b5a";
    let text = format!(
        "{{\n  \"client_params\": {{\n    \"id\": \"{id}\",\n    \"group\": \"g\"\n  }}\n}}"
    );
    let head = "fleet-lock-protocol: true\r\naccept: */*\r\n";
    for (path, held) in [("/v1/pre-reboot", 1), ("/v1/steady-state", 0)] {
        assert_eq!(once(&url, &request("POST", path, head, &text)).await.status, 200);
        assert_eq!(holders(&store).await.len(), held);
    }
}

#[tokio::test]
async fn whatever_is_not_the_protocol_is_refused_and_takes_no_slot() {
    let (_dir, store, url) = hub().await;
    let good = body("a", "g");
    let post = |head: &str, body: &str| request("POST", "/v1/pre-reboot", head, body);
    let at = |method: &str, path: &str| request(method, path, HEADER, &good);
    let long = "i".repeat(257);
    let table = [
        (at("GET", "/v1/pre-reboot"), 405, "method_not_allowed"),
        (at("PUT", "/v1/pre-reboot"), 405, "method_not_allowed"),
        (at("DELETE", "/v1/steady-state"), 405, "method_not_allowed"),
        (at("POST", "/healthz"), 405, "method_not_allowed"),
        (at("POST", "/"), 404, "not_found"),
        (at("POST", "/v1/pre-reboot/"), 404, "not_found"),
        (at("POST", "//v1/pre-reboot"), 404, "not_found"),
        (at("POST", "/v2/pre-reboot"), 404, "not_found"),
        (post("", &good), 400, "missing_header"),
        (post("fleet-lock-protocol: True\r\n", &good), 400, "missing_header"),
        (post("fleet-lock-protocol: 1\r\n", &good), 400, "missing_header"),
        (post(HEADER, ""), 400, "invalid_body"),
        (post(HEADER, "null"), 400, "invalid_body"),
        (post(HEADER, "{}"), 400, "invalid_body"),
        (post(HEADER, "id=a&group=g"), 400, "invalid_body"),
        (post(HEADER, r#"{"client_params":{"id":"a"}}"#), 400, "invalid_body"),
        (post(HEADER, r#"{"client_params":{"id":1,"group":"g"}}"#), 400, "invalid_body"),
        (post(HEADER, &format!("{good}x")), 400, "invalid_body"),
        (post(HEADER, &format!("{good}{good}")), 400, "invalid_body"),
        (post(HEADER, &body("", "g")), 400, "invalid_client_params"),
        (post(HEADER, &body("a", "")), 400, "invalid_client_params"),
        (post(HEADER, &body("a", "g/../h")), 400, "invalid_client_params"),
        (post(HEADER, &body("a", "g h")), 400, "invalid_client_params"),
        (post(HEADER, &body(&long, "g")), 400, "invalid_client_params"),
    ];
    for (text, status, kind) in table {
        let answer = once(&url, &text).await;
        assert_eq!((answer.status, answer.kind().as_str()), (status, kind), "{text}");
    }
    assert_eq!(once(&url, &at("GET", "/v1/pre-reboot")).await.header("allow"), Some("POST"));
    assert!(store.groups().await.unwrap().is_empty(), "nobody has a slot, and nobody waits");
}

#[tokio::test]
async fn an_id_may_be_any_text() {
    let (_dir, store, url) = hub().await;
    for id in ["a/b", "../../x", "%2e", "a b\t\n\"", "\u{fc}\u{1f512}", "\u{1b}[31m", "\0"] {
        assert_eq!(lock(&url, id, "g").await.status, 200, "{id:?}");
        assert_eq!(holders(&store).await, [id]);
        let said = lock(&url, "other", "g").await.problem().1;
        assert!(!said.contains(char::is_control), "{said:?}");
        unlock(&url, "other", "g").await;
        assert_eq!(unlock(&url, id, "g").await.status, 200);
        assert!(holders(&store).await.is_empty());
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_without_being_read() {
    let (_dir, store, url) = hub().await;
    let told = "POST /v1/pre-reboot HTTP/1.1\r\nHost: lock\r\nfleet-lock-protocol: true\r\n\
                Content-Length: 1073741824\r\n\r\n";
    let answer = once(&url, told).await;
    assert_eq!((answer.status, answer.kind().as_str()), (413, "body_too_large"));
    let mut stream = connect(&url).await;
    let untold = "POST /v1/pre-reboot HTTP/1.1\r\nHost: lock\r\nfleet-lock-protocol: true\r\n\
                  Transfer-Encoding: chunked\r\n\r\n5000\r\n";
    stream.write_all(untold.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 0x5000]).await.unwrap();
    let answer = wire::read(&mut stream).await;
    assert_eq!((answer.status, answer.kind().as_str()), (413, "body_too_large"));
    assert!(store.groups().await.unwrap().is_empty());
    let padded = format!("{}{}", body("a", "g"), " ".repeat(15_000));
    assert_eq!(once(&url, &request("POST", "/v1/pre-reboot", HEADER, &padded)).await.status, 200);
}

#[tokio::test]
async fn who_dawdles_is_cut_off_and_holds_nobody_up() {
    let (_dir, store, _url) = hub().await;
    let limits =
        Limits { connections: 2, patience: Duration::from_millis(200), ..Limits::default() };
    let url = serve_as(store.clone(), RULES, &Hub::default(), limits).await;
    let mut slow_body = connect(&url).await;
    let text = request("POST", "/v1/pre-reboot", HEADER, &body("a", "g"));
    let answer = ask(&mut slow_body, &text[..text.len() - 1]).await;
    assert_eq!((answer.status, answer.kind().as_str()), (408, "slow_body"));
    // Both places are taken by connections that never ask for anything.
    let mut idle = [connect(&url).await, connect(&url).await];
    idle[0].write_all(b"POST /v1/pre-re").await.unwrap();
    assert_eq!(lock(&url, "b", "g").await.status, 200);
    for stream in &mut idle {
        within("the idle are hung up on", stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    assert_eq!(holders(&store).await, ["b"]);
}

#[tokio::test]
async fn a_connection_is_kept_and_used_again() {
    let (_dir, _store, url) = hub().await;
    let mut stream = connect(&url).await;
    let asked: [(&str, u16); 4] = [
        ("/v1/pre-reboot", 200),
        ("/nowhere", 404),
        ("/v1/pre-reboot", 200),
        ("/v1/steady-state", 200),
    ];
    for (path, status) in asked {
        let text = request("POST", path, HEADER, &body("a", "g"));
        assert_eq!(ask(&mut stream, &text).await.status, status);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_has_been_served_all_the_same() {
    let (_dir, store, url) = hub().await;
    let mut stream = connect(&url).await;
    let text = request("POST", "/v1/pre-reboot", HEADER, &body("a", "g"));
    stream.write_all(text.as_bytes()).await.unwrap();
    drop(stream);
    // Whatever became of it, the next request of this client comes after it.
    assert_eq!(unlock(&url, "a", "g").await.status, 200);
    assert!(holders(&store).await.is_empty());
}

#[tokio::test]
async fn health_is_that_of_the_store() {
    let (_dir, _store, url) = hub().await;
    let text = |method| format!("{method} /healthz HTTP/1.1\r\nHost: lock\r\n\r\n");
    assert_eq!(once(&url, &text("GET")).await.status, 200);
    assert_eq!(once(&url, &text("HEAD")).await.status, 200);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let store = crate::storm::etcd_store(&[endpoint]);
    let url = serve(store, RULES).await;
    let sick: Answer = once(&url, &text("GET")).await;
    assert_eq!((sick.status, sick.kind().as_str()), (503, "store_unreachable"));
    for answer in [lock(&url, "a", "g").await, unlock(&url, "a", "g").await] {
        assert_eq!((answer.status, answer.kind().as_str()), (503, "store_unreachable"));
        assert!(answer.problem().1.contains("connection refused"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_waiting_client_is_told_when_to_ask_again() {
    let (_dir, store, _url) = hub().await;
    let rules = lockkeeper::hub::Rules { ask_again: Duration::from_secs(7), ..RULES };
    let url = serve(store, rules).await;
    lock(&url, "a", "g").await;
    assert_eq!(lock(&url, "b", "g").await.header("retry-after"), Some("7"));
}
