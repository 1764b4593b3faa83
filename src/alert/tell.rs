//! When an incident is told, and to whom: at once, later because something hushes it, again, or to others.
use super::{Alerts, Effect, Incident, Message, Open, Silence, Subject, Verdict, hush::Hush, incident::Word};
use crate::base::{Mono, Now, Remedy, TimeSpan, Wall};

impl Alerts {
    pub(super) fn remind(&mut self, now: Now, subject: &Subject) {
        self.tell_again(now, subject, Word::Reminder);
    }

    /// Says that it matters more than was said.
    pub(super) fn tell_graver(&mut self, now: Now, subject: &Subject) {
        self.tell_again(now, subject, Word::Graver);
    }

    fn tell_again(&mut self, now: Now, subject: &Subject, word: impl Fn(u32) -> Word) {
        let Some(open) = self.open.get(subject) else { return };
        let nth = open.incident.reminders + 1;
        if self.tell(now, subject, word(nth))
            && let Some(open) = self.open.get_mut(subject)
        {
            open.incident.reminders = nth;
        }
        self.save(subject);
    }

    /// The same of one that waits for no moment: what explained it is over, or it is looked whether it is.
    pub(super) fn tell_unexplained(&mut self, now: Now, subject: &Subject) {
        if self.open.get(subject).is_some_and(|open| open.look_at.is_none()) {
            self.tell_held(now, subject);
        }
    }

    /// Says of an incident that was held what it has come to, if nothing hushes it any more. What is as good as over nobody is
    /// told, unless it comes to something again.
    pub(super) fn tell_held(&mut self, now: Now, subject: &Subject) {
        let Some(open) = self.open.get_mut(subject) else { return };
        if open.incident.held && open.incident.remedy == Some(Remedy::Recovering) {
            open.look_at = None;
            return;
        }
        if open.incident.held {
            self.tell(now, subject, Word::First);
            self.save(subject);
        }
    }

    /// Sends what the open incident says now; whether that was done. Of one that is hushed the first word is held, and others
    /// come later.
    pub(super) fn tell(&mut self, now: Now, subject: &Subject, word: Word) -> bool {
        let Some(open) = self.open.get(subject) else { return false };
        let verdict = self.settings.verdict(open.incident.topic, subject, open.incident.severity);
        let hush = self.hush(now.wall, &open.incident, &verdict);
        let Some(open) = self.open.get_mut(subject) else { return false };
        open.incident.severity = verdict.severity;
        open.look_at = None;
        if let Some(hush) = hush {
            let again = hush.until.and_then(|end| at_wall(now, end));
            if word == Word::First {
                (open.incident.held, open.look_at) = (true, again);
            } else {
                open.remind_at = again.or_else(|| repeat_after(&verdict, now));
            }
            return false;
        }
        open.incident.held = false;
        open.incident.told_at = now.wall;
        open.remind_at = repeat_after(&verdict, now);
        // Whom nobody has told cannot have taken it on.
        let told_first = *open.told_first.get_or_insert(now.wall);
        open.escalate_at = escalation_left(&open.incident, &verdict, told_first, now);
        let mut routes = verdict.routes.clone();
        if open.incident.escalated {
            let more = verdict.escalation.iter().flat_map(|escalation| &escalation.routes);
            routes.extend(more.filter(|route| !verdict.routes.contains(route)).cloned());
        }
        open.incident.told.extend(routes.iter().cloned());
        for route in &routes {
            let message = Message::firing(&open.incident, &verdict, &self.settings.node, route, word);
            self.effects.push_back(Effect::Send(Box::new(message)));
        }
        true
    }

    /// Nobody has taken it on: others are told.
    pub(super) fn escalate(&mut self, now: Now, subject: &Subject) {
        let Some(open) = self.open.get_mut(subject) else { return };
        open.escalate_at = None;
        let verdict = self.settings.verdict(open.incident.topic, subject, open.incident.severity);
        let Some(escalation) = &verdict.escalation else { return };
        open.incident.escalated = true;
        open.incident.told.extend(escalation.routes.iter().cloned());
        for route in &escalation.routes {
            let message = Message::escalated(&open.incident, &verdict, &self.settings.node, route, now.wall);
            self.effects.push_back(Effect::Send(Box::new(message)));
        }
        self.save(subject);
    }

    /// What keeps people from being told of an incident now.
    fn hush(&self, at: Wall, incident: &Incident, verdict: &Verdict) -> Option<Hush> {
        let node = &self.settings.node;
        let silenced =
            |silence: &&Silence| silence.holds(at) && silence.pattern.matches(incident.topic, &incident.subject, node);
        let silence = self.silences.iter().filter(silenced).max_by_key(|silence| silence.until);
        let silence = silence.map(|silence| (silence.until, format!("silence {} of {}", silence.id, silence.by)));
        let quiet = verdict.quiet_hours.as_ref().and_then(|hours| Some((hours.end(at)?, "quiet hours".to_owned())));
        if let Some((end, by)) = silence.max(quiet) {
            return Some(Hush { by, until: Some(end) });
        }
        let inhibits = |other: &&Incident| {
            other.subject != incident.subject
                && verdict.inhibited_by.iter().any(|pattern| pattern.matches(other.topic, &other.subject, node))
        };
        let other = self.open().find(inhibits)?;
        Some(Hush { by: format!("{}:{}", other.topic.as_str(), other.subject), until: None })
    }

    /// What keeps people from being told of an open incident, if it is held.
    pub fn hush_of(&self, now: Now, incident: &Incident) -> Option<Hush> {
        let verdict = self.settings.verdict(incident.topic, &incident.subject, incident.severity);
        self.hush(now.wall, incident, &verdict).filter(|_| incident.held)
    }

    /// An incident that is known already, with what time has in store for it.
    pub(super) fn resumed(&self, now: Now, incident: Incident) -> Open {
        let verdict = self.settings.verdict(incident.topic, &incident.subject, incident.severity);
        let remind_at = if incident.held { None } else { self.reminder_left(&incident, now) };
        let look_at = incident.held.then_some(now.mono);
        // Of one that was told again the first time is not known any more.
        let told_first = if incident.reminders == 0 { incident.told_at } else { incident.opened_at };
        let told_first = (!incident.told.is_empty()).then_some(told_first);
        let escalate_at = if incident.held { None } else { told_first };
        let escalate_at = escalate_at.and_then(|first| escalation_left(&incident, &verdict, first, now));
        Open { incident, announced: None, told_first, remind_at, look_at, escalate_at }
    }

    /// When to remind of an incident that was last told of before this machine began. The wall clock alone knows how
    /// long that is; whatever it says, the wait is at most one interval.
    fn reminder_left(&self, incident: &Incident, now: Now) -> Option<Mono> {
        if incident.acknowledged.is_some() {
            return None;
        }
        let verdict = self.settings.verdict(incident.topic, &incident.subject, incident.severity);
        let interval = verdict.repeat_interval.micros().filter(|micros| *micros != 0)?;
        let passed = u64::try_from(now.wall.0.saturating_sub(incident.told_at.0)).unwrap_or(0);
        now.mono.after(TimeSpan::from_micros(interval.saturating_sub(passed)))
    }
}

fn repeat_after(verdict: &Verdict, now: Now) -> Option<Mono> {
    if verdict.repeat_interval.is_zero() { None } else { now.mono.after(verdict.repeat_interval) }
}

/// The moment at which the clock on the wall will show `wall`, going on as it goes.
fn at_wall(now: Now, wall: Wall) -> Option<Mono> {
    let left = u64::try_from(wall.0.saturating_sub(now.wall.0)).unwrap_or(0);
    now.mono.after(TimeSpan::from_micros(left))
}

/// When others are to be told, unless someone has taken it on whom that was `told_first`.
fn escalation_left(incident: &Incident, verdict: &Verdict, told_first: Wall, now: Now) -> Option<Mono> {
    let escalation = verdict.escalation.as_ref()?;
    if incident.escalated || incident.acknowledged.is_some() {
        return None;
    }
    let after = i64::try_from(escalation.after.micros()?).unwrap_or(i64::MAX);
    at_wall(now, Wall(told_first.0.saturating_add(after)))
}
