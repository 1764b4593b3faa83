//! The task of one route.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::{
    Client,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use super::{
    Common, Outcome, Urgent,
    answer::{self, Answer},
    mail,
};
use crate::{
    alert::{Message, Route, Target},
    base::{Rng, Secret, TimeSpan, Wall},
    edge::{
        http::{self, Tls},
        store::{Batch, OutboxRow, OutboxState, OutboxUpdate, Write},
    },
};

/// Messages of a route that are read from the outbox at a time.
const PAGE_ROWS: u32 = 64;
/// Tries of one message; with the longest back-off they last three and a half days.
const ATTEMPTS_MAX: u32 = 1000;
/// Tries of one message at a dead route, an hour apart.
const DEAD_ATTEMPTS_MAX: u32 = 24;
/// Messages that a task remembers; past it the store alone knows what became of them.
const KNOWN_MAX: usize = 1024;
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
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
    /// Messages refused in a row.
    refusals: u32,
}

#[derive(Debug, Clone, Default)]
struct Known {
    settled: bool,
    /// It was seen in the outbox; one that was sent past the store appears there later.
    listed: bool,
    attempts: u32,
    /// How many of them a dead route has refused.
    refused: u32,
    possible_duplicate: bool,
}

/// One message that may be sent now.
struct Due {
    id: String,
    payload: String,
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
            refusals: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let common = Arc::clone(&self.common);
        let urgent = Arc::clone(&self.urgent);
        while !*self.stopped.borrow() {
            let filled = common.store.outbox_filled().notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            let (due, look_again) = match self.next().await {
                Ok(due) => (due, None),
                Err(look_again) => (None, Some(look_again)),
            };
            let paused = self.paused_until > Instant::now();
            match due {
                Some(due) if !paused => self.send(due).await,
                due => {
                    let wake = look_again.or_else(|| due.map(|_| self.paused_until));
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
        let settled = self.known.values().filter(|known| known.settled).count();
        let limit = PAGE_ROWS.saturating_add(u32::try_from(settled).unwrap_or(u32::MAX));
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
        let next = rows.into_iter().find(|row| !self.known.get(&row.id).is_some_and(|known| known.settled));
        let inherits = std::mem::take(&mut self.inherits);
        let Some(row) = next else { return Ok(None) };
        if inherits {
            self.inherit(&row);
        }
        let first_seen = Known {
            settled: false,
            listed: true,
            attempts: row.attempts,
            refused: 0,
            possible_duplicate: row.possible_duplicate || row.sending,
        };
        let known = self.known.entry(row.id.clone()).or_insert(first_seen).clone();
        Ok(Some(Due { id: row.id, payload: row.payload, known }))
    }

    fn next_urgent(&self) -> Option<Due> {
        let mut messages = self.urgent.lock();
        while let Some(message) = messages.front() {
            let known = self.known.get(&message.id).cloned().unwrap_or_default();
            if !known.settled {
                return Some(Due { id: message.id.clone(), payload: message.to_json(), known });
            }
            messages.pop_front();
        }
        None
    }

    /// Goes on with the wait that the oldest message was in; never longer than a receiver may ask for, whatever the
    /// wall clock says.
    fn inherit(&mut self, row: &OutboxRow) {
        let left = row.next_try.0.saturating_sub((self.common.clock)().wall.0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(self.common.timing.retry_after_max);
        self.paused_until = self.paused_until.max(Instant::now() + left);
        self.failures = row.attempts.min(u32::from(u8::MAX));
    }

    async fn send(&mut self, due: Due) {
        let Due { id, payload, mut known } = due;
        known.attempts = known.attempts.saturating_add(1);
        let answer = match Message::from_json(&payload) {
            Ok(message) => {
                self.note(&id, OutboxState::Sending, &known);
                let message = Message { possible_duplicate: known.possible_duplicate, ..message };
                self.deliver(&message).await
            }
            Err(error) => Answer::RefusesMessage(crate::base::Chain(&error).to_string()),
        };
        let timing = self.common.timing;
        let (state, pause) = match answer {
            Answer::Taken => {
                self.failures = 0;
                self.refusals = 0;
                self.common.seen().dead.remove(&self.route.name);
                (OutboxState::Delivered, timing.gap)
            }
            Answer::Later { reason, after, maybe_taken } => {
                debug!(route = %self.route.name, reason, "an alert was not delivered; it is tried again");
                known.possible_duplicate |= maybe_taken;
                self.failures = self.failures.saturating_add(1);
                let backoff = self.backoff();
                let pause = after.map_or(backoff, |wanted| wanted.max(timing.gap)).min(timing.retry_after_max);
                (self.waiting_or_failed(&known, ATTEMPTS_MAX, known.attempts, pause, reason), pause)
            }
            Answer::RefusesMessage(reason) => {
                self.refusals += 1;
                // A second message that is refused says that it is not the messages.
                let pause = if self.refusals > 1 { self.died(reason.clone()) } else { timing.gap };
                (OutboxState::Failed(reason), pause)
            }
            Answer::RefusesUs(reason) => {
                let pause = self.died(reason.clone());
                known.refused += 1;
                (self.waiting_or_failed(&known, DEAD_ATTEMPTS_MAX, known.refused, pause, reason), pause)
            }
        };
        self.paused_until = Instant::now() + pause;
        known.settled = matches!(state, OutboxState::Delivered | OutboxState::Failed(_));
        self.count(&state);
        self.note(&id, state, &known);
        self.known.insert(id, known);
    }

    fn waiting_or_failed(&self, known: &Known, max: u32, tries: u32, pause: Duration, reason: String) -> OutboxState {
        if tries >= max || known.attempts >= ATTEMPTS_MAX {
            return OutboxState::Failed(reason);
        }
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        OutboxState::Waiting(Wall((self.common.clock)().wall.0.saturating_add(micros)))
    }

    fn died(&self, reason: String) -> Duration {
        debug!(route = %self.route.name, reason, "a route refuses alerts; it is asked again later");
        self.common.seen().dead.insert(self.route.name.clone(), reason);
        self.common.timing.dead_pause
    }

    fn count(&self, state: &OutboxState) {
        let outcome = match state {
            OutboxState::Delivered => Outcome::Delivered,
            OutboxState::Waiting(_) | OutboxState::Sending => Outcome::Retried,
            OutboxState::Failed(_) => Outcome::Failed,
        };
        *self.common.seen().counts.entry((self.route.name.clone(), outcome)).or_default() += 1;
    }

    /// Tells the store, without waiting for it.
    fn note(&self, id: &str, state: OutboxState, known: &Known) {
        let update = OutboxUpdate {
            id: id.to_owned(),
            state,
            attempts: known.attempts,
            possible_duplicate: known.possible_duplicate,
        };
        self.common.store.submit(Batch { seq: None, writes: vec![Write::Outbox(update)] });
    }

    pub(super) async fn deliver(&mut self, message: &Message) -> Answer {
        let body = message.body(&self.route.target);
        match (&self.route.target, body) {
            (Target::Email(mailbox), _) => mail::send(mailbox, &message.letter(), self.common.timing.deadline).await,
            (Target::Webhook(url) | Target::Slack(url) | Target::Alertmanager(url), body) => {
                self.post(&url.clone(), body.unwrap_or_default()).await
            }
        }
    }

    async fn post(&mut self, url: &Secret, body: String) -> Answer {
        let url = url.expose();
        let client = match &self.client {
            Some(client) => client.clone(),
            None => match http::client(Tls::of(url)) {
                Ok(client) => self.client.insert(client).clone(),
                // No certificate authorities today may be some tomorrow.
                Err(error) => {
                    let reason = crate::base::Chain(&error.without_url()).to_string();
                    return Answer::Later { reason, after: None, maybe_taken: false };
                }
            },
        };
        let request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        let exchange = async {
            let mut response = request.send().await?;
            let status = response.status();
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.map(str::to_owned);
            let said = if status.is_success() {
                // Taken is taken, whatever becomes of the rest.
                String::new()
            } else {
                reason_in(&http::body(&mut response, ANSWER_BYTES_MAX).await.unwrap_or_default().0)
            };
            Ok((status, retry_after, said))
        };
        let now = (self.common.clock)().wall;
        match timeout(self.common.timing.deadline, exchange).await {
            Ok(Ok((status, retry_after, said))) => {
                let said = said.replace(url, "(secret)");
                answer::of_response(status, retry_after.as_deref(), &said, now)
            }
            Ok(Err(error)) => answer::of_error(error),
            Err(_) => Answer::Later {
                reason: format!("no answer within {}", shown(self.common.timing.deadline)),
                after: None,
                maybe_taken: true,
            },
        }
    }

    /// Doubles with each failure in a row; between three quarters and five quarters of that, so that many nodes that
    /// failed together do not come back together.
    fn backoff(&mut self) -> Duration {
        let timing = self.common.timing;
        let doubled = 1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = timing.backoff_min.saturating_mul(doubled).min(timing.backoff_max);
        let permille = u32::try_from(750 + self.rng.below(501)).unwrap_or(1000);
        (full * permille / 1000).min(timing.backoff_max)
    }
}

fn shown(span: Duration) -> TimeSpan {
    TimeSpan::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

/// The beginning of a body, on one line.
fn reason_in(body: &[u8]) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(body).trim().chars().take(REASON_CHARS_MAX).map(clean).collect()
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
