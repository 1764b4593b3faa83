//! The daemons of Debian under its own unit files and a real systemd, and under ours (`units/debian`), step by step on one
//! machine: start, reload, death, stop. What becomes of each must be the same. Needs root, and the packages that
//! `scripts/test` installs.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

mod daemon; // which daemons, and how one sees that one answers
mod directives; // the unit files, directive by directive
#[path = "../support/machine.rs"]
#[expect(dead_code, reason = "other tests look at more of the machine")]
mod machine;
mod particular; // what only some of them have
mod process; // what the main process is and sees
mod record; // what is written down after each step
mod supervisor; // systemd and we, behind one door

use std::fmt::Write;

use daemon::Daemon;
use machine::Machine;
use record::{Observer, Record};
use supervisor::Supervisor;

/// A step and what has become of the daemon after it.
type Step = (&'static str, Record);

/// The life of the daemon; `like` is the one that it should be like.
fn life(machine: &Machine, daemon: &Daemon, supervisor: &Supervisor<'_>, like: &[Step]) -> Vec<Step> {
    let mut observer = Observer::new(machine, daemon, supervisor);
    let mut steps: Vec<Step> = Vec::new();
    let start = || assert!(supervisor.order("start"), "{} does not start: {:?}", daemon.unit, supervisor.state());
    let runs = |observer: &Observer<'_>, steps: &mut Vec<Step>, step| {
        daemon.has_answered(machine);
        let like = like.get(steps.len()).map(|(_, record)| record);
        steps.push((step, observer.settled(step, like, daemon.differs)));
    };

    start();
    runs(&observer, &mut steps, "started");

    let before = supervisor.state().pid;
    let reloads = supervisor.order("reload");
    runs(&observer, &mut steps, if reloads { "reloaded" } else { "cannot be reloaded" });
    assert_eq!(supervisor.state().pid, before, "{}: a reload keeps its main process", daemon.unit);

    if let Some((path, text)) = daemon.spoiled {
        let good = machine.read(path);
        machine.write(path, text);
        let reloads = supervisor.order("reload");
        runs(&observer, &mut steps, if reloads { "reloaded with a mistake" } else { "refuses to reload a mistake" });
        assert_eq!(supervisor.state().pid, before, "{}: a mistake ends nothing that runs", daemon.unit);
        assert!(!supervisor.order("restart"), "{} starts with a mistake", daemon.unit);
        supervisor.gives_up();
        steps.push(("restarted with a mistake", observer.record()));
        machine.write(path, &good);
        supervisor.forgive();
        start();
        runs(&observer, &mut steps, "started without the mistake");
    }

    let before = supervisor.state().pid;
    observer.mark();
    machine.run(&["kill", "-9", &before.to_string()]);
    if supervisor.comes_back(before) {
        runs(&observer, &mut steps, "killed and restarted");
    } else {
        steps.push(("killed", observer.record()));
        start();
        runs(&observer, &mut steps, "started again");
    }

    // Nothing is waited for: what is over is over when we say so.
    observer.mark();
    assert!(supervisor.order("stop"), "{} does not stop", daemon.unit);
    steps.push(("stopped", observer.record()));
    observer.sweep();
    steps
}

/// Lives the life of one daemon twice and compares.
fn check(name: &str) {
    let daemon = daemon::of(name);
    let machine = Machine::boot(&daemon.files());
    daemon.prepare(&machine);
    let theirs = life(&machine, daemon, &Supervisor::systemd(&machine, daemon), &[]);
    let ours = life(&machine, daemon, &Supervisor::roundsman(&machine, daemon), &theirs);

    let (_, end) = ours.last().expect("a stop");
    let last = ["active", "result", "processes", "survivors"].map(|field| &*end[field]);
    assert_eq!(last, ["inactive", "success", "", ""], "{name}: its end under us");
    assert_eq!(steps(&ours), steps(&theirs), "{name}: the way we go, and systemd's");
    let mut found = String::new();
    for ((step, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        for field in record::differences(step, ours, theirs, daemon.differs) {
            writeln!(found, "{step}: {field}\n  systemd {}\n  we      {}", theirs[field], ours[field])
                .expect("a string");
        }
    }
    assert!(found.is_empty(), "{name}:\n{found}");
    for known in daemon.differs {
        let differs =
            |field: &str| ours.iter().zip(&theirs).any(|((_, ours), (_, theirs))| ours.get(field) != theirs.get(field));
        let gone: Vec<_> = known.fields.iter().filter(|field| !differs(field)).collect();
        assert!(gone.is_empty(), "{name}: {gone:?} is the same under both now, though {}", known.why);
    }
}

fn steps(life: &[Step]) -> Vec<&'static str> {
    life.iter().map(|(step, _)| *step).collect()
}

/// A test for each daemon, each with a machine of its own.
macro_rules! daemons {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test] fn $test() { check($name); })*

        #[test]
        fn each_has_its_test() {
            let with_a_test: &[&str] = &[$($name),*];
            let all: Vec<&str> = daemon::DAEMONS.iter().map(|daemon| daemon.file).collect();
            assert_eq!(with_a_test, all);
        }
    };
}

daemons! {
    nginx_lives_as_under_systemd: "nginx",
    redis_lives_as_under_systemd: "redis-server",
    haproxy_lives_as_under_systemd: "haproxy",
    memcached_lives_as_under_systemd: "memcached",
    mosquitto_lives_as_under_systemd: "mosquitto",
    ssh_lives_as_under_systemd: "ssh",
    cron_lives_as_under_systemd: "cron",
    prometheus_lives_as_under_systemd: "prometheus",
    postgresql_lives_as_under_systemd: "postgresql@",
    apache_lives_as_under_systemd: "apache2",
    dovecot_lives_as_under_systemd: "dovecot",
    rsyslog_lives_as_under_systemd: "rsyslog",
}
