//! The folder of a plan: its document, how far its stage and its transaction have come.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Layout, PackageError, durable, snapshot::Arranged, way_back::WayBack};
use crate::{
    adapters::state_file,
    core::{
        channel::followed::Source,
        plan::{Plan, PlanId},
    },
};

const SCHEMA: u32 = 1;

/// A document with the schema its reader checks first.
#[derive(Serialize, Deserialize)]
struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize, Deserialize)]
struct Attempts {
    started: u32,
}

#[derive(Serialize, Deserialize)]
struct Holds {
    held: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Chosen {
    by: String,
}

#[derive(Serialize, Deserialize)]
struct Of {
    release: Source,
}

#[derive(Serialize, Deserialize)]
struct Nothing {}

/// Which of the two transactions of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the plan.
    There,
    /// Back to what was before.
    Back,
}

impl Way {
    fn attempts(self) -> &'static str {
        match self {
            Self::There => "attempts.json",
            Self::Back => "back-attempts.json",
        }
    }

    fn result(self) -> &'static str {
        match self {
            Self::There => "result.json",
            Self::Back => "back-result.json",
        }
    }
}

/// How a transaction ended: the plan's own, or the way back from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Every package is as it should be.
    #[serde(alias = "applied")]
    Complete,
    /// Nothing was changed.
    Refused {
        /// Why.
        reason: String,
    },
    /// The system was, or may have been, changed, and is not as it should be.
    Failed {
        /// Why.
        reason: String,
    },
}

fn file(layout: &Layout, id: &PlanId, name: &str) -> PathBuf {
    layout.plan(id).join(name)
}

fn write<T: Serialize>(path: &std::path::Path, content: T) -> Result<(), PackageError> {
    Ok(state_file::write(path, &Document { schema: SCHEMA, content })?)
}

fn read<T: for<'a> Deserialize<'a>>(path: &std::path::Path) -> Result<Option<T>, PackageError> {
    Ok(state_file::read::<Document<T>>(path, SCHEMA)?.map(|document| document.content))
}

/// Writes a plan down, the identity of the rules it was chosen by, and the release it is of, if it is of
/// one; it can be staged from now on. One whose transaction is under way stays as it is: from which versions that goes is decided.
pub fn remember(
    layout: &Layout,
    plan: &Plan,
    choice: &str,
    release: Option<&Source>,
) -> Result<(), PackageError> {
    if is_under_way(layout, &plan.id)? {
        return Ok(());
    }
    let folder = layout.plan(&plan.id);
    if !folder.exists() {
        durable::folder(&folder)?;
        durable::sync(&layout.plans())?;
    }
    set_source(layout, &plan.id, release)?;
    write(&folder.join("chosen.json"), Chosen { by: choice.to_owned() })?;
    write(&folder.join("plan.json"), plan)
}

/// Identity of the rules that a plan was chosen by last; `None` when nobody has written it down.
pub fn choice(layout: &Layout, id: &PlanId) -> Result<Option<String>, PackageError> {
    Ok(read::<Chosen>(&file(layout, id, "chosen.json"))?.map(|chosen| chosen.by))
}

/// Writes down which release a plan is of; `None`: of none.
fn set_source(layout: &Layout, id: &PlanId, release: Option<&Source>) -> Result<(), PackageError> {
    let path = file(layout, id, "release.json");
    match release {
        Some(release) => write(&path, Of { release: release.clone() }),
        None => Ok(state_file::remove(&path)?),
    }
}

/// The release that a plan is of, if it is of one.
pub fn source(layout: &Layout, id: &PlanId) -> Result<Option<Source>, PackageError> {
    Ok(read::<Of>(&file(layout, id, "release.json"))?.map(|of| of.release))
}

/// Reads a plan back, and makes sure that it is the one its id names.
pub fn load(layout: &Layout, id: &PlanId) -> Result<Plan, PackageError> {
    let plan: Plan =
        read(&file(layout, id, "plan.json"))?.ok_or_else(|| PackageError::NoPlan(id.clone()))?;
    if plan.id != *id || PlanId::of(&plan.packages, &plan.removes) != *id {
        let why = "plan.json does not have the digest it is named by".to_owned();
        return Err(PackageError::Damaged { id: id.clone(), why });
    }
    Ok(plan)
}

/// Has the stage been published?
#[must_use]
pub fn is_staged(layout: &Layout, id: &PlanId) -> bool {
    file(layout, id, "staged").exists()
}

/// Publishes the stage, durably.
pub fn publish(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    write(&file(layout, id, "staged"), Nothing {})
}

/// Takes back the publication, before anything of the stage changes.
pub fn withdraw(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    Ok(state_file::remove(&file(layout, id, "staged"))?)
}

/// How often a transaction of the plan has been started.
pub fn attempts(layout: &Layout, id: &PlanId, way: Way) -> Result<u32, PackageError> {
    Ok(read::<Attempts>(&file(layout, id, way.attempts()))?.map_or(0, |a| a.started))
}

/// Writes down how often it has been started, before it is.
pub fn count_attempts(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    started: u32,
) -> Result<(), PackageError> {
    write(&file(layout, id, way.attempts()), Attempts { started })
}

/// How the transaction ended, if it has.
pub fn result(layout: &Layout, id: &PlanId, way: Way) -> Result<Option<Outcome>, PackageError> {
    read(&file(layout, id, way.result()))
}

/// Writes down how the transaction ended.
pub fn set_result(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    outcome: &Outcome,
) -> Result<(), PackageError> {
    write(&file(layout, id, way.result()), outcome)
}

/// Forgets an ended transaction, so that it can be made afresh. The count goes first: cut off in
/// between, the result still stands.
pub fn forget_result(layout: &Layout, id: &PlanId, way: Way) -> Result<(), PackageError> {
    state_file::remove(&file(layout, id, way.attempts()))?;
    if way == Way::Back {
        state_file::remove(&file(layout, id, "holds.json"))?;
    }
    Ok(state_file::remove(&file(layout, id, way.result()))?)
}

/// Has a transaction of the plan begun, and not ended?
pub fn is_under_way(layout: &Layout, id: &PlanId) -> Result<bool, PackageError> {
    let open = |way| -> Result<bool, PackageError> {
        Ok(attempts(layout, id, way)? > 0 && result(layout, id, way)?.is_none())
    };
    Ok(open(Way::There)? || open(Way::Back)?)
}

/// Has the way back from the plan been begun, and not refused?
pub fn is_gone_back_from(layout: &Layout, id: &PlanId) -> Result<bool, PackageError> {
    let refused = matches!(result(layout, id, Way::Back)?, Some(Outcome::Refused { .. }));
    Ok(attempts(layout, id, Way::Back)? > 0 && !refused)
}

/// Writes down what leads back from a plan.
pub fn set_way_back(layout: &Layout, id: &PlanId, back: &WayBack) -> Result<(), PackageError> {
    write(&file(layout, id, "back.json"), back)
}

/// What leads back from a plan, if it was staged.
pub fn way_back(layout: &Layout, id: &PlanId) -> Result<Option<WayBack>, PackageError> {
    read(&file(layout, id, "back.json"))
}

/// Writes down that a plan begins with a snapshot, or that it was taken.
pub fn set_snapshot(layout: &Layout, id: &PlanId, arranged: &Arranged) -> Result<(), PackageError> {
    write(&file(layout, id, "snapshot.json"), arranged)
}

/// The snapshot that a plan begins with, if that is arranged.
pub fn snapshot(layout: &Layout, id: &PlanId) -> Result<Option<Arranged>, PackageError> {
    read(&file(layout, id, "snapshot.json"))
}

/// A plan begins without a snapshot.
pub fn forget_snapshot(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    Ok(state_file::remove(&file(layout, id, "snapshot.json"))?)
}

/// Writes down which packages the admin held before the way back was begun.
pub fn set_holds(layout: &Layout, id: &PlanId, held: &[String]) -> Result<(), PackageError> {
    write(&file(layout, id, "holds.json"), Holds { held: held.to_vec() })
}

/// The packages the admin held before the way back was begun, if it was.
pub fn holds(layout: &Layout, id: &PlanId) -> Result<Option<Vec<String>>, PackageError> {
    Ok(read::<Holds>(&file(layout, id, "holds.json"))?.map(|holds| holds.held))
}

/// Is the plan installed, or half installed, and not confirmed? Its way back may be needed.
fn is_on_trial(layout: &Layout, id: &PlanId) -> Result<bool, PackageError> {
    let begun =
        matches!(result(layout, id, Way::There)?, Some(Outcome::Complete | Outcome::Failed { .. }));
    Ok(begun && way_back(layout, id)?.is_some())
}

/// Is its transaction under way, or may its way back be needed? One whose documents cannot be read
/// counts.
#[must_use]
pub fn is_needed(layout: &Layout, id: &PlanId) -> bool {
    is_under_way(layout, id).unwrap_or(true) || is_on_trial(layout, id).unwrap_or(true)
}

/// Removes all plans but `keep`, and but those whose transaction is under way or that have not been
/// confirmed since.
pub fn prune(layout: &Layout, keep: &PlanId) -> Result<(), PackageError> {
    let path = layout.plans();
    for entry in fs::read_dir(&path).map_err(PackageError::io("read", &path))? {
        let entry = entry.map_err(PackageError::io("read", &path))?;
        let Some(id) = entry.file_name().to_str().and_then(|name| PlanId::parse(name).ok()) else {
            continue;
        };
        if id != *keep && !is_needed(layout, &id) {
            withdraw(layout, &id)?;
            durable::remove(&entry.path())?;
        }
    }
    Ok(())
}
