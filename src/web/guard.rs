use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    listen::Stream,
    track::{Activity, Wait, Waiting},
};

/// A connection whose other end must keep moving: it has a time for each head, for silence between requests, and for
/// taking what we send.
///
/// hyper has one timer for the silence and the head together, so a client that sends a byte late could hold a
/// connection for the longer of the two; and it has none for a reader that stands still.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: Stream,
    activity: Activity,
    times: Times,
    read: Deadline,
    write: Deadline,
}

/// How long the other end may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) write: Duration,
}

impl Guarded {
    pub(super) fn new(stream: Stream, activity: Activity, times: Times) -> Self {
        Self { stream, activity, times, read: Deadline::default(), write: Deadline::default() }
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), cx) {
            self.write.clear();
            return Poll::Ready(done);
        }
        ready!(self.write.poll_over(cx, self.activity.now(), self.times.write));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of the answer")))
    }
}

/// One timer that is armed only while something is awaited.
#[derive(Debug, Default)]
struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    armed_for: Option<Wait>,
}

impl Deadline {
    const fn clear(&mut self) {
        self.armed_for = None;
    }

    /// Ready when `limit` has passed since the wait for `what` began.
    fn poll_over(&mut self, cx: &mut Context<'_>, what: Wait, limit: Duration) -> Poll<()> {
        if self.armed_for != Some(what) {
            self.armed_for = Some(what);
            let end = Instant::now() + limit;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(end),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            // Only the first byte of a head begins its time: each further byte must not.
            if this.activity.now().waiting == Waiting::Next && buf.filled().len() > before {
                this.activity.set(Waiting::Head);
            }
            return Poll::Ready(done);
        }
        // Before the look at the state, so that an end of the answer in between wakes us.
        this.activity.wake_when_answered(cx);
        let now = this.activity.now();
        let limit = match now.waiting {
            Waiting::Next => this.times.idle,
            Waiting::Head => this.times.head,
            // The request is ours to answer; whoever reads its body has a time of its own.
            Waiting::Answer => return Poll::Pending,
        };
        ready!(this.read.poll_over(cx, now, limit));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends no request")))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::UnixStream, time};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_began_during_an_answer_is_timed_from_its_end() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let activity = Activity::new();
        let times =
            Times { head: Duration::from_secs(10), idle: Duration::from_secs(90), write: Duration::from_secs(60) };
        let mut guarded = Guarded::new(Stream::Unix(ours), activity.clone(), times);
        activity.set(Waiting::Answer);
        let read = tokio::spawn(async move { guarded.read_u8().await });
        time::sleep(Duration::from_secs(1000)).await;
        assert!(!read.is_finished(), "an answer may take as long as it likes");
        let begun = Instant::now();
        activity.set(Waiting::Next);
        let read = time::timeout(Duration::from_secs(1000), read).await.expect("the connection stays for ever");
        assert_eq!(read.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 90);
    }
}
