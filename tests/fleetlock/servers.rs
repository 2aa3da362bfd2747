//! The habits of other servers, as our client meets them: answers as they were seen from airlock and
//! as poseidon's are written.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::adapters::slots::fleetlock::{FleetLockStore, Server};
use lockkeeper::adapters::slots::{SlotStore, StoreError};
use lockkeeper::core::slots::{Holder, SlotsView};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::hub::{client, reach};
use crate::wait::within;

/// airlock: everything else than success is text/plain, ends with a newline, and most of it is 500.
const AIRLOCK_FULL: &str =
    r#"{"kind":"failed_lock","value":"all 1 semaphore slots currently locked"}"#;
const AIRLOCK_RACE: &str =
    r#"{"kind":"failed_lock","value":"conflict on semaphore detected, aborting"}"#;
const AIRLOCK_NO_ETCD: &str = r#"{"kind":"failed_sem_init","value":"context deadline exceeded"}"#;
const AIRLOCK_GROUP: &str = r#"{"kind":"unknown_group","value":"unknown group web"}"#;
/// poseidon: one slot, and an unlock by somebody else is refused.
const POSEIDON_HELD: &str = r#"{"kind":"lock_held","value":"reboot lease held by 4f2a"}"#;

fn airlock(status: &str, body: &str) -> String {
    let length = body.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {length}\r\n\r\n{body}\n"
    )
}

fn poseidon(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A server that gives these answers, one a request; what it was asked.
struct Replay {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Replay {
    async fn of<const N: usize>(answers: [String; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, mut answers) = (asked.clone(), VecDeque::from(answers));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = Vec::new();
                while !answers.is_empty() && stream.read_buf(&mut text).await.unwrap_or(0) > 0 {
                    if text.ends_with(b"}}") {
                        heard.lock().unwrap().push(String::from_utf8(text.split_off(0)).unwrap());
                        let answer = answers.pop_front().unwrap();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn groups() -> Vec<String> {
    vec!["web".to_owned()]
}

fn claim() -> Holder {
    Holder {
        node: "69d27b356a94476da859461d3a3bc6fd".to_owned(),
        name: "web-2".to_owned(),
        nonce: "n".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        reason: "update".to_owned(),
        release: None,
        boot_id: "b".to_owned(),
        expected_secs: 0,
        overdue: false,
    }
}

/// An acquire; what it told meanwhile: a holder's name, or the text of an error.
async fn acquire(store: &SlotStore) -> (Result<i64, StoreError>, Vec<String>) {
    let told = Mutex::new(Vec::new());
    let seen = |news: Result<lockkeeper::core::slots::Views, StoreError>| {
        let name = |view: SlotsView| view.slots.holders.first().map(|h| h.name.clone());
        let text = match news {
            Ok(mut views) => name(views.remove("web").unwrap()).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        told.lock().unwrap().push(text);
    };
    let token = within("acquire returns", store.acquire(&groups(), &claim(), seen)).await;
    (token, told.into_inner().unwrap())
}

async fn release(store: &SlotStore) -> Result<(), StoreError> {
    store.release(&groups(), &claim().node, "n", Duration::ZERO).await
}

#[tokio::test]
async fn a_full_or_raced_airlock_is_waited_for_and_one_without_etcd_too() {
    let server = Replay::of([
        airlock("500 Internal Server Error", AIRLOCK_FULL),
        airlock("500 Internal Server Error", AIRLOCK_RACE),
        airlock("500 Internal Server Error", AIRLOCK_NO_ETCD),
        ok(""),
    ])
    .await;
    let (token, told) = acquire(&client(&server.url)).await;
    assert_eq!(token.unwrap(), 0, "airlock has no tokens");
    let url = &server.url;
    assert_eq!(
        told,
        [
            "another node (failed_lock: all 1 semaphore slots currently locked)".to_owned(),
            "another node (failed_lock: conflict on semaphore detected, aborting)".to_owned(),
            format!("{url}: 500 failed_sem_init: context deadline exceeded"),
        ]
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    for text in asked {
        assert!(text.starts_with("POST /base/v1/pre-reboot HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("fleet-lock-protocol: true\r\n"), "{text}");
        assert!(text.contains("content-type: application/json\r\n"), "{text}");
        let body = r#"{"client_params":{"id":"69d27b356a94476da859461d3a3bc6fd","group":"web"}}"#;
        assert!(text.ends_with(body), "{text}");
    }
}

#[tokio::test]
async fn an_airlock_that_does_not_know_the_group_ends_the_wait_and_says_so() {
    let server = Replay::of([airlock("400 Bad Request", AIRLOCK_GROUP)]).await;
    let (token, _) = acquire(&client(&server.url)).await;
    let error = token.unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }));
    let url = &server.url;
    assert_eq!(error.to_string(), format!("{url}: 400 unknown_group: unknown group web"));
}

#[tokio::test]
async fn an_airlock_that_lost_a_race_has_not_taken_the_slot_back() {
    let race = airlock("500 Internal Server Error", AIRLOCK_RACE);
    let server = Replay::of([race, ok("")]).await;
    let store = client(&server.url);
    let error = release(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "called again: {error}");
    release(&store).await.unwrap();
    assert!(server.asked()[1].starts_with("POST /base/v1/steady-state "));
}

#[tokio::test]
async fn a_poseidon_held_by_another_is_waited_for_and_has_nothing_of_ours_to_take_back() {
    let held = || poseidon("423 Locked", POSEIDON_HELD);
    let server = Replay::of([held(), ok("ok\n"), held(), held()]).await;
    let store = client(&server.url);
    let (token, told) = acquire(&store).await;
    token.unwrap();
    assert_eq!(told, ["another node (lock_held: reboot lease held by 4f2a)"]);
    release(&store).await.unwrap();
    assert_eq!(store.leave(&groups(), &claim().node, "n").await.unwrap(), None);
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn what_is_no_fleetlock_server_is_told_with_what_it_says() {
    let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n";
    let moved = "HTTP/1.1 301 Moved Permanently\r\nLocation: https://lock.example.com/\r\n\
                 Content-Length: 0\r\n\r\n";
    let token = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    for (answer, said) in [
        (page, "404 generic_http_404: 404 page not found"),
        (
            moved,
            "301 generic_http_301: redirected to https://lock.example.com/; write that into the URL",
        ),
        (token, "401 generic_http_401: Unauthorized"),
    ] {
        let server = Replay::of([answer.to_owned()]).await;
        let error = acquire(&client(&server.url)).await.0.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }));
        assert_eq!(error.to_string(), format!("{}: {said}", server.url));
    }
}

#[tokio::test]
async fn a_gateway_that_is_down_and_a_port_nobody_listens_at_are_waited_out() {
    let bad = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nx\x01y\n";
    let server = Replay::of([bad.to_owned(), ok("")]).await;
    let (token, told) = acquire(&client(&server.url)).await;
    token.unwrap();
    assert_eq!(told, [format!("{}: 502 generic_http_502: x y", server.url)]);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let error = release(&client(&url)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }));
    assert_eq!(error.to_string(), format!("{url}: connection refused"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server { timeout: Duration::from_millis(200), ..reach(&url) };
    let error = release(&SlotStore::FleetLock(FleetLockStore::new(&server))).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}: no answer in time"));
}

#[tokio::test]
async fn a_server_that_says_when_to_ask_again_is_asked_then() {
    let busy = format!(
        "HTTP/1.1 423 Locked\r\nRetry-After: 1\r\nContent-Length: {}\r\n\r\n{POSEIDON_HELD}",
        POSEIDON_HELD.len()
    );
    let server = Replay::of([busy, ok("")]).await;
    let began = tokio::time::Instant::now();
    acquire(&client(&server.url)).await.0.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}
