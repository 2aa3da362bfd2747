//! Reading units: lists, and all of one unit's properties in one look.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::try_join_all;
use zbus::{OwnedObjectPath, OwnedVariant, proxy::CacheProperties};

use super::{Systemd, SystemdError, failed, proxies::ManagerProxy};
use crate::{
    adapters::wishes,
    core::{
        health::Evidence,
        outlook::{Boot, PODMAN_RESTART},
        record::{Unit, Units},
        stale::{Facts, Obstacle},
        standing::Restarts,
        wish::Wish,
    },
    observe::logging::chain,
};

/// Kinds of units that may carry a workload.
const RECORDED: [&str; 6] = ["*.service", "*.timer", "*.socket", "*.path", "*.mount", "*.target"];

impl Systemd {
    pub(super) async fn manager(&self) -> Result<ManagerProxy<'_>, SystemdError> {
        ManagerProxy::builder(&self.bus)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(failed("the connection to systemd"))
    }

    /// `starting`, `running`, `degraded`, …: how far the boot has come.
    pub async fn state(&self) -> Result<String, SystemdError> {
        self.manager().await?.system_state().await.map_err(failed("reading SystemState"))
    }

    /// Names of the loaded units in one of `states` that match one of `patterns` (all when empty).
    pub async fn names(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<Vec<String>, SystemdError> {
        let rows = self.manager().await?.list_units_by_patterns(states, patterns).await;
        Ok(rows.map_err(failed("ListUnitsByPatterns"))?.into_iter().map(|row| row.0).collect())
    }

    /// Does a unit that matches one of `patterns` run, or stand between two states? Any user may ask.
    pub async fn busy(&self, patterns: &[String]) -> Evidence {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        if patterns.is_empty() {
            return Evidence::No;
        }
        // Active ones that have ended (`exited`, `elapsed`) or that wait for something are not at work.
        let states = ["running", "activating", "reloading", "deactivating"];
        match self.names(&states, &patterns).await {
            Ok(names) if names.is_empty() => Evidence::No,
            Ok(names) => {
                let sentence = |name: String| format!("{name} is running");
                Evidence::Yes { reasons: names.into_iter().map(sentence).collect() }
            }
            Err(error) => Evidence::Unknown { why: chain(&error) },
        }
    }

    /// One unit as it is now; one that does not exist has `load` "not-found".
    pub async fn unit(&self, name: &str) -> Result<Unit, SystemdError> {
        let path = self.manager().await?.load_unit(name).await;
        let path = path.map_err(failed(format!("LoadUnit {name}")))?;
        let look = self.look(name, path).await?;
        Ok(unit(name, &look))
    }

    /// Names of the units that `name` cannot do without.
    pub async fn required(&self, name: &str) -> Result<Vec<String>, SystemdError> {
        let path = self.manager().await?.load_unit(name).await;
        let path = path.map_err(failed(format!("LoadUnit {name}")))?;
        Ok(self.look(name, path).await?.get("Requires"))
    }

    async fn look(&self, name: &str, path: OwnedObjectPath) -> Result<Look, SystemdError> {
        let proxy = self.object("org.freedesktop.systemd1", path).await;
        let proxy = proxy.map_err(failed(format!("the path of {name}")))?;
        let all = proxy.get_all("").await.map_err(failed(format!("GetAll of {name}")))?;
        if !all.contains_key("ActiveState") {
            return Err(SystemdError::Property { unit: name.to_owned(), property: "ActiveState" });
        }
        Ok(Look(all))
    }

    /// Each of `names` as it is now, by name.
    pub async fn units(&self, names: &[String]) -> Result<Units, SystemdError> {
        let mut units = Units::new();
        for name in names {
            units.insert(name.clone(), self.unit(name).await?);
        }
        Ok(units)
    }

    /// Every active unit that may carry a workload, and every failing one.
    pub async fn workloads(&self) -> Result<Units, SystemdError> {
        let names = self.names(&["active"], &RECORDED).await?;
        let mut units = self.units(&names).await?;
        for unit in units.values_mut().filter(|unit| unit.ought_to_run()) {
            unit.wish = wishes::of_unit(unit);
        }
        units.extend(self.failing().await?);
        Ok(units)
    }

    /// What tells what a boot pulls in: every active unit that may carry a workload, with its wish, and
    /// the machines that no service runs.
    pub async fn boot(&self) -> Result<Boot, SystemdError> {
        let mut units = self.workloads().await?;
        let restart = self.unit(PODMAN_RESTART).await?;
        if restart.load == "loaded" {
            units.insert(restart.name.clone(), restart);
        }
        let path = self.manager().await?.load_unit("default.target").await;
        let path = path.map_err(failed("LoadUnit default.target"))?;
        let default = self.look("default.target", path).await?.get("Id");
        // machined is the system's.
        let machines = match self.runtime() {
            None => self.machines_by_hand().await?,
            Some(_) => Vec::new(),
        };
        Ok(Boot { units, default, machines })
    }

    /// Every unit that has failed or waits for its automatic restart, but for those nobody judges.
    pub async fn failing(&self) -> Result<Units, SystemdError> {
        let names = self.names(&["failed", "auto-restart", "auto-restart-queued"], &[]).await?;
        let mut units = self.units(&names).await?;
        for unit in units.values_mut().filter(|unit| unit.failing()) {
            unit.wish = wishes::of_unit(unit);
        }
        units.retain(|_, unit| unit.failing());
        Ok(units)
    }

    /// What decides whether each of `names` can be restarted, by name; without those that systemd says
    /// nothing of.
    pub async fn facts(&self, names: &[String]) -> Result<BTreeMap<String, Facts>, SystemdError> {
        // All at once: waiting for each answer in turn takes longer than systemd does.
        let all = try_join_all(names.iter().map(|name| self.facts_if_known(name))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// One unit may be gone by now; that must not hide the others.
    async fn facts_if_known(&self, name: &str) -> Result<Option<(String, Facts)>, SystemdError> {
        match self.facts_of(name).await {
            Err(SystemdError::Call { call, source: zbus::Error::MethodError(error, ..) })
                if is_about_the_unit(&error) =>
            {
                tracing::debug!("{call} failed: {error}");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    async fn facts_of(&self, name: &str) -> Result<(String, Facts), SystemdError> {
        let path = self.manager().await?.load_unit(name).await;
        let path = path.map_err(failed(format!("LoadUnit {name}")))?;
        let proxy = self.object("org.freedesktop.systemd1", path).await;
        let proxy = proxy.map_err(failed(format!("the path of {name}")))?;
        // Not everything: for the rest systemd reads a dozen files of the kernel's.
        let unit = proxy.get_all("org.freedesktop.systemd1.Unit").await;
        let mut all = unit.map_err(failed(format!("GetAll of {name}")))?;
        for property in ["Type", "StandardInput"] {
            let value = proxy.get("org.freedesktop.systemd1.Service", property).await;
            all.insert(
                property.to_owned(),
                value.map_err(failed(format!("{property} of {name}")))?,
            );
        }
        Ok((name.to_owned(), facts(&Look(all))))
    }

    /// How often systemd has restarted each running service by itself, but for those nobody judges.
    pub async fn restarts(&self) -> Result<Restarts, SystemdError> {
        let names = self.names(&["active", "reloading", "refreshing"], &["*.service"]).await?;
        let mut units = self.units(&names).await?;
        units.retain(|_, unit| {
            unit.is_workload() && (unit.restarts == 0 || wishes::of_unit(unit).judged())
        });
        Ok(units.into_iter().map(|(name, unit)| (name, unit.restarts)).collect())
    }
}

/// systemd's own errors, and those of a unit that has no object, or whose name is none.
fn is_about_the_unit(error: &str) -> bool {
    error.starts_with("org.freedesktop.systemd1.")
        || matches!(error.rsplit('.').next(), Some("UnknownObject" | "InvalidArgs"))
}

/// One command of a service: program, words, whether failure is ignored, and how it went last.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// All properties of one object, as they were in one moment.
pub(super) struct Look(pub(super) HashMap<String, OwnedVariant>);

impl Look {
    /// The property, or the type's empty value when this kind of object does not have it.
    pub(super) fn get<T>(&self, property: &str) -> T
    where
        T: TryFrom<OwnedVariant> + Default,
    {
        let value = self.0.get(property).and_then(|value| value.try_clone().ok());
        value.and_then(|value| T::try_from(value).ok()).unwrap_or_default()
    }

    /// The words of the commands in these properties.
    fn commands(&self, properties: &[&str]) -> Vec<Vec<String>> {
        let all = properties.iter().flat_map(|property| self.get::<Vec<Command>>(property));
        all.map(|command| command.1).collect()
    }

    fn busy(&self) -> bool {
        let job = self.0.get("Job").and_then(|value| value.try_clone().ok());
        job.and_then(|job| <(u32, OwnedObjectPath)>::try_from(job).ok())
            .is_some_and(|(id, _)| id != 0)
    }
}

fn facts(look: &Look) -> Facts {
    let refuses = look.get("RefuseManualStop") || look.get("RefuseManualStart");
    let connection = look.get::<String>("StandardInput") == "socket";
    let obstacle = match (look.get("Transient"), connection, refuses) {
        (true, ..) => Some(Obstacle::Transient),
        (_, true, _) => Some(Obstacle::Connection),
        (_, _, true) => Some(Obstacle::Refuses),
        _ => None,
    };
    Facts {
        load: look.get("LoadState"),
        service_type: look.get("Type"),
        obstacle,
        outdated: look.get("NeedDaemonReload"),
    }
}

fn unit(name: &str, look: &Look) -> Unit {
    let source: String = look.get("SourcePath");
    let fragment: String = look.get("FragmentPath");
    // A mount of fstab has /etc/fstab for its source, one made by hand /proc/self/mountinfo.
    let generated = name.ends_with(".service") && !source.is_empty();
    let mut wanted_by = Vec::new();
    for property in ["WantedBy", "RequiredBy", "BoundBy", "UpheldBy"] {
        wanted_by.extend(look.get::<Vec<String>>(property));
    }
    let mut settings = vec![fragment.clone()];
    settings.extend(look.get::<Vec<String>>("DropInPaths"));
    settings.retain(|path| !path.is_empty());
    Unit {
        name: name.to_owned(),
        load: look.get("LoadState"),
        active: look.get("ActiveState"),
        sub: look.get("SubState"),
        result: look.get("Result"),
        service_type: look.get("Type"),
        bus_name: look.get("BusName"),
        transient: look.get("Transient"),
        wanted_by,
        triggered_by: look.get("TriggeredBy"),
        file: if generated { source } else { fragment },
        settings,
        wish: Wish::default(),
        starts: look.commands(&["ExecStart"]),
        before: look.commands(&["ExecCondition", "ExecStartPre"]),
        ends: look.commands(&["ExecStop", "ExecStopPost"]),
        busy: look.busy(),
        restarts: look.get("NRestarts"),
    }
}
