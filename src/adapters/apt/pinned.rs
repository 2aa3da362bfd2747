//! Updates that a pin on a package keeps away (`apt_preferences(5)`). apt does not count them among
//! what it keeps back: for apt they are none.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    AptError, Layout, hidden,
    installed::{self, Installed},
    releases, version,
};
use crate::core::choice::{KeptBack, Objection};

/// What would be an update if nobody had said anything about the package, and is none. Pins on whole
/// archives count: what is only in an archive that is not preferred is no update.
pub(super) async fn find(layout: &Layout) -> Result<Vec<KeptBack>, AptError> {
    let (file, folder) = hidden::own(layout).await?;
    if is_empty(&file, &folder) {
        return Ok(Vec::new());
    }
    let installed = installed::query(layout).await?;
    let have: Vec<&Installed> = installed.iter().filter(|have| have.is_complete()).collect();
    let names: BTreeSet<String> = have.iter().map(|p| format!("{}:{}", p.name, p.arch)).collect();
    let known = releases::look_up(layout, names.into_iter()).await?;
    let update = |have: &&Installed| {
        let newer = |candidate: &&str| version::compare(candidate, &have.version).is_gt();
        let version = known.unpinned(&have.name, &have.arch).filter(newer)?;
        if known.candidate(&have.name, &have.arch).is_some_and(|pinned| newer(&pinned)) {
            return None;
        }
        let text = "a pin in the system's preferences keeps it away";
        Some(KeptBack {
            name: have.name.clone(),
            arch: have.arch.clone(),
            installed: Some(have.version.clone()),
            version: version.to_owned(),
            why: Objection::new("pinned", text),
        })
    };
    Ok(have.iter().filter_map(update).collect())
}

/// Most systems have no preferences, and need not be asked about all packages.
fn is_empty(file: &Path, folder: &Path) -> bool {
    let has_some = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut all| all.next().is_some());
    !file.exists() && !has_some(folder)
}
