use std::path::Path;

use nix::libc;

use super::{LaunchError, path};
use crate::{
    base::Role,
    engine::accept,
    unit::{
        UnitDef, connection,
        spec::{ExecSpec, Input, Output, SocketSpec, Terminal, Write},
    },
    wire::keeper as wire,
};

/// The terminal of a unit that names none.
const TERMINAL_DEFAULT: &str = "/dev/console";

/// Standard input, output and error of a process.
pub(super) fn stdio(unit: &UnitDef, role: Role) -> Result<(wire::Input, wire::Output, wire::Output), LaunchError> {
    let exec = &unit.service.exec;
    if let Role::Probe(_) = role {
        // It must not take the service's input, or write into its files.
        let quiet = |output: &Output| match output {
            Output::Log => wire::Output::Log(wire::Stream::Output),
            Output::Inherit => wire::Output::Inherit,
            Output::Null | Output::File(..) | Output::Terminal | Output::Socket | Output::Fd(_) => wire::Output::Null,
        };
        let stdout = quiet(&exec.stdout);
        let stderr = exec.stderr.as_ref().map_or_else(|| stdout.clone(), quiet);
        return Ok((wire::Input::Null, stdout, stderr));
    }
    let tty = exec.tty_path.as_deref().unwrap_or_else(|| Path::new(TERMINAL_DEFAULT));
    // A file to read from and write to is opened once, for both.
    let both = match (&exec.stdin, &exec.stdout) {
        (Input::File(from), Output::File(to, Write::Over)) => from == to,
        _ => false,
    };
    let stdin = match &exec.stdin {
        Input::Null => wire::Input::Null,
        Input::File(file) => {
            let flags = if both { libc::O_RDWR | libc::O_CREAT } else { libc::O_RDONLY };
            wire::Input::File { path: path(file)?, flags }
        }
        Input::Data(bytes) => wire::Input::Data(bytes.to_vec()),
        Input::Terminal(how) => {
            let control = match how {
                Terminal::Wait => wire::Control::Wait,
                Terminal::Force => wire::Control::Force,
                Terminal::Fail => wire::Control::Fail,
            };
            wire::Input::Terminal { path: path(tty)?, control }
        }
        Input::Socket => wire::Input::Stored(first_socket(unit)),
        Input::Fd(name) => wire::Input::Stored(stored(unit, name)),
    };
    let stdout = match &exec.stdout {
        Output::File(..) if both => wire::Output::Stdin,
        Output::Inherit if !matches!(exec.stdin, Input::Null | Input::Data(_)) => wire::Output::Stdin,
        Output::Log
        | Output::Null
        | Output::Inherit
        | Output::File(..)
        | Output::Terminal
        | Output::Socket
        | Output::Fd(_) => output(&exec.stdout, unit, tty, wire::Stream::Output)?,
    };
    let stderr = stderr(unit, &stdout, tty)?;
    Ok((stdin, stdout, stderr))
}

fn stderr(unit: &UnitDef, stdout: &wire::Output, tty: &Path) -> Result<wire::Output, LaunchError> {
    let exec = &unit.service.exec;
    let as_stdout = || match stdout {
        // The keeper has an error output of its own.
        wire::Output::Null | wire::Output::Inherit | wire::Output::Log(_) => stdout.clone(),
        wire::Output::File { .. }
        | wire::Output::Terminal { .. }
        | wire::Output::Stored(_)
        | wire::Output::Stdin
        | wire::Output::Stdout
        | wire::Output::Passed => wire::Output::Stdout,
    };
    match &exec.stderr {
        None => Ok(as_stdout()),
        // Opened once, so that what is written keeps its order.
        Some(stderr) if *stderr == exec.stdout => Ok(as_stdout()),
        Some(stderr) => {
            let apart = *stderr == Output::Log && exec.stdout != Output::Log;
            output(stderr, unit, tty, if apart { wire::Stream::Error } else { wire::Stream::Output })
        }
    }
}

fn output(output: &Output, unit: &UnitDef, tty: &Path, stream: wire::Stream) -> Result<wire::Output, LaunchError> {
    Ok(match output {
        Output::Log => wire::Output::Log(stream),
        Output::Null => wire::Output::Null,
        Output::Inherit => wire::Output::Inherit,
        Output::File(file, write) => {
            let flags = libc::O_WRONLY | libc::O_CREAT;
            let flag = match write {
                Write::Over => 0,
                Write::Append => libc::O_APPEND,
                Write::Truncate => libc::O_TRUNC,
            };
            wire::Output::File { path: path(file)?, flags: flags | flag }
        }
        Output::Terminal => wire::Output::Terminal { path: path(tty)? },
        Output::Socket => wire::Output::Stored(first_socket(unit)),
        Output::Fd(name) => wire::Output::Stored(stored(unit, name)),
    })
}

fn first_socket(unit: &UnitDef) -> String {
    if unit.sockets.is_connection() {
        return accept::STORED.to_owned();
    }
    unit.sockets.list.first().map(SocketSpec::key).unwrap_or_default()
}

/// Under which name the keeper stores what a unit calls `name`: a socket of its own, or what the service gave it.
fn stored(unit: &UnitDef, name: &str) -> String {
    if unit.sockets.is_connection() && name == connection::DESCRIPTOR {
        return accept::STORED.to_owned();
    }
    let named = unit.sockets.list.iter().find(|socket| *socket.name == *name);
    named.map_or_else(|| name.to_owned(), SocketSpec::key)
}

/// Whether a socket is standard input, output or error of every process.
pub(in crate::engine) fn reads_sockets(exec: &ExecSpec) -> bool {
    let is_socket = |output: &Output| matches!(output, Output::Socket | Output::Fd(_));
    matches!(exec.stdin, Input::Socket | Input::Fd(_))
        || is_socket(&exec.stdout)
        || exec.stderr.as_ref().is_some_and(is_socket)
}

/// The sockets that the service is passed, in the order of its file: that is what it relies on. A service that has its
/// socket as standard input is passed none (systemd.exec(5), StandardInput=).
pub(super) fn passed_sockets(unit: &UnitDef, is_start: bool) -> Vec<wire::Passed> {
    if !is_start || unit.service.exec.stdin == Input::Socket {
        return Vec::new();
    }
    if unit.sockets.is_connection() {
        let passed = wire::Passed { stored: accept::STORED.to_owned(), name: connection::DESCRIPTOR.to_owned() };
        return if reads_sockets(&unit.service.exec) { Vec::new() } else { vec![passed] };
    }
    let passed = |socket: &SocketSpec| wire::Passed { stored: socket.key(), name: socket.name.to_string() };
    unit.sockets.list.iter().map(passed).collect()
}

/// Whether the service is passed what it keeps with us, after the sockets (sd_listen_fds(3)).
pub(super) fn is_passed_kept(unit: &UnitDef, is_start: bool) -> bool {
    is_start && unit.service.file_descriptor_store_max > 0 && unit.service.exec.stdin != Input::Socket
}
