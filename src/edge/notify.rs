//! What a service says on the notify socket, parsed; and that socket, for services that see little of the host. Source:
//! sd_notify(3).
//!
//! Unknown assignments are ignored, as the protocol demands; a message is never an error, only empty.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{base::Pid, node::input::NotifyMessage};

/// Makes a folder with nothing in it but the socket, to be shown whole: a service that is shown the folder finds the socket
/// that is there, and not the one that a keeper before had.
///
/// # Errors
/// When the socket cannot be linked there.
pub fn show(socket: &Path, folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let (shown, new) = (within(folder), folder.join("new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(socket, &new)?;
    fs::rename(&new, &shown)?;
    // Two names of one file stay both.
    fs::remove_file(&new).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Where the socket is in such a folder.
pub fn within(folder: &Path) -> PathBuf {
    folder.join("notify")
}

/// How much of STATUS= is kept.
const STATUS_MAX: usize = 256;

/// One datagram: what decides something, and what the engine itself acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Datagram {
    /// For the node machine.
    pub message: NotifyMessage,
    /// FDSTORE=1: the descriptors that came along are to be kept.
    pub fd_store: bool,
    /// FDSTOREREMOVE=1: those of `fd_name` are to be dropped.
    pub fd_store_remove: bool,
    /// FDPOLL=0: they are kept though their other side hangs up.
    pub fd_unpolled: bool,
    /// FDNAME=
    pub fd_name: Option<String>,
}

/// Reads one datagram.
pub fn parse(bytes: &[u8]) -> Datagram {
    let mut datagram = Datagram::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((key, value)) = line.split_once('=') else { continue };
        assign(&mut datagram, key, value);
    }
    datagram
}

fn assign(datagram: &mut Datagram, key: &str, value: &str) {
    let message = &mut datagram.message;
    match (key, value) {
        ("READY", "1") => message.ready = true,
        ("RELOADING", "1") => message.reloading = true,
        ("STOPPING", "1") => message.stopping = true,
        ("WATCHDOG", "1") => message.watchdog = true,
        ("WATCHDOG", "trigger") => message.watchdog_trigger = true,
        ("STATUS", text) => message.status = Some(bounded(text)),
        ("WATCHDOG_USEC", number) => message.watchdog_usec = number.parse().ok(),
        ("EXTEND_TIMEOUT_USEC", number) => message.extend_timeout_usec = number.parse().ok(),
        ("MAINPID", number) => message.main_pid = number.parse().ok().and_then(Pid::new),
        ("MONOTONIC_USEC", number) => message.monotonic_usec = number.parse().ok(),
        ("ERRNO", number) => message.errno = number.parse().ok(),
        ("EXIT_STATUS", number) => message.exit_status = number.parse().ok(),
        ("FDSTORE", "1") => datagram.fd_store = true,
        ("FDSTOREREMOVE", "1") => datagram.fd_store_remove = true,
        ("FDPOLL", "0") => datagram.fd_unpolled = true,
        ("FDNAME", name) if fd_name_is_valid(name) => datagram.fd_name = Some(name.to_owned()),
        _ => {}
    }
}

fn bounded(text: &str) -> String {
    let end = (0..=STATUS_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].chars().filter(|c| !c.is_control()).collect()
}

/// FDNAME= is at most 255 printable ASCII characters without ':' (sd_pid_notify_with_fds(3)). systemd takes none at all too.
fn fd_name_is_valid(name: &str) -> bool {
    name.len() <= 255 && name.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_socket_is_the_one_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, shown) = (folder.path().join("notify"), folder.path().join("shown"));
        for _ in 0..2 {
            drop(fs::remove_file(&socket));
            let receiver = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
            // The next manager does it again.
            for _ in 0..2 {
                show(&socket, &shown).unwrap();
            }
            let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
            sender.send_to(b"READY=1", within(&shown)).unwrap();
            assert_eq!(receiver.recv(&mut [0; 16]).unwrap(), 7);
            assert_eq!(fs::read_dir(&shown).unwrap().count(), 1, "and nothing else");
        }
        fs::remove_file(&socket).unwrap();
        assert_eq!(show(&socket, &shown).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_fields_that_decide_are_read() {
        let datagram = parse(b"READY=1\nSTATUS=serving 3 uploads\nWATCHDOG_USEC=20000\nX_OURS=1\nWATCHDOG=1");
        let expected = NotifyMessage {
            ready: true,
            watchdog: true,
            status: Some("serving 3 uploads".into()),
            watchdog_usec: Some(20_000),
            ..NotifyMessage::default()
        };
        assert_eq!(datagram.message, expected);
    }

    #[test]
    fn a_name_for_a_descriptor_cannot_break_the_list_of_names() {
        assert_eq!(parse(b"FDSTORE=1\nFDNAME=up-1").fd_name.as_deref(), Some("up-1"));
        assert_eq!(parse(b"FDSTORE=1\nFDNAME=a:b").fd_name, None);
        assert_eq!(parse(b"FDSTORE=1\nFDNAME=").fd_name.as_deref(), Some(""));
        assert!(parse(b"FDSTORE=1\nFDPOLL=0").fd_unpolled && !parse(b"FDPOLL=1").fd_unpolled);
    }

    #[test]
    fn a_status_is_bounded_and_holds_no_control_characters() {
        let text = format!("STATUS={}\u{1b}[31m", "é".repeat(300));
        let status = parse(text.as_bytes()).message.status.expect("a status");
        assert!(status.len() <= STATUS_MAX && !status.contains('\u{1b}'));
    }

    #[test]
    fn garbage_says_nothing() {
        assert_eq!(parse(b"\xff\xfe=1\nREADY\nREADY=2\n\n="), Datagram::default());
    }
}
