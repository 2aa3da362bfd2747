//! Fetching what the release channel has signed, for the executor to judge.

use std::time::Duration;

use semver::Version;
use tracing::{debug, warn};

use super::{Context, QUICK, parse, within};
use crate::{
    adapters::{
        channel::{
            ChannelError, Reason,
            client::Client,
            graph::{self, Asking},
            look::{Look, look},
            remote::{Manners, Remote},
            spool::Spool,
        },
        clock,
    },
    config::settings::Channel,
    core::{
        channel::{
            choose::Node,
            followed::{Memory, Report},
        },
        event::Again,
    },
    daemon::driver::Input,
    dbus::executor::ExecutorProxy,
    observe::logging::chain,
};

/// Fetches what the channel has for this node into the spool, where one is followed, and asks the server
/// that paces, if there is one. What cannot be fetched leaves the spool as it was. Answers with what the
/// executor is to be told of that server.
pub(super) async fn fetch(
    context: &Context,
    executor: &ExecutorProxy<'_>,
) -> Result<String, String> {
    let Some(channel) = &context.channel else { return Ok(String::new()) };
    let memory: Memory = parse(&within(QUICK, executor.releases()).await?)?;
    let paced = match &channel.graph_url {
        Some(url) => {
            let who = Asking {
                channel: &channel.name,
                node: &context.node,
                arch: std::env::consts::ARCH,
                current: memory.current.as_ref(),
            };
            Some(graph::ask(url, channel.ca_file.as_deref(), who).await?)
        }
        None => None,
    };
    let node = Node {
        id: context.node.clone(),
        current: memory.current,
        partial: memory.partial,
        agent: Version::parse(env!("CARGO_PKG_VERSION")).map_err(|error| chain(&error))?,
        within: channel.within.clone(),
        denied: memory.denied,
        paced: paced.clone(),
    };
    let folder = context.state_dir.join("channel");
    let remote = Remote::new(&channel.urls, channel.ca_file.as_deref(), Manners::default())?;
    let mut spool = Spool::new(&folder.join("spool"), remote);
    let client = Client::new(&channel.root, &folder.join("seen"));
    let mut seen = once(channel, &client, &spool, &node).await;
    if let Err(error) = &seen
        && spool.has_served()
        && may_be_ours(error.reason)
    {
        debug!("once more without what was kept: {error}");
        spool = spool.anew();
        seen = once(channel, &client, &spool, &node).await;
    }
    seen.map_err(|error| chain(&error))?;
    spool.keep().map_err(|error| format!("{}: {error}", folder.display()))?;
    paced
        .map_or(Ok(String::new()), |paced| serde_json::to_string(&paced))
        .map_err(|error| chain(&error))
}

async fn once(
    channel: &Channel,
    client: &Client,
    spool: &Spool<Remote>,
    node: &Node,
) -> Result<Look, ChannelError> {
    look(client, spool.clone(), &channel.name, node, clock::wall()).await
}

/// Whether a damaged file of our own may be behind it.
const fn may_be_ours(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Digest | Reason::Shape | Reason::TooShort | Reason::TooLarge | Reason::Signature
    )
}

/// Shows what the executor has found, and what stood in the way of seeing more.
pub(super) fn show(context: &Context, found: Option<Report>, unseen: Option<String>) -> Again {
    let mut report = found.unwrap_or_default();
    if let Some(why) = unseen {
        warn!("the channel cannot be seen: {why}");
        report.problem.get_or_insert(why);
    }
    let again = Again { wait: report.wait.map(Duration::from_secs), at: report.again };
    let _ = context.inputs.send(Input::Release(report));
    again
}
