//! What is not carried over, and what there is instead.

use super::{Left, Options, Translation};

const PREFIX: &str = "Unattended-Upgrade::";
/// It once had this name, and is still read by it.
const MISSPELT: &str = "Unattended-Upgrades::";

/// Read elsewhere.
const CARRIED: [&str; 9] = [
    "Origins-Pattern",
    "Allowed-Origins",
    "Package-Blacklist",
    "Package-Whitelist",
    "Package-Whitelist-Strict",
    "Automatic-Reboot",
    "Automatic-Reboot-Time",
    "Automatic-Reboot-WithUsers",
    "Update-Days",
];

const MAIL: &str =
    "no mail is sent: `rebootctl status`, `rebootctl history` and the journal say what happens";
const JOURNAL: &str = "not needed: everything is in the journal";
const REMOVE: &str = "what nobody needs any more is not removed: run `apt autoremove` yourself now and then, for old kernels fill /boot";
const USERS: &str = "all who are logged in are told, or waited for (blockers.users)";
const DEVELOPMENT: &str = "a development release is updated like any other";

const WHY: [(&str, &str); 26] = [
    ("Mail", MAIL),
    ("MailReport", MAIL),
    ("MailOnlyOnError", MAIL),
    ("Sender", MAIL),
    ("Remove-Unused-Kernel-Packages", REMOVE),
    ("Remove-New-Unused-Dependencies", REMOVE),
    ("Remove-Unused-Dependencies", REMOVE),
    ("Automatic-Reboot-WithSystemUsers", USERS),
    ("Automatic-Reboot-IgnoredUsers", USERS),
    ("MinimalSteps", "not needed: an update is one transaction that a shutdown waits for"),
    ("InstallOnShutdown", "an update is installed in its turn and its window, not at shutdown"),
    ("SyslogEnable", JOURNAL),
    ("SyslogFacility", JOURNAL),
    ("LogDir", JOURNAL),
    ("LogFile", JOURNAL),
    ("Verbose", JOURNAL),
    ("Debug", JOURNAL),
    ("OnlyOnACPower", "the power supply is not looked at"),
    ("Skip-Updates-On-Metered-Connections", "the connection is not looked at"),
    ("AutoFixInterruptedDpkg", "not needed: an interrupted dpkg is always finished first"),
    ("Allow-downgrade", "an older version is never installed"),
    (
        "Allow-APT-Mark-Fallback",
        "not needed: what apt cannot resolve is kept back, with the reason",
    ),
    ("IgnoreAppsRequireRestart", "what runs on old files is restarted after the update"),
    ("Keep-Debs-After-Install", "the earlier packages are kept until the update is confirmed"),
    ("DevRelease", DEVELOPMENT),
    ("Postpone-For-Days", "a fleet can follow a canary instead (canary.follow, canary.soak)"),
];

/// On, even where nobody has written so.
const ON: [&str; 4] = [
    "Remove-Unused-Kernel-Packages",
    "Remove-New-Unused-Dependencies",
    "OnlyOnACPower",
    "Skip-Updates-On-Metered-Connections",
];

/// Lists every other option there is.
pub(super) fn translate(options: &Options, found: &mut Translation) {
    for prefix in [PREFIX, MISSPELT] {
        for (name, value) in options.below(prefix) {
            let own = name[prefix.len()..].split("::").next().unwrap_or_default();
            if !CARRIED.iter().any(|carried| carried.eq_ignore_ascii_case(own)) {
                let name = name.trim_end_matches(':');
                found.left.push(Left::new(format!("{name} {value:?}"), why(own)));
            }
        }
    }
    for name in ON {
        if options.one(&format!("{PREFIX}{name}")).is_none() {
            let option = format!("{PREFIX}{name} \"true\" (its default)");
            found.left.push(Left::new(option, why(name)));
        }
    }
    let dpkg = options.list("DPkg::Options");
    if dpkg.iter().any(|option| option.contains("confnew")) {
        let why = "the administrator's configuration files are always kept";
        found.left.push(Left::new(format!("DPkg::Options {}", super::list(&dpkg)), why));
    }
}

fn why(name: &str) -> &'static str {
    let known = WHY.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map_or("not known here", |(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::super::testing::of;

    #[test]
    fn every_option_is_named_known_or_not_and_so_is_what_is_on_by_default() {
        let found = of(&[
            ("Unattended-Upgrade::Mail", "root"),
            ("unattended-upgrade::minimalsteps", "true"),
            ("Unattended-Upgrades::MinimalSteps", "true"),
            ("Unattended-Upgrade::OnlyOnACPower", "false"),
            ("Unattended-Upgrade::Dirs::Plugins::", "/opt"),
            ("Unattended-Upgrade::Sender", ""),
            ("DPkg::Options::", "--force-confnew"),
            ("Unattended-Upgrade::Origins-Pattern::", "o=A"),
        ]);
        let left: Vec<String> =
            found.left.iter().map(|left| format!("{}: {}", left.option, left.why)).collect();
        for expected in [
            "Unattended-Upgrade::Mail \"root\": no mail",
            "unattended-upgrade::minimalsteps \"true\": not needed",
            "Unattended-Upgrades::MinimalSteps \"true\": not needed",
            "Unattended-Upgrade::OnlyOnACPower \"false\": the power",
            "Unattended-Upgrade::Dirs::Plugins \"/opt\": not known here",
            "Unattended-Upgrade::Remove-Unused-Kernel-Packages \"true\" (its default): what nobody needs",
            "DPkg::Options [\"--force-confnew\"]: the administrator's",
        ] {
            let times = left.iter().filter(|left| left.starts_with(expected)).count();
            assert_eq!(times, 1, "{expected} {left:#?}");
        }
        assert!(!left.iter().any(|l| l.contains("Sender") || l.contains("Origins")), "{left:#?}");
    }
}
