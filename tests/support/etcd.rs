//! Real etcd members on loopback addresses of their own, with data in a temporary directory.
//!
//! `LOCKKEEPER_ETCD` names the program, to test on another version of it.
#![allow(dead_code)] // each test program uses a part of it

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tempfile::TempDir;

use crate::wait::eventually;

/// Members use fixed ports on an address no other test has, so that no port is ever fought for.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const SIDE_PORT: u16 = 2381;

/// A cluster that dies with this value.
pub struct Cluster {
    members: Vec<Member>,
    /// How the test itself looks in, from beside.
    beside: Option<ConnectOptions>,
    _dir: TempDir,
}

/// What fences a member in, beyond what every member is started with.
#[derive(Clone, Default)]
pub struct Fence {
    /// Arguments of etcd.
    pub args: Vec<String>,
    /// Clients have to come by TLS. The test itself still has a plain way in.
    pub tls: bool,
}

struct Member {
    name: String,
    address: String,
    data: PathBuf,
    cluster: String,
    /// The network namespace it lives in, if not in this one.
    space: Option<String>,
    /// Further arguments.
    extra: Vec<String>,
    fence: Fence,
    process: Option<Child>,
}

/// Where a member lives.
pub struct Place {
    pub address: String,
    /// Its network namespace, as a path, if it is not this one.
    pub space: Option<String>,
}

impl Cluster {
    /// Starts `size` members and waits until they have a leader.
    pub async fn start(size: u8) -> Self {
        Self::start_with(size, &[]).await
    }

    /// The same, each member with `extra` arguments.
    pub async fn start_with(size: u8, extra: &[&str]) -> Self {
        let here = |_| Place { address: own_address(), space: None };
        Self::at((0..size).map(here).collect(), tempfile::tempdir().unwrap(), extra).await
    }

    /// The same in these places, with data in `dir`.
    pub async fn at(places: Vec<Place>, dir: TempDir, extra: &[&str]) -> Self {
        Self::made(places, dir, extra, |_| Fence::default()).await
    }

    /// The same, each member fenced in as its address asks for.
    pub async fn fenced(size: u8, fence: impl Fn(&str) -> Fence) -> Self {
        let here = |_| Place { address: own_address(), space: None };
        let places = (0..size).map(here).collect();
        Self::made(places, tempfile::tempdir().unwrap(), &[], fence).await
    }

    async fn made(
        places: Vec<Place>,
        dir: TempDir,
        extra: &[&str],
        fence: impl Fn(&str) -> Fence,
    ) -> Self {
        let named = places.iter().enumerate();
        let cluster: Vec<_> =
            named.map(|(i, p)| format!("m{i}=http://{}:{PEER_PORT}", p.address)).collect();
        let member = |(i, place): (usize, Place)| Member {
            fence: fence(&place.address),
            name: format!("m{i}"),
            address: place.address,
            data: dir.path().join(format!("m{i}")),
            cluster: cluster.join(","),
            space: place.space,
            extra: extra.iter().map(|&arg| arg.to_owned()).collect(),
            process: None,
        };
        let members = places.into_iter().enumerate().map(member).collect();
        let mut cluster = Self { members, beside: None, _dir: dir };
        for index in 0..cluster.members.len() {
            cluster.members[index].spawn();
        }
        cluster.ready().await;
        cluster
    }

    /// Client URLs of all members, running or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::url).collect()
    }

    /// Plain client URLs of all members, for the test's own tools.
    pub fn side_doors(&self) -> Vec<String> {
        self.members.iter().map(Member::side_door).collect()
    }

    /// From now on the test itself has to say who it is.
    pub fn look_in_as(&mut self, user: &str, password: &str) {
        self.beside = Some(ConnectOptions::new().with_user(user, password));
    }

    /// The address of a member.
    pub fn address(&self, index: usize) -> std::net::IpAddr {
        self.members[index].address.parse().unwrap()
    }

    /// Kills a member as a power cut does.
    pub fn kill(&mut self, index: usize) {
        self.members[index].kill();
    }

    /// Stops a member in mid-air: its connections stay, nothing answers.
    pub fn freeze(&self, index: usize) {
        self.members[index].signal(rustix::process::Signal::STOP);
    }

    /// Lets a frozen member go on.
    pub fn thaw(&self, index: usize) {
        self.members[index].signal(rustix::process::Signal::CONT);
    }

    /// The process of a running member.
    pub fn pid(&self, index: usize) -> u32 {
        self.members[index].process.as_ref().unwrap().id()
    }

    /// Starts a killed member again on its data.
    pub fn restart(&mut self, index: usize) {
        self.members[index].spawn();
    }

    /// Starts a member again as a cluster of its own, which forgets the others and keeps its data.
    #[allow(dead_code, reason = "not every test that uses this file needs it")]
    pub async fn restart_alone(&mut self, index: usize) {
        self.kill(index);
        self.members[index].extra.push("--force-new-cluster".to_owned());
        self.restart(index);
        self.members[index].extra.pop();
        self.ready().await;
    }

    /// Adds a learner, and starts it unless it is to be one that never came.
    pub async fn add_learner(&mut self, start: bool) -> usize {
        let address = own_address();
        let peer = format!("http://{address}:{PEER_PORT}");
        let client = self.client().await;
        // etcd refuses until its members have known each other for some seconds.
        eventually("a learner may be added", || async {
            let how = etcd_client::MemberAddOptions::new().with_is_learner();
            client.clone().member_add([peer.as_str()], Some(how)).await.ok()
        })
        .await;
        let index = self.members.len();
        let first = &self.members[0];
        let mut member = Member {
            name: format!("m{index}"),
            data: first.data.with_file_name(format!("m{index}")),
            cluster: format!("{},m{index}={peer}", first.cluster),
            extra: vec!["--initial-cluster-state".to_owned(), "existing".to_owned()],
            address,
            space: None,
            fence: Fence::default(),
            process: None,
        };
        if start {
            member.spawn();
        }
        self.members.push(member);
        index
    }

    /// The running member that leads.
    pub async fn leader(&self) -> usize {
        eventually("a leader", || async {
            for (index, member) in self.members.iter().enumerate() {
                if member.process.is_some() && member.leads().await == Some(true) {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// Waits until every running member sees a leader.
    pub async fn ready(&self) {
        for member in self.members.iter().filter(|m| m.process.is_some()) {
            eventually("the member is up", || member.leads()).await;
        }
    }

    /// A client of the first running member, to look from beside.
    pub async fn client(&self) -> Client {
        let running = self.members.iter().find(|m| m.process.is_some()).unwrap();
        Client::connect([running.side_door()], self.beside.clone()).await.unwrap()
    }

    /// A client of one member, which does not wait for one that is gone.
    pub async fn client_of(&self, index: usize) -> Client {
        let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
        Client::connect([self.members[index].url()], Some(options)).await.unwrap()
    }

    /// What the member's own metrics say for lines that begin with `name`, summed up.
    pub async fn metric(&self, index: usize, name: &str) -> f64 {
        let text = self.members[index].metrics().await;
        let values = text.lines().filter(|l| l.starts_with(name));
        values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Member {
    fn url(&self) -> String {
        let scheme = if self.fence.tls { "https" } else { "http" };
        format!("{scheme}://{}:{CLIENT_PORT}", self.address)
    }

    fn side_door(&self) -> String {
        format!("http://{}:{}", self.address, self.side_port())
    }

    fn side_port(&self) -> u16 {
        if self.fence.tls { SIDE_PORT } else { CLIENT_PORT }
    }

    /// Where clients are let in.
    fn doors(&self) -> String {
        if self.fence.tls { format!("{},{}", self.url(), self.side_door()) } else { self.url() }
    }

    /// In another namespace it dies with the thread that started it, however that dies.
    #[expect(clippy::disallowed_methods, reason = "the test's own processes")]
    fn program(&self) -> Command {
        let etcd = std::env::var_os("LOCKKEEPER_ETCD").unwrap_or_else(|| "etcd".into());
        let Some(space) = &self.space else { return Command::new(etcd) };
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--net={space}")).args(["setpriv", "--pdeathsig", "KILL"]).arg(etcd);
        enter
    }

    fn spawn(&mut self) {
        let peer = format!("http://{}:{PEER_PORT}", self.address);
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.data.with_extension("log"))
            .unwrap();
        let child = self
            .program()
            .args(["--name", &self.name, "--logger", "zap", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--listen-client-urls", &self.doors(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            // Quick elections; they also allow leases of one second.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.extra)
            .args(&self.fence.args)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd of the package etcd-server");
        self.process = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
    }

    /// Whether this member leads; `None` while it does not know of any leader.
    async fn leads(&self) -> Option<bool> {
        let options = ConnectOptions::new().with_timeout(Duration::from_millis(500));
        let mut client = Client::connect([self.side_door()], Some(options)).await.unwrap();
        let status = client.status().await.ok().filter(|s| s.leader() != 0)?;
        Some(status.header()?.member_id() == status.leader())
    }

    async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let to = (self.address.as_str(), self.side_port());
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address in 127.0.0.0/8 made of our process id and a counter.
fn own_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(last != 0, "more members than addresses");
    format!("127.{high}.{low}.{last}")
}
