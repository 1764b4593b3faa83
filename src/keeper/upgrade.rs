//! The keeper replaces its own program by exec; pids, children and descriptors stay.
//!
//! The new program is first asked, as a child, whether it understands the state that it will be handed. It gets the old
//! executable as an open descriptor and goes back to it when its own manager does not get ready.
use std::{
    ffi::{CString, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
};

use super::{
    life::Act,
    start::{self, StateError},
    turn::Keeper,
};
use crate::{
    base::{Chain, ExitStatus, Mono, Pid, Signal, TimeSpan},
    sys::{
        clock, close_inherited_on_exec, keep_on_exec, number, read_sealed, replace_image, say, sealed_memory,
        spawn::{Outcome, Program, Spawned, Ticket},
        take_inherited,
    },
    wire::keeper::{Fact, KeeperState, ManagerCause, Reader, STATE_VERSION, Wire, decode, encode},
};

/// Says in which descriptor the state is that the program before left.
pub(super) const STATE_VARIABLE: &str = "ROUNDSMAN_KEEPER_STATE";
/// Says which runtime directory that program has: it holds whatever the settings say by now.
pub(super) const RUNTIME_VARIABLE: &str = "ROUNDSMAN_KEEPER_RUNTIME";
/// The argument that asks a program whether it understands a state.
pub const CHECK_STATE: &str = "keeper-check-state";
/// Where that program finds the state.
const CHECK_STATE_FD: i32 = 3;
/// Largest state that is read: 65,536 ends of 200 bytes, and as much for all else.
const STATE_BYTES_MAX: usize = 256 << 20;
/// How long the check may take, and how long children may be in their set-up after it.
const PATIENCE: TimeSpan = TimeSpan::from_secs(5);

/// How often it is looked whether they are through.
const LOOK: TimeSpan = TimeSpan::from_millis(5);

/// An upgrade on its way.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    stage: Stage,
    /// The executable to go back to, until the manager of this one is ready.
    pub(super) previous: Option<OwnedFd>,
    /// Why another program went back to this one, until a manager is told.
    pub(super) failure: Option<String>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The new program is asked whether it understands what it is shown.
    Checking { shown: Shown, path: CString, pid: Pid, ticket: Ticket, until: Mono },
    /// It does; children in their set-up are waited for, whose failure would be lost with this image's memory.
    Settling { path: CString, look: Mono, until: Mono },
}

/// What a program is shown that is to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nothing that is a state. One that understands it, as true(1) does, would end all supervision.
    Nonsense,
    /// Our state.
    State,
}

impl Upgrade {
    pub(super) const fn holding(previous: Option<OwnedFd>, failure: Option<String>) -> Self {
        Self { stage: Stage::Idle, previous, failure }
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self.stage {
            Stage::Idle => None,
            Stage::Checking { until, .. } => Some(until),
            Stage::Settling { look, .. } => Some(look),
        }
    }

    fn is_checked_by(&self, pid: Pid) -> bool {
        matches!(self.stage, Stage::Checking { pid: checking, .. } if checking == pid)
    }
}

impl Keeper {
    pub(super) fn begin_upgrade(&mut self, path: CString) {
        if !matches!(self.upgrade.stage, Stage::Idle) || self.upgrade.previous.is_some() {
            return self.upgrade_failed("another upgrade is on its way".to_owned());
        }
        self.begin_check(path, Shown::Nonsense);
    }

    fn begin_check(&mut self, path: CString, shown: Shown) {
        match self.start_check(&path, shown) {
            Ok(Spawned { pid, ticket, .. }) => {
                self.upgrade.stage = Stage::Checking { shown, path, pid, ticket, until: patience() };
            }
            Err(error) => self.upgrade_failed(format!("cannot try {path:?}: {error}")),
        }
    }

    fn start_check(&mut self, path: &CString, shown: Shown) -> io::Result<Spawned> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let null = self.null.as_fd();
        let (state, fds): (Vec<u8>, [BorrowedFd<'_>; 3]) = match shown {
            // What it says of that is of no use to whoever reads the log.
            Shown::Nonsense => (Vec::new(), [null; 3]),
            Shown::State => (encode(&self.state(ManagerCause::Upgrade)), [null, stdout.as_fd(), stderr.as_fd()]),
        };
        let state = sealed_memory(&state)?;
        let [stdin, stdout, stderr] = fds;
        let fds = [stdin, stdout, stderr, state.as_fd()];
        // With our own arguments: what the program would be started with belongs to what it has to understand.
        let mut argv = vec![path.clone(), CString::new(CHECK_STATE)?];
        argv.extend(own_arguments()?.into_iter().skip(1));
        let mut env = self.environment.clone();
        env.push(self.runtime_variable()?);
        let program =
            Program { umask: 0o077, ignore_sigpipe: true, cwd: c".", ..Program::new(path, &argv, &env, &fds) };
        let started = self.spawner.spawn(&program);
        started.map_err(|failure| io::Error::from_raw_os_error(failure.errno))
    }

    /// Whether that pid was the check's; then the upgrade goes on or is over.
    pub(super) fn upgrade_check_ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        if !self.upgrade.is_checked_by(pid) {
            return false;
        }
        let Stage::Checking { shown, path, ticket, .. } = std::mem::take(&mut self.upgrade.stage) else { return false };
        // Asked in any case: a set-up that failed is counted as one under way until then.
        if let Outcome::Failed(failure) = self.spawner.outcome(ticket) {
            self.upgrade_failed(format!("cannot run {path:?}: {failure}"));
        } else if shown == Shown::Nonsense {
            if status == ExitStatus::Exited(Checked::State.code()) {
                self.begin_check(path, Shown::State);
            } else {
                let reason =
                    "cannot be Roundsman: it does not answer as that does when it is shown no state of a keeper";
                self.upgrade_failed(format!("{path:?} {reason} ({status}); name the new supervisord"));
            }
        } else if status == ExitStatus::Exited(0) {
            let now = clock::mono();
            self.upgrade.stage = Stage::Settling { path, look: now, until: patience() };
        } else {
            let reason = match status {
                ExitStatus::Exited(code) if code == Checked::Database.code() => "cannot use the database as it is now",
                ExitStatus::Exited(code) if code == Checked::Settings.code() => {
                    "refuses roundsman.toml or the arguments"
                }
                ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => {
                    "does not understand our state"
                }
            };
            self.upgrade_failed(format!("{path:?} {reason} ({status})"));
        }
        true
    }

    pub(super) fn upgrade_on_time(&mut self, now: Mono) {
        match &mut self.upgrade.stage {
            Stage::Idle => {}
            Stage::Checking { pid, until, .. } => {
                if now >= *until {
                    let pid = *pid;
                    *until = patience();
                    self.act(Act::Signal(pid, Signal::KILL));
                }
            }
            Stage::Settling { path, look, until } => {
                // Nobody tells when a child leaves our memory.
                *look = now.after(LOOK).unwrap_or(now);
                let (path, late) = (path.clone(), now >= *until);
                if self.spawner.pending() == 0 {
                    self.upgrade.stage = Stage::Idle;
                    self.take_last_orders();
                    let error = self.exec(&path, ManagerCause::Upgrade);
                    self.upgrade_failed(format!("cannot run {path:?}: {error}"));
                } else if late {
                    self.upgrade.stage = Stage::Idle;
                    self.upgrade_failed("a process hangs in its set-up".to_owned());
                }
            }
        }
    }

    fn upgrade_failed(&mut self, reason: String) {
        self.tell(&Fact::UpgradeFailed { reason }, Vec::new());
    }

    pub(super) fn upgrade_succeeded(&mut self) {
        self.upgrade.previous = None;
    }

    /// Goes back to the program before when this one's manager ended without getting ready, or did not come to be.
    pub(super) fn roll_back_if_upgrade_failed(&mut self, why: &str) -> bool {
        let Some(previous) = self.upgrade.previous.take() else { return false };
        self.upgrade.failure = Some(format!("{why}; the program before took over again"));
        let Ok(path) = CString::new(format!("/proc/self/fd/{}", number(&previous))) else { return false };
        let kept = keep_on_exec(&previous);
        let error = kept.err().unwrap_or_else(|| self.exec(&path, ManagerCause::Rollback));
        say(&format!("cannot go back to the program before the upgrade: {error}"));
        false
    }

    /// Becomes the program at `path`; comes back only when that failed, as it was.
    fn exec(&mut self, path: &CString, cause: ManagerCause) -> io::Error {
        let attempt = || -> io::Result<io::Error> {
            let mut state = self.state(cause);
            state.failure.clone_from(&self.upgrade.failure);
            if cause == ManagerCause::Upgrade {
                let image = OwnedFd::from(File::open("/proc/self/exe")?);
                state.previous = Some(number(&image));
                return self.exec_with(path, &state, Some(&image));
            }
            self.exec_with(path, &state, None)
        };
        let error = attempt().unwrap_or_else(|error| error);
        // What was let through for the new program closes on exec again.
        close_inherited_on_exec().err().unwrap_or(error)
    }

    fn exec_with(&self, path: &CString, state: &KeeperState, image: Option<&OwnedFd>) -> io::Result<io::Error> {
        let memory = sealed_memory(&encode(state))?;
        for fd in self.held_descriptors().chain(image.map(AsFd::as_fd)).chain([memory.as_fd()]) {
            keep_on_exec(fd)?;
        }
        let argv = own_arguments()?;
        let mut env = self.environment.clone();
        env.push(CString::new(format!("{STATE_VARIABLE}={}", number(&memory)))?);
        env.push(self.runtime_variable()?);
        Ok(replace_image(path, &argv, &env))
    }
}

impl Keeper {
    fn runtime_variable(&self) -> io::Result<CString> {
        let dir = std::path::absolute(&self.options.runtime_dir)?.into_os_string();
        Ok(CString::new([format!("{RUNTIME_VARIABLE}=").into_bytes(), dir.into_vec()].concat())?)
    }
}

fn own_arguments() -> io::Result<Vec<CString>> {
    std::env::args_os().map(|word: OsString| Ok(CString::new(word.into_vec())?)).collect()
}

fn patience() -> Mono {
    let now = clock::mono();
    now.after(PATIENCE).unwrap_or(now)
}

/// The state that the program before left to us, if it did.
pub(super) fn inherited_state() -> Result<Option<KeeperState>, StateError> {
    let Some(text) = std::env::var_os(STATE_VARIABLE) else { return Ok(None) };
    let fd = text.to_str().and_then(|text| text.parse().ok()).ok_or(StateError::Variable)?;
    read_state(fd).map(Some)
}

fn read_state(fd: i32) -> Result<KeeperState, StateError> {
    let memory = take_inherited(fd).map_err(|source| StateError::Descriptor { fd, source })?;
    let bytes = read_sealed(memory.as_fd(), STATE_BYTES_MAX).map_err(|source| StateError::Descriptor { fd, source })?;
    // It comes first in every version, and says whether the rest can be read.
    let version = u16::take(&mut Reader::new(&bytes)).map_err(StateError::Decode)?;
    if version != STATE_VERSION {
        return Err(StateError::Version(version));
    }
    decode(&bytes).map_err(StateError::Decode)
}

/// The runtime directory of the program before, if it left us its state or asks whether we understand it.
pub fn runtime_before() -> Option<PathBuf> {
    std::env::var_os(RUNTIME_VARIABLE).map(PathBuf::from)
}

/// What a program says by its exit code when it is asked whether it could take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It could.
    Fit,
    /// It does not understand the keeper's state.
    State,
    /// It does not know the database's version, EX_DATAERR of sysexits.h.
    Database,
    /// It refuses the settings, EX_CONFIG.
    Settings,
}

impl Checked {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fit => 0,
            Self::State => 1,
            Self::Database => 65,
            Self::Settings => 78,
        }
    }
}

/// Whether this program understands the state that a running keeper would hand to it, which is in descriptor 3: the first
/// half of what `supervisord keeper-check-state` does.
pub fn check_state() -> Checked {
    let checked = read_state(CHECK_STATE_FD).and_then(|state| start::check(&state));
    match checked {
        Ok(()) => Checked::Fit,
        Err(error) => {
            say(&Chain(&error).to_string());
            Checked::State
        }
    }
}
