//! The kernel ended a process for want of memory: what becomes of the rest (OOMPolicy=, systemd.service(5)).

use super::{Node, graph::Place, input::OomVictim, service::Phase};
use crate::{
    base::{Happening, Now, ProcessKey, RunId, RunResult},
    unit::spec::OomPolicy,
};

impl Node {
    /// The run goes on, stops, or is killed, as its unit says. Of a process that we know its exit says which.
    pub(super) fn oom_killed(&mut self, now: Now, id: &RunId, killed: u64, whose: OomVictim) {
        let Some(place) = self.current(id) else { return };
        let Some(run) = self.run_mut(place) else { return };
        run.oom_kills = killed;
        let policy = run.def.service.resources.oom_policy();
        let follows = whose == OomVictim::Other && policy != OomPolicy::Continue;
        if follows {
            run.spoil(RunResult::OomKill);
        }
        self.touch(place);
        self.notice(now, Happening::OomKilled { run: id.clone() });
        if !follows {
            return;
        }
        match self.phase_of(place) {
            Some(Phase::Running | Phase::Exited | Phase::Reload { .. } | Phase::ReloadSignal)
                if policy == OomPolicy::Stop =>
            {
                self.enter_stop(now, place);
            }
            Some(Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost | Phase::Stop)
                if policy == OomPolicy::Stop =>
            {
                self.enter_signals(now, place, Phase::StopSigterm { tree: false });
            }
            // It was asked to go, and still wants memory.
            Some(_) | None => self.kill_rest(now, place),
        }
    }

    /// A process that we know was ended so; what its end alone comes to has been done.
    pub(super) fn oom_killed_known(&mut self, now: Now, place: Place, key: &ProcessKey) {
        // That exit may have ended the run, and another may have begun.
        let Some(run) = self.run_mut(place).filter(|run| run.generation == key.run.generation) else { return };
        let up = run.phase.is_up();
        match run.def.service.resources.oom_policy() {
            OomPolicy::Continue => {}
            OomPolicy::Kill => {
                run.spoil(RunResult::OomKill);
                self.kill_rest(now, place);
            }
            // What ended was a command, or a main process that the service outlives.
            OomPolicy::Stop if up => {
                run.spoil(RunResult::OomKill);
                self.enter_stop(now, place);
            }
            OomPolicy::Stop => {}
        }
    }

    fn phase_of(&self, place: Place) -> Option<Phase> {
        self.run(place).map(|run| run.phase)
    }

    fn kill_rest(&mut self, now: Now, place: Place) {
        match self.phase_of(place) {
            Some(Phase::StopPost | Phase::FinalSigterm) => self.enter_final(now, place, Phase::FinalSigkill),
            Some(
                Phase::Running
                | Phase::Exited
                | Phase::Reload { .. }
                | Phase::ReloadSignal
                | Phase::Condition
                | Phase::StartPre
                | Phase::Start
                | Phase::StartPost
                | Phase::Stop
                | Phase::StopWatchdog { .. }
                | Phase::StopSigterm { .. },
            ) => self.enter_signals(now, place, Phase::StopSigkill { tree: false }),
            Some(Phase::StopSigkill { .. } | Phase::FinalSigkill) | None => {}
        }
    }
}
