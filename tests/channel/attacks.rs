//! Somebody has the network, the mirror, an old key, or too few of the new ones.

use std::{fs, time::Duration};

use lockkeeper::adapters::{
    channel::{
        Reason,
        client::Client,
        folder::Folder,
        publisher::{Lifetimes, Publisher, Whose},
    },
    clock,
};
use serde_json::json;

use super::{
    lab::{Lab, forge, pair, public, restore, saved},
    server::Vice,
};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn what_is_older_is_not_believed() {
    let lab = Lab::new().await;
    let old = saved(&lab.folder().join("public/metadata"));
    lab.publish("2.0.0").await;
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
    let new = saved(&lab.folder().join("public/metadata"));
    restore(&old);
    lab.refused(Reason::Rollback).await;
    restore(&new);
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
}

#[tokio::test]
async fn what_is_over_is_not_believed() {
    let lab = Lab::new().await;
    let now = clock::wall();
    lab.publisher().refresh(now - 30 * DAY).await.unwrap();
    let said = lab.refused(Reason::Expired).await;
    assert!(said.contains("Timestamp metadata is expired") || said.contains("timestamp"), "{said}");
    lab.publisher().refresh(now).await.unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
    // The admin's own signature, too, and that under the root.
    lab.publisher().commit(now - 400 * DAY).await.unwrap();
    lab.publisher().refresh(now).await.unwrap();
    lab.refused(Reason::Expired).await;
}

#[tokio::test]
async fn parts_of_two_states_do_not_make_one() {
    let lab = Lab::new().await;
    let metadata = |number: u64, name: &str| lab.metadata(&format!("{number}.{name}.json"));
    lab.publish("2.0.0").await;
    for name in ["targets", "snapshot"] {
        let honest = fs::read(metadata(3, name)).unwrap();
        fs::copy(metadata(2, name), metadata(3, name)).unwrap();
        lab.refused(Reason::Digest).await;
        fs::write(metadata(3, name), honest).unwrap();
    }
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
}

#[tokio::test]
async fn somebody_elses_channel_is_not_this_one() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    other.publish("6.6.6").await;
    restore(
        &saved(&other.folder().join("public/metadata"))
            .into_iter()
            .map(|(path, text)| (lab.metadata(path.file_name().unwrap().to_str().unwrap()), text))
            .collect(),
    );
    lab.refused(Reason::Signature).await;
}

#[tokio::test]
async fn a_document_without_its_keys_signature_is_not_believed() {
    let lab = Lab::new().await;
    let stranger = pair(&Lab::new().await.key("online"));
    let online = pair(&lab.key("online"));
    let release = pair(&lab.key("release"));
    let path = lab.metadata("timestamp.json");
    let honest = fs::read(&path).unwrap();
    let newer = |signed: &mut serde_json::Value| signed["version"] = json!(99);
    for keys in [vec![], vec![&stranger], vec![&release], vec![&stranger, &release]] {
        forge(&path, &keys, newer);
        lab.refused(Reason::Signature).await;
    }
    // Twice the right one is one too many.
    forge(&path, &[&online, &online], newer);
    lab.refused(Reason::Signature).await;
    let flipped = String::from_utf8(honest.clone()).unwrap().replacen("2.0.0", "2.0.1", 1);
    fs::write(&path, flipped.replacen("\"version\": 2", "\"version\": 3", 1)).unwrap();
    lab.refused(Reason::Signature).await;
    fs::write(&path, honest).unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn too_few_signatures_are_none() {
    let lab = Lab::new().await;
    let (first, second) = (pair(&lab.key("online")), pair(&Lab::new().await.key("online")));
    let (id, key) = public(&second);
    let root = lab.metadata("2.root.json");
    fs::copy(lab.metadata("1.root.json"), &root).unwrap();
    forge(&root, &[&pair(&lab.key("root-1"))], |signed| {
        signed["version"] = json!(2);
        signed["keys"][&id] = key;
        signed["roles"]["timestamp"]["keyids"].as_array_mut().unwrap().push(json!(id));
        signed["roles"]["timestamp"]["threshold"] = json!(2);
    });
    lab.refused(Reason::Signature).await;
    forge(&lab.metadata("timestamp.json"), &[&first, &second], |signed| {
        signed["version"] = json!(50);
    });
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn a_root_is_changed_by_its_quorum_only_and_one_step_at_a_time() {
    let lab = Lab::with_roots(3, 2).await;
    let keys = [1, 2, 3].map(|number| pair(&lab.key(&format!("root-{number}"))));
    let stranger = pair(&Lab::new().await.key("root-1"));
    let (id, key) = public(&stranger);
    let root = lab.metadata("2.root.json");
    let usurp = |signed: &mut serde_json::Value| {
        signed["version"] = json!(2);
        signed["keys"][&id] = key.clone();
        signed["roles"]["root"] = json!({ "keyids": [id], "threshold": 1 });
    };
    for signers in [vec![&stranger], vec![&keys[0]], vec![&keys[0], &stranger]] {
        fs::copy(lab.metadata("1.root.json"), &root).unwrap();
        forge(&root, &signers, usurp);
        lab.refused(Reason::Signature).await;
    }
    // By the old ones alone: nobody could ever change it again.
    fs::copy(lab.metadata("1.root.json"), &root).unwrap();
    forge(&root, &[&keys[0], &keys[1]], usurp);
    lab.refused(Reason::Signature).await;
    fs::copy(lab.metadata("1.root.json"), &root).unwrap();
    forge(&root, &[&keys[0], &keys[1]], |signed| signed["version"] = json!(7));
    lab.refused(Reason::Rollback).await;
    fs::copy(lab.metadata("1.root.json"), &root).unwrap();
    forge(&root, &[&keys[0], &keys[2]], |signed| signed["version"] = json!(2));
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
    // What was believed last counts, even when the mirror has forgotten it.
    fs::remove_file(&root).unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
    assert_eq!(lab.store()["root.json"]["signed"]["version"], 2);
}

#[tokio::test]
async fn a_key_that_was_changed_signs_nothing_any_more() {
    let lab = Lab::new().await;
    let (old, new) = (pair(&lab.key("online")), pair(&Lab::new().await.key("online")));
    // The old key is stolen, and used to make a number that nothing can follow.
    let stolen = lab.metadata("timestamp.json");
    let honest = fs::read(&stolen).unwrap();
    forge(&stolen, &[&old], |signed| signed["version"] = json!(u64::MAX));
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
    fs::write(&stolen, &honest).unwrap();
    lab.refused(Reason::Rollback).await;
    // The root names another key, and the numbers begin anew.
    let (id, key) = public(&new);
    let root = lab.metadata("2.root.json");
    fs::copy(lab.metadata("1.root.json"), &root).unwrap();
    forge(&root, &[&pair(&lab.key("root-1"))], |signed| {
        signed["version"] = json!(2);
        signed["keys"][&id] = key;
        for role in ["timestamp", "snapshot"] {
            signed["roles"][role]["keyids"] = json!([id]);
        }
    });
    lab.refused(Reason::Signature).await;
    let snapshot = lab.metadata("2.snapshot.json");
    forge(&snapshot, &[&new], |_| {});
    let text = fs::read(&snapshot).unwrap();
    forge(&stolen, &[&new], |signed| {
        use sha2::Digest as _;
        let digest = lockkeeper::core::plan::hex(&sha2::Sha256::digest(&text));
        signed["meta"]["snapshot.json"]["length"] = json!(text.len());
        signed["meta"]["snapshot.json"]["hashes"]["sha256"] = json!(digest);
    });
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn one_number_stands_for_one_document() {
    let lab = Lab::new().await;
    forge(&lab.metadata("timestamp.json"), &[&pair(&lab.key("online"))], |signed| {
        signed["expires"] = json!("2030-01-01T00:00:00Z");
    });
    lab.refused(Reason::Equivocation).await;
}

#[tokio::test]
async fn too_much_is_not_waited_for() {
    let lab = Lab::new().await;
    for vice in [Vice::Endless, Vice::Long(1 << 20), Vice::Text(vec![b'['; 1 << 20])] {
        lab.server.vice("timestamp.json", vice);
        lab.refused(Reason::TooLarge).await;
    }
    lab.server.repent();
    lab.publish("2.0.0").await;
    for file in ["3.snapshot.json", "3.targets.json", "channel-stable.json"] {
        for vice in [Vice::Endless, Vice::Long(1)] {
            lab.server.repent();
            lab.server.vice(file, vice);
            let refused = lab.offers().await.unwrap_err();
            assert_eq!(refused.reason, Reason::TooLarge, "{file}: {refused}");
        }
    }
    lab.server.repent();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_guessed_at() {
    let lab = Lab::new().await;
    let honest = fs::read_to_string(lab.metadata("timestamp.json")).unwrap();
    let twice = honest.replacen('{', "{\"signed\": {\"_type\": \"timestamp\"},", 1);
    let nested = [vec![b'['; 20_000], vec![b']'; 20_000]].concat();
    let not_a_number = honest.replacen("\"version\": 2", "\"version\": NaN", 1);
    let bytes = [honest.as_bytes(), &[0xff]].concat();
    for text in
        [twice.into_bytes(), nested, not_a_number.into_bytes(), bytes, vec![], b"null".to_vec()]
    {
        lab.server.vice("timestamp.json", Vice::Text(text));
        lab.refused(Reason::Shape).await;
    }
    // Of another kind, and signed by the same key.
    let snapshot = fs::read(lab.metadata("2.snapshot.json")).unwrap();
    lab.server.vice("timestamp.json", Vice::Text(snapshot));
    lab.refused(Reason::Signature).await;
    let two_versions = honest.replacen("\"version\": 2", "\"version\": 2, \"version\": 9", 1);
    lab.server.vice("timestamp.json", Vice::Text(two_versions.into_bytes()));
    lab.refused(Reason::Shape).await;
}

#[tokio::test]
async fn a_clock_that_goes_back_proves_nothing() {
    let lab = Lab::new().await;
    let time = lab.dir.path().join("store/current/latest_known_time.json");
    let honest = fs::read(&time).unwrap();
    fs::write(&time, "\"2100-01-01T00:00:00Z\"").unwrap();
    lab.refused(Reason::Clock).await;
    fs::write(&time, honest).unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn what_was_seen_is_not_forgotten_by_accident() {
    let lab = Lab::new().await;
    let known = lab.dir.path().join("store/current/timestamp.json");
    let text = fs::read(&known).unwrap();
    // Torn by a power cut: unreadable is not the same as never seen.
    fs::write(&known, &text[..text.len() / 2]).unwrap();
    let refused = lab.offers().await.unwrap_err();
    assert_eq!(refused.reason, Reason::Store, "{refused}");
    fs::write(&known, text).unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn only_what_can_be_obeyed_is_obeyed() {
    let lab = Lab::new().await;
    let sign = |document: serde_json::Value| {
        let lab = &lab;
        async move {
            let text = serde_json::to_vec(&document).unwrap();
            replace_target(lab, "channel-stable.json", &text);
        }
    };
    let listing = json!({ "schema": 1, "channel": "stable", "releases": [] });
    let with = |name: &str, value: serde_json::Value| {
        let mut changed = listing.clone();
        changed[name] = value;
        changed
    };
    for (document, said) in [
        (with("schema", json!(2)), "it has format 2"),
        (with("only_if", json!("full moon")), "\"only_if\""),
        (with("channel", json!("alpha")), "the listing of \"alpha\""),
        (with("releases", json!([{ "version": "one" }])), "it cannot be read"),
    ] {
        sign(document).await;
        let refused = lab.offers().await.unwrap_err();
        assert_eq!(refused.reason, Reason::Document, "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    // Another release under this one's name.
    let other = serde_json::to_vec(&super::lab::release(&"9.9.9".parse().unwrap())).unwrap();
    replace_target(&lab, "release-1.0.0.json", &other);
    let channel = lab.open().await.unwrap();
    let refused = channel.release(&"1.0.0".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Document, "{refused}");
}

/// Signs another text under a name, as an admin might by mistake.
fn replace_target(lab: &Lab, name: &str, text: &[u8]) {
    use sha2::Digest as _;
    let digest = |text: &[u8]| lockkeeper::core::plan::hex(&sha2::Sha256::digest(text));
    fs::write(lab.folder().join("public/targets").join(format!("{}.{name}", digest(text))), text)
        .unwrap();
    let number = |name: &str, role: &str| -> u64 {
        let text = fs::read(lab.metadata(name)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        value["signed"]["meta"][format!("{role}.json")]["version"].as_u64().unwrap()
    };
    let snapshot = number("timestamp.json", "snapshot");
    let targets = number(&format!("{snapshot}.snapshot.json"), "targets");
    let (old, new) = (targets, targets + 1);
    let next = lab.metadata(&format!("{new}.targets.json"));
    fs::copy(lab.metadata(&format!("{old}.targets.json")), &next).unwrap();
    forge(&next, &[&pair(&lab.key("release"))], |signed| {
        signed["version"] = json!(new);
        signed["targets"][name] =
            json!({ "length": text.len(), "hashes": { "sha256": digest(text) } });
    });
    let about = |path: &std::path::Path, version: u64| {
        let text = fs::read(path).unwrap();
        json!({ "version": version, "length": text.len(), "hashes": { "sha256": digest(&text) } })
    };
    let online = pair(&lab.key("online"));
    let described = about(&next, new);
    let path = lab.metadata(&format!("{}.snapshot.json", snapshot + 1));
    fs::copy(lab.metadata(&format!("{snapshot}.snapshot.json")), &path).unwrap();
    forge(&path, &[&online], |signed| {
        signed["version"] = json!(snapshot + 1);
        signed["meta"]["targets.json"] = described;
    });
    let described = about(&path, snapshot + 1);
    forge(&lab.metadata("timestamp.json"), &[&online], |signed| {
        signed["version"] = json!(signed["version"].as_u64().unwrap() + 1);
        signed["meta"]["snapshot.json"] = described;
    });
}

#[tokio::test]
async fn names_stay_where_they_are() {
    let lab = Lab::new().await;
    let channel = lab.open().await.unwrap();
    let inside = lab.dir.path().join("inside");
    fs::create_dir(&inside).unwrap();
    for name in ["../root.json", "/etc/passwd", "a/../../b", "%2e%2e/x", "", "."] {
        let refused = channel.save(name, &inside.join("file")).await.unwrap_err();
        assert!(matches!(refused.reason, Reason::Missing | Reason::Name), "{name}: {refused}");
    }
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_is_believed_no_more_than_a_server() {
    let lab = Lab::new().await;
    let client = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join("second"));
    let public = lab.folder().join("public");
    client.open(Folder::new(&public)).await.unwrap();
    let timestamp = lab.metadata("timestamp.json");
    let elsewhere = lab.dir.path().join("elsewhere");
    fs::rename(&timestamp, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &timestamp).unwrap();
    let refused = client.open(Folder::new(&public)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unreachable, "{refused}");
    fs::remove_file(&timestamp).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &timestamp,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let refused = client.open(Folder::new(&public)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unreachable, "{refused}");
    fs::remove_file(&timestamp).unwrap();
    fs::rename(&elsewhere, &timestamp).unwrap();
    client.open(Folder::new(&public)).await.unwrap();
}

#[tokio::test]
async fn a_channel_is_made_once_and_with_a_quorum_that_exists() {
    let lab = Lab::new().await;
    let said = again(&lab.folder(), (1, 1)).await;
    assert!(said.ends_with("has a channel already"), "{said}");
    let new = lab.dir.path().join("new");
    for roots in [(1, 2), (1, 0), (0, 0)] {
        let said = again(&new, roots).await;
        assert!(said.ends_with("that cannot be fulfilled"), "{said}");
    }
}

#[tokio::test]
async fn keys_are_renewed_and_nodes_follow() {
    let lab = Lab::with_roots(2, 2).await;
    let now = clock::wall();
    for (number, replace) in [
        (2, vec![]),
        (3, vec![Whose::Online]),
        (4, vec![Whose::Release]),
        (5, vec![Whose::Root]),
        (6, vec![Whose::Root, Whose::Online, Whose::Release]),
    ] {
        let before = ["root-1", "release", "online"].map(|key| fs::read(lab.key(key)).unwrap());
        assert_eq!(lab.publisher().renew_root(&replace, &[], now).await.unwrap(), number);
        assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
        let after = ["root-1", "release", "online"].map(|key| fs::read(lab.key(key)).unwrap());
        let whose = [Whose::Root, Whose::Release, Whose::Online];
        for (at, whose) in whose.into_iter().enumerate() {
            assert_eq!(before[at] != after[at], replace.contains(&whose), "{number} {whose:?}");
        }
    }
    lab.publish("2.0.0").await;
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
    // Whoever begins with the first root comes to the last one.
    let late = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join("late"));
    late.open(lab.remote()).await.unwrap();
    // A key that lies elsewhere is named.
    let away = lab.dir.path().join("away.pem");
    fs::rename(lab.key("root-2"), &away).unwrap();
    let said = lab.publisher().renew_root(&[], &[], now).await.unwrap_err().to_string();
    assert_eq!(said, "1 root keys are here, 2 must sign: name the others' files");
    lab.publisher().renew_root(&[], &[away], now).await.unwrap();
    assert_eq!(lab.offers().await.unwrap(), ["1.0.0", "2.0.0"]);
}

/// What is said when a channel is to be made.
async fn again(folder: &std::path::Path, roots: (usize, u64)) -> String {
    let made = Publisher::create(folder, &[], roots, Lifetimes::default(), clock::wall());
    made.await.unwrap_err().to_string()
}
