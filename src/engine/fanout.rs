//! One notice, four readers: the log, the event stream, the alerts, the store.

use crate::{
    alert::{self, Message},
    base::{Consequence, Field, Happening, Notice, Now, Pid, RunResult, Severity, StartCause, Wall, pack},
    edge::{
        leftovers,
        store::{Batch, Write},
    },
    keeper::client::ClientError,
    wire::keeper::Order,
};

use super::Engine;

/// Notices after which it is worth while to put tables in order.
const BURST: usize = 128;

impl Engine {
    /// Has it told to everyone, in the order in which it happened, as soon as there is calm.
    pub(super) fn fan_out(&mut self, notice: Notice) {
        self.untold.notice(notice);
    }

    /// Tells what waits, before anyone can ask for it.
    pub(super) fn tell_all(&mut self) -> Result<(), ClientError> {
        let untold = self.untold.take();
        for (unit, memo) in untold.memos {
            self.keeper.send(&Order::Remember { unit, memo }, Vec::new())?;
        }
        self.keeper.post()?;
        for (_, ack) in untold.acks {
            self.keeper.send(&ack, Vec::new())?;
        }
        for (tree, meant) in untold.sweeps {
            self.tree.sweep(tree, meant);
        }
        if untold.leftovers {
            self.remove_leftovers();
        }
        if !untold.stamps.is_empty() {
            let writes = untold.stamps.into_iter().map(|(unit, at)| Write::Timer(unit, at)).collect();
            self.store.submit(Batch { seq: None, writes });
        }
        let is_burst = untold.notices.len() >= BURST;
        for notice in untold.notices {
            self.tell(notice);
        }
        for unit in untold.leaving {
            self.connections.leaves(self.next_seq, unit);
        }
        if is_burst {
            self.pack();
        }
        Ok(())
    }

    /// Removes, beside the loop, what services had for their lifetime.
    fn remove_leftovers(&self) {
        let places = self.launcher.leftover_places();
        self.runtime.spawn_blocking(move || places.iter().for_each(|place| leftovers::remove(place)));
    }

    /// What a boot fills is filled in order of name.
    fn pack(&mut self) {
        pack(&mut self.processes);
        pack(&mut self.runs);
        self.counters().pack();
        self.alerts.pack();
    }

    fn tell(&mut self, notice: Notice) {
        self.log(&notice);
        let folded = self.connections.fold(&notice);
        self.counters().hear(folded.as_ref().unwrap_or(&notice));
        self.next_seq += 1;
        let seq = self.next_seq;
        if let Happening::RunEnded { run, invocation, .. } = &notice.what {
            self.acks.run_ended(seq, run);
            self.sandboxes.run_ended(*invocation);
            self.preparations.run_ended(&run.unit, *invocation);
        }
        if let Happening::RunEnded { run, wanted: false, consequence, replayed: false, .. } = &notice.what
            && *consequence != Consequence::Rest
            && folded.is_none()
        {
            self.keep_last_words(run);
        }
        self.events.publish(notice.clone());
        let told = Told { seq, notice, folded };
        if let Some(told) = self.unheard.keep(told) {
            self.write_down(told);
        }
    }

    /// Has the alerts hear of it, and keeps it with what they want kept.
    pub(super) fn write_down(&mut self, told: Told) {
        let Told { seq, notice, folded } = told;
        // A connection that ends badly is its client's fault as often as the service's: nobody is woken for one.
        if folded.is_none() {
            self.alerts.handle(notice.at, &notice);
        }
        let at = notice.at;
        let mut writes = vec![Write::Notice(Box::new(folded.unwrap_or(notice)))];
        writes.extend(self.alert_writes(at.wall));
        self.write_and_tell(Batch { seq: Some(seq), writes });
    }

    /// Rows go to the store, and with them the messages into its outbox. While it cannot be written, people are told all
    /// the same; the row is settled later.
    fn write_and_tell(&self, batch: Batch) {
        let urgent: Vec<Message> = match self.counters().store_trouble {
            Some(_) => batch.writes.iter().filter_map(Write::message).cloned().collect(),
            None => Vec::new(),
        };
        self.store.submit(batch);
        urgent.into_iter().for_each(|message| self.deliveries.send_now(message));
    }

    /// One line in our own log: constant text by kind of event, values as fields.
    fn log(&self, notice: &Notice) {
        let event = notice.what.event();
        let message = notice.what.message();
        let unit = notice.what.unit().map(tracing::field::display);
        let values = values(notice, self.pid_of(&notice.what));
        match notice.what.severity() {
            _ if self.is_said_again(notice) => tracing::debug!(event, unit, values, "said again: {message}"),
            _ if is_detail(&notice.what) => tracing::debug!(event, unit, values, "{message}"),
            Severity::Info => tracing::info!(event, unit, values, "{message}"),
            Severity::Warning => tracing::warn!(event, unit, values, "{message}"),
            Severity::Critical | Severity::Bug => tracing::error!(event, unit, values, "{message}"),
        }
    }

    /// Whether it is said again only because a row may be missing: it was said in its time.
    fn is_said_again(&self, notice: &Notice) -> bool {
        let what = &notice.what;
        let is_begin =
            matches!(what, Happening::RunStarting { .. } | Happening::MainStarted { .. } | Happening::RunReady { .. });
        is_begin && notice.at.mono < self.about.since.mono || matches!(what, Happening::RunEnded { replayed: true, .. })
    }

    /// The main process of a run that has come up.
    fn pid_of(&self, what: &Happening) -> Option<Pid> {
        let Happening::RunReady { run } = what else { return None };
        self.runs.get(&run.unit).filter(|tree| tree.run == *run)?.main
    }

    /// What the alerts want kept and sent; because of a notice it goes into the notice's own transaction.
    fn alert_writes(&mut self, now: Wall) -> Vec<Write> {
        std::iter::from_fn(|| self.alerts.poll_effect()).map(|effect| write_of(effect, now)).collect()
    }

    pub(super) fn counters(&self) -> std::sync::MutexGuard<'_, super::Counters> {
        self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Alerts that are due by time alone: reminders.
    pub(super) fn remind(&mut self, now: Now) {
        if self.alerts.next_deadline().is_some_and(|due| due <= now.mono) {
            self.alerts.refresh(now, self.node.reasons_now());
        }
        self.alerts.handle_timeout(now);
        self.write_alerts(now);
    }

    /// What the alerts want without a notice.
    pub(super) fn write_alerts(&mut self, now: Now) {
        let writes = self.alert_writes(now.wall);
        if !writes.is_empty() {
            self.write_and_tell(Batch { seq: None, writes });
        }
    }
}

/// A notice that everyone has heard but the alerts and the store.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) notice: Notice,
    /// As the store is told it, where that is of another unit.
    folded: Option<Notice>,
}

fn write_of(effect: alert::Effect, now: Wall) -> Write {
    match effect {
        alert::Effect::Save(incident) => Write::Incident(incident),
        alert::Effect::Send(message) => Write::Message(message, now),
        alert::Effect::Silence(silence) => Write::Silence(silence),
    }
}

/// What the lines before and after it say as well: a restart is the line of the end, with what is done about it, and the one
/// that the unit is up again, or failed.
const fn is_detail(what: &Happening) -> bool {
    matches!(
        what,
        Happening::MainStarted { .. }
            | Happening::RestartScheduled { .. }
            | Happening::RunStarting {
                cause: StartCause::AutoRestart | StartCause::Unhealthy { .. } | StartCause::ExternalRestart,
                ..
            }
            | Happening::UnitFailed { result: RunResult::StartLimitHit, .. }
            | Happening::Recovered { .. }
    )
}

fn values(notice: &Notice, pid: Option<Pid>) -> Option<String> {
    let mut shown: Vec<String> = notice
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
    shown.extend(pid.map(|pid| format!("pid={pid}")));
    (!shown.is_empty()).then(|| shown.join(" "))
}
