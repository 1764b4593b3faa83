//! The command line of supervisorctl, as people type it. Names are fixed: scripts and cron lines depend on them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    adopt::AdoptArgs,
    fleet_args::{FleetCommand, PlanCommand},
};
use crate::base::{Signal, TimeSpan, UnitName};

/// Controls the supervisor on this machine.
#[derive(Debug, Parser)]
#[command(name = "supervisorctl", version, max_term_width = 100, arg_required_else_help = true)]
#[command(about = "Shows and steers the services that supervisord keeps up")]
#[command(after_help = "\
Examples:
  supervisorctl status                 what is up, and what is not
  supervisorctl why web                what led to web's present state
  supervisorctl restart web worker     restart both and wait until they are up
  supervisorctl logs web -f            follow web's output

The daemon is found at --socket, else at $ROUNDSMAN_SOCKET, else where a daemon of your own \
would listen, else at the system's /run/roundsman/control.sock.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print JSON as the API speaks it, times in microseconds since 1970
    #[arg(long, global = true, help_heading = "Common options")]
    pub(crate) json: bool,
    /// Talk to the daemon over this unix socket
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options", conflicts_with = "url")]
    pub(crate) socket: Option<PathBuf>,
    /// Talk to a daemon through a tunnel, such as http://127.0.0.1:9180 (plain http, this machine only)
    #[arg(long, global = true, value_name = "URL", help_heading = "Common options")]
    pub(crate) url: Option<String>,
    /// File with the bearer token to present; it must not be readable by others
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Each command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show state, health, restarts and the last cause; with UNIT, everything about it
    #[command(after_help = "\
Examples:
  supervisorctl status            one line per unit
  supervisorctl status web        all about web, with its last output
  supervisorctl status --json | jq -r '.units[] | select(.up | not) | .name'

WINDOW is starts in the start-limit window of those allowed; RESTARTS is automatic restarts in all.
Exit status: 0 all are up, 3 some are down, 4 a unit is unknown, 1 the daemon cannot be asked.")]
    Status {
        /// Units to show [default: all]
        #[arg(value_name = "UNIT")]
        units: Vec<UnitName>,
    },
    /// Start units and wait until they are up
    Start(OrderArgs),
    /// Stop units and wait until they are down
    Stop(OrderArgs),
    /// Restart units and wait until they are up again
    Restart(OrderArgs),
    /// Ask units to reload their configuration
    Reload(OrderArgs),
    /// Send a signal to the main process of units
    #[command(after_help = "\
Examples:
  supervisorctl signal HUP web
  supervisorctl signal SIGUSR1 web worker
  supervisorctl signal 10 web")]
    Signal {
        /// Name or number: HUP, SIGHUP, 1, RTMIN+1
        #[arg(value_name = "SIG", value_parser = parse_signal)]
        signal: Signal,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Clear restart counts, start limit and failed state
    #[command(after_help = "\
Examples:
  supervisorctl reset web         clear web's
  supervisorctl reset --all       clear everyone's

It says what it cleared. Past runs stay in `history`, and counters of metrics never go back.
A bare `reset` does nothing but name these two forms.")]
    Reset {
        /// Units to clear
        #[arg(value_name = "UNIT", conflicts_with = "all")]
        units: Vec<UnitName>,
        /// Clear every unit
        #[arg(long)]
        all: bool,
        /// Show what would be cleared and clear nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove what the daemon keeps for units that are down
    #[command(after_help = "\
Example:
  supervisorctl clean web --what fdstore    close the descriptors that web keeps

Of a unit that is not down nothing is removed: stop it first.")]
    Clean {
        /// What of them is to go
        #[arg(long, value_name = "WHAT")]
        what: Cleaned,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Have units started when the daemon starts, from now on
    Enable(OrderArgs),
    /// No longer start units when the daemon starts
    Disable(OrderArgs),
    /// Run every health probe once, now, and restart what is unhealthy
    #[command(after_help = "\
Examples:
  */5 * * * * supervisorctl check           a cron line: mails what it repaired
  supervisorctl check web --no-restart      a monitoring plugin: only looks
  supervisorctl check --config site.toml    also without a daemon

It restarts at the first bad answer of a probe whose severity is critical: unhealthy_after is of the probes \
that run by themselves. What someone stopped, is in maintenance or hit its start limit is left alone, and \
so is all that a restart does not mend: a disk, a certificate, another unit of the host.

One line per service in monitoring-plugin form with perfdata, the worst first.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.")]
    Check {
        /// Units to check [default: all]
        #[arg(value_name = "UNIT")]
        units: Vec<UnitName>,
        /// Only look
        #[arg(long)]
        no_restart: bool,
        /// Settings to use when no daemon runs
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show past runs: start, end, cause, exit status, what was done about it, by whom
    #[command(after_help = "\
Examples:
  supervisorctl history web -n 50
  supervisorctl history --export > runs.jsonl    all that is kept, oldest first
  supervisorctl history --export | jq -r 'select(.result == \"oom-kill\") | .unit'

With --export each line is a JSON object, with the fields of `history --json` and `seq`, which only grows.")]
    History {
        /// Whose runs [default: everyone's]
        #[arg(value_name = "UNIT")]
        unit: Option<UnitName>,
        /// How many, the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, conflicts_with = "export")]
        lines: u32,
        /// All that are kept, the oldest first, as JSON, one a line
        #[arg(long)]
        export: bool,
    },
    /// Show the chain of causes behind a unit's present state
    Why {
        /// Which unit
        #[arg(value_name = "UNIT")]
        unit: UnitName,
    },
    /// Show the captured output of a unit
    #[command(after_help = "\
Examples:
  supervisorctl logs web                        the last 100 lines
  supervisorctl logs web -f                     the last 10 lines and what comes
  supervisorctl logs web --since 10min          the last ten minutes
  supervisorctl logs web --since yesterday
  supervisorctl logs web --since '2026-03-01 12:00' --until '2026-03-01 12:05'
  supervisorctl logs web -f --grep 'error|timeout'

Output that was packed is read like any other; -f goes on over rotation and over a restart of the daemon.
On a terminal control characters are shown escaped; into a pipe or file go the bytes as they were written.")]
    Logs {
        /// Whose output
        #[arg(value_name = "UNIT")]
        unit: UnitName,
        /// Go on with new output as it comes
        #[arg(short, long)]
        follow: bool,
        /// How many lines, the last ones [default: 100; 10 with --follow; all with --since, --until or --grep]
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<u32>,
        /// From when: "10min" ago, today, yesterday, "14:30", "2026-03-01 14:30", RFC 3339
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Up to when, written like --since
        #[arg(long, value_name = "TIME", conflicts_with = "follow")]
        until: Option<String>,
        /// Only lines that this regular expression is found in ((?i) before it: in capitals too)
        #[arg(short, long, value_name = "REGEX")]
        grep: Option<String>,
        /// Before each line the time it was captured
        #[arg(short, long)]
        timestamps: bool,
    },
    /// Show what happened
    Events {
        /// Go on with new events as they come; with --json one event per line
        #[arg(short, long)]
        follow: bool,
        /// How many past ones, the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: u32,
    },
    /// Show open alerts and silences; take them on, hush them, test a route
    #[command(after_help = "\
Examples:
  supervisorctl alerts                          what is open, what is hushed
  supervisorctl alerts ack web                  I am on it: no more reminders
  supervisorctl alerts silence web --for 2h     tell nobody about web for 2 h
  supervisorctl alerts silence disk_low:db --for 1d --comment 'disk is ordered'
  supervisorctl alerts silence web --for 1h --maintenance  check spares it
  supervisorctl alerts unsilence web
  supervisorctl alerts test ops                 send a test by the route ops

What opens under a silence and outlasts it is told when it ends.")]
    Alerts {
        #[command(subcommand)]
        what: Option<AlertsCommand>,
    },
    /// Show the machines of a fleet; restart or reload services over all of them, in order
    #[command(after_help = "\
Examples:
  supervisorctl fleet status                    nodes, services, load balancers
  supervisorctl fleet restart app --dry-run     the plan, and why it is so
  supervisorctl fleet restart app               carry it out, and watch
  supervisorctl fleet restart app --node vm4 --no-cascade    one instance alone
  supervisorctl fleet graph --dot | dot -Tsvg > fleet.svg

Exit status: 0 done, or nothing is in the way of a plan that is only shown, 1 it did not come about, 2 something is in \
the way, 3 nothing is to be done.")]
    Fleet {
        #[command(subcommand)]
        what: FleetCommand,
    },
    /// Show a plan over the fleet; agree to it, pause, resume, abort it
    #[command(after_help = "\
Examples:
  supervisorctl plan show             the newest, and how far it is
  supervisorctl plan show 3f2a -f     follow it
  supervisorctl plan pause 3f2a --reason 'vm4 looks odd'
  supervisorctl plan resume 3f2a      go on, and try again what failed
  supervisorctl plan abort 3f2a       end it, and say what became of each")]
    Plan {
        #[command(subcommand)]
        what: PlanCommand,
    },
    /// List all units
    List {
        /// Print nothing but names, one a line
        #[arg(long)]
        names: bool,
    },
    /// Show the files of a unit with its drop-ins
    Cat {
        /// Which unit
        #[arg(value_name = "UNIT")]
        unit: UnitName,
    },
    /// Show all properties of a unit
    Show {
        /// Which unit
        #[arg(value_name = "UNIT")]
        unit: UnitName,
        /// Only this property (may be given several times)
        #[arg(short, long = "property", value_name = "NAME")]
        properties: Vec<String>,
    },
    /// Show what a unit needs and what needs it
    Deps {
        /// Which unit
        #[arg(value_name = "UNIT")]
        unit: UnitName,
    },
    /// Check unit files without a daemon: every problem with file:line:column and the likely intended word
    #[command(after_help = "\
Examples:
  supervisorctl lint                    the units of this machine
  supervisorctl lint units/             a folder, as the daemon would read it
  supervisorctl lint units/web.toml     one unit with its drop-ins

Exit status: 0 the units can be used, 1 they cannot.")]
    Lint {
        /// Files and folders [default: the units folder]
        #[arg(value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Say what is wrong with this machine, and what to do about it
    #[command(after_help = "\
Examples:
  supervisorctl doctor
  supervisorctl doctor --config site.toml
  supervisorctl doctor --json | jq -r '.findings[] | select(.level != \"ok\")'

Ports and who holds them, DNS, Redis, permissions of files and secrets, clock, disks, limits, cgroups, processes without \
a supervisor, the database, the unit of systemd. It needs no daemon and changes nothing; root sees most.
Each line: OK, WARN, FAIL or UNKNOWN, topic, place, what is so, and what to do.

Exit status: 0 all is well, 1 warnings or what could not be seen, 2 failures, 3 it could not look.")]
    Doctor {
        /// Settings to look at [default: those of the daemon at --socket; those of the system, or your own]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read unit files anew and take them into use, as SIGHUP does
    ReloadConfig,
    /// Watch services of the host's systemd, and have it tell us when one of them has failed
    #[command(after_help = "\
Examples:
  supervisorctl adopt nginx --dry-run           the files as they would be
  supervisorctl adopt nginx postgresql          watch both from now on
  supervisorctl adopt nginx --undo              take it back; nginx runs on

For each service a drop-in with Restart=, StartLimitBurst= and OnFailure=, and a unit of ours with [external]. systemd \
goes on to run it. A file that adopt did not write is never touched.")]
    Adopt(AdoptArgs),
    /// Replace supervisord's program in place; no service notices
    #[command(after_help = "\
Examples:
  supervisorctl upgrade                   after a package brought a new release
  supervisorctl upgrade --to /opt/new/supervisord

The new program is first asked whether it can take over: keeper's state, settings, units, database. If its manager is \
not ready within 10 s, the program before takes over again.

Exit status: 0 the new program runs, 1 the one before does.")]
    Upgrade {
        /// The new program [default: what stands where the running one was started from]
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
    },
    /// Print a script that completes commands and unit names
    #[command(after_help = "\
Examples:
  supervisorctl completions bash > /etc/bash_completion.d/supervisorctl
  supervisorctl completions zsh > \"${fpath[1]}/_supervisorctl\"
  supervisorctl completions fish > ~/.config/fish/completions/supervisorctl.fish")]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// What `alerts` does.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Show what is open and what is hushed
    List,
    /// Take open alerts on: no reminders and no escalation, until it gets worse
    #[command(after_help = "\
WHAT is one of these:
  web                             all that is open about a unit
  web/root                        what its probe root finds short
  unit_failed:web                 as `supervisorctl alerts` shows it
  unit_failed:web@vm1             its key (dedup_key), as messages have it
  disk_low:/disk, disk_low:vm1    what is of the node
  node_failed:vm3, quorum_lost    what is of the fleet
  web/18c2f/7/0                   the id of an incident, whole")]
    Ack {
        /// An alert as the list or a message names it, a unit, UNIT/PROBE, or the id of an incident
        #[arg(value_name = "WHAT")]
        what: String,
    },
    /// Tell nobody of these alerts for a time
    Silence {
        /// A unit, or a pattern as in rules: unit_failed:web, disk_low, *:web-*
        #[arg(value_name = "WHAT")]
        what: String,
        /// For how long: 30min, 2h, 1d
        #[arg(long = "for", value_name = "TIME")]
        span: TimeSpan,
        /// Why, for the others
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
        /// Someone works there: `check` restarts nothing of it meanwhile
        #[arg(long)]
        maintenance: bool,
    },
    /// End silences before their time
    Unsilence {
        /// A silence's number, or what it was given for
        #[arg(value_name = "WHAT")]
        what: String,
    },
    /// Send a test message to a route, at once
    Test {
        /// Its name in roundsman.toml
        #[arg(value_name = "ROUTE")]
        route: String,
    },
}

/// What the commands that change units take.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// For which units
    #[arg(value_name = "UNIT", required = true)]
    pub(crate) units: Vec<UnitName>,
    /// Return as soon as the daemon has taken the order
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) no_wait: bool,
    /// Show the order of things and who is affected, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `clean` removes, by systemd's name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Cleaned {
    /// The descriptors that the service keeps with the daemon (FDSTORE=1)
    Fdstore,
}

/// Shells that can be completed in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| "no signal of that name or number (such as HUP, SIGUSR1, 10, RTMIN+1)".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// As wide as every terminal is.
    const COLUMNS: usize = 80;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_help_breaks_in_the_middle_of_a_sentence() {
        let mut commands = vec![Cli::command()];
        let mut seen = 0;
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            seen += usize::from(!help.is_empty());
            for (line, next) in help.lines().zip(help.lines().skip(1).chain([""])) {
                // What is typed stands as it is; whatever else there is, is wrapped where it is shown.
                let is_typed = line.starts_with("  ");
                assert!(!is_typed || line.chars().count() <= COLUMNS, "{name}: {line}");
                let goes_on = !is_typed && !next.is_empty() && !line.is_empty();
                assert!(!goes_on || line.ends_with(['.', ':']), "{name}: {line}");
            }
        }
        assert!(seen > 12, "only {seen} were found");
    }

    #[test]
    fn what_an_incident_can_be_named_by_is_in_the_help_of_ack() {
        let mut command = Cli::command();
        let ack = command.find_subcommand_mut("alerts").unwrap().find_subcommand_mut("ack").unwrap();
        let help = ack.render_long_help().to_string();
        for name in ["unit_failed:web ", "unit_failed:web@vm1", "web/root", "id of an incident"] {
            assert!(help.contains(name), "{name}: {help}");
        }
    }

    #[test]
    fn a_unit_is_named_with_and_without_its_suffix() {
        let names = |line: &[&str]| {
            let Command::Stop(order) = Cli::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
            order.units
        };
        assert_eq!(names(&["supervisorctl", "stop", "web.service"]), names(&["supervisorctl", "stop", "web"]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "start",
            "start ../etc",
            "start a --no-wait --dry-run",
            "reset a --all",
            "signal TERMINATE a",
            "signal HUP",
            "status --socket a --url b",
            "logs",
            "frobnicate",
            "completions csh",
        ] {
            let words = ["supervisorctl"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_line_of_the_runbooks_is_one_of_ours() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
        let mut lines = 0;
        for page in std::fs::read_dir(folder).unwrap() {
            let page = page.unwrap().path();
            let text = std::fs::read_to_string(&page).unwrap();
            let fenced = text.lines().filter_map(|line| line.trim().strip_prefix("# "));
            let inline = text.split('`').skip(1).step_by(2);
            for line in fenced.chain(inline).filter(|line| line.starts_with("supervisorctl ")) {
                lines += 1;
                if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                    panic!("{}: {line}: {error}", page.display());
                }
            }
        }
        assert!(lines > 80, "only {lines} were found");
    }

    #[test]
    fn common_options_stand_before_and_after_the_command() {
        for line in ["--json --socket /s status", "status --json --socket /s"] {
            let cli = Cli::try_parse_from(["supervisorctl"].into_iter().chain(line.split(' '))).unwrap();
            assert!(cli.global.json && cli.global.socket.is_some(), "{line}");
        }
    }
}
