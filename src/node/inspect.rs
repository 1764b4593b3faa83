//! The machine's invariants, in words.

use std::collections::BTreeSet;

use super::{
    Node,
    graph::Place,
    service::{Directive, Main, Phase, Run, State, Unit},
    timers::Slot,
    wish::Wish,
};

impl Node {
    /// Every invariant that is broken, in words; empty when all is well. For tests and debug builds.
    #[must_use]
    pub fn inspect(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut asks = BTreeSet::new();
        let (mut live, mut stuck) = (0, 0);
        for (name, place) in &self.names {
            let Some(unit) = self.unit(*place) else {
                broken.push(format!("{name}: a name without a unit"));
                continue;
            };
            if let Some(run) = unit.run() {
                live += 1;
                stuck += usize::from(run.unkillable);
                self.inspect_run(*place, run, &mut broken);
                let reload = run.reload.iter().flat_map(|reload| reload.asks.iter().chain(&reload.next));
                asks.extend(reload.map(|ask| (ask.ticket, ask.index)));
                asks.extend(run.checks.iter().map(|check| (check.ask().ticket, check.ask().index)));
            }
            asks.extend(unit.job.iter().flat_map(|job| &job.asks).map(|ask| (ask.ticket, ask.index)));
            self.inspect_unit(*place, unit, &mut broken);
        }
        self.inspect_connections(&mut broken);
        if (live, stuck) != (self.live, self.stuck) {
            broken.push(format!("{live} runs live and {stuck} stuck, counted {} and {}", self.live, self.stuck));
        }
        if !self.queue.is_empty() || !self.failed_starts.is_empty() || !self.touched.is_empty() {
            broken.push("work is left in a queue".to_owned());
        }
        for (ticket, tally) in &self.tickets {
            let open = asks.iter().filter(|(other, _)| other == ticket).count();
            if open != tally.open || open == 0 {
                broken.push(format!("ticket {}: {open} wait, {} are open", ticket.0, tally.open));
            }
        }
        broken
    }

    fn inspect_unit(&self, place: Place, unit: &Unit, broken: &mut Vec<String>) {
        let mut say = |text: &str| broken.push(format!("{} in {}: {text}", unit.name, unit.sub().as_str()));
        for (slot, _) in self.timers.of(place) {
            let belongs = match (&unit.state, slot) {
                (_, Slot::Elapse | Slot::Calendar) => unit.timer.is_some() && self.shutdown.is_none(),
                (_, Slot::Watch) => unit.watch.is_some(),
                (State::HoldOff { .. }, Slot::HoldOff) => true,
                (State::Live(run), Slot::Phase) => !matches!(run.phase, Phase::Running | Phase::Exited),
                (State::Live(run), Slot::Look) => run.claim.is_some(),
                (State::Inactive | State::Failed | State::HoldOff { .. }, Slot::Idle) => {
                    unit.job.as_ref().is_some_and(|job| !job.begun)
                }
                (State::Live(run), Slot::Watchdog) => !run.phase.is_ending(),
                (State::Live(run), Slot::RuntimeMax | Slot::RowEnds | Slot::Settled | Slot::Probe(_)) => {
                    run.phase.is_up()
                }
                (State::Live(_), Slot::HoldOff | Slot::Idle)
                | (State::Inactive | State::Failed | State::Listening | State::HoldOff { .. }, _) => false,
            };
            if !belongs {
                say(&format!("timer {slot:?} outlives its state"));
            }
        }
        if let State::HoldOff { due, .. } = &unit.state
            && self.timers.get(place, Slot::HoldOff) != *due
        {
            say("the hold-off's timer is not the one that is shown");
        }
        if matches!(unit.state, State::Listening)
            && unit.job.as_ref().is_none_or(|job| !job.stops())
            && unit.wish == Wish::Up
        {
            say("it only listens and should be up");
        }
        let Some(job) = &unit.job else { return };
        let ending = unit.run().is_some_and(|run| run.phase.is_ending());
        if job.begun {
            // The engine answers at once.
            let binds = unit.accepts() && matches!(unit.state, State::Listening);
            let fits = if job.stops() {
                ending
            } else {
                binds || unit.run().is_some_and(|run| run.phase.is_starting() || ending)
            };
            if !fits {
                say("a job has begun that nothing will end");
            }
        } else {
            match job.blocked_by {
                Some(other) if self.unit(other).is_none_or(|unit| unit.job.is_none()) && !self.gates(place, other) => {
                    say("a job waits for a unit without job");
                }
                None if !ending && self.timers.get(place, Slot::Idle).is_none() => say("a job waits for nothing"),
                Some(_) | None => {}
            }
        }
    }

    fn inspect_run(&self, place: Place, run: &Run, broken: &mut Vec<String>) {
        let mut say = |text: &str| broken.push(format!("{} in {:?}: {text}", run.def.name, run.phase));
        let timeouts = &run.def.service.timeouts;
        let span = match run.phase {
            Phase::Running | Phase::Exited => None,
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Reload { .. }
            | Phase::ReloadSignal => Some(timeouts.start),
            Phase::StopWatchdog { .. } => Some(timeouts.abort),
            Phase::Stop
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => Some(timeouts.stop),
        };
        let is_set = self.timers.get(place, Slot::Phase).is_some();
        if span.is_some_and(|span| span.duration().is_some()) && !is_set {
            say("in transit without a deadline");
        }
        let wants = match run.phase {
            Phase::Condition => Some(Directive::Condition),
            Phase::StartPre => Some(Directive::StartPre),
            Phase::StartPost if run.claim.is_some() => None,
            Phase::StartPost => Some(Directive::StartPost),
            Phase::Stop => Some(Directive::Stop),
            Phase::StopPost => Some(Directive::StopPost),
            Phase::Start
            | Phase::Running
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal
            | Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::FinalSigterm
            | Phase::FinalSigkill => None,
        };
        let fits = |is: Directive, wants| is == wants || (wants == Directive::Stop && run.is_restarted_by(is));
        if wants.is_some_and(|wants| run.control.is_none_or(|control| !fits(control.directive, wants))) {
            say("its command is not under way");
        }
        match run.phase {
            Phase::Running if !run.lives() && run.claim.is_none() => say("up without a process"),
            Phase::Start if !run.is_peopled() && run.claim.is_none() => say("nothing is being started"),
            Phase::Reload { by_notify: false } if run.control.is_none() => say("nothing is being reloaded"),
            Phase::StopPost | Phase::FinalSigterm | Phase::FinalSigkill if run.main.is_alive() => {
                say("past the signals with a living main process");
            }
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Running
            | Phase::Exited
            | Phase::ReloadSignal
            | Phase::Reload { .. }
            | Phase::Stop
            | Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => {}
        }
        if run.empty && run.is_peopled() && !matches!(run.main, Main::Ordered) {
            say("its tree is said to be empty while a process of it lives");
        }
    }
}
