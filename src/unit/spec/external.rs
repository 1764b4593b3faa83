//! `[external]`: a service that another manager keeps, which we watch and steer through that manager.

use std::path::Path;

use super::Command;
use crate::base::TimeSpan;

/// Who keeps the service, and how often it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalSpec {
    /// Who.
    pub manager: ExternalManager,
    /// From one look at its state to the next.
    pub poll_interval: TimeSpan,
    /// Restart it in one go, the last of them; without any a restart is a stop and a start.
    pub restart: Box<[Command]>,
}

/// The manager that keeps a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalManager {
    /// The host's systemd, which knows it by this name, suffix and all.
    Systemd(Box<str>),
    /// Supervisor (supervisord.org).
    Supervisor {
        /// What it calls the process: `name` or `group:name`.
        process: Box<str>,
        /// Where it listens.
        server: SupervisorServer,
    },
    /// Nobody that we know: commands of the unit.
    Commands {
        /// Ends as `status` of an LSB init script does: 0 it is up, 1 to 3 it is down; anything else says nothing.
        status: Command,
    },
}

impl ExternalManager {
    /// Who keeps the service, in a word or two.
    pub const fn kept_by(&self) -> &'static str {
        match self {
            Self::Systemd(_) => "systemd",
            Self::Supervisor { .. } => "Supervisor",
            Self::Commands { .. } => "commands",
        }
    }

    /// What people call it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Systemd(_) => "systemd",
            Self::Supervisor { .. } => "Supervisor",
            Self::Commands { .. } => "the status command",
        }
    }
}

/// Where Supervisor listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorServer {
    /// As `[supervisorctl]` of this file says, with user and password.
    Config(Box<Path>),
    /// `unix:///run/supervisor.sock` or `http://host:port`.
    Url(Box<str>),
}
