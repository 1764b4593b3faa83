//! Our unit under a real systemd, which boots in namespaces of its own: what systemd sees, and what the services feel.
//! Needs root.

#[path = "support/machine.rs"]
mod machine;
#[path = "systemd_boot/external.rs"]
mod external; // services that systemd keeps
#[path = "systemd_boot/remote.rs"]
mod remote; // a host without a daemon
#[path = "systemd_boot/sandbox.rs"]
mod sandbox; // services that are shut in

use std::{
    io::{self, Read},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

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
    booted_with(
        setting,
        [
            service("first", "", ""),
            // Slow to end: one that did not wait for it would be noticed.
            service("second", "requires = [\"first\"]\nafter = [\"first\"]", "sleep 0.5;"),
        ],
    )
}

fn booted_with(setting: &str, files: impl IntoIterator<Item = (String, String)>) -> Machine {
    let drop_in =
        format!("[Service]\nStandardError=append:/run/supervisord.log\nEnvironment=ROUNDSMAN_LOG=debug\n{setting}\n");
    let log = ("etc/systemd/system/roundsman.service.d/log.conf".to_owned(), drop_in);
    let machine = Machine::boot(&files.into_iter().chain([log]).collect::<Vec<_>>());
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
    let after = machine.property("ExecStopPost");
    assert!(after.contains("make-way") && !after.contains("status=1"), "{after}");
    assert_eq!((machine.pid_of("first"), machine.pid_of("second")), (first.clone(), second));
    assert_eq!((machine.count_of("echo first"), machine.count_of("echo second")), (1, 1));
    machine.systemctl(&["stop", "roundsman"]);
    assert_eq!(machine.read("run/ended"), "second\nfirst\n");
    assert!(!machine.is_alive(&first));
}

/// Says "hello" to each who connects to /run/web.sock.
const WEB: [(&str, &str); 2] = [
    (
        "run/web.pl",
        "use IO::Handle; open(S, '+<&=', 3) or die; S->blocking(1); open(P, '>', '/run/web.pid'); print P \"$$\\n\"; close P;\n\
         while (accept(C, S)) { syswrite(C, 'hello'); close C; }\n",
    ),
    (
        "etc/roundsman/units/web.toml",
        "[service]\nexec_start = '/usr/bin/perl /run/web.pl'\nrestart = 'always'\nrestart_sec = 0\n\
         [socket]\nlisten_stream = ['/run/web.sock']\n",
    ),
];

/// Writes numbered lines; the number of the last is in /run/ticker.count.
const TICKER: [(&str, &str); 2] = [
    (
        "run/ticker.sh",
        "echo $$ > /run/ticker.pid; i=0\n\
         while :; do i=$((i + 1)); echo line $i; echo $i > /run/ticker.count; sleep 0.02; done\n",
    ),
    ("etc/roundsman/units/ticker.toml", "[service]\nexec_start = '/bin/sh /run/ticker.sh'\nrestart = 'always'\n"),
];

/// Connects again and again.
struct Client {
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u32>>,
}

impl Client {
    /// Waits for `answer` each time, in vain at most as often as the service is killed.
    #[expect(clippy::disallowed_methods, reason = "a client is a thread and takes its time")]
    fn of(socket: PathBuf, answer: &'static str, kills: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (mut served, mut cut) = (0, 0);
            while !until.load(Ordering::Relaxed) {
                let mut stream = UnixStream::connect(&socket)?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                let mut heard = vec![0; answer.len()];
                match stream.read_exact(&mut heard) {
                    Ok(()) => served += 1,
                    // The service was killed when it had accepted this one.
                    Err(_) if cut < kills => cut += 1,
                    Err(error) => return Err(error),
                }
                thread::sleep(Duration::from_millis(10));
            }
            Ok(served)
        });
        Self { over, thread }
    }

    /// How often it was served; no connection was refused.
    #[expect(clippy::expect_used, reason = "a helper of tests stops the test")]
    fn end(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client").expect("no connection is refused, and none lost that waited")
    }
}

/// Lines of the service as `supervisorctl` shows them, up to the one that it has written last.
fn ticked(machine: &Machine) -> Vec<String> {
    eventually("a line is written", || machine.read("run/ticker.count").ends_with('\n'));
    let last = format!("line {}", machine.read("run/ticker.count").trim());
    let mut lines = Vec::new();
    eventually("it is captured", || {
        let said = machine.run(&["supervisorctl", "logs", "ticker", "-n", "1000000"]);
        lines = said.lines().filter_map(|said| Some(said.get(said.find("line ")?..)?.to_owned())).collect();
        lines.contains(&last)
    });
    lines
}

/// The service's own death together with the keeper's leaves its socket to systemd alone. What was taken back, and what an
/// upgraded program was left, is handed over like what is new.
#[test]
fn sockets_and_output_outlive_the_keeper() {
    let text = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    let machine = booted_with("", [WEB, TICKER].as_flattened().iter().map(text));
    let (ticker, mut web) = (machine.pid_of("ticker"), machine.pid_of("web"));
    let clients = [("run/web.sock", "hello"), ("run/web.sock", ""), ("run/roundsman/control.sock", "")]
        .map(|(socket, answer)| Client::of(machine.path(socket), answer, 2));
    let bound = || std::fs::metadata(machine.path("run/web.sock")).map(|file| file.ino()).unwrap_or_default();
    let first = bound();
    for restarts in ["1", "2"] {
        if restarts == "2" {
            let manager = machine.manager();
            machine.systemctl(&["kill", "--kill-who=main", "--signal=USR2", "roundsman"]);
            eventually("the program is replaced", || {
                machine.manager() != manager && machine.get("/v1/units/web").contains("\"active\"")
            });
        }
        machine.run(&["kill", "-9", &machine.property("MainPID"), &web]);
        let written: usize = machine.read("run/ticker.count").trim().parse().unwrap_or(0);
        eventually("systemd starts another", || machine.property("NRestarts") == restarts);
        eventually("the service is started again", || machine.pid_of("web") != web);
        web = machine.pid_of("web");
        let lines = ticked(&machine);
        assert!(lines.len() > written + 10, "{} lines, {written} of them before the kill", lines.len());
        for (index, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("line {}", index + 1));
        }
        assert_eq!((machine.pid_of("ticker"), bound()), (ticker.clone(), first));
        // The control socket, the service's, and both ends of two log pipes.
        assert_eq!(machine.property("NFileDescriptorStore"), "6");
    }
    let served = clients.map(Client::end);
    assert!(served.iter().all(|count| *count > 3), "{served:?}");
    machine.systemctl(&["restart", "roundsman"]);
    eventually("all begins anew", || machine.pid_of("ticker") != ticker && machine.pid_of("web") != web);
    assert_ne!(bound(), first, "after an orderly end nothing comes back");
    eventually("systemd holds what is new", || machine.property("NFileDescriptorStore") == "6");
    machine.systemctl(&["stop", "roundsman"]);
    assert_eq!(machine.property("NFileDescriptorStore"), "0");
    assert!(UnixStream::connect(machine.path("run/web.sock")).is_err());
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
