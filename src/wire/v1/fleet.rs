//! `/v1/fleet`: the nodes of a fleet, what depends on what, and plans.

use serde::{Deserialize, Serialize};

/// The fleet as a node sees it: `GET /v1/fleet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Its name.
    pub name: String,
    /// The node that answers.
    pub node: String,
    /// The digest of fleet.toml there.
    pub digest: String,
    /// Why Redis is of no use, where one is named.
    pub trouble: Option<String>,
    /// Whether a Redis is named.
    pub has_bus: bool,
    /// Which node drives a plan.
    pub driver: Option<String>,
    /// The present plan.
    pub plan: Option<String>,
    /// How many nodes are reached; none where there is no Redis to tell.
    #[serde(default)]
    pub quorum: Option<FleetQuorum>,
    /// How the steps went that this node did since its manager began.
    #[serde(default)]
    pub steps: FleetSteps,
    /// The nodes by name.
    pub nodes: Vec<FleetNode>,
    /// The services by name.
    pub services: Vec<FleetService>,
    /// The pools by name.
    pub pools: Vec<FleetPool>,
    /// The routes of the node that answers, through which people are told.
    #[serde(default)]
    pub routes: Vec<String>,
}

/// How many nodes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetQuorum {
    /// So many, the one that answers with them.
    pub reached: u32,
    /// Of so many that have a daemon.
    pub members: u32,
    /// Whether they are a majority.
    pub is_there: bool,
}

/// How many steps of plans went how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FleetSteps {
    /// They were done.
    pub done: u64,
    /// They failed.
    pub failed: u64,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// `agent`, `ssh`, `local`.
    pub transport: String,
    /// What it fails together with.
    pub zone: Option<String>,
    /// `alive`, `suspect`, `cut off`, `failed`, `flapping`, `unknown`; none of one that has no daemon.
    #[serde(default)]
    pub state: Option<String>,
    /// For how long it is so, in microseconds.
    #[serde(default)]
    pub state_us: Option<u64>,
    /// How long ago it was heard, in microseconds.
    pub heard_us: Option<u64>,
    /// Why nothing can be told to it.
    pub trouble: Option<String>,
    /// The program's version there.
    pub version: Option<String>,
    /// The digest of fleet.toml there.
    pub digest: Option<String>,
}

/// A service and its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetService {
    /// Its name.
    pub name: String,
    /// The unit on its nodes.
    pub unit: String,
    /// Its instances by node.
    pub instances: Vec<FleetInstance>,
    /// What it depends on.
    pub depends_on: Vec<FleetEdge>,
    /// The pools that it takes traffic from.
    pub behind: Vec<String>,
    /// How many may be unavailable at once, of this many.
    pub max_unavailable: u32,
}

/// A service on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetInstance {
    /// Where.
    pub node: String,
    /// `healthy`, `bad`, `unknown`, `quarantined`.
    pub condition: String,
    /// What it says of itself, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// The probes that it is judged by; of a host without a daemon none are known.
    #[serde(default)]
    pub checks: Vec<FleetCheck>,
}

/// A probe of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetCheck {
    /// Its name.
    pub name: String,
    /// `http`, `tcp` …; `upload` where something is sent, and has to come back.
    pub kind: String,
    /// `healthy`, `degraded`, `unhealthy`, `unknown`.
    pub verdict: String,
}

/// From a dependent to what it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEdge {
    /// On whom.
    pub service: String,
    /// What becomes of the dependent when that restarts: `restart`, `reload` …; `none` where nothing does.
    pub on_restart: String,
    /// `healthy`, `order_only`, `mutex`.
    pub require: String,
}

/// Servers behind load balancers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPool {
    /// Its name.
    pub name: String,
    /// Where its load balancers run.
    pub hosts: Vec<String>,
    /// By host: the servers, and whether each takes requests; none where that is not known.
    pub servers: Vec<Option<Vec<FleetServer>>>,
}

/// A server of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetServer {
    /// What it is called there.
    pub name: String,
    /// Whether it takes requests.
    pub takes: bool,
}

/// What someone wants done: `POST /v1/fleet/plans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct FleetIntent {
    /// `restart`, `reload`; `follow`: not they, but those that depend on them, as after a restart.
    pub verb: String,
    /// To which services.
    pub services: Vec<String>,
    /// On which nodes alone; empty is all of theirs.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Whether their dependents are left alone.
    #[serde(default)]
    pub no_cascade: bool,
    /// Whether it goes on outside of windows.
    #[serde(default)]
    pub at_any_time: bool,
    /// Whether it is only said what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// The digest of the plan that someone was shown: another plan is refused.
    #[serde(default)]
    pub digest: Option<String>,
    /// Whether whoever orders it agrees to it, and to each of its waves, where someone has to.
    #[serde(default)]
    pub approve: bool,
    /// The plan that is under way and comes to its end for this one: its id, or the beginning of it; `any` is whichever it is.
    #[serde(default)]
    pub supersede: Option<String>,
}

/// A plan, and how far it is: `GET /v1/fleet/plans/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPlan {
    /// Its id; empty of one that is only shown.
    pub id: String,
    /// What is approved is what runs: this.
    pub digest: String,
    /// Who ordered it.
    pub by: String,
    /// Where.
    pub node: String,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// `restart`, `reload`, `follow`.
    pub verb: String,
    /// The services that were named.
    pub services: Vec<String>,
    /// `planned`, `blocked` or `nothing` of one that did not begin, `waiting` for the end of the one that it supersedes, `unapproved`, `running`, `paused`, `aborting`, `succeeded`, `aborted`.
    pub state: String,
    /// Why it is paused or was aborted.
    pub reason: Option<String>,
    /// Whether it was made for another `fleet.toml` than its driver has: it can be ended, and not gone on with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_outdated: bool,
    /// The plan in whose place it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Which node drives it.
    pub driver: Option<String>,
    /// In order.
    pub waves: Vec<FleetWave>,
    /// What is in the way, for people.
    pub blockers: Vec<String>,
    /// How long it takes if nothing goes wrong.
    pub estimate_us: u64,
    /// What was said of it, in order.
    pub journal: Vec<FleetWord>,
}

impl FleetPlan {
    /// Whether nothing more becomes of it.
    pub fn is_over(&self) -> bool {
        ["succeeded", "aborted"].contains(&self.state.as_str())
    }

    /// Whether nothing goes on by itself: it is over, or waits for someone.
    pub fn is_at_rest(&self) -> bool {
        ["succeeded", "aborted", "paused", "unapproved", "blocked", "nothing"].contains(&self.state.as_str())
    }
}

/// Instances of one service, within the budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetWave {
    /// Of which service.
    pub service: String,
    /// How many may be unavailable at once.
    pub max_unavailable: u32,
    /// Of how many.
    pub of: u32,
    /// How long they stay well before what follows.
    pub soak_us: u64,
    /// Whether nothing else is done meanwhile.
    pub alone: bool,
    /// Whether someone has to agree to it.
    pub approve: bool,
    /// Whether it is done and soaked.
    pub is_done: bool,
    /// Why it comes here, for people.
    pub why: Vec<String>,
    /// What is done to each.
    pub tasks: Vec<FleetTask>,
}

/// What is done to one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetTask {
    /// To whom: `app@vm4`.
    pub instance: String,
    /// `restart`, `reload`, `reload_or_restart`, `notify`.
    pub action: String,
    /// Where it takes no requests meanwhile: `POOL/SERVER`.
    pub drains: Vec<String>,
    /// `waiting`, `draining`, `acting`, `healing`, `well`, `failed` …
    pub stage: String,
    /// In a report: `untouched`, `done`, `in flight`, `failed`, `unknown`, `left drained`, `quarantined`.
    pub class: String,
    /// Why it does not go on, for people.
    pub waits_for: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// A word of a plan's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetWord {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// What, for people.
    pub text: String,
}

/// Plans, the newest first: `GET /v1/fleet/plans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPlans {
    /// They.
    pub plans: Vec<FleetPlan>,
}

/// What someone wants of a plan: `POST /v1/fleet/plans/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSay {
    /// `approve`, `pause`, `resume`, `abort`, `take`, `quarantine`.
    pub verb: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Of `approve`: which wave, counted from 1; none is the plan.
    #[serde(default)]
    pub wave: Option<usize>,
    /// Of `approve`: the digest of what was looked at.
    #[serde(default)]
    pub digest: Option<String>,
    /// Of `quarantine`: which instance.
    #[serde(default)]
    pub instance: Option<String>,
}
