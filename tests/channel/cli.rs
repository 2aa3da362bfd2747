//! The documented commands, by the program itself: from an empty folder to a recalled release.

use std::{fs, path::Path, process::Output};

use super::server::{Server, Vice};

async fn call(folder: &Path, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_rebootctl"));
    program.arg("channel").args(arguments).current_dir(folder).output().await.unwrap()
}

/// What it prints when all is well.
async fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = call(folder, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it is refused.
async fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = call(folder, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap().trim_start_matches("rebootctl: ").trim().to_owned()
}

const SET: &str = r#"{
    "distribution": "debian", "codename": "bookworm", "arch": "amd64",
    "packages": [{
        "name": "tool", "arch": "amd64", "version": "1:2.0-1", "size": 10,
        "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    }]
}"#;

#[tokio::test]
async fn a_release_goes_from_an_empty_folder_through_the_channels_and_is_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, www) = (dir.path(), dir.path().join("www"));
    let target = www.to_str().unwrap();
    let said = refused(folder, &["show"]).await;
    assert_eq!(said, ". has no channel: rebootctl channel init");
    done(folder, &["init", "alpha", "stable"]).await;
    fs::write(folder.join("set.json"), SET).unwrap();
    let said = done(folder, &["add", "2026.9.0", "--to", "alpha", "--set", "set.json"]).await;
    assert_eq!(
        said,
        "release 2026.9.0 is in alpha: 1 packages for debian bookworm (amd64); publish it\n"
    );
    let to_stable = ["promote", "2026.9.0", "--from", "alpha", "--to", "stable"];
    done(folder, &[&to_stable[..], &["--over", "24h"]].concat()).await;
    let said = refused(folder, &to_stable).await;
    assert_eq!(said, "stable has release 2026.9.0 already");
    done(folder, &["rollout", "pause", "stable", "2026.9.0"]).await;
    done(folder, &["rollout", "set", "stable", "2026.9.0", "40"]).await;
    done(folder, &["publish", target]).await;

    let server = Server::of(&www).await;
    let root = www.join("metadata/1.root.json");
    let root = root.to_str().unwrap();
    let verify = ["verify", server.url.as_str(), "--root", root];
    let seen = done(folder, &verify).await;
    assert!(seen.contains("stable\n  2026.9.0             40.0 %\n"), "{seen}");
    let mirror = folder.join("mirror");
    let mirror = ["mirror", server.url.as_str(), mirror.to_str().unwrap(), "--root", root];
    assert!(done(folder, &mirror).await.starts_with("3 files came, 0 were there;"));
    assert!(done(folder, &mirror).await.starts_with("0 files came, 3 were there;"));

    // Recalled, and published while the server fails in the middle: the mirror is as it was.
    done(folder, &["recall", "2026.9.0", "--reason", "boots no more"]).await;
    done(folder, &["publish", target]).await;
    server.vice("channel-stable.json", Vice::Short(10));
    let said = refused(folder, &mirror).await;
    assert!(said.contains("it is too short"), "{said}");
    let from_mirror = ["verify", "mirror", "--root", root];
    assert!(done(folder, &from_mirror).await.contains("40.0 %"));
    server.repent();
    done(folder, &mirror).await;
    let seen = done(folder, &from_mirror).await;
    assert_eq!(seen.matches("recalled: boots no more").count(), 2, "{seen}");

    // Only the online key is needed to keep it alive, and nodes follow other keys.
    let release = folder.join("keys/release.pem");
    let away = folder.join("away.pem");
    fs::rename(&release, &away).unwrap();
    done(folder, &["refresh"]).await;
    let said = refused(folder, &["rollout", "set", "alpha", "2026.9.0", "1"]).await;
    assert_eq!(said, "release 2026.9.0 was recalled: boots no more");
    let again = ["add", "2026.9.1", "--to", "alpha", "--set", "set.json"];
    assert!(refused(folder, &again).await.contains("release.pem"));
    fs::rename(&away, &release).unwrap();
    done(folder, &again).await;
    done(folder, &["renew-root", "--replace", "release", "--replace", "online"]).await;
    done(folder, &["publish", target]).await;
    assert!(done(folder, &verify).await.contains("alpha\n  2026.9.1"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    done(folder, &["init"]).await;
    fs::write(folder.join("set.json"), SET.replace("1:2.0-1", "2.0 1")).unwrap();
    let before = super::lab::saved(&folder.join("public/metadata"));
    let add = ["add", "1.0.0", "--to", "alpha", "--set", "set.json"];
    assert_eq!(refused(folder, &add).await, "release 1.0.0: \"2.0 1\" is no version of a package");
    fs::write(folder.join("set.json"), "{}").unwrap();
    assert!(refused(folder, &add).await.starts_with("set.json: missing field"));
    let said = refused(folder, &["add", "1.0.0", "--to", "gamma", "--set", "set.json"]).await;
    assert_eq!(said, "there is no channel \"gamma\"; there are: alpha, beta, stable");
    for (arguments, said) in [
        (&["recall", "1.0.0", "--reason", "x"][..], "no channel has release 1.0.0"),
        (
            &["recall", "1.0.0", "--reason", "x", "--channel", "gamma"],
            "there is no channel \"gamma\"",
        ),
        (&["rollout", "pause", "alpha", "1.0.0"], "alpha has no release 1.0.0"),
        (
            &["verify", "nowhere", "--root", "x"],
            "nowhere is neither http://…, https://… nor a folder",
        ),
    ] {
        assert_eq!(refused(folder, arguments).await, said);
    }
    assert_eq!(super::lab::saved(&folder.join("public/metadata")), before);
}
