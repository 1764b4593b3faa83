use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::{
    task,
    time::{self, Instant},
};

use super::Server;
use crate::{
    base::Chain,
    fileserver::{
        condition::FileFacts,
        decide::{Put, Rules},
        refusal::Refusal,
        store::{Part, PublishError, StoreError, SyncPolicy},
    },
};

/// Slowest upload we put up with, bytes per second on the average after `client_timeout`: a drop now and then must not
/// hold a connection for ever.
const RATE_MIN: u64 = 1024;
/// How much of a refused body is read, so that the client gets to read the refusal: closing a socket with unread bytes
/// makes the kernel send RST, which destroys the answer on its way.
const LINGER_BYTES: u64 = 64 << 20;
/// And for how long.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The body of a request.
#[derive(Debug)]
pub(super) struct Inbound {
    body: Incoming,
    /// Reading it says "100 Continue" to a client that waits for it.
    may_read: bool,
}

/// What ended a body too early.
#[derive(Debug)]
enum Cut {
    Closed,
    Slow,
}

impl Inbound {
    pub(super) const fn new(body: Incoming, expects_continue: bool) -> Self {
        Self { body, may_read: !expects_continue }
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self, deadline: Instant) -> Result<Option<Bytes>, Cut> {
        self.may_read = true;
        loop {
            return match time::timeout_at(deadline, self.body.frame()).await {
                Err(_) => Err(Cut::Slow),
                Ok(None) => Ok(None),
                Ok(Some(Err(_))) => Err(Cut::Closed),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => Ok(Some(bytes)),
                    // Trailers.
                    Err(_) => continue,
                },
            };
        }
    }

    /// Whether there is more to come than was read.
    pub(super) fn is_unread(&self) -> bool {
        !self.body.is_end_stream()
    }

    /// Reads on for a little while beside the answer.
    pub(super) fn linger(mut self) {
        if !self.may_read {
            return;
        }
        let drain = async move {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = self.body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
                if left == 0 {
                    break;
                }
            }
        };
        drop(task::spawn(time::timeout(LINGER_TIME, drain)));
    }
}

impl Server {
    /// Receives a file: name and space first, so that "100 Continue" is said only to what can succeed.
    pub(super) async fn put(&self, put: &Put, rules: &Rules, body: &mut Inbound) -> Result<FileFacts, Refusal> {
        let _active = self.metrics.uploads_active.hold();
        if self.store.is_taken(&put.path).map_err(|error| store_failed(&error))? {
            return Err(Refusal::Exists);
        }
        let reserved = self.store.reserve(put.length, rules.min_free_bytes).map_err(|error| store_failed(&error))?;
        let mut part = self.store.begin(put.path.clone(), reserved).map_err(|error| store_failed(&error))?;
        self.receive(put, rules, body, &mut part).await?;
        let facts = publish(part, put.media_type.clone(), rules.sync).await?;
        self.metrics.upload_success.add(1);
        self.metrics.upload_bytes.add(put.length);
        self.metrics.upload_size.observe(put.length);
        Ok(facts)
    }

    async fn receive(&self, put: &Put, rules: &Rules, body: &mut Inbound, part: &mut Part) -> Result<(), Refusal> {
        let begun = Instant::now();
        let slowest = rules.client_timeout.saturating_add(Duration::from_secs(put.length / RATE_MIN));
        let end = begun.checked_add(slowest).unwrap_or_else(|| begun + rules.client_timeout);
        while part.written() < put.length {
            let deadline = end.min(Instant::now() + rules.client_timeout);
            let bytes = match body.next(deadline).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) | Err(Cut::Closed) => return Err(Refusal::ShortBody),
                Err(Cut::Slow) => return Err(Refusal::SlowBody),
            };
            // The engine stops at Content-Length; should it not, what is too much is not ours.
            let wanted = usize::try_from(put.length - part.written()).unwrap_or(usize::MAX).min(bytes.len());
            part.write(bytes.get(..wanted).unwrap_or_default()).map_err(|error| store_failed(&error))?;
            self.metrics.bytes_received.add(bytes.len() as u64);
        }
        Ok(())
    }
}

/// Gives the part its name; on a thread of its own where that waits for the disk.
async fn publish(part: Part, media_type: Option<String>, sync: SyncPolicy) -> Result<FileFacts, Refusal> {
    let path = part.path().clone();
    let work = move || part.publish(media_type.as_deref(), sync);
    let outcome = match sync {
        SyncPolicy::None => work(),
        SyncPolicy::Data | SyncPolicy::Full => match task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            // The thread panicked, or the runtime ends; either way nothing was promised.
            Err(error) => {
                tracing::error!(%error, %path, "cannot publish an upload");
                return Err(Refusal::Store);
            }
        },
    };
    outcome.map_err(|error| match error {
        PublishError::Taken(_) => Refusal::Exists,
        PublishError::Store(error) => store_failed(&error),
    })
}

fn store_failed(error: &StoreError) -> Refusal {
    match error {
        StoreError::NoSpace { .. } => {
            tracing::warn!(error = %Chain(error), "upload refused: no space");
            Refusal::NoSpace
        }
        StoreError::Root { .. } | StoreError::File { .. } => {
            tracing::error!(error = %Chain(error), "upload failed");
            Refusal::Store
        }
    }
}
