//! A copy of a channel: all of it, checked, for others to fetch from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tough::Transport;

use super::{
    ChannelError, Reason,
    client::{Channel, Client},
    recorder::Recorder,
};
use crate::adapters::state_file;

/// How many files came, and how many were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Those that came.
    pub new: usize,
    /// Those that were there already.
    pub known: usize,
}

/// Copies a channel to `folder`, which has `metadata` and `targets` afterwards. Files that nobody names
/// any more stay; the timestamp is replaced last, so that readers see the old channel or the new one.
///
/// # Errors
/// When something is not what was signed; then the copy is as it was, but for files that nobody names.
pub async fn mirror<T>(
    transport: T,
    trust: &Path,
    folder: &Path,
) -> Result<(Channel, Copied), ChannelError>
where
    T: Transport + Clone + 'static,
{
    let recorder = Recorder::of(transport);
    let client = Client::new(trust, &folder.join(".seen"));
    let channel = client.open(recorder.clone()).await?;
    let stored = |path: &Path, error: io::Error| {
        ChannelError::new("the copy", Reason::Store, format!("{}: {error}", path.display()))
    };
    for part in ["metadata", "targets"] {
        let path = folder.join(part);
        fs::create_dir_all(&path).map_err(|error| stored(&path, error))?;
    }
    let mut copied = Copied::default();
    for (name, file) in channel.files() {
        let path = folder.join("targets").join(file);
        if is_there(&path, channel.size(&name)) {
            copied.known += 1;
        } else {
            channel.save(&name, &path).await?;
            copied.new += 1;
        }
    }
    let (last, first): (Vec<_>, Vec<_>) =
        recorder.seen().into_iter().partition(|(path, _)| path.ends_with("/timestamp.json"));
    for (path, text) in first.into_iter().chain(last) {
        let path: PathBuf = folder.join(path);
        state_file::replace(&path, &text, 0o644).map_err(|error| stored(&path, error))?;
    }
    Ok((channel, copied))
}

/// A file's name has its digest, and only whole files get there.
fn is_there(path: &Path, size: Option<u64>) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && Some(about.len()) == size)
}
