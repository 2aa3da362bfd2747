//! The shipped file and the manual say what the program does.

use std::{collections::BTreeSet, fs, path::PathBuf};

use lockkeeper::{
    config::{self, Loaded, PRECEDENCE, known_keys, settings::Settings},
    core::window::HORIZON,
};

use super::Machine;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

fn shipped() -> Loaded {
    config::load_file(&repository("units/lockkeeper.toml")).unwrap()
}

#[test]
fn the_shipped_file_says_what_is_built_in() {
    let (shipped, built_in) = (shipped(), Machine::new(&[]).load().unwrap());
    assert_eq!(shipped.settings, Settings::default());
    assert_eq!(built_in.settings, Settings::default());
    for (shipped, built_in) in shipped.keys.iter().zip(&built_in.keys) {
        assert_eq!((&shipped.key, &shipped.value), (&built_in.key, &built_in.value));
        let list = ["window", "freeze", "probe"].contains(&shipped.key.as_str());
        assert_eq!(shipped.origin.place().is_none(), list, "{} is not there", shipped.key);
    }
}

#[test]
fn the_examples_in_the_shipped_file_are_good() {
    let text = read("units/lockkeeper.toml");
    let example = text.lines().map(|line| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_toml = bare.starts_with("[[")
            || bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if is_toml { bare } else { line }
    });
    let machine = Machine::new(&[("example.toml", &example.collect::<Vec<_>>().join("\n"))]);
    let loaded = config::load_file(&machine.path("example.toml")).unwrap();
    assert_eq!(loaded.settings.schedule.windows.len(), 1);
    assert_eq!(loaded.settings.schedule.freezes.len(), 1);
    assert_eq!(loaded.settings.probes.len(), 3);
}

#[test]
fn the_manual_has_every_key_with_its_built_in_value_and_no_other() {
    let manual = read("docs/configuration.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `"));
    let keys: Vec<(String, String)> = rows
        .map(|row| {
            let (key, rest) = row.split_once('`').unwrap();
            (key.to_owned(), rest.to_owned())
        })
        .collect();
    let documented: BTreeSet<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(documented, known_keys().collect::<BTreeSet<_>>());
    assert_eq!(documented.len(), keys.len(), "each once");
    for built_in in Machine::new(&[]).load().unwrap().keys {
        let row = keys.iter().find(|(key, _)| *key == built_in.key);
        let value = built_in.value.to_string();
        assert!(
            row.is_none_or(|(_, row)| row.contains(&format!("`{value}`"))),
            "the manual must give {value} for {}",
            built_in.key
        );
    }
}

#[test]
fn the_manual_has_the_layers_in_their_order() {
    let manual = read("docs/configuration.md");
    let mut from = 0;
    for (index, layer) in PRECEDENCE.iter().enumerate() {
        let line = format!("{}. ", index + 1);
        let found = manual[from..].find(&line).and_then(|at| {
            let start = from + at + line.len();
            manual[start..].trim_start_matches('`').starts_with(layer).then_some(start)
        });
        from = found.unwrap_or_else(|| panic!("{layer} is not number {} of the list", index + 1));
    }
}

#[test]
fn every_example_in_the_manuals_is_good() {
    let manuals = ["configuration", "etcd", "health", "lock", "schedules"];
    for manual in manuals.map(|name| format!("docs/{name}.md")) {
        let text = read(&manual);
        let examples: Vec<&str> =
            text.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
        assert!(!examples.is_empty(), "{manual}");
        for example in examples {
            let machine = Machine::new(&[("example.toml", example)]);
            let loaded = config::load_file(&machine.path("example.toml"));
            assert!(loaded.is_ok(), "{manual}:\n{example}\n{}", loaded.unwrap_err());
        }
    }
}

#[test]
fn the_manual_of_schedules_gives_the_horizon() {
    let days = HORIZON.as_secs() / 86_400;
    assert!(read("docs/schedules.md").contains(&format!("{days} days")));
}
