//! Units as people are shown them.

use super::{
    Node, UnitStatus,
    graph::Place,
    probe::Probe,
    service::{Phase, Run, State, Unit},
    status::{NotKnown, ProbeStatus, Sub, TheirLimit, Verdict},
    wish::{JobKind, Wish},
};
use crate::{
    base::{Now, Pid, RunResult, StartCause, UnitName},
    unit::{UnitDef, spec::Listen},
};

impl Node {
    /// The main process of a unit, if one lives.
    pub fn main_pid(&self, unit: &UnitName) -> Option<Pid> {
        self.run(*self.names.get(unit)?)?.main.pid()
    }

    /// When the unit's present run began.
    pub fn begun(&self, unit: &UnitName) -> Option<Now> {
        self.run(*self.names.get(unit)?).map(|run| run.begin.at)
    }

    pub(super) fn describe(&self, place: Place) -> Option<UnitStatus> {
        let unit = self.unit(place)?;
        let run = unit.run();
        let sub = unit.sub();
        let needed_by = self.graph.required_by.of(place).iter();
        let restart_due = match &unit.state {
            State::HoldOff { due, .. } => *due,
            State::Inactive | State::Failed | State::Listening | State::Live(_) => None,
        };
        Some(UnitStatus {
            name: unit.name.clone(),
            description: unit.def.description.to_string(),
            active: sub.active(),
            sub,
            since: unit.since,
            ready_since: run.and_then(|run| run.begin.ready_at),
            main_pid: run.and_then(|run| run.main.pid()),
            generation: run.map_or(unit.generation, |run| run.generation),
            invocation: run.map(|run| run.invocation),
            restarts: unit.restarts,
            starts_in_window: unit.window.count,
            result: run.map_or(unit.result, |run| run.result),
            last_status: unit.last_status,
            last_result: unit.last_result(),
            last_why: last_why(unit),
            waits_for: self.waits_for(place),
            spawn_failure: unit.spawn_failure.as_deref().map(str::to_owned),
            restart_due,
            health: health(run.map_or(&unit.def, |run| &run.def), run),
            errno: run.and_then(|run| run.errno),
            exit_status: run.and_then(|run| run.exit_status),
            status_text: run
                .and_then(|run| run.status_text.as_deref())
                .or_else(|| unit.watch.as_ref()?.said())
                .map(str::to_owned),
            enabled: unit.is_enabled(),
            wanted: unit.wish == Wish::Up || (unit.accepts() && matches!(unit.state, State::Listening)),
            accepted: self.accepted(place, unit),
            their_limit: their_limit(unit),
            not_known: not_known(unit),
            needs_restart: run.is_some_and(|run| needs_restart(&run.def, &unit.def)),
            maintained: unit.maintained,
            held_back: unit.held_back,
            unkillable: run.is_some_and(|run| run.unkillable),
            needed_by: needed_by.filter_map(|other| Some(self.unit(*other)?.name.clone())).collect(),
            job: unit.job.as_ref().map(|job| match &job.kind {
                JobKind::Start { .. } => "start",
                JobKind::Stop(_) => "stop",
                JobKind::Restart(_) => "restart",
            }),
            timer: unit.timer_status(),
        })
    }
}

impl Node {
    /// Whom the start of a unit waits for, for people.
    fn waits_for(&self, place: Place) -> Option<String> {
        let job = self.unit(place)?.job.as_ref().filter(|job| !job.begun && !job.stops())?;
        let blocker = job.blocked_by?;
        let other = self.unit(blocker)?;
        if !self.gates(place, blocker) {
            return Some(other.name.to_string());
        }
        let run = other.run()?;
        let (spec, probe) = run.def.health.iter().zip(&run.probes).find(|(_, probe)| !probe.verdict.is_up())?;
        let why = probe.reason().map_or_else(String::new, |why| format!(" ({why})"));
        Some(format!("{}: probe {}{why}", other.name, spec.name))
    }
}

/// Of a run that an older release saw end, only what the next one's cause tells.
fn last_why(unit: &Unit) -> Option<String> {
    let by_probe = |run: &Run| match &run.begin.cause {
        StartCause::Unhealthy { probe } => Some(format!("probe {probe} was not well")),
        StartCause::Boot
        | StartCause::Manual(_)
        | StartCause::Reload(_)
        | StartCause::Dependency(_)
        | StartCause::AutoRestart
        | StartCause::Triggered(_)
        | StartCause::Traffic
        | StartCause::Timer(_)
        | StartCause::Connection(_)
        | StartCause::ExternalStart
        | StartCause::ExternalRestart => None,
    };
    unit.last_why().map(str::to_owned).or_else(|| by_probe(unit.run()?))
}

impl Unit {
    pub(super) fn sub(&self) -> Sub {
        match &self.state {
            State::Inactive => Sub::Dead,
            State::Failed => Sub::Failed,
            State::Listening => Sub::Listening,
            State::HoldOff { .. } => Sub::AutoRestart,
            State::Live(run) => match run.phase {
                Phase::Condition => Sub::Condition,
                Phase::StartPre => Sub::StartPre,
                Phase::Start => Sub::Start,
                Phase::StartPost => Sub::StartPost,
                Phase::Running => Sub::Running,
                Phase::Exited if self.name.is_target() => Sub::Active,
                Phase::Exited if run.def.external.is_some() => Sub::Running,
                Phase::Exited => Sub::Exited,
                Phase::Reload { by_notify: true } if run.control.is_none() => Sub::ReloadNotify,
                Phase::Reload { .. } => Sub::Reload,
                Phase::ReloadSignal => Sub::ReloadSignal,
                Phase::Stop => Sub::Stop,
                Phase::StopWatchdog { .. } => Sub::StopWatchdog,
                Phase::StopSigterm { .. } => Sub::StopSigterm,
                Phase::StopSigkill { .. } => Sub::StopSigkill,
                Phase::StopPost => Sub::StopPost,
                Phase::FinalSigterm => Sub::FinalSigterm,
                Phase::FinalSigkill => Sub::FinalSigkill,
            },
        }
    }
}

/// Where its manager starts it again by itself that one's limit counts, unless ours was hit by what is started here.
fn their_limit(unit: &Unit) -> Option<TheirLimit> {
    let watch = unit.watch.as_ref()?;
    let is_hit = matches!(unit.state, State::Failed) && unit.result == RunResult::StartLimitHit;
    let limit = if is_hit { watch.gave_up } else { watch.limit.filter(|limit| limit.decides) };
    limit.map(|limit| TheirLimit { burst: limit.burst, interval: limit.interval, is_hit })
}

/// What speaks of an external service only once someone has looked, and for as long as that can be told.
fn not_known(unit: &Unit) -> Option<NotKnown> {
    let watch = unit.watch.as_ref().filter(|_| unit.job.is_none())?;
    let unseen = || watch.is_unseen().then_some(NotKnown::NotYet);
    match &unit.state {
        State::Inactive => watch.blindness().or_else(unseen),
        State::HoldOff { due: None, .. } => watch.blindness(),
        State::Live(run) if run.phase.is_up() => watch.blindness(),
        State::Live(_) | State::HoldOff { due: Some(_), .. } | State::Failed | State::Listening => None,
    }
}

/// What a running service cannot take in while it runs.
fn needs_restart(now: &std::sync::Arc<UnitDef>, new: &std::sync::Arc<UnitDef>) -> bool {
    !std::sync::Arc::ptr_eq(now, new)
        && (now.service != new.service || inherits(now) != inherits(new) || now.health != new.health)
}

/// What a service has of its sockets; all else of them is set up anew while it runs.
fn inherits(def: &UnitDef) -> Vec<(&Listen, &str)> {
    def.sockets.list.iter().map(|socket| (&socket.listen, &*socket.name)).collect()
}

fn health(def: &UnitDef, run: Option<&Run>) -> Vec<ProbeStatus> {
    let is_up = run.is_some_and(|run| run.phase.is_up());
    let probes = run.filter(|_| is_up).map(|run| run.probes.as_slice()).unwrap_or_default();
    let known = |index: usize| probes.get(index);
    def.health
        .iter()
        .enumerate()
        .map(|(index, spec)| ProbeStatus {
            name: spec.name.to_string(),
            verdict: known(index).map_or(Verdict::Unknown, |probe| probe.verdict),
            last_failure: known(index).and_then(Probe::reason).map(str::to_owned),
            since: known(index).and_then(|probe| probe.since),
            took: known(index).and_then(|probe| probe.took),
        })
        .collect()
}
