//! Who is told what, and how often: one alert when an incident opens, at most one more at each step by which it gets
//! worse, one when it is over, reminders in between.
//!
//! Pure: notices come in with the time, messages and incident rows go out as values. Whoever changes this usually
//! breaks idempotence: the id of a message derives from the unit, the generation that opened the incident, the event
//! and the route alone, so that a replay after a crash makes the same id and the store drops it.
//!
//! An incident of a unit is in one stage. *Restarted* and *unhealthy* open it; *unkillable*, and after it *failed* and *start
//! limit hit*, open it or make it worse, and the last inhibits the one before. It is closed by `Recovered` or a clean end that rests (people
//! are told), by a wanted stop, a reset of a failed unit, the unit's removal, or shutdown (nobody is told). A run ends once: an end at or
//! below the highest one seen changes nothing.
#![forbid(unsafe_code)]

mod incident;
mod letter; // a message as mail
mod message;
mod settings;

use std::collections::{BTreeMap, VecDeque};

use crate::base::{Consequence, Generation, Happening, Mono, Notice, Now, RunId, Severity, TimeSpan, UnitName, pack};

pub use incident::{Closed, Closing, Incident, IncidentId, Mark, Saved, Subject, Topic};
pub use letter::Letter;
pub use message::{MESSAGE_VERSION, Message, MessageError, Status, TEXT_CHARS_MAX};
pub use settings::{
    Mailbox, Protection, ROUTES_MAX, Route, RouteName, RouteNameError, Rule, Settings, Target, Verdict, default_rules,
};

/// Most units whose marks are kept; past it those that are in no incident are forgotten first.
pub const MARKS_MAX: usize = 10_000;

/// One thing the alert machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the row of an incident, new or changed; in the same transaction as the happening.
    Save(Box<Incident>),
    /// Put a message into the outbox, unless one of its id is or was there; in the same transaction.
    Send(Box<Message>),
}

/// The machine that decides who is told.
#[derive(Debug)]
pub struct Alerts {
    settings: Settings,
    marks: BTreeMap<UnitName, Mark>,
    open: BTreeMap<Subject, Open>,
    effects: VecDeque<Effect>,
    shutting_down: bool,
}

#[derive(Debug)]
struct Open {
    incident: Incident,
    remind_at: Option<Mono>,
}

impl Alerts {
    /// A machine that knows of no incident.
    pub fn new(settings: Settings) -> Self {
        Self { settings, marks: BTreeMap::new(), open: BTreeMap::new(), effects: VecDeque::new(), shutting_down: false }
    }

    /// A machine that goes on where the rows of the store end. Effects may wait in it.
    pub fn restore(settings: Settings, saved: Saved, now: Now) -> Self {
        let mut alerts = Self::new(settings);
        alerts.marks = saved.marks;
        for incident in saved.open {
            let remind_at = alerts.reminder_left(&incident, now);
            alerts.open.insert(incident.subject.clone(), Open { incident, remind_at });
        }
        // Its row could be read, so the store works.
        alerts.close(now, &Subject::Store, Closing::Recovered);
        alerts
    }

    /// Takes in late what the rows of the store say, for a machine that began without. `over` tells of a unit whose incident
    /// is not open any more how it ended meanwhile. Of what was told since, nothing is told again.
    pub fn learn(&mut self, now: Now, saved: Saved, over: impl Fn(&UnitName) -> Option<Closing>) {
        for (unit, known) in saved.marks {
            let mark = self.mark(&unit);
            mark.seen = mark.seen.max(known.seen);
            mark.ended = mark.ended.max(known.ended);
            mark.incident = mark.incident.max(known.incident);
        }
        for incident in saved.open {
            let subject = incident.subject.clone();
            if let Some(own) = self.open.get_mut(&subject) {
                if own.incident.id != incident.id {
                    own.incident.told.extend(incident.told.iter().cloned());
                    own.incident.restarts = own.incident.restarts.saturating_add(incident.restarts);
                    self.save(&subject);
                    let closed = Some(Closed { at: now.wall, how: Closing::Joined });
                    self.effects.push_back(Effect::Save(Box::new(Incident { closed, ..incident })));
                }
                continue;
            }
            let remind_at = self.reminder_left(&incident, now);
            self.open.insert(subject.clone(), Open { incident, remind_at });
            // That its row could be read says that the store works.
            let how = if subject == Subject::Store { Some(Closing::Recovered) } else { subject.unit().and_then(&over) };
            if let Some(how) = how {
                self.close(now, &subject, how);
            }
        }
    }

    /// Closes the incidents of units that `over` says are over: a machine before this one did not write that down.
    pub fn settle(&mut self, now: Now, over: impl Fn(&UnitName) -> Option<Closing>) {
        let ended: Vec<_> =
            self.open.keys().filter_map(|subject| Some((subject.clone(), over(subject.unit()?)?))).collect();
        for (subject, how) in ended {
            self.close(now, &subject, how);
        }
    }

    /// What the store is asked to keep, for a machine that goes on later.
    pub fn snapshot(&self) -> Saved {
        Saved { open: self.open().cloned().collect(), marks: self.marks.clone() }
    }

    /// Takes other rules and routes into use; open incidents stay, and are reminded of by the new rules.
    pub fn configure(&mut self, now: Now, settings: Settings) {
        self.settings = settings;
        let remind: Vec<_> = self.open().map(|incident| self.reminder_left(incident, now)).collect();
        for (open, remind_at) in self.open.values_mut().zip(remind) {
            open.remind_at = remind_at;
        }
    }

    /// Closes the incidents of units that are no more, and tells nobody: after a restore, and with each new set of units.
    pub fn keep_units(&mut self, now: Now, is_there: impl Fn(&UnitName) -> bool) {
        let gone = |subject: &Subject| subject.unit().is_some_and(|unit| !is_there(unit));
        let subjects: Vec<_> = self.open.keys().filter(|subject| gone(subject)).cloned().collect();
        for subject in subjects {
            self.close(now, &subject, Closing::Removed);
        }
    }

    /// Takes no more room than needed; worth while after many notices.
    pub fn pack(&mut self) {
        pack(&mut self.marks);
    }

    /// The incidents that are open, by subject.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().map(|open| &open.incident)
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Alerts::handle_timeout`] is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.open.values().filter_map(|open| open.remind_at).min()
    }

    /// Reminds of incidents whose time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let due = |open: &Open| open.remind_at.is_some_and(|at| at <= now.mono);
        let subjects: Vec<_> = self.open.iter().filter(|(_, open)| due(open)).map(|(s, _)| s.clone()).collect();
        for subject in subjects {
            self.remind(now, &subject);
        }
    }

    /// Hears of one happening.
    #[expect(clippy::too_many_lines, reason = "one exhaustive match, an arm per happening")]
    pub fn handle(&mut self, now: Now, notice: &Notice) {
        if self.shutting_down {
            return;
        }
        let what = &notice.what;
        match what {
            Happening::RunStarting { run, .. } => self.saw(run),
            Happening::RunEnded { run, result, wanted, consequence, .. } => {
                let is_new = self.ends_first_time(run);
                if !wanted && (is_new || self.turned_out_final(run, *consequence)) {
                    let ended = Report { run: Some(run), result: Some(*result), ..Report::of(notice) };
                    self.ended(now, *consequence, &ended);
                }
            }
            Happening::Unhealthy { run, severity, .. } => {
                if !self.is_over(run) && *severity != Severity::Info {
                    self.saw(run);
                    self.worsen(now, Topic::UnitUnhealthy, &Report::of(notice));
                }
            }
            Happening::Unkillable { run } => {
                if !self.is_over(run) {
                    self.saw(run);
                    self.worsen(now, Topic::UnitUnkillable, &Report::of(notice));
                }
            }
            Happening::StartLimitHit { unit, .. } => {
                let subject = Subject::Unit(unit.clone());
                if self.open.contains_key(&subject) || self.unsettled(unit) {
                    self.worsen(now, Topic::StartLimitHit, &Report::of(notice));
                }
            }
            Happening::UnitFailed { unit, result } => {
                let subject = Subject::Unit(unit.clone());
                // The end of the run has said whether people want to know; alone it speaks of a unit that never ran.
                let no_run_ended = self.marks.get(unit).is_none_or(|mark| mark.ended < mark.seen);
                if self.open.contains_key(&subject) || no_run_ended && self.unsettled(unit) {
                    self.worsen(now, Topic::UnitFailed, &Report { result: Some(*result), ..Report::of(notice) });
                }
            }
            Happening::Recovered { run } => {
                let subject = Subject::Unit(run.unit.clone());
                if self.open.get(&subject).is_some_and(|open| open.incident.generation <= run.generation) {
                    self.close(now, &subject, Closing::Recovered);
                }
            }
            Happening::UnitStopped { unit, .. } => self.close(now, &Subject::Unit(unit.clone()), Closing::Stopped),
            Happening::CountersReset { unit, was_failed: true, .. } => {
                self.close(now, &Subject::Unit(unit.clone()), Closing::Reset);
            }
            Happening::ShuttingDown { .. } => self.shut_down(now),
            Happening::ConfigRejected { .. } => self.worsen(now, Topic::ConfigRejected, &Report::of(notice)),
            Happening::ConfigLoaded { .. } => self.close(now, &Subject::Config, Closing::Recovered),
            Happening::StoreDegraded { .. } => self.worsen(now, Topic::StoreDegraded, &Report::of(notice)),
            Happening::StoreRecovered => self.close(now, &Subject::Store, Closing::Recovered),
            Happening::LogsDegraded { .. } => self.worsen(now, Topic::LogsDegraded, &Report::of(notice)),
            Happening::LogsRecovered => self.close(now, &Subject::Logs, Closing::Recovered),
            Happening::StoreReplaced { .. } => self.tell_once(now, Topic::StoreReplaced, &Report::of(notice)),
            Happening::CountersReset { was_failed: false, .. }
            | Happening::MainStarted { .. }
            | Happening::RunReady { .. }
            | Happening::Listening { .. }
            | Happening::SpawnFailed { .. }
            | Happening::ControlFailed { .. }
            | Happening::RestartScheduled { .. }
            | Happening::TimedOut { .. }
            | Happening::WatchdogExpired { .. }
            | Happening::OomKilled { .. }
            | Happening::Reloaded { .. }
            | Happening::ReloadFailed { .. }
            | Happening::Healthy { .. }
            | Happening::Degraded { .. }
            | Happening::DependencyFailed { .. }
            | Happening::NotifyRefused { .. }
            | Happening::MainPidRefused { .. }
            | Happening::ManagerStarted { .. }
            | Happening::UpgradeFailed { .. }
            | Happening::OutputDropped { .. }
            | Happening::Bug { .. } => {}
        }
    }

    fn ended(&mut self, now: Now, consequence: Consequence, report: &Report<'_>) {
        match consequence {
            Consequence::Restart => self.worsen(now, Topic::UnitRestarted, report),
            Consequence::Fail => self.worsen(now, Topic::UnitFailed, report),
            Consequence::StartLimit => self.worsen(now, Topic::StartLimitHit, report),
            Consequence::Rest => self.close(now, &report.subject, Closing::Finished),
        }
    }

    /// Opens an incident, or adds to the open one; tells people when it opens and when it first gets worse.
    fn worsen(&mut self, now: Now, topic: Topic, report: &Report<'_>) {
        let tell = match self.open.get_mut(&report.subject) {
            Some(open) => open.incident.join(topic, report),
            None => {
                let id = self.fresh_id(now, &report.subject);
                let incident = Incident::begin(id, topic, now.wall, report);
                self.open.insert(report.subject.clone(), Open { incident, remind_at: None });
                true
            }
        };
        if tell {
            self.tell(now, &report.subject, 0);
        }
        self.save(&report.subject);
    }

    fn remind(&mut self, now: Now, subject: &Subject) {
        let Some(open) = self.open.get_mut(subject) else { return };
        open.incident.reminders += 1;
        let nth = open.incident.reminders;
        self.tell(now, subject, nth);
        self.save(subject);
    }

    /// Sends what the open incident says now; `reminder` 0 is the first word about its stage.
    fn tell(&mut self, now: Now, subject: &Subject, reminder: u32) {
        let Some(open) = self.open.get_mut(subject) else { return };
        let verdict = self.settings.verdict(open.incident.topic, subject, open.incident.severity);
        open.remind_at = repeat_after(&verdict, now);
        open.incident.severity = verdict.severity;
        open.incident.told_at = now.wall;
        open.incident.told.extend(verdict.routes.iter().cloned());
        for route in &verdict.routes {
            let message = Message::firing(&open.incident, &verdict, &self.settings.node, route, reminder);
            self.effects.push_back(Effect::Send(Box::new(message)));
        }
    }

    fn save(&mut self, subject: &Subject) {
        if let Some(open) = self.open.get(subject) {
            self.effects.push_back(Effect::Save(Box::new(open.incident.clone())));
        }
    }

    /// Ends the open incident of a subject, if there is one.
    fn close(&mut self, now: Now, subject: &Subject, how: Closing) {
        let Some(Open { mut incident, .. }) = self.open.remove(subject) else { return };
        incident.closed = Some(Closed { at: now.wall, how });
        let verdict = self.settings.verdict(Topic::Recovered, subject, Severity::Info);
        for route in &incident.told {
            // People know of what they did themselves; who keeps a list of what is open does not.
            let is_told = how.is_told() && verdict.routes.contains(route);
            if is_told || how != Closing::Joined && self.settings.keeps_list(route) {
                let message = Message::resolved(&incident, &verdict, &self.settings.node, route, now.wall);
                self.effects.push_back(Effect::Send(Box::new(message)));
            }
        }
        self.effects.push_back(Effect::Save(Box::new(incident)));
    }

    fn shut_down(&mut self, now: Now) {
        self.shutting_down = true;
        let subjects: Vec<_> = self.open.keys().cloned().collect();
        for subject in subjects {
            self.close(now, &subject, Closing::Shutdown);
        }
    }

    /// A happening that is over as it is told: one message, no incident.
    fn tell_once(&mut self, now: Now, topic: Topic, report: &Report<'_>) {
        let incident = Incident::begin(IncidentId::of_moment(topic, now.wall), topic, now.wall, report);
        let verdict = self.settings.verdict(topic, &report.subject, incident.severity);
        for route in &verdict.routes {
            let message = Message::firing(&incident, &verdict, &self.settings.node, route, 0);
            self.effects.push_back(Effect::Send(Box::new(message)));
        }
    }

    fn fresh_id(&mut self, now: Now, subject: &Subject) -> IncidentId {
        let Subject::Unit(unit) = subject else { return IncidentId::of_subject(subject, now.wall) };
        let mark = self.mark(unit);
        let generation = mark.seen;
        let nth = match mark.incident {
            Some((of, nth)) if of == generation => nth + 1,
            Some(_) | None => 0,
        };
        mark.incident = Some((generation, nth));
        IncidentId::of_run(unit, generation, nth)
    }

    fn saw(&mut self, run: &RunId) {
        let mark = self.mark(&run.unit);
        mark.seen = mark.seen.max(run.generation);
    }

    /// Whether the end of the run was seen.
    fn is_over(&self, run: &RunId) -> bool {
        self.marks.get(&run.unit).is_some_and(|mark| run.generation <= mark.ended)
    }

    /// Whether this end is new; a replayed one is not.
    fn ends_first_time(&mut self, run: &RunId) -> bool {
        self.saw(run);
        let mark = self.mark(&run.unit);
        let new = run.generation > mark.ended;
        mark.ended = mark.ended.max(run.generation);
        new
    }

    /// Whether the newest end, of which people know, has come to more than that: of a manager that died as it found the start
    /// limit hit, only the end's consequence is told again.
    fn turned_out_final(&self, run: &RunId, consequence: Consequence) -> bool {
        let is_newest = self.marks.get(&run.unit).is_some_and(|mark| mark.ended == run.generation);
        is_newest
            && matches!(consequence, Consequence::Fail | Consequence::StartLimit)
            && self.open.contains_key(&Subject::Unit(run.unit.clone()))
    }

    /// Whether the newest run of the unit has had no incident yet.
    fn unsettled(&self, unit: &UnitName) -> bool {
        self.marks.get(unit).is_none_or(|mark| mark.incident.is_none_or(|(generation, _)| generation < mark.seen))
    }

    fn mark(&mut self, unit: &UnitName) -> &mut Mark {
        if self.marks.len() >= MARKS_MAX && !self.marks.contains_key(unit) {
            let idle = |name: &&UnitName| !self.open.contains_key(&Subject::Unit((*name).clone()));
            if let Some(name) = self.marks.keys().find(idle).cloned() {
                self.marks.remove(&name);
            }
        }
        self.marks.entry(unit.clone()).or_default()
    }

    /// When to remind of an incident that was last told of before this machine began. The wall clock alone knows how
    /// long that is; whatever it says, the wait is at most one interval.
    fn reminder_left(&self, incident: &Incident, now: Now) -> Option<Mono> {
        let verdict = self.settings.verdict(incident.topic, &incident.subject, incident.severity);
        let interval = verdict.repeat_interval.micros().filter(|micros| *micros != 0)?;
        let passed = u64::try_from(now.wall.0.saturating_sub(incident.told_at.0)).unwrap_or(0);
        now.mono.after(TimeSpan::from_micros(interval.saturating_sub(passed)))
    }
}

fn repeat_after(verdict: &Verdict, now: Now) -> Option<Mono> {
    if verdict.repeat_interval.is_zero() { None } else { now.mono.after(verdict.repeat_interval) }
}

/// What a notice says of a subject, for an incident.
#[derive(Debug)]
pub(in crate::alert) struct Report<'a> {
    subject: Subject,
    run: Option<&'a RunId>,
    result: Option<crate::base::RunResult>,
    severity: Severity,
    text: String,
}

impl<'a> Report<'a> {
    fn of(notice: &'a Notice) -> Self {
        let what = &notice.what;
        let subject = match what.unit() {
            Some(unit) => Subject::Unit(unit.clone()),
            None if what.event().starts_with("store") => Subject::Store,
            None if what.event().starts_with("logs") => Subject::Logs,
            None => Subject::Config,
        };
        let text = message::bounded(&what.message());
        Self { subject, run: what.run(), result: None, severity: what.severity(), text }
    }

    fn generation(&self) -> Option<Generation> {
        self.run.map(|run| run.generation)
    }
}

#[cfg(test)]
mod tests;
