//! The bodies that `make fuzz` tries for minutes, with their seeds and some thousand variations of each:
//! seconds, and the same ones every time.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "support/dice.rs"]
mod dice;

use std::{fs, path::Path};

use dice::Dice;

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 14] = [
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"{}",
    b"[]",
    b"\"\"",
    b"\"x-y\":1,",
    b"{{end}}",
    b"{{range}}",
    b"\n",
    b"\0",
    b"\xff",
    b"../",
];

/// One variation of a seed; `others` are of the same kind.
fn variation(dice: &mut Dice, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut text = seed.to_vec();
    for _ in 0..dice.within(1..=4) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(24)).min(text.len());
        match dice.below(6) {
            0 if at < text.len() => text[at] ^= 1 << dice.below(8),
            1 => drop(text.drain(at..end)),
            2 => drop(text.splice(at..at, text[at..end].to_vec())),
            3 => drop(text.splice(at..end, dice.pick(&PIECES).iter().copied())),
            4 => text.truncate(at),
            _ => {
                let other = dice.pick(others);
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(40)).min(other.len());
                drop(text.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    text
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn try_all(name: &str, variations: u32) {
    let (_, body) = bodies::ALL.iter().find(|(known, _)| *known == name).unwrap();
    let seeds = seeds(name);
    for seed in &seeds {
        body(seed);
    }
    let mut dice = Dice::new(7);
    for _ in 0..variations {
        let seed = dice.pick(&seeds).clone();
        body(&variation(&mut dice, &seed, &seeds));
    }
}

#[test]
fn listings() {
    try_all("listing", 20_000);
}

#[test]
fn releases() {
    try_all("release", 20_000);
}

#[test]
fn graphs() {
    try_all("graph", 20_000);
}

#[test]
fn semaphores() {
    try_all("slots", 20_000);
}

#[test]
fn requests_and_answers_of_fleetlock() {
    try_all("fleetlock", 20_000);
}

#[test]
fn answers_of_prometheus() {
    try_all("prometheus", 20_000);
}

#[test]
fn keys_in_the_shipped_template() {
    try_all("upstream", 5_000);
}

#[test]
fn templates() {
    try_all("template", 20_000);
}

#[test]
fn signed_metadata() {
    try_all("metadata", 300);
}
