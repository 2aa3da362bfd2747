//! What all documents of a channel have in common: JSON that is read strictly.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Fields that a document has and this version of lockkeeper does not know.
pub(super) type Others = BTreeMap<String, Value>;

/// Why a document is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON of the expected shape.
    #[error("it cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of another format.
    #[error("it has format {found}, and this version of lockkeeper knows format {known}")]
    Schema {
        /// What it says.
        found: u32,
        /// What is known here.
        known: u32,
    },
    /// It has a field that may mean anything.
    #[error("{place} has \"{field}\", which this version of lockkeeper does not know")]
    Unknown {
        /// The part of the document.
        place: String,
        /// The name.
        field: String,
    },
    /// A value that does not make sense.
    #[error("{0}")]
    Value(String),
}

/// Reads a document without looking at what it says.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, DocumentError> {
    Ok(serde_json::from_slice(text)?)
}

/// Refuses another format.
pub(super) fn schema(found: u32, known: u32) -> Result<(), DocumentError> {
    if found == known { Ok(()) } else { Err(DocumentError::Schema { found, known }) }
}

/// Refuses what is not known: it may be a condition. Names that begin with `x-` never are.
pub(super) fn known(place: &str, others: &Others) -> Result<(), DocumentError> {
    match others.keys().find(|name| !name.starts_with("x-")) {
        None => Ok(()),
        Some(field) => {
            Err(DocumentError::Unknown { place: place.to_owned(), field: field.clone() })
        }
    }
}
