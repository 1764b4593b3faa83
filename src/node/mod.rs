//! The decisions of one machine: what each service is, what moves it, what is done next.
//!
//! Pure: facts and orders come in with the time, effects go out as values; no clock, no I/O, no async, no randomness
//! but a seeded generator. Whoever changes this usually breaks the rule that a fact of an older run changes nothing, or
//! forgets the deadline of a state in transit; the simulated world in the tests finds both.
#![forbid(unsafe_code)]

pub mod effect;
pub mod input;

pub use effect::Effect;
pub use input::Input;
