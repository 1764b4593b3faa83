//! What adopt writes.

use std::{path::Path, str::FromStr};

use super::AdoptArgs;
use crate::base::{TimeSpan, UnitName};

/// The first line of every file of ours.
pub(super) const MARK: &str = "# Written by supervisorctl adopt; remove it with --undo, do not edit it.";
/// The unit that systemd starts when a service has failed.
pub(super) const HOOK: &str = "roundsman-failed@.service";

/// What people may set.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) restart_sec: TimeSpan,
    pub(super) start_limit: u32,
    pub(super) start_limit_interval: TimeSpan,
    pub(super) poll_interval: TimeSpan,
}

impl Values {
    /// What was chosen: now, or for files of ours that are there, or else what is usual.
    pub(super) fn of(args: &AdoptArgs, dropin: Option<&str>, unit: Option<&str>) -> Self {
        Self {
            restart_sec: chosen(args.restart_sec, dropin, "RestartSec").unwrap_or(TimeSpan::from_secs(10)),
            start_limit: chosen(args.start_limit, dropin, "StartLimitBurst").unwrap_or(5),
            start_limit_interval: chosen(args.start_limit_interval, dropin, "StartLimitIntervalSec")
                .unwrap_or(TimeSpan::from_secs(300)),
            poll_interval: chosen(args.poll_interval, unit, "poll_interval").unwrap_or(TimeSpan::from_secs(5)),
        }
    }
}

fn chosen<T: FromStr>(now: Option<T>, text: Option<&str>, key: &str) -> Option<T> {
    let said = |line: &str| {
        let (name, value) = line.split_once('=')?;
        if name.trim() == key { value.trim().trim_matches('"').parse().ok() } else { None }
    };
    now.or_else(|| text?.lines().find_map(said))
}

/// Begins the last line, which says by a sum of the rest whether someone has edited the file.
const SUM: &str = "# Sum of the lines above: ";

/// The same with its last line.
pub(super) fn summed(text: &str) -> String {
    format!("{text}{SUM}{:016x}\n", sum(text))
}

/// Whether a file of ours is as we wrote it.
pub(super) fn is_as_written(text: &str) -> bool {
    text.rfind(SUM).and_then(|at| text.get(..at)).is_some_and(|rest| summed(rest) == text)
}

/// FNV-1a: nobody is kept from forging it, as nobody gains by that.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The drop-in of a service of systemd. One that is restarted already is so after the ends that its own files name.
pub(super) fn dropin(values: &Values, is_restarted: bool) -> String {
    let Values { restart_sec, start_limit, start_limit_interval, .. } = values;
    let restart = if is_restarted { "" } else { "Restart=on-failure\n" };
    format!(
        "{MARK}\n[Unit]\nStartLimitIntervalSec={start_limit_interval}\nStartLimitBurst={start_limit}\n\
         OnFailure=roundsman-failed@%n.service\n\n[Service]\n{restart}RestartSec={restart_sec}\n"
    )
}

/// The unit that has us look at once.
pub(super) fn hook(supervisorctl: &Path, socket: Option<&Path>) -> String {
    let program = word(supervisorctl);
    let socket = socket.map(|path| format!(" --socket {}", word(path))).unwrap_or_default();
    format!(
        "{MARK}\n[Unit]\nDescription=Has Roundsman look at %i, which has failed\n\n[Service]\nType=oneshot\n\
         ExecStart={program}{socket} check --no-restart %i\n\
         # What is found is no failure of the look.\nSuccessExitStatus=1 2 3\n"
    )
}

/// As systemd.service(5) wants a word of a command line: specifiers and variables are not meant.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}

/// Our unit for a service of systemd, which starts and restarts it: what is stopped there stays so, and what it has given up is
/// failed here.
pub(super) fn unit(service: &UnitName, values: &Values) -> String {
    let (full, poll_interval) = (service.full(), values.poll_interval);
    format!(
        "{MARK}\n[unit]\ndescription = '{full} of the host'\n\n[external]\nsystemd = '{full}'\n\
         poll_interval = \"{poll_interval}\"\n\n[install]\n# systemd starts it, where it is enabled there.\n\
         enabled = false\n\n[[health]]\nname = \"systemd\"\nsystemd = '{full}'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit;

    const VALUES: Values = Values {
        restart_sec: TimeSpan::from_secs(10),
        start_limit: 5,
        start_limit_interval: TimeSpan::from_secs(300),
        poll_interval: TimeSpan::from_secs(5),
    };

    #[test]
    fn the_files_are_what_systemd_and_we_read() {
        insta::assert_snapshot!(dropin(&VALUES, false), @r"
        # Written by supervisorctl adopt; remove it with --undo, do not edit it.
        [Unit]
        StartLimitIntervalSec=5min
        StartLimitBurst=5
        OnFailure=roundsman-failed@%n.service

        [Service]
        Restart=on-failure
        RestartSec=10s
        ");
        assert_eq!(dropin(&VALUES, true), dropin(&VALUES, false).replace("Restart=on-failure\n", ""));
        insta::assert_snapshot!(hook(Path::new("/opt/50% off/supervisorctl"), Some(Path::new("/run/x.sock"))), @r#"
        # Written by supervisorctl adopt; remove it with --undo, do not edit it.
        [Unit]
        Description=Has Roundsman look at %i, which has failed

        [Service]
        Type=oneshot
        ExecStart="/opt/50%% off/supervisorctl" --socket /run/x.sock check --no-restart %i
        # What is found is no failure of the look.
        SuccessExitStatus=1 2 3
        "#);
        insta::assert_snapshot!(unit(&UnitName::new("nginx").unwrap(), &VALUES), @r#"
        # Written by supervisorctl adopt; remove it with --undo, do not edit it.
        [unit]
        description = 'nginx.service of the host'

        [external]
        systemd = 'nginx.service'
        poll_interval = "5s"

        [install]
        # systemd starts it, where it is enabled there.
        enabled = false

        [[health]]
        name = "systemd"
        systemd = 'nginx.service'
        "#);
    }

    #[test]
    fn what_was_chosen_before_is_chosen_until_something_else_is() {
        let mut args = AdoptArgs::default();
        let text =
            |values: &Values| (summed(&dropin(values, true)), summed(&unit(&UnitName::new("a").unwrap(), values)));
        assert_eq!(text(&Values::of(&args, None, None)), text(&VALUES));
        args.restart_sec = Some(TimeSpan::from_secs(1));
        args.poll_interval = Some(TimeSpan::from_millis(700));
        let before = text(&Values::of(&args, None, None));
        assert!(before.0.contains("\nRestartSec=1s\n") && before.1.contains("\"700ms\""), "{before:?}");
        let args = AdoptArgs { start_limit: Some(9), ..AdoptArgs::default() };
        let next = text(&Values::of(&args, Some(&before.0), Some(&before.1)));
        assert!(next.0.contains("\nRestartSec=1s\n") && next.0.contains("\nStartLimitBurst=9\n"), "{next:?}");
        assert_eq!(next.1, before.1);
    }

    #[test]
    fn whatever_is_edited_is_not_as_it_was_written() {
        let written = summed(&dropin(&VALUES, false));
        assert!(is_as_written(&written));
        for edited in [
            written.replace("10s", "1s"),
            format!("{written}Nice=5\n"),
            dropin(&VALUES, false),
            written.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(!is_as_written(&edited), "{edited}");
        }
    }

    #[test]
    fn the_unit_of_every_name_loads() {
        for name in ["nginx", "getty@tty1", r"a\x2db", "a-b.c_d:e"] {
            let text = unit(&UnitName::new(name).unwrap(), &VALUES);
            let sources = [unit::SourceText::new(format!("{name}.toml"), text).unwrap()];
            let loaded = unit::load(&sources);
            assert!(loaded.as_ref().is_ok_and(|loaded| loaded.warnings.is_empty()), "{name}: {:?}", loaded.err());
        }
    }
}
