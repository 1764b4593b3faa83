//! What people are shown of a unit. The words are systemd's, so that they mean here what they mean in its manual.

use std::time::Duration;

use crate::base::{
    ExitStatus, Generation, HeldBack, InvocationId, Mono, Now, Pid, RunResult, TimeSpan, UnitName, Wall,
};

/// One unit as it is now.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers to questions of people")]
pub struct UnitStatus {
    /// Its name.
    pub name: UnitName,
    /// One line for people.
    pub description: String,
    /// systemd's ActiveState.
    pub active: Active,
    /// systemd's SubState.
    pub sub: Sub,
    /// When it came to this sub-state.
    pub since: Now,
    /// When it was last up for the first time in its present run.
    pub ready_since: Option<Now>,
    /// The main process, while it lives.
    pub main_pid: Option<Pid>,
    /// The present or last run; 0 when there was none.
    pub generation: Generation,
    /// The id of the present run.
    pub invocation: Option<InvocationId>,
    /// Automatic restarts in a row.
    pub restarts: u32,
    /// Starts that stand in the window of the start limit; as of the last start, an old window counts until the next.
    pub starts_in_window: u32,
    /// How the last run ended, or what already went wrong in the present one.
    pub result: RunResult,
    /// How the main process of the last run ended.
    pub last_status: Option<ExitStatus>,
    /// systemd's class of that end; it stays what it was when the unit is reset or runs again.
    pub last_result: RunResult,
    /// Why that run ended so, where more is known than its status: a probe, a signal that someone sent …
    pub last_why: Option<String>,
    /// The unit that its start waits for, and the probe of that where it is the probe.
    pub waits_for: Option<String>,
    /// The command of the newest run that could not be run: directive, program, step and cause.
    pub spawn_failure: Option<String>,
    /// When the next automatic restart is due.
    pub restart_due: Option<Mono>,
    /// Each probe, in the order of the unit's list; without verdict while it is not up.
    pub health: Vec<ProbeStatus>,
    /// What the service last said of itself (STATUS=).
    pub status_text: Option<String>,
    /// Why it fails, as it says: errno(3) (ERRNO=).
    pub errno: Option<u32>,
    /// The exit status that it says it will have or passes on (EXIT_STATUS=).
    pub exit_status: Option<u8>,
    /// Whether it is started when the daemon comes up: the operator's word, else the file's.
    pub enabled: bool,
    /// Whether it is meant to be up, now or as soon as what it waits for allows.
    pub wanted: bool,
    /// The start limit of whoever keeps an external service, where that is the one that counts.
    pub their_limit: Option<TheirLimit>,
    /// Why nothing is known of an external service; `active` is what was known before.
    pub not_known: Option<NotKnown>,
    /// Whether its definition changed since its run began; the new one holds from the next start.
    pub needs_restart: bool,
    /// Whether its processes do not die on the final signal.
    pub unkillable: bool,
    /// The connections of a unit that accepts.
    pub accepted: Option<Accepted>,
    /// Someone works on it: no probe restarts it.
    pub maintained: bool,
    /// What holds back the restart that a probe wants.
    pub held_back: Option<HeldBack>,
    /// Units that require it or are bound to it, by name.
    pub needed_by: Vec<UnitName>,
    /// What is being done with it: `start`, `stop`, `restart`.
    pub job: Option<&'static str>,
    /// Its timer, while that is armed.
    pub timer: Option<TimerStatus>,
}

/// A start limit that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TheirLimit {
    /// So many starts; 0: no limit.
    pub burst: u32,
    /// Within this time; zero: no limit.
    pub interval: TimeSpan,
    /// Whether the service is given up by it.
    pub is_hit: bool,
}

/// Why it is not known how an external service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKnown {
    /// Nobody has told yet.
    NotYet,
    /// Whoever is asked cannot tell, again and again; with the reason, for people.
    CannotTell(String),
}

impl NotKnown {
    /// For people.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::NotYet => "not looked at yet",
            Self::CannotTell(why) => why,
        }
    }
}

/// A timer that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerStatus {
    /// What it starts.
    pub starts: UnitName,
    /// When it elapses next by the monotonic clock.
    pub next_mono: Option<Mono>,
    /// When it elapses next by the calendar.
    pub next_wall: Option<Wall>,
    /// When it last elapsed.
    pub last: Option<Wall>,
}

/// What became of the connections to a unit that accepts; the names are systemd's (org.freedesktop.systemd1.Socket).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Instances that were made, ever: NAccepted.
    pub accepted: u64,
    /// Instances that serve one now: NConnections.
    pub connections: u32,
    /// Connections that were closed at once, since this manager began: NRefused.
    pub refused: u64,
}

/// systemd's ActiveState.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Active {
    /// Down, by intent or because it was never started.
    Inactive,
    /// On its way up; a restart that waits counts too.
    Activating,
    /// Up.
    Active,
    /// Up, and taking in its configuration.
    Reloading,
    /// On its way down.
    Deactivating,
    /// Down, until someone acts.
    Failed,
}

impl Active {
    /// systemd's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Deactivating => "deactivating",
            Self::Failed => "failed",
        }
    }
}

/// systemd's SubState of a service, and of a socket whose service is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the sub-state of its name, systemd.service(5), systemd.socket(5)")]
pub enum Sub {
    Dead,
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    /// A target whose units are up.
    Active,
    Reload,
    ReloadSignal,
    ReloadNotify,
    Stop,
    StopWatchdog,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    AutoRestart,
    Failed,
    Listening,
}

impl Sub {
    /// systemd's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::StartPost => "start-post",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Active => "active",
            Self::Reload => "reload",
            Self::ReloadSignal => "reload-signal",
            Self::ReloadNotify => "reload-notify",
            Self::Stop => "stop",
            Self::StopWatchdog => "stop-watchdog",
            Self::StopSigterm => "stop-sigterm",
            Self::StopSigkill => "stop-sigkill",
            Self::StopPost => "stop-post",
            Self::FinalSigterm => "final-sigterm",
            Self::FinalSigkill => "final-sigkill",
            Self::AutoRestart => "auto-restart",
            Self::Failed => "failed",
            Self::Listening => "listening",
        }
    }

    /// The ActiveState that it belongs to.
    #[must_use]
    pub const fn active(self) -> Active {
        match self {
            Self::Dead => Active::Inactive,
            Self::Condition | Self::StartPre | Self::Start | Self::StartPost | Self::AutoRestart => Active::Activating,
            // As in systemd of the socket: whoever comes is served.
            Self::Running | Self::Exited | Self::Active | Self::Listening => Active::Active,
            Self::Reload | Self::ReloadSignal | Self::ReloadNotify => Active::Reloading,
            Self::Stop
            | Self::StopWatchdog
            | Self::StopSigterm
            | Self::StopSigkill
            | Self::StopPost
            | Self::FinalSigterm
            | Self::FinalSigkill => Active::Deactivating,
            Self::Failed => Active::Failed,
        }
    }
}

/// One probe of a unit as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Its name.
    pub name: String,
    /// What is concluded.
    pub verdict: Verdict,
    /// Why it is not healthy: what an answer said that speaks for the verdict, for people. Of one that is healthy or not known,
    /// what the last said that was not good.
    pub last_failure: Option<String>,
    /// Since when the verdict stands; `None` while unknown.
    pub since: Option<Now>,
    /// How long the last answer took; `None` before the first.
    pub took: Option<Duration>,
}

/// What is concluded from probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Verdict {
    /// Not enough answers yet.
    #[default]
    Unknown,
    /// Good.
    Healthy,
    /// It does its work, but not for ever.
    Degraded,
    /// Bad, `unhealthy_after` times of the last ones.
    Unhealthy,
}

impl Verdict {
    /// Whether the service does its work.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// One word for rows and people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}
