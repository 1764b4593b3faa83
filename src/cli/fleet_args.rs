//! `fleet` and `plan` on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `fleet` does.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Show nodes, services and load balancers, and which node drives a plan
    Status,
    /// Show what depends on what, and what becomes of it at a restart
    Graph {
        /// As a graph for dot(1) of Graphviz
        #[arg(long)]
        dot: bool,
    },
    /// Restart services on all their nodes, and then what depends on them, in order and within the budget
    Restart(PlanArgs),
    /// Have services read their settings anew on all their nodes
    Reload(PlanArgs),
    /// Tell what depends on services that they were restarted, as if the fleet had done it
    Follow(PlanArgs),
    /// List plans, the newest first
    Plans,
    /// Make a host without a daemon a node that is reached by ssh: brings our program and fleet.toml there, and lets this node's
    /// key run the one and nothing else. Run it on each node that may drive plans
    Enrol(EnrolArgs),
}

/// Which host, and how the operator gets there.
#[derive(Debug, Args)]
pub(crate) struct EnrolArgs {
    /// Its name in fleet.toml, where its transport is "ssh"
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// Whom your own ssh logs in as; sudo without a password is used where that is not root
    #[arg(long, value_name = "USER", default_value = "root")]
    pub(crate) login: String,
    /// Settings for your own ssh instead of ~/.ssh/config
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Take another key of the host than the one that is known: it was set up anew
    #[arg(long)]
    pub(crate) anew: bool,
    /// Settings of this node's daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What is to be done, and how.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are booleans")]
pub(crate) struct PlanArgs {
    /// Services of fleet.toml
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<String>,
    /// Only on this node (may be given several times); dependents are told wherever they are
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Leave dependents alone
    #[arg(long)]
    pub(crate) no_cascade: bool,
    /// Whether or not the windows of services are open
    #[arg(long)]
    pub(crate) at_any_time: bool,
    /// Agree to it, and to each of its waves, where someone has to: nobody is waited for
    #[arg(long)]
    pub(crate) approve: bool,
    /// In the place of the plan that is under way, if there is one, or of this one and no other: what it has begun ends, nothing more
    /// of it is begun, and then this one begins
    #[arg(long, value_name = "PLAN", num_args = 0..=1, require_equals = true, default_missing_value = "any")]
    #[arg(conflicts_with = "dry_run")]
    pub(crate) supersede: Option<String>,
    /// Show the plan and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only if the plan is the one with this digest, which --dry-run shows
    #[arg(long, value_name = "HEX")]
    pub(crate) digest: Option<String>,
    /// Return as soon as it has begun
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// What `plan` does.
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Show how far a plan is
    Show {
        /// Its id, or the beginning of it [default: the newest]
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Go on until it is over, or waits for someone
        #[arg(short, long)]
        follow: bool,
    },
    /// Agree to a plan, or to one of its waves
    Approve {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
        /// Only this wave, counted from 1
        #[arg(long, value_name = "N")]
        wave: Option<usize>,
        /// Only if the plan is the one with this digest
        #[arg(long, value_name = "HEX")]
        digest: Option<String>,
    },
    /// Begin nothing more; what is under way ends
    Pause(SayArgs),
    /// Go on, and try again what failed
    Resume {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Drive it from this node from now on; the one that does gives it up in order, or is gone
    Take {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// End it: what is drained and well gets its requests back, and the report says what became of each
    Abort(SayArgs),
    /// Neither act on an instance nor wait for it
    Quarantine {
        /// The plan's id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
        /// Which, such as app@vm4
        #[arg(value_name = "INSTANCE")]
        instance: String,
    },
}

/// Which plan, and why.
#[derive(Debug, Args)]
pub(crate) struct SayArgs {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Why, for the others
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}
