//! A signed Debian archive in a temporary directory, made with the real tools.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Runs a program to its end and returns what it printed; the test fails when it fails.
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A temporary directory that apt's sandbox user may enter; in memory where that is possible: dpkg
/// syncs every file.
pub fn open_dir() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn field(name: &str, value: &str) -> String {
    format!("{name}: {value}\n")
}

/// A package to be built. Without more it is architecture-independent and holds one file.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    version: String,
    arch: String,
    control: String,
    scripts: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    conffiles: Vec<String>,
}

impl Package {
    pub fn new(name: &str, version: &str) -> Self {
        let file = (format!("usr/share/{name}/version"), version.as_bytes().to_vec());
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "all".to_owned(),
            control: String::new(),
            scripts: Vec::new(),
            files: vec![file],
            conffiles: Vec::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn arch(mut self, arch: &str) -> Self {
        arch.clone_into(&mut self.arch);
        self
    }

    /// Another field of its control data.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.control += &field(name, value);
        self
    }

    /// `preinst`, `postinst`, …; the body of a shell script (the test system has no other program).
    pub fn script(mut self, name: &str, body: &str) -> Self {
        self.scripts.push((name.to_owned(), format!("#!/bin/sh\nset -e\n{body}\n")));
        self
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.push((path.to_owned(), content.to_vec()));
        self
    }

    pub fn conffile(self, path: &str, content: &str) -> Self {
        let mut package = self.file(path, content.as_bytes());
        package.conffiles.push(format!("/{path}\n"));
        package
    }

    /// Builds it into a folder.
    pub fn build(&self, folder: &Path) -> PathBuf {
        let tree = open_dir();
        let at = |path: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let said = self.control.contains("Installed-Size: ");
        let size = if said { "" } else { "Installed-Size: 10\n" };
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Lab <lab@example.com>\n\
             {size}{}Description: a test package\n",
            self.name, self.version, self.arch, self.control
        );
        fs::write(at("DEBIAN/control"), control).unwrap();
        for (name, text) in &self.scripts {
            let path = at(&format!("DEBIAN/{name}"));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        if !self.conffiles.is_empty() {
            fs::write(at("DEBIAN/conffiles"), self.conffiles.concat()).unwrap();
        }
        for (path, content) in &self.files {
            fs::write(at(path), content).unwrap();
        }
        let version = self.version.replace(':', "-");
        let deb = folder.join(format!("{}_{version}_{}.deb", self.name, self.arch));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "-b"])
            .arg(tree.path())
            .arg(&deb));
        deb
    }
}

/// The archive: a flat repository with a key of its own.
pub struct Archive {
    dir: TempDir,
    keys: TempDir,
    /// What its Release file says of it.
    says: Vec<(String, String)>,
}

impl Archive {
    /// An archive with these packages, published.
    pub fn with(packages: &[Package]) -> Self {
        Self::that_says(&[("Origin", "Lab"), ("Label", "Lab"), ("Suite", "stable")], packages)
    }

    /// An archive whose Release file says this of it.
    pub fn that_says(says: &[(&str, &str)], packages: &[Package]) -> Self {
        let says = says.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (dir, keys) = (open_dir(), tempfile::tempdir().unwrap());
        let archive = Self { dir, keys, says: says.collect() };
        let quick =
            ["--quick-gen-key", "Lab archive <lab@example.com>", "ed25519", "sign", "never"];
        run(archive.gpg().args(["--quiet", "--passphrase", ""]).args(quick));
        archive.publish(packages);
        archive
    }

    /// Adds packages and publishes.
    pub fn publish(&self, packages: &[Package]) {
        for package in packages {
            package.build(self.dir.path());
        }
        self.index(&[]);
    }

    /// Takes every version of a package away; it stays in the index until the next publication.
    pub fn withdraw(&self, name: &str) {
        let start = format!("{name}_");
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with(&start) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Publishes what is there, with more fields in the release file.
    pub fn index(&self, fields: &[(&str, &str)]) {
        let ftparchive = |command: &str| {
            let mut run_it = Command::new("apt-ftparchive");
            for (key, value) in &self.says {
                run_it.arg("-o").arg(format!("APT::FTPArchive::Release::{key}={value}"));
            }
            run(run_it.args([command, "."]).current_dir(self.dir.path()))
        };
        for old in ["Release", "InRelease"] {
            let _ = fs::remove_file(self.dir.path().join(old));
        }
        fs::write(self.dir.path().join("Packages"), ftparchive("packages")).unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, value)| field(name, value)).collect();
        let release = self.dir.path().join("Release");
        fs::write(&release, fields.concat() + &ftparchive("release")).unwrap();
        let signed = self.dir.path().join("InRelease");
        run(self.gpg().args(["--yes", "--clearsign", "-o"]).arg(signed).arg(release));
    }

    /// Changes the signed index without signing it again.
    pub fn forge(&self) {
        let path = self.dir.path().join("InRelease");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("Label: Lab", "Label: Bad")).unwrap();
    }

    /// Its line for sources.list.
    pub fn source(&self) -> String {
        format!("deb file:{} ./\n", self.dir.path().display())
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its public key.
    pub fn key(&self) -> Vec<u8> {
        let out = self.gpg().arg("--export").output().unwrap();
        assert!(out.status.success() && !out.stdout.is_empty());
        out.stdout
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.keys.path()).arg("--batch");
        gpg
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // gpg has started an agent for this home.
        let kill = ["--kill", "gpg-agent"];
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.keys.path()).args(kill).status();
    }
}
