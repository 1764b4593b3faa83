//! Machine tests: facts in, orders and notices out; then a simulated world.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers, long lists of cases, and assertions about one variant of many"
)]

mod accept;
mod actions;
mod churn;
mod desk;
mod depend;
mod deps;
mod elsewhere;
mod flow;
mod health;
mod held;
mod kinds;
mod listen;
mod make;
mod matrix;
mod metronome;
mod once;
mod oom;
mod probe;
mod size;
mod table;
mod takeover;
mod tidy;
mod timer;
mod truth;
mod watch;
mod why;
mod world;
