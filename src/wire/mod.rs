//! What crosses a process or disk boundary: versioned messages and records, apart from the inner types.
//!
//! Nothing here does I/O. A change to what is stored or sent walks old reader / new data and new reader / old data.
#![forbid(unsafe_code)]

pub mod keeper;
