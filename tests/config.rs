//! Configuration: layers, values, mistakes and how they are told.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

#[path = "config/cli.rs"]
mod cli;
#[path = "config/documents.rs"]
mod documents;
#[path = "config/layers.rs"]
mod layers;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/values.rs"]
mod values;

use std::{fs, path::PathBuf};

use lockkeeper::config::{self, ConfigError, ConfigErrors, Loaded};
use tempfile::TempDir;

const ETC: &str = "etc/lockkeeper/lockkeeper.toml";

/// A machine's root directory with configuration files in it.
struct Machine(TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            machine.write(path, text);
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        config::load(self.0.path())
    }

    /// Where a key comes from, without the root directory.
    fn origin(&self, loaded: &Loaded, key: &str) -> String {
        self.relative(&loaded.origin(key).unwrap().to_string())
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "/")
    }
}

/// One file in /etc, and nothing else.
fn etc(text: &str) -> Result<Loaded, ConfigErrors> {
    Machine::new(&[(ETC, text)]).load()
}

/// The mistakes in one file in /etc.
fn mistakes(text: &str) -> Vec<ConfigError> {
    match etc(text) {
        Ok(_) => panic!("taken for good:\n{text}"),
        Err(errors) => errors.0,
    }
}

/// The mistakes in one file in /etc, each as it is shown: `line:column: key: problem; help`.
fn told(text: &str) -> Vec<String> {
    let machine = Machine::new(&[(ETC, text)]);
    match machine.load() {
        Ok(_) => panic!("taken for good:\n{text}"),
        Err(errors) => {
            let shown = machine.relative(&errors.to_string());
            let place = "/etc/lockkeeper/lockkeeper.toml:";
            shown.lines().map(|line| line.strip_prefix(place).unwrap().to_owned()).collect()
        }
    }
}
