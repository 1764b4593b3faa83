//! A keeper of our own and its manager, whose head we are.
use std::{
    env,
    ffi::CString,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use roundsman::{
    base::{Generation, InvocationId, Pid, ProcessKey, Role, RunId, Signal, UnitName},
    keeper::client::{Client, ClientError, Incoming, Snapshot},
    sys::receive,
    wire::keeper::{Fact, Order, Output, SpawnOrder, SpawnSpec},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) keeper: Child,
    stage: UnixDatagram,
    runtime: Runtime,
}

/// The manager that the keeper has started.
pub(crate) struct Manager<'a> {
    pub(crate) client: Client,
    pub(crate) pid: Pid,
    world: &'a World,
    /// What came while something else was waited for.
    aside: Vec<(Fact, Vec<OwnedFd>)>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A keeper with these variables in its environment.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = UnixDatagram::bind(folder.path().join("stage")).unwrap();
        stage.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let keeper = Self::keeper_command(folder.path(), variables).spawn().unwrap();
        Self { folder, keeper, stage, runtime }
    }

    pub(crate) fn keeper_command(folder: &Path, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("keeper").arg(folder).envs(variables.iter().copied()).stdin(Stdio::null());
        command
    }

    pub(crate) fn notify_socket(&self) -> PathBuf {
        self.folder.path().join("run/notify")
    }

    pub(crate) fn keeper_pid(&self) -> Pid {
        Pid::new(i32::try_from(self.keeper.id()).unwrap()).unwrap()
    }

    /// The next manager's socket, as it has greeted nobody.
    pub(crate) fn next_manager_socket(&self) -> (Pid, OwnedFd) {
        until("a manager comes on stage", || {
            let mut buffer = [0; 16];
            let packet = receive(self.stage.as_fd(), &mut buffer).ok()?;
            let pid = i32::from_le_bytes(buffer[..4].try_into().unwrap());
            Some((Pid::new(pid)?, packet.fds.into_iter().next()?))
        })
    }

    /// The next manager and what it is told first.
    pub(crate) fn next_manager(&self) -> (Manager<'_>, Snapshot) {
        let (pid, socket) = self.next_manager_socket();
        let client = self.runtime.block_on(async { Client::new(socket).unwrap() });
        let mut manager = Manager { client, pid, world: self, aside: Vec::new() };
        match manager.incoming() {
            Incoming::Snapshot(snapshot) => (manager, *snapshot),
            Incoming::Fact(fact, _) => panic!("{fact:?} came before the snapshot"),
        }
    }

    /// The first manager, ready.
    pub(crate) fn ready_manager(&self) -> Manager<'_> {
        let (mut manager, _) = self.next_manager();
        manager.order(Order::Ready);
        manager
    }
}

impl Drop for World {
    /// Services survive their keeper, so they go first.
    fn drop(&mut self) {
        let keeper = self.keeper_pid();
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&children).unwrap_or_default();
            let manager =
                |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("manager");
            let pids: Vec<Pid> = text
                .split_whitespace()
                .filter_map(|pid| Pid::new(pid.parse().ok()?))
                .filter(|pid| !manager(pid))
                .collect();
            if pids.is_empty() {
                break;
            }
            pids.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        }
        kill(keeper, Signal::KILL);
        self.keeper.wait().unwrap();
    }
}

impl Manager<'_> {
    pub(crate) fn order(&mut self, order: Order) {
        self.order_with(order, Vec::new());
    }

    pub(crate) fn order_with(&mut self, order: Order, fds: Vec<OwnedFd>) {
        self.world.runtime.block_on(async {
            self.client.send(&order, fds).unwrap();
            self.client.flush().await.unwrap();
        });
    }

    /// Gives orders that share packets.
    pub(crate) fn order_at_once(&mut self, orders: impl Iterator<Item = Order>) {
        self.world.runtime.block_on(async {
            orders.for_each(|order| self.client.send(&order, Vec::new()).unwrap());
            self.client.flush().await.unwrap();
        });
    }

    /// The next thing from the keeper, or how the conversation ended.
    pub(crate) fn try_incoming(&mut self) -> Result<Incoming, ClientError> {
        let client = &mut self.client;
        let waited = self.world.runtime.block_on(async { tokio::time::timeout(PATIENCE, client.recv()).await });
        waited.expect("the keeper says nothing")
    }

    fn incoming(&mut self) -> Incoming {
        self.try_incoming().unwrap()
    }

    /// The next fact that `pick` takes; others are put aside, pings are answered.
    pub(crate) fn wait<T>(&mut self, mut pick: impl FnMut(&Fact, &mut Vec<OwnedFd>) -> Option<T>) -> T {
        for index in 0..self.aside.len() {
            let (fact, fds) = &mut self.aside[index];
            if let Some(picked) = pick(fact, fds) {
                self.aside.remove(index);
                return picked;
            }
        }
        loop {
            match self.incoming() {
                Incoming::Fact(Fact::Ping, _) => self.order(Order::Alive),
                Incoming::Fact(fact, mut fds) => {
                    if let Some(picked) = pick(&fact, &mut fds) {
                        return picked;
                    }
                    self.aside.push((fact, fds));
                }
                Incoming::Snapshot(_) => panic!("a second snapshot"),
            }
        }
    }

    /// What was put aside so far.
    pub(crate) fn aside(&self) -> impl Iterator<Item = &Fact> {
        self.aside.iter().map(|(fact, _)| fact)
    }

    /// Starts `sh -c script` as the main process of that run.
    pub(crate) fn spawn_shell(&mut self, unit: &str, generation: u64, script: &str) -> ProcessKey {
        self.spawn(unit, generation, shell(script))
    }

    pub(crate) fn spawn(&mut self, unit: &str, generation: u64, spec: SpawnSpec) -> ProcessKey {
        self.spawn_remembered(unit, generation, spec, None)
    }

    /// Starts it with something to be remembered of its unit.
    pub(crate) fn spawn_remembered(
        &mut self,
        unit: &str,
        generation: u64,
        spec: SpawnSpec,
        memo: Option<Vec<u8>>,
    ) -> ProcessKey {
        let key = key(unit, generation);
        let invocation = InvocationId([u8::try_from(generation % 256).unwrap(); 16]);
        self.order(Order::Spawn(Box::new(SpawnOrder { key: key.clone(), invocation, spec, memo })));
        key
    }

    pub(crate) fn spawned(&mut self, wanted: &ProcessKey) -> Pid {
        self.wait(|fact, _| match fact {
            Fact::Spawned { key, pid, .. } if key == wanted => Some(*pid),
            Fact::SpawnFailed { key, failure } if key == wanted => panic!("{key:?}: {failure:?}"),
            _ => None,
        })
    }

    pub(crate) fn exited(&mut self, wanted: &ProcessKey) -> roundsman::wire::keeper::Exit {
        self.wait(|fact, _| match fact {
            Fact::Exited(exit) if exit.key == *wanted => Some(exit.clone()),
            Fact::SpawnFailed { key, failure } if key == wanted => panic!("{key:?}: {failure:?}"),
            _ => None,
        })
    }

    /// Opens the unit's log pipe; what it says from now on.
    pub(crate) fn log(&mut self, unit_name: &str) -> OwnedFd {
        use roundsman::wire::keeper::Stream;
        self.order(Order::OpenLog { unit: unit(unit_name), stream: Stream::Output, bytes: 1 << 16 });
        self.wait(|fact, fds| match fact {
            Fact::LogPipe { unit, .. } if unit.as_str() == unit_name => fds.pop(),
            _ => None,
        })
    }
}

/// Reads what is in a log pipe until `enough` of it is there.
pub(crate) fn read_log(log: &OwnedFd, enough: impl Fn(&str) -> bool) -> String {
    let mut text = Vec::new();
    until("the log says enough", || {
        let mut buffer = [0; 65536];
        if let Ok(count) = nix::unistd::read(log, &mut buffer) {
            text.extend_from_slice(&buffer[..count]);
        }
        let said = String::from_utf8_lossy(&text).into_owned();
        enough(&said).then_some(said)
    })
}

/// Looks until there is something to be seen.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn kill(pid: Pid, signal: Signal) {
    let signal = nix::sys::signal::Signal::try_from(signal.raw()).unwrap();
    let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.raw()), signal);
}

/// Whether a process is there and not a zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

pub(crate) fn key(name: &str, generation: u64) -> ProcessKey {
    ProcessKey { run: RunId { unit: unit(name), generation: Generation(generation) }, role: Role::Main }
}

pub(crate) fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A process that runs `sh -c script` with nothing special about it.
pub(crate) fn shell(script: &str) -> SpawnSpec {
    let argv = vec![text("sh"), text("-c"), text(script)];
    SpawnSpec { stderr: Output::Inherit, ..SpawnSpec::new(text("/bin/sh"), argv, vec![text("PATH=/usr/bin:/bin")]) }
}
