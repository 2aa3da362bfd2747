//! A small Debian system in a directory: real apt and dpkg work on it, the host is left alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lockkeeper::adapters::apt::Layout;
use tempfile::TempDir;

use super::archive::{Archive, open_dir, run};

pub struct System {
    dir: TempDir,
    pub layout: Layout,
}

impl System {
    /// An empty system that trusts an archive, with nothing installed but a shell for maintainer
    /// scripts.
    pub fn new(archive: &Archive) -> Self {
        Self::at(open_dir(), archive)
    }

    /// The same in `root` of a directory, whatever that is mounted from.
    pub fn at(dir: TempDir, archive: &Archive) -> Self {
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        fs::create_dir_all(&state).unwrap();
        skeleton(&root);
        let layout = Layout::rooted(&state, &root, &config(&root));
        fs::write(root.join("etc/apt/sources.list"), archive.source()).unwrap();
        fs::write(root.join("etc/apt/trusted.gpg.d/lab.gpg"), archive.key()).unwrap();
        Self { dir, layout }
    }

    /// With the newest versions of these packages installed, and what they need.
    pub fn with(archive: &Archive, packages: &[&str]) -> Self {
        let system = Self::new(archive);
        system.apt(&["update"]);
        system.apt(&[&["install"], packages].concat());
        system
    }

    /// Lets it trust another archive, too.
    pub fn add(&self, name: &str, archive: &Archive) {
        let root = self.root();
        let list = root.join(format!("etc/apt/sources.list.d/{name}.list"));
        fs::write(list, archive.source()).unwrap();
        let key = root.join(format!("etc/apt/trusted.gpg.d/{name}.gpg"));
        fs::write(key, archive.key()).unwrap();
    }

    /// The same system with its state in another directory.
    pub fn state_at(&self, state: &Path) -> Layout {
        Layout::rooted(state, &self.root(), &self.root().join("etc/apt.conf"))
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// The admin runs apt-get.
    pub fn apt(&self, arguments: &[&str]) -> String {
        run(self.program("apt-get").args(["-qq", "-y"]).args(arguments))
    }

    /// The admin runs apt-mark.
    pub fn mark(&self, arguments: &[&str]) -> Vec<String> {
        let text = run(self.program("apt-mark").args(arguments));
        text.lines().map(str::to_owned).collect()
    }

    /// A program of the packaging system, on this system.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .env("APT_CONFIG", self.root().join("etc/apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    pub fn dpkg(&self) -> Command {
        let mut command = self.program("dpkg");
        command.arg(format!("--root={}", self.root().display()));
        command
    }

    /// `ii 1.1`, `iF 1.1`, … of each package.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let format = "${Package} ${db:Status-Abbrev}${Version}\n";
        let admin = format!("--admindir={}", self.root().join("var/lib/dpkg").display());
        let text = run(self.program("dpkg-query").args([&admin, "-W", "-f", format]));
        text.lines()
            .map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap())
            .collect()
    }

    pub fn version(&self, name: &str) -> String {
        self.versions().get(name).cloned().unwrap_or_default()
    }
}

fn skeleton(root: &Path) {
    for folder in [
        "boot",
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "etc/apt/trusted.gpg.d",
        "run",
        "tmp",
        "usr",
        "var/cache/apt/archives/partial",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg/info",
        "var/lib/dpkg/triggers",
        "var/lib/dpkg/updates",
        "var/log/apt",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    shell(root);
}

/// `/bin/sh` with its libraries: dpkg runs maintainer scripts with the system as their root.
fn shell(root: &Path) {
    let libraries = run(Command::new("ldd").arg("/bin/sh"));
    let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in words.chain(["/bin/sh"]) {
        let copy = root.join(&file[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

/// What an admin may have configured, besides where the system is.
fn config(root: &Path) -> PathBuf {
    let path = root.join("etc/apt.conf");
    let text = format!(
        "Dir \"{root}/\";\n\
         Dir::State::status \"{root}/var/lib/dpkg/status\";\n\
         DPkg::Options {{ \"--root={root}\"; }};\n\
         Acquire::Retries \"0\";\n\
         APT::Default-Release \"stable\";\n",
        root = root.display()
    );
    fs::write(&path, text).unwrap();
    path
}
