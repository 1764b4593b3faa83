//! A machine with a systemd of its own and our unit installed; it is gone when the value is.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a helper of tests stops the test")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The machine.
pub(crate) struct Machine {
    script: Child,
    init: String,
    folder: tempfile::TempDir,
}

/// Waits until it is true.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test of real processes waits for them")]
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Machine {
    /// Boots it with these files, whose paths are relative to its root.
    #[expect(clippy::disallowed_methods, reason = "starts the machine")]
    pub(crate) fn boot(files: &[(String, String)]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a folder");
        let unit = fs::read_to_string(here.join("packaging/roundsman.service")).expect("our unit");
        let seed = folder.path().join("seed");
        for (path, text) in files.iter().chain([&("usr/lib/systemd/system/roundsman.service".to_owned(), unit)]) {
            write(&seed, path, text);
        }
        let script = Command::new("bash")
            .arg(here.join("tests/support/systemd-ns.sh"))
            .args([folder.path(), &seed])
            .args([env!("CARGO_BIN_EXE_supervisord"), env!("CARGO_BIN_EXE_supervisorctl")])
            // It ends by the end of its input, whatever becomes of us; a signal to our group is not for it.
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash");
        let mut machine = Self { script, init: String::new(), folder };
        let init = machine.folder.path().join("init");
        eventually("the machine has a first process (root is needed)", || init.exists());
        machine.init = fs::read_to_string(init).expect("a pid").trim().to_owned();
        eventually("systemd has booted", || {
            assert!(Path::new("/proc").join(&machine.init).exists(), "it has ended:\n{}", machine.logs());
            let state = machine.command(&["systemctl", "is-system-running"]).output().expect("nsenter");
            matches!(&*state.stdout, b"running\n" | b"degraded\n")
        });
        machine
    }

    /// Its first process, as it is seen from here.
    pub(crate) fn init(&self) -> &str {
        &self.init
    }

    /// Runs a command inside, which has to succeed; what it prints.
    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let output = self.command(command).output().expect("nsenter");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stderr}\n{}", self.logs());
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "runs a command on the machine")]
    fn command(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("timeout");
        inside.arg(PATIENCE.as_secs().to_string());
        inside.args(["nsenter", "-t", self.init(), "-m", "-u", "-i", "-n", "-p", "-C", "--"]).args(command);
        inside.stdin(Stdio::null());
        inside
    }

    #[track_caller]
    pub(crate) fn systemctl(&self, arguments: &[&str]) {
        self.run(&[&["systemctl"], arguments].concat());
    }

    /// What systemd knows of our unit.
    #[track_caller]
    pub(crate) fn property(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "roundsman", "--value", "--property", name])
    }

    /// The machine's file, seen from here.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc").join(&self.init).join("root").join(inside)
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.logs()))
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.path(""), path, text);
    }

    /// The pid that the service has written last; waits for one.
    #[track_caller]
    pub(crate) fn pid_of(&self, service: &str) -> String {
        let path = format!("run/{service}.pid");
        let read = || fs::read_to_string(self.path(&path)).is_ok_and(|text| text.ends_with('\n'));
        eventually(&format!("{service} runs\n{}", self.logs()), read);
        self.read(&path).trim().to_owned()
    }

    pub(crate) fn is_alive(&self, pid: &str) -> bool {
        self.path(&format!("proc/{pid}")).exists()
    }

    /// The pid of the manager; empty when there is none now.
    #[track_caller]
    pub(crate) fn manager(&self) -> String {
        let keeper = self.property("MainPID");
        let children = self.read(&format!("proc/{keeper}/task/{keeper}/children"));
        let is_manager = |pid: &&str| self.command_line(pid).starts_with("supervisord manager");
        children.split_whitespace().find(is_manager).unwrap_or_default().to_owned()
    }

    /// How many processes have this in their command line.
    pub(crate) fn count_of(&self, text: &str) -> usize {
        let entries = fs::read_dir(self.path("proc")).expect("processes");
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|pid| self.command_line(pid).contains(text)).count()
    }

    fn command_line(&self, pid: &str) -> String {
        let line = fs::read(self.path(&format!("proc/{pid}/cmdline"))).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    }

    /// Asks the API; empty while nobody answers.
    pub(crate) fn get(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.path("run/roundsman/control.sock"))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: machine\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// What systemd and the daemon have said so far.
    fn logs(&self) -> String {
        let console = fs::read_to_string(self.folder.path().join("console")).unwrap_or_default();
        console + &fs::read_to_string(self.path("run/supervisord.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // The end of its input is the end of the machine.
        drop(self.script.stdin.take());
        let ended = self.script.wait();
        assert!(ended.is_ok() || thread::panicking(), "the machine has ended");
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
    fs::write(path, text).expect("written");
}
