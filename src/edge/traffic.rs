//! Sockets that wait for their first traffic. Nothing is accepted or read here: it is the service's.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use crate::{
    base::UnitName,
    sys::{Poller, WaitFor, Waiting},
};

/// What is waited for, by unit. Level-triggered, and a unit is told of once: what came before the watch counts, and
/// afterwards nothing wakes us while its service takes what has come.
#[derive(Debug)]
pub struct Traffic {
    poller: Poller,
    readable: Waiting,
    watched: BTreeMap<u64, Watched>,
    next: u64,
}

#[derive(Debug)]
struct Watched {
    unit: UnitName,
    /// Copies of ours, which are closed with the watch: a closed number would stay in the poller for as long as another
    /// process has the same socket open.
    fds: Vec<OwnedFd>,
}

impl Traffic {
    /// Waits for nothing yet. Must be called within a runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let readable = Waiting::new(poller.as_fd(), WaitFor::Reading)?;
        Ok(Self { poller, readable, watched: BTreeMap::new(), next: 0 })
    }

    /// Waits for traffic on any of these, in the place of what was waited for before.
    ///
    /// # Errors
    /// When no descriptor is left, or for one that cannot be waited for; nothing of the unit is waited for then.
    pub fn watch<'f>(&mut self, unit: &UnitName, fds: impl Iterator<Item = BorrowedFd<'f>>) -> io::Result<()> {
        self.unwatch(unit);
        let token = self.next;
        self.next += 1;
        let watched = self.watched.entry(token).or_insert_with(|| Watched { unit: unit.clone(), fds: Vec::new() });
        let mut add = |fd: BorrowedFd<'_>| {
            let copy = fd.try_clone_to_owned()?;
            self.poller.add(&copy, token)?;
            watched.fds.push(copy);
            Ok(())
        };
        let added = fds.into_iter().try_for_each(&mut add);
        if added.is_err() {
            self.unwatch(unit);
        }
        added
    }

    /// Waits for a unit no longer.
    pub fn unwatch(&mut self, unit: &UnitName) {
        for (_, watched) in self.watched.extract_if(.., |_, watched| watched.unit == *unit) {
            for fd in &watched.fds {
                // It was added, so it can be removed.
                let _removed = self.poller.remove(fd);
            }
        }
    }

    /// The next unit with traffic, which is waited for no longer then. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the runtime is going down.
    pub async fn next(&mut self) -> io::Result<UnitName> {
        loop {
            self.readable.ready().await?;
            match self.readable.attempt(|_| ready_token(&self.poller)) {
                Ok(token) => {
                    let Some(unit) = self.watched.get(&token).map(|watched| watched.unit.clone()) else { continue };
                    self.unwatch(&unit);
                    return Ok(unit);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn ready_token(poller: &Poller) -> io::Result<u64> {
    let mut ready = Vec::new();
    poller.wait(Some(Duration::ZERO), &mut ready)?;
    ready.first().map(|ready| ready.token).ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn unit(name: &str) -> UnitName {
        UnitName::new(name).expect("a name")
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    fn call(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().expect("an address")).expect("the queue takes it")
    }

    /// What comes within the time that a lost wake-up would need to show.
    async fn soon(traffic: &mut Traffic) -> Option<String> {
        let next = tokio::time::timeout(Duration::from_millis(100), traffic.next()).await;
        next.ok().map(|unit| unit.expect("a runtime").to_string())
    }

    #[tokio::test]
    async fn traffic_is_told_once_until_it_is_watched_for_anew_and_what_waits_counts_then() {
        let mut traffic = Traffic::new().expect("descriptors");
        let (http, metrics) = (listener(), listener());
        let web = unit("web");
        let both = || [http.as_fd(), metrics.as_fd()].into_iter();
        traffic.watch(&web, both()).expect("watched");
        assert_eq!(soon(&mut traffic).await, None);
        let _clients = [call(&http), call(&metrics), call(&http)];
        assert_eq!(soon(&mut traffic).await.as_deref(), Some("web"));
        assert_eq!(soon(&mut traffic).await, None, "the service has it now");
        traffic.watch(&web, both()).expect("watched");
        assert_eq!(soon(&mut traffic).await.as_deref(), Some("web"), "nobody has accepted them");
        traffic.watch(&web, both()).expect("watched");
        traffic.unwatch(&web);
        assert_eq!(soon(&mut traffic).await, None);
        for _ in 0..3 {
            http.accept().map(drop).or_else(|_| metrics.accept().map(drop)).expect("still there");
            if http.set_nonblocking(true).is_err() {
                break;
            }
        }
    }

    #[tokio::test]
    async fn each_of_many_units_is_told_of() {
        let mut traffic = Traffic::new().expect("descriptors");
        let listeners: Vec<TcpListener> = (0..100).map(|_| listener()).collect();
        for (at, listener) in listeners.iter().enumerate() {
            traffic.watch(&unit(&format!("u{at}")), [listener.as_fd()].into_iter()).expect("watched");
        }
        let _clients: Vec<TcpStream> = listeners.iter().map(call).collect();
        let mut told = std::collections::BTreeSet::new();
        while let Some(unit) = soon(&mut traffic).await {
            assert!(told.insert(unit));
        }
        assert_eq!(told.len(), listeners.len());
    }

    #[tokio::test]
    async fn what_cannot_be_waited_for_is_an_error_and_leaves_nothing() {
        let mut traffic = Traffic::new().expect("descriptors");
        let file = tempfile::tempfile().expect("a file");
        let http = listener();
        assert!(traffic.watch(&unit("web"), [http.as_fd(), file.as_fd()].into_iter()).is_err());
        let _client = call(&http);
        assert_eq!(soon(&mut traffic).await, None);
    }
}
