//! unattended-upgrades' configuration in lockkeeper's words.
//!
//! Its options are apt's (apt.conf(5)), as `apt-config dump` prints them; what they mean is in its
//! README and in 50unattended-upgrades.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

/// apt's options: the values of each name, in order. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, Vec<String>>);

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Left {
    /// The option, with its value.
    pub option: String,
    /// Why, and what there is instead.
    pub why: String,
}

/// What becomes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Translation {
    /// What has an equivalent.
    pub settings: Vec<Setting>,
    /// What has none, or needs none.
    pub left: Vec<Left>,
}

impl Options {
    /// Reads what `apt-config dump` prints: `Name "value";`, `Name:: "value";`.
    #[must_use]
    pub fn parse(dump: &str) -> Self {
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in dump.lines() {
            let Some((name, rest)) = line.split_once(' ') else { continue };
            let Some(value) = rest.strip_prefix('"').and_then(|v| v.strip_suffix("\";")) else {
                continue;
            };
            let name = name.trim_end_matches(':').to_ascii_lowercase();
            let values = options.entry(name).or_default();
            // A list prints its own, empty name first.
            if !value.is_empty() {
                values.push(value.replace("%22", "\"").replace("%25", "%"));
            }
        }
        Self(options)
    }

    fn list(&self, name: &str) -> &[String] {
        self.0.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.list(name).last().map(String::as_str)
    }

    /// apt's idea of yes.
    fn yes(&self, name: &str) -> bool {
        let value = self.one(name).map(str::to_ascii_lowercase).unwrap_or_default();
        ["1", "yes", "true", "with", "on", "enable"].contains(&value.as_str())
    }

    /// unattended-upgrades is told to run.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let every = self.one("APT::Periodic::Unattended-Upgrade");
        every.is_some_and(|every| !matches!(every, "0" | "")) && !self.is_stopped()
    }

    /// It reboots the machine by itself.
    #[must_use]
    pub fn reboots(&self) -> bool {
        self.yes("Unattended-Upgrade::Automatic-Reboot")
    }

    /// All of apt's daily work is switched off.
    fn is_stopped(&self) -> bool {
        self.one("APT::Periodic::Enable") == Some("0")
    }

    /// There is a configuration of it at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.keys().any(|name| name.starts_with("unattended-upgrade"))
    }
}

/// Options that are not carried over, whatever their value, and why.
const NO_EQUIVALENT: [(&str, &str); 15] = [
    ("Mail", "no mail is sent: `rebootctl status`, `history` and the journal tell what happens"),
    ("MailReport", "no mail is sent"),
    ("Sender", "no mail is sent"),
    ("Remove-Unused-Kernel-Packages", "nothing is ever removed: run `apt autoremove` yourself"),
    ("Remove-New-Unused-Dependencies", "nothing is ever removed: run `apt autoremove` yourself"),
    ("Remove-Unused-Dependencies", "nothing is ever removed: run `apt autoremove` yourself"),
    (
        "Automatic-Reboot-WithUsers",
        "users who are logged in do not hold a reboot up; a shutdown inhibitor does",
    ),
    ("MinimalSteps", "not needed: an update is one transaction that a shutdown waits for"),
    ("InstallOnShutdown", "an update is installed in its turn and its window, not at shutdown"),
    ("SyslogEnable", "not needed: everything is in the journal"),
    ("OnlyOnACPower", "the power supply is not looked at"),
    ("Skip-Updates-On-Metered-Connections", "the connection is not looked at"),
    ("AutoFixInterruptedDpkg", "not needed: an interrupted dpkg is always finished first"),
    ("Allow-downgrade", "an older version is never installed"),
    ("Postpone-For-Days", "without an equivalent; a fleet can follow a canary (canary.follow)"),
];

/// Translates. Nothing is added that was not asked for.
#[must_use]
pub fn translate(options: &Options) -> Translation {
    let mut found = Translation::default();
    origins(options, &mut found);
    names(options, &mut found);
    if options.reboots() {
        let from = "Unattended-Upgrade::Automatic-Reboot";
        found.set("strategy", "\"reboot\"".to_owned(), from);
    } else {
        let why = "lockkeeper reboots where an update needs it, and so installs nothing while strategy \
                   is \"off\": choose one";
        found.leave(options, "Automatic-Reboot", why, true);
    }
    window(options, &mut found);
    for (name, why) in NO_EQUIVALENT {
        found.leave(options, name, why, false);
    }
    found
}

impl Translation {
    fn set(&mut self, key: &str, value: String, from: &str) {
        self.settings.push(Setting { key: key.to_owned(), value, from: from.to_owned() });
    }

    /// Names an option that is set, or always.
    fn leave(&mut self, options: &Options, name: &str, why: &str, always: bool) {
        let option = format!("Unattended-Upgrade::{name}");
        let value = options.one(&option);
        if value.is_some() || always {
            let option = format!("{option} {:?}", value.unwrap_or("false"));
            self.left.push(Left { option, why: why.to_owned() });
        }
    }

    /// The drop-in that says all this.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text =
            "# Carried over from unattended-upgrades by `rebootctl migrate`.\n".to_owned();
        let (tables, keys): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|s| s.key == "window");
        for Setting { key, value, from } in keys {
            let _ = write!(text, "\n# {from}\n{key} = {value}\n");
        }
        for Setting { value, from, .. } in tables {
            let _ = write!(text, "\n# {from}\n[[window]]\n{value}");
        }
        text
    }
}

/// `Origins-Pattern` and the older `Allowed-Origins`.
fn origins(options: &Options, found: &mut Translation) {
    let (new, old) = ("Unattended-Upgrade::Origins-Pattern", "Unattended-Upgrade::Allowed-Origins");
    let mut patterns = Vec::new();
    let all = options.list(new).iter().map(|text| (new, text, pattern(text)));
    let all = all.chain(options.list(old).iter().map(|text| (old, text, allowed_origin(text))));
    for (option, text, translated) in all {
        match translated {
            Ok(pattern) => patterns.push(quoted(&pattern)),
            Err(why) => {
                let why = format!("{why}: packages from there are not updated");
                found.left.push(Left { option: format!("{option} {text:?}"), why });
            }
        }
    }
    if !patterns.is_empty() {
        let from = if options.list(new).is_empty() { old } else { new };
        found.set("packages.origins", list(&patterns), from);
    }
}

/// `origin=Debian,codename=${distro_codename}-updates` → `o=Debian,n=${codename}-updates`
fn pattern(text: &str) -> Result<String, String> {
    if text.contains('\\') {
        return Err("a comma within a value cannot be written here".to_owned());
    }
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
        Ok(format!("{key}={}", glob(value.trim())?))
    };
    Ok(text.split(',').map(part).collect::<Result<Vec<_>, String>>()?.join(","))
}

/// `Debian:${distro_codename}-security` → `o=Debian,a=${codename}-security`
fn allowed_origin(text: &str) -> Result<String, String> {
    let mut parts = text.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(origin), Some(suite), None) => {
            Ok(format!("o={},a={}", glob(origin.trim())?, glob(suite.trim())?))
        }
        _ => Err("it is not one origin and one archive".to_owned()),
    }
}

fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['?', '[', ',']) {
        return Err(format!("{text:?} cannot be written as a pattern here"));
    }
    let text = text.replace("${distro_codename}", "${codename}");
    let rest = text.replace("${codename}", "").replace("${distro_id}", "");
    if rest.contains("${") {
        return Err(format!("{text:?} has a variable that is not known here"));
    }
    Ok(text)
}

/// `Package-Blacklist` and `Package-Whitelist`: regular expressions, matched from the beginning.
fn names(options: &Options, found: &mut Translation) {
    for (name, key, what) in [
        (
            "Package-Blacklist",
            "packages.deny",
            "deny the packages it means by hand, or they are updated",
        ),
        ("Package-Whitelist", "packages.allow", "allow the packages it means by hand"),
    ] {
        let option = format!("Unattended-Upgrade::{name}");
        let mut globs = Vec::new();
        for text in options.list(&option) {
            if let Some(glob) = name_glob(text) {
                globs.push(quoted(&glob));
            } else {
                let why = format!("this expression cannot be written with \"*\" alone: {what}");
                found.left.push(Left { option: format!("{option} {text:?}"), why });
            }
        }
        if !globs.is_empty() {
            found.set(key, list(&globs), &option);
        }
    }
    if options.yes("Unattended-Upgrade::Package-Whitelist-Strict") {
        let from = "Unattended-Upgrade::Package-Whitelist-Strict";
        found.set("packages.new_dependencies", "\"refuse\"".to_owned(), from);
    }
}

/// `linux-` → `linux-*`, `libc6$` → `libc6`, `libstdc\+\+.*` → `libstdc++*`; `None` for what a glob
/// cannot say.
fn name_glob(expression: &str) -> Option<String> {
    let text = expression.strip_prefix('^').unwrap_or(expression);
    let (text, whole) = text.strip_suffix('$').map_or((text, false), |text| (text, true));
    let mut glob = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => glob.push(letters.next().filter(|next| ".+-".contains(*next))?),
            '.' if letters.next_if_eq(&'*').is_some() => glob.push('*'),
            '-' => glob.push('-'),
            plain if plain.is_ascii_lowercase() || plain.is_ascii_digit() => glob.push(plain),
            _ => return None,
        }
        // What is repeated is not a plain letter.
        if letters.peek().is_some_and(|next| "*+?{".contains(*next)) {
            return None;
        }
    }
    if !whole && !glob.ends_with('*') {
        glob.push('*');
    }
    (!glob.is_empty()).then_some(glob)
}

/// `Automatic-Reboot-Time` and `Update-Days`.
fn window(options: &Options, found: &mut Translation) {
    let time = options.one("Unattended-Upgrade::Automatic-Reboot-Time").filter(|t| *t != "now");
    let days = options.list("Unattended-Upgrade::Update-Days");
    if time.is_none() && days.is_empty() {
        return;
    }
    let names: Option<Vec<String>> = days.iter().map(|day| day_name(day)).collect();
    let clock = time.map(clock);
    let (Some(names), false) = (names, clock == Some(None)) else {
        let option = format!("Automatic-Reboot-Time {time:?}, Update-Days {days:?}");
        let why = "not understood: write a [[window]] by hand".to_owned();
        found.left.push(Left { option, why });
        return;
    };
    let mut lines = String::new();
    if !names.is_empty() {
        let _ = writeln!(lines, "days = {}", list(&names));
    }
    let (start, length) = match clock.flatten() {
        Some(clock) => (clock, "4h"),
        None => ("00:00".to_owned(), "24h"),
    };
    let _ = write!(lines, "start = \"{start}\"\nlength = \"{length}\"\n");
    let from = match (time, days) {
        (Some(_), []) => "Unattended-Upgrade::Automatic-Reboot-Time (and four hours from then on)",
        (Some(_), _) => "Unattended-Upgrade::Automatic-Reboot-Time and Update-Days",
        (None, _) => "Unattended-Upgrade::Update-Days",
    };
    found.set("window", lines, from);
}

/// `Monday`, `Mon` or 1 (0 is Sunday) → `"mon"`.
fn day_name(text: &str) -> Option<String> {
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let text = text.trim().to_ascii_lowercase();
    let number = text.parse::<usize>().ok().and_then(|number| DAYS.get(number));
    let named = || DAYS.iter().find(|day| text.starts_with(**day));
    number.or_else(named).map(|day| quoted(day))
}

/// `2:00` → `02:00`
fn clock(text: &str) -> Option<String> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u8| text.parse::<u8>().ok().filter(|n| *n < below);
    Some(format!("{:02}:{:02}", number(hours, 24)?, number(minutes, 60)?))
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Translation {
        translate(&Options::parse(&lines.join("\n")))
    }

    fn value(found: &Translation, key: &str) -> String {
        let setting = found.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| setting.value.clone()).unwrap_or_default()
    }

    #[test]
    fn patterns_of_archives_are_carried_over_and_what_cannot_be_is_named() {
        let found = of(&[
            "Unattended-Upgrade::Origins-Pattern \"\";",
            "Unattended-Upgrade::Origins-Pattern:: \"origin=Debian,codename=${distro_codename},label=Debian\";",
            "Unattended-Upgrade::Origins-Pattern:: \"site=*.example.com, o=${distro_id}\";",
            "Unattended-Upgrade::Origins-Pattern:: \"o=Inc\\,Ltd\";",
            "Unattended-Upgrade::Origins-Pattern:: \"o=A,n=${distro_release}\";",
            "Unattended-Upgrade::Allowed-Origins:: \"${distro_id}:${distro_codename}-security\";",
            "Unattended-Upgrade::Allowed-Origins:: \"a:b:c\";",
        ]);
        assert_eq!(
            value(&found, "packages.origins"),
            "[\"o=Debian,n=${codename},l=Debian\", \"site=*.example.com,o=${distro_id}\", \
             \"o=${distro_id},a=${codename}-security\"]"
        );
        let left: Vec<_> = found.left.iter().filter(|l| l.option.contains("rigins")).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|left| left.why.ends_with("are not updated")));
    }

    #[test]
    fn expressions_become_globs_only_where_they_say_the_same() {
        for (expression, expected) in [
            ("linux-", Some("linux-*")),
            ("^libc6$", Some("libc6")),
            ("libstdc\\+\\+6$", Some("libstdc++6")),
            ("postgresql-.*", Some("postgresql-*")),
            ("lib.*-dev$", Some("lib*-dev")),
            ("(lib)?xen(store)?$", None),
            ("libc.", None),
            ("a+", None),
            ("lib[cd]", None),
            ("a|b", None),
            ("", Some("*")),
        ] {
            assert_eq!(name_glob(expression).as_deref(), expected, "{expression}");
        }
        let found = of(&[
            "Unattended-Upgrade::Package-Blacklist:: \"linux-\";",
            "Unattended-Upgrade::Package-Blacklist:: \"(lib)?xen\";",
            "Unattended-Upgrade::Package-Whitelist-Strict \"true\";",
        ]);
        assert_eq!(value(&found, "packages.deny"), "[\"linux-*\"]");
        assert_eq!(value(&found, "packages.new_dependencies"), "\"refuse\"");
        let named = found.left.iter().any(|l| l.why.contains("or they are updated"));
        assert!(named, "{:?}", found.left);
    }

    #[test]
    fn a_machine_is_rebooted_only_if_it_was_before() {
        let found = of(&["Unattended-Upgrade::Automatic-Reboot \"true\";"]);
        assert_eq!(value(&found, "strategy"), "\"reboot\"");
        for off in [&[][..], &["Unattended-Upgrade::Automatic-Reboot \"false\";"]] {
            let found = of(off);
            assert_eq!(value(&found, "strategy"), "");
            assert!(found.left[0].why.contains("\"off\""), "{:?}", found.left);
        }
    }

    #[test]
    fn times_and_days_become_a_window() {
        let window = |lines: &[&str]| value(&of(lines), "window");
        let time = "Unattended-Upgrade::Automatic-Reboot-Time \"2:00\";";
        let days = [
            "Unattended-Upgrade::Update-Days:: \"Mon\";",
            "Unattended-Upgrade::Update-Days:: \"6\";",
        ];
        assert_eq!(window(&[time]), "start = \"02:00\"\nlength = \"4h\"\n");
        assert_eq!(
            window(&days),
            "days = [\"mon\", \"sat\"]\nstart = \"00:00\"\nlength = \"24h\"\n"
        );
        assert_eq!(window(&["Unattended-Upgrade::Automatic-Reboot-Time \"now\";"]), "");
        let odd = of(&["Unattended-Upgrade::Automatic-Reboot-Time \"soon\";"]);
        assert!(odd.left.iter().any(|left| left.why.contains("[[window]]")), "{:?}", odd.left);
    }

    #[test]
    fn what_has_no_equivalent_is_listed_with_what_there_is_instead() {
        let found = of(&[
            "Unattended-Upgrade::Mail \"root\";",
            "Unattended-Upgrade::Remove-Unused-Dependencies \"true\";",
        ]);
        let options: Vec<&str> = found.left.iter().map(|left| left.option.as_str()).collect();
        assert!(options.contains(&"Unattended-Upgrade::Mail \"root\""), "{options:?}");
        assert_eq!(options.len(), 3);
    }

    #[test]
    fn it_is_on_only_when_apts_daily_work_is() {
        let on = |lines: &[&str]| Options::parse(&lines.join("\n")).is_on();
        assert!(on(&["APT::Periodic::Unattended-Upgrade \"1\";"]));
        assert!(!on(&["APT::Periodic::Unattended-Upgrade \"0\";"]));
        assert!(!on(&["APT::Periodic::Unattended-Upgrade \"1\";", "APT::Periodic::Enable \"0\";"]));
        assert!(!on(&[]));
    }
}
