//! Stages: made whole or not at all, cleaned up, never taken from under a transaction.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command, time::Duration};

use lockkeeper::{
    adapters::apt::{
        AptError,
        plans::{self, Outcome, Way},
        repository,
    },
    config::settings::WithoutWayBack,
    core::plan::PlanId,
    dbus::executor::ApplyReport,
    executor::{confirm::confirm, run::transact, stage::stage},
};

use crate::{
    apply,
    archive::{Archive, Package, open_dir, run},
    check, files, plan, refused, staged,
    system::System,
    updated,
};

#[tokio::test]
async fn an_archive_that_lost_a_file_fails_staging_and_leaves_nothing() {
    let (archive, system) = updated();
    let plan = plan(&system).await;
    archive.withdraw("beta");
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert_eq!(error.kind(), "apt");
    assert!(error.to_string().contains("beta_1-1.1_amd64.deb"), "{error}");
    assert_eq!(files(&system.layout.plan(&plan.id)), ["chosen.json", "plan.json"]);
    assert_eq!(
        refused(apply(&system, &plan.id).await),
        format!("plan {} is not staged", plan.id.short())
    );
}

#[tokio::test]
async fn an_archive_that_swapped_a_file_fails_staging_and_leaves_nothing() {
    let (archive, system) = updated();
    let plan = plan(&system).await;
    // The same size, other content.
    let deb = archive.path().join("alpha_1.1_all.deb");
    let bytes = fs::read(&deb).unwrap();
    fs::write(&deb, bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert!(error.to_string().contains("Hash Sum mismatch"), "{error}");
    assert_eq!(files(&system.layout.plan(&plan.id)), ["chosen.json", "plan.json"]);
}

#[tokio::test]
async fn a_plan_that_is_unknown_or_edited_is_not_staged() {
    let (_archive, system) = updated();
    let unknown = PlanId::parse(&"0".repeat(64)).unwrap();
    let error = stage(&system.layout, &unknown, WithoutWayBack::Allow).await.unwrap_err();
    assert!(matches!(error, AptError::NoPlan(_)), "{error:?}");

    let plan = plan(&system).await;
    let path = system.layout.plan(&plan.id).join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"1.1\"", "\"9.9\"")).unwrap();
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert!(matches!(error, AptError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn staging_removes_older_plans_but_not_one_that_is_being_applied() {
    let (archive, system) = updated();
    let layout = &system.layout;
    let first = staged(&system).await;
    archive.publish(&[Package::new("alpha", "1.2")]);
    let second = staged(&system).await;
    assert_eq!(files(&layout.plans()), [second.id.as_str()]);

    plans::count_attempts(layout, &second.id, Way::There, 1).unwrap();
    archive.publish(&[Package::new("alpha", "1.3")]);
    let third = staged(&system).await;
    let mut both = [second.id.to_string(), third.id.to_string()];
    both.sort();
    assert_eq!(files(&layout.plans()), both);
    assert_ne!(first.id, second.id);

    // It has ended, and once it is confirmed it goes.
    assert_eq!(
        transact(layout, &second.id, Way::There, Duration::ZERO).await.unwrap(),
        Outcome::Complete
    );
    confirm(layout, &second.id).unwrap();
    let fourth = staged(&system).await;
    assert_eq!(files(&layout.plans()), [fourth.id.as_str()]);
}

#[tokio::test]
async fn staging_twice_is_the_same_as_once_and_a_plan_under_way_is_not_touched() {
    let (_archive, system) = updated();
    let layout = &system.layout;
    let plan = staged(&system).await;
    let deb = repository::deb_path(&layout.plan(&plan.id), &plan.packages[0]);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&deb);
    stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert_eq!(inode(&deb), before, "a good stage was downloaded again");

    plans::count_attempts(layout, &plan.id, Way::There, 1).unwrap();
    stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert_eq!(
        plans::attempts(layout, &plan.id, Way::There).unwrap(),
        1,
        "the attempt was forgotten"
    );
    fs::remove_file(&deb).unwrap();
    let error = stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert!(matches!(error, AptError::Busy(_)), "{error:?}");
    assert!(matches!(confirm(layout, &plan.id), Err(AptError::Busy(_))));
}

#[tokio::test]
async fn confirming_leaves_a_small_record() {
    let (_archive, system) = updated();
    let layout = &system.layout;
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    for _ in 0..2 {
        confirm(layout, &plan.id).unwrap();
        let record = ["apply.log", "attempts.json", "chosen.json", "plan.json", "result.json"];
        assert_eq!(files(&layout.plan(&plan.id)), record);
    }
    assert_eq!(
        transact(layout, &plan.id, Way::There, Duration::ZERO).await.unwrap(),
        Outcome::Complete
    );
    confirm(layout, &PlanId::parse(&"1".repeat(64)).unwrap()).unwrap();
}

/// A tmpfs, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(options: &str) -> Self {
        let dir = open_dir();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()));
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// A package whose archive is this large.
fn large(version: &str, bytes: usize) -> Package {
    Package::new("large", version).file("usr/share/large/data", &vec![b'x'; bytes])
}

#[tokio::test]
async fn a_file_system_that_is_too_small_is_refused_before_the_download() {
    let archive = Archive::with(&[large("1.0", 10)]);
    let system = System::with(&archive, &["large"]);
    archive.publish(&[large("1.1", 6 << 20)]);
    let tmpfs = Tmpfs::new("size=4m,mode=755");
    let layout = system.state_at(tmpfs.0.path());
    let plan = check(&layout).await.unwrap().plan.unwrap();
    let error = stage(&layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    let AptError::Space { mount, need, free, old_kernels } = &error else { panic!("{error:?}") };
    assert_eq!(mount, tmpfs.0.path());
    assert!(old_kernels.is_empty());
    // The earlier version is to be secured, too.
    let earlier = fs::metadata(archive.path().join("large_1.0_all.deb")).unwrap().len();
    let bytes = plan.download_bytes() + earlier;
    assert_eq!(*need, bytes + bytes / 10);
    assert!(*free < 4 << 20);
    assert!(error.to_string().contains(&need.to_string()), "{error}");
    assert_eq!(files(&layout.plan(&plan.id)), ["chosen.json", "plan.json"]);
}

#[tokio::test]
async fn a_file_system_that_runs_full_on_the_way_is_named_and_cleaned_up() {
    let (_archive, system) = updated();
    // Room for the bytes, none for the files.
    let tmpfs = Tmpfs::new("size=4m,mode=755,nr_inodes=19");
    let layout = system.state_at(tmpfs.0.path());
    let plan = check(&layout).await.unwrap().plan.unwrap();
    let error = stage(&layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert_eq!(error.kind(), "space", "{error:?}");
    let expected = format!("the file system {} is full", tmpfs.0.path().display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(files(&layout.plan(&plan.id)), ["chosen.json", "plan.json"]);
}

#[tokio::test]
async fn a_boot_that_is_full_is_refused_with_the_kernels_that_could_go() {
    let kernel = |number: u32| Package::new(&format!("linux-image-6.1.0-{number}-lab"), "1");
    let meta = |number: u32| {
        let needs = format!("linux-image-6.1.0-{number}-lab");
        Package::new("linux-image-lab", &number.to_string()).field("Depends", &needs)
    };
    let archive = Archive::with(&[kernel(1), kernel(2), meta(1)]);
    let system = System::with(&archive, &["linux-image-lab", "linux-image-6.1.0-2-lab"]);
    archive.publish(&[meta(2)]);
    system.apt(&["update"]);
    system.apt(&["install", "linux-image-lab"]);
    archive.publish(&[kernel(3), meta(3)]);
    let plan = plan(&system).await;
    // A kernel of a size that there is room for nowhere.
    let boot = system.root().join("boot/vmlinuz-6.1.0-2-lab");
    fs::File::create(boot).unwrap().set_len(1 << 50).unwrap();
    let refused = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await;
    let error = refused.unwrap_err();
    let AptError::Space { old_kernels, .. } = &error else { panic!("{error:?}") };
    assert_eq!(old_kernels, &["linux-image-6.1.0-1-lab"]);
    let hint = "; `apt-get autoremove` would remove linux-image-6.1.0-1-lab";
    assert!(error.to_string().ends_with(hint), "{error}");
}
