//! The real hmac-file-server, over real sockets: what its clients and its operator see.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod attack; // hostile clients
mod commands; // the command line
mod life; // start, reload, drain, crash
mod transfer; // honest clients
mod world; // a server for one test
