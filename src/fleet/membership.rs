//! Who of a fleet is alive, as one node sees it, and what of that people are told by this node.
//!
//! Members are who stands in the topology; nobody leaves by being silent. A node is *alive* while new signs of life come, *suspect* after
//! two intervals without one, and *failed* after `max_consecutive_failures` of them if it does not answer at its address either; one
//! that does answer there is *cut off*: its daemon is down, or has no way to Redis. A sign of another life is a restart and no failure.
//! Our own way to it may be what is broken, so a few that are alive are asked to look as well: one that reaches it is enough.
//!
//! Whoever looks late, has just begun, or has just got Redis back, doubts itself first: for as long as a sign of life stays, it calls
//! nobody failed. While Redis does not answer nothing is said of nodes. When most of a fleet go at once, that is one alarm and not many.
//!
//! An alarm is told by one node: the first by name that is alive in its own view, and that Redis has let have it. All that is decided
//! here is decided when Redis was looked at, so there is no deadline of its own. Nothing that is said here is acted upon.

mod other; // one of the other nodes

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

use other::Other;
pub use other::Presence;

use super::{NodeName, Seq};
use crate::base::Mono;

/// A node is suspect after so many intervals without a sign of life.
const SUSPECT_AFTER: u32 = 2;
/// A node that was late so often, or more, takes so many times longer to believe in another's failure.
const STRAIN_MAX: u32 = 7;
/// So many others are asked to look for those that are doubted,
const PEERS_MAX: usize = 3;
/// and for so many at a time, so that what is asked does not grow with what is wrong.
const SOUGHT_MAX: usize = 16;
/// From so many nodes on there may be too many at once.
const MASS_OF: usize = 3;
/// More than so many of a hundred at once are the fleet's trouble, and not each one's.
const MASS_PERCENT: usize = 55;

/// How signs of life come, and how many may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one to the next.
    pub interval: Duration,
    /// So many may be missing before a node has failed.
    pub failures_max: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), failures_max: 3 }
    }
}

impl Heartbeat {
    /// How long a sign of life stays.
    pub const fn stays(self) -> Duration {
        self.silence_max().saturating_add(Duration::from_secs(1))
    }

    /// A node that is silent for longer has failed.
    pub const fn silence_max(self) -> Duration {
        self.interval.saturating_mul(self.failures_max)
    }
}

/// A sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// Where it stands in all that the node says.
    pub seq: Seq,
    /// The last command that the node had heard.
    pub heard: u64,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipInput {
    /// The settings and the other nodes that leave signs of life.
    Configured(Heartbeat, BTreeSet<NodeName>),
    /// One look at what stands in Redis.
    Looked {
        /// The signs of life that are there.
        signs: BTreeMap<NodeName, Sign>,
        /// How many commands each node was sent from here; of those that this node drives.
        sent: BTreeMap<NodeName, u64>,
    },
    /// Redis did not answer, for this reason.
    Unanswered(String),
    /// Whether a node answered at its address.
    Probed(NodeName, bool),
    /// Another node was asked for some, and says of each whether it answers there.
    Sought {
        /// Who says it.
        by: NodeName,
        /// What it found.
        nodes: BTreeMap<NodeName, bool>,
    },
    /// Whether an alarm is for this node to tell; nothing where Redis did not say.
    Claimed(Alarm, Option<bool>),
}

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEffect {
    /// See whether a node answers at its address.
    Probe(NodeName),
    /// Ask others whether these answer at their addresses.
    Seek {
        /// Who is asked.
        peers: Vec<NodeName>,
        /// For whom.
        nodes: BTreeSet<NodeName>,
    },
    /// Ask Redis whether this node is to tell of it.
    Claim(Alarm),
    /// Tell people, for this reason.
    Tell(Alarm, String),
    /// It is over: whoever told of it tells that.
    Over(Alarm),
    /// Nothing is wrong here: what an earlier daemon of this node told is over.
    Well(Alarm),
}

/// What people are told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// A node is silent everywhere, or comes and goes.
    Failed(NodeName),
    /// A node, which may be this one, does not meet the others in Redis.
    Cut(NodeName),
    /// Fewer than a majority are reached.
    QuorumLost,
    /// A node is behind with its commands.
    Slow(NodeName),
}

/// What an alarm is about; of each there is at most one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Node(NodeName),
    Quorum,
    Commands(NodeName),
}

impl Alarm {
    fn about(&self) -> About {
        match self {
            Self::Failed(node) | Self::Cut(node) => About::Node(node.clone()),
            Self::QuorumLost => About::Quorum,
            Self::Slow(node) => About::Commands(node.clone()),
        }
    }
}

/// As receivers group it: `node_failed:vm3`.
impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(node) => write!(f, "node_failed:{node}"),
            Self::Cut(node) => write!(f, "bus_unreachable:{node}"),
            Self::QuorumLost => f.write_str("quorum_lost"),
            Self::Slow(node) => write!(f, "slow_replication:{node}"),
        }
    }
}

/// How many of a fleet are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// So many, this node with them.
    pub reached: usize,
    /// Of so many.
    pub members: usize,
}

impl Quorum {
    /// Whether they are a majority of all.
    pub const fn is_there(self) -> bool {
        self.reached > self.members / 2
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Raised {
    alarm: Alarm,
    reason: String,
    telling: Telling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// Nobody is known to have told of it.
    Nobody,
    /// Redis is asked who is to.
    Asked,
    /// It is told, here or elsewhere.
    Told,
}

/// The machine.
#[derive(Debug)]
pub struct Membership {
    own: NodeName,
    heartbeat: Heartbeat,
    others: BTreeMap<NodeName, Other>,
    /// Since when Redis does not answer, and why.
    away: Option<(Mono, String)>,
    /// How much longer than others this node waits before it believes in a failure.
    strain: u32,
    /// Until then nobody is called failed.
    calm_until: Mono,
    looked_at: Mono,
    /// What this daemon has seen to be well for the first time.
    has_looked: bool,
    has_counted: bool,
    raised: BTreeMap<About, Raised>,
    effects: VecDeque<MembershipEffect>,
}

impl Membership {
    /// One that has heard of nobody yet.
    pub fn new(now: Mono, own: NodeName, heartbeat: Heartbeat, others: BTreeSet<NodeName>) -> Self {
        let mut membership = Self {
            own,
            heartbeat,
            others: BTreeMap::new(),
            away: None,
            strain: 0,
            calm_until: now.later(heartbeat.stays()),
            looked_at: now,
            has_looked: false,
            has_counted: false,
            raised: BTreeMap::new(),
            effects: VecDeque::new(),
        };
        membership.configure(now, heartbeat, others);
        membership
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Mono, input: MembershipInput) {
        match input {
            MembershipInput::Configured(heartbeat, others) => self.configure(now, heartbeat, others),
            MembershipInput::Looked { signs, sent } => self.looked(now, &signs, &sent),
            MembershipInput::Unanswered(reason) => self.unanswered(now, reason),
            MembershipInput::Probed(node, answers) => {
                if let Some(other) = self.others.get_mut(&node) {
                    other.answered(answers);
                }
            }
            MembershipInput::Sought { by, nodes } => {
                for (node, answers) in nodes {
                    if let Some(other) = self.others.get_mut(&node) {
                        other.sought(&by, answers);
                    }
                }
            }
            MembershipInput::Claimed(alarm, is_ours) => self.claimed(&alarm, is_ours),
        }
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<MembershipEffect> {
        self.effects.pop_front()
    }

    /// How another node is, and since when.
    pub fn presence(&self, now: Mono, node: &NodeName) -> Option<(Presence, Mono)> {
        if *node == self.own {
            return None;
        }
        let other = self.others.get(node)?;
        Some(match &self.away {
            Some((since, _)) if self.is_away(now) => (Presence::Unknown, *since),
            Some(_) | None => other.shown(now),
        })
    }

    /// How many are reached.
    pub fn quorum(&self, now: Mono) -> Quorum {
        let reached = match self.is_away(now) {
            true => 0,
            false => self.others.values().filter(|other| other.presence.is_reached()).count(),
        };
        Quorum { reached: reached + 1, members: self.others.len() + 1 }
    }

    fn configure(&mut self, now: Mono, heartbeat: Heartbeat, others: BTreeSet<NodeName>) {
        self.heartbeat = heartbeat;
        self.others.retain(|name, _| others.contains(name));
        for name in others {
            self.others.entry(name).or_insert_with(|| Other::new(now));
        }
        self.calm_until = self.calm_until.max(now.later(heartbeat.stays()));
    }

    /// Whether Redis has not answered for as long as a node may be silent.
    fn is_away(&self, now: Mono) -> bool {
        self.away.as_ref().is_some_and(|(since, _)| now.since(*since) >= self.heartbeat.silence_max())
    }

    /// A node that was late itself does not know how late the others are.
    fn note_delay(&mut self, now: Mono) {
        let late = self.heartbeat.interval.saturating_mul(2) + Duration::from_secs(1);
        if now.since(self.looked_at) > late {
            self.strain = (self.strain + 1).min(STRAIN_MAX);
            self.calm_until = self.calm_until.max(now.later(self.heartbeat.stays()));
        } else if now >= self.calm_until {
            self.strain = self.strain.saturating_sub(1);
        }
        self.looked_at = now;
    }

    fn unanswered(&mut self, now: Mono, reason: String) {
        self.note_delay(now);
        let since = self.away.take().map_or(now, |(since, _)| since);
        self.away = Some((since, reason.clone()));
        if self.is_away(now) {
            let alarm = Alarm::Cut(self.own.clone());
            self.raised.entry(alarm.about()).or_insert(Raised { alarm, reason, telling: Telling::Nobody });
            self.tell();
        }
    }

    fn looked(&mut self, now: Mono, signs: &BTreeMap<NodeName, Sign>, sent: &BTreeMap<NodeName, u64>) {
        self.note_delay(now);
        if self.away.take().is_some() {
            self.calm_until = self.calm_until.max(now.later(self.heartbeat.stays()));
        }
        let is_calm = now < self.calm_until;
        let unit = self.heartbeat.interval.saturating_mul(1 + self.strain);
        if !std::mem::replace(&mut self.has_looked, true) {
            self.effects.push_back(MembershipEffect::Well(Alarm::Cut(self.own.clone())));
        }
        for (name, other) in &mut self.others {
            let was_unknown = other.presence == Presence::Unknown;
            other.see(now, signs.get(name).copied(), sent.get(name).copied());
            other.judge(now, unit, self.heartbeat.failures_max, is_calm);
            if was_unknown && other.presence == Presence::Alive {
                let well = [Alarm::Failed(name.clone()), Alarm::Slow(name.clone())];
                self.effects.extend(well.map(MembershipEffect::Well));
            }
            if other.presence.is_doubted() {
                self.effects.push_back(MembershipEffect::Probe(name.clone()));
            }
        }
        self.seek(now);
        if !is_calm && !std::mem::replace(&mut self.has_counted, true) && self.quorum(now).is_there() {
            self.effects.push_back(MembershipEffect::Well(Alarm::QuorumLost));
        }
        self.raise(self.alarms(now, is_calm));
        self.tell();
    }

    /// Those that are doubted are looked for by others too.
    fn seek(&mut self, now: Mono) {
        // From our own place in the order of names on, so that not all ask the same ones.
        let (before, after) = (self.others.range(..self.own.clone()), self.others.range(self.own.clone()..));
        let alive = after.chain(before).filter(|(_, other)| other.presence == Presence::Alive);
        let peers: Vec<NodeName> = alive.map(|(name, _)| name.clone()).take(PEERS_MAX).collect();
        let doubted = self.others.iter_mut().filter(|(_, other)| other.is_to_be_sought(now));
        let nodes = doubted.take(SOUGHT_MAX).map(|(name, other)| {
            other.seek(now, &peers);
            name.clone()
        });
        let nodes: BTreeSet<NodeName> = nodes.collect();
        if !nodes.is_empty() && !peers.is_empty() {
            self.effects.push_back(MembershipEffect::Seek { peers, nodes });
        }
    }

    /// What is to be told as it is now. What was said to be so is so until it is not, whatever hinders that it is said now.
    fn alarms(&self, now: Mono, is_calm: bool) -> Vec<(Alarm, String)> {
        let gone = self.others.values().filter(|other| other.presence.is_doubted() || other.has_failed()).count();
        let members = self.others.len() + 1;
        let is_mass = members >= MASS_OF && gone * 100 > MASS_PERCENT * members;
        let is_raised = |about: &About| self.raised.contains_key(about);
        let mut alarms = Vec::new();
        for (name, other) in &self.others {
            if let Some(behind) = other.behind() {
                alarms.push((
                    Alarm::Slow(name.clone()),
                    format!("it has not taken up the last {behind} of its commands"),
                ));
            }
            let Some(alarm) = other.alarm(now, name) else { continue };
            if is_raised(&About::Node(name.clone())) || !is_mass && !is_calm {
                let reason = other.reason(now, self.heartbeat.interval);
                alarms.push((alarm, reason));
            }
        }
        let quorum = self.quorum(now);
        if !quorum.is_there() && (is_raised(&About::Quorum) || !is_calm) {
            let Quorum { reached, members } = quorum;
            alarms.push((Alarm::QuorumLost, format!("{reached} of {members} nodes are reached")));
        }
        alarms
    }

    fn raise(&mut self, alarms: Vec<(Alarm, String)>) {
        let mut before = std::mem::take(&mut self.raised);
        for (alarm, reason) in alarms {
            let about = alarm.about();
            let raised = match before.remove(&about) {
                // That it is cut off is less than what was told of one that failed.
                Some(known) if known.alarm == alarm || matches!(known.alarm, Alarm::Failed(_)) => known,
                Some(_) | None => Raised { alarm, reason, telling: Telling::Nobody },
            };
            self.raised.insert(about, raised);
        }
        self.effects.extend(before.into_values().map(|over| MembershipEffect::Over(over.alarm)));
    }

    /// What nobody has told of yet is told, if that is for this node to do.
    fn tell(&mut self) {
        let is_alive = |(_, other): (&NodeName, &Other)| other.presence == Presence::Alive;
        let speaks = !self.others.range(..self.own.clone()).any(is_alive);
        for raised in self.raised.values_mut().filter(|raised| raised.telling == Telling::Nobody) {
            let is_own = match &raised.alarm {
                // Whoever drives knows it, and nobody else; of our own way to Redis nobody can be asked.
                Alarm::Slow(_) => true,
                Alarm::Cut(node) => *node == self.own,
                Alarm::Failed(_) | Alarm::QuorumLost => false,
            };
            if is_own {
                raised.telling = Telling::Told;
                self.effects.push_back(MembershipEffect::Tell(raised.alarm.clone(), raised.reason.clone()));
            } else if speaks && self.away.is_none() {
                raised.telling = Telling::Asked;
                self.effects.push_back(MembershipEffect::Claim(raised.alarm.clone()));
            }
        }
    }

    fn claimed(&mut self, alarm: &Alarm, is_ours: Option<bool>) {
        let asked = |raised: &&mut Raised| raised.alarm == *alarm && raised.telling == Telling::Asked;
        let Some(raised) = self.raised.get_mut(&alarm.about()).filter(asked) else {
            // It was over before we knew that it was ours: what we have is given back.
            if is_ours == Some(true) && !self.raised.contains_key(&alarm.about()) {
                self.effects.push_back(MembershipEffect::Over(alarm.clone()));
            }
            return;
        };
        raised.telling = if is_ours.is_some() { Telling::Told } else { Telling::Nobody };
        if is_ours == Some(true) {
            self.effects.push_back(MembershipEffect::Tell(raised.alarm.clone(), raised.reason.clone()));
        }
    }
}
