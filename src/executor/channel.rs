//! The channel that this node follows: which release it may have. The agent has fetched what is signed,
//! and is not believed: everything is checked here once more, against what this process saw last.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use semver::Version;

use crate::{
    adapters::{
        channel::{
            ChannelError, Reason,
            client::Client,
            folder::Folder,
            look::{Look, look},
        },
        clock,
        packages::{self, Layout, PackageError, PackageManager, plans},
        state_file::{self, StateFileError},
    },
    config::settings::Channel,
    core::{
        channel::{
            allowed::Allowed,
            choose::Node,
            followed::{Memory, Report, SCHEMA, Source},
            graph::Paced,
            release::{Package, Release},
        },
        choice::KeptBack,
        plan::{Plan, PlanId},
    },
};

/// Why the admin of a node keeps a package as it is ([`Objection`](crate::core::choice::Objection)).
const ADMINS: [&str; 4] = ["held", "pinned", "denied", "not-allowed"];

/// Where the agent puts what it has fetched, on an installed system.
pub const SPOOL: &str = "/var/lib/lockkeeper/channel/spool";

/// Why what a release lets this node have cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The channel.
    #[error("the channel {name}")]
    Channel {
        /// Which one.
        name: String,
        /// Why not.
        source: ChannelError,
    },
    /// The server that paces.
    #[error("{0} has not said what may come next")]
    NotAsked(String),
    /// What is remembered.
    #[error(transparent)]
    Memory(#[from] StateFileError),
    /// The version of this program.
    #[error("this program's own version is no version")]
    Version(#[from] semver::Error),
    /// The system.
    #[error(transparent)]
    Packages(#[from] PackageError),
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// What the agent has fetched.
    pub spool: PathBuf,
    /// Our own memory of the channel.
    pub memory: PathBuf,
}

impl Places {
    /// Those of an installed system, with our own files under `state`.
    #[must_use]
    pub fn system(state: &Path) -> Self {
        Self { spool: PathBuf::from(SPOOL), memory: state.join("channel") }
    }

    fn file(&self) -> PathBuf {
        self.memory.join("releases.json")
    }

    /// What is remembered of releases.
    ///
    /// # Errors
    /// When it cannot be read: what failed must not be forgotten.
    pub fn recall(&self) -> Result<Memory, StateFileError> {
        Ok(state_file::read(&self.file(), SCHEMA)?.unwrap_or_default())
    }

    /// A release is well here after all.
    fn forgive(&self, version: &Version) -> Result<(), StateFileError> {
        let mut memory = self.recall()?;
        if memory.denied.remove(version) {
            self.remember(&memory)?;
        }
        Ok(())
    }

    /// A release, or a part of it, is installed.
    fn runs(&self, source: &Source) -> Result<Memory, StateFileError> {
        let mut memory = self.recall()?;
        if memory.runs(&source.version, source.complete) {
            let part = if source.complete { "" } else { "a part of " };
            tracing::info!("{part}release {} runs here", source.version);
            self.remember(&memory)?;
        }
        Ok(memory)
    }

    fn remember(&self, memory: &Memory) -> Result<(), StateFileError> {
        state_file::write(&self.file(), memory)
    }
}

/// What the channel lets this node have.
#[derive(Debug)]
pub struct Following {
    /// The packages.
    pub allowed: Allowed,
    /// The release they are of, and how long that may be believed; `None` when there is none.
    source: Option<Source>,
    /// For people.
    pub report: Report,
}

/// Looks at the channel. `node`: this node's id; `paced`: what a server lets it have next.
///
/// # Errors
/// When it cannot be read or is not believed, or a server is to be asked and was not. A channel that has
/// expired is no error: it allows nothing.
pub async fn follow(
    places: &Places,
    channel: &Channel,
    node: String,
    paced: Option<Paced>,
) -> Result<Following, FollowError> {
    if let (Some(url), None) = (&channel.graph_url, &paced) {
        return Err(FollowError::NotAsked(url.to_string()));
    }
    let memory = places.recall()?;
    let node = Node {
        id: node,
        current: memory.current,
        partial: memory.partial,
        agent: Version::parse(env!("CARGO_PKG_VERSION"))?,
        within: channel.within.clone(),
        denied: memory.denied,
        paced,
    };
    let client = Client::new(&channel.root, &places.memory.join("seen"));
    let name = &channel.name;
    let seen = look(&client, Folder::new(&places.spool), name, &node, clock::wall()).await;
    let Look { release, back, until, mut report } = match seen {
        Ok(look) => look,
        Err(error) if error.reason == Reason::Expired => return Ok(stale(name, &node, &error)),
        Err(source) => return Err(FollowError::Channel { name: name.clone(), source }),
    };
    let allowed = if let Some(release) = &release {
        Allowed::by(name, release, &packages::this_system().await?, back)
    } else {
        let why = report.held.first().cloned();
        Allowed::nothing(why.unwrap_or_else(|| format!("{name} has no release for this node")))
    };
    if let Some(why) = allowed.why_nothing() {
        if !report.held.iter().any(|held| held == why) {
            report.held.push(why.to_owned());
        }
        return Ok(Following { allowed, source: None, report });
    }
    let source = release.map(|Release { version, .. }| Source { version, until, complete: false });
    Ok(Following { allowed, source, report })
}

/// A channel that nobody signs any more may be one that somebody keeps from being seen.
fn stale(name: &str, node: &Node, error: &ChannelError) -> Following {
    let report = Report {
        channel: name.to_owned(),
        current: node.current.clone(),
        partial: node.partial.clone(),
        problem: Some(error.to_string()),
        ..Report::default()
    };
    let why = format!("{name} is not believed any more: {error}");
    Following { allowed: Allowed::nothing(why), source: None, report }
}

impl Following {
    /// Remembers what is allowed, before anything else is done: what is staged of another release is not
    /// begun any more, whatever comes of the check.
    ///
    /// # Errors
    /// When that cannot be read or written.
    pub fn note(&self, places: &Places) -> Result<(), StateFileError> {
        let mut memory = places.recall()?;
        let allowed = self.source.as_ref().map(|source| source.version.clone());
        if memory.allowed != allowed {
            memory.allowed = allowed;
            places.remember(&memory)?;
        }
        Ok(())
    }

    /// The release that is allowed, if one is.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Takes in what a check has found: what of the release would be missing with the plan installed. What
    /// the admin of the node keeps as it is is not missing, nor what is newer already, unless that is to go.
    pub async fn compare(
        &mut self,
        manager: &dyn PackageManager,
        plan: Option<&Plan>,
        kept: &[KeptBack],
    ) -> Result<(), PackageError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let mut have = manager.installed().await?;
        for change in plan.iter().flat_map(|plan| &plan.packages) {
            have.insert(format!("{}:{}", change.name, change.arch), change.to.clone());
        }
        let stays = |package: &str| {
            let is_it = |kept: &&KeptBack| format!("{}:{}", kept.name, kept.arch) == package;
            kept.iter().find(is_it).is_some_and(|kept| ADMINS.contains(&kept.why.code.as_str()))
        };
        let back = self.allowed.leads_back();
        let missing = |(package, wanted): &(&str, &Package)| {
            (back || !manager.is_newer(&have[*package], &wanted.version)) && !stays(package)
        };
        let lacks = self.allowed.lacks(&have).into_iter().filter(missing);
        self.report.lacks =
            lacks.map(|(package, wanted)| format!("{package} {}", wanted.version)).collect();
        source.complete = self.report.lacks.is_empty();
        Ok(())
    }

    /// What people are shown. A release of which nothing is to be installed, and nothing is missing, is
    /// remembered as the one that runs.
    ///
    /// # Errors
    /// When what is remembered cannot be read or written.
    pub fn settled(
        mut self,
        places: &Places,
        plan: Option<&Plan>,
    ) -> Result<Report, StateFileError> {
        if let (None, Some(source)) = (plan, &self.source)
            && source.complete
        {
            let memory = places.runs(source)?;
            (self.report.current, self.report.partial) = (memory.current, memory.partial);
            if self.report.current == self.report.target {
                self.report.target = None;
            }
        }
        Ok(self.report)
    }
}

/// A plan is good: its release, or a part of it, is what this node has.
///
/// # Errors
/// When that cannot be read or written.
pub fn confirmed(places: &Places, layout: &Layout, id: &PlanId) -> Result<(), FollowError> {
    let Some(source) = plans::source(layout, id)? else { return Ok(()) };
    if !plans::is_gone_back_from(layout, id)? {
        places.forgive(&source.version)?;
    }
    places.runs(&source)?;
    Ok(())
}

/// Why a plan must not be begun any more, by the release it is of.
///
/// # Errors
/// When the plan's files, or what is remembered, cannot be read.
pub fn against(
    places: &Places,
    layout: &Layout,
    id: &PlanId,
    now: Timestamp,
) -> Result<Option<String>, PackageError> {
    let Some(Source { version, until, .. }) = plans::source(layout, id)? else {
        return Ok(Some("a channel is followed, and it is of no release: check again".to_owned()));
    };
    let memory = places.recall()?;
    Ok(if memory.denied.contains(&version) {
        Some(format!("release {version} failed on this node"))
    } else if memory.allowed.as_ref() != Some(&version) {
        Some(format!("release {version} is not on offer here any more: check again"))
    } else if until <= now {
        Some(format!(
            "the channel that release {version} is of has expired at {until}: check again"
        ))
    } else {
        None
    })
}

/// A plan is gone back from: its release is not tried again here.
///
/// # Errors
/// When that cannot be read or written.
pub fn deny(places: &Places, layout: &Layout, id: &PlanId) -> Result<(), FollowError> {
    let Some(source) = plans::source(layout, id)? else { return Ok(()) };
    let mut memory = places.recall()?;
    if memory.denied.insert(source.version) {
        places.remember(&memory)?;
    }
    Ok(())
}
