//! A server of the Cincinnati protocol that says which release a node takes next.

use std::{collections::BTreeSet, fs, path::Path};

use lockkeeper::{
    adapters::{
        channel::{
            client::Client,
            graph::{Asking, ask},
            look::look,
        },
        clock,
    },
    core::channel::{choose::Node, graph::Paced},
};
use semver::Version;

use super::{
    lab::Lab,
    server::{Server, Vice},
};

const GRAPH: &str = r#"{
    "nodes": [{"version": "1.0.0", "payload": ""}, {"version": "1.1.0", "payload": ""},
              {"version": "9.0.0", "payload": ""}],
    "edges": [[0, 1], [0, 2]]
}"#;

async fn paced(server: &Server, current: &Version) -> Result<Paced, String> {
    let who = Asking { channel: "stable", node: "0123", arch: "x86_64", current: Some(current) };
    ask(&server.url.join("v1/graph").unwrap(), None, who).await
}

async fn target(lab: &Lab, current: &Version, paced: Paced) -> (Option<String>, Vec<String>) {
    let node = Node {
        id: "0123".to_owned(),
        current: Some(current.clone()),
        partial: None,
        agent: Version::new(1, 0, 0),
        within: None,
        denied: BTreeSet::new(),
        paced: Some(paced),
    };
    let client = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join("paced"));
    let seen = look(&client, lab.remote(), "stable", &node, clock::wall()).await.unwrap();
    (seen.report.target.map(|version| version.to_string()), seen.report.held)
}

#[tokio::test]
async fn of_what_the_channel_has_only_what_the_graph_leads_to_is_taken() {
    let lab = Lab::new().await;
    lab.publish("1.1.0").await;
    lab.publish("1.2.0").await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("v1")).unwrap();
    fs::write(folder.path().join("v1/graph"), GRAPH).unwrap();
    let server = Server::of(folder.path()).await;
    let one = Version::new(1, 0, 0);
    let by = server.url.join("v1/graph").unwrap();
    let (found, held) = target(&lab, &one, paced(&server, &one).await.unwrap()).await;
    assert_eq!(found.as_deref(), Some("1.1.0"), "9.0.0 is not in the channel");
    assert_eq!(held, [format!("1.2.0 is not what {by} lets this node have now")]);
    let asked = server.asked().remove(0);
    for pair in [
        "channel=stable",
        "stream=stable",
        "arch=amd64",
        "basearch=x86_64",
        "id=0123",
        "node_uuid=0123",
        "version=1.0.0",
        "os_version=1.0.0",
    ] {
        assert!(asked.contains(pair), "{asked} has no {pair}");
    }
    let (found, _) = target(&lab, &Version::new(1, 1, 0), {
        paced(&server, &Version::new(1, 1, 0)).await.unwrap()
    })
    .await;
    assert_eq!(found, None, "it leads nowhere");
}

#[tokio::test]
async fn a_server_that_does_not_answer_with_a_graph_is_no_leave() {
    let server = Server::of(Path::new("/nonexistent")).await;
    let one = Version::new(1, 0, 0);
    for (vice, why) in [
        (Vice::Status(500), "500"),
        (Vice::Text(b"<html>".to_vec()), "cannot be read"),
        (Vice::Text(br#"{"nodes": [], "edges": [[0, 1]]}"#.to_vec()), "leads from 0 to 1"),
        (Vice::Endless, "too long"),
    ] {
        server.vice("os_version=1.0.0", vice);
        let said = paced(&server, &one).await.unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
