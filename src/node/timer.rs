//! Timers: when a unit is started by time (systemd.timer(5)).
//!
//! A timer is *armed* while the daemon is up and its unit is enabled. Armed, it *plans* its next moments: one by the
//! monotonic clock (on_…_sec), one by the calendar. When one comes it *elapses*: it notes that, starts its unit if that is
//! down, and plans anew. What it remembers is when it was armed, when it last elapsed, and what it has planned.
//!
//! No elapse is lost and none happens twice, whenever the manager dies: the memo that says that it elapsed goes out with
//! the order that follows from it. Where its unit is another one, that unit's runs say which timer started them and when;
//! and a start that has to wait for others is noted as owed until its run begins.
//!
//! The calendar's moments follow the last elapse, so a clock that is set back repeats none. Only one that is set back by
//! [`SET_BACK_MAX`] or more is taken to have been wrong before. cron(8) draws the same line.

use std::sync::Arc;

use super::{
    Effect, Node,
    graph::Place,
    input::{Host, Verb},
    job::Pull,
    service::{Begin, State, Unit},
    status::TimerStatus,
    timers::Slot,
    wish::JobKind,
};
use crate::{
    base::{Mono, Now, Rng, StartCause, TimeSpan, UnitName, Wall},
    unit::{calendar::Zones, spec::TimerSpec},
};

/// By how much the clock may be set back and its earlier moments still count, in microseconds.
const SET_BACK_MAX: i64 = 3 * 3600 * 1_000_000;

/// A timer that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timer {
    /// When it was armed.
    pub(super) since: Now,
    /// When the daemon had come up then.
    pub(super) startup: Mono,
    /// When it last elapsed; in an earlier boot the monotonic value is 0.
    pub(super) last: Option<Now>,
    /// Its next moment by the monotonic clock.
    pub(super) mono: Option<Planned<Mono>>,
    /// Its next moment by the calendar.
    pub(super) wall: Option<Planned<Wall>>,
    /// It has elapsed, and the start that follows has not begun. Brought up to date for each memo.
    pub(super) owes: bool,
}

/// A moment, and the same with its random delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned<T> {
    pub(super) moment: T,
    pub(super) due: T,
}

/// What a timer needs to know of the unit that it starts, since the daemon came up.
#[derive(Debug, Clone, Copy, Default)]
struct Target {
    activated: Option<Mono>,
    deactivated: Option<Mono>,
    is_down: bool,
}

impl Node {
    /// Arms or disarms the timer as its unit and the daemon are now, and plans it anew.
    pub(super) fn settle_timer(&mut self, now: Now, place: Place) {
        let active = self.booted && self.shutdown.is_none();
        let startup = *self.startup.get_or_insert(now.mono);
        let Some(unit) = self.units.get_mut(place.index()).and_then(Option::as_mut) else { return };
        let spec = unit.def.timer.as_ref().filter(|_| active && unit.is_enabled() && !unit.gone);
        let Some(spec) = spec else { return self.disarm(place) };
        if unit.timer.is_none() {
            let last = self.elapsed.remove(&unit.name).filter(|_| spec.persistent);
            let stamp = spec.persistent.then(|| last.map_or(now.wall, |last| last.wall));
            unit.timer = Some(Box::new(Timer { since: now, startup, last, mono: None, wall: None, owes: false }));
            let unit = unit.name.clone();
            self.notices.extend(stamp.map(|at| Effect::Stamp { unit, at }));
        }
        self.plan_timer(now, place);
    }

    fn disarm(&mut self, place: Place) {
        self.silence_timer(place);
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(timer) = unit.timer.take() else { return };
        let (name, is_kept) = (unit.name.clone(), unit.def.timer.as_ref().is_some_and(|spec| spec.persistent));
        self.elapsed.extend(timer.last.filter(|_| is_kept).map(|last| (name, last)));
        self.touch(place);
    }

    /// It elapses no more for now.
    pub(super) fn silence_timer(&mut self, place: Place) {
        self.timers.clear(place, Slot::Elapse);
        self.timers.clear(place, Slot::Calendar);
    }

    /// The unit came up or went down: timers that count from there plan anew.
    pub(super) fn plan_timers_of(&mut self, now: Now, target: Place) {
        if self.graph.timed_by.of(target).is_empty() {
            return;
        }
        let graph = Arc::clone(&self.graph);
        for place in graph.timed_by.of(target) {
            self.plan_timer(now, *place);
        }
    }

    /// Looks for the timer's next moments. One that is the same as before keeps its random delay.
    fn plan_timer(&mut self, now: Now, place: Place) {
        if self.shutdown.is_some() || !self.booted {
            return;
        }
        let target = self.target_of(place).map(|target| self.target(target)).unwrap_or_default();
        let Self { units, rng, host, .. } = self;
        let Some(unit) = units.get_mut(place.index()).and_then(Option::as_mut) else { return };
        let (Some(spec), Some(timer)) = (&unit.def.timer, &mut unit.timer) else { return };
        timer.believe(now);
        let mut delay = || random_delay(spec, &unit.name, host.identity, rng);
        let mono = timer.next_mono(spec, host.boot, target);
        let wall = timer.next_wall(spec, now, &host.zones);
        let kept_mono = timer.mono.filter(|planned| Some(planned.moment) == mono);
        let mono = kept_mono.or_else(|| {
            let moment = mono?;
            Some(Planned { moment, due: moment.after(delay())? })
        });
        let kept_wall = timer.wall.filter(|planned| Some(planned.moment) == wall);
        let wall = kept_wall.or_else(|| {
            let moment = wall?;
            Some(Planned { moment, due: later(moment, delay()) })
        });
        let changed = (timer.mono, timer.wall) != (mono, wall);
        (timer.mono, timer.wall) = (mono, wall);
        self.timers.set(place, Slot::Elapse, mono.map(|planned| planned.due));
        self.timers.set(place, Slot::Calendar, wall.and_then(|planned| expected(now, planned.due)));
        if changed {
            self.touch(place);
        }
    }

    /// The monotonic clock says that the calendar's moment has come. The wall may not agree: its clock goes at a pace of
    /// its own.
    pub(super) fn calendar_due(&mut self, now: Now, place: Place) {
        let timer = self.unit(place).and_then(|unit| unit.timer.as_ref());
        let Some(due) = timer.and_then(|timer| timer.wall).map(|planned| planned.due) else { return };
        if now.wall < due {
            self.timers.set(place, Slot::Calendar, expected(now, due));
        } else {
            self.elapse(now, place);
        }
    }

    /// The timer elapses: its unit is started, unless it is up or something is done with it already.
    pub(super) fn elapse(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let (Some(spec), Some(timer)) = (&unit.def.timer, &mut unit.timer) else { return };
        timer.last = Some(now);
        (timer.mono, timer.wall) = (None, None);
        let (name, is_persistent) = (unit.name.clone(), spec.persistent);
        if is_persistent {
            self.notices.push_back(Effect::Stamp { unit: name.clone(), at: now.wall });
        }
        self.touch(place);
        if let Some(target) = self.target_of(place).filter(|target| self.is_idle(*target)) {
            self.start_all(now, &[(target, None)], &Pull::new(StartCause::Timer(name)));
        }
        self.plan_timer(now, place);
    }

    /// Down, and nobody is about to change that.
    fn is_idle(&self, place: Place) -> bool {
        self.unit(place).is_some_and(|unit| unit.job.is_none() && unit.is_down())
    }

    /// The clock on the wall was set.
    pub(super) fn clock_set(&mut self, now: Now) {
        self.each_timer(now, |spec| spec.on_clock_change);
    }

    /// Other rules for time zones.
    pub(super) fn take_zones(&mut self, now: Now, zones: Arc<Zones>) {
        let moved = zones.local != self.host.zones.local;
        self.host.zones = zones;
        self.each_timer(now, |spec| moved && spec.on_timezone_change);
    }

    /// Lets those elapse that want it now; the others plan anew.
    fn each_timer(&mut self, now: Now, elapses: impl Fn(&TimerSpec) -> bool) {
        let places: Vec<_> = self.names.values().copied().collect();
        for place in places {
            let Some(unit) = self.unit(place).filter(|unit| unit.timer.is_some()) else { continue };
            let is_due = unit.def.timer.as_deref().is_some_and(&elapses);
            let may = self.booted && self.shutdown.is_none();
            if is_due && may { self.elapse(now, place) } else { self.plan_timer(now, place) }
        }
    }

    /// What the unit's timer starts.
    fn target_of(&self, place: Place) -> Option<Place> {
        self.names.get(self.unit(place)?.def.timer_target()?).copied()
    }

    fn target(&self, place: Place) -> Target {
        let Some(unit) = self.unit(place) else { return Target::default() };
        let last = unit.ends.last().and_then(|end| end.begin.as_ref());
        let begin = unit.run().map_or(last, |run| Some(&run.begin));
        let is_down = unit.is_down();
        let deactivated = (is_down && !unit.ends.is_empty()).then_some(unit.since.mono);
        Target { activated: begin.map(|begin| begin.at.mono), deactivated, is_down }
    }

    /// Who is meant by an order: a file with nothing but the timer of another unit has nothing to be started.
    pub(super) fn meant_by(&self, place: Place, verb: Verb) -> Place {
        let Some(unit) = self.unit(place).filter(|unit| unit.def.service.exec_start.is_empty()) else { return place };
        match verb {
            Verb::Start | Verb::Restart if unit.def.timer.is_some() => self.target_of(place).unwrap_or(place),
            Verb::Start
            | Verb::Restart
            | Verb::Stop
            | Verb::Reload
            | Verb::Signal(_)
            | Verb::Reset
            | Verb::Clean
            | Verb::Enable
            | Verb::Disable => place,
        }
    }

    /// Whether a start by this unit's timer waits for its turn.
    pub(super) fn timer_owes(&self, place: Place) -> bool {
        let Some(unit) = self.unit(place).filter(|unit| unit.timer.is_some()) else { return false };
        let target = self.target_of(place).and_then(|target| self.unit(target));
        let job = target.and_then(|target| target.job.as_ref()).filter(|job| !job.begun);
        matches!(job.map(|job| &job.kind), Some(JobKind::Start { cause: StartCause::Timer(name), .. }) if *name == unit.name)
    }

    /// A start by a timer waits no longer, one way or the other: that timer's memo has to say so.
    pub(super) fn debt_settled(&mut self, cause: &StartCause) {
        if let StartCause::Timer(name) = cause
            && let Some(place) = self.names.get(name).copied()
        {
            self.touch(place);
        }
    }

    /// What memos and the store tell a new manager of timers: which elapsed when, and whose starts are owed.
    pub(super) fn take_over_timers(&mut self, host: Host, stamps: impl Iterator<Item = (UnitName, Wall)>) {
        self.host = host;
        let stamped = |(name, wall)| (name, Now { mono: Mono(0), wall });
        self.elapsed = stamps.map(stamped).collect();
        let begins = self.units.iter().flatten().flat_map(|unit| {
            let ended = unit.ends.iter().filter_map(|end| end.begin.as_ref());
            ended.chain(unit.run().map(|run| &run.begin))
        });
        let started: Vec<(UnitName, Now)> = begins.filter_map(Begin::by_timer).collect();
        for (name, at) in started {
            let Some(unit) = self.names.get(&name).copied().and_then(|place| self.unit_mut(place)) else { continue };
            let Some(timer) = &mut unit.timer else { continue };
            if timer.last.is_none_or(|last| last.mono < at.mono) {
                timer.last = Some(at);
            }
            timer.owes &= timer.last.is_some_and(|last| at.mono < last.mono);
        }
        let armed: Vec<Mono> =
            self.units.iter().flatten().filter_map(|unit| Some(unit.timer.as_ref()?.startup)).collect();
        self.startup = armed.into_iter().min();
    }

    /// The timer that owes the unit a start.
    pub(super) fn creditor(&self, target: Place) -> Option<StartCause> {
        let owes =
            |place: &&Place| self.unit(**place).and_then(|unit| unit.timer.as_ref()).is_some_and(|timer| timer.owes);
        let timer = self.graph.timed_by.of(target).iter().find(owes)?;
        self.unit(*timer).map(|unit| StartCause::Timer(unit.name.clone()))
    }
}

impl Unit {
    /// No run, and none that comes by itself.
    const fn is_down(&self) -> bool {
        matches!(self.state, State::Inactive | State::Failed | State::Listening)
    }

    pub(super) fn timer_status(&self) -> Option<TimerStatus> {
        let (spec, timer) = (self.def.timer.as_ref()?, self.timer.as_ref()?);
        let (next_mono, next_wall) = (timer.mono.map(|planned| planned.due), timer.wall.map(|planned| planned.due));
        let is_over = next_mono.is_none() && next_wall.is_none() && !spec.on_clock_change && !spec.on_timezone_change;
        let starts = self.def.timer_target()?.clone();
        (spec.remain_after_elapse || !is_over).then(|| TimerStatus {
            starts,
            next_mono,
            next_wall,
            last: timer.last.map(|last| last.wall),
        })
    }
}

impl Begin {
    /// The timer that started the run, and when.
    fn by_timer(&self) -> Option<(UnitName, Now)> {
        match &self.cause {
            StartCause::Timer(name) => Some((name.clone(), self.at)),
            StartCause::Boot
            | StartCause::Manual(_)
            | StartCause::Reload(_)
            | StartCause::Dependency(_)
            | StartCause::AutoRestart
            | StartCause::Unhealthy { .. }
            | StartCause::Triggered(_)
            | StartCause::Traffic
            | StartCause::Connection(_)
            | StartCause::ExternalStart
            | StartCause::ExternalRestart => None,
        }
    }
}

impl Timer {
    /// Moments that lie too far ahead of the clock were read from one that went wrong.
    fn believe(&mut self, now: Now) {
        let sane = |at: Wall| if at.0 > now.wall.0.saturating_add(SET_BACK_MAX) { now.wall } else { at };
        self.since.wall = sane(self.since.wall);
        if let Some(last) = &mut self.last {
            last.wall = sane(last.wall);
        }
    }

    /// What counts from a moment that does not come again is over once the timer has elapsed since. What counts from the
    /// unit counts from the last elapse too, so that a start that came to nothing is tried again.
    fn next_mono(&self, spec: &TimerSpec, boot: Option<Mono>, target: Target) -> Option<Mono> {
        let last = self.last.map(|last| last.mono).filter(|last| last.0 > 0);
        let once = [
            (self.since.mono, &spec.on_active),
            (boot.unwrap_or(self.startup), &spec.on_boot),
            (self.startup, &spec.on_startup),
        ];
        let once = once.into_iter().flat_map(|(base, spans)| spans.iter().filter_map(move |span| base.after(*span)));
        let once = once.filter(|moment| last.is_none_or(|last| *moment > last));
        let active = (target.activated.max(last), &spec.on_unit_active);
        let inactive = (target.deactivated.max(last).filter(|_| target.is_down), &spec.on_unit_inactive);
        let again = [active, inactive].into_iter().filter_map(|(base, spans)| Some((base?, spans)));
        let again = again.flat_map(|(base, spans)| spans.iter().filter_map(move |span| base.after(*span)));
        once.chain(again).min()
    }

    /// The calendar's first moment after the last elapse, or after the timer was armed. One that was missed comes now, or
    /// when the timer was armed: the random delay counts from there.
    fn next_wall(&self, spec: &TimerSpec, now: Now, zones: &Zones) -> Option<Wall> {
        let base = self.last.map_or(self.since.wall, |last| last.wall);
        Some(spec.next(base, zones)?.max(self.since.wall.min(now.wall)))
    }
}

/// Below RandomizedDelaySec=, or exactly it.
fn random_delay(spec: &TimerSpec, name: &UnitName, identity: u64, rng: &mut Rng) -> TimeSpan {
    let Some(most) = spec.randomized_delay.micros().filter(|most| *most > 0) else { return TimeSpan::ZERO };
    let chance = if spec.fixed_random_delay { fixed_chance(name, identity) } else { rng.next_u64() };
    TimeSpan::from_micros(chance % most.saturating_add(1))
}

/// The same for this unit on this machine for ever: FNV-1a over the name, stirred.
fn fixed_chance(name: &UnitName, identity: u64) -> u64 {
    let hash = name.as_str().bytes().fold(identity ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Rng::new(hash).next_u64()
}

fn later(at: Wall, span: TimeSpan) -> Wall {
    let micros = span.micros().and_then(|micros| i64::try_from(micros).ok()).unwrap_or(i64::MAX);
    Wall(at.0.saturating_add(micros))
}

/// When the wall will show `due` if nobody sets its clock.
fn expected(now: Now, due: Wall) -> Option<Mono> {
    let ahead = u64::try_from(due.0.saturating_sub(now.wall.0)).unwrap_or(0);
    now.mono.after(TimeSpan::from_micros(ahead))
}
