//! `[[health]]`: what a service is asked, and what follows.

use std::path::Path;

use super::{Command, Pairs};
use crate::base::{ByteSize, Severity, TimeSpan};

/// One `[[health]]` probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSpec {
    /// Its name, unique in the unit.
    pub name: Box<str>,
    /// What is asked.
    pub check: ProbeCheck,
    /// From one start of the probe to the next.
    pub interval: TimeSpan,
    /// For the whole answer.
    pub timeout: TimeSpan,
    /// From ready to the first probe.
    pub initial_delay: TimeSpan,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
    /// What is done when it becomes unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// How much it matters.
    pub severity: Severity,
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
    /// An HTTP request.
    Http(HttpCheck),
    /// A TCP connection is accepted.
    Tcp(Box<str>),
    /// A command ends with 0.
    Exec(Command),
}

/// What an HTTP probe asks and expects.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCheck {
    /// Where: `http://host:port/path`.
    pub url: Box<str>,
    /// GET, HEAD or POST.
    pub method: &'static str,
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
    /// How much of a body is read.
    pub body_max: ByteSize,
}
