//! Ends of processes, and the descriptors that tell of them.
use std::os::fd::AsFd;

use super::{
    holdings::{Handle, Process},
    ledger::Kept,
    turn::{Keeper, Watched},
};
use crate::{
    base::{ExitStatus, Pid, TimeSpan, Usage},
    sys::{Reaped, clock, end_of, reap, spawn::Outcome},
    wire::keeper::{Exit, Fact},
};

/// Of a crowd of ends, so many are told one by one, so that it is begun with the first; of the others so many at a time.
const TOLD_AT_ONCE: usize = 8;
/// How soon an order follows an end that was told, mostly.
const ANSWERED_WITHIN: TimeSpan = TimeSpan::from_micros(200);

impl Keeper {
    /// Takes the end of every child that has ended: one SIGCHLD may stand for thousands. The first are told before the next
    /// are looked for.
    pub(super) fn reap_all(&mut self) {
        let mut told = 0;
        while let Ok(Some(end)) = reap(None) {
            // What it had sent before it ended is there by now.
            self.take_notified();
            if self.life.pid() == Some(end.pid) {
                self.manager_died(end.status);
            } else if let Some(process) = self.processes.remove(end.pid) {
                self.child_ended(process, end);
                told += 1;
                if told <= TOLD_AT_ONCE || told % TOLD_AT_ONCE == 0 {
                    self.flush();
                }
            } else if !self.upgrade_check_ended(end.pid, end.status) {
                self.orphans += 1;
            }
        }
        self.awake_until = (told == 1).then(|| clock::mono().after(ANSWERED_WITHIN)).flatten();
    }

    fn child_ended(&mut self, process: Process, end: Reaped) {
        let outcome = match &process.handle {
            Handle::Child(Some(ticket)) => self.spawner.outcome(*ticket),
            Handle::Child(None) | Handle::Adopted(_) => Outcome::Executed,
        };
        match outcome {
            Outcome::Failed(failure) => {
                self.unwatch_exec(process.exec_watch);
                self.keep_end(Kept::SpawnFailed { key: process.key, failure });
            }
            Outcome::Executed | Outcome::Killed | Outcome::Pending => {
                if process.exec_watch.is_some() && outcome == Outcome::Executed {
                    self.tell(&Fact::ExecDone { key: process.key.clone() }, Vec::new());
                }
                let (status, usage) = own_end(&process, end);
                self.ended(process, status, usage);
            }
        }
    }

    /// Whoever was taken over under a pid that is another's now has ended: its descriptor, which has not told so yet, says how.
    pub(super) fn pid_is_anothers(&mut self, pid: Pid) {
        if let Some(process) = self.processes.remove(pid) {
            let status = match &process.handle {
                Handle::Adopted(watch) => end_of(watch.fd.as_fd(), pid, process.start_time),
                // Its pid is its own until we reap it, so this cannot be.
                Handle::Child(_) => ExitStatus::Unknown,
            };
            self.ended(process, status, None);
        }
    }

    /// Keeps the end of a process whose program ran.
    pub(super) fn ended(&mut self, process: Process, status: ExitStatus, usage: Option<Usage>) {
        let Process { key, invocation, pid, started, exec_watch, handle, start_time: _, clamped: _ } = process;
        self.unwatch_exec(exec_watch);
        match handle {
            Handle::Child(_) => {}
            Handle::Adopted(watch) => self.unwatch(watch),
        }
        self.keep_end(Kept::Exited(Exit { key, invocation, pid, status, usage, at: clock::now(), started }));
    }

    fn unwatch_exec(&mut self, watch: Option<super::holdings::Watch>) {
        if let Some(watch) = watch {
            self.unwatch(watch);
        }
    }

    /// A descriptor has something to tell: a process' program took over, or it ended; or what is stored has no other side any
    /// more.
    pub(super) fn watch_fired(&mut self, token: u64) {
        let key = match self.watched.get(&token).cloned() {
            None => return,
            Some(Watched::Stored(unit)) => return self.stored_ended(&unit, token),
            Some(Watched::Process(key)) => key,
        };
        if self.processes.get(&key).is_some_and(|process| matches!(process.handle, Handle::Adopted(_))) {
            // It may have become our child since; whoever reaps it knows more.
            self.reap_all();
        }
        let Some(process) = self.processes.get_mut(&key) else { return };
        if let Handle::Adopted(watch) = &process.handle
            && watch.token == token
        {
            let status = end_of(watch.fd.as_fd(), process.pid, process.start_time);
            let pid = process.pid;
            if let Some(process) = self.processes.remove(pid) {
                self.ended(process, status, None);
            }
            return;
        }
        let Some(watch) = process.exec_watch.take_if(|watch| watch.token == token) else { return };
        let ticket = match &process.handle {
            Handle::Child(ticket) => *ticket,
            Handle::Adopted(_) => None,
        };
        self.unwatch(watch);
        // The pipe closes when the set-up fails as well; that end is told when the child is reaped, so the slot's
        // failure is not asked for here.
        if ticket.is_none_or(|ticket| self.spawner.has_executed(ticket)) {
            self.tell(&Fact::ExecDone { key }, Vec::new());
        }
    }
}

/// How a process ended whose pid was reaped. That of one that was taken over may have been given to another since, an orphan
/// whose end this is; its descriptor knows (Linux 6.15), and where it does not, what was reaped is believed.
fn own_end(process: &Process, end: Reaped) -> (ExitStatus, Option<Usage>) {
    let Handle::Adopted(watch) = &process.handle else { return (end.status, Some(end.usage)) };
    match end_of(watch.fd.as_fd(), process.pid, process.start_time) {
        ExitStatus::Unknown => (end.status, Some(end.usage)),
        status @ (ExitStatus::Exited(_) | ExitStatus::Signaled { .. }) => {
            (status, (status == end.status).then_some(end.usage))
        }
    }
}
