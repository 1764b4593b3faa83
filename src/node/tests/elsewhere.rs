//! Another manager in the simulated world, with one service that it keeps as it likes.

use super::super::{
    effect::SpawnOrder,
    input::{Life, LifeEnd, Sight},
};
use super::make::external;
use crate::{
    base::{ExitStatus, Rng, RunResult, TimeSpan},
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
    /// Orders that came from us.
    pub(super) stops: u32,
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
                (self.life, self.failed, self.restarts) = (None, false, 0);
                self.stops += 1;
            }
            "restart" => {
                self.restarts = 0;
                self.begin();
            }
            _ => {}
        }
    }

    fn begin(&mut self) {
        self.lives += 1;
        self.life = Some(self.lives);
    }

    /// It does as it likes.
    pub(super) fn act(&mut self, rng: &mut Rng) {
        match rng.below(5) {
            0 => (self.life, self.failed) = (None, true),
            1 => (self.life, self.failed) = (None, false),
            2 if self.is_up() => {
                self.restarts += 1;
                self.begin();
            }
            3 => self.begin(),
            _ => {}
        }
    }

    /// What it says when it is asked.
    pub(super) fn says(&self) -> Sight {
        let said = "so".into();
        match self.life {
            Some(life) => Sight::Up { said, life: Life { id: life.to_string().into(), restarts: Some(self.restarts) } },
            None => {
                let (result, code) = if self.failed { (RunResult::ExitCode, 1) } else { (RunResult::Success, 0) };
                Sight::Down { said, end: LifeEnd { result, status: Some(ExitStatus::Exited(code)) } }
            }
        }
    }
}
