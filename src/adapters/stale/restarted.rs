//! What was restarted for an update, or was about to be, in a file: nothing is restarted twice,
//! whatever a scan says afterwards.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::LookError;
use crate::adapters::{state_file, systemd::boot};

/// Where the executor keeps it on an installed system.
pub const RESTARTED: &str = "/var/lib/lockkeeper-executor/restarted.json";

/// Format of [`Restarted`].
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Restarted {
    schema: u32,
    boot_id: String,
    units: Vec<String>,
}

/// The units restarted for the last update of this boot.
pub fn read(path: &Path) -> Result<Vec<String>, LookError> {
    let noted: Option<Restarted> = state_file::read(path, SCHEMA)?;
    let boot_id = boot::boot_id()?;
    Ok(noted.filter(|noted| noted.boot_id == boot_id).map(|noted| noted.units).unwrap_or_default())
}

/// Writes down durably what is restarted next.
pub fn note(path: &Path, names: &[String]) -> Result<(), LookError> {
    let mut units = read(path)?;
    units.extend_from_slice(names);
    let noted = Restarted { schema: SCHEMA, boot_id: boot::boot_id()?, units };
    Ok(state_file::write(path, &noted)?)
}

/// Another set of files is coming: what was restarted for the last one may be restarted for it.
pub fn forget(path: &Path) -> Result<(), LookError> {
    Ok(state_file::remove(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_restarted_in_this_boot_is_known_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restarted.json");
        assert_eq!(read(&path).unwrap(), [""; 0]);
        note(&path, &["a.service".to_owned()]).unwrap();
        note(&path, &["b.service".to_owned()]).unwrap();
        assert_eq!(read(&path).unwrap(), ["a.service", "b.service"]);
        let text = std::fs::read_to_string(&path).unwrap();
        let other = text.replace(&boot::boot_id().unwrap(), "another boot");
        std::fs::write(&path, other).unwrap();
        assert_eq!(read(&path).unwrap(), [""; 0]);
        forget(&path).unwrap();
        assert!(!path.exists());
    }
}
