//! The link that makes the next boot one for updates: systemd.offline-updates(7).

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Where systemd looks for it, under the root; in `/etc` only a newer one than Debian 12's.
const PLACES: [&str; 2] = ["system-update", "etc/system-update"];

/// Whose updates the next boot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's: it is an ordinary one.
    Nobodys,
    /// Ours.
    Ours,
    /// Another program's.
    Others {
        /// What the link leads to, or where it is when it is no link.
        target: String,
    },
}

/// Whose updates is the next boot of the system in `root` for? Ours lie in `folder`.
///
/// # Errors
/// When that cannot be seen.
pub fn look(root: &Path, folder: &Path) -> io::Result<Whose> {
    let mut whose = Whose::Nobodys;
    for place in PLACES.map(|place| root.join(place)) {
        match read(&place)? {
            None => {}
            Some(target) if target == folder => whose = Whose::Ours,
            Some(target) => return Ok(Whose::Others { target: target.display().to_string() }),
        }
    }
    Ok(whose)
}

/// Where a link leads; to itself where it is something else.
fn read(place: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_link(place) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Some(place.to_owned())),
        Err(error) => Err(error),
    }
}

/// Makes the next boot one for our updates, durably.
///
/// # Errors
/// When it cannot be made, or is made for others.
pub fn make(root: &Path, folder: &Path) -> io::Result<()> {
    match look(root, folder)? {
        Whose::Ours => {}
        Whose::Nobodys => symlink(folder, root.join(PLACES[0]))?,
        Whose::Others { target } => {
            return Err(io::Error::other(format!("it is for another program's updates: {target}")));
        }
    }
    File::open(root)?.sync_all()
}

/// Makes the next boot an ordinary one again, durably. What others have made stays.
///
/// # Errors
/// When it cannot be done.
pub fn remove(root: &Path, folder: &Path) -> io::Result<()> {
    for place in PLACES.map(|place| root.join(place)) {
        if read(&place)?.is_some_and(|target| target == folder) {
            fs::remove_file(&place)?;
            File::open(place.parent().unwrap_or(root))?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_and_removed_again_and_both_may_be_repeated() {
        let root = tempfile::tempdir().unwrap();
        let folder = Path::new("/var/lib/lockkeeper-executor");
        assert_eq!(look(root.path(), folder).unwrap(), Whose::Nobodys);
        for _ in 0..2 {
            make(root.path(), folder).unwrap();
            assert_eq!(look(root.path(), folder).unwrap(), Whose::Ours);
        }
        for _ in 0..2 {
            remove(root.path(), folder).unwrap();
            assert_eq!(look(root.path(), folder).unwrap(), Whose::Nobodys);
        }
    }

    #[test]
    fn what_others_have_made_is_neither_replaced_nor_removed() {
        let folder = Path::new("/var/lib/lockkeeper-executor");
        for place in PLACES {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("etc")).unwrap();
            symlink("/var/lib/PackageKit", root.path().join(place)).unwrap();
            let others = Whose::Others { target: "/var/lib/PackageKit".to_owned() };
            assert_eq!(look(root.path(), folder).unwrap(), others);
            make(root.path(), folder).unwrap_err();
            remove(root.path(), folder).unwrap();
            assert_eq!(look(root.path(), folder).unwrap(), others, "{place}");
        }
        // systemd takes anything of that name for a link.
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("system-update"), "").unwrap();
        assert!(matches!(look(root.path(), folder).unwrap(), Whose::Others { .. }));
    }
}
