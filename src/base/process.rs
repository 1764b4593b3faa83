use std::{fmt, time::Duration};

use super::{Generation, UnitName};

/// A process id above 1: never "everyone", "my group" or init, so that no signal of ours can reach those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(u32);

impl Pid {
    /// `None` for 0, 1 and numbers that are no pid.
    pub const fn new(raw: i32) -> Option<Self> {
        if raw > 1 { Some(Self(raw.cast_unsigned())) } else { None }
    }

    /// The number that system calls take.
    pub const fn raw(self) -> i32 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// Whose run.
    pub unit: UnitName,
    /// Which run.
    pub generation: Generation,
}

/// What a process is to its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The service itself.
    Main,
    /// A process that took the main one's place: found by PIDFile=, named by MAINPID=, or guessed. The number never repeats
    /// within a run.
    Named(u32),
    /// A command around it (ExecStartPre=, ExecReload= …); the number never repeats within a run.
    Control(u32),
    /// A command whose end is an answer: an exec probe, an external service's status, an alert route of no unit. The number
    /// never repeats within a run.
    Probe(u32),
}

/// Names one process that was ever started: orders carry it and facts return it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// The run it belongs to.
    pub run: RunId,
    /// What it is there.
    pub role: Role,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(u8),
    /// A signal killed it.
    Signaled {
        /// Which.
        signal: Signal,
        /// Whether it left a core dump.
        core: bool,
    },
    /// It is gone and nobody saw how (re-adopted on a kernel that keeps no status for us).
    Unknown,
}

impl Role {
    /// Whether it is or was the main process of its run: what people mean by "the service".
    pub const fn is_main(self) -> bool {
        matches!(self, Self::Main | Self::Named(_))
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled { signal, core: false } => write!(f, "killed by {signal}"),
            Self::Signaled { signal, core: true } => write!(f, "dumped core on {signal}"),
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// A signal number, 1 to 64; shown and read by name (`SIGTERM`, `TERM`, `15`, `RTMIN+1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Linux's names on the machines we build for (x86_64, aarch64, riscv64 agree), signal 1 first.
const SIGNAL_NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The first real-time signal that programs may use under glibc.
const RTMIN: u8 = 34;

#[expect(missing_docs, reason = "each is the signal of its name, signal(7)")]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const ABRT: Self = Self(6);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const USR2: Self = Self(12);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);
    pub const CONT: Self = Self(18);
    /// The terminal's size changed.
    pub const WINCH: Self = Self(28);
}

impl Signal {
    /// `None` outside 1 to 64.
    pub fn new(raw: i32) -> Option<Self> {
        u8::try_from(raw).ok().filter(|n| (1..=64).contains(n)).map(Self)
    }

    /// The number that system calls take.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// Reads a name with or without `SIG`, in any case, or a number.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return Self::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset: u8 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
            return Self::new(i32::from(RTMIN.checked_add(offset)?));
        }
        let index = SIGNAL_NAMES.iter().position(|known| *known == name)?;
        u8::try_from(index + 1).ok().map(Self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNAL_NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

/// What a process used in its life, as the kernel counted it (getrusage(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident memory, in KiB; 0 where it was no more than the keeper's own, from which it cannot be told apart.
    pub max_rss_kib: u64,
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The daemon by its own rules.
    Daemon,
    /// A user of this machine, by uid, over the control socket.
    User(u32),
    /// `supervisorctl check`, a health probe or another automatic caller, named.
    Automatic(&'static str),
}

impl Actor {
    /// `supervisorctl check`, which restarts what it finds bad.
    pub const CHECK: Self = Self::Automatic("supervisorctl check");
    /// Whoever sent us that signal.
    pub const SIGHUP: Self = Self::Automatic("SIGHUP");
    /// A health probe of the unit.
    pub const HEALTH_PROBE: Self = Self::Automatic("health probe");
    /// A plan over the machines of a fleet.
    pub const PLAN: Self = Self::Automatic("fleet");
    /// Someone whom the kernel does not tell.
    pub const UNKNOWN: Self = Self::Automatic("unknown");
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("roundsman"),
            Self::User(uid) => write!(f, "uid {uid}"),
            Self::Automatic(name) => f.write_str(name),
        }
    }
}

/// Why a run was started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StartCause {
    /// The daemon came up and the unit is enabled.
    Boot,
    /// Someone asked for it.
    Manual(Actor),
    /// Someone had the files read anew, and the unit is new in them and enabled.
    Reload(Actor),
    /// Another unit pulled it in.
    Dependency(UnitName),
    /// The restart policy, after an end of the run before.
    AutoRestart,
    /// A health probe said the run before was unhealthy.
    Unhealthy {
        /// Which probe.
        probe: String,
    },
    /// on_failure or on_success of this unit.
    Triggered(UnitName),
    /// Something came to a socket of the unit while it only listened.
    Traffic,
    /// The timer of this unit elapsed.
    Timer(UnitName),
    /// It serves a connection. The unit is the instance that was made for it.
    Connection(UnitName),
    /// Whoever keeps an external service had started it, or someone through them.
    ExternalStart,
    /// Whoever keeps an external service has restarted it, or someone through them.
    ExternalRestart,
}

impl StartCause {
    /// One word for rows, metrics and people.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Manual(_) => "manual",
            Self::Reload(_) => "reload",
            Self::Dependency(_) => "dependency",
            Self::AutoRestart => "auto-restart",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Triggered(_) => "triggered",
            Self::Traffic => "traffic",
            Self::Timer(_) => "timer",
            Self::Connection(_) => "connection",
            Self::ExternalStart => "external-start",
            Self::ExternalRestart => "external-restart",
        }
    }

    /// Which unit, probe or connection it was, where the cause has one.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Dependency(unit) | Self::Triggered(unit) | Self::Timer(unit) | Self::Connection(unit) => {
                Some(unit.as_str())
            }
            Self::Unhealthy { probe } => Some(probe),
            Self::Boot
            | Self::Manual(_)
            | Self::Reload(_)
            | Self::AutoRestart
            | Self::Traffic
            | Self::ExternalStart
            | Self::ExternalRestart => None,
        }
    }

    /// Who asked for it, where someone did.
    pub const fn actor(&self) -> Option<&Actor> {
        match self {
            Self::Manual(actor) | Self::Reload(actor) => Some(actor),
            Self::Boot
            | Self::Dependency(_)
            | Self::AutoRestart
            | Self::Unhealthy { .. }
            | Self::Triggered(_)
            | Self::Traffic
            | Self::Timer(_)
            | Self::Connection(_)
            | Self::ExternalStart
            | Self::ExternalRestart => None,
        }
    }

    /// Whether such a start counts as a restart.
    pub const fn is_restart(&self) -> bool {
        matches!(self, Self::AutoRestart | Self::Unhealthy { .. } | Self::ExternalRestart)
    }
}

/// How systemd classes the end of a run; the names are its `Result=` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunResult {
    /// A clean end.
    Success,
    /// An unclean exit code.
    ExitCode,
    /// An unclean signal.
    Signal,
    /// An unclean signal with core dump.
    CoreDump,
    /// A start, stop or reload took too long.
    Timeout,
    /// The watchdog was not fed.
    Watchdog,
    /// Too many starts in the window.
    StartLimitHit,
    /// Traffic on its sockets started it too often.
    TriggerLimitHit,
    /// The kernel's out-of-memory killer.
    OomKill,
    /// It could not be started: spawn failed before the program ran.
    Resources,
    /// It broke the protocol: type=notify and no READY=1 before it ended.
    Protocol,
    /// Nobody saw how it ended.
    Unknown,
    /// ExecCondition= said that it is not to run now.
    ExecCondition,
}

impl RunResult {
    /// systemd's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Timeout => "timeout",
            Self::Watchdog => "watchdog",
            Self::StartLimitHit => "start-limit-hit",
            Self::TriggerLimitHit => "trigger-limit-hit",
            Self::OomKill => "oom-kill",
            Self::Resources => "resources",
            Self::Protocol => "protocol",
            Self::Unknown => "unknown",
            Self::ExecCondition => "exec-condition",
        }
    }

    /// Reads systemd's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Success,
            Self::ExitCode,
            Self::Signal,
            Self::CoreDump,
            Self::Timeout,
            Self::Watchdog,
            Self::StartLimitHit,
            Self::TriggerLimitHit,
            Self::OomKill,
            Self::Resources,
            Self::Protocol,
            Self::Unknown,
            Self::ExecCondition,
        ]
        .into_iter()
        .find(|known| known.as_str() == text)
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What was done about the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// A new run was or will be started by the restart policy.
    Restart,
    /// The unit is inactive: it was asked to stop, or it finished and the policy lets it rest.
    Rest,
    /// The unit failed: the policy does not restart after such an end.
    Fail,
    /// The unit failed: too many starts in the window.
    StartLimit,
    /// The service runs on, kept by another manager; it is watched no longer.
    Left,
}

impl Consequence {
    /// One word for rows and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Rest => "rest",
            Self::Fail => "fail",
            Self::StartLimit => "start-limit",
            Self::Left => "left",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pid_means_a_group_or_everyone() {
        assert_eq!([-1, 0, 1].map(Pid::new), [None; 3]);
        assert_eq!(Pid::new(2).map(Pid::raw), Some(2));
    }

    #[test]
    fn signals_are_read_by_name_and_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(Signal::parse(text), Some(Signal::TERM), "{text}");
        }
        assert_eq!(Signal::parse("RTMIN+1").map(Signal::raw), Some(35));
        assert_eq!(Signal::parse("SIGRTMIN+1").map(|s| s.to_string()).as_deref(), Some("SIGRTMIN+1"));
        for bad in ["", "SIG", "0", "65", "TERMINATE", "RTMIN-1"] {
            assert_eq!(Signal::parse(bad), None, "{bad}");
        }
    }
}
