//! Images that running containers name by a tag: which of them may be pulled, and what has come of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{container::Engine, plan::hex, record::RecordedContainer, verdict::Verdict};

/// Least digits of an image id, as people write it.
const SHORT_ID: usize = 12;

/// A name that may stand for another image tomorrow: a repository and a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// `registry.example.com/shop/web`
    pub repository: &'a str,
    /// `1`; `latest` where nothing is said.
    pub tag: &'a str,
}

impl<'a> Tag<'a> {
    /// What a container names. `None` for what never moves or is in no registry: a digest, an image id,
    /// an image that Podman has built.
    #[must_use]
    pub fn of(reference: &'a str) -> Option<Self> {
        let id = reference.len() >= SHORT_ID && reference.bytes().all(|b| b.is_ascii_hexdigit());
        let fixed = reference.contains('@') || reference.starts_with("sha256:") || id;
        if fixed || reference.starts_with("localhost/") {
            return None;
        }
        // A colon before a slash is that of a port.
        let name = reference.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match reference[name..].find(':') {
            Some(colon) => (&reference[..name + colon], &reference[name + colon + 1..]),
            None => (reference, "latest"),
        };
        (!repository.is_empty() && !tag.is_empty()).then_some(Self { repository, tag })
    }

    /// Whether one of an image's digests says that it came from this repository. One that was built here
    /// has none, and a registry may have a stranger's image under its name.
    #[must_use]
    pub fn is_source(&self, digests: &[String]) -> bool {
        let from = |digest: &String| {
            let before = digest.split('@').next()?.strip_suffix(self.repository)?;
            Some(before.is_empty() || before.ends_with('/'))
        };
        digests.iter().any(|digest| from(digest).unwrap_or_default())
    }

    /// The tag under which the image that was pulled is kept until it is wanted.
    #[must_use]
    pub fn kept_as(&self) -> String {
        use sha2::Digest as _;
        let name = format!("{}:{}", self.repository, self.tag);
        hex(&sha2::Sha256::digest(name))[..32].to_owned()
    }
}

/// One name, and the running containers that were made by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As the containers name it.
    pub reference: String,
    /// Name and image id of each.
    pub containers: Vec<(String, String)>,
}

impl Named {
    /// Groups what was seen (container, what it names, its image id), in the order of the names.
    #[must_use]
    pub fn group(mut seen: Vec<(String, String, String)>) -> Vec<Self> {
        seen.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
        let mut all: Vec<Self> = Vec::new();
        for (container, reference, id) in seen {
            match all.last_mut() {
                Some(last) if last.reference == reference => last.containers.push((container, id)),
                _ => all.push(Self { reference, containers: vec![(container, id)] }),
            }
        }
        all
    }

    /// The containers that run another image than `id`.
    #[must_use]
    pub fn behind(&self, id: &str) -> Vec<String> {
        let behind = self.containers.iter().filter(|(_, own)| own != id);
        behind.map(|(name, _)| name.clone()).collect()
    }
}

/// What has come of pulling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Each name that was to be pulled.
    pub images: Vec<Image>,
    /// Why nothing could be pulled at all.
    #[serde(default)]
    pub problem: Option<String>,
}

/// What has come of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Whose containers name it.
    pub engine: Engine,
    /// As they do.
    pub reference: String,
    /// What has come of it.
    pub pull: Pull,
}

/// What has come of pulling one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Pull {
    /// Every container runs what the registry has.
    Same,
    /// The registry has another image, which is here now.
    Newer {
        /// Its id.
        id: String,
        /// The containers that run another one.
        containers: Vec<Behind>,
    },
    /// It is not known what the registry has.
    Not {
        /// Why not.
        why: String,
    },
}

/// A container that runs an older image than its registry has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// Its name.
    pub name: String,
    /// By what it would be recreated.
    pub owner: Owner,
    /// Whether it will be.
    #[serde(default)]
    pub fate: Fate,
}

/// Whether a container is recreated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Nobody asks for it.
    #[default]
    Unasked,
    /// In the next cycle.
    Next,
    /// It cannot be, or must not: why not.
    Not(String),
}

/// What a container belongs to, and so what has to be asked for another one in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// A unit of systemd.
    Unit(String),
    /// A project of Compose.
    Project(String),
    /// Nothing that is known here: only who has started it knows how.
    Nobody,
}

impl Owner {
    /// As the record of what runs says it. A unit is asked before a project: it would bring the old
    /// container back.
    #[must_use]
    pub fn of(container: Option<&RecordedContainer>) -> Self {
        let unit = || Some(Self::Unit(container?.unit.clone()?));
        let project = || Some(Self::Project(container?.compose.as_ref()?.project.clone()));
        unit().or_else(project).unwrap_or(Self::Nobody)
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, owner, fate } = self;
        match owner {
            Owner::Unit(unit) => write!(f, "{name} (of {unit}")?,
            Owner::Project(project) => write!(f, "{name} (of Compose's project {project}")?,
            Owner::Nobody => write!(f, "{name} (of no unit and no project")?,
        }
        match fate {
            Fate::Unasked => f.write_str(")"),
            Fate::Next => f.write_str("; recreated in the next cycle)"),
            Fate::Not(why) => write!(f, "; not recreated: {why})"),
        }
    }
}

impl Report {
    /// What an admin should know.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let (mut newer, mut not) = (Vec::new(), Vec::new());
        for Image { engine, reference, pull } in &self.images {
            match pull {
                Pull::Same => {}
                Pull::Newer { id, containers } => newer.push(format!(
                    "{reference} ({engine}) is {} now, which is pulled; {} run(s) an older one",
                    short(id),
                    containers.iter().map(Behind::to_string).collect::<Vec<_>>().join(", ")
                )),
                Pull::Not { why } => not.push(format!("{reference} ({engine}): {why}")),
            }
        }
        not.extend(self.problem.clone());
        let newer = (!newer.is_empty()).then(|| Verdict::new("images-newer", newer.join("; ")));
        let not = (!not.is_empty()).then(|| Verdict::new("images-not-pulled", not.join("; ")));
        newer.into_iter().chain(not).collect()
    }
}

/// An id as engines show it to people.
#[must_use]
pub fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..SHORT_ID).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_a_registry_can_move_is_a_tag() {
        let cases = [
            ("web", Some(("web", "latest"))),
            ("web:1.2", Some(("web", "1.2"))),
            ("docker.io/library/web:1", Some(("docker.io/library/web", "1"))),
            ("localhost:5000/web", Some(("localhost:5000/web", "latest"))),
            ("192.0.2.1:5000/a/web:x", Some(("192.0.2.1:5000/a/web", "x"))),
            ("localhost/web:latest", None),
            ("web@sha256:00", None),
            ("web:1@sha256:00", None),
            ("sha256:0123456789ab", None),
            ("0123456789ab", None),
            ("web:", None),
            ("", None),
        ];
        for (reference, expected) in cases {
            let found = Tag::of(reference).map(|tag| (tag.repository, tag.tag));
            assert_eq!(found, expected, "{reference}");
        }
    }

    #[test]
    fn an_image_that_was_built_here_came_from_no_registry() {
        let tag = Tag::of("library/web:1").unwrap();
        let from = |digest: &str| tag.is_source(&[digest.to_owned()]);
        assert!(from("library/web@sha256:00") && from("docker.io/library/web@sha256:00"));
        assert!(!from("my-library/web@sha256:00") && !from("library/web2@sha256:00"));
        assert!(!tag.is_source(&[]));
    }

    #[test]
    fn each_name_is_kept_under_a_tag_of_its_own() {
        let kept = |reference| Tag::of(reference).unwrap().kept_as();
        assert_eq!(kept("web"), kept("web:latest"));
        assert_ne!(kept("web:1"), kept("web:2"));
        assert_eq!(kept("web").len(), 32);
    }

    #[test]
    fn containers_of_one_name_are_one_and_those_behind_are_named() {
        let seen = [("b", "web:1", "old"), ("c", "db:1", "new"), ("a", "web:1", "new")];
        let seen = seen.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        let all = Named::group(seen.to_vec());
        let names: Vec<_> = all.iter().map(|named| named.reference.as_str()).collect();
        assert_eq!(names, ["db:1", "web:1"]);
        assert_eq!(all[1].behind("new"), ["b"]);
        assert!(all[0].behind("new").is_empty());
    }

    #[test]
    fn what_is_newer_and_what_could_not_be_pulled_is_said_and_nothing_else() {
        let image = |reference: &str, pull| Image {
            engine: Engine::Docker,
            reference: reference.to_owned(),
            pull,
        };
        let newer = Pull::Newer {
            id: "sha256:0123456789abcdef".to_owned(),
            containers: [
                ("a", Owner::Unit("a.service".to_owned()), Fate::Next),
                ("b", Owner::Project("shop".to_owned()), Fate::Unasked),
                ("c", Owner::of(None), Fate::Not("nobody knows how".to_owned())),
            ]
            .map(|(name, owner, fate)| Behind { name: name.to_owned(), owner, fate })
            .to_vec(),
        };
        let not = Pull::Not { why: "connection refused".to_owned() };
        let images = vec![image("db:1", Pull::Same), image("web:1", newer), image("x:1", not)];
        let report = Report { images, problem: Some("podman does not answer".to_owned()) };
        let said: Vec<_> = report.verdicts().into_iter().map(|v| (v.code, v.text)).collect();
        let expected = [
            (
                "images-newer",
                "web:1 (docker) is 0123456789ab now, which is pulled; \
                 a (of a.service; recreated in the next cycle), b (of Compose's project shop), \
                 c (of no unit and no project; not recreated: nobody knows how) run(s) an older one",
            ),
            ("images-not-pulled", "x:1 (docker): connection refused; podman does not answer"),
        ];
        assert_eq!(said, expected.map(|(code, text)| (code.to_owned(), text.to_owned())));
        let same = Report { images: vec![image("db:1", Pull::Same)], problem: None };
        assert!(same.verdicts().is_empty());
    }
}
