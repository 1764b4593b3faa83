//! Health probes that we send ourselves: HTTP and TCP. (Exec probes are processes, and those are the keeper's.)
//!
//! Each has one deadline over name lookup, connection and the whole answer; nothing a probed service says or withholds
//! can hold more than one slot until then. No redirect is followed and no proxy asked: the service itself is meant.

mod http;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout},
};

use crate::{base::TimeSpan, node::input::ProbeOutcome, unit::spec::HttpCheck};

/// Probes under way at a time; others wait for a slot, outside their deadline.
const PROBES_MAX: usize = 64;
/// Name lookups at a time. One that is given up still holds a thread until the resolver lets go.
const LOOKUPS_MAX: usize = 16;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// The deadline of a probe whose own is infinite.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Longest reason of a failure, in characters.
const REASON_CHARS_MAX: usize = 300;

/// Sends probes.
#[derive(Debug)]
pub struct Prober {
    slots: Semaphore,
    lookups: Arc<Semaphore>,
    https: OnceCell<reqwest::Client>,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(PROBES_MAX),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            https: OnceCell::new(),
        }
    }
}

impl Prober {
    /// Sends one HTTP request and judges the answer.
    pub async fn http(&self, check: &HttpCheck, deadline: TimeSpan) -> ProbeOutcome {
        self.within(deadline, self.ask(check)).await
    }

    /// Makes one TCP connection to `host:port` and closes it.
    pub async fn tcp(&self, address: &str, deadline: TimeSpan) -> ProbeOutcome {
        self.within(deadline, async { self.connect(address).await.map(drop) }).await
    }

    async fn within(&self, deadline: TimeSpan, probe: impl Future<Output = Result<(), String>>) -> ProbeOutcome {
        // The semaphore is never closed; without a slot the probe goes on all the same.
        let _slot = self.slots.acquire().await.ok();
        let begun = Instant::now();
        let limit = deadline.duration().unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX);
        let failure = match timeout(limit, probe).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(bounded(&reason)),
            Err(_) => Some(format!("no answer within {deadline}")),
        };
        ProbeOutcome { failure, asked: true, took: begun.elapsed() }
    }

    async fn connect(&self, address: &str) -> Result<TcpStream, String> {
        let addresses = self.lookup(address).await.map_err(|error| format!("cannot look up {address}: {error}"))?;
        let mut last = format!("cannot look up {address}: it has no address");
        for candidate in addresses.into_iter().take(ADDRESSES_MAX) {
            match TcpStream::connect(candidate).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("cannot connect to {candidate}: {error}"),
            }
        }
        Err(last)
    }

    async fn lookup(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(literal) = address.parse() {
            return Ok(vec![literal]);
        }
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let address = address.to_owned();
        // Its own task, so that the permit is held as long as the thread is, and not as long as we wait.
        let lookup = tokio::spawn(async move {
            let found = tokio::net::lookup_host(address).await.map(Vec::from_iter);
            drop(permit);
            found
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// One line, not too long: services say anything.
fn bounded(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(REASON_CHARS_MAX).map(clean).collect()
}

#[cfg(test)]
mod tests;
