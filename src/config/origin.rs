//! Where a value comes from.

use std::{fmt, path::Path, sync::Arc};

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No file says anything.
    BuiltIn,
    /// A file says so.
    File(Place),
    /// No file names a time zone: the machine's own, and how that was found.
    SystemZone(String),
}

impl Origin {
    /// The place in a file, if it is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::File(place) => Some(place),
            Self::BuiltIn | Self::SystemZone(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// `file:line`, or what else it is.
impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => out.write_str("built-in"),
            Self::File(place) => write!(out, "{}:{}", place.file.display(), place.line),
            Self::SystemZone(how) => out.write_str(how),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Located<T> {
    pub(super) fn built_in(value: T) -> Self {
        Self { value, origin: Origin::BuiltIn }
    }
}

/// Turns byte offsets into lines and columns.
pub(super) struct Lines<'a> {
    file: Arc<Path>,
    text: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &Arc<Path>, text: &'a str) -> Self {
        Self { file: file.clone(), text }
    }

    /// The place of a byte offset; one past the end is the end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
