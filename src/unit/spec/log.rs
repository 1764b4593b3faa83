//! `[log]`, ours: how captured output is kept, limited and passed on. What systemd.exec(5) says about logs stands here too.

use std::ops::RangeInclusive;

use crate::base::{ByteSize, TimeSpan};

/// How a unit's output is kept; `None` where the daemon's own `[log]`, or else the default, decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSpec {
    /// A segment that is this long is closed.
    pub segment_size: Option<ByteSize>,
    /// A segment that is this old is closed; infinity: its age does not matter.
    pub segment_age: Option<TimeSpan>,
    /// So many segments are kept, the one in use among them.
    pub keep: Option<u32>,
    /// So many bytes are kept on disk, whole segments at a time.
    pub total_size: Option<ByteSize>,
    /// What is older is removed, whole segments at a time; infinity: never.
    pub retention: Option<TimeSpan>,
    /// What becomes of closed segments.
    pub compress: Option<Compress>,
    /// The longest line that readers and receivers are given in one piece.
    pub line_max: Option<ByteSize>,
    /// LogRateLimitIntervalSec=; zero: no limit.
    pub rate_limit_interval: Option<TimeSpan>,
    /// LogRateLimitBurst=, lines in one interval; 0: no limit.
    pub rate_limit_burst: Option<u32>,
    /// What happens to output that cannot be written.
    pub on_full: Option<OnFull>,
    /// Where lines are sent besides.
    pub forward: Option<Vec<Forward>>,
    /// How lines are marked that are sent.
    pub syslog: SyslogSpec,
}

/// Sizes of segments, and of what is kept of them, that make sense: what is smaller or larger is a slip of the pen.
pub const SEGMENT_BYTES: RangeInclusive<u64> = (4 << 10)..=(1 << 40);
/// Longest lines that make sense.
pub const LINE_BYTES: RangeInclusive<u64> = 80..=(1 << 20);

/// What becomes of segments that are no longer written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// They stay as they are.
    #[default]
    None,
    /// They are packed with gzip, in the background.
    Gzip,
}

impl Compress {
    /// The words of files.
    pub const WORDS: [(&str, Self); 2] = [("none", Self::None), ("gzip", Self::Gzip)];
}

/// What happens to output while it cannot be written, say because the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// It is dropped and counted; the service goes on.
    #[default]
    Drop,
    /// It waits in its pipe; once that is full, the service waits too. Nothing is lost.
    Block,
}

impl OnFull {
    /// The words of files.
    pub const WORDS: [(&str, Self); 2] = [("drop", Self::Drop), ("block", Self::Block)];
}

/// Who is sent the lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forward {
    /// journald, by its native protocol.
    Journal,
    /// The host's syslog daemon (/dev/log).
    Syslog,
    /// A syslog server, `host:port`, one datagram a line (RFC 5426).
    SyslogUdp(Box<str>),
    /// A syslog server, `host:port`, over a connection (RFC 6587, octet counting).
    SyslogTcp(Box<str>),
}

impl Forward {
    /// Reads `journal`, `syslog`, `syslog:udp://host:port`, `syslog:tcp://host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let host_port = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            let host_fits = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/@?#".contains(&b));
            (host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| Box::from(rest))
        };
        match text {
            "journal" => Some(Self::Journal),
            "syslog" => Some(Self::Syslog),
            _ => match text.strip_prefix("syslog:udp://") {
                Some(rest) => host_port(rest).map(Self::SyslogUdp),
                None => host_port(text.strip_prefix("syslog:tcp://")?).map(Self::SyslogTcp),
            },
        }
    }
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Journal => f.write_str("journal"),
            Self::Syslog => f.write_str("syslog"),
            Self::SyslogUdp(place) => write!(f, "syslog:udp://{place}"),
            Self::SyslogTcp(place) => write!(f, "syslog:tcp://{place}"),
        }
    }
}

/// How lines are marked when they are sent (systemd.exec(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSpec {
    /// SyslogIdentifier=; the name of the program unless set.
    pub identifier: Option<Box<str>>,
    /// SyslogFacility=, as its number.
    pub facility: u8,
    /// SyslogLevel=, as its number.
    pub level: u8,
    /// SyslogLevelPrefix=: `<N>` before a line is its level.
    pub level_prefix: bool,
}

impl Default for SyslogSpec {
    fn default() -> Self {
        Self { identifier: None, facility: 3, level: 6, level_prefix: true }
    }
}

/// The levels of syslog(3), by number.
pub const SYSLOG_LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The facilities of syslog(3) that a service may have, with their numbers.
pub const SYSLOG_FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_read_as_they_are_written() {
        for text in
            ["journal", "syslog", "syslog:udp://127.0.0.1:514", "syslog:tcp://[::1]:601", "syslog:tcp://logs:601"]
        {
            assert_eq!(Forward::parse(text).map(|forward| forward.to_string()).as_deref(), Some(text));
        }
        for text in [
            "",
            "journald",
            "syslog:",
            "syslog:udp://",
            "syslog:udp://h",
            "syslog:udp://h:0",
            "syslog:udp://:1",
            "udp://h:1",
            "syslog:tcp://a/b:1",
        ] {
            assert_eq!(Forward::parse(text), None, "{text}");
        }
    }
}
