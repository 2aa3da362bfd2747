//! Reads the text of one file into a [`Fragment`], collecting every mistake in it.

use std::{path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    entries,
    error::{ConfigError, Kind},
    keys::{Fragment, known_keys},
    origin::{Lines, Located, Origin, Place},
    probes, suggest,
    zones::Zones,
};

/// A value with its place.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// Reads the parts of one file and remembers what is wrong with them.
pub(super) struct Reader<'a> {
    lines: Lines<'a>,
    pub(super) zones: &'a Zones,
    errors: Vec<ConfigError>,
}

/// What `text`, the content of `file`, says. A fragment with errors has only what is right in it.
pub(super) fn read(file: &Arc<Path>, text: &str, zones: &Zones) -> (Fragment, Vec<ConfigError>) {
    let mut fragment = Fragment::default();
    let errors = parse(file, text, zones, |reader, table| walk(reader, &mut fragment, table, ""));
    (fragment, errors)
}

/// Hands the table that `text`, the content of `file`, is to `walk`, and answers every mistake, in
/// order.
pub(super) fn parse(
    file: &Arc<Path>,
    text: &str,
    zones: &Zones,
    walk: impl FnOnce(&mut Reader<'_>, &DeTable<'_>),
) -> Vec<ConfigError> {
    let mut reader = Reader { lines: Lines::new(file, text), zones, errors: Vec::new() };
    let (table, syntax) = DeTable::parse_recoverable(text);
    walk(&mut reader, table.get_ref());
    let mut errors = reader.errors;
    let broken: Vec<ConfigError> =
        syntax.iter().map(|error| syntax_error(file, text, error)).collect();
    if !broken.is_empty() {
        errors.retain(|error| is_reliable(error, &broken));
        errors.extend(broken);
    }
    errors.sort_by(|one, other| one.place.cmp(&other.place));
    errors
}

fn walk(reader: &mut Reader<'_>, fragment: &mut Fragment, table: &DeTable<'_>, prefix: &str) {
    for (name, node) in table {
        let path = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if path == "window" {
            fragment.windows = reader.list(&path, node, entries::window);
        } else if path == "freeze" {
            fragment.freezes = reader.list(&path, node, entries::freeze);
        } else if path == "probe" {
            fragment.probes = reader.list(&path, node, probes::probe);
        } else if fragment.set(reader, &path, node) {
        } else if !is_section(&path) {
            reader.unknown(name, &path, suggest::key(&path, known_keys()));
        } else if let DeValue::Table(table) = node.get_ref() {
            walk(reader, fragment, table, &path);
        } else {
            let help = format!("write [{path}] on a line of its own, and its keys below");
            reader.wrong_type(&path, node, "a section", Some(help));
        }
    }
}

fn is_section(path: &str) -> bool {
    known_keys().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Not a consequence of a part that could not be parsed.
fn is_reliable(error: &ConfigError, broken: &[ConfigError]) -> bool {
    let line = |error: &ConfigError| error.place.as_ref().map(|place| place.line);
    error.kind != Kind::MissingKey && broken.iter().all(|other| line(other) != line(error))
}

fn syntax_error(file: &Arc<Path>, text: &str, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(text.len(), |span| span.start);
    ConfigError {
        file: file.clone(),
        place: Some(Lines::new(file, text).place(offset)),
        key: String::new(),
        kind: Kind::Syntax,
        problem: error.message().replace('\n', " "),
        help: None,
    }
}

impl Reader<'_> {
    /// A value read by `read`, with where it is.
    pub(super) fn located<T>(
        &mut self,
        key: &str,
        node: &Node<'_>,
        read: impl FnOnce(&mut Self, &str, &Node<'_>) -> Option<T>,
    ) -> Option<Located<T>> {
        let value = read(self, key, node)?;
        Some(Located { value, origin: Origin::File(self.lines.place(node.span().start)) })
    }

    /// Something is wrong with the value of `key`.
    pub(super) fn complain(
        &mut self,
        kind: Kind,
        key: &str,
        node: &Node<'_>,
        problem: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let place = self.lines.place(node.span().start);
        self.push(place, kind, key, problem.into(), help.into());
    }

    /// `key` needs a value of another type.
    pub(super) fn wrong_type(
        &mut self,
        key: &str,
        node: &Node<'_>,
        needed: &str,
        help: Option<String>,
    ) {
        let found = match node.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            DeValue::String(_) => "a string",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Table(_) => "a table",
        };
        self.complain(Kind::WrongType, key, node, format!("needs {needed}, found {found}"), help);
    }

    /// `path`, whose last part is written at `name`, is no key.
    pub(super) fn unknown(&mut self, name: &Spanned<DeString<'_>>, path: &str, help: String) {
        let place = self.lines.place(name.span().start);
        self.push(place, Kind::UnknownKey, path, "unknown key".to_owned(), Some(help));
    }

    fn push(&mut self, place: Place, kind: Kind, key: &str, problem: String, help: Option<String>) {
        let (file, key) = (place.file.clone(), printable(key));
        self.errors.push(ConfigError { file, place: Some(place), key, kind, problem, help });
    }

    /// A list of tables, as `[[key]]` or in line. `None` if any entry is wrong.
    fn list<T>(
        &mut self,
        key: &str,
        node: &Node<'_>,
        read: impl Fn(&mut Self, &str, &Node<'_>, &DeTable<'_>) -> Option<T>,
    ) -> Option<Located<Vec<T>>> {
        let DeValue::Array(array) = node.get_ref() else {
            let help = format!("write [[{key}]], with two brackets, above each");
            self.wrong_type(key, node, "a list of tables", Some(help));
            return None;
        };
        let read_one = |(index, node): (usize, &Node<'_>)| {
            let key = format!("{key}[{index}]");
            if let DeValue::Table(table) = node.get_ref() {
                return read(self, &key, node, table);
            }
            self.wrong_type(&key, node, "a table", None);
            None
        };
        // All are read, so that all mistakes are found.
        let entries: Vec<Option<T>> = array.iter().enumerate().map(read_one).collect();
        let value = entries.into_iter().collect::<Option<Vec<T>>>()?;
        Some(Located { value, origin: Origin::File(self.lines.place(node.span().start)) })
    }
}

/// A key as it can be shown on one line of a terminal.
fn printable(key: &str) -> String {
    key.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
