//! What should this node install? The answer of apt, as an exact set with digests.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AptError, Layout, apt_get,
    hidden::{self, Hidden},
    kept,
    releases::{self, Known},
    removals,
    simulation::{self, Install, Simulation},
    sources,
    uris::{self, Uri},
};
use crate::{
    adapters::packages::Resolved,
    config::settings::Phased,
    core::{
        channel::allowed::Allowed,
        choice::{Candidate, Objection, Rules},
        plan::{PackageChange, Plan},
    },
};

/// Each round hides one version more of some package; more than these an archive never has.
const ROUNDS: usize = 50;

/// What apt would do, and what of it the rules refused on the way there.
pub(super) struct Search {
    /// Without the rules.
    pub all: Simulation,
    /// With them.
    pub found: Simulation,
    /// What they refused, by package and version.
    pub refused: BTreeMap<(String, String, String), Objection>,
    /// The packages that must not be removed for any of it, and why.
    pub needed: BTreeMap<String, &'static str>,
}

/// What of the archives apt is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All that the system lets it.
    Everything,
    /// Not what was hidden last; and what must stay is on hold.
    WithoutHidden,
}

/// The plan the private lists give now, by these rules. Holds and pins of the system are respected;
/// nothing is ever replaced by an older version.
pub async fn resolve(layout: &Layout, rules: &Rules, phased: Phased) -> Result<Resolved, AptError> {
    let search = search(layout, rules, phased).await?;
    let plan = plan(layout, &search.found).await?;
    Ok(Resolved { plan, kept_back: kept::explain(layout, &search, phased).await? })
}

async fn plan(layout: &Layout, found: &Simulation) -> Result<Option<Plan>, AptError> {
    let installs = &found.installs;
    if installs.is_empty() {
        return Ok(None);
    }
    let files = uris::look_up(layout, installs.iter().map(exact)).await?;
    let packages = installs.iter().map(|install| change(install, &files));
    let plan = Plan::new(packages.collect::<Result<_, _>>()?);
    let removes = removals::of(layout, &found.removes).await?;
    Ok(plan.map(|plan| plan.removing(removes)))
}

/// Lets apt resolve until the rules have nothing against its answer: what they refuse is hidden.
async fn search(layout: &Layout, rules: &Rules, phased: Phased) -> Result<Search, AptError> {
    let mut command = if rules.removals { WHOLE } else { UPGRADE };
    let all = simulate(layout, command, phased, Sight::Everything).await?;
    let (refused_so_far, needed) = (BTreeMap::new(), BTreeMap::new());
    let mut search = Search { found: all.clone(), all, refused: refused_so_far, needed };
    let mut hidden = Hidden::default();
    for package in rules.release.iter().flat_map(Allowed::leads_back_to) {
        hidden.prefer(&package.name, &package.arch, &package.version);
    }
    if !hidden.is_empty() {
        hidden::write(layout, &hidden).await?;
        search.found = simulate(layout, command, phased, Sight::WithoutHidden).await?;
    }
    for _ in 0..ROUNDS {
        let refused = refused(layout, rules, &search).await?;
        let needed = removals::refused(layout, rules, &search.found.removes).await?;
        if refused.is_empty() && needed.is_empty() {
            return Ok(search);
        }
        for (package, why) in needed {
            if !hidden.fix(&package.name, &package.arch) {
                // It would go in spite of a hold: then nothing goes.
                command = UPGRADE;
            }
            search.needed.insert(package.name, why);
        }
        for (install, why) in refused {
            hidden.add(&install.name, &install.arch, &install.to);
            search.refused.insert((install.name, install.arch, install.to), why);
        }
        hidden::write(layout, &hidden).await?;
        search.found = simulate(layout, command, phased, Sight::WithoutHidden).await?;
    }
    let said = "apt goes on to propose what is hidden from it".to_owned();
    Err(AptError::Said { doing: DOING, said })
}

/// What the rules have against these.
async fn refused(
    layout: &Layout,
    rules: &Rules,
    search: &Search,
) -> Result<Vec<(Install, Objection)>, AptError> {
    let installs = &search.found.installs;
    let known = if rules.ask_for_origins() && !installs.is_empty() {
        let names: BTreeSet<String> =
            installs.iter().map(|p| format!("{}:{}", p.name, p.arch)).collect();
        releases::look_up(layout, names.into_iter()).await?
    } else {
        Known::default()
    };
    let objection = |install: &Install| {
        let candidate = Candidate {
            name: &install.name,
            arch: &install.arch,
            version: &install.to,
            is_new: install.from.is_none(),
            releases: known.releases(&install.name, &install.arch, &install.to),
        };
        // Who pins a package to an older version does not want a newer one instead.
        let older = || {
            let text = "apt would install an older version";
            let same = |p: &&Install| (&p.name, &p.arch) == (&install.name, &install.arch);
            let pinned = search.all.installs.iter().find(same).is_some_and(Install::is_downgrade);
            (pinned || install.is_downgrade()).then(|| Objection::new("downgrade", text))
        };
        let back = rules.release.as_ref().is_some_and(Allowed::leads_back);
        let older = || older().filter(|_| !back);
        rules.objection(candidate).or_else(older).map(|why| (install.clone(), why))
    };
    let mut refused: Vec<_> = installs.iter().filter_map(objection).collect();
    let disputed = |install: &&Install| {
        rules.is_disputed(known.releases(&install.name, &install.arch, &install.to))
            && refused.iter().all(|(other, _)| other != *install)
    };
    let disputed: Vec<&Install> = installs.iter().filter(disputed).collect();
    refused.extend(by_file(layout, rules, &known, &disputed).await?);
    refused.extend(by_digest(layout, rules, installs, &refused).await?);
    Ok(refused)
}

/// What a release has against the files of those that nothing else stands against.
async fn by_digest(
    layout: &Layout,
    rules: &Rules,
    installs: &[Install],
    refused: &[(Install, Objection)],
) -> Result<Vec<(Install, Objection)>, AptError> {
    let good = |install: &&Install| refused.iter().all(|(other, _)| other != *install);
    let good: Vec<&Install> = installs.iter().filter(good).collect();
    if rules.release.is_none() || good.is_empty() {
        return Ok(Vec::new());
    }
    let files = uris::look_up(layout, good.iter().map(|install| exact(install))).await?;
    let objection = |install: &&Install| {
        let sha256 = file_of(install, &files).and_then(|file| file.sha256.as_deref());
        let package = format!("{}:{}", install.name, install.arch);
        rules.digest_objection(&package, sha256).map(|why| ((*install).clone(), why))
    };
    Ok(good.iter().filter_map(objection).collect())
}

/// What the rules have against the files that apt would take of these, which an archive that is not
/// wanted has in the same version.
async fn by_file(
    layout: &Layout,
    rules: &Rules,
    known: &Known,
    disputed: &[&Install],
) -> Result<Vec<(Install, Objection)>, AptError> {
    if disputed.is_empty() {
        return Ok(Vec::new());
    }
    let files = uris::look_up(layout, disputed.iter().map(|install| exact(install))).await?;
    let objection = |install: &&Install| {
        let uri = file_of(install, &files).map_or("", |file| file.uri.as_str());
        let releases = known.releases(&install.name, &install.arch, &install.to);
        rules.file_objection(releases, uri).map(|why| ((*install).clone(), why))
    };
    Ok(disputed.iter().filter_map(objection).collect())
}

const DOING: &str = "resolving the upgrade";
/// All that can be had, whatever has to go for it.
pub(super) const WHOLE: &[&str] = &["dist-upgrade"];
/// Never removes a package.
const UPGRADE: &[&str] = &["upgrade", "--with-new-pkgs"];

/// What apt would do for a command.
pub(super) async fn simulate(
    layout: &Layout,
    command: &[&str],
    phased: Phased,
    sight: Sight,
) -> Result<Simulation, AptError> {
    let mut simulate = apt_get::with_our_lists(layout, "apt-get");
    if phased == Phased::Ignore {
        simulate = simulate.args(["-o", "APT::Get::Always-Include-Phased-Updates=true"]);
    }
    if sight == Sight::WithoutHidden {
        simulate = hidden::fixed(layout, simulate);
    }
    // What is kept back it does not list when it is told to be quieter.
    let done = simulate.args(["-o", "quiet=1", "-s"]).args(command).finish().await?;
    if !done.status.success() {
        return Err(AptError::Said { doing: DOING, said: sources::complaint(done.said()) });
    }
    let found = simulation::parse(&done.stdout)?;
    if command == UPGRADE && !found.removes.is_empty() {
        let said = format!("apt would remove {}", found.removes.join(", "));
        return Err(AptError::Said { doing: DOING, said });
    }
    Ok(found)
}

/// `name:arch=version`, which apt takes for one package and no other.
#[must_use]
pub fn exact_name(package: &PackageChange) -> String {
    format!("{}:{}={}", package.name, package.arch, package.to)
}

fn exact(install: &Install) -> String {
    format!("{}:{}={}", install.name, install.arch, install.to)
}

fn file_of<'a>(install: &Install, files: &'a [Uri]) -> Option<&'a Uri> {
    let same = |file: &&Uri| {
        (&file.name, &file.arch, &file.version) == (&install.name, &install.arch, &install.to)
    };
    files.iter().find(same)
}

fn change(install: &Install, files: &[Uri]) -> Result<PackageChange, AptError> {
    let file = file_of(install, files);
    let (Some(size), Some(sha256)) = (file.map(|f| f.size), file.and_then(|f| f.sha256.clone()))
    else {
        return Err(AptError::NoDigest { package: format!("{} {}", install.name, install.to) });
    };
    Ok(PackageChange {
        name: install.name.clone(),
        arch: install.arch.clone(),
        from: install.from.clone(),
        to: install.to.clone(),
        sha256,
        size,
        origin: install.origin.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_sha256_makes_no_plan() {
        let install =
            simulation::parse("Inst a [1] (2 Lab:stable [all])").unwrap().installs.remove(0);
        for lines in ["", "'x' a_2_all.deb 5 MD5Sum:0", "'x' a_2_amd64.deb 5 SHA256:0"] {
            let files = uris::parse(lines).unwrap();
            assert!(matches!(change(&install, &files), Err(AptError::NoDigest { .. })), "{lines}");
        }
    }
}
