//! `balancer`: keeps the files of load balancers up to date with the keys of etcd, as confd does.

use std::{collections::BTreeSet, error::Error, path::Path, time::Duration};

use super::reach;
use crate::{
    adapters::{
        confd::{Delivered, deliver},
        slots::etcd::{Access, feed::Feed},
    },
    cli::{args::BalancerArgs, error::CliError},
    config::{self, confd},
    core::{
        template::{Keys, keys::absolute},
        time::backoff,
    },
    observe::logging::chain,
};

/// The longest pause between two tries.
const MOST: Duration = Duration::from_secs(15);

/// Runs until it is ended; with `onetime`, once.
pub async fn run(args: &BalancerArgs) -> Result<u8, CliError> {
    let access = if args.endpoint.is_empty() {
        configured(&args.config_root)?
    } else {
        reach::given(&args.endpoint, &args.papers)
    };
    let mut feed = Feed::new(&access);
    let (mut told, mut tries) = (Vec::new(), 0);
    loop {
        let troubles = round(args, &mut feed).await;
        if args.onetime {
            for trouble in &troubles {
                tracing::error!("{trouble}");
            }
            return Ok(u8::from(!troubles.is_empty()));
        }
        // What has been said is not said again and again.
        for trouble in troubles.iter().filter(|trouble| !told.contains(*trouble)) {
            tracing::warn!("{trouble}");
        }
        if troubles.is_empty() && !told.is_empty() {
            tracing::info!("all is well again");
        }
        told = troubles;
        if told.is_empty() {
            tries = 0;
            feed.changed().await;
        } else {
            tries += 1;
            // A change may be what mends it.
            let pause = backoff(tries).min(MOST);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = feed.changed() => {}
            }
        }
    }
}

/// Brings every file up to date; answers what kept some from it. The confdir is read anew each time.
async fn round(args: &BalancerArgs, feed: &mut Feed) -> Vec<String> {
    let said = |error: &(dyn Error + 'static)| chain(error);
    let (resources, bad) = match confd::load(&args.confdir, args.prefix.as_deref()) {
        Ok(found) => found,
        Err(error) => return vec![said(&error)],
    };
    let mut troubles: Vec<String> = bad.iter().map(|error| said(error)).collect();
    let wanted = |resource: &confd::Resource| {
        let keys = resource.keys.iter().map(|key| absolute(&resource.prefix, key));
        keys.collect::<Vec<_>>()
    };
    let tops: BTreeSet<String> = resources.iter().flat_map(wanted).collect();
    if tops.is_empty() {
        return troubles;
    }
    let found = match feed.read(&tops).await {
        Ok(found) => found,
        Err(error) => return [troubles, vec![said(&error)]].concat(),
    };
    for resource in &resources {
        let mut keys = Keys::below(&resource.prefix, &resource.keys, &found);
        if !args.any_values {
            let (plain, odd) = keys.plain();
            let skipped =
                |key| format!("{key} does not hold a plain word: it is left out (--any-values)");
            troubles.extend(odd.iter().map(skipped));
            keys = plain;
        }
        let dest = resource.dest.display();
        match deliver(resource, &keys).await {
            Ok(Delivered::Same) => {}
            Ok(Delivered::New) => tracing::info!("{dest} is new, and has been read"),
            Ok(Delivered::Read) => tracing::info!("{dest} has been read now"),
            Err(error) => troubles.push(said(&error)),
        }
    }
    troubles
}

/// The etcd that this machine's configuration names, whatever its strategy is.
fn configured(root: &Path) -> Result<Access, CliError> {
    let loaded = config::load(root).map_err(|errors| CliError::Config(chain(&errors)))?;
    Ok(Access::from(&loaded.settings.etcd))
}
