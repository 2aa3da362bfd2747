//! `stale`: what runs on old files, seen without the agent.

use std::{collections::BTreeSet, path::Path};

use super::{print, print_json};
use crate::{
    adapters::{
        stale::{
            self,
            restarted::{self, RESTARTED},
        },
        systemd::Systemd,
    },
    cli::{error::CliError, render},
    config,
    core::stale::{Mode, Rules},
    observe::logging::chain,
};

pub fn names() -> Result<u8, CliError> {
    let scan = stale::scan(Path::new("/proc"));
    let scan = scan.map_err(|error| CliError::Failed(chain(&error)))?;
    let units: BTreeSet<String> = scan.stale.into_iter().filter_map(|found| found.unit).collect();
    print(&units.into_iter().map(|unit| unit + "\n").collect::<String>())
}

pub async fn stale(json: bool) -> Result<u8, CliError> {
    let loaded = config::load(Path::new("/"));
    let settings = loaded.map_err(|errors| CliError::Config(errors.to_string()))?.settings;
    let rules = Rules {
        // Who asks wants to see.
        mode: match settings.services.restart {
            Mode::Off => Mode::List,
            other => other,
        },
        never: settings.services.never,
        by_reboot: settings.services.by_reboot,
        ignore: settings.workloads.ignore,
    };
    // Only root can read it, and sees all processes.
    let done = restarted::read(Path::new(RESTARTED)).unwrap_or_default();
    let systemd = Systemd::new(zbus::Connection::system().await?);
    let looked = stale::look(&systemd, &rules, &done).await;
    let (report, _) = looked.map_err(|error| CliError::Failed(chain(&error)))?;
    if json { print_json(&report) } else { print(&render::stale(&report)) }
}
