use super::super::{
    once::Named,
    service::{Begin, Claim, Control, End, Main, Naming, Phase, Run, State, Unit},
    status::Verdict,
    timer::{Planned, Timer},
    watch::Watch,
    wish::Ending,
};
use super::{
    CALLERS, DIRECTIVES, FALLEN_MAX, MEMO_MAX, PART_FADED, PART_FALLEN, PART_INCIDENT, PART_LISTENING, PART_MAIN,
    PART_OOM, PART_PROBES, PART_REASONS, PART_RELOADS, PHASES, REASONS_MAX, RELOAD_STAGES, RESULTS, TEXT_MAX,
    VERDICTS_MAX, WHY_FRAME, WHY_MAX,
};
use crate::base::{
    Actor, Consequence, ExitStatus, HeldBack, Now, Pid, Role, RunResult, StartCause, TimeSpan, Usage, Wall,
};

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// A part of its own, behind its tag.
    pub(super) fn part(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        let mut part = Self(Vec::new());
        write(&mut part);
        self.byte(tag);
        self.number(part.0.len() as u64);
        self.0.append(&mut part.0);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(super) fn flags(&mut self, flags: [bool; 4]) {
        self.byte(flags.iter().enumerate().map(|(bit, flag)| u8::from(*flag) << bit).sum());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.number(end as u64);
        self.0.extend_from_slice(&text.as_bytes()[..end]);
    }

    pub(super) fn now(&mut self, now: Now) {
        self.number(now.mono.0);
        self.wall(now.wall);
    }

    pub(super) fn wall(&mut self, wall: Wall) {
        self.0.extend_from_slice(&wall.0.to_le_bytes());
    }

    pub(super) fn timer(&mut self, timer: &Timer) {
        self.now(timer.since);
        self.number(timer.startup.0);
        self.option(timer.last, Self::now);
        self.option(timer.mono, |out, Planned { moment, due }| {
            out.number(moment.0);
            out.number(due.0);
        });
        self.option(timer.wall, |out, Planned { moment, due }| {
            out.wall(moment);
            out.wall(due);
        });
        self.byte(u8::from(timer.owes));
    }

    pub(super) fn span(&mut self, span: TimeSpan) {
        self.option(span.micros(), Self::number);
    }

    pub(super) fn result(&mut self, result: RunResult) {
        let tag = RESULTS.iter().position(|known| *known == result).unwrap_or_default();
        self.number(tag as u64);
    }

    pub(super) fn status(&mut self, status: Option<ExitStatus>) {
        match status {
            None => self.byte(0),
            Some(ExitStatus::Exited(code)) => self.0.extend([1, code]),
            Some(ExitStatus::Signaled { signal, core }) => {
                self.0.extend([2 + u8::from(core), signal.raw().to_le_bytes()[0]]);
            }
            Some(ExitStatus::Unknown) => self.byte(4),
        }
    }

    pub(super) fn usage(&mut self, usage: Option<Usage>) {
        self.option(usage, |out, usage| {
            out.number(u64::try_from(usage.user.as_micros()).unwrap_or(u64::MAX));
            out.number(u64::try_from(usage.system.as_micros()).unwrap_or(u64::MAX));
            out.number(usage.max_rss_kib);
        });
    }

    pub(super) fn end(&mut self, end: &End) {
        self.number(end.generation.0);
        self.0.extend_from_slice(&end.invocation.0);
        self.option(end.begin.as_ref(), Self::begin);
        self.status(end.status);
        self.usage(end.usage);
        self.result(end.result);
        self.byte(u8::from(end.wanted));
        self.byte(match end.consequence {
            Consequence::Restart => 0,
            Consequence::Rest => 1,
            Consequence::Fail => 2,
            Consequence::StartLimit => 3,
            Consequence::Left => 4,
        });
    }

    pub(super) fn actor(&mut self, actor: &Actor) {
        match actor {
            Actor::Daemon => self.byte(0),
            Actor::User(uid) => {
                self.byte(1);
                self.number(u64::from(*uid));
            }
            Actor::Automatic(name) => {
                let known = CALLERS.iter().position(|caller| caller == name).unwrap_or_default();
                self.byte(2);
                self.number(known as u64);
            }
        }
    }

    pub(super) fn cause(&mut self, cause: &StartCause) {
        match cause {
            StartCause::Boot => self.byte(0),
            StartCause::Manual(actor) => {
                self.byte(1);
                self.actor(actor);
            }
            StartCause::Dependency(unit) => {
                self.byte(2);
                self.text(unit.as_str());
            }
            StartCause::AutoRestart => self.byte(3),
            StartCause::Unhealthy { probe } => {
                self.byte(4);
                self.text(probe);
            }
            StartCause::Triggered(unit) => {
                self.byte(5);
                self.text(unit.as_str());
            }
            // A reader that does not know these takes the memo for none.
            StartCause::Traffic => self.byte(6),
            StartCause::Connection(unit) => {
                self.byte(8);
                self.text(unit.as_str());
            }
            StartCause::ExternalStart => self.byte(9),
            StartCause::ExternalRestart => self.byte(10),
            StartCause::Reload(actor) => {
                self.byte(11);
                self.actor(actor);
            }
            StartCause::Timer(unit) => {
                self.byte(7);
                self.text(unit.as_str());
            }
        }
    }

    pub(super) fn ending(&mut self, ending: &Ending) {
        match ending {
            Ending::Stop(actor) => {
                self.byte(0);
                self.actor(actor);
            }
            Ending::Restart(actor) => {
                self.byte(1);
                self.actor(actor);
            }
            Ending::Shutdown(actor) => {
                self.byte(2);
                self.actor(actor);
            }
            Ending::Conflict(unit) => {
                self.byte(3);
                self.text(unit.as_str());
            }
            Ending::Bound(unit) => {
                self.byte(4);
                self.text(unit.as_str());
            }
            Ending::Removed => self.byte(5),
            Ending::Unhealthy { probe } => {
                self.byte(6);
                self.text(probe);
            }
        }
    }

    pub(super) fn oom_part(&mut self, run: &Run) {
        if run.oom_kills > 0 {
            self.part(PART_OOM, |out| out.number(run.oom_kills));
        }
    }

    pub(super) fn fallen_part(&mut self, run: &Run) {
        let is_fallen = |verdict| matches!(verdict, Verdict::Degraded | Verdict::Unhealthy);
        let known = run.probes.iter().take(VERDICTS_MAX).enumerate();
        let fallen: Vec<_> = known
            .filter(|(_, probe)| is_fallen(probe.verdict))
            .filter_map(|(index, probe)| Some((index, probe.since?, probe.reason())))
            .take(FALLEN_MAX)
            .collect();
        if fallen.is_empty() {
            return;
        }
        let share = REASONS_MAX / fallen.len();
        self.part(PART_FALLEN, |out| {
            out.number(fallen.len() as u64);
            for (index, since, reason) in fallen {
                out.number(index as u64);
                out.now(since);
                out.option(reason, |out, reason| out.text(&reason[..reason.floor_char_boundary(share)]));
            }
        });
    }

    pub(super) fn watch(&mut self, watch: &Watch) {
        self.flags([watch.seen_down, watch.owes_stop, watch.gave_up.is_some(), false]);
        self.option(watch.life.as_ref(), |out, life| {
            out.text(&life.id);
            out.option(life.restarts, |out, restarts| out.number(u64::from(restarts)));
        });
        self.option(watch.end, |out, end| {
            out.result(end.result);
            out.status(end.status);
        });
        // Only where it is: an earlier release knows nothing of it.
        if let Some(allowed) = watch.gave_up {
            self.number(u64::from(allowed.burst));
            self.span(allowed.interval);
        }
    }

    pub(super) fn listening_part(&mut self, unit: &Unit) {
        let listens = matches!(unit.state, State::Listening);
        if !listens && unit.triggers.is_none() {
            return;
        }
        let window = unit.triggers.as_deref().copied().unwrap_or_default();
        self.part(PART_LISTENING, |out| {
            out.byte(u8::from(listens));
            out.option(window.begin, |out, begin| out.number(begin.0));
            out.number(u64::from(window.count));
        });
    }

    /// Each by how many runs ago it was.
    pub(super) fn faded_part(&mut self, unit: &Unit) {
        let faded = unit.faded.iter();
        if faded.len() == 0 {
            return;
        }
        self.part(PART_FADED, |out| {
            out.number(faded.len() as u64);
            for (generation, result) in faded {
                out.number(unit.generation.0.saturating_sub(generation.0));
                out.result(result);
            }
        });
    }

    pub(super) fn incident_part(&mut self, unit: &Unit) {
        if let Some(began) = unit.incident {
            self.part(PART_INCIDENT, |out| out.number(began.0));
        }
    }

    /// The newest first. A command that could not be run is the end's reason as well: it is written once.
    pub(super) fn reasons_part(&mut self, unit: &Unit) {
        let run = unit.run();
        let sent = run.and_then(|run| run.sent.as_ref());
        let ends = unit.ends.iter().rev().map(|end| end.why.as_deref());
        let all: Vec<Option<&str>> = std::iter::once(run.and_then(|run| run.why.as_deref())).chain(ends).collect();
        let failure = unit.spawn_failure.as_deref();
        if failure.is_none() && sent.is_none() && all.iter().all(Option::is_none) {
            return;
        }
        let mut room = (MEMO_MAX - WHY_FRAME).saturating_sub(self.0.len()).min(WHY_MAX);
        let mut cut = |text: &str| {
            let end = text.floor_char_boundary(room.min(TEXT_MAX));
            room -= end;
            end
        };
        self.part(PART_REASONS, |out| {
            out.option(sent, |out, (signal, actor)| {
                out.byte(signal.raw().to_le_bytes()[0]);
                out.actor(actor);
            });
            let same = failure.and_then(|failure| all.iter().position(|why| *why == Some(failure)));
            match (failure, same) {
                (None, _) => out.byte(0),
                (Some(text), None) => {
                    out.byte(1);
                    out.text(&text[..cut(text)]);
                }
                (Some(_), Some(nth)) => {
                    out.byte(2);
                    out.number(nth as u64);
                }
            }
            out.number(all.len() as u64);
            for why in all {
                out.option(why, |out, why| out.text(&why[..cut(why)]));
            }
        });
    }

    pub(super) fn probes_part(&mut self, unit: &Unit) {
        if unit.probe_restarts.is_empty() && unit.held_back.is_none() && !unit.maintained {
            return;
        }
        let (budget, maintenance) =
            (unit.held_back == Some(HeldBack::Budget), unit.held_back == Some(HeldBack::Maintenance));
        self.part(PART_PROBES, |out| {
            out.flags([unit.maintained, budget, maintenance, false]);
            out.number(unit.probe_restarts.len() as u64);
            let mut before = 0;
            for at in &unit.probe_restarts {
                out.number(at.0.saturating_sub(before));
                before = at.0;
            }
        });
    }

    pub(super) fn reloads_part(&mut self, unit: &Unit) {
        let all = unit.reloads.iter().flat_map(|reloads| &reloads.0);
        let tag = |named: &Named| Some((named.name, RELOAD_STAGES.iter().position(|stage| *stage == named.stage)?));
        let begun: Vec<_> = all.filter_map(tag).collect();
        if begun.is_empty() {
            return;
        }
        self.part(PART_RELOADS, |out| {
            out.number(begun.len() as u64);
            for (name, stage) in begun {
                out.0.extend_from_slice(&name.0);
                out.number(stage as u64);
            }
        });
    }

    pub(super) fn main_part(&mut self, run: &Run) {
        let signalled = run.reload.as_ref().and_then(|reload| reload.signalled);
        if run.claims == 0 && signalled.is_none() {
            return;
        }
        self.part(PART_MAIN, |out| {
            out.number(u64::from(run.claims));
            let named = match run.main_role {
                Role::Named(number) => Some(number),
                Role::Main | Role::Control(_) | Role::Probe(_) => None,
            };
            out.option(named, |out, number| out.number(u64::from(number)));
            out.option(run.claim.as_deref(), Self::claim);
            out.option(signalled, |out, at| out.number(at.0));
        });
    }

    fn claim(&mut self, claim: &Claim) {
        self.number(u64::from(claim.number));
        match claim.naming {
            Naming::PidFile => self.byte(0),
            Naming::Guess => self.byte(1),
            Naming::Message { pid, trusted } => {
                self.byte(2 + u8::from(trusted));
                self.pid(pid);
            }
        }
        self.option(claim.ended, Self::result);
        self.number(u64::from(claim.tries));
    }

    pub(super) fn begin(&mut self, begin: &Begin) {
        self.now(begin.at);
        self.cause(&begin.cause);
        self.number(u64::from(begin.restarts));
        self.option(begin.pid, Self::pid);
        self.option(begin.ready_at, Self::now);
    }

    pub(super) fn run(&mut self, run: &Run) {
        self.number(run.generation.0);
        self.0.extend_from_slice(&run.invocation.0);
        self.begin(&run.begin);
        self.phase(run.phase);
        self.main(run.main);
        self.option(run.control, Self::control);
        self.number(u64::from(run.controls));
        self.result(run.result);
        self.option(run.ending.as_ref(), Self::ending);
        self.flags([run.empty, run.empty_before, run.unkillable, run.transient]);
        self.option(run.watchdog, Self::span);
        let verdicts = run.probes.iter().take(VERDICTS_MAX);
        self.number(verdicts.len() as u64);
        self.0.extend(verdicts.map(|probe| match probe.verdict {
            Verdict::Unknown => 0,
            Verdict::Healthy => 1,
            Verdict::Unhealthy => 2,
            Verdict::Degraded => 3,
        }));
        self.option(run.monitor.as_deref(), |out, monitor| {
            out.text(monitor.unit.as_str());
            out.0.extend_from_slice(&monitor.invocation.0);
            out.result(monitor.result);
            out.status(monitor.status);
        });
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        let tag = PHASES.iter().position(|known| *known == phase).unwrap_or_default();
        self.number(tag as u64);
    }

    pub(super) fn main(&mut self, main: Main) {
        match main {
            Main::None => self.byte(0),
            Main::Ordered => self.byte(1),
            Main::Alive(pid) => {
                self.byte(2);
                self.pid(pid);
            }
            Main::Ended { status, usage } => {
                self.byte(3);
                self.status(Some(status));
                self.usage(usage);
            }
        }
    }

    pub(super) fn control(&mut self, control: Control) {
        self.number(u64::from(control.number));
        let tag = DIRECTIVES.iter().position(|known| *known == control.directive).unwrap_or_default();
        self.number(tag as u64);
        self.number(u64::from(control.step));
        self.option(control.pid, Self::pid);
    }

    pub(super) fn pid(&mut self, pid: Pid) {
        self.number(u64::from(pid.raw().unsigned_abs()));
    }
}
