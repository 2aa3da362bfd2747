//! `rebootctl channel`: the admin's side of release channels.

pub mod args;
mod edit;
mod source;

use std::{
    io::{self, Write},
    path::Path,
};

use args::{ChannelArgs, ChannelCommand};

use super::error::CliError;
use crate::{
    adapters::{
        apt::set::installed_set,
        channel::{
            ChannelError,
            publisher::{Lifetimes, PublishError, Publisher},
        },
        clock,
        packages::this_system,
    },
    core::channel::release::Set,
    observe::logging::chain,
};

/// Runs it.
pub async fn run(args: ChannelArgs) -> Result<u8, CliError> {
    let folder = args.folder.as_path();
    let now = clock::wall();
    match args.command {
        ChannelCommand::Init { channels, root_keys, threshold } => {
            let keys = (root_keys, threshold);
            Publisher::create(folder, &channels, keys, Lifetimes::default(), now).await?;
            say(&format!(
                "{} is there, with the channels {}\n\
                 publish: public/\n\
                 put on nodes as the root that they trust: public/metadata/1.root.json\n\
                 keep away from here: keys/root-*.pem\n",
                folder.display(),
                channels.join(", ")
            ))
        }
        ChannelCommand::Set => {
            let set = this_machine().await?;
            say(&(serde_json::to_string_pretty(&set).map_err(io::Error::from)? + "\n"))
        }
        ChannelCommand::Add(args) => edit::add(folder, args, now).await,
        ChannelCommand::Promote { release, from, to, pace } => {
            edit::promote(folder, &release, (&from, &to), pace, now).await
        }
        ChannelCommand::Rollout { change } => edit::rollout(folder, change, now).await,
        ChannelCommand::Recall { release, reason, back_to, channel } => {
            edit::recall(folder, &release, &reason, back_to.as_ref(), channel.as_deref(), now).await
        }
        ChannelCommand::Show { json } => edit::show(folder, json, now),
        ChannelCommand::Refresh => {
            let mut publisher = open(folder)?;
            publisher.refresh(now).await?;
            say("signed anew: publish it\n")
        }
        ChannelCommand::RenewRoot { replace, key } => {
            let replace: Vec<_> = replace.into_iter().map(Into::into).collect();
            let version = open(folder)?.renew_root(&replace, &key, now).await?;
            say(&format!("root {version} is signed; publish it\n"))
        }
        ChannelCommand::Verify { source, root } => source::verify(&source, &root).await,
        ChannelCommand::Publish { target } => source::publish(folder, &target).await,
        ChannelCommand::Mirror { source, target, root } => {
            source::mirror_to(&source, &target, &root).await
        }
    }
}

/// The channel in a folder.
fn open(folder: &Path) -> Result<Publisher, CliError> {
    Ok(Publisher::open(folder, Lifetimes::default())?)
}

/// What this machine runs, with a warning for what nobody else could install.
async fn this_machine() -> Result<Set, CliError> {
    let system = this_system().await.map_err(|error| CliError::Failed(chain(&error)))?;
    let known = installed_set().await.map_err(|error| CliError::Failed(chain(&error)))?;
    let (packages, unknown) = known;
    for package in unknown {
        writeln!(io::stderr(), "left out, no archive of this machine has it: {package}")?;
    }
    if packages.is_empty() {
        let said = "the archives of this machine know none of its packages: apt-get update";
        return Err(CliError::Failed(said.to_owned()));
    }
    let (distribution, arch) = system;
    let (id, codename, archives) = (distribution.id, distribution.codename, Vec::new());
    Ok(Set { distribution: id, codename, arch, archives, packages })
}

fn say(text: &str) -> Result<u8, CliError> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

impl From<PublishError> for CliError {
    fn from(error: PublishError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl From<ChannelError> for CliError {
    fn from(error: ChannelError) -> Self {
        Self::Failed(chain(&error))
    }
}
