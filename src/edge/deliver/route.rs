//! The task of one route.

mod fallback; // what this route does not take
mod order; // what goes first
mod output; // what a run said last
mod partly; // mail that some have and others want later
mod post; // what is sent by HTTP
mod refused; // whose fault a refusal is

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use reqwest::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use refused::Refusals;

use super::{Common, Outcome, Urgent, answer::Answer, command, mail};
use crate::{
    alert::{Message, MessageError, Route, Target, Trouble},
    base::{Rng, TimeSpan, Wall},
    edge::{
        http::Reach,
        store::{Batch, OutboxRow, OutboxState, OutboxUpdate, Write},
    },
};

/// Messages of a route that are read from the outbox at a time.
const PAGE_ROWS: u32 = 256;
/// Tries of one message; with the longest back-off they last three and a half days.
const ATTEMPTS_MAX: u32 = 1000;
/// Tries of one message at a dead route: an hour and a half of ever longer pauses, then a day of hours.
const REFUSED_MAX: u32 = 34;
/// How long a message waits until it is written down that it is under way.
const NOTED_WITHIN: Duration = Duration::from_millis(250);
/// More that wait than this are sent as one, to people.
const CROWD: usize = 21;
/// Most messages in one.
const DIGEST_MAX: usize = 64;
/// Messages that a task remembers; past it the store alone knows what became of them.
const KNOWN_MAX: usize = 1024;
/// What is kept of an answer as a reason.
const REASON_CHARS_MAX: usize = 200;
/// When the outbox cannot be read, it is asked again after this.
const READ_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Worker {
    common: Arc<Common>,
    route: Route,
    urgent: Arc<Urgent>,
    stopped: watch::Receiver<bool>,
    client: Option<Client>,
    rng: Rng,
    /// What this task knows of messages, where the outbox may not know it yet.
    known: BTreeMap<String, Known>,
    /// Whether the oldest message still has to be asked how long an earlier life was told to wait.
    pub(super) inherits: bool,
    /// Nothing is sent before this.
    paused_until: Instant,
    /// Failures of the route in a row.
    failures: u32,
    refusals: Refusals,
    /// How often in a row the route was found dead.
    deaths: u32,
    /// Messages that were taken.
    taken: u64,
    /// Messages that wait here and went to another route too.
    handed_over: BTreeSet<String>,
    /// By incident, what the receiver calls its thread.
    threads: BTreeMap<String, String>,
    /// A crowd was refused: messages are sent one by one until one is taken.
    apart: bool,
    /// The receiver has said that it is told too much, and not all that waited then is told.
    paced: bool,
    /// What the receiver calls the message that it took just now.
    receipt: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    settled: bool,
    /// It was seen in the outbox; one that was sent past the store appears there later.
    listed: bool,
    attempts: u32,
    /// How many of them were refused.
    refused: u32,
    /// How many messages were taken before it was refused first, and when that was.
    first_refused: Option<(u64, Instant)>,
    /// When it was refused last.
    last_refused: Option<Instant>,
    /// The messages about the same thing that waited behind it when it was tried last.
    behind: BTreeSet<String>,
    /// One of them, that was taken.
    passed_by: Option<String>,
    possible_duplicate: bool,
    /// Who of those whom it is for has it already.
    had: BTreeSet<String>,
    /// The others do not want it before this; what comes after it does not wait for them.
    rests_until: Option<Instant>,
}

/// What may be sent now: one message, or a crowd as one.
struct Due {
    parts: Vec<Part>,
}

struct Part {
    id: String,
    payload: String,
    created: Wall,
    known: Known,
}

impl Worker {
    pub(super) fn new(common: Arc<Common>, route: Route, urgent: Arc<Urgent>, stopped: watch::Receiver<bool>) -> Self {
        let seed = (common.clock)().mono.0;
        Self {
            common,
            route,
            urgent,
            stopped,
            client: None,
            rng: Rng::new(seed),
            known: BTreeMap::new(),
            inherits: true,
            paused_until: Instant::now(),
            failures: 0,
            refusals: Refusals::default(),
            deaths: 0,
            taken: 0,
            handed_over: BTreeSet::new(),
            threads: BTreeMap::new(),
            apart: false,
            paced: false,
            receipt: None,
        }
    }

    pub(super) async fn run(mut self) {
        let common = Arc::clone(&self.common);
        let urgent = Arc::clone(&self.urgent);
        while !*self.stopped.borrow() {
            if urgent.take_again() {
                (self.paused_until, self.failures, self.deaths) = (Instant::now(), 0, 0);
                self.ask_refused_again();
            }
            let filled = common.store.outbox_filled().notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            let (due, look_again) = match self.next().await {
                Ok(due) => (due, None),
                Err(look_again) => (None, Some(look_again)),
            };
            let hand_over_at = self.hand_over_due().await;
            let paused = self.paused_until > Instant::now() && !self.refusals.rest_alone;
            match due {
                Some(due) if !paused => self.send(due).await,
                due => {
                    let wake = look_again.or_else(|| due.map(|_| self.paused_until));
                    let wake = wake.into_iter().chain(hand_over_at).min();
                    let mut stopped = self.stopped.clone();
                    tokio::select! {
                        () = filled => {}
                        () = urgent.came.notified() => {}
                        () = until(wake) => {}
                        // The sender gone means the same as stopped.
                        _ = stopped.wait_for(|stopped| *stopped) => return,
                    }
                }
            }
        }
    }

    /// The oldest message that is not settled; the error is when to look again, the outbox being out of reach.
    async fn next(&mut self) -> Result<Option<Due>, Instant> {
        if let Some(due) = self.next_urgent() {
            return Ok(Some(due));
        }
        let passed_over = self.known.values().filter(|known| known.settled || known.rests_until.is_some()).count();
        let limit = PAGE_ROWS.saturating_add(u32::try_from(passed_over).unwrap_or(u32::MAX));
        let rows = self.common.store.outbox_waiting(self.route.name.clone(), limit).await.map_err(|error| {
            debug!(route = %self.route.name, error = %crate::base::Chain(&error), "the outbox cannot be read; alerts wait");
            Instant::now() + READ_AGAIN
        })?;
        let listed = |id: &str| rows.iter().any(|row| row.id == id);
        self.known.retain(|id, known| !known.settled || !known.listed || listed(id));
        self.known.iter_mut().for_each(|(id, known)| known.listed |= listed(id));
        while self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
        let is_whole_page = u32::try_from(rows.len()).is_ok_and(|rows| rows >= limit) && self.known.len() < KNOWN_MAX;
        let is_settled = |row: &OutboxRow| self.known.get(&row.id).is_some_and(|known| known.settled);
        let waiting: Vec<OutboxRow> = rows.into_iter().filter(|row| !is_settled(row)).collect();
        let waiting = self.without_overtaken(waiting);
        self.ask_in_order(&waiting);
        let (waiting, rested) = self.without_resting(waiting);
        let waiting = if self.is_resting_for_refused() { self.fresh(waiting) } else { waiting };
        let inherits = std::mem::take(&mut self.inherits);
        let rested = rested.into_iter().chain(self.is_resting_for_refused().then_some(self.paused_until)).min();
        let Some(oldest) = waiting.first() else {
            self.paced &= rested.is_some();
            // Behind so many that rest may be others.
            return rested.map_or(Ok(None), |rested| Err(if is_whole_page { Instant::now() } else { rested }));
        };
        if inherits {
            self.inherit(oldest);
        }
        if let Some(left) = self.gathers_for(oldest) {
            let gathered = Instant::now() + left;
            return Err(rested.map_or(gathered, |rested| rested.min(gathered)));
        }
        let waiting = order::graver_first(waiting);
        let count = if self.gathers(waiting.len()) { waiting.len().min(DIGEST_MAX) } else { 1 };
        let mut parts: Vec<Part> = waiting.into_iter().take(count).map(|row| self.part(row)).collect();
        // One mail is for the same people.
        let alike = parts
            .iter()
            .take_while(|part| parts.first().is_some_and(|first| part.known.had == first.known.had))
            .count();
        parts.truncate(alike);
        Ok(Some(Due { parts }))
    }

    /// How long the oldest message still waits for others to come with it.
    fn gathers_for(&self, oldest: &OutboxRow) -> Option<Duration> {
        let wait = self.route.group_wait.duration().filter(|_| self.route.target.takes_digests())?;
        let waited = u64::try_from((self.common.clock)().wall.0.saturating_sub(oldest.created.0)).unwrap_or(0);
        wait.checked_sub(Duration::from_micros(waited)).filter(|left| !left.is_zero())
    }

    /// Whether so many that wait are sent as one.
    fn gathers(&self, waiting: usize) -> bool {
        let least = if self.route.group_wait.is_zero() { CROWD } else { 2 };
        waiting >= least && self.route.target.takes_digests() && !self.apart
    }

    fn part(&mut self, row: OutboxRow) -> Part {
        let first_seen = Known {
            settled: false,
            listed: true,
            attempts: row.attempts,
            refused: row.refused,
            first_refused: None,
            last_refused: None,
            behind: BTreeSet::new(),
            passed_by: None,
            possible_duplicate: row.possible_duplicate || row.sending,
            had: self.had_by(&row),
            rests_until: None,
        };
        let known = self.known.entry(row.id.clone()).or_insert(first_seen).clone();
        Part { id: row.id, payload: row.payload, created: row.created, known }
    }

    fn next_urgent(&self) -> Option<Due> {
        let mut messages = self.urgent.lock();
        while let Some(message) = messages.front() {
            let known = self.known.get(&message.id).cloned().unwrap_or_default();
            // One that some have and others want later is not urgent any more: it waits in the outbox.
            if !known.settled && known.rests_until.is_none() {
                let (id, created) = (message.id.clone(), (self.common.clock)().wall);
                return Some(Due { parts: vec![Part { id, payload: message.to_json(), created, known }] });
            }
            messages.pop_front();
        }
        None
    }

    /// What waits but for reminders that a later message of the same incident has overtaken: who was out of reach for hours
    /// wants to know what is, not each time that it was so.
    fn without_overtaken(&mut self, waiting: Vec<OutboxRow>) -> Vec<OutboxRow> {
        // A page is long, and most have none.
        if waiting.len() < 2 || waiting.iter().all(|row| row.payload.contains("\"reminder\":0")) {
            return waiting;
        }
        let mut later = BTreeSet::new();
        let mut kept = Vec::with_capacity(waiting.len());
        for row in waiting.into_iter().rev() {
            // One that cannot be read is refused when its turn comes.
            if let Ok(message) = Message::from_json(&row.payload)
                && !later.insert(message.incident)
                && message.reminder > 0
            {
                let part = self.part(row);
                let known = Known { settled: true, ..part.known };
                let overtaken = "a later message of the same incident waited too".to_owned();
                self.note(&part.id, OutboxState::Failed(overtaken), &known);
                self.known.insert(part.id, known);
                continue;
            }
            kept.push(row);
        }
        kept.reverse();
        kept
    }

    /// Goes on with the wait that the oldest message was in; never longer than a receiver may ask for, whatever the
    /// wall clock says. A route that was dead is asked at once: perhaps we were restarted because it is mended.
    fn inherit(&mut self, row: &OutboxRow) {
        let reason = row.reason.clone().unwrap_or_else(|| "an earlier try failed".to_owned());
        if row.refused > 0 {
            self.deaths = row.refused;
            self.set_trouble(Some(Trouble::Refuses(reason)));
            return;
        }
        let left = row.next_try.0.saturating_sub((self.common.clock)().wall.0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(self.common.timing.retry_after_max);
        self.paused_until = self.paused_until.max(Instant::now() + left);
        self.failures = row.attempts.min(u32::from(u8::MAX));
        if self.failures > 0 {
            self.set_trouble(Some(Trouble::Fails(reason)));
        }
    }

    async fn send(&mut self, due: Due) {
        let parts = due.parts;
        for part in &parts {
            self.note(&part.id, OutboxState::Sending, &part.known);
        }
        let answer = match self.compose(&parts).await {
            Ok(message) => {
                // Who finds after our death that it was under way says so with the next try. A disk that hangs holds up no alert.
                self.common.store.flush(NOTED_WITHIN).await;
                let had = parts.first().map(|part| part.known.had.clone()).unwrap_or_default();
                self.deliver(&message, &had).await
            }
            Err(error) => Answer::RefusesMessage(crate::base::Chain(&error).to_string()),
        };
        let was_one = parts.len() == 1;
        let pause = self.take_answer(&answer, &parts);
        self.paused_until = Instant::now() + pause;
        for mut part in parts {
            // Only what was answered counts: a try that our own death interrupted says nothing of the route.
            part.known.attempts = part.known.attempts.saturating_add(1);
            let state = self.state_of(&answer, &mut part, pause, was_one);
            self.conclude(part, state).await;
        }
    }

    /// What became of a message.
    async fn conclude(&mut self, mut part: Part, state: OutboxState) {
        part.known.settled = matches!(state, OutboxState::Delivered | OutboxState::Failed(_));
        self.count(&state);
        match &state {
            OutboxState::Failed(reason) => {
                warn!(route = %self.route.name, message = part.id, reason, "an alert was given up");
            }
            OutboxState::Delivered => self.pass(&part),
            OutboxState::Waiting(..) | OutboxState::Sending => {}
        }
        // Before it is written down that this is over: twice is nothing, and never is too late.
        self.settled(&part, &state).await;
        self.note(&part.id, state, &part.known);
        self.known.insert(part.id, part.known);
    }

    /// The message that says what these say.
    async fn compose(&self, parts: &[Part]) -> Result<Message, MessageError> {
        let read = |part: &Part| {
            let message = Message::from_json(&part.payload)?;
            let possible_duplicate = message.possible_duplicate || part.known.possible_duplicate;
            Ok(Message { possible_duplicate, ..message })
        };
        // One that cannot be read is refused when it is alone.
        let messages = parts.iter().map(read).collect::<Result<Vec<_>, MessageError>>()?;
        match messages.as_slice() {
            [first, _, ..] => Ok(Message::digest(first, &messages)),
            _ => {
                let message = messages.into_iter().next().ok_or(MessageError::Version(0))?;
                let waited = parts.first().is_some_and(|part| self.has_waited(part.created));
                Ok(Message { last_output: self.last_output(&message, waited).await, ..message })
            }
        }
    }

    /// What an answer says of the route; how long nothing is sent.
    fn take_answer(&mut self, answer: &Answer, parts: &[Part]) -> Duration {
        let timing = self.common.timing;
        self.refusals.rest_alone = false;
        match answer {
            Answer::Taken => {
                self.takes();
                self.set_trouble(None);
                self.gap()
            }
            Answer::Partly { others, later, .. } => {
                self.takes();
                let who = others.keys().cloned().collect();
                let then = if *later { "some of them are tried again" } else { "they are not tried again" };
                self.set_trouble(Some(Trouble::Partly { who, reason: format!("{}; {then}", answer.reason()) }));
                self.gap()
            }
            Answer::Later { reason, after, .. } | Answer::TooMuch { reason, after } => {
                self.fails(reason);
                self.paced |= matches!(answer, Answer::TooMuch { .. });
                let backoff = self.backoff();
                after.map_or(backoff, |wanted| wanted.max(timing.gap)).min(timing.retry_after_max)
            }
            Answer::Deferred { reason, .. } => {
                self.fails(reason);
                self.deferral(self.failures)
            }
            Answer::RefusesMessage(reason) => match parts {
                [one] => self.refuses(one, reason),
                // Which of them it is, is found out one by one.
                _ => {
                    self.apart = true;
                    self.gap()
                }
            },
            Answer::RefusesUs(reason) => self.died(reason.clone()),
        }
    }

    /// How long the receiver rests after it has answered. Programs take what they take; people, and who said that it is too much,
    /// are told slowly.
    fn gap(&self) -> Duration {
        if self.paced || self.route.target.wants_a_pace() { self.common.timing.gap } else { Duration::ZERO }
    }

    /// What an answer says of one message.
    fn state_of(&self, answer: &Answer, part: &mut Part, pause: Duration, was_one: bool) -> OutboxState {
        let known = &mut part.known;
        let is_old = (self.common.clock)().wall.0.saturating_sub(part.created.0) >= give_up_micros(&self.route);
        match answer {
            Answer::Taken | Answer::Partly { later: false, .. } => OutboxState::Delivered,
            Answer::Partly { taken, .. } => {
                let rest = self.deferral(known.attempts);
                known.had.clone_from(taken);
                known.rests_until = Some(Instant::now() + rest);
                self.waiting_or_failed(is_old || known.attempts >= ATTEMPTS_MAX, rest, &answer.reason())
            }
            Answer::Later { reason, maybe_taken, .. } | Answer::Deferred { reason, maybe_taken } => {
                known.possible_duplicate |= maybe_taken;
                self.waiting_or_failed(is_old || known.attempts >= ATTEMPTS_MAX, pause, reason)
            }
            Answer::TooMuch { reason, .. } => {
                self.waiting_or_failed(is_old || known.attempts >= ATTEMPTS_MAX, pause, reason)
            }
            Answer::RefusesMessage(reason) if !was_one => {
                self.waiting_or_failed(known.attempts >= ATTEMPTS_MAX, pause, reason)
            }
            Answer::RefusesMessage(reason) => self.refused(known, pause, reason),
            Answer::RefusesUs(reason) => {
                known.refused += 1;
                let is_over = known.refused >= REFUSED_MAX || known.attempts >= ATTEMPTS_MAX;
                self.waiting_or_failed(is_over, pause, reason)
            }
        }
    }

    fn waiting_or_failed(&self, is_over: bool, pause: Duration, reason: &str) -> OutboxState {
        if is_over {
            return OutboxState::Failed(reason.to_owned());
        }
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let next_try = Wall((self.common.clock)().wall.0.saturating_add(micros));
        OutboxState::Waiting(next_try, reason.to_owned())
    }

    fn fails(&mut self, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        self.set_trouble(Some(Trouble::Fails(reason.to_owned())));
    }

    /// What is wrong with the route, as far as is known.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.common.seen().troubles.get(&self.route.name).cloned()
    }

    /// Remembers it for whoever asks, and says in the log what is new.
    fn set_trouble(&self, now: Option<Trouble>) {
        let name = &self.route.name;
        let before = match &now {
            Some(trouble) => self.common.seen().troubles.insert(name.clone(), trouble.clone()),
            None => self.common.seen().troubles.remove(name),
        };
        match (before, now) {
            (Some(Trouble::Refuses(_)), Some(Trouble::Refuses(reason)))
            | (Some(Trouble::Fails(_)), Some(Trouble::Fails(reason))) => {
                debug!(route = %name, reason, "an alert was not delivered again");
            }
            (Some(Trouble::Partly { who: before, .. }), Some(Trouble::Partly { who, reason })) if before == who => {
                debug!(route = %name, reason, "an alert was not taken for all again");
            }
            (_, Some(Trouble::Partly { reason, .. })) => {
                warn!(route = %name, reason, "an alert was taken, but not for all whom it was for");
            }
            (_, Some(Trouble::Refuses(reason))) => {
                warn!(route = %name, reason, "an alert route refuses alerts; they wait, and it is asked again ever more seldom");
            }
            (_, Some(Trouble::Fails(reason))) => {
                warn!(route = %name, reason, "an alert was not delivered; it is tried again");
            }
            (Some(_), None) => info!(route = %name, "an alert route takes alerts again"),
            (None, None) => {}
        }
    }

    fn count(&self, state: &OutboxState) {
        let outcome = match state {
            OutboxState::Delivered => Outcome::Delivered,
            OutboxState::Waiting(..) | OutboxState::Sending => Outcome::Retried,
            OutboxState::Failed(_) => Outcome::Failed,
        };
        *self.common.seen().counts.entry((self.route.name.clone(), outcome)).or_default() += 1;
    }

    /// Tells the store, without waiting for it.
    fn note(&mut self, id: &str, state: OutboxState, known: &Known) {
        let update = OutboxUpdate {
            id: id.to_owned(),
            state,
            attempts: known.attempts,
            refused: known.refused,
            possible_duplicate: known.possible_duplicate,
            receipt: self.receipt.take().or_else(|| partly::written(&known.had)),
        };
        self.common.store.submit(Batch { seq: None, writes: vec![Write::Outbox(update)] });
    }

    pub(super) async fn deliver(&mut self, message: &Message, had: &BTreeSet<String>) -> Answer {
        let body = message.body(&self.route.target).unwrap_or_default();
        match self.route.target.clone() {
            Target::Email(mailbox) => mail::send(&mailbox, &message.letter(), had, self.common.timing.deadline).await,
            Target::Webhook(webhook) => self.post_signed(&webhook, body, message.possible_duplicate).await,
            Target::Slack(url) => self.post(&url, body, post::json(), Reach::Public).await,
            Target::Alertmanager(url) => self.post_to_alertmanager(&url, body).await,
            Target::SlackBot(bot) => self.post_as_bot(&bot, message).await,
            Target::Command(program) => command::send(&program, message, &self.route.name, &self.common.errands).await,
        }
    }

    /// Doubles with each failure in a row; between three quarters and five quarters of that, so that many nodes that
    /// failed together do not come back together.
    fn backoff(&mut self) -> Duration {
        let timing = self.common.timing;
        let full = timing.backoff_min.saturating_mul(doubled(self.failures)).min(timing.backoff_max);
        let permille = u32::try_from(750 + self.rng.below(501)).unwrap_or(1000);
        (full * permille / 1000).min(timing.backoff_max)
    }
}

/// By how much the first wait is multiplied after so many failures.
fn doubled(failures: u32) -> u32 {
    1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// How old a message may be when a try of it fails, in microseconds.
fn give_up_micros(route: &Route) -> i64 {
    route.give_up_after.micros().and_then(|micros| i64::try_from(micros).ok()).unwrap_or(i64::MAX)
}

fn shown(span: Duration) -> TimeSpan {
    TimeSpan::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

/// The beginning of a body, on one line.
pub(super) fn reason_in(body: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    body.trim().chars().take(REASON_CHARS_MAX).map(clean).collect()
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
