//! What a driver knows of the nodes: who is promised to it, how instances are, where load balancers send requests.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Condition, Instance, NodeName, PoolName, Token, spelling::run};
use crate::base::{InvocationId, Mono};

/// How old what a node said of itself may be: three of its reports.
pub(super) const FRESH: Duration = Duration::from_secs(15);

/// Where something that a node says stands among all that it says. A life is one run of its daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Seq {
    /// Which life; later ones are greater.
    pub life: u64,
    /// The how manieth in it.
    pub nth: u64,
}

/// What a node says of itself, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// To whom it is promised.
    pub promised: Option<Token>,
    /// Its instances. One to which something is being done is not healthy.
    pub instances: BTreeMap<Instance, Observed>,
    /// Of each load balancer on it, the servers, and whether each takes requests.
    pub pools: BTreeMap<PoolName, BTreeMap<Box<str>, bool>>,
}

/// How an instance was seen by its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// How it is.
    pub condition: Condition,
    /// Its run.
    #[serde(with = "run")]
    pub run: Option<InvocationId>,
}

/// All nodes, as one driver sees them.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    nodes: BTreeMap<NodeName, Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    promised: bool,
    /// Reports that were made before this are of what is over.
    after: Seq,
    report: Option<(Mono, Seq, Report)>,
}

impl View {
    /// A node reported, at that moment.
    pub(super) fn report(&mut self, node: &NodeName, made: Mono, seq: Seq, report: Report) {
        let known = self.nodes.entry(node.clone()).or_default();
        if seq > known.after && known.report.as_ref().is_none_or(|(_, newest, _)| seq > *newest) {
            known.report = Some((made, seq, report));
        }
    }

    /// A node answered: what it reported before is of what was.
    pub(super) fn answered(&mut self, node: &NodeName, seq: Seq) {
        let known = self.nodes.entry(node.clone()).or_default();
        known.after = known.after.max(seq);
        if known.report.as_ref().is_some_and(|(_, made, _)| *made < seq) {
            known.report = None;
        }
    }

    pub(super) fn promise(&mut self, node: &NodeName, is_given: bool) {
        self.nodes.entry(node.clone()).or_default().promised = is_given;
    }

    pub(super) fn is_promised(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|known| known.promised)
    }

    /// What a node said last, if that is not too long ago.
    pub(super) fn fresh(&self, now: Mono, node: &NodeName) -> Option<&Report> {
        let (made, _, report) = self.nodes.get(node)?.report.as_ref()?;
        (now.since(*made) <= FRESH).then_some(report)
    }

    /// How an instance is, if that is known.
    pub(super) fn observed(&self, now: Mono, instance: &Instance) -> Option<Observed> {
        self.fresh(now, &instance.node)?.instances.get(instance).copied()
    }
}
