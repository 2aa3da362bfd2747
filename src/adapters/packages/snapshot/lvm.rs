//! LVM's own programs, and what they tell of the volumes.

use serde::Deserialize;

use super::{error::SnapshotError, outside};

/// device-mapper's door. Where it is missing we have no devices at all.
const DOOR: &str = "/dev/mapper/control";
/// What is asked of each volume.
const FIELDS: &str = "vg_name,lv_name,lv_uuid,lv_attr,lv_kernel_major,lv_kernel_minor,pool_lv,origin,\
                      thin_id,data_percent,metadata_percent";

/// A volume as LVM shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Shown {
    #[serde(rename = "vg_name")]
    pub group: String,
    #[serde(rename = "lv_name")]
    pub name: String,
    #[serde(rename = "lv_uuid")]
    pub uuid: String,
    #[serde(rename = "lv_attr")]
    attributes: String,
    #[serde(rename = "lv_kernel_major")]
    major: String,
    #[serde(rename = "lv_kernel_minor")]
    minor: String,
    /// Empty for what is in no pool, as all that follow.
    #[serde(rename = "pool_lv")]
    pub pool: String,
    pub origin: String,
    thin_id: String,
    #[serde(rename = "data_percent")]
    pub data: String,
    #[serde(rename = "metadata_percent")]
    pub metadata: String,
}

impl Shown {
    /// The number it has in its pool, if it is a thin volume.
    pub(super) fn thin(&self) -> Option<u64> {
        self.thin_id.parse().ok()
    }

    /// Is it a snapshot that the next activation of its origin merges? (lvs(8): S)
    pub(super) fn is_merging(&self) -> bool {
        self.attributes.starts_with('S')
    }

    /// Is it the one that the kernel knows by these numbers?
    pub(super) fn is_device(&self, major: u32, minor: u32) -> bool {
        (self.major.parse(), self.minor.parse()) == (Ok(major), Ok(minor))
    }
}

#[derive(Deserialize)]
struct Report {
    report: Vec<Section>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(default)]
    lv: Vec<Shown>,
}

/// All volumes, the hidden ones too.
pub(super) async fn volumes() -> Result<Vec<Shown>, SnapshotError> {
    parse(&run("lvm", &["lvs", "--all", "--reportformat", "json", "--options", FIELDS]).await?)
}

/// What `lvs` has printed. A volume in several pieces has several lines, which are alike in all that
/// counts here.
pub(super) fn parse(text: &str) -> Result<Vec<Shown>, SnapshotError> {
    let report: Report = serde_json::from_str(text).map_err(SnapshotError::Report)?;
    let mut volumes: Vec<Shown> = report.report.into_iter().flat_map(|part| part.lv).collect();
    for volume in &mut volumes {
        // `[name]` is a hidden one.
        for name in [&mut volume.name, &mut volume.pool, &mut volume.origin] {
            *name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        }
    }
    Ok(volumes)
}

/// Which thin volume the kernel has behind a device, by the number in its pool. LVM writes a merge down
/// as ended a while after the boot that has made it.
pub(super) async fn running(major: u32, minor: u32) -> Result<Option<u64>, SnapshotError> {
    let (major, minor) = (major.to_string(), minor.to_string());
    Ok(thin_of(&run("dmsetup", &["table", "--major", &major, "--minor", &minor]).await?))
}

/// `0 4194304 thin 253:2 1`: the number comes last.
fn thin_of(table: &str) -> Option<u64> {
    let words: Vec<&str> = table.split_whitespace().collect();
    match words[..] {
        [_, _, "thin", _, thin] => thin.parse().ok(),
        _ => None,
    }
}

/// Makes a snapshot of a thin volume, which nothing activates: it has the same file system, by its
/// UUID, as its origin.
pub(super) async fn snapshot(of: &str, name: &str) -> Result<(), SnapshotError> {
    let skip = ["--setactivationskip", "y", "--name", name, of];
    run("lvm", &[&["lvcreate", "--yes", "--quiet", "--snapshot"][..], &skip].concat())
        .await
        .map(drop)
}

/// Has a snapshot become what its origin is, when that is activated the next time.
pub(super) async fn merge(snapshot: &str) -> Result<(), SnapshotError> {
    run("lvm", &["lvconvert", "--yes", "--quiet", "--merge", snapshot]).await.map(drop)
}

/// Removes a volume.
pub(super) async fn remove(volume: &str) -> Result<(), SnapshotError> {
    run("lvm", &["lvremove", "--yes", "--quiet", volume]).await.map(drop)
}

async fn run(program: &str, arguments: &[&str]) -> Result<String, SnapshotError> {
    outside::run(DOOR, program, arguments).await
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A root before it had a snapshot, with one, with one that waits for the next boot, and after that.
    pub(in super::super) fn before() -> Vec<Shown> {
        recorded(include_str!("../../../../tests/fixtures/lvm/debian-12/before.json"))
    }

    pub(in super::super) fn taken() -> Vec<Shown> {
        recorded(include_str!("../../../../tests/fixtures/lvm/debian-12/taken.json"))
    }

    pub(in super::super) fn merging() -> Vec<Shown> {
        recorded(include_str!("../../../../tests/fixtures/lvm/debian-12/merging.json"))
    }

    pub(in super::super) fn merged() -> Vec<Shown> {
        recorded(include_str!("../../../../tests/fixtures/lvm/debian-12/merged.json"))
    }

    fn recorded(text: &str) -> Vec<Shown> {
        parse(text).unwrap()
    }

    #[test]
    fn volumes_are_known_by_their_names_whether_hidden_or_not() {
        let names = |volumes: Vec<Shown>| -> Vec<String> {
            volumes.into_iter().map(|volume| volume.name).collect()
        };
        let snapshot = format!("lockkeeper_{}", "ab".repeat(32));
        let hidden = ["lvol0_pmspare", "pool_tdata", "pool_tmeta"];
        for (volumes, has) in
            [(before(), false), (taken(), true), (merging(), true), (merged(), false)]
        {
            let names = names(volumes);
            assert!(hidden.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
            assert_eq!(names.contains(&snapshot), has, "{names:?}");
        }
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("  No volume groups found\n").is_err());
        assert!(parse(r#"{"report":[{"lv":[{"lv_name":"root"}]}]}"#).is_err());
        assert_eq!(parse(r#"{"report":[]}"#).unwrap(), []);
    }

    #[test]
    fn the_kernel_tells_which_thin_volume_is_behind_a_device() {
        assert_eq!(thin_of("0 4194304 thin 253:2 3\n"), Some(3));
        for other in
            ["", "0 204800 linear 254:2 10240\n", "0 6144000 thin-pool 253:0 253:1 128 0 1\n"]
        {
            assert_eq!(thin_of(other), None, "{other}");
        }
        // A volume that was made larger has one piece still; two are not understood.
        assert_eq!(thin_of("0 8 thin 253:2 3\n8 8 thin 253:2 3\n"), None);
    }
}
