//! The command line of the supervisor; all of it is in the library's `cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    roundsman::cli::run()
}
