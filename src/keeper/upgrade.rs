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
    process::ExitCode,
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
        spawn::Program, take_inherited,
    },
    wire::keeper::{Fact, KeeperState, ManagerCause, VERSION, decode, encode},
};

/// Says in which descriptor the state is that the program before left.
pub(super) const STATE_VARIABLE: &str = "ROUNDSMAN_KEEPER_STATE";
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
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The new program is asked whether it understands our state.
    Checking { path: CString, pid: Pid, until: Mono },
    /// It does; children in their set-up are waited for, whose failure would be lost with this image's memory.
    Settling { path: CString, look: Mono, until: Mono },
}

impl Upgrade {
    pub(super) const fn holding(previous: Option<OwnedFd>) -> Self {
        Self { stage: Stage::Idle, previous }
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
        match self.start_check(&path) {
            Ok(pid) => {
                self.upgrade.stage = Stage::Checking { path, pid, until: patience() };
            }
            Err(error) => self.upgrade_failed(format!("cannot try {path:?}: {error}")),
        }
    }

    fn start_check(&mut self, path: &CString) -> io::Result<Pid> {
        let state = sealed_memory(&encode(&self.state(ManagerCause::Upgrade)))?;
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let fds: [BorrowedFd<'_>; 4] = [self.null.as_fd(), stdout.as_fd(), stderr.as_fd(), state.as_fd()];
        let argv = [path.clone(), CString::new(CHECK_STATE)?];
        let program =
            Program { umask: 0o077, ignore_sigpipe: true, ..Program::new(path, &argv, &self.environment, &fds) };
        let started = self.spawner.spawn(&program);
        started.map(|spawned| spawned.pid).map_err(|failure| io::Error::from_raw_os_error(failure.errno))
    }

    /// Whether that pid was the check's; then the upgrade goes on or is over.
    pub(super) fn upgrade_check_ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        if !self.upgrade.is_checked_by(pid) {
            return false;
        }
        let Stage::Checking { path, .. } = std::mem::take(&mut self.upgrade.stage) else { return false };
        if status == ExitStatus::Exited(0) {
            let now = clock::mono();
            self.upgrade.stage = Stage::Settling { path, look: now, until: patience() };
        } else {
            self.upgrade_failed(format!("{path:?} does not understand our state ({status})"));
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

    /// Goes back to the program before when this one's manager ended without getting ready.
    pub(super) fn roll_back_if_upgrade_failed(&mut self) -> bool {
        let Some(previous) = self.upgrade.previous.take() else { return false };
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
        let words = |word: OsString| CString::new(word.into_vec());
        let argv: Vec<CString> = std::env::args_os().map(words).collect::<Result<_, _>>()?;
        let mut env = self.environment.clone();
        env.push(CString::new(format!("{STATE_VARIABLE}={}", number(&memory)))?);
        Ok(replace_image(path, &argv, &env))
    }
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
    let state: KeeperState = decode(&bytes).map_err(StateError::Decode)?;
    if state.version == VERSION { Ok(state) } else { Err(StateError::Version(state.version)) }
}

/// What `supervisord keeper-check-state` does: says by its exit code whether this program understands the state that a
/// running keeper would hand to it.
pub fn check_state() -> ExitCode {
    let checked = read_state(CHECK_STATE_FD).and_then(|state| start::check(&state));
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Chain(&error).to_string());
            ExitCode::FAILURE
        }
    }
}
