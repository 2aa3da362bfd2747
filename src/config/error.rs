//! What can be wrong with configuration files, all of it at once.

use std::{fmt, path::Path, sync::Arc};

use super::origin::Place;

/// Exit code of a command that met a bad configuration.
pub const EXIT_CODE: u8 = 3;

/// What sort of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The file or directory cannot be read.
    Unreadable,
    /// The file is not TOML.
    Syntax,
    /// No such key.
    UnknownKey,
    /// A window or freeze lacks a key it needs.
    MissingKey,
    /// Another type is needed.
    WrongType,
    /// The type is right, the value is not.
    BadValue,
    /// Two values do not go together.
    Conflict,
}

impl Kind {
    /// Its stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::WrongType => "wrong-type",
            Self::BadValue => "bad-value",
            Self::Conflict => "conflict",
        }
    }
}

/// One mistake: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct ConfigError {
    /// The file (or directory).
    pub file: Arc<Path>,
    /// Where in it, if it could be read.
    pub place: Option<Place>,
    /// The whole key, such as `check.interval`; empty if the file as a whole is meant.
    pub key: String,
    /// What sort of mistake.
    pub kind: Kind,
    /// What is wrong.
    pub problem: String,
    /// What to do, if there is something to say.
    pub help: Option<String>,
}

impl ConfigError {
    fn sentence(&self) -> String {
        let at = match &self.place {
            Some(place) => place.to_string(),
            None => self.file.display().to_string(),
        };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let help = self.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{at}: {key}{}{help}", self.problem)
    }
}

/// Every mistake of every file, in the order of the layers; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

/// One mistake a line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(out, "{newline}{error}")?;
        }
        Ok(())
    }
}
