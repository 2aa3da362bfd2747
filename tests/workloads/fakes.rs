//! systemd's and logind's managers as far as lockkeeper calls them, on a test's own bus.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use zbus::{Connection, DBusError, ObjectPath, OwnedObjectPath, fdo, object_server::SignalEmitter};

/// An error as systemd names it.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
pub enum SystemdError {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    AlreadySubscribed(String),
}

/// A manager whose units have telling names.
#[derive(Default)]
pub struct Systemd {
    subscribed: bool,
    jobs: u32,
    /// Names that `ResetFailedUnit` was called with.
    pub reset: Arc<Mutex<Vec<String>>>,
    /// How often userspace has started anew; `None`: a systemd that does not say.
    pub soft_reboots: Option<u32>,
}

impl Systemd {
    /// Serves as long as the connection it answers with lives.
    pub async fn serve(self, bus: Connection) -> Connection {
        bus.object_server().at("/org/freedesktop/systemd1", self).await.unwrap();
        bus.request_name("org.freedesktop.systemd1").await.unwrap();
        bus
    }
}

fn job(id: u32) -> OwnedObjectPath {
    ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap().into()
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn subscribe(&mut self) -> Result<(), SystemdError> {
        if std::mem::replace(&mut self.subscribed, true) {
            return Err(SystemdError::AlreadySubscribed("again".to_owned()));
        }
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "methods of an interface have it")]
    fn load_unit(&self, name: &str) -> Result<OwnedObjectPath, SystemdError> {
        Err(SystemdError::NoSuchUnit(format!("Unit name {name} is not valid.")))
    }

    fn reset_failed_unit(&mut self, name: &str) -> Result<(), SystemdError> {
        self.reset.lock().unwrap().push(name.to_owned());
        Err(SystemdError::NoSuchUnit(format!("Unit {name} not loaded.")))
    }

    /// Answers after the job is done, as a busy systemd may: among many other jobs.
    async fn start_unit(
        &mut self,
        name: &str,
        mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, SystemdError> {
        assert_eq!(mode, "replace");
        let result = match name {
            "good.service" => "done",
            "bad.service" => "failed",
            "slow.service" => "",
            _ => return Err(SystemdError::NoSuchUnit(format!("Unit {name} not found."))),
        };
        for _ in 0..500 {
            self.jobs += 1;
            Self::job_removed(&emitter, self.jobs, job(self.jobs), "other.service", "done").await?;
        }
        self.jobs += 1;
        if !result.is_empty() && self.subscribed {
            Self::job_removed(&emitter, self.jobs, job(self.jobs), name, result).await?;
        }
        Ok(job(self.jobs))
    }

    #[zbus(property)]
    fn soft_reboots_count(&self) -> fdo::Result<u32> {
        self.soft_reboots.ok_or_else(|| fdo::Error::UnknownProperty("before 256".to_owned()))
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// An error as logind names it.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.login1")]
pub enum LoginError {
    #[zbus(error)]
    ZBus(zbus::Error),
    OperationInProgress(String),
}

/// How a fake logind answers to `RebootWithFlags`.
#[derive(Clone, Copy)]
pub enum Answer {
    Yes,
    AccessDenied,
    InvalidFlags,
    InProgress,
}

/// logind's manager.
pub struct Login {
    pub inhibitors: Vec<(String, String, String, String, u32, u32)>,
    pub answer: Answer,
    pub preparing: bool,
    /// Number, name, and whether they linger.
    pub users: Vec<(u32, &'static str, bool)>,
    /// How long `ListInhibitors` takes.
    pub delay: Duration,
    /// Reboots it was asked for, by method and argument.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Login {
    pub fn new(answer: Answer) -> Self {
        Self {
            inhibitors: Vec::new(),
            answer,
            preparing: false,
            users: Vec::new(),
            delay: Duration::ZERO,
            asked: Arc::default(),
        }
    }

    /// Serves as long as the connection it answers with lives.
    pub async fn serve(self, bus: Connection) -> Connection {
        for (uid, _, linger) in &self.users {
            bus.object_server().at(user_path(*uid), User { linger: *linger }).await.unwrap();
        }
        bus.object_server().at("/org/freedesktop/login1", self).await.unwrap();
        bus.request_name("org.freedesktop.login1").await.unwrap();
        bus
    }
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    async fn list_inhibitors(&self) -> Vec<(String, String, String, String, u32, u32)> {
        tokio::time::sleep(self.delay).await;
        self.inhibitors.clone()
    }

    fn list_users(&self) -> Vec<(u32, String, OwnedObjectPath)> {
        let row = |(uid, name, _): &(u32, &str, bool)| (*uid, (*name).to_owned(), user_path(*uid));
        // One whose last session ends just now.
        let gone = (77, "gone".to_owned(), user_path(77));
        self.users.iter().map(row).chain([gone]).collect()
    }

    fn reboot(&self, interactive: bool) {
        self.asked.lock().unwrap().push(format!("Reboot {interactive}"));
    }

    fn reboot_with_flags(&self, flags: u64) -> Result<(), BoxError> {
        self.asked.lock().unwrap().push(format!("RebootWithFlags {flags}"));
        match self.answer {
            Answer::Yes => Ok(()),
            Answer::AccessDenied => {
                Err(Box::new(fdo::Error::AccessDenied("Operation inhibited".to_owned())))
            }
            Answer::InvalidFlags => {
                Err(Box::new(fdo::Error::InvalidArgs("Invalid flags parameter".to_owned())))
            }
            Answer::InProgress => {
                Err(Box::new(LoginError::OperationInProgress("already in progress".to_owned())))
            }
        }
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        self.preparing
    }
}

fn user_path(uid: u32) -> OwnedObjectPath {
    ObjectPath::try_from(format!("/org/freedesktop/login1/user/_{uid}")).unwrap().into()
}

/// A user, as logind shows one.
struct User {
    linger: bool,
}

#[zbus::interface(name = "org.freedesktop.login1.User")]
impl User {
    #[zbus(property)]
    fn linger(&self) -> bool {
        self.linger
    }
}

/// machined's manager: each machine's name, what runs it, and its unit.
pub struct Machines(pub Vec<(&'static str, &'static str, &'static str)>);

impl Machines {
    /// Serves as long as the connection it answers with lives.
    pub async fn serve(self, bus: Connection) -> Connection {
        for (name, _, unit) in &self.0 {
            bus.object_server().at(machine_path(name), Machine { unit }).await.unwrap();
        }
        bus.object_server().at("/org/freedesktop/machine1", self).await.unwrap();
        bus.request_name("org.freedesktop.machine1").await.unwrap();
        bus
    }
}

#[zbus::interface(name = "org.freedesktop.machine1.Manager")]
impl Machines {
    fn list_machines(&self) -> Vec<(String, String, String, OwnedObjectPath)> {
        let row = |(name, by, _): &(&str, &str, &str)| {
            ((*name).to_owned(), "container".to_owned(), (*by).to_owned(), machine_path(name))
        };
        self.0.iter().map(row).collect()
    }
}

fn machine_path(name: &str) -> OwnedObjectPath {
    ObjectPath::try_from(format!("/org/freedesktop/machine1/machine/{name}")).unwrap().into()
}

/// A machine, as machined shows one.
struct Machine {
    unit: &'static str,
}

#[zbus::interface(name = "org.freedesktop.machine1.Machine")]
impl Machine {
    #[zbus(property)]
    fn unit(&self) -> String {
        self.unit.to_owned()
    }
}

type BoxError = zbus::BoxDBusError;
