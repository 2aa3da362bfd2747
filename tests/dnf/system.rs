//! A small rpm system in a directory: real dnf and rpm work on it, the host is left alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lockkeeper::adapters::packages::Layout;
use tempfile::TempDir;

use super::{open_dir, repository::Repository, run};

pub struct System {
    dir: TempDir,
    pub layout: Layout,
}

impl System {
    /// With these packages installed, as an admin asked for them.
    pub fn with(repository: &Repository, packages: &[&str]) -> Self {
        Self::configured(repository, packages, "")
    }

    /// The same, with more in dnf.conf.
    pub fn configured(repository: &Repository, packages: &[&str], conf: &str) -> Self {
        let dir = open_dir();
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        fs::create_dir(&state).unwrap();
        let system = Self { layout: Layout::rooted(&state, &root, &root.join("nowhere")), dir };
        system.write("etc/os-release", "ID=fedora\n");
        system.write(
            "etc/dnf/dnf.conf",
            &format!(
                "[main]\ngpgcheck=1\ninstallonly_limit=3\n{conf}pluginconfpath={}\n",
                root.join("etc/dnf/plugins").display()
            ),
        );
        // Debian's dnf keeps copies of what it installs in a repository of its own.
        system.write("etc/dnf/plugins/local.conf", "[main]\nenabled=0\n");
        let list = root.join("etc/dnf/plugins/versionlock.list");
        let lock = format!("[main]\nenabled=1\nlocklist={}\n", list.display());
        system.write("etc/dnf/plugins/versionlock.conf", &lock);
        system.write("etc/dnf/plugins/versionlock.list", "");
        for folder in ["run", "tmp", "var/tmp", "var/log"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        run(Command::new("cp").args(["-r", "/usr/lib/rpm"]).arg(parent(&root, "usr/lib/rpm")));
        // Debian's rpm has no database of the system's packages.
        system.write("usr/lib/rpm/macros.d/macros.database", "%_dbpath /var/lib/rpm\n");
        system.add("lab", repository);
        system.dnf(&[&["install"], packages].concat());
        system
    }

    /// Lets it trust a repository.
    pub fn add(&self, id: &str, repository: &Repository) {
        self.source(id, &format!("file://{}", repository.tree().display()));
        run(self.rpm("rpmkeys").arg("--import").arg(repository.key()));
    }

    /// Where it gets that repository from.
    pub fn source(&self, id: &str, address: &str) {
        let text = format!("[{id}]\nname={id}\nbaseurl={address}\nenabled=1\n");
        self.write(&format!("etc/yum.repos.d/{id}.repo"), &text);
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(parent(&self.root(), path), text).unwrap();
    }

    /// The admin runs dnf.
    pub fn dnf(&self, arguments: &[&str]) -> String {
        run(self.program("dnf").args(["-q", "-y", "--refresh"]).args(arguments))
    }

    /// A program of the packaging system, with the system's own configuration.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("RPM_CONFIGDIR", self.root().join("usr/lib/rpm")).env("LC_ALL", "C.UTF-8");
        if name == "dnf" {
            command.arg(self.installroot());
        }
        command
    }

    pub fn installroot(&self) -> String {
        format!("--installroot={}", self.root().display())
    }

    pub fn rpm(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.arg("--root").arg(self.root());
        command
    }

    /// `alpha-1-1` of everything that is installed.
    pub fn packages(&self) -> BTreeSet<String> {
        let text = run(self.rpm("rpm").args(["-qa", "--qf", "%{NAME}-%{EVR}\n"]));
        let packages = text.lines().filter(|line| !line.starts_with("gpg-pubkey"));
        packages.map(str::to_owned).collect()
    }

    /// `alpha user`, `beta dependency`: what each was installed for, as dnf says.
    pub fn reasons(&self) -> BTreeSet<String> {
        let query = ["--disablerepo=*", "repoquery", "--installed", "--qf", "%{name} %{reason}"];
        let text = run(self.program("dnf").arg("-q").args(query));
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

fn parent(root: &Path, path: &str) -> PathBuf {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}
