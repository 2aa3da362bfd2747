//! What is tried with arbitrary bytes: every parser of ours that reads what came over a network, and what
//! must hold of everything that it takes.
//!
//! `make fuzz` has libFuzzer look for such bytes; `tests/fuzzing.rs` tries the seeds and variations of them.
#![allow(dead_code)] // each program tries one of them

use std::{cell::OnceCell, collections::BTreeMap, fs, path::Path, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    adapters::{
        alerts,
        channel::{
            client::Client,
            folder::Folder,
            publisher::{Lifetimes, Publisher},
        },
        clock,
        slots::{
            fleetlock::wire::{LONGEST_GROUP, LONGEST_ID, Problem, Request},
            parse_slots,
        },
    },
    core::{
        channel::{
            allowed::Allowed,
            choose::{Node, choose},
            graph::Graph,
            listing::Listing,
            release::{Release, plain},
        },
        choice::Distribution,
        health::Evidence,
        slots::is_group_name,
        template::{Keys, Template, Value},
    },
};
use semver::Version;

/// A channel's listing: what is taken can be written and read again, and no decision by it leads past a
/// barrier, to a withdrawn release, or backwards unless it says so.
pub fn listing(data: &[u8]) {
    let Ok(listing) = Listing::parse(data, "stable") else { return };
    let text = serde_json::to_vec(&listing).unwrap();
    assert_eq!(Listing::parse(&text, "stable").unwrap(), listing);
    let runs: Vec<_> = listing.releases.iter().map(|offer| Some(offer.version.clone())).collect();
    for current in runs.into_iter().chain([None, Some(Version::new(1, 0, 0))]).take(6) {
        for second in [0, 1_800_000_000] {
            decide(&listing, current.clone(), Timestamp::from_second(second).unwrap());
        }
    }
}

fn decide(listing: &Listing, current: Option<Version>, now: Timestamp) {
    let node = Node {
        id: "0123".to_owned(),
        current,
        partial: None,
        agent: Version::new(1, 0, 0),
        within: None,
        denied: [Version::new(1, 1, 0)].into(),
        paced: None,
    };
    let choice = choose(listing, &node, now);
    for held in &choice.held {
        assert!(!held.to_string().is_empty());
    }
    assert!(choice.next_change(now).is_none_or(|at| at > now));
    let Some(target) = choice.target else { return };
    assert!(target.recalled.is_none() && !node.denied.contains(&target.version));
    if let Some(current) = &node.current {
        assert_ne!(target.version, *current);
        let withdrawn = listing.offer(current).is_some_and(|offer| offer.recalled.is_some());
        assert!(target.version > *current || (withdrawn && target.downgrade));
    }
    let passed = |barrier: &Version| {
        *barrier < target.version && node.current.as_ref().is_none_or(|runs| *barrier > *runs)
    };
    let barriers = listing.releases.iter().filter(|offer| offer.barrier.is_some());
    assert!(!barriers.map(|offer| &offer.version).any(passed), "a barrier was passed");
}

/// A release: what is taken can be written and read again, has nothing in it that means something to a
/// path or a line, and allows just what it has.
pub fn release(data: &[u8]) {
    let version = Version::new(1, 0, 0);
    let Ok(release) = Release::parse(data, &version) else { return };
    let text = serde_json::to_vec(&release).unwrap();
    assert_eq!(Release::parse(&text, &version).unwrap(), release);
    for set in &release.sets {
        let id = set.distribution.clone();
        let codename = set.codename.clone();
        let system = Distribution { id, codename, ..Distribution::default() };
        let allowed = Allowed::by("stable", &release, &(system, set.arch.clone()), false);
        for package in &set.packages {
            let word = |text: &str| !text.contains(['/', '\n', ' ', '\0']) && !text.is_empty();
            assert!(word(&package.name) && word(&package.arch) && word(&package.version));
            assert!(package.file.as_deref().is_none_or(plain));
            assert_eq!(allowed.objection(&package.key(), &package.version), None);
            assert!(allowed.objection(&package.key(), "0~other").is_some());
            assert_eq!(allowed.file_objection(&package.key(), Some(&package.sha256)), None);
            assert!(allowed.file_objection(&package.key(), None).is_some());
        }
    }
}

/// What a server that paces answers: what it lets a node have is among what it has.
pub fn graph(data: &[u8]) {
    let Ok(graph) = Graph::parse(data) else { return };
    let all = graph.next(None);
    for current in all.iter().take(8) {
        assert!(graph.next(Some(current)).is_subset(&all));
    }
}

/// The semaphore in etcd: what is taken can be written and read again.
pub fn slots(data: &[u8]) {
    let Ok(slots) = parse_slots(data, "/slots") else { return };
    let text = serde_json::to_vec(&slots).unwrap();
    assert_eq!(parse_slots(&text, "/slots").unwrap(), slots);
    assert!(slots.available() <= slots.max);
}

/// What a client of FleetLock sends, and what a server of it answers.
pub fn fleetlock(data: &[u8]) {
    if let Ok(Request { client_params: who }) = serde_json::from_slice(data)
        && who.mistake().is_none()
    {
        assert!(!who.id.is_empty() && who.id.len() <= LONGEST_ID);
        assert!(is_group_name(&who.group) && who.group.len() <= LONGEST_GROUP);
    }
    if let Ok(problem) = serde_json::from_slice::<Problem>(data) {
        let text = serde_json::to_vec(&problem).unwrap();
        assert_eq!(serde_json::from_slice::<Problem>(&text).unwrap(), problem);
    }
}

/// What Prometheus answers: nothing is taken for "no alert fires" but an answer that says so, and no reason
/// moves a terminal's cursor.
pub fn prometheus(data: &[u8]) {
    match alerts::judge(data, &["Watchdog".to_owned()]) {
        Ok(Evidence::No) => {
            // What nobody asks for need not even be text.
            let text = String::from_utf8_lossy(data);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["status"], "success");
        }
        Ok(Evidence::Yes { reasons }) => {
            assert!(!reasons.is_empty() && reasons.len() <= 6);
            assert!(reasons.iter().all(|reason| !reason.contains(char::is_control)));
        }
        Ok(Evidence::Unknown { .. }) | Err(_) => {}
    }
}

/// Keys of etcd in the shipped template of nginx's upstream: whatever is in them, what comes out are servers and nothing
/// else.
pub fn upstream(data: &[u8]) {
    let shipped = include_str!("../../units/usr/share/lockkeeper/confd/templates/nginx.conf.tmpl");
    let lines = String::from_utf8_lossy(data).into_owned();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let found: BTreeMap<String, String> =
        pairs.map(|(key, value)| (format!("/k{key}"), value.to_owned())).collect();
    let wanted = ["service", "address", "name"].map(|top| format!("/{top}"));
    let (keys, _left_out) = Keys::below("/k", &wanted, &found).plain();
    let template = Template::parse(shipped).unwrap();
    let Ok(text) = template.render(&Value::Nothing, &keys) else { return };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let braces = line.chars().filter(|letter| "{};".contains(*letter)).count();
        assert!(braces <= 1, "more than one directive in {line:?}");
    }
}

/// A template, of the admin's own: it ends, in a text or an error.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(template) = Template::parse(&text) else { return };
    let found = BTreeMap::from([("/a/b".to_owned(), "1".to_owned())]);
    let keys = Keys::below("", &["/a".to_owned()], &found);
    if let Err(error) = template.render(&Value::Nothing, &keys) {
        assert!(!error.what.is_empty());
    }
}

/// A channel as it is signed, where one document is edited as `data` says (which, how much goes, two bytes for
/// the place, what comes): it is not believed, unless it says what was signed.
pub fn metadata(data: &[u8]) {
    thread_local! {
        static SIGNED: OnceCell<Signed> = const { OnceCell::new() };
    }
    SIGNED.with(|signed| signed.get_or_init(Signed::new).with(data));
}

struct Signed {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    documents: Vec<(String, Vec<u8>)>,
}

impl Signed {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = dir.path().join("channel");
        let names = ["stable".to_owned()];
        let lasting = Lifetimes::default();
        let now = clock::wall() - Duration::from_secs(60);
        runtime.block_on(Publisher::create(&folder, &names, (1, 1), lasting, now)).unwrap();
        let public = folder.join("public");
        let mut documents = Vec::new();
        for part in ["metadata", "targets"] {
            for entry in fs::read_dir(public.join(part)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let text = fs::read(public.join(part).join(&name)).unwrap();
                documents.push((format!("{part}/{name}"), text));
            }
        }
        documents.sort();
        fs::copy(public.join("metadata/1.root.json"), dir.path().join("root.json")).unwrap();
        Self { dir, runtime, documents }
    }

    fn with(&self, data: &[u8]) {
        let [which, goes, high, low, comes @ ..] = data else { return };
        let (name, signed) = &self.documents[usize::from(*which) % self.documents.len()];
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (signed.len() + 1);
        let end = (at + usize::from(*goes)).min(signed.len());
        let forged = &[&signed[..at], comes, &signed[end..]].concat();
        let public = self.dir.path().join("channel/public");
        fs::write(public.join(name), forged).unwrap();
        let believed = self.runtime.block_on(self.read(&public));
        fs::write(public.join(name), signed).unwrap();
        // The first root is not read again by who has it.
        let same = forged == signed || name == "metadata/1.root.json" || is_same(forged, signed);
        assert!(!believed || same, "{name} was believed");
        assert!(believed || forged != signed, "{name} was not believed");
    }

    async fn read(&self, public: &Path) -> bool {
        let store = tempfile::tempdir_in(self.dir.path()).unwrap();
        let client = Client::new(&self.dir.path().join("root.json"), store.path());
        match client.open(Folder::new(public)).await {
            Ok(channel) => channel.listing("stable").await.is_ok(),
            Err(_) => false,
        }
    }
}

/// What is signed is what a document says, and not how that is written.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let signed = |text: &[u8]| -> Option<serde_json::Value> {
        let document: serde_json::Value = serde_json::from_slice(text).ok()?;
        document.get("signed").cloned()
    };
    signed(one).is_some_and(|one| Some(one) == signed(other))
}

/// A body.
pub type Body = fn(&[u8]);

/// Each of them, by its name.
pub const ALL: [(&str, Body); 9] = [
    ("listing", listing),
    ("release", release),
    ("graph", graph),
    ("slots", slots),
    ("fleetlock", fleetlock),
    ("prometheus", prometheus),
    ("upstream", upstream),
    ("template", template),
    ("metadata", metadata),
];
