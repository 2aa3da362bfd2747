//! Who is logged in, as logind knows it, and telling them something.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use zbus::OwnedObjectPath;

use super::{Systemd, SystemdError, failed, says, units::Look};
use crate::{core::health::Evidence, observe::logging::chain};

/// A session of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub user: String,
    /// `pts/3`; empty for a graphical one.
    pub tty: String,
    /// Where from; empty for a local one.
    pub host: String,
}

impl Session {
    /// `anna is logged in (pts/3, from 192.0.2.7)`
    #[must_use]
    pub fn sentence(&self) -> String {
        let from = format!("from {}", self.host);
        let parts = [self.tty.as_str(), if self.host.is_empty() { "" } else { &from }];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return format!("{} is logged in", self.user);
        }
        format!("{} is logged in ({})", self.user, parts.join(", "))
    }

    /// The terminal to write to. Only a pseudo terminal: of any other name nobody knows what it is.
    fn terminal(&self) -> Option<PathBuf> {
        let number = self.tty.strip_prefix("pts/")?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Path::new("/dev").join(&self.tty))
    }
}

impl Systemd {
    /// Is anybody logged in? Any user may ask.
    pub async fn logged_in(&self) -> Evidence {
        match self.sessions().await {
            Ok(sessions) if sessions.is_empty() => Evidence::No,
            Ok(sessions) => {
                Evidence::Yes { reasons: sessions.iter().map(Session::sentence).collect() }
            }
            Err(error) => Evidence::Unknown { why: chain(&error) },
        }
    }

    /// The sessions of people (org.freedesktop.login1(5)): not those of greeters, of the users'
    /// service managers or of jobs, and none that is being closed.
    pub async fn sessions(&self) -> Result<Vec<Session>, SystemdError> {
        let rows = self.login().await?.list_sessions().await.map_err(failed("ListSessions"))?;
        let mut sessions = Vec::new();
        for (id, _, user, _, path) in rows {
            match self.session(&path).await {
                Ok(look) => sessions.extend(session(user, &look)),
                // It ended since.
                Err(error) if says(&error, "UnknownObject") => {}
                Err(error) => return Err(failed(format!("reading session {id}"))(error)),
            }
        }
        Ok(sessions)
    }

    async fn session(&self, path: &OwnedObjectPath) -> zbus::Result<Look> {
        let look = self.object("org.freedesktop.login1", path).await?;
        look.get_all("org.freedesktop.login1.Session").await.map(Look)
    }
}

fn session(user: String, look: &Look) -> Option<Session> {
    let text = |name: &str| look.get::<String>(name);
    // `user`, `user-early`, `user-incomplete`, `user-light`; one without a class may be anything.
    let class = text("Class");
    let is_person = class.is_empty() || class.starts_with("user");
    (is_person && text("State") != "closing").then(|| Session {
        user,
        tty: text("TTY"),
        host: text("RemoteHost"),
    })
}

/// Writes to the terminal of each session; one that cannot be written to is passed over.
pub fn tell(sessions: &[Session], text: &str) {
    for terminal in sessions.iter().filter_map(Session::terminal) {
        // A terminal that is held up must not hold us up.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags.bits().cast_signed();
        let open = OpenOptions::new().write(true).custom_flags(flags).open(&terminal);
        if let Err(error) = open.and_then(|mut file| file.write_all(text.as_bytes())) {
            tracing::debug!("{} cannot be written to: {error}", terminal.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::{OwnedVariant, Variant};

    use super::*;

    fn look(class: &str, state: &str) -> Look {
        let text = |text: &str| OwnedVariant::try_from(Variant::from(text)).unwrap();
        let pairs = [("Class", class), ("State", state), ("TTY", "pts/3"), ("RemoteHost", "")];
        Look(pairs.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect())
    }

    #[test]
    fn only_sessions_of_people_count() {
        for (class, state, counts) in [
            ("user", "active", true),
            ("user", "online", true),
            ("user", "closing", false),
            ("user-early", "active", true),
            ("greeter", "active", false),
            ("background", "online", false),
            ("manager", "active", false),
            ("lock-screen", "active", false),
            ("", "active", true),
        ] {
            let found = session("anna".to_owned(), &look(class, state));
            assert_eq!(found.is_some(), counts, "{class} {state}");
        }
    }

    #[test]
    fn a_terminal_is_a_pseudo_terminal_or_none() {
        let session = |tty: &str, host: &str| Session {
            user: "anna".into(),
            tty: tty.into(),
            host: host.into(),
        };
        assert_eq!(session("pts/12", "").terminal(), Some(PathBuf::from("/dev/pts/12")));
        for tty in ["", "tty1", "pts/", "pts/../sda", "pts/1/2", "../pts/1"] {
            assert_eq!(session(tty, "").terminal(), None, "{tty}");
        }
        let sentence = session("pts/3", "192.0.2.7").sentence();
        assert_eq!(sentence, "anna is logged in (pts/3, from 192.0.2.7)");
        assert_eq!(session("", "").sentence(), "anna is logged in");
    }
}
