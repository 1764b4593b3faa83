//! Unit files to checked definitions: texts go in, a [`UnitSet`] or every problem with its place comes out.
//!
//! Pure: texts are read by `edge`, and what only the host knows (users, programs) is checked there. A dialect turns its
//! own syntax into the one model of [`spec`]; nothing behind this layer knows which dialect a unit was written in.
#![forbid(unsafe_code)]

pub mod spec;

pub use spec::UnitDef;
