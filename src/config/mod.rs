//! Configuration: what the files say, what the layers add up to, what the program may rely on.
//!
//! ```text
//! files ─► Fragment (one file, each value with its place) ─► Merged (all layers) ─► Settings
//! ```
//!
//! [`load`] reads a machine's files, [`load_file`] one file over the built-in values. Both collect
//! every error of every file. `keys` is the one list of what can be configured; `layers` the one
//! list of where it is read from.

mod choices;
pub mod confd;
pub mod duration;
mod entries;
mod error;
mod fragment;
pub mod hub;
mod keys;
mod layers;
mod origin;
pub mod probes;
pub mod settings;
mod suggest;
mod validate;
mod value;
mod zones;

use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, EXIT_CODE, Kind};
pub use keys::{Effective, known_keys};
pub use layers::PRECEDENCE;
pub use origin::{Origin, Place};
use settings::Settings;
pub use zones::{SystemZone, system_zone};

use keys::Merged;
use layers::Layer;
use zones::Zones;

/// A good configuration, and where each part of it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program may rely on.
    pub settings: Settings,
    /// Every key with its value and origin, in the order of the manual.
    pub keys: Vec<Effective>,
    /// The files that were read, weakest first. Masked and missing ones are not among them.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration of the machine whose root directory is `root` (`/`, except in tests).
/// Files that do not exist are fine.
pub fn load(root: &Path) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let layers = layers::read(root, &mut errors);
    assemble(&layers, &Zones::new(root), errors)
}

/// Reads one file, which must exist, over the built-in values, as if no other were there.
pub fn load_file(path: &Path) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let layers: Vec<Layer> = layers::read_one(path, &mut errors).into_iter().collect();
    assemble(&layers, &Zones::new(Path::new("/")), errors)
}

/// Reads the configuration below `root` as if there were one more drop-in, `name`, in its
/// /etc/lockkeeper/conf.d.
pub fn load_with(root: &Path, name: &str, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let layers = layers::read_with(root, name, text, &mut errors);
    assemble(&layers, &Zones::new(root), errors)
}

fn assemble(
    layers: &[Layer],
    zones: &Zones,
    mut errors: Vec<ConfigError>,
) -> Result<Loaded, ConfigErrors> {
    let mut merged = Merged::built_in();
    for layer in layers {
        let (fragment, found) = fragment::read(&layer.path, &layer.text, zones);
        errors.extend(found);
        merged.overlay(fragment);
    }
    let files: Vec<&Path> = layers.iter().map(|layer| &*layer.path).collect();
    errors.extend(validate::check(&merged, &files));
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let keys = merged.effective();
    let files = files.into_iter().map(Path::to_owned).collect();
    Ok(Loaded { settings: merged.into_settings(), keys, files })
}

impl Loaded {
    /// Where the value of `key` comes from; `None` for a key that does not exist.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.keys.iter().find(|effective| effective.key == key).map(|effective| &effective.origin)
    }
}
