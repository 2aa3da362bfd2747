//! One unit as systemd shows it: is it worth writing down before a disturbance, and does it fail?

use std::collections::BTreeMap;

use super::wish::Wish;

/// One unit as systemd shows it now; words as systemd has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `web.service`
    pub name: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `auto-restart`, …
    pub sub: String,
    /// Why it ended: `success`, `exit-code`, …
    pub result: String,
    /// `simple`, `oneshot`, …; empty for what is not a service.
    pub service_type: String,
    /// The bus name it takes, if any.
    pub bus_name: String,
    /// Made at run time (`systemd-run`), without a file.
    pub transient: bool,
    /// What pulls it in: `WantedBy`, `RequiredBy`, `BoundBy`, `UpheldBy`.
    pub wanted_by: Vec<String>,
    /// Sockets, timers, paths and automounts that start it on demand.
    pub triggered_by: Vec<String>,
    /// Its unit file, or the file it is generated from; empty when there is none.
    pub file: String,
    /// The files its settings come from, in the order they are read in.
    pub settings: Vec<String>,
    /// What those say about restoring it.
    pub wish: Wish,
    /// The commands that start it, word by word.
    pub starts: Vec<Vec<String>>,
    /// The commands that run before those, each time.
    pub before: Vec<Vec<String>>,
    /// The commands that run when it ends.
    pub ends: Vec<Vec<String>>,
    /// A job for it waits or runs.
    pub busy: bool,
    /// Times systemd has restarted it by itself since it was started.
    pub restarts: u32,
}

/// Units by name.
pub type Units = BTreeMap<String, Unit>;

impl Unit {
    /// `service`, `timer`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// It runs, and one may expect it to run after a reboot as well.
    #[must_use]
    pub fn ought_to_run(&self) -> bool {
        let kept = match self.kind() {
            "service" => {
                (self.sub == "running" || self.is_reloading()) && self.service_type != "oneshot"
            }
            "timer" | "socket" | "path" | "mount" => true,
            // One that nothing pulls in was started, or isolated, by hand; or the whole boot is for it.
            "target" => self.wanted_by.is_empty(),
            _ => false,
        };
        kept && (self.active == "active" || self.is_reloading())
            && !self.file.is_empty()
            && !self.comes_and_goes()
            && self.is_workload()
    }

    /// It runs, and reads its configuration anew.
    fn is_reloading(&self) -> bool {
        matches!(self.active.as_str(), "reloading" | "refreshing")
    }

    /// It has failed, or fails over and over, and that is news about the node.
    #[must_use]
    pub fn failing(&self) -> bool {
        (self.active == "failed" || self.between_restarts()) && self.is_workload() && self.judged()
    }

    /// systemd waits to start it again after it ended badly.
    #[must_use]
    pub fn between_restarts(&self) -> bool {
        self.active == "activating" && self.sub.starts_with("auto-restart")
    }

    /// The node fails when it does.
    #[must_use]
    pub fn judged(&self) -> bool {
        self.wish.judged()
    }

    /// Not a session, a one-off unit or lockkeeper itself: those are neither restored nor blamed. What
    /// lockkeeper has for others is a service like any other.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        const NAMES: [&str; 3] = ["user@", "user-runtime-dir@", "lockkeeper"];
        const FOR_OTHERS: [&str; 2] = ["lockkeeper-hub.service", "lockkeeper-balancer.service"];
        let named = NAMES.iter().any(|n| self.name.starts_with(n));
        let session = self.name.starts_with("session-") && self.kind() == "scope";
        !self.transient && !session && (!named || FOR_OTHERS.contains(&self.name.as_str()))
    }

    /// Started when it is needed and gone when it is not.
    fn comes_and_goes(&self) -> bool {
        const NAMES: [&str; 4] = ["getty@", "serial-getty@", "container-getty@", "console-getty."];
        let pulled = !self.wanted_by.is_empty();
        let on_demand = !self.triggered_by.is_empty() || !self.bus_name.is_empty();
        let by_device = pulled && self.wanted_by.iter().all(|w| w.ends_with(".device"));
        let internal = self.name.starts_with("systemd-")
            && self.kind() == "service"
            && !self.name.starts_with("systemd-nspawn@")
            && (!pulled || !self.bus_name.is_empty());
        NAMES.iter().any(|n| self.name.starts_with(n))
            || (on_demand && !pulled)
            || by_device
            || internal
    }
}

/// Units for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::Unit;

    pub fn service(name: &str) -> Unit {
        Unit {
            name: name.to_owned(),
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
            result: "success".to_owned(),
            service_type: "simple".to_owned(),
            wanted_by: vec!["multi-user.target".to_owned()],
            file: format!("/lib/systemd/system/{name}"),
            ..Unit::default()
        }
    }

    pub fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{service, words};
    use super::*;

    #[test]
    fn what_ought_to_run_again_is_told_from_what_comes_and_goes() {
        let by_hand = Unit { wanted_by: vec![], ..service("by-hand.service") };
        let cases: Vec<(bool, Unit)> = vec![
            (true, service("web.service")),
            (true, by_hand.clone()),
            (true, service("systemd-networkd.service")),
            (true, Unit { wanted_by: vec![], ..service("systemd-nspawn@db.service") }),
            (true, Unit { triggered_by: words(&["docker.socket"]), ..service("docker.service") }),
            (true, Unit { bus_name: "org.example".to_owned(), ..service("broker.service") }),
            (true, Unit { sub: "waiting".to_owned(), ..service("tidy.timer") }),
            (true, Unit { sub: "listening".to_owned(), ..service("web.socket") }),
            (true, Unit { sub: "mounted".to_owned(), ..service("srv.mount") }),
            (true, Unit { wanted_by: vec![], ..service("shop.target") }),
            (false, service("network-online.target")),
            (
                false,
                Unit { file: String::new(), sub: "mounted".to_owned(), ..service("run-x.mount") },
            ),
            (false, Unit { triggered_by: words(&["web.socket"]), ..by_hand.clone() }),
            (false, Unit { bus_name: "org.example".to_owned(), ..by_hand.clone() }),
            (
                false,
                Unit {
                    bus_name: "org.x.hostname1".to_owned(),
                    ..service("systemd-hostnamed.service")
                },
            ),
            (false, Unit { wanted_by: vec![], ..service("systemd-ask-password-wall.service") }),
            (false, Unit { wanted_by: words(&["dev-bus-usb.device"]), ..service("usb.service") }),
            (false, Unit { service_type: "oneshot".to_owned(), ..service("job.service") }),
            (false, Unit { sub: "exited".to_owned(), ..service("old.service") }),
            (
                false,
                Unit {
                    active: "reloading".to_owned(),
                    sub: "reload".to_owned(),
                    ..service("multi-user.target")
                },
            ),
            (false, Unit { transient: true, ..service("run-u7.service") }),
            (false, service("getty@tty1.service")),
            (false, service("user@1000.service")),
            (false, service("session-3.scope")),
            (true, service("session-cache.service")),
            (true, service("lockkeeper-hub.service")),
            (true, service("lockkeeper-balancer.service")),
            (
                true,
                Unit {
                    active: "reloading".to_owned(),
                    sub: "reload".to_owned(),
                    ..service("nginx.service")
                },
            ),
            (false, service("lockkeeper-boot-complete.service")),
            (false, service("lockkeeperd.service")),
            (false, service("lockkeeper-apply-0123456789ab.service")),
            (
                false,
                Unit {
                    active: "failed".to_owned(),
                    sub: "failed".to_owned(),
                    ..service("bad.service")
                },
            ),
        ];
        for (expected, unit) in cases {
            assert_eq!(unit.ought_to_run(), expected, "{unit:?}");
        }
    }

    #[test]
    fn failing_units_are_those_failed_or_caught_between_restarts() {
        let failed =
            Unit { active: "failed".to_owned(), sub: "failed".to_owned(), ..service("a.service") };
        let looping = Unit {
            active: "activating".to_owned(),
            sub: "auto-restart".to_owned(),
            ..service("b.service")
        };
        let queued = Unit { sub: "auto-restart-queued".to_owned(), ..looping.clone() };
        let starting = Unit { sub: "start".to_owned(), ..looping.clone() };
        assert!(failed.failing() && looping.failing() && queued.failing());
        assert!(!starting.failing() && !service("c.service").failing());
        assert!(!Unit { transient: true, ..failed.clone() }.failing());
        assert!(!Unit { name: "lockkeeperd.service".to_owned(), ..failed.clone() }.failing());
        assert!(!Unit { name: "user@1000.service".to_owned(), ..failed }.failing());
    }
}
