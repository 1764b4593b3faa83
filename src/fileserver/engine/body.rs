use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Response,
    body::{Body, Frame, SizeHint},
    header::HeaderValue,
};
use rustix::io::Errno;

use crate::fileserver::{
    answer::{Answer, Piece},
    metrics::Metrics,
};

/// Bytes read from a file at once; larger reads gain nothing, smaller ones cost (measured from 16 KiB to 1 MiB).
const READ_BYTES: u64 = 256 << 10;

/// An answer's body on its way out; files are read as the client takes them.
#[derive(Debug)]
pub(in crate::fileserver) struct AnswerBody {
    pieces: VecDeque<Piece>,
    file: Option<OwnedFd>,
    left: u64,
    metrics: Arc<Metrics>,
}

/// Turns an answer into hyper's; `file` is what its file pieces are read from.
pub(super) fn response(answer: Answer, file: Option<OwnedFd>, metrics: &Arc<Metrics>) -> Response<AnswerBody> {
    let left = answer.body.iter().map(length).sum();
    let body = AnswerBody { pieces: answer.body.into(), file, left, metrics: Arc::clone(metrics) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.reserve(answer.fields.len());
    for (name, value) in answer.fields {
        // Values are made of checked parts; one that is no header value after all is better missing than wrong.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(name, value);
        }
    }
    response
}

fn length(piece: &Piece) -> u64 {
    match piece {
        Piece::Bytes(bytes) => bytes.len() as u64,
        Piece::File(range) => range.end - range.start,
    }
}

impl AnswerBody {
    /// The next bytes of the first piece that has any.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let (bytes, is_done) = match self.pieces.front_mut()? {
                Piece::Bytes(bytes) => (Ok(std::mem::take(bytes)), true),
                Piece::File(range) => {
                    let wanted = (range.end - range.start).min(READ_BYTES);
                    let bytes = self.file.as_ref().map_or(Err(Errno::BADF), |file| read(file, range.start, wanted));
                    range.start += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    self.metrics.bytes_sent.add(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
                    (bytes, range.start >= range.end)
                }
            };
            if is_done {
                self.pieces.pop_front();
            }
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(bytes.into())),
                Err(errno) => return Some(Err(errno.into())),
            }
        }
    }
}

/// Up to `wanted` bytes at `start`, and at least one of them; a file that has become shorter is an error, not an end.
fn read(file: &OwnedFd, start: u64, wanted: u64) -> Result<Vec<u8>, Errno> {
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    loop {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), start) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                // The allocator may have given more than was asked for.
                let count = count.min(usize::try_from(wanted).unwrap_or(usize::MAX));
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let next = this.next();
        if let Some(Ok(bytes)) = &next {
            this.left = this.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;

    use super::*;

    fn body(pieces: Vec<Piece>, content: &[u8]) -> AnswerBody {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let answer = Answer { body: pieces, ..Answer::options("GET") };
        response(answer, Some(file.into()), &Arc::new(Metrics::new())).into_body()
    }

    #[tokio::test]
    async fn pieces_of_bytes_and_file_come_in_order() {
        let content: Vec<u8> = (0..700_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let pieces = vec![
            Piece::Bytes(b"head".to_vec()),
            Piece::File(3..600_003),
            Piece::Bytes(Vec::new()),
            Piece::File(5..5),
            Piece::Bytes(b"tail".to_vec()),
        ];
        let body = body(pieces, &content);
        assert_eq!(body.size_hint().exact(), Some(600_008));
        let metrics = Arc::clone(&body.metrics);
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(sent, [b"head", &content[3..600_003], b"tail"].concat());
        let scrape = super::super::Scrape {
            connections_open: 0,
            connections_accepted: 0,
            storage_free: None,
            is_draining: false,
        };
        assert!(metrics.render(scrape).contains("\nbytes_sent_total 600000\n"));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_and_not_an_end() {
        assert!(body(vec![Piece::File(0..10)], b"short").collect().await.is_err());
    }
}
