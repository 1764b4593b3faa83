//! Names of hosts that are probed. A resolver that is slow or gone says nothing about a service, so what a name last stood
//! for is asked instead, for a while.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// Lookups at a time. One that is given up still holds a thread until the resolver lets go.
const LOOKUPS_MAX: usize = 16;
/// Who is known is not waited for longer; an answer that comes later is there for the next probe.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a name stands for what it last stood for.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Names that are known; past it those that come first in the alphabet are forgotten.
const KNOWN_MAX: usize = 1024;

/// Looks names up.
#[derive(Debug, Clone)]
pub(super) struct Names {
    lookups: Arc<Semaphore>,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Instant,
}

impl Default for Names {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), known: Arc::default() }
    }
}

impl Names {
    /// The addresses of `host:port`.
    pub(super) async fn find(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(literal) = address.parse() {
            return Ok(vec![literal]);
        }
        let known = self.known().get(address).cloned().filter(|known| known.since.elapsed() < KNOWN_FOR);
        let found = self.look_up(address.to_owned());
        match known {
            None => found.await,
            Some(known) => match timeout(PATIENCE, found).await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(_)) | Err(_) => Ok(known.addresses),
            },
        }
    }

    async fn look_up(&self, address: String) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let names = self.clone();
        // Its own task, so that the permit is held as long as the thread is, and not as long as we wait.
        let lookup = tokio::spawn(async move {
            let found = tokio::net::lookup_host(&address).await.map(Vec::from_iter);
            drop(permit);
            if let Some(addresses) = found.as_ref().ok().filter(|addresses| !addresses.is_empty()) {
                names.learn(address, addresses.clone());
            }
            found
        });
        lookup.await.map_err(io::Error::other)?
    }

    fn learn(&self, address: String, addresses: Vec<SocketAddr>) {
        let mut known = self.known();
        known.insert(address, Known { addresses, since: Instant::now() });
        while known.len() > KNOWN_MAX {
            known.pop_first();
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "name.invalid:80";

    #[tokio::test(start_paused = true)]
    async fn a_name_stands_for_what_it_last_stood_for_and_not_for_ever() {
        let names = Names::default();
        assert!(names.find(ADDRESS).await.is_err(), "RFC 6761: there is no such name");
        let last: SocketAddr = "192.0.2.1:80".parse().unwrap();
        names.learn(ADDRESS.to_owned(), vec![last]);
        assert_eq!(names.find(ADDRESS).await.unwrap(), [last]);
        tokio::time::advance(KNOWN_FOR).await;
        assert!(names.find(ADDRESS).await.is_err());
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_delays_by_little_who_is_known() {
        let names = Names::default();
        let last: SocketAddr = "192.0.2.1:80".parse().unwrap();
        names.learn(ADDRESS.to_owned(), vec![last]);
        let _all = Arc::clone(&names.lookups).acquire_many_owned(u32::try_from(LOOKUPS_MAX).unwrap()).await.unwrap();
        let begun = Instant::now();
        assert_eq!(names.find(ADDRESS).await.unwrap(), [last]);
        assert!(begun.elapsed() < PATIENCE * 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn names_that_are_known_are_bounded() {
        let names = Names::default();
        for n in 0..2 * KNOWN_MAX {
            names.learn(format!("host{n:05}:80"), vec!["192.0.2.1:80".parse().unwrap()]);
        }
        assert_eq!(names.known().len(), KNOWN_MAX);
    }
}
