//! What the store knows of earlier times, and what to do while it does not say.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Engine, boot::ended, config::Host, fanout::Told, handle::Report};
use crate::{
    alert::{Alerts, Closing, Incident, Saved, Subject},
    base::{
        Chain, Consequence, ExitStatus, Generation, Happening, InvocationId, Mono, Notice, Now, RunId, RunResult,
        TimeSpan, UnitName,
    },
    edge::{
        clock,
        store::{self, Batch, StoreError, Write},
    },
    keeper::client::{ClientError, Pending},
    node::{
        Node,
        input::Restored,
        status::{Active, Verdict},
    },
    unit::UnitDef,
    wire::keeper::{ManagerCause, Order, RunningProcess},
};

/// At boot nothing runs that could die, and what an operator disabled is known to the store alone.
const ANSWERS_AT_BOOT: Duration = Duration::from_secs(60);
/// Otherwise services wait to be restarted. What they need is in the memos.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How often the keeper hears meanwhile that we live.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long alerts wait for the store to say which are open already.
const UNHEARD_FOR: TimeSpan = TimeSpan::from_secs(30);
/// Notices that wait for that; with more they are heard without.
const UNHEARD_MAX: usize = 4096;

/// What happens until the store has said which incidents are open: heard before, an end would be one more alert of an
/// incident that people know, and a recovery none. Rows wait too, so that the keeper tells what a manager that dies
/// meanwhile has not had heard.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    until: Option<Mono>,
    waiting: Vec<Told>,
}

impl Unheard {
    /// Keeps a notice, if it has to wait. One about the store itself never does.
    pub(super) fn keep(&mut self, told: Told) -> Option<Told> {
        let is_of_store = told.notice.what.event().starts_with("store");
        if self.until.is_none() || is_of_store {
            return Some(told);
        }
        self.waiting.push(told);
        None
    }

    /// When it has waited long enough.
    pub(super) fn due(&self) -> Option<Mono> {
        if self.waiting.len() >= UNHEARD_MAX { Some(Mono::default()) } else { self.until }
    }
}

/// What the store says late.
#[derive(Debug, Default)]
pub struct Learnt {
    totals: BTreeMap<UnitName, store::RestartTotals>,
    saved: Saved,
}

impl Engine {
    /// What the store knows; supervision begins without it when it does not answer.
    pub(super) async fn known(
        &mut self,
        opening: oneshot::Receiver<store::Opened>,
        cause: ManagerCause,
    ) -> Result<Restored, ClientError> {
        let patience = if cause == ManagerCause::Boot { ANSWERS_AT_BOOT } else { ANSWERS_WITHIN };
        let store = self.store.clone();
        let (tx, opened) = oneshot::channel();
        let answers = async move {
            let opening = opening.await.map_err(|_| StoreError::Ended)?;
            // It is told before anything is restored from what was opened.
            tx.send(opening).ok();
            let generations = store.generations().await?;
            let enablement = store.enablement().await?;
            let saved = store.alerts_saved().await?;
            let totals = store.restart_totals().await?;
            let elapsed = store.timers().await?;
            let stopped = store.stopped().await?;
            Ok::<_, StoreError>((generations, enablement, saved, totals, elapsed, stopped))
        };
        let mut answers = pin!(timeout(patience, answers));
        let answers = loop {
            self.keeper.send(&Order::Alive, Vec::new())?;
            self.keeper.flush().await?;
            if let Ok(answers) = timeout(ALIVE_EVERY, &mut answers).await {
                break answers;
            }
        };
        let mut restored = Restored::default();
        self.unseeded = !matches!(answers, Ok(Ok(_)));
        if self.unseeded {
            self.unheard.until = clock::now().mono.after(UNHEARD_FOR);
        }
        let is_open = self.tell_opened(opened);
        match answers {
            Ok(Ok((generations, enablement, saved, totals, elapsed, stopped))) => {
                self.unended = generations
                    .iter()
                    .filter(|(_, known)| known.started > known.ended)
                    .map(|(unit, known)| RunId { unit: unit.clone(), generation: known.started })
                    .collect();
                restored.generations =
                    generations.into_iter().map(|(unit, known)| (unit, known.started.max(known.ended))).collect();
                self.counters().seed(totals, &restored.generations);
                restored.enablement = enablement;
                restored.elapsed = elapsed;
                restored.stopped = stopped;
                restored.incidents =
                    saved.open.iter().filter_map(|incident| unit_of(&incident.subject).cloned()).collect();
                self.alerts = Alerts::restore(self.settings.alert.clone(), saved, clock::now());
            }
            Ok(Err(error)) => tracing::error!(error = %Chain(&error), "the store cannot be read; starting without it"),
            Err(_) => tracing::error!("the store does not answer; starting without it"),
        }
        // Otherwise it is asked once it has recovered.
        if is_open {
            self.seed_late();
        }
        Ok(restored)
    }

    /// Whether it can be used.
    fn tell_opened(&mut self, mut opened: oneshot::Receiver<store::Opened>) -> bool {
        let Ok(store::Opened { quarantined, degraded }) = opened.try_recv() else {
            let reason = "the disk does not answer".to_owned();
            self.fan_out(Notice { at: clock::now(), what: Happening::StoreDegraded { reason } });
            return false;
        };
        if let Some((kept, reason)) = quarantined {
            tracing::error!(reason, "the database was damaged");
            let what = Happening::StoreReplaced { kept: kept.display().to_string() };
            self.fan_out(Notice { at: clock::now(), what });
        }
        let is_open = degraded.is_none();
        if let Some(reason) = degraded {
            self.fan_out(Notice { at: clock::now(), what: Happening::StoreDegraded { reason } });
        }
        is_open
    }

    /// Takes from the rows without end those of runs that go on, or whose end waits in the keeper: what is left is of runs of
    /// which nobody will ever hear. Their keeper died, with the machine or with the order to start them unread.
    pub(super) fn account_for(&mut self, living: &[RunningProcess], waiting: &[Pending]) {
        let living = living.iter().map(|process| &process.key.run);
        let waiting = waiting.iter().filter_map(ended).map(|key| key.run);
        let accounted: BTreeSet<RunId> = living.cloned().chain(waiting).collect();
        let goes_on = |run: &RunId| {
            let status = self.node.status(&run.unit);
            status.is_some_and(|status| status.invocation.is_some() && status.generation == run.generation)
        };
        let unended = std::mem::take(&mut self.unended);
        self.unended = unended.into_iter().filter(|run| !accounted.contains(run) && !goes_on(run)).collect();
    }

    /// Ends the rows that are left, after whatever memos know. Only a matter of the books: nobody is told.
    pub(super) fn end_rows(&mut self) -> Result<(), ClientError> {
        if self.unended.is_empty() {
            return Ok(());
        }
        self.tell_all()?;
        let at = clock::now();
        let writes: Vec<Write> = std::mem::take(&mut self.unended)
            .into_iter()
            .map(|run| Happening::RunEnded {
                run,
                invocation: InvocationId::default(),
                status: Some(ExitStatus::Unknown),
                usage: None,
                result: RunResult::Unknown,
                wanted: false,
                consequence: Consequence::Rest,
                delay: None,
                why: None,
                replayed: true,
            })
            .map(|what| Write::Notice(Box::new(Notice { at, what })))
            .collect();
        self.store.submit(Batch { seq: None, writes });
        Ok(())
    }

    /// Without the store nobody knows which runs a unit without a memo had. Their numbers must not come again, or two
    /// runs would be one row: the new ones go on from the seconds of the clock on the wall, which no unit has run often.
    pub(super) fn number_blindly(&self, restored: &mut Restored, host: &Host) {
        if self.unseeded {
            let floor = Generation(u64::try_from(clock::wall().0 / 1_000_000).unwrap_or(0));
            for unit in host.units.keys() {
                restored.generations.entry(unit.clone()).or_insert(floor);
            }
        }
    }

    /// The store can be used: what it counted before is still to be added, and which incidents are open is to be learnt.
    pub(super) fn seed_late(&mut self) {
        if !std::mem::take(&mut self.unseeded) {
            return;
        }
        let (store, reports, is_counted) = (self.store.clone(), self.reporter.clone(), self.counters().counted());
        self.runtime.spawn(async move {
            let learnt = async {
                let saved = store.alerts_saved().await?;
                Ok::<_, StoreError>(Learnt { totals: store.restart_totals_without(is_counted).await?, saved })
            };
            let learnt = learnt.await.unwrap_or_else(|error| {
                tracing::error!(error = %Chain(&error), "earlier restarts and incidents are not known");
                Learnt::default()
            });
            // The engine may have ended.
            reports.send(Report::Learnt(Box::new(learnt))).ok();
        });
    }

    /// Goes on with what the store says, as if it had said so in the beginning.
    pub(super) fn learn(&mut self, learnt: Learnt) {
        let Learnt { totals, saved } = learnt;
        self.counters().add(totals);
        let now = clock::now();
        let unheard: BTreeSet<&UnitName> =
            self.unheard.waiting.iter().filter_map(|told| told.notice.what.unit()).collect();
        let is_unheard = |subject: &Subject| subject.unit().is_some_and(|unit| unheard.contains(unit));
        let over = |incident: &Incident| {
            if is_unheard(&incident.subject) { None } else { how_it_ended(&self.node, now, incident) }
        };
        self.alerts.learn(now, saved, over);
        self.alerts.keep_units(now, |unit, probe| is_there(&self.units, unit, probe));
        self.alert_of_what_is_so(now);
        self.write_alerts(now);
        self.hear_all();
    }

    /// Brings the incidents that the store knows and the machine that was restored into step: the manager that died may not
    /// have written down what it did last.
    pub(super) fn settle_incidents(&mut self, now: Now, cause: ManagerCause) {
        // A database that knows no run of the unit is newer than its end, unless it cannot be read.
        if !self.unseeded {
            self.node.settled_ends().for_each(|(unit, ended)| self.alerts.settled(unit, ended));
        }
        // Otherwise it is learnt late. At boot nothing runs yet, and each unit has to show whether it is well.
        if !self.unseeded && cause != ManagerCause::Boot {
            self.alerts.settle(now, |incident| how_it_ended(&self.node, now, incident));
            self.alert_of_what_is_so(now);
            self.write_alerts(now);
        }
        self.note_maintained();
    }

    /// The same of incidents that open as ends are told again; at boot of those of units that nobody starts.
    pub(super) fn settle_what_is_told_again(&mut self, cause: ManagerCause) -> Result<(), ClientError> {
        if cause != ManagerCause::Boot {
            self.alerts.hears_again(cause == ManagerCause::Crash);
            self.tell_all()?;
            self.settle_incidents(clock::now(), cause);
            self.alerts.hears_again(false);
        } else if !self.unseeded {
            let now = clock::now();
            self.alerts.settle(now, |incident| rests(&self.node, &incident.subject).then_some(Closing::Stopped));
            self.write_alerts(now);
        }
        Ok(())
    }

    /// Runs that the manager before found unkillable, and probes that it found bad or short: it may have died before people
    /// were told. Whose incident is open already is not told of again.
    fn alert_of_what_is_so(&mut self, now: Now) {
        let open: BTreeSet<Subject> = self.alerts.open().map(|incident| incident.subject.clone()).collect();
        let is_open = |what: &Happening| {
            if let Happening::Degraded { run, probe, .. } = what {
                return open.contains(&Subject::Probe(run.unit.clone(), probe.clone()));
            }
            what.unit().is_some_and(|unit| open.contains(&Subject::Unit(unit.clone())))
        };
        // One that cannot be killed makes an incident worse, which is for the alerts to know.
        let stuck = self.node.stuck_runs().map(|run| Happening::Unkillable { run });
        for what in stuck.chain(self.node.fallen_probes()) {
            let is_told = is_open(&what) && !matches!(what, Happening::Unkillable { .. });
            let notice = Notice { at: now, what };
            if is_told {
                self.alerts.recall(&notice);
            } else if notice.what.unit().is_some_and(|unit| self.units.contains_key(unit)) {
                self.alerts.handle(now, &notice);
            }
        }
    }

    /// Nothing waits any more for what the store might say.
    pub(super) fn hear_all(&mut self) {
        for told in std::mem::take(&mut self.unheard).waiting {
            self.write_down(told);
        }
    }
}

/// The unit that an incident is about, other than about one of its probes.
const fn unit_of(subject: &Subject) -> Option<&UnitName> {
    match subject {
        Subject::Unit(unit) => Some(unit),
        Subject::Probe(..) | Subject::Config | Subject::Store | Subject::Logs | Subject::Disk | Subject::Fleet(_) => {
            None
        }
    }
}

/// Whether there is such a unit, with such a probe.
pub(super) fn is_there(units: &BTreeMap<UnitName, Arc<UnitDef>>, unit: &UnitName, probe: Option<&str>) -> bool {
    let has = |def: &Arc<UnitDef>, name: &str| def.health.iter().any(|probe| *probe.name == *name);
    units.get(unit).is_some_and(|def| probe.is_none_or(|name| has(def, name)))
}

/// Whether the unit of an incident is down and nothing starts it.
fn rests(node: &Node, subject: &Subject) -> bool {
    let status = subject.unit().and_then(|unit| node.status(unit));
    status.is_some_and(|status| status.active == Active::Inactive && !status.wanted && status.timer.is_none())
}

/// How an incident ended that is open in the store; `None` when it did not. Whoever is not up long enough to be well was
/// stopped or reset meanwhile; so was one of which something is wrong only since a later run than the one that opened it.
fn how_it_ended(node: &Node, now: Now, incident: &Incident) -> Option<Closing> {
    let unit = match &incident.subject {
        Subject::Unit(unit) => unit,
        Subject::Probe(unit, probe) => {
            return match (node.verdict(unit, probe), node.active(unit)) {
                (Some(Verdict::Healthy), _) => Some(Closing::Recovered),
                (None, Some(Active::Inactive) | None) => Some(Closing::Stopped),
                (Some(_) | None, _) => None,
            };
        }
        Subject::Config | Subject::Store | Subject::Logs | Subject::Disk | Subject::Fleet(_) => return None,
    };
    if let Some(began) = node.wrong_since(unit) {
        let opened = incident.id.run().map(|(generation, _)| generation);
        return opened.filter(|opened| *opened < began).map(|_| Closing::Stopped);
    }
    match node.active(unit) {
        Some(Active::Active | Active::Reloading) if node.is_settled(now, unit) => Some(Closing::Recovered),
        Some(_) | None => Some(Closing::Stopped),
    }
}
