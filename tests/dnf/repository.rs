//! A repository of signed rpm packages, made with the real tools.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{open_dir, run};

/// A package with one file, `/usr/share/NAME/VERSION`.
#[derive(Clone)]
pub struct Package {
    name: String,
    version: String,
    header: String,
    body: String,
    files: u32,
    signed: bool,
}

impl Package {
    pub fn new(name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, header: String::new(), body: String::new(), files: 0, signed: true }
    }

    /// A line of its header: `Requires: alpha`.
    pub fn tag(mut self, line: &str) -> Self {
        let _ = writeln!(self.header, "{line}");
        self
    }

    /// A scriptlet in Lua, which needs no shell: `%post`.
    pub fn script(mut self, when: &str, lua: &str) -> Self {
        let _ = writeln!(self.body, "{when} -p <lua>\n{lua}");
        self
    }

    /// With so many files of some size that are the same in each version, but for what is in them.
    pub fn files(mut self, count: u32) -> Self {
        self.files = count;
        self
    }

    pub fn changelog(mut self, entries: &str) -> Self {
        let _ = writeln!(self.body, "%changelog\n{entries}");
        self
    }

    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    fn spec(&self) -> String {
        let Self { name, version, header, body, files, .. } = self;
        format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: a test package\nLicense: MIT\n\
             BuildArch: noarch\n{header}%description\nA test package.\n\
             %install\nmkdir -p %{{buildroot}}/usr/share/{name}\n\
             echo {version} > %{{buildroot}}/usr/share/{name}/{version}\n\
             for i in $(seq {files}); do \
             yes {version} | head -c 65536 > %{{buildroot}}/usr/share/{name}/$i.data; done\n\
             %files\n/usr/share/{name}/*\n{body}"
        )
    }

    /// Builds it, with its sources beside it; answers with its file.
    fn build(&self, folder: &Path) -> PathBuf {
        let top = folder.join("build");
        fs::create_dir_all(&top).unwrap();
        let spec = folder.join(format!("{}.spec", self.name));
        fs::write(&spec, self.spec()).unwrap();
        let define = |name: &str, value: &Path| format!("{name} {}", value.display());
        let mut build = Command::new("rpmbuild");
        build.args(["-bb", "--quiet", "--define", &define("_topdir", &top), "--define"]);
        run(build.arg(define("_rpmdir", folder)).arg(&spec));
        let file = format!("{}-{}-1.noarch.rpm", self.name, self.version);
        let package = folder.join("noarch").join(&file);
        assert!(package.exists(), "{file}");
        package
    }
}

pub struct Repository {
    dir: TempDir,
    keys: TempDir,
}

impl Repository {
    pub fn with(packages: &[Package]) -> Self {
        let repository = Self { dir: open_dir(), keys: tempfile::tempdir().unwrap() };
        let quick = ["--quick-gen-key", "Lab <lab@example.com>", "rsa2048", "sign", "never"];
        run(repository.gpg().args(["--quiet", "--passphrase", ""]).args(quick));
        fs::write(repository.key(), run(repository.gpg().args(["--armor", "--export"]))).unwrap();
        repository.publish(packages);
        repository
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.keys.path()).args(["--batch", "--yes"]);
        gpg
    }

    /// These packages, and no others.
    pub fn publish(&self, packages: &[Package]) {
        fs::remove_dir_all(self.tree()).ok();
        self.add(packages);
    }

    /// These packages, beside those that are there.
    pub fn add(&self, packages: &[Package]) {
        fs::create_dir_all(self.tree()).unwrap();
        let work = open_dir();
        for package in packages {
            let built = package.build(work.path());
            if package.signed {
                let home = format!("_gpg_path {}", self.keys.path().display());
                let mut sign = Command::new("rpmsign");
                sign.args(["--define", "__gpg /usr/bin/gpg", "--define", &home]);
                run(sign.args(["--define", "_gpg_name Lab", "--addsign"]).arg(&built));
            }
            fs::copy(&built, self.tree().join(built.file_name().unwrap())).unwrap();
        }
        run(Command::new("createrepo_c").arg("--quiet").arg(self.tree()));
    }

    /// Says of a package's version that it mends a security problem.
    pub fn advise(&self, name: &str, version: &str) {
        let file = format!("{name}-{version}-1.noarch.rpm");
        let text = format!(
            "<updates><update from=\"lab@example.com\" status=\"final\" type=\"security\" \
             version=\"1\"><id>LAB-1</id><title>{name}</title><issued date=\"2026-01-01\"/>\
             <pkglist><collection short=\"lab\"><name>lab</name><package name=\"{name}\" \
             version=\"{version}\" release=\"1\" epoch=\"0\" arch=\"noarch\">\
             <filename>{file}</filename></package></collection></pkglist></update></updates>"
        );
        let path = self.keys.path().join("updateinfo.xml");
        fs::write(&path, text).unwrap();
        run(Command::new("modifyrepo_c").arg(path).arg(self.tree().join("repodata")));
    }

    pub fn tree(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.asc")
    }
}
