//! Which file system of ZFS the root is, and whether the next boot asks the pool for it.

use serde::{Deserialize, Serialize};

use super::{
    error::Unfit,
    zfs::{Pool, Shown},
};
use crate::core::plan::PlanId;

/// What asks the pool, at the kernel's command line.
const ASK: &str = "zfs:AUTO";
/// What snapshots and their copies are called, with the plan behind it.
const PREFIX: &str = "lockkeeper_";

/// The file system that is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its name, with its pool in front (`rpool/ROOT/debian`).
    pub dataset: String,
    /// Its number, which stays when its name changes.
    pub guid: u64,
    /// What `/boot` had in it when the snapshot was taken.
    #[serde(default)]
    pub boot: Option<String>,
}

impl Dataset {
    /// The pool that it is in.
    pub(super) fn pool(&self) -> &str {
        pool_of(&self.dataset)
    }

    /// The snapshot from before a plan.
    pub(super) fn before(&self, id: &PlanId) -> String {
        format!("{}@{PREFIX}{id}", self.dataset)
    }

    /// The copy of that snapshot that the next boot starts, to go back: beside the root.
    pub(super) fn copy(&self, id: &PlanId) -> String {
        let beside = self.dataset.rsplit_once('/').map_or(self.pool(), |(beside, _)| beside);
        format!("{beside}/{PREFIX}{id}")
    }

    /// The plan that a snapshot of this root was taken before.
    pub(super) fn taken_for(&self, shown: &Shown) -> Option<PlanId> {
        let rest = shown.name.strip_prefix(&self.dataset)?.strip_prefix('@')?;
        PlanId::parse(rest.strip_prefix(PREFIX)?).ok()
    }
}

/// The pool of a dataset.
pub(super) fn pool_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

impl Pool {
    /// Whatever has this name.
    pub(super) fn named(&self, name: &str) -> Option<&Shown> {
        self.datasets.iter().find(|shown| shown.name == name)
    }

    /// Whatever has this number.
    pub(super) fn numbered(&self, guid: u64) -> Option<&Shown> {
        self.datasets.iter().find(|shown| shown.guid == guid)
    }

    /// What the next boot starts.
    pub(super) fn next(&self) -> Option<&Shown> {
        self.named(self.bootfs.as_ref()?)
    }
}

/// The root, by its name, if it can be left for another file system by `bootfs` alone.
pub(super) fn find(pool: &Pool, name: &str) -> Result<Dataset, Unfit> {
    let root = pool.named(name).filter(|shown| shown.is_file_system()).ok_or(Unfit::NotMounted)?;
    if pool.next() != Some(root) {
        return Err(Unfit::NotBootfs(name.to_owned()));
    }
    // Otherwise the root that is left would be mounted over the one that is gone back to.
    if (&*root.mountpoint, &*root.canmount) != ("/", "noauto") {
        return Err(Unfit::MountedByItself(name.to_owned()));
    }
    let below = format!("{name}/");
    if let Some(inner) = pool.datasets.iter().find(|shown| shown.name.starts_with(&below)) {
        return Err(Unfit::Below(inner.name.clone()));
    }
    Ok(Dataset { dataset: name.to_owned(), guid: root.guid, boot: None })
}

/// Does the next boot ask this pool, and no other, which file system it is to start? `bootable`: the
/// pools that have an answer.
pub(super) fn asks_the_pool(cmdline: &str, pool: &str, bootable: &[String]) -> Result<(), Unfit> {
    let last = |key: &str| {
        cmdline.split_whitespace().filter_map(|word| word.strip_prefix(key)).next_back()
    };
    if last("root=") != Some(ASK) {
        return Err(Unfit::NotByBootfs);
    }
    match last("rpool=") {
        Some(named) if named == pool => Ok(()),
        Some(_) => Err(Unfit::NotByBootfs),
        None => match bootable.iter().find(|other| *other != pool) {
            Some(other) => Err(Unfit::AnotherPool(other.clone())),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::zfs::tests::{before, going, settled, taken},
        *,
    };

    const ROOT: &str = "lab/ROOT/debian";

    #[test]
    fn the_root_is_what_the_pool_boots_and_keeps_its_number() {
        let root = find(&before(), ROOT).unwrap();
        assert_eq!(find(&taken(), ROOT).unwrap(), root);
        assert_eq!(find(&going(), ROOT), Err(Unfit::NotBootfs(ROOT.to_owned())));
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let copy = find(&going(), &root.copy(&id)).unwrap();
        assert_ne!(copy.guid, root.guid);
        assert_eq!(find(&settled(), ROOT).unwrap(), Dataset { dataset: ROOT.to_owned(), ..copy });
        for other in ["lab/ROOT/other", "lab/ROOT/debian@other"] {
            assert_eq!(find(&taken(), other), Err(Unfit::NotMounted), "{other}");
        }
        assert_eq!(find(&taken(), "lab/srv"), Err(Unfit::NotBootfs("lab/srv".to_owned())));
    }

    #[test]
    fn a_root_that_would_stay_mounted_or_have_others_below_is_none_to_go_back_from() {
        type Change = fn(&mut Shown);
        let changes: [Change; 3] = [
            |root| root.canmount = "on".to_owned(),
            |root| root.mountpoint = "legacy".to_owned(),
            |root| root.mountpoint = "/mnt".to_owned(),
        ];
        for change in changes {
            let mut pool = before();
            change(pool.datasets.iter_mut().find(|shown| shown.name == ROOT).unwrap());
            assert_eq!(find(&pool, ROOT), Err(Unfit::MountedByItself(ROOT.to_owned())));
        }
        let mut pool = before();
        let inner = format!("{ROOT}/var");
        let mut below = pool.named("lab/srv").unwrap().clone();
        below.name.clone_from(&inner);
        pool.datasets.push(below);
        assert_eq!(find(&pool, ROOT), Err(Unfit::Below(inner)));
    }

    #[test]
    fn a_snapshot_is_one_of_this_root_and_of_a_plan() {
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let of = |root: &Dataset, pool: &Pool| -> Vec<PlanId> {
            pool.datasets.iter().filter_map(|shown| root.taken_for(shown)).collect()
        };
        let root = find(&before(), ROOT).unwrap();
        assert_eq!(of(&root, &before()), []);
        assert_eq!(of(&root, &taken()), std::slice::from_ref(&id));
        assert!(taken().named(&root.before(&id)).is_some());
        let other = Dataset { dataset: "lab/ROOT/deb".to_owned(), ..root.clone() };
        assert_eq!(of(&other, &taken()), []);
        assert_eq!((root.pool(), root.copy(&id)), ("lab", format!("lab/ROOT/lockkeeper_{id}")));
    }

    #[test]
    fn only_a_boot_that_asks_this_pool_can_be_led_elsewhere() {
        let not = || Err(Unfit::NotByBootfs);
        let other = || Err(Unfit::AnotherPool("data".to_owned()));
        for (cmdline, bootable, expected) in [
            ("BOOT_IMAGE=/vmlinuz root=zfs:AUTO rw quiet", vec!["rpool"], Ok(())),
            ("root=ZFS=rpool/ROOT/debian ro root=zfs:AUTO", vec!["rpool"], Ok(())),
            ("root=zfs:AUTO root=ZFS=rpool/ROOT/debian", vec!["rpool"], not()),
            ("root=ZFS=rpool/ROOT/debian", vec!["rpool"], not()),
            ("root=zfs:rpool/ROOT/debian", vec!["rpool"], not()),
            ("quiet", vec!["rpool"], not()),
            ("root=zfs:AUTO", vec!["data", "rpool"], other()),
            ("root=zfs:AUTO rpool=rpool", vec!["data", "rpool"], Ok(())),
            ("root=zfs:AUTO rpool=data", vec!["data", "rpool"], not()),
        ] {
            let bootable: Vec<String> = bootable.into_iter().map(str::to_owned).collect();
            assert_eq!(asks_the_pool(cmdline, "rpool", &bootable), expected, "{cmdline}");
        }
    }
}
