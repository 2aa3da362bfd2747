//! Taking a snapshot of a root on ZFS, and going back to a copy of it.

use super::{
    super::{Layout, PackageError, plans},
    boot,
    dataset::{Dataset, find, pool_of},
    error::{SnapshotError, Unfit},
    root::{Root, gone_back},
    subvolume::source,
    zfs::{self, Pool, Shown},
};
use crate::{core::plan::PlanId, observe::logging::chain};

/// Which file system is the root now, and what its pool has.
pub(super) async fn mounted(layout: &Layout) -> Result<(String, Pool), SnapshotError> {
    let name = source(layout)?.to_str().ok_or(Unfit::NotMounted)?.to_owned();
    let pool = zfs::pool(pool_of(&name)).await?;
    Ok((name, pool))
}

/// Takes a snapshot of the root before a plan, and remembers what `/boot` has in it. What there is of
/// other plans is removed, but not what may be needed yet; a root that was gone back to gets the name
/// of the one that was left for it.
pub(super) async fn take(
    layout: &Layout,
    id: &PlanId,
    root: Dataset,
) -> Result<Dataset, PackageError> {
    let root = settle(layout, root).await?;
    prune(layout, &root, id).await?;
    let boot = boot::digest(&layout.at("boot"))?;
    zfs::snapshot(&root.before(id)).await?;
    Ok(Dataset { boot: Some(boot), ..root })
}

/// Has the next boot start a copy of the snapshot. An error: nothing has changed that the next boot
/// would see. What ZFS has done is durable; what it said is not believed, but what it shows.
pub(super) async fn go_back(
    layout: &Layout,
    id: &PlanId,
    root: &Dataset,
) -> Result<Result<(), SnapshotError>, SnapshotError> {
    let pool = zfs::pool(root.pool()).await?;
    if is_gone_back(root, &pool, id) {
        return Ok(Ok(()));
    }
    let left = pool.next().filter(|next| next.guid == root.guid).ok_or(Unfit::Changed)?;
    let root = Dataset { dataset: left.name.clone(), ..root.clone() };
    let (before, copy) = (root.before(id), root.copy(id));
    pool.named(&before).ok_or(Unfit::Gone)?;
    if root.boot.as_ref() != Some(&boot::digest(&layout.at("boot"))?) {
        return Err(Unfit::BootChanged.into());
    }
    match pool.named(&copy) {
        // One that was cut off has left its copy.
        Some(old) if old.origin.as_ref() == Some(&before) && was_never_started(&copy).await? => {
            zfs::destroy(&copy).await?;
        }
        Some(_) => return Err(Unfit::InTheWay(copy).into()),
        None => (),
    }
    zfs::copy(&before, &copy, id, left).await?;
    let told = zfs::boot(root.pool(), &copy).await;
    match zfs::pool(root.pool()).await {
        Ok(pool) if is_gone_back(&root, &pool, id) => Ok(Ok(())),
        Ok(_) => Err(told.err().unwrap_or_else(|| Unfit::Changed.into())),
        Err(unknown) => Ok(Err(unknown)),
    }
}

/// Does the next boot start the copy, or has one done so?
fn is_gone_back(root: &Dataset, pool: &Pool, id: &PlanId) -> bool {
    pool.next().is_some_and(|next| next.guid != root.guid && next.plan().as_ref() == Some(id))
}

/// [`super::left_behind`], for ZFS, which is asked only where a plan was gone back from.
pub(super) async fn left_behind(layout: &Layout) -> Result<Option<String>, SnapshotError> {
    let zfs = |(id, root)| match root {
        Root::Zfs(root) => Some((id, root)),
        Root::Btrfs(_) | Root::LvmThin(_) => None,
    };
    let back: Vec<(PlanId, Dataset)> = gone_back(layout)?.into_iter().filter_map(zfs).collect();
    if back.is_empty() {
        return Ok(None);
    }
    let (name, pool) = mounted(layout).await?;
    let running = pool.named(&name).ok_or(Unfit::NotMounted)?.guid;
    let left =
        |(id, root): &&(PlanId, Dataset)| root.guid == running && is_gone_back(root, &pool, id);
    Ok(back.iter().find(left).map(|(id, _)| id.short().to_owned()))
}

/// Makes a root that was gone back to stand by itself, removes the one that was left for it, and gives
/// it that one's name. After a power cut at any point what is left of this is done the next time; the
/// next boot goes by the number of the root, and not by its name. What cannot be done is left as it
/// is, and the journal says why.
async fn settle(layout: &Layout, root: Dataset) -> Result<Dataset, SnapshotError> {
    let pool = zfs::pool(root.pool()).await?;
    let shown = pool.numbered(root.guid).ok_or(Unfit::Changed)?;
    let (Some(plan), Some((left, name))) = (shown.plan(), shown.left()) else { return Ok(root) };
    if plans::is_needed(layout, &plan) {
        return Ok(root);
    }
    if let Err(error) = replace(&pool, shown, left, name).await {
        tracing::warn!("the root that was left for {} stays: {}", shown.name, chain(&error));
    }
    let pool = zfs::pool(root.pool()).await?;
    let shown = pool.numbered(root.guid).ok_or(Unfit::Changed)?;
    Ok(find(&pool, &shown.name)?)
}

async fn replace(pool: &Pool, root: &Shown, left: u64, name: &str) -> Result<(), SnapshotError> {
    if let Some(left) = pool.numbered(left) {
        // Somebody has given it another name to keep it, or looks into it.
        let is_left = left.is_file_system() && left.name == name;
        if !is_left || zfs::value(&left.name, "mounted").await? != "no" {
            return Err(Unfit::InUse(left.name.clone()).into());
        }
        let of_left = |origin: &&String| {
            origin.split_once('@').is_some_and(|(dataset, _)| dataset == left.name)
        };
        if let Some(origin) = root.origin.as_ref().filter(of_left) {
            // What was taken since would keep it, and all that was taken before would be the root's then.
            let newest = zfs::newest_snapshot(&left.name).await?;
            if newest.as_ref() != Some(origin) {
                return Err(Unfit::InUse(newest.unwrap_or_default()).into());
            }
            zfs::promote(&root.name).await?;
        }
        zfs::destroy(&left.name).await?;
    }
    if root.name != name {
        zfs::rename(&root.name, name).await?;
    }
    zfs::forget_left(name).await
}

/// Removes the snapshots of all plans but those on trial. What cannot be removed stays; the journal
/// says why.
async fn prune(layout: &Layout, root: &Dataset, keep: &PlanId) -> Result<(), SnapshotError> {
    let pool = zfs::pool(root.pool()).await?;
    for id in pool.datasets.iter().filter_map(|shown| root.taken_for(shown)) {
        if id != *keep && plans::is_needed(layout, &id) {
            continue;
        }
        if let Err(error) = remove(&pool, root, &id).await {
            tracing::warn!("the snapshot {} stays: {}", root.before(&id), chain(&error));
            if id == *keep {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Nobody has written to a copy, and nobody looks into it.
async fn was_never_started(copy: &str) -> Result<bool, SnapshotError> {
    Ok(zfs::value(copy, "written").await? == "0" && zfs::value(copy, "mounted").await? == "no")
}

/// Removes a snapshot, and a copy of it that was never started.
async fn remove(pool: &Pool, root: &Dataset, id: &PlanId) -> Result<(), SnapshotError> {
    let before = root.before(id);
    let copy = pool.named(&root.copy(id)).filter(|copy| copy.origin.as_ref() == Some(&before));
    if let Some(copy) = copy.filter(|copy| pool.next() != Some(*copy)) {
        if !was_never_started(&copy.name).await? {
            return Err(Unfit::InUse(copy.name.clone()).into());
        }
        zfs::destroy(&copy.name).await?;
    }
    zfs::destroy(&before).await
}

/// Removes the snapshot from before a plan that is confirmed: it takes the more room, the more of the
/// root has changed since. One that was gone back to stays, with the root that was left, until the
/// next plan.
pub(super) async fn free(id: &PlanId, root: &Dataset) -> Result<(), SnapshotError> {
    let pool = zfs::pool(root.pool()).await?;
    let is_root = |next: &Shown| next.guid == root.guid && next.name == root.dataset;
    if pool.next().is_some_and(is_root) && pool.named(&root.before(id)).is_some() {
        remove(&pool, root, id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::zfs::tests::{before, copied_root, going, settled, taken},
        *,
    };

    #[test]
    fn a_root_is_gone_back_from_when_the_pool_boots_the_copy_that_was_made_for_that() {
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let root = find(&before(), "lab/ROOT/debian").unwrap();
        let states = [before(), taken(), copied_root(), going(), settled()];
        let gone = states.each_ref().map(|pool| is_gone_back(&root, pool, &id));
        assert_eq!(gone, [false, false, false, true, true]);
        let other = PlanId::parse(&"cd".repeat(32)).unwrap();
        assert!(!is_gone_back(&root, &going(), &other));
        // The copy, once it is the root, was not gone back from.
        let copy = find(&settled(), "lab/ROOT/debian").unwrap();
        assert!(!is_gone_back(&copy, &settled(), &id));
    }
}
