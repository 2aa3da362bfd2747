//! Why is what could be updated left as it is?

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AptError, Layout, alone,
    installed::{self, Installed},
    pinned, releases,
    resolve::{Search, Sight, WHOLE, simulate},
    simulation::{Install, Simulation},
    version,
};
use crate::{
    config::settings::Phased,
    core::choice::{KeptBack, Objection},
};

/// The sentence about what another update is in the way of.
pub(super) const REMOVED: &str = "another update would have it removed";

/// `name` and architecture.
type Package = (String, String);

/// Everything that has a newer version and is not in what was found, sorted, each with its reason.
/// `phased`: as the search was made.
pub(super) async fn explain(
    layout: &Layout,
    search: &Search,
    phased: Phased,
) -> Result<Vec<KeptBack>, AptError> {
    let mut kept = refused(search);
    let name = |install: &Install| (install.name.clone(), install.arch.clone());
    let taken: BTreeSet<Package> = search.found.installs.iter().map(name).collect();
    for install in &search.all.installs {
        let package = name(install);
        if !taken.contains(&package) && !kept.contains_key(&package) {
            let why = Objection::new("needs", "it needs a package that is kept back");
            let entry = KeptBack {
                name: install.name.clone(),
                arch: install.arch.clone(),
                installed: install.from.clone(),
                version: install.to.clone(),
                why,
            };
            kept.insert(package, entry);
        }
    }
    kept.retain(|package, _| !taken.contains(package));
    let apts: Vec<&String> = search.all.kept.iter().chain(&search.all.deferred).collect();
    if !apts.is_empty() {
        kept.extend(by_apt(layout, search, phased, &apts).await?);
    }
    for pinned in pinned::find(layout).await? {
        let package = (pinned.name.clone(), pinned.arch.clone());
        if !taken.contains(&package) {
            kept.entry(package).or_insert(pinned);
        }
    }
    let mut kept: Vec<KeptBack> = kept.into_values().collect();
    let hiding = !(search.refused.is_empty() && search.needed.is_empty());
    alone::say_more(layout, &mut kept, hiding, &search.needed).await?;
    Ok(kept)
}

/// What the rules refused, each package in its newest version.
fn refused(search: &Search) -> BTreeMap<Package, KeptBack> {
    let mut kept: BTreeMap<Package, KeptBack> = BTreeMap::new();
    let from = |name: &str, arch: &str| {
        let same = |p: &&Install| p.name == name && p.arch == arch;
        search.all.installs.iter().find(same).and_then(|install| install.from.clone())
    };
    for ((name, arch, to), why) in &search.refused {
        let package = (name.clone(), arch.clone());
        let newer = |known: &KeptBack| version::compare(to, &known.version).is_gt();
        if kept.get(&package).is_none_or(newer) {
            let entry = KeptBack {
                name: name.clone(),
                arch: arch.clone(),
                installed: from(name, arch),
                version: to.clone(),
                why: why.clone(),
            };
            kept.insert(package, entry);
        }
    }
    kept
}

/// What apt itself leaves as it is, whatever our rules are.
async fn by_apt(
    layout: &Layout,
    search: &Search,
    phased: Phased,
    names: &[&String],
) -> Result<Vec<(Package, KeptBack)>, AptError> {
    let installed = installed::query(layout).await?;
    let held: BTreeSet<String> = installed::held(layout).await?.into_iter().collect();
    let have: Vec<&Installed> =
        names.iter().filter_map(|name| installed::named(&installed, name)).collect();
    let full = |have: &Installed| format!("{}:{}", have.name, have.arch);
    let known = releases::look_up(layout, have.iter().map(|have| full(have))).await?;
    let deferred = |have: &Installed| search.all.deferred.iter().any(|name| have.is_called(name));
    let unexplained = have.iter().any(|have| !held.contains(&full(have)) && !deferred(have));
    let whole = if unexplained {
        Some(simulate(layout, WHOLE, Phased::Ignore, Sight::Everything).await?)
    } else {
        None
    };
    let takes = |all: &Option<Simulation>, have: &Installed| {
        let mut installs = all.iter().flat_map(|all| &all.installs);
        installs.any(|p| p.name == have.name && p.arch == have.arch)
    };
    // What apt would not take even then waits for its phase; apt before 2.7 does not say so.
    let in_phase = if have.iter().any(|have| takes(&whole, have)) {
        Some(simulate(layout, WHOLE, phased, Sight::Everything).await?)
    } else {
        None
    };
    let phase = || {
        let text = "the update is phased, and this machine's turn has not come";
        Objection::new("phased", text)
    };
    let left = |have: &Installed, why| {
        let candidate = known.candidate(&have.name, &have.arch).unwrap_or_default().to_owned();
        let kept = KeptBack {
            name: have.name.clone(),
            arch: have.arch.clone(),
            installed: Some(have.version.clone()),
            version: candidate,
            why,
        };
        ((have.name.clone(), have.arch.clone()), kept)
    };
    let entry = |have: &Installed| {
        let why = if held.contains(&full(have)) {
            Objection::new("held", "it is on hold (apt-mark unhold lifts that)")
        } else if deferred(have) {
            phase()
        } else {
            let removes = whole.as_ref().map(|whole| whole.removes.join(", ")).unwrap_or_default();
            let goes =
                whole.iter().flat_map(|whole| &whole.removes).any(|name| have.is_called(name));
            if goes {
                return left(have, Objection::new("removes", REMOVED));
            }
            match (takes(&whole, have), removes.is_empty()) {
                (true, false) => {
                    Objection::new("removes", format!("it would have {removes} removed"))
                }
                (true, true) if takes(&in_phase, have) => recommends(&have.name),
                (true, true) => phase(),
                (false, _) => Objection::new("unmet", "what it depends on cannot be had"),
            }
        };
        left(have, why)
    };
    Ok(have.into_iter().map(entry).collect())
}

/// apt-get upgrade does not do without what is recommended anew.
pub(super) fn recommends(name: &str) -> Objection {
    let text = format!(
        "what it recommends, or what it needs does, cannot be had; `apt-get install {name}` takes it \
         without that"
    );
    Objection::new("unmet", text)
}
