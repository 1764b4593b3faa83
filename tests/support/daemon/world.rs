//! A daemon of our own, with its settings, units, state and sockets below one directory; it ends with the test.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    network,
    process::{self, PATIENCE, Signal, kill, until},
};

/// A directory and the daemon that works in it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    daemon: Option<Child>,
    environment: Vec<(String, String)>,
    /// The machine that it is on, where that is not the test's own.
    machine: Option<String>,
}

/// What supervisorctl said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Its output, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl World {
    /// A world without units; nothing runs yet.
    pub(crate) fn new() -> Self {
        // The path of a unix socket has at most 107 bytes, so this does not follow TMPDIR.
        let folder = tempfile::Builder::new().prefix("rm-").tempdir_in("/tmp").unwrap();
        fs::create_dir(folder.path().join("units")).unwrap();
        let world = Self { folder, daemon: None, environment: Vec::new(), machine: None };
        world.settings("");
        world
    }

    /// The same on a machine of the test's network ([`super::network`]).
    pub(crate) fn on(machine: &str) -> Self {
        let mut world = Self::new();
        world.machine = Some(machine.to_owned());
        world
    }

    /// A world with these units and a daemon that is up.
    pub(crate) fn with(units: &[(&str, &str)]) -> Self {
        let mut world = Self::new();
        for (name, text) in units {
            world.unit(name, text);
        }
        world.start();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the settings: where everything is, and `more`.
    pub(crate) fn settings(&self, more: &str) {
        let root = self.folder.path().display();
        let text = format!(
            "[paths]\nunits = [\"{root}/units\"]\nstate = \"{root}/state\"\nruntime = \"{root}/run\"\n\
             logs = \"{root}/logs\"\n{more}\n"
        );
        fs::write(self.path("roundsman.toml"), text).unwrap();
    }

    /// Adds a variable to the daemon's environment.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a unit file; `@` in it is this world's directory.
    pub(crate) fn unit(&self, name: &str, text: &str) {
        let text = text.replace('@', &self.folder.path().display().to_string());
        fs::write(self.unit_path(name), text).unwrap();
    }

    pub(crate) fn unit_path(&self, name: &str) -> PathBuf {
        self.path("units").join(format!("{name}.toml"))
    }

    /// A program on its machine.
    pub(crate) fn program(&self, path: &str) -> Command {
        self.machine.as_ref().map_or_else(|| Command::new(path), |machine| network::on(machine, path))
    }

    /// The daemon's command.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_supervisord"));
        command.arg("--config").arg(self.path("roundsman.toml")).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.await_answer();
    }

    /// Starts the daemon.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let child = self.command().stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
    }

    /// Takes over a daemon that was started in another way.
    pub(crate) fn adopt(&mut self, child: Child) {
        self.daemon = Some(child);
    }

    pub(crate) fn await_answer(&mut self) {
        until("the daemon answers", || {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended with {ended:?}:\n{}", self.log());
            (self.ctl(&["list", "--names"]).code == 0).then_some(())
        });
    }

    /// What the daemon said of itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// The keeper's pid.
    pub(crate) fn keeper(&self) -> i32 {
        i32::try_from(self.daemon.as_ref().expect("a daemon").id()).unwrap()
    }

    /// The manager's pid, once there is one.
    pub(crate) fn manager(&self) -> i32 {
        let keeper = self.keeper();
        until("there is a manager", || {
            let is_manager =
                |pid: &i32| process::lives(*pid) && process::command_line(*pid).starts_with("supervisord manager");
            process::children(keeper).into_iter().find(is_manager)
        })
    }

    /// How many managers have taken over so far.
    pub(crate) fn managers_up(&self) -> usize {
        self.log().matches("event=\"manager_started\"").count()
    }

    /// SIGKILL to the manager, which is then gone.
    pub(crate) fn kill_manager(&self) -> i32 {
        let pid = self.manager();
        kill(pid, Signal::SIGKILL);
        until("the manager is dead", || (!process::lives(pid)).then_some(()));
        pid
    }

    /// SIGKILL to the keeper, which is then gone. Its services are not.
    pub(crate) fn kill_keeper(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        kill(i32::try_from(daemon.id()).unwrap(), Signal::SIGKILL);
        daemon.wait().unwrap();
    }

    /// Runs supervisorctl.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Said {
        let mut command = self.program(env!("CARGO_BIN_EXE_supervisorctl"));
        command.arg("--socket").arg(self.path("run/control.sock")).args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs supervisorctl with success.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.ctl(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    /// A unit as `status` shows it.
    pub(crate) fn status(&self, unit: &str) -> Value {
        self.try_status(unit).unwrap_or_else(|said| panic!("{said:?}"))
    }

    /// The same, or what was said instead.
    fn try_status(&self, unit: &str) -> Result<Value, Said> {
        let said = self.ctl(&["status", unit, "--json"]);
        if matches!(said.code, 0 | 3) { Ok(said.json()["units"][0].clone()) } else { Err(said) }
    }

    /// The pid of the unit's main process, if it has one and there is a manager to tell.
    pub(crate) fn try_pid(&self, unit: &str) -> Option<i32> {
        number(&self.try_status(unit).ok()?["pid"])?.try_into().ok()
    }

    /// The pid of the unit's main process, once it has one.
    pub(crate) fn pid(&self, unit: &str) -> i32 {
        until("the unit has a main process", || number(&self.status(unit)["pid"])).try_into().unwrap()
    }

    /// Waits until `status` says so of the unit. A manager that is killed while it is asked says nothing; the next one does.
    pub(crate) fn until_status(&self, unit: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.try_status(unit) {
                Ok(status) if is_so(&status) => return status,
                Ok(status) => last = status,
                Err(said) => last = Value::String(format!("{said:?}")),
            }
            process::pause(10);
        }
        panic!("{unit}: {what}: not within {PATIENCE:?}: {last:#}")
    }

    pub(crate) fn until_active(&self, unit: &str, active: &str) -> Value {
        self.until_status(unit, active, |status| status["active"] == active)
    }

    /// The runs of a unit, newest first, as soon as so many of them have ended: rows follow what happened.
    pub(crate) fn history(&self, unit: &str, ended: usize) -> Vec<Value> {
        until("the ends are on disk", || {
            let runs = self.runs(unit);
            (runs.iter().filter(|run| !run["ended_us"].is_null()).count() >= ended).then_some(runs)
        })
    }

    fn runs(&self, unit: &str) -> Vec<Value> {
        let said = self.ok(&["history", unit, "-n", "1000", "--json"]).json();
        said["runs"].as_array().unwrap().clone()
    }

    /// Past notices of this kind, oldest first.
    pub(crate) fn notices(&self, event: &str) -> Vec<Value> {
        let said = self.ok(&["events", "-n", "1000", "--json"]).json();
        let all = said["events"].as_array().unwrap();
        all.iter().filter(|notice| notice["event"] == event).cloned().collect()
    }

    /// The same, as soon as there are so many.
    pub(crate) fn until_notices(&self, event: &str, count: usize) -> Vec<Value> {
        until(event, || Some(self.notices(event)).filter(|notices| notices.len() >= count))
    }

    /// The database, to be read.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(self.path("state/state.db"), flags).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }

    /// Every captured byte of a unit.
    pub(crate) fn captured(&self, unit: &str) -> String {
        let folder = self.path("logs").join(unit);
        let Ok(entries) = fs::read_dir(folder) else { return String::new() };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .collect();
        files.sort();
        let bytes: Vec<u8> = files.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of a file that services append to.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.path(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.keeper(), signal);
    }

    /// SIGTERM, and how the daemon ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.await_end()
    }

    /// How the daemon ends.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let daemon = self.daemon.as_mut().expect("a daemon");
        let status = until("the daemon ends", || daemon.try_wait().unwrap());
        self.daemon = None;
        status
    }

    /// Processes of the runs that the keeper, dead or alive, wrote down: their environment names one.
    pub(crate) fn services(&self) -> Vec<i32> {
        let written =
            ["processes", "processes.long"].map(|name| fs::read(self.path("run").join(name)).unwrap_or_default());
        let is_ours = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut variables = environ.split(|byte| *byte == 0);
            let id = variables.find_map(|variable| variable.strip_prefix(b"INVOCATION_ID="));
            let id = id.and_then(|id| u128::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok());
            let is_in = |id: u128| {
                let id = id.to_be_bytes();
                written.iter().any(|bytes| bytes.windows(id.len()).any(|window| window == id))
            };
            id.is_some_and(is_in)
        };
        process::all().into_iter().filter(is_ours).collect()
    }

    /// The cgroup below which this daemon has its units' cgroups; `None` where the host has no cgroup2.
    pub(crate) fn cgroup(&self) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/');
        Some(Path::new(mount).join(own).join(self.cgroup_name()))
    }

    /// The same in each tree of version 1.
    pub(crate) fn old_cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let tree = |line: &str| {
            let (before, after) = line.split_once(" - cgroup ")?;
            let options: Vec<&str> = after.split([' ', ',']).collect();
            let own = own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                let first = controllers.split(',').next().filter(|name| !name.is_empty())?;
                options.contains(&first).then_some(path)
            })?;
            let mount = before.split(' ').nth(4)?;
            Some(Path::new(mount).join(own.trim_start_matches('/')).join(self.cgroup_name()))
        };
        mounts.lines().filter_map(tree).collect()
    }

    /// Named by the runtime directory, by FNV-1a.
    fn cgroup_name(&self) -> String {
        let path = self.path("run").display().to_string();
        let name = path
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("roundsman-{name:016x}")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(8000);
            eprintln!("--- what the daemon said ---\n{}", String::from_utf8_lossy(&log.as_bytes()[from..]));
        }
        if let Some(mut daemon) = self.daemon.take() {
            let keeper = i32::try_from(daemon.id()).unwrap();
            kill(keeper, Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(2);
            while daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() >= deadline {
                    process::kill_tree(keeper);
                    daemon.wait().ok();
                    break;
                }
                process::pause(5);
            }
        }
        // Whoever a keeper that did not end in order has left.
        self.services().into_iter().for_each(process::kill_tree);
        if let Some(cgroup) = self.cgroup() {
            remove_cgroups(&cgroup);
        }
        // Their processes are those of the other tree, and gone.
        self.old_cgroups().iter().for_each(|cgroup| remove_cgroups(cgroup));
    }
}

fn remove_cgroups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    for _ in 0..200 {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                // Whoever is left in it is of this test.
                fs::write(folder.join("cgroup.kill"), "1").ok();
                process::pause(5);
            }
            Ok(()) | Err(_) => return,
        }
    }
}

/// A number in JSON.
pub(crate) fn number(value: &Value) -> Option<i64> {
    value.as_i64()
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
