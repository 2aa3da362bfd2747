//! The admin's own checks: programs in `health.d`, those of greenboot and of health-checker, the probes of
//! the configuration, and systemd's boot-complete.target. Several run at a time, and all of them together no longer than a while.

use std::{path::Path, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, warn};

use super::{Context, boot_complete, foreign_checks};
use crate::{
    adapters::{
        probe,
        scripts::{self, Found, Order},
    },
    config::{
        self,
        probes::{Probe, Target},
        settings::{BootComplete, Settings},
    },
    core::check::{self, Answer, Finding},
    observe::logging::chain,
};

/// Runs at once.
const AT_ONCE: usize = 4;
/// All of them together end within this long: a report is awaited.
const TOGETHER: Duration = Duration::from_secs(300);

/// One check to be made.
pub(super) enum Check {
    /// A program.
    Program(Program),
    /// A probe.
    Probe(Probe),
    /// Whether boot-complete.target is reached.
    BootComplete,
    /// One that cannot be made, and why.
    Unable(Finding),
}

/// A program that says by its exit status how the node is.
pub(super) struct Program {
    /// `check 10-disk.sh`
    pub name: String,
    /// Whether it counts.
    pub required: bool,
    /// `lockkeeper-check-10-disk.sh.service`
    pub unit: String,
    /// The whole path, and arguments.
    pub argv: Vec<String>,
    /// It may take this long.
    pub limit: Duration,
}

/// What all checks say now. One look at a time: each program has one unit.
pub(super) async fn look(context: &Context) -> Vec<Finding> {
    let mut told = context.checking.lock().await;
    let checks = all(&context.config);
    let (deadline, slots) = (Instant::now() + TOGETHER, Semaphore::new(AT_ONCE));
    let findings = join_all(checks.into_iter().map(|check| async {
        // Never closed.
        let _slot = slots.acquire().await;
        make(context, check, deadline).await
    }));
    let findings = findings.await;
    let remarks: Vec<String> = check::remarks(&findings).into_iter().map(str::to_owned).collect();
    for remark in remarks.iter().filter(|remark| !told.contains(remark)) {
        warn!("{remark}; that is only reported");
    }
    *told = remarks;
    findings
}

/// Every check there is below `root`.
fn all(root: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    let settings = match config::load(root) {
        Ok(loaded) => loaded.settings,
        Err(errors) => {
            debug!("{errors}");
            let text = "the probes are not known: the configuration cannot be read (rebootctl \
                        config check says why)";
            checks.push(unable("the probes".to_owned(), true, text.to_owned()));
            Settings::default()
        }
    };
    let limit = settings.verify.check_timeout;
    for Found { name, program, .. } in scripts::find(root, &scripts::folders("health.d")) {
        let unit = format!("lockkeeper-check-{name}.service");
        let name = format!("check {name}");
        let argv = program.map(|path| vec![path.to_string_lossy().into_owned()]);
        checks.push(program_check(name, true, unit, argv, limit));
    }
    if settings.verify.foreign_checks {
        checks.extend(foreign_checks::find(root, limit));
    }
    checks.extend(settings.probes.into_iter().map(Check::Probe));
    if settings.verify.boot_complete == BootComplete::Require {
        checks.push(Check::BootComplete);
    }
    checks
}

/// A check by a program; by none, where it may not be executed.
pub(super) fn program_check(
    name: String,
    required: bool,
    unit: String,
    argv: Result<Vec<String>, String>,
    limit: Duration,
) -> Check {
    match argv {
        Ok(argv) => Check::Program(Program { name, required, unit, argv, limit }),
        Err(why) => cannot_run(name, required, &why),
    }
}

/// A check that may not be executed.
pub(super) fn cannot_run(name: String, required: bool, why: &str) -> Check {
    let text = format!("{name} cannot be run: {why}");
    unable(name, required, text)
}

fn unable(name: String, required: bool, text: String) -> Check {
    Check::Unable(Finding { name, required, answer: Answer::Unable(text) })
}

async fn make(context: &Context, check: Check, deadline: Instant) -> Finding {
    let left = deadline.saturating_duration_since(Instant::now());
    match check {
        Check::Unable(finding) => finding,
        Check::BootComplete => boot_complete::look(context).await,
        Check::Program(program) => {
            let answer = run(context, &program, left).await;
            Finding { name: program.name, required: program.required, answer }
        }
        Check::Probe(probe) => {
            let name = format!("probe {}", probe.name);
            let answer = ask(context, &name, &probe, left).await;
            Finding { name, required: true, answer }
        }
    }
}

async fn run(context: &Context, program: &Program, left: Duration) -> Answer {
    let Program { name, unit, argv, limit, .. } = program;
    if left.is_zero() {
        let all = TOGETHER.as_secs();
        return Answer::Bad(format!("{name} was not begun: the others took {all} s"));
    }
    let arguments: Vec<&str> = argv.iter().skip(1).map(String::as_str).collect();
    let order = Order {
        unit,
        description: &format!("lockkeeper: {name}"),
        program: Path::new(argv.first().map_or("", String::as_str)),
        arguments: &arguments,
        environment: &[],
        input: &[],
        limit: left.min(*limit),
    };
    match scripts::run(context.systemd.bus(), &order).await {
        Err(error) => Answer::Unable(format!("{name} cannot be run: {}", chain(&error))),
        Ok(ended) if ended.end == scripts::End::Unstarted => {
            Answer::Unable(format!("{name} {}", ended.end))
        }
        Ok(ended) => ended
            .complaint()
            .map_or(Answer::Good, |complaint| Answer::Bad(format!("{name} {complaint}"))),
    }
}

async fn ask(context: &Context, name: &str, probe: &Probe, left: Duration) -> Answer {
    let limit = left.min(probe.timeout);
    let said = match &probe.target {
        Target::Http { url, status, ca_file } => {
            probe::http(url, ca_file.as_deref(), status, limit).await
        }
        Target::Tcp(address) => probe::tcp(address, limit).await,
        Target::Command(argv) => return command(context, name, probe, argv, limit).await,
    };
    said.map_or_else(|why| Answer::Bad(format!("{name}: {why}")), |()| Answer::Good)
}

async fn command(
    context: &Context,
    name: &str,
    probe: &Probe,
    argv: &[String],
    limit: Duration,
) -> Answer {
    let program = argv.first().map_or("", String::as_str);
    let path = match scripts::trusted(&context.config, Path::new(program)) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(why) => return Answer::Unable(format!("{name} cannot be run: {why}")),
    };
    let argv = std::iter::once(path).chain(argv.iter().skip(1).cloned()).collect();
    let unit = format!("lockkeeper-probe-{}.service", probe.name);
    let program = Program { name: name.to_owned(), required: true, unit, argv, limit };
    run(context, &program, limit).await
}
