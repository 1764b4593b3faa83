//! The host's systemd, asked over its own socket: this program makes no processes.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::failure;
use crate::{
    base::UnitName,
    cli::failure::Failure,
    wire::{
        dbus::{self, HEAD_BYTES, Reply},
        systemd::{self, Answers},
    },
};

/// A reload of many units takes seconds.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest line of an authentication.
const LINE_BYTES_MAX: usize = 512;

/// Has systemd read its unit files anew, as `systemctl daemon-reload` does.
pub(super) fn daemon_reload() -> Result<(), Failure> {
    let remedy = || "the files are written: run `systemctl daemon-reload` and `supervisorctl reload-config`".to_owned();
    let failed = |why: String| failure(format!("cannot have systemd read its units anew: {why}"), remedy());
    let reply = ask(&systemd::daemon_reload(), |reply| Some(reply.returned)).map_err(failed)?;
    reply.map(drop).map_err(failed)
}

/// An error unless systemd has such a service.
pub(super) fn must_know(service: &UnitName) -> Result<(), Failure> {
    let name = service.full();
    let mut answers = Answers::default();
    let asked = ask(&systemd::questions(&name), |reply| {
        answers.take(reply);
        answers.state()
    });
    let state = asked.and_then(|state| state).map_err(|why| {
        let remedy = "run it as root on a host whose first process is systemd, or use --root DIR".to_owned();
        failure(format!("cannot ask systemd for {name}: {why}"), remedy)
    })?;
    match state.load.as_str() {
        "loaded" => Ok(()),
        "not-found" => {
            let remedy = format!("look for it with `systemctl list-unit-files '*{service}*'`");
            Err(failure(format!("cannot adopt {name}: systemd has no such service"), remedy))
        }
        load => {
            let remedy = format!("see `systemctl status {name}`");
            Err(failure(format!("cannot adopt {name}: systemd says it is {load}"), remedy))
        }
    }
}

/// Sends calls and reads answers until `take` has what it wants.
fn ask<T>(calls: &[u8], mut take: impl FnMut(Reply) -> Option<T>) -> Result<T, String> {
    let broken = |error: io::Error| {
        let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        if is_late { format!("no answer within {} s", PATIENCE.as_secs()) } else { error.to_string() }
    };
    let path = systemd::PRIVATE_SOCKET;
    let mut stream = UnixStream::connect(path).map_err(|error| format!("cannot connect to {path}: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.write_all(&dbus::greeting(nix::unistd::geteuid().as_raw())).map_err(broken)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(broken)?;
        line.extend(byte);
        if line.len() > LINE_BYTES_MAX {
            return Err("it does not speak D-Bus".to_owned());
        }
    }
    if !line.starts_with(b"OK") {
        return Err("it does not let us in".to_owned());
    }
    stream.write_all(calls).map_err(broken)?;
    loop {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).map_err(broken)?;
        let mut message = vec![0; dbus::length(&head).map_err(|error| error.to_string())?];
        let (begin, rest) = message.split_at_mut(HEAD_BYTES);
        begin.copy_from_slice(&head);
        stream.read_exact(rest).map_err(broken)?;
        let taken = dbus::reply(&message).map_err(|error| error.to_string())?.and_then(&mut take);
        if let Some(taken) = taken {
            return Ok(taken);
        }
    }
}
