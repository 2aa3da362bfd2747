//! A snapshot of a real btrfs root as the way back. Needs btrfs-progs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use lockkeeper::{
    adapters::packages::{
        Layout, PackageError, durable,
        plans::{self, Way},
        snapshot,
    },
    config::settings::{Snapshot, WithoutWayBack},
    core::{
        health::Evidence,
        plan::{Plan, PlanId},
    },
    dbus::executor::{ApplyReport, UndoReport},
    executor::{
        apply::verify_installed,
        confirm::confirm,
        evidence::reboot_evidence,
        stage::{arrange, stage},
    },
};

use crate::{
    apply,
    archive::{Archive, Package, run},
    disk::{Disk, is_mounted},
    failed, files, plan, refused,
    system::System,
    undo,
};

/// The disk goes first: nothing is removed from it while it is mounted.
struct Node {
    disk: Disk,
    system: System,
    archive: Archive,
}

/// alpha and beta at 1.0 on a btrfs root, and newer ones in the archive.
fn node() -> Node {
    node_with(256, &[Package::new("alpha", "1.0"), Package::new("beta", "1.0")])
}

fn node_with(megabytes: u64, packages: &[Package]) -> Node {
    let (disk, dir) = Disk::new(megabytes);
    let archive = Archive::with(packages);
    let system = System::at(dir, &archive);
    system.apt(&["update"]);
    let names: Vec<&str> = packages.iter().map(Package::name).collect();
    system.apt(&[&["install"], &names[..]].concat());
    archive.publish(&[
        Package::new("alpha", "1.1").file("usr/lib/alpha-new", b"new"),
        Package::new("beta", "1.1"),
        Package::new("delta", "0.1"),
    ]);
    Node { disk, system, archive }
}

impl Node {
    fn snapshot(&self, id: &PlanId) -> PathBuf {
        self.disk.top().join(".lockkeeper").join(id.as_str()).join("before")
    }

    async fn arrange(&self, plan: &Plan) -> Result<(), PackageError> {
        let layout = &self.system.layout;
        stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
        arrange(layout, &plan.id, Snapshot::Btrfs).await
    }

    async fn staged(&self) -> Plan {
        let plan = plan(&self.system).await;
        self.arrange(&plan).await.unwrap();
        plan
    }

    /// What staging says is in the way of a snapshot.
    async fn unfit(&self) -> String {
        let plan = plan(&self.system).await;
        let error = self.arrange(&plan).await.unwrap_err();
        assert_eq!(error.kind(), "snapshot");
        assert!(!plans::is_staged(&self.system.layout, &plan.id));
        assert!(plans::snapshot(&self.system.layout, &plan.id).unwrap().is_none());
        let text = error.to_string();
        let text = text.strip_prefix("packages.snapshot does not suit this machine: ");
        text.unwrap().to_owned()
    }
}

/// Every file of a subvolume: what it is, whose, since when, and its content.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let (mut tree, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if meta.is_file() {
            durable::digest(&path).unwrap().0
        } else {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        };
        let (time, nanos) = (meta.mtime(), meta.mtime_nsec());
        let what =
            format!("{:o} {} {} {time}.{nanos} {content}", meta.mode(), meta.uid(), meta.gid());
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), what);
    }
    tree
}

async fn is_pending(system: &System) -> bool {
    let evidence = reboot_evidence(&system.layout).await;
    matches!(&evidence, Evidence::Yes { reasons } if reasons.iter().any(|r| r.contains("the root")))
}

#[tokio::test]
async fn the_next_boot_starts_the_tree_from_before_byte_for_byte_and_our_state_stays() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let versions = system.versions();
    let plan = node.staged().await;
    assert!(!is_pending(system).await);
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    let before = tree(&node.snapshot(&plan.id));
    system.write("etc/since", "written since");
    system.write("var/lib/lockkeeper/state.json", "the agent's");
    assert_ne!(tree(&disk.top().join("@")), before);
    assert!(!is_pending(system).await);

    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    assert_eq!(tree(&disk.top().join("@")), before);
    // Until the next boot nothing has changed, and that is said.
    assert_eq!(system.version("alpha"), "ii 1.1");
    assert!(is_pending(system).await);
    let ails = verify_installed(&system.layout, &plan.id, true).await.unwrap();
    assert_eq!(ails.len(), 1, "{ails:?}");
    assert!(ails[0].contains("has to reboot"), "{ails:?}");

    disk.boots();
    assert_eq!(system.versions(), versions);
    assert_eq!(system.read("usr/share/beta/version"), "1.0");
    assert!(!system.root().join("usr/lib/alpha-new").exists());
    assert!(!system.root().join("etc/since").exists());
    assert_eq!(system.read("var/lib/lockkeeper/state.json"), "the agent's");
    assert!(!is_pending(system).await);
    let ails = verify_installed(&system.layout, &plan.id, true).await.unwrap();
    assert!(ails.is_empty(), "{ails:?}");
    // What was written since can still be had.
    let aside = node.snapshot(&plan.id).with_file_name("aside");
    assert_eq!(fs::read_to_string(aside.join("etc/since")).unwrap(), "written since");
    assert!(!is_mounted(&system.root().join("run/lockkeeper-executor/top")));
}

#[tokio::test]
async fn what_a_failed_update_has_left_is_gone_with_its_root() {
    let node = node();
    let Node { disk, system, archive } = &node;
    archive.withdraw("beta");
    archive.publish(&[
        Package::new("beta", "1.0"),
        Package::new("beta", "1.2").script("postinst", "echo new > /etc/data; exit 1"),
    ]);
    let plan = node.staged().await;
    failed(apply(system, &plan.id).await);
    assert_eq!(system.version("beta"), "iF 1.2");
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    disk.boots();
    assert_eq!(system.version("beta"), "ii 1.0");
    // The packages' way back cannot do this.
    assert!(!system.root().join("etc/data").exists());
}

#[tokio::test]
async fn a_way_back_that_was_cut_off_is_gone_to_its_end_and_never_turned_around() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let plan = node.staged().await;
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    // Cut off while the copy was made …
    let before = node.snapshot(&plan.id);
    let aside = before.with_file_name("aside");
    run(Command::new("btrfs").args(["subvolume", "snapshot"]).args([&before, &aside]));
    fs::write(aside.join("half"), "").unwrap();
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    let tree_before = tree(&before);
    assert_eq!(tree(&disk.top().join("@")), tree_before);
    // … and before the end was written down, once before the boot and once after it.
    for _ in 0..2 {
        let result = system.layout.plan(&plan.id).join("back-result.json");
        fs::remove_file(result).unwrap();
        plans::count_attempts(&system.layout, &plan.id, Way::Back, 1).unwrap();
        assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
        assert!(!disk.top().join("@/usr/lib/alpha-new").exists());
        disk.boots();
    }
    assert_eq!(system.version("alpha"), "ii 1.0");
}

#[tokio::test]
async fn a_transaction_that_is_tried_again_keeps_the_snapshot_from_before_the_first_time() {
    let node = node();
    let plan = node.staged().await;
    let layout = &node.system.layout;
    assert_eq!(apply(&node.system, &plan.id).await, ApplyReport::Applied);
    fs::remove_file(layout.plan(&plan.id).join("result.json")).unwrap();
    let before = tree(&node.snapshot(&plan.id));
    assert_eq!(apply(&node.system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(tree(&node.snapshot(&plan.id)), before);
    assert!(!before.contains_key(Path::new("usr/lib/alpha-new")));
}

#[tokio::test]
async fn the_last_snapshot_stays_until_the_next_and_one_on_trial_as_long_as_it_is() {
    let node = node();
    let Node { system, archive, .. } = &node;
    let first = node.staged().await;
    assert_eq!(apply(system, &first.id).await, ApplyReport::Applied);
    archive.publish(&[Package::new("alpha", "1.2")]);
    let second = node.staged().await;
    assert_eq!(apply(system, &second.id).await, ApplyReport::Applied);
    assert!(node.snapshot(&first.id).exists(), "it is not confirmed");
    confirm(&system.layout, &first.id).unwrap();
    confirm(&system.layout, &second.id).unwrap();
    assert!(node.snapshot(&second.id).exists());
    archive.publish(&[Package::new("alpha", "1.3")]);
    let third = node.staged().await;
    assert_eq!(apply(system, &third.id).await, ApplyReport::Applied);
    assert_eq!(files(&node.disk.top().join(".lockkeeper")), [third.id.as_str()]);
}

#[tokio::test]
async fn a_plan_that_was_gone_back_from_can_be_tried_again_with_a_fresh_snapshot() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let plan = node.staged().await;
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    node.archive.publish(&[Package::new("alpha", "1.2")]);
    let early = node.unfit().await;
    assert!(early.contains("the machine has to reboot first"), "{early}");
    disk.boots();
    confirm(&system.layout, &plan.id).unwrap();
    system.write("etc/admin", "since");
    node.arrange(&plan).await.unwrap();
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(fs::read_to_string(node.snapshot(&plan.id).join("etc/admin")).unwrap(), "since");
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    disk.boots();
    assert_eq!(system.version("alpha"), "ii 1.0");
    assert_eq!(system.read("etc/admin"), "since");
}

#[tokio::test]
async fn without_its_snapshot_a_plan_is_gone_back_from_by_packages() {
    let node = node();
    let Node { system, .. } = &node;
    let plan = node.staged().await;
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    run(Command::new("btrfs").args(["subvolume", "delete"]).arg(node.snapshot(&plan.id)));
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    assert_eq!(system.version("alpha"), "ii 1.0");
    assert!(!is_pending(system).await);
}

#[tokio::test]
async fn a_plan_with_a_part_of_the_boot_loader_has_no_snapshot() {
    let node = node_with(256, &[Package::new("grub-pc", "1.0"), Package::new("alpha", "1.0")]);
    node.archive.publish(&[Package::new("grub-pc", "1.1")]);
    let plan = node.staged().await;
    assert_eq!(apply(&node.system, &plan.id).await, ApplyReport::Applied);
    assert!(!node.snapshot(&plan.id).exists());
    assert_eq!(undo(&node.system, &plan.id).await, UndoReport::Undone);
    assert_eq!(node.system.version("grub-pc"), "ii 1.0");
    assert!(!is_pending(&node.system).await);
}

#[tokio::test]
async fn subvolumes_inside_the_root_stay_empty_folders_or_are_named_as_what_is_in_the_way() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let machines = system.root().join("var/lib/machines");
    run(Command::new("btrfs").args(["subvolume", "create"]).arg(&machines));
    fs::set_permissions(&machines, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(machines.join("one"), "").unwrap();
    let why = node.unfit().await;
    assert!(
        why.contains("are not empty, and a snapshot leaves them out: /var/lib/machines;"),
        "{why}"
    );

    fs::remove_file(machines.join("one")).unwrap();
    let plan = node.staged().await;
    assert_eq!(apply(system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(system, &plan.id).await, UndoReport::Undone);
    disk.boots();
    let mode = fs::metadata(&machines).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    fs::write(machines.join("two"), "").unwrap();

    // The root that was left goes with the next snapshot, and what is inside with it.
    confirm(&system.layout, &plan.id).unwrap();
    node.archive.publish(&[Package::new("alpha", "1.2")]);
    let next = node.staged().await;
    assert_eq!(apply(system, &next.id).await, ApplyReport::Applied);
    assert_eq!(files(&disk.top().join(".lockkeeper")), [next.id.as_str()]);
}

#[tokio::test]
async fn whatever_would_go_back_and_must_not_or_the_other_way_round_is_in_the_way() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let root = system.root();
    let own = |name: &str, place: &str| {
        run(Command::new("btrfs").args(["subvolume", "create"]).arg(disk.top().join(name)));
        disk.mount(name, &root.join(place));
    };
    let unmount = |place: &str| run(Command::new("umount").arg(root.join(place)));

    unmount("var/lib/lockkeeper");
    let why = node.unfit().await;
    assert!(why.contains("var/lib/lockkeeper lies on the root"), "{why}");
    disk.mount("@agent", &root.join("var/lib/lockkeeper"));

    fs::create_dir(root.join("var/lib/lockkeeper-hub")).unwrap();
    let why = node.unfit().await;
    assert!(why.contains("var/lib/lockkeeper-hub lies on the root"), "{why}");
    fs::remove_dir(root.join("var/lib/lockkeeper-hub")).unwrap();

    fs::create_dir(root.join("var/lib/etcd")).unwrap();
    let why = node.unfit().await;
    assert!(why.contains("a member of etcd"), "{why}");
    own("@etcd", "var/lib/etcd");
    fs::write(disk.top().join("@etcd/db"), "").unwrap();

    own("@boot", "boot");
    let why = node.unfit().await;
    assert!(why.starts_with("/boot does not lie on the root"), "{why}");
    unmount("boot");

    system.write("proc/swaps", &format!("Filename\n{} file 1 0 -2\n", root.join("swap").display()));
    system.write("swap", "");
    let why = node.unfit().await;
    assert!(why.starts_with("the swap file "), "{why}");
    system.write("proc/swaps", "Filename\n/dev/none partition 1 0 -2\n");

    system.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=UUID=1 rootflags=subvol=@\n");
    let why = node.unfit().await;
    assert!(why.starts_with("the kernel was not loaded by GRUB from /boot"), "{why}");
    system.write("proc/cmdline", "BOOT_IMAGE=/@/boot/vmlinuz root=UUID=1\n");
    let why = node.unfit().await;
    assert!(why.contains("rootflags=subvol=@"), "{why}");
    disk.boots();
    disk.mount("@etcd", &root.join("var/lib/etcd"));
    node.staged().await;
}

#[tokio::test]
async fn another_root_than_the_one_it_was_staged_on_is_not_begun() {
    let node = node();
    let Node { disk, system, .. } = &node;
    let plan = node.staged().await;
    // The admin went back to another snapshot meanwhile.
    let top = disk.top();
    run(Command::new("btrfs").args(["subvolume", "snapshot"]).args([top.join("@"), top.join("b")]));
    fs::rename(top.join("@"), top.join("a")).unwrap();
    fs::rename(top.join("b"), top.join("@")).unwrap();
    disk.boots();
    let why = refused(apply(system, &plan.id).await);
    assert!(why.contains("the root is not the one that the plan was staged on"), "{why}");
    assert_eq!(system.version("alpha"), "ii 1.0");
}

#[tokio::test]
async fn another_file_system_is_said_to_be_the_wrong_one() {
    let archive = Archive::with(&[Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["alpha"]);
    run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(system.root().join("run")));
    let error = snapshot::check(&system.layout, Snapshot::Btrfs).await.unwrap_err();
    run(Command::new("umount").arg(system.root().join("run")));
    let text = error.to_string();
    assert!(text.contains("does not say where the root file system comes from"), "{text}");
}

#[tokio::test]
async fn a_kernel_would_not_go_back_with_a_thin_volume_so_its_plan_has_no_snapshot() {
    let kernel = "linux-image-6.1.0-9-amd64";
    let node = node_with(256, &[Package::new(kernel, "1.0"), Package::new("alpha", "1.0")]);
    node.archive.publish(&[Package::new(kernel, "1.1")]);
    let plan = plan(&node.system).await;
    let layout = &node.system.layout;
    stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    arrange(layout, &plan.id, Snapshot::LvmThin).await.unwrap();
    assert!(plans::is_staged(layout, &plan.id));
    assert!(plans::snapshot(layout, &plan.id).unwrap().is_none());
}

#[tokio::test]
async fn a_root_that_is_no_thin_volume_or_not_divided_from_the_rest_is_said_to_be_so() {
    let (_disk, dir) = Disk::new(128);
    let layout = Layout::rooted(&dir.path().join("state"), &dir.path().join("root"), Path::new(""));
    let check = async |layout: &Layout| {
        snapshot::check(layout, Snapshot::LvmThin).await.unwrap_err().to_string()
    };
    let why = check(&layout).await;
    assert!(why.ends_with("the root file system is btrfs; it has to be ext4 or xfs"), "{why}");

    let (_disk, dir) = Disk::plain(32);
    let root = dir.path().join("root");
    let layout = Layout::rooted(&dir.path().join("state"), &root, Path::new(""));
    let tmpfs = |place: &str| {
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(root.join(place)));
    };
    for folder in ["boot", "etc", "usr", "var/lib/dpkg"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let why = check(&layout).await;
    assert!(
        why.ends_with("/boot lies on the root; it has to be a file system of its own"),
        "{why}"
    );
    tmpfs("boot");
    let why = check(&layout).await;
    assert!(why.contains("var/lib/lockkeeper lies on the root and would be taken back"), "{why}");
    tmpfs("usr");
    let why = check(&layout).await;
    assert!(why.contains("/usr does not lie on the root"), "{why}");
}

#[tokio::test]
async fn a_plan_without_room_beside_what_it_replaces_is_not_staged() {
    let sized =
        |name: &str, version: &str| Package::new(name, version).field("Installed-Size", "20480");
    let node = node_with(256, &[sized("alpha", "1.0"), sized("beta", "1.0")]);
    let Node { disk, system, archive } = &node;
    archive.publish(&[sized("alpha", "1.2"), sized("beta", "1.2")]);
    let plan = plan(system).await;
    let free = || {
        run(Command::new("sync").arg("-f").arg(disk.top()));
        let stat = rustix::fs::statvfs(disk.top()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    for number in 0.. {
        // Enough for an update that replaces what it does not need any more.
        if free() < 40 << 20 {
            break;
        }
        fs::write(disk.top().join(format!("filler-{number}")), noise(4 << 20)).unwrap();
    }
    let error = node.arrange(&plan).await.unwrap_err();
    assert_eq!(error.kind(), "space", "{error}");
    assert!(!plans::is_staged(&system.layout, &plan.id));
}

/// Bytes that nothing makes smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut seed = 1_u32;
    let next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}
