//! logind: who inhibits a shutdown, and the reboot itself.

use zbus::proxy::CacheProperties;

use super::{
    Systemd, SystemdError, failed,
    proxies::{InhibitorRow, LoginProxy},
    says,
};
use crate::{core::health::Evidence, observe::logging::chain};

/// `SD_LOGIND_ROOT_CHECK_INHIBITORS`: also for root, a block inhibitor means no.
const CHECK_INHIBITORS: u64 = 1;
/// `SD_LOGIND_REBOOT_VIA_KEXEC`: by kexec, if a kernel is loaded for that; else an ordinary one.
const KEXEC: u64 = 2;
/// `SD_LOGIND_SOFT_REBOOT` (systemd 254 and later).
const SOFT_REBOOT: u64 = 4;

/// logind's answer to a request to reboot.
#[derive(Debug)]
pub enum Rebooting {
    /// It happens now, or after the delay inhibitors.
    Accepted,
    /// Not now.
    Refused(String),
}

impl Systemd {
    pub(super) async fn login(&self) -> Result<LoginProxy<'_>, SystemdError> {
        LoginProxy::builder(&self.bus)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(failed("the connection to logind"))
    }

    /// Does somebody inhibit a shutdown? Any user may ask.
    pub async fn inhibitors(&self) -> Evidence {
        match self.list_inhibitors().await {
            Ok(rows) => evidence(&rows),
            Err(error) => Evidence::Unknown { why: chain(&error) },
        }
    }

    async fn list_inhibitors(&self) -> Result<Vec<InhibitorRow>, SystemdError> {
        self.login().await?.list_inhibitors().await.map_err(failed("ListInhibitors"))
    }

    /// Asks logind for a reboot. systemd before 257 lets root override every inhibitor, so they are
    /// looked up first, and logind is told to look again.
    pub async fn reboot(&self) -> Result<Rebooting, SystemdError> {
        self.leave(None).await
    }

    /// The same by kexec, of the kernel that is loaded.
    pub async fn reboot_by_kexec(&self) -> Result<Rebooting, SystemdError> {
        self.leave(Some(KEXEC)).await
    }

    /// The same for a soft-reboot, where [`Systemd::soft_reboots`] says that there is such a thing.
    pub async fn soft_reboot(&self) -> Result<Rebooting, SystemdError> {
        self.leave(Some(SOFT_REBOOT)).await
    }

    async fn leave(&self, way: Option<u64>) -> Result<Rebooting, SystemdError> {
        match self.inhibitors().await {
            Evidence::No => {}
            Evidence::Yes { reasons } => return Ok(Rebooting::Refused(reasons.join("; "))),
            Evidence::Unknown { why } => {
                return Ok(Rebooting::Refused(format!("inhibitors are not known: {why}")));
            }
        }
        let login = self.login().await?;
        match request(&login, way).await {
            Ok(()) => Ok(Rebooting::Accepted),
            Err(error) if says(&error, "AccessDenied") => Ok(Rebooting::Refused(chain(&error))),
            Err(error) if says(&error, "OperationInProgress") => under_way(&login, &error).await,
            Err(error) => Err(failed("Reboot")(error)),
        }
    }
}

/// With flags where logind knows them (systemd 246 and later). `way`: the flag of a short one, which never
/// becomes another request.
async fn request(login: &LoginProxy<'_>, way: Option<u64>) -> zbus::Result<()> {
    if let Some(way) = way {
        return login.reboot_with_flags(CHECK_INHIBITORS | way).await;
    }
    match login.reboot_with_flags(CHECK_INHIBITORS).await {
        Err(error) if says(&error, "UnknownMethod") || says(&error, "InvalidArgs") => {
            login.reboot(false).await
        }
        other => other,
    }
}

/// Another request came first: if it is a shutdown, ours is as good as accepted.
async fn under_way(login: &LoginProxy<'_>, error: &zbus::Error) -> Result<Rebooting, SystemdError> {
    let shutdown = login.preparing_for_shutdown().await;
    let shutdown = shutdown.map_err(failed("reading PreparingForShutdown"))?;
    Ok(if shutdown { Rebooting::Accepted } else { Rebooting::Refused(chain(error)) })
}

fn evidence(rows: &[InhibitorRow]) -> Evidence {
    let blocks =
        |row: &&InhibitorRow| row.0.split(':').any(|what| what == "shutdown") && row.3 == "block";
    let reasons: Vec<String> = rows
        .iter()
        .filter(blocks)
        .map(|(_, who, why, ..)| format!("{who} inhibits shutdown: {why}"))
        .collect();
    if reasons.is_empty() { Evidence::No } else { Evidence::Yes { reasons } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, mode: &str) -> InhibitorRow {
        (what.to_owned(), "apt".to_owned(), "installing".to_owned(), mode.to_owned(), 0, 1)
    }

    #[test]
    fn only_a_block_of_shutdown_is_a_reason() {
        let rows =
            [row("sleep", "block"), row("shutdown", "delay"), row("shutdown:sleep", "block-weak")];
        assert_eq!(evidence(&rows), Evidence::No);
        assert_eq!(evidence(&[]), Evidence::No);
        let reasons = vec!["apt inhibits shutdown: installing".to_owned()];
        assert_eq!(evidence(&[row("idle:shutdown", "block")]), Evidence::Yes { reasons });
    }
}
