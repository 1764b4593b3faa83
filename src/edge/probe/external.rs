//! Services that others keep: how they are, asked of their manager.

use std::{fs, path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use nix::unistd::geteuid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{Prober, http};
use crate::{
    base::{ExitStatus, RunResult, Signal, TimeSpan, Wall, address::split_host_port},
    node::{
        effect::HostOrder,
        input::{Allowed, Finding, Life, LifeEnd, Past, Sight},
    },
    unit::spec::{ExternalManager, SupervisorServer},
    wire::{
        dbus::{self, HEAD_BYTES, Reply},
        systemd::{self, Answers, UnitState},
    },
};

/// How long a manager may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest line of an authentication, and longest file of Supervisor's settings that is read.
const LINE_BYTES_MAX: usize = 512;
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Longest answer of Supervisor.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Prober {
    /// Asks whoever keeps an external service how it is, where that needs no command.
    pub async fn look(&self, manager: &ExternalManager) -> Sight {
        let asked = async {
            match manager {
                ExternalManager::Systemd(unit) => unit_state(unit).await.map(|state| sight_of_unit(&state)),
                ExternalManager::Supervisor { process, server } => self.ask_supervisor(process, server).await,
                ExternalManager::Commands { .. } => Err("a command needs the daemon".to_owned()),
            }
        };
        // Waiting for a slot is no answer that is late.
        let _slot = self.slots.acquire().await.ok();
        let name = manager.as_str();
        match timeout(PATIENCE, asked).await {
            Ok(Ok(sight)) => sight,
            Ok(Err(why)) => Sight::Unasked(format!("cannot ask {name}: {why}").into()),
            Err(_) => Sight::Unasked(format!("{name} does not answer within {} s", PATIENCE.as_secs()).into()),
        }
    }

    /// Has the host's systemd do something with a unit of its own.
    pub async fn order(&self, host: &str, order: HostOrder) -> Result<(), String> {
        let call = match order {
            HostOrder::ResetFailed => systemd::reset_failed(host),
            HostOrder::Stop => systemd::stop(host),
        };
        let asked = ask(&call, |reply| systemd::is_answer(&reply).then_some(reply.returned));
        match timeout(PATIENCE, asked).await {
            // One that it has not loaded has not failed.
            Ok(Ok(Err(why))) if why.contains("not loaded") => Ok(()),
            Ok(answer) => answer?.map(drop),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Whether a unit of the host is active.
    pub(super) async fn ask_systemd(&self, unit: &str) -> Result<Finding, String> {
        match unit_state(unit).await {
            Ok(state) => Ok(finding(&state)),
            Err(why) => Ok(Finding::Unasked(format!("cannot ask systemd: {why}"))),
        }
    }

    async fn ask_supervisor(&self, process: &str, server: &SupervisorServer) -> Result<Sight, String> {
        let server = match server.clone() {
            SupervisorServer::Url(url) => Server { url: url.into(), user: None },
            SupervisorServer::Config(path) => self.beside(path.to_path_buf(), move || server_of(&path)).await?,
        };
        let body = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.getProcessInfo</methodName><params><param><value>\
             <string>{}</string></value></param></params></methodCall>",
            escaped(process)
        );
        let authorization = server.user.map(|user| format!("Basic {}", BASE64_STANDARD.encode(user)));
        let said = match server.url.strip_prefix("unix://") {
            Some(path) => {
                let stream =
                    UnixStream::connect(path).await.map_err(|error| format!("cannot connect to {path}: {error}"))?;
                http::post(stream, "localhost", "/RPC2", authorization, body, ANSWER_BYTES_MAX).await?
            }
            None => {
                let address = server.url.trim_start_matches("http://").trim_end_matches('/').trim_end_matches("/RPC2");
                let address = address.trim_end_matches('/');
                let has_port = split_host_port(address).is_some();
                let with_port = if has_port { address.to_owned() } else { format!("{address}:80") };
                let stream = self.connect(&with_port).await?;
                http::post(stream, address, "/RPC2", authorization, body, ANSWER_BYTES_MAX).await?
            }
        };
        sight_of_process(&said)
    }
}

/// One unit of the host's systemd.
async fn unit_state(unit: &str) -> Result<UnitState, String> {
    let (questions, mut answers) = (systemd::questions(unit), Answers::default());
    let state = ask(&questions, |reply| {
        answers.take(reply);
        answers.state()
    });
    state.await?
}

/// Sends calls to systemd and reads answers until `take` has what it wants. Root speaks to systemd itself, everyone else over
/// the bus.
async fn ask<T>(calls: &[u8], mut take: impl FnMut(Reply) -> Option<T>) -> Result<T, String> {
    let (path, hello) = if geteuid().is_root() {
        (systemd::PRIVATE_SOCKET, Vec::new())
    } else {
        (systemd::BUS_SOCKET, systemd::hello())
    };
    let cut = |error: std::io::Error| error.to_string();
    let stream = UnixStream::connect(path).await;
    let mut stream = stream.map_err(|error| format!("cannot connect to {path}: {error}"))?;
    stream.write_all(&dbus::greeting(geteuid().as_raw())).await.map_err(cut)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.map_err(cut)?);
        if line.len() > LINE_BYTES_MAX {
            return Err("it does not speak D-Bus".to_owned());
        }
    }
    if !line.starts_with(b"OK") {
        return Err("it does not let us in".to_owned());
    }
    stream.write_all(&[&hello, calls].concat()).await.map_err(cut)?;
    loop {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(cut)?;
        let mut message = vec![0; dbus::length(&head).map_err(|error| error.to_string())?];
        let (begin, rest) = message.split_at_mut(HEAD_BYTES);
        begin.copy_from_slice(&head);
        stream.read_exact(rest).await.map_err(cut)?;
        let taken = dbus::reply(&message).map_err(|error| error.to_string())?.and_then(&mut take);
        if let Some(taken) = taken {
            return Ok(taken);
        }
    }
}

/// Active is up; one that waits for its restart is down, and what else is on its way is for systemd to decide.
fn sight_of_unit(state: &UnitState) -> Sight {
    let (said, end) = (state.said().into(), end_of_unit(state));
    let life = Life { id: state.invocation.as_str().into(), restarts: state.restarts };
    // When the main process ended says nothing of a run that ended otherwise.
    let at = state.ended.filter(|_| end.status.is_some()).map(Wall);
    let decides = !matches!(state.restart.as_str(), "no" | "");
    let limit = state.start_limit;
    let limit = limit.map(|(burst, interval)| Allowed { burst, interval: TimeSpan::from_micros(interval), decides });
    let began = state.started.map(Wall);
    let delay = state.restart_delay.map(TimeSpan::from_micros);
    let past = || Past { life: Some(life.clone()), began: began.filter(|_| at.is_some()), at, delay, limit };
    match (state.active.as_str(), state.sub.as_str()) {
        ("active" | "reloading" | "refreshing", _) => Sight::Up { said, life, began, limit },
        // Whatever its last run came to: someone stopped it since.
        ("inactive", _) if end.result != RunResult::ExecCondition => {
            let status = end.status.filter(|_| end.result == RunResult::Success);
            Sight::Down { said, end: LifeEnd { result: RunResult::Success, status }, past: past() }
        }
        ("inactive" | "failed" | "maintenance", _) => Sight::Down { said, end, past: past() },
        ("activating", "auto-restart" | "auto-restart-queued") => Sight::Waiting { said, end, past: past() },
        ("activating" | "deactivating", _) => Sight::Moving { said, end },
        _ => Sight::Moving { said, end: LifeEnd { result: RunResult::Success, status: None } },
    }
}

fn end_of_unit(state: &UnitState) -> LifeEnd {
    let signal = || i32::try_from(state.status).ok().and_then(Signal::new);
    // sigaction(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED.
    let status = match state.code {
        1 => u8::try_from(state.status).ok().map(ExitStatus::Exited),
        code @ (2 | 3) => signal().map(|signal| ExitStatus::Signaled { signal, core: code == 3 }),
        _ => None,
    };
    // Where a command before it failed, this is how the main process of an earlier run ended.
    let status = status.filter(|status| match (status, state.result.as_str()) {
        (ExitStatus::Exited(0), result) => result != "exit-code",
        (ExitStatus::Exited(_), result) => !matches!(result, "signal" | "core-dump"),
        (ExitStatus::Signaled { .. } | ExitStatus::Unknown, result) => result != "exit-code",
    });
    let known = [
        RunResult::Success,
        RunResult::ExitCode,
        RunResult::Signal,
        RunResult::CoreDump,
        RunResult::Timeout,
        RunResult::Watchdog,
        RunResult::StartLimitHit,
        RunResult::OomKill,
        RunResult::Resources,
        RunResult::Protocol,
        RunResult::ExecCondition,
    ];
    let result = match (state.result.as_str(), state.active.as_str()) {
        // Of what is no service only the state is known.
        ("", "failed") => RunResult::Unknown,
        ("", _) => RunResult::Success,
        (word, _) => known.into_iter().find(|result| result.as_str() == word).unwrap_or(RunResult::Unknown),
    };
    LifeEnd { result, status }
}

fn finding(state: &UnitState) -> Finding {
    let result = if state.result.is_empty() { String::new() } else { format!(", result {}", state.result) };
    let said = format!("{}{result}", state.said());
    match (state.active.as_str(), state.sub.as_str()) {
        ("active", _) => Finding::Good,
        // It is down, and on its way back without anyone: whoever watches it tells of that.
        ("activating", "auto-restart" | "auto-restart-queued") => Finding::Unasked(said),
        ("activating" | "reloading" | "refreshing" | "deactivating" | "", _) => Finding::Degraded(said),
        _ => Finding::Bad(said),
    }
}

/// Where Supervisor listens, and as whom it is spoken to.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    url: String,
    /// `user:password`
    user: Option<String>,
}

fn server_of(path: &Path) -> Result<Server, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    if fs::metadata(path).map_err(|error| failed(&error))?.len() > CONFIG_BYTES_MAX {
        return Err(failed(&"it is too long"));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let here = path.parent().unwrap_or_else(|| Path::new("/")).display().to_string();
    server_in(&text, &here).map_err(|why| failed(&why))
}

/// As `supervisorctl` finds it: `[supervisorctl]`, with values as Python's ConfigParser reads them.
fn server_in(text: &str, here: &str) -> Result<Server, String> {
    let (mut section, mut url, mut user, mut password) = (String::new(), None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with([';', '#'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        let value = value.split(" ;").next().unwrap_or_default().trim().replace("%(here)s", here);
        match (section.as_str(), key.trim().to_ascii_lowercase().as_str()) {
            ("supervisorctl", "serverurl") => url = Some(value),
            ("supervisorctl", "username") => user = Some(value),
            ("supervisorctl", "password") => password = Some(value),
            _ => {}
        }
    }
    let url = url.ok_or("it has no serverurl in [supervisorctl]")?;
    if url.contains("%(") {
        return Err(format!("we cannot expand {url:?}"));
    }
    Ok(Server { url, user: user.map(|user| format!("{user}:{}", password.unwrap_or_default())) })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&amp;", "&")
}

/// What `supervisor.getProcessInfo` returned: the XML of Python's own writer, without attributes.
fn sight_of_process(answer: &str) -> Result<Sight, String> {
    if answer.contains("<fault>") {
        let why = member(answer, "faultString").unwrap_or("it refuses, and does not say why");
        // A process that is not in its settings is not up.
        return if why.starts_with("BAD_NAME") { Ok(down(why, RunResult::Success, None)) } else { Err(why.to_owned()) };
    }
    let field = |name| member(answer, name).ok_or_else(|| format!("its answer has no {name}"));
    let state = field("statename")?;
    let code = member(answer, "exitstatus").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    Ok(match state {
        "RUNNING" => {
            let id = format!("{} {}", field("pid")?, field("start")?);
            Sight::Up { said: state.into(), life: Life { id: id.into(), restarts: None }, began: None, limit: None }
        }
        "STARTING" | "BACKOFF" | "STOPPING" => Sight::Moving { said: state.into(), end: end_of_process(code) },
        "STOPPED" => down(state, RunResult::Success, None),
        "EXITED" => Sight::Down { said: state.into(), end: end_of_process(code), past: Past::default() },
        // It could not be started, as often as was tried.
        "FATAL" => {
            let why = member(answer, "spawnerr").filter(|why| !why.is_empty());
            let said = why.map_or_else(|| state.to_owned(), |why| format!("{state}: {}", unescaped(why)));
            down(&said, RunResult::ExitCode, u8::try_from(code).ok().filter(|code| *code > 0))
        }
        other => return Err(format!("its state is {other}")),
    })
}

fn down(said: &str, result: RunResult, code: Option<u8>) -> Sight {
    let end = LifeEnd { result, status: code.map(ExitStatus::Exited) };
    Sight::Down { said: said.into(), end, past: Past::default() }
}

/// Supervisor has -1 for whatever was ended by a signal.
fn end_of_process(code: i64) -> LifeEnd {
    match u8::try_from(code) {
        Ok(0) => LifeEnd { result: RunResult::Success, status: Some(ExitStatus::Exited(0)) },
        Ok(code) => LifeEnd { result: RunResult::ExitCode, status: Some(ExitStatus::Exited(code)) },
        Err(_) => LifeEnd { result: RunResult::Signal, status: None },
    }
}

/// The value of a member of a struct.
fn member<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("<name>{name}</name>"))?;
    let (_, value) = rest.split_once("<value>")?;
    let inner = value.trim_start().strip_prefix('<')?.split_once('>')?.1;
    inner.split('<').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: &str, result: &str, code: i64, status: i64) -> UnitState {
        let text = str::to_owned;
        UnitState {
            load: text("loaded"),
            active: text(active),
            sub: text("x"),
            result: text(result),
            code,
            status,
            ..UnitState::default()
        }
    }

    #[test]
    fn what_systemd_says_of_an_end_is_its_class_and_status() {
        let end = |active, result, code, status| match sight_of_unit(&state(active, result, code, status)) {
            Sight::Down { end, .. } | Sight::Moving { end, .. } | Sight::Waiting { end, .. } => {
                (end.result, end.status)
            }
            other @ (Sight::Up { .. } | Sight::Unasked(_)) => panic!("{other:?}"),
        };
        let killed = Some(ExitStatus::Signaled { signal: Signal::KILL, core: false });
        assert_eq!(end("failed", "exit-code", 1, 3), (RunResult::ExitCode, Some(ExitStatus::Exited(3))));
        assert_eq!(end("failed", "signal", 2, 9), (RunResult::Signal, killed));
        assert_eq!(end("activating", "signal", 2, 9), (RunResult::Signal, killed));
        assert_eq!(end("failed", "exit-code", 2, 9), (RunResult::ExitCode, None), "the end of an earlier run");
        assert_eq!(
            end("inactive", "exit-code", 1, 3),
            (RunResult::Success, None),
            "stopped while it was to be restarted"
        );
        assert_eq!(end("inactive", "success", 1, 0), (RunResult::Success, Some(ExitStatus::Exited(0))));
        assert_eq!(end("failed", "", 0, 0), (RunResult::Unknown, None), "no service");
        assert_eq!(end("inactive", "", 0, 0), (RunResult::Success, None));
        assert_eq!(end("failed", "of-a-later-version", 0, 0), (RunResult::Unknown, None));
        assert!(
            matches!(sight_of_unit(&state("", "exit-code", 1, 1)), Sight::Moving { end, .. } if end.result == RunResult::Success)
        );
    }

    #[test]
    fn what_waits_for_its_restart_is_down_since_its_main_process_ended() {
        let waiting = UnitState {
            sub: "auto-restart".into(),
            started: Some(5),
            ended: Some(7),
            restarts: Some(2),
            start_limit: Some((5, 10_000_000)),
            restart: "always".into(),
            restart_delay: Some(9),
            ..state("activating", "signal", 2, 9)
        };
        let Sight::Waiting { said, past, .. } = sight_of_unit(&waiting) else { panic!("it is down") };
        assert_eq!((&*said, past.at), ("activating (auto-restart)", Some(Wall(7))));
        assert_eq!((past.began, past.delay), (Some(Wall(5)), Some(TimeSpan::from_micros(9))));
        let allowed = |decides| Some(Allowed { burst: 5, interval: TimeSpan::from_secs(10), decides });
        assert_eq!(past.limit, allowed(true));
        let up = UnitState { active: "active".into(), restart: "no".into(), ..waiting.clone() };
        let Sight::Up { began, limit, .. } = sight_of_unit(&up) else { panic!("it is up") };
        assert_eq!((began, limit), (Some(Wall(5)), allowed(false)));
        assert_eq!(past.life.and_then(|life| life.restarts), Some(2));
        let by_command = UnitState { result: "exit-code".into(), ..waiting };
        assert!(matches!(sight_of_unit(&by_command), Sight::Waiting { past: Past { at: None, .. }, .. }));
        assert!(matches!(sight_of_unit(&state("activating", "success", 0, 0)), Sight::Moving { .. }));
    }

    #[test]
    fn the_probe_calls_what_is_between_two_states_degraded() {
        for (active, wanted) in [
            ("active", "good"),
            ("activating", "degraded"),
            ("reloading", "degraded"),
            ("deactivating", "degraded"),
            ("inactive", "bad"),
            ("failed", "bad"),
        ] {
            let found = finding(&state(active, "exit-code", 0, 0));
            let word = match &found {
                Finding::Good => "good",
                Finding::Degraded(_) => "degraded",
                Finding::Bad(_) => "bad",
                Finding::Unasked(_) => "unasked",
            };
            assert_eq!(word, wanted, "{active}");
            if let Some(reason) = found.reason() {
                assert_eq!(reason, format!("{active} (x), result exit-code"));
            }
        }
    }

    #[test]
    fn what_waits_for_systemds_restart_is_no_finding_of_the_probe() {
        let waits = UnitState { sub: "auto-restart".into(), ..state("activating", "exit-code", 1, 3) };
        let said = "activating (auto-restart), result exit-code";
        assert_eq!(finding(&waits), Finding::Unasked(said.to_owned()));
    }

    #[test]
    fn where_supervisor_listens_stands_in_its_settings() {
        let text = "[unix_http_server]\nfile=/run/a.sock\n; [supervisorctl]\n[supervisorctl]\nserverurl = unix://%(here)s/s.sock ; here\n\
                    username: me\npassword=a=b\n[include]\nserverurl = no\n";
        let server = server_in(text, "/etc/sup").unwrap();
        assert_eq!(server, Server { url: "unix:///etc/sup/s.sock".into(), user: Some("me:a=b".into()) });
        assert!(server_in("[supervisord]\n", "/").is_err());
        assert!(server_in("[supervisorctl]\nserverurl=http://%(ENV_HOST)s\n", "/").is_err());
    }

    #[test]
    fn what_supervisor_says_is_read() {
        let process = |state: &str, code: &str| {
            format!(
                "<methodResponse>\n<params>\n<param>\n<value><struct>\n<member>\n<name>start</name>\n<value><int>17</int></value>\n</member>\n\
                 <member>\n<name>statename</name>\n<value><string>{state}</string></value>\n</member>\n<member>\n<name>exitstatus</name>\n\
                 <value><int>{code}</int></value>\n</member>\n<member>\n<name>pid</name>\n<value><int>4</int></value>\n</member>\n</struct></value>"
            )
        };
        let life = Life { id: "4 17".into(), restarts: None };
        assert_eq!(
            sight_of_process(&process("RUNNING", "0")),
            Ok(Sight::Up { said: "RUNNING".into(), life, began: None, limit: None })
        );
        assert_eq!(sight_of_process(&process("STOPPED", "0")), Ok(down("STOPPED", RunResult::Success, None)));
        assert_eq!(sight_of_process(&process("EXITED", "3")), Ok(down("EXITED", RunResult::ExitCode, Some(3))));
        assert_eq!(sight_of_process(&process("EXITED", "-1")), Ok(down("EXITED", RunResult::Signal, None)));
        let fatal = process("FATAL", "0").replace(
            "<member>\n<name>pid",
            "<member>\n<name>spawnerr</name>\n<value><string>can&apos;t find command &lt;a&gt;</string></value>\n</member>\n\
             <member>\n<name>pid",
        );
        let why = "FATAL: can't find command <a>";
        assert_eq!(sight_of_process(&fatal), Ok(down(why, RunResult::ExitCode, None)));
        assert_eq!(sight_of_process(&process("FATAL", "0")), Ok(down("FATAL", RunResult::ExitCode, None)));
        assert!(matches!(sight_of_process(&process("BACKOFF", "1")), Ok(Sight::Moving { .. })));
        assert!(sight_of_process(&process("UNKNOWN", "0")).is_err());
        let fault = |why: &str| format!("<fault><member><name>faultString</name><value><string>{why}</string></value>");
        assert!(matches!(sight_of_process(&fault("BAD_NAME: a")), Ok(Sight::Down { .. })));
        assert_eq!(sight_of_process(&fault("SHUTDOWN_STATE")), Err("SHUTDOWN_STATE".to_owned()));
    }
}
