//! Carrying a lock over: what our store has, and the changes that a plan makes to it.

use std::collections::BTreeMap;

use crate::{
    adapters::{
        clock,
        slots::{SlotStore, StoreError, fleetlock::wire},
    },
    core::{
        change::{AdminOp, Change},
        history::What,
        migrate::{Changes, Found, Held, Here, Move, Plan, Source},
        slots::Holder,
    },
};

/// What is in our store for each group that was `found`.
///
/// # Errors
/// When the store cannot be read.
pub async fn look(store: &SlotStore, found: &Found) -> Result<BTreeMap<String, Here>, StoreError> {
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

/// Makes the changes, in the name of `by`. Where the store refuses one, because somebody was quicker,
/// the group is left as it is by then, and the plan says so.
///
/// # Errors
/// When the store cannot be reached; then some changes may have been made. To run it again is safe.
pub async fn apply(store: &SlotStore, plan: &mut Plan, by: &str) -> Result<(), StoreError> {
    let source = plan.source;
    for (group, step) in &mut plan.groups {
        let Move::Go(changes) = step else { continue };
        for op in ops(source, changes) {
            let reason = reason(source);
            match store.admin(group, &Change { op, by: by.to_owned(), reason }).await {
                Ok(_) => {}
                Err(StoreError::Refused(why)) => {
                    *step = Move::Stopped(format!("{why}; run this again"));
                    break;
                }
                Err(error) => return Err(error),
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
