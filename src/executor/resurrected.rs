//! Containers that somebody had stopped, and their engine has started again.

use tracing::{info, warn};

use super::Context;
use crate::{
    adapters::containers::{self, Client, ContainerError},
    config::settings::Resurrected,
    core::record::{Engine, Record},
    observe::logging::chain,
};

/// Reports each, and stops it where that is configured. What cannot be seen or stopped is logged: no
/// node is worse for it than it would have been.
pub(super) async fn see_to(context: &Context, record: &Record) {
    let mut engines: Vec<Engine> = record.stopped.iter().map(|stopped| stopped.engine).collect();
    engines.sort_unstable();
    engines.dedup();
    for engine in engines {
        let client = match containers::connect(engine, &context.systemd).await {
            Ok(Some(client)) => client,
            Ok(None) => continue,
            Err(error) => {
                warn!("what {engine} has started again is not known: {}", chain(&error));
                continue;
            }
        };
        if let Err(error) = see_to_those_of(&client, record, context.resurrected).await {
            warn!("{}", chain(&error));
        }
    }
}

async fn see_to_those_of(
    client: &Client,
    record: &Record,
    mode: Resurrected,
) -> Result<(), ContainerError> {
    for container in record.resurrected(&client.running().await?) {
        let text = format!(
            "container {} ({}) had been stopped, and its restart policy has started it",
            container.name, container.engine
        );
        match mode {
            Resurrected::Report => warn!("{text}"),
            Resurrected::Stop => {
                info!("{text}: stopping it");
                // One that cannot be stopped keeps none of the others running.
                if let Err(error) = client.stop(&container.name).await {
                    warn!("{}", chain(&error));
                }
            }
        }
    }
    Ok(())
}
