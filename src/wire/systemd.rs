//! What systemd is asked over D-Bus, and what it says of a unit (org.freedesktop.systemd1(5)).

use std::{collections::BTreeMap, fmt::Write};

use super::dbus::{self, Call, Reply, Value};

/// Where systemd listens for root, with or without a bus.
pub const PRIVATE_SOCKET: &str = "/run/systemd/private";
/// Where the machine's bus listens.
pub const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";

const SERVICE: &str = "org.freedesktop.systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_UNIT: &str = "org.freedesktop.systemd1.Service";
/// What is asked, in this order. The state is asked first and last: where it changed in between, the rest is of two states.
const QUESTIONS: [(&str, &str); 15] = [
    (UNIT, "ActiveState"),
    (UNIT, "LoadState"),
    (UNIT, "SubState"),
    (UNIT, "InvocationID"),
    (SERVICE_UNIT, "Result"),
    (SERVICE_UNIT, "NRestarts"),
    (SERVICE_UNIT, "ExecMainCode"),
    (SERVICE_UNIT, "ExecMainStatus"),
    (SERVICE_UNIT, "ExecMainExitTimestamp"),
    (UNIT, "StartLimitBurst"),
    (UNIT, "StartLimitIntervalUSec"),
    (SERVICE_UNIT, "ExecMainStartTimestamp"),
    (SERVICE_UNIT, "Restart"),
    (SERVICE_UNIT, "RestartUSec"),
    (UNIT, "ActiveState"),
];
const SERIAL_HELLO: u32 = 1;
const SERIAL_FIRST: u32 = 2;

/// A unit of systemd, as it says. What only services have is empty or `None` for others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked` …
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`; empty while it changes under the question.
    pub active: String,
    /// `running`, `auto-restart` …
    pub sub: String,
    /// `success`, `exit-code` … of the last run.
    pub result: String,
    /// Of the present run or, of one that is down, of the last one; hexadecimal.
    pub invocation: String,
    /// NRestarts.
    pub restarts: Option<u32>,
    /// How its main process ended: CLD_EXITED and so on (sigaction(2)); 0 while it lives.
    pub code: i64,
    /// Its exit code or signal.
    pub status: i64,
    /// When its main process was started, in microseconds of wall time.
    pub started: Option<i64>,
    /// When it ended, in microseconds of wall time.
    pub ended: Option<i64>,
    /// How many starts systemd allows, within how many microseconds (`u64::MAX` is for ever); one that is 0 is no limit.
    pub start_limit: Option<(u32, u64)>,
    /// After which ends systemd starts it again by itself: `no`, `on-failure` …
    pub restart: String,
    /// How long it waits before that, in microseconds.
    pub restart_delay: Option<u64>,
}

impl UnitState {
    /// Its state as `systemctl status` has it.
    pub fn said(&self) -> String {
        match self.load.as_str() {
            "loaded" | "" => format!("{} ({})", self.active, self.sub),
            load => format!("{} ({load})", self.active),
        }
    }
}

/// The first call on a connection to the machine's bus.
pub fn hello() -> Vec<u8> {
    const BUS: &str = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    dbus::call(&Call { serial: SERIAL_HELLO, destination: BUS, path, interface: BUS, member: "Hello", arguments: &[] })
}

/// All that is asked of one unit.
pub fn questions(unit: &str) -> Vec<u8> {
    let path = path_of(unit);
    let serials = SERIAL_FIRST..;
    let calls = QUESTIONS.iter().zip(serials).map(|((interface, name), serial)| {
        dbus::call(&Call {
            serial,
            destination: SERVICE,
            path: &path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &[interface, name],
        })
    });
    calls.collect::<Vec<_>>().concat()
}

/// Has systemd read its unit files anew. Its answer is the first and only one.
pub fn daemon_reload() -> Vec<u8> {
    to_manager("Reload", &[])
}

/// Has systemd forget that a unit has failed, and how often it was started. Its answer is the first and only one.
pub fn reset_failed(unit: &str) -> Vec<u8> {
    to_manager("ResetFailedUnit", &[unit])
}

/// Has systemd stop a unit. Its answer, which does not wait for the stop, is the first and only one.
pub fn stop(unit: &str) -> Vec<u8> {
    to_manager("StopUnit", &[unit, "replace"])
}

/// Whether it answers one of the calls that have one answer.
pub const fn is_answer(reply: &Reply) -> bool {
    reply.serial == SERIAL_FIRST
}

fn to_manager(member: &str, arguments: &[&str]) -> Vec<u8> {
    let path = "/org/freedesktop/systemd1";
    let interface = "org.freedesktop.systemd1.Manager";
    dbus::call(&Call { serial: SERIAL_FIRST, destination: SERVICE, path, interface, member, arguments })
}

/// The object of a unit: letters and digits stand for themselves, the rest for their code.
fn path_of(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            // A string takes all.
            write!(path, "_{byte:02x}").ok();
        }
    }
    path
}

/// The answers to [`questions`], as they come.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<u32, Result<Value, String>>);

impl Answers {
    /// Takes one; those to other calls change nothing.
    pub fn take(&mut self, reply: Reply) {
        if reply.serial < SERIAL_FIRST {
            return;
        }
        let nothing = || "it returned nothing that we read".to_owned();
        let first = reply.returned.and_then(|values| values.into_iter().next().ok_or_else(nothing));
        self.0.insert(reply.serial, first);
    }

    /// The unit's state once all answers are there; an error where systemd does not speak of such a unit.
    pub fn state(&self) -> Option<Result<UnitState, String>> {
        if self.0.len() < QUESTIONS.len() {
            return None;
        }
        // What is asked of all units must be answered; of one that is no service the rest is not there.
        let refused = self
            .0
            .values()
            .zip(QUESTIONS)
            .find_map(|(answer, (interface, _))| answer.as_ref().err().filter(|_| interface == UNIT));
        if let Some(refused) = refused {
            return Some(Err(refused.clone()));
        }
        let value = |at: u32| self.0.get(&(SERIAL_FIRST + at)).and_then(|answer| answer.as_ref().ok());
        let text = |at| match value(at) {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Number(_) | Value::Bytes(_)) | None => String::new(),
        };
        let number = |at| match value(at) {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Text(_) | Value::Bytes(_)) | None => None,
        };
        let (first, last) = (text(0), text(14));
        Some(Ok(UnitState {
            load: text(1),
            active: if first == last { first } else { String::new() },
            sub: text(2),
            invocation: match value(3) {
                Some(Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                Some(Value::Text(_) | Value::Number(_)) | None => String::new(),
            },
            result: text(4),
            restarts: number(5).and_then(|number| u32::try_from(number).ok()),
            code: number(6).unwrap_or(0),
            status: number(7).unwrap_or(0),
            started: number(11).filter(|at| *at > 0),
            ended: number(8).filter(|at| *at > 0),
            start_limit: number(9).and_then(|burst| u32::try_from(burst).ok()).zip(number(10).map(i64::cast_unsigned)),
            restart: text(12),
            restart_delay: number(13).and_then(|micros| u64::try_from(micros).ok()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_unit_has_its_name_escaped() {
        assert_eq!(path_of("a-1.service"), "/org/freedesktop/systemd1/unit/a_2d1_2eservice");
        assert_eq!(path_of("1@x.service"), "/org/freedesktop/systemd1/unit/_31_40x_2eservice");
    }

    fn answered(values: [Result<Value, String>; 15]) -> Option<Result<UnitState, String>> {
        let mut answers = Answers::default();
        for (value, serial) in values.into_iter().zip(SERIAL_FIRST..) {
            assert_eq!(answers.state(), None);
            answers.take(Reply { serial: SERIAL_HELLO, returned: Err("late".to_owned()) });
            answers.take(Reply { serial, returned: value.map(|value| vec![value]) });
        }
        answers.state()
    }

    fn service(first: &str, last: &str) -> [Result<Value, String>; 15] {
        let text = |text: &str| Ok(Value::Text(text.to_owned()));
        let bytes = Ok(Value::Bytes(vec![0xab, 1]));
        let number = |number| Ok(Value::Number(number));
        [
            text(first),
            text("loaded"),
            text("running"),
            bytes,
            text("success"),
            number(3),
            number(0),
            number(0),
            number(1_700_000_000_000_000),
            number(5),
            number(-1),
            number(1_600_000_000_000_000),
            text("on-failure"),
            number(100_000),
            text(last),
        ]
    }

    #[test]
    fn answers_make_a_state_when_all_are_there() {
        let state = answered(service("active", "active")).unwrap().unwrap();
        assert_eq!((state.said().as_str(), state.restarts), ("active (running)", Some(3)));
        assert_eq!(state.invocation, "ab01");
        assert_eq!((state.ended, state.start_limit), (Some(1_700_000_000_000_000), Some((5, u64::MAX))));
        assert_eq!((state.started, state.restart.as_str()), (Some(1_600_000_000_000_000), "on-failure"));
        assert_eq!(state.restart_delay, Some(100_000));
        let changed = answered(service("active", "failed")).unwrap().unwrap();
        assert_eq!(changed.active, "", "it changed under the question");
    }

    #[test]
    fn what_is_no_service_lacks_what_only_services_have_and_is_a_unit_all_the_same() {
        let mut values = service("active", "active");
        values[4..9].fill(Err("no such interface".to_owned()));
        values[11..14].fill(Err("no such interface".to_owned()));
        let state = answered(values).unwrap().unwrap();
        assert_eq!((state.active.as_str(), state.result.as_str(), state.restarts), ("active", "", None));
        let mut values = service("active", "active");
        values[2] = Err("no such unit".to_owned());
        assert_eq!(answered(values), Some(Err("no such unit".to_owned())));
    }
}
