//! Roundsman keeps services up on one machine and remembers what it did.
//!
//! The library is a set of layers, lowest first; a layer names only layers above it in this list, and
//! `tests/layering.rs` keeps that rule. Decisions live in the pure layers (`unit`, `node`, `fleet`, `alert`), which do no
//! I/O and read no clock; effects live in `edge`; the loop that joins them is `engine`.
//!
//! Where to start: `node` (what a service may be and what moves it), `engine` (the loop), `keeper` (who owns the
//! processes).

// Who may not: everyone but `sys`, which says so itself.
#![deny(unsafe_code)]

pub mod base; // words every layer speaks: names, ids, time spans, exit status, Notice
pub mod unit; // unit files -> checked definitions (pure)
pub mod node; // decisions of one machine: lifecycle, restarts, jobs, health (pure)
pub mod fleet; // decisions over many machines: plans, waves, budgets (pure)
pub mod alert; // who is told, and how often (pure)
pub mod wire; // what crosses a process or disk boundary
pub mod sys; // safe wrappers over system calls; the only unsafe code
pub mod keeper; // the parent process of every child, and the manager's half of that conversation
pub mod edge; // effects, one kind per file
pub mod engine; // the manager's loop
pub mod web; // HTTP plumbing shared by both servers
pub mod api; // the supervisor's HTTP API
pub mod fileserver; // hmac-file-server
pub mod cli; // supervisorctl
