//! `PullImages`: what a registry has by the names of running containers, brought here beforehand.
//!
//! Nothing changes by it but the disk (and what [`recreate`] knows of it): a name stands for the image it stood for before, so that neither a
//! restart nor a reboot runs another one unasked.

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Context, WorkloadError, record::observe, recreate};
use crate::{
    adapters::{
        containers::{self, Client, ContainerError},
        state_file,
    },
    config::settings::Containers,
    core::{
        container::Engine,
        image::{Behind, Fate, Image, Named, Owner, Pull, Report, Tag},
        record::{Record, any_matches},
        recreate::Pulled,
    },
    observe::logging::chain,
};

/// Format of [`Moving`].
const SCHEMA: u32 = 1;
/// The repository that what was pulled is kept in: without a name, the next prune would take it.
const KEPT: &str = "localhost/lockkeeper/pulled";

/// A name that a pull moves, written down before it does.
#[derive(Debug, Serialize, Deserialize)]
struct Moving {
    /// [`SCHEMA`].
    schema: u32,
    /// Whose.
    engine: Engine,
    /// The name.
    reference: String,
    /// What it stood for.
    id: String,
}

/// Pulls every name of a running container that is a tag and that one of the patterns fits. What cannot be
/// pulled is part of the answer.
pub async fn pull(context: &Context, wanted: &Containers) -> Result<Report, WorkloadError> {
    let mut report = Report::default();
    let clients = containers::at_work(&context.systemd).await?;
    put_back_cut_off(context, &clients).await?;
    let record = observe(context).await?;
    let names = wanted.pulled();
    for client in &clients {
        for named in client.named().await? {
            let reference = named.reference.clone();
            let Some(tag) = Tag::of(&reference).filter(|_| any_matches(&names, &reference)) else {
                continue;
            };
            let update = any_matches(&wanted.update, &reference);
            let pull = match one(context, client, &record, &named, &tag, update).await {
                Ok(pull) => pull,
                Err(error) => Pull::Not { why: chain(&error) },
            };
            report.images.push(Image { engine: client.engine(), reference, pull });
        }
    }
    Ok(report)
}

async fn one(
    context: &Context,
    client: &Client,
    record: &Record,
    named: &Named,
    tag: &Tag<'_>,
    update: bool,
) -> Result<Pull, WorkloadError> {
    let not = |why: &str| Ok(Pull::Not { why: why.to_owned() });
    let Some(here) = client.image(&named.reference).await? else {
        return not("no image here has that name any more");
    };
    if !tag.is_source(&here.digests) {
        return not("the image here did not come from a registry");
    }
    let (schema, engine, id) = (SCHEMA, client.engine(), here.id);
    let moving = Moving { schema, engine, reference: named.reference.clone(), id };
    state_file::write(&context.images, &moving)?;
    let pulled = client.pull(tag).await;
    // Also after a pull that has failed: nobody knows how far it went.
    let newest = put_back(client, tag, &moving.id).await?;
    state_file::remove(&context.images)?;
    pulled?;
    let (stood_for, reference) = (moving.id.clone(), moving.reference.clone());
    recreate::note_pulled(context, Pulled { engine, reference, id: newest.clone(), stood_for })?;
    let mut containers = Vec::new();
    let fates = if update {
        recreate::fates(context, client, record, named, &newest).await?
    } else {
        named.behind(&newest).into_iter().map(|name| (name, Fate::Unasked)).collect()
    };
    for (name, fate) in fates {
        let mut recorded = record.containers.iter();
        let recorded = recorded.find(|own| own.engine == engine && own.name == name);
        containers.push(Behind { owner: Owner::of(recorded), name, fate });
    }
    if containers.is_empty() {
        return Ok(Pull::Same);
    }
    if newest != moving.id {
        info!("{} ({engine}) is {newest} in its registry: pulled", moving.reference);
    }
    Ok(Pull::Newer { id: newest, containers })
}

/// Has a name stand for `id` again, and keeps what it stood for in between, which is the answer.
async fn put_back(client: &Client, tag: &Tag<'_>, id: &str) -> Result<String, ContainerError> {
    let name = format!("{}:{}", tag.repository, tag.tag);
    let newest = client.image(&name).await?.map_or_else(|| id.to_owned(), |here| here.id);
    if newest != id {
        let kept = tag.kept_as();
        client.tag(&newest, &Tag { repository: KEPT, tag: &kept }).await?;
        client.tag(id, tag).await?;
    }
    Ok(newest)
}

/// Puts back what a pull that was cut off has moved, before anybody else moves a name.
///
/// # Errors
/// When that cannot be done: then no name may be moved.
pub(super) async fn settle(context: &Context) -> Result<(), WorkloadError> {
    if state_file::read::<Moving>(&context.images, SCHEMA)?.is_none() {
        return Ok(());
    }
    put_back_cut_off(context, &containers::at_work(&context.systemd).await?).await
}

/// What a pull had moved when it was cut off.
async fn put_back_cut_off(context: &Context, clients: &[Client]) -> Result<(), WorkloadError> {
    let Some(moving) = state_file::read::<Moving>(&context.images, SCHEMA)? else {
        return Ok(());
    };
    let client = clients.iter().find(|client| client.engine() == moving.engine);
    let (Some(client), Some(tag)) = (client, Tag::of(&moving.reference)) else {
        return Ok(());
    };
    if client.image(&moving.id).await?.is_some() {
        put_back(client, &tag, &moving.id).await?;
    } else {
        warn!("{} cannot be put back to {}, which is gone", moving.reference, moving.id);
    }
    Ok(state_file::remove(&context.images)?)
}
