//! Who else updates this machine.

use super::{Finding, Machine, Mode, Severity, note, trouble, warning};

/// What unattended-upgrades does on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unattended {
    /// It is not installed, or told not to run.
    #[default]
    Nothing,
    /// It installs.
    Installs,
    /// It installs, and reboots.
    Reboots,
}

/// What cron-apt does on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CronApt {
    /// It is not there, or downloads at most, as it comes.
    #[default]
    Nothing,
    /// One of its actions installs.
    Installs,
}

/// What `PackageKit` does on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackageKit {
    /// It installs nothing at a reboot.
    #[default]
    Nothing,
    /// It would install what a user asks for at a reboot.
    Idle,
    /// A user has asked for it.
    Waits,
}

/// Programs that update a machine by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// What unattended-upgrades does here.
    pub unattended_upgrades: Unattended,
    /// It was put out of work for lockkeeper.
    pub switched_over: bool,
    /// What cron-apt does here.
    pub cron_apt: CronApt,
    /// What `PackageKit` does here.
    pub package_kit: PackageKit,
    /// snapd refreshes snaps that are installed.
    pub snaps: bool,
}

impl CronApt {
    /// By its actions: lines of arguments for apt-get (cron-apt(8)).
    #[must_use]
    pub fn of(actions: &str) -> Self {
        const INSTALL: [&str; 5] =
            ["upgrade", "dist-upgrade", "full-upgrade", "install", "dselect-upgrade"];
        let harmless = |word: &str| match word.strip_prefix("--") {
            Some(long) => ["download-only", "simulate", "dry-run", "just-print"].contains(&long),
            None => word.starts_with('-') && !word.starts_with("-o") && word.contains(['d', 's']),
        };
        let installs = |line: &str| {
            let mut words = line.split_whitespace();
            !line.trim_start().starts_with('#')
                && words.clone().any(|word| INSTALL.contains(&word))
                && !words.any(harmless)
        };
        if actions.lines().any(installs) { Self::Installs } else { Self::Nothing }
    }
}

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let found = match &machine.neighbours {
        Ok(found) => found,
        Err(why) => {
            let text = format!("whether other programs update this machine cannot be told: {why}");
            return vec![note("neighbours-unknown", text)];
        }
    };
    let acts = matches!(machine.mode, Ok(Mode::Alone | Mode::Fleet));
    // While lockkeeper touches nothing it is good that somebody does.
    let weighed = |finding: Finding| {
        let severity = if acts { finding.severity } else { Severity::Note };
        Finding { severity, ..finding }
    };
    let nobody = matches!(machine.mode, Ok(Mode::Off))
        && found.switched_over
        && found.unattended_upgrades == Unattended::Nothing;
    [
        nobody.then(nobody_updates),
        unattended(found.unattended_upgrades, acts).map(weighed),
        cron_apt(found.cron_apt).map(weighed),
        package_kit(found.package_kit).map(weighed),
        found.snaps.then(snaps),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn nobody_updates() -> Finding {
    let text = "nothing installs updates here: unattended-upgrades was put out of work for lockkeeper, \
                whose strategy is \"off\"";
    warning("nobody-updates", text).mend([
        "editor /etc/lockkeeper/lockkeeper.toml  # choose a strategy, or else".to_owned(),
        "rm /etc/apt/apt.conf.d/99lockkeeper  # have unattended-upgrades back".to_owned(),
    ])
}

fn unattended(does: Unattended, acts: bool) -> Option<Finding> {
    let finding = match does {
        Unattended::Nothing => return None,
        Unattended::Reboots if acts => {
            let text = "unattended-upgrades installs updates and reboots beside lockkeeper: without a \
                        slot, outside the windows, and with no way back";
            trouble("unattended-upgrades-reboots", text)
        }
        Unattended::Installs | Unattended::Reboots => {
            let text = "unattended-upgrades installs updates beside lockkeeper: without a slot, \
                        outside the windows, and with no way back";
            warning("unattended-upgrades-runs", text)
        }
    };
    let look = "rebootctl migrate unattended-upgrades --dry-run  # what it is told, and what has no \
                equivalent";
    let switch = "rebootctl migrate unattended-upgrades --switch-over";
    let commands = [Some(look), acts.then_some(switch)];
    Some(finding.mend(commands.into_iter().flatten().map(str::to_owned)))
}

fn cron_apt(does: CronApt) -> Option<Finding> {
    let text = "cron-apt installs updates beside lockkeeper: without a slot, outside the windows, and \
                with no way back";
    let commands = [
        "grep -rn upgrade /etc/cron-apt/action.d  # add -d where it is missing, or else".to_owned(),
        "apt-get remove cron-apt".to_owned(),
    ];
    (does == CronApt::Installs).then(|| warning("cron-apt-runs", text).mend(commands))
}

fn package_kit(does: PackageKit) -> Option<Finding> {
    let mask = "systemctl mask packagekit-offline-update.service".to_owned();
    if does == PackageKit::Waits {
        let text = "PackageKit installs updates at the next reboot, whoever reboots, and then reboots \
                    once more: a user of this machine has asked for it";
        let cancel = "busctl call org.freedesktop.PackageKit /org/freedesktop/PackageKit \
                      org.freedesktop.PackageKit.Offline Cancel  # not this time";
        return Some(warning("package-kit-waits", text).mend([cancel.to_owned(), mask]));
    }
    let text = "PackageKit installs at a reboot what a user of this machine has asked for \
                (system-update.target); none has";
    (does == PackageKit::Idle).then(|| note("package-kit", text).mend([mask]))
}

fn snaps() -> Finding {
    let text = "snapd refreshes the snaps of this machine, and restarts their services, without a slot \
                and outside the windows";
    note("snaps-refresh", text)
        .mend(["snap refresh --hold  # refresh them yourself, with `snap refresh NAME`".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Agent;

    fn of(mode: Mode, neighbours: Neighbours) -> Vec<(String, Severity)> {
        let agent = Agent { version: "0.1.0".to_owned(), config_problem: None };
        let machine = Machine {
            mode: Ok(mode),
            agent: Ok(agent),
            clock: Ok(true),
            neighbours: Ok(neighbours),
            checks: Vec::new(),
        };
        let found = examine(&machine);
        assert!(found.iter().all(|finding| !finding.commands.is_empty()), "{found:?}");
        found.into_iter().map(|finding| (finding.code, finding.severity)).collect()
    }

    fn code(code: &str, severity: Severity) -> (String, Severity) {
        (code.to_owned(), severity)
    }

    #[test]
    fn unattended_upgrades_is_weighed_by_what_lockkeeper_does() {
        let does =
            |unattended_upgrades| Neighbours { unattended_upgrades, ..Neighbours::default() };
        let (runs, reboots) = (does(Unattended::Installs), does(Unattended::Reboots));
        let noted = [code("unattended-upgrades-runs", Severity::Note)];
        assert_eq!(of(Mode::Fleet, runs), [code("unattended-upgrades-runs", Severity::Warning)]);
        assert_eq!(of(Mode::Off, runs), noted);
        assert_eq!(of(Mode::Off, reboots), noted);
        let bad = [code("unattended-upgrades-reboots", Severity::Trouble)];
        assert_eq!(of(Mode::Alone, reboots), bad);
        assert_eq!(of(Mode::Alone, Neighbours::default()), []);
    }

    #[test]
    fn a_machine_that_nobody_updates_is_told() {
        let switched = Neighbours { switched_over: true, ..Neighbours::default() };
        assert_eq!(of(Mode::Off, switched), [code("nobody-updates", Severity::Warning)]);
        assert_eq!(of(Mode::Alone, switched), []);
        let on = Neighbours { unattended_upgrades: Unattended::Installs, ..switched };
        assert_eq!(of(Mode::Off, on), [code("unattended-upgrades-runs", Severity::Note)]);
    }

    #[test]
    fn the_others_are_told_for_what_they_do() {
        let all = Neighbours {
            cron_apt: CronApt::Installs,
            package_kit: PackageKit::Idle,
            snaps: true,
            ..Neighbours::default()
        };
        let quiet = [code("package-kit", Severity::Note), code("snaps-refresh", Severity::Note)];
        let cron = code("cron-apt-runs", Severity::Warning);
        assert_eq!(of(Mode::Fleet, all), [&[cron][..], &quiet].concat());
        let waits = Neighbours { package_kit: PackageKit::Waits, ..Neighbours::default() };
        assert_eq!(of(Mode::Fleet, waits), [code("package-kit-waits", Severity::Warning)]);
        assert_eq!(of(Mode::Off, waits), [code("package-kit-waits", Severity::Note)]);
    }

    #[test]
    fn cron_apt_installs_only_where_an_action_says_so() {
        for (actions, expected) in [
            ("", CronApt::Nothing),
            ("update -o quiet=2\n", CronApt::Nothing),
            (
                "autoclean -y\ndist-upgrade -d -y -o APT::Get::Show-Upgraded=true\n",
                CronApt::Nothing,
            ),
            ("dist-upgrade -qyd\n", CronApt::Nothing),
            ("upgrade --download-only -y\n", CronApt::Nothing),
            ("# upgrade -y\n", CronApt::Nothing),
            ("update\nupgrade -y -o Dpkg::Options::=--force-confold\n", CronApt::Installs),
            ("dist-upgrade -y -oDir::Cache=/var/d\n", CronApt::Installs),
        ] {
            assert_eq!(CronApt::of(actions), expected, "{actions}");
        }
    }
}
