use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixDatagram,
};

use jiff::{Timestamp, tz::TimeZone};

use super::journal::{SEND_WITHIN, connected};
use crate::{base::Wall, edge::clock, unit::spec::SyslogSpec};

/// The socket of the host's syslog daemon.
const SOCKET: &str = "/dev/log";

/// The way to a syslog receiver.
#[derive(Debug)]
pub(super) struct Syslog {
    to: To,
    way: Option<Way>,
    host: String,
}

#[derive(Debug)]
enum To {
    Local(String),
    Udp(Box<str>),
    Tcp(Box<str>),
}

#[derive(Debug)]
enum Way {
    Local(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn local() -> Self {
        Self::to(To::Local(SOCKET.to_owned()))
    }

    pub(super) fn udp(place: &str) -> Self {
        Self::to(To::Udp(place.into()))
    }

    pub(super) fn tcp(place: &str) -> Self {
        Self::to(To::Tcp(place.into()))
    }

    fn to(to: To) -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self { to, way: None, host: host.unwrap_or_else(|| "-".to_owned()) }
    }

    #[cfg(test)]
    pub(super) fn at(path: &std::path::Path) -> Self {
        Self::to(To::Local(path.display().to_string()))
    }

    pub(super) fn send(&mut self, syslog: &SyslogSpec, level: u8, text: &[u8], at: Option<Wall>) -> io::Result<()> {
        let at = at.unwrap_or_else(clock::wall);
        let way = match self.way.take() {
            Some(way) => way,
            None => self.connect()?,
        };
        let sent = match &way {
            Way::Local(socket) => socket.send(&local(syslog, level, text, at)).map(drop),
            Way::Udp(socket) => match socket.send(&self.remote(syslog, level, text, at)) {
                // What an earlier datagram met: nobody may be there, and datagrams are not waited for.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                sent => sent.map(drop),
            },
            Way::Tcp(stream) => {
                let message = self.remote(syslog, level, text, at);
                let mut framed = format!("{} ", message.len()).into_bytes();
                framed.extend(message);
                (&*stream).write_all(&framed)
            }
        };
        if sent.is_ok() {
            self.way = Some(way);
        }
        sent
    }

    fn connect(&self) -> io::Result<Way> {
        let nobody = || io::Error::from(io::ErrorKind::NotFound);
        let first = |place: &str| place.to_socket_addrs()?.next().ok_or_else(nobody);
        match &self.to {
            To::Local(path) => connected(path).map(Way::Local),
            To::Udp(place) => {
                let address = first(place)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Way::Udp(socket))
            }
            To::Tcp(place) => {
                let stream = TcpStream::connect_timeout(&first(place)?, SEND_WITHIN)?;
                stream.set_write_timeout(Some(SEND_WITHIN))?;
                Ok(Way::Tcp(stream))
            }
        }
    }

    /// RFC 5424, with the time to the microsecond and nothing but the text besides.
    fn remote(&self, syslog: &SyslogSpec, level: u8, text: &[u8], at: Wall) -> Vec<u8> {
        let at = Timestamp::from_microsecond(at.0).unwrap_or_default();
        let identifier = syslog.identifier.as_deref().unwrap_or("-");
        let priority = syslog.facility * 8 + level;
        let mut message = format!("<{priority}>1 {at:.6} {} {identifier} - - - ", self.host).into_bytes();
        message.extend(text);
        message
    }
}

/// What syslog(3) sends: RFC 3164 without the host.
fn local(syslog: &SyslogSpec, level: u8, text: &[u8], at: Wall) -> Vec<u8> {
    let at = Timestamp::from_microsecond(at.0).unwrap_or_default().to_zoned(TimeZone::system());
    let identifier = syslog.identifier.as_deref().unwrap_or("-");
    let priority = syslog.facility * 8 + level;
    let mut message = format!("<{priority}>{} {identifier}: ", at.strftime("%b %e %H:%M:%S")).into_bytes();
    message.extend(text);
    message
}
