//! One verb of the executor in a process of its own, on the machine it runs on: what `benches/packages`
//! measures. `steps check`, `steps stage PLAN`, `steps apply PLAN`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program for a terminal")]

use std::{path::Path, process::ExitCode, time::Duration};

use lockkeeper::{
    adapters::apt::{
        Layout,
        plans::{self, Outcome, Way},
    },
    config::settings::{Packages, Settings, WithoutWayBack},
    core::{choice::Origins, plan::PlanId},
    executor::{Rules, check::check, run::transact, stage::stage},
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let layout = Layout::system(Path::new("/var/lib/lockkeeper-executor"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(step(&layout, &args)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    println!("failed: {why}");
    ExitCode::FAILURE
}

async fn step(layout: &Layout, args: &[&str]) -> Result<String, String> {
    let plan = |id: &str| PlanId::parse(id).map_err(|error| error.to_string());
    match args {
        ["check"] => {
            let Settings { packages, containers, .. } = Settings::default();
            let packages = Packages { origins: Origins::All, ..packages };
            let (follow, choice) = (None, String::new());
            let rules = Rules { packages, follow, choice, containers, channel: None };
            let report =
                check(layout, &rules, None, None).await.map_err(|error| error.to_string())?;
            Ok(report.plan.map_or("nothing".to_owned(), |plan| plan.id.to_string()))
        }
        ["stage", id] => {
            let done = stage(layout, &plan(id)?, WithoutWayBack::Allow).await;
            done.map(|()| "staged".to_owned()).map_err(|error| error.to_string())
        }
        ["apply", id] => {
            let id = plan(id)?;
            let counted = plans::count_attempts(layout, &id, Way::There, 1);
            counted.map_err(|error| error.to_string())?;
            match transact(layout, &id, Way::There, Duration::ZERO).await {
                Ok(Outcome::Complete) => Ok("applied".to_owned()),
                other => Err(format!("{other:?}")),
            }
        }
        // What `cargo test` and `cargo bench` call it with.
        _ => Ok("steps check | stage PLAN | apply PLAN; see benches/packages".to_owned()),
    }
}
