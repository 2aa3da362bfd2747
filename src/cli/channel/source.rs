//! Channels of others, and where ours is published.

use std::{fs, io, path::Path};

use url::Url;

use super::{edit::shown, say};
use crate::{
    adapters::{
        channel::{
            ChannelError,
            client::{Channel, Client},
            folder::Folder,
            mirror::{Copied, mirror},
            remote::{Manners, Remote},
        },
        clock,
        command::Command,
        state_file,
    },
    cli::error::CliError,
    observe::logging::chain,
};

/// Where a channel is.
enum Source {
    Server(Remote),
    Folder(Folder),
}

impl Source {
    fn parse(text: &str) -> Result<Self, CliError> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                let remote = Remote::new(&[url], None, Manners::default());
                Ok(Self::Server(remote.map_err(CliError::Failed)?))
            }
            _ if Path::new(text).is_dir() => Ok(Self::Folder(Folder::new(Path::new(text)))),
            _ => {
                let said = format!("{text} is neither http://…, https://… nor a folder");
                Err(CliError::Failed(said))
            }
        }
    }

    async fn open(self, client: &Client) -> Result<Channel, ChannelError> {
        match self {
            Self::Server(remote) => client.open(remote).await,
            Self::Folder(folder) => client.open(folder).await,
        }
    }

    async fn mirror(self, root: &Path, to: &Path) -> Result<(Channel, Copied), ChannelError> {
        match self {
            Self::Server(remote) => mirror(remote, root, to).await,
            Self::Folder(folder) => mirror(folder, root, to).await,
        }
    }
}

/// Reads all documents of a channel, and says what it has.
pub(super) async fn verify(source: &str, root: &Path) -> Result<u8, CliError> {
    // Nothing was seen before, and nothing is remembered.
    let store = tempfile::tempdir()?;
    let channel = Source::parse(source)?.open(&Client::new(root, store.path())).await?;
    let mut text = format!("signed until {}\n", channel.expires());
    for name in channel.names() {
        let listing = channel.listing(&name).await?;
        for offer in &listing.releases {
            channel.release(&offer.version).await?;
        }
        text.push_str(&shown(&listing, clock::wall()));
    }
    say(&text)
}

pub(super) async fn mirror_to(source: &str, to: &Path, root: &Path) -> Result<u8, CliError> {
    let (channel, Copied { new, known }) = Source::parse(source)?.mirror(root, to).await?;
    let until = channel.expires();
    say(&format!("{new} files came, {known} were there; signed until {until}\n"))
}

/// What says that all else is there; it goes last.
const LAST: &str = "metadata/timestamp.json";

/// Copies what is published: the timestamp at the end, so that whoever reads meanwhile sees the old
/// channel or the new one.
pub(super) async fn publish(folder: &Path, target: &str) -> Result<u8, CliError> {
    let public = folder.join("public");
    if !public.join(LAST).is_file() {
        let said = format!("{} has no channel: rebootctl channel init", folder.display());
        return Err(CliError::Failed(said));
    }
    let remote = target.contains(':') && !Path::new(target).exists();
    let count = if remote { by_rsync(&public, target).await? } else { by_copy(&public, target)? };
    say(&format!("{target} is up to date: {count}\n"))
}

async fn by_rsync(public: &Path, target: &str) -> Result<String, CliError> {
    let from = format!("{}/", public.display());
    let to = format!("{}/", target.trim_end_matches('/'));
    let all = ["--recursive", "--times", "--chmod=D755,F644", "--delay-updates"];
    let rounds: [&[&str]; 2] = [
        &["--exclude=/metadata/timestamp.json"],
        &["--include=/metadata/", "--include=/metadata/timestamp.json", "--exclude=*"],
    ];
    for round in rounds {
        let rsync = Command::new("rsync").args(all).args(round).arg("--").arg(&from).arg(&to);
        rsync.output().await.map_err(|error| CliError::Failed(chain(&error)))?;
    }
    Ok("by rsync".to_owned())
}

fn by_copy(public: &Path, target: &str) -> Result<String, CliError> {
    let target = Path::new(target);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| CliError::Failed(format!("{}: {error}", path.display()))
    };
    let mut files = Vec::new();
    for part in ["targets", "metadata"] {
        let made = target.join(part);
        fs::create_dir_all(&made).map_err(failed(&made))?;
        let from = public.join(part);
        for entry in fs::read_dir(&from).map_err(failed(&from))? {
            let name = entry.map_err(failed(&from))?.file_name();
            files.push(Path::new(part).join(name));
        }
    }
    files.sort_by_key(|file| file == Path::new(LAST));
    let mut new = 0;
    for file in &files {
        let text = fs::read(public.join(file)).map_err(failed(file))?;
        let path = target.join(file);
        if fs::read(&path).is_ok_and(|there| there == text) {
            continue;
        }
        state_file::replace(&path, &text, 0o644).map_err(failed(&path))?;
        new += 1;
    }
    Ok(format!("{new} of {} files are new", files.len()))
}
