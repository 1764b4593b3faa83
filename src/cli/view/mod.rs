//! What people see: wire values in, text out. No view asks the daemon or the clock, so each is a snapshot in tests.
//!
//! They write into a String, which cannot fail: `.ok()` after `writeln!` drops nothing.
//! All text that is not ours goes through `one_line` or `many_lines` before it is shown.

pub(crate) mod alerts;
pub(crate) mod check;
pub(crate) mod checklist;
pub(crate) mod doctor;
pub(crate) mod detail;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod history;
pub(crate) mod lint;
pub(crate) mod order;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod unit;

#[cfg(test)]
pub(crate) mod fixtures;
