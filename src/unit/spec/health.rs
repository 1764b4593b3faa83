//! `[[health]]`: what a service is asked, and what follows.

use std::{fmt, path::Path};

use super::{Command, Pairs};
use crate::base::{ByteSize, LinePattern, Severity, Shortage, TimeSpan, UnitName};

/// One `[[health]]` probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSpec {
    /// Its name, unique in the unit.
    pub name: Box<str>,
    /// What is asked.
    pub check: Box<ProbeCheck>,
    /// From one start of the probe to the next.
    pub interval: TimeSpan,
    /// For the whole answer.
    pub timeout: TimeSpan,
    /// From ready to the first probe.
    pub initial_delay: TimeSpan,
    /// For so long after it is up, failures say only that it is not there yet, unless it has been.
    pub startup_grace: TimeSpan,
    /// Each turn comes up to so much later, by chance.
    pub jitter: TimeSpan,
    /// While it is unhealthy the pauses double up to this; shorter than the interval: they do not.
    pub backoff_max: TimeSpan,
    /// Failures among the last `unhealthy_window` answers that make it unhealthy.
    pub unhealthy_after: u32,
    /// See there; at most 64.
    pub unhealthy_window: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
    /// Its bad answers count only while these are well.
    pub depends_on: Box<[ProbeName]>,
    /// What is done when it becomes unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// How much it matters.
    pub severity: Severity,
}

/// A probe of a unit; shown as `db/live`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeName {
    /// Whose.
    pub unit: UnitName,
    /// Which.
    pub probe: Box<str>,
}

impl fmt::Display for ProbeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.unit, self.probe)
    }
}

impl ProbeSpec {
    /// Whether anything follows from what it finds: with severity `info` nobody is told, and where nothing is done either it is
    /// only shown.
    pub fn matters(&self) -> bool {
        let is_acted_on = matches!(self.on_unhealthy, OnUnhealthy::Restart | OnUnhealthy::Reload);
        is_acted_on || self.severity != Severity::Info
    }
}

/// What is done about an unhealthy service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// It is restarted, subject to the start limit.
    Restart,
    /// It is asked to reload.
    Reload,
    /// People are told.
    Alert,
    /// It is only shown.
    None,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeCheck {
    /// HTTP requests, one after the other; any that does not come out as expected is the answer.
    Http(Box<[HttpCheck]>),
    /// A TCP connection is accepted, and what is said on it is as expected.
    Tcp(TcpCheck),
    /// A command ends with 0.
    Exec(Command),
    /// A monitoring plugin: 0 is good, 1 degraded, 2 bad, 3 unknown.
    Plugin(Command),
    /// A file system has room.
    Disk(DiskCheck),
    /// A certificate does not expire soon.
    Certificate(CertificateCheck),
    /// A Redis server answers, and is what it should be.
    Redis(RedisCheck),
    /// A file is there, and not too old.
    File(FileCheck),
    /// A unit of the host's systemd is active.
    Systemd(Box<str>),
    /// What the unit writes says that it is well.
    Log(LogCheck),
    /// The memory of the unit's processes, in bytes.
    Memory(Ceiling),
    /// The CPU time of the unit's processes since the last answer, in hundredths of one CPU.
    Cpu(Ceiling),
}

impl ProbeCheck {
    /// Its kind in a word: its key, or `upload` of requests that send something signed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(steps) if steps.iter().any(|step| step.sign.is_some()) => "upload",
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Exec(_) => "exec",
            Self::Plugin(_) => "plugin",
            Self::Disk(_) => "disk",
            Self::Certificate(_) => "certificate",
            Self::Redis(_) => "redis",
            Self::File(_) => "file",
            Self::Systemd(_) => "systemd",
            Self::Log(_) => "log",
            Self::Memory(_) => "memory",
            Self::Cpu(_) => "cpu",
        }
    }

    /// The files of the secrets that it shows to whom it asks.
    pub fn secret_files(&self) -> Vec<&Path> {
        match self {
            Self::Http(steps) => {
                steps.iter().filter_map(|step| step.sign.as_ref()).map(|sign| &*sign.secret_file).collect()
            }
            Self::Redis(check) => check.password_file.iter().map(|file| &**file).collect(),
            Self::Tcp(_)
            | Self::Exec(_)
            | Self::Plugin(_)
            | Self::Disk(_)
            | Self::Certificate(_)
            | Self::File(_)
            | Self::Systemd(_)
            | Self::Log(_)
            | Self::Memory(_)
            | Self::Cpu(_) => Vec::new(),
        }
    }

    /// Whether a restart can help where its answer is bad: it makes neither room nor a certificate, and no other unit of the host
    /// well.
    pub const fn is_of_the_unit(&self) -> bool {
        match self {
            Self::Disk(_) | Self::Certificate(_) | Self::Systemd(_) => false,
            Self::Http(_)
            | Self::Tcp(_)
            | Self::Exec(_)
            | Self::Plugin(_)
            | Self::Redis(_)
            | Self::File(_)
            | Self::Log(_)
            | Self::Memory(_)
            | Self::Cpu(_) => true,
        }
    }

    /// What runs short when its answer is degraded.
    pub const fn shortage(&self) -> Shortage {
        match self {
            Self::Disk(_) => Shortage::Disk,
            Self::Certificate(_) => Shortage::Certificate,
            Self::Redis(_) => Shortage::Replication,
            Self::Http(_)
            | Self::Tcp(_)
            | Self::Exec(_)
            | Self::Plugin(_)
            | Self::Systemd(_)
            | Self::File(_)
            | Self::Log(_)
            | Self::Memory(_)
            | Self::Cpu(_) => Shortage::Service,
        }
    }
}

/// Limits of something that should not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Above it is degraded.
    pub warn: Option<u64>,
    /// Above it is bad.
    pub max: Option<u64>,
}

/// What a TCP probe says and expects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TcpCheck {
    /// `host:port`.
    pub address: Box<str>,
    /// What is sent once the connection is there.
    pub send: Option<Box<str>>,
    /// What must come.
    pub expect: Option<Box<str>>,
    /// Over TLS.
    pub tls: Option<TlsCheck>,
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsCheck {
    /// Authorities that are trusted instead of the machine's, PEM.
    pub ca_file: Option<Box<Path>>,
    /// Who we are, PEM: a certificate and its key.
    pub identity: Option<(Box<Path>, Box<Path>)>,
    /// Whose name the certificate must bear, instead of the host's.
    pub server_name: Option<Box<str>>,
}

/// What a file system must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCheck {
    /// Something on it.
    pub path: Box<Path>,
    /// Less is degraded; less than a quarter of it is bad.
    pub min_free_bytes: Option<ByteSize>,
    /// The same in inodes.
    pub min_free_inodes: Option<u64>,
}

/// A certificate and how long it must last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateCheck {
    /// Which.
    pub of: CertificatePlace,
    /// Less is degraded; one that has expired is bad.
    pub days: u32,
}

/// Where a certificate is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificatePlace {
    /// The first one of a PEM file.
    File(Box<Path>),
    /// What is shown at `host:port`, when asked for this name.
    Presented(Box<str>, Option<Box<str>>),
}

/// What a Redis server must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisCheck {
    /// `redis://` or `rediss://`, without a password.
    pub url: Box<str>,
    /// Where the password stands.
    pub password_file: Option<Box<Path>>,
    /// What it must be.
    pub role: Option<RedisRole>,
    /// A replica that has heard nothing of its primary for so long is degraded.
    pub max_lag: Option<TimeSpan>,
}

/// What a Redis server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisRole {
    /// It takes writes.
    Primary,
    /// It follows one.
    Replica,
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheck {
    /// Which.
    pub path: Box<Path>,
    /// Written later than so long ago.
    pub max_age: Option<TimeSpan>,
    /// At least so long.
    pub min_size: Option<ByteSize>,
}

/// Lines of the unit's own captured output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogCheck {
    /// A line like this is bad.
    pub fail_on: Option<LinePattern>,
    /// A line like this is degraded.
    pub warn_on: Option<LinePattern>,
    /// When no line like this comes within so long, that is bad.
    pub expect: Option<(LinePattern, TimeSpan)>,
}

/// One request of an HTTP probe: what it asks and expects. `${name}` in `url`, `headers` and `body` is what an earlier one
/// captured, or 32 random hex digits for the name `random` (`unit::placeholder`).
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCheck {
    /// What it is called in reasons, where there are several.
    pub name: Box<str>,
    /// Where: `http://host:port/path`.
    pub url: Box<str>,
    /// GET, HEAD, POST, PUT or DELETE.
    pub method: &'static str,
    /// What is sent.
    pub body: HttpBody,
    /// How its URL is signed.
    pub sign: Option<UploadSignature>,
    /// For `https:`.
    pub tls: TlsCheck,
    /// Headers that are sent.
    pub headers: Pairs,
    /// Over this unix socket instead of the url's host.
    pub unix_socket: Option<Box<Path>>,
    /// Statuses that are good; any 2xx when empty.
    pub expect_status: Box<[u16]>,
    /// Text that the body must contain.
    pub expect_body: Option<Box<str>>,
    /// JSON pointer (RFC 6901) to the value (as JSON text) that must stand there.
    pub expect_json: Pairs,
    /// The earlier request whose body must come back, bit for bit.
    pub expect_body_of: Option<Box<str>>,
    /// What later requests may use: a name, and the JSON pointer or the header where its value stands.
    pub capture: Pairs,
    /// How much of a body is read.
    pub body_max: ByteSize,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HttpBody {
    /// There is none.
    #[default]
    None,
    /// This text.
    Text(Box<str>),
    /// So many random bytes, others each time.
    Random(ByteSize),
}

/// How the URL of an upload is signed for an external upload service (XEP-0363; README of Prosody's
/// mod_http_upload_external).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSignature {
    /// What is signed.
    pub scheme: UploadScheme,
    /// Where the secret stands that is shared with the server; nobody but its owner may read it.
    pub secret_file: Box<Path>,
    /// What stands before the signed path in URLs; begins and ends with a slash.
    pub base_path: Box<str>,
}

/// What the signature of an upload covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadScheme {
    /// `?v=`: path and length.
    V,
    /// `?v2=`: path, length and media type.
    V2,
}
