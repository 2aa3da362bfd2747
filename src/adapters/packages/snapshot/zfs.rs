//! ZFS's own programs, and what they tell of a pool.

use super::{error::SnapshotError, outside};
use crate::core::plan::PlanId;

/// The door of the kernel's module. Where it is missing we have no devices at all.
const DOOR: &str = "/dev/zfs";
/// What is asked of each dataset.
const FIELDS: &str =
    "name,type,guid,origin,mountpoint,canmount,org.lockkeeper:plan,org.lockkeeper:left";
/// On the copy of a snapshot: the plan that is gone back from with it.
const PLAN: &str = "org.lockkeeper:plan";
/// On the copy of a snapshot: number and name of the root that is left for it.
const LEFT: &str = "org.lockkeeper:left";
/// What a copy does not have of its root: room that is set aside would be so twice, and where a key
/// lies is known by the dataset that it belongs to.
const NOT_COPIED: [&str; 5] = ["reservation", "refreservation", "keylocation", PLAN, LEFT];

/// A pool as ZFS shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// The file system that its property `bootfs` names, if it does.
    pub bootfs: Option<String>,
    /// All that is in it.
    pub datasets: Vec<Shown>,
}

/// A file system, a volume or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub name: String,
    kind: String,
    /// The number that it keeps whatever it is called.
    pub guid: u64,
    /// The snapshot that it began as.
    pub origin: Option<String>,
    pub mountpoint: String,
    pub canmount: String,
    plan: String,
    left: String,
}

impl Shown {
    /// Is it a file system, and no snapshot or volume?
    pub(super) fn is_file_system(&self) -> bool {
        self.kind == "filesystem"
    }

    /// The plan that was gone back from with it, if it is a copy of a snapshot of ours.
    pub(super) fn plan(&self) -> Option<PlanId> {
        self.is_file_system().then(|| PlanId::parse(&self.plan).ok()).flatten()
    }

    /// Number and name of the root that was left for it, if it is a copy of a snapshot of ours.
    pub(super) fn left(&self) -> Option<(u64, &str)> {
        let (guid, name) = self.left.split_once(' ')?;
        self.is_file_system().then_some((guid.parse().ok()?, name))
    }
}

/// A pool, and what is in it.
pub(super) async fn pool(name: &str) -> Result<Pool, SnapshotError> {
    let bootfs = run("zpool", &["get", "-H", "-o", "value", "bootfs", name]).await?;
    let all = ["list", "-H", "-p", "-r", "-t", "filesystem,volume,snapshot", "-o", FIELDS, name];
    parse(&bootfs, &run("zfs", &all).await?)
}

/// The pools that name a file system to boot from.
pub(super) async fn bootable() -> Result<Vec<String>, SnapshotError> {
    let all = run("zpool", &["list", "-H", "-o", "name,bootfs"]).await?;
    let pools = all.lines().filter_map(|line| line.split_once('\t'));
    Ok(pools.filter(|(_, bootfs)| *bootfs != "-").map(|(name, _)| name.to_owned()).collect())
}

/// One property of a dataset, in numbers where it is one.
pub(super) async fn value(name: &str, property: &str) -> Result<String, SnapshotError> {
    let said = run("zfs", &["get", "-H", "-p", "-o", "value", property, name]).await?;
    Ok(said.trim().to_owned())
}

/// The snapshot of a file system that was taken last.
pub(super) async fn newest_snapshot(name: &str) -> Result<Option<String>, SnapshotError> {
    let by_time =
        ["list", "-H", "-t", "snapshot", "-d", "1", "-o", "name", "-s", "createtxg", name];
    Ok(run("zfs", &by_time).await?.lines().last().map(str::to_owned))
}

/// What `zpool get` and `zfs list` have printed.
pub(super) fn parse(bootfs: &str, list: &str) -> Result<Pool, SnapshotError> {
    let unknown = |line: &str| SnapshotError::Dataset(line.to_owned());
    let bootfs = match bootfs.trim_end_matches('\n') {
        "" => return Err(unknown(bootfs)),
        "-" => None,
        name => Some(name.to_owned()),
    };
    let dataset = |line: &str| shown(line).ok_or_else(|| unknown(line));
    Ok(Pool { bootfs, datasets: list.lines().map(dataset).collect::<Result<_, _>>()? })
}

fn shown(line: &str) -> Option<Shown> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[name, kind, guid, origin, mountpoint, canmount, plan, left] = &fields[..] else {
        return None;
    };
    Some(Shown {
        name: name.to_owned(),
        kind: kind.to_owned(),
        guid: guid.parse().ok()?,
        origin: (origin != "-").then(|| origin.to_owned()),
        mountpoint: mountpoint.to_owned(),
        canmount: canmount.to_owned(),
        plan: plan.to_owned(),
        left: left.to_owned(),
    })
}

/// Makes a snapshot; durable.
pub(super) async fn snapshot(name: &str) -> Result<(), SnapshotError> {
    run("zfs", &["snapshot", name]).await.map(drop)
}

/// Makes a file system of a snapshot, with what was set for the one it is a snapshot of; durable. It
/// says which plan it is for, and which root is left for it. Nothing mounts it.
pub(super) async fn copy(
    snapshot: &str,
    name: &str,
    plan: &PlanId,
    left: &Shown,
) -> Result<(), SnapshotError> {
    let set =
        ["get", "-H", "-p", "-s", "local,received", "-o", "property,value", "all", &left.name];
    let mut options = copied(&run("zfs", &set).await?);
    options.push(format!("{PLAN}={plan}"));
    options.push(format!("{LEFT}={} {}", left.guid, left.name));
    let mut arguments = vec!["clone"];
    arguments.extend(options.iter().flat_map(|option| ["-o", option.as_str()]));
    arguments.extend([snapshot, name]);
    run("zfs", &arguments).await.map(drop)
}

/// The properties a copy gets, of those that are set for its root.
fn copied(set: &str) -> Vec<String> {
    let properties = set.lines().filter_map(|line| line.split_once('\t'));
    let copied = properties.filter(|(property, _)| !NOT_COPIED.contains(property));
    copied.map(|(property, value)| format!("{property}={value}")).collect()
}

/// Has the next boot start a file system; durable, and in one step.
pub(super) async fn boot(pool: &str, name: &str) -> Result<(), SnapshotError> {
    run("zpool", &["set", &format!("bootfs={name}"), pool]).await.map(drop)
}

/// Makes a copy stand by itself: what it began as is a snapshot of its own then.
pub(super) async fn promote(name: &str) -> Result<(), SnapshotError> {
    run("zfs", &["promote", name]).await.map(drop)
}

/// Gives a file system another name, without mounting anything anew.
pub(super) async fn rename(name: &str, to: &str) -> Result<(), SnapshotError> {
    run("zfs", &["rename", "-u", name, to]).await.map(drop)
}

/// No root is left for a file system any more.
pub(super) async fn forget_left(name: &str) -> Result<(), SnapshotError> {
    run("zfs", &["inherit", LEFT, name]).await.map(drop)
}

/// Removes a snapshot, or a file system that has none, and nothing else with it.
pub(super) async fn destroy(name: &str) -> Result<(), SnapshotError> {
    run("zfs", &["destroy", name]).await.map(drop)
}

async fn run(program: &str, arguments: &[&str]) -> Result<String, SnapshotError> {
    outside::run(DOOR, program, arguments).await
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A root before it had a snapshot, with one, with a copy of that, with the copy to be booted, and
    /// after that when the copy has taken the place of the root that was left.
    pub(in super::super) fn before() -> Pool {
        recorded(include_str!("../../../../tests/fixtures/zfs/debian-12/before.txt"))
    }

    pub(in super::super) fn taken() -> Pool {
        recorded(include_str!("../../../../tests/fixtures/zfs/debian-12/taken.txt"))
    }

    pub(in super::super) fn copied_root() -> Pool {
        recorded(include_str!("../../../../tests/fixtures/zfs/debian-12/copied.txt"))
    }

    pub(in super::super) fn going() -> Pool {
        recorded(include_str!("../../../../tests/fixtures/zfs/debian-12/going.txt"))
    }

    pub(in super::super) fn settled() -> Pool {
        recorded(include_str!("../../../../tests/fixtures/zfs/debian-12/settled.txt"))
    }

    fn recorded(text: &str) -> Pool {
        let (bootfs, list) = text.split_once('\n').unwrap();
        parse(bootfs, list).unwrap()
    }

    #[test]
    fn a_copy_tells_which_plan_it_is_for_and_what_was_left_for_it() {
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let tells = |pool: &Pool| -> Vec<String> {
            let all = pool.datasets.iter().filter(|shown| shown.plan() == Some(id.clone()));
            all.map(|shown| shown.name.clone()).collect()
        };
        assert_eq!(tells(&taken()), Vec::<String>::new());
        let copy = format!("lab/ROOT/lockkeeper_{id}");
        for pool in [copied_root(), going()] {
            assert_eq!(tells(&pool), std::slice::from_ref(&copy));
            let [root, copy] = ["lab/ROOT/debian", &copy].map(|name| pool.named(name).unwrap());
            assert_eq!(copy.left(), Some((root.guid, "lab/ROOT/debian")));
            assert_eq!(copy.origin, Some(format!("lab/ROOT/debian@lockkeeper_{id}")));
            assert_eq!((root.plan(), root.left(), &root.origin), (None, None, &None));
        }
        assert_eq!(tells(&settled()), ["lab/ROOT/debian"]);
        assert_eq!(settled().named("lab/ROOT/debian").unwrap().left(), None);
    }

    #[test]
    fn what_is_no_dataset_is_an_error() {
        assert!(parse("", "").is_err());
        assert!(parse("-\n", "no datasets available\n").is_err());
        assert!(parse("-\n", "lab\tfilesystem\tmany\t-\tnone\ton\t-\t-\n").is_err());
        assert_eq!(parse("-\n", "").unwrap(), Pool { bootfs: None, datasets: vec![] });
        let pool = parse("lab/a b\n", "lab/a b\tfilesystem\t7\t-\tnone\ton\t-\t-\n").unwrap();
        assert_eq!(pool.next().unwrap().guid, 7);
    }

    #[test]
    fn a_copy_gets_what_is_set_for_its_root_but_room_and_what_we_have_said_of_another() {
        let set = "mountpoint\t/\ncanmount\tnoauto\nreservation\t1024\norg.lockkeeper:left\t7 lab\n\
                   org.example:note\ta b\n";
        assert_eq!(copied(set), ["mountpoint=/", "canmount=noauto", "org.example:note=a b"]);
    }
}
