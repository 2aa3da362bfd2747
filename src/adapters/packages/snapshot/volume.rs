//! Which thin volume the root is, and how full its pool is.

use serde::{Deserialize, Serialize};

use super::{error::Unfit, lvm::Shown};
use crate::core::plan::PlanId;

/// How full a pool may be, in percent, of data and of metadata: a full one stops the root.
const FULL: f64 = 80.0;

/// The thin volume that is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its group.
    pub group: String,
    /// Its name.
    pub volume: String,
    /// LVM's own name for it, which outlives all others.
    pub uuid: String,
    /// Its number in the pool: that of the snapshot, when that has been merged.
    pub thin: u64,
    /// What `/boot` had in it when the snapshot was taken.
    #[serde(default)]
    pub boot: Option<String>,
}

impl Volume {
    /// The snapshot from before a plan.
    pub(super) fn before(&self, id: &PlanId) -> String {
        format!("{}/{}", self.group, snapshot_name(id))
    }

    /// For LVM.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.group, self.volume)
    }

    /// The snapshot from before a plan, among all volumes, if it is one of this root.
    pub(super) fn snapshot<'a>(&self, volumes: &'a [Shown], id: &PlanId) -> Option<&'a Shown> {
        volumes.iter().find(|shown| self.snapshot_is(shown, id))
    }

    /// Is it the snapshot from before a plan, and one of this root?
    pub(super) fn snapshot_is(&self, shown: &Shown, id: &PlanId) -> bool {
        (&shown.group, &shown.origin) == (&self.group, &self.volume)
            && shown.name == snapshot_name(id)
    }
}

/// Without a hyphen: device-mapper has each twice, and names have an end.
const PREFIX: &str = "lockkeeper_";

/// What a snapshot is called, in the group of its root.
pub(super) fn snapshot_name(id: &PlanId) -> String {
    format!("{PREFIX}{id}")
}

/// The plan that a snapshot was taken before.
pub(super) fn taken_for(shown: &Shown) -> Option<PlanId> {
    PlanId::parse(shown.name.strip_prefix(PREFIX)?).ok()
}

/// The root's volume, by the numbers of its device, if its pool has room for a snapshot.
pub(super) fn find(volumes: &[Shown], major: u32, minor: u32) -> Result<Volume, Unfit> {
    let root = volumes.iter().find(|shown| shown.is_device(major, minor)).ok_or(Unfit::NotThin)?;
    let thin = root.thin().ok_or(Unfit::NotThin)?;
    let is_pool = |shown: &&Shown| shown.group == root.group && shown.name == root.pool;
    let pool = volumes.iter().find(is_pool).ok_or(Unfit::NotThin)?;
    for (what, percent) in [("data", &pool.data), ("metadata", &pool.metadata)] {
        // One that cannot be told is none.
        if !percent.parse().is_ok_and(|percent: f64| percent < FULL) {
            return Err(Unfit::Full { pool: pool.name.clone(), what, percent: percent.clone() });
        }
    }
    Ok(Volume {
        group: root.group.clone(),
        volume: root.name.clone(),
        uuid: root.uuid.clone(),
        thin,
        boot: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::lvm::tests::{before, merged, merging, taken},
        *,
    };

    #[test]
    fn the_root_is_the_thin_volume_with_the_numbers_of_its_device() {
        let root = find(&before(), 253, 4).unwrap();
        assert_eq!((root.path(), root.thin), ("lab/root".to_owned(), 1));
        assert_eq!(root, find(&taken(), 253, 4).unwrap());
        assert_eq!(root, find(&merging(), 253, 4).unwrap());
        // The snapshot that was merged has the root's name, and LVM's own, and keeps its number; the
        // device has others after each boot.
        assert_eq!(find(&merged(), 253, 6).unwrap(), Volume { thin: 3, ..root });
        // The pool, a volume in no pool, a partition.
        for (major, minor) in [(253, 2), (253, 6), (254, 1)] {
            assert_eq!(find(&before(), major, minor), Err(Unfit::NotThin), "{minor}");
        }
    }

    #[test]
    fn a_pool_that_is_nearly_full_or_does_not_tell_takes_no_snapshot() {
        type Field = fn(&mut Shown) -> &mut String;
        let fields: [(&str, Field); 2] =
            [("data", |pool| &mut pool.data), ("metadata", |pool| &mut pool.metadata)];
        for (what, field) in fields {
            for (percent, fits) in [("79.99", true), ("80.00", false), ("100", false), ("", false)]
            {
                let mut volumes = before();
                let pool = volumes.iter_mut().find(|shown| shown.name == "pool").unwrap();
                percent.clone_into(field(pool));
                let found = find(&volumes, 253, 4);
                if fits {
                    assert!(found.is_ok(), "{what} {percent}: {found:?}");
                } else {
                    let (pool, percent) = ("pool".to_owned(), percent.to_owned());
                    assert_eq!(found, Err(Unfit::Full { pool, what, percent }));
                }
            }
        }
        let volumes: Vec<Shown> = before().into_iter().filter(|v| v.name != "pool").collect();
        assert_eq!(find(&volumes, 253, 4), Err(Unfit::NotThin));
    }

    #[test]
    fn a_snapshot_is_one_of_this_root_and_of_that_plan() {
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let root = find(&before(), 253, 4).unwrap();
        assert_eq!(root.snapshot(&before(), &id), None);
        let volumes = taken();
        let snapshot = root.snapshot(&volumes, &id).unwrap();
        assert_eq!(taken_for(snapshot), Some(id.clone()));
        let other = Volume { volume: "agent".to_owned(), ..root.clone() };
        assert_eq!(other.snapshot(&volumes, &id), None);
        let other = PlanId::parse(&"cd".repeat(32)).unwrap();
        assert_eq!(root.snapshot(&volumes, &other), None);
        assert!(volumes.iter().filter(|shown| taken_for(shown).is_some()).eq([snapshot]));
    }
}
