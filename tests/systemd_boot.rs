//! Our unit under a real systemd, which boots in namespaces of its own: what systemd sees, and what the services feel.
//! Needs root.

#[path = "support/machine.rs"]
mod machine;

use machine::{Machine, eventually};

/// A service that leaves its pid in /run/NAME.pid, and its name in /run/ended when it is asked to end.
fn service(name: &str, unit: &str, when_asked: &str) -> (String, String) {
    let script = format!(
        "trap '{when_asked} echo {name} >> /run/ended; exit 0' TERM; echo $$$$ > /run/{name}.pid; \
         while :; do sleep 1000 & wait; done"
    );
    let text = format!("[unit]\n{unit}\n[service]\nexec_start = '''/bin/sh -c \"{script}\"'''\nrestart = \"always\"\n");
    (format!("etc/roundsman/units/{name}.toml"), text)
}

/// A machine on which our unit, with one more `setting`, has become active with two services, the second of which needs the first.
fn booted(setting: &str) -> Machine {
    let drop_in =
        format!("[Service]\nStandardError=append:/run/supervisord.log\nEnvironment=ROUNDSMAN_LOG=debug\n{setting}\n");
    let machine = Machine::boot(&[
        ("etc/systemd/system/roundsman.service.d/log.conf".to_owned(), drop_in),
        service("first", "", ""),
        // Slow to end: one that did not wait for it would be noticed.
        service("second", "requires = [\"first\"]\nafter = [\"first\"]", "sleep 0.5;"),
    ]);
    machine.systemctl(&["start", "roundsman"]);
    machine
}

#[test]
fn systemd_sees_readiness_and_life_and_reloads_us() {
    let machine = booted("");
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("StatusText"), "2 units");
    machine.pid_of("second");

    let before = machine.property("WatchdogTimestampMonotonic");
    eventually("the watchdog is fed", || machine.property("WatchdogTimestampMonotonic") != before);

    let keeper = machine.property("MainPID");
    let (path, text) = service("third", "", "");
    machine.write(&path, &text);
    machine.systemctl(&["reload", "roundsman"]);
    eventually("the new unit is known", || machine.get("/v1/units").contains("third"));
    assert_eq!(machine.property("MainPID"), keeper);
}

#[test]
fn the_managers_death_touches_no_service() {
    let machine = booted("");
    let (first, second) = (machine.pid_of("first"), machine.pid_of("second"));
    let (keeper, manager) = (machine.property("MainPID"), machine.manager());
    machine.run(&["kill", "-9", &manager]);
    eventually("another manager answers", || {
        machine.manager() != manager && machine.get("/v1/units/second").contains("\"active\"")
    });
    assert_eq!((machine.pid_of("first"), machine.pid_of("second")), (first.clone(), second.clone()));
    assert!(machine.is_alive(&first) && machine.is_alive(&second));
    assert_eq!((machine.property("MainPID"), machine.property("NRestarts")), (keeper, "0".to_owned()));
    assert_eq!(machine.property("ActiveState"), "active");
}

#[test]
fn the_keepers_death_touches_no_service() {
    let machine = booted("");
    let (first, second, keeper) = (machine.pid_of("first"), machine.pid_of("second"), machine.property("MainPID"));
    machine.run(&["kill", "-9", &keeper]);
    eventually("systemd starts another", || machine.property("NRestarts") == "1");
    eventually("it knows what runs", || machine.get("/v1/units/second").contains(&format!("\"pid\":{second}")));
    assert_eq!((machine.pid_of("first"), machine.pid_of("second")), (first.clone(), second));
    assert_eq!((machine.count_of("echo first"), machine.count_of("echo second")), (1, 1));
    machine.systemctl(&["stop", "roundsman"]);
    assert_eq!(machine.read("run/ended"), "second\nfirst\n");
    assert!(!machine.is_alive(&first));
}

#[test]
fn a_stop_that_takes_too_long_leaves_nothing_behind() {
    let machine = booted("TimeoutStopSec=1s");
    let (path, text) = service("stubborn", "", "while :; do sleep 1; done;");
    machine.write(&path, &text);
    machine.systemctl(&["restart", "roundsman"]);
    let stubborn = machine.pid_of("stubborn");
    machine.systemctl(&["stop", "roundsman"]);
    assert_eq!(machine.property("Result"), "timeout");
    eventually("the service is swept", || !machine.is_alive(&stubborn));
}

#[test]
fn a_restart_and_a_stop_end_the_services_in_order() {
    let machine = booted("");
    let (keeper, first) = (machine.property("MainPID"), machine.pid_of("first"));
    machine.pid_of("second");
    machine.systemctl(&["restart", "roundsman"]);
    assert_eq!(machine.read("run/ended"), "second\nfirst\n");
    assert_ne!(machine.property("MainPID"), keeper);
    eventually("the service is started anew", || machine.pid_of("first") != first);
    eventually("the other too", || machine.count_of("echo second") == 1);

    machine.systemctl(&["stop", "roundsman"]);
    assert_eq!(machine.read("run/ended"), "second\nfirst\nsecond\nfirst\n");
    assert_eq!((machine.property("ActiveState"), machine.property("Result")), ("inactive".into(), "success".into()));
    assert_eq!(machine.count_of("supervisord"), 0);
    assert_eq!(machine.count_of("echo first") + machine.count_of("echo second"), 0);
}
