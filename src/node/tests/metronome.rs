//! What timers must do in the simulated world: a run for each moment of the calendar, and no more.

use std::collections::BTreeSet;

use super::make::{name, with};
use crate::{
    base::{TimeSpan, UnitName, Wall},
    unit::{
        UnitDef,
        spec::{DirectoryName, ServiceKind, TimerSpec},
    },
};

/// From one moment to the next, in microseconds of wall time.
const BEAT: i64 = 10_000_000;
/// No run of such a unit is up for longer.
const RUN_MAX: i64 = 1_000_000;
/// So long after a moment everybody has noticed it.
const NOTICED_WITHIN: i64 = 5_000;
/// A unit with a timer of its own.
pub(super) const TICK: &str = "tick";
/// A file with nothing but a timer, for `PULSE`.
pub(super) const BEATER: &str = "beater";
pub(super) const PULSE: &str = "pulse";

/// Units with timers, whose services do no wrong.
pub(super) fn defs() -> [UnitDef; 3] {
    let oneshot = |def: &mut UnitDef| {
        def.service.kind = ServiceKind::Oneshot;
        let own = DirectoryName { path: def.name.to_string().into(), links: [].into() };
        def.service.exec.directories.runtime.names = [own].into();
        def.start_limit.interval = TimeSpan::ZERO;
    };
    let timer = |unit: Option<UnitName>| {
        let on_calendar = ["*:*:0/10".parse().unwrap()].into();
        Some(Box::new(TimerSpec { on_calendar, unit, ..TimerSpec::default() }))
    };
    [
        with(TICK, |def| {
            oneshot(def);
            def.timer = timer(None);
        }),
        with(BEATER, |def| {
            def.service.exec_start = Box::default();
            def.timer = timer(Some(name(PULSE)));
        }),
        with(PULSE, |def| {
            oneshot(def);
            def.enabled = false;
        }),
    ]
}

/// The clock on the wall as it was seen, and what follows from that.
#[derive(Debug, Default)]
pub(super) struct Metronome {
    /// The latest time that was ever shown.
    highest: i64,
    /// Moments that came by themselves and for the first time.
    came: BTreeSet<i64>,
    /// Where the clock stood after it was set forward: what it passed over is made up for there. And what came so soon
    /// after that its run may have been up.
    may_come: BTreeSet<i64>,
    /// Until then that run may be up.
    busy_until: i64,
}

impl Metronome {
    pub(super) fn begin(&mut self, wall: Wall) {
        self.highest = wall.0;
    }

    /// Time passed.
    pub(super) fn passed(&mut self, wall: Wall) {
        let beats = self.highest.div_euclid(BEAT) + 1..=wall.0.div_euclid(BEAT);
        for beat in beats {
            let set = if beat * BEAT > self.busy_until { &mut self.came } else { &mut self.may_come };
            set.insert(beat);
        }
        self.highest = self.highest.max(wall.0);
    }

    /// Someone set the clock. A moment that had just come may not have been noticed yet, and then comes again.
    pub(super) fn set(&mut self, before: Wall, wall: Wall) {
        let beat = before.0.div_euclid(BEAT);
        if before.0 - beat * BEAT < NOTICED_WITHIN && self.came.remove(&beat) {
            self.may_come.insert(beat);
        }
        if wall.0 > self.highest {
            self.may_come.insert(wall.0.div_euclid(BEAT));
            self.busy_until = wall.0 + RUN_MAX;
            self.highest = wall.0;
        }
    }

    /// A manager died before it had told anything of its timers. The next one knows of no time but its own: what came before
    /// the clock was set back may come again.
    pub(super) fn forget(&mut self, wall: Wall) {
        self.may_come.extend(wall.0.div_euclid(BEAT) + 1..=self.highest.div_euclid(BEAT));
    }

    /// Compares with the runs that a timer started.
    pub(super) fn check(&self, unit: &str, starts: &[Wall]) {
        let mut seen = BTreeSet::new();
        for start in starts {
            let beat = start.0.div_euclid(BEAT);
            assert!(seen.insert(beat), "{unit} was started twice for {beat}");
        }
        let missing: Vec<_> = self.came.difference(&seen).collect();
        assert!(missing.is_empty(), "{unit} was not started for {missing:?}");
        let more: Vec<_> = seen.difference(&self.came).filter(|beat| !self.may_come.contains(beat)).collect();
        assert!(more.is_empty(), "{unit} was started for {more:?}");
    }
}
