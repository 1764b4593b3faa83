//! What tests of whole programs share: a harness that lets the test program be a service too, a daemon of our own in
//! a directory of its own, looks at processes, and a receiver of alerts.

#[path = "../consul.rs"]
#[expect(dead_code, reason = "more of it is used by tests of single calls")]
pub(crate) mod consul; // agents of Consul
#[path = "../harness.rs"]
pub(crate) mod harness; // the tests of a program that is its own harness
pub(crate) mod hook; // somebody who is told
pub(crate) mod namespace; // pids, and more, of one's own
pub(crate) mod network; // machines on a switch
pub(crate) mod process; // looks at /proc
pub(crate) mod refusal; // a kernel that says no
pub(crate) mod world; // a daemon
