//! What a template works with.

use std::{collections::BTreeMap, fmt};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// None: the dot of a template that is given keys only.
    Nothing,
    /// `true`, `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Some, in order.
    List(Vec<Self>),
    /// A key with its value: `.Key`, `.Value`.
    Pair(String, String),
    /// Named ones: `.src`.
    Map(BTreeMap<String, String>),
}

impl Value {
    /// A list of texts.
    pub(super) fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::List(texts.into_iter().map(Self::Text).collect())
    }

    /// Whether it counts as true: what is empty does not.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Pair(..) => true,
            Self::Map(map) => !map.is_empty(),
        }
    }

    /// Its field.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        let found = match (self, name) {
            (Self::Pair(key, _), "Key") => Some(key),
            (Self::Pair(_, value), "Value") => Some(value),
            (Self::Map(map), _) => map.get(name),
            _ => None,
        };
        found
            .cloned()
            .map(Self::Text)
            .ok_or_else(|| format!("{} has no field .{name}", self.kind()))
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Pair(..) => "a key with its value",
            Self::Map(_) => "a map",
        }
    }
}

/// As Go prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("<no value>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Pair(key, value) => write!(f, "{{{key} {value}}}"),
            Self::List(list) => {
                let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", texts.join(" "))
            }
            Self::Map(map) => {
                let texts: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                write!(f, "map[{}]", texts.join(" "))
            }
        }
    }
}
