//! Hosts without a daemon of ours: who is spoken to by ssh, and what they say. They are spoken to while someone wants to know
//! how they are, and while a plan is driven from here.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    drive::Begun,
    line::{HostSaid, Line},
    member::Member,
};
use crate::{
    edge::{clock, ssh::SshTrouble},
    fleet::{Control, FailureKind, NodeName, RolloutInput, Say, Transport},
    wire::fleet::{FromHost, Said, Word},
};

/// How long what a host has said of itself holds: three times as long as until it says it again.
pub(super) const STAYS: Duration = Duration::from_secs(15);
/// How long a conversation goes on that nobody wants any more.
const HELD: Duration = Duration::from_secs(60);
/// How long whoever asks waits for hosts that were not heard yet.
const HEARD_WITHIN: Duration = Duration::from_secs(8);

/// How long it is believed that a host cannot be spoken to, when someone asks.
const TROUBLE_HOLDS: Duration = Duration::from_secs(1);

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    lines: BTreeMap<NodeName, Line>,
    troubles: BTreeMap<NodeName, (Instant, SshTrouble)>,
    until: Option<Instant>,
    /// Who waits until all were heard, and for how long at most.
    waiting: Vec<(Instant, Begun)>,
}

impl Member {
    fn hosts(&self) -> impl Iterator<Item = &NodeName> {
        let nodes = self.settings.topology.nodes.iter();
        nodes.filter(|(_, node)| node.transport == Transport::Ssh).map(|(name, _)| name)
    }

    pub(super) fn is_host(&self, name: &NodeName) -> bool {
        self.settings.topology.nodes.get(name).is_some_and(|node| node.transport == Transport::Ssh)
    }

    /// Speaks to all of them, from now on for a while.
    pub(super) fn call_hosts(&mut self) {
        self.hosts.until = Some(Instant::now() + HELD);
        let missing = self.hosts().filter(|name| !self.hosts.lines.contains_key(*name));
        for name in missing.cloned().collect::<Vec<_>>() {
            let Some(node) = self.settings.topology.nodes.get(&name).cloned() else { continue };
            let line =
                Line::begin(name.clone(), node, self.settings.ssh.clone(), self.errands.clone(), self.own.clone());
            self.hosts.lines.insert(name, line);
        }
    }

    /// Comes back once the newest is known of all: hosts were heard, or are known not to be.
    pub(super) fn with_newest_of_all(&mut self, asked: Begun) {
        self.call_hosts();
        // Whoever asks may have mended it.
        for (name, _) in self.hosts.troubles.extract_if(.., |_, (since, _)| since.elapsed() >= TROUBLE_HOLDS) {
            if let Some(line) = self.hosts.lines.get(&name) {
                line.try_now();
            }
        }
        if self.are_hosts_known() {
            self.with_newest(asked);
        } else {
            self.hosts.waiting.push((Instant::now() + HEARD_WITHIN, asked));
        }
    }

    fn are_hosts_known(&self) -> bool {
        self.hosts().all(|name| self.beat_of(name).is_some() || self.hosts.troubles.contains_key(name))
    }

    /// Why a host cannot be spoken to.
    pub(super) fn host_trouble(&self, name: &NodeName) -> Option<&SshTrouble> {
        self.hosts.troubles.get(name).map(|(_, trouble)| trouble)
    }

    pub(super) fn tell_host(&self, name: &NodeName, text: String) {
        if let Some(line) = self.hosts.lines.get(name) {
            line.send(text);
        }
    }

    pub(super) fn host_said(&mut self, name: NodeName, said: HostSaid) {
        // Of a conversation that was ended.
        if !self.hosts.lines.contains_key(&name) {
            return;
        }
        match said {
            HostSaid::Said(said) => {
                self.hosts.troubles.remove(&name);
                self.hear_host(name, *said);
            }
            HostSaid::Ended(trouble) => {
                self.beats.remove(&name);
                self.stop_at_another_key(&name, &trouble);
                self.hosts.troubles.insert(name, (Instant::now(), trouble));
            }
        }
        self.let_go_who_waits();
    }

    fn hear_host(&mut self, name: NodeName, said: FromHost) {
        let word = match said {
            FromHost::Beat(beat) if beat.from == name => {
                let word = Word { from: name.clone(), seq: beat.seq, said: Said::Report(beat.report.clone()) };
                self.beats.insert(name, (clock::now().mono, beat));
                word
            }
            FromHost::Word(word) if word.from == name => word,
            FromHost::Beat(_) | FromHost::Word(_) => {
                tracing::warn!(node = %name, "a host says that it is another node; enrol it anew");
                return;
            }
        };
        self.hear_words(vec![(Duration::ZERO, word)]);
    }

    /// Nobody but a person can say whether that is the host: the plan waits for one.
    fn stop_at_another_key(&mut self, name: &NodeName, trouble: &SshTrouble) {
        let is_concerned = self
            .driver
            .as_ref()
            .is_some_and(|driver| *driver.rollout.control() == Control::Running && driver.rollout.concerns(name));
        if trouble.kind == FailureKind::HostKey && is_concerned {
            let by = self.settings.node.to_string();
            self.drive(RolloutInput::Say(Say::Pause { reason: trouble.reason.clone(), by }));
        }
    }

    fn let_go_who_waits(&mut self) {
        let (is_known, now) = (self.are_hosts_known(), Instant::now());
        let ready: Vec<_> = self.hosts.waiting.extract_if(.., |(until, _)| is_known || *until <= now).collect();
        ready.into_iter().for_each(|(_, asked)| self.with_newest(asked));
    }

    /// A second has gone by.
    pub(super) fn tick_hosts(&mut self) {
        self.let_go_who_waits();
        if self.driver.is_some() {
            self.call_hosts();
        } else if self.hosts.until.is_some_and(|until| until <= Instant::now()) {
            self.hang_up();
        }
    }

    /// Ends all conversations.
    pub(super) fn hang_up(&mut self) {
        let hosts: Vec<NodeName> = std::mem::take(&mut self.hosts.lines).into_keys().collect();
        hosts.iter().for_each(|name| drop(self.beats.remove(name)));
        self.hosts.troubles.clear();
        self.hosts.until = None;
    }
}
