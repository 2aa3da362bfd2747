//! Which files there are, and which is stronger. The only part that reads configuration files.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::error::{ConfigError, Kind};

/// Where values come from, the weakest first. Drop-ins (`*.toml` in a `conf.d`) are sorted by file
/// name across the three directories; of several with one name, only the one in the strongest
/// directory is read. The manual lists exactly this, by a test.
pub const PRECEDENCE: [&str; 6] = [
    "the values built into the program",
    "/usr/lib/lockkeeper/lockkeeper.toml",
    "/etc/lockkeeper/lockkeeper.toml",
    "/usr/lib/lockkeeper/conf.d/*.toml",
    "/etc/lockkeeper/conf.d/*.toml",
    "/run/lockkeeper/conf.d/*.toml",
];

/// A file larger than this is no configuration.
const LARGEST_FILE: u64 = 1 << 20;

/// A file and what is in it.
pub(super) struct Layer {
    pub(super) path: Arc<Path>,
    pub(super) text: String,
}

/// Every file below `root`, the weakest first. What cannot be read is an error; what does not exist
/// is not.
pub(super) fn read(root: &Path, errors: &mut Vec<ConfigError>) -> Vec<Layer> {
    let paths: Vec<PathBuf> = main(root).chain(drop_ins(root, errors)).collect();
    paths.iter().filter_map(|path| read_one(path, errors)).collect()
}

/// The same as if there were one more drop-in of the administrator's.
pub(super) fn read_with(
    root: &Path,
    name: &str,
    text: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<Layer> {
    let path = root.join("etc/lockkeeper/conf.d").join(name);
    let file_name = |path: &Path| path.file_name().map(OsStr::to_owned);
    let mut drop_ins = drop_ins(root, errors);
    drop_ins.retain(|other| file_name(other) != file_name(&path));
    drop_ins.push(path.clone());
    drop_ins.sort_by_key(|path| file_name(path));
    let paths: Vec<PathBuf> = main(root).chain(drop_ins).collect();
    let layer = |one: &PathBuf| {
        if *one == path {
            return Some(Layer { path: Arc::from(path.as_path()), text: text.to_owned() });
        }
        read_one(one, errors)
    };
    paths.iter().filter_map(layer).collect()
}

/// The files that are no drop-ins, the weakest first.
fn main(root: &Path) -> impl Iterator<Item = PathBuf> {
    let main = ["usr/lib/lockkeeper/lockkeeper.toml", "etc/lockkeeper/lockkeeper.toml"];
    main.map(|path| root.join(path)).into_iter().filter(|path| {
        // A dangling link is there, and is an error when it is read.
        fs::symlink_metadata(path).map_or_else(|error| !missing(&error), |_| true)
    })
}

/// One file, which must exist.
pub(super) fn read_one(path: &Path, errors: &mut Vec<ConfigError>) -> Option<Layer> {
    let layer = Layer { path: Arc::from(path), text: String::new() };
    match read_text(path) {
        Ok(text) => Some(Layer { text, ..layer }),
        Err(problem) => {
            errors.push(unreadable(&layer.path, &problem));
            None
        }
    }
}

/// The drop-ins: by file name, each from the strongest directory that has it. An empty file, or a
/// link to /dev/null, therefore masks a weaker one without a rule of its own.
fn drop_ins(root: &Path, errors: &mut Vec<ConfigError>) -> Vec<PathBuf> {
    let mut by_name = BTreeMap::new();
    for directory in ["usr/lib/lockkeeper/conf.d", "etc/lockkeeper/conf.d", "run/lockkeeper/conf.d"]
    {
        let directory = root.join(directory);
        match names(&directory) {
            Ok(names) => by_name.extend(names.into_iter().map(|name| {
                let path = directory.join(&name);
                (name, path)
            })),
            Err(error) if missing(&error) => {}
            Err(error) => {
                errors.push(unreadable(&Arc::from(directory.as_path()), &error.to_string()));
            }
        }
    }
    by_name.into_values().collect()
}

/// Names of drop-ins in a directory; neither hidden files nor the copies that editors leave.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            names.push(name);
        }
    }
    Ok(names)
}

fn read_text(path: &Path) -> Result<String, String> {
    // Looked at first: opening a FIFO would wait, and a device never ends.
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    let kind = found.file_type();
    if kind.is_char_device()
        && found.rdev() == fs::metadata("/dev/null").map_or(0, |null| null.rdev())
    {
        return Ok(String::new());
    }
    if !kind.is_file() {
        let what = if kind.is_dir() { "a directory" } else { "not a file" };
        return Err(format!("it is {what}"));
    }
    if found.len() > LARGEST_FILE {
        return Err(format!("it is larger than {LARGEST_FILE} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let line = before.matches('\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Arc<Path>, problem: &str) -> ConfigError {
    ConfigError {
        file: path.clone(),
        place: None,
        key: String::new(),
        kind: Kind::Unreadable,
        problem: format!("cannot be read: {problem}"),
        help: None,
    }
}
