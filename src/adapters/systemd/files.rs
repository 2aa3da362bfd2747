//! What systemd's files say, without asking systemd: also of a system that does not run.

use std::{fs, path::Path};

/// Where units are, the strongest first (systemd.unit(5)).
const FOLDERS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Whether something lets systemd start `unit`, on the system below `root`: it is not masked, and some
/// target wants it where it can be enabled at all. A unit that is not there is not systemd's to start,
/// but perhaps somebody else's (cron).
#[must_use]
pub fn starts(root: &Path, unit: &str) -> bool {
    let Some(text) = FOLDERS.iter().find_map(|folder| text(&root.join(folder).join(unit))) else {
        return true;
    };
    if text.trim().is_empty() {
        return false;
    }
    let enabled = text.lines().any(|line| line.trim_start().starts_with("WantedBy="));
    !enabled || FOLDERS.iter().any(|folder| is_wanted(&root.join(folder), unit))
}

/// The text of a unit; empty where it is masked, by a link to /dev/null.
fn text(path: &Path) -> Option<String> {
    let link = fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    if link { Some(String::new()) } else { fs::read_to_string(path).ok() }
}

fn is_wanted(folder: &Path, unit: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let targets = entries.map(|entry| entry.path());
    let mut wants = targets.filter(|path| path.extension().is_some_and(|end| end == "wants"));
    wants.any(|wants| fs::symlink_metadata(wants.join(unit)).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_unit_starts_when_it_is_wanted_and_not_masked() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        let write = |at: &str, text: &str| {
            fs::create_dir_all(path(at).parent().unwrap()).unwrap();
            fs::write(path(at), text).unwrap();
        };
        assert!(starts(root.path(), "a.timer"), "it may be cron's");
        write("usr/lib/systemd/system/a.timer", "[Timer]\n[Install]\nWantedBy=timers.target\n");
        assert!(!starts(root.path(), "a.timer"), "it is disabled");
        let wants = path("etc/systemd/system/timers.target.wants");
        fs::create_dir_all(&wants).unwrap();
        symlink("/usr/lib/systemd/system/a.timer", wants.join("a.timer")).unwrap();
        assert!(starts(root.path(), "a.timer"));
        write("usr/lib/systemd/system/a.service", "[Service]\nExecStart=/bin/a\n");
        assert!(starts(root.path(), "a.service"), "others start it");
        for mask in ["etc/systemd/system/a.service", "run/systemd/system/a.service"] {
            fs::create_dir_all(path(mask).parent().unwrap()).unwrap();
            symlink("/dev/null", path(mask)).unwrap();
            assert!(!starts(root.path(), "a.service"), "{mask}");
            fs::remove_file(path(mask)).unwrap();
        }
        write("etc/systemd/system/a.service", "");
        assert!(!starts(root.path(), "a.service"), "an empty file masks it, too");
    }
}
