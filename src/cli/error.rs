//! What can go wrong for a caller of `rebootctl`, and the exit code of each.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed, or refused with a reason |
//! | 2 | the command line is wrong |
//! | 3 | the configuration has errors |
//! | 4 | the agent cannot be reached |
//! | 5 | the lock store cannot be reached, or is not one |
//! | 6 | `doctor` found trouble |

use crate::{adapters::slots::StoreError, dbus::error::reply, observe::logging::chain};

/// Exit code of a `doctor` that found trouble.
pub const TROUBLE: u8 = 6;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was refused, or it failed.
    #[error("{0}")]
    Failed(String),
    /// The configuration has errors.
    #[error("{0}")]
    Config(String),
    /// The agent cannot be reached.
    #[error("the agent cannot be reached: {0}; is it running? (systemctl status lockkeeperd)")]
    Agent(String),
    /// The lock store cannot be used.
    #[error("{0}")]
    Store(String),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Config(_) => 3,
            Self::Agent(_) => 4,
            Self::Store(_) => 5,
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(_) => Self::Failed(chain(&error)),
            StoreError::Unreachable { .. } | StoreError::Unusable { .. } => {
                Self::Store(chain(&error))
            }
        }
    }
}

impl From<zbus::Error> for CliError {
    fn from(error: zbus::Error) -> Self {
        let Some((name, text)) = reply(&error) else {
            return Self::Agent(chain(&error));
        };
        match name.as_str() {
            "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner"
            | "org.freedesktop.DBus.Error.NoReply" => Self::Agent(text),
            "org.freedesktop.DBus.Error.AccessDenied" => Self::Failed(
                "permission denied: only root and members of the group lockkeeper may do this"
                    .into(),
            ),
            "org.freedesktop.DBus.Error.IOError" => Self::Store(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("the agent's answer is not understood (other version?): {error}"))
    }
}

#[cfg(test)]
mod tests {
    use zbus::fdo;

    use super::*;

    fn code(error: fdo::Error) -> u8 {
        CliError::from(zbus::Error::FDO(Box::new(error))).exit_code()
    }

    #[test]
    fn what_the_agent_answers_has_the_documented_exit_code() {
        assert_eq!(code(fdo::Error::Failed("strategy is \"off\"".into())), 1);
        assert_eq!(code(fdo::Error::AccessDenied("bus policy".into())), 1);
        assert_eq!(code(fdo::Error::ServiceUnknown("org.lockkeeper1".into())), 4);
        assert_eq!(code(fdo::Error::IOError("etcd: connection refused".into())), 5);
    }

    #[test]
    fn a_refusal_is_told_in_the_agents_words_alone() {
        let error = zbus::Error::FDO(Box::new(fdo::Error::Failed("strategy is \"off\"".into())));
        assert_eq!(CliError::from(error).to_string(), "strategy is \"off\"");
    }
}
