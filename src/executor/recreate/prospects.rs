//! Which containers of a name could be made anew, by whom, and why the others are not.

use super::{Context, WorkloadError, read};
use crate::{
    adapters::containers::{Client, compose},
    core::{
        image::{Fate, Named},
        record::{Record, RecordedContainer},
        recreate::{Maker, obstacle},
    },
};

/// For each container that does not run the image `newest`: who makes it anew, or why nobody does. The name
/// must not move while something would take what it stands for at its next start without being looked at:
/// then none is made anew.
pub(super) async fn prospects(
    context: &Context,
    client: &Client,
    record: &Record,
    named: &Named,
    newest: &str,
) -> Result<Vec<(String, Result<Maker, String>)>, WorkloadError> {
    let (mut found, mut follows) = (Vec::new(), None);
    for name in named.behind(newest) {
        let mut recorded = record.containers.iter();
        let recorded = recorded.find(|c| c.engine == client.engine() && c.name == name);
        let maker = match recorded {
            Some(recorded) => maker(context, client, record, recorded, &mut follows).await?,
            None => Err("lockkeeper is to leave it alone, or it has just been started".to_owned()),
        };
        found.push((name, maker));
    }
    if let Some(follows) = follows {
        for (_, maker) in found.iter_mut().filter(|(_, maker)| maker.is_ok()) {
            *maker = Err(format!("{follows} has the same image, and would follow unwatched"));
        }
    }
    Ok(found)
}

async fn maker(
    context: &Context,
    client: &Client,
    record: &Record,
    of: &RecordedContainer,
    follows: &mut Option<String>,
) -> Result<Result<Maker, String>, WorkloadError> {
    let unit = match &of.unit {
        Some(name) => context.systemd.units(std::slice::from_ref(name)).await?.remove(name),
        None => None,
    };
    if let Some(obstacle) = obstacle(of, record, unit.as_ref(), &context.services.never) {
        if obstacle.follows {
            *follows = Some(of.name.clone());
        }
        return Ok(Err(obstacle.why));
    }
    if let Some(unit) = &of.unit {
        return Ok(Ok(Maker::Unit(unit.clone())));
    }
    let own = |c: &&RecordedContainer| {
        let place = |c: &RecordedContainer| {
            c.compose.as_ref().map(|place| (place.project.clone(), place.service.clone()))
        };
        c.engine == of.engine && place(c) == place(of)
    };
    let scale = record.containers.iter().filter(own).count();
    let Some(service) = client.service(&of.name, scale).await? else {
        return Ok(Err("its labels do not say how it was brought up".to_owned()));
    };
    let same = compose::would_be_the_same(context.systemd.bus(), &service).await;
    Ok(same.map(|()| Maker::Compose(service)))
}

/// What is to become of each container that does not run the image `newest`.
pub async fn fates(
    context: &Context,
    client: &Client,
    record: &Record,
    named: &Named,
    newest: &str,
) -> Result<Vec<(String, Fate)>, WorkloadError> {
    let journal = read(context)?;
    let denied = journal.denied(client.engine(), &named.reference, newest);
    let denied = denied.map(|why| format!("it did not do here ({why})"));
    let record = record.clone().without(&context.ignore);
    let found = prospects(context, client, &record, named, newest).await?;
    let fate = |maker: Result<Maker, String>| match (maker, denied.clone()) {
        (Err(why), _) | (Ok(_), Some(why)) => Fate::Not(why),
        (Ok(_), None) => Fate::Next,
    };
    Ok(found.into_iter().map(|(name, maker)| (name, fate(maker))).collect())
}
