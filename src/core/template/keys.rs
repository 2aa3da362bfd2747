//! The keys a template is given, and the ways confd has of asking for them.

use std::collections::{BTreeMap, BTreeSet};

/// Keys with their values. Each key is a path, `/service/web-1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, String>);

/// Letters that a value of lockkeeper's own keys may have beside letters and digits. None of them ends a
/// word, a line or a block in the configuration of a load balancer.
const PLAIN: &str = "._:/@+,=[]-";

impl Keys {
    /// Those of `found` that are `wanted` (a key names itself and all below it), without the prefix.
    #[must_use]
    pub fn below(prefix: &str, wanted: &[String], found: &BTreeMap<String, String>) -> Self {
        let tops: Vec<String> = wanted.iter().map(|key| absolute(prefix, key)).collect();
        let is_wanted = |key: &str| tops.iter().any(|top| is_at_or_below(top, key));
        let prefix = absolute(prefix, "");
        let relative = |key: &String| absolute("", key.strip_prefix(&prefix).unwrap_or(key));
        let wanted = found.iter().filter(|(key, _)| is_wanted(key));
        Self(wanted.map(|(key, value)| (relative(key), value.clone())).collect())
    }

    /// These, without those that are no plain words, and which those are. Whoever may write a key could
    /// write anything into a configuration with them.
    #[must_use]
    pub fn plain(self) -> (Self, Vec<String>) {
        let plain = |text: &str| {
            text.chars().all(|letter| letter.is_ascii_alphanumeric() || PLAIN.contains(letter))
        };
        let (good, odd): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.0.into_iter().partition(|(key, value)| plain(key) && plain(value));
        (Self(good), odd.into_keys().collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Those that match a pattern, by key.
    pub(super) fn all(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        if pattern.contains(['[', '\\']) {
            return Err(format!("pattern {pattern:?}: only * and ? are known here"));
        }
        let pattern: Vec<char> = pattern.chars().collect();
        let fits = |key: &str| matches(&pattern, &key.chars().collect::<Vec<_>>());
        let found = self.0.iter().filter(|(key, _)| fits(key));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// The names directly below a path; with `folders`, only those that have something below them.
    pub(super) fn list(&self, path: &str, folders: bool) -> Vec<String> {
        let path = path.trim_end_matches('/');
        let below = self.0.keys().filter_map(|key| {
            if key == path && !folders {
                return key.rsplit('/').next();
            }
            let rest = key.strip_prefix(path)?.strip_prefix('/')?;
            match rest.split_once('/') {
                Some((folder, _)) => Some(folder),
                None => (!folders).then_some(rest),
            }
        });
        below.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl FromIterator<(String, String)> for Keys {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(keys: T) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// The key below the prefix, as it is in the store: `/a/b`, nothing at its end. The root is empty.
#[must_use]
pub fn absolute(prefix: &str, key: &str) -> String {
    let parts = prefix.split('/').chain(key.split('/')).filter(|part| !part.is_empty());
    parts.fold(String::new(), |path, part| path + "/" + part)
}

fn is_at_or_below(top: &str, key: &str) -> bool {
    key.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `*` is anything within one part of a path, `?` one letter of it.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => {
            let part = text.iter().take_while(|letter| **letter != '/').count();
            (0..=part).any(|taken| matches(rest, &text[taken..]))
        }
        Some(('?', rest)) => {
            text.first().is_some_and(|letter| *letter != '/') && matches(rest, &text[1..])
        }
        Some((letter, rest)) => text.first() == Some(letter) && matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), format!("v{key}"))).collect()
    }

    #[test]
    fn a_resource_sees_what_it_asks_for_without_the_prefix() {
        let found = found(&[
            "/l/v1/service/a",
            "/l/v1/services/a",
            "/l/v1/name",
            "/l/v1/x/y",
            "/service/b",
        ]);
        let wanted = ["/service".to_owned(), "name".to_owned()];
        let keys = Keys::below("/l/v1/", &wanted, &found);
        assert_eq!(keys.0.keys().collect::<Vec<_>>(), ["/name", "/service/a"]);
        let all = Keys::below("", &["/".to_owned()], &found);
        assert_eq!(all.0.len(), 5, "without prefix and keys, everything");
    }

    #[test]
    fn a_star_stays_within_a_part_of_a_path() {
        let keys: Keys = found(&["/a/b", "/a/b/c", "/a/bc", "/b"]).into_iter().collect();
        let names = |pattern: &str| -> Vec<String> {
            keys.all(pattern).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(names("/a/*"), ["/a/b", "/a/bc"]);
        assert_eq!(names("/*/b*"), ["/a/b", "/a/bc"]);
        assert_eq!(names("/a/b?"), ["/a/bc"]);
        assert_eq!(names("/a/*/*"), ["/a/b/c"]);
        assert_eq!(names("*"), [""; 0]);
        assert!(keys.all("/a/[bc]").is_err());
    }

    #[test]
    fn names_below_a_path_are_listed_once() {
        let keys: Keys = found(&["/a/b/x", "/a/b/y", "/a/c", "/ab/d"]).into_iter().collect();
        assert_eq!(keys.list("/a", false), ["b", "c"]);
        assert_eq!(keys.list("/a/", true), ["b"]);
        assert_eq!(keys.list("/a/c", false), ["c"]);
        assert_eq!(keys.list("/", false), ["a", "ab"]);
    }

    #[test]
    fn what_could_end_a_word_of_a_configuration_is_no_plain_word() {
        for odd in ["a;", "a b", "a\nb", "{", "}", "a#", "\"", "'", "$x", "\\", "(", "ü", "`", "\0"]
        {
            let keys: Keys = [("/a".to_owned(), odd.to_owned())].into_iter().collect();
            let (good, out) = keys.plain();
            assert_eq!((good, out), (Keys::default(), vec!["/a".to_owned()]), "{odd:?}");
        }
        let words = ["in-service", "192.0.2.1", "[2001:db8::1]", "web-1.example.com", ""];
        let keys: Keys =
            words.map(|word| (format!("/k/{word}"), word.to_owned())).into_iter().collect();
        assert_eq!(keys.clone().plain(), (keys, vec![]));
    }
}
