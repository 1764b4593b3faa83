//! One notice, four readers: the log, the event stream, the alerts, the store.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    alert::{self, Message},
    base::{Field, Happening, Notice, Severity, pack},
    edge::{
        clock,
        store::{Batch, Write},
    },
};

use super::Engine;

/// Notices that wait for calm; one more, and all are told.
const UNTOLD_MAX: usize = 4096;
/// Nothing else for so long is calm. A death and its restart come closer together.
const CALM: Duration = Duration::from_millis(2);
/// Notices after which it is worth while to put tables in order.
const BURST: usize = 128;
/// Calm or not, nobody waits longer than this.
const UNTOLD_FOR_MAX: Duration = Duration::from_millis(250);

/// Waits until what waits may be told; for ever when nothing does.
pub(super) async fn calm(oldest: Option<&Notice>) {
    match oldest.map(|notice| clock::now().mono.since(notice.at.mono)) {
        None => std::future::pending().await,
        Some(age) => sleep(UNTOLD_FOR_MAX.saturating_sub(age).min(CALM)).await,
    }
}

impl Engine {
    /// Has it told to everyone, in the order in which it happened, as soon as there is calm: between a death and the first
    /// instruction of the successor the CPU belongs to those two.
    pub(super) fn fan_out(&mut self, notice: Notice) {
        self.untold.push(notice);
        if self.untold.len() >= UNTOLD_MAX {
            self.tell_all();
        }
    }

    /// Tells what waits, before anyone can ask for it.
    pub(super) fn tell_all(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        let is_burst = untold.len() >= BURST;
        for notice in untold {
            self.tell(notice);
        }
        if is_burst {
            self.pack();
        }
    }

    /// What a boot fills is filled in order of name.
    fn pack(&mut self) {
        pack(&mut self.processes);
        pack(&mut self.runs);
        self.counters().pack();
        self.alerts.pack();
    }

    fn tell(&mut self, notice: Notice) {
        log(&notice);
        self.counters().hear(&notice);
        self.alerts.handle(notice.at, &notice);
        let mut writes = vec![Write::Notice(Box::new(notice.clone()))];
        writes.extend(self.alert_writes(&notice));
        self.next_seq += 1;
        let seq = self.next_seq;
        if let Happening::RunEnded { run, .. } = &notice.what {
            self.acks.run_ended(seq, run);
        }
        self.events.publish(notice);
        self.write_and_tell(Batch { seq: Some(seq), writes });
    }

    /// Rows go to the store, and with them the messages into its outbox. While it cannot be written, people are told all
    /// the same; the row is settled later.
    fn write_and_tell(&self, batch: Batch) {
        let urgent: Vec<Message> = match self.counters().store_trouble {
            Some(_) => batch.writes.iter().filter_map(message_of).collect(),
            None => Vec::new(),
        };
        self.store.submit(batch);
        urgent.into_iter().for_each(|message| self.deliveries.send_now(message));
    }

    /// What the alerts want kept and sent because of this notice; it goes into the notice's own transaction.
    fn alert_writes(&mut self, notice: &Notice) -> Vec<Write> {
        std::iter::from_fn(|| self.alerts.poll_effect()).map(|effect| write_of(effect, notice.at.wall)).collect()
    }

    pub(super) fn counters(&self) -> std::sync::MutexGuard<'_, super::Counters> {
        self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Alerts that are due by time alone: reminders.
    pub(super) fn remind(&mut self, now: crate::base::Now) {
        self.alerts.handle_timeout(now);
        let writes: Vec<Write> =
            std::iter::from_fn(|| self.alerts.poll_effect()).map(|effect| write_of(effect, now.wall)).collect();
        if !writes.is_empty() {
            self.write_and_tell(Batch { seq: None, writes });
        }
    }
}

fn message_of(write: &Write) -> Option<Message> {
    match write {
        Write::Message(message, _) => Some((**message).clone()),
        Write::Notice(_) | Write::Incident(_) | Write::Outbox(_) | Write::Enablement(..) => None,
    }
}

fn write_of(effect: alert::Effect, now: crate::base::Wall) -> Write {
    match effect {
        alert::Effect::Save(incident) => Write::Incident(incident),
        alert::Effect::Send(message) => Write::Message(message, now),
    }
}

/// One line in our own log: constant text by kind of event, values as fields.
fn log(notice: &Notice) {
    let event = notice.what.event();
    let message = notice.what.message();
    let unit = notice.what.unit().map(tracing::field::display);
    let values = values(notice);
    match notice.what.severity() {
        Severity::Info => tracing::info!(event, unit, values, "{message}"),
        Severity::Warning => tracing::warn!(event, unit, values, "{message}"),
        Severity::Critical | Severity::Bug => tracing::error!(event, unit, values, "{message}"),
    }
}

fn values(notice: &Notice) -> Option<String> {
    let shown: Vec<String> = notice
        .what
        .fields()
        .into_iter()
        .filter(|(name, _)| *name != "unit")
        .map(|(name, value)| match value {
            Field::Text(text) => format!("{name}={text:?}"),
            Field::Number(number) => format!("{name}={number}"),
            Field::Flag(flag) => format!("{name}={flag}"),
        })
        .collect();
    (!shown.is_empty()).then(|| shown.join(" "))
}
