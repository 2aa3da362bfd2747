//! `migrate`: carries another program's lock over; what is to be done is decided in the core.

use std::path::Path;

use serde::Serialize;

use super::{lock, print, print_json, reach, unattended};
use crate::{
    adapters::{
        migrate, node,
        slots::{
            SlotStore,
            etcd::{Access, EtcdStore},
        },
    },
    cli::{
        args::{Migration, SourceArgs},
        error::CliError,
    },
    config::{self, settings::Strategy},
    core::migrate::{Plan, Source, plan},
    observe::logging::chain,
};

/// What `migrate --json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    dry_run: bool,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// Runs `migration`.
pub async fn run(migration: &Migration) -> Result<u8, CliError> {
    match migration {
        Migration::Locksmith(args) => carry(Source::Locksmith, args).await,
        Migration::Airlock(args) => carry(Source::Airlock, args).await,
        Migration::UnattendedUpgrades(args) => unattended::run(args).await,
    }
}

async fn carry(source: Source, args: &SourceArgs) -> Result<u8, CliError> {
    let ours = configured(&args.config_root)?;
    let access = reach::given(&args.endpoint, &args.papers);
    let values = migrate::read(source, &access).await?;
    let mut found = source.read(&values, |id| ours_of(source, id));
    if let Some(only) = &args.group {
        found.retain(|group, _| group == only);
    }
    let here = migrate::look(&ours, &found).await?;
    let mut plan = plan(source, &found, &here);
    if !args.dry_run {
        migrate::apply(&ours, &mut plan, &lock::admin()?).await?;
    }
    if args.json {
        print_json(&Document { schema: 1, dry_run: args.dry_run, plan: &plan })?;
    } else {
        print(&plan.to_string())?;
    }
    Ok(u8::from(plan.refuses()))
}

/// The etcd that this machine's configuration names, also while the strategy is still "off".
fn configured(root: &Path) -> Result<SlotStore, CliError> {
    let settings = config::load(root).map_err(|errors| CliError::Config(chain(&errors)))?.settings;
    if matches!(settings.strategy, Strategy::Reboot | Strategy::FleetLock) {
        let why = "this machine's lock is not in etcd: set strategy = \"etcd-lock\", or \"off\" until \
                   the lock is carried over";
        return Err(CliError::Failed(why.to_owned()));
    }
    let access = Access::from(&settings.etcd);
    Ok(SlotStore::Etcd(EtcdStore::new(&access, &settings.etcd.prefix)))
}

/// locksmith's ids are machine ids, of which ours are made. airlock's come from its clients, and are
/// the same at our hub.
fn ours_of(source: Source, id: &str) -> Option<String> {
    match source {
        Source::Locksmith => node::id_of(id),
        Source::Airlock => None,
    }
}
