//! dnf and rpm as the package manager of a system.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};

use super::{installed, news, reboot, resolve, stage, transaction};
use crate::{
    adapters::packages::{
        Answer, Layout, News, PackageError, PackageManager, Resolved, Wish,
        plans::{Outcome, Way},
    },
    core::{
        health::Evidence,
        plan::{PackageChange, Plan, PlanId},
    },
};

/// dnf and rpm, and the system they look after.
#[derive(Debug)]
pub struct Dnf<'l> {
    layout: &'l Layout,
}

impl<'l> Dnf<'l> {
    /// Those of a system.
    #[must_use]
    pub fn new(layout: &'l Layout) -> Self {
        Self { layout }
    }
}

impl PackageManager for Dnf<'_> {
    fn check<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Resolved> {
        if wish.release.is_some() {
            let said =
                "a release of a channel has packages of Debian: unset channel.name".to_owned();
            let refused = PackageError::Said { doing: "choosing packages", said };
            return std::future::ready(Err(refused)).boxed();
        }
        resolve::resolve(self.layout, wish).boxed()
    }

    fn is_good<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, bool> {
        stage::is_good(self.layout, plan).boxed()
    }

    fn fill<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()> {
        stage::fill(self.layout, plan).boxed()
    }

    fn prove<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()> {
        stage::prove(self.layout, plan).boxed()
    }

    fn clear(&self, id: &PlanId) -> Result<(), PackageError> {
        stage::clear(self.layout, id)
    }

    fn needed_by<'a>(&'a self, id: &'a PlanId, name: &'a str) -> Answer<'a, Vec<String>> {
        news::needed_by(self.layout, id, name).boxed()
    }

    fn news<'a>(&'a self, id: &'a PlanId, package: &'a PackageChange) -> Answer<'a, Option<News>> {
        news::of(self.layout, id, package).boxed()
    }

    fn attempt<'a>(
        &'a self,
        id: &'a PlanId,
        way: Way,
        lock_limit: Duration,
    ) -> BoxFuture<'a, Outcome> {
        transaction::attempt(self.layout, id, way, lock_limit).boxed()
    }

    fn ails<'a>(&'a self, plan: &'a Plan, or_undone: bool) -> Answer<'a, Vec<String>> {
        let have = installed::query(self.layout);
        async move { Ok(installed::ails(plan, &have.await?, or_undone)) }.boxed()
    }

    fn installed(&self) -> Answer<'_, BTreeMap<String, String>> {
        async { Ok(installed::by_name(installed::query(self.layout).await?)) }.boxed()
    }

    fn is_newer(&self, version: &str, than: &str) -> bool {
        super::version::compare(version, than).is_gt()
    }

    fn reboot_evidence(&self) -> BoxFuture<'_, Evidence> {
        reboot::evidence(self.layout).boxed()
    }
}
