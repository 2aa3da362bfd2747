//! Which packages are taken, and why the others are not.

use lockkeeper::{
    config::settings::{NewDependencies, Packages, Phased},
    core::{
        canary::{Ripe, SCHEMA, Soaking, Verified},
        choice::{KeptBack, Origins},
    },
    dbus::executor::CheckReport,
    executor::{Rules, check},
};

use crate::{
    apply,
    archive::{Archive, Package, run},
    changes, check_by, staged,
    system::System,
};

/// `name installed version code` of what is kept back.
fn kept(report: &CheckReport) -> Vec<String> {
    let line = |kept: &KeptBack| {
        let installed = kept.installed.as_deref().unwrap_or_default();
        format!("{} {installed} {} {}", kept.name, kept.version, kept.why.code)
    };
    report.kept_back.iter().map(line).collect()
}

fn planned(report: &CheckReport) -> Vec<String> {
    report.plan.as_ref().map(changes).unwrap_or_default()
}

async fn found(system: &System, change: impl FnOnce(&mut Packages)) -> CheckReport {
    check_by(&system.layout, change).await.unwrap()
}

/// A Debian with its release, a security and a foreign archive, each with something newer.
struct Debian {
    system: System,
    archives: [Archive; 3],
}

impl Debian {
    fn new() -> Self {
        let says = |origin, label, codename| {
            [("Origin", origin), ("Label", label), ("Suite", "stable"), ("Codename", codename)]
        };
        let all = |version: &str| ["base", "lib", "own"].map(|name| Package::new(name, version));
        let release = Archive::that_says(&says("Debian", "Debian", "bookworm"), &all("1.0"));
        let system = System::with(&release, &["base", "lib", "own"]);
        release.publish(&[Package::new("base", "1.1"), Package::new("lib", "1.2")]);
        let security = Archive::that_says(
            &says("Debian", "Debian-Security", "bookworm-security"),
            &[Package::new("lib", "1.1")],
        );
        let foreign = Archive::that_says(
            &says("Vendor", "Vendor", "bookworm"),
            &[Package::new("own", "2.0"), Package::new("lib", "9.0")],
        );
        system.add("security", &security);
        system.add("foreign", &foreign);
        system.write("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
        Self { system, archives: [release, security, foreign] }
    }

    async fn with(&self, origins: Origins) -> CheckReport {
        found(&self.system, |packages| packages.origins = origins).await
    }
}

#[tokio::test]
async fn packages_come_from_the_archives_that_are_wanted_and_no_others() {
    let debian = Debian::new();
    let report = debian.with(Origins::Distribution).await;
    assert_eq!(planned(&report), ["base 1.0 1.1", "lib 1.0 1.2"]);
    assert_eq!(kept(&report), ["own 1.0 2.0 origin"]);
    let text = &report.kept_back[0].why.text;
    assert_eq!(
        text,
        "it comes from o=Vendor,n=bookworm,l=Vendor, which packages.origins leaves out"
    );

    let report = debian.with(Origins::Security).await;
    assert_eq!(planned(&report), ["lib 1.0 1.1"], "though the release has a newer one");
    assert_eq!(kept(&report), ["base 1.0 1.1 origin", "own 1.0 2.0 origin"]);

    let report = debian.with(Origins::All).await;
    assert_eq!(planned(&report), ["base 1.0 1.1", "lib 1.0 9.0", "own 1.0 2.0"]);
    assert_eq!(kept(&report), Vec::<String>::new());

    let vendor = Origins::Patterns(vec!["o=Vendor,n=${codename}".to_owned()]);
    let report = debian.with(vendor).await;
    assert_eq!(planned(&report), ["lib 1.0 9.0", "own 1.0 2.0"]);
    assert_eq!(kept(&report), ["base 1.0 1.1 origin"]);
}

#[tokio::test]
async fn an_unknown_distribution_makes_no_plan_by_guess() {
    let debian = Debian::new();
    debian.system.write("etc/os-release", "ID=other\n");
    let wanted = |packages: &mut Packages| packages.origins = Origins::Distribution;
    let error = check_by(&debian.system.layout, wanted).await.unwrap_err().to_string();
    assert!(error.contains("\"other\"") && error.contains("packages.origins"), "{error}");
}

#[tokio::test]
async fn a_pin_of_the_admins_chooses_among_wanted_archives_and_opens_no_other() {
    let debian = Debian::new();
    let pin = "Package: own lib\nPin: release o=Vendor\nPin-Priority: 990\n\n\
               Package: base\nPin: version 1.0\nPin-Priority: 1001\n";
    for file in ["etc/apt/preferences", "etc/apt/preferences.d/own"] {
        debian.system.write(file, pin);
        let report = debian.with(Origins::Distribution).await;
        assert_eq!(planned(&report), ["lib 1.0 1.2"], "{file}");
        assert_eq!(kept(&report), ["base 1.0 1.1 pinned", "own 1.0 2.0 origin"], "{file}");
        debian.system.write(file, "");
    }
}

#[tokio::test]
async fn an_older_version_is_never_taken_even_when_a_pin_demands_it() {
    let debian = Debian::new();
    debian.system.apt(&["update"]);
    debian.system.apt(&["install", "lib=9.0"]);
    let pin = "Package: lib\nPin: version 1.1\nPin-Priority: 1001\n";
    debian.system.write("etc/apt/preferences", pin);
    let report = debian.with(Origins::All).await;
    assert_eq!(planned(&report), ["base 1.0 1.1", "own 1.0 2.0"]);
    assert_eq!(kept(&report), ["lib 9.0 1.1 downgrade"]);
    // Nor is a newer one, which the pin is there to keep away.
    debian.archives[2].publish(&[Package::new("lib", "10.0")]);
    let report = debian.with(Origins::All).await;
    assert_eq!(planned(&report), ["base 1.0 1.1", "own 1.0 2.0"]);
    assert_eq!(kept(&report), ["lib 9.0 10.0 downgrade"]);
}

#[tokio::test]
async fn a_pin_that_lets_an_older_update_in_is_not_in_its_way() {
    let archive = Archive::with(&[Package::new("alpha", "1"), Package::new("beta", "1")]);
    let system = System::with(&archive, &["alpha", "beta"]);
    archive.publish(&["2", "3"].map(|version| Package::new("alpha", version)));
    archive.publish(&[Package::new("beta", "2")]);
    let pin = "Package: alpha\nPin: version 3\nPin-Priority: -1\n";
    system.write("etc/apt/preferences.d/alpha.pref", pin);
    let report = found(&system, |packages| packages.deny = vec!["beta".to_owned()]).await;
    assert_eq!(planned(&report), ["alpha 1 2"], "the pin counts beside our own");
    assert_eq!(kept(&report), ["beta 1 2 denied"]);
    system.write("etc/apt/preferences.d/alpha.pref", &pin.replace("version 3", "release o=Lab"));
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), ["beta 1 2"]);
    assert_eq!(kept(&report), ["alpha 1 3 pinned"]);
    // What is said of a whole archive makes its versions no updates.
    let config = system.read("etc/apt.conf").replace("APT::Default-Release \"stable\";", "");
    system.write("etc/apt.conf", &config);
    let pin = "Package: *\nPin: release o=Lab\nPin-Priority: -1\n";
    system.write("etc/apt/preferences.d/alpha.pref", pin);
    let report = found(&system, |_| {}).await;
    assert_eq!((planned(&report), kept(&report)), (Vec::new(), Vec::new()));
}

/// `app` 2 needs `new` and `lib` 2, `old` conflicts with `tool` 2.
fn entangled() -> (Archive, System) {
    let first = ["app", "lib", "old", "tool", "solo"].map(|name| Package::new(name, "1"));
    let archive = Archive::with(&first);
    let system = System::with(&archive, &["app", "lib", "old", "tool", "solo"]);
    archive.publish(&[
        Package::new("app", "2").field("Depends", "new, lib (>= 2)"),
        Package::new("new", "1"),
        Package::new("lib", "2"),
        Package::new("tool", "2").field("Conflicts", "old"),
        Package::new("solo", "2").field("Depends", "nowhere"),
    ]);
    (archive, system)
}

#[tokio::test]
async fn what_apt_cannot_take_is_kept_back_with_its_reason() {
    let (_archive, system) = entangled();
    system.mark(&["hold", "lib"]);
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    let expected = ["app 1 2 unmet", "lib 1 2 held", "solo 1 2 unmet", "tool 1 2 removes"];
    assert_eq!(kept(&report), expected);
    let tool = &report.kept_back[3].why.text;
    assert_eq!(tool, "it would have old removed");
    let text = |place: usize| report.kept_back[place].why.text.as_str();
    // apt names the first thing that it misses.
    assert!(text(0).starts_with("Depends: lib (>= 2) but 1 "), "{}", text(0));
    assert!(
        text(0).ends_with("; of lib, it is on hold (apt-mark unhold lifts that)"),
        "{}",
        text(0)
    );
    assert_eq!(text(2), "Depends: nowhere but it is not installable");
}

#[tokio::test]
async fn two_updates_of_which_one_would_remove_the_other_are_both_kept_back() {
    let names = ["one", "two"];
    let archive = Archive::with(&names.map(|name| Package::new(name, "1")));
    let system = System::with(&archive, &names);
    archive
        .publish(&[Package::new("one", "2"), Package::new("two", "2").field("Conflicts", "one")]);
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    assert_eq!(kept(&report), ["one 1 2 removes", "two 1 2 removes"]);
    assert_eq!(report.kept_back[0].why.text, "another update would have it removed");
}

#[tokio::test]
async fn names_can_be_denied_or_alone_allowed_and_what_needs_them_stays() {
    let (_archive, system) = entangled();
    let report = found(&system, |packages| packages.deny = vec!["li*".to_owned()]).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    let of = |report: &CheckReport, name: &str| {
        let kept = kept(report).into_iter().find(|line| line.starts_with(name));
        kept.unwrap_or_default()
    };
    assert_eq!(of(&report, "lib"), "lib 1 2 denied");
    assert_eq!(of(&report, "app"), "app 1 2 needs");
    let app = &report.kept_back[0].why.text;
    assert_eq!(app, "Depends: lib (>= 2) but 1 is to be installed; of lib, packages.deny names it");

    let report = found(&system, |packages| packages.allow = vec!["lib".to_owned()]).await;
    assert_eq!(planned(&report), ["lib 1 2"]);
    assert_eq!(of(&report, "app"), "app 1 2 not-allowed");
}

#[tokio::test]
async fn new_dependencies_can_be_refused() {
    let (_archive, system) = entangled();
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), ["app 1 2", "lib 1 2", "new  1"]);
    let refuse = |packages: &mut Packages| packages.new_dependencies = NewDependencies::Refuse;
    let report = found(&system, refuse).await;
    assert_eq!(planned(&report), ["lib 1 2"]);
    let lines = kept(&report);
    assert!(lines.contains(&"new  1 new".to_owned()), "{lines:?}");
    assert!(lines.contains(&"app 1 2 needs".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn a_phased_update_waits_for_this_machines_turn_unless_phases_are_ignored() {
    let archive = Archive::with(&[Package::new("alpha", "1")]);
    let system = System::with(&archive, &["alpha"]);
    // In a chroot, where these tests may run, apt would take every phase.
    let never = "APT::Get::Never-Include-Phased-Updates \"true\";\n";
    system.write("etc/apt.conf", &(system.read("etc/apt.conf") + never));
    archive.publish(&[Package::new("alpha", "2").field("Phased-Update-Percentage", "0")]);
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    assert_eq!(kept(&report), ["alpha 1 2 phased"]);
    let report = found(&system, |packages| packages.phased = Phased::Ignore).await;
    assert_eq!(planned(&report), ["alpha 1 2"]);
}

#[tokio::test]
async fn an_update_that_recommends_what_cannot_be_had_is_kept_back_for_that_and_for_no_phase() {
    let system = |news: &[Package]| {
        let archive = Archive::with(&[Package::new("alpha", "1"), Package::new("beta", "1")]);
        let system = System::with(&archive, &["alpha", "beta"]);
        archive.publish(news);
        (archive, system)
    };
    let alone = [Package::new("alpha", "2").field("Recommends", "nowhere")];
    let behind = [
        Package::new("alpha", "2").field("Depends", "fresh"),
        Package::new("fresh", "2").field("Recommends", "nowhere"),
    ];
    for news in [&alone[..], &behind[..]] {
        let (_archive, system) = system(news);
        for phased in [Phased::Respect, Phased::Ignore] {
            let report = found(&system, |packages| packages.phased = phased).await;
            assert_eq!(kept(&report), ["alpha 1 2 unmet"]);
            let text = &report.kept_back[0].why.text;
            assert!(text.contains("recommends"), "{text}");
            assert!(text.contains("apt-get install alpha"), "{text}");
        }
        system.apt(&["update"]);
        system.apt(&["install", "alpha"]);
        assert_eq!(system.version("alpha"), "ii 2");
    }
}

#[tokio::test]
async fn an_update_is_not_blamed_for_what_another_would_have_removed() {
    let names = ["alpha", "beta", "victim"];
    let archive = Archive::with(&names.map(|name| Package::new(name, "1")));
    let system = System::with(&archive, &names);
    archive.publish(&[
        Package::new("alpha", "2").field("Recommends", "nowhere"),
        Package::new("beta", "2").field("Conflicts", "victim"),
    ]);
    let report = found(&system, |_| {}).await;
    assert_eq!(kept(&report), ["alpha 1 2 unmet", "beta 1 2 removes"]);
    assert!(report.kept_back[0].why.text.contains("recommends"), "{report:?}");
    assert_eq!(report.kept_back[1].why.text, "it would have victim removed");
}

#[tokio::test]
async fn what_was_chosen_by_rules_is_applied_exactly() {
    let debian = Debian::new();
    let report = debian.with(Origins::Security).await;
    let id = report.plan.unwrap().id;
    let without = lockkeeper::config::settings::WithoutWayBack::Allow;
    lockkeeper::executor::stage::stage(&debian.system.layout, &id, without).await.unwrap();
    apply(&debian.system, &id).await;
    let version = |name: &str| debian.system.version(name);
    assert_eq!([version("base"), version("lib"), version("own")], ["ii 1.0", "ii 1.1", "ii 1.0"]);
    // The rules leave no trace in the system.
    let plan = staged(&debian.system).await;
    assert_eq!(changes(&plan), ["base 1.0 1.1", "lib 1.1 9.0", "own 1.0 2.0"]);
}

#[tokio::test]
async fn a_follower_takes_only_what_the_canary_has_verified() {
    let debian = Debian::new();
    let packages = Packages {
        origins: Origins::All,
        ..lockkeeper::config::settings::Settings::default().packages
    };
    let follow = Some("canary".to_owned());
    let rules = Rules {
        packages,
        follow,
        choice: "of the test".to_owned(),
        containers: lockkeeper::config::settings::Settings::default().containers,
        channel: None,
    };
    let layout = &debian.system.layout;
    let error = check::check(layout, &rules, None, None).await.unwrap_err().to_string();
    assert!(error.contains("what canary has verified is not known"), "{error}");

    let report = check::check(layout, &rules, Some(Ripe::default()), None).await.unwrap();
    assert_eq!(planned(&report), Vec::<String>::new());
    assert_eq!(kept(&report), ["base 1.0 1.1 canary", "lib 1.0 9.0 canary", "own 1.0 2.0 canary"]);

    let packages = [("lib:all", "1.2"), ("own:all", "1.5")];
    let packages = packages.map(|(package, version)| (package.to_owned(), version.to_owned()));
    let verified = Verified { schema: SCHEMA, name: "c".to_owned(), packages: packages.into() };
    let mut soaking = Soaking::new("canary");
    soaking.look([&verified], jiff::Timestamp::UNIX_EPOCH);
    let ripe = soaking.ripe(std::time::Duration::ZERO, jiff::Timestamp::UNIX_EPOCH);
    let report = check::check(layout, &rules, Some(ripe), None).await.unwrap();
    assert_eq!(planned(&report), ["lib 1.0 1.2"], "not the newest, but the one that was tried");
    assert_eq!(kept(&report), ["base 1.0 1.1 canary", "own 1.0 2.0 canary"]);
}

#[tokio::test]
async fn a_package_of_two_architectures_is_told_by_its_architecture() {
    let both = |version: &str| {
        ["amd64", "i386"]
            .map(|arch| Package::new("libfoo", version).arch(arch).field("Multi-Arch", "same"))
    };
    let archive = Archive::with(&both("1"));
    let system = System::new(&archive);
    run(system.dpkg().args(["--add-architecture", "i386"]));
    system.apt(&["update"]);
    system.apt(&["install", "libfoo:amd64", "libfoo:i386"]);
    archive.publish(&both("2"));
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), ["libfoo 1 2", "libfoo 1 2"]);
    let kept = |report: &CheckReport| -> Vec<String> {
        let line = |kept: &KeptBack| format!("{}:{} {}", kept.name, kept.arch, kept.why.code);
        report.kept_back.iter().map(line).collect()
    };
    let report = found(&system, |packages| packages.deny = vec!["libfoo".to_owned()]).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    assert_eq!(kept(&report), ["libfoo:amd64 denied", "libfoo:i386 denied"]);
    // Both must be at one version, so neither changes.
    let pin = "Package: libfoo:i386\nPin: version 2\nPin-Priority: -1\n";
    system.write("etc/apt/preferences", pin);
    let report = found(&system, |_| {}).await;
    assert_eq!(planned(&report), Vec::<String>::new());
    assert_eq!(kept(&report), ["libfoo:amd64 unmet", "libfoo:i386 pinned"]);
}
