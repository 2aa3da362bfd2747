//! The log of a plan's transaction.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use super::PackageError;

/// What a transaction prints in one attempt, at the end of a file that keeps all attempts.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Written to by whoever takes part.
    pub file: File,
    start: usize,
}

impl Log {
    /// Opens it, or begins it.
    pub fn open(path: PathBuf) -> Result<Self, PackageError> {
        let open = || {
            let file = File::options().create(true).append(true).open(&path)?;
            let start = usize::try_from(file.metadata()?.len()).unwrap_or(0);
            Ok((file, start))
        };
        let (file, start) = open().map_err(PackageError::io("open", &path))?;
        Ok(Self { path, file, start })
    }

    /// What was printed in this attempt.
    pub fn read(&self) -> Result<String, PackageError> {
        let text = fs::read(&self.path).map_err(PackageError::io("read", &self.path))?;
        Ok(String::from_utf8_lossy(text.get(self.start..).unwrap_or_default()).into_owned())
    }
}
