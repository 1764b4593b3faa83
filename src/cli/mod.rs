//! supervisorctl: arguments become calls of the daemon's HTTP API, answers become views.
//!
//! Deliberately absent: an async runtime (a command must be over within milliseconds), any decision about services, and
//! any process of its own. Scripts hold on to names of commands and options, to exit codes and to `--json`: they are
//! only ever added to. Views for people may change at any time.
#![forbid(unsafe_code)]

mod adopt;
mod args;
mod captured;
mod client;
mod command;
mod completions;
mod context;
mod exit;
mod failure;
mod fleet_args;
mod http;
mod humane;
mod interrupt;
mod lint;
mod progress;
mod screen;
mod since;
mod sse;
mod table;
mod target;
mod view;

use std::{env, ffi::OsStr, path::Path, process::ExitCode};

use clap::Parser;

use args::{Cli, Command, Global};
use client::{CallError, Client};
use context::{Context, Named};
use exit::{CheckExit, DoctorExit, Exit, OrderExit, PlainExit, StatusExit};
use failure::{Failure, say};
use screen::{Screen, many_lines, one_line};
use target::{SYSTEM_SOCKET, Surroundings, Target, Token};

use crate::wire::v1::{CheckAnswer, Diagnosis};

/// Runs supervisorctl with the arguments, environment and streams of this process.
pub fn run() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => carry_out(cli).code(),
        Err(error) => {
            // A closed stream leaves nobody to be told.
            error.print().ok();
            if error.use_stderr() && env::args_os().nth(1).is_some_and(|word| is_of_supervisor(&word)) {
                say(
                    "hint: this is Roundsman's supervisorctl, not Supervisor's (supervisord.org), which takes -c and -s\n",
                );
            }
            // 2 would be CRITICAL to a monitoring system, and a mistyped command line is not that.
            let asks_check = env::args_os().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"));
            if error.use_stderr() && asks_check.is_some_and(|word| word == "check") {
                Exit::Check(CheckExit::Unknown).code()
            } else {
                u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code())
            }
        }
    };
    ExitCode::from(exit)
}

/// Whether it is an option that Supervisor's program of the same name begins with, and ours does not have.
fn is_of_supervisor(word: &OsStr) -> bool {
    [b"-c", b"-s", b"-i"].iter().any(|option| word.as_encoded_bytes().starts_with(*option))
}

/// Prints what a check found, as `supervisorctl check` does; its exit code. For `supervisord check`.
pub fn show_check(answer: &CheckAnswer, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string(answer).map(|line| line + "\n").unwrap_or_default()
    } else {
        view::check::lines(&Screen::of_stdout(), answer)
    };
    let printed = context::print(text.as_bytes());
    // Who cannot be told does not know.
    let exit = printed.map_or(CheckExit::Unknown, |_| CheckExit::of(answer));
    ExitCode::from(Exit::Check(exit).code())
}

/// Says that a check could not be made, and why; its exit code. For `supervisord check`.
pub fn show_unchecked(why: &str, json: bool) -> ExitCode {
    say(&format!("supervisord: {}\n", many_lines(why)));
    // It is being said that something failed; a second failure adds nothing.
    context::print(unchecked(why, json).as_bytes()).ok();
    ExitCode::from(Exit::Check(CheckExit::Unknown).code())
}

/// What a monitoring system reads where nothing was checked. The JSON is an answer without checks, with the `detail` of a
/// problem.
fn unchecked(why: &str, json: bool) -> String {
    if json {
        return format!("{}\n", serde_json::json!({ "checks": [], "detail": why }));
    }
    format!("{} - {}\n", CheckExit::Unknown.word(), one_line(why).replace('|', "¦"))
}

/// Prints what is wrong with this host, as `supervisorctl doctor` does; its exit code. For `supervisord doctor`.
pub fn show_diagnosis(found: &Diagnosis, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string(found).map(|line| line + "\n").unwrap_or_default()
    } else {
        view::doctor::lines(&Screen::of_stdout(), found)
    };
    let printed = context::print(text.as_bytes());
    ExitCode::from(printed.map_or(Exit::CannotLook.code(), |_| DoctorExit::of(found).code()))
}

fn carry_out(cli: Cli) -> Exit {
    let json = cli.global.json;
    let family = Family::of(&cli.command);
    let result = context(cli.global).and_then(|context| command::carry_out(&context, cli.command));
    result.unwrap_or_else(|failure| {
        if !failure.is_interrupted() {
            tell(family, &failure, json);
        }
        family.exit(&failure)
    })
}

fn context(global: Global) -> Result<Context, Failure> {
    let around = Surroundings::of_this_process();
    let named = match (&global.socket, &around.socket) {
        (Some(_), _) => Named::Here,
        (None, Some(_)) => Named::Around,
        (None, None) => Named::Nowhere,
    };
    let target = match (global.url, global.socket) {
        (Some(url), _) => Target::from_url(&url)?,
        (None, Some(path)) => Target::Unix(path),
        (None, None) => Target::Unix(around.socket(Path::new(SYSTEM_SOCKET))),
    };
    let token = global.token_file.as_deref().map(Token::read).transpose()?;
    Ok(Context { client: Client { target, token }, named, screen: Screen::of_stdout(), json: global.json })
}

/// Says why there is no result: to people on standard error; as JSON, and to monitoring systems, on standard output
/// too, which is all they read.
fn tell(family: Family, failure: &Failure, json: bool) {
    say(&failure.report());
    let line = match (failure, family) {
        (Failure::Call(CallError::Problem(problem)), _) if json => {
            serde_json::to_string(problem).ok().map(|line| line + "\n")
        }
        (_, Family::Check) => Some(unchecked(&crate::base::Chain(failure).to_string(), json)),
        (_, Family::Status | Family::Order | Family::Doctor | Family::Plain) => None,
    };
    if let Some(line) = line {
        // It is being said that something failed; a second failure adds nothing.
        context::print(line.as_bytes()).ok();
    }
}

/// Commands that share a table of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Status,
    Order,
    Check,
    Doctor,
    Plain,
}

impl Family {
    const fn of(command: &Command) -> Self {
        match command {
            Command::Status { .. } => Self::Status,
            Command::Start(_)
            | Command::Stop(_)
            | Command::Restart(_)
            | Command::Reload(_)
            | Command::Signal { .. }
            | Command::Clean { .. }
            | Command::Reset { .. }
            | Command::Enable(_)
            | Command::Disable(_) => Self::Order,
            Command::Check { .. } => Self::Check,
            Command::Doctor { .. } => Self::Doctor,
            Command::History { .. }
            | Command::Why { .. }
            | Command::Logs { .. }
            | Command::Events { .. }
            | Command::Alerts { .. }
            | Command::Fleet { .. }
            | Command::Plan { .. }
            | Command::List { .. }
            | Command::Cat { .. }
            | Command::Show { .. }
            | Command::Deps { .. }
            | Command::Lint { .. }
            | Command::ReloadConfig
            | Command::Adopt(_)
            | Command::Upgrade { .. }
            | Command::Completions { .. } => Self::Plain,
        }
    }

    /// How a command of this family ends on `failure`.
    const fn exit(self, failure: &Failure) -> Exit {
        if failure.is_interrupted() {
            return Exit::Interrupted;
        }
        if matches!(failure, Failure::Usage { .. }) {
            return Exit::Usage;
        }
        match (self, failure.is_unknown_unit()) {
            (Self::Status, true) => Exit::Status(StatusExit::UnknownUnit),
            (Self::Status, false) => Exit::Status(StatusExit::CannotAsk),
            (Self::Order, true) => Exit::Order(OrderExit::UnknownUnit),
            (Self::Order, false) => Exit::Order(OrderExit::SomeFailed),
            (Self::Check, _) => Exit::Check(CheckExit::Unknown),
            (Self::Doctor, _) => Exit::CannotLook,
            (Self::Plain, _) => Exit::Plain(PlainExit::Failed),
        }
    }
}
