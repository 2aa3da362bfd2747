//! How a system goes back: by apt, and by dpkg in rounds that spare less and less.

use std::time::Duration;

use super::{Ready, obstacle};
use crate::{
    adapters::{
        apt::{
            AptError, Layout, apt_get,
            installed::{self, Installed},
            locks::{self, FrontendLock},
            repository::{self, Repository},
            resolve, scripts, simulation,
        },
        command::Command,
    },
    core::plan::PackageChange,
};

/// The one call of apt that goes all the way back.
pub(super) fn downgrade(layout: &Layout, ready: &Ready, have: &[Installed]) -> Command {
    apt_get::with_stage(layout, ready.earlier.dir(), "apt-get")
        .args(["upgrade", "--allow-downgrades"])
        .args(removes(ready, have))
        .args(ready.removed(have).into_iter().map(resolve::exact_name))
}

/// How apt is told what to remove.
pub(super) fn removes(ready: &Ready, have: &[Installed]) -> Vec<String> {
    let going = ready.going(have);
    going.iter().map(|going| format!("{}:{}-", going.have.name, going.have.arch)).collect()
}

/// By apt, as far as it goes.
pub(super) async fn by_apt(layout: &Layout, ready: &Ready) -> Result<(), AptError> {
    let have = installed::query(layout).await?;
    if ready.open(&have).is_empty() && ready.going(&have).is_empty() {
        return Ok(());
    }
    // A broken system could not be looked at before.
    let next = downgrade(layout, ready, &have).arg("-s").finish().await?;
    let surprise = match simulation::parse(&next.stdout) {
        Ok(next) => obstacle::surprise(ready, &have, &next),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = surprise {
        tracing::warn!("apt-get is not let go back: {why}");
        return Ok(());
    }
    let status =
        apt_get::for_real(downgrade(layout, ready, &have)).run_apart(&ready.log.file).await?;
    if !status.success() {
        tracing::warn!(%status, "apt-get did not go all the way back");
    }
    Ok(())
}

/// How long dpkg's lock is waited for when apt has just given it back: a race only.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// dpkg under the lock we hold.
fn dpkg(layout: &Layout) -> Command {
    apt_get::dpkg(layout).env("DPKG_FRONTEND_LOCKED", "1")
}

/// What dpkg does with what apt has left, from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Round {
    /// As it would by itself.
    Plain,
    /// Also where a package of the plan is in the way: it owns files now that were an earlier
    /// package's, or says that it breaks that one.
    Over,
    /// Also where a script of the plan's version will not have it: without the script.
    WithoutScripts,
}

/// By dpkg, to the end.
pub(super) async fn by_dpkg(layout: &Layout, ready: &Ready) -> Result<(), AptError> {
    let have = installed::query(layout).await?;
    let over = if ready.open(&have).is_empty() && ready.going(&have).is_empty() {
        Vec::new()
    } else {
        rounds(layout, ready).await?
    };
    let incomplete = incomplete(layout, ready, &over).await?;
    if incomplete.is_empty() {
        return Ok(());
    }
    let _lock = lock(layout).await?;
    unpack(layout, ready, &incomplete, Round::Plain).await
}

/// Other package managers are kept out meanwhile: a dpkg of its own does not wait.
async fn lock(layout: &Layout) -> Result<FrontendLock, AptError> {
    locks::frontend(layout, LOCK_LIMIT).await?.ok_or_else(|| AptError::Said {
        doing: "waiting for dpkg's lock",
        said: "another package manager keeps it".to_owned(),
    })
}

/// Answers with the packages that were unpacked over others.
async fn rounds(layout: &Layout, ready: &Ready) -> Result<Vec<PackageChange>, AptError> {
    let _lock = lock(layout).await?;
    let mut over: Vec<PackageChange> = Vec::new();
    for round in [Round::Plain, Round::Over, Round::WithoutScripts] {
        let have = installed::query(layout).await?;
        let open: Vec<PackageChange> = ready.open(&have).into_iter().cloned().collect();
        if open.is_empty() && ready.going(&have).is_empty() {
            break;
        }
        if round == Round::WithoutScripts {
            let going = ready.going(&have).into_iter().map(|going| going.package);
            scripts::set_aside(layout, &ready.plan.id, open.iter().chain(going))?;
        }
        unpack(layout, ready, &open, round).await?;
        if round >= Round::Over {
            over.extend(open);
        }
        remove(layout, ready).await?;
    }
    let have = installed::query(layout).await?;
    let still = ready.plan.packages.iter().filter(|package| installed::is_at(&have, package));
    scripts::put_back(layout, &ready.plan.id, still)?;
    Ok(over)
}

/// Unpacks earlier packages over whatever state the plan's version is in, and configures them.
async fn unpack(
    layout: &Layout,
    ready: &Ready,
    packages: &[PackageChange],
    round: Round,
) -> Result<(), AptError> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut force = vec!["downgrade", "confdef", "confold", "hold"];
    if round >= Round::Over {
        force.extend(["overwrite", "breaks", "conflicts"]);
    }
    let debs = packages.iter().map(|p| repository::deb_path(ready.earlier.dir(), p));
    let install = dpkg(layout).arg(format!("--force-{}", force.join(",")));
    let install = install.args(["--abort-after=9999", "--install"]).args(debs);
    let status = install.run_apart(&ready.log.file).await?;
    if !status.success() {
        tracing::warn!(%status, ?round, "dpkg did not go all the way back");
    }
    Ok(())
}

/// The earlier packages that are there and lack files: these were another package's when they were
/// unpacked, and went with that.
async fn incomplete(
    layout: &Layout,
    ready: &Ready,
    over: &[PackageChange],
) -> Result<Vec<PackageChange>, AptError> {
    let have = installed::query(layout).await?;
    let mut incomplete = Vec::new();
    for package in ready.earlier.packages() {
        let suspect = ready.back.replaced.contains(&package.name) || over.contains(package);
        if !suspect || !installed::is_done(&have, package) {
            continue;
        }
        let deb = repository::deb_path(ready.earlier.dir(), package);
        let contents = apt_get::program(layout, "dpkg-deb").arg("--contents").arg(deb);
        let contents = contents.output().await?;
        if paths(&contents).any(|path| layout.at(path).symlink_metadata().is_err()) {
            incomplete.push(package.clone());
        }
    }
    Ok(incomplete)
}

/// The paths in `-rw-r--r-- root/root 4 2026-01-01 00:00 ./usr/share/x -> y`, a line each.
fn paths(contents: &str) -> impl Iterator<Item = &str> {
    let paths = contents.lines().filter_map(|line| line.split_once(" ./").map(|(_, path)| path));
    paths.map(|path| {
        let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
        path.split_once(" link to ").map_or(path, |(path, _)| path)
    })
}

/// What the plan has brought anew goes. A package that was cut off while it was unpacked is unpacked
/// again first: only then does dpkg know its files.
async fn remove(layout: &Layout, ready: &Ready) -> Result<(), AptError> {
    let stage = Repository::stage(layout, &ready.plan);
    let have = installed::query(layout).await?;
    let going = ready.going(&have);
    let half: Vec<_> = going.iter().filter(|going| going.have.reinstall).collect();
    if !half.is_empty() && repository::verify(&stage).await.is_ok() {
        let debs = half.iter().map(|going| repository::deb_path(stage.dir(), going.package));
        dpkg(layout).arg("--unpack").args(debs).run_apart(&ready.log.file).await?;
    }
    for (purge, how) in [(true, "--purge"), (false, "--remove")] {
        let names = going.iter().filter(|going| going.purge == purge);
        let names: Vec<String> =
            names.map(|going| format!("{}:{}", going.have.name, going.have.arch)).collect();
        if names.is_empty() {
            continue;
        }
        let remove = dpkg(layout).arg("--force-remove-reinstreq").arg(how).args(names);
        let status = remove.run_apart(&ready.log.file).await?;
        if !status.success() {
            tracing::warn!(%status, "dpkg did not remove all that was new");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_whatever_they_are() {
        let contents = "\
drwxr-xr-x root/root         0 2026-01-01 00:00 ./
-rw-r--r-- root/root         4 2026-01-01 00:00 ./usr/share/a b
lrwxrwxrwx root/root         0 2026-01-01 00:00 ./usr/share/c -> ../x
hrw-r--r-- root/root         0 2026-01-01 00:00 ./usr/share/d link to ./usr/share/a b
";
        let found: Vec<_> = paths(contents).collect();
        assert_eq!(found, ["", "usr/share/a b", "usr/share/c", "usr/share/d"]);
    }
}
