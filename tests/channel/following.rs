//! A node that follows a channel: what it keeps of it, what it asks for, and what it hands to the process
//! that installs.

use std::{collections::BTreeSet, fs, path::PathBuf};

use lockkeeper::{
    adapters::{
        channel::{
            ChannelError, Reason,
            client::Client,
            folder::Folder,
            look::{Look, look},
            remote::Remote,
            spool::Spool,
        },
        clock,
    },
    core::channel::choose::Node,
};
use semver::Version;
use tough::Transport;

use super::{
    lab::{Lab, MANNERS},
    server::{Server, Vice},
};

fn node(current: &str) -> Node {
    Node {
        id: "0123".to_owned(),
        current: Version::parse(current).ok(),
        partial: None,
        agent: Version::new(1, 0, 0),
        within: None,
        denied: BTreeSet::new(),
        paced: None,
    }
}

fn spool_folder(lab: &Lab) -> PathBuf {
    lab.dir.path().join("spool")
}

async fn looks<T>(lab: &Lab, transport: T, store: &str) -> Result<Look, ChannelError>
where
    T: Transport + Send + Sync + 'static,
{
    let client = Client::new(&lab.dir.path().join("root.json"), &lab.dir.path().join(store));
    look(&client, transport, "stable", &node("0.9.0"), clock::wall()).await
}

/// As the agent looks: by its own memory, over the network, into the spool.
async fn agent(lab: &Lab, remote: Remote) -> Result<Look, ChannelError> {
    let spool = Spool::new(&spool_folder(lab), remote);
    let seen = looks(lab, spool.clone(), "of-the-agent").await?;
    spool.keep().unwrap();
    Ok(seen)
}

/// As the executor does: by its own memory, from the spool.
async fn executor(lab: &Lab) -> Result<Look, ChannelError> {
    looks(lab, Folder::new(&spool_folder(lab)), "of-the-executor").await
}

fn target(seen: &Look) -> String {
    seen.report.target.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn what_the_agent_brings_is_judged_by_the_executor_for_itself() {
    let lab = Lab::new().await;
    assert_eq!(executor(&lab).await.unwrap_err().reason, Reason::Unreachable, "nothing is there");
    assert_eq!(target(&agent(&lab, lab.remote()).await.unwrap()), "1.0.0");
    let seen = executor(&lab).await.unwrap();
    assert_eq!(target(&seen), "1.0.0");
    assert_eq!(seen.release.unwrap().version, Version::new(1, 0, 0));
    // Whoever has the agent's rights can bring what is old, or forged; neither is believed.
    let old = fs::read(spool_folder(&lab).join("metadata/timestamp.json")).unwrap();
    lab.publish("1.1.0").await;
    agent(&lab, lab.remote()).await.unwrap();
    assert_eq!(target(&executor(&lab).await.unwrap()), "1.1.0");
    fs::write(spool_folder(&lab).join("metadata/timestamp.json"), old).unwrap();
    assert_eq!(executor(&lab).await.unwrap_err().reason, Reason::Rollback);
    agent(&lab, lab.remote()).await.unwrap();
    for file in fs::read_dir(spool_folder(&lab).join("targets")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap().replace("1.1.0", "1.2.0");
        fs::write(&path, text).unwrap();
    }
    assert_eq!(executor(&lab).await.unwrap_err().reason, Reason::Digest);
}

#[tokio::test]
async fn with_nothing_new_a_look_is_two_small_requests() {
    let lab = Lab::new().await;
    agent(&lab, lab.remote()).await.unwrap();
    let before = lab.server.asked().len();
    assert_eq!(target(&agent(&lab, lab.remote()).await.unwrap()), "1.0.0");
    let asked = lab.server.asked().split_off(before);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].ends_with("/2.root.json") && asked[1].ends_with("/timestamp.json"));
    // What nobody names any more goes.
    lab.publish("1.1.0").await;
    agent(&lab, lab.remote()).await.unwrap();
    let files = fs::read_dir(spool_folder(&lab).join("targets")).unwrap().count();
    assert_eq!(files, 2, "the listing, and the release on offer");
    let documents = fs::read_dir(spool_folder(&lab).join("metadata")).unwrap().count();
    assert_eq!(documents, 3, "snapshot, targets, timestamp");
}

#[tokio::test]
async fn a_look_that_fails_leaves_the_spool_as_it_was() {
    let lab = Lab::new().await;
    agent(&lab, lab.remote()).await.unwrap();
    lab.publish("1.1.0").await;
    lab.server.vice("release-1.1.0.json", Vice::Status(500));
    assert_eq!(agent(&lab, lab.remote()).await.unwrap_err().reason, Reason::Unreachable);
    assert_eq!(target(&executor(&lab).await.unwrap()), "1.0.0");
    lab.server.repent();
    agent(&lab, lab.remote()).await.unwrap();
    assert_eq!(target(&executor(&lab).await.unwrap()), "1.1.0");
}

#[tokio::test]
async fn a_mirror_goes_on_where_the_server_was_killed() {
    let lab = Lab::new().await;
    let mirror = Server::of(&lab.folder().join("public")).await;
    let both = [lab.server.url.clone(), mirror.url.clone()];
    let remote = Remote::new(&both, None, MANNERS).unwrap();
    lab.server.vice("release-1.0.0.json", Vice::CutOnce(300));
    assert_eq!(target(&agent(&lab, remote).await.unwrap()), "1.0.0");
    assert!(mirror.asked().iter().any(|path| path.contains("release-1.0.0.json")));
    assert_eq!(target(&executor(&lab).await.unwrap()), "1.0.0");
}
