//! The errors lockkeeper's D-Bus interfaces answer with: a stable name, and the whole story as text.

use std::error::Error as StdError;

use crate::observe::logging::chain;

/// An error reply; its name is `org.lockkeeper1.Error.` and the variant.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.lockkeeper1.Error")]
pub enum Error {
    /// The bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The caller may not do this.
    AccessDenied(String),
    /// An argument is not what it should be; nothing was done.
    InvalidArgument(String),
    /// `Check` has not answered with this plan, or another one since: check again.
    UnknownPlan(String),
    /// The plan's stage is not what it should be: stage again.
    NotStaged(String),
    /// The plan is being applied.
    Busy(String),
    /// It was tried and did not work.
    Failed(String),
}

impl Error {
    /// [`Error::Failed`] with the error and all its causes.
    #[must_use]
    pub fn failed(error: &(dyn StdError + 'static)) -> Self {
        Self::Failed(chain(error))
    }

    /// [`Error::InvalidArgument`] with the error and all its causes.
    #[must_use]
    pub fn invalid(error: &(dyn StdError + 'static)) -> Self {
        Self::InvalidArgument(chain(error))
    }
}

/// Name and text of an error reply; `None` when the error is not a reply (the bus is gone, say).
#[must_use]
pub fn reply(error: &zbus::Error) -> Option<(String, String)> {
    use zbus::DBusError;

    match error {
        zbus::Error::MethodError(name, text, _) => {
            Some((name.to_string(), text.clone().unwrap_or_else(|| name.to_string())))
        }
        zbus::Error::FDO(error) => {
            let error: &zbus::fdo::Error = error;
            let text = DBusError::description(error).unwrap_or_default();
            Some((DBusError::name(error).to_string(), text.to_owned()))
        }
        _ => None,
    }
}
