//! What is done on a host without a daemon, and how its services are: through its systemd, or by the commands of `fleet.toml`.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};
use sha2::{Digest as _, Sha256};
use tokio::{
    net::unix::pipe,
    time::{Instant, sleep, timeout},
};

use crate::{
    base::{InvocationId, UnitName},
    edge::{balance::Machine, errand::take},
    engine::fleet::{
        acts::{Done, done, failed, told, without_effect, words},
        pools,
    },
    fleet::{
        Argv, Condition, Deed, FailureKind, Instance, NodeName, Observed, PoolName, Report, Service, StepOrder,
        StepOutcome, Token, Topology,
    },
};

/// How often it is looked whether a command has ended.
const STEP: Duration = Duration::from_millis(10);
/// About how many units systemd is asked at a time: what it says of them is to be kept whole.
const UNITS_MAX: usize = 30;
/// How often output is read before it is looked again.
const READS_MAX: usize = 64;
/// How long a question to systemd, or to a service, may take.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// What commands that restart or reload have written is kept up to this.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// This host as a node of a fleet.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) node: NodeName,
    pub(super) topology: Topology,
    /// Where the output of commands goes that may leave something running.
    pub(super) output: PathBuf,
}

/// Where the output of a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// To us; it leaves nothing behind that still writes.
    Us,
    /// To a file, which outlives us: what it starts may go on writing.
    File,
}

impl Host {
    /// How its services and load balancers are.
    pub(super) async fn look(&self, promised: Option<Token>) -> Report {
        let own = || self.topology.services.iter().filter(|(_, it)| it.nodes.contains(&self.node));
        let units: Vec<&UnitName> =
            own().filter(|(_, it)| it.commands.status.is_none()).map(|(_, it)| &it.unit).collect();
        let by_systemd = systemd(self, &units).await;
        let mut instances = BTreeMap::new();
        for (name, service) in own() {
            let seen = match by_systemd.get(&service.unit) {
                Some(seen) => *seen,
                None => self.observe(service).await,
            };
            instances.insert(Instance { service: name.clone(), node: self.node.clone() }, seen);
        }
        Report { promised, instances, pools: pools::servers(self, &self.topology, &self.node).await }
    }

    async fn observe(&self, service: &Service) -> Observed {
        let unknown = Observed { condition: Condition::Unknown, run: None };
        match &service.commands.status {
            Some(argv) => match self.command(argv, ASKED_WITHIN, To::Us).await {
                Ok((status, said)) => Observed { condition: condition(status.success()), run: named_by(&said) },
                Err(_) => unknown,
            },
            None => systemd(self, &[&service.unit]).await.get(&service.unit).copied().unwrap_or(unknown),
        }
    }

    /// Does what a driver has ordered, if it is one of the things that may be done here.
    pub(super) async fn carry_out(&self, order: &StepOrder) -> StepOutcome {
        let within = order.deadline.duration().unwrap_or(Duration::MAX);
        let instance = &order.instance;
        let service = self.topology.services.get(&instance.service);
        let done = timeout(within, async {
            let own = service.filter(|it| it.nodes.contains(&instance.node) && it.unit == order.unit);
            let Some(service) = own else {
                let reason = format!("{instance} is not in fleet.toml of {}", self.node);
                return Err(failed(FailureKind::Internal, reason));
            };
            match &order.deed {
                Deed::Drain { pool, server } => {
                    pools::drain(self, &self.topology, (pool, server), order.plan, within).await
                }
                Deed::Undrain { pool, server } => {
                    pools::undrain(self, &self.topology, (pool, server), order.plan).await
                }
                _ if instance.node != self.node => {
                    Err(failed(FailureKind::Internal, format!("{instance} is not on {}", self.node)))
                }
                Deed::Validate => self.own(service.commands.validate.as_ref(), FailureKind::Invalid, To::Us).await,
                Deed::Notify => self.own(service.commands.notify.as_ref(), FailureKind::Exit, To::File).await,
                Deed::Reload => {
                    match &service.commands.reload {
                        Some(argv) => self.own(Some(argv), FailureKind::Exit, To::File).await?,
                        None => self.systemctl("reload", &service.unit).await?,
                    };
                    let verify = service.commands.verify_reload.as_ref();
                    self.own(verify, FailureKind::Exit, To::Us).await.map_err(without_effect)
                }
                Deed::Restart => self.restart(service, order).await,
            }
        });
        match done.await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => failed(FailureKind::Timeout, format!("it was not done within {}", order.deadline)),
        }
    }

    async fn restart(&self, service: &Service, order: &StepOrder) -> Done {
        let before = self.observe(service).await.run;
        if order.expects.is_some_and(|expected| before != Some(expected)) {
            let reason = format!("{} was restarted by someone else meanwhile", service.unit);
            return Err(failed(FailureKind::OtherRun, reason));
        }
        match &service.commands.restart {
            Some(argv) => self.own(Some(argv), FailureKind::Exit, To::File).await?,
            None => {
                // One that is at its start limit would refuse, and one that never failed has nothing to reset.
                drop(self.systemctl("reset-failed", &service.unit).await);
                self.systemctl("restart", &service.unit).await?
            }
        };
        let after = self.observe(service).await.run;
        if before.is_some() && after == before {
            let reason = format!("{} is the same as before its restart, as its status says", service.unit);
            return Err(failed(FailureKind::Exit, reason));
        }
        Ok(StepOutcome::Done { before, after })
    }

    async fn systemctl(&self, verb: &str, unit: &UnitName) -> Done {
        let argv = ["systemctl", "--no-ask-password", verb, "--", &unit.full()].map(Box::from);
        self.own(Some(&argv.into()), FailureKind::Exit, To::Us).await
    }

    /// A command, where there is one. It ends with whoever waits for it.
    async fn own(&self, argv: Option<&Argv>, bad: FailureKind, to: To) -> Done {
        let Some(argv) = argv else { return Ok(done()) };
        let name = argv.first().map_or("", |name| name);
        match self.command(argv, Duration::MAX, to).await {
            Ok((status, _)) if status.success() => Ok(done()),
            Ok((status, said)) => Err(failed(bad, format!("{name}: {status}{}", words(&said)))),
            Err(error) => Err(failed(FailureKind::Internal, format!("cannot run {name}: {error}"))),
        }
    }

    /// How a command ended, and what it said.
    async fn command(&self, argv: &Argv, within: Duration, to: To) -> io::Result<(ExitStatus, Vec<u8>)> {
        let (program, rest) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        #[expect(clippy::disallowed_methods, reason = "no keeper runs on a host that is reached by ssh")]
        let mut command = Command::new(&**program);
        command.args(rest.iter().map(|word| &**word)).stdin(Stdio::null()).process_group(0);
        let (heard, written) = match to {
            To::Us => {
                let (writer, heard) = pipe::pipe()?;
                let writer = writer.into_blocking_fd()?;
                command.stdout(writer.try_clone()?).stderr(writer);
                (Some(heard), None)
            }
            To::File => {
                let (file, from) = self.output_file()?;
                command.stdout(file.try_clone()?).stderr(file);
                (None, Some(from))
            }
        };
        let mut child = Group(command.spawn()?);
        // The command has the writing ends.
        drop(command);
        let deadline = Instant::now().checked_add(within);
        let (mut said, mut is_open) = (Vec::new(), heard.is_some());
        loop {
            let ended = child.0.try_wait()?;
            // Whoever it has left behind may hold the pipe open: only what is there is read.
            for _ in 0..READS_MAX {
                if !is_open || !matches!(timeout(STEP, readable(heard.as_ref())).await, Ok(Some(()))) {
                    break;
                }
                is_open = heard.as_ref().is_some_and(|heard| take(heard, &mut said));
            }
            if let Some(status) = ended {
                if let Some(from) = written {
                    said = self.written_since(from);
                }
                return Ok((status, said));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !is_open {
                sleep(STEP).await;
            }
        }
    }

    /// It, and where it ends now.
    fn output_file(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.output)?;
        if file.metadata()?.len() > OUTPUT_BYTES_MAX {
            file.set_len(0)?;
        }
        let from = file.metadata()?.len();
        Ok((file, from))
    }

    fn written_since(&self, from: u64) -> Vec<u8> {
        let mut said = Vec::new();
        let read = File::open(&self.output).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.take(OUTPUT_BYTES_MAX).read_to_end(&mut said)
        });
        read.map_or_else(|_| Vec::new(), |_| said)
    }
}

/// Waits until there is something to be read, or nothing more will be.
async fn readable(heard: Option<&pipe::Receiver>) -> Option<()> {
    heard?.readable().await.ok()
}

impl Machine for Host {
    fn node(&self) -> &NodeName {
        &self.node
    }

    async fn reload(&self, unit: &UnitName) -> Result<(), String> {
        told(self.systemctl("reload", unit).await)
    }

    async fn run(&self, _: (&PoolName, &'static str), argv: Argv, within: Duration) -> Result<(bool, Vec<u8>), String> {
        let ran = self.command(&argv, within, To::Us).await;
        ran.map(|(status, said)| (status.success(), said)).map_err(|error| error.to_string())
    }

    /// `fleet.toml` asks for that on nodes with a daemon alone.
    async fn keep(&self, _: (&PoolName, &str), definition: Option<String>) -> Result<(), String> {
        match definition {
            Some(_) => Err("nothing is kept on a host without a daemon".to_owned()),
            None => Ok(()),
        }
    }

    async fn kept(&self, _: &PoolName) -> Result<BTreeMap<Box<str>, String>, String> {
        Ok(BTreeMap::new())
    }
}

/// A command with all that it has started, which ends when nobody waits for it any more.
struct Group(std::process::Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let group = i32::try_from(self.0.id()).map(Pid::from_raw);
            // It may have ended since.
            group.map(|group| signal::killpg(group, signal::Signal::SIGKILL).ok()).ok();
            self.0.wait().ok();
        }
    }
}

const fn condition(is_well: bool) -> Condition {
    if is_well { Condition::Healthy } else { Condition::Bad }
}

/// What a service's `status` prints names its run.
fn named_by(said: &[u8]) -> Option<InvocationId> {
    let text = said.trim_ascii();
    if text.is_empty() {
        return None;
    }
    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    Some(InvocationId(id))
}

/// What systemd knows of some units: nothing if it does not answer.
async fn systemd(host: &Host, units: &[&UnitName]) -> BTreeMap<UnitName, Observed> {
    let mut known = BTreeMap::new();
    for some in units.chunks(UNITS_MAX) {
        let names = some.iter().map(|unit| unit.full().into());
        let words = ["systemctl", "show", "-p", "ActiveState,InvocationID,Job", "--"].map(Box::from);
        let argv: Argv = words.into_iter().chain(names).collect();
        let Ok((status, said)) = host.command(&argv, ASKED_WITHIN, To::Us).await else { continue };
        if status.success() {
            // One after the other, in the order in which they were asked for, with an empty line between.
            let text = String::from_utf8_lossy(&said).into_owned();
            known.extend(some.iter().map(|unit| (*unit).clone()).zip(text.split("\n\n").map(shown)));
        }
    }
    known
}

/// One to which something is being done is not healthy.
fn shown(text: &str) -> Observed {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let has_job = value("Job").is_some_and(|job| !matches!(job, "" | "0"));
    let is_well = value("ActiveState") == Some("active") && !has_job;
    Observed { condition: condition(is_well), run: value("InvocationID").and_then(InvocationId::parse) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_words_are_a_condition_and_a_run() {
        let id = "0123456789abcdef0123456789abcdef";
        let of = |active: &str, job: &str| shown(&format!("ActiveState={active}\nInvocationID={id}\nJob={job}\n"));
        assert_eq!(of("active", "").condition, Condition::Healthy);
        assert_eq!(of("active", "1234").condition, Condition::Bad);
        assert_eq!(of("failed", "").condition, Condition::Bad);
        assert_eq!(of("active", "").run, InvocationId::parse(id));
        assert_eq!(shown("ActiveState=inactive\nInvocationID=\n").run, None);
    }
}
