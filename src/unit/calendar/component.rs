/// The values that one part of a date or time may have: all of its components', or any when there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chain(pub(super) Box<[Component]>);

/// `start`, `start..stop`, `start/step` or `start..stop/step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Component {
    pub(super) start: u32,
    pub(super) stop: Option<u32>,
    /// 0: none.
    pub(super) step: u32,
}

impl Component {
    pub(super) const fn one(start: u32) -> Self {
        Self { start, stop: None, step: 0 }
    }

    /// Brings the end of a range to its last step; a range of one value is that value.
    fn normal(self) -> Self {
        let Some(stop) = self.stop else { return self };
        if stop <= self.start || self.step == 0 {
            return if stop == self.start { Self::one(self.start) } else { self };
        }
        let last = stop - (stop - self.start) % self.step;
        if last == self.start { Self::one(self.start) } else { Self { stop: Some(last), ..self } }
    }

    /// Its first value that is not below `value`.
    fn at_or_after(self, value: u32) -> Option<u32> {
        if self.start >= value {
            return Some(self.start);
        }
        if self.step == 0 {
            return None;
        }
        let steps = (value - self.start).div_ceil(self.step);
        let found = steps.checked_mul(self.step).and_then(|way| self.start.checked_add(way))?;
        self.stop.is_none_or(|stop| found <= stop).then_some(found)
    }
}

impl Chain {
    pub(super) fn one(value: u32) -> Self {
        Self([Component::one(value)].into())
    }

    /// Each component in its normal form, sorted, each once.
    pub(super) fn normal(components: Vec<Component>) -> Self {
        let mut all: Vec<Component> = components.into_iter().map(Component::normal).collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into())
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Its first value that is not below `value`.
    pub(super) fn at_or_after(&self, value: u32) -> Option<u32> {
        if self.is_any() {
            return Some(value);
        }
        self.0.iter().filter_map(|component| component.at_or_after(value)).min()
    }

    /// The same for days that are counted from the end of a month of so many days.
    pub(super) fn at_or_after_from_end(&self, value: u32, days: u32) -> Option<u32> {
        let from_end = |component: &Component| {
            let day = |number: u32| (days + 1).checked_sub(number);
            let (start, stop) = (day(component.start)?, component.stop.and_then(day));
            // A range runs the other way round then.
            let turned = match stop {
                Some(stop) => Component { start: stop, stop: Some(start), step: component.step },
                None => Component { start, ..*component },
            };
            turned.at_or_after(value)
        };
        self.0.iter().filter_map(from_end).min()
    }
}
