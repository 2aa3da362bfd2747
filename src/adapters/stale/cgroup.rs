//! Which unit of the system's manager a process belongs to, by `/proc/PID/cgroup` (cgroups(7)).

use std::{fs, path::Path};

/// The process's unit.
pub(super) fn unit(folder: &Path) -> Option<String> {
    of(&fs::read_to_string(folder.join("cgroup")).ok()?)
}

/// The unit is the first part of the path that is one: what is below (a user's own manager, the
/// groups a service makes) is the unit's own affair. Where there are two hierarchies systemd may use
/// either: its own is the named one, but a container may see a namesake of its host's.
fn of(text: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| !line.contains(":name=systemd:"));
    lines.into_iter().find_map(unit_in)
}

fn unit_in(line: &str) -> Option<String> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    if controllers != "name=systemd" && !(number == "0" && controllers.is_empty()) {
        return None;
    }
    let unit = |part: &&str| [".service", ".scope"].iter().any(|kind| part.ends_with(kind));
    let found = path.split('/').find(unit)?;
    // systemd puts "_" before a name that the kernel would take for one of its own files.
    Some(found.strip_prefix('_').unwrap_or(found).to_owned())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_first_unit_of_the_path_is_it() {
        for (text, expected) in [
            ("0::/system.slice/ssh.service\n", Some("ssh.service")),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("0::/user.slice/user-0.slice/session-3.scope\n", Some("session-3.scope")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n",
                Some("user@1000.service"),
            ),
            ("0::/system.slice/db.service/init.scope\n", Some("db.service")),
            ("0::/system.slice/_cpu.service\n", Some("cpu.service")),
            ("0::/user.slice\n", None),
            ("0::/\n", None),
            ("", None),
            (
                "12:memory:/system.slice/x.service\n1:name=systemd:/system.slice/a.service\n\
                 0::/system.slice/b.service\n",
                Some("a.service"),
            ),
            ("8:pids:/\n1:name=systemd:/\n0::/system.slice/b.service\n", Some("b.service")),
        ] {
            assert_eq!(of(text).as_deref(), expected, "{text}");
        }
    }
}
