use super::*;

/// The last trouble is over so long after it began.
const HEALED: u64 = TROUBLE + 60 * SEC;

impl World {
    /// Someone looks at the plan every minute, and does what people do.
    pub(super) fn operate(&mut self) {
        self.after(60 * SEC, Happens::Operator);
        if self.is_over() || self.is_left_alone {
            return;
        }
        let by = "alice".to_owned();
        let say = match self.rng.below(20) {
            0 if !self.is_calm() => Say::Pause { reason: "lunch".to_owned(), by },
            1 if !self.is_calm() => Say::Abort { reason: "enough".to_owned(), by },
            2..=9 if self.resumes > 20 => Say::Abort { reason: "it will not do".to_owned(), by },
            _ => {
                self.resumes += 1;
                Say::Resume { by }
            }
        };
        for at in 0..self.drivers.len() {
            if !self.drivers[at].is_frozen {
                self.drive(at, RolloutInput::Say(say.clone()));
            }
        }
    }

    /// P7: once all is healed a plan comes to its end, or stands and says so, and that within what its own deadlines allow.
    pub(super) fn stands(&mut self) -> bool {
        if self.now < HEALED || self.is_over() {
            return false;
        }
        let is_paused = |driver: &Driver| {
            driver.rollout.as_ref().is_some_and(|rollout| matches!(rollout.control(), Control::Paused { .. }))
        };
        if self.drivers.iter().any(is_paused) {
            return true;
        }
        if self.now > HEALED + self.patience() {
            self.watch.never(format!("P7: no end, and nobody is told: {:?}", self.journal.last()));
        }
        false
    }

    /// One task after the other, each phase as long as it may take, and as long again for nothing to go forward.
    fn patience(&self) -> u64 {
        let span = |span: TimeSpan| span.micros().unwrap() * 1000;
        let of_task = |task: &Task| {
            let Deadlines { drain, validate, act, healthy, progress: _ } =
                self.topology.services[&task.instance.service].policy.deadlines;
            [drain, validate, act, healthy, act].into_iter().map(span).sum::<u64>()
        };
        let soaks: u64 = self.plan.waves.iter().map(|wave| span(wave.soak)).sum();
        self.plan.tasks().map(of_task).sum::<u64>() + soaks + span(Deadlines::default().progress)
    }
}
