//! What adopt writes.

use std::path::Path;

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
    fn the_unit_of_every_name_loads() {
        for name in ["nginx", "getty@tty1", r"a\x2db", "a-b.c_d:e"] {
            let text = unit(&UnitName::new(name).unwrap(), &VALUES);
            let sources = [unit::SourceText::new(format!("{name}.toml"), text).unwrap()];
            let loaded = unit::load(&sources);
            assert!(loaded.as_ref().is_ok_and(|loaded| loaded.warnings.is_empty()), "{name}: {:?}", loaded.err());
        }
    }
}
