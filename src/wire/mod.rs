//! What crosses a process or disk boundary: versioned types, apart from the inner ones they are made from.
//!
//! A change here walks old reader with new data, new reader with old data, and old writer with new data.
#![forbid(unsafe_code)]

pub mod v1;
