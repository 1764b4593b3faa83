use std::io::{ErrorKind, Read};

use super::{HttpError, Stop, TICK, Wait, body::Framing, connect::Stream};
use crate::cli::target::Target;

/// Longest line of a head, and longest line that precedes a chunk.
const LINE_BYTES_MAX: usize = 8192;
/// Most lines of a head.
const HEAD_LINES_MAX: usize = 100;
/// Read at once.
const BLOCK_BYTES: usize = 64 << 10;

/// What we need of an answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
}

/// The bytes of an answer as they come, with what has been read ahead.
pub(super) struct Incoming<'a> {
    stream: Stream,
    target: Target,
    wait: Wait<'a>,
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(stream: Stream, target: Target, wait: Wait<'a>) -> Self {
        Self { stream, target, wait, block: vec![0; BLOCK_BYTES].into(), start: 0, end: 0 }
    }

    /// Bytes that are here and not yet taken; reads when there are none. Empty at the end of the connection.
    pub(super) fn available(&mut self) -> Result<&[u8], HttpError> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.read_some()?;
        }
        Ok(&self.block[self.start..self.end])
    }

    /// Takes the first `count` of the available bytes.
    pub(super) fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    fn read_some(&mut self) -> Result<usize, HttpError> {
        let mut ticks = 0;
        loop {
            match self.stream.read(&mut self.block) {
                Ok(count) => return Ok(count),
                // A signal ends a read too: the caller's flag is looked at without delay.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    ticks += 1;
                    (self.wait)(ticks).map_err(|stop| match stop {
                        Stop::Silent => HttpError::Silent { target: self.target.clone(), silence: TICK * ticks },
                        Stop::Interrupted => HttpError::Interrupted,
                    })?;
                }
                Err(source) => return Err(HttpError::Receive { target: self.target.clone(), source }),
            }
        }
    }

    /// One line without its line end.
    pub(super) fn read_line(&mut self) -> Result<String, HttpError> {
        let mut line = Vec::new();
        loop {
            let bytes = self.available()?;
            if bytes.is_empty() {
                return Err(self.cut());
            }
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let count = newline.map_or(bytes.len(), |at| at + 1);
            line.extend_from_slice(&bytes[..count]);
            self.take(count);
            if line.len() > LINE_BYTES_MAX {
                return Err(self.too_large("a line of its head", LINE_BYTES_MAX));
            }
            if newline.is_some() {
                let text = String::from_utf8(line).map_err(|_| self.not_http("its head is not text"))?;
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
        }
    }

    /// Status line and headers; interim answers (1xx) are skipped, and count against the same limit of lines.
    pub(super) fn read_head(&mut self) -> Result<Head, HttpError> {
        let mut lines_left = HEAD_LINES_MAX;
        loop {
            let status = self.read_status()?;
            let framing = self.read_framing(&mut lines_left)?;
            match status {
                100..=199 => {}
                204 | 304 => return Ok(Head { status, framing: Framing::Ended }),
                _ => return Ok(Head { status, framing }),
            }
        }
    }

    fn read_status(&mut self) -> Result<u16, HttpError> {
        let line = self.read_line()?;
        let rest = line.strip_prefix("HTTP/1.").ok_or_else(|| self.not_http("it does not speak HTTP/1.1"))?;
        let code = rest.split(' ').nth(1).filter(|code| code.len() == 3);
        code.and_then(|code| code.parse().ok()).ok_or_else(|| self.not_http("its status is not a number"))
    }

    /// Reads header lines up to the empty one: all we need of them is how the body ends (RFC 9112, 6.3).
    fn read_framing(&mut self, lines_left: &mut usize) -> Result<Framing, HttpError> {
        let mut framing = Framing::UntilClose;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(framing);
            }
            *lines_left = lines_left.checked_sub(1).ok_or_else(|| self.not_http("its head has too many lines"))?;
            let (name, value) = line.split_once(':').ok_or_else(|| self.not_http("a header has no colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(self.not_http("its transfer encoding is not \"chunked\""));
                }
                framing = Framing::ChunkSize;
            } else if name.eq_ignore_ascii_case("content-length") && framing != Framing::ChunkSize {
                let length = value.parse().map_err(|_| self.not_http("its content length is not a number"))?;
                framing = Framing::Length(length);
            }
        }
    }

    pub(super) fn cut(&self) -> HttpError {
        HttpError::Cut(self.target.clone())
    }

    pub(super) fn not_http(&self, what: &'static str) -> HttpError {
        HttpError::NotHttp { target: self.target.clone(), what }
    }

    pub(super) fn too_large(&self, what: &'static str, limit: usize) -> HttpError {
        HttpError::TooLarge { target: self.target.clone(), what, limit }
    }
}
