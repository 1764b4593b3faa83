//! What crosses a process or disk boundary: versioned types, apart from the inner ones they are made from.
//!
//! A change here walks old reader with new data, new reader with old data, and old writer with new data.
#![forbid(unsafe_code)]

pub mod dbus; // how systemd is spoken to
pub mod fleet; // between the nodes of a fleet, in JSON
pub mod keeper; // manager and keeper, in binary
pub mod systemd; // what systemd says of its units
pub mod v1; // the HTTP API, in JSON
