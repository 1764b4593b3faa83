//! The manager's process: started, asked, put down and replaced.
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::AsFd,
};

use super::{
    life::Act,
    turn::{Ending, Keeper, MANAGER, Manager},
    upgrade::{RUNTIME_VARIABLE, STATE_VARIABLE},
};
use crate::{
    base::{ExitStatus, Pid, Signal},
    sys::{
        PacketSocket, clock, forget_start, say, send_signal,
        spawn::{Outcome, Program},
    },
    wire::keeper::{Clamped, Fact, ManagerCause},
};

/// The program image that this process runs, even when its file was replaced.
const OWN_IMAGE: &CStr = c"/proc/self/exe";
/// Where the manager finds its end of the conversation.
pub const MANAGER_SOCKET: i32 = 3;

impl Keeper {
    /// Does what the passing of time asks for.
    pub(super) fn act_on_time(&mut self) -> io::Result<()> {
        let now = clock::mono();
        if let Some(ending) = self.ending {
            if now >= ending.kill
                && let Some(pid) = self.life.pid()
            {
                self.act(Act::Signal(pid, Signal::KILL));
            }
        } else if let Some(act) = self.life.due(now) {
            self.act(act);
        }
        self.upgrade_on_time(now);
        if self.crowd.deadline().is_some_and(|deadline| now >= deadline) {
            // Once more: either orders are read again from here on, or there is a new deadline.
            self.crowd.waits(now, self.spawner.pending());
        }
        if self.told.until().is_some_and(|until| now >= until) {
            self.take_crowds_ends()?;
        }
        Ok(())
    }

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Start(cause) => self.start_manager(cause),
            Act::Ping => {
                self.daemon_signals.ask();
                self.spawner.rest();
                forget_start();
                self.tell(&Fact::Ping, Vec::new());
            }
            Act::Signal(pid, signal) => {
                // ESRCH cannot be: it was not reaped.
                let _sent = send_signal(pid, signal);
                if signal == Signal::ABRT {
                    // One that was stopped would see it only when it goes on.
                    let _sent = send_signal(pid, Signal::CONT);
                }
            }
        }
    }

    fn start_manager(&mut self, cause: ManagerCause) {
        let now = clock::mono();
        match self.try_start_manager() {
            Ok(pid) => {
                self.cause = cause;
                self.life.started(now, pid);
            }
            Err(error) => {
                say(&format!("cannot start the manager: {error}"));
                self.life.start_failed(now);
                self.roll_back_if_upgrade_failed(&format!("its manager could not be started: {error}"));
            }
        }
    }

    fn try_start_manager(&mut self) -> io::Result<Pid> {
        let (ours, theirs) = PacketSocket::pair()?;
        self.poller.add(ours.as_fd(), MANAGER)?;
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let fds = [self.null.as_fd(), stdout.as_fd(), stderr.as_fd(), theirs.as_fd()];
        let path = self.options.manager_path.as_deref().unwrap_or(OWN_IMAGE);
        let program = Program {
            cwd: c".",
            umask: MANAGER_UMASK,
            oom_score_adj: self.ceiling.oom_score(self.ceiling.oom_initial, &mut Clamped::default()),
            ignore_sigpipe: true,
            ..Program::new(path, &self.options.manager_argv, &self.environment, &fds)
        };
        let spawned = self.spawner.spawn(&program).map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
        self.manager_ticket = Some(spawned.ticket);
        self.manager = Some(Manager::new(ours));
        Ok(spawned.pid)
    }

    pub(super) fn manager_ready(&mut self) {
        self.life.ready(clock::mono());
        self.was_ready = true;
        self.upgrade_succeeded();
    }

    pub(super) fn manager_died(&mut self, status: ExitStatus) {
        // What it said before its end counts: a last acknowledgement, or the end of the daemon.
        self.take_last_orders();
        self.hang_up();
        let ticket = self.manager_ticket.take();
        if let Some(Outcome::Failed(failure)) = ticket.map(|ticket| self.spawner.outcome(ticket)) {
            let error = io::Error::from_raw_os_error(failure.errno);
            say(&format!("cannot start the manager: {:?}: {error}", failure.step));
        }
        self.life.died(clock::mono());
        self.daemon_signals.unhear();
        // A manager without a ticket is of the program before us, which made way.
        if self.ending.is_none() && ticket.is_some() {
            self.give_up_if_hopeless(status);
        }
    }

    /// A manager that says by its exit code that it cannot start, when there is nothing to look after: a mistake in the
    /// settings, for which a person waits at the terminal.
    fn give_up_if_hopeless(&mut self, status: ExitStatus) {
        let late = if self.life.was_put_down() { "did not get ready in time" } else { "ended before it was ready" };
        if self.roll_back_if_upgrade_failed(&format!("its manager {late} ({status})")) {
            return;
        }
        let hopeless = !self.was_ready && self.processes.is_empty();
        match status {
            ExitStatus::Exited(code) if hopeless && code != 0 => {
                self.ending = Some(Ending { code, kill: clock::mono() });
            }
            ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => {
                say(&format!("the manager ended ({status}); it is started again"));
            }
        }
    }
}

/// The manager's file mode creation mask: what it writes is for its user and group.
const MANAGER_UMASK: u32 = 0o027;

/// The environment that the manager inherits: ours without what was meant for this process alone.
pub(super) fn manager_environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    let own = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", STATE_VARIABLE, RUNTIME_VARIABLE];
    let kept = std::env::vars_os().filter(|(name, _)| own.iter().all(|own| name != own));
    let joined = kept.map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    joined.filter_map(|text| CString::new(text).ok()).collect()
}
