//! (begun)
#![forbid(unsafe_code)]
