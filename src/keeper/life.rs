//! When the manager is started, asked, and put down. Pure: moments come in, acts go out.
use std::time::Duration;

use crate::{
    base::{Mono, Pid, STOOD_STILL, Signal},
    wire::keeper::ManagerCause,
};

/// How long the manager may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// From its start to `Ready`.
    pub start: Duration,
    /// The same for the first one of a program that has replaced another.
    pub upgrade: Duration,
    /// From one sign of life to the next: while it starts, and afterwards with the ping that asks for one.
    pub silence: Duration,
    /// From a sign of life to the next ping; a part of `silence`.
    pub ping: Duration,
    /// From SIGABRT to SIGKILL: time for a core dump.
    pub abort: Duration,
    /// A manager that lived shorter died early; its successor waits.
    pub early: Duration,
    /// The wait after the second early death in a row; it doubles with each that died before it was ready.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            upgrade: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            ping: Duration::from_secs(2),
            // Two seconds after the verdict at the latest another is to look after the services.
            abort: Duration::from_secs(1),
            early: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// The manager's life as the keeper sees it.
#[derive(Debug)]
pub(super) struct Life {
    timings: Timings,
    state: State,
    /// Early deaths in a row.
    deaths: u32,
    /// Whether the present one got ready: then it looked after the services, and they are waiting for the next.
    was_ready: bool,
    /// When the last manager was started.
    born: Mono,
    /// From its start to `Ready`.
    start: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None runs; the next is due.
    Down { due: Mono, cause: ManagerCause },
    /// It runs and takes over what there is.
    Starting { pid: Pid, heard: Mono },
    /// It works, and is to be asked at that moment.
    Up { pid: Pid, ask: Mono },
    /// It was asked at that moment and has not answered.
    Asked { pid: Pid, since: Mono },
    /// It does not answer and was told to abort.
    Aborting { pid: Pid, kill: Mono },
    /// It was killed and will be reaped.
    Killed { pid: Pid, cause: ManagerCause },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Start(ManagerCause),
    Ping,
    Signal(Pid, Signal),
}

impl Life {
    pub(super) const fn new(timings: Timings, now: Mono, cause: ManagerCause) -> Self {
        let start = start_limit(&timings, cause);
        Self { timings, state: State::Down { due: now, cause }, deaths: 0, was_ready: false, born: now, start }
    }

    /// A manager that an earlier program image started and that is to make room for one of ours.
    pub(super) const fn replacing(timings: Timings, now: Mono, pid: Pid, cause: ManagerCause) -> Self {
        let start = start_limit(&timings, cause);
        Self { timings, state: State::Killed { pid, cause }, deaths: 0, was_ready: false, born: now, start }
    }

    pub(super) const fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Down { .. } => None,
            State::Starting { pid, .. }
            | State::Up { pid, .. }
            | State::Asked { pid, .. }
            | State::Aborting { pid, .. }
            | State::Killed { pid, .. } => Some(pid),
        }
    }

    pub(super) const fn started(&mut self, now: Mono, pid: Pid) {
        self.born = now;
        self.was_ready = false;
        self.state = State::Starting { pid, heard: now };
    }

    /// It could not be started; as if it had died at once.
    pub(super) fn start_failed(&mut self, now: Mono) {
        self.born = now;
        self.fall(now, ManagerCause::Crash);
    }

    /// It gave a sign of life.
    pub(super) fn alive(&mut self, now: Mono) {
        match self.state {
            State::Starting { pid, .. } => self.state = State::Starting { pid, heard: now },
            State::Asked { pid, .. } => self.state = State::Up { pid, ask: now.later(self.timings.ping) },
            // An answer that comes after the verdict does not save it: it missed its deadline.
            State::Up { .. } | State::Down { .. } | State::Aborting { .. } | State::Killed { .. } => {}
        }
    }

    pub(super) fn ready(&mut self, now: Mono) {
        if let State::Starting { pid, .. } = self.state {
            self.state = State::Up { pid, ask: now.later(self.timings.ping) };
            self.was_ready = true;
            self.start = self.timings.start;
        }
    }

    /// It cannot be talked to any more: it will be killed and replaced.
    pub(super) const fn lost(&mut self) -> Option<Act> {
        match self.state {
            State::Starting { pid, .. } | State::Up { pid, .. } | State::Asked { pid, .. } => {
                self.state = State::Killed { pid, cause: ManagerCause::Crash };
                Some(Act::Signal(pid, Signal::KILL))
            }
            State::Down { .. } | State::Aborting { .. } | State::Killed { .. } => None,
        }
    }

    /// Whether the one that ended last was ended for its silence.
    pub(super) const fn was_put_down(&self) -> bool {
        matches!(self.state, State::Down { cause: ManagerCause::Hang, .. })
    }

    /// It ended.
    pub(super) fn died(&mut self, now: Mono) {
        let cause = match self.state {
            State::Aborting { .. } => ManagerCause::Hang,
            State::Killed { cause, .. } => cause,
            State::Down { .. } | State::Starting { .. } | State::Up { .. } | State::Asked { .. } => ManagerCause::Crash,
        };
        self.fall(now, cause);
    }

    /// What the passing of time asks for.
    pub(super) fn due(&mut self, now: Mono) -> Option<Act> {
        let deadline = self.next_deadline().filter(|deadline| *deadline <= now)?;
        if now.since(deadline) >= STOOD_STILL && self.ask_again(now) {
            return None;
        }
        match self.state {
            State::Down { cause, .. } => Some(Act::Start(cause)),
            State::Starting { pid, .. } | State::Asked { pid, .. } => {
                self.state = State::Aborting { pid, kill: now.later(self.timings.abort) };
                Some(Act::Signal(pid, Signal::ABRT))
            }
            State::Up { pid, .. } => {
                self.state = State::Asked { pid, since: now };
                Some(Act::Ping)
            }
            State::Aborting { pid, .. } => {
                self.state = State::Killed { pid, cause: ManagerCause::Hang };
                Some(Act::Signal(pid, Signal::KILL))
            }
            State::Killed { .. } => None,
        }
    }

    /// We did not run meanwhile, and perhaps the manager did not either: it has all its time anew, if it is waited for.
    fn ask_again(&mut self, now: Mono) -> bool {
        match &mut self.state {
            State::Starting { heard, .. } => {
                self.born = self.born.later(now.since(*heard));
                *heard = now;
                true
            }
            State::Asked { since, .. } => {
                *since = now;
                true
            }
            State::Down { .. } | State::Up { .. } | State::Aborting { .. } | State::Killed { .. } => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match self.state {
            State::Down { due, .. } => Some(due),
            State::Starting { heard, .. } => Some(heard.later(self.timings.silence).min(self.born.later(self.start))),
            State::Up { ask, .. } => Some(ask),
            State::Asked { since, .. } => Some(since.later(self.timings.silence.saturating_sub(self.timings.ping))),
            State::Aborting { kill, .. } => Some(kill),
            State::Killed { .. } => None,
        }
    }

    fn fall(&mut self, now: Mono, cause: ManagerCause) {
        let is_early = now.since(self.born) < self.timings.early;
        self.deaths = match (is_early, self.was_ready) {
            (true, false) => self.deaths + 1,
            // Nobody's restart waits long for a manager that works; a short wait keeps it from eating a whole CPU.
            (true, true) => 2,
            (false, _) => 1,
        };
        let wait = match self.deaths {
            0 | 1 => Duration::ZERO,
            deaths => {
                let doubled = self.timings.backoff.saturating_mul(1 << (deaths - 2).min(DOUBLINGS_MAX));
                doubled.min(self.timings.backoff_max)
            }
        };
        self.state = State::Down { due: now.later(wait), cause };
    }
}

const fn start_limit(timings: &Timings, cause: ManagerCause) -> Duration {
    match cause {
        ManagerCause::Upgrade => timings.upgrade,
        ManagerCause::Boot | ManagerCause::Crash | ManagerCause::Hang | ManagerCause::Rollback => timings.start,
    }
}

/// Doublings after which any wait is longer than its limit.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * SECOND)
    }

    fn pid() -> Pid {
        Pid::new(9).unwrap()
    }

    fn started() -> Life {
        let mut life = Life::new(Timings::default(), at(0), ManagerCause::Boot);
        assert_eq!(life.due(at(0)), Some(Act::Start(ManagerCause::Boot)));
        life.started(at(0), pid());
        life
    }

    #[test]
    fn a_manager_may_start_slowly_while_it_shows_progress() {
        let mut life = started();
        for second in (0..60).step_by(9) {
            assert_eq!(life.due(at(second)), None, "{second}");
            life.alive(at(second));
        }
        assert_eq!(life.due(at(60)), Some(Act::Signal(pid(), Signal::ABRT)), "but not for ever");
        let mut silent = started();
        assert_eq!(silent.due(at(10)), Some(Act::Signal(pid(), Signal::ABRT)));
    }

    #[test]
    fn the_first_manager_of_a_new_program_has_less_time_and_its_successors_as_much_as_all() {
        let mut life = Life::replacing(Timings::default(), at(0), pid(), ManagerCause::Upgrade);
        life.died(at(0));
        assert_eq!(life.due(at(0)), Some(Act::Start(ManagerCause::Upgrade)));
        life.started(at(0), pid());
        life.alive(at(5));
        assert_eq!(life.due(at(9)), None);
        assert_eq!(life.due(at(10)), Some(Act::Signal(pid(), Signal::ABRT)), "progress is not enough");
        let mut life = Life::new(Timings::default(), at(0), ManagerCause::Upgrade);
        life.started(at(0), pid());
        life.ready(at(1));
        life.died(at(2));
        life.started(at(2), pid());
        life.alive(at(11));
        assert_eq!(life.due(at(12)), None);
    }

    #[test]
    fn a_manager_that_does_not_answer_is_aborted_then_killed_then_replaced() {
        let mut life = started();
        life.ready(at(1));
        assert_eq!(life.due(at(2)), None);
        assert_eq!(life.due(at(3)), Some(Act::Ping));
        life.alive(at(4));
        assert_eq!(life.due(at(6)), Some(Act::Ping));
        assert_eq!(life.due(at(13)), None);
        assert_eq!(life.due(at(14)), Some(Act::Signal(pid(), Signal::ABRT)), "ten seconds after its last sign of life");
        life.alive(at(14));
        assert_eq!(life.due(at(15)), Some(Act::Signal(pid(), Signal::KILL)));
        assert_eq!(life.next_deadline(), None);
        life.died(at(16));
        assert_eq!(life.due(at(16)), Some(Act::Start(ManagerCause::Hang)));
    }

    #[test]
    fn who_stood_still_with_the_keeper_is_given_its_time_again() {
        let mut life = started();
        life.ready(at(1));
        assert_eq!(life.due(at(3)), Some(Act::Ping));
        assert_eq!(life.due(at(3600)), None, "everything stood still from 3 or later");
        assert_eq!(life.next_deadline(), Some(at(3608)), "it has its time anew, once");
        assert_eq!(life.due(at(3608)), Some(Act::Signal(pid(), Signal::ABRT)));
    }

    #[test]
    fn early_deaths_are_answered_with_growing_waits_and_a_long_life_forgives() {
        let mut life = started();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            life.died(now);
            let due = life.next_deadline().unwrap();
            waits.push(due.since(now).as_millis());
            now = due;
            assert_eq!(life.due(now), Some(Act::Start(ManagerCause::Crash)));
            life.started(now, pid());
        }
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let much_later = Mono(now.0 + 11 * SECOND);
        life.ready(now);
        life.died(much_later);
        assert_eq!(life.next_deadline(), Some(much_later));
    }

    #[test]
    fn a_manager_that_got_ready_is_replaced_soon_however_often_it_dies() {
        let mut life = started();
        let mut now = at(0);
        for _ in 0..9 {
            life.ready(now);
            life.died(now);
            let due = life.next_deadline().unwrap();
            assert_eq!(due.since(now).as_millis(), 100);
            assert_eq!(life.due(due), Some(Act::Start(ManagerCause::Crash)));
            life.started(due, pid());
            now = due;
        }
    }

    #[test]
    fn a_manager_that_hangs_up_is_killed() {
        let mut life = started();
        assert_eq!(life.lost(), Some(Act::Signal(pid(), Signal::KILL)));
        assert_eq!(life.lost(), None);
        life.died(at(1));
        assert_eq!(life.due(at(1)), Some(Act::Start(ManagerCause::Crash)));
    }
}
