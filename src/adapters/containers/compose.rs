//! Services of Compose: by which files a container was made, and having it made anew by them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::errors::Error as ApiError;
use zbus::Connection;

use super::{Client, ContainerError};
use crate::{
    adapters::scripts::{self, Order, trusted, trusted_file},
    core::recreate::Service,
    observe::logging::chain,
};

/// Where Docker looks for its own `compose`.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins/docker-compose",
    "/usr/local/libexec/docker/cli-plugins/docker-compose",
    "/usr/lib/docker/cli-plugins/docker-compose",
    "/usr/libexec/docker/cli-plugins/docker-compose",
];
/// Where Compose is as a program of its own.
const ALONE: [&str; 2] = ["/usr/local/bin/docker-compose", "/usr/bin/docker-compose"];
/// The plugin is run by it.
const DOCKER: &str = "/usr/bin/docker";
/// How long Compose may take to read its files.
const READING: Duration = Duration::from_secs(60);
/// How long it may take to stop a container and to start another one.
const MAKING: Duration = Duration::from_secs(300);

/// The Compose that is there.
enum Program {
    /// A part of Docker's own client.
    Plugin(PathBuf),
    /// A program of its own.
    Alone(PathBuf),
}

impl Client {
    /// The service that a container was made for; `None` when its labels do not say it all.
    pub async fn service(
        &self,
        container: &str,
        scale: usize,
    ) -> Result<Option<Service>, ContainerError> {
        match self.api.inspect_container(container, None).await {
            Ok(answer) => {
                let labels = answer.config.and_then(|config| config.labels).unwrap_or_default();
                Ok(of_labels(&labels, scale))
            }
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {container}"))(error)),
        }
    }
}

fn of_labels(labels: &HashMap<String, String>, scale: usize) -> Option<Service> {
    let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).cloned();
    let directory = PathBuf::from(label("project.working_dir")?);
    // Older ones have them as they were given.
    let files = label("project.config_files")?;
    let files = files.split(',').map(|file| directory.join(file)).collect();
    Some(Service {
        project: label("project")?,
        service: label("service")?,
        files,
        directory,
        hash: label("config-hash")?,
        scale,
    })
}

/// Whether a container of the service would be made by the very configuration it was made by. Otherwise:
/// why not. Its files may have been changed since, or it was brought up with other variables.
pub async fn would_be_the_same(bus: &Connection, of: &Service) -> Result<(), String> {
    let said = run(bus, of, &["config", "--hash", &of.service], READING).await?;
    let hash =
        said.lines().find_map(|line| line.trim().strip_prefix(&*of.service)?.strip_prefix(' '));
    match hash {
        Some(hash) if hash.trim() == of.hash => Ok(()),
        Some(_) => Err("its files, or their variables, are not those it was made by".to_owned()),
        None => Err("Compose does not say what it would be made by".to_owned()),
    }
}

/// Has the containers of a service made anew, where they would be others now; nothing else of the project
/// is touched, and nothing is pulled or built.
pub async fn up(bus: &Connection, of: &Service) -> Result<(), String> {
    let scale = format!("{}={}", of.service, of.scale);
    let mut words = vec!["up", "--detach", "--no-deps", "--no-build", "--scale", &scale];
    if matches!(program()?, Program::Plugin(_)) {
        words.extend(["--pull", "never"]);
    }
    words.push(&of.service);
    run(bus, of, &words, MAKING).await.map(drop)
}

/// Runs Compose on the service's project, by files that only root can change. Answers with what it said.
async fn run(
    bus: &Connection,
    of: &Service,
    words: &[&str],
    limit: Duration,
) -> Result<String, String> {
    check(Path::new("/"), of)?;
    let (program, plugin) = match program()? {
        Program::Plugin(program) => (program, true),
        Program::Alone(program) => (program, false),
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let directory = text(&of.directory);
    let files: Vec<String> = of.files.iter().map(|file| text(file)).collect();
    let mut arguments = if plugin { vec!["compose"] } else { Vec::new() };
    arguments.extend(["--project-name", &of.project, "--project-directory", &directory]);
    arguments.extend(files.iter().flat_map(|file| ["--file", file]));
    arguments.extend(words);
    let order = Order {
        unit: &format!("lockkeeper-compose-{}-{}.service", of.project, of.service),
        description: &format!("Compose's project {}, for lockkeeper", of.project),
        program: &program,
        arguments: &arguments,
        environment: &[],
        input: &[],
        limit,
    };
    let ended = scripts::run(bus, &order).await.map_err(|error| chain(&error))?;
    match ended.complaint() {
        None => Ok(ended.said),
        Some(complaint) => Err(format!("Compose {complaint}")),
    }
}

/// Whether what Compose would read first is root's alone: its files, and the variables beside them.
fn check(root: &Path, of: &Service) -> Result<(), String> {
    let plain = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !plain(&of.project) || !plain(&of.service) {
        return Err("its project or service has an unusual name".to_owned());
    }
    // Then each folder on the way to it is looked at with the files.
    if !of.files.iter().any(|file| file.parent() == Some(&of.directory)) {
        return Err(format!("its files are not in {}", of.directory.display()));
    }
    let variables = of.directory.join(".env");
    // Also a link that leads nowhere.
    let variables = variables.symlink_metadata().is_ok().then_some(&variables);
    for file in of.files.iter().chain(variables) {
        trusted_file(root, file)?;
    }
    Ok(())
}

fn program() -> Result<Program, String> {
    let root = Path::new("/");
    let found = |paths: &'static [&str]| paths.iter().map(Path::new).find(|path| path.exists());
    if let Some(plugin) = found(&PLUGINS) {
        trusted(root, plugin)?;
        return trusted(root, Path::new(DOCKER)).map(Program::Plugin);
    }
    match found(&ALONE) {
        Some(alone) => trusted(root, alone).map(Program::Alone),
        None => Err("there is no Compose here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn labels(files: &str) -> HashMap<String, String> {
        let labels = [
            ("project", "shop"),
            ("service", "web"),
            ("project.working_dir", "/srv/shop"),
            ("project.config_files", files),
            ("config-hash", "0a"),
        ];
        labels.map(|(k, v)| (format!("com.docker.compose.{k}"), v.to_owned())).into()
    }

    #[test]
    fn files_are_taken_from_the_folder_of_the_project() {
        let files = of_labels(&labels("docker-compose.yml,/etc/shop.yml"), 1).unwrap().files;
        assert_eq!(files, ["/srv/shop/docker-compose.yml", "/etc/shop.yml"].map(PathBuf::from));
        let mut without = labels("x");
        without.remove("com.docker.compose.config-hash");
        assert!(of_labels(&without, 1).is_none());
    }

    #[test]
    fn files_of_others_and_odd_names_are_refused() {
        let service = of_labels(&labels("docker-compose.yml"), 1).unwrap();
        let refused = |of: Service| check(Path::new("/"), &of).unwrap_err();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("docker-compose.yml");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let open =
            Service { directory: dir.path().to_owned(), files: vec![file], ..service.clone() };
        assert!(refused(open).contains("can be written by others"));
        let elsewhere = Service { files: vec!["/etc/shop.yml".into()], ..service.clone() };
        assert_eq!(refused(elsewhere), "its files are not in /srv/shop");
        let odd = Service { service: "-x".to_owned(), ..service };
        assert_eq!(refused(odd), "its project or service has an unusual name");
    }
}
