//! Who is told what, and how often: one alert when an incident opens, at most one more at each step by which it gets
//! worse, one when it is over, reminders in between.
//!
//! Pure: notices come in with the time, messages and incident rows go out as values. Whoever changes this usually
//! breaks idempotence: the id of a message derives from the unit, the generation that opened the incident, the event
//! and the route alone, so that a replay after a crash makes the same id and the store drops it.
//!
//! An incident of a unit is in one stage. *Restarted* and *unhealthy* open it; *unkillable*, and after it *failed* and *start
//! limit hit*, open it or make it worse, and the last inhibits the one before; so does a critical probe that falls while only a
//! warning is open. What a probe finds short (room, time until a
//! certificate expires …) is an incident of its own, until that probe is healthy. An incident is closed by `Recovered` or a clean end that rests, by a wanted stop, a
//! reset of a failed unit, or the unit's removal: people are told. From a shutdown on nothing is told, and what is open stays so for the
//! next daemon. A run ends once: an end at or below the highest one seen changes nothing.
//!
//! What is said of an incident is what happened last; its first sentence was told when it opened.
//!
//! An incident is *held* while a silence, quiet hours or another incident hush it; it is told when they are over, if it lasts.
//! Who is told of its end is who was told of it. Whoever *acknowledges* it ends its reminders and its escalation until it gets worse.
#![forbid(unsafe_code)]

mod fallback; // what a route does not take
mod fallen; // what unhealthy probes said
mod fleet; // of several machines
mod hush; // what keeps an alert from being told now
mod incident;
mod letter; // a message as mail
mod marks; // what is known of runs
mod message;
mod people; // what people say of alerts
mod settings;
mod slack; // a message in Slack's blocks
mod tell; // when an incident is told, and to whom
mod template; // a webhook's body as its receiver wants it

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{
    Consequence, Generation, Happening, Mono, Notice, Now, Remedy, RunId, RunResult, Severity, UnitName, Wall, pack,
};

pub use fallback::{Fallback, Trouble, fallback_faults};
use fallen::Fallen;
pub use fleet::Part;
pub use hush::{Hush, Pattern, QuietHours, QuietHoursError, Silence};
pub use incident::{Acknowledged, Closed, Closing, Incident, IncidentId, Mark, Saved, Subject, Topic};
use incident::{Joined, Word};
pub use letter::Letter;
pub use message::{MESSAGE_VERSION, Message, MessageError, Status, TEXT_CHARS_MAX, VARIABLE_PREFIX};
pub use people::{SILENCE_MAX, SILENCES_MAX, SilenceOrder, SilenceRefusal};
pub use settings::{
    Escalation, Heartbeat, Mailbox, Program, Protection, Quiet, ROUTES_MAX, Route, RouteName, RouteNameError, Rule,
    Settings, SlackBot, Target, Verdict, Webhook, default_rules,
};
pub use template::{Template, TemplateError};

/// Most units whose marks are kept; past it those that are in no incident are forgotten first.
pub const MARKS_MAX: usize = 10_000;

/// One thing the alert machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the row of an incident, new or changed; in the same transaction as the happening.
    Save(Box<Incident>),
    /// Put a message into the outbox, unless one of its id is or was there; in the same transaction.
    Send(Box<Message>),
    /// Write the row of a silence, new or ended early.
    Silence(Box<Silence>),
}

/// The machine that decides who is told.
#[derive(Debug)]
pub struct Alerts {
    settings: Settings,
    marks: BTreeMap<UnitName, Mark>,
    open: BTreeMap<Subject, Open>,
    /// By unit, what its unhealthy probes said; of runs before this machine's time only what was said again.
    fallen: BTreeMap<UnitName, Fallen>,
    silences: Vec<Silence>,
    born: Option<u64>,
    effects: VecDeque<Effect>,
    shutting_down: bool,
    /// What is heard now may have been told by a machine before this one, which did not come to write that down.
    is_told_again: bool,
}

#[derive(Debug)]
struct Open {
    incident: Incident,
    /// The run after whose end a restart was announced, and counted: it may come to nothing.
    announced: Option<Generation>,
    /// When people heard of it first.
    told_first: Option<Wall>,
    remind_at: Option<Mono>,
    /// When it is looked whether one that is held may be told.
    look_at: Option<Mono>,
    escalate_at: Option<Mono>,
}

impl Alerts {
    /// A machine that knows of no incident.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            marks: BTreeMap::new(),
            open: BTreeMap::new(),
            fallen: BTreeMap::new(),
            silences: Vec::new(),
            born: None,
            effects: VecDeque::new(),
            shutting_down: false,
            is_told_again: false,
        }
    }

    /// A machine that goes on where the rows of the store end. Effects may wait in it.
    pub fn restore(settings: Settings, saved: Saved, now: Now) -> Self {
        let mut alerts = Self::new(settings);
        (alerts.marks, alerts.born) = (saved.marks, saved.born);
        alerts.silences = saved.silences.into_iter().filter(|silence| silence.holds(now.wall)).collect();
        for incident in saved.open {
            let announced = alerts.announced_in(&incident);
            let open = Open { announced, ..alerts.resumed(now, incident) };
            alerts.open.insert(open.incident.subject.clone(), open);
        }
        // Its row could be read, so the store works.
        alerts.close(now, &Subject::Store, Closing::Recovered);
        alerts
    }

    /// Takes in late what the rows of the store say, for a machine that began without. `over` tells of an incident that is
    /// not open any more how it ended meanwhile. Of what was told since, nothing is told again.
    pub fn learn(&mut self, now: Now, saved: Saved, over: impl Fn(&Incident) -> Option<Closing>) {
        self.born = self.born.or(saved.born);
        let known: Vec<u64> = self.silences.iter().map(|silence| silence.id).collect();
        self.silences.extend(saved.silences.into_iter().filter(|silence| !known.contains(&silence.id)));
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
            // That its row could be read says that the store works.
            let how = if subject == Subject::Store { Some(Closing::Recovered) } else { over(&incident) };
            let open = self.resumed(now, incident);
            self.open.insert(subject.clone(), open);
            if let Some(how) = how {
                self.close(now, &subject, how);
            }
        }
    }

    /// Closes the incidents that `over` says are over: a machine before this one did not write that down.
    pub fn settle(&mut self, now: Now, over: impl Fn(&Incident) -> Option<Closing>) {
        let ended: Vec<_> =
            self.open().filter_map(|incident| Some((incident.subject.clone(), over(incident)?))).collect();
        for (subject, how) in ended {
            self.close(now, &subject, how);
        }
    }

    /// What the store is asked to keep, for a machine that goes on later.
    pub fn snapshot(&self) -> Saved {
        let (marks, silences) = (self.marks.clone(), self.silences.clone());
        Saved { open: self.open().cloned().collect(), marks, silences, born: self.born }
    }

    /// Takes other rules and routes into use; open incidents stay, and are reminded of by the new rules.
    pub fn configure(&mut self, now: Now, settings: Settings) {
        self.settings = settings;
        let open = std::mem::take(&mut self.open);
        let again = |open: Open| Open { announced: open.announced, ..self.resumed(now, open.incident) };
        self.open = open.into_iter().map(|(subject, open)| (subject, again(open))).collect();
    }

    /// Closes the incidents of units and probes that are no more: after a restore, and with each new set of units.
    pub fn keep_units(&mut self, now: Now, is_there: impl Fn(&UnitName, Option<&str>) -> bool) {
        let gone = |subject: &Subject| match subject {
            Subject::Unit(unit) => !is_there(unit, None),
            Subject::Probe(unit, probe) => !is_there(unit, Some(probe)),
            Subject::Config | Subject::Store | Subject::Logs | Subject::Disk | Subject::Fleet(_) => false,
        };
        for (unit, probes) in &mut self.fallen {
            probes.retain(|probe| is_there(unit, Some(probe)));
        }
        self.fallen.retain(|_, probes| probes.worst().is_some());
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
        let mut effect = self.effects.pop_front()?;
        if let (Effect::Send(message), true) = (&mut effect, self.is_told_again) {
            message.possible_duplicate = true;
        }
        Some(effect)
    }

    /// Whether what is heard from now on may have been told already.
    pub const fn hears_again(&mut self, again: bool) {
        self.is_told_again = again;
    }

    /// When [`Alerts::handle_timeout`] is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.shutting_down {
            return None;
        }
        self.open.values().flat_map(|open| [open.remind_at, open.look_at, open.escalate_at]).flatten().min()
    }

    /// Reminds of incidents whose time has come, tells those that were held, and tells others of what nobody takes on.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.shutting_down {
            return;
        }
        let due = |at: Option<Mono>| at.is_some_and(|at| at <= now.mono);
        let subjects: Vec<_> = self.open.keys().cloned().collect();
        for subject in subjects {
            // What is told now need not be told again at once.
            if self.open.get(&subject).is_some_and(|open| due(open.look_at)) {
                self.tell_held(now, &subject);
            }
            if self.open.get(&subject).is_some_and(|open| due(open.remind_at)) {
                self.remind(now, &subject);
            }
            if self.open.get(&subject).is_some_and(|open| due(open.escalate_at)) {
                self.escalate(now, &subject);
            }
        }
        self.silences.retain(|silence| silence.holds(now.wall));
    }

    /// Hears of one happening.
    #[expect(clippy::too_many_lines, reason = "one exhaustive match, an arm per happening")]
    pub fn handle(&mut self, now: Now, notice: &Notice) {
        if self.shutting_down {
            return;
        }
        let what = &notice.what;
        match what {
            Happening::RunStarting { run, .. } => {
                self.saw(run);
                self.comes_back(run, false);
            }
            Happening::RunReady { run } => self.comes_back(run, true),
            Happening::RunEnded { run, result, wanted, consequence, .. } => {
                let is_new = self.ends_first_time(run);
                let fallen = self.fallen.remove(&run.unit);
                // A service that is left running is no affair of ours any more.
                let matters = !wanted || *consequence == Consequence::Left;
                if matters && (is_new || self.turned_out_final(run, *consequence)) {
                    let mut ended = Report { run: Some(run), result: Some(*result), ..Report::of(notice) };
                    // It did as it was told: its probe is why.
                    if let (RunResult::Success, Consequence::Restart) = (result, consequence)
                        && let Some((why, _)) = fallen.as_ref().and_then(Fallen::worst)
                    {
                        ended.text = message::bounded(&format!("{why}; it is restarted"));
                    }
                    self.ended(now, *consequence, &ended);
                }
            }
            Happening::Unhealthy { run, probe, severity, remedy, .. } => {
                if !self.is_over(run) {
                    let report = Report::of(notice);
                    self.update(&Subject::Probe(run.unit.clone(), probe.clone()), &report.text, *remedy);
                    if *severity != Severity::Info {
                        self.fell(run, probe, *severity, &report.text, *remedy);
                        let remedy = self.fallen.get(&run.unit).map(|probes| probes.remedy_beside(*remedy));
                        self.saw(run);
                        self.worsen(now, Topic::UnitUnhealthy, &Report { remedy, ..report });
                    }
                }
            }
            Happening::RestartHeld { run, probe, held } => self.decided(run, probe, Remedy::Held(*held)),
            Happening::RestartReleased { run, probe } => self.decided(run, probe, Remedy::Restart),
            Happening::Degraded { run, probe, shortage, severity, .. } => {
                if !self.is_over(run) && *severity != Severity::Info {
                    self.saw(run);
                    let subject = Subject::Probe(run.unit.clone(), probe.clone());
                    self.worsen(now, Topic::of(*shortage), &Report { subject, ..Report::of(notice) });
                }
            }
            Happening::Healthy { run, probe } => {
                self.close(now, &Subject::Probe(run.unit.clone(), probe.clone()), Closing::Recovered);
                self.rose(&run.unit, probe);
            }
            Happening::DiskLow { .. } => self.worsen(now, Topic::DiskLow, &Report::of(notice)),
            Happening::DiskRecovered => self.close(now, &Subject::Disk, Closing::Recovered),
            Happening::Unkillable { run } => {
                if !self.is_over(run) {
                    self.saw(run);
                    self.worsen(now, Topic::UnitUnkillable, &Report::of(notice));
                }
            }
            Happening::StartLimitHit { unit, .. } => {
                let subject = Subject::Unit(unit.clone());
                if self.open.contains_key(&subject) || self.unsettled(unit) {
                    self.not_restarted(&subject);
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
            Happening::UnitStopped { unit, .. } => {
                self.fallen.remove(unit);
                self.close(now, &Subject::Unit(unit.clone()), Closing::Stopped);
                self.close_probes(now, unit);
            }
            // What a probe finds lasts, whoever resets counters.
            Happening::CountersReset { unit, was_failed, .. } => {
                let subject = Subject::Unit(unit.clone());
                let lasts = |open: &Open| !was_failed && open.incident.topic == Topic::UnitUnhealthy;
                if !self.open.get(&subject).is_some_and(lasts) {
                    self.close(now, &subject, Closing::Reset);
                }
            }
            Happening::ShuttingDown { .. } => self.shutting_down = true,
            Happening::ConfigRejected { .. } => self.worsen(now, Topic::ConfigRejected, &Report::of(notice)),
            Happening::ConfigLoaded { .. } => self.close(now, &Subject::Config, Closing::Recovered),
            Happening::StoreDegraded { .. } => self.worsen(now, Topic::StoreDegraded, &Report::of(notice)),
            Happening::StoreRecovered => self.close(now, &Subject::Store, Closing::Recovered),
            Happening::LogsDegraded { .. } => self.worsen(now, Topic::LogsDegraded, &Report::of(notice)),
            Happening::LogsRecovered => self.close(now, &Subject::Logs, Closing::Recovered),
            Happening::StoreReplaced { .. } => self.tell_once(now, Topic::StoreReplaced, &Report::of(notice)),
            Happening::Fleet(event) => self.hear_of_fleet(now, event, notice),
            Happening::MainStarted { .. }
            | Happening::Listening { .. }
            | Happening::SpawnFailed { .. }
            | Happening::ControlFailed { .. }
            | Happening::RestartScheduled { .. }
            | Happening::TimedOut { .. }
            | Happening::WatchdogExpired { .. }
            | Happening::OomKilled { .. }
            | Happening::Signalled { .. }
            | Happening::Reloaded { .. }
            | Happening::ReloadFailed { .. }
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
            Consequence::Restart => {
                let restarted = Report { remedy: Some(Remedy::Restart), ..report.clone() };
                self.worsen(now, Topic::UnitRestarted, &restarted);
                if let Some(open) = self.open.get_mut(&report.subject) {
                    open.announced = report.generation();
                }
            }
            Consequence::Fail => {
                self.not_restarted(&report.subject);
                self.worsen(now, Topic::UnitFailed, report);
            }
            Consequence::StartLimit => {
                self.not_restarted(&report.subject);
                self.worsen(now, Topic::StartLimitHit, report);
            }
            Consequence::Rest | Consequence::Left => {
                self.close(now, &report.subject, Closing::Finished);
                if let Subject::Unit(unit) = &report.subject {
                    self.close_probes(now, unit);
                }
            }
        }
    }

    /// The restart that the last end had announced did not come, so it does not count.
    fn not_restarted(&mut self, subject: &Subject) {
        let Subject::Unit(unit) = subject else { return };
        let seen = self.marks.get(unit).map(|mark| mark.seen);
        let Some(open) = self.open.get_mut(subject) else { return };
        if open.announced.take().is_some_and(|after| Some(after) == seen) {
            open.incident.restarts = open.incident.restarts.saturating_sub(1);
        }
    }

    /// The same of an incident that a machine before this one saw: its newest run is over, no other has begun, and it is not
    /// failed.
    fn announced_in(&self, incident: &Incident) -> Option<Generation> {
        let Subject::Unit(unit) = &incident.subject else { return None };
        let mark = self.marks.get(unit)?;
        let waits = mark.ended == mark.seen && mark.ended == incident.generation && incident.restarts > 0;
        (waits && !incident.topic.is_final()).then_some(mark.ended)
    }

    /// Opens an incident, or adds to the open one; tells people when it opens and when it first gets worse.
    fn worsen(&mut self, now: Now, topic: Topic, report: &Report<'_>) {
        // As the rules see it: one that makes it less is not graver each time.
        let Verdict { severity, dedup_key, routes, .. } =
            self.settings.verdict(topic, &report.subject, report.severity);
        let news = match self.open.get_mut(&report.subject) {
            Some(open) => open.incident.join(topic, severity, report, &routes),
            None => {
                let id = self.fresh_id(now, &report.subject);
                let mut incident = Incident::begin(id, topic, now.wall, report);
                incident.dedup_key = Some(incident.key(dedup_key.as_deref(), &self.settings.node));
                self.open.insert(report.subject.clone(), Open::new(incident));
                Joined::Worse
            }
        };
        match news {
            Joined::Worse => drop(self.tell(now, &report.subject, Word::First)),
            Joined::Graver => self.tell_graver(now, &report.subject),
            // What was held as it was about to be over is not over.
            Joined::Known => self.tell_unexplained(now, &report.subject),
        }
        self.save(&report.subject);
    }

    /// Has an open incident say something else from now on, and tells nobody.
    fn update(&mut self, subject: &Subject, text: &str, remedy: Remedy) {
        let Some(Open { incident, .. }) = self.open.get_mut(subject) else { return };
        if incident.text != text || incident.remedy != Some(remedy) {
            text.clone_into(&mut incident.text);
            incident.remedy = Some(remedy);
            self.save(subject);
        }
    }

    fn save(&mut self, subject: &Subject) {
        if let Some(open) = self.open.get(subject) {
            self.effects.push_back(Effect::Save(Box::new(open.incident.clone())));
        }
    }

    /// Has what is open and what is silenced written down anew: in a new database none of it is.
    pub fn save_all(&mut self) {
        self.effects.extend(self.open.values().map(|open| Effect::Save(Box::new(open.incident.clone()))));
        self.effects.extend(self.silences.iter().map(|silence| Effect::Silence(Box::new(silence.clone()))));
    }

    /// Ends the open incident of a subject, if there is one.
    fn close(&mut self, now: Now, subject: &Subject, how: Closing) {
        self.not_restarted(subject);
        let Some(Open { mut incident, .. }) = self.open.remove(subject) else { return };
        incident.closed = Some(Closed { at: now.wall, how });
        let (verdict, is_meant) = self.settings.verdict_of_end(subject);
        let begun = self.settings.verdict(incident.topic, subject, incident.severity);
        let escalation = begun.escalation.filter(|_| incident.escalated);
        // Who has escalation to thank for it is told the end too. A silence that came after the beginning hushes no end.
        let listens = |route: &RouteName| {
            verdict.routes.contains(route) || escalation.as_ref().is_some_and(|more| more.routes.contains(route))
        };
        // Whom a rule that means ends names hears of those of which others heard the beginning.
        let named = verdict.routes.iter().filter(|_| is_meant && !incident.told.is_empty());
        let asked: BTreeSet<&RouteName> = incident.told.iter().chain(named).collect();
        for route in asked {
            let is_told = how.is_told() && listens(route);
            let is_listed = incident.told.contains(route) && self.settings.keeps_list(route);
            if is_told || how != Closing::Joined && is_listed {
                let message = Message::resolved(&incident, &verdict, &self.settings.node, route, now.wall);
                self.effects.push_back(Effect::Send(Box::new(message)));
            }
        }
        self.effects.push_back(Effect::Save(Box::new(incident)));
        // It may have been what inhibited others.
        let held = self.open.iter().filter(|(_, open)| open.incident.held && open.look_at.is_none());
        let held: Vec<_> = held.map(|(subject, _)| subject.clone()).collect();
        held.iter().for_each(|subject| self.tell_held(now, subject));
    }

    /// The unit is down because someone wants it so: nothing of it is looked at.
    fn close_probes(&mut self, now: Now, unit: &UnitName) {
        let of_unit = |subject: &&Subject| matches!(subject, Subject::Probe(of, _) if of == unit);
        let subjects: Vec<_> = self.open.keys().filter(of_unit).cloned().collect();
        for subject in subjects {
            self.close(now, &subject, Closing::Stopped);
        }
    }

    /// A happening that is over as it is told: one message, no incident.
    fn tell_once(&mut self, now: Now, topic: Topic, report: &Report<'_>) {
        let mut incident = Incident::begin(IncidentId::of_moment(topic, now.wall), topic, now.wall, report);
        let verdict = self.settings.verdict(topic, &report.subject, incident.severity);
        incident.dedup_key = Some(incident.key(verdict.dedup_key.as_deref(), &self.settings.node));
        for route in &verdict.routes {
            let message = Message::firing(&incident, &verdict, &self.settings.node, route, Word::First);
            self.effects.push_back(Effect::Send(Box::new(message)));
        }
    }
}

impl Open {
    const fn new(incident: Incident) -> Self {
        Self { incident, announced: None, told_first: None, remind_at: None, look_at: None, escalate_at: None }
    }
}

/// What a notice says of a subject, for an incident.
#[derive(Debug, Clone)]
pub(in crate::alert) struct Report<'a> {
    subject: Subject,
    run: Option<&'a RunId>,
    result: Option<RunResult>,
    severity: Severity,
    text: String,
    remedy: Option<Remedy>,
}

impl<'a> Report<'a> {
    fn of(notice: &'a Notice) -> Self {
        let what = &notice.what;
        let of_fleet = if let Happening::Fleet(event) = what { Some(Part::of(event)) } else { None };
        let subject = match what.unit() {
            Some(unit) => Subject::Unit(unit.clone()),
            None if of_fleet.is_some() => of_fleet.map_or(Subject::Config, Subject::Fleet),
            None if what.event().starts_with("store") => Subject::Store,
            None if what.event().starts_with("logs") => Subject::Logs,
            None if what.event().starts_with("disk") => Subject::Disk,
            None => Subject::Config,
        };
        let text = message::bounded(&what.message());
        Self { subject, run: what.run(), result: None, severity: what.severity(), text, remedy: None }
    }

    fn generation(&self) -> Option<Generation> {
        self.run.map(|run| run.generation)
    }
}

#[cfg(test)]
mod tests;
