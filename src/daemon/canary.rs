//! The canary's and the follower's part in a check; what is allowed is decided in `core::canary`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

use crate::{
    adapters::{
        clock,
        packages::{self, Layout},
        slots::SlotStore,
        state_file,
        systemd::Systemd,
    },
    config::settings::Canary,
    core::canary::{Ripe, SCHEMA, Soaking, Verified},
    observe::logging::chain,
};

/// What this node told its followers last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<Option<News>>>);

/// For the followers of these groups.
type News = (Vec<String>, Verified);

impl Told {
    /// Tells the followers of `groups` what is installed here, if that is news and no unit has
    /// failed. Called while nothing is being changed. What cannot be told now is told with the next
    /// check.
    pub(super) async fn tell(
        &self,
        store: &SlotStore,
        systemd: &Systemd,
        groups: &[String],
        (node, name): (&str, &str),
    ) {
        if let Err(why) = self.try_to_tell(store, systemd, groups, (node, name)).await {
            warn!("followers are not told what was verified here: {why}");
        }
    }

    async fn try_to_tell(
        &self,
        store: &SlotStore,
        systemd: &Systemd,
        groups: &[String],
        (node, name): (&str, &str),
    ) -> Result<(), String> {
        let state = systemd.state().await.map_err(|error| chain(&error))?;
        if state != "running" {
            return Err(format!("systemd is {state}"));
        }
        let verified = Verified {
            schema: SCHEMA,
            name: name.to_owned(),
            // Only the package manager's record is read.
            packages: packages(&Layout::system(Path::new("/nonexistent"))).await?,
        };
        let news = (groups.to_vec(), verified);
        if self.last().as_ref() == Some(&news) {
            return Ok(());
        }
        for group in groups {
            let told = store.publish_verified(group, node, &news.1).await;
            told.map_err(|error| chain(&error))?;
        }
        *self.last() = Some(news);
        Ok(())
    }

    fn last(&self) -> MutexGuard<'_, Option<News>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything installed, `name:arch` and version. A node with a broken package has verified nothing.
async fn packages(layout: &Layout) -> Result<BTreeMap<String, String>, String> {
    let manager = packages::of(layout).map_err(|error| chain(&error))?;
    manager.installed().await.map_err(|error| chain(&error))
}

/// What the canary group allows now; `None` when none is followed. What it has verified is remembered
/// under `state`, with the time it was seen first.
pub(super) async fn ripe(
    store: &SlotStore,
    canary: &Canary,
    state: &Path,
) -> Result<Option<Ripe>, String> {
    let Some(group) = &canary.follow else { return Ok(None) };
    let verified = store.verified(group).await.map_err(|error| chain(&error))?;
    let views = store.view(std::slice::from_ref(group)).await.map_err(|error| chain(&error))?;
    let file = path(state);
    let mut soaking = remembered(&file, group);
    let now = clock::wall();
    soaking.look(&verified, now);
    state_file::write(&file, &soaking).map_err(|error| chain(&error))?;
    let halt = views.get(group).and_then(|view| view.slots.halt.as_ref());
    Ok(Some(match halt {
        Some(halt) => Ripe::halted(format!("{} ({})", halt.reason, halt.by)),
        None => soaking.ripe(canary.soak, now),
    }))
}

/// A memory that cannot be read is none: then everything soaks anew.
fn remembered(file: &Path, group: &str) -> Soaking {
    let known = state_file::read::<Soaking>(file, SCHEMA).unwrap_or_else(|error| {
        warn!("every version soaks anew: {}", chain(&error));
        None
    });
    known.filter(|known| known.group == group).unwrap_or_else(|| Soaking::new(group))
}

fn path(state: &Path) -> PathBuf {
    state.join("canary.json")
}
