//! What people ask of the alerts.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::Engine;
use crate::{
    alert::{Hush, Incident, Silence, SilenceOrder, SilenceRefusal},
    base::{Actor, UnitName},
    edge::clock,
    node::Input,
};

/// One question or order to the alerts.
#[derive(Debug)]
pub enum AlertAsk {
    /// What is open, and what is hushed.
    List {
        /// Where the answer goes.
        reply: oneshot::Sender<AlertList>,
    },
    /// Hush alerts for a time.
    Silence {
        /// Who asks.
        actor: Actor,
        /// What.
        order: SilenceOrder,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Silence, SilenceRefusal>>,
    },
    /// End silences before their time.
    Unsilence {
        /// A silence's number, or its pattern.
        text: String,
        /// Where the answer goes: those that ended.
        reply: oneshot::Sender<Vec<Silence>>,
    },
    /// Take incidents on.
    Acknowledge {
        /// Who does.
        actor: Actor,
        /// Which: an incident's id, or what it is about.
        text: String,
        /// Where the answer goes: those that were found.
        reply: oneshot::Sender<Vec<Incident>>,
    },
}

/// What is open, and what is hushed.
#[derive(Debug, Clone, Default)]
pub struct AlertList {
    /// Open incidents, each with what hushes it.
    pub open: Vec<(Incident, Option<Hush>)>,
    /// Silences that hold.
    pub silences: Vec<Silence>,
}

impl Engine {
    pub(super) fn take_alert_ask(&mut self, ask: AlertAsk) {
        let now = clock::now();
        match ask {
            AlertAsk::List { reply } => {
                self.alerts.refresh(now, self.node.reasons_now());
                let open = self.alerts.open().map(|open| (open.clone(), self.alerts.hush_of(now, open))).collect();
                let silences = self.alerts.silences(now).cloned().collect();
                reply.send(AlertList { open, silences }).ok();
            }
            AlertAsk::Silence { actor, order, reply } => {
                reply.send(self.alerts.silence(now, order, actor.to_string())).ok();
            }
            AlertAsk::Unsilence { text, reply } => {
                reply.send(self.alerts.unsilence(now, &text)).ok();
            }
            AlertAsk::Acknowledge { actor, text, reply } => {
                self.alerts.refresh(now, self.node.reasons_now());
                reply.send(self.alerts.acknowledge(now, &text, &actor.to_string())).ok();
            }
        }
        self.write_alerts(now);
        self.note_maintained();
    }

    /// Tells the machine on which units someone works; it decides what is left alone. Also from time to time, as silences end.
    /// Until the store was read nobody knows of those of before; the machine remembers itself.
    pub(super) fn note_maintained(&mut self) {
        let now = clock::now();
        let is_any = self.alerts.silences(now).any(|silence| silence.maintenance);
        if self.unseeded && !is_any {
            return;
        }
        let is_maintained = |unit: &&UnitName| is_any && self.alerts.is_maintained(now, unit);
        let maintained: BTreeSet<UnitName> = self.units.keys().filter(is_maintained).cloned().collect();
        if self.maintained.as_ref() != Some(&maintained) {
            self.maintained = Some(maintained.clone());
            self.node.handle(now, Input::Maintained(maintained));
        }
    }
}
