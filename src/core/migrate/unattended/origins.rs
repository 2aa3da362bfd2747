//! Archives: `Origins-Pattern` and the older `Allowed-Origins`.

use super::{Left, Options, Translation, list};

const PATTERNS: &str = "Unattended-Upgrade::Origins-Pattern";
const ALLOWED: &str = "Unattended-Upgrade::Allowed-Origins";

pub(super) fn translate(options: &Options, found: &mut Translation) {
    let (new, old) = (options.list(PATTERNS), options.list(ALLOWED));
    let from = if new.is_empty() { ALLOWED } else { PATTERNS };
    let new = new.into_iter().map(|text| (PATTERNS, text, pattern(text)));
    let all = new.chain(old.into_iter().map(|text| (ALLOWED, text, allowed_origin(text))));
    let mut patterns = Vec::new();
    for (option, text, translated) in all.filter(|(_, text, _)| !text.is_empty()) {
        match translated {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => {
                let why = format!("{why}: packages from there are not updated");
                found.left.push(Left::new(format!("{option} {text:?}"), why));
            }
        }
    }
    if !patterns.is_empty() {
        return found.set("packages.origins", list(&patterns), from);
    }
    // Without the key lockkeeper takes the distribution's own archives: more than was asked for.
    let why = "it names no archive that can be named here: set packages.origins";
    found.left.push(Left::blocks(from.to_owned(), why, "packages.origins"));
}

/// `origin=Debian,codename=${distro_codename}-updates` → `o=Debian,n=${codename}-updates`
fn pattern(text: &str) -> Result<String, String> {
    let text = text.replace("\\,", "\0");
    let part = |part: &str| {
        let (key, value) = part.split_once('=').ok_or("it has a part without \"=\"".to_owned())?;
        let key = match key.trim() {
            "o" | "origin" => "o",
            "l" | "label" => "l",
            "a" | "archive" | "suite" => "a",
            "n" | "codename" => "n",
            "c" | "component" => "c",
            "site" => "site",
            other => return Err(format!("{other:?} is not known here")),
        };
        Ok(format!("{key}={}", glob(value.trim())?.replace('\0', "\\,")))
    };
    Ok(text.split(',').map(part).collect::<Result<Vec<_>, String>>()?.join(","))
}

/// `Debian:${distro_codename}-security`, or with a space → `o=Debian,a=${codename}-security`
fn allowed_origin(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = if text.contains(':') {
        text.split(':').collect()
    } else {
        text.split_whitespace().collect()
    };
    let [origin, suite] = parts[..] else {
        return Err("it is not one origin and one archive".to_owned());
    };
    let value = |text: &str| Ok::<_, String>(glob(text.trim())?.replace(',', "\\,"));
    Ok(format!("o={},a={}", value(origin)?, value(suite)?))
}

/// fnmatch(3) with the macros of Python's templates → `*` with ours.
fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['?', '[', '=', '\\']) {
        return Err(format!("{text:?} cannot be written as a pattern here"));
    }
    let text = text.replace("${distro_codename}", "${codename}");
    let rest = text.replace("${codename}", "").replace("${distro_id}", "");
    if rest.contains('$') {
        return Err(format!("{text:?} has a variable that is not known here"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::testing::of;

    #[test]
    fn patterns_of_archives_are_carried_over_and_what_cannot_be_is_named() {
        let list = |name: &'static str, values: &[&'static str]| {
            values.iter().map(|value| (name, *value)).collect::<Vec<_>>()
        };
        let patterns = list(
            "Unattended-Upgrade::Origins-Pattern::",
            &[
                "origin=Debian,codename=${distro_codename},label=Debian",
                "site=*.example.com, o=${distro_id}",
                "origin=Google\\, Inc.,suite=contrib",
                "o=a\\b",
                "o=A,n=${distro_release}",
                "o=$distro_id",
                "x=A",
                "o=A?",
            ],
        );
        let allowed = list(
            "Unattended-Upgrade::Allowed-Origins::",
            &[
                "${distro_id}:${distro_codename}-security",
                "Debian stable",
                "Inc, Ltd:stable",
                "a:b:c",
                "a\\:b:c",
            ],
        );
        let found = of(&[patterns, allowed].concat());
        assert_eq!(
            found.value("packages.origins"),
            "[\"o=Debian,n=${codename},l=Debian\", \"site=*.example.com,o=${distro_id}\", \
             'o=Google\\, Inc.,a=contrib', \"o=${distro_id},a=${codename}-security\", \
             \"o=Debian,a=stable\", 'o=Inc\\, Ltd,a=stable']"
        );
        let left: Vec<_> = found.left.iter().filter(|l| l.option.contains("rigins")).collect();
        assert_eq!(left.len(), 7, "{left:?}");
        assert!(left.iter().all(|l| l.why.ends_with("are not updated") && !l.blocks));
    }

    #[test]
    fn without_an_archive_nothing_is_written_since_more_would_be_updated() {
        for options in [&[][..], &[("Unattended-Upgrade::Origins-Pattern::", "o=A?")]] {
            let found = of(options);
            assert_eq!(found.value("packages.origins"), "");
            let key = Some("packages.origins".to_owned());
            assert!(found.left.iter().any(|left| left.blocks && left.key == key));
        }
    }
}
