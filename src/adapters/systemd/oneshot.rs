//! A program that is run to its end in a transient unit of its own: what it may do is not limited by
//! what we may do, and nothing that it has started is left.

use std::{
    fs::File,
    io::{self, PipeWriter, Seek as _, Write as _},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::time::{Instant, sleep};
use zbus::{Connection, Fd, OwnedObjectPath, Variant};

use super::{
    proxies::{LookProxy, ManagerProxy},
    transient::{self, TransientError},
};

/// From SIGTERM to SIGKILL.
const STOPPING: Duration = Duration::from_secs(5);
/// Beyond its limit, systemd has this long to end it and to say so.
const LEEWAY: Duration = Duration::from_secs(30);
/// syslog(3)
const LOG_WARNING: i32 = 4;
/// Between two looks; they become rarer.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// What is run.
#[derive(Debug)]
pub struct Oneshot<'a> {
    /// Its unit: there is only one of a name.
    pub name: &'a str,
    /// For people.
    pub description: &'a str,
    /// The program, by its whole path, and its arguments.
    pub argv: &'a [&'a str],
    /// `NAME=value`
    pub environment: &'a [&'a str],
    /// All its processes are ended after this long.
    pub limit: Duration,
    /// Whose rights it has: root's when there is none. A user's has a fence around it as well, and its
    /// errors go to the journal.
    pub user: Option<u32>,
}

/// How it ended, as systemd tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// `success`, `exit-code`, `signal`, `timeout`, …
    pub word: String,
    /// Its exit status.
    pub status: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

/// A program could not be run, or its end not be seen.
#[derive(Debug, thiserror::Error)]
pub enum OneshotError {
    /// systemd, or the bus, said no.
    #[error(transparent)]
    Systemd(#[from] TransientError),
    /// No pipe, or no memory, for what it reads and says.
    #[error("{unit} cannot be prepared")]
    Io {
        /// Which unit.
        unit: String,
        /// Why.
        source: io::Error,
    },
    /// An earlier run does not end, or the end of this one is not told.
    #[error("{unit} has not ended in time")]
    Stuck {
        /// Which unit.
        unit: String,
    },
}

impl OneshotError {
    /// Adds the unit's name.
    pub fn io(unit: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { unit: unit.to_owned(), source }
    }
}

/// Runs it with `input` to read, and `output` to write to. A run of that name that is under way (whoever
/// began it is gone) is waited for before; what is left of an ended one is cleared away. Callers see to
/// it that no two of them run one name at a time.
pub async fn run(
    bus: &Connection,
    oneshot: &Oneshot<'_>,
    input: &[u8],
    output: PipeWriter,
) -> std::result::Result<Result, OneshotError> {
    let unit = Unit::new(bus, oneshot.name).await?;
    let input = in_memory(input).map_err(OneshotError::io(oneshot.name))?;
    let properties = properties(oneshot, input, OwnedFd::from(output));
    let mut looks = Looks::within(oneshot.limit + LEEWAY);
    loop {
        match unit.manager.start_transient_unit(oneshot.name, "fail", &properties, &[]).await {
            Ok(_) => break,
            Err(zbus::Error::MethodError(error, ..)) if error.ends_with(".UnitExists") => {
                unit.clear_if_ended().await?;
            }
            Err(source) => return Err(unit.failed("run")(source)),
        }
        looks.pause(&unit).await?;
    }
    // Whoever reads the output sees its end only when no copy of ours is left.
    drop(properties);
    let mut looks = Looks::within(oneshot.limit + LEEWAY);
    let result = loop {
        if let Some(result) = unit.result().await? {
            break result;
        }
        looks.pause(&unit).await?;
    };
    unit.clear().await;
    Ok(result)
}

/// Text to read, in memory that outlives us.
fn in_memory(input: &[u8]) -> io::Result<Option<OwnedFd>> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut file = File::from(memfd_create("lockkeeper-input", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(Some(file.into()))
}

fn properties<'a>(
    oneshot: &Oneshot<'a>,
    input: Option<OwnedFd>,
    output: OwnedFd,
) -> Vec<(&'static str, Variant<'a>)> {
    let usec = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let argv: Vec<&'a str> = oneshot.argv.to_vec();
    let program = argv.first().copied().unwrap_or_default();
    let mut properties = vec![
        ("Description", oneshot.description.into()),
        ("Type", "oneshot".into()),
        // Until it is cleared away, how it ended can be read.
        ("RemainAfterExit", true.into()),
        ("ExecStart", vec![(program, argv, false)].into()),
        ("Environment", oneshot.environment.to_vec().into()),
        ("TimeoutStartUSec", usec(oneshot.limit).into()),
        ("TimeoutStopUSec", usec(STOPPING).into()),
        // That it was started and has ended is no news: what has come of it is told by whoever asked.
        ("LogLevelMax", LOG_WARNING.into()),
    ];
    if let Some(input) = input {
        properties.push(("StandardInputFileDescriptor", Fd::from(input).into()));
    }
    if let Some(user) = oneshot.user {
        properties.extend(fence(user));
    } else if let Ok(copy) = output.try_clone() {
        properties.push(("StandardErrorFileDescriptor", Fd::from(copy).into()));
    }
    properties.push(("StandardOutputFileDescriptor", Fd::from(output).into()));
    properties
}

/// What keeps a process of a user to looking and asking.
fn fence(user: u32) -> [(&'static str, Variant<'static>); 10] {
    [
        ("User", user.to_string().into()),
        // Of the same kind, systemd would have errors follow the output, wherever that leads.
        ("StandardOutput", "null".into()),
        ("StandardError", "journal".into()),
        ("NoNewPrivileges", true.into()),
        ("CapabilityBoundingSet", 0_u64.into()),
        ("ProtectSystem", "strict".into()),
        ("ProtectHome", "read-only".into()),
        ("PrivateDevices", true.into()),
        ("MemoryMax", (256_u64 << 20).into()),
        ("TasksMax", 64_u64.into()),
    ]
}

/// A unit, as systemd shows it.
struct Unit<'a> {
    name: &'a str,
    bus: &'a Connection,
    manager: ManagerProxy<'a>,
}

impl<'a> Unit<'a> {
    async fn new(bus: &'a Connection, name: &'a str) -> std::result::Result<Self, OneshotError> {
        Ok(Self { name, bus, manager: transient::manager(bus, "run", name).await? })
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(zbus::Error) -> OneshotError + use<'a> {
        let unit = self.name;
        move |source| transient::failed(what, unit, source).into()
    }

    async fn look(&self) -> std::result::Result<LookProxy<'a>, OneshotError> {
        // The object is there, whether or not there is such a unit.
        let path: OwnedObjectPath =
            self.manager.load_unit(self.name).await.map_err(self.failed("show"))?;
        let proxy = LookProxy::builder(self.bus).path(path).build().await;
        proxy.map_err(self.failed("show"))
    }

    /// `active`, `failed` or `inactive` when nothing of it runs, or is going to.
    async fn rest(
        &self,
        look: &LookProxy<'_>,
    ) -> std::result::Result<Option<String>, OneshotError> {
        let get = async |property| look.get("org.freedesktop.systemd1.Unit", property).await;
        let read = async {
            // The job first: it lasts until the state is the last one.
            let (job, _): (u32, OwnedObjectPath) = get("Job").await?.try_into()?;
            let state: String = get("ActiveState").await?.try_into()?;
            zbus::Result::Ok((job == 0).then_some(state))
        };
        let rest = read.await.map_err(self.failed("show"))?;
        Ok(rest.filter(|state| matches!(&**state, "active" | "failed" | "inactive")))
    }

    /// How it ended; none while it runs.
    async fn result(&self) -> std::result::Result<Option<Result>, OneshotError> {
        let look = self.look().await?;
        let Some(state) = self.rest(&look).await? else { return Ok(None) };
        if state == "inactive" {
            // It was stopped, and is not there any more to be asked.
            let word = "stopped".to_owned();
            return Ok(Some(Result { word, status: 0, signal: None }));
        }
        let get = async |property| look.get("org.freedesktop.systemd1.Service", property).await;
        let read = async {
            let word: String = get("Result").await?.try_into()?;
            let code: i32 = get("ExecMainCode").await?.try_into()?;
            let status: i32 = get("ExecMainStatus").await?.try_into()?;
            zbus::Result::Ok((word, code, status))
        };
        let (word, code, status) = read.await.map_err(self.failed("show"))?;
        // waitid(2): 1 is CLD_EXITED, 2 CLD_KILLED, 3 CLD_DUMPED.
        let signal = matches!(code, 2 | 3).then_some(status);
        Ok(Some(Result { word, status, signal }))
    }

    /// Clears away what is left of an earlier run, unless it still runs.
    async fn clear_if_ended(&self) -> std::result::Result<(), OneshotError> {
        if self.rest(&self.look().await?).await?.is_some() {
            self.clear().await;
        }
        Ok(())
    }

    /// Ends what it has started, and has systemd forget it. Refused where there is nothing to do.
    async fn clear(&self) {
        let _ = self.manager.stop_unit(self.name, "replace").await;
        let _ = self.manager.reset_failed_unit(self.name).await;
    }
}

/// Looks that become rarer, until a deadline.
struct Looks {
    deadline: Instant,
    pause: Duration,
}

impl Looks {
    fn within(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: FIRST_LOOK }
    }

    async fn pause(&mut self, unit: &Unit<'_>) -> std::result::Result<(), OneshotError> {
        if Instant::now() >= self.deadline {
            unit.clear().await;
            return Err(OneshotError::Stuck { unit: unit.name.to_owned() });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_LOOK);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn every_property_has_the_type_systemd_expects() {
        let oneshot = Oneshot {
            name: "x.service",
            description: "x",
            argv: &["/bin/x", "a"],
            environment: &["A=b"],
            limit: Duration::from_secs(1),
            user: None,
        };
        let (_reader, writer) = io::pipe().unwrap();
        let input = in_memory(b"text").unwrap();
        let found = transient::types(properties(&oneshot, input, writer.into()));
        let expected = [
            ("Description", "s"),
            ("Type", "s"),
            ("RemainAfterExit", "b"),
            ("ExecStart", "a(sasb)"),
            ("Environment", "as"),
            ("TimeoutStartUSec", "t"),
            ("TimeoutStopUSec", "t"),
            ("LogLevelMax", "i"),
            ("StandardInputFileDescriptor", "h"),
            ("StandardErrorFileDescriptor", "h"),
            ("StandardOutputFileDescriptor", "h"),
        ];
        assert_eq!(found, expected.map(|(name, sig)| (name, sig.to_owned())));
    }

    #[test]
    fn a_users_process_has_a_fence_and_does_not_write_its_errors_into_the_answer() {
        let oneshot = Oneshot {
            name: "x.service",
            description: "x",
            argv: &["/bin/x"],
            environment: &[],
            limit: Duration::from_secs(1),
            user: Some(1000),
        };
        let (_reader, writer) = io::pipe().unwrap();
        let found = transient::types(properties(&oneshot, None, writer.into()));
        let has = |name: &str, kind: &str| found.iter().any(|(n, k)| *n == name && k == kind);
        for (name, kind) in [
            ("User", "s"),
            ("StandardOutput", "s"),
            ("StandardError", "s"),
            ("NoNewPrivileges", "b"),
            ("CapabilityBoundingSet", "t"),
            ("ProtectSystem", "s"),
            ("ProtectHome", "s"),
            ("PrivateDevices", "b"),
            ("MemoryMax", "t"),
            ("TasksMax", "t"),
            ("StandardOutputFileDescriptor", "h"),
        ] {
            assert!(has(name, kind), "{name}: {found:?}");
        }
        assert!(!has("StandardErrorFileDescriptor", "h"));
    }

    #[test]
    fn what_is_to_be_read_is_read_from_its_beginning() {
        let mut text = String::new();
        File::from(in_memory(b"text").unwrap().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert!(in_memory(b"").unwrap().is_none());
    }
}
