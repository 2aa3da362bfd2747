//! The way back where it is hard: packages in each other's way, cut off, held, or not to be left.

use std::fs;

use lockkeeper::{
    adapters::apt::{plans, plans::Way, repository},
    core::plan::Plan,
    dbus::executor::{ApplyReport, UndoReport},
};

use crate::{
    apply,
    archive::{Archive, Package, open_dir, run},
    attempt, failed,
    interruptions::{journal_is_dirty, kill_dpkg_of, many, quietly},
    staged,
    system::System,
    undo, until, updated,
};

fn impossible(report: UndoReport) -> String {
    match report {
        UndoReport::Impossible { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// A system with these installed, its plan to the others staged, and what dpkg and apt know now.
async fn with(from: &[Package], to: &[Package]) -> (Archive, System, Plan, Known) {
    let archive = Archive::with(from);
    let names: Vec<&str> = from.iter().map(Package::name).collect();
    let system = System::with(&archive, &names);
    archive.publish(to);
    let plan = staged(&system).await;
    let known = known(&system);
    (archive, system, plan, known)
}

type Known = (Vec<(String, String)>, Vec<String>);

fn known(system: &System) -> Known {
    (system.versions().into_iter().collect(), system.mark(&["showauto"]))
}

#[tokio::test]
async fn new_packages_and_new_versions_that_need_each_other_go_together() {
    let (_archive, system, plan, before) = with(
        &[Package::new("alpha", "1.0"), Package::new("beta", "1.0")],
        &[
            Package::new("alpha", "1.1").field("Depends", "fresh"),
            Package::new("fresh", "1.1").field("Depends", "alpha (>= 1.1), beta (= 1.1)"),
            Package::new("beta", "1.1").script("prerm", "echo $1 >> /prerm"),
        ],
    )
    .await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    assert_eq!(system.read("prerm"), "upgrade\n", "replaced more than once");
}

#[tokio::test]
async fn what_an_admin_has_installed_since_and_needs_the_update_is_in_the_way_and_nothing_changes()
{
    let (archive, system) = updated();
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    archive.publish(&[
        Package::new("own", "1.0").field("Depends", "alpha (>= 1.1)"),
        Package::new("other", "1.0").field("Depends", "delta"),
    ]);
    system.apt(&["update"]);
    for (package, expected) in [
        ("own", "is needed by own: apt would go back without alpha:all=1.0"),
        ("other", "other : Depends: delta"),
    ] {
        system.apt(&["install", package]);
        let before = known(&system);
        let reason = impossible(undo(&system, &plan.id).await);
        assert!(reason.starts_with("what the update has brought is needed"), "{reason}");
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(known(&system), before);
        system.apt(&["remove", package]);
        // The executor tries a refused one afresh.
        assert!(!plans::is_gone_back_from(&system.layout, &plan.id).unwrap());
        plans::forget_result(&system.layout, &plan.id, Way::Back).unwrap();
    }
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
}

#[tokio::test]
async fn a_file_that_moved_to_another_package_moves_back() {
    let moved = |package: Package| package.file("usr/share/moved", b"moved");
    // dpkg goes by the names.
    for (from, to) in [("alpha", "beta"), ("beta", "alpha")] {
        for (relation, new) in
            [("Breaks", true), ("Breaks", false), ("X-No", true), ("X-No", false)]
        {
            let needs = |package: Package| if new { package.field("Depends", to) } else { package };
            let mut before = vec![moved(Package::new(from, "1.0"))];
            before.extend((!new).then(|| Package::new(to, "1.0")));
            let replaces = format!("{from} (<< 1.1)");
            let taking = moved(Package::new(to, "1.1"))
                .field("Replaces", &replaces)
                .field(relation, &replaces);
            let after = [needs(Package::new(from, "1.1")), taking];
            let (_archive, system, plan, before) = with(&before, &after).await;
            assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
            let case = format!("{from} {to} {relation} {new}");
            assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone, "{case}");
            assert_eq!(known(&system), before, "{case}");
            assert!(system.root().join("usr/share/moved").exists(), "{case}");
            let owner = run(system.dpkg().args(["-S", "/usr/share/moved"]));
            assert_eq!(owner, format!("{from}: /usr/share/moved\n"), "{case}");
        }
    }
}

#[tokio::test]
async fn a_new_package_that_will_not_go_is_made_to() {
    for script in ["prerm", "postrm", "postinst"] {
        let (_archive, system, plan, before) = with(
            &[Package::new("alpha", "1.0")],
            &[
                Package::new("alpha", "1.1").field("Depends", "fresh"),
                Package::new("fresh", "1.1").conffile("etc/fresh", "x").script(script, "exit 1"),
            ],
        )
        .await;
        let report = apply(&system, &plan.id).await;
        assert_eq!(report == ApplyReport::Applied, script != "postinst", "{report:?}");
        assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone, "{script}");
        assert_eq!(known(&system), before, "{script}");
        assert!(!system.root().join("etc/fresh").exists(), "{script}");
    }
}

#[tokio::test]
async fn an_earlier_version_that_refuses_to_come_back_fails_the_undo_and_keeps_its_scripts() {
    let refuses = r#"case "$1" in upgrade) echo data is newer >&2; exit 1;; esac"#;
    let (_archive, system, plan, _) = with(
        &[Package::new("alpha", "1.0").script("preinst", refuses), Package::new("beta", "1.0")],
        &[Package::new("alpha", "1.1").script("prerm", "true"), Package::new("beta", "1.1")],
    )
    .await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    let report = undo(&system, &plan.id).await;
    let UndoReport::Failed { reason } = report else { panic!("{report:?}") };
    assert!(reason.starts_with("alpha is at 1.1 (processing archive "), "{reason}");
    assert!(reason.contains("subprocess"), "dpkg's word for it is missing: {reason}");
    assert_eq!(system.version("alpha"), "ii 1.1");
    assert_eq!(system.version("beta"), "ii 1.0");
    assert!(system.root().join("var/lib/dpkg/info/alpha.prerm").exists());
    // It has ended: asked again, it answers the same.
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Failed { reason });
}

#[tokio::test]
async fn what_the_update_has_not_configured_yet_is_not_configured_on_the_way_back() {
    let counts = |package: Package| package.script("postinst", "echo 1.1 >> /ran; exit 1");
    let (_archive, system, plan, before) = with(
        &[Package::new("alpha", "1.0"), Package::new("beta", "1.0")],
        &[
            counts(Package::new("alpha", "1.1")),
            counts(Package::new("beta", "1.1")).field("Depends", "alpha (>= 1.1)"),
        ],
    )
    .await;
    failed(apply(&system, &plan.id).await);
    let ran = system.read("ran");
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    assert_eq!(system.read("ran"), ran);
}

#[tokio::test]
async fn an_update_cut_off_while_it_was_unpacked_is_undone_without_being_finished() {
    let (_archive, system, plan, before) = with(
        &[many("1.0"), Package::new("alpha", "1.0")],
        &[
            many("1.1").script("postinst", ": > /configured"),
            Package::new("alpha", "1.1").field("Depends", "fresh"),
            many_named("fresh", "1.1"),
        ],
    )
    .await;
    for cut_off in ["many", "fresh"] {
        plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
        let dir = system.layout.plan(&plan.id);
        let debs = plan.packages.iter().map(|package| repository::deb_path(&dir, package));
        let debs = debs.filter(|deb| !deb.ends_with("many_all.deb") || cut_off == "many");
        let mut dpkg = quietly(system.dpkg().arg("--unpack").args(debs));
        let half_way = system.root().join(format!("usr/share/{cut_off}/100.dpkg-new"));
        until("dpkg unpacks", || half_way.exists()).await;
        dpkg.kill().unwrap();
        dpkg.wait().unwrap();
        assert!(journal_is_dirty(&system));
        assert!(system.version(cut_off).starts_with("iHR"), "{:?}", system.versions());

        assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone, "{cut_off}");
        assert_eq!(known(&system), before, "{cut_off}");
        assert!(!journal_is_dirty(&system));
        assert_eq!(system.read("usr/share/many/2999"), "1.0");
        assert!(!system.root().join("usr/share/fresh").exists(), "{cut_off}");
        assert!(!system.root().join("configured").exists());
        // It is over, and may be forgotten.
        assert!(plans::is_gone_back_from(&system.layout, &plan.id).unwrap());
        assert!(!plans::is_under_way(&system.layout, &plan.id).unwrap());
        plans::forget_result(&system.layout, &plan.id, Way::Back).unwrap();
        plans::forget_result(&system.layout, &plan.id, Way::There).unwrap();
    }
}

fn many_named(name: &str, version: &str) -> Package {
    let package = Package::new(name, version);
    (0..3000).fold(package, |p, i| p.file(&format!("usr/share/{name}/{i}"), version.as_bytes()))
}

#[tokio::test]
async fn a_way_back_that_is_cut_off_is_gone_to_its_end_and_holds_outlive_it() {
    let (_archive, system, plan, mut before) = with(
        &[many("1.0"), Package::new("alpha", "1.0")],
        &[many("1.1"), Package::new("alpha", "1.1")],
    )
    .await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    system.mark(&["hold", "many"]);
    let half_way = system.root().join("usr/share/many/100.dpkg-new");
    let kill = async {
        until("dpkg unpacks", || half_way.exists()).await;
        kill_dpkg_of(&system);
    };
    // dpkg dies, and what lives on is cut off, too.
    tokio::select! {
        biased;
        () = kill => {}
        outcome = attempt(&system, &plan.id, Way::Back) => panic!("{outcome:?}"),
    }
    until("the apt that was cut off ends", || is_free(&system)).await;
    let report: UndoReport = attempt(&system, &plan.id, Way::Back).await.into();
    assert_eq!(report, UndoReport::Undone);
    before.0.iter_mut().filter(|(name, _)| name == "many").for_each(|p| p.1 = "hi 1.0".into());
    assert_eq!(known(&system), before);
}

/// The set is gone back from so often, cut off at another point each time.
const CUTS: u64 = 12;

#[tokio::test]
async fn a_way_back_that_is_cut_off_anywhere_ends_on_the_set_from_before() {
    let moved = |package: Package| package.file("usr/share/moved", b"moved");
    let script = |package: Package| package.script("postinst", "true").script("prerm", "true");
    let (_archive, system, plan, before) = with(
        &[
            moved(script(Package::new("alpha", "1.0"))),
            script(Package::new("beta", "1.0")).conffile("etc/beta", "1.0"),
            Package::new("gamma", "1.0"),
        ],
        &[
            script(Package::new("alpha", "1.1")).field("Depends", "fresh"),
            script(Package::new("beta", "1.1")).conffile("etc/beta", "1.1"),
            moved(script(Package::new("fresh", "1.1"))).field("Replaces", "alpha (<< 1.1)"),
            Package::new("gamma", "1.1").script("postinst", "exit 1"),
        ],
    )
    .await;
    let (layout, id) = (&system.layout, &plan.id);
    let log = layout.plan(id).join("undo.log");
    let length = || fs::metadata(&log).map_or(0, |meta| meta.len());
    let again = || {
        let _ = fs::remove_file(&log);
        for way in [Way::There, Way::Back] {
            plans::forget_result(layout, id, way).unwrap();
        }
    };
    failed(apply(&system, id).await);
    assert_eq!(undo(&system, id).await, UndoReport::Undone);
    let whole = length();
    let mut cuts = 0;
    for cut in 0..CUTS {
        again();
        failed(apply(&system, id).await);
        let reached = async {
            until("dpkg gets there", || length() > whole * cut / CUTS).await;
        };
        tokio::select! {
            biased;
            () = reached => cuts += 1,
            outcome = attempt(&system, id, Way::Back) => panic!("{outcome:?} before {cut}"),
        }
        kill_all_of(&system);
        until("dpkg's lock is free", || is_free(&system)).await;
        let report: UndoReport = attempt(&system, id, Way::Back).await.into();
        assert_eq!(report, UndoReport::Undone, "{cut}");
        assert_eq!(known(&system), before, "{cut}");
        assert_eq!(system.read("etc/beta"), "1.0", "{cut}");
        assert_eq!(system.read("usr/share/moved"), "moved", "{cut}");
    }
    assert_eq!(cuts, CUTS);
}

/// Kills what works on this system with real apt and dpkg, as a power cut does.
fn kill_all_of(system: &System) {
    let root = system.root().parent().unwrap().to_str().unwrap().to_owned();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let program = command.split('\0').next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        if ["apt-get", "dpkg", "dpkg-deb"].contains(&program) && command.contains(&root) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Works nobody with dpkg on this system?
fn is_free(system: &System) -> bool {
    ["lock-frontend", "lock"].iter().all(|lock| {
        let lock = system.root().join("var/lib/dpkg").join(lock);
        let file = fs::File::options().write(true).open(lock).unwrap();
        rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

#[tokio::test]
async fn a_library_for_two_architectures_goes_back_in_both() {
    let lib = |version: &str, arch: &str| {
        let file = format!("usr/lib/{arch}/lib");
        Package::new("lib", version)
            .arch(arch)
            .field("Multi-Arch", "same")
            .file(&file, version.as_bytes())
            .script("prerm", "true")
    };
    let archive = Archive::with(&[lib("1.0", "amd64"), lib("1.0", "i386")]);
    let system = System::new(&archive);
    run(system.dpkg().args(["--add-architecture", "i386"]));
    system.apt(&["update"]);
    system.apt(&["install", "lib:amd64", "lib:i386"]);
    // Of one the archive has the earlier version, of the other it has not.
    fs::remove_file(archive.path().join("lib_1.0_i386.deb")).unwrap();
    let bad = |package: Package| package.script("prerm", "exit 1");
    archive.publish(&[bad(lib("1.1", "amd64")), bad(lib("1.1", "i386"))]);
    let plan = staged(&system).await;
    let back = plans::way_back(&system.layout, &plan.id).unwrap().unwrap();
    let origins: Vec<String> =
        back.changes().iter().map(|p| format!("{} {}", p.arch, p.origin)).collect();
    assert_eq!(origins, ["amd64 archive", "i386 repacked"]);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    system.mark(&["hold", "lib:i386"]);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    for arch in ["amd64", "i386"] {
        assert_eq!(system.read(&format!("usr/lib/{arch}/lib")), "1.0");
    }
    assert_eq!(system.mark(&["showhold"]), ["lib:i386"]);
}

#[tokio::test]
async fn a_new_kernel_goes_unless_it_runs() {
    let runs = rustix::system::uname().release().to_str().unwrap().to_owned();
    let image = |release: &str| Package::new(&format!("linux-image-{release}"), "7");
    let meta = |version: &str| Package::new("linux-image-lab", version);
    let (_archive, system, plan, mut before) = with(
        &[meta("1.0")],
        &[
            meta("1.1").field("Depends", &format!("linux-image-{runs}, linux-image-99-lab")),
            image(&runs),
            image("99-lab"),
        ],
    )
    .await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    let kernel = format!("linux-image-{runs}");
    before.0.push((kernel.clone(), "ii 7".into()));
    before.0.sort();
    before.1.push(kernel);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn what_was_broken_before_the_update_may_be_broken_after_the_way_back_and_nothing_else() {
    let sick = || Package::new("sick", "1.0").script("postinst", "[ ! -e /sick ]");
    let archive = Archive::with(&[sick(), Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["sick", "alpha"]);
    system.write("sick", "");
    let folder = open_dir();
    assert!(
        !system
            .dpkg()
            .arg("-i")
            .arg(sick().build(folder.path()))
            .output()
            .unwrap()
            .status
            .success()
    );
    archive.publish(&[Package::new("alpha", "1.1")]);
    let plan = staged(&system).await;
    let before = known(&system);
    assert_eq!(system.version("sick"), "iF 1.0");
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    let sicker = Package::new("sicker", "1.0").script("postinst", "exit 1").build(folder.path());
    assert!(!system.dpkg().arg("-i").arg(sicker).output().unwrap().status.success());
    let report = undo(&system, &plan.id).await;
    let UndoReport::Failed { reason } = report else { panic!("{report:?}") };
    assert!(reason.starts_with("sicker 1.0 is half-configured ("), "{reason}");

    run(system.dpkg().args(["--purge", "sicker"]));
    plans::forget_result(&system.layout, &plan.id, Way::Back).unwrap();
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    assert_eq!(system.version("sick"), "iF 1.0");
}
