use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};

/// Counts of one listener's connections, for metrics and for the end of a drain.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    accepted: AtomicU64,
}

impl Connections {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(self))
    }
}

/// One open connection in the count.
#[derive(Debug)]
pub(super) struct Entered(Arc<Connections>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection waits for; shared by its socket and its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The first byte of another request.
    Next,
    /// The rest of a request's head.
    Head,
    /// Us: a request is being answered.
    Answer,
}

/// The present wait of a connection and how many there were before it, so that two waits of a kind are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) waiting: Waiting,
    number: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Number times four, plus the kind.
    wait: AtomicU64,
    /// The connection's task, which has no timer while it answers.
    waker: AtomicWaker,
}

impl Activity {
    /// A new connection owes us a head.
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { wait: AtomicU64::new(Waiting::Head as u64), waker: AtomicWaker::new() }))
    }

    pub(super) fn now(&self) -> Wait {
        let word = self.0.wait.load(Ordering::Acquire);
        let waiting = match word & 3 {
            0 => Waiting::Next,
            1 => Waiting::Head,
            _ => Waiting::Answer,
        };
        Wait { waiting, number: word >> 2 }
    }

    /// Begins another wait.
    pub(super) fn set(&self, waiting: Waiting) {
        let number = self.now().number + 1;
        self.0.wait.store(number << 2 | waiting as u64, Ordering::Release);
        // The socket may have been asked to read before the answer was over; its timer begins now.
        if waiting == Waiting::Next {
            self.0.waker.wake();
        }
    }

    /// Has the task woken when the answer is over.
    pub(super) fn wake_when_answered(&self, cx: &Context<'_>) {
        self.0.waker.register(cx.waker());
    }
}

/// A body that tells its connection when it is over.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    activity: Activity,
}

impl<B> Tracked<B> {
    pub(super) const fn new(body: B, activity: Activity) -> Self {
        Self { body, activity }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.activity.set(Waiting::Next);
    }
}
