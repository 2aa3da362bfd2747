//! Getting in to etcd with the right papers, and what is said with the wrong ones.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::{SlotStore, StoreError};
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::health::Evidence;

use crate::bench::{Lock, claim, start, store_by};
use crate::etcd::Cluster;
use crate::fenced::{Asks, Authority, EXPIRED, Fenced, ROOT, VALID, with_papers, with_user};
use crate::wait::within;

const CERTIFICATE: Asks = Asks { certificate: true, user: false, short_tokens: false };
const USER: Asks = Asks { certificate: false, user: true, short_tokens: false };
const BOTH: Asks = Asks { certificate: true, user: true, short_tokens: false };

/// Everything a node does there, once.
async fn gets_in(access: &Access) {
    let store = store_by(access);
    within("a slot", store.acquire(&claim("a"), |_| {})).await.unwrap();
    store.release("a", "nonce-a", Duration::ZERO).await.unwrap();
    assert_eq!(store.view().await.unwrap().slots.holders, []);
}

/// Both a question and a wait end, with these words.
async fn is_turned_away(access: &Access, words: &str) {
    let asked = within("an answer", store_by(access).view()).await.unwrap_err();
    let waited = start(store_by(access), claim("a")).error().await;
    for error in [asked, waited] {
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}, and not {words}");
        assert!(error.to_string().contains(words), "{error}, and not {words}");
    }
}

#[tokio::test]
async fn the_ca_is_enough_where_etcd_asks_for_nothing() {
    let fenced = Fenced::start(1, Asks::default()).await;
    gets_in(&fenced.access()).await;
}

#[tokio::test]
async fn a_certificate_is_enough_where_etcd_has_no_users() {
    let fenced = Fenced::start(1, CERTIFICATE).await;
    gets_in(&fenced.access()).await;
}

#[tokio::test]
async fn the_name_in_a_certificate_is_a_user() {
    let fenced = Fenced::start(1, BOTH).await;
    let bare = Access { user: None, password_file: None, ..fenced.access() };
    gets_in(&with_papers(bare.clone(), &fenced.ca.issue("agent", &[], VALID))).await;
    is_turned_away(&bare, "permission denied (this user lacks a role").await;
}

#[tokio::test]
async fn a_certificate_of_etcd_that_is_not_good_is_told() {
    let ca = Authority::new();
    let old = ca.issue("127.0.0.1", &["127.0.0.1"], EXPIRED);
    let fenced = Fenced::showing(ca, &old).await;
    is_turned_away(&fenced.access(), "its certificate has expired").await;

    let ca = Authority::new();
    let other = ca.issue("other", &["etcd-9.example.com"], VALID);
    let fenced = Fenced::showing(ca, &other).await;
    let said = "its certificate is for DnsName(\"etcd-9.example.com\"), not for the name";
    is_turned_away(&fenced.access(), said).await;

    let fenced = Fenced::start(1, Asks::default()).await;
    let stranger = Authority::new();
    let access = Access { ca_file: Some(stranger.file()), ..fenced.access() };
    is_turned_away(&access, "its certificate is not signed by the CA given").await;
}

#[tokio::test]
async fn a_certificate_of_ours_that_is_not_good_is_told() {
    let fenced = Fenced::start(1, CERTIFICATE).await;
    let good = fenced.access();
    let none = Access { cert_file: None, key_file: None, ..good.clone() };
    is_turned_away(&none, "client certificate").await;
    let old = with_papers(good.clone(), &fenced.ca.issue("old", &[], EXPIRED));
    is_turned_away(&old, "client certificate").await;
    let strange = with_papers(good, &Authority::new().issue("strange", &[], VALID));
    is_turned_away(&strange, "client certificate").await;
}

#[tokio::test]
async fn who_is_not_a_user_with_a_role_is_told_so() {
    let fenced = Fenced::start(1, USER).await;
    let good = fenced.access();
    gets_in(&good).await;
    let nobody = Access { user: None, password_file: None, ..good.clone() };
    is_turned_away(&nobody, "user name is empty (etcd wants a user").await;
    let wrong = fenced.ca.path("wrong");
    fs::write(&wrong, "not-the-password\n").unwrap();
    for user in ["agent", "unknown"] {
        let access = with_user(good.clone(), user, &wrong);
        is_turned_away(&access, "etcd knows no such user with this password").await;
    }
    let mut client = fenced.cluster.client().await;
    client.user_add("idle", "not-the-password", None).await.unwrap();
    let idle = with_user(good, "idle", &wrong);
    is_turned_away(&idle, "permission denied (this user lacks a role").await;
}

#[tokio::test]
async fn each_kind_of_user_may_do_its_part_and_no_more() {
    let fenced = Fenced::start(1, USER).await;
    for kind in ["admin", "viewer"] {
        let file = fenced.password_file(kind);
        let arguments = [kind, kind, "--password-file", file.to_str().unwrap()];
        let made = fenced.role(&arguments, ROOT);
        assert!(made.status.success(), "{made:?}");
    }
    let user = |name: &str| with_user(fenced.access(), name, &fenced.password_file(name));
    gets_in(&user("admin")).await;
    let viewer = store_by(&user("viewer"));
    assert_eq!(viewer.view().await.unwrap().slots.holders, []);
    let lock = viewer.admin(&AdminOp::Lock(claim("a"))).await.unwrap_err();
    assert!(lock.to_string().contains("permission denied"), "{lock}");

    // Keys that merely begin alike are nobody's of these.
    for name in ["agent", "admin", "viewer"] {
        let elsewhere = Lock::of(SlotStore::Etcd(EtcdStore::new(&user(name), "/lockkeeper/v10")));
        let error = elsewhere.view().await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_named() {
    let ca = Authority::new();
    let papers = ca.issue("agent", &[], VALID);
    let other = ca.issue("other", &[], VALID);
    let text = ca.path("text");
    let text = |content: &str| {
        fs::write(&text, content).unwrap();
        Some(text.clone())
    };
    let gone = Some(PathBuf::from("/nonexistent/file"));
    let good = Access {
        ca_file: Some(ca.file()),
        ..Access::open(&["https://127.0.0.1:1".to_owned()], Duration::from_secs(5))
    };
    let good = with_papers(good, &papers);
    let said = async |access: Access| {
        let error = store_by(&access).view().await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        error.to_string().replace(ca.path("").to_str().unwrap(), "/")
    };
    let cases = [
        (
            Access { ca_file: gone.clone(), ..good.clone() },
            "CA file /nonexistent/file: no such file",
        ),
        (
            Access { key_file: gone.clone(), ..good.clone() },
            "key file /nonexistent/file: no such file",
        ),
        (
            Access { cert_file: Some(papers.key.clone()), ..good.clone() },
            "client certificate /agent-4096.key: no certificate in it (PEM)",
        ),
        (
            Access { key_file: Some(papers.cert.clone()), ..good.clone() },
            "key file /agent-4096.crt: no private key in it (PEM, not encrypted)",
        ),
        (
            Access { key_file: Some(other.key.clone()), ..good.clone() },
            "client certificate /agent-4096.crt and key /other-4096.key do not go together",
        ),
        (
            Access { ca_file: Some(PathBuf::from("/")), ..good.clone() },
            "CA file /: cannot be read (Is a directory",
        ),
        (
            Access { ca_file: None, ..good.clone() },
            "https://127.0.0.1:1: https needs the certificate of the CA",
        ),
        (Access { key_file: None, ..good.clone() }, "a client certificate and its key go together"),
        (
            Access { user: Some("agent".into()), ..good.clone() },
            "a user and a password file go together",
        ),
        (
            Access { endpoints: vec!["http://127.0.0.1:1".into()], ..good.clone() },
            "certificates are of no use with http endpoints",
        ),
        (
            Access {
                endpoints: vec!["https://127.0.0.1:1".into(), "http://127.0.0.1:1".into()],
                ..good.clone()
            },
            "some endpoints of etcd are http and some https",
        ),
    ];
    for (access, words) in cases {
        let said = said(access).await;
        assert!(said.starts_with(words), "{said}, and not {words}");
    }
    for (content, words) in [
        ("hello", "CA file /text: no certificate in it (PEM)"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "CA file /text: not PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "CA file /text: a certificate in it is bad",
        ),
    ] {
        let said = said(Access { ca_file: text(content), ..good.clone() }).await;
        assert!(said.starts_with(words), "{said}, and not {words}");
    }
    for content in ["", "\n", "two\nlines\n"] {
        let access = with_user(good.clone(), "agent", &text(content).unwrap());
        let words = "password file /text: it must hold the password, on one line";
        assert_eq!(said(access).await, words);
    }
}

#[tokio::test]
async fn http_and_https_taken_for_each_other_are_told() {
    let plain = Cluster::start(1).await;
    let fenced = Fenced::start(1, Asks::default()).await;
    let https = |urls: Vec<String>| urls[0].replace("http://", "https://");
    let access = Access { endpoints: vec![https(plain.endpoints())], ..fenced.access() };
    let error = within("an answer", store_by(&access).view()).await.unwrap_err();
    assert!(error.to_string().contains("does it speak TLS?"), "{error}");
    let http = fenced.cluster.endpoints()[0].replace("https://", "http://");
    let access = Access::open(&[http], Duration::from_secs(5));
    is_turned_away(&access, "it speaks TLS: write https://").await;
}

/// The answer to a question, once the store is back. It may be away for a moment, but must not call
/// itself unusable.
async fn back(store: &Lock) {
    let asked = async {
        loop {
            match store.view().await {
                Ok(_) => return,
                Err(StoreError::Unreachable { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    within("the store is back", asked).await;
}

#[tokio::test]
async fn a_member_that_restarts_forgets_its_tokens_and_nobody_notices() {
    let mut fenced = Fenced::start(1, BOTH).await;
    let (store, other) = (store_by(&fenced.access()), store_by(&fenced.access()));
    store.acquire(&claim("a"), |_| {}).await.unwrap();
    let mut waiter = start(other, claim("b"));
    waiter
        .told("b waits", |news| news.as_ref().ok().filter(|v| v.queue.len() == 1).map(drop))
        .await;
    fenced.cluster.kill(0);
    fenced.cluster.restart(0);
    fenced.cluster.ready().await;
    back(&store).await;
    store.release("a", "nonce-a", Duration::ZERO).await.unwrap();
    waiter.token().await;
}

#[tokio::test]
async fn tokens_expire_and_nobody_notices() {
    let fenced = Fenced::start(1, Asks { short_tokens: true, ..BOTH }).await;
    let (store, other) = (store_by(&fenced.access()), store_by(&fenced.access()));
    store.acquire(&claim("a"), |_| {}).await.unwrap();
    let mut waiter = start(other, claim("b"));
    waiter
        .told("b waits", |news| news.as_ref().ok().filter(|v| v.queue.len() == 1).map(drop))
        .await;
    // etcd's own clock: when this is gone, so are tokens that were not used meanwhile.
    let mut client = fenced.cluster.client().await;
    let lease = client.lease_grant(4, None).await.unwrap().id();
    crate::wait::eventually("four seconds", || {
        let mut client = client.clone();
        async move {
            client.lease_time_to_live(lease, None).await.unwrap().ttl().is_negative().then_some(())
        }
    })
    .await;
    let known = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Authenticate\"";
    let before = fenced.cluster.metric(0, known).await;
    store.view().await.unwrap();
    let after = fenced.cluster.metric(0, known).await;
    assert!(after > before, "the token had expired: {before} {after}");
    store.release("a", "nonce-a", Duration::ZERO).await.unwrap();
    waiter.token().await;
}

#[tokio::test]
async fn renewed_files_count_without_a_restart() {
    let fenced = Fenced::start(1, BOTH).await;
    let old = fenced.ca.issue("some-machine", &[], EXPIRED);
    let store = store_by(&with_papers(fenced.access(), &old));
    let error = store.view().await.unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");
    let new = fenced.ca.issue("some-machine", &[], VALID);
    fs::copy(&new.cert, &old.cert).unwrap();
    fs::copy(&new.key, &old.key).unwrap();
    store.view().await.unwrap();
    // Its connection lives on, its token does not.
    let mut client = fenced.cluster.client().await;
    client.user_change_password("agent", "changed").await.unwrap();
    let error = store.view().await.unwrap_err();
    assert!(error.to_string().contains("etcd knows no such user with this password"), "{error}");
    fs::write(fenced.password_file("agent"), "changed\n").unwrap();
    store.view().await.unwrap();
}

#[tokio::test]
async fn users_may_be_asked_for_later() {
    let mut fenced = Fenced::start(1, CERTIFICATE).await;
    fenced.make_user("agent", "agent");
    let access = with_user(fenced.access(), "agent", &fenced.password_file("agent"));
    let store = store_by(&access);
    store.acquire(&claim("a"), |_| {}).await.unwrap();
    fenced.ask_for_users().await;
    store.release("a", "nonce-a", Duration::ZERO).await.unwrap();
    assert_eq!(store.view().await.unwrap().slots.holders, []);
}

#[tokio::test]
async fn other_members_are_asked_when_one_fails() {
    let mut fenced = Fenced::start(3, BOTH).await;
    let access = Access { timeout: Duration::from_secs(10), ..fenced.access() };
    let first = fenced.cluster.leader().await;
    let mut turned = access.clone();
    turned.endpoints.swap(0, first);
    let store = store_by(&turned);
    store.view().await.unwrap();
    fenced.cluster.kill(first);
    fenced.cluster.leader().await;
    back(&store).await;
    store.admin(&AdminOp::SetMax(2)).await.unwrap();

    // A member that takes the connection and then says nothing has not got the request.
    fenced.cluster.restart(first);
    fenced.cluster.ready().await;
    let leader = fenced.cluster.leader().await;
    let frozen = (leader + 1) % 3;
    fenced.cluster.freeze(frozen);
    let mut turned = access;
    turned.endpoints.swap(0, frozen);
    let view = store_by(&turned).admin(&AdminOp::SetMax(3)).await.unwrap();
    assert_eq!(view.slots.max, 3);
}

#[tokio::test]
async fn a_member_with_a_bad_certificate_does_not_matter_beside_good_ones() {
    let fenced = Fenced::start(1, Asks::default()).await;
    let bad = Fenced::start(1, Asks::default()).await;
    let mut access = fenced.access();
    access.endpoints.insert(0, bad.cluster.endpoints()[0].clone());
    gets_in(&access).await;
}

#[tokio::test]
async fn the_quorum_is_looked_after_with_the_same_papers() {
    let mut fenced = Fenced::start(3, BOTH).await;
    let store = store_by(&fenced.access());
    let own = [fenced.cluster.address(0)];
    assert_eq!(store.store.quorum_risk(&own).await, Evidence::No);
    fenced.cluster.kill(1);
    fenced.cluster.leader().await;
    let Evidence::Yes { reasons } = store.store.quorum_risk(&own).await else { panic!() };
    assert!(reasons[0].starts_with("etcd member m1 is not well"), "{reasons:?}");
}
