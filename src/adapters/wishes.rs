//! What labels of containers and files of units say about restoring them.
//!
//! A unit's section `[X-Lockkeeper]` is ours alone: systemd passes over sections that begin with
//! `X-`, and Quadlet hands them on to the unit it makes.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use rustix::process::geteuid;

use crate::{
    config::duration::{self, DurationError},
    core::{
        unit::Unit,
        wish::{Wish, shown},
    },
};

/// What our labels begin with.
const LABELS: &str = "lockkeeper.";
/// Labels of ours that are looked at; there are two.
const MOST_LABELS: usize = 16;
/// No time limit is a longer text.
const LONGEST_LIMIT: usize = 64;
/// Our section of a unit file.
const SECTION: &str = "[X-Lockkeeper]";
/// No unit file is longer.
const LONGEST: u64 = 1 << 20;

/// What a container's labels say.
#[must_use]
pub fn of_labels<S>(container: &str, labels: &HashMap<String, String, S>) -> Wish {
    let mut wish = Wish::default();
    let mut ours: Vec<_> = labels.iter().filter(|(key, _)| key.starts_with(LABELS)).collect();
    ours.sort();
    for (key, value) in ours.into_iter().take(MOST_LABELS) {
        match key.trim_start_matches(LABELS) {
            "restore" => wish.take_restore(container, key, value),
            "health-timeout" => {
                wish.take_health_timeout(container, key, value, limit(value));
            }
            _ => wish.doubts.push(format!("{container}: the label {} means nothing", shown(key))),
        }
    }
    wish
}

/// What a unit's files say, the later ones the last word. A file that others than root could have
/// written says nothing.
#[must_use]
pub fn of_unit(unit: &Unit) -> Wish {
    let mut wish = Wish::default();
    for file in &unit.settings {
        match read(Path::new(file)) {
            Ok(text) => take(&mut wish, &unit.name, &text),
            // It may have been removed since it was loaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => wish.doubts.push(format!("{}: {file} is not read: {error}", unit.name)),
        }
    }
    wish
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > LONGEST {
        // A mask is a link to /dev/null.
        return if meta.is_file() {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(String::new())
        };
    }
    // A user's own units are judged with that user's rights.
    let trusted = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
    if !trusted || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is not root's alone to write"));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Takes what one file says in our section. An empty value takes back what was said before.
fn take(wish: &mut Wish, unit: &str, text: &str) {
    let mut ours = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            ours = line == SECTION;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| ours && !is_comment(line)) else {
            continue;
        };
        match (key.trim_end(), value.trim_start()) {
            ("Restore", "") => wish.restore = None,
            ("HealthTimeout", "") => wish.health_timeout = None,
            ("Restore", value) => wish.take_restore(unit, "Restore", value),
            ("HealthTimeout", value) => {
                wish.take_health_timeout(unit, "HealthTimeout", value, limit(value));
            }
            (key, _) => wish.doubts.push(format!("{unit}: {key}= means nothing in {SECTION}")),
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
}

fn limit(value: &str) -> Result<Duration, String> {
    // No error repeats what it is about at any length.
    let parsed = if value.len() > LONGEST_LIMIT {
        Err(DurationError::TooLong)
    } else {
        duration::parse(value)
    };
    parsed.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::core::wish::Restore;

    fn labels(list: &[(&str, &str)]) -> Wish {
        let map: HashMap<_, _> =
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        of_labels("container db (docker)", &map)
    }

    #[test]
    fn labels_are_read_and_a_misspelt_one_is_named() {
        let wish = labels(&[
            ("lockkeeper.restore", "best-effort"),
            ("lockkeeper.health-timeout", "1m 30s"),
            ("org.example.lockkeeper.restore", "no"),
        ]);
        assert_eq!(wish.restore, Some(Restore::BestEffort));
        assert_eq!(wish.health_timeout, Some(Duration::from_secs(90)));
        assert!(wish.doubts.is_empty());
        let wrong = labels(&[("lockkeeper.restor", "no"), ("lockkeeper.health-timeout", "90")]);
        assert_eq!(wrong.restore(), Restore::Required);
        assert_eq!(
            wrong.doubts,
            [
                "container db (docker): lockkeeper.health-timeout=90 has no unit after 90: it counts as not set",
                "container db (docker): the label lockkeeper.restor means nothing",
            ]
        );
    }

    #[test]
    fn labels_without_end_are_not_repeated() {
        let many: Vec<(String, String)> =
            (0..1000).map(|n| (format!("lockkeeper.{n}"), "x".repeat(9000))).collect();
        let long = "9".repeat(100_000);
        let mut map: HashMap<String, String> = many.into_iter().collect();
        map.insert("lockkeeper.".to_owned() + &"k".repeat(100_000), String::new());
        assert_eq!(of_labels("container db (docker)", &map).doubts.len(), MOST_LABELS);
        let wish = labels(&[("lockkeeper.health-timeout", &long), ("lockkeeper.restore", &long)]);
        assert!(wish.doubts.len() == 2 && wish.doubts.iter().all(|doubt| doubt.len() < 300));
    }

    #[test]
    fn only_our_section_of_a_unit_file_is_read_and_the_last_word_counts() {
        let mut wish = Wish::default();
        take(
            &mut wish,
            "a.service",
            "[Service]\nRestore=no\n[X-Lockkeeper]\n# Restore=no\nRestore = best-effort\nHealthTimeout=2m\n",
        );
        assert_eq!(wish.restore, Some(Restore::BestEffort));
        take(&mut wish, "a.service", "[X-Lockkeeper]\nRestore=\nHealthTimeout=\nRestart=no\n");
        assert_eq!((wish.restore, wish.health_timeout), (None, None));
        assert_eq!(wish.doubts, ["a.service: Restart= means nothing in [X-Lockkeeper]"]);
    }

    #[test]
    fn a_file_that_others_may_write_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no.conf");
        fs::write(&path, "[X-Lockkeeper]\nRestore=no\n").unwrap();
        let unit = Unit {
            name: "a.service".to_owned(),
            settings: vec![path.to_string_lossy().into_owned(), "/nowhere/a.conf".to_owned()],
            ..Unit::default()
        };
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o664);
        let wish = of_unit(&unit);
        assert_eq!(wish.restore(), Restore::Required);
        assert!(wish.doubts[0].ends_with("it is not root's alone to write"), "{wish:?}");
        mode(0o644);
        let owner = fs::metadata(&path).unwrap().uid();
        assert_eq!(of_unit(&unit).restore() == Restore::No, owner == 0);
    }
}
