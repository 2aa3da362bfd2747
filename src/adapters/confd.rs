//! A file that is made of keys: staged beside the old one, checked, put in its place, read by its program.
//!
//! The last good file stays whatever goes wrong. That a program has yet to read the new one is written
//! down before the file is there, so that a crash between the two is made good at the next start.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    command::{Command, CommandError},
    state_file::sync_dir,
};
use crate::{
    config::confd::Resource,
    core::template::{Keys, Template, TemplateError, Value},
};

/// A command of a resource that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file could not be brought up to date. The one that is there stays, and stays in force.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Something about a file.
    #[error("cannot {what} {path}")]
    File {
        /// Done to it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A template is wrong, or a key that it needs is not there.
    #[error("{path}: {source}")]
    Template {
        /// Which.
        path: PathBuf,
        /// Why.
        source: TemplateError,
    },
    /// A command said no.
    #[error("{dest}: {what} failed")]
    Command {
        /// The file it is about.
        dest: PathBuf,
        /// `check_cmd` or `reload_cmd`.
        what: &'static str,
        /// What it said.
        source: CommandError,
    },
    /// A command did not end.
    #[error("{dest}: {what} took longer than {} s", PATIENCE.as_secs())]
    Late {
        /// The file it is about.
        dest: PathBuf,
        /// `check_cmd` or `reload_cmd`.
        what: &'static str,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The file was as it should be.
    Same,
    /// It is new, and was read.
    New,
    /// It was as it should be, but had not been read yet; now it was.
    Read,
}

/// Brings the file of a resource up to date with `keys`.
///
/// # Errors
/// What went wrong. Called again, it goes on where it stopped.
pub async fn deliver(resource: &Resource, keys: &Keys) -> Result<Delivered, DeliveryError> {
    let text = fs::read_to_string(&resource.template)
        .map_err(|source| file("read", &resource.template, source))?;
    let made = Template::parse(&text).and_then(|template| template.render(&Value::Nothing, keys));
    let path = || resource.template.clone();
    let made = made.map_err(|source| DeliveryError::Template { path: path(), source })?;

    let (staged, owed) = (beside(&resource.dest, "staged"), beside(&resource.dest, "unread"));
    if is_so(resource, &made) {
        if !owed.exists() {
            return Ok(Delivered::Same);
        }
        reload(resource, &owed).await?;
        return Ok(Delivered::Read);
    }
    stage(resource, &staged, &made).map_err(|source| file("write", &staged, source))?;
    if let Err(error) = check(resource, &staged).await {
        let _ = fs::remove_file(&staged);
        return Err(error);
    }
    File::create(&owed).map_err(|source| file("write", &owed, source))?;
    sync_folder(&owed)?;
    fs::rename(&staged, &resource.dest)
        .map_err(|source| file("replace", &resource.dest, source))?;
    sync_folder(&owed)?;
    reload(resource, &owed).await?;
    Ok(Delivered::New)
}

/// A hidden file in the folder of `path`; no program includes those.
fn beside(path: &Path, kind: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{kind}"))
}

/// Whether the file is there, with this content, mode and owner.
fn is_so(resource: &Resource, text: &str) -> bool {
    let Ok(meta) = fs::metadata(&resource.dest) else { return false };
    fs::read(&resource.dest).is_ok_and(|found| found == text.as_bytes())
        && resource.mode.is_none_or(|mode| meta.mode() & 0o7777 == mode)
        && resource.uid.is_none_or(|uid| meta.uid() == uid)
        && resource.gid.is_none_or(|gid| meta.gid() == gid)
}

fn stage(resource: &Resource, staged: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match fs::metadata(&resource.dest) {
        _ if resource.mode.is_some() => resource.mode,
        Ok(meta) => Some(meta.mode() & 0o777),
        Err(_) => None,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged)?;
    file.write_all(text.as_bytes())?;
    if resource.uid.is_some() || resource.gid.is_some() {
        fchown(&file, resource.uid, resource.gid)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode.unwrap_or(0o644)))?;
    file.sync_all()
}

async fn check(resource: &Resource, staged: &Path) -> Result<(), DeliveryError> {
    let Some(command) = &resource.check_cmd else { return Ok(()) };
    let src = BTreeMap::from([("src".to_owned(), staged.to_string_lossy().into_owned())]);
    let path = || resource.file.clone();
    let command = Template::parse(command)
        .and_then(|template| template.render(&Value::Map(src), &Keys::default()))
        .map_err(|source| DeliveryError::Template { path: path(), source })?;
    shell(resource, "check_cmd", &command).await
}

async fn reload(resource: &Resource, owed: &Path) -> Result<(), DeliveryError> {
    if let Some(command) = &resource.reload_cmd {
        shell(resource, "reload_cmd", command).await?;
    }
    fs::remove_file(owed).map_err(|source| file("remove", owed, source))
}

async fn shell(resource: &Resource, what: &'static str, line: &str) -> Result<(), DeliveryError> {
    let dest = || resource.dest.clone();
    match timeout(PATIENCE, Command::new("/bin/sh").args(["-c", line]).output()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(DeliveryError::Command { dest: dest(), what, source }),
        Err(_late) => Err(DeliveryError::Late { dest: dest(), what }),
    }
}

fn sync_folder(of: &Path) -> Result<(), DeliveryError> {
    sync_dir(of).map_err(|source| file("sync the folder of", of, source))
}

fn file(what: &'static str, path: &Path, source: io::Error) -> DeliveryError {
    DeliveryError::File { what, path: path.to_owned(), source }
}
