//! Which programs a set of folders holds.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::trust::trusted;

/// Endings of what package managers and editors leave beside a file.
const LEFT_BEHIND: [&str; 12] = [
    "~",
    ".bak",
    ".orig",
    ".rej",
    ".swp",
    ".tmp",
    ".disabled",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".ucf-new",
    ".ucf-old",
];

/// An entry of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What to execute, or why it may not be executed: a failure, since somebody put it there to be.
    pub program: Result<PathBuf, String>,
}

/// The programs in `folders` below `root`, the weakest folder first, sorted by name. Copies that editors
/// and package managers leave, hidden files and `README` are no entries. A folder that cannot be read is
/// an entry that cannot be executed.
#[must_use]
pub fn find(root: &Path, folders: &[PathBuf]) -> Vec<Found> {
    let mut found = BTreeMap::new();
    let mut unreadable = Vec::new();
    for folder in folders {
        match names(&root.join(folder)) {
            Ok(names) => {
                found.extend(names.into_iter().map(|name| (name.clone(), folder.join(name))));
            }
            Err(error) => unreadable.push(Found {
                name: folder.display().to_string(),
                path: folder.clone(),
                program: Err(format!("the folder cannot be read: {error}")),
            }),
        }
    }
    found.retain(|_, path| !is_masked(&root.join(path)));
    let found = found.into_iter().map(|(name, path)| Found {
        program: if is_sane(&name) { trusted(root, &path) } else { Err(odd()) },
        path,
        name: name.escape_debug().to_string(),
    });
    unreadable.extend(found);
    unreadable
}

fn odd() -> String {
    "its name is not made of letters, digits, \".\", \"_\" and \"-\" alone".to_owned()
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let names = entries.map(name).collect::<io::Result<Vec<String>>>()?;
    Ok(names.into_iter().filter(|name| !is_beside(name)).collect())
}

/// Not meant to be executed.
fn is_beside(name: &str) -> bool {
    name.starts_with('.')
        || name.contains(".dpkg-")
        || ["README", "README.md", "README.txt"].contains(&name)
        || LEFT_BEHIND.iter().any(|end| name.ends_with(end))
}

/// Fit for the name of a unit, too.
fn is_sane(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= 100 && name.bytes().all(good)
}

fn is_masked(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::adapters::scripts::folders;

    fn put(root: &Path, path: &str, mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn found(root: &Path) -> Vec<(String, Result<String, String>)> {
        let prefix = format!("{}/", root.display());
        let short = |text: String| text.replace(&prefix, "");
        let all = find(root, &folders("health.d")).into_iter().map(|found| {
            let program = found.program.map(|path| short(path.display().to_string()));
            (found.name, program.map_err(short))
        });
        all.collect()
    }

    #[test]
    fn a_set_is_sorted_and_the_stronger_folder_wins() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(found(root), []);
        for path in [
            "usr/lib/lockkeeper/health.d/10-disk",
            "usr/lib/lockkeeper/health.d/20-shop.sh",
            "usr/lib/lockkeeper/health.d/30-old",
            "etc/lockkeeper/health.d/20-shop.sh",
            "etc/lockkeeper/health.d/05-first",
            "run/lockkeeper/health.d/10-disk",
        ] {
            put(root, path, 0o755);
        }
        symlink("/dev/null", root.join("etc/lockkeeper/health.d/30-old")).unwrap();
        let expected = [
            ("05-first", "etc/lockkeeper/health.d/05-first"),
            ("10-disk", "run/lockkeeper/health.d/10-disk"),
            ("20-shop.sh", "etc/lockkeeper/health.d/20-shop.sh"),
        ];
        assert_eq!(found(root), expected.map(|(name, at)| (name.to_owned(), Ok(at.to_owned()))));
    }

    #[test]
    fn what_lies_beside_is_left_out_and_what_is_refused_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["a~", ".a", "a.dpkg-old", "a.dpkg-dist", "a.rpmnew", "a.swp", "README"] {
            put(root, &format!("etc/lockkeeper/health.d/{name}"), 0o755);
        }
        assert_eq!(found(root), []);
        for (name, mode) in [("a b", 0o755), ("open", 0o777), ("text", 0o644)] {
            put(root, &format!("etc/lockkeeper/health.d/{name}"), mode);
        }
        fs::create_dir(root.join("etc/lockkeeper/health.d/folder")).unwrap();
        symlink("/nowhere", root.join("etc/lockkeeper/health.d/gone")).unwrap();
        let all = found(root);
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a b", "folder", "gone", "open", "text"]);
        let whys: Vec<String> = all.into_iter().map(|(_, program)| program.unwrap_err()).collect();
        for (why, part) in
            whys.iter().zip(["letters", "not a file", "No such", "written by others", "not exec"])
        {
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "etc/lockkeeper/health.d", 0o644);
        let [(name, Err(why))] = &found(dir.path())[..] else { panic!() };
        assert!(name == "etc/lockkeeper/health.d" && why.contains("Not a directory"), "{why}");
    }
}
