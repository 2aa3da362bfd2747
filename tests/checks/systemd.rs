//! systemd as far as one-shot transient services go: it runs the program, with what is to be read and
//! written, ends its whole process group after its time, and tells how it ended until it is cleared away.

use std::{
    collections::BTreeMap,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use zbus::{
    Connection, DBusError, ObjectPath, OwnedObjectPath, OwnedVariant, Variant,
    object_server::ObjectServer,
};

#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
pub enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    UnitExists(String),
    UnitNotLoaded(String),
}

/// How a unit stands.
#[derive(Clone, Debug)]
pub struct Standing {
    active: &'static str,
    result: &'static str,
    code: i32,
    status: i32,
}

const NEW: Standing = Standing { active: "inactive", result: "success", code: 0, status: 0 };
const RUNNING: Standing = Standing { active: "activating", ..NEW };

pub type Units = Arc<Mutex<BTreeMap<String, Standing>>>;

/// The manager.
#[derive(Default)]
pub struct Systemd {
    pub units: Units,
    /// Names that were started, in order, with how many ran at that moment.
    pub started: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Systemd {
    pub async fn serve(self, bus: Connection) -> Connection {
        bus.object_server().at("/org/freedesktop/systemd1", self).await.unwrap();
        bus.request_name("org.freedesktop.systemd1").await.unwrap();
        bus
    }
}

fn path(name: &str) -> OwnedObjectPath {
    let name = name.bytes().map(|byte| format!("_{byte:02x}")).collect::<Vec<_>>().concat();
    ObjectPath::try_from(format!("/org/freedesktop/systemd1/unit/{name}")).unwrap().into()
}

type Row =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
type Auxiliary = Vec<(String, Vec<(String, OwnedVariant)>)>;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    #[allow(clippy::unused_self, reason = "methods of an interface have it")]
    fn list_units_by_patterns(&self, states: Vec<String>, patterns: Vec<String>) -> Vec<Row> {
        drop((states, patterns));
        Vec::new()
    }

    async fn load_unit(
        &self,
        name: String,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Error> {
        let path = path(&name);
        let unit = || (name.clone(), self.units.clone());
        server.at(&path, Unit(unit().0, unit().1)).await?;
        server.at(&path, Service(unit().0, unit().1)).await?;
        Ok(path)
    }

    fn start_transient_unit(
        &self,
        name: String,
        mode: &str,
        properties: Vec<(String, OwnedVariant)>,
        auxiliary: Auxiliary,
    ) -> Result<OwnedObjectPath, Error> {
        drop(auxiliary);
        assert_eq!(mode, "fail");
        let mut units = self.units.lock().unwrap();
        if units.contains_key(&name) {
            return Err(Error::UnitExists(format!("Unit {name} was already loaded")));
        }
        units.insert(name.clone(), RUNNING);
        let running = units.values().filter(|unit| unit.active == "activating").count();
        self.started.lock().unwrap().push((name.clone(), running));
        let units = self.units.clone();
        let order = Order::of(properties);
        std::thread::spawn(move || {
            let end = order.run();
            units.lock().unwrap().insert(name, end);
        });
        Ok(path("job"))
    }

    fn stop_unit(&self, name: &str, mode: &str) -> OwnedObjectPath {
        assert_eq!(mode, "replace");
        self.units.lock().unwrap().remove(name);
        path("job")
    }

    #[allow(clippy::unused_self, reason = "methods of an interface have it")]
    fn reset_failed_unit(&self, name: &str) -> Result<(), Error> {
        Err(Error::UnitNotLoaded(format!("Unit {name} not loaded.")))
    }
}

/// What is to be run.
#[derive(Default)]
struct Order {
    argv: Vec<String>,
    environment: Vec<String>,
    limit: Duration,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
}

impl Order {
    fn of(properties: Vec<(String, OwnedVariant)>) -> Self {
        let mut order = Self::default();
        for (name, value) in properties {
            let fd = |value: OwnedVariant| match &*value {
                Variant::Fd(fd) => Some(fd.as_fd().try_clone_to_owned().unwrap()),
                other => panic!("{name} is {other:?}"),
            };
            match &*name {
                "ExecStart" => {
                    let all = Vec::<(String, Vec<String>, bool)>::try_from(value).unwrap();
                    let [(program, argv, _)] = &all[..] else { panic!("one program") };
                    assert_eq!(*program, argv[0]);
                    order.argv.clone_from(argv);
                }
                "Environment" => order.environment = value.try_into().unwrap(),
                "TimeoutStartUSec" => {
                    order.limit = Duration::from_micros(value.try_into().unwrap());
                }
                "StandardInputFileDescriptor" => order.input = fd(value),
                "StandardOutputFileDescriptor" => order.output = fd(value),
                "StandardErrorFileDescriptor" => order.errors = fd(value),
                _ => {}
            }
        }
        order
    }

    fn run(self) -> Standing {
        let stdio = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).env_clear().process_group(0);
        command.envs(self.environment.iter().map(|pair| pair.split_once('=').unwrap()));
        command.stdin(stdio(self.input)).stdout(stdio(self.output)).stderr(stdio(self.errors));
        let Ok(mut child) = command.spawn() else {
            return Standing { active: "failed", result: "exit-code", code: 1, status: 203 };
        };
        drop(command);
        let deadline = std::time::Instant::now() + self.limit;
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if std::time::Instant::now() >= deadline {
                late = true;
                let group = rustix::process::Pid::from_child(&child);
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        match (late, status.code(), status.signal()) {
            (true, _, signal) => Standing {
                active: "failed",
                result: "timeout",
                code: 2,
                status: signal.unwrap_or(0),
            },
            (_, Some(0), _) => Standing { active: "active", code: 1, ..NEW },
            (_, Some(status), _) => {
                Standing { active: "failed", result: "exit-code", code: 1, status }
            }
            (_, None, signal) => Standing {
                active: "failed",
                result: "signal",
                code: 2,
                status: signal.unwrap_or(0),
            },
        }
    }
}

fn standing(name: &str, units: &Units) -> Standing {
    units.lock().unwrap().get(name).cloned().unwrap_or(NEW)
}

struct Unit(String, Units);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        let running = standing(&self.0, &self.1).active == "activating";
        (u32::from(running), path("job"))
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        standing(&self.0, &self.1).active.to_owned()
    }
}

struct Service(String, Units);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> String {
        standing(&self.0, &self.1).result.to_owned()
    }

    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        standing(&self.0, &self.1).code
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        standing(&self.0, &self.1).status
    }
}
