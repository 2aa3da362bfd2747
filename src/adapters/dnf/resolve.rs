//! What should this node install? The answer of dnf, as an exact set with digests.

use std::collections::BTreeMap;

use super::{
    installed::{self, Installed},
    offers::{self, Offer},
    program,
    table::{self, Row, Table},
};
use crate::{
    adapters::packages::{Layout, PackageError, Resolved, Wish},
    config::settings::Removals,
    core::{
        choice::{Candidate, KeptBack, Objection, Origins, Release, Rules},
        plan::{PackageChange, Plan},
    },
};

/// Each round excludes one version more of some package; more than these a repository never has.
const ROUNDS: usize = 50;
const DOING: &str = "resolving the upgrade";

/// What dnf would do, and what of it the rules refused on the way there.
struct Search {
    /// Without the rules.
    all: Table,
    /// With them.
    found: Table,
    /// What they refused, by `name-evr.arch`.
    refused: BTreeMap<String, (Row, Objection)>,
    /// Only what an advisory on security names is wanted.
    security: bool,
}

/// Refreshes the metadata and says what to install by it. What the system excludes or locks is
/// respected; nothing is ever removed or replaced by an older version.
pub async fn resolve(layout: &Layout, wish: &Wish) -> Result<Resolved, PackageError> {
    program::known(layout).await?;
    if wish.packages.removals == Removals::Allow {
        return Err(PackageError::NoRemovals);
    }
    // No repository says that it is one for security; its advisories do.
    let security = wish.packages.origins == Origins::Security;
    let mut wish = wish.clone();
    if security {
        wish.packages.origins = Origins::All;
    }
    let rules = wish.rules(layout)?;
    refresh(layout).await?;
    let have = installed::query(layout).await?;
    let search = search(layout, &rules, security, &have).await?;
    let plan = plan(layout, &search.found, &have).await?;
    let kept_back = kept_back(layout, &search, plan.as_ref(), &have).await?;
    Ok(Resolved { plan, kept_back })
}

/// Every repository must answer.
async fn refresh(layout: &Layout) -> Result<(), PackageError> {
    let refresh = program::with_our_metadata(layout)?.args(["-q", "--refresh", "makecache"]);
    let done = refresh.finish().await?;
    if done.status.success() {
        Ok(())
    } else {
        Err(PackageError::Sources(program::complaint(&done)))
    }
}

/// Lets dnf resolve until the rules have nothing against its answer: what they refuse is excluded.
async fn search(
    layout: &Layout,
    rules: &Rules,
    security: bool,
    have: &[Installed],
) -> Result<Search, PackageError> {
    let all = simulate(layout, false, &[]).await?;
    let found = if security { simulate(layout, true, &[]).await? } else { all.clone() };
    let mut search = Search { all, found, refused: BTreeMap::new(), security };
    for _ in 0..ROUNDS {
        let refused = refused(layout, rules, &search.found, have).await?;
        if refused.is_empty() {
            return search.found.removes.first().map_or(Ok(()), removal).map(|()| search);
        }
        for (row, why) in refused {
            search.refused.insert(full_name(&row), (row, why));
        }
        let excluded: Vec<&String> = search.refused.keys().collect();
        search.found = simulate(layout, security, &excluded).await?;
    }
    let said = "dnf goes on to propose what is excluded".to_owned();
    Err(PackageError::Said { doing: DOING, said })
}

fn removal(row: &Row) -> Result<(), PackageError> {
    let said = format!("dnf would remove {}", full_name(row));
    Err(PackageError::Said { doing: DOING, said })
}

async fn simulate(
    layout: &Layout,
    security: bool,
    excluded: &[&String],
) -> Result<Table, PackageError> {
    let mut upgrade = program::with_our_metadata(layout)?.args([
        "-C",
        "--assumeno",
        // One package that cannot have its newest version does not keep the others back.
        "--setopt=best=False",
        "--setopt=installonly_limit=0",
    ]);
    if security {
        upgrade = upgrade.arg("--security");
    }
    upgrade = upgrade.args(excluded.iter().map(|name| format!("--exclude={name}")));
    let done = upgrade.arg("upgrade").finish().await?;
    // To say no for us is no success.
    let refused = done.stderr.lines().any(|line| line == "Operation aborted.");
    if done.status.success() || refused {
        return table::parse(&done.stdout);
    }
    Err(PackageError::Said { doing: DOING, said: program::complaint(&done) })
}

/// What the rules have against these, and what goes against our promises.
async fn refused(
    layout: &Layout,
    rules: &Rules,
    found: &Table,
    have: &[Installed],
) -> Result<Vec<(Row, Objection)>, PackageError> {
    let offers = offers::named(layout, found.comes().map(full_name)).await?;
    let objection = |row: &Row| {
        let of = |offer: &&Offer| is_of(offer, row);
        let releases: Vec<Release> = offers.iter().filter(of).map(release).collect();
        let candidate = Candidate {
            name: &row.name,
            arch: &row.arch,
            version: &row.evr,
            is_new: installed::newest(have, &row.name, &row.arch).is_none(),
            releases: &releases,
        };
        let promise = || {
            if found.downgrades.contains(row) {
                return Some(Objection::new("downgrade", "dnf would install an older version"));
            }
            let gone = row.replaces.join(", ");
            let text = format!("it would have {gone} removed");
            (!gone.is_empty()).then(|| Objection::new("removes", text))
        };
        rules.objection(candidate).or_else(promise).map(|why| (row.clone(), why))
    };
    Ok(found.comes().filter_map(objection).collect())
}

/// A repository has nothing but its id.
fn release(offer: &Offer) -> Release {
    Release { origin: offer.repository.clone(), ..Release::default() }
}

async fn plan(
    layout: &Layout,
    found: &Table,
    have: &[Installed],
) -> Result<Option<Plan>, PackageError> {
    let offers = offers::named(layout, found.comes().map(full_name)).await?;
    let change = |row: &Row, from: Option<&Installed>| {
        let no_digest = || PackageError::NoDigest { package: full_name(row) };
        let offer = offers.iter().find(|o| is_of(o, row) && o.sha256.is_some());
        let offer = offer.ok_or_else(no_digest)?;
        Ok(PackageChange {
            name: row.name.clone(),
            arch: row.arch.clone(),
            from: from.map(|have| have.evr.clone()),
            to: row.evr.clone(),
            sha256: offer.sha256.clone().ok_or_else(no_digest)?,
            size: offer.size,
            origin: offer.repository.clone(),
        })
    };
    let new = found.installs.iter().map(|row| change(row, None));
    let newer = found.upgrades.iter();
    let newer = newer.map(|row| change(row, installed::newest(have, &row.name, &row.arch)));
    Ok(Plan::new(new.chain(newer).collect::<Result<_, PackageError>>()?))
}

/// What has a newer version and is not in the plan, each with its reason.
async fn kept_back(
    layout: &Layout,
    search: &Search,
    plan: Option<&Plan>,
    have: &[Installed],
) -> Result<Vec<KeptBack>, PackageError> {
    let kept = |name: &str, arch: &str, version: &str, why| KeptBack {
        name: name.to_owned(),
        arch: arch.to_owned(),
        installed: installed::newest(have, name, arch).map(|have| have.evr.clone()),
        version: version.to_owned(),
        why,
    };
    let mut all: Vec<KeptBack> = search
        .refused
        .values()
        .map(|(row, why)| kept(&row.name, &row.arch, &row.evr, why.clone()))
        .collect();
    for offer in offers::newer(layout).await? {
        let same = |name: &str, arch: &str, evr: &str| {
            (name, arch, evr) == (&offer.name, &offer.arch, &offer.evr)
        };
        let packages = plan.map(|plan| plan.packages.as_slice()).unwrap_or_default();
        let taken = packages.iter().any(|p| same(&p.name, &p.arch, &p.to));
        let told = all.iter().any(|kept| same(&kept.name, &kept.arch, &kept.version));
        if !taken && !told {
            let why = search.reason(&offer);
            all.push(kept(&offer.name, &offer.arch, &offer.evr, why));
        }
    }
    all.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
    Ok(all)
}

impl Search {
    /// Why a newer version was not taken that the rules have nothing against.
    fn reason(&self, offer: &Offer) -> Objection {
        let among = |mut rows: std::slice::Iter<'_, Row>| rows.any(|row| is_of(offer, row));
        if among(self.all.skips.iter()) {
            return Objection::new("unmet", "what it depends on cannot be had");
        }
        if !self.all.comes().any(|row| is_of(offer, row)) {
            let text = "dnf is told to leave it (excludepkgs, dnf versionlock, or a module)";
            return Objection::new("held", text);
        }
        if self.security && !among(self.found.skips.iter()) {
            return Objection::new("origin", "no advisory on security names it");
        }
        Objection::new("needs", "it needs a package that is kept back")
    }
}

fn is_of(offer: &Offer, row: &Row) -> bool {
    (&offer.name, &offer.arch, &offer.evr) == (&row.name, &row.arch, &row.evr)
}

fn full_name(row: &Row) -> String {
    format!("{}-{}.{}", row.name, row.evr, row.arch)
}
