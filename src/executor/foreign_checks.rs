//! The checks of greenboot and of openSUSE's health-checker, called as those call them.
//!
//! greenboot has bash run what ends in `.sh`, whether or not it is executable; what fails in `required.d`
//! counts, and what fails in `wanted.d` is reported. health-checker calls each plugin with `check`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::checks::{Check, cannot_run, program_check};
use crate::adapters::scripts;

const GREENBOOT: [&str; 2] = ["usr/lib/greenboot/check", "etc/greenboot/check"];
const HEALTH_CHECKER: [&str; 3] =
    ["usr/lib/health-checker", "usr/libexec/health-checker", "usr/local/libexec/health-checker"];
/// Names the scripts that greenboot leaves out.
const GREENBOOT_CONFIG: &str = "etc/greenboot/greenboot.conf";

/// Every one there is below `root`.
pub(super) fn find(root: &Path, limit: Duration) -> Vec<Check> {
    let mut checks = Vec::new();
    // One that others may write switches nothing off.
    let config = scripts::trusted_file(root, Path::new(GREENBOOT_CONFIG));
    let config = config.ok().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let disabled = disabled_in(&config);
    for folder in GREENBOOT {
        for (set, required) in [("required.d", true), ("wanted.d", false)] {
            let folder = Path::new(folder).join(set);
            match scripts_in(&root.join(&folder)) {
                Err(error) => {
                    let name = format!("check {}", Path::new("/").join(&folder).display());
                    checks.push(cannot_run(name, required, &error.to_string()));
                }
                Ok(names) => {
                    let names = names.into_iter().filter(|name| !disabled.contains(&name.as_str()));
                    checks.extend(names.map(|name| {
                        let path = folder.join(name);
                        let program = scripts::trusted_file(root, &path);
                        let argv =
                            program.map(|program| vec!["/bin/bash".to_owned(), text(&program)]);
                        check(&path, required, argv, limit)
                    }));
                }
            }
        }
    }
    for folder in HEALTH_CHECKER {
        checks.extend(scripts::find(root, &[PathBuf::from(folder)]).into_iter().map(|found| {
            let argv = found.program.map(|program| vec![text(&program), "check".to_owned()]);
            check(&found.path, true, argv, limit)
        }));
    }
    checks
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn check(path: &Path, required: bool, argv: Result<Vec<String>, String>, limit: Duration) -> Check {
    let path = path.to_string_lossy();
    let sane = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name_of_unit = path.replace(|letter: char| !sane(letter), "-");
    let unit = format!("lockkeeper-check-{name_of_unit}.service");
    program_check(format!("check /{path}"), required, unit, argv, limit)
}

/// Names that end in `.sh`, sorted. Their letters are those of a unit's name, or they are not taken.
fn scripts_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let names = names.into_iter().filter(|name| Path::new(name).extension() == Some("sh".as_ref()));
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// What the list `DISABLED_HEALTHCHECKS=("a.sh" "b.sh")` names.
fn disabled_in(text: &str) -> Vec<&str> {
    let uncommented = |line: &&str| !line.trim_start().starts_with('#');
    let start = text.lines().filter(uncommented).find_map(|line| {
        let at = line.find("DISABLED_HEALTHCHECKS=(")?;
        Some(line.as_ptr() as usize - text.as_ptr() as usize + at)
    });
    let Some(rest) = start.and_then(|start| text.get(start..)) else { return Vec::new() };
    let list = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let words = list.map(|(list, _)| list.split_whitespace()).into_iter().flatten();
    words.map(|word| word.trim_matches(['"', '\''])).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_list_that_others_may_write_switches_no_check_off() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("etc/greenboot/check/required.d")).unwrap();
        fs::write(at("etc/greenboot/check/required.d/10-shop.sh"), "exit 1\n").unwrap();
        fs::write(at(GREENBOOT_CONFIG), "DISABLED_HEALTHCHECKS=(\"10-shop.sh\")\n").unwrap();
        let found = |mode| {
            fs::set_permissions(at(GREENBOOT_CONFIG), fs::Permissions::from_mode(mode)).unwrap();
            find(dir.path(), Duration::from_secs(1)).len()
        };
        assert_eq!((found(0o644), found(0o666)), (0, 1));
    }
}
