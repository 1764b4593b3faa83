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
        let say = match self.rng.below(if self.is_busy { 26 } else { 20 }) {
            20..=22 => {
                let at = usize::try_from(self.rng.below(2)).unwrap();
                self.take(at);
                return;
            }
            23.. if !self.is_calm() && self.plans.len() < 4 => {
                let at = usize::try_from(self.rng.below(2)).unwrap();
                if self.take(at) {
                    self.supersede(at);
                }
                return;
            }
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

    /// It drives from now on, if whoever does hears that it is to give way. Whether it does.
    fn take(&mut self, at: usize) -> bool {
        if !self.bus.is_up || self.drivers[at].is_frozen {
            return false;
        }
        let holder = self.lock.holder(self.now);
        let drives = |driver: &Driver| driver.rollout.is_some() && Some(driver.owner) == holder;
        if drives(&self.drivers[at]) {
            return true;
        }
        if holder.is_some() {
            let Some(other) = self.drivers.iter_mut().find(|driver| drives(driver) && !driver.is_frozen) else {
                return false;
            };
            other.rollout = None;
        }
        self.note(|| format!("driver {at} is to drive"));
        self.taken += 1;
        self.begin_to_drive(at);
        true
    }

    /// Another plan takes the place of the one that is driven there, or is about to be.
    fn supersede(&mut self, at: usize) {
        let services = [&["db"][..], &["app"], &["xmpp", "app"]];
        let services = services[usize::try_from(self.rng.below(3)).unwrap()];
        let plan = planned(&self.topology, &restart(services), &all_well(&self.topology, "vm1"));
        self.note(|| format!("another plan is wanted at driver {at}: {services:?}"));
        self.watch.ordered(&self.topology, &plan);
        self.plans.push(Ordered { plan, journal: Vec::new() });
        self.give_up_what_is_superseded(at);
    }

    pub(super) fn give_up_what_is_superseded(&mut self, at: usize) {
        if self.drivers[at].nth + 1 < self.plans.len() {
            let say = Say::Abort { reason: "another one supersedes it".to_owned(), by: "alice".to_owned() };
            self.drive(at, RolloutInput::Say(say));
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
            self.watch.never(format!("P7: no end, and nobody is told: {:?}", self.journal().last()));
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
        let plan = &self.plans[0].plan;
        let soaks: u64 = plan.waves.iter().map(|wave| span(wave.soak)).sum();
        plan.tasks().map(of_task).sum::<u64>() + soaks + span(Deadlines::default().progress)
    }
}
