//! The commands: arguments become calls, answers become views and an exit code. One command per function.

mod alerts;
mod check;
mod doctor;
mod events;
mod fleet;
mod logs;
mod order;
mod status;
mod supervisord;
mod unit;
mod upgrade;

use super::{adopt, args::Command, completions, context::Context, exit::Exit, failure::Failure, lint};
use order::Verb;

/// Carries out `command`.
pub(crate) fn carry_out(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Status { units } => status::run(context, &units),
        Command::Start(args) => order::run(context, Verb::Start, args),
        Command::Stop(args) => order::run(context, Verb::Stop, args),
        Command::Restart(args) => order::run(context, Verb::Restart, args),
        Command::Reload(args) => order::run(context, Verb::Reload, args),
        Command::Signal { signal, order } => order::run(context, Verb::Signal(signal), order),
        Command::Enable(args) => order::run(context, Verb::Enable, args),
        Command::Disable(args) => order::run(context, Verb::Disable, args),
        Command::Clean { what, order } => order::run(context, Verb::Clean(what), order),
        Command::Reset { units, all, dry_run } => order::reset(context, &units, all, dry_run),
        Command::Check { units, no_restart, config } => check::run(context, &units, no_restart, config.as_deref()),
        Command::History { unit, export: true, lines: _ } => unit::export(context, unit.as_ref()),
        Command::History { unit, export: false, lines } => unit::history(context, unit.as_ref(), lines),
        Command::Why { unit } => unit::why(context, &unit),
        Command::Logs { unit, follow, lines, since, until, grep, timestamps } => {
            let (since, until, grep) = (since.as_deref(), until.as_deref(), grep.as_deref());
            logs::run(context, &unit, &logs::Portion { follow, lines, since, until, grep, timestamps })
        }
        Command::Events { follow: false, lines } => events::past(context, lines),
        Command::Events { follow: true, lines } => events::follow(context, lines),
        Command::Alerts { what } => alerts::run(context, what),
        Command::Fleet { what } => fleet::run(context, what),
        Command::Plan { what } => fleet::plan(context, what),
        Command::List { names } => unit::list(context, names),
        Command::Cat { unit } => unit::cat(context, &unit),
        Command::Show { unit, properties } => unit::show(context, &unit, &properties),
        Command::Deps { unit } => unit::deps(context, &unit),
        Command::Doctor { config } => doctor::run(context, config.as_deref()),
        Command::Lint { paths } => lint::run(context, &paths),
        Command::ReloadConfig => unit::reload_config(context),
        Command::Adopt(args) => adopt::run(context, &args),
        Command::Upgrade { to } => upgrade::run(context, to.as_deref()),
        Command::Completions { shell } => completions::run(shell),
    }
}
