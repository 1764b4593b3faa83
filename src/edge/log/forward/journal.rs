use std::{io, os::unix::net::UnixDatagram, time::Duration};

use crate::{base::UnitName, unit::spec::SyslogSpec};

/// journald's socket for its native protocol (systemd's "Native Journal Protocol").
const SOCKET: &str = "/run/systemd/journal/socket";
/// A receiver that takes nothing for so long is left alone for a while.
pub(super) const SEND_WITHIN: Duration = Duration::from_secs(5);

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journal {
    path: String,
    socket: Option<UnixDatagram>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { path: SOCKET.to_owned(), socket: None }
    }
}

impl Journal {
    #[cfg(test)]
    pub(super) fn at(path: &std::path::Path) -> Self {
        Self { path: path.display().to_string(), socket: None }
    }

    pub(super) fn send(&mut self, unit: &UnitName, syslog: &SyslogSpec, level: u8, text: &[u8]) -> io::Result<()> {
        let identifier = syslog.identifier.as_deref().unwrap_or(unit.as_str());
        let mut entry = format!(
            "PRIORITY={level}\nSYSLOG_FACILITY={}\nSYSLOG_IDENTIFIER={identifier}\nROUNDSMAN_UNIT={unit}\nMESSAGE\n",
            syslog.facility
        )
        .into_bytes();
        // The form for any bytes: the length, then the text.
        entry.extend((text.len() as u64).to_le_bytes());
        entry.extend(text);
        entry.push(b'\n');
        let sent = self.socket()?.send(&entry);
        if sent.is_err() {
            self.socket = None;
        }
        sent.map(drop)
    }

    fn socket(&mut self) -> io::Result<&UnixDatagram> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connected(&self.path)?,
        };
        Ok(self.socket.insert(socket))
    }
}

/// A connection to a daemon of this host that may be restarted at any time.
pub(super) fn connected(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_WITHIN))?;
    socket.connect(path)?;
    Ok(socket)
}
