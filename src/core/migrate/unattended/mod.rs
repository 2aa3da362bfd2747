//! unattended-upgrades' configuration in lockkeeper's words.
//!
//! Its options are apt's; what they mean is in its README, in 50unattended-upgrades, and where those
//! are silent in the program. What would let lockkeeper do more than unattended-upgrades did, and
//! cannot be said here, is left to the administrator before anything is written.

use std::fmt::Write as _;

use serde::Serialize;

pub use options::Options;

use crate::core::doctor::Unattended;

mod globs;
mod options;
mod origins;
mod packages;
mod rest;
mod times;

const REBOOT: &str = "Unattended-Upgrade::Automatic-Reboot";
const WITH_USERS: &str = "Unattended-Upgrade::Automatic-Reboot-WithUsers";
const AT_SHUTDOWN: &str = "Unattended-Upgrade::InstallOnShutdown";

/// A key of lockkeeper's configuration and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `packages.origins`; `window` for a whole table.
    pub key: String,
    /// The value as TOML; of a table its lines.
    pub value: String,
    /// The option it was.
    pub from: String,
}

/// An option that is not carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The option, with its value.
    pub option: String,
    /// Why, and what there is instead.
    pub why: String,
    /// Nothing is written before the administrator has set `key`.
    pub blocks: bool,
    /// The key that says the same.
    #[serde(skip)]
    pub key: Option<String>,
}

/// What becomes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// What has an equivalent.
    pub settings: Vec<Setting>,
    /// What has none, or needs none.
    pub left: Vec<Left>,
}

/// What of unattended-upgrades is on a machine and can start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The program.
    pub program: bool,
    /// apt's timer that starts it, and what that starts.
    pub timer: bool,
    /// Its service, which works at shutdown.
    pub service: bool,
}

impl Options {
    /// There is a configuration of it, apart from what a switch-over writes.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let is_switch = |name: &str| name.eq_ignore_ascii_case(AT_SHUTDOWN);
        self.below("Unattended-Upgrade::").any(|(name, _)| !is_switch(name))
    }

    /// What unattended-upgrades does, where so much of it is installed. As apt.systemd.daily sees it:
    /// any interval but 0 is one.
    #[must_use]
    pub fn does(&self, installed: Installed) -> Unattended {
        let stopped = self.one("APT::Periodic::Enable").and_then(|n| n.trim().parse::<i64>().ok());
        let every = self.one("APT::Periodic::Unattended-Upgrade").unwrap_or("0");
        let daily = installed.timer && stopped != Some(0) && every != "0";
        let at_shutdown = installed.service && self.yes(AT_SHUTDOWN, false);
        if !installed.program || !(daily || at_shutdown) {
            Unattended::Nothing
        } else if self.yes(REBOOT, false) {
            Unattended::Reboots
        } else {
            Unattended::Installs
        }
    }
}

/// Translates. Nothing is added that was not asked for.
#[must_use]
pub fn translate(options: &Options) -> Translation {
    let mut found = Translation::default();
    strategy(options, &mut found);
    origins::translate(options, &mut found);
    packages::translate(options, &mut found);
    times::translate(options, &mut found);
    rest::translate(options, &mut found);
    found
}

fn strategy(options: &Options, found: &mut Translation) {
    let key = Some("strategy".to_owned());
    if !options.yes(REBOOT, false) {
        let why = "lockkeeper reboots where an update needs it, and so installs nothing while strategy \
                   is \"off\": choose one";
        let option = format!("{REBOOT} \"false\"");
        return found.left.push(Left { key, ..Left::new(option, why) });
    }
    if !options.yes(WITH_USERS, true) {
        found.set("blockers.users", "\"wait\"".to_owned(), WITH_USERS);
    }
    found.set("strategy", "\"reboot\"".to_owned(), REBOOT);
}

impl Left {
    fn new(option: String, why: impl Into<String>) -> Self {
        Self { option, why: why.into(), blocks: false, key: None }
    }

    fn blocks(option: String, why: &str, key: &str) -> Self {
        Self { blocks: true, key: Some(key.to_owned()), ..Self::new(option, why) }
    }
}

impl Translation {
    fn set(&mut self, key: &str, value: String, from: &str) {
        self.settings.push(Setting { key: key.to_owned(), value, from: from.to_owned() });
    }

    /// Does not overrule the administrator. `place`: where a key is set by them, if it is.
    pub fn spare(&mut self, place: impl Fn(&str) -> Option<String>) {
        let why = |key: &str| Some(format!("{key} is set already, in {}", place(key)?));
        for left in &mut self.left {
            if let Some(why) = left.key.as_deref().and_then(&why) {
                *left = Left { why, blocks: false, ..left.clone() };
            }
        }
        self.settings.retain(|setting| {
            let why = why(&setting.key);
            let left = why.map(|why| Left::new(setting.from.clone(), why));
            let free = left.is_none();
            self.left.extend(left);
            free
        });
    }

    /// What keeps it from being written.
    pub fn blockers(&self) -> impl Iterator<Item = &Left> {
        self.left.iter().filter(|left| left.blocks)
    }

    /// The drop-in that says all this.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text = "# Written by `rebootctl migrate unattended-upgrades`. What is here counts \
                        before lockkeeper.toml.\n"
            .to_owned();
        let (tables, keys): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|setting| setting.key == "window");
        for Setting { key, value, from } in keys {
            let _ = write!(text, "\n# {from}\n{key} = {value}\n");
        }
        for Setting { value, from, .. } in tables {
            let _ = write!(text, "\n# {from}\n[[window]]\n{value}");
        }
        text
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod testing {
    use super::*;

    /// What becomes of these options.
    pub(super) fn of(options: &[(&str, &str)]) -> Translation {
        translate(&with(options))
    }

    pub(super) fn with(options: &[(&str, &str)]) -> Options {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    impl Translation {
        pub(super) fn value(&self, key: &str) -> String {
            let setting = self.settings.iter().find(|setting| setting.key == key);
            setting.map(|setting| setting.value.clone()).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{of, with},
        *,
    };

    #[test]
    fn a_machine_is_rebooted_only_if_it_was_before() {
        let strategy = |found: &Translation| {
            let about = |left: &&Left| left.key.as_deref() == Some("strategy");
            (found.value("strategy"), found.left.iter().find(about).map(|left| left.blocks))
        };
        assert_eq!(strategy(&of(&[(REBOOT, "true")])), ("\"reboot\"".to_owned(), None));
        let nothing = String::new;
        assert_eq!(strategy(&of(&[(REBOOT, "false")])), (nothing(), Some(false)));
        assert_eq!(strategy(&of(&[])), (nothing(), Some(false)));
        let careful = of(&[(REBOOT, "true"), (WITH_USERS, "false")]);
        assert_eq!(strategy(&careful), ("\"reboot\"".to_owned(), None));
        assert_eq!(careful.value("blockers.users"), "\"wait\"");
        assert_eq!(of(&[(REBOOT, "true")]).value("blockers.users"), "");
    }

    #[test]
    fn what_the_administrator_has_set_settles_what_blocks_and_is_not_written() {
        let mut found = of(&[
            (REBOOT, "false"),
            ("Unattended-Upgrade::Package-Blacklist::", "(?!linux)"),
            ("Unattended-Upgrade::Origins-Pattern::", "o=A"),
        ]);
        assert_eq!(found.blockers().count(), 1);
        found.spare(|key| (key == "packages.deny").then(|| "a.toml:3:1".to_owned()));
        assert_eq!(found.blockers().count(), 0);
        let expected = "packages.deny is set already, in a.toml:3:1";
        assert!(found.left.iter().any(|left| left.why == expected), "{:?}", found.left);
        found.spare(|key| (key == "packages.origins").then(|| "b.toml:1:1".to_owned()));
        assert_eq!(found.settings, []);
        let last = found.left.last().unwrap();
        assert_eq!(last.why, "packages.origins is set already, in b.toml:1:1");
    }

    #[test]
    fn it_works_when_it_is_there_and_something_starts_it() {
        use Unattended::{Installs, Nothing, Reboots};
        let all = Installed { program: true, timer: true, service: true };
        let (daily, reboot, shutdown) =
            (("APT::Periodic::Unattended-Upgrade", "1"), (REBOOT, "yes"), (AT_SHUTDOWN, "true"));
        let off = ("APT::Periodic::Enable", "0");
        for (options, installed, expected) in [
            (&[daily][..], all, Installs),
            (&[daily, reboot], all, Reboots),
            (&[daily, off], all, Nothing),
            (&[("APT::Periodic::Unattended-Upgrade", "0"), reboot], all, Nothing),
            (&[("APT::Periodic::Unattended-Upgrade", "always")], all, Installs),
            (&[], all, Nothing),
            (&[daily], Installed { program: false, ..all }, Nothing),
            (&[daily], Installed { timer: false, ..all }, Nothing),
            (&[daily, shutdown], Installed { timer: false, ..all }, Installs),
            (&[off, shutdown], all, Installs),
            (&[shutdown], Installed { service: false, ..all }, Nothing),
        ] {
            assert_eq!(with(options).does(installed), expected, "{options:?} {installed:?}");
        }
    }

    #[test]
    fn texts_of_the_configuration_stay_texts() {
        let odd = "o=a\"\u{7}\\b";
        let value: toml::Table = format!("a = {}", list(&[odd])).parse().unwrap();
        assert_eq!(value["a"][0].as_str(), Some(odd));
        let switch_alone = with(&[(AT_SHUTDOWN, "false")]);
        assert!(!switch_alone.is_known() && with(&[(REBOOT, "false")]).is_known());
    }
}
