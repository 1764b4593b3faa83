//! What a unit asks to be remembered: compact, versioned bytes that nobody else reads (at most [`MEMO_MAX`]).
//!
//! A version that is not known is no memo: the unit is then adopted from what lives. What is new is a part of its own at the
//! end, behind a tag and its length, and is written only when there is something to say: an older reader skips it. Any
//! other change needs a new version and keeps the reader of the old one.

mod reader;
mod writer;

use std::sync::Arc;

use self::{reader::Reader, writer::Writer};
use super::{
    limit::StartWindow,
    once,
    service::{Directive, Phase, State, Unit},
    wish::Wish,
};
use crate::{
    base::{Generation, Mono, Now, RunResult, UnitName},
    unit::UnitDef,
};

/// The keeper's limit for one memo, in bytes.
pub(super) const MEMO_MAX: usize = 4096;
const VERSION: u8 = 3;
/// Whether the unit listens, and how often traffic has started it.
const PART_LISTENING: u8 = 2;
/// Without parts at its end.
const VERSION_WITHOUT_PARTS: u8 = 2;
/// The unit's timer.
const PART_TIMER: u8 = 1;
/// The part that says which process is the main one, where it is not the one that we made, and when a reload was asked for.
const PART_MAIN: u8 = 3;
/// The part that says how many processes of the run the kernel has ended for want of memory.
const PART_OOM: u8 = 4;
/// What is known of an external service.
const PART_EXTERNAL: u8 = 5;
/// Restarts by probes, one that is held back, and whether someone works on the unit.
const PART_PROBES: u8 = 8;
/// When and why probes fell.
const PART_FALLEN: u8 = 9;
/// In which run the unit's incident began.
const PART_INCIDENT: u8 = 10;
/// Why a command could not be run, and why runs end and ended, for people.
const PART_REASONS: u8 = 11;
/// Results of runs that ended longer ago.
const PART_FADED: u8 = 12;
/// Reloads that bear a name.
const PART_RELOADS: u8 = 13;
/// Of so many probes that fell it is known; of further ones only the verdict.
const FALLEN_MAX: usize = 16;
/// Room for their reasons together, in bytes; of each as much as its share.
const REASONS_MAX: usize = 1024;
/// Room for why runs ended, in bytes: the newest first, and what does not fit is cut. What stands around them needs as much.
const WHY_MAX: usize = 768;
const WHY_FRAME: usize = 64;
/// Verdicts that are kept; further probes begin without.
const VERDICTS_MAX: usize = 64;
/// The longest text that is kept (a unit's name fits), in bytes.
const TEXT_MAX: usize = 255;
/// Automatic callers whose name survives; another one is "automatic". The order is the format: add at the end only.
const CALLERS: [&str; 6] = ["automatic", "health probe", "supervisorctl check", "fleet", "unknown", "SIGHUP"];

/// The deadlines of a run that a new manager goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Deadlines {
    pub(super) phase: Option<Mono>,
    pub(super) runtime: Option<Mono>,
}

pub(super) fn encode(unit: &Unit, phase: Option<Mono>, runtime: Option<Mono>) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(192));
    out.byte(VERSION);
    out.number(unit.generation.0);
    out.now(unit.since);
    out.number(u64::from(unit.restarts));
    out.option(unit.window.begin, |out, begin| out.number(begin.0));
    out.number(u64::from(unit.window.count));
    out.result(unit.result);
    out.status(unit.last_status);
    out.flags([unit.wish == Wish::Up, unit.waits_back, unit.incident.is_some(), unit.ends_daemon]);
    out.number(unit.ends.len() as u64);
    for end in &unit.ends {
        out.end(end);
    }
    match &unit.state {
        // A reader that does not know the part for listening takes it for down.
        State::Inactive | State::Listening => out.byte(0),
        State::Failed => out.byte(1),
        State::HoldOff { due, cause, counts } => {
            out.byte(2);
            out.option(*due, |out, due| out.number(due.0));
            out.cause(cause);
            out.byte(u8::from(*counts));
        }
        State::Live(run) => {
            out.byte(3);
            out.run(run);
            out.option(phase, |out, at| out.number(at.0));
            out.option(runtime, |out, at| out.number(at.0));
            out.main_part(run);
            out.oom_part(run);
            out.fallen_part(run);
        }
    }
    out.listening_part(unit);
    out.faded_part(unit);
    out.incident_part(unit);
    out.probes_part(unit);
    out.reloads_part(unit);
    if let Some(watch) = &unit.watch {
        out.part(PART_EXTERNAL, |out| out.watch(watch));
    }
    if let Some(timer) = &unit.timer {
        out.part(PART_TIMER, |out| out.timer(timer));
    }
    // The last: it takes what the others have left.
    out.reasons_part(unit);
    debug_assert!(out.0.len() <= MEMO_MAX, "a memo is bounded by its parts");
    out.0
}

/// The unit as it was, or `None` for bytes that are no memo of a known version.
pub(super) fn decode(bytes: &[u8], name: &UnitName, def: &Arc<UnitDef>) -> Option<(Unit, Deadlines)> {
    let mut input = Reader(bytes);
    let version = input.byte()?;
    if version != VERSION && version != VERSION_WITHOUT_PARTS {
        return None;
    }
    let mut unit = Unit::new(name.clone(), def.clone(), Now::default());
    unit.known = true;
    unit.generation = Generation(input.number()?);
    unit.since = input.now()?;
    unit.restarts = input.small()?;
    unit.window = StartWindow { begin: input.option(Reader::mono)?, count: input.small()? };
    unit.result = input.result()?;
    unit.last_status = input.status()?;
    let [wish_up, waits_back, incident, ends_daemon] = input.flags()?;
    unit.wish = if wish_up { Wish::Up } else { Wish::Down };
    (unit.waits_back, unit.ends_daemon) = (waits_back, ends_daemon);
    unit.incident = incident.then_some(Generation(0));
    for _ in 0..input.number()? {
        unit.keep_end(input.end()?);
    }
    let mut deadlines = Deadlines::default();
    unit.state = match input.byte()? {
        0 => State::Inactive,
        1 => State::Failed,
        2 => State::HoldOff { due: input.option(Reader::mono)?, cause: input.cause()?, counts: input.flag()? },
        3 => {
            let run = input.run(def)?;
            deadlines = Deadlines { phase: input.option(Reader::mono)?, runtime: input.option(Reader::mono)? };
            State::Live(Box::new(run))
        }
        _ => return None,
    };
    while version != VERSION_WITHOUT_PARTS && !input.0.is_empty() {
        let (tag, mut part) = input.part()?;
        match (tag, unit.run_mut()) {
            (PART_LISTENING, _) => part.listening_part(&mut unit)?,
            (PART_FADED, _) => part.faded_part(&mut unit)?,
            (PART_INCIDENT, _) => unit.incident = Some(Generation(part.number()?)),
            (PART_REASONS, _) => part.reasons_part(&mut unit)?,
            (PART_PROBES, _) => part.probes_part(&mut unit)?,
            (PART_RELOADS, _) => part.reloads_part(&mut unit)?,
            (PART_TIMER, _) => unit.timer = Some(Box::new(part.timer()?)),
            (PART_EXTERNAL, _) => unit.watch = Some(Box::new(part.watch()?)),
            (PART_MAIN, Some(run)) => part.main_part(run)?,
            (PART_OOM, Some(run)) => part.oom_part(run)?,
            (PART_FALLEN, Some(run)) => part.fallen_part(run)?,
            _ => {}
        }
    }
    input.0.is_empty().then_some((unit, deadlines))
}

/// The order is the format: add at the end only.
const RESULTS: [RunResult; 13] = [
    RunResult::Success,
    RunResult::ExitCode,
    RunResult::Signal,
    RunResult::CoreDump,
    RunResult::Timeout,
    RunResult::Watchdog,
    RunResult::StartLimitHit,
    RunResult::OomKill,
    RunResult::Resources,
    RunResult::Protocol,
    RunResult::Unknown,
    RunResult::ExecCondition,
    RunResult::TriggerLimitHit,
];
/// The order is the format: add at the end only. What waits was not begun, and is not written.
const RELOAD_STAGES: [once::Stage; 4] =
    [once::Stage::UnderWay, once::Stage::Done, once::Stage::Failed, once::Stage::Superseded];
/// The order is the format: add at the end only.
const DIRECTIVES: [Directive; 8] = [
    Directive::StartPre,
    Directive::Start,
    Directive::StartPost,
    Directive::Reload,
    Directive::Stop,
    Directive::StopPost,
    Directive::Condition,
    Directive::Restart,
];
/// The order is the format: add at the end only.
const PHASES: [Phase; 19] = [
    Phase::StartPre,
    Phase::Start,
    Phase::StartPost,
    Phase::Running,
    Phase::Exited,
    Phase::Reload { by_notify: false },
    Phase::Reload { by_notify: true },
    Phase::Stop,
    Phase::StopWatchdog { tree: false },
    Phase::StopWatchdog { tree: true },
    Phase::StopSigterm { tree: false },
    Phase::StopSigterm { tree: true },
    Phase::StopSigkill { tree: false },
    Phase::StopSigkill { tree: true },
    Phase::StopPost,
    Phase::FinalSigterm,
    Phase::FinalSigkill,
    Phase::Condition,
    Phase::ReloadSignal,
];
