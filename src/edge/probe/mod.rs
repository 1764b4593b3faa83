//! Health probes that we send ourselves. (Those that are commands are processes, and those are the keeper's.)
//!
//! Each has one deadline over name lookup, connection and the whole answer; nothing a probed service says or withholds
//! can hold more than one slot until then. No redirect is followed and no proxy asked: the service itself is meant.

mod external; // services that others keep
mod host; // disks, files, certificates
mod http;
mod names; // of hosts
mod output; // what the unit writes
mod redis;
mod signing; // of uploads
mod steps; // the requests of one http probe
mod tcp;
mod trouble; // of a Redis server
mod usage; // memory and CPU
mod words; // what a command says

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};

pub use self::{
    output::{Output, Seen},
    trouble::RedisTrouble,
    usage::{Sample, Used},
    words::Words,
};
use crate::{
    base::TimeSpan,
    edge::tls::{self, TlsStream},
    node::input::{Finding, ProbeOutcome},
    unit::spec::{ProbeCheck, TlsCheck},
};

/// Probes under way at a time; others wait for a slot, outside their deadline.
const PROBES_MAX: usize = 64;
/// Looks at disks at a time, by the same rule: a disk that hangs holds up no name.
const LOOKS_MAX: usize = 16;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// The deadline of a probe whose own is infinite.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Longest reason of a failure, in characters.
const REASON_CHARS_MAX: usize = 300;

/// A look that takes longer has to do with a disk or a server that hangs.
const HANGS: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The address whose name a probe waits for, for whoever gives up.
    static LOOKED_UP: RefCell<Option<String>>;
}

/// A look under way; it is over when this is gone.
struct UnderWay {
    looking: Arc<Mutex<BTreeMap<PathBuf, Vec<Instant>>>>,
    place: PathBuf,
    begun: Instant,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(others) = looking.get_mut(&self.place) {
            if let Some(own) = others.iter().position(|begun| *begun == self.begun) {
                others.swap_remove(own);
            }
            if others.is_empty() {
                looking.remove(&self.place);
            }
        }
    }
}

/// Sends probes.
#[derive(Debug)]
pub struct Prober {
    slots: Semaphore,
    names: names::Names,
    looks: Arc<Semaphore>,
    /// Looks under way by place, with when each began.
    looking: Arc<Mutex<BTreeMap<PathBuf, Vec<Instant>>>>,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(PROBES_MAX),
            names: names::Names::default(),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            looking: Arc::default(),
        }
    }
}

impl Prober {
    /// Asks what needs no process; `used` is where the unit's use and output are seen, if it runs.
    pub async fn ask(&self, check: &ProbeCheck, used: Option<&Used>, deadline: TimeSpan) -> ProbeOutcome {
        // Which request is under way, for whoever gives up.
        let at = AtomicUsize::new(0);
        let late = || {
            let no_answer = match LOOKED_UP.with(|address| address.borrow().clone()) {
                Some(address) => format!("cannot look up {address}: no answer from DNS within {deadline}"),
                None => format!("no answer within {deadline}"),
            };
            let ProbeCheck::Http(steps) = check else { return no_answer };
            match steps.get(at.load(Ordering::Relaxed)).filter(|_| steps.len() > 1) {
                Some(step) => format!("step {}: {no_answer} since the first began", step.name),
                None => no_answer,
            }
        };
        let probe = async {
            let asked = match check {
                ProbeCheck::Http(steps) => self.ask_http(steps, &at).await,
                ProbeCheck::Tcp(tcp) => self.talk(tcp).await,
                ProbeCheck::Redis(redis) => self.ask_redis(redis).await.map_err(RedisTrouble::reason),
                ProbeCheck::Certificate(certificate) => self.look_at_certificate(certificate).await,
                ProbeCheck::Disk(disk) => {
                    let (path, disk) = (disk.path.to_path_buf(), disk.clone());
                    self.beside(path, move || host::look_at_disk(&disk)).await
                }
                ProbeCheck::File(file) => {
                    let (path, file) = (file.path.to_path_buf(), file.clone());
                    self.beside(path, move || host::look_at_file(&file)).await
                }
                ProbeCheck::Log(log) => self.look_at_output(log, used.and_then(|used| used.output.as_ref())).await,
                ProbeCheck::Memory(ceiling) => Ok(usage::memory(*ceiling, used)),
                ProbeCheck::Cpu(ceiling) => Ok(usage::cpu(*ceiling, used).await),
                ProbeCheck::Systemd(unit) => self.ask_systemd(unit).await,
                ProbeCheck::Exec(_) | ProbeCheck::Plugin(_) => {
                    Ok(Finding::Unasked("a command needs the daemon".to_owned()))
                }
            };
            asked.unwrap_or_else(Finding::Bad)
        };
        LOOKED_UP.scope(RefCell::default(), self.within(deadline, probe, late)).await
    }

    /// Speaks TLS with `host` over a connection.
    async fn shield(&self, stream: TcpStream, host: &str, check: &TlsCheck) -> Result<TlsStream<TcpStream>, String> {
        let of = check.clone();
        let place = of.ca_file.as_ref().or_else(|| of.identity.as_ref().map(|(certificate, _)| certificate));
        let place = place.map_or_else(PathBuf::new, |path| path.to_path_buf());
        let config = self.beside(place, move || tls::config(&of)).await?;
        tls::handshake(stream, check.server_name.as_deref().unwrap_or(host), config).await
    }

    /// Does what a disk may hold up. One that hangs keeps its thread, and its slot, until it lets go; so there is no other
    /// look at the same place meanwhile.
    async fn beside<T: Send + 'static>(
        &self,
        place: PathBuf,
        look: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let begun = Instant::now();
        let looking = Arc::clone(&self.looking);
        {
            let mut looking = looking.lock().unwrap_or_else(PoisonError::into_inner);
            let others = looking.entry(place.clone()).or_default();
            if let Some(hangs) = others.iter().map(|other| begun - *other).max().filter(|hangs| *hangs > HANGS) {
                return Err(format!("a look at {} has hung for {} s", place.display(), hangs.as_secs()));
            }
            others.push(begun);
        }
        // Also when this future is dropped before the look has begun.
        let under_way = UnderWay { looking, place, begun };
        let permit = Arc::clone(&self.looks).acquire_owned().await.map_err(|error| error.to_string())?;
        let looked = tokio::task::spawn_blocking(move || {
            let found = look();
            drop((permit, under_way));
            found
        });
        looked.await.map_err(|error| error.to_string())?
    }

    async fn within(
        &self,
        deadline: TimeSpan,
        probe: impl Future<Output = Finding>,
        late: impl Fn() -> String,
    ) -> ProbeOutcome {
        // The semaphore is never closed; without a slot the probe goes on all the same.
        let _slot = self.slots.acquire().await.ok();
        let begun = Instant::now();
        let limit = deadline.duration().unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX);
        let finding = match timeout(limit, probe).await {
            Ok(finding) => bounded(finding),
            Err(_) => bounded(Finding::Bad(late())),
        };
        ProbeOutcome { finding, took: begun.elapsed() }
    }

    async fn connect(&self, address: &str) -> Result<TcpStream, String> {
        // Nobody gives up on a look outside of a probe with these words.
        let looks_up = |what: Option<&str>| drop(LOOKED_UP.try_with(|cell| cell.replace(what.map(str::to_owned))));
        looks_up(Some(address));
        let found = self.names.find(address).await;
        looks_up(None);
        let addresses = found.map_err(|error| format!("cannot look up {address}: {error}"))?;
        let mut last = format!("cannot look up {address}: it has no address");
        for candidate in addresses.into_iter().take(ADDRESSES_MAX) {
            match TcpStream::connect(candidate).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("cannot connect to {candidate}: {error}"),
            }
        }
        Err(last)
    }
}

/// One line, not too long: services say anything.
fn bounded(finding: Finding) -> Finding {
    match finding {
        Finding::Good => Finding::Good,
        Finding::Degraded(reason) => Finding::Degraded(short(&reason)),
        Finding::Bad(reason) => Finding::Bad(short(&reason)),
        Finding::Unasked(reason) => Finding::Unasked(short(&reason)),
    }
}

fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
