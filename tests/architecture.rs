//! The arrows between the rooms point one way, core stays pure, and files stay readable.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each room, and what of ours it may use beside itself (`ARCHITECTURE.md`).
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("observe", &[]),
    ("config", &["core"]),
    ("adapters", &["core", "config", "observe"]),
    ("dbus", &["core", "adapters", "observe"]),
    ("executor", &["core", "config", "adapters", "dbus", "observe"]),
    ("hub", &["core", "config", "adapters", "observe"]),
    ("daemon", &["core", "config", "adapters", "dbus", "observe"]),
    ("cli", &["core", "config", "adapters", "dbus", "observe"]),
];

/// What decisions may not touch.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "std::io",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "tokio",
    "async fn",
];

/// Longer files hide a second noun.
const LONGEST: usize = 600;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(Vec::new(), |mut found, path| {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
        found
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file, without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that `code` names: `crate::room…`, `crate::{room…, room…}`.
fn rooms(code: &str) -> BTreeSet<String> {
    code.split("crate::").skip(1).flat_map(heads).collect()
}

/// The first words of what follows `crate::`; of each branch, where there are several.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut heads, mut start) = (0_u32, Vec::new(), 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[test]
fn arrows_point_one_way() {
    for (room, may_use) in ARROWS {
        for path in sources(&root().join(room)) {
            for used in rooms(&code(&path)) {
                let allowed = used == *room || may_use.contains(&used.as_str());
                assert!(allowed, "{}: {room} may not use {used}", path.display());
            }
        }
    }
}

#[test]
fn every_room_is_on_the_map() {
    let folders = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().is_dir());
    let names: BTreeSet<String> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let known: BTreeSet<String> =
        ARROWS.iter().map(|(room, _)| (*room).to_owned()).chain(["bin".to_owned()]).collect();
    assert_eq!(names, known);
}

#[test]
fn the_scanner_sees_both_ways_of_naming_a_room() {
    let code =
        "use crate::core::plan::Plan;\nuse crate::{\n    adapters::{apt, slots},\n    dbus,\n};";
    let found: Vec<String> = rooms(code).into_iter().collect();
    assert_eq!(found, ["adapters", "core", "dbus"]);
}

#[test]
fn core_is_pure() {
    for path in sources(&root().join("core")) {
        let code = code(&path);
        for word in IMPURE {
            assert!(!code.contains(word), "{}: core may not use {word}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for path in sources(&root()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
    }
}
