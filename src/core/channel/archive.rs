//! Archives that a release brings along: a snapshot, say, that keeps what the others have replaced.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where only root puts keys: a file elsewhere may be anybody's.
const KEYRINGS: [&str; 3] =
    ["/usr/share/keyrings/", "/etc/apt/keyrings/", "/etc/apt/trusted.gpg.d/"];
/// The most that one set may bring.
pub(super) const MOST: usize = 16;

/// One archive, as sources.list(5) has it. It is as trusted as any other: by its own signature, with
/// keys that the node has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Where it is: `https://snapshot.example.com/debian/20260901T000000Z`.
    pub uri: String,
    /// The suite, or a path that ends with `/`.
    pub suite: String,
    /// The components; none with a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// The file on the node with the keys that may have signed it; otherwise those that apt trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// It may be older than it says of itself: a snapshot is never signed anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_expired: bool,
}

/// What of one line in sources.list(5) is not understood, or not wanted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write it like \"deb [check-valid-until=no] https://snapshot.example.com/debian/2026 bookworm main\""
)]
pub struct NoArchive(String);

impl Archive {
    /// Reads a line as sources.list(5) has it.
    ///
    /// # Errors
    /// When it is none, or has an option that a release must not have.
    pub fn parse(line: &str) -> Result<Self, NoArchive> {
        let wrong = |what: &str| NoArchive(format!("{line:?} {what}"));
        let rest =
            line.trim().strip_prefix("deb ").ok_or_else(|| wrong("is no line of \"deb\""))?;
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| wrong("has no \"]\""))?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (uri, suite) = (words.next(), words.next());
        let mut archive = Self {
            uri: uri.unwrap_or_default(),
            suite: suite.unwrap_or_default(),
            components: words.collect(),
            signed_by: None,
            may_be_expired: false,
        };
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", path)) => archive.signed_by = Some(path.to_owned()),
                Some(("check-valid-until", "no")) => archive.may_be_expired = true,
                _ => return Err(wrong(&format!("has {option}, which a release must not have"))),
            }
        }
        archive.check().map_err(NoArchive)?;
        Ok(archive)
    }

    /// What would mean something else to apt.
    pub(super) fn check(&self) -> Result<(), String> {
        let word = |text: &str, more: &str| {
            !text.is_empty()
                && text.len() <= 1000
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let rest = self.uri.strip_prefix("https://").or_else(|| self.uri.strip_prefix("http://"));
        if !rest.is_some_and(|rest| word(rest, "._~-/:+%@=,")) {
            return Err(format!(
                "{:?} is no address of an archive (http:// or https://)",
                self.uri
            ));
        }
        if !word(&self.suite, "._~-/+") || self.suite.ends_with('/') != self.components.is_empty() {
            return Err(format!("{:?} is no suite with components", self.suite));
        }
        if let Some(odd) = self.components.iter().find(|component| !word(component, "._-/+")) {
            return Err(format!("{odd:?} is no component"));
        }
        let key = |path: &String| {
            let rest = KEYRINGS.iter().find_map(|folder| path.strip_prefix(folder));
            rest.is_some_and(|rest| word(rest, "._-+") && !rest.starts_with('.'))
        };
        match self.signed_by.as_ref().filter(|path| !key(path)) {
            Some(path) => {
                let folders = KEYRINGS.join(", ");
                Err(format!("{path:?} is no file with keys directly below one of {folders}"))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Archive {
    /// The line for apt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.signed_by.as_ref().map(|path| format!("signed-by={path}"));
        let expired = self.may_be_expired.then(|| "check-valid-until=no".to_owned());
        let options: Vec<String> = key.into_iter().chain(expired).collect();
        f.write_str("deb ")?;
        if !options.is_empty() {
            write!(f, "[{}] ", options.join(" "))?;
        }
        write!(f, "{} {}", self.uri, self.suite)?;
        self.components.iter().try_for_each(|component| write!(f, " {component}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_written_alike() {
        for line in [
            "deb https://snapshot.example.com/debian/20260901T000000Z bookworm main contrib",
            "deb [signed-by=/usr/share/keyrings/a.gpg check-valid-until=no] http://a.example.com/d ./",
        ] {
            assert_eq!(Archive::parse(line).unwrap().to_string(), line);
        }
    }

    #[test]
    fn what_would_lead_around_a_signature_or_into_another_line_is_refused() {
        for (line, why) in [
            ("deb [trusted=yes] http://a.example.com ./", "has trusted=yes"),
            ("deb [allow-insecure=yes] http://a.example.com ./", "has allow-insecure=yes"),
            ("deb-src http://a.example.com ./", "is no line of"),
            ("deb file:/srv/archive ./", "is no address"),
            ("deb http://a.example.com bookworm", "is no suite with components"),
            ("deb http://a.example.com ./ main", "is no suite with components"),
            ("deb http://a.example.com/[x] ./", "is no address"),
            ("deb [signed-by=a.gpg] http://a.example.com ./", "is no file with keys"),
            ("deb [signed-by=/tmp/a.gpg] http://a.example.com ./", "is no file with keys"),
            (
                "deb [signed-by=/etc/apt/keyrings/../../tmp/a.gpg] http://a.example.com ./",
                "is no file with keys",
            ),
            ("deb", "is no line of"),
        ] {
            let said = Archive::parse(line).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
        let mut archive = Archive::parse("deb http://a.example.com ./").unwrap();
        archive.uri.push_str(" ./\ndeb http://b.example.com");
        assert!(archive.check().is_err());
    }
}
