//! Whether a program is root's alone: nobody else can change it, or put another in its place.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;
/// Others may write.
const WRITABLE: u32 = 0o022;

/// The program that `path`, below `root`, leads to, if it can be executed and nobody else has a say in
/// what is executed, as with [`trusted_file`]. Otherwise: why not.
pub fn trusted(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let program = trusted_file(root, path)?;
    if look(&program)?.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not executable", program.display()));
    }
    Ok(program)
}

/// The file that `path`, below `root`, leads to, if nobody else can change it or put another in its
/// place: the file, each folder on the way to it and each link belong to root (or to who we are), and are
/// not writable for others. Otherwise: why not.
pub fn trusted_file(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let file = walk(root, path)?;
    if look(&file)?.is_file() { Ok(file) } else { Err(format!("{} is not a file", file.display())) }
}

/// Follows `path`, looking at everything on the way. The answer has no link in it.
fn walk(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let (mut at, mut links) = (root.to_owned(), 0);
    check(&at, &look(&at)?)?;
    let mut rest: VecDeque<OsString> = parts(path).collect();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            if at != root {
                at.pop();
            }
            continue;
        }
        let next = at.join(&part);
        let found = look(&next)?;
        check(&next, &found)?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(format!("{} leads through too many links", path.display()));
        }
        let target = fs::read_link(&next).map_err(|error| unseen(&next, &error))?;
        if target.is_absolute() {
            root.clone_into(&mut at);
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(part);
        }
    }
    Ok(at)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn look(path: &Path) -> Result<Metadata, String> {
    fs::symlink_metadata(path).map_err(|error| unseen(path, &error))
}

fn unseen(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be looked at: {error}", path.display())
}

/// A link has no permissions of its own.
fn check(path: &Path, found: &Metadata) -> Result<(), String> {
    let (what, owner) = (path.display(), found.uid());
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(format!("{what} belongs to user {owner}, not to root"));
    }
    if !found.is_symlink() && found.permissions().mode() & WRITABLE != 0 {
        return Err(format!("{what} can be written by others (chmod go-w {what})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            tree.file("opt/check", 0o755);
            fs::create_dir_all(tree.0.path().join("etc/d")).unwrap();
            tree
        }

        fn file(&self, path: &str, mode: u32) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn link(&self, path: &str, target: &str) {
            symlink(target, self.0.path().join(path)).unwrap();
        }

        fn chmod(&self, path: &str, mode: u32) {
            let path = self.0.path().join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn trusted(&self, path: &str) -> Result<String, String> {
            let root = self.0.path();
            let found = trusted(root, Path::new(path));
            let short = |text: String| text.replace(&format!("{}/", root.display()), "");
            found.map(|path| short(path.display().to_string())).map_err(short)
        }
    }

    #[test]
    fn links_are_followed_within_the_root_to_the_program_itself() {
        let tree = Tree::new();
        tree.link("etc/d/direct", "../../opt/check");
        tree.link("etc/d/absolute", "/opt/check");
        tree.link("etc/d/twice", "absolute");
        tree.link("tmp", "opt");
        tree.link("etc/d/above", "../../../../tmp/./check");
        for path in ["/opt/check", "etc/d/direct", "etc/d/absolute", "etc/d/twice", "etc/d/above"] {
            assert_eq!(tree.trusted(path).as_deref(), Ok("opt/check"), "{path}");
        }
    }

    #[test]
    fn what_others_can_change_is_refused_wherever_on_the_way() {
        let refused = |tree: &Tree, path: &str| tree.trusted(path).unwrap_err();
        let tree = Tree::new();
        tree.link("etc/d/check", "/opt/check");
        tree.chmod("opt/check", 0o775);
        let why = "opt/check can be written by others (chmod go-w opt/check)";
        assert_eq!(refused(&tree, "etc/d/check"), why);
        tree.chmod("opt/check", 0o755);
        tree.chmod("opt", 0o1777);
        assert!(refused(&tree, "etc/d/check").starts_with("opt can be written by others"));
        tree.chmod("opt", 0o755);
        tree.chmod("etc/d", 0o757);
        assert!(refused(&tree, "etc/d/check").starts_with("etc/d can be written by others"));
        // A link on the way, in a folder of others, that leads to a good program.
        tree.chmod("etc/d", 0o755);
        fs::create_dir(tree.0.path().join("shared")).unwrap();
        tree.link("shared/there", "/opt/check");
        tree.link("etc/d/shared", "/shared/there");
        assert!(tree.trusted("etc/d/shared").is_ok());
        tree.chmod("shared", 0o777);
        assert!(refused(&tree, "etc/d/shared").starts_with("shared can be written"));
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        let tree = Tree::new();
        // Only root can give files away.
        if std::os::unix::fs::chown(tree.0.path().join("opt"), Some(12345), None).is_err() {
            assert_ne!(rustix::process::geteuid().as_raw(), 0);
            return;
        }
        assert_eq!(
            tree.trusted("opt/check").unwrap_err(),
            "opt belongs to user 12345, not to root"
        );
    }

    #[test]
    fn only_a_file_that_can_be_executed_is_a_program() {
        let tree = Tree::new();
        tree.file("opt/text", 0o644);
        assert_eq!(tree.trusted("opt/text").unwrap_err(), "opt/text is not executable");
        assert_eq!(tree.trusted("opt").unwrap_err(), "opt is not a file");
        assert!(tree.trusted("opt/none").unwrap_err().contains("No such file"));
        assert!(tree.trusted("opt/text/x").unwrap_err().contains("Not a directory"));
        tree.link("opt/loop", "loop");
        assert_eq!(tree.trusted("opt/loop").unwrap_err(), "opt/loop leads through too many links");
    }
}
