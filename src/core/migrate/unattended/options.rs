//! apt's options (apt.conf(5)).

use std::str;

/// Name and value of each option, in apt's order. A list's elements have names that end in `::`, or
/// names of their own below the list's. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Reads what `apt-config dump --format '%F=%V%n'` prints: names and values %-encoded.
    #[must_use]
    pub fn parse(dump: &str) -> Self {
        let both = |line: &str| line.split_once('=').map(|(n, v)| (decoded(n), decoded(v)));
        dump.lines().filter_map(both).collect()
    }

    /// The elements of a list.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        let element = |(tag, value)| {
            let own = after(tag, name)?.strip_prefix("::")?;
            (!own.contains("::")).then_some(value)
        };
        self.iter().filter_map(element).collect()
    }

    /// The value of one option, if it has one.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.iter().filter(|(tag, _)| tag.eq_ignore_ascii_case(name));
        values.next_back().map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// Whether it is on: apt's idea of yes and no, else `default`.
    #[must_use]
    pub fn yes(&self, name: &str, default: bool) -> bool {
        let value = self.one(name).map(str::to_ascii_lowercase).unwrap_or_default();
        match value.as_str() {
            "1" | "yes" | "true" | "with" | "on" | "enable" => true,
            "0" | "no" | "false" | "without" | "off" | "disable" => false,
            _ => default,
        }
    }

    /// Every option with a value whose name begins so, with the name as it is written.
    pub fn below(&self, start: &str) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(move |(tag, value)| after(tag, start).is_some() && !value.is_empty())
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(options: T) -> Self {
        Self(options.into_iter().collect())
    }
}

/// What is behind `start`.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// `%20` → a space. What is not UTF-8 is replaced.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code =
            tail.get(..2).filter(|_| *first == b'%').and_then(|hex| str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_read_whatever_is_in_it() {
        let options = Options::parse(
            "A=\nA::B=\nA::B::=x%20%22y%22%3d25%25%20%c3%a9\nA::B::named=z\nA::B::C::=deeper\n\
             A::Yes=1\nA::yes=oN\nA::Bx=no\nA::Empty=\n",
        );
        assert_eq!(options.list("a::b"), ["x \"y\"=25% é", "z"]);
        assert_eq!(options.one("A::B"), None);
        assert_eq!(options.one("a::YES"), Some("oN"));
        assert!(options.yes("A::Yes", false) && !options.yes("A::Bx", true));
        assert!(options.yes("A::Empty", true) && !options.yes("A::Nothing", false));
        let below: Vec<_> = options.below("a::b::").map(|(name, _)| name).collect();
        assert_eq!(below, ["A::B::", "A::B::named", "A::B::C::"]);
        assert_eq!(Options::parse("A=%zz%4").one("A"), Some("%zz%4"));
    }
}
