//! Users whose own service manager runs from the boot on, without a session (`loginctl enable-linger`).

use zbus::OwnedObjectPath;

use super::{Systemd, SystemdError, failed, says, units::Look};

/// A user who lingers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lingering {
    /// `alice`
    pub name: String,
    /// `1000`
    pub uid: u32,
}

impl Lingering {
    /// The unit of the system that the user's own manager is.
    #[must_use]
    pub fn manager(&self) -> String {
        format!("user@{}.service", self.uid)
    }
}

impl Systemd {
    /// Every user who lingers, but for root, by name.
    pub async fn lingering(&self) -> Result<Vec<Lingering>, SystemdError> {
        let rows = self.login().await?.list_users().await.map_err(failed("ListUsers"))?;
        let mut found = Vec::new();
        for (uid, name, path) in rows.into_iter().filter(|(uid, ..)| *uid != 0) {
            match self.user(&path).await {
                Ok(look) if look.get("Linger") => found.push(Lingering { name, uid }),
                Ok(_) => {}
                // The last session has ended since.
                Err(error) if says(&error, "UnknownObject") => {}
                Err(error) => return Err(failed(format!("reading user {name}"))(error)),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn user(&self, path: &OwnedObjectPath) -> zbus::Result<Look> {
        let look = self.object("org.freedesktop.login1", path).await?;
        look.get_all("org.freedesktop.login1.User").await.map(Look)
    }
}
