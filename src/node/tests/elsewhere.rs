//! Another manager in the simulated world, with one service that it keeps as it likes.

use std::collections::BTreeMap;

use super::super::{
    effect::{HostOrder, SpawnOrder},
    input::{Life, LifeEnd, Past, Sight},
};
use super::make::external;
use crate::{
    base::{ExitStatus, Generation, Happening, Mono, Notice, Rng, RunResult, TimeSpan, Wall},
    unit::{UnitDef, spec::Restart},
};

/// The service that it keeps.
pub(super) const GUEST: &str = "guest";

/// That manager's own truth about it.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Its run; `None` while it is down.
    life: Option<u32>,
    lives: u32,
    restarts: u32,
    failed: bool,
    /// It is down, and will be started again.
    waits: bool,
    /// Orders that came from us.
    pub(super) stops: u32,
    /// When its runs began, as we have told.
    begun: BTreeMap<Generation, Mono>,
}

pub(super) fn def(rng: &mut Rng) -> UnitDef {
    let mut def = external(GUEST);
    let service = &mut def.service;
    service.restart.when = [Restart::No, Restart::OnFailure, Restart::Always][rng.below(3) as usize];
    service.restart.delay = TimeSpan::from_millis([0, 500, 8000][rng.below(3) as usize]);
    (service.timeouts.start, service.timeouts.stop) = (TimeSpan::from_secs(10), TimeSpan::from_secs(5));
    def.start_limit.interval = TimeSpan::from_secs(30);
    def
}

impl Elsewhere {
    pub(super) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// An order of ours reached it.
    pub(super) fn ordered(&mut self, order: &SpawnOrder) {
        match order.directive {
            "exec_start" if self.life.is_none() => self.begin(),
            "exec_stop" => {
                (self.life, self.failed, self.restarts, self.waits) = (None, false, 0, false);
                self.stops += 1;
            }
            "restart" => {
                self.restarts = 0;
                self.begin();
            }
            _ => {}
        }
    }

    /// What it is told without a command.
    pub(super) fn told(&mut self, order: HostOrder) {
        match order {
            HostOrder::ResetFailed => (self.failed, self.restarts) = (false, 0),
            HostOrder::Stop => (self.life, self.failed, self.waits) = (None, false, false),
        }
    }

    fn begin(&mut self) {
        self.waits = false;
        self.lives += 1;
        self.life = Some(self.lives);
    }

    /// It does as it likes.
    pub(super) fn act(&mut self, rng: &mut Rng) {
        match rng.below(7) {
            0 => (self.life, self.failed, self.waits) = (None, true, false),
            1 => (self.life, self.failed, self.waits) = (None, false, false),
            2 if self.is_up() || self.waits => {
                self.restarts += 1;
                self.begin();
            }
            3 => self.begin(),
            4 if self.is_up() => (self.life, self.failed, self.waits) = (None, true, true),
            5 if self.waits => {
                self.restarts += 1;
                (self.failed, self.waits) = (true, false);
            }
            _ => {}
        }
    }

    /// What it says when it is asked; when its run began it does not know well.
    pub(super) fn says(&self, now: Wall, rng: &mut Rng) -> Sight {
        let said = "so".into();
        let some_time = (rng.below(2) == 0).then(|| Wall(now.0 + 10_000_000 - rng.below(100_000_000) as i64));
        match self.life {
            Some(life) => Sight::Up {
                said,
                life: Life { id: life.to_string().into(), restarts: Some(self.restarts) },
                began: some_time,
                limit: None,
            },
            None => {
                let (result, code) = if self.failed { (RunResult::ExitCode, 1) } else { (RunResult::Success, 0) };
                let end = LifeEnd { result, status: Some(ExitStatus::Exited(code)) };
                let life = Life { id: self.lives.to_string().into(), restarts: Some(self.restarts) };
                let at = some_time.map(|began| Wall(began.0 + rng.below(20_000_000) as i64));
                let delay = (rng.below(2) == 0).then(|| TimeSpan::from_micros(rng.below(5_000_000)));
                let past = Past { life: Some(life), began: some_time, at, delay, limit: None };
                if self.waits { Sight::Waiting { said, end, past } } else { Sight::Down { said, end, past } }
            }
        }
    }

    /// No run is told to be over before it began.
    pub(super) fn heard(&mut self, notice: &Notice) {
        let (what, at) = (&notice.what, notice.at.mono);
        if let Happening::RunStarting { run, .. } = what
            && run.unit.as_str() == GUEST
        {
            self.begun.insert(run.generation, at);
        } else if let Happening::RunReady { run } | Happening::RunEnded { run, .. } = what
            && run.unit.as_str() == GUEST
        {
            let begun = self.begun.get(&run.generation);
            assert!(begun.is_none_or(|begun| *begun <= at), "{notice:?}, but it began at {begun:?}");
        }
    }
}
