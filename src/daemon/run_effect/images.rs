//! Pulling images, beside all else: nothing waits for it, and nothing is decided by it.

use std::{sync::Arc, time::Duration};

use super::{Context, parse, within};
use crate::{core::image::Report, daemon::driver::Input, dbus::executor::ExecutorProxy};

/// Deadline of pulling all images (a slow registry).
const PULL: Duration = Duration::from_secs(6 * 3600);

/// Begins to pull, unless that goes on already; people are shown what has come of it.
pub(super) fn begin(context: &Context, executor: ExecutorProxy<'static>) {
    let inputs = context.inputs.clone();
    if !context.pull {
        let _ = inputs.send(Input::Images(Report::default()));
        return;
    }
    let Ok(turn) = Arc::clone(&context.pulling).try_lock_owned() else { return };
    tokio::spawn(async move {
        let _turn = turn;
        let report = within(PULL, executor.pull_images()).await.and_then(|said| parse(&said));
        let failed = |why| Report { problem: Some(why), ..Report::default() };
        let _ = inputs.send(Input::Images(report.unwrap_or_else(failed)));
    });
}
