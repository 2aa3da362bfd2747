//! timedated: whether the clock is synchronised.

use zbus::proxy::CacheProperties;

use super::{Systemd, SystemdError, failed, proxies::TimedateProxy};

impl Systemd {
    /// Whether something keeps this machine's clock right (the kernel's view, whatever program does
    /// it). Any user may ask.
    pub async fn clock_synchronised(&self) -> Result<bool, SystemdError> {
        let timedate = TimedateProxy::builder(&self.bus)
            // A cache asks for all properties, and some of them need more than the kernel.
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(failed("the connection to timedated"))?;
        timedate.ntp_synchronized().await.map_err(failed("reading NTPSynchronized"))
    }
}
