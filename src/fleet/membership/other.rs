//! What is known of another node.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{Alarm, SUSPECT_AFTER, Sign};
use crate::{base::Mono, fleet::NodeName};

/// More comings and goings than so many within the window are flapping.
const CHANGES_MAX: usize = 3;
/// The window, and how long a node that flaps is taken for one that does.
const FLAPPING: Duration = Duration::from_secs(600);
/// So many commands behind is slow, and so is being behind at all for so long; it is over at half of each.
const BEHIND_MAX: u64 = 16;
const BEHIND_FOR: Duration = Duration::from_secs(60);
/// Who was asked to look for a node has said by then what it found: a look takes 3 s at most.
const FOUND_WITHIN: Duration = Duration::from_secs(4);
/// Of a node that is doubted for long others are asked so often.
const SOUGHT_AGAIN: Duration = Duration::from_secs(30);

/// How a node is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Nothing was heard from it yet, or Redis is away.
    Unknown,
    /// It gives signs of life.
    Alive,
    /// It is late.
    Suspect,
    /// It is silent, and answers at its address, to us or to another node.
    Cut,
    /// It is silent, and answers nobody.
    Failed,
    /// It gives signs of life now, and has come and gone too often.
    Flapping,
}

impl Presence {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Cut => "cut off",
            Self::Failed => "failed",
            Self::Flapping => "flapping",
        }
    }

    /// Whether it counts for a majority.
    pub const fn is_reached(self) -> bool {
        match self {
            Self::Alive | Self::Suspect | Self::Flapping => true,
            Self::Unknown | Self::Cut | Self::Failed => false,
        }
    }

    /// Whether it is worth asking for at its address.
    pub(super) const fn is_doubted(self) -> bool {
        match self {
            Self::Suspect | Self::Cut => true,
            Self::Unknown | Self::Alive | Self::Failed | Self::Flapping => false,
        }
    }
}

#[derive(Debug)]
struct Search {
    since: Mono,
    /// How many were asked.
    asked: usize,
    /// Who has not said yet what it found.
    waits_for: BTreeSet<NodeName>,
    /// Who reaches it.
    found_by: Option<NodeName>,
}

#[derive(Debug)]
pub(super) struct Other {
    pub(super) presence: Presence,
    since: Mono,
    seen: Option<Sign>,
    /// When something new was heard, or was first listened for.
    heard: Mono,
    /// Whether it answered at its address, since it is doubted.
    answers: Option<bool>,
    /// What others found that were asked to look for it, since it is doubted.
    search: Option<Search>,
    /// When it was found failed, and when it came back, of late.
    changes: VecDeque<Mono>,
    flaps_until: Option<Mono>,
    /// The commands that were on their way when its present life began, or when it came back: it may never hear them.
    sent_before: u64,
    /// How many commands it is behind, since when, and at which one it stood then.
    behind: Option<(u64, Mono, u64)>,
    is_slow: bool,
}

impl Other {
    pub(super) const fn new(now: Mono) -> Self {
        Self {
            presence: Presence::Unknown,
            since: now,
            seen: None,
            heard: now,
            answers: None,
            search: None,
            changes: VecDeque::new(),
            flaps_until: None,
            sent_before: 0,
            behind: None,
            is_slow: false,
        }
    }

    pub(super) const fn answered(&mut self, answers: bool) {
        self.answers = Some(answers);
    }

    /// Whether others are to be asked for it. Who answers us needs no other witness.
    pub(super) fn is_to_be_sought(&self, now: Mono) -> bool {
        let is_due = self.search.as_ref().is_none_or(|search| now.since(search.since) >= SOUGHT_AGAIN);
        self.presence.is_doubted() && self.answers != Some(true) && is_due
    }

    /// These are asked for it. What was found before holds no longer.
    pub(super) fn seek(&mut self, now: Mono, peers: &[NodeName]) {
        let waits_for: BTreeSet<NodeName> = peers.iter().cloned().collect();
        self.search = Some(Search { since: now, asked: waits_for.len(), waits_for, found_by: None });
    }

    pub(super) fn sought(&mut self, by: &NodeName, answers: bool) {
        let Some(search) = &mut self.search else { return };
        // Who was not asked, or has said it, says something of another time.
        if search.waits_for.remove(by) && answers {
            search.found_by.get_or_insert_with(|| by.clone());
        }
    }

    /// Whether it answers anybody, once that is known.
    fn answers_anybody(&self, now: Mono) -> Option<bool> {
        let (answers, search) = (self.answers?, self.search.as_ref());
        if answers || search.is_some_and(|search| search.found_by.is_some()) {
            return Some(true);
        }
        let is_open = |search: &Search| !search.waits_for.is_empty() && now.since(search.since) < FOUND_WITHIN;
        (!search.is_some_and(is_open)).then_some(false)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.presence == Presence::Failed
    }

    /// How people see it.
    pub(super) fn shown(&self, now: Mono) -> (Presence, Mono) {
        match self.flaps_until {
            Some(until) if now < until && self.presence.is_reached() => (Presence::Flapping, self.since),
            Some(_) | None => (self.presence, self.since),
        }
    }

    /// Takes in its sign of life, if there is one, and how many commands it was sent.
    pub(super) fn see(&mut self, now: Mono, sign: Option<Sign>, sent: Option<u64>) {
        // Of an old one we cannot say when it was given.
        let is_new = sign.filter(|sign| self.seen.is_none_or(|seen| sign.seq > seen.seq));
        if let Some(sign) = is_new {
            let is_other_life = self.seen.is_some_and(|seen| seen.seq.life != sign.seq.life);
            if is_other_life || matches!(self.presence, Presence::Cut | Presence::Failed) {
                self.sent_before = sent.unwrap_or(0);
            }
            self.seen = Some(sign);
            self.heard = now;
            self.turn(now, Presence::Alive);
        }
        self.measure(now, sent);
    }

    fn measure(&mut self, now: Mono, sent: Option<u64>) {
        let heard = self.seen.map_or(0, |seen| seen.heard).max(self.sent_before);
        let behind = sent.map_or(0, |sent| sent.saturating_sub(heard));
        self.behind = match self.behind {
            _ if behind == 0 => None,
            Some((_, since, at)) if at == heard => Some((behind, since, at)),
            Some(_) | None => Some((behind, now, heard)),
        };
        let (most, longest) = if self.is_slow { (BEHIND_MAX / 2, BEHIND_FOR / 2) } else { (BEHIND_MAX, BEHIND_FOR) };
        let is_behind = self.behind.is_some_and(|(behind, since, _)| behind >= most || now.since(since) >= longest);
        self.is_slow = match self.presence {
            Presence::Alive | Presence::Flapping => is_behind,
            Presence::Suspect => self.is_slow,
            // Who is silent has not only its commands to catch up with.
            Presence::Unknown | Presence::Cut | Presence::Failed => false,
        };
    }

    /// How many commands it is behind, where that is too many, or too long.
    pub(super) fn behind(&self) -> Option<u64> {
        self.behind.filter(|_| self.is_slow).map(|(behind, ..)| behind)
    }

    /// What its silence means. `unit` is an interval, or more of one who doubts itself.
    pub(super) fn judge(&mut self, now: Mono, unit: Duration, failures_max: u32, is_calm: bool) {
        let unit = if self.flaps(now) { unit.saturating_mul(2) } else { unit };
        let silent = now.since(self.heard);
        let is_late = silent >= unit.saturating_mul(SUSPECT_AFTER.min(failures_max));
        let is_silent = silent >= unit.saturating_mul(failures_max) && !is_calm;
        let next = match (self.presence, self.answers_anybody(now)) {
            (Presence::Failed, _) => return,
            (Presence::Suspect | Presence::Cut, Some(false)) if is_silent => Presence::Failed,
            (Presence::Suspect | Presence::Cut, Some(true)) if is_silent => Presence::Cut,
            (Presence::Cut | Presence::Suspect, _) => return,
            (Presence::Unknown | Presence::Alive | Presence::Flapping, _) if is_late => Presence::Suspect,
            (Presence::Unknown | Presence::Alive | Presence::Flapping, _) => return,
        };
        self.turn(now, next);
    }

    fn turn(&mut self, now: Mono, next: Presence) {
        if self.presence == next {
            return;
        }
        let is_change = (next == Presence::Failed) != (self.presence == Presence::Failed);
        if is_change {
            self.changes.retain(|at| now.since(*at) < FLAPPING);
            self.changes.push_back(now);
            if self.changes.len() > CHANGES_MAX {
                self.changes.pop_front();
                self.flaps_until = Some(now.later(FLAPPING));
            }
        }
        if next == Presence::Suspect || next == Presence::Alive {
            (self.answers, self.search) = (None, None);
        }
        (self.presence, self.since) = (next, now);
    }

    fn flaps(&self, now: Mono) -> bool {
        self.flaps_until.is_some_and(|until| now < until)
    }

    /// What is to be told of it. One that flaps is one alarm, whatever it is at the moment.
    pub(super) fn alarm(&self, now: Mono, name: &NodeName) -> Option<Alarm> {
        if self.flaps(now) {
            return Some(Alarm::Failed(name.clone()));
        }
        match self.presence {
            Presence::Failed => Some(Alarm::Failed(name.clone())),
            Presence::Cut => Some(Alarm::Cut(name.clone())),
            Presence::Unknown | Presence::Alive | Presence::Suspect | Presence::Flapping => None,
        }
    }

    /// Why, for people.
    pub(super) fn reason(&self, now: Mono, interval: Duration) -> String {
        let silent = now.since(self.heard).as_secs();
        match self.presence {
            Presence::Failed => {
                let others = match self.search.as_ref().map_or(0, |search| search.asked) {
                    0 => String::new(),
                    1 => ", neither to another node".to_owned(),
                    asked => format!(", neither to {asked} other nodes"),
                };
                format!(
                    "no sign of life for {silent}s, where one comes each {interval:?}, and no answer at its address{others}"
                )
            }
            Presence::Cut => {
                let witness = self.search.as_ref().and_then(|search| search.found_by.as_ref());
                let to_whom = witness
                    .filter(|_| self.answers == Some(false))
                    .map_or_else(String::new, |by| format!(" {by}, though not the node that says this"));
                format!(
                    "no sign of life for {silent}s, but its machine answers{to_whom}: the daemon is down there, or does not reach redis"
                )
            }
            Presence::Unknown | Presence::Alive | Presence::Suspect | Presence::Flapping => {
                "it has come and gone too often within ten minutes".to_owned()
            }
        }
    }
}
