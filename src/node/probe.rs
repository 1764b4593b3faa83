//! One probe of a run: what its answers amount to, and when it is asked next.

use std::time::Duration;

use super::{
    input::{Finding, ProbeOutcome},
    status::Verdict,
};
use crate::{
    base::{Mono, Now, TimeSpan, counted},
    unit::spec::ProbeSpec,
};

/// The longest reason that is kept, in bytes.
const REASON_MAX: usize = 256;

/// What is known of one probe.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe {
    pub(super) verdict: Verdict,
    /// The last answers, the newest in bit 0: not good, and bad.
    short: u64,
    bad: u64,
    /// Answers in a row that were good, and that were not bad.
    good_row: u32,
    fair_row: u32,
    pub(super) in_flight: bool,
    /// It was asked between its turns, for one that depends on it: the answer says how it stands and counts for nothing.
    pub(super) between: bool,
    /// When it was asked last.
    pub(super) asked: Mono,
    /// What the last answer came to, for those that depend on it.
    pub(super) answer: Answer,
    /// A bad answer that waits for others.
    pub(super) held: Option<Box<ProbeOutcome>>,
    /// Bad answers since the first of those that made it unhealthy, or may, and when that came; not remembered.
    failures: u32,
    failing_since: Option<Now>,
    /// When it was due last; the next is an interval later.
    pub(super) due: Mono,
    /// Turns since it became unhealthy, for longer pauses.
    turns_down: u32,
    pub(super) since: Option<Now>,
    /// It has been unhealthy in this run.
    pub(super) fell: bool,
    /// What the last answer that was not good said, and the last bad and the last degraded one since it was healthy.
    last_failure: Option<Box<str>>,
    last_bad: Option<Box<str>>,
    last_degraded: Option<Box<str>>,
    pub(super) took: Option<Duration>,
}

/// What an answer means for the probes that depend on this one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Answer {
    /// They stand for themselves.
    #[default]
    Fair,
    /// They are excused.
    Bad,
    /// So is it, for this reason.
    Excused(Box<str>),
}

impl Probe {
    /// One of which only the verdict is known.
    pub(super) fn known(verdict: Verdict) -> Self {
        Self { verdict, ..Self::default() }
    }

    /// The same, of which no question is on its way.
    pub(super) fn not_under_way(self) -> Self {
        Self { in_flight: false, between: false, held: None, ..self }
    }

    /// One that fell and of which it is known when and why.
    pub(super) fn fallen(verdict: Verdict, since: Now, reason: Option<Box<str>>) -> Self {
        let (last_bad, last_degraded) = if verdict == Verdict::Degraded { (None, reason) } else { (reason, None) };
        Self { since: Some(since), last_bad, last_degraded, ..Self::known(verdict) }
    }

    /// Why it is not healthy: what an answer said that speaks for the verdict. Of one that is healthy or not known, what the
    /// last said that was not good.
    pub(super) fn reason(&self) -> Option<&str> {
        match self.verdict {
            Verdict::Unhealthy => self.last_bad.as_deref(),
            Verdict::Degraded => self.last_degraded.as_deref(),
            Verdict::Unknown | Verdict::Healthy => self.last_failure.as_deref(),
        }
    }

    /// Whether an answer says only that the unit is not there yet.
    pub(super) fn is_early(&self, outcome: &ProbeOutcome, within_grace: bool) -> bool {
        within_grace && self.verdict == Verdict::Unknown && matches!(outcome.finding, Finding::Bad(_))
    }

    /// Counts one answer in.
    pub(super) fn count(&mut self, now: Now, spec: &ProbeSpec, outcome: &ProbeOutcome, within_grace: bool) {
        let is_early = self.is_early(outcome, within_grace);
        self.in_flight = false;
        self.took = Some(outcome.took);
        self.answer = if matches!(outcome.finding, Finding::Bad(_)) { Answer::Bad } else { Answer::Fair };
        if let Some(reason) = outcome.finding.reason() {
            self.keep_reason(&outcome.finding, shortened(reason));
        }
        let between = std::mem::take(&mut self.between);
        let (short, bad) = match &outcome.finding {
            _ if between || is_early => return,
            Finding::Unasked(_) => return,
            Finding::Good => (false, false),
            Finding::Degraded(_) => (true, false),
            Finding::Bad(_) => (true, true),
        };
        self.short = self.short << 1 | u64::from(short);
        self.bad = self.bad << 1 | u64::from(bad);
        self.good_row = if short { 0 } else { self.good_row.saturating_add(1) };
        self.fair_row = if bad { 0 } else { self.fair_row.saturating_add(1) };
        self.count_failure(now, spec, bad);
        let verdict = self.weigh(spec, short, bad);
        if verdict != self.verdict {
            *self = Self {
                verdict,
                since: Some(now),
                fell: self.fell || verdict == Verdict::Unhealthy,
                due: self.due,
                asked: self.asked,
                answer: std::mem::take(&mut self.answer),
                failures: if verdict == Verdict::Unhealthy { self.failures } else { 0 },
                failing_since: self.failing_since.filter(|_| verdict == Verdict::Unhealthy),
                last_failure: self.last_failure.take(),
                last_bad: self.last_bad.take().filter(|_| verdict != Verdict::Healthy),
                last_degraded: self.last_degraded.take().filter(|_| verdict != Verdict::Healthy),
                took: self.took,
                ..Self::default()
            };
        }
    }

    /// While it is not unhealthy, bad answers that no recent one is left of are forgotten.
    fn count_failure(&mut self, now: Now, spec: &ProbeSpec, bad: bool) {
        let is_first = (self.bad & recent(spec)).count_ones() <= u32::from(bad);
        if self.verdict != Verdict::Unhealthy && is_first {
            (self.failures, self.failing_since) = (u32::from(bad), bad.then_some(now));
        } else {
            self.failures = self.failures.saturating_add(u32::from(bad));
        }
    }

    /// What it has against its service, for people: how often it has failed, since when, and why.
    pub(super) fn charge(&self, name: &str) -> String {
        let why = self.reason().map_or_else(String::new, |why| format!(": {why}"));
        match (self.failing_since, self.since) {
            (Some(since), _) => {
                let times = counted(self.failures, "time");
                format!("probe {name} failed {times} since {}{why}", since.wall.rfc3339())
            }
            // As the manager before this one found.
            (None, Some(since)) => format!("probe {name} is unhealthy since {}{why}", since.wall.rfc3339()),
            (None, None) => format!("probe {name} is unhealthy{why}"),
        }
    }

    fn keep_reason(&mut self, finding: &Finding, reason: &str) {
        match finding {
            Finding::Bad(_) => self.last_bad = Some(reason.into()),
            Finding::Degraded(_) => self.last_degraded = Some(reason.into()),
            Finding::Good | Finding::Unasked(_) => {}
        }
        self.last_failure = Some(reason.into());
    }

    /// What it depends on fails: nothing is known of it any more, unless it was unhealthy before.
    pub(super) fn excuse(&mut self, now: Now, why: String) {
        self.answer = Answer::Excused(why.into());
        if self.verdict == Verdict::Healthy {
            (self.verdict, self.since) = (Verdict::Unknown, Some(now));
            (self.short, self.bad, self.good_row, self.fair_row) = (0, 0, 0, 0);
        }
    }

    /// A verdict falls when so many of the last answers speak against it, and rises after a row of better ones; the first
    /// answer of a run that is not bad is enough.
    fn weigh(&self, spec: &ProbeSpec, short: bool, bad: bool) -> Verdict {
        let falls = |answers: u64| (answers & recent(spec)).count_ones() >= spec.unhealthy_after;
        match self.verdict {
            _ if falls(self.bad) => Verdict::Unhealthy,
            Verdict::Unknown if !short => Verdict::Healthy,
            Verdict::Unknown if !bad => Verdict::Degraded,
            Verdict::Healthy if falls(self.short) => Verdict::Degraded,
            Verdict::Degraded | Verdict::Unhealthy if self.good_row >= spec.healthy_after => Verdict::Healthy,
            Verdict::Unhealthy if self.fair_row >= spec.healthy_after => Verdict::Degraded,
            unchanged @ (Verdict::Unknown | Verdict::Healthy | Verdict::Degraded | Verdict::Unhealthy) => unchanged,
        }
    }

    /// Moves on to the next turn: turns that were missed are left out, and the pauses of one that is unhealthy double up to
    /// `backoff_max`. `random` is below [`ProbeSpec::jitter`] in microseconds.
    pub(super) fn next_turn(&mut self, now: Mono, spec: &ProbeSpec, random: u64) -> Option<Mono> {
        let interval = match self.verdict {
            Verdict::Unhealthy if spec.backoff_max > spec.interval => {
                let doubled = spec.interval.micros()?.saturating_mul(1 << self.turns_down.min(DOUBLINGS_MAX));
                self.turns_down = self.turns_down.saturating_add(1);
                TimeSpan::from_micros(doubled).min(spec.backoff_max)
            }
            Verdict::Unknown | Verdict::Healthy | Verdict::Degraded | Verdict::Unhealthy => spec.interval,
        };
        let nanos = interval.duration().map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))?.max(1);
        let missed = now.0.saturating_sub(self.due.0) / nanos;
        self.due = Mono(self.due.0.checked_add(nanos.saturating_mul(missed.saturating_add(1)))?);
        self.due.after(TimeSpan::from_micros(random))
    }
}

/// The answers that count, the newest in bit 0.
fn recent(spec: &ProbeSpec) -> u64 {
    u64::MAX >> (u64::BITS - spec.unhealthy_window.clamp(1, u64::BITS))
}

/// A pause is at most so many times doubled.
const DOUBLINGS_MAX: u32 = 20;

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(REASON_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
