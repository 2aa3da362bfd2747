//! Containers made anew from what was pulled: at the end of `Restore`, under the slot, and back again when
//! they are not healthy.
//!
//! What is to be changed is written down before anything is, and each change before it is begun. What was
//! cut off is gone back from, and taken in the next cycle.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::{Context, Rules, WorkloadError, images, record};
use crate::{
    adapters::{containers, state_file},
    core::{
        image::{Tag, short},
        record::{Record, any_matches},
        recreate::{Change, Journal, Pulled, Remade, SCHEMA, Step, in_order},
    },
};

mod prospects;
mod take;

pub(super) use prospects::fates;
use prospects::prospects;
use take::Work;

/// So long a pull that is under way is waited for.
const PULLING: Duration = Duration::from_secs(60);
/// Why an image is denied that was healthy itself.
const WITH_IT: &str = "the update it was taken with has failed";

/// After all is restored: takes what was pulled, once in each cycle, in the order that containers need each
/// other. Answers with what was made anew. What is not healthy then is on the old image again, and
/// [`verify`] says so.
pub async fn after_restore(context: &Context) -> Result<Vec<String>, WorkloadError> {
    let Some(record) = record::load(context)? else { return Ok(Vec::new()) };
    // Only a cycle writes it, and there is one at a time.
    if read(context)?.cycle == Some(record.taken) {
        if read(context)?.changes.is_empty() {
            return Ok(Vec::new());
        }
        let Ok(_turn) = timeout(PULLING, context.moving.lock()).await else {
            warn!("images are being pulled: what was taken is not looked at now");
            return Ok(Vec::new());
        };
        images::settle(context).await?;
        let mut work = Work::new(context, &record, read(context)?).await?;
        work.finish().await?;
        work.look_anew().await?;
        return Ok(Vec::new());
    }
    let Some(Rules { containers: rules, .. }) = Rules::read(&context.config) else {
        return Ok(Vec::new());
    };
    if rules.update.is_empty() && read(context)?.changes.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(_turn) = timeout(PULLING, context.moving.lock()).await else {
        info!("images are being pulled: no container is made anew in this cycle");
        return Ok(Vec::new());
    };
    images::settle(context).await?;
    let mut work = Work::new(context, &record, read(context)?).await?;
    work.finish().await?;
    let changes = plan(context, &record, &work.journal, &rules.update).await?;
    work.journal.cycle = Some(record.taken);
    work.journal.changes = in_order(&record, changes);
    work.write()?;
    work.take_all().await
}

/// What is newer, may be taken and was not denied.
async fn plan(
    context: &Context,
    record: &Record,
    journal: &Journal,
    wanted: &[String],
) -> Result<Vec<Change>, WorkloadError> {
    let mut changes = Vec::new();
    if wanted.is_empty() {
        return Ok(changes);
    }
    for client in containers::at_work(&context.systemd).await? {
        let engine = client.engine();
        for named in client.named().await? {
            let reference = &named.reference;
            let wanted = Tag::of(reference).is_some() && any_matches(wanted, reference);
            let Some(pulled) = journal.pulled(engine, reference).filter(|_| wanted) else {
                continue;
            };
            let new = &pulled.id;
            let here = client.image(reference).await?.map(|here| here.id);
            let moved = here.as_ref() != Some(&pulled.stood_for) && here.as_ref() != Some(new);
            if moved || client.image(new).await?.is_none() {
                info!(
                    "{reference} ({engine}) is another image than when it was pulled: left alone"
                );
                continue;
            }
            if journal.denied(engine, reference, new).is_some() {
                continue;
            }
            let mut containers = Vec::new();
            for (name, maker) in prospects(context, &client, record, &named, new).await? {
                match maker {
                    Ok(maker) => containers.push(Remade { name, maker }),
                    Err(why) => info!("container {name} ({engine}) is not made anew: {why}"),
                }
            }
            let ran = |own: &Remade| named.containers.iter().find(|(name, _)| *name == own.name);
            let mut old: Vec<&String> =
                containers.iter().filter_map(ran).map(|(_, id)| id).collect();
            old.dedup();
            let [old] = old[..] else {
                if !old.is_empty() {
                    warn!(
                        "{reference} ({engine}): its containers run different images: left alone"
                    );
                }
                continue;
            };
            let (old, new) = (old.clone(), new.clone());
            info!("{reference} ({engine}) is {} now: taking {}", short(&old), short(&new));
            let (reference, step) = (reference.clone(), Step::Planned);
            changes.push(Change { engine, reference, old, new, containers, step });
        }
    }
    Ok(changes)
}

/// Looks at what was made anew: what is not well is put back on its old image. `failed`: the cycle has
/// failed, so that all of it is. Answers with sentences for images that did not do, as
/// [`Journal::failing`] has them.
pub async fn verify(context: &Context, failed: bool) -> Result<Vec<String>, WorkloadError> {
    let Some(record) = record::load(context)? else { return Ok(Vec::new()) };
    let journal = read(context)?;
    let begun = journal.cycle == Some(record.taken);
    if (!begun && !failed) || (begun && journal.changes.is_empty()) {
        return Ok(Vec::new());
    }
    // While images are pulled nothing was taken, and nothing that is to be gone back from waits for them.
    let Ok(_turn) = timeout(PULLING, context.moving.lock()).await else {
        warn!("images are being pulled: what was taken is not looked at now");
        return Ok(journal.failing(failed));
    };
    let mut work = Work::new(context, &record, read(context)?).await?;
    work.finish().await?;
    if !begun {
        // Nothing is taken in a cycle that has failed.
        work.journal.settle();
        work.journal.cycle = Some(record.taken);
        work.write()?;
        return Ok(Vec::new());
    }
    for at in 0..work.journal.changes.len() {
        let why = if failed { Some(WITH_IT.to_owned()) } else { work.wrong(at).await };
        let taken = matches!(work.journal.changes[at].step, Step::Taken { .. });
        if let Some(why) = why.filter(|_| taken) {
            work.go_back(at, Some(why)).await?;
        }
    }
    Ok(work.journal.failing(failed))
}

/// The node is well: what was taken is what it has now.
pub fn settle(context: &Context) -> Result<(), WorkloadError> {
    // While images are pulled nothing was taken.
    let Ok(_turn) = context.moving.try_lock() else { return Ok(()) };
    let mut journal = read(context)?;
    if journal.settle() {
        write(context, &journal)?;
    }
    Ok(())
}

/// Notes what a name is in its registry. Under the turn of who moves names.
pub(super) fn note_pulled(context: &Context, pulled: Pulled) -> Result<(), WorkloadError> {
    let mut journal = read(context)?;
    if journal.pulled(pulled.engine, &pulled.reference) != Some(&pulled) {
        journal.note_pulled(pulled);
        write(context, &journal)?;
    }
    Ok(())
}

fn read(context: &Context) -> Result<Journal, WorkloadError> {
    Ok(state_file::read(&context.recreated, SCHEMA)?.unwrap_or_default())
}

fn write(context: &Context, journal: &Journal) -> Result<(), WorkloadError> {
    Ok(state_file::write(&context.recreated, journal)?)
}
