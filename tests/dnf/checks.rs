//! What a check proposes, and what it keeps back for which reason.

use lockkeeper::{
    adapters::packages::PackageError,
    config::settings::{NewDependencies, Removals},
    core::{
        canary::Ripe,
        choice::{KeptBack, Origins},
    },
    executor::{Rules, check as verb, evidence::reboot_evidence},
};
use sha2::{Digest, Sha256};

use crate::{
    changes, check, check_by,
    repository::{Package, Repository},
    system::System,
};

/// `brk 2-1: unmet`
fn kept(kept_back: &[KeptBack]) -> Vec<String> {
    kept_back
        .iter()
        .map(|kept| format!("{} {}: {}", kept.name, kept.version, kept.why.code))
        .collect()
}

fn first() -> Vec<Package> {
    ["alpha", "beta", "brk", "lock", "excl", "old"].map(|name| Package::new(name, "1")).into()
}

fn second() -> Vec<Package> {
    let mut packages = first();
    packages.extend([
        Package::new("alpha", "2").tag("Requires: fresh"),
        Package::new("fresh", "1"),
        Package::new("beta", "2").tag("Epoch: 1"),
        Package::new("brk", "2").tag("Requires: nothing-has-it"),
        Package::new("lock", "2"),
        Package::new("excl", "2"),
        Package::new("new", "2").tag("Obsoletes: old"),
    ]);
    packages
}

fn system(repository: &Repository) -> System {
    System::with(repository, &["alpha", "beta", "brk", "lock", "excl", "old"])
}

#[tokio::test]
async fn a_check_proposes_exact_packages_and_says_why_the_rest_is_kept_back() {
    let repository = Repository::with(&first());
    let system = system(&repository);
    let report = check(&system.layout).await.unwrap();
    assert_eq!((report.plan, report.kept_back), (None, Vec::new()));

    repository.publish(&second());
    system.dnf(&["versionlock", "add", "lock-0:1-1"]);
    let conf = std::fs::read_to_string(system.root().join("etc/dnf/dnf.conf")).unwrap();
    system.write("etc/dnf/dnf.conf", &format!("{conf}excludepkgs=excl\n"));
    let before = system.packages();
    let report = check(&system.layout).await.unwrap();
    let plan = report.plan.unwrap();
    assert_eq!(changes(&plan), ["alpha 1-1 > 2-1", "beta 1-1 > 1:2-1", "fresh - > 1-1"]);
    let file = std::fs::read(repository.tree().join("beta-2-1.noarch.rpm")).unwrap();
    let digest = lockkeeper::core::plan::hex(&Sha256::digest(&file));
    let beta = &plan.packages[1];
    assert_eq!((&beta.sha256, beta.size), (&digest, file.len() as u64));
    assert_eq!((beta.arch.as_str(), beta.origin.as_str()), ("noarch", "lab"));
    assert_eq!(
        kept(&report.kept_back),
        ["brk 2-1: unmet", "excl 2-1: held", "lock 2-1: held", "new 2-1: removes"]
    );
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn the_rules_are_dnfs_excludes_and_what_needs_an_excluded_one_stays() {
    let repository = Repository::with(&first());
    let system = system(&repository);
    repository.publish(&second());
    let by = |change: fn(&mut lockkeeper::config::settings::Packages)| {
        let layout = &system.layout;
        async move {
            let report = check_by(layout, change).await.unwrap();
            let plan = report.plan.map(|plan| changes(&plan)).unwrap_or_default();
            (plan.join(", "), kept(&report.kept_back).join(", "))
        }
    };
    let (plan, kept) = by(|p| p.deny = vec!["fr*".into(), "lock".into(), "excl".into()]).await;
    assert_eq!(plan, "beta 1-1 > 1:2-1");
    let denied = "excl 2-1: denied, fresh 1-1: denied, lock 2-1: denied, new 2-1: removes";
    assert_eq!(kept, format!("alpha 2-1: needs, brk 2-1: unmet, {denied}"));
    let (plan, kept) = by(|p| p.allow = vec!["beta".into()]).await;
    assert_eq!(plan, "beta 1-1 > 1:2-1");
    assert!(kept.starts_with("alpha 2-1: not-allowed, brk 2-1: unmet"), "{kept}");
    let (plan, kept) = by(|p| p.new_dependencies = NewDependencies::Refuse).await;
    assert_eq!(plan, "beta 1-1 > 1:2-1, excl 1-1 > 2-1, lock 1-1 > 2-1");
    assert_eq!(kept, "alpha 2-1: needs, brk 2-1: unmet, fresh 1-1: new, new 2-1: new");
    let (plan, kept) = by(|p| p.origins = Origins::Patterns(vec!["o=other".into()])).await;
    assert_eq!(plan, "");
    assert!(kept.contains("alpha 2-1: origin") && kept.contains("beta 1:2-1: origin"), "{kept}");
    let (plan, _) = by(|p| p.origins = Origins::Patterns(vec!["o=la*".into()])).await;
    assert!(plan.contains("alpha 1-1 > 2-1"), "{plan}");

    let error = check_by(&system.layout, |p| p.origins = Origins::Distribution).await.unwrap_err();
    assert!(error.to_string().contains("packages.origins"), "{error}");
    let error = check_by(&system.layout, |p| p.removals = Removals::Allow).await.unwrap_err();
    assert!(error.to_string().contains("packages.removals"), "{error}");
}

#[tokio::test]
async fn security_only_takes_what_an_advisory_names() {
    let repository = Repository::with(&first());
    let system = system(&repository);
    repository.publish(&second());
    let security = |p: &mut lockkeeper::config::settings::Packages| p.origins = Origins::Security;
    let report = check_by(&system.layout, security).await.unwrap();
    assert_eq!(report.plan, None);
    assert!(kept(&report.kept_back).contains(&"lock 2-1: origin".to_owned()));

    repository.advise("alpha", "2");
    let report = check_by(&system.layout, security).await.unwrap();
    assert_eq!(changes(&report.plan.unwrap()), ["alpha 1-1 > 2-1", "fresh - > 1-1"]);
    assert!(kept(&report.kept_back).contains(&"beta 1:2-1: origin".to_owned()));
}

#[tokio::test]
async fn a_follower_takes_only_what_its_canary_has_verified() {
    let repository = Repository::with(&first());
    let system = system(&repository);
    repository.publish(&second());
    let packages = lockkeeper::config::settings::Packages {
        origins: Origins::All,
        ..lockkeeper::config::settings::Settings::default().packages
    };
    let rules = Rules {
        packages,
        follow: Some("canary".to_owned()),
        choice: String::new(),
        containers: lockkeeper::config::settings::Settings::default().containers,
        channel: None,
    };
    let mut ripe = Ripe::default();
    ripe.allowed.insert("lock:noarch".to_owned(), ["2-1".to_owned()].into());
    let report = verb::check(&system.layout, &rules, Some(ripe), None).await.unwrap();
    assert_eq!(changes(&report.plan.unwrap()), ["lock 1-1 > 2-1"]);
    assert!(kept(&report.kept_back).contains(&"beta 1:2-1: canary".to_owned()));
    assert!(verb::check(&system.layout, &rules, None, None).await.is_err());
}

#[tokio::test]
async fn a_repository_that_does_not_answer_fails_the_check_whatever_it_says_of_itself() {
    let repository = Repository::with(&first());
    let system = system(&repository);
    system.write(
        "etc/yum.repos.d/gone.repo",
        "[gone]\nname=gone\nbaseurl=file:///nonexistent\nskip_if_unavailable=True\n",
    );
    let error = check(&system.layout).await.unwrap_err();
    assert!(matches!(error, PackageError::Sources(_)), "{error:?}");
    assert!(error.to_string().contains("'gone'"), "{error}");
}

#[tokio::test]
async fn a_kernel_comes_beside_the_others_and_none_is_removed_for_it() {
    let kernels = ["1", "2", "3"].map(|version| Package::new("kernel", version));
    let repository = Repository::with(&kernels);
    let system = System::with(&repository, &["kernel-1", "kernel-2", "kernel-3"]);
    repository.add(&[Package::new("kernel", "4")]);
    let report = check(&system.layout).await.unwrap();
    assert_eq!(changes(&report.plan.unwrap()), ["kernel - > 4-1"]);
    let evidence = format!("{:?}", reboot_evidence(&system.layout).await);
    assert!(evidence.contains("kernel 3-1 was installed since this boot"), "{evidence}");
}
