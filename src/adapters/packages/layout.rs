//! Where things are: our own files, and the system the packages belong to.

use std::path::{Path, PathBuf};

use crate::core::plan::PlanId;

/// The system looked after, and where we keep lists and plans.
#[derive(Clone, Debug)]
pub struct Layout {
    state: PathBuf,
    root: PathBuf,
    apt_config: Option<PathBuf>,
    services: bool,
}

impl Layout {
    /// The running system, with our files under `state`.
    #[must_use]
    pub fn system(state: &Path) -> Self {
        Self { state: state.to_owned(), root: PathBuf::from("/"), apt_config: None, services: true }
    }

    /// The same where services are neither started nor stopped: in a boot for updates.
    #[must_use]
    pub fn without_services(self) -> Self {
        Self { services: false, ..self }
    }

    /// May maintainer scripts start and stop services?
    #[must_use]
    pub fn with_services(&self) -> bool {
        self.services
    }

    /// A system in a directory; apt reads `apt_config` first (as `APT_CONFIG`), and must learn of
    /// `root` from there.
    #[must_use]
    pub fn rooted(state: &Path, root: &Path, apt_config: &Path) -> Self {
        Self {
            state: state.to_owned(),
            root: root.to_owned(),
            apt_config: Some(apt_config.to_owned()),
            services: true,
        }
    }

    /// Where our own files are.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The private lists of all sources.
    #[must_use]
    pub fn lists(&self) -> PathBuf {
        self.state.join("lists")
    }

    /// The system's main file of sources and the archives of a release, where there is a release that
    /// has some.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.state.join("sources.list")
    }

    /// An archive cache that stays empty, so that apt never takes a file for downloaded.
    #[must_use]
    pub fn no_archives(&self) -> PathBuf {
        self.state.join("no-archives")
    }

    /// The folder of what hides versions from a check.
    #[must_use]
    pub fn hidden(&self) -> PathBuf {
        self.state.join("hidden")
    }

    /// What apt has read from the lists, for its next call. It notices itself when it is out of date.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.state.join("pkgcache.bin")
    }

    /// What dnf has read of the repositories, and its log.
    #[must_use]
    pub fn metadata(&self) -> PathBuf {
        self.state.join("dnf")
    }

    /// The folder of all plans.
    #[must_use]
    pub fn plans(&self) -> PathBuf {
        self.state.join("plans")
    }

    /// The folder of one plan.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> PathBuf {
        self.plans().join(id.as_str())
    }

    /// The folder of what leads back from a plan.
    #[must_use]
    pub fn back(&self, id: &PlanId) -> PathBuf {
        self.plan(id).join("back")
    }

    /// A path of the system looked after.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What apt reads before anything else, if not the system's own configuration.
    #[must_use]
    pub fn apt_config(&self) -> Option<&Path> {
        self.apt_config.as_deref()
    }

    /// Is it the running system?
    #[must_use]
    pub fn is_running_system(&self) -> bool {
        self.root == Path::new("/")
    }
}
