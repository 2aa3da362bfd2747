//! Servers that fail in the ordinary ways, and in some that are not.

use std::{fs, path::Path, sync::Arc};

use lockkeeper::adapters::channel::{Reason, client::Client, remote::Remote};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::{
    lab::{Lab, MANNERS},
    server::{Server, Vice},
};

#[tokio::test]
async fn a_slow_server_is_given_up() {
    let lab = Lab::new().await;
    for vice in [Vice::Drip, Vice::Silent] {
        lab.server.vice("timestamp.json", vice);
        lab.refused(Reason::Slow).await;
    }
    lab.server.repent();
    lab.server.vice("channel-stable.json", Vice::Drip);
    lab.refused(Reason::Slow).await;
}

#[tokio::test]
async fn less_than_was_signed_is_not_enough() {
    let lab = Lab::new().await;
    lab.server.vice("channel-stable.json", Vice::Short(20));
    lab.refused(Reason::TooShort).await;
    lab.server.vice("channel-stable.json", Vice::Short(0));
    lab.refused(Reason::TooShort).await;
}

#[tokio::test]
async fn a_file_is_what_was_signed_or_it_is_not_there() {
    let lab = Lab::new().await;
    let channel = lab.open().await.unwrap();
    let path = lab.dir.path().join("release");
    let name = "release-1.0.0.json";
    channel.save(name, &path).await.unwrap();
    let honest = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut flipped = honest.clone();
    flipped[honest.len() / 2] ^= 1;
    for (vice, reason) in [
        (Vice::Text(flipped), Reason::Digest),
        (Vice::Short(honest.len() - 1), Reason::TooShort),
        (Vice::Long(1), Reason::TooLarge),
        (Vice::Endless, Reason::TooLarge),
        (Vice::Compressed, Reason::Unreachable),
        (Vice::Status(500), Reason::Unreachable),
        (Vice::Status(404), Reason::Unreachable),
        (Vice::Elsewhere("ftp://example.com/x".to_owned()), Reason::Redirected),
        (Vice::Elsewhere(lab.server.url.join("x").unwrap().to_string()), Reason::Unreachable),
    ] {
        lab.server.repent();
        lab.server.vice(name, vice);
        let refused = channel.save(name, &path).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(!path.exists());
    }
    lab.server.repent();
    channel.save(name, &path).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), honest);
}

#[tokio::test]
async fn a_server_that_leads_in_circles_is_left() {
    let lab = Lab::new().await;
    let itself = lab.server.url.join("metadata/timestamp.json").unwrap().to_string();
    lab.server.vice("timestamp.json", Vice::Elsewhere(itself));
    lab.refused(Reason::Redirected).await;
}

#[tokio::test]
async fn what_was_cut_off_goes_on_where_it_was_cut_and_elsewhere() {
    let lab = Lab::new().await;
    let mirror = Server::of(&lab.folder().join("public")).await;
    let name = "release-1.0.0.json";
    for (vice, asks_again) in
        [(None, true), (Some(Vice::NoParts), true), (Some(Vice::WrongPart), true)]
    {
        let remote =
            Remote::new(&[lab.server.url.clone(), mirror.url.clone()], None, MANNERS).unwrap();
        let store = tempfile::tempdir().unwrap();
        let client = Client::new(&lab.dir.path().join("root.json"), store.path());
        let channel = client.open(remote).await.unwrap();
        lab.server.vice(name, Vice::CutOnce(100));
        mirror.repent();
        let wrong = matches!(vice, Some(Vice::WrongPart));
        if let Some(vice) = vice {
            mirror.vice(name, vice);
        }
        let path = store.path().join("release");
        let saved = channel.save(name, &path).await;
        let asked = mirror.asked().pop().unwrap_or_default();
        assert_eq!(asked.ends_with("from 100"), asks_again, "{asked}");
        if wrong {
            assert_eq!(saved.unwrap_err().reason, Reason::Unreachable);
            assert!(!path.exists());
        } else {
            saved.unwrap();
            let signed = fs::read_dir(lab.folder().join("public/targets")).unwrap();
            let mut signed = signed.map(|file| file.unwrap().path());
            let signed = signed.find(|path| path.to_str().unwrap().ends_with(name));
            assert_eq!(fs::read(&path).unwrap(), fs::read(signed.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_not_missed() {
    let lab = Lab::new().await;
    let mirror = Server::of(&lab.folder().join("public")).await;
    lab.server.vice("", Vice::Status(503));
    let remote = Remote::new(&[lab.server.url.clone(), mirror.url.clone()], None, MANNERS).unwrap();
    let client = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join("store"));
    let channel = client.open(remote).await.unwrap();
    assert_eq!(channel.listing("stable").await.unwrap().releases.len(), 1);
    let asked = lab.server.asked().len();
    channel.release(&"1.0.0".parse().unwrap()).await.unwrap();
    assert_eq!(lab.server.asked().len(), asked, "it is asked last, once it has failed");
}

#[tokio::test]
async fn nobody_is_led_from_tls_to_plain_http() {
    let lab = Lab::new().await;
    let (acceptor, ca) = tls(lab.dir.path());
    let secure = Server::with_tls(&lab.folder().join("public"), acceptor).await;
    let client = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join("store"));
    let open = || {
        let remote =
            Remote::new(std::slice::from_ref(&secure.url), Some(ca.as_path()), MANNERS).unwrap();
        client.open(remote)
    };
    open().await.unwrap();
    let plain = lab.server.url.join("metadata/timestamp.json").unwrap();
    secure.vice("timestamp.json", Vice::Elsewhere(plain.to_string()));
    let refused = open().await.unwrap_err();
    assert_eq!(refused.reason, Reason::Redirected, "{refused}");
    assert!(refused.to_string().contains("which is not encrypted"), "{refused}");
    // Its certificate is of nobody we know.
    let remote = Remote::new(std::slice::from_ref(&secure.url), None, MANNERS).unwrap();
    let refused = client.open(remote).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unreachable, "{refused}");
}

/// A server's certificate, and the file with it.
fn tls(folder: &Path) -> (TlsAcceptor, std::path::PathBuf) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = folder.join("ca.pem");
    fs::write(&ca, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca)
}
