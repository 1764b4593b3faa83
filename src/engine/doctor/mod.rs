//! What is wrong with this host, as far as the supervisor and its units are concerned: `supervisord doctor`.
//!
//! Works beside a daemon and without one, and changes nothing. Each section looks at one topic in a thread of its own, with a
//! deadline: a disk, a resolver or a server that hangs is a finding, and the others are found all the same. What is said never
//! has a secret in it: of a URL only the host.

mod asked; // limits that cannot be given
mod consul; // pools of it
mod database; // is it sound?
mod files; // who may read and change what
mod hosts; // reached by ssh
mod in_force; // is what runs what stands in the files?
mod init; // what systemd is told about us
mod machine; // clock, disks, limits, cgroups
mod ports; // who listens where
mod processes; // services without a supervisor
mod programs; // what probes run
mod reach; // names and servers
mod report; // findings

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use self::report::Report;
use super::{
    config::{self, Host, Readable},
    settings::Settings,
};
use crate::{
    base::{Chain, Pid, Places},
    unit::Level,
    wire::v1::{Daemon, Diagnosis},
};

/// How long a section may take.
const SECTION_MAX: Duration = Duration::from_secs(10);
/// How long a server, a name or a disk may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What all sections look at.
#[derive(Debug)]
struct Case {
    settings: Settings,
    /// Only where things are could be read of them.
    is_salvaged: bool,
    /// Units that can be used.
    host: Host,
    /// The files of those that cannot.
    left_out: BTreeSet<String>,
    /// The keeper of the daemon that runs with these settings.
    keeper: Option<Pid>,
}

impl Case {
    fn database(&self) -> PathBuf {
        self.settings.paths.state.join("state.db")
    }

    /// Says that a topic was not looked at for units that cannot be read; whether there are such.
    fn tell_left_out(&self, report: &mut Report, topic: &'static str) -> bool {
        const NAMES_MAX: usize = 10;
        if self.left_out.is_empty() {
            return false;
        }
        let names: Vec<&str> = self.left_out.iter().take(NAMES_MAX).map(String::as_str).collect();
        let more = self.left_out.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("not looked at for units whose files are refused: {}{more}", names.join(", "));
        report.unknown(topic, "unit files", message, "correct what stands under units, and ask again");
        true
    }
}

/// Looks at everything; `file` is where the settings are and `socket` where the daemon is, if somebody said so. A daemon says
/// where its settings are.
pub async fn examine(file: Option<PathBuf>, socket: Option<PathBuf>, places: Places) -> Diagnosis {
    let mut report = Report::default();
    let begun = aside("settings", move || {
        let mut report = Report::default();
        let case = begin(&mut report, file, socket, &places);
        (report, case)
    });
    let case = match begun.await {
        Ok((said, case)) => {
            report.add(said);
            case
        }
        Err(said) => {
            report.add(said);
            None
        }
    };
    let Some(case) = case.map(Arc::new) else { return report.diagnosis() };
    type Section = (&'static str, fn(&Case, &mut Report));
    let sections: [Section; 11] = [
        ("units", programs::look),
        ("daemon", in_force::look),
        ("ports", ports::look),
        ("permissions", files::look),
        ("clock", machine::clock),
        ("limits", machine::limits),
        ("limits", asked::look),
        ("cgroup", machine::cgroup),
        ("processes", processes::look),
        ("init", init::look),
        ("ssh", hosts::look),
    ];
    let all = sections.map(|(topic, look)| {
        let case = Arc::clone(&case);
        aside(topic, move || {
            let mut report = Report::default();
            look(&case, &mut report);
            report
        })
    });
    let beside = tokio::join!(
        reach::names(&case),
        reach::redis(&case),
        machine::disks(&case),
        database::look(&case),
        consul::look(&case)
    );
    for section in all {
        report.add(section.await.unwrap_or_else(|said| said));
    }
    for said in [beside.0, beside.1, beside.2, beside.3, beside.4] {
        report.add(said);
    }
    report.diagnosis()
}

/// Does what a disk may hold up, in a thread of its own; one that hangs is left behind.
async fn aside<T: Send + 'static>(topic: &'static str, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Report> {
    let task = tokio::task::spawn_blocking(look);
    let mut report = Report::default();
    match timeout(SECTION_MAX, task).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => report.unknown(topic, "doctor", format!("could not look: {error}"), "report this as a bug"),
        Err(_) => {
            let message = format!("the look did not end within {} s", SECTION_MAX.as_secs());
            report.fail(topic, "doctor", message, "find the disk that hangs (dmesg, ps -eo pid,stat,wchan:30,args)");
        }
    }
    Err(report)
}

/// Settings, units and the daemon: what the other sections stand on.
fn begin(report: &mut Report, file: Option<PathBuf>, socket: Option<PathBuf>, places: &Places) -> Option<Case> {
    let file = file.or_else(|| daemon_at(socket.as_deref()?).ok()?.settings.map(PathBuf::from));
    let file = file.as_deref();
    let mut is_salvaged = false;
    let settings = match Settings::load(file, places) {
        Ok(settings) => {
            let place = settings.source.as_deref().map_or_else(|| "defaults".into(), Path::to_string_lossy);
            report.ok("settings", place, "they can be used");
            settings
        }
        Err(error) => {
            let path = file.map_or_else(|| places.config.join("roundsman.toml"), Path::to_owned);
            let place = path.to_string_lossy();
            for problem in apart(&Chain(&error).to_string()) {
                report.fail("settings", &*place, problem, "correct it; supervisord --check says whether it is well");
            }
            is_salvaged = true;
            Settings::salvage(file, places)?
        }
    };
    let (host, left_out) = units(report, &settings);
    let keeper = daemon(report, &socket.unwrap_or_else(|| settings.control_file()));
    Some(Case { settings, is_salvaged, host, left_out, keeper })
}

/// The units that can be read, and the files of those that cannot. A secret that cannot be used is found where secrets are looked
/// at, and the rest is looked at all the same.
fn units(report: &mut Report, settings: &Settings) -> (Host, BTreeSet<String>) {
    let Readable { host, problems, left_out } = config::read_what_can_be(&settings.paths.units);
    let mut refused = Vec::new();
    for problem in &problems {
        let said = apart(&problem.to_string()).concat();
        match problem.level {
            Level::Error => refused.push(said),
            Level::Warning => report.warn("units", "unit files", said, LINT_SHOWS),
        }
    }
    if problems.is_empty() {
        for warning in &host.warnings {
            report.warn("units", "unit files", apart(warning).concat(), LINT_SHOWS);
        }
    }
    refused.extend(config::strangers(&host).err().map(|error| apart(&error.to_string()).concat()));
    let count = host.units.len();
    let host = if left_out.is_empty() {
        host.in_container(&settings.container).unwrap_or_else(|error| {
            refused.push(error.to_string());
            Host::default()
        })
    } else {
        host
    };
    for problem in &refused {
        report.fail("units", "unit files", problem, "correct it; supervisorctl lint says whether it is well");
    }
    if refused.is_empty() {
        let place = settings.paths.units.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(", ");
        report.ok("units", place, format!("{count} can be used"));
    }
    (host, left_out)
}

const LINT_SHOWS: &str = "correct it; supervisorctl lint shows it with its place";

/// One problem a line; its help has a line of its own where there is room.
fn apart(problems: &str) -> Vec<String> {
    problems.replace("\n  help: ", " - ").lines().map(str::to_owned).collect()
}

/// Who answers on the socket.
fn daemon(report: &mut Report, socket: &Path) -> Option<Pid> {
    let place = socket.to_string_lossy().into_owned();
    match daemon_at(socket) {
        Ok(daemon) => {
            let keeper = i32::try_from(daemon.keeper_pid).ok().and_then(Pid::new);
            let (keeper_pid, version) = (daemon.keeper_pid, daemon.version);
            match ask(socket, "/healthz") {
                Ok(_) => report.ok("daemon", place, format!("supervisord {version} answers, its keeper is pid {keeper_pid}")),
                Err(error) => report.fail(
                    "daemon",
                    place,
                    format!("the engine of supervisord (keeper: pid {keeper_pid}) does not answer: {error}"),
                    "the keeper replaces a manager that hangs within 12 s; if it stays so, keep a core of the manager and kill it",
                ),
            }
            keeper
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            report.warn(
                "daemon",
                place,
                "no supervisord listens here",
                "systemctl start roundsman, or supervisord --config FILE",
            );
            None
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            report.unknown("daemon", place, "we may not ask", "run this as root or in the group roundsman");
            None
        }
        Err(error) => {
            report.fail(
                "daemon",
                place,
                format!("whoever listens does not answer: {error}"),
                "look at its log and whether it is stopped (ps -o pid,stat,args -C supervisord)",
            );
            None
        }
    }
}

/// What the daemon says of itself.
fn daemon_at(socket: &Path) -> std::io::Result<Daemon> {
    Ok(serde_json::from_slice(&ask(socket, "/v1/daemon")?)?)
}

/// Whether the other end has gone before it answered.
fn is_cut(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

/// The body of an answer of 200. One that dies as we ask gives none; who listens after it, if anyone does, is another.
fn ask(socket: &Path, path: &str) -> std::io::Result<Vec<u8>> {
    ask_once(socket, path).or_else(|error| if is_cut(&error) { ask_once(socket, path) } else { Err(error) })
}

/// HTTP/1.0: the end of the connection is the end of its answer.
fn ask_once(socket: &Path, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let wrong = || std::io::Error::other("it does not speak as supervisord does");
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(wrong)?;
    let is_good = answer.split(|byte| *byte == b' ').nth(1) == Some(b"200");
    if is_good { Ok(answer.split_off(at + 4)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn who_dies_as_it_is_asked_is_gone_and_the_next_one_answers() {
        for is_followed in [false, true] {
            let dir = tempfile::tempdir().expect("a directory");
            let socket = dir.path().join("control.sock");
            let listener = UnixListener::bind(&socket).expect("bound");
            let other = thread::spawn(move || {
                let (dying, _) = listener.accept().expect("asked");
                if !is_followed {
                    drop(listener);
                    return drop(dying);
                }
                drop(dying);
                let (mut next, _) = listener.accept().expect("asked again");
                let mut question = Vec::new();
                while !question.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    next.read_exact(&mut byte).expect("the question");
                    question.extend(byte);
                }
                next.write_all(b"HTTP/1.0 200 OK\r\n\r\nwell").expect("answered");
            });
            let answer = ask(&socket, "/v1/daemon");
            other.join().expect("it ends");
            match answer {
                Ok(body) => assert!(is_followed && body == b"well", "{body:?}"),
                Err(error) => assert!(!is_followed && error.kind() == ErrorKind::ConnectionRefused, "{error:?}"),
            }
        }
    }
}
