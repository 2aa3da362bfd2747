//! This machine's own part: configuration, agent, clock, and who else updates it.

use super::{Finding, Machine, Mode, neighbours, note, trouble, warning, well};

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let findings: Vec<Finding> = [mode(machine), agent(machine), clock(machine), checks(machine)]
        .into_iter()
        .flatten()
        .chain(neighbours::examine(machine))
        .collect();
    if findings.is_empty() {
        let version = machine.agent.as_ref().map_or("", |agent| &agent.version);
        return vec![well(
            "machine-well",
            format!("the agent (version {version}) runs and this machine's clock is synchronised"),
        )];
    }
    findings
}

fn mode(machine: &Machine) -> Option<Finding> {
    match &machine.mode {
        Err(why) => Some(
            trouble("configuration-bad", format!("the configuration has errors: {why}"))
                .mend(["rebootctl config check".to_owned()]),
        ),
        Ok(Mode::Off) => Some(note(
            "strategy-off",
            "strategy is \"off\": lockkeeper checks and stages, and never touches this machine",
        )),
        Ok(Mode::Alone) => Some(note(
            "no-fleet",
            "strategy is \"reboot\": this machine reboots on its own and takes turns with nobody",
        )),
        Ok(Mode::Fleet) => None,
    }
}

fn agent(machine: &Machine) -> Option<Finding> {
    match &machine.agent {
        Err(why) => Some(
            trouble(
                "agent-silent",
                format!(
                    "lockkeeperd does not answer: {why}; this machine is not updated, and a slot it \
                     holds is not given back"
                ),
            )
            .mend([
                "systemctl status lockkeeperd".to_owned(),
                "journalctl -u lockkeeperd -n 50".to_owned(),
                "systemctl enable --now lockkeeperd".to_owned(),
            ]),
        ),
        Ok(agent) => agent.config_problem.as_ref().map(|why| {
            let text = format!("the changed configuration is not in force: {why}");
            warning("configuration-pending", text).mend(["rebootctl config check".to_owned()])
        }),
    }
}

fn clock(machine: &Machine) -> Option<Finding> {
    match &machine.clock {
        Ok(true) => None,
        Ok(false) => Some(
            warning(
                "clock-unsynchronised",
                "this machine's clock is not synchronised: the lock does not depend on it, but \
                 maintenance windows, freeze dates and certificates do",
            )
            .mend([
                "timedatectl set-ntp true".to_owned(),
                "timedatectl timesync-status".to_owned(),
            ]),
        ),
        Err(why) => Some(note(
            "clock-unknown",
            format!("whether this machine's clock is synchronised cannot be told: {why}"),
        )),
    }
}

fn checks(machine: &Machine) -> Option<Finding> {
    let sentences = machine.checks.join("; ");
    let text = format!("{sentences}; no update is begun here until that is mended");
    let look = "ls -la /etc/lockkeeper/health.d /usr/lib/lockkeeper/health.d".to_owned();
    (!machine.checks.is_empty()).then(|| warning("check-cannot-run", text).mend([look]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::{Agent, Neighbours, Severity};

    fn good() -> Machine {
        let agent = Agent { version: "0.1.0".to_owned(), config_problem: None };
        let neighbours = Ok(Neighbours::default());
        let checks = Vec::new();
        Machine { mode: Ok(Mode::Fleet), agent: Ok(agent), clock: Ok(true), neighbours, checks }
    }

    fn only(machine: &Machine) -> Finding {
        let mut found = examine(machine);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn each_part_of_this_machine_has_its_finding() {
        let broken = || Err("no such thing".to_owned());
        let pending =
            Agent { version: String::new(), config_problem: Some("a slot is held".to_owned()) };
        let table = [
            (good(), "machine-well", Severity::Ok),
            (Machine { mode: broken(), ..good() }, "configuration-bad", Severity::Trouble),
            (Machine { mode: Ok(Mode::Off), ..good() }, "strategy-off", Severity::Note),
            (Machine { mode: Ok(Mode::Alone), ..good() }, "no-fleet", Severity::Note),
            (
                Machine { agent: Err("no such name".to_owned()), ..good() },
                "agent-silent",
                Severity::Trouble,
            ),
            (Machine { agent: Ok(pending), ..good() }, "configuration-pending", Severity::Warning),
            (
                Machine { checks: vec!["check a cannot be run".to_owned()], ..good() },
                "check-cannot-run",
                Severity::Warning,
            ),
            (Machine { clock: Ok(false), ..good() }, "clock-unsynchronised", Severity::Warning),
            (
                Machine { clock: Err("no such name".to_owned()), ..good() },
                "clock-unknown",
                Severity::Note,
            ),
        ];
        for (machine, code, severity) in table {
            let found = only(&machine);
            assert_eq!((found.code.as_str(), found.severity), (code, severity));
            let mendable = severity >= Severity::Warning;
            assert_eq!(!found.commands.is_empty(), mendable, "{code}");
        }
    }
}
