//! May an installed package go, for an update that would have it removed?

use super::{choice::Rules, record::any_matches};

/// An installed package that an update would have removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable {
    /// Package, without architecture.
    pub name: String,
    /// It says itself that the system cannot do without it (`Essential`, `Protected`).
    pub essential: bool,
    /// The admin holds it.
    pub held: bool,
    /// It is part of the kernel that runs.
    pub runs: bool,
}

/// What stands against it, as a fragment that follows its name; `None` when it may go.
#[must_use]
pub fn objection(rules: &Rules, package: &Removable) -> Option<&'static str> {
    let named = |globs: &[String]| any_matches(globs, &package.name);
    let against = [
        (!rules.removals, "packages.removals is \"refuse\""),
        (package.essential, "the system needs it"),
        (package.held, "it is on hold"),
        (package.runs, "it is part of the kernel that runs"),
        (package.name == "lockkeeper", "it is what updates this machine"),
        (named(&rules.deny), "packages.deny names it"),
        (!rules.allow.is_empty() && !named(&rules.allow), "packages.allow does not name it"),
    ];
    against.into_iter().find_map(|(applies, why)| applies.then_some(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::choice::{Distribution, Origins};

    #[test]
    fn what_a_machine_or_its_admin_needs_stays() {
        let mut rules = Rules::of(&Origins::All, Distribution::default()).unwrap();
        let old = Removable { name: "old".into(), essential: false, held: false, runs: false };
        assert_eq!(objection(&rules, &old), Some("packages.removals is \"refuse\""));
        rules.removals = true;
        assert_eq!(objection(&rules, &old), None);
        for (package, why) in [
            (Removable { essential: true, ..old.clone() }, "the system needs it"),
            (Removable { held: true, ..old.clone() }, "it is on hold"),
            (Removable { runs: true, ..old.clone() }, "it is part of the kernel that runs"),
            (
                Removable { name: "lockkeeper".into(), ..old.clone() },
                "it is what updates this machine",
            ),
        ] {
            assert_eq!(objection(&rules, &package), Some(why));
        }
        rules.deny = vec!["o*".into()];
        assert_eq!(objection(&rules, &old), Some("packages.deny names it"));
        rules.deny = vec![];
        rules.allow = vec!["new".into()];
        assert_eq!(objection(&rules, &old), Some("packages.allow does not name it"));
        rules.allow.push("old".into());
        assert_eq!(objection(&rules, &old), None);
    }
}
