//! systemd.kill(5): how a service is ended.

use crate::base::Signal;

/// How a service is ended (systemd.kill(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillSpec {
    /// Whom the signals go to.
    pub mode: KillMode,
    /// The polite one.
    pub signal: Signal,
    /// The polite one where a start follows; as `signal` unless set.
    pub restart_signal: Option<Signal>,
    /// Whether SIGHUP follows it at once.
    pub send_sighup: bool,
    /// Whether the deadline brings the final signal.
    pub send_sigkill: bool,
    /// The final signal.
    pub final_signal: Signal,
    /// What a watchdog sends.
    pub watchdog_signal: Signal,
}

impl Default for KillSpec {
    fn default() -> Self {
        Self {
            mode: KillMode::ControlGroup,
            signal: Signal::TERM,
            restart_signal: None,
            send_sighup: false,
            send_sigkill: true,
            final_signal: Signal::KILL,
            watchdog_signal: Signal::ABRT,
        }
    }
}

/// KillMode=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMode {
    /// All processes of the unit.
    ControlGroup,
    /// The polite signal to the main process, the final one to all.
    Mixed,
    /// The main process only.
    Process,
    /// Nobody; only exec_stop runs.
    None,
}
