//! What the repositories have, by their metadata.

use super::{program, version};
use crate::adapters::packages::{Layout, PackageError};

const FORMAT: &str = "%{name}\\t%{arch}\\t%{evr}\\t%{reponame}\\t%{downloadsize}\\t%{chksum}\\n";

/// A package of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Package, without architecture.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Epoch (unless it is 0), version and release.
    pub evr: String,
    /// Id of the repository.
    pub repository: String,
    /// Size of its file in bytes.
    pub size: u64,
    /// SHA-256 of its file; `None` when the repository gives another kind of digest.
    pub sha256: Option<String>,
}

/// Those with these names (`name-evr.arch`); what is excluded is among them.
pub async fn named(
    layout: &Layout,
    names: impl IntoIterator<Item = String>,
) -> Result<Vec<Offer>, PackageError> {
    let names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    query(layout, names).await
}

/// The newest version of each installed package that has a newer one; what is excluded is among them.
pub async fn newer(layout: &Layout) -> Result<Vec<Offer>, PackageError> {
    query(layout, ["--upgrades", "--latest-limit=1"].map(str::to_owned).into()).await
}

async fn query(layout: &Layout, arguments: Vec<String>) -> Result<Vec<Offer>, PackageError> {
    let query = program::with_our_metadata(layout)?;
    let query = query.args(["-q", "-C", "--disableexcludes=all", "repoquery", "--qf", FORMAT]);
    let done = query.args(arguments).finish().await?;
    if !done.status.success() {
        let said = program::complaint(&done);
        return Err(PackageError::Said { doing: "asking what the repositories have", said });
    }
    parse(&done.stdout)
}

fn parse(text: &str) -> Result<Vec<Offer>, PackageError> {
    let offer = |line: &str| {
        let mut fields = line.splitn(6, '\t');
        let mut next = || fields.next().map(str::to_owned);
        Some(Offer {
            name: next()?,
            arch: next()?,
            evr: version::short(&next()?).to_owned(),
            repository: next()?,
            size: next()?.parse().ok()?,
            sha256: sha256(&next()?),
        })
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            offer(line).ok_or_else(|| PackageError::Output {
                program: "dnf repoquery",
                line: line.to_owned(),
            })
        })
        .collect()
}

/// Reads a digest as dnf prints it: a Python tuple of its kind and its bytes, `(2, b'\xfc…')`. Of its
/// kinds only SHA-256 has 32 bytes.
fn sha256(text: &str) -> Option<String> {
    let (_, bytes) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(", b")?;
    let quote = bytes.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let bytes = bytes.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut found = Vec::new();
    let mut letters = bytes.chars();
    while let Some(letter) = letters.next() {
        found.push(match letter {
            '\\' => escaped(&mut letters)?,
            other => u8::try_from(other).ok()?,
        });
    }
    (found.len() == 32).then(|| crate::core::plan::hex(&found))
}

/// What stands behind a backslash in a Python bytes literal, as `repr` writes it.
fn escaped(letters: &mut std::str::Chars<'_>) -> Option<u8> {
    Some(match letters.next()? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'x' => {
            let digits: String = letters.take(2).collect();
            u8::from_str_radix(&digits, 16).ok()?
        }
        other @ ('\\' | '\'' | '"') => u8::try_from(other).ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: &str = include_str!("../../../tests/fixtures/dnf/debian-12/repoquery.txt");

    #[test]
    fn a_digest_is_read_from_pythons_words() {
        let offers = parse(OFFERS).unwrap();
        let digests: Vec<String> = offers.into_iter().filter_map(|offer| offer.sha256).collect();
        // from sha256sum(1)
        let expected: Vec<&str> =
            include_str!("../../../tests/fixtures/dnf/debian-12/sha256sum.txt")
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .collect();
        assert_eq!(digests, expected);
    }

    #[test]
    fn another_kind_of_digest_is_none_and_a_short_line_an_error() {
        for text in ["", "(none)", "(1, b'abc')", "(2, b'\\q')", "(2, '')", "(2, b'\\x')"] {
            assert_eq!(sha256(text), None, "{text}");
        }
        assert!(parse("a\tnoarch\t1-1\tlab\n").is_err());
        let offer = parse("a\tnoarch\t0:1-1\tlab\t5\t(none)\n").unwrap().remove(0);
        assert_eq!((offer.evr.as_str(), offer.size, offer.sha256), ("1-1", 5, None));
    }
}
