//! Containers of systemd-nspawn, as systemd-machined knows them.

use zbus::{OwnedObjectPath, proxy::CacheProperties};

use super::{Systemd, SystemdError, failed, proxies::MachinesProxy, says};

impl Systemd {
    /// Names of those that no service runs: nothing starts them again. None where there is no machined.
    pub async fn machines_by_hand(&self) -> Result<Vec<String>, SystemdError> {
        let machined = MachinesProxy::builder(&self.bus).cache_properties(CacheProperties::No);
        let machined = machined.build().await.map_err(failed("the connection to machined"))?;
        let rows = match machined.list_machines().await {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            rows => rows.map_err(failed("ListMachines"))?,
        };
        let mut found = Vec::new();
        // Others see to their machines themselves: libvirt, for one.
        for (name, _, _, path) in rows.into_iter().filter(|row| row.2 == "systemd-nspawn") {
            match self.unit_of(&path).await {
                Ok(unit) if !unit.ends_with(".service") => found.push(name),
                Ok(_) => {}
                // It ended since.
                Err(error) if says(&error, "UnknownObject") => {}
                Err(error) => return Err(failed(format!("reading machine {name}"))(error)),
            }
        }
        Ok(found)
    }

    async fn unit_of(&self, path: &OwnedObjectPath) -> zbus::Result<String> {
        let look = self.object("org.freedesktop.machine1", path).await?;
        look.get("org.freedesktop.machine1.Machine", "Unit").await?.try_into()
    }
}

/// It is not installed, or is masked.
fn is_absent(error: &zbus::Error) -> bool {
    let words = ["ServiceUnknown", "NameHasNoOwner", "UnitMasked", "NoSuchUnit"];
    words.into_iter().any(|word| says(error, word))
}
