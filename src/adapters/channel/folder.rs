//! A channel in a folder: a medium that was carried here, or what another program has fetched.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use futures_util::{TryStreamExt, stream};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::AsyncReadExt;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use super::error::{FetchError, Reason};

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// The files below a folder; nothing that lies elsewhere is ever read, and nothing but plain files.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder that has `metadata` and `targets`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn open(&self, relative: &str) -> io::Result<std::fs::File> {
        let path = Path::new(relative);
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::Error::other("it lies elsewhere"));
        }
        // Step by step: whoever writes the folder may have put a link anywhere in it.
        let folder = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&self.0, folder, Mode::empty())?;
        let parts: Vec<_> = path.components().map(Component::as_os_str).collect();
        let Some((name, folders)) = parts.split_last() else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        for part in folders {
            at = rustix::fs::openat(&at, *part, folder | OFlags::NOFOLLOW, Mode::empty())?;
        }
        // A pipe is not waited for.
        let file = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&at, *name, file, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no plain file"));
        }
        Ok(file.into())
    }
}

#[async_trait]
impl Transport for Folder {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = |url: &Url, error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => TransportErrorKind::FileNotFound,
                _ => TransportErrorKind::Other,
            };
            let cause = FetchError::new(Reason::Unreachable, error.to_string());
            TransportError::new_with_cause(kind, url, cause)
        };
        let path = super::client::relative(&url);
        let file = path.and_then(|path| self.open(&path)).map_err(|error| failed(&url, error))?;
        let pieces = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async {
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece).await?;
            piece.truncate(count);
            Ok((count > 0).then(|| (piece.into(), file)))
        });
        Ok(Box::pin(pieces.map_err(move |error| failed(&url, error))))
    }
}
