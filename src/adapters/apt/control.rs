//! Debian control data: stanzas of `Field: value` lines.

/// The value of a field's first line, `None` when the stanza has no such field.
#[must_use]
pub fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `Package`, `Architecture` and `Version` of a stanza that has all three.
#[must_use]
pub fn identity(stanza: &str) -> Option<(&str, &str, &str)> {
    Some((field(stanza, "Package")?, field(stanza, "Architecture")?, field(stanza, "Version")?))
}

/// The stanza's `Installed-Size` in bytes (the field has KiB); 0 when it does not say.
#[must_use]
pub fn installed_bytes(stanza: &str) -> u64 {
    let kib = field(stanza, "Installed-Size").and_then(|size| size.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The packages a relation names: `alpha (<< 1.1), beta:any | gamma`.
pub fn names(relation: &str) -> impl Iterator<Item = &str> {
    let words = relation.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    words.map(|word| word.split([':', '(', '[']).next().unwrap_or(word))
}

/// The stanzas of a text, as `apt-cache show` prints them.
pub fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|stanza| !stanza.trim().is_empty())
}

/// The stanza of this name, architecture and version, as an archive has it. What dpkg alone knows of has
/// no digest. Where archives do not agree on what a version is, nobody knows which of them is meant.
#[must_use]
pub fn archived<'a>(identity_of: (&str, &str, &str), shown: &'a str) -> Option<&'a str> {
    let digest = |stanza: &str| field(stanza, "SHA256").map(str::to_ascii_lowercase);
    let mut found = stanzas(shown)
        .filter(|stanza| identity(stanza) == Some(identity_of) && digest(stanza).is_some());
    let stanza = found.next()?;
    if found.any(|other| digest(other) != digest(stanza)) { None } else { Some(stanza) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
Package: alpha
Architecture: all
Version: 1.1
Installed-Size: 10
Description: test
 Version: not a field, it is indented

Package: beta
Architecture: amd64
Version: 1:1.1
";

    #[test]
    fn stanzas_are_told_apart_and_continued_lines_are_no_fields() {
        let found: Vec<_> = stanzas(SHOWN).filter_map(identity).collect();
        assert_eq!(found, [("alpha", "all", "1.1"), ("beta", "amd64", "1:1.1")]);
    }

    #[test]
    fn a_relation_names_packages_whatever_it_says_of_them() {
        let relation = "alpha (<< 1.1), beta:any |gamma(>= 2) ,\n delta [amd64]";
        assert_eq!(names(relation).collect::<Vec<_>>(), ["alpha", "beta", "gamma", "delta"]);
        assert_eq!(names("\n").count(), 0);
    }

    #[test]
    fn sizes_are_bytes_and_a_missing_one_is_nothing() {
        let sizes: Vec<_> = stanzas(SHOWN).map(installed_bytes).collect();
        assert_eq!(sizes, [10 * 1024, 0]);
    }
}
