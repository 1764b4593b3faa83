//! One folder per syntax that units are written in. A dialect writes into a [`Draft`](super::draft::Draft) and reports
//! what it cannot read; it decides nothing that another dialect would have to decide again.

pub(super) mod toml;
