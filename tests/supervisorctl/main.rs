//! supervisorctl as its users run it: the real program against a real HTTP server on a unix socket in this process.
//!
//! What the daemon would answer is given by each test; that both agree on the form is the wire types' business.

mod commands;
mod streams;
mod world;
