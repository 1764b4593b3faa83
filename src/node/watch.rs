//! An external service: what whoever keeps it says of it, and what follows.
//!
//! Its run here has no main process. It is up once the start command of that manager has ended well, and then as long as the
//! watch says so. The watch goes on while the unit is down, as others may start it: it is shown as it is. An answer that was
//! asked for before the unit changed says nothing; so does "nobody could be asked".

use super::{
    Effect, Node,
    effect::HostOrder,
    graph::Place,
    input::{Allowed, Life, LifeEnd, Past, Sight},
    service::{Directive, Main, Monitor, Phase, Run, State},
    status::NotKnown,
    timers::Slot,
    wish::{Ending, Wish},
};
use crate::{
    base::{Actor, Consequence, Happening, Now, RunId, RunResult, StartCause, TimeSpan, UnitName, Wall},
    unit::spec::ExternalManager,
};

/// First looks are spread over at most this long, as first probes are.
const FIRST_PHASE_MAX: TimeSpan = TimeSpan::from_secs(2);
/// So many looks in a row that cannot tell are enough to say so, as of the answers of a probe.
const BLIND_AFTER: u32 = 3;
/// What is said of one that cannot be asked begins so.
const NOT_TOLD: &str = "unknown: ";
/// Restarts between two looks that become runs of their own; a manager that counts more is believed no further.
pub(super) const MISSED_MAX: u32 = 16;

/// How a run ended that nobody saw.
pub(super) const UNSEEN: LifeEnd = LifeEnd { result: RunResult::Unknown, status: None };

/// What is known of an external service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    /// The run that was seen last of those that the present one here stands for; while it is down, of the last one.
    pub(super) life: Option<Life>,
    /// How a run ended whose manager had not decided yet what follows.
    pub(super) end: Option<LifeEnd>,
    /// It was down since someone stopped it here: what is seen up now was started since.
    pub(super) seen_down: bool,
    /// When it was stopped here before the daemon began: how that run ended is no news.
    stopped_at: Option<Wall>,
    /// Its run is to end, and it may be up once the command that is signalled is gone.
    pub(super) owes_stop: bool,
    /// The start limit of its manager, as that said last, and the one by which that has given it up since its last run began.
    pub(super) limit: Option<Allowed>,
    pub(super) gave_up: Option<Allowed>,
    /// Whether anyone has said how it is: its manager, or the end of a run here.
    looked: bool,
    /// So many looks in a row could not tell.
    blind: u32,
    /// The number of the last question, and of the one whose answer is awaited.
    number: u32,
    awaited: Option<u32>,
    said: Option<Box<str>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            life: None,
            end: None,
            seen_down: true,
            stopped_at: None,
            owes_stop: false,
            limit: None,
            gave_up: None,
            looked: false,
            blind: 0,
            number: 0,
            awaited: None,
            said: None,
        }
    }
}

impl Watch {
    /// One that is remembered: whatever was asked, nobody will answer.
    pub(super) fn known(life: Option<Life>, end: Option<LifeEnd>, seen_down: bool, owes_stop: bool) -> Self {
        Self { life, end, seen_down, owes_stop, looked: true, ..Self::default() }
    }

    /// One whose run was stopped here, before the daemon began.
    pub(super) fn stopped(at: Wall) -> Self {
        Self { stopped_at: Some(at), ..Self::default() }
    }

    /// Whether it is another run than the one that was stopped here.
    fn is_another(&self, life: &Life) -> bool {
        self.life.as_ref().is_some_and(|stopped| stopped.id != life.id)
    }

    /// Whether that run ended as it was stopped here, before the daemon began.
    fn ended_as_asked(&self, past: &Past) -> bool {
        past.at.zip(self.stopped_at).is_some_and(|(at, stopped)| at <= stopped)
    }

    /// How many of its runs nobody has seen, by the restarts that its manager counts; one that counts more is believed no
    /// further.
    pub(super) fn unseen(&self, life: Option<&Life>) -> u32 {
        let before = self.life.as_ref().and_then(|life| life.restarts);
        let counted = life.and_then(|life| life.restarts).zip(before);
        counted.map_or(0, |(now, before)| now.saturating_sub(before).min(MISSED_MAX))
    }

    /// Whether its manager has restarted it since it was seen last. How often it did is kept while it is down.
    fn was_restarted(&self, past: &Past) -> bool {
        let before = self.life.as_ref().and_then(|life| life.restarts).unwrap_or(0);
        past.life.as_ref().and_then(|life| life.restarts).is_some_and(|restarts| restarts > before)
    }

    /// What was said last, for people.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// Why nothing is known of it by now, though it was looked at.
    pub(super) fn blindness(&self) -> Option<NotKnown> {
        let why = self.said().map_or("its manager cannot be asked", |said| said.strip_prefix(NOT_TOLD).unwrap_or(said));
        (self.blind >= BLIND_AFTER).then(|| NotKnown::CannotTell(format!("it cannot be told how it is: {why}")))
    }

    /// Whether nobody has said yet how it is.
    pub(super) const fn is_unseen(&self) -> bool {
        !self.looked
    }
}

/// What happened to the run of an external service without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// It is down.
    Gone,
    /// It had failed, and whoever keeps it has started it again.
    Failed,
    /// Someone restarted it.
    Restarted,
    /// It is down, and whoever keeps it will start it again.
    Waits,
    /// It is down, and whoever keeps it has started it as often as it may.
    GaveUp(Allowed),
}

impl Node {
    /// Begins to watch an external service, or ends that where the unit is none any more.
    pub(super) fn settle_watch(&mut self, now: Now, place: Place) {
        let spread = self.rng_below_if_new(place);
        let Some(unit) = self.unit_mut(place) else { return };
        let def = unit.run().map_or(&unit.def, |run| &run.def);
        let is_external = def.external.is_some() || unit.def.external.is_some();
        if !is_external || unit.gone && unit.run().is_none() {
            if unit.watch.take().is_some() {
                self.timers.clear(place, Slot::Watch);
            }
            return;
        }
        unit.watch.get_or_insert_default();
        if self.timers.get(place, Slot::Watch).is_none() {
            self.timers.set(place, Slot::Watch, now.mono.after(spread));
        }
    }

    /// By chance, so that many are not asked in one instant.
    fn rng_below_if_new(&mut self, place: Place) -> TimeSpan {
        let interval = self.poll_interval(place).filter(|_| self.timers.get(place, Slot::Watch).is_none());
        let micros = interval.and_then(|interval| interval.min(FIRST_PHASE_MAX).micros());
        micros.map_or(TimeSpan::ZERO, |micros| TimeSpan::from_micros(self.rng.below(micros)))
    }

    fn poll_interval(&self, place: Place) -> Option<TimeSpan> {
        let unit = self.unit(place)?;
        let running = unit.run().and_then(|run| run.def.external.as_ref());
        running.or(unit.def.external.as_ref()).map(|external| external.poll_interval)
    }

    /// The next look. One that is not answered yet keeps its turn.
    pub(super) fn watch_due(&mut self, now: Now, place: Place) {
        let next = self.poll_interval(place).and_then(|interval| now.mono.after(interval));
        self.timers.set(place, Slot::Watch, next);
        if self.unit(place).and_then(|unit| unit.watch.as_ref()).is_some_and(|watch| watch.awaited.is_none()) {
            self.look(place);
        }
    }

    /// Asks how it is, now. On the way up or down nobody wants to know: the command that is under way says it.
    pub(super) fn look(&mut self, place: Place) {
        let stopping = self.shutdown.is_some();
        let Some(unit) = self.unit_mut(place) else { return };
        let (generation, running) = (unit.generation, unit.run());
        let rests = running.is_none_or(|run| run.phase == Phase::Exited);
        let def = running.map_or(&unit.def, |run| &run.def).clone();
        let run = RunId { unit: unit.name.clone(), generation };
        let Some(watch) = unit.watch.as_deref_mut().filter(|_| rests && !stopping && def.external.is_some()) else {
            return;
        };
        watch.number = watch.number.wrapping_add(1);
        let number = watch.number;
        watch.awaited = Some(number);
        // Not through `order`: the unit may be half way between two states, which no memo should show.
        self.orders.push_back(Effect::Watch { run, number, def });
    }

    /// The run is over: what is asked was about it, and the next one is another.
    pub(super) fn end_watch(&mut self, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        // A stop that did not work leaves it up, and that is shown.
        let worked = unit.run().filter(|run| run.result == RunResult::Success);
        let stopped = worked.and_then(|run| run.ending.as_ref()).is_some_and(Ending::stops_elsewhere);
        let Some(watch) = unit.watch.as_deref_mut() else { return };
        (watch.awaited, watch.end, watch.owes_stop) = (None, None, false);
        (watch.looked, watch.said) = (true, None);
        watch.seen_down &= !stopped;
    }

    /// A run begins, of which nothing was seen yet; what was stopped before does not matter any more.
    pub(super) fn forget_life(&mut self, place: Place) {
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            (watch.life, watch.seen_down, watch.said, watch.gave_up) = (None, true, None, None);
        }
    }

    /// The answer to a question.
    pub(super) fn watched(&mut self, now: Now, name: &UnitName, number: u32, sight: Sight) {
        let place = self.names.get(name).copied();
        let asked = |watch: &&mut Watch| watch.awaited == Some(number);
        let watch = place.and_then(|place| self.unit_mut(place)?.watch.as_deref_mut()).filter(asked);
        let (Some(place), Some(watch)) = (place, watch) else {
            self.stale += 1;
            return;
        };
        watch.awaited = None;
        watch.limit = limit_of(&sight).or(watch.limit);
        let said = shown(&sight);
        if matches!(sight, Sight::Unasked(_)) {
            watch.blind = watch.blind.saturating_add(1);
        } else {
            (watch.blind, watch.looked) = (0, true);
        }
        match sight {
            Sight::Unasked(_) => {}
            Sight::Up { said: _, life, began, limit: _ } => self.seen_up(now, place, life, began),
            Sight::Moving { said: _, end } => self.seen_moving(place, end),
            Sight::Waiting { said: _, end, past } => self.seen_waiting(now, place, end, &past),
            Sight::Down { said: _, end, past } => self.seen_down(now, place, end, past),
        }
        // What a run began or ended with is said no more.
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.said = Some(said);
        }
    }

    fn seen_up(&mut self, now: Now, place: Place, life: Life, began: Option<Wall>) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(watch) = unit.watch.as_deref_mut() else { return };
        match &unit.state {
            State::Live(run) if run.phase == Phase::Exited => {
                if watch.life.as_ref() == Some(&life) && watch.end.is_none() {
                    return;
                }
                if watch.life.as_ref().is_some_and(|before| before.id != life.id || before.restarts < life.restarts) {
                    return self.lives_anew(now, place, life, began);
                }
                (watch.life, watch.end) = (Some(life), None);
                self.touch(place);
            }
            // A reload is under way.
            State::Live(_) => {}
            _ if unit.job.is_some() || unit.gone || !(watch.seen_down || watch.is_another(&life)) => {}
            State::HoldOff { cause: StartCause::AutoRestart | StartCause::ExternalRestart, .. } => {
                // The last of those is up.
                let failed = watch.unseen(Some(&life)).saturating_sub(1);
                let past = Past { life: Some(life.clone()), began, at: began, ..Past::default() };
                self.tried_elsewhere(now, place, failed, UNSEEN, &past);
                let Some(unit) = self.unit_mut(place) else { return };
                unit.restarts = unit.restarts.saturating_add(1);
                self.found_up(now, place, StartCause::ExternalRestart, life, began);
            }
            // It was restarted for that.
            State::HoldOff { .. } => self.hold_off_over(now, place),
            State::Inactive | State::Failed => {
                unit.restarts = 0;
                self.found_up(now, place, StartCause::ExternalStart, life, began);
            }
            State::Listening => {}
        }
    }

    pub(super) fn found_up(&mut self, now: Now, place: Place, cause: StartCause, life: Life, began: Option<Wall>) {
        let at = self.up_since(now, place, began);
        self.begin_run_at(now, at, place, cause, None);
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.life = Some(life);
        }
        self.touch(place);
    }

    /// How it ended is known now only; what follows is for its manager to say.
    fn seen_moving(&mut self, place: Place, end: LifeEnd) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(watch) = unit.watch.as_deref_mut() else { return };
        watch.seen_down = true;
        let failed = end.result != RunResult::Success;
        if failed && watch.end != Some(end) {
            watch.end = Some(end);
            self.touch(place);
        }
    }

    /// It is down, and comes up again without us.
    fn seen_waiting(&mut self, now: Now, place: Place, end: LifeEnd, past: &Past) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(watch) = unit.watch.as_deref_mut() else { return };
        let is_news = watch.seen_down || past.life.as_ref().is_some_and(|life| watch.is_another(life));
        match &unit.state {
            State::Live(_) => {
                self.catch_up(now, place, past);
                self.ended_elsewhere(now, place, Elsewhere::Waits, end, past);
            }
            State::HoldOff { cause: StartCause::ExternalRestart, .. } if unit.job.is_none() && !unit.gone => {
                let times = watch.unseen(past.life.as_ref());
                self.tried_elsewhere(now, place, times, end, past);
            }
            State::Inactive | State::Failed if is_news && unit.job.is_none() && !unit.gone => {
                if past.life.is_some() && watch.life != past.life {
                    return self.started_in_vain(now, place, end, past);
                }
                unit.begin_incident();
                unit.wish = Wish::Up;
                self.await_manager(now, place);
            }
            State::Inactive | State::Failed | State::HoldOff { .. } | State::Listening => {}
        }
    }

    /// Its manager's turn: the next start has no time of ours.
    pub(super) fn await_manager(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        unit.state = State::HoldOff { due: None, cause: StartCause::ExternalRestart, counts: true };
        unit.since = now;
        unit.known = true;
        self.touch(place);
    }

    fn seen_down(&mut self, now: Now, place: Place, end: LifeEnd, past: Past) {
        let Some(unit) = self.unit_mut(place) else { return };
        let limit = unit.def.start_limit;
        let Some(watch) = unit.watch.as_deref_mut() else { return };
        let was_down = std::mem::replace(&mut watch.seen_down, true);
        let is_another = past.life.is_some() && watch.life != past.life;
        let failed = !matches!(end.result, RunResult::Success | RunResult::ExecCondition);
        let has_given_up = failed && (end.result == RunResult::StartLimitHit || watch.was_restarted(&past));
        let ours = Allowed { burst: limit.burst, interval: limit.interval, decides: true };
        let allowed = past.limit.filter(Allowed::is_limit).unwrap_or(ours);
        let ran = if has_given_up { watch.without_refused(&past) } else { past.clone() };
        let idle = unit.job.is_none() && !unit.gone;
        match &unit.state {
            State::Live(_) => {
                let how = if has_given_up { Elsewhere::GaveUp(allowed) } else { Elsewhere::Gone };
                self.catch_up(now, place, &ran);
                self.ended_elsewhere(now, place, how, end, &past);
            }
            State::HoldOff { cause: StartCause::ExternalRestart, .. } if idle => {
                let times = watch.unseen(ran.life.as_ref());
                self.tried_elsewhere(now, place, times, end, &past);
                if failed {
                    self.given_up_elsewhere(now, place, allowed);
                } else {
                    self.rest_elsewhere(now, place);
                }
            }
            // Someone started it, and it failed before anyone looked.
            State::Inactive if idle && failed && was_down && is_another && !watch.ended_as_asked(&past) => {
                self.failed_unseen(now, place, end, past, allowed);
            }
            State::Inactive | State::Failed if is_another => watch.life = past.life,
            State::Inactive | State::Failed | State::HoldOff { .. } | State::Listening => {}
        }
        if !was_down || is_another {
            self.touch(place);
        }
    }

    /// The run is over, and was before we knew.
    pub(super) fn ended_elsewhere(&mut self, now: Now, place: Place, how: Elsewhere, end: LifeEnd, past: &Past) {
        let Some(run) = self.run_mut(place).filter(|run| run.phase == Phase::Exited) else { return };
        run.elsewhere = Some(how);
        run.ended_elsewhere(end);
        run.ended_at = past.at.map(|at| run.moment(now, at));
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.life = past.life.clone().or_else(|| watch.life.take());
        }
        self.enter_stop(now, place);
    }

    pub(super) fn given_up_elsewhere(&mut self, now: Now, place: Place, allowed: Allowed) {
        let monitor = self.last_end(place);
        self.gave_up_elsewhere(now, place, allowed, monitor);
        self.correct_last_end(now, place, Consequence::StartLimit);
    }

    /// Its manager has given it up, by its own start limit.
    pub(super) fn gave_up_elsewhere(&mut self, now: Now, place: Place, by: Allowed, monitor: Option<Box<Monitor>>) {
        self.start_limit_hit_of(now, place, by.burst, by.interval, monitor);
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.gave_up = Some(by);
        }
    }

    /// Someone told its manager not to start it again.
    fn rest_elsewhere(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        (unit.state, unit.since, unit.wish) = (State::Inactive, now, Wish::Down);
        let run = RunId { unit: unit.name.clone(), generation: unit.generation };
        let recovered = unit.incident.take().is_some();
        self.touch(place);
        self.tidy_kept(place);
        if recovered {
            self.notice(now, Happening::Recovered { run });
        }
    }

    /// Has the host's systemd do what needs no process and nobody waits for.
    pub(super) fn order_host(&mut self, place: Place, order: HostOrder) {
        let Some(def) = self.unit(place).map(|unit| unit.def.clone()) else { return };
        let manager = def.external.as_ref().map(|external| &external.manager);
        if let Some(ExternalManager::Systemd(host)) = manager {
            self.orders.push_back(Effect::Host { unit: def.name.clone(), host: host.clone(), order });
        }
    }

    /// A stop while its manager was about to start it: that has to be told, and there is no run whose stop command could.
    pub(super) fn stop_waiting(&mut self, place: Place, ending: &Ending) {
        let Some(unit) = self.unit_mut(place) else { return };
        let waits = matches!(&unit.state, State::HoldOff { cause: StartCause::ExternalRestart, .. });
        let waits = waits && ending.stops_elsewhere();
        if let Some(watch) = unit.watch.as_deref_mut().filter(|_| waits) {
            watch.seen_down = false;
            self.order_host(place, HostOrder::Stop);
        }
    }

    /// The command that takes a run down; `None` where nothing is to be stopped: an external service that is gone, or that
    /// outlives this daemon and its unit file.
    pub(super) fn way_down(&self, now: Now, place: Place) -> Option<Directive> {
        let unit = self.unit(place)?;
        let run = unit.run()?;
        let Some(external) = &run.def.external else { return Some(Directive::Stop) };
        if run.elsewhere.is_some() {
            return None;
        }
        match &run.ending {
            Some(Ending::Shutdown(_) | Ending::Removed) => None,
            // Whoever needs it is restarted with it, which a stop and a start would not do. Not where the start limit
            // forbids the start.
            Some(Ending::Restart(_) | Ending::Unhealthy { .. })
                if !external.restart.is_empty() && unit.wish == Wish::Up && { unit.window }
                    .admit(now.mono, unit.def.start_limit) =>
            {
                Some(Directive::Restart)
            }
            None
            | Some(
                Ending::Stop(_)
                | Ending::Restart(_)
                | Ending::Unhealthy { .. }
                | Ending::Conflict(_)
                | Ending::Bound(_),
            ) => Some(Directive::Stop),
        }
    }

    /// A run is taken down whose command on the way up, or whose reload, is signalled first: the service is stopped once that
    /// command is gone.
    pub(super) fn owe_stop(&mut self, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let is_meant = unit.run().is_some_and(|run| {
            let reloads = matches!(run.phase, Phase::Reload { .. }) && run.control.is_some();
            run.def.external.is_some() && (run.phase.is_starting() || reloads)
        });
        if let Some(watch) = unit.watch.as_deref_mut().filter(|_| is_meant) {
            watch.owes_stop = true;
            self.touch(place);
        }
    }

    /// Stops what a start command may have brought up that is gone now; whether there is something to wait for.
    pub(super) fn pay_stop(&mut self, now: Now, place: Place) -> bool {
        let watch = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut());
        if !watch.is_some_and(|watch| std::mem::take(&mut watch.owes_stop)) {
            return false;
        }
        self.touch(place);
        let directive = self.way_down(now, place);
        directive.is_some_and(|directive| self.run_command(now, place, directive, 0, Phase::Stop))
    }

    /// External services that are just started or restarted are not to be left half way when the daemon ends, nor those stopped
    /// that we have stopped and would start after a while.
    pub(super) fn restarts_come_back(&mut self, now: Now) {
        for place in self.names.values().copied().collect::<Vec<_>>() {
            let Some(unit) = self.unit(place).filter(|unit| unit.wish == Wish::Up && !unit.gone) else { continue };
            let was_stopped = matches!(&unit.state, State::HoldOff { cause: StartCause::Unhealthy { .. }, .. });
            if was_stopped && unit.def.external.is_some() {
                self.hold_off_over(now, place);
            }
            if let Some(run) = self.run_mut(place).filter(|run| run.def.external.is_some()) {
                run.comes_back = run.phase == Phase::Start
                    || matches!(run.ending, Some(Ending::Restart(_) | Ending::Unhealthy { .. }));
            }
        }
    }

    /// It is being started, or was stopped to be restarted, and the daemon ends: it is started, and left alone then.
    pub(super) fn next_start_again(&mut self, now: Now, place: Place, step: u16) {
        if self.run_command(now, place, Directive::Start, step, Phase::Stop) {
            return;
        }
        if let Some(run) = self.run_mut(place) {
            run.ending = Some(Ending::Shutdown(Actor::Daemon));
        }
        self.enter_signals(now, place, Phase::StopSigterm { tree: false });
    }

    /// A restart command has ended well: after the last the next run finds it up. Unless someone wants it down by now.
    pub(super) fn next_restart(&mut self, now: Now, place: Place, step: u16) {
        if self.unit(place).is_some_and(|unit| unit.wish == Wish::Down && self.shutdown.is_none()) {
            self.next_stop(now, place, 0);
        } else if !self.run_command(now, place, Directive::Restart, step, Phase::Stop) {
            self.enter_signals(now, place, Phase::StopSigterm { tree: false });
        }
    }
}

impl Run {
    /// Whether it was up before we knew: nothing is to be started.
    pub(super) const fn began_elsewhere(&self) -> bool {
        matches!(self.begin.cause, StartCause::ExternalStart | StartCause::ExternalRestart)
    }

    /// Whether a command of this kind is a way down that ends up again.
    pub(super) fn is_restarted_by(&self, directive: Directive) -> bool {
        directive == Directive::Restart || (directive == Directive::Start && self.comes_back)
    }

    pub(super) fn ended_elsewhere(&mut self, end: LifeEnd) {
        self.spoil(end.result);
        if let Some(status) = end.status {
            self.main = Main::Ended { status, usage: None };
        }
    }
}

impl Ending {
    /// Whether it ends an external service too, for longer than a moment.
    const fn stops_elsewhere(&self) -> bool {
        match self {
            Self::Stop(_) | Self::Conflict(_) | Self::Bound(_) => true,
            Self::Restart(_) | Self::Shutdown(_) | Self::Removed | Self::Unhealthy { .. } => false,
        }
    }
}

impl Allowed {
    const fn is_limit(&self) -> bool {
        self.burst > 0 && !self.interval.is_zero()
    }
}

const fn limit_of(sight: &Sight) -> Option<Allowed> {
    match sight {
        Sight::Up { limit, .. } => *limit,
        Sight::Waiting { past, .. } | Sight::Down { past, .. } => past.limit,
        Sight::Moving { .. } | Sight::Unasked(_) => None,
    }
}

fn shown(sight: &Sight) -> Box<str> {
    match sight {
        Sight::Up { said, .. }
        | Sight::Moving { said, .. }
        | Sight::Waiting { said, .. }
        | Sight::Down { said, .. } => said.clone(),
        Sight::Unasked(why) => format!("{NOT_TOLD}{why}").into(),
    }
}
