//! Staging: downloads a plan, verifies every byte and signature, and proves that it can be applied
//! offline.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{
    course::{self, Course},
    installed, program,
    table::{self, Row, Table},
    transaction, way_back,
};
use crate::{
    adapters::{
        command::Finished,
        packages::{
            Layout, PackageError, durable,
            file_system::{self, Lack, Need, mount_point},
            plans,
        },
    },
    core::plan::{PackageChange, Plan, PlanId},
};

/// Are the stage of a plan and the way back from it as they were made?
pub async fn is_good(layout: &Layout, plan: &Plan) -> bool {
    let Ok(Some(back)) = plans::way_back(layout, &plan.id) else { return false };
    back.is_of(plan)
        && verify(layout, &plan.id, &Course::there(layout, plan)).await.is_ok()
        && verify(layout, &plan.id, &Course::back(layout, plan, &back, "")).await.is_ok()
}

/// Fills the stage of a plan, and secures the way back from it.
pub async fn fill(layout: &Layout, plan: &Plan) -> Result<(), PackageError> {
    let earlier = way_back::survey(layout, plan).await?;
    let bytes = earlier.iter().map(|p| p.size).fold(plan.download_bytes(), u64::saturating_add);
    // What the system needs rpm itself adds up, in its test.
    let lack = file_system::lack(vec![Need::new(layout.plans(), bytes)])?;
    if let Some(Lack { mount, need, free }) = lack {
        return Err(PackageError::Space { mount, need, free, old_kernels: Vec::new() });
    }
    let course = Course::there(layout, plan);
    let missing = download(layout, &course).await?;
    if let Some((package, why)) = missing.first() {
        let said = format!("{}: {why}", course::name(package));
        return Err(PackageError::Said { doing: "downloading", said });
    }
    verify(layout, &plan.id, &course).await?;
    prove(layout, plan).await?;
    sync(&course)?;
    way_back::secure(layout, plan, earlier).await
}

/// Removes all that a stage consists of; the plan's documents stay.
pub fn clear(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    plans::withdraw(layout, id)?;
    let dir = layout.plan(id);
    ["back", "back.json", "rpms", "download"]
        .iter()
        .try_for_each(|part| durable::remove(&dir.join(part)))
}

/// Downloads the files of a course, at their exact versions, by the private metadata. Answers with
/// those that could not be had, and why; the others are in their place.
pub(super) async fn download<'c>(
    layout: &Layout,
    course: &'c Course,
) -> Result<Vec<(&'c PackageChange, String)>, PackageError> {
    durable::folder(&course.dir.join("rpms"))?;
    if course.comes.is_empty() {
        return Ok(Vec::new());
    }
    let incoming = course.dir.join("download");
    durable::fresh_folder(&incoming)?;
    let download = program::with_our_metadata(layout)?
        // With -C it would download nothing.
        .args([program::AS_IT_IS, "--disableexcludes=all", "download", "--destdir"])
        .arg(&incoming)
        .args(course.comes.iter().map(course::name));
    let done = download.finish().await?;
    if done.stderr.contains("No space left on device") {
        return Err(PackageError::Full { mount: mount_point(&incoming) });
    }
    let files = digests(incoming.clone()).await?;
    let mut missing = Vec::new();
    for package in &course.comes {
        let is_it = |(_, digest): &&(PathBuf, Digest)| *digest == digest_of(package);
        match files.iter().find(is_it) {
            Some((file, _)) => place(file, &course.file(package))?,
            None if done.status.success() => {
                missing.push((package, "what came does not have its digest".to_owned()));
            }
            None => missing.push((package, lost(&done, &package.name))),
        }
    }
    durable::remove(&incoming)?;
    Ok(missing)
}

/// Why a file did not come: `[MIRROR] web-2-1.noarch.rpm: Status code: 404 for …`.
fn lost(done: &Finished, name: &str) -> String {
    let about = |line: &&str| {
        let file = ["[MIRROR] ", "[FAILED] "].iter().find_map(|mark| line.strip_prefix(mark));
        file.is_some_and(|file| file.starts_with(&format!("{name}-")))
    };
    let line = done.stdout.split(['\n', '\r']).find(about);
    let why = line.and_then(|line| line.split_once(": ")).map(|(_, why)| why.to_owned());
    why.unwrap_or_else(|| program::complaint(done))
}

/// SHA-256 and size.
type Digest = (String, u64);

fn digest_of(package: &PackageChange) -> Digest {
    (package.sha256.clone(), package.size)
}

/// Every file of a folder with its digest. Hashing takes seconds; the bus must be answered meanwhile.
async fn digests(folder: PathBuf) -> Result<Vec<(PathBuf, Digest)>, PackageError> {
    let all = move || {
        let entries = fs::read_dir(&folder).map_err(PackageError::io("read", &folder))?;
        let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
        let digest = |path: PathBuf| {
            let digest = durable::digest(&path).map_err(PackageError::io("read", &path))?;
            Ok((path, digest))
        };
        files.map(digest).collect()
    };
    blocking(all).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PackageError> + Send + 'static,
) -> Result<T, PackageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(PackageError::Said { doing: "hashing packages", said: panic.to_string() })
    })
}

/// Moves a file to its place, as root's.
fn place(file: &Path, place: &Path) -> Result<(), PackageError> {
    chown(file, Some(0), Some(0))
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(file, place))
        .map_err(PackageError::io("move", file))
}

/// Syncs every file of a course, and the folders they are in.
pub(super) fn sync(course: &Course) -> Result<(), PackageError> {
    for package in &course.comes {
        durable::sync(&course.file(package))?;
    }
    durable::sync(&course.dir.join("rpms"))?;
    durable::sync(&course.dir)
}

/// Compares every file of a course with what it should be, size, digest and name, and has rpm check
/// its signature by the keys that the system trusts; one without a signature is not good.
pub async fn verify(layout: &Layout, id: &PlanId, course: &Course) -> Result<(), PackageError> {
    if course.comes.is_empty() {
        return Ok(());
    }
    let damaged = |why: String| PackageError::Damaged { id: id.clone(), why };
    let it = course.clone();
    let wrong = blocking(move || {
        let good = |p: &&PackageChange| {
            durable::digest(&it.file(p)).is_ok_and(|digest| digest == digest_of(p))
        };
        Ok(it.comes.iter().find(|package| !good(package)).map(course::name))
    });
    if let Some(name) = wrong.await? {
        return Err(damaged(format!("there is no file with the digest of {name}")));
    }
    check_signatures(layout, course).await?.map_or(Ok(()), |why| Err(damaged(why)))
}

/// What is wrong with the files of a course as rpm sees them: each needs a signature by a key that the
/// system trusts, and must be the package it stands for.
pub(super) async fn check_signatures(
    layout: &Layout,
    course: &Course,
) -> Result<Option<String>, PackageError> {
    let files = || course.comes.iter().map(|package| course.file(package));
    let check = program::rpm(layout, "rpmkeys").args(["--define", "_pkgverify_level all"]);
    let done = check.arg("--checksig").args(files()).finish().await?;
    if !done.status.success() {
        let bad = done.stdout.lines().find(|line| line.contains("NOT OK")).unwrap_or("a package");
        let name = Path::new(bad.split(": ").next().unwrap_or(bad)).file_name();
        let name = name.unwrap_or_default().to_string_lossy();
        return Ok(Some(format!(
            "{name} has no good signature by a key that rpm trusts (rpmkeys --import takes one)"
        )));
    }
    let format = ["-qp", "--qf", "%{NAME}-%{EVR}.%{ARCH}\\n"];
    let named = program::rpm(layout, "rpm").args(format).args(files()).output().await?;
    let short = |name: &str| name.replacen("-0:", "-", 1);
    let there: BTreeSet<String> = named.lines().map(short).collect();
    let wanted: BTreeSet<String> = course.comes.iter().map(course::name).collect();
    Ok(wanted.difference(&there).next().map(|name| format!("no file calls itself {name}")))
}

/// Has dnf show that the stage alone, without network, gives exactly what the plan still lacks, and
/// rpm that nothing is in the way: dependencies, files of others, room on the disk.
pub async fn prove(layout: &Layout, plan: &Plan) -> Result<(), PackageError> {
    let rest = Course::there(layout, plan).rest(&installed::query(layout).await?);
    match test(layout, &rest).await? {
        Test::Exact => Ok(()),
        Test::Locked => Err(PackageError::Said {
            doing: "testing the stage",
            said: "another dnf is at work".to_owned(),
        }),
        Test::Differs(why) => Err(PackageError::Differs { id: plan.id.clone(), why }),
    }
}

/// What dnf says to a course.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// It would do that, and nothing else.
    Exact,
    /// Another dnf is at work.
    Locked,
    /// It would do something else, or nothing.
    Differs(String),
}

/// Has dnf do everything but the transaction itself.
pub(super) async fn test(layout: &Layout, course: &Course) -> Result<Test, PackageError> {
    if course.is_empty() {
        return Ok(Test::Exact);
    }
    let test = transaction::command(layout, course)?.arg("--setopt=tsflags=test");
    let done = test.finish().await?;
    if done.status.code() == Some(program::LOCKED) {
        return Ok(Test::Locked);
    }
    let found = table::parse(&done.stdout)?;
    if let Some(why) = difference(course, &found) {
        let nothing = found == Table::default();
        return Ok(Test::Differs(if nothing {
            says(&done)
        } else {
            format!("dnf would go {why}")
        }));
    }
    let passed = done.status.success() && done.stdout.contains("Transaction test succeeded.");
    Ok(if passed { Test::Exact } else { Test::Differs(says(&done)) })
}

fn says(done: &Finished) -> String {
    format!("dnf says: {}", program::complaint(done))
}

/// How a table differs from a course; `None` when it is exactly that.
fn difference(course: &Course, found: &Table) -> Option<String> {
    let names = |rows: &mut dyn Iterator<Item = &Row>| -> BTreeSet<String> {
        rows.map(|row| format!("{}-{}.{}", row.name, row.evr, row.arch)).collect()
    };
    let replaced = |row: &Row| row.replaces.clone();
    let comes = names(&mut found.comes());
    let mut goes = names(&mut found.removes.iter());
    goes.extend(found.comes().flat_map(replaced));
    let wanted: BTreeSet<String> = course.comes.iter().map(course::name).collect();
    let leaving: BTreeSet<String> = course.goes.iter().map(course::name).collect();
    let list = |what: &str, a: &BTreeSet<String>, b: &BTreeSet<String>| {
        let names: Vec<&str> = a.difference(b).map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    };
    let parts = [
        list("without", &wanted, &comes),
        list("with", &comes, &wanted),
        list("without removing", &leaving, &goes),
        list("removing", &goes, &leaving),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
