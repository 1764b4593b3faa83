use super::{BODY_BYTES_MAX, HttpError, incoming::Incoming};

/// Most trailer lines after the last chunk.
const TRAILER_LINES_MAX: usize = 100;

/// Where we stand in a body, and so where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// The next line is the size of a chunk.
    ChunkSize,
    /// So many bytes are left of a chunk.
    Chunk(u64),
    /// The line end after a chunk is next.
    ChunkEnd,
    /// All until the connection ends.
    UntilClose,
    /// Nothing is left.
    Ended,
}

/// The body of an answer, read in the pieces it comes in.
pub(crate) struct Body<'a> {
    incoming: Incoming<'a>,
    framing: Framing,
}

impl<'a> Body<'a> {
    pub(super) fn new(incoming: Incoming<'a>, framing: Framing) -> Self {
        Self { incoming, framing }
    }

    /// Appends the next piece to `into` as soon as there is one; `None` when the body is complete.
    pub(crate) fn read_piece(&mut self, into: &mut Vec<u8>) -> Result<Option<usize>, HttpError> {
        loop {
            match self.framing {
                Framing::Ended | Framing::Length(0) => return Ok(None),
                Framing::ChunkSize => self.framing = self.read_chunk_size()?,
                Framing::Chunk(0) => self.framing = Framing::ChunkEnd,
                // Read only when more is asked for: a server may send it with the next chunk.
                Framing::ChunkEnd => {
                    if !self.incoming.read_line()?.is_empty() {
                        return Err(self.incoming.not_http("a chunk is longer than it says"));
                    }
                    self.framing = Framing::ChunkSize;
                }
                Framing::Length(left) => {
                    let count = self.read_up_to(left, into)?.ok_or_else(|| self.incoming.cut())?;
                    self.framing = Framing::Length(left - count as u64);
                    return Ok(Some(count));
                }
                Framing::Chunk(left) => {
                    let count = self.read_up_to(left, into)?.ok_or_else(|| self.incoming.cut())?;
                    self.framing = Framing::Chunk(left - count as u64);
                    return Ok(Some(count));
                }
                Framing::UntilClose => {
                    let count = self.read_up_to(u64::MAX, into)?;
                    if count.is_none() {
                        self.framing = Framing::Ended;
                    }
                    return Ok(count);
                }
            }
        }
    }

    /// The whole body, which may have 64 MiB.
    pub(crate) fn read_all(mut self) -> Result<Vec<u8>, HttpError> {
        let mut all = Vec::new();
        if let Framing::Length(length) = self.framing {
            all.reserve(usize::try_from(length).unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX));
        }
        while self.read_piece(&mut all)?.is_some() {
            if all.len() > BODY_BYTES_MAX {
                return Err(self.incoming.too_large("it", BODY_BYTES_MAX));
            }
        }
        Ok(all)
    }

    fn read_up_to(&mut self, left: u64, into: &mut Vec<u8>) -> Result<Option<usize>, HttpError> {
        let bytes = self.incoming.available()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        into.extend_from_slice(&bytes[..count]);
        self.incoming.take(count);
        Ok(Some(count))
    }

    /// The line before a chunk; what may follow its size after a semicolon means nothing to us (RFC 9112, 7.1.1).
    fn read_chunk_size(&mut self) -> Result<Framing, HttpError> {
        let line = self.incoming.read_line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| plain);
        match size {
            None => Err(self.incoming.not_http("the size of a chunk is not a number")),
            Some(0) => self.skip_trailers(),
            Some(size) => Ok(Framing::Chunk(size)),
        }
    }

    fn skip_trailers(&mut self) -> Result<Framing, HttpError> {
        for _ in 0..TRAILER_LINES_MAX {
            if self.incoming.read_line()?.is_empty() {
                return Ok(Framing::Ended);
            }
        }
        Err(self.incoming.not_http("it has too many trailers"))
    }
}
