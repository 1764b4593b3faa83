//! Effects, one kind per file: each does what it is told and reports facts. No policy lives here.
#![forbid(unsafe_code)]

pub mod alarm; // rings at a moment
pub mod balance; // load balancers
pub mod bus; // between the nodes of a fleet
pub mod cgroup; // one cgroup for each unit
pub mod clock; // the only reader of clocks
pub mod clock_watch; // tells when the clock is set
pub mod cpus; // many things on several CPUs
pub mod deliver; // alerts on their way
pub mod disk; // how much room there is
pub mod errand; // commands that are of no unit
mod http; // HTTP clients
pub mod host; // what specifiers stand for
pub mod knock; // does a machine answer?
pub mod leftovers; // what services leave behind
pub mod listen; // listening sockets
pub mod log; // what services write
pub mod needs; // whether this host has what units need
pub mod notify; // what services say on the notify socket
#[cfg(test)]
mod peer; // the other end of a request
pub mod ports; // who listens where
pub mod probe; // is a service well?
pub mod private_tmp; // directories for temporary files of one run
pub mod proctree; // processes found by walking /proc
pub mod sandbox; // what this host has for sandboxes
pub mod secret; // files that others must not read
pub mod ssh; // to hosts without a daemon
pub mod store; // SQLite
pub mod tls; // towards others
pub mod traffic; // listening sockets whose service is down
pub mod unitdir; // the texts of units
pub mod users; // users and groups of this host
pub mod zones; // time zones of this host
