//! Empties the outbox: each route has a task that sends its messages in order, at most one at a time.
//!
//! At least once: a message is settled only by an answer, and one whose fate is unknown (a timeout, a broken
//! connection, a 5xx, our own death) is sent again with `possible_duplicate`. A route that answers "never" (4xx, a
//! redirect) is dead: its messages wait, and one of them asks again, soon and then ever more seldom. Whoever changes this
//! usually lets a URL, which is a secret, into an error text.

mod answer; // what a receiver says, as what it means
mod command; // programs of the operator's
mod mail;
mod route; // the task of one

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

pub use self::mail::check_address;
use super::{
    errand::Errands,
    http::{self, Tls},
    store::{Store, Told},
};
use crate::{
    alert::{Message, ROUTES_MAX, Route, RouteName, Trouble},
    base::{Chain, Now, Secret},
};

/// Most messages of a route that are sent past the store.
const URGENT_MAX: usize = 64;

/// How long things may take. The defaults are for production; tests have no hour to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For one delivery, from name lookup to the end of the answer.
    pub deadline: Duration,
    /// Between two messages to people, and to who said that it is told too much; Slack takes about one a second.
    pub gap: Duration,
    /// The first wait after a failure; each further one is twice as long, with jitter.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// The longest wait that a receiver may ask for.
    pub retry_after_max: Duration,
    /// The first pause between two questions to a dead route; each further one is twice as long.
    pub refused_min: Duration,
    /// The longest such pause.
    pub refused_max: Duration,
    /// The pause until a message that was refused by itself is asked again, when others are taken.
    pub refused_beside: Duration,
    /// So long it is asked while others are taken, until it is given up: a receiver may be mended.
    pub blamed_after: Duration,
    /// The waits after a mail server wanted a mail later; the last is that of all further ones. At least half an hour from the
    /// fourth on (RFC 5321 section 4.5.4.1).
    pub deferrals: [Duration; 4],
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            gap: Duration::from_secs(1),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(3600),
            refused_min: Duration::from_secs(5),
            refused_max: Duration::from_secs(3600),
            refused_beside: Duration::from_secs(10),
            blamed_after: Duration::from_secs(300),
            deferrals: [1, 5, 15, 30].map(|minutes| Duration::from_secs(60 * minutes)),
        }
    }
}

/// What became of one try, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Taken by the receiver.
    Delivered,
    /// Not taken; tried again later.
    Retried,
    /// Given up.
    Failed,
}

impl Outcome {
    /// The label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// The tasks that deliver.
#[derive(Debug)]
pub struct Deliveries {
    common: Arc<Common>,
    routes: Mutex<BTreeMap<RouteName, Running>>,
}

/// What the tasks share.
#[derive(Debug)]
struct Common {
    store: Store,
    clock: fn() -> Now,
    timing: Timing,
    /// To whom commands are handed.
    errands: Errands,
    /// Where the output of units is, each in a folder of its name.
    logs: Option<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<(RouteName, Outcome), u64>,
    troubles: BTreeMap<RouteName, Trouble>,
}

impl Common {
    // No code panics while it holds the lock.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Running {
    route: Route,
    urgent: Arc<Urgent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Asks a URL, once, whoever answers what.
///
/// # Errors
/// Why nobody answered well, for people, without the URL.
pub async fn ask(url: &Secret) -> Result<(), String> {
    let exchange = async {
        let client = http::client(Tls::of(url.expose()))?;
        client.get(url.expose()).send().await?.error_for_status()
    };
    match timeout(Timing::default().deadline, exchange).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Chain(&error.without_url()).to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// What does not wait until the store says so, or the clock.
#[derive(Debug, Default)]
struct Urgent {
    messages: Mutex<VecDeque<Message>>,
    /// Someone has reason to believe that the receiver takes messages now.
    again: AtomicBool,
    came: Notify,
}

impl Urgent {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_again(&self) {
        self.again.store(true, Ordering::Release);
        self.came.notify_one();
    }

    fn take_again(&self) -> bool {
        self.again.swap(false, Ordering::AcqRel)
    }
}

impl Deliveries {
    /// No routes yet. What routes have run goes to `errands`.
    pub fn new(store: Store, clock: fn() -> Now, timing: Timing, errands: Errands) -> Self {
        let common = Common { store, clock, timing, errands, logs: None, seen: Mutex::default() };
        Self { common: Arc::new(common), routes: Mutex::default() }
    }

    /// What a service says that is told of while it goes on is read here, each unit's in a folder of its name. To be called
    /// before there are routes.
    #[must_use]
    pub fn reading(mut self, logs: PathBuf) -> Self {
        if let Some(common) = Arc::get_mut(&mut self.common) {
            common.logs = Some(logs);
        }
        self
    }

    /// Delivers to these routes from now on, at most [`ROUTES_MAX`]. A route that is gone or changed ends after the
    /// message under way; messages of one that is gone stay in the outbox. Must be called within a runtime.
    pub fn set_routes(&self, routes: &[Route]) {
        let wanted: BTreeMap<_, _> = routes.iter().take(ROUTES_MAX).map(|route| (route.name.clone(), route)).collect();
        let mut before = BTreeMap::new();
        let mut routes = self.running();
        routes.retain(|name, running| {
            let stays = wanted.get(name).is_some_and(|route| **route == running.route);
            if !stays {
                running.stop.send_replace(true);
                before.insert(name.clone(), std::mem::replace(&mut running.task, tokio::spawn(async {})));
            }
            stays
        });
        self.common.seen().troubles.retain(|name, _| routes.contains_key(name));
        for (name, route) in wanted {
            routes.entry(name).or_insert_with_key(|name| self.start(route.clone(), before.remove(name)));
        }
    }

    // No code panics while it holds the lock.
    fn running(&self) -> MutexGuard<'_, BTreeMap<RouteName, Running>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, route: Route, before: Option<JoinHandle<()>>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let urgent = Arc::new(Urgent::default());
        let mut worker = route::Worker::new(Arc::clone(&self.common), route.clone(), Arc::clone(&urgent), stopped);
        if before.is_some() {
            // Someone has just mended it: the waits that the old one was told are void.
            worker.inherits = false;
        }
        let (common, name) = (Arc::clone(&self.common), route.name.clone());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // How it ended does not matter, only that it does not send any more.
                before.await.ok();
                // What its last try said of the old one is not so of this one.
                common.seen().troubles.remove(&name);
            }
            worker.run().await;
        });
        Running { route, urgent, stop, task }
    }

    /// Sends a message that was handed to the store and may wait there (the store is degraded): past the outbox, and
    /// noted there as soon as the store can. When too many wait, it waits for the store.
    pub fn send_now(&self, message: Message) {
        let routes = self.running();
        let Some((_, running)) = routes.iter().find(|(name, _)| name.as_str() == message.route) else { return };
        let mut messages = running.urgent.lock();
        if messages.len() < URGENT_MAX {
            messages.push_back(message);
        }
        drop(messages);
        running.urgent.came.notify_one();
    }

    /// Asks routes that refuse us, or refused something, again now: someone may have mended what is behind them. One that
    /// fails has said how long it wants to rest, or is asked soon anyway.
    pub fn ask_refusing_again(&self) {
        let fails = |name: &RouteName| matches!(self.common.seen().troubles.get(name), Some(Trouble::Fails(_)));
        self.running().iter().filter(|(name, _)| !fails(name)).for_each(|(_, running)| running.urgent.ask_again());
    }

    /// Names of the routes.
    pub fn routes(&self) -> Vec<RouteName> {
        self.running().keys().cloned().collect()
    }

    /// Whom messages wait for here alone, as the store could not be written when they came.
    pub fn waiting_here(&self) -> Vec<Told> {
        let waits = |message: &Message, route: &RouteName| Told {
            incident: message.incident.clone(),
            route: route.to_string(),
            fallback_of: None,
            waits: true,
            taken: false,
        };
        let routes = self.running();
        let of_route = |(name, running): (&RouteName, &Running)| -> Vec<Told> {
            running.urgent.lock().iter().map(|message| waits(message, name)).collect()
        };
        routes.iter().flat_map(of_route).collect()
    }

    /// Sends a message once, now, past the outbox and past those that wait there; these follow if it is taken.
    ///
    /// # Errors
    /// Why the receiver did not take it, for people.
    pub async fn try_once(&self, message: Message) -> Result<(), String> {
        let found = self
            .running()
            .iter()
            .find(|(name, _)| name.as_str() == message.route)
            .map(|(_, running)| (running.route.clone(), Arc::clone(&running.urgent)));
        let Some((route, urgent)) = found else { return Err("the route is gone".to_owned()) };
        let (_stop, stopped) = watch::channel(false);
        let mut worker = route::Worker::new(Arc::clone(&self.common), route, Arc::default(), stopped);
        match worker.deliver(&message, &BTreeSet::new()).await {
            answer::Answer::Taken => {
                urgent.ask_again();
                Ok(())
            }
            answer @ answer::Answer::Partly { .. } => {
                urgent.ask_again();
                Err(answer.reason())
            }
            answer::Answer::Later { reason, .. }
            | answer::Answer::TooMuch { reason, .. }
            | answer::Answer::Deferred { reason, .. }
            | answer::Answer::RefusesMessage(reason)
            | answer::Answer::RefusesUs(reason) => Err(reason),
        }
    }

    /// How many tries ended how, by route, since the start.
    pub fn counts(&self) -> BTreeMap<(RouteName, Outcome), u64> {
        self.common.seen().counts.clone()
    }

    /// What is wrong with which route, as far as its last try says.
    pub fn troubles(&self) -> BTreeMap<RouteName, Trouble> {
        self.common.seen().troubles.clone()
    }

    /// Routes that refuse our messages, and why.
    pub fn refusing(&self) -> BTreeMap<RouteName, String> {
        let refuses = |(name, trouble)| match trouble {
            Trouble::Refuses(reason) => Some((name, reason)),
            Trouble::Fails(_) | Trouble::Partly { .. } => None,
        };
        self.troubles().into_iter().filter_map(refuses).collect()
    }

    /// Ends the tasks after the messages under way, or after `within`.
    pub async fn stop(self, within: Duration) {
        let routes = std::mem::take(&mut *self.running());
        for running in routes.values() {
            running.stop.send_replace(true);
        }
        let all = async {
            for running in routes.into_values() {
                // A task that panicked has stopped too.
                running.task.await.ok();
            }
        };
        // What is cut off is in the outbox as under way, and is sent again as a possible duplicate.
        timeout(within, all).await.unwrap_or(());
    }
}

#[cfg(test)]
mod tests;
