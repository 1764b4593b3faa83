//! Runs of an external service of which nobody saw all: how many there were between two looks, and when they began and ended.

use super::{
    Node,
    graph::Place,
    input::{Allowed, Life, LifeEnd, Past},
    service::{Phase, Run},
    watch::{Elsewhere, MISSED_MAX, UNSEEN, Watch},
};
use crate::base::{Mono, Now, RunResult, StartCause, Wall};

impl Node {
    /// Its manager has started it so often, in vain, since someone looked; `end` is of the last of those.
    pub(super) fn tried_elsewhere(&mut self, now: Now, place: Place, times: u32, end: LifeEnd, past: &Past) {
        for left in (0..times).rev() {
            let Some(unit) = self.unit_mut(place) else { return };
            unit.restarts = unit.restarts.saturating_add(1);
            let (end, past) = before(end, past, left);
            self.came_and_went(now, place, StartCause::ExternalRestart, end, &past);
        }
    }

    /// Someone has started it, and it ended before anyone saw it up: that run, and those of the restarts that its manager
    /// counts since.
    pub(super) fn started_in_vain(&mut self, now: Now, place: Place, end: LifeEnd, past: &Past) {
        let Some(unit) = self.unit_mut(place) else { return };
        unit.restarts = 0;
        let restarts = past.life.as_ref().and_then(|life| life.restarts).unwrap_or(0);
        // Of what was before the first look the last run alone is told.
        let was_seen = unit.watch.as_deref().is_some_and(|watch| watch.life.is_some());
        let times = if was_seen { restarts.min(MISSED_MAX) } else { 0 };
        let (first_end, first) = before(end, past, times);
        self.came_and_went(now, place, StartCause::ExternalStart, first_end, &first);
        self.tried_elsewhere(now, place, times, end, past);
    }

    /// Someone has started it, and it had failed for good before anyone looked.
    pub(super) fn failed_unseen(&mut self, now: Now, place: Place, end: LifeEnd, past: Past, allowed: Allowed) {
        let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) else { return };
        let was_seen = watch.life.is_some();
        // Counted anew from each start that someone asked for.
        let restarts = past.life.as_ref().and_then(|life| life.restarts).unwrap_or(0);
        watch.life = past.life.clone();
        if was_seen && restarts > 0 {
            // The last of them was refused.
            let life = past.life.map(|life| Life { restarts: Some(restarts - 1), ..life });
            self.started_in_vain(now, place, end, &Past { life, ..past });
        }
        if restarts > 0 || end.result == RunResult::StartLimitHit {
            self.given_up_elsewhere(now, place, allowed);
        } else {
            self.fail(now, place, end.result, None);
        }
    }

    /// A run that nobody saw up.
    fn came_and_went(&mut self, now: Now, place: Place, cause: StartCause, end: LifeEnd, past: &Past) {
        let Some(life) = past.life.clone() else { return };
        self.found_up(now, place, cause, life, past.began);
        self.ended_elsewhere(now, place, Elsewhere::Waits, end, past);
    }

    /// It is down, and was restarted in vain since it was seen up: what is told of it now is of the last of those runs.
    pub(super) fn catch_up(&mut self, now: Now, place: Place, past: &Past) {
        let watch = self.unit(place).and_then(|unit| unit.watch.as_deref());
        let is_behind = watch.is_some_and(|watch| watch.unseen(past.life.as_ref()) > 0);
        if let Some(life) = past.life.clone().filter(|_| is_behind) {
            self.lives_anew(now, place, life, past.began);
        }
    }

    /// Another run than the one that was seen before, or one that was restarted since.
    pub(super) fn lives_anew(&mut self, now: Now, place: Place, life: Life, began: Option<Wall>) {
        let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) else { return };
        let (before, mut end) = (watch.life.take(), watch.end.take());
        let counted = life.restarts.zip(before.and_then(|life| life.restarts));
        // systemd counts its own restarts, so that others can be told from them; who does not count is not asked for any.
        let (how, times) = match counted.map(|(now, before)| now.saturating_sub(before)) {
            Some(0) if end.is_none() => (Elsewhere::Restarted, 1),
            Some(times) => (Elsewhere::Failed, times.clamp(1, MISSED_MAX)),
            None => (Elsewhere::Failed, 1),
        };
        for _ in 0..times {
            let Some(run) = self.run_mut(place).filter(|run| run.phase == Phase::Exited) else { return };
            run.elsewhere = Some(how);
            // The next one began then; when this one ended nobody saw.
            run.ended_at = began.map(|began| run.moment(now, began));
            match (how, end.take()) {
                (Elsewhere::Restarted, _) => {}
                (_, Some(end)) => run.ended_elsewhere(end),
                // Nobody saw how.
                (_, None) => run.spoil(RunResult::Unknown),
            }
            self.leave_up(place);
            self.finish(now, place);
        }
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.life = Some(life);
        }
        self.touch(place);
    }

    /// Since when a run is up that was found so, as its manager says: not since before the run before it was over.
    pub(super) fn up_since(&self, now: Now, place: Place, began: Option<Wall>) -> Now {
        let (Some(unit), Some(began)) = (self.unit(place), began) else { return now };
        let first = if unit.generation.0 > 0 { unit.since } else { Now::default() };
        moment(now, began, first)
    }
}

/// What is told of the run so many before one of which its manager tells: it was as long, and the pauses between were what
/// they are now. Without those all of them were over when the last began.
fn before(end: LifeEnd, last: &Past, by: u32) -> (LifeEnd, Past) {
    if by == 0 {
        return (end, last.clone());
    }
    let turn = || {
        let length = last.at?.0.saturating_sub(last.began?.0).max(0);
        let pause = i64::try_from(last.delay?.micros()?).ok()?;
        Some(length.saturating_add(pause).saturating_mul(i64::from(by)))
    };
    let earlier = |at: Option<Wall>, by: i64| at.map(|at| Wall(at.0.saturating_sub(by)));
    let (began, at) = match turn() {
        Some(ago) => (earlier(last.began, ago), earlier(last.at, ago)),
        None => (last.began, last.began),
    };
    (UNSEEN, Past { began, at, ..last.clone() })
}

impl Watch {
    /// The same end without the start that its manager counts and has refused, by its start limit: no run came of that.
    pub(super) fn without_refused(&self, past: &Past) -> Past {
        let mut past = past.clone();
        let is_same = past.life.as_ref().zip(self.life.as_ref()).is_some_and(|(life, before)| life.id == before.id);
        let counted = self.unseen(past.life.as_ref());
        if let Some(life) = past.life.as_mut().filter(|_| counted > 1 || counted == 1 && is_same) {
            life.restarts = life.restarts.map(|restarts| restarts.saturating_sub(1));
        }
        past
    }
}

impl Run {
    /// A moment of which others tell, never before it was up nor after now, whatever became of the clock.
    pub(super) fn moment(&self, now: Now, at: Wall) -> Now {
        moment(now, at, self.begin.ready_at.unwrap_or(self.begin.at))
    }
}

fn moment(now: Now, at: Wall, first: Now) -> Now {
    let micros = u64::try_from(now.wall.0.saturating_sub(at.0)).unwrap_or(0);
    let mono = Mono(now.mono.0.saturating_sub(micros.saturating_mul(1000)));
    if mono < first.mono { first } else { Now { mono, wall: at.min(now.wall) } }
}
