//! One engine over its Docker-compatible API. Podman speaks it too.

use std::{collections::HashMap, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as ApiError,
    models::{
        ContainerInspectResponse, ContainerState, ContainerSummary, HealthStatusEnum, HostConfig,
        RestartPolicyNameEnum,
    },
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use jiff::Timestamp;

use super::ContainerError;
use crate::{
    adapters::wishes,
    core::{
        order::Compose,
        record::{Container, Engine, Health, Policy, Stopped},
    },
};

/// Reading takes this long at most. Docker may be only socket-activated and has to start first.
const READING: Duration = Duration::from_secs(30);
/// Starting or stopping one container takes this long at most.
const STARTING: Duration = Duration::from_secs(120);

/// A connection to an engine that answers.
#[derive(Clone, Debug)]
pub struct Client {
    engine: Engine,
    pub(super) api: Docker,
}

impl Client {
    /// Connects and agrees on an API version: Debian 12's Docker speaks 1.41 at most, Docker 29
    /// nothing below 1.44.
    pub(super) async fn connect(engine: Engine, socket: &str) -> Result<Self, ContainerError> {
        let api = Docker::connect_with_unix(socket, READING.as_secs(), API_DEFAULT_VERSION);
        let api = api.map_err(|source| ContainerError::Silent { engine, source })?;
        let api = api.negotiate_version().await;
        Ok(Self { engine, api: api.map_err(|source| ContainerError::Silent { engine, source })? })
    }

    /// Whose client it is.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// The running containers.
    pub async fn running(&self) -> Result<Vec<Container>, ContainerError> {
        let rows = self.list(&["running"]).await?;
        let ids: Vec<&str> = rows.iter().filter_map(|row| row.id.as_deref()).collect();
        self.inspect_all(&ids).await
    }

    /// The containers that are there and do not run.
    pub async fn stopped(&self) -> Result<Vec<Stopped>, ContainerError> {
        let rows = self.list(&["created", "exited"]).await?;
        let names = rows.into_iter().filter_map(|row| row.names?.into_iter().next());
        let engine = self.engine;
        Ok(names.map(|name| Stopped { engine, name: without_slash(&name) }).collect())
    }

    pub(super) async fn list(
        &self,
        states: &[&str],
    ) -> Result<Vec<ContainerSummary>, ContainerError> {
        let states = states.iter().map(|state| (*state).to_owned()).collect();
        let filters: HashMap<String, Vec<String>> = HashMap::from([("status".to_owned(), states)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.api.list_containers(Some(options)).await.map_err(self.failed("list"))
    }

    /// One container, by name or id; `None` when there is none.
    pub async fn inspect(&self, name: &str) -> Result<Option<Container>, ContainerError> {
        match self.api.inspect_container(name, None).await {
            Ok(answer) => Ok(Some(container(self.engine, answer))),
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {name}"))(error)),
        }
    }

    /// Those of these containers that there are. The first that cannot be seen ends it: an engine that
    /// hangs would be waited for once for each of them, and what it runs is not known either way.
    pub async fn inspect_all(&self, names: &[&str]) -> Result<Vec<Container>, ContainerError> {
        let mut found = Vec::new();
        for name in names {
            found.extend(self.inspect(name).await?);
        }
        Ok(found)
    }

    /// Starts a container that exists; one that runs already is left alone.
    pub async fn start(&self, name: &str) -> Result<(), ContainerError> {
        let api = self.api.clone().with_timeout(STARTING);
        api.start_container(name, None).await.map_err(self.failed(&format!("start {name}")))
    }

    /// Stops a container, in the time it is given for that; one that does not run is left alone.
    pub async fn stop(&self, name: &str) -> Result<(), ContainerError> {
        let api = self.api.clone().with_timeout(STARTING);
        api.stop_container(name, None).await.map_err(self.failed(&format!("stop {name}")))
    }

    /// Removes a container that does not run. Its volumes stay.
    pub async fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let options = RemoveContainerOptionsBuilder::new().force(false).v(false).build();
        let removed = self.api.remove_container(name, Some(options)).await;
        removed.map_err(self.failed(&format!("remove {name}")))
    }

    pub(super) fn failed(&self, what: &str) -> impl FnOnce(ApiError) -> ContainerError {
        let (engine, what) = (self.engine, what.to_owned());
        move |source| ContainerError::Request { engine, what, source }
    }
}

/// The engine's answer in our words.
fn container(engine: Engine, answer: ContainerInspectResponse) -> Container {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let name = without_slash(&answer.name.unwrap_or_default());
    let paused = state.paused.unwrap_or_default();
    let restarting = state.restarting.unwrap_or_default();
    Container {
        engine,
        id: answer.id.unwrap_or_default(),
        wish: wishes::of_labels(&format!("container {name} ({engine})"), &labels),
        compose: compose(&labels),
        joins: joins(&host),
        name,
        image: config.image.unwrap_or_default(),
        policy: policy(host.restart_policy.and_then(|policy| policy.name)),
        unit: labels.get("PODMAN_SYSTEMD_UNIT").filter(|unit| !unit.is_empty()).cloned(),
        removes_itself: host.auto_remove.unwrap_or_default(),
        status: state.status.map(|status| status.to_string()).unwrap_or_default(),
        running: state.running.unwrap_or_default() && !paused && !restarting,
        restarting,
        health: health(&state),
        exit_code: state.exit_code.unwrap_or_default(),
        restarts: answer.restart_count.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        started: state.started_at.and_then(|text| text.parse::<Timestamp>().ok()),
    }
}

/// Engines put a slash before a name.
fn without_slash(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

/// Compose and podman-compose use the same labels; older ones do not say what depends on what.
fn compose(labels: &HashMap<String, String>) -> Option<Compose> {
    let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).map(String::as_str);
    Some(Compose::new(label("project")?, label("service")?, label("depends_on")))
}

/// The containers that must be there before it: whose namespaces it shares, whose volumes it takes,
/// and those it is linked to.
fn joins(host: &HostConfig) -> Vec<String> {
    let modes = [&host.network_mode, &host.ipc_mode, &host.pid_mode];
    let shared = modes.into_iter().filter_map(|mode| mode.as_deref()?.strip_prefix("container:"));
    let first = |text: &String| without_slash(text.split(':').next().unwrap_or_default());
    let volumes = host.volumes_from.iter().flatten().map(first);
    let links = host.links.iter().flatten().map(first);
    shared.map(str::to_owned).chain(volumes).chain(links).collect()
}

fn policy(name: Option<RestartPolicyNameEnum>) -> Policy {
    match name {
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO) => Policy::No,
        Some(RestartPolicyNameEnum::ON_FAILURE) => Policy::OnFailure,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Policy::UnlessStopped,
        Some(RestartPolicyNameEnum::ALWAYS) => Policy::Always,
    }
}

fn health(state: &ContainerState) -> Health {
    match state.health.as_ref().and_then(|health| health.status) {
        None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::Unchecked,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        order::Until,
        wish::{Restore, Wish},
    };

    /// What an engine says about a container, as far as it matters here.
    fn inspected(text: &str) -> Container {
        container(Engine::Docker, serde_json::from_str(text).unwrap())
    }

    #[test]
    fn labels_say_what_a_container_depends_on_and_wishes() {
        let web = inspected(
            r#"{"Id":"0a1b","Name":"/shop-web-1","State":{"Status":"running","Running":true},
            "Config":{"Image":"web","Labels":{"lockkeeper.restore":"best-effort",
            "com.docker.compose.project":"shop","com.docker.compose.service":"web",
            "com.docker.compose.depends_on":"db:service_healthy:false"}}}"#,
        );
        assert_eq!((web.name.as_str(), web.id.as_str()), ("shop-web-1", "0a1b"));
        assert_eq!(web.wish.restore(), Restore::BestEffort);
        let compose = web.compose.unwrap();
        assert_eq!((compose.project.as_str(), compose.service.as_str()), ("shop", "web"));
        assert_eq!(compose.depends_on[0].until, Until::Healthy);
        let plain = inspected(r#"{"Name":"plain","Config":{}}"#);
        assert!(plain.compose.is_none() && plain.joins.is_empty() && plain.wish == Wish::default());
    }

    #[test]
    fn what_a_container_shares_with_others_is_found() {
        let joined = inspected(
            r#"{"Name":"/b","HostConfig":{"NetworkMode":"container:0a1b","IpcMode":"private",
            "PidMode":"container:pid-of","VolumesFrom":["data:ro"],"Links":["/db:/b/database"]}}"#,
        );
        assert_eq!(joined.joins, ["0a1b", "pid-of", "data", "db"]);
        let own = inspected(r#"{"Name":"/b","HostConfig":{"NetworkMode":"bridge","Links":null}}"#);
        assert!(own.joins.is_empty());
    }

    #[tokio::test]
    async fn an_engine_that_hangs_is_waited_for_once() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let asked = crate::adapters::containers::fake::serve(&socket, |request| {
            if request.contains("/version") {
                Some((200, r#"{"ApiVersion":"1.41"}"#))
            } else if request.contains("/containers/gone/") {
                Some((404, r#"{"message":"no such container"}"#))
            } else if request.contains("/containers/good/") {
                Some((200, r#"{"Name":"/good","Config":{}}"#))
            } else {
                None
            }
        });
        let client = Client::connect(Engine::Docker, socket.to_str().unwrap()).await.unwrap();
        let seen = client.inspect_all(&["gone", "good"]).await.unwrap();
        assert_eq!(seen.into_iter().map(|c| c.name).collect::<Vec<_>>(), ["good"]);
        let client = Client { api: client.api.with_timeout(Duration::from_millis(500)), ..client };
        let error = client.inspect_all(&["a", "b", "c"]).await.unwrap_err();
        assert!(error.to_string().contains("inspect a"), "{error}");
        let asked = asked.lock().unwrap();
        assert!(!asked.iter().any(|line| line.contains("/containers/b/")), "{asked:?}");
    }
}
