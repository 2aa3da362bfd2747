//! JSON documents that survive a power cut: written beside the old one, synced, renamed over it.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// A document that could not be written or read. The file holds the old document or the new one,
/// never a part.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file system said no.
    #[error("cannot {what} {path}")]
    Io {
        /// `write`, `read`, `remove`.
        what: &'static str,
        /// The document.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not the document it should be.
    #[error("{path} is damaged")]
    Damaged {
        /// The document.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A newer lockkeeper wrote it; to guess at its meaning could lose what it says.
    #[error("{path} has schema {found}, this lockkeeper reads up to {newest}")]
    Newer {
        /// The document.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// The newest schema this program knows.
        newest: u32,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateFileError {
    move |source| StateFileError::Io { what, path: path.to_owned(), source }
}

/// Writes `document` durably: when this returns, a power cut cannot take it away; when it fails or
/// is cut off, the old document is still there.
///
/// The document carries its own `schema` (a number) at the top level, see [`read`].
pub fn write<T: Serialize>(path: &Path, document: &T) -> Result<(), StateFileError> {
    let mut text = serde_json::to_vec_pretty(document)
        .map_err(|source| StateFileError::Damaged { path: path.to_owned(), source })?;
    text.push(b'\n');
    replace(path, &text, 0o640).map_err(io("write", path))
}

/// Reads a document; `None` when there is none. `newest`: the newest schema the caller understands.
pub fn read<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<Option<T>, StateFileError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let damaged = |source| StateFileError::Damaged { path: path.to_owned(), source };
    let header: Header = serde_json::from_slice(&text).map_err(damaged)?;
    if header.schema > u64::from(newest) {
        return Err(StateFileError::Newer { path: path.to_owned(), found: header.schema, newest });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Removes a document durably; it need not exist.
pub fn remove(path: &Path) -> Result<(), StateFileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path).map_err(io("remove", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("remove", path)(error)),
    }
}

#[derive(serde::Deserialize)]
struct Header {
    schema: u64,
}

/// One fixed name: what a power cut leaves behind is overwritten by the next write.
fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Puts `text` in place of a file durably, and never half written. `mode`: of a file newly made.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path)
}

/// Makes durable that a file is in its folder, or is not.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Doc {
        schema: u32,
        text: String,
    }

    fn doc(text: &str) -> Doc {
        Doc { schema: 2, text: text.to_owned() }
    }

    #[test]
    fn what_was_written_is_read_back_and_there_is_no_temporary_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert!(read::<Doc>(&path, 2).unwrap().is_none());
        write(&path, &doc("one")).unwrap();
        write(&path, &doc("two")).unwrap();
        assert_eq!(read::<Doc>(&path, 2).unwrap().unwrap(), doc("two"));
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["state.json"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn a_temporary_torn_by_a_power_cut_is_neither_read_nor_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, &doc("old")).unwrap();
        fs::write(temporary(&path), b"{\"schema\": 2, \"text\": \"a much longer text, to").unwrap();
        assert_eq!(read::<Doc>(&path, 2).unwrap().unwrap(), doc("old"));
        write(&path, &doc("new")).unwrap();
        assert_eq!(read::<Doc>(&path, 2).unwrap().unwrap(), doc("new"));
        assert!(!temporary(&path).exists());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_document() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, &doc("old")).unwrap();
        // The temporary's name is taken by a folder: the write cannot begin.
        fs::create_dir(temporary(&path)).unwrap();
        let error = write(&path, &doc("new")).unwrap_err();
        assert!(matches!(error, StateFileError::Io { what: "write", .. }), "{error:?}");
        assert_eq!(read::<Doc>(&path, 2).unwrap().unwrap(), doc("old"));
    }

    #[test]
    fn a_newer_schema_is_refused_even_when_its_shape_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, r#"{"schema": 3, "words": ["of", "tomorrow"]}"#).unwrap();
        let error = read::<Doc>(&path, 2).unwrap_err();
        assert!(matches!(error, StateFileError::Newer { found: 3, newest: 2, .. }), "{error:?}");
    }

    #[test]
    fn a_cut_or_foreign_document_is_damaged_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for text in
            ["", "{\"schema\": 2, \"te", "[]", "{\"text\": \"no schema\"}", "{\"schema\": 2}"]
        {
            fs::write(&path, text).unwrap();
            let error = read::<Doc>(&path, 2).unwrap_err();
            assert!(matches!(error, StateFileError::Damaged { .. }), "{text}: {error:?}");
        }
    }

    #[test]
    fn removing_is_idempotent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, &doc("one")).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
