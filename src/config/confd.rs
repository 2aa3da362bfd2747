//! Template resources as confd has them: which file is made of which template and keys.
//!
//! ```text
//! CONFDIR/conf.d/*.toml     one resource each, its table named `template`
//! CONFDIR/templates/SRC     what it is made of
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::core::template::keys::absolute;

/// A resource cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfdError {
    /// A file or a folder of the confdir.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or with keys that are missing or not known.
    #[error("{path}: {source}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// A value that cannot be used.
    #[error("{path}: {what}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is nothing to do.
    #[error("no resource in {0}: put files *.toml there (docs/load-balancers.md)")]
    Empty(PathBuf),
}

/// A file that is kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The file that describes it.
    pub file: PathBuf,
    /// The template's text.
    pub template: PathBuf,
    /// The file that is made.
    pub dest: PathBuf,
    /// What goes before each key.
    pub prefix: String,
    /// Keys that it is made of, each with all below it.
    pub keys: Vec<String>,
    /// Its permissions; without, those of the file that is there, or 0644.
    pub mode: Option<u32>,
    /// Its owner; without, whoever makes it.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// A template of a shell command that says whether the new file, `{{.src}}`, is good.
    pub check_cmd: Option<String>,
    /// A shell command that has it read.
    pub reload_cmd: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    template: Table,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    src: PathBuf,
    dest: PathBuf,
    keys: Vec<String>,
    #[serde(default)]
    prefix: String,
    mode: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    check_cmd: Option<String>,
    reload_cmd: Option<String>,
}

/// All resources of a confdir, by file name, and what is wrong with the others. `prefix` counts instead
/// of their own, if it is given.
///
/// # Errors
/// When the folder cannot be read or has none.
pub fn load(
    confdir: &Path,
    prefix: Option<&str>,
) -> Result<(Vec<Resource>, Vec<ConfdError>), ConfdError> {
    let folder = confdir.join("conf.d");
    let read = |source| ConfdError::Read { path: folder.clone(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in files {
        match resource(confdir, prefix, &file) {
            Ok(resource) => good.push(resource),
            Err(error) => bad.push(error),
        }
    }
    if good.is_empty() && bad.is_empty() {
        return Err(ConfdError::Empty(folder));
    }
    Ok((good, bad))
}

fn resource(confdir: &Path, given: Option<&str>, file: &Path) -> Result<Resource, ConfdError> {
    let path = || file.to_owned();
    let text =
        fs::read_to_string(file).map_err(|source| ConfdError::Read { path: path(), source })?;
    let document: Document =
        toml::from_str(&text).map_err(|source| ConfdError::Syntax { path: path(), source })?;
    let Table { src, dest, keys, prefix, mode, uid, gid, check_cmd, reload_cmd } =
        document.template;
    let wrong = |what: &str| ConfdError::Value { path: path(), what: what.to_owned() };
    if !dest.is_absolute() || dest.file_name().is_none() {
        return Err(wrong("dest must be the whole path of a file"));
    }
    let prefix = given.map_or(prefix, str::to_owned);
    if keys.is_empty() || keys.iter().any(|key| absolute(&prefix, key).is_empty()) {
        return Err(wrong("keys must name some, and not all there are"));
    }
    let mode = mode.map(|mode| mode_of(&mode).ok_or_else(|| wrong("mode must be like \"0644\"")));
    Ok(Resource {
        file: path(),
        template: confdir.join("templates").join(src),
        dest,
        prefix,
        keys,
        mode: mode.transpose()?,
        uid,
        gid,
        check_cmd: check_cmd.filter(|command| !command.is_empty()),
        reload_cmd: reload_cmd.filter(|command| !command.is_empty()),
    })
}

/// Octal, with the 0 that says so.
fn mode_of(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|rest| !rest.starts_with('+'))?;
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777)
}
