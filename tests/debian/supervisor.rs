//! systemd and we behind one door: orders, and how a unit stands.

use roundsman::base::Signal;
use serde_json::Value;

use crate::{
    daemon::Daemon,
    machine::{Machine, eventually},
};

/// Who keeps the daemon up.
pub(crate) struct Supervisor<'a> {
    machine: &'a Machine,
    daemon: &'a Daemon,
    unit: &'static str,
    is_systemd: bool,
}

/// How its unit stands, in systemd's words.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kind: String,
    pub(crate) active: String,
    pub(crate) sub: String,
    pub(crate) result: String,
    pub(crate) restarts: u64,
    /// The main process; 0: none.
    pub(crate) pid: u32,
    /// How the last one ended.
    pub(crate) exit: String,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn systemd(machine: &'a Machine, daemon: &'a Daemon) -> Self {
        Self { machine, daemon, unit: daemon.unit, is_systemd: true }
    }

    pub(crate) fn roundsman(machine: &'a Machine, daemon: &'a Daemon) -> Self {
        for socket in daemon.sockets {
            machine.systemctl(&["stop", socket]);
        }
        machine.systemctl(&["start", "roundsman"]);
        Self { machine, daemon, unit: daemon.unit, is_systemd: false }
    }

    /// The same for another unit.
    pub(crate) fn of(&self, unit: &'static str) -> Self {
        Self { unit, ..*self }
    }

    /// `start`, `reload`, `stop` and so on, and waits; whether it succeeded.
    pub(crate) fn order(&self, verb: &str) -> bool {
        let unit = self.unit;
        // A socket that stays would start the daemon again.
        let command = match (self.is_systemd, verb) {
            (true, "stop") => format!("systemctl stop {} {unit}", self.daemon.sockets.join(" ")),
            (true, _) => format!("systemctl {verb} {unit}"),
            (false, _) => format!("supervisorctl {verb} {unit}"),
        };
        let command = format!("{command} > /dev/null 2>&1; echo $?");
        self.machine.run(&["sh", "-c", &command]) == "0"
    }

    pub(crate) fn state(&self) -> State {
        if self.is_systemd { self.shown() } else { self.answered() }
    }

    /// Waits for what its death comes to: true, it runs again as another process; false, it has failed.
    #[track_caller]
    pub(crate) fn comes_back(&self, dead: u32) -> bool {
        let mut state = self.state();
        eventually("its death has come to something", || {
            state = self.state();
            state.active == "failed" || state.active == "active" && state.pid != dead && state.pid != 0
        });
        state.active == "active"
    }

    /// Waits until it has failed and is not tried again.
    #[track_caller]
    pub(crate) fn gives_up(&self) {
        eventually("it is given up on", || self.state().active == "failed");
    }

    /// Forgets that it has failed.
    pub(crate) fn forgive(&self) {
        let verb = if self.is_systemd { "reset-failed" } else { "reset" };
        assert!(self.order(verb), "{} cannot be reset", self.unit);
    }

    fn shown(&self) -> State {
        let properties = "--property=Type,ActiveState,SubState,Result,NRestarts,MainPID,ExecMainCode,ExecMainStatus";
        let shown = self.machine.run(&["systemctl", "show", properties, self.unit]);
        let value = |key: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        let number = |key: &str| value(key).parse::<u32>().expect("a number");
        let exit = match (&*value("ExecMainCode"), &*value("ExecMainStatus")) {
            ("0", _) => String::new(),
            ("1", code) => format!("exit code {code}"),
            ("2", signal) => format!("killed by {}", Signal::parse(signal).expect("a signal")),
            (how, what) => format!("{how} {what}"),
        };
        State {
            kind: value("Type"),
            active: value("ActiveState"),
            sub: value("SubState"),
            result: value("Result"),
            restarts: number("NRestarts").into(),
            pid: number("MainPID"),
            exit,
        }
    }

    fn answered(&self) -> State {
        let answer = self.machine.get(&format!("/v1/units/{}", self.unit));
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let unit: Value = serde_json::from_str(body).expect("JSON");
        let text = |key: &str| unit[key].as_str().unwrap_or_default().to_owned();
        State {
            kind: text("kind"),
            active: text("active"),
            sub: text("sub"),
            result: text("result"),
            restarts: unit["restarts_in_row"].as_u64().expect("a number"),
            pid: unit["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0),
            exit: text("last_exit"),
        }
    }
}
