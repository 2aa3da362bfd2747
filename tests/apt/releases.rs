//! A node that follows a release channel: real metadata, read as the executor reads it, and real apt.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use jiff::Timestamp;
use lockkeeper::{
    adapters::{
        channel::publisher::{Lifetimes, Publisher},
        clock,
        packages::{self as managers, plans},
    },
    config::settings::{Channel, Packages, Settings, WithoutWayBack},
    core::{
        channel::{
            archive,
            followed::Report,
            listing::Offer,
            release::{self, Release, Set},
            rollout::Rollout,
        },
        choice::Origins,
        plan::Plan,
    },
    dbus::executor::{ApplyReport, CheckReport},
    executor::{
        Rules, apply as verb,
        channel::{self, Places},
        check,
        stage::stage,
    },
};
use semver::Version;
use tempfile::TempDir;

use crate::{
    apply,
    archive::{Archive, Package, open_dir},
    changes,
    server::Server,
    system::System,
};

const CHOICE: &str = "of the test";

/// A channel, and a node that follows it.
struct Fleet {
    dir: TempDir,
    archive: Archive,
    node: System,
}

impl Fleet {
    /// alpha and beta at 1.0; the archive has 1.1 and 1.2 of both.
    async fn new() -> Self {
        let both = |version: &str| ["alpha", "beta"].map(|name| Package::new(name, version));
        let archive = Archive::with(&both("1.0"));
        let node = System::with(&archive, &["alpha", "beta"]);
        archive.publish(&both("1.1"));
        archive.publish(&both("1.2"));
        let dir = tempfile::tempdir().unwrap();
        let names = ["stable".to_owned()];
        let folder = dir.path().join("channel");
        let lasting = Lifetimes::default();
        Publisher::create(&folder, &names, (1, 1), lasting, clock::wall()).await.unwrap();
        Self { dir, archive, node }
    }

    fn publisher(&self) -> Publisher {
        Publisher::open(&self.dir.path().join("channel"), Lifetimes::default()).unwrap()
    }

    /// A release with these packages of the archive, offered to everybody.
    async fn release(&self, version: &str, packages: &[(&str, &str)]) {
        let found = packages.iter().map(|(name, version)| self.package(name, version));
        self.release_of(version, found.collect()).await;
    }

    async fn release_of(&self, version: &str, packages: Vec<release::Package>) {
        self.release_with(version, packages, Vec::new()).await;
    }

    async fn release_with(
        &self,
        version: &str,
        packages: Vec<release::Package>,
        archives: Vec<archive::Archive>,
    ) {
        let (distribution, arch) = managers::this_system().await.unwrap();
        let set = Set {
            distribution: distribution.id,
            codename: distribution.codename,
            arch,
            archives,
            packages,
        };
        let version = Version::parse(version).unwrap();
        let release = Release::new(version.clone(), Timestamp::UNIX_EPOCH, vec![set]);
        let mut publisher = self.publisher();
        publisher.put_release(&release).unwrap();
        publisher.commit(clock::wall()).await.unwrap();
        self.list(|offers| offers.push(Offer::new(version, Rollout::EVERYBODY))).await;
    }

    async fn list(&self, change: impl FnOnce(&mut Vec<Offer>)) {
        let mut publisher = self.publisher();
        let mut listing = publisher.listing("stable").unwrap();
        change(&mut listing.releases);
        publisher.put_listing(&listing).unwrap();
        publisher.commit(clock::wall()).await.unwrap();
    }

    /// As the archive has it.
    fn package(&self, name: &str, version: &str) -> release::Package {
        let index = fs::read_to_string(self.archive.path().join("Packages")).unwrap();
        let fields = |stanza: &str| -> BTreeMap<String, String> {
            let pairs = stanza.lines().filter_map(|line| line.split_once(": "));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let mut all = index.split("\n\n").map(fields);
        let is_it = |fields: &BTreeMap<String, String>| {
            fields.get("Package").is_some_and(|found| found == name)
                && fields.get("Version").is_some_and(|found| found == version)
        };
        let found = all.find(is_it).unwrap();
        release::Package {
            name: name.to_owned(),
            arch: found["Architecture"].clone(),
            version: version.to_owned(),
            sha256: found["SHA256"].clone(),
            size: found["Size"].parse().unwrap(),
            file: None,
        }
    }

    fn places(&self) -> Places {
        let spool: PathBuf = self.dir.path().join("channel/public");
        Places { spool, memory: self.dir.path().join("memory") }
    }

    /// What `Check` does.
    async fn check(&self) -> (CheckReport, Report) {
        let followed = Channel {
            name: "stable".to_owned(),
            urls: Vec::new(),
            root: self.dir.path().join("channel/public/metadata/1.root.json"),
            ca_file: None,
            graph_url: None,
            within: None,
        };
        let packages = Packages { origins: Origins::All, ..Settings::default().packages };
        let rules = Rules {
            packages,
            follow: None,
            choice: CHOICE.to_owned(),
            containers: Settings::default().containers,
            channel: Some(followed),
        };
        let (layout, places) = (&self.node.layout, self.places());
        let mut following =
            channel::follow(&places, rules.channel.as_ref().unwrap(), "0123".to_owned(), None)
                .await
                .unwrap();
        following.note(&places).unwrap();
        let report = check::check(layout, &rules, None, Some(&mut following)).await.unwrap();
        let release = following.settled(&places, report.plan.as_ref()).unwrap();
        (report, release)
    }

    async fn install(&self, plan: &Plan) {
        stage(&self.node.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
        assert_eq!(apply(&self.node, &plan.id).await, ApplyReport::Applied);
    }

    /// Checks, installs what is found, and checks again.
    async fn update(&self) -> Report {
        let plan = self.check().await.0.plan.expect("a plan");
        self.install(&plan).await;
        let (report, release) = self.check().await;
        assert_eq!(report.plan, None);
        release
    }

    fn has(&self) -> [String; 2] {
        ["alpha", "beta"].map(|name| self.node.version(name)[3..].to_owned())
    }
}

fn runs(report: &Report) -> Option<String> {
    report.current.as_ref().map(ToString::to_string)
}

/// `name version: why` of what is kept back by the release.
fn kept(report: &CheckReport) -> Vec<String> {
    let by_release = report.kept_back.iter().filter(|kept| kept.why.code == "release");
    by_release.map(|kept| format!("{} {}: {}", kept.name, kept.version, kept.why.text)).collect()
}

#[tokio::test]
async fn exactly_the_release_is_installed_and_then_it_is_known_to_run() {
    let fleet = Fleet::new().await;
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None, "nothing without a release");
    let none = "stable has no release for this node";
    assert_eq!(kept(&report), [format!("alpha 1.2: {none}"), format!("beta 1.2: {none}")]);
    assert_eq!((runs(&release), release.target), (None, None));

    fleet.release("1.0.0", &[("alpha", "1.1")]).await;
    let (report, release) = fleet.check().await;
    let plan = report.plan.clone().unwrap();
    assert_eq!(changes(&plan), ["alpha 1.0 1.1"]);
    assert_eq!(kept(&report), ["beta 1.2: release 1.0.0 of stable does not have it"]);
    assert_eq!((runs(&release), release.target), (None, Some(Version::new(1, 0, 0))));
    let release = fleet.update().await;
    assert_eq!(fleet.has(), ["1.1", "1.0"]);
    assert_eq!((runs(&release).as_deref(), release.target), (Some("1.0.0"), None));
    let (report, _) = fleet.check().await;
    assert_eq!(
        kept(&report),
        [
            "alpha 1.2: release 1.0.0 of stable has 1.1",
            "beta 1.2: release 1.0.0 of stable does not have it"
        ]
    );
}

#[tokio::test]
async fn a_release_that_is_withdrawn_is_not_on_offer_any_more_and_is_left_only_to_where_it_is_said()
{
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1"), ("beta", "1.1")]).await;
    fleet.update().await;
    fleet.release("2.0.0", &[("alpha", "1.2"), ("beta", "1.2")]).await;
    assert!(fleet.check().await.0.plan.is_some());
    let recall = |offers: &mut Vec<Offer>| offers[1].recalled = Some("eats disks".to_owned());
    fleet.list(recall).await;
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None, "before it was installed");
    assert_eq!(release.held, ["2.0.0 was recalled: eats disks"]);
    assert_eq!(runs(&release).as_deref(), Some("1.0.0"));

    fleet.list(|offers| offers[1].recalled = None).await;
    assert_eq!(runs(&fleet.update().await).as_deref(), Some("2.0.0"));
    fleet.list(recall).await;
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None, "the channel does not say to go back");
    assert_eq!(runs(&release).as_deref(), Some("2.0.0"));
    fleet.list(|offers| offers[0].downgrade = true).await;
    let plan = fleet.check().await.0.plan.unwrap();
    assert_eq!(changes(&plan), ["alpha 1.2 1.1", "beta 1.2 1.1"]);
    assert_eq!(runs(&fleet.update().await).as_deref(), Some("1.0.0"));
    assert_eq!(fleet.has(), ["1.1", "1.1"]);
}

#[tokio::test]
async fn another_file_of_the_same_version_is_not_the_release() {
    let fleet = Fleet::new().await;
    let swapped = release::Package { sha256: "ab".repeat(32), ..fleet.package("alpha", "1.2") };
    fleet.release_of("1.0.0", vec![swapped, fleet.package("beta", "1.1")]).await;
    let (report, _) = fleet.check().await;
    assert_eq!(changes(report.plan.as_ref().unwrap()), ["beta 1.0 1.1"]);
    let said = "the archive's file of it is not the one that release 1.0.0 of stable has";
    assert!(kept(&report).iter().any(|kept| kept.ends_with(said)), "{:?}", kept(&report));
    let release = fleet.update().await;
    assert_eq!(release.lacks, ["alpha:all 1.2"]);
    assert_eq!(runs(&release), None, "it is not there as a whole");
}

#[tokio::test]
async fn what_the_archive_has_no_more_is_named_and_the_release_does_not_count_as_installed() {
    let fleet = Fleet::new().await;
    let gone = release::Package { version: "1.0.5".to_owned(), ..fleet.package("beta", "1.1") };
    fleet.release_of("1.0.0", vec![fleet.package("alpha", "1.1"), gone]).await;
    let release = fleet.update().await;
    assert_eq!((runs(&release), release.lacks), (None, vec!["beta:all 1.0.5".to_owned()]));
    // What somebody has installed that is newer is no reason to wait.
    fleet.node.apt(&["update"]);
    fleet.node.apt(&["install", "beta=1.1"]);
    let (_, release) = fleet.check().await;
    assert_eq!((runs(&release).as_deref(), release.lacks), (Some("1.0.0"), vec![]));
}

#[tokio::test]
async fn what_is_held_by_the_admin_does_not_keep_a_release_from_counting() {
    let fleet = Fleet::new().await;
    fleet.node.mark(&["hold", "beta"]);
    fleet.release("1.0.0", &[("alpha", "1.1"), ("beta", "1.1")]).await;
    let release = fleet.update().await;
    assert_eq!((runs(&release).as_deref(), release.lacks), (Some("1.0.0"), vec![]));
    assert_eq!(fleet.has(), ["1.1", "1.0"]);
}

#[tokio::test]
async fn a_channel_that_nobody_signs_any_more_stops_all_installs() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1")]).await;
    let plan = fleet.check().await.0.plan.unwrap();
    let layout = &fleet.node.layout;
    let until = plans::source(layout, &plan.id).unwrap().unwrap().until;
    let places = fleet.places();
    let against = |now| verb::against(layout, &plan.id, Some(CHOICE), Some(&places), now).unwrap();
    assert_eq!(against(until - Duration::from_secs(1)), None);
    let said = against(until).unwrap();
    assert!(said.starts_with("the channel that release 1.0.0 is of has expired at "), "{said}");
    // What was signed three weeks ago is two weeks good.
    let long_ago = clock::wall() - Duration::from_secs(21 * 24 * 3600);
    fleet.publisher().refresh(long_ago).await.unwrap();
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None);
    let problem = release.problem.unwrap();
    assert!(problem.contains("it has expired"), "{problem}");
    assert!(kept(&report).iter().all(|kept| kept.contains("is not believed any more")));
}

#[tokio::test]
async fn a_release_that_was_gone_back_from_is_not_offered_here_again() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1")]).await;
    let plan = fleet.check().await.0.plan.unwrap();
    channel::deny(&fleet.places(), &fleet.node.layout, &plan.id).unwrap();
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None);
    assert_eq!(release.held, ["1.0.0 failed on this node"]);
    fleet.release("1.0.1", &[("alpha", "1.2")]).await;
    assert_eq!(changes(&fleet.check().await.0.plan.unwrap()), ["alpha 1.0 1.2"]);
}

#[tokio::test]
async fn a_release_that_is_withdrawn_before_the_next_look_is_left_and_so_is_a_part_of_one() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1"), ("beta", "1.1")]).await;
    fleet.update().await;
    let gone = release::Package { version: "1.3".to_owned(), ..fleet.package("beta", "1.2") };
    for (version, packages, said) in [
        ("2.0.0", vec![fleet.package("alpha", "1.2")], (Some("2.0.0"), None)),
        ("3.0.0", vec![fleet.package("alpha", "1.2"), gone], (Some("1.0.0"), Some("3.0.0"))),
    ] {
        fleet.release_of(version, packages).await;
        let plan = fleet.check().await.0.plan.unwrap();
        fleet.install(&plan).await;
        channel::confirmed(&fleet.places(), &fleet.node.layout, &plan.id).unwrap();
        let memory = fleet.places().recall().unwrap();
        let text = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
        let found = (text(&memory.current), text(&memory.partial));
        assert_eq!((found.0.as_deref(), found.1.as_deref()), said);
        fleet
            .list(|offers| {
                offers[0].downgrade = true;
                offers.last_mut().unwrap().recalled = Some("eats disks".to_owned());
            })
            .await;
        let plan = fleet.check().await.0.plan.unwrap();
        assert_eq!(changes(&plan), ["alpha 1.2 1.1"]);
        assert_eq!(runs(&fleet.update().await).as_deref(), Some("1.0.0"));
        assert_eq!(fleet.places().recall().unwrap().partial, None);
    }
}

#[tokio::test]
async fn a_release_brings_the_archive_that_still_has_what_the_others_have_replaced() {
    let fleet = Fleet::new().await;
    let snapshot = open_dir();
    for file in fs::read_dir(fleet.archive.path()).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, snapshot.path().join(path.file_name().unwrap())).unwrap();
    }
    let server = Server::of(snapshot.path()).await;
    let wanted = fleet.package("alpha", "1.1");
    fleet.archive.withdraw("alpha");
    fleet.archive.publish(&[Package::new("alpha", "1.2")]);
    fleet.release_of("1.0.0", vec![wanted.clone()]).await;
    let (report, release) = fleet.check().await;
    assert_eq!((report.plan, release.lacks), (None, vec!["alpha:all 1.1".to_owned()]));

    // A small system has no file with the name localhost.
    let line = format!("deb http://127.0.0.1:{} ./", server.url.port().unwrap());
    let archives = vec![archive::Archive::parse(&line).unwrap()];
    fleet.release_with("1.0.1", vec![wanted], archives).await;
    assert_eq!(runs(&fleet.update().await).as_deref(), Some("1.0.1"));
    assert_eq!(fleet.has(), ["1.1", "1.0"]);
    // It is the release's, and goes with it.
    fleet.release("1.0.2", &[("alpha", "1.2")]).await;
    assert_eq!(runs(&fleet.update().await).as_deref(), Some("1.0.2"));
    assert!(!fleet.node.layout.sources().exists());
}

#[tokio::test]
async fn what_was_withdrawn_is_not_begun_whatever_the_archives_say_and_nothing_of_no_release_is() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1")]).await;
    let plan = fleet.check().await.0.plan.unwrap();
    let (layout, places) = (&fleet.node.layout, fleet.places());
    let against =
        || verb::against(layout, &plan.id, Some(CHOICE), Some(&places), clock::wall()).unwrap();
    assert_eq!(against(), None);
    fleet.list(|offers| offers[0].recalled = Some("eats disks".to_owned())).await;
    fleet.archive.forge();
    let (report, _) = fleet.check().await;
    assert_eq!(report.plan, None, "it is not staged any more");
    let said = against().unwrap();
    assert_eq!(said, "release 1.0.0 is not on offer here any more: check again");
    plans::remember(layout, &plan, CHOICE, None).unwrap();
    assert!(against().unwrap().contains("it is of no release"));
}

#[tokio::test]
async fn a_way_back_that_cannot_be_had_is_not_taken_for_gone() {
    let fleet = Fleet::new().await;
    fleet.release("1.0.0", &[("alpha", "1.1")]).await;
    fleet.update().await;
    fleet.release("2.0.0", &[("alpha", "1.2")]).await;
    fleet.update().await;
    fleet.archive.withdraw("alpha");
    fleet.archive.publish(&[Package::new("alpha", "1.2")]);
    fleet
        .list(|offers| {
            offers[0].downgrade = true;
            offers[1].recalled = Some("eats disks".to_owned());
        })
        .await;
    let (report, release) = fleet.check().await;
    assert_eq!(report.plan, None);
    assert_eq!(runs(&release).as_deref(), Some("2.0.0"), "it still does");
    assert_eq!(release.lacks, ["alpha:all 1.1"]);
}

#[tokio::test]
async fn a_release_without_anything_for_this_system_does_not_count_as_installed() {
    let fleet = Fleet::new().await;
    let version = Version::new(1, 0, 0);
    let mut publisher = fleet.publisher();
    publisher
        .put_release(&Release::new(version.clone(), Timestamp::UNIX_EPOCH, Vec::new()))
        .unwrap();
    publisher.commit(clock::wall()).await.unwrap();
    fleet.list(|offers| offers.push(Offer::new(version, Rollout::EVERYBODY))).await;
    let (report, release) = fleet.check().await;
    assert_eq!((report.plan, runs(&release)), (None, None));
    assert!(release.held[0].contains("has nothing for"), "{:?}", release.held);
}
