//! `migrate`: carries another program's lock over; what is to be done is decided in the core.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{lock, print, print_json, reach};
use crate::{
    adapters::{
        clock, migrate, node,
        slots::{
            SlotStore, StoreError,
            etcd::{Access, EtcdStore},
            fleetlock::wire,
        },
    },
    cli::{
        args::{Migration, SourceArgs},
        error::CliError,
    },
    config::{self, settings::Strategy},
    core::{
        change::{AdminOp, Change},
        history::What,
        migrate::{Changes, Found, Held, Here, Move, Plan, Source, plan},
        slots::Holder,
    },
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
    let here = look(&ours, &found).await?;
    let mut plan = plan(source, &found, &here);
    if !args.dry_run {
        apply(&ours, &mut plan).await?;
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

async fn look(store: &SlotStore, found: &Found) -> Result<BTreeMap<String, Here>, StoreError> {
    let known = store.groups().await?;
    let mut here = BTreeMap::new();
    for group in found.iter().filter(|(_, theirs)| theirs.is_ok()).map(|(group, _)| group) {
        let view = store.view(std::slice::from_ref(group)).await?.remove(group);
        let history = store.history(group).await?;
        let seen = Here {
            known: known.contains(group),
            view: view.unwrap_or_default(),
            max_set: history.iter().any(|entry| entry.what == What::MaxSet),
        };
        here.insert(group.clone(), seen);
    }
    Ok(here)
}

/// Makes the changes. Where the store refuses one, because somebody was quicker, the group is left as
/// it is by then.
async fn apply(store: &SlotStore, plan: &mut Plan) -> Result<(), CliError> {
    let by = lock::admin()?;
    let source = plan.source;
    for (group, step) in &mut plan.groups {
        let Move::Go(changes) = step else { continue };
        for op in ops(source, changes) {
            let reason = reason(source);
            match store.admin(group, &Change { op, by: by.clone(), reason }).await {
                Ok(_) => {}
                Err(StoreError::Refused(why)) => {
                    *step = Move::Stopped(format!("{why}; run this again"));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn ops(source: Source, changes: &Changes) -> Vec<AdminOp> {
    let lock = |held: &Held| AdminOp::Lock(claim(source, held));
    let (first, later) = changes.take.split_at(changes.first);
    let max = changes.max.map(|(_, to)| AdminOp::SetMax(to));
    first.iter().map(lock).chain(max).chain(later.iter().map(lock)).collect()
}

/// A slot as our hub would have given it to a client of airlock's, so that the client can give it
/// back there; one of locksmith's is taken by hand.
fn claim(source: Source, held: &Held) -> Holder {
    let nonce = match source {
        Source::Locksmith => "",
        Source::Airlock => wire::NONCE,
    };
    Holder {
        node: held.node.clone(),
        name: held.id.clone(),
        nonce: nonce.to_owned(),
        since: clock::wall(),
        reason: reason(source),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

fn reason(source: Source) -> String {
    format!("held in {} when it was migrated", source.word())
}
