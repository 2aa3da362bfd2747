//! The hub's configuration file.

use std::path::Path;
use std::time::Duration;

use lockkeeper::config::hub::{self, Hub, Store};

fn load(text: &str) -> Result<Hub, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.toml");
    std::fs::write(&path, text).unwrap();
    hub::load(&path).map_err(|errors| {
        let place = format!("{}:", path.display());
        errors.to_string().lines().map(|l| l.strip_prefix(&place).unwrap().to_owned()).collect()
    })
}

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/etc/lockkeeper/hub.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn without_a_file_or_with_the_shipped_one_the_built_in_values_count() {
    assert_eq!(hub::load(Path::new("/nowhere/hub.toml")).unwrap(), Hub::default());
    assert_eq!(load(&shipped()).unwrap(), Hub::default());
    assert!(Hub::default().listen.ip().is_loopback());
    // Zincati asks every 300 s and up to a tenth more.
    assert!(Hub::default().ticket_ttl >= Duration::from_secs(2 * 330));
}

#[test]
fn every_commented_line_of_the_shipped_file_is_a_good_one() {
    let bare = |line: &str| {
        let rest = line.strip_prefix('#')?;
        let key = rest.starts_with('[') || rest.starts_with(|c: char| c.is_ascii_lowercase());
        key.then(|| rest.to_owned())
    };
    let text: Vec<String> = shipped().lines().filter_map(bare).collect();
    let text = text.join("\n").replace("store = \"etcd\"", "store = \"embedded\"");
    let hub = load(&text).unwrap();
    let built_in = Hub::default();
    assert_eq!(hub.store, Store::Embedded);
    assert_eq!(hub.groups, [("default".to_owned(), 1)].into());
    assert!(hub.token_file.is_some() && hub.tls.unwrap().client_ca_file.is_some());
    assert_eq!((hub.listen, hub.ticket_ttl), (built_in.listen, built_in.ticket_ttl));
    assert_eq!((hub.settle, hub.ask_again), (built_in.settle, built_in.ask_again));
    assert_eq!(hub.etcd.user.as_deref(), Some("lockkeeper-hub"));
    assert!(hub.etcd.ca_file.is_some() && hub.etcd.password_file.is_some());
    assert!(hub.etcd.cert_file.is_some() && hub.etcd.key_file.is_some());
    assert_eq!(hub.etcd.endpoints, built_in.etcd.endpoints);
    assert_eq!(hub.embedded_path, built_in.embedded_path);
}

#[test]
fn the_manual_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet-lock.md");
    let manual = std::fs::read_to_string(path).unwrap();
    for key in hub::KEYS {
        assert!(manual.contains(&format!("`{key}")), "{key}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_what_to_do() {
    let table = [
        ("lisen = \"[::]:1\"", "1:1: lisen: unknown key; did you mean \"listen\"?"),
        (
            "listen = \"localhost\"",
            "1:10: listen: \"localhost\" is no address to listen at; write ADDRESS:PORT, such as \"127.0.0.1:3333\" or \"[::]:3333\"",
        ),
        ("store = \"redb\"", "1:9: store: unknown store \"redb\"; write \"etcd\" or \"embedded\""),
        ("ticket_ttl = \"1s\"", "1:14: ticket_ttl: \"1s\" is too short; at least \"2s\""),
        (
            "tls = true",
            "1:7: tls: needs a section, found a boolean; write [tls] on a line of its own, and its keys below",
        ),
        (
            "[tls]\ncert_file = \"hub.crt\"\nkey_file = \"/k\"",
            "2:13: tls.cert_file: \"hub.crt\" is not the whole path of a file; begin with \"/\"",
        ),
        (
            "[groups]\nweb = 2",
            "2:1: groups: is for store = \"embedded\"; in etcd, use rebootctl set-max",
        ),
        (
            "store = \"embedded\"\n[groups]\nweb = 0",
            "3:7: groups.web: is not 1 or more; write web = 2",
        ),
    ];
    for (text, told) in table {
        let found = load(text).unwrap_err();
        if text.contains("[groups]\nweb = 2") {
            assert!(found[0].ends_with(told.split_once(": ").unwrap().1), "{found:?}");
        } else {
            assert_eq!(found[0], told, "{text}");
        }
    }
    let lonely = load("[tls]\nclient_ca_file = \"/ca\"").unwrap_err();
    assert_eq!(lonely, ["2:18: tls.client_ca_file: needs tls.cert_file beside it"]);
    assert_eq!(load("[tls]\ncert_file = \"/c\"").unwrap_err().len(), 1);
}
