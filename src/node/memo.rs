//! What a unit asks to be remembered: compact, versioned bytes that nobody else reads (at most [`MEMO_MAX`]).
//!
//! A version that is not known is no memo: the unit is then adopted from what lives. What is new is a part of its own at the
//! end, behind a tag and its length, and is written only when there is something to say: an older reader skips it. Any
//! other change needs a new version and keeps the reader of the old one.

use std::sync::Arc;

use super::{
    health::Probe,
    limit::StartWindow,
    service::{Begin, Control, Directive, End, Ending, Main, Monitor, Phase, Run, State, Unit, Wish},
    status::Verdict,
};
use crate::{
    base::{
        Actor, Consequence, ExitStatus, Generation, InvocationId, Mono, Now, Pid, RunResult, Signal, StartCause,
        TimeSpan, UnitName, Usage, Wall,
    },
    unit::UnitDef,
};

/// The keeper's limit for one memo, in bytes.
pub(super) const MEMO_MAX: usize = 4096;
const VERSION: u8 = 3;
/// Without parts at its end.
const VERSION_WITHOUT_PARTS: u8 = 2;
/// Verdicts that are kept; further probes begin without.
const VERDICTS_MAX: usize = 64;
/// The longest text that is kept (a unit's name fits), in bytes.
const TEXT_MAX: usize = 255;
/// Automatic callers whose name survives; another one is "automatic".
const CALLERS: [&str; 4] = ["automatic", "health probe", "supervisorctl check", "fleet"];

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
    out.flags([unit.wish == Wish::Up, unit.waits_back, unit.incident, false]);
    out.number(unit.ends.len() as u64);
    for end in &unit.ends {
        out.end(end);
    }
    match &unit.state {
        State::Inactive => out.byte(0),
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
        }
    }
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
    let [wish_up, waits_back, incident, _] = input.flags()?;
    unit.wish = if wish_up { Wish::Up } else { Wish::Down };
    (unit.waits_back, unit.incident) = (waits_back, incident);
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
        let (_tag, _part) = input.part()?;
    }
    input.0.is_empty().then_some((unit, deadlines))
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn flags(&mut self, flags: [bool; 4]) {
        self.byte(flags.iter().enumerate().map(|(bit, flag)| u8::from(*flag) << bit).sum());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn text(&mut self, text: &str) {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.number(end as u64);
        self.0.extend_from_slice(&text.as_bytes()[..end]);
    }

    fn now(&mut self, now: Now) {
        self.number(now.mono.0);
        self.0.extend_from_slice(&now.wall.0.to_le_bytes());
    }

    fn span(&mut self, span: TimeSpan) {
        self.option(span.micros(), Self::number);
    }

    fn result(&mut self, result: RunResult) {
        let tag = RESULTS.iter().position(|known| *known == result).unwrap_or_default();
        self.number(tag as u64);
    }

    fn status(&mut self, status: Option<ExitStatus>) {
        match status {
            None => self.byte(0),
            Some(ExitStatus::Exited(code)) => self.0.extend([1, code]),
            Some(ExitStatus::Signaled { signal, core }) => {
                self.0.extend([2 + u8::from(core), signal.raw().to_le_bytes()[0]]);
            }
            Some(ExitStatus::Unknown) => self.byte(4),
        }
    }

    fn usage(&mut self, usage: Option<Usage>) {
        self.option(usage, |out, usage| {
            out.number(u64::try_from(usage.user.as_micros()).unwrap_or(u64::MAX));
            out.number(u64::try_from(usage.system.as_micros()).unwrap_or(u64::MAX));
            out.number(usage.max_rss_kib);
        });
    }

    fn end(&mut self, end: &End) {
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
        });
    }

    fn actor(&mut self, actor: &Actor) {
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

    fn cause(&mut self, cause: &StartCause) {
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
        }
    }

    fn ending(&mut self, ending: &Ending) {
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

    fn begin(&mut self, begin: &Begin) {
        self.now(begin.at);
        self.cause(&begin.cause);
        self.number(u64::from(begin.restarts));
        self.option(begin.pid, Self::pid);
        self.option(begin.ready_at, Self::now);
    }

    fn run(&mut self, run: &Run) {
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
        }));
        self.option(run.monitor.as_deref(), |out, monitor| {
            out.text(monitor.unit.as_str());
            out.0.extend_from_slice(&monitor.invocation.0);
            out.result(monitor.result);
            out.status(monitor.status);
        });
    }

    fn phase(&mut self, phase: Phase) {
        let tag = PHASES.iter().position(|known| *known == phase).unwrap_or_default();
        self.number(tag as u64);
    }

    fn main(&mut self, main: Main) {
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

    fn control(&mut self, control: Control) {
        self.number(u64::from(control.number));
        let tag = DIRECTIVES.iter().position(|known| *known == control.directive).unwrap_or_default();
        self.number(tag as u64);
        self.number(u64::from(control.step));
        self.option(control.pid, Self::pid);
    }

    fn pid(&mut self, pid: Pid) {
        self.number(u64::from(pid.raw().unsigned_abs()));
    }
}

/// The order is the format: add at the end only.
const RESULTS: [RunResult; 11] = [
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
];
/// The order is the format: add at the end only.
const DIRECTIVES: [Directive; 6] = [
    Directive::StartPre,
    Directive::Start,
    Directive::StartPost,
    Directive::Reload,
    Directive::Stop,
    Directive::StopPost,
];
/// The order is the format: add at the end only.
const PHASES: [Phase; 17] = [
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
];

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The tag of the next part and what is in it.
    fn part(&mut self) -> Option<(u8, Reader<'a>)> {
        let tag = self.byte()?;
        let length = self.index()?;
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Reader(part)))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn index(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn flags(&mut self) -> Option<[bool; 4]> {
        let bits = self.byte()?;
        Some([0, 1, 2, 3].map(|bit| bits & (1 << bit) != 0))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a value that is not there")]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn text(&mut self) -> Option<String> {
        let length = self.index()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn unit(&mut self) -> Option<UnitName> {
        UnitName::new(&self.text()?).ok()
    }

    fn mono(&mut self) -> Option<Mono> {
        self.number().map(Mono)
    }

    fn now(&mut self) -> Option<Now> {
        Some(Now { mono: self.mono()?, wall: Wall(i64::from_le_bytes(self.bytes()?)) })
    }

    fn span(&mut self) -> Option<TimeSpan> {
        Some(self.option(Self::number)?.map_or(TimeSpan::INFINITY, TimeSpan::from_micros))
    }

    fn result(&mut self) -> Option<RunResult> {
        RESULTS.get(self.index()?).copied()
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a status that is not there")]
    fn status(&mut self) -> Option<Option<ExitStatus>> {
        Some(match self.byte()? {
            0 => None,
            1 => Some(ExitStatus::Exited(self.byte()?)),
            tag @ (2 | 3) => {
                Some(ExitStatus::Signaled { signal: Signal::new(i32::from(self.byte()?))?, core: tag == 3 })
            }
            4 => Some(ExitStatus::Unknown),
            _ => return None,
        })
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a usage that is not there")]
    fn usage(&mut self) -> Option<Option<Usage>> {
        self.option(|input| {
            let micros = |number| std::time::Duration::from_micros(number);
            let (user, system) = (micros(input.number()?), micros(input.number()?));
            Some(Usage { user, system, max_rss_kib: input.number()? })
        })
    }

    fn end(&mut self) -> Option<End> {
        Some(End {
            generation: Generation(self.number()?),
            invocation: InvocationId(self.bytes()?),
            begin: self.option(Self::begin)?,
            status: self.status()?,
            usage: self.usage()?,
            result: self.result()?,
            wanted: self.flag()?,
            consequence: match self.byte()? {
                0 => Consequence::Restart,
                1 => Consequence::Rest,
                2 => Consequence::Fail,
                3 => Consequence::StartLimit,
                _ => return None,
            },
        })
    }

    fn actor(&mut self) -> Option<Actor> {
        Some(match self.byte()? {
            0 => Actor::Daemon,
            1 => Actor::User(self.small()?),
            2 => Actor::Automatic(CALLERS.get(self.index()?)?),
            _ => return None,
        })
    }

    fn cause(&mut self) -> Option<StartCause> {
        Some(match self.byte()? {
            0 => StartCause::Boot,
            1 => StartCause::Manual(self.actor()?),
            2 => StartCause::Dependency(self.unit()?),
            3 => StartCause::AutoRestart,
            4 => StartCause::Unhealthy { probe: self.text()? },
            5 => StartCause::Triggered(self.unit()?),
            _ => return None,
        })
    }

    fn ending(&mut self) -> Option<Ending> {
        Some(match self.byte()? {
            0 => Ending::Stop(self.actor()?),
            1 => Ending::Restart(self.actor()?),
            2 => Ending::Shutdown(self.actor()?),
            3 => Ending::Conflict(self.unit()?),
            4 => Ending::Bound(self.unit()?),
            5 => Ending::Removed,
            6 => Ending::Unhealthy { probe: self.text()? },
            _ => return None,
        })
    }

    fn begin(&mut self) -> Option<Begin> {
        Some(Begin {
            at: self.now()?,
            cause: self.cause()?,
            restarts: self.small()?,
            pid: self.option(Self::pid)?,
            ready_at: self.option(Self::now)?,
        })
    }

    fn run(&mut self, def: &Arc<UnitDef>) -> Option<Run> {
        let generation = Generation(self.number()?);
        let invocation = InvocationId(self.bytes()?);
        let mut run = Run::new(def.clone(), generation, invocation, self.begin()?);
        run.phase = PHASES.get(self.index()?).copied()?;
        run.main = self.main()?;
        run.control = self.option(Self::control)?;
        run.controls = self.small()?;
        run.result = self.result()?;
        run.ending = self.option(Self::ending)?;
        [run.empty, run.empty_before, run.unkillable, run.transient] = self.flags()?;
        run.watchdog = self.option(Self::span)?;
        for _ in 0..self.number()? {
            let verdict = match self.byte()? {
                0 => Verdict::Unknown,
                1 => Verdict::Healthy,
                2 => Verdict::Unhealthy,
                _ => return None,
            };
            run.probes.push(Probe { verdict, ..Probe::default() });
        }
        run.monitor = self.option(Self::monitor)?.map(Box::new);
        Some(run)
    }

    fn monitor(&mut self) -> Option<Monitor> {
        Some(Monitor {
            unit: self.unit()?,
            invocation: InvocationId(self.bytes()?),
            result: self.result()?,
            status: self.status()?,
        })
    }

    fn main(&mut self) -> Option<Main> {
        Some(match self.byte()? {
            0 => Main::None,
            1 => Main::Ordered,
            2 => Main::Alive(self.pid()?),
            3 => Main::Ended { status: self.status()??, usage: self.usage()? },
            _ => return None,
        })
    }

    fn control(&mut self) -> Option<Control> {
        Some(Control {
            number: self.small()?,
            directive: DIRECTIVES.get(self.index()?).copied()?,
            step: u16::try_from(self.number()?).ok()?,
            pid: self.option(Self::pid)?,
        })
    }

    fn pid(&mut self) -> Option<Pid> {
        Pid::new(i32::try_from(self.number()?).ok()?)
    }
}
