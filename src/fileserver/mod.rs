//! hmac-file-server: takes uploads that an XMPP server has signed (XEP-0363) and gives the files back.
//!
//! The pure parts judge a request by its head (`decide`, `token`, `path`) and describe the answer (`answer`, `range`,
//! `condition`, `media`); `store` is the only part that touches files, `engine` the only one that knows an HTTP
//! library, and neither knows the other's trade: the engine can be exchanged. `run` is the life of the process. It
//! knows nothing of the supervisor. What a change here usually breaks: the order of checks, which tests pin down.
#![forbid(unsafe_code)]

pub mod answer; // what to send (pure)
mod command; // the command line
pub mod condition; // entity tags, dates, If-* (pure)
pub mod decide; // what to do about a request (pure)
mod engine; // HTTP
pub mod media; // types and dispositions (pure)
mod metrics; // counts
pub mod path; // names of files (pure)
pub mod range; // parts of files (pure)
pub mod refusal; // every "no" and its status (pure)
mod run; // the life of the process
pub mod secret; // keys
pub mod settings; // the settings file
pub mod store; // files on disk
pub mod token; // v and v2 (pure)

pub use command::main;
