//! The admin's own programs: which there are, whether they may be trusted, and running one.
//!
//! A set of them is a folder in `/usr/lib/lockkeeper`, `/etc/lockkeeper` and `/run/lockkeeper`. One in a
//! stronger folder replaces one of the same name in a weaker folder; a link to `/dev/null` masks it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use zbus::Connection;

use super::systemd::oneshot::{self, Oneshot, OneshotError};
use tail::Tail;

mod folders;
mod tail;
mod trust;

pub use folders::{Found, find};
pub use trust::{trusted, trusted_file};

/// The environment of each, whatever ours is.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
];
/// systemd's status of a program that could not be started: `EXIT_EXEC`.
const NOT_EXECUTED: i32 = 203;

/// The three folders of a set, the weakest first.
#[must_use]
pub fn folders(set: &str) -> [PathBuf; 3] {
    ["usr/lib/lockkeeper", "etc/lockkeeper", "run/lockkeeper"].map(|at| Path::new(at).join(set))
}

/// One run of a program.
#[derive(Debug)]
pub struct Order<'a> {
    /// `lockkeeper-check-10-disk.service`: while one of that name runs, no second one is started.
    pub unit: &'a str,
    /// What systemd calls it, for people.
    pub description: &'a str,
    /// A path that [`trusted`] has answered.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// `NAME=value`, beside the fixed ones.
    pub environment: &'a [&'a str],
    /// What it reads from its standard input; nothing when empty.
    pub input: &'a [u8],
    /// It is ended, with all it has started, after this long.
    pub limit: Duration,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With status 0.
    Well,
    /// With another status.
    Status(i32),
    /// By a signal.
    Signal(i32),
    /// It took too long.
    Late(Duration),
    /// It could not be started.
    Unstarted,
    /// Somebody stopped it, or systemd did.
    Stopped,
}

/// How a program ended, and the end of what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// The end of its output and its errors, of some kilobytes at most, without control characters.
    pub said: String,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("succeeded"),
            Self::Status(status) => write!(f, "failed with exit status {status}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Late(limit) => write!(f, "took longer than {}", seconds(*limit)),
            Self::Unstarted => f.write_str("cannot be executed"),
            Self::Stopped => f.write_str("was stopped"),
        }
    }
}

fn seconds(time: Duration) -> String {
    let (whole, rest) = (time.as_secs(), time.subsec_millis());
    if rest == 0 { format!("{whole} s") } else { format!("{whole}.{rest:03} s") }
}

impl Ended {
    /// What is wrong, to follow the program's name; none when it succeeded.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let said = tail::last_lines(&self.said);
        match (self.end, said.is_empty()) {
            (End::Well, _) => None,
            (end, true) => Some(end.to_string()),
            (end, false) => Some(format!("{end}: {said}")),
        }
    }
}

/// Runs a program to its end: in a unit of its own, without any of our fences and outside of our
/// process group. It is executed itself, by no shell. Callers see to it that no two of them run one unit
/// at a time; a run that an earlier process of ours began is waited for, and another one follows.
pub async fn run(bus: &Connection, order: &Order<'_>) -> Result<Ended, OneshotError> {
    let (tail, output) = Tail::begin().map_err(OneshotError::io(order.unit))?;
    let environment: Vec<&str> = ENVIRONMENT.iter().chain(order.environment).copied().collect();
    let program = order.program.to_string_lossy();
    let argv: Vec<&str> =
        std::iter::once(&*program).chain(order.arguments.iter().copied()).collect();
    let unit = Oneshot {
        name: order.unit,
        description: order.description,
        argv: &argv,
        environment: &environment,
        limit: order.limit,
        user: None,
    };
    let result = oneshot::run(bus, &unit, order.input, output).await?;
    let end = match (&*result.word, result.signal, result.status) {
        ("success", ..) => End::Well,
        ("timeout", ..) => End::Late(order.limit),
        (_, None, NOT_EXECUTED) => End::Unstarted,
        ("exit-code", None, status) => End::Status(status),
        (_, Some(signal), _) => End::Signal(signal),
        _ => End::Stopped,
    };
    Ok(Ended { end, said: tail.end().await })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_says_how_it_ended_and_its_last_words() {
        let said = |end, said: &str| Ended { end, said: said.to_owned() }.complaint();
        assert_eq!(said(End::Well, "all is well"), None);
        assert_eq!(
            said(End::Status(3), "looking\n\ndisk is full\n").unwrap(),
            "failed with exit status 3: looking; disk is full"
        );
        assert_eq!(said(End::Late(Duration::from_secs(5)), "").unwrap(), "took longer than 5 s");
        assert_eq!(
            said(End::Late(Duration::from_millis(1500)), " ").unwrap(),
            "took longer than 1.500 s"
        );
        assert_eq!(said(End::Signal(9), "").unwrap(), "was ended by signal 9");
        assert_eq!(said(End::Unstarted, "").unwrap(), "cannot be executed");
    }
}
