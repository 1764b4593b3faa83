//! What people say of alerts: silences, and who takes an incident on.
use super::{Acknowledged, Alerts, Effect, Incident, Pattern, Silence, Subject};
use crate::base::{Now, TimeSpan, UnitName, Wall};

/// Most silences that may hold at a time.
pub const SILENCES_MAX: u32 = 1000;
/// The longest silence: who wants more wants a rule.
pub const SILENCE_MAX: TimeSpan = TimeSpan::from_secs(366 * 24 * 3600);

/// A silence as people ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceOrder {
    /// Which alerts.
    pub pattern: Pattern,
    /// For how long; at most [`SILENCE_MAX`].
    pub span: TimeSpan,
    /// Why.
    pub comment: String,
    /// See [`Silence::maintenance`].
    pub maintenance: bool,
}

/// Why there is no such silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SilenceRefusal {
    /// No time, or too much.
    #[error("a silence lasts more than nothing and at most 366 days")]
    Span,
    /// Too many.
    #[error("there are {SILENCES_MAX} silences already; end one with `supervisorctl alerts unsilence`")]
    TooMany,
}

impl Alerts {
    /// Hushes alerts for a time.
    pub fn silence(&mut self, now: Now, order: SilenceOrder, by: String) -> Result<Silence, SilenceRefusal> {
        self.silences.retain(|silence| silence.holds(now.wall));
        let micros = order.span.micros().filter(|micros| *micros > 0 && order.span <= SILENCE_MAX);
        let span = micros.and_then(|micros| i64::try_from(micros).ok()).ok_or(SilenceRefusal::Span)?;
        if self.silences.len() >= SILENCES_MAX as usize {
            return Err(SilenceRefusal::TooMany);
        }
        let silence = Silence {
            // Past ones keep their numbers in the rows.
            id: u64::try_from(now.wall.0 / 1000).unwrap_or(0).max(self.last_silence() + 1),
            pattern: order.pattern,
            since: now.wall,
            until: Wall(now.wall.0.saturating_add(span)),
            by,
            comment: order.comment,
            maintenance: order.maintenance,
        };
        self.silences.push(silence.clone());
        self.effects.push_back(Effect::Silence(Box::new(silence.clone())));
        Ok(silence)
    }

    fn last_silence(&self) -> u64 {
        self.silences.iter().map(|silence| silence.id).max().unwrap_or(0)
    }

    /// Ends silences before their time, those of this number or pattern.
    pub fn unsilence(&mut self, now: Now, text: &str) -> Vec<Silence> {
        let (number, pattern) = (text.parse::<u64>().ok(), Pattern::about(text));
        let is_meant = |silence: &Silence| Some(silence.id) == number || silence.pattern == pattern;
        let (mut ended, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.silences).into_iter().partition(|silence| is_meant(silence));
        self.silences = stay;
        ended.retain(|silence| silence.holds(now.wall));
        for silence in &mut ended {
            silence.until = now.wall;
            self.effects.push_back(Effect::Silence(Box::new(silence.clone())));
        }
        let held: Vec<_> = self.open.iter().filter(|(_, open)| open.incident.held).map(|(s, _)| s.clone()).collect();
        held.iter().for_each(|subject: &Subject| self.tell_held(now, subject));
        ended
    }

    /// The silences that hold.
    pub fn silences(&self, now: Now) -> impl Iterator<Item = &Silence> {
        self.silences.iter().filter(move |silence| silence.holds(now.wall))
    }

    /// Whether someone works on the unit and said so.
    pub fn is_maintained(&self, now: Now, unit: &UnitName) -> bool {
        self.silences.iter().any(|silence| silence.maintains(unit, now.wall))
    }

    /// Someone takes on the open incidents that `text` names: an incident, or what one is about. Those that were found, as
    /// they are now.
    pub fn acknowledge(&mut self, now: Now, text: &str, by: &str) -> Vec<Incident> {
        let node = self.settings.node.clone();
        let mut found = Vec::new();
        for (subject, open) in &mut self.open {
            let Incident { id, topic, dedup_key, .. } = &open.incident;
            let is_it = id.0 == text || dedup_key.as_deref() == Some(text);
            // As a list shows it, `unit_failed:web`, or whom it is about.
            let about = text.strip_prefix(topic.as_str()).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text);
            let is_named =
                is_it || about == subject.outside(&node) || subject.names(&node).iter().any(|name| name == about);
            if !is_named {
                continue;
            }
            open.incident.acknowledged = Some(Acknowledged { at: now.wall, by: by.to_owned() });
            (open.remind_at, open.escalate_at) = (None, None);
            found.push(open.incident.clone());
        }
        let saves = found.iter().map(|incident| Effect::Save(Box::new(incident.clone())));
        self.effects.extend(saves);
        found
    }
}
