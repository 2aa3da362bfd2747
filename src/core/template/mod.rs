//! Templates as confd has them: a part of Go's text/template, with confd's functions on keys.
//!
//! ```text
//! text ─► lexer: tokens ─► parser: nodes ─► render(dot, keys): text
//! ```
//!
//! What is not in the part is an error, never passed over: `docs/load-balancers.md` lists what is.
//! Values that are missing are errors too, where Go prints `<no value>`: half a configuration is worse
//! than the last one.

mod functions;
pub mod keys;
mod lexer;
mod parser;
mod printf;
mod render;
mod value;

pub use keys::Keys;
pub use value::Value;

use parser::Node;

/// What is wrong with a template, or with what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TemplateError {
    /// Counted from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

/// A template, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Node>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing in it that is wrong, or not known here.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parser::parse(lexer::lex(text)?).map(Self)
    }

    /// The text that it makes of `dot` and the keys.
    ///
    /// # Errors
    /// When a key, a field or a function's argument is not there, or is of the wrong kind.
    pub fn render(&self, dot: &Value, keys: &Keys) -> Result<String, TemplateError> {
        render::render(&self.0, dot, keys)
    }
}
