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
