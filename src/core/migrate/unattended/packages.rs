//! Packages by name: `Package-Blacklist` and `Package-Whitelist`.

use super::{
    Left, Options, Translation,
    globs::{Globs, globs},
    list,
};

const DENIED: &str = "Unattended-Upgrade::Package-Blacklist";
const ALLOWED: &str = "Unattended-Upgrade::Package-Whitelist";
const STRICT: &str = "Unattended-Upgrade::Package-Whitelist-Strict";

pub(super) fn translate(options: &Options, found: &mut Translation) {
    denied(options, found);
    allowed(options, found);
}

/// More may be denied than was, and nothing less.
fn denied(options: &Options, found: &mut Translation) {
    let mut names = Vec::new();
    for text in options.list(DENIED) {
        let option = format!("{DENIED} {text:?}");
        match globs(text) {
            Some(Globs::Same(globs)) if globs.is_empty() => {
                found.left.push(Left::new(option, "no package has such a name"));
            }
            Some(Globs::Same(globs)) => names.extend(globs),
            Some(Globs::More(globs)) => {
                let why = format!("\"*\" cannot say quite the same: denied is {}", list(&globs));
                found.left.push(Left::new(option, why));
                names.extend(globs);
            }
            None => {
                let why = "this expression is not understood: deny what it means in packages.deny";
                found.left.push(Left::blocks(option, why, "packages.deny"));
            }
        }
    }
    if !names.is_empty() {
        found.set("packages.deny", list(&names), DENIED);
    }
}

/// Nothing may be allowed that was not. No name at all would allow everything.
fn allowed(options: &Options, found: &mut Translation) {
    let expressions = options.list(ALLOWED);
    let mut names = Vec::new();
    for text in &expressions {
        match globs(text) {
            Some(Globs::Same(globs)) if !globs.is_empty() => names.extend(globs),
            _ => {
                let why = "\"*\" cannot say the same: what it means is not updated";
                found.left.push(Left::new(format!("{ALLOWED} {text:?}"), why));
            }
        }
    }
    if expressions.is_empty() {
        return;
    }
    if names.is_empty() {
        let why =
            "nothing of it can be said here, and then everything is updated: set packages.allow";
        return found.left.push(Left::blocks(ALLOWED.to_owned(), why, "packages.allow"));
    }
    found.set("packages.allow", list(&names), ALLOWED);
    if options.yes(STRICT, false) {
        found.set("packages.new_dependencies", "\"refuse\"".to_owned(), STRICT);
    } else {
        let why = "of what an allowed package needs only new packages come along; what is installed \
                   is updated only if it is allowed itself";
        found.left.push(Left::new(format!("{STRICT} \"false\""), why));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::of;

    const DENY: &str = "Unattended-Upgrade::Package-Blacklist::";
    const ALLOW: &str = "Unattended-Upgrade::Package-Whitelist::";
    const STRICT: &str = "Unattended-Upgrade::Package-Whitelist-Strict";

    #[test]
    fn nothing_less_is_denied_than_was() {
        let found = of(&[(DENY, "(lib)?xen"), (DENY, "linux-image-5.10"), (DENY, "Mail")]);
        let names = "[\"libxen*\", \"xen*\", \"linux-image-5*10*\"]";
        assert_eq!(found.value("packages.deny"), names);
        let about: Vec<_> = found.left.iter().filter(|l| l.option.contains("Blacklist")).collect();
        assert!(about[0].why.contains("denied is [\"linux-image-5*10*\"]"), "{about:?}");
        assert_eq!((about.len(), about[1].why.as_str()), (2, "no package has such a name"));
        assert!(!about.iter().any(|left| left.blocks));
        let found = of(&[(DENY, "(?!linux)"), (DENY, "a$")]);
        assert!(found.left.iter().any(|l| l.blocks && l.key.as_deref() == Some("packages.deny")));
    }

    #[test]
    fn nothing_more_is_allowed_than_was() {
        let found = of(&[(ALLOW, "bash$"), (ALLOW, "lib.{2}"), (STRICT, "true")]);
        assert_eq!(found.value("packages.allow"), "[\"bash\"]");
        assert_eq!(found.value("packages.new_dependencies"), "\"refuse\"");
        let lost = found.left.iter().find(|left| left.option.contains("lib.{2}")).unwrap();
        assert!(lost.why.contains("is not updated") && !lost.blocks);
        let found = of(&[(ALLOW, "lib.{2}")]);
        assert_eq!(found.value("packages.allow"), "");
        assert!(found.left.iter().any(|l| l.blocks && l.key.as_deref() == Some("packages.allow")));
        // Without a list it means nothing.
        assert_eq!(of(&[(STRICT, "true")]).value("packages.new_dependencies"), "");
    }
}
