//! The HMAC upload file server.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    roundsman::fileserver::main(std::env::args_os())
}
