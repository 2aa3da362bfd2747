//! Units that run a container by its engine's command line: which, as their commands say it.

use super::container::Engine;

/// A container by its engine and name.
pub type Named = (Engine, String);

/// The container that `docker run --name NAME …` or `docker start NAME` is about.
#[must_use]
pub fn runs(command: &[String]) -> Option<Named> {
    let (engine, verb, rest) = split(command)?;
    let name = match verb {
        "run" | "create" => named(rest)?,
        "start" => rest.iter().rfind(|word| !word.starts_with('-'))?.clone(),
        _ => return None,
    };
    Some((engine, name))
}

/// What a unit's command line says about making its container anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The container.
    pub named: Named,
    /// It takes the place of one that is left (`--replace`), or leaves none behind (`--rm`).
    pub clears: bool,
    /// The engine asks the registry at each start (`--pull=always`).
    pub pulls: bool,
}

/// The container that `docker run --name NAME …` makes anew at each start. `docker start NAME` does not.
#[must_use]
pub fn makes(command: &[String]) -> Option<Made> {
    let (engine, verb, rest) = split(command)?;
    let named = (engine, named(rest).filter(|_| verb == "run")?);
    let has = |option: &str| rest.iter().any(|word| word == option);
    let policy = rest.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--pull") {
        Some("") => rest.get(at + 1).map(String::as_str),
        Some(value) => value.strip_prefix('='),
        None => None,
    });
    let pulls = policy.is_some_and(|policy| !matches!(policy, "missing" | "never"));
    Some(Made { named, clears: has("--replace") || has("--rm"), pulls })
}

/// Whether the command removes that container.
#[must_use]
pub fn removes(command: &[String], container: &Named) -> bool {
    split(command).is_some_and(|(engine, verb, rest)| {
        engine == container.0 && verb == "rm" && rest.contains(&container.1)
    })
}

/// The engine, its verb (`container run` is `run`), and the words after it.
fn split(command: &[String]) -> Option<(Engine, &str, &[String])> {
    let (program, rest) = command.split_first()?;
    let engine = match program.rsplit('/').next()? {
        "docker" => Engine::Docker,
        "podman" => Engine::Podman,
        _ => return None,
    };
    let rest = if rest.first()? == "container" { &rest[1..] } else { rest };
    let (verb, rest) = rest.split_first()?;
    Some((engine, verb, rest))
}

/// The value of `--name`. It comes before the image, but which word that is cannot be told: an option
/// of the program inside is taken for ours only when ours is missing, and then no such container is there.
fn named(words: &[String]) -> Option<String> {
    words.iter().zip(words.iter().skip(1).map(Some).chain([None])).find_map(|(word, next)| {
        if word == "--name" {
            next.cloned()
        } else {
            word.strip_prefix("--name=").map(str::to_owned)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_container_of_a_command_is_found_by_its_name() {
        let docker = |name: &str| Some((Engine::Docker, name.to_owned()));
        for (command, expected) in [
            ("/usr/bin/docker run --rm --name web -p 80:80 nginx", docker("web")),
            ("docker run --name=web nginx", docker("web")),
            ("/usr/bin/docker container run --name web nginx", docker("web")),
            ("/usr/bin/docker start -a web", docker("web")),
            ("/usr/bin/podman run --name web x", Some((Engine::Podman, "web".to_owned()))),
            ("/usr/bin/docker run nginx", None),
            ("/usr/bin/docker run --name", None),
            ("/usr/bin/docker pull nginx", None),
            ("/bin/sh -c docker run --name web nginx", None),
            ("/usr/bin/docker", None),
        ] {
            assert_eq!(runs(&words(command)), expected, "{command}");
        }
    }

    #[test]
    fn only_a_command_that_runs_a_container_makes_it_anew() {
        let made =
            |command| makes(&words(command)).map(|made| (made.named.1, made.clears, made.pulls));
        let web = |clears, pulls| Some(("web".to_owned(), clears, pulls));
        for (command, expected) in [
            ("/usr/bin/docker run --rm --name web x", web(true, false)),
            ("/usr/bin/podman run --name=web --replace -d x", web(true, false)),
            ("/usr/bin/docker run --name web x", web(false, false)),
            ("/usr/bin/docker run --rm --pull=always --name web x", web(true, true)),
            ("/usr/bin/podman run --rm --pull newer --name web x", web(true, true)),
            ("/usr/bin/docker run --rm --pull missing --name web x", web(true, false)),
            ("/usr/bin/docker start -a web", None),
            ("/usr/bin/docker create --name web x", None),
            ("/usr/bin/docker run --rm x", None),
        ] {
            assert_eq!(made(command), expected, "{command}");
        }
    }

    #[test]
    fn only_a_command_that_names_the_container_removes_it() {
        let web = (Engine::Docker, "web".to_owned());
        for (command, expected) in [
            ("/usr/bin/docker rm -f web", true),
            ("/usr/bin/docker container rm web", true),
            ("/usr/bin/docker rm web-2", false),
            ("/usr/bin/docker stop web", false),
            ("/usr/bin/podman rm web", false),
        ] {
            assert_eq!(removes(&words(command), &web), expected, "{command}");
        }
    }
}
